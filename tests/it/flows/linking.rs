//! LinkDeviceSuccessor: a new phone takes the place of the old one.

use assay::flow::link_device_successor;
use assay::session::{DeviceState, EventKind, RevocationReason, SuspensionReason};
use assay::store::Durability;

use super::world::{ACCESS, SHOP};
use super::*;

over_every_store! {
    the_new_device_takes_the_place_and_the_old_one_is_out
    linking_again_changes_and_tells_nothing
    a_line_grows_and_keeps_its_beginning
    what_is_no_succession_is_refused_and_changes_nothing
    a_stolen_device_can_be_replaced_and_stays_stolen
    a_trial_links_nothing
    a_link_on_too_few_replicas_is_applied_and_says_so
    a_link_that_races_a_revocation_leaves_no_half_of_it
    two_links_at_once_make_one_line
}

const ROUNDS: u32 = 30;

/// Two phones of one user, the second one registered later.
async fn pair(world: &World, subject: &str) -> (Phone, Phone) {
    let old = world.registered(Kind::Android, subject).await;
    world.advance(SECOND);
    let new = world.registered(Kind::Apple, subject).await;
    (old, new)
}

async fn the_new_device_takes_the_place_and_the_old_one_is_out(world: World) {
    let since = world.now();
    let (old, new) = pair(&world, "user-1").await;
    let grants = [
        world.issue(&old).await.unwrap(),
        world.issue(&new).await.unwrap(),
    ];
    let before = world.trips();
    let linked = world.link(old.id(), new.id()).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    let at = world.now();
    let why = RevocationReason::Replaced;
    assert_eq!(
        linked.succession.old.state,
        DeviceState::Revoked { at, why }
    );
    assert_eq!(linked.succession.old.lineage.successor, Some(new.id()));
    assert_eq!(linked.succession.new.lineage.predecessor, Some(old.id()));
    assert_eq!(linked.succession.new.lineage.since, since);
    assert_eq!(linked.receipt.effective_at, at);
    assert_eq!(linked.receipt.residual_access_for, ACCESS);
    assert_eq!(world.device(old.id()).await, linked.succession.old);
    assert_eq!(world.device(new.id()).await, linked.succession.new);

    // Sessions stay with the key they are bound to.
    let out = Err(Reason::DeviceRevoked);
    assert_eq!(world.verify(&old, &grants[0].access_token).await, out);
    let seen = world.refresh(&old, &grants[0].refresh_token).await;
    assert_eq!(seen.map(|_| ()), out);
    assert_eq!(world.verify(&new, &grants[1].access_token).await, Ok(()));

    let told = world.history(old.id()).await;
    let linked = (EventKind::DeviceLinked, String::new());
    let revoked = (EventKind::DeviceRevoked, "replaced".to_owned());
    assert_eq!(told, [linked.clone(), revoked]);
    assert_eq!(world.history(new.id()).await, [linked]);
}

async fn linking_again_changes_and_tells_nothing(world: World) {
    let (old, new) = pair(&world, "user-1").await;
    let first = world.link(old.id(), new.id()).await.unwrap();
    world.advance(ACCESS / 2);
    let again = world.link(old.id(), new.id()).await.unwrap();
    assert_eq!(again.succession, first.succession);
    assert_eq!(again.receipt.effective_at, first.receipt.effective_at);
    assert_ne!(again.receipt.revision, first.receipt.revision);
    // Also when the new one is gone since.
    world.revoke(new.id()).await.unwrap();
    let last = world.link(old.id(), new.id()).await.unwrap();
    assert_eq!(last.succession.old, first.succession.old);
    assert_eq!(world.history(old.id()).await.len(), 2);
    assert_eq!(world.history(new.id()).await.len(), 2);
}

async fn a_line_grows_and_keeps_its_beginning(world: World) {
    let since = world.now();
    let (first, second) = pair(&world, "user-1").await;
    world.link(first.id(), second.id()).await.unwrap();
    world.advance(SECOND);
    let third = world.registered(Kind::Android, "user-1").await;
    let linked = world.link(second.id(), third.id()).await.unwrap();
    assert_eq!(linked.succession.new.lineage.since, since);
    // Back to the beginning would be a circle.
    let no = Err(Reason::IllegalStateTransition);
    assert_eq!(world.link(third.id(), first.id()).await.map(|_| ()), no);
    // A device registered again stays in its line.
    let middle = world.device(second.id()).await;
    assert_eq!(middle.lineage.predecessor, Some(first.id()));
    assert_eq!(middle.lineage.successor, Some(third.id()));
}

