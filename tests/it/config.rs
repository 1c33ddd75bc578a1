//! The configuration file: what is accepted, and how everything that is wrong is reported.

use std::fs;
use std::path::Path;
use std::time::Duration;

use assay::cli::config::{ConfigArgs, write_to};
use assay::config::{
    CallerIdentity, Config, ConfigFile, DEVELOPMENT, EXAMPLE, Look, Mode, RedisServers, Role,
    StoreConfig, Transport, read_secret,
};
use assay::policy::{
    ActionRates, AndroidPolicy, ApplePolicy, AttestKeyRule, Authenticators, BodyRule, Consequence,
    CounterOrder, DeviceLimitRule, DowngradeRule, Enforcement, Environment, KeyRates, Rate,
    RateOutcome, Rates, Reappraisal, ReceiptRule, ReplayRule, RiskPolicy, Rule, ScopeRule,
    ServiceRates, SessionKeyRule, Signal, StaleListRule, StepUpPolicy, TrustLevel,
    UserAuthenticationRule, UserPresence,
};
use clap::Parser;
use proptest::prelude::*;

/// A short, good configuration; tests add to it and break it.
const GOOD: &str = r#"mode = "development"
[server]
public_url = "https://a.example"
plaintext = true
[store]
kind = "memory"
[attestation]
status_list_missing = "allow"
[apps.bank]
audiences = ["api"]
[apps.bank.android]
package = "com.example.bank"
signing_certificate_sha256 = ["0101010101010101010101010101010101010101010101010101010101010101"]
"#;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, Path::new("/etc/assay")).map_err(|report| {
        let line = |p: &assay::config::Problem| {
            let hint = p
                .hint
                .as_deref()
                .map(|h| format!(" [{h}]"))
                .unwrap_or_default();
            format!("{}:{}: {}{hint}", p.line, p.column, p.message)
        };
        report.problems().iter().map(line).collect()
    })
}

/// The problems of [`GOOD`] after a replacement.
fn broken(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    parse(&GOOD.replacen(from, to, 1)).expect_err(to)
}

#[test]
fn a_good_configuration_becomes_what_it_says() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.mode, Mode::Development);
    assert_eq!(
        config.server.transport,
        Transport::Plaintext(Role::ALL.iter().copied().collect())
    );
    assert_eq!(config.token.issuer, "https://a.example");
    assert_eq!(config.store, StoreConfig::Memory);
    let app = &config.apps[&"bank".parse().unwrap()];
    let android = app.identity.android.as_ref().unwrap();
    assert_eq!(android.signing_certificate_sha256, [[1; 32]]);
    assert!(app.identity.apple.is_none());
    let lifetimes = &app.policy.lifetimes;
    assert_eq!(lifetimes.access_for, Duration::from_secs(300));
    assert_eq!(lifetimes.idle_for, Duration::from_secs(30 * 86_400));
    assert_eq!(lifetimes.reattest_after, None);
}

#[test]
fn rates_are_what_is_written_and_nothing_else_is_limited() {
    let hourly = |count| {
        Some(Rate {
            count,
            per: Duration::from_secs(3600),
        })
    };
    let id = "bank".parse().unwrap();
    let unsaid = parse(GOOD).unwrap();
    assert_eq!(
        unsaid.rates,
        ServiceRates {
            failure_cost: 4,
            ..ServiceRates::default()
        }
    );
    let none = Rates {
        doubt_divisor: 4,
        ..Rates::none()
    };
    assert_eq!(unsaid.apps[&id].policy.rates, none);
    let rates = r#"[rates]
caller = "1/1h"
register_per_ip = "2/1h"
issue_per_ip = "3/1h"
refresh_per_ip = "4/1h"
failure_cost = 0
[apps.bank.rates]
register_per_subject = "5/1h"
issue_per_subject = "6/1h"
issue_per_device = "7/1h"
refresh_per_subject = "8/1h"
refresh_per_device = "9/1h"
refresh_retry = "10/1h"
doubt_divisor = 2
"#;
    let config = parse(&format!("{GOOD}{rates}")).unwrap();
    let expected = ServiceRates {
        caller: hourly(1),
        register: hourly(2),
        issue: hourly(3),
        refresh: hourly(4),
        failure_cost: 0,
    };
    assert_eq!(config.rates, expected);
    assert_eq!(config.differs_in(&unsaid), ["rates"]);
    let expected = Rates {
        register: ActionRates {
            subject: hourly(5),
            device: None,
        },
        issue: ActionRates {
            subject: hourly(6),
            device: hourly(7),
        },
        refresh: ActionRates {
            subject: hourly(8),
            device: hourly(9),
        },
        refresh_retry: hourly(10),
        doubt_divisor: 2,
    };
    assert_eq!(config.apps[&id].policy.rates, expected);
}

#[test]
fn the_example_becomes_what_it_says_and_its_paths_are_seen_from_its_directory() {
    let config = parse(EXAMPLE).unwrap();
    let Transport::Tls(tls) = &config.server.transport else {
        panic!("the example uses TLS");
    };
    assert_eq!(tls.client_ca, Path::new("/etc/assay/tls/callers-ca.pem"));
    assert_eq!(config.keys.directory, Path::new("/etc/assay/keys"));
    assert_eq!(config.server.limits.message_bytes_max, 256 * 1024);
    assert_eq!(
        config.callers[1].identity,
        CallerIdentity::Dns("api.example.com".to_owned())
    );
    let app = &config.apps[&"bank".parse().unwrap()];
    assert_eq!(app.policy.scopes.len(), 2);
    assert!(parse(DEVELOPMENT).is_ok());
}

