//! AckRevocations and ConfirmRevocations: who has heard of what was revoked before, over all
//! instances.

use assay::flow::ack_revocations::{self, AckRevocations};
use assay::flow::confirm_revocations::{self, Confirmation};
use assay::flow::watch_revocations::{self, Watch, WatchCursor, WatchRevocations};
use assay::flow::{Engine, keep_watchers, look_at_watchers};
use assay::session::{RoundId, WATCHER_KEPT_FOR, WATCHERS_PER_CALLER_MAX};
use assay::store::Admission;
use assay::store::keys;

use super::watching::{all, cursor, id, named};
use super::*;

over_every_store! {
    who_acknowledges_what_was_complete_after_the_question_has_heard
    a_clock_that_is_set_back_makes_no_round_passed
    a_watcher_that_moves_to_another_instance_is_the_same_one
    what_is_kept_of_watchers_costs_as_many_trips_as_promised
    nobody_has_heard_of_anything_when_the_record_is_lost
    a_watcher_that_is_gone_is_waited_for_and_forgotten_after_a_while
    a_receipt_names_the_watchers_and_says_later_who_has_surely_heard
}

fn complete(engine: &Engine) {
    let now = engine.clock.reading();
    engine.board.checkpoint(now, now.now);
}

fn ack(engine: &Engine, name: &str, cursor: WatchCursor) {
    let watcher = id(name);
    ack_revocations::run(engine, &AckRevocations { watcher, cursor }).unwrap();
}

/// What an instance does within a second: it looks at the record, at the outboxes, and tells its
/// watcher how complete it is; the watcher acknowledges that.
async fn a_second(world: &World, engine: &Engine, watch: &mut Watch, name: &str) {
    keep_watchers(engine).await.unwrap();
    world.advance(SECOND);
    complete(engine);
    watch.note(engine);
    let told = all(watch, engine);
    ack(engine, name, cursor(&told));
    keep_watchers(engine).await.unwrap();
}

