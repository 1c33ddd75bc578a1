//! Anything in any order, over both stores, against rules that know nothing of records, versions or trips.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay::flow::Follower;
use assay::flow::end_session::EndSession;
use assay::flow::refresh_session;
use assay::flow::register_device::RegisterDevice;
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::id::SessionId;
use assay::policy::{ReuseRule, SessionLimitRule};
use assay::secret::Secret;
use assay::session::{RevocationReason, SuspensionReason};
use assay::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use super::truth::{Rules, Truth};
use super::world::{ABSOLUTE, ACCESS, CHALLENGE, GRACE, IDLE};
use super::*;
use crate::support::redis_server::RedisServer;

const PHONES: usize = 3;

/// Phones 0 and 1 are one user's, phone 2 another's.
const SUBJECTS: [&str; PHONES] = ["user-1", "user-1", "user-2"];
const KINDS: [Kind; PHONES] = [Kind::Android, Kind::Apple, Kind::Android];

#[derive(Debug, Clone)]
enum Operation {
    /// The first time with fresh evidence; then the very same registration again.
    Register(usize),
    Issue(usize),
    /// Some session, and one of its known tokens counted back from the newest.
    Refresh(Index, usize),
    /// The same, and the phone never hears of it.
    RefreshUnheard(Index, usize),
    /// With the tokens of a session and the key of a phone.
    RefreshBy(Index, usize),
    Verify(Index, usize),
    EndByToken(Index, usize),
    EndById(Index),
    Revoke(usize),
    RevokeSession(Index),
    /// The subject of a phone.
    RevokeSubject(usize),
    Suspend(usize),
    Resume(usize),
    Advance(Duration),
    Introspect(Index, usize),
    List(usize),
    /// The app is disabled, or enabled again.
    Switch(bool),
    /// What is in the outboxes is heard, and what waits is written.
    Follow,
    /// The store's answers to so many of the next loads and commits are lost.
    Lose(u32, u32),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let spans = vec![
        MILLISECOND,
        SECOND,
        SECOND * 30,
        ACCESS - MILLISECOND * 123,
        ACCESS,
        GRACE,
        GRACE + MILLISECOND,
        IDLE - MILLISECOND,
        IDLE,
        ABSOLUTE / 4,
    ];
    let any_session = any::<Index>;
    let back = || select(vec![0, 0, 0, 1, 1, 2, 3]);
    prop_oneof![
        2 => (0..PHONES).prop_map(Op::Register),
        6 => (0..PHONES).prop_map(Op::Issue),
        14 => (any_session(), back()).prop_map(|(s, t)| Op::Refresh(s, t)),
        3 => (any_session(), back()).prop_map(|(s, t)| Op::RefreshUnheard(s, t)),
        1 => (any_session(), 0..PHONES).prop_map(|(s, p)| Op::RefreshBy(s, p)),
        4 => (any_session(), 0..3_usize).prop_map(|(s, t)| Op::Verify(s, t)),
        1 => (any_session(), 0..3_usize).prop_map(|(s, t)| Op::EndByToken(s, t)),
        1 => any_session().prop_map(Op::EndById),
        1 => (0..PHONES).prop_map(Op::Revoke),
        1 => any_session().prop_map(Op::RevokeSession),
        1 => (0..PHONES).prop_map(Op::RevokeSubject),
        1 => (0..PHONES).prop_map(Op::Suspend),
        2 => (0..PHONES).prop_map(Op::Resume),
        4 => select(spans).prop_map(Op::Advance),
        2 => (any_session(), 0..3_usize).prop_map(|(s, t)| Op::Introspect(s, t)),
        1 => (0..PHONES).prop_map(Op::List),
        1 => select(vec![true, false, false]).prop_map(Op::Switch),
        1 => Just(Op::Follow),
        2 => select(vec![(1, 0), (0, 1), (0, 2)]).prop_map(|(l, c)| Op::Lose(l, c)),
    ]
}

