//! RotateDeviceKey: a device moves to a key that its old key vouches for.

use super::appraisal::{EvidenceInput, appraise};
use super::key_rate::KeyRate;
use super::renewal::{KeyRotation, Renewed, Task, Vouched, known, settle_renewal, vouched};
use super::{App, Engine, Failure};
use crate::attestation::android::Chain;
use crate::attestation::apple::assertion::{Signer, vouch};
use crate::attestation::client_data::{Expected, Purpose, SessionKeyRule};
use crate::id::DeviceId;
use crate::key::Thumbprint;
use crate::policy::Posture;
use crate::reason::Reason;
use crate::session::{Actor, Device, Found, Renewal};
use crate::time::Timestamp;
use crate::token::challenge::{self, ChallengeExpectation, ChallengePurpose};

/// What proofs for this RPC are aimed at.
const METHOD: &str = "assay.v1.DeviceService/RotateDeviceKey";

/// The request.
#[derive(Debug, Clone)]
pub struct RotateDeviceKey {
    /// Which.
    pub device: DeviceId,
    /// The challenge that the voucher was made for.
    pub challenge: Vec<u8>,
    /// Who vouches that the new key is in hardware, or the attested app's.
    pub voucher: Voucher,
    /// What the old key says to the new one.
    pub rotation: Option<KeyRotation>,
    /// Who asks.
    pub by: Actor,
}

/// Who vouches for the new key.
#[derive(Debug, Clone)]
pub enum Voucher {
    /// Android: evidence for the new key.
    Android(Chain),
    /// App Attest: an assertion of the registered App Attest key over client data that names the new
    /// session key.
    Apple {
        /// The assertion (CBOR).
        assertion: Vec<u8>,
        /// The bytes whose SHA-256 was the `clientDataHash`.
        client_data: Vec<u8>,
    },
}

/// Moves a device to a new key. Three trips to the store; what does not verify costs one.
///
/// # Errors
/// As [`super::reattest_device::run`]; `PROOF_INVALID` and `PROOF_REPLAYED` also for the assertion.
pub async fn run(engine: &Engine, request: RotateDeviceKey) -> Result<Renewed, Failure> {
    let now = engine.clock.now();
    let (device, app) = known(engine, &request.device).await?;
    let expected = ChallengeExpectation {
        purpose: ChallengePurpose::Rotate,
        app: &device.app,
        subject: &device.subject,
    };
    let used = challenge::verify(&engine.keyring, &request.challenge, &expected, now)?;
    let (mut renewal, rate) = match request.voucher {
        Voucher::Android(chain) => {
            attested(engine, (&app, &device), chain, &request.challenge, now)?
        }
        Voucher::Apple {
            assertion,
            client_data,
        } => {
            let sent = (assertion.as_slice(), client_data.as_slice());
            let renewal = asserted((&app, &device), sent, &request.challenge)?;
            (renewal, KeyRate::none())
        }
    };
    let rotation = request.rotation.as_ref();
    let vouched = rotation
        .map(|rotation| {
            vouched(
                engine,
                (&app, &device, METHOD),
                rotation,
                renewal.session_key,
                now,
            )
        })
        .transpose()?;
    renewal.vouched_by = vouched.as_ref().map(Vouched::by);
    let task = Task {
        app: &app,
        known: &device,
        challenge: &used,
        renewal,
        vouched,
        receipt: None,
        rate,
        by: Some(&request.by),
        now,
    };
    settle_renewal(engine, &task).await
}

/// A new key that is attested, as in a registration.
fn attested(
    engine: &Engine,
    (app, device): (&App, &Device),
    chain: Chain,
    challenge: &[u8],
    now: Timestamp,
) -> Result<(Renewal, KeyRate), Failure> {
    let expected = Expected {
        // Android evidence has no client data.
        purpose: Purpose::BindKey,
        challenge,
        app: &device.app,
        session_key: SessionKeyRule::Required,
    };
    let evidence = EvidenceInput::Android(chain);
    let accepted = match appraise(engine, app, evidence, expected, now).verdict {
        Ok(accepted) => accepted,
        Err(rejection) => return Err((*rejection).into()),
    };
    let rate = KeyRate::of(&app.policy.android, &accepted.assurance);
    let renewal = Renewal {
        key: *accepted.assurance.key(),
        session_key: accepted.session_key,
        vouched_by: None,
        found: Some(Found::of(&accepted.assurance)),
        assertion_counter: None,
    };
    Ok((renewal, rate))
}

/// A new session key that the registered App Attest key vouches for. Its counter is compared with the
/// newest record when that is loaded.
fn asserted(
    (app, device): (&App, &Device),
    sent: (&[u8], &[u8]),
    challenge: &[u8],
) -> Result<Renewal, Failure> {
    let expected = Expected {
        purpose: Purpose::BindKey,
        challenge,
        app: &device.app,
        session_key: SessionKeyRule::Required,
    };
    let (session_key, counter) = asserted_key((app, device), sent, expected)?;
    Ok(Renewal {
        key: device.key,
        session_key,
        vouched_by: None,
        found: None,
        assertion_counter: Some(counter),
    })
}

/// The key that the registered App Attest key vouches for, and the counter of the assertion.
pub(super) fn asserted_key(
    (app, device): (&App, &Device),
    (assertion, client_data): (&[u8], &[u8]),
    expected: Expected<'_>,
) -> Result<(Thumbprint, u32), Failure> {
    // An Android key signs whatever it is given, an assertion for a software key included.
    let (Posture::Apple(_), Some(app)) = (&device.posture, &app.identity.apple) else {
        return Err(Reason::UnsupportedPlatform.into());
    };
    let signer = Signer {
        key: &device.key,
        app,
        counter_after: Some(0),
    };
    let (_, verdict) = vouch(assertion, client_data, &signer, expected);
    let vouched = verdict.map_err(|rejection| Failure::from(*rejection))?;
    Ok((vouched.session_key(), vouched.assertion().counter()))
}
