//! What is wrong with a server, in plain words; and the least that its user has to be allowed.

use super::faults::{is_unknown, unavailable};
use super::*;
use crate::support::certificates::redis_tls;
use crate::support::redis_server::{RedisServer, tool};
use assay::policy::CounterOrder;
use assay::secret::Secret;
use assay::store::CounterUse;
use assay::time::Timestamp;

/// The user of the documentation.
fn documented_user() -> &'static str {
    let mut lines = include_str!("../../../docs/store.md").lines();
    lines.find(|line| line.starts_with("user assay ")).unwrap()
}

fn server_with_user(line: &str) -> RedisServer {
    let args = format!("--{}", line.replace("PASSWORD", "horse"));
    let args: Vec<&str> = args.split(' ').collect();
    RedisServer::start_with(&args)
}

fn as_user(server: &RedisServer) -> Redis {
    let options = RedisOptions {
        username: Some("assay".to_owned()),
        password: Some(Secret::new("horse".to_owned())),
        ..redis_options(server.url())
    };
    Redis::connect(&options).unwrap()
}

async fn told(store: Redis) -> String {
    store.ping().await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_documented_user_may_do_all_that_is_done() {
    let server = server_with_user(documented_user());
    let store = as_user(&server);
    assert!(store.ping().await.is_ok(), "{:?}", store.ping().await);
    let first = create(&store, "s:1", b"one").await;
    let update = change().delete("s:1", first).put("s:2", None, b"two");
    let update = update.claim(claim("c:1", "me")).event(b"told");
    let update = update.add("i:a", b"one").remove("i:b", b"two");
    assert_eq!(store.commit(update).await, Ok(DONE));
    let deletion = ChangeSet {
        durability: Durability::Replicated {
            replicas: 1,
            within: Duration::from_millis(10),
        },
        ..change().remove("i:a", b"one")
    };
    assert_eq!(store.commit(deletion).await, Ok(DONE));
    let ask = Admission {
        load: vec![key("s:1"), key("s:2")],
        claim: vec![claim("c:2", "me")],
        owner_of: vec![key("c:1")],
        limit: vec![limit("l:1", Duration::from_secs(1), 1)],
        window: vec![CounterUse {
            key: key("w:1"),
            counter: 1,
            order: CounterOrder::Window,
            operation: OperationId([1; 16]),
            live_for: None,
        }],
    };
    assert!(store.admit(ask).await.is_ok());
    assert!(members(&store, "i:a").await.is_empty());
    assert_eq!(events(&store).await, [b"told"]);
    // And nothing else.
    let elsewhere = server.command("ACL DRYRUN assay GET other");
    assert!(elsewhere.contains("no permissions"), "{elsewhere}");
    let flush = server.command("ACL DRYRUN assay FLUSHALL");
    assert!(flush.contains("no permissions"), "{flush}");
}

#[tokio::test]
async fn each_command_that_the_user_lacks_is_named() {
    let server = server_with_user(documented_user());
    let store = as_user(&server);
    let words: Vec<_> = documented_user().split(' ').collect();
    let commands = words.iter().filter_map(|word| word.strip_prefix('+'));
    // Asked for only where there are Sentinels or a cluster.
    let elsewhere = ["role", "asking", "cluster|slots", "cluster|info", "select"];
    let mut tried = 0;
    for command in commands.filter(|command| !elsewhere.contains(command)) {
        server.command(&format!("ACL SETUSER assay -{command}"));
        let why = store.ping().await.unwrap_err().to_string();
        let name = command.to_ascii_uppercase();
        assert!(
            why.contains(&format!("may not run {name}")),
            "{command}: {why}"
        );
        server.command(&format!("ACL SETUSER assay +{command}"));
        tried += 1;
    }
    assert!(tried > 15);
    server.command("ACL SETUSER assay resetkeys ~other:*");
    let why = store.ping().await.unwrap_err().to_string();
    assert!(why.contains("may not use our keys"), "{why}");
}

#[tokio::test]
async fn clocks_that_are_far_apart_are_told() {
    let server = RedisServer::start();
    let with = |ahead: i64| {
        let now = Clock::system().now().as_millis();
        let options = RedisOptions {
            clock: Clock::manual(Timestamp::from_millis(now + ahead)),
            ..redis_options(server.url())
        };
        Redis::connect(&options).unwrap()
    };
    for near in [0, 20_000, -20_000] {
        assert!(with(near).ping().await.is_ok());
    }
    for far in [3_600_000, -3_600_000] {
        let why = told(with(far)).await;
        assert!(
            why.contains("more than 30 seconds apart: set both by the network"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn tls_where_there_is_none_and_none_where_there_is_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (args, authority) = redis_tls(dir.path());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let server = RedisServer::start_with(&args);
    let at = |url: String| {
        let tls_ca = url
            .starts_with("rediss")
            .then(|| authority.as_bytes().to_vec());
        let options = RedisOptions {
            tls_ca,
            ..redis_options(url)
        };
        Redis::connect(&options).unwrap()
    };
    assert!(works(&at(server.url())).await);
    let plain = at(server.url().replace("rediss", "redis"));
    let why = told(plain).await;
    assert!(why.contains("it may want TLS (rediss://)"), "{why}");
    // A server without TLS waits for the end of what it takes for a line.
    let encrypted = RedisOptions {
        tls_ca: Some(authority.as_bytes().to_vec()),
        connect_timeout: Duration::from_millis(300),
        ..redis_options(format!("rediss://127.0.0.1:{}", server.port()))
    };
    let why = told(Redis::connect(&encrypted).unwrap()).await;
    assert!(why.contains("no connection in time"), "{why}");
    let other_name = at(server.url().replace("127.0.0.1", "localhost"));
    let why = told(other_name).await;
    assert!(why.contains("certificate is for another name"), "{why}");
}

#[tokio::test]
async fn a_server_that_waits_for_replicas_of_its_own_accord_is_told() {
    let server = RedisServer::start_with(&["--min-replicas-to-write", "1"]);
    let outcome = redis(server.url()).ping().await.map(|_| ());
    let why = "the server has too few replicas and refuses writes";
    assert_eq!(outcome, unavailable(why));
}

fn durable(server: &RedisServer) -> Redis {
    let options = RedisOptions {
        fsync: true,
        ..redis_options(server.url())
    };
    Redis::connect(&options).unwrap()
}

fn on_disk(replicas: u32) -> ChangeSet {
    let durability = Durability::Replicated {
        replicas,
        within: Duration::from_secs(2),
    };
    ChangeSet {
        durability,
        ..change()
    }
}

#[tokio::test]
async fn a_revocation_that_must_be_on_disk_is_answered_when_it_is() {
    let valkey = tool("valkey-server");
    let primary = RedisServer::start_program(&valkey, &[]);
    let store = durable(&primary);
    assert!(works(&store).await);
    let alone = on_disk(0).put("s:1", None, b"one");
    assert_eq!(store.commit(alone).await, Ok(DONE));
    let port = primary.port().to_string();
    let args = ["--replicaof", &format!("127.0.0.1 {port}")];
    let replica = RedisServer::start_program(&valkey, &args);
    until("the replica follows", || async {
        primary.command("INFO replication").contains("state=online")
    })
    .await;
    let acked = Committed::Done { replicas_acked: 1 };
    until("the replica has it on disk", || async {
        let operation = OperationId(random().unwrap());
        let name = format!("s:{operation:?}");
        store.commit(on_disk(1).put(&name, None, b"")).await == Ok(acked.clone())
    })
    .await;
    drop(replica);
    // The disk of the primary cannot be waited for any more: it is done, and nobody says more.
    assert_eq!(primary.command("CONFIG SET appendonly no"), "+OK\r\n");
    let outcome = store.commit(on_disk(0).put("s:2", None, b"two")).await;
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert_eq!(value(&store, "s:2").await, Some(b"two".to_vec()));
    let why = told(store).await;
    assert!(why.contains("set appendonly to yes"), "{why}");
}

#[tokio::test]
async fn a_server_that_cannot_tell_of_its_disk_is_told() {
    let server = RedisServer::start();
    let version = server.command("INFO server");
    if !version.contains("redis_version:7.0") {
        // Only the older one of the makes that are supported lacks it.
        assert!(works(&durable(&server)).await);
        return;
    }
    let why = told(durable(&server)).await;
    assert!(
        why.contains("older than Redis 7.2 and cannot say what is on its disk"),
        "{why}"
    );
}
