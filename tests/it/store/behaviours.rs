//! What every store does, run over each of them.

use super::indexes::*;
use super::limits::*;
use super::windows::*;
use super::*;
use crate::support::redis_cluster::Cluster;
use crate::support::redis_server::{RedisServer, tool};
use assay::store::StoreError;
use assay::time::monotonic_now;

pub(super) fn is_invalid<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Invalid(_)))
}

macro_rules! over_every_store {
    ($($behaviour:ident)*) => {
        mod embedded_in_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                super::$behaviour(super::in_memory()).await;
            })*
        }

        mod embedded_on_disk {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                let dir = tempfile::tempdir().unwrap();
                super::$behaviour(std::sync::Arc::new(super::on_disk(dir.path()))).await;
            })*
        }

        mod over_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                let server = super::RedisServer::start();
                super::$behaviour(super::redis(server.url())).await;
            })*
        }

        // One after another, over servers of which there is only one set each.
        #[tokio::test(flavor = "multi_thread")]
        async fn every_behaviour_over_valkey() {
            let server = RedisServer::start_program(&tool("valkey-server"), &[]);
            $(
                println!(stringify!($behaviour));
                server.command("FLUSHALL");
                $behaviour(redis(server.url())).await;
            )*
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn every_behaviour_over_a_newer_redis() {
            let server = RedisServer::start_program(&tool("redis-server-8"), &[]);
            $(
                println!(stringify!($behaviour));
                server.command("FLUSHALL");
                $behaviour(redis(server.url())).await;
            )*
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn every_behaviour_over_a_cluster_of_valkey() {
            let cluster = Cluster::start_program(&tool("valkey-server"), 0);
            let options = redis_options(String::new());
            let options = RedisOptions {
                servers: Servers::Cluster(cluster.urls()),
                ..options
            };
            $(
                println!(stringify!($behaviour));
                for node in cluster.nodes() {
                    node.command("FLUSHALL");
                }
                $behaviour(std::sync::Arc::new(Redis::connect(&options).unwrap())).await;
            )*
        }
    };
}

over_every_store! {
    what_was_never_put_is_not_there
    what_was_put_is_loaded_with_its_version
    a_creation_conflicts_with_what_is_there
    a_wrong_version_changes_nothing_at_all
    one_stale_record_among_several_changes_nothing
    a_kept_record_is_checked
    what_was_deleted_is_not_there
    a_record_made_again_does_not_look_like_the_old_one
    a_claim_is_granted_once
    a_claim_within_a_commit_holds
    a_taken_claim_changes_nothing_at_all
    a_claim_is_forgotten_when_its_time_is_over
    a_claim_made_again_is_not_prolonged
    a_record_goes_when_its_time_is_over
    a_write_without_a_life_ends_the_old_life
    an_update_sent_twice_is_done_once
    an_update_sent_again_after_another_is_never_applied
    a_creation_sent_again_does_not_bring_back_what_was_deleted
    a_deletion_sent_twice_is_done_once
    events_sent_twice_are_appended_once
    claims_sent_twice_are_made_once
    concurrent_increments_add_up
    concurrent_claims_have_one_owner
    the_outbox_is_complete_and_ordered
    an_outbox_is_read_page_by_page
    outboxes_of_buckets_are_apart
    outboxes_are_read_together
    who_answers_stays_the_same
    a_claim_is_never_taken_for_a_record
    one_admission_spans_buckets
    an_admission_claims_and_loads
    bytes_of_any_kind_and_length_are_kept
    an_empty_admission_is_answered
    a_commit_over_two_buckets_is_refused
    requests_beyond_the_limits_are_refused
    a_foreign_cursor_is_refused
    who_has_a_claim_is_seen_without_making_it
    who_had_a_claim_is_forgotten_with_it
    members_are_there_from_their_commit_on
    members_that_are_there_or_are_not_may_be_named_again
    a_commit_that_conflicts_changes_no_index
    a_commit_whose_claim_is_taken_changes_no_index
    members_are_paged_in_the_order_of_their_bytes
    indexes_are_apart
    parts_of_many_indexes_are_read_in_one_call
    every_bucket_is_read_in_one_call
    an_empty_page_is_answered
    a_removed_member_does_not_come_back_with_a_commit_sent_again
    an_added_member_does_not_go_with_a_commit_sent_again
    members_of_any_bytes_are_kept
    concurrent_commits_to_one_index_all_count
    indexes_beyond_the_limits_are_refused
    a_burst_is_admitted_and_then_no_more
    one_more_is_admitted_after_the_interval
    rates_are_apart
    a_rate_is_counted_beside_claims_and_loads
    a_rate_counts_twice_within_one_admission
    what_is_refused_is_not_counted
    another_rate_under_the_name_holds_at_once
    concurrent_counts_never_admit_more_than_the_burst
    rates_beyond_the_limits_are_refused
    a_commit_is_counted_with_what_it_does
    a_commit_that_does_nothing_counts_nothing
    a_commit_sent_twice_counts_once
    concurrent_commits_never_count_more_than_the_burst
    limits_of_a_commit_are_bounded
    a_name_is_for_one_kind_of_thing
    it_says_that_it_is_well
    no_replica_is_claimed_to_have_acknowledged
    each_value_is_admitted_once_and_out_of_order
    in_order_only_higher_values_are_admitted
    counters_do_not_wrap
    the_same_use_again_is_no_replay_while_it_is_the_last
    counters_are_apart
    a_counter_is_used_beside_claims_limits_and_loads
    a_use_within_a_commit_holds
    a_refused_use_changes_nothing_at_all
    of_all_that_refuses_a_commit_the_first_in_order_is_told
    a_counter_is_forgotten_when_its_time_is_over
    the_life_of_a_counter_only_grows
    concurrent_uses_of_a_value_admit_one
    uses_beyond_the_limits_are_refused
}

