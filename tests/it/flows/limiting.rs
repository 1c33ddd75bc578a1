//! How often things may be done, and that nobody pays for what others do.

use assay::client::{Address, ClientContext};
use assay::config::{Config, EXAMPLE};
use assay::flow::reappraise_devices::{Run, Scope};
use assay::flow::{
    Failure, Grant, introspect_token, issue_session, refresh_session, register_device,
    verify_request,
};
use assay::policy::{Consequence, Rate, Rates, ReuseRule, ServiceRates};
use assay::secret::Secret;
use assay::session::{Actor, Position, RefreshOutcome};

use super::world::SHOP;
use super::*;

over_every_store! {
    above_its_rate_a_device_opens_no_session
    the_devices_of_a_subject_share_its_rate
    what_is_refused_otherwise_uses_up_nothing
    a_subject_registers_so_many_devices
    a_retry_is_no_refresh
    one_token_is_tried_so_often
    tries_never_keep_a_token_from_its_successor
    a_network_asks_so_often
    sixty_four_bits_of_an_address_count
    without_an_address_no_network_is_counted
    a_caller_asks_so_often
    what_people_do_is_not_limited
    a_request_that_starts_again_counts_once
    a_token_used_twice_costs_its_device
    a_failure_costs_its_network_and_nobody_else
    a_trial_asks_for_nothing
    what_is_held_against_a_device_lowers_its_rates
    lost_answers_admit_no_more
}

const HOUR: Duration = Duration::from_secs(3600);

#[expect(clippy::unnecessary_wraps, reason = "rates are set or not")]
const fn hourly(count: u32) -> Option<Rate> {
    Some(Rate { count, per: HOUR })
}

fn limit(world: &World, change: impl FnOnce(&mut Rates)) {
    world.change_policy(BANK, |policy| {
        policy.on_refresh_reuse = ReuseRule::Report;
        policy.devices_per_subject_max = 10;
        policy.sessions_per_device_max = 10;
        policy.sessions_per_subject_max = 10;
        change(&mut policy.rates);
    });
}

fn from(last: u8) -> ClientContext {
    ClientContext {
        address: Some(Address::V4([192, 0, 2, last])),
        locale: None,
    }
}

async fn issue(world: &World, phone: &Phone, client: &ClientContext) -> Result<Grant, Failure> {
    let opening = issue_session::IssueSession {
        client: client.clone(),
        ..world.opening(phone, &["accounts"])
    };
    issue_session::run(&world.engine, opening).await
}

async fn refresh(
    world: &World,
    phone: &Phone,
    token: &Secret<String>,
    client: &ClientContext,
) -> Result<refresh_session::Refreshed, Failure> {
    let request = refresh_session::RefreshSession {
        refresh_token: token.clone(),
        proof: Secret::new(world.proof(phone, "RefreshSession")),
        scopes: world::scopes(&[]),
        client: client.clone(),
        by: caller(),
    };
    refresh_session::run(&world.engine, request).await
}

/// The reason of a refusal by a limit, which says when to come again.
fn limited<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Reason {
    let failure = answer.unwrap_err();
    let wait = failure.retry_after.expect("it says when to come again");
    assert!(!wait.is_zero() && wait <= HOUR, "{wait:?}");
    failure.reason
}

async fn above_its_rate_a_device_opens_no_session(world: World) {
    limit(&world, |rates| rates.issue.device = hourly(2));
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = issue(&world, &phone, &client).await.unwrap();
    issue(&world, &phone, &client).await.unwrap();
    let sessions = world.sessions(&phone.subject).await;
    let before = world.trips();
    let refused = limited(issue(&world, &phone, &client).await);
    assert_eq!(refused, Reason::RateLimitedDevice);
    assert_eq!(world.trips().since(before), (2, 1));
    // Nothing has ended, and nobody else is concerned.
    assert_eq!(world.sessions(&phone.subject).await, sessions);
    assert_eq!(world.verify(&phone, &first.access_token).await, Ok(()));
    let second = world.registered(Kind::Apple, "user-1").await;
    issue(&world, &second, &client).await.unwrap();
    let other = world.registered(Kind::Android, "user-2").await;
    issue(&world, &other, &client).await.unwrap();
}

