//! Suspending, resuming, revoking and replacing a device: every change of its state.
//!
//! A revoked device never leaves that state. Suspending leaves the epoch as it is, so that the
//! device's sessions are good again when it is resumed; revoking moves it on and cuts them.

use super::{Device, DeviceState, Refusal, RevocationReason, SuspensionReason};
use crate::reason::Reason;
use crate::time::Timestamp;

/// Revokes a device and, by its epoch, cuts its sessions. A revoked device stays as it was first
/// revoked.
#[must_use]
pub fn revoke(device: &Device, why: RevocationReason, now: Timestamp) -> Device {
    let mut device = device.clone();
    if !matches!(device.state, DeviceState::Revoked { .. }) {
        device.state = DeviceState::Revoked { at: now, why };
        device.epoch = device.epoch.saturating_add(1);
    }
    device
}

/// Suspends a device: its sessions are refused until it is resumed. A suspended device stays as it
/// was first suspended; only a reason of the service's own gives way to a person's, because what the
/// service suspended by itself is not what a person asked for.
///
/// # Errors
/// [`Reason::DeviceRevoked`]
pub fn suspend(device: &Device, why: SuspensionReason, now: Timestamp) -> Result<Device, Refusal> {
    let (at, why) = match device.state {
        DeviceState::Active => (now, why),
        DeviceState::Suspended { at, why: first } => match first {
            SuspensionReason::Reappraisal | SuspensionReason::Risk => (at, why),
            SuspensionReason::Mislaid
            | SuspensionReason::Investigation
            | SuspensionReason::Administrative => (at, first),
        },
        DeviceState::Revoked { .. } => return Err(Reason::DeviceRevoked.into()),
    };
    Ok(Device {
        state: DeviceState::Suspended { at, why },
        ..device.clone()
    })
}

/// Lets a suspended device in again, whoever suspended it. An active device stays as it is.
///
/// # Errors
/// [`Reason::DeviceRevoked`]
pub fn resume(device: &Device) -> Result<Device, Refusal> {
    match device.state {
        DeviceState::Active | DeviceState::Suspended { .. } => Ok(Device {
            state: DeviceState::Active,
            ..device.clone()
        }),
        DeviceState::Revoked { .. } => Err(Reason::DeviceRevoked.into()),
    }
}

/// Two devices, one of which took the other's place, as they have to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The one that is out.
    pub old: Device,
    /// The one that took its place.
    pub new: Device,
}

/// Notes that `new` took the place of `old`, which is revoked with it unless it was before. Devices
/// that are linked like this stay as they are, whatever became of the new one since.
///
/// There are no circles: whoever has a successor is revoked, and a revoked device takes nobody's
/// place.
///
/// # Errors
/// [`Reason::IllegalStateTransition`] when they are one device, not of one subject and app, the new
/// one is not active, or either is linked otherwise.
pub fn link(old: &Device, new: &Device, now: Timestamp) -> Result<Succession, Refusal> {
    let linked = |link: Option<_>, to: &Device| link == Some(to.id);
    if linked(old.lineage.successor, new) && linked(new.lineage.predecessor, old) {
        return Ok(Succession {
            old: old.clone(),
            new: new.clone(),
        });
    }
    let kin = old.id != new.id && old.subject == new.subject && old.app == new.app;
    let free = old.lineage.successor.is_none()
        && new.lineage.predecessor.is_none()
        && new.lineage.successor.is_none();
    if !kin || !free || new.state != DeviceState::Active {
        return Err(Reason::IllegalStateTransition.into());
    }
    let mut old = revoke(old, RevocationReason::Replaced, now);
    let mut new = new.clone();
    old.lineage.successor = Some(new.id);
    new.lineage.predecessor = Some(old.id);
    new.lineage.since = new.lineage.since.min(old.lineage.since);
    Ok(Succession { old, new })
}
