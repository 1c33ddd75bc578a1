//! IntrospectToken: what an access token is, now (RFC 7662).

use super::limits::Gate;
use super::state::{Answered, Beside, Place};
use super::{Engine, Failure};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Requirements, admit};
use crate::token::access::{self, VerifiedClaims};

/// Looks at an access token, as it is now. One trip to the store, none for a forged token. `None`:
/// inactive, for whatever reason; the caller is not told which.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`, `RATE_LIMITED_CALLER` and faults of ours; never "active" in their place.
pub async fn run(
    engine: &Engine,
    token: &Secret<String>,
    by: &Actor,
) -> Result<Option<VerifiedClaims>, Failure> {
    match check(engine, token, by).await {
        Ok(claims) => Ok(Some(claims)),
        Err(failure) if failure.is_verdict() => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn check(
    engine: &Engine,
    token: &Secret<String>,
    by: &Actor,
) -> Result<VerifiedClaims, Failure> {
    let now = engine.clock.now();
    let claims = access::verify(&engine.keyring, token.expose(), &engine.issuer, None, now)?;
    let app = engine.app(&claims.claims().app)?;
    let (place, session) = (Place::of(engine, &claims), claims.claims().session);
    let gate = Gate::of_caller(engine, by);
    let beside = Beside {
        session: Some(session),
        limit: gate.to_count(),
        ..Beside::default()
    };
    let Answered {
        state,
        session,
        limits,
        ..
    } = engine.load_with(place, beside).await?;
    gate.heard(&limits);
    gate.check()?;
    let record = session
        .and_then(|record| record.value)
        .ok_or(Reason::SessionRevoked)?;
    let session = (&record, state.surroundings(app.standing));
    let nothing = Requirements::default();
    Ok(admit(&claims, session, &app.policy, &nothing, now)?)
}
