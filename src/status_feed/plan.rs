//! When Google's list is fetched, and what is made of the answer: a pure machine of values.
//!
//! A list takes the place of the one before only when it can be read whole, is not older, and does
//! not suddenly lack most of what was on it: a broken publisher or mirror must not give back what was
//! revoked. Such a list is taken after all when it stays for long, and at once when the operator
//! names it by its SHA-256. An empty list is taken only then.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::caching::{Caching, EVERY_MIN, less, wait, wait_after_failure};
use crate::attestation::lists::{CLOCK_SKEW_MAX, Held, Origin};
use crate::attestation::status_list::StatusList;
use crate::key::sha256;
use crate::outbound::{Answer, CallError};
use crate::telemetry::metrics::ListFetch;
use crate::time::{Reading, Timestamp};

/// A list that lacks most of what was known is taken after this many fetches that gave the very same
/// one, over at least half of the age limit: the old list is not stale by then.
const DOUBTED_FETCHES: u32 = 6;

/// What the operator has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// The longest wait between two fetches.
    pub(super) every: Duration,
    /// The age up to which a list is believed.
    pub(super) age_max: Duration,
    /// A list to be taken however short it is.
    pub(super) accept_sha256: Option<[u8; 32]>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct Plan {
    rules: Rules,
    held: Option<Held>,
    failures: u32,
    doubted: Option<Doubted>,
    due: Reading,
    tried: Option<Reading>,
    seen: Reading,
    last_error: Option<ListFetch>,
}

/// A list that is not taken yet.
#[derive(Debug, Clone, Copy)]
struct Doubted {
    sha256: [u8; 32],
    fetches: u32,
    since: Reading,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick {
    /// Whether to fetch.
    pub(super) due: bool,
    /// Whether the clock was set since the last look.
    pub(super) clock_set: bool,
}

impl Plan {
    /// Without a list; the first fetch is due at once.
    #[must_use]
    pub(super) const fn new(rules: Rules, at: Reading) -> Self {
        Self {
            rules,
            held: None,
            failures: 0,
            doubted: None,
            due: at,
            tried: None,
            seen: at,
            last_error: None,
        }
    }

    /// The last good list.
    #[must_use]
    pub(super) const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// When the next fetch is due.
    #[must_use]
    pub(super) const fn due(&self) -> Reading {
        self.due
    }

    /// What was wrong with the last fetch.
    #[must_use]
    pub(super) const fn last_error(&self) -> Option<ListFetch> {
        self.last_error
    }

    /// The SHA-256 of a list that was fetched and is not taken.
    #[must_use]
    pub(super) fn doubted(&self) -> Option<[u8; 32]> {
        self.doubted.map(|doubted| doubted.sha256)
    }

    /// Looks at the clock. When it was set, or the machine slept, nobody knows how old the list is:
    /// the next fetch comes as soon as may be.
    pub(super) fn tick(&mut self, at: Reading) -> Tick {
        let clock_set = at.set_since(self.seen) > CLOCK_SKEW_MAX;
        self.seen = at;
        if clock_set {
            let earliest = self.tried.map_or(at.steady, |t| t.steady.after(EVERY_MIN));
            let wait = earliest.since(at.steady);
            self.due = at.after(wait.min(self.due.steady.since(at.steady)));
        }
        Tick {
            due: at.steady >= self.due.steady,
            clock_set,
        }
    }

    /// Whether what another instance noted is worth taking: newer than ours and not due again.
    #[must_use]
    pub(super) fn wants(&self, origin: &Origin, at: Reading) -> bool {
        let newer = |held: &Held| origin.validated_at > held.origin.validated_at;
        origin.refetch_at > at.now
            && origin.steady(at).is_some()
            && self.held.as_ref().is_none_or(newer)
    }

    /// Takes a copy that this or another instance kept, if its age can be known and it is newer than
    /// what is held. It was checked by whoever fetched it.
    pub(super) fn adopt(
        &mut self,
        list: Arc<StatusList>,
        origin: Origin,
        at: Reading,
        jitter: u8,
    ) -> bool {
        let newer = |held: &Held| origin.validated_at > held.origin.validated_at;
        let Some(steady) = origin.steady(at) else {
            return false;
        };
        if !self.held.as_ref().is_none_or(newer) {
            return false;
        }
        let left = origin.refetch_at.since(at.now);
        let age = at.now.since(origin.validated_at);
        self.due = if left.is_zero() || age > self.rules.age_max {
            at
        } else {
            at.after(less(left, self.rules.every, jitter))
        };
        self.held = Some(Held {
            list,
            origin,
            steady,
        });
        self.doubted = None;
        self.failures = 0;
        self.last_error = None;
        true
    }

