//! The copies of the last good list: a start without the network, and instances that share.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use assay::grpc::proto::ListStanding;

use super::publisher::{
    HOUR, following, info, list, publish, until, until_error, until_fresh, until_ready,
};
use crate::grpc::harness::{MEMORY, World};
use crate::grpc::refusal::assert_refused;
use crate::support::http_server::{HttpServer, Reply};
use crate::support::redis_server::RedisServer;

const DISK: &str = "kind = \"disk\"\ndirectory = \"state\"";
const CACHE: &str = "status_list_cache = \"list-cache\"";

#[tokio::test]
async fn a_restart_finds_the_list_in_the_store() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    // As large as a published list may be, with the longest serial numbers: more than one value of
    // the store holds.
    let serials: Vec<String> = (0..60_000).map(|n| format!("f{n:041x}")).collect();
    publish(&publisher, "\"1\"", list(0..0, &serials));
    let config = following(&world, &publisher, DISK, CACHE);
    let server = world.start_from(&config).await;
    let before = until_fresh(&server).await;
    // The copy on disk is written after the one in the store.
    wait_for_file(&world).await;
    server.stop().await;
    fs::remove_file(world.path().join("list-cache")).unwrap();

    publisher.give(Reply::Close);
    let asked = publisher.seen().len();
    let server = world.start_from(&config).await;
    let after = until_fresh(&server).await;
    assert_eq!(after.sha256, before.sha256);
    assert_eq!(after.entries, 60_000);
    assert_eq!(after.validate_time, before.validate_time);
    assert_eq!(publisher.seen().len(), asked, "nobody was asked");
    world.android().join(&server, "anna@mail.test").await;
    server.stop().await;
}

#[tokio::test]
async fn a_list_in_the_store_that_is_too_old_is_a_list_but_not_believed() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    publish(&publisher, "\"1\"", list(0..20, &[]));
    let config = following(&world, &publisher, DISK, CACHE);
    let server = world.start_from(&config).await;
    until_fresh(&server).await;
    wait_for_file(&world).await;
    server.stop().await;
    publisher.give(Reply::Close);
    world.clock.advance(HOUR * 30);
    let server = world.start_from(&config).await;
    let stale = until(&server, "the old list", |info| info.entries == 20).await;
    assert_eq!(stale.standing(), ListStanding::Stale);
    until_ready(&server).await;
    let refused = world.android().register(&server, "anna@mail.test").await;
    assert_refused(&refused.unwrap_err(), "TRUST_LIST_STALE");
    until_error(&server, "broken").await;
    server.stop().await;
}

async fn wait_for_file(world: &World) {
    crate::grpc::harness::eventually("the file", || async {
        world.path().join("list-cache").exists().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_restart_without_store_and_network_finds_the_list_on_disk() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    publish(&publisher, "\"1\"", list(0..20, &[]));
    let config = following(&world, &publisher, MEMORY, CACHE);
    let server = world.start_from(&config).await;
    let before = until_fresh(&server).await;
    wait_for_file(&world).await;
    server.stop().await;
    let path = world.path().join("list-cache");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    publisher.give(Reply::Close);
    let server = world.start_from(&config).await;
    let after = until_fresh(&server).await;
    assert_eq!(after.sha256, before.sha256);
    world.android().join(&server, "anna@mail.test").await;
    server.stop().await;

    // Damaged in any place, or cut off anywhere, it is no list.
    let whole = fs::read(&path).unwrap();
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    for damaged in [
        bent,
        whole[..whole.len() - 1].to_vec(),
        vec![0xff; 40],
        Vec::new(),
    ] {
        fs::write(&path, damaged).unwrap();
        let server = world.start_from(&config).await;
        until_error(&server, "broken").await;
        assert_eq!(info(&server).await.entries, 0);
        server.stop().await;
    }
    // The next fetch makes it whole again.
    publish(&publisher, "\"1\"", list(0..20, &[]));
    let server = world.start_from(&config).await;
    until_fresh(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_copy_sealed_with_other_keys_is_none() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    publish(&publisher, "\"1\"", list(0..20, &[]));
    let config = following(&world, &publisher, MEMORY, CACHE);
    let server = world.start_from(&config).await;
    until_fresh(&server).await;
    wait_for_file(&world).await;
    server.stop().await;
    publisher.give(Reply::Close);
    fs::remove_dir_all(world.path().join("keys")).unwrap();
    let server = world.start_from(&config).await;
    until_error(&server, "broken").await;
    assert_eq!(info(&server).await.entries, 0);
    server.stop().await;
}

#[tokio::test]
async fn instances_on_one_store_share_a_fetch() {
    let redis = RedisServer::start();
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    let first = list(0..20, &[]);
    publish(&publisher, "\"1\"", first);
    let store = format!("kind = \"redis\"\nurl = \"{}\"", redis.url());
    let config = following(&world, &publisher, &store, "");
    let one = world.start_from(&config).await;
    let fetched = until_fresh(&one).await;
    crate::grpc::harness::eventually("the copy", || async {
        (redis.command("EXISTS {b0}:t:s:1") == ":1\r\n").then_some(())
    })
    .await;
    let two = world.start_from(&config).await;
    let shared = until_fresh(&two).await;
    assert_eq!(shared.sha256, fetched.sha256);
    assert_eq!(shared.validate_time, fetched.validate_time);
    assert_eq!(publisher.seen().len(), 1);

    // What one of them finds out, both know.
    publish(&publisher, "\"2\"", list(0..25, &[]));
    world.clock.advance(HOUR / 2);
    for server in [&one, &two] {
        until(server, "the new list", |info| info.entries == 25).await;
    }
    // A copy that was torn or removed is made anew.
    redis.command("SET {b0}:t:s:0 nonsense");
    let three = world.start_from(&config).await;
    assert_eq!(until_fresh(&three).await.entries, 25);
    for server in [one, two, three] {
        server.stop().await;
    }
}
