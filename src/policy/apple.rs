//! What an Apple device must be, beyond its app.

use std::collections::BTreeSet;

use super::rule::{Ledger, Rule, require};
use super::{ApplePosture, DottedVersion, ReceiptStanding};
use crate::attestation::Checks;
use crate::attestation::apple::Environment;
use crate::attestation::client_data::SessionKeyRule;
use crate::reason::Reason;

/// What an Apple device must be, beyond its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplePolicy {
    /// The environment the app's keys come from; `None`: whatever the attestation was compared with.
    pub environment: Option<Environment>,
    /// Accepted platforms as the certificates name them (`iphoneos`, `macosx`); empty: any.
    pub platforms: BTreeSet<String>,
    /// Whether evidence that names no platform is accepted where platforms are listed.
    pub missing_platform: MissingRule,
    /// Accepted `apple_validation_category` values (0 to 10); empty: any but 0, which is "invalid".
    pub validation_categories: BTreeSet<u32>,
    /// Whether evidence without a validation category is accepted (systems before iOS 27).
    pub missing_category: MissingRule,
    /// As `missing_category`, on a Mac.
    pub missing_category_mac: MissingRule,
    /// Accepted versions of the running app.
    pub bundle_version: BundleVersionRule,
    /// What Apple's receipt has to be.
    pub receipt: ReceiptRule,
    /// Rules that are looked at and do not refuse.
    pub monitor: BTreeSet<Rule>,
    /// Whether a device has to have a session key beside its App Attest key.
    pub session_key: SessionKeyRule,
}

impl ApplePolicy {
    /// What holds where nothing else is said: any category, or none except on a Mac, where every
    /// system with App Attest states one.
    #[must_use]
    pub const fn open() -> Self {
        Self {
            environment: None,
            platforms: BTreeSet::new(),
            missing_platform: MissingRule::Allowed,
            validation_categories: BTreeSet::new(),
            missing_category: MissingRule::Allowed,
            missing_category_mac: MissingRule::Refused,
            bundle_version: BundleVersionRule::any(),
            receipt: ReceiptRule::Ignore,
            monitor: BTreeSet::new(),
            session_key: SessionKeyRule::Required,
        }
    }
}

/// What to do about a fact that the evidence does not state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingRule {
    /// Accepted.
    Allowed,
    /// Refused.
    Refused,
}

/// Which versions of the running app are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleVersionRule {
    /// The lowest one; `None`: any.
    pub min: Option<DottedVersion>,
    /// The only ones; empty: any.
    pub allowed: BTreeSet<DottedVersion>,
    /// Those that are not accepted, whatever else holds.
    pub refused: BTreeSet<DottedVersion>,
    /// Whether evidence without one is accepted (systems before iOS 27).
    pub missing: MissingRule,
}

impl BundleVersionRule {
    /// Any version, or none.
    #[must_use]
    pub const fn any() -> Self {
        Self {
            min: None,
            allowed: BTreeSet::new(),
            refused: BTreeSet::new(),
            missing: MissingRule::Allowed,
        }
    }

    fn compares(&self) -> bool {
        self.min.is_some() || !self.allowed.is_empty() || !self.refused.is_empty()
    }

    /// A version that cannot be compared is accepted only where nothing is compared.
    fn accepts(&self, stated: Option<&str>) -> bool {
        let Some(text) = stated else {
            return self.missing == MissingRule::Allowed;
        };
        let Ok(version) = text.parse::<DottedVersion>() else {
            return !self.compares();
        };
        self.min.as_ref().is_none_or(|min| version >= *min)
            && (self.allowed.is_empty() || self.allowed.contains(&version))
            && !self.refused.contains(&version)
    }

    fn wanted(&self) -> String {
        let mut wanted = Vec::new();
        if let Some(min) = &self.min {
            wanted.push(format!("at least {min}"));
        }
        if !self.allowed.is_empty() {
            wanted.push(format!("one of {}", list(&self.allowed)));
        }
        if !self.refused.is_empty() {
            wanted.push(format!("none of {}", list(&self.refused)));
        }
        wanted.push(when_absent(self.missing).to_owned());
        wanted.join(", ")
    }
}

/// What Apple's receipt has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptRule {
    /// It is not looked at.
    Ignore,
    /// One that is there has to be Apple's, for this key.
    Verify,
    /// There has to be one, and it has to be Apple's, for this key.
    Require,
}