#[test]
fn a_step_up_becomes_what_it_says() {
    let unsaid = &parse(GOOD).unwrap().apps[&"bank".parse().unwrap()]
        .policy
        .step_up;
    assert_eq!(unsaid.access_for, Duration::from_secs(120));
    assert_eq!(unsaid.user_presence, UserPresence::None);
    assert!(unsaid.scopes.scopes.is_empty());
    let said = r#"[apps.bank.step_up]
access = "30s"
user_presence = "proved"
scopes = ["close"]
trust_level_min = "tee"
[apps.bank.limits]
devices_at_limit = "replace-oldest"
"#;
    let text = GOOD.to_owned() + said;
    let policy = &parse(&text).unwrap().apps[&"bank".parse().unwrap()].policy;
    let expected = StepUpPolicy {
        access_for: Duration::from_secs(30),
        scopes: ScopeRule {
            scopes: ["close".to_owned()].into(),
            trust_level_min: TrustLevel::Tee,
        },
        user_presence: UserPresence::Proved,
    };
    assert_eq!(policy.step_up, expected);
    assert_eq!(policy.on_device_limit, DeviceLimitRule::ReplaceOldest);
    // What a session can have is not for step-ups alone.
    let twice = "[[apps.bank.scopes]]\nscopes = [\"close\"]\n";
    assert!(parse(&text).is_ok() && parse(&(text + twice)).is_err());
}

#[test]
fn a_policy_becomes_what_it_says() {
    let android = r#"verified_boot_keys = ["0202020202020202020202020202020202020202020202020202020202020202"]
max_patch_age = "365d"
attest_keys = "allow"
user_authentication = ["biometric"]
stale_list = "provisional"
monitor = ["max_patch_age"]
attestation_key_rate = { remote = "5/12h", outcome = "refuse" }
package ="#;
    let more = r#"[apps.bank.reappraisal]
below_policy = "degrade"
downgrade = "allow"
[apps.bank.apple]
team_id = "A1B2C3D4E5"
bundle_id = "x"
environment = "development"
platforms = ["iphoneos"]
bundle_version_min = "1.2"
receipt = "verify"
monitor = ["receipt"]
"#;
    let config = parse(&(GOOD.replace("package =", android) + more)).unwrap();
    let policy = &config.apps[&"bank".parse().unwrap()].policy;
    let expected = AndroidPolicy {
        verified_boot_keys: vec![vec![2; 32]],
        patch_age_max: Some(Duration::from_secs(365 * 86_400)),
        attest_keys: AttestKeyRule::Allow,
        user_authentication: UserAuthenticationRule::Required {
            authenticators: Authenticators {
                password: false,
                biometric: true,
                other: false,
            },
            timeout_max: Duration::ZERO,
        },
        stale_list: StaleListRule::Provisional,
        attestation_key_rate: KeyRates {
            remote: Rate {
                count: 5,
                per: Duration::from_secs(12 * 3600),
            },
            outcome: RateOutcome::Refuse,
            ..KeyRates::usual()
        },
        monitor: [Rule::MaxPatchAge].into(),
        ..AndroidPolicy::strict()
    };
    assert_eq!(policy.android, expected);
    let mut expected = ApplePolicy {
        environment: Some(Environment::Development),
        platforms: ["iphoneos".to_owned()].into(),
        receipt: ReceiptRule::Verify,
        monitor: [Rule::Receipt].into(),
        ..ApplePolicy::open()
    };
    expected.bundle_version.min = Some("1.2.0".parse().unwrap());
    assert_eq!(policy.apple, expected);
    let expected = Reappraisal {
        revoked_certificate: Consequence::Revoke,
        below_policy: Consequence::Degrade,
        downgrade: DowngradeRule::Allow,
    };
    assert_eq!(policy.reappraisal, expected);
}

#[test]
fn the_weighing_of_risk_becomes_what_it_says() {
    let more = r#"[apps.bank.risk]
mode = "enforce"
half_life = "2h"
refresh_interval_min = "30s"
step_up_at = 40
drop_scopes_at = 60
dropped_scopes = ["transfer"]
suspend_at = 120
[apps.bank.risk.points]
network_changed = 0
"#;
    let config = parse(&(GOOD.to_owned() + more)).unwrap();
    let mut expected = RiskPolicy {
        enforcement: Enforcement::Enforce,
        half_life: Duration::from_secs(7200),
        refresh_interval_min: Duration::from_secs(30),
        step_up_at: Some(40),
        drop_scopes_at: Some(60),
        dropped_scopes: ["transfer".to_owned()].into(),
        suspend_at: Some(120),
        ..RiskPolicy::usual()
    };
    expected.points.insert(Signal::NetworkChanged, 0);
    assert_eq!(config.apps[&"bank".parse().unwrap()].policy.risk, expected);
    let unsaid = parse(GOOD).unwrap();
    let unsaid = &unsaid.apps[&"bank".parse().unwrap()].policy.risk;
    assert_eq!(*unsaid, RiskPolicy::none());
    let bare = parse(&(GOOD.to_owned() + "[apps.bank.risk]\n")).unwrap();
    let bare = &bare.apps[&"bank".parse().unwrap()].policy.risk;
    assert_eq!(*bare, RiskPolicy::usual());
}

#[test]
fn what_makes_a_proof_good_once_is_policy() {
    let more = r#"[apps.bank.apple]
team_id = "A1B2C3D4E5"
bundle_id = "x"
session_key = "optional"
[apps.bank.proof]
replay = "window"
counter = "strict"
body = "required"
"#;
    let rules = |text: &str| {
        let config = parse(text).unwrap();
        let policy = &config.apps[&"bank".parse().unwrap()].policy;
        let (proof, apple) = (&policy.proof, &policy.apple);
        (proof.replay, proof.counter, proof.body, apple.session_key)
    };
    let unsaid = (
        ReplayRule::Jti,
        CounterOrder::Window,
        BodyRule::WhenSent,
        SessionKeyRule::Required,
    );
    assert_eq!(rules(GOOD), unsaid);
    let said = (
        ReplayRule::Window,
        CounterOrder::Strict,
        BodyRule::Required,
        SessionKeyRule::Optional,
    );
    assert_eq!(rules(&format!("{GOOD}{more}")), said);
}

