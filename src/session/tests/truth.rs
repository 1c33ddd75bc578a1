//! Every combination of what can have cut a session, each from before its opening, at it and after it.

use super::*;
use crate::id::ConsentId;
use crate::session::{Consent, EndReason, RevocationReason, SuspensionReason};

/// One level in one of its states: what it does to the world, and whether it cuts.
type State = (&'static str, bool, fn(&mut World, &mut Session));

const CONSENT_EPOCH: u64 = 100;

fn loan() -> ConsentId {
    "loan".parse().unwrap()
}

fn consent(world: &mut World, session: &mut Session, epoch: Option<u64>) {
    session.consent = Some(Consent {
        id: loan(),
        epoch: CONSENT_EPOCH,
    });
    if let Some((subject, epoch)) = world.subject.as_mut().zip(epoch) {
        subject.consents.insert(loan(), epoch);
    }
}

fn fleet(world: &mut World, at: Timestamp) {
    world.fleet.get_or_insert_default().not_before = Some(at);
}

fn app_cut(world: &mut World, name: AppId, at: Timestamp) {
    let fleet = world.fleet.get_or_insert_default();
    fleet.apps.insert(name, at);
}

fn device(world: &mut World, change: impl FnOnce(&mut Device)) {
    if let Some(device) = &mut world.device {
        change(device);
    }
}

const NOTHING: fn(&mut World, &mut Session) = |_, _| {};

const SESSION: &[State] = &[
    ("session live", false, NOTHING),
    ("session ended", true, |_, session| {
        let why = EndReason::LoggedOut;
        session.state = SessionState::Ended { at: now(), why };
    }),
];

const CONSENT: &[State] = &[
    ("no consent", false, NOTHING),
    ("consent never revoked", false, |world, session| {
        consent(world, session, None);
    }),
    ("consent revoked before", false, |world, session| {
        consent(world, session, Some(CONSENT_EPOCH - 1));
    }),
    ("consent as it was", false, |world, session| {
        consent(world, session, Some(CONSENT_EPOCH));
    }),
    ("consent revoked since", true, |world, session| {
        consent(world, session, Some(CONSENT_EPOCH + 1));
    }),
    ("another consent revoked", false, |world, _| {
        if let Some(subject) = &mut world.subject {
            subject.consents.insert("card".parse().unwrap(), u64::MAX);
        }
    }),
];

const DEVICE_EPOCH: &[State] = &[
    ("device as it was", false, NOTHING),
    ("device cut since", true, |world, _| {
        device(world, |device| device.epoch += 1);
    }),
    ("device of an older epoch", true, |world, _| {
        device(world, |device| device.epoch -= 1);
    }),
];

const DEVICE_STATE: &[State] = &[
    ("device active", false, NOTHING),
    ("device suspended", true, |world, _| {
        let why = SuspensionReason::Mislaid;
        device(world, |device| {
            device.state = DeviceState::Suspended { at: now(), why };
        });
    }),
    ("device revoked before", true, |world, _| {
        let (at, why) = (now().before(GRACE), RevocationReason::Lost);
        device(world, |device| {
            device.state = DeviceState::Revoked { at, why };
        });
    }),
    ("device revoked since", true, |world, _| {
        let (at, why) = (now().after(GRACE), RevocationReason::Lost);
        device(world, |device| {
            device.state = DeviceState::Revoked { at, why };
        });
    }),
    ("device lost", true, |world, _| world.device = None),
];

const SUBJECT: &[State] = &[
    ("subject as it was", false, NOTHING),
    ("subject cut since", true, |world, _| {
        if let Some(subject) = &mut world.subject {
            subject.epoch += 1;
        }
    }),
    ("subject of an older epoch", true, |world, _| {
        if let Some(subject) = &mut world.subject {
            subject.epoch -= 1;
        }
    }),
    ("subject lost", true, |world, _| world.subject = None),
];

const APP: &[State] = &[
    ("app never cut", false, NOTHING),
    ("app cut before", false, |world, _| {
        app_cut(world, app(), now().before(MILLISECOND));
    }),
    ("app cut at the opening", true, |world, _| {
        app_cut(world, app(), now());
    }),
    ("app cut after", true, |world, _| {
        app_cut(world, app(), now().after(MILLISECOND));
    }),
    ("another app cut after", false, |world, _| {
        app_cut(world, "shop".parse().unwrap(), now().after(GRACE));
    }),
];

const FLEET: &[State] = &[
    ("fleet never cut", false, NOTHING),
    ("fleet cut before", false, |world, _| {
        fleet(world, now().before(MILLISECOND));
    }),
    ("fleet cut at the opening", true, |world, _| {
        fleet(world, now())
    }),
    ("fleet cut after", true, |world, _| {
        fleet(world, now().after(MILLISECOND));
    }),
];

const LEVELS: [&[State]; 7] = [
    FLEET,
    APP,
    SUBJECT,
    CONSENT,
    DEVICE_STATE,
    DEVICE_EPOCH,
    SESSION,
];

/// Every way to take one state of each level.
fn combinations() -> Vec<Vec<State>> {
    LEVELS.iter().fold(vec![Vec::new()], |known, level| {
        let with = |taken: Vec<State>| {
            level.iter().map(move |state| {
                let mut taken = taken.clone();
                taken.push(*state);
                taken
            })
        };
        known.into_iter().flat_map(with).collect()
    })
}

#[test]
fn a_session_lives_exactly_when_no_level_cuts_it() {
    let (mut lives, mut dies) = (0, 0);
    for taken in combinations() {
        let (mut world, mut session) = (World::whole(), session());
        for (_, _, change) in &taken {
            change(&mut world, &mut session);
        }
        let cut = taken.iter().any(|(_, cuts, _)| *cuts);
        let seen = world.surroundings().check(&session, now());
        let names: Vec<_> = taken.iter().map(|(name, _, _)| *name).collect();
        assert_eq!(seen.is_err(), cut, "{seen:?} for {names:?}");
        if cut { dies += 1 } else { lives += 1 }
    }
    assert_eq!(lives, 2 * 3 * 5);
    assert_eq!(lives + dies, 4 * 5 * 4 * 6 * 5 * 3 * 2);
}
