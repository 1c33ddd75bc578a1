//! `assay inspect`, from its command line to what it prints: real evidence, evidence of test
//! authorities, and everything that is no evidence at all.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use assay::cli::inspect::{InspectArgs, run_with};
use assay::config::DEVELOPMENT;
use assay::simulator::android::{Options, Phone, Purpose};
use assay::simulator::{Authorities, apple};
use assay::time::Timestamp;
use clap::Parser;
use data_encoding::{BASE64, BASE64_MIME, BASE64URL_NOPAD, HEXLOWER};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::android_forge::{self, KeyDescription};
use crate::apple_support::{base64, real_vectors, text};

const PACKAGE: &str = "com.example.demo";
const SIGNER: [u8; 32] = [7; 32];
const CHALLENGE: &[u8] = b"a challenge";

#[derive(Parser)]
#[command(name = "assay")]
enum Cli {
    Inspect(InspectArgs),
}

/// What the command answered.
struct Answer {
    status: i32,
    out: String,
    err: String,
}

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T00:00:00Z").unwrap()
}

fn coloured(args: &[&str], colour: bool) -> Answer {
    let words = ["assay", "inspect"].iter().chain(args);
    let Cli::Inspect(parsed) = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            let status = error.exit_code();
            let (mut out, mut err) = (String::new(), String::new());
            let stream = if error.use_stderr() {
                &mut err
            } else {
                &mut out
            };
            write!(stream, "{error}").unwrap();
            return Answer { status, out, err };
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = run_with(&parsed, now(), &mut out, &mut err, colour);
    Answer {
        status: status.into(),
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

fn inspect(args: &[&str]) -> Answer {
    coloured(args, false)
}

impl Answer {
    /// The document, after a look at its shape.
    fn json(&self) -> Json {
        assert!(self.out.is_ascii(), "{}", self.out);
        let json: Json = serde_json::from_str(&self.out).expect("one JSON document");
        assert_eq!(
            members(&json),
            ["certificate_index", "checks", "device", "reason", "verdict"]
        );
        let checks = json["checks"].as_array().unwrap();
        for check in checks {
            let wanted = [
                "certificate_index",
                "name",
                "outcome",
                "reason",
                "seen",
                "wanted",
            ];
            assert_eq!(members(check), wanted);
            assert_eq!(check["outcome"] == "failed", check["reason"].is_string());
        }
        let first = checks.iter().find(|check| check["outcome"] == "failed");
        assert_eq!(json["verdict"] == "accept", first.is_none());
        assert_eq!(
            json["reason"],
            first.map_or(Json::Null, |c| c["reason"].clone())
        );
        let index = first.map_or(Json::Null, |c| c["certificate_index"].clone());
        assert_eq!(json["certificate_index"], index);
        assert_eq!(self.status, i32::from(first.is_some()));
        json
    }

    fn accepted(&self) -> Json {
        let json = self.json();
        assert_eq!(json["verdict"], "accept", "{}", self.out);
        json
    }

    fn rejected(&self, reason: &str) -> Json {
        let json = self.json();
        assert_eq!(json["reason"], reason, "{}", self.out);
        json
    }

    /// Nothing of it can be taken for a verdict.
    fn unusable(&self) -> &str {
        assert_eq!(self.status, 2, "{} {}", self.out, self.err);
        assert_eq!(self.out, "");
        assert_ne!(self.err, "");
        &self.err
    }
}

fn members(object: &Json) -> Vec<&str> {
    let mut names: Vec<&str> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

/// How the check of this name ended; of several, the last.
fn outcome<'a>(json: &'a Json, name: &str) -> &'a str {
    let checks = json["checks"].as_array().unwrap();
    let check = checks.iter().rev().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no check {name}"))["outcome"]
        .as_str()
        .unwrap()
}

/// Files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }
}

fn pem(certificates: &[Vec<u8>]) -> String {
    let mut out = String::new();
    for der in certificates {
        let body = BASE64_MIME.encode(der);
        let body = body.trim_end();
        let block = "CERTIFICATE-----";
        write!(out, "-----BEGIN {block}\r\n{body}\r\n-----END {block}\r\n").unwrap();
    }
    out
}

/// A test authority's root and a chain of a phone that is changed before.
struct Fleet {
    files: Files,
    root: String,
    chain: String,
    certificates: Vec<Vec<u8>>,
}

fn fleet(change: impl FnOnce(&mut Options)) -> Fleet {
    let authorities = Authorities::generate(now()).unwrap();
    let mut options = Options::well_kept(PACKAGE, SIGNER, now());
    change(&mut options);
    let phone = Phone::new(&authorities, options, now()).unwrap();
    let certificates = phone.attest(CHALLENGE, now()).unwrap().certificate_chain;
    let files = Files::new();
    let root = files.write("root.pem", authorities.android_root_pem());
    let chain = files.write("chain.pem", pem(&certificates));
    Fleet {
        files,
        root,
        chain,
        certificates,
    }
}

