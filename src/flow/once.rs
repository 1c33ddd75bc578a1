//! What makes a proof good once: a claim of its `jti`, or a use of its key's counter.
//!
//! Both are made in the trip that loads the records, or with the commit. A claim names the request by
//! its owner, so a flow that starts again makes it again. A counter remembers its last use only: it is
//! used once, and the flow remembers what it said.

use std::sync::OnceLock;
use std::time::Duration;

use super::{App, Failure};
use crate::id::Bucket;
use crate::key::{Thumbprint, sha256};
use crate::policy::{CounterOrder, ReplayRule, Signal};
use crate::proof::{Form, ProofRefusal, VerifiedProof};
use crate::reason::Reason;
use crate::secret::random;
use crate::store::{Claim, Claimed, CounterUse, OperationId, Windowed, keys};
use crate::time::Timestamp;
use crate::token::challenge::VerifiedChallenge;

/// A used proof is remembered this much longer than it could be used, for clocks that differ between
/// our instances and the store.
const PROOF_SLACK: Duration = Duration::from_secs(30);

/// The counter of an App Attest key is remembered for as long as the longest session lives (400 days)
/// from its last use on: it is a fact about the key, and what goes back is a copy of it.
const APP_ATTEST_COUNTER_KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 3600);

/// What makes something signed good once.
#[derive(Debug)]
pub(super) struct Once {
    by: By,
    said: OnceLock<Windowed>,
}

#[derive(Debug)]
enum By {
    Claim(Claim),
    Counter(CounterUse),
}

impl Once {
    /// For a proof, by the rule of its app. Its owner is this attempt alone: only a re-sent store call
    /// finds the claim or the use its own.
    ///
    /// # Errors
    /// `PROOF_INVALID` when it has to have a `ctr` and has none.
    pub(super) fn of(
        app: &App,
        proof: &VerifiedProof,
        bucket: Bucket,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        Self::of_request(app, proof, bucket, (random()?, now))
    }

    /// The same for a request that may be made again by another call, with the same proof: its owner is
    /// the request.
    ///
    /// # Errors
    /// As [`Once::of`].
    pub(super) fn of_request(
        app: &App,
        proof: &VerifiedProof,
        bucket: Bucket,
        (owner, now): ([u8; 16], Timestamp),
    ) -> Result<Self, Failure> {
        let acceptable_for = proof.acceptable_until().since(now) + PROOF_SLACK;
        let by_claim = || -> Result<By, Failure> {
            Ok(By::Claim(Claim {
                key: keys::proof(bucket, &proof.id()),
                owner: owner.to_vec(),
                live_for: Some(acceptable_for),
            }))
        };
        let by_counter = |counter, order, live_for| -> Result<By, Failure> {
            Ok(By::Counter(CounterUse {
                key: keys::proof_counter(bucket, proof.thumbprint()),
                counter,
                order,
                operation: OperationId(owner),
                live_for: Some(live_for),
            }))
        };
        let rules = &app.policy.proof;
        let by = match (proof.form(), rules.replay) {
            (Form::AppAttest { counter }, _) => {
                let kept_for = APP_ATTEST_COUNTER_KEPT_FOR.max(acceptable_for);
                by_counter(counter, rules.counter, kept_for)?
            }
            (Form::Dpop, ReplayRule::Jti) => by_claim()?,
            (Form::Dpop, ReplayRule::Window) => {
                let counter = proof.counter().ok_or(ProofRefusal::Malformed("ctr"))?;
                by_counter(counter, CounterOrder::Window, acceptable_for)?
            }
        };
        let said = OnceLock::new();
        Ok(Self { by, said })
    }

    /// For an assertion that vouches for another key under a challenge: it uses the same counter as
    /// the proofs of its key. The same voucher again is the same use.
    pub(super) fn of_voucher(
        app: &App,
        (key, counter): (&Thumbprint, u32),
        challenge: &VerifiedChallenge,
        bucket: Bucket,
    ) -> Self {
        let mut operation = [0; 16];
        for (to, from) in operation.iter_mut().zip(sha256(challenge.id())) {
            *to = from;
        }
        Self {
            by: By::Counter(CounterUse {
                key: keys::proof_counter(bucket, key),
                counter,
                order: app.policy.proof.counter,
                operation: OperationId(operation),
                live_for: Some(APP_ATTEST_COUNTER_KEPT_FOR),
            }),
            said: OnceLock::new(),
        }
    }

    /// The claim to make in the next trip.
    pub(super) fn claim(&self) -> Option<Claim> {
        match &self.by {
            By::Claim(claim) => Some(claim.clone()),
            By::Counter(_) => None,
        }
    }

    /// The counter to use in the next trip: none when it said something before.
    pub(super) fn counter(&self) -> Option<CounterUse> {
        match &self.by {
            By::Counter(used) if self.said.get().is_none() => Some(used.clone()),
            By::Counter(_) | By::Claim(_) => None,
        }
    }

    /// Takes note of what the counter said in that trip, where it was asked.
    pub(super) fn heard(&self, said: Option<Windowed>) {
        if let Some(said) = said {
            self.said.get_or_init(|| said);
        }
    }

    /// Whether it is the first time, as the claims and what was heard of counters say.
    ///
    /// # Errors
    /// `PROOF_REPLAYED`
    pub(super) fn check(&self, claims: &[Claimed]) -> Result<(), Failure> {
        let unclaimed = claims.iter().all(|claim| *claim == Claimed::Granted);
        let signal = match self.said.get() {
            None | Some(Windowed::Admitted) if unclaimed => return Ok(()),
            None | Some(Windowed::Admitted | Windowed::Replayed) => Signal::ProofReplayed,
            Some(Windowed::TooOld) => Signal::CounterRegression,
        };
        Err(Failure::from(Reason::ProofReplayed).with_signal(signal))
    }
}
