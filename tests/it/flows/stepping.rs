//! ElevateSession, RotateSession, EnrolPresenceKey, and sessions that wait for their user.

use assay::attestation::android;
use assay::flow::elevate_session::{self, ElevateSession, Elevated};
use assay::flow::end_session::EndSession;
use assay::flow::enrol_presence_key::{self, EnrolPresenceKey};
use assay::flow::rotate_device_key::Voucher;
use assay::flow::rotate_session::{self, RotateSession};
use assay::flow::{Grant, SessionName, get_session, introspect_token};
use assay::policy::{CounterOrder, ReuseRule, ScopeRule, SessionKeyRule, TrustLevel, UserPresence};
use assay::secret::Secret;
use assay::session::{Device, EventKind, RefreshOutcome, Session, SuspensionReason};
use assay::simulator::proof::Dpop;
use assay::simulator::{Curve, Device as SoftDevice, SoftKey};
use assay::time::Timestamp;
use assay::token::challenge::ChallengePurpose;

use data_encoding::BASE64URL_NOPAD;

use super::phone::strange_key;
use super::proving::forged_assertion;
use super::world::{ACCESS, GRACE, IDLE, scopes};
use super::*;

over_every_store! {
    an_elevation_gives_one_access_token_that_says_more
    a_step_up_scope_is_for_elevated_tokens_alone
    an_elevation_is_for_the_session_its_proof_names
    an_elevation_needs_the_key_and_a_session_that_lives
    a_proof_elevates_once
    the_user_has_to_be_there_as_policy_says
    proofs_of_one_elevation_are_of_no_use_in_another
    presence_is_proved_only_by_hardware_that_asks_every_time
    a_presence_key_is_one_devices_and_for_nothing_else
    an_enrolment_whose_answer_was_lost_is_answered_alike
    a_presence_key_outlives_a_move_to_another_key
    a_rotation_makes_all_tokens_from_before_void_and_none_from_after
    a_void_token_is_no_reuse
    whoever_missed_the_answer_of_a_rotation_asks_again
    a_rotation_that_the_store_lost_does_not_come_back
    a_rotation_that_is_not_durable_says_so
    a_reused_token_holds_the_session_until_its_user_steps_up
    after_a_step_up_the_honest_phone_goes_on
    an_old_authentication_lets_no_session_go_on
    a_step_up_is_told_in_events
    an_enrolment_that_comes_late_brings_no_key_back
    a_device_that_asserts_enrols_in_either_order_and_again
    an_enrolment_is_proved_in_the_form_of_the_key
    no_access_token_outlives_an_idle_session
    a_void_token_ends_nothing_by_logging_out
    a_rotation_that_its_repetition_overtook_takes_nothing_back
}

const ELEVATE: &str = "SessionService/ElevateSession";
const ROTATE: &str = "SessionService/RotateSession";
const ENROL: &str = "DeviceService/EnrolPresenceKey";

fn uri(method: &str) -> String {
    format!("https://assay.example/assay.v1.{method}")
}

fn name(grant: &Grant) -> SessionName {
    SessionName {
        subject: grant.session.subject.clone(),
        device: grant.session.device,
        session: grant.session.id,
    }
}

/// A proof by the session's key for a session.
fn session_proof(world: &World, phone: &Phone, method: &str, session: &Session) -> String {
    let (uri, nonce) = (uri(method), world.engine.next_nonce());
    let dpop = Dpop::new("POST", &uri, world.now()).unwrap();
    phone.sign(&dpop.with_nonce(&nonce).with_session(session.id.to_string()))
}

/// A proof by a presence key for another proof.
fn presence_proof(world: &World, key: &SoftKey, method: &str, other: &str) -> Secret<String> {
    let (uri, nonce) = (uri(method), world.engine.next_nonce());
    let dpop = Dpop::new("POST", &uri, world.now()).unwrap();
    let dpop = dpop.with_nonce(&nonce).with_access_token(other);
    Secret::new(dpop.sign(key).unwrap())
}

fn elevation(world: &World, phone: &Phone, grant: &Grant) -> ElevateSession {
    ElevateSession {
        session: name(grant),
        proof: Secret::new(session_proof(world, phone, ELEVATE, &grant.session)),
        presence_proof: None,
        acr: "urn:acr:3".to_owned(),
        amr: vec!["pwd".to_owned(), "otp".to_owned()],
        auth_time: None,
        scopes: scopes(&[]),
        by: caller(),
    }
}

async fn elevate(world: &World, request: ElevateSession) -> Result<Elevated, Reason> {
    let answer = elevate_session::run(&world.engine, request).await;
    answer.map_err(|failure| failure.reason)
}

fn rotation(world: &World, phone: &Phone, grant: &Grant) -> RotateSession {
    RotateSession {
        session: name(grant),
        proof: Secret::new(session_proof(world, phone, ROTATE, &grant.session)),
        by: caller(),
    }
}

async fn rotate(world: &World, phone: &Phone, grant: &Grant) -> Result<Grant, Reason> {
    let answer = rotate_session::run(&world.engine, rotation(world, phone, grant)).await;
    let rotated = answer.map_err(|failure| failure.reason)?;
    Ok(rotated.grant)
}

