//! Proofs in both forms, and what makes each good once.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use assay::flow::rotate_device_key::{self, RotateDeviceKey, Voucher};
use assay::flow::verify_request::{self, VerifyRequest};
use assay::flow::{Grant, KeyRotation, Renewed, reattest_device};
use assay::key::sha256;
use assay::policy::{BodyRule, CounterOrder, ReplayRule, SessionKeyRule};
use assay::secret::Secret;
use assay::simulator::SoftKey;
use assay::simulator::proof::Dpop;
use assay::token::challenge::ChallengePurpose;
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::world::{API, BUNDLE, GRACE, TEAM};
use super::*;

over_every_store! {
    a_phone_without_a_session_key_lives_its_whole_life
    client_data_names_a_key_where_the_app_wants_one
    client_data_never_names_the_app_attest_key
    an_assertion_passes_once
    assertions_of_parallel_calls_come_in_any_order
    in_strict_order_an_assertion_behind_another_is_refused
    counted_proofs_pass_once_in_any_order
    an_uncounted_proof_costs_no_trip_where_proofs_are_counted
    counted_proofs_leave_nothing_but_their_counter
    a_counted_proof_opens_one_session
    a_counted_refresh_that_is_overtaken_is_no_replay
    a_proof_has_the_form_of_its_key
    vouchers_and_proofs_share_a_counter
    a_voucher_behind_the_proofs_is_refused_in_strict_order
    a_device_moves_to_a_session_key_and_its_session_goes_on
    a_key_that_is_attested_again_goes_on_signing_proofs
    where_bodies_are_covered_every_call_has_a_digest
}

fn assertions_allowed(world: &World) {
    world.change_policy(BANK, |policy| {
        policy.apple.session_key = SessionKeyRule::Optional;
    });
}

fn ordered(world: &World, order: CounterOrder) {
    world.change_policy(BANK, |policy| policy.proof.counter = order);
}

