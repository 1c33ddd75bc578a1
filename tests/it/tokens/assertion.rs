//! Proofs that are App Attest assertions: made by the simulator, or signed by hand with one thing wrong.

use std::time::Duration;

use assay::attestation::AppleApp;
use assay::attestation::apple::Environment;
use assay::key::{PublicKey, Thumbprint, sha256};
use assay::policy::NonceRule;
use assay::proof::dpop::{APP_ATTEST_ALG, PROOF_BYTES_MAX, parse};
use assay::proof::{Body, Form, Freshness, ProofExpectation, ProofRefusal, VerifiedProof, nonce};
use assay::reason::Reason;
use assay::simulator::proof::Dpop;
use assay::simulator::{Authorities, Curve, SoftKey, apple};
use assay::token::keyring::Keyring;
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::json;

use super::support::{NOW, corruptions, keyring, respellings};

const URI: &str = "https://api.example/assay.v1.Service/Method";
const TEAM: &str = "ABCDE12345";
const BUNDLE: &str = "com.example.bank";

fn app() -> AppleApp {
    AppleApp {
        team_id: TEAM.to_owned(),
        bundle_id: BUNDLE.to_owned(),
        environment: Environment::Production,
    }
}

fn phone(extensions: Option<apple::Extensions>) -> apple::Phone {
    let options = apple::Options {
        extensions,
        ..apple::Options::well_kept(TEAM, BUNDLE, apple::Environment::Production)
    };
    let authorities = Authorities::generate(NOW).unwrap();
    let phone = apple::Phone::new(&authorities, options).unwrap();
    phone.without_session_key()
}

fn check_for(
    proof: &str,
    keyring: &Keyring,
    (app, key): (Option<&AppleApp>, Option<Thumbprint>),
) -> Result<VerifiedProof, ProofRefusal> {
    let uris = [URI.parse().unwrap()];
    let expect = ProofExpectation {
        method: "POST",
        uris: &uris,
        key,
        access_token: None,
        body: Body::Unknown,
        freshness: Freshness {
            rule: NonceRule::Optional,
            keyring,
            iat_window: Duration::from_secs(60),
        },
        app_attest: app,
    };
    parse(proof)?.verify(&expect, NOW)
}

fn check(proof: &str) -> Result<VerifiedProof, ProofRefusal> {
    check_for(proof, &keyring(), (Some(&app()), None))
}

fn refused(proof: &str) -> ProofRefusal {
    let refusal = check(proof).expect_err(proof);
    assert_eq!(refusal.reason(), Reason::ProofInvalid, "{refusal}");
    refusal
}

/// An assertion proof made by hand, genuine until something is changed.
struct Made {
    key: SoftKey,
    alg: &'static str,
    app_id: String,
    flags: u8,
    counter: u32,
    /// What is behind the counter.
    tail: Vec<u8>,
    /// What is asserted for header and payload.
    hashed: fn(&str) -> [u8; 32],
    /// What is signed for authenticator data and hash.
    signed: fn(&[u8], &[u8]) -> Vec<u8>,
    /// What is done to the object.
    changed: fn(Vec<u8>) -> Vec<u8>,
}

fn made() -> Made {
    Made {
        key: SoftKey::generate(Curve::P256).unwrap(),
        alg: APP_ATTEST_ALG,
        app_id: format!("{TEAM}.{BUNDLE}"),
        flags: 0x40,
        counter: 7,
        tail: Vec::new(),
        hashed: |input| sha256(input.as_bytes()),
        signed: |data, hash| sha256(&[data, hash].concat()).to_vec(),
        changed: |object| object,
    }
}

impl Made {
    fn input(&self) -> String {
        let key = PublicKey::from_sec1(self.key.public_point()).unwrap();
        let jwk: serde_json::Value = serde_json::from_str(&key.jwk()).unwrap();
        let header = json!({"typ": "dpop+jwt", "alg": self.alg, "jwk": jwk});
        let claims = json!({"jti": "a-1", "htm": "POST", "htu": URI, "iat": NOW.as_secs()});
        let part = |json: serde_json::Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        format!("{}.{}", part(header), part(claims))
    }

