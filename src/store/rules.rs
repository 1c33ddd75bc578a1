//! What both stores share: limits of a request, lives, marks, and the form of a cursor.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Admission, Change, ChangeSet, Claim, Cursor, Key, OperationId, Record, StoreError};

/// Records one admission may load: one of every bucket, four times over.
pub const LOADS_MAX: usize = 4096;

/// Claims one admission or change set may make.
pub const CLAIMS_MAX: usize = 64;

/// Records one change set may touch: a subject with all its devices and sessions, at their caps.
pub const ITEMS_MAX: usize = 256;

/// Events one change set may append.
pub const EVENTS_MAX: usize = 256;

/// Longest value or event. Far above any record, far below what would stall a server.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Longest owner of a claim.
pub const OWNER_BYTES_MAX: usize = 1024;

/// Longest name within a bucket.
pub const NAME_BYTES_MAX: usize = 256;

/// Events one call of `follow` gives at most.
pub const FOLLOW_MAX: usize = 1000;

/// How long an event stays readable. A reader that was away for longer starts from a snapshot.
pub const EVENT_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long an operation whose writes do not show that it was done is remembered by a mark. Longer
/// than any client re-sends or any failover takes.
pub(super) const MARK_KEPT_FOR: Duration = Duration::from_secs(120);

/// Name of a bucket's outbox.
pub(super) const OUTBOX_NAME: &str = "o";

/// Names that begin so are marks of operations.
pub(super) const MARK_PREFIX: &str = "m:";

/// Bytes of a version in front of a stored value.
pub(super) const VERSION_BYTES: usize = 16;

/// Longest life of a record or claim, 100 years: more is for ever, and servers refuse to add it to
/// their clock.
const LIFE_MILLIS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// A life in whole milliseconds, rounded up, at least one.
pub(super) fn life_millis(life: Duration) -> u64 {
    let millis = life.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis)
        .unwrap_or(LIFE_MILLIS_MAX)
        .clamp(1, LIFE_MILLIS_MAX)
}

/// The stored form of a record: its version, then its value.
pub(super) fn encode_record(version: OperationId, value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(VERSION_BYTES + value.len());
    stored.extend_from_slice(&version.0);
    stored.extend_from_slice(value);
    stored
}

/// The version in front of a stored record; `None` where something else is stored.
pub(super) fn stored_version(stored: &[u8]) -> Option<OperationId> {
    stored
        .first_chunk::<VERSION_BYTES>()
        .copied()
        .map(OperationId)
}

/// The record behind its stored form.
///
/// # Errors
/// [`StoreError::Unavailable`] when it is not the form of a record.
pub(super) fn decode_record(stored: &[u8]) -> Result<Record, StoreError> {
    let (version, value) = stored
        .split_first_chunk::<VERSION_BYTES>()
        .ok_or_else(|| StoreError::Unavailable("a stored record is damaged".to_owned()))?;
    Ok(Record {
        version: OperationId(*version),
        value: value.to_vec(),
    })
}

/// Checks an admission before anything is asked.
///
/// # Errors
/// [`StoreError::Invalid`]
pub(super) fn check_admission(ask: &Admission) -> Result<(), StoreError> {
    at_most(ask.load.len(), LOADS_MAX, "too many records to load")?;
    for key in &ask.load {
        check_name(key)?;
    }
    check_claims(&ask.claim)
}

/// Checks a change set before anything is sent.
///
/// # Errors
/// [`StoreError::Invalid`]
pub(super) fn check_change_set(change: &ChangeSet) -> Result<(), StoreError> {
    at_most(change.items.len(), ITEMS_MAX, "too many records to change")?;
    at_most(change.events.len(), EVENTS_MAX, "too many events")?;
    check_claims(&change.claims)?;
    let items = change.items.iter().map(|item| &item.key);
    let claims = change.claims.iter().map(|claim| &claim.key);
    let mut seen = BTreeSet::new();
    for key in items.chain(claims) {
        check_name(key)?;
        if key.bucket() != change.bucket {
            return Err(StoreError::Invalid("a key lies outside of the bucket"));
        }
        if !seen.insert(key) {
            return Err(StoreError::Invalid("a key is named twice"));
        }
    }
    let values = change.items.iter().filter_map(|item| match &item.change {
        Change::Put { value, .. } => Some(value),
        Change::Keep | Change::Delete => None,
    });
    for bytes in values.chain(&change.events) {
        at_most(bytes.len(), VALUE_BYTES_MAX, "a value is too long")?;
    }
    Ok(())
}

fn check_claims(claims: &[Claim]) -> Result<(), StoreError> {
    at_most(claims.len(), CLAIMS_MAX, "too many claims")?;
    for claim in claims {
        check_name(&claim.key)?;
        at_most(claim.owner.len(), OWNER_BYTES_MAX, "an owner is too long")?;
    }
    Ok(())
}

fn check_name(key: &Key) -> Result<(), StoreError> {
    let name = key.name();
    at_most(name.len(), NAME_BYTES_MAX, "a name is too long")?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(StoreError::Invalid("a name is not printable ASCII"));
    }
    if name == OUTBOX_NAME || name.starts_with(MARK_PREFIX) {
        return Err(StoreError::Invalid("a name is the store's own"));
    }
    Ok(())
}

const fn at_most(count: usize, max: usize, else_say: &'static str) -> Result<(), StoreError> {
    if count <= max {
        Ok(())
    } else {
        Err(StoreError::Invalid(else_say))
    }
}

