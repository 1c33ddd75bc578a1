//! Devices, sessions and subjects, and every transition between their states.
//!
//! Pure: a transition takes the records as they were loaded and the one `now` of the request, and
//! gives the records as they have to be written, or a [`Refusal`]. Committing them with the versions
//! they were loaded with is the shell's work, so a change that came in between is never overwritten.

mod admit;
mod device;
mod device_state;
mod elevate;
mod event;
mod fleet;
mod job;
mod liveness;
mod notice;
mod open;
mod overlay;
mod possession;
mod reappraise;
mod renew;
mod risk;
mod rotate;
mod subject;
#[cfg(test)]
mod tests;
mod watchers;

pub use admit::{Requirements, admit, admit_unasked};
pub use device::{Candidate, KnownDevices, Registration, register};
pub use device_state::{Succession, link, resume, revoke, suspend};
pub use elevate::{Elevated, Elevation, Enrolment, Voucher, elevate, enrol};
pub use event::{Actor, Event, EventKind, Listener};
pub use fleet::Reach;
pub use job::{Basis, Cause, Counts, JOB_EVERY, JOB_LEASE, Job, Look, Position};
pub use liveness::{Standing, Surroundings};
pub use notice::{Notice, Target};
pub use open::{LastUsed, Opened, Opening, end, open, opened_behind, reopen};
pub use overlay::{
    ENDINGS_MAX, Fact, Known, OVERLAY_KEPT_FOR, Overlay, REVOCATIONS_MAX, WAITING_MAX,
};
pub use reappraise::{Effect, Fault, Listing, Reappraised, Verdict, reappraise};
pub use renew::{Found, Renewal, rekey, renew};
pub use risk::{
    Assessed, Footprint, Risk, Tally, assess, assess_opening, signals_of_rotation, with_signal,
};
pub use rotate::{Presented, RefreshOutcome, Rotation, UsedUp, cut, hold, rotate};
pub(crate) use subject::first_epoch;
pub use subject::{REVOKED_CONSENTS_MAX, revoke_consent, revoke_subject};
pub use watchers::{
    ROUNDS_MAX, Roll, RoundId, WATCHER_KEPT_FOR, WATCHERS_MAX, WATCHERS_PER_CALLER_MAX, Watcher,
    WatcherId,
};

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{AppId, ConsentId, DeviceId, SessionId, Subject};
use crate::key::{PublicKey, Thumbprint};
use crate::policy::{Posture, TrustLevel, UserPresence};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::token::KeyTag;

/// A rule said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub Reason);

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self(reason)
    }
}

/// A registered device key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id: derived from app, subject and key, so the same registration finds the same record.
    pub id: DeviceId,
    /// The app it belongs to.
    pub app: AppId,
    /// Whom it belongs to.
    pub subject: Subject,
    /// The attested key.
    pub key: PublicKey,
    /// The key that signs proofs: the attested key on Android, the key it vouches for on Apple's
    /// systems.
    pub session_key: Thumbprint,
    /// Its state.
    pub state: DeviceState,
    /// Moves on with every event that cuts the sessions opened before it.
    pub epoch: u64,
    /// How far it is trusted.
    pub trust_level: TrustLevel,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When its evidence was last verified.
    pub attested_at: Timestamp,
    /// What the evidence said of it.
    pub posture: Posture,
    /// Serials of its certificate chain, leaf first, so that a later entry in a status list finds
    /// the device.
    pub chain_serials: Vec<String>,
    /// SHA-256 of the `SubjectPublicKeyInfo` of each certificate above the leaf, in that order.
    pub issuer_keys: Vec<[u8; 32]>,
    /// The one of them that stands for one device or factory batch: the attestation key.
    pub attestation_key: Option<[u8; 32]>,
    /// The session key it last moved on from, so that a move whose answer was lost can be asked for
    /// again.
    pub moved_from: Option<Thumbprint>,
    /// The counter of the last assertion of its App Attest key that vouched for a session key; 0 before
    /// the first. Those of proofs are in the store's window of the key, which these go through as well.
    pub assertion_counter: u32,
    /// What a re-appraisal last found wrong with it.
    pub doubt: Option<Reason>,
    /// Where it stands in the line of a user's devices.
    pub lineage: Lineage,
    /// What was seen of it that speaks of a thief.
    pub risk: Risk,
    /// The key that it uses only when the user is there.
    pub presence: Option<PresenceKey>,
}