#[test]
fn what_the_lifetimes_of_a_level_do_not_say_is_the_apps() {
    let more = "[apps.bank.lifetimes]\naccess = \"4m\"\n\
                [apps.bank.lifetimes.app-attest]\nidle = \"2h\"\n";
    let config = parse(&format!("{GOOD}{more}")).unwrap();
    let policy = &config.apps[&"bank".parse().unwrap()].policy;
    let lives = policy.lifetimes(TrustLevel::AppAttest);
    assert_eq!(lives.access_for, Duration::from_secs(240));
    assert_eq!(lives.idle_for, Duration::from_secs(7200));
    assert_eq!(lives.absolute_for, policy.lifetimes.absolute_for);
    assert_eq!(policy.level_lifetimes.len(), 1);
}

#[test]
fn rules_that_others_rest_on_cannot_be_monitored() {
    for rule in Rule::ALL.iter().filter(|rule| !rule.may_be_monitored()) {
        let line = format!("monitor = [\"{}\"]\npackage =", rule.as_str());
        let problems = broken("package =", &line);
        assert!(problems[0].contains("has to be one of"), "{problems:?}");
    }
}

#[test]
fn the_parts_that_differ_beside_the_apps_are_named() {
    let config = parse(GOOD).unwrap();
    let other = |from: &str, to: &str| {
        let text = GOOD.replacen(from, to, 1);
        config.differs_in(&parse(&text).unwrap())
    };
    assert_eq!(
        other("package =", "os_version_min = 130000\npackage ="),
        [""; 0]
    );
    assert_eq!(
        other(
            "[apps.bank]",
            "[telemetry]\nlog_level = \"warn\"\n[apps.bank]"
        ),
        ["telemetry"]
    );
    // The issuer is the public URL where it is not written.
    assert_eq!(
        other("https://a.example", "https://b.example"),
        ["server", "token"]
    );
}

#[test]
fn a_file_that_is_looked_at_again_tells_what_has_become_of_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("keys")).unwrap();
    let path = dir.path().join("assay.toml");
    fs::write(&path, GOOD).unwrap();
    let (mut file, config) = ConfigFile::open(&path).unwrap();
    assert!(matches!(file.look(), Look::Same));
    let changed = GOOD.replace("package =", "os_version_min = 130000\npackage =");
    // What is there for the first time may be half of a file that is still being written.
    fs::write(&path, &changed[..changed.len() / 2]).unwrap();
    assert!(matches!(file.look(), Look::Changing));
    fs::write(&path, &changed).unwrap();
    assert!(matches!(file.look(), Look::Changing));
    let Look::New(new) = file.look() else {
        panic!("it has changed");
    };
    assert_ne!(*new, config);
    assert!(matches!(file.look(), Look::Same));
    let secret = "[store]\npassword = \"hunter2\"\n";
    fs::write(&path, changed.replace("[store]\n", secret)).unwrap();
    assert!(matches!(file.look(), Look::Changing));
    for _ in 0..2 {
        let Look::Wrong(report) = file.look() else {
            panic!("it is wrong");
        };
        let said = report.first();
        assert!(said.contains("unknown key \"password\""), "{said}");
        assert!(!said.contains("hunter2"));
    }
    fs::remove_file(&path).unwrap();
    let Look::Wrong(report) = file.look() else {
        panic!("it is gone");
    };
    assert_eq!(report.first(), "there is no such file");
    fs::write(&path, changed).unwrap();
    assert!(matches!(file.look(), Look::Same));
}

