use super::*;
use crate::session::{EndReason, Presented, RefreshOutcome, Rotation, UsedUp, rotate};

/// The secret in use, another than the one the session was opened under.
const IN_USE: KeyTag = KeyTag::from_bytes([2; 4]);

fn presenting(generation: u32) -> Presented {
    Presented {
        generation,
        key: key(&PHONE_KEY),
        refresh_key: IN_USE,
        session_ends_at: session().expires_at,
        proof_made_at: now(),
    }
}

/// What a table row expects: the outcome and the generation afterwards, or a reuse.
#[derive(Debug, PartialEq, Eq)]
enum Row {
    Rotated(u32),
    Retry(u32),
    Healed(u32),
    Reused,
}

fn present(session: &Session, presented: u32, at: Timestamp) -> Row {
    let world = World::whole();
    let noted = session.refresh_key;
    assert_ne!(noted, IN_USE);
    match rotate(
        session,
        presenting(presented),
        world.surroundings(),
        &policy(),
        at,
    )
    .unwrap()
    {
        Rotation::Granted { outcome, session } => match outcome {
            RefreshOutcome::Rotated => {
                assert_eq!(session.refresh_key, IN_USE);
                Row::Rotated(session.generation)
            }
            RefreshOutcome::Retry => {
                assert_eq!(session.refresh_key, noted);
                Row::Retry(session.generation)
            }
            RefreshOutcome::Healed => {
                assert_eq!(session.refresh_key, IN_USE);
                Row::Healed(session.generation)
            }
        },
        Rotation::Reused { session } => {
            assert!(matches!(
                session.unwrap().state,
                SessionState::Ended { at: when, why: EndReason::RefreshTokenReused } if when == at
            ));
            Row::Reused
        }
    }
}

#[test]
fn the_whole_table() {
    let last_of_grace = now().after(GRACE);
    let later = last_of_grace.after(MILLISECOND);
    let end = now().after(IDLE).before(MILLISECOND);
    for (current, presented, at, expected) in [
        (0, 0, now(), Row::Rotated(1)),
        (0, 0, end, Row::Rotated(1)),
        (5, 5, now(), Row::Rotated(6)),
        (5, 5, later, Row::Rotated(6)),
        (5, 4, now(), Row::Retry(5)),
        (5, 4, last_of_grace, Row::Retry(5)),
        (5, 4, later, Row::Reused),
        (5, 4, end, Row::Reused),
        (1, 0, now(), Row::Retry(1)),
        (1, 0, later, Row::Reused),
        // Grace never reaches further back than one.
        (5, 3, now(), Row::Reused),
        (5, 0, now(), Row::Reused),
        (2, 0, now(), Row::Reused),
        (5, 3, later, Row::Reused),
        (u32::MAX, 0, now(), Row::Reused),
        // Only we issue tokens: a later one says that the store lost a rotation.
        (5, 6, now(), Row::Healed(7)),
        (5, 6, end, Row::Healed(7)),
        (0, 1, now(), Row::Healed(2)),
        (0, u32::MAX - 1, now(), Row::Healed(u32::MAX)),
        (u32::MAX - 1, u32::MAX - 1, now(), Row::Rotated(u32::MAX)),
        (u32::MAX, u32::MAX - 1, now(), Row::Retry(u32::MAX)),
    ] {
        let session = Session {
            generation: current,
            ..session()
        };
        let seen = present(&session, presented, at);
        assert_eq!(
            seen, expected,
            "{presented} presented at {at}, {current} current"
        );
    }
}

#[test]
fn the_last_generation_has_no_successor_and_wraps_to_nothing() {
    for generation in [0, 5, u32::MAX - 1, u32::MAX] {
        let session = Session {
            generation,
            ..session()
        };
        let world = World::whole();
        let seen = rotate(
            &session,
            presenting(u32::MAX),
            world.surroundings(),
            &policy(),
            now(),
        );
        assert_eq!(seen, refused(Reason::SessionExpiredAbsolute));
    }
}

