use super::*;
use crate::session::revoke_subject;

fn millis(at: Timestamp) -> u64 {
    at.as_millis().try_into().unwrap()
}

#[test]
fn a_revocation_moves_the_epoch_to_now_and_empties_the_index_of_sessions() {
    let old = SubjectRecord {
        devices: vec![device_id(1), device_id(2)],
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
