//! What every store does with rates; `behaviours.rs` runs it over each of them. A server has its own
//! clock: intervals here are far longer than a test takes, or so short that waiting for them ends.

use super::behaviours::is_invalid;
use super::*;
use assay::store::{LIMIT_SPAN_MAX, LIMITS_MAX};

const HOUR: Duration = Duration::from_secs(3600);

/// Whether it was refused, and told to come again within one interval.
fn is_refused(said: Limited, limit: &Limit) -> bool {
    match said {
        Limited::Admitted => false,
        Limited::Refused { retry_after } => !retry_after.is_zero() && retry_after <= limit.every,
    }
}

pub(super) async fn a_burst_is_admitted_and_then_no_more(store: Arc<dyn Store>) {
    for burst in 1..5 {
        let limit = limit(&format!("l:{burst}"), HOUR, burst);
        for _ in 0..burst {
            assert_eq!(count(&*store, &limit).await, Limited::Admitted);
        }
        for _ in 0..3 {
            assert!(is_refused(count(&*store, &limit).await, &limit));
        }
    }
}

pub(super) async fn one_more_is_admitted_after_the_interval(store: Arc<dyn Store>) {
    let limit = limit("l:1", Duration::from_millis(50), 1);
    for _ in 0..3 {
        until("one more is admitted", || async {
            count(&*store, &limit).await == Limited::Admitted
        })
        .await;
    }
}

pub(super) async fn rates_are_apart(store: Arc<dyn Store>) {
    let one = limit("l:1", HOUR, 1);
    let two = limit("l:2", HOUR, 2);
    let elsewhere = Limit {
        key: Key::new(bucket(2), "l:1".to_owned()),
        ..one.clone()
    };
    let all = vec![two.clone(), one.clone(), elsewhere.clone()];
    assert_eq!(
        count_all(&*store, all.clone()).await,
        [Limited::Admitted; 3]
    );
    let said = count_all(&*store, all).await;
    assert_eq!(said[0], Limited::Admitted);
    assert!(is_refused(said[1], &one) && is_refused(said[2], &elsewhere));
    assert!(is_refused(count(&*store, &two).await, &two));
}

pub(super) async fn a_rate_is_counted_beside_claims_and_loads(store: Arc<dyn Store>) {
    create(&*store, "s:1", b"one").await;
    make(&*store, claim("c:1", "you")).await;
    let limit = limit("l:1", HOUR, 2);
    let ask = Admission {
        load: vec![key("s:1"), key("s:2")],
        claim: vec![claim("c:1", "me"), claim("c:2", "me")],
        owner_of: vec![key("c:1")],
        limit: vec![limit.clone()],
        ..Admission::default()
    };
    for _ in 0..2 {
        let admitted = store.admit(ask.clone()).await.unwrap();
        assert_eq!(admitted.limits, [Limited::Admitted]);
        assert_eq!(admitted.claims, [taken_by("you"), Claimed::Granted]);
        assert_eq!(admitted.owners, [Some(b"you".to_vec())]);
        assert_eq!(admitted.records[0].as_ref().unwrap().value, b"one");
        assert_eq!(admitted.records[1], None);
    }
    let admitted = store.admit(ask).await.unwrap();
    assert!(is_refused(admitted.limits[0], &limit));
    assert_eq!(admitted.claims, [taken_by("you"), Claimed::Granted]);
}

pub(super) async fn a_rate_counts_twice_within_one_admission(store: Arc<dyn Store>) {
    let limit = limit("l:1", HOUR, 3);
    let said = count_all(&*store, vec![limit.clone(); 2]).await;
    assert_eq!(said, [Limited::Admitted; 2]);
    let said = count_all(&*store, vec![limit.clone(); 2]).await;
    assert_eq!(said[0], Limited::Admitted);
    assert!(is_refused(said[1], &limit));
}

pub(super) async fn what_is_refused_is_not_counted(store: Arc<dyn Store>) {
    let short = limit("l:1", Duration::from_millis(100), 1);
    assert_eq!(count(&*store, &short).await, Limited::Admitted);
    // Asked far more often than the interval admits: were it counted, it would never be admitted.
    for _ in 0..10_000 {
        if count(&*store, &short).await == Limited::Admitted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it is never admitted again");
}

pub(super) async fn another_rate_under_the_name_holds_at_once(store: Arc<dyn Store>) {
    let slow = limit("l:1", 10 * HOUR, 3);
    for _ in 0..3 {
        assert_eq!(count(&*store, &slow).await, Limited::Admitted);
    }
    // Thirty hours are used up. The new rate knows of two, so nobody waits for more than one.
    let fast = limit("l:1", HOUR, 2);
    assert!(is_refused(count(&*store, &fast).await, &fast));
    assert!(is_refused(count(&*store, &fast).await, &fast));
    let generous = limit("l:1", HOUR, 4);
    for _ in 0..2 {
        assert_eq!(count(&*store, &generous).await, Limited::Admitted);
    }
    assert!(is_refused(count(&*store, &generous).await, &generous));
}

pub(super) async fn concurrent_counts_never_admit_more_than_the_burst(store: Arc<dyn Store>) {
    const BURST: u32 = 100;
    let limit = limit("l:1", HOUR, BURST);
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let (store, limit) = (Arc::clone(&store), limit.clone());
        tasks.push(tokio::spawn(async move {
            let mut admitted = 0;
            for _ in 0..10 {
                admitted += u32::from(count(&*store, &limit).await == Limited::Admitted);
            }
            admitted
        }));
    }
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.unwrap();
    }
    assert_eq!(admitted, BURST);
}

