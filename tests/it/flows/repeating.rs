//! Requests that are sent again under their id, and devices that make room.

use assay::flow::end_session::EndSession;
use assay::flow::issue_session::IssueSession;
use assay::policy::DeviceLimitRule;
use assay::secret::Secret;
use assay::session::{DeviceState, EventKind, RevocationReason};
use assay::simulator::proof::Dpop;

use super::proving::forged_assertion;
use super::world::{GRACE, SHOP, scopes};
use super::*;

over_every_store! {
    the_same_request_gives_the_same_session
    a_request_id_is_for_one_request
    a_request_id_is_its_callers_own
    a_session_that_moved_on_is_not_given_again
    many_copies_of_a_request_open_one_session
    each_lost_answer_of_an_issue_can_be_retried
    a_registration_is_the_same_again_under_its_id
    the_device_unused_for_longest_makes_room
    what_makes_no_room_is_left_alone
    what_is_asked_for_again_is_proved_in_the_form_of_the_key
}

const DAY: Duration = Duration::from_secs(86_400);

fn named(world: &World, phone: &Phone, id: &str) -> IssueSession {
    IssueSession {
        request_id: Some(id.parse().unwrap()),
        ..world.opening(phone, &["accounts"])
    }
}

async fn the_same_request_gives_the_same_session(world: World) {
    world.change_policy(BANK, |policy| policy.sessions_per_device_max = 3);
    let phone = world.registered(Kind::Android, "user-1").await;
    let request = named(&world, &phone, "a");
    let before = world.trips();
    let first = world.open(request.clone()).await.unwrap();
    assert_eq!(world.trips().since(before), (2, 1));
    world.advance(SECOND);
    // With the same proof, since a caller cannot make another, and with a fresh one.
    for again in [request, named(&world, &phone, "a")] {
        let before = world.trips();
        let second = world.open(again).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(second.session, first.session);
        assert_eq!(second.refresh_token.expose(), first.refresh_token.expose());
        assert_eq!(world.verify(&phone, &second.access_token).await, Ok(()));
    }
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
    assert_eq!(world.session_events(phone.id()).await.len(), 1);
    // Its own proof is its own: under another id, or none, it was used.
    let used = named(&world, &phone, "b");
    world.open(used.clone()).await.unwrap();
    for id in [None, Some("c".parse().unwrap())] {
        let other = IssueSession {
            request_id: id,
            ..used.clone()
        };
        assert_eq!(
            world.open(other).await.map(drop),
            Err(Reason::ProofReplayed)
        );
    }
}

async fn a_request_id_is_for_one_request(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let other = world.registered(Kind::Android, "user-2").await;
    let first = named(&world, &phone, "a");
    world.open(first).await.unwrap();
    let again = || named(&world, &phone, "a");
    let changed = [
        IssueSession {
            scopes: scopes(&["accounts", "transfer"]),
            ..again()
        },
        IssueSession {
            roles: vec!["admin".to_owned()],
            ..again()
        },
        IssueSession {
            roles: vec!["cust".to_owned(), "omer".to_owned()],
            ..again()
        },
        IssueSession {
            acr: "urn:acr:9".to_owned(),
            ..again()
        },
        IssueSession {
            amr: vec!["otp".to_owned()],
            ..again()
        },
        IssueSession {
            auth_time: Some(world.now()),
            ..again()
        },
        IssueSession {
            audience: Some("https://api.example".to_owned()),
            ..again()
        },
        // Of another subject, whose records are in another bucket.
        named(&world, &other, "a"),
    ];
    for request in changed {
        let seen = world.open(request).await.map(drop);
        assert_eq!(seen, Err(Reason::RequestIdReused));
    }
    assert!(world.open(again()).await.is_ok());
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
}

async fn a_request_id_is_its_callers_own(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let first = world.open(named(&world, &phone, "a")).await.unwrap();
    let mut request = named(&world, &phone, "a");
    request.by = assay::session::Actor::caller("spiffe://example/others".into());
    let second = world.open(request).await.unwrap();
    assert_ne!(second.session.id, first.session.id);
}

async fn a_session_that_moved_on_is_not_given_again(world: World) {
    let phone = world.registered(Kind::Apple, "user-1").await;
    let grant = world.open(named(&world, &phone, "a")).await.unwrap();
    // However late, while nobody has refreshed it.
    world.advance(GRACE * 2);
    assert!(world.open(named(&world, &phone, "a")).await.is_ok());
    let next = world.refresh(&phone, &grant.refresh_token).await.unwrap();
    let seen = world.open(named(&world, &phone, "a")).await.map(drop);
    assert_eq!(seen, Err(Reason::IllegalStateTransition));
    // It is not harmed by that.
    assert!(
        world
            .refresh(&phone, &next.grant.refresh_token)
            .await
            .is_ok()
    );
    world.end(EndSession::Id(grant.session.id)).await.unwrap();
    let seen = world.open(named(&world, &phone, "a")).await.map(drop);
    assert_eq!(seen, Err(Reason::SessionRevoked));
    assert_eq!(world.sessions(&phone.subject).await.len(), 0);
    assert!(world.open(named(&world, &phone, "b")).await.is_ok());
}

async fn many_copies_of_a_request_open_one_session(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    let request = named(&world, &phone, "a");
    let copies = (0..8).map(|_| world.open(request.clone()));
    let grants = futures_util::future::join_all(copies).await;
    let mut ids: Vec<_> = grants
        .iter()
        .map(|grant| grant.as_ref().unwrap().session.id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.sessions(&phone.subject).await.len(), 1);
}

