//! Instants and the clock. The only file that reads the machine's clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds ignored (as Unix time).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch, saturating.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved into the future, saturating.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This instant moved into the past, saturating.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From an RFC 3339 text, sub-millisecond digits dropped; `None` when it is not one.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000))
            .ok()
            .map(Self)
    }

    /// RFC 3339 in UTC, e.g. `2026-11-22T03:54:00.123Z`; outside the years 0 to 9999 the number of
    /// milliseconds instead.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|t| t.format(&Rfc3339).ok())
            .unwrap_or_else(|| format!("{}ms", self.0))
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// An instant of this process that no setting of the clock moves: milliseconds from no particular
/// moment. It stands still while the machine sleeps, so it is compared beside a [`Timestamp`], not in
/// its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Steady(i64);

impl Steady {
    /// This instant moved into the future, saturating.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This instant moved into the past, saturating.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// What the clock shows at one moment: the time, which somebody may set, and how far it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reading {
    /// The time.
    pub now: Timestamp,
    /// How far it went.
    pub steady: Steady,
}

impl Reading {
    /// By how much the clock was set between an earlier reading and this one.
    #[must_use]
    pub const fn set_since(self, earlier: Self) -> Duration {
        let time = self.now.0.saturating_sub(earlier.now.0);
        let went = self.steady.0.saturating_sub(earlier.steady.0);
        Duration::from_millis(time.saturating_sub(went).unsigned_abs())
    }

    /// How long after `earlier` this is, by whichever of the two went further: a clock that was set back
    /// makes nothing young, and a machine that slept neither.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let went = self.steady.since(earlier.steady);
        self.now.since(earlier.now).max(went)
    }

    /// The later moment that is this far away.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self {
            now: self.now.after(span),
            steady: self.steady.after(span),
        }
    }

    /// The earlier moment that was this far away.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self {
            now: self.now.before(span),
            steady: self.steady.before(span),
        }
    }
}

/// Tells the time. The shell reads it once per request; the core is handed the instant.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    now: AtomicI64,
    steady: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is moved, for tests and simulations; clones share it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Hands {
            now: AtomicI64::new(start.as_millis()),
            steady: AtomicI64::new(0),
        })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(hands) => Timestamp(hands.now.load(Ordering::SeqCst)),
        }
    }

    /// The time now, and how far it went.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let steady = match &self.0 {
            Source::System => system_steady(),
            Source::Manual(hands) => Steady(hands.steady.load(Ordering::SeqCst)),
        };
        Reading {
            now: self.now(),
            steady,
        }
    }

    /// Moves a manual clock forward; the system clock takes no orders.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(hands) = &self.0 {
            hands.now.fetch_add(millis(span), Ordering::SeqCst);
            hands.steady.fetch_add(millis(span), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock, as somebody sets a machine's; the system clock takes no orders.
    pub fn set(&self, now: Timestamp) {
        if let Source::Manual(hands) = &self.0 {
            hands.now.store(now.as_millis(), Ordering::SeqCst);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
fn system_now() -> Timestamp {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(Timestamp::EPOCH, |span| Timestamp(millis(span)))
}

fn system_steady() -> Steady {
    static BEGAN: OnceLock<std::time::Instant> = OnceLock::new();
    Steady(millis(BEGAN.get_or_init(monotonic_now).elapsed()))
}

/// A monotonic instant, for measuring how long something took.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub fn monotonic_now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_goes_there_and_back() {
        let at = Timestamp::parse_rfc3339("2026-11-22T03:54:00.123Z").unwrap();
        assert_eq!(at.to_rfc3339(), "2026-11-22T03:54:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-22 03:54"), None);
    }

    #[test]
    fn a_clock_that_is_set_goes_on_steadily() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let before = clock.reading();
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.reading(), before.after(Duration::from_secs(5)));
        assert_eq!(clock.reading().set_since(before), Duration::ZERO);
        clock.set(Timestamp::from_secs(905));
        let after = clock.reading();
        assert_eq!(after.now, Timestamp::from_secs(905));
        assert_eq!(after.steady.since(before.steady), Duration::from_secs(5));
        assert_eq!(after.set_since(before), Duration::from_secs(100));
        assert_eq!(after.since(before), Duration::from_secs(5));
        let slept = Reading {
            now: before.now.after(Duration::from_secs(9)),
            ..after
        };
        assert_eq!(slept.since(before), Duration::from_secs(9));
        let system = Clock::system();
        assert!(system.reading().steady <= system.reading().steady);
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.after(Duration::MAX), end);
        assert_eq!(Timestamp::EPOCH.since(end), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(i64::MAX).as_millis(), i64::MAX);
    }
}
