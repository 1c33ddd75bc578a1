//! WatchRevocations: what a watcher is told, and in which order.
//!
//! A watcher reads the board of its instance at its own pace: what it has not taken yet waits on the
//! board and nowhere else, so a slow one costs no memory.

use std::time::Duration;

use super::{Engine, Failure};
use crate::policy::ACCESS_FOR_MAX;
use crate::session::{Notice, RoundId, WatcherId};
use crate::time::{Reading, Timestamp};
use crate::token::INSTANCE_SKEW_MAX;

/// Most notices in one message, as promised.
const NOTICES_MAX: usize = 100;

/// How often a watcher is told how complete it is: twice as often as promised.
pub const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);

/// So many of those times without anything new before it is said that nothing is known: what fills the
/// board may come just after one of them.
const MISSED_MAX: u32 = 2;

/// Where a watcher is. It holds on every instance: instants are those of the instance it is from, and
/// another goes back by as much as clocks may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchCursor {
    /// It has everything that was committed before.
    pub complete_until: Timestamp,
    /// The last round of ConfirmRevocations it has passed by that.
    pub passed: Option<RoundId>,
}

impl WatchCursor {
    /// One from an instance whose clock is not further ahead than it may be.
    pub(super) fn check(self, now: Timestamp) -> Result<Self, Failure> {
        if self.complete_until > now.after(INSTANCE_SKEW_MAX) {
            return Err(Failure::field("cursor", "a cursor of WatchRevocations"));
        }
        Ok(self)
    }
}

/// The request.
#[derive(Debug, Clone)]
pub struct WatchRevocations {
    /// Where to go on; `None`: from a snapshot.
    pub cursor: Option<WatchCursor>,
    /// Who watches, where it acknowledges.
    pub watcher: Option<WatcherId>,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What comes is all there is.
    SnapshotBegin,
    /// That was all.
    SnapshotEnd,
    /// Revocations.
    Notices(Vec<Notice>),
    /// Everything until then was told.
    Checkpoint {
        /// Where to go on.
        cursor: WatchCursor,
        /// How long ago that is.
        age: Duration,
    },
    /// It is not known what is missing.
    Incomplete {
        /// How long ago it was known; `None`: never.
        age: Option<Duration>,
    },
}

/// A watcher.
#[derive(Debug)]
pub struct Watch {
    watcher: Option<WatcherId>,
    stage: Stage,
    /// The last post it was told of.
    behind: u64,
    /// Up to when it was told that it has everything.
    told: Option<Reading>,
    missed: u32,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Waits until the board is complete, for all of it or for what arrived since.
    Waiting(Option<Timestamp>),
    /// Is told everything.
    Snapshot,
    /// Was told everything.
    SnapshotTold,
    /// Is told what arrived since then.
    Resuming(Timestamp),
    /// Is told what comes.
    Following,
}

/// Begins to watch.
///
/// # Errors
/// `MALFORMED_REQUEST` for a cursor of the future.
pub fn begin(engine: &Engine, request: WatchRevocations) -> Result<Watch, Failure> {
    let now = engine.clock.now();
    let cursor = request.cursor.map(|cursor| cursor.check(now)).transpose()?;
    // What it had been told by then is over when no token lives for so long.
    let over = now.before(ACCESS_FOR_MAX).before(INSTANCE_SKEW_MAX);
    let young = cursor.filter(|cursor| cursor.complete_until >= over);
    // What another instance did not have by then arrives here later, by a clock that may be behind.
    let since = young.map(|cursor| cursor.complete_until.before(INSTANCE_SKEW_MAX));
    let watch = Watch {
        watcher: request.watcher,
        stage: Stage::Waiting(since),
        behind: 0,
        told: None,
        missed: 0,
    };
    watch.note(engine);
    Ok(watch)
}

impl Watch {
    /// Whether it acknowledges.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        self.watcher.is_some()
    }

    /// Notes that the watcher is still here. Where there are too many to be kept in mind it is told
    /// everything all the same.
    pub fn note(&self, engine: &Engine) {
        if let Some(id) = &self.watcher {
            let _ = engine.watchers.note(id, None, engine.clock.now());
        }
    }

    /// What to tell next; `None`: nothing until something changes or it is `due` that the watcher is
    /// told how complete it is ([`CHECKPOINT_EVERY`]).
    pub fn next(&mut self, engine: &Engine, due: bool) -> Option<Told> {
        let board = &engine.board;
        match self.stage {
            Stage::Waiting(since) => {
                if board.complete().is_none() {
                    return due.then(|| self.missed(engine, None)).flatten();
                }
                match since {
                    None => {
                        self.stage = Stage::Snapshot;
                        Some(Told::SnapshotBegin)
                    }
                    Some(since) => {
                        self.stage = Stage::Resuming(since);
                        self.next(engine, due)
                    }
                }
            }
            Stage::Snapshot => {
                let part = board.part(self.behind, None, NOTICES_MAX);
                self.behind = part.news.number;
                if !part.more {
                    self.stage = Stage::SnapshotTold;
                }
                if part.news.notices.is_empty() {
                    return self.next(engine, due);
                }
                Some(Told::Notices(part.news.notices))
            }
            Stage::SnapshotTold => {
                self.stage = Stage::Following;
                Some(Told::SnapshotEnd)
            }
            Stage::Resuming(since) => {
                let mut notices = Vec::new();
                while notices.is_empty() && matches!(self.stage, Stage::Resuming(_)) {
                    let part = board.part(self.behind, Some(since), NOTICES_MAX);
                    self.behind = part.news.number;
                    notices = part.news.notices;
                    if !part.more {
                        self.stage = Stage::Following;
                    }
                }
                if notices.is_empty() {
                    return self.next(engine, due);
                }
                Some(Told::Notices(notices))
            }
            Stage::Following => self.follow(engine, due),
        }
    }

    fn follow(&mut self, engine: &Engine, due: bool) -> Option<Told> {
        let news = engine.board.part(self.behind, None, NOTICES_MAX).news;
        self.behind = news.number;
        if !news.notices.is_empty() {
            return Some(Told::Notices(news.notices));
        }
        // Nothing is behind this part, so it is as complete as the board.
        if !due {
            return None;
        }
        match news.complete {
            Some(complete) if self.told != Some(complete) => {
                self.told = Some(complete);
                self.missed = 0;
                Some(Told::Checkpoint {
                    cursor: WatchCursor {
                        complete_until: complete.now,
                        passed: engine.watchers.round_before(complete.steady),
                    },
                    age: engine.clock.reading().since(complete),
                })
            }
            complete => self.missed(engine, complete),
        }
    }

    /// Said once a second, which is every other time.
    fn missed(&mut self, engine: &Engine, complete: Option<Reading>) -> Option<Told> {
        if complete.is_none() {
            // What is read anew is told, whatever moment it is complete until.
            self.told = None;
        }
        self.missed = self.missed.saturating_add(1);
        let said = self.missed.is_multiple_of(MISSED_MAX);
        said.then(|| Told::Incomplete {
            age: complete.map(|complete| engine.clock.reading().since(complete)),
        })
    }
}
