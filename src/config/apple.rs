//! `[apps.NAME.apple]`: identity and policy of an app's Apple side.

use std::collections::BTreeSet;

use super::android::monitored;
use super::lists::fetched;
use super::reader::{FileKind, Reader, Section, Value};
use super::value::{checked, choice, number, path, set, text, url};
use crate::attestation::AppleApp;
use crate::attestation::apple::Environment;
use crate::flow::ReceiptExchange;
use crate::policy::{
    ApplePolicy, BundleVersionRule, DottedVersion, MissingRule, Platform, ReceiptRule,
    SessionKeyRule,
};

/// Longest bundle id (App Store Connect takes 155).
const BUNDLE_BYTES_MAX: usize = 155;
/// Most versions of an app in a list.
const VERSIONS_MAX: usize = 256;
/// Most platforms: more than twice those with App Attest.
const PLATFORMS_MAX: usize = 16;
/// Longest name of a platform; the longest known is `appletvos`.
const PLATFORM_BYTES_MAX: usize = 32;

const MISSING: [(&str, MissingRule); 2] = [
    ("allowed", MissingRule::Allowed),
    ("refused", MissingRule::Refused),
];

pub(super) fn apple(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<(Option<AppleApp>, ApplePolicy, Option<ReceiptExchange>)> {
    let environments = [
        ("production", Environment::Production),
        ("development", Environment::Development),
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
    let policy = apple_policy(reader, &mut section);
    let nested = section.section(reader, "receipts");
    let receipts = receipts(reader, nested);
    section.finish(reader);
    let (environment, policy, receipts) = (environment?, policy?, receipts?);
    let app = if written {
        Some(AppleApp {
            team_id: team?,
            bundle_id: bundle?,
            environment,
        })
    } else {
        None
    };
    let policy = ApplePolicy {
        environment: Some(environment),
        ..policy
    };
    Some((app, policy, receipts))
}

fn receipts(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<Option<ReceiptExchange>> {
    if !section.is_written() {
        for key in ["key_file", "key_id", "url"] {
            section.value(key);
        }
        section.finish(reader);
        return Some(None);
    }
    let hint = "ten characters A-Z 0-9: the name of the key in the developer account";
    let key_file = section.need(reader, "key_file", path(FileKind::DeveloperKey));
    let key_id = section.need(reader, "key_id", checked(is_team, "is no key id", hint));
    let url = section.maybe(reader, "url", url(fetched()));
    section.finish(reader);
    Some(Some(ReceiptExchange {
        key_file: key_file?,
        key_id: key_id?,
        url: url?,
    }))
}

fn apple_policy(reader: &mut Reader<'_>, section: &mut Section<'_, '_>) -> Option<ApplePolicy> {
    let receipts = [
        ("ignore", ReceiptRule::Ignore),
        ("verify", ReceiptRule::Verify),
        ("require", ReceiptRule::Require),
    ];
    let unsaid = ApplePolicy::open();
    let hint = "as certificates name them: \"iphoneos\", \"macosx\"";
    let platform = checked(is_platform, "is no platform", hint);
    let platforms = set(0..=PLATFORMS_MAX, platform);
    let platforms = section.or(reader, "platforms", BTreeSet::new(), platforms);
    let mut missing = |key, rule| section.or(reader, key, rule, choice(&MISSING));
    let no_platform = missing("missing_platform", unsaid.missing_platform);
    let no_category = missing("missing_category", unsaid.missing_category);
    let no_category_mac = missing("missing_category_mac", unsaid.missing_category_mac);
    let categories = set(0..=11, number(0..=10));
    let categories = section.or(reader, "validation_categories", BTreeSet::new(), categories);
    let bundle_version = bundle_version(reader, section);
    let receipt = section.or(reader, "receipt", ReceiptRule::Verify, choice(&receipts));
    let monitor = monitored(reader, section, Platform::Apple);
    let keys = [
        ("required", SessionKeyRule::Required),
        ("optional", SessionKeyRule::Optional),
    ];
    let session_key = section.or(reader, "session_key", unsaid.session_key, choice(&keys));
    Some(ApplePolicy {
        environment: None,
        platforms: platforms?,
        missing_platform: no_platform?,
        validation_categories: categories?,
        missing_category: no_category?,
        missing_category_mac: no_category_mac?,
        bundle_version: bundle_version?,
        receipt: receipt?,
        monitor: monitor?,
        session_key: session_key?,
    })
}

fn bundle_version(
    reader: &mut Reader<'_>,
    section: &mut Section<'_, '_>,
) -> Option<BundleVersionRule> {
    let versions = || set(0..=VERSIONS_MAX, version);
    let min = section.maybe(reader, "bundle_version_min", version);
    let allowed = section.or(reader, "bundle_versions", BTreeSet::new(), versions());
    let key = "bundle_versions_refused";
    let refused = section.or(reader, key, BTreeSet::new(), versions());
    let missing = MissingRule::Allowed;
    let missing = section.or(reader, "missing_bundle_version", missing, choice(&MISSING));
    let (allowed, refused) = (allowed?, refused?);
    if let Some(both) = allowed.intersection(&refused).next() {
        let message = format!("{both} stands in \"bundle_versions\" as well");
        return reader.wrong(section.at(key), message, "remove it from one of them");
    }
    Some(BundleVersionRule {
        min: min?,
        allowed,
        refused,
        missing: missing?,
    })
}

fn version(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<DottedVersion> {
    match text(reader, value)?.parse() {
        Ok(version) => Some(version),
        Err(_) => {
            let hint = "numbers joined by points, as in \"1.12.3\" (CFBundleVersion)";
            reader.wrong(value.span(), "not a version", hint)
        }
    }
}

fn is_platform(text: &str) -> bool {
    (1..=PLATFORM_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
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
    fn names_follow_the_rules_of_the_platform() {
        assert!(is_team("9CYHJNG644") && !is_team("9cyhjng644") && !is_team("9CYHJNG64"));
        assert!(is_bundle("com.example.My-App") && !is_bundle("com..x") && !is_bundle("com.*"));
        assert!(is_platform("macosx") && !is_platform("macOS") && !is_platform(""));
    }
}
