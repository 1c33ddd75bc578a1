//! Exchanging a receipt for a newer one: what is sent, what each answer means, when to ask again.
//!
//! Pure: whoever sends asks [`ReceiptRecord::step`] what to do, gives the reply to [`read`], and
//! keeps what [`next`] makes of the answer. Apple keeps what it knows of a device for about 30 days,
//! so a receipt that is not exchanged for that long has no successor.

use std::time::Duration;

use data_encoding::BASE64;

use super::{Age, Kind, RECEIPT_BYTES_MAX, ReceiptExpectation, ReceiptFacts, ReceiptRefusal};
use crate::attestation::apple::Environment;
use crate::attestation::roots::AppleRoots;
use crate::key::PublicKey;
use crate::time::Timestamp;

/// Largest body of a reply that is worth reading: a receipt in base64, and a line end.
pub const REPLY_BYTES_MAX: usize = RECEIPT_BYTES_MAX / 3 * 4 + 8;

/// Where receipts are exchanged; the request is a `POST`.
const PRODUCTION_URL: &str = "https://data.appattest.apple.com/v1/attestationData";
const DEVELOPMENT_URL: &str = "https://data-development.appattest.apple.com/v1/attestationData";

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What due times are spread over, so that devices registered at once do not ask at once.
const SPREAD: Duration = HOUR;

/// How long after a receipt was made it can be exchanged, when it does not say so itself. Apple's
/// say a day.
const EXCHANGE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Least time between a success and the next attempt, whatever the new receipt says.
const SUCCESS_GAP_MIN: Duration = HOUR;

/// How long to wait when Apple says that it is too early and the receipt does not say until when.
const TOO_EARLY_GAP: Duration = Duration::from_secs(6 * 60 * 60);

/// How long to wait while Apple does not take our key. It does not get better by itself.
const UNAUTHORIZED_GAP: Duration = HOUR;

/// The first wait after a failure; each further failure doubles it.
const BACKOFF_FIRST: Duration = MINUTE;
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// `BACKOFF_FIRST` has passed `BACKOFF_MAX` by then.
const DOUBLINGS_MAX: u32 = 9;

/// The longest wait a reply may impose.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept of a device's receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRecord {
    /// The newest receipt that was verified.
    pub receipt: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Before when Apple will not exchange it; a receipt that came with an attestation does not say.
    pub not_before: Option<Timestamp>,
    /// From when Apple will not exchange it.
    pub expires_at: Timestamp,
    /// The metric, once there was an exchange.
    pub risk_metric: Option<u32>,
    /// How many attempts in a row have brought nothing.
    pub attempts: u32,
    /// What is to be done.
    pub schedule: Schedule,
    /// How the last attempt ended, if there was one.
    pub last: Option<Outcome>,
}

/// Whether and when to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// From this instant on.
    DueAt(Timestamp),
    /// Never again.
    Ended(End),
}

/// Why there will be no newer receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Apple says the receipt is of the other environment.
    WrongEnvironment,
    /// Apple does not take the receipt.
    BadPayload,
    /// Apple has forgotten the key.
    NoData,
    /// The receipt has expired.
    Expired,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a newer receipt.
    Renewed,
    /// Not yet.
    TooEarly,
    /// For good.
    Ended(End),
    /// Apple does not take our key: wrong, revoked, or of another team. For the operator.
    Unauthorized,
    /// Apple asks us to slow down.
    RateLimited,
    /// Apple cannot answer, or answered as it should not.
    Unavailable,
    /// What came is no receipt to be believed. For the operator.
    NotBelieved,
}

/// What to do with a record now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this instant.
    Wait(Timestamp),
    /// Send this.
    Send(Request),
    /// Nothing, ever.
    Rest(End),
}

/// A request to Apple. The header `Authorization` holds the bare token of the developer key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To be sent to with `POST`.
    pub url: &'static str,
    /// The receipt in base64.
    pub body: String,
}

/// What came back, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The body, cut off behind [`REPLY_BYTES_MAX`] bytes at the earliest.
    pub body: &'a [u8],
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
}