async fn what_was_never_put_is_not_there(store: Arc<dyn Store>) {
    assert_eq!(load(&*store, "s:1").await, None);
}

async fn what_was_put_is_loaded_with_its_version(store: Arc<dyn Store>) {
    let first = create(&*store, "s:1", b"one").await;
    let update = change().put("s:1", Some(first), b"two");
    let second = update.operation;
    assert_eq!(store.commit(update).await, Ok(DONE));
    let expected = Record {
        version: second,
        value: b"two".to_vec(),
    };
    assert_eq!(load(&*store, "s:1").await, Some(expected));
}

async fn a_creation_conflicts_with_what_is_there(store: Arc<dyn Store>) {
    create(&*store, "s:1", b"one").await;
    let again = change().put("s:1", None, b"two");
    assert_eq!(store.commit(again).await, Ok(Committed::Conflict));
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
}

async fn a_wrong_version_changes_nothing_at_all(store: Arc<dyn Store>) {
    let version = create(&*store, "s:1", b"one").await;
    let other = create(&*store, "s:2", b"other").await;
    let stale = change()
        .put("s:1", Some(OperationId([9; 16])), b"two")
        .put("s:2", Some(other), b"changed")
        .put("s:3", None, b"made")
        .claim(claim("c:1", "me"))
        .event(b"told");
    assert_eq!(store.commit(stale).await, Ok(Committed::Conflict));
    assert_eq!(load(&*store, "s:1").await.unwrap().version, version);
    assert_eq!(value(&*store, "s:2").await, Some(b"other".to_vec()));
    assert_eq!(value(&*store, "s:3").await, None);
    assert_eq!(make(&*store, claim("c:1", "you")).await, Claimed::Granted);
    assert!(events(&*store).await.is_empty());
}

async fn one_stale_record_among_several_changes_nothing(store: Arc<dyn Store>) {
    let first = create(&*store, "s:1", b"one").await;
    let gone = change()
        .put("s:1", Some(first), b"two")
        .delete("s:2", OperationId([9; 16]));
    assert_eq!(store.commit(gone).await, Ok(Committed::Conflict));
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
}

