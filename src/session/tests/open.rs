use super::*;
use crate::session::{EndReason, Opening, SessionEntry, end, open};
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
    }
}

fn opened(
    opening: Opening,
    device: &Device,
    subject: &SubjectRecord,
    dead: &BTreeSet<SessionId>,
) -> Result<(Session, SubjectRecord), Refusal> {
    let proof = proof_by(&PHONE_KEY);
    let policy = policy();
    let app = (Standing::Enabled, &policy);
    open(opening, &proof, app, (device, subject, dead), now())
}

fn simply(opening: Opening, device: &Device) -> Result<Session, Refusal> {
    opened(opening, device, &subject(), &BTreeSet::new()).map(|(session, _)| session)
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
    let (seen, index) = opened(opening(), &device(), &subject(), &BTreeSet::new()).unwrap();
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
    let (device, subject, dead) = (device(), subject(), BTreeSet::new());
    let proof = proof_by(&PHONE_KEY);
    let app = (Standing::Enabled, &policy);
    let (session, _) = open(opening(), &proof, app, (&device, &subject, &dead), now()).unwrap();
    assert_eq!(session.idle_expires_at, session.expires_at);
}

#[test]
fn nobody_opens_a_session_with_another_key_or_in_a_disabled_app() {
    let (device, subject, dead) = (device(), subject(), BTreeSet::new());
    let records = (&device, &subject, &dead);
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
    let (subject, dead) = (subject(), BTreeSet::new());
    let attested = |at| {
        let device = Device {
            attested_at: at,
            ..device()
        };
        let proof = proof_by(&PHONE_KEY);
        let app = (Standing::Enabled, &policy);
        open(opening(), &proof, app, (&device, &subject, &dead), now()).map(|_| ())
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
    let none = BTreeSet::new();
    let count = |index: &SubjectRecord, dead: &BTreeSet<SessionId>| {
        opened(opening(), &device(), index, dead).map(|(_, index)| index.sessions.len())
    };
    assert_eq!(count(&with_sessions([(1, 1), (2, 2)]), &none), Ok(3));
    let of_subject = with_sessions([(1, 2), (2, 3), (3, 4)]);
    assert_eq!(count(&of_subject, &none), refused(Reason::SessionLimit));
    let of_device = with_sessions([(1, 1), (2, 1)]);
    assert_eq!(count(&of_device, &none), refused(Reason::SessionLimit));
    // Dead ones make room and leave the index.
    assert_eq!(count(&of_subject, &[session_id(2)].into()), Ok(3));
    assert_eq!(
        count(&of_device, &[session_id(1), session_id(2)].into()),
        Ok(1)
    );
    assert_eq!(
        count(&of_device, &[session_id(7)].into()),
        refused(Reason::SessionLimit)
    );
}

#[test]
fn sessions_whose_time_is_over_leave_the_index() {
    let mut index = with_sessions([(1, 1), (2, 1)]);
    index.sessions[0].expires_at = now();
    let (_, index) = opened(opening(), &device(), &index, &BTreeSet::new()).unwrap();
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