async fn asserting(world: &World) -> (Phone, Grant) {
    assertions_allowed(world);
    let phone = world.registered(Kind::Asserting, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    (phone, grant)
}

/// A phone whose proofs are numbered, from 100 on.
async fn counting(world: &World, kind: Kind) -> Phone {
    world.change_policy(BANK, |policy| policy.proof.replay = ReplayRule::Window);
    let mut phone = world.registered(kind, "user-1").await;
    phone.count = Some(AtomicU64::new(100));
    phone
}

const REPLAYED: Result<Result<(), Reason>, Reason> = Ok(Err(Reason::ProofReplayed));
const INVALID: Result<Result<(), Reason>, Reason> = Ok(Err(Reason::ProofInvalid));
const PASSED: Result<Result<(), Reason>, Reason> = Ok(Ok(()));

async fn a_phone_without_a_session_key_lives_its_whole_life(world: World) {
    assertions_allowed(&world);
    let mut phone = world.phone(Kind::Asserting, "user-1");
    let device = world.register(&mut phone).await.unwrap();
    assert_eq!(device.session_key, device.key.thumbprint());
    assert!(device.proves_by_assertions());

    let before = world.trips();
    let grant = world.issue(&phone).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    let call = world.call(&phone, &grant.access_token);
    let before = world.trips();
    let decision = verify_request::run(&world.engine, call).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(
        decision.verdict.unwrap().claims().key,
        device.key.thumbprint()
    );

    let before = world.trips();
    let next = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    let before = world.trips();
    let again = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    let (next, again) = (next.grant.refresh_token, again.grant.refresh_token);
    assert_eq!(next.expose(), again.expose());
    world.advance(GRACE + SECOND);
    let replayed = world.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(replayed.unwrap_err(), Reason::RefreshTokenReused);

    // It is the same registration again, and another one with a session key.
    assert_eq!(world.register(&mut phone).await.unwrap().id, device.id);
    phone.apple().replace_session_key().unwrap();
    assert_eq!(world.register(&mut phone).await, Err(Reason::DeviceExists));
}

async fn client_data_names_a_key_where_the_app_wants_one(world: World) {
    let mut phone = world.phone(Kind::Asserting, "user-1");
    let before = world.trips();
    let refused = world.register(&mut phone).await;
    assert_eq!(refused.unwrap_err(), Reason::EvidenceMalformed);
    assert_eq!(world.trips().since(before), (0, 0));
    // Who has registered stays in when the app's mind changes.
    let (phone, grant) = asserting(&world).await;
    world.change_policy(BANK, |policy| {
        policy.apple.session_key = SessionKeyRule::Required;
    });
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
}

async fn client_data_never_names_the_app_attest_key(world: World) {
    for rule in [SessionKeyRule::Required, SessionKeyRule::Optional] {
        world.change_policy(BANK, |policy| policy.apple.session_key = rule);
        let mut phone = world.phone(Kind::Apple, "user-2");
        let iphone = phone.apple();
        let own = iphone.app_attest_key().to_pkcs8().unwrap();
        let own = SoftKey::from_pkcs8(assay::simulator::Curve::P256, own.expose()).unwrap();
        iphone.set_session_key(own);
        let refused = world.register(&mut phone).await;
        assert_eq!(refused.unwrap_err(), Reason::EvidenceMalformed);
    }
}

async fn an_assertion_passes_once(world: World) {
    let (phone, grant) = asserting(&world).await;
    for order in [CounterOrder::Window, CounterOrder::Strict] {
        ordered(&world, order);
        let call = world.call(&phone, &grant.access_token);
        assert_eq!(world.decide(call.clone()).await, PASSED);
        assert_eq!(world.decide(call.clone()).await, REPLAYED);
        // The other form of its signature is the same assertion.
        let other = VerifyRequest {
            proof: Secret::new(with_other_signature(call.proof.expose())),
            ..call
        };
        assert_eq!(world.decide(other).await, REPLAYED);
    }
    // It opens no second session either.
    world.change_policy(BANK, |policy| policy.sessions_per_device_max = 3);
    let opening = world.opening(&phone, &["accounts"]);
    assert!(world.open(opening.clone()).await.is_ok());
    let again = world.open(opening).await;
    assert_eq!(again.unwrap_err(), Reason::ProofReplayed);
}

async fn assertions_of_parallel_calls_come_in_any_order(world: World) {
    let (phone, grant) = asserting(&world).await;
    let mut calls: Vec<_> = (0..60)
        .map(|_| world.call(&phone, &grant.access_token))
        .collect();
    calls.reverse();
    for call in &calls {
        assert_eq!(world.decide(call.clone()).await, PASSED);
    }
    for call in calls {
        assert_eq!(world.decide(call).await, REPLAYED);
    }
}

async fn in_strict_order_an_assertion_behind_another_is_refused(world: World) {
    let (phone, grant) = asserting(&world).await;
    ordered(&world, CounterOrder::Strict);
    let early = world.call(&phone, &grant.access_token);
    let late = world.call(&phone, &grant.access_token);
    assert_eq!(world.decide(late).await, PASSED);
    assert_eq!(world.decide(early.clone()).await, REPLAYED);
    // What order alone keeps out comes in where it is not asked for.
    ordered(&world, CounterOrder::Window);
    assert_eq!(world.decide(early).await, PASSED);
}

async fn counted_proofs_pass_once_in_any_order(world: World) {
    for kind in Kind::BOTH {
        let phone = counting(&world, kind).await;
        let grant = world.issue(&phone).await.unwrap();
        let calls: Vec<_> = (0..80)
            .map(|_| world.call(&phone, &grant.access_token))
            .collect();
        // 79 comes first, so 16 is the oldest number that is told apart.
        assert_eq!(world.decide(calls[79].clone()).await, PASSED);
        for number in [16, 40, 78, 77] {
            let call = &calls[number];
            assert_eq!(world.decide(call.clone()).await, PASSED);
            assert_eq!(world.decide(call.clone()).await, REPLAYED);
        }
        assert_eq!(world.decide(calls[15].clone()).await, REPLAYED);
        assert_eq!(world.decide(calls[79].clone()).await, REPLAYED);
        world.revoke(phone.id()).await.unwrap();
    }
}

async fn an_uncounted_proof_costs_no_trip_where_proofs_are_counted(world: World) {
    let mut phone = counting(&world, Kind::Android).await;
    let grant = world.issue(&phone).await.unwrap();
    phone.count = None;
    let before = world.trips();
    assert_eq!(
        world.decide(world.call(&phone, &grant.access_token)).await,
        INVALID
    );
    let refreshed = world.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(refreshed.unwrap_err(), Reason::ProofInvalid);
    assert_eq!(world.trips().since(before), (0, 0));
    let issued = world.issue(&phone).await;
    assert_eq!(issued.unwrap_err(), Reason::ProofInvalid);
}

async fn counted_proofs_leave_nothing_but_their_counter(world: World) {
    let phone = counting(&world, Kind::Android).await;
    let before = world.trips();
    let grant = world.issue(&phone).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    let before = world.trips();
    for _ in 0..5 {
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    }
    assert_eq!(world.trips().since(before), (5, 0));
    world.refresh(&phone, &grant.refresh_token).await.unwrap();
    let after = world.trips();
    assert_eq!(after.since(before), (7, 1));
    assert_eq!(after.claims, before.claims);
}

async fn a_counted_proof_opens_one_session(world: World) {
    let phone = counting(&world, Kind::Android).await;
    let opening = world.opening(&phone, &["accounts"]);
    // Others are quicker twice: nothing is used up before the commit is done.
    world.store.overtake(2);
    assert!(world.open(opening.clone()).await.is_ok());
    let again = world.open(opening).await;
    assert_eq!(again.unwrap_err(), Reason::ProofReplayed);
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
}

async fn a_counted_refresh_that_is_overtaken_is_no_replay(world: World) {
    let phone = counting(&world, Kind::Android).await;
    let grant = world.issue(&phone).await.unwrap();
    world.store.overtake(3);
    let proof = world.proof(&phone, "RefreshSession");
    let token = &grant.refresh_token;
    let before = world.trips();
    assert!(world.refresh_with(proof.clone(), token, &[]).await.is_ok());
    assert_eq!(world.trips().since(before), (8, 4));
    let again = world.refresh_with(proof, token, &[]).await;
    assert_eq!(again.unwrap_err(), Reason::ProofReplayed);
}

/// An assertion that a key in software signs, as no App Attest key would have to.
pub(super) fn forged_assertion(key: &SoftKey, dpop: &Dpop<'_>, counter: u32) -> String {
    let input = dpop.asserted_input(key).unwrap();
    let mut data = sha256(format!("{TEAM}.{BUNDLE}").as_bytes()).to_vec();
    data.push(0x40);
    data.extend(counter.to_be_bytes());
    let nonce = sha256(&[&data[..], &sha256(input.as_bytes())].concat());
    let signature = key.sign_der(&nonce).unwrap();
    let mut object = vec![0xa2, 0x69];
    object.extend(b"signature");
    object.extend([0x58, u8::try_from(signature.len()).unwrap()]);
    object.extend(signature);
    object.push(0x71);
    object.extend(b"authenticatorData");
    object.extend([0x58, u8::try_from(data.len()).unwrap()]);
    object.extend(data);
    format!("{input}.{}", BASE64URL_NOPAD.encode(&object))
}

/// The same proof with `n - s` for the `s` of its assertion, `n` being the order of the curve.
fn with_other_signature(proof: &str) -> String {
    use p256::ecdsa::Signature;
    let (input, object) = proof.rsplit_once('.').unwrap();
    let object = BASE64URL_NOPAD.decode(object.as_bytes()).unwrap();
    let length = usize::from(object[12]);
    let (head, rest) = object.split_at(13);
    let (signature, tail) = rest.split_at(length);
    let signature = Signature::from_der(signature).unwrap();
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(*r, -*s).unwrap().to_der();
    let mut changed = head.to_vec();
    changed[12] = u8::try_from(other.as_bytes().len()).unwrap();
    changed.extend(other.as_bytes());
    changed.extend(tail);
    format!("{input}.{}", BASE64URL_NOPAD.encode(&changed))
}

async fn a_proof_has_the_form_of_its_key(world: World) {
    assertions_allowed(&world);
    for kind in [Kind::Android, Kind::Apple, Kind::Asserting] {
        let phone = world.registered(kind, &format!("{kind:?}")).await;
        let grant = world.issue(&phone).await.unwrap();
        let nonce = world.engine.next_nonce();
        let counter = AtomicU32::new(70_000);
        let other_form = |dpop: &Dpop<'_>, phone: &Phone| match kind {
            Kind::Asserting => dpop.sign(phone.key()).unwrap(),
            Kind::Android | Kind::Apple => {
                let counter = counter.fetch_add(1, Ordering::Relaxed);
                forged_assertion(phone.key(), dpop, counter)
            }
        };
        let dpop = Dpop::new("GET", API, world.now()).unwrap();
        let dpop = dpop
            .with_nonce(&nonce)
            .with_access_token(grant.access_token.expose());
        let call = VerifyRequest {
            proof: Secret::new(other_form(&dpop, &phone)),
            ..world.call(&phone, &grant.access_token)
        };
        assert_eq!(world.decide(call).await, INVALID);
        let to = |method| format!("https://assay.example/assay.v1.SessionService/{method}");
        let uri = to("RefreshSession");
        let dpop = Dpop::new("POST", &uri, world.now())
            .unwrap()
            .with_nonce(&nonce);
        let proof = other_form(&dpop, &phone);
        let refused = world.refresh_with(proof, &grant.refresh_token, &[]).await;
        assert_eq!(refused.unwrap_err(), Reason::ProofInvalid);
        let uri = to("IssueSession");
        let dpop = Dpop::new("POST", &uri, world.now())
            .unwrap()
            .with_nonce(&nonce);
        let mut opening = world.opening(&phone, &["accounts"]);
        opening.proof = Secret::new(other_form(&dpop, &phone));
        let refused = world.open(opening).await;
        assert_eq!(refused.unwrap_err(), Reason::ProofInvalid);
        // The session is unharmed, and so is the counter.
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        assert!(world.refresh(&phone, &grant.refresh_token).await.is_ok());
    }
}

