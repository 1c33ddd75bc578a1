//! ReattestDevice and RotateDeviceKey.

use assay::attestation::{android, apple};
use assay::flow::find_devices::{self, By, FindDevices};
use assay::flow::reattest_device::{self, ReattestDevice};
use assay::flow::rotate_device_key::{self, RotateDeviceKey, Voucher};
use assay::flow::{EvidenceInput, Grant, KeyRotation, PageRequest, Renewed};
use assay::secret::Secret;
use assay::session::{Device, DeviceState};
use assay::simulator::proof::Dpop;
use assay::simulator::{Curve, Evidence, SoftKey};
use assay::token::challenge::ChallengePurpose;

use super::world::{ABSOLUTE, CHALLENGE, GRACE};
use super::*;

over_every_store! {
    a_session_goes_on_under_the_new_key
    a_move_whose_answer_was_lost_is_answered_alike
    a_move_after_a_lost_refresh_gives_a_live_session
    without_a_refresh_token_every_session_ends
    sessions_left_behind_by_one_move_stay_behind_at_the_next
    a_new_key_needs_the_old_one
    a_proof_vouches_for_the_key_it_names_and_no_other
    a_new_key_is_nobody_elses
    a_refused_move_leaves_the_new_key_to_its_owner
    an_old_key_does_not_come_back
    an_iphone_moves_to_another_session_key_by_assertion
    an_assertion_serves_once_and_in_order
    an_android_key_makes_no_assertions
    a_phone_stays_with_its_system
    the_same_app_attest_key_is_attested_again
    a_session_goes_on_where_the_session_key_stays
    attesting_again_lets_an_overdue_device_go_on
    a_challenge_serves_its_own_purpose
    a_device_that_is_out_stays_out
    a_trial_renews_nothing
    of_many_moves_at_once_one_wins
}

const REATTEST: &str = "ReattestDevice";
const ROTATE: &str = "RotateDeviceKey";

struct Moving {
    phone: Phone,
    old: SoftKey,
    grant: Grant,
}

async fn moving(world: &World, kind: Kind) -> Moving {
    let phone = world.registered(kind, "user-1").await;
    let grant = world.issue(&phone).await.unwrap();
    let old = phone.key_kept();
    Moving { phone, old, grant }
}

pub(super) fn rotation(
    world: &World,
    old: &SoftKey,
    (method, new): (&str, &SoftKey),
    token: Option<&Secret<String>>,
) -> KeyRotation {
    let uri = format!("https://assay.example/assay.v1.DeviceService/{method}");
    let nonce = world.engine.next_nonce();
    let dpop = Dpop::new("POST", &uri, world.now()).unwrap();
    let dpop = dpop.with_nonce(&nonce).with_new_key(new.thumbprint());
    KeyRotation {
        proof: Secret::new(dpop.sign(old).unwrap()),
        refresh_token: token.cloned(),
    }
}

fn challenge(world: &World, phone: &Phone, purpose: ChallengePurpose) -> Vec<u8> {
    world.challenge_to(purpose, BANK, Some(&phone.subject))
}

/// Has an Android phone make a new key, or an iPhone a new session key, and vouch for it.
fn voucher(world: &World, phone: &mut Phone, challenge: &[u8]) -> Voucher {
    match phone.device.evidence(challenge, BANK, world.now()).unwrap() {
        Evidence::Android { certificate_chain } => {
            Voucher::Android(android::Chain::from_der(certificate_chain).unwrap())
        }
        Evidence::Apple { .. } => {
            let iphone = phone.apple();
            iphone.replace_session_key().unwrap();
            bound(phone, challenge)
        }
    }
}

/// An assertion for the session key the iPhone has.
fn bound(phone: &mut Phone, challenge: &[u8]) -> Voucher {
    let iphone = phone.apple();
    let client_data = iphone.client_data_for("bind-key", challenge, BANK).unwrap();
    Voucher::Apple {
        assertion: iphone.assert(&client_data).unwrap(),
        client_data,
    }
}

/// A move to a new key with which the session goes on.
fn move_of(world: &World, moving: &mut Moving) -> RotateDeviceKey {
    let challenge = challenge(world, &moving.phone, ChallengePurpose::Rotate);
    let voucher = voucher(world, &mut moving.phone, &challenge);
    let token = Some(&moving.grant.refresh_token);
    RotateDeviceKey {
        device: moving.phone.id(),
        rotation: Some(rotation(
            world,
            &moving.old,
            (ROTATE, moving.phone.key()),
            token,
        )),
        challenge,
        voucher,
        by: caller(),
    }
}

