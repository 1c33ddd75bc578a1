//! Random histories: every store answers as a simple model does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::support::redis_server::RedisServer;

/// Records and claims a history is about: few, so that its steps meet.
const NAMES: u8 = 4;

/// What a step expects of a record.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// What it is.
    Right,
    /// That it does not exist.
    Absent,
    /// The id of the n-th commit of this history.
    Version(usize),
}

#[derive(Debug, Clone)]
enum Wish {
    Keep,
    Put(Vec<u8>),
    Delete,
}

#[derive(Debug, Clone)]
enum Step {
    Commit {
        items: Vec<(u8, Expect, Wish)>,
        claims: Vec<(u8, u8)>,
        index: Vec<(u8, Vec<u8>, Presence)>,
        events: Vec<u8>,
        limits: Vec<u8>,
    },
    SendAgain(usize),
    Admit {
        loads: Vec<u8>,
        claims: Vec<(u8, u8)>,
        owners: Vec<u8>,
        limits: Vec<u8>,
    },
    Page(Vec<(u8, Vec<u8>, usize)>),
}

/// Few members, so that they are met again; some begin as others do.
fn member() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 1..3)
}

fn step() -> impl Strategy<Value = Step> {
    let expect = prop_oneof![
        6 => Just(Expect::Right),
        1 => Just(Expect::Absent),
        1 => any::<usize>().prop_map(Expect::Version),
    ];
    let wish = prop_oneof![
        1 => Just(Wish::Keep),
        3 => vec(any::<u8>(), 0..20).prop_map(Wish::Put),
        1 => Just(Wish::Delete),
    ];
    let claims = || vec((0..NAMES, 0..3_u8), 0..3);
    let presence = prop_oneof![
        2 => Just(Presence::Present),
        1 => Just(Presence::Absent),
    ];
    let index = vec((0..NAMES, member(), presence), 0..4);
    let after = prop_oneof![Just(Vec::new()), member()];
    let names = || vec(0..NAMES, 0..5);
    let counted = prop_oneof![4 => Just(Vec::new()), 1 => vec(0..NAMES, 1..3)];
    prop_oneof![
        5 => (vec((0..NAMES, expect, wish), 0..4), claims(), index, vec(any::<u8>(), 0..3), counted)
            .prop_map(|(items, claims, index, events, limits)| {
                Step::Commit { items, claims, index, events, limits }
            }),
        2 => any::<usize>().prop_map(Step::SendAgain),
        1 => (names(), claims(), names(), names())
            .prop_map(|(loads, claims, owners, limits)| Step::Admit { loads, claims, owners, limits }),
        1 => vec((0..NAMES, after, 0..6_usize), 0..4).prop_map(Step::Page),
    ]
}

/// What a store should be like.
#[derive(Default)]
struct Model {
    records: BTreeMap<Key, Record>,
    claims: BTreeMap<Key, Vec<u8>>,
    index: BTreeSet<(Key, Vec<u8>)>,
    /// How often each rate has admitted. No interval passes within a history.
    counts: BTreeMap<Key, u32>,
    events: Vec<Vec<u8>>,
    done: BTreeSet<OperationId>,
}

impl Model {
    fn version(&self, key: &Key) -> Option<OperationId> {
        self.records.get(key).map(|record| record.version)
    }

    fn claim(&mut self, claim: &Claim) -> Claimed {
        let owner = self.claims.entry(claim.key.clone());
        let by = owner.or_insert_with(|| claim.owner.clone());
        if *by == claim.owner {
            Claimed::Granted
        } else {
            Claimed::Taken { by: by.clone() }
        }
    }

    fn commit(&mut self, change: &ChangeSet) -> Committed {
        if self.done.contains(&change.operation) {
            return self.commit_again(change);
        }
        let stale = |item: &Item| self.version(&item.key) != item.expected;
        if change.items.iter().any(stale) {
            return Committed::Conflict;
        }
        let taken = |claim: &Claim| {
            let owner = self.claims.get(&claim.key);
            owner.is_some_and(|owner| *owner != claim.owner)
        };
        if let Some(index) = change.claims.iter().position(taken) {
            return Committed::ClaimTaken { index };
        }
        let used_up = |limit: &Limit| self.counts.get(&limit.key) >= Some(&limit.burst);
        if let Some(index) = change.limits.iter().position(used_up) {
            // When it would admit again depends on the clock.
            return Committed::Limited {
                index,
                retry_after: Duration::ZERO,
            };
        }
        for limit in &change.limits {
            assert!(self.is_admitted(limit));
        }
        for Item {
            key, change: to, ..
        } in &change.items
        {
            match to {
                Change::Keep => {}
                Change::Put { value, .. } => {
                    let version = change.operation;
                    let value = value.clone();
                    self.records.insert(key.clone(), Record { version, value });
                }
                Change::Delete => {
                    self.records.remove(key);
                }
            }
        }
        for claim in &change.claims {
            self.claim(claim);
        }
        for IndexChange {
            key,
            member,
            presence,
        } in &change.index
        {
            let member = (key.clone(), member.clone());
            match presence {
                Presence::Present => self.index.insert(member),
                Presence::Absent => self.index.remove(&member),
            };
        }
        self.events.extend(change.events.clone());
        self.done.insert(change.operation);
        DONE
    }

