//! Calls of APIs, verified by either instance, and proofs that come again or late.

use assay::flow::CURRENT_FOR;
use assay::flow::verify_request::{self, Consistency, Decision, VerifyRequest};

use super::operation::{Asked, At};
use super::tokens::HIGH;
use super::*;

/// A request that was sent with a proof.
#[derive(Clone)]
pub(super) enum Request {
    /// With an access token.
    Verify(Access, Box<VerifyRequest>),
    /// Of a session, with a refresh token.
    Refresh(usize, Secret<String>, String),
}

#[derive(Clone)]
pub(super) struct Sent {
    request: Request,
    made_at: Timestamp,
    /// The one instance that knows of it; `None`: the store does.
    only: Option<At>,
}

impl Sent {
    pub(super) const fn to_store(request: Request, made_at: Timestamp) -> Self {
        Self {
            request,
            made_at,
            only: None,
        }
    }
}

impl Model {
    /// A verdict; the outer error says that none could be found.
    async fn decide(&self, at: At, call: VerifyRequest) -> Result<Decision, Reason> {
        let answer = match at {
            At::First => verify_request::run(&self.world.engine, call).await,
            At::Second => verify_request::run(&self.second(), call).await,
        };
        answer.map_err(|failure| failure.reason)
    }

    /// One of the session's access tokens.
    fn access(&self, at: usize, back: usize) -> Option<Token> {
        let tokens = &self.sessions[at].access_tokens;
        let newest = tokens.len().checked_sub(1)?;
        Some(tokens[newest.saturating_sub(back)].clone())
    }

    pub(super) async fn verify(&mut self, at: usize, back: usize, asked: Asked) {
        let over = |token: Token| token.access.expires_at <= self.world.now();
        if back == 0 && self.access(at, 0).is_none_or(over) {
            self.refresh(at, 0, true).await;
        }
        let Some(token) = self.access(at, back) else {
            return;
        };
        self.catch_up(asked.at).await;
        let phone = self.phone(self.sessions[at].phone);
        let mut call = self.world.call(phone, &token.text);
        call.consistency = asked.consistency;
        if asked.high {
            call.required.acr_values = vec![HIGH.to_owned()];
        }
        let to_lose = self.world.store.to_lose();
        let answer = self.decide(asked.at, call.clone()).await;
        let mut only = (asked.consistency == Consistency::Local).then_some(asked.at);
        if let Seen::Answer(answer) = self.seen(answer, to_lose) {
            self.check(at, &token, asked, &answer.unwrap());
        } else {
            // It was claimed all the same.
            only = None;
        }
        // What is found before the proof is used up does not use it up.
        if self.truth.unasked(token.access).is_ok() {
            self.sent.push(Sent {
                request: Request::Verify(token.access, Box::new(call)),
                made_at: self.world.now(),
                only,
            });
        }
    }

    /// Holds a decision against what is true, and one that was taken without the store against what the
    /// instance has to know.
    fn check(&self, at: usize, token: &Token, asked: Asked, decision: &Decision) {
        let verdict = decision.verdict.as_ref().map(|_| ()).map_err(|why| *why);
        let enough = if asked.high && !token.access.elevated {
            Err(Reason::StepUpRequired)
        } else {
            Ok(())
        };
        let device = self.sessions[at].phone;
        if decision.by == Consistency::Local && verdict.is_ok() {
            one_more(&TAKEN_LOCALLY);
        }
        let fresh = self.truth.verify(at, token.access).and(enough);
        if verdict == fresh {
            return;
        }
        let heard = &self.ears[asked.at as usize].heard;
        let heard = heard.as_ref().unwrap_or_else(|| {
            panic!("{verdict:?} and not {fresh:?} by one that has heard nothing")
        });
        // A resumption is heard of with the next round.
        let helped = matches!(
            fresh,
            Ok(()) | Err(Reason::StepUpRequired | Reason::AccessTokenVoid)
        );
        let suspended = heard.truth.is_suspended(device) && helped;
        if asked.at == At::Second && suspended && verdict == Err(Reason::DeviceSuspended) {
            return;
        }
        let why = format!("{verdict:?} and not {fresh:?}, {asked:?}");
        assert_eq!(asked.consistency, Consistency::Local, "{why}");
        assert!(asked.at == At::Second || self.unheard, "{why}");
        assert_eq!(
            verdict,
            self.truth.unasked(token.access).and(enough),
            "{why}"
        );
        assert!(self.world.now().since(heard.at) <= CURRENT_FOR, "{why}");
        let known = token.born <= heard.step && heard.truth.keeps_out(at, token.access);
        assert!(!known, "{why}, and it has heard of that");
        one_more(&NOT_YET_HEARD);
    }