async fn send(world: &World, request: &RotateDeviceKey) -> Result<Renewed, Reason> {
    let answer = rotate_device_key::run(&world.engine, request.clone()).await;
    answer.map_err(|failure| failure.reason)
}

/// As after a lost answer: the same again, with a fresh proof.
fn again(world: &World, moving: &Moving, request: &RotateDeviceKey) -> RotateDeviceKey {
    let token = Some(&moving.grant.refresh_token);
    RotateDeviceKey {
        rotation: Some(rotation(
            world,
            &moving.old,
            (ROTATE, moving.phone.key()),
            token,
        )),
        ..request.clone()
    }
}

pub(super) fn reattestation(
    world: &World,
    phone: &mut Phone,
    old: &SoftKey,
    token: Option<&Secret<String>>,
) -> ReattestDevice {
    let challenge = challenge(world, phone, ChallengePurpose::Reattest);
    let (evidence, rotation) = match &mut phone.device {
        assay::simulator::Device::Android { .. } => {
            let evidence = phone.evidence(&challenge, BANK, world.now());
            let rotation = rotation(world, old, (REATTEST, phone.key()), token);
            (evidence, Some(rotation))
        }
        assay::simulator::Device::Apple(iphone) => {
            let client_data = iphone
                .client_data_for("reattest", &challenge, BANK)
                .unwrap();
            let object = iphone.attest(&client_data, world.now()).unwrap();
            let key_id = iphone.key_id().to_vec();
            let attestation = apple::Attestation::new(object, key_id).unwrap();
            let evidence = EvidenceInput::Apple {
                attestation,
                client_data,
            };
            (evidence, None)
        }
    };
    ReattestDevice {
        device: phone.id(),
        challenge,
        evidence,
        rotation,
        validate_only: false,
        by: caller(),
    }
}

pub(super) async fn reattest(world: &World, request: &ReattestDevice) -> Result<Renewed, Reason> {
    let answer = reattest_device::run(&world.engine, request.clone()).await;
    answer
        .map(|reattested| reattested.renewed)
        .map_err(|failure| failure.reason)
}

/// Trips of an attestation that changes nothing but the evidence.
pub(super) async fn trips_of_an_attestation(world: &World) -> usize {
    let mut moving = moving(world, Kind::Android).await;
    let token = moving.grant.refresh_token.clone();
    let request = reattestation(world, &mut moving.phone, &moving.old, Some(&token));
    let before = world.trips();
    reattest(world, &request).await.unwrap();
    world.trips().since(before).0
}

/// Trips of a move with which the session goes on.
pub(super) async fn trips_of_a_move(world: &World) -> usize {
    let mut moving = moving(world, Kind::Android).await;
    let request = move_of(world, &mut moving);
    let before = world.trips();
    send(world, &request).await.unwrap();
    world.trips().since(before).0
}

fn same_tokens(one: &Grant, other: &Grant) -> bool {
    one.refresh_token.expose() == other.refresh_token.expose()
}

async fn a_session_goes_on_under_the_new_key(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        let request = move_of(&world, &mut moving);
        let before = world.trips();
        let moved = send(&world, &request).await.unwrap();
        assert_eq!(world.trips().since(before), (3, 1));
        let grant = moved.grant.unwrap();
        assert_eq!(grant.session.id, moving.grant.session.id);
        assert_eq!(
            moved.device.session_key.to_string(),
            moving.phone.key().thumbprint()
        );
        let phone = &moving.phone;
        assert_eq!(world.verify(phone, &grant.access_token).await, Ok(()));
        assert!(world.refresh(phone, &grant.refresh_token).await.is_ok());
        // What the old key had is over: neither key can use it.
        let old = &moving.grant;
        assert!(world.verify(phone, &old.access_token).await.is_err());
        assert_eq!(
            world.refresh(phone, &old.refresh_token).await.err(),
            Some(Reason::TokenInvalid)
        );
        let proof = {
            let uri = "https://assay.example/assay.v1.SessionService/RefreshSession";
            let nonce = world.engine.next_nonce();
            let dpop = Dpop::new("POST", uri, world.now()).unwrap();
            dpop.with_nonce(&nonce).sign(&moving.old).unwrap()
        };
        let refreshed = world.refresh_with(proof, &old.refresh_token, &[]).await;
        assert_eq!(refreshed.err(), Some(Reason::TokenInvalid));
        // Nor was the session harmed by the attempt.
        assert_eq!(world.active(&grant.access_token).await, Ok(true));
    }
}