async fn a_kept_record_is_checked(store: Arc<dyn Store>) {
    let first = create(&*store, "d:1", b"active").await;
    let good = change()
        .keep("d:1", Some(first))
        .keep("d:2", None)
        .put("s:1", None, b"");
    assert_eq!(store.commit(good).await, Ok(DONE));
    assert_eq!(load(&*store, "d:1").await.unwrap().version, first);

    let revoked = change().put("d:1", Some(first), b"revoked");
    assert_eq!(store.commit(revoked).await, Ok(DONE));
    let late = change().keep("d:1", Some(first)).put("s:2", None, b"");
    assert_eq!(store.commit(late).await, Ok(Committed::Conflict));
    let late = change().keep("d:1", None).put("s:2", None, b"");
    assert_eq!(store.commit(late).await, Ok(Committed::Conflict));
    assert_eq!(value(&*store, "s:2").await, None);
}

async fn what_was_deleted_is_not_there(store: Arc<dyn Store>) {
    let version = create(&*store, "s:1", b"one").await;
    let delete = change().delete("s:1", version);
    assert_eq!(store.commit(delete).await, Ok(DONE));
    assert_eq!(load(&*store, "s:1").await, None);
}

async fn a_record_made_again_does_not_look_like_the_old_one(store: Arc<dyn Store>) {
    let old = create(&*store, "s:1", b"same").await;
    assert_eq!(store.commit(change().delete("s:1", old)).await, Ok(DONE));
    let new = create(&*store, "s:1", b"same").await;
    assert_ne!(old, new);
    let stale = change().put("s:1", Some(old), b"stale");
    assert_eq!(store.commit(stale).await, Ok(Committed::Conflict));
}

async fn a_claim_is_granted_once(store: Arc<dyn Store>) {
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
    assert_eq!(make(&*store, claim("c:1", "you")).await, taken_by("me"));
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
}

async fn a_claim_within_a_commit_holds(store: Arc<dyn Store>) {
    let first = change().put("s:1", None, b"").claim(claim("c:1", "me"));
    assert_eq!(store.commit(first).await, Ok(DONE));
    assert_eq!(make(&*store, claim("c:1", "you")).await, taken_by("me"));
    let mine = change().put("s:2", None, b"").claim(claim("c:1", "me"));
    assert_eq!(store.commit(mine).await, Ok(DONE));
}

async fn a_taken_claim_changes_nothing_at_all(store: Arc<dyn Store>) {
    make(&*store, claim("c:2", "you")).await;
    let late = change()
        .put("s:1", None, b"")
        .claim(claim("c:1", "me"))
        .claim(claim("c:2", "me"))
        .event(b"told");
    let ended = store.commit(late).await;
    assert_eq!(ended, Ok(Committed::ClaimTaken { index: 1 }));
    assert_eq!(value(&*store, "s:1").await, None);
    assert_eq!(make(&*store, claim("c:1", "she")).await, Claimed::Granted);
    assert!(events(&*store).await.is_empty());
}

async fn a_claim_is_forgotten_when_its_time_is_over(store: Arc<dyn Store>) {
    let short = |name, owner| Claim {
        live_for: Some(Duration::from_millis(50)),
        ..claim(name, owner)
    };
    assert_eq!(make(&*store, short("c:1", "me")).await, Claimed::Granted);
    let committed = store.commit(change().claim(short("c:2", "me"))).await;
    assert_eq!(committed, Ok(DONE));
    for name in ["c:1", "c:2"] {
        until("the claim is free", || async {
            make(&*store, claim(name, "you")).await == Claimed::Granted
        })
        .await;
        assert_eq!(make(&*store, claim(name, "me")).await, taken_by("you"));
    }
}

async fn a_claim_made_again_is_not_prolonged(store: Arc<dyn Store>) {
    // Where a machine is so slow that the claim is over before it is made again, it is a new one and
    // says nothing: then another is made, for longer.
    for millis in [50, 500, 5_000, 50_000] {
        let name = format!("c:{millis}");
        let life = Duration::from_millis(millis);
        let short = Claim {
            live_for: Some(life),
            ..claim(&name, "me")
        };
        let begin = monotonic_now();
        assert_eq!(make(&*store, short).await, Claimed::Granted);
        assert_eq!(make(&*store, claim(&name, "me")).await, Claimed::Granted);
        if begin.elapsed() >= life {
            continue;
        }
        until("the claim is free", || async {
            make(&*store, claim(&name, "you")).await == Claimed::Granted
        })
        .await;
        return;
    }
    panic!("two claims take a minute");
}

