//! App Attest receipts from the registration on: kept, exchanged at a server that answers like Apple's,
//! and left alone when that is no use.

mod server;

use std::sync::Arc;

use assay::attestation::apple::Attestation;
use assay::attestation::apple::receipt::refresh::{End, Outcome, ReceiptRecord, Schedule};
use assay::flow::register_device::RegisterDevice;
use assay::flow::{EvidenceInput, RECEIPT_LEASE_FOR, ReceiptExchange, get_device};
use assay::outbound::Outbound;
use assay::policy::ReceiptRule;
use assay::receipts::Worker;
use assay::simulator::Evidence;
use assay::telemetry::metrics::Metrics;

use self::server::{Apple, KEY_ID, Says};
use super::world::TEAM;
use super::*;
use crate::apple_support::receipt_range;

over_every_store! {
    a_receipt_is_kept_exchanged_and_shown
    what_is_not_due_is_not_sent
    a_receipt_that_expires_comes_to_its_end
    a_new_registration_keeps_the_newer_receipt
    a_revoked_device_is_not_asked_about
    two_workers_share_the_work
    an_app_without_a_developer_key_keeps_no_receipt
    trials_and_other_phones_keep_no_receipt
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// One instance's worker, and what it counts.
struct Instance {
    worker: Worker,
    metrics: Arc<Metrics>,
}

impl Instance {
    fn new(world: &World) -> Self {
        let metrics = Arc::new(Metrics::new("test"));
        let outbound = Outbound::new(None, None).unwrap();
        let worker = Worker::new(world.instance(), Arc::clone(&metrics), outbound);
        Self { worker, metrics }
    }

    async fn turn(&mut self) -> usize {
        self.worker.turn().await
    }

    fn shows(&self, line: &str) -> bool {
        let text = self.metrics.encode().unwrap();
        text.lines().any(|shown| shown == line)
    }

    fn counted(&self, outcome: &str) -> bool {
        self.shows(&format!(
            "assay_receipt_exchanges_total{{outcome=\"{outcome}\"}} 1"
        ))
    }
}

/// A world whose bank exchanges receipts at this server.
fn exchanging(world: &World, apple: &Apple) {
    let exchange = ReceiptExchange {
        key_file: apple.key_file().to_owned(),
        key_id: KEY_ID.to_owned(),
        url: Some(apple.url()),
    };
    world.change_app(BANK, |app| app.receipts = Some(exchange));
}

async fn kept(world: &World, phone: &Phone) -> Option<ReceiptRecord> {
    let known = get_device::run(&world.engine, &phone.id()).await.unwrap();
    known.receipt
}

async fn a_receipt_is_kept_exchanged_and_shown(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let mut phone = world.phone(Kind::Apple, "user-1");
    let registration = world.registration(&mut phone);
    let before = world.trips();
    phone.id = Some(world.send(&registration).await.unwrap().id);
    assert_eq!(world.trips().since(before), (2, 1));
    let first = kept(&world, &phone).await.unwrap();
    assert_eq!((first.risk_metric, first.last), (None, None));

    let mut instance = Instance::new(&world);
    world.advance(HOUR);
    assert_eq!(instance.turn().await, 1);
    let seen = apple.seen();
    assert_eq!(seen.len(), 1);
    seen[0].check_token(&apple, world.now());
    assert_eq!(seen[0].receipt, first.receipt);
    let second = kept(&world, &phone).await.unwrap();
    assert_eq!(
        (second.risk_metric, second.last),
        (Some(3), Some(Outcome::Renewed))
    );
    assert_ne!(second.receipt, first.receipt);
    assert!(instance.counted("renewed"));
    assert!(instance.shows("assay_receipt_risk_metric_sum 3.0"));

    // Not before the new one may be exchanged, and then that one.
    assert_eq!(instance.turn().await, 0);
    world.advance(DAY + HOUR);
    assert_eq!(instance.turn().await, 1);
    assert_eq!(apple.seen()[1].receipt, second.receipt);
}

async fn what_is_not_due_is_not_sent(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let mut instance = Instance::new(&world);
    let phone = world.registered(Kind::Apple, "user-1").await;
    world.advance(HOUR);
    instance.turn().await;
    let due_at = kept(&world, &phone).await.unwrap().due_at().unwrap();
    let opens_at = world.now().after(DAY);
    assert!(due_at >= opens_at);
    world.advance(due_at.since(world.now()).saturating_sub(MILLISECOND));
    assert_eq!(instance.turn().await, 0);
    assert!(instance.shows("assay_receipts_due 0"));
    world.advance(MILLISECOND);
    apple.say(Says::Status(503));
    assert_eq!(instance.turn().await, 1);
    assert!(instance.shows("assay_receipts_due 1"));
    // It is left alone for a while, less than the first wait.
    world.advance(SECOND * 29);
    assert_eq!(instance.turn().await, 0);
    world.advance(SECOND * 31);
    assert_eq!(instance.turn().await, 1);
    assert_eq!(apple.seen().len(), 3);
    let record = kept(&world, &phone).await.unwrap();
    assert_eq!(
        (record.attempts, record.last),
        (2, Some(Outcome::Unavailable))
    );
    assert_eq!(record.risk_metric, Some(3));
}

async fn a_receipt_that_expires_comes_to_its_end(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let mut instance = Instance::new(&world);
    let phone = world.registered(Kind::Apple, "user-1").await;
    world.advance(DAY * 90);
    assert_eq!(instance.turn().await, 0);
    let record = kept(&world, &phone).await.unwrap();
    assert_eq!(record.schedule, Schedule::Ended(End::Expired));
    assert_eq!(instance.turn().await, 0);
    assert!(instance.shows("assay_receipts_due 0"));
    assert!(apple.seen().is_empty());
}

async fn a_new_registration_keeps_the_newer_receipt(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let mut instance = Instance::new(&world);
    let mut phone = world.phone(Kind::Apple, "user-1");
    let old = world.registration(&mut phone);
    phone.id = Some(world.send(&old).await.unwrap().id);
    let first = kept(&world, &phone).await.unwrap();
    // The same again, after a lost answer, changes nothing: not even when it is due.
    world.send(&old).await.unwrap();
    assert_eq!(kept(&world, &phone).await.unwrap(), first);
    world.advance(MINUTE);
    world.register(&mut phone).await.unwrap();
    let second = kept(&world, &phone).await.unwrap();
    assert!(second.created_at > first.created_at);
    world.send(&old).await.unwrap();
    assert_eq!(kept(&world, &phone).await.unwrap(), second);
    // The index has the one place of the newer one.
    world.advance(HOUR);
    assert_eq!(instance.turn().await, 1);
    assert!(instance.shows("assay_receipts_due 1"));
    let third = kept(&world, &phone).await.unwrap();
    // The metric known stays when the phone attests again.
    world.advance(MINUTE);
    world.register(&mut phone).await.unwrap();
    let fourth = kept(&world, &phone).await.unwrap();
    assert!(fourth.created_at > third.created_at);
    assert_eq!((third.risk_metric, fourth.risk_metric), (Some(3), Some(3)));
    assert_eq!(instance.turn().await, 0);
    world.advance(HOUR);
    assert_eq!(instance.turn().await, 1);
    assert_eq!(apple.seen().len(), 2);
}

async fn a_revoked_device_is_not_asked_about(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let mut instance = Instance::new(&world);
    let phone = world.registered(Kind::Apple, "user-1").await;
    let other = world.registered(Kind::Apple, "user-2").await;
    world.advance(HOUR);
    instance.turn().await;
    instance.turn().await;
    assert_eq!(apple.seen().len(), 2);
    world.revoke(phone.id()).await.unwrap();
    world.advance(DAY * 2);
    while instance.turn().await != 0 {}
    let second = kept(&world, &other).await.unwrap();
    assert_eq!(apple.seen().len(), 3);
    assert_ne!(
        apple.seen()[2].receipt,
        kept(&world, &phone).await.unwrap().receipt
    );
    assert!(second.created_at > kept(&world, &phone).await.unwrap().created_at);
    assert_eq!(instance.turn().await, 0);
    assert!(instance.shows("assay_receipts_due 0"));
}

async fn two_workers_share_the_work(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    for number in 0..6 {
        world
            .registered(Kind::Apple, &format!("user-{number}"))
            .await;
    }
    world.advance(HOUR);
    let (mut one, mut two) = (Instance::new(&world), Instance::new(&world));
    loop {
        let (a, b) = tokio::join!(one.turn(), two.turn());
        if a + b == 0 {
            break;
        }
    }
    let mut receipts: Vec<_> = apple.seen().into_iter().map(|seen| seen.receipt).collect();
    assert_eq!(receipts.len(), 6);
    receipts.sort();
    receipts.dedup();
    assert_eq!(receipts.len(), 6);
}

#[tokio::test]
async fn a_worker_goes_on_where_another_was_cut_off() {
    let (world, apple, mut first, phone) = due().await;
    apple.say(Says::Nothing);
    let cut_off = tokio::spawn(async move { first.turn().await });
    apple.asked(1).await;
    // Another one leaves it alone meanwhile, and does it when the first is not heard of any more.
    let mut second = Instance::new(&world);
    assert_eq!(second.turn().await, 0);
    cut_off.abort();
    assert!(cut_off.await.unwrap_err().is_cancelled());
    apple.say(Says::Renewed);
    world.advance(RECEIPT_LEASE_FOR + SECOND);
    assert_eq!(second.turn().await, 1);
    assert_eq!(kept(&world, &phone).await.unwrap().risk_metric, Some(3));
}

async fn an_app_without_a_developer_key_keeps_no_receipt(world: World) {
    let apple = Apple::start(&world).await;
    let mut instance = Instance::new(&world);
    let mut phone = world.registered(Kind::Apple, "user-1").await;
    assert_eq!(kept(&world, &phone).await, None);
    world.advance(HOUR);
    assert_eq!(instance.turn().await, 0);
    // The device brings it with its next attestation.
    exchanging(&world, &apple);
    world.register(&mut phone).await.unwrap();
    assert!(kept(&world, &phone).await.is_some());
}

async fn trials_and_other_phones_keep_no_receipt(world: World) {
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let mut phone = world.phone(Kind::Apple, "user-1");
    let mut trial = world.registration(&mut phone);
    trial.validate_only = true;
    world.send(&trial).await.unwrap();
    world.registered(Kind::Android, "user-1").await;
    let mut instance = Instance::new(&world);
    world.advance(HOUR);
    assert_eq!(instance.turn().await, 0);
    assert!(instance.shows("assay_receipts_due 0"));
}

/// A phone whose receipt is due, and a worker.
async fn due() -> (World, Apple, Instance, Phone) {
    let world = World::in_memory();
    let apple = Apple::start(&world).await;
    exchanging(&world, &apple);
    let phone = world.registered(Kind::Apple, "user-1").await;
    world.advance(HOUR);
    let instance = Instance::new(&world);
    (world, apple, instance, phone)
}

#[tokio::test]
async fn every_answer_has_its_meaning() {
    use Outcome as O;
    let ended = |end| O::Ended(end);
    for (says, word, outcome) in [
        (Says::Status(304), "too_early", O::TooEarly),
        (
            Says::Text(400, "Incorrect Environment"),
            "wrong_environment",
            ended(End::WrongEnvironment),
        ),
        (
            Says::Text(400, "Bad Payload"),
            "bad_payload",
            ended(End::BadPayload),
        ),
        (Says::Status(401), "unauthorized", O::Unauthorized),
        (Says::Status(404), "no_data", ended(End::NoData)),
        (Says::Status(429), "rate_limited", O::RateLimited),
        (Says::Status(500), "unavailable", O::Unavailable),
        (Says::Status(503), "unavailable", O::Unavailable),
        (Says::Status(302), "unavailable", O::Unavailable),
        (Says::HangsUp, "unavailable", O::Unavailable),
        (Says::Endless(200), "unavailable", O::Unavailable),
        (
            Says::Text(200, "{\"receipt\": 1}"),
            "not_believed",
            O::NotBelieved,
        ),
        (Says::Text(200, ""), "not_believed", O::NotBelieved),
        (Says::TheSame, "not_believed", O::NotBelieved),
        (
            Says::Changed(|new| new.app_id.push('x')),
            "not_believed",
            O::NotBelieved,
        ),
        (
            Says::Changed(|new| new.created_at = new.created_at.before(HOUR * 2)),
            "not_believed",
            O::NotBelieved,
        ),
        (Says::OfAnotherKey, "not_believed", O::NotBelieved),
    ] {
        let (world, apple, mut instance, phone) = due().await;
        let before = kept(&world, &phone).await.unwrap();
        apple.say(says);
        assert_eq!(instance.turn().await, 1, "{word}");
        let after = kept(&world, &phone).await.unwrap();
        assert_eq!(after.last, Some(outcome), "{word}");
        assert_eq!(after.receipt, before.receipt, "{word}");
        assert!(instance.counted(word), "{word}");
        // What has ended is not asked for again; everything else is, later.
        assert_eq!(
            after.due_at().is_none(),
            matches!(outcome, O::Ended(_)),
            "{word}"
        );
        assert_eq!(instance.turn().await, 0, "{word}");
    }
}

#[tokio::test]
async fn an_app_whose_key_is_not_taken_waits_as_a_whole() {
    let (world, apple, mut instance, _) = due().await;
    for number in 2..5 {
        world
            .registered(Kind::Apple, &format!("user-{number}"))
            .await;
    }
    world.advance(HOUR);
    apple.say(Says::Status(401));
    assert_eq!(instance.turn().await, 1);
    assert!(instance.shows("assay_receipts_refused_apps 1"));
    for _ in 0..3 {
        world.advance(MINUTE * 10);
        assert_eq!(instance.turn().await, 0);
    }
    assert_eq!(apple.seen().len(), 1);
    assert!(instance.shows("assay_receipts_due 3"));
    // One asks again after a while, and when Apple takes the key all of them.
    world.advance(HOUR * 2);
    apple.say(Says::Renewed);
    assert_eq!(instance.turn().await, 1);
    assert!(instance.shows("assay_receipts_refused_apps 0"));
    assert_eq!(instance.turn().await, 3);
}

#[tokio::test]
async fn while_apple_asks_to_slow_down_nothing_is_sent() {
    let (world, apple, mut instance, _) = due().await;
    world.registered(Kind::Apple, "user-2").await;
    world.advance(HOUR);
    apple.say(Says::SlowDown(1800));
    assert_eq!(instance.turn().await, 1);
    world.advance(MINUTE * 29);
    assert_eq!(instance.turn().await, 0);
    apple.say(Says::Renewed);
    world.advance(MINUTE * 3);
    assert_eq!(instance.turn().await, 1);
    assert_eq!(instance.turn().await, 1);
}

#[tokio::test]
async fn a_developer_key_that_cannot_be_read_is_an_alarm_and_is_read_again() {
    let (world, apple, mut instance, _) = due().await;
    let good = std::fs::read(apple.key_file()).unwrap();
    std::fs::write(apple.key_file(), "no key").unwrap();
    assert_eq!(instance.turn().await, 0);
    assert!(instance.shows("assay_receipts_refused_apps 1"));
    std::fs::write(apple.key_file(), good).unwrap();
    world.advance(MINUTE);
    assert_eq!(instance.turn().await, 1);
    assert!(instance.shows("assay_receipts_refused_apps 0"));
    assert_eq!(apple.seen()[0].team_id(), TEAM);
}

/// A registration with a bit of the receipt turned over: no signature of the attestation covers it.
fn with_a_bad_receipt(world: &World, phone: &mut Phone) -> RegisterDevice {
    let mut registration = world.registration(phone);
    let evidence = phone
        .device
        .evidence(&registration.challenge, BANK, world.now());
    let Evidence::Apple {
        mut attestation_object,
        key_id,
        client_data,
    } = evidence.unwrap()
    else {
        panic!("not an iPhone");
    };
    let receipt = receipt_range(&attestation_object);
    attestation_object[receipt.start + receipt.len() / 2] ^= 1;
    registration.evidence = EvidenceInput::Apple {
        attestation: Attestation::new(attestation_object, key_id).unwrap(),
        client_data,
    };
    registration
}

#[tokio::test]
async fn policy_says_whether_a_receipt_has_to_be_good() {
    for (rule, outcome) in [
        (ReceiptRule::Ignore, Ok(())),
        (ReceiptRule::Verify, Err(Reason::AttestationChainUntrusted)),
        (ReceiptRule::Require, Err(Reason::AttestationChainUntrusted)),
    ] {
        let world = World::in_memory();
        let apple = Apple::start(&world).await;
        exchanging(&world, &apple);
        world.change_policy(BANK, |policy| policy.apple.receipt = rule);
        let mut good = world.phone(Kind::Apple, "user-1");
        world.register(&mut good).await.unwrap();
        assert!(kept(&world, &good).await.is_some());
        let mut phone = world.phone(Kind::Apple, "user-2");
        let registration = with_a_bad_receipt(&world, &mut phone);
        let registered = world.send(&registration).await;
        phone.id = registered.as_ref().ok().map(|device| device.id);
        assert_eq!(registered.map(|_| ()), outcome, "{rule:?}");
        // One that is not believed is not kept.
        if phone.id.is_some() {
            assert_eq!(kept(&world, &phone).await, None);
        }
    }
}