pub(super) async fn rates_beyond_the_limits_are_refused(store: Arc<dyn Store>) {
    let good = limit("l:1", LIMIT_SPAN_MAX, 1);
    assert_eq!(count(&*store, &good).await, Limited::Admitted);
    assert!(is_refused(count(&*store, &good).await, &good));
    let quick = limit("l:2", Duration::from_nanos(1), 1);
    assert_eq!(count(&*store, &quick).await, Limited::Admitted);
    for bad in [
        vec![limit("l:1", HOUR, 0)],
        vec![limit("l:1", Duration::ZERO, 1)],
        vec![limit("l:1", LIMIT_SPAN_MAX, 2)],
        vec![limit("l:1", LIMIT_SPAN_MAX + Duration::from_nanos(1), 1)],
        vec![limit("l:1", Duration::MAX, u32::MAX)],
        vec![limit("l: 1", HOUR, 1)],
        vec![limit("l:1", HOUR, 1); LIMITS_MAX + 1],
    ] {
        let ask = Admission {
            claim: vec![claim("c:1", "me")],
            limit: bad,
            ..Admission::default()
        };
        assert!(is_invalid(&store.admit(ask.clone()).await), "{ask:?}");
    }
    assert_eq!(owner(&*store, "c:1").await, None);
}

pub(super) async fn a_commit_is_counted_with_what_it_does(store: Arc<dyn Store>) {
    let limit = limit("l:1", HOUR, 2);
    for name in ["s:1", "s:2"] {
        let commit = change().put(name, None, b"new").limit(&limit);
        assert_eq!(store.commit(commit).await, Ok(DONE));
    }
    let above = change()
        .put("s:3", None, b"new")
        .claim(claim("c:1", "me"))
        .add("i:1", b"member")
        .event(b"event")
        .limit(&limit);
    for _ in 0..2 {
        let Ok(Committed::Limited { index, retry_after }) = store.commit(above.clone()).await
        else {
            panic!("it is above the rate");
        };
        assert_eq!(index, 0);
        assert!(!retry_after.is_zero() && retry_after <= HOUR);
    }
    assert_eq!(value(&*store, "s:3").await, None);
    assert_eq!(owner(&*store, "c:1").await, None);
    assert!(members(&*store, "i:1").await.is_empty());
    assert!(events(&*store).await.is_empty());
    // It is the same count as that of admissions.
    assert!(is_refused(count(&*store, &limit).await, &limit));
}

pub(super) async fn a_commit_that_does_nothing_counts_nothing(store: Arc<dyn Store>) {
    let (one, used_up) = (limit("l:1", HOUR, 1), limit("l:2", HOUR, 1));
    assert_eq!(count(&*store, &used_up).await, Limited::Admitted);
    let version = create(&*store, "s:1", b"old").await;
    assert_eq!(make(&*store, claim("c:1", "you")).await, Claimed::Granted);
    let stale = change().put("s:1", None, b"new").limit(&one);
    assert_eq!(store.commit(stale).await, Ok(Committed::Conflict));
    let taken = change()
        .put("s:1", Some(version), b"new")
        .claim(claim("c:1", "me"))
        .limit(&one);
    let ended = store.commit(taken).await;
    assert_eq!(ended, Ok(Committed::ClaimTaken { index: 0 }));
    // One limit that refuses takes the others with it.
    let limited = change()
        .put("s:1", Some(version), b"new")
        .limit(&one)
        .limit(&used_up);
    let ended = store.commit(limited).await;
    assert!(
        matches!(ended, Ok(Committed::Limited { index: 1, .. })),
        "{ended:?}"
    );
    let good = change().put("s:1", Some(version), b"new").limit(&one);
    assert_eq!(store.commit(good).await, Ok(DONE));
}

pub(super) async fn a_commit_sent_twice_counts_once(store: Arc<dyn Store>) {
    let limit = limit("l:1", HOUR, 3);
    let created = change().put("s:1", None, b"1").limit(&limit);
    let version = created.operation;
    let written = change().put("s:1", Some(version), b"2").limit(&limit);
    let told = change().event(b"event").limit(&limit);
    for commit in [created, written, told] {
        for _ in 0..3 {
            assert_eq!(store.commit(commit.clone()).await, Ok(DONE));
        }
    }
    assert!(is_refused(count(&*store, &limit).await, &limit));
}

pub(super) async fn concurrent_commits_never_count_more_than_the_burst(store: Arc<dyn Store>) {
    const BURST: usize = 20;
    let limit = limit("l:1", HOUR, u32::try_from(BURST).unwrap());
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (store, limit) = (Arc::clone(&store), limit.clone());
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            for number in 0..5 {
                let name = format!("s:{task}:{number}");
                let commit = change().put(&name, None, b"new").limit(&limit);
                done += usize::from(store.commit(commit).await == Ok(DONE));
            }
            done
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert_eq!(done, BURST);
}

pub(super) async fn limits_of_a_commit_are_bounded(store: Arc<dyn Store>) {
    let good = limit("l:1", HOUR, 1);
    let elsewhere = Limit {
        key: Key::new(bucket(2), "l:1".to_owned()),
        ..good.clone()
    };
    let many = (0..=LIMITS_MAX).map(|number| limit(&format!("l:{number}"), HOUR, 1));
    for bad in [
        vec![good.clone(), good.clone()],
        vec![elsewhere],
        vec![limit("s:1", HOUR, 1)],
        vec![limit("l:1", HOUR, 0)],
        many.collect(),
    ] {
        let mut commit = change().put("s:1", None, b"new");
        commit.limits = bad;
        assert!(
            is_invalid(&store.commit(commit.clone()).await),
            "{commit:?}"
        );
    }
    assert_eq!(value(&*store, "s:1").await, None);
    assert_eq!(count(&*store, &good).await, Limited::Admitted);
}
