//! One refresh token presented sixteen times at once, each time with a proof of its own: one rotation,
//! one successor.

use std::sync::Arc;

use super::history::{Answer, Entry};
use super::network::Network;
use super::phones::Place;
use super::scale::Run;
use super::*;

const AT_ONCE: usize = 16;
/// Rounds, of the short form as well: they are cheap.
const ROUNDS: u32 = 1000;
/// A session serves so many rounds.
const ROUNDS_OF_A_SESSION: u32 = 20;

async fn crowd(store: &str, instances: usize, run: &mut Run) {
    let mut dice = run.next().unwrap();
    let world = World::new();
    let servers = start(&world, store, instances).await;
    let network = Network::new(&mut dice, 0);
    let place = Arc::new(Place::new(world, clients(&servers), network));
    let mut owner = place.join(&mut dice, "crowd@chaos.test").await.unwrap();
    let mut held = place.open(&mut owner, &mut dice).await.unwrap();
    let mut rounds = 1;
    loop {
        let before = place.history.len();
        let both = (&mut owner, &mut held);
        place.refresh_at_once(both, AT_ONCE, &mut dice).await;
        let made = place.history.entries();
        let refreshed = |entry: &&Entry| matches!(entry.answer, Answer::Refreshed(..));
        let answered = made[before..].iter().filter(refreshed).count();
        // A connection that has reached its age may take an answer with it; nobody is refused.
        let lost = |entry: &&Entry| entry.answer == Answer::Lost;
        let lost = made[before..].iter().filter(lost).count();
        assert_eq!(
            answered + lost,
            AT_ONCE,
            "round {rounds}: {:?}",
            &made[before..]
        );
        assert!(answered > 0);
        run.note("calls lost", lost as u64);
        if run.next().is_none() {
            break;
        }
        if rounds % ROUNDS_OF_A_SESSION == 0 {
            held = place.open(&mut owner, &mut dice).await.unwrap();
        }
        rounds += 1;
    }
    run.judge(&place.history);
    stop(servers).await;
}

const NAME: &str = "sixteen refreshes at once";

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_rotate_once_in_memory() {
    crowd(MEMORY, 1, &mut Run::counted(NAME, "memory", ROUNDS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_rotate_once_on_disk() {
    crowd(DISK, 1, &mut Run::counted(NAME, "disk", ROUNDS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_at_once_rotate_once_over_redis_and_two_instances() {
    let redis = RedisServer::start();
    let run = &mut Run::counted(NAME, "Redis, 2 instances", ROUNDS);
    crowd(&patient(&redis.url()), 2, run).await;
}
