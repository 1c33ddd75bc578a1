//! The metrics of revocations as they are followed.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;

/// How this instance follows revocations, as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationsShown {
    /// How long ago nothing was missing, in seconds.
    pub age: i64,
    /// Recent revocations that are known.
    pub known: i64,
    /// Those of them that the store is not known to have.
    pub waiting: i64,
}

#[derive(Debug, Default)]
pub(super) struct Revocations {
    age: Gauge,
    known: Gauge,
    waiting: Gauge,
    written: Counter,
    unreadable: Counter,
    devices_unreadable: Counter,
}

impl Metrics {
    pub(super) fn register_revocations(&mut self) {
        self.add(
            "revocations_age_seconds",
            "How long ago this instance knew of every revocation",
            self.revocations.age.clone(),
        );
        self.add(
            "revocations_known",
            "Recent revocations, suspensions and ends of sessions that this instance knows of",
            self.revocations.known.clone(),
        );
        self.add(
            "revocations_waiting",
            "Those of them that the state store is not known to have",
            self.revocations.waiting.clone(),
        );
        self.add(
            "revocations_rewritten",
            "Revocations written by this instance into a state store that did not have them",
            self.revocations.written.clone(),
        );
        self.add(
            "events_unreadable",
            "Events that cannot be read, each time they were come across",
            self.revocations.unreadable.clone(),
        );
        self.add(
            "device_records_unreadable",
            "Records of devices that somebody looked for and that cannot be read, each time",
            self.revocations.devices_unreadable.clone(),
        );
        self.register_risk();
    }

    /// A round was done.
    pub fn revocations_read(&self, unreadable: u64, written: u64) {
        self.revocations.unreadable.inc_by(unreadable);
        self.revocations.written.inc_by(written);
    }

    /// A page of devices had so many that cannot be read.
    pub fn device_records_unreadable(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.revocations.devices_unreadable.inc_by(count);
    }

    /// Shows how revocations are followed.
    pub fn revocations(&self, shown: RevocationsShown) {
        self.revocations.age.set(shown.age);
        self.revocations.known.set(shown.known);
        self.revocations.waiting.set(shown.waiting);
    }
}
