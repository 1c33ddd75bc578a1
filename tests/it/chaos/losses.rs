//! A network that loses requests and answers: nobody is logged out, and no session gets a second branch.

use std::sync::Arc;

use super::network::Network;
use super::phones::{Place, live};
use super::scale::Run;
use super::*;

/// Of a hundred requests, and of a hundred answers, so many are lost.
const PERCENTS: [u64; 5] = [1, 5, 10, 20, 30];
const PHONES: u32 = 4;
/// Sessions each phone lives through at each of these.
const SESSIONS: u32 = 3;

async fn lossy(store: &str, instances: usize, run: &mut Run) {
    while let Some(mut dice) = run.next() {
        let percents = PERCENTS
            .into_iter()
            .step_by(if run.is_short() { 2 } else { 1 });
        for percent in percents {
            let world = World::new();
            let servers = start(&world, store, instances).await;
            let network = Network::new(&mut dice, percent);
            let place = Place::new(world, clients(&servers), Arc::clone(&network));
            let place = Arc::new(place);
            live(&place, &mut dice, PHONES, SESSIONS).await;
            run.judge(&place.history);
            run.note("calls lost", network.lost());
            stop(servers).await;
        }
    }
}

const NAME: &str = "1 to 30 % of requests and of answers lost";

#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_network_logs_nobody_out_in_memory() {
    lossy(MEMORY, 1, &mut Run::timed(NAME, "memory", 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_network_logs_nobody_out_over_redis_and_two_instances() {
    let redis = RedisServer::start();
    let run = &mut Run::timed(NAME, "Redis, 2 instances", 1);
    lossy(&patient(&redis.url()), 2, run).await;
}

/// The short form has two stores; the long one has all.
#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_network_logs_nobody_out_on_disk() {
    lossy(DISK, 1, &mut Run::timed(NAME, "disk", 1)).await;
}
