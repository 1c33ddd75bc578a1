//! The shared store when its server or the way to it is broken.

use super::*;
use crate::support::certificates::{certificates, redis_tls};
use crate::support::proxy::Proxy;
use crate::support::redis_server::{RedisServer, program, tool};
use assay::secret::Secret;
use assay::store::StoreError;

const READ_ONLY: &str = "the server is a read-only replica: name its primary, or its Sentinels";

/// A client that does not wait long for answers: what has to be answered is asked of another one, or
/// asked until it is.
fn impatient(url: String) -> Arc<dyn Store> {
    redis_within(url, Duration::from_secs(1))
}

fn redis_within(url: String, response_timeout: Duration) -> Arc<dyn Store> {
    let options = RedisOptions {
        response_timeout,
        ..redis_options(url)
    };
    Arc::new(Redis::connect(&options).unwrap())
}

pub(super) fn unavailable(why: &str) -> Result<(), StoreError> {
    Err(StoreError::Unavailable(why.to_owned()))
}

pub(super) fn is_unavailable<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_)))
}

pub(super) fn is_unknown<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::OutcomeUnknown(_)))
}

fn asking(name: &str) -> Admission {
    Admission {
        load: vec![key(name)],
        ..Admission::default()
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_swallowed_is_found_done_when_sent_again() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let (store, direct) = (impatient(proxy.url()), redis(server.url()));
    let first = create(&*direct, "s:1", b"one").await;
    let update = change().put("s:1", Some(first), b"two").event(b"told");
    let creation = change().put("s:2", None, b"new").event(b"made");
    let deletion = change().delete("s:3", create(&*direct, "s:3", b"").await);
    let update = update.add("i:a", b"one");
    let creation = creation.add("i:a", b"two").add("i:b", b"two");
    let deletion = deletion.remove("i:a", b"one");
    for commit in [update, creation, deletion] {
        until("it is connected", || async { works(&*store).await }).await;
        proxy.swallow_answers(true);
        let outcome = store.commit(commit.clone()).await;
        assert!(is_unknown(&outcome), "{outcome:?}");
        proxy.cut();
        proxy.swallow_answers(false);
        until("the commit is found done", || async {
            store.commit(commit.clone()).await == Ok(DONE)
        })
        .await;
    }
    assert_eq!(value(&*direct, "s:1").await, Some(b"two".to_vec()));
    assert_eq!(value(&*direct, "s:2").await, Some(b"new".to_vec()));
    assert_eq!(value(&*direct, "s:3").await, None);
    assert_eq!(events(&*direct).await, [b"told", b"made"]);
    assert_eq!(members(&*direct, "i:a").await, [b"two"]);
    assert_eq!(members(&*direct, "i:b").await, [b"two"]);
}

#[tokio::test]
async fn without_claims_a_lost_answer_leaves_nothing_open() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let store = impatient(proxy.url());
    until("it is connected", || async { works(&*store).await }).await;
    let counting = Admission {
        owner_of: vec![key("c:1")],
        limit: vec![limit("l:1", Duration::from_secs(3600), 100)],
        ..asking("s:1")
    };
    let claiming = Admission {
        claim: vec![claim("c:1", "me")],
        ..counting.clone()
    };
    proxy.swallow_answers(true);
    let outcome = store.admit(counting.clone()).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    let outcome = store.admit(claiming).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    let outcome = store.page(vec![range("i:a", b"", 1)]).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    proxy.cut();
    proxy.swallow_answers(false);
    until("it is counted", || async {
        let admitted = store.admit(counting.clone()).await;
        admitted.is_ok_and(|admitted| admitted.limits == [Limited::Admitted])
    })
    .await;
}

