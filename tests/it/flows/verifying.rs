//! VerifyRequest and IntrospectToken.

use assay::flow::Grant;
use assay::policy::TrustLevel;
use assay::secret::Secret;
use assay::simulator::proof::Dpop;

use super::phone::strange_key;
use super::world::{ACCESS, API, scopes};
use super::*;

over_every_store! {
    a_call_passes_once
    a_proof_for_another_call_does_not_pass
    a_proof_by_another_key_does_not_pass
    the_body_is_bound_where_it_is_known
    the_call_may_need_more
    an_access_token_ends
    forged_calls_cost_no_trip
    a_token_of_a_store_that_lost_everything_is_dead
}

async fn session_of(world: &World) -> (Phone, Grant) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let opening = world.opening(&phone, &["accounts"]);
    let grant = world.open(opening).await.unwrap();
    (phone, grant)
}

async fn a_call_passes_once(world: World) {
    let (phone, grant) = session_of(&world).await;
    let call = world.call(&phone, &grant.access_token);
    let before = world.trips();
    assert_eq!(world.decide(call.clone()).await, Ok(Ok(())));
    assert_eq!(world.trips().since(before), (1, 0));
    for _ in 0..2 {
        let again = world.decide(call.clone()).await;
        assert_eq!(again, Ok(Err(Reason::ProofReplayed)));
    }
    // As long as the proof could be taken for a new one, it is remembered.
    for _ in 0..8 {
        world.advance(SECOND * 30);
        assert_ne!(world.decide(call.clone()).await, Ok(Ok(())));
    }
    let before = world.trips();
    assert_eq!(world.active(&grant.access_token).await, Ok(true));
    assert_eq!(world.trips().since(before), (1, 0));
}

async fn a_proof_for_another_call_does_not_pass(world: World) {
    let (phone, grant) = session_of(&world).await;
    let other = world.issue(&phone).await.unwrap();
    let call = || world.call(&phone, &grant.access_token);
    let before = world.trips();
    let mismatch = Ok(Err(Reason::ProofTargetMismatch));
    for (method, uri) in [
        ("POST", API),
        ("get", API),
        ("GET", "https://api.example/v1/transfers"),
        ("GET", "http://api.example/v1/accounts"),
        ("GET", "https://api.example:8443/v1/accounts"),
        ("GET", "https://evil.example/v1/accounts"),
        ("GET", "not a uri"),
    ] {
        let mut call = call();
        call.method = method.to_owned();
        call.uri = uri.to_owned();
        assert_eq!(world.decide(call).await, mismatch, "{method} {uri}");
    }
    // Stolen with its token from one session, used for another.
    let mut swapped = call();
    swapped.access_token = other.access_token.clone();
    assert_eq!(world.decide(swapped).await, mismatch);
    let mut without = call();
    without.proof = Secret::new(phone.sign(&Dpop::new("GET", API, world.now()).unwrap()));
    assert_eq!(world.decide(without).await, mismatch);
    assert_eq!(world.trips(), before);
    let mut same = call();
    same.uri = "HTTPS://API.example:443/v1/accounts?page=9#top".to_owned();
    assert_eq!(world.decide(same).await, Ok(Ok(())));
}

async fn a_proof_by_another_key_does_not_pass(world: World) {
    let (phone, grant) = session_of(&world).await;
    let other = world.registered(Kind::Apple, "user-1").await;
    let token = grant.access_token.expose();
    let before = world.trips();
    let dpop = Dpop::new("GET", API, world.now())
        .unwrap()
        .with_access_token(token);
    let strange = dpop.sign(&strange_key()).unwrap();
    for proof in [strange, world.call_proof(&other, token)] {
        let mut call = world.call(&phone, &grant.access_token);
        call.proof = Secret::new(proof);
        assert_eq!(world.decide(call).await, Ok(Err(Reason::ProofKeyMismatch)));
    }
    assert_eq!(world.trips(), before);
}

async fn the_body_is_bound_where_it_is_known(world: World) {
    let (phone, grant) = session_of(&world).await;
    let token = grant.access_token.expose();
    let proof = |body| {
        let mut dpop = Dpop::new("GET", API, world.now())
            .unwrap()
            .with_access_token(token);
        dpop.body_sha256 = body;
        phone.sign(&dpop)
    };
    let mismatch = Err(Reason::ProofTargetMismatch);
    for (signed, seen, expected) in [
        (Some([1; 32]), Some([1; 32]), Ok(())),
        (Some([1; 32]), Some([2; 32]), mismatch),
        (None, Some([1; 32]), mismatch),
        (Some([1; 32]), None, Ok(())),
        (None, None, Ok(())),
    ] {
        let mut call = world.call(&phone, &grant.access_token);
        call.proof = Secret::new(proof(signed));
        call.body_sha256 = seen;
        assert_eq!(
            world.decide(call).await,
            Ok(expected),
            "{signed:?} {seen:?}"
        );
    }
}

