use super::*;
use crate::policy::UserPresence;
use crate::session::{Requirements, admit};
use crate::token::access::{self, AccessClaims, Platform, VerifiedClaims};

fn claims() -> AccessClaims {
    let session = session();
    AccessClaims {
        issuer: "https://assay.example".to_owned(),
        audience: session.audience,
        subject: session.subject,
        app: session.app,
        token_id: [7; 16],
        issued_at: now(),
        expires_at: now().after(GRACE),
        authenticated_at: Some(now().before(Duration::from_secs(100))),
        acr: Some(session.acr),
        amr: session.amr,
        scopes: session.scopes,
        roles: session.roles,
        key: session.session_key,
        session: session.id,
        device: session.device,
        trust_level: TrustLevel::Tee,
        platform: Platform::Android,
        user_presence: UserPresence::None,
        generation: 0,
    }
}

fn verified(claims: &AccessClaims) -> VerifiedClaims {
    let token = access::mint(&KEYRING, claims).unwrap();
    access::verify(&KEYRING, token.expose(), &claims.issuer, None, now()).unwrap()
}

fn admitted(claims: &AccessClaims, world: &World, required: &Requirements) -> Result<(), Refusal> {
    let session = session();
    let around = (&session, world.surroundings());
    admit(&verified(claims), around, &policy(), required, now()).map(drop)
}

fn with(required: Requirements) -> Result<(), Refusal> {
    admitted(&claims(), &World::whole(), &required)
}

#[test]
fn a_live_session_without_requirements_is_admitted() {
    assert_eq!(with(Requirements::default()), Ok(()));
}

#[test]
fn a_token_that_is_not_this_sessions_in_any_part_is_refused() {
    let spoils: [fn(&mut AccessClaims); 5] = [
        |claims| claims.session = session_id(2),
        |claims| claims.device = device_id(2),
        |claims| claims.key = Thumbprint::from_bytes([1; 32]),
        |claims| claims.app = "shop".parse().unwrap(),
        |claims| claims.subject = "user-2".parse().unwrap(),
    ];
    for spoil in spoils {
        let mut claims = claims();
        spoil(&mut claims);
        let seen = admitted(&claims, &World::whole(), &Requirements::default());
        assert_eq!(seen, refused(Reason::TokenInvalid));
    }
}

#[test]
fn a_dead_session_is_refused_before_what_the_call_needs() {
    let world = World {
        device: None,
        ..World::whole()
    };
    let required = Requirements {
        scopes: words(["admin"]),
        audience: Some("elsewhere".to_owned()),
        ..Requirements::default()
    };
    assert_eq!(
        admitted(&claims(), &world, &required),
        refused(Reason::DeviceRevoked)
    );
}

#[test]
fn the_audience_has_to_be_the_tokens() {
    let audience = |name: &str| {
        with(Requirements {
            audience: Some(name.to_owned()),
            ..Requirements::default()
        })
    };
    assert_eq!(audience("https://api.example"), Ok(()));
    assert_eq!(audience("other"), refused(Reason::TokenInvalid));
}

#[test]
fn scopes_are_those_of_the_token_not_of_the_session() {
    let scopes = |scopes| {
        let narrow = AccessClaims {
            scopes: words(["accounts"]),
            ..claims()
        };
        let required = Requirements {
            scopes,
            ..Requirements::default()
        };
        admitted(&narrow, &World::whole(), &required)
    };
    assert_eq!(scopes(words(["accounts"])), Ok(()));
    assert_eq!(
        scopes(words(["accounts", "transfer"])),
        refused(Reason::ScopeNotAllowed)
    );
}

#[test]
fn a_call_may_need_a_stronger_or_fresher_sign_in() {
    let acr = |values: &[&str]| Requirements {
        acr_values: values.iter().map(ToString::to_string).collect(),
        ..Requirements::default()
    };
    assert_eq!(with(acr(&["urn:acr:3", "urn:acr:2"])), Ok(()));
    assert_eq!(with(acr(&["urn:acr:3"])), refused(Reason::StepUpRequired));
    let age = |seconds| Requirements {
        max_age: Some(Duration::from_secs(seconds)),
        ..Requirements::default()
    };
    // Signed in 100 seconds ago; the token knows whole seconds, so half a second more.
    assert_eq!(with(age(101)), Ok(()));
    assert_eq!(with(age(99)), refused(Reason::StepUpRequired));
    let unknown = AccessClaims {
        authenticated_at: None,
        acr: None,
        ..claims()
    };
    let needs = |required| admitted(&unknown, &World::whole(), &required);
    assert_eq!(needs(Requirements::default()), Ok(()));
    for required in [age(1_000_000), acr(&["urn:acr:2"])] {
        assert_eq!(needs(required), refused(Reason::StepUpRequired));
    }
}

#[test]
fn the_trust_level_is_the_devices_of_now() {
    use TrustLevel::{AppAttest, Provisional, StrongBox, Tee};
    let levels = [Provisional, AppAttest, Tee, StrongBox];
    for now_at in levels {
        for wanted in levels {
            let device = Device {
                trust_level: now_at,
                ..device()
            };
            let world = World {
                device: Some(device),
                ..World::whole()
            };
            let required = Requirements {
                trust_level_min: Some(wanted),
                ..Requirements::default()
            };
            let seen = admitted(&claims(), &world, &required);
            let expected = if now_at >= wanted {
                Ok(())
            } else {
                refused(Reason::TrustLevelTooLow)
            };
            assert_eq!(seen, expected, "{now_at:?} for {wanted:?}");
        }
    }
}

#[test]
fn what_was_taken_away_since_is_in_no_token() {
    let world = World::whole();
    let (claims, whole) = (verified(&claims()), session());
    let needs = |scope| Requirements {
        scopes: words([scope]),
        ..Requirements::default()
    };
    let seen = |session: &Session, policy: &AppPolicy, required| {
        let around = (session, world.surroundings());
        admit(&claims, around, policy, &required, now())
    };
    let scopes = |session: &Session, policy: &AppPolicy| {
        let seen = seen(session, policy, Requirements::default()).unwrap();
        seen.claims().scopes.clone()
    };
    assert_eq!(scopes(&whole, &policy()), words(["accounts", "transfer"]));
    // Its risk has cost the session a scope.
    let poorer = Session {
        scopes: words(["accounts"]),
        ..whole.clone()
    };
    assert_eq!(scopes(&poorer, &policy()), words(["accounts"]));
    let lost = seen(&poorer, &policy(), needs("transfer"));
    assert_eq!(lost, refused(Reason::ScopeNotAllowed));
    assert!(seen(&poorer, &policy(), needs("accounts")).is_ok());
    // Policy grants nothing any more, but to elevated tokens.
    let mut strict = policy();
    strict.scopes.clear();
    strict.step_up.scopes.scopes = words(["transfer"]);
    assert_eq!(scopes(&whole, &strict), words(["transfer"]));
}

#[test]
fn the_trust_in_the_device_is_that_of_now() {
    let mut world = World::whole();
    world.device.as_mut().unwrap().trust_level = TrustLevel::AppAttest;
    let (claims, session) = (verified(&claims()), session());
    let around = (&session, world.surroundings());
    let nothing = Requirements::default();
    let seen = admit(&claims, around, &policy(), &nothing, now()).unwrap();
    assert_eq!(seen.claims().trust_level, TrustLevel::AppAttest);
}