/// What is replaced in [`GOOD`], by what, and the one problem that comes of it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "mode = \"development\"",
        "mode = \"develpment\"",
        "1:8: has to be one of \"production\", \"development\" [did you mean \"development\"?]",
    ),
    (
        "plaintext = true",
        "plaintxt = true\nplaintext = true",
        "4:1: unknown key \"plaintxt\" in [server] [did you mean \"plaintext\"?]",
    ),
    (
        "plaintext = true",
        "plaintext = \"yes\"",
        "4:13: expected true or false, found a text",
    ),
    (
        "plaintext = true",
        "plaintext = true\nlisten = \"0.0.0.0:8443\"",
        "4:13: plaintext is taken only on a loopback address [listen on 127.0.0.1 or [::1], or configure [server.tls]]",
    ),
    (
        "plaintext = true",
        "plaintext = true\nlisten = \"localhost\"",
        "5:10: not an address and port [write it as \"127.0.0.1:8443\", \"0.0.0.0:8443\" or \"[::]:8443\"]",
    ),
    (
        "plaintext = true",
        "plaintext = true\nplaintext_roles = [\"oncall\"]",
        "5:20: has to be one of \"auth-server\", \"mobile-backend\", \"resource-server\", \"on-call\", \"security-admin\" [did you mean \"on-call\"?]",
    ),
    (
        "plaintext = true",
        "plaintext = true\nplaintext_roles = []",
        "5:19: has to have at least one entry",
    ),
    (
        "plaintext = true",
        "plaintext = true\ndrain = \"20\"",
        "5:9: not a span of time [write a whole number and a unit: ms, s, m, h or d, as in \"90s\", \"10m\" or \"30d\"]",
    ),
    (
        "plaintext = true",
        "plaintext = true\ndrain = \"11m\"",
        "5:9: has to be from 0s to 10m",
    ),
    (
        "plaintext = true",
        "plaintext = true\n[server.limits]\nmessage_bytes = 1",
        "6:17: has to be from 65536 to 4194304",
    ),
    (
        "plaintext = true",
        "plaintext = true\n[server.limits]\nmessage_bytes = -1",
        "6:17: has to be from 65536 to 4194304",
    ),
    (
        "plaintext = true",
        "plaintext = true\n[server.limits]\nconnections = 1.5",
        "6:15: expected a whole number, found a number with a point",
    ),
    (
        "plaintext = true",
        "plaintext = true\ntls = 3",
        "5:7: [server.tls] has to be a table, not a whole number [write [server.tls] above its keys]",
    ),
    (
        "plaintext = true",
        "",
        "2:1: [server] lacks \"[server.tls]\" [add [server.tls], or plaintext = true on a loopback address]",
    ),
    (
        "https://a.example",
        "https://a.example/",
        "3:14: ends with a slash [remove it]",
    ),
    (
        "https://a.example",
        "http://a.example",
        "3:14: http:// is taken only for this machine itself (127.0.0.1, [::1], localhost) [use TLS]",
    ),
    (
        "public_url = \"https://a.example\"\n",
        "",
        "2:1: [server] lacks \"public_url\"",
    ),
    (
        "[store]",
        "[side]\nlisten = \"127.0.0.1:8443\"\n[store]",
        "6:10: [server] listens there already [take another port]",
    ),
    (
        "\"memory\"",
        "\"redis\"",
        "5:1: [store] lacks \"url\" [write it as \"rediss://host:6379\"]",
    ),
    (
        "\"memory\"",
        "\"disk\"",
        "5:1: [store] lacks \"directory\" [it says where the files are kept]",
    ),
    (
        "\"memory\"",
        "\"memory\"\nurl = \"redis://h\"",
        "7:1: \"url\" is for a store of kind = \"redis\" [remove it, or change \"kind\"]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nurl = \"redis://h/x\"",
        "7:7: the path is not the number of a database [write it as \"rediss://host:6379/0\"]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nurl = \"redis://h\"\ntls_ca = \"x\"",
        "8:1: \"tls_ca\" is of no use without TLS [write rediss:// in \"url\"]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nurl = \"redis://h\"\nusername = \"x\"",
        "8:1: a user needs a password [name its file in \"password_file\"]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nsentinels = [\"redis://h\"]",
        "5:1: [store] lacks \"master\" [it is what the Sentinels call the primary]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nsentinels = [\"redis://h/1\"]\nmaster = \"m\"",
        "7:14: a URL with a path is not taken here",
    ),
    (
        "\"memory\"",
        "\"redis\"\nsentinels = [\"redis://h\"]\nmaster = \"m\"\nsentinel_username = \"x\"",
        "9:1: a user needs a password [name its file in \"sentinel_password_file\"]",
    ),
    (
        "\"memory\"",
        "\"redis\"\ncluster = []",
        "7:11: has to have at least one entry",
    ),
    (
        "\"memory\"",
        "\"redis\"\ncluster = [\"redis://h\"]\nmaster = \"m\"",
        "8:1: \"master\" is of no use without \"sentinels\" [remove it]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nurl = \"redis://h\"\ncluster = [\"redis://h\"]",
        "8:1: \"url\", \"sentinels\" and \"cluster\" are three ways to name servers [keep one of them]",
    ),
    (
        "\"memory\"",
        "\"redis\"\ncluster = [\"redis://h\", \"rediss://i\"]",
        "7:11: some of them ask for TLS and some do not [write rediss:// everywhere]",
    ),
    (
        "\"memory\"",
        "\"redis\"\nurl = \"redis://h\"\nconnections = 17",
        "8:15: has to be from 1 to 16",
    ),
    (
        "\"memory\"",
        "\"memory\"\nrevocation_fsync = true",
        "7:1: \"revocation_fsync\" is for a store of kind = \"redis\" [remove it, or change \"kind\"]",
    ),
    (
        "\"memory\"",
        "\"memory\"\npassword = \"hunter2\"",
        "7:1: unknown key \"password\" in [store] [secrets are never written here: put it in a file and name it in \"password_file\"]",
    ),
    (
        "status_list_missing = \"allow\"",
        "",
        "7:1: [attestation] lacks \"status_list_url\" [write status_list_url = \"https://android.googleapis.com/attestation/status\", or (development only) status_list_missing = \"allow\"]",
    ),
    (
        "status_list_missing = \"allow\"",
        "status_list_url = \"http://mirror.example/status\"",
        "8:19: http:// is taken only for this machine itself (127.0.0.1, [::1], localhost) [use TLS]",
    ),
    (
        "status_list_missing = \"allow\"",
        "status_list = \"a\"\nstatus_list_url = \"https://a.example/status\"",
        "8:15: the status list is either fetched or a file [remove \"status_list\", or \"status_list_url\"]",
    ),
    (
        "status_list_missing = \"allow\"",
        "status_list = \"a\"\nstatus_list_every = \"1h\"",
        "9:21: this is about a list that is fetched [write \"status_list_url\"]",
    ),
    (
        "status_list_missing = \"allow\"",
        "status_list_url = \"https://a.example/status\"\nstatus_list_age_max = \"119m\"",
        "9:23: the list would be too old whenever one fetch fails [status_list_age_max is at least twice status_list_every]",
    ),
    (
        "status_list_missing = \"allow\"",
        "status_list_missing = \"allow\"\nstatus_list_age_max = \"1h\"",
        "9:23: there is no status list that this could be about [write \"status_list_url\"]",
    ),
    (
        "[store]",
        "[outbound]\nproxy = \"http://proxy.example\"\n[store]",
        "6:9: the proxy has no port [write it as in \"http://proxy.example.com:3128\"]",
    ),
    (
        "[store]",
        "[[callers]]\nidentity = \"dns:a\"\nroles = [\"on-call\"]\n[store]",
        "5:1: callers cannot be told apart on a plaintext listener [remove [[callers]], or configure [server.tls]]",
    ),
    (
        "[store]",
        "[callers]\n[store]",
        "5:1: \"callers\" is a list of tables [write [[callers]]]",
    ),
    (
        "[apps.bank]",
        "[apps.Bank]\naudiences = [\"x\"]\n[apps.Bank.apple]\nteam_id = \"A1B2C3D4E5\"\nbundle_id = \"x\"\n[apps.bank]",
        "9:7: \"Bank\" is no name for an app [1 to 64 of a-z 0-9 . _ - beginning with a letter or digit; a name with a point stands in quotes: [apps.\"com.example.bank\"]]",
    ),
    (
        "audiences = [\"api\"]",
        "",
        "9:1: [apps.bank] lacks \"audiences\"",
    ),
    ("[\"api\"]", "[]", "10:13: has to have at least one entry"),
    (
        "[\"api\"]",
        "[\"api\", \"b\", \"api\"]",
        "10:26: stands here twice [remove one of them]",
    ),
    (
        "[\"api\"]",
        "\"api\"",
        "10:13: expected a list in brackets, found a text",
    ),
    (
        "com.example.bank",
        "bank",
        "12:11: \"bank\" is no Android package name [as in \"com.example.bank\"]",
    ),
    (
        "[\"01",
        "[\"",
        "13:31: a SHA-256 digest has 32 bytes, this one has 31 [`apksigner verify --print-certs` and the Play Console show it]",
    ),
    (
        "[\"01",
        "[\"0x",
        "13:31: not hexadecimal [`apksigner verify --print-certs` and the Play Console show it]",
    ),
    (
        "package =",
        "securty_level_min = \"tee\"\npackage =",
        "12:1: unknown key \"securty_level_min\" in [apps.bank.android] [did you mean \"security_level_min\"?]",
    ),
    (
        "package =",
        "security_level_min = \"software\"\npackage =",
        "12:22: has to be one of \"tee\", \"strongbox\"",
    ),
    (
        "package =",
        "self_signed_boot_keys = [\"0000000000000000000000000000000000000000000000000000000000000000\"]\npackage =",
        "12:26: all bytes are zero, which is no digest [a verifiedBootKey is the SHA-256 of the key the OS is signed with]",
    ),
    (
        "package =",
        "os_patch_level_min = 202513\npackage =",
        "12:22: not a patch level [write year and month as in 202506; 0 takes any]",
    ),
    (
        "package =",
        "os_version_min = 13\npackage =",
        "12:18: not an Android version [Android attests version 13 as 130000; 0 takes any]",
    ),
    (
        "package =",
        "vendor_patch_level_min = 202506\npackage =",
        "12:26: not a patch level [write year, month and day as in 20250605; 0 takes any]",
    ),
    (
        "package =",
        "shared_uid_packages = [\"com.example.bank\"]\npackage =",
        "12:23: the app's own package stands here again [remove it]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.apple]\nteam_id = \"short\"\nbundle_id = \"x\"\n[apps.bank.android]",
        "12:11: \"short\" is no team id [ten characters A-Z 0-9, as in \"9CYHJNG644\"]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.apple]\nteam_id = \"A1B2C3D4E5\"\nbundle_id = \"x*\"\n[apps.bank.android]",
        "13:13: \"x*\" is no bundle id [letters, digits, points and hyphens, as in \"com.example.bank\"]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.apple]\nteam_id = \"A1B2C3D4E5\"\nbundle_id = \"x\"\nvalidation_categories = [4, 11]\n[apps.bank.android]",
        "14:29: has to be from 0 to 10",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes]\naccess = \"10m\"\nidle = \"10m\"\nrefresh_grace = \"1m\"\n[apps.bank.android]",
        "12:10: \"access\" (10m) has to be shorter than \"idle\" (10m)",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes]\nidle = \"181d\"\n[apps.bank.android]",
        "12:8: \"idle\" (181d) is longer than \"absolute\" (180d) [a session cannot idle past its end]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes]\nabsolute = \"1d\"\n[apps.bank.android]",
        "12:12: \"idle\" (30d) is longer than \"absolute\" (1d) [a session cannot idle past its end]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes]\nidle = \"6m\"\n[apps.bank.android]",
        "12:8: \"refresh_grace\" (10m) has to be shorter than \"idle\" (6m)",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes.tee]\nidle = \"181d\"\n[apps.bank.android]",
        "12:8: \"idle\" (181d) is longer than \"absolute\" (180d) [a session cannot idle past its end]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes]\nabsolute = \"40d\"\n[apps.bank.lifetimes.strongbox]\nidle = \"41d\"\n[apps.bank.android]",
        "14:8: \"idle\" (41d) is longer than \"absolute\" (40d) [a session cannot idle past its end]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.lifetimes.provisional]\nrefresh_grace = \"1m\"\n[apps.bank.android]",
        "12:1: unknown key \"refresh_grace\" in [apps.bank.lifetimes.provisional] [known here: access, idle, absolute]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.reappraisal]\nbelow_policy = \"revok\"\n[apps.bank.android]",
        "12:16: has to be one of \"revoke\", \"suspend\", \"degrade\", \"report\" [did you mean \"revoke\"?]",
    ),
    (
        "package =",
        "monitor = [\"os_patch_levl\"]\npackage =",
        "12:12: has to be one of \"security_level_min\", \"verified_boot_key\", \"os_version\", \"os_patch_level\", \"vendor_patch_level\", \"boot_patch_level\", \"max_patch_age\", \"provisioning\", \"user_authentication\" [did you mean \"os_patch_level\"?]",
    ),
    (
        "package =",
        "max_patch_age = \"30d\"\npackage =",
        "12:17: has to be from 31d to 3650d",
    ),
    (
        "package =",
        "user_authentication = []\npackage =",
        "12:23: has to have at least one entry",
    ),
    (
        "package =",
        "user_authentication_timeout_max = \"30s\"\npackage =",
        "12:35: \"user_authentication_timeout_max\" says nothing without \"user_authentication\" [write which authenticators are accepted in \"user_authentication\"]",
    ),
    (
        "package =",
        "attestation_key_rate.remote = \"20\"\npackage =",
        "12:31: not a rate [write how many in how long, as in \"20/1d\" or \"1000/1h\"]",
    ),
    (
        "[apps.bank.android]",
        "[rates]\ncaller = \"5\"\n[apps.bank.android]",
        "12:10: not a rate [write how many in how long, as in \"20/1d\" or \"1000/1h\"]",
    ),
    (
        "[apps.bank.android]",
        "[rates]\nfailure_cost = 17\n[apps.bank.android]",
        "12:16: has to be from 0 to 16",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.rates]\ndoubt_divisor = 0\n[apps.bank.android]",
        "12:17: has to be from 1 to 100",
    ),
    (
        "package =",
        "attestation_key_rate.remote = \"0/1d\"\npackage =",
        "12:31: has to be 1 to 1000000 in 1m to 30d",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.apple]\nteam_id = \"A1B2C3D4E5\"\nbundle_id = \"x\"\nbundle_version_min = \"1.2b\"\n[apps.bank.android]",
        "14:22: not a version [numbers joined by points, as in \"1.12.3\" (CFBundleVersion)]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.apple]\nteam_id = \"A1B2C3D4E5\"\nbundle_id = \"x\"\nbundle_versions = [\"1.0\"]\nbundle_versions_refused = [\"1\"]\n[apps.bank.android]",
        "15:27: 1 stands in \"bundle_versions\" as well [remove it from one of them]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.apple]\nteam_id = \"A1B2C3D4E5\"\nbundle_id = \"x\"\nplatforms = [\"macOS\"]\n[apps.bank.android]",
        "14:14: \"macOS\" is no platform [as certificates name them: \"iphoneos\", \"macosx\"]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.limits]\nsessions_per_subject = 5\nsessions_per_device = 6\n[apps.bank.android]",
        "13:23: more than \"sessions_per_subject\" (5)",
    ),
    (
        "[apps.bank.android]",
        "[[apps.bank.scopes]]\nscopes = [\"a b\"]\n[apps.bank.android]",
        "12:11: \"a b\" is no scope [printable ASCII without spaces, quotes and backslashes (RFC 6749, 3.3)]",
    ),
    (
        "[apps.bank.android]",
        "[[apps.bank.scopes]]\nscopes = [\"a\"]\n[[apps.bank.scopes]]\nscopes = [\"b\", \"a\"]\n[apps.bank.android]",
        "14:10: \"a\" stands in an earlier rule [a scope has one rule]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.proof]\naccepted_uris = [\"https://a.example?x\"]\n[apps.bank.android]",
        "12:18: a URL with a query or fragment is not taken",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.risk]\ndrop_scopes_at = 3\n[apps.bank.android]",
        "12:18: there is no scope to drop [name them in \"dropped_scopes\"]",
    ),
    (
        "[apps.bank.android]",
        "[apps.bank.risk.points]\nproof_replayed = 1001\n[apps.bank.android]",
        "12:18: has to be from 0 to 1000",
    ),
    (
        "[apps.bank.android]",
        "[apps.empty]\naudiences = [\"x\"]\n[apps.bank.android]",
        "11:1: the app has no platform [add [apps.NAME.android], [apps.NAME.apple] or both]",
    ),
    (
        "[store]",
        "[telemetry]\ntrace_ratio = 1.5\n[store]",
        "6:15: has to be from 0 to 1",
    ),
    (
        "[store]",
        "[telemetry]\ntrace_ratio = nan\n[store]",
        "6:15: has to be from 0 to 1",
    ),
    (
        "[store]",
        "[telemetry]\notlp_endpoint = \"http://u:hunter2@h\"\n[store]",
        "6:17: a URL with a user name is not taken [secrets are never written here]",
    ),
    (
        "kind = \"memory\"",
        "kind = \"memory\"\nkind = \"disk\"",
        "7:1: duplicate key [remove one of them]",
    ),
];

