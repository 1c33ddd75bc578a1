//! ExportSubject and EraseSubject: what is kept of a subject is shown, then gone, and lets nobody in.

use std::collections::BTreeSet;

use assay::flow::PageRequest;
use assay::flow::erase_subject::{self, EraseSubject, Erased};
use assay::flow::export_subject::{self, Export, ExportSubject, Kept};
use assay::flow::find_devices::{self, By, FindDevices};
use assay::flow::revoke_subject::{self, RevokeSubject};
use assay::id::Subject;
use assay::session::{EventKind, RevocationReason, Target};
use assay::store::{Admission, Durability, IndexRange, keys};

use super::*;

over_every_store! {
    an_export_has_everything_and_pages_of_events
    an_export_of_nobody_is_empty
    an_erased_subject_leaves_no_record_and_its_sessions_are_dead
    no_key_of_an_erased_device_comes_back
    a_user_who_returns_finds_no_old_session_good
    erasing_again_changes_nothing_and_a_trial_changes_nothing
    what_comes_in_between_is_erased_as_well
    an_erasure_that_failed_in_between_goes_on
    more_than_a_commit_has_room_for_is_erased_in_rounds
    an_erasure_on_too_few_replicas_says_so
    devices_that_left_the_list_of_the_subject_are_erased_too
}

async fn export(world: &World, subject: &Subject) -> (Kept, Export) {
    let request = ExportSubject {
        subject: subject.clone(),
        page: PageRequest {
            size: 100,
            after: None,
        },
    };
    let mut export = export_subject::run(&world.engine, request).await.unwrap();
    (export.kept.take().unwrap(), export)
}

fn order(subject: &Subject) -> EraseSubject {
    EraseSubject {
        subject: subject.clone(),
        validate_only: false,
        by: caller(),
    }
}

async fn erase(world: &World, subject: &Subject) -> Result<Erased, Reason> {
    let answer = erase_subject::run(&world.engine, order(subject)).await;
    answer.map_err(|failure| failure.reason)
}

async fn records(world: &World, names: Vec<assay::store::Key>) -> usize {
    let ask = Admission {
        load: names,
        ..Admission::default()
    };
    let admitted = world.engine.store.admit(ask).await.unwrap();
    admitted.records.into_iter().flatten().count()
}