/// What binds a new session key to an iPhone, in the order in which it signs.
struct Binding {
    challenge: Vec<u8>,
    voucher: Voucher,
    rotation: KeyRotation,
}

/// Both assertions, in either order.
fn binding(world: &World, phone: &mut Phone, grant: &Grant, voucher_first: bool) -> Binding {
    let challenge = world.challenge_to(ChallengePurpose::Rotate, BANK, Some(&phone.subject));
    let new = SoftKey::generate(assay::simulator::Curve::P256).unwrap();
    let nonce = world.engine.next_nonce();
    let uri = "https://assay.example/assay.v1.DeviceService/RotateDeviceKey";
    let dpop = Dpop::new("POST", uri, world.now()).unwrap();
    let dpop = dpop.with_nonce(&nonce).with_new_key(new.thumbprint());
    // The client data names the new key, which the phone does not use before it is bound.
    let jkt = new.thumbprint();
    let client_data = format!(
        r#"{{"purpose":"bind-key","challenge":"{}","app_id":"{BANK}","jkt":"{jkt}"}}"#,
        BASE64URL_NOPAD.encode(&challenge)
    );
    let client_data = client_data.into_bytes();
    let assert = |phone: &mut Phone| phone.apple().assert(&client_data).unwrap();
    let (assertion, proof) = if voucher_first {
        let assertion = assert(phone);
        (assertion, phone.sign(&dpop))
    } else {
        let proof = phone.sign(&dpop);
        (assert(phone), proof)
    };
    phone.apple().set_session_key(new);
    Binding {
        challenge,
        voucher: Voucher::Apple {
            assertion,
            client_data,
        },
        rotation: KeyRotation {
            proof: Secret::new(proof),
            refresh_token: Some(grant.refresh_token.clone()),
        },
    }
}

