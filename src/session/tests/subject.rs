use super::*;
use crate::id::ConsentId;
use crate::session::{Actor, EventKind, revoke_consent, revoke_subject};

fn millis(at: Timestamp) -> u64 {
    at.as_millis().try_into().unwrap()
}

#[test]
fn a_revocation_moves_the_epoch_to_now_and_empties_the_index_of_sessions() {
    let old = SubjectRecord {
        devices: vec![entry(1), entry(2)],
        ..subject()
    };
    let seen = revoke_subject(Some(&old), now());
    let expected = SubjectRecord {
        epoch: millis(now()),
        devices: old.devices.clone(),
        sessions: Vec::new(),
        consents: old.consents.clone(),
    };
    assert_eq!(seen, expected);
    let session = World::whole();
    let cut = Surroundings {
        subject: Some(&seen),
        ..session.surroundings()
    };
    assert_eq!(
        cut.check(&super::session(), now()),
        refused(Reason::SubjectRevoked)
    );
}

#[test]
fn an_epoch_moves_on_with_every_revocation_even_when_the_clock_goes_back() {
    let mut record = SubjectRecord::new(now());
    let mut seen = BTreeSet::from([record.epoch]);
    for at in [now(), now(), now().before(GRACE), now().after(GRACE), now()] {
        record = revoke_subject(Some(&record), at);
        assert!(seen.last().is_some_and(|last| *last < record.epoch));
        seen.insert(record.epoch);
    }
}

#[test]
fn a_record_made_anew_has_an_epoch_that_none_before_had() {
    let first = SubjectRecord::new(now());
    let revoked = revoke_subject(Some(&first), now().after(GRACE));
    let anew = SubjectRecord::new(now().after(GRACE).after(MILLISECOND));
    assert!(anew.epoch > revoked.epoch && anew.epoch > first.epoch);
    assert_eq!(revoke_subject(None, now()), first);
}

/// Of every device in the index, in its own app, and of the cut alone.
#[test]
fn a_cut_is_told_of_every_device_in_the_index() {
    let shop: AppId = "shop".parse().unwrap();
    let by = Actor::service();
    let record = SubjectRecord {
        devices: vec![
            entry(1),
            DeviceEntry {
                app: shop.clone(),
                ..entry(2)
            },
        ],
        ..subject()
    };
    let cut = revoke_subject(Some(&record), now());
    let told = cut.cut_events(None, ("lost", &by), now());
    let seen: Vec<_> = told
        .iter()
        .map(|event| (event.device, event.app.clone(), event.epoch))
        .collect();
    let epoch = Some(cut.epoch);
    let expected = [
        (Some(device_id(1)), Some(app()), epoch),
        (Some(device_id(2)), Some(shop), epoch),
    ];
    assert_eq!(seen, expected);
    for event in &told {
        assert_eq!(
            (event.kind, event.at, event.why.as_str()),
            (EventKind::SubjectRevoked, now(), "lost")
        );
        assert_eq!((&event.consent, event.session), (&None, None));
    }
    let consent: ConsentId = "loan".parse().unwrap();
    let cut = revoke_consent(Some(&record), &consent, now()).unwrap();
    let told = cut.cut_events(Some(&consent), ("lost", &by), now());
    assert_eq!(told.len(), 2);
    for event in told {
        assert_eq!(event.kind, EventKind::ConsentRevoked);
        assert_eq!(event.consent, Some(consent.clone()));
        assert_eq!(event.epoch, Some(cut.consent_epoch(&consent)));
    }
    let nobody = SubjectRecord::new(now());
    assert_eq!(nobody.cut_events(None, ("lost", &by), now()), []);
}
