//! GetSession, RevokeSession and RevokeSubject: one session, or all of a subject, dead with the answer.

use assay::flow::end_session::EndSession;
use assay::flow::get_session;
use assay::flow::revoke_session::{self, RevokeSession, RevokedSession};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::flow::{Grant, Receipt};
use assay::id::{SessionId, Subject};
use assay::session::{
    EndReason, EventKind, RevocationReason, Session, SessionState, SubjectRecord, SuspensionReason,
};
use assay::store::record::unseal;
use assay::store::{Change, Durability, keys};

use super::world::{ABSOLUTE, ACCESS, IDLE, SHOP, app_id};
use super::*;
use crate::support::records;

over_every_store! {
    a_revoked_session_is_out_at_once_and_no_other
    a_refresh_under_way_does_not_outlive_the_revocation_of_its_session
    revoking_a_session_again_changes_nothing
    a_session_that_is_over_stays_as_it_ended
    a_trial_revokes_no_session_and_no_subject
    an_unknown_session_is_not_found
    revocations_that_reached_too_few_replicas_are_applied_and_say_so
    a_session_is_shown_with_what_stands_against_it
    every_session_of_a_revoked_subject_is_out_at_once
    what_was_decided_before_a_subject_was_revoked_is_not_done_after_it
    revoking_a_subject_again_cuts_what_was_opened_since
    revoking_a_subject_makes_room_for_new_sessions
    a_subject_nobody_knows_is_revoked_all_the_same
    a_lost_record_makes_no_old_session_good_again
    a_device_that_cannot_be_read_keeps_no_subject_from_being_revoked
}

fn order(session: SessionId, why: RevocationReason) -> RevokeSession {
    RevokeSession {
        session,
        why,
        validate_only: false,
        by: caller(),
    }
}

async fn send(world: &World, order: RevokeSession) -> Result<RevokedSession, Reason> {
    let answer = revoke_session::run(&world.engine, order).await;
    answer.map_err(|failure| failure.reason)
}

pub(super) async fn revoke(world: &World, grant: &Grant) -> Result<RevokedSession, Reason> {
    send(world, order(grant.session.id, RevocationReason::Stolen)).await
}

fn all_of(subject: &Subject) -> RevokeSubject {
    RevokeSubject {
        subject: subject.clone(),
        why: RevocationReason::Compromised,
        validate_only: false,
        by: caller(),
    }
}

pub(super) async fn revoke_all(world: &World, subject: &Subject) -> Result<Receipt, Reason> {
    let answer = revoke_subject::run(&world.engine, all_of(subject)).await;
    answer.map_err(|failure| failure.reason)
}

async fn look(world: &World, id: SessionId) -> Result<(Session, Result<(), Reason>), Reason> {
    let found = get_session::run(&world.engine, &id).await;
    let found = found.map_err(|failure| failure.reason)?;
    let standing = found.standing.map_err(|refusal| refusal.0);
    Ok((found.session, standing))
}

async fn out(world: &World, phone: &Phone, grant: &Grant, why: Reason) {
    assert_eq!(world.verify(phone, &grant.access_token).await, Err(why));
    assert_eq!(world.active(&grant.access_token).await, Ok(false));
    let refreshed = world.refresh(phone, &grant.refresh_token).await;
    assert_eq!(refreshed.map(|_| ()), Err(why));
}

async fn a_revoked_session_is_out_at_once_and_no_other(world: World) {
    for kind in Kind::BOTH {
        let phone = world.registered(kind, &format!("{kind:?}")).await;
        let grant = world.issue(&phone).await.unwrap();
        let other = world.issue(&phone).await.unwrap();
        let next = world.refresh(&phone, &grant.refresh_token).await.unwrap();
        let before = world.trips();
        let revoked = revoke(&world, &grant).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(revoked.receipt.effective_at, world.now());
        assert_eq!(revoked.receipt.residual_access_for, ACCESS);
        assert!(revoked.receipt.revision.is_some());
        let state = SessionState::Ended {
            at: world.now(),
            why: EndReason::Revoked(RevocationReason::Stolen),
        };
        assert_eq!(revoked.session.state, state);
        // A retry and a rotation alike.
        out(&world, &phone, &grant, Reason::SessionRevoked).await;
        out(&world, &phone, &next.grant, Reason::SessionRevoked).await;
        assert_eq!(world.verify(&phone, &other.access_token).await, Ok(()));
        let left = world.sessions(&phone.subject).await;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].id, other.session.id);
        let told = world.session_events(phone.id()).await.pop().unwrap();
        let by = caller().to_string();
        let ended = EventKind::SessionEnded;
        assert_eq!(told, (grant.session.id, ended, "stolen".to_owned(), by));
    }
}

