use super::*;
use crate::id::ConsentId;
use crate::session::{Consent, EndReason, LastUsed, Opened, Opening, SessionEntry, end, open};
use crate::token::KeyTag;

fn opening() -> Opening {
    Opening {
        id: session_id(9),
        refresh_key: KeyTag::from_bytes([1; 4]),
        scopes: words(["accounts"]),
        audience: None,
        roles: vec!["customer".to_owned()],
        acr: "urn:acr:2".to_owned(),
        amr: vec!["pwd".to_owned()],
        auth_time: now(),
        consent: None,
        cut_until: None,
    }
}

fn opened(
    opening: Opening,
    device: &Device,
    subject: &SubjectRecord,
    used: Option<&LastUsed>,
) -> Result<Opened, Refusal> {
    let proof = proof_by(&PHONE_KEY);
    let policy = policy();
    let app = (Standing::Enabled, &policy);
    open(opening, &proof, app, (device, subject, used), now())
}

fn simply(opening: Opening, device: &Device) -> Result<Session, Refusal> {
    opened(opening, device, &subject(), None).map(|opened| opened.session)
}

fn entry(session: u8, device: u8, expires_at: Timestamp) -> SessionEntry {
    SessionEntry {
        id: session_id(session),
        device: device_id(device),
        expires_at,
    }
}

fn with_sessions<const N: usize>(list: [(u8, u8); N]) -> SubjectRecord {
    let later = now().after(MILLISECOND);
    SubjectRecord {
        sessions: list
            .map(|(session, device)| entry(session, device, later))
            .into(),
        ..subject()
    }
}

#[test]
fn a_new_session_is_as_asked_and_bound_to_what_is_there() {
    let Opened {
        session: seen,
        subject: index,
        evicted,
    } = opened(opening(), &device(), &subject(), None).unwrap();
    assert!(evicted.is_empty());
    let expected = Session {
        id: session_id(9),
        generation: 0,
        scopes: words(["accounts"]),
        ..session()
    };
    assert_eq!(seen, expected);
    assert_eq!(index.sessions, [entry(9, 1, now().after(ABSOLUTE))]);
    assert_eq!(index.epoch, subject().epoch);
    assert_eq!(World::whole().surroundings().check(&seen, now()), Ok(()));
}

#[test]
fn the_idle_expiry_never_lies_behind_the_absolute_one() {
    let mut policy = policy();
    policy.lifetimes.idle_for = ABSOLUTE * 2;
    let (device, subject) = (device(), subject());
    let proof = proof_by(&PHONE_KEY);
    let app = (Standing::Enabled, &policy);
    let opened = open(opening(), &proof, app, (&device, &subject, None), now()).unwrap();
    let session = opened.session;
    assert_eq!(session.idle_expires_at, session.expires_at);
}

#[test]
fn nobody_opens_a_session_with_another_key_or_in_a_disabled_app() {
    let (device, subject) = (device(), subject());
    let records = (&device, &subject, None);
    let policy = policy();
    let by = |key, standing| {
        let proof = proof_by(key);
        open(opening(), &proof, (standing, &policy), records, now()).map(|_| ())
    };
    assert_eq!(by(&PHONE_KEY, Standing::Enabled), Ok(()));
    assert_eq!(
        by(&OTHER_KEY, Standing::Enabled),
        refused(Reason::ProofKeyMismatch)
    );
    assert_eq!(
        by(&PHONE_KEY, Standing::Disabled),
        refused(Reason::AppDisabled)
    );
}

#[test]
fn a_revoked_device_gets_no_session() {
    let revoked = crate::session::revoke(&device(), crate::session::RevocationReason::Lost, now());
    assert_eq!(simply(opening(), &revoked), refused(Reason::DeviceRevoked));
}

#[test]
fn a_device_attests_again_when_its_evidence_is_as_old_as_allowed() {
    let mut policy = policy();
    policy.lifetimes.reattest_after = Some(GRACE);
    let subject = subject();
    let attested = |at| {
        let device = Device {
            attested_at: at,
            ..device()
        };
        let proof = proof_by(&PHONE_KEY);
        let app = (Standing::Enabled, &policy);
        open(opening(), &proof, app, (&device, &subject, None), now()).map(|_| ())
    };
    assert_eq!(attested(now().before(GRACE).after(MILLISECOND)), Ok(()));
    assert_eq!(
        attested(now().before(GRACE)),
        refused(Reason::ReattestationRequired)
    );
}

