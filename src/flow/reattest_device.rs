//! ReattestDevice: a registered device is looked at anew, with fresh evidence.

use super::appraisal::{Appraisal, EvidenceInput, appraise};
use super::key_rate::KeyRate;
use super::renewal::{KeyRotation, Renewed, Task, Vouched, known, settle_renewal, vouched};
use super::{Engine, Failure, receipt};
use crate::attestation::client_data::{Expected, Purpose};
use crate::id::DeviceId;
use crate::session::{Actor, Found, Renewal};
use crate::token::challenge::{self, ChallengeExpectation, ChallengePurpose};

/// What proofs for this RPC are aimed at.
const METHOD: &str = "assay.v1.DeviceService/ReattestDevice";

/// The request.
#[derive(Debug, Clone)]
pub struct ReattestDevice {
    /// Which.
    pub device: DeviceId,
    /// The challenge the evidence was made for.
    pub challenge: Vec<u8>,
    /// The evidence.
    pub evidence: EvidenceInput,
    /// What the old key says to the new one, where the evidence is for a new one.
    pub rotation: Option<KeyRotation>,
    /// Check everything, store nothing, give no tokens.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Reattested {
    /// Device and session.
    pub renewed: Renewed,
    /// What was found in the evidence.
    pub appraisal: Appraisal,
}

/// Attests a device again. Three trips to the store; evidence that does not verify costs one.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `APP_DISABLED`, `CHALLENGE_INVALID`, every reason of attestation and policy,
/// of proofs and refresh tokens, `CHALLENGE_ALREADY_USED`, `DEVICE_EXISTS`, `DEVICE_REVOKED`,
/// `DEVICE_SUSPENDED`, `RATE_LIMITED_ATTESTATION_KEY`, `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: ReattestDevice) -> Result<Reattested, Failure> {
    let now = engine.clock.now();
    let (device, app) = known(engine, &request.device).await?;
    let expected = ChallengeExpectation {
        purpose: ChallengePurpose::Reattest,
        app: &device.app,
        subject: &device.subject,
    };
    let used = challenge::verify(&engine.keyring, &request.challenge, &expected, now)?;
    let expected = Expected {
        purpose: Purpose::Reattest,
        challenge: &request.challenge,
        app: &device.app,
        session_key: app.policy.apple.session_key,
    };
    let appraisal = appraise(engine, &app, request.evidence, expected, now);
    let accepted = match &appraisal.verdict {
        Ok(accepted) => accepted.clone(),
        Err(rejection) => return Err((**rejection).clone().into()),
    };
    let rotation = request.rotation.as_ref();
    let vouched = rotation
        .map(|rotation| {
            vouched(
                engine,
                (&app, &device, METHOD),
                rotation,
                accepted.session_key,
                now,
            )
        })
        .transpose()?;
    let renewal = Renewal {
        key: *accepted.assurance.key(),
        session_key: accepted.session_key,
        vouched_by: vouched.as_ref().map(Vouched::by),
        found: Some(Found::of(&accepted.assurance)),
        assertion_counter: None,
    };
    let task = Task {
        app: &app,
        known: &device,
        challenge: &used,
        renewal,
        vouched,
        receipt: receipt::brought(&app, appraisal.facts.as_ref())?,
        rate: KeyRate::of(&app.policy.android, &accepted.assurance),
        by: (!request.validate_only).then_some(&request.by),
        now,
    };
    let renewed = settle_renewal(engine, &task).await?;
    let mut appraisal = appraisal;
    task.rate.note(&mut appraisal.checks);
    Ok(Reattested { renewed, appraisal })
}