    fn object(&self, input: &str) -> Vec<u8> {
        let mut data = sha256(self.app_id.as_bytes()).to_vec();
        data.push(self.flags);
        data.extend(self.counter.to_be_bytes());
        data.extend(&self.tail);
        let message = (self.signed)(&data, &(self.hashed)(input));
        let signature = self.key.sign_der(&message).unwrap();
        let bytes = |content: &[u8]| {
            let length = u8::try_from(content.len()).unwrap();
            [&[0x58, length], content].concat()
        };
        let mut object = vec![0xa2, 0x69];
        object.extend(b"signature");
        object.extend(bytes(&signature));
        object.push(0x71);
        object.extend(b"authenticatorData");
        object.extend(bytes(&data));
        (self.changed)(object)
    }

    fn proof(&self) -> String {
        let input = self.input();
        let object = self.object(&input);
        format!("{input}.{}", BASE64URL_NOPAD.encode(&object))
    }
}

#[test]
fn what_a_phone_without_a_session_key_makes_is_accepted_with_its_counter() {
    let extensions = apple::Extensions {
        validation_category: 4,
        bundle_version: "1.2".to_owned(),
        flagged: true,
    };
    for extensions in [None, Some(extensions)] {
        let phone = phone(extensions);
        let key = PublicKey::from_sec1(phone.app_attest_key().public_point()).unwrap();
        for counter in 1..4 {
            let dpop = Dpop::new("POST", URI, NOW).unwrap().with_counter(900);
            let proof = phone.proof(&dpop).unwrap();
            let verified = check(&proof).unwrap();
            assert_eq!(verified.form(), Form::AppAttest { counter });
            assert_eq!(verified.key(), &key);
            // Said by the app, and so no more than said.
            assert_eq!(verified.counter(), Some(900));
        }
    }
}

/// Which check refuses, what is wrong, and how it comes to be.
type Row = (&'static str, &'static str, fn(&mut Made));

const WRONG: &[Row] = &[
    ("app", "another app of the team", |made| {
        made.app_id = format!("{TEAM}.com.example.shop");
    }),
    ("app", "the app of another team", |made| {
        made.app_id = format!("ZZZZZ12345.{BUNDLE}");
    }),
    ("counter", "counter of 0", |made| made.counter = 0),
    ("signature", "asserted over the payload alone", |made| {
        made.hashed = |input| sha256(input.split('.').nth(1).unwrap().as_bytes());
    }),
    ("signature", "asserted over the hash of the hash", |made| {
        made.hashed = |input| sha256(&sha256(input.as_bytes()));
    }),
    (
        "signature",
        "asserted over the text without its point",
        |made| {
            made.hashed = |input| sha256(input.replace('.', "").as_bytes());
        },
    ),
    ("signature", "signed without a nonce", |made| {
        made.signed = |data, hash| [data, hash].concat();
    }),
    ("authenticator_data", "bytes behind the counter", |made| {
        made.tail = vec![0]
    }),
    (
        "authenticator_data",
        "two maps behind the counter",
        |made| {
            made.tail = vec![0xa0, 0xa0];
        },
    ),
    ("object", "cut short", |made| {
        made.changed = |mut object| {
            object.pop();
            object
        };
    }),
    ("object", "a byte behind the object", |made| {
        made.changed = |object| [object, vec![0]].concat();
    }),
    ("object", "nothing", |made| made.changed = |_| Vec::new()),
    ("object", "deep nesting", |made| {
        made.changed = |_| vec![0x81; 1000]
    }),
    ("object", "indefinite length", |made| {
        made.changed = |mut object| {
            object[0] = 0xbf;
            object.push(0xff);
            object
        };
    }),
    ("object", "64 bytes, as of ES256", |made| {
        made.changed = |_| vec![1; 64];
    }),
];

