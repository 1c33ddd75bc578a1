//! What speaks of a thief: where it is seen, what follows, and that whoever only listens costs nobody
//! anything.

use assay::client::{Address, ClientContext};
use assay::flow::elevate_session::{self, ElevateSession};
use assay::flow::reappraise_devices::{Run, Scope};
use assay::flow::{
    Failure, Grant, SessionName, introspect_token, issue_session, refresh_session, register_device,
};
use assay::policy::{
    Consequence, DowngradeRule, Enforcement, KeyRates, Rate, RateOutcome, ReplayRule, RiskPolicy,
    Signal,
};
use assay::secret::Secret;
use assay::session::{DeviceState, Event, EventKind, Position, RefreshOutcome, SuspensionReason};
use assay::simulator::SoftKey;
use assay::simulator::proof::Dpop;

use super::renewing::{reattest, reattestation, rotation, trips_of_an_attestation};
use super::world::scopes;
use super::*;

over_every_store! {
    without_the_section_nothing_is_seen_or_kept
    a_monitored_policy_tells_and_does_nothing
    a_held_refresh_keeps_its_token_until_the_user_steps_up
    the_user_who_has_answered_is_not_asked_again_for_the_same
    scopes_are_dropped_for_good
    a_dropped_scope_is_gone_from_the_tokens_that_are_out_there
    what_cannot_be_answered_any_more_is_noted_all_the_same
    a_suspension_settles_what_led_to_it
    a_retry_sees_nothing
    a_listener_costs_no_scopes_and_no_device
    a_replay_is_noted_once_a_second
    an_old_counter_is_a_regression
    a_proof_for_something_else_is_noted_where_its_key_signed_it
    a_network_weighs_little_and_time_forgets
    a_new_session_has_the_score_of_its_device
    a_session_that_waits_from_the_start_is_given_again
    a_crowded_key_is_held_against_its_devices
    what_a_re_appraisal_finds_is_held_against_the_device_once
    a_score_lowers_the_rates
    less_than_before_is_held_against_a_device_that_attests_again
}

const DAY: Duration = Duration::from_secs(86_400);

fn weigh(world: &World, change: impl FnOnce(&mut RiskPolicy)) {
    world.change_policy(BANK, |policy| {
        policy.risk = RiskPolicy {
            enforcement: Enforcement::Enforce,
            ..RiskPolicy::usual()
        };
        change(&mut policy.risk);
    });
}

fn from(network: u8, locale: &str) -> ClientContext {
    ClientContext {
        address: Some(Address::V4([203, network, 113, 7])),
        locale: locale.parse().ok(),
    }
}

async fn open_from(world: &World, phone: &Phone, client: &ClientContext) -> Result<Grant, Failure> {
    let opening = issue_session::IssueSession {
        client: client.clone(),
        ..world.opening(phone, &["accounts", "transfer"])
    };
    issue_session::run(&world.engine, opening).await
}

async fn refresh_from(
    world: &World,
    phone: &Phone,
    token: &Secret<String>,
    client: &ClientContext,
) -> Result<refresh_session::Refreshed, Reason> {
    let request = refresh_session::RefreshSession {
        refresh_token: token.clone(),
        proof: Secret::new(world.proof(phone, "RefreshSession")),
        scopes: scopes(&[]),
        client: client.clone(),
        by: caller(),
    };
    let answer = refresh_session::run(&world.engine, request).await;
    answer.map_err(|failure| failure.reason)
}

/// A session of which phone and language are known, past the first rotation.
async fn known(world: &World) -> (Phone, Secret<String>) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = open_from(world, &phone, &from(0, "de-DE")).await.unwrap();
    (phone, grant.refresh_token)
}

/// The user shows more.
async fn step_up(world: &World, phone: &Phone) {
    let events = world.session_events(phone.id()).await;
    let session = events.last().unwrap().0;
    let uri = "https://assay.example/assay.v1.SessionService/ElevateSession";
    let nonce = world.engine.next_nonce();
    let dpop = Dpop::new("POST", uri, world.now()).unwrap();
    let dpop = dpop.with_nonce(&nonce).with_session(session.to_string());
    let request = ElevateSession {
        session: SessionName {
            subject: phone.subject.clone(),
            device: phone.id(),
            session,
        },
        proof: Secret::new(phone.sign(&dpop)),
        presence_proof: None,
        acr: "urn:acr:3".to_owned(),
        amr: vec!["otp".to_owned()],
        auth_time: None,
        scopes: scopes(&[]),
        by: caller(),
    };
    elevate_session::run(&world.engine, request).await.unwrap();
}

