//! WatchRevocations: what a watcher is told, by the instance it listens to and by any other.

use std::collections::HashSet;

use assay::flow::watch_revocations::{self, Told, Watch, WatchCursor, WatchRevocations};
use assay::flow::{Engine, Part};
use assay::id::{Bucket, SessionId};
use assay::session::{Event, Notice, RevocationReason, Target, WatcherId};
use assay::store::record::unseal;
use assay::store::{Cursor, FOLLOW_MAX, OperationId, OutboxRange, Record, keys};
use assay::time::{Reading, Timestamp};

use super::*;

over_every_store! {
    a_revocation_reaches_the_watchers_of_an_instance_though_the_one_that_wrote_it_is_gone
    every_kind_of_withdrawal_is_told_and_nothing_else
}

/// What fills the board of an instance from the outbox of one bucket, as far as these stories need it.
pub(super) async fn feed(engine: &Engine, bucket: Bucket) {
    let now = engine.clock.now();
    let range = OutboxRange {
        bucket,
        after: Cursor::default(),
        limit: FOLLOW_MAX,
    };
    let read = engine.store.follow(vec![range]).await.unwrap().remove(0);
    for (_, value) in read {
        let version = OperationId([0; 16]);
        let record = Record { version, value };
        let name = keys::outbox(bucket);
        let event: Event = unseal(&engine.keyring, &name, &record).unwrap();
        if let Some(notice) = event.notice(event.at) {
            engine.board.post(notice, now);
        }
    }
    engine.board.checkpoint(engine.clock.reading(), now);
}

pub(super) fn watch(engine: &Engine, cursor: Option<WatchCursor>) -> Watch {
    let request = WatchRevocations {
        cursor,
        watcher: None,
    };
    watch_revocations::begin(engine, request).unwrap()
}

pub(super) fn named(engine: &Engine, name: &str) -> Watch {
    let request = WatchRevocations {
        cursor: None,
        watcher: Some(id(name)),
    };
    watch_revocations::begin(engine, request).unwrap()
}

pub(super) fn id(name: &str) -> WatcherId {
    WatcherId::new("dns:api.example", name).unwrap()
}

/// Everything there is to tell now, with how complete it is at the end.
pub(super) fn all(watch: &mut Watch, engine: &Engine) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        let Some(told) = watch.next(engine, true) else {
            return all;
        };
        let last = matches!(told, Told::Checkpoint { .. } | Told::Incomplete { .. });
        all.push(told);
        if last {
            return all;
        }
    }
}

fn notices(told: &[Told]) -> HashSet<Notice> {
    let all = told.iter().filter_map(|told| match told {
        Told::Notices(notices) => Some(notices.clone()),
        Told::SnapshotBegin
        | Told::SnapshotEnd
        | Told::Checkpoint { .. }
        | Told::Incomplete { .. } => None,
    });
    all.flatten().collect()
}

fn targets(told: &[Told]) -> HashSet<Target> {
    let all = notices(told).into_iter();
    all.map(|notice| notice.target).collect()
}

pub(super) fn cursor(told: &[Told]) -> WatchCursor {
    match told.last() {
        Some(Told::Checkpoint { cursor, .. }) => *cursor,
        last => panic!("no checkpoint but {last:?}"),
    }
}

fn a_session(number: u32) -> Notice {
    let mut unique = [0; 16];
    unique[..4].copy_from_slice(&number.to_be_bytes());
    Notice {
        target: Target::Session(SessionId::new(Bucket::new(1).unwrap(), unique)),
        issued_until: world::start(),
    }
}

fn post(world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        world.engine.board.post(a_session(number), world.now());
    }
}

fn complete(world: &World) -> Timestamp {
    let now = world.now();
    world
        .engine
        .board
        .checkpoint(world.engine.clock.reading(), now);
    now
}