async fn session_of(world: &World, kind: Kind) -> (Phone, Grant) {
    let phone = world.registered(kind, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    (phone, grant)
}

/// The verdict on a call that wants this context class, signed in at most so long ago.
async fn calls(
    world: &World,
    phone: &Phone,
    token: &Secret<String>,
    (acr, max_age): (&str, Option<Duration>),
) -> Result<(), Reason> {
    let mut call = world.call(phone, token);
    call.required.acr_values = vec!["urn:acr:9".to_owned(), acr.to_owned()];
    call.required.max_age = max_age;
    world.decide(call).await.unwrap()
}

async fn refused(world: &World, phone: &Phone, token: &Secret<String>) -> Option<Reason> {
    world.refresh(phone, token).await.err()
}

async fn an_elevation_gives_one_access_token_that_says_more(world: World) {
    world.change_policy(BANK, |policy| policy.step_up.access_for = ACCESS / 2);
    for kind in Kind::BOTH {
        let (phone, grant) = session_of(&world, kind).await;
        world.advance(SECOND * 100);
        let high = ("urn:acr:3", Some(SECOND * 60));
        let low = calls(&world, &phone, &grant.access_token, high).await;
        assert_eq!(low, Err(Reason::StepUpRequired));
        let request = elevation(&world, &phone, &grant);
        let before = world.trips();
        let elevated = elevate(&world, request).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(elevated.session, grant.session);
        assert_eq!(elevated.access.expires_in, world.whole(ACCESS / 2));
        assert_eq!(elevated.scopes, grant.scopes);
        assert_eq!(elevated.user_presence, UserPresence::None);
        let token = &elevated.access.token;
        assert_eq!(calls(&world, &phone, token, high).await, Ok(()));
        let seen = introspect_token::run(&world.engine, token, &caller())
            .await
            .unwrap();
        let seen = seen.unwrap().claims().clone();
        assert_eq!(seen.acr.as_deref(), Some("urn:acr:3"));
        assert_eq!(seen.amr, ["pwd", "otp"]);
        assert_eq!(
            seen.authenticated_at.map(Timestamp::as_secs),
            Some(world.now().as_secs())
        );
        // The tokens that are out there go on, and the next ones are of the session's own level.
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        let next = world.refresh(&phone, &grant.refresh_token).await.unwrap();
        assert_eq!(next.outcome, RefreshOutcome::Rotated);
        let back = calls(&world, &phone, &next.grant.access_token, high).await;
        assert_eq!(back, Err(Reason::StepUpRequired));
        assert_eq!(calls(&world, &phone, token, high).await, Ok(()));
        world.advance(ACCESS / 2);
        let over = calls(&world, &phone, token, high).await;
        assert_eq!(over, Err(Reason::TokenExpired));
        // Never longer than an ordinary one.
        world.change_policy(BANK, |policy| policy.step_up.access_for = ACCESS * 2);
        let request = elevation(&world, &phone, &grant);
        let elevated = elevate(&world, request).await.unwrap();
        assert_eq!(elevated.access.expires_in, world.whole(ACCESS));
        world.change_policy(BANK, |policy| policy.step_up.access_for = ACCESS / 2);
    }
}

async fn a_step_up_scope_is_for_elevated_tokens_alone(world: World) {
    world.change_policy(BANK, |policy| {
        policy.step_up.scopes = ScopeRule {
            scopes: scopes(&["payout", "close"]),
            trust_level_min: TrustLevel::Tee,
        };
    });
    let (phone, grant) = session_of(&world, Kind::Android).await;
    for (wanted, given) in [
        (&["payout"][..], Ok(&["payout"][..])),
        (&["payout", "accounts"], Ok(&["accounts", "payout"])),
        (&[], Ok(&["accounts"])),
        // Of another rule, and of the policy but not of the session.
        (&["vault"], Err(Reason::ScopeNotAllowed)),
        (&["payout", "transfer"], Err(Reason::ScopeNotAllowed)),
    ] {
        let mut request = elevation(&world, &phone, &grant);
        request.scopes = scopes(wanted);
        let elevated = elevate(&world, request).await;
        let seen = elevated.as_ref().map(|elevated| elevated.scopes.clone());
        assert_eq!(
            seen.map_err(|reason| *reason),
            given.map(scopes),
            "{wanted:?}"
        );
        if let Ok(elevated) = elevated {
            let mut call = world.call(&phone, &elevated.access.token);
            call.required.scopes = elevated.scopes.clone();
            assert_eq!(world.decide(call).await, Ok(Ok(())));
        }
    }
    // It is in no session and in no refresh.
    let opened = world.open(world.opening(&phone, &["payout"])).await;
    assert_eq!(opened.map(drop), Err(Reason::ScopeNotAllowed));
    let proof = world.proof(&phone, "RefreshSession");
    let refreshed = world
        .refresh_with(proof, &grant.refresh_token, &["payout"])
        .await;
    assert_eq!(refreshed.map(drop), Err(Reason::ScopeNotAllowed));
    let next = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(next.grant.scopes, scopes(&["accounts"]));
    // A device below the level does not get it.
    let iphone = world.registered(Kind::Apple, "user-2").await;
    let low = world.issue(&iphone).await.unwrap();
    let mut request = elevation(&world, &iphone, &low);
    request.scopes = scopes(&["payout"]);
    assert_eq!(
        elevate(&world, request).await.map(drop),
        Err(Reason::ScopeNotAllowed)
    );
}

async fn an_elevation_is_for_the_session_its_proof_names(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let other = world.issue(&phone).await.unwrap();
    let stranger = world.registered(Kind::Android, "user-2").await;
    let foreign = world.issue(&stranger).await.unwrap();
    // For the other session of the same key; for none; for another RPC.
    for proof in [
        session_proof(&world, &phone, ELEVATE, &other.session),
        world.proof(&phone, "ElevateSession"),
        session_proof(&world, &phone, ROTATE, &grant.session),
    ] {
        let mut request = elevation(&world, &phone, &grant);
        request.proof = Secret::new(proof);
        let seen = elevate(&world, request).await.map(drop);
        assert_eq!(seen, Err(Reason::ProofTargetMismatch));
    }
    // What is not this subject's and device's does not exist.
    let own = name(&grant);
    for session in [
        SessionName {
            subject: "user-2".parse().unwrap(),
            ..own.clone()
        },
        SessionName {
            device: stranger.id(),
            ..own.clone()
        },
        SessionName {
            session: foreign.session.id,
            ..own.clone()
        },
    ] {
        let mut request = elevation(&world, &phone, &grant);
        request.session = session;
        let seen = elevate(&world, request).await.map(drop);
        assert_eq!(seen, Err(Reason::ResourceNotFound));
    }
    assert!(
        elevate(&world, elevation(&world, &phone, &grant))
            .await
            .is_ok()
    );
}

async fn an_elevation_needs_the_key_and_a_session_that_lives(world: World) {
    let (phone, grant) = session_of(&world, Kind::Apple).await;
    let thief = world.registered(Kind::Apple, "user-1").await;
    let mut request = elevation(&world, &phone, &grant);
    request.proof = Secret::new(session_proof(&world, &thief, ELEVATE, &grant.session));
    let seen = elevate(&world, request).await.map(drop);
    assert_eq!(seen, Err(Reason::ProofKeyMismatch));
    world
        .suspend(phone.id(), SuspensionReason::Mislaid)
        .await
        .unwrap();
    let held = elevate(&world, elevation(&world, &phone, &grant)).await;
    assert_eq!(held.map(drop), Err(Reason::DeviceSuspended));
    let held = rotate(&world, &phone, &grant).await;
    assert_eq!(held.map(drop), Err(Reason::DeviceSuspended));
    world.resume(phone.id()).await.unwrap();
    world.revoke(phone.id()).await.unwrap();
    let dead = elevate(&world, elevation(&world, &phone, &grant)).await;
    assert_eq!(dead.map(drop), Err(Reason::DeviceRevoked));
    let dead = rotate(&world, &phone, &grant).await;
    assert_eq!(dead.map(drop), Err(Reason::DeviceRevoked));
}

async fn a_proof_elevates_once(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    let request = elevation(&world, &phone, &grant);
    assert!(elevate(&world, request.clone()).await.is_ok());
    let again = elevate(&world, request).await.map(drop);
    assert_eq!(again, Err(Reason::ProofReplayed));
    let request = rotation(&world, &phone, &grant);
    rotate_session::run(&world.engine, request.clone())
        .await
        .unwrap();
    let again = rotate_session::run(&world.engine, request).await;
    assert_eq!(again.unwrap_err().reason, Reason::ProofReplayed);
    // A commit whose answer was lost is no other use.
    let request = elevation(&world, &phone, &grant);
    world.store.hold_next_commit(Hold::After);
    world.store.release.notify_one();
    assert!(elevate(&world, request).await.is_ok());
}

/// A presence key with what vouches for it, as the phone makes it.
fn presence_key(world: &World, phone: &mut Phone, challenge: &[u8]) -> (SoftKey, Voucher) {
    presence_key_with(world, phone, challenge, |options| {
        options.user_authentication = true
    })
}

fn presence_key_with(
    world: &World,
    phone: &mut Phone,
    challenge: &[u8],
    change: impl FnOnce(&mut assay::simulator::android::Options),
) -> (SoftKey, Voucher) {
    match &mut phone.device {
        SoftDevice::Android { phone, .. } => {
            let before = phone.options().clone();
            change(phone.options_mut());
            let made = phone.attest(challenge, world.now()).unwrap();
            *phone.options_mut() = before;
            let chain = android::Chain::from_der(made.certificate_chain).unwrap();
            (made.key, Voucher::Android(chain))
        }
        SoftDevice::Apple(phone) => {
            let key = SoftKey::generate(Curve::P256).unwrap();
            (copy(&key), asserted(phone, &key, "presence-key", challenge))
        }
    }
}

fn asserted(
    phone: &mut assay::simulator::apple::Phone,
    key: &SoftKey,
    purpose: &str,
    challenge: &[u8],
) -> Voucher {
    let own = copy(phone.session_key());
    phone.set_session_key(copy(key));
    let client_data = phone.client_data_for(purpose, challenge, BANK).unwrap();
    phone.set_session_key(own);
    Voucher::Apple {
        assertion: phone.assert(&client_data).unwrap(),
        client_data,
    }
}

fn copy(key: &SoftKey) -> SoftKey {
    SoftKey::from_pkcs8(Curve::P256, key.to_pkcs8().unwrap().expose()).unwrap()
}

fn challenge(world: &World, phone: &Phone) -> Vec<u8> {
    world.challenge_to(ChallengePurpose::Presence, BANK, Some(&phone.subject))
}

fn enrolment_of(
    world: &World,
    phone: &Phone,
    challenge: Vec<u8>,
    (key, voucher): (&SoftKey, Voucher),
) -> EnrolPresenceKey {
    let (uri, nonce) = (uri(ENROL), world.engine.next_nonce());
    let dpop = Dpop::new("POST", &uri, world.now()).unwrap();
    let proof = phone.sign(&dpop.with_nonce(&nonce).with_new_key(key.thumbprint()));
    EnrolPresenceKey {
        device: phone.id(),
        challenge,
        voucher,
        presence_proof: presence_proof(world, key, ENROL, &proof),
        proof: Secret::new(proof),
        by: caller(),
    }
}

async fn enrol(world: &World, request: &EnrolPresenceKey) -> Result<Device, Reason> {
    let answer = enrol_presence_key::run(&world.engine, request.clone()).await;
    answer.map_err(|failure| failure.reason)
}

async fn enrolled(world: &World, phone: &mut Phone) -> SoftKey {
    let challenge = challenge(world, phone);
    let (key, voucher) = presence_key(world, phone, &challenge);
    let request = enrolment_of(world, phone, challenge, (&key, voucher));
    let before = world.trips();
    enrol(world, &request).await.unwrap();
    assert_eq!(world.trips().since(before), (3, 1));
    key
}

fn present(world: &World, phone: &Phone, grant: &Grant, key: &SoftKey) -> ElevateSession {
    let mut request = elevation(world, phone, grant);
    let proof = presence_proof(world, key, ELEVATE, request.proof.expose());
    request.presence_proof = Some(proof);
    request
}

async fn the_user_has_to_be_there_as_policy_says(world: World) {
    use UserPresence::{Declared, None, Proved};
    for kind in Kind::BOTH {
        let (mut phone, grant) = session_of(&world, kind).await;
        for wanted in [Declared, Proved] {
            world.change_policy(BANK, |policy| policy.step_up.user_presence = wanted);
            let seen = elevate(&world, elevation(&world, &phone, &grant)).await;
            assert_eq!(seen.map(drop), Err(Reason::UserPresenceRequired));
        }
        let key = enrolled(&world, &mut phone).await;
        let shows = match kind {
            Kind::Android => Proved,
            Kind::Apple | Kind::Asserting => Declared,
        };
        let kept = world.device(phone.id()).await.presence.unwrap();
        assert_eq!(kept.shows, shows);
        assert_eq!(kept.key.to_string(), key.thumbprint());
        for wanted in [None, Declared, Proved] {
            world.change_policy(BANK, |policy| policy.step_up.user_presence = wanted);
            let elevated = elevate(&world, present(&world, &phone, &grant, &key)).await;
            if shows < wanted {
                assert_eq!(elevated.map(drop), Err(Reason::UserPresenceRequired));
                continue;
            }
            let elevated = elevated.unwrap();
            assert_eq!(elevated.user_presence, shows);
            let token = &elevated.access.token;
            let seen = introspect_token::run(&world.engine, token, &caller())
                .await
                .unwrap();
            assert_eq!(seen.unwrap().claims().user_presence, shows);
        }
        // Whatever the sign-in server says, the claim is the service's own.
        world.change_policy(BANK, |policy| policy.step_up.user_presence = None);
        let mut request = elevation(&world, &phone, &grant);
        request.amr = ["user", "hwk", "proved"].map(str::to_owned).into();
        let elevated = elevate(&world, request).await.unwrap();
        let token = &elevated.access.token;
        let seen = introspect_token::run(&world.engine, token, &caller())
            .await
            .unwrap();
        assert_eq!(seen.unwrap().claims().user_presence, None);
    }
}

async fn proofs_of_one_elevation_are_of_no_use_in_another(world: World) {
    let (mut phone, grant) = session_of(&world, Kind::Android).await;
    let other = world.issue(&phone).await.unwrap();
    let key = enrolled(&world, &mut phone).await;
    let first = present(&world, &phone, &grant, &key);
    let second = present(&world, &phone, &grant, &key);
    let third = present(&world, &phone, &other, &key);
    let mixed = |proof: &ElevateSession, presence: &ElevateSession| ElevateSession {
        presence_proof: presence.presence_proof.clone(),
        ..proof.clone()
    };
    for (proof, presence) in [(&first, &second), (&second, &first), (&third, &first)] {
        let seen = elevate(&world, mixed(proof, presence)).await.map(drop);
        assert_eq!(seen, Err(Reason::ProofTargetMismatch));
    }
    // The session's own key shows nobody, nor does a key that is not enrolled.
    for wrong in [phone.key_kept(), strange_key()] {
        let request = present(&world, &phone, &grant, &wrong);
        let seen = elevate(&world, request).await.map(drop);
        assert_eq!(seen, Err(Reason::ProofKeyMismatch));
    }
    // A refused mixture has used nothing up.
    assert!(elevate(&world, first.clone()).await.is_ok());
    assert!(elevate(&world, third).await.is_ok());
    let again = elevate(&world, first).await.map(drop);
    assert_eq!(again, Err(Reason::ProofReplayed));
}

async fn presence_is_proved_only_by_hardware_that_asks_every_time(world: World) {
    let mut phone = world.registered(Kind::Android, "user-1").await;
    type Change = fn(&mut assay::simulator::android::Options);
    let cases: [(Change, Reason); 4] = [
        // It signs whenever it is asked to.
        (|_| {}, Reason::AttestationKeyRejected),
        // One authentication opens it for a while, however short.
        (
            |options| {
                options.user_authentication = true;
                options.authentication_timeout = Some(1);
            },
            Reason::AttestationKeyRejected,
        ),
        // What a registration would refuse is refused here.
        (
            |options| {
                options.user_authentication = true;
                options.package_name = "com.example.evil".to_owned();
            },
            Reason::AttestationAppMismatch,
        ),
        (
            |options| {
                options.user_authentication = true;
                options.boot = assay::simulator::android::Boot::Unlocked;
            },
            Reason::BootStateRejected,
        ),
    ];
    for (change, reason) in cases {
        let challenge = challenge(&world, &phone);
        let (key, voucher) = presence_key_with(&world, &mut phone, &challenge, change);
        let request = enrolment_of(&world, &phone, challenge, (&key, voucher));
        assert_eq!(enrol(&world, &request).await.map(drop), Err(reason));
    }
    // Nor one that was attested for something else.
    for purpose in [ChallengePurpose::Register, ChallengePurpose::Rotate] {
        let challenge = world.challenge_to(purpose, BANK, Some(&phone.subject));
        let (key, voucher) = presence_key(&world, &mut phone, &challenge);
        let request = enrolment_of(&world, &phone, challenge, (&key, voucher));
        let seen = enrol(&world, &request).await.map(drop);
        assert_eq!(seen, Err(Reason::ChallengeInvalid));
    }
    assert_eq!(world.device(phone.id()).await.presence, None);
    // An iPhone's assertion is for this purpose only, and is taken once.
    let mut iphone = world.registered(Kind::Apple, "user-2").await;
    let bytes = challenge(&world, &iphone);
    let key = strange_key();
    let voucher = asserted(iphone.apple(), &key, "bind-key", &bytes);
    let request = enrolment_of(&world, &iphone, bytes, (&key, voucher));
    let seen = enrol(&world, &request).await.map(drop);
    assert_eq!(seen, Err(Reason::EvidenceMalformed));
    let bytes = challenge(&world, &iphone);
    let voucher = asserted(iphone.apple(), &key, "presence-key", &bytes);
    let older = enrolment_of(&world, &iphone, bytes, (&key, voucher));
    enrolled(&world, &mut iphone).await;
    let seen = enrol(&world, &older).await.map(drop);
    assert_eq!(seen, Err(Reason::ProofReplayed));
}

async fn a_presence_key_is_one_devices_and_for_nothing_else(world: World) {
    let mut phone = world.registered(Kind::Apple, "user-1").await;
    let mut other = world.registered(Kind::Apple, "user-2").await;
    let key = enrolled(&world, &mut phone).await;
    // Another device's.
    let bytes = challenge(&world, &other);
    let voucher = asserted(other.apple(), &key, "presence-key", &bytes);
    let request = enrolment_of(&world, &other, bytes, (&key, voucher));
    let seen = enrol(&world, &request).await.map(drop);
    assert_eq!(seen, Err(Reason::DeviceExists));
    // The key that signs every proof shows nobody.
    let own = other.key_kept();
    let bytes = challenge(&world, &other);
    let voucher = asserted(other.apple(), &own, "presence-key", &bytes);
    let request = enrolment_of(&world, &other, bytes, (&own, voucher));
    let seen = enrol(&world, &request).await.map(drop);
    assert_eq!(seen, Err(Reason::AttestationKeyRejected));
    // Proofs for another key, by another key, and one that covers another proof.
    let bytes = challenge(&world, &other);
    let new = strange_key();
    let voucher = asserted(other.apple(), &new, "presence-key", &bytes);
    let good = enrolment_of(&world, &other, bytes, (&new, voucher));
    let elsewhere = enrolment_of(
        &world,
        &other,
        good.challenge.clone(),
        (&key, good.voucher.clone()),
    );
    let by_another = enrolment_of(
        &world,
        &phone,
        good.challenge.clone(),
        (&new, good.voucher.clone()),
    );
    for (request, reason) in [
        (elsewhere.clone(), Reason::ProofTargetMismatch),
        (
            EnrolPresenceKey {
                device: other.id(),
                ..by_another
            },
            Reason::ProofKeyMismatch,
        ),
        (
            EnrolPresenceKey {
                presence_proof: elsewhere.presence_proof,
                ..good.clone()
            },
            Reason::ProofTargetMismatch,
        ),
    ] {
        assert_eq!(enrol(&world, &request).await.map(drop), Err(reason));
    }
    assert!(enrol(&world, &good).await.is_ok());
    // A new one takes the place of the old one.
    let newer = enrolled(&world, &mut phone).await;
    let grant = world.issue(&phone).await.unwrap();
    let seen = elevate(&world, present(&world, &phone, &grant, &key)).await;
    assert_eq!(seen.map(drop), Err(Reason::ProofKeyMismatch));
    assert!(
        elevate(&world, present(&world, &phone, &grant, &newer))
            .await
            .is_ok()
    );
}

async fn an_enrolment_whose_answer_was_lost_is_answered_alike(world: World) {
    for kind in Kind::BOTH {
        let mut phone = world.registered(kind, "user-1").await;
        let bytes = challenge(&world, &phone);
        let (key, voucher) = presence_key(&world, &mut phone, &bytes);
        let request = enrolment_of(&world, &phone, bytes, (&key, voucher));
        let first = enrol(&world, &request).await.unwrap();
        world.advance(SECOND);
        assert_eq!(enrol(&world, &request).await, Ok(first));
        let told = world.history(phone.id()).await;
        let shows = world.device(phone.id()).await.presence.unwrap().shows;
        let kind = EventKind::PresenceKeyEnrolled;
        assert_eq!(told, [(kind, shows.as_str().to_owned())]);
        world.revoke(phone.id()).await.unwrap();
    }
}

async fn a_presence_key_outlives_a_move_to_another_key(world: World) {
    let mut phone = world.registered(Kind::Apple, "user-1").await;
    let key = enrolled(&world, &mut phone).await;
    let registration = world.registration(&mut phone);
    world.send(&registration).await.unwrap();
    let kept = world.device(phone.id()).await.presence.unwrap();
    assert_eq!(kept.key.to_string(), key.thumbprint());
}

async fn a_rotation_makes_all_tokens_from_before_void_and_none_from_after(world: World) {
    let (phone, first) = session_of(&world, Kind::Android).await;
    let other = world.issue(&phone).await.unwrap();
    let second = world
        .refresh(&phone, &first.refresh_token)
        .await
        .unwrap()
        .grant;
    let elevated = elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    let request = rotation(&world, &phone, &first);
    let before = world.trips();
    let rotated = rotate_session::run(&world.engine, request).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    let rotated = rotated.grant;
    // All in the same millisecond, and no clock decides which was first.
    for void in [
        &first.access_token,
        &second.access_token,
        &elevated.access.token,
    ] {
        let seen = world.verify(&phone, void).await;
        assert_eq!(seen, Err(Reason::AccessTokenVoid));
        assert_eq!(world.active(void).await, Ok(false));
    }
    for void in [&first.refresh_token, &second.refresh_token] {
        assert_eq!(
            refused(&world, &phone, void).await,
            Some(Reason::RefreshTokenVoid)
        );
    }
    assert_eq!(world.verify(&phone, &rotated.access_token).await, Ok(()));
    assert_eq!(world.active(&rotated.access_token).await, Ok(true));
    let elevated = elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    assert_eq!(world.verify(&phone, &elevated.access.token).await, Ok(()));
    let next = world.refresh(&phone, &rotated.refresh_token).await.unwrap();
    assert_eq!(next.outcome, RefreshOutcome::Rotated);
    assert_eq!(world.verify(&phone, &next.grant.access_token).await, Ok(()));
    assert_eq!(world.verify(&phone, &rotated.access_token).await, Ok(()));
    let retried = world.refresh(&phone, &rotated.refresh_token).await.unwrap();
    assert_eq!(retried.outcome, RefreshOutcome::Retry);
    // The other session of the same key is left alone.
    assert_eq!(world.verify(&phone, &other.access_token).await, Ok(()));
    assert!(world.refresh(&phone, &other.refresh_token).await.is_ok());
}

async fn a_void_token_is_no_reuse(world: World) {
    let (phone, first) = session_of(&world, Kind::Apple).await;
    let rotated = rotate(&world, &phone, &first).await.unwrap();
    world.advance(GRACE * 2);
    for _ in 0..3 {
        let seen = refused(&world, &phone, &first.refresh_token).await;
        assert_eq!(seen, Some(Reason::RefreshTokenVoid));
    }
    let next = world
        .refresh(&phone, &rotated.refresh_token)
        .await
        .unwrap()
        .grant;
    world.refresh(&phone, &next.refresh_token).await.unwrap();
    // One that was given since is, when it is used twice.
    let seen = refused(&world, &phone, &rotated.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenReused));
}

