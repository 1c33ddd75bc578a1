//! Access tokens as a resource server sees them that has never heard of Assay: RFC 9068 and the JWK
//! set; and the `WWW-Authenticate` header of every kind of "no".

use std::collections::HashSet;

use assay::grpc::proto;
use assay::simulator::apple;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::harness::{
    API, AUDIENCE, Clients, MEMORY, PUBLIC_URL, Phone, World, http_get, introspect, verify,
};
use super::refusals::ask;
use super::story::assert_no;

fn verified(token: &str, jwks: &str) -> (jsonwebtoken::Header, Value) {
    let keys: JwkSet = serde_json::from_str(jwks).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = keys.find(header.kid.as_ref().unwrap()).unwrap();
    let mut wanted = Validation::new(Algorithm::ES256);
    wanted.set_audience(&[AUDIENCE]);
    wanted.set_issuer(&[PUBLIC_URL]);
    wanted.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &key, &wanted)
        .unwrap()
        .claims;
    (header, claims)
}

#[tokio::test]
async fn a_foreign_library_verifies_the_access_token_against_both_key_sets() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let published = server
        .verification()
        .get_jwks(proto::GetJwksRequest {})
        .await;
    let published = published.unwrap().into_inner();
    assert!(published.cache_for.unwrap().seconds > 0);
    let (head, side) = http_get(&server, "/.well-known/jwks.json").await;
    assert!(head.contains("200"));
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parsed(&side), parsed(&published.jwks_json));

    let mut seen = HashSet::new();
    for (mut phone, platform) in [(world.android(), "android"), (world.iphone(), "apple")] {
        let device = phone.join(&server, "jwt@mail.test").await;
        let request = proto::IssueSessionRequest {
            scopes: vec!["read".to_owned(), "list".to_owned()],
            roles: vec!["owner".to_owned()],
            acr: "urn:example:gold".to_owned(),
            amr: vec!["pwd".to_owned(), "otp".to_owned()],
            auth_time: Some(prost_types::Timestamp {
                seconds: world.clock.now().as_secs() - 60,
                nanos: 0,
            }),
            ..phone.issuance(&device)
        };
        let grant = phone.send_issuance(&server, request).await.unwrap();
        let session = grant.session.clone().unwrap();
        let token = &grant.access_token;
        let (header, claims) = verified(token, &side);
        verified(token, &published.jwks_json);
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(header.alg, Algorithm::ES256);
        let now = world.clock.now().as_secs();
        let expected = json!({
            "iss": PUBLIC_URL, "aud": AUDIENCE, "sub": "jwt@mail.test", "client_id": "demo",
            "iat": now, "exp": grant.access_expire_time.unwrap().seconds, "auth_time": now - 60,
            "acr": "urn:example:gold", "amr": ["pwd", "otp"], "scope": "list read",
            "roles": ["owner"], "sid": session.session_id, "did": device.device_id,
            "cnf": { "jkt": device.session_key_thumbprint },
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&claims[name], value, "{platform} {name}");
        }
        assert_eq!(
            claims["cnf"]["jkt"],
            phone.device.session_key().unwrap().thumbprint()
        );
        let jti = claims["jti"].as_str().unwrap();
        assert!(jti.len() >= 16 && seen.insert(jti.to_owned()));
        let claims_again = introspect(&server, token).await.unwrap();
        assert_eq!(claims_again.jti, jti);
        assert_eq!((claims_again.iat, claims_again.auth_time), (now, now - 60));
        assert_eq!(claims_again.cnf_jkt, device.session_key_thumbprint);
        assert_eq!(claims_again.scope, "list read");

        let (_, next) = phone.refresh(&server, &grant.refresh_token).await.unwrap();
        let (_, next) = verified(&next.access_token, &side);
        assert_eq!(
            (&next["sid"], &next["auth_time"]),
            (&claims["sid"], &claims["auth_time"])
        );
        assert!(seen.insert(next["jti"].as_str().unwrap().to_owned()));
    }
    server.stop().await;
}

/// A call that is refused, by its reason and the header that goes with it.
#[track_caller]
fn assert_header(decision: &proto::Decision, reason: &str, header: &str) {
    assert_no(decision, reason);
    assert_eq!(decision.www_authenticate, header);
}

fn header(error: &str, reason: &str) -> String {
    format!("DPoP error=\"{error}\", error_description=\"{reason}\", algs=\"ES256\"")
}

