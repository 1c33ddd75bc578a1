//! Keys in the header of a proof.

use assay::proof::dpop;
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use num_bigint::BigUint;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;

use super::curve::P256;
use super::ecdsa::signer;
use super::{Case, compare, fixed};

const CLAIMS: &str = r#"{"jti":"a","htm":"POST","htu":"https://a/","iat":1795320000}"#;

/// What signs, and `x` and `y` of its public key.
struct Signing(SigningKey, [Vec<u8>; 2]);

impl Signing {
    fn with(key: SigningKey) -> Self {
        let point = key.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let coordinates = [x.to_vec(), y.to_vec()];
        Self(key, coordinates)
    }

    /// A key whose `x` or `y` begins with a zero octet.
    fn with_zero(coordinate: usize) -> Self {
        (1_u32..)
            .map(|secret| fixed(&BigUint::from(secret), 32))
            .map(|secret| Self::with(SigningKey::from_slice(&secret).unwrap()))
            .find(|signing| signing.1[coordinate][0] == 0)
            .unwrap()
    }

    fn jwk(&self) -> String {
        let [x, y] = &self.1;
        jwk(x, y)
    }

    /// Whether our reader takes a proof with this in its header, and whether the other library does.
    fn case(&self, name: &str, wanted: bool, jwk: &str) -> Case {
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#);
        let mut text = BASE64URL_NOPAD.encode(header.as_bytes());
        text.push('.');
        BASE64URL_NOPAD.encode_append(CLAIMS.as_bytes(), &mut text);
        let signature: p256::ecdsa::Signature = self.0.sign(text.as_bytes());
        let signature = BASE64URL_NOPAD.encode(&signature.to_bytes());
        let theirs = serde_json::from_str::<Jwk>(jwk)
            .ok()
            .and_then(|jwk| DecodingKey::from_jwk(&jwk).ok())
            .is_some_and(|key| {
                jsonwebtoken::crypto::verify(&signature, text.as_bytes(), &key, Algorithm::ES256)
                    .unwrap_or(false)
            });
        let ours = dpop::parse(&format!("{text}.{signature}")).is_ok();
        Case {
            name: name.to_owned(),
            wanted,
            ours,
            theirs,
        }
    }
}

fn jwk(x: &[u8], y: &[u8]) -> String {
    let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
}

/// JWKs of this key that are not to be read, or that are no JWK.
fn refused(signing: &Signing) -> Vec<(&'static str, String)> {
    let good = signing.jwk();
    let [x, y] = &signing.1;
    let (x64, y64) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
    let d = BASE64URL_NOPAD.encode(&signing.0.to_bytes());
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let other = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed
    };
    let mut loose = x64.clone().into_bytes();
    // The last of 43 characters carries four bits: the other two have to be zero.
    let last = loose.last_mut().unwrap();
    *last += 1;
    let loose = String::from_utf8(loose).unwrap();
    let small = P256.point_from(1);
    let beyond = jwk(&fixed(&(small.0 + &P256.p), 32), &fixed(&small.1, 32));
    vec![
        ("private member d", with(&format!(r#""d":"{d}""#))),
        ("private member d of null", with(r#""d":null"#)),
        ("symmetric member k", with(r#""k":"AA""#)),
        ("kty twice", with(r#""kty":"EC""#)),
        ("x twice", with(&format!(r#""x":"{x64}""#))),
        (
            "x twice, once escaped",
            with(&format!(r#""\u0078":"{x64}""#)),
        ),
        ("an unknown member twice", with(r#""a":1,"a":2"#)),
        ("no kty", other(r#""kty":"EC","#, "")),
        ("no crv", other(r#""crv":"P-256","#, "")),
        ("no x", other(&format!(r#""x":"{x64}","#), "")),
        ("kty of another case", other(r#""EC""#, r#""ec""#)),
        ("kty OKP", other(r#""EC""#, r#""OKP""#)),
        ("kty RSA", other(r#""EC""#, r#""RSA""#)),
        ("crv P-384", other("P-256", "P-384")),
        ("crv secp256k1", other("P-256", "secp256k1")),
        ("crv of another case", other("P-256", "p-256")),
        ("crv by its other name", other("P-256", "prime256v1")),
        ("padding", other(&x64, &format!("{x64}="))),
        ("bits behind the last octet", other(&x64, &loose)),
        ("a space", other(&x64, &format!("{x64} "))),
        ("base64 with its padding", other(&x64, &BASE64.encode(x))),
        (
            "base64url with its padding",
            other(&x64, &BASE64URL.encode(x)),
        ),
        ("x of 31 octets", jwk(&x[1..], y)),
        ("x with a zero before it", jwk(&[&[0], &x[..]].concat(), y)),
        ("y with a zero behind it", jwk(x, &[&y[..], &[0]].concat())),
        ("x and y swapped", jwk(y, x)),
        ("x is a number", other(&format!("\"{x64}\""), "1")),
        ("x is null", other(&format!("\"{x64}\""), "null")),
        ("y is empty", other(&y64, "")),
        ("x beyond p", beyond),
        ("infinity", jwk(&[0; 32], &[0; 32])),
        ("off the curve", jwk(x, x)),
        ("an array", format!("[{good}]")),
        ("a text", "\"P-256\"".to_owned()),
        ("null", "null".to_owned()),
    ]
}

#[test]
fn a_jwk_is_one_public_point_written_in_one_way() {
    let signing = Signing::with(signer());
    let good = signing.jwk();
    let with = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    let x64 = BASE64URL_NOPAD.encode(&signing.1[0]);
    let escaped = format!("\\u{:04x}{}", u32::from(x64.as_bytes()[0]), &x64[1..]);
    let case = |name: &str, wanted: bool, jwk: &str| signing.case(name, wanted, jwk);
    let mut cases = vec![
        case("genuine", true, &good),
        case(
            "the first character escaped",
            true,
            &good.replace(&x64, &escaped),
        ),
        case(
            "kid, use and alg beside",
            true,
            &with(r#""kid":"1","use":"sig","alg":"ES256""#),
        ),
        case("an unknown member", true, &with(r#""x-vendor":{"a":[1]}"#)),
    ];
    cases.extend(
        refused(&signing)
            .iter()
            .map(|(name, jwk)| case(name, false, jwk)),
    );
    let private = "whoever sends a private key has given it away";
    compare(
        cases,
        &[
            ("private member d", private),
            ("private member d of null", private),
            ("symmetric member k", private),
            ("an unknown member twice", "two readers could see two keys"),
            (
                "crv P-384",
                "the point is on another curve than the key says",
            ),
        ],
    );
}

/// One key in 256 has a coordinate that begins with a zero; it has to stay (RFC 7518, 6.2.1.2).
#[test]
fn a_coordinate_keeps_its_leading_zero() {
    for coordinate in [0, 1] {
        let signing = Signing::with_zero(coordinate);
        let mut short = signing.1.clone();
        short[coordinate].remove(0);
        let cases = vec![
            signing.case("genuine", true, &signing.jwk()),
            signing.case("zero dropped", false, &jwk(&short[0], &short[1])),
        ];
        compare(cases, &[]);
    }
}