async fn a_record_goes_when_its_time_is_over(store: Arc<dyn Store>) {
    let short = Change::Put {
        value: b"one".to_vec(),
        live_for: Some(Duration::from_millis(50)),
    };
    let put = change().item("s:1", None, short);
    let version = put.operation;
    assert_eq!(store.commit(put).await, Ok(DONE));
    until("the record is gone", || async {
        load(&*store, "s:1").await.is_none()
    })
    .await;
    let stale = change().put("s:1", Some(version), b"two");
    assert_eq!(store.commit(stale).await, Ok(Committed::Conflict));
    create(&*store, "s:1", b"new").await;
}

async fn a_write_without_a_life_ends_the_old_life(store: Arc<dyn Store>) {
    let short = |live_for| Change::Put {
        value: b"one".to_vec(),
        live_for,
    };
    let millis = |millis| Some(Duration::from_millis(millis));
    // The second record lives shorter than it takes to see that the first one stays.
    let put = change().item("s:1", None, short(millis(50)));
    let first = put.operation;
    assert_eq!(store.commit(put).await, Ok(DONE));
    let forever = change()
        .put("s:1", Some(first), b"two")
        .item("s:2", None, short(millis(200)));
    if store.commit(forever.clone()).await == Ok(Committed::Conflict) {
        // The first life was over before: then there is nothing to end.
        assert_eq!(load(&*store, "s:1").await, None);
        return;
    }
    until("the second record is gone", || async {
        load(&*store, "s:2").await.is_none()
    })
    .await;
    assert_eq!(value(&*store, "s:1").await, Some(b"two".to_vec()));
}

async fn an_update_sent_twice_is_done_once(store: Arc<dyn Store>) {
    let first = create(&*store, "s:1", b"one").await;
    let update = change().put("s:1", Some(first), b"two").event(b"told");
    assert_eq!(store.commit(update.clone()).await, Ok(DONE));
    assert_eq!(store.commit(update.clone()).await, Ok(DONE));
    assert_eq!(
        load(&*store, "s:1").await.unwrap().version,
        update.operation
    );
    assert_eq!(events(&*store).await.len(), 1);
}

async fn an_update_sent_again_after_another_is_never_applied(store: Arc<dyn Store>) {
    let first = create(&*store, "s:1", b"one").await;
    let update = change().put("s:1", Some(first), b"two").event(b"told");
    assert_eq!(store.commit(update.clone()).await, Ok(DONE));
    let next = change().put("s:1", Some(update.operation), b"three");
    assert_eq!(store.commit(next).await, Ok(DONE));
    assert_eq!(store.commit(update).await, Ok(Committed::Conflict));
    assert_eq!(value(&*store, "s:1").await, Some(b"three".to_vec()));
    assert_eq!(events(&*store).await.len(), 1);
}

async fn a_creation_sent_again_does_not_bring_back_what_was_deleted(store: Arc<dyn Store>) {
    let made = change().put("s:1", None, b"one").event(b"told");
    assert_eq!(store.commit(made.clone()).await, Ok(DONE));
    let delete = change().delete("s:1", made.operation);
    assert_eq!(store.commit(delete).await, Ok(DONE));
    assert_eq!(store.commit(made).await, Ok(DONE));
    assert_eq!(load(&*store, "s:1").await, None);
    assert_eq!(events(&*store).await.len(), 1);
}

async fn a_deletion_sent_twice_is_done_once(store: Arc<dyn Store>) {
    let version = create(&*store, "s:1", b"one").await;
    let delete = change().delete("s:1", version).event(b"told");
    assert_eq!(store.commit(delete.clone()).await, Ok(DONE));
    assert_eq!(store.commit(delete.clone()).await, Ok(DONE));
    create(&*store, "s:1", b"new").await;
    assert_eq!(store.commit(delete).await, Ok(DONE));
    assert_eq!(value(&*store, "s:1").await, Some(b"new".to_vec()));
    assert_eq!(events(&*store).await.len(), 1);
}

