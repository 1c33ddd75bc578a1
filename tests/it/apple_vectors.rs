//! Real App Attest objects: each gives its expected verdict and facts, and loses the verdict when
//! anything it was made for is something else.

use std::time::Duration;

use assay::attestation::apple::assertion::{self, Signer};
use assay::attestation::apple::receipt::ReceiptEvidence;
use assay::attestation::apple::{Attestation, Environment, Facts};
use assay::attestation::{
    AppIdentity, AppleApp, AttestedKey, Examination, Facts as AnyFacts, Given, Outcome,
};
use assay::key::{PublicKey, sha256};
use assay::reason::Reason;
use assay::time::Timestamp;
use serde_json::Value;

use crate::apple_support::{
    app_from, base64, built_in_roots, examine, facts_of, instant, real_vectors, text, verdict,
};

#[derive(Clone)]
struct Case {
    json: Value,
    object: Vec<u8>,
    key_id: Vec<u8>,
    client_data_hash: Vec<u8>,
    app: AppleApp,
    at: Timestamp,
}

fn attestations() -> Vec<Case> {
    real_vectors("attestation")
        .into_iter()
        .map(|json| Case {
            object: base64(&json["attestation"]),
            key_id: base64(&json["keyId"]),
            client_data_hash: base64(&json["clientDataHash"]),
            app: app_from(&json),
            at: instant(&json["verifyAt"]),
            json,
        })
        .collect()
}

impl Case {
    fn examine(&self) -> Examination {
        let evidence = Attestation::new(self.object.clone(), self.key_id.clone()).unwrap();
        let app = AppIdentity {
            android: None,
            apple: Some(self.app.clone()),
        };
        let given = Given {
            binding: Some(&self.client_data_hash),
            app: Some(&app),
            ..Given::default()
        };
        examine(evidence, given, &built_in_roots(), self.at)
    }

    fn verdict(&self) -> Result<(), Reason> {
        verdict(self.examine())
    }

    fn id(&self) -> &str {
        text(&self.json["id"])
    }
}

#[test]
fn every_real_attestation_is_accepted_with_its_facts() {
    let cases = attestations();
    for case in &cases {
        let (id, json) = (case.id(), &case.json);
        let examination = case.examine();
        let facts = facts_of(&examination);
        let key = examination.key.clone();
        let data_length = format!("{} bytes", json["authDataLen"]);
        let layout = examination.checks.as_slice().iter();
        let layout = layout
            .filter(|check| check.name == "authenticator_data")
            .map(|check| check.seen.clone());
        assert_eq!(layout.collect::<Vec<_>>(), [data_length], "{id}");
        assert_eq!(verdict(examination), Ok(()), "{id}");
        compare_key(case, key, &facts);
        compare_leaf(case, &facts);

        let app_id = text(&json["appId"]);
        assert_eq!(facts.app_id.as_deref(), Some(app_id), "{id}");
        assert_eq!(text(&json["oid_8_5"]["1204"]), app_id, "{id}");
        assert_eq!(facts.rp_id_hash, sha256(app_id.as_bytes()), "{id}");
        assert_eq!(facts.environment, Some(case.app.environment), "{id}");
        assert_eq!(facts.sign_count, 0, "{id}");
        let flags = json["flags"].as_u64().unwrap();
        assert_eq!(facts.extensions.announced, flags & 0x80 != 0, "{id}");
        let extensions = &json["authDataExtensions"];
        assert_eq!(
            facts.extensions.validation_category.map(u64::from),
            extensions["apple_validation_category_01"].as_u64(),
            "{id}"
        );
        assert_eq!(
            facts.extensions.bundle_version.as_deref(),
            extensions["apple_bundle_version_01"].as_str(),
            "{id}"
        );
    }
    println!("{} real attestations accepted", cases.len());
}

