//! Many phones at once on one service.

use std::sync::Arc;

use super::harness::{MEMORY, Server, World};
use super::story::{on, whole_story};
use crate::support::redis_server::RedisServer;

const CLIENTS: usize = 8;

/// Every client has a connection of its own and lives through its phones' stories one by one.
async fn crowd(world: Arc<World>, server: Server, stories: usize) {
    let address = format!("http://{}", server.service.grpc_addr());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let world = Arc::clone(&world);
            let address = address.clone();
            tokio::spawn(async move {
                let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
                let clients = super::harness::Clients(endpoint.connect().await.unwrap());
                for story in 0..stories {
                    let mut phone = if (client + story) % 2 == 0 {
                        world.android()
                    } else {
                        world.iphone()
                    };
                    let subject = format!("{client}.{story}@crowd.test");
                    whole_story(&world, &clients, &mut phone, &subject).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_lives_its_stories_on_the_store_in_memory() {
    let world = Arc::new(World::new());
    let server = world.start(MEMORY).await;
    crowd(world, server, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_lives_its_stories_on_redis() {
    let redis = RedisServer::start();
    let world = Arc::new(World::new());
    let server = world.start(&on(&redis)).await;
    crowd(world, server, 6).await;
}
