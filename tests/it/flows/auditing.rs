//! ListAuditEvents: what happened to a device, in order, and who did it.

use assay::flow::PageRequest;
use assay::flow::list_audit_events::{self, AuditEvents, ListAuditEvents};
use assay::id::DeviceId;
use assay::session::{Event, EventKind, SuspensionReason};
use assay::store::record::{RecordError, Stored, seal};
use assay::store::{ChangeSet, Committed, Cursor, Durability, EVENTS_MAX, OperationId, keys};

use super::*;

over_every_store! {
    events_are_told_in_order_with_time_and_caller
    a_device_is_told_nothing_of_others_in_its_bucket
    pages_join_into_the_whole_and_end
    a_device_nobody_knows_has_no_events
    a_search_is_bounded_and_goes_on_where_it_stopped
    what_cannot_be_read_is_counted_and_passed_over
}

async fn look(world: &World, device: DeviceId, size: usize, after: Option<Cursor>) -> AuditEvents {
    let page = PageRequest { size, after };
    let request = ListAuditEvents { device, page };
    list_audit_events::run(&world.engine, request)
        .await
        .unwrap()
}

/// Appends events to the outbox of a device's bucket, as another instance would.
async fn append(world: &World, device: DeviceId, operation: u8, events: Vec<Vec<u8>>) {
    let change = ChangeSet {
        operation: OperationId([operation; 16]),
        bucket: device.bucket(),
        items: Vec::new(),
        claims: Vec::new(),
        index: Vec::new(),
        events,
        durability: Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    };
    let done = world.engine.store.commit(change).await.unwrap();
    assert!(matches!(done, Committed::Done { .. }));
}

fn sealed<T: Stored>(world: &World, device: DeviceId, event: &T) -> Vec<u8> {
    let name = keys::outbox(device.bucket());
    seal(&world.engine.keyring, &name, event).unwrap()
}

async fn events_are_told_in_order_with_time_and_caller(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let since = world.now();
    world.advance(SECOND);
    let why = SuspensionReason::Administrative;
    world.suspend(phone.id(), why).await.unwrap();
    world.advance(SECOND);
    world.resume(phone.id()).await.unwrap();
    world.advance(SECOND);
    world.revoke(phone.id()).await.unwrap();
    let epoch = world.device(phone.id()).await.epoch;
    let told = |seconds: u32, kind, epoch, why: &str| Event {
        at: since.after(SECOND * seconds),
        kind,
        app: Some(BANK.parse().unwrap()),
        device: Some(phone.id()),
        session: None,
        consent: None,
        epoch,
        why: why.to_owned(),
        by: caller(),
    };
    let expected = [
        told(0, EventKind::DeviceRegistered, None, ""),
        told(
            1,
            EventKind::DeviceSuspended,
            Some(epoch - 1),
            "administrative",
        ),
        told(2, EventKind::DeviceResumed, None, ""),
        told(3, EventKind::DeviceRevoked, Some(epoch), "stolen"),
    ];
    assert_eq!(world.events(phone.id()).await, expected);
    let before = world.trips();
    assert_eq!(
        look(&world, phone.id(), 100, None).await.page.entries,
        expected
    );
    assert_eq!(world.trips().since(before), (1, 0));
}

async fn a_device_is_told_nothing_of_others_in_its_bucket(world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let other = world.registered(Kind::Apple, "user-1").await;
    assert_eq!(one.id().bucket(), other.id().bucket());
    world.revoke(one.id()).await.unwrap();
    assert_eq!(world.events(one.id()).await.len(), 2);
    assert_eq!(world.events(other.id()).await.len(), 1);
}

async fn pages_join_into_the_whole_and_end(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    for _ in 0..5 {
        let why = SuspensionReason::Mislaid;
        world.suspend(phone.id(), why).await.unwrap();
        world.resume(phone.id()).await.unwrap();
    }
    let whole = look(&world, phone.id(), 100, None).await.page;
    assert_eq!((whole.entries.len(), whole.next), (11, None));
    for size in 1..=11 {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = look(&world, phone.id(), size, after).await.page;
            assert!(!page.entries.is_empty(), "an empty page of {size}");
            all.extend(page.entries);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, whole.entries, "pages of {size}");
    }
}

async fn a_device_nobody_knows_has_no_events(world: World) {
    let stranger = World::in_memory().registered(Kind::Android, "user-1").await;
    let found = look(&world, stranger.id(), 20, None).await;
    assert!(found.page.entries.is_empty());
    assert_eq!((found.page.next, found.unreadable), (None, 0));
}

async fn a_search_is_bounded_and_goes_on_where_it_stopped(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let neighbour = DeviceId::new(phone.id().bucket(), [9; 16]);
    let registered = world.events(phone.id()).await.remove(0);
    let foreign = Event {
        device: Some(neighbour),
        ..registered.clone()
    };
    let foreign = sealed(&world, phone.id(), &foreign);
    for operation in 1..=20 {
        let events = vec![foreign.clone(); EVENTS_MAX];
        append(&world, phone.id(), operation, events).await;
    }
    let revoked = world.revoke(phone.id()).await.unwrap();
    let before = world.trips();
    let first = look(&world, phone.id(), 20, None).await.page;
    assert_eq!(world.trips().since(before), (4, 0));
    assert_eq!(first.entries, [registered]);
    let second = look(&world, phone.id(), 20, first.next).await.page;
    assert_eq!(second.entries.len(), 1);
    assert_eq!(second.entries[0].at, revoked.receipt.effective_at);
    assert_eq!(second.next, None);
    // A page with nothing in it is not the end.
    let before_all = look(&world, neighbour, 1, None).await.page;
    let end = before_all.next.unwrap();
    let stranger = DeviceId::new(phone.id().bucket(), [8; 16]);
    let empty = look(&world, stranger, 20, None).await.page;
    assert!(empty.entries.is_empty());
    assert!(empty.next.unwrap() > end);
}

/// An event of a version to come.
struct Newer(DeviceId);

impl Stored for Newer {
    fn encode(&self) -> Vec<u8> {
        // kind, device
        let kind = b"device-forgotten";
        let mut bytes = vec![0x12, u8::try_from(kind.len()).unwrap()];
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(&[0x22, 18]);
        bytes.extend_from_slice(self.0.as_bytes());
        bytes
    }

    fn decode(_: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::Form)
    }
}

async fn what_cannot_be_read_is_counted_and_passed_over(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let newer = sealed(&world, phone.id(), &Newer(phone.id()));
    let elsewhere = World::in_memory();
    let moved = {
        let other = DeviceId::new(assay::id::Bucket::new(3).unwrap(), [1; 16]);
        sealed(&elsewhere, other, &Newer(other))
    };
    append(
        &world,
        phone.id(),
        1,
        vec![newer, moved, b"no event".to_vec()],
    )
    .await;
    world.revoke(phone.id()).await.unwrap();
    let found = look(&world, phone.id(), 20, None).await;
    assert_eq!(found.page.entries.len(), 2);
    assert_eq!((found.page.next, found.unreadable), (None, 3));
    // Each is counted in one page only.
    let first = look(&world, phone.id(), 1, None).await;
    let second = look(&world, phone.id(), 1, first.page.next).await;
    assert_eq!(second.page.entries.len(), 1);
    assert_eq!(first.unreadable + second.unreadable, 3);
}
