//! RefreshSession: a refresh token and a proof by its key become the next ones.

use std::collections::BTreeSet;

use super::grant::{Grant, mint};
use super::limits::{self, Counted, Gate};
use super::once::Once;
use super::risk::{self, Suspect};
use super::settle::settle;
use super::state::{Changes, Done, Loaded, Place, State, keep_for};
use super::{App, Engine, Failure};
use crate::client::ClientContext;
use crate::policy::Action;
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{
    Actor, Assessed, EndReason, Event, EventKind, RefreshOutcome, Rotation, Session, SessionState,
    rotate,
};
use crate::store::Durability;
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
    /// Where the phone is.
    pub client: ClientContext,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The tokens.
    pub grant: Grant,
    /// How it ended.
    pub outcome: RefreshOutcome,
}

/// Refreshes a session. Two trips to the store, one for a retry, none for a forged token or proof, and
/// one more to count a telling failure.
///
/// The key comes before any penalty: a token without the key it is bound to fails its MAC, so a
/// thief never reaches the rule that ends a session whose token was used twice.
///
/// # Errors
/// `TOKEN_INVALID`, `SESSION_EXPIRED_ABSOLUTE`, `APP_DISABLED`, every reason of a proof,
/// `PROOF_REPLAYED`, every reason a session is not live, `REATTESTATION_REQUIRED`,
/// `REFRESH_TOKEN_REUSED`, `REFRESH_TOKEN_VOID`, `SCOPE_NOT_ALLOWED`, every rate limit, `CONFLICT`,
/// `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RefreshSession) -> Result<Refreshed, Failure> {
    let now = engine.clock.now();
    let token = refresh::parse(request.refresh_token.expose())?;
    let proof = dpop::parse(request.proof.expose())?;
    let token = token.verify(&engine.keyring, proof.thumbprint(), now)?;
    let app = engine.app_by_tag(&token.claims().app)?;
    let suspect = Suspect {
        app: &app,
        place: place(&token),
        session: token.claims().session,
        now,
    };
    let proof = match check_proof(engine, &app, proof, now) {
        Ok(proof) => proof,
        Err(failure) => {
            // The token's MAC covers the key.
            let failure = risk::misdirected(failure, &app, &request.proof);
            engine.note_refusal(&suspect, &failure, Vec::new()).await;
            return Err(failure);
        }
    };
    let once = Once::of(&app, &proof, token.claims().session.bucket(), now)?;
    let task = Task {
        app: &app,
        token: &token,
        proof: &proof,
        once,
        request: &request,
        gate: Gate::of(engine, Action::Refresh, &request.by, &request.client),
        tries: Gate::of_token(&app, &token),
        now,
    };
    let refreshed = settle(|| attempt(engine, &task)).await;
    if let Err(failure) = &refreshed {
        // Only the device's own key gets as far as that.
        let own = failure.reason == Reason::RefreshTokenReused;
        let device =
            own.then(|| limits::of_device(&app, Action::Refresh, &token.claims().device, 1));
        let cost = engine.cost(failure, &task.gate, device.flatten());
        engine.note_refusal(&suspect, failure, cost).await;
    }
    refreshed
}

/// What is to be done, verified as far as it can be without the records.
struct Task<'a> {
    app: &'a App,
    token: &'a VerifiedRefresh,
    proof: &'a VerifiedProof,
    once: Once,
    request: &'a RefreshSession,
    gate: Gate,
    tries: Gate,
    now: Timestamp,
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
        app_attest: app.identity.apple.as_ref(),
    };
    Ok(proof.verify(&expected, now)?)
}

/// Where the records behind a refresh token are.
const fn place(token: &VerifiedRefresh) -> Place {
    Place {
        device: token.claims().device,
        subject: token.claims().subject,
    }
}

/// The records, within the limits of those who ask.
async fn load(engine: &Engine, task: &Task<'_>) -> Result<(State, Loaded<Session>), Failure> {
    let counted = task.gate.to_count().into_iter();
    let limit = counted.chain(task.tries.to_count()).collect();
    let answered = engine
        .load_once(
            place(task.token),
            task.token.claims().session,
            &task.once,
            limit,
        )
        .await?;
    task.tries.heard(task.gate.heard(&answered.limits));
    task.gate.check()?;
    task.once.check(&answered.claims)?;
    Ok((answered.state, answered.session.ok_or(Reason::Internal)?))
}

async fn attempt(engine: &Engine, task: &Task<'_>) -> Result<Option<Refreshed>, Failure> {
    let (app, token, now) = (task.app, task.token, task.now);
    let (state, record) = load(engine, task).await?;
    // A session that is not found is dead: lost state never opens a door.
    let session = record.value.as_ref().ok_or(Reason::SessionRevoked)?;
    let surroundings = state.surroundings(app.standing);
    let presented = engine.presented(token, task.proof);
    if let Some(device) = &state.device.value {
        device.check_form(task.proof, app.policy.proof.counter)?;
    }
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
            let beside = (vec![news], Vec::new());
            return match commit(engine, (&state, &record), &out, beside, now).await? {
                Some(_) => Err(Reason::RefreshTokenReused.into()),
                None => Ok(None),
            };
        }
    };
    let device = state.device.value.as_ref().ok_or(Reason::DeviceRevoked)?;
    let answer = |session: &Session| -> Result<Grant, Failure> {
        let wanted = &task.request.scopes;
        let granted = session.narrow(wanted, device.trust_level, &app.policy)?;
        mint(engine, app, (session.clone(), device), granted, now)
    };
    if outcome == RefreshOutcome::Retry {
        task.tries.check()?;
        let grant = answer(&session)?;
        return Ok(Some(Refreshed { grant, outcome }));
    }
    let before = record.value.as_ref().ok_or(Reason::SessionRevoked)?;
    let assessed = risk::of_rotation(before, device, (app, &task.request.client), now)?;
    let session = assessed.over(session);
    // Before the commit: what cannot be answered uses nothing up.
    let grant = match may_go_on(&assessed).and_then(|()| answer(&session)) {
        // What followed is written without the rotation, so the token stays good.
        Err(refusal) if assessed.acted() => {
            let written = engine.write_assessed((&state, &record), &assessed, now);
            return written.await?.map_or(Ok(None), |()| Err(refusal));
        }
        answered => answered?,
    };
    let risky = risk::lowers_rates(app, device, Some(&session), now);
    let limits = limits::done(engine, app, Action::Refresh, (device, risky));
    let beside = (assessed.events(now), limits);
    let done = commit(engine, (&state, &record), &session, beside, now).await?;
    Ok(done.map(|_| Refreshed { grant, outcome }))
}

/// Whether the session may be used after what followed.
fn may_go_on(assessed: &Assessed) -> Result<(), Failure> {
    match assessed {
        Assessed {
            suspended: Some(_), ..
        } => Err(Reason::DeviceSuspended.into()),
        Assessed { session, .. } if session.step_up.is_some() => Err(Reason::StepUpRequired.into()),
        Assessed { .. } => Ok(()),
    }
}

/// Writes the session, unless anything it was decided upon has changed.
async fn commit(
    engine: &Engine,
    (state, record): (&State, &Loaded<Session>),
    session: &Session,
    (events, limits): (Vec<Event>, Vec<Counted>),
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
        limits,
        ..Changes::default()
    };
    engine
        .commit(session.id.bucket(), changes, Durability::Local)
        .await
}
