//! From a session to the tokens its holder gets.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{App, Engine, Failure};
use crate::policy::{Posture, TrustLevel, UserPresence};
use crate::secret::{Secret, random};
use crate::session::{Device, Session};
use crate::time::Timestamp;
use crate::token::access::{self, AccessClaims, Platform};
use crate::token::refresh::{self, RefreshClaims};

/// The tokens of a session.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The session.
    pub session: Session,
    /// Access token.
    pub access_token: Secret<String>,
    /// Life of the access token.
    pub access_expires_in: Duration,
    /// When it expires.
    pub access_expires_at: Timestamp,
    /// Refresh token.
    pub refresh_token: Secret<String>,
    /// The session ends when it is not refreshed for this long.
    pub idle_for: Duration,
    /// Scopes of the access token.
    pub scopes: BTreeSet<String>,
    /// How far the device is trusted.
    pub trust_level: TrustLevel,
    /// When the device has to have attested again for the session to go on.
    pub reattest_by: Option<Timestamp>,
}

/// Mints the tokens of a session's current generation. The refresh token is derived, so the same
/// generation under the same secret gives the same token again.
pub(super) fn mint(
    engine: &Engine,
    app: &App,
    (session, device): (Session, &Device),
    scopes: BTreeSet<String>,
    now: Timestamp,
) -> Result<Grant, Failure> {
    let said = Said {
        acr: session.acr.clone(),
        amr: session.amr.clone(),
        auth_time: session.auth_time,
        user_presence: UserPresence::None,
        scopes: scopes.clone(),
        access_for: app.policy.lifetimes(device.trust_level).access_for,
    };
    let access = mint_access(engine, (&session, device), said, now)?;
    let refresh_claims = RefreshClaims {
        session: session.id,
        device: session.device,
        subject: engine.keyring.subject_tag(&session.subject),
        app: session.app.tag(),
        generation: session.generation,
        session_ends_at: session.expires_at,
    };
    let refresh_token = refresh::mint(
        &engine.keyring,
        &refresh_claims,
        &session.session_key,
        session.refresh_key,
    )?;
    Ok(Grant {
        access_token: access.token,
        access_expires_in: access.expires_in,
        access_expires_at: access.expires_at,
        refresh_token,
        idle_for: session.idle_expires_at.since(now),
        scopes,
        trust_level: device.trust_level,
        reattest_by: device.reattest_by(&app.policy),
        session,
    })
}

/// What an access token says of its user, and for how long.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) acr: String,
    pub(super) amr: Vec<String>,
    pub(super) auth_time: Timestamp,
    pub(super) user_presence: UserPresence,
    pub(super) scopes: BTreeSet<String>,
    pub(super) access_for: Duration,
}

/// An access token and its life.
#[derive(Debug, Clone)]
pub struct Access {
    /// The token.
    pub token: Secret<String>,
    /// Its life from now on in whole seconds, rounded down, as RFC 6749 has it (section 5.1).
    pub expires_in: Duration,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Mints an access token of a session.
pub(super) fn mint_access(
    engine: &Engine,
    (session, device): (&Session, &Device),
    said: Said,
    now: Timestamp,
) -> Result<Access, Failure> {
    // An access token never outlives its session, for whoever verifies it alone.
    let ends_at = session.expires_at.min(session.idle_expires_at);
    let expires_at = now.after(said.access_for).min(ends_at);
    // Rounded down, as the token has it: nobody is told of a life that `exp` does not give.
    let expires_at = Timestamp::from_secs(expires_at.as_secs());
    let claims = AccessClaims {
        issuer: engine.issuer.clone(),
        audience: session.audience.clone(),
        subject: session.subject.clone(),
        app: session.app.clone(),
        token_id: random()?,
        issued_at: now,
        expires_at,
        authenticated_at: Some(said.auth_time),
        acr: (!said.acr.is_empty()).then_some(said.acr),
        amr: said.amr,
        scopes: said.scopes,
        roles: session.roles.clone(),
        key: session.session_key,
        session: session.id,
        device: session.device,
        trust_level: device.trust_level,
        platform: match device.posture {
            Posture::Android(_) => Platform::Android,
            Posture::Apple(_) => Platform::Apple,
        },
        user_presence: said.user_presence,
        generation: session.generation,
    };
    Ok(Access {
        token: access::mint(&engine.keyring, &claims)?,
        expires_in: Duration::from_secs(expires_at.since(now).as_secs()),
        expires_at,
    })
}
