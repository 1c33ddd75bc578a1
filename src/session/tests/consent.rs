use super::*;
use crate::id::ConsentId;
use crate::policy::SESSION_FOR_MAX;
use crate::session::{Consent, REVOKED_CONSENTS_MAX, revoke_consent};
use crate::token::INSTANCE_SKEW_MAX;

fn consent(name: &str) -> ConsentId {
    name.parse().unwrap()
}

fn under(name: &str, subject: &SubjectRecord) -> Session {
    let id = consent(name);
    Session {
        consent: Some(Consent {
            epoch: subject.consent_epoch(&id),
            id,
        }),
        ..session()
    }
}

fn check(subject: &SubjectRecord, session: &Session) -> Result<(), Refusal> {
    let world = World {
        subject: Some(subject.clone()),
        ..World::whole()
    };
    world.surroundings().check(session, now())
}

#[test]
fn a_revocation_cuts_what_was_opened_under_the_consent_and_nothing_else() {
    let before = subject();
    let (cut, other, none) = (under("loan", &before), under("card", &before), session());
    let after = revoke_consent(Some(&before), &consent("loan"), now()).unwrap();
    assert_eq!(check(&after, &cut), refused(Reason::SessionRevoked));
    assert_eq!(check(&after, &other), Ok(()));
    assert_eq!(check(&after, &none), Ok(()));
    // What is opened after it is good, until the next one.
    let fresh = under("loan", &after);
    assert_eq!(check(&after, &fresh), Ok(()));
    let again = revoke_consent(Some(&after), &consent("loan"), now()).unwrap();
    assert_eq!(check(&again, &fresh), refused(Reason::SessionRevoked));
    assert_eq!(check(&again, &cut), refused(Reason::SessionRevoked));
    // All the rest of the record is as it was.
    let rest = SubjectRecord {
        consents: before.consents.clone(),
        ..again
    };
    assert_eq!(rest, before);
}

#[test]
fn an_epoch_begins_with_the_time_and_moves_on_when_the_clock_goes_back() {
    let loan = consent("loan");
    let mut record = subject();
    let mut last = 0;
    for at in [now(), now(), now().before(GRACE), now().after(GRACE)] {
        record = revoke_consent(Some(&record), &loan, at).unwrap();
        assert!(record.consent_epoch(&loan) > last);
        last = record.consent_epoch(&loan);
        assert!(last >= u64::try_from(at.as_millis()).unwrap());
    }
    let anew = revoke_consent(None, &loan, now().after(GRACE * 2)).unwrap();
    assert!(anew.consent_epoch(&loan) > last);
    assert!(anew.devices.is_empty());
}

#[test]
fn what_no_session_can_be_old_enough_for_leaves_and_nothing_earlier() {
    let record = revoke_consent(Some(&subject()), &consent("old"), now()).unwrap();
    let left = |at| {
        let record = revoke_consent(Some(&record), &consent("new"), at).unwrap();
        record.consent_epoch(&consent("old")) == 0
    };
    // A session may have been opened by an instance whose clock was ahead.
    let last = now().after(SESSION_FOR_MAX).after(INSTANCE_SKEW_MAX);
    assert!(!left(last));
    assert!(left(last.after(MILLISECOND)));
    // Gone, the next revocation still has a greater epoch than all before.
    let gone = revoke_consent(Some(&record), &consent("new"), last.after(GRACE)).unwrap();
    let again = revoke_consent(Some(&gone), &consent("old"), last.after(GRACE)).unwrap();
    assert!(again.consent_epoch(&consent("old")) > record.consent_epoch(&consent("old")));
}

#[test]
fn a_full_record_refuses_and_loses_nothing() {
    let mut record = subject();
    for number in 0..REVOKED_CONSENTS_MAX {
        let name = consent(&format!("c{number}"));
        record = revoke_consent(Some(&record), &name, now()).unwrap();
    }
    let one_more = revoke_consent(Some(&record), &consent("more"), now());
    assert_eq!(one_more, refused(Reason::ConsentLimit));
    // One that is there already needs no room.
    assert!(revoke_consent(Some(&record), &consent("c7"), now()).is_ok());
    let later = now().after(SESSION_FOR_MAX).after(GRACE);
    let room = revoke_consent(Some(&record), &consent("more"), later).unwrap();
    assert_eq!(room.consents.len(), 1);
}