async fn bind(world: &World, phone: &Phone, binding: Binding) -> Result<Renewed, Reason> {
    let request = RotateDeviceKey {
        device: phone.id(),
        challenge: binding.challenge,
        voucher: binding.voucher,
        rotation: Some(binding.rotation),
        by: caller(),
    };
    let answer = rotate_device_key::run(&world.engine, request).await;
    answer.map_err(|failure| failure.reason)
}

async fn vouchers_and_proofs_share_a_counter(world: World) {
    for order in [CounterOrder::Window, CounterOrder::Strict] {
        ordered(&world, order);
        for voucher_first in [true, false] {
            let (mut phone, grant) = asserting(&world).await;
            ordered(&world, order);
            assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
            let before = world.trips();
            let binding = binding(&world, &mut phone, &grant, voucher_first);
            let moved = bind(&world, &phone, binding).await.unwrap();
            assert_eq!(world.trips().since(before), (3, 1));
            assert!(!moved.device.proves_by_assertions());
            assert!(moved.device.assertion_counter > 0);
            world.revoke(phone.id()).await.unwrap();
        }
    }
}

async fn a_voucher_behind_the_proofs_is_refused_in_strict_order(world: World) {
    for (order, refused) in [(CounterOrder::Strict, true), (CounterOrder::Window, false)] {
        let (mut phone, grant) = asserting(&world).await;
        ordered(&world, order);
        let kept = binding(&world, &mut phone, &grant, true);
        // A proof that is made afterwards comes in before.
        let nonce = world.engine.next_nonce();
        let dpop = Dpop::new("GET", API, world.now()).unwrap();
        let dpop = dpop
            .with_nonce(&nonce)
            .with_access_token(grant.access_token.expose());
        let iphone = phone.apple();
        let input = dpop.asserted_input(iphone.app_attest_key()).unwrap();
        let object = iphone.assert(input.as_bytes()).unwrap();
        let proof = format!("{input}.{}", BASE64URL_NOPAD.encode(&object));
        let call = VerifyRequest {
            proof: Secret::new(proof),
            ..world.call(&phone, &grant.access_token)
        };
        assert_eq!(world.decide(call).await, PASSED);
        let bound = bind(&world, &phone, kept).await;
        assert_eq!(bound.err(), refused.then_some(Reason::ProofReplayed));
        world.revoke(phone.id()).await.unwrap();
    }
}

