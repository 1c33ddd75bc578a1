//! What this instance knows of the watchers of revocations, and the record that all instances share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::settle::settle;
use super::state::{Changes, Loaded};
use super::{Engine, Failure};
use crate::reason::Reason;
use crate::session::{ROUNDS_MAX, Roll, RoundId, Watcher, WatcherId};
use crate::store::{Durability, keys};
use crate::time::{Steady, Timestamp};
use crate::token::INSTANCE_SKEW_MAX;

/// An instance with watchers reads and writes the record this often: two trips to the store, however
/// many watchers it has.
pub const WATCHERS_KEPT_EVERY: Duration = Duration::from_secs(1);

/// The record is kept this long after somebody was last seen.
const ROLL_KEPT_FOR: Duration = Duration::from_secs(600);

/// The watchers of an instance.
#[derive(Debug, Default)]
pub struct Watchers(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    watchers: Roll,
    /// The rounds that were read, oldest first, and when, by what nobody sets: a clock that is set back
    /// must not make a round look older than what was complete before it.
    rounds: Vec<(RoundId, Steady)>,
    /// All watchers, as they were last read.
    all: BTreeMap<WatcherId, Watcher>,
}

impl Watchers {
    /// Notes that a watcher is here, and what it has acknowledged, where it has.
    ///
    /// # Errors
    /// [`Reason::Overloaded`]: there are too many.
    pub(super) fn note(
        &self,
        id: &WatcherId,
        acked: Option<(Timestamp, Option<RoundId>)>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let mut seen = self.seen();
        let watcher = seen.watchers.place_of(id, now);
        let watcher = watcher.ok_or(Reason::Overloaded)?;
        watcher.seen_at = now;
        if let Some((until, round)) = acked {
            watcher.acked_until = watcher.acked_until.max(Some(until));
            // Which round is the later is known where the record is.
            watcher.passed = round.or(watcher.passed);
        }
        Ok(())
    }

    /// The last round whose beginning is before everything that is complete until then.
    pub(super) fn round_before(&self, complete: Steady) -> Option<RoundId> {
        let seen = self.seen();
        // Both are in milliseconds: in the same one the round may have been the later.
        let mut newest_first = seen.rounds.iter().rev();
        let passed = newest_first.find(|(_, read_at)| *read_at < complete);
        passed.map(|(round, _)| *round)
    }

    /// Notes the newest round as it was read, before `now`.
    fn read(&self, roll: &Roll, now: Steady) {
        let Some(newest) = roll.rounds.last() else {
            return;
        };
        let mut seen = self.seen();
        if seen.rounds.last().is_some_and(|(known, _)| known == newest) {
            return;
        }
        seen.rounds.push((*newest, now));
        let over = seen.rounds.len().saturating_sub(ROUNDS_MAX);
        seen.rounds.drain(..over);
    }

    fn added_to(&self, roll: &Roll, now: Timestamp) -> Roll {
        let mut seen = self.seen();
        seen.watchers.forget(now);
        let merged = roll.merged(&seen.watchers, now);
        seen.all.clone_from(&merged.watchers);
        merged
    }

    /// The watchers of all instances, as they were last read, and whether each has acknowledged
    /// everything until an instant by any clock; those who have not come first, and at most so many.
    pub(super) fn heard_of(
        &self,
        instant: Timestamp,
        max: usize,
    ) -> Vec<(WatcherId, Watcher, bool)> {
        // Clocks of instances may differ by as much.
        let surely = instant.after(INSTANCE_SKEW_MAX);
        let seen = self.seen();
        let heard = |watcher: &Watcher| watcher.acked_until.is_some_and(|until| until > surely);
        let parts = [false, true].map(|which| {
            let each = seen.all.iter();
            each.filter(move |(_, watcher)| heard(watcher) == which)
                .map(move |(id, watcher)| (id.clone(), *watcher, which))
        });
        parts.into_iter().flatten().take(max).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            watchers: Roll::begin(Timestamp::EPOCH),
            rounds: Vec::new(),
            all: BTreeMap::new(),
        }
    }
}

/// Adds the watchers of this instance to the record, and learns of new rounds. Two trips to the store;
/// one where nothing is new.
///
/// # Errors
/// `CONFLICT`, `STATE_STORE_UNAVAILABLE`
pub async fn keep_watchers(engine: &Engine) -> Result<(), Failure> {
    change(engine, Roll::clone).await.map(drop)
}

/// Reads the record, so that receipts can tell of the watchers of all instances. One trip.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn look_at_watchers(engine: &Engine) -> Result<(), Failure> {
    load(engine).await.map(drop)
}

/// Begins a round: everything that was committed before has to be told before it is passed.
pub(super) async fn begin_round(engine: &Engine, round: RoundId) -> Result<(), Failure> {
    let begin = |roll: &Roll| roll.with_round(round);
    change(engine, begin).await.map(drop)
}

/// The record as it is, with what this instance knows. One trip.
pub(super) async fn look(engine: &Engine) -> Result<Roll, Failure> {
    let (_, roll) = load(engine).await?;
    Ok(roll)
}

async fn change(engine: &Engine, make: impl Fn(&Roll) -> Roll) -> Result<Roll, Failure> {
    settle(|| async {
        let (loaded, roll) = load(engine).await?;
        let roll = make(&roll);
        if loaded.value.as_ref() == Some(&roll) {
            return Ok(Some(roll));
        }
        let key = keys::watchers();
        let changes = Changes {
            items: vec![loaded.put(engine, &roll, Some(ROLL_KEPT_FOR))?],
            ..Changes::default()
        };
        let done = engine.commit(key.bucket(), changes, Durability::Local);
        Ok(done.await?.map(|_| roll))
    })
    .await
}

async fn load(engine: &Engine) -> Result<(Loaded<Roll>, Roll), Failure> {
    let loaded = engine.load_one::<Roll>(keys::watchers()).await?;
    // Behind the answer: what was committed before a round began was committed before now.
    let read = engine.clock.reading();
    let now = read.now;
    let roll = loaded.value.clone().unwrap_or_else(|| Roll::begin(now));
    engine.watchers.read(&roll, read.steady);
    let roll = engine.watchers.added_to(&roll, now);
    Ok((loaded, roll))
}
