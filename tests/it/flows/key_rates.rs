//! How many devices come in under one attestation key.

use assay::attestation::Outcome;
use assay::flow::reattest_device::{self, ReattestDevice};
use assay::flow::register_device::{self, RegisterDevice, Registered};
use assay::flow::{Failure, KeyRotation};
use assay::policy::{KeyRates, Rate, RateOutcome};
use assay::secret::Secret;
use assay::simulator::proof::Dpop;
use assay::token::challenge::ChallengePurpose;

use super::*;

over_every_store! {
    above_the_rate_a_new_device_is_refused
    a_device_that_is_in_stays_in
    other_keys_have_rates_of_their_own
    above_the_rate_a_device_may_be_reported_only
    a_trial_counts_nothing
    a_device_moves_to_keys_within_the_rate
}

const DAY: Duration = Duration::from_secs(86_400);

fn limited(world: &World, count: u32, outcome: RateOutcome) {
    let rate = Rate { count, per: DAY };
    world.change_policy(BANK, |policy| {
        policy.android.attestation_key_rate = KeyRates {
            remote: rate,
            factory: rate,
            outcome,
        };
    });
}

/// The phone's next key, for another subject.
fn next_for(world: &World, phone: &mut Phone, number: usize) -> RegisterDevice {
    phone.subject = format!("user-{number}").parse().unwrap();
    world.registration(phone)
}

async fn send(world: &World, registration: &RegisterDevice) -> Result<Registered, Failure> {
    register_device::run(&world.engine, registration.clone()).await
}

fn check(registered: &Registered) -> Option<Outcome> {
    let checks = registered.appraisal.checks.as_slice().iter();
    let mut rows = checks.filter(|check| check.name == "attestation_key_rate");
    rows.next().map(|check| check.outcome)
}

async fn above_the_rate_a_new_device_is_refused(world: World) {
    limited(&world, 3, RateOutcome::Refuse);
    let mut phone = world.phone(Kind::Android, "user-1");
    for number in 0..3 {
        let registration = next_for(&world, &mut phone, number);
        let before = world.trips();
        let registered = send(&world, &registration).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(check(&registered), Some(Outcome::Passed));
        assert_eq!(registered.above_rate, None);
    }
    let registration = next_for(&world, &mut phone, 3);
    let before = world.trips();
    let refused = send(&world, &registration).await.unwrap_err();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(refused.reason, Reason::RateLimitedAttestationKey);
    let wait = refused.retry_after.unwrap();
    assert!(Duration::ZERO < wait && wait <= DAY / 3, "{wait:?}");
    assert_eq!(world.devices(&phone.subject).await, []);
}

async fn a_device_that_is_in_stays_in(world: World) {
    limited(&world, 1, RateOutcome::Refuse);
    let mut phone = world.phone(Kind::Android, "user-1");
    let first = world.registration(&mut phone);
    let device = send(&world, &first).await.unwrap().device;
    for _ in 0..3 {
        let again = send(&world, &first).await.unwrap();
        assert_eq!(again.device, device);
        assert!(again.above_rate.is_some());
    }
    let other = next_for(&world, &mut phone, 2);
    let refused = send(&world, &other).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RateLimitedAttestationKey);
}

async fn other_keys_have_rates_of_their_own(world: World) {
    limited(&world, 1, RateOutcome::Refuse);
    for number in 0..3 {
        let subject = format!("user-{number}");
        world.registered(Kind::Android, &subject).await;
        // No such key stands behind an iPhone.
        world.registered(Kind::Apple, &subject).await;
    }
}

async fn above_the_rate_a_device_may_be_reported_only(world: World) {
    limited(&world, 1, RateOutcome::Report);
    let mut phone = world.phone(Kind::Android, "user-1");
    for number in 0..3 {
        let registration = next_for(&world, &mut phone, number);
        let registered = send(&world, &registration).await.unwrap();
        let above = Outcome::Monitored(Reason::RateLimitedAttestationKey);
        let seen = if number == 0 { Outcome::Passed } else { above };
        assert_eq!(check(&registered), Some(seen));
        let key = registered.device.attestation_key.unwrap();
        let key = data_encoding::HEXLOWER.encode(&key);
        let told = (number > 0).then(|| format!("attestation key {key}"));
        assert_eq!(registered.above_rate, told);
        assert_eq!(world.devices(&phone.subject).await.len(), 1);
    }
}

async fn a_trial_counts_nothing(world: World) {
    limited(&world, 1, RateOutcome::Refuse);
    let mut phone = world.phone(Kind::Android, "user-1");
    for number in 0..3 {
        let mut trial = next_for(&world, &mut phone, number);
        trial.validate_only = true;
        assert_eq!(check(&send(&world, &trial).await.unwrap()), None);
    }
    let registration = next_for(&world, &mut phone, 4);
    send(&world, &registration).await.unwrap();
}

async fn a_device_moves_to_keys_within_the_rate(world: World) {
    limited(&world, 2, RateOutcome::Refuse);
    let mut phone = world.registered(Kind::Android, "user-1").await;
    let subject = phone.subject.clone();
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let old = phone.key_kept();
        let challenge = world.challenge_to(ChallengePurpose::Reattest, BANK, Some(&subject));
        let evidence = phone.evidence(&challenge, BANK, world.now());
        let uri = "https://assay.example/assay.v1.DeviceService/ReattestDevice";
        let nonce = world.engine.next_nonce();
        let dpop = Dpop::new("POST", uri, world.now()).unwrap();
        let dpop = dpop
            .with_nonce(&nonce)
            .with_new_key(phone.key().thumbprint());
        let request = ReattestDevice {
            device: phone.id(),
            challenge,
            evidence,
            rotation: Some(KeyRotation {
                proof: Secret::new(dpop.sign(&old).unwrap()),
                refresh_token: None,
            }),
            validate_only: false,
            by: caller(),
        };
        let answer = reattest_device::run(&world.engine, request).await;
        outcomes.push(answer.map(|_| ()).map_err(|failure| failure.reason));
    }
    let above = Err(Reason::RateLimitedAttestationKey);
    assert_eq!(outcomes, [Ok(()), above]);
}

#[tokio::test]
async fn after_a_while_the_next_device_comes_in() {
    let world = World::in_memory();
    limited(&world, 4, RateOutcome::Refuse);
    let mut phone = world.phone(Kind::Android, "user-1");
    for number in 0..4 {
        let registration = next_for(&world, &mut phone, number);
        send(&world, &registration).await.unwrap();
    }
    for number in 4..8 {
        let registration = next_for(&world, &mut phone, number);
        let wait = send(&world, &registration).await.unwrap_err().retry_after;
        world.advance(wait.unwrap().saturating_sub(SECOND));
        let registration = next_for(&world, &mut phone, number);
        assert!(send(&world, &registration).await.is_err());
        world.advance(SECOND);
        let registration = next_for(&world, &mut phone, number);
        send(&world, &registration).await.unwrap();
    }
}