impl Fleet {
    fn inspect(&self, more: &[&str]) -> Answer {
        let mut args = vec![
            "android",
            &self.chain,
            "--root",
            &self.root,
            "--format",
            "json",
        ];
        args.extend(more);
        inspect(&args)
    }

    /// A configuration whose app is the fleet's, with more lines for its Android section.
    fn config(&self, more: &str) -> String {
        let digest = format!("[\"{}\"]\n{more}", HEXLOWER.encode(&SIGNER));
        let example = "[\"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\"]";
        assert!(DEVELOPMENT.contains(example) && DEVELOPMENT.contains(PACKAGE));
        self.files
            .write("assay.toml", DEVELOPMENT.replace(example, &digest))
    }
}

fn vectors() -> PathBuf {
    let root = std::env::var_os("ASSAY_VECTORS")
        .expect("ASSAY_VECTORS names the directory of the real device vectors");
    Path::new(&root).join("android")
}

fn vector(file: &str) -> String {
    vectors().join(file).to_str().unwrap().to_owned()
}

/// Inside the validity of remotely provisioned intermediates.
fn time_for(entry: &Json) -> String {
    let from = entry["intermediates_valid_from"].as_i64();
    let to = entry["intermediates_valid_to"].as_i64();
    match (entry["provisioning"] == "factory", from, to) {
        (false, Some(from), Some(to)) => Timestamp::from_secs(from + (to - from) / 2),
        _ => now(),
    }
    .to_rfc3339()
}

/// An attestation vector as arguments.
struct AppleCase {
    files: Files,
    json: Json,
    object: Vec<u8>,
}

impl AppleCase {
    fn all() -> Vec<Self> {
        let vectors = real_vectors("attestation").into_iter();
        vectors
            .map(|json| Self {
                files: Files::new(),
                object: base64(&json["attestation"]),
                json,
            })
            .collect()
    }

    /// Inspects `object` with one argument replaced.
    fn inspect(&self, object: &[u8], changed: (&str, &str)) -> Answer {
        let object = self.files.write("object", object);
        let hash = HEXLOWER.encode(&base64(&self.json["clientDataHash"]));
        let mut args = vec!["apple", &object, "--format", "json"];
        for (name, value) in [
            ("--key-id", text(&self.json["keyId"])),
            ("--client-data-hash", &hash),
            ("--team-id", text(&self.json["teamId"])),
            ("--bundle-id", text(&self.json["bundleId"])),
            ("--environment", text(&self.json["environment"])),
            ("--at", text(&self.json["verifyAt"])),
        ] {
            args.push(name);
            args.push(if name == changed.0 { changed.1 } else { value });
        }
        inspect(&args)
    }
}

/// Inspects an assertion vector with one argument replaced.
fn assertion(files: &Files, json: &Json, changed: (&str, &str)) -> Answer {
    let object = files.write("assertion", base64(&json["assertion"]));
    let hash = HEXLOWER.encode(&base64(&json["clientDataHash"]));
    let (team, bundle) = text(&json["appId"]).split_once('.').unwrap();
    let before = (json["counter"].as_u64().unwrap() - 1).to_string();
    let mut args = vec!["assertion", &object, "--format", "json"];
    for (name, value) in [
        ("--public-key", text(&json["publicKeyX963"])),
        ("--client-data-hash", hash.as_str()),
        ("--team-id", team),
        ("--bundle-id", bundle),
        ("--last-counter", before.as_str()),
    ] {
        args.push(name);
        args.push(if name == changed.0 { changed.1 } else { value });
    }
    inspect(&args)
}

#[test]
fn several_roots_may_be_named_and_described_in_their_files() {
    let (one, two) = (fleet(|_| ()), fleet(|_| ()));
    let described = std::fs::read_to_string(&two.root).unwrap();
    let described = two.files.write(
        "described.pem",
        format!("subject=a root\n\n{described}end\n"),
    );
    one.inspect(&["--root", &described]).accepted();
    one.files.write("root.pem", "no root");
    one.inspect(&["--root", &described]).unusable();
}