#[tokio::test]
async fn every_kind_of_no_has_the_header_its_rfc_wants() {
    let world = World::new();
    let server = world.start(MEMORY).await;
    let options = apple::Options::well_kept(
        super::harness::TEAM,
        super::harness::PACKAGE,
        apple::Environment::Development,
    );
    let mut phone = world.iphone_with(options);
    let device = phone.join(&server, "www@mail.test").await;
    let grant = phone.issue(&server, &device).await.unwrap();
    let token = grant.access_token.as_str();

    // RFC 6750, 3.1: the token.
    let no = verify(&server, phone.call("not.a.token")).await.unwrap();
    assert_header(
        &no,
        "TOKEN_INVALID",
        &header("invalid_token", "TOKEN_INVALID"),
    );

    // RFC 9449, 7.1 and 9: the proof and its nonce.
    let get = ("GET", API);
    let mut thief = world.android();
    thief.join(&server, "thief@mail.test").await;
    let tail = token.len() / 2;
    for (proof, reason, error) in [
        ("garbage".to_owned(), "PROOF_INVALID", "invalid_dpop_proof"),
        (
            thief.proof_with(get, Some(token), |_| {}),
            "PROOF_KEY_MISMATCH",
            "invalid_dpop_proof",
        ),
        (
            phone.proof_with(("POST", API), Some(token), |_| {}),
            "PROOF_TARGET_MISMATCH",
            "invalid_dpop_proof",
        ),
        (
            phone.proof_with(get, Some(&token[..tail]), |_| {}),
            "PROOF_TARGET_MISMATCH",
            "invalid_dpop_proof",
        ),
        (
            phone.proof_with(get, None, |_| {}),
            "PROOF_TARGET_MISMATCH",
            "invalid_dpop_proof",
        ),
        (
            phone.proof_with(get, Some(token), |dpop| dpop.nonce = None),
            "PROOF_NONCE_REQUIRED",
            "use_dpop_nonce",
        ),
        (
            phone.proof_with(get, Some(token), |dpop| dpop.nonce = Some("old")),
            "PROOF_NONCE_STALE",
            "use_dpop_nonce",
        ),
    ] {
        let request = proto::VerifyRequestRequest {
            proof,
            ..phone.call(token)
        };
        let no = verify(&server, request).await.unwrap();
        assert_header(&no, reason, &header(error, reason));
    }
    covered_body(&server, &phone, token).await;
    requirements(&server, &phone, &grant).await;
    server.stop().await;
}

async fn covered_body(server: &Clients, phone: &Phone, token: &str) {
    let digest = [9; 32];
    let request = proto::VerifyRequestRequest {
        body_sha256: digest.to_vec(),
        ..phone.call(token)
    };
    let no = verify(server, request).await.unwrap();
    assert_no(&no, "PROOF_TARGET_MISMATCH");
    let request = proto::VerifyRequestRequest {
        body_sha256: digest.to_vec(),
        proof: phone.proof_with(("GET", API), Some(token), |d| d.body_sha256 = Some(digest)),
        ..phone.call(token)
    };
    assert!(verify(server, request).await.unwrap().allow);
}

/// RFC 6750, 3.1 and RFC 9470, 3: what the call needs.
async fn requirements(server: &Clients, phone: &Phone, grant: &proto::Grant) {
    let none = proto::Requirements::default;
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    for (required, reason, header) in [
        (
            proto::Requirements {
                scopes: words(&["read", "pay"]),
                ..none()
            },
            "SCOPE_NOT_ALLOWED",
            "DPoP error=\"insufficient_scope\", error_description=\"SCOPE_NOT_ALLOWED\", \
             scope=\"pay read\", algs=\"ES256\"",
        ),
        (
            proto::Requirements {
                acr_values: words(&["urn:gold", "urn:silver"]),
                max_age: Some(prost_types::Duration {
                    seconds: 300,
                    nanos: 0,
                }),
                ..none()
            },
            "STEP_UP_REQUIRED",
            "DPoP error=\"insufficient_user_authentication\", \
             error_description=\"STEP_UP_REQUIRED\", acr_values=\"urn:gold urn:silver\", \
             max_age=\"300\", algs=\"ES256\"",
        ),
        (
            proto::Requirements {
                min_trust_level: proto::TrustLevel::Strongbox.into(),
                ..none()
            },
            "TRUST_LEVEL_TOO_LOW",
            "DPoP error=\"insufficient_scope\", error_description=\"TRUST_LEVEL_TOO_LOW\", \
             algs=\"ES256\"",
        ),
        (
            proto::Requirements {
                audience: "https://other.test".to_owned(),
                ..none()
            },
            "TOKEN_INVALID",
            "DPoP error=\"invalid_token\", error_description=\"TOKEN_INVALID\", algs=\"ES256\"",
        ),
    ] {
        let no = ask(server, phone, grant, required).await;
        assert_header(&no, reason, header);
    }
}
