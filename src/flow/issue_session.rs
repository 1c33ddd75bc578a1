//! IssueSession: the holder of a registered device's key gets a session.

use std::collections::BTreeSet;

use super::grant::{Grant, mint};
use super::limits::{self, Gate};
use super::list_sessions::{Listed, sessions_of};
use super::once::Once;
use super::request_id::{self, Named, RequestId};
use super::settle::settle;
use super::state::{Answered, Beside, Changes, Loaded, Place, State, keep_for};
use super::{App, Engine, Failure, enabled, risk};
use crate::client::ClientContext;
use crate::id::{ConsentId, DeviceId, SessionId, Subject};
use crate::policy::Action;
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::secret::{Secret, random};
use crate::session::{
    Actor, Assessed, Device, EndReason, Event, EventKind, LastUsed, Opened, Opening, Session, end,
    open, reopen,
};
use crate::store::Durability;
use crate::time::Timestamp;
use crate::token::Purpose;

/// The request.
#[derive(Debug, Clone)]
pub struct IssueSession {
    /// Whom it is for.
    pub subject: Subject,
    /// The device.
    pub device: DeviceId,
    /// The proof.
    pub proof: Secret<String>,
    /// Wanted scopes.
    pub scopes: BTreeSet<String>,
    /// Wanted audience; `None`: the app's first.
    pub audience: Option<String>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// Authentication context class; may be empty.
    pub acr: String,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// When the user was authenticated; `None`: now.
    pub auth_time: Option<Timestamp>,
    /// Where the phone is.
    pub client: ClientContext,
    /// The consent it is opened under.
    pub consent: Option<ConsentId>,
    /// Who asks.
    pub by: Actor,
    /// What the caller calls this request, so that it can be sent again.
    pub request_id: Option<RequestId>,
}

/// The path a proof for this RPC is aimed at.
const METHOD: &str = "assay.v1.SessionService/IssueSession";

/// Opens a session. Two trips to the store, and two more when the subject or device is at its limit:
/// then the sessions that make room end in the same commit. One more to count a telling failure.
///
/// The same request again under its request id gives the same session as long as it was never refreshed,
/// whether the proof is the same or a fresh one. By a counter the same is known only until its key has
/// made another.
///
/// # Errors
/// `DEVICE_KEY_UNKNOWN` when there is no such device of this subject, `APP_DISABLED`, every reason of
/// a proof, `REQUEST_ID_REUSED`, `ILLEGAL_STATE_TRANSITION` when a session that was asked for again was
/// refreshed since, every reason such a session is not live, `DEVICE_REVOKED`, `DEVICE_SUSPENDED`,
/// `REATTESTATION_REQUIRED`, `SCOPE_NOT_ALLOWED`, `SESSION_LIMIT`, every rate limit,
/// `MALFORMED_REQUEST` when an access token could not hold it all, `CONFLICT`,
/// `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: IssueSession) -> Result<Grant, Failure> {
    let gate = Gate::of(engine, Action::Issue, &request.by, &request.client);
    let issued = settled(engine, &request, &gate).await;
    if let Err(failure) = &issued {
        engine.note_failure(failure, &gate, None).await;
    }
    issued
}

/// Whom the request names, and the session to be, within the limits of those who ask.
async fn load(
    engine: &Engine,
    (place, id): (Place, SessionId),
    (gate, named): (&Gate, Option<&Named>),
) -> Result<(State, Loaded<Session>), Failure> {
    let beside = Beside {
        session: Some(id),
        claim: named.iter().map(|named| named.claim()).collect(),
        limit: gate.to_count(),
        ..Beside::default()
    };
    let Answered {
        state,
        session,
        claims,
        limits,
        ..
    } = engine.load_with(place, beside).await?;
    gate.heard(&limits);
    gate.check()?;
    request_id::check(claims.first())?;
    Ok((state, session.ok_or(Reason::Internal)?))
}