async fn whoever_missed_the_answer_of_a_rotation_asks_again(world: World) {
    let (phone, first) = session_of(&world, Kind::Android).await;
    let lost = rotate(&world, &phone, &first).await.unwrap();
    let seen = refused(&world, &phone, &first.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenVoid));
    let again = rotate(&world, &phone, &first).await.unwrap();
    let seen = refused(&world, &phone, &lost.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenVoid));
    assert_eq!(
        world.verify(&phone, &lost.access_token).await,
        Err(Reason::AccessTokenVoid)
    );
    assert!(world.refresh(&phone, &again.refresh_token).await.is_ok());
    // The same where the store was away: what was not done is done then.
    world.store.lose(50);
    let rotated = loop {
        match rotate(&world, &phone, &first).await {
            Ok(rotated) => break rotated,
            Err(reason) => assert_eq!(reason, Reason::StateStoreUnavailable),
        }
    };
    world.store.lose(0);
    assert!(world.refresh(&phone, &rotated.refresh_token).await.is_ok());
    let told = world.session_events(phone.id()).await;
    assert!(
        told.iter()
            .any(|(_, kind, ..)| *kind == EventKind::SessionRotated)
    );
}

async fn a_rotation_that_the_store_lost_does_not_come_back(world: World) {
    let (phone, first) = session_of(&world, Kind::Android).await;
    // A phone got ahead of the record, as after a failover: the record never saw generation 3.
    let key = first.session.session_key;
    let claims = assay::token::refresh::RefreshClaims {
        session: first.session.id,
        device: first.session.device,
        subject: world.engine.keyring.subject_tag(&phone.subject),
        app: first.session.app.tag(),
        generation: 3,
        session_ends_at: first.session.expires_at,
    };
    let under = first.session.refresh_key;
    let ahead = assay::token::refresh::mint(&world.engine.keyring, &claims, &key, under).unwrap();
    let rotated = rotate(&world, &phone, &first).await.unwrap();
    let seen = refused(&world, &phone, &ahead).await;
    assert_eq!(seen, Some(Reason::RefreshTokenVoid));
    assert!(world.refresh(&phone, &rotated.refresh_token).await.is_ok());
}