/// A session as its holder knows it.
struct Held {
    phone: usize,
    /// `None`: the answer that named it was lost.
    id: Option<SessionId>,
    /// By their generations; of some the holder never heard.
    refresh_tokens: BTreeMap<u32, Secret<String>>,
    access_tokens: Vec<(Secret<String>, Timestamp)>,
}

impl Held {
    fn token(&self, back: usize) -> Option<(u32, Secret<String>)> {
        let known = self.refresh_tokens.iter().rev();
        let last = self.refresh_tokens.first_key_value();
        let (generation, token) = known.clone().nth(back).or(last)?;
        Some((*generation, token.clone()))
    }
}

struct Model {
    world: World,
    truth: Truth,
    follower: Follower,
    phones: Vec<Phone>,
    registrations: Vec<Option<(RegisterDevice, Timestamp)>>,
    /// As the truth numbers them.
    sessions: Vec<Held>,
    /// What subjects of this case end with: cases share a server.
    case: String,
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
    fn new(world: World, rules: Rules, case: String) -> Self {
        world.change_policy(BANK, |policy| {
            policy.on_session_limit = rules.at_limit;
            policy.on_refresh_reuse = rules.on_reuse;
        });
        let phones =
            (0..PHONES).map(|at| world.phone(KINDS[at], &(SUBJECTS[at].to_owned() + &case)));
        Self {
            phones: phones.collect(),
            truth: Truth::new(rules, world.now(), &SUBJECTS),
            follower: Follower::new(world.now()),
            registrations: vec![None; PHONES],
            world,
            sessions: Vec::new(),
            case,
        }
    }

