//! CreateChallenge: a challenge that proves later, without having been stored, that we made it.

use std::time::Duration;

use super::{Engine, Failure};
use crate::id::{AppId, Subject};
use crate::secret::random;
use crate::time::Timestamp;
use crate::token::challenge::{self, ChallengeClaims, ChallengePurpose};

/// The request.
#[derive(Debug, Clone)]
pub struct CreateChallenge {
    /// The app.
    pub app: AppId,
    /// What it is for.
    pub purpose: ChallengePurpose,
    /// Whom it is for; `None`: whoever registers with it first.
    pub subject: Option<Subject>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// The challenge.
    pub bytes: Vec<u8>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The same as a span.
    pub expires_in: Duration,
}

/// Makes a challenge. No trip to the store.
///
/// # Errors
/// `APP_DISABLED`
pub fn run(engine: &Engine, request: &CreateChallenge) -> Result<Challenge, Failure> {
    let app = engine.app(&request.app)?;
    let expires_in = app.policy.lifetimes.challenge_for;
    let expires_at = engine.clock.now().after(expires_in);
    let claims = ChallengeClaims {
        purpose: request.purpose,
        app: &request.app,
        subject: request.subject.as_ref(),
        expires_at,
    };
    let bytes = challenge::mint(&engine.keyring, &claims, random()?);
    Ok(Challenge {
        bytes,
        expires_at,
        expires_in,
    })
}
