//! What every store does with indexes; `behaviours.rs` runs it over each of them.

use super::behaviours::is_invalid;
use super::*;
use assay::store::{
    INDEX_CHANGES_MAX, MEMBER_BYTES_MAX, PAGE_MEMBERS_MAX, RANGE_MEMBERS_MAX, RANGES_MAX,
};

/// Puts members into an index of bucket 1.
async fn add(store: &dyn Store, index: &str, members: &[&[u8]]) {
    let mut all = change();
    for member in members {
        all = all.add(index, member);
    }
    assert_eq!(store.commit(all).await, Ok(DONE));
}

pub(super) async fn members_are_there_from_their_commit_on(store: Arc<dyn Store>) {
    assert!(members(&*store, "i:a").await.is_empty());
    let made = change()
        .put("d:1", None, b"device")
        .add("i:a", b"one")
        .add("i:n:1", b"one")
        .event(b"told");
    let version = made.operation;
    assert_eq!(store.commit(made).await, Ok(DONE));
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
    assert_eq!(members(&*store, "i:n:1").await, [b"one"]);
    let moved = change()
        .put("d:1", Some(version), b"moved")
        .add("i:n:2", b"one")
        .remove("i:n:1", b"one");
    assert_eq!(store.commit(moved).await, Ok(DONE));
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
    assert!(members(&*store, "i:n:1").await.is_empty());
    assert_eq!(members(&*store, "i:n:2").await, [b"one"]);
}

pub(super) async fn members_that_are_there_or_are_not_may_be_named_again(store: Arc<dyn Store>) {
    for _ in 0..2 {
        let same = change().add("i:a", b"one").remove("i:a", b"two");
        assert_eq!(store.commit(same).await, Ok(DONE));
        assert_eq!(members(&*store, "i:a").await, [b"one"]);
    }
}

pub(super) async fn a_commit_that_conflicts_changes_no_index(store: Arc<dyn Store>) {
    add(&*store, "i:a", &[b"one"]).await;
    let stale = change()
        .put("d:1", Some(OperationId([9; 16])), b"")
        .add("i:a", b"two")
        .add("i:b", b"two")
        .remove("i:a", b"one");
    assert_eq!(store.commit(stale).await, Ok(Committed::Conflict));
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
    assert!(members(&*store, "i:b").await.is_empty());
}

pub(super) async fn a_commit_whose_claim_is_taken_changes_no_index(store: Arc<dyn Store>) {
    add(&*store, "i:a", &[b"one"]).await;
    make(&*store, claim("c:1", "you")).await;
    let late = change()
        .claim(claim("c:1", "me"))
        .add("i:a", b"two")
        .remove("i:a", b"one");
    let ended = store.commit(late).await;
    assert_eq!(ended, Ok(Committed::ClaimTaken { index: 0 }));
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
}