async fn events_sent_twice_are_appended_once(store: Arc<dyn Store>) {
    let told = change().keep("s:1", None).event(b"one").event(b"two");
    assert_eq!(store.commit(told.clone()).await, Ok(DONE));
    assert_eq!(store.commit(told).await, Ok(DONE));
    assert_eq!(events(&*store).await, [b"one", b"two"]);
}

async fn claims_sent_twice_are_made_once(store: Arc<dyn Store>) {
    let claims = change().keep("s:1", None).claim(claim("c:1", "me"));
    assert_eq!(store.commit(claims.clone()).await, Ok(DONE));
    create(&*store, "s:1", b"one").await;
    assert_eq!(store.commit(claims).await, Ok(DONE));
}

async fn concurrent_increments_add_up(store: Arc<dyn Store>) {
    const TASKS: u32 = 16;
    const EACH: u32 = 200;
    create(&*store, "s:1", &0_u32.to_be_bytes()).await;
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for _ in 0..EACH {
                increment(&*store).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let sum = value(&*store, "s:1").await.unwrap();
    assert_eq!(u32::from_be_bytes(sum.try_into().unwrap()), TASKS * EACH);
}

async fn increment(store: &dyn Store) {
    loop {
        let record = load(store, "s:1").await.unwrap();
        let count = u32::from_be_bytes(record.value.try_into().unwrap()) + 1;
        let update = change().put("s:1", Some(record.version), &count.to_be_bytes());
        match store.commit(update).await.unwrap() {
            Committed::Done { .. } => return,
            Committed::Conflict => {}
            Committed::ClaimTaken { .. }
            | Committed::CounterRefused { .. }
            | Committed::Limited { .. } => {
                unreachable!("no claim was made, no counter used and nothing limited")
            }
        }
    }
}

async fn concurrent_claims_have_one_owner(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for number in 0..16 {
        let store = Arc::clone(&store);
        let owner = format!("owner {number}");
        tasks.push(tokio::spawn(async move {
            if number % 2 == 0 {
                make(&*store, claim("c:1", &owner)).await == Claimed::Granted
            } else {
                store.commit(change().claim(claim("c:1", &owner))).await == Ok(DONE)
            }
        }));
    }
    let mut granted = 0;
    for task in tasks {
        granted += u32::from(task.await.unwrap());
    }
    assert_eq!(granted, 1);
}

async fn the_outbox_is_complete_and_ordered(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for task in 0..8_u8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for number in 0..25_u8 {
                let told = change().event(&[task, number, 0]).event(&[task, number, 1]);
                assert_eq!(store.commit(told).await, Ok(DONE));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let events = events(&*store).await;
    for task in 0..8_u8 {
        let of_task = events.iter().filter(|event| event[0] == task);
        let expected = (0..25_u8).flat_map(|number| [vec![task, number, 0], vec![task, number, 1]]);
        assert!(of_task.cloned().eq(expected), "task {task}");
    }
}

async fn an_outbox_is_read_page_by_page(store: Arc<dyn Store>) {
    for number in 0..25_u8 {
        let told = change().event(&[number]);
        assert_eq!(store.commit(told).await, Ok(DONE));
    }
    let mut read = Vec::new();
    let mut cursor = Cursor::default();
    loop {
        let page = outbox(&*store, 1, &cursor, 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some((last, _)) = page.last() else { break };
        for pair in page.windows(2) {
            assert!(pair[0].0 < pair[1].0);
        }
        assert!(cursor < *last);
        cursor = last.clone();
        read.extend(page.into_iter().map(|(_, event)| event[0]));
    }
    assert!(read.into_iter().eq(0..25));
    assert_eq!(outbox(&*store, 1, &cursor, 0).await, Ok(Vec::new()));
    let told = change().event(b"later");
    assert_eq!(store.commit(told).await, Ok(DONE));
    let later = outbox(&*store, 1, &cursor, 10).await.unwrap();
    assert_eq!(later[0].1, b"later");
}

async fn outboxes_of_buckets_are_apart(store: Arc<dyn Store>) {
    for number in [0, 1, 2, 1023] {
        let told = ChangeSet {
            bucket: bucket(number),
            ..change()
        };
        let told = told.event(&number.to_be_bytes());
        assert_eq!(store.commit(told).await, Ok(DONE));
    }
    for number in [0, 1, 2, 1023] {
        let events = outbox(&*store, number, &Cursor::default(), 10).await;
        let events: Vec<_> = events.unwrap().into_iter().map(|(_, e)| e).collect();
        assert_eq!(events, [number.to_be_bytes()]);
    }
}

async fn a_claim_is_never_taken_for_a_record(store: Arc<dyn Store>) {
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
    let ask = Admission {
        load: vec![key("c:1")],
        ..Admission::default()
    };
    let damaged = StoreError::Unavailable("a stored record is damaged".to_owned());
    assert_eq!(store.admit(ask).await.map(|_| ()), Err(damaged));
    let creation = change().put("c:1", None, b"one");
    assert_eq!(store.commit(creation).await, Ok(Committed::Conflict));
    assert_eq!(make(&*store, claim("c:1", "you")).await, taken_by("me"));
}

async fn one_admission_spans_buckets(store: Arc<dyn Store>) {
    for number in [700, 3, 41] {
        let put = ChangeSet {
            bucket: bucket(number),
            ..change()
        };
        let put = put.put("f", None, &number.to_be_bytes());
        assert_eq!(store.commit(put).await, Ok(DONE));
    }
    let order = [3, 700, 5, 41, 3];
    let ask = Admission {
        load: order.map(|n| Key::new(bucket(n), "f".to_owned())).to_vec(),
        claim: [8, 9]
            .map(|n| Claim {
                key: Key::new(bucket(n), "c:1".to_owned()),
                ..claim("", "me")
            })
            .to_vec(),
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    let values = admitted.records.into_iter().map(|r| r.map(|r| r.value));
    let expected = order.map(|n| (n != 5).then(|| u16::to_be_bytes(n).to_vec()));
    assert!(values.eq(expected));
    assert_eq!(admitted.claims, [Claimed::Granted, Claimed::Granted]);
}

async fn an_admission_claims_and_loads(store: Arc<dyn Store>) {
    create(&*store, "s:1", b"one").await;
    make(&*store, claim("c:1", "you")).await;
    let ask = Admission {
        load: vec![key("s:0"), key("s:1")],
        claim: vec![claim("c:1", "me"), claim("c:2", "me"), claim("c:2", "she")],
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    assert_eq!(admitted.records[0], None);
    assert_eq!(admitted.records[1].as_ref().unwrap().value, b"one");
    let expected = [taken_by("you"), Claimed::Granted, taken_by("me")];
    assert_eq!(admitted.claims, expected);
}

async fn bytes_of_any_kind_and_length_are_kept(store: Arc<dyn Store>) {
    let long: Vec<u8> = (0..65_536_u32).map(|n| n.to_le_bytes()[0]).collect();
    let values = [&b""[..], b"\0", b"\r\n$5\r\n", &[0xff; 16], &long];
    for (number, bytes) in values.into_iter().enumerate() {
        let name = format!("s:{number}");
        let put = change().put(&name, None, bytes).event(bytes);
        assert_eq!(store.commit(put).await, Ok(DONE));
        assert_eq!(value(&*store, &name).await.as_deref(), Some(bytes));
        let binary = Claim {
            owner: bytes[..bytes.len().min(64)].to_vec(),
            ..claim(&format!("c:{number}"), "")
        };
        assert_eq!(make(&*store, binary.clone()).await, Claimed::Granted);
        let by = binary.owner;
        let other = claim(&format!("c:{number}"), "me");
        assert_eq!(make(&*store, other).await, Claimed::Taken { by });
    }
    assert_eq!(events(&*store).await, values);
}

async fn an_empty_admission_is_answered(store: Arc<dyn Store>) {
    let admitted = store.admit(Admission::default()).await.unwrap();
    assert!(admitted.records.is_empty() && admitted.claims.is_empty());
    assert_eq!(store.commit(change()).await, Ok(DONE));
}

async fn a_commit_over_two_buckets_is_refused(store: Arc<dyn Store>) {
    let elsewhere = Key::new(bucket(2), "s:2".to_owned());
    let mut by_item = change().put("s:1", None, b"").event(b"told");
    by_item.items.push(Item {
        key: elsewhere.clone(),
        expected: None,
        change: Change::Keep,
    });
    let by_claim = change().put("s:1", None, b"").claim(Claim {
        key: elsewhere,
        ..claim("", "me")
    });
    for change in [by_item, by_claim] {
        let refused = store.commit(change).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid(_))),
            "{refused:?}"
        );
    }
    assert_eq!(value(&*store, "s:1").await, None);
    assert!(events(&*store).await.is_empty());
}

async fn requests_beyond_the_limits_are_refused(store: Arc<dyn Store>) {
    use assay::store::{EVENTS_MAX, LOADS_MAX, OWNER_BYTES_MAX, OWNERS_MAX, VALUE_BYTES_MAX};
    let mut talkative = change();
    talkative.events = vec![Vec::new(); EVENTS_MAX + 1];
    for bad in [
        change().put("s:1", None, &vec![0; VALUE_BYTES_MAX + 1]),
        change().put("s:1", None, b"").keep("s:1", None),
        change().put("o", None, b""),
        change().put("m:1", None, b""),
        change().put("s 1", None, b""),
        change().claim(claim("c:1", &"o".repeat(OWNER_BYTES_MAX + 1))),
        talkative,
    ] {
        let refused = store.commit(bad).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid(_))),
            "{refused:?}"
        );
    }
    let greedy = Admission {
        load: vec![key("s:1"); LOADS_MAX + 1],
        ..Admission::default()
    };
    assert!(is_invalid(&store.admit(greedy).await));
    let curious = Admission {
        owner_of: vec![key("c:1"); OWNERS_MAX + 1],
        ..Admission::default()
    };
    assert!(is_invalid(&store.admit(curious).await));
}

