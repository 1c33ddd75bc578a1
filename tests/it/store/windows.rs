//! What every store does with counters; `behaviours.rs` runs it over each of them. Then random
//! sequences, against the pure window.

use super::behaviours::is_invalid;
use super::*;
use crate::support::redis_server::RedisServer;
use assay::policy::CounterOrder;
use assay::proof::window::{Window, WindowRefusal};
use assay::store::{CounterUse, WINDOWS_MAX, Windowed};
use proptest::collection::vec;
use proptest::prelude::*;

use CounterOrder::Strict;
use Windowed::{Admitted, Replayed, TooOld};

const HOUR: Duration = Duration::from_secs(3600);

/// A new use of a counter of bucket 1.
fn using(name: &str, counter: u32) -> CounterUse {
    CounterUse {
        key: key(name),
        counter,
        order: CounterOrder::Window,
        operation: OperationId(random().unwrap()),
        live_for: Some(HOUR),
    }
}

fn in_order(name: &str, counter: u32) -> CounterUse {
    CounterUse {
        order: Strict,
        ..using(name, counter)
    }
}

async fn use_all(store: &dyn Store, window: Vec<CounterUse>) -> Vec<Windowed> {
    let ask = Admission {
        window,
        ..Admission::default()
    };
    store.admit(ask).await.unwrap().windows
}

async fn use_one(store: &dyn Store, used: &CounterUse) -> Windowed {
    let said = use_all(store, vec![used.clone()]).await;
    assert_eq!(said.len(), 1);
    said[0]
}

pub(super) async fn each_value_is_admitted_once_and_out_of_order(store: Arc<dyn Store>) {
    for (counter, said) in [
        (100, Admitted),
        (100, Replayed),
        (37, Admitted),
        (37, Replayed),
        (36, TooOld),
        (68, Admitted),
        (69, Admitted),
        (131, Admitted),
        (69, Replayed),
        (68, Replayed),
        (67, TooOld),
        (99, Admitted),
        (100, Replayed),
        (163, Admitted),
        (100, Replayed),
        (131, Replayed),
        (132, Admitted),
        (227, Admitted),
        (163, TooOld),
        (164, Admitted),
    ] {
        assert_eq!(
            use_one(&*store, &using("w:1", counter)).await,
            said,
            "{counter}"
        );
    }
}

pub(super) async fn in_order_only_higher_values_are_admitted(store: Arc<dyn Store>) {
    for (counter, said) in [
        (7, Admitted),
        (7, Replayed),
        (6, TooOld),
        (9, Admitted),
        (8, TooOld),
    ] {
        assert_eq!(
            use_one(&*store, &in_order("w:1", counter)).await,
            said,
            "{counter}"
        );
    }
    // What order left out is not seen, for those who do not ask for it.
    assert_eq!(use_one(&*store, &using("w:1", 8)).await, Admitted);
    assert_eq!(use_one(&*store, &using("w:1", 7)).await, Replayed);
}

pub(super) async fn counters_do_not_wrap(store: Arc<dyn Store>) {
    for (counter, said) in [
        (0, Admitted),
        (0, Replayed),
        (0x7fff_ffff, Admitted),
        (0x8000_0000, Admitted),
        (0x7fff_ffff, Replayed),
        (u32::MAX, Admitted),
        (u32::MAX, Replayed),
        (u32::MAX - 63, Admitted),
        (u32::MAX - 63, Replayed),
        (u32::MAX - 64, TooOld),
        (0, TooOld),
        (1, TooOld),
    ] {
        assert_eq!(
            use_one(&*store, &using("w:1", counter)).await,
            said,
            "{counter}"
        );
    }
}

pub(super) async fn the_same_use_again_is_no_replay_while_it_is_the_last(store: Arc<dyn Store>) {
    for (name, using) in [("w:1", using as fn(&str, u32) -> _), ("w:2", in_order)] {
        let first: CounterUse = using(name, 7);
        for _ in 0..3 {
            assert_eq!(use_one(&*store, &first).await, Admitted);
        }
        assert_eq!(use_one(&*store, &using(name, 7)).await, Replayed);
        // What is refused does not take its place.
        assert_eq!(use_one(&*store, &first).await, Admitted);
        let same_operation = CounterUse {
            operation: first.operation,
            ..using(name, 8)
        };
        assert_eq!(use_one(&*store, &same_operation).await, Admitted);
        assert_ne!(use_one(&*store, &first).await, Admitted);
    }
}