fn compare_key(case: &Case, key: Option<AttestedKey>, facts: &Facts) {
    let id = case.id();
    let Some(AttestedKey::P256(key)) = key else {
        panic!("{id}: not a P-256 key: {key:?}");
    };
    let point = base64(&case.json["publicKeyX963"]);
    assert_eq!(key.as_bytes().as_slice(), point, "{id}");
    assert_eq!(facts.key_id.as_slice(), case.key_id, "{id}");
    assert_eq!(sha256(&point).as_slice(), case.key_id, "{id}");
    let challenge = &case.json["challenge"];
    if challenge["form"] == "sha256(bytes)" {
        let hash = sha256(&base64(&challenge["bytes_b64"]));
        assert_eq!(hash.as_slice(), case.client_data_hash, "{id}");
    }
    let aaguid = match case.app.environment {
        Environment::Production => "appattest",
        Environment::Development => "appattestdevelop",
    };
    let written = text(&case.json["aaguid_ascii"]).trim_end_matches(['\0', ' ']);
    assert_eq!(written, aaguid, "{id}");
}

fn compare_leaf(case: &Case, facts: &Facts) {
    let (id, json) = (case.id(), &case.json);
    assert_eq!(
        facts.leaf_not_before,
        instant(&json["leafNotBefore"]),
        "{id}"
    );
    assert_eq!(facts.leaf_not_after, instant(&json["leafNotAfter"]), "{id}");
    let system = &json["oid_8_7"];
    assert_eq!(facts.os_version.as_deref(), system["1400"].as_str(), "{id}");
    assert_eq!(facts.os_build.as_deref(), system["1403"].as_str(), "{id}");
    assert_eq!(facts.platform.as_deref(), system["1026"].as_str(), "{id}");
    let blob = facts.acl_blob.as_deref();
    assert_eq!(
        blob.map(|blob| data_encoding::HEXLOWER.encode(blob))
            .as_deref(),
        json["oid_8_6_hex"].as_str(),
        "{id}"
    );
    assert_eq!(
        facts.intermediate_serial.as_deref(),
        Some("9bac5e1bc401ad9d45395bc381a0854"),
        "{id}"
    );
    let keys = json["attStmtKeys"].as_array().unwrap();
    let with_receipt = keys.iter().any(|key| key == "receipt");
    assert_eq!(facts.receipt.bytes().is_some(), with_receipt, "{id}");
    // Apple numbers leaves by the millisecond of their issue.
    let issued_at = i64::from_str_radix(&facts.leaf_serial, 16).unwrap();
    let creation = instant(&json["receipt"]["creation"]).as_millis();
    assert!((issued_at - creation).abs() <= 1000, "{id}");
}

#[test]
fn real_attestations_are_refused_for_anything_they_were_not_made_for() {
    for case in attestations() {
        let other = |change: fn(&mut Case)| {
            let mut changed = case.clone();
            change(&mut changed);
            changed.verdict()
        };
        let id = case.id();
        let not_after = instant(&case.json["leafNotAfter"]);
        let not_before = instant(&case.json["leafNotBefore"]);
        assert_eq!(
            other(|case| case.client_data_hash[0] ^= 1),
            Err(Reason::AttestationChallengeMismatch),
            "{id}"
        );
        assert_eq!(
            other(|case| case.client_data_hash.clear()),
            Err(Reason::AttestationChallengeMismatch),
            "{id}"
        );
        for change in [
            |case: &mut Case| case.app.bundle_id.push('x'),
            |case: &mut Case| case.app.team_id = "0123456789".to_owned(),
            |case: &mut Case| case.app.bundle_id.make_ascii_uppercase(),
        ] {
            assert_eq!(other(change), Err(Reason::AttestationAppMismatch), "{id}");
        }
        assert_eq!(
            other(|case| case.app.environment = match case.app.environment {
                Environment::Production => Environment::Development,
                Environment::Development => Environment::Production,
            }),
            Err(Reason::AttestationEnvironmentMismatch),
            "{id}"
        );
        assert_eq!(
            other(|case| case.key_id[31] ^= 1),
            Err(Reason::AttestationKeyRejected),
            "{id}"
        );
        let at = |at: Timestamp| Case { at, ..case.clone() }.verdict();
        let second = Duration::from_secs(1);
        assert_eq!(at(not_before), Ok(()), "{id}");
        assert_eq!(at(not_after), Ok(()), "{id}");
        for wrong in [
            not_before.before(second),
            not_after.after(second),
            not_after.after(Duration::from_secs(20 * 365 * 86_400)),
            Timestamp::EPOCH,
            Timestamp::from_millis(i64::MIN),
            Timestamp::from_millis(i64::MAX),
        ] {
            assert_eq!(
                at(wrong),
                Err(Reason::AttestationChainUntrusted),
                "{id} at {wrong}"
            );
        }
    }
}

