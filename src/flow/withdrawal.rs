//! Taking a device out, for now or for ever: what revoking and suspending share, and what is true of
//! it when it is answered.

use std::time::Duration;

use super::state::{Changes, Done, insist};
use super::{Engine, Failure};
use crate::id::DeviceId;
use crate::policy::ACCESS_FOR_MAX;
use crate::reason::Reason;
use crate::session::{Actor, Device, DeviceState, EventKind, Refusal};
use crate::store::{Durability, OperationId, keys};
use crate::time::Timestamp;

/// What is true of a revocation or suspension.
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

impl Receipt {
    /// For a device that is out, by a commit that is done, or by none.
    ///
    /// # Errors
    /// [`Reason::RevocationNotDurable`] when fewer replicas than configured confirmed the commit.
    pub(super) fn new(
        engine: &Engine,
        device: &Device,
        done: Option<Done>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let replicas_wanted = match engine.revocation_durability {
            Durability::Local => 0,
            Durability::Replicated { replicas, .. } => replicas,
        };
        let replicas_acked = done.map_or(0, |done| done.replicas_acked);
        if done.is_some() && replicas_acked < replicas_wanted {
            return Err(Reason::RevocationNotDurable.into());
        }
        let effective_at = match device.state {
            DeviceState::Revoked { at, .. } | DeviceState::Suspended { at, .. } => at,
            DeviceState::Active => now,
        };
        let apps = engine.apps.load();
        let life = apps.get(&device.app).map(|app| app.policy.access_for_max());
        // Of an app that was taken out of the configuration nothing is known but the bound.
        let life = life.unwrap_or(ACCESS_FOR_MAX);
        Ok(Self {
            revision: done.map(|done| done.operation),
            effective_at,
            replicas_acked,
            replicas_wanted,
            residual_access_for: effective_at.after(life).since(now),
        })
    }
}

/// What is wanted of a device, by whom and why.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) device: DeviceId,
    pub(super) kind: EventKind,
    pub(super) why: &'static str,
    pub(super) validate_only: bool,
    pub(super) by: &'a Actor,
    pub(super) durability: Durability,
}

/// Takes a device out as `decide` says. Two trips to the store. What is so already is written again,
/// so that the answer is as durable as it says even when the first one was not; an event tells only
/// of a change.
pub(super) async fn withdraw(
    engine: &Engine,
    order: &Order<'_>,
    decide: impl Fn(&Device, Timestamp) -> Result<Device, Refusal>,
) -> Result<(Device, Receipt), Failure> {
    let now = engine.clock.now();
    let (device, done) = insist(|| async {
        let loaded = engine
            .load_one::<Device>(keys::device(&order.device))
            .await?;
        let before = loaded.value.as_ref().ok_or(Reason::ResourceNotFound)?;
        let device = decide(before, now)?;
        if order.validate_only {
            return Ok(Some((device, None)));
        }
        let news = (device != *before)
            .then(|| device.event(order.kind, order.why.to_owned(), order.by, now));
        let changes = Changes {
            items: vec![loaded.put(engine, &device, None)?],
            events: news.into_iter().collect(),
            ..Changes::default()
        };
        let done = engine
            .commit(order.device.bucket(), changes, order.durability)
            .await?;
        Ok(done.map(|done| (device, Some(done))))
    })
    .await?;
    let receipt = Receipt::new(engine, &device, done, now)?;
    Ok((device, receipt))
}