#[test]
fn every_scope_needs_a_rule_that_the_trust_level_reaches() {
    use TrustLevel::{AppAttest, Provisional, StrongBox, Tee};
    let levels = [Provisional, AppAttest, Tee, StrongBox];
    let scopes = ["read", "accounts", "transfer", "admin"];
    for (reach, level) in levels.into_iter().enumerate() {
        let device = Device {
            trust_level: level,
            ..device()
        };
        for combination in 0..1_usize << scopes.len() {
            let wanted = scopes.iter().enumerate();
            let wanted = wanted.filter(|(index, _)| combination & (1 << index) != 0);
            let asked = Opening {
                scopes: wanted.map(|(_, scope)| (*scope).to_owned()).collect(),
                ..opening()
            };
            // The scopes stand in the order of the levels they need.
            let allowed = combination != 0 && combination < 1 << (reach + 1);
            let seen = simply(asked, &device);
            assert_eq!(seen.is_ok(), allowed, "{level:?}, scopes {combination:#b}");
            if !allowed {
                assert_eq!(seen, refused(Reason::ScopeNotAllowed));
            }
        }
    }
}

#[test]
fn a_scope_without_a_rule_is_never_granted() {
    for scopes in [
        words(["root"]),
        words(["read", "root"]),
        words(["READ"]),
        words([]),
    ] {
        let device = Device {
            trust_level: TrustLevel::StrongBox,
            ..device()
        };
        let asked = Opening {
            scopes,
            ..opening()
        };
        assert_eq!(simply(asked, &device), refused(Reason::ScopeNotAllowed));
    }
}

#[test]
fn the_audience_is_the_first_or_one_of_the_configured() {
    let asked = |audience: Option<&str>| {
        let audience = audience.map(str::to_owned);
        let opening = Opening {
            audience,
            ..opening()
        };
        simply(opening, &device()).map(|session| session.audience)
    };
    assert_eq!(asked(None), Ok("https://api.example".to_owned()));
    assert_eq!(asked(Some("other")), Ok("other".to_owned()));
    assert_eq!(asked(Some("elsewhere")), refused(Reason::ScopeNotAllowed));
    assert_eq!(asked(Some("")), refused(Reason::ScopeNotAllowed));
}

#[test]
fn sessions_are_limited_by_subject_and_by_device() {
    // The policy of these tests: three of one subject, two of one device.
    let count = |index: &SubjectRecord, used: Option<&LastUsed>| {
        opened(opening(), &device(), index, used).map(|opened| opened.subject.sessions.len())
    };
    let limit = refused(Reason::SessionLimit);
    assert_eq!(count(&with_sessions([(1, 1), (2, 2)]), None), Ok(3));
    let of_subject = with_sessions([(1, 2), (2, 3), (3, 4)]);
    assert_eq!(count(&of_subject, None), limit);
    assert_eq!(count(&of_subject, Some(&used([1, 2, 3]))), limit);
    let of_device = with_sessions([(1, 1), (2, 1)]);
    assert_eq!(count(&of_device, None), limit);
    // Dead ones make room and leave the index.
    assert_eq!(count(&of_subject, Some(&used([1, 3]))), Ok(3));
    assert_eq!(count(&of_device, Some(&used([]))), Ok(1));
    assert_eq!(count(&of_device, Some(&used([1, 2, 7]))), limit);
}

/// The sessions of these numbers, used in this order.
fn used<const N: usize>(order: [u8; N]) -> LastUsed {
    let at = |place: usize| {
        now()
            .before(GRACE)
            .after(MILLISECOND * u32::try_from(place).unwrap())
    };
    let order = order.into_iter().enumerate();
    order
        .map(|(place, session)| (session_id(session), at(place)))
        .collect()
}

/// Which sessions end for a new one on device 1, and which are in the index then.
fn evicted(
    policy: &AppPolicy,
    index: &SubjectRecord,
    used: Option<&LastUsed>,
) -> Result<(Vec<SessionId>, Vec<SessionId>), Refusal> {
    let proof = proof_by(&PHONE_KEY);
    let app = (Standing::Enabled, policy);
    let opened = open(opening(), &proof, app, (&device(), index, used), now())?;
    let left = opened.subject.sessions.iter().map(|entry| entry.id);
    Ok((opened.evicted, left.collect()))
}

fn evicting() -> AppPolicy {
    AppPolicy {
        on_session_limit: SessionLimitRule::EvictOldest,
        ..policy()
    }
}