    fn is_admitted(&mut self, limit: &Limit) -> bool {
        let count = self.counts.entry(limit.key.clone()).or_default();
        let is_admitted = *count < limit.burst;
        *count += u32::from(is_admitted);
        is_admitted
    }

    fn page(&self, range: &IndexRange) -> Vec<Vec<u8>> {
        let asked = |(key, member): &&(Key, Vec<u8>)| *key == range.key && *member > range.after;
        let members = self.index.iter().filter(asked).take(range.limit);
        members.map(|(_, member)| member.clone()).collect()
    }

    /// A done commit is done, unless all it could be told by has been overwritten since.
    fn commit_again(&self, change: &ChangeSet) -> Committed {
        let puts = |item: &&Item| matches!(item.change, Change::Put { .. });
        let mut puts = change.items.iter().filter(puts);
        let shown = puts
            .clone()
            .any(|item| self.version(&item.key) == Some(change.operation));
        let overwrites = puts.any(|item| item.expected.is_some());
        let only_checks = change.items.iter().all(|item| item.change == Change::Keep)
            && change.claims.is_empty()
            && change.index.is_empty()
            && change.limits.is_empty()
            && change.events.is_empty();
        let stale = |item: &Item| self.version(&item.key) != item.expected;
        if shown || !overwrites && !only_checks {
            DONE
        } else if overwrites || change.items.iter().any(stale) {
            Committed::Conflict
        } else {
            DONE
        }
    }
}

/// One history over one store, in one bucket.
struct History {
    store: Arc<dyn Store>,
    bucket: Bucket,
    model: Model,
    sent: Vec<ChangeSet>,
}

