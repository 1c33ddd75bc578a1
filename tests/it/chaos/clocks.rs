//! Phones whose clocks are a day wrong.

use std::time::Duration;

use assay::grpc::proto::RefreshOutcome;
use assay::time::{Clock, Timestamp};

use super::*;
use crate::grpc::refusal::assert_refused;

const DAY: Duration = Duration::from_secs(86_400);

fn wrong(world: &World) -> [Timestamp; 2] {
    let now = world.clock.now();
    [now.after(DAY), now.before(DAY)]
}

#[tokio::test]
async fn with_a_nonce_a_clock_that_is_a_day_wrong_does_no_harm() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    for (number, time) in wrong(&world).into_iter().enumerate() {
        let mut phone = world.android();
        let device = phone
            .join(&server, &format!("clock-{number}@chaos.test"))
            .await;
        phone.clock = Clock::manual(time);
        let grant = phone.issue(&server, &device).await.unwrap();
        let (outcome, grant) = phone.refresh(&server, &grant.refresh_token).await.unwrap();
        assert_eq!(outcome, RefreshOutcome::Rotated);
        assert!(phone.decide(&server, &grant.access_token).await.allow);
    }
    server.stop().await;
}

#[tokio::test]
async fn without_a_nonce_it_is_refused_once_and_the_nonce_of_the_refusal_helps_at_once() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    for (app, reason) in [("demo", "PROOF_NONCE_REQUIRED"), ("lax", "PROOF_STALE")] {
        for (number, time) in wrong(&world).into_iter().enumerate() {
            let mut phone = world.iphone().with_app(app);
            let subject = format!("clock-{app}-{number}@chaos.test");
            let device = phone.join(&server, &subject).await;
            let grant = phone.issue(&server, &device).await.unwrap();
            phone.clock = Clock::manual(time);
            phone.nonce = None;
            let status = phone
                .refresh(&server, &grant.refresh_token)
                .await
                .unwrap_err();
            assert_refused(&status, reason);
            let nonce = status.metadata().get("dpop-nonce").unwrap();
            phone.nonce = Some(nonce.to_str().unwrap().to_owned());
            let (outcome, _) = phone.refresh(&server, &grant.refresh_token).await.unwrap();
            assert_eq!(outcome, RefreshOutcome::Rotated);
        }
    }
    server.stop().await;
}
