//! Tokens, challenges and proofs: as they come, and with a genuine signature or MAC around what is
//! in them.

use std::sync::LazyLock;
use std::time::Duration;

use assay::attestation::AppleApp;
use assay::attestation::apple::Environment;
use assay::id::{AppId, Bucket, DeviceId, SessionId, Subject};
use assay::key::{PublicKey, Thumbprint, sha256};
use assay::key_directory::generate_files;
use assay::policy::{NonceRule, TrustLevel, UserPresence};
use assay::proof::{Body, Form, Freshness, ProofExpectation, TargetUri, dpop as proofs, nonce};
use assay::simulator::proof::Dpop;
use assay::simulator::{Curve, SoftKey};
use assay::token::Purpose;
use assay::token::access::{self as tokens, AccessClaims, Platform};
use assay::token::challenge::{
    self as challenges, ChallengeClaims, ChallengeExpectation, ChallengePurpose,
};
use assay::token::keyring::Keyring;
use assay::token::pem;
use assay::token::refresh::{self as refreshes, RefreshClaims};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::make::{NOW, joined, key, parts};

const URI: &str = "https://api.example/assay.v1.SessionService/IssueSession";
const TEAM: &str = "ABCDE12345";
const BUNDLE: &str = "com.example.bank";
const ISSUER: &str = "https://assay.example";
const AUDIENCE: &str = "https://api.example";

struct Service {
    keyring: Keyring,
    /// The keyring's own, to sign what the service would never sign.
    signing: SoftKey,
    device: SoftKey,
    public: PublicKey,
    uris: Vec<TargetUri>,
    apple: AppleApp,
    app: AppId,
    subject: Subject,
}

static SERVICE: LazyLock<Service> = LazyLock::new(|| {
    let files = generate_files(*NOW).unwrap();
    let (_, signing) = files
        .iter()
        .find(|(name, _)| name.starts_with("signing"))
        .unwrap();
    let signing = pem::decode(signing.expose(), "PRIVATE KEY").unwrap();
    let device = key();
    Service {
        keyring: Keyring::from_pem(&files).unwrap(),
        signing: SoftKey::from_pkcs8(Curve::P256, signing.expose()).unwrap(),
        public: PublicKey::from_sec1(device.public_point()).unwrap(),
        device,
        uris: vec![URI.parse().unwrap()],
        apple: AppleApp {
            team_id: TEAM.to_owned(),
            bundle_id: BUNDLE.to_owned(),
            environment: Environment::Production,
        },
        app: "bank".parse().unwrap(),
        subject: "user".parse().unwrap(),
    }
});

fn signed(key: &SoftKey, header: &[u8], payload: &[u8]) -> String {
    let mut text = BASE64URL_NOPAD.encode(header);
    text.push('.');
    BASE64URL_NOPAD.encode_append(payload, &mut text);
    let signature = key.sign_fixed(text.as_bytes()).unwrap();
    text.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut text);
    text
}

/// A part of a JWS by another reader.
fn part(text: &str, index: usize) -> Map<String, Value> {
    let part = text.split('.').nth(index).expect("three parts");
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
    let json: Value = serde_json::from_slice(&bytes).expect("JSON");
    json.as_object().expect("an object").clone()
}

/// Header and payload with an assertion of the device, whose counter and what is behind it are given.
fn asserted(key: &SoftKey, header: &[u8], payload: &[u8], behind: &[u8]) -> String {
    let mut text = BASE64URL_NOPAD.encode(header);
    text.push('.');
    BASE64URL_NOPAD.encode_append(payload, &mut text);
    let mut data = sha256(format!("{TEAM}.{BUNDLE}").as_bytes()).to_vec();
    data.push(0x40);
    data.extend(behind);
    let signed = sha256(&[&data[..], &sha256(text.as_bytes())].concat());
    let signature = key.sign_der(&signed).unwrap();
    let bytes = |content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
        match u8::try_from(length) {
            Ok(length) => [&[0x58, length], content].concat(),
            Err(_) => [&[0x59][..], &length.to_be_bytes(), content].concat(),
        }
    };
    let parts = [
        &[0xa2, 0x69][..],
        b"signature",
        &bytes(&signature),
        &[0x71],
        b"authenticatorData",
        &bytes(&data),
    ];
    text.push('.');
    BASE64URL_NOPAD.encode_append(&parts.concat(), &mut text);
    text
}

