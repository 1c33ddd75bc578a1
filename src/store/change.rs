//! What a commit is made of, and how it ends.

use std::fmt;
use std::time::Duration;

use super::{Claim, CounterUse, Key, Limit, OperationId, Windowed};
use crate::id::Bucket;

/// What to make of one record.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Only check that its version is still the expected one.
    Keep,
    /// Write this value.
    Put {
        /// Opaque bytes.
        value: Vec<u8>,
        /// When it may be collected, from now; `None`: never.
        live_for: Option<Duration>,
    },
    /// Remove it.
    Delete,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("Keep"),
            Self::Put { value, live_for } => {
                write!(f, "Put({} bytes, {live_for:?})", value.len())
            }
            Self::Delete => f.write_str("Delete"),
        }
    }
}

/// One record of a [`ChangeSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub key: Key,
    /// The version it was loaded with; `None`: it did not exist.
    pub expected: Option<OperationId>,
    /// What to make of it.
    pub change: Change,
}

/// One member of an index: an ordered set of short byte strings under a name, for finding records by
/// something else than their name. Adding what is there and removing what is not changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexChange {
    /// The index.
    pub key: Key,
    /// The member, ordered by its bytes: 1 to [`MEMBER_BYTES_MAX`] of them.
    pub member: Vec<u8>,
    /// Whether it is there from then on.
    pub presence: Presence,
}

/// Whether a member is in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

/// How far a commit has to be before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// As the store is configured.
    #[default]
    Local,
    /// On this many replicas as well, waited for at most this long.
    Replicated {
        /// How many.
        replicas: u32,
        /// How long to wait.
        within: Duration,
    },
}

/// All or nothing: every item has the expected version, every claim is granted, and every counter and
/// every limit admits, or nothing happens. All keys lie in one bucket, and no record, claim, counter,
/// limit or member of an index is named twice.
#[derive(Debug, Clone)]
pub struct ChangeSet {
    /// The id of this operation: the version of everything it writes.
    pub operation: OperationId,
    /// The bucket of all keys and of the outbox.
    pub bucket: Bucket,
    /// Records checked and changed.
    pub items: Vec<Item>,
    /// Claims made with it.
    pub claims: Vec<Claim>,
    /// Indexes changed with it.
    pub index: Vec<IndexChange>,
    /// Appended to the bucket's outbox in the same step; opaque. Readable for [`EVENT_KEPT_FOR`].
    pub events: Vec<Vec<u8>>,
    /// How far it has to be.
    pub durability: Durability,
    /// Rates counted with it: what is done is counted, once however often it is sent, and nothing else.
    pub limits: Vec<Limit>,
    /// Counters used with it.
    pub windows: Vec<CounterUse>,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// Done, now or when the same operation was sent before.
    Done {
        /// Replicas that acknowledged; 0 when none were asked.
        replicas_acked: u32,
    },
    /// A record has another version than expected; nothing was changed.
    Conflict,
    /// A claim has another owner; nothing was changed.
    ClaimTaken {
        /// Its place in [`ChangeSet::claims`].
        index: usize,
    },
    /// A rate is used up; nothing was changed or counted.
    Limited {
        /// Its place in [`ChangeSet::limits`].
        index: usize,
        /// When it would admit one more.
        retry_after: Duration,
    },
    /// A counter does not admit its use; nothing was changed.
    CounterRefused {
        /// Its place in [`ChangeSet::windows`].
        index: usize,
        /// What it said.
        said: Windowed,
    },
}