async fn a_move_whose_answer_was_lost_is_answered_alike(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        let request = move_of(&world, &mut moving);
        let first = send(&world, &request).await.unwrap();
        // The very same request is a replay of its proof.
        assert_eq!(
            send(&world, &request).await.err(),
            Some(Reason::ProofReplayed)
        );
        world.advance(CHALLENGE / 2);
        let repeated = again(&world, &moving, &request);
        let repeated = send(&world, &repeated).await.unwrap();
        assert_eq!(repeated.device.session_key, first.device.session_key);
        assert!(same_tokens(&repeated.grant.unwrap(), &first.grant.unwrap()));
    }
}

async fn a_move_after_a_lost_refresh_gives_a_live_session(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        // The answer of this one is lost: the phone still has the token before.
        world
            .refresh(&moving.phone, &moving.grant.refresh_token)
            .await
            .unwrap();
        let request = move_of(&world, &mut moving);
        let first = send(&world, &request).await.unwrap().grant.unwrap();
        let repeated = again(&world, &moving, &request);
        let repeated = send(&world, &repeated).await.unwrap().grant.unwrap();
        assert!(same_tokens(&first, &repeated));
        let next = world.refresh(&moving.phone, &first.refresh_token).await;
        let next = next.unwrap().grant;
        assert!(
            world
                .refresh(&moving.phone, &next.refresh_token)
                .await
                .is_ok()
        );
        // A request of the move that comes late is refused and ends nothing.
        let late = again(&world, &moving, &request);
        assert_eq!(
            send(&world, &late).await.err(),
            Some(Reason::RefreshTokenReused)
        );
        assert_eq!(world.active(&next.access_token).await, Ok(true));
    }
}

async fn without_a_refresh_token_every_session_ends(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        let other = world.issue(&moving.phone).await.unwrap();
        let mut request = move_of(&world, &mut moving);
        request.rotation = Some(rotation(
            &world,
            &moving.old,
            (ROTATE, moving.phone.key()),
            None,
        ));
        let moved = send(&world, &request).await.unwrap();
        assert!(moved.grant.is_none());
        for grant in [&moving.grant, &other] {
            assert_eq!(world.active(&grant.access_token).await, Ok(false));
        }
        // The device is as good as before.
        assert!(world.issue(&moving.phone).await.is_ok());
    }
}

async fn sessions_left_behind_by_one_move_stay_behind_at_the_next(world: World) {
    let mut moving = moving(&world, Kind::Apple).await;
    let left = world.issue(&moving.phone).await.unwrap();
    let first_key = moving.phone.key_kept();
    let request = move_of(&world, &mut moving);
    let first = send(&world, &request).await.unwrap().grant.unwrap();
    // A token of the first key, presented with the second as the old one, and with the first.
    for old in [moving.phone.key_kept(), first_key] {
        let challenge = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
        let voucher = voucher(&world, &mut moving.phone, &challenge);
        let rotation = rotation(
            &world,
            &old,
            (ROTATE, moving.phone.key()),
            Some(&left.refresh_token),
        );
        let request = RotateDeviceKey {
            device: moving.phone.id(),
            challenge,
            voucher,
            rotation: Some(rotation),
            by: caller(),
        };
        let refused = send(&world, &request).await.err();
        assert!(
            matches!(
                refused,
                Some(Reason::TokenInvalid | Reason::ProofKeyMismatch)
            ),
            "{refused:?}"
        );
    }
    assert_eq!(world.active(&first.access_token).await, Ok(true));
    assert_eq!(world.active(&left.access_token).await, Ok(false));
}

