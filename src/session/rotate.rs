//! The refresh state machine.
//!
//! A refresh token names a generation of its session. The record keeps only the current generation
//! `g` and when it was made:
//!
//! | presented | condition | outcome |
//! |---|---|---|
//! | `g` | | rotate to `g + 1` |
//! | `g - 1` | within grace | the same `g` again, nothing written |
//! | `g - 1` | later | reused |
//! | less | | reused |
//! | either of the last three | with a proof from before it was used up | late: refused, and no reuse |
//! | more | we issued it, so the store lost a rotation | go on from there |
//! | below the cut | the sign-in server had it rotated since | void, and no reuse |
//!
//! The first use of `g` is the sign that it was delivered: it moves the record to `g + 1`, and from
//! then on `g - 1` is used up.
//!
//! Holding the session until the user has shown more, and letting it go on, gives `g - 1` its grace
//! time again: the honest phone may be the one whose answer was lost for longer than that.
//!
//! A token that is used up speaks of a thief only when it was presented since: a request that was overtaken by
//! its own repetition, or that somebody kept and sends later, is late and nothing else. By the phone's
//! own clock its proof was made before the one that used the token up, so it is refused and nobody is
//! held to it.
//!
//! Rotation that cannot be retried logs honest phones out whenever an answer is lost (FAPI 2.0
//! Security Profile, 5.3.2.1, forbids it); retry that is not bound to the key would let a thief in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Cut, EndReason, Refusal, Session, StepUp, StepUpCause, Surroundings, end, open};
use crate::key::Thumbprint;
use crate::policy::{AppPolicy, ProofPolicy, ReuseRule, TrustLevel};
use crate::proof::{VerifiedProof, nonce};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::token::KeyTag;

/// How a refresh ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// The token was used for the first time.
    Rotated,
    /// It was used before, and this is the same successor again.
    Retry,
    /// The store had lost a rotation; it goes on from the token that was presented.
    Healed,
}

/// What has to happen after a refresh token was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// Give the token of `session.generation`; write the session unless it was a retry.
    Granted {
        /// How it ended.
        outcome: RefreshOutcome,
        /// The session as it has to be.
        session: Session,
    },
    /// Refuse with [`Reason::RefreshTokenReused`] and, where policy ends or holds the session, write
    /// this.
    Reused {
        /// The session as it has to be.
        session: Option<Session>,
    },
}

/// A refresh token as it was presented. The caller has verified its MAC and the proof by the key the
/// MAC covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// Which of the session's tokens it is.
    pub generation: u32,
    /// The key the MAC covers.
    pub key: Thumbprint,
    /// The secret in use, under which the next one is made; a retry stays with the one of the lost
    /// answer.
    pub refresh_key: KeyTag,
    /// The end of the session that the MAC covers.
    pub session_ends_at: Timestamp,
    /// When the proof was made, by the phone's clock.
    pub proof_made_at: Timestamp,
}

/// How a refresh token was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// When.
    pub at: Timestamp,
    /// When the proof that did it was made, by the phone's clock.
    pub proof_made_at: Timestamp,
}

/// Most used-up tokens of a session that are remembered. With access tokens of the shortest life, 30
/// seconds, a phone uses up as many while a nonce is good.
const USED_UP_MAX: usize = 8;

/// How long after a token was used up a proof from before may still be accepted.
fn late_for(policy: &ProofPolicy) -> Duration {
    nonce::GOOD_FOR_MAX.max(policy.iat_window.saturating_mul(2))
}