async fn each_lost_answer_of_an_issue_can_be_retried(world: World) {
    world.change_policy(BANK, |policy| {
        policy.sessions_per_subject_max = 100;
        policy.sessions_per_device_max = 100;
    });
    let phone = world.registered(Kind::Android, "user-1").await;
    let mut lost = 0;
    for number in 0..40_usize {
        let request = named(&world, &phone, &format!("request-{number}"));
        world.store.lose(40);
        let grant = loop {
            match world.open(request.clone()).await {
                Ok(grant) => break grant,
                Err(reason) => {
                    assert_eq!(reason, Reason::StateStoreUnavailable);
                    lost += 1;
                }
            }
        };
        world.store.lose(0);
        assert_eq!(world.verify(&phone, &grant.access_token).await, Ok(()));
        assert_eq!(world.sessions(&phone.subject).await.len(), number + 1);
    }
    assert!(lost > 0, "nothing was lost");
    assert_eq!(world.session_events(phone.id()).await.len(), 40);
}

async fn a_registration_is_the_same_again_under_its_id(world: World) {
    for kind in Kind::BOTH {
        let id = Some(format!("register-{kind:?}").parse().unwrap());
        let mut phone = world.phone(kind, "user-1");
        let mut registration = world.registration(&mut phone);
        registration.request_id = id.clone();
        let before = world.trips();
        let device = world.send(&registration).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        let again = world.send(&registration).await.unwrap();
        assert_eq!(again.id, device.id);
        // With anything else it is refused, and the device of it does not come to be.
        let mut other = world.phone(kind, &format!("{kind:?}-2"));
        let mut foreign = world.registration(&mut other);
        foreign.request_id = id.clone();
        let seen = world.send(&foreign).await.map(drop);
        assert_eq!(seen, Err(Reason::RequestIdReused));
        assert!(world.devices(&other.subject).await.is_empty());
        foreign.request_id = None;
        let device = world.send(&foreign).await.unwrap();
        world.revoke(device.id).await.unwrap();
        // A trial remembers nothing.
        let mut trial = world.registration(&mut phone);
        trial.request_id = id;
        trial.validate_only = true;
        assert!(world.send(&trial).await.is_ok());
    }
}

fn replacing(world: &World) {
    for app in [BANK, SHOP] {
        world.change_policy(app, |policy| {
            policy.on_device_limit = DeviceLimitRule::ReplaceOldest;
        });
    }
}

async fn the_device_unused_for_longest_makes_room(world: World) {
    replacing(&world);
    let first = world.registered(Kind::Android, "user-1").await;
    let grant = world.issue(&first).await.unwrap();
    world.advance(DAY);
    let second = world.registered(Kind::Apple, "user-1").await;
    let idle = world.issue(&second).await.unwrap();
    world.advance(DAY);
    // The older one is in use.
    let grant = world
        .refresh(&first, &grant.refresh_token)
        .await
        .unwrap()
        .grant;
    let mut third = world.phone(Kind::Android, "user-1");
    let registration = world.registration(&mut third);
    let before = world.trips();
    let device = world.send(&registration).await.unwrap();
    assert_eq!(world.trips().since(before), (4, 1));
    let out = world.device(second.id()).await;
    let why = RevocationReason::Replaced;
    assert_eq!(
        out.state,
        DeviceState::Revoked {
            at: world.now(),
            why
        }
    );
    let told = world.history(second.id()).await;
    assert_eq!(told, [(EventKind::DeviceRevoked, "replaced".to_owned())]);
    let dead = world.refresh(&second, &idle.refresh_token).await;
    assert_eq!(dead.map(drop), Err(Reason::DeviceRevoked));
    assert!(world.refresh(&first, &grant.refresh_token).await.is_ok());
    // The same registration again makes no more room.
    assert_eq!(world.send(&registration).await.unwrap().id, device.id);
    assert_eq!(world.device(first.id()).await.state, DeviceState::Active);
    // The key that went does not come back.
    let mut second = second;
    let again = world.register(&mut second).await.map(drop);
    assert_eq!(again, Err(Reason::DeviceKeyBanned));
}

async fn what_makes_no_room_is_left_alone(world: World) {
    replacing(&world);
    // Devices of another app are that app's.
    let subject: assay::id::Subject = "user-1".parse().unwrap();
    for _ in 0..2 {
        let mut phone = world.phone(Kind::Android, "user-1");
        let challenge = world.challenge(SHOP, Some(&subject));
        let registration = world.registration_for(&mut phone, SHOP, challenge);
        world.send(&registration).await.unwrap();
    }
    let mut phone = world.phone(Kind::Android, "user-1");
    let seen = world.register(&mut phone).await.map(drop);
    assert_eq!(seen, Err(Reason::DeviceLimit));
    // A trial revokes nobody.
    let mut phone = world.phone(Kind::Android, "user-1");
    let challenge = world.challenge(SHOP, Some(&subject));
    let mut trial = world.registration_for(&mut phone, SHOP, challenge);
    trial.validate_only = true;
    assert!(world.send(&trial).await.is_ok());
    let listed = world.devices(&subject).await;
    assert!(
        listed
            .iter()
            .all(|device| device.state == DeviceState::Active)
    );
}

async fn what_is_asked_for_again_is_proved_in_the_form_of_the_key(world: World) {
    let phone = world.registered(Kind::Android, "user-1").await;
    world.open(named(&world, &phone, "a")).await.unwrap();
    let uri = "https://assay.example/assay.v1.SessionService/IssueSession";
    let nonce = world.engine.next_nonce();
    let dpop = Dpop::new("POST", uri, world.now()).unwrap();
    let forged = forged_assertion(phone.key(), &dpop.with_nonce(&nonce), 70_000);
    let again = IssueSession {
        proof: Secret::new(forged),
        ..named(&world, &phone, "a")
    };
    let refused = world.open(again).await.map(drop);
    assert_eq!(refused, Err(Reason::ProofInvalid));
}
