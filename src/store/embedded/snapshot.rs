//! What is read: out of the last committed state, or within a write transaction.

use std::ops::Bound;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, StorageError, TableError};

use super::super::rules::{Place, decode_record};
use super::super::{Cursor, IndexRange, Key, Record, StoreError};
use super::tables::{ENTRIES, INDEX, OUTBOX};
use crate::id::Bucket;
use crate::time::Timestamp;

/// The last committed state, for reading.
pub(super) struct Snapshot {
    entries: ReadOnlyTable<&'static str, (i64, &'static [u8])>,
    outbox: ReadOnlyTable<(u16, u64, u64), &'static [u8]>,
    index: ReadOnlyTable<(&'static str, &'static [u8]), ()>,
    now: Timestamp,
}

impl Snapshot {
    pub(super) fn of(transaction: &ReadTransaction, now: Timestamp) -> Result<Self, TableError> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            outbox: transaction.open_table(OUTBOX)?,
            index: transaction.open_table(INDEX)?,
            now,
        })
    }

    pub(super) fn load(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        load(&self.entries, keys, self.now).map_err(super::unavailable)?
    }

    pub(super) fn owners(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        owners(&self.entries, keys, self.now)
    }

    pub(super) fn members(&self, range: &IndexRange) -> Result<Vec<Vec<u8>>, StorageError> {
        let index = range.key.to_string();
        let first = (index.as_str(), range.after.as_slice());
        let mut members = Vec::new();
        let behind = (Bound::Excluded(first), Bound::Unbounded);
        for entry in self.index.range(behind)?.take(range.limit) {
            let (key, _) = entry?;
            let (of, member) = key.value();
            if of != index {
                break;
            }
            members.push(member.to_vec());
        }
        Ok(members)
    }

    pub(super) fn events(
        &self,
        bucket: Bucket,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<(Cursor, Vec<u8>)>, StorageError> {
        let first = after.map_or((0, 0), |place| {
            (place.millis, place.number.saturating_add(1))
        });
        let range = (bucket.number(), first.0, first.1)..=(bucket.number(), u64::MAX, u64::MAX);
        let mut events = Vec::new();
        for entry in self.outbox.range(range)?.take(limit) {
            let (key, event) = entry?;
            let (_, millis, number) = key.value();
            events.push((Place { millis, number }.cursor(), event.value().to_vec()));
        }
        Ok(events)
    }
}

/// The bytes under a key; what is expired is not there.
pub(super) fn live<T>(
    entries: &T,
    key: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, StorageError>
where
    T: ReadableTable<&'static str, (i64, &'static [u8])>,
{
    let Some(entry) = entries.get(key)? else {
        return Ok(None);
    };
    let (expires, bytes) = entry.value();
    Ok((now.as_millis() < expires).then(|| bytes.to_vec()))
}

/// The records under keys.
pub(super) fn load<T>(
    entries: &T,
    keys: &[Key],
    now: Timestamp,
) -> Result<Result<Vec<Option<Record>>, StoreError>, StorageError>
where
    T: ReadableTable<&'static str, (i64, &'static [u8])>,
{
    let mut records = Vec::with_capacity(keys.len());
    for key in keys {
        let stored = live(entries, &key.to_string(), now)?;
        match stored.as_deref().map(decode_record).transpose() {
            Ok(record) => records.push(record),
            Err(damaged) => return Ok(Err(damaged)),
        }
    }
    Ok(Ok(records))
}

/// Who has each of these claims.
pub(super) fn owners<T>(
    entries: &T,
    keys: &[Key],
    now: Timestamp,
) -> Result<Vec<Option<Vec<u8>>>, StorageError>
where
    T: ReadableTable<&'static str, (i64, &'static [u8])>,
{
    let owner = |key: &Key| live(entries, &key.to_string(), now);
    keys.iter().map(owner).collect()
}