#[test]
fn a_rotation_moves_generation_secret_and_idle_expiry_and_nothing_else() {
    let later = now().after(GRACE * 3);
    let world = World::whole();
    for (presented, generation) in [(5, 6), (9, 10)] {
        let rotation = rotate(
            &session(),
            presenting(presented),
            world.surroundings(),
            &policy(),
            later,
        );
        let Ok(Rotation::Granted { session: seen, .. }) = rotation else {
            panic!("refused");
        };
        let expected = Session {
            generation,
            refresh_key: IN_USE,
            rotated_at: later,
            idle_expires_at: later.after(IDLE),
            used_up: [(
                presented,
                UsedUp {
                    at: later,
                    proof_made_at: now(),
                },
            )]
            .into(),
            ..session()
        };
        assert_eq!(seen, expected);
    }
}

#[test]
fn no_rotation_extends_the_absolute_expiry() {
    let session = Session {
        idle_expires_at: session().expires_at,
        ..session()
    };
    let last = session.expires_at.before(MILLISECOND);
    let world = World::whole();
    let rotation = rotate(
        &session,
        presenting(5),
        world.surroundings(),
        &policy(),
        last,
    );
    let Ok(Rotation::Granted { session: seen, .. }) = rotation else {
        panic!("refused");
    };
    assert_eq!(seen.expires_at, session.expires_at);
    assert_eq!(seen.idle_expires_at, session.expires_at);
}

#[test]
fn a_retry_changes_nothing_at_all() {
    let world = World::whole();
    let at = now().after(GRACE);
    let expected = Rotation::Granted {
        outcome: RefreshOutcome::Retry,
        session: session(),
    };
    let seen = rotate(
        &session(),
        presenting(4),
        world.surroundings(),
        &policy(),
        at,
    );
    assert_eq!(seen, Ok(expected));
}

#[test]
fn where_policy_only_reports_a_reuse_the_session_stays_as_it_is() {
    let policy = AppPolicy {
        on_refresh_reuse: ReuseRule::Report,
        ..policy()
    };
    let world = World::whole();
    for presented in [0, 3] {
        let seen = rotate(
            &session(),
            presenting(presented),
            world.surroundings(),
            &policy,
            now(),
        );
        assert_eq!(seen, Ok(Rotation::Reused { session: None }));
    }
}

#[test]
fn liveness_comes_before_every_row_of_the_table() {
    let world = World {
        device: Some(Device {
            state: DeviceState::Revoked {
                at: now(),
                why: crate::session::RevocationReason::Stolen,
            },
            ..device()
        }),
        ..World::whole()
    };
    for presented in [0, 3, 4, 5, 6, u32::MAX] {
        let seen = rotate(
            &session(),
            presenting(presented),
            world.surroundings(),
            &policy(),
            now(),
        );
        assert_eq!(seen, refused(Reason::DeviceRevoked), "{presented}");
    }
}

#[test]
fn a_device_that_has_to_attest_again_gets_nothing_not_even_a_retry() {
    let span = GRACE / 2;
    let mut policy = policy();
    policy.lifetimes.reattest_after = Some(span);
    let world = World::whole();
    for presented in [4, 5, 6] {
        let present = |at| {
            rotate(
                &session(),
                presenting(presented),
                world.surroundings(),
                &policy,
                at,
            )
            .map(|_| ())
        };
        assert_eq!(present(now().after(span).before(MILLISECOND)), Ok(()));
        assert_eq!(
            present(now().after(span)),
            refused(Reason::ReattestationRequired)
        );
    }
}

#[test]
fn an_access_token_takes_all_scopes_or_a_part_of_them() {
    let session = session();
    let narrow = |wanted| session.narrow(&wanted, TrustLevel::StrongBox, &policy());
    assert_eq!(narrow(words([])), Ok(session.scopes.clone()));
    assert_eq!(narrow(words(["transfer"])), Ok(words(["transfer"])));
    for more in [words(["admin"]), words(["accounts", "read"])] {
        assert_eq!(narrow(more), refused(Reason::ScopeNotAllowed));
    }
}