#[test]
fn every_wrong_value_gives_exactly_its_problem() {
    for (from, to, problem) in WRONG {
        assert_eq!(broken(from, to), [*problem], "{to}");
    }
}

#[test]
fn production_makes_no_concession() {
    let text = format!(
        "{}[keys]\ngenerate = true\n",
        GOOD.replace("mode = \"development\"", "mode = \"production\"")
            .replace(
                "[attestation]",
                "[attestation]\nandroid_roots = [\"a.pem\"]\napple_roots = [\"b.pem\"]",
            )
    );
    assert_eq!(
        parse(&text).unwrap_err(),
        [
            "4:13: plaintext in production needs its roles written out [write plaintext_roles = [\"…\"]: every caller on this machine gets them]",
            "6:8: a store that forgets everything at a restart is for development [use \"disk\" or \"redis\", or set mode = \"development\"]",
            "8:17: test authorities are trusted only in development [set mode = \"development\", or remove them]",
            "9:15: test authorities are trusted only in development [set mode = \"development\", or remove them]",
            "10:23: Android evidence without a status list is taken only in development [write \"status_list_url\", or name the file in \"status_list\"]",
            "17:12: keys are generated at the start only in development [make them with `assay keys generate`, or set mode = \"development\"]",
        ]
    );
    let plain_redis = EXAMPLE.replace("rediss://", "redis://");
    assert_eq!(parse(&plain_redis).unwrap_err().len(), 1);
    let said = plain_redis.replace(
        "#plaintext = false\n# The ACL",
        "plaintext = true\n# The ACL",
    );
    assert!(parse(&said).is_ok());
    let no_list = EXAMPLE.replace("status_list_url = \"", "#");
    assert_eq!(parse(&no_list).unwrap_err().len(), 1);
}