/// A key that a device uses only when the user is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceKey {
    /// Which.
    pub key: Thumbprint,
    /// Who says that it needs the user.
    pub shows: UserPresence,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
}

/// Where a device stands in the line of devices that took each other's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// When the first device of the line was registered.
    pub since: Timestamp,
    /// The device whose place it took.
    pub predecessor: Option<DeviceId>,
    /// The device that took its place.
    pub successor: Option<DeviceId>,
}

/// What state a device is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// It may have sessions.
    Active,
    /// It is out until it is resumed; its sessions are refused meanwhile, and not lost.
    Suspended {
        /// Since when.
        at: Timestamp,
        /// Why.
        why: SuspensionReason,
    },
    /// It is out, for ever.
    Revoked {
        /// Since when.
        at: Timestamp,
        /// Why.
        why: RevocationReason,
    },
}

/// Why a device was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReason {
    /// The owner lost it.
    Lost,
    /// It was stolen.
    Stolen,
    /// Its key or system is believed to be in other hands.
    Compromised,
    /// The user removed it.
    UserRequest,
    /// Decided by the operator.
    Administrative,
    /// Another device took its place.
    Replaced,
    /// A re-appraisal found its attestation revoked or below policy.
    Reappraisal,
}

impl RevocationReason {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stolen => "stolen",
            Self::Compromised => "compromised",
            Self::UserRequest => "user-request",
            Self::Administrative => "administrative",
            Self::Replaced => "replaced",
            Self::Reappraisal => "reappraisal",
        }
    }

    /// The reason of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Lost,
            Self::Stolen,
            Self::Compromised,
            Self::UserRequest,
            Self::Administrative,
            Self::Replaced,
            Self::Reappraisal,
        ];
        all.into_iter().find(|why| why.as_str() == word)
    }
}

/// Why a device was suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuspensionReason {
    /// The user cannot find it.
    Mislaid,
    /// Something about it has to be looked into.
    Investigation,
    /// Decided by the operator.
    Administrative,
    /// A re-appraisal found it below policy.
    Reappraisal,
    /// The risk of one of its sessions is above what the policy lets pass.
    Risk,
}

impl SuspensionReason {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mislaid => "mislaid",
            Self::Investigation => "investigation",
            Self::Administrative => "administrative",
            Self::Reappraisal => "reappraisal",
            Self::Risk => "risk",
        }
    }

    /// The reason of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Mislaid,
            Self::Investigation,
            Self::Administrative,
            Self::Reappraisal,
            Self::Risk,
        ];
        all.into_iter().find(|why| why.as_str() == word)
    }
}

/// A device-bound session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The device it is bound to.
    pub device: DeviceId,
    /// The app.
    pub app: AppId,
    /// Whose it is.
    pub subject: Subject,
    /// The key every proof has to be made with.
    pub session_key: Thumbprint,
    /// Its state.
    pub state: SessionState,
    /// The generation of the current refresh token.
    pub generation: u32,
    /// Under which secret the current generation's token was made: a retry gives the same one again,
    /// also when another secret has come into use.
    pub refresh_key: KeyTag,
    /// When the current generation was made, or its holder stepped up: the grace time of the one
    /// before begins here.
    pub rotated_at: Timestamp,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it ends unless it is refreshed.
    pub idle_expires_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// The device's epoch when it was opened; equality is required ever after.
    pub device_epoch: u64,
    /// The subject's epoch when it was opened; equality is required ever after.
    pub subject_epoch: u64,
    /// Granted scopes.
    pub scopes: BTreeSet<String>,
    /// The audience of its access tokens.
    pub audience: String,
    /// The user's roles.
    pub roles: Vec<String>,
    /// Authentication context class; may be empty.
    pub acr: String,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user was authenticated.
    pub auth_time: Timestamp,
    /// The consent it was opened under.
    pub consent: Option<Consent>,
    /// Why it may not be used until the user has shown more (ElevateSession); `None`: it may.
    pub step_up: Option<StepUp>,
    /// The last rotation that the sign-in server asked for: every token from before it is void.
    pub cut: Option<Cut>,
    /// What was seen of it that speaks of a thief.
    pub risk: Risk,
    /// Where and how its holder was last seen.
    pub footprint: Footprint,
    /// When its user last answered a step-up that it waited for.
    pub answered_at: Option<Timestamp>,
    /// The refresh tokens that were used up in the last minutes, by generation.
    pub used_up: BTreeMap<u32, UsedUp>,
}