/// A change that one replica is wanted to have within so long.
fn replicated(name: &str, within: Duration) -> ChangeSet {
    let durability = Durability::Replicated {
        replicas: 1,
        within,
    };
    let change = ChangeSet {
        durability,
        ..change()
    };
    change.put(name, None, b"one")
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nobody_waiting_for_replicas_in_its_place() {
    let server = RedisServer::start();
    let store = impatient(server.url());
    assert!(works(&*store).await);
    let patient = tokio::spawn({
        let (store, change) = (
            Arc::clone(&store),
            replicated("s:1", Duration::from_secs(3600)),
        );
        async move { store.commit(change).await }
    });
    until("the server waits", || async {
        server.command("INFO clients").contains("blocked_clients:1")
    })
    .await;
    patient.abort();
    assert!(patient.await.unwrap_err().is_cancelled());
    let next = replicated("s:2", Duration::from_millis(1));
    assert_eq!(store.commit(next).await, Ok(DONE));
    // And the connection that was given up holds nothing in the server.
    until("it is closed", || async {
        server.command("INFO clients").contains("blocked_clients:0")
    })
    .await;
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_leaves_the_outcome_open() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let store = redis(proxy.url());
    let first = create(&*store, "s:1", b"one").await;
    proxy.delay_answers(Duration::from_secs(3600));
    let update = change().put("s:1", Some(first), b"two");
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        let update = update.clone();
        async move { store.commit(update).await }
    });
    let direct = redis(server.url());
    until("the server has done it", || async {
        value(&*direct, "s:1").await == Some(b"two".to_vec())
    })
    .await;
    proxy.cut();
    let outcome = waiting.await.unwrap();
    assert!(is_unknown(&outcome), "{outcome:?}");
    proxy.delay_answers(Duration::ZERO);
    until("the commit is found done", || async {
        store.commit(update.clone()).await == Ok(DONE)
    })
    .await;
}

#[tokio::test]
async fn a_claim_whose_answer_is_swallowed_is_granted_when_asked_again() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let store = impatient(proxy.url());
    until("it is connected", || async { works(&*store).await }).await;
    let ask = Admission {
        claim: vec![claim("c:1", "me")],
        ..asking("s:1")
    };
    proxy.swallow_answers(true);
    let outcome = store.admit(ask.clone()).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    let outcome = store.admit(asking("s:1")).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    proxy.cut();
    proxy.swallow_answers(false);
    until("the claim is granted", || async {
        let admitted = store.admit(ask.clone()).await;
        admitted.is_ok_and(|admitted| admitted.claims == [Claimed::Granted])
    })
    .await;
    let direct = redis(server.url());
    assert_eq!(make(&*direct, claim("c:1", "you")).await, taken_by("me"));
}

#[tokio::test]
async fn a_paused_server_is_not_taken_for_an_answer() {
    let server = RedisServer::start();
    let (store, direct) = (impatient(server.url()), redis(server.url()));
    let first = create(&*direct, "s:1", b"one").await;
    until("it is connected", || async { works(&*store).await }).await;
    server.pause();
    let update = change().put("s:1", Some(first), b"two").event(b"told");
    // More often than a connection is trusted: new ones do not answer either.
    for _ in 0..5 {
        assert!(store.commit(update.clone()).await.is_err());
        assert!(is_unavailable(&store.admit(asking("s:1")).await));
        assert!(is_unavailable(&store.ping().await));
    }
    server.resume();
    until("the commit is found done", || async {
        store.commit(update.clone()).await == Ok(DONE)
    })
    .await;
    assert_eq!(events(&*direct).await, [b"told"]);
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_works_again_after_its_restart() {
    let mut server = RedisServer::start();
    let store = redis(server.url());
    let first = create(&*store, "s:1", b"one").await;
    server.kill();
    let update = change().put("s:1", Some(first), b"two");
    // The first call may still go out over the connection that just broke.
    until("nothing is sent", || async {
        is_unavailable(&store.commit(update.clone()).await)
    })
    .await;
    for _ in 0..3 {
        assert!(is_unavailable(&store.commit(update.clone()).await));
        assert!(is_unavailable(&store.admit(asking("s:1")).await));
        assert!(is_unavailable(
            &outbox(&*store, 1, &Cursor::default(), 1).await
        ));
        assert!(is_unavailable(&store.ping().await));
    }
    server.restart();
    until("it works again", || async { works(&*store).await }).await;
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
    assert_eq!(store.commit(update).await, Ok(DONE));
}

#[tokio::test]
async fn an_idle_connection_that_broke_is_replaced_before_it_is_used() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let store = redis(proxy.url());
    // One success is enough: a client that does not notice fails in every round.
    until("the first call after a cut succeeds", || async {
        until("it is connected", || async { works(&*store).await }).await;
        proxy.cut();
        tokio::time::sleep(PAUSE).await;
        works(&*store).await
    })
    .await;
}

