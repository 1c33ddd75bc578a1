//! A store that counts its trips and can be told to fail.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use assay::store::{
    Admission, Admitted, Change, ChangeSet, Committed, Cursor, Durability, IndexRange, Item, Key,
    Lineage, OperationId, OutboxRange, Record, Store, StoreError,
};
use async_trait::async_trait;
use tokio::sync::Notify;

/// Calls so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trips {
    pub(super) admits: usize,
    pub(super) claims: usize,
    pub(super) limits: usize,
    pub(super) commits: usize,
    pub(super) reads: usize,
}

impl Trips {
    /// Trips in all, and how many of them were commits.
    pub(super) fn since(self, earlier: Self) -> (usize, usize) {
        let commits = self.commits - earlier.commits;
        let reads = self.admits - earlier.admits + self.reads - earlier.reads;
        (reads + commits, commits)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    NeverSent,
    AnswerLost,
}

/// Where a commit is held until [`Watched::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nowhere.
    Not = 0,
    /// Before it is sent.
    Before = 1,
    /// When it is done; its answer is lost then.
    After = 2,
    /// When it is done; it is answered then.
    Late = 3,
}

#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn Store>,
    admits: AtomicUsize,
    claims: AtomicUsize,
    /// Limits that were counted, with loads and with commits.
    limits: AtomicUsize,
    commits: AtomicUsize,
    /// Of indexes and outboxes.
    reads: AtomicUsize,
    /// Of a hundred calls so many fail, half of them after they were done.
    percent_lost: AtomicU32,
    dice: AtomicU64,
    /// What becomes of the next commit, a [`Hold`].
    hold: AtomicU32,
    /// Whether the next load is held, before it is sent.
    hold_load: AtomicBool,
    /// So many commits find that another was quicker.
    conflicts: AtomicU32,
    /// Whether the next commit is remembered, and what there was before the one that was.
    remember: AtomicBool,
    remembered: Mutex<Option<(ChangeSet, Vec<Option<Record>>)>>,
    /// Events that were lost.
    lost: Mutex<HashSet<Vec<u8>>>,
    /// How often another server took over, and whether one does behind the next reading of outboxes.
    lineage: AtomicU32,
    takes_over: AtomicBool,
    /// So many of the next loads and commits are done, and their answers lost.
    lost_loads: AtomicU32,
    lost_commits: AtomicU32,
    /// Told when it is held.
    pub(super) holding: Notify,
    /// Lets it go on.
    pub(super) release: Notify,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            admits: AtomicUsize::new(0),
            claims: AtomicUsize::new(0),
            limits: AtomicUsize::new(0),
            commits: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            percent_lost: AtomicU32::new(0),
            dice: AtomicU64::new(0),
            hold: AtomicU32::new(Hold::Not as u32),
            hold_load: AtomicBool::new(false),
            conflicts: AtomicU32::new(0),
            remember: AtomicBool::new(false),
            remembered: Mutex::default(),
            lost: Mutex::default(),
            lineage: AtomicU32::new(0),
            takes_over: AtomicBool::new(false),
            lost_loads: AtomicU32::new(0),
            lost_commits: AtomicU32::new(0),
            holding: Notify::new(),
            release: Notify::new(),
        }
    }

    pub(super) fn trips(&self) -> Trips {
        Trips {
            admits: self.admits.load(Ordering::SeqCst),
            claims: self.claims.load(Ordering::SeqCst),
            limits: self.limits.load(Ordering::SeqCst),
            commits: self.commits.load(Ordering::SeqCst),
            reads: self.reads.load(Ordering::SeqCst),
        }
    }

    pub(super) fn lose(&self, percent: u32) {
        self.percent_lost.store(percent, Ordering::SeqCst);
    }

    /// Loses the answers of so many of the next loads and commits.
    pub(super) fn lose_next(&self, loads: u32, commits: u32) {
        self.lost_loads.store(loads, Ordering::SeqCst);
        self.lost_commits.store(commits, Ordering::SeqCst);
    }

    /// How many of them are still to be lost.
    pub(super) fn to_lose(&self) -> (u32, u32) {
        let left = |count: &AtomicU32| count.load(Ordering::SeqCst);
        (left(&self.lost_loads), left(&self.lost_commits))
    }

    /// Has others be quicker than the next so many commits.
    pub(super) fn overtake(&self, commits: u32) {
        self.conflicts.store(commits, Ordering::SeqCst);
    }

    /// Remembers the next commit, so that it can be lost.
    pub(super) fn remember(&self) {
        self.remember.store(true, Ordering::SeqCst);
    }

    /// Loses the commit that was remembered, with its events.
    pub(super) async fn lose_it(&self) {
        let (change, before) = self.remembered.lock().unwrap().take().unwrap();
        let written = change.items.into_iter().zip(before);
        let items = written.filter(|(item, _)| item.change != Change::Keep);
        let items = items.map(|(item, before)| Item {
            key: item.key,
            expected: (item.change != Change::Delete).then_some(change.operation),
            change: before.map_or(Change::Delete, |record| Change::Put {
                value: record.value,
                live_for: None,
            }),
        });
        let undo = ChangeSet {
            operation: OperationId(assay::secret::random().unwrap()),
            bucket: change.bucket,
            items: items.collect(),
            claims: Vec::new(),
            index: Vec::new(),
            events: Vec::new(),
            durability: Durability::Local,
            limits: Vec::new(),
            windows: Vec::new(),
        };
        let undone = self.inner.commit(undo).await.unwrap();
        assert!(matches!(undone, Committed::Done { .. }));
        self.lost.lock().unwrap().extend(change.events);
    }

    /// Loses a record.
    pub(super) async fn lose_record(&self, key: &Key) {
        let ask = Admission {
            load: vec![key.clone()],
            ..Admission::default()
        };
        let record = self.inner.admit(ask).await.unwrap().records.remove(0);
        let undo = ChangeSet {
            operation: OperationId(assay::secret::random().unwrap()),
            bucket: key.bucket(),
            items: vec![Item {
                key: key.clone(),
                expected: Some(record.unwrap().version),
                change: Change::Delete,
            }],
            claims: Vec::new(),
            index: Vec::new(),
            events: Vec::new(),
            durability: Durability::Local,
            limits: Vec::new(),
            windows: Vec::new(),
        };
        let undone = self.inner.commit(undo).await.unwrap();
        assert!(matches!(undone, Committed::Done { .. }));
    }

    /// Loses events.
    pub(super) fn lose_events(&self, events: impl Iterator<Item = Vec<u8>>) {
        self.lost.lock().unwrap().extend(events);
    }

    /// Another server takes over.
    pub(super) fn take_over(&self) {
        self.lineage.fetch_add(1, Ordering::SeqCst);
    }

    /// Another server takes over when the outboxes were read once more.
    pub(super) fn take_over_behind_the_next_reading(&self) {
        self.takes_over.store(true, Ordering::SeqCst);
    }

    async fn remember_this(&self, change: &ChangeSet) {
        if self.remember.swap(false, Ordering::SeqCst) {
            let keys: Vec<Key> = change.items.iter().map(|item| item.key.clone()).collect();
            let ask = Admission {
                load: keys,
                ..Admission::default()
            };
            let before = self.inner.admit(ask).await.unwrap().records;
            *self.remembered.lock().unwrap() = Some((change.clone(), before));
        }
    }

    /// Holds the next commit.
    pub(super) fn hold_next_commit(&self, hold: Hold) {
        self.hold.store(hold as u32, Ordering::SeqCst);
    }

    /// Holds the next load before it is sent.
    pub(super) fn hold_next_load(&self) {
        self.hold_load.store(true, Ordering::SeqCst);
    }

    async fn held(&self) {
        self.holding.notify_one();
        self.release.notified().await;
    }

    /// The same dice in every run (SplitMix64 over a counter).
    fn fate(&self) -> Fate {
        let percent = u64::from(self.percent_lost.load(Ordering::SeqCst));
        if percent == 0 {
            return Fate::Answered;
        }
        let mut z = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if z % 100 >= percent {
            Fate::Answered
        } else if (z / 100).is_multiple_of(2) {
            Fate::NeverSent
        } else {
            Fate::AnswerLost
        }
    }
}

