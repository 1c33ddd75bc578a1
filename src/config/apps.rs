//! `[apps.NAME]`: what an app's evidence has to be for, and its policy.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{Reader, Section, Value};
use super::report::quoted;
use super::sections::secs;
use super::value::{
    UrlRule, checked, choice, count, digest, flag, list, number, set, show_span, span, url,
};
use super::{App, AppStatus};
use crate::attestation::apple::Environment;
use crate::attestation::{AndroidApp, AppIdentity, AppleApp};
use crate::id::AppId;
use crate::policy::{
    AndroidPolicy, AppPolicy, ApplePolicy, Lifetimes, MissingRule, NonceRule, ProofPolicy,
    ProvisioningRule, ReuseRule, ScopeRule, TrustLevel,
};

/// Longest Android package name (the package manager makes a file name of it).
const PACKAGE_BYTES_MAX: usize = 223;
/// Longest bundle id (App Store Connect takes 155).
const BUNDLE_BYTES_MAX: usize = 155;
/// Most signing certificates of an app: the current one and those it was rotated from.
const SIGNERS_MAX: usize = 16;
/// Most packages sharing a UID: the largest genuine attestation seen names 13.
const SHARED_PACKAGES_MAX: usize = 32;
/// Most boot keys of a custom OS fleet.
const BOOT_KEYS_MAX: usize = 256;
/// Most rules and most scopes of one rule.
const SCOPE_RULES_MAX: usize = 64;
const SCOPES_MAX: usize = 256;
/// Longest scope.
const SCOPE_BYTES_MAX: usize = 128;
/// Most audiences, and the longest.
const AUDIENCES_MAX: usize = 32;
const AUDIENCE_BYTES_MAX: usize = 255;
/// Most further URIs proofs may be aimed at.
const URIS_MAX: usize = 32;
/// Devices and sessions of a subject are listed in its record, which has to stay small.
const PER_SUBJECT: RangeInclusive<u32> = 1..=1000;

const fn days(days: u64) -> Duration {
    secs(days * 24 * 60 * 60)
}

pub(super) fn apps(
    reader: &mut Reader<'_>,
    top: &mut Section<'_, '_>,
) -> Option<BTreeMap<AppId, App>> {
    let section = top.section(reader, "apps");
    let named = section.named(reader);
    if named.is_empty() && !top.has("apps") {
        top.missing(
            reader,
            "[apps.NAME]",
            "without an app there is nothing to serve",
        );
    } else if named.is_empty() && section.is_written() {
        reader.wrong::<()>(section.span(), "no app is configured", "write [apps.NAME]");
    }
    let mut apps = BTreeMap::new();
    let mut good = true;
    for (name, span, section) in named {
        let id = name.parse::<AppId>().ok();
        if id.is_none() {
            let message = format!("{} is no name for an app", quoted(&name));
            let hint = "1 to 64 of a-z 0-9 . _ - beginning with a letter or digit; \
                        a name with a point stands in quotes: [apps.\"com.example.bank\"]";
            reader.wrong::<()>(span, message, hint);
        }
        match id.zip(app(reader, section)) {
            Some((id, app)) => drop(apps.insert(id, app)),
            None => good = false,
        }
    }
    good.then_some(apps)
}

fn app(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<App> {
    let enabled = section.or(reader, "enabled", true, flag);
    let audience = checked(
        |text| {
            text.len() <= AUDIENCE_BYTES_MAX
                && !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_graphic())
        },
        "is no audience",
        "an audience is a name or URL of printable ASCII without spaces",
    );
    let audiences = section.need(reader, "audiences", list(1..=AUDIENCES_MAX, audience));
    let reuse = [
        ("revoke-session", ReuseRule::RevokeSession),
        ("report", ReuseRule::Report),
    ];
    let on_reuse = section.or(
        reader,
        "on_refresh_reuse",
        ReuseRule::RevokeSession,
        choice(&reuse),
    );

    let nested = section.section(reader, "android");
    let has_android = nested.is_written() || section.has("android");
    let android = android(reader, nested);
    let nested = section.section(reader, "apple");
    let has_apple = nested.is_written() || section.has("apple");
    let apple = apple(reader, nested);
    if section.is_written() && !has_android && !has_apple {
        let hint = "add [apps.NAME.android], [apps.NAME.apple] or both";
        reader.wrong::<()>(section.span(), "the app has no platform", hint);
    }
    let nested = section.section(reader, "lifetimes");
    let lifetimes = lifetimes(reader, nested);
    let nested = section.section(reader, "proof");
    let proof = proof(reader, nested);
    let nested = section.section(reader, "limits");
    let caps = caps(reader, nested);
    let scopes = scopes(reader, &mut section);
    section.finish(reader);

    let ((android_app, android), (apple_app, apple)) = (android?, apple?);
    let (devices, sessions, sessions_per_device) = caps?;
    Some(App {
        status: if enabled? {
            AppStatus::Enabled
        } else {
            AppStatus::Disabled
        },
        identity: AppIdentity {
            android: android_app,
            apple: apple_app,
        },
        policy: AppPolicy {
            android,
            apple,
            scopes: scopes?,
            audiences: audiences?,
            lifetimes: lifetimes?,
            proof: proof?,
            on_refresh_reuse: on_reuse?,
            devices_per_subject_max: devices,
            sessions_per_subject_max: sessions,
            sessions_per_device_max: sessions_per_device,
        },
    })
}