async fn a_revocation_reaches_the_watchers_of_an_instance_though_the_one_that_wrote_it_is_gone(
    world: World,
) {
    let other = world.instance();
    let phone = world.registered(Kind::Android, "user-1").await;
    let session = world.issue(&phone).await.unwrap().session.id;
    feed(&other, session.bucket()).await;
    let mut watch = watch(&other, None);
    assert_eq!(targets(&all(&mut watch, &other)), HashSet::new());
    // The instance dies with the commit: nothing was told, and its memory is gone.
    let dying = world.instance();
    let order = assay::flow::revoke_session::RevokeSession {
        session,
        why: RevocationReason::Stolen,
        validate_only: false,
        by: caller(),
    };
    let revoked = assay::flow::revoke_session::run(&dying, order).await;
    let effective_at = revoked.unwrap().receipt.effective_at;
    drop(dying);
    world.advance(SECOND);
    feed(&other, session.bucket()).await;
    let told = all(&mut watch, &other);
    assert_eq!(targets(&told), [Target::Session(session)].into());
    assert!(
        notices(&told)
            .iter()
            .all(|told| told.issued_until >= effective_at)
    );
    assert!(cursor(&told).complete_until > effective_at);
}

async fn every_kind_of_withdrawal_is_told_and_nothing_else(world: World) {
    let mut ids = Vec::new();
    for (number, kind) in Kind::BOTH.into_iter().enumerate() {
        let phone = world.registered(kind, &format!("user-{number}")).await;
        let session = world.issue(&phone).await.unwrap().session.id;
        ids.push((phone.id(), session));
    }
    let [(one, first), (two, second)] = ids[..] else {
        panic!("two phones");
    };
    world
        .end(assay::flow::end_session::EndSession::Id(first))
        .await
        .unwrap();
    world.revoke(two).await.unwrap();
    for bucket in [one.bucket(), two.bucket()] {
        feed(&world.engine, bucket).await;
    }
    let told = all(&mut watch(&world.engine, None), &world.engine);
    assert_eq!(
        targets(&told),
        [Target::Session(first), Target::Device(two)].into()
    );
    assert!(
        !targets(&told).contains(&Target::Session(second)),
        "by its device"
    );
}

#[tokio::test]
async fn a_watcher_is_told_everything_then_what_comes() {
    let world = World::in_memory();
    let engine = &world.engine;
    let mut watch = watch(engine, None);
    post(&world, 0..250);
    let until = complete(&world);
    let told = all(&mut watch, engine);
    assert_eq!(told.first(), Some(&Told::SnapshotBegin));
    assert_eq!(told[told.len() - 2], Told::SnapshotEnd);
    assert_eq!(cursor(&told).complete_until, until);
    assert_eq!(notices(&told), (0..250).map(a_session).collect());
    for told in &told {
        if let Told::Notices(notices) = told {
            assert!((1..=100).contains(&notices.len()));
        }
    }
    // What comes is told at once, how complete it is when it is due.
    assert_eq!(watch.next(engine, false), None);
    post(&world, 250..251);
    let next = watch.next(engine, false);
    assert_eq!(next, Some(Told::Notices(vec![a_session(250)])));
    assert_eq!(watch.next(engine, false), None);
    world.advance(SECOND);
    assert_eq!(watch.next(engine, true), None, "no checkpoint comes twice");
    let until = complete(&world);
    assert_eq!(cursor(&all(&mut watch, engine)).complete_until, until);
}

#[tokio::test]
async fn a_raised_notice_is_told_again() {
    let world = World::in_memory();
    let engine = &world.engine;
    post(&world, 0..3);
    complete(&world);
    let mut watch = watch(engine, None);
    all(&mut watch, engine);
    let raised = Notice {
        issued_until: world::start().after(SECOND),
        ..a_session(1)
    };
    engine.board.post(raised.clone(), world.now());
    post(&world, 0..3);
    assert_eq!(watch.next(engine, false), Some(Told::Notices(vec![raised])));
    assert_eq!(watch.next(engine, false), None);
}