#[test]
fn the_other_ways_to_name_redis_servers_in_the_example_are_good() {
    let url = "url = \"rediss://redis.example.com:6379\"\n";
    assert!(EXAMPLE.contains(url));
    let instead = |first: &str| {
        let lines = EXAMPLE
            .lines()
            .filter_map(|line| line.strip_prefix("#     "));
        let lines: Vec<_> = lines.skip_while(|line| !line.starts_with(first)).collect();
        let count = if first == "cluster" { 1 } else { 4 };
        let text = EXAMPLE.replace(url, &format!("{}\n", lines[..count].join("\n")));
        let StoreConfig::Redis(redis) = parse(&text).unwrap().store else {
            panic!("another store");
        };
        redis.servers
    };
    let nodes = [
        "rediss://redis-0.example.com:6379",
        "rediss://redis-1.example.com:6379",
    ];
    assert_eq!(
        instead("cluster"),
        RedisServers::Cluster(nodes.map(ToOwned::to_owned).to_vec())
    );
    let sentinels = [
        "rediss://sentinel-0.example.com:26379",
        "rediss://sentinel-1.example.com:26379",
    ];
    assert_eq!(
        instead("sentinels"),
        RedisServers::Sentinels {
            urls: sentinels.map(ToOwned::to_owned).to_vec(),
            master: "assay".to_owned(),
            username: Some("assay".to_owned()),
            password_file: Some("/etc/assay/secrets/sentinel-password".into()),
        }
    );
}

