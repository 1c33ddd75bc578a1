//! Everything that takes something from a session, what gives it back, and what is heard of it.

use assay::flow::end_session::EndSession;
use assay::flow::revoke_consent::{self, RevokeConsent};
use assay::flow::revoke_session::{self, RevokeSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::flow::set_not_before::{self, NotBefore, SetNotBefore};
use assay::session::{Actor, Reach, RevocationReason, SuspensionReason};

use super::super::world::app_id;
use super::operation::At;
use super::*;

impl Model {
    /// Whether a change that is always granted was made.
    fn made<T: std::fmt::Debug>(&mut self, answer: Result<T, Reason>, to_lose: (u32, u32)) -> bool {
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

    pub(super) async fn end(&mut self, at: usize) {
        let Some(id) = self.sessions[at].id else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = self.world.end(EndSession::Id(id)).await;
        if self.made(answer, to_lose) {
            self.truth.end(at);
        }
    }

    pub(super) async fn end_by_token(&mut self, at: usize, back: usize) {
        let Some((presented, token)) = self.sessions[at].token(back) else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = self.world.end(EndSession::Token(token)).await;
        if self.made(answer, to_lose) {
            self.truth.end_by_token(at, presented);
        }
    }

    pub(super) async fn revoke(&mut self, at: usize) {
        let Some(id) = self.registered(at).map(Phone::id) else {
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

    pub(super) async fn revoke_session(&mut self, at: usize) {
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

    pub(super) async fn revoke_subject(&mut self, at: usize) {
        let request = RevokeSubject {
            subject: Self::subject(at),
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

    pub(super) async fn suspend(&mut self, at: usize, suspended: bool) {
        let Some(id) = self.registered(at).map(Phone::id) else {
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
                self.follow(At::First).await;
            }
            // It holds here; of a device that is out for ever it says nothing new.
            Seen::Answer(Err(Reason::RevocationNotDurable)) if suspended => {
                let _ = self.truth.suspend(at, suspended);
            }
            Seen::Answer(answer) => assert_eq!(answer, self.truth.suspend(at, suspended)),
        }
    }

    pub(super) async fn revoke_consent(&mut self, at: usize, consent: usize) {
        let request = RevokeConsent {
            subject: Self::subject(at),
            consent: CONSENTS[consent].parse().unwrap(),
            why: RevocationReason::UserRequest,
            validate_only: false,
            by: caller(),
        };
        let to_lose = self.world.store.to_lose();
        let answer = revoke_consent::run(&self.world.engine, request).await;
        if self.made(answer.map_err(|failure| failure.reason), to_lose) {
            self.truth.revoke_consent(at, consent);
        }
    }

    /// One caller proposes it, and another confirms.
    pub(super) async fn set_not_before(&mut self) {
        self.world.store.lose_next(0, 0);
        let mut request = SetNotBefore {
            reach: Reach::App(app_id(BANK)),
            not_before: None,
            confirm: None,
            by: Actor::caller("spiffe://example/one".into()),
        };
        let proposed = set_not_before::run(&self.world.engine, request.clone()).await;
        let Ok(NotBefore::Proposed { confirm_token, .. }) = proposed else {
            panic!("{proposed:?}");
        };
        request.confirm = Some(confirm_token);
        let alone = set_not_before::run(&self.world.engine, request.clone()).await;
        assert_eq!(alone.unwrap_err().reason, Reason::TwoPersonRequired);
        request.by = Actor::caller("spiffe://example/other".into());
        match set_not_before::run(&self.world.engine, request).await {
            Ok(NotBefore::Confirmed(cut)) => drop(cut.outcome.unwrap()),
            other => panic!("{other:?}"),
        }
        self.truth.set_not_before();
    }

    pub(super) fn switch(&mut self, disabled: bool) {
        self.truth.switch(disabled);
        if disabled {
            self.world.disable(BANK);
        } else {
            self.world.enable(BANK);
        }
    }

    pub(super) async fn follow(&mut self, at: At) {
        // A round that fails is made again before long.
        self.world.store.lose_next(0, 0);
        self.catch_up(at).await;
        let second = self.second();
        let engine = match at {
            At::First => &self.world.engine,
            At::Second => &second,
        };
        let ear = &mut self.ears[at as usize];
        let round = ear.follower.round(engine).await.unwrap();
        assert!(round.complete && round.unreadable == 0, "{round:?}");
        ear.heard = Some(Heard {
            at: engine.clock.now(),
            step: self.step,
            truth: self.truth.clone(),
        });
        if at == At::First {
            self.unheard = false;
        }
    }

    /// What was not acknowledged may be known to the first instance alone. The second is held to what
    /// was.
    pub(super) async fn catch_up(&mut self, at: At) {
        if at == At::Second && self.world.engine.board.overlay().waits() > 0 {
            let left = self.world.store.to_lose();
            Box::pin(self.follow(At::First)).await;
            self.world.store.lose_next(left.0, left.1);
        }
    }

    pub(super) async fn list(&mut self, at: usize) {
        // A list is read to its end; what is lost on the way is tried elsewhere.
        self.world.store.lose_next(0, 0);
        let expected = self.truth.list(at);
        let listed = self.world.sessions(&Self::subject(at)).await;
        assert_eq!(listed.len(), expected.len());
        for (session, number) in listed.iter().zip(expected) {
            // This is how on-call finds one that nobody was told of.
            let id = *self.sessions[number].id.get_or_insert(session.id);
            assert_eq!(id, session.id);
        }
    }
}
