//! Anything in any order, against a model that knows nothing of records, versions or trips.

use std::sync::atomic::{AtomicUsize, Ordering};

use assay::flow::end_session::EndSession;
use assay::flow::register_device::RegisterDevice;
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::id::SessionId;
use assay::policy::SessionLimitRule;
use assay::secret::Secret;
use assay::session::{RefreshOutcome, RevocationReason, SuspensionReason};
use assay::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::world::{ABSOLUTE, ACCESS, CHALLENGE, GRACE, IDLE};
use super::*;

const PHONES: usize = 3;

/// Phones 0 and 1 are one user's, phone 2 another's.
const SUBJECTS: [&str; PHONES] = ["user-1", "user-1", "user-2"];
const KINDS: [Kind; PHONES] = [Kind::Android, Kind::Apple, Kind::Android];

/// As the policy of these tests says.
const DEVICE_SESSIONS_MAX: usize = 2;
const SUBJECT_SESSIONS_MAX: usize = 3;

#[derive(Debug, Clone)]
enum Operation {
    /// The first time with fresh evidence; then the very same registration again.
    Register(usize),
    Issue(usize),
    /// Some session, and one of its tokens counted back from the newest.
    Refresh(Index, usize),
    /// With the token of a session and the key of a phone.
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
    prop_oneof![
        2 => (0..PHONES).prop_map(Op::Register),
        6 => (0..PHONES).prop_map(Op::Issue),
        14 => (any_session(), select(vec![0, 0, 0, 1, 1, 2, 3])).prop_map(|(s, t)| Op::Refresh(s, t)),
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
    ]
}

/// A session as its holder could describe it.
struct Held {
    id: SessionId,
    phone: usize,
    /// One for each generation.
    refresh_tokens: Vec<Secret<String>>,
    access_tokens: Vec<(Secret<String>, Timestamp)>,
    rotated_at: Timestamp,
    idle_at: Timestamp,
    ends_at: Timestamp,
    ended: bool,
    /// Its subject was revoked since.
    cut: bool,
}

#[derive(Default)]
struct Owner {
    registered: Option<(RegisterDevice, Timestamp)>,
    revoked: bool,
    suspended: bool,
}

struct Model {
    world: World,
    phones: Vec<Phone>,
    owners: Vec<Owner>,
    sessions: Vec<Held>,
    rule: SessionLimitRule,
}

impl Model {
    fn new(rule: SessionLimitRule) -> Self {
        let world = World::in_memory();
        world.change_policy(BANK, |policy| policy.on_session_limit = rule);
        let phones = (0..PHONES).map(|at| world.phone(KINDS[at], SUBJECTS[at]));
        Self {
            phones: phones.collect(),
            owners: (0..PHONES).map(|_| Owner::default()).collect(),
            world,
            sessions: Vec::new(),
            rule,
        }
    }

    /// Why a session cannot be used, if so: what only waits comes last.
    fn refusal(&self, session: &Held) -> Option<Reason> {
        let waits = self.owners[session.phone].suspended;
        self.death(session)
            .or(waits.then_some(Reason::DeviceSuspended))
    }

    /// Why a session is dead, if it is.
    fn death(&self, session: &Held) -> Option<Reason> {
        let now = self.world.now();
        if session.cut {
            Some(Reason::SubjectRevoked)
        } else if self.owners[session.phone].revoked {
            Some(Reason::DeviceRevoked)
        } else if session.ended {
            Some(Reason::SessionRevoked)
        } else if session.ends_at <= now {
            Some(Reason::SessionExpiredAbsolute)
        } else if session.idle_at <= now {
            Some(Reason::SessionExpiredIdle)
        } else {
            None
        }
    }

    fn alive(&self, of: impl Fn(&Held) -> bool) -> usize {
        let alive = |session: &&Held| self.death(session).is_none() && of(session);
        self.sessions.iter().filter(alive).count()
    }

    fn pick(&self, index: Index) -> Option<usize> {
        (!self.sessions.is_empty()).then(|| index.index(self.sessions.len()))
    }