    /// Takes what came of a fetch that was begun at `sent`: an answer says how things were then, or
    /// before, but not how they are when it has arrived.
    pub(super) fn answered(
        &mut self,
        sent: Reading,
        answer: Result<Answer, CallError>,
        jitter: u8,
    ) -> ListFetch {
        self.tried = Some(sent);
        let (caching, outcome) = match answer {
            Err(error) => (Caching::default(), Err(without_answer(error))),
            Ok(answer) => {
                let caching = Caching::of(&answer.headers, sent.now);
                let outcome = self.judge(sent, &answer, &caching, jitter);
                (caching, outcome)
            }
        };
        match outcome {
            Ok(good) => {
                self.failures = 0;
                self.doubted = None;
                self.last_error = None;
                self.due = sent.after(wait(&caching, self.rules.every, jitter));
                good
            }
            Err(bad) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(bad);
                let after = caching.retry_after;
                let wait = wait_after_failure(self.failures, after, self.rules.every, jitter);
                self.due = sent.after(wait);
                bad
            }
        }
    }

    fn judge(
        &mut self,
        sent: Reading,
        answer: &Answer,
        caching: &Caching,
        jitter: u8,
    ) -> Result<ListFetch, ListFetch> {
        let validated = sent.before(caching.age);
        let refetch_at = sent.now.after(wait(caching, self.rules.every, jitter));
        match (answer.status, &mut self.held) {
            (StatusCode::NOT_MODIFIED, Some(held)) if held.origin.is_known() => {
                confirm(held, validated, refetch_at);
                Ok(ListFetch::Unchanged)
            }
            (StatusCode::OK, _) => {
                let fetched = Held {
                    list: Arc::default(),
                    origin: Origin {
                        sha256: sha256(&answer.body),
                        validated_at: validated.now,
                        refetch_at,
                        modified_at: caching.modified_at(),
                        etag: caching.etag.clone(),
                        last_modified: caching.last_modified.clone(),
                    },
                    steady: validated.steady,
                };
                self.take(sent, fetched, &answer.body)
            }
            _ => Err(ListFetch::Status),
        }
    }

    fn take(
        &mut self,
        sent: Reading,
        mut fetched: Held,
        body: &[u8],
    ) -> Result<ListFetch, ListFetch> {
        let digest = fetched.origin.sha256;
        if let Some(held) = self.held.as_mut().filter(|h| h.origin.sha256 == digest) {
            confirm(
                held,
                Reading {
                    now: fetched.origin.validated_at,
                    steady: fetched.steady,
                },
                fetched.origin.refetch_at,
            );
            held.origin.modified_at = fetched.origin.modified_at;
            held.origin.etag = fetched.origin.etag;
            held.origin.last_modified = fetched.origin.last_modified;
            return Ok(ListFetch::Unchanged);
        }
        let list = StatusList::parse(body).map_err(|_| ListFetch::Malformed)?;
        if self.rules.accept_sha256 != Some(digest) {
            if self
                .held
                .as_ref()
                .is_some_and(|h| fetched.steady < h.steady)
            {
                return Err(ListFetch::Outdated);
            }
            self.doubt(&list, digest, sent)?;
        }
        fetched.list = Arc::new(list);
        self.held = Some(fetched);
        Ok(ListFetch::Changed)
    }

    /// Whether a list lacks what it should have.
    fn doubt(
        &mut self,
        list: &StatusList,
        digest: [u8; 32],
        sent: Reading,
    ) -> Result<(), ListFetch> {
        let known = self.held.as_ref().map(|held| &*held.list);
        if !list.is_empty() && !known.is_some_and(|known| lacks_most(known, list)) {
            return Ok(());
        }
        let before = self.doubted.filter(|doubted| doubted.sha256 == digest);
        let doubted = Doubted {
            sha256: digest,
            fetches: before.map_or(1, |doubted| doubted.fetches.saturating_add(1)),
            since: before.map_or(sent, |doubted| doubted.since),
        };
        self.doubted = Some(doubted);
        if list.is_empty() {
            return Err(ListFetch::Empty);
        }
        let lasted = sent.steady.since(doubted.since.steady) >= self.rules.age_max / 2;
        if doubted.fetches >= DOUBTED_FETCHES && lasted {
            Ok(())
        } else {
            Err(ListFetch::Shrunken)
        }
    }
}

/// Whether a list lacks more than half of what is known. Counted by entry, so that others in their
/// place make up for nothing.
#[must_use]
pub(super) fn lacks_most(known: &StatusList, list: &StatusList) -> bool {
    let still = known.iter().filter(|(serial, _)| list.contains(serial));
    still.count() < known.len().div_ceil(2)
}

/// What is held is the newest. An answer out of an old cache takes nothing back. Where the clock was
/// set in between, what it shows now is what the time is kept by.
fn confirm(held: &mut Held, validated: Reading, refetch_at: Timestamp) {
    if validated.steady >= held.steady {
        held.origin.validated_at = validated.now;
        held.steady = validated.steady;
    }
    held.origin.refetch_at = refetch_at;
}

const fn without_answer(error: CallError) -> ListFetch {
    match error {
        CallError::Url | CallError::Unreachable => ListFetch::Unreachable,
        CallError::Tls => ListFetch::Tls,
        CallError::Timeout => ListFetch::Timeout,
        CallError::TooLarge => ListFetch::TooLarge,
        CallError::Broken => ListFetch::Broken,
    }
}

#[cfg(test)]
mod tests;
