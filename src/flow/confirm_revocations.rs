//! ConfirmRevocations: whether everybody who verifies by himself has heard of what was revoked before.

use std::time::Duration;

use super::{Engine, Failure, watchers};
use crate::secret::random;
use crate::session::{RoundId, Watcher, WatcherId};
use crate::time::Timestamp;

/// How long watchers are waited for unless said otherwise: a round takes three seconds at most where
/// nothing is wrong.
pub const WAIT_FOR: Duration = Duration::from_secs(5);

/// The longest they are waited for, as promised.
pub const WAIT_FOR_MAX: Duration = Duration::from_secs(30);

/// The time between two looks, as promised.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A question that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Confirmation {
    round: RoundId,
}

/// Who has heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Every watcher, and whether it has; those who have not come first.
    pub watchers: Vec<(WatcherId, Watcher, bool)>,
    /// Whether somebody may be missing among them.
    pub incomplete: bool,
    /// When this was so.
    pub as_of: Timestamp,
}

impl Heard {
    /// Whether all have.
    #[must_use]
    pub fn all(&self) -> bool {
        !self.incomplete && self.watchers.iter().all(|(_, _, heard)| *heard)
    }
}

/// Asks about everything that was committed before this is called. Two trips to the store.
///
/// # Errors
/// `CONFLICT`, `STATE_STORE_UNAVAILABLE`
pub async fn begin(engine: &Engine) -> Result<Confirmation, Failure> {
    let round = RoundId(random()?);
    watchers::begin_round(engine, round).await?;
    Ok(Confirmation { round })
}

impl Confirmation {
    /// Who has heard by now. One trip.
    ///
    /// # Errors
    /// `STATE_STORE_UNAVAILABLE`
    pub async fn look(&self, engine: &Engine) -> Result<Heard, Failure> {
        let roll = watchers::look(engine).await?;
        let as_of = engine.clock.now();
        let with_heard = roll.watchers.iter().map(|(id, watcher)| {
            let heard = roll.heard(watcher, self.round);
            (id.clone(), *watcher, heard)
        });
        let mut watchers: Vec<_> = with_heard.collect();
        watchers.sort_by_key(|(_, _, heard)| *heard);
        Ok(Heard {
            watchers,
            incomplete: !roll.is_complete(self.round, as_of),
            as_of,
        })
    }
}
