//! The score of a session: what was seen of it and of its device, weighed by policy, and forgotten as
//! time passes.
//!
//! The counters live in the records of session and device. A signal counts as one when it is seen and
//! as half of that after the policy's half-life; so a score needs no history, and a session that
//! behaves is as good as new after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Device, Refusal, Session, StepUp, StepUpCause, SuspensionReason, suspend};
use crate::policy::{Consequences, Enforcement, RiskPolicy, Score, Signal};
use crate::time::Timestamp;

/// One signal, in the fractions of it that are kept.
const ONE: u32 = 1000;

/// The most that is kept of one signal: a thousand of it.
const HEAT_MAX: u32 = 1000 * ONE;

/// What was seen of a session or a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Risk {
    /// How much of each signal is left.
    pub tallies: BTreeMap<Signal, Tally>,
}

/// How much of a signal is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// In thousandths of one, as of the last time it was seen.
    pub heat: u32,
    /// When that was.
    pub last: Timestamp,
}

/// Where and how a session's holder was last seen. It says where people are, so it is only inside
/// sealed records and never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// The network: the first half of an address.
    pub network: Option<Vec<u8>>,
    /// The language (BCP 47).
    pub locale: Option<String>,
}

impl std::fmt::Debug for Footprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Footprint [redacted]")
    }
}

impl Risk {
    /// With what was seen now.
    #[must_use]
    pub fn with(&self, seen: &BTreeSet<Signal>, half_life: Duration, now: Timestamp) -> Self {
        let mut risk = self.clone();
        for signal in seen {
            let left = self.left(*signal, half_life, now);
            let tally = Tally {
                heat: left.saturating_add(ONE).min(HEAT_MAX),
                last: now,
            };
            risk.tallies.insert(*signal, tally);
        }
        risk
    }

    /// The points of it.
    #[must_use]
    pub fn score(&self, policy: &RiskPolicy, now: Timestamp) -> Score {
        let points = |signal: Signal| policy.points.get(&signal).copied().unwrap_or(0);
        let sum = |counts: fn(Signal) -> bool| {
            let signals = self
                .tallies
                .keys()
                .copied()
                .filter(|signal| counts(*signal));
            let weighed = signals.map(|signal| {
                u64::from(self.left(signal, policy.half_life, now)) * u64::from(points(signal))
            });
            u32::try_from(weighed.sum::<u64>() / u64::from(ONE)).unwrap_or(u32::MAX)
        };
        Score {
            all: sum(|_| true),
            keyed: sum(Signal::takes_the_key),
        }
    }

    /// What is left of a signal: half after each half-life, and between them on a straight line.
    fn left(&self, signal: Signal, half_life: Duration, now: Timestamp) -> u32 {
        let Some(tally) = self.tallies.get(&signal) else {
            return 0;
        };
        let span = half_life.as_millis().max(1);
        let passed = now.since(tally.last).as_millis();
        let Ok(halvings) = u32::try_from(passed / span) else {
            return 0;
        };
        let halved = u128::from(tally.heat.checked_shr(halvings).unwrap_or(0));
        let rest = passed % span;
        u32::try_from(halved * (2 * span - rest) / (2 * span)).unwrap_or(HEAT_MAX)
    }
}

impl Footprint {
    /// What differs between the last time and now. What is not said now, or was not then, is no
    /// difference.
    #[must_use]
    pub fn differences(&self, now: &Self) -> BTreeSet<Signal> {
        fn differ<T: PartialEq>(before: Option<&T>, now: Option<&T>) -> bool {
            before.zip(now).is_some_and(|(before, now)| before != now)
        }
        let network = differ(self.network.as_ref(), now.network.as_ref());
        let locale = differ(self.locale.as_ref(), now.locale.as_ref());
        let seen = [
            (Signal::NetworkChanged, network),
            (Signal::LocaleChanged, locale),
        ];
        seen.into_iter()
            .filter_map(|(signal, seen)| seen.then_some(signal))
            .collect()
    }

    /// The newest of what is known.
    #[must_use]
    pub fn updated(&self, now: Self) -> Self {
        Self {
            network: now.network.or_else(|| self.network.clone()),
            locale: now.locale.or_else(|| self.locale.clone()),
        }
    }
}

/// What a session and its device are after something was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessed {
    /// The session, with what was seen and what followed.
    pub session: Session,
    /// The device, where it is suspended for it.
    pub suspended: Option<Device>,
    /// What followed that was not so before, or would have if it were enforced.
    pub followed: Consequences,
}

