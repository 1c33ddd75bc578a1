//! DPoP proofs and nonces.

use std::time::Duration;

use assay::key::{Thumbprint, sha256};
use assay::policy::NonceRule;
use assay::proof::dpop::{PROOF_BYTES_MAX, parse};
use assay::proof::{
    Body, Freshness, ProofExpectation, ProofRefusal, TargetUri, VerifiedProof, nonce,
};
use assay::reason::Reason;
use assay::time::Timestamp;
use assay::token::INSTANCE_SKEW_MAX;
use assay::token::keyring::Keyring;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{ClientKey, NOW, corruptions, keyring, respellings, rotation};

const URI: &str = "https://api.example/assay.v1.Service/Method";
const WINDOW: Duration = Duration::from_secs(300);
const STEP_MS: i64 = 60_000;

/// A request and what is wanted of its proof.
struct Request {
    keyring: Keyring,
    uris: Vec<TargetUri>,
    key: Option<Thumbprint>,
    token: Option<String>,
    body: Body,
    rule: NonceRule,
    now: Timestamp,
}

fn request() -> Request {
    Request {
        keyring: keyring(),
        uris: vec![URI.parse().unwrap()],
        key: None,
        token: None,
        body: Body::Unknown,
        rule: NonceRule::Optional,
        now: NOW,
    }
}

impl Request {
    fn check(&self, proof: &str) -> Result<VerifiedProof, ProofRefusal> {
        let expect = ProofExpectation {
            method: "POST",
            uris: &self.uris,
            key: self.key,
            access_token: self.token.as_deref(),
            body: self.body,
            freshness: Freshness {
                rule: self.rule,
                keyring: &self.keyring,
                iat_window: WINDOW,
            },
            app_attest: None,
        };
        parse(proof)?.verify(&expect, self.now)
    }

    fn reason(&self, proof: &str) -> Option<Reason> {
        self.check(proof).err().map(ProofRefusal::reason)
    }
}

fn claims() -> Value {
    json!({"jti": "a-1", "htm": "POST", "htu": URI, "iat": NOW.as_secs()})
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn header(key: &ClientKey) -> String {
    format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, key.jwk())
}

fn proof(key: &ClientKey, claims: &Value) -> String {
    key.sign(&header(key), &claims.to_string())
}

/// Made by a library that knows nothing of this service.
fn independent_proof(key: &ClientKey, claims: &Value) -> String {
    let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some("dpop+jwt".to_owned());
    header.jwk = Some(jwk);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&key.pkcs8)).unwrap()
}

#[test]
fn an_independently_made_proof_is_accepted() {
    let key = ClientKey::generate();
    let mut claims = claims();
    claims["ctr"] = 41.into();
    claims["htu"] = "HTTPS://API.example:443/assay.v1.Service/Method?x=1#y".into();
    claims["something_else"] = json!({"a": [1, null]});
    let verified = request().check(&independent_proof(&key, &claims)).unwrap();
    assert_eq!(verified.key(), &key.public);
    assert_eq!(verified.thumbprint(), &key.public.thumbprint());
    assert_eq!(verified.jti(), "a-1");
    assert_eq!(verified.counter(), Some(41));
    assert_eq!(verified.issued_at().as_secs(), NOW.as_secs());
}

#[test]
fn the_example_of_the_specification_is_read_and_verified() {
    // RFC 9449, 4.1: the proof of the token request.
    let example = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4",
        "dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09r",
        "X282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGk",
        "iOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV",
        "4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdr",
        "j8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
    );
    let request = Request {
        uris: vec!["https://server.example.com/token".parse().unwrap()],
        now: Timestamp::from_secs(1_562_262_616),
        ..request()
    };
    let verified = request.check(example).unwrap();
    assert_eq!(verified.jti(), "-BwC3ESc6acc2lTc");
    // RFC 9449, 6.1: the `jkt` of that key.
    assert_eq!(
        verified.thumbprint().to_string(),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
}

#[test]
fn no_corruption_is_accepted() {
    let request = request();
    let proof = proof(&ClientKey::generate(), &claims());
    let respelled = respellings(&proof);
    assert!(!respelled.is_empty());
    for bad in corruptions(&proof).iter().chain(&respelled) {
        assert!(request.check(bad).is_err(), "{bad}");
    }
}

