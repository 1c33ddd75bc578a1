//! EnrolPresenceKey: a device gets a key that it uses only when the user is there.

use super::appraisal::{EvidenceInput, appraise};
use super::once::Once;
use super::renewal::{Signed, known};
use super::request_id::first_half;
use super::rotate_device_key::{Voucher as Sent, asserted_key};
use super::settle::settle;
use super::state::{Beside, Changes, Place, used_challenge};
use super::step_up::{presence_proof, verified};
use super::{App, Engine, Failure};
use crate::attestation::android::Chain;
use crate::attestation::client_data::{Expected, Purpose, SessionKeyRule};
use crate::id::DeviceId;
use crate::key::Thumbprint;
use crate::policy::TrustLevel;
use crate::proof::{Form, VerifiedProof, dpop};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Device, Enrolment, EventKind, PresenceKey, Voucher, enrol};
use crate::store::{Claim, Claimed, Durability, keys};
use crate::time::Timestamp;
use crate::token::challenge::{self, ChallengeExpectation, ChallengePurpose, VerifiedChallenge};

/// The path both proofs are aimed at.
const METHOD: &str = "assay.v1.DeviceService/EnrolPresenceKey";

/// The request.
#[derive(Debug, Clone)]
pub struct EnrolPresenceKey {
    /// Which device.
    pub device: DeviceId,
    /// The challenge that the voucher was made for.
    pub challenge: Vec<u8>,
    /// Who vouches for the key.
    pub voucher: Sent,
    /// The proof by the key that signs proofs; it names the new key.
    pub proof: Secret<String>,
    /// The proof by the new key; it covers the other one.
    pub presence_proof: Secret<String>,
    /// Who asks.
    pub by: Actor,
}

/// Enrols a presence key. Three trips to the store; what does not verify costs one. The same request
/// again answers as the first time, with the same proofs as long as they are fresh.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `APP_DISABLED`, `CHALLENGE_INVALID`, every reason of attestation and policy, of
/// assertions and of proofs, `ATTESTATION_KEY_REJECTED`, `SECURITY_LEVEL_TOO_LOW`, `TRUST_LIST_STALE`,
/// `DEVICE_REVOKED`, `DEVICE_SUSPENDED`, `CHALLENGE_ALREADY_USED`, `DEVICE_EXISTS`, `CONFLICT`,
/// `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: EnrolPresenceKey) -> Result<Device, Failure> {
    let now = engine.clock.now();
    let (device, app) = known(engine, &request.device).await?;
    let expected = ChallengeExpectation {
        purpose: ChallengePurpose::Presence,
        app: &device.app,
        subject: &device.subject,
    };
    let used = challenge::verify(&engine.keyring, &request.challenge, &expected, now)?;
    let expected = Expected {
        purpose: Purpose::PresenceKey,
        challenge: &request.challenge,
        app: &device.app,
        session_key: SessionKeyRule::Required,
    };
    let (key, voucher) = match request.voucher {
        Sent::Android(chain) => attested(engine, &app, chain, expected, now)?,
        Sent::Apple {
            assertion,
            client_data,
        } => {
            let sent = (assertion.as_slice(), client_data.as_slice());
            let (key, counter) = asserted_key((&app, &device), sent, expected)?;
            (key, Voucher::Asserted { counter })
        }
    };
    let sent = (&request.proof, &request.presence_proof);
    let proofs = proofs(engine, &app, sent, key, now)?;
    let enrolment = Enrolment {
        key,
        vouched_by: *proofs[0].thumbprint(),
        voucher,
    };
    // Before anything is claimed: a key that is claimed stays its owner's for ever.
    enrol(&device, &enrolment, now)?;
    // An assertion that comes again is behind what vouched for the key.
    if !(enrolment.repeats(&device) && device.proves_by_assertions()) {
        device.check_form(&proofs[0], app.policy.proof.counter)?;
    }
    let (signed, once) = good_once((&app, &device), &proofs, &enrolment, &used, now)?;
    let task = Task {
        signed,
        once,
        made_at: used.expires_at().before(app.policy.lifetimes.challenge_for),
        used: &used,
        enrolment,
        by: &request.by,
        now,
    };
    settle(|| attempt(engine, &device, &task)).await
}

/// What is to be done, verified as far as it can be without the newest record.
struct Task<'a> {
    used: &'a VerifiedChallenge,
    enrolment: Enrolment,
    /// The assertions: that which vouches for the key and, where the device makes no others, the proof.
    /// One key made both, and uses its counter in their order.
    signed: Signed,
    /// The other proofs.
    once: Vec<Once>,
    /// When the challenge was made.
    made_at: Timestamp,
    by: &'a Actor,
    now: Timestamp,
}