async fn the_devices_of_a_subject_share_its_rate(world: World) {
    limit(&world, |rates| rates.issue.subject = hourly(3));
    let client = ClientContext::default();
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    for phone in [&one, &two, &one] {
        issue(&world, phone, &client).await.unwrap();
    }
    let refused = limited(issue(&world, &two, &client).await);
    assert_eq!(refused, Reason::RateLimitedSubject);
    let other = world.registered(Kind::Android, "user-2").await;
    issue(&world, &other, &client).await.unwrap();
    // Another app has rates of its own.
    world.change_policy(SHOP, |policy| {
        policy.devices_per_subject_max = 10;
        policy.sessions_per_subject_max = 10;
    });
    let mut phone = world.phone(Kind::Android, "user-1");
    let challenge = world.challenge(SHOP, Some(&phone.subject));
    let registration = world.registration_for(&mut phone, SHOP, challenge);
    phone.id = Some(world.send(&registration).await.unwrap().id);
    issue(&world, &phone, &client).await.unwrap();
}

async fn what_is_refused_otherwise_uses_up_nothing(world: World) {
    limit(&world, |rates| {
        rates.issue.device = hourly(2);
        rates.issue.subject = hourly(2);
        rates.refresh.device = hourly(1);
        rates.refresh.subject = hourly(1);
    });
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let thief = world.registered(Kind::Android, "user-2").await;
    // Whoever knows subject and device has no key, and whoever has the key may ask for too much.
    for _ in 0..5 {
        let mut opening = world.opening(&phone, &["accounts"]);
        opening.proof = Secret::new(world.proof(&thief, "IssueSession"));
        let seen = world.open(opening).await.map(|_| ());
        assert_eq!(seen, Err(Reason::ProofKeyMismatch));
        let seen = world.open(world.opening(&phone, &["nothing"])).await;
        assert_eq!(seen.map(|_| ()), Err(Reason::ScopeNotAllowed));
    }
    let opening = world.opening(&phone, &["accounts"]);
    let grant = world.open(opening.clone()).await.unwrap();
    for _ in 0..5 {
        let replayed = world.open(opening.clone()).await.map(|_| ());
        assert_eq!(replayed, Err(Reason::ProofReplayed));
        let stolen = world.refresh(&thief, &grant.refresh_token).await;
        assert_eq!(stolen.map(|_| ()), Err(Reason::TokenInvalid));
    }
    issue(&world, &phone, &client).await.unwrap();
    let refreshed = refresh(&world, &phone, &grant.refresh_token, &client).await;
    assert_eq!(refreshed.unwrap().outcome, RefreshOutcome::Rotated);
}

async fn a_subject_registers_so_many_devices(world: World) {
    limit(&world, |rates| rates.register.subject = hourly(2));
    let mut phone = world.phone(Kind::Android, "user-1");
    let first = world.registration(&mut phone);
    let device = world.send(&first).await.unwrap();
    // The same again is not one more.
    for _ in 0..3 {
        assert_eq!(world.send(&first).await, Ok(device.clone()));
    }
    world.registered(Kind::Apple, "user-1").await;
    let mut third = world.phone(Kind::Android, "user-1");
    let registration = world.registration(&mut third);
    let refused = register_device::run(&world.engine, registration).await;
    assert_eq!(limited(refused), Reason::RateLimitedSubject);
    assert_eq!(world.devices(&phone.subject).await.len(), 2);
    assert_eq!(world.send(&first).await, Ok(device));
    world.registered(Kind::Android, "user-2").await;
}

