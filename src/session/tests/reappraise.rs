use proptest::prelude::*;

use super::*;
use crate::policy::{Consequence, DowngradeRule};
use crate::session::{
    Actor, Effect, EventKind, Fault, Listing, RevocationReason, SuspensionReason, Verdict,
    reappraise,
};

const LISTED: Fault = Fault {
    reason: Reason::AttestationCertRevoked,
    check: "status_list",
};
const BELOW: Fault = Fault {
    reason: Reason::PostureBelowPolicy,
    check: "os_patch_level",
};
const CONSEQUENCES: [Consequence; 4] = [
    Consequence::Report,
    Consequence::Degrade,
    Consequence::Suspend,
    Consequence::Revoke,
];

fn rules(revoked_certificate: Consequence, below_policy: Consequence) -> Reappraisal {
    Reappraisal {
        revoked_certificate,
        below_policy,
        downgrade: DowngradeRule::Refuse,
    }
}

fn verdict(listing: Listing, below: Option<Fault>) -> Verdict {
    Verdict {
        listing,
        below,
        level: device().trust_level,
    }
}

fn fine() -> Verdict {
    verdict(Listing::Clear, None)
}

fn suspended(why: SuspensionReason) -> DeviceState {
    DeviceState::Suspended { at: now(), why }
}

fn kinds(before: &Device, verdict: &Verdict, rules: &Reappraisal) -> Vec<EventKind> {
    let later = now().after(IDLE);
    let Some(change) = reappraise(before, verdict, rules, later) else {
        return Vec::new();
    };
    let events = change.events(before, &Actor::service(), later);
    events.iter().map(|event| event.kind).collect()
}

#[test]
fn a_device_that_fails_is_brought_to_where_the_policy_wants_it() {
    let later = now().after(IDLE);
    let failing = Device {
        doubt: Some(BELOW.reason),
        ..device()
    };
    let degraded = Device {
        trust_level: TrustLevel::Provisional,
        ..failing.clone()
    };
    let suspended = Device {
        state: DeviceState::Suspended {
            at: later,
            why: SuspensionReason::Reappraisal,
        },
        ..failing.clone()
    };
    let revoked = Device {
        state: DeviceState::Revoked {
            at: later,
            why: RevocationReason::Reappraisal,
        },
        epoch: failing.epoch + 1,
        ..failing.clone()
    };
    let (found, run) = (BELOW.reason.as_str(), "reappraisal");
    let effects = [
        (failing, Effect::Reported, (EventKind::DeviceDoubted, found)),
        (
            degraded,
            Effect::Degraded,
            (EventKind::DeviceDegraded, found),
        ),
        (
            suspended,
            Effect::Suspended,
            (EventKind::DeviceSuspended, run),
        ),
        (revoked, Effect::Revoked, (EventKind::DeviceRevoked, run)),
    ];
    let verdict = verdict(Listing::Clear, Some(BELOW));
    for (consequence, (expected, effect, event)) in CONSEQUENCES.into_iter().zip(effects) {
        let rules = rules(Consequence::Report, consequence);
        let change = reappraise(&device(), &verdict, &rules, later).unwrap();
        assert_eq!(change.device, expected);
        assert_eq!((change.effect, change.fault), (effect, Some(BELOW)));
        let events = change.events(&device(), &Actor::service(), later);
        let told = events.iter().map(|event| (event.kind, event.why.as_str()));
        assert_eq!(told.collect::<Vec<_>>(), [event]);
        // It is there now.
        let again = reappraise(&expected, &verdict, &rules, later.after(IDLE));
        assert_eq!(again, None);
    }
}

#[test]
fn of_two_faults_the_harsher_consequence_holds() {
    let both = verdict(Listing::Listed(LISTED), Some(BELOW));
    for (listed, expected) in CONSEQUENCES.into_iter().zip(CONSEQUENCES) {
        for below in CONSEQUENCES {
            let order = |consequence| CONSEQUENCES.iter().position(|each| *each == consequence);
            let wanted = if order(below) > order(listed) {
                (BELOW, below)
            } else {
                (LISTED, expected)
            };
            assert_eq!(both.finding(&rules(listed, below)), Some(wanted));
        }
    }
}

#[test]
fn a_device_that_is_fine_again_is_free_again() {
    let before = Device {
        state: suspended(SuspensionReason::Reappraisal),
        trust_level: TrustLevel::Provisional,
        doubt: Some(BELOW.reason),
        ..device()
    };
    let change = reappraise(&before, &fine(), &Reappraisal::strict(), now()).unwrap();
    assert_eq!(change.device, device());
    assert_eq!((change.effect, change.fault), (Effect::Cleared, None));
    let told = kinds(&before, &fine(), &Reappraisal::strict());
    assert_eq!(told, [EventKind::DeviceCleared, EventKind::DeviceResumed]);
    assert_eq!(
        reappraise(&device(), &fine(), &Reappraisal::strict(), now()),
        None
    );
}

#[test]
fn a_policy_that_only_reports_lifts_what_a_stricter_one_did() {
    let below = verdict(Listing::Clear, Some(BELOW));
    let report = rules(Consequence::Report, Consequence::Report);
    let held = Device {
        state: suspended(SuspensionReason::Reappraisal),
        doubt: Some(BELOW.reason),
        ..device()
    };
    let change = reappraise(&held, &below, &report, now()).unwrap();
    assert_eq!(change.device.state, DeviceState::Active);
    assert_eq!(change.device.doubt, Some(BELOW.reason));
    assert_eq!(kinds(&held, &below, &report), [EventKind::DeviceResumed]);
}