/// Takes one off, if there is one.
fn take_one(count: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

fn never_sent<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("told to be".to_owned()))
}

fn answer_lost<T>() -> Result<T, StoreError> {
    Err(StoreError::OutcomeUnknown("told to be".to_owned()))
}

#[async_trait]
impl Store for Watched {
    async fn admit(&self, ask: Admission) -> Result<Admitted, StoreError> {
        self.admits.fetch_add(1, Ordering::SeqCst);
        self.claims.fetch_add(ask.claim.len(), Ordering::SeqCst);
        self.limits.fetch_add(ask.limit.len(), Ordering::SeqCst);
        let fate = self.fate();
        if fate == Fate::NeverSent {
            return never_sent();
        }
        if self.hold_load.swap(false, Ordering::SeqCst) {
            self.held().await;
        }
        let answer = self.inner.admit(ask).await;
        if fate == Fate::AnswerLost || take_one(&self.lost_loads) {
            return answer_lost();
        }
        answer
    }

    async fn commit(&self, change: ChangeSet) -> Result<Committed, StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.limits.fetch_add(change.limits.len(), Ordering::SeqCst);
        let fate = self.fate();
        if fate == Fate::NeverSent {
            return never_sent();
        }
        let left = self.conflicts.load(Ordering::SeqCst);
        if left > 0 {
            self.conflicts.store(left - 1, Ordering::SeqCst);
            return Ok(Committed::Conflict);
        }
        let hold = self.hold.swap(Hold::Not as u32, Ordering::SeqCst);
        if hold == Hold::Before as u32 {
            self.held().await;
        }
        self.remember_this(&change).await;
        let answer = self.inner.commit(change).await;
        if hold == Hold::After as u32 {
            self.held().await;
            return answer_lost();
        }
        if hold == Hold::Late as u32 {
            self.held().await;
        }
        if fate == Fate::AnswerLost || take_one(&self.lost_commits) {
            return answer_lost();
        }
        answer
    }

    async fn follow(
        &self,
        ranges: Vec<OutboxRange>,
    ) -> Result<Vec<Vec<(Cursor, Vec<u8>)>>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        match self.fate() {
            Fate::Answered => {}
            Fate::NeverSent | Fate::AnswerLost => return never_sent(),
        }
        let mut parts = self.inner.follow(ranges).await?;
        if self.takes_over.swap(false, Ordering::SeqCst) {
            self.take_over();
        }
        let lost = self.lost.lock().unwrap();
        for part in &mut parts {
            part.retain(|(_, event)| !lost.contains(event));
        }
        Ok(parts)
    }

    async fn page(&self, ranges: Vec<IndexRange>) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.page(ranges).await
    }

    async fn ping(&self) -> Result<Lineage, StoreError> {
        let Lineage(inner) = self.inner.ping().await?;
        let number = self.lineage.load(Ordering::SeqCst);
        Ok(Lineage(format!("{inner} {number}")))
    }
}