/// What was told of risk and of what followed from it.
async fn told(world: &World, phone: &Phone) -> Vec<(EventKind, String)> {
    let kinds = [
        EventKind::RiskSignal,
        EventKind::RiskActed,
        EventKind::RiskMonitored,
        EventKind::SessionHeld,
        EventKind::DeviceSuspended,
    ];
    let events = world.events(phone.id()).await.into_iter();
    let of_risk = events.filter(|event: &Event| kinds.contains(&event.kind));
    of_risk
        .map(|event| {
            assert_eq!(event.by.as_str(), "service");
            (event.kind, event.why)
        })
        .collect()
}

fn signal(signal: Signal) -> (EventKind, String) {
    (EventKind::RiskSignal, signal.as_str().to_owned())
}

fn word(kind: EventKind, why: &str) -> (EventKind, String) {
    (kind, why.to_owned())
}

async fn without_the_section_nothing_is_seen_or_kept(world: World) {
    let (phone, token) = known(&world).await;
    refresh_from(&world, &phone, &token, &from(9, "fr"))
        .await
        .unwrap();
    let session = world.sessions(&phone.subject).await.pop().unwrap();
    assert_eq!(session.footprint.network, None);
    assert_eq!(session.footprint.locale, None);
    let proof = world.proof(&phone, "RefreshSession");
    let first = world.refresh_with(proof.clone(), &token, &[]).await;
    assert_eq!(first.unwrap().outcome, RefreshOutcome::Retry);
    let before = world.trips();
    let replayed = world.refresh_with(proof, &token, &[]).await;
    assert_eq!(replayed.map(|_| ()), Err(Reason::ProofReplayed));
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(told(&world, &phone).await, []);
}

async fn a_monitored_policy_tells_and_does_nothing(world: World) {
    weigh(&world, |risk| {
        risk.enforcement = Enforcement::Monitor;
        risk.step_up_at = Some(10);
        risk.drop_scopes_at = Some(10);
        risk.suspend_at = Some(10);
        risk.dropped_scopes = scopes(&["transfer"]);
    });
    let (phone, token) = known(&world).await;
    let before = world.trips();
    let refreshed = refresh_from(&world, &phone, &token, &from(0, "fr")).await;
    assert_eq!(world.trips().since(before), (2, 1));
    let refreshed = refreshed.unwrap().grant;
    assert_eq!(refreshed.scopes, scopes(&["accounts", "transfer"]));
    let again = refresh_from(&world, &phone, &refreshed.refresh_token, &from(0, "fr")).await;
    assert_eq!(again.unwrap().outcome, RefreshOutcome::Rotated);
    let monitored = |why| word(EventKind::RiskMonitored, why);
    // What was reached before is not told again.
    let expected = [
        signal(Signal::LocaleChanged),
        monitored("step-up"),
        monitored("drop-scopes"),
        monitored("suspend"),
        signal(Signal::RefreshTooFast),
    ];
    assert_eq!(told(&world, &phone).await, expected);
    let device = world.device(phone.id()).await;
    assert_eq!(device.state, DeviceState::Active);
    // Where phones are stands in no text.
    let session = world.sessions(&phone.subject).await.pop().unwrap();
    assert!(session.footprint.network.is_some());
    let shown = format!("{session:?} {:?}", world.events(phone.id()).await);
    assert!(
        !shown.contains("203, 0") && !shown.contains("\"fr\""),
        "{shown}"
    );
}