#[test]
fn apple_test_authorities_are_trusted_where_they_are_named() {
    let authorities = Authorities::generate(now()).unwrap();
    let options = apple::Options::well_kept("A1B2C3D4E5", PACKAGE, apple::Environment::Production);
    let phone = apple::Phone::new(&authorities, options).unwrap();
    let files = Files::new();
    let object = files.write("object", phone.attest(b"data", now()).unwrap());
    let data = files.write("data", "data");
    let root = files.write("root.pem", authorities.apple_root_pem());
    let key_id = BASE64.encode(&phone.key_id());
    let args = [
        "apple",
        &object,
        "--key-id",
        &key_id,
        "--client-data",
        &data,
        "--team-id",
        "A1B2C3D4E5",
        "--bundle-id",
        PACKAGE,
        "--environment",
        "production",
        "--format",
        "json",
    ];
    inspect(&[&args[..], &["--root", &root]].concat()).accepted();
    inspect(&args).rejected("ATTESTATION_CHAIN_UNTRUSTED");
}

#[test]
fn compares_the_challenge_that_is_given() {
    let fleet = fleet(|_| ());
    let right = HEXLOWER.encode(CHALLENGE);
    let json = fleet
        .inspect(&["--challenge", &right.to_uppercase()])
        .accepted();
    assert_eq!(outcome(&json, "challenge"), "passed");
    let json = fleet
        .inspect(&["--challenge", "00"])
        .rejected("ATTESTATION_CHALLENGE_MISMATCH");
    assert_eq!(json["certificate_index"], 0);
    fleet
        .inspect(&["--challenge", ""])
        .rejected("ATTESTATION_CHALLENGE_MISMATCH");
}

#[test]
fn holds_evidence_against_the_app_of_the_configuration() {
    let fleet = fleet(|options| options.os_patch_level = 202_601);
    let config = fleet.config("");
    let json = fleet
        .inspect(&["--app", "demo", "--config", &config])
        .accepted();
    for name in [
        "app",
        "device_key_algorithm",
        "device_key_purpose",
        "device_key_digest",
    ] {
        assert_eq!(outcome(&json, name), "passed", "{name}");
    }
    for (policy, reason) in [
        ("os_patch_level_min = 202602", "POSTURE_BELOW_POLICY"),
        (
            "security_level_min = \"strongbox\"",
            "SECURITY_LEVEL_TOO_LOW",
        ),
    ] {
        let config = fleet.config(policy);
        fleet
            .inspect(&["--app", "demo", "--config", &config])
            .rejected(reason);
    }
    let text = std::fs::read_to_string(fleet.config("")).unwrap();
    let other = fleet
        .files
        .write("other.toml", text.replace(PACKAGE, "com.example.other"));
    fleet
        .inspect(&["--app", "demo", "--config", &other])
        .rejected("ATTESTATION_APP_MISMATCH");
}

#[test]
fn a_key_that_cannot_be_a_device_key_is_refused_for_an_app_only() {
    let fleet = fleet(|options| options.purposes = vec![Purpose::Sign, Purpose::AttestKey]);
    let json = fleet.inspect(&[]).accepted();
    assert_eq!(outcome(&json, "device_key_purpose"), "not_checked");
    let config = fleet.config("");
    fleet
        .inspect(&["--app", "demo", "--config", &config])
        .rejected("ATTESTATION_KEY_REJECTED");
}