/// Holds the commit of `work` until `cut` is done.
async fn meanwhile<T>(
    world: &World,
    work: impl Future<Output = T>,
    cut: impl Future<Output = ()>,
) -> T {
    world.store.hold_next_commit(Hold::Before);
    let cut = async {
        world.store.holding.notified().await;
        cut.await;
        world.store.release.notify_one();
    };
    tokio::join!(work, cut).0
}

async fn a_refresh_under_way_does_not_outlive_the_revocation_of_its_session(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let work = world.refresh(&phone, &grant.refresh_token);
    let cut = async { drop(revoke(&world, &grant).await.unwrap()) };
    let refreshed = meanwhile(&world, work, cut).await.map(|_| ());
    assert_eq!(refreshed, Err(Reason::SessionRevoked));
}

async fn revoking_a_session_again_changes_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let first = revoke(&world, &grant).await.unwrap();
    world.advance(ACCESS / 2);
    let again = order(grant.session.id, RevocationReason::Administrative);
    let second = send(&world, again).await.unwrap();
    assert_eq!(second.session, first.session);
    assert_eq!(second.receipt.effective_at, first.receipt.effective_at);
    assert_eq!(second.receipt.residual_access_for, ACCESS / 2);
    // It is written again, so that it is as durable as it says, and told once.
    assert_ne!(second.receipt.revision, first.receipt.revision);
    assert_eq!(world.session_events(phone.id()).await.len(), 2);
}

async fn a_session_that_is_over_stays_as_it_ended(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world.end(EndSession::Id(grant.session.id)).await.unwrap();
    let logout = SessionState::Ended {
        at: world.now(),
        why: EndReason::LoggedOut,
    };
    world.advance(SECOND);
    let revoked = revoke(&world, &grant).await.unwrap();
    assert_eq!(revoked.session.state, logout);
    // Over by its time alone: it is revoked as any other.
    let late = world.issue(&phone).await.unwrap();
    world.advance(ABSOLUTE);
    let revoked = revoke(&world, &late).await.unwrap();
    assert_eq!(revoked.receipt.effective_at, world.now());
}

