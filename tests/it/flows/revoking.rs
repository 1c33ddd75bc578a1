//! RevokeDevice: from its answer on everything is refused.

use assay::flow::{get_device, revoke_device};
use assay::session::{DeviceState, RevocationReason};
use assay::store::Durability;

use super::world::ACCESS;
use super::*;

over_every_store! {
    a_revoked_device_is_out_at_once
    what_was_decided_before_a_revocation_is_not_done_after_it
    a_revocation_that_races_a_registration_stays
    revoking_again_changes_nothing
    a_trial_revokes_nothing
    an_unknown_device_is_not_found
    a_device_of_a_disabled_app_can_be_revoked
    a_revocation_that_reached_too_few_replicas_is_applied_and_says_so
}

async fn a_revoked_device_is_out_at_once(world: World) {
    for kind in Kind::BOTH {
        let mut phone = world.registered(kind, "user-1").await;
        let grant = world.issue(&phone).await.unwrap();
        let refreshed = world
            .refresh(&phone, &grant.refresh_token)
            .await
            .unwrap()
            .grant;
        let fresh = world.issue(&phone).await.unwrap();
        let call = world.call(&phone, &fresh.access_token);
        let before = world.trips();
        let revoked = world.revoke(phone.id()).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(revoked.receipt.effective_at, world.now());
        assert_eq!(revoked.receipt.residual_access_for, ACCESS);
        assert!(revoked.receipt.revision.is_some());

        let out = Err(Reason::DeviceRevoked);
        assert_eq!(world.decide(call).await, Ok(out));
        for token in [
            &grant.access_token,
            &refreshed.access_token,
            &fresh.access_token,
        ] {
            assert_eq!(world.verify(&phone, token).await, out);
            assert_eq!(world.active(token).await, Ok(false));
        }
        // A retry, a reuse and a rotation alike.
        for token in [&grant, &refreshed, &fresh].map(|grant| &grant.refresh_token) {
            let seen = world.refresh(&phone, token).await.map(|_| ());
            assert_eq!(seen, out);
        }
        assert_eq!(world.issue(&phone).await.map(|_| ()), out);
        assert!(world.sessions(&phone.subject).await.is_empty());
        if kind == Kind::Apple {
            let again = world.register(&mut phone).await.map(|_| ());
            assert_eq!(again, Err(Reason::DeviceKeyBanned));
        }
    }
    // The same phones with fresh keys start anew.
    let phone = world.registered(Kind::Android, "user-1").await;
    assert!(world.issue(&phone).await.is_ok());
}

/// Holds the commit of `work` until the device is revoked.
async fn revoked_meanwhile<T>(world: &World, phone: &Phone, work: impl Future<Output = T>) -> T {
    world.store.hold_next_commit(Hold::Before);
    let meanwhile = async {
        world.store.holding.notified().await;
        world.revoke(phone.id()).await.unwrap();
        world.store.release.notify_one();
    };
    tokio::join!(work, meanwhile).0
}

async fn what_was_decided_before_a_revocation_is_not_done_after_it(world: World) {
    let out = Err(Reason::DeviceRevoked);
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let work = world.refresh(&phone, &grant.refresh_token);
    let refreshed = revoked_meanwhile(&world, &phone, work).await;
    assert_eq!(refreshed.map(|_| ()), out);
    let phone = world.registered(Kind::Android, "user-1").await;
    let issued = revoked_meanwhile(&world, &phone, world.issue(&phone)).await;
    assert_eq!(issued.map(|_| ()), out);
}

async fn a_revocation_that_races_a_registration_stays(world: World) {
    let mut phone = world.registered(Kind::Apple, "user-1").await;
    let again = world.registration(&mut phone);
    let seen = revoked_meanwhile(&world, &phone, world.send(&again)).await;
    assert_eq!(seen, Err(Reason::DeviceKeyBanned));
    let known = get_device::run(&world.engine, &phone.id()).await.unwrap();
    let device = known.device;
    assert!(matches!(device.state, DeviceState::Revoked { .. }));
}

async fn revoking_again_changes_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = world.revoke(phone.id()).await.unwrap();
    world.advance(ACCESS / 2);
    let again = revoke_device::RevokeDevice {
        device: phone.id(),
        why: RevocationReason::Administrative,
        validate_only: false,
        by: caller(),
    };
    let second = revoke_device::run(&world.engine, again).await.unwrap();
    assert_eq!(second.device, first.device);
    assert_eq!(second.receipt.effective_at, first.receipt.effective_at);
    assert_eq!(second.receipt.residual_access_for, ACCESS / 2);
    // It is written again, so that it is as durable as it says.
    assert_ne!(second.receipt.revision, first.receipt.revision);
    world.advance(ACCESS);
    let last = world.revoke(phone.id()).await.unwrap();
    assert_eq!(last.receipt.residual_access_for, Duration::ZERO);
}

async fn a_trial_revokes_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let trial = revoke_device::RevokeDevice {
        device: phone.id(),
        why: RevocationReason::Lost,
        validate_only: true,
        by: caller(),
    };
    let before = world.trips();
    let seen = revoke_device::run(&world.engine, trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert!(matches!(seen.device.state, DeviceState::Revoked { .. }));
    assert_eq!(seen.receipt.revision, None);
    assert!(world.issue(&phone).await.is_ok());
}

async fn an_unknown_device_is_not_found(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let unknown = World::in_memory();
    let seen = unknown.revoke(phone.id()).await.map(|_| ());
    assert_eq!(seen, Err(Reason::ResourceNotFound));
    let seen = get_device::run(&unknown.engine, &phone.id()).await;
    assert_eq!(seen.unwrap_err().reason, Reason::ResourceNotFound);
    let seen = get_device::run(&world.engine, &phone.id()).await.unwrap();
    assert_eq!(seen.device.id, phone.id());
}

async fn a_device_of_a_disabled_app_can_be_revoked(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.disable(BANK);
    world.revoke(phone.id()).await.unwrap();
    world.enable(BANK);
    assert_eq!(
        world.issue(&phone).await.map(|_| ()),
        Err(Reason::DeviceRevoked)
    );
}

async fn a_revocation_that_reached_too_few_replicas_is_applied_and_says_so(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    // None of these stores has a replica.
    for _ in 0..2 {
        let seen = world.revoke(phone.id()).await.map(|_| ());
        assert_eq!(seen, Err(Reason::RevocationNotDurable));
    }
    let verdict = world.verify(&phone, &grant.access_token).await;
    assert_eq!(verdict, Err(Reason::DeviceRevoked));
}