async fn a_rotation_that_is_not_durable_says_so(mut world: World) {
    let (phone, first) = session_of(&world, Kind::Android).await;
    world.engine.revocation_durability = assay::store::Durability::Replicated {
        replicas: 1,
        within: MILLISECOND,
    };
    let seen = rotate(&world, &phone, &first).await.map(drop);
    assert_eq!(seen, Err(Reason::RevocationNotDurable));
    // It holds, and another call gives the tokens.
    assert_eq!(
        world.verify(&phone, &first.access_token).await,
        Err(Reason::AccessTokenVoid)
    );
    world.engine.revocation_durability = assay::store::Durability::Local;
    assert!(rotate(&world, &phone, &first).await.is_ok());
}

fn holding(world: &World) {
    world.change_policy(BANK, |policy| policy.on_refresh_reuse = ReuseRule::StepUp);
}

async fn a_reused_token_holds_the_session_until_its_user_steps_up(world: World) {
    holding(&world);
    let (phone, first) = session_of(&world, Kind::Android).await;
    let other = world.issue(&phone).await.unwrap();
    let second = world
        .refresh(&phone, &first.refresh_token)
        .await
        .unwrap()
        .grant;
    let third = world
        .refresh(&phone, &second.refresh_token)
        .await
        .unwrap()
        .grant;
    let seen = refused(&world, &phone, &first.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenReused));
    // It waits: nothing of it is of use, and nothing of it is lost.
    let held = Reason::StepUpRequired;
    for grant in [&first, &second, &third] {
        assert_eq!(
            refused(&world, &phone, &grant.refresh_token).await,
            Some(held)
        );
        assert_eq!(world.verify(&phone, &grant.access_token).await, Err(held));
        assert_eq!(world.active(&grant.access_token).await, Ok(false));
    }
    assert_eq!(rotate(&world, &phone, &first).await.map(drop), Err(held));
    let found = get_session::run(&world.engine, &first.session.id)
        .await
        .unwrap();
    assert_eq!(found.standing.map_err(|refusal| refusal.0), Err(held));
    assert_eq!(found.session.step_up.unwrap().since, world.now());
    assert_eq!(world.verify(&phone, &other.access_token).await, Ok(()));
    // It keeps its place: it is not gone.
    let full = world.issue(&phone).await.map(drop);
    assert_eq!(full, Err(Reason::SessionLimit));
    let elevated = elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    assert_eq!(elevated.session.step_up, None);
    assert_eq!(world.verify(&phone, &elevated.access.token).await, Ok(()));
    assert_eq!(world.verify(&phone, &third.access_token).await, Ok(()));
    let next = world.refresh(&phone, &third.refresh_token).await.unwrap();
    assert_eq!(next.outcome, RefreshOutcome::Rotated);
}