#[test]
fn what_a_person_decided_stays() {
    for why in [
        SuspensionReason::Mislaid,
        SuspensionReason::Investigation,
        SuspensionReason::Administrative,
    ] {
        let before = Device {
            state: suspended(why),
            ..device()
        };
        let listed = verdict(Listing::Listed(LISTED), None);
        for consequence in CONSEQUENCES {
            let rules = rules(consequence, Consequence::Report);
            let change = reappraise(&before, &listed, &rules, now()).unwrap();
            if consequence == Consequence::Revoke {
                assert_eq!(change.effect, Effect::Revoked);
            } else {
                assert_eq!(change.device.state, before.state);
            }
        }
        assert_eq!(
            reappraise(&before, &fine(), &Reappraisal::strict(), now()),
            None
        );
    }
}

#[test]
fn without_a_list_nothing_is_taken_back() {
    let unknown = verdict(Listing::Unknown, None);
    let held = Device {
        state: suspended(SuspensionReason::Reappraisal),
        trust_level: TrustLevel::Provisional,
        doubt: Some(LISTED.reason),
        ..device()
    };
    assert_eq!(
        reappraise(&held, &unknown, &Reappraisal::strict(), now()),
        None
    );
    let below = verdict(Listing::Unknown, Some(BELOW));
    let report = rules(Consequence::Report, Consequence::Report);
    let change = reappraise(&held, &below, &report, now()).unwrap();
    assert_eq!(change.device.state, held.state);
    assert_eq!(change.device.trust_level, TrustLevel::Provisional);
}

#[test]
fn a_device_that_was_trusted_provisionally_is_trusted_once_a_list_clears_it() {
    let before = Device {
        trust_level: TrustLevel::Provisional,
        ..device()
    };
    let told = kinds(&before, &fine(), &Reappraisal::strict());
    assert_eq!(told, [EventKind::DeviceCleared]);
    let unknown = verdict(Listing::Unknown, None);
    assert_eq!(kinds(&before, &unknown, &Reappraisal::strict()), []);
}

fn any_consequence() -> impl Strategy<Value = Consequence> {
    prop::sample::select(CONSEQUENCES.to_vec())
}

fn any_state() -> impl Strategy<Value = DeviceState> {
    prop::sample::select(vec![
        DeviceState::Active,
        suspended(SuspensionReason::Mislaid),
        suspended(SuspensionReason::Administrative),
        suspended(SuspensionReason::Reappraisal),
        DeviceState::Revoked {
            at: now(),
            why: RevocationReason::Stolen,
        },
    ])
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let listing = prop::sample::select(vec![
        Listing::Clear,
        Listing::Unknown,
        Listing::Listed(LISTED),
    ]);
    let below = prop::sample::select(vec![None, Some(BELOW)]);
    (listing, below).prop_map(|(listing, below)| verdict(listing, below))
}

proptest! {
    /// Whatever the lists and policies say one after the other: the same again changes nothing, a
    /// revoked device stays as it is, an epoch never goes back, a device that a person suspended is
    /// never active, and each change tells of itself.
    #[test]
    fn runs_are_idempotent_and_take_no_revocation_back(
        state in any_state(),
        doubted in any::<bool>(),
        low in any::<bool>(),
        runs in prop::collection::vec((any_verdict(), any_consequence(), any_consequence()), 1..8),
    ) {
        let mut current = Device {
            state,
            doubt: doubted.then_some(BELOW.reason),
            trust_level: if low { TrustLevel::Provisional } else { device().trust_level },
            ..device()
        };
        let by_a_person = matches!(
            state,
            DeviceState::Suspended { why, .. } if why != SuspensionReason::Reappraisal
        );
        for (step, (verdict, listed, below)) in runs.into_iter().enumerate() {
            let rules = rules(listed, below);
            let at = now().after(MILLISECOND * u32::try_from(step).unwrap());
            let was_revoked = matches!(current.state, DeviceState::Revoked { .. });
            let Some(change) = reappraise(&current, &verdict, &rules, at) else { continue };
            prop_assert!(!was_revoked);
            prop_assert!(change.device.epoch >= current.epoch);
            prop_assert!(!change.events(&current, &Actor::service(), at).is_empty());
            if by_a_person {
                prop_assert!(change.device.state != DeviceState::Active);
            }
            // Nothing but what a re-appraisal is about.
            let same = Device {
                state: current.state,
                doubt: current.doubt,
                trust_level: current.trust_level,
                epoch: current.epoch,
                ..change.device.clone()
            };
            prop_assert_eq!(&same, &current);
            current = change.device;
            prop_assert_eq!(reappraise(&current, &verdict, &rules, at.after(IDLE)), None);
        }
    }

    /// A harsher consequence never leaves a device freer.
    #[test]
    fn harsher_rules_never_leave_a_device_freer(
        state in any_state(),
        verdict in any_verdict(),
        mild in 0_usize..4,
        more in 0_usize..4,
    ) {
        let freedom = |consequence| {
            let before = Device { state, ..device() };
            let rules = rules(consequence, consequence);
            let after = reappraise(&before, &verdict, &rules, now());
            let after = after.map_or(before, |change| change.device);
            let state = match after.state {
                DeviceState::Active => 2,
                DeviceState::Suspended { .. } => 1,
                DeviceState::Revoked { .. } => 0,
            };
            (state, if state == 2 { Some(after.trust_level) } else { None })
        };
        let harsh = (mild + more).min(3);
        prop_assert!(freedom(CONSEQUENCES[harsh]) <= freedom(CONSEQUENCES[mild]));
    }
}