impl History {
    async fn run(store: Arc<dyn Store>, bucket: Bucket, steps: Vec<Step>) {
        let model = Model::default();
        let sent = Vec::new();
        let mut history = Self {
            store,
            bucket,
            model,
            sent,
        };
        for step in steps {
            history.step(step).await;
        }
        history.compare().await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Commit {
                items,
                claims,
                index,
                events,
                limits,
            } => {
                let mut change = self.change(items, claims, events);
                // It names a limit once, too.
                let limits: BTreeSet<u8> = limits.into_iter().collect();
                change.limits = self.limits(&Vec::from_iter(limits));
                // A change set names a member once.
                let index: BTreeMap<_, _> = index
                    .into_iter()
                    .map(|(name, member, presence)| ((name, member), presence))
                    .collect();
                for ((name, member), presence) in index {
                    change = change.member(&format!("i:{name}"), &member, presence);
                }
                self.sent.push(change.clone());
                self.commit(change).await;
            }
            Step::SendAgain(number) => {
                if let Some(change) = nth(&self.sent, number).cloned() {
                    self.commit(change).await;
                }
            }
            Step::Admit {
                loads,
                claims,
                owners,
                limits,
            } => {
                let ask = Admission {
                    load: self.keys("s", &loads),
                    claim: self.claims(claims),
                    owner_of: self.keys("c", &owners),
                    limit: self.limits(&limits),
                    ..Admission::default()
                };
                self.admit(ask).await;
            }
            Step::Page(ranges) => {
                let ranges = ranges.into_iter().map(|(name, after, limit)| IndexRange {
                    key: self.key("i", name),
                    after,
                    limit,
                });
                self.page(ranges.collect()).await;
            }
        }
    }

    async fn commit(&mut self, change: ChangeSet) {
        let expected = self.model.commit(&change);
        let mut ended = self.store.commit(change).await.unwrap();
        if let Committed::Limited { retry_after, .. } = &mut ended {
            assert!(!retry_after.is_zero());
            *retry_after = Duration::ZERO;
        }
        assert_eq!(ended, expected);
    }

    async fn admit(&mut self, ask: Admission) {
        let admitted = self.store.admit(ask.clone()).await.unwrap();
        let records = ask
            .load
            .iter()
            .map(|key| self.model.records.get(key).cloned());
        assert!(admitted.records.into_iter().eq(records));
        let claims: Vec<_> = ask
            .claim
            .iter()
            .map(|claim| self.model.claim(claim))
            .collect();
        assert_eq!(admitted.claims, claims);
        let owners = ask
            .owner_of
            .iter()
            .map(|key| self.model.claims.get(key).cloned());
        assert!(admitted.owners.into_iter().eq(owners));
        let said = admitted.limits.iter();
        let said = said.map(|said| *said == Limited::Admitted);
        assert!(said.eq(ask.limit.iter().map(|limit| self.model.is_admitted(limit))));
    }

    async fn page(&self, ranges: Vec<IndexRange>) {
        let expected: Vec<_> = ranges.iter().map(|range| self.model.page(range)).collect();
        assert_eq!(self.store.page(ranges).await, Ok(expected));
    }

    async fn compare(&mut self) {
        let everything: Vec<_> = (0..NAMES).collect();
        let ask = Admission {
            load: self.keys("s", &everything),
            owner_of: self.keys("c", &everything),
            limit: self.limits(&everything),
            ..Admission::default()
        };
        self.admit(ask).await;
        let everything = everything.into_iter().map(|name| IndexRange {
            key: self.key("i", name),
            after: Vec::new(),
            limit: 1000,
        });
        self.page(everything.collect()).await;
        let number = self.bucket.number();
        let told = outbox(&*self.store, number, &Cursor::default(), 1000).await;
        let told = told.unwrap().into_iter().map(|(_, event)| event);
        assert!(told.eq(self.model.events.iter().cloned()));
    }

    fn change(
        &self,
        items: Vec<(u8, Expect, Wish)>,
        claims: Vec<(u8, u8)>,
        events: Vec<u8>,
    ) -> ChangeSet {
        let mut change = ChangeSet {
            bucket: self.bucket,
            ..change()
        };
        // A change set names a key once.
        let items: BTreeMap<_, _> = items
            .into_iter()
            .map(|(name, e, w)| (name, (e, w)))
            .collect();
        for (name, (expect, wish)) in items {
            let key = self.key("s", name);
            let expected = match expect {
                Expect::Right => self.model.version(&key),
                Expect::Absent => None,
                Expect::Version(number) => nth(&self.sent, number).map(|sent| sent.operation),
            };
            let to = match wish {
                Wish::Keep => Change::Keep,
                Wish::Put(value) => Change::Put {
                    value,
                    live_for: None,
                },
                Wish::Delete => Change::Delete,
            };
            change = change.item(&format!("s:{name}"), expected, to);
        }
        let claims: BTreeMap<_, _> = claims.into_iter().collect();
        change.claims = self.claims(claims.into_iter().collect());
        change.events = events.into_iter().map(|event| vec![event]).collect();
        change
    }

    fn claims(&self, claims: Vec<(u8, u8)>) -> Vec<Claim> {
        let claims = claims.into_iter().map(|(name, owner)| Claim {
            key: self.key("c", name),
            owner: vec![owner],
            live_for: None,
        });
        claims.collect()
    }

    /// Each rate has a burst of its own.
    fn limits(&self, names: &[u8]) -> Vec<Limit> {
        let limits = names.iter().map(|name| Limit {
            key: self.key("l", *name),
            every: Duration::from_secs(3600),
            burst: u32::from(*name) + 1,
        });
        limits.collect()
    }

    fn keys(&self, kind: &str, names: &[u8]) -> Vec<Key> {
        names.iter().map(|name| self.key(kind, *name)).collect()
    }

    fn key(&self, kind: &str, name: u8) -> Key {
        Key::new(self.bucket, format!("{kind}:{name}"))
    }
}

fn nth(sent: &[ChangeSet], number: usize) -> Option<&ChangeSet> {
    number.checked_rem(sent.len()).map(|number| &sent[number])
}

fn run(cases: u32, mut one: impl FnMut(Vec<Step>)) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let one = std::cell::RefCell::new(&mut one);
    proptest::test_runner::TestRunner::new(config)
        .run(&vec(step(), 1..40), |steps| {
            (one.borrow_mut())(steps);
            Ok(())
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_embedded_store_answers_as_the_model_does() {
    let runtime = runtime();
    run(400, |steps| {
        runtime.block_on(History::run(in_memory(), bucket(7), steps));
    });
}

#[test]
fn the_shared_store_answers_as_the_model_does() {
    let server = RedisServer::start();
    let runtime = runtime();
    let store = runtime.block_on(async { redis(server.url()) });
    // Every case, and every attempt to make a failed one smaller, has a bucket of its own.
    let mut number = 0;
    run(60, |steps| {
        number += 1;
        let bucket = bucket(number % 1024);
        runtime.block_on(History::run(Arc::clone(&store), bucket, steps));
    });
}
