//! From attested facts to what policy makes of them.

use super::{
    AndroidPolicy, AndroidPosture, AppPolicy, ApplePolicy, ApplePosture, MissingRule, Posture,
    ProvisioningRule, TrustLevel,
};
use crate::attestation::android::{
    self, AuthorizationList, Provisioning, RootOfTrust, SecurityLevel, VerifiedBootState,
};
use crate::attestation::{Attested, AttestedKey, Checks, Facts, Rejection, apple};
use crate::key::PublicKey;
use crate::reason::Reason;

/// KeyMint `KeyPurpose::SIGN` and `VERIFY` (hardware/interfaces, KeyPurpose.aidl).
const PURPOSE_SIGN: u64 = 2;
const PURPOSE_VERIFY: u64 = 3;
/// KeyMint `Digest::SHA_2_256` (hardware/interfaces, Digest.aidl).
const DIGEST_SHA_256: u64 = 4;

/// A device that passed attestation and its app's policy. Only [`evaluate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assurance {
    key: PublicKey,
    trust_level: TrustLevel,
    posture: Posture,
    chain_serials: Vec<String>,
    issuer_keys: Vec<[u8; 32]>,
}

impl Assurance {
    /// The attested key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// How far the device is trusted.
    #[must_use]
    pub const fn trust_level(&self) -> TrustLevel {
        self.trust_level
    }

    /// What the device is.
    #[must_use]
    pub const fn posture(&self) -> &Posture {
        &self.posture
    }

    /// Serials of its certificate chain, leaf first.
    #[must_use]
    pub fn chain_serials(&self) -> &[String] {
        &self.chain_serials
    }

    /// SHA-256 of the `SubjectPublicKeyInfo` of each certificate above the leaf.
    #[must_use]
    pub fn issuer_keys(&self) -> &[[u8; 32]] {
        &self.issuer_keys
    }
}

/// Evaluates attested facts under an app's policy: every check, and the verdict.
///
/// # Errors
/// The verdict is an error for the first check that failed.
pub fn evaluate(
    attested: &Attested,
    policy: &AppPolicy,
) -> (Checks, Result<Assurance, Box<Rejection>>) {
    let mut checks = posture_checks(attested.facts(), &policy.android, &policy.apple);
    checks.extend(device_key_checks(attested.facts(), attested.key()));
    let verdict = match (checks.rejection(), attested.key()) {
        (None, AttestedKey::P256(key)) => Ok(Assurance {
            key: *key,
            trust_level: trust_level(attested.facts()),
            posture: Posture::of(attested.facts()),
            chain_serials: attested.facts().chain_serials(),
            issuer_keys: attested.facts().issuer_keys(),
        }),
        (Some(rejection), _) => Err(Box::new(rejection)),
        (None, AttestedKey::Other(_)) => Err(Box::new(checks.incomplete())),
    };
    (checks, verdict)
}

/// Checks what the device is: level, boot, patches, provisioning; or category.
#[must_use]
pub fn posture_checks(facts: &Facts, android: &AndroidPolicy, apple: &ApplePolicy) -> Checks {
    match facts {
        Facts::Android(facts) => android_checks(facts, android),
        Facts::Apple(facts) => apple_checks(facts, apple),
    }
}

/// Checks that the attested key can serve as a device key.
#[must_use]
pub fn device_key_checks(facts: &Facts, key: &AttestedKey) -> Checks {
    let mut checks = Checks::default();
    let (seen, ok) = match key {
        AttestedKey::P256(_) => ("EC P-256".to_owned(), Ok(())),
        AttestedKey::Other(kind) => (kind.clone(), Err(Reason::AttestationKeyRejected)),
    };
    checks.note("device_key_algorithm", 0, ok, (seen, "EC P-256"));
    if let Facts::Android(facts) = facts {
        let hardware = &facts.key_description.hardware_enforced;
        let purposes = hardware.purposes.as_deref().unwrap_or_default();
        let signs_only = purposes.contains(&PURPOSE_SIGN)
            && purposes
                .iter()
                .all(|purpose| [PURPOSE_SIGN, PURPOSE_VERIFY].contains(purpose));
        checks.note(
            "device_key_purpose",
            0,
            require(signs_only, Reason::AttestationKeyRejected),
            (
                format!("{purposes:?}"),
                "SIGN (2), at most with VERIFY (3), in hardwareEnforced",
            ),
        );
        let digests = hardware.digests.as_deref().unwrap_or_default();
        checks.note(
            "device_key_digest",
            0,
            require(
                digests.contains(&DIGEST_SHA_256),
                Reason::AttestationKeyRejected,
            ),
            (format!("{digests:?}"), "SHA-256 (4) among them"),
        );
    }
    checks
}

