//! Hearing of everything that happens: the outboxes of all buckets, read on and on, each from where it
//! was left.
//!
//! One round reads what has come since the last one, and then asks who answers. When another server
//! took over, it may have lost what was read: then everything is read again from as far back as
//! revocations are known, and what is missing is written again ([`super::reassert`]). Only when nothing
//! is missing any more a checkpoint is said.

use super::reassert::{self, Written};
use super::{Engine, Failure};
use crate::id::{BUCKETS, Bucket};
use crate::session::{Event, Notice, OVERLAY_KEPT_FOR, Target};
use crate::store::record::unseal;
use crate::store::{Cursor, FOLLOW_MAX, Lineage, OperationId, OutboxRange, Record, keys};
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// Most events of one trip: two megabytes, which a server answers well within the time an answer may
/// take.
const EVENTS_MAX: usize = 8 * BUCKETS as usize;

/// Rounds after another server took over before a checkpoint is said again. Other instances may know
/// of revocations this one never heard of, and write them again within a round or two.
pub const ROUNDS_IN_DOUBT: u32 = 4;

/// Reads the outboxes of all buckets.
#[derive(Debug)]
pub struct Follower {
    /// How far each bucket was read.
    read: Vec<(Bucket, Cursor)>,
    lineage: Option<Lineage>,
    rounds_in_doubt: u32,
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Events that were read.
    pub events: u64,
    /// Those among them that cannot be opened.
    pub unreadable: u64,
    /// What was written that the store did not have.
    pub written: Written,
    /// Whether another server took over.
    pub doubted: bool,
    /// Whether a checkpoint was said.
    pub complete: bool,
}

impl Follower {
    /// One that begins far enough back for every access token there can be.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let start = beginning(now);
        let buckets = (0..BUCKETS).filter_map(Bucket::new);
        Self {
            read: buckets.map(|bucket| (bucket, start.clone())).collect(),
            lineage: None,
            rounds_in_doubt: 0,
        }
    }

    /// One round: two trips to the store when nothing happened; the first one asks who answers before it
    /// reads as well.
    ///
    /// # Errors
    /// `STATE_STORE_UNAVAILABLE`: what was read until then counts, and no checkpoint is said.
    pub async fn round(&mut self, engine: &Engine) -> Result<Round, Failure> {
        let began = engine.clock.reading();
        let mut round = Round::default();
        if self.lineage.is_none() {
            self.lineage = Some(engine.store.ping().await?);
        }
        let looked = reassert::look(engine).await?;
        self.read_on(engine, &mut round).await?;
        let lineage = engine.store.ping().await?;
        let before = self.lineage.replace(lineage.clone());
        if before.is_some_and(|before| before != lineage) {
            engine.board.doubt();
            let start = beginning(began.now);
            for (_, read) in &mut self.read {
                read.clone_from(&start);
            }
            self.rounds_in_doubt = ROUNDS_IN_DOUBT;
            round.doubted = true;
            return Ok(round);
        }
        round.written = reassert::write(engine, looked).await?;
        if engine.board.overlay().waits() > 0 {
            return Ok(round);
        }
        if self.rounds_in_doubt > 0 {
            self.rounds_in_doubt -= 1;
            return Ok(round);
        }
        engine.board.checkpoint(began, engine.clock.now());
        round.complete = true;
        Ok(round)
    }

    /// Reads every bucket to its end.
    async fn read_on(&mut self, engine: &Engine, round: &mut Round) -> Result<(), Failure> {
        let mut behind: Vec<&mut (Bucket, Cursor)> = self.read.iter_mut().collect();
        while !behind.is_empty() {
            let limit = (EVENTS_MAX / behind.len()).clamp(1, FOLLOW_MAX);
            let ranges = behind.iter().map(|(bucket, read)| OutboxRange {
                bucket: *bucket,
                after: read.clone(),
                limit,
            });
            let parts = engine.store.follow(ranges.collect()).await?;
            let mut full = Vec::new();
            for (place, part) in behind.into_iter().zip(parts) {
                let is_full = part.len() >= limit;
                for (cursor, sealed) in part {
                    round.events += 1;
                    if !hear(engine, place.0, &cursor, sealed) {
                        round.unreadable += 1;
                    }
                    place.1 = cursor;
                }
                if is_full {
                    full.push(place);
                }
            }
            behind = full;
        }
        Ok(())
    }
}

/// As far back as an access token can live and a revocation is known, by clocks that differ.
fn beginning(now: Timestamp) -> Cursor {
    Cursor::before(now.before(OVERLAY_KEPT_FOR).before(INSTANCE_SKEW_MAX))
}

/// Tells the board of an event. Whether it could be opened.
///
/// One that could not may revoke anything: a newer version wrote it, or its key is gone. So every access
/// token from before it has to be asked about.
fn hear(engine: &Engine, bucket: Bucket, cursor: &Cursor, sealed: Vec<u8>) -> bool {
    let now = engine.clock.now();
    // Not later than now, however far ahead the store's clock is.
    let at = cursor.appended_at().map_or(now, |at| at.min(now));
    if let Some(event) = open(engine, bucket, sealed) {
        engine.board.tell(&event, at, now);
        return true;
    }
    let everything = Notice {
        target: Target::Everything,
        issued_until: at.after(INSTANCE_SKEW_MAX),
    };
    engine.board.post(everything, now);
    false
}

/// An event as it was appended; `None` when it cannot be read.
pub(super) fn open(engine: &Engine, bucket: Bucket, sealed: Vec<u8>) -> Option<Event> {
    let record = Record {
        // An event has no version: nothing ever replaces it.
        version: OperationId([0; 16]),
        value: sealed,
    };
    unseal(&engine.keyring, &keys::outbox(bucket), &record).ok()
}
