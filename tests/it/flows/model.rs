//! Anything in any order, over both stores, against rules that know nothing of records, versions or trips.

mod calls;
mod changes;
mod operation;
mod tokens;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use assay::flow::register_device::RegisterDevice;
use assay::flow::{Engine, Follower};
use assay::id::{SessionId, Subject};
use assay::policy::{ReplayRule, SessionKeyRule};
use assay::secret::Secret;
use assay::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::calls::Sent;
use self::operation::Operation;
use super::truth::{Access, Rules, Truth};
use super::world::CHALLENGE;
use super::*;
use crate::support::redis_server::RedisServer;

const PHONES: usize = 3;

/// Phones 0 and 1 are one user's, phone 2 another's.
const SUBJECTS: [&str; PHONES] = ["user-1", "user-1", "user-2"];
const KINDS: [Kind; PHONES] = [Kind::Android, Kind::Apple, Kind::Android];
const CONSENTS: [&str; 2] = ["loan", "card"];

/// A session as its holder knows it.
struct Held {
    phone: usize,
    /// `None`: the answer that named it was lost.
    id: Option<SessionId>,
    /// By their generations; of some the holder never heard.
    refresh_tokens: BTreeMap<u32, Secret<String>>,
    access_tokens: Vec<Token>,
}

#[derive(Clone)]
struct Token {
    text: Secret<String>,
    access: Access,
    /// In which step it was given.
    born: usize,
}

impl Held {
    fn token(&self, back: usize) -> Option<(u32, Secret<String>)> {
        let known = self.refresh_tokens.iter().rev();
        let last = self.refresh_tokens.first_key_value();
        let (generation, token) = known.clone().nth(back).or(last)?;
        Some((*generation, token.clone()))
    }
}

/// What an instance has heard of the changes that others made.
struct Ear {
    follower: Follower,
    heard: Option<Heard>,
}

/// What was true when it last heard everything.
struct Heard {
    at: Timestamp,
    step: usize,
    truth: Truth,
}

struct Model {
    world: World,
    /// Another instance over the same store.
    second: OnceCell<Arc<Engine>>,
    rules: Rules,
    truth: Truth,
    ears: [Ear; 2],
    /// Something was done since the first instance last listened, and it had no answer.
    unheard: bool,
    /// Of those that were never registered there is none.
    phones: Vec<Option<Phone>>,
    registrations: Vec<Option<(RegisterDevice, Timestamp)>>,
    /// As the truth numbers them.
    sessions: Vec<Held>,
    sent: Vec<Sent>,
    step: usize,
}

/// What to make of an answer.
enum Seen<T> {
    /// It says what was done.
    Answer(Result<T, Reason>),
    /// The store was not heard; it was done.
    DoneUnheard,
    /// The store was not heard; it was not done.
    NotDone,
}

impl Model {
    fn new(world: World, rules: Rules) -> Self {
        world.change_policy(BANK, |policy| {
            policy.on_session_limit = rules.at_limit;
            policy.on_refresh_reuse = rules.on_reuse;
            policy.proof.replay = rules.replay;
            policy.proof.counter = rules.order;
            if rules.asserts {
                policy.apple.session_key = SessionKeyRule::Optional;
            }
        });
        let ear = || Ear {
            // Whatever the clock of the store says.
            follower: Follower::new(Timestamp::EPOCH),
            heard: None,
        };
        Self {
            second: OnceCell::new(),
            rules,
            truth: Truth::new(rules, world.now(), &SUBJECTS),
            ears: [ear(), ear()],
            unheard: false,
            phones: (0..PHONES).map(|_| None).collect(),
            registrations: vec![None; PHONES],
            world,
            sessions: Vec::new(),
            sent: Vec::new(),
            step: 0,
        }
    }

    fn second(&self) -> Arc<Engine> {
        let second = self.second.get_or_init(|| self.world.instance());
        // Both read the same configuration.
        second.apps.store(self.world.engine.apps.load_full());
        Arc::clone(second)
    }

    fn subject(at: usize) -> Subject {
        SUBJECTS[at].parse().unwrap()
    }

    /// Whether a phone has no session key, so that its proofs are assertions.
    fn asserts(&self, at: usize) -> bool {
        self.rules.asserts && KINDS[at] == Kind::Apple
    }

    /// A phone that has sessions.
    fn phone(&self, at: usize) -> &Phone {
        self.registered(at).unwrap()
    }

    fn registered(&self, at: usize) -> Option<&Phone> {
        self.phones[at].as_ref().filter(|phone| phone.id.is_some())
    }

    fn pick(&self, index: Index) -> Option<usize> {
        // Every other time the newest: what came before is mostly over.
        let newest = self.sessions.len().checked_sub(1)?;
        Some(index.index(2 * newest + 2).min(newest))
    }

    /// An answer of a call before which so many commits were still to be lost.
    fn seen<T>(&mut self, answer: Result<T, Reason>, to_lose: (u32, u32)) -> Seen<T> {
        let left = self.world.store.to_lose();
        match answer {
            Err(Reason::StateStoreUnavailable) if left.1 < to_lose.1 => {
                self.unheard = true;
                Seen::DoneUnheard
            }
            Err(Reason::StateStoreUnavailable) => {
                assert!(left.0 < to_lose.0, "unavailable, and nothing was lost");
                Seen::NotDone
            }
            answer => Seen::Answer(answer),
        }
    }