/// Names of those who have heard and of those who have not.
async fn heard(engine: &Engine, asked: Confirmation) -> (Vec<String>, Vec<String>) {
    let heard = asked.look(engine).await.unwrap();
    let names = |wanted: bool| {
        let those = heard
            .watchers
            .iter()
            .filter(|(_, _, heard)| *heard == wanted);
        those.map(|(id, ..)| id.name().to_owned()).collect()
    };
    (names(true), names(false))
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn who_acknowledges_what_was_complete_after_the_question_has_heard(world: World) {
    let (near, far, asking) = (world.instance(), world.instance(), world.instance());
    let (mut a, mut b) = (named(&near, "a"), named(&far, "b"));
    a_second(&world, &near, &mut a, "a").await;
    a_second(&world, &far, &mut b, "b").await;
    world.advance(3 * SECOND);
    let asked = confirm_revocations::begin(&asking).await.unwrap();
    assert_eq!(heard(&asking, asked).await, (list(&[]), list(&["a", "b"])));
    // Acknowledged after the question, and complete from before it.
    complete(&near);
    let told = all(&mut a, &near);
    ack(&near, "a", cursor(&told));
    // Read in the same millisecond as the question may be from before it.
    keep_watchers(&near).await.unwrap();
    complete(&near);
    world.advance(SECOND);
    ack(
        &near,
        "a",
        WatchCursor {
            complete_until: world.now(),
            passed: None,
        },
    );
    keep_watchers(&near).await.unwrap();
    assert_eq!(heard(&asking, asked).await, (list(&[]), list(&["a", "b"])));
    a_second(&world, &near, &mut a, "a").await;
    assert_eq!(heard(&asking, asked).await, (list(&["a"]), list(&["b"])));
    assert!(!asked.look(&asking).await.unwrap().all());
    a_second(&world, &far, &mut b, "b").await;
    let all = asked.look(&asking).await.unwrap();
    assert!(all.all(), "{all:?}");
    // The next question is about what came since.
    let again = confirm_revocations::begin(&asking).await.unwrap();
    assert_eq!(heard(&asking, again).await, (list(&[]), list(&["a", "b"])));
    assert_eq!(heard(&asking, asked).await, (list(&["a", "b"]), list(&[])));
}

async fn a_clock_that_is_set_back_makes_no_round_passed(world: World) {
    let engine = world.instance();
    world.advance(3 * SECOND);
    complete(&engine);
    engine.clock.set(world.now().before(SECOND));
    let asked = confirm_revocations::begin(&engine).await.unwrap();
    keep_watchers(&engine).await.unwrap();
    // Somebody comes and is told what was complete before the question.
    let mut watch = named(&engine, "a");
    let told = all(&mut watch, &engine);
    ack(&engine, "a", cursor(&told));
    keep_watchers(&engine).await.unwrap();
    assert_eq!(heard(&engine, asked).await, (list(&[]), list(&["a"])));
    world.advance(SECOND);
    complete(&engine);
    ack(&engine, "a", cursor(&all(&mut watch, &engine)));
    keep_watchers(&engine).await.unwrap();
    assert_eq!(heard(&engine, asked).await, (list(&["a"]), list(&[])));
}

async fn a_watcher_that_moves_to_another_instance_is_the_same_one(world: World) {
    let (near, far) = (world.instance(), world.instance());
    let mut a = named(&near, "a");
    a_second(&world, &near, &mut a, "a").await;
    let last = near.board.complete_until();
    world.advance(3 * SECOND);
    let asked = confirm_revocations::begin(&far).await.unwrap();
    // What it says to one instance it may have heard from another, whose clock is ahead.
    keep_watchers(&far).await.unwrap();
    world.advance(SECOND);
    complete(&far);
    let watcher = Some(id("a"));
    let cursor = last.map(|complete_until| WatchCursor {
        complete_until,
        passed: None,
    });
    let request = WatchRevocations { cursor, watcher };
    let mut moved = watch_revocations::begin(&far, request).unwrap();
    let told = all(&mut moved, &far);
    ack(&near, "a", watching::cursor(&told));
    keep_watchers(&near).await.unwrap();
    keep_watchers(&far).await.unwrap();
    assert_eq!(heard(&far, asked).await, (list(&["a"]), list(&[])));
}

async fn what_is_kept_of_watchers_costs_as_many_trips_as_promised(world: World) {
    let engine = &world.engine;
    complete(engine);
    let mut watches: Vec<_> = ["a", "b", "c"].map(|name| named(engine, name)).into();
    let before = world.trips();
    for watch in &mut watches {
        let told = all(watch, engine);
        ack(engine, "a", cursor(&told));
    }
    assert_eq!(
        world.trips().since(before),
        (0, 0),
        "telling and acknowledging"
    );
    let before = world.trips();
    keep_watchers(engine).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1), "all of them");
    let before = world.trips();
    keep_watchers(engine).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0), "nothing new");
    let before = world.trips();
    let asked = confirm_revocations::begin(engine).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1), "the question");
    let before = world.trips();
    asked.look(engine).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0), "a look");
}

async fn nobody_has_heard_of_anything_when_the_record_is_lost(world: World) {
    let engine = &world.engine;
    let mut a = named(engine, "a");
    a_second(&world, engine, &mut a, "a").await;
    world.advance(3 * SECOND);
    let asked = confirm_revocations::begin(engine).await.unwrap();
    a_second(&world, engine, &mut a, "a").await;
    assert!(asked.look(engine).await.unwrap().all());
    forget(&world).await;
    let looked = asked.look(engine).await.unwrap();
    assert!(looked.incomplete && !looked.all());
    // Nor does it help that it is begun anew: not every instance was there yet.
    let asking = world.instance();
    let asked = confirm_revocations::begin(&asking).await.unwrap();
    let looked = asked.look(&asking).await.unwrap();
    assert!(looked.watchers.is_empty() && !looked.all());
    world.advance(3 * SECOND);
    assert!(asked.look(&asking).await.unwrap().all(), "nobody is there");
    keep_watchers(engine).await.unwrap();
    assert_eq!(heard(&asking, asked).await, (list(&[]), list(&["a"])));
}

