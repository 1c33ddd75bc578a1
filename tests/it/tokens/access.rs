//! Access tokens.

use std::time::Duration;

use assay::policy::{TrustLevel, UserPresence};
use assay::reason::Reason;
use assay::time::Timestamp;
use assay::token::access::{AccessClaims, MintError, Platform, TOKEN_BYTES_MAX, mint, verify};
use assay::token::keyring::Keyring;
use assay::token::{INSTANCE_SKEW_MAX, TokenRefusal};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;

use super::support::{ClientKey, NOW, corruptions, keyring, respellings, rotation};

const ISSUER: &str = "https://assay.example";

fn claims() -> AccessClaims {
    AccessClaims {
        issuer: ISSUER.to_owned(),
        audience: "https://api.example".to_owned(),
        subject: "user-1".parse().unwrap(),
        app: "com.example.app".parse().unwrap(),
        token_id: [9; 16],
        issued_at: Timestamp::from_secs(NOW.as_secs()),
        expires_at: Timestamp::from_secs(NOW.as_secs() + 300),
        authenticated_at: Some(Timestamp::from_secs(NOW.as_secs() - 60)),
        acr: Some("urn:example:gold".to_owned()),
        amr: vec!["pwd".to_owned(), "hwk".to_owned()],
        scopes: ["pay", "read"].map(str::to_owned).into(),
        roles: vec!["customer".to_owned()],
        key: ClientKey::generate().public.thumbprint(),
        session: format!("ses_0001{}", "ab".repeat(16)).parse().unwrap(),
        device: format!("dev_0001{}", "cd".repeat(16)).parse().unwrap(),
        trust_level: TrustLevel::StrongBox,
        platform: Platform::Android,
        user_presence: UserPresence::None,
        generation: 0,
    }
}

fn token(keyring: &Keyring) -> String {
    mint(keyring, &claims()).unwrap().expose().clone()
}

fn check(keyring: &Keyring, token: &str, now: Timestamp) -> Result<AccessClaims, TokenRefusal> {
    verify(keyring, token, ISSUER, None, now).map(|verified| verified.claims().clone())
}

fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// A keyring whose signing key the test holds too, to sign what the service never would.
fn keyring_with_known_key() -> (Keyring, ClientKey) {
    let key = ClientKey::generate();
    let mut files = assay::key_directory::generate_files(NOW).unwrap();
    let pem = assay::token::pem::encode(&key.pkcs8, "PRIVATE KEY");
    files.push(("signing-3.pem".to_owned(), pem));
    (Keyring::from_pem(&files).unwrap(), key)
}

fn header(kid: impl std::fmt::Display) -> String {
    format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#)
}

#[test]
fn what_is_minted_verifies_and_says_the_same() {
    let keyring = keyring();
    let minted = claims();
    let token = mint(&keyring, &minted).unwrap();
    assert_eq!(check(&keyring, token.expose(), NOW), Ok(minted));
    for level in [
        TrustLevel::Provisional,
        TrustLevel::AppAttest,
        TrustLevel::Tee,
    ] {
        let sparse = AccessClaims {
            authenticated_at: None,
            acr: None,
            amr: Vec::new(),
            scopes: [].into(),
            roles: Vec::new(),
            platform: Platform::Apple,
            trust_level: level,
            ..claims()
        };
        let token = mint(&keyring, &sparse).unwrap();
        assert_eq!(check(&keyring, token.expose(), NOW), Ok(sparse));
    }
}

#[test]
fn an_independent_verifier_accepts_it_with_the_published_keys() {
    let fleet = rotation();
    let set: JwkSet = serde_json::from_str(fleet.during.jwks()).unwrap();
    for minter in [&fleet.before, &fleet.during] {
        let token = token(minter);
        let head = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(head.typ.as_deref(), Some("at+jwt"));
        let jwk = set.find(&head.kid.unwrap()).unwrap();
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&["https://api.example"]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        let read = jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap();
        assert_eq!(read.claims["sub"], "user-1");
        assert_eq!(read.claims["client_id"], "com.example.app");
        assert_eq!(read.claims["scope"], "pay read");
        assert_eq!(read.claims["exp"], NOW.as_secs() + 300);
        assert_eq!(read.claims["cnf"]["jkt"].as_str().unwrap().len(), 43);
        assert_eq!(read.claims["device"]["trust_level"], "strongbox");
    }
}

#[test]
fn rotation_keeps_older_tokens_valid_until_the_key_is_removed() {
    let fleet = rotation();
    let old = token(&fleet.before);
    assert!(check(&fleet.during, &old, NOW).is_ok());
    assert_eq!(
        check(&fleet.after, &old, NOW),
        Err(TokenRefusal::UnknownKey)
    );
}

