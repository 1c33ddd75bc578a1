//! The state stores: one list of behaviours run over each of them, then what only one of them has.

mod behaviours;
mod disk;
mod failover;
mod faults;
mod indexes;
mod limits;
mod model;
mod readiness;
mod windows;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay::id::Bucket;
use assay::secret::random;
use assay::store::embedded::Embedded;
use assay::store::redis::{Redis, RedisOptions, Servers};
use assay::store::{
    Admission, Change, ChangeSet, Claim, Claimed, Committed, Cursor, Durability, IndexChange,
    IndexRange, Item, Key, Limit, Limited, OperationId, OutboxRange, Presence, Record, Store,
    StoreError,
};
use assay::time::Clock;

/// Waits are bounded by so many looks with such a pause between: two minutes, which only a test that
/// fails takes.
const LOOKS_MAX: u32 = 4800;
const PAUSE: Duration = Duration::from_millis(25);

const DONE: Committed = Committed::Done { replicas_acked: 0 };

fn bucket(number: u16) -> Bucket {
    Bucket::new(number).unwrap()
}

/// A key of bucket 1.
fn key(name: &str) -> Key {
    Key::new(bucket(1), name.to_owned())
}

/// An empty change set of bucket 1 under a fresh id.
fn change() -> ChangeSet {
    ChangeSet {
        operation: OperationId(random().unwrap()),
        bucket: bucket(1),
        items: Vec::new(),
        claims: Vec::new(),
        index: Vec::new(),
        events: Vec::new(),
        durability: Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    }
}

/// Words for change sets.
trait Build: Sized {
    fn item(self, name: &str, expected: Option<OperationId>, change: Change) -> Self;
    fn claim(self, claim: Claim) -> Self;
    fn event(self, event: &[u8]) -> Self;
    fn member(self, index: &str, member: &[u8], presence: Presence) -> Self;
    fn limit(self, limit: &Limit) -> Self;

    fn add(self, index: &str, member: &[u8]) -> Self {
        self.member(index, member, Presence::Present)
    }

    fn remove(self, index: &str, member: &[u8]) -> Self {
        self.member(index, member, Presence::Absent)
    }

    fn put(self, name: &str, expected: Option<OperationId>, value: &[u8]) -> Self {
        let value = value.to_vec();
        let live_for = None;
        self.item(name, expected, Change::Put { value, live_for })
    }

    fn delete(self, name: &str, expected: OperationId) -> Self {
        self.item(name, Some(expected), Change::Delete)
    }

    fn keep(self, name: &str, expected: Option<OperationId>) -> Self {
        self.item(name, expected, Change::Keep)
    }
}

impl Build for ChangeSet {
    fn item(mut self, name: &str, expected: Option<OperationId>, change: Change) -> Self {
        self.items.push(Item {
            key: Key::new(self.bucket, name.to_owned()),
            expected,
            change,
        });
        self
    }

    fn claim(mut self, claim: Claim) -> Self {
        self.claims.push(claim);
        self
    }

    fn event(mut self, event: &[u8]) -> Self {
        self.events.push(event.to_vec());
        self
    }

    fn member(mut self, index: &str, member: &[u8], presence: Presence) -> Self {
        self.index.push(IndexChange {
            key: Key::new(self.bucket, index.to_owned()),
            member: member.to_vec(),
            presence,
        });
        self
    }

    fn limit(mut self, limit: &Limit) -> Self {
        self.limits.push(limit.clone());
        self
    }
}

fn claim(name: &str, owner: &str) -> Claim {
    Claim {
        key: key(name),
        owner: owner.as_bytes().to_vec(),
        live_for: None,
    }
}

fn taken_by(owner: &str) -> Claimed {
    Claimed::Taken {
        by: owner.as_bytes().to_vec(),
    }
}

async fn load(store: &dyn Store, name: &str) -> Option<Record> {
    let ask = Admission {
        load: vec![key(name)],
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    admitted.records.into_iter().next().unwrap()
}

async fn value(store: &dyn Store, name: &str) -> Option<Vec<u8>> {
    load(store, name).await.map(|record| record.value)
}

async fn make(store: &dyn Store, claim: Claim) -> Claimed {
    let ask = Admission {
        claim: vec![claim],
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    admitted.claims.into_iter().next().unwrap()
}

/// Who has a claim of bucket 1.
async fn owner(store: &dyn Store, name: &str) -> Option<Vec<u8>> {
    let ask = Admission {
        owner_of: vec![key(name)],
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    admitted.owners.into_iter().next().unwrap()
}

/// A part of an index of bucket 1.
fn range(index: &str, after: &[u8], limit: usize) -> IndexRange {
    IndexRange {
        key: key(index),
        after: after.to_vec(),
        limit,
    }
}

/// Everything in an index of bucket 1.
async fn members(store: &dyn Store, index: &str) -> Vec<Vec<u8>> {
    let mut pages = store.page(vec![range(index, b"", 1000)]).await.unwrap();
    assert_eq!(pages.len(), 1);
    pages.remove(0)
}

/// A rate under a name of bucket 1.
fn limit(name: &str, every: Duration, burst: u32) -> Limit {
    let key = key(name);
    Limit { key, every, burst }
}

/// Counts against rates in one trip.
async fn count_all(store: &dyn Store, limit: Vec<Limit>) -> Vec<Limited> {
    let ask = Admission {
        limit,
        ..Admission::default()
    };
    store.admit(ask).await.unwrap().limits
}

async fn count(store: &dyn Store, limit: &Limit) -> Limited {
    let counted = count_all(store, vec![limit.clone()]).await;
    assert_eq!(counted.len(), 1);
    counted[0]
}

/// Puts a value where there is none, and gives its version.
async fn create(store: &dyn Store, name: &str, value: &[u8]) -> OperationId {
    let change = change().put(name, None, value);
    let version = change.operation;
    assert_eq!(store.commit(change).await, Ok(DONE));
    version
}

/// A part of the outbox of a bucket.
async fn outbox(
    store: &dyn Store,
    number: u16,
    after: &Cursor,
    limit: usize,
) -> Result<Vec<(Cursor, Vec<u8>)>, StoreError> {
    let range = OutboxRange {
        bucket: bucket(number),
        after: after.clone(),
        limit,
    };
    let mut parts = store.follow(vec![range]).await?;
    assert_eq!(parts.len(), 1);
    Ok(parts.remove(0))
}

/// Whether the store answers and takes writes.
async fn works(store: &dyn Store) -> bool {
    store.ping().await.is_ok()
}

/// Everything in the outbox of bucket 1.
async fn events(store: &dyn Store) -> Vec<Vec<u8>> {
    let events = outbox(store, 1, &Cursor::default(), 1000).await;
    events
        .unwrap()
        .into_iter()
        .map(|(_, event)| event)
        .collect()
}

/// Looks until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    for _ in 0..LOOKS_MAX {
        if is_so().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("never so: {what}");
}

fn in_memory() -> Arc<dyn Store> {
    Arc::new(Embedded::in_memory(Clock::system()).unwrap())
}

fn on_disk(dir: &Path) -> Embedded {
    Embedded::open(dir, Clock::system()).unwrap()
}

fn redis_options(url: String) -> RedisOptions {
    RedisOptions {
        connect_timeout: Duration::from_secs(10),
        response_timeout: Duration::from_secs(10),
        ..RedisOptions::new(Servers::One(url))
    }
}

fn redis(url: String) -> Arc<dyn Store> {
    Arc::new(Redis::connect(&redis_options(url)).unwrap())
}