async fn an_export_has_everything_and_pages_of_events(world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    let other = world.registered(Kind::Apple, "user-2").await;
    world.issue(&other).await.unwrap();
    let mut opening = world.opening(&one, &["accounts"]);
    opening.consent = Some("loan".parse().unwrap());
    let grant = world.open(opening).await.unwrap();
    world.revoke(two.id()).await.unwrap();
    let (kept, export) = export(&world, &one.subject).await;
    let devices: BTreeSet<_> = kept.devices.iter().map(|(device, _)| device.id).collect();
    assert_eq!(devices, [one.id(), two.id()].into());
    assert_eq!(kept.sessions, [grant.session]);
    assert_eq!(kept.subject.unwrap().devices.len(), 2);
    let kinds: Vec<EventKind> = export
        .events
        .page
        .entries
        .iter()
        .map(|event| event.kind)
        .collect();
    let expected = [
        EventKind::DeviceRegistered,
        EventKind::DeviceRegistered,
        EventKind::SessionOpened,
        EventKind::DeviceRevoked,
    ];
    assert_eq!(kinds, expected);
    // Page by page the same, and the records in the first only.
    let (mut told, mut after, mut first) = (Vec::new(), None, true);
    loop {
        let request = ExportSubject {
            subject: one.subject.clone(),
            page: PageRequest { size: 1, after },
        };
        let page = export_subject::run(&world.engine, request).await.unwrap();
        assert_eq!(page.kept.is_some(), first);
        first = false;
        told.extend(page.events.page.entries);
        after = page.events.page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(told, export.events.page.entries);
}

async fn an_export_of_nobody_is_empty(world: World) {
    let (kept, export) = export(&world, &"nobody".parse().unwrap()).await;
    assert!(kept.subject.is_none() && kept.devices.is_empty() && kept.sessions.is_empty());
    assert!(export.events.page.entries.is_empty());
}

async fn an_erased_subject_leaves_no_record_and_its_sessions_are_dead(world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    let other = world.registered(Kind::Apple, "user-2").await;
    let grants = [
        (&one, world.issue(&one).await.unwrap()),
        (&two, world.issue(&two).await.unwrap()),
    ];
    let kept = world.issue(&other).await.unwrap();
    let serial = world.device(one.id()).await.chain_serials[1].clone();
    let before = world.trips();
    let erased = erase(&world, &one.subject).await.unwrap();
    assert_eq!(world.trips().since(before), (6, 1));
    assert_eq!((erased.devices, erased.sessions), (2, 2));
    assert!(erased.receipt.revision.is_some());
    for (phone, grant) in &grants {
        let verdict = world.verify(phone, &grant.access_token).await;
        assert_eq!(verdict, Err(Reason::SessionRevoked));
        assert_eq!(world.active(&grant.access_token).await, Ok(false));
        assert!(world.refresh(phone, &grant.refresh_token).await.is_err());
        assert!(world.issue(phone).await.is_err());
        let told = world.events(phone.id()).await.pop().unwrap();
        assert_eq!(told.kind, EventKind::SubjectErased);
        assert_eq!(
            told.notice(told.at).unwrap().target,
            Target::Device(phone.id())
        );
    }
    assert_eq!(world.verify(&other, &kept.access_token).await, Ok(()));
    let tag = world.engine.keyring.subject_tag(&one.subject);
    let mut names = vec![keys::subject(&tag)];
    for (phone, grant) in &grants {
        names.push(keys::device(&phone.id()));
        names.push(keys::receipt(&phone.id()));
        names.push(keys::session(&grant.session.id));
    }
    assert_eq!(records(&world, names).await, 0);
    let bucket = one.id().bucket();
    let range = |key| IndexRange {
        key,
        after: Vec::new(),
        limit: 100,
    };
    let ranges = vec![
        range(keys::devices(bucket)),
        range(keys::devices_by_serial(bucket, &serial)),
    ];
    let pages = world.engine.store.page(ranges).await.unwrap();
    let ours = [one.id(), two.id()].map(|id| id.as_bytes().to_vec());
    assert!(pages.iter().flatten().all(|member| !ours.contains(member)));
    let find = FindDevices {
        by: By::Key(one.key().thumbprint().parse().unwrap()),
        page: PageRequest {
            size: 10,
            after: None,
        },
    };
    let found = find_devices::run(&world.engine, find).await.unwrap();
    assert!(found.page.entries.is_empty());
    let (kept, _) = export(&world, &one.subject).await;
    assert!(kept.subject.is_none() && kept.devices.is_empty() && kept.sessions.is_empty());
}

async fn no_key_of_an_erased_device_comes_back(world: World) {
    let mut phones = [
        world.registered(Kind::Apple, "user-1").await,
        world.registered(Kind::Apple, "user-1").await,
    ];
    // Revoked or not.
    world.revoke(phones[1].id()).await.unwrap();
    let mut android = world.phone(Kind::Android, "user-3");
    let registration = world.registration(&mut android);
    world.send(&registration).await.unwrap();
    for subject in [&phones[0].subject, &android.subject] {
        erase(&world, subject).await.unwrap();
    }
    let banned = Err(Reason::DeviceKeyBanned);
    for phone in &mut phones {
        let again = world.register(phone).await.map(|_| ());
        assert_eq!(again, banned);
        let mut trial = world.registration(phone);
        trial.validate_only = true;
        assert_eq!(world.send(&trial).await.map(|_| ()), banned);
        // Nor for anybody else.
        phone.subject = "user-2".parse().unwrap();
        let seen = world.register(phone).await.map(|_| ());
        assert_eq!(seen, Err(Reason::DeviceExists));
    }
    // Nor by the very registration of before, whose challenge is still good.
    assert_eq!(world.send(&registration).await.map(|_| ()), banned);
    // A new key is welcome.
    world.registered(Kind::Android, "user-1").await;
}

async fn a_user_who_returns_finds_no_old_session_good(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    // One that left the list before, so that its record is still there.
    let cut = world.issue(&phone).await.unwrap();
    let revoke = RevokeSubject {
        subject: phone.subject.clone(),
        why: RevocationReason::Compromised,
        validate_only: false,
        by: caller(),
    };
    revoke_subject::run(&world.engine, revoke).await.unwrap();
    let erased = world.issue(&phone).await.unwrap();
    erase(&world, &phone.subject).await.unwrap();
    assert_eq!(
        records(&world, vec![keys::session(&cut.session.id)]).await,
        1
    );
    // In the very millisecond.
    let back = world.registered(Kind::Android, "user-1").await;
    let fresh = world.issue(&back).await.unwrap();
    assert_eq!(world.verify(&back, &fresh.access_token).await, Ok(()));
    for grant in [&cut, &erased] {
        assert!(world.verify(&phone, &grant.access_token).await.is_err());
        assert!(world.refresh(&phone, &grant.refresh_token).await.is_err());
    }
    assert_eq!(world.sessions(&back.subject).await.len(), 1);
}

async fn erasing_again_changes_nothing_and_a_trial_changes_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let trial = EraseSubject {
        validate_only: true,
        ..order(&phone.subject)
    };
    let seen = erase_subject::run(&world.engine, trial).await.unwrap();
    assert_eq!((seen.devices, seen.sessions), (1, 1));
    assert_eq!(seen.receipt.revision, None);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    erase(&world, &phone.subject).await.unwrap();
    let again = erase(&world, &phone.subject).await.unwrap();
    assert_eq!((again.devices, again.sessions), (0, 0));
    assert!(again.receipt.revision.is_some());
    let events = world.events(phone.id()).await;
    let erased = events
        .iter()
        .filter(|event| event.kind == EventKind::SubjectErased);
    assert_eq!(erased.count(), 1);
}

