//! FindDevices: by what is printed in a log, on a certificate, in a token.

use std::collections::BTreeMap;
use std::slice::from_ref;

use assay::flow::find_devices::{self, By, FindDevices, KeyDigest};
use assay::flow::{DevicePage, PageRequest, get_device, list_devices};
use assay::id::DeviceId;
use assay::key::Thumbprint;
use assay::session::Device;
use assay::store::{
    Admission, ChangeSet, Claim, Durability, IndexChange, OperationId, Presence, keys,
};
use data_encoding::HEXLOWER;

use super::phone::strange_key;
use super::*;

over_every_store! {
    a_device_is_found_by_its_id
    a_device_is_found_by_each_of_its_keys
    a_key_of_long_ago_still_finds_its_device
    a_key_that_was_claimed_for_nothing_finds_nothing
    pages_over_many_buckets_join_into_the_whole
    devices_are_found_by_the_key_that_signed_their_attestation
    pages_are_full_where_many_devices_share_a_bucket
    a_serial_of_a_leaf_finds_nothing
    a_revoked_device_is_found_like_any_other
    a_record_that_cannot_be_read_hides_no_other_and_is_named
    a_page_of_records_that_cannot_be_read_leads_on
}

/// The whole, in pages of that size.
async fn find(world: &World, by: By, size: usize) -> Vec<Device> {
    let mut page = PageRequest { size, after: None };
    let mut all = Vec::new();
    loop {
        let request = FindDevices {
            by: by.clone(),
            page,
        };
        let found = find_devices::run(&world.engine, request).await.unwrap();
        assert!(found.page.entries.len() <= size);
        all.extend(found.page.entries);
        page.after = found.page.next;
        if page.after.is_none() {
            return all;
        }
    }
}

async fn a_device_is_found_by_its_id(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let device = world.device(phone.id()).await;
    let before = world.trips();
    assert_eq!(find(&world, By::Id(phone.id()), 1).await, [device]);
    assert_eq!(world.trips().since(before), (1, 0));
    let stranger = World::in_memory().registered(Kind::Android, "user-1").await;
    assert!(find(&world, By::Id(stranger.id()), 1).await.is_empty());
}

async fn a_device_is_found_by_each_of_its_keys(world: World) {
    for kind in Kind::BOTH {
        let phone = world.registered(kind, "user-1").await;
        let device = world.device(phone.id()).await;
        // On Android the two are one.
        for key in [device.key.thumbprint(), device.session_key] {
            let before = world.trips();
            assert_eq!(find(&world, By::Key(key), 20).await, from_ref(&device));
            assert_eq!(world.trips().since(before), (2, 0));
        }
    }
    let nobody: Thumbprint = strange_key().thumbprint().parse().unwrap();
    let before = world.trips();
    assert!(find(&world, By::Key(nobody), 20).await.is_empty());
    assert_eq!(world.trips().since(before), (1, 0));
}

/// Claims a key for a device, as a registration or a move to a new key does.
async fn claim(world: &World, key: &Thumbprint, device: DeviceId) {
    let claim = Claim {
        key: keys::key_owner(key),
        owner: device.as_bytes().to_vec(),
        live_for: None,
    };
    let ask = Admission {
        claim: vec![claim],
        ..Admission::default()
    };
    world.engine.store.admit(ask).await.unwrap();
}

async fn a_key_of_long_ago_still_finds_its_device(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let old: Thumbprint = strange_key().thumbprint().parse().unwrap();
    claim(&world, &old, phone.id()).await;
    let found = find(&world, By::Key(old), 20).await;
    assert_eq!(found, [world.device(phone.id()).await]);
    assert_ne!(found[0].session_key, old);
}

async fn a_key_that_was_claimed_for_nothing_finds_nothing(world: World) {
    let stranger = World::in_memory().registered(Kind::Android, "user-1").await;
    let key: Thumbprint = strange_key().thumbprint().parse().unwrap();
    claim(&world, &key, stranger.id()).await;
    assert!(find(&world, By::Key(key), 20).await.is_empty());
}