async fn a_foreign_cursor_is_refused(store: Arc<dyn Store>) {
    for text in ["0", "-", "+", "1-1", "$"] {
        let refused = outbox(&*store, 1, &Cursor(text.to_owned()), 1).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{text}");
    }
}

async fn who_has_a_claim_is_seen_without_making_it(store: Arc<dyn Store>) {
    assert_eq!(owner(&*store, "c:1").await, None);
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
    assert_eq!(owner(&*store, "c:1").await, Some(b"me".to_vec()));
    let committed = store.commit(change().claim(claim("c:2", ""))).await;
    assert_eq!(committed, Ok(DONE));
    create(&*store, "s:1", b"one").await;
    let elsewhere = Key::new(bucket(9), "c:1".to_owned());
    let ask = Admission {
        load: vec![key("s:1")],
        claim: vec![claim("c:1", "you"), claim("c:3", "you")],
        owner_of: vec![key("c:3"), elsewhere, key("c:2"), key("c:1"), key("c:4")],
        ..Admission::default()
    };
    let admitted = store.admit(ask).await.unwrap();
    assert_eq!(admitted.claims, [taken_by("me"), Claimed::Granted]);
    let owners = [Some("you"), None, Some(""), Some("me"), None];
    let owners = owners.map(|owner| owner.map(|owner| owner.as_bytes().to_vec()));
    assert_eq!(admitted.owners, owners);
    assert_eq!(admitted.records[0].as_ref().unwrap().value, b"one");
    assert_eq!(make(&*store, claim("c:4", "she")).await, Claimed::Granted);
}