async fn what_comes_in_between_is_erased_as_well(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.store.hold_next_commit(Hold::Before);
    let late = async {
        world.store.holding.notified().await;
        let other = world.registered(Kind::Apple, "user-1").await;
        let grant = world.issue(&other).await.unwrap();
        world.store.release.notify_one();
        (other, grant)
    };
    let (erased, (other, grant)) = tokio::join!(erase(&world, &phone.subject), late);
    let erased = erased.unwrap();
    assert_eq!((erased.devices, erased.sessions), (2, 1));
    assert!(world.verify(&other, &grant.access_token).await.is_err());
}

async fn an_erasure_that_failed_in_between_goes_on(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.issue(&phone).await.unwrap();
    world.store.lose(40);
    for _ in 0..100 {
        match erase(&world, &phone.subject).await {
            Ok(_) => break,
            Err(reason) => assert_eq!(reason, Reason::StateStoreUnavailable),
        }
    }
    world.store.lose(0);
    erase(&world, &phone.subject).await.unwrap();
    let (kept, export) = export(&world, &phone.subject).await;
    assert!(kept.subject.is_none() && kept.devices.is_empty());
    assert!(export.events.page.entries.is_empty());
    assert_eq!(world.history(phone.id()).await.len(), 1);
}

async fn more_than_a_commit_has_room_for_is_erased_in_rounds(world: World) {
    world.change_policy(BANK, |policy| {
        policy.devices_per_subject_max = 100;
        policy.sessions_per_device_max = 200;
        policy.sessions_per_subject_max = 200;
    });
    let mut phones = Vec::new();
    for _ in 0..40 {
        phones.push(world.registered(Kind::Android, "user-1").await);
    }
    let mut grants = Vec::new();
    for number in 0..140 {
        let phone = &phones[number % phones.len()];
        grants.push((number % phones.len(), world.issue(phone).await.unwrap()));
    }
    let before = world.trips();
    let erased = erase(&world, &phones[0].subject).await.unwrap();
    assert!(world.trips().since(before).1 > 1);
    assert_eq!((erased.devices, erased.sessions), (40, 140));
    for (at, grant) in &grants {
        let verdict = world.verify(&phones[*at], &grant.access_token).await;
        assert_eq!(verdict, Err(Reason::SessionRevoked));
    }
    for phone in &phones {
        let last = world.events(phone.id()).await.pop().unwrap();
        assert_eq!(last.kind, EventKind::SubjectErased);
    }
    let (kept, _) = export(&world, &phones[0].subject).await;
    assert!(kept.subject.is_none() && kept.devices.is_empty() && kept.sessions.is_empty());
}

async fn an_erasure_on_too_few_replicas_says_so(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    // None of these stores has a replica.
    world.engine.revocation_durability = Durability::Replicated {
        replicas: 1,
        within: MILLISECOND * 50,
    };
    for _ in 0..2 {
        let seen = erase(&world, &phone.subject).await;
        assert_eq!(seen, Err(Reason::RevocationNotDurable));
    }
    let (kept, _) = export(&world, &phone.subject).await;
    assert!(kept.subject.is_none() && kept.devices.is_empty());
}

async fn devices_that_left_the_list_of_the_subject_are_erased_too(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let tag = world.engine.keyring.subject_tag(&phone.subject);
    let key = keys::subject(&tag);
    let ask = Admission {
        load: vec![key.clone()],
        ..Admission::default()
    };
    let admitted = world.engine.store.admit(ask).await.unwrap();
    let version = admitted.records[0].as_ref().unwrap().version;
    let lost = assay::store::ChangeSet {
        operation: assay::store::OperationId([1; 16]),
        bucket: key.bucket(),
        items: vec![assay::store::Item {
            key,
            expected: Some(version),
            change: assay::store::Change::Delete,
        }],
        claims: Vec::new(),
        index: Vec::new(),
        events: Vec::new(),
        durability: Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    };
    world.engine.store.commit(lost).await.unwrap();
    let (kept, _) = export(&world, &phone.subject).await;
    assert_eq!(kept.devices.len(), 1);
    let erased = erase(&world, &phone.subject).await.unwrap();
    assert_eq!(erased.devices, 1);
    assert_eq!(records(&world, vec![keys::device(&phone.id())]).await, 0);
}