async fn after_a_step_up_the_honest_phone_goes_on(world: World) {
    holding(&world);
    // The phone whose answer was lost for longer than the grace time has the token before.
    let (phone, first) = session_of(&world, Kind::Apple).await;
    let second = world
        .refresh(&phone, &first.refresh_token)
        .await
        .unwrap()
        .grant;
    world.advance(GRACE + SECOND);
    let seen = refused(&world, &phone, &first.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenReused));
    elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    let retried = world.refresh(&phone, &first.refresh_token).await.unwrap();
    assert_eq!(retried.outcome, RefreshOutcome::Retry);
    assert_eq!(
        retried.grant.refresh_token.expose(),
        second.refresh_token.expose()
    );
    let third = world
        .refresh(&phone, &second.refresh_token)
        .await
        .unwrap()
        .grant;
    // From then on the one before is used up again.
    let seen = refused(&world, &phone, &first.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenReused));
    // And no token from further back is ever good: for whoever has only that the session is rotated.
    elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    let seen = refused(&world, &phone, &first.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenReused));
    elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    let rotated = rotate(&world, &phone, &first).await.unwrap();
    let seen = refused(&world, &phone, &third.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenVoid));
    assert!(world.refresh(&phone, &rotated.refresh_token).await.is_ok());
}

