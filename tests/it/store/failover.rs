//! The shared store while its servers replace each other: under Sentinels, and as a cluster.

use std::time::Instant;

use super::faults::{is_unavailable, is_unknown};
use super::*;
use crate::support::certificates::redis_tls;
use crate::support::proxy::Proxy;
use crate::support::redis_cluster::Cluster;
use crate::support::redis_sentinels::{PRIMARY, Sentinels};
use crate::support::redis_server::RedisServer;
use assay::policy::CounterOrder;
use assay::secret::Secret;
use assay::store::{CounterUse, Windowed};
use assay::time::monotonic_now;

/// Waited for in full only where a replica is missing.
const REPLICATED: Duration = Duration::from_secs(5);

fn sentinel_servers(urls: Vec<String>) -> Servers {
    Servers::Sentinels {
        urls,
        master: PRIMARY.to_owned(),
        username: None,
        password: None,
    }
}

fn connect(servers: Servers) -> Arc<dyn Store> {
    let options = RedisOptions {
        response_timeout: Duration::from_secs(5),
        ..RedisOptions::new(servers)
    };
    Arc::new(Redis::connect(&options).unwrap())
}

fn under(set: &Sentinels) -> Arc<dyn Store> {
    connect(sentinel_servers(set.urls()))
}

fn over(cluster: &Cluster) -> Arc<dyn Store> {
    connect(Servers::Cluster(cluster.urls()))
}

fn in_bucket(number: u16, replicas: u32) -> ChangeSet {
    let durability = Durability::Replicated {
        replicas,
        within: REPLICATED,
    };
    ChangeSet {
        bucket: bucket(number),
        durability,
        ..change()
    }
}

fn key_in(number: u16, name: &str) -> Key {
    Key::new(bucket(number), name.to_owned())
}

fn loading(number: u16) -> Admission {
    Admission {
        load: vec![key_in(number, "s:1")],
        ..Admission::default()
    }
}

/// Writes that are durable before anything is killed.
const DURABLE_BEFORE: usize = 50;

/// What became of writes one after another while servers were replaced.
#[derive(Default)]
struct History {
    /// Answered as on so many replicas as were wanted.
    durable: Vec<String>,
    /// Answered as not done.
    not_done: Vec<String>,
}

