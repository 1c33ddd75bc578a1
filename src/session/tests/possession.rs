//! Which proofs a device's key makes.

use super::*;
use crate::attestation::AppleApp;
use crate::policy::Environment;
use crate::proof::Form;
use crate::simulator::{Authorities, apple};

const URI: &str = "https://assay.example/x";

/// A phone without a session key, and its device.
fn alone() -> (apple::Phone, Device) {
    let environment = apple::Environment::Production;
    let options = apple::Options::well_kept("ABCDE12345", "com.example.bank", environment);
    let authorities = Authorities::generate(now()).unwrap();
    let phone = apple::Phone::new(&authorities, options).unwrap();
    let phone = phone.without_session_key();
    let key = PublicKey::from_sec1(phone.app_attest_key().public_point()).unwrap();
    let device = Device {
        key,
        session_key: key.thumbprint(),
        posture: posture(),
        ..device()
    };
    (phone, device)
}

fn asserted(phone: &apple::Phone) -> VerifiedProof {
    let text = phone
        .proof(&Dpop::new("POST", URI, now()).unwrap())
        .unwrap();
    let app = AppleApp {
        team_id: "ABCDE12345".to_owned(),
        bundle_id: "com.example.bank".to_owned(),
        environment: Environment::Production,
    };
    let expected = ProofExpectation {
        method: "POST",
        uris: &[URI.parse().unwrap()],
        key: None,
        access_token: None,
        body: Body::Unknown,
        freshness: Freshness {
            rule: NonceRule::Optional,
            keyring: &KEYRING,
            iat_window: Duration::from_secs(60),
        },
        app_attest: Some(&app),
    };
    let proof = dpop::parse(&text).unwrap();
    proof.verify(&expected, now()).unwrap()
}

#[test]
fn an_app_attest_key_makes_assertions_and_nothing_else() {
    let (phone, device) = alone();
    let proof = asserted(&phone);
    assert_eq!(device.check_form(&proof, CounterOrder::Window), Ok(()));
    let signed = proof_by(phone.app_attest_key());
    let refusal = device.check_form(&signed, CounterOrder::Window);
    assert_eq!(refusal, refused(Reason::ProofInvalid));
    // A session key makes none either, and what others make is not judged here.
    let bound = Device {
        session_key: Thumbprint::from_bytes([9; 32]),
        ..alone().1
    };
    assert_eq!(bound.check_form(&proof, CounterOrder::Window), Ok(()));
    assert!(!bound.proves_by_assertions());
}

#[test]
fn what_vouched_counts_as_seen_also_where_the_store_has_forgotten() {
    let (phone, device) = alone();
    let proof = asserted(&phone);
    assert_eq!(proof.form(), Form::AppAttest { counter: 1 });
    for (vouched, in_window, in_order) in [
        (0, true, true),
        (1, false, false),
        (2, true, false),
        (64, true, false),
        (65, false, false),
        (u32::MAX, false, false),
    ] {
        let device = Device {
            assertion_counter: vouched,
            ..device.clone()
        };
        let said = |order| device.check_form(&proof, order);
        for (order, good) in [
            (CounterOrder::Window, in_window),
            (CounterOrder::Strict, in_order),
        ] {
            let wanted = if good {
                Ok(())
            } else {
                refused(Reason::ProofReplayed)
            };
            assert_eq!(said(order), wanted, "{vouched} {order:?}");
        }
    }
}