async fn an_old_authentication_lets_no_session_go_on(world: World) {
    holding(&world);
    let (phone, first) = session_of(&world, Kind::Android).await;
    let before = world.now();
    world.advance(SECOND * 5);
    let second = world
        .refresh(&phone, &first.refresh_token)
        .await
        .unwrap()
        .grant;
    world.refresh(&phone, &second.refresh_token).await.unwrap();
    refused(&world, &phone, &first.refresh_token).await;
    let mut request = elevation(&world, &phone, &first);
    request.auth_time = Some(before);
    let seen = elevate(&world, request).await.map(drop);
    assert_eq!(seen, Err(Reason::StepUpRequired));
    let mut request = elevation(&world, &phone, &first);
    request.auth_time = Some(Timestamp::from_secs(world.now().as_secs()));
    assert!(elevate(&world, request).await.is_ok());
}

async fn a_step_up_is_told_in_events(world: World) {
    holding(&world);
    let (phone, first) = session_of(&world, Kind::Android).await;
    let second = world
        .refresh(&phone, &first.refresh_token)
        .await
        .unwrap()
        .grant;
    world.refresh(&phone, &second.refresh_token).await.unwrap();
    for _ in 0..2 {
        refused(&world, &phone, &first.refresh_token).await;
    }
    elevate(&world, elevation(&world, &phone, &first))
        .await
        .unwrap();
    rotate(&world, &phone, &first).await.unwrap();
    let told = world.session_events(phone.id()).await;
    let told: Vec<_> = told
        .iter()
        .map(|(_, kind, why, by)| (*kind, why.as_str(), by == "service"))
        .collect();
    assert_eq!(
        told,
        [
            (EventKind::SessionOpened, "", false),
            (EventKind::SessionHeld, "refresh-token-reused", true),
            (EventKind::SessionElevated, "none", false),
            (EventKind::SessionRotated, "", false),
        ]
    );
}