async fn what_is_no_succession_is_refused_and_changes_nothing(world: World) {
    let (old, new) = pair(&world, "user-1").await;
    let other = world.registered(Kind::Apple, "user-2").await;
    let mut elsewhere = world.phone(Kind::Android, "user-1");
    let challenge = world.challenge(SHOP, None);
    let registration = world.registration_for(&mut elsewhere, SHOP, challenge);
    world.change_policy(SHOP, |policy| policy.devices_per_subject_max = 9);
    let elsewhere = world.send(&registration).await.unwrap().id;
    let before = world.trips();
    let no = Err(Reason::IllegalStateTransition);
    for (old, new) in [
        (old.id(), old.id()),
        (old.id(), other.id()),
        (other.id(), new.id()),
        (old.id(), elsewhere),
    ] {
        assert_eq!(world.link(old, new).await.map(|_| ()), no);
    }
    let stranger = World::in_memory().registered(Kind::Android, "user-1").await;
    for (old, new) in [(old.id(), stranger.id()), (stranger.id(), new.id())] {
        let seen = world.link(old, new).await.map(|_| ());
        assert_eq!(seen, Err(Reason::ResourceNotFound));
    }
    let why = SuspensionReason::Mislaid;
    assert_eq!(world.trips().since(before).1, 0);
    world.suspend(new.id(), why).await.unwrap();
    assert_eq!(world.link(old.id(), new.id()).await.map(|_| ()), no);
    world.revoke(new.id()).await.unwrap();
    assert_eq!(world.link(old.id(), new.id()).await.map(|_| ()), no);
    assert_eq!(world.device(old.id()).await.state, DeviceState::Active);
    assert!(world.history(old.id()).await.is_empty());
}

async fn a_stolen_device_can_be_replaced_and_stays_stolen(world: World) {
    let (old, new) = pair(&world, "user-1").await;
    let stolen = world.revoke(old.id()).await.unwrap();
    world.advance(SECOND);
    let linked = world.link(old.id(), new.id()).await.unwrap();
    assert_eq!(linked.succession.old.state, stolen.device.state);
    assert_eq!(linked.receipt.effective_at, stolen.receipt.effective_at);
    let kinds: Vec<EventKind> = world
        .history(old.id())
        .await
        .into_iter()
        .map(|e| e.0)
        .collect();
    assert_eq!(kinds, [EventKind::DeviceRevoked, EventKind::DeviceLinked]);
}

async fn a_trial_links_nothing(world: World) {
    let (old, new) = pair(&world, "user-1").await;
    let trial = link_device_successor::LinkDeviceSuccessor {
        old: old.id(),
        new: new.id(),
        validate_only: true,
        by: caller(),
    };
    let before = world.trips();
    let seen = link_device_successor::run(&world.engine, trial)
        .await
        .unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(seen.receipt.revision, None);
    assert_eq!(seen.succession.old.lineage.successor, Some(new.id()));
    for phone in [&old, &new] {
        assert_eq!(world.device(phone.id()).await.lineage.successor, None);
        assert!(world.issue(phone).await.is_ok());
        assert!(world.history(phone.id()).await.is_empty());
    }
}

async fn a_link_on_too_few_replicas_is_applied_and_says_so(mut world: World) {
    let (old, new) = pair(&world, "user-1").await;
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    for _ in 0..2 {
        let seen = world.link(old.id(), new.id()).await.map(|_| ());
        assert_eq!(seen, Err(Reason::RevocationNotDurable));
    }
    let seen = world.issue(&old).await.map(|_| ());
    assert_eq!(seen, Err(Reason::DeviceRevoked));
    assert_eq!(world.history(new.id()).await.len(), 1);
}

async fn a_link_that_races_a_revocation_leaves_no_half_of_it(world: World) {
    for round in 0..ROUNDS {
        let (old, new) = pair(&world, &format!("user-{round}")).await;
        let victim = if round % 2 == 0 { &old } else { &new };
        let (linked, revoked) =
            tokio::join!(world.link(old.id(), new.id()), world.revoke(victim.id()));
        revoked.unwrap();
        let after = [world.device(old.id()).await, world.device(new.id()).await];
        let out =
            |device: &assay::session::Device| device.check_active().err().map(|refusal| refusal.0);
        let victim = if round % 2 == 0 { &after[0] } else { &after[1] };
        assert_eq!(out(victim), Some(Reason::DeviceRevoked));
        match linked {
            Ok(_) => {
                assert_eq!(after[0].lineage.successor, Some(after[1].id));
                assert_eq!(after[1].lineage.predecessor, Some(after[0].id));
                assert_eq!(out(&after[0]), Some(Reason::DeviceRevoked));
            }
            Err(reason) => {
                // The new one was out first.
                assert_eq!(reason, Reason::IllegalStateTransition);
                assert_eq!(after[0].lineage.successor, None);
                assert_eq!(after[1].lineage.predecessor, None);
                assert_eq!(out(&after[0]), None);
            }
        }
    }
}

async fn two_links_at_once_make_one_line(world: World) {
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 9);
    for round in 0..ROUNDS {
        let (old, new) = pair(&world, &format!("user-{round}")).await;
        let (forth, back) = tokio::join!(
            world.link(old.id(), new.id()),
            world.link(new.id(), old.id())
        );
        let refused: Vec<Reason> = [forth.err(), back.err()].into_iter().flatten().collect();
        assert_eq!(refused, [Reason::IllegalStateTransition]);
        let after = [world.device(old.id()).await, world.device(new.id()).await];
        let alive = after.iter().filter(|device| device.check_active().is_ok());
        assert_eq!(alive.count(), 1);
    }
}
