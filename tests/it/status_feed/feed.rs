//! The feed: what is asked, what is taken, what is not, and when evidence is refused.

use assay::grpc::proto::{ListStanding, Platform};
use data_encoding::HEXLOWER;

use super::publisher::{
    HOUR, attester, follow, following, info, list, publish, status, until, until_error,
    until_fresh, until_ready,
};
use crate::grpc::harness::{MEMORY, World, eventually, http_get};
use crate::grpc::refusal::assert_refused;
use crate::support::http_server::{HttpServer, Reply};

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&assay::key::sha256(bytes))
}

#[tokio::test]
async fn a_list_is_fetched_confirmed_and_replaced() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    let first = list(0..20, &[]);
    publish(&publisher, "\"1\"", first.clone());
    let server = follow(&world, &publisher).await;
    let mut changes = server.service.list_changes();

    let fetched = until_fresh(&server).await;
    assert_eq!(fetched.entries, 20);
    assert_eq!(fetched.sha256, sha256(&first));
    assert_eq!(fetched.modify_time.unwrap().seconds, 1_790_676_000);
    assert_eq!(
        fetched.validate_time.unwrap().seconds,
        world.clock.now().as_secs()
    );
    let next = fetched.next_fetch_time.unwrap().seconds - world.clock.now().as_secs();
    assert!((60..=1800).contains(&next), "{next}");
    let told = *changes
        .wait_for(|told| told.google.is_some())
        .await
        .unwrap();
    assert_eq!(HEXLOWER.encode(&told.google.unwrap()), fetched.sha256);

    world.clock.advance(HOUR / 2);
    let now = world.clock.now().as_secs();
    let confirmed = until(&server, "a confirmation", |info| {
        info.validate_time.unwrap().seconds == now
    })
    .await;
    assert_eq!(confirmed.sha256, fetched.sha256);
    let asked = publisher.seen().pop().unwrap().to_ascii_lowercase();
    assert!(asked.contains("if-none-match: \"1\"\r\n"), "{asked}");
    assert!(asked.contains("if-modified-since: tue, 29 sep 2026 10:00:00 gmt\r\n"));
    assert!(asked.contains("accept-encoding: identity\r\n"));

    let mut phone = world.android();
    phone.join(&server, "anna@mail.test").await;
    let second = list(0..30, &[attester(&mut phone)]);
    publish(&publisher, "\"2\"", second.clone());
    world.clock.advance(HOUR / 2);
    let digest = sha256(&second);
    until(&server, "the new list", |info| info.sha256 == digest).await;
    changes
        .wait_for(|told| {
            told.google
                .is_some_and(|google| HEXLOWER.encode(&google) == digest)
        })
        .await
        .unwrap();
    let refused = phone.register(&server, "eve@mail.test").await;
    assert_refused(&refused.unwrap_err(), "ATTESTATION_CERT_REVOKED");
    let (_, metrics) = http_get(&server, "/metrics").await;
    for line in [
        "assay_status_list_fetches_total{outcome=\"changed\"} 2",
        "assay_status_list_fetches_total{outcome=\"unchanged\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn until_there_is_a_list_android_waits_and_iphones_do_not() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    publisher.give(Reply::of(503, &[("Retry-After", "120")], b""));
    let server = follow(&world, &publisher).await;
    let nothing = until_error(&server, "status").await;
    assert_eq!(nothing.standing(), ListStanding::Stale);
    assert_eq!((nothing.entries, nothing.validate_time), (0, None));
    let wait = nothing.next_fetch_time.unwrap().seconds - world.clock.now().as_secs();
    assert!((105..=120).contains(&wait), "{wait}");
    eventually("waiting", || async {
        let (first, body) = http_get(&server, "/readyz").await;
        let waits = first.contains("503")
            && body == "waiting for: status_list\nthere is no status list yet\n";
        waits.then_some(())
    })
    .await;
    let refused = world.android().register(&server, "anna@mail.test").await;
    assert_refused(&refused.unwrap_err(), "TRUST_LIST_STALE");
    world.iphone().join(&server, "ines@mail.test").await;

    publish(&publisher, "\"1\"", list(0..20, &[]));
    world.clock.advance(HOUR);
    until_fresh(&server).await;
    until_ready(&server).await;
    world.android().join(&server, "anna@mail.test").await;
    server.stop().await;
}