async fn a_trial_revokes_no_session_and_no_subject(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let trial = RevokeSession {
        validate_only: true,
        ..order(grant.session.id, RevocationReason::Lost)
    };
    let before = world.trips();
    let seen = send(&world, trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert!(matches!(seen.session.state, SessionState::Ended { .. }));
    assert_eq!(seen.receipt.revision, None);
    let trial = RevokeSubject {
        validate_only: true,
        ..all_of(&phone.subject)
    };
    let before = world.trips();
    let receipt = revoke_subject::run(&world.engine, trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(receipt.revision, None);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    assert_eq!(world.events(phone.id()).await.len(), 2);
}

async fn an_unknown_session_is_not_found(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let unknown = SessionId::new(phone.id().bucket(), [7; 16]);
    let missing = Err(Reason::ResourceNotFound);
    let seen = send(&world, order(unknown, RevocationReason::Lost)).await;
    assert_eq!(seen.map(|_| ()), missing);
    assert_eq!(look(&world, unknown).await.map(|_| ()), missing);
}

async fn revocations_that_reached_too_few_replicas_are_applied_and_say_so(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let one = world.issue(&phone).await.unwrap();
    let other = world.issue(&phone).await.unwrap();
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    // None of these stores has a replica.
    for _ in 0..2 {
        let seen = revoke(&world, &one).await.map(|_| ());
        assert_eq!(seen, Err(Reason::RevocationNotDurable));
    }
    out(&world, &phone, &one, Reason::SessionRevoked).await;
    assert_eq!(world.verify(&phone, &other.access_token).await, Ok(()));
    for _ in 0..2 {
        let seen = revoke_all(&world, &phone.subject).await.map(|_| ());
        assert_eq!(seen, Err(Reason::RevocationNotDurable));
    }
    out(&world, &phone, &other, Reason::SubjectRevoked).await;
}

async fn a_session_is_shown_with_what_stands_against_it(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let before = world.trips();
    let seen = look(&world, grant.session.id).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 0));
    assert_eq!(seen, (grant.session.clone(), Ok(())));
    let standing = async |world: &World| look(world, grant.session.id).await.unwrap().1;
    world
        .suspend(phone.id(), SuspensionReason::Mislaid)
        .await
        .unwrap();
    assert_eq!(standing(&world).await, Err(Reason::DeviceSuspended));
    world.resume(phone.id()).await.unwrap();
    world.disable(BANK);
    assert_eq!(standing(&world).await, Err(Reason::AppDisabled));
    world.enable(BANK);
    assert_eq!(standing(&world).await, Ok(()));
    world.advance(IDLE);
    assert_eq!(standing(&world).await, Err(Reason::SessionExpiredIdle));
    revoke(&world, &grant).await.unwrap();
    assert_eq!(standing(&world).await, Err(Reason::SessionRevoked));
    revoke_all(&world, &phone.subject).await.unwrap();
    assert_eq!(standing(&world).await, Err(Reason::SubjectRevoked));
}

async fn every_session_of_a_revoked_subject_is_out_at_once(world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    let stranger = world.registered(Kind::Apple, "user-2").await;
    let grants = [
        (&one, world.issue(&one).await.unwrap()),
        (&one, world.issue(&one).await.unwrap()),
        (&two, world.issue(&two).await.unwrap()),
    ];
    let kept = world.issue(&stranger).await.unwrap();
    let before = world.trips();
    let receipt = revoke_all(&world, &one.subject).await.unwrap();
    // The subject, one write.
    assert_eq!(world.trips().since(before), (2, 1));
    assert_eq!(receipt.effective_at, world.now());
    assert_eq!(receipt.residual_access_for, ACCESS);
    for (phone, grant) in &grants {
        out(&world, phone, grant, Reason::SubjectRevoked).await;
    }
    assert!(world.sessions(&one.subject).await.is_empty());
    assert_eq!(world.verify(&stranger, &kept.access_token).await, Ok(()));
    // The devices stay, and are told.
    for phone in [&one, &two] {
        let told = [(EventKind::SubjectRevoked, "compromised".to_owned())];
        assert_eq!(world.history(phone.id()).await, told);
        let fresh = world.issue(phone).await.unwrap();
        assert_eq!(world.verify(phone, &fresh.access_token).await, Ok(()));
    }
    assert!(world.history(stranger.id()).await.is_empty());
    // Those that are out already are, too, and stay out.
    world.revoke(two.id()).await.unwrap();
    revoke_all(&world, &one.subject).await.unwrap();
    assert_eq!(world.history(one.id()).await.len(), 2);
    let told = world.history(two.id()).await.into_iter();
    let told: Vec<_> = told.map(|(kind, _)| kind).collect();
    let cut = EventKind::SubjectRevoked;
    assert_eq!(told, [cut, EventKind::DeviceRevoked, cut]);
    let opened = world.issue(&two).await.map(|_| ());
    assert_eq!(opened, Err(Reason::DeviceRevoked));
}

async fn what_was_decided_before_a_subject_was_revoked_is_not_done_after_it(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let cut = async || {
        revoke_all(&world, &phone.subject).await.unwrap();
    };
    let work = world.refresh(&phone, &grant.refresh_token);
    let refreshed = meanwhile(&world, work, cut()).await.map(|_| ());
    assert_eq!(refreshed, Err(Reason::SubjectRevoked));
    // A session that is opened after all is opened after it, and good.
    let issued = meanwhile(&world, world.issue(&phone), cut()).await.unwrap();
    assert_eq!(world.verify(&phone, &issued.access_token).await, Ok(()));
    // And a registration finds the epoch that it left.
    let mut late = world.phone(Kind::Apple, "user-1");
    let registration = world.registration(&mut late);
    meanwhile(&world, world.send(&registration), cut())
        .await
        .unwrap();
    out(&world, &phone, &issued, Reason::SubjectRevoked).await;
}

