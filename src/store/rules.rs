//! What both stores share: limits of a request, lives, marks, and the form of a cursor.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rate::{LIMIT_SPAN_MAX, Rate};
use super::{
    Admission, Change, ChangeSet, Claim, CounterUse, Cursor, IndexChange, IndexRange, Key, Limit,
    OperationId, OutboxRange, Record, StoreError,
};

/// Records one admission may load: one of every bucket, four times over.
pub const LOADS_MAX: usize = 4096;

/// Claims one admission or change set may make.
pub const CLAIMS_MAX: usize = 64;

/// Claims one admission may look at.
pub const OWNERS_MAX: usize = 256;

/// Rates one admission or change set may count against.
pub const LIMITS_MAX: usize = 64;

/// Counters one admission or change set may use.
pub const WINDOWS_MAX: usize = 64;

/// Records one change set may touch: a subject with all its devices and sessions, at their caps.
pub const ITEMS_MAX: usize = 256;

/// Members of indexes one change set may add and remove.
pub const INDEX_CHANGES_MAX: usize = 256;

/// Events one change set may append.
pub const EVENTS_MAX: usize = 256;

/// Longest value or event. Far above any record, far below what would stall a server.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Longest owner of a claim.
pub const OWNER_BYTES_MAX: usize = 1024;

/// Longest member of an index: servers keep small sets of members up to this length in their
/// compact form (`zset-max-listpack-value`).
pub const MEMBER_BYTES_MAX: usize = 64;

/// Parts of indexes one call of `page` reads: one of every bucket.
pub const RANGES_MAX: usize = 1024;

/// Members of one index one call of `page` asks for at most.
pub const RANGE_MEMBERS_MAX: usize = 1000;

/// Members one call of `page` asks for at most, over all its ranges: a hundred of every bucket, and
/// 8 MiB at their longest.
pub const PAGE_MEMBERS_MAX: usize = 128 * 1024;

/// Longest name within a bucket.
pub const NAME_BYTES_MAX: usize = 256;

/// Events of one outbox one call of `follow` gives at most.
pub const FOLLOW_MAX: usize = 1000;

/// Events one call of `follow` asks for at most, over all its ranges: 64 of every bucket.
pub const FOLLOWED_MAX: usize = 64 * 1024;

/// How long an event stays readable. A reader that was away for longer starts from a snapshot.
pub const EVENT_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long an operation whose writes do not show that it was done is remembered by a mark. Longer
/// than any client re-sends or any failover takes.
pub(super) const MARK_KEPT_FOR: Duration = Duration::from_secs(120);

/// Name of a bucket's outbox.
pub(super) const OUTBOX_NAME: &str = "o";

/// Names that begin so are marks of operations.
pub(super) const MARK_PREFIX: &str = "m:";

/// Names that begin so are indexes, and no other names are.
pub(super) const INDEX_PREFIX: &str = "i:";

/// Names that begin so are limits, and no other names are.
pub(super) const LIMIT_PREFIX: &str = "l:";

/// Names that begin so are counters, and no other names are.
pub(super) const WINDOW_PREFIX: &str = "w:";

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
    at_most(ask.owner_of.len(), OWNERS_MAX, "too many claims to look at")?;
    for key in ask.load.iter().chain(&ask.owner_of) {
        check_name(key, Kind::Value)?;
    }
    check_claims(&ask.claim)?;
    check_limits(&ask.limit)?;
    check_windows(&ask.window)
}

/// Checks what is asked of indexes before anything is read. A range is never cut short silently:
/// fewer members than asked for are always the end of the index.
///
/// # Errors
/// [`StoreError::Invalid`]
pub(super) fn check_ranges(ranges: &[IndexRange]) -> Result<(), StoreError> {
    const TOO_MANY: &str = "too many members to read";
    at_most(ranges.len(), RANGES_MAX, "too many ranges")?;
    let mut members = 0;
    for range in ranges {
        check_name(&range.key, Kind::Index)?;
        at_most(range.after.len(), MEMBER_BYTES_MAX, "a member is too long")?;
        at_most(range.limit, RANGE_MEMBERS_MAX, TOO_MANY)?;
        members += range.limit;
    }
    at_most(members, PAGE_MEMBERS_MAX, TOO_MANY)
}

/// Checks what is asked of outboxes before anything is read, and finds the places to begin behind.
///
/// # Errors
/// [`StoreError::Invalid`]
pub(super) fn check_outboxes(ranges: &[OutboxRange]) -> Result<Vec<Option<Place>>, StoreError> {
    const TOO_MANY: &str = "too many events to read";
    at_most(ranges.len(), RANGES_MAX, "too many ranges")?;
    let mut events = 0;
    for range in ranges {
        at_most(range.limit, FOLLOW_MAX, TOO_MANY)?;
        events += range.limit;
    }
    at_most(events, FOLLOWED_MAX, TOO_MANY)?;
    let places = ranges.iter().map(|range| Place::of_cursor(&range.after));
    places.collect()
}

/// Checks a change set before anything is sent.
///
/// # Errors
/// [`StoreError::Invalid`]
pub(super) fn check_change_set(change: &ChangeSet) -> Result<(), StoreError> {
    at_most(change.items.len(), ITEMS_MAX, "too many records to change")?;
    at_most(change.events.len(), EVENTS_MAX, "too many events")?;
    check_claims(&change.claims)?;
    check_index(change)?;
    check_limits(&change.limits)?;
    check_windows(&change.windows)?;
    let items = change.items.iter().map(|item| &item.key);
    let claims = change.claims.iter().map(|claim| &claim.key);
    let values = items.chain(claims).map(|key| (key, Kind::Value));
    let limits = change.limits.iter().map(|limit| (&limit.key, Kind::Limit));
    let windows = change.windows.iter().map(|used| (&used.key, Kind::Window));
    let mut seen = BTreeSet::new();
    for (key, kind) in values.chain(limits).chain(windows) {
        check_name(key, kind)?;
        check_bucket(key, change)?;
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
        check_name(&claim.key, Kind::Value)?;
        at_most(claim.owner.len(), OWNER_BYTES_MAX, "an owner is too long")?;
    }
    Ok(())
}

