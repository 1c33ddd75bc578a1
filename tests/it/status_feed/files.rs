//! Lists that are files: Google's, kept fresh by somebody else, and the operator's own.

use std::fs;
use std::path::Path;

use assay::grpc::proto::{self, ListStanding};

use super::publisher::{HOUR, attester, info, list, status, until, until_error, until_fresh};
use crate::grpc::harness::{MEMORY, Server, World, eventually};
use crate::grpc::refusal::assert_refused;

/// As somebody does who keeps a list: beside, and then in its place.
fn replace(path: &Path, content: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn with_file(world: &World, more: &str) -> String {
    let file = format!("status_list = \"status.json\"\n{more}");
    world
        .config(MEMORY)
        .replace("status_list_missing = \"allow\"", &file)
}

#[tokio::test]
async fn a_status_list_that_is_a_file_is_read_again() {
    let world = World::new();
    let path = world.path().join("status.json");
    replace(&path, &list(0..20, &[]));
    let server = world.start_from(&with_file(&world, "")).await;
    let first = info(&server).await;
    assert_eq!((first.standing(), first.entries), (ListStanding::Fresh, 20));
    assert_eq!((first.age_max, first.next_fetch_time), (None, None));
    let mut phone = world.android();
    phone.join(&server, "anna@mail.test").await;

    replace(&path, b"{\"entries\": ");
    let broken = until_error(&server, "file").await;
    assert_eq!(broken.sha256, first.sha256);
    replace(&path, &list(100..200, &[]));
    let emptied = until_error(&server, "file").await;
    assert_eq!(
        emptied.sha256, first.sha256,
        "most of what was known is not there"
    );

    replace(&path, &list(0..20, &[attester(&mut phone)]));
    until(&server, "the new file", |info| {
        info.entries == 21 && info.last_error.is_empty()
    })
    .await;
    let refused = phone.register(&server, "eve@mail.test").await;
    assert_refused(&refused.unwrap_err(), "ATTESTATION_CERT_REVOKED");
    // Without a limit it is never too old.
    world.clock.advance(HOUR * 24 * 365);
    assert_eq!(info(&server).await.standing(), ListStanding::Fresh);
    server.stop().await;
}

#[tokio::test]
async fn with_a_limit_a_file_grows_too_old() {
    let world = World::new();
    let path = world.path().join("status.json");
    replace(&path, &list(0..20, &[]));
    let server = world
        .start_from(&with_file(&world, "status_list_age_max = \"24h\""))
        .await;
    world.android().join(&server, "anna@mail.test").await;
    world.clock.advance(HOUR * 25);
    let refused = world.android().register(&server, "anna@mail.test").await;
    assert_refused(&refused.unwrap_err(), "TRUST_LIST_STALE");
    assert_eq!(info(&server).await.standing(), ListStanding::Stale);
    // The same content, written anew.
    replace(&path, &list(0..20, &[]));
    let written = std::time::UNIX_EPOCH
        + std::time::Duration::from_millis(u64::try_from(world.clock.now().as_millis()).unwrap());
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(written)
        .unwrap();
    until_fresh(&server).await;
    server.stop().await;
}

async fn own(server: &Server, what: &str, wanted: impl Fn(&proto::OwnListInfo) -> bool) {
    eventually(what, || async {
        let own = status(server).await.own_list.unwrap();
        wanted(&own).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_operators_own_list_refuses_and_is_read_again() {
    let world = World::new();
    let path = world.path().join("own.txt");
    replace(&path, b"# none yet\n");
    let allow = "status_list_missing = \"allow\"";
    let config = world
        .config(MEMORY)
        .replace(allow, &format!("{allow}\nown_list = \"own.txt\""));
    let server = world.start_from(&config).await;
    let mut changes = server.service.list_changes();
    changes.mark_unchanged();
    let mut phone = world.android();
    phone.join(&server, "anna@mail.test").await;

    let line = format!("serial {}\n", attester(&mut phone));
    replace(&path, line.as_bytes());
    own(&server, "one serial", |own| {
        (own.serials, own.keys) == (1, 0)
    })
    .await;
    changes.changed().await.unwrap();
    let told = changes.borrow().own.unwrap();
    assert_eq!(told, assay::key::sha256(line.as_bytes()));
    let refused = phone.register(&server, "eve@mail.test").await;
    assert_refused(&refused.unwrap_err(), "ATTESTATION_CERT_REVOKED");

    replace(&path, b"serial not-hex\n");
    own(&server, "an error", |own| {
        own.last_error.starts_with("line 1: ")
    })
    .await;
    let refused = phone.register(&server, "eve@mail.test").await;
    assert_refused(&refused.unwrap_err(), "ATTESTATION_CERT_REVOKED");

    fs::remove_file(&path).unwrap();
    own(&server, "no file", |own| {
        own.serials == 1 && !own.last_error.starts_with("line")
    })
    .await;
    replace(&path, b"# nothing any more\n");
    own(&server, "an empty list", |own| {
        own.serials == 0 && own.last_error.is_empty()
    })
    .await;
    world.android().join(&server, "eve@mail.test").await;
    server.stop().await;
}

#[tokio::test]
async fn a_list_that_cannot_be_read_stops_the_start() {
    let world = World::new();
    replace(&world.path().join("status.json"), b"[]");
    let refused = world.try_start(&with_file(&world, "")).await.map(|_| ());
    assert!(refused.unwrap_err().to_string().contains("status.json: "));
    replace(&world.path().join("status.json"), &list(0..1, &[]));
    replace(&world.path().join("own.txt"), b"word\n");
    let both = with_file(&world, "own_list = \"own.txt\"");
    let refused = world.try_start(&both).await.map(|_| ());
    assert!(refused.unwrap_err().to_string().contains("own.txt: line 1"));
}
