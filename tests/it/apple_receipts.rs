//! App Attest receipts: real ones, ones made under a test authority, and what is wrong with forged
//! ones.

use assay::attestation::apple::receipt::{
    self, Age, Kind, ReceiptExpectation, ReceiptFacts, ReceiptRefusal,
};
use assay::attestation::apple::{Environment, receipt::RECEIPT_BYTES_MAX};
use assay::attestation::roots::AppleRoots;
use assay::key::PublicKey;
use assay::time::Timestamp;

/// A receipt with everything it has to be.
#[derive(Clone)]
struct Case {
    receipt: Vec<u8>,
    app_id: String,
    key: PublicKey,
    client_data_hash: Vec<u8>,
    environment: Environment,
    kind: Kind,
    age: Age,
    roots: AppleRoots,
    now: Timestamp,
}

impl Case {
    fn verify(&self) -> Result<ReceiptFacts, ReceiptRefusal> {
        let expectation = ReceiptExpectation {
            app_id: &self.app_id,
            key: &self.key,
            client_data_hash: Some(&self.client_data_hash),
            environment: self.environment,
            kind: self.kind,
            age: self.age,
        };
        receipt::verify(&self.receipt, expectation, &self.roots, self.now)
    }

    /// The refusal after a change.
    fn refusal(&self, change: impl FnOnce(&mut Self)) -> ReceiptRefusal {
        let mut changed = self.clone();
        change(&mut changed);
        changed.verify().unwrap_err()
    }
}

mod real_devices {
    use std::time::Duration;

    use assay::attestation::apple::{Attestation, receipt::ReceiptEvidence};
    use assay::attestation::{AppIdentity, Facts, Given};
    use serde_json::Value;

    use super::*;
    use crate::apple_support::{
        app_from, base64, built_in_roots, examine, instant, key_from, real_vectors, text,
    };

    const DAY: Duration = Duration::from_secs(86_400);

    fn evidence(json: &Value, at: Timestamp) -> ReceiptEvidence {
        let object = base64(&json["attestation"]);
        let evidence = Attestation::new(object, base64(&json["keyId"])).unwrap();
        let app = AppIdentity {
            android: None,
            apple: Some(app_from(json)),
        };
        let hash = base64(&json["clientDataHash"]);
        let given = Given {
            binding: Some(&hash),
            app: Some(&app),
            ..Given::default()
        };
        match examine(evidence, given, &built_in_roots(), at).facts {
            Some(Facts::Apple(facts)) => facts.receipt,
            other => panic!("no Apple facts but {other:?}"),
        }
    }

    /// The receipt of each real attestation, as of its creation.
    fn cases() -> Vec<(Value, Case)> {
        let good = |(json, _): &(Value, Case)| json["receipt"]["chainValid"] == true;
        all_cases().into_iter().filter(good).collect()
    }

    fn all_cases() -> Vec<(Value, Case)> {
        let mut found = Vec::new();
        for json in real_vectors("attestation") {
            let now = instant(&json["receipt"]["creation"]);
            let evidence = evidence(&json, now);
            let Some(receipt) = evidence.bytes() else {
                continue;
            };
            let app = app_from(&json);
            let case = Case {
                receipt: receipt.to_vec(),
                app_id: format!("{}.{}", app.team_id, app.bundle_id),
                key: key_from(&json["publicKeyX963"]),
                client_data_hash: base64(&json["clientDataHash"]),
                environment: app.environment,
                kind: Kind::Attest,
                age: Age::Within(Duration::from_secs(300)),
                roots: AppleRoots::apple(),
                now,
            };
            found.push((json, case));
        }
        assert!(!found.is_empty());
        found
    }

    #[test]
    fn every_real_receipt_verifies_when_it_was_made_and_says_what_is_expected() {
        let cases = all_cases();
        for (json, case) in &cases {
            let (id, said) = (text(&json["id"]), &json["receipt"]);
            assert_eq!(said["type"], "ATTEST", "{id}");
            if said["chainValid"] == false {
                let refused = case.verify().unwrap_err();
                assert!(
                    matches!(refused, ReceiptRefusal::Untrusted(_)),
                    "{id}: {refused}"
                );
                continue;
            }
            let facts = case.verify().unwrap_or_else(|why| panic!("{id}: {why}"));
            let expected = ReceiptFacts {
                kind: Kind::Attest,
                app_id: text(&json["appId"]).to_owned(),
                environment: Some(match text(&said["environment"]) {
                    "production" => Environment::Production,
                    "sandbox" => Environment::Development,
                    other => panic!("{id}: environment {other}"),
                }),
                created_at: instant(&said["creation"]),
                not_before: None,
                expires_at: instant(&said["expiration"]),
                risk_metric: None,
                unknown_fields: Vec::new(),
            };
            assert_eq!(facts, expected, "{id}");
            assert_eq!(facts.expires_at, facts.created_at.after(DAY * 90), "{id}");
            let of_examination = evidence(json, case.now);
            assert_eq!(of_examination.facts(), Some(&facts), "{id}");
        }
        println!("{} real receipts verified", cases.len());
    }

    /// The oldest ones are signed over the content although they have signed attributes.
    #[test]
    fn receipts_of_both_forms_are_among_them() {
        let with_attributes = |(json, _): &(Value, Case)| json["receipt"]["signedAttrs"].is_array();
        let cases = cases();
        let count = cases.iter().filter(|case| with_attributes(case)).count();
        assert!(0 < count && count < cases.len());
    }

