//! `[apps.NAME.android]` and `[apps.NAME.apple]`: identity and policy of each platform.

use super::reader::{Reader, Section, Value};
use super::value::{checked, choice, digest, list, number, set};
use crate::attestation::apple::Environment;
use crate::attestation::{AndroidApp, AppleApp};
use crate::policy::{AndroidPolicy, ApplePolicy, MissingRule, ProvisioningRule, TrustLevel};

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
    let levels = [TrustLevel::Tee, TrustLevel::StrongBox].map(|level| (level.as_str(), level));
    let rules = [
        ("any", ProvisioningRule::Any),
        ("remote-only", ProvisioningRule::RemoteOnly),
    ];
    let unsaid = AndroidPolicy::strict();
    let level = section.or(
        reader,
        "security_level_min",
        unsaid.security_level_min,
        choice(&levels),
    );
    let boot_hint = "a verifiedBootKey is the SHA-256 of the key the OS is signed with";
    let boot_keys = list(0..=BOOT_KEYS_MAX, digest(boot_hint));
    let boot_keys = section.or(reader, "self_signed_boot_keys", Vec::new(), boot_keys);
    let least = unsaid.os_version_min;
    let os = section.or(reader, "os_version_min", least, os_version);
    let least = unsaid.os_patch_level_min;
    let os_patch = section.or(reader, "os_patch_level_min", least, month);
    let least = unsaid.vendor_patch_level_min;
    let vendor_patch = section.or(reader, "vendor_patch_level_min", least, day);
    let least = unsaid.boot_patch_level_min;
    let boot_patch = section.or(reader, "boot_patch_level_min", least, day);
    let provisioning = section.or(reader, "provisioning", unsaid.provisioning, choice(&rules));
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

pub(super) fn apple(
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
    let unsaid = ApplePolicy::open();
    let categories = section.or(
        reader,
        "validation_categories",
        unsaid.validation_categories,
        categories,
    );
    let missing = section.or(
        reader,
        "missing_category",
        unsaid.missing_category,
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
    }

    #[test]
    fn patch_levels_are_months_of_this_century() {
        assert!(is_month(202_506) && !is_month(202_513) && !is_month(202_500) && !is_month(20_250));
    }
}
