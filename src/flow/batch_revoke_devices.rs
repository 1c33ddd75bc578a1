//! BatchRevokeDevices: many devices are out, each for itself.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};

use super::revoke_device::{self, RevokeDevice};
use super::{Engine, Failure, Receipt};
use crate::id::DeviceId;
use crate::reason::Reason;
use crate::session::{Actor, RevocationReason};
use crate::store::Durability;

/// Most devices in a request: what is done well within the deadline of a request.
pub const DEVICES_MAX: usize = 1000;

/// Revocations under way at once: enough to fill the way to the store, where each takes two trips, and
/// so few that the calls of others are not held up behind them.
const AT_ONCE: usize = 16;

/// The request.
#[derive(Debug, Clone)]
pub struct BatchRevokeDevices {
    /// Which.
    pub devices: Vec<DeviceId>,
    /// Why.
    pub why: RevocationReason,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// How the revocation of one device ended.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// Which.
    pub device: DeviceId,
    /// What is true of it, or why it could not be.
    pub outcome: Result<Receipt, Failure>,
}

/// Revokes devices, in the order of the request; two trips to the store each. What did not end well
/// can be sent again.
///
/// Once replicas did not confirm in time, the rest is not kept waiting for them: it is revoked just
/// as well, and said to be not durable.
pub async fn run(engine: &Engine, request: BatchRevokeDevices) -> Vec<Revocation> {
    let lagging = AtomicBool::new(false);
    let (request, lagging) = (&request, &lagging);
    let revoke = |device: DeviceId| async move {
        let one = RevokeDevice {
            device,
            why: request.why,
            validate_only: request.validate_only,
            by: request.by.clone(),
        };
        let durability = if lagging.load(Ordering::Relaxed) {
            Durability::Local
        } else {
            engine.revocation_durability
        };
        let revoked = revoke_device::within(engine, &one, durability).await;
        if let Err(failure) = &revoked
            && failure.reason == Reason::RevocationNotDurable
        {
            lagging.store(true, Ordering::Relaxed);
        }
        Revocation {
            device,
            // Of a thousand devices the watchers are the same.
            outcome: revoked.map(|revoked| Receipt {
                watchers: Vec::new(),
                ..revoked.receipt
            }),
        }
    };
    let devices = stream::iter(request.devices.iter().copied());
    devices.map(revoke).buffered(AT_ONCE).collect().await
}
