//! What ReattestDevice and RotateDeviceKey share: a device gets new keys or fresh evidence, and a
//! session of it goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::grant::{Grant, mint};
use super::key_rate::KeyRate;
use super::limits::{self, Gate};
use super::once::Once;
use super::settle::settle;
use super::state::{Answered, Beside, Changes, Loaded, Place, State, keep_for, used_challenge};
use super::{App, Engine, Failure, index, receipt, risk};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::id::DeviceId;
use crate::key::Thumbprint;
use crate::policy::{Action, Posture, Signal, is_downgrade};
use crate::proof::dpop;
use crate::proof::{Body, ProofExpectation, VerifiedProof};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{
    Actor, Device, Event, EventKind, Presented, RefreshOutcome, Renewal, Session, rekey, renew,
};
use crate::store::{Claim, Claimed, CounterUse, Durability, Windowed, keys};
use crate::time::Timestamp;
use crate::token::challenge::VerifiedChallenge;
use crate::token::refresh::{self, VerifiedRefresh};

/// What a device's old key says to a new one.
#[derive(Debug, Clone)]
pub struct KeyRotation {
    /// The proof by the key that signed proofs until now.
    pub proof: Secret<String>,
    /// The refresh token of the session that goes on.
    pub refresh_token: Option<Secret<String>>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The device as it is now.
    pub device: Device,
    /// The session that goes on.
    pub grant: Option<Grant>,
    /// The attestation key, when more devices than usual come under it.
    pub above_rate: Option<String>,
}

/// A rotation of which proof and token are authentic.
pub(super) struct Vouched {
    proof: VerifiedProof,
    token: Option<VerifiedRefresh>,
}

impl Vouched {
    /// The key that vouches.
    pub(super) const fn by(&self) -> Thumbprint {
        *self.proof.thumbprint()
    }
}

/// The device as it is before, for knowing its app, subject and keys. One trip.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `APP_DISABLED`, `STATE_STORE_UNAVAILABLE`.
pub(super) async fn known(engine: &Engine, id: &DeviceId) -> Result<(Device, Arc<App>), Failure> {
    let loaded = engine.load_one::<Device>(keys::device(id)).await?;
    let device = loaded.value.ok_or(Reason::ResourceNotFound)?;
    let app = engine.app(&device.app)?;
    Ok((device, app))
}

/// Checks what the old key says: a proof for this RPC that names the new session key, and the token
/// of a session bound to the same old key.
///
/// # Errors
/// The reasons of proofs and refresh tokens; `PROOF_TARGET_MISMATCH` when it names another new key.
pub(super) fn vouched(
    engine: &Engine,
    (app, device, method): (&App, &Device, &str),
    rotation: &KeyRotation,
    new_key: Thumbprint,
    now: Timestamp,
) -> Result<Vouched, Failure> {
    let proof = dpop::parse(rotation.proof.expose())?;
    let token = rotation.refresh_token.as_ref();
    let token = token.map(|token| {
        let token = refresh::parse(token.expose())?;
        token.verify(&engine.keyring, proof.thumbprint(), now)
    });
    let token = token.transpose()?;
    let uris = engine.proof_uris(app, method);
    let expected = ProofExpectation {
        method: "POST",
        uris: &uris,
        // Whether it is the device's is decided on the record as it is then.
        key: None,
        access_token: None,
        body: Body::Unknown,
        freshness: engine.freshness(app),
        app_attest: app.identity.apple.as_ref(),
    };
    let proof = proof.verify(&expected, now)?;
    device.check_form(&proof, app.policy.proof.counter)?;
    if proof.new_key() != Some(new_key) {
        return Err(Reason::ProofTargetMismatch.into());
    }
    Ok(Vouched { proof, token })
}

/// What is to be done, verified as far as it can be without the newest records.
pub(super) struct Task<'a> {
    pub(super) app: &'a App,
    /// The device as it was known when everything was verified.
    pub(super) known: &'a Device,
    pub(super) challenge: &'a VerifiedChallenge,
    pub(super) renewal: Renewal,
    pub(super) vouched: Option<Vouched>,
    /// The receipt that came with fresh evidence.
    pub(super) receipt: Option<ReceiptRecord>,
    pub(super) rate: KeyRate,
    /// Who asks; nobody: check everything, store nothing.
    pub(super) by: Option<&'a Actor>,
    pub(super) now: Timestamp,
}

impl Task<'_> {
    /// The refresh token of the session that goes on, with the proof it came with.
    fn presented(&self, engine: &Engine) -> Option<Presented> {
        let vouched = self.vouched.as_ref()?;
        let token = vouched.token.as_ref()?;
        Some(engine.presented(token, &vouched.proof))
    }

    /// A new receipt is kept, and that of a key which the device leaves is not.
    fn may_touch_receipt(&self) -> bool {
        let apple = matches!(self.known.posture, Posture::Apple(_));
        self.receipt.is_some() || (apple && self.renewal.key != self.known.key)
    }
}

