use super::*;
use crate::id::ConsentId;
use crate::session::{Consent, EndReason, RevocationReason, SuspensionReason};

/// One thing that can be wrong, and the reason that says so, widest first: the order is the promise
/// of which reason is told when several are wrong.
type Spoil = (&'static str, Reason, fn(&mut World, &mut Session));

const SPOILS: [Spoil; 15] = [
    ("app disabled", Reason::AppDisabled, |world, _| {
        world.app = Standing::Disabled;
    }),
    ("fleet cut", Reason::SessionRevoked, |world, _| {
        let fleet = world.fleet.get_or_insert_default();
        fleet.not_before = Some(now());
    }),
    ("app cut", Reason::SessionRevoked, |world, _| {
        let fleet = world.fleet.get_or_insert_default();
        fleet.apps.insert(app(), now());
    }),
    ("subject missing", Reason::SubjectRevoked, |world, _| {
        world.subject = None
    }),
    ("subject epoch moved", Reason::SubjectRevoked, |world, _| {
        if let Some(subject) = &mut world.subject {
            subject.epoch += 1;
        }
    }),
    (
        "consent revoked",
        Reason::SessionRevoked,
        |world, session| {
            let id: ConsentId = "loan".parse().unwrap();
            if let Some(subject) = &mut world.subject {
                subject.consents.insert(id.clone(), 1);
            }
            session.consent = Some(Consent { id, epoch: 0 });
        },
    ),
    ("device missing", Reason::DeviceRevoked, |world, _| {
        world.device = None
    }),
    ("device revoked", Reason::DeviceRevoked, |world, _| {
        if let Some(device) = &mut world.device {
            let why = RevocationReason::Lost;
            device.state = DeviceState::Revoked { at: now(), why };
        }
    }),
    ("device epoch moved", Reason::SessionRevoked, |world, _| {
        if let Some(device) = &mut world.device {
            device.epoch += 1;
        }
    }),
    (
        "device epoch went back",
        Reason::SessionRevoked,
        |world, _| {
            if let Some(device) = &mut world.device {
                device.epoch -= 2;
            }
        },
    ),
    (
        "device has another session key",
        Reason::SessionRevoked,
        |world, _| {
            if let Some(device) = &mut world.device {
                device.session_key = Thumbprint::from_bytes([1; 32]);
            }
        },
    ),
    ("session ended", Reason::SessionRevoked, |_, session| {
        let why = EndReason::LoggedOut;
        session.state = SessionState::Ended { at: now(), why };
    }),
    (
        "session over",
        Reason::SessionExpiredAbsolute,
        |_, session| {
            session.expires_at = now();
        },
    ),
    ("session idle", Reason::SessionExpiredIdle, |_, session| {
        session.idle_expires_at = now();
    }),
    ("device suspended", Reason::DeviceSuspended, |world, _| {
        if let Some(device) = &mut world.device
            && device.state == DeviceState::Active
        {
            let why = SuspensionReason::Mislaid;
            device.state = DeviceState::Suspended { at: now(), why };
        }
    }),
];

#[test]
fn any_level_cuts_and_the_widest_gives_the_reason() {
    for combination in 0..1_u32 << SPOILS.len() {
        let (mut world, mut session) = (World::whole(), session());
        let mut expected = Ok(());
        for (index, (_, reason, spoil)) in SPOILS.iter().enumerate() {
            if combination & (1 << index) != 0 {
                spoil(&mut world, &mut session);
                expected = expected.and(refused(*reason));
            }
        }
        let seen = world.surroundings().check(&session, now());
        assert_eq!(seen, expected, "combination {combination:#b}");
    }
}

#[test]
fn each_level_cuts_alone() {
    for (name, reason, spoil) in SPOILS {
        let (mut world, mut session) = (World::whole(), session());
        spoil(&mut world, &mut session);
        let seen = world.surroundings().check(&session, now());
        assert_eq!(seen, refused(reason), "{name}");
    }
}

#[test]
fn a_cut_takes_the_sessions_opened_until_then_and_no_later_one() {
    let opened = now();
    let at = |cut: Timestamp, app_cut: bool| {
        let mut fleet = Fleet::default();
        if app_cut {
            fleet.apps.insert(app(), cut);
        } else {
            fleet.not_before = Some(cut);
        }
        let world = World {
            fleet: Some(fleet),
            ..World::whole()
        };
        world.surroundings().check(&session(), now())
    };
    for app_cut in [false, true] {
        assert_eq!(at(opened.before(MILLISECOND), app_cut), Ok(()));
        // In the very millisecond nobody knows which came first.
        assert_eq!(at(opened, app_cut), refused(Reason::SessionRevoked));
        assert_eq!(
            at(opened.after(ABSOLUTE), app_cut),
            refused(Reason::SessionRevoked)
        );
    }
}

#[test]
fn the_cut_of_another_app_concerns_nobody_here() {
    let mut fleet = Fleet::default();
    fleet
        .apps
        .insert("shop".parse().unwrap(), now().after(ABSOLUTE));
    let world = World {
        fleet: Some(fleet),
        ..World::whole()
    };
    assert_eq!(world.surroundings().check(&session(), now()), Ok(()));
}

#[test]
fn an_older_cut_at_one_level_does_not_hide_a_newer_one_at_another() {
    let (old, new) = (now().before(ABSOLUTE), now());
    for (whole, one_app) in [(old, new), (new, old)] {
        let fleet = Fleet {
            not_before: Some(whole),
            apps: [(app(), one_app)].into(),
        };
        let world = World {
            fleet: Some(fleet),
            ..World::whole()
        };
        let seen = world.surroundings().check(&session(), now());
        assert_eq!(seen, refused(Reason::SessionRevoked));
    }
}

#[test]
fn a_session_ends_with_the_millisecond_of_its_expiry() {
    let world = World::whole();
    let check = |at| world.surroundings().check(&session(), at);
    assert_eq!(check(session().idle_expires_at.before(MILLISECOND)), Ok(()));
    assert_eq!(
        check(session().idle_expires_at),
        refused(Reason::SessionExpiredIdle)
    );
    let last = session().expires_at.before(MILLISECOND);
    assert_eq!(check(last), refused(Reason::SessionExpiredIdle));
    assert_eq!(
        check(session().expires_at),
        refused(Reason::SessionExpiredAbsolute)
    );
}