async fn a_held_refresh_keeps_its_token_until_the_user_steps_up(world: World) {
    weigh(&world, |risk| risk.step_up_at = Some(10));
    let (phone, token) = known(&world).await;
    let (home, abroad) = (from(0, "de-DE"), from(0, "fr"));
    let rotated = refresh_from(&world, &phone, &token, &home).await.unwrap();
    let token = rotated.grant.refresh_token;
    world.advance(SECOND * 60);
    let before = world.trips();
    let held = refresh_from(&world, &phone, &token, &abroad).await;
    assert_eq!(world.trips().since(before), (2, 1));
    assert_eq!(held.map(|_| ()), Err(Reason::StepUpRequired));
    for client in [&home, &abroad] {
        let held = refresh_from(&world, &phone, &token, client).await;
        assert_eq!(held.map(|_| ()), Err(Reason::StepUpRequired));
    }
    let verified = world.verify(&phone, &rotated.grant.access_token).await;
    assert_eq!(verified, Err(Reason::StepUpRequired));
    step_up(&world, &phone).await;
    // At once, from where it is now, with the token it has.
    let refreshed = refresh_from(&world, &phone, &token, &abroad).await.unwrap();
    assert_eq!(refreshed.outcome, RefreshOutcome::Rotated);
    assert!(refreshed.grant.session.risk.tallies.is_empty());
    let expected = [
        signal(Signal::LocaleChanged),
        word(EventKind::RiskActed, "step-up"),
        word(EventKind::SessionHeld, "risk"),
    ];
    assert_eq!(told(&world, &phone).await, expected);
}

async fn the_user_who_has_answered_is_not_asked_again_for_the_same(world: World) {
    // A little below what the doubt weighs: a minute passes, and it fades.
    weigh(&world, |risk| risk.step_up_at = Some(30));
    let (phone, token) = known(&world).await;
    world.advance(SECOND);
    doubt(&world).await;
    world.advance(SECOND * 60);
    let held = refresh_from(&world, &phone, &token, &from(0, "de-DE")).await;
    assert_eq!(held.map(|_| ()), Err(Reason::StepUpRequired));
    world.advance(SECOND * 60);
    step_up(&world, &phone).await;
    let mut token = token;
    for network in 1..9 {
        world.advance(SECOND * 60);
        let refreshed = refresh_from(&world, &phone, &token, &from(network, "de-DE")).await;
        token = refreshed.unwrap().grant.refresh_token;
    }
}

async fn scopes_are_dropped_for_good(world: World) {
    weigh(&world, |risk| {
        risk.drop_scopes_at = Some(10);
        risk.dropped_scopes = scopes(&["transfer"]);
    });
    let (phone, token) = known(&world).await;
    let before = world.trips();
    let refreshed = refresh_from(&world, &phone, &token, &from(0, "fr")).await;
    assert_eq!(world.trips().since(before), (2, 1));
    let refreshed = refreshed.unwrap().grant;
    assert_eq!(refreshed.scopes, scopes(&["accounts"]));
    world.advance(DAY);
    let later = refresh_from(&world, &phone, &refreshed.refresh_token, &from(0, "fr")).await;
    assert_eq!(later.unwrap().grant.scopes, scopes(&["accounts"]));
    let expected = [
        signal(Signal::LocaleChanged),
        word(EventKind::RiskActed, "drop-scopes"),
    ];
    assert_eq!(told(&world, &phone).await, expected);
    // Who verifies without asking has to ask.
    let events = world.events(phone.id()).await;
    let acted = events
        .iter()
        .find(|event| event.kind == EventKind::RiskActed);
    assert!(acted.unwrap().notice(world.now()).is_some());
}

async fn a_dropped_scope_is_gone_from_the_tokens_that_are_out_there(world: World) {
    weigh(&world, |risk| {
        risk.drop_scopes_at = Some(10);
        risk.dropped_scopes = scopes(&["transfer"]);
    });
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = open_from(&world, &phone, &from(0, "de-DE")).await.unwrap();
    let token = &first.access_token;
    let calls = async |scope| {
        let mut call = world.call(&phone, token);
        call.required.scopes = scopes(&[scope]);
        world.decide(call).await.unwrap()
    };
    assert_eq!(calls("transfer").await, Ok(()));
    let moved = refresh_from(&world, &phone, &first.refresh_token, &from(0, "fr")).await;
    assert_eq!(moved.unwrap().grant.scopes, scopes(&["accounts"]));
    assert_eq!(calls("transfer").await, Err(Reason::ScopeNotAllowed));
    assert_eq!(calls("accounts").await, Ok(()));
    let seen = introspect_token::run(&world.engine, token, &caller()).await;
    let seen = seen.unwrap().unwrap();
    assert_eq!(seen.claims().scopes, scopes(&["accounts"]));
}