fn android_checks(facts: &android::Facts, policy: &AndroidPolicy) -> Checks {
    let mut checks = Checks::default();
    let level = android_level(facts.security_level);
    checks.note(
        "security_level_min",
        0,
        require(
            level >= Some(policy.security_level_min),
            Reason::SecurityLevelTooLow,
        ),
        (
            facts.security_level.as_str(),
            format!("at least {}", policy.security_level_min.as_str()),
        ),
    );
    let hardware = &facts.key_description.hardware_enforced;
    boot_checks(&mut checks, hardware.root_of_trust.as_ref(), policy);
    patch_checks(&mut checks, hardware, policy);
    if policy.provisioning == ProvisioningRule::RemoteOnly {
        let remote = matches!(facts.provisioning, Provisioning::Remote { .. });
        checks.note(
            "provisioning",
            None,
            require(remote, Reason::SecurityLevelTooLow),
            (facts.provisioning.as_str(), "remote"),
        );
    }
    checks
}

fn boot_checks(checks: &mut Checks, root: Option<&RootOfTrust>, policy: &AndroidPolicy) {
    let locked = root.is_some_and(|root| root.device_locked);
    let seen = root.map_or("absent", |root| {
        if root.device_locked {
            "locked"
        } else {
            "unlocked"
        }
    });
    checks.note(
        "device_locked",
        0,
        require(locked, Reason::BootStateRejected),
        (seen, "locked"),
    );
    let accepted = root.is_some_and(|root| match root.verified_boot_state {
        VerifiedBootState::Verified => true,
        VerifiedBootState::SelfSigned => policy
            .self_signed_boot_keys
            .contains(&root.verified_boot_key),
        VerifiedBootState::Unverified | VerifiedBootState::Failed => false,
    });
    let seen = root.map_or("absent".to_owned(), |root| {
        format!("{:?}", root.verified_boot_state)
    });
    let wanted = if policy.self_signed_boot_keys.is_empty() {
        "Verified"
    } else {
        "Verified, or SelfSigned with an allowed boot key"
    };
    let outcome = require(accepted, Reason::BootStateRejected);
    checks.note("verified_boot_state", 0, outcome, (seen, wanted));
}

fn patch_checks(checks: &mut Checks, hardware: &AuthorizationList, policy: &AndroidPolicy) {
    // The last number: digits of a patch level, 0 where it is none.
    let levels = [
        ("os_version", hardware.os_version, policy.os_version_min, 0),
        (
            "os_patch_level",
            hardware.os_patch_level,
            policy.os_patch_level_min,
            6,
        ),
        (
            "vendor_patch_level",
            hardware.vendor_patch_level,
            policy.vendor_patch_level_min,
            8,
        ),
        (
            "boot_patch_level",
            hardware.boot_patch_level,
            policy.boot_patch_level_min,
            8,
        ),
    ];
    for (name, seen, least, digits) in levels {
        if least == 0 {
            continue;
        }
        let seen_value = seen.map(|value| whole_patch_level(value, digits));
        let new_enough = seen_value.is_some_and(|value| value >= u64::from(least));
        let seen = seen.map_or("absent".to_owned(), |value| value.to_string());
        let outcome = require(new_enough, Reason::PostureBelowPolicy);
        checks.note(name, 0, outcome, (seen, format!("at least {least}")));
    }
}