    fn pick(&self, index: Index) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| index.index(self.sessions.len()))
    }

    /// An answer of a call before which so many commits were still to be lost.
    fn seen<T>(&self, answer: Result<T, Reason>, to_lose: (u32, u32)) -> Seen<T> {
        let left = self.world.store.to_lose();
        match answer {
            Err(Reason::StateStoreUnavailable) if left.1 < to_lose.1 => Seen::DoneUnheard,
            Err(Reason::StateStoreUnavailable) => {
                assert!(left.0 < to_lose.0, "unavailable, and nothing was lost");
                Seen::NotDone
            }
            answer => Seen::Answer(answer),
        }
    }

    async fn run(&mut self, operation: Operation) {
        use Operation as Op;
        let mut session = usize::MAX;
        if let Op::Refresh(index, _)
        | Op::RefreshUnheard(index, _)
        | Op::RefreshBy(index, _)
        | Op::Verify(index, _)
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
            Op::Issue(phone) => self.issue(phone).await,
            Op::Refresh(_, back) => self.refresh(session, back, true).await,
            Op::RefreshUnheard(_, back) => self.refresh(session, back, false).await,
            Op::RefreshBy(_, phone) => self.steal(session, phone).await,
            Op::Verify(_, back) => self.verify(session, back).await,
            Op::Introspect(_, back) => self.introspect(session, back).await,
            Op::EndByToken(_, back) => {
                if let Some((_, token)) = self.sessions[session].token(back) {
                    self.end(session, EndSession::Token(token)).await;
                }
            }
            Op::EndById(_) => {
                if let Some(id) = self.sessions[session].id {
                    self.end(session, EndSession::Id(id)).await;
                }
            }
            Op::Revoke(phone) => self.revoke(phone).await,
            Op::RevokeSession(_) => self.revoke_session(session).await,
            Op::RevokeSubject(phone) => self.revoke_subject(phone).await,
            Op::Suspend(phone) => self.suspend(phone, true).await,
            Op::Resume(phone) => self.suspend(phone, false).await,
            Op::Advance(span) => {
                self.world.advance(span);
                self.truth.pass(span);
            }
            Op::List(phone) => self.list(phone).await,
            Op::Switch(disabled) => {
                self.truth.switch(disabled);
                if disabled {
                    self.world.disable(BANK);
                } else {
                    self.world.enable(BANK);
                }
            }
            Op::Follow => self.follow().await,
            Op::Lose(loads, commits) => self.world.store.lose_next(loads, commits),
        }
    }

    async fn register(&mut self, at: usize) {
        let now = self.world.now();
        let over = |(_, since): &(_, Timestamp)| since.after(CHALLENGE) <= now;
        let known = self.registrations[at].as_ref();
        if known.is_none_or(|known| over(known) && !self.truth.is_registered(at)) {
            if self.truth.is_disabled() {
                return;
            }
            // A phone of this day, because its certificates live two weeks.
            self.phones[at] = self
                .world
                .phone(KINDS[at], &(SUBJECTS[at].to_owned() + &self.case));
            let registration = self.world.registration(&mut self.phones[at]);
            self.registrations[at] = Some((registration, now));
        }
        let registration = self.registrations[at].clone().unwrap();
        let to_lose = self.world.store.to_lose();
        let answer = self.world.send(&registration.0).await;
        let over = over(&registration);
        match self.seen(answer, to_lose) {
            Seen::NotDone => {}
            Seen::DoneUnheard => self.truth.register(at, over).unwrap(),
            Seen::Answer(answer) => {
                let expected = self.truth.register(at, over);
                let id = answer.map(|device| device.id);
                assert_eq!(id.map(|_| ()), expected);
                if let Ok(id) = id {
                    assert_eq!(*self.phones[at].id.get_or_insert(id), id);
                }
            }
        }
    }

    async fn issue(&mut self, at: usize) {
        if self.phones[at].id.is_none() {
            return;
        }
        let to_lose = self.world.store.to_lose();
        let answer = self.world.issue(&self.phones[at]).await;
        let mut held = Held {
            phone: at,
            id: None,
            refresh_tokens: BTreeMap::new(),
            access_tokens: Vec::new(),
        };
        match self.seen(answer, to_lose) {
            Seen::NotDone => return,
            Seen::DoneUnheard => {
                self.truth.issue(at).unwrap();
            }
            Seen::Answer(answer) => {
                let expected = self.truth.issue(at);
                assert_eq!(
                    answer.as_ref().map(|_| ()).map_err(|r| *r),
                    expected.map(|_| ())
                );
                let Ok(grant) = answer else {
                    return;
                };
                held.id = Some(grant.session.id);
                held.refresh_tokens.insert(0, grant.refresh_token);
                held.access_tokens
                    .push((grant.access_token, grant.access_expires_at));
            }
        }
        self.sessions.push(held);
    }

    async fn refresh(&mut self, at: usize, back: usize, heard: bool) {
        let session = &self.sessions[at];
        let Some((presented, token)) = session.token(back) else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = self
            .world
            .refresh(&self.phones[session.phone], &token)
            .await;
        let answer = match self.seen(answer, to_lose) {
            Seen::NotDone => return,
            Seen::DoneUnheard => {
                let _ = self.truth.refresh(at, presented);
                return;
            }
            Seen::Answer(answer) => answer,
        };
        let expected = self.truth.refresh(at, presented);
        let short = |refreshed: &refresh_session::Refreshed| {
            (refreshed.outcome, refreshed.grant.session.generation)
        };
        assert_eq!(
            answer.as_ref().map(short).map_err(|reason| *reason),
            expected
        );
        let (Ok(refreshed), true) = (answer, heard) else {
            return;
        };
        REFRESHED.fetch_add(1, Ordering::SeqCst);
        let grant = refreshed.grant;
        let session = &mut self.sessions[at];
        session
            .access_tokens
            .push((grant.access_token, grant.access_expires_at));
        let next = session.refresh_tokens.entry(presented + 1);
        let next = next.or_insert_with(|| grant.refresh_token.clone());
        assert_eq!(next.expose(), grant.refresh_token.expose());
    }

    /// Only the phone of the session gets anywhere; the others change nothing.
    async fn steal(&mut self, at: usize, thief: usize) {
        let session = &self.sessions[at];
        if session.phone == thief || self.phones[thief].id.is_none() {
            return;
        }
        for token in session.refresh_tokens.values() {
            let seen = self.world.refresh(&self.phones[thief], token).await;
            assert_eq!(seen.map(|_| ()), Err(Reason::TokenInvalid));
        }
    }

    /// One of the session's access tokens, and what is true of it.
    fn access(&self, at: usize, back: usize) -> Option<(Secret<String>, Result<(), Reason>)> {
        let tokens = &self.sessions[at].access_tokens;
        let newest = tokens.len().checked_sub(1)?;
        let (token, expires_at) = &tokens[newest.saturating_sub(back)];
        Some((token.clone(), self.truth.verify(at, *expires_at)))
    }

    async fn verify(&mut self, at: usize, back: usize) {
        let Some((token, expected)) = self.access(at, back) else {
            return;
        };
        let call = self
            .world
            .call(&self.phones[self.sessions[at].phone], &token);
        let to_lose = self.world.store.to_lose();
        let answer = self.world.decide(call.clone()).await;
        let Seen::Answer(answer) = self.seen(answer, to_lose) else {
            return;
        };
        assert_eq!(answer, Ok(expected));
        let replayed = match expected {
            // Found before the proof is used up.
            Err(reason @ (Reason::TokenExpired | Reason::AppDisabled)) => reason,
            _ => Reason::ProofReplayed,
        };
        assert_eq!(self.world.decide(call).await, Ok(Err(replayed)));
    }

    async fn introspect(&mut self, at: usize, back: usize) {
        let Some((token, expected)) = self.access(at, back) else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = self.world.active(&token).await;
        if let Seen::Answer(answer) = self.seen(answer, to_lose) {
            assert_eq!(answer, Ok(expected.is_ok()));
        }
    }

    /// Whether a change that is always granted was made.
    fn made<T: std::fmt::Debug>(&self, answer: Result<T, Reason>, to_lose: (u32, u32)) -> bool {
        match self.seen(answer, to_lose) {
            Seen::NotDone => false,
            Seen::DoneUnheard => true,
            // Where the store could not be asked it holds here, and is laid over every record from then on.
            Seen::Answer(Err(Reason::RevocationNotDurable)) => {
                assert_ne!(self.world.store.to_lose(), to_lose, "nothing was lost");
                true
            }
            Seen::Answer(answer) => answer.is_ok() || panic!("{answer:?}"),
        }
    }

    async fn end(&mut self, at: usize, request: EndSession) {
        let to_lose = self.world.store.to_lose();
        let answer = self.world.end(request).await;
        if self.made(answer, to_lose) {
            self.truth.end(at);
        }
    }

    async fn revoke(&mut self, at: usize) {
        let Some(id) = self.phones[at].id else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = self.world.revoke(id).await;
        if let Ok(revoked) = &answer {
            let why = RevocationReason::Stolen;
            let at = revoked.receipt.effective_at;
            let state = assay::session::DeviceState::Revoked { at, why };
            assert_eq!(revoked.device.state, state);
        }
        if self.made(answer, to_lose) {
            self.truth.revoke_device(at);
        }
    }

    async fn revoke_session(&mut self, at: usize) {
        let Some(session) = self.sessions[at].id else {
            return;
        };
        let request = RevokeSession {
            session,
            why: RevocationReason::Lost,
            validate_only: false,
            by: caller(),
        };
        let to_lose = self.world.store.to_lose();
        let answer = revoke_session::run(&self.world.engine, request).await;
        let answer = answer.map_err(|failure| failure.reason);
        let forgotten = self.truth.may_be_forgotten(at);
        if (forgotten && answer.is_err()) || self.made(answer, to_lose) {
            self.truth.end(at);
        }
    }

    async fn revoke_subject(&mut self, at: usize) {
        let request = RevokeSubject {
            subject: self.phones[at].subject.clone(),
            why: RevocationReason::Lost,
            validate_only: false,
            by: caller(),
        };
        let to_lose = self.world.store.to_lose();
        let answer = revoke_subject::run(&self.world.engine, request).await;
        let answer = answer.map_err(|failure| failure.reason);
        if let Ok(receipt) = &answer {
            assert_eq!(receipt.effective_at, self.world.now());
        }
        if self.made(answer, to_lose) {
            self.truth.revoke_subject(at);
        }
    }

    async fn suspend(&mut self, at: usize, suspended: bool) {
        let Some(id) = self.phones[at].id else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = if suspended {
            let why = SuspensionReason::Mislaid;
            self.world.suspend(id, why).await.map(|_| ())
        } else {
            self.world.resume(id).await.map(|_| ())
        };
        match self.seen(answer, to_lose) {
            Seen::NotDone => {}
            Seen::DoneUnheard => {
                self.truth.suspend(at, suspended).unwrap();
                // Of a suspension the last word counts, and this instance hears the others of the store.
                self.follow().await;
            }
            // It holds here; of a device that is out for ever it says nothing new.
            Seen::Answer(Err(Reason::RevocationNotDurable)) if suspended => {
                let _ = self.truth.suspend(at, suspended);
            }
            Seen::Answer(answer) => assert_eq!(answer, self.truth.suspend(at, suspended)),
        }
    }

    async fn follow(&mut self) {
        // A round that fails is made again before long.
        self.world.store.lose_next(0, 0);
        self.follower.round(&self.world.engine).await.unwrap();
    }

    async fn list(&mut self, at: usize) {
        // A list is read to its end; what is lost on the way is tried elsewhere.
        self.world.store.lose_next(0, 0);
        let expected = self.truth.list(at);
        let listed = self.world.sessions(&self.phones[at].subject).await;
        assert_eq!(listed.len(), expected.len());
        for (session, number) in listed.iter().zip(expected) {
            // This is how on-call finds one that nobody was told of.
            let id = *self.sessions[number].id.get_or_insert(session.id);
            assert_eq!(id, session.id);
        }
    }
}