async fn settled(engine: &Engine, request: &IssueSession, gate: &Gate) -> Result<Grant, Failure> {
    let now = engine.clock.now();
    let proof = dpop::parse(request.proof.expose())?;
    let named = named(engine, request);
    let bucket = request.device.bucket();
    let id = match &named {
        Some(named) => named.session(bucket),
        None => SessionId::new(bucket, random()?),
    };
    // Another attempt with the same proof is another use of it, but for the same request.
    let owner = match &named {
        Some(named) => named.proof_owner(),
        None => random()?,
    };
    let place = Place {
        device: request.device,
        subject: engine.keyring.subject_tag(&request.subject),
    };
    let apps = engine.apps.load_full();
    settle(|| async {
        let (state, record) = load(engine, (place, id), (gate, named.as_ref())).await?;
        let device = known_device(&state, &request.subject)?;
        let app = enabled(&apps, &device.app)?;
        let proof = check_proof(engine, &app, proof.clone(), device, now)?;
        let mint =
            |session: &Session, scopes| mint(engine, &app, (session.clone(), device), scopes, now);
        // Nothing of it is done before the commit is.
        let once = Once::of_request(&app, &proof, bucket, (owner, now))?;
        // Nobody else knows this id: it is our own commit, whose answer was lost, or the same request
        // was sent before.
        if let Some(session) = &record.value {
            device.check_form(&proof, app.policy.proof.counter)?;
            let surroundings = state.surroundings(app.standing);
            let scopes = reopen(session, surroundings, &app.policy, now)?;
            let grant = mint(session, scopes)?;
            let changes = unchanged(&state, &record).and_once(&once);
            let done = engine.commit(bucket, changes, Durability::Local).await?;
            return Ok(done.map(|_| grant));
        }
        let (opened, evicted) = decide(engine, (&state, &app), (request, id), &proof, now).await?;
        let Opened {
            session, subject, ..
        } = opened;
        let assessed = risk::of_opening(session, device, (&app, &request.client), now)?;
        if assessed.suspended.is_some() {
            let done = suspend(engine, &state, &assessed, now).await?;
            return done.map_or(Ok(None), |()| Err(Reason::DeviceSuspended.into()));
        }
        let session = &assessed.session;
        if session.scopes.is_empty() {
            return Err(Reason::ScopeNotAllowed.into());
        }
        // Before the commit: what cannot be answered is not opened.
        let grant = mint(session, session.scopes.clone())?;
        let risky = risk::lowers_rates(&app, device, Some(session), now);
        let mut changes = Changes {
            items: vec![
                record.put(engine, session, Some(keep_for(session, now)))?,
                state.subject.put(engine, &subject, None)?,
                state.device.keep(),
                state.fleet.keep(),
            ],
            limits: limits::done(engine, &app, Action::Issue, (device, risky)),
            ..Changes::default()
        }
        .and_once(&once);
        evict(engine, evicted, &mut changes, now)?;
        let opened = session.event(EventKind::SessionOpened, "", &request.by, now);
        changes.events.push(opened);
        changes.events.extend(assessed.events(now));
        let done = engine.commit(bucket, changes, Durability::Local).await?;
        Ok(done.map(|_| grant))
    })
    .await
}

/// Nothing, as long as everything is as it was looked at.
fn unchanged(state: &State, record: &Loaded<Session>) -> Changes {
    Changes {
        items: vec![
            record.keep(),
            state.subject.keep(),
            state.device.keep(),
            state.fleet.keep(),
        ],
        ..Changes::default()
    }
}

/// Suspends the device that the session would have been opened on: what is told of that names no session,
/// because there is none.
async fn suspend(
    engine: &Engine,
    state: &State,
    assessed: &Assessed,
    now: Timestamp,
) -> Result<Option<()>, Failure> {
    let events = assessed.events(now).into_iter();
    let mut changes = Changes {
        items: vec![state.subject.keep(), state.fleet.keep()],
        events: events
            .map(|event| Event {
                session: None,
                ..event
            })
            .collect(),
        ..Changes::default()
    };
    let durability = engine.put_suspended(state, assessed, &mut changes)?;
    let bucket = assessed.session.id.bucket();
    let done = engine.commit(bucket, changes, durability).await?;
    Ok(done.map(|_| ()))
}

