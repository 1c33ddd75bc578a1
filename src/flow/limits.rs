//! How often things are done: what is counted, when, and for whom.
//!
//! - **Subject and device** are counted in the commit that does the thing. So nothing is counted but
//!   what is authentic, allowed and done: nobody uses up the limit of somebody else without their key,
//!   a commit that is sent twice counts once, and a refresh that is tried again counts nothing,
//!   because it writes nothing.
//! - **Network and caller** are counted in the trip that loads, and a request above either does
//!   nothing more. So are the tries of one refresh token, but only a retry is refused for them: what
//!   would go on to the next token always may.
//! - **A telling failure** counts a few times more, in a trip of its own behind it: by the network,
//!   and by the device where its own key has signed. The trip may get lost; then it was not counted.
//!
//! Each request counts once, however often it starts again. What is refused is not counted. No limit
//! ever ends or revokes anything.

use std::sync::OnceLock;
use std::time::Duration;

use super::{App, Engine, Failure};
use crate::client::ClientContext;
use crate::id::DeviceId;
use crate::policy::{Action, Rate};
use crate::reason::Reason;
use crate::session::{Actor, Device};
use crate::store::{Admission, Key, Limit, Limited, keys};
use crate::token::refresh::VerifiedRefresh;

/// A limit, and how it refuses.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    limit: Limit,
    reason: Reason,
    /// For the log.
    what: &'static str,
}

impl Counted {
    fn new(key: Key, rate: Rate, reason: Reason, what: &'static str) -> Self {
        let limit = Limit {
            key,
            every: rate.per / rate.count.max(1),
            burst: rate.count.max(1),
        };
        Self {
            limit,
            reason,
            what,
        }
    }

    /// What the store counts.
    pub(super) fn limit(&self) -> Limit {
        self.limit.clone()
    }

    /// The refusal, when it admits the next one after `retry_after`.
    pub(super) fn refusal(&self, retry_after: Duration) -> Failure {
        Failure::limited(self.reason, retry_after, self.what.to_owned())
    }
}

/// Limits that are counted in the trip that loads, the first time a request makes it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    counted: Vec<Counted>,
    said: OnceLock<Vec<Limited>>,
}

impl Gate {
    /// The caller, and the network a thing is asked for from.
    pub(super) fn of(engine: &Engine, action: Action, by: &Actor, client: &ClientContext) -> Self {
        let rate = engine.rates.network(action);
        let network = client.address.zip(rate).map(|(address, rate)| {
            let network = engine.keyring.network_tag(&address.network());
            let key = keys::network_rate(action, &network);
            Counted::new(key, rate, Reason::RateLimitedIp, "network")
        });
        Self::over(caller(engine, by).into_iter().chain(network))
    }

    /// The caller alone.
    pub(super) fn of_caller(engine: &Engine, by: &Actor) -> Self {
        Self::over(caller(engine, by))
    }

    /// The tries of one refresh token.
    pub(super) fn of_token(app: &App, token: &VerifiedRefresh) -> Self {
        let (session, generation) = (token.claims().session, token.claims().generation);
        let tries = app.policy.rates.refresh_retry.map(|rate| {
            let key = keys::refresh_tries(&session, generation);
            Counted::new(key, rate, Reason::RateLimitedDevice, "tries of one token")
        });
        Self::over(tries)
    }

    fn over(counted: impl IntoIterator<Item = Counted>) -> Self {
        Self {
            counted: counted.into_iter().collect(),
            said: OnceLock::new(),
        }
    }

    /// What to count in the next trip: nothing when it was counted before.
    pub(super) fn to_count(&self) -> Vec<Limit> {
        if self.said.get().is_some() {
            return Vec::new();
        }
        self.counted.iter().map(Counted::limit).collect()
    }