async fn what_cannot_be_answered_any_more_is_noted_all_the_same(world: World) {
    weigh(&world, |risk| {
        risk.drop_scopes_at = Some(10);
        risk.dropped_scopes = scopes(&["transfer", "accounts"]);
    });
    let (phone, token) = known(&world).await;
    for _ in 0..2 {
        let refused = refresh_from(&world, &phone, &token, &from(0, "fr")).await;
        assert_eq!(refused.map(|_| ()), Err(Reason::ScopeNotAllowed));
    }
    let session = world.sessions(&phone.subject).await.pop().unwrap();
    assert_eq!((session.scopes, session.generation), (scopes(&[]), 0));
    let expected = [
        signal(Signal::LocaleChanged),
        word(EventKind::RiskActed, "drop-scopes"),
    ];
    assert_eq!(told(&world, &phone).await, expected);
}

async fn a_suspension_settles_what_led_to_it(world: World) {
    weigh(&world, |risk| risk.suspend_at = Some(10));
    let (phone, token) = known(&world).await;
    let before = world.trips();
    let refused = refresh_from(&world, &phone, &token, &from(0, "fr")).await;
    assert_eq!(world.trips().since(before), (2, 1));
    assert_eq!(refused.map(|_| ()), Err(Reason::DeviceSuspended));
    let device = world.device(phone.id()).await;
    let why = SuspensionReason::Risk;
    let at = world.now();
    assert_eq!(device.state, DeviceState::Suspended { at, why });
    let expected = [
        signal(Signal::LocaleChanged),
        word(EventKind::RiskActed, "suspend"),
        word(EventKind::DeviceSuspended, "risk"),
    ];
    assert_eq!(told(&world, &phone).await, expected);
    world.advance(SECOND * 60);
    world.resume(phone.id()).await.unwrap();
    let refreshed = refresh_from(&world, &phone, &token, &from(1, "fr")).await;
    assert_eq!(refreshed.unwrap().outcome, RefreshOutcome::Rotated);
}

async fn a_retry_sees_nothing(world: World) {
    weigh(&world, |risk| risk.step_up_at = Some(10));
    let (phone, token) = known(&world).await;
    let first = refresh_from(&world, &phone, &token, &from(0, "de-DE")).await;
    let before = world.trips();
    let retried = refresh_from(&world, &phone, &token, &from(9, "fr")).await;
    assert_eq!(world.trips().since(before), (1, 0));
    let (first, retried) = (first.unwrap().grant, retried.unwrap().grant);
    assert_eq!(retried.session, first.session);
    assert_eq!(told(&world, &phone).await, []);
}

/// Has a captured call sent again.
async fn replay(world: &World, phone: &Phone, token: &Secret<String>) {
    let call = world.call(phone, token);
    assert_eq!(world.decide(call.clone()).await, Ok(Ok(())));
    let replayed = world.decide(call).await;
    assert_eq!(replayed, Ok(Err(Reason::ProofReplayed)));
}

async fn a_listener_costs_no_scopes_and_no_device(world: World) {
    weigh(&world, |risk| {
        risk.drop_scopes_at = Some(1);
        risk.suspend_at = Some(1);
        risk.dropped_scopes = scopes(&["transfer"]);
    });
    let (phone, refresh) = known(&world).await;
    let grant = refresh_from(&world, &phone, &refresh, &from(0, "de-DE")).await;
    let grant = grant.unwrap().grant;
    for _ in 0..20 {
        replay(&world, &phone, &grant.access_token).await;
        world.advance(SECOND * 2);
    }
    let next = refresh_from(&world, &phone, &grant.refresh_token, &from(0, "de-DE")).await;
    let next = next.unwrap().grant;
    assert_eq!(next.scopes, scopes(&["accounts", "transfer"]));
    let replayed = next.session.risk.tallies[&Signal::ProofReplayed];
    assert!(replayed.heat > 19_000, "{replayed:?}");
    // What it can bring about is that the user has to show more.
    weigh(&world, |risk| risk.step_up_at = Some(100));
    replay(&world, &phone, &next.access_token).await;
    let held = world.verify(&phone, &next.access_token).await;
    assert_eq!(held, Err(Reason::StepUpRequired));
}