#[test]
fn no_corruption_is_accepted() {
    let keyring = keyring();
    let token = token(&keyring);
    let mut tried = 0;
    for bad in corruptions(&token).iter().chain(&respellings(&token)) {
        let refusal = check(&keyring, bad, NOW).unwrap_err();
        assert_eq!(refusal.reason(), Reason::TokenInvalid, "{bad}");
        tried += 1;
    }
    assert!(tried > 5000);
}

#[test]
fn refuses_alg_none_and_the_public_key_as_a_shared_secret() {
    let (keyring, key) = keyring_with_known_key();
    let good = token(&keyring);
    let body = good.split('.').nth(1).unwrap();
    let kid = keyring.signing_kid();
    for alg in ["none", "None", "", "HS256", "ES384", "es256", "RS256"] {
        let head = header(kid).replace("ES256", alg);
        let head = BASE64URL_NOPAD.encode(head.as_bytes());
        let signature = good.rsplit('.').next().unwrap();
        let with_signature = format!("{head}.{body}.{signature}");
        assert_eq!(
            check(&keyring, &with_signature, NOW),
            Err(TokenRefusal::WrongType)
        );
        let without = format!("{head}.{body}.");
        assert_eq!(check(&keyring, &without, NOW), Err(TokenRefusal::Malformed));
    }
    let mut head = Header::new(Algorithm::HS256);
    head.typ = Some("at+jwt".to_owned());
    head.kid = Some(kid.to_string());
    for secret in [&key.public.as_bytes()[..], keyring.jwks().as_bytes()] {
        let secret = EncodingKey::from_secret(secret);
        let forged = jsonwebtoken::encode(&head, &payload(&good), &secret).unwrap();
        assert!(check(&keyring, &forged, NOW).is_err());
    }
}

#[test]
fn a_foreign_key_is_not_believed_whatever_kid_it_names() {
    let (ours, _) = keyring_with_known_key();
    let body = payload(&token(&ours)).to_string();
    let attacker = ClientKey::generate();
    let forged = attacker.sign(&header(ours.signing_kid()), &body);
    assert_eq!(check(&ours, &forged, NOW), Err(TokenRefusal::Forged));
    let forged = attacker.sign(&header(attacker.public.thumbprint()), &body);
    assert_eq!(check(&ours, &forged, NOW), Err(TokenRefusal::UnknownKey));
    for kid in ["", "../../dev/null", "' OR 1=1", "AAAA"] {
        let forged = attacker.sign(&header(kid), &body);
        assert_eq!(check(&ours, &forged, NOW), Err(TokenRefusal::UnknownKey));
    }
    let embedded = format!(
        r#"{{"typ":"at+jwt","alg":"ES256","jwk":{}}}"#,
        attacker.jwk()
    );
    let forged = attacker.sign(&embedded, &body);
    assert_eq!(check(&ours, &forged, NOW), Err(TokenRefusal::UnknownKey));
}

