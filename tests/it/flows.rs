//! The flows, without gRPC: the same stories over every store, then what happens to them when the
//! store loses answers, when many come at once, and when anything happens in any order.

mod acknowledging;
mod auditing;
mod batches;
mod confirming;
mod consents;
mod cutting;
mod drilling;
mod erasing;
mod faults;
mod finding;
mod fleetwide;
mod following;
mod issuing;
mod key_rates;
mod limiting;
mod linking;
mod losing;
mod model;
mod phone;
mod previewing;
mod promoting;
mod proving;
mod races;
mod reappraising;
mod receipt_refresh;
mod refreshing;
mod registering;
mod renewing;
mod repeating;
mod revoking;
mod stepping;
mod suspecting;
mod suspending;
mod trips;
mod truth;
mod verifying;
mod watched;
mod watching;
mod world;

use std::time::Duration;

use assay::reason::Reason;

use self::phone::{Kind, Phone};
use self::watched::Hold;
use self::world::{BANK, World, caller};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Makes a test of each story for each store.
macro_rules! over_every_store {
    ($($story:ident)*) => {
        mod over_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(crate::flows::world::World::in_memory()).await;
            })*
        }

        mod over_disk {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                let dir = tempfile::tempdir().unwrap();
                super::$story(crate::flows::world::World::on_disk(dir.path())).await;
            })*
        }

        mod over_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                let server = crate::support::redis_server::RedisServer::start();
                super::$story(crate::flows::world::World::over_redis(&server)).await;
            })*
        }
    };
}

use over_every_store;
