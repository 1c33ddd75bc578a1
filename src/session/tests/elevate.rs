use super::*;
use crate::policy::{
    AndroidPosture, Authenticators, ProvisioningKind, ReuseRule, SecurityLevel, UserAuthentication,
    UserPresence,
};
use crate::session::{
    Cut, Elevated, Elevation, Enrolment, Presented, RefreshOutcome, Rotation, StepUp, StepUpCause,
    Voucher, cut, elevate, enrol, hold, reopen, rotate,
};

fn waiting(since: Timestamp) -> Session {
    let why = StepUpCause::RefreshTokenReused;
    Session {
        step_up: Some(StepUp { since, why }),
        ..session()
    }
}

fn elevated(session: &Session, auth_time: Timestamp, at: Timestamp) -> Result<Elevated, Refusal> {
    let elevation = Elevation {
        acr: "urn:acr:3".to_owned(),
        amr: Vec::new(),
        auth_time,
        scopes: BTreeSet::new(),
    };
    let (world, policy) = (World::whole(), policy());
    let proof = proof_by(&PHONE_KEY);
    let within = (world.surroundings(), &policy);
    elevate(session, &elevation, (&proof, None), within, at)
}

#[test]
fn only_an_authentication_since_then_lets_a_waiting_session_go_on() {
    let since = now();
    let at = since.after(GRACE * 2);
    let second = Timestamp::from_secs(since.as_secs());
    for (auth_time, good) in [
        (second.before(MILLISECOND), false),
        (second, true),
        (since, true),
        (at, true),
    ] {
        let seen = elevated(&waiting(since), auth_time, at);
        if good {
            let session = seen.unwrap().session;
            assert_eq!((session.step_up, session.rotated_at), (None, at));
        } else {
            assert_eq!(seen, Err(Refusal(Reason::StepUpRequired)));
        }
        // A session that does not wait stays as it is, whenever its user was authenticated.
        assert_eq!(
            elevated(&session(), auth_time, at).unwrap().session,
            session()
        );
    }
}

#[test]
fn whoever_waits_goes_on_waiting_for_what_he_first_waited_for() {
    let first = hold(&session(), StepUpCause::Risk, now());
    let later = now().after(MILLISECOND);
    assert_eq!(hold(&first, StepUpCause::RefreshTokenReused, later), first);
    let step_up = first.step_up.unwrap();
    assert_eq!((step_up.since, step_up.why), (now(), StepUpCause::Risk));
}

#[test]
fn what_cuts_a_session_is_said_before_that_it_waits() {
    let mut world = World::whole();
    let held = waiting(now());
    let seen = world.surroundings().check(&held, now());
    assert_eq!(seen, Err(Refusal(Reason::StepUpRequired)));
    let expired = world.surroundings().check(&held, held.expires_at);
    assert_eq!(expired, Err(Refusal(Reason::SessionExpiredAbsolute)));
    world.device = None;
    let cut = world.surroundings().check(&held, now());
    assert_eq!(cut, Err(Refusal(Reason::DeviceRevoked)));
}

fn presenting(generation: u32) -> Presented {
    Presented {
        generation,
        key: session().session_key,
        refresh_key: session().refresh_key,
        session_ends_at: session().expires_at,
        proof_made_at: now(),
    }
}

#[test]
fn tokens_from_before_a_cut_are_void_and_those_since_go_by_the_table() {
    let (world, policy, proof) = (World::whole(), policy(), proof_by(&PHONE_KEY));
    let before = session();
    let with = (&proof, before.refresh_key);
    let now = now();
    let after = cut(&before, with, world.surroundings(), &policy, now).unwrap();
    let first = after.generation;
    assert!(first > before.generation + 1000);
    assert_eq!(
        after.cut,
        Some(Cut {
            generation: first,
            at: now
        })
    );
    let present = |session: &Session, generation| {
        rotate(
            session,
            presenting(generation),
            world.surroundings(),
            &policy,
            now,
        )
    };
    for old in [0, before.generation, before.generation + 1, first - 1] {
        let seen = present(&after, old);
        assert_eq!(seen, Err(Refusal(Reason::RefreshTokenVoid)), "{old}");
    }
    let Ok(Rotation::Granted {
        outcome,
        session: next,
    }) = present(&after, first)
    else {
        panic!("the newest token is good");
    };
    assert_eq!(
        (outcome, next.generation),
        (RefreshOutcome::Rotated, first + 1)
    );
    let Ok(Rotation::Granted { outcome, .. }) = present(&next, first) else {
        panic!("its answer was lost");
    };
    assert_eq!(outcome, RefreshOutcome::Retry);
    // Again, and what the first cut gave is void as well.
    let again = cut(&next, with, world.surroundings(), &policy, now).unwrap();
    for old in [first, first + 1] {
        assert_eq!(present(&again, old), Err(Refusal(Reason::RefreshTokenVoid)));
    }
    // At the end of all generations there is nothing to go on with.
    let last = Session {
        generation: u32::MAX - 5,
        ..session()
    };
    let seen = cut(&last, with, world.surroundings(), &policy, now);
    assert_eq!(seen, Err(Refusal(Reason::SessionExpiredAbsolute)));
}

