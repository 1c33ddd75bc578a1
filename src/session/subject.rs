//! What is kept of a subject, and cutting all its sessions at once.
//!
//! A session is good only while the epochs of its subject and its device are what they were when it
//! was opened. An epoch begins with the time, in milliseconds, and only moves forward: a record that
//! was lost and made again does not begin where the lost one began, so that no session from before the
//! loss is good again, revoked or not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Actor, Consent, Event, EventKind, Refusal, Session, SubjectRecord};
use crate::id::{ConsentId, DeviceId};
use crate::policy::SESSION_FOR_MAX;
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// Most revoked consents that are kept of a subject: it bounds the record, which is loaded with every
/// request. Each is kept for as long as a session opened before it can live.
pub const REVOKED_CONSENTS_MAX: usize = 256;

impl SubjectRecord {
    /// The record of a subject nobody has seen.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            epoch: first_epoch(now),
            devices: Vec::new(),
            sessions: Vec::new(),
            consents: BTreeMap::new(),
        }
    }

    /// Whether a device is in its index.
    #[must_use]
    pub fn lists(&self, device: DeviceId) -> bool {
        self.devices.iter().any(|entry| entry.id == device)
    }

    /// The epoch of a consent: 0 until it is revoked, and again when nothing is left that its
    /// revocation could keep out.
    #[must_use]
    pub fn consent_epoch(&self, consent: &ConsentId) -> u64 {
        self.consents.get(consent).copied().unwrap_or(0)
    }

    /// A consent as a session is opened under it now.
    #[must_use]
    pub(super) fn consent(&self, id: ConsentId) -> Consent {
        let epoch = self.consent_epoch(&id);
        Consent { id, epoch }
    }

    /// Whether the consent of a session was revoked since it was opened. An earlier epoch than the
    /// session's cuts nothing, so what has left the record lets no session die that was opened since.
    pub(super) fn has_revoked_the_consent_of(&self, session: &Session) -> bool {
        let consent = session.consent.as_ref();
        consent.is_some_and(|consent| self.consent_epoch(&consent.id) > consent.epoch)
    }

    /// What is told when it was cut, or a consent of it: one event for each device in its index. It names
    /// no subject, and stands where what happened to the device is looked up.
    ///
    /// The index does not say which devices are out, and need not be asked about them: of one that is out,
    /// or whose record is lost or cannot be read, the event is as true. It had no session to lose, so
    /// verifiers are made to ask about tokens that are dead anyway.
    #[must_use]
    pub fn cut_events(
        &self,
        consent: Option<&ConsentId>,
        (why, by): (&str, &Actor),
        at: Timestamp,
    ) -> Vec<Event> {
        let (kind, epoch) = match consent {
            None => (EventKind::SubjectRevoked, self.epoch),
            Some(consent) => (EventKind::ConsentRevoked, self.consent_epoch(consent)),
        };
        let told = self.devices.iter().map(|device| Event {
            at,
            kind,
            app: Some(device.app.clone()),
            device: Some(device.id),
            session: None,
            consent: consent.cloned(),
            epoch: Some(epoch),
            why: why.to_owned(),
            by: by.clone(),
        });
        told.collect()
    }
}

/// Cuts every session of a subject. They leave the index, too: none of them comes back.
#[must_use]
pub fn revoke_subject(subject: Option<&SubjectRecord>, now: Timestamp) -> SubjectRecord {
    subject.map_or_else(
        || SubjectRecord::new(now),
        |subject| SubjectRecord {
            epoch: next_epoch(subject.epoch, now),
            devices: subject.devices.clone(),
            sessions: Vec::new(),
            consents: subject.consents.clone(),
        },
    )
}

/// Cuts every session of a subject that was opened under a consent. What was revoked so long ago that
/// no session from before it can live any more leaves the record.
///
/// # Errors
/// [`Reason::ConsentLimit`] when as many consents as can be kept were revoked and each may still have
/// sessions to keep out.
pub fn revoke_consent(
    subject: Option<&SubjectRecord>,
    consent: &ConsentId,
    now: Timestamp,
) -> Result<SubjectRecord, Refusal> {
    let mut subject = subject.cloned().unwrap_or_else(|| SubjectRecord::new(now));
    let epoch = next_epoch(subject.consent_epoch(consent), now);
    subject.consents.remove(consent);
    subject.consents.retain(|_, epoch| still_cuts(*epoch, now));
    if subject.consents.len() >= REVOKED_CONSENTS_MAX {
        return Err(Reason::ConsentLimit.into());
    }
    subject.consents.insert(consent.clone(), epoch);
    Ok(subject)
}

/// Whether a session that was opened before a consent came to this epoch may still be within its time.
/// An epoch is at least the time it was moved at; the session may be of an instance whose clock was
/// ahead.
fn still_cuts(epoch: u64, now: Timestamp) -> bool {
    let at = Timestamp::from_millis(i64::try_from(epoch).unwrap_or(i64::MAX));
    const LONGEST: Duration = SESSION_FOR_MAX.saturating_add(INSTANCE_SKEW_MAX);
    at.after(LONGEST) >= now
}

/// The epoch of a new record.
pub(crate) fn first_epoch(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0)
}

/// The epoch after this one.
pub(super) fn next_epoch(epoch: u64, now: Timestamp) -> u64 {
    epoch.saturating_add(1).max(first_epoch(now))
}
