//! What changes about a device when it attests again or moves to another key, and how a session goes
//! on under that key.

use super::rotate::{Presented, RefreshOutcome, Rotation, rotate};
use super::{Device, DeviceState, PresenceKey, Refusal, Session, Surroundings, SuspensionReason};
use crate::key::{PublicKey, Thumbprint};
use crate::policy::{AppPolicy, Assurance, DowngradeRule, Posture, TrustLevel, is_downgrade};
use crate::reason::Reason;
use crate::time::Timestamp;

/// What a device shall be from now on.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The attested key: the one it has, or a new one.
    pub key: PublicKey,
    /// The key that will sign proofs: the one it has, or a new one.
    pub session_key: Thumbprint,
    /// The key of a verified proof that names the new session key; needed when the attested key is
    /// new, because nothing else says that it is the same device.
    pub vouched_by: Option<Thumbprint>,
    /// Fresh evidence that passed attestation and policy.
    pub found: Option<Found>,
    /// The counter of the assertion that vouches for the session key.
    pub assertion_counter: Option<u32>,
}

impl Renewal {
    /// Whether its voucher is the one that moved the device to the keys it has: the same request again.
    #[must_use]
    pub fn repeats(&self, device: &Device) -> bool {
        let same_keys = device.key == self.key && device.session_key == self.session_key;
        let counter = Some(device.assertion_counter);
        same_keys && device.moved_from.is_some() && self.assertion_counter == counter
    }
}

/// What fresh evidence said.
#[derive(Debug, Clone)]
pub struct Found {
    /// What policy made of it.
    pub trust_level: TrustLevel,
    /// The device's posture.
    pub posture: Posture,
    /// Serials of the chain, leaf first.
    pub chain_serials: Vec<String>,
    /// Digests of the keys above the leaf.
    pub issuer_keys: Vec<[u8; 32]>,
    /// The attestation key among them.
    pub attestation_key: Option<[u8; 32]>,
}

impl Found {
    /// What policy made of the evidence.
    #[must_use]
    pub fn of(assurance: &Assurance) -> Self {
        Self {
            trust_level: assurance.trust_level(),
            posture: assurance.posture().clone(),
            chain_serials: assurance.chain_serials().to_vec(),
            issuer_keys: assurance.issuer_keys().to_vec(),
            attestation_key: assurance.attestation_key().copied(),
        }
    }

    /// Whether everything could be looked up.
    fn is_whole(&self) -> bool {
        self.trust_level > TrustLevel::Provisional
    }
}

