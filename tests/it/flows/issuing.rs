//! IssueSession, and what a proof for it has to be.

use assay::flow::{EvidenceInput, Grant, PageRequest, end_session::EndSession, list_sessions};
use assay::id::SessionId;
use assay::policy::{NonceRule, SessionLimitRule};
use assay::secret::Secret;
use assay::session::{EventKind, Session};
use assay::simulator::proof::Dpop;

use super::world::{API, IDLE, SHOP, scopes};
use super::*;

over_every_store! {
    a_registered_phone_gets_a_session
    a_device_of_another_subject_is_unknown
    a_proof_serves_once
    a_proof_by_another_key_opens_nothing
    a_proof_for_another_method_opens_nothing
    a_proof_may_be_aimed_at_the_backend
    a_phone_with_a_wrong_clock_needs_a_nonce
    where_a_nonce_is_required_none_goes_without
    scopes_need_a_trust_level
    sessions_are_limited_and_dead_ones_make_room
    the_sessions_of_a_disabled_app_are_not_forgotten
    a_daily_sign_in_ends_the_session_not_used_for_longest
    a_session_refreshed_while_it_is_evicted_stays_and_another_goes
    sessions_that_are_over_are_not_evicted_again
    an_eviction_whose_answer_was_lost_is_not_done_twice
    what_does_not_fit_a_token_is_not_opened
    a_lost_answer_finds_its_own_session
    pages_go_on_when_what_they_showed_was_ended
}

async fn a_registered_phone_gets_a_session(world: World) {
    for kind in Kind::BOTH {
        let phone = world.registered(kind, "user-1").await;
        let opening = world.opening(&phone, &["accounts"]);
        let before = world.trips();
        let grant = world.open(opening).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(grant.session.device, phone.id());
        assert_eq!(grant.session.generation, 0);
        assert_eq!(grant.scopes, scopes(&["accounts"]));
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        assert_eq!(world.active(&grant.access_token).await, Ok(true));
    }
    assert_eq!(world.sessions(&"user-1".parse().unwrap()).await.len(), 2);
}

async fn a_device_of_another_subject_is_unknown(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.subject = "user-2".parse().unwrap();
    let seen = world.open(opening.clone()).await.map(|_| ());
    assert_eq!(seen, Err(Reason::DeviceKeyUnknown));
    // Not even where the other subject exists.
    let other = world.registered(Kind::Android, "user-2").await;
    let seen = world.open(opening.clone()).await.map(|_| ());
    assert_eq!(seen, Err(Reason::DeviceKeyUnknown));
    opening.subject = phone.subject;
    opening.device = other.id();
    let seen = world.open(opening).await.map(|_| ());
    assert_eq!(seen, Err(Reason::DeviceKeyUnknown));
}

async fn a_proof_serves_once(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let opening = world.opening(&phone, &["accounts"]);
    assert!(world.open(opening.clone()).await.is_ok());
    for _ in 0..2 {
        let again = world.open(opening.clone()).await.map(|_| ());
        assert_eq!(again, Err(Reason::ProofReplayed));
    }
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
}

async fn a_proof_by_another_key_opens_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let other = world.registered(Kind::Apple, "user-1").await;
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.proof = Secret::new(world.proof(&other, "IssueSession"));
    let seen = world.open(opening).await.map(|_| ());
    assert_eq!(seen, Err(Reason::ProofKeyMismatch));
}

async fn a_proof_for_another_method_opens_nothing(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.proof = Secret::new(world.proof(&phone, "RefreshSession"));
    let seen = world.open(opening).await.map(|_| ());
    assert_eq!(seen, Err(Reason::ProofTargetMismatch));
}

async fn a_proof_may_be_aimed_at_the_backend(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    for (method, uri, expected) in [
        ("POST", "https://backend.example/session", Ok(())),
        (
            "PUT",
            "https://backend.example/session",
            Err(Reason::ProofTargetMismatch),
        ),
        (
            "POST",
            "https://backend.example/other",
            Err(Reason::ProofTargetMismatch),
        ),
    ] {
        let mut opening = world.opening(&phone, &["accounts"]);
        opening.proof = Secret::new(phone.sign(&Dpop::new(method, uri, world.now()).unwrap()));
        assert_eq!(
            world.open(opening).await.map(|_| ()),
            expected,
            "{method} {uri}"
        );
    }
}

const OWN: &str = "https://assay.example/assay.v1.SessionService/IssueSession";
const DAY: Duration = Duration::from_secs(86_400);

