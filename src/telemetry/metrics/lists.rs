//! The metrics of the attestation status list.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{ListFetch, ListStanding, Metrics};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListFetchLabels {
    outcome: ListFetch,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListStandingLabels {
    standing: ListStanding,
}

/// How the attestation status list stands, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListShown {
    /// How it stands.
    pub standing: ListStanding,
    /// When it was last known to be the newest, in Unix seconds.
    pub validated_at: i64,
    /// That long ago, in seconds.
    pub age: i64,
    /// What is on it.
    pub entries: i64,
}

#[derive(Debug, Default)]
pub(super) struct Lists {
    time: Gauge,
    age: Gauge,
    entries: Gauge,
    standing: Family<ListStandingLabels, Gauge>,
    fetches: Family<ListFetchLabels, Counter>,
}

impl Metrics {
    pub(super) fn register_lists(&mut self) {
        self.add(
            "status_list_time_seconds",
            "Unix time at which the attestation status list in use was known to be the newest, 0 without one",
            self.lists.time.clone(),
        );
        self.add(
            "status_list_age_seconds",
            "How long ago that was, 0 without one",
            self.lists.age.clone(),
        );
        self.add(
            "status_list_entries",
            "Entries of the attestation status list in use",
            self.lists.entries.clone(),
        );
        self.add(
            "status_list_standing",
            "1 for how the attestation status list stands, 0 for the others",
            self.lists.standing.clone(),
        );
        self.add(
            "status_list_fetches",
            "Fetches of the attestation status list, by how they ended",
            self.lists.fetches.clone(),
        );
    }

    /// How the status list stands.
    pub fn status_list(&self, shown: ListShown) {
        self.lists.time.set(shown.validated_at);
        self.lists.age.set(shown.age);
        self.lists.entries.set(shown.entries);
        for standing in ListStanding::ALL.iter().copied() {
            self.lists
                .standing
                .get_or_create(&ListStandingLabels { standing })
                .set((standing == shown.standing).into());
        }
    }

    /// A fetch of the status list ended.
    pub fn status_list_fetch(&self, outcome: ListFetch) {
        self.lists
            .fetches
            .get_or_create(&ListFetchLabels { outcome })
            .inc();
    }
}
