//! How long a re-appraisal of many devices takes, and what they take up.
//!
//! `cargo bench --bench reappraisal -- 1000000` over the embedded store in memory,
//! `cargo bench --bench reappraisal -- 1000000 redis://127.0.0.1:6379` over a Redis server that has
//! nothing in it and is used for nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement, not the service"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use assay::attestation::lists::{Google, Lists};
use assay::attestation::status_list::StatusList;
use assay::flow::reappraise_devices::{Mark, Run, STEP_PAUSE, Scope};
use assay::flow::{Apps, Engine};
use assay::session::{Actor, Position};
use assay::simulator::Authorities;
use assay::time::{Clock, monotonic_now};

use support::{Used, batch, engine, store, unique, write};

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let count = args.first().map_or(20_000, |count| count.parse().unwrap());
    let redis = args.get(1).map(String::as_str);
    let dir = tempfile::tempdir().unwrap();
    let authorities = Authorities::generate(Clock::system().now()).unwrap();
    let engine = engine(dir.path(), &store(redis), &authorities);
    require(&engine, 202_001);
    let before = Used::now(redis);
    write(&engine, count).await;
    let used = Used::now(redis).since(&before);
    println!("{count} devices written: {used}");
    if redis.is_some() {
        println!(
            "{} bytes of Redis for each device",
            used.redis_bytes / u64::from(count)
        );
    }
    measure("trial, nothing to find", redis, &engine, all(true)).await;
    require(&engine, 202_601);
    measure("trial, 1 of 100 below policy", redis, &engine, all(true)).await;
    measure("run, 1 of 100 below policy", redis, &engine, all(false)).await;
    measure("run, nothing more to do", redis, &engine, all(false)).await;
    for (what, serial) in [
        ("one new serial, one device", unique(4)),
        ("one new serial, a batch", batch(7)),
    ] {
        list(&engine, &serial);
        let marked = Run::marked(scope(false), vec![Mark::Serial(serial)]);
        measure(what, redis, &engine, marked).await;
    }
}

fn require(engine: &Engine, patch_level: u32) {
    let mut apps = Apps::clone(&engine.apps.load());
    for app in apps.values_mut() {
        let android = &mut Arc::make_mut(app).policy.android;
        android.os_version_min = 100_000;
        android.os_patch_level_min = patch_level;
    }
    engine.apps.store(Arc::new(apps));
}

fn list(engine: &Engine, serial: &str) {
    let json = format!(r#"{{"entries":{{"{serial}":{{"status":"REVOKED"}}}}}}"#);
    engine.lists.store(Arc::new(Lists {
        google: Google::NotUsed(StatusList::parse(json.as_bytes()).unwrap()),
        own: None,
    }));
}

fn scope(validate_only: bool) -> Scope {
    Scope {
        app: None,
        validate_only,
        by: Actor::service(),
    }
}

fn all(validate_only: bool) -> Run {
    Run::all(scope(validate_only), Position::default())
}

async fn measure(what: &str, redis: Option<&str>, engine: &Engine, mut run: Run) {
    let before = Used::now(redis);
    let (mut steps, mut longest) = (0_u32, Duration::ZERO);
    while !run.is_done() {
        let began = monotonic_now();
        let _ = run.step(engine).await.unwrap();
        longest = longest.max(began.elapsed());
        steps += 1;
    }
    let used = Used::now(redis).since(&before);
    let paced = used.wall + STEP_PAUSE * steps;
    let counts = run.counts();
    println!(
        "{what}: {used}; {steps} steps, the longest {longest:?}; paced about {paced:.1?}; \
         {} devices, {} suspended, {} revoked",
        counts.devices, counts.suspended, counts.revoked
    );
}