async fn who_had_a_claim_is_forgotten_with_it(store: Arc<dyn Store>) {
    let short = Claim {
        live_for: Some(Duration::from_millis(50)),
        ..claim("c:1", "me")
    };
    assert_eq!(make(&*store, short).await, Claimed::Granted);
    until("nobody has it", || async {
        owner(&*store, "c:1").await.is_none()
    })
    .await;
    assert_eq!(make(&*store, claim("c:1", "you")).await, Claimed::Granted);
    assert_eq!(owner(&*store, "c:1").await, Some(b"you".to_vec()));
}

async fn a_name_is_for_one_kind_of_thing(store: Arc<dyn Store>) {
    let minute = Duration::from_secs(60);
    for name in ["s:1", "c:1", "l:1"] {
        let indexed = change().add(name, b"one");
        assert!(is_invalid(&store.commit(indexed).await), "{name}");
        let read = store.page(vec![range(name, b"", 1)]).await;
        assert!(is_invalid(&read), "{name}");
    }
    for name in ["i:1", "l:1"] {
        let put = change().put(name, None, b"one");
        assert!(is_invalid(&store.commit(put).await), "{name}");
        let claimed = change().claim(claim(name, "me"));
        assert!(is_invalid(&store.commit(claimed).await), "{name}");
    }
    let asking = Admission::default;
    for ask in [
        Admission {
            load: vec![key("i:1")],
            ..asking()
        },
        Admission {
            load: vec![key("l:1")],
            ..asking()
        },
        Admission {
            owner_of: vec![key("i:1")],
            ..asking()
        },
        Admission {
            owner_of: vec![key("l:1")],
            ..asking()
        },
        Admission {
            claim: vec![claim("l:1", "me")],
            ..asking()
        },
        Admission {
            limit: vec![limit("i:1", minute, 1)],
            ..asking()
        },
        Admission {
            limit: vec![limit("s:1", minute, 1)],
            ..asking()
        },
    ] {
        assert!(is_invalid(&store.admit(ask.clone()).await), "{ask:?}");
    }
}