#[test]
fn what_is_made_by_hand_is_accepted_until_something_is_wrong() {
    assert!(check(&made().proof()).is_ok());
    for (failed, name, change) in WRONG {
        let mut made = made();
        change(&mut made);
        let refusal = ProofRefusal::BadAssertion(failed);
        assert_eq!(refused(&made.proof()), refusal, "{name}");
    }
}

#[test]
fn no_truncation_of_the_assertion_is_accepted() {
    let made = made();
    let input = made.input();
    let object = made.object(&input);
    for length in 0..object.len() {
        let part = BASE64URL_NOPAD.encode(&object[..length]);
        refused(&format!("{input}.{part}"));
    }
}

#[test]
fn no_corruption_is_accepted() {
    let proof = made().proof();
    let (keyring, app) = (keyring(), app());
    for bad in corruptions(&proof).iter().chain(&respellings(&proof)) {
        let outcome = check_for(bad, &keyring, (Some(&app), None));
        assert!(outcome.is_err(), "{bad}");
    }
}

#[test]
fn a_text_of_one_form_is_never_taken_for_the_other() {
    let key = || SoftKey::generate(Curve::P256).unwrap();
    // The same key and claims; the `alg` says the one, the third part is the other.
    let asserted = made();
    let es256 = Made {
        alg: "ES256",
        ..made()
    };
    assert_eq!(
        refused(&es256.proof()),
        ProofRefusal::Malformed("compact JWS")
    );
    let input = asserted.input();
    let signature = asserted.key.sign_fixed(input.as_bytes()).unwrap();
    let signed = format!("{input}.{}", BASE64URL_NOPAD.encode(&signature));
    assert_eq!(refused(&signed), ProofRefusal::BadAssertion("object"));
    // The `alg` is among what is signed, so it is not changed afterwards either.
    for (from, to) in [(APP_ATTEST_ALG, "ES256"), ("ES256", APP_ATTEST_ALG)] {
        let proof = if from == "ES256" {
            Dpop::new("POST", URI, NOW).unwrap().sign(&key()).unwrap()
        } else {
            made().proof()
        };
        assert!(check(&proof).is_ok());
        let (header, rest) = proof.split_once('.').unwrap();
        let header = BASE64URL_NOPAD.decode(header.as_bytes()).unwrap();
        let header = String::from_utf8(header).unwrap().replace(from, to);
        let changed = BASE64URL_NOPAD.encode(header.as_bytes());
        refused(&format!("{changed}.{rest}"));
    }
    // Nor is there a third form, or another spelling.
    for alg in [
        "none",
        "App-Attest",
        "assay.v1.App-Attest",
        "ES384",
        "apple-appattest",
        "",
    ] {
        let other = Made { alg, ..made() };
        assert_eq!(
            refused(&other.proof()),
            ProofRefusal::Malformed("typ or alg"),
            "{alg}"
        );
    }
}

#[test]
fn an_assertion_is_by_the_key_in_its_header_and_by_the_key_that_is_wanted() {
    // Another's public key over one's own assertion.
    let (mine, victim) = (made(), made());
    let input = victim.input();
    let object = mine.object(&input);
    let proof = format!("{input}.{}", BASE64URL_NOPAD.encode(&object));
    assert_eq!(refused(&proof), ProofRefusal::BadAssertion("signature"));
    let wanted = victim.key.thumbprint().parse().unwrap();
    let other = check_for(&mine.proof(), &keyring(), (Some(&app()), Some(wanted)));
    assert_eq!(other, Err(ProofRefusal::OtherKey));
}

#[test]
fn an_app_without_an_apple_side_takes_no_assertion() {
    let outcome = check_for(&made().proof(), &keyring(), (None, None));
    assert_eq!(outcome, Err(ProofRefusal::OtherForm));
    assert_eq!(ProofRefusal::OtherForm.reason(), Reason::ProofInvalid);
}