#[test]
fn a_scope_the_policy_grants_no_more_is_gone_with_the_next_refresh() {
    let session = session();
    let mut policy = policy();
    policy
        .scopes
        .retain(|rule| !rule.scopes.contains("transfer"));
    let narrow =
        |wanted, policy: &AppPolicy| session.narrow(&wanted, TrustLevel::StrongBox, policy);
    assert_eq!(narrow(words([]), &policy), Ok(words(["accounts"])));
    let gone = narrow(words(["transfer"]), &policy);
    assert_eq!(gone, refused(Reason::ScopeNotAllowed));
    policy.scopes.clear();
    assert_eq!(narrow(words([]), &policy), refused(Reason::ScopeNotAllowed));
}

/// The session after its token `generation` was used up at this instant with a proof of this age.
fn used_up(before: &Session, generation: u32, at: Timestamp, proof_age: Duration) -> Session {
    let presented = Presented {
        proof_made_at: at.before(proof_age),
        ..presenting(generation)
    };
    let world = World::whole();
    match rotate(before, presented, world.surroundings(), &policy(), at) {
        Ok(Rotation::Granted { session, .. }) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_that_comes_with_a_proof_from_before_it_was_used_up_is_late_and_no_reuse() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    // A phone whose clock is a day behind.
    let day = Duration::from_secs(86_400);
    let once = used_up(&session(), 5, now(), day);
    let twice = used_up(&once, 6, now().after(minute), day);
    let world = World::whole();
    let present = |generation, made_at: Timestamp, at| {
        let presented = Presented {
            proof_made_at: made_at,
            ..presenting(generation)
        };
        rotate(&twice, presented, world.surroundings(), &policy(), at)
    };
    let late: Result<Rotation, Refusal> = refused(Reason::ProofStale);
    let reused = |seen: &Result<Rotation, Refusal>| matches!(seen, Ok(Rotation::Reused { .. }));
    let used = now().before(day);
    let at = now().after(minute);
    assert_eq!(present(5, used.before(second), at), late);
    // The very proof's time is no earlier one.
    assert!(reused(&present(5, used, at)));
    assert!(reused(&present(5, used.after(second), at)));
    // It is each token's own use that counts.
    assert!(reused(&present(5, used.after(second * 2), at)));
    assert!(reused(&present(4, used.before(second), at)));
    // In its grace time a token is retried, however late it is.
    let retried = present(6, used.before(second), at).unwrap();
    let outcome = RefreshOutcome::Retry;
    assert!(matches!(retried, Rotation::Granted { outcome: seen, .. } if seen == outcome));
    // Nobody hides behind a clock of their own for longer than an old proof could still come.
    let last = now().after(crate::proof::nonce::GOOD_FOR_MAX);
    assert_eq!(present(5, Timestamp::EPOCH, last), late);
    let later = last.after(MILLISECOND);
    assert!(reused(&present(5, Timestamp::EPOCH, later)));
}

#[test]
fn only_the_last_few_used_up_tokens_are_remembered() {
    let mut session = session();
    for round in 0..40_u32 {
        let at = now().after(Duration::from_secs(10) * round);
        session = used_up(&session, session.generation, at, Duration::ZERO);
        assert!(session.used_up.len() <= 8);
        assert_eq!(session.used_up.last_key_value().unwrap().1.at, at);
    }
    let later = now().after(GRACE * 3);
    let session = used_up(&session, session.generation, later, Duration::ZERO);
    assert_eq!(session.used_up.len(), 1);
}

#[test]
fn a_rotation_that_heals_never_extends_what_the_token_itself_says() {
    // The store has lost that the session was shortened together with its rotation.
    let shortened = now().after(IDLE / 2);
    let presented = Presented {
        session_ends_at: shortened,
        ..presenting(7)
    };
    let world = World::whole();
    let seen = rotate(
        &session(),
        presented,
        world.surroundings(),
        &policy(),
        now(),
    );
    let Ok(Rotation::Granted { session, .. }) = seen else {
        panic!("refused");
    };
    assert_eq!(session.expires_at, shortened);
    assert_eq!(session.idle_expires_at, shortened);
}