async fn a_phone_with_a_wrong_clock_needs_a_nonce(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    for iat in [world.now().before(DAY), world.now().after(DAY)] {
        let mut opening = world.opening(&phone, &["accounts"]);
        opening.proof = Secret::new(phone.sign(&Dpop::new("POST", OWN, iat).unwrap()));
        let seen = world.open(opening.clone()).await.map(|_| ());
        assert_eq!(seen, Err(Reason::ProofStale));
        let nonce = world.engine.next_nonce();
        let dpop = Dpop::new("POST", OWN, iat).unwrap().with_nonce(&nonce);
        opening.proof = Secret::new(phone.sign(&dpop));
        assert!(world.open(opening).await.is_ok());
    }
    // An old nonce is not saved by a right clock.
    let nonce = world.engine.next_nonce();
    world.advance(SECOND * 180);
    let dpop = Dpop::new("POST", OWN, world.now()).unwrap();
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.proof = Secret::new(phone.sign(&dpop.with_nonce(&nonce)));
    let seen = world.open(opening).await.map(|_| ());
    assert_eq!(seen, Err(Reason::ProofNonceStale));
}

async fn where_a_nonce_is_required_none_goes_without(world: World) {
    world.change_policy(BANK, |policy| policy.proof.nonce = NonceRule::Required);
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.proof = Secret::new(phone.sign(&Dpop::new("POST", OWN, world.now()).unwrap()));
    let seen = world.open(opening.clone()).await.map(|_| ());
    assert_eq!(seen, Err(Reason::ProofNonceRequired));
    opening.proof = Secret::new(world.proof(&phone, "IssueSession"));
    let grant = world.open(opening).await.unwrap();
    let mut call = world.call(&phone, &grant.access_token);
    let dpop = Dpop::new("GET", API, world.now()).unwrap();
    call.proof = Secret::new(phone.sign(&dpop.with_access_token(grant.access_token.expose())));
    assert_eq!(
        world.decide(call).await,
        Ok(Err(Reason::ProofNonceRequired))
    );
}

async fn scopes_need_a_trust_level(world: World) {
    for (kind, wanted, allowed) in [
        (Kind::Android, &["accounts", "transfer"][..], true),
        (Kind::Android, &["vault"], false),
        (Kind::Apple, &["accounts"], true),
        (Kind::Apple, &["accounts", "transfer"], false),
        (Kind::Apple, &["unheard-of"], false),
        (Kind::Apple, &[], false),
    ] {
        let phone = world
            .registered(kind, &format!("{kind:?} {wanted:?}"))
            .await;
        let seen = world.open(world.opening(&phone, wanted)).await;
        let expected = if allowed {
            Ok(scopes(wanted))
        } else {
            Err(Reason::ScopeNotAllowed)
        };
        assert_eq!(seen.map(|grant| grant.session.scopes), expected);
    }
}

async fn sessions_are_limited_and_dead_ones_make_room(world: World) {
    let limit = Err(Reason::SessionLimit);
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    let mut first = None;
    for _ in 0..2 {
        first = Some(world.issue(&one).await.unwrap().session.id);
    }
    assert_eq!(
        world.issue(&one).await.map(|_| ()),
        limit,
        "two on a device"
    );
    world.issue(&two).await.unwrap();
    assert_eq!(
        world.issue(&two).await.map(|_| ()),
        limit,
        "three of a subject"
    );
    world.end(EndSession::Id(first.unwrap())).await.unwrap();
    assert!(
        world.issue(&two).await.is_ok(),
        "one that was ended makes room"
    );
    assert_eq!(world.issue(&two).await.map(|_| ()), limit);
    world.revoke(two.id()).await.unwrap();
    assert!(
        world.issue(&one).await.is_ok(),
        "so do those of a revoked device"
    );
    assert_eq!(world.issue(&one).await.map(|_| ()), limit);
    world.advance(IDLE);
    assert!(world.issue(&one).await.is_ok(), "and idle ones");
    assert_eq!(world.sessions(&one.subject).await.len(), 1);
}