async fn a_device_moves_to_a_session_key_and_its_session_goes_on(world: World) {
    let (mut phone, grant) = asserting(&world).await;
    let old = world.call(&phone, &grant.access_token);
    let binding = binding(&world, &mut phone, &grant, true);
    let moved = bind(&world, &phone, binding).await.unwrap();
    let grant = moved.grant.unwrap();
    assert_eq!(
        moved.device.session_key.to_string(),
        phone.key().thumbprint()
    );
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    assert!(world.refresh(&phone, &grant.refresh_token).await.is_ok());
    // The key it has left makes no proofs any more.
    assert!(world.decide(old).await.unwrap().is_err());
}

async fn a_key_that_is_attested_again_goes_on_signing_proofs(world: World) {
    let (mut phone, grant) = asserting(&world).await;
    let challenge = world.challenge_to(ChallengePurpose::Reattest, BANK, Some(&phone.subject));
    let now = world.now();
    let iphone = phone.apple();
    let client_data = iphone
        .client_data_for("reattest", &challenge, BANK)
        .unwrap();
    let object = iphone.attest(&client_data, now).unwrap();
    let key_id = iphone.key_id().to_vec();
    let attestation = assay::attestation::apple::Attestation::new(object, key_id).unwrap();
    let request = reattest_device::ReattestDevice {
        device: phone.id(),
        challenge,
        evidence: assay::flow::EvidenceInput::Apple {
            attestation,
            client_data,
        },
        rotation: None,
        validate_only: false,
        by: caller(),
    };
    let renewed = reattest_device::run(&world.engine, request).await.unwrap();
    assert!(renewed.renewed.device.proves_by_assertions());
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    assert!(world.refresh(&phone, &grant.refresh_token).await.is_ok());
}

