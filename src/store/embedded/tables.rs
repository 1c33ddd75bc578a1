//! The tables, and what is written to them within one transaction.

use std::time::Duration;

use redb::{
    Database, ReadableTable as _, StorageError, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::super::rate::{Counted, Rate};
use super::super::rules::{
    EVENT_KEPT_FOR, MARK_KEPT_FOR, Place, encode_record, life_millis, mark_key, needs_mark,
    stored_version,
};
use super::super::window::{Outcome, WINDOW_BYTES};
use super::super::{
    Admission, Admitted, Change, ChangeSet, Claim, Claimed, Committed, CounterUse, IndexChange,
    Limit, Limited, Presence, StoreError, Windowed,
};
use super::snapshot::{live, load, owners};
use super::{OpenError, open_error};
use crate::id::Bucket;
use crate::time::Timestamp;

/// Records, claims, limits, counters and marks by key: when they expire (milliseconds) and their bytes.
pub(super) const ENTRIES: TableDefinition<'static, &'static str, (i64, &'static [u8])> =
    TableDefinition::new("entries");

/// Which entries expire when.
const EXPIRY: TableDefinition<'static, (i64, &'static str), ()> = TableDefinition::new("expiry");

/// Events by bucket, millisecond and number.
pub(super) const OUTBOX: TableDefinition<'static, (u16, u64, u64), &'static [u8]> =
    TableDefinition::new("outbox");

/// Members of indexes, by index and member.
pub(super) const INDEX: TableDefinition<'static, (&'static str, &'static [u8]), ()> =
    TableDefinition::new("index");

/// Facts about the file itself.
const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");

const LAYOUT_NAME: &str = "layout";

/// Raised with every change of a table's form.
const LAYOUT: u64 = 1;

/// When an entry expires that does not.
const NEVER: i64 = i64::MAX;

/// Old events taken out of a bucket's outbox with every event appended to it.
const TRIMMED_PER_EVENT: usize = 4;

/// Makes the tables of a new file, and checks the layout of an old one.
pub(super) fn prepare(database: &Database) -> Result<(), OpenError> {
    let damaged =
        |error: redb::Error| open_error(StorageError::Corrupted(error.to_string()).into());
    let transaction = database.begin_write().map_err(|e| damaged(e.into()))?;
    {
        let mut meta = transaction
            .open_table(META)
            .map_err(|e| damaged(e.into()))?;
        let found = meta
            .get(LAYOUT_NAME)
            .map_err(|e| damaged(e.into()))?
            .map(|layout| layout.value());
        if let Some(found) = found
            && found != LAYOUT
        {
            return Err(OpenError::Layout {
                found,
                known: LAYOUT,
            });
        }
        meta.insert(LAYOUT_NAME, LAYOUT)
            .map_err(|e| damaged(e.into()))?;
    }
    drop(Tables::of(&transaction, Timestamp::EPOCH).map_err(|e| damaged(e.into()))?);
    transaction.commit().map_err(|e| damaged(e.into()))
}

/// The tables within a write transaction. A [`StorageError`] ends the whole transaction, whoever else
/// is in it; everything else is an answer to one request.
pub(super) struct Tables<'t> {
    entries: Table<'t, &'static str, (i64, &'static [u8])>,
    expiry: Table<'t, (i64, &'static str), ()>,
    outbox: Table<'t, (u16, u64, u64), &'static [u8]>,
    index: Table<'t, (&'static str, &'static [u8]), ()>,
    meta: Table<'t, &'static str, u64>,
    now: Timestamp,
    changed: bool,
}