#[test]
fn refuses_other_algorithms_and_types() {
    let key = ClientKey::generate();
    let head = header(&key);
    let body = claims().to_string();
    for (from, to) in [
        ("ES256", "none"),
        ("ES256", "HS256"),
        ("ES256", "ES384"),
        ("ES256", "es256"),
        ("dpop+jwt", "at+jwt"),
        ("dpop+jwt", "JWT"),
        ("dpop+jwt", "DPOP+JWT"),
        (r#""typ":"dpop+jwt","#, ""),
        (r#""alg":"ES256","#, ""),
        (r#""alg":"ES256""#, r#""alg":["ES256"]"#),
        ("{\"typ", "{\"crit\":[\"typ\"],\"typ"),
        ("{\"typ", "{\"typ\":\"dpop+jwt\",\"typ"),
    ] {
        let bad = key.sign(&head.replacen(from, to, 1), &body);
        assert_eq!(request().reason(&bad), Some(Reason::ProofInvalid), "{to}");
    }
    let unsigned = proof(&key, &claims());
    let (signed, _) = unsigned.rsplit_once('.').unwrap();
    assert!(request().check(&format!("{signed}.")).is_err());
    // HMAC under what everybody knows: the public key.
    let mut mac_header = Header::new(Algorithm::HS256);
    mac_header.typ = Some("dpop+jwt".to_owned());
    mac_header.jwk = Some(serde_json::from_value(key.jwk()).unwrap());
    let secret = EncodingKey::from_secret(key.public.as_bytes());
    let forged = jsonwebtoken::encode(&mac_header, &claims(), &secret).unwrap();
    assert!(request().check(&forged).is_err());
}

#[test]
fn refuses_keys_that_are_not_one_public_p256_point() {
    let key = ClientKey::generate();
    let (x, y) = key.public.jwk_coordinates();
    let zeros = BASE64URL_NOPAD.encode(&[0; 32]);
    let short = BASE64URL_NOPAD.encode(&[1; 31]);
    let long = BASE64URL_NOPAD.encode(&[0; 33]);
    let jwks = [
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "d": zeros}),
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "d": null}),
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "k": "AA"}),
        json!({"kty": "EC", "crv": "P-384", "x": x, "y": y}),
        json!({"kty": "EC", "crv": "secp256k1", "x": x, "y": y}),
        json!({"kty": "OKP", "crv": "P-256", "x": x, "y": y}),
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": x}),
        json!({"kty": "EC", "crv": "P-256", "x": zeros, "y": zeros}),
        json!({"kty": "EC", "crv": "P-256", "x": short, "y": y}),
        json!({"kty": "EC", "crv": "P-256", "x": long, "y": y}),
        json!({"kty": "EC", "crv": "P-256", "x": format!("{x}="), "y": y}),
        json!({"kty": "EC", "crv": "P-256", "x": x}),
        json!({"kty": "EC", "crv": "P-256", "x": 1, "y": 2}),
        json!({"kty": "oct", "k": zeros}),
        json!({}),
        json!([key.jwk()]),
        json!(null),
    ];
    for jwk in jwks {
        let head = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#);
        let refusal = request().check(&key.sign(&head, &claims().to_string()));
        assert_eq!(refusal, Err(ProofRefusal::Malformed("jwk")), "{jwk}");
    }
    let twice = header(&key).replace("\"kty\"", "\"kty\":\"EC\",\"kty\"");
    let refusal = request().check(&key.sign(&twice, &claims().to_string()));
    assert_eq!(refusal, Err(ProofRefusal::Malformed("compact JWS")));
    // Another's public key over one's own signature.
    let victim = ClientKey::generate();
    let refusal = request().check(&key.sign(&header(&victim), &claims().to_string()));
    assert_eq!(refusal, Err(ProofRefusal::BadSignature));
}

#[test]
fn required_claims_are_there_and_none_is_there_twice() {
    let key = ClientKey::generate();
    for name in ["jti", "htm", "htu", "iat"] {
        let mut bad = claims();
        bad.as_object_mut().unwrap().remove(name);
        let refusal = request().check(&proof(&key, &bad));
        assert_eq!(refusal, Err(ProofRefusal::Malformed(name)));
    }
    let twice = claims()
        .to_string()
        .replace("\"jti\"", "\"jti\":\"b\",\"jti\"");
    let refusal = request().check(&key.sign(&header(&key), &twice));
    assert_eq!(refusal, Err(ProofRefusal::Malformed("compact JWS")));
}

