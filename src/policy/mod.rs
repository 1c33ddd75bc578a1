//! Per-app policy: what a device must be, and what it then gets.
//!
//! Policy is data; [`evaluate`] is pure.

mod evaluate;
mod posture;
#[cfg(test)]
mod tests;

pub use evaluate::{Assurance, device_key_checks, evaluate, posture_checks};
pub use posture::{AndroidPosture, ApplePosture, Posture};

use std::collections::BTreeSet;
use std::time::Duration;

/// How far a device is trusted; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustLevel {
    /// Below all others. No evidence gives it yet: as a least level it lets every device in.
    Provisional,
    /// Apple App Attest.
    AppAttest,
    /// Android key in a trusted execution environment.
    Tee,
    /// Android key in a secure element.
    StrongBox,
}

impl TrustLevel {
    /// The word for it in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::AppAttest => "app-attest",
            Self::Tee => "tee",
            Self::StrongBox => "strongbox",
        }
    }
}

/// How sessions of an app live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// Life of an access token.
    pub access_for: Duration,
    /// A session ends when it was not refreshed for this long.
    pub idle_for: Duration,
    /// A session ends this long after it was opened, whatever happens.
    pub absolute_for: Duration,
    /// How long after a rotation the previous refresh token may be retried.
    pub refresh_grace_for: Duration,
    /// Life of a challenge.
    pub challenge_for: Duration,
    /// A device must attest again after this long; `None`: never.
    pub reattest_after: Option<Duration>,
}

/// What proofs of possession must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPolicy {
    /// Whether a proof without a server nonce is refused.
    pub nonce: NonceRule,
    /// Without a nonce, `iat` may differ from now by this much either way.
    pub iat_window: Duration,
    /// URIs besides the RPC's own at which proofs for Issue and Refresh may be aimed (the mobile
    /// backend's own endpoints).
    pub accepted_uris: Vec<String>,
}

/// Whether proofs must carry a server nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceRule {
    /// A proof without a nonce is refused with `PROOF_NONCE_REQUIRED`.
    Required,
    /// A proof without a nonce is accepted while its `iat` is fresh.
    Optional,
}

/// What happens when a refresh token is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReuseRule {
    /// The session is revoked.
    RevokeSession,
    /// The request is refused and audited, the session lives.
    Report,
}

/// What an Android device must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AndroidPolicy {
    /// The lowest level that holds the key: [`TrustLevel::Tee`] or [`TrustLevel::StrongBox`].
    pub security_level_min: TrustLevel,
    /// `verifiedBootKey`s accepted with `SelfSigned` boot on a locked device (custom OS fleets).
    pub self_signed_boot_keys: Vec<Vec<u8>>,
    /// Lowest `osVersion` as Android writes it (`MMmmss`, e.g. 130000); 0: any.
    pub os_version_min: u32,
    /// Lowest `osPatchLevel` (`YYYYMM`); 0: any.
    pub os_patch_level_min: u32,
    /// Lowest `vendorPatchLevel` (`YYYYMMDD`); 0: any.
    pub vendor_patch_level_min: u32,
    /// Lowest `bootPatchLevel` (`YYYYMMDD`); 0: any.
    pub boot_patch_level_min: u32,
    /// Whether only remotely provisioned attestation keys are accepted.
    pub provisioning: ProvisioningRule,
}

impl AndroidPolicy {
    /// What holds where nothing else is said: a key in hardware of a locked device that booted a
    /// verified system, of any age and any provisioning.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            security_level_min: TrustLevel::Tee,
            self_signed_boot_keys: Vec::new(),
            os_version_min: 0,
            os_patch_level_min: 0,
            vendor_patch_level_min: 0,
            boot_patch_level_min: 0,
            provisioning: ProvisioningRule::Any,
        }
    }
}

/// Which attestation keys are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisioningRule {
    /// Factory or remote.
    Any,
    /// Remotely provisioned only.
    RemoteOnly,
}

/// What an Apple device must be, beyond its app and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplePolicy {
    /// Accepted `apple_validation_category` values (0 to 10); empty: any.
    pub validation_categories: BTreeSet<u32>,
    /// Whether evidence without a validation category is accepted (systems before iOS 27).
    pub missing_category: MissingRule,
}

impl ApplePolicy {
    /// What holds where nothing else is said: any category, or none.
    #[must_use]
    pub const fn open() -> Self {
        Self {
            validation_categories: BTreeSet::new(),
            missing_category: MissingRule::Allowed,
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

/// What a device of a trust level may be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRule {
    /// Scopes (RFC 6749, 3.3).
    pub scopes: BTreeSet<String>,
    /// The lowest trust level that may have them.
    pub trust_level_min: TrustLevel,
}

/// Everything an app's policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPolicy {
    /// Rules for Android evidence.
    pub android: AndroidPolicy,
    /// Rules for Apple evidence.
    pub apple: ApplePolicy,
    /// Which scopes may be granted to whom; a scope in no rule is never granted.
    pub scopes: Vec<ScopeRule>,
    /// Audiences (`aud`) tokens may be minted for; the first is the default.
    pub audiences: Vec<String>,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
    /// Proof rules.
    pub proof: ProofPolicy,
    /// What happens when a refresh token is used twice.
    pub on_refresh_reuse: ReuseRule,
    /// Most active devices of one subject.
    pub devices_per_subject_max: usize,
    /// Most live sessions of one subject.
    pub sessions_per_subject_max: usize,
    /// Most live sessions of one device.
    pub sessions_per_device_max: usize,
}

impl AppPolicy {
    /// Whether some rule that a device of this level reaches allows the scope.
    #[must_use]
    pub fn grants(&self, scope: &str, level: TrustLevel) -> bool {
        self.scopes
            .iter()
            .any(|rule| rule.trust_level_min <= level && rule.scopes.contains(scope))
    }
}
