//! `[apps.NAME.android]`: identity and policy of an app's Android side.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{Reader, Section, Value};
use super::sections::secs;
use super::value::{checked, choice, days, digest, list, number, rate, set, span};
use crate::attestation::AndroidApp;
use crate::policy::{
    AndroidPolicy, AttestKeyRule, Authenticators, KeyRates, Platform, ProvisioningRule,
    RateOutcome, Rule, StaleListRule, TrustLevel, UserAuthenticationRule,
};

/// Longest Android package name (the package manager makes a file name of it).
const PACKAGE_BYTES_MAX: usize = 223;
/// Most signing certificates of an app: the current one and those it was rotated from.
const SIGNERS_MAX: usize = 16;
/// Most packages sharing a UID: the largest genuine attestation seen names 13.
const SHARED_PACKAGES_MAX: usize = 32;
/// Most boot keys of a custom OS fleet, or of the makers' systems that are accepted.
const BOOT_KEYS_MAX: usize = 256;
/// The age of a patch level: younger than a month is no level yet, older than ten years no limit.
const PATCH_AGE: RangeInclusive<Duration> = days(31)..=days(3650);
/// How long an authentication may last: from one use to a day.
const AUTHENTICATION_FOR: RangeInclusive<Duration> = secs(0)..=days(1);

pub(super) fn android(
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
    let unsaid = AndroidPolicy::strict();
    let levels = [TrustLevel::Tee, TrustLevel::StrongBox].map(|level| (level.as_str(), level));
    let provisioning = [
        ("any", ProvisioningRule::Any),
        ("remote-only", ProvisioningRule::RemoteOnly),
    ];
    let attest_keys = [
        ("refuse", AttestKeyRule::Refuse),
        ("allow", AttestKeyRule::Allow),
    ];
    let stale = [
        ("refuse", StaleListRule::Refuse),
        ("provisional", StaleListRule::Provisional),
    ];
    let level = unsaid.security_level_min;
    let level = section.or(reader, "security_level_min", level, choice(&levels));
    let boot_keys = || {
        let hint = "a verifiedBootKey is the SHA-256 of the key the OS is signed with";
        list(0..=BOOT_KEYS_MAX, digest(hint))
    };
    let self_signed = section.or(reader, "self_signed_boot_keys", Vec::new(), boot_keys());
    let verified = section.or(reader, "verified_boot_keys", Vec::new(), boot_keys());
    let os = section.or(reader, "os_version_min", 0, os_version);
    let os_patch = section.or(reader, "os_patch_level_min", 0, month);
    let vendor_patch = section.or(reader, "vendor_patch_level_min", 0, day);
    let boot_patch = section.or(reader, "boot_patch_level_min", 0, day);
    let patch_age = section.maybe(reader, "max_patch_age", span(PATCH_AGE));
    let rule = unsaid.provisioning;
    let provisioning = section.or(reader, "provisioning", rule, choice(&provisioning));
    let rule = unsaid.attest_keys;
    let attest_keys = section.or(reader, "attest_keys", rule, choice(&attest_keys));
    let user_authentication = user_authentication(reader, section);
    let stale_list = section.or(reader, "stale_list", unsaid.stale_list, choice(&stale));
    let rates = section.section(reader, "attestation_key_rate");
    let rates = key_rates(reader, rates);
    let monitor = monitored(reader, section, Platform::Android);
    let bytes = |keys: Vec<[u8; 32]>| keys.iter().map(|key| key.to_vec()).collect();
    Some(AndroidPolicy {
        security_level_min: level?,
        self_signed_boot_keys: bytes(self_signed?),
        verified_boot_keys: bytes(verified?),
        os_version_min: os?,
        os_patch_level_min: os_patch?,
        vendor_patch_level_min: vendor_patch?,
        boot_patch_level_min: boot_patch?,
        patch_age_max: patch_age?,
        provisioning: provisioning?,
        attest_keys: attest_keys?,
        user_authentication: user_authentication?,
        stale_list: stale_list?,
        attestation_key_rate: rates?,
        monitor: monitor?,
    })
}

/// The rules of a platform that are looked at and do not refuse.
pub(super) fn monitored(
    reader: &mut Reader<'_>,
    section: &mut Section<'_, '_>,
    platform: Platform,
) -> Option<BTreeSet<Rule>> {
    let rules = Rule::ALL.iter().copied();
    let rules = rules.filter(|rule| rule.platform() == platform && rule.may_be_monitored());
    let words: Vec<(&str, Rule)> = rules.map(|rule| (rule.as_str(), rule)).collect();
    let rules = set(0..=words.len(), choice(&words));
    section.or(reader, "monitor", BTreeSet::new(), rules)
}

fn user_authentication(
    reader: &mut Reader<'_>,
    section: &mut Section<'_, '_>,
) -> Option<UserAuthenticationRule> {
    let words = ["password", "biometric"].map(|word| (word, word));
    let held = section.maybe(reader, "user_authentication", list(1..=2, choice(&words)));
    let key = "user_authentication_timeout_max";
    let timeout = section.maybe(reader, key, span(AUTHENTICATION_FOR));
    let (held, timeout) = (held?, timeout?);
    let Some(held) = held else {
        if timeout.is_some() {
            let hint = "write which authenticators are accepted in \"user_authentication\"";
            let message = format!("\"{key}\" says nothing without \"user_authentication\"");
            return reader.wrong(section.at(key), message, hint);
        }
        return Some(UserAuthenticationRule::Any);
    };
    Some(UserAuthenticationRule::Required {
        authenticators: Authenticators {
            password: held.contains(&"password"),
            biometric: held.contains(&"biometric"),
            other: false,
        },
        timeout_max: timeout.unwrap_or_default(),
    })
}

fn key_rates(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<KeyRates> {
    let outcomes = [
        ("report", RateOutcome::Report),
        ("refuse", RateOutcome::Refuse),
    ];
    let usual = KeyRates::usual();
    let remote = section.or(reader, "remote", usual.remote, rate);
    let factory = section.or(reader, "factory", usual.factory, rate);
    let outcome = section.or(reader, "outcome", usual.outcome, choice(&outcomes));
    section.finish(reader);
    Some(KeyRates {
        remote: remote?,
        factory: factory?,
        outcome: outcome?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_as_the_manifest_names_them() {
        for good in ["com.example", "a.b_1.C2"] {
            assert!(is_package(good), "{good}");
        }
        let long = format!("a.{}", "b".repeat(PACKAGE_BYTES_MAX));
        for bad in [
            "", "com", "com.", ".com", "com.1a", "com._a", "com.ex-a", "com.é", &long,
        ] {
            assert!(!is_package(bad), "{bad}");
        }
    }

    #[test]
    fn patch_levels_are_months_of_this_century() {
        assert!(is_month(202_506) && !is_month(202_513) && !is_month(202_500) && !is_month(20_250));
    }
}