/// The request by its id: with everything but the proof, which may be a fresh one.
fn named(engine: &Engine, request: &IssueSession) -> Option<Named> {
    let id = request.request_id.as_ref()?;
    let list = |words: Vec<&[u8]>| engine.keyring.request_digest(&words);
    let scopes = list(request.scopes.iter().map(String::as_bytes).collect());
    let roles = list(request.roles.iter().map(String::as_bytes).collect());
    let amr = list(request.amr.iter().map(String::as_bytes).collect());
    let audience = request.audience.as_deref().unwrap_or_default();
    let auth_time = request.auth_time.map(|at| at.as_millis().to_be_bytes());
    let consent = request.consent.as_ref().map_or("", ConsentId::as_str);
    let content: [&[u8]; 9] = [
        request.subject.expose().as_bytes(),
        request.device.as_bytes(),
        &scopes,
        audience.as_bytes(),
        &roles,
        request.acr.as_bytes(),
        &amr,
        auth_time.as_ref().map_or(&[], |at| at.as_slice()),
        consent.as_bytes(),
    ];
    Some(Named::new(engine, (&request.by, METHOD), id, &content))
}

/// A device that does not exist and one of another subject look the same.
fn known_device<'a>(state: &'a State, subject: &Subject) -> Result<&'a Device, Failure> {
    let device = state
        .device
        .value
        .as_ref()
        .filter(|device| device.subject == *subject);
    device.ok_or_else(|| Reason::DeviceKeyUnknown.into())
}

fn check_proof(
    engine: &Engine,
    app: &App,
    proof: UnverifiedProof,
    device: &Device,
    now: Timestamp,
) -> Result<VerifiedProof, Failure> {
    let uris = engine.proof_uris(app, METHOD);
    let expected = ProofExpectation {
        method: "POST",
        uris: &uris,
        key: Some(device.session_key),
        access_token: None,
        body: Body::Unknown,
        freshness: engine.freshness(app),
        app_attest: app.identity.apple.as_ref(),
    };
    Ok(proof.verify(&expected, now)?)
}

async fn decide(
    engine: &Engine,
    (state, app): (&State, &App),
    (request, id): (&IssueSession, SessionId),
    proof: &VerifiedProof,
    now: Timestamp,
) -> Result<(Opened, Vec<Listed>), Failure> {
    let device = known_device(state, &request.subject)?;
    let subject = state
        .subject
        .value
        .as_ref()
        .ok_or(Reason::DeviceKeyUnknown)?;
    let fleet = state.fleet.value.as_ref();
    let open = |used: Option<&LastUsed>| {
        let opening = Opening {
            id,
            refresh_key: engine.keyring.secret(Purpose::RefreshToken).0,
            scopes: request.scopes.clone(),
            audience: request.audience.clone(),
            roles: request.roles.clone(),
            acr: request.acr.clone(),
            amr: request.amr.clone(),
            auth_time: request.auth_time.unwrap_or(now).min(now),
            consent: request.consent.clone(),
            cut_until: fleet.and_then(|fleet| fleet.cut_until(&device.app)),
        };
        open(
            opening,
            proof,
            (app.standing, &app.policy),
            (device, subject, used),
            now,
        )
    };
    match open(None) {
        Err(refusal) if refusal.0 == Reason::SessionLimit => {
            let mut listed = sessions_of(engine, subject, fleet, now).await?;
            listed.retain(|listed| listed.may_come_back);
            let used = listed.iter().map(|listed| &listed.session);
            let used = used.map(|session| (session.id, session.rotated_at));
            let opened = open(Some(&used.collect()))?;
            listed.retain(|listed| opened.evicted.contains(&listed.session.id));
            Ok((opened, listed))
        }
        decided => Ok((decided?, Vec::new())),
    }
}

/// Ends the sessions that make room.
fn evict(
    engine: &Engine,
    evicted: Vec<Listed>,
    changes: &mut Changes,
    now: Timestamp,
) -> Result<(), Failure> {
    let why = EndReason::Evicted;
    for Listed {
        record, session, ..
    } in evicted
    {
        let ended = end(&session, why, now);
        let item = record.put(engine, &ended, Some(keep_for(&ended, now)))?;
        changes.items.push(item);
        let by = Actor::service();
        let event = ended.event(EventKind::SessionEnded, why.as_str(), &by, now);
        changes.events.push(event);
    }
    Ok(())
}
