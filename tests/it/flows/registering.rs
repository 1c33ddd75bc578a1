//! RegisterDevice, and the challenge before it.

use std::sync::Arc;

use assay::attestation::lists::{Google, Held, Kept, Lists, Origin};
use assay::attestation::status_list::StatusList;
use assay::flow::{appraise_evidence, get_device};
use assay::id::Subject;
use assay::policy::{StaleListRule, TrustLevel};
use assay::session::DeviceState;

use super::world::{CHALLENGE, SHOP};
use super::*;

over_every_store! {
    a_phone_of_either_kind_registers_and_is_listed
    a_stale_list_refuses_android_or_gives_provisional_trust_by_policy
    whom_a_stale_list_names_is_refused_by_every_policy
    a_registration_sent_again_is_answered_alike
    a_known_key_may_be_attested_again
    a_challenge_serves_one_key
    a_challenge_for_anybody_serves_one_subject
    a_key_has_one_subject_and_one_app
    a_challenge_for_something_else_is_refused_without_a_trip
    evidence_for_another_challenge_is_refused_without_a_trip
    a_trial_writes_nothing
    a_subject_has_so_many_devices
    a_revoked_key_stays_out
    without_a_status_list_no_android_phone_registers
    a_disabled_app_registers_nobody
}

async fn a_phone_of_either_kind_registers_and_is_listed(world: World) {
    let mut ids = Vec::new();
    for kind in Kind::BOTH {
        let mut phone = world.phone(kind, "user-1");
        let registration = world.registration(&mut phone);
        let before = world.trips();
        let device = world.send(&registration).await.unwrap();
        assert_eq!(world.trips().since(before), (2, 1));
        assert_eq!(device.subject, phone.subject);
        assert_eq!(device.state, DeviceState::Active);
        assert_eq!(device.session_key.to_string(), phone.key().thumbprint());
        assert_eq!(
            device.key.thumbprint() == device.session_key,
            kind == Kind::Android
        );
        assert_eq!(device.registered_at, world.now());
        ids.insert(0, device.id);
    }
    let listed = world.devices(&"user-1".parse().unwrap()).await;
    assert_eq!(
        listed.iter().map(|device| device.id).collect::<Vec<_>>(),
        ids
    );
    assert_eq!(world.devices(&"user-2".parse().unwrap()).await, []);
}

async fn a_registration_sent_again_is_answered_alike(world: World) {
    for kind in Kind::BOTH {
        let mut phone = world.phone(kind, "user-1");
        let registration = world.registration(&mut phone);
        let first = world.send(&registration).await.unwrap();
        for _ in 0..3 {
            assert_eq!(world.send(&registration).await.unwrap(), first);
        }
        world.advance(CHALLENGE.saturating_sub(MILLISECOND));
        let late = world.send(&registration).await.unwrap();
        assert_eq!(
            (late.id, late.registered_at),
            (first.id, first.registered_at)
        );
    }
    assert_eq!(world.devices(&"user-1".parse().unwrap()).await.len(), 2);
}

async fn a_known_key_may_be_attested_again(world: World) {
    let mut phone = world.phone(Kind::Apple, "user-1");
    let first = world.register(&mut phone).await.unwrap();
    world.advance(SECOND);
    let second = world.register(&mut phone).await.unwrap();
    assert_eq!(
        (second.id, second.registered_at),
        (first.id, first.registered_at)
    );
    assert_eq!(second.attested_at, world.now());
}

async fn a_challenge_serves_one_key(world: World) {
    let mut phone = world.phone(Kind::Android, "user-1");
    let first = world.registration(&mut phone);
    // An Android phone makes a new key for each evidence.
    let second = world.registration_for(&mut phone, BANK, first.challenge.clone());
    world.send(&first).await.unwrap();
    assert_eq!(world.send(&second).await, Err(Reason::ChallengeAlreadyUsed));
    assert_eq!(world.devices(&phone.subject).await.len(), 1);
    // And goes on serving the one that used it.
    assert!(world.send(&first).await.is_ok());
}

async fn a_challenge_for_anybody_serves_one_subject(world: World) {
    let challenge = world.challenge(BANK, None);
    let mut first = world.phone(Kind::Android, "user-1");
    let registration = world.registration_for(&mut first, BANK, challenge.clone());
    assert!(world.send(&registration).await.is_ok());
    // Of others, whose records are in other buckets: one of a thousand shares that of the first.
    let bucket = |subject: &Subject| world.engine.keyring.bucket(subject);
    let others = (2..).map(|number| format!("user-{number}"));
    let elsewhere = others.filter(|subject| {
        let subject = subject.parse().unwrap();
        bucket(&subject) != bucket(&first.subject)
    });
    for subject in elsewhere.take(6) {
        let mut other = world.phone(Kind::Android, &subject);
        let registration = world.registration_for(&mut other, BANK, challenge.clone());
        let seen = world.send(&registration).await;
        assert_eq!(seen, Err(Reason::ChallengeAlreadyUsed));
        assert_eq!(world.devices(&other.subject).await, []);
    }
}

