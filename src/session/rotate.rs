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
//! | more | we issued it, so the store lost a rotation | go on from there |
//!
//! The first use of `g` is the sign that it was delivered: it moves the record to `g + 1`, and from
//! then on `g - 1` is used up.
//!
//! Rotation that cannot be retried logs honest phones out whenever an answer is lost (FAPI 2.0
//! Security Profile, 5.3.2.1, forbids it); retry that is not bound to the key would let a thief in.

use std::collections::BTreeSet;

use super::{EndReason, Refusal, Session, Surroundings, end, open};
use crate::key::Thumbprint;
use crate::policy::{AppPolicy, ReuseRule, TrustLevel};
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
    /// Refuse with [`Reason::RefreshTokenReused`] and, where policy ends the session, write this.
    Reused {
        /// The ended session.
        ended: Option<Session>,
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
}

/// Presents a refresh token of a session.
///
/// # Errors
/// The reason the session is not live, [`Reason::TokenInvalid`] when the session has moved on from
/// the token's key, [`Reason::ReattestationRequired`], or [`Reason::SessionExpiredAbsolute`] where the
/// policy now ends it earlier. Liveness comes before everything, a retry included.
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
    // The check has found that there is one.
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    open::check_attestation_age(device, policy, now)?;
    let lifetimes = policy.lifetimes(device.trust_level);
    // The device may have been degraded since, or the policy tightened; neither lengthens a session.
    let latest = session.opened_at.after(lifetimes.absolute_for);
    let expires_at = session.expires_at.min(latest);
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
    let ended = match policy.on_refresh_reuse {
        ReuseRule::RevokeSession => Some(end(session, EndReason::RefreshTokenReused, now)),
        ReuseRule::Report => None,
    };
    Ok(Rotation::Reused { ended })
}

impl Session {
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