/// Renews the device. Two trips, besides the one that made it known.
///
/// The challenge and the new keys are claimed for the device as in a registration.
pub(super) async fn settle_renewal(engine: &Engine, task: &Task<'_>) -> Result<Renewed, Failure> {
    // Before anything is claimed: a key that is claimed stays its owner's for ever, and a device
    // somebody tried in vain to move must not own it.
    renew(task.known, task.renewal.clone(), &task.app.policy, task.now)?;
    let gate = match task.by {
        Some(by) => Gate::of_caller(engine, by),
        None => Gate::default(),
    };
    let signed = Signed::of(task)?;
    let mut claims = claims(task);
    let proof = signed.proof.as_ref().and_then(Once::claim);
    claims.extend(proof.map(|claim| (claim, Reason::ProofReplayed)));
    settle(|| attempt(engine, task, (&claims, &signed, &gate))).await
}

/// What is asked for beside the records: claims, each with its refusal; what is good once; and rates.
type Asked<'a> = (&'a [(Claim, Reason)], &'a Signed, &'a Gate);

/// The records as they are now, and the refresh token of the session that goes on.
async fn load(
    engine: &Engine,
    task: &Task<'_>,
    (claims, signed, gate): Asked<'_>,
) -> Result<Answered, Failure> {
    let place = Place {
        device: task.known.id,
        subject: engine.keyring.subject_tag(&task.known.subject),
    };
    let token = task.vouched.as_ref().and_then(|vouched| vouched.token);
    if token.is_some_and(|token| token.claims().device != task.known.id) {
        return Err(Reason::TokenInvalid.into());
    }
    let of_key = task.by.map_or_else(Vec::new, |_| task.rate.to_count());
    let beside = Beside {
        session: token.map(|token| token.claims().session),
        receipt: task.may_touch_receipt(),
        claim: claims.iter().map(|(claim, _)| claim.clone()).collect(),
        limit: gate.to_count().into_iter().chain(of_key).collect(),
        window: signed.counters(),
        ..Beside::default()
    };
    let answered = engine.load_with(place, beside).await?;
    task.rate.heard(gate.heard(&answered.limits));
    signed.heard(&answered.windows);
    gate.check()?;
    for (claim, (_, refusal)) in answered.claims.iter().zip(claims) {
        if let Claimed::Taken { .. } = claim {
            return Err((*refusal).into());
        }
    }
    let before = answered.state.device.value.as_ref();
    let again = before.is_some_and(|before| task.renewal.repeats(before));
    signed.check(again)?;
    Ok(answered)
}

async fn attempt(
    engine: &Engine,
    task: &Task<'_>,
    asked: Asked<'_>,
) -> Result<Option<Renewed>, Failure> {
    let answered = load(engine, task, asked).await?;
    let (state, record) = (answered.state, answered.session);
    let before = state.device.value.as_ref();
    let before = before.ok_or(Reason::ResourceNotFound)?;
    let device = renew(before, task.renewal.clone(), &task.app.policy, task.now)?;
    let seen = signals(task, before, &device);
    let (device, seen) = risk::seen_of_device(device, seen, task.app, task.now);
    let session = match task.presented(engine).zip(record.as_ref()) {
        None => None,
        Some((presented, record)) => Some(go_on(task, (&state, record), (presented, &device))?),
    };
    let grant = match &session {
        None => None,
        Some((_, session)) => Some(grant(engine, task, session, &device)?),
    };
    let Some(by) = task.by else {
        // What nobody stores would be tokens that nobody knows of.
        return Ok(Some(Renewed {
            device,
            grant: None,
            above_rate: None,
        }));
    };
    // The same again is not one more.
    if before.key != device.key {
        task.rate.check()?;
    }
    let mut items = vec![
        state.device.put(engine, &device, None)?,
        state.subject.keep(),
        state.fleet.keep(),
    ];
    if let Some((record, (outcome, session))) = record.as_ref().zip(session.as_ref()) {
        items.push(match outcome {
            RefreshOutcome::Retry if !changed(before, &device) => record.keep(),
            RefreshOutcome::Retry | RefreshOutcome::Rotated | RefreshOutcome::Healed => {
                record.put(engine, session, Some(keep_for(session, task.now)))?
            }
        });
    }
    let mut changes = Changes {
        items,
        claims: Vec::new(),
        index: index::changes(Some(before), &device),
        events: events(task, before, &device, by)
            .into_iter()
            .chain(seen)
            .collect(),
        // The same again is not one more.
        limits: if changed(before, &device) {
            let risky = risk::lowers_rates(task.app, &device, None, task.now);
            limits::done(engine, task.app, Action::Register, (&device, risky))
        } else {
            Vec::new()
        },
        windows: Vec::new(),
    };
    if let Some(loaded) = &answered.receipt {
        let (devices, brought) = ((Some(before), &device), task.receipt.clone());
        receipt::keep_with(engine, &mut changes, loaded, devices, brought)?;
    }
    let bucket = device.id.bucket();
    let done = engine.commit(bucket, changes, Durability::Local).await?;
    Ok(done.map(|_| Renewed {
        device,
        grant,
        above_rate: task.rate.said(),
    }))
}