async fn a_replay_is_noted_once_a_second(world: World) {
    weigh(&world, |_| {});
    let (phone, token) = known(&world).await;
    let grant = refresh_from(&world, &phone, &token, &from(0, "de-DE")).await;
    let grant = grant.unwrap().grant;
    let call = world.call(&phone, &grant.access_token);
    assert_eq!(world.decide(call.clone()).await, Ok(Ok(())));
    // The first is written, those that follow at once are not.
    for expected in [(2, 1), (1, 0), (1, 0)] {
        let before = world.trips();
        let replayed = world.decide(call.clone()).await;
        assert_eq!(replayed, Ok(Err(Reason::ProofReplayed)));
        assert_eq!(world.trips().since(before), expected);
    }
    let proof = world.proof(&phone, "RefreshSession");
    let token = &grant.refresh_token;
    world.refresh_with(proof.clone(), token, &[]).await.unwrap();
    world.advance(SECOND);
    let replayed = world.refresh_with(proof, token, &[]).await;
    assert_eq!(replayed.map(|_| ()), Err(Reason::ProofReplayed));
    let signals = [
        Signal::ProofReplayed,
        Signal::RefreshTooFast,
        Signal::ProofReplayed,
    ];
    assert_eq!(told(&world, &phone).await, signals.map(signal));
}

async fn an_old_counter_is_a_regression(world: World) {
    weigh(&world, |_| {});
    world.change_policy(BANK, |policy| policy.proof.replay = ReplayRule::Window);
    let mut phone = world.phone(Kind::Android, "user-1");
    phone.count = Some(100.into());
    world.register(&mut phone).await.unwrap();
    let grant = world.issue(&phone).await.unwrap();
    phone.count = Some(7.into());
    let old = world.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(old.map(|_| ()), Err(Reason::ProofReplayed));
    let expected = [signal(Signal::CounterRegression)];
    assert_eq!(told(&world, &phone).await, expected);
}

async fn a_proof_for_something_else_is_noted_where_its_key_signed_it(world: World) {
    weigh(&world, |_| {});
    let (phone, token) = known(&world).await;
    let grant = refresh_from(&world, &phone, &token, &from(0, "de-DE")).await;
    let grant = grant.unwrap().grant;
    // Of another key, or of nobody: not a trip.
    let stranger = world.registered(Kind::Android, "user-2").await;
    let mut call = world.call(&stranger, &grant.access_token);
    call.method = "DELETE".to_owned();
    let mut forged = world.call(&phone, &grant.access_token);
    let text = forged.proof.expose().to_owned();
    let (head, _) = text.rsplit_once('.').unwrap();
    forged.proof = Secret::new(format!("{head}.{}", "A".repeat(86)));
    forged.method = "DELETE".to_owned();
    for call in [call, forged] {
        let before = world.trips();
        let refused = world.decide(call).await;
        assert_eq!(refused, Ok(Err(Reason::ProofTargetMismatch)));
        assert_eq!(world.trips().since(before), (0, 0));
    }
    assert_eq!(told(&world, &phone).await, []);
    let mut call = world.call(&phone, &grant.access_token);
    call.method = "DELETE".to_owned();
    let before = world.trips();
    let refused = world.decide(call).await;
    assert_eq!(refused, Ok(Err(Reason::ProofTargetMismatch)));
    assert_eq!(world.trips().since(before), (2, 1));
    world.advance(SECOND);
    let other = world.proof(&phone, "IssueSession");
    let refused = world.refresh_with(other, &grant.refresh_token, &[]).await;
    assert_eq!(refused.map(|_| ()), Err(Reason::ProofTargetMismatch));
    let expected = [signal(Signal::ProofFailed), signal(Signal::ProofFailed)];
    assert_eq!(told(&world, &phone).await, expected);
}

