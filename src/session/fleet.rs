//! Cutting every session that was opened before an instant: those of one app, or all.
//!
//! The instants are kept once in every bucket and only move forward. Nobody's clock is exact: a session
//! that another instance opened before the instant may say that it was opened a little after it. So the
//! instant that is kept is later by what clocks may differ, and whoever opens a session with this record
//! before him, which is after the cut, opens it behind that instant.

use super::Fleet;
use crate::id::AppId;
use crate::policy::SESSION_FOR_MAX;
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// Whose sessions are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Those of an app.
    App(AppId),
    /// All.
    Everything,
}

impl Reach {
    /// The app; `None`: all of them.
    #[must_use]
    pub const fn app(&self) -> Option<&AppId> {
        match self {
            Self::App(app) => Some(app),
            Self::Everything => None,
        }
    }
}

impl Fleet {
    /// The record that cuts every session opened until `not_before`, and what was cut before. What no
    /// session can be old enough for any more leaves it.
    #[must_use]
    pub fn cut(&self, reach: &Reach, not_before: Timestamp, now: Timestamp) -> Self {
        let mut fleet = self.clone();
        let cut = kept(not_before);
        match reach {
            Reach::App(app) => {
                let known = fleet.apps.entry(app.clone()).or_insert(cut);
                *known = cut.max(*known);
            }
            Reach::Everything => fleet.not_before = fleet.not_before.max(Some(cut)),
        }
        // A session from before it, of a clock that is ahead, may live until then.
        let still_cuts = |cut: Timestamp| cut.after(SESSION_FOR_MAX) >= now;
        fleet.apps.retain(|_, cut| still_cuts(*cut));
        fleet.not_before = fleet.not_before.filter(|cut| still_cuts(*cut));
        fleet
    }

    /// The last instant at which a session of the app is cut; `None`: none is.
    #[must_use]
    pub fn cut_until(&self, app: &AppId) -> Option<Timestamp> {
        self.not_before.max(self.apps.get(app).copied())
    }
}

/// What is kept of the instant that was asked for.
fn kept(not_before: Timestamp) -> Timestamp {
    not_before.after(INSTANCE_SKEW_MAX)
}