#[test]
fn callers_are_known_by_exact_names_and_only_once() {
    let twice = EXAMPLE.replace(
        "dns:api.example.com",
        "spiffe://example.com/ns/login/sa/auth",
    );
    let problems = parse(&twice).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].ends_with("this caller has an entry already [put all its roles in one entry]")
    );
    for bad in [
        "dns:*.example.com",
        "dns:API.example.com",
        "api.example.com",
        "spiffe://a",
    ] {
        assert_eq!(
            parse(&EXAMPLE.replace("dns:api.example.com", bad))
                .unwrap_err()
                .len(),
            1,
            "{bad}"
        );
    }
}

#[test]
fn an_empty_file_lacks_everything_it_needs() {
    assert_eq!(
        parse("").unwrap_err(),
        [
            "1:1: the file lacks \"[apps.NAME]\" [without an app there is nothing to serve]",
            "1:1: the file lacks \"[server]\" [it says where to listen; see `assay config example`]",
            "1:1: the file lacks \"[store]\" [it says where the state is kept]",
        ]
    );
}

#[test]
fn one_wrong_section_does_not_hide_what_is_wrong_between_sections() {
    let text = EXAMPLE
        .replace("#handshake = \"5s\"", "handshake = 5")
        .replace(
            "#listen = \"127.0.0.1:9464\"",
            "listen = \"127.0.0.1:8443\"",
        )
        .replace("status_list_url = \"", "android_roots = 1 #")
        .replace("[[callers]]", "[[callrs]]")
        .replace("package = \"com.example.bank\"", "package = 3");
    let problems = parse(&text).unwrap_err();
    for part in [
        "expected a span",
        "listens there",
        "lacks \"status_list_url\"",
        "lacks \"[[callers]]\"",
        "did you mean \"callers\"",
        "found a whole number",
    ] {
        assert!(
            problems.iter().any(|p| p.contains(part)),
            "{part}: {problems:#?}"
        );
    }
    assert_eq!(problems.len(), 7, "{problems:#?}");
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = "a.".repeat(500_000);
    for text in [
        format!("{deep}a = 1"),
        format!("[{deep}a]"),
        format!("a = {{ {deep}a = 1 }}"),
        format!("a = {}", "[".repeat(1_000_000)),
        format!("a = {}", "{a=".repeat(300_000)),
    ] {
        assert!(parse(&text).is_err());
    }
}

