//! From attested facts to what policy makes of them.

use super::rule::require;
use super::{AndroidPolicy, AppPolicy, ApplePolicy, Posture, Rule, TrustLevel, android, apple};
use crate::attestation::{Attested, AttestedKey, Check, Checks, Facts, Outcome, Rejection};
use crate::key::PublicKey;
use crate::reason::Reason;
use crate::time::Timestamp;

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
    attestation_key: Option<[u8; 32]>,
}

impl Assurance {
    /// The attested key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The same, trusted no further than [`TrustLevel::Provisional`]: for evidence of which something
    /// could not be looked up.
    #[must_use]
    pub fn provisional(mut self) -> Self {
        self.trust_level = self.trust_level.min(TrustLevel::Provisional);
        self
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

    /// SHA-256 of the attestation key, where there is one: see
    /// [`crate::attestation::android::Facts::attestation_key_sha256`].
    #[must_use]
    pub const fn attestation_key(&self) -> Option<&[u8; 32]> {
        self.attestation_key.as_ref()
    }
}

/// Evaluates attested facts under an app's policy: every check, and the verdict.
///
/// # Errors
/// The verdict is an error for the first check that failed.
pub fn evaluate(
    attested: &Attested,
    policy: &AppPolicy,
    now: Timestamp,
) -> (Checks, Result<Assurance, Box<Rejection>>) {
    let posture = Posture::of(attested.facts());
    let (mut checks, _) = appraise(&posture, policy, now);
    checks.extend(device_key_checks(attested.facts(), attested.key()));
    let verdict = match (checks.rejection(), attested.key()) {
        (None, AttestedKey::P256(key)) => Ok(Assurance {
            key: *key,
            trust_level: trust_level(&posture),
            posture,
            chain_serials: attested.facts().chain_serials(),
            issuer_keys: attested.facts().issuer_keys(),
            attestation_key: attested.facts().attestation_key(),
        }),
        (Some(rejection), _) => Err(Box::new(rejection)),
        (None, AttestedKey::Other(_)) => Err(Box::new(checks.incomplete())),
    };
    (checks, verdict)
}

/// Holds what is known of a device against an app's policy as it is now: every check, and how far the
/// device is trusted. A registration does the same with fresh facts.
///
/// # Errors
/// The verdict is an error for the first check that failed.
pub fn appraise(
    posture: &Posture,
    policy: &AppPolicy,
    now: Timestamp,
) -> (Checks, Result<TrustLevel, Box<Rejection>>) {
    let checks = posture_checks(posture, &policy.android, &policy.apple, now);
    let verdict = match checks.rejection() {
        None => Ok(trust_level(posture)),
        Some(rejection) => Err(Box::new(rejection)),
    };
    (checks, verdict)
}

/// Checks what the device is: level, boot, patches, provisioning; or environment, category, version.
#[must_use]
pub fn posture_checks(
    posture: &Posture,
    android: &AndroidPolicy,
    apple: &ApplePolicy,
    now: Timestamp,
) -> Checks {
    match posture {
        Posture::Android(posture) => android::checks(posture, android, now),
        Posture::Apple(posture) => apple::checks(posture, apple),
    }
}

/// The rules that would have refused, were they not monitored.
pub fn monitored_rules(checks: &Checks) -> impl Iterator<Item = Rule> + '_ {
    let monitored = |check: &&Check| matches!(check.outcome, Outcome::Monitored(_));
    let checks = checks.as_slice().iter().filter(monitored);
    checks.filter_map(|check| Rule::of_check(check.name))
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

/// How far a device of this posture is trusted when nothing is wrong with it.
#[must_use]
pub fn trust_level(posture: &Posture) -> TrustLevel {
    match posture {
        Posture::Android(posture) => {
            android::level(posture.security_level).unwrap_or(TrustLevel::Provisional)
        }
        Posture::Apple(_) => TrustLevel::AppAttest,
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

    const fn attestation_key(&self) -> Option<[u8; 32]> {
        match self {
            Self::Android(facts) => Some(facts.attestation_key_sha256),
            Self::Apple(_) => None,
        }
    }
}