async fn a_new_key_needs_the_old_one(world: World) {
    let mut moving = moving(&world, Kind::Android).await;
    let request = move_of(&world, &mut moving);
    let mut bare = request.clone();
    bare.rotation = None;
    assert_eq!(
        send(&world, &bare).await.err(),
        Some(Reason::ProofKeyMismatch)
    );
    let stranger = SoftKey::generate(Curve::P256).unwrap();
    let mut foreign = request.clone();
    foreign.rotation = Some(rotation(
        &world,
        &stranger,
        (ROTATE, moving.phone.key()),
        None,
    ));
    assert_eq!(
        send(&world, &foreign).await.err(),
        Some(Reason::ProofKeyMismatch)
    );
    // Nor does the new key vouch for itself.
    let mut own = request.clone();
    own.rotation = Some(rotation(
        &world,
        moving.phone.key(),
        (ROTATE, moving.phone.key()),
        None,
    ));
    assert_eq!(
        send(&world, &own).await.err(),
        Some(Reason::ProofKeyMismatch)
    );
    assert!(send(&world, &request).await.is_ok());
}

async fn a_proof_vouches_for_the_key_it_names_and_no_other(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        let mut request = move_of(&world, &mut moving);
        let other = SoftKey::generate(Curve::P256).unwrap();
        let token = Some(&moving.grant.refresh_token);
        request.rotation = Some(rotation(&world, &moving.old, (ROTATE, &other), token));
        assert_eq!(
            send(&world, &request).await.err(),
            Some(Reason::ProofTargetMismatch)
        );
        // A proof for another RPC, or for none.
        request.rotation = Some(rotation(
            &world,
            &moving.old,
            (REATTEST, moving.phone.key()),
            token,
        ));
        assert_eq!(
            send(&world, &request).await.err(),
            Some(Reason::ProofTargetMismatch)
        );
    }
}

async fn a_refused_move_leaves_the_new_key_to_its_owner(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        let mut request = move_of(&world, &mut moving);
        let stranger = SoftKey::generate(Curve::P256).unwrap();
        let new = moving.phone.key();
        request.rotation = Some(rotation(&world, &stranger, (ROTATE, new), None));
        assert_eq!(
            send(&world, &request).await.err(),
            Some(Reason::ProofKeyMismatch)
        );
        // Who looks for that key is not led to the device that somebody tried to move to it.
        let new = new.thumbprint().parse().unwrap();
        let request = FindDevices {
            by: By::Key(new),
            page: PageRequest::parse(20, None).unwrap(),
        };
        let found = find_devices::run(&world.engine, request).await.unwrap();
        assert!(found.page.entries.is_empty(), "{kind:?}");
    }
}

async fn a_session_goes_on_where_the_session_key_stays(world: World) {
    let Moving {
        mut phone,
        old,
        grant,
    } = moving(&world, Kind::Apple).await;
    // The App Attest key is another one, as after a restore, and the session key is the same.
    let mut other = world.phone(Kind::Apple, "user-1");
    let fresh = other.apple();
    fresh.set_session_key(phone.key_kept());
    other.id = phone.id;
    let token = Some(&grant.refresh_token);
    let mut request = reattestation(&world, &mut other, &old, None);
    request.rotation = Some(rotation(&world, &old, (REATTEST, &old), token));
    let renewed = reattest(&world, &request).await.unwrap();
    assert_eq!(renewed.device.session_key.to_string(), old.thumbprint());
    let first = renewed.grant.unwrap();
    assert_eq!(world.verify(&phone, &first.access_token).await, Ok(()));
    // The answer was lost: the same again, with a fresh proof.
    request.rotation = Some(rotation(&world, &old, (REATTEST, &old), token));
    let again = reattest(&world, &request).await.unwrap().grant.unwrap();
    assert!(same_tokens(&first, &again));
    phone.id = other.id;
    assert!(world.refresh(&phone, &first.refresh_token).await.is_ok());
}

async fn a_new_key_is_nobody_elses(world: World) {
    let other = world.registered(Kind::Apple, "user-2").await;
    let mut moving = moving(&world, Kind::Apple).await;
    let challenge = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
    // The attested app vouches for a key that is the session key of another device.
    let taken = other.key().thumbprint();
    let iphone = moving.phone.apple();
    let client_data = iphone
        .client_data_for("bind-key", &challenge, BANK)
        .unwrap();
    let own = iphone.session_key().thumbprint();
    let client_data = String::from_utf8(client_data)
        .unwrap()
        .replace(&own, &taken);
    let voucher = Voucher::Apple {
        assertion: iphone.assert(client_data.as_bytes()).unwrap(),
        client_data: client_data.into_bytes(),
    };
    let request = RotateDeviceKey {
        device: moving.phone.id(),
        challenge,
        voucher,
        rotation: None,
        by: caller(),
    };
    assert_eq!(
        send(&world, &request).await.err(),
        Some(Reason::DeviceExists)
    );
    assert_eq!(world.active(&moving.grant.access_token).await, Ok(true));
}