/// Presents a refresh token of a session.
///
/// # Errors
/// The reason the session is not live, [`Reason::TokenInvalid`] when the session has moved on from
/// the token's key, [`Reason::RefreshTokenVoid`] when it was cut since, [`Reason::ReattestationRequired`],
/// [`Reason::SessionExpiredAbsolute`] where the policy now ends it earlier, or [`Reason::ProofStale`] when
/// the token is used up and the proof from before that. Liveness comes before everything, a retry
/// included.
pub fn rotate(
    session: &Session,
    presented: Presented,
    surroundings: Surroundings<'_>,
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<Rotation, Refusal> {
    surroundings.check(session, now)?;
    if presented.key != session.session_key {
        return Err(Reason::TokenInvalid.into());
    }
    if session.is_cut_from(presented.generation) {
        return Err(Reason::RefreshTokenVoid.into());
    }
    // The check has found that there is one.
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    open::check_attestation_age(device, policy, now)?;
    let lifetimes = policy.lifetimes(device.trust_level);
    // The device may have been degraded since, or the policy tightened, or the store has lost that it
    // was; nothing lengthens a session.
    let latest = session.opened_at.after(lifetimes.absolute_for);
    let expires_at = session
        .expires_at
        .min(latest)
        .min(presented.session_ends_at);
    if expires_at <= now {
        return Err(Reason::SessionExpiredAbsolute.into());
    }
    let current = session.generation;
    let successor = presented
        .generation
        .checked_add(1)
        .ok_or(Reason::SessionExpiredAbsolute)?;
    if presented.generation >= current {
        let outcome = if presented.generation == current {
            RefreshOutcome::Rotated
        } else {
            RefreshOutcome::Healed
        };
        let session = Session {
            generation: successor,
            refresh_key: presented.refresh_key,
            rotated_at: now,
            idle_expires_at: now.after(lifetimes.idle_for).min(expires_at),
            expires_at,
            used_up: session.used_up_with(&presented, &policy.proof, now),
            ..session.clone()
        };
        return Ok(Rotation::Granted { outcome, session });
    }
    let in_grace = now <= session.rotated_at.after(policy.lifetimes.refresh_grace_for);
    if successor == current && in_grace {
        let session = session.clone();
        return Ok(Rotation::Granted {
            outcome: RefreshOutcome::Retry,
            session,
        });
    }
    let used = (presented.generation, presented.proof_made_at);
    if session.is_late(used, &policy.proof, now) {
        return Err(Reason::ProofStale.into());
    }
    let session = match policy.on_refresh_reuse {
        ReuseRule::RevokeSession => Some(end(session, EndReason::RefreshTokenReused, now)),
        ReuseRule::Report => None,
        ReuseRule::StepUp => Some(hold(session, StepUpCause::RefreshTokenReused, now)),
    };
    Ok(Rotation::Reused { session })
}

/// Has a session wait until its user has shown more. One that waits goes on waiting for what it
/// first waited for.
#[must_use]
pub fn hold(session: &Session, why: StepUpCause, now: Timestamp) -> Session {
    let step_up = StepUp { since: now, why };
    Session {
        step_up: Some(session.step_up.unwrap_or(step_up)),
        ..session.clone()
    }
}

/// A cut moves this many generations on. A store that comes back after a failover may have lost the
/// last rotations, so the next generations may be out there already, and must not come out again as
/// tokens from after the cut. Nothing rotates a thousand times while replicas lag behind, and a session
/// can be cut four million times.
const CUT_STRIDE: u32 = 1 << 10;

/// Rotates a session because something happened to the user's account: every token of it that is out
/// there is void, and the holder of the device's key gets new ones. Each call does so anew, so after a
/// lost answer another call gives tokens that are good; and one that comes after its own repetition does
/// not take them back.
///
/// # Errors
/// The reason the session is not live, [`Reason::ProofKeyMismatch`], [`Reason::ProofStale`] when the proof
/// is from before that of the last cut, [`Reason::ReattestationRequired`],
/// [`Reason::SessionExpiredAbsolute`].
pub fn cut(
    session: &Session,
    (proof, refresh_key): (&VerifiedProof, KeyTag),
    surroundings: Surroundings<'_>,
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<Session, Refusal> {
    surroundings.check(session, now)?;
    if *proof.thumbprint() != session.session_key {
        return Err(Reason::ProofKeyMismatch.into());
    }
    let last = session.cut.map(|cut| cut.generation.saturating_sub(1));
    let made_at = proof.issued_at();
    if last.is_some_and(|last| session.is_late((last, made_at), &policy.proof, now)) {
        return Err(Reason::ProofStale.into());
    }
    let generation = session.generation.checked_add(CUT_STRIDE);
    let generation = generation.ok_or(Reason::SessionExpiredAbsolute)?;
    // As if the newest token of all had been presented.
    let presented = Presented {
        generation: generation.saturating_sub(1),
        key: session.session_key,
        refresh_key,
        session_ends_at: session.expires_at,
        proof_made_at: made_at,
    };
    match rotate(session, presented, surroundings, policy, now)? {
        Rotation::Granted { session, .. } => Ok(Session {
            cut: Some(Cut {
                generation,
                at: now,
            }),
            ..session
        }),
        Rotation::Reused { .. } => Err(Reason::Internal.into()),
    }
}

impl Session {
    /// Whether tokens of this generation are void because the session was cut since.
    #[must_use]
    pub fn is_cut_from(&self, generation: u32) -> bool {
        self.cut.is_some_and(|cut| generation < cut.generation)
    }

    /// The tokens that were used up a short while ago, with the one that is now.
    fn used_up_with(
        &self,
        presented: &Presented,
        policy: &ProofPolicy,
        now: Timestamp,
    ) -> BTreeMap<u32, UsedUp> {
        let mut used_up = self.used_up.clone();
        used_up.retain(|_, used| now <= used.at.after(late_for(policy)));
        while used_up.len() >= USED_UP_MAX {
            used_up.pop_first();
        }
        let used = UsedUp {
            at: now,
            proof_made_at: presented.proof_made_at,
        };
        used_up.insert(presented.generation, used);
        used_up
    }

    /// Whether a token that is used up came with a proof from before that. The phone's clock may be
    /// wrong, but it is the same one. Whoever has the key may have a clock of their own, and so hides no
    /// longer behind it than a proof from before could still be accepted.
    fn is_late(
        &self,
        (generation, proof_made_at): (u32, Timestamp),
        policy: &ProofPolicy,
        now: Timestamp,
    ) -> bool {
        let used = self.used_up.get(&generation);
        used.is_some_and(|used| {
            proof_made_at < used.proof_made_at && now <= used.at.after(late_for(policy))
        })
    }

    /// The scopes of a new access token: the wanted ones, all where none are named. What the policy
    /// has stopped granting since the session was opened is no longer among them.
    ///
    /// # Errors
    /// [`Reason::ScopeNotAllowed`] when a wanted scope is not the session's any more, or none is left.
    pub fn narrow(
        &self,
        wanted: &BTreeSet<String>,
        trust_level: TrustLevel,
        policy: &AppPolicy,
    ) -> Result<BTreeSet<String>, Refusal> {
        let granted = |scope: &&String| policy.grants(scope, trust_level);
        let left: BTreeSet<String> = self.scopes.iter().filter(granted).cloned().collect();
        let scopes = if wanted.is_empty() { &left } else { wanted };
        if !scopes.is_empty() && scopes.is_subset(&left) {
            Ok(scopes.clone())
        } else {
            Err(Reason::ScopeNotAllowed.into())
        }
    }
}
