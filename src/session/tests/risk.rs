//! What follows from the risk of a session.

use super::*;
use crate::policy::{Consequences, Enforcement, Signal};
use crate::session::{Assessed, StepUp, StepUpCause, SuspensionReason, assess};

fn enforced(step_up: Option<u32>, drop_scopes: Option<u32>, suspend: Option<u32>) -> RiskPolicy {
    RiskPolicy {
        enforcement: Enforcement::Enforce,
        step_up_at: step_up,
        drop_scopes_at: drop_scopes,
        dropped_scopes: words(["transfer"]),
        suspend_at: suspend,
        ..RiskPolicy::usual()
    }
}

fn assessed(seen: &[Signal], policy: &RiskPolicy) -> Assessed {
    let seen = seen.iter().copied().collect();
    assess(&session(), &device(), &seen, policy, now()).unwrap()
}

fn words_of(assessed: &Assessed) -> Vec<&'static str> {
    assessed.followed.words().collect()
}

#[test]
fn each_threshold_has_its_consequence() {
    let moved = &[Signal::PostureDowngraded];
    let seen = assessed(moved, &enforced(Some(40), None, None));
    let step_up = StepUp {
        since: now(),
        why: StepUpCause::Risk,
    };
    assert_eq!(seen.session.step_up, Some(step_up));
    assert_eq!((&seen.suspended, words_of(&seen)), (&None, vec!["step-up"]));

    let seen = assessed(moved, &enforced(None, Some(40), None));
    assert_eq!(seen.session.scopes, words(["accounts"]));
    assert_eq!(seen.session.step_up, None);
    assert_eq!(words_of(&seen), ["drop-scopes"]);

    let seen = assessed(moved, &enforced(None, None, Some(40)));
    let state = DeviceState::Suspended {
        at: now(),
        why: SuspensionReason::Risk,
    };
    assert_eq!(words_of(&seen), ["suspend"]);
    // It settles what led to it.
    assert_eq!(seen.session.risk, Risk::default());
    assert_eq!(seen.suspended.map(|device| device.state), Some(state));

    let below = assessed(moved, &enforced(Some(41), Some(41), Some(41)));
    assert_eq!(below.followed, Consequences::default());
    assert_eq!((below.session.step_up, below.suspended), (None, None));
    assert_eq!(below.session.scopes, session().scopes);
}

#[test]
fn what_takes_no_key_asks_for_a_step_up_at_most() {
    let policy = enforced(Some(20), Some(20), Some(20));
    for signal in Signal::ALL.iter().filter(|signal| !signal.takes_the_key()) {
        let heavy = RiskPolicy {
            points: [(*signal, 1000)].into(),
            ..policy.clone()
        };
        let seen = assessed(&[*signal], &heavy);
        assert!(seen.session.step_up.is_some(), "{signal:?}");
        assert_eq!(seen.suspended, None, "{signal:?}");
        assert_eq!(seen.session.scopes, session().scopes, "{signal:?}");
    }
}

#[test]
fn a_monitored_policy_tells_and_does_nothing() {
    let policy = RiskPolicy {
        enforcement: Enforcement::Monitor,
        ..enforced(Some(1), Some(1), Some(1))
    };
    let seen = assessed(&[Signal::PostureDowngraded], &policy);
    assert_eq!(words_of(&seen), Consequences::WORDS);
    let expected = Session {
        risk: seen.session.risk.clone(),
        ..session()
    };
    assert_eq!((seen.session, seen.suspended), (expected, None));
}

#[test]
fn nothing_follows_and_nothing_is_told_again_where_nothing_new_was_seen() {
    let policy = enforced(Some(40), Some(40), None);
    let first = assessed(&[Signal::PostureDowngraded], &policy);
    let answered = Session {
        step_up: None,
        ..first.session
    };
    let again = assess(&answered, &device(), &BTreeSet::new(), &policy, now()).unwrap();
    assert_eq!(again.session, answered);
    assert_eq!(
        (again.suspended, again.followed),
        (None, Consequences::default())
    );
    // Something new is acted upon, and what holds already is not told twice.
    let new = [Signal::LocaleChanged].into();
    let again = assess(&answered, &device(), &new, &policy, now()).unwrap();
    assert_eq!(words_of(&again), ["step-up"]);
}

#[test]
fn what_takes_no_key_is_no_occasion_to_take_something_away() {
    let policy = enforced(Some(40), Some(40), Some(40));
    let monitored = RiskPolicy {
        enforcement: Enforcement::Monitor,
        ..policy.clone()
    };
    // Everything was reached before it was enforced.
    let before = assessed(&[Signal::PostureDowngraded], &monitored).session;
    let replayed = [Signal::ProofReplayed].into();
    let seen = assess(&before, &device(), &replayed, &policy, now()).unwrap();
    assert_eq!(words_of(&seen), ["step-up"]);
    assert_eq!(seen.session.scopes, before.scopes);
}

#[test]
fn what_is_new_of_the_device_is_new_to_each_session_once() {
    let policy = enforced(Some(40), None, None);
    let (later, nothing) = (now().after(Duration::from_secs(60)), BTreeSet::new());
    let lessened = [Signal::PostureDowngraded].into();
    let device = Device {
        risk: Risk::default().with(&lessened, policy.half_life, later),
        ..device()
    };
    let seen = assess(&session(), &device, &nothing, &policy, later).unwrap();
    assert_eq!(words_of(&seen), ["step-up"]);
    // Its user has answered: the same does not ask again, whatever else is seen that weighs little.
    let answered = Session {
        step_up: None,
        rotated_at: later,
        answered_at: Some(later),
        ..seen.session
    };
    let moved = [Signal::NetworkChanged].into();
    let again = assess(&answered, &device, &moved, &policy, later).unwrap();
    assert_eq!(again.followed, Consequences::default());
    assert_eq!(again.session.step_up, None);
    // A device stays what it is, whatever its user shows.
    let policy = enforced(None, None, Some(41));
    let again = assess(&answered, &device, &moved, &policy, later).unwrap();
    assert!(again.suspended.is_some());
}

#[test]
fn what_weighs_nothing_is_neither_kept_nor_told() {
    let mut policy = enforced(Some(1), Some(1), Some(1));
    policy.points.insert(Signal::LocaleChanged, 0);
    policy.points.remove(&Signal::NetworkChanged);
    let seen = assessed(&[Signal::LocaleChanged, Signal::NetworkChanged], &policy);
    assert_eq!(seen.session, session());
    assert_eq!(seen.events(now()), []);
}

#[test]
fn the_device_adds_to_the_score_of_each_of_its_sessions() {
    let policy = enforced(None, None, Some(45));
    let crowded = [Signal::CrowdedAttestationKey].into();
    let device = Device {
        risk: Risk::default().with(&crowded, policy.half_life, now()),
        ..device()
    };
    let fast = [Signal::RefreshTooFast].into();
    let seen = assess(&session(), &device, &fast, &policy, now()).unwrap();
    assert!(seen.suspended.is_some());
    let alone = enforced(None, None, Some(46));
    let seen = assess(&session(), &device, &fast, &alone, now()).unwrap();
    assert_eq!(seen.suspended, None);
    let kept = &seen.session.risk.tallies;
    assert!(kept.contains_key(&Signal::RefreshTooFast));
}