#[test]
fn every_claim_has_its_type_and_bounds() {
    let key = ClientKey::generate();
    let digits = "A".repeat(44);
    let padded = format!("{}=", "A".repeat(43));
    let table: [(&'static str, Value); 8] = [
        ("jti", json!(["", 1, null, "a b", "é", "a".repeat(129)])),
        ("htm", json!(["", ["POST"], "P".repeat(33)])),
        ("htu", json!(["", null, "/a", "https://u@api.example/"])),
        (
            "iat",
            json!(["1", -1, 1.5, 1e9, null, u64::MAX, 253_402_300_800_i64]),
        ),
        ("ctr", json!([-1, 4_294_967_296_u64, "1", null, 1.0])),
        ("ath", json!(["", null, "AA", digits, 1])),
        ("bsh", json!(["", null, "AA", padded])),
        ("nonce", json!(["", null, 1, "a".repeat(129), "a\n"])),
    ];
    for (name, values) in table {
        for value in values.as_array().unwrap() {
            let refusal = request().check(&proof(&key, &with(name, value.clone())));
            assert_eq!(refusal, Err(ProofRefusal::Malformed(name)), "{value}");
        }
    }
    let longest = proof(&key, &with("jti", "a".repeat(128)));
    assert!(request().check(&longest).is_ok());
    let counted = proof(&key, &with("ctr", u32::MAX));
    assert_eq!(request().check(&counted).unwrap().counter(), Some(u32::MAX));
}

/// The same proof with `n - s` for `s`, `n` being the order of the curve (SEC 2, 2.4.2).
fn with_other_signature_form(proof: &str) -> String {
    let order = data_encoding::HEXLOWER
        .decode(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        .unwrap();
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let mut signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let mut borrow = 0;
    for (s, n) in signature[32..].iter_mut().zip(&order).rev() {
        let difference = i16::from(*n) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *s = difference.rem_euclid(256) as u8;
    }
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

#[test]
fn the_other_form_of_a_signature_makes_no_new_proof() {
    let key = ClientKey::generate();
    let first = proof(&key, &claims());
    let second = with_other_signature_form(&first);
    assert_ne!(first, second);
    let id = |proof: &str| request().check(proof).unwrap().id();
    assert_eq!(id(&first), id(&second));
    assert_ne!(id(&first), id(&proof(&key, &with("jti", "a-2"))));
    assert_ne!(id(&first), id(&proof(&ClientKey::generate(), &claims())));
}

#[test]
fn a_proof_too_large_is_refused_before_it_is_read() {
    let key = ClientKey::generate();
    let large = proof(&key, &with("padding", "a".repeat(PROOF_BYTES_MAX)));
    assert_eq!(request().reason(&large), Some(Reason::ProofInvalid));
}

#[test]
fn an_access_token_is_no_proof() {
    let key = ClientKey::generate();
    let head = format!(
        r#"{{"typ":"at+jwt","alg":"ES256","kid":"x","jwk":{}}}"#,
        key.jwk()
    );
    let refusal = request().check(&key.sign(&head, &claims().to_string()));
    assert_eq!(refusal, Err(ProofRefusal::Malformed("typ or alg")));
}

#[test]
fn method_and_uri_have_to_be_those_of_the_request() {
    let key = ClientKey::generate();
    for (name, value, refusal) in [
        ("htm", "GET", ProofRefusal::OtherMethod),
        ("htm", "post", ProofRefusal::OtherMethod),
        ("htu", "https://api.example/other", ProofRefusal::OtherUri),
        (
            "htu",
            "http://api.example/assay.v1.Service/Method",
            ProofRefusal::OtherUri,
        ),
        (
            "htu",
            "https://api.example:8443/assay.v1.Service/Method",
            ProofRefusal::OtherUri,
        ),
    ] {
        let bad = proof(&key, &with(name, value));
        assert_eq!(request().check(&bad), Err(refusal));
        assert_eq!(refusal.reason(), Reason::ProofTargetMismatch);
    }
    let several = Request {
        uris: vec![
            "https://other.example/".parse().unwrap(),
            URI.parse().unwrap(),
        ],
        ..request()
    };
    assert!(several.check(&proof(&key, &claims())).is_ok());
    let none = Request {
        uris: Vec::new(),
        ..request()
    };
    assert_eq!(
        none.check(&proof(&key, &claims())),
        Err(ProofRefusal::OtherUri)
    );
}

#[test]
fn it_names_the_access_token_shown_with_it_and_no_other() {
    let key = ClientKey::generate();
    let digest = |token: &str| BASE64URL_NOPAD.encode(&sha256(token.as_bytes()));
    let showing = Request {
        token: Some("the token".to_owned()),
        ..request()
    };
    assert!(
        showing
            .check(&proof(&key, &with("ath", digest("the token"))))
            .is_ok()
    );
    let other = proof(&key, &with("ath", digest("another")));
    assert_eq!(showing.check(&other), Err(ProofRefusal::OtherToken));
    let unnamed = proof(&key, &claims());
    assert_eq!(showing.check(&unnamed), Err(ProofRefusal::OtherToken));
    assert_eq!(request().check(&other), Err(ProofRefusal::OtherToken));
}

#[test]
fn the_body_is_compared_where_it_is_known() {
    let key = ClientKey::generate();
    let body = sha256(b"body");
    let naming = |bytes: &[u8]| proof(&key, &with("bsh", BASE64URL_NOPAD.encode(&sha256(bytes))));
    let (same, other, silent) = (naming(b"body"), naming(b"else"), proof(&key, &claims()));
    for (wanted, same_ok, other_ok, silent_ok) in [
        (Body::Unknown, true, true, true),
        (Body::Digest(body), true, false, true),
        (Body::Bound(body), true, false, false),
    ] {
        let request = Request {
            body: wanted,
            ..request()
        };
        for (proof, ok) in [(&same, same_ok), (&other, other_ok), (&silent, silent_ok)] {
            let wanted = (!ok).then_some(Reason::ProofTargetMismatch);
            assert_eq!(request.reason(proof), wanted);
        }
    }
}

#[test]
fn it_has_to_be_made_with_the_wanted_key() {
    let key = ClientKey::generate();
    let wanting = |key: &ClientKey| Request {
        key: Some(key.public.thumbprint()),
        ..request()
    };
    let proof = proof(&key, &claims());
    assert!(wanting(&key).check(&proof).is_ok());
    let refusal = wanting(&ClientKey::generate()).check(&proof).unwrap_err();
    assert_eq!(refusal, ProofRefusal::OtherKey);
    assert_eq!(refusal.reason(), Reason::ProofKeyMismatch);
}

#[test]
fn without_a_nonce_the_time_has_to_be_near() {
    let key = ClientKey::generate();
    let at = |iat: i64| proof(&key, &with("iat", iat));
    let on_the_second = Request {
        now: Timestamp::from_secs(NOW.as_secs()),
        ..request()
    };
    let window = WINDOW.as_secs() as i64;
    for (offset, refused) in [
        (0, false),
        (-window, false),
        (window, false),
        (-window - 1, true),
        (window + 1, true),
        (-86_400, true),
        (86_400, true),
    ] {
        let wanted = refused.then_some(Reason::ProofStale);
        assert_eq!(
            on_the_second.reason(&at(NOW.as_secs() + offset)),
            wanted,
            "{offset}"
        );
    }
    assert_eq!(request().reason(&at(0)), Some(Reason::ProofStale));
    let required = Request {
        rule: NonceRule::Required,
        ..request()
    };
    assert_eq!(
        required.reason(&at(NOW.as_secs())),
        Some(Reason::ProofNonceRequired)
    );
}

#[test]
fn a_good_nonce_supersedes_a_wrong_clock() {
    let key = ClientKey::generate();
    for rule in [NonceRule::Required, NonceRule::Optional] {
        let request = Request { rule, ..request() };
        let nonce = nonce::mint(&request.keyring, NOW);
        for offset in [0, -86_400, 86_400, -NOW.as_secs()] {
            let mut claims = with("nonce", nonce.clone());
            claims["iat"] = (NOW.as_secs() + offset).into();
            assert_eq!(request.reason(&proof(&key, &claims)), None, "{offset}");
        }
    }
}

#[test]
fn a_bad_nonce_is_not_made_good_by_the_time() {
    let key = ClientKey::generate();
    let request = request();
    let good = nonce::mint(&request.keyring, NOW);
    assert_eq!(good.len(), nonce::NONCE_DIGITS);
    let foreign = nonce::mint(&keyring(), NOW);
    let old = nonce::mint(&request.keyring, NOW.before(Duration::from_secs(240)));
    let mut bad: Vec<String> = corruptions(&good);
    bad.extend(respellings(&good));
    bad.extend([foreign, old]);
    for nonce in bad {
        assert!(
            nonce::verify(&request.keyring, &nonce, NOW).is_err(),
            "{nonce:?}"
        );
        let is_text = !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic());
        if is_text {
            let refused = request.reason(&proof(&key, &with("nonce", nonce)));
            assert_eq!(refused, Some(Reason::ProofNonceStale));
        }
    }
}

#[test]
fn a_nonce_is_good_from_one_step_before_to_two_after() {
    let keyring = keyring();
    let step = NOW.as_millis().div_euclid(STEP_MS) * STEP_MS;
    for minted_at in [step, step + STEP_MS - 1] {
        let nonce = nonce::mint(&keyring, Timestamp::from_millis(minted_at));
        let good = |at| nonce::verify(&keyring, &nonce, Timestamp::from_millis(at));
        assert!(good(step - STEP_MS - 1).is_err());
        assert!(good(step - STEP_MS).is_ok());
        assert!(good(step + 3 * STEP_MS).is_err());
        let end = Timestamp::from_millis(step + 3 * STEP_MS);
        assert_eq!(good(step + 3 * STEP_MS - 1), Ok(end));
    }
}

#[test]
fn nonces_outlive_a_rotation_of_secrets() {
    let fleet = rotation();
    let old = nonce::mint(&fleet.before, NOW);
    assert!(nonce::verify(&fleet.during, &old, NOW).is_ok());
    assert!(nonce::verify(&fleet.after, &old, NOW).is_err());
}

#[test]
fn absurd_clocks_do_no_harm() {
    let keyring = keyring();
    for now in [i64::MIN, -1, 0, i64::MAX] {
        let now = Timestamp::from_millis(now);
        let nonce = nonce::mint(&keyring, now);
        assert!(nonce::verify(&keyring, &nonce, now).is_ok());
    }
}

#[test]
fn debug_does_not_show_the_proof() {
    let proof = proof(&ClientKey::generate(), &claims());
    let shown = format!("{:?}", parse(&proof).unwrap());
    assert!(proof.split('.').all(|part| !shown.contains(part)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A `jti` claim that is forgotten while its proof is still good lets it be replayed.
    #[test]
    fn a_proof_is_refused_by_every_clock_once_its_claim_may_be_forgotten(
        with_nonce: bool,
        minted_ago_ms in -30_000_i64..200_000,
        iat_off_secs in -400_i64..400,
        later_ms in 0_i64..1_000_000,
        skew_ms in 0_i64..=60_000,
    ) {
        let key = ClientKey::generate();
        let mut request = request();
        let mut claims = with("iat", NOW.as_secs() + iat_off_secs);
        if with_nonce {
            let at = Timestamp::from_millis(NOW.as_millis() - minted_ago_ms);
            claims["nonce"] = nonce::mint(&request.keyring, at).into();
        }
        let proof = proof(&key, &claims);
        if let Ok(first) = request.check(&proof) {
            let until = first.acceptable_until();
            prop_assert!(until > NOW);
            // Elsewhere, on a clock that is behind by as much as is allowed.
            request.now = Timestamp::from_millis(until.as_millis() + later_ms - skew_ms);
            prop_assert!(request.check(&proof).is_err());
            // The first moment counts most.
            request.now = until.before(INSTANCE_SKEW_MAX);
            prop_assert!(request.check(&proof).is_err());
            // And it does not remember for ever: without the margin it is exact.
            let last = until.before(INSTANCE_SKEW_MAX).as_millis() - 1;
            request.now = Timestamp::from_millis(last);
            prop_assert!(request.check(&proof).is_ok());
        }
    }

    #[test]
    fn arbitrary_json_is_refused_without_a_panic(
        header in "\\{[\"a-z:,\\[\\]{}0-9+\\\\]{0,80}\\}",
        payload in "\\{[\"a-z:,\\[\\]{}0-9+\\\\]{0,80}\\}",
    ) {
        let key = ClientKey::generate();
        prop_assert!(request().check(&key.sign(&header, &payload)).is_err());
    }
}
