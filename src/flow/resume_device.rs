//! ResumeDevice: a suspended device and its sessions are let in again.

use super::settle::settle;
use super::state::Changes;
use super::{Engine, Failure};
use crate::id::DeviceId;
use crate::reason::Reason;
use crate::session::{Actor, Device, EventKind, resume};
use crate::store::{Durability, keys};

/// The request.
#[derive(Debug, Clone)]
pub struct ResumeDevice {
    /// Which.
    pub device: DeviceId,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// Resumes a device. Two trips to the store; one when it is active already. Idempotent. Nothing waits
/// for replicas: a resumption that is lost keeps somebody out, and is asked for again.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `DEVICE_REVOKED`, `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: ResumeDevice) -> Result<Device, Failure> {
    let now = engine.clock.now();
    settle(|| async {
        let loaded = engine
            .load_one::<Device>(keys::device(&request.device))
            .await?;
        let before = loaded.value.as_ref().ok_or(Reason::ResourceNotFound)?;
        let device = resume(before)?;
        if request.validate_only || device == *before {
            return Ok(Some(device));
        }
        let (kind, at) = (EventKind::DeviceResumed, before.resumed_at(now));
        let changes = Changes {
            items: vec![loaded.put(engine, &device, None)?],
            events: vec![device.event(kind, String::new(), &request.by, at)],
            ..Changes::default()
        };
        let bucket = request.device.bucket();
        let done = engine.commit(bucket, changes, Durability::Local).await?;
        Ok(done.map(|_| device))
    })
    .await
}