async fn pages_over_many_buckets_join_into_the_whole(world: World) {
    let mut all = BTreeMap::new();
    for user in 0..130 {
        let kind = Kind::BOTH[usize::from(user % 10 == 0)];
        let phone = world.registered(kind, &format!("user-{user}")).await;
        all.insert(phone.id(), world.device(phone.id()).await);
    }
    let buckets = all.keys().map(|id| id.bucket());
    let buckets: std::collections::BTreeSet<_> = buckets.collect();
    assert!(buckets.len() > 50);

    let mut serials: Vec<&String> = all.values().flat_map(|d| &d.chain_serials[1..]).collect();
    serials.sort_unstable();
    serials.dedup();
    for serial in serials {
        let has = |device: &&Device| device.chain_serials[1..].contains(serial);
        let expected: Vec<&Device> = all.values().filter(has).collect();
        let by = By::Serial(serial.to_uppercase().parse().unwrap());
        for size in [7, 100] {
            let found = find(&world, by.clone(), size).await;
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                expected,
                "{serial} {size}"
            );
        }
    }
    let before = world.trips();
    let by = By::AttestationKey(KeyDigest([7; 32]));
    assert!(find(&world, by, 100).await.is_empty());
    assert_eq!(world.trips().since(before), (1, 0));
}

async fn devices_are_found_by_the_key_that_signed_their_attestation(world: World) {
    let key = [0xa5; 32];
    let mut expected = Vec::new();
    for user in 0..12 {
        let phone = world
            .registered(Kind::Android, &format!("user-{user}"))
            .await;
        let id = phone.id();
        if user % 3 == 0 {
            continue;
        }
        let change = ChangeSet {
            operation: OperationId([user; 16]),
            bucket: id.bucket(),
            items: Vec::new(),
            claims: Vec::new(),
            index: vec![IndexChange {
                key: keys::devices_by_attestation_key(id.bucket(), &key),
                member: id.as_bytes().to_vec(),
                presence: Presence::Present,
            }],
            events: Vec::new(),
            durability: Durability::Local,
            limits: Vec::new(),
            windows: Vec::new(),
        };
        world.engine.store.commit(change).await.unwrap();
        expected.push(id);
    }
    expected.sort_unstable();
    let digest: KeyDigest = HEXLOWER.encode(&key).parse().unwrap();
    for size in [1, 3, 8, 100] {
        let found = find(&world, By::AttestationKey(digest), size).await;
        let found: Vec<DeviceId> = found.into_iter().map(|device| device.id).collect();
        assert_eq!(found, expected, "pages of {size}");
    }
}

async fn pages_are_full_where_many_devices_share_a_bucket(world: World) {
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 20);
    let mut expected = BTreeMap::new();
    for (user, phones) in [("user-1", 11), ("user-2", 2), ("user-3", 4), ("user-4", 9)] {
        for _ in 0..phones {
            let phone = world.registered(Kind::Android, user).await;
            expected.insert(phone.id(), world.device(phone.id()).await);
        }
    }
    let expected: Vec<Device> = expected.into_values().collect();
    let shared = |serial: &&String| {
        expected
            .iter()
            .all(|d| d.chain_serials[1..].contains(serial))
    };
    let serial = expected[0].chain_serials.iter().find(shared).unwrap();
    for size in 1..=expected.len() {
        let by = By::Serial(serial.parse().unwrap());
        let before = world.trips();
        assert_eq!(find(&world, by, size).await, expected, "pages of {size}");
        // Short pages would take more of them.
        let pages = expected.len().div_ceil(size);
        assert!(
            world.trips().since(before).0 <= 3 * pages,
            "pages of {size}"
        );
    }
}

async fn a_serial_of_a_leaf_finds_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let chain = world.device(phone.id()).await.chain_serials;
    assert_eq!(chain[0], "1");
    assert!(!chain[1..].contains(&chain[0]));
    assert!(
        find(&world, By::Serial("1".parse().unwrap()), 20)
            .await
            .is_empty()
    );
    let above = By::Serial(chain[1].parse().unwrap());
    let before = world.trips();
    assert_eq!(find(&world, above, 20).await.len(), 1);
    assert_eq!(world.trips().since(before), (2, 0));
}