async fn the_call_may_need_more(world: World) {
    let (phone, grant) = session_of(&world).await;
    let call = || world.call(&phone, &grant.access_token);
    let mut fine = call();
    fine.required.scopes = scopes(&["accounts"]);
    fine.required.acr_values = vec!["urn:acr:2".to_owned()];
    fine.required.max_age = Some(SECOND * 60);
    fine.required.trust_level_min = Some(TrustLevel::Tee);
    fine.required.audience = Some("https://api.example".to_owned());
    assert_eq!(world.decide(fine).await, Ok(Ok(())));
    let mut scope = call();
    scope.required.scopes = scopes(&["transfer"]);
    assert_eq!(world.decide(scope).await, Ok(Err(Reason::ScopeNotAllowed)));
    let mut acr = call();
    acr.required.acr_values = vec!["urn:acr:3".to_owned()];
    assert_eq!(world.decide(acr).await, Ok(Err(Reason::StepUpRequired)));
    let mut level = call();
    level.required.trust_level_min = Some(TrustLevel::StrongBox);
    assert_eq!(world.decide(level).await, Ok(Err(Reason::TrustLevelTooLow)));
    let mut audience = call();
    audience.required.audience = Some("https://other.example".to_owned());
    assert_eq!(world.decide(audience).await, Ok(Err(Reason::TokenInvalid)));
    world.advance(SECOND * 60);
    let mut age = call();
    age.required.max_age = Some(SECOND * 60 - MILLISECOND);
    assert_eq!(world.decide(age).await, Ok(Err(Reason::StepUpRequired)));
}

async fn an_access_token_ends(world: World) {
    let (phone, grant) = session_of(&world).await;
    world.advance(ACCESS - SECOND);
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    world.advance(SECOND);
    let before = world.trips();
    let verdict = world.verify(&phone, &grant.access_token).await;
    assert_eq!(verdict, Err(Reason::TokenExpired));
    assert_eq!(world.active(&grant.access_token).await, Ok(false));
    assert_eq!(world.trips(), before);
}

async fn forged_calls_cost_no_trip(world: World) {
    let (phone, grant) = session_of(&world).await;
    let before = world.trips();
    let good = grant.access_token.expose();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let unsigned = format!("{signed}.");
    let mut other_payload = good.to_owned();
    let at = good.find('.').unwrap() + 40;
    let digit = if other_payload.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    other_payload.replace_range(at..=at, digit);
    for forged in [unsigned, other_payload, "a.b.c".to_owned(), String::new()] {
        let forged = Secret::new(forged);
        let verdict = world.verify(&phone, &forged).await;
        assert_eq!(verdict, Err(Reason::TokenInvalid));
        assert_eq!(world.active(&forged).await, Ok(false));
    }
    // A refresh token opens no door.
    let verdict = world.verify(&phone, &grant.refresh_token).await;
    assert_eq!(verdict, Err(Reason::TokenInvalid));
    let mut call = world.call(&phone, &grant.access_token);
    let mut changed = call.proof.expose().clone();
    let last = changed.pop().unwrap();
    changed.push(if last == 'A' { 'Q' } else { 'A' });
    call.proof = Secret::new(changed);
    assert_eq!(world.decide(call).await, Ok(Err(Reason::ProofInvalid)));
    assert_eq!(world.trips(), before);
}

async fn a_token_of_a_store_that_lost_everything_is_dead(world: World) {
    let (phone, grant) = session_of(&world).await;
    // The same keys over an empty store.
    let empty = World::in_memory();
    assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    let verdict = empty.verify(&phone, &grant.access_token).await;
    assert_eq!(verdict, Err(Reason::SessionRevoked));
    assert_eq!(empty.active(&grant.access_token).await, Ok(false));
    let refreshed = empty.refresh(&phone, &grant.refresh_token).await;
    assert_eq!(refreshed.map(|_| ()), Err(Reason::SessionRevoked));
    assert_eq!(
        empty.issue(&phone).await.map(|_| ()),
        Err(Reason::DeviceKeyUnknown)
    );
}
