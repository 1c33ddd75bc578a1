//! The port to the state store, and what both stores promise.
//!
//! The store knows nothing of devices or sessions: it keeps opaque values under names, each with a
//! version, and offers four things: load with claims, rate limits and uses of counters
//! ([`Store::admit`]), compare-and-set of several records of one bucket together with claims, uses of
//! counters, rate limits, members of indexes and outbox events ([`Store::commit`]), reading indexes
//! ([`Store::page`]) and reading the outboxes ([`Store::follow`]). All rules are decided above, in Rust,
//! once.
//!
//! **Versions.** A record's version is the id of the operation that wrote it: 16 random bytes. So a
//! deleted and re-created record never looks like the old one, and a commit that is sent twice (a
//! client library or a network may do that) is recognised as done.
//!
//! **Time to live** is garbage collection, never a check: records carry their own expiry. Only a
//! claim or counter is forgotten when its time is over, and whoever makes one asks for long enough; and
//! a limit, when it is idle, which is the same as never counted.
//!
//! **A lost answer** ([`StoreError::OutcomeUnknown`]) means the commit may or may not have happened;
//! the caller finds out by reading, or says so, and never assumes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;

use crate::id::Bucket;
use crate::time::Timestamp;

mod change;
pub mod embedded;
pub mod keys;
mod rate;
pub mod record;
pub mod redis;
mod rules;
mod scripts;
mod window;

pub use change::{Change, ChangeSet, Committed, Durability, IndexChange, Item, Presence};
pub use rate::LIMIT_SPAN_MAX;
pub use rules::{
    CLAIMS_MAX, EVENT_KEPT_FOR, EVENTS_MAX, FOLLOW_MAX, FOLLOWED_MAX, INDEX_CHANGES_MAX, ITEMS_MAX,
    LIMITS_MAX, LOADS_MAX, MEMBER_BYTES_MAX, NAME_BYTES_MAX, OWNER_BYTES_MAX, OWNERS_MAX,
    PAGE_MEMBERS_MAX, RANGE_MEMBERS_MAX, RANGES_MAX, VALUE_BYTES_MAX, WINDOWS_MAX,
};
pub use window::{CounterUse, Windowed};

/// Id of the operation that wrote a record: its version. Fresh random bytes for every commit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub [u8; 16]);

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The name of a record, claim, index or limit: `{bN}:` and a kind-prefixed name, printable ASCII
/// without spaces. One name is for one kind of thing: names beginning with `i:` are for indexes, those
/// beginning with `l:` for limits, those beginning with `w:` for counters, and of the others each is
/// for a record or for a claim. The name `o` and names beginning with `m:` are the store's own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    bucket: Bucket,
    name: String,
}

impl Key {
    /// A name within a bucket, e.g. `s:0a1b…`.
    #[must_use]
    pub const fn new(bucket: Bucket, name: String) -> Self {
        Self { bucket, name }
    }

    /// Its bucket.
    #[must_use]
    pub const fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// Its name within the bucket.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{b{}}}:{}", self.bucket.number(), self.name)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A stored value with its version.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The operation that wrote it.
    pub version: OperationId,
    /// Opaque bytes.
    pub value: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?}, {} bytes)", self.version, self.value.len())
    }
}

/// A mark that at most one owner can make: a challenge used, a `jti` seen, a key's one owner.
/// Making it again with the same `owner` is granted, so a request sent twice is not a replay; it
/// changes nothing, and the claim's life still counts from the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub key: Key,
    /// Who makes it.
    pub owner: Vec<u8>,
    /// For how long; `None`: for ever.
    pub live_for: Option<Duration>,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours, now or since before.
    Granted,
    /// Another owner has it.
    Taken {
        /// That owner.
        by: Vec<u8>,
    },
}

/// A rate: so many at once, and one more each time the interval has passed (the generic cell rate
/// algorithm, ITU-T I.371). Counted by the store's own clock, in microseconds; where that goes back,
/// nobody more is admitted. Nobody is ever told to wait for longer than an interval, not by such a
/// clock and not by what was counted under other numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name.
    pub key: Key,
    /// The time after which one more is admitted; not zero.
    pub every: Duration,
    /// How many are admitted at once; at least 1. All of them together take at most
    /// [`LIMIT_SPAN_MAX`].
    pub burst: u32,
}

/// What a limit said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Within the rate; it is counted.
    Admitted,
    /// Above the rate; it is not counted.
    Refused {
        /// When the next one would be admitted.
        retry_after: Duration,
    },
}

/// What one trip of [`Store::admit`] asks for. Keys may lie in several buckets.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Records to load.
    pub load: Vec<Key>,
    /// Claims to make, each for itself.
    pub claim: Vec<Claim>,
    /// Claims to look at: who has them, once the claims of this admission are made.
    pub owner_of: Vec<Key>,
    /// Rates to count against, each for itself: one that refuses, or a claim that is taken, does not
    /// take back what another has counted.
    pub limit: Vec<Limit>,
    /// Counters to use, each for itself.
    pub window: Vec<CounterUse>,
}

