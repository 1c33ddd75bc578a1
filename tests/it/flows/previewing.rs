//! PreviewRevocation: the numbers are those of the revocation that follows.

use assay::flow::preview_revocation::{self, Preview, Scope};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::id::SessionId;
use assay::session::{Reach, RevocationReason, SuspensionReason};

use super::world::{SHOP, app_id};
use super::*;

over_every_store! {
    every_kind_of_revocation_is_previewed_and_nothing_changes
    what_is_over_is_not_counted_and_what_may_come_back_is
    an_unknown_device_or_session_is_not_found_and_an_unknown_subject_has_nothing
    an_instant_bounds_what_would_be_cut
}

async fn preview(world: &World, scope: Scope) -> Preview {
    preview_revocation::run(&world.engine, scope).await.unwrap()
}

/// Devices and sessions.
async fn counts(world: &World, scope: Scope) -> (u64, u64) {
    let seen = preview(world, scope).await;
    assert!(seen.exact);
    assert_eq!(u64::try_from(seen.sample.len()).unwrap(), seen.sessions);
    (seen.devices, seen.sessions)
}

const EVERYTHING: Scope = Scope::Fleet(Reach::Everything, None);

async fn every_kind_of_revocation_is_previewed_and_nothing_changes(world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    let other = world.registered(Kind::Apple, "user-2").await;
    let idle = world.registered(Kind::Apple, "user-3").await;
    let mut opening = world.opening(&one, &["accounts"]);
    opening.consent = Some("loan".parse().unwrap());
    let loan = world.open(opening).await.unwrap();
    let plain = world.issue(&one).await.unwrap();
    world.issue(&two).await.unwrap();
    world.issue(&other).await.unwrap();
    let subject = one.subject.clone();
    let before = world.trips();
    for (scope, expected) in [
        (Scope::Device(one.id()), (1, 2)),
        (Scope::Device(idle.id()), (1, 0)),
        (Scope::Session(plain.session.id), (1, 1)),
        (Scope::Subject(subject.clone()), (2, 3)),
        (Scope::Subject(idle.subject.clone()), (0, 0)),
        (
            Scope::Consent(subject.clone(), "loan".parse().unwrap()),
            (1, 1),
        ),
        (
            Scope::Consent(subject.clone(), "card".parse().unwrap()),
            (0, 0),
        ),
        (Scope::Fleet(Reach::App(app_id(BANK)), None), (3, 4)),
        (Scope::Fleet(Reach::App(app_id(SHOP)), None), (0, 0)),
        (EVERYTHING, (3, 4)),
    ] {
        let before = world.trips();
        assert_eq!(counts(&world, scope.clone()).await, expected, "{scope:?}");
        let (trips, commits) = world.trips().since(before);
        assert!(trips <= 5 && commits == 0, "{trips} for {scope:?}");
    }
    assert_eq!(world.trips().since(before).1, 0);
    let sample = preview(
        &world,
        Scope::Consent(subject.clone(), "loan".parse().unwrap()),
    );
    assert_eq!(sample.await.sample, [loan.session.id]);
    let request = RevokeSubject {
        subject,
        why: RevocationReason::Compromised,
        validate_only: false,
        by: caller(),
    };
    revoke_subject::run(&world.engine, request).await.unwrap();
    assert_eq!(counts(&world, EVERYTHING).await, (1, 1));
}

async fn what_is_over_is_not_counted_and_what_may_come_back_is(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let over = world.issue(&phone).await.unwrap();
    world.issue(&phone).await.unwrap();
    let end = assay::flow::end_session::EndSession::Id(over.session.id);
    world.end(end).await.unwrap();
    let all = || Scope::Subject(phone.subject.clone());
    assert_eq!(counts(&world, all()).await, (1, 1));
    assert_eq!(
        counts(&world, Scope::Session(over.session.id)).await,
        (0, 0)
    );
    world
        .suspend(phone.id(), SuspensionReason::Mislaid)
        .await
        .unwrap();
    world.disable(BANK);
    for scope in [all(), EVERYTHING, Scope::Device(phone.id())] {
        assert_eq!(counts(&world, scope).await, (1, 1));
    }
    world.enable(BANK);
    world.revoke(phone.id()).await.unwrap();
    for scope in [all(), EVERYTHING, Scope::Device(phone.id())] {
        assert_eq!(counts(&world, scope).await, (0, 0));
    }
}

async fn an_unknown_device_or_session_is_not_found_and_an_unknown_subject_has_nothing(
    world: World,
) {
    let phone = World::in_memory().registered(Kind::Android, "user-1").await;
    let session = SessionId::new(phone.id().bucket(), [7; 16]);
    for scope in [Scope::Device(phone.id()), Scope::Session(session)] {
        let seen = preview_revocation::run(&world.engine, scope).await;
        assert_eq!(seen.unwrap_err().reason, Reason::ResourceNotFound);
    }
    let nobody = Scope::Subject(phone.subject.clone());
    assert_eq!(counts(&world, nobody).await, (0, 0));
    assert_eq!(counts(&world, EVERYTHING).await, (0, 0));
}

async fn an_instant_bounds_what_would_be_cut(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.issue(&phone).await.unwrap();
    let instant = world.now();
    world.advance(assay::token::INSTANCE_SKEW_MAX + MILLISECOND);
    world.issue(&phone).await.unwrap();
    let until = |at| Scope::Fleet(Reach::Everything, Some(at));
    assert_eq!(counts(&world, until(instant)).await, (1, 1));
    assert_eq!(counts(&world, until(world.now())).await, (1, 2));
}
