//! What was asked of the service in a run and what it answered, in one order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use assay::reason::Reason;
use assay::time::monotonic_now;

/// A place in the order of everything that happens in a run. What ended before another thing began has
/// the smaller one; no clock is asked.
pub(super) type Tick = u64;

/// Names of a run: devices, sessions, subjects and tokens are numbered as they are met.
pub(super) type Name = u32;

/// A refresh token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) session: Name,
    /// Which one of the session's tokens it says to be.
    pub(super) generation: u32,
    /// The same for the same text only.
    pub(super) text: Name,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}/g{}#{}", self.session, self.generation, self.text)
    }
}

/// What a revocation is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Session(Name),
    Device(Name),
    /// All sessions a subject has by then.
    Subject(Name),
    /// All sessions there are by then: the store was emptied.
    Everything,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Register {
        device: Name,
    },
    Issue {
        device: Name,
        subject: Name,
    },
    Refresh(Token),
    /// With an access token of that session.
    Verify {
        session: Name,
    },
    Introspect {
        session: Name,
    },
    /// A revocation, a logout.
    Revoke(Target),
    /// A fault after which changes that were answered behind `since` may be gone.
    MayLose {
        since: Tick,
    },
}

/// How a refresh ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Rotated,
    Retry,
    Healed,
}

/// What the one who asked knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing came back: it was done, or not, or will be.
    Lost,
    /// Not now: it says nothing about the session. It may have been done.
    NotNow(Reason),
    /// A no that is meant to last.
    Refused(Reason),
    /// An access token is not active; no reason is given.
    Inactive,
    Registered,
    Issued(Token),
    Refreshed(Outcome, Token),
    /// The request may pass.
    Allowed,
    /// The revocation holds from now on. Where it is not durable, a crash may undo it.
    Done {
        durable: bool,
    },
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) began: Tick,
    pub(super) ended: Tick,
    /// The service's clock at its end, in seconds.
    pub(super) time: i64,
    pub(super) deed: Deed,
    pub(super) answer: Answer,
}

/// Writes down a run, from any number of tasks.
#[derive(Debug)]
pub(super) struct Recorder {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tick: Tick,
    names: BTreeMap<String, Name>,
    entries: Vec<(Entry, Instant)>,
}

/// An operation under way.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(super) struct Begun(Tick);

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::default(),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap())
    }

    pub(super) fn name(&self, of: &str) -> Name {
        self.with(|inner| {
            let next = Name::try_from(inner.names.len()).unwrap();
            *inner.names.entry(of.to_owned()).or_insert(next)
        })
    }

    /// A refresh token by its text and the id of its session. The generation is what the text says.
    pub(super) fn token(&self, session_id: &str, text: &str) -> Token {
        Token {
            session: self.name(session_id),
            generation: generation(text),
            text: self.name(text),
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.with(|inner| {
            inner.tick += 1;
            inner.tick
        })
    }

    pub(super) fn begin(&self) -> Begun {
        Begun(self.now())
    }

    pub(super) fn end(&self, begun: Begun, time: i64, deed: Deed, answer: Answer) {
        self.with(|inner| {
            inner.tick += 1;
            let entry = Entry {
                began: begun.0,
                ended: inner.tick,
                time,
                deed,
                answer,
            };
            inner.entries.push((entry, monotonic_now()));
        });
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.with(|inner| inner.entries.iter().map(|(entry, _)| *entry).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.with(|inner| inner.entries.len())
    }

    /// A place in the order that lay at least `span` back.
    pub(super) fn tick_before(&self, span: Duration) -> Tick {
        let now = monotonic_now();
        self.with(|inner| {
            let old = |(_, at): &&(Entry, Instant)| now.saturating_duration_since(*at) > span;
            let last = inner.entries.iter().rev().find(old);
            last.map_or(0, |(entry, _)| entry.ended)
        })
    }

    /// When the first refresh that began behind `tick` ended well.
    pub(super) fn first_refresh_behind(&self, tick: Tick) -> Option<Instant> {
        self.with(|inner| {
            let good = |(entry, _): &&(Entry, Instant)| {
                entry.began > tick && matches!(entry.answer, Answer::Refreshed(..))
            };
            inner.entries.iter().find(good).map(|(_, at)| *at)
        })
    }

    /// Waits for such a refresh; how long after `from` it came.
    pub(super) async fn recovery(&self, tick: Tick, from: Instant) -> Option<Duration> {
        const PAUSE: Duration = Duration::from_millis(2);
        const ASKED_MAX: u32 = 60_000;
        for _ in 0..ASKED_MAX {
            if let Some(at) = self.first_refresh_behind(tick) {
                return Some(at.saturating_duration_since(from));
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }
}

/// Bytes of a refresh token before its generation: session, device, subject, app.
const GENERATION_AT: usize = 18 + 18 + 32 + 8;

fn generation(token: &str) -> u32 {
    let body = token.split('.').nth(1).unwrap();
    let body = data_encoding::BASE64URL_NOPAD.decode(body.as_bytes());
    let bytes = body.unwrap()[GENERATION_AT..][..4].try_into().unwrap();
    u32::from_be_bytes(bytes)
}