    async fn run(&mut self, operation: Operation) {
        use Operation as Op;
        self.step += 1;
        let mut session = usize::MAX;
        if let Op::Refresh(index, _)
        | Op::RefreshUnheard(index, _)
        | Op::RefreshBy(index, _)
        | Op::Elevate(index)
        | Op::Rotate(index)
        | Op::Verify(index, _, _)
        | Op::Late(index, _, _)
        | Op::Introspect(index, _)
        | Op::EndByToken(index, _)
        | Op::EndById(index)
        | Op::RevokeSession(index) = &operation
        {
            match self.pick(*index) {
                Some(picked) => session = picked,
                None => return,
            }
        }
        match operation {
            Op::Register(phone) => self.register(phone).await,
            Op::Issue(phone, consent) => self.issue(phone, consent).await,
            Op::Refresh(_, back) => self.refresh(session, back, true).await,
            Op::RefreshUnheard(_, back) => self.refresh(session, back, false).await,
            Op::RefreshBy(_, phone) => self.steal(session, phone).await,
            Op::Elevate(_) => self.elevate(session).await,
            Op::Rotate(_) => self.rotate(session).await,
            Op::Verify(_, back, asked) => self.verify(session, back, asked).await,
            Op::Replay(index, at) => self.replay(index, at).await,
            Op::Late(_, behind, at) => self.late(session, behind, at).await,
            Op::Introspect(_, back) => self.introspect(session, back).await,
            Op::EndByToken(_, back) => self.end_by_token(session, back).await,
            Op::EndById(_) => self.end(session).await,
            Op::Revoke(phone) => self.revoke(phone).await,
            Op::RevokeSession(_) => self.revoke_session(session).await,
            Op::RevokeSubject(phone) => self.revoke_subject(phone).await,
            Op::RevokeConsent(phone, consent) => self.revoke_consent(phone, consent).await,
            Op::SetNotBefore => self.set_not_before().await,
            Op::Suspend(phone) => self.suspend(phone, true).await,
            Op::Resume(phone) => self.suspend(phone, false).await,
            Op::Advance(span) => {
                self.world.advance(span);
                self.truth.pass(span);
            }
            Op::List(phone) => self.list(phone).await,
            Op::Switch(disabled) => self.switch(disabled),
            Op::Follow(at) => self.follow(at).await,
            Op::Lose(loads, commits) => self.world.store.lose_next(loads, commits),
        }
    }
}

/// What happened in all cases, so that dull ones would be noticed.
static REFRESHED: AtomicUsize = AtomicUsize::new(0);
static EVICTED: AtomicUsize = AtomicUsize::new(0);
static ELEVATED: AtomicUsize = AtomicUsize::new(0);
static ROTATED: AtomicUsize = AtomicUsize::new(0);
static REPLAYED: AtomicUsize = AtomicUsize::new(0);
/// Calls that were taken without the store.
static TAKEN_LOCALLY: AtomicUsize = AtomicUsize::new(0);
/// Calls that were taken so after something that the instance had not heard of yet.
static NOT_YET_HEARD: AtomicUsize = AtomicUsize::new(0);

fn one_more(of: &AtomicUsize) {
    of.fetch_add(1, Ordering::SeqCst);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

/// Runs cases in worlds, as many as `ASSAY_CHAOS_ROUNDS` says; docs/chaos.md explains it.
fn cases(short: u32, runtime: &Runtime, world: impl Fn() -> World) {
    let asked = number("ASSAY_CHAOS_ROUNDS").map(|cases| u32::try_from(cases).unwrap());
    let cases = asked.unwrap_or(short);
    // The short form has the same sequences every time.
    let drawn = || u64::from_be_bytes(assay::secret::random().unwrap());
    let seed = number("ASSAY_SEED").unwrap_or_else(|| asked.map_or(1, |_| drawn()));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&operation::case(), |(operations, rules)| {
        runtime.block_on(async {
            let mut model = Model::new(world(), rules);
            // Something to begin with: a long way to the first session makes dull cases.
            for operation in [Operation::Register(0), Operation::Issue(0, None)] {
                model.run(operation).await;
            }
            for operation in operations {
                model.run(operation).await;
            }
            EVICTED.fetch_add(model.truth.evicted, Ordering::SeqCst);
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}\nto repeat it: ASSAY_SEED={seed}");
    }
    println!("{cases} sequences went as the rules say");
    for (what, seen) in [
        ("refreshed", &REFRESHED),
        ("evicted", &EVICTED),
        ("elevated", &ELEVATED),
        ("rotated", &ROTATED),
        ("replayed", &REPLAYED),
        ("taken locally", &TAKEN_LOCALLY),
        ("not yet heard", &NOT_YET_HEARD),
    ] {
        let seen = seen.load(Ordering::SeqCst);
        println!("{what}: {seen}");
        // Of few it would be chance.
        assert!(seen > 0 || cases < 200, "never {what}");
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn any_sequence_of_operations_goes_as_the_rules_say_in_memory() {
    cases(1800, &runtime(), World::in_memory);
}

#[test]
fn any_sequence_of_operations_goes_as_the_rules_say_over_redis() {
    // Nothing of it has to outlive the test.
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let world = || {
        // A case of its own: what one has cut fleet-wide must not reach the next.
        assert_eq!(server.command("FLUSHALL"), "+OK\r\n");
        World::over_redis(&server)
    };
    cases(200, &runtime(), world);
}
