//! LinkDeviceSuccessor: one device took the place of another, which is out from then on.

use super::settle::insist;
use super::state::Changes;
use super::withdrawal::Withdrawable as _;
use super::{Engine, Failure, Receipt};
use crate::id::DeviceId;
use crate::reason::Reason;
use crate::session::{
    Actor, Device, DeviceState, Event, EventKind, RevocationReason, Succession, link,
};
use crate::store::keys;
use crate::time::Timestamp;

/// The request.
#[derive(Debug, Clone)]
pub struct LinkDeviceSuccessor {
    /// The one that is replaced.
    pub old: DeviceId,
    /// The one that takes its place.
    pub new: DeviceId,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Linked {
    /// Both as they are now.
    pub succession: Succession,
    /// What is true of the revocation of the old one.
    pub receipt: Receipt,
}

/// Links a device to its successor. Two trips to the store: both devices are of one subject, so they
/// live in one bucket and change in one commit. Idempotent: again it writes again, as RevokeDevice
/// does.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`; `ILLEGAL_STATE_TRANSITION` when the two are not of one subject and app, the
/// new one is not active, or either is linked otherwise; `REVOCATION_NOT_DURABLE`: applied, but on
/// fewer replicas than configured; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: LinkDeviceSuccessor) -> Result<Linked, Failure> {
    let now = engine.clock.now();
    let (succession, done) = insist(|| async {
        let names = vec![keys::device(&request.old), keys::device(&request.new)];
        let loaded = engine.load_all::<Device>(names).await?;
        let [old, new] = loaded.as_slice() else {
            return Err(Reason::Internal.into());
        };
        let was = old.value.as_ref().ok_or(Reason::ResourceNotFound)?;
        let succession = link(
            was,
            new.value.as_ref().ok_or(Reason::ResourceNotFound)?,
            now,
        )?;
        if request.validate_only {
            return Ok(Some((succession, None)));
        }
        let changes = Changes {
            items: vec![
                old.put(engine, &succession.old, None)?,
                new.put(engine, &succession.new, None)?,
            ],
            events: news(was, &succession, &request.by, now),
            ..Changes::default()
        };
        let done = engine
            .commit(request.old.bucket(), changes, engine.revocation_durability)
            .await?;
        Ok(done.map(|done| (succession, Some(done))))
    })
    .await?;
    let old = &succession.old;
    let effective_at = old.out_since().unwrap_or(now);
    let receipt = Receipt::new(engine, effective_at, [Some(&old.app)], done, now)?;
    Ok(Linked {
        succession,
        receipt,
    })
}

/// What happened to each of the two: nothing when they were linked before.
fn news(was: &Device, made: &Succession, by: &Actor, now: Timestamp) -> Vec<Event> {
    if was.lineage == made.old.lineage {
        return Vec::new();
    }
    let linked = |device: &Device| device.event(EventKind::DeviceLinked, String::new(), by, now);
    let mut news = vec![linked(&made.old), linked(&made.new)];
    if !matches!(was.state, DeviceState::Revoked { .. }) {
        let why = RevocationReason::Replaced.as_str().to_owned();
        news.push(made.old.event(EventKind::DeviceRevoked, why, by, now));
    }
    news
}