/// Renews a device. The same renewal again, after a lost answer, gives the same device.
///
/// Fresh evidence lifts what a re-appraisal held against the device, a suspension by it included; a
/// suspension by a person stays theirs to lift. Evidence that is trusted provisionally lifts nothing:
/// it was held against an old list, which may lack what the re-appraisal has found.
///
/// # Errors
/// [`Reason::DeviceRevoked`], [`Reason::DeviceSuspended`]; [`Reason::PostureBelowPolicy`] when its
/// system has gone back and the policy does not allow that; [`Reason::UnsupportedPlatform`] when the
/// evidence is from another system; [`Reason::ProofKeyMismatch`] when the proof
/// is not by the key that signed proofs until now, or there has to be one;
/// [`Reason::ProofReplayed`] when the assertion is not newer than the last.
pub fn renew(
    device: &Device,
    renewal: Renewal,
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<Device, Refusal> {
    let lifts = renewal.found.as_ref().is_some_and(Found::is_whole);
    check_state(device, lifts)?;
    if let Some(found) = &renewal.found {
        check_system(&device.posture, &found.posture, policy)?;
    }
    // A key nobody has attested here and now: the device has moved since the renewal was verified.
    if device.key != renewal.key && renewal.found.is_none() {
        return Err(Reason::ProofKeyMismatch.into());
    }
    let again = renewal.repeats(device);
    let same_keys = device.key == renewal.key && device.session_key == renewal.session_key;
    let moved_before = same_keys && device.moved_from.is_some();
    if let Some(voucher) = renewal.vouched_by {
        let before = moved_before && device.moved_from == Some(voucher);
        if voucher != device.session_key && !before {
            return Err(Reason::ProofKeyMismatch.into());
        }
    } else if device.key != renewal.key {
        return Err(Reason::ProofKeyMismatch.into());
    }
    let mut renewed = device.clone();
    if let Some(counter) = renewal.assertion_counter {
        if counter <= device.assertion_counter && !again {
            return Err(Reason::ProofReplayed.into());
        }
        renewed.assertion_counter = counter;
    }
    if device.key != renewal.key {
        // The counter is the key's.
        renewed.key = renewal.key;
        renewed.assertion_counter = 0;
    }
    if device.session_key != renewal.session_key {
        renewed.moved_from = Some(device.session_key);
        renewed.session_key = renewal.session_key;
    }
    // A key that signs every proof shows nobody's presence.
    let shows_presence = |had: &PresenceKey| had.key != renewed.session_key;
    renewed.presence = device.presence.filter(shows_presence);
    if let Some(found) = renewal.found {
        renewed.trust_level = found.trust_level;
        renewed.posture = found.posture;
        renewed.chain_serials = found.chain_serials;
        renewed.issuer_keys = found.issuer_keys;
        renewed.attestation_key = found.attestation_key;
        renewed.attested_at = now;
        if lifts {
            renewed.doubt = None;
            renewed.state = DeviceState::Active;
        }
    }
    Ok(renewed)
}

/// A device never becomes one of another system, and has none that went back where the policy does
/// not allow that.
pub(super) fn check_system(
    before: &Posture,
    now: &Posture,
    policy: &AppPolicy,
) -> Result<(), Refusal> {
    match (before, now) {
        (Posture::Android(_), Posture::Android(_)) | (Posture::Apple(_), Posture::Apple(_)) => {}
        (Posture::Android(_), Posture::Apple(_)) | (Posture::Apple(_), Posture::Android(_)) => {
            return Err(Reason::UnsupportedPlatform.into());
        }
    }
    match policy.reappraisal.downgrade {
        DowngradeRule::Refuse if is_downgrade(before, now).is_some() => {
            Err(Reason::PostureBelowPolicy.into())
        }
        DowngradeRule::Refuse | DowngradeRule::Allow => Ok(()),
    }
}

const fn check_state(device: &Device, lifts: bool) -> Result<(), Refusal> {
    match device.state {
        DeviceState::Active => Ok(()),
        DeviceState::Suspended {
            why: SuspensionReason::Reappraisal,
            ..
        } if lifts => Ok(()),
        DeviceState::Suspended { .. } => Err(Refusal(Reason::DeviceSuspended)),
        DeviceState::Revoked { .. } => Err(Refusal(Reason::DeviceRevoked)),
    }
}

/// Has a session go on under the session key of its renewed device. `presented` is its refresh token,
/// made for the key the device moved on from. Where the device has kept its session key the session is
/// refreshed.
///
/// A token that was used before is refused, but ends nothing: it came with a proof of the key that
/// has just vouched for another.
///
/// # Errors
/// As [`rotate`], and [`Reason::RefreshTokenReused`].
pub fn rekey(
    session: &Session,
    presented: Presented,
    surroundings: Surroundings<'_>,
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<(RefreshOutcome, Session), Refusal> {
    let device = surroundings.device.ok_or(Reason::DeviceRevoked)?;
    if presented.key == device.session_key && presented.key == session.session_key {
        return match rotate(session, presented, surroundings, policy, now)? {
            Rotation::Granted { outcome, session } => Ok((outcome, session)),
            Rotation::Reused { .. } => Err(Reason::RefreshTokenReused.into()),
        };
    }
    if device.moved_from != Some(presented.key) {
        return Err(Reason::TokenInvalid.into());
    }
    let moved = session.session_key == device.session_key;
    // What was left behind by an earlier move is over.
    if !moved && session.session_key != presented.key {
        return Err(Reason::SessionRevoked.into());
    }
    // The rules of a refresh, for the key that the session has.
    let as_before = Device {
        session_key: session.session_key,
        ..device.clone()
    };
    let surroundings = Surroundings {
        device: Some(&as_before),
        ..surroundings
    };
    let presented = Presented {
        key: session.session_key,
        ..presented
    };
    match rotate(session, presented, surroundings, policy, now)? {
        // The first answer was lost.
        Rotation::Granted {
            outcome: RefreshOutcome::Retry,
            session,
        } if moved => Ok((RefreshOutcome::Retry, session)),
        // The client has already gone on under the new key.
        Rotation::Granted { .. } if moved => Err(Reason::RefreshTokenReused.into()),
        Rotation::Granted { outcome, session } => {
            let session = Session {
                session_key: device.session_key,
                refresh_key: presented.refresh_key,
                rotated_at: now,
                ..session
            };
            Ok((outcome, session))
        }
        Rotation::Reused { .. } => Err(Reason::RefreshTokenReused.into()),
    }
}
