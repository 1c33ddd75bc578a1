use proptest::prelude::*;

use super::*;
use crate::session::{
    EventKind, KnownDevices, RevocationReason, Succession, SuspensionReason, link, resume, revoke,
    suspend,
};

fn later() -> Timestamp {
    now().after(GRACE)
}

fn in_state(state: DeviceState) -> Device {
    Device { state, ..device() }
}

fn suspended(why: SuspensionReason) -> Device {
    in_state(DeviceState::Suspended { at: now(), why })
}

fn revoked(why: RevocationReason) -> Device {
    in_state(DeviceState::Revoked { at: now(), why })
}

const EVERY_SUSPENSION: [SuspensionReason; 4] = [
    SuspensionReason::Mislaid,
    SuspensionReason::Investigation,
    SuspensionReason::Administrative,
    SuspensionReason::Reappraisal,
];

const EVERY_REVOCATION: [RevocationReason; 7] = [
    RevocationReason::Lost,
    RevocationReason::Stolen,
    RevocationReason::Compromised,
    RevocationReason::UserRequest,
    RevocationReason::Administrative,
    RevocationReason::Replaced,
    RevocationReason::Reappraisal,
];

/// Another device of the same subject and app, registered later.
fn successor() -> Device {
    Device {
        id: device_id(2),
        registered_at: later(),
        lineage: Lineage {
            since: later(),
            predecessor: None,
            successor: None,
        },
        ..device()
    }
}

#[test]
fn revoking_cuts_once_and_the_first_revocation_stays() {
    let first = revoke(&device(), RevocationReason::Stolen, now());
    let expected = Device {
        epoch: 5,
        ..revoked(RevocationReason::Stolen)
    };
    assert_eq!(first, expected);
    let again = revoke(&first, RevocationReason::Lost, later());
    assert_eq!(again, first);
}

#[test]
fn a_suspended_device_is_revoked_like_any_other() {
    for why in EVERY_SUSPENSION {
        let out = revoke(&suspended(why), RevocationReason::Stolen, now());
        assert_eq!(out, revoke(&device(), RevocationReason::Stolen, now()));
    }
}

#[test]
fn a_revocation_at_the_last_epoch_still_revokes() {
    let last = Device {
        epoch: u64::MAX,
        ..device()
    };
    let revoked = revoke(&last, RevocationReason::Lost, now());
    assert_eq!(revoked.epoch, u64::MAX);
    assert_eq!(revoked.check_active(), refused(Reason::DeviceRevoked));
}

#[test]
fn suspending_changes_the_state_and_nothing_else() {
    for why in EVERY_SUSPENSION {
        assert_eq!(suspend(&device(), why, now()), Ok(suspended(why)));
    }
}

/// What is kept of a first suspension by a second one, for every pair of reasons.
#[test]
fn the_first_suspension_stays_but_a_person_takes_over_from_a_reappraisal() {
    for first in EVERY_SUSPENSION {
        for second in EVERY_SUSPENSION {
            let by_service = first == SuspensionReason::Reappraisal;
            let kept = if by_service { second } else { first };
            let again = suspend(&suspended(first), second, later());
            assert_eq!(again, Ok(suspended(kept)), "{first:?}, {second:?}");
        }
    }
}

#[test]
fn resuming_undoes_every_suspension_and_gives_the_same_device_again() {
    for why in EVERY_SUSPENSION {
        assert_eq!(resume(&suspended(why)), Ok(device()));
    }
    assert_eq!(resume(&device()), Ok(device()));
}

#[test]
fn a_revoked_device_is_neither_suspended_nor_resumed() {
    for why in EVERY_REVOCATION {
        let out = refused(Reason::DeviceRevoked);
        assert_eq!(resume(&revoked(why)), out);
        for hold in EVERY_SUSPENSION {
            assert_eq!(suspend(&revoked(why), hold, later()), out);
        }
    }
}

#[test]
fn a_suspended_device_is_not_registered_again() {
    for why in EVERY_SUSPENSION {
        let seen = crate::session::register(
            candidate(),
            Some(&suspended(why)),
            (Some(&subject()), &KnownDevices::default()),
            &policy(),
            later(),
        );
        assert_eq!(seen, refused(Reason::DeviceSuspended));
    }
}

#[test]
fn a_session_is_refused_while_its_device_is_suspended_and_good_again_after() {
    for why in EVERY_SUSPENSION {
        let mut world = World::whole();
        world.device = Some(suspended(why));
        let seen = world.surroundings().check(&session(), later());
        assert_eq!(seen, refused(Reason::DeviceSuspended));
        world.device = Some(resume(&suspended(why)).unwrap());
        assert_eq!(world.surroundings().check(&session(), later()), Ok(()));
        // Not for longer than it would have lived anyway.
        let seen = world.surroundings().check(&session(), now().after(IDLE));
        assert_eq!(seen, refused(Reason::SessionExpiredIdle));
    }
}

#[test]
fn a_successor_inherits_the_line_and_the_old_one_is_out() {
    let Succession { old, new } = link(&device(), &successor(), later()).unwrap();
    let expected = Device {
        state: DeviceState::Revoked {
            at: later(),
            why: RevocationReason::Replaced,
        },
        epoch: device().epoch + 1,
        lineage: Lineage {
            successor: Some(device_id(2)),
            ..device().lineage
        },
        ..device()
    };
    assert_eq!(old, expected);
    let expected = Device {
        lineage: Lineage {
            since: now(),
            predecessor: Some(device_id(1)),
            successor: None,
        },
        ..successor()
    };
    assert_eq!(new, expected);
}

#[test]
fn the_line_is_as_old_as_the_older_of_the_two() {
    let linked = link(&successor(), &device(), later()).unwrap();
    assert_eq!(linked.new.lineage.since, now());
    assert_eq!(linked.old.lineage.since, later());
}