/// Adds what was seen of a session, and lets follow what the policy says. Nothing follows where
/// nothing was seen: what a user has answered with a step-up is not asked again until something new
/// happens.
///
/// # Errors
/// [`crate::reason::Reason::DeviceRevoked`]
pub fn assess(
    session: &Session,
    device: &Device,
    seen: &BTreeSet<Signal>,
    policy: &RiskPolicy,
    now: Timestamp,
) -> Result<Assessed, Refusal> {
    let mut session = session.clone();
    let of_device = device.risk.score(policy, now);
    let follows = |risk: &Risk| {
        let of_session = risk.score(policy, now);
        policy.consequences(Score {
            all: of_session.all.saturating_add(of_device.all),
            keyed: of_session.keyed.saturating_add(of_device.keyed),
        })
    };
    let before = follows(&session.risk);
    session.risk = session.risk.with(seen, policy.half_life, now);
    let reached = follows(&session.risk);
    let enforced = policy.enforcement == Enforcement::Enforce && !seen.is_empty();
    let suspended = if enforced && reached.suspend {
        Some(suspend(device, SuspensionReason::Risk, now)?)
    } else {
        None
    };
    if enforced && reached.drop_scopes {
        session
            .scopes
            .retain(|scope| !policy.dropped_scopes.contains(scope));
    }
    if enforced && reached.step_up && session.step_up.is_none() {
        session.step_up = Some(StepUp {
            since: now,
            why: StepUpCause::Risk,
        });
    }
    Ok(Assessed {
        session,
        suspended,
        followed: Consequences {
            step_up: reached.step_up && !before.step_up,
            drop_scopes: reached.drop_scopes && !before.drop_scopes,
            suspend: reached.suspend && !before.suspend,
        },
    })
}

/// The signals of a rotation that follows the last one.
#[must_use]
pub fn signals_of_rotation(
    session: &Session,
    seen: &Footprint,
    policy: &RiskPolicy,
    now: Timestamp,
) -> BTreeSet<Signal> {
    let mut signals = session.footprint.differences(seen);
    // The first rotation follows the opening, which an app may do at once.
    let again = session.generation > 0;
    if again && now.since(session.rotated_at) < policy.refresh_interval_min {
        signals.insert(Signal::RefreshTooFast);
    }
    signals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(days: u32) -> Timestamp {
        Timestamp::from_secs(1_700_000_000).after(DAY * days)
    }

    fn seen(signals: &[Signal]) -> BTreeSet<Signal> {
        signals.iter().copied().collect()
    }

    #[test]
    fn a_signal_weighs_half_after_each_half_life() {
        let policy = RiskPolicy::usual();
        let risk = Risk::default().with(&seen(&[Signal::PostureDowngraded]), DAY, at(0));
        for (days, score) in [(0, 40), (1, 20), (2, 10), (3, 5), (40, 0), (100_000, 0)] {
            assert_eq!(risk.score(&policy, at(days)).all, score, "{days} days");
        }
        // A clock that went back makes nothing heavier.
        assert_eq!(risk.score(&policy, at(0).before(DAY)).keyed, 40);
    }

    #[test]
    fn signals_add_up_and_what_has_no_points_weighs_nothing() {
        let mut policy = RiskPolicy::usual();
        let both = seen(&[Signal::ProofReplayed, Signal::LocaleChanged]);
        let risk = Risk::default().with(&both, DAY, at(0));
        let risk = risk.with(&seen(&[Signal::ProofReplayed]), DAY, at(0));
        let score = risk.score(&policy, at(0));
        assert_eq!((score.all, score.keyed), (20 + 20 + 10, 10));
        policy.points.remove(&Signal::ProofReplayed);
        assert_eq!(risk.score(&policy, at(0)).all, 10);
    }

    #[test]
    fn what_is_not_known_is_no_difference() {
        let known = Footprint {
            network: Some(vec![1]),
            locale: Some("de".to_owned()),
        };
        let other = Footprint {
            network: Some(vec![2]),
            locale: Some("de".to_owned()),
        };
        let unknown = Footprint::default();
        assert_eq!(known.differences(&unknown), seen(&[]));
        assert_eq!(unknown.differences(&known), seen(&[]));
        assert_eq!(known.differences(&other), seen(&[Signal::NetworkChanged]));
        assert_eq!(known.updated(unknown), known);
        assert_eq!(format!("{known:?}"), "Footprint [redacted]");
    }

    proptest! {
        #[test]
        fn a_score_never_grows_by_waiting_nor_falls_by_a_signal(
            heat in 0..=HEAT_MAX,
            (early, late) in (0_u64..400_000_000_000, 0_u64..400_000_000_000),
            half_life in 1_u64..100_000_000_000,
        ) {
            let policy = RiskPolicy {
                half_life: Duration::from_millis(half_life),
                ..RiskPolicy::usual()
            };
            let tally = Tally { heat, last: at(0) };
            let risk = Risk { tallies: [(Signal::ProofReplayed, tally)].into() };
            let after = |millis| at(0).after(Duration::from_millis(millis));
            let (early, late) = (after(early.min(late)), after(early.max(late)));
            prop_assert!(risk.score(&policy, early).all >= risk.score(&policy, late).all);
            let more = risk.with(&seen(&[Signal::ProofReplayed]), policy.half_life, late);
            prop_assert!(more.score(&policy, late).all >= risk.score(&policy, late).all);
        }
    }
}
