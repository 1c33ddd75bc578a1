//! ElevateSession: the user has shown more than at sign-in, and gets an access token that says so.

use std::collections::BTreeSet;

use super::grant::{Access, Said, mint_access};
use super::once::Once;
use super::settle::settle;
use super::state::{Changes, Loaded, State, keep_for};
use super::step_up::{SessionName, presence_proof, session_proof};
use super::{App, Engine, Failure, enabled};
use crate::policy::{TrustLevel, UserPresence};
use crate::proof::VerifiedProof;
use crate::proof::dpop::{self, UnverifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{self, Actor, Elevation, EventKind, Session, elevate};
use crate::store::{Durability, Item};
use crate::time::Timestamp;

/// The path both proofs are aimed at.
const METHOD: &str = "assay.v1.SessionService/ElevateSession";

/// The request.
#[derive(Debug, Clone)]
pub struct ElevateSession {
    /// Which.
    pub session: SessionName,
    /// The proof by the session's key.
    pub proof: Secret<String>,
    /// The proof by the device's presence key.
    pub presence_proof: Option<Secret<String>>,
    /// Authentication context class; may be empty.
    pub acr: String,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user was authenticated; `None`: now.
    pub auth_time: Option<Timestamp>,
    /// Wanted scopes; empty: all of the session's.
    pub scopes: BTreeSet<String>,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Elevated {
    /// The session, which stays at its own level.
    pub session: Session,
    /// The elevated access token.
    pub access: Access,
    /// Its scopes.
    pub scopes: BTreeSet<String>,
    /// How it was shown that the user is there.
    pub user_presence: UserPresence,
    /// How far the device is trusted.
    pub trust_level: TrustLevel,
}

/// Elevates a session. Two trips to the store.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `APP_DISABLED`, every reason of a proof, every reason a session is not live but
/// that it waits for this, `REATTESTATION_REQUIRED`, `USER_PRESENCE_REQUIRED`, `STEP_UP_REQUIRED`,
/// `SCOPE_NOT_ALLOWED`, `MALFORMED_REQUEST` when an access token could not hold it all, `CONFLICT`,
/// `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: ElevateSession) -> Result<Elevated, Failure> {
    let now = engine.clock.now();
    let presence = request.presence_proof.as_ref();
    let task = Task {
        request: &request,
        proof: dpop::parse(request.proof.expose())?,
        presence: presence
            .map(|proof| dpop::parse(proof.expose()))
            .transpose()?,
        elevation: Elevation {
            acr: request.acr.clone(),
            amr: request.amr.clone(),
            auth_time: request.auth_time.unwrap_or(now).min(now),
            scopes: request.scopes.clone(),
        },
        now,
    };
    let apps = engine.apps.load_full();
    let named = &request.session;
    settle(|| async {
        let place = named.place(engine);
        let (state, record) = engine.load(place, Some(named.session)).await?;
        let record = record.ok_or(Reason::Internal)?;
        let app = enabled(&apps, &named.found(&state, &record)?.app)?;
        attempt(engine, &app, &task, (&state, &record)).await
    })
    .await
}

/// What is to be done.
struct Task<'a> {
    request: &'a ElevateSession,
    proof: UnverifiedProof,
    presence: Option<UnverifiedProof>,
    elevation: Elevation,
    now: Timestamp,
}

impl Task<'_> {
    /// Both proofs, the second of which covers the first.
    fn proofs(
        &self,
        engine: &Engine,
        app: &App,
    ) -> Result<(VerifiedProof, Option<VerifiedProof>), Failure> {
        let (named, aim) = (&self.request.session, (app, METHOD));
        let proof = session_proof(engine, aim, self.proof.clone(), named.session, self.now)?;
        let other = self.request.proof.expose();
        let presence = self.presence.clone();
        let presence =
            presence.map(|presence| presence_proof(engine, aim, presence, other, self.now));
        Ok((proof, presence.transpose()?))
    }
}

async fn attempt(
    engine: &Engine,
    app: &App,
    task: &Task<'_>,
    (state, record): (&State, &Loaded<Session>),
) -> Result<Option<Elevated>, Failure> {
    let (request, now) = (task.request, task.now);
    let before = request.session.found(state, record)?;
    let device = state.device.value.as_ref().ok_or(Reason::DeviceRevoked)?;
    let (proof, presence) = task.proofs(engine, app)?;
    device.check_form(&proof, app.policy.proof.counter)?;
    let proofs = (&proof, presence.as_ref());
    let within = (state.surroundings(app.standing), &app.policy);
    let session::Elevated {
        session,
        scopes,
        user_presence,
        access_for,
    } = elevate(before, &task.elevation, proofs, within, now)?;
    let said = Said {
        acr: task.elevation.acr.clone(),
        amr: task.elevation.amr.clone(),
        auth_time: task.elevation.auth_time,
        user_presence,
        scopes: scopes.clone(),
        access_for,
    };
    let access = mint_access(engine, (&session, device), said, now)?;
    let bucket = session.id.bucket();
    let own: Item = if session == *before {
        record.keep()
    } else {
        record.put(engine, &session, Some(keep_for(&session, now)))?
    };
    let why = user_presence.as_str();
    let mut changes = Changes {
        items: vec![
            own,
            state.device.keep(),
            state.subject.keep(),
            state.fleet.keep(),
        ],
        events: vec![session.event(EventKind::SessionElevated, why, &request.by, now)],
        ..Changes::default()
    };
    for proof in std::iter::once(&proof).chain(&presence) {
        changes = changes.and_once(&Once::of(app, proof, bucket, now)?);
    }
    let done = engine.commit(bucket, changes, Durability::Local).await?;
    Ok(done.map(|_| Elevated {
        trust_level: device.trust_level,
        session,
        access,
        scopes,
        user_presence,
    }))
}