#[test]
fn a_file_full_of_problems_is_answered_with_the_first_ones() {
    let unknown: String = (0..80_000).map(|n| format!("k{n} = 1\n")).collect();
    for text in [
        unknown,
        "a = 1\n".repeat(150_000),
        "[[callers]]\n".repeat(80_000),
    ] {
        assert!((1..=200).contains(&parse(&text).unwrap_err().len()));
    }
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_its_order() {
    let text = GOOD
        .replace("plaintext = true", "plaintext = tru")
        .replace("kind = \"memory\"", "kind = \"memry\"")
        .replace(
            "package = \"com.example.bank\"",
            "pakcage = \"com.example.bank\"",
        )
        .replace("[\"api\"]", "[\"a p i\", 7]");
    let problems = parse(&text).unwrap_err();
    let places: Vec<&str> = problems
        .iter()
        .map(|p| p.split(": ").next().unwrap())
        .collect();
    assert_eq!(places, ["4:13", "6:8", "10:14", "10:23", "11:1", "12:1"]);
}

#[test]
fn a_report_shows_the_line_the_place_and_a_hint() {
    let text = GOOD.replace("package", "securty_level_min = \"tee\"\npackage");
    let report = Config::parse(&text, Path::new(""))
        .unwrap_err()
        .named("my.toml");
    assert_eq!(
        report.to_string(),
        "my.toml:12:1: unknown key \"securty_level_min\" in [apps.bank.android]\n 12 | securty_level_min = …\n    | ^^^^^^^^^^^^^^^^^\nhint: did you mean \"security_level_min\"?\n\nmy.toml: 1 problem\n"
    );
}

#[test]
fn places_are_right_with_crlf_and_characters_of_several_bytes() {
    let text = GOOD
        .replace(
            "audiences",
            "\"größe\" = 1\naudiences = { \"ключ\" = 1 }\n#",
        )
        .replace('\n', "\r\n");
    let report = Config::parse(&text, Path::new("")).unwrap_err();
    let places: Vec<_> = report
        .problems()
        .iter()
        .map(|p| (p.line, p.column))
        .collect();
    assert_eq!(places, [(10, 1), (11, 13)]);
    let shown = report.to_string();
    assert!(
        shown.contains(" 10 | \"größe\" = …\n    | ^^^^^^^\n"),
        "{shown}"
    );
    assert!(!shown.contains('\r'));
}

#[test]
fn a_secret_in_the_wrong_place_is_never_printed() {
    for (from, to) in [
        (
            "kind = \"memory\"",
            "kind = \"memory\"\npassword = \"hunter2\"",
        ),
        (
            "kind = \"memory\"",
            "kind = \"memory\"\npasword = \"hunter2\"",
        ),
        (
            "kind = \"memory\"",
            "kind = \"memory\"\napi = { x = \"hunter2\" }",
        ),
        (
            "kind = \"memory\"",
            "kind = \"redis\"\nurl = \"redis://me:hunter2@h\"",
        ),
        (
            "kind = \"memory\"",
            "kind = \"memory\"\npassword = \"hunter2",
        ),
        ("kind = \"memory\"", "kind = \"memory\"\npassword = hunter2"),
        (
            "kind = \"memory\"",
            "kind = \"redis\"\nurl = \"redis://h\"\npassword_file = [\"hunter2\"]",
        ),
    ] {
        let report = Config::parse(&GOOD.replace(from, to), Path::new("")).unwrap_err();
        assert!(
            !format!("{report}{report:?}").contains("hunter2"),
            "{to}\n{report}"
        );
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let text = format!("{GOOD}#{}", "x".repeat(1024 * 1024));
    assert_eq!(
        parse(&text).unwrap_err(),
        ["1:1: the file is larger than 1048576 bytes"]
    );
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Exit status and output of `assay config …`.
fn assay_config(args: &[&str]) -> (u8, String) {
    let cli = Cli::parse_from(["config"].iter().chain(args));
    let mut out = Vec::new();
    let status = write_to(&cli.config, &mut out).unwrap();
    (status, String::from_utf8(out).unwrap())
}

fn check(file: &Path) -> (u8, String) {
    assay_config(&["check", file.to_str().unwrap()])
}

#[test]
fn the_command_prints_examples_that_it_accepts() {
    assert_eq!(assay_config(&["example"]), (0, EXAMPLE.to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("assay.toml");
    fs::write(&file, assay_config(&["example", "--development"]).1).unwrap();
    let (status, said) = check(&file);
    assert_eq!(status, 0, "{said}");
    assert!(said.ends_with("assay.toml: good (development; plaintext, 5 roles for everyone; store: memory; apps: demo)\n"));
}

#[test]
fn the_command_tells_problems_from_files_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("assay.toml");
    let (status, said) = check(&file);
    assert_eq!(
        (
            status,
            said.ends_with("assay.toml: there is no such file\n")
        ),
        (2, true)
    );
    assert_eq!(check(dir.path()).0, 2);
    fs::write(&file, b"a = 1\n# \xff\n").unwrap();
    let (status, said) = check(&file);
    assert_eq!(status, 1);
    assert!(
        said.contains("assay.toml:2:3: the file is not UTF-8 from here on"),
        "{said}"
    );
}

fn pem(dir: &Path, name: &str) -> rcgen::KeyPair {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    key
}

#[test]
fn every_file_that_is_named_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("assay.toml");
    let with_files = EXAMPLE
        .replace("#: password_file", "password_file")
        .replace("status_list_url = \"", "#")
        .replace("#| status_list", "status_list")
        .replace("#: own_list", "own_list");
    fs::write(&file, with_files).unwrap();
    let lines = |said: &str| {
        let problem = |line: &&str| line.starts_with(file.to_str().unwrap());
        let mut lines: Vec<String> = said.lines().filter(problem).map(str::to_owned).collect();
        lines.pop();
        lines
    };
    let (status, said) = check(&file);
    assert_eq!(status, 1);
    // Certificate, key, authorities, keys, password and both lists.
    assert_eq!(lines(&said).len(), 7, "{said}");
    assert!(!said.contains("secrets/redis-password"), "{said}");

    for directory in ["tls", "keys", "secrets"] {
        fs::create_dir(dir.path().join(directory)).unwrap();
    }
    pem(&dir.path().join("tls"), "server");
    pem(&dir.path().join("tls"), "callers-ca");
    fs::write(dir.path().join("secrets/redis-password"), "hunter2\n").unwrap();
    fs::write(dir.path().join("android-status.json"), r#"{"entries":{}}"#).unwrap();
    fs::write(dir.path().join("revoked-keys.txt"), "serial 1a\n").unwrap();
    let (status, said) = check(&file);
    assert_eq!(status, 0, "{said}");

    pem(&dir.path().join("tls"), "other");
    fs::copy(
        dir.path().join("tls/other-key.pem"),
        dir.path().join("tls/server-key.pem"),
    )
    .unwrap();
    fs::write(dir.path().join("tls/callers-ca.pem"), "hello").unwrap();
    fs::write(dir.path().join("android-status.json"), "[]").unwrap();
    fs::write(dir.path().join("revoked-keys.txt"), "serial x\n").unwrap();
    fs::write(dir.path().join("secrets/redis-password"), "two\nlines").unwrap();
    let (status, said) = check(&file);
    assert_eq!(status, 1);
    let found: Vec<_> = lines(&said)
        .iter()
        .map(|l| l.rsplit(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        found,
        [
            "the key is not the certificate's",
            "it holds no PEM certificate",
            "the file has to hold one line of text",
            "line 1, column 0",
            "a serial number is 1 to 42 hex digits",
        ]
    );
    assert!(!said.contains("two"), "{said}");
}

#[test]
fn a_secret_is_one_line_without_its_line_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    for (content, secret) in [
        ("hunter2", Some("hunter2")),
        ("hunter2\n", Some("hunter2")),
        ("hunter2\r\n", Some("hunter2")),
        (" x ", Some(" x ")),
        ("", None),
        ("\n", None),
        ("a\nb", None),
        ("a\n\n", None),
    ] {
        fs::write(&file, content).unwrap();
        let read = read_secret(&file)
            .ok()
            .map(|secret| secret.expose().clone());
        assert_eq!(read.as_deref(), secret, "{content:?}");
    }
    fs::write(&file, "x".repeat(5000)).unwrap();
    assert!(read_secret(&file).is_err());
}

/// A text that looks like a configuration here and there.
fn almost_a_configuration() -> impl Strategy<Value = String> {
    let lines: Vec<String> = EXAMPLE
        .lines()
        .map(|line| line.trim_start_matches(['#', ':', '|', ' ']).to_owned())
        .collect();
    let line = prop_oneof![
        8 => prop::sample::select(lines),
        1 => "\\PC{0,20}",
        1 => "[a-z_.]{1,12} = [\\[\\]{}\"'a-z0-9=,.]{0,12}",
        1 => Just("[[[[".to_owned()),
    ];
    prop::collection::vec(line, 0..60).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_answered_without_a_panic(text in "(?s).{0,300}") {
        if let Err(report) = Config::parse(&text, Path::new("")) {
            prop_assert!(!report.problems().is_empty());
            let shown = report.to_string();
            let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
            prop_assert!(!shown.contains(steers), "{shown:?}");
        }
    }

    #[test]
    fn any_shuffled_configuration_is_answered_with_places_inside_the_text(text in almost_a_configuration()) {
        if let Err(report) = Config::parse(&text, Path::new("")) {
            prop_assert!(!report.problems().is_empty());
            let lines = text.split('\n').count();
            for problem in report.problems() {
                prop_assert!((1..=lines).contains(&problem.line), "{problem:?}");
                let line = text.split('\n').nth(problem.line - 1).unwrap();
                prop_assert!(problem.column <= line.chars().count() + 1, "{problem:?}");
            }
            prop_assert!(!report.to_string().is_empty());
        }
    }
}
