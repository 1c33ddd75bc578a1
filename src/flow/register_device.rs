//! RegisterDevice: evidence for a challenge becomes a device of a subject.

use super::appraisal::{Accepted, Appraisal, EvidenceInput, appraise};
use super::key_rate::KeyRate;
use super::limits::{self, Gate};
use super::request_id::{self, Named, RequestId};
use super::settle::settle;
use super::state::{Answered, Beside, Changes, Loaded, Place, State, used_challenge};
use super::{App, Engine, Failure, index, receipt, risk};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::attestation::client_data::{self, Expected};
use crate::client::ClientContext;
use crate::id::{AppId, Subject};
use crate::policy::{Action, DeviceLimitRule, Signal};
use crate::reason::Reason;
use crate::session::{
    Actor, Candidate, Device, DeviceState, EventKind, KnownDevices, Registration, RevocationReason,
    Session, register, revoke,
};
use crate::store::{Claim, Claimed, Durability, keys};
use crate::time::Timestamp;
use crate::token::challenge::{self, ChallengeExpectation, ChallengePurpose, VerifiedChallenge};

/// What request ids of this RPC are for.
const METHOD: &str = "assay.v1.DeviceService/RegisterDevice";

/// The request.
#[derive(Debug, Clone)]
pub struct RegisterDevice {
    /// Whom the device shall belong to.
    pub subject: Subject,
    /// The app.
    pub app: AppId,
    /// The challenge the evidence was made for.
    pub challenge: Vec<u8>,
    /// The evidence.
    pub evidence: EvidenceInput,
    /// Check everything, store nothing.
    pub validate_only: bool,
    /// Where the phone is.
    pub client: ClientContext,
    /// Who asks.
    pub by: Actor,
    /// What the caller calls this request, so that it can be sent again.
    pub request_id: Option<RequestId>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The device.
    pub device: Device,
    /// What was found in the evidence.
    pub appraisal: Appraisal,
    /// The attestation key, when more devices than usual register under it.
    pub above_rate: Option<String>,
}

/// Registers a device. Two trips to the store, and one or two more when the subject is at its limit: then
/// the devices that make room are revoked in the same commit. One more to count a telling failure.
///
/// The challenge, the attested key and the session key are claimed for this device while its records
/// are loaded: each has at most one owner in the whole store, whatever bucket their subjects live in.
/// The claims name the device, and the device's id follows from app, subject and key, so the same
/// registration again finds its own claims. A claim is made only for evidence that verified.
///
/// # Errors
/// `APP_DISABLED`, `CHALLENGE_INVALID`, every reason of attestation and policy, `REQUEST_ID_REUSED`,
/// `CHALLENGE_ALREADY_USED`, `DEVICE_EXISTS`, `DEVICE_KEY_BANNED`, `DEVICE_LIMIT`,
/// `RATE_LIMITED_ATTESTATION_KEY`, every other rate limit, `CONFLICT`,
/// `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RegisterDevice) -> Result<Registered, Failure> {
    let now = engine.clock.now();
    let app = engine.app(&request.app)?;
    let expected = ChallengeExpectation {
        purpose: ChallengePurpose::Register,
        app: &request.app,
        subject: &request.subject,
    };
    let used = challenge::verify(&engine.keyring, &request.challenge, &expected, now)?;
    let evidence = request.evidence.clone();
    let expected = Expected {
        purpose: client_data::Purpose::Register,
        challenge: &request.challenge,
        app: &request.app,
        session_key: app.policy.apple.session_key,
    };
    let appraisal = appraise(engine, &app, evidence, expected, now);
    let accepted = match &appraisal.verdict {
        Ok(accepted) => accepted.clone(),
        Err(rejection) => return Err((**rejection).clone().into()),
    };
    let candidate = candidate(engine, &request, &accepted);
    let task = Task {
        app: &app,
        used: &used,
        named: named(engine, &request, &candidate),
        candidate,
        receipt: receipt::brought(&app, appraisal.facts.as_ref())?,
        rate: if request.validate_only {
            KeyRate::none()
        } else {
            KeyRate::of(&app.policy.android, &accepted.assurance)
        },
        gate: if request.validate_only {
            Gate::default()
        } else {
            Gate::of(engine, Action::Register, &request.by, &request.client)
        },
        by: (!request.validate_only).then_some(&request.by),
        now,
    };
    let registered = settle(|| attempt(engine, &task)).await;
    if let Err(failure) = &registered {
        engine.note_failure(failure, &task.gate, None).await;
    }
    let device = registered?;
    let (above_rate, mut appraisal) = (task.rate.said(), appraisal);
    task.rate.note(&mut appraisal.checks);
    Ok(Registered {
        device,
        appraisal,
        above_rate,
    })
}

