//! An instance is killed at any moment of a revocation: the change and the event that tells of it are both
//! there or both not, and who follows the outbox through another instance reads it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay::time::Clock;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Endpoint;

use super::scale::Run;
use super::*;
use crate::grpc::harness::{events_of, eventually, revoke};
use crate::support::proxy::Proxy;
use crate::support::redis_server::free_port;

/// Rounds of the short form.
const ROUNDS: u32 = 5;
/// How late answers are where one of them shall not arrive.
const LATE_MILLIS: u64 = 1500;
const LATE: Duration = Duration::from_millis(LATE_MILLIS);
/// The longest a revocation is under way before its instance dies.
const UNDER_WAY_MICROS: u64 = 12_000;

/// An instance in a process of its own.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn process(world: &World, store: &str) -> (Process, Clients) {
    let port = free_port();
    let config = world.config(store);
    let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    let path = world.path().join("process.toml");
    std::fs::write(&path, config).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_assay"))
        .args(["serve", "--config"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(world.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let process = Process(child);
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    let channel = eventually("the process answers", async || {
        endpoint.connect().await.ok()
    })
    .await;
    (process, Clients(channel))
}

fn revoking(through: &Clients, device_id: &str) -> JoinHandle<Result<(), Status>> {
    let (through, device_id) = (through.clone(), device_id.to_owned());
    tokio::spawn(async move { revoke(&through, &device_id).await.map(|_| ()) })
}

/// How often the audit list tells of the revocation.
async fn told(through: &Clients, device_id: &str) -> usize {
    let events = events_of(through, device_id).await.unwrap();
    let revoked = |event: &&assay::grpc::proto::AuditEvent| event.kind == "device-revoked";
    events.iter().filter(revoked).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_of_a_killed_instance_is_told_if_and_only_if_it_holds() {
    let redis = RedisServer::start();
    let world = World::new();
    let mut run = Run::counted("instance killed during a revocation", "Redis", ROUNDS);
    // The keys are there before the process looks for them.
    let other = world.start(&patient(&redis.url())).await;
    while let Some(mut dice) = run.next() {
        // The process has the clock of the machine.
        world.clock.set(Clock::system().now());
        let (process, clients) = process(&world, &patient(&redis.url())).await;
        let mut phone = world.android();
        let subject = format!("killed-{}@chaos.test", dice.below(u64::MAX));
        let device = phone.join(&other, &subject).await;
        let grant = phone.issue(&other, &device).await.unwrap();
        let answer = revoking(&clients, &device.device_id);
        tokio::time::sleep(Duration::from_micros(dice.below(UNDER_WAY_MICROS))).await;
        drop(process);
        let acknowledged = answer.await.unwrap().is_ok();
        let holds = !phone.decide(&other, &grant.access_token).await.allow;
        assert!(holds || !acknowledged, "acknowledged and gone");
        let times = told(&other, &device.device_id).await;
        assert_eq!(times, usize::from(holds), "held: {holds}");
        run.note("revocations held", u64::from(holds));
        run.note("acknowledged", u64::from(acknowledged));
        // Whoever asks again gets there, and it is told once.
        revoke(&other, &device.device_id).await.unwrap();
        assert!(!phone.decide(&other, &grant.access_token).await.allow);
        assert_eq!(told(&other, &device.device_id).await, 1);
        run.checked(4);
    }
    other.stop().await;
}

/// The worst moment: the change is in the store, and its instance never learns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_whose_instance_died_between_commit_and_answer_is_told() {
    let redis = RedisServer::start();
    let world = World::new();
    let other = world.start(&patient(&redis.url())).await;
    for attempt in 0..5 {
        let proxy = Proxy::to(redis.port()).await;
        let store = patient(&proxy.url());
        world.clock.set(Clock::system().now());
        let (process, clients) = process(&world, &store).await;
        let mut phone = world.iphone();
        let subject = format!("between-{attempt}@chaos.test");
        let device = phone.join(&clients, &subject).await;
        let grant = phone.issue(&clients, &device).await.unwrap();
        // The answer to the loading trip is let through. That to the commit is as late, and thrown away
        // as soon as the commit is seen to be done.
        proxy.delay_answers(LATE);
        let answer = revoking(&clients, &device.device_id);
        eventually("the revocation holds", async || {
            (told(&other, &device.device_id).await > 0).then_some(())
        })
        .await;
        proxy.swallow_answers(true);
        pause(LATE_MILLIS).await;
        let between = !answer.is_finished();
        drop(process);
        let acknowledged = answer.await.unwrap().is_ok();
        assert!(!phone.decide(&other, &grant.access_token).await.allow);
        assert_eq!(told(&other, &device.device_id).await, 1);
        if between && !acknowledged {
            other.stop().await;
            return;
        }
    }
    panic!("every answer was quicker than this test");
}