/// The session under the new key.
fn go_on(
    task: &Task<'_>,
    (state, record): (&State, &Loaded<Session>),
    (presented, device): (Presented, &Device),
) -> Result<(RefreshOutcome, Session), Failure> {
    let session = record.value.as_ref().ok_or(Reason::SessionRevoked)?;
    let mut surroundings = state.surroundings(task.app.standing);
    surroundings.device = Some(device);
    let policy = &task.app.policy;
    Ok(rekey(session, presented, surroundings, policy, task.now)?)
}

fn grant(
    engine: &Engine,
    task: &Task<'_>,
    session: &Session,
    device: &Device,
) -> Result<Grant, Failure> {
    let policy = &task.app.policy;
    let scopes = session.narrow(&BTreeSet::new(), device.trust_level, policy)?;
    mint(
        engine,
        task.app,
        (session.clone(), device),
        scopes,
        task.now,
    )
}

fn changed(before: &Device, now: &Device) -> bool {
    before.key != now.key || before.session_key != now.session_key
}

/// What speaks of a thief: less than before, or a new key where there are many. The same again is neither.
fn signals(task: &Task<'_>, before: &Device, now: &Device) -> Vec<Signal> {
    let less = is_downgrade(&before.posture, &now.posture).is_some();
    let crowded = before.key != now.key && task.rate.said().is_some();
    let less = less.then_some(Signal::PostureDowngraded);
    let crowded = crowded.then_some(Signal::CrowdedAttestationKey);
    less.into_iter().chain(crowded).collect()
}

fn events(task: &Task<'_>, before: &Device, now: &Device, by: &Actor) -> Vec<Event> {
    let mut kinds = Vec::new();
    if changed(before, now) {
        kinds.push(EventKind::DeviceKeyRotated);
    }
    if task.renewal.found.is_some() {
        kinds.push(EventKind::DeviceReattested);
    }
    if before.state != now.state {
        kinds.push(EventKind::DeviceResumed);
    }
    let at = before.resumed_at(task.now);
    let event = |kind| now.event(kind, String::new(), by, at);
    kinds.into_iter().map(event).collect()
}

/// What was signed for this request and is good once.
pub(super) struct Signed {
    pub(super) proof: Option<Once>,
    /// The assertion that vouches for the new key.
    pub(super) voucher: Option<Once>,
}

impl Signed {
    fn of(task: &Task<'_>) -> Result<Self, Failure> {
        if task.by.is_none() {
            return Ok(Self {
                proof: None,
                voucher: None,
            });
        }
        let bucket = task.known.id.bucket();
        let proof = task.vouched.as_ref().map(|vouched| {
            let proof = &vouched.proof;
            Once::of(task.app, proof, bucket, task.now)
        });
        let voucher = task.renewal.assertion_counter.map(|counter| {
            let key = task.known.key.thumbprint();
            Once::of_voucher(task.app, (&key, counter), task.challenge, bucket)
        });
        Ok(Self {
            proof: proof.transpose()?,
            voucher,
        })
    }

    /// Those whose counters are to be used in the next trip. One key may have made both, in either
    /// order: the lower counter comes first, for apps that admit nothing behind a higher one.
    fn asked(&self) -> Vec<(CounterUse, &Once)> {
        let both = self.proof.iter().chain(&self.voucher);
        let mut asked: Vec<_> = both
            .filter_map(|once| Some((once.counter()?, once)))
            .collect();
        asked.sort_by_key(|(used, _)| used.counter);
        asked
    }

    pub(super) fn counters(&self) -> Vec<CounterUse> {
        self.asked().into_iter().map(|(used, _)| used).collect()
    }

    pub(super) fn heard(&self, said: &[Windowed]) {
        for ((_, once), said) in self.asked().into_iter().zip(said) {
            once.heard(Some(*said));
        }
    }

    /// A voucher that moved the device before may come again: its answer was lost.
    pub(super) fn check(&self, again: bool) -> Result<(), Failure> {
        if let Some(proof) = &self.proof {
            proof.check(&[])?;
        }
        match &self.voucher {
            Some(voucher) if !again => voucher.check(&[]),
            Some(_) | None => Ok(()),
        }
    }
}

/// Each claim with the refusal when another has it: the challenge, and the keys that are new.
fn claims(task: &Task<'_>) -> Vec<(Claim, Reason)> {
    if task.by.is_none() {
        return Vec::new();
    }
    let owner = task.known.id.as_bytes().to_vec();
    let challenge = used_challenge(task.challenge, owner.clone(), task.now);
    let mut claims = vec![(challenge, Reason::ChallengeAlreadyUsed)];
    let mut new_keys = vec![task.renewal.key.thumbprint(), task.renewal.session_key];
    new_keys.dedup();
    let had = [task.known.key.thumbprint(), task.known.session_key];
    for key in new_keys.iter().filter(|key| !had.contains(key)) {
        let claim = Claim {
            key: keys::key_owner(key),
            owner: owner.clone(),
            live_for: None,
        };
        claims.push((claim, Reason::DeviceExists));
    }
    claims
}