async fn it_says_that_it_is_well(store: Arc<dyn Store>) {
    assert!(works(&*store).await);
}

async fn no_replica_is_claimed_to_have_acknowledged(store: Arc<dyn Store>) {
    let alone = ChangeSet {
        durability: Durability::Replicated {
            replicas: 1,
            within: Duration::from_millis(20),
        },
        ..change()
    };
    assert_eq!(store.commit(alone.put("s:1", None, b"one")).await, Ok(DONE));
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
}

async fn outboxes_are_read_together(store: Arc<dyn Store>) {
    for number in [3, 900] {
        for event in 0..3 {
            let told = ChangeSet {
                bucket: bucket(number),
                ..change()
            };
            let told = told.event(&[event]);
            assert_eq!(store.commit(told).await, Ok(DONE));
        }
    }
    let from = |number, after: Cursor, limit| OutboxRange {
        bucket: bucket(number),
        after,
        limit,
    };
    let first = outbox(&*store, 900, &Cursor::default(), 1).await.unwrap();
    let behind = first[0].0.clone();
    let all = (0..1024).map(|number| match number {
        900 => from(number, behind.clone(), 64),
        3 => from(number, Cursor::default(), 2),
        _ => from(number, Cursor::default(), 63),
    });
    let parts = store.follow(all.collect()).await.unwrap();
    assert_eq!(parts.len(), 1024);
    for (number, part) in parts.into_iter().enumerate() {
        let events: Vec<u8> = part.into_iter().map(|(_, event)| event[0]).collect();
        let expected: &[u8] = match number {
            900 => &[1, 2],
            3 => &[0, 1],
            _ => &[],
        };
        assert_eq!(events, expected, "bucket {number}");
    }
    assert_eq!(store.follow(Vec::new()).await, Ok(Vec::new()));
    let greedy = (0..1024).map(|number| from(number, Cursor::default(), 65));
    assert!(is_invalid(&store.follow(greedy.collect()).await));
}

async fn who_answers_stays_the_same(store: Arc<dyn Store>) {
    let before = store.ping().await.unwrap();
    assert_eq!(store.commit(change().event(b"told")).await, Ok(DONE));
    assert_eq!(store.ping().await, Ok(before));
}