async fn an_enrolment_that_comes_late_brings_no_key_back(world: World) {
    for (kind, refusal) in [
        (Kind::Android, Reason::ChallengeAlreadyUsed),
        (Kind::Apple, Reason::ProofReplayed),
    ] {
        let mut phone = world.registered(kind, "user-1").await;
        let bytes = challenge(&world, &phone);
        let (first, voucher) = presence_key(&world, &mut phone, &bytes);
        let request = enrolment_of(&world, &phone, bytes, (&first, voucher));
        enrol(&world, &request).await.unwrap();
        world.advance(SECOND);
        let second = enrolled(&world, &mut phone).await;
        assert_eq!(enrol(&world, &request).await, Err(refusal));
        let kept = world.device(phone.id()).await.presence.unwrap();
        assert_eq!(kept.key.to_string(), second.thumbprint());
        world.revoke(phone.id()).await.unwrap();
    }
}

async fn a_device_that_asserts_enrols_in_either_order_and_again(world: World) {
    for order in [CounterOrder::Window, CounterOrder::Strict] {
        world.change_policy(BANK, |policy| {
            policy.apple.session_key = SessionKeyRule::Optional;
            policy.proof.counter = order;
        });
        for voucher_first in [true, false] {
            let mut phone = world.registered(Kind::Asserting, "user-1").await;
            let bytes = challenge(&world, &phone);
            let key = SoftKey::generate(Curve::P256).unwrap();
            let client_data = format!(
                r#"{{"purpose":"presence-key","challenge":"{}","app_id":"{BANK}","jkt":"{}"}}"#,
                BASE64URL_NOPAD.encode(&bytes),
                key.thumbprint()
            );
            let client_data = client_data.into_bytes();
            let vouch = |phone: &mut Phone| Voucher::Apple {
                assertion: phone.apple().assert(&client_data).unwrap(),
                client_data: client_data.clone(),
            };
            let early = vouch(&mut phone);
            let mut request = enrolment_of(&world, &phone, bytes, (&key, early));
            if !voucher_first {
                request.voucher = vouch(&mut phone);
            }
            let first = enrol(&world, &request).await.unwrap();
            world.advance(SECOND);
            assert_eq!(enrol(&world, &request).await, Ok(first));
            let kept = world.device(phone.id()).await.presence.unwrap();
            assert_eq!(kept.key.to_string(), key.thumbprint());
            // Neither counter is good for anything else.
            let other = world.challenge_to(ChallengePurpose::Presence, BANK, None);
            request.challenge = other;
            assert!(enrol(&world, &request).await.is_err());
            world.revoke(phone.id()).await.unwrap();
        }
    }
}

