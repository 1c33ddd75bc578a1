//! SuspendDevice and ResumeDevice: out for now, and in again with the same sessions.

use assay::flow::end_session::EndSession;
use assay::flow::{resume_device, suspend_device};
use assay::session::{DeviceState, EventKind, RevocationReason, SuspensionReason};
use assay::store::Durability;

use super::world::{ACCESS, IDLE};
use super::*;

over_every_store! {
    a_suspended_device_is_out_and_its_sessions_are_good_again_after
    a_session_does_not_outlive_its_time_by_a_suspension
    a_refresh_retried_across_a_suspension_gives_the_same_successor
    sessions_of_a_suspended_device_keep_their_places
    suspending_and_resuming_again_change_and_tell_nothing
    a_person_takes_over_from_a_reappraisal
    a_revoked_device_is_neither_suspended_nor_resumed
    a_trial_suspends_and_resumes_nothing
    a_device_nobody_knows_is_not_found
    a_suspension_on_too_few_replicas_is_applied_and_says_so
    a_lost_answer_makes_one_change_and_one_event
    a_resumption_that_races_a_revocation_never_undoes_it
}

const ROUNDS: u32 = 30;
const OUT: Result<(), Reason> = Err(Reason::DeviceSuspended);

async fn a_suspended_device_is_out_and_its_sessions_are_good_again_after(world: World) {
    for kind in Kind::BOTH {
        let mut phone = world.registered(kind, "user-1").await;
        let grant = world.issue(&phone).await.unwrap();
        let before = world.trips();
        let why = SuspensionReason::Mislaid;
        let suspended = world.suspend(phone.id(), why).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        let at = world.now();
        assert_eq!(suspended.device.state, DeviceState::Suspended { at, why });
        assert_eq!(suspended.receipt.effective_at, at);
        assert_eq!(suspended.receipt.residual_access_for, ACCESS);
        assert!(suspended.receipt.revision.is_some());
        assert_eq!(world.device(phone.id()).await, suspended.device);

        assert_eq!(world.verify(&phone, &grant.access_token).await, OUT);
        assert_eq!(world.active(&grant.access_token).await, Ok(false));
        let refreshed = world.refresh(&phone, &grant.refresh_token).await;
        assert_eq!(refreshed.map(|_| ()), OUT);
        assert_eq!(world.issue(&phone).await.map(|_| ()), OUT);
        assert!(world.sessions(&phone.subject).await.is_empty());
        if kind == Kind::Apple {
            let again = world.register(&mut phone).await.map(|_| ());
            assert_eq!(again, OUT);
        }

        let before = world.trips();
        let resumed = world.resume(phone.id()).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(resumed.state, DeviceState::Active);
        assert_eq!(resumed.epoch, suspended.device.epoch);
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        assert_eq!(world.active(&grant.access_token).await, Ok(true));
        world.refresh(&phone, &grant.refresh_token).await.unwrap();
        world.issue(&phone).await.unwrap();
        world.revoke(phone.id()).await.unwrap();
    }
}

async fn a_session_does_not_outlive_its_time_by_a_suspension(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world
        .suspend(phone.id(), SuspensionReason::Investigation)
        .await
        .unwrap();
    world.advance(IDLE);
    // What is over is told before what can be undone.
    let over = Err(Reason::SessionExpiredIdle);
    let seen = world.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(seen.map(|_| ()), over);
    world.resume(phone.id()).await.unwrap();
    let seen = world.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(seen.map(|_| ()), over);
}

async fn a_refresh_retried_across_a_suspension_gives_the_same_successor(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = world.issue(&phone).await.unwrap().refresh_token;
    let rotated = world.refresh(&phone, &first).await.unwrap();
    world
        .suspend(phone.id(), SuspensionReason::Mislaid)
        .await
        .unwrap();
    // Nor is a used token held against the session meanwhile.
    let seen = world.refresh(&phone, &first).await.map(|_| ());
    assert_eq!(seen, OUT);
    world.resume(phone.id()).await.unwrap();
    let retried = world.refresh(&phone, &first).await.unwrap();
    let successor = rotated.grant.refresh_token.expose();
    assert_eq!(retried.grant.refresh_token.expose(), successor);
}

/// Otherwise whoever opens sessions elsewhere meanwhile has more than the limit when it is resumed.
async fn sessions_of_a_suspended_device_keep_their_places(world: World) {
    let away = world.registered(Kind::Android, "user-1").await;
    let here = world.registered(Kind::Apple, "user-1").await;
    let kept = world.issue(&away).await.unwrap();
    let ended = world.issue(&away).await.unwrap();
    world.end(EndSession::Id(ended.session.id)).await.unwrap();
    let why = SuspensionReason::Mislaid;
    world.suspend(away.id(), why).await.unwrap();
    // Three sessions of a subject: the one that waits, and not the one that was ended.
    for _ in 0..2 {
        world.issue(&here).await.unwrap();
    }
    let seen = world.issue(&here).await.map(|_| ());
    assert_eq!(seen, Err(Reason::SessionLimit));
    world.resume(away.id()).await.unwrap();
    let listed = world.sessions(&away.subject).await;
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().any(|session| session.id == kept.session.id));
}

async fn suspending_and_resuming_again_change_and_tell_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let why = SuspensionReason::Mislaid;
    let first = world.suspend(phone.id(), why).await.unwrap();
    world.advance(ACCESS / 2);
    let other = SuspensionReason::Administrative;
    let again = world.suspend(phone.id(), other).await.unwrap();
    assert_eq!(again.device, first.device);
    assert_eq!(again.receipt.effective_at, first.receipt.effective_at);
    assert_eq!(again.receipt.residual_access_for, ACCESS / 2);
    // It is written again, so that it is as durable as it says.
    assert_ne!(again.receipt.revision, first.receipt.revision);
    let resumed = world.resume(phone.id()).await.unwrap();
    let before = world.trips();
    assert_eq!(world.resume(phone.id()).await, Ok(resumed));
    assert_eq!(world.trips().since(before), (1, 0));
    let history = [
        (EventKind::DeviceSuspended, "mislaid".to_owned()),
        (EventKind::DeviceResumed, String::new()),
    ];
    assert_eq!(world.history(phone.id()).await, history);
}