pub(super) async fn counters_are_apart(store: Arc<dyn Store>) {
    let elsewhere = CounterUse {
        key: Key::new(bucket(2), "w:1".to_owned()),
        ..using("w:1", 5)
    };
    let all = vec![using("w:1", 5), using("w:2", 5), elsewhere, using("w:1", 5)];
    let said = use_all(&*store, all).await;
    assert_eq!(said, [Admitted, Admitted, Admitted, Replayed]);
}

pub(super) async fn a_counter_is_used_beside_claims_limits_and_loads(store: Arc<dyn Store>) {
    create(&*store, "s:1", b"one").await;
    let ask = |counter| Admission {
        load: vec![key("s:1"), key("s:2")],
        claim: vec![claim("c:1", "me")],
        owner_of: vec![key("c:1")],
        limit: vec![limit("l:1", HOUR, 9)],
        window: vec![using("w:1", counter), using("w:1", counter + 1)],
    };
    for (counter, said) in [(1, [Admitted, Admitted]), (2, [Replayed, Admitted])] {
        let admitted = store.admit(ask(counter)).await.unwrap();
        assert_eq!(admitted.windows, said);
        assert_eq!(admitted.limits, [Limited::Admitted]);
        assert_eq!(admitted.claims, [Claimed::Granted]);
        assert_eq!(admitted.owners, [Some(b"me".to_vec())]);
        assert_eq!(admitted.records[0].as_ref().unwrap().value, b"one");
        assert_eq!(admitted.records[1], None);
    }
}

pub(super) async fn a_use_within_a_commit_holds(store: Arc<dyn Store>) {
    let mut put = change().put("s:1", None, b"one").event(b"made");
    put.windows = vec![using("w:1", 5), in_order("w:2", 5)];
    for _ in 0..3 {
        // Sent again it is done, and used nothing again.
        assert_eq!(store.commit(put.clone()).await, Ok(DONE));
    }
    assert_eq!(events(&*store).await, [b"made".to_vec()]);
    for (used, said) in [
        (using("w:1", 5), Replayed),
        (in_order("w:2", 4), TooOld),
        (using("w:1", 6), Admitted),
    ] {
        assert_eq!(use_one(&*store, &used).await, said);
    }
    let mut alone = change();
    alone.windows = vec![using("w:1", 7)];
    assert_eq!(store.commit(alone.clone()).await, Ok(DONE));
    assert_eq!(use_one(&*store, &using("w:1", 8)).await, Admitted);
    assert_eq!(store.commit(alone).await, Ok(DONE));
}

pub(super) async fn a_refused_use_changes_nothing_at_all(store: Arc<dyn Store>) {
    let version = create(&*store, "s:1", b"one").await;
    assert_eq!(use_one(&*store, &using("w:2", 100)).await, Admitted);
    for (counter, said) in [(100, Replayed), (36, TooOld)] {
        let mut change = change()
            .put("s:1", Some(version), b"two")
            .put("s:2", None, b"two")
            .claim(claim("c:1", "me"))
            .add("i:1", b"member")
            .event(b"told");
        change.windows = vec![using("w:1", 5), using("w:2", counter)];
        let refused = Ok(Committed::CounterRefused { index: 1, said });
        assert_eq!(store.commit(change).await, refused);
    }
    assert_eq!(load(&*store, "s:1").await.unwrap().version, version);
    assert_eq!(load(&*store, "s:2").await, None);
    assert_eq!(owner(&*store, "c:1").await, None);
    assert_eq!(members(&*store, "i:1").await, Vec::<Vec<u8>>::new());
    assert_eq!(events(&*store).await, Vec::<Vec<u8>>::new());
    // Nor does a counter move whose neighbour, record or claim refused.
    make(&*store, claim("c:2", "you")).await;
    let mut stale = change().put("s:1", None, b"two");
    stale.windows = vec![using("w:1", 5)];
    assert_eq!(store.commit(stale).await, Ok(Committed::Conflict));
    let mut taken = change().claim(claim("c:2", "me"));
    taken.windows = vec![using("w:1", 5)];
    let refused = Ok(Committed::ClaimTaken { index: 0 });
    assert_eq!(store.commit(taken).await, refused);
    assert_eq!(use_one(&*store, &using("w:1", 5)).await, Admitted);
}