#[test]
fn takes_roots_and_status_list_of_the_configuration_where_none_are_given() {
    let fleet = fleet(|_| ());
    let config = std::fs::read_to_string(fleet.config("")).unwrap();
    let config = config.replace("#android_roots = []", "android_roots = [\"root.pem\"]");
    let list = "[attestation]\nstatus_list = \"status.json\"";
    let config = fleet
        .files
        .write("assay.toml", config.replace("[attestation]", list));
    fleet.files.write("status.json", r#"{"entries":{}}"#);
    let args = [
        "android",
        &fleet.chain,
        "--app",
        "demo",
        "--config",
        &config,
    ];
    let args = [&args[..], &["--format", "json"]].concat();
    let json = inspect(&args).accepted();
    assert_eq!(outcome(&json, "status_list"), "passed");
    std::fs::remove_file(fleet.files.path("status.json")).unwrap();
    let err = inspect(&args);
    assert!(
        err.unusable()
            .contains("status.json: there is no such file")
    );
}

/// What a registration refuses or accepts by configuration, it does here.
#[test]
fn holds_a_chain_against_the_own_list_of_the_configuration() {
    let fleet = fleet(|_| ());
    let config = std::fs::read_to_string(fleet.config("")).unwrap();
    let list = "[attestation]\nown_list = \"own.txt\"";
    let config = fleet
        .files
        .write("assay.toml", config.replace("[attestation]", list));
    let with = ["--app", "demo", "--config", &config];
    fleet.files.write("own.txt", "serial ffff\n");
    let json = fleet.inspect(&with).accepted();
    assert_eq!(outcome(&json, "own_list"), "passed");
    let serial = json["device"]["serials"][1].as_str().unwrap();
    fleet.files.write("own.txt", format!("serial {serial}\n"));
    fleet.inspect(&with).rejected("ATTESTATION_CERT_REVOKED");
    fleet.files.write("own.txt", "serials of old\n");
    let err = fleet.inspect(&with);
    assert!(err.unusable().contains("own.txt: line 1"), "{}", err.err);
}

#[test]
fn takes_attest_keys_where_the_app_of_the_configuration_does() {
    let chain = android_forge::remote(&KeyDescription::genuine(), "TEE");
    let forge = android_forge::under_attest_key(chain, &KeyDescription::attest_key());
    let files = Files::new();
    let chain = files.write("chain.pem", pem(&forge.der()));
    let root = files.write("root.pem", pem(&forge.der()[5..]));
    let digest = HEXLOWER.encode(&android_forge::SIGNER);
    let example = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";
    let text = DEVELOPMENT
        .replace(
            &format!("[\"{example}\"]"),
            &format!("[\"{digest}\"]\nATTEST_KEYS"),
        )
        .replace(PACKAGE, android_forge::PACKAGE);
    let inspect = |rule: &str| {
        let config = files.write("assay.toml", text.replace("ATTEST_KEYS", rule));
        let args = ["android", &chain, "--root", &root, "--app", "demo"];
        let more = ["--config", &config, "--format", "json"];
        inspect(&[&args[..], &more].concat())
    };
    inspect("").rejected("ATTESTATION_CHAIN_UNTRUSTED");
    let json = inspect("attest_keys = \"allow\"").accepted();
    assert_eq!(outcome(&json, "attest_key"), "passed");
}

#[test]
fn says_that_a_disabled_app_registers_nobody() {
    let fleet = fleet(|_| ());
    let config = std::fs::read_to_string(fleet.config("")).unwrap();
    let config = config.replace("[apps.demo]\n", "[apps.demo]\nenabled = false\n");
    let config = fleet.files.write("assay.toml", config);
    let answer = fleet.inspect(&["--app", "demo", "--config", &config]);
    answer.accepted();
    assert!(answer.err.contains("APP_DISABLED"), "{}", answer.err);
}

#[test]
fn a_configuration_that_cannot_be_used_is_no_verdict() {
    let fleet = fleet(|_| ());
    let config = fleet.config("");
    let with = |app: &str, config: &str| fleet.inspect(&["--app", app, "--config", config]);
    assert!(
        with("nope", &config)
            .unusable()
            .contains("its apps are demo")
    );
    let broken = fleet.config("packages = 1");
    assert!(with("demo", &broken).unusable().contains("assay.toml:"));
    let binary = fleet.files.write("binary.toml", b"\xff");
    assert!(with("demo", &binary).unusable().contains("UTF-8"));
    with("demo", "/nonexistent/assay.toml").unusable();
    fleet.inspect(&["--app", "demo"]).unusable();
    fleet.inspect(&["--config", &config]).unusable();
}

#[test]
fn skips_what_openssl_writes_between_certificates() {
    let fleet = fleet(|_| ());
    let described: String = std::fs::read_to_string(&fleet.chain)
        .unwrap()
        .split_inclusive("-----END CERTIFICATE-----\r\n")
        .map(|block| format!("Certificate:\n    Data:\n subject=CN = a - b\n{block}\n---\n"))
        .collect();
    fleet.files.write("chain.pem", described);
    fleet.inspect(&[]).accepted();
}

#[test]
fn nothing_in_evidence_reaches_the_terminal_unescaped() {
    let hostile = "\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{202e}";
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, hostile);
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    let fleet = fleet(|options| options.package_name = format!("com.example.{hostile}"));
    let chain = [&fleet.certificates[..1], &[certificate]].concat();
    let file = fleet.files.write("hostile.pem", pem(&chain));
    let harmless = |text: &str| {
        text.chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
    };

    let report = inspect(&["android", &file]).out;
    assert!(harmless(&report), "{report}");
    assert!(report.contains("\\u{1b}[31mred"), "{report}");
    let json = inspect(&["android", &file, "--format", "json"]).json();
    assert!(
        json["device"]["certificates"][1]["subject"]
            .as_str()
            .unwrap()
            .contains("[31mred")
    );

    let report = inspect(&["android", &fleet.chain, "--root", &fleet.root]).out;
    assert!(harmless(&report), "{report}");
    assert!(
        report.contains("package                   com.example.\\u{1b}[31mred"),
        "{report}"
    );
    let json = fleet.inspect(&[]).json();
    let id = &json["device"]["key_description"]["software_enforced"]["attestation_application_id"];
    assert_eq!(id["packages"][0]["name"], format!("com.example.{hostile}"));

    let nowhere = fleet.files.path(&format!("nowhere{hostile}"));
    assert!(harmless(inspect(&["android", &nowhere]).unusable()));
}

