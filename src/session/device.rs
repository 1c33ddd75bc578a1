//! Registration of devices.

use std::collections::{BTreeMap, BTreeSet};

use super::renew::check_system;
use super::subject::first_epoch;
use super::{Device, DeviceEntry, DeviceState, Lineage, Refusal, Risk, SubjectRecord};
use crate::id::{AppId, DeviceId, Subject};
use crate::key::{PublicKey, Thumbprint};
use crate::policy::{AppPolicy, DeviceLimitRule, Posture, TrustLevel};
use crate::reason::Reason;
use crate::time::Timestamp;

/// Most entries in a subject's device index, active and revoked: it bounds the record, and the events of
/// a commit that cuts the subject. The oldest revoked ones leave first; the device's own record stays.
const DEVICE_ENTRIES_MAX: usize = 128;

/// A device that passed attestation and policy and asks to be registered.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The id derived from app, subject and key.
    pub id: DeviceId,
    /// The app.
    pub app: AppId,
    /// The subject.
    pub subject: Subject,
    /// The attested key.
    pub key: PublicKey,
    /// The key that will sign proofs.
    pub session_key: Thumbprint,
    /// What policy made of the evidence.
    pub trust_level: TrustLevel,
    /// What the evidence said.
    pub posture: Posture,
    /// Serials of the chain, leaf first.
    pub chain_serials: Vec<String>,
    /// Digests of the keys above the leaf.
    pub issuer_keys: Vec<[u8; 32]>,
    /// The attestation key among them.
    pub attestation_key: Option<[u8; 32]>,
}

/// How a registration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The device's record as it has to be written.
    pub device: Device,
    /// The subject's record as it has to be written.
    pub subject: SubjectRecord,
    /// Devices that have to be revoked for it, with [`super::RevocationReason::Replaced`].
    pub replaced: Vec<DeviceId>,
}

/// Most devices that are revoked for a new one. More are over the limit only when it was lowered by as
/// much; then there is no room until somebody revokes some.
const REPLACED_MAX: usize = 8;

/// What a look at the records of a subject's devices showed.
#[derive(Debug, Clone, Default)]
pub struct KnownDevices {
    /// Those that are revoked.
    pub revoked: BTreeSet<DeviceId>,
    /// When each of the app's others was last used: registered, attested, or one of its sessions opened
    /// or refreshed.
    pub used: BTreeMap<DeviceId, Timestamp>,
}

/// Registers a device, or takes note that one registered in the same way was verified once more. That
/// lifts what a re-appraisal held against it, as a renewal does.
///
/// Devices that are known to be revoked do not count against the limit, and where the policy makes
/// room, the device of the same app that was not used for longest gives way. All this has to be looked
/// up only when this answers [`Reason::DeviceLimit`] without it.
///
/// # Errors
/// [`Reason::DeviceKeyBanned`] when this key was revoked or the device has moved on from it;
/// [`Reason::DeviceSuspended`]; [`Reason::DeviceExists`] when it is registered with another session
/// key; [`Reason::PostureBelowPolicy`] when its system has gone back since and the policy does not
/// allow that; [`Reason::DeviceLimit`].
pub fn register(
    candidate: Candidate,
    existing: Option<&Device>,
    (subject, known): (Option<&SubjectRecord>, &KnownDevices),
    policy: &AppPolicy,
    now: Timestamp,
) -> Result<Registration, Refusal> {
    let mut subject = subject.cloned().unwrap_or_else(|| SubjectRecord::new(now));
    if let Some(device) = existing {
        match device.state {
            DeviceState::Active => {}
            DeviceState::Suspended { .. } => return Err(Reason::DeviceSuspended.into()),
            DeviceState::Revoked { .. } => return Err(Reason::DeviceKeyBanned.into()),
        }
        // A key the device has moved on from does not come back either.
        if device.key != candidate.key {
            return Err(Reason::DeviceKeyBanned.into());
        }
        if device.session_key != candidate.session_key {
            return Err(Reason::DeviceExists.into());
        }
        // Registering again is no way around what attesting again refuses.
        check_system(&device.posture, &candidate.posture, policy)?;
    }
    let mut replaced = Vec::new();
    // The index is mended even for a known device: it must never lack one that exists.
    if !subject.lists(candidate.id) {
        replaced = make_room(&mut subject.devices, known, policy)?;
        subject.devices.push(DeviceEntry {
            id: candidate.id,
            app: candidate.app.clone(),
        });
    }
    let device = Device {
        id: candidate.id,
        app: candidate.app,
        subject: candidate.subject,
        key: candidate.key,
        session_key: candidate.session_key,
        state: DeviceState::Active,
        epoch: existing.map_or_else(|| first_epoch(now), |device| device.epoch),
        trust_level: candidate.trust_level,
        registered_at: existing.map_or(now, |device| device.registered_at),
        attested_at: now,
        posture: candidate.posture,
        chain_serials: candidate.chain_serials,
        issuer_keys: candidate.issuer_keys,
        attestation_key: candidate.attestation_key,
        moved_from: existing.and_then(|device| device.moved_from),
        assertion_counter: existing.map_or(0, |device| device.assertion_counter),
        doubt: existing
            .filter(|_| candidate.trust_level == TrustLevel::Provisional)
            .and_then(|device| device.doubt),
        lineage: existing.map_or(
            Lineage {
                since: now,
                predecessor: None,
                successor: None,
            },
            |device| device.lineage,
        ),
        risk: existing.map_or_else(Risk::default, |device| device.risk.clone()),
        presence: existing.and_then(|device| device.presence),
    };
    Ok(Registration {
        device,
        subject,
        replaced,
    })
}

/// Makes room in an index for one more device, and says which have to be revoked for it.
fn make_room(
    index: &mut Vec<DeviceEntry>,
    known: &KnownDevices,
    policy: &AppPolicy,
) -> Result<Vec<DeviceId>, Refusal> {
    let mut out = known.revoked.clone();
    let mut replaced = Vec::new();
    let limit = policy.devices_per_subject_max.min(DEVICE_ENTRIES_MAX);
    while index.iter().filter(|one| !out.contains(&one.id)).count() >= limit {
        let full = Refusal(Reason::DeviceLimit);
        if policy.on_device_limit == DeviceLimitRule::Refuse || replaced.len() >= REPLACED_MAX {
            return Err(full);
        }
        let in_use = index.iter().filter(|one| !out.contains(&one.id));
        // Of those that were used at the same time, the one that was registered first.
        let found = in_use
            .filter_map(|one| Some((*known.used.get(&one.id)?, one.id)))
            .min_by_key(|(used, _)| *used);
        let (_, oldest) = found.ok_or(full)?;
        out.insert(oldest);
        replaced.push(oldest);
    }
    while index.len() >= DEVICE_ENTRIES_MAX {
        let oldest = index.iter().position(|one| out.contains(&one.id));
        index.remove(oldest.ok_or(Reason::DeviceLimit)?);
    }
    Ok(replaced)
}