pub(super) async fn members_are_paged_in_the_order_of_their_bytes(store: Arc<dyn Store>) {
    let in_order: [&[u8]; 8] = [
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"(",
        b"+",
        b"[a",
        b"\x7f\xff",
        b"\x80",
    ];
    let mut shuffled = in_order;
    shuffled.reverse();
    shuffled.swap(1, 5);
    add(&*store, "i:a", &shuffled).await;
    for limit in 1..=in_order.len() + 1 {
        let mut read: Vec<Vec<u8>> = Vec::new();
        loop {
            let after = read.last().cloned().unwrap_or_default();
            let pages = store.page(vec![range("i:a", &after, limit)]).await;
            let page = pages.unwrap().remove(0);
            assert!(page.len() <= limit);
            let is_last = page.len() < limit;
            read.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(read, in_order);
    }
    // Behind what is no member as well, and behind the end.
    let between = store.page(vec![range("i:a", b"[", 2), range("i:a", b"\x80", 2)]);
    let expected = vec![vec![b"[a".to_vec(), b"\x7f\xff".to_vec()], Vec::new()];
    assert_eq!(between.await, Ok(expected));
}

pub(super) async fn indexes_are_apart(store: Arc<dyn Store>) {
    add(&*store, "i:n:1", &[b"one"]).await;
    add(&*store, "i:n:10", &[b"ten"]).await;
    let elsewhere = ChangeSet {
        bucket: bucket(10),
        ..change()
    };
    let elsewhere = elsewhere.add("i:n:1", b"elsewhere");
    assert_eq!(store.commit(elsewhere).await, Ok(DONE));
    assert_eq!(members(&*store, "i:n:1").await, [b"one"]);
    assert_eq!(members(&*store, "i:n:10").await, [b"ten"]);
    assert!(members(&*store, "i:n:").await.is_empty());
    let gone = change().remove("i:n:1", b"one");
    assert_eq!(store.commit(gone).await, Ok(DONE));
    assert!(members(&*store, "i:n:1").await.is_empty());
    assert_eq!(members(&*store, "i:n:10").await, [b"ten"]);
}

pub(super) async fn parts_of_many_indexes_are_read_in_one_call(store: Arc<dyn Store>) {
    add(&*store, "i:a", &[b"1", b"2", b"3"]).await;
    add(&*store, "i:b", &[b"4"]).await;
    let ranges = vec![
        range("i:b", b"", 9),
        range("i:none", b"", 9),
        range("i:a", b"1", 1),
        range("i:a", b"", 2),
        range("i:a", b"", 0),
    ];
    let expected: [&[&[u8]]; 5] = [&[b"4"], &[], &[b"2"], &[b"1", b"2"], &[]];
    let pages = store.page(ranges).await.unwrap();
    assert_eq!(pages, expected);
}

pub(super) async fn every_bucket_is_read_in_one_call(store: Arc<dyn Store>) {
    for number in [0, 1, 512, 1023] {
        let made = ChangeSet {
            bucket: bucket(number),
            ..change()
        };
        let made = made.add("i:a", &number.to_be_bytes());
        assert_eq!(store.commit(made).await, Ok(DONE));
    }
    // Not in the order of the buckets, which the answer keeps.
    let everywhere = (0..1024).rev().map(|number| IndexRange {
        key: Key::new(bucket(number), "i:a".to_owned()),
        after: Vec::new(),
        limit: PAGE_MEMBERS_MAX / RANGES_MAX,
    });
    let pages = store.page(everywhere.collect()).await.unwrap();
    assert_eq!(pages.len(), 1024);
    for (number, page) in (0..1024_u16).rev().zip(pages) {
        let expected = [0, 1, 512, 1023].contains(&number);
        let expected: Vec<_> = expected
            .then(|| number.to_be_bytes().to_vec())
            .into_iter()
            .collect();
        assert_eq!(page, expected, "bucket {number}");
    }
}

pub(super) async fn an_empty_page_is_answered(store: Arc<dyn Store>) {
    assert_eq!(store.page(Vec::new()).await, Ok(Vec::new()));
}

pub(super) async fn a_removed_member_does_not_come_back_with_a_commit_sent_again(
    store: Arc<dyn Store>,
) {
    let first = create(&*store, "d:1", b"one").await;
    let alone = change().add("i:a", b"alone");
    let creating = change().put("d:2", None, b"").add("i:a", b"creating");
    let updating = change()
        .put("d:1", Some(first), b"")
        .add("i:a", b"updating");
    let keeping = change().keep("d:3", None).add("i:a", b"keeping");
    let sent = [alone, creating, updating, keeping];
    for change in &sent {
        assert_eq!(store.commit(change.clone()).await, Ok(DONE));
    }
    for member in members(&*store, "i:a").await {
        let gone = change().remove("i:a", &member);
        assert_eq!(store.commit(gone).await, Ok(DONE));
    }
    for change in sent {
        assert_eq!(store.commit(change).await, Ok(DONE));
    }
    assert!(members(&*store, "i:a").await.is_empty());
}

pub(super) async fn an_added_member_does_not_go_with_a_commit_sent_again(store: Arc<dyn Store>) {
    add(&*store, "i:a", &[b"one"]).await;
    let gone = change().remove("i:a", b"one");
    assert_eq!(store.commit(gone.clone()).await, Ok(DONE));
    add(&*store, "i:a", &[b"one"]).await;
    assert_eq!(store.commit(gone).await, Ok(DONE));
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
}

pub(super) async fn members_of_any_bytes_are_kept(store: Arc<dyn Store>) {
    let all: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let long = [
        vec![0xff; MEMBER_BYTES_MAX - 1],
        vec![0xff; MEMBER_BYTES_MAX],
    ];
    let all = [all, long.to_vec()].concat();
    for some in all.chunks(INDEX_CHANGES_MAX) {
        let some: Vec<_> = some.iter().map(Vec::as_slice).collect();
        add(&*store, "i:a", &some).await;
    }
    assert_eq!(members(&*store, "i:a").await, all);
    let last = store.page(vec![range("i:a", &all[all.len() - 2], 9)]).await;
    assert_eq!(last, Ok(vec![vec![vec![0xff; MEMBER_BYTES_MAX]]]));
}

pub(super) async fn concurrent_commits_to_one_index_all_count(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for task in 0..8_u8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for number in 0..20_u8 {
                let made = change().add("i:a", &[task, number]).add("i:a", &[task]);
                assert_eq!(store.commit(made).await, Ok(DONE));
                let gone = change().remove("i:a", &[task]);
                assert_eq!(store.commit(gone).await, Ok(DONE));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let expected = (0..8_u8).flat_map(|task| (0..20_u8).map(move |number| vec![task, number]));
    assert!(members(&*store, "i:a").await.into_iter().eq(expected));
}

pub(super) async fn indexes_beyond_the_limits_are_refused(store: Arc<dyn Store>) {
    let too_long = vec![1; MEMBER_BYTES_MAX + 1];
    let mut too_many = change();
    for number in 0..=INDEX_CHANGES_MAX {
        too_many = too_many.add("i:a", &number.to_be_bytes());
    }
    let mut elsewhere = change().add("i:a", b"one");
    elsewhere.index[0].key = Key::new(bucket(2), "i:a".to_owned());
    for bad in [
        change().add("i:a", &too_long),
        change().add("i:a", b""),
        change().remove("i:a", b""),
        change().add("i:a", b"one").add("i:a", b"one"),
        change().add("i:a", b"one").remove("i:a", b"one"),
        change().add("i: a", b"one"),
        too_many,
        elsewhere,
    ] {
        let bad = bad.put("d:1", None, b"");
        let refused = store.commit(bad).await;
        assert!(is_invalid(&refused), "{refused:?}");
    }
    assert!(members(&*store, "i:a").await.is_empty());
    assert_eq!(value(&*store, "d:1").await, None);

    let all = PAGE_MEMBERS_MAX / RANGE_MEMBERS_MAX + 1;
    for bad in [
        vec![range("i:a", b"", 1); RANGES_MAX + 1],
        vec![range("i:a", b"", RANGE_MEMBERS_MAX + 1)],
        vec![range("i:a", b"", usize::MAX); 2],
        vec![range("i:a", b"", RANGE_MEMBERS_MAX); all],
        vec![range("i:a", &too_long, 1)],
        vec![range("i: a", b"", 1)],
    ] {
        let refused = store.page(bad).await;
        assert!(is_invalid(&refused), "{refused:?}");
    }
    let most = vec![range("i:a", b"", RANGE_MEMBERS_MAX); all - 1];
    assert_eq!(store.page(most).await, Ok(vec![Vec::new(); all - 1]));
}