/// The answer to an [`Admission`], in its order.
#[derive(Debug, Clone, Default)]
pub struct Admitted {
    /// The records; `None` where there is none.
    pub records: Vec<Option<Record>>,
    /// How the claims ended.
    pub claims: Vec<Claimed>,
    /// Who has the claims that were looked at; `None`: nobody.
    pub owners: Vec<Option<Vec<u8>>>,
    /// What the limits said.
    pub limits: Vec<Limited>,
    /// What the counters said.
    pub windows: Vec<Windowed>,
}

/// A part of an index: members after one, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRange {
    /// The index.
    pub key: Key,
    /// Only members greater than this; empty: from the beginning.
    pub after: Vec<u8>,
    /// At most so many, up to [`RANGE_MEMBERS_MAX`]. Fewer are the end of the index.
    pub limit: usize,
}

/// A part of an outbox: events behind a place, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRange {
    /// Whose outbox.
    pub bucket: Bucket,
    /// Only events behind this; the default: from the beginning.
    pub after: Cursor,
    /// At most so many, up to [`FOLLOW_MAX`]. Fewer are the end of the outbox.
    pub limit: usize,
}

/// What the state is kept by now: an opaque text that is another one as soon as another server may have
/// taken over, or the same one has started again. What was acknowledged before may then be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage(pub String);

/// A place in a bucket's outbox; ordered; printable ASCII. The beginning is the empty text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor(pub String);

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of an outbox")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let cursor = Self(text.to_owned());
        rules::Place::of_cursor(&cursor).map_err(|_| InvalidCursor)?;
        Ok(cursor)
    }
}

impl Cursor {
    /// The place before everything that is appended at this instant or later, by the store's clock.
    #[must_use]
    pub fn before(instant: Timestamp) -> Self {
        let millis = u64::try_from(instant.as_millis()).unwrap_or(0);
        let last = rules::Place {
            millis: millis.saturating_sub(1),
            number: u64::MAX,
        };
        last.cursor()
    }

    /// When what is at this place was appended, by the store's clock; `None`: it is the beginning.
    #[must_use]
    pub fn appended_at(&self) -> Option<Timestamp> {
        let place = rules::Place::of_cursor(self).ok().flatten()?;
        i64::try_from(place.millis).ok().map(Timestamp::from_millis)
    }
}

/// Why the store could not answer. It carries no key and no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed, but that a rate may have been counted: the store was not reached or
    /// refused.
    #[error("the state store is unavailable: {0}")]
    Unavailable(String),
    /// The answer was lost: a change may or may not have happened.
    #[error("the outcome of the operation is unknown: {0}")]
    OutcomeUnknown(String),
    /// The request breaks the rules of the port, a bug of the caller: nothing was sent or changed.
    #[error("the request to the state store is invalid: {0}")]
    Invalid(&'static str),
}

/// The state store. Implementations pass one list of behaviours (`tests/it/store.rs`).
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Loads records, makes claims, looks at claims, counts against rates and uses counters, in one
    /// trip. Each of them is atomic for itself.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] when claims or counters were asked for and the answer was lost;
    /// asking again with the same owner or operation is safe. Without them it is
    /// [`StoreError::Unavailable`], with limits as well: a count that may have been made is nothing to be
    /// found out, and counting the next attempt again errs on the strict side.
    async fn admit(&self, ask: Admission) -> Result<Admitted, StoreError>;

    /// Applies a change set, in one trip.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing changed. [`StoreError::OutcomeUnknown`]: sending the very
    /// same change set again is safe.
    async fn commit(&self, change: ChangeSet) -> Result<Committed, StoreError>;

    /// Parts of outboxes, in one trip: at most [`RANGES_MAX`] of them, and [`FOLLOWED_MAX`] events.
    /// Each is read as of one instant and has its events in order.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]
    async fn follow(
        &self,
        ranges: Vec<OutboxRange>,
    ) -> Result<Vec<Vec<(Cursor, Vec<u8>)>>, StoreError>;

    /// Parts of indexes, in one trip: at most [`RANGES_MAX`] of them, and [`PAGE_MEMBERS_MAX`] members.
    /// Each is read as of one instant and has its members in order; an index that does not exist is
    /// empty. The indexes may lie in several buckets.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]
    async fn page(&self, ranges: Vec<IndexRange>) -> Result<Vec<Vec<Vec<u8>>>, StoreError>;

    /// Whether the store answers and takes writes, and who answers; the error says in plain words what
    /// is wrong.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]
    async fn ping(&self) -> Result<Lineage, StoreError>;
}
