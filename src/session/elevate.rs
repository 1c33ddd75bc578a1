//! Elevating a session: its user has shown more than at sign-in, and gets an access token that says
//! so. The session stays what it is, so the next refresh is back at its own level.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Device, PresenceKey, Refusal, Risk, Session, Surroundings, open};
use crate::key::Thumbprint;
use crate::policy::{AppPolicy, Posture, TrustLevel, UserPresence, trust_level};
use crate::proof::VerifiedProof;
use crate::reason::Reason;
use crate::time::Timestamp;

/// What the user has shown, as the sign-in server says, and what is wanted for it.
#[derive(Debug, Clone)]
pub struct Elevation {
    /// Authentication context class; may be empty.
    pub acr: String,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user was authenticated.
    pub auth_time: Timestamp,
    /// Scopes of the access token; empty: all of the session's.
    pub scopes: BTreeSet<String>,
}

/// An elevation that may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elevated {
    /// The session as it has to be: it waits no more.
    pub session: Session,
    /// What the access token says of the user in place of the session, and its scopes.
    pub scopes: BTreeSet<String>,
    /// How it was shown that the user was there.
    pub user_presence: UserPresence,
    /// Life of the access token.
    pub access_for: Duration,
}

/// Elevates a session for the holder of its key and, where policy asks for it, of the device's presence
/// key. Both proofs are verified; that the second was made for the first is the caller's to have
/// checked.
///
/// A session that waits for a step-up goes on, and what was the refresh token before the current one has
/// its grace time again: whoever made the session wait may be the honest phone, which never got the
/// current one.
///
/// # Errors
/// Every reason a session is not live but that it waits; [`Reason::ProofKeyMismatch`] when either proof
/// is by another key; [`Reason::ReattestationRequired`]; [`Reason::UserPresenceRequired`];
/// [`Reason::StepUpRequired`] when the user was authenticated before the session had to wait;
/// [`Reason::ScopeNotAllowed`].
pub fn elevate(
    session: &Session,
    elevation: &Elevation,
    (proof, presence): (&VerifiedProof, Option<&VerifiedProof>),
    (surroundings, policy): (Surroundings<'_>, &AppPolicy),
    now: Timestamp,
) -> Result<Elevated, Refusal> {
    surroundings.check_but_step_up(session, now)?;
    if *proof.thumbprint() != session.session_key {
        return Err(Reason::ProofKeyMismatch.into());
    }
    // The check has found that there is one.
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    open::check_attestation_age(device, policy, now)?;
    let user_presence = shown(device, presence)?;
    if user_presence < policy.step_up.user_presence {
        return Err(Reason::UserPresenceRequired.into());
    }
    let mut session = session.clone();
    if let Some(step_up) = session.step_up.take() {
        // In whole seconds, as sign-in servers count them.
        if elevation.auth_time.as_secs() < step_up.since.as_secs() {
            return Err(Reason::StepUpRequired.into());
        }
        session.rotated_at = now;
        session.answered_at = Some(now);
        // What spoke of a thief was answered by its user.
        session.risk = Risk::default();
    }
    let scopes = scopes(&session, &elevation.scopes, device.trust_level, policy)?;
    let ordinary = policy.lifetimes(device.trust_level).access_for;
    Ok(Elevated {
        session,
        scopes,
        user_presence,
        access_for: policy.step_up.access_for.min(ordinary),
    })
}

/// What a proof by the presence key shows.
fn shown(device: &Device, presence: Option<&VerifiedProof>) -> Result<UserPresence, Refusal> {
    let Some(proof) = presence else {
        return Ok(UserPresence::None);
    };
    match device.presence {
        Some(enrolled) if enrolled.key == *proof.thumbprint() => Ok(enrolled.shows),
        _ => Err(Reason::ProofKeyMismatch.into()),
    }
}

/// The wanted scopes: those of the session that the policy still grants, and those that only a step-up
/// gives.
fn scopes(
    session: &Session,
    wanted: &BTreeSet<String>,
    level: TrustLevel,
    policy: &AppPolicy,
) -> Result<BTreeSet<String>, Refusal> {
    let for_step_up = |scope: &&String| policy.step_up.grants(scope, level);
    let (more, own): (BTreeSet<_>, BTreeSet<_>) = wanted
        .iter()
        .cloned()
        .partition(|scope| for_step_up(&scope));
    if own.is_empty() && !more.is_empty() {
        return Ok(more);
    }
    let mut scopes = session.narrow(&own, level, policy)?;
    scopes.extend(more);
    Ok(scopes)
}

/// A presence key with what was verified of it.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Which key.
    pub key: Thumbprint,
    /// The key of a verified proof that names it.
    pub vouched_by: Thumbprint,
    /// Who says that it needs the user.
    pub voucher: Voucher,
}

