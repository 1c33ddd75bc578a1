//! RefreshSession: a refresh token and a proof by its key become the next ones.

use std::collections::BTreeSet;

use super::grant::{Grant, mint};
use super::settle::settle;
use super::state::{Changes, Done, Loaded, Place, State, check_unused, keep_for, proof_claim};
use super::{App, Engine, Failure};
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{
    Actor, EndReason, Event, EventKind, RefreshOutcome, Rotation, Session, SessionState, rotate,
};
use crate::store::{Claim, Durability};
use crate::time::Timestamp;
use crate::token::refresh::{self, VerifiedRefresh};

/// The path a proof for this RPC is aimed at.
const METHOD: &str = "assay.v1.SessionService/RefreshSession";

/// The request.
#[derive(Debug, Clone)]
pub struct RefreshSession {
    /// The refresh token.
    pub refresh_token: Secret<String>,
    /// The proof.
    pub proof: Secret<String>,
    /// Scopes of the new access token; empty: all of the session's.
    pub scopes: BTreeSet<String>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The tokens.
    pub grant: Grant,
    /// How it ended.
    pub outcome: RefreshOutcome,
}

/// Refreshes a session. Two trips to the store, one for a retry, none for a forged token or proof.
///
/// The key comes before any penalty: a token without the key it is bound to fails its MAC, so a
/// thief never reaches the rule that ends a session whose token was used twice.
///
/// # Errors
/// `TOKEN_INVALID`, `SESSION_EXPIRED_ABSOLUTE`, `APP_DISABLED`, every reason of a proof,
/// `PROOF_REPLAYED`, every reason a session is not live, `REATTESTATION_REQUIRED`,
/// `REFRESH_TOKEN_REUSED`, `REFRESH_TOKEN_VOID`, `SCOPE_NOT_ALLOWED`, `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RefreshSession) -> Result<Refreshed, Failure> {
    let now = engine.clock.now();
    let token = refresh::parse(request.refresh_token.expose())?;
    let proof = dpop::parse(request.proof.expose())?;
    let token = token.verify(&engine.keyring, proof.thumbprint(), now)?;
    let app = engine.app_by_tag(&token.claims().app)?;
    let proof = check_proof(engine, &app, proof, now)?;
    let claim = proof_claim(&proof, token.claims().session.bucket(), now)?;
    settle(|| attempt(engine, &app, (&token, &claim), &request.scopes, now)).await
}

fn check_proof(
    engine: &Engine,
    app: &App,
    proof: UnverifiedProof,
    now: Timestamp,
) -> Result<VerifiedProof, Failure> {
    let uris = engine.proof_uris(app, METHOD);
    let expected = ProofExpectation {
        method: "POST",
        uris: &uris,
        // The token's MAC covers the key.
        key: None,
        access_token: None,
        body: Body::Unknown,
        freshness: engine.freshness(app),
    };
    Ok(proof.verify(&expected, now)?)
}

async fn attempt(
    engine: &Engine,
    app: &App,
    (token, claim): (&VerifiedRefresh, &Claim),
    scopes: &BTreeSet<String>,
    now: Timestamp,
) -> Result<Option<Refreshed>, Failure> {
    let place = Place {
        device: token.claims().device,
        subject: token.claims().subject,
    };
    let (state, record, claimed) = engine
        .load(place, Some(token.claims().session), vec![claim.clone()])
        .await?;
    check_unused(&claimed)?;
    let record = record.ok_or(Reason::Internal)?;
    // A session that is not found is dead: lost state never opens a door.
    let session = record.value.as_ref().ok_or(Reason::SessionRevoked)?;
    let surroundings = state.surroundings(app.standing);
    let presented = engine.presented(token);
    let rotation = rotate(session, presented, surroundings, &app.policy, now)?;
    let (outcome, session) = match rotation {
        Rotation::Granted { outcome, session } => (outcome, session),
        Rotation::Reused { session: None } => return Err(Reason::RefreshTokenReused.into()),
        Rotation::Reused { session: Some(out) } => {
            let kind = match out.state {
                SessionState::Ended { .. } => EventKind::SessionEnded,
                SessionState::Live => EventKind::SessionHeld,
            };
            let why = EndReason::RefreshTokenReused.as_str();
            let news = out.event(kind, why, &Actor::service(), now);
            return match commit(engine, (&state, &record), &out, vec![news], now).await? {
                Some(_) => Err(Reason::RefreshTokenReused.into()),
                None => Ok(None),
            };
        }
    };
    // Before the commit: what cannot be answered uses nothing up.
    let device = state.device.value.as_ref().ok_or(Reason::DeviceRevoked)?;
    let granted = session.narrow(scopes, device.trust_level, &app.policy)?;
    let grant = mint(engine, app, (session.clone(), device), granted, now)?;
    let written = match outcome {
        RefreshOutcome::Retry => true,
        RefreshOutcome::Rotated | RefreshOutcome::Healed => {
            let done = commit(engine, (&state, &record), &session, Vec::new(), now).await?;
            done.is_some()
        }
    };
    Ok(written.then_some(Refreshed { grant, outcome }))
}

/// Writes the session, unless anything it was decided upon has changed.
async fn commit(
    engine: &Engine,
    (state, record): (&State, &Loaded<Session>),
    session: &Session,
    events: Vec<Event>,
    now: Timestamp,
) -> Result<Option<Done>, Failure> {
    let items = vec![
        record.put(engine, session, Some(keep_for(session, now)))?,
        state.device.keep(),
        state.subject.keep(),
        state.fleet.keep(),
    ];
    let changes = Changes {
        items,
        events,
        ..Changes::default()
    };
    engine
        .commit(session.id.bucket(), changes, Durability::Local)
        .await
}