/// What is to be done, verified as far as it can be without the records.
struct Task<'a> {
    app: &'a App,
    used: &'a VerifiedChallenge,
    candidate: Candidate,
    receipt: Option<ReceiptRecord>,
    named: Option<Named>,
    rate: KeyRate,
    gate: Gate,
    /// Who asks; nobody: check everything, store nothing.
    by: Option<&'a Actor>,
    now: Timestamp,
}

fn candidate(engine: &Engine, request: &RegisterDevice, accepted: &Accepted) -> Candidate {
    let key = *accepted.assurance.key();
    Candidate {
        id: engine
            .keyring
            .device_id(&request.app, &request.subject, &key.thumbprint()),
        app: request.app.clone(),
        subject: request.subject.clone(),
        key,
        session_key: accepted.session_key,
        trust_level: accepted.assurance.trust_level(),
        posture: accepted.assurance.posture().clone(),
        chain_serials: accepted.assurance.chain_serials().to_vec(),
        issuer_keys: accepted.assurance.issuer_keys().to_vec(),
        attestation_key: accepted.assurance.attestation_key().copied(),
    }
}

/// The request by its id: with whom it is for, the challenge, and the keys that were made for it.
fn named(engine: &Engine, request: &RegisterDevice, candidate: &Candidate) -> Option<Named> {
    let id = request.request_id.as_ref()?;
    let content: [&[u8]; 5] = [
        request.subject.expose().as_bytes(),
        request.app.as_str().as_bytes(),
        &request.challenge,
        candidate.key.as_bytes(),
        candidate.session_key.as_bytes(),
    ];
    Some(Named::new(engine, (&request.by, METHOD), id, &content))
}

async fn attempt(engine: &Engine, task: &Task<'_>) -> Result<Option<Device>, Failure> {
    let (candidate, now) = (&task.candidate, task.now);
    let place = Place {
        device: candidate.id,
        subject: engine.keyring.subject_tag(&candidate.subject),
    };
    let counted = task.gate.to_count().into_iter();
    let beside = Beside {
        receipt: task.receipt.is_some(),
        claim: task
            .by
            .map_or_else(Vec::new, |_| claims(task, candidate, now)),
        owner_of: vec![keys::erased_device(&candidate.id)],
        limit: counted.chain(task.rate.to_count()).collect(),
        ..Beside::default()
    };
    let answered = engine.load_with(place, beside).await?;
    task.rate.heard(task.gate.heard(&answered.limits));
    task.gate.check()?;
    let by_id = usize::from(task.named.is_some());
    request_id::check(answered.claims.first().filter(|_| by_id > 0))?;
    let refusals = [
        Reason::ChallengeAlreadyUsed,
        Reason::DeviceExists,
        Reason::DeviceExists,
    ];
    for (claim, refusal) in answered.claims.iter().skip(by_id).zip(refusals) {
        if let Claimed::Taken { .. } = claim {
            return Err(refusal.into());
        }
    }
    // Whether its key was revoked is not known any more.
    if answered.owners.iter().any(Option::is_some) {
        return Err(Reason::DeviceKeyBanned.into());
    }
    let (mut registration, replaced) =
        decide(engine, &answered.state, candidate, task.app, now).await?;
    let Some(by) = task.by else {
        return Ok(Some(registration.device));
    };
    // Whoever is there already is not one more.
    if answered.state.device.value.is_none() {
        task.rate.check()?;
    }
    let crowded = answered.state.device.value.is_none() && task.rate.said().is_some();
    let seen = crowded.then_some(Signal::CrowdedAttestationKey);
    let (device, seen) = risk::seen_of_device(registration.device, seen, task.app, now);
    registration.device = device;
    let mut changes = changes(engine, task, &answered, &registration, by)?;
    changes.events.extend(seen);
    replace(engine, replaced, &mut changes, now)?;
    let device = registration.device;
    let done = engine
        .commit(device.id.bucket(), changes, Durability::Local)
        .await?;
    Ok(done.map(|_| device))
}