/// Who says that a key needs the user.
#[derive(Debug, Clone)]
pub enum Voucher {
    /// Hardware: what a verified attestation of the key says.
    Attested(Box<Posture>),
    /// The app, by an assertion of its App Attest key with this counter. Nothing vouches that the key
    /// needs anybody.
    Asserted {
        /// The counter.
        counter: u32,
    },
}

impl Enrolment {
    /// Whether it is the one that gave the device the key it has: the same request again.
    #[must_use]
    pub fn repeats(&self, device: &Device) -> bool {
        let had = device.presence.is_some_and(|had| had.key == self.key);
        match self.voucher {
            Voucher::Attested(_) => had,
            Voucher::Asserted { counter } => had && counter == device.assertion_counter,
        }
    }
}

/// Gives a device a presence key, in place of the one it had. The same again, after a lost answer, gives
/// the same device.
///
/// # Errors
/// [`Reason::DeviceRevoked`], [`Reason::DeviceSuspended`]; [`Reason::ProofKeyMismatch`] when the proof is
/// not by the key that signs proofs; [`Reason::AttestationKeyRejected`] when the key would sign without
/// the user, or is one of the keys the device has for other things;
/// [`Reason::SecurityLevelTooLow`] when it is held by less than the device's key;
/// [`Reason::UnsupportedPlatform`]; [`Reason::ProofReplayed`] when the assertion is not newer than the
/// last.
pub fn enrol(device: &Device, enrolment: &Enrolment, now: Timestamp) -> Result<Device, Refusal> {
    device.check_active()?;
    if enrolment.vouched_by != device.session_key {
        return Err(Reason::ProofKeyMismatch.into());
    }
    // A key that also signs without the user shows nothing.
    if enrolment.key == device.session_key || enrolment.key == device.key.thumbprint() {
        return Err(Reason::AttestationKeyRejected.into());
    }
    let mut enrolled = device.clone();
    let had = device.presence.filter(|had| had.key == enrolment.key);
    let shows = match (&enrolment.voucher, &device.posture) {
        (Voucher::Attested(posture), Posture::Android(_)) => {
            let Posture::Android(key) = posture.as_ref() else {
                return Err(Reason::UnsupportedPlatform.into());
            };
            if !key.user.is_for_every_use() {
                return Err(Reason::AttestationKeyRejected.into());
            }
            if trust_level(posture) < trust_level(&device.posture) {
                return Err(Reason::SecurityLevelTooLow.into());
            }
            UserPresence::Proved
        }
        (Voucher::Asserted { counter }, Posture::Apple(_)) => {
            if *counter <= device.assertion_counter && !enrolment.repeats(device) {
                return Err(Reason::ProofReplayed.into());
            }
            enrolled.assertion_counter = *counter;
            UserPresence::Declared
        }
        (Voucher::Attested(_), Posture::Apple(_))
        | (Voucher::Asserted { .. }, Posture::Android(_)) => {
            return Err(Reason::UnsupportedPlatform.into());
        }
    };
    enrolled.presence = Some(PresenceKey {
        key: enrolment.key,
        shows,
        enrolled_at: had.map_or(now, |had| had.enrolled_at),
    });
    Ok(enrolled)
}