/// Whose receipt is renewed, and whom we believe.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// `TEAM.bundle`.
    pub app_id: &'a str,
    /// The attested key of the device.
    pub key: &'a PublicKey,
    /// Where it comes from.
    pub environment: Environment,
    /// The pinned roots.
    pub roots: &'a AppleRoots,
}

/// What a reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A newer receipt.
    Renewed(Renewal),
    /// Not yet.
    TooEarly,
    /// Never.
    Ended(End),
    /// Our key is not taken.
    Unauthorized,
    /// Too many requests; wait at least as long as said.
    RateLimited(Option<Duration>),
    /// Any other failure, also that there was no reply; wait at least as long as said.
    Unavailable(Option<Duration>),
    /// A receipt that is not believed.
    NotBelieved(ReceiptRefusal),
}

/// A newer receipt that was verified. Only [`read`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    receipt: Vec<u8>,
    facts: ReceiptFacts,
}

impl Renewal {
    /// What it says.
    #[must_use]
    pub const fn facts(&self) -> &ReceiptFacts {
        &self.facts
    }
}

/// A share of a span, drawn by the caller: the core rolls no dice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(u32);

impl Jitter {
    /// From 32 random bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    fn of(self, span: Duration) -> Duration {
        let millis = (span.as_millis() * u128::from(self.0)) >> 32;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// Where the receipts of an environment are exchanged.
#[must_use]
pub const fn url(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => PRODUCTION_URL,
        Environment::Development => DEVELOPMENT_URL,
    }
}

impl ReceiptRecord {
    /// The record of a receipt that was verified with its attestation. The first exchange is due
    /// within an hour; Apple was seen to make it after minutes.
    #[must_use]
    pub fn new(receipt: Vec<u8>, facts: &ReceiptFacts, jitter: Jitter) -> Self {
        Self {
            receipt,
            created_at: facts.created_at,
            not_before: facts.not_before,
            expires_at: facts.expires_at,
            risk_metric: facts.risk_metric,
            attempts: 0,
            schedule: Schedule::DueAt(facts.created_at.after(jitter.of(SPREAD))),
            last: None,
        }
    }

    /// When to ask next; `None` when never again.
    #[must_use]
    pub const fn due_at(&self) -> Option<Timestamp> {
        match self.schedule {
            Schedule::DueAt(at) => Some(at),
            Schedule::Ended(_) => None,
        }
    }

    /// The record once there is nothing more to do.
    #[must_use]
    pub fn ended(self, end: End) -> Self {
        Self {
            schedule: Schedule::Ended(end),
            ..self
        }
    }

    /// What to do now. Whoever is told to rest keeps the record as [`ReceiptRecord::ended`], so that
    /// one whose receipt has expired while nobody asked is not due for ever.
    #[must_use]
    pub fn step(&self, environment: Environment, now: Timestamp) -> Step {
        match self.schedule {
            Schedule::Ended(end) => Step::Rest(end),
            Schedule::DueAt(_) if now >= self.expires_at => Step::Rest(End::Expired),
            Schedule::DueAt(at) if now < at => Step::Wait(at),
            Schedule::DueAt(_) => Step::Send(Request {
                url: url(environment),
                body: BASE64.encode(&self.receipt),
            }),
        }
    }
}

/// What a reply to the exchange of this record means.
///
/// A new receipt has to be of the kind with a metric, for the same app, key and environment, not
/// older than the one it was exchanged for, and signed by a signer valid now.
#[must_use]
pub fn read(
    reply: Reply<'_>,
    record: &ReceiptRecord,
    holder: Holder<'_>,
    now: Timestamp,
) -> Answer {
    match reply.status {
        200 => renewed(reply.body, record, holder, now),
        304 => Answer::TooEarly,
        400 if names_environment(reply.body) => Answer::Ended(End::WrongEnvironment),
        400 => Answer::Ended(End::BadPayload),
        401 => Answer::Unauthorized,
        404 => Answer::Ended(End::NoData),
        429 => Answer::RateLimited(reply.retry_after.and_then(seconds)),
        _ => Answer::Unavailable(reply.retry_after.and_then(seconds)),
    }
}

