//! Registrations, and everything that gives tokens.

use assay::flow::elevate_session::{self, ElevateSession};
use assay::flow::rotate_session::{self, RotateSession};
use assay::flow::{Grant, SessionName, refresh_session};
use assay::simulator::proof::Dpop;

use super::super::world::scopes;
use super::calls::{Request, Sent};
use super::*;

/// What the sign-in server says of a user who has shown more.
pub(super) const HIGH: &str = "urn:acr:3";

impl Model {
    pub(super) async fn register(&mut self, at: usize) {
        let now = self.world.now();
        let over = |(_, since): &(_, Timestamp)| since.after(CHALLENGE) <= now;
        let known = self.registrations[at].as_ref();
        if known.is_none_or(|known| over(known) && !self.truth.is_registered(at)) {
            if self.truth.is_disabled() {
                return;
            }
            // A phone of this day, because its certificates live two weeks.
            let mut phone = self.new_phone(at);
            let registration = self.world.registration(&mut phone);
            self.phones[at] = Some(phone);
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
                if let (Ok(id), Some(phone)) = (id, &mut self.phones[at]) {
                    assert_eq!(*phone.id.get_or_insert(id), id);
                }
            }
        }
    }

    fn new_phone(&self, at: usize) -> Phone {
        let kind = if self.asserts(at) {
            Kind::Asserting
        } else {
            KINDS[at]
        };
        let mut phone = self.world.phone(kind, SUBJECTS[at]);
        phone.count = (self.rules.replay == ReplayRule::Window).then(|| AtomicU64::new(1));
        phone
    }

    pub(super) async fn issue(&mut self, at: usize, consent: Option<usize>) {
        if self.registrations[at].is_none() {
            self.register(at).await;
        }
        let Some(phone) = self.registered(at) else {
            return;
        };
        let mut opening = self.world.opening(phone, &["accounts"]);
        opening.consent = consent.map(|number| CONSENTS[number].parse().unwrap());
        let to_lose = self.world.store.to_lose();
        let answer = self.world.open(opening).await;
        let mut held = Held {
            phone: at,
            id: None,
            refresh_tokens: BTreeMap::new(),
            access_tokens: Vec::new(),
        };
        match self.seen(answer, to_lose) {
            Seen::NotDone => return,
            Seen::DoneUnheard => {
                self.truth.issue(at, consent).unwrap();
            }
            Seen::Answer(answer) => {
                let expected = self.truth.issue(at, consent);
                let short = answer.as_ref().map(|_| ()).map_err(|reason| *reason);
                assert_eq!(short, expected.map(|_| ()));
                let Ok(grant) = answer else {
                    return;
                };
                held.id = Some(grant.session.id);
                held.take(grant, self.step);
            }
        }
        self.sessions.push(held);
    }

    pub(super) async fn refresh(&mut self, at: usize, back: usize, heard: bool) {
        let session = &self.sessions[at];
        let Some((presented, token)) = session.token(back) else {
            return;
        };
        let proof = self
            .world
            .proof(self.phone(session.phone), "RefreshSession");
        let to_lose = self.world.store.to_lose();
        let answer = self.world.refresh_with(proof.clone(), &token, &[]).await;
        let used = !matches!(
            answer,
            Err(Reason::SessionExpiredAbsolute | Reason::AppDisabled)
        );
        if used {
            let request = Request::Refresh(at, token, proof);
            let sent = Sent::to_store(request, self.world.now());
            self.sent.push(sent);
        }
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
        if let (Ok(refreshed), true) = (answer, heard) {
            one_more(&REFRESHED);
            self.sessions[at].take(refreshed.grant, self.step);
        }
    }

    /// Only the phone of the session gets anywhere; the others change nothing.
    pub(super) async fn steal(&mut self, at: usize, thief: usize) {
        let session = &self.sessions[at];
        if session.phone == thief {
            return;
        }
        let Some(thief) = self.registered(thief) else {
            return;
        };
        for token in session.refresh_tokens.values() {
            let seen = self.world.refresh(thief, token).await;
            assert_eq!(seen.map(|_| ()), Err(Reason::TokenInvalid));
        }
    }

    /// A session by its name, and a proof for it by its phone; `None`: nobody knows the name, or its
    /// record may be gone.
    fn named(&self, at: usize, method: &str) -> Option<(SessionName, Secret<String>)> {
        let held = &self.sessions[at];
        let session = held.id.filter(|_| !self.truth.may_be_forgotten(at))?;
        let phone = self.phone(held.phone);
        let uri = format!("https://assay.example/assay.v1.SessionService/{method}");
        let nonce = self.world.engine.next_nonce();
        let dpop = Dpop::new("POST", &uri, self.world.now()).unwrap();
        let proof = phone.sign(&dpop.with_nonce(&nonce).with_session(session.to_string()));
        let name = SessionName {
            subject: phone.subject.clone(),
            device: phone.id(),
            session,
        };
        Some((name, Secret::new(proof)))
    }

    pub(super) async fn elevate(&mut self, at: usize) {
        let Some((session, proof)) = self.named(at, "ElevateSession") else {
            return;
        };
        let request = ElevateSession {
            session,
            proof,
            presence_proof: None,
            acr: HIGH.to_owned(),
            amr: vec!["otp".to_owned()],
            auth_time: None,
            scopes: scopes(&[]),
            by: caller(),
        };
        let to_lose = self.world.store.to_lose();
        let answer = elevate_session::run(&self.world.engine, request.clone()).await;
        match self.seen(answer.map_err(|failure| failure.reason), to_lose) {
            Seen::NotDone => return,
            Seen::DoneUnheard => {
                self.truth.elevate(at).unwrap();
            }
            Seen::Answer(answer) => {
                let expected = self.truth.elevate(at);
                let short = |elevated: &elevate_session::Elevated| elevated.session.generation;
                let seen = answer.as_ref().map(short).map_err(|reason| *reason);
                assert_eq!(seen, expected);
                let Ok(elevated) = answer else {
                    return;
                };
                one_more(&ELEVATED);
                self.sessions[at].access_tokens.push(Token {
                    text: elevated.access.token,
                    access: Access {
                        generation: elevated.session.generation,
                        expires_at: elevated.access.expires_at,
                        elevated: true,
                    },
                    born: self.step,
                });
            }
        }
        // The very same again: what it was refused with anyway, or that its proof is used up.
        self.world.store.lose_next(0, 0);
        let again = elevate_session::run(&self.world.engine, request).await;
        let expected = self.truth.clone().elevate(at).err();
        let expected = expected.unwrap_or(Reason::ProofReplayed);
        assert_eq!(again.map(drop).map_err(|f| f.reason), Err(expected));
    }

    pub(super) async fn rotate(&mut self, at: usize) {
        let Some((session, proof)) = self.named(at, "RotateSession") else {
            return;
        };
        let request = RotateSession {
            session,
            proof,
            by: caller(),
        };
        let to_lose = self.world.store.to_lose();
        let answer = rotate_session::run(&self.world.engine, request.clone()).await;
        match self.seen(answer.map_err(|failure| failure.reason), to_lose) {
            Seen::NotDone => return,
            Seen::DoneUnheard => {
                self.truth.rotate(at).unwrap();
            }
            Seen::Answer(answer) => {
                let expected = self.truth.rotate(at);
                let short =
                    |rotated: &rotate_session::RotatedSession| rotated.grant.session.generation;
                let seen = answer.as_ref().map(short).map_err(|reason| *reason);
                assert_eq!(seen, expected);
                let Ok(rotated) = answer else {
                    return;
                };
                one_more(&ROTATED);
                self.sessions[at].take(rotated.grant, self.step);
            }
        }
        self.world.store.lose_next(0, 0);
        let again = rotate_session::run(&self.world.engine, request).await;
        let expected = self.truth.clone().rotate(at).err();
        let expected = expected.unwrap_or(Reason::ProofReplayed);
        assert_eq!(again.map(drop).map_err(|f| f.reason), Err(expected));
    }
}

impl Held {
    /// Takes the tokens of an answer; one of a generation that it has is the same.
    fn take(&mut self, grant: Grant, step: usize) {
        let generation = grant.session.generation;
        self.access_tokens.push(Token {
            text: grant.access_token,
            access: Access {
                generation,
                expires_at: grant.access_expires_at,
                elevated: false,
            },
            born: step,
        });
        let refresh = grant.refresh_token;
        let kept = self.refresh_tokens.entry(generation);
        let kept = kept.or_insert_with(|| refresh.clone());
        assert_eq!(kept.expose(), refresh.expose());
    }
}