async fn a_revoked_device_is_found_like_any_other(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let revoked = world.revoke(phone.id()).await.unwrap().device;
    let serial = revoked.chain_serials[1].parse().unwrap();
    for by in [By::Key(revoked.session_key), By::Serial(serial)] {
        assert_eq!(find(&world, by, 20).await, from_ref(&revoked));
    }
}

/// Every page of a listing, one after the other.
async fn pages(
    size: usize,
    page: impl AsyncFn(PageRequest<DeviceId>) -> DevicePage,
) -> Vec<DevicePage> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let found = page(PageRequest { size, after }).await;
        after = found.page.next;
        all.push(found);
        if after.is_none() {
            return all;
        }
    }
}

async fn found(world: &World, by: &By, size: usize) -> Vec<DevicePage> {
    pages(size, async |page| {
        let by = by.clone();
        let request = FindDevices { by, page };
        find_devices::run(&world.engine, request).await.unwrap()
    })
    .await
}

async fn listed(world: &World, phone: &Phone, size: usize) -> Vec<DevicePage> {
    pages(size, async |page| {
        let listed = list_devices::run(&world.engine, &phone.subject, page);
        listed.await.unwrap()
    })
    .await
}

/// What all pages show together: the devices, and those that cannot be read.
fn joined(pages: &[DevicePage]) -> (Vec<DeviceId>, Vec<DeviceId>) {
    let entries = pages.iter().flat_map(|found| &found.page.entries);
    let unreadable = pages.iter().flat_map(|found| &found.unreadable);
    (
        entries.map(|device| device.id).collect(),
        unreadable.copied().collect(),
    )
}

/// Three devices of a user, the certificate they share, and the one in the middle of their ids, whose
/// record cannot be read.
async fn one_of_three_spoilt(world: &World) -> (Phone, By, [DeviceId; 3]) {
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 3);
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(world.registered(Kind::Android, "user-1").await);
    }
    let serials = world.device(phones[0].id()).await.chain_serials;
    let by = By::Serial(serials.last().unwrap().parse().unwrap());
    let mut ids = [phones[0].id(), phones[1].id(), phones[2].id()];
    ids.sort_unstable();
    world.spoil(ids[1]).await;
    (phones.remove(0), by, ids)
}

async fn a_record_that_cannot_be_read_hides_no_other_and_is_named(world: World) {
    let (phone, by, [first, spoilt, last]) = one_of_three_spoilt(&world).await;
    for size in [1, 2, 3, 20] {
        let found = found(&world, &by, size).await;
        assert_eq!(joined(&found), (vec![first, last], vec![spoilt]), "{size}");
        let listed = listed(&world, &phone, size).await;
        let (mut shown, unreadable) = joined(&listed);
        shown.sort_unstable();
        assert_eq!((shown, unreadable), (vec![first, last], vec![spoilt]));
    }
    // By its id it is there as well, and it takes no more trips.
    let before = world.trips();
    let alone = found(&world, &By::Id(spoilt), 20).await;
    assert_eq!(joined(&alone), (Vec::new(), vec![spoilt]));
    assert_eq!(world.trips().since(before), (1, 0));
    // Who asks for this one alone is told that it is our fault.
    let asked = get_device::run(&world.engine, &spoilt).await;
    assert_eq!(asked.unwrap_err().reason, Reason::Internal);
}

async fn a_page_of_records_that_cannot_be_read_leads_on(world: World) {
    let (_, by, [first, spoilt, last]) = one_of_three_spoilt(&world).await;
    world.spoil(first).await;
    let found = found(&world, &by, 2).await;
    assert_eq!(found[0].unreadable, [first, spoilt]);
    assert_eq!(found[0].page.entries, []);
    assert_eq!(found[0].page.next, Some(spoilt));
    assert_eq!(joined(&found), (vec![last], vec![first, spoilt]));
}