async fn a_network_weighs_little_and_time_forgets(world: World) {
    weigh(&world, |risk| risk.step_up_at = Some(11));
    let (phone, mut token) = known(&world).await;
    // Ten moves an hour apart are less than one other language.
    for network in 1..=10 {
        world.advance(SECOND * 3600);
        let refreshed = refresh_from(&world, &phone, &token, &from(network, "de-DE")).await;
        token = refreshed.unwrap().grant.refresh_token;
    }
    let score = |world: &World, grant: &Grant| {
        let risk = &world.engine.apps.load()[&world::app_id(BANK)].policy.risk;
        grant.session.risk.score(risk, world.now()).all
    };
    world.advance(DAY * 5);
    let later = refresh_from(&world, &phone, &token, &from(10, "de-DE")).await;
    let later = later.unwrap().grant;
    assert_eq!(score(&world, &later), 0);
    world.advance(SECOND * 60);
    // Within the first half of its address it is the same network.
    let mut near = from(10, "de-DE");
    near.address = Some(Address::V4([203, 10, 0, 1]));
    let near = refresh_from(&world, &phone, &later.refresh_token, &near).await;
    assert_eq!(score(&world, &near.unwrap().grant), 0);
    let moves = told(&world, &phone).await;
    assert_eq!(moves, vec![signal(Signal::NetworkChanged); 10]);
}

/// Finds the devices wanting, so that something is held against them.
async fn doubt(world: &World) {
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
}

async fn a_new_session_has_the_score_of_its_device(world: World) {
    weigh(&world, |_| {});
    let phone = world.registered(Kind::Android, "user-1").await;
    doubt(&world).await;
    let home = from(0, "de-DE");
    weigh(&world, |risk| {
        risk.drop_scopes_at = Some(40);
        risk.dropped_scopes = scopes(&["transfer"]);
        risk.step_up_at = Some(40);
    });
    let before = world.trips();
    let grant = open_from(&world, &phone, &home).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    assert_eq!(grant.scopes, scopes(&["accounts"]));
    let held = world.verify(&phone, &grant.access_token).await;
    assert_eq!(held, Err(Reason::StepUpRequired));
    step_up(&world, &phone).await;
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    weigh(&world, |risk| risk.suspend_at = Some(40));
    let refused = open_from(&world, &phone, &home).await.unwrap_err();
    assert_eq!(refused.reason, Reason::DeviceSuspended);
    let acted = |why| word(EventKind::RiskActed, why);
    let expected = [
        signal(Signal::PostureDowngraded),
        acted("step-up"),
        acted("drop-scopes"),
        word(EventKind::SessionHeld, "risk"),
        acted("suspend"),
        word(EventKind::DeviceSuspended, "risk"),
    ];
    let told: Vec<_> = told(&world, &phone).await;
    assert_eq!(told, expected);
    world.resume(phone.id()).await.unwrap();
    // What was refused was not opened.
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
    open_from(&world, &phone, &home).await.unwrap();
}

async fn a_session_that_waits_from_the_start_is_given_again(world: World) {
    weigh(&world, |risk| risk.step_up_at = Some(40));
    let phone = world.registered(Kind::Android, "user-1").await;
    doubt(&world).await;
    let opening = issue_session::IssueSession {
        request_id: "a-request-id-of-the-caller".parse().ok(),
        ..world.opening(&phone, &["accounts"])
    };
    assert!(opening.request_id.is_some());
    let first = world.open(opening.clone()).await.unwrap();
    let again = world.open(opening).await.unwrap();
    assert_eq!(again.session, first.session);
    assert!(again.session.step_up.is_some());
}

async fn a_crowded_key_is_held_against_its_devices(world: World) {
    weigh(&world, |_| {});
    let rate = Rate { count: 1, per: DAY };
    world.change_policy(BANK, |policy| {
        policy.android.attestation_key_rate = KeyRates {
            remote: rate,
            factory: rate,
            outcome: RateOutcome::Report,
        };
    });
    let mut phone = world.phone(Kind::Android, "user-1");
    let first = world.registration(&mut phone);
    let first = register_device::run(&world.engine, first).await.unwrap();
    assert!(first.device.risk.tallies.is_empty());
    phone.subject = "user-2".parse().unwrap();
    let second = world.registration(&mut phone);
    let before = world.trips();
    let device = world.send(&second).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    let crowded = Signal::CrowdedAttestationKey;
    assert!(device.risk.tallies.contains_key(&crowded));
    assert_eq!(world.device(device.id).await, device);
    // The same again is not one more.
    assert_eq!(world.send(&second).await, Ok(device.clone()));
    phone.id = Some(device.id);
    assert_eq!(told(&world, &phone).await, [signal(crowded)]);
}