#[test]
fn what_is_not_given_is_listed_and_never_accepted() {
    for case in attestations() {
        let evidence = Attestation::new(case.object.clone(), case.key_id.clone()).unwrap();
        let roots = built_in_roots();
        let examination = examine(evidence.clone(), Given::default(), &roots, case.at);
        let unchecked: Vec<_> = examination
            .checks
            .as_slice()
            .iter()
            .filter(|check| check.outcome != Outcome::Passed)
            .map(|check| (check.name, check.outcome))
            .collect();
        assert_eq!(
            unchecked,
            [
                ("challenge", Outcome::NotChecked),
                ("app", Outcome::NotChecked),
                ("environment", Outcome::NotChecked)
            ]
        );
        assert!(examination.into_attested().is_err());

        let android_only = AppIdentity::default();
        let given = Given {
            binding: Some(&case.client_data_hash),
            app: Some(&android_only),
            ..Given::default()
        };
        assert_eq!(
            verdict(examine(evidence, given, &roots, case.at)),
            Err(Reason::AttestationAppMismatch)
        );
    }
}

fn signer<'a>(key: &'a PublicKey, app: &'a AppleApp, counter_after: Option<u32>) -> Signer<'a> {
    Signer {
        key,
        app,
        counter_after,
    }
}

#[test]
fn every_real_assertion_is_accepted_once() {
    let vectors = real_vectors("assertion");
    for json in &vectors {
        let id = text(&json["id"]);
        let object = base64(&json["assertion"]);
        let hash = base64(&json["clientDataHash"]);
        assert_eq!(
            sha256(&base64(&json["clientData"])).as_slice(),
            hash,
            "{id}"
        );
        let key = crate::apple_support::key_from(&json["publicKeyX963"]);
        let app = app_from(json);
        let counter = u32::try_from(json["counter"].as_u64().unwrap()).unwrap();
        let outcome = |hash: &[u8], app: &AppleApp, after| {
            let examination = assertion::verify(&object, hash, &signer(&key, app, after));
            let verified = examination.into_verified();
            verified.map_err(|refused| refused.reason)
        };

        let verified = outcome(&hash, &app, Some(counter - 1)).unwrap();
        assert_eq!(verified.counter(), counter, "{id}");
        assert_eq!(verified.extensions(), &Default::default(), "{id}");
        assert!(json["extensions"].is_null(), "{id}: compare the extensions");

        for after in [counter, counter + 1, u32::MAX] {
            let replayed = outcome(&hash, &app, Some(after)).unwrap_err();
            assert_eq!(replayed, Reason::ProofReplayed, "{id}");
        }
        assert!(outcome(&hash, &app, None).is_err(), "{id}");
        let mut other_hash = hash.clone();
        other_hash[0] ^= 1;
        assert_eq!(
            outcome(&other_hash, &app, Some(0)).unwrap_err(),
            Reason::ProofInvalid,
            "{id}"
        );
        let other_app = AppleApp {
            bundle_id: "com.example.other".to_owned(),
            ..app.clone()
        };
        assert_eq!(
            outcome(&hash, &other_app, Some(0)).unwrap_err(),
            Reason::AttestationAppMismatch,
            "{id}"
        );
        for other in &vectors {
            let other_key = crate::apple_support::key_from(&other["publicKeyX963"]);
            if other_key == key {
                continue;
            }
            let examination = assertion::verify(&object, &hash, &signer(&other_key, &app, Some(0)));
            let refused = examination.into_verified().unwrap_err();
            assert_eq!(
                (refused.reason, refused.name),
                (Reason::ProofInvalid, "signature")
            );
        }
    }
    println!("{} real assertions accepted once", vectors.len());
}

#[test]
fn real_assertions_are_made_with_the_attested_key() {
    let attestations = attestations();
    let mut compared = 0;
    for json in real_vectors("assertion") {
        let Some(id) = json["attestationId"].as_str() else {
            continue;
        };
        let case = attestations.iter().find(|case| case.id() == id).unwrap();
        assert_eq!(case.json["publicKeyX963"], json["publicKeyX963"], "{id}");
        assert_eq!(case.json["appId"], json["appId"], "{id}");
        compared += 1;
    }
    assert!(compared > 0);
}