async fn a_retry_is_no_refresh(world: World) {
    limit(&world, |rates| {
        rates.refresh.device = hourly(2);
        rates.refresh.subject = hourly(2);
    });
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let mut used = grant.refresh_token.clone();
    let mut token = grant.refresh_token;
    for _ in 0..2 {
        let rotated = refresh(&world, &phone, &token, &client).await.unwrap();
        assert_eq!(rotated.outcome, RefreshOutcome::Rotated);
        for _ in 0..5 {
            let before = world.trips();
            let again = refresh(&world, &phone, &token, &client).await.unwrap();
            assert_eq!(again.outcome, RefreshOutcome::Retry);
            assert_eq!(world.trips().since(before), (1, 0));
        }
        used = std::mem::replace(&mut token, rotated.grant.refresh_token);
    }
    let refused = limited(refresh(&world, &phone, &token, &client).await);
    assert_eq!(refused, Reason::RateLimitedSubject);
    // The token that was refused is as good as before, and the answer before it is given again.
    let again = refresh(&world, &phone, &used, &client).await.unwrap();
    assert_eq!(again.outcome, RefreshOutcome::Retry);
    assert_eq!(again.grant.refresh_token.expose(), token.expose());
}

async fn one_token_is_tried_so_often(world: World) {
    limit(&world, |rates| rates.refresh_retry = hourly(3));
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut token = world.issue(&phone).await.unwrap().refresh_token;
    for _ in 0..3 {
        let mut next = None;
        for _ in 0..3 {
            next = Some(refresh(&world, &phone, &token, &client).await.unwrap());
        }
        let before = world.trips();
        let refused = limited(refresh(&world, &phone, &token, &client).await);
        assert_eq!(refused, Reason::RateLimitedDevice);
        assert_eq!(world.trips().since(before), (1, 0));
        token = next.unwrap().grant.refresh_token;
    }
}

async fn tries_never_keep_a_token_from_its_successor(world: World) {
    limit(&world, |rates| rates.refresh_retry = hourly(2));
    let phone = world.registered(Kind::Android, "user-1").await;
    let token = world.issue(&phone).await.unwrap().refresh_token;
    let proof = world.proof(&phone, "RefreshSession");
    let first = world.refresh_with(proof.clone(), &token, &[]).await;
    let token = first.unwrap().grant.refresh_token;
    // Somebody who has seen token and proof sends them again and again.
    for _ in 0..5 {
        let replayed = world.refresh_with(proof.clone(), &token, &[]).await;
        assert_eq!(replayed.map(|_| ()), Err(Reason::ProofReplayed));
    }
    let refreshed = world.refresh(&phone, &token).await.unwrap();
    assert_eq!(refreshed.outcome, RefreshOutcome::Rotated);
}

async fn a_network_asks_so_often(mut world: World) {
    world.engine.rates = ServiceRates {
        register: hourly(1),
        issue: hourly(2),
        refresh: hourly(1),
        ..ServiceRates::default()
    };
    limit(&world, |_| {});
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-2").await;
    let grant = issue(&world, &one, &from(1)).await.unwrap();
    issue(&world, &two, &from(1)).await.unwrap();
    let before = world.trips();
    let refused = limited(issue(&world, &two, &from(1)).await);
    assert_eq!(refused, Reason::RateLimitedIp);
    assert_eq!(world.trips().since(before), (1, 0));
    issue(&world, &two, &from(2)).await.unwrap();
    // Each thing has a rate of its own.
    let token = grant.refresh_token;
    let refreshed = refresh(&world, &one, &token, &from(1)).await.unwrap();
    let before = world.trips();
    let refused = limited(refresh(&world, &one, &token, &from(1)).await);
    assert_eq!(refused, Reason::RateLimitedIp);
    assert_eq!(world.trips().since(before), (1, 0));
    let token = refreshed.grant.refresh_token;
    refresh(&world, &one, &token, &from(2)).await.unwrap();
    for (user, last, admitted) in [
        ("user-3", 1, true),
        ("user-4", 1, false),
        ("user-4", 2, true),
    ] {
        let mut phone = world.phone(Kind::Android, user);
        let registration = register_device::RegisterDevice {
            client: from(last),
            ..world.registration(&mut phone)
        };
        let answer = register_device::run(&world.engine, registration).await;
        assert_eq!(answer.is_ok(), admitted);
        if !admitted {
            assert_eq!(limited(answer), Reason::RateLimitedIp);
            assert_eq!(world.devices(&phone.subject).await, []);
        }
    }
}