    async fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Register(phone) => self.register(phone).await,
            Operation::Issue(phone) => self.issue(phone).await,
            Operation::Refresh(session, back) => {
                if let Some(session) = self.pick(session) {
                    self.refresh(session, back).await;
                }
            }
            Operation::RefreshBy(session, phone) => {
                if let Some(session) = self.pick(session) {
                    self.steal(session, phone).await;
                }
            }
            Operation::Verify(session, back) => {
                if let Some(session) = self.pick(session) {
                    self.verify(session, back).await;
                }
            }
            Operation::Introspect(session, back) => {
                if let Some(session) = self.pick(session) {
                    self.introspect(session, back).await;
                }
            }
            Operation::EndByToken(session, back) => {
                if let Some(session) = self.pick(session) {
                    self.end_by_token(session, back).await;
                }
            }
            Operation::EndById(session) => {
                if let Some(session) = self.pick(session) {
                    let id = self.sessions[session].id;
                    self.world.end(EndSession::Id(id)).await.unwrap();
                    self.sessions[session].ended = true;
                }
            }
            Operation::Revoke(phone) => self.revoke(phone).await,
            Operation::RevokeSession(session) => {
                if let Some(session) = self.pick(session) {
                    self.revoke_session(session).await;
                }
            }
            Operation::RevokeSubject(phone) => self.revoke_subject(phone).await,
            Operation::Suspend(phone) => self.suspend(phone).await,
            Operation::Resume(phone) => self.resume(phone).await,
            Operation::Advance(span) => self.world.advance(span),
            Operation::List(phone) => self.list(phone).await,
        }
    }

    async fn register(&mut self, at: usize) {
        let now = self.world.now();
        if let Some((registration, since)) = &self.owners[at].registered {
            let expected = if since.after(CHALLENGE) <= now {
                Err(Reason::ChallengeInvalid)
            } else if self.owners[at].revoked {
                Err(Reason::DeviceKeyBanned)
            } else if self.owners[at].suspended {
                Err(Reason::DeviceSuspended)
            } else {
                Ok(self.phones[at].id())
            };
            let seen = self.world.send(registration).await;
            assert_eq!(seen.map(|device| device.id), expected);
            return;
        }
        // A phone of this day, because its certificates live two weeks.
        self.phones[at] = self.world.phone(KINDS[at], SUBJECTS[at]);
        let registration = self.world.registration(&mut self.phones[at]);
        let device = self.world.send(&registration).await.unwrap();
        self.phones[at].id = Some(device.id);
        self.owners[at].registered = Some((registration, now));
    }

    async fn issue(&mut self, at: usize) {
        if self.owners[at].registered.is_none() {
            return;
        }
        let of_device = |session: &Held| session.phone == at;
        let of_subject = |session: &Held| SUBJECTS[session.phone] == SUBJECTS[at];
        let device_full = self.alive(of_device) >= DEVICE_SESSIONS_MAX;
        let full = device_full || self.alive(of_subject) >= SUBJECT_SESSIONS_MAX;
        let seen = self.world.issue(&self.phones[at]).await;
        if self.owners[at].revoked {
            assert_eq!(seen.map(|_| ()), Err(Reason::DeviceRevoked));
            return;
        }
        if self.owners[at].suspended {
            assert_eq!(seen.map(|_| ()), Err(Reason::DeviceSuspended));
            return;
        }
        if full && self.rule == SessionLimitRule::Refuse {
            assert_eq!(seen.map(|_| ()), Err(Reason::SessionLimit));
            return;
        }
        if full {
            let candidates = (0..self.sessions.len()).filter(|held| {
                let session = &self.sessions[*held];
                let near = of_device(session) || (!device_full && of_subject(session));
                near && self.death(session).is_none()
            });
            let oldest = candidates.min_by_key(|held| self.sessions[*held].rotated_at);
            self.sessions[oldest.unwrap()].ended = true;
            EVICTED.fetch_add(1, Ordering::SeqCst);
        }
        let grant = seen.unwrap();
        let now = self.world.now();
        self.sessions.push(Held {
            id: grant.session.id,
            phone: at,
            refresh_tokens: vec![grant.refresh_token],
            access_tokens: vec![(grant.access_token, grant.access_expires_at)],
            rotated_at: now,
            idle_at: now.after(IDLE),
            ends_at: now.after(ABSOLUTE),
            ended: false,
            cut: false,
        });
    }

    async fn refresh(&mut self, at: usize, back: usize) {
        let now = self.world.now();
        let session = &self.sessions[at];
        let newest = session.refresh_tokens.len() - 1;
        let presented = newest.saturating_sub(back);
        let token = session.refresh_tokens[presented].clone();
        let seen = self
            .world
            .refresh(&self.phones[session.phone], &token)
            .await;
        let over = session.ends_at <= now;
        // The token itself says when its session is over, before anything is looked up.
        let last_second = session.ends_at.as_secs() <= now.as_secs();
        let death = if over {
            Some(Reason::SessionExpiredAbsolute)
        } else {
            self.refusal(session)
        };
        if let Some(reason) = death {
            assert_eq!(seen.map(|_| ()), Err(reason));
            return;
        }
        let in_grace = now <= session.rotated_at.after(GRACE);
        if presented == newest || (presented + 1 == newest && in_grace) {
            if last_second {
                assert_eq!(seen.map(|_| ()), Err(Reason::SessionExpiredAbsolute));
                return;
            }
            let refreshed = seen.unwrap();
            let grant = refreshed.grant;
            let session = &mut self.sessions[at];
            session
                .access_tokens
                .push((grant.access_token, grant.access_expires_at));
            if presented == newest {
                assert_eq!(refreshed.outcome, RefreshOutcome::Rotated);
                session.refresh_tokens.push(grant.refresh_token);
                session.rotated_at = now;
                session.idle_at = now.after(IDLE);
            } else {
                assert_eq!(refreshed.outcome, RefreshOutcome::Retry);
                let successor = &session.refresh_tokens[newest];
                assert_eq!(grant.refresh_token.expose(), successor.expose());
            }
        } else {
            assert_eq!(seen.map(|_| ()), Err(Reason::RefreshTokenReused));
            self.sessions[at].ended = true;
        }
    }

    /// Only the phone of the session gets anywhere; the others change nothing.
    async fn steal(&mut self, at: usize, thief: usize) {
        let session = &self.sessions[at];
        if session.phone == thief || self.owners[thief].registered.is_none() {
            return;
        }
        for token in &session.refresh_tokens {
            let seen = self.world.refresh(&self.phones[thief], token).await;
            assert_eq!(seen.map(|_| ()), Err(Reason::TokenInvalid));
        }
    }

    /// What is true of one of the session's access tokens.
    fn standing(&self, session: &Held, back: usize) -> (Secret<String>, Result<(), Reason>) {
        let newest = session.access_tokens.len() - 1;
        let (token, expires_at) = &session.access_tokens[newest.saturating_sub(back)];
        let now = self.world.now();
        // Whole seconds, rounded down.
        let expected = if expires_at.as_secs() * 1000 <= now.as_millis() {
            Err(Reason::TokenExpired)
        } else {
            self.refusal(session).map_or(Ok(()), Err)
        };
        (token.clone(), expected)
    }

    async fn verify(&mut self, at: usize, back: usize) {
        let session = &self.sessions[at];
        let (token, expected) = self.standing(session, back);
        let call = self.world.call(&self.phones[session.phone], &token);
        assert_eq!(self.world.decide(call.clone()).await, Ok(expected));
        let replayed = match expected {
            Err(Reason::TokenExpired) => Reason::TokenExpired,
            _ => Reason::ProofReplayed,
        };
        assert_eq!(self.world.decide(call).await, Ok(Err(replayed)));
    }

    async fn introspect(&mut self, at: usize, back: usize) {
        let (token, expected) = self.standing(&self.sessions[at], back);
        assert_eq!(self.world.active(&token).await, Ok(expected.is_ok()));
    }

    async fn end_by_token(&mut self, at: usize, back: usize) {
        let session = &self.sessions[at];
        let newest = session.refresh_tokens.len() - 1;
        let token = session.refresh_tokens[newest.saturating_sub(back)].clone();
        self.world.end(EndSession::Token(token)).await.unwrap();
        self.sessions[at].ended = true;
    }

    async fn revoke(&mut self, at: usize) {
        let Some((registration, _)) = &self.owners[at].registered else {
            return;
        };
        let revoked = self.world.revoke(self.phones[at].id()).await.unwrap();
        assert_eq!(revoked.device.subject, registration.subject);
        let why = RevocationReason::Stolen;
        let state = assay::session::DeviceState::Revoked {
            at: revoked.receipt.effective_at,
            why,
        };
        assert_eq!(revoked.device.state, state);
        self.owners[at].revoked = true;
    }

    async fn revoke_session(&mut self, at: usize) {
        let session = &mut self.sessions[at];
        let request = RevokeSession {
            session: session.id,
            why: RevocationReason::Lost,
            validate_only: false,
            by: caller(),
        };
        let seen = revoke_session::run(&self.world.engine, request).await;
        // A day after its time it may be forgotten.
        if session.ends_at.after(SECOND * 86_400) > self.world.now() {
            assert!(seen.is_ok());
        }
        session.ended = true;
    }

    async fn revoke_subject(&mut self, at: usize) {
        let request = RevokeSubject {
            subject: SUBJECTS[at].parse().unwrap(),
            why: RevocationReason::Lost,
            validate_only: false,
            by: caller(),
        };
        let seen = revoke_subject::run(&self.world.engine, request).await;
        assert_eq!(seen.unwrap().effective_at, self.world.now());
        let sessions = self.sessions.iter_mut();
        for session in sessions.filter(|held| SUBJECTS[held.phone] == SUBJECTS[at]) {
            session.cut = true;
        }
    }

    async fn suspend(&mut self, at: usize) {
        if self.owners[at].registered.is_none() {
            return;
        }
        let why = SuspensionReason::Mislaid;
        let seen = self.world.suspend(self.phones[at].id(), why).await;
        let expected = if self.owners[at].revoked {
            Err(Reason::DeviceRevoked)
        } else {
            self.owners[at].suspended = true;
            Ok(())
        };
        assert_eq!(seen.map(|_| ()), expected);
    }

    async fn resume(&mut self, at: usize) {
        if self.owners[at].registered.is_none() {
            return;
        }
        let seen = self.world.resume(self.phones[at].id()).await;
        let expected = if self.owners[at].revoked {
            Err(Reason::DeviceRevoked)
        } else {
            self.owners[at].suspended = false;
            Ok(())
        };
        assert_eq!(seen.map(|_| ()), expected);
    }

    async fn list(&mut self, at: usize) {
        let same_subject = |session: &&Held| SUBJECTS[session.phone] == SUBJECTS[at];
        let expected: Vec<SessionId> = self
            .sessions
            .iter()
            .rev()
            .filter(same_subject)
            .filter(|session| self.refusal(session).is_none())
            .map(|session| session.id)
            .collect();
        let listed = self.world.sessions(&self.phones[at].subject).await;
        let listed: Vec<SessionId> = listed.iter().map(|session| session.id).collect();
        assert_eq!(listed, expected);
    }
}

/// Cases that ran, so that a filter that lets nothing through would be noticed.
static REFRESHED: AtomicUsize = AtomicUsize::new(0);
static EVICTED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn any_sequence_of_operations_goes_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let rule = select(vec![
        SessionLimitRule::EvictOldest,
        SessionLimitRule::Refuse,
    ]);
    proptest!(config, |(operations in vec(operation(), 1..60), rule in rule)| {
        runtime.block_on(async {
            let mut model = Model::new(rule);
            // Something to begin with: a long way to the first session makes dull cases.
            for operation in [Operation::Register(0), Operation::Issue(0)] {
                model.run(operation).await;
            }
            for operation in operations {
                model.run(operation).await;
            }
            let tokens = model.sessions.iter().map(|held| held.refresh_tokens.len() - 1);
            REFRESHED.fetch_add(tokens.sum(), Ordering::SeqCst);
        });
    });
    assert!(REFRESHED.load(Ordering::SeqCst) > 300);
    assert!(EVICTED.load(Ordering::SeqCst) > 0);
}
