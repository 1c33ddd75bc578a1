//! SuspendDevice: the device and its sessions are out until it is resumed.

use super::withdrawal::{Order, withdraw};
use super::{Engine, Failure, Receipt};
use crate::id::DeviceId;
use crate::session::{Actor, Device, EventKind, SuspensionReason, suspend};

/// The request.
#[derive(Debug, Clone)]
pub struct SuspendDevice {
    /// Which.
    pub device: DeviceId,
    /// Why.
    pub why: SuspensionReason,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Suspended {
    /// The device as it is now.
    pub device: Device,
    /// What is true of the suspension.
    pub receipt: Receipt,
}

/// Suspends a device. Two trips to the store. Idempotent, and as durable as a revocation: a
/// suspension that is lost in a failover lets somebody in.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `DEVICE_REVOKED`; `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas
/// than configured, or here alone while the store is away; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: SuspendDevice) -> Result<Suspended, Failure> {
    let order = Order {
        kind: EventKind::DeviceSuspended,
        why: request.why.as_str(),
        validate_only: request.validate_only,
        by: &request.by,
        durability: engine.revocation_durability,
    };
    let decide = |device: &Device, now| suspend(device, request.why, now);
    let (device, receipt) = withdraw(engine, request.device, &order, decide).await?;
    Ok(Suspended { device, receipt })
}