async fn revoking_a_subject_again_cuts_what_was_opened_since(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    // All in one millisecond.
    for _ in 0..3 {
        let grant = world.issue(&phone).await.unwrap();
        revoke_all(&world, &phone.subject).await.unwrap();
        out(&world, &phone, &grant, Reason::SubjectRevoked).await;
    }
    assert!(world.issue(&phone).await.is_ok());
}

async fn revoking_a_subject_makes_room_for_new_sessions(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut shop = world.phone(Kind::Apple, "user-1");
    let challenge = world.challenge(SHOP, Some(&shop.subject));
    let registration = world.registration_for(&mut shop, SHOP, challenge);
    shop.id = Some(world.send(&registration).await.unwrap().id);
    let elsewhere = world.issue(&shop).await.unwrap();
    for _ in 0..2 {
        world.issue(&phone).await.unwrap();
    }
    world.disable(SHOP);
    revoke_all(&world, &phone.subject).await.unwrap();
    for _ in 0..2 {
        let opening = world.opening(&phone, &["accounts"]);
        let before = world.trips();
        world.open(opening).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
    }
    // That its app was disabled meanwhile saved none.
    world.enable(SHOP);
    out(&world, &shop, &elsewhere, Reason::SubjectRevoked).await;
}

async fn a_subject_nobody_knows_is_revoked_all_the_same(world: World) {
    let nobody: Subject = "nobody".parse().unwrap();
    for _ in 0..2 {
        let before = world.trips();
        let receipt = revoke_all(&world, &nobody).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert!(receipt.revision.is_some());
        assert_eq!(receipt.residual_access_for, Duration::ZERO);
    }
    assert!(world.sessions(&nobody).await.is_empty());
    // It can become somebody.
    let phone = world.registered(Kind::Android, "nobody").await;
    let grant = world.issue(&phone).await.unwrap();
    world.advance(IDLE / 2);
    let refreshed = world.refresh(&phone, &grant.refresh_token).await;
    assert!(refreshed.is_ok());
}

async fn a_device_that_cannot_be_read_keeps_no_subject_from_being_revoked(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let other = world.registered(Kind::Apple, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world.spoil(other.id()).await;
    let receipt = revoke_all(&world, &phone.subject).await.unwrap();
    // The subject's own record says in which app the other one is.
    assert_eq!(receipt.residual_access_for, ACCESS);
    out(&world, &phone, &grant, Reason::SubjectRevoked).await;
    // And verifiers hear of both: the one may have had a session as well.
    for phone in [&phone, &other] {
        let told = world.events(phone.id()).await.pop().unwrap();
        assert_eq!(told.kind, EventKind::SubjectRevoked);
        assert_eq!(told.app, Some(app_id(BANK)));
    }
}

/// The store loses the subject after a revocation, and a registration makes it anew.
async fn a_lost_record_makes_no_old_session_good_again(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let revoked = world.issue(&phone).await.unwrap();
    revoke_all(&world, &phone.subject).await.unwrap();
    let later = world.issue(&phone).await.unwrap();
    let tag = world.engine.keyring.subject_tag(&phone.subject);
    let key = keys::subject(&tag);
    records::change(&*world.store, &key, Change::Delete).await;
    for grant in [&revoked, &later] {
        out(&world, &phone, grant, Reason::SubjectRevoked).await;
    }
    world.advance(SECOND);
    world.registered(Kind::Apple, "user-1").await;
    let record = records::stored(&*world.store, &key).await.unwrap();
    let subject: SubjectRecord = unseal(&world.engine.keyring, &key, &record).unwrap();
    assert_eq!(subject.devices.len(), 1);
    for grant in [&revoked, &later] {
        out(&world, &phone, grant, Reason::SubjectRevoked).await;
    }
}