#[test]
fn linking_again_changes_nothing_whatever_became_of_the_new_one() {
    let Succession { old, new } = link(&device(), &successor(), later()).unwrap();
    let fates = [
        new.clone(),
        suspend(&new, SuspensionReason::Mislaid, later()).unwrap(),
        revoke(&new, RevocationReason::Lost, later()),
    ];
    for new in fates {
        let again = link(&old, &new, later().after(GRACE));
        let old = old.clone();
        assert_eq!(again, Ok(Succession { old, new }));
    }
}

#[test]
fn a_device_that_was_revoked_or_suspended_before_can_be_replaced() {
    for why in EVERY_REVOCATION {
        let was = revoked(why);
        let old = link(&was, &successor(), later()).unwrap().old;
        assert_eq!((old.state, old.epoch), (was.state, was.epoch));
        assert_eq!(old.lineage.successor, Some(device_id(2)));
    }
    for why in EVERY_SUSPENSION {
        let old = link(&suspended(why), &successor(), later()).unwrap().old;
        assert_eq!(old.check_active(), refused(Reason::DeviceRevoked));
    }
}

#[test]
fn what_is_no_succession_is_refused() {
    let no = refused(Reason::IllegalStateTransition);
    assert_eq!(link(&device(), &device(), later()), no, "itself");
    let bent = |change: &dyn Fn(&mut Device)| {
        let mut new = successor();
        change(&mut new);
        link(&device(), &new, later())
    };
    assert_eq!(bent(&|new| new.subject = "user-2".parse().unwrap()), no);
    assert_eq!(bent(&|new| new.app = "shop".parse().unwrap()), no);
    assert_eq!(
        bent(&|new| new.lineage.predecessor = Some(device_id(3))),
        no
    );
    assert_eq!(bent(&|new| new.lineage.successor = Some(device_id(3))), no);
    for why in EVERY_SUSPENSION {
        assert_eq!(bent(&|new| new.state = suspended(why).state), no);
    }
    for why in EVERY_REVOCATION {
        assert_eq!(bent(&|new| new.state = revoked(why).state), no);
    }
    let mut old = device();
    old.lineage.successor = Some(device_id(3));
    assert_eq!(link(&old, &successor(), later()), no);
    // Half a link is none.
    old.lineage.successor = Some(device_id(2));
    assert_eq!(link(&old, &successor(), later()), no);
}

#[test]
fn the_kinds_of_events_are_read_back_by_their_words() {
    for kind in EventKind::ALL.iter().copied() {
        assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(EventKind::parse("device-forgotten"), None);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Suspend(usize, SuspensionReason),
    Resume(usize),
    Revoke(usize, RevocationReason),
    Link(usize, usize),
}

const DEVICES: usize = 5;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = 0..DEVICES;
    let suspension = prop::sample::select(EVERY_SUSPENSION.to_vec());
    let revocation = prop::sample::select(EVERY_REVOCATION.to_vec());
    let step = prop_oneof![
        (one.clone(), suspension).prop_map(|(at, why)| Step::Suspend(at, why)),
        one.clone().prop_map(Step::Resume),
        (one.clone(), revocation).prop_map(|(at, why)| Step::Revoke(at, why)),
        (one.clone(), one).prop_map(|(old, new)| Step::Link(old, new)),
    ];
    prop::collection::vec(step, 0..60)
}

fn step(devices: &mut [Device], step: Step, at: Timestamp) {
    match step {
        Step::Suspend(one, why) => {
            if let Ok(device) = suspend(&devices[one], why, at) {
                devices[one] = device;
            }
        }
        Step::Resume(one) => {
            if let Ok(device) = resume(&devices[one]) {
                devices[one] = device;
            }
        }
        Step::Revoke(one, why) => devices[one] = revoke(&devices[one], why, at),
        Step::Link(old, new) => {
            if let Ok(made) = link(&devices[old], &devices[new], at) {
                devices[old] = made.old;
                devices[new] = made.new;
            }
        }
    }
}

fn find(devices: &[Device], id: DeviceId) -> &Device {
    devices.iter().find(|device| device.id == id).unwrap()
}

proptest! {
    #[test]
    fn nothing_brings_a_revoked_device_back_and_lines_are_lines(steps in steps()) {
        let mut devices: Vec<Device> = (0..DEVICES)
            .map(|number| Device {
                id: device_id(u8::try_from(number).unwrap()),
                ..device()
            })
            .collect();
        let mut at = now();
        for one in steps {
            let before = devices.clone();
            at = at.after(MILLISECOND);
            step(&mut devices, one, at);
            for (was, is) in before.iter().zip(&devices) {
                let revoked = matches!(was.state, DeviceState::Revoked { .. });
                if revoked {
                    prop_assert_eq!((was.state, was.epoch), (is.state, is.epoch));
                }
                // The epoch moves with a revocation and with nothing else.
                let newly = !revoked && matches!(is.state, DeviceState::Revoked { .. });
                prop_assert_eq!(is.epoch, was.epoch + u64::from(newly));
                // A link that is made stays, in both directions.
                prop_assert!(was.lineage.successor.is_none_or(|id| is.lineage.successor == Some(id)));
                if let Some(next) = is.lineage.successor {
                    prop_assert_eq!(find(&devices, next).lineage.predecessor, Some(is.id));
                    prop_assert_eq!(is.check_active(), refused(Reason::DeviceRevoked));
                }
            }
            for start in &devices {
                let mut place = start;
                for _ in 0..DEVICES {
                    let Some(next) = place.lineage.successor else { break };
                    place = find(&devices, next);
                    prop_assert_ne!(place.id, start.id, "a circle");
                }
            }
        }
    }
}