impl<'t> Tables<'t> {
    pub(super) fn of(
        transaction: &'t WriteTransaction,
        now: Timestamp,
    ) -> Result<Self, TableError> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            expiry: transaction.open_table(EXPIRY)?,
            outbox: transaction.open_table(OUTBOX)?,
            index: transaction.open_table(INDEX)?,
            meta: transaction.open_table(META)?,
            now,
            changed: false,
        })
    }

    /// Whether anything was written.
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }

    pub(super) fn admit(
        &mut self,
        ask: &Admission,
    ) -> Result<Result<Admitted, StoreError>, StorageError> {
        let records = match load(&self.entries, &ask.load, self.now)? {
            Ok(records) => records,
            Err(damaged) => return Ok(Err(damaged)),
        };
        let mut claims = Vec::with_capacity(ask.claim.len());
        for claim in &ask.claim {
            let ended = self.claimed(claim)?;
            self.keep_claim(claim, &ended)?;
            claims.push(ended.unwrap_or(Claimed::Granted));
        }
        let owners = owners(&self.entries, &ask.owner_of, self.now)?;
        let mut limits = Vec::with_capacity(ask.limit.len());
        for limit in &ask.limit {
            limits.push(self.count(limit)?);
        }
        let mut windows = Vec::with_capacity(ask.window.len());
        for used in &ask.window {
            let outcome = self.used(used)?;
            self.keep_use(used, outcome)?;
            windows.push(outcome.said);
        }
        Ok(Ok(Admitted {
            records,
            claims,
            owners,
            limits,
            windows,
        }))
    }

    /// Checks everything, then writes.
    pub(super) fn commit(
        &mut self,
        change: &ChangeSet,
    ) -> Result<Result<Committed, StoreError>, StorageError> {
        const DONE: Committed = Committed::Done { replicas_acked: 0 };
        let mark = needs_mark(change).then(|| mark_key(change).to_string());
        if let Some(mark) = &mark
            && self.get(mark)?.is_some()
        {
            return Ok(Ok(DONE));
        }
        let mut conflict = false;
        for item in &change.items {
            let stored = self.get(&item.key.to_string())?;
            let version = stored.as_deref().and_then(stored_version);
            let writes = matches!(item.change, Change::Put { .. });
            if writes && version == Some(change.operation) {
                return Ok(Ok(DONE));
            }
            // What is stored under the name of a record but is none never has the right version.
            conflict |= version != item.expected || version.is_none() && stored.is_some();
        }
        if conflict {
            return Ok(Ok(Committed::Conflict));
        }
        let mut ended = Vec::with_capacity(change.claims.len());
        for (index, claim) in change.claims.iter().enumerate() {
            let claimed = self.claimed(claim)?;
            if let Some(Claimed::Taken { .. }) = claimed {
                return Ok(Ok(Committed::ClaimTaken { index }));
            }
            ended.push(claimed);
        }
        let mut outcomes = Vec::with_capacity(change.windows.len());
        for (index, used) in change.windows.iter().enumerate() {
            let outcome = self.used(used)?;
            match outcome.said {
                Windowed::Admitted => outcomes.push(outcome),
                said @ (Windowed::Replayed | Windowed::TooOld) => {
                    return Ok(Ok(Committed::CounterRefused { index, said }));
                }
            }
        }
        let mut counts = Vec::with_capacity(change.limits.len());
        for (index, limit) in change.limits.iter().enumerate() {
            let counted = self.counted(limit)?;
            if let Limited::Refused { retry_after } = counted.said {
                self.keep_count(limit, counted)?;
                return Ok(Ok(Committed::Limited { index, retry_after }));
            }
            counts.push(counted);
        }
        for (limit, counted) in change.limits.iter().zip(counts) {
            self.keep_count(limit, counted)?;
        }
        self.write(change, &ended)?;
        for (used, outcome) in change.windows.iter().zip(outcomes) {
            self.keep_use(used, outcome)?;
        }
        if let Some(mark) = mark {
            self.put(&mark, b"", Some(MARK_KEPT_FOR))?;
        }
        Ok(Ok(DONE))
    }

    fn write(&mut self, change: &ChangeSet, ended: &[Option<Claimed>]) -> Result<(), StorageError> {
        for item in &change.items {
            let key = item.key.to_string();
            match &item.change {
                Change::Keep => {}
                Change::Put { value, live_for } => {
                    self.put(&key, &encode_record(change.operation, value), *live_for)?;
                }
                Change::Delete => self.remove(&key)?,
            }
        }
        for (claim, ended) in change.claims.iter().zip(ended) {
            self.keep_claim(claim, ended)?;
        }
        for member in &change.index {
            self.place(member)?;
        }
        for event in &change.events {
            self.append(change.bucket, event)?;
        }
        Ok(())
    }

    /// Shows that a write gets through to the disk.
    pub(super) fn touch(&mut self) -> Result<(), StorageError> {
        self.changed = true;
        self.meta.insert(LAYOUT_NAME, LAYOUT)?;
        Ok(())
    }

    /// Takes out up to `limit` expired entries.
    pub(super) fn sweep(&mut self, limit: usize) -> Result<(), StorageError> {
        let mut expired = Vec::new();
        let until = (self.now.as_millis().saturating_add(1), "");
        for entry in self.expiry.range(..until)?.take(limit) {
            expired.push(entry?.0.value().1.to_owned());
        }
        for key in expired {
            self.remove(&key)?;
        }
        Ok(())
    }

    /// How a claim stands; `None`: free.
    fn claimed(&self, claim: &Claim) -> Result<Option<Claimed>, StorageError> {
        let owner = self.get(&claim.key.to_string())?;
        Ok(owner.map(|by| {
            if by == claim.owner {
                Claimed::Granted
            } else {
                Claimed::Taken { by }
            }
        }))
    }

    fn keep_claim(&mut self, claim: &Claim, ended: &Option<Claimed>) -> Result<(), StorageError> {
        if ended.is_none() {
            self.put(&claim.key.to_string(), &claim.owner, claim.live_for)?;
        }
        Ok(())
    }

    /// Counts one more against a rate.
    fn count(&mut self, limit: &Limit) -> Result<Limited, StorageError> {
        let counted = self.counted(limit)?;
        self.keep_count(limit, counted)?;
        Ok(counted.said)
    }

    /// What comes of counting one more.
    fn counted(&self, limit: &Limit) -> Result<Counted, StorageError> {
        let now = micros(self.now);
        let idle_at = self
            .get(&limit.key.to_string())?
            .map(<[u8; 8]>::try_from)
            .transpose();
        let damaged = |_| StorageError::Corrupted("a stored limit is damaged".to_owned());
        let idle_at = idle_at.map_err(damaged)?.map(u64::from_be_bytes);
        Ok(Rate::of(limit).count(idle_at, now))
    }

    fn keep_count(&mut self, limit: &Limit, counted: Counted) -> Result<(), StorageError> {
        if let Some(ahead) = counted.ahead {
            let idle_at = micros(self.now).saturating_add(ahead).to_be_bytes();
            let live_for = Some(Duration::from_micros(ahead));
            self.put(&limit.key.to_string(), &idle_at, live_for)?;
        }
        Ok(())
    }

    /// How a use of a counter stands.
    fn used(&self, used: &CounterUse) -> Result<Outcome, StorageError> {
        let kept = self.get(&used.key.to_string())?;
        let kept = kept.map(<[u8; WINDOW_BYTES]>::try_from).transpose();
        let damaged = |_| StorageError::Corrupted("a stored counter is damaged".to_owned());
        Ok(used.of(kept.map_err(damaged)?.as_ref()))
    }

    /// A counter's life only grows: what was used before has to stay known for as long as it was said.
    fn keep_use(&mut self, used: &CounterUse, outcome: Outcome) -> Result<(), StorageError> {
        let Some(kept) = outcome.keep else {
            return Ok(());
        };
        let key = used.key.to_string();
        let before = self.entries.get(key.as_str())?;
        let before = before.map(|entry| entry.value().0);
        let asked = self.expires(used.live_for);
        self.put_until(
            &key,
            &kept,
            before.map_or(asked, |before| before.max(asked)),
        )
    }

    fn place(&mut self, change: &IndexChange) -> Result<(), StorageError> {
        self.changed = true;
        let key = change.key.to_string();
        let member = (key.as_str(), change.member.as_slice());
        match change.presence {
            Presence::Present => self.index.insert(member, ())?,
            Presence::Absent => self.index.remove(member)?,
        };
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        live(&self.entries, key, self.now)
    }

    fn put(
        &mut self,
        key: &str,
        bytes: &[u8],
        live_for: Option<Duration>,
    ) -> Result<(), StorageError> {
        let expires = self.expires(live_for);
        self.put_until(key, bytes, expires)
    }

    fn expires(&self, live_for: Option<Duration>) -> i64 {
        live_for.map_or(NEVER, |life| expiry(self.now, life_millis(life)))
    }

    fn put_until(&mut self, key: &str, bytes: &[u8], expires: i64) -> Result<(), StorageError> {
        self.changed = true;
        let old = self.entries.insert(key, (expires, bytes))?;
        let old = old.map(|entry| entry.value().0);
        if let Some(old) = old
            && old != NEVER
        {
            self.expiry.remove((old, key))?;
        }
        if expires != NEVER {
            self.expiry.insert((expires, key), ())?;
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), StorageError> {
        self.changed = true;
        let old = self.entries.remove(key)?.map(|entry| entry.value().0);
        if let Some(old) = old {
            self.expiry.remove((old, key))?;
        }
        Ok(())
    }

    /// Appends an event, and takes out some of the oldest of the bucket that are over.
    fn append(&mut self, bucket: Bucket, event: &[u8]) -> Result<(), StorageError> {
        self.changed = true;
        let bucket = bucket.number();
        let whole = (bucket, 0, 0)..=(bucket, u64::MAX, u64::MAX);
        let last = self.outbox.range(whole)?.next_back().transpose()?;
        let last = last.map(|(key, _)| key.value());
        let now = u64::try_from(self.now.as_millis()).unwrap_or(0);
        let place = last
            .map_or_else(Place::default, |(_, millis, number)| Place {
                millis,
                number,
            })
            .next(now);
        self.outbox
            .insert((bucket, place.millis, place.number), event)?;
        let kept = u64::try_from(self.now.before(EVENT_KEPT_FOR).as_millis()).unwrap_or(0);
        let mut over = Vec::new();
        let old = (bucket, 0, 0)..(bucket, kept, 0);
        for entry in self.outbox.range(old)?.take(TRIMMED_PER_EVENT) {
            over.push(entry?.0.value());
        }
        for key in over {
            self.outbox.remove(key)?;
        }
        Ok(())
    }
}

fn micros(at: Timestamp) -> u64 {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    millis.saturating_mul(1000)
}

fn expiry(now: Timestamp, life_millis: u64) -> i64 {
    let life = i64::try_from(life_millis).unwrap_or(NEVER);
    now.as_millis().saturating_add(life).min(NEVER - 1)
}