async fn an_old_key_does_not_come_back(world: World) {
    let mut moving = moving(&world, Kind::Android).await;
    let registration = world.registration(&mut moving.phone);
    // The key of that registration is not the device's; have it move there and on.
    let challenge_bytes = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
    let voucher = voucher(&world, &mut moving.phone, &challenge_bytes);
    let request = RotateDeviceKey {
        device: moving.phone.id(),
        rotation: Some(rotation(
            &world,
            &moving.old,
            (ROTATE, moving.phone.key()),
            None,
        )),
        challenge: challenge_bytes,
        voucher,
        by: caller(),
    };
    let moved = send(&world, &request).await.unwrap();
    assert_ne!(
        moved.device.key.thumbprint().to_string(),
        moving.old.thumbprint()
    );
    // A key nobody has may still be registered; it is another device.
    let other = world.send(&registration).await.unwrap();
    assert_ne!(other.id, moved.device.id);
    // The old key vouches for nothing any more.
    let challenge_bytes = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
    let voucher = voucher_again(&world, &mut moving.phone, &challenge_bytes);
    let request = RotateDeviceKey {
        device: moving.phone.id(),
        rotation: Some(rotation(
            &world,
            &moving.old,
            (ROTATE, moving.phone.key()),
            None,
        )),
        challenge: challenge_bytes,
        voucher,
        by: caller(),
    };
    assert_eq!(
        send(&world, &request).await.err(),
        Some(Reason::ProofKeyMismatch)
    );
}

fn voucher_again(world: &World, phone: &mut Phone, challenge: &[u8]) -> Voucher {
    voucher(world, phone, challenge)
}

async fn an_iphone_moves_to_another_session_key_by_assertion(world: World) {
    // The old session key is gone: the App Attest key vouches alone, and no session goes on.
    let mut moving = moving(&world, Kind::Apple).await;
    let mut request = move_of(&world, &mut moving);
    request.rotation = None;
    let moved = send(&world, &request).await.unwrap();
    assert!(moved.grant.is_none());
    assert_eq!(moved.device.assertion_counter, 1);
    assert_eq!(world.active(&moving.grant.access_token).await, Ok(false));
    assert!(world.issue(&moving.phone).await.is_ok());
}

async fn an_assertion_serves_once_and_in_order(world: World) {
    let mut moving = moving(&world, Kind::Apple).await;
    let first = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
    let second = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
    let mut vouchers = Vec::new();
    for challenge in [first, second] {
        let voucher = voucher(&world, &mut moving.phone, &challenge);
        vouchers.push(RotateDeviceKey {
            device: moving.phone.id(),
            challenge,
            voucher,
            rotation: None,
            by: caller(),
        });
    }
    let moved = send(&world, &vouchers[1]).await.unwrap();
    assert_eq!(moved.device.assertion_counter, 2);
    // The older one comes late.
    assert_eq!(
        send(&world, &vouchers[0]).await.err(),
        Some(Reason::ProofReplayed)
    );
    // The newer one again is the same move again.
    assert!(send(&world, &vouchers[1]).await.is_ok());
}

async fn an_android_key_makes_no_assertions(world: World) {
    let moving = moving(&world, Kind::Android).await;
    let mut iphone = world.phone(Kind::Apple, "user-1");
    let challenge = challenge(&world, &moving.phone, ChallengePurpose::Rotate);
    let voucher = bound(&mut iphone, &challenge);
    let request = RotateDeviceKey {
        device: moving.phone.id(),
        challenge,
        voucher,
        rotation: None,
        by: caller(),
    };
    assert_eq!(
        send(&world, &request).await.err(),
        Some(Reason::UnsupportedPlatform)
    );
}

async fn a_phone_stays_with_its_system(world: World) {
    let moving = moving(&world, Kind::Apple).await;
    let mut other = world.phone(Kind::Android, "user-1");
    other.id = moving.phone.id;
    let request = reattestation(&world, &mut other, &moving.old, None);
    assert_eq!(
        reattest(&world, &request).await.err(),
        Some(Reason::UnsupportedPlatform)
    );
}