impl History {
    /// Writes records until one is done and durable again, having failed in between.
    async fn of(store: &dyn Store, number: u16, replicas: u32, kill: impl FnOnce()) -> Self {
        let mut history = Self::default();
        let mut write = 0;
        let mut killed_at = None;
        let mut kill = Some(kill);
        let mut failed = false;
        for _ in 0..20_000 {
            write += 1;
            let name = format!("s:{write}");
            let wanted = if killed_at.is_none() {
                replicas
            } else {
                replicas - 1
            };
            let commit = in_bucket(number, wanted).put(&name, None, name.as_bytes());
            match store.commit(commit).await {
                Ok(Committed::Done { replicas_acked }) => {
                    if replicas_acked >= wanted {
                        history.durable.push(name);
                    }
                    if let Some(at) = killed_at.filter(|_| failed) {
                        let at: Instant = at;
                        println!("writes again {:?} after the kill", at.elapsed());
                        return history;
                    }
                }
                Ok(other) => panic!("{other:?}"),
                Err(StoreError::Unavailable(_)) => {
                    failed |= killed_at.is_some();
                    history.not_done.push(name);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(StoreError::OutcomeUnknown(_)) => failed |= killed_at.is_some(),
                Err(StoreError::Invalid(why)) => panic!("{why}"),
            }
            if history.durable.len() >= DURABLE_BEFORE
                && let Some(kill) = kill.take()
            {
                kill();
                killed_at = Some(monotonic_now());
            }
        }
        panic!("it never works again");
    }

    async fn is_true(&self, store: &dyn Store, number: u16) {
        assert!(self.durable.len() >= DURABLE_BEFORE);
        for (names, is_there) in [(&self.durable, true), (&self.not_done, false)] {
            for name in names {
                let ask = Admission {
                    load: vec![key_in(number, name)],
                    ..Admission::default()
                };
                let found = store.admit(ask).await.unwrap().records.remove(0);
                assert_eq!(found.is_some(), is_there, "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_under_sentinels_is_followed_and_no_answer_was_wrong() {
    let mut set = Sentinels::start();
    let store = under(&set);
    let before = store.ping().await.unwrap();
    assert_eq!(store.ping().await, Ok(before.clone()));
    // Nobody has told the replicas of any script.
    for number in [1, 2] {
        let memory = set.node(number).command("INFO memory");
        assert!(memory.contains("number_of_cached_scripts:0"), "{memory}");
    }
    let history = History::of(&*store, 1, 2, || set.kill(0)).await;
    history.is_true(&*store, 1).await;
    let rate = limit("l:1", Duration::from_secs(3600), 1);
    assert_eq!(count(&*store, &rate).await, Limited::Admitted);
    let after = store.ping().await.unwrap();
    assert_ne!(before, after);
    set.restart(0);
    assert_eq!(store.ping().await, Ok(after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_sentinels_replace_in_good_order_is_followed() {
    let set = Sentinels::start();
    let store = under(&set);
    let made = in_bucket(1, 2).put("s:1", None, b"one");
    let acked = Committed::Done { replicas_acked: 2 };
    assert_eq!(store.commit(made).await, Ok(acked));
    let primary = set.fail_over();
    until("it writes to the new primary", || async {
        let made = change().put("s:2", None, b"two");
        store.commit(made).await == Ok(DONE)
    })
    .await;
    let direct = redis(set.node(primary).url());
    assert_eq!(value(&*direct, "s:1").await, Some(b"one".to_vec()));
    assert_eq!(value(&*direct, "s:2").await, Some(b"two".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_still_there_is_left_when_the_sentinels_name_another() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let sentinel = RedisServer::start_sentinel(&[]);
    let monitor = |server: &RedisServer| {
        let port = server.port();
        let line = format!("SENTINEL MONITOR {PRIMARY} 127.0.0.1 {port} 1");
        assert_eq!(sentinel.command(&line), "+OK\r\n");
    };
    let store = connect(sentinel_servers(vec![sentinel.url()]));
    let nobody = store.ping().await.unwrap_err().to_string();
    assert!(
        nobody.contains("know no primary of this name: look at \"master\""),
        "{nobody}"
    );
    monitor(&old);
    until("it works", || async { works(&*store).await }).await;
    create(&*store, "s:1", b"one").await;
    assert!(old.command("GET {b1}:s:1").contains("one"));
    // Nothing breaks, and the old one would take every write.
    sentinel.command(&format!("SENTINEL REMOVE {PRIMARY}"));
    monitor(&new);
    until("the new one is used", || async {
        value(&*store, "s:1").await.is_none()
    })
    .await;
    create(&*store, "s:2", b"two").await;
    assert!(new.command("GET {b1}:s:2").contains("two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_was_left_behind_leads_nobody_back() {
    let set = Sentinels::start();
    // One that knows of no failover, and a server that takes every write.
    let (old, behind) = (RedisServer::start(), RedisServer::start_sentinel(&[]));
    let port = old.port();
    let line = format!("SENTINEL MONITOR {PRIMARY} 127.0.0.1 {port} 1");
    assert_eq!(behind.command(&line), "+OK\r\n");
    let new = set.fail_over();
    let urls = [set.urls(), vec![behind.url()]].concat();
    let store = connect(sentinel_servers(urls));
    until("the new one is used", || async { works(&*store).await }).await;
    create(&*store, "s:1", b"one").await;
    // Now the one that was left behind is the only one to be heard, and a connection is needed.
    for number in 0..3 {
        set.sentinel(number).pause();
    }
    set.node(new).command("CLIENT KILL TYPE normal");
    until("the connection is gone", || async {
        let outcome = store.commit(change().put("s:2", None, b"two")).await;
        matches!(outcome, Err(StoreError::Unavailable(why)) if why.contains("an earlier primary"))
    })
    .await;
    for number in 0..3 {
        set.sentinel(number).resume();
    }
    until("it is found again", || async { works(&*store).await }).await;
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
    assert_eq!(old.command("DBSIZE"), ":0\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_sentinels_is_told_in_plain_words() {
    let mut set = Sentinels::start();
    let told = |urls: Vec<String>| async move {
        let store = connect(sentinel_servers(urls));
        store.ping().await.unwrap_err().to_string()
    };
    let no_sentinel = told(vec![set.node(0).url()]).await;
    let why = "a server that is named as a Sentinel is none: look at \"sentinels\"";
    assert!(no_sentinel.contains(why), "{no_sentinel}");
    // One of several is enough, and the server that is none does no harm.
    let urls = vec![set.node(0).url(), set.sentinel(1).url()];
    assert!(works(&*connect(sentinel_servers(urls))).await);
    let as_server = redis(set.sentinel(0).url())
        .ping()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        as_server.contains("is a Sentinel: name it in \"sentinels\""),
        "{as_server}"
    );
    let store = under(&set);
    assert!(works(&*store).await);
    for number in [0, 1] {
        set.sentinel_mut(number).kill();
    }
    // Without the others nothing is lacking, until somebody has to take the primary's place.
    assert!(works(&*store).await);
    set.kill(0);
    until("the quorum is missed", || async {
        let why = store.ping().await.unwrap_err().to_string();
        why.contains("the Sentinels have no quorum to replace it")
    })
    .await;
    set.sentinel_mut(2).kill();
    until("the Sentinels are missed", || async {
        let why = store.ping().await.unwrap_err().to_string();
        why.contains("no Sentinel answers")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_many_buckets_is_put_together_from_all_nodes() {
    let cluster = Cluster::start(0);
    let store = over(&cluster);
    let numbers: Vec<u16> = (0..64).map(|n| n * 16).collect();
    let mut nodes: Vec<_> = numbers.iter().map(|n| cluster.primary_of(*n)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes, [Some(0), Some(1), Some(2)]);
    for number in &numbers {
        let made = ChangeSet {
            bucket: bucket(*number),
            ..change()
        };
        let made = made
            .put("s:1", None, &number.to_be_bytes())
            .add("i:a", &number.to_be_bytes())
            .event(&number.to_be_bytes());
        assert_eq!(store.commit(made).await, Ok(DONE));
    }
    let claim_in = |number: &u16| Claim {
        key: key_in(*number, "c:1"),
        owner: number.to_be_bytes().to_vec(),
        live_for: None,
    };
    let limit_in = |number: &u16| Limit {
        key: key_in(*number, "l:1"),
        every: Duration::from_secs(3600),
        burst: 1,
    };
    let admitted = store.admit(Admission {
        load: numbers[..16].iter().map(|n| key_in(*n, "s:1")).collect(),
        claim: numbers[..4].iter().map(claim_in).collect(),
        owner_of: numbers[..4].iter().map(|n| key_in(*n, "c:1")).collect(),
        limit: numbers[..4].iter().map(limit_in).collect(),
        window: Vec::new(),
    });
    let admitted = admitted.await.unwrap();
    let values: Vec<_> = admitted
        .records
        .into_iter()
        .map(|r| r.unwrap().value)
        .collect();
    let wanted: Vec<_> = numbers.iter().map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(values, wanted[..16]);
    assert_eq!(admitted.claims, vec![Claimed::Granted; 4]);
    let owners: Vec<_> = admitted.owners.into_iter().flatten().collect();
    assert_eq!(owners, wanted[..4]);
    assert_eq!(admitted.limits, [Limited::Admitted; 4]);
    let index = numbers.iter().map(|n| IndexRange {
        key: key_in(*n, "i:a"),
        after: Vec::new(),
        limit: 2,
    });
    let pages = store.page(index.collect()).await.unwrap();
    assert_eq!(pages.concat(), wanted);
    let outboxes = numbers.iter().map(|n| OutboxRange {
        bucket: bucket(*n),
        after: Cursor::default(),
        limit: 2,
    });
    let events = store.follow(outboxes.collect()).await.unwrap();
    let events: Vec<_> = events
        .concat()
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    assert_eq!(events, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_of_a_cluster_is_followed_and_the_others_work_on() {
    let mut cluster = Cluster::start(1);
    let store = over(&cluster);
    let before = store.ping().await.unwrap();
    assert_eq!(store.ping().await, Ok(before.clone()));
    let first = cluster.primary_of(1).unwrap();
    let elsewhere = (0..100)
        .find(|n| cluster.primary_of(*n) != Some(first))
        .unwrap();
    // Its replica has to have every write: one replica, waited for until the primary is gone.
    let history = History::of(&*store, 1, 1, || cluster.kill(first)).await;
    history.is_true(&*store, 1).await;
    let other = in_bucket(elsewhere, 1).put("s:1", None, b"one");
    let acked = Committed::Done { replicas_acked: 1 };
    assert_eq!(store.commit(other).await, Ok(acked));
    until("all of it is well", || async { works(&*store).await }).await;
    assert_ne!(store.ping().await, Ok(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_followed_and_what_is_sent_after_it_is_done_once() {
    let cluster = Cluster::start(0);
    let store = over(&cluster);
    let from = cluster.primary_of(1).unwrap();
    let to = (from + 1) % 3;
    let (slot, port) = (cluster.slot_of(1), cluster.node(to).port());
    create(&*store, "s:1", b"one").await;
    create(&*store, "s:2", b"two").await;
    assert_eq!(make(&*store, claim("c:1", "me")).await, Claimed::Granted);
    let order = |node: usize, line: String| {
        let answer = cluster.node(node).command(&line);
        assert!(answer.starts_with("+OK"), "{line}: {answer}");
    };
    order(
        to,
        format!("CLUSTER SETSLOT {slot} IMPORTING {}", cluster.id(from)),
    );
    order(
        from,
        format!("CLUSTER SETSLOT {slot} MIGRATING {}", cluster.id(to)),
    );
    order(from, format!("MIGRATE 127.0.0.1 {port} {{b1}}:s:1 0 5000"));
    // One has moved and one has not, and what is new is made there.
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
    assert_eq!(value(&*store, "s:2").await, Some(b"two".to_vec()));
    assert_eq!(make(&*store, claim("c:1", "you")).await, taken_by("me"));
    assert_eq!(make(&*store, claim("c:2", "me")).await, Claimed::Granted);
    assert_eq!(make(&*store, claim("c:2", "you")).await, taken_by("me"));
    let rate = limit("l:1", Duration::from_secs(3600), 2);
    assert_eq!(count(&*store, &rate).await, Limited::Admitted);
    assert_eq!(count(&*store, &rate).await, Limited::Admitted);
    assert_ne!(count(&*store, &rate).await, Limited::Admitted);
    // A commit needs several keys at one place.
    let update = change().put("s:3", None, b"three").event(b"told");
    let moving = store.commit(update.clone()).await.unwrap_err().to_string();
    assert!(moving.contains("the slot is just moving"), "{moving}");
    for name in ["s:2", "c:1", "i:none"] {
        let line = format!("MIGRATE 127.0.0.1 {port} {{b1}}:{name} 0 5000");
        assert!(cluster.node(from).command(&line).starts_with('+'));
    }
    for node in [to, from, (to + 1) % 3] {
        order(
            node,
            format!("CLUSTER SETSLOT {slot} NODE {}", cluster.id(to)),
        );
    }
    // The store does not know yet.
    assert_eq!(store.commit(update.clone()).await, Ok(DONE));
    assert_eq!(store.commit(update).await, Ok(DONE));
    assert_eq!(events(&*store).await, [b"told"]);
    for name in ["s:1", "s:2", "s:3"] {
        assert!(value(&*store, name).await.is_some(), "{name}");
    }
    let replicated = in_bucket(1, 1).put("s:4", None, b"four");
    assert_eq!(store.commit(replicated).await, Ok(DONE));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_what_was_not_answered_is_not_sent_again() {
    let cluster = Cluster::start(0);
    let mut proxies = Vec::new();
    for node in cluster.nodes() {
        let proxy = Proxy::to(node.port()).await;
        let announce = format!("CONFIG SET cluster-announce-port {}", proxy.port());
        assert_eq!(node.command(&announce), "+OK\r\n");
        proxies.push(proxy);
    }
    let has = cluster.primary_of(1).unwrap();
    until("everyone knows the way", || async {
        cluster.nodes().iter().all(|node| {
            let slots = node.command("CLUSTER SLOTS");
            let mut ports = proxies.iter().map(Proxy::port);
            ports.all(|port| slots.contains(&format!(":{port}\r\n")))
        })
    })
    .await;
    // They meet again at the new ports, and may lose sight of each other for a moment.
    cluster.wait_until_well();
    let options = RedisOptions {
        response_timeout: Duration::from_secs(2),
        ..RedisOptions::new(Servers::Cluster(proxies.iter().map(Proxy::url).collect()))
    };
    let store: Arc<dyn Store> = Arc::new(Redis::connect(&options).unwrap());
    let rate = limit("l:1", Duration::from_secs(3600), 100);
    let counting = Admission {
        limit: vec![rate],
        ..Admission::default()
    };
    let made = change().put("s:1", None, b"one");
    until("both scripts are known", || async {
        store.commit(made.clone()).await.is_ok() && store.admit(counting.clone()).await.is_ok()
    })
    .await;
    let direct = cluster.node(has);
    assert_eq!(direct.command("CONFIG RESETSTAT"), "+OK\r\n");
    proxies[has].swallow_answers(true);
    assert!(is_unavailable(&store.admit(counting).await));
    let update = change().put("s:2", None, b"two");
    assert!(is_unknown(&store.commit(update.clone()).await));
    let claiming = Admission {
        claim: vec![claim("c:1", "me")],
        ..Admission::default()
    };
    assert!(is_unknown(&store.admit(claiming).await));
    let stats = direct.command("INFO commandstats");
    assert!(stats.contains("cmdstat_evalsha:calls=2,"), "{stats}");
    // Another node answers all the while.
    let other = (0..100)
        .find(|n| cluster.primary_of(*n) != Some(has))
        .unwrap();
    assert!(store.admit(loading(other)).await.is_ok());
    // Claims on both: the one that was answered does not hide the other.
    let both = Admission {
        claim: [1, other]
            .map(|number| Claim {
                key: key_in(number, "c:2"),
                owner: b"me".to_vec(),
                live_for: None,
            })
            .to_vec(),
        ..Admission::default()
    };
    assert!(is_unknown(&store.admit(both).await));
    proxies[has].refuse(true);
    proxies[has].cut();
    parts_of_an_admission_are_told_apart(&*store, other).await;
    proxies[has].refuse(false);
    proxies[has].swallow_answers(false);
    until("the commit is found done", || async {
        store.commit(update.clone()).await == Ok(DONE)
    })
    .await;
}

/// The node of bucket 1 is not reached, and that of the other bucket is: whether something happened
/// depends on what each was asked for.
async fn parts_of_an_admission_are_told_apart(store: &dyn Store, other: u16) {
    let claiming = Admission {
        claim: vec![claim("c:3", "me")],
        ..Admission::default()
    };
    until("nothing is sent", || async {
        is_unavailable(&store.admit(claiming.clone()).await)
    })
    .await;
    let using = |number, operation| CounterUse {
        key: key_in(number, "w:1"),
        counter: u32::from(operation),
        order: CounterOrder::Window,
        operation: OperationId([operation; 16]),
        live_for: None,
    };
    let used_there = |operation| Admission {
        window: vec![using(other, operation)],
        ..Admission::default()
    };
    // A script that is not known yet is sent again only where all the rest went well.
    let used = store.admit(used_there(1)).await.unwrap().windows;
    assert_eq!(used, [Windowed::Admitted]);
    let claimed_here_used_there = Admission {
        window: vec![using(other, 2)],
        ..claiming.clone()
    };
    let outcome = store.admit(claimed_here_used_there).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    let other_use = CounterUse {
        operation: OperationId([3; 16]),
        ..using(other, 2)
    };
    let again = Admission {
        window: vec![other_use],
        ..Admission::default()
    };
    let used = store.admit(again).await.unwrap().windows;
    assert_eq!(used, [Windowed::Replayed], "it was used");
    let used_here_loaded_there = Admission {
        window: vec![using(1, 1)],
        ..loading(other)
    };
    let outcome = store.admit(used_here_loaded_there).await;
    assert!(is_unavailable(&outcome), "nothing happened: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_cluster_is_told_in_plain_words() {
    let mut cluster = Cluster::start(0);
    let store = over(&cluster);
    assert!(works(&*store).await);
    let alone = redis(cluster.node(0).url())
        .ping()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        alone.contains("part of a cluster: name its nodes in \"cluster\""),
        "{alone}"
    );
    let single = RedisServer::start();
    let none = connect(Servers::Cluster(vec![single.url()])).ping().await;
    let none = none.unwrap_err().to_string();
    assert!(
        none.contains("no node of a cluster: name it in \"url\""),
        "{none}"
    );
    let lost = cluster.primary_of(1).unwrap();
    cluster.kill(lost);
    until("the cluster is down", || async {
        let why = store.ping().await.unwrap_err().to_string();
        why.contains("the cluster is down: it lacks primaries or slots")
    })
    .await;
    let why = store.commit(change().put("s:1", None, b"")).await;
    assert!(is_unavailable(&why), "{why:?}");
    cluster.restart(lost);
    until("it works again", || async { works(&*store).await }).await;
}

/// The user of the documentation, with this password.
fn user(password: &str) -> String {
    let page = include_str!("../../../docs/store.md");
    let line = page
        .lines()
        .find(|line| line.starts_with("user assay "))
        .unwrap();
    line.replace("PASSWORD", password)
}

/// A call of a server with TLS for everything and our user.
fn guarded(tls: &[String], password: &str) -> Vec<String> {
    let mut args = tls.to_vec();
    args.extend(["--tls-replication", "yes"].map(ToOwned::to_owned));
    args.extend(user(password).split(' ').enumerate().map(|(place, word)| {
        if place == 0 {
            format!("--{word}")
        } else {
            word.to_owned()
        }
    }));
    args
}

fn known(servers: Servers, authority: &str) -> Arc<dyn Store> {
    let options = RedisOptions {
        username: Some("assay".to_owned()),
        password: Some(Secret::new("horse".to_owned())),
        tls_ca: Some(authority.as_bytes().to_vec()),
        ..RedisOptions::new(servers)
    };
    Arc::new(Redis::connect(&options).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_servers_are_reached_by_tls_as_users() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, authority) = redis_tls(dir.path());
    let nodes = guarded(&tls, "horse");
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let line = include_str!("../../../docs/store.md")
        .lines()
        .find(|line| line.starts_with("user assay-sentinel "))
        .unwrap()
        .replace("PASSWORD", "cow");
    let sentinels: Vec<String> = tls
        .iter()
        .cloned()
        .chain(["--tls-replication", "yes", "--user"].map(ToOwned::to_owned))
        .chain(line.split(' ').skip(1).map(ToOwned::to_owned))
        .collect();
    let sentinels: Vec<&str> = sentinels.iter().map(String::as_str).collect();
    let mut set = Sentinels::start_with(&nodes, &sentinels);
    assert!(set.urls().iter().all(|url| url.starts_with("rediss://")));
    let servers = |password: &str| Servers::Sentinels {
        urls: set.urls(),
        master: PRIMARY.to_owned(),
        username: Some("assay-sentinel".to_owned()),
        password: Some(Secret::new(password.to_owned())),
    };
    let refused = known(servers("pig"), &authority)
        .ping()
        .await
        .unwrap_err()
        .to_string();
    let why = "no Sentinel answers: no connection: the server refused our user name or password";
    assert!(refused.contains(why), "{refused}");
    let store = known(servers("cow"), &authority);
    let made = in_bucket(1, 2).put("s:1", None, b"one");
    let acked = Committed::Done { replicas_acked: 2 };
    assert_eq!(store.commit(made).await, Ok(acked));
    set.kill(0);
    until("it works again", || async { works(&*store).await }).await;
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_reached_by_tls_as_a_user() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, authority) = redis_tls(dir.path());
    let args = guarded(&tls, "horse");
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--tls-cluster", "yes"]);
    let mut cluster = Cluster::start_with(1, &args);
    let store = known(Servers::Cluster(cluster.urls()), &authority);
    assert!(works(&*store).await);
    let made = in_bucket(1, 1).put("s:1", None, b"one");
    let acked = Committed::Done { replicas_acked: 1 };
    assert_eq!(store.commit(made).await, Ok(acked));
    let first = cluster.primary_of(1).unwrap();
    cluster.kill(first);
    until("it works again", || async { works(&*store).await }).await;
    assert_eq!(value(&*store, "s:1").await, Some(b"one".to_vec()));
}

#[test]
fn the_servers_of_the_tests_can_be_replaced_in_good_order() {
    let mut cluster = Cluster::start(1);
    let first = cluster.primary_of(7).unwrap();
    cluster.kill(first);
    let second = cluster.wait_for_another_than(first, 7);
    assert_eq!(second, first + 3);
    cluster.restart(first);
    cluster.wait_until_well();
    cluster.promote(first);
    assert_eq!(cluster.wait_for_another_than(second, 7), first);
}
