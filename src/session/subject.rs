//! What is kept of a subject, and cutting all its sessions at once.
//!
//! A session is good only while the epochs of its subject and its device are what they were when it
//! was opened. An epoch begins with the time, in milliseconds, and only moves forward: a record that
//! was lost and made again does not begin where the lost one began, so that no session from before the
//! loss is good again, revoked or not.

use std::collections::BTreeMap;

use super::SubjectRecord;
use crate::time::Timestamp;

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

/// The epoch of a new record.
pub(super) fn first_epoch(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0)
}

/// The epoch after this one.
pub(super) fn next_epoch(epoch: u64, now: Timestamp) -> u64 {
    epoch.saturating_add(1).max(first_epoch(now))
}