fn android(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<(Option<AndroidApp>, AndroidPolicy)> {
    let written = section.is_written();
    let package = || {
        checked(
            is_package,
            "is no Android package name",
            "as in \"com.example.bank\"",
        )
    };
    let digest_hint = "`apksigner verify --print-certs` and the Play Console show it";
    let digests = list(1..=SIGNERS_MAX, digest(digest_hint));
    let (name, signers) = if written {
        let name = section.need(reader, "package", package());
        let signers = section.need(reader, "signing_certificate_sha256", digests);
        (name, signers)
    } else {
        section.value("package");
        section.value("signing_certificate_sha256");
        (None, None)
    };
    let shared = list(0..=SHARED_PACKAGES_MAX, package());
    let shared = section.or(reader, "shared_uid_packages", Vec::new(), shared);
    let repeats = name
        .as_ref()
        .zip(shared.as_ref())
        .is_some_and(|(name, all)| all.contains(name));
    if repeats {
        let at = section.at("shared_uid_packages");
        reader.wrong::<()>(at, "the app's own package stands here again", "remove it");
    }
    let policy = android_policy(reader, &mut section);
    section.finish(reader);
    let app = if written {
        Some(AndroidApp {
            package_name: name?,
            signing_certificate_sha256: signers?,
            shared_uid_packages: shared?,
        })
    } else {
        None
    };
    Some((app, policy?))
}

fn android_policy(reader: &mut Reader<'_>, section: &mut Section<'_, '_>) -> Option<AndroidPolicy> {
    let levels = [
        ("tee", TrustLevel::Tee),
        ("strongbox", TrustLevel::StrongBox),
    ];
    let rules = [
        ("any", ProvisioningRule::Any),
        ("remote-only", ProvisioningRule::RemoteOnly),
    ];
    let level = section.or(
        reader,
        "security_level_min",
        TrustLevel::Tee,
        choice(&levels),
    );
    let boot_hint = "a verifiedBootKey is the SHA-256 of the key the OS is signed with";
    let boot_keys = list(0..=BOOT_KEYS_MAX, digest(boot_hint));
    let boot_keys = section.or(reader, "self_signed_boot_keys", Vec::new(), boot_keys);
    let os = section.or(reader, "os_version_min", 0, os_version);
    let os_patch = section.or(reader, "os_patch_level_min", 0, month);
    let vendor_patch = section.or(reader, "vendor_patch_level_min", 0, day);
    let boot_patch = section.or(reader, "boot_patch_level_min", 0, day);
    let provisioning = section.or(
        reader,
        "provisioning",
        ProvisioningRule::Any,
        choice(&rules),
    );
    Some(AndroidPolicy {
        security_level_min: level?,
        self_signed_boot_keys: boot_keys?.iter().map(|key| key.to_vec()).collect(),
        os_version_min: os?,
        os_patch_level_min: os_patch?,
        vendor_patch_level_min: vendor_patch?,
        boot_patch_level_min: boot_patch?,
        provisioning: provisioning?,
    })
}

/// `MMmmss` as Android attests it, or 0.
fn os_version(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<u32> {
    let hint = "Android attests version 13 as 130000; 0 takes any";
    let version = number(0..=999_999)(reader, value)?;
    if (1..10_000).contains(&version) {
        return reader.wrong(value.span(), "not an Android version", hint);
    }
    Some(version)
}

/// `YYYYMM`, or 0. The first security patch level was 2015-10.
fn month(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<u32> {
    let hint = "write year and month as in 202506; 0 takes any";
    let month = number(0..=999_999)(reader, value)?;
    if month != 0 && !is_month(month) {
        return reader.wrong(value.span(), "not a patch level", hint);
    }
    Some(month)
}

/// `YYYYMMDD`, or 0.
fn day(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<u32> {
    let hint = "write year, month and day as in 20250605; 0 takes any";
    let day = number(0..=99_999_999)(reader, value)?;
    if day != 0 && !(is_month(day / 100) && (1..=31).contains(&(day % 100))) {
        return reader.wrong(value.span(), "not a patch level", hint);
    }
    Some(day)
}

const fn is_month(month: u32) -> bool {
    let (year, month) = (month / 100, month % 100);
    year >= 2015 && year <= 2099 && month >= 1 && month <= 12
}

/// The grammar of the Android manifest: two or more names joined by points.
fn is_package(text: &str) -> bool {
    let name = |name: &str| {
        name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.len() <= PACKAGE_BYTES_MAX && text.contains('.') && text.split('.').all(name)
}

fn apple(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<(Option<AppleApp>, ApplePolicy)> {
    let environments = [
        ("production", Environment::Production),
        ("development", Environment::Development),
    ];
    let missing = [
        ("allowed", MissingRule::Allowed),
        ("refused", MissingRule::Refused),
    ];
    let written = section.is_written();
    let (mut team, mut bundle) = (None, None);
    if written {
        let hint = "ten characters A-Z 0-9, as in \"9CYHJNG644\"";
        team = section.need(reader, "team_id", checked(is_team, "is no team id", hint));
        let hint = "letters, digits, points and hyphens, as in \"com.example.bank\"";
        bundle = section.need(
            reader,
            "bundle_id",
            checked(is_bundle, "is no bundle id", hint),
        );
    } else {
        section.value("team_id");
        section.value("bundle_id");
    }
    let production = Environment::Production;
    let environment = section.or(reader, "environment", production, choice(&environments));
    let categories = set(0..=11, number(0..=10));
    let categories = section.or(reader, "validation_categories", BTreeSet::new(), categories);
    let missing = section.or(
        reader,
        "missing_category",
        MissingRule::Allowed,
        choice(&missing),
    );
    section.finish(reader);
    let app = if written {
        Some(AppleApp {
            team_id: team?,
            bundle_id: bundle?,
            environment: environment?,
        })
    } else {
        None
    };
    let policy = ApplePolicy {
        validation_categories: categories?,
        missing_category: missing?,
    };
    Some((app, policy))
}

fn is_team(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_bundle(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= BUNDLE_BYTES_MAX && text.split('.').all(part)
}

fn lifetimes(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<Lifetimes> {
    let access = section.or(reader, "access", secs(300), span(secs(30)..=secs(3600)));
    let idle = section.or(reader, "idle", days(30), span(secs(300)..=days(400)));
    let absolute = section.or(reader, "absolute", days(180), span(secs(300)..=days(400)));
    let grace = section.or(
        reader,
        "refresh_grace",
        secs(600),
        span(secs(0)..=secs(3600)),
    );
    let challenge = section.or(reader, "challenge", secs(300), span(secs(30)..=secs(3600)));
    let reattest = span(secs(3600)..=days(400));
    let reattest = section.maybe(reader, "reattest_after", reattest);

    shorter(reader, &section, ("access", access), ("idle", idle));
    shorter(reader, &section, ("refresh_grace", grace), ("idle", idle));
    if let Some((idle, absolute)) = idle.zip(absolute).filter(|(idle, most)| idle > most) {
        let (idle, absolute) = (show_span(idle), show_span(absolute));
        let message = format!("\"idle\" ({idle}) is longer than \"absolute\" ({absolute})");
        let key = if section.has("idle") {
            "idle"
        } else {
            "absolute"
        };
        reader.wrong::<()>(
            section.at(key),
            message,
            "a session cannot idle past its end",
        );
    }
    section.finish(reader);
    Some(Lifetimes {
        access_for: access?,
        idle_for: idle?,
        absolute_for: absolute?,
        refresh_grace_for: grace?,
        challenge_for: challenge?,
        reattest_after: reattest?,
    })
}

/// Says so unless the first span is shorter than the second; at the one that is written.
fn shorter(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    (short, short_for): (&'static str, Option<Duration>),
    (long, long_for): (&'static str, Option<Duration>),
) {
    if let Some((less, more)) = short_for.zip(long_for).filter(|(less, more)| less >= more) {
        let (less, more) = (show_span(less), show_span(more));
        let message = format!("\"{short}\" ({less}) has to be shorter than \"{long}\" ({more})");
        let key = if section.has(short) { short } else { long };
        reader.wrong::<()>(section.at(key), message, "");
    }
}

fn proof(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<ProofPolicy> {
    let rules = [
        ("required", NonceRule::Required),
        ("optional", NonceRule::Optional),
    ];
    let uri = UrlRule {
        schemes: &["https"],
        loopback_schemes: &[],
        path: true,
    };
    let nonce = section.or(reader, "nonce", NonceRule::Required, choice(&rules));
    let window = section.or(reader, "iat_window", secs(60), span(secs(5)..=secs(600)));
    let uris = list(0..=URIS_MAX, url(uri));
    let uris = section.or(reader, "accepted_uris", Vec::new(), uris);
    section.finish(reader);
    Some(ProofPolicy {
        nonce: nonce?,
        iat_window: window?,
        accepted_uris: uris?,
    })
}

/// Devices of a subject, sessions of a subject, sessions of a device.
fn caps(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<(usize, usize, usize)> {
    let devices = section.or(reader, "devices_per_subject", 10, count(PER_SUBJECT));
    let sessions = section.or(reader, "sessions_per_subject", 50, count(PER_SUBJECT));
    let per_device = section.maybe(reader, "sessions_per_device", count(PER_SUBJECT));
    let at = section.at("sessions_per_device");
    section.finish(reader);
    let (devices, sessions, per_device) = (devices?, sessions?, per_device?);
    if per_device.is_some_and(|per_device| per_device > sessions) {
        let message = format!("more than \"sessions_per_subject\" ({sessions})");
        return reader.wrong(at, message, "");
    }
    // The default gives way to a smaller number for the subject.
    let per_device = per_device.unwrap_or_else(|| sessions.min(10));
    Some((devices, sessions, per_device))
}

fn scopes(reader: &mut Reader<'_>, app: &mut Section<'_, '_>) -> Option<Vec<ScopeRule>> {
    let levels = [
        ("provisional", TrustLevel::Provisional),
        ("app-attest", TrustLevel::AppAttest),
        ("tee", TrustLevel::Tee),
        ("strongbox", TrustLevel::StrongBox),
    ];
    let mut rules: Vec<ScopeRule> = Vec::new();
    let mut good = true;
    for mut section in app.sections(reader, "scopes", SCOPE_RULES_MAX) {
        let hint = "printable ASCII without spaces, quotes and backslashes (RFC 6749, 3.3)";
        let scope = checked(is_scope, "is no scope", hint);
        let scopes = section.need(reader, "scopes", set(1..=SCOPES_MAX, scope));
        let level = TrustLevel::AppAttest;
        let level = section.or(reader, "trust_level_min", level, choice(&levels));
        let at = section.at("scopes");
        section.finish(reader);
        let Some((scopes, trust_level_min)) = scopes.zip(level) else {
            good = false;
            continue;
        };
        let twice = scopes
            .iter()
            .find(|s| rules.iter().any(|rule| rule.scopes.contains(*s)));
        if let Some(scope) = twice {
            let message = format!("{} stands in an earlier rule", quoted(scope));
            reader.wrong::<()>(at, message, "a scope has one rule");
        }
        rules.push(ScopeRule {
            scopes,
            trust_level_min,
        });
    }
    good.then_some(rules)
}

/// A `scope-token` (RFC 6749, 3.3).
fn is_scope(text: &str) -> bool {
    (1..=SCOPE_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_apps_follow_the_rules_of_their_platform() {
        for good in ["com.example", "a.b_1.C2"] {
            assert!(is_package(good), "{good}");
        }
        let long = format!("a.{}", "b".repeat(PACKAGE_BYTES_MAX));
        for bad in [
            "", "com", "com.", ".com", "com.1a", "com._a", "com.ex-a", "com.é", &long,
        ] {
            assert!(!is_package(bad), "{bad}");
        }
        assert!(is_team("9CYHJNG644") && !is_team("9cyhjng644") && !is_team("9CYHJNG64"));
        assert!(is_bundle("com.example.My-App") && !is_bundle("com..x") && !is_bundle("com.*"));
        assert!(is_scope("read:all") && !is_scope("a b") && !is_scope("") && !is_scope("a\"b"));
    }

    #[test]
    fn patch_levels_are_months_of_this_century() {
        assert!(is_month(202_506) && !is_month(202_513) && !is_month(202_500) && !is_month(20_250));
    }
}