async fn an_enrolment_is_proved_in_the_form_of_the_key(world: World) {
    for kind in Kind::BOTH {
        let mut phone = world.registered(kind, "user-1").await;
        let bytes = challenge(&world, &phone);
        let (key, voucher) = presence_key(&world, &mut phone, &bytes);
        let mut request = enrolment_of(&world, &phone, bytes, (&key, voucher));
        let (uri, nonce) = (uri(ENROL), world.engine.next_nonce());
        let dpop = Dpop::new("POST", &uri, world.now()).unwrap();
        let dpop = dpop.with_nonce(&nonce).with_new_key(key.thumbprint());
        let forged = forged_assertion(phone.key(), &dpop, 70_000);
        request.presence_proof = presence_proof(&world, &key, ENROL, &forged);
        request.proof = Secret::new(forged);
        assert_eq!(enrol(&world, &request).await, Err(Reason::ProofInvalid));
        assert_eq!(world.device(phone.id()).await.presence, None);
        world.revoke(phone.id()).await.unwrap();
    }
}

async fn no_access_token_outlives_an_idle_session(world: World) {
    let (phone, grant) = session_of(&world, Kind::Android).await;
    world.advance(IDLE - SECOND * 30);
    let elevated = elevate(&world, elevation(&world, &phone, &grant))
        .await
        .unwrap();
    assert_eq!(elevated.access.expires_in, world.whole(SECOND * 30));
    let whole = grant.session.idle_expires_at.as_secs();
    assert_eq!(elevated.access.expires_at, Timestamp::from_secs(whole));
}

async fn a_void_token_ends_nothing_by_logging_out(world: World) {
    let (phone, first) = session_of(&world, Kind::Android).await;
    let rotated = rotate(&world, &phone, &first).await.unwrap();
    let before = world.trips();
    let end = |grant: &Grant| EndSession::Token(grant.refresh_token.clone());
    world.end(end(&first)).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    let access = &rotated.access_token;
    assert_eq!(world.verify(&phone, access).await, Ok(()));
    world.end(end(&rotated)).await.unwrap();
    let verdict = world.verify(&phone, access).await;
    assert_eq!(verdict, Err(Reason::SessionRevoked));
}

async fn a_rotation_that_its_repetition_overtook_takes_nothing_back(world: World) {
    let (phone, first) = session_of(&world, Kind::Apple).await;
    let stuck = rotation(&world, &phone, &first);
    world.advance(SECOND * 20);
    let rotated = rotate(&world, &phone, &first).await.unwrap();
    let before = world.trips();
    let late = rotate_session::run(&world.engine, stuck).await;
    assert_eq!(late.unwrap_err().reason, Reason::ProofStale);
    assert_eq!(world.trips().since(before).1, 0);
    let next = world.refresh(&phone, &rotated.refresh_token).await;
    let next = next.unwrap().grant;
    // Another one does so anew, whatever was in between.
    assert!(rotate(&world, &phone, &first).await.is_ok());
    let seen = refused(&world, &phone, &next.refresh_token).await;
    assert_eq!(seen, Some(Reason::RefreshTokenVoid));
}