#[test]
fn the_session_not_used_for_longest_makes_room() {
    // Sessions with their devices, sessions in the order of use, who goes, who stays.
    type Case = (
        &'static [(u8, u8)],
        &'static [u8],
        &'static [u8],
        &'static [u8],
    );
    let cases: &[Case] = &[
        // Nothing is full.
        (&[(1, 1), (2, 2)], &[1, 2], &[], &[1, 2, 9]),
        // The device is full: only its own.
        (&[(1, 2), (2, 1), (3, 1)], &[1, 3, 2], &[3], &[1, 2, 9]),
        // The subject is full: whatever the device.
        (&[(1, 2), (2, 3), (3, 1)], &[2, 3, 1], &[2], &[1, 3, 9]),
        (&[(1, 2), (2, 3), (3, 1)], &[3, 2, 1], &[3], &[1, 2, 9]),
        // Dead ones first: then nobody has to go, or fewer.
        (&[(1, 2), (2, 3), (3, 1)], &[3, 1], &[], &[1, 3, 9]),
        // Limits that were lowered: as many as it takes.
        (
            &[(1, 1), (2, 1), (3, 1), (4, 1)],
            &[4, 3, 2, 1],
            &[4, 3, 2],
            &[1, 9],
        ),
        (
            &[(1, 2), (2, 3), (3, 4), (4, 5)],
            &[4, 3, 2, 1],
            &[4, 3],
            &[1, 2, 9],
        ),
    ];
    for (sessions, order, gone, left) in cases {
        let later = now().after(MILLISECOND);
        let sessions = sessions.iter();
        let index = SubjectRecord {
            sessions: sessions.map(|(id, on)| entry(*id, *on, later)).collect(),
            ..subject()
        };
        let order = order.iter().enumerate();
        let at = |place: usize| {
            now()
                .before(GRACE)
                .after(MILLISECOND * place.try_into().unwrap())
        };
        let order: LastUsed = order.map(|(n, id)| (session_id(*id), at(n))).collect();
        let ids = |list: &[u8]| list.iter().map(|id| session_id(*id)).collect::<Vec<_>>();
        let seen = evicted(&evicting(), &index, Some(&order));
        assert_eq!(seen, Ok((ids(gone), ids(left))), "{index:?}");
    }
}

#[test]
fn of_sessions_used_at_the_same_time_the_one_opened_first_makes_room() {
    let index = with_sessions([(5, 1), (2, 1)]);
    let same = [(session_id(2), now()), (session_id(5), now())].into();
    let seen = evicted(&evicting(), &index, Some(&same));
    let ids = |list: [u8; 2]| list.map(session_id).to_vec();
    assert_eq!(seen, Ok((vec![session_id(5)], ids([2, 9]))));
}

#[test]
fn nobody_is_evicted_unseen() {
    let index = with_sessions([(1, 1), (2, 1)]);
    let seen = evicted(&evicting(), &index, None);
    assert_eq!(seen, refused(Reason::SessionLimit));
}

#[test]
fn a_limit_lowered_by_much_is_reached_step_by_step() {
    let policy = AppPolicy {
        sessions_per_subject_max: 1,
        sessions_per_device_max: 1,
        ..evicting()
    };
    let later = now().after(MILLISECOND);
    let entries = (0..=250).filter(|id| *id != 9);
    let index = SubjectRecord {
        sessions: entries.map(|id| entry(id, 2, later)).collect(),
        ..subject()
    };
    let used = index.sessions.iter().map(|entry| (entry.id, now()));
    let (gone, left) = evicted(&policy, &index, Some(&used.collect())).unwrap();
    assert_eq!((gone.len(), left.len()), (100, 151));
    assert!(left.contains(&session_id(9)) && !gone.contains(&session_id(9)));
}

#[test]
fn sessions_whose_time_is_over_leave_the_index() {
    let mut index = with_sessions([(1, 1), (2, 1)]);
    index.sessions[0].expires_at = now();
    let index = opened(opening(), &device(), &index, None).unwrap().subject;
    let ids: Vec<SessionId> = index.sessions.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [session_id(2), session_id(9)]);
}

#[test]
fn a_session_stays_as_it_first_ended() {
    let first = end(&session(), EndReason::RefreshTokenReused, now());
    let state = SessionState::Ended {
        at: now(),
        why: EndReason::RefreshTokenReused,
    };
    assert_eq!(first, Session { state, ..session() });
    assert_eq!(end(&first, EndReason::LoggedOut, now().after(GRACE)), first);
}

#[test]
fn a_session_notes_its_consent_with_the_epoch_it_has() {
    let id: ConsentId = "loan".parse().unwrap();
    for epoch in [None, Some(7)] {
        let mut subject = subject();
        subject
            .consents
            .extend(epoch.map(|epoch| (id.clone(), epoch)));
        let opening = Opening {
            consent: Some(id.clone()),
            ..opening()
        };
        let seen = opened(opening, &device(), &subject, None).unwrap().session;
        let expected = Consent {
            id: id.clone(),
            epoch: epoch.unwrap_or(0),
        };
        assert_eq!(seen.consent, Some(expected));
    }
}

#[test]
fn a_session_opened_after_a_cut_is_opened_behind_it() {
    for (cut, opened_at) in [
        (now().before(MILLISECOND * 2), now()),
        (now(), now().after(MILLISECOND)),
        (now().after(GRACE), now().after(GRACE).after(MILLISECOND)),
    ] {
        let opening = Opening {
            cut_until: Some(cut),
            ..opening()
        };
        let seen = simply(opening, &device()).unwrap();
        assert_eq!(seen.opened_at, opened_at);
        // All else is as without it.
        let expected = Session {
            opened_at,
            ..simply(super::open::opening(), &device()).unwrap()
        };
        assert_eq!(seen, expected);
    }
}