async fn sixty_four_bits_of_an_address_count(mut world: World) {
    world.engine.rates.issue = hourly(1);
    limit(&world, |_| {});
    let phone = world.registered(Kind::Android, "user-1").await;
    let at = |network: u8, host: u8| ClientContext {
        address: Some(Address::from_v6([
            0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host,
        ])),
        locale: None,
    };
    issue(&world, &phone, &at(1, 1)).await.unwrap();
    let refused = limited(issue(&world, &phone, &at(1, 2)).await);
    assert_eq!(refused, Reason::RateLimitedIp);
    issue(&world, &phone, &at(2, 1)).await.unwrap();
}

async fn without_an_address_no_network_is_counted(mut world: World) {
    world.engine.rates.issue = hourly(1);
    limit(&world, |_| {});
    let phone = world.registered(Kind::Android, "user-1").await;
    for _ in 0..5 {
        let before = world.trips();
        let issued = issue(&world, &phone, &ClientContext::default()).await;
        assert!(issued.is_ok());
        // And where nothing is limited nothing is written by the trip that loads.
        assert_eq!(world.trips().claims, before.claims);
    }
}

async fn a_caller_asks_so_often(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    world.engine.rates.caller = hourly(3);
    world.verify(&phone, &grant.access_token).await.unwrap();
    assert_eq!(world.active(&grant.access_token).await, Ok(true));
    let refreshed = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    let token = refreshed.grant.access_token;
    // That is about the caller: it is no verdict on what was presented.
    let before = world.trips();
    let call = world.call(&phone, &token);
    let refused = verify_request::run(&world.engine, call).await;
    assert_eq!(limited(refused), Reason::RateLimitedCaller);
    assert_eq!(world.trips().since(before), (1, 0));
    let refused = introspect_token::run(&world.engine, &token, &caller()).await;
    assert_eq!(limited(refused), Reason::RateLimitedCaller);
    let client = ClientContext::default();
    let refused = issue(&world, &phone, &client).await;
    assert_eq!(limited(refused), Reason::RateLimitedCaller);
    let mut other = world.phone(Kind::Apple, "user-2");
    let refused = world.register(&mut other).await;
    assert_eq!(refused, Err(Reason::RateLimitedCaller));
    // Another caller is not concerned.
    let by = Actor::caller("spiffe://example/others".into());
    let call = verify_request::VerifyRequest {
        by,
        ..world.call(&phone, &token)
    };
    assert_eq!(world.decide(call).await, Ok(Ok(())));
}

async fn what_people_do_is_not_limited(mut world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let other = world.registered(Kind::Apple, "user-1").await;
    world.engine.rates.caller = hourly(1);
    world.issue(&phone).await.unwrap();
    let refused = world.issue(&phone).await.map(|_| ());
    assert_eq!(refused, Err(Reason::RateLimitedCaller));
    assert!(world.revoke(phone.id()).await.is_ok());
    assert!(world.revoke(other.id()).await.is_ok());
    assert_eq!(world.devices(&phone.subject).await.len(), 2);
}

async fn a_request_that_starts_again_counts_once(mut world: World) {
    world.engine.rates.issue = hourly(2);
    world.engine.rates.refresh = hourly(2);
    limit(&world, |rates| {
        rates.issue.device = hourly(2);
        rates.refresh.device = hourly(2);
        rates.refresh_retry = hourly(3);
    });
    let phone = world.registered(Kind::Android, "user-1").await;
    world.store.overtake(3);
    let grant = issue(&world, &phone, &from(1)).await.unwrap();
    issue(&world, &phone, &from(1)).await.unwrap();
    let refused = issue(&world, &phone, &from(1)).await;
    assert_eq!(limited(refused), Reason::RateLimitedIp);
    world.store.overtake(3);
    let refreshed = refresh(&world, &phone, &grant.refresh_token, &from(1)).await;
    let token = refreshed.unwrap().grant.refresh_token;
    let again = refresh(&world, &phone, &grant.refresh_token, &from(1)).await;
    assert_eq!(again.unwrap().outcome, RefreshOutcome::Retry);
    refresh(&world, &phone, &token, &from(2)).await.unwrap();
}