#[test]
fn help_explains_with_examples_and_exit_statuses() {
    for (command, example) in [
        ("android", "assay inspect android chain.pem --challenge"),
        ("apple", "assay inspect apple object.bin --key-id"),
        (
            "assertion",
            "assay inspect assertion assertion.bin --public-key",
        ),
    ] {
        let help = inspect(&[command, "--help"]);
        assert_eq!(help.status, 0);
        assert!(help.out.contains(example), "{}", help.out);
        assert!(help.out.contains("Exit status:"), "{}", help.out);
    }
    assert!(inspect(&["--help"]).out.contains("Exit status:"));
    assert_eq!(inspect(&[]).status, 2);
}

/// What reads the data of real devices: left out where there is none.
mod real_devices {
    use super::*;

    #[test]
    fn a_test_authority_is_trusted_only_where_it_is_named() {
        let fleet = fleet(|_| ());
        fleet.inspect(&[]).accepted();
        inspect(&["android", &fleet.chain, "--format", "json"])
            .rejected("ATTESTATION_CHAIN_UNTRUSTED");
        // And then nobody else is.
        let real = vector("simplewebauthn/pixel8a_rkp_2025.pem");
        let at = "2025-01-20T00:00:00Z";
        let args = ["android", &real, "--at", at, "--format", "json"];
        inspect(&args).accepted();
        inspect(&[&args[..], &["--root", &fleet.root]].concat())
            .rejected("ATTESTATION_CHAIN_UNTRUSTED");
    }

    #[test]
    fn accepts_every_real_app_attest_object_for_what_it_was_made_for_only() {
        let cases = AppleCase::all();
        for case in &cases {
            let json = case.inspect(&case.object, ("", "")).accepted();
            assert_eq!(json["device"]["app_id"], case.json["appId"]);
            assert_eq!(json["device"]["key_id"], case.json["keyId"]);
            assert_eq!(json["device"]["key"]["x963"], case.json["publicKeyX963"]);
            assert_eq!(json["device"]["environment"], case.json["environment"]);
            assert_eq!(outcome(&json, "client_data"), "not_checked");
            let other = match text(&case.json["environment"]) {
                "production" => "development",
                _ => "production",
            };
            let zeros = BASE64.encode(&[0; 32]);
            for (changed, reason) in [
                (("--environment", other), "ATTESTATION_ENVIRONMENT_MISMATCH"),
                (("--team-id", "AAAAAAAAAA"), "ATTESTATION_APP_MISMATCH"),
                (("--bundle-id", "com.example"), "ATTESTATION_APP_MISMATCH"),
                (
                    ("--client-data-hash", "00"),
                    "ATTESTATION_CHALLENGE_MISMATCH",
                ),
                (("--key-id", zeros.as_str()), "ATTESTATION_KEY_REJECTED"),
                (
                    ("--at", "2000-01-01T00:00:00Z"),
                    "ATTESTATION_CHAIN_UNTRUSTED",
                ),
                (("--key-id", "AAAA"), "EVIDENCE_MALFORMED"),
            ] {
                case.inspect(&case.object, changed).rejected(reason);
            }
        }
        println!("{} attestations", cases.len());
    }

    #[test]
    fn accepts_every_real_assertion_once() {
        let vectors = real_vectors("assertion");
        let other = text(&real_vectors("attestation")[1]["publicKeyX963"]).to_owned();
        let files = Files::new();
        for json in &vectors {
            let answer = assertion(&files, json, ("", "")).accepted();
            assert_eq!(answer["device"]["counter"], json["counter"]);
            let counter = json["counter"].to_string();
            for (changed, reason) in [
                (("--last-counter", counter.as_str()), "PROOF_REPLAYED"),
                (("--client-data-hash", "00"), "PROOF_INVALID"),
                (("--bundle-id", "com.example"), "ATTESTATION_APP_MISMATCH"),
            ] {
                assertion(&files, json, changed).rejected(reason);
            }
            if json["publicKeyX963"] != other.as_str() {
                assertion(&files, json, ("--public-key", &other)).rejected("PROOF_INVALID");
            }
        }
        println!("{} assertions", vectors.len());
    }

    #[test]
    fn an_assertion_without_a_last_counter_is_not_checked_for_replay() {
        let json = &real_vectors("assertion")[0];
        let files = Files::new();
        let object = files.write("assertion", base64(&json["assertion"]));
        let data = files.write("data", base64(&json["clientData"]));
        let (team, bundle) = text(&json["appId"]).split_once('.').unwrap();
        let key = text(&json["publicKeyX963"]);
        let args = [
            "assertion",
            &object,
            "--public-key",
            key,
            "--client-data",
            &data,
            "--team-id",
            team,
            "--bundle-id",
            bundle,
        ];
        let found = inspect(&[&args[..], &["--format", "json"]].concat()).accepted();
        assert_eq!(outcome(&found, "counter"), "not_checked");
        let report = inspect(&args).out;
        assert!(
            report.starts_with("✓ ACCEPT  App Attest assertion\n"),
            "{report}"
        );
        assert!(report.contains("\n  Not checked: counter.\n"), "{report}");
    }