    pub(super) async fn replay(&mut self, index: Index, at: At) {
        if self.sent.is_empty() {
            return;
        }
        let sent = self.sent[index.index(self.sent.len())].clone();
        self.world.store.lose_next(0, 0);
        let step = |at: Timestamp| at.as_secs() / 60;
        let used = if step(self.world.now()) > step(sent.made_at) + 2 {
            Reason::ProofNonceStale
        } else {
            Reason::ProofReplayed
        };
        match sent.request {
            Request::Verify(access, mut call) => {
                // The store knows nothing of what was taken without it.
                if sent.only.is_none() {
                    call.consistency = Consistency::Fresh;
                }
                let seen = self.decide(sent.only.unwrap_or(at), *call).await.unwrap();
                let expected = self.truth.unasked(access).err().unwrap_or(used);
                assert_eq!(seen.verdict.map(drop), Err(expected));
            }
            Request::Refresh(session, token, proof) => {
                let seen = self.world.refresh_with(proof, &token, &[]).await;
                let expected = self.truth.refreshable(session).err().unwrap_or(used);
                assert_eq!(seen.map(drop), Err(expected));
            }
        }
        one_more(&REPLAYED);
    }

    pub(super) async fn late(&mut self, at: usize, behind: u64, where_late: At) {
        let Some(token) = self.access(at, 0) else {
            return;
        };
        self.catch_up(where_late).await;
        self.world.store.lose_next(0, 0);
        let owner = self.sessions[at].phone;
        let phone = self.phone(owner);
        let late = self.world.call(phone, &token.text);
        match &phone.count {
            _ if self.asserts(owner) => {
                for _ in 1..behind {
                    self.world.call(phone, &token.text);
                }
            }
            Some(count) => {
                count.fetch_add(behind - 1, Ordering::SeqCst);
            }
            None => {}
        }
        let newest = self.world.call(phone, &token.text);
        let asked = |at| Asked {
            at,
            consistency: Consistency::Fresh,
            high: false,
        };
        let seen = self.decide(At::First, newest.clone()).await.unwrap();
        self.check(at, &token, asked(At::First), &seen);
        let early = self.truth.unasked(token.access);
        let seen = self.decide(where_late, late.clone()).await.unwrap();
        let passes = self.rules.late(self.asserts(owner), behind);
        if let Err(expected) = early.and(passes) {
            assert_eq!(seen.verdict.map(drop), Err(expected));
        } else {
            self.check(at, &token, asked(where_late), &seen);
        }
        let replayed = early.and(Err(Reason::ProofReplayed));
        for call in [late, newest] {
            let seen = self.decide(where_late, call).await.unwrap();
            assert_eq!(seen.verdict.map(drop), replayed);
        }
    }

    pub(super) async fn introspect(&mut self, at: usize, back: usize) {
        let Some(token) = self.access(at, back) else {
            return;
        };
        let to_lose = self.world.store.to_lose();
        let answer = self.world.active(&token.text).await;
        if let Seen::Answer(answer) = self.seen(answer, to_lose) {
            let expected = self.truth.verify(at, token.access);
            assert_eq!(answer, Ok(expected.is_ok()));
        }
    }
}
