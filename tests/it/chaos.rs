//! The promises of sessions under faults. Phones live through sessions over real gRPC while networks lose
//! and servers die; everything asked and answered is written down, and a checker that knows nothing
//! of the service decides (`chaos/checker.rs`). docs/chaos.md explains how to run it for longer.

mod checker;
mod clocks;
mod crowds;
mod history;
mod instances;
mod losses;
mod network;
mod outages;
mod page;
mod phones;
mod scale;

use std::time::Duration;

use crate::grpc::harness::{Clients, MEMORY, Server, World};
use crate::support::redis_server::RedisServer;

/// A `[store]` on disk.
const DISK: &str = "kind = \"disk\"\ndirectory = \"state\"";

/// A `[store]` at such an address, which is soon taken for away.
fn redis_at(url: &str) -> String {
    format!("kind = \"redis\"\nurl = \"{url}\"\nrequest = \"300ms\"\nconnect = \"300ms\"")
}

fn redis_on(server: &RedisServer) -> String {
    redis_at(&server.url())
}

/// The same waited for, however busy the machine is.
fn patient(url: &str) -> String {
    redis_at(url).replace("300ms", "10s")
}

/// Instances of one service: the same keys, the same store.
async fn start(world: &World, store: &str, instances: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..instances {
        servers.push(world.start(store).await);
    }
    servers
}

fn clients(servers: &[Server]) -> Vec<Clients> {
    servers
        .iter()
        .map(|server| server.clients.clone())
        .collect()
}

async fn stop(servers: Vec<Server>) {
    for server in servers {
        // What phones left behind is not waited for.
        let _ = server.service.stop().await;
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
