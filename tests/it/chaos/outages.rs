//! Redis dies, hangs, is slow, is full, forgets its scripts or everything, or another one takes over: what
//! was acknowledged as revoked stays out, nobody is logged out without a cause, and all are served
//! again.

use std::sync::Arc;
use std::time::Duration;

use assay::time::monotonic_now;
use tokio::task::block_in_place;

use super::history::{Answer, Deed, Target};
use super::network::Network;
use super::phones::{Place, live};
use super::scale::{Dice, Run};
use super::*;
use crate::support::proxy::Proxy;
use crate::support::redis_cluster::Cluster;
use crate::support::redis_sentinels::{PRIMARY, Sentinels};
use crate::support::redis_server::wait_until;

const PHONES: u32 = 4;
/// More sessions than a phone has time for: it ends with the round.
const SESSIONS: u32 = 1_000_000;
/// Faults of a round.
const FAULTS: u32 = 2;
/// The longest quiet between two of them, and the longest a fault lasts.
const QUIET_MILLIS: u64 = 300;
/// The network of phones is never perfect.
const LOST_PERCENT: u64 = 2;
/// The longest that what a server wrote is not on its disk.
const LOST_MILLIS: u64 = 1000;
/// What a server that writes every second may lose, and a little more.
const EVERYSEC: Duration = Duration::from_millis(2500);

/// How far an acknowledgement goes.
#[derive(Clone, Copy)]
enum Promise {
    /// No crash undoes it.
    Durable,
    /// A revocation is on a replica; the rest is not.
    RevocationsOnly,
    /// A crash may undo anything of the last seconds. What it undid of ended sessions is still known to the
    /// instance that acknowledged that, and there is no other. That a key was ever registered may be
    /// forgotten with its device.
    OfInstance,
}

/// Phones that live on two instances while `faults` go on.
async fn under(
    (store, promise): (&str, Promise),
    run: &mut Run,
    mut dice: Dice,
    faults: impl AsyncFnOnce(&Place, &mut Dice, &mut Run),
) {
    let world = World::new();
    let instances = match promise {
        Promise::Durable | Promise::RevocationsOnly => 2,
        Promise::OfInstance => 1,
    };
    let servers = start(&world, store, instances).await;
    let network = Network::new(&mut dice, LOST_PERCENT);
    let mut place = Place::new(world, clients(&servers), network);
    place.devices_durable = !matches!(promise, Promise::OfInstance);
    place.logouts_durable = !matches!(promise, Promise::RevocationsOnly);
    let place = Arc::new(place);
    let living = {
        let (place, mut dice) = (Arc::clone(&place), dice.split());
        tokio::spawn(async move { live(&place, &mut dice, PHONES, SESSIONS).await })
    };
    let served = place.history.recovery(0, monotonic_now()).await;
    served.expect("somebody is served at first");
    faults(&place, &mut dice, run).await;
    pause(QUIET_MILLIS).await;
    place.close();
    living.await.unwrap();
    run.judge(&place.history);
    stop(servers).await;
}

/// From now on all is well again: how long until somebody is served.
async fn well_again(place: &Place, run: &mut Run) {
    let from = monotonic_now();
    let tick = place.history.now();
    run.recovered(place.history.recovery(tick, from).await);
}