    #[test]
    fn real_receipts_are_refused_for_anything_they_were_not_made_for() {
        for (json, case) in cases() {
            let id = text(&json["id"]);
            let other_key = PublicKey::from_jwk_coordinates(
                "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
                "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
            );
            let created_at = case.now;
            let (five, milli) = (Duration::from_secs(300), Duration::from_millis(1));
            let late = ReceiptRefusal::NotFresh(created_at);
            assert_eq!(
                [
                    case.refusal(|case| case.app_id.push('x')),
                    case.refusal(|case| case.app_id.make_ascii_uppercase()),
                    case.refusal(|case| case.key = other_key.unwrap()),
                    case.refusal(|case| case.client_data_hash[31] ^= 1),
                    case.refusal(|case| case.client_data_hash.clear()),
                    case.refusal(|case| case.kind = Kind::Receipt),
                    case.refusal(|case| case.environment = other(case.environment)),
                    case.refusal(|case| case.now = created_at.after(five).after(milli)),
                    case.refusal(|case| case.now = created_at.before(five).before(milli)),
                    case.refusal(|case| case.age = Age::Since(created_at.after(milli))),
                ],
                [
                    ReceiptRefusal::OtherApp,
                    ReceiptRefusal::OtherApp,
                    ReceiptRefusal::OtherKey,
                    ReceiptRefusal::OtherClientData,
                    ReceiptRefusal::OtherClientData,
                    ReceiptRefusal::OtherKind,
                    ReceiptRefusal::OtherEnvironment,
                    late.clone(),
                    late.clone(),
                    late,
                ],
                "{id}"
            );
            for now in [created_at.after(five), created_at.before(five)] {
                let at_the_edge = Case {
                    now,
                    ..case.clone()
                };
                assert!(at_the_edge.verify().is_ok(), "{id} at {now}");
            }
        }
    }

    const fn other(environment: Environment) -> Environment {
        match environment {
            Environment::Production => Environment::Development,
            Environment::Development => Environment::Production,
        }
    }

    /// New evidence is judged for now, and every signer of these is over by now; a receipt that was
    /// kept since it came is judged for when it came.
    #[test]
    fn a_kept_receipt_outlives_its_signer_and_a_new_one_does_not() {
        for (json, case) in cases() {
            let id = text(&json["id"]);
            let later = case.now.after(DAY * 500);
            let kept = Case {
                now: later,
                age: Age::Kept,
                ..case.clone()
            };
            assert_eq!(kept.verify(), case.verify(), "{id}");
            let ahead = kept.refusal(|kept| kept.now = case.now.before(DAY));
            assert_eq!(ahead, ReceiptRefusal::NotFresh(case.now), "{id}");
            // So wide that the expiry of the receipt is what is met first; then the signer's.
            let wide =
                |now| case.refusal(|case| (case.now, case.age) = (now, Age::Within(DAY * 1000)));
            assert!(matches!(wide(later), ReceiptRefusal::Expired(_)), "{id}");
            let before_the_signer = case.now.before(DAY * 400);
            let refused = wide(before_the_signer);
            assert!(
                matches!(refused, ReceiptRefusal::Untrusted(_)),
                "{id}: {refused}"
            );
        }
    }

    #[test]
    fn real_receipts_lead_to_no_other_root() {
        for (json, case) in cases() {
            let id = text(&json["id"]);
            let refused = case.refusal(|case| case.roots = AppleRoots::default());
            assert!(matches!(refused, ReceiptRefusal::Untrusted(_)), "{id}");
        }
    }

    /// Whatever single byte is changed, a receipt is refused or says the very same.
    fn flip_every_byte(case: &Case) {
        let expected = case.verify().unwrap();
        let mut changed = case.clone();
        let mut unsigned = 0;
        for index in 0..case.receipt.len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                changed.receipt[index] ^= mask;
                if let Ok(facts) = changed.verify() {
                    assert_eq!(facts, expected, "byte {index} ^ {mask:#x}");
                    unsigned += 1;
                }
                changed.receipt[index] ^= mask;
            }
        }
        // The root that is sent along, and attributes where there are some.
        println!("{unsigned} changes of bytes that nothing rests on");
        assert!(unsigned < 4 * 1000);
        for length in 0..case.receipt.len() {
            changed.receipt = case.receipt[..length].to_vec();
            let refused = changed.verify().unwrap_err();
            assert!(matches!(refused, ReceiptRefusal::Malformed(_)), "{length}");
        }
        for more in [&[0_u8][..], &[0, 0], &[5, 0], &[0x30, 0x80, 0, 0]] {
            changed.receipt = [&case.receipt, more].concat();
            let refused = changed.verify().unwrap_err();
            assert!(matches!(refused, ReceiptRefusal::Malformed(_)), "{more:?}");
        }
    }

    #[test]
    fn a_changed_byte_of_the_oldest_receipt_changes_nothing_it_says() {
        flip_the_one_named("veehaitch-ios14.0-3cf82b");
    }

    #[test]
    fn a_changed_byte_of_a_newer_receipt_changes_nothing_it_says() {
        flip_the_one_named("a-sit-plus-ios17.5.1-c1888c");
    }

    fn flip_the_one_named(id: &str) {
        let cases = cases();
        let (_, case) = cases.iter().find(|(json, _)| json["id"] == id).unwrap();
        flip_every_byte(case);
    }

    #[test]
    fn a_receipt_of_another_real_device_is_not_taken_for_this_ones() {
        let cases = cases();
        let [(_, one), .., (_, other)] = cases.as_slice() else {
            panic!("two receipts are needed");
        };
        let refused = one.refusal(|case| case.receipt.clone_from(&other.receipt));
        assert_eq!(refused, ReceiptRefusal::OtherApp);
        assert!(one.receipt.len() < RECEIPT_BYTES_MAX);
    }
}