#[test]
fn an_assertion_that_vouches_is_no_proof_and_a_proof_vouches_for_nothing() {
    // The same bytes cannot be both: client data is a JSON object, and a proof's text never is.
    let input = made().input();
    assert!(assay::attestation::client_data::ClientData::parse(input.as_bytes()).is_none());
    let voucher = br#"{"purpose":"bind-key"}"#;
    let made = Made {
        hashed: |_| sha256(br#"{"purpose":"bind-key"}"#),
        ..made()
    };
    assert_eq!(
        refused(&made.proof()),
        ProofRefusal::BadAssertion("signature")
    );
    assert!(parse(std::str::from_utf8(voucher).unwrap()).is_err());
}

#[test]
fn a_proof_too_large_is_refused_before_it_is_read() {
    let made = Made {
        changed: |_| vec![0xa1; PROOF_BYTES_MAX],
        ..made()
    };
    assert_eq!(
        refused(&made.proof()),
        ProofRefusal::Malformed("compact JWS")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A phone whose clock is a day off in either direction, in either form.
    #[test]
    fn a_nonce_makes_any_clock_good_and_without_one_it_has_to_be_near(
        offset_secs in -86_400_i64..=86_400,
        by_assertion: bool,
    ) {
        let keyring = keyring();
        let app = app();
        let at = assay::time::Timestamp::from_secs(NOW.as_secs() + offset_secs);
        let nonce = nonce::mint(&keyring, NOW);
        let phone = phone(None);
        let key = SoftKey::generate(Curve::P256).unwrap();
        let sign = |dpop: &Dpop<'_>| if by_assertion {
            phone.proof(dpop).unwrap()
        } else {
            dpop.sign(&key).unwrap()
        };
        let check = |proof: &str| check_for(proof, &keyring, (Some(&app), None));
        let with = sign(&Dpop::new("POST", URI, at).unwrap().with_nonce(&nonce));
        prop_assert!(check(&with).is_ok());
        let without = sign(&Dpop::new("POST", URI, at).unwrap());
        // `NOW` is half a second behind the whole one.
        let near = (-59..=60).contains(&offset_secs);
        prop_assert_eq!(check(&without).is_ok(), near);
    }

    /// What remembers that a proof was used is asked to for as long as the proof would be accepted.
    #[test]
    fn assertions_are_acceptable_as_long_as_any_proof(
        minted_ago_ms in -60_000_i64..180_000,
    ) {
        let keyring = keyring();
        let minted = assay::time::Timestamp::from_millis(NOW.as_millis() - minted_ago_ms);
        let nonce = nonce::mint(&keyring, minted);
        let dpop = Dpop::new("POST", URI, NOW).unwrap().with_nonce(&nonce);
        let (asserted, signed) = (
            phone(None).proof(&dpop).unwrap(),
            dpop.sign(&SoftKey::generate(Curve::P256).unwrap()).unwrap(),
        );
        let until = |proof: &str| {
            let app = app();
            let verified = check_for(proof, &keyring, (Some(&app), None));
            verified.map(|verified| verified.acceptable_until())
        };
        prop_assert_eq!(until(&asserted), until(&signed));
    }
}

#[test]
fn the_steps_around_now_whose_nonces_are_good() {
    let keyring = keyring();
    let step = i64::try_from(nonce::STEP.as_millis()).unwrap();
    let begin = NOW.as_millis().div_euclid(step) * step;
    // The step a nonce is from, counted from the current one, and whether it is good in all of it.
    for (from, good) in [
        (-4, false),
        (-3, false),
        (-2, true),
        (-1, true),
        (0, true),
        (1, true),
        (2, false),
        (3, false),
    ] {
        for minted in [0, step - 1] {
            let minted = assay::time::Timestamp::from_millis(begin + from * step + minted);
            let nonce = nonce::mint(&keyring, minted);
            for now in [begin, begin + 1, begin + step - 1] {
                let now = assay::time::Timestamp::from_millis(now);
                let verified = nonce::verify(&keyring, &nonce, now);
                assert_eq!(verified.is_ok(), good, "step {from}");
            }
        }
    }
}
