//! RevokeDevice: the device is out, and every session on it is dead with the answer.

use super::withdrawal::{Order, withdraw};
use super::{Engine, Failure, Receipt};
use crate::id::DeviceId;
use crate::session::{Actor, Device, EventKind, RevocationReason, revoke};
use crate::store::Durability;

/// The request.
#[derive(Debug, Clone)]
pub struct RevokeDevice {
    /// Which.
    pub device: DeviceId,
    /// Why.
    pub why: RevocationReason,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The device as it is now.
    pub device: Device,
    /// What is true of the revocation.
    pub receipt: Receipt,
}

/// Revokes a device. Two trips to the store. Idempotent.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`; `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas than configured,
/// or here alone while the store is away; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RevokeDevice) -> Result<Revoked, Failure> {
    within(engine, &request, engine.revocation_durability).await
}

/// The same, with a commit that has to be only so far. The answer is still held against what is
/// configured.
pub(super) async fn within(
    engine: &Engine,
    request: &RevokeDevice,
    durability: Durability,
) -> Result<Revoked, Failure> {
    let order = Order {
        kind: EventKind::DeviceRevoked,
        why: request.why.as_str(),
        validate_only: request.validate_only,
        by: &request.by,
        durability,
    };
    let decide = |device: &Device, now| Ok(revoke(device, request.why, now));
    let (device, receipt) = withdraw(engine, request.device, &order, decide).await?;
    Ok(Revoked { device, receipt })
}