async fn a_key_has_one_subject_and_one_app(world: World) {
    let mut phone = world.phone(Kind::Apple, "user-1");
    world.register(&mut phone).await.unwrap();
    let challenge = world.challenge(SHOP, Some(&phone.subject));
    let elsewhere = world.registration_for(&mut phone, SHOP, challenge);
    assert_eq!(world.send(&elsewhere).await, Err(Reason::DeviceExists));
    phone.subject = "user-2".parse().unwrap();
    let registration = world.registration(&mut phone);
    assert_eq!(world.send(&registration).await, Err(Reason::DeviceExists));
    assert_eq!(world.devices(&phone.subject).await, []);
}

async fn a_challenge_for_something_else_is_refused_without_a_trip(world: World) {
    let mut phone = world.phone(Kind::Android, "user-1");
    let before = world.trips();
    let bound = world.challenge(BANK, Some(&phone.subject));
    let mut other = world.phone(Kind::Android, "user-2");
    let for_other = world.registration_for(&mut other, BANK, bound.clone());
    assert_eq!(world.send(&for_other).await, Err(Reason::ChallengeInvalid));
    let in_other_app = world.registration_for(&mut phone, SHOP, bound.clone());
    assert_eq!(
        world.send(&in_other_app).await,
        Err(Reason::ChallengeInvalid)
    );
    for bit in [0, 17, 60, 200, 300, 503] {
        let mut forged = bound.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let registration = world.registration_for(&mut phone, BANK, forged);
        assert_eq!(
            world.send(&registration).await,
            Err(Reason::ChallengeInvalid),
            "{bit}"
        );
    }
    let registration = world.registration_for(&mut phone, BANK, bound);
    world.advance(CHALLENGE);
    assert_eq!(
        world.send(&registration).await,
        Err(Reason::ChallengeInvalid)
    );
    assert_eq!(world.trips(), before);
}

async fn evidence_for_another_challenge_is_refused_without_a_trip(world: World) {
    for kind in Kind::BOTH {
        let mut phone = world.phone(kind, "user-1");
        let first = world.registration(&mut phone);
        let mut second = world.registration(&mut phone);
        second.evidence = first.evidence;
        let before = world.trips();
        let seen = world.send(&second).await;
        assert_eq!(seen, Err(Reason::AttestationChallengeMismatch), "{kind:?}");
        assert_eq!(world.trips(), before);
    }
}

async fn a_trial_writes_nothing(world: World) {
    let mut phone = world.phone(Kind::Android, "user-1");
    let registration = world.registration(&mut phone);
    let mut trial = registration.clone();
    trial.validate_only = true;
    let before = world.trips();
    let tried = world.send(&trial).await.unwrap();
    assert_eq!(world.trips().since(before), (1, 0));
    assert_eq!(world.trips().claims, before.claims);
    assert_eq!(world.devices(&phone.subject).await, []);
    // Neither key nor challenge is used up, for whoever it is.
    assert_eq!(world.send(&registration).await.unwrap(), tried);
    world.advance(SECOND);
    assert_eq!(world.send(&trial).await.unwrap().attested_at, world.now());
    let stored = world.devices(&phone.subject).await;
    assert_eq!(stored, [tried]);

    let appraisal = appraise_evidence::AppraiseEvidence {
        app: registration.app,
        evidence: registration.evidence,
        challenge: registration.challenge,
    };
    let before = world.trips();
    let seen = appraise_evidence::run(&world.engine, appraisal).unwrap();
    assert!(seen.verdict.is_ok());
    assert_eq!(world.trips(), before);
}

async fn a_subject_has_so_many_devices(world: World) {
    let first = world.registered(Kind::Android, "user-1").await;
    world.registered(Kind::Apple, "user-1").await;
    let mut third = world.phone(Kind::Android, "user-1");
    let registration = world.registration(&mut third);
    assert_eq!(world.send(&registration).await, Err(Reason::DeviceLimit));
    assert_eq!(world.devices(&third.subject).await.len(), 2);
    world.registered(Kind::Android, "user-2").await;
    // A revoked one makes room, and the refused registration goes through.
    world.revoke(first.id()).await.unwrap();
    assert!(world.send(&registration).await.is_ok());
    assert_eq!(world.devices(&third.subject).await.len(), 3);
    let fourth = world
        .register(&mut world.phone(Kind::Apple, "user-1"))
        .await;
    assert_eq!(fourth.map(|_| ()), Err(Reason::DeviceLimit));
}