fn check_windows(windows: &[CounterUse]) -> Result<(), StoreError> {
    at_most(windows.len(), WINDOWS_MAX, "too many counters")?;
    let mut names = windows.iter().map(|used| &used.key);
    names.try_for_each(|key| check_name(key, Kind::Window))
}

fn check_index(change: &ChangeSet) -> Result<(), StoreError> {
    let count = change.index.len();
    at_most(count, INDEX_CHANGES_MAX, "too many members to change")?;
    let mut seen = BTreeSet::new();
    for IndexChange { key, member, .. } in &change.index {
        check_name(key, Kind::Index)?;
        check_bucket(key, change)?;
        at_most(member.len(), MEMBER_BYTES_MAX, "a member is too long")?;
        // No range could begin behind it.
        if member.is_empty() {
            return Err(StoreError::Invalid("a member is empty"));
        }
        if !seen.insert((key, member)) {
            return Err(StoreError::Invalid("a member is named twice"));
        }
    }
    Ok(())
}

fn check_limits(limits: &[Limit]) -> Result<(), StoreError> {
    at_most(limits.len(), LIMITS_MAX, "too many limits")?;
    limits.iter().try_for_each(check_limit)
}

fn check_limit(limit: &Limit) -> Result<(), StoreError> {
    check_name(&limit.key, Kind::Limit)?;
    if limit.burst == 0 {
        return Err(StoreError::Invalid("a limit admits nothing"));
    }
    if limit.every.is_zero() {
        return Err(StoreError::Invalid("a limit has no interval"));
    }
    if u128::from(Rate::of(limit).span) > LIMIT_SPAN_MAX.as_micros() {
        return Err(StoreError::Invalid("a limit is too slow"));
    }
    Ok(())
}

fn check_bucket(key: &Key, change: &ChangeSet) -> Result<(), StoreError> {
    if key.bucket() == change.bucket {
        Ok(())
    } else {
        Err(StoreError::Invalid("a key lies outside of the bucket"))
    }
}

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A record or claim.
    Value,
    /// An index.
    Index,
    /// A limit.
    Limit,
    /// A counter.
    Window,
}

fn check_name(key: &Key, kind: Kind) -> Result<(), StoreError> {
    let name = key.name();
    at_most(name.len(), NAME_BYTES_MAX, "a name is too long")?;
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(StoreError::Invalid("a name is not printable ASCII"));
    }
    if name == OUTBOX_NAME || name.starts_with(MARK_PREFIX) {
        return Err(StoreError::Invalid("a name is the store's own"));
    }
    let meant = if name.starts_with(INDEX_PREFIX) {
        Kind::Index
    } else if name.starts_with(LIMIT_PREFIX) {
        Kind::Limit
    } else if name.starts_with(WINDOW_PREFIX) {
        Kind::Window
    } else {
        Kind::Value
    };
    if meant == kind {
        Ok(())
    } else {
        Err(StoreError::Invalid("a name is for something else"))
    }
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
/// could be applied again once its record is gone, a member once it was removed; a deletion, an event and
/// a count leave no trace at all.
pub(super) fn needs_mark(change: &ChangeSet) -> bool {
    let shows = change
        .items
        .iter()
        .any(|item| item.expected.is_some() && matches!(item.change, Change::Put { .. }));
    let changes = change.items.iter().any(|item| item.change != Change::Keep)
        || !change.claims.is_empty()
        || !change.index.is_empty()
        || !change.limits.is_empty()
        || !change.windows.is_empty()
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
    use crate::store::{Durability, Item, Presence};

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
            limits: Vec::new(),
            windows: Vec::new(),
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
        let mut counted = change(vec![(old, Change::Keep)]);
        counted.limits.push(Limit {
            key: Key::new(bucket(1), "l:1".to_owned()),
            every: Duration::from_secs(1),
            burst: 1,
        });
        assert!(needs_mark(&counted));
        let mut indexed = change(vec![(old, Change::Keep)]);
        indexed.index.push(IndexChange {
            key: Key::new(bucket(1), "i:1".to_owned()),
            member: vec![1],
            presence: Presence::Present,
        });
        assert!(needs_mark(&indexed));
    }

    #[test]
    fn a_name_is_for_one_kind_of_thing() {
        let name = |name: &str| Key::new(bucket(1), name.to_owned());
        for (key, is) in [
            (name("s:1"), Kind::Value),
            (name("i"), Kind::Value),
            (name("i:"), Kind::Index),
            (name("i:n:1"), Kind::Index),
            (name("l:k:1"), Kind::Limit),
            (name("w:1"), Kind::Window),
        ] {
            for kind in [Kind::Value, Kind::Index, Kind::Limit, Kind::Window] {
                assert_eq!(check_name(&key, kind).is_ok(), kind == is, "{key} {kind:?}");
            }
        }
    }

    #[test]
    fn names_of_the_store_itself_are_refused() {
        for name in ["", "o", "m:00", "a b", "é", &"n".repeat(NAME_BYTES_MAX + 1)] {
            let key = Key::new(bucket(1), name.to_owned());
            assert!(check_name(&key, Kind::Value).is_err(), "{name}");
        }
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