/// Whether a mark has to remember that this operation was done.
///
/// A record written over an existing version needs none: the version it was written over never comes
/// back, so a second application is impossible, and the record shows our id as its version. A creation
/// could be applied again once its record is gone, a deletion and an event leave no trace at all.
pub(super) fn needs_mark(change: &ChangeSet) -> bool {
    let shows = change
        .items
        .iter()
        .any(|item| item.expected.is_some() && matches!(item.change, Change::Put { .. }));
    let changes = change.items.iter().any(|item| item.change != Change::Keep)
        || !change.claims.is_empty()
        || !change.events.is_empty();
    changes && !shows
}

/// The key of an operation's mark.
pub(super) fn mark_key(change: &ChangeSet) -> Key {
    Key::new(
        change.bucket,
        format!("{MARK_PREFIX}{:?}", change.operation),
    )
}

/// A place in an outbox: the millisecond an event was appended, and its number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) millis: u64,
    pub(super) number: u64,
}

impl Place {
    /// Decimal digits of `u64::MAX`: numbers are padded, so that cursors are ordered as texts.
    const DIGITS: usize = 20;

    /// The place of the next event: later than `self` even where the clock went back.
    pub(super) const fn next(self, now_millis: u64) -> Self {
        if now_millis > self.millis {
            Self {
                millis: now_millis,
                number: 0,
            }
        } else {
            Self {
                millis: self.millis,
                number: self.number.saturating_add(1),
            }
        }
    }

    pub(super) fn cursor(self) -> Cursor {
        Cursor(format!(
            "{:0width$}-{:0width$}",
            self.millis,
            self.number,
            width = Self::DIGITS
        ))
    }

    /// The place behind a cursor; the beginning for the empty one.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when no store made this cursor.
    pub(super) fn of_cursor(cursor: &Cursor) -> Result<Option<Self>, StoreError> {
        if cursor.0.is_empty() {
            return Ok(None);
        }
        let number = |digits: &str| -> Option<u64> {
            let plain = digits.len() == Self::DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        cursor
            .0
            .split_once('-')
            .and_then(|(millis, sequence)| {
                Some(Self {
                    millis: number(millis)?,
                    number: number(sequence)?,
                })
            })
            .map(Some)
            .ok_or(StoreError::Invalid("not a cursor of this store"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Bucket;
    use crate::store::{Durability, Item};

    fn bucket(number: u16) -> Bucket {
        Bucket::new(number).unwrap()
    }

    fn change(items: Vec<(Option<OperationId>, Change)>) -> ChangeSet {
        let items = items.into_iter().enumerate();
        ChangeSet {
            operation: OperationId([1; 16]),
            bucket: bucket(1),
            items: items
                .map(|(at, (expected, change))| Item {
                    key: Key::new(bucket(1), format!("s:{at}")),
                    expected,
                    change,
                })
                .collect(),
            claims: Vec::new(),
            index: Vec::new(),
            events: Vec::new(),
            durability: Durability::Local,
        }
    }

    fn put() -> Change {
        Change::Put {
            value: vec![1],
            live_for: None,
        }
    }

    #[test]
    fn only_an_overwritten_record_shows_by_itself_that_an_operation_was_done() {
        let old = Some(OperationId([9; 16]));
        assert!(!needs_mark(&change(vec![(old, put())])));
        assert!(!needs_mark(&change(vec![(None, put()), (old, put())])));
        assert!(!needs_mark(&change(vec![(old, Change::Keep)])));
        assert!(needs_mark(&change(vec![(None, put())])));
        assert!(needs_mark(&change(vec![(old, Change::Delete)])));
        let mut told = change(vec![(old, Change::Keep)]);
        told.events.push(vec![1]);
        assert!(needs_mark(&told));
    }

    #[test]
    fn names_of_the_store_itself_are_refused() {
        for name in ["", "o", "m:00", "a b", "é", &"n".repeat(NAME_BYTES_MAX + 1)] {
            let key = Key::new(bucket(1), name.to_owned());
            assert!(check_name(&key).is_err(), "{name}");
        }
        assert_eq!(check_name(&Key::new(bucket(1), "s:1".to_owned())), Ok(()));
    }

    #[test]
    fn lives_are_rounded_up_and_bounded() {
        assert_eq!(life_millis(Duration::ZERO), 1);
        assert_eq!(life_millis(Duration::from_micros(1001)), 2);
        assert_eq!(life_millis(Duration::MAX), LIFE_MILLIS_MAX);
    }

    #[test]
    fn cursors_are_ordered_as_texts() {
        let place = |millis, number| Place { millis, number };
        let places = [place(9, 10), place(9, 9), place(10, 0), place(u64::MAX, 1)];
        for a in places {
            for b in places {
                assert_eq!(a.cmp(&b), a.cursor().cmp(&b.cursor()));
            }
            assert_eq!(Place::of_cursor(&a.cursor()), Ok(Some(a)));
        }
        assert_eq!(place(9, 9).next(9), place(9, 10));
        assert_eq!(place(9, 9).next(5), place(9, 10));
        assert_eq!(place(9, 9).next(11), place(11, 0));
    }

    #[test]
    fn foreign_cursors_are_refused() {
        for text in [
            "1-1",
            "-",
            "x",
            &format!("+{}-{}", "0".repeat(19), "0".repeat(20)),
        ] {
            assert!(
                Place::of_cursor(&Cursor(text.to_owned())).is_err(),
                "{text}"
            );
        }
        assert_eq!(Place::of_cursor(&Cursor::default()), Ok(None));
    }
}
