//! RotateSession: something happened to the account; tokens from before are void, and the holder of the
//! device's key gets new ones.

use std::collections::BTreeSet;

use super::grant::{Grant, mint};
use super::once::Once;
use super::settle::insist;
use super::state::{Changes, keep_for};
use super::step_up::{SessionName, session_proof};
use super::{Engine, Failure, Receipt, enabled};
use crate::proof::dpop;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Event, EventKind, cut};
use crate::token::Purpose;

/// The path a proof for this RPC is aimed at.
const METHOD: &str = "assay.v1.SessionService/RotateSession";

/// The request.
#[derive(Debug, Clone)]
pub struct RotateSession {
    /// Which.
    pub session: SessionName,
    /// The proof.
    pub proof: Secret<String>,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct RotatedSession {
    /// The new tokens.
    pub grant: Grant,
    /// What is true of the end of the old ones.
    pub receipt: Receipt,
}

/// Rotates a session. Two trips to the store. Each call makes void what was given before, by an earlier
/// call too: whoever did not get the answer calls again with a fresh proof.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `APP_DISABLED`, every reason of a proof, every reason a session is not live,
/// `REATTESTATION_REQUIRED`, `SCOPE_NOT_ALLOWED`; `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas
/// than configured; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RotateSession) -> Result<RotatedSession, Failure> {
    let now = engine.clock.now();
    let proof = dpop::parse(request.proof.expose())?;
    let named = &request.session;
    let apps = engine.apps.load_full();
    let (grant, done) = insist(|| async {
        let place = named.place(engine);
        let (state, record) = engine.load(place, Some(named.session)).await?;
        let record = record.ok_or(Reason::Internal)?;
        let session = named.found(&state, &record)?;
        let device = state.device.value.as_ref().ok_or(Reason::DeviceRevoked)?;
        let app = enabled(&apps, &session.app)?;
        let proof = session_proof(engine, (&app, METHOD), proof.clone(), named.session, now)?;
        device.check_form(&proof, app.policy.proof.counter)?;
        let refresh_key = engine.keyring.secret(Purpose::RefreshToken).0;
        let surroundings = state.surroundings(app.standing);
        let by_whom = (&proof, refresh_key);
        let session = cut(session, by_whom, surroundings, &app.policy, now)?;
        let scopes = session.narrow(&BTreeSet::new(), device.trust_level, &app.policy)?;
        let grant = mint(engine, &app, (session.clone(), device), scopes, now)?;
        let bucket = session.id.bucket();
        let changes = Changes {
            items: vec![
                record.put(engine, &session, Some(keep_for(&session, now)))?,
                state.device.keep(),
                state.subject.keep(),
                state.fleet.keep(),
            ],
            events: vec![Event {
                // What was made before is void for whoever hears of it, whatever the store loses.
                epoch: session.cut.map(|cut| u64::from(cut.generation)),
                ..session.event(EventKind::SessionRotated, "", &request.by, now)
            }],
            ..Changes::default()
        }
        .and_once(&Once::of(&app, &proof, bucket, now)?);
        let done = engine
            .commit(bucket, changes, engine.revocation_durability)
            .await?;
        Ok(done.map(|done| (grant, done)))
    })
    .await?;
    let app = grant.session.app.clone();
    let receipt = Receipt::new(engine, now, [Some(&app)], Some(done), now)?;
    Ok(RotatedSession { grant, receipt })
}
