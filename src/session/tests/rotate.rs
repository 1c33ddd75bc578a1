use super::*;
use crate::session::{EndReason, Presented, RefreshOutcome, Rotation, rotate};

/// The secret in use, another than the one the session was opened under.
const IN_USE: KeyTag = KeyTag::from_bytes([2; 4]);

fn presenting(generation: u32) -> Presented {
    Presented {
        generation,
        key: key(&PHONE_KEY),
        refresh_key: IN_USE,
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