async fn where_bodies_are_covered_every_call_has_a_digest(world: World) {
    world.change_policy(BANK, |policy| policy.proof.body = BodyRule::Required);
    let phone = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let bare = || world.call(&phone, &grant.access_token);
    let before = world.trips();
    let failure = verify_request::run(&world.engine, bare())
        .await
        .unwrap_err();
    assert_eq!(failure.reason, Reason::MalformedRequest);
    let fields: Vec<_> = failure
        .violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert_eq!(fields, ["body_sha256"]);
    // A token that is not ours is refused as such: nothing of it says which app's rules hold.
    let forged = VerifyRequest {
        access_token: Secret::new(format!("{}x", grant.access_token.expose())),
        ..bare()
    };
    assert_eq!(world.decide(forged).await, Ok(Err(Reason::TokenInvalid)));
    let mismatch = Ok(Err(Reason::ProofTargetMismatch));
    let silent = VerifyRequest {
        body_sha256: Some(sha256(b"")),
        ..bare()
    };
    assert_eq!(world.decide(silent).await, mismatch);
    assert_eq!(world.trips().since(before), (0, 0));
    let nonce = world.engine.next_nonce();
    for (said, body, wanted) in [
        (sha256(b"body"), sha256(b"body"), PASSED),
        (sha256(b""), sha256(b""), PASSED),
        (sha256(b"body"), sha256(b"else"), mismatch),
    ] {
        let dpop = Dpop::new("GET", API, world.now()).unwrap();
        let dpop = dpop
            .with_nonce(&nonce)
            .with_access_token(grant.access_token.expose())
            .with_body(said);
        let call = VerifyRequest {
            proof: Secret::new(phone.sign(&dpop)),
            body_sha256: Some(body),
            ..bare()
        };
        assert_eq!(world.decide(call).await, wanted);
    }
}

/// What remembers a proof outlives its acceptance, whatever comes in between: proofs with and without
/// nonces, made early and late, are sent again and again while time goes by.
#[test]
fn no_proof_passes_twice_whatever_time_goes_by() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    // Seconds that go by, whether with a nonce, and by how much the phone's clock is off.
    let step = (0_u64..100, any::<bool>(), -70_i64..70);
    let steps = proptest::collection::vec(step, 1..30);
    proptest::test_runner::TestRunner::new(config)
        .run(&(0..3_u8, steps), |(way, steps)| {
            runtime.block_on(passes_once(way, steps));
            Ok(())
        })
        .unwrap();
}

async fn passes_once(way: u8, steps: Vec<(u64, bool, i64)>) {
    let world = World::in_memory();
    world.change_policy(BANK, |policy| {
        policy.lifetimes.access_for = SECOND * 3600;
        policy.apple.session_key = SessionKeyRule::Optional;
        if way == 1 {
            policy.proof.replay = ReplayRule::Window;
        }
    });
    let kind = [Kind::Android, Kind::Android, Kind::Asserting][usize::from(way)];
    let mut phone = world.registered(kind, "user-1").await;
    phone.count = Some(AtomicU64::new(1));
    let grant = world.issue(&phone).await.unwrap();
    let mut sent: Vec<(VerifyRequest, bool)> = Vec::new();
    for (seconds, with_nonce, off) in steps {
        world.advance(SECOND * u32::try_from(seconds).unwrap());
        let at = assay::time::Timestamp::from_secs(world.now().as_secs() + off);
        let nonce = world.engine.next_nonce();
        let mut dpop = Dpop::new("GET", API, at).unwrap();
        dpop.nonce = with_nonce.then_some(nonce.as_str());
        let dpop = dpop.with_access_token(grant.access_token.expose());
        let call = VerifyRequest {
            proof: Secret::new(phone.sign(&dpop)),
            ..world.call(&phone, &grant.access_token)
        };
        sent.push((call, false));
        for (call, passed) in &mut sent {
            let passes = world.decide(call.clone()).await.unwrap() == Ok(());
            assert!(!(passes && *passed), "it passes twice");
            *passed |= passes;
        }
    }
}