#[test]
fn a_genuine_signature_over_another_form_is_not_enough() {
    let (ours, key) = keyring_with_known_key();
    let body = payload(&token(&ours)).to_string();
    let head = header(ours.signing_kid());
    assert!(check(&ours, &key.sign(&head, &body), NOW).is_ok());
    let bad_heads = [
        (head.replace("at+jwt", "dpop+jwt"), TokenRefusal::WrongType),
        (head.replace("at+jwt", "JWT"), TokenRefusal::WrongType),
        (head.replace("at+jwt", "AT+JWT"), TokenRefusal::WrongType),
        (
            head.replace(r#""typ":"at+jwt","#, ""),
            TokenRefusal::WrongType,
        ),
        (
            head.replace('{', r#"{"crit":["exp"],"#),
            TokenRefusal::Malformed,
        ),
        (head.replace('{', r#"{"crit":[],"#), TokenRefusal::Malformed),
        (
            head.replace('{', r#"{"alg":"none","#),
            TokenRefusal::Malformed,
        ),
        (head.replace('}', r#","kid":"x"}"#), TokenRefusal::Malformed),
    ];
    for (bad, refusal) in bad_heads {
        assert_eq!(
            check(&ours, &key.sign(&bad, &body), NOW),
            Err(refusal),
            "{bad}"
        );
    }
    let bad_bodies = [
        body.replace("\"scope\"", "\"sub\":\"user-2\",\"scope\""),
        body.replace("\"jkt\":", "\"jkt\":\"x\",\"jkt\":"),
        body.replace(&format!("\"exp\":{}", NOW.as_secs() + 300), "\"exp\":\"9\""),
        body.replace(&format!("\"exp\":{}", NOW.as_secs() + 300), "\"exp\":1e12"),
        body.replace(&format!("\"exp\":{}", NOW.as_secs() + 300), "\"exp\":null"),
        body.replace("\"cnf\"", "\"cnx\""),
        body.replace("ses_0001", "ses_ffff"),
        body.replace("strongbox", "titanium"),
        body.replace("pay read", "pay  read"),
        body.replace("\"https://api.example\"", "[\"https://api.example\"]"),
        format!("{body}{body}"),
        format!("[{body}]"),
    ];
    for bad in bad_bodies {
        let refused = check(&ours, &key.sign(&head, &bad), NOW);
        assert_eq!(refused, Err(TokenRefusal::Malformed), "{bad}");
    }
    let newer = body.replace("\"scope\"", "\"something_new\":{\"a\":1},\"scope\"");
    assert!(check(&ours, &key.sign(&head, &newer), NOW).is_ok());
}

#[test]
fn expiry_has_no_leeway_and_is_told_only_of_genuine_tokens() {
    let keyring = keyring();
    let token = token(&keyring);
    let end = claims().expires_at;
    assert!(
        check(
            &keyring,
            &token,
            Timestamp::from_millis(end.as_millis() - 1)
        )
        .is_ok()
    );
    assert_eq!(check(&keyring, &token, end), Err(TokenRefusal::Expired));
    assert_eq!(TokenRefusal::Expired.reason(), Reason::TokenExpired);
    let far = end.after(Duration::from_secs(86_400));
    for bad in corruptions(&token).iter().step_by(37) {
        assert_ne!(check(&keyring, bad, far), Err(TokenRefusal::Expired));
    }
    let foreign = verify(&keyring, &token, "https://other.example", None, far);
    assert_eq!(foreign, Err(TokenRefusal::WrongParty));
}

#[test]
fn a_token_from_the_future_is_refused() {
    let (keyring, key) = keyring_with_known_key();
    let token = token(&keyring);
    let earliest = claims().issued_at.before(INSTANCE_SKEW_MAX);
    assert!(check(&keyring, &token, earliest).is_ok());
    let earlier = Timestamp::from_millis(earliest.as_millis() - 1);
    assert_eq!(
        check(&keyring, &token, earlier),
        Err(TokenRefusal::Untimely)
    );
    let mut body = payload(&token);
    body["nbf"] = (NOW.as_secs() + 62).into();
    let later = key.sign(&header(keyring.signing_kid()), &body.to_string());
    assert_eq!(check(&keyring, &later, NOW), Err(TokenRefusal::Untimely));
    assert!(check(&keyring, &later, NOW.after(Duration::from_secs(2))).is_ok());
    body["nbf"] = i64::MIN.into();
    body["iat"] = (NOW.as_secs() + 50).into();
    body["exp"] = (NOW.as_secs() + 50).into();
    let over_at_once = key.sign(&header(keyring.signing_kid()), &body.to_string());
    assert_eq!(
        check(&keyring, &over_at_once, NOW),
        Err(TokenRefusal::Untimely)
    );
    body["iat"] = i64::MAX.into();
    let absurd = key.sign(&header(keyring.signing_kid()), &body.to_string());
    assert_eq!(check(&keyring, &absurd, NOW), Err(TokenRefusal::Untimely));
}

#[test]
fn issuer_and_audience_are_compared_exactly() {
    let keyring = keyring();
    let token = token(&keyring);
    let aimed = |issuer, audience| verify(&keyring, &token, issuer, audience, NOW).map(|_| ());
    assert_eq!(aimed(ISSUER, Some("https://api.example")), Ok(()));
    for (issuer, audience) in [
        ("https://assay.example/", None),
        ("HTTPS://assay.example", None),
        ("", None),
        (ISSUER, Some("https://api.example/")),
        (ISSUER, Some("")),
    ] {
        assert_eq!(aimed(issuer, audience), Err(TokenRefusal::WrongParty));
    }
}

#[test]
fn what_could_not_be_read_back_is_not_minted() {
    let keyring = keyring();
    let with_scope = |scope: &str| AccessClaims {
        scopes: [scope.to_owned()].into(),
        ..claims()
    };
    for scope in ["", "a b", "a\"", "a\\", "é", "a\n"] {
        let refused = mint(&keyring, &with_scope(scope)).unwrap_err();
        assert_eq!(refused, MintError::Scope, "{scope:?}");
    }
    let large = mint(&keyring, &with_scope(&"a".repeat(TOKEN_BYTES_MAX))).unwrap_err();
    assert_eq!(large, MintError::TooLarge);
    let over = AccessClaims {
        expires_at: claims().issued_at.after(Duration::from_millis(999)),
        ..claims()
    };
    assert_eq!(mint(&keyring, &over).unwrap_err(), MintError::Lifetime);
}