pub(super) async fn of_all_that_refuses_a_commit_the_first_in_order_is_told(store: Arc<dyn Store>) {
    let version = create(&*store, "s:1", b"one").await;
    make(&*store, claim("c:2", "you")).await;
    assert_eq!(use_one(&*store, &using("w:2", 100)).await, Admitted);
    let (free, full) = (limit("l:1", HOUR, 2), limit("l:2", HOUR, 1));
    assert_eq!(count(&*store, &full).await, Limited::Admitted);
    let taken = Committed::ClaimTaken { index: 1 };
    let refused = Committed::CounterRefused {
        index: 1,
        said: Replayed,
    };
    // Record, claim, counter and limit, each good or not, but not all good.
    for bad in 1..16_u8 {
        let is_bad = |bit: u8| bad & (1 << bit) != 0;
        let expected = (!is_bad(0)).then_some(version);
        let other = if is_bad(1) { "c:2" } else { "c:3" };
        let mut change = change()
            .put("s:1", expected, b"two")
            .claim(claim("c:1", "me"))
            .claim(claim(other, "me"))
            .limit(&free)
            .event(b"told");
        change.windows = vec![
            using("w:1", 5),
            using("w:2", if is_bad(2) { 100 } else { 101 }),
        ];
        if is_bad(3) {
            change = change.limit(&full);
        }
        let told = store.commit(change).await.unwrap();
        match (is_bad(0), is_bad(1), is_bad(2)) {
            (true, _, _) => assert_eq!(told, Committed::Conflict, "{bad:04b}"),
            (_, true, _) => assert_eq!(told, taken, "{bad:04b}"),
            (_, _, true) => assert_eq!(told, refused, "{bad:04b}"),
            _ => assert!(matches!(told, Committed::Limited { index: 1, .. })),
        }
    }
    // None of it has left anything.
    assert_eq!(load(&*store, "s:1").await.unwrap().version, version);
    assert_eq!(owner(&*store, "c:1").await, None);
    assert_eq!(owner(&*store, "c:3").await, None);
    assert_eq!(events(&*store).await, Vec::<Vec<u8>>::new());
    assert_eq!(use_one(&*store, &using("w:1", 5)).await, Admitted);
    assert_eq!(use_one(&*store, &using("w:2", 101)).await, Admitted);
    for _ in 0..2 {
        assert_eq!(count(&*store, &free).await, Limited::Admitted);
    }
}

pub(super) async fn a_counter_is_forgotten_when_its_time_is_over(store: Arc<dyn Store>) {
    let short = || CounterUse {
        live_for: Some(Duration::from_millis(50)),
        ..using("w:1", 5)
    };
    assert_eq!(use_one(&*store, &short()).await, Admitted);
    until("the counter is forgotten", || async {
        use_one(&*store, &short()).await == Admitted
    })
    .await;
}

pub(super) async fn the_life_of_a_counter_only_grows(store: Arc<dyn Store>) {
    let short = Some(Duration::from_millis(10));
    for (name, long) in [("w:1", Some(HOUR)), ("w:2", None)] {
        for (counter, live_for) in [(5, short), (6, long), (7, short)] {
            let used = CounterUse {
                live_for,
                ..using(name, counter)
            };
            assert_eq!(use_one(&*store, &used).await, Admitted);
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    for name in ["w:1", "w:2"] {
        assert_eq!(use_one(&*store, &using(name, 7)).await, Replayed);
    }
}

pub(super) async fn concurrent_uses_of_a_value_admit_one(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for task in 0..16 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut admitted = 0;
            for counter in 0..20 {
                // Each begins elsewhere: all are in the window all the time.
                let used = using("w:1", (counter + task) % 20);
                admitted += if task % 2 == 0 {
                    u32::from(use_one(&*store, &used).await == Admitted)
                } else {
                    let mut change = change();
                    change.windows = vec![used];
                    u32::from(store.commit(change).await == Ok(DONE))
                };
            }
            admitted
        }));
    }
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.unwrap();
    }
    assert_eq!(admitted, 20);
}

