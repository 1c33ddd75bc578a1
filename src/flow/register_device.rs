//! RegisterDevice: evidence for a challenge becomes a device of a subject.

use std::collections::BTreeSet;

use super::appraisal::{Accepted, Appraisal, EvidenceInput, appraise};
use super::key_rate::KeyRate;
use super::settle::settle;
use super::state::{Answered, Beside, Changes, Place, State, used_challenge};
use super::{App, Engine, Failure, index, receipt};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::attestation::client_data::{self, Expected};
use crate::id::{AppId, DeviceId, Subject};
use crate::reason::Reason;
use crate::session::{Actor, Candidate, Device, DeviceState, EventKind, Registration, register};
use crate::store::{Claim, Claimed, Durability, keys};
use crate::time::Timestamp;
use crate::token::challenge::{self, ChallengeExpectation, ChallengePurpose, VerifiedChallenge};

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
    /// Who asks.
    pub by: Actor,
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

/// Registers a device. Two trips to the store, and one more when the subject is at its limit.
///
/// The challenge, the attested key and the session key are claimed for this device while its records
/// are loaded: each has at most one owner in the whole store, whatever bucket their subjects live in.
/// The claims name the device, and the device's id follows from app, subject and key, so the same
/// registration again finds its own claims. A claim is made only for evidence that verified.
///
/// # Errors
/// `APP_DISABLED`, `CHALLENGE_INVALID`, every reason of attestation and policy,
/// `CHALLENGE_ALREADY_USED`, `DEVICE_EXISTS`, `DEVICE_KEY_BANNED`, `DEVICE_LIMIT`,
/// `RATE_LIMITED_ATTESTATION_KEY`, `CONFLICT`,
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
    };
    let appraisal = appraise(engine, &app, evidence, expected, now);
    let accepted = match &appraisal.verdict {
        Ok(accepted) => accepted.clone(),
        Err(rejection) => return Err((**rejection).clone().into()),
    };
    let task = Task {
        app: &app,
        used: &used,
        candidate: candidate(engine, &request, &accepted),
        receipt: receipt::brought(&app, appraisal.facts.as_ref())?,
        rate: if request.validate_only {
            KeyRate::none()
        } else {
            KeyRate::of(&app.policy.android, &accepted.assurance)
        },
        by: (!request.validate_only).then_some(&request.by),
        now,
    };
    let device = settle(|| attempt(engine, &task)).await?;
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
    rate: KeyRate,
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

async fn attempt(engine: &Engine, task: &Task<'_>) -> Result<Option<Device>, Failure> {
    let (candidate, now) = (&task.candidate, task.now);
    let place = Place {
        device: candidate.id,
        subject: engine.keyring.subject_tag(&candidate.subject),
    };
    let beside = Beside {
        receipt: task.receipt.is_some(),
        claim: task
            .by
            .map_or_else(Vec::new, |_| claims(task.used, candidate, now)),
        owner_of: vec![keys::erased_device(&candidate.id)],
        limit: task.rate.to_count(),
        ..Beside::default()
    };
    let answered = engine.load_with(place, beside).await?;
    task.rate.heard(&answered.limits);
    let refusals = [
        Reason::ChallengeAlreadyUsed,
        Reason::DeviceExists,
        Reason::DeviceExists,
    ];
    for (claim, refusal) in answered.claims.iter().zip(refusals) {
        if let Claimed::Taken { .. } = claim {
            return Err(refusal.into());
        }
    }
    // Whether its key was revoked is not known any more.
    if answered.owners.iter().any(Option::is_some) {
        return Err(Reason::DeviceKeyBanned.into());
    }
    let registration = decide(engine, &answered.state, candidate, task.app, now).await?;
    let Some(by) = task.by else {
        return Ok(Some(registration.device));
    };
    // Whoever is there already is not one more.
    if answered.state.device.value.is_none() {
        task.rate.check()?;
    }
    let changes = changes(engine, task, &answered, &registration, by)?;
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
    let Registration { device, subject } = registration;
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
    };
    if let Some(loaded) = &answered.receipt {
        let brought = task.receipt.clone();
        receipt::keep_with(engine, &mut changes, loaded, (before, device), brought)?;
    }
    Ok(changes)
}

/// Challenge first, keys after it: the order of the refusals. The session key that an App Attest key
/// vouches for has one owner, too: who vouches need not hold it, and a proof by a key that two
/// devices share would be good for both.
fn claims(used: &VerifiedChallenge, candidate: &Candidate, now: Timestamp) -> Vec<Claim> {
    let owner = candidate.id.as_bytes().to_vec();
    let key = candidate.key.thumbprint();
    let mut claims = vec![
        used_challenge(used, owner.clone(), now),
        Claim {
            key: keys::key_owner(&key),
            owner: owner.clone(),
            live_for: None,
        },
    ];
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
) -> Result<Registration, Failure> {
    let register = |revoked: &BTreeSet<DeviceId>| {
        let subject = (state.subject.value.as_ref(), revoked);
        register(
            candidate.clone(),
            state.device.value.as_ref(),
            subject,
            &app.policy,
            now,
        )
    };
    match register(&BTreeSet::new()) {
        Err(refusal) if refusal.0 == Reason::DeviceLimit => {
            Ok(register(&revoked_devices(engine, state).await?)?)
        }
        decided => Ok(decided?),
    }
}

/// Which of the subject's devices do not count against its limit.
async fn revoked_devices(engine: &Engine, state: &State) -> Result<BTreeSet<DeviceId>, Failure> {
    let ids = state
        .subject
        .value
        .iter()
        .flat_map(|subject| &subject.devices);
    let devices = engine
        .load_all::<Device>(ids.map(keys::device).collect())
        .await?;
    let revoked = devices
        .into_iter()
        .filter_map(|device| device.value)
        .filter_map(|device| {
            matches!(device.state, DeviceState::Revoked { .. }).then_some(device.id)
        });
    Ok(revoked.collect())
}
