//! BatchRevokeDevices: each device for itself.

use assay::flow::batch_revoke_devices::{self, BatchRevokeDevices};
use assay::id::DeviceId;
use assay::session::{DeviceState, EventKind, RevocationReason};
use assay::store::Durability;

use super::*;

over_every_store! {
    each_ends_for_itself_and_in_its_place
    the_same_batch_again_changes_and_tells_nothing
    a_trial_revokes_nothing
    what_replicas_do_not_confirm_is_revoked_and_said_to_be_not_durable
    what_gets_lost_can_be_sent_again
}

fn batch(devices: &[DeviceId]) -> BatchRevokeDevices {
    BatchRevokeDevices {
        devices: devices.to_vec(),
        why: RevocationReason::Compromised,
        validate_only: false,
        by: caller(),
    }
}

/// Phones of so many users, more than are revoked at once.
async fn crowd(world: &World, users: usize) -> Vec<DeviceId> {
    let mut ids = Vec::new();
    for user in 0..users {
        let phone = world
            .registered(Kind::Android, &format!("user-{user}"))
            .await;
        ids.push(phone.id());
    }
    ids
}

async fn send(world: &World, batch: BatchRevokeDevices) -> Vec<(DeviceId, Option<Reason>)> {
    let answers = batch_revoke_devices::run(&world.engine, batch).await;
    let plain = answers
        .into_iter()
        .map(|one| (one.device, one.outcome.err().map(|failure| failure.reason)));
    plain.collect()
}

async fn each_ends_for_itself_and_in_its_place(world: World) {
    let ids = crowd(&world, 20).await;
    let stranger = World::in_memory().registered(Kind::Android, "user-1").await;
    let stolen = world.revoke(ids[4]).await.unwrap().device;
    let mut asked = ids.clone();
    asked.insert(11, stranger.id());
    asked.reverse();
    let before = world.trips();
    let answers = send(&world, batch(&asked)).await;
    assert_eq!(world.trips().since(before), (41, 20));
    let expected = asked.iter().map(|id| {
        let unknown = *id == stranger.id();
        (*id, unknown.then_some(Reason::ResourceNotFound))
    });
    assert_eq!(answers, expected.collect::<Vec<_>>());
    for id in &ids {
        let device = world.device(*id).await;
        assert_eq!(device.check_active().unwrap_err().0, Reason::DeviceRevoked);
    }
    // The one that was out before stays as it was.
    assert_eq!(world.device(ids[4]).await, stolen);
    let told = world.history(ids[5]).await;
    assert_eq!(told, [(EventKind::DeviceRevoked, "compromised".to_owned())]);
}

async fn the_same_batch_again_changes_and_tells_nothing(world: World) {
    let ids = crowd(&world, 3).await;
    send(&world, batch(&ids)).await;
    let first = world.device(ids[0]).await;
    world.advance(SECOND);
    let again = batch_revoke_devices::run(&world.engine, batch(&ids)).await;
    for one in again {
        let receipt = one.outcome.unwrap();
        let DeviceState::Revoked { at, .. } = first.state else {
            panic!("it is revoked");
        };
        assert_eq!(receipt.effective_at, at);
        assert_eq!(world.history(one.device).await.len(), 1);
    }
    assert_eq!(world.device(ids[0]).await, first);
}

async fn a_trial_revokes_nothing(world: World) {
    let ids = crowd(&world, 3).await;
    let trial = BatchRevokeDevices {
        validate_only: true,
        ..batch(&ids)
    };
    let before = world.trips();
    let answers = batch_revoke_devices::run(&world.engine, trial).await;
    assert_eq!(world.trips().since(before), (3, 0));
    for one in answers {
        assert_eq!(one.outcome.unwrap().revision, None);
        assert_eq!(world.device(one.device).await.state, DeviceState::Active);
        assert!(world.history(one.device).await.is_empty());
    }
}

async fn what_replicas_do_not_confirm_is_revoked_and_said_to_be_not_durable(mut world: World) {
    let ids = crowd(&world, 40).await;
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    // None of these stores has a replica.
    for _ in 0..2 {
        for (id, reason) in send(&world, batch(&ids)).await {
            assert_eq!(reason, Some(Reason::RevocationNotDurable));
            let device = world.device(id).await;
            assert_eq!(device.check_active().unwrap_err().0, Reason::DeviceRevoked);
        }
    }
}

async fn what_gets_lost_can_be_sent_again(world: World) {
    let ids = crowd(&world, 20).await;
    world.store.lose(20);
    let mut left = ids.clone();
    let mut sent = 0;
    while !left.is_empty() {
        sent += 1;
        assert!(sent < 100, "it never ends");
        let answers = send(&world, batch(&left)).await;
        left = answers
            .into_iter()
            .filter_map(|(id, reason)| {
                let reason = reason?;
                assert_eq!(reason, Reason::RevocationNotDurable);
                Some(id)
            })
            .collect();
    }
    world.store.lose(0);
    assert!(sent > 1);
    // What was held meanwhile is told when it lands, and nothing is told twice.
    let mut follower = assay::flow::Follower::new(world.now());
    while !follower.round(&world.engine).await.unwrap().complete {}
    for id in ids {
        assert_eq!(world.history(id).await.len(), 1);
    }
}
