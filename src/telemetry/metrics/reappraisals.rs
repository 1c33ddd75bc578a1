//! The metrics of re-appraisals.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Metrics, ReappraisalEffect};
use crate::session::Counts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    effect: ReappraisalEffect,
}

/// How the re-appraisal of all devices stands, as it is shown: the same at every instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReappraisalShown {
    /// How much of it is done, in thousandths.
    pub done_permille: i64,
    /// When it began, in Unix seconds.
    pub started_at: i64,
    /// How long it took, in seconds, or has taken until now.
    pub took: i64,
    /// When the last one that was done was done, in Unix seconds.
    pub completed_at: i64,
    /// Active devices that have to attest again.
    pub overdue: i64,
}

/// The metrics.
#[derive(Debug, Default)]
pub(super) struct Reappraisals {
    pub(super) effects: Family<Labels, Counter>,
    pub(super) devices: Counter,
    permille: Gauge,
    started: Gauge,
    took: Gauge,
    completed: Gauge,
    overdue: Gauge,
}

impl Reappraisals {
    /// The gauges, each with its name and what it says.
    pub(super) fn gauges(&self) -> [(&'static str, &'static str, Gauge); 5] {
        [
            (
                "reappraisal_done_permille",
                "How much of the newest re-appraisal of all devices is done, in thousandths",
                self.permille.clone(),
            ),
            (
                "reappraisal_start_time_seconds",
                "Unix time that one began, 0 before the first",
                self.started.clone(),
            ),
            (
                "reappraisal_duration_seconds",
                "How long it took, or has taken until now",
                self.took.clone(),
            ),
            (
                "reappraisal_completed_time_seconds",
                "Unix time a re-appraisal of all devices was last done, 0 before the first",
                self.completed.clone(),
            ),
            (
                "reappraisal_overdue_devices",
                "Active devices that have to attest again by now, as the newest re-appraisal counted them",
                self.overdue.clone(),
            ),
        ]
    }

    pub(super) fn count(&self, counts: &Counts) {
        self.devices.inc_by(counts.devices);
        for (effect, count) in [
            (ReappraisalEffect::Reported, counts.reported),
            (ReappraisalEffect::Degraded, counts.degraded),
            (ReappraisalEffect::Suspended, counts.suspended),
            (ReappraisalEffect::Revoked, counts.revoked),
            (ReappraisalEffect::Cleared, counts.cleared),
            (ReappraisalEffect::Unreadable, counts.unreadable),
            (ReappraisalEffect::Skipped, counts.skipped),
            (ReappraisalEffect::NotDurable, counts.not_durable),
        ] {
            self.effects.get_or_create(&Labels { effect }).inc_by(count);
        }
    }

    pub(super) fn show(&self, shown: ReappraisalShown) {
        self.permille.set(shown.done_permille);
        self.started.set(shown.started_at);
        self.took.set(shown.took);
        self.completed.set(shown.completed_at);
        self.overdue.set(shown.overdue);
    }
}

impl Metrics {
    pub(super) fn register_reappraisal(&mut self) {
        self.add(
            "reappraisal_effects",
            "Registered devices that a re-appraisal did something with, by what",
            self.reappraisals.effects.clone(),
        );
        self.add(
            "reappraisal_devices",
            "Registered devices that were re-appraised",
            self.reappraisals.devices.clone(),
        );
        for (name, help, gauge) in self.reappraisals.gauges() {
            self.add(name, help, gauge);
        }
    }

    /// Devices were re-appraised.
    pub fn reappraised(&self, counts: &Counts) {
        self.reappraisals.count(counts);
    }

    /// How the re-appraisal of all devices stands.
    pub fn reappraisal(&self, shown: ReappraisalShown) {
        self.reappraisals.show(shown);
    }
}