/// Where the receipt stands in an object: its key, and its content.
fn receipt_ranges(object: &[u8], receipt: &[u8]) -> [std::ops::Range<usize>; 2] {
    let find = |needle: &[u8]| {
        let mut found = object.windows(needle.len()).enumerate();
        let at = found.find(|(_, window)| *window == needle).unwrap().0;
        at..at + needle.len()
    };
    [find(b"receipt"), find(receipt)]
}

/// Every byte but the receipt's is signed or structure. A changed key `receipt` makes an unknown
/// key of it, which is skipped like any.
fn flip_every_byte(case: &Case) {
    let original = facts_of(&case.examine());
    let receipt = original.receipt.bytes().unwrap().to_vec();
    let [name, content] = receipt_ranges(&case.object, &receipt);
    let unsigned = Facts {
        receipt: ReceiptEvidence::Absent,
        ..original
    };
    let mut changed = case.clone();
    let mut accepted = 0;
    for index in 0..case.object.len() {
        // The receipt is long and decides nothing here: a few bytes of it will do.
        if content.contains(&index) && !index.is_multiple_of(16) {
            continue;
        }
        let mask = [0x01, 0xff][index % 2];
        changed.object[index] ^= mask;
        let examination = changed.examine();
        let facts = examination.facts.clone();
        let verdict = verdict(examination);
        changed.object[index] ^= mask;
        let in_name = name.contains(&index);
        if content.contains(&index) || (in_name && mask == 0x01) {
            assert_eq!(verdict, Ok(()), "{} byte {index} ^ {mask:#x}", case.id());
            let Some(AnyFacts::Apple(mut facts)) = facts else {
                panic!("accepted without facts");
            };
            assert_eq!(facts.receipt == ReceiptEvidence::Absent, in_name);
            facts.receipt = ReceiptEvidence::Absent;
            assert_eq!(*facts, unsigned, "{} byte {index} ^ {mask:#x}", case.id());
            accepted += 1;
        } else {
            assert!(verdict.is_err(), "{} byte {index} ^ {mask:#x}", case.id());
        }
    }
    assert!(accepted >= receipt.len() / 16, "{accepted}");
    for length in 0..case.object.len() {
        changed.object.truncate(0);
        changed.object.extend_from_slice(&case.object[..length]);
        assert_eq!(
            changed.verdict(),
            Err(Reason::EvidenceMalformed),
            "{} cut to {length}",
            case.id()
        );
    }
}

fn flip_the_one_named(id: &str) {
    let cases = attestations();
    flip_every_byte(cases.iter().find(|case| case.id() == id).unwrap());
}

#[test]
fn a_changed_byte_of_the_oldest_attestation_is_refused_or_is_the_receipts() {
    flip_the_one_named("veehaitch-ios14.0-3cf82b");
}

#[test]
fn a_changed_byte_of_the_newest_attestation_is_refused_or_is_the_receipts() {
    flip_the_one_named("a-sit-plus-ios17.5.1-c1888c");
}

#[test]
fn a_changed_byte_of_a_production_attestation_is_refused_or_is_the_receipts() {
    flip_the_one_named("a-sit-plus-ios16.2-15bbb8");
}

#[test]
fn a_changed_or_cut_assertion_is_refused() {
    for json in real_vectors("assertion") {
        let object = base64(&json["assertion"]);
        let hash = base64(&json["clientDataHash"]);
        let key = crate::apple_support::key_from(&json["publicKeyX963"]);
        let app = app_from(&json);
        let accepted = |object: &[u8]| {
            let examination = assertion::verify(object, &hash, &signer(&key, &app, Some(0)));
            examination.into_verified().is_ok()
        };
        assert!(accepted(&object));
        let mut changed = object.clone();
        for index in 0..object.len() {
            for mask in [0x01, 0xff] {
                changed[index] ^= mask;
                assert!(!accepted(&changed), "byte {index} ^ {mask:#x}");
                changed[index] ^= mask;
            }
            assert!(!accepted(&object[..index]), "cut to {index}");
        }
    }
}
