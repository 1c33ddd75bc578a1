//! RevokeConsent: the sessions opened under a consent are dead with the answer, and no others.

use assay::flow::revoke_consent::{self, RevokeConsent};
use assay::flow::{Grant, Receipt};
use assay::id::{ConsentId, Subject};
use assay::session::{EventKind, Notice, RevocationReason, SessionState, SubjectRecord, Target};
use assay::store::record::unseal;
use assay::store::{Admission, Durability, keys};
use assay::token::INSTANCE_SKEW_MAX;

use super::world::ACCESS;
use super::*;

over_every_store! {
    what_was_opened_under_a_consent_is_out_at_once_and_nothing_else
    a_revoked_consent_can_be_given_again_and_revoked_again
    a_refresh_under_way_does_not_outlive_the_revocation_of_its_consent
    every_device_of_the_subject_is_told_with_consent_and_epoch
    a_consent_nobody_knows_is_revoked_all_the_same
    a_trial_revokes_no_consent
    a_consent_that_reached_too_few_replicas_is_revoked_and_says_so
    a_full_record_refuses_and_what_was_revoked_stays_so
}

fn consent(name: &str) -> ConsentId {
    name.parse().unwrap()
}

fn order(subject: &Subject, name: &str) -> RevokeConsent {
    RevokeConsent {
        subject: subject.clone(),
        consent: consent(name),
        why: RevocationReason::UserRequest,
        validate_only: false,
        by: caller(),
    }
}

async fn send(world: &World, order: RevokeConsent) -> Result<Receipt, Reason> {
    let answer = revoke_consent::run(&world.engine, order).await;
    answer.map_err(|failure| failure.reason)
}

async fn issue(world: &World, phone: &Phone, name: &str) -> Grant {
    let mut opening = world.opening(phone, &["accounts"]);
    opening.consent = Some(consent(name));
    world.open(opening).await.unwrap()
}

async fn out(world: &World, phone: &Phone, grant: &Grant) {
    let revoked = Reason::SessionRevoked;
    assert_eq!(world.verify(phone, &grant.access_token).await, Err(revoked));
    assert_eq!(world.active(&grant.access_token).await, Ok(false));
    let refreshed = world.refresh(phone, &grant.refresh_token).await;
    assert_eq!(refreshed.map(|_| ()), Err(revoked));
}

async fn what_was_opened_under_a_consent_is_out_at_once_and_nothing_else(world: World) {
    for kind in Kind::BOTH {
        let subject = format!("{kind:?}");
        let one = world.registered(kind, &subject).await;
        let two = world.registered(kind, &subject).await;
        let stranger = world.registered(kind, &format!("not {kind:?}")).await;
        let here = issue(&world, &one, "loan").await;
        let there = issue(&world, &two, "loan").await;
        assert_eq!(here.session.consent.as_ref().unwrap().id, consent("loan"));
        let other = issue(&world, &one, "card").await;
        let theirs = issue(&world, &stranger, "loan").await;
        let next = world.refresh(&one, &here.refresh_token).await.unwrap();
        let before = world.trips();
        let receipt = send(&world, order(&one.subject, "loan")).await.unwrap();
        // As RevokeSubject: the subject, one write.
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(receipt.effective_at, world.now());
        assert_eq!(receipt.residual_access_for, ACCESS);
        // A retry and a rotation alike.
        out(&world, &one, &here).await;
        out(&world, &one, &next.grant).await;
        out(&world, &two, &there).await;
        let live = async |phone, grant: &Grant| world.verify(phone, &grant.access_token).await;
        assert_eq!(live(&one, &other).await, Ok(()));
        assert_eq!(live(&stranger, &theirs).await, Ok(()));
        let left = world.sessions(&one.subject).await;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].id, other.session.id);
        assert_eq!(left[0].state, SessionState::Live);
    }
}

async fn a_revoked_consent_can_be_given_again_and_revoked_again(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    // All in one millisecond.
    for _ in 0..3 {
        let grant = issue(&world, &phone, "loan").await;
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        send(&world, order(&phone.subject, "loan")).await.unwrap();
        out(&world, &phone, &grant).await;
    }
}

async fn a_refresh_under_way_does_not_outlive_the_revocation_of_its_consent(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = issue(&world, &phone, "loan").await;
    world.store.hold_next_commit(Hold::Before);
    let cut = async {
        world.store.holding.notified().await;
        send(&world, order(&phone.subject, "loan")).await.unwrap();
        world.store.release.notify_one();
    };
    let (refreshed, ()) = tokio::join!(world.refresh(&phone, &grant.refresh_token), cut);
    assert_eq!(refreshed.map(|_| ()), Err(Reason::SessionRevoked));
}

async fn record(world: &World, subject: &Subject) -> SubjectRecord {
    let key = keys::subject(&world.engine.keyring.subject_tag(subject));
    let ask = Admission {
        load: vec![key.clone()],
        ..Admission::default()
    };
    let mut admitted = world.engine.store.admit(ask).await.unwrap();
    let record = admitted.records.pop().flatten().unwrap();
    unseal(&world.engine.keyring, &key, &record).unwrap()
}

async fn every_device_of_the_subject_is_told_with_consent_and_epoch(world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    issue(&world, &one, "loan").await;
    send(&world, order(&one.subject, "loan")).await.unwrap();
    let epoch = record(&world, &one.subject)
        .await
        .consent_epoch(&consent("loan"));
    for phone in [&one, &two] {
        let told = world.events(phone.id()).await.pop().unwrap();
        assert_eq!(told.kind, EventKind::ConsentRevoked);
        assert_eq!(told.consent, Some(consent("loan")));
        assert_eq!(told.epoch, Some(epoch));
        assert_eq!(told.why, "user-request");
        let notice = Notice {
            target: Target::Device(phone.id()),
            issued_until: world.now().after(INSTANCE_SKEW_MAX),
        };
        assert_eq!(told.notice(told.at), Some(notice));
    }
}

async fn a_consent_nobody_knows_is_revoked_all_the_same(world: World) {
    let nobody: Subject = "nobody".parse().unwrap();
    let before = world.trips();
    let receipt = send(&world, order(&nobody, "loan")).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    assert!(receipt.revision.is_some());
    // Whoever becomes somebody afterwards may use it.
    let phone = world.registered(Kind::Android, "nobody").await;
    let grant = issue(&world, &phone, "loan").await;
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
}

async fn a_trial_revokes_no_consent(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = issue(&world, &phone, "loan").await;
    let trial = RevokeConsent {
        validate_only: true,
        ..order(&phone.subject, "loan")
    };
    let before = world.trips();
    let receipt = send(&world, trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(receipt.revision, None);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
}

async fn a_consent_that_reached_too_few_replicas_is_revoked_and_says_so(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = issue(&world, &phone, "loan").await;
    // None of these stores has a replica.
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    let seen = send(&world, order(&phone.subject, "loan")).await;
    assert_eq!(seen.map(|_| ()), Err(Reason::RevocationNotDurable));
    out(&world, &phone, &grant).await;
}

async fn a_full_record_refuses_and_what_was_revoked_stays_so(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = issue(&world, &phone, "c0").await;
    for number in 0..assay::session::REVOKED_CONSENTS_MAX {
        let name = format!("c{number}");
        send(&world, order(&phone.subject, &name)).await.unwrap();
    }
    let seen = send(&world, order(&phone.subject, "more")).await;
    assert_eq!(seen.map(|_| ()), Err(Reason::ConsentLimit));
    out(&world, &phone, &grant).await;
}