pub(super) async fn uses_beyond_the_limits_are_refused(store: Arc<dyn Store>) {
    for bad in [
        vec![using("c:1", 1)],
        vec![using("l:1", 1)],
        vec![using("w: 1", 1)],
        vec![using("w:1", 1); WINDOWS_MAX + 1],
    ] {
        let ask = Admission {
            claim: vec![claim("c:1", "me")],
            window: bad.clone(),
            ..Admission::default()
        };
        assert!(is_invalid(&store.admit(ask).await));
        let mut change = change().claim(claim("c:1", "me"));
        change.windows = bad;
        assert!(is_invalid(&store.commit(change).await));
    }
    let mut twice = change();
    twice.windows = vec![using("w:1", 1), using("w:1", 2)];
    assert!(is_invalid(&store.commit(twice).await));
    let mut elsewhere = change();
    elsewhere.windows = vec![CounterUse {
        key: Key::new(bucket(2), "w:1".to_owned()),
        ..using("w:1", 1)
    }];
    assert!(is_invalid(&store.commit(elsewhere).await));
    for name in ["w:1", "w:2"] {
        let ask = Admission {
            load: vec![key(name)],
            ..Admission::default()
        };
        assert!(is_invalid(&store.admit(ask).await));
    }
    assert_eq!(owner(&*store, "c:1").await, None);
}

/// One use in a sequence: the value, whether in order, and whether it goes with a commit.
type Step = (u32, bool, bool);

/// Values that crowd around each other, around both ends and where halves of 32 bits meet.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![
        12 => 1000_u32..1150,
        2 => 0_u32..70,
        2 => u32::MAX - 70..=u32::MAX,
        1 => 0x7fff_ffc0_u32..0x8000_0040,
        1 => any::<u32>(),
    ];
    vec(
        (value, prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        1..120,
    )
}

/// What the pure window says to a sequence.
fn by_the_window(steps: &[Step]) -> Vec<Windowed> {
    let mut window = Window::new();
    let mut said = Vec::new();
    for (counter, strict, _) in steps {
        let order = if *strict {
            Strict
        } else {
            CounterOrder::Window
        };
        said.push(match window.admit_by(order, *counter) {
            Ok(next) => {
                window = next;
                Admitted
            }
            Err(WindowRefusal::Replayed) => Replayed,
            Err(WindowRefusal::TooOld) => TooOld,
        });
    }
    said
}

async fn by_the_store(store: &dyn Store, name: &str, steps: &[Step]) -> Vec<Windowed> {
    let mut said = Vec::new();
    let mut asked = Vec::new();
    for (counter, strict, commit) in steps {
        let used = if *strict { in_order } else { using }(name, *counter);
        if !commit {
            asked.push(used);
            if asked.len() == WINDOWS_MAX {
                said.extend(use_all(store, std::mem::take(&mut asked)).await);
            }
            continue;
        }
        said.extend(use_all(store, std::mem::take(&mut asked)).await);
        let mut change = change();
        change.windows = vec![used];
        said.push(match store.commit(change).await.unwrap() {
            Committed::Done { .. } => Admitted,
            Committed::CounterRefused { index: 0, said } => said,
            other @ (Committed::Conflict
            | Committed::ClaimTaken { .. }
            | Committed::Limited { .. }
            | Committed::CounterRefused { .. }) => panic!("{other:?}"),
        });
    }
    said.extend(use_all(store, asked).await);
    said
}

fn compare(store: &dyn Store, cases: u32, runtime: &tokio::runtime::Runtime) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Every case, and every attempt to make a failed one smaller, has a counter of its own.
    let number = std::cell::Cell::new(0);
    proptest::test_runner::TestRunner::new(config)
        .run(&steps(), |steps| {
            number.set(number.get() + 1);
            let name = format!("w:{}", number.get());
            let said = runtime.block_on(by_the_store(store, &name, &steps));
            prop_assert_eq!(said, by_the_window(&steps));
            Ok(())
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_embedded_stores_admit_as_the_pure_window_does() {
    let runtime = runtime();
    compare(&*in_memory(), 300, &runtime);
    let dir = tempfile::tempdir().unwrap();
    compare(&on_disk(dir.path()), 10, &runtime);
}

#[test]
fn the_shared_store_admits_as_the_pure_window_does() {
    let server = RedisServer::start();
    let runtime = runtime();
    let store = runtime.block_on(async { redis(server.url()) });
    compare(&*store, 300, &runtime);
}
