//! How a rate is counted: the generic cell rate algorithm (ITU-T I.371) in whole microseconds.
//!
//! All that is kept of a rate is one instant: when nothing of its burst will be used up any more.
//! Everything admitted moves that instant one interval further; what would move it further ahead of
//! the clock than the whole burst takes is refused. A rate that is idle for so long needs no entry.
//!
//! The embedded store counts with this; `src/store/scripts.rs` has the same few lines for the server.

use std::time::Duration;

use super::{Limit, Limited};

/// The longest time a used-up burst may take to be whole again, a leap year: added to any clock of the
/// next two centuries it stays below 2^53, so the numbers of Lua keep every microsecond.
pub const LIMIT_SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A rate in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// The interval, rounded up.
    pub(super) every: u64,
    /// How long the whole burst takes.
    pub(super) span: u64,
}

/// What came of one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) said: Limited,
    /// By how much the instant to be kept is ahead of the clock; `None`: what is kept stays.
    pub(super) ahead: Option<u64>,
}

impl Rate {
    pub(super) fn of(limit: &Limit) -> Self {
        let every = limit.every.as_nanos().div_ceil(1000);
        let every = u64::try_from(every).unwrap_or(u64::MAX);
        Self {
            every,
            span: every.saturating_mul(u64::from(limit.burst)),
        }
    }

    /// Counts one more at `now`, where `idle_at` is the instant that was kept.
    ///
    /// A kept instant further ahead than the whole burst takes was written under a clock that has
    /// gone back since, or for a slower rate. It is pulled in, so that nobody is refused until the
    /// clock has caught up, and nobody is admitted for it either.
    pub(super) const fn count(self, idle_at: Option<u64>, now: u64) -> Counted {
        let ahead = match idle_at {
            Some(idle_at) => idle_at.saturating_sub(now),
            None => 0,
        };
        let used = if ahead > self.span { self.span } else { ahead };
        let next = used.saturating_add(self.every);
        if next <= self.span {
            return Counted {
                said: Limited::Admitted,
                ahead: Some(next),
            };
        }
        Counted {
            said: Limited::Refused {
                retry_after: Duration::from_micros(next - self.span),
            },
            ahead: if ahead > used { Some(used) } else { None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Bucket;
    use crate::store::Key;
    use proptest::prelude::*;

    fn rate(every: Duration, burst: u32) -> Rate {
        let key = Key::new(Bucket::new(1).unwrap(), "l:1".to_owned());
        Rate::of(&Limit { key, every, burst })
    }

    /// A rate and what a store keeps of it.
    struct Counter(Rate, Option<u64>);

    impl Counter {
        fn count(&mut self, now: u64) -> Limited {
            let counted = self.0.count(self.1, now);
            self.1 = counted.ahead.map(|ahead| now + ahead).or(self.1);
            counted.said
        }
    }

    fn refused(micros: u64) -> Limited {
        Limited::Refused {
            retry_after: Duration::from_micros(micros),
        }
    }

    #[test]
    fn a_burst_is_admitted_and_then_one_for_each_interval() {
        let mut counter = Counter(rate(Duration::from_micros(10), 3), None);
        for _ in 0..3 {
            assert_eq!(counter.count(1000), Limited::Admitted);
        }
        assert_eq!(counter.count(1000), refused(10));
        assert_eq!(counter.count(1009), refused(1));
        assert_eq!(counter.count(1010), Limited::Admitted);
        assert_eq!(counter.count(1010), refused(10));
        // Two intervals later there is room for two, much later for the burst and no more.
        assert_eq!(counter.count(1030), Limited::Admitted);
        assert_eq!(counter.count(1030), Limited::Admitted);
        assert_eq!(counter.count(1030), refused(10));
        for _ in 0..3 {
            assert_eq!(counter.count(9000), Limited::Admitted);
        }
        assert_eq!(counter.count(9000), refused(10));
    }

    #[test]
    fn a_clock_that_goes_back_neither_admits_more_nor_refuses_for_longer_than_an_interval() {
        let mut counter = Counter(rate(Duration::from_micros(10), 3), None);
        for _ in 0..3 {
            assert_eq!(counter.count(1_000_000), Limited::Admitted);
        }
        assert_eq!(counter.count(500), refused(10));
        assert_eq!(counter.count(509), refused(1));
        assert_eq!(counter.count(510), Limited::Admitted);
        assert_eq!(counter.count(510), refused(10));
    }

    #[test]
    fn an_interval_below_a_microsecond_is_rounded_up() {
        let rate = rate(Duration::from_nanos(1001), 5);
        assert_eq!((rate.every, rate.span), (2, 10));
    }

    proptest! {
        #[test]
        fn no_span_of_time_sees_more_than_the_burst_and_its_intervals(
            every in 1_u64..50,
            burst in 1_u32..6,
            steps in proptest::collection::vec(0_u64..40, 1..80),
        ) {
            let mut counter = Counter(rate(Duration::from_micros(every), burst), None);
            let mut now = 1_000_000;
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                match counter.count(now) {
                    Limited::Admitted => admitted.push(now),
                    Limited::Refused { retry_after } => {
                        // Exactly then, and not before.
                        let wait = u64::try_from(retry_after.as_micros()).unwrap();
                        let Counter(rate, kept) = counter;
                        prop_assert_eq!(rate.count(kept, now + wait).said, Limited::Admitted);
                        prop_assert_eq!(rate.count(kept, now + wait - 1).said, refused(1));
                        counter = Counter(rate, kept);
                    }
                }
            }
            for (at, from) in admitted.iter().enumerate() {
                for (count, to) in (1..).zip(admitted.iter().skip(at)) {
                    prop_assert!(count <= u64::from(burst) + (to - from) / every);
                }
            }
        }
    }
}