    #[test]
    fn arguments_that_make_no_sense_get_no_verdict() {
        let fleet = fleet(|_| ());
        for more in [
            &["--challenge", "xyz"][..],
            &["--challenge", "abc"],
            &["--at", "yesterday"],
            &["--format", "yaml"],
            &["--root", "/nonexistent"],
            &["--status-list", "/nonexistent"],
            &["--colour"],
        ] {
            fleet.inspect(more).unusable();
        }
        let case = &AppleCase::all()[0];
        for changed in [
            ("--key-id", "!"),
            ("--client-data-hash", "0"),
            ("--environment", "staging"),
            ("--at", "2026-13-01T00:00:00Z"),
        ] {
            case.inspect(&case.object, changed).unusable();
        }
        let object = case.files.path("object");
        let key = text(&case.json["publicKeyX963"]);
        let app = ["--team-id", "T", "--bundle-id", "B"];
        let assertion = |key: &str, data: &[&str]| {
            let args = ["assertion", &object, "--public-key", key];
            inspect(&[&args[..], &app, data].concat())
        };
        let hash = ["--client-data-hash", "00"];
        assertion(key, &[]).unusable();
        assertion(key, &["--client-data-hash", "00", "--client-data", &object]).unusable();
        assertion(key, &["--client-data", "/nonexistent"]).unusable();
        assertion("AAAA", &hash).unusable();
        assert_eq!(assertion(key, &hash).status, 1);
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let file = vector("google-keyattestation/blueline__sdk28__TEE_EC_NONE.pem");
        let bright = coloured(&["android", &file], true).out;
        assert!(bright.contains("\u{1b}[31m✗ REJECT"), "{bright}");
        let mut dull = bright;
        for code in ["0", "1", "2", "31", "32"] {
            dull = dull.replace(&format!("\u{1b}[{code}m"), "");
        }
        let plain = |text: &str| {
            text.lines()
                .map(|l| l.trim_end().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&dull), plain(&inspect(&["android", &file]).out));
        let json = coloured(&["android", &file, "--format", "json"], true);
        assert!(!json.out.contains('\u{1b}'));
    }

