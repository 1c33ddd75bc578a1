//! IssueSession: the holder of a registered device's key gets a session.

use std::collections::BTreeSet;

use super::grant::{Grant, mint};
use super::list_sessions::{Listed, sessions_of};
use super::settle::settle;
use super::state::{Changes, Place, State, keep_for, proof_claim};
use super::{App, Engine, Failure, enabled};
use crate::id::{ConsentId, DeviceId, SessionId, Subject};
use crate::proof::dpop::{self, UnverifiedProof};
use crate::proof::{Body, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::secret::{Secret, random};
use crate::session::{
    Actor, Device, EndReason, EventKind, LastUsed, Opened, Opening, Session, end, open,
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
    /// The consent it is opened under.
    pub consent: Option<ConsentId>,
    /// Who asks.
    pub by: Actor,
}

/// The path a proof for this RPC is aimed at.
const METHOD: &str = "assay.v1.SessionService/IssueSession";

/// Opens a session. Two trips to the store, and two more when the subject or device is at its limit:
/// then the sessions that make room end in the same commit.
///
/// # Errors
/// `DEVICE_KEY_UNKNOWN` when there is no such device of this subject, `APP_DISABLED`, every reason of
/// a proof, `DEVICE_REVOKED`, `REATTESTATION_REQUIRED`, `SCOPE_NOT_ALLOWED`, `SESSION_LIMIT`,
/// `MALFORMED_REQUEST` when an access token could not hold it all, `CONFLICT`,
/// `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: IssueSession) -> Result<Grant, Failure> {
    let now = engine.clock.now();
    let proof = dpop::parse(request.proof.expose())?;
    let id = SessionId::new(request.device.bucket(), random()?);
    let tag = engine.keyring.subject_tag(&request.subject);
    let place = Place {
        device: request.device,
        subject: tag,
    };
    let apps = engine.apps.load_full();
    settle(|| async {
        let (state, record, _) = engine.load(place, Some(id), Vec::new()).await?;
        let record = record.ok_or(Reason::Internal)?;
        let device = known_device(&state, &request.subject)?;
        let app = enabled(&apps, &device.app)?;
        let proof = check_proof(engine, &app, proof.clone(), device, now)?;
        let mint = |session: &Session| {
            let scopes = session.scopes.clone();
            mint(engine, &app, (session.clone(), device), scopes, now)
        };
        // Nobody else knows this id: it is our own commit, whose answer was lost.
        if let Some(session) = &record.value {
            state.surroundings(app.standing).check(session, now)?;
            return mint(session).map(Some);
        }
        let (opened, evicted) = decide(engine, (&state, &app), (&request, id), &proof, now).await?;
        let Opened {
            session, subject, ..
        } = opened;
        // Before the commit: what cannot be answered is not opened.
        let grant = mint(&session)?;
        let bucket = device.id.bucket();
        let mut changes = Changes {
            items: vec![
                record.put(engine, &session, Some(keep_for(&session, now)))?,
                state.subject.put(engine, &subject, None)?,
                state.device.keep(),
                state.fleet.keep(),
            ],
            claims: vec![proof_claim(&proof, bucket, now)?],
            ..Changes::default()
        };
        evict(engine, evicted, &mut changes, now)?;
        let opened = session.event(EventKind::SessionOpened, "", &request.by, now);
        changes.events.push(opened);
        let done = engine.commit(bucket, changes, Durability::Local).await?;
        Ok(done.map(|_| grant))
    })
    .await
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