#[test]
fn a_reused_token_holds_the_session_where_policy_says_so() {
    let policy = AppPolicy {
        on_refresh_reuse: ReuseRule::StepUp,
        ..policy()
    };
    let world = World::whole();
    let seen = rotate(
        &session(),
        presenting(0),
        world.surroundings(),
        &policy,
        now(),
    );
    let held = hold(&session(), StepUpCause::RefreshTokenReused, now());
    assert_eq!(
        seen,
        Ok(Rotation::Reused {
            session: Some(held)
        })
    );
}

#[test]
fn a_session_is_given_again_while_it_is_new_and_no_wider_than_now() {
    let world = World::whole();
    let new = Session {
        generation: 0,
        ..session()
    };
    let mut narrow = policy();
    let seen = reopen(&new, world.surroundings(), &narrow, now());
    assert_eq!(seen, Ok(new.scopes.clone()));
    let seen = reopen(&session(), world.surroundings(), &narrow, now());
    assert_eq!(seen, Err(Refusal(Reason::IllegalStateTransition)));
    narrow.scopes.clear();
    let seen = reopen(&new, world.surroundings(), &narrow, now());
    assert_eq!(seen, Err(Refusal(Reason::ScopeNotAllowed)));
}

/// Every way a key can ask for its user, and the one that proves him there.
#[test]
fn a_key_proves_presence_only_when_every_use_needs_the_user() {
    let some = Authenticators {
        biometric: true,
        ..Authenticators::default()
    };
    for none_required in [false, true] {
        for authenticators in [None, Some(Authenticators::default()), Some(some)] {
            for timeout in [None, Some(Duration::ZERO), Some(Duration::from_secs(5))] {
                let user = UserAuthentication {
                    none_required,
                    authenticators,
                    timeout,
                    ..UserAuthentication::default()
                };
                let every = !none_required && authenticators == Some(some) && timeout.is_none();
                assert_eq!(user.is_for_every_use(), every, "{user:?}");
            }
        }
    }
}

/// What a key in a TEE says that needs its user each time.
fn android() -> AndroidPosture {
    AndroidPosture {
        attestation_version: 300,
        keymint_version: 300,
        security_level: SecurityLevel::TrustedEnvironment,
        boot: None,
        os_version: None,
        os_patch_level: None,
        vendor_patch_level: None,
        boot_patch_level: None,
        provisioning: ProvisioningKind::Remote,
        user: UserAuthentication {
            authenticators: Some(Authenticators {
                password: true,
                ..Authenticators::default()
            }),
            ..UserAuthentication::default()
        },
        attest_key: false,
    }
}

#[test]
fn a_key_is_enrolled_for_the_kind_of_device_it_is_from_by_its_own_key() {
    let iphone = device();
    let device = Device {
        posture: Posture::Android(android()),
        ..device()
    };
    let key = Thumbprint::from_bytes([7; 32]);
    let asserted = Enrolment {
        key,
        vouched_by: device.session_key,
        voucher: Voucher::Asserted { counter: 1 },
    };
    let seen = enrol(&device, &asserted, now());
    assert_eq!(seen, Err(Refusal(Reason::UnsupportedPlatform)));
    let enrolled = enrol(&iphone, &asserted, now()).unwrap();
    assert_eq!(enrolled.assertion_counter, 1);
    let shows = enrolled.presence.map(|presence| presence.shows);
    assert_eq!(shows, Some(UserPresence::Declared));
    // The same assertion again is for the same key only.
    assert_eq!(enrol(&enrolled, &asserted, now()), Ok(enrolled.clone()));
    let other = Enrolment {
        key: Thumbprint::from_bytes([8; 32]),
        ..asserted.clone()
    };
    let seen = enrol(&enrolled, &other, now());
    assert_eq!(seen, Err(Refusal(Reason::ProofReplayed)));
    let attested = Enrolment {
        voucher: Voucher::Attested(Box::new(Posture::Android(android()))),
        ..asserted
    };
    let seen = enrol(&iphone, &attested, now());
    assert_eq!(seen, Err(Refusal(Reason::UnsupportedPlatform)));
    let enrolled = enrol(&device, &attested, now()).unwrap();
    let presence = enrolled.presence.unwrap();
    assert_eq!((presence.key, presence.shows), (key, UserPresence::Proved));
    let strange = Enrolment {
        vouched_by: key,
        ..attested.clone()
    };
    let seen = enrol(&device, &strange, now());
    assert_eq!(seen, Err(Refusal(Reason::ProofKeyMismatch)));
    let own = Enrolment {
        key: device.session_key,
        ..attested.clone()
    };
    let seen = enrol(&device, &own, now());
    assert_eq!(seen, Err(Refusal(Reason::AttestationKeyRejected)));
    // Held by less than the device's own key.
    let mut strong = device.clone();
    let Posture::Android(android) = &mut strong.posture else {
        panic!("an Android phone");
    };
    android.security_level = SecurityLevel::StrongBox;
    let seen = enrol(&strong, &attested, now());
    assert_eq!(seen, Err(Refusal(Reason::SecurityLevelTooLow)));
}