async fn the_sessions_of_a_disabled_app_are_not_forgotten(mut world: World) {
    let one = world.registered(Kind::Android, "user-1").await;
    let mut shop = world.phone(Kind::Apple, "user-1");
    let challenge = world.challenge(SHOP, Some(&shop.subject));
    let registration = world.registration_for(&mut shop, SHOP, challenge);
    shop.id = Some(world.send(&registration).await.unwrap().id);
    let kept = world.issue(&shop).await.unwrap();
    for _ in 0..2 {
        world.issue(&one).await.unwrap();
    }
    world.disable(SHOP);
    // At the limit the index is cleared of the dead.
    assert_eq!(
        world.issue(&one).await.map(|_| ()),
        Err(Reason::SessionLimit)
    );
    assert_eq!(world.sessions(&one.subject).await.len(), 2);
    assert_eq!(
        world.verify(&shop, &kept.access_token).await,
        Err(Reason::AppDisabled)
    );
    assert_eq!(world.active(&kept.access_token).await, Ok(false));
    let refreshed = world.refresh(&shop, &kept.refresh_token).await.map(|_| ());
    assert_eq!(refreshed, Err(Reason::AppDisabled));
    assert_eq!(
        world.issue(&shop).await.map(|_| ()),
        Err(Reason::AppDisabled)
    );
    world.enable(SHOP);
    assert_eq!(world.sessions(&one.subject).await.len(), 3);
    assert_eq!(world.verify(&shop, &kept.access_token).await, Ok(()));
}

fn evicting(world: &World) {
    let rule = SessionLimitRule::EvictOldest;
    world.change_policy(BANK, |policy| policy.on_session_limit = rule);
}

async fn a_daily_sign_in_ends_the_session_not_used_for_longest(world: World) {
    evicting(&world);
    let one = world.registered(Kind::Android, "user-1").await;
    let two = world.registered(Kind::Apple, "user-1").await;
    let first = world.issue(&one).await.unwrap();
    world.advance(SECOND);
    let second = world.issue(&one).await.unwrap();
    world.advance(SECOND);
    let first = world.refresh(&one, &first.refresh_token).await.unwrap();
    let first = first.grant;
    world.advance(SECOND);
    // The device is full, and the second session was not used since.
    let opening = world.opening(&one, &["accounts"]);
    let before = world.trips();
    let third = world.open(opening).await.unwrap();
    assert_eq!(world.trips().since(before), (4, 1));
    let over = Err(Reason::SessionRevoked);
    assert_eq!(world.verify(&one, &second.access_token).await, over);
    assert_eq!(world.active(&second.access_token).await, Ok(false));
    let refreshed = world.refresh(&one, &second.refresh_token).await;
    assert_eq!(refreshed.map(|_| ()), over);
    for grant in [&first, &third] {
        assert_eq!(world.verify(&one, &grant.access_token).await, Ok(()));
    }
    // The other device is not full, but the subject is after it.
    world.advance(SECOND);
    let fourth = world.issue(&two).await.unwrap();
    world.advance(SECOND);
    let fifth = world.issue(&two).await.unwrap();
    assert_eq!(world.verify(&one, &first.access_token).await, over);
    let ids = |sessions: &[Session]| -> Vec<SessionId> {
        sessions.iter().map(|session| session.id).collect()
    };
    let live = [fifth, fourth, third.clone()].map(|grant| grant.session.id);
    assert_eq!(ids(&world.sessions(&one.subject).await), live);
    let told = |grant: &Grant, kind, why: &str, by: &str| {
        (grant.session.id, kind, why.to_owned(), by.to_owned())
    };
    let (opened, ended) = (EventKind::SessionOpened, EventKind::SessionEnded);
    let by = caller().to_string();
    let expected = [
        told(&first, opened, "", &by),
        told(&second, opened, "", &by),
        told(&second, ended, "evicted", "service"),
        told(&third, opened, "", &by),
        told(&first, ended, "evicted", "service"),
    ];
    assert_eq!(world.session_events(one.id()).await, expected);
    assert_eq!(world.session_events(two.id()).await.len(), 2);
}

/// Its refresh comes between the choice and the commit: the choice is made again.
async fn a_session_refreshed_while_it_is_evicted_stays_and_another_goes(world: World) {
    evicting(&world);
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = world.issue(&phone).await.unwrap();
    world.advance(SECOND);
    let second = world.issue(&phone).await.unwrap();
    world.advance(SECOND);
    world.store.hold_next_commit(Hold::Before);
    let meanwhile = async {
        world.store.holding.notified().await;
        let refreshed = world.refresh(&phone, &first.refresh_token).await;
        world.store.release.notify_one();
        refreshed.unwrap().grant
    };
    let (third, first) = tokio::join!(world.issue(&phone), meanwhile);
    for grant in [third.unwrap(), first] {
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    }
    let over = Err(Reason::SessionRevoked);
    assert_eq!(world.verify(&phone, &second.access_token).await, over);
    assert_eq!(world.sessions(&phone.subject).await.len(), 2);
}

