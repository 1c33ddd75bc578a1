//! Per-app policy: what a device must be, and what it then gets.
//!
//! Policy is data; [`evaluate`] and [`appraise`] are pure. What a device is held against is its
//! [`Posture`], which is kept: the same rules hold for a new device and for one that was registered
//! long ago.

mod android;
mod apple;
mod evaluate;
mod patch;
mod posture;
mod rates;
mod reappraisal;
mod risk;
mod rule;
mod step_up;
#[cfg(test)]
mod tests;
mod version;

pub use android::{
    AndroidPolicy, AttestKeyRule, ProvisioningRule, StaleListRule, UserAuthenticationRule,
};
pub use apple::{ApplePolicy, BundleVersionRule, MissingRule, ReceiptRule};
pub use evaluate::{
    Assurance, appraise, device_key_checks, evaluate, monitored_rules, posture_checks, trust_level,
};
pub use posture::{
    AndroidPosture, ApplePosture, Authenticators, BOOT_DIGEST_BYTES_MAX, Boot, Posture,
    ProvisioningKind, ReceiptStanding, UserAuthentication,
};
pub use rates::{Action, ActionRates, Rate, Rates, ServiceRates};
pub use reappraisal::{
    Consequence, DowngradeRule, KeyRates, RateOutcome, Reappraisal, is_downgrade,
};
pub use risk::{Consequences, Enforcement, RiskPolicy, Score, Signal};
pub use rule::{Platform, Rule};
pub use step_up::{StepUpPolicy, UserPresence};

// Words of a posture, for those who keep or show one.
pub use crate::attestation::android::{SecurityLevel, VerifiedBootState};
pub use crate::attestation::apple::Environment;
pub use crate::attestation::client_data::SessionKeyRule;
pub use version::{DottedVersion, NoVersion};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest life an access token may be given: nothing but a question to this service takes one
/// back before it expires.
pub const ACCESS_FOR_MAX: Duration = Duration::from_secs(60 * 60);

/// The longest life a session may be given.
pub const SESSION_FOR_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How far a device is trusted; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustLevel {
    /// Below all others: accepted while something could not be looked up, or degraded since. As a
    /// least level it lets every device in.
    Provisional,
    /// Apple App Attest.
    AppAttest,
    /// Android key in a trusted execution environment.
    Tee,
    /// Android key in a secure element.
    StrongBox,
}

impl TrustLevel {
    /// Every level, lowest first.
    pub const ALL: [Self; 4] = [
        Self::Provisional,
        Self::AppAttest,
        Self::Tee,
        Self::StrongBox,
    ];

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

/// How sessions live on devices of one trust level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLifetimes {
    /// As [`Lifetimes::access_for`].
    pub access_for: Duration,
    /// As [`Lifetimes::idle_for`].
    pub idle_for: Duration,
    /// As [`Lifetimes::absolute_for`].
    pub absolute_for: Duration,
}

/// What proofs of possession must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPolicy {
    /// Whether a proof without a server nonce is refused.
    pub nonce: NonceRule,
    /// Without a nonce, `iat` may differ from now by this much either way.
    pub iat_window: Duration,
    /// URIs besides the RPC's own at which proofs for our RPCs may be aimed (the endpoints of those who
    /// call them for the phone).
    pub accepted_uris: Vec<String>,
    /// By what a DPoP proof is good once.
    pub replay: ReplayRule,
    /// In which order the counters of App Attest assertions may come in.
    pub counter: CounterOrder,
    /// Whether proofs have to cover the bodies of the calls they are for.
    pub body: BodyRule,
}

/// By what a DPoP proof is good once. An App Attest assertion always is by its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayRule {
    /// By its `jti`, remembered for as long as the proof would be accepted.
    Jti,
    /// By its `ctr`, which it has to have, in a window of 64 values: the store keeps the same few
    /// bytes of a key however many proofs it makes.
    Window,
}

/// In which order the values of a counter may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterOrder {
    /// Each once, in any order among the newest 64.
    Window,
    /// Only ever higher ones.
    Strict,
}

/// Whether proofs have to cover the bodies of the calls they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// Where the caller of VerifyRequest sends the digest of one.
    WhenSent,
    /// Always: a call without a digest is refused.
    Required,
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
    /// The session waits until the user has shown more (ElevateSession).
    StepUp,
}

/// What happens when a session is wanted where there are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLimitRule {
    /// The session that was not used for longest ends, and the new one is opened.
    EvictOldest,
    /// The new one is refused.
    Refuse,
}

/// What happens when a device is to be registered where there are as many as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceLimitRule {
    /// It is refused.
    Refuse,
    /// The device of the app that was not used for longest is revoked, and the new one registered.
    ReplaceOldest,
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
    /// Lifetimes; those of sessions are read by [`AppPolicy::lifetimes`].
    pub lifetimes: Lifetimes,
    /// Lifetimes of sessions on devices of a trust level, where they differ.
    pub level_lifetimes: BTreeMap<TrustLevel, SessionLifetimes>,
    /// What follows when something is found out about a registered device later on.
    pub reappraisal: Reappraisal,
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
    /// What happens when a session is wanted above either.
    pub on_session_limit: SessionLimitRule,
    /// How signals of theft are weighed, and what follows.
    pub risk: RiskPolicy,
    /// How often things may be done.
    pub rates: Rates,
    /// What happens when a device is to be registered above its limit.
    pub on_device_limit: DeviceLimitRule,
    /// What an elevation needs and gives.
    pub step_up: StepUpPolicy,
}

impl AppPolicy {
    /// Whether some rule that a device of this level reaches allows the scope.
    #[must_use]
    pub fn grants(&self, scope: &str, level: TrustLevel) -> bool {
        self.scopes
            .iter()
            .any(|rule| rule.trust_level_min <= level && rule.scopes.contains(scope))
    }
    /// How sessions live on devices of a trust level.
    #[must_use]
    pub fn lifetimes(&self, level: TrustLevel) -> SessionLifetimes {
        let of_all = SessionLifetimes {
            access_for: self.lifetimes.access_for,
            idle_for: self.lifetimes.idle_for,
            absolute_for: self.lifetimes.absolute_for,
        };
        self.level_lifetimes.get(&level).copied().unwrap_or(of_all)
    }

    /// The longest life of an access token of any level: a device may have had another one when its
    /// token was made.
    #[must_use]
    pub fn access_for_max(&self) -> Duration {
        let levels = TrustLevel::ALL.map(|level| self.lifetimes(level).access_for);
        levels.into_iter().max().unwrap_or_default()
    }
}
