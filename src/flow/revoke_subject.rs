//! RevokeSubject: every session of a subject is dead with the answer; its devices stay.

use std::time::Duration;

use super::settle::insist;
use super::state::Changes;
use super::withdrawal::held;
use super::{Engine, Failure, Receipt};
use crate::id::{Bucket, ConsentId, Subject};
use crate::session::{Actor, Known, Refusal, RevocationReason, SubjectRecord, revoke_subject};
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

/// Cuts every session of a subject that was opened before. Two trips to the store, however many devices
/// and sessions there are: the subject's record says of which devices it has to be told. A subject nobody
/// has seen is written, too, so that the receipt is true of it as of others. Safe to be sent again: it
/// cuts again.
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
///
/// The receipt reckons with the access tokens of every app in which the subject has a device in its list,
/// also of those that are out: longer than needed, never shorter.
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
        if order.validate_only {
            return Ok(Some((subject, None)));
        }
        let kept_for = subject.devices.is_empty().then_some(NOBODY_KEPT_FOR);
        let changes = Changes {
            items: vec![loaded.put(engine, &subject, kept_for)?],
            events: subject.cut_events(order.consent, told, now),
            ..Changes::default()
        };
        let bucket = Bucket::of_digest(&tag);
        let done = engine
            .commit(bucket, changes, engine.revocation_durability)
            .await?;
        Ok(done.map(|done| (subject, Some(done))))
    })
    .await;
    let (subject, done) = settled.map_err(|failure| {
        let known = Known::subject_cut((tag, order.consent), told, now);
        let known = (!order.validate_only).then_some(known);
        held(engine, known, failure, now)
    })?;
    let apps = subject.devices.iter().map(|device| Some(&device.app));
    Receipt::new(engine, now, apps, done, now)
}