/// Removes the record, as a store that lost its memory.
async fn forget(world: &World) {
    let key = keys::watchers();
    let ask = Admission {
        load: vec![key.clone()],
        ..Admission::default()
    };
    let store = &world.engine.store;
    let record = store.admit(ask).await.unwrap().records.remove(0).unwrap();
    let change = assay::store::ChangeSet {
        operation: assay::store::OperationId([9; 16]),
        bucket: key.bucket(),
        items: vec![assay::store::Item {
            key,
            expected: Some(record.version),
            change: assay::store::Change::Delete,
        }],
        claims: Vec::new(),
        index: Vec::new(),
        events: Vec::new(),
        durability: assay::store::Durability::Local,
        limits: Vec::new(),
        windows: Vec::new(),
    };
    store.commit(change).await.unwrap();
}

async fn a_watcher_that_is_gone_is_waited_for_and_forgotten_after_a_while(world: World) {
    let engine = &world.engine;
    let mut a = named(engine, "a");
    a_second(&world, engine, &mut a, "a").await;
    drop(a);
    let seen = world.now();
    world.engine.clock.set(seen.after(WATCHER_KEPT_FOR));
    let asked = confirm_revocations::begin(engine).await.unwrap();
    assert_eq!(heard(engine, asked).await, (list(&[]), list(&["a"])));
    world.advance(MILLISECOND);
    let looked = asked.look(engine).await.unwrap();
    assert!(looked.watchers.is_empty() && looked.all(), "{looked:?}");
}

#[tokio::test]
async fn more_watchers_than_are_kept_in_mind_are_refused_or_known_to_be_missing() {
    let world = World::in_memory();
    let (one, other) = (world.instance(), world.instance());
    let cursor = WatchCursor {
        complete_until: world.now(),
        passed: None,
    };
    for number in 0..WATCHERS_PER_CALLER_MAX {
        ack(&one, &format!("one-{number}"), cursor);
    }
    let watcher = id("more");
    let refused = ack_revocations::run(&one, &AckRevocations { watcher, cursor });
    assert_eq!(refused.unwrap_err().reason, Reason::Overloaded);
    keep_watchers(&one).await.unwrap();
    ack(&other, "more", cursor);
    keep_watchers(&other).await.unwrap();
    world.advance(3 * SECOND);
    let asked = confirm_revocations::begin(&one).await.unwrap();
    let looked = asked.look(&one).await.unwrap();
    assert_eq!(looked.watchers.len(), WATCHERS_PER_CALLER_MAX);
    assert!(looked.incomplete && !looked.all());
}

#[tokio::test]
async fn a_round_that_was_made_up_is_passed_by_nobody() {
    let world = World::in_memory();
    let engine = &world.engine;
    world.advance(3 * SECOND);
    let asked = confirm_revocations::begin(engine).await.unwrap();
    let cursor = WatchCursor {
        complete_until: world.now(),
        passed: Some(RoundId([0xff; 16])),
    };
    ack(engine, "a", cursor);
    assert_eq!(heard(engine, asked).await, (list(&[]), list(&["a"])));
}

/// The watchers a receipt names, and whether each has heard.
async fn told(world: &World, phone: &Phone) -> Vec<(String, bool)> {
    look_at_watchers(&world.engine).await.unwrap();
    let before = world.trips();
    let receipt = world.revoke(phone.id()).await.unwrap().receipt;
    assert_eq!(world.trips().since(before), (2, 1));
    let watchers = receipt.watchers.iter();
    watchers
        .map(|(id, _, heard)| (id.name().to_owned(), *heard))
        .collect()
}

async fn a_receipt_names_the_watchers_and_says_later_who_has_surely_heard(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let (near, far) = (world.instance(), world.instance());
    let (mut a, mut b) = (named(&near, "a"), named(&far, "b"));
    a_second(&world, &near, &mut a, "a").await;
    a_second(&world, &far, &mut b, "b").await;
    let named = |a: bool, b: bool| vec![("a".to_owned(), a), ("b".to_owned(), b)];
    assert_eq!(told(&world, &phone).await, named(false, false));
    // A clock may be a minute ahead, and what it calls now be from before.
    world.advance(SECOND * 30);
    a_second(&world, &near, &mut a, "a").await;
    a_second(&world, &far, &mut b, "b").await;
    assert_eq!(told(&world, &phone).await, named(false, false));
    world.advance(SECOND * 30);
    a_second(&world, &far, &mut b, "b").await;
    // Those who have not come first.
    assert_eq!(told(&world, &phone).await, named(false, true));
}