/// A patch level in its full form. Some devices leave out the day where `YYYYMMDD` belongs, some
/// write it as 00: both count as the first of the month. A day where `YYYYMM` belongs is dropped, or
/// the number would pass for a level far in the future.
const fn whole_patch_level(value: u64, digits: u32) -> u64 {
    match (value, digits) {
        (100_000..=999_999, 8) => value * 100 + 1,
        (10_000_000..=99_999_999, 8) if value.is_multiple_of(100) => value + 1,
        (10_000_000..=99_999_999, 6) => value / 100,
        _ => value,
    }
}

fn apple_checks(facts: &apple::Facts, policy: &ApplePolicy) -> Checks {
    let mut checks = Checks::default();
    if policy.validation_categories.is_empty() && policy.missing_category == MissingRule::Allowed {
        return checks;
    }
    let accepted = match facts.extensions.validation_category {
        None => policy.missing_category == MissingRule::Allowed,
        Some(category) => {
            policy.validation_categories.is_empty()
                || policy.validation_categories.contains(&category)
        }
    };
    let seen = facts
        .extensions
        .validation_category
        .map_or("absent".to_owned(), |value| value.to_string());
    let wanted = format!(
        "one of {:?} ({} when absent)",
        policy.validation_categories,
        match policy.missing_category {
            MissingRule::Allowed => "allowed",
            MissingRule::Refused => "refused",
        }
    );
    let outcome = require(accepted, Reason::AttestationAppMismatch);
    checks.note("validation_category", None, outcome, (seen, wanted));
    checks
}

const fn require(holds: bool, reason: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(reason) }
}

const fn android_level(level: SecurityLevel) -> Option<TrustLevel> {
    match level {
        SecurityLevel::Software => None,
        SecurityLevel::TrustedEnvironment => Some(TrustLevel::Tee),
        SecurityLevel::StrongBox => Some(TrustLevel::StrongBox),
    }
}

fn trust_level(facts: &Facts) -> TrustLevel {
    match facts {
        Facts::Android(facts) => {
            android_level(facts.security_level).unwrap_or(TrustLevel::Provisional)
        }
        Facts::Apple(_) => TrustLevel::AppAttest,
    }
}

impl Facts {
    fn chain_serials(&self) -> Vec<String> {
        match self {
            Self::Android(facts) => facts.serials.clone(),
            Self::Apple(facts) => vec![facts.leaf_serial.clone()],
        }
    }
}

impl Facts {
    fn issuer_keys(&self) -> Vec<[u8; 32]> {
        match self {
            Self::Android(facts) => facts.issuer_keys.clone(),
            Self::Apple(_) => Vec::new(),
        }
    }
}

impl Posture {
    /// The facts that are kept.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        match facts {
            Facts::Android(facts) => {
                let hardware = &facts.key_description.hardware_enforced;
                let small = |value: Option<u64>| {
                    value
                        .and_then(|value| u32::try_from(value).ok())
                        .unwrap_or(0)
                };
                let self_signed =
                    |root: &RootOfTrust| root.verified_boot_state == VerifiedBootState::SelfSigned;
                Self::Android(AndroidPosture {
                    attestation_version: small(Some(facts.key_description.attestation_version)),
                    strongbox: facts.security_level == SecurityLevel::StrongBox,
                    os_version: small(hardware.os_version),
                    os_patch_level: small(hardware.os_patch_level),
                    vendor_patch_level: small(hardware.vendor_patch_level),
                    boot_patch_level: small(hardware.boot_patch_level),
                    self_signed_boot: hardware.root_of_trust.as_ref().is_some_and(self_signed),
                    remotely_provisioned: matches!(facts.provisioning, Provisioning::Remote { .. }),
                })
            }
            Facts::Apple(facts) => Self::Apple(ApplePosture {
                development: facts.environment == Some(apple::Environment::Development),
                os_version: facts.os_version.clone(),
                os_build: facts.os_build.clone(),
                validation_category: facts.extensions.validation_category,
                bundle_version: facts.extensions.bundle_version.clone(),
            }),
        }
    }
}