async fn sessions_that_are_over_are_not_evicted_again(world: World) {
    evicting(&world);
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = world.issue(&phone).await.unwrap();
    let second = world.issue(&phone).await.unwrap();
    world.end(EndSession::Id(second.session.id)).await.unwrap();
    world.issue(&phone).await.unwrap();
    assert_eq!(world.verify(&phone, &first.access_token).await, Ok(()));
    let ends = world.session_events(phone.id()).await.into_iter();
    let ends: Vec<_> = ends
        .filter(|told| told.1 == EventKind::SessionEnded)
        .collect();
    let by = caller().to_string();
    let logout = (
        second.session.id,
        EventKind::SessionEnded,
        "logged-out".to_owned(),
        by,
    );
    assert_eq!(ends, [logout]);
}

/// As [`a_lost_answer_finds_its_own_session`], at the limit.
async fn an_eviction_whose_answer_was_lost_is_not_done_twice(world: World) {
    evicting(&world);
    let phone = world.registered(Kind::Android, "user-1").await;
    for _ in 0..2 {
        world.issue(&phone).await.unwrap();
    }
    world.advance(SECOND);
    world.store.hold_next_commit(Hold::After);
    let meanwhile = async {
        world.store.holding.notified().await;
        let other = world.issue(&phone).await.unwrap();
        world.store.release.notify_one();
        other
    };
    let (first, other) = tokio::join!(world.issue(&phone), meanwhile);
    for grant in [first.unwrap(), other] {
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
    }
    assert_eq!(world.sessions(&phone.subject).await.len(), 2);
    let told = world.session_events(phone.id()).await;
    let ended = told.iter().filter(|told| told.1 == EventKind::SessionEnded);
    assert_eq!((told.len(), ended.count()), (6, 2));
}

async fn what_does_not_fit_a_token_is_not_opened(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.roles = (0..64).map(|number| format!("{number:0>128}")).collect();
    let before = world.trips();
    let seen = world.open(opening).await.map(|_| ());
    assert_eq!(seen, Err(Reason::MalformedRequest));
    assert_eq!(world.trips().since(before), (1, 0));
    assert!(world.sessions(&phone.subject).await.is_empty());
}

/// The answer to the commit is lost, and before it is sent again something else changes the subject:
/// the commit conflicts with its own success.
async fn a_lost_answer_finds_its_own_session(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.store.hold_next_commit(Hold::After);
    let meanwhile = async {
        world.store.holding.notified().await;
        let other = world.issue(&phone).await.unwrap();
        world.store.release.notify_one();
        other
    };
    let (first, other) = tokio::join!(world.issue(&phone), meanwhile);
    let first = first.unwrap();
    assert_ne!(first.session.id, other.session.id);
    assert_eq!(world.sessions(&phone.subject).await.len(), 2);
    assert_eq!(world.verify(&phone, &first.access_token).await, Ok(()));
    assert!(world.refresh(&phone, &first.refresh_token).await.is_ok());
}

async fn pages_go_on_when_what_they_showed_was_ended(world: World) {
    world.change_policy(BANK, |policy| {
        policy.sessions_per_device_max = 10;
        policy.sessions_per_subject_max = 10;
    });
    let phone = world.registered(Kind::Android, "user-1").await;
    for _ in 0..7 {
        world.issue(&phone).await.unwrap();
    }
    let mut page = PageRequest {
        size: 3,
        after: None,
    };
    let mut ended = 0;
    loop {
        let answer = list_sessions::run(&world.engine, &phone.subject, page)
            .await
            .unwrap();
        for session in answer.entries {
            world.end(EndSession::Id(session.id)).await.unwrap();
            ended += 1;
        }
        page.after = answer.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(ended, 7);
    assert!(world.sessions(&phone.subject).await.is_empty());
}

#[tokio::test]
async fn garbage_is_refused_before_any_trip() {
    let world = World::in_memory();
    let phone = world.registered(Kind::Android, "user-1").await;
    let before = world.trips();
    let mut opening = world.opening(&phone, &["accounts"]);
    opening.proof = Secret::new("x.y.z".to_owned());
    let seen = world.open(opening).await.map(|_| ());
    assert_eq!(seen, Err(Reason::ProofInvalid));
    let mut other = world.phone(Kind::Android, "user-2");
    let mut registration = world.registration(&mut other);
    let EvidenceInput::Android(chain) = &registration.evidence else {
        panic!("not Android");
    };
    let mut certificates: Vec<Vec<u8>> = chain.certificates().map(<[u8]>::to_vec).collect();
    let last = certificates[0].len() - 1;
    certificates[0][last] ^= 1;
    let chain = assay::attestation::android::Chain::from_der(certificates).unwrap();
    registration.evidence = EvidenceInput::Android(chain);
    assert!(world.send(&registration).await.is_err());
    assert_eq!(world.trips(), before);
}