/// A proof as text, or header and payload with a signature or an assertion of the device.
fn proof_text(data: &[u8]) -> Option<String> {
    let (mode, rest) = data.split_first()?;
    if mode % 3 == 0 {
        return std::str::from_utf8(rest).ok().map(str::to_owned);
    }
    let pieces = parts(rest, 3);
    let (header, payload) = (pieces.first()?, pieces.get(1)?);
    // A key cannot be guessed: its name stands for it.
    let header = String::from_utf8_lossy(header).replace("$JWK", &jwk());
    let payload = String::from_utf8_lossy(payload).replace("$NONCE", &fresh_nonce());
    let (header, payload) = (header.as_bytes(), payload.as_bytes());
    let device = &SERVICE.device;
    Some(match pieces.get(2) {
        Some(behind) if mode % 3 == 2 => asserted(device, header, payload, behind),
        Some(_) | None => signed(device, header, payload),
    })
}

pub(crate) fn dpop(data: &[u8]) -> bool {
    let service = &*SERVICE;
    let Some(text) = proof_text(data) else {
        return false;
    };
    let Ok(proof) = proofs::parse(&text) else {
        assert!(proofs::parse(&text).is_err());
        return false;
    };
    let shown = format!("{proof:?}");
    assert!(shown.len() < 100 && !shown.contains(&text));
    for (rule, token) in [
        (NonceRule::Optional, None),
        (NonceRule::Required, None),
        (NonceRule::Optional, Some("token")),
    ] {
        let expect = ProofExpectation {
            method: "POST",
            uris: &service.uris,
            key: None,
            access_token: token,
            body: Body::Unknown,
            freshness: Freshness {
                rule,
                keyring: &service.keyring,
                iat_window: Duration::from_secs(60),
            },
            app_attest: Some(&service.apple),
        };
        let Ok(verified) = proof.clone().verify(&expect, *NOW) else {
            continue;
        };
        let (header, payload) = (part(&text, 0), part(&text, 1));
        match verified.form() {
            Form::Dpop => assert_eq!(header["alg"], "ES256"),
            Form::AppAttest { counter } => {
                assert_eq!(header["alg"], proofs::APP_ATTEST_ALG);
                assert!(counter > 0);
            }
        }
        assert_eq!(header["typ"], "dpop+jwt");
        let (x, y) = verified.key().jwk_coordinates();
        assert_eq!(
            (&header["jwk"]["x"], &header["jwk"]["y"]),
            (&x.into(), &y.into())
        );
        assert!(header["jwk"].get("d").is_none() && header.get("crit").is_none());
        assert_eq!(payload["htm"], "POST");
        assert_eq!(payload["jti"], verified.jti());
        assert_eq!(payload.contains_key("ath"), token.is_some());
        assert!(rule == NonceRule::Optional || payload.contains_key("nonce"));
        assert!(verified.acceptable_until() > *NOW);
        return true;
    }
    false
}

fn jwk() -> String {
    let (x, y) = SERVICE.public.jwk_coordinates();
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
}

fn fresh_nonce() -> String {
    nonce::mint(&SERVICE.keyring, *NOW)
}