/// The record after an answer. An answer without a new receipt never touches the receipt kept.
#[must_use]
pub fn next(
    record: ReceiptRecord,
    answer: &Answer,
    now: Timestamp,
    jitter: Jitter,
) -> ReceiptRecord {
    let attempts = record.attempts.saturating_add(1);
    let failed = |wait: Option<Duration>| {
        let asked = wait.unwrap_or_default().min(RETRY_AFTER_MAX);
        let own = backoff(record.attempts, jitter);
        now.after(own.max(asked + jitter.of(MINUTE)))
    };
    let (outcome, due_at) = match answer {
        Answer::Renewed(renewal) => return replaced(record, renewal, now, jitter),
        Answer::Ended(end) => {
            return ReceiptRecord {
                attempts,
                last: Some(Outcome::Ended(*end)),
                ..record.ended(*end)
            };
        }
        Answer::TooEarly => {
            let soonest = match record.not_before {
                Some(at) if at > now => at,
                _ => now.after(TOO_EARLY_GAP),
            };
            (Outcome::TooEarly, soonest.after(jitter.of(SPREAD)))
        }
        Answer::Unauthorized => {
            let wait = UNAUTHORIZED_GAP + jitter.of(SPREAD);
            (Outcome::Unauthorized, now.after(wait))
        }
        Answer::RateLimited(wait) => (Outcome::RateLimited, failed(*wait)),
        Answer::Unavailable(wait) => (Outcome::Unavailable, failed(*wait)),
        Answer::NotBelieved(_) => (Outcome::NotBelieved, failed(None)),
    };
    ReceiptRecord {
        attempts,
        schedule: due(due_at, record.expires_at),
        last: Some(outcome),
        ..record
    }
}

fn replaced(
    record: ReceiptRecord,
    renewal: &Renewal,
    now: Timestamp,
    jitter: Jitter,
) -> ReceiptRecord {
    let Renewal { receipt, facts } = renewal;
    let opens_at = facts
        .not_before
        .unwrap_or_else(|| facts.created_at.after(EXCHANGE_AFTER));
    let soonest = opens_at.max(now.after(SUCCESS_GAP_MIN));
    ReceiptRecord {
        receipt: receipt.clone(),
        created_at: facts.created_at,
        not_before: facts.not_before,
        expires_at: facts.expires_at,
        // Apple may leave the metric out; the last one known stays.
        risk_metric: facts.risk_metric.or(record.risk_metric),
        attempts: 0,
        schedule: due(soonest.after(jitter.of(SPREAD)), facts.expires_at),
        last: Some(Outcome::Renewed),
    }
}

fn due(at: Timestamp, expires_at: Timestamp) -> Schedule {
    if at < expires_at {
        Schedule::DueAt(at)
    } else {
        Schedule::Ended(End::Expired)
    }
}

/// Between half and all of a wait that doubles with each failure.
fn backoff(failures: u32, jitter: Jitter) -> Duration {
    let doubled = BACKOFF_FIRST * 2_u32.pow(failures.min(DOUBLINGS_MAX));
    let half = doubled.min(BACKOFF_MAX) / 2;
    half + jitter.of(half)
}

fn renewed(body: &[u8], record: &ReceiptRecord, holder: Holder<'_>, now: Timestamp) -> Answer {
    if body.len() > REPLY_BYTES_MAX {
        return Answer::NotBelieved(ReceiptRefusal::TooLarge(body.len()));
    }
    let Ok(receipt) = BASE64.decode(body.trim_ascii()) else {
        return Answer::NotBelieved(ReceiptRefusal::Malformed("it is not base64"));
    };
    let expectation = ReceiptExpectation {
        app_id: holder.app_id,
        key: holder.key,
        client_data_hash: None,
        environment: holder.environment,
        kind: Kind::Receipt,
        age: Age::Since(record.created_at),
    };
    match super::verify(&receipt, expectation, holder.roots, now) {
        Ok(facts) => Answer::Renewed(Renewal { receipt, facts }),
        Err(why) => Answer::NotBelieved(why),
    }
}

/// Apple tells the two kinds of bad request apart in words: `Incorrect Environment` is one of them.
fn names_environment(body: &[u8]) -> bool {
    body.to_ascii_lowercase()
        .windows(b"environment".len())
        .any(|word| word == b"environment")
}

/// `Retry-After` as a number of seconds. Its other form, a date, is left to our own wait.
fn seconds(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Duration::from_secs))?
}
