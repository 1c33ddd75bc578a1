//! RevokeDevice: the device is out, and every session on it is dead with the answer.

use std::time::Duration;

use super::state::{Changes, settle};
use super::{Engine, Failure};
use crate::id::DeviceId;
use crate::reason::Reason;
use crate::session::{Actor, Device, DeviceState, EventKind, RevocationReason, revoke};
use crate::store::{Durability, OperationId, keys};
use crate::time::Timestamp;

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

/// What is true of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The operation; `None` with `validate_only`.
    pub revision: Option<OperationId>,
    /// Since when it holds.
    pub effective_at: Timestamp,
    /// Replicas that confirmed it.
    pub replicas_acked: u32,
    /// Replicas that have to.
    pub replicas_wanted: u32,
    /// How long an access token minted before lives on for a verifier that looks only at its expiry.
    pub residual_access_for: Duration,
}

/// Revokes a device. Two trips to the store. Idempotent: again it writes again, so that the answer
/// is as durable as it says even when the first one was not.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`; `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas than configured;
/// `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RevokeDevice) -> Result<Revoked, Failure> {
    let now = engine.clock.now();
    let replicas_wanted = match engine.revocation_durability {
        Durability::Local => 0,
        Durability::Replicated { replicas, .. } => replicas,
    };
    let (device, done) = settle(|| async {
        let loaded = engine
            .load_one::<Device>(keys::device(&request.device))
            .await?;
        let device = loaded.value.as_ref().ok_or(Reason::ResourceNotFound)?;
        let revoked = revoke(device, request.why, now);
        if request.validate_only {
            return Ok(Some((revoked, None)));
        }
        let bucket = request.device.bucket();
        let news = (revoked != *device).then(|| {
            let why = request.why.as_str().to_owned();
            revoked.event(EventKind::DeviceRevoked, why, &request.by, now)
        });
        let changes = Changes {
            items: vec![loaded.put(engine, &revoked, None)?],
            events: news.into_iter().collect(),
            ..Changes::default()
        };
        let done = engine
            .commit(bucket, changes, engine.revocation_durability)
            .await?;
        Ok(done.map(|done| (revoked, Some(done))))
    })
    .await?;
    let replicas_acked = done.map_or(0, |done| done.replicas_acked);
    if done.is_some() && replicas_acked < replicas_wanted {
        return Err(Reason::RevocationNotDurable.into());
    }
    let effective_at = match device.state {
        DeviceState::Revoked { at, .. } => at,
        DeviceState::Active | DeviceState::Suspended { .. } => now,
    };
    let receipt = Receipt {
        revision: done.map(|done| done.operation),
        effective_at,
        replicas_acked,
        replicas_wanted,
        residual_access_for: residual_access(engine, &device, effective_at, now),
    };
    Ok(Revoked { device, receipt })
}

fn residual_access(
    engine: &Engine,
    device: &Device,
    effective_at: Timestamp,
    now: Timestamp,
) -> Duration {
    let life = engine
        .apps
        .load()
        .get(&device.app)
        .map(|app| app.policy.access_for_max());
    effective_at.after(life.unwrap_or_default()).since(now)
}