    #[test]
    fn every_damaged_file_gets_an_answer() {
        let files = Files::new();
        let real = vector("simplewebauthn/pixel8a_rkp_2025.pem");
        let whole = std::fs::read(&real).unwrap();
        let look = |content: &[u8]| {
            let file = files.write("damaged", content);
            let at = "2025-01-20T00:00:00Z";
            let answer = inspect(&["android", &file, "--at", at, "--format", "json"]);
            if answer.status == 2 {
                answer.unusable();
            } else {
                answer.json();
            }
            answer.status
        };
        assert_eq!(look(&whole), 0);
        let mut seen = [0; 3];
        for place in (0..whole.len()).step_by(11) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            for status in [look(&whole[..place]), look(&flipped)] {
                seen[usize::try_from(status).unwrap()] += 1;
            }
        }
        println!("{seen:?}");
        assert!(seen[1] > 100 && seen[2] > 100, "{seen:?}");
        let case = &AppleCase::all()[0];
        for place in (0..case.object.len()).step_by(17) {
            let cut = case.inspect(&case.object[..place], ("", ""));
            assert_ne!(cut.status, 0, "{place}");
            let mut flipped = case.object.clone();
            flipped[place] ^= 1;
            case.inspect(&flipped, ("", "")).json();
        }
    }

    #[test]
    fn every_real_chain_gets_its_expected_verdict_in_both_formats() {
        let expected = std::fs::read(vectors().join("expected.json")).unwrap();
        let entries: Vec<Json> = serde_json::from_slice(&expected).unwrap();
        let mut accepted = 0;
        for entry in &entries {
            let (file, at) = (vector(text(&entry["file"])), time_for(entry));
            let args = ["android", &file, "--at", &at];
            let json = inspect(&[&args[..], &["--format", "json"]].concat()).json();
            let good = entry["strict_verdict"] == "ACCEPT";
            assert_eq!(json["verdict"] == "accept", good, "{file}: {json}");
            assert_eq!(json["device"]["platform"], "android");
            let report = inspect(&args);
            assert_eq!(report.status, i32::from(!good));
            let first = report.out.lines().next().unwrap();
            let wanted = match json["reason"].as_str() {
                None => "✓ ACCEPT  ".to_owned(),
                Some(reason) => format!("✗ REJECT {reason}  "),
            };
            assert!(first.starts_with(&wanted), "{first}");
            accepted += usize::from(good);
        }
        assert!(accepted > 5 && accepted < entries.len());
        println!("{} chains, {accepted} accepted", entries.len());
    }

    #[test]
    fn evidence_that_cannot_be_read_is_rejected() {
        let fleet = fleet(|_| ());
        let chain = |certificates: &[Vec<u8>]| {
            let file = fleet.files.write("other.pem", pem(certificates));
            inspect(&["android", &file, "--root", &fleet.root, "--format", "json"])
        };
        let good = &fleet.certificates;
        chain(&[vec![0x30, 0]]).rejected("EVIDENCE_MALFORMED");
        chain(&[Vec::new()]).rejected("EVIDENCE_MALFORMED");
        let mut cut = good.clone();
        cut[1].pop();
        let json = chain(&cut).rejected("EVIDENCE_MALFORMED");
        assert_eq!(json["certificate_index"], 1);
        chain(&vec![good[0].clone(); 7]).rejected("EVIDENCE_TOO_LARGE");
        let json = chain(&[good[0].clone(), vec![0x30; 9000]]).rejected("EVIDENCE_TOO_LARGE");
        assert_eq!(json["certificate_index"], 1);
        chain(&good[1..]).rejected("ATTESTATION_CHAIN_UNTRUSTED");

        let case = &AppleCase::all()[0];
        case.inspect(&[0xff], ("", ""))
            .rejected("EVIDENCE_MALFORMED");
        case.inspect(b"test", ("", ""))
            .rejected("EVIDENCE_MALFORMED");
        case.inspect(&[0xa3; 20_000], ("", ""))
            .rejected("EVIDENCE_TOO_LARGE");
        let cut = &case.object[..case.object.len() - 1];
        let json = case.inspect(cut, ("", "")).rejected("EVIDENCE_MALFORMED");
        assert_eq!(json["device"]["certificates"], serde_json::json!([]));
        assert!(json["device"]["key"].is_null());

        let mut vector = real_vectors("assertion")[0].clone();
        for (object, reason) in [
            (vec![0xa0], "EVIDENCE_MALFORMED"),
            (vec![0xa0; 5000], "EVIDENCE_TOO_LARGE"),
        ] {
            vector["assertion"] = BASE64.encode(&object).into();
            assertion(&Files::new(), &vector, ("", "")).rejected(reason);
        }
    }

    #[test]
    fn files_that_are_no_evidence_get_no_verdict() {
        let fleet = fleet(|_| ());
        let chain = |content: &[u8]| {
            let file = fleet.files.write("other.pem", content);
            inspect(&["android", &file, "--format", "json"])
        };
        let good = std::fs::read_to_string(&fleet.chain).unwrap();
        for (content, why) in [
            (&b""[..], "it is empty"),
            (b"hello", "no PEM certificate"),
            (b"\xff\xfe\x00", "no PEM certificate"),
            (&fleet.certificates[0], "looks like DER"),
            (good.replace("-----END", "").as_bytes(), "damaged"),
            (good.replace("MII", "M!I").as_bytes(), "damaged"),
            (
                good.replace("CERTIFICATE", "PUBLIC KEY").as_bytes(),
                "no PEM certificate",
            ),
            (&vec![b'\n'; 1024 * 1024 + 1], "larger than"),
        ] {
            let answer = chain(content);
            assert!(answer.unusable().contains(why), "{why}: {}", answer.err);
            assert!(answer.err.starts_with("error: "), "{}", answer.err);
        }
        let case = &AppleCase::all()[0];
        for content in [
            &b""[..],
            b"hello",
            b"not base64!",
            b"\n",
            &[b'A'; 1024 * 1024 + 1],
        ] {
            case.inspect(content, ("", "")).unusable();
        }
        let nowhere = fleet.files.path("nowhere");
        assert!(
            inspect(&["android", &nowhere])
                .unusable()
                .contains("no such file")
        );
        inspect(&["android", fleet.files.0.path().to_str().unwrap()]).unusable();
    }

    #[test]
    fn hashes_the_client_data_of_a_file() {
        let mut hashed = 0;
        for case in AppleCase::all() {
            if case.json["challenge"]["form"] != "sha256(bytes)" {
                continue;
            }
            let data = case
                .files
                .write("data", base64(&case.json["challenge"]["bytes_b64"]));
            let object = case.files.write("object", &case.object);
            let answer = inspect(&[
                "apple",
                &object,
                "--key-id",
                text(&case.json["keyId"]),
                "--client-data",
                &data,
                "--team-id",
                text(&case.json["teamId"]),
                "--bundle-id",
                text(&case.json["bundleId"]),
                "--environment",
                text(&case.json["environment"]),
                "--at",
                text(&case.json["verifyAt"]),
                "--format",
                "json",
            ]);
            answer.accepted();
            hashed += 1;
        }
        assert!(hashed > 0);
    }

    #[test]
    fn looks_certificates_up_in_the_status_list() {
        let fleet = fleet(|_| ());
        let serial = fleet.inspect(&[]).json()["device"]["certificates"][1]["serial"].clone();
        let entries = format!(r#"{{"entries":{{{serial}:{{"status":"REVOKED"}}}}}}"#);
        let list = fleet.files.write("status.json", entries);
        let json = fleet
            .inspect(&["--status-list", &list])
            .rejected("ATTESTATION_CERT_REVOKED");
        assert_eq!(json["certificate_index"], 1);
        let list = fleet.files.write("status.json", r#"{"entries":{}}"#);
        let json = fleet.inspect(&["--status-list", &list]).accepted();
        assert_eq!(outcome(&json, "status_list"), "passed");
        let list = fleet.files.write("status.json", r#"{"entries":{"#);
        assert!(
            fleet
                .inspect(&["--status-list", &list])
                .unusable()
                .contains("status.json")
        );
        let real = vector("status/google-android-key-attestation_status.json");
        fleet.inspect(&["--status-list", &real]).accepted();
    }

    #[test]
    fn shows_what_is_wrong_with_a_device_whose_chain_is_refused() {
        let file =
            vector("google-android-key-attestation/algorithm_EC_SecurityLevel_StrongBox.pem");
        let json = inspect(&["android", &file, "--format", "json"])
            .rejected("ATTESTATION_CHAIN_UNTRUSTED");
        for name in ["root", "device_locked", "verified_boot_state"] {
            assert_eq!(outcome(&json, name), "failed", "{name}");
        }
        for name in ["challenge", "app", "status_list", "device_key_purpose"] {
            assert_eq!(outcome(&json, name), "not_checked", "{name}");
        }
    }

    #[test]
    fn takes_an_object_in_binary_and_in_base64_of_any_form() {
        let case = &AppleCase::all()[0];
        let key_id = BASE64URL_NOPAD.encode(&base64(&case.json["keyId"]));
        for form in [
            case.object.clone(),
            BASE64.encode(&case.object).into_bytes(),
            BASE64_MIME.encode(&case.object).into_bytes(),
            BASE64URL_NOPAD.encode(&case.object).into_bytes(),
        ] {
            case.inspect(&form, ("--key-id", &key_id)).accepted();
        }
    }

    #[test]
    fn the_report_names_every_field_with_its_words() {
        let file = vector("simplewebauthn/pixel8a_rkp_2025.pem");
        let out = inspect(&["android", &file, "--at", "2025-01-20T00:00:00Z"]).out;
        for line in [
            "✓ ACCEPT  Android Key Attestation, at 2025-01-20T00:00:00Z",
            "  Not checked: status_list, challenge, app, device_key_algorithm, device_key_purpose, device_key_digest.",
            "  ✓ device_locked             locked",
            "  2  O=Google LLC, CN=Droid CA3                  EC P-256  ecdsa-with-SHA384        2024-12-09 to 2025-02-17",
            "  attestation_version         KeyMint 3 (300)",
            "  purposes               SIGN (2)",
            "  digests                SHA-256 (4)",
            "    verified_boot_state  VERIFIED (0)",
            "  os_patch_level         2025-01 (202501)",
            "  vendor_patch_level     2025-01-05 (20250105)",
            "  creation_date_time          2025-01-16T18:54:09.058Z (1737053649058)",
            "    package                   com.google.android.gms (version 250232035)",
        ] {
            assert!(
                out.lines().any(|found| found == line),
                "{line}\nis not in\n{out}"
            );
        }
        assert!(out.lines().all(|line| line.trim_end() == line));
    }

    #[test]
    fn the_report_says_what_was_seen_and_what_was_wanted() {
        let file = vector("google-keyattestation/blueline__sdk28__TEE_RSA_BASE_IMEI.pem");
        let out = inspect(&["android", &file]).out;
        let indent = " ".repeat(30);
        let wanted = format!(
            "  ✗ device_locked             saw unlocked\n\
         {indent}wanted locked\n\
         {indent}BOOT_STATE_REJECTED at certificate 0\n"
        );
        assert!(out.contains(&wanted), "{out}");
        assert!(out.contains("\n  The device did not boot a verified, locked system.\n"));
        assert!(out.contains("  attestation_challenge       6368616c6c656e6765 (\"challenge\")\n"));
    }
}