pub(crate) fn dpop_seeds() -> Vec<Vec<u8>> {
    let header = r#"{"typ":"dpop+jwt","alg":"ES256","jwk":$JWK}"#;
    let iat = NOW.as_secs();
    let ath = BASE64URL_NOPAD.encode(&sha256(b"token"));
    let payloads = [
        format!(r#"{{"jti":"a","htm":"POST","htu":"{URI}","iat":{iat}}}"#),
        format!(r#"{{"jti":"a","htm":"POST","htu":"{URI}?a","iat":{iat},"ath":"{ath}","ctr":7}}"#),
        format!(
            r#"{{"jti":"a","htm":"POST","htu":"{URI}","iat":1,"nonce":"$NONCE","bsh":"{ath}"}}"#
        ),
        format!(r#"{{"jti":"a","jti":"b","htm":"POST","htu":"{URI}","iat":{iat}}}"#),
    ];
    let mut seeds: Vec<Vec<u8>> = payloads
        .iter()
        .map(|payload| [header.as_bytes().to_vec(), payload.clone().into_bytes()])
        .map(|both| [vec![1], joined(&both)].concat())
        .collect();
    let assertion = header.replace("ES256", proofs::APP_ATTEST_ALG);
    for behind in [
        &[0, 0, 0, 1][..],
        &[0; 4],
        &[0xff; 4],
        &[0, 0, 0, 1, 0xa0],
        &[0, 0, 0, 1, 0xa0, 0xa0],
    ] {
        let payload = payloads.first().map(String::as_bytes).unwrap_or_default();
        let all = [assertion.as_bytes(), payload, behind].map(<[u8]>::to_vec);
        seeds.push([vec![2], joined(&all)].concat());
    }
    let whole = Dpop::new("POST", URI, *NOW)
        .unwrap()
        .sign(&SERVICE.device)
        .unwrap();
    seeds.push([&[0], whole.as_bytes()].concat());
    seeds
}

/// A token as text, or header and payload with the service's own signature.
pub(crate) fn access(data: &[u8]) -> bool {
    let service = &*SERVICE;
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let keyring = &service.keyring;
    let text = if mode % 2 == 0 {
        let Ok(text) = std::str::from_utf8(rest) else {
            return false;
        };
        text.to_owned()
    } else {
        let pieces = parts(rest, 2);
        let (Some(header), Some(payload)) = (pieces.first(), pieces.get(1)) else {
            return false;
        };
        let kid = keyring.signing_kid().to_string();
        let header = String::from_utf8_lossy(header).replace("$KID", &kid);
        signed(&service.signing, header.as_bytes(), payload)
    };
    let verify = |text: &str| tokens::verify(keyring, text, ISSUER, Some(AUDIENCE), *NOW);
    let verified = verify(&text);
    assert_eq!(verified, verify(&text));
    let Ok(verified) = verified else {
        return false;
    };
    let claims = verified.claims();
    assert!(claims.expires_at > *NOW);
    let payload = part(&text, 1);
    assert_eq!(payload["iss"], ISSUER);
    assert_eq!(payload["aud"], AUDIENCE);
    assert_eq!(payload["sub"], claims.subject.expose());
    assert_eq!(payload["cnf"]["jkt"], claims.key.to_string());
    assert_eq!(part(&text, 0)["typ"], "at+jwt");
    // What is read can be written, and says the same.
    let again = tokens::mint(keyring, claims).expect("it fits");
    assert_eq!(verify(again.expose()).expect("our own").claims(), claims);
    true
}

fn ids() -> (SessionId, DeviceId, Thumbprint) {
    let bucket = Bucket::new(7).unwrap();
    (
        SessionId::new(bucket, [1; 16]),
        DeviceId::new(bucket, [2; 16]),
        Thumbprint::from_bytes([3; 32]),
    )
}

fn access_claims() -> AccessClaims {
    let (session, device, key) = ids();
    AccessClaims {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        subject: SERVICE.subject.clone(),
        app: SERVICE.app.clone(),
        token_id: [4; 16],
        issued_at: *NOW,
        expires_at: NOW.after(Duration::from_secs(300)),
        authenticated_at: Some(*NOW),
        acr: Some("2".to_owned()),
        amr: vec!["hwk".to_owned()],
        scopes: ["read", "write"].map(str::to_owned).into(),
        roles: vec!["admin".to_owned()],
        key,
        session,
        device,
        trust_level: TrustLevel::Tee,
        platform: Platform::Android,
        user_presence: UserPresence::None,
        generation: 0,
    }
}

pub(crate) fn access_seeds() -> Vec<Vec<u8>> {
    let whole = tokens::mint(&SERVICE.keyring, &access_claims()).unwrap();
    let payload = Value::Object(part(whole.expose(), 1)).to_string();
    let header = r#"{"typ":"at+jwt","alg":"ES256","kid":"$KID"}"#;
    let seed = |header: &str, payload: &str| {
        let both = [header, payload].map(|part| part.as_bytes().to_vec());
        [vec![1], joined(&both)].concat()
    };
    vec![
        seed(header, &payload),
        seed(header, &payload.replacen('{', "{\"nbf\":1,", 1)),
        seed(
            header,
            &payload.replacen('{', "{\"iat\":9223372036854775807,", 1),
        ),
        seed(&header.replace("at+jwt", "JWT"), &payload),
        [&[0], whole.expose().as_bytes()].concat(),
    ]
}

/// A token as text, or its content with the service's own MAC.
pub(crate) fn refresh(data: &[u8]) -> bool {
    let keyring = &SERVICE.keyring;
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let (_, _, key) = ids();
    let (tag, subkey) = keyring.secret(Purpose::RefreshToken);
    let text = if mode % 2 == 0 {
        let Ok(text) = std::str::from_utf8(rest) else {
            return false;
        };
        text.to_owned()
    } else {
        // The tag stands before the last eight bytes.
        let mut body = rest.to_vec();
        let end = body.len().saturating_sub(8);
        if let Some(place) = body
            .get_mut(end.saturating_sub(4)..end)
            .filter(|at| at.len() == 4)
        {
            place.copy_from_slice(tag.as_bytes());
        }
        let prefix = prefix();
        let mac = subkey.mac(&[prefix.as_bytes(), &body, key.as_bytes()]);
        format!(
            "{prefix}{}.{}",
            BASE64URL_NOPAD.encode(&body),
            BASE64URL_NOPAD.encode(&mac)
        )
    };
    let Ok(read) = refreshes::parse(&text) else {
        return false;
    };
    let shown = format!("{read:?}");
    let (_, mac) = text.rsplit_once('.').expect("read");
    assert!(!shown.contains(mac), "a token is shown");
    let other = Thumbprint::from_bytes([9; 32]);
    assert!(
        read.verify(keyring, &other, *NOW).is_err(),
        "taken without its key"
    );
    let Ok(verified) = read.verify(keyring, &key, *NOW) else {
        return false;
    };
    assert!(verified.claims().session_ends_at > *NOW);
    assert_eq!(verified.claims().session, read.claimed_session());
    // One token for one content: it is derived again where it is needed.
    let again = refreshes::mint(keyring, verified.claims(), &key, tag).expect("our own");
    assert_eq!(again.expose(), &text);
    true
}

fn refresh_token() -> String {
    let (session, device, key) = ids();
    let claims = RefreshClaims {
        session,
        device,
        subject: [5; 32],
        app: SERVICE.app.tag(),
        generation: 6,
        session_ends_at: NOW.after(Duration::from_secs(3600)),
    };
    let (tag, _) = SERVICE.keyring.secret(Purpose::RefreshToken);
    let token = refreshes::mint(&SERVICE.keyring, &claims, &key, tag).unwrap();
    token.expose().clone()
}

/// What stands before the content in every token.
fn prefix() -> String {
    let token = refresh_token();
    let (head, _) = token.rsplit_once('.').unwrap();
    head[..head.len() - 123].to_owned()
}

pub(crate) fn refresh_seeds() -> Vec<Vec<u8>> {
    let token = refresh_token();
    let (head, _) = token.rsplit_once('.').unwrap();
    let body = BASE64URL_NOPAD
        .decode(&head.as_bytes()[head.len() - 123..])
        .unwrap();
    vec![
        [&[1], &body[..]].concat(),
        [&[1], &body[1..]].concat(),
        [&[0], token.as_bytes()].concat(),
    ]
}

/// A challenge as it is, or its head with the service's own MAC, for the user or for anyone.
pub(crate) fn challenge(data: &[u8]) -> bool {
    const HEAD: usize = challenges::CHALLENGE_BYTES - 32;
    let service = &*SERVICE;
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let (tag, subkey) = service.keyring.secret(Purpose::Challenge);
    let bytes = if mode % 2 == 0 {
        rest.to_vec()
    } else {
        let mut head = rest.to_vec();
        head.truncate(HEAD);
        if let Some(place) = head.get_mut(HEAD - 4..HEAD) {
            place.copy_from_slice(tag.as_bytes());
        }
        let subject = if mode & 2 == 0 {
            ""
        } else {
            service.subject.expose()
        };
        let mac = subkey.mac(&[&head, service.app.as_str().as_bytes(), subject.as_bytes()]);
        [head, mac.to_vec()].concat()
    };
    let expect = |app, subject| ChallengeExpectation {
        purpose: ChallengePurpose::Register,
        app,
        subject,
    };
    let ours = expect(&service.app, &service.subject);
    let Ok(verified) = challenges::verify(&service.keyring, &bytes, &ours, *NOW) else {
        return false;
    };
    assert_eq!(bytes.len(), challenges::CHALLENGE_BYTES);
    assert_eq!(verified.id(), &sha256(&bytes));
    assert!(verified.expires_at() > *NOW);
    let other_app: AppId = "shop".parse().unwrap();
    let elsewhere = expect(&other_app, &service.subject);
    assert!(challenges::verify(&service.keyring, &bytes, &elsewhere, *NOW).is_err());
    let other: Subject = "another".parse().unwrap();
    let for_another = challenges::verify(
        &service.keyring,
        &bytes,
        &expect(&service.app, &other),
        *NOW,
    );
    assert_eq!(
        for_another.is_ok(),
        bytes[2] == 0,
        "bound to a subject or not"
    );
    let ended = challenges::verify(&service.keyring, &bytes, &ours, verified.expires_at());
    assert!(ended.is_err());
    true
}

pub(crate) fn challenge_seeds() -> Vec<Vec<u8>> {
    let service = &*SERVICE;
    let mint = |subject| {
        let claims = ChallengeClaims {
            purpose: ChallengePurpose::Register,
            app: &service.app,
            subject,
            expires_at: NOW.after(Duration::from_secs(300)),
        };
        challenges::mint(&service.keyring, &claims, [8; 16])
    };
    let (free, bound) = (mint(None), mint(Some(&service.subject)));
    vec![
        [&[0], &free[..]].concat(),
        [&[1], &free[..31]].concat(),
        [&[3], &bound[..31]].concat(),
        [&[1], &bound[..31]].concat(),
    ]
}