#[tokio::test]
async fn no_snapshot_is_begun_and_no_checkpoint_given_while_something_may_be_missing() {
    let world = World::in_memory();
    let engine = &world.engine;
    let mut watch = watch(engine, None);
    post(&world, 0..1);
    let incomplete = Told::Incomplete { age: None };
    let told: Vec<_> = (0..4).map(|_| watch.next(engine, true)).collect();
    let every_other = [
        None,
        Some(incomplete.clone()),
        None,
        Some(incomplete.clone()),
    ];
    assert_eq!(told, every_other);
    complete(&world);
    assert_eq!(all(&mut watch, engine).first(), Some(&Told::SnapshotBegin));
    // The store cannot be read any more: the last state that was complete grows old.
    world.advance(SECOND);
    let old = Told::Incomplete { age: Some(SECOND) };
    let told: Vec<_> = (0..2).map(|_| watch.next(engine, true)).collect();
    assert_eq!(told, [None, Some(old)]);
    // What there was may be lost: nothing is complete until all was read again.
    engine.board.doubt();
    post(&world, 1..2);
    let told = watch.next(engine, true);
    assert_eq!(
        told,
        Some(Told::Notices(vec![a_session(1)])),
        "told all the same"
    );
    let told: Vec<_> = (0..2).map(|_| watch.next(engine, true)).collect();
    assert_eq!(told, [None, Some(incomplete)]);
    let until = complete(&world);
    assert_eq!(cursor(&all(&mut watch, engine)).complete_until, until);
}

#[tokio::test]
async fn whoever_goes_on_is_told_what_came_since_on_any_instance() {
    let world = World::in_memory();
    let other = world.instance();
    let mut first = watch(&world.engine, None);
    post(&world, 0..150);
    complete(&world);
    let before = cursor(&all(&mut first, &world.engine));
    // Another instance, whose clock may be a minute behind, learns of some earlier and of some later.
    let behind = world.now().before(Duration::from_secs(59));
    for number in 100..400 {
        other.board.post(a_session(number), behind);
    }
    let complete = Reading {
        now: behind,
        ..other.clock.reading()
    };
    other.board.checkpoint(complete, behind);
    let mut second = watch(&other, Some(before));
    let told = all(&mut second, &other);
    assert!(!told.contains(&Told::SnapshotBegin));
    let new: HashSet<_> = (150..400).map(a_session).collect();
    assert!(notices(&told).is_superset(&new));
    assert_eq!(cursor(&told).complete_until, behind);
}

#[tokio::test]
async fn a_cursor_from_before_every_token_begins_anew() {
    let world = World::in_memory();
    post(&world, 0..1);
    let until = complete(&world);
    let old = WatchCursor {
        complete_until: until,
        passed: None,
    };
    let life = assay::policy::ACCESS_FOR_MAX + assay::token::INSTANCE_SKEW_MAX;
    for (age, anew) in [(life, false), (life + MILLISECOND, true)] {
        world.engine.clock.set(until.after(age));
        let told = all(&mut watch(&world.engine, Some(old)), &world.engine);
        assert_eq!(told.contains(&Told::SnapshotBegin), anew, "{age:?}");
    }
}

#[tokio::test]
async fn a_cursor_of_the_future_is_refused() {
    let world = World::in_memory();
    let begin = |ahead: Duration| {
        let cursor = Some(WatchCursor {
            complete_until: world.now().after(ahead),
            passed: None,
        });
        let watcher = None;
        watch_revocations::begin(&world.engine, WatchRevocations { cursor, watcher })
    };
    let skew = assay::token::INSTANCE_SKEW_MAX;
    assert!(begin(skew).is_ok());
    let refused = begin(skew + MILLISECOND).unwrap_err();
    assert_eq!(refused.reason, Reason::MalformedRequest);
    assert_eq!(refused.violations[0].field, "cursor");
}

#[test]
fn a_reader_of_parts_misses_nothing_that_others_post_meanwhile() {
    let world = World::in_memory();
    post(&world, 0..10);
    let (mut behind, mut read) = (0, HashSet::new());
    for posted in 10..60 {
        let Part { news, .. } = world.engine.board.part(behind, None, 3);
        behind = news.number;
        read.extend(news.notices);
        post(&world, posted..posted + 1);
    }
    loop {
        let Part { news, more } = world.engine.board.part(behind, None, 3);
        behind = news.number;
        read.extend(news.notices);
        if !more {
            break;
        }
    }
    assert_eq!(read, (0..60).map(a_session).collect());
}
