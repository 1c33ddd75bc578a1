use super::*;
use crate::policy::DowngradeRule;
use crate::session::{
    Found, Presented, RefreshOutcome, Renewal, RevocationReason, SuspensionReason, rekey, renew,
};

fn found() -> Found {
    Found {
        trust_level: TrustLevel::StrongBox,
        posture: posture(),
        chain_serials: vec!["1".to_owned(), "2".to_owned()],
        issuer_keys: vec![[4; 32]],
        attestation_key: Some([4; 32]),
    }
}

/// To a new attested key, with the old one's word for it.
fn moving() -> Renewal {
    Renewal {
        key: point(&OTHER_KEY),
        session_key: key(&OTHER_KEY),
        vouched_by: Some(key(&PHONE_KEY)),
        found: Some(found()),
        assertion_counter: None,
    }
}

fn moved() -> Device {
    renew(&device(), moving(), &policy(), now()).unwrap()
}

#[test]
fn a_renewal_takes_what_the_evidence_says_and_nothing_else() {
    let later = now().after(IDLE);
    let before = Device {
        doubt: Some(Reason::PostureBelowPolicy),
        trust_level: TrustLevel::Provisional,
        assertion_counter: 7,
        ..device()
    };
    let renewed = renew(&before, moving(), &policy(), later).unwrap();
    let expected = Device {
        key: point(&OTHER_KEY),
        session_key: key(&OTHER_KEY),
        moved_from: Some(key(&PHONE_KEY)),
        assertion_counter: 0,
        trust_level: TrustLevel::StrongBox,
        posture: posture(),
        chain_serials: found().chain_serials,
        issuer_keys: found().issuer_keys,
        attestation_key: found().attestation_key,
        attested_at: later,
        doubt: None,
        ..before.clone()
    };
    assert_eq!(renewed, expected);
    assert_eq!(renew(&renewed, moving(), &policy(), later), Ok(renewed));
}

#[test]
fn only_the_key_in_use_vouches_and_after_the_move_only_for_the_same_move() {
    let voucher = |key| Renewal {
        vouched_by: key,
        ..moving()
    };
    let third = Thumbprint::from_bytes([9; 32]);
    for wrong in [None, Some(third), Some(key(&OTHER_KEY))] {
        assert_eq!(
            renew(&device(), voucher(wrong), &policy(), now()),
            refused(Reason::ProofKeyMismatch),
            "{wrong:?}"
        );
    }
    let on = Renewal {
        session_key: third,
        ..moving()
    };
    assert_eq!(
        renew(&moved(), on, &policy(), now()),
        refused(Reason::ProofKeyMismatch)
    );
}

/// Between the look at a device and its renewal the device may have moved: what its former key says
/// is then no word about the key it has.
#[test]
fn another_attested_key_needs_evidence_for_it() {
    for counter in [None, Some(9)] {
        let bare = Renewal {
            found: None,
            assertion_counter: counter,
            ..moving()
        };
        assert_eq!(
            renew(&device(), bare, &policy(), now()),
            refused(Reason::ProofKeyMismatch)
        );
    }
}

#[test]
fn a_session_whose_key_stays_is_refreshed_and_nothing_ends() {
    let own = key(&PHONE_KEY);
    let world = World::whole();
    let present = |session: &Session, generation| {
        let presented = presenting(generation, own);
        rekey(session, presented, world.surroundings(), &policy(), now())
    };
    let (outcome, session) = present(&session(), 5).unwrap();
    assert_eq!((outcome, session.generation), (RefreshOutcome::Rotated, 6));
    assert_eq!(session.session_key, own);
    assert_eq!(
        present(&session, 5),
        Ok((RefreshOutcome::Retry, session.clone()))
    );
    assert_eq!(present(&session, 4), refused(Reason::RefreshTokenReused));
}

#[test]
fn evidence_lifts_the_suspension_of_a_reappraisal_and_no_other() {
    use SuspensionReason::{Administrative, Investigation, Mislaid, Reappraisal, Risk};
    for why in [Mislaid, Investigation, Administrative, Risk, Reappraisal] {
        let suspended = Device {
            state: DeviceState::Suspended { at: now(), why },
            ..device()
        };
        let bare = Renewal {
            found: None,
            ..moving()
        };
        assert_eq!(
            renew(&suspended, bare, &policy(), now()),
            refused(Reason::DeviceSuspended)
        );
        let renewed = renew(&suspended, moving(), &policy(), now());
        match why {
            Reappraisal => assert_eq!(renewed.unwrap().state, DeviceState::Active),
            Mislaid | Investigation | Administrative | Risk => {
                assert_eq!(renewed, refused(Reason::DeviceSuspended));
            }
        }
    }
    let why = RevocationReason::Reappraisal;
    let revoked = Device {
        state: DeviceState::Revoked { at: now(), why },
        ..device()
    };
    assert_eq!(
        renew(&revoked, moving(), &policy(), now()),
        refused(Reason::DeviceRevoked)
    );
}