async fn a_person_takes_over_from_a_reappraisal(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let service = SuspensionReason::Reappraisal;
    let since = world.now();
    world.suspend(phone.id(), service).await.unwrap();
    world.advance(SECOND);
    let person = SuspensionReason::Investigation;
    let taken = world.suspend(phone.id(), person).await.unwrap();
    let state = DeviceState::Suspended {
        at: since,
        why: person,
    };
    assert_eq!(taken.device.state, state);
    let again = world.suspend(phone.id(), service).await.unwrap();
    assert_eq!(again.device.state, state);
    let words: Vec<String> = world
        .history(phone.id())
        .await
        .into_iter()
        .map(|e| e.1)
        .collect();
    assert_eq!(words, ["reappraisal", "investigation"]);
    assert_eq!(
        world.resume(phone.id()).await.unwrap().state,
        DeviceState::Active
    );
}

async fn a_revoked_device_is_neither_suspended_nor_resumed(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let why = SuspensionReason::Mislaid;
    world.suspend(phone.id(), why).await.unwrap();
    let revoked = world.revoke(phone.id()).await.unwrap().device;
    let out = Err(Reason::DeviceRevoked);
    assert_eq!(world.suspend(phone.id(), why).await.map(|_| ()), out);
    assert_eq!(world.resume(phone.id()).await.map(|_| ()), out);
    assert_eq!(world.device(phone.id()).await, revoked);
    let kinds: Vec<EventKind> = world
        .history(phone.id())
        .await
        .into_iter()
        .map(|e| e.0)
        .collect();
    assert_eq!(
        kinds,
        [EventKind::DeviceSuspended, EventKind::DeviceRevoked]
    );
}

async fn a_trial_suspends_and_resumes_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let trial = suspend_device::SuspendDevice {
        device: phone.id(),
        why: SuspensionReason::Mislaid,
        validate_only: true,
        by: caller(),
    };
    let before = world.trips();
    let seen = suspend_device::run(&world.engine, trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(
        seen.device.check_active().unwrap_err().0,
        Reason::DeviceSuspended
    );
    assert_eq!(seen.receipt.revision, None);
    assert!(world.issue(&phone).await.is_ok());

    let why = SuspensionReason::Mislaid;
    world.suspend(phone.id(), why).await.unwrap();
    let trial = resume_device::ResumeDevice {
        device: phone.id(),
        validate_only: true,
        by: caller(),
    };
    let before = world.trips();
    let seen = resume_device::run(&world.engine, trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(seen.state, DeviceState::Active);
    assert_eq!(world.issue(&phone).await.map(|_| ()), OUT);
    assert_eq!(world.history(phone.id()).await.len(), 1);
}

async fn a_device_nobody_knows_is_not_found(world: World) {
    let phone = World::in_memory().registered(Kind::Android, "user-1").await;
    let nobody = Err(Reason::ResourceNotFound);
    let why = SuspensionReason::Mislaid;
    assert_eq!(world.suspend(phone.id(), why).await.map(|_| ()), nobody);
    assert_eq!(world.resume(phone.id()).await.map(|_| ()), nobody);
}

async fn a_suspension_on_too_few_replicas_is_applied_and_says_so(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    // None of these stores has a replica.
    for _ in 0..2 {
        let seen = world.suspend(phone.id(), SuspensionReason::Mislaid).await;
        assert_eq!(seen.map(|_| ()), Err(Reason::RevocationNotDurable));
    }
    assert_eq!(world.verify(&phone, &grant.access_token).await, OUT);
    assert_eq!(world.history(phone.id()).await.len(), 1);
    // Letting somebody in again waits for nobody.
    world.resume(phone.id()).await.unwrap();
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
}

async fn a_lost_answer_makes_one_change_and_one_event(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let why = SuspensionReason::Mislaid;
    world.store.hold_next_commit(Hold::After);
    world.store.release.notify_one();
    world.suspend(phone.id(), why).await.unwrap();
    world.store.hold_next_commit(Hold::After);
    world.store.release.notify_one();
    world.resume(phone.id()).await.unwrap();
    let kinds: Vec<EventKind> = world
        .history(phone.id())
        .await
        .into_iter()
        .map(|e| e.0)
        .collect();
    assert_eq!(
        kinds,
        [EventKind::DeviceSuspended, EventKind::DeviceResumed]
    );
}

async fn a_resumption_that_races_a_revocation_never_undoes_it(world: World) {
    for round in 0..ROUNDS {
        let phone = world
            .registered(Kind::Android, &format!("user-{round}"))
            .await;
        let why = SuspensionReason::Mislaid;
        world.suspend(phone.id(), why).await.unwrap();
        let (revoked, resumed) = tokio::join!(world.revoke(phone.id()), world.resume(phone.id()));
        let device = revoked.unwrap().device;
        match resumed {
            Ok(before) => assert_eq!(before.state, DeviceState::Active),
            Err(reason) => assert_eq!(reason, Reason::DeviceRevoked),
        }
        let why = RevocationReason::Stolen;
        let at = world.now();
        assert_eq!(device.state, DeviceState::Revoked { at, why });
        assert_eq!(world.device(phone.id()).await, device);
        assert_eq!(world.resume(phone.id()).await, Err(Reason::DeviceRevoked));
    }
}