#[tokio::test]
async fn without_an_android_app_no_list_is_waited_for() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    let config = following(&world, &publisher, MEMORY, "");
    let (top, _) = config.split_once("[apps.").unwrap();
    let (_, apple) = config.split_once("[apps.store]").unwrap();
    let server = world.start_from(&format!("{top}[apps.store]{apple}")).await;
    until_ready(&server).await;
    until_error(&server, "broken").await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_list_leaves_the_good_one_in_place() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    let good = list(0..20, &[]);
    publish(&publisher, "\"1\"", good.clone());
    let server = follow(&world, &publisher).await;
    let before = until_fresh(&server).await;
    let cut = |length: usize| {
        let mut bytes = format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&good);
        Reply::Bytes(bytes)
    };
    let elsewhere = publisher.url("/other");
    let many = list(0..65_600, &[]);
    for (reply, error) in [
        (Reply::of(200, &[], b"<html>blocked</html>"), "malformed"),
        (cut(good.len() + 10), "broken"),
        (cut(good.len() - 10), "malformed"),
        (
            Reply::of(200, &[], &vec![b' '; 4 * 1024 * 1024 + 1]),
            "too_large",
        ),
        (Reply::of(200, &[], &many), "malformed"),
        (Reply::of(200, &[], b"{\"entries\": {}}"), "empty"),
        (Reply::of(200, &[], &list(15..90, &[])), "shrunken"),
        (Reply::of(500, &[], &good), "status"),
        (Reply::of(301, &[("Location", &elsewhere)], b""), "status"),
        (Reply::Close, "broken"),
    ] {
        publisher.give(reply);
        world.clock.advance(HOUR);
        let now = until_error(&server, error).await;
        assert_eq!(now.sha256, before.sha256, "{error}");
        assert_eq!(now.entries, 20, "{error}");
        assert!(
            publisher
                .seen()
                .iter()
                .all(|seen| seen.starts_with("GET /status "))
        );
    }
    // Registered phones and new ones never noticed.
    world.android().join(&server, "anna@mail.test").await;
    publish(&publisher, "\"1\"", good);
    world.clock.advance(HOUR);
    until_error(&server, "").await;
    server.stop().await;
}

#[tokio::test]
async fn a_list_that_grew_too_old_refuses_android_until_it_is_back() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    publish(&publisher, "\"1\"", list(0..20, &[]));
    let server = follow(&world, &publisher).await;
    until_fresh(&server).await;
    until_ready(&server).await;
    world.android().join(&server, "anna@mail.test").await;

    publisher.give(Reply::of(500, &[], b""));
    world.clock.advance(HOUR * 25);
    let refused = world.android().register(&server, "anna@mail.test").await;
    assert_refused(&refused.unwrap_err(), "TRUST_LIST_STALE");
    let stale = until_error(&server, "status").await;
    assert_eq!(stale.standing(), ListStanding::Stale);
    assert_eq!(stale.age.unwrap().seconds, 25 * 3600);
    assert_eq!(stale.age_max.unwrap().seconds, 24 * 3600);
    // Everything else goes on.
    let (first, _) = http_get(&server, "/readyz").await;
    assert!(first.contains("200"), "{first}");
    world.iphone().join(&server, "ines@mail.test").await;
    eventually("the metric", || async {
        let (_, metrics) = http_get(&server, "/metrics").await;
        let line = "assay_status_list_standing{standing=\"stale\"} 1";
        (metrics.contains(line) && metrics.contains("assay_status_list_age_seconds 90000"))
            .then_some(())
    })
    .await;

    publish(&publisher, "\"1\"", list(0..20, &[]));
    world.clock.advance(HOUR);
    until_fresh(&server).await;
    world.android().join(&server, "anna@mail.test").await;
    server.stop().await;
}

#[tokio::test]
async fn when_the_clock_is_set_the_list_is_asked_for_again() {
    let world = World::new();
    let publisher = HttpServer::start(None).await;
    publish(&publisher, "\"1\"", list(0..20, &[]));
    let server = follow(&world, &publisher).await;
    until_fresh(&server).await;
    let began = world.clock.now();
    for set in [began.after(HOUR * 48), began.before(HOUR * 48)] {
        // What makes the list too old by the clock is answered by asking.
        let asked = publisher.seen().len();
        world.clock.set(set);
        // Any two fetches are a minute apart.
        world.clock.advance(HOUR / 60);
        eventually("another fetch", || async {
            (publisher.seen().len() > asked).then_some(())
        })
        .await;
        let after = until_fresh(&server).await;
        assert!(after.age.unwrap().seconds <= 60);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_pinned_roots_are_shown() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let shown = status(&server).await;
    let google = shown.roots.iter().find(|root| {
        root.spki_sha256 == "feb2ea7551ee316ed4bb443c8293b884dbfdea40b603ee3e4f4a897e4580fbae"
    });
    assert!(google.unwrap().subject.contains("f92009e853b6b045"));
    let apple = shown
        .roots
        .iter()
        .find(|root| root.subject.contains("CN=Apple App Attestation"));
    assert_eq!(
        apple.unwrap().spki_sha256,
        "1ae751fd29896d0f1f13fe226c063f445d40d893 8acc6245c251ecc0679330bd".replace(' ', "")
    );
    // Those, and a test authority for each system; Apple's for receipts as well.
    assert!(shown.roots.len() >= 5);
    let signing = shown.roots.iter().filter(|root| root.purpose == "receipts");
    assert!(
        signing
            .clone()
            .all(|root| root.platform() == Platform::Apple)
    );
    assert!(
        signing
            .clone()
            .any(|root| root.subject.contains("CN=Apple Root CA - G3"))
    );
    let attesting = shown
        .roots
        .iter()
        .filter(|root| root.purpose == "attestations");
    assert_eq!(attesting.count() + signing.count(), shown.roots.len());
    assert_eq!(info(&server).await.standing(), ListStanding::NotUsed);
    assert_eq!(shown.own_list, None);
    server.stop().await;
}
