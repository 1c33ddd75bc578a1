//! The score of a session: what was seen of it and of its device, weighed by policy, and forgotten as
//! time passes.
//!
//! The counters live in the records of session and device. A signal counts as one when it is seen and
//! as half of that after the policy's half-life; so a score needs no history, and a session that
//! behaves is as good as new after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::{
    Actor, Device, Event, EventKind, Refusal, Session, StepUpCause, SuspensionReason, hold, suspend,
};
use crate::policy::{Consequences, RiskPolicy, Score, Signal};
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

impl fmt::Debug for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

    /// What was seen after an instant, and what was seen until then; without an instant all is after it.
    fn split(&self, at: Option<Timestamp>) -> (Self, Self) {
        let tallies = self.tallies.iter().map(|(signal, tally)| (*signal, *tally));
        let (after, until) = tallies.partition(|(_, tally)| at.is_none_or(|at| tally.last > at));
        (Self { tallies: after }, Self { tallies: until })
    }

    /// Whether a signal was seen this recently.
    #[must_use]
    pub fn has_seen(&self, signal: Signal, within: Duration, now: Timestamp) -> bool {
        let tally = self.tallies.get(&signal);
        tally.is_some_and(|tally| now < tally.last.after(within))
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

    /// What of it is compared by policy: nothing else is kept.
    #[must_use]
    pub fn kept_by(self, policy: &RiskPolicy) -> Self {
        Self {
            network: self
                .network
                .filter(|_| policy.weighs(Signal::NetworkChanged)),
            locale: self.locale.filter(|_| policy.weighs(Signal::LocaleChanged)),
        }
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
    /// What was seen, of what weighs anything.
    pub seen: BTreeSet<Signal>,
    /// What followed that was not so before, or would have if it were enforced.
    pub followed: Consequences,
    /// Whether it happened.
    pub enforced: bool,
}

/// Adds what was seen of a session, and lets follow what the policy says. Nothing follows where
/// nothing new was seen, of the session or of its device since the session's last rotation: what a user
/// has answered with a step-up is not asked again until something new happens. What takes something
/// away follows only upon something that takes the key.
///
/// A suspension settles what led to it: when a person resumes the device, counting begins anew.
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
    let known = (Some(session.rotated_at), device);
    follow(session.clone(), known, seen, policy, now)
}

/// What follows for a session that is opened now, from what is known of its device.
///
/// # Errors
/// [`crate::reason::Reason::DeviceRevoked`]
pub fn assess_opening(
    session: Session,
    device: &Device,
    policy: &RiskPolicy,
    now: Timestamp,
) -> Result<Assessed, Refusal> {
    follow(session, (None, device), &BTreeSet::new(), policy, now)
}

/// `looked_at`: when what is known of the device was last held against the session.
fn follow(
    mut session: Session,
    (looked_at, device): (Option<Timestamp>, &Device),
    seen: &BTreeSet<Signal>,
    policy: &RiskPolicy,
    now: Timestamp,
) -> Result<Assessed, Refusal> {
    let weighed = seen.iter().copied().filter(|signal| policy.weighs(*signal));
    let seen: BTreeSet<Signal> = weighed.collect();
    let (news, known) = device.risk.split(looked_at);
    let before = reached(&session, &known, policy, now);
    session.risk = session.risk.with(&seen, policy.half_life, now);
    let mut reached = reached(&session, &device.risk, policy, now);
    let new = || news.tallies.keys().chain(&seen);
    let keyed = new().any(|signal| signal.takes_the_key());
    reached.step_up &= new().next().is_some();
    reached.drop_scopes &= keyed;
    reached.suspend &= keyed;
    let mut assessed = Assessed {
        session,
        suspended: None,
        seen,
        followed: Consequences {
            step_up: reached.step_up && !before.step_up,
            drop_scopes: reached.drop_scopes && !before.drop_scopes,
            suspend: reached.suspend && !before.suspend,
        },
        enforced: policy.is_enforced(),
    };
    if assessed.enforced {
        assessed.enforce(reached, (device, policy), now)?;
    }
    Ok(assessed)
}