async fn killed(name: &'static str, fsync: &str, promise: Promise) {
    let mut run = Run::timed(name, "Redis", 1);
    while let Some(dice) = run.next() {
        let mut redis = RedisServer::start_with(&["--appendfsync", fsync]);
        let store = redis_on(&redis);
        under(
            (&store, promise),
            &mut run,
            dice,
            async |place, dice, run| {
                for _ in 0..FAULTS {
                    pause(dice.below(QUIET_MILLIS)).await;
                    let since = place.history.tick_before(EVERYSEC);
                    let written = redis.written();
                    if let Promise::OfInstance = promise {
                        pause(dice.below(LOST_MILLIS)).await;
                    }
                    redis.kill();
                    if let Promise::OfInstance = promise {
                        redis.lose_behind(written);
                        place.may_lose(since);
                    }
                    pause(dice.below(QUIET_MILLIS)).await;
                    block_in_place(|| redis.restart());
                    well_again(place, run).await;
                }
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_killed_under_load_loses_nothing_that_it_always_writes() {
    killed("killed, appendfsync always", "always", Promise::Durable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_killed_under_load_loses_at_most_the_last_seconds_where_it_writes_every_second() {
    killed(
        "killed, appendfsync everysec",
        "everysec",
        Promise::OfInstance,
    )
    .await;
}

/// Something happens to the server or on the way to it, and ends.
async fn troubled(
    name: &'static str,
    begin: impl AsyncFn(&RedisServer, &Proxy, &mut Dice),
    end: impl AsyncFn(&RedisServer, &Proxy),
) {
    let mut run = Run::timed(name, "Redis", 1);
    while let Some(dice) = run.next() {
        let redis = RedisServer::start();
        let proxy = Proxy::to(redis.port()).await;
        let store = redis_at(&proxy.url());
        let promise = Promise::Durable;
        under(
            (&store, promise),
            &mut run,
            dice,
            async |place, dice, run| {
                for _ in 0..FAULTS {
                    pause(dice.below(QUIET_MILLIS)).await;
                    begin(&redis, &proxy, dice).await;
                    pause(dice.below(QUIET_MILLIS)).await;
                    end(&redis, &proxy).await;
                    well_again(place, run).await;
                }
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_under_load_breaks_no_promise() {
    troubled(
        "hanging",
        async |redis, _, _| redis.pause(),
        async |redis, _| redis.resume(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_redis_breaks_no_promise() {
    troubled(
        "slow, now and then beyond the deadline",
        async |_, proxy, dice| {
            proxy.delay_answers(Duration::from_millis(20 + dice.below(400)));
        },
        async |_, proxy| proxy.delay_answers(Duration::ZERO),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_breaks_no_promise() {
    troubled(
        "full, without eviction",
        async |redis, _, _| {
            redis.command("CONFIG SET maxmemory-policy noeviction");
            redis.command("CONFIG SET maxmemory 1");
        },
        async |redis, _| {
            redis.command("CONFIG SET maxmemory 0");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_connections_lost_on_the_way_to_redis_break_no_promise() {
    troubled(
        "answers thrown away, then connections cut",
        async |_, proxy, dice| {
            if dice.percent(50) {
                proxy.swallow_answers(true);
            } else {
                proxy.silence();
            }
        },
        async |_, proxy| {
            proxy.swallow_answers(false);
            proxy.cut();
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_its_scripts_is_told_them_again() {
    troubled(
        "SCRIPT FLUSH",
        async |redis, _, dice| {
            for _ in 0..1 + dice.below(20) {
                redis.command("SCRIPT FLUSH");
                pause(dice.below(10)).await;
            }
        },
        async |_, _| {},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_flushall_nothing_that_was_open_is_authorised() {
    let mut run = Run::timed("FLUSHALL", "Redis", 1);
    while let Some(dice) = run.next() {
        let redis = RedisServer::start();
        let store = redis_on(&redis);
        let promise = Promise::Durable;
        under(
            (&store, promise),
            &mut run,
            dice,
            async |place, dice, run| {
                for _ in 0..FAULTS {
                    pause(QUIET_MILLIS + dice.below(QUIET_MILLIS)).await;
                    place.may_lose(0);
                    let flushing = place.history.begin();
                    assert!(redis.command("FLUSHALL").starts_with("+OK"));
                    let deed = Deed::Revoke(Target::Everything);
                    let done = Answer::Done { durable: true };
                    place.history.end(flushing, place.time(), deed, done);
                    well_again(place, run).await;
                }
            },
        )
        .await;
    }
}

fn follows(replica: &RedisServer) {
    let up = || {
        let info = replica.try_command("INFO replication");
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    };
    block_in_place(|| wait_until("the replica follows", up));
}

fn replica_of(port: u16) -> RedisServer {
    RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {port}")])
}

/// The replica is cut off, the primary dies, and the replica that missed the last changes takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_missed_changes_takes_over_and_no_durable_revocation_is_lost() {
    let mut run = Run::timed("primary killed, a replica behind takes over", "Redis", 1);
    while let Some(dice) = run.next() {
        let mut primary = RedisServer::start();
        let between = Proxy::to(primary.port()).await;
        let replica = replica_of(between.port());
        follows(&replica);
        let front = Proxy::to(primary.port()).await;
        let store = redis_at(&front.url()) + "\nreplicas_wanted = 1\nreplicas_within = \"100ms\"";
        let promise = Promise::RevocationsOnly;
        under(
            (&store, promise),
            &mut run,
            dice,
            async |place, dice, run| {
                pause(QUIET_MILLIS).await;
                let since = place.history.now();
                // What was answered before that is on the replica.
                block_in_place(|| primary.wait_for_replica(&replica));
                pause(dice.below(QUIET_MILLIS)).await;
                between.refuse(true);
                between.cut();
                pause(QUIET_MILLIS + dice.below(QUIET_MILLIS)).await;
                primary.kill();
                place.may_lose(since);
                assert!(replica.command("REPLICAOF NO ONE").starts_with("+OK"));
                let another = replica_of(replica.port());
                front.redirect(replica.port());
                front.cut();
                well_again(place, run).await;
                follows(&another);
                pause(2 * QUIET_MILLIS).await;
            },
        )
        .await;
    }
}

/// One replica of two is cut off and misses changes, the primary dies, and the Sentinels decide. A
/// revocation that two replicas have survives whichever takes over.
#[tokio::test(flavor = "multi_thread")]
async fn sentinels_replace_a_primary_and_no_durable_revocation_is_lost() {
    let name = "primary killed under Sentinels, a replica cut off";
    let mut run = Run::timed(name, "Redis", 1);
    while let Some(dice) = run.next() {
        let mut set = block_in_place(Sentinels::start);
        let store = of_many("sentinels", &set.urls())
            + &format!(
                "\nmaster = \"{PRIMARY}\"\nreplicas_wanted = 2\nreplicas_within = \"100ms\""
            );
        let promise = Promise::RevocationsOnly;
        under(
            (&store, promise),
            &mut run,
            dice,
            async |place, dice, run| {
                pause(QUIET_MILLIS).await;
                let since = place.history.now();
                block_in_place(|| {
                    for replica in [1, 2] {
                        set.node(0).wait_for_replica(set.node(replica));
                    }
                });
                // A replica that is stopped receives nothing, as one behind a cut.
                set.node(2).pause();
                pause(QUIET_MILLIS + dice.below(QUIET_MILLIS)).await;
                set.kill(0);
                place.may_lose(since);
                let from = monotonic_now();
                set.node(2).resume();
                let primary = block_in_place(|| set.wait_for_another_than(0));
                // A phone whose revocation waits for two replicas refreshes nothing meanwhile.
                block_in_place(|| set.restart(0));
                let tick = place.history.now();
                run.recovered(place.history.recovery(tick, from).await);
                run.note("times the replica that was behind", u64::from(primary == 2));
                // Revocations become durable again, with the two replicas that are wanted.
                pause(10 * QUIET_MILLIS).await;
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_replaces_a_primary_and_no_durable_revocation_is_lost() {
    let mut run = Run::timed("cluster, a primary killed", "Redis Cluster", 1);
    while let Some(dice) = run.next() {
        let mut cluster = block_in_place(|| Cluster::start(1));
        let store = of_many("cluster", &cluster.urls())
            + "\nreplicas_wanted = 1\nreplicas_within = \"100ms\"";
        let promise = Promise::RevocationsOnly;
        under(
            (&store, promise),
            &mut run,
            dice,
            async |place, dice, run| {
                let node = usize::try_from(dice.below(3)).unwrap();
                pause(QUIET_MILLIS).await;
                let since = place.history.now();
                block_in_place(|| cluster.wait_for_replica_of(node));
                cluster.kill(node);
                place.may_lose(since);
                let from = monotonic_now();
                block_in_place(|| {
                    wait_until("every bucket has a primary", || {
                        (0..64).all(|bucket| cluster.primary_of(bucket).is_some())
                    });
                });
                block_in_place(|| cluster.restart(node));
                let tick = place.history.now();
                run.recovered(place.history.recovery(tick, from).await);
                block_in_place(|| {
                    cluster.wait_until_well();
                });
                pause(2 * QUIET_MILLIS).await;
            },
        )
        .await;
    }
}

/// A `[store]` on several servers, which are soon taken for away.
fn of_many(key: &str, urls: &[String]) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    let urls = urls.join(", ");
    format!("kind = \"redis\"\n{key} = [{urls}]\nrequest = \"300ms\"\nconnect = \"300ms\"")
}