    /// Takes note of what that trip said, and leaves what it said of others.
    pub(super) fn heard<'a>(&self, said: &'a [Limited]) -> &'a [Limited] {
        if self.said.get().is_some() {
            return said;
        }
        let (own, others) = said
            .split_at_checked(self.counted.len())
            .unwrap_or((said, &[]));
        self.said.get_or_init(|| own.to_vec());
        others
    }

    /// Whether the request may go on.
    ///
    /// # Errors
    /// The reason of the first limit that is used up.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let said = self.said.get().into_iter().flatten();
        for (counted, said) in self.counted.iter().zip(said) {
            if let Limited::Refused { retry_after } = said {
                return Err(counted.refusal(*retry_after));
            }
        }
        Ok(())
    }

    /// The network's limit.
    fn network(&self) -> impl Iterator<Item = &Counted> {
        let counted = self.counted.iter();
        counted.filter(|counted| counted.reason == Reason::RateLimitedIp)
    }
}

fn caller(engine: &Engine, by: &Actor) -> Option<Counted> {
    let key = keys::caller_rate(by.as_str());
    let rate = engine.rates.caller?;
    Some(Counted::new(
        key,
        rate,
        Reason::RateLimitedCaller,
        "calling service",
    ))
}

/// What is counted with the commit that does a thing: the subject and the device.
///
/// `risky` says that the score of what it is done with has reached a threshold.
pub(super) fn done(
    engine: &Engine,
    app: &App,
    action: Action,
    (device, risky): (&Device, bool),
) -> Vec<Counted> {
    let rate = app.policy.rates.of(action).subject;
    let subject = rate.map(|rate| {
        let tag = engine.keyring.subject_tag(&device.subject);
        let key = keys::subject_rate(action, &device.app, &tag);
        Counted::new(key, rate, Reason::RateLimitedSubject, "subject")
    });
    // Whatever is held against a device lowers its rates, here and nowhere else.
    let divisor = if device.doubt.is_some() || risky {
        app.policy.rates.doubt_divisor
    } else {
        1
    };
    let device = of_device(app, action, &device.id, divisor);
    subject.into_iter().chain(device).collect()
}

pub(super) fn of_device(app: &App, action: Action, id: &DeviceId, divisor: u32) -> Option<Counted> {
    let rate = app.policy.rates.of(action).device?.lowered(divisor);
    let key = keys::device_rate(action, id);
    Some(Counted::new(key, rate, Reason::RateLimitedDevice, "device"))
}

/// Whether a failure says something about who sent the request: it was made with something that is
/// used up, unknown or somebody else's. What an honest app meets on a bad day does not: a stale nonce,
/// a session that was revoked, a scope too many.
const fn is_telling(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ProofInvalid
            | Reason::ProofKeyMismatch
            | Reason::ProofReplayed
            | Reason::RefreshTokenReused
            | Reason::DeviceKeyUnknown
            | Reason::DeviceKeyBanned
            | Reason::DeviceExists
            | Reason::ChallengeAlreadyUsed
    )
}

impl Engine {
    /// Counts a telling failure by its network, and by the device whose own key has signed what
    /// failed. One trip where there is something to count; what becomes of it changes nothing.
    pub(super) async fn note_failure(
        &self,
        failure: &Failure,
        gate: &Gate,
        device: Option<Counted>,
    ) {
        self.count(self.cost(failure, gate, device)).await;
    }

    /// What a failure counts.
    pub(super) fn cost(
        &self,
        failure: &Failure,
        gate: &Gate,
        device: Option<Counted>,
    ) -> Vec<Limit> {
        if !is_telling(failure.reason) {
            return Vec::new();
        }
        let limits = gate.network().chain(&device).map(|counted| &counted.limit);
        let cost = usize::try_from(self.rates.failure_cost).unwrap_or(0);
        limits
            .flat_map(|limit| std::iter::repeat_n(limit.clone(), cost))
            .collect()
    }

    /// Counts it.
    pub(super) async fn count(&self, limit: Vec<Limit>) {
        if limit.is_empty() {
            return;
        }
        let ask = Admission {
            limit,
            ..Admission::default()
        };
        // Where the store is away the failure is not counted: it is refused all the same.
        let _counted = self.store.admit(ask).await;
    }
}