#[tokio::test]
async fn a_way_that_is_closed_and_opened_again_is_found() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let store = redis(proxy.url());
    create(&*store, "s:1", b"one").await;
    proxy.refuse(true);
    proxy.cut();
    until("calls are refused", || async {
        store.ping().await.is_err()
    })
    .await;
    proxy.refuse(false);
    until("it works again", || async { works(&*store).await }).await;
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
}

#[tokio::test]
async fn a_connection_that_went_silent_is_given_up() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let store = impatient(proxy.url());
    until("it is connected", || async { works(&*store).await }).await;
    proxy.silence();
    let counting = Admission {
        limit: vec![limit("l:1", Duration::from_secs(3600), 100)],
        ..Admission::default()
    };
    assert!(is_unavailable(&store.admit(counting.clone()).await));
    until("another connection is used", || async {
        store.admit(counting.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn what_only_reads_is_asked_again_over_another_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    // The first time it is waited for in vain, and the second time not for long.
    let store = redis_within(proxy.url(), Duration::from_secs(5));
    let first = change().put("s:1", None, b"one").add("i:a", b"one");
    assert_eq!(store.commit(first.event(b"told")).await, Ok(DONE));
    for _ in 0..2 {
        proxy.silence();
        assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
        assert_eq!(members(&*store, "i:a").await, [b"one"]);
        assert_eq!(events(&*store).await, [b"told"]);
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_alone_for_a_moment() {
    let server = RedisServer::start();
    let store = impatient(server.url());
    until("it is connected", || async { works(&*store).await }).await;
    server.pause();
    let left_alone =
        "the server did not answer several calls in a row and is left alone for a moment";
    until("it is left alone", || async {
        let outcome = store.admit(asking("s:1")).await.map(|_| ());
        outcome == unavailable(left_alone)
    })
    .await;
    server.resume();
    until("it is asked again", || async {
        store.admit(asking("s:1")).await.is_ok()
    })
    .await;
    // One answer, and everyone is let through.
    for _ in 0..10 {
        let outcome = store.admit(asking("s:1")).await.map(|_| ());
        assert_ne!(outcome, unavailable(left_alone));
    }
}

#[tokio::test]
async fn health_says_what_is_wrong_also_when_calls_are_not_let_through() {
    let mut server = RedisServer::start();
    let store = impatient(server.url());
    create(&*store, "s:1", b"one").await;
    server.kill();
    until("it is left alone", || async {
        let outcome = store.admit(asking("s:1")).await.map(|_| ());
        outcome.is_err_and(|error| error.to_string().contains("left alone"))
    })
    .await;
    // Again and again the same words: whoever is told of changes is not told of these.
    for _ in 0..10 {
        let told = store.ping().await.unwrap_err().to_string();
        assert!(told.contains("no connection"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_does_not_hinder_the_start() {
    let mut server = RedisServer::start();
    server.kill();
    let store = redis(server.url());
    let outcome = store.ping().await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    assert!(is_unavailable(
        &store.commit(change().put("s:1", None, b"")).await
    ));
    server.restart();
    until("it works", || async { works(&*store).await }).await;
}

#[tokio::test]
async fn scripts_that_were_flushed_are_sent_again() {
    let server = RedisServer::start();
    let store = redis(server.url());
    for name in ["s:1", "s:2", "s:3"] {
        assert_eq!(server.command("SCRIPT FLUSH"), "+OK\r\n");
        create(&*store, name, b"").await;
    }
    let rates = ["l:1", "l:2"].map(|name| limit(name, Duration::from_secs(3600), 2));
    let ask = Admission {
        claim: vec![claim("c:1", "me")],
        owner_of: vec![key("c:1")],
        limit: rates.to_vec(),
        ..asking("s:1")
    };
    for _ in 0..2 {
        assert_eq!(server.command("SCRIPT FLUSH"), "+OK\r\n");
        let admitted = store.admit(ask.clone()).await.unwrap();
        assert_eq!(admitted.limits, [Limited::Admitted; 2]);
        assert_eq!(admitted.claims, [Claimed::Granted]);
        assert_eq!(admitted.owners, [Some(b"me".to_vec())]);
        assert!(admitted.records[0].is_some());
    }
    // What was sent again was counted once.
    assert!(
        !count_all(&*store, rates.to_vec())
            .await
            .contains(&Limited::Admitted)
    );
}

#[tokio::test]
async fn state_that_was_flushed_is_absent() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let version = create(&*store, "s:1", b"one").await;
    assert_eq!(server.command("FLUSHALL"), "+OK\r\n");
    assert_eq!(load(&*store, "s:1").await, None);
    let update = change().put("s:1", Some(version), b"two");
    assert_eq!(store.commit(update).await, Ok(Committed::Conflict));
}

#[tokio::test]
async fn a_wrong_password_is_told_in_plain_words_without_it() {
    let server = RedisServer::start_with(&["--requirepass", "right horse"]);
    let with = |password: Option<&str>| RedisOptions {
        password: password.map(|password| Secret::new(password.to_owned())),
        ..redis_options(server.url())
    };
    let ping = |password| {
        let store = Redis::connect(&with(password)).unwrap();
        async move { store.ping().await.map(|_| ()) }
    };
    assert_eq!(ping(Some("right horse")).await, Ok(()));
    let refused = "no connection: the server refused our user name or password";
    assert_eq!(ping(Some("wrong horse")).await, unavailable(refused));
    let missing = "no connection: the server asks for a password and none is configured";
    assert_eq!(ping(None).await, unavailable(missing));
    assert!(!format!("{:?}", with(Some("right horse"))).contains("horse"));
    let store = Redis::connect(&with(Some("right horse"))).unwrap();
    assert!(!format!("{store:?}").contains("horse"));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |url: &str, tls_ca: Option<&[u8]>| {
        let options = RedisOptions {
            tls_ca: tls_ca.map(<[u8]>::to_vec),
            ..redis_options(url.to_owned())
        };
        Redis::connect(&options).map(|_| ())
    };
    let bad_url = unavailable("the URL of the Redis server is not valid");
    for url in ["", "127.0.0.1", "http://127.0.0.1", "redis://"] {
        assert_eq!(refused(url, None), bad_url, "{url}");
    }
    let credentials = unavailable("credentials do not belong in the URL of the Redis server");
    for url in ["redis://:secret@127.0.0.1", "redis://user:secret@127.0.0.1"] {
        assert_eq!(refused(url, None), credentials);
    }
    let plain = "a certificate authority is given, but the URL asks for no TLS";
    assert_eq!(refused("redis://127.0.0.1", Some(b"")), unavailable(plain));
    let bad_pem = unavailable("the certificate authority of the Redis server is not valid PEM");
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    for pem in ["", "x", broken] {
        let outcome = refused("rediss://127.0.0.1", Some(pem.as_bytes()));
        assert_eq!(outcome, bad_pem, "{pem}");
    }
}

#[tokio::test]
async fn a_server_that_may_evict_is_not_well() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let store = redis(server.url());
    let told = store.ping().await.unwrap_err().to_string();
    assert!(
        told.contains("set its maxmemory-policy to noeviction"),
        "{told}"
    );
}

#[tokio::test]
async fn a_server_without_memory_changes_nothing() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let first = create(&*store, "s:1", b"one").await;
    let indexed = change().add("i:a", b"one");
    assert_eq!(store.commit(indexed).await, Ok(DONE));
    let rate = limit("l:1", Duration::from_secs(3600), 1);
    assert_eq!(server.command("CONFIG SET maxmemory 1"), "+OK\r\n");
    let full = "the server is out of memory: raise its maxmemory";
    assert_eq!(store.ping().await.map(|_| ()), unavailable(full));
    let update = change()
        .delete("s:1", first)
        .put("s:2", None, b"")
        .event(b"told");
    let update = update.claim(claim("c:1", "me"));
    let update = update.add("i:a", b"two").remove("i:a", b"one");
    assert_eq!(
        store.commit(update.clone()).await.map(|_| ()),
        unavailable(full)
    );
    let ask = Admission {
        claim: vec![claim("c:1", "me")],
        ..asking("s:1")
    };
    assert_eq!(store.admit(ask).await.map(|_| ()), unavailable(full));
    let counting = Admission {
        limit: vec![rate.clone()],
        ..asking("s:1")
    };
    assert_eq!(store.admit(counting).await.map(|_| ()), unavailable(full));
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
    assert_eq!(server.command("CONFIG SET maxmemory 0"), "+OK\r\n");
    assert_eq!(members(&*store, "i:a").await, [b"one"]);
    assert_eq!(count(&*store, &rate).await, Limited::Admitted);
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
    assert!(events(&*store).await.is_empty());
    assert_eq!(make(&*store, claim("c:1", "you")).await, Claimed::Granted);
    assert_eq!(
        store.commit(update).await,
        Ok(Committed::ClaimTaken { index: 0 })
    );
}

#[tokio::test]
async fn an_outbox_that_is_none_fails_the_whole_commit() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let first = create(&*store, "s:1", b"one").await;
    assert_eq!(server.command("SET {b1}:o x"), "+OK\r\n");
    let update = change().put("s:1", Some(first), b"two").event(b"told");
    let outcome = store.commit(update).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    assert_eq!(load(&*store, "s:1").await.unwrap().version, first);
}

#[tokio::test]
async fn an_index_that_is_none_fails_the_whole_commit() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let first = create(&*store, "s:1", b"one").await;
    assert_eq!(server.command("SET {b1}:i:b x"), "+OK\r\n");
    // The member of the sound index and the event would be written before the unsound one is met.
    for update in [change().add("i:b", b"m"), change().remove("i:b", b"m")] {
        let update = update.add("i:a", b"m").put("s:1", Some(first), b"two");
        let update = update.claim(claim("c:1", "me")).event(b"told");
        for index in [
            update.index.clone(),
            update.index.iter().rev().cloned().collect(),
        ] {
            let update = ChangeSet {
                index,
                ..update.clone()
            };
            let outcome = store.commit(update).await.map(|_| ());
            let foreign = "a key holds something this program did not write";
            assert_eq!(outcome, unavailable(foreign));
        }
    }
    assert_eq!(load(&*store, "s:1").await.unwrap().version, first);
    assert!(members(&*store, "i:a").await.is_empty());
    assert!(events(&*store).await.is_empty());
    assert_eq!(owner(&*store, "c:1").await, None);
    let outcome = store.page(vec![range("i:b", b"", 1)]).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn an_index_without_members_leaves_no_key() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let made = change().add("i:a", b"one").add("i:a", b"two");
    assert_eq!(store.commit(made).await, Ok(DONE));
    assert_eq!(server.command("ZCARD {b1}:i:a"), ":2\r\n");
    let gone = change().remove("i:a", b"one").remove("i:a", b"two");
    assert_eq!(store.commit(gone).await, Ok(DONE));
    assert_eq!(server.command("EXISTS {b1}:i:a"), ":0\r\n");
}

/// The second line of the server's answer to `GET`.
fn stored_number(server: &RedisServer, name: &str) -> u64 {
    let answer = server.command(&format!("GET {{b1}}:{name}"));
    answer.lines().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_server_counts_every_microsecond_of_a_rate() {
    let server = RedisServer::start();
    let store = redis(server.url());
    // An odd number of microseconds, and so many that a number of Lua printed in short loses them.
    let every = Duration::from_micros(3_600_000_001);
    let rate = limit("l:1", every, 4);
    assert_eq!(count(&*store, &rate).await, Limited::Admitted);
    let first = stored_number(&server, "l:1");
    for more in 1..4 {
        assert_eq!(count(&*store, &rate).await, Limited::Admitted);
        assert_eq!(stored_number(&server, "l:1"), first + more * 3_600_000_001);
    }
    let refused = count(&*store, &rate).await;
    assert!(matches!(refused, Limited::Refused { retry_after } if retry_after <= every));
    assert_eq!(stored_number(&server, "l:1"), first + 3 * 3_600_000_001);
    // It goes when it is idle, and not before.
    let expires = server.command("PEXPIRETIME {b1}:l:1");
    let expires: u64 = expires.trim_start_matches(':').trim().parse().unwrap();
    assert!(expires * 1000 + 1000 >= first + 3 * 3_600_000_001);
}

#[tokio::test]
async fn a_rate_counted_under_a_clock_that_went_back_refuses_for_an_interval_at_most() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let every = Duration::from_secs(3600);
    let rate = limit("l:1", every, 2);
    let future = 8_000_000_000_000_000_u64;
    assert_eq!(
        server.command(&format!("SET {{b1}}:l:1 {future}")),
        "+OK\r\n"
    );
    let refused = count(&*store, &rate).await;
    assert_eq!(refused, Limited::Refused { retry_after: every });
    // So that the interval passes, although the refused call was not counted.
    let kept = stored_number(&server, "l:1");
    assert!(kept < future);
    let refused = count(&*store, &rate).await;
    assert!(matches!(refused, Limited::Refused { retry_after } if retry_after < every));
    assert_eq!(stored_number(&server, "l:1"), kept);
}

#[tokio::test]
async fn a_limit_that_is_none_is_unavailable() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let rates = vec![limit("l:1", Duration::from_secs(3600), 2)];
    for write in ["SET {b1}:l:1 x", "SADD {b1}:l:1 x"] {
        server.command("DEL {b1}:l:1");
        assert!(!server.command(write).starts_with('-'));
        let ask = Admission {
            limit: rates.clone(),
            ..asking("s:1")
        };
        let outcome = store.admit(ask.clone()).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
        // The claim is made, whatever became of the rest.
        let claim = vec![claim("c:1", "me")];
        let outcome = store.admit(Admission { claim, ..ask }).await;
        assert!(is_unknown(&outcome), "{outcome:?}");
    }
}

#[tokio::test]
async fn records_lie_in_the_server_under_readable_names() {
    let server = RedisServer::start();
    let store = redis(server.url());
    let put = ChangeSet {
        operation: OperationId(*b"0123456789abcdef"),
        ..change()
    };
    assert_eq!(store.commit(put.put("s:1", None, b"value")).await, Ok(DONE));
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
    let record = "$21\r\n0123456789abcdefvalue\r\n";
    assert_eq!(server.command("GET {b1}:s:1"), record);
    assert_eq!(server.command("GET {b1}:c:1"), "$2\r\nme\r\n");
    assert_eq!(server.command("TTL {b1}:s:1"), ":-1\r\n");
}

#[tokio::test]
async fn replicas_that_acknowledge_are_counted_and_others_are_not() {
    acknowledged(&program()).await;
}

#[tokio::test]
async fn replicas_of_valkey_that_acknowledge_are_counted_and_others_are_not() {
    acknowledged(&tool("valkey-server")).await;
}

#[tokio::test]
async fn replicas_of_a_newer_redis_that_acknowledge_are_counted_and_others_are_not() {
    acknowledged(&tool("redis-server-8")).await;
}

async fn acknowledged(program: &Path) {
    let primary = RedisServer::start_program(program, &[]);
    let port = primary.port().to_string();
    let follows = ["--replicaof", &format!("127.0.0.1 {port}")];
    let replica = RedisServer::start_program(program, &follows);
    let store = redis(primary.url());
    until("the replica follows", || async {
        let info = primary.command("INFO replication");
        info.contains("connected_slaves:1") && info.contains("state=online")
    })
    .await;
    let revocation = replicated("s:1", Duration::from_secs(10));
    let acked = Committed::Done { replicas_acked: 1 };
    assert_eq!(store.commit(revocation.clone()).await, Ok(acked.clone()));

    let on_replica = redis(replica.url());
    assert_eq!(value(&*on_replica, "s:1").await, Some(b"one".to_vec()));
    let read_only = READ_ONLY;
    assert_eq!(on_replica.ping().await.map(|_| ()), unavailable(read_only));
    let write = on_replica.commit(change().put("s:9", None, b"")).await;
    assert_eq!(write.map(|_| ()), unavailable(read_only));

    replica.pause();
    let alone = replicated("s:2", Duration::from_millis(50));
    assert_eq!(store.commit(alone.clone()).await, Ok(DONE));
    assert_eq!(store.commit(alone.clone()).await, Ok(DONE));
    // Sent again over a connection that wrote nothing yet; its version shows of one that it was done,
    // its mark of the other.
    let before = redis(primary.url());
    let version = create(&*before, "s:3", b"one").await;
    let durability = alone.durability;
    let written_over = ChangeSet {
        durability,
        ..change().put("s:3", Some(version), b"two")
    };
    assert_eq!(before.commit(written_over.clone()).await, Ok(DONE));
    for done in [&alone, &written_over] {
        let another = redis(primary.url());
        assert_eq!(another.commit(done.clone()).await, Ok(DONE));
    }
    replica.resume();
    until("the replica has it too", || async {
        store.commit(alone.clone()).await == Ok(acked.clone())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_for_the_primary() {
    let primary = RedisServer::start();
    let port = primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let proxy = Proxy::to(replica.port()).await;
    let store = redis(proxy.url());
    until("the replica follows", || async {
        replica
            .command("INFO replication")
            .contains("master_link_status:up")
    })
    .await;
    let creation = change().put("s:1", None, b"one");
    let refused = store.commit(creation.clone()).await.map(|_| ());
    assert_eq!(refused, unavailable(READ_ONLY));
    proxy.redirect(primary.port());
    until("the primary is found", || async {
        store.commit(creation.clone()).await == Ok(DONE)
    })
    .await;
}

#[tokio::test]
async fn no_connection_stays_with_a_server_that_became_a_replica() {
    let old = RedisServer::start();
    let new = RedisServer::start();
    let proxy = Proxy::to(old.port()).await;
    let store = redis_within(proxy.url(), Duration::from_secs(5));
    let first = create(&*store, "s:1", b"one").await;
    // The connection for what is asked a second time is made, to the old one as well.
    proxy.silence();
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
    until("both connections work", || async { works(&*store).await }).await;
    assert_eq!(redis(new.url()).ping().await.map(|_| ()), Ok(()));
    assert!(old.command("REPLICAOF 127.0.0.1 1").starts_with("+OK"));
    proxy.redirect(new.port());
    let update = change().put("s:1", Some(first), b"two");
    until("the new one answers", || async {
        store.commit(update.clone()).await == Ok(Committed::Conflict)
    })
    .await;
    assert!(
        new.command("SET {b1}:s:1 0123456789abcdeftwo")
            .starts_with("+OK")
    );
    assert_eq!(value(&*store, "s:1").await, Some(b"two".to_vec()));
    until(
        "nobody but who asks is connected to the old one",
        || async { old.command("CLIENT LIST").matches("cmd=").count() == 1 },
    )
    .await;
}

/// Nobody answers for long, and every new connection is as mute: those that were given up are closed.
#[tokio::test]
async fn connections_that_are_given_up_are_closed() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let options = RedisOptions {
        response_timeout: Duration::from_millis(20),
        connect_timeout: Duration::from_millis(20),
        ..redis_options(proxy.url())
    };
    let store = Redis::connect(&options).unwrap();
    until("it is connected", || async { works(&store).await }).await;
    // A busy machine may have no connection in a round.
    for round in 0..400 {
        if proxy.opened() > 20 {
            break;
        }
        // Now no handshake is answered, now no call.
        if round % 2 == 0 {
            proxy.swallow_answers(true);
        } else {
            proxy.swallow_answers(false);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = store.admit(asking("s:1")).await;
            proxy.silence();
        }
        for _ in 0..10 {
            let _ = store.admit(asking("s:1")).await;
            let _ = store.commit(change().put("s:1", None, b"")).await;
        }
    }
    assert!(proxy.opened() > 20, "{}", proxy.opened());
    until("no more than one for each purpose is open", || async {
        proxy.open() <= 3
    })
    .await;
}

#[tokio::test]
async fn over_tls_only_the_given_authority_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let (args, authority) = redis_tls(dir.path());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = RedisServer::start_with(&args);
    let trusting = |authority: &str| {
        let options = RedisOptions {
            tls_ca: Some(authority.as_bytes().to_vec()),
            ..redis_options(server.url())
        };
        Redis::connect(&options).unwrap()
    };
    let store = trusting(&authority);
    assert!(works(&store).await);
    create(&store, "s:1", b"one").await;
    let (other, ..) = certificates();
    let told = trusting(&other).ping().await.map(|_| ());
    let wrong = "no connection: the server's certificate is not from an authority we trust: look at \
                 tls_ca";
    assert_eq!(told, unavailable(wrong));
}
