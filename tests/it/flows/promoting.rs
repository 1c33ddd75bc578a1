//! A Redis that is cut off, and a replica that takes over without having heard of a revocation.

use std::time::Duration;

use assay::flow::verify_request::{self, Consistency};
use assay::flow::{CURRENT_FOR, Engine, Follower};
use assay::secret::Secret;
use assay::session::EventKind;
use tokio::task::block_in_place;

use super::*;
use crate::support::proxy::Proxy;
use crate::support::redis_server::RedisServer;

/// Times something is asked for, and the pause between.
const ASKED_MAX: u32 = 4800;
const PAUSE: Duration = Duration::from_millis(25);

async fn eventually(what: &str, there: impl Fn() -> bool) {
    for _ in 0..ASKED_MAX {
        if there() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{what} never comes");
}

async fn complete(follower: &mut Follower, engine: &Engine) {
    for _ in 0..ASKED_MAX {
        if follower
            .round(engine)
            .await
            .is_ok_and(|round| round.complete)
        {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("no checkpoint");
}

async fn decide(
    (engine, world): (&Engine, &World),
    (phone, token): (&Phone, &Secret<String>),
    consistency: Consistency,
) -> Result<Result<(), Reason>, Reason> {
    let call = verify_request::VerifyRequest {
        consistency,
        ..world.call(phone, token)
    };
    let decision = verify_request::run(engine, call).await;
    let decision = decision.map_err(|failure| failure.reason)?;
    Ok(decision.verdict.map(|_| ()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_a_promoted_replica_never_got_is_refused_and_written_again() {
    let mut primary = RedisServer::start();
    let to_primary = Proxy::to(primary.port()).await;
    let at = to_primary.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &at]);
    let clients = Proxy::to(primary.port()).await;
    let world = World::over_redis_at(clients.url());
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let other = world.registered(Kind::Android, "user-2").await;
    let others = world.issue(&other).await.unwrap();
    let mut follower = Follower::new(world.now());
    complete(&mut follower, &world.engine).await;
    let caught_up = || {
        replica
            .command("INFO replication")
            .contains("master_link_status:up")
    };
    eventually("the replica", caught_up).await;
    block_in_place(|| primary.wait_for_replica(&replica));

    // The replica hears nothing of the revocation, and takes over.
    to_primary.refuse(true);
    to_primary.cut();
    world.revoke(phone.id()).await.unwrap();
    complete(&mut follower, &world.engine).await;
    primary.kill();
    assert!(replica.command("REPLICAOF NO ONE").contains("OK"));
    clients.redirect(replica.port());
    // The first call may still go out over a connection that has just broken.
    for _ in 0..ASKED_MAX {
        if world.engine.store.ping().await.is_ok() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }

    let call = (&phone, &grant.access_token);
    let stranger = world.instance();
    let out = Ok(Err(Reason::DeviceRevoked));
    for consistency in [Consistency::Fresh, Consistency::Local] {
        let seen = decide((&world.engine, &world), call, consistency).await;
        assert_eq!(seen, out, "{consistency:?}");
    }
    // It is lost indeed: who has not heard of it lets the thief in.
    let seen = decide((&stranger, &world), call, Consistency::Fresh).await;
    assert_eq!(seen, Ok(Ok(())));

    complete(&mut follower, &world.engine).await;
    assert_eq!(world.engine.board.overlay().waits(), 0);
    let new = world.instance();
    complete(&mut Follower::new(world.now()), &new).await;
    for engine in [&*stranger, &*new] {
        let seen = decide((engine, &world), call, Consistency::Fresh).await;
        assert_eq!(seen, out);
    }
    let seen = decide((&new, &world), call, Consistency::Local).await;
    assert_eq!(seen, out);
    let told = world.events(phone.id()).await;
    let told = told
        .iter()
        .filter(|event| event.kind == EventKind::DeviceRevoked);
    assert_eq!(told.count(), 1);
    // Nobody else is touched.
    let seen = decide(
        (&new, &world),
        (&other, &others.access_token),
        Consistency::Fresh,
    )
    .await;
    assert_eq!(seen, Ok(Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_cut_off_nothing_is_half_done_and_a_revocation_lands_afterwards() {
    let away = Reason::StateStoreUnavailable;
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port()).await;
    let world = World::over_redis_at(proxy.url());
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let stolen = world.registered(Kind::Android, "user-2").await;
    let lost = world.issue(&stolen).await.unwrap();
    let mut follower = Follower::new(world.now());
    complete(&mut follower, &world.engine).await;

    proxy.refuse(true);
    proxy.cut();
    let here = (&world.engine, &world);
    let call = (&phone, &grant.access_token);
    let mut third = world.phone(Kind::Android, "user-3");
    let registration = world.registration(&mut third);
    assert_eq!(world.send(&registration).await.map(|_| ()), Err(away));
    assert_eq!(world.issue(&phone).await.map(|_| ()), Err(away));
    let refreshed = world.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(refreshed.map(|_| ()), Err(away));
    assert_eq!(decide(here, call, Consistency::Fresh).await, Err(away));
    assert_eq!(world.active(&grant.access_token).await, Err(away));
    assert!(follower.round(&world.engine).await.is_err());
    // While what is known is young enough, calls that ask for no more pass.
    assert_eq!(decide(here, call, Consistency::Local).await, Ok(Ok(())));
    let revoked = world.revoke(stolen.id()).await.map(|_| ());
    assert_eq!(revoked, Err(Reason::RevocationNotDurable));
    let thief = (&stolen, &lost.access_token);
    assert_eq!(
        decide(here, thief, Consistency::Local).await,
        Err(away),
        "never a yes"
    );
    world.advance(CURRENT_FOR + MILLISECOND);
    assert_eq!(decide(here, call, Consistency::Local).await, Err(away));

    proxy.refuse(false);
    complete(&mut follower, &world.engine).await;
    assert_eq!(world.engine.board.overlay().waits(), 0);
    let new = world.instance();
    for engine in [&world.engine, &*new] {
        let seen = decide((engine, &world), thief, Consistency::Fresh).await;
        assert_eq!(seen, Ok(Err(Reason::DeviceRevoked)));
        let seen = decide((engine, &world), call, Consistency::Fresh).await;
        assert_eq!(seen, Ok(Ok(())));
    }
    // Nothing was half-done.
    let refreshed = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(refreshed.outcome, assay::session::RefreshOutcome::Rotated);
    assert!(world.devices(&third.subject).await.is_empty());
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
}