pub(super) fn checks(posture: &ApplePosture, policy: &ApplePolicy) -> Checks {
    let mut ledger = Ledger::new(&policy.monitor);
    if let Some(wanted) = policy.environment {
        let same = posture.environment == Some(wanted);
        let passed = require(same, Reason::AttestationEnvironmentMismatch);
        let seen = posture.environment.map_or("unknown", Environment::as_str);
        ledger.hold(Rule::AppEnvironment, None, passed, (seen, wanted.as_str()));
    }
    platform(&mut ledger, posture, policy);
    if posture.is_mac() {
        let passed = require(posture.boot_rules, Reason::BootStateRejected);
        let seen = if posture.boot_rules {
            "documented"
        } else {
            "absent or others"
        };
        ledger.hold(Rule::BootRules, None, passed, (seen, "documented"));
    }
    category(&mut ledger, posture, policy);
    bundle_version(&mut ledger, posture, &policy.bundle_version);
    receipt(&mut ledger, posture, policy.receipt);
    ledger.checks
}

fn platform(ledger: &mut Ledger<'_>, posture: &ApplePosture, policy: &ApplePolicy) {
    if policy.platforms.is_empty() {
        return;
    }
    let accepted = match &posture.platform {
        None => policy.missing_platform == MissingRule::Allowed,
        Some(platform) => policy.platforms.contains(platform),
    };
    let passed = require(accepted, Reason::UnsupportedPlatform);
    let seen = posture.platform.as_deref().unwrap_or("absent");
    let absent = when_absent(policy.missing_platform);
    let wanted = format!("one of {}, {absent}", list(&policy.platforms));
    ledger.hold(Rule::OsPlatform, None, passed, (seen, wanted));
}

/// What Apple calls an app that is not valid (developer.apple.com, "Validating apps that connect to
/// your server"); it passes only where it is listed.
const CATEGORY_INVALID: u32 = 0;

fn category(ledger: &mut Ledger<'_>, posture: &ApplePosture, policy: &ApplePolicy) {
    let missing = if posture.is_mac() {
        policy.missing_category_mac
    } else {
        policy.missing_category
    };
    let unruled = policy.validation_categories.is_empty() && missing == MissingRule::Allowed;
    if unruled && posture.validation_category != Some(CATEGORY_INVALID) {
        return;
    }
    // Another category is another build of the app; a missing one is a system that needs an update.
    let passed = match posture.validation_category {
        None => require(missing == MissingRule::Allowed, Reason::PostureBelowPolicy),
        Some(category) => require(
            policy.validation_categories.contains(&category)
                || (policy.validation_categories.is_empty() && category != CATEGORY_INVALID),
            Reason::AttestationAppMismatch,
        ),
    };
    let seen = posture.validation_category;
    let seen = seen.map_or("absent".to_owned(), |category| category.to_string());
    let wanted = if policy.validation_categories.is_empty() {
        "any but 0".to_owned()
    } else {
        format!("one of {}", list(&policy.validation_categories))
    };
    let wanted = format!("{wanted}, {}", when_absent(missing));
    ledger.hold(Rule::ValidationCategory, None, passed, (seen, wanted));
}

fn bundle_version(ledger: &mut Ledger<'_>, posture: &ApplePosture, rule: &BundleVersionRule) {
    if !rule.compares() && rule.missing == MissingRule::Allowed {
        return;
    }
    let stated = posture.bundle_version.as_deref();
    let passed = require(rule.accepts(stated), Reason::PostureBelowPolicy);
    let facts = (stated.unwrap_or("absent"), rule.wanted());
    ledger.hold(Rule::BundleVersion, None, passed, facts);
}

fn receipt(ledger: &mut Ledger<'_>, posture: &ApplePosture, rule: ReceiptRule) {
    let (accepted, wanted) = match (rule, posture.receipt) {
        (ReceiptRule::Ignore, _) => return,
        (ReceiptRule::Verify, standing) => (
            standing != ReceiptStanding::Unverified,
            "verified, or absent",
        ),
        (ReceiptRule::Require, standing) => (standing == ReceiptStanding::Verified, "verified"),
    };
    let passed = require(accepted, Reason::AttestationChainUntrusted);
    let facts = (posture.receipt.as_str(), wanted);
    ledger.hold(Rule::Receipt, None, passed, facts);
}

const fn when_absent(rule: MissingRule) -> &'static str {
    match rule {
        MissingRule::Allowed => "allowed when absent",
        MissingRule::Refused => "refused when absent",
    }
}

fn list<T: ToString>(values: &BTreeSet<T>) -> String {
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    values.join(", ")
}