/// A consent as a session was opened under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Which.
    pub id: ConsentId,
    /// The consent's epoch then: a later one ends the session.
    pub epoch: u64,
}

/// A session waits for a step-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepUp {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: StepUpCause,
}

/// Why a step-up is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepUpCause {
    /// A refresh token was used twice.
    RefreshTokenReused,
    /// Its risk is above what the policy lets pass.
    Risk,
}

impl StepUpCause {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefreshTokenReused => "refresh-token-reused",
            Self::Risk => "risk",
        }
    }
}

/// What a rotation that the sign-in server asked for (RotateSession) leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Tokens of lower generations are void: refresh tokens are neither retried nor taken for reuse,
    /// and access tokens open no doors.
    pub generation: u32,
    /// When.
    pub at: Timestamp,
}

/// What state a session is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// It may be used until it expires.
    Live,
    /// It is over.
    Ended {
        /// Since when.
        at: Timestamp,
        /// Why.
        why: EndReason,
    },
}

/// Why a session ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Logout.
    LoggedOut,
    /// A refresh token was used twice.
    RefreshTokenReused,
    /// Another session was opened where there were as many as there may be.
    Evicted,
    /// Revoked.
    Revoked(RevocationReason),
}

impl EndReason {
    /// The word in events; of a revocation, why.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged-out",
            Self::RefreshTokenReused => "refresh-token-reused",
            Self::Evicted => "evicted",
            Self::Revoked(why) => why.as_str(),
        }
    }

    /// The reason of a word; one that this version does not know is an operator's.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let own = [Self::LoggedOut, Self::RefreshTokenReused, Self::Evicted];
        let own = own.into_iter().find(|why| why.as_str() == word);
        own.unwrap_or_else(|| {
            let why = RevocationReason::parse(word);
            Self::Revoked(why.unwrap_or(RevocationReason::Administrative))
        })
    }
}

/// What is kept of a subject: its epoch and the index of what it has. The index only says what may
/// exist; the truth about a device or session is its own record alone, so that revoking or ending
/// one writes one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRecord {
    /// Moves on with every event that cuts the sessions of the subject opened before it; a subject
    /// whose record was lost never has one again that it had before.
    pub epoch: u64,
    /// Its devices, oldest first, revoked ones included for as long as there is room.
    pub devices: Vec<DeviceEntry>,
    /// Its sessions, oldest first.
    pub sessions: Vec<SessionEntry>,
    /// Consents that were revoked, each with its epoch since; one that is not here has epoch 0.
    pub consents: BTreeMap<ConsentId, u64>,
}

/// One device in the index of a subject: what never changes of it, so that whoever changes a device
/// need not write here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Which.
    pub id: DeviceId,
    /// In which app.
    pub app: AppId,
}

/// One session in the index of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEntry {
    /// Which.
    pub id: SessionId,
    /// On which device.
    pub device: DeviceId,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
}

/// What holds for everything: sessions opened before these instants are dead.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    /// For every app.
    pub not_before: Option<Timestamp>,
    /// For one app.
    pub apps: BTreeMap<AppId, Timestamp>,
}