/// An instance with an older list than the one that found the device listed.
#[test]
fn provisional_evidence_lifts_nothing() {
    let provisional = || Renewal {
        found: Some(Found {
            trust_level: TrustLevel::Provisional,
            ..found()
        }),
        ..moving()
    };
    let doubted = Device {
        doubt: Some(Reason::AttestationCertRevoked),
        ..device()
    };
    let renewed = renew(&doubted, provisional(), &policy(), now()).unwrap();
    assert_eq!(renewed.doubt, doubted.doubt);
    assert_eq!(renewed.trust_level, TrustLevel::Provisional);
    let why = SuspensionReason::Reappraisal;
    let suspended = Device {
        state: DeviceState::Suspended { at: now(), why },
        ..doubted
    };
    let refusal = renew(&suspended, provisional(), &policy(), now());
    assert_eq!(refusal, refused(Reason::DeviceSuspended));
}

#[test]
fn assertions_only_count_up() {
    let asserted = |counter| Renewal {
        key: point(&ATTESTED_KEY),
        vouched_by: None,
        found: None,
        assertion_counter: Some(counter),
        ..moving()
    };
    let device = Device {
        assertion_counter: 5,
        ..device()
    };
    for old in [0, 4, 5] {
        assert_eq!(
            renew(&device, asserted(old), &policy(), now()),
            refused(Reason::ProofReplayed)
        );
    }
    let once = renew(&device, asserted(6), &policy(), now()).unwrap();
    assert_eq!(once.assertion_counter, 6);
    // The same move again, and no older one.
    assert_eq!(
        renew(&once, asserted(6), &policy(), now()),
        Ok(once.clone())
    );
    assert_eq!(
        renew(&once, asserted(5), &policy(), now()),
        refused(Reason::ProofReplayed)
    );
    let last = renew(&once, asserted(u32::MAX), &policy(), now()).unwrap();
    assert_eq!(last.assertion_counter, u32::MAX);
}

fn presenting(generation: u32, by: Thumbprint) -> Presented {
    Presented {
        generation,
        key: by,
        refresh_key: KeyTag::from_bytes([2; 4]),
        session_ends_at: session().expires_at,
        proof_made_at: now(),
    }
}

fn rekeyed(session: &Session, presented: Presented) -> Result<(RefreshOutcome, Session), Refusal> {
    let world = World {
        device: Some(moved()),
        ..World::whole()
    };
    rekey(session, presented, world.surroundings(), &policy(), now())
}

#[test]
fn a_session_moves_with_the_token_of_the_old_key_and_is_given_again_alike() {
    let old = key(&PHONE_KEY);
    for (presented, outcome, generation) in [
        (5, RefreshOutcome::Rotated, 6),
        (4, RefreshOutcome::Retry, 5),
        (8, RefreshOutcome::Healed, 9),
    ] {
        let (seen, session) = rekeyed(&session(), presenting(presented, old)).unwrap();
        assert_eq!((seen, session.generation), (outcome, generation));
        assert_eq!(session.session_key, key(&OTHER_KEY));
        let (again, same) = rekeyed(&session, presenting(presented, old)).unwrap();
        assert_eq!((again, &same), (RefreshOutcome::Retry, &session));
        // What the new key has used is not given again, and nothing ends.
        let gone_on = Session {
            generation: generation + 1,
            ..session
        };
        assert_eq!(
            rekeyed(&gone_on, presenting(presented, old)),
            refused(Reason::RefreshTokenReused)
        );
    }
}

#[test]
fn a_session_does_not_move_with_another_token() {
    let old = key(&PHONE_KEY);
    for wrong in [key(&OTHER_KEY), Thumbprint::from_bytes([9; 32])] {
        assert_eq!(
            rekeyed(&session(), presenting(5, wrong)),
            refused(Reason::TokenInvalid)
        );
    }
    let left_behind = Session {
        session_key: Thumbprint::from_bytes([9; 32]),
        ..session()
    };
    assert_eq!(
        rekeyed(&left_behind, presenting(5, old)),
        refused(Reason::SessionRevoked)
    );
    assert_eq!(
        rekeyed(&session(), presenting(3, old)),
        refused(Reason::RefreshTokenReused)
    );
    let over = Session {
        expires_at: now(),
        ..session()
    };
    assert_eq!(
        rekeyed(&over, presenting(5, old)),
        refused(Reason::SessionExpiredAbsolute)
    );
}

#[test]
fn a_system_that_went_back_is_refused_unless_the_policy_allows_it() {
    let with = |version: &str| match posture() {
        Posture::Apple(apple) => Posture::Apple(ApplePosture {
            os_version: Some(version.to_owned()),
            ..apple
        }),
        Posture::Android(_) => panic!("the posture of these tests is Apple's"),
    };
    let before = Device {
        posture: with("26.10"),
        ..device()
    };
    let to = |version: &str| Renewal {
        found: Some(Found {
            posture: with(version),
            ..found()
        }),
        ..moving()
    };
    let mut policy = policy();
    for version in ["26.10", "26.11", "27.0"] {
        assert!(renew(&before, to(version), &policy, now()).is_ok());
    }
    assert_eq!(
        renew(&before, to("26.9"), &policy, now()),
        refused(Reason::PostureBelowPolicy)
    );
    policy.reappraisal.downgrade = DowngradeRule::Allow;
    assert!(renew(&before, to("26.9"), &policy, now()).is_ok());
}
