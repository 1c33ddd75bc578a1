//! Whether an access token still opens doors.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Refusal, Session, Surroundings};
use crate::policy::{AppPolicy, TrustLevel};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::token::access::VerifiedClaims;

/// What a call needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// All of these scopes.
    pub scopes: BTreeSet<String>,
    /// One of these authentication context classes; empty: any.
    pub acr_values: Vec<String>,
    /// The user's sign-in may be this old at most.
    pub max_age: Option<Duration>,
    /// At least this trust level.
    pub trust_level_min: Option<TrustLevel>,
    /// This audience.
    pub audience: Option<String>,
}

/// Admits the holder of an access token whose signature, expiry and proof were verified. Gives what the
/// token says as of now: scopes that its session has lost since, or its app's policy does not grant any
/// more to a device of this trust level, are no longer in it, and so open nothing.
///
/// # Errors
/// Every reason a session is not live; [`Reason::TokenInvalid`] when the token is not this session's
/// or not for the audience; [`Reason::AccessTokenVoid`] when the session was cut since;
/// [`Reason::ScopeNotAllowed`]; [`Reason::StepUpRequired`] (RFC 9470); [`Reason::TrustLevelTooLow`].
pub fn admit(
    verified: &VerifiedClaims,
    (session, surroundings): (&Session, Surroundings<'_>),
    policy: &AppPolicy,
    required: &Requirements,
    now: Timestamp,
) -> Result<VerifiedClaims, Refusal> {
    let claims = verified.claims();
    let same = claims.session == session.id
        && claims.device == session.device
        && claims.key == session.session_key
        && claims.app == session.app
        && claims.subject == session.subject;
    if !same {
        return Err(Reason::TokenInvalid.into());
    }
    surroundings.check(session, now)?;
    // By generation and not by time: two clocks, or one within a second, could not tell which of a
    // token and a cut was first.
    if session.is_cut_from(claims.generation) {
        return Err(Reason::AccessTokenVoid.into());
    }
    // The check has found that there is one.
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    let level = device.trust_level;
    let keeps = |scope: &str| {
        let own = session.scopes.contains(scope) && policy.grants(scope, level);
        own || policy.step_up.grants(scope, level)
    };
    let verified = verified.as_of_now(keeps, level);
    admit_unasked(&verified, required, now)?;
    Ok(verified)
}

/// Admits the holder of an access token by the token alone: nothing is known of its session but that no
/// revocation was heard of. Scopes and trust level are those it was minted with.
///
/// # Errors
/// As [`admit`], without the reasons a session is not live.
pub fn admit_unasked(
    verified: &VerifiedClaims,
    required: &Requirements,
    now: Timestamp,
) -> Result<(), Refusal> {
    let claims = verified.claims();
    if required
        .audience
        .as_ref()
        .is_some_and(|audience| *audience != claims.audience)
    {
        return Err(Reason::TokenInvalid.into());
    }
    if !required.scopes.is_subset(&claims.scopes) {
        return Err(Reason::ScopeNotAllowed.into());
    }
    let acr_fits = required.acr_values.is_empty()
        || required
            .acr_values
            .iter()
            .any(|acr| claims.acr.as_ref() == Some(acr));
    let fresh = required.max_age.is_none_or(|span| {
        claims
            .authenticated_at
            .is_some_and(|at| now.since(at) <= span)
    });
    if !acr_fits || !fresh {
        return Err(Reason::StepUpRequired.into());
    }
    let trusted = |least| claims.trust_level >= least;
    if !required.trust_level_min.is_none_or(trusted) {
        return Err(Reason::TrustLevelTooLow.into());
    }
    Ok(())
}
