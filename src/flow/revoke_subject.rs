//! RevokeSubject: every session of a subject is dead with the answer; its devices stay.

use std::time::Duration;

use super::settle::insist;
use super::state::Changes;
use super::withdrawal::held;
use super::{Engine, Failure, Receipt};
use crate::id::{Bucket, ConsentId, Subject};
use crate::session::{
    Actor, Device, DeviceState, Event, EventKind, Known, Refusal, RevocationReason, SubjectRecord,
    revoke_subject,
};
use crate::store::keys;
use crate::time::Timestamp;

/// The record of a subject that has no device is kept this long: there is nothing it could cut.
pub(super) const NOBODY_KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The request.
#[derive(Debug, Clone)]
pub struct RevokeSubject {
    /// Whose sessions.
    pub subject: Subject,
    /// Why.
    pub why: RevocationReason,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// Cuts every session of a subject that was opened before. Three trips to the store, one of them for
/// the devices, which are only told of it; without devices two. A subject nobody has seen is written,
/// too, so that the receipt is true of it as of others. Safe to be sent again: it cuts again.
///
/// # Errors
/// `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas than configured, or here alone while the
/// store is away; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RevokeSubject) -> Result<Receipt, Failure> {
    let order = Order {
        subject: &request.subject,
        consent: None,
        why: request.why,
        validate_only: request.validate_only,
        by: &request.by,
    };
    cut(engine, &order, |subject, now| {
        Ok(revoke_subject(subject, now))
    })
    .await
}

/// What is to be cut of a subject, by whom and why.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) subject: &'a Subject,
    /// Only what was opened under this consent; `None`: everything.
    pub(super) consent: Option<&'a ConsentId>,
    pub(super) why: RevocationReason,
    pub(super) validate_only: bool,
    pub(super) by: &'a Actor,
}

/// Cuts sessions of a subject as `decide` says, by one write of its record. Again it cuts again.
pub(super) async fn cut(
    engine: &Engine,
    order: &Order<'_>,
    decide: impl Fn(Option<&SubjectRecord>, Timestamp) -> Result<SubjectRecord, Refusal>,
) -> Result<Receipt, Failure> {
    let now = engine.clock.now();
    let tag = engine.keyring.subject_tag(order.subject);
    let told = (order.why.as_str(), order.by);
    let settled = insist(|| async {
        let loaded = engine
            .load_one::<SubjectRecord>(keys::subject(&tag))
            .await?;
        let subject = decide(loaded.value.as_ref(), now)?;
        let devices = devices_of(engine, &subject).await?;
        if order.validate_only {
            return Ok(Some((devices, None)));
        }
        let kept_for = subject.devices.is_empty().then_some(NOBODY_KEPT_FOR);
        let changes = Changes {
            items: vec![loaded.put(engine, &subject, kept_for)?],
            events: news(&devices, (&subject, order.consent), told, now),
            ..Changes::default()
        };
        let bucket = Bucket::of_digest(&tag);
        let done = engine
            .commit(bucket, changes, engine.revocation_durability)
            .await?;
        Ok(done.map(|done| (devices, Some(done))))
    })
    .await;
    let (devices, done) = settled.map_err(|failure| {
        let known = Known::subject_cut((tag, order.consent), told, now);
        let known = (!order.validate_only).then_some(known);
        held(engine, known, failure, now)
    })?;
    Receipt::new(
        engine,
        now,
        devices
            .iter()
            .map(|device| device.as_ref().map(|device| &device.app)),
        done,
        now,
    )
}

/// The subject's devices; `None` for one whose record cannot be read, which must not keep the others'
/// sessions alive.
pub(super) async fn devices_of(
    engine: &Engine,
    subject: &SubjectRecord,
) -> Result<Vec<Option<Device>>, Failure> {
    if subject.devices.is_empty() {
        return Ok(Vec::new());
    }
    let names = subject.devices.iter().map(keys::device).collect();
    let devices = engine.load_each::<Device>(names).await?;
    let known = devices.into_iter().filter_map(|device| match device {
        Ok(loaded) => loaded.value.map(Some),
        Err(_) => Some(None),
    });
    Ok(known.collect())
}

/// One event for each device that may have had sessions: it names no subject, and stands where what
/// happened to the device is looked up.
pub(super) fn news(
    devices: &[Option<Device>],
    (cut, consent): (&SubjectRecord, Option<&ConsentId>),
    (why, by): (&str, &Actor),
    now: Timestamp,
) -> Vec<Event> {
    let (kind, epoch) = match consent {
        None => (EventKind::SubjectRevoked, cut.epoch),
        Some(consent) => (EventKind::ConsentRevoked, cut.consent_epoch(consent)),
    };
    let out = |device: &&Device| matches!(device.state, DeviceState::Revoked { .. });
    let known = devices.iter().flatten();
    let told = known.filter(|device| !out(device)).map(|device| Event {
        consent: consent.cloned(),
        epoch: Some(epoch),
        ..device.event(kind, why.to_owned(), by, now)
    });
    told.collect()
}