async fn the_same_app_attest_key_is_attested_again(world: World) {
    let mut moving = moving(&world, Kind::Apple).await;
    world.advance(GRACE);
    let request = reattestation(&world, &mut moving.phone, &moving.old, None);
    let renewed = reattest(&world, &request).await.unwrap();
    assert_eq!(renewed.device.attested_at, world.now());
    assert_eq!(
        renewed.device.session_key.to_string(),
        moving.old.thumbprint()
    );
    // Nothing has moved: the session goes on by itself.
    assert!(renewed.grant.is_none());
    let refreshed = world
        .refresh(&moving.phone, &moving.grant.refresh_token)
        .await;
    assert!(refreshed.is_ok());
    // The same answer again.
    let again = reattest(&world, &request).await.unwrap();
    assert_eq!(again.device.attested_at, world.now());
}

async fn attesting_again_lets_an_overdue_device_go_on(world: World) {
    for kind in Kind::BOTH {
        world.change_policy(BANK, |policy| {
            policy.lifetimes.reattest_after = Some(ABSOLUTE / 10);
        });
        let mut moving = moving(&world, kind).await;
        assert_eq!(
            moving.grant.reattest_by,
            Some(world.now().after(ABSOLUTE / 10))
        );
        world.advance(ABSOLUTE / 10);
        let refused = world
            .refresh(&moving.phone, &moving.grant.refresh_token)
            .await;
        assert_eq!(refused.err(), Some(Reason::ReattestationRequired));
        let token = Some(&moving.grant.refresh_token);
        let request = reattestation(&world, &mut moving.phone, &moving.old, token);
        let renewed = reattest(&world, &request).await.unwrap();
        let token = match renewed.grant {
            Some(grant) => grant.refresh_token,
            None => moving.grant.refresh_token.clone(),
        };
        assert!(world.refresh(&moving.phone, &token).await.is_ok());
    }
}

async fn a_challenge_serves_its_own_purpose(world: World) {
    let mut moving = moving(&world, Kind::Android).await;
    let mut request = move_of(&world, &mut moving);
    for purpose in [ChallengePurpose::Register, ChallengePurpose::Reattest] {
        request.challenge = challenge(&world, &moving.phone, purpose);
        assert_eq!(
            send(&world, &request).await.err(),
            Some(Reason::ChallengeInvalid)
        );
    }
    request.challenge = world.challenge_to(
        ChallengePurpose::Rotate,
        BANK,
        Some(&"user-2".parse().unwrap()),
    );
    assert_eq!(
        send(&world, &request).await.err(),
        Some(Reason::ChallengeInvalid)
    );
}

async fn a_device_that_is_out_stays_out(world: World) {
    for kind in Kind::BOTH {
        let mut moving = moving(&world, kind).await;
        let request = move_of(&world, &mut moving);
        world.revoke(moving.phone.id()).await.unwrap();
        assert_eq!(
            send(&world, &request).await.err(),
            Some(Reason::DeviceRevoked)
        );
        let old = moving.phone.key_kept();
        let request = reattestation(&world, &mut moving.phone, &old, None);
        assert_eq!(
            reattest(&world, &request).await.err(),
            Some(Reason::DeviceRevoked)
        );
    }
}

async fn a_trial_renews_nothing(world: World) {
    let mut moving = moving(&world, Kind::Android).await;
    let token = Some(&moving.grant.refresh_token);
    let mut request = reattestation(&world, &mut moving.phone, &moving.old, token);
    request.validate_only = true;
    let before = world.trips();
    let tried = reattest(&world, &request).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 0));
    // A trial that gave tokens would give them away: nothing would know of them, and the same proof
    // would give more.
    assert!(tried.grant.is_none());
    assert_eq!(world.active(&moving.grant.access_token).await, Ok(true));
    request.validate_only = false;
    assert!(reattest(&world, &request).await.is_ok());
}

async fn of_many_moves_at_once_one_wins(world: World) {
    let mut moving = moving(&world, Kind::Android).await;
    let mut requests = Vec::new();
    for _ in 0..6 {
        requests.push(move_of(&world, &mut moving));
    }
    let world = std::sync::Arc::new(world);
    let sent = requests.into_iter().map(|request| {
        let world = std::sync::Arc::clone(&world);
        tokio::spawn(async move { send(&world, &request).await })
    });
    let mut moved: Vec<Device> = Vec::new();
    for answer in sent.collect::<Vec<_>>() {
        moved.extend(answer.await.unwrap().ok().map(|renewed| renewed.device));
    }
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].state, DeviceState::Active);
}