/// What happened in all cases, so that dull ones would be noticed.
static REFRESHED: AtomicUsize = AtomicUsize::new(0);
static EVICTED: AtomicUsize = AtomicUsize::new(0);
static CASES: AtomicUsize = AtomicUsize::new(0);

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
    let rules = (
        select(vec![
            SessionLimitRule::EvictOldest,
            SessionLimitRule::Refuse,
        ]),
        select(vec![
            ReuseRule::RevokeSession,
            ReuseRule::RevokeSession,
            ReuseRule::Report,
        ]),
    );
    let rules = rules.prop_map(|(at_limit, on_reuse)| Rules { at_limit, on_reuse });
    let strategy = (vec(operation(), 1..60), rules);
    let outcome = runner.run(&strategy, |(operations, rules)| {
        runtime.block_on(async {
            let case = CASES.fetch_add(1, Ordering::SeqCst);
            let mut model = Model::new(world(), rules, format!("-{case}"));
            // Something to begin with: a long way to the first session makes dull cases.
            for operation in [Operation::Register(0), Operation::Issue(0)] {
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
    assert!(REFRESHED.load(Ordering::SeqCst) > 100);
    assert!(EVICTED.load(Ordering::SeqCst) > 0);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn any_sequence_of_operations_goes_as_the_rules_say_in_memory() {
    cases(200, &runtime(), World::in_memory);
}

#[test]
fn any_sequence_of_operations_goes_as_the_rules_say_over_redis() {
    // Nothing of it has to outlive the test.
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    cases(60, &runtime(), || World::over_redis(&server));
}