async fn a_token_used_twice_costs_its_device(mut world: World) {
    world.engine.rates.failure_cost = 3;
    limit(&world, |rates| rates.refresh.device = hourly(6));
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let old = world.issue(&phone).await.unwrap().refresh_token;
    let mut token = old.clone();
    for _ in 0..2 {
        let rotated = refresh(&world, &phone, &token, &client).await.unwrap();
        token = rotated.grant.refresh_token;
    }
    let before = world.trips();
    let reused = refresh(&world, &phone, &old, &client).await.unwrap_err();
    assert_eq!(reused.reason, Reason::RefreshTokenReused);
    assert_eq!(world.trips().since(before), (2, 0));
    // Two refreshes and a failure that counts as three leave one.
    let rotated = refresh(&world, &phone, &token, &client).await.unwrap();
    let token = rotated.grant.refresh_token;
    let refused = refresh(&world, &phone, &token, &client).await;
    assert_eq!(limited(refused), Reason::RateLimitedDevice);
    // Failing on does not lock it out for longer than an interval.
    for _ in 0..5 {
        refresh(&world, &phone, &old, &client).await.unwrap_err();
    }
    let refused = refresh(&world, &phone, &token, &client).await;
    let wait = refused.unwrap_err().retry_after.unwrap();
    assert!(wait <= HOUR / 6, "{wait:?}");
}

async fn a_failure_costs_its_network_and_nobody_else(mut world: World) {
    world.engine.rates.failure_cost = 2;
    world.engine.rates.issue = hourly(4);
    limit(&world, |rates| rates.issue.device = hourly(1));
    let phone = world.registered(Kind::Android, "user-1").await;
    let thief = world.registered(Kind::Android, "user-2").await;
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.proof = Secret::new(world.proof(&thief, "IssueSession"));
    opening.client = from(1);
    let before = world.trips();
    let seen = issue_session::run(&world.engine, opening).await;
    assert_eq!(seen.unwrap_err().reason, Reason::ProofKeyMismatch);
    assert_eq!(world.trips().since(before), (2, 0));
    // One and two more leave one.
    issue(&world, &thief, &from(1)).await.unwrap();
    let refused = issue(&world, &thief, &from(1)).await;
    assert_eq!(limited(refused), Reason::RateLimitedIp);
    issue(&world, &phone, &from(2)).await.unwrap();
    // What an honest app meets costs nothing more.
    let other = world.registered(Kind::Android, "user-3").await;
    let before = world.trips();
    let opening = issue_session::IssueSession {
        client: from(3),
        ..world.opening(&other, &["nothing"])
    };
    let seen = issue_session::run(&world.engine, opening).await;
    assert_eq!(seen.unwrap_err().reason, Reason::ScopeNotAllowed);
    assert_eq!(world.trips().since(before), (1, 0));
}

async fn a_trial_asks_for_nothing(mut world: World) {
    world.engine.rates.register = hourly(1);
    world.engine.rates.caller = hourly(1);
    limit(&world, |rates| rates.register.subject = hourly(1));
    let mut phone = world.phone(Kind::Android, "user-1");
    for validate_only in [true, true, true, false] {
        let registration = register_device::RegisterDevice {
            client: from(1),
            validate_only,
            ..world.registration(&mut phone)
        };
        register_device::run(&world.engine, registration)
            .await
            .unwrap();
    }
}