fn changes(
    engine: &Engine,
    task: &Task<'_>,
    answered: &Answered,
    registration: &Registration,
    by: &Actor,
) -> Result<Changes, Failure> {
    let Registration {
        device, subject, ..
    } = registration;
    let state = &answered.state;
    let before = state.device.value.as_ref();
    let mut changes = Changes {
        items: vec![
            state.device.put(engine, device, None)?,
            state.subject.put(engine, subject, None)?,
            state.fleet.keep(),
        ],
        claims: Vec::new(),
        index: index::changes(before, device),
        events: vec![device.event(EventKind::DeviceRegistered, String::new(), by, task.now)],
        // Whoever is there already is not one more.
        limits: match before {
            None => {
                let risky = risk::lowers_rates(task.app, device, None, task.now);
                limits::done(engine, task.app, Action::Register, (device, risky))
            }
            Some(_) => Vec::new(),
        },
        windows: Vec::new(),
    };
    if let Some(loaded) = &answered.receipt {
        let brought = task.receipt.clone();
        receipt::keep_with(engine, &mut changes, loaded, (before, device), brought)?;
    }
    Ok(changes)
}

/// The request id, the challenge, the keys after it: the order of the refusals. The session key that an App Attest key
/// vouches for has one owner, too: who vouches need not hold it, and a proof by a key that two
/// devices share would be good for both.
fn claims(task: &Task<'_>, candidate: &Candidate, now: Timestamp) -> Vec<Claim> {
    let owner = candidate.id.as_bytes().to_vec();
    let key = candidate.key.thumbprint();
    let mut claims: Vec<Claim> = task.named.iter().map(Named::claim).collect();
    claims.push(used_challenge(task.used, owner.clone(), now));
    claims.push(Claim {
        key: keys::key_owner(&key),
        owner: owner.clone(),
        live_for: None,
    });
    if candidate.session_key != key {
        claims.push(Claim {
            key: keys::key_owner(&candidate.session_key),
            owner,
            live_for: None,
        });
    }
    claims
}

async fn decide(
    engine: &Engine,
    state: &State,
    candidate: &Candidate,
    app: &App,
    now: Timestamp,
) -> Result<(Registration, Vec<Loaded<Device>>), Failure> {
    let register = |known: &KnownDevices| {
        let subject = (state.subject.value.as_ref(), known);
        register(
            candidate.clone(),
            state.device.value.as_ref(),
            subject,
            &app.policy,
            now,
        )
    };
    match register(&KnownDevices::default()) {
        Err(refusal) if refusal.0 == Reason::DeviceLimit => {
            let (known, mut records) = known_devices(engine, state, candidate, app).await?;
            let registration = register(&known)?;
            records.retain(|record| {
                let device = record.value.as_ref();
                device.is_some_and(|device| registration.replaced.contains(&device.id))
            });
            Ok((registration, records))
        }
        decided => Ok((decided?, Vec::new())),
    }
}

/// Which of the subject's devices do not count against its limit, and where one may give way, when each
/// was last used. One trip, or two.
async fn known_devices(
    engine: &Engine,
    state: &State,
    candidate: &Candidate,
    app: &App,
) -> Result<(KnownDevices, Vec<Loaded<Device>>), Failure> {
    let mut known = KnownDevices::default();
    let Some(subject) = &state.subject.value else {
        return Ok((known, Vec::new()));
    };
    let devices = subject.devices.iter();
    let ids = devices.map(|device| keys::device(&device.id)).collect();
    let records = engine.load_all::<Device>(ids).await?;
    for device in records.iter().filter_map(|record| record.value.as_ref()) {
        if let DeviceState::Revoked { .. } = device.state {
            known.revoked.insert(device.id);
        } else if device.app == candidate.app {
            known.used.insert(device.id, device.attested_at);
        }
    }
    let sessions = subject.sessions.iter();
    let sessions = sessions.filter(|entry| known.used.contains_key(&entry.device));
    let ids: Vec<_> = sessions.map(|entry| keys::session(&entry.id)).collect();
    if app.policy.on_device_limit == DeviceLimitRule::ReplaceOldest && !ids.is_empty() {
        let sessions = engine.load_all::<Session>(ids).await?;
        for session in sessions.into_iter().filter_map(|record| record.value) {
            if let Some(used) = known.used.get_mut(&session.device) {
                *used = session.rotated_at.max(*used);
            }
        }
    }
    Ok((known, records))
}

/// Revokes the devices that make room.
fn replace(
    engine: &Engine,
    records: Vec<Loaded<Device>>,
    changes: &mut Changes,
    now: Timestamp,
) -> Result<(), Failure> {
    let why = RevocationReason::Replaced;
    for record in records {
        let Some(device) = &record.value else {
            continue;
        };
        let out = revoke(device, why, now);
        changes.items.push(record.put(engine, &out, None)?);
        let (kind, by) = (EventKind::DeviceRevoked, Actor::service());
        let event = out.event(kind, why.as_str().to_owned(), &by, now);
        changes.events.push(event);
    }
    Ok(())
}
