use proptest::prelude::*;

use super::*;
use crate::session::{
    Actor, EndReason, Event, EventKind, Fact, Known, Overlay, RevocationReason, SuspensionReason,
    resume, revoke, revoke_subject, suspend,
};

fn by() -> Actor {
    Actor::service()
}

fn at(millis: u64) -> Timestamp {
    now().after(Duration::from_millis(millis))
}

fn told(kind: EventKind, why: &str, millis: u64) -> Event {
    device().event(kind, why.to_owned(), &by(), at(millis))
}

fn epoch_of(millis: u64) -> u64 {
    u64::try_from(at(millis).as_millis()).unwrap()
}

/// Every kind of fact, at an instant.
fn facts(millis: u64) -> Vec<Known> {
    let subject = Event {
        epoch: Some(epoch_of(millis) + 1),
        ..told(EventKind::SubjectRevoked, "lost", millis)
    };
    let consent = Event {
        consent: Some("payments".parse().unwrap()),
        ..subject.clone()
    };
    let revoked = Event {
        epoch: Some(device().epoch + 1),
        ..told(EventKind::DeviceRevoked, "stolen", millis)
    };
    let ended = session().event(EventKind::SessionEnded, "logged-out", &by(), at(millis));
    let events = [
        subject.clone(),
        consent,
        revoked,
        ended,
        told(EventKind::DeviceSuspended, "mislaid", millis),
        told(EventKind::DeviceResumed, "", millis + 1),
    ];
    let mut facts: Vec<Known> = events.iter().filter_map(Known::of).collect();
    assert_eq!(facts.len(), events.len());
    facts.push(Known::subject_cut(
        ([7; 32], None),
        ("lost", &by()),
        at(millis),
    ));
    for app in [None, Some(app())] {
        let event = subject.clone();
        let fact = Fact::NotBefore(app);
        facts.push(Known { fact, event });
    }
    facts
}

/// All records with all that is known laid over them.
fn laid(overlay: &Overlay) -> (Device, Session, SubjectRecord, Option<Fleet>) {
    let (mut device, mut session, mut fleet) = (device(), session(), None);
    let mut subject = subject();
    overlay.over_device(&mut device);
    overlay.over_session(&mut session);
    overlay.over_subject(&mut subject, [7; 32]);
    overlay.over_fleet(&mut fleet);
    (device, session, subject, fleet)
}

fn subject() -> SubjectRecord {
    SubjectRecord {
        devices: vec![entry(1)],
        ..SubjectRecord::new(now().before(GRACE))
    }
}

fn overlay(facts: &[Known]) -> Overlay {
    let mut overlay = Overlay::default();
    for known in facts {
        overlay.note(known.clone(), true);
    }
    overlay
}