async fn what_is_held_against_a_device_lowers_its_rates(world: World) {
    limit(&world, |rates| {
        rates.issue.device = hourly(6);
        rates.doubt_divisor = 3;
    });
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    issue(&world, &phone, &client).await.unwrap();
    world.change_policy(BANK, |policy| {
        policy.reappraisal.below_policy = Consequence::Report;
        policy.android.os_version_min = 990_000;
    });
    let scope = Scope {
        app: None,
        validate_only: false,
        by: caller(),
    };
    let mut run = Run::all(scope, Position::default());
    while !run.is_done() {
        run.step(&world.engine).await.unwrap();
    }
    assert!(world.device(phone.id()).await.doubt.is_some());
    // Two in place of six, of which what was done before has used up a part.
    issue(&world, &phone, &client).await.unwrap();
    let refused = limited(issue(&world, &phone, &client).await);
    assert_eq!(refused, Reason::RateLimitedDevice);
}

/// Answers get lost on the way from the store, of counts and of commits: a phone that goes on gets what
/// the rate admits, or less.
async fn lost_answers_admit_no_more(world: World) {
    const COUNT: u32 = 8;
    limit(&world, |rates| rates.refresh.device = hourly(COUNT));
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut token = world.issue(&phone).await.unwrap().refresh_token;
    world.store.lose(30);
    let mut generation = 0;
    for _ in 0..200 {
        if let Ok(refreshed) = refresh(&world, &phone, &token, &client).await {
            generation = refreshed.grant.session.generation;
            token = refreshed.grant.refresh_token;
        }
    }
    world.store.lose(0);
    assert_eq!(generation, COUNT);
    let refused = refresh(&world, &phone, &token, &client).await;
    assert_eq!(limited(refused), Reason::RateLimitedDevice);
}

#[tokio::test]
async fn after_a_while_one_more_is_admitted() {
    let world = World::in_memory();
    limit(&world, |rates| rates.refresh.device = hourly(4));
    let client = ClientContext::default();
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut token = world.issue(&phone).await.unwrap().refresh_token;
    for _ in 0..4 {
        let rotated = refresh(&world, &phone, &token, &client).await.unwrap();
        token = rotated.grant.refresh_token;
    }
    for _ in 0..3 {
        let refused = refresh(&world, &phone, &token, &client).await;
        let wait = refused.unwrap_err().retry_after.unwrap();
        assert_eq!(wait, HOUR / 4);
        world.advance(wait - MILLISECOND);
        assert!(refresh(&world, &phone, &token, &client).await.is_err());
        world.advance(MILLISECOND);
        let rotated = refresh(&world, &phone, &token, &client).await.unwrap();
        token = rotated.grant.refresh_token;
    }
}

/// What the example of the configuration ships: a phone that is used all day, on a bad network, behind
/// the same address as others, meets no limit.
#[tokio::test]
async fn an_honest_phone_meets_none_of_the_examples_limits() {
    let mut world = World::in_memory();
    let config = Config::parse(EXAMPLE, std::path::Path::new("/etc/assay")).unwrap();
    let rates = config.apps.values().next().unwrap().policy.rates;
    assert!(rates.refresh_retry.is_some() && rates.refresh.device.is_some());
    world.engine.rates = config.rates;
    limit(&world, |of_app| *of_app = rates);
    let mut phones = Vec::new();
    for number in 0..3 {
        let mut phone = world.phone(Kind::Android, &format!("user-{number}"));
        let registration = register_device::RegisterDevice {
            client: from(1),
            ..world.registration(&mut phone)
        };
        let registered = register_device::run(&world.engine, registration).await;
        phone.id = Some(registered.unwrap().device.id);
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let grant = issue(&world, &phone, &from(1)).await.unwrap();
            tokens.push(grant.refresh_token);
        }
        phones.push((phone, tokens));
    }
    for _ in 0..12 * 6 {
        world.advance(Duration::from_secs(300));
        for (phone, tokens) in &mut phones {
            for token in tokens {
                let rotated = refresh(&world, phone, token, &from(1)).await.unwrap();
                for _ in 0..3 {
                    let again = refresh(&world, phone, token, &from(1)).await.unwrap();
                    assert_eq!(again.outcome, RefreshOutcome::Retry);
                }
                *token = rotated.grant.refresh_token;
            }
        }
    }
}