async fn a_revoked_key_stays_out(world: World) {
    let mut phone = world.registered(Kind::Apple, "user-1").await;
    world.revoke(phone.id()).await.unwrap();
    let registration = world.registration(&mut phone);
    assert_eq!(
        world.send(&registration).await,
        Err(Reason::DeviceKeyBanned)
    );
    let mut trial = registration;
    trial.validate_only = true;
    assert_eq!(world.send(&trial).await, Err(Reason::DeviceKeyBanned));
    // Nor does it come back in other hands.
    phone.subject = "user-2".parse().unwrap();
    let registration = world.registration(&mut phone);
    assert_eq!(world.send(&registration).await, Err(Reason::DeviceExists));
}

/// Google's list, last known to be the newest a day ago, and believed for half as long.
fn stale(world: &World, json: &str) -> Lists {
    let list = StatusList::parse(json.as_bytes()).unwrap();
    let at = world.engine.clock.reading();
    let day = Duration::from_secs(86_400);
    let held = Held {
        list: Arc::new(list),
        origin: Origin {
            sha256: [7; 32],
            validated_at: at.now.before(day),
            refetch_at: at.now,
            modified_at: None,
            etag: None,
            last_modified: None,
        },
        steady: at.steady.before(day),
    };
    Lists {
        google: Google::Kept(Kept {
            held: Some(held),
            age_max: Some(day / 2),
            ..Kept::default()
        }),
        own: None,
    }
}

async fn a_stale_list_refuses_android_or_gives_provisional_trust_by_policy(world: World) {
    let lists = stale(&world, r#"{"entries":{}}"#);
    world.engine.lists.store(Arc::new(lists));
    let mut phone = world.phone(Kind::Android, "user-1");
    assert_eq!(
        world.register(&mut phone).await.err(),
        Some(Reason::TrustListStale)
    );
    world.change_policy(BANK, |policy| {
        policy.android.stale_list = StaleListRule::Provisional;
    });
    let device = world.register(&mut phone).await.unwrap();
    assert_eq!(device.trust_level, TrustLevel::Provisional);
    // Apple has no list.
    let mut iphone = world.phone(Kind::Apple, "user-1");
    let device = world.register(&mut iphone).await.unwrap();
    assert_eq!(device.trust_level, TrustLevel::AppAttest);
}

async fn whom_a_stale_list_names_is_refused_by_every_policy(world: World) {
    let registered = world.registered(Kind::Android, "user-1").await;
    let device = get_device::run(&world.engine, &registered.id()).await;
    // The authorities above the attestation key are those of every phone.
    let shared = device.unwrap().device.chain_serials.split_off(2);
    let entries = shared
        .iter()
        .map(|serial| format!(r#""{serial}":{{"status":"REVOKED"}}"#));
    let entries = entries.collect::<Vec<_>>().join(",");
    let json = format!(r#"{{"entries":{{{entries}}}}}"#);
    world.engine.lists.store(Arc::new(stale(&world, &json)));
    world.change_policy(BANK, |policy| {
        policy.android.stale_list = StaleListRule::Provisional;
    });
    let mut phone = world.phone(Kind::Android, "user-2");
    assert_eq!(
        world.register(&mut phone).await.err(),
        Some(Reason::AttestationCertRevoked)
    );
}

async fn without_a_status_list_no_android_phone_registers(world: World) {
    world.engine.lists.store(Arc::default());
    let before = world.trips();
    let android = world
        .register(&mut world.phone(Kind::Android, "user-1"))
        .await;
    assert_eq!(android.map(|_| ()), Err(Reason::TrustListStale));
    assert_eq!(world.trips(), before);
    assert!(
        world
            .register(&mut world.phone(Kind::Apple, "user-1"))
            .await
            .is_ok()
    );
}

async fn a_disabled_app_registers_nobody(mut world: World) {
    let mut phone = world.phone(Kind::Android, "user-1");
    let registration = world.registration(&mut phone);
    world.disable(BANK);
    let before = world.trips();
    assert_eq!(world.send(&registration).await, Err(Reason::AppDisabled));
    assert_eq!(world.trips(), before);
}