/// The thresholds that a session and its device have reached. A step-up asks the user, so what the user
/// has answered does not ask again; a device stays what it is whatever its user shows.
fn reached(
    session: &Session,
    of_device: &Risk,
    policy: &RiskPolicy,
    now: Timestamp,
) -> Consequences {
    let own = session.risk.score(policy, now);
    let (unanswered, _) = of_device.split(session.answered_at);
    let all = unanswered.score(policy, now).all;
    let keyed = of_device.score(policy, now).keyed;
    policy.consequences(Score {
        all: own.all.saturating_add(all),
        keyed: own.keyed.saturating_add(keyed),
    })
}

impl Assessed {
    fn enforce(
        &mut self,
        reached: Consequences,
        (device, policy): (&Device, &RiskPolicy),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let session = &mut self.session;
        let before = (session.step_up, session.scopes.len());
        if reached.step_up {
            *session = hold(session, StepUpCause::Risk, now);
        }
        if reached.drop_scopes {
            session
                .scopes
                .retain(|scope| !policy.dropped_scopes.contains(scope));
        }
        if reached.suspend {
            session.risk = Risk::default();
            self.suspended = Some(Device {
                risk: Risk::default(),
                ..suspend(device, SuspensionReason::Risk, now)?
            });
        }
        self.followed = Consequences {
            step_up: session.step_up != before.0,
            drop_scopes: session.scopes.len() != before.1,
            suspend: self.suspended.is_some(),
        };
        Ok(())
    }

    /// Another state of the same session, with what was seen and what followed.
    #[must_use]
    pub fn over(&self, session: Session) -> Session {
        let assessed = &self.session;
        Session {
            scopes: assessed.scopes.clone(),
            step_up: assessed.step_up,
            risk: assessed.risk.clone(),
            footprint: assessed.footprint.clone(),
            ..session
        }
    }

    /// Whether something happened for it.
    #[must_use]
    pub fn acted(&self) -> bool {
        self.enforced && !self.followed.is_none()
    }

    /// What to tell of it.
    #[must_use]
    pub fn events(&self, now: Timestamp) -> Vec<Event> {
        let by = Actor::service();
        let of_session = |kind, why| self.session.event(kind, why, &by, now);
        let seen = self.seen.iter();
        let mut events: Vec<Event> = seen
            .map(|signal| of_session(EventKind::RiskSignal, signal.as_str()))
            .collect();
        let kind = if self.enforced {
            EventKind::RiskActed
        } else {
            EventKind::RiskMonitored
        };
        events.extend(self.followed.words().map(|word| of_session(kind, word)));
        if self.enforced && self.followed.step_up {
            let why = StepUpCause::Risk.as_str();
            events.push(of_session(EventKind::SessionHeld, why));
        }
        if let Some(device) = &self.suspended {
            let (kind, why) = (EventKind::DeviceSuspended, SuspensionReason::Risk);
            events.push(device.event(kind, why.as_str().to_owned(), &by, now));
        }
        events
    }
}

impl Device {
    /// The thresholds that it has reached, with a session of it.
    #[must_use]
    pub fn risk_reached(
        &self,
        session: Option<&Session>,
        policy: &RiskPolicy,
        now: Timestamp,
    ) -> Consequences {
        match session {
            Some(session) => reached(session, &self.risk, policy, now),
            None => policy.consequences(self.risk.score(policy, now)),
        }
    }
}

/// A device with one more thing seen of it, and what to tell of that, where it weighs anything. What
/// follows does so when one of its sessions is opened or refreshed.
#[must_use]
pub fn with_signal(
    device: Device,
    signal: Signal,
    policy: &RiskPolicy,
    now: Timestamp,
) -> (Device, Option<Event>) {
    if !policy.weighs(signal) {
        return (device, None);
    }
    let risk = device.risk.with(&[signal].into(), policy.half_life, now);
    let device = Device { risk, ..device };
    let (kind, why) = (EventKind::RiskSignal, signal.as_str().to_owned());
    let event = device.event(kind, why, &Actor::service(), now);
    (device, Some(event))
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
    // The first rotation follows the opening, and one more a step-up: an app may do both at once.
    let again = session.generation > 0 && session.answered_at != Some(session.rotated_at);
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