async fn what_a_re_appraisal_finds_is_held_against_the_device_once(world: World) {
    weigh(&world, |_| {});
    let phone = world.registered(Kind::Android, "user-1").await;
    for _ in 0..3 {
        doubt(&world).await;
        world.advance(SECOND);
    }
    let lessened = Signal::PostureDowngraded;
    assert_eq!(told(&world, &phone).await, [signal(lessened)]);
    let risk = world.device(phone.id()).await.risk;
    assert_eq!(risk.tallies[&lessened].heat, 1000);
}

async fn a_score_lowers_the_rates(world: World) {
    for (enforcement, refreshes) in [(Enforcement::Monitor, 6), (Enforcement::Enforce, 2)] {
        weigh(&world, |risk| {
            risk.enforcement = enforcement;
            risk.drop_scopes_at = Some(10);
            risk.dropped_scopes = scopes(&["vault"]);
        });
        world.change_policy(BANK, |policy| {
            policy.rates.refresh.device = Some(Rate { count: 6, per: DAY });
            policy.rates.doubt_divisor = 3;
            policy.devices_per_subject_max = 10;
        });
        let (phone, mut token) = known(&world).await;
        let mut done = 0;
        let refused = loop {
            match refresh_from(&world, &phone, &token, &from(0, "fr")).await {
                Ok(refreshed) => token = refreshed.grant.refresh_token,
                Err(reason) => break reason,
            }
            done += 1;
        };
        assert_eq!((refused, done), (Reason::RateLimitedDevice, refreshes));
    }
}

/// Attests a device again, with the phone that it is by now. What was told of risk then.
async fn attest_again(world: &World, phone: &mut Phone, old: &SoftKey) -> Result<(), Reason> {
    let mut request = reattestation(world, phone, old, None);
    let before = world.trips();
    reattest(world, &request).await?;
    let attested = world.trips().since(before);
    assert_eq!(attested, (trips_of_an_attestation(world).await, 1));
    // The answer was lost: the same again, with a fresh proof, is not one more.
    let proven = ("ReattestDevice", phone.key());
    request.rotation = Some(rotation(world, old, proven, None));
    reattest(world, &request).await.map(|_| ())
}

async fn less_than_before_is_held_against_a_device_that_attests_again(world: World) {
    weigh(&world, |risk| risk.step_up_at = Some(40));
    world.change_policy(BANK, |policy| policy.devices_per_subject_max = 10);
    // Of the month before, and so is its patch level.
    let mut older = world.phone(Kind::Android, "user-1");
    world.advance(DAY * 10);
    let phone = world.registered(Kind::Android, "user-1").await;
    let old = phone.key_kept();
    older.id = phone.id;
    let refused = attest_again(&world, &mut older, &old).await;
    assert_eq!(refused, Err(Reason::PostureBelowPolicy));
    assert_eq!(told(&world, &phone).await, []);
    world.change_policy(BANK, |policy| {
        policy.reappraisal.downgrade = DowngradeRule::Allow;
    });
    attest_again(&world, &mut older, &old).await.unwrap();
    let lessened = Signal::PostureDowngraded;
    assert_eq!(told(&world, &phone).await, [signal(lessened)]);
    let risk = world.device(phone.id()).await.risk;
    assert_eq!(risk.tallies[&lessened].heat, 1000);
    // What is opened from now on waits until the user has shown more.
    let grant = world.issue(&older).await.unwrap();
    let held = world.verify(&older, &grant.access_token).await;
    assert_eq!(held, Err(Reason::StepUpRequired));
    // As much as before is nothing to tell of, nor is more.
    let mut newer = world.phone(Kind::Android, "user-1");
    newer.id = phone.id;
    let old = older.key_kept();
    attest_again(&world, &mut newer, &old).await.unwrap();
    let signals = told(&world, &phone).await.into_iter();
    let signals = signals.filter(|(kind, _)| *kind == EventKind::RiskSignal);
    assert_eq!(signals.count(), 1);
}