proptest! {
    /// What is known ends up the same whatever comes first and how often.
    #[test]
    fn facts_end_up_the_same_in_every_order(
        order in Just((0..27).chain(0..9).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let all: Vec<Known> = [0, 10, 20].into_iter().flat_map(facts).collect();
        let in_order = overlay(&all);
        let shuffled: Vec<Known> = order.iter().map(|at| all[*at].clone()).collect();
        let shuffled = overlay(&shuffled);
        prop_assert_eq!(in_order.len(), shuffled.len());
        let (device, session, subject, fleet) = laid(&in_order);
        let (device_too, session_too, subject_too, fleet_too) = laid(&shuffled);
        prop_assert_eq!(device.epoch, device_too.epoch);
        let out = matches!(device_too.state, DeviceState::Revoked { .. });
        prop_assert!(out);
        let ended = matches!(session_too.state, SessionState::Ended { .. });
        prop_assert!(ended && session.state != SessionState::Live);
        prop_assert_eq!((subject, fleet), (subject_too, fleet_too));
    }

    /// Instances that write what they know over each other, in any order and over any newer change of
    /// the record, never take a step back, and agree in the end.
    #[test]
    fn racing_instances_never_take_anything_back(
        steps in prop::collection::vec((0_u8..3, 0_u64..40), 1..40),
    ) {
        let writers: Vec<Overlay> = (0..3)
            .map(|writer| {
                let own: Vec<Known> = facts(7 * writer).into_iter().step_by(1 + writer as usize).collect();
                overlay(&own)
            })
            .collect();
        let mut subject = subject();
        let mut device = device();
        for (writer, cut) in steps {
            let (before, was_out) = (subject.clone(), matches!(device.state, DeviceState::Revoked { .. }));
            match writers.get(usize::from(writer)).filter(|_| cut < 30) {
                Some(writer) => {
                    writer.over_subject(&mut subject, [7; 32]);
                    writer.over_device(&mut device);
                }
                // Somebody else revokes in between.
                None => subject = revoke_subject(Some(&subject), at(cut)),
            }
            prop_assert!(subject.epoch >= before.epoch);
            for (consent, epoch) in &before.consents {
                prop_assert!(subject.consents[consent] >= *epoch);
            }
            let is_out = matches!(device.state, DeviceState::Revoked { .. });
            prop_assert!(is_out || !was_out);
        }
        for writer in writers.iter().chain(writers.iter().rev()) {
            writer.over_subject(&mut subject, [7; 32]);
        }
        let settled = subject.clone();
        for writer in &writers {
            writer.over_subject(&mut subject, [7; 32]);
        }
        prop_assert_eq!(settled, subject);
    }
}

#[test]
fn nothing_known_changes_nothing() {
    let (seen, over, of, fleet) = laid(&Overlay::default());
    assert_eq!(
        (seen, over, of, fleet),
        (device(), session(), subject(), None)
    );
}

#[test]
fn the_last_word_on_a_suspension_counts() {
    let suspended = told(EventKind::DeviceSuspended, "mislaid", 0);
    let resumed = told(EventKind::DeviceResumed, "", 5);
    let again = told(EventKind::DeviceSuspended, "administrative", 9);
    let state = |events: &[&Event]| {
        let facts: Vec<Known> = events.iter().filter_map(|event| Known::of(event)).collect();
        laid(&overlay(&facts)).0.state
    };
    let (why, millis) = (SuspensionReason::Mislaid, 0);
    let out = DeviceState::Suspended {
        at: at(millis),
        why,
    };
    assert_eq!(state(&[&suspended]), out);
    assert_eq!(state(&[&suspended, &resumed]), DeviceState::Active);
    assert_eq!(state(&[&resumed, &suspended]), DeviceState::Active);
    let why = SuspensionReason::Administrative;
    let out = DeviceState::Suspended { at: at(9), why };
    assert_eq!(state(&[&again, &suspended, &resumed]), out);
}

#[test]
fn a_resumption_is_later_than_what_it_lifts_whatever_the_clock_says() {
    let suspended = suspend(&device(), SuspensionReason::Mislaid, at(100)).unwrap();
    assert!(suspended.resumed_at(at(3)) > at(100));
    assert_eq!(suspended.resumed_at(at(200)), at(200));
    let back = resume(&suspended).unwrap();
    let events = [
        suspended.event(
            EventKind::DeviceSuspended,
            "mislaid".to_owned(),
            &by(),
            at(100),
        ),
        back.event(
            EventKind::DeviceResumed,
            String::new(),
            &by(),
            suspended.resumed_at(at(3)),
        ),
    ];
    let facts: Vec<Known> = events.iter().filter_map(Known::of).collect();
    assert_eq!(laid(&overlay(&facts)).0.state, DeviceState::Active);
}

#[test]
fn what_was_opened_after_stays_alive() {
    let cut = revoke_subject(Some(&subject()), at(5));
    let event = Event {
        epoch: Some(cut.epoch),
        ..told(EventKind::SubjectRevoked, "lost", 5)
    };
    let known = Known::of(&event).unwrap();
    let mut after = SubjectRecord {
        sessions: subject().sessions,
        ..cut.clone()
    };
    overlay(&[known]).over_subject(&mut after, [7; 32]);
    assert_eq!(after, cut, "it is there already");
    // An event that does not say the epoch has moved it to its own time at least.
    let old = Known::of(&told(EventKind::SubjectRevoked, "lost", 5)).unwrap();
    let mut before = subject();
    overlay(std::slice::from_ref(&old)).over_subject(&mut before, [7; 32]);
    assert_eq!(before.epoch, epoch_of(5));
    let mut after = cut.clone();
    overlay(&[old]).over_subject(&mut after, [7; 32]);
    assert_eq!(after, cut);
}

#[test]
fn a_subject_cut_unseen_is_cut_whatever_its_epoch_can_be() {
    let ahead = SubjectRecord::new(now().after(crate::token::INSTANCE_SKEW_MAX));
    let known = Known::subject_cut(([7; 32], None), ("lost", &by()), at(1));
    let mut subject = ahead.clone();
    let facts = overlay(&[known]);
    assert!(facts.has_subject([7; 32]) && !facts.has_subject([8; 32]));
    facts.over_subject(&mut subject, [7; 32]);
    assert!(subject.epoch > ahead.epoch);
    let mut other = ahead.clone();
    facts.over_subject(&mut other, [8; 32]);
    assert_eq!(other, ahead);
}

#[test]
fn words_that_this_version_does_not_know_are_an_operators() {
    let ended = session().event(EventKind::SessionEnded, "word-of-tomorrow", &by(), at(0));
    let facts = overlay(&[Known::of(&ended).unwrap()]);
    let why = EndReason::Revoked(RevocationReason::Administrative);
    let state = SessionState::Ended { at: at(0), why };
    assert_eq!(laid(&facts).1.state, state);
    for why in [
        EndReason::LoggedOut,
        EndReason::Evicted,
        EndReason::RefreshTokenReused,
    ] {
        assert_eq!(EndReason::parse(why.as_str()), why);
    }
}

#[test]
fn endings_do_not_push_revocations_out() {
    let mut overlay = Overlay::default();
    overlay.note(
        Known::of(&told(EventKind::DeviceRevoked, "stolen", 0)).unwrap(),
        true,
    );
    for number in 0..=super::super::ENDINGS_MAX {
        let mut unique = [0; 16];
        unique[..8].copy_from_slice(&number.to_be_bytes());
        let mut event = session().event(EventKind::SessionEnded, "logged-out", &by(), at(1));
        event.session = Some(SessionId::new(bucket(), unique));
        overlay.note(Known::of(&event).unwrap(), true);
    }
    assert_eq!(overlay.len(), super::super::ENDINGS_MAX + 1);
    assert!(matches!(
        laid(&overlay).0.state,
        DeviceState::Revoked { .. }
    ));
}

#[test]
fn what_waits_is_not_forgotten_and_what_is_settled_is() {
    let known = Known::of(&told(EventKind::DeviceRevoked, "stolen", 0)).unwrap();
    let mut overlay = Overlay::default();
    assert!(overlay.wait(known.clone()));
    assert_eq!(overlay.waiting(9), std::slice::from_ref(&known));
    let later = at(0)
        .after(crate::session::OVERLAY_KEPT_FOR)
        .after(MILLISECOND);
    overlay.prune(later);
    assert!(overlay.is_waiting(&known));
    overlay.settle(&known);
    assert!(!overlay.is_waiting(&known));
    overlay.prune(later.before(MILLISECOND));
    assert_eq!(overlay.len(), 1);
    overlay.doubt();
    assert_eq!(overlay.waits(), 1);
    overlay.note(known, true);
    overlay.prune(later);
    assert!(overlay.is_empty());
}

#[test]
fn a_revoked_device_is_the_one_it_would_have_been() {
    let why = RevocationReason::Stolen;
    let revoked = revoke(&device(), why, at(0));
    let event = Event {
        epoch: Some(revoked.epoch),
        ..revoked.event(
            EventKind::DeviceRevoked,
            why.as_str().to_owned(),
            &by(),
            at(0),
        )
    };
    assert_eq!(laid(&overlay(&[Known::of(&event).unwrap()])).0, revoked);
}