/// What was signed for this request and is good once: assertions, and the other proofs.
fn good_once(
    (app, device): (&App, &Device),
    [proof, presence]: &[VerifiedProof; 2],
    enrolment: &Enrolment,
    used: &VerifiedChallenge,
    now: Timestamp,
) -> Result<(Signed, Vec<Once>), Failure> {
    let bucket = device.id.bucket();
    // The challenge names the request: with another one the same proofs are replayed.
    let owner = (first_half(*used.id()), now);
    let form = proof.form();
    let proof = Once::of_request(app, proof, bucket, owner)?;
    let presence = Once::of_request(app, presence, bucket, owner)?;
    let voucher = match &enrolment.voucher {
        Voucher::Attested(_) => None,
        Voucher::Asserted { counter } => {
            let key = device.key.thumbprint();
            Some(Once::of_voucher(app, (&key, *counter), used, bucket))
        }
    };
    let (proof, once) = match form {
        Form::AppAttest { .. } => (Some(proof), vec![presence]),
        Form::Dpop => (None, vec![proof, presence]),
    };
    Ok((Signed { proof, voucher }, once))
}

/// A key that is attested, by the checks of a registration.
fn attested(
    engine: &Engine,
    app: &App,
    chain: Chain,
    expected: Expected<'_>,
    now: Timestamp,
) -> Result<(Thumbprint, Voucher), Failure> {
    let evidence = EvidenceInput::Android(chain);
    let accepted = match appraise(engine, app, evidence, expected, now).verdict {
        Ok(accepted) => accepted,
        Err(rejection) => return Err((*rejection).into()),
    };
    // What could not be looked up proves nothing, and there is no lower degree to fall back to.
    if accepted.assurance.trust_level() == TrustLevel::Provisional {
        return Err(Reason::TrustListStale.into());
    }
    let posture = Box::new(accepted.assurance.posture().clone());
    let key = accepted.assurance.key().thumbprint();
    Ok((key, Voucher::Attested(posture)))
}

/// That the key which signs proofs names the new one, and that the new one signs, for this very request.
fn proofs(
    engine: &Engine,
    app: &App,
    (proof, presence): (&Secret<String>, &Secret<String>),
    key: Thumbprint,
    now: Timestamp,
) -> Result<[VerifiedProof; 2], Failure> {
    let (aim, text) = ((app, METHOD), proof.expose());
    let proof = verified(engine, aim, dpop::parse(text)?, None, now)?;
    if proof.new_key() != Some(key) {
        return Err(Reason::ProofTargetMismatch.into());
    }
    let presence = dpop::parse(presence.expose())?;
    let presence = presence_proof(engine, aim, presence, text, now)?;
    if *presence.thumbprint() != key {
        return Err(Reason::ProofKeyMismatch.into());
    }
    Ok([proof, presence])
}

async fn attempt(
    engine: &Engine,
    known: &Device,
    task: &Task<'_>,
) -> Result<Option<Device>, Failure> {
    let now = task.now;
    let place = Place {
        device: known.id,
        subject: engine.keyring.subject_tag(&known.subject),
    };
    let owner = known.id.as_bytes().to_vec();
    let key = Claim {
        key: keys::key_owner(&task.enrolment.key),
        owner: owner.clone(),
        live_for: None,
    };
    let beside = Beside {
        claim: vec![used_challenge(task.used, owner, now), key],
        window: task.signed.counters(),
        ..Beside::default()
    };
    let answered = engine.load_with(place, beside).await?;
    let state = answered.state;
    let refusals = [Reason::ChallengeAlreadyUsed, Reason::DeviceExists];
    for (claim, refusal) in answered.claims.iter().zip(refusals) {
        if let Claimed::Taken { .. } = claim {
            return Err(refusal.into());
        }
    }
    task.signed.heard(&answered.windows);
    let before = state.device.value.as_ref();
    let before = before.ok_or(Reason::ResourceNotFound)?;
    if !task.enrolment.repeats(before) {
        task.signed.check(false)?;
        // A request that comes twice does not bring back the key that another has replaced.
        let newer = |had: PresenceKey| had.enrolled_at > task.made_at;
        if before.presence.is_some_and(newer) {
            return Err(Reason::ChallengeAlreadyUsed.into());
        }
    }
    let device = enrol(before, &task.enrolment, now)?;
    let bucket = device.id.bucket();
    let (kind, why) = (EventKind::PresenceKeyEnrolled, device.presence);
    let why = why.map_or("", |key| key.shows.as_str()).to_owned();
    let news = (device != *before).then(|| device.event(kind, why, task.by, now));
    let mut changes = Changes {
        items: vec![state.device.put(engine, &device, None)?, state.fleet.keep()],
        events: news.into_iter().collect(),
        ..Changes::default()
    };
    for once in &task.once {
        changes = changes.and_once(once);
    }
    let done = engine.commit(bucket, changes, Durability::Local).await?;
    Ok(done.map(|_| device))
}
