//! What a verdict says besides its reason, and what is never decided here.

use assay::attestation::android::{ChainError, Facts, Origin, Provisioning, SecurityLevel};
use assay::attestation::{AttestedKey, Given, Outcome, Rejection};
use rcgen::KeyPair;

use super::*;

const UNTRUSTED: Reason = Reason::AttestationChainUntrusted;
const MALFORMED: Reason = Reason::EvidenceMalformed;

fn verify_with(forge: &Forge, roots: &Roots) -> Result<Attested, Box<Rejection>> {
    let list = StatusList::empty();
    let app = app();
    attestation::verify(
        &Evidence::Android(forge.chain()),
        Expectation {
            binding: CHALLENGE,
            app: &app,
            attest_keys: AttestKeys::Refuse,
        },
        Trust {
            roots,
            status_list: Some(&list),
            own_list: None,
        },
        now(),
    )
}

fn verify(forge: &Forge) -> Result<Attested, Box<Rejection>> {
    verify_with(forge, &forge.roots())
}

fn facts(attested: &Attested) -> &Facts {
    match attested.facts() {
        attestation::Facts::Android(facts) => facts,
        attestation::Facts::Apple(_) => panic!("Apple facts from Android evidence"),
    }
}

#[test]
fn an_empty_challenge_binds_nothing_even_when_it_is_expected() {
    let mut description = genuine();
    description.challenge.clear();
    let forge = remote(&description, "TEE");
    let (app, list) = (app(), StatusList::empty());
    let rejection = attestation::verify(
        &Evidence::Android(forge.chain()),
        Expectation {
            binding: b"",
            app: &app,
            attest_keys: AttestKeys::Refuse,
        },
        Trust {
            roots: &forge.roots(),
            status_list: Some(&list),
            own_list: None,
        },
        now(),
    )
    .unwrap_err();
    assert_eq!(rejection.reason, Reason::AttestationChallengeMismatch);
}

#[test]
fn what_is_not_given_is_not_checked_and_never_accepted() {
    let forge = remote(&genuine(), "TEE");
    let roots = forge.roots();
    let trust = Trust {
        roots: &roots,
        status_list: None,
        own_list: None,
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    let unchecked: Vec<&str> = examination
        .checks
        .as_slice()
        .iter()
        .filter(|check| check.outcome == Outcome::NotChecked)
        .map(|check| check.name)
        .collect();
    assert_eq!(unchecked, ["status_list", "challenge", "app"]);
    assert_eq!(examination.checks.rejection(), None);
    assert!(examination.into_attested().is_err());

    let app = app();
    let expectation = Expectation {
        binding: CHALLENGE,
        app: &app,
        attest_keys: AttestKeys::Refuse,
    };
    let rejection = attestation::verify(&evidence, expectation, trust, now()).unwrap_err();
    assert_eq!(rejection.reason, Reason::TrustListStale);
}

#[test]
fn everything_that_is_wrong_is_listed_and_the_first_gives_the_reason() {
    let mut description = genuine().at_level(0, 0).without_hardware(702);
    description.challenge.clear();
    let forge = remote(&description, "TEE");
    let (app, list) = (app(), StatusList::empty());
    let given = Given {
        binding: Some(CHALLENGE),
        app: Some(&app),
        attest_keys: AttestKeys::Refuse,
    };
    let roots = Roots::default();
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, given, trust, now());
    let failed: Vec<&str> = examination
        .checks
        .as_slice()
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Failed(_)))
        .map(|check| check.name)
        .collect();
    assert_eq!(
        failed,
        [
            "root",
            "security_level",
            "security_level_certified",
            "key_origin",
            "challenge"
        ]
    );
    assert_eq!(examination.checks.rejection().unwrap().reason, UNTRUSTED);
    assert_eq!(examination.certificates.len(), 5);
}

#[test]
fn an_unreadable_intermediate_still_lets_the_leaf_be_explained() {
    let mut der = remote(&genuine(), "TEE").der();
    der[2].pop();
    let roots = Roots::default();
    let trust = Trust {
        roots: &roots,
        status_list: None,
        own_list: None,
    };
    let evidence = Evidence::Android(Chain::from_der(der).unwrap());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    let rejection = examination.checks.rejection().unwrap();
    assert_eq!(
        (rejection.reason, rejection.certificate_index),
        (MALFORMED, Some(2))
    );
    let names: Vec<&str> = examination
        .checks
        .as_slice()
        .iter()
        .map(|c| c.name)
        .collect();
    assert!(names.contains(&"key_origin"), "{names:?}");
    assert_eq!(examination.certificates.len(), 2);
    assert_eq!(examination.facts, None);
}

#[test]
fn refuses_chains_beyond_their_bounds() {
    let cases: Vec<(Vec<Vec<u8>>, ChainError, Reason)> = vec![
        (Vec::new(), ChainError::Empty, MALFORMED),
        (
            vec![vec![0]; 7],
            ChainError::TooManyCertificates(7),
            Reason::EvidenceTooLarge,
        ),
        (
            vec![vec![0], vec![0; 8193]],
            ChainError::CertificateTooLarge {
                index: 1,
                bytes: 8193,
            },
            Reason::EvidenceTooLarge,
        ),
        (
            vec![vec![0; 8192]; 5],
            ChainError::TooLarge(5 * 8192),
            Reason::EvidenceTooLarge,
        ),
    ];
    for (certificates, error, reason) in cases {
        assert_eq!(Chain::from_der(certificates).unwrap_err(), error);
        assert_eq!(error.reason(), reason);
    }
    assert!(Chain::from_der(vec![vec![0; 8192]; 4]).is_ok());
    let long = "x".repeat(65_537);
    assert_eq!(
        Chain::from_pem(&long).unwrap_err(),
        ChainError::TextTooLarge(65_537)
    );
    assert_eq!(Chain::from_pem("x").unwrap_err(), ChainError::NotPem);
    assert_eq!(Chain::from_pem("").unwrap_err(), ChainError::Empty);
    assert_eq!(ChainError::NotPem.reason(), MALFORMED);
}

#[test]
fn says_what_a_genuine_chain_says() {
    let forge = remote(&genuine().at_level(2, 2), "StrongBox");
    let attested = verify(&forge).unwrap();
    let facts = facts(&attested);
    assert_eq!(facts.security_level, SecurityLevel::StrongBox);
    assert_eq!(facts.serials, ["1", "1001", "1002", "1003"]);
    assert_eq!(
        facts.provisioning,
        Provisioning::Remote {
            issued: Some(8),
            manufacturer: Some("Google".to_owned())
        }
    );
    let spki = |index: usize| {
        rcgen::PublicKeyData::subject_public_key_info(&forge.certificates[index].key)
    };
    assert_eq!(facts.attestation_key_sha256, assay::key::sha256(&spki(1)));
    assert_eq!(facts.root_key_sha256, assay::key::sha256(&spki(4)));
    let key = assay::key::PublicKey::from_spki_der(&spki(0)).unwrap();
    assert_eq!(attested.key(), &AttestedKey::P256(key));
    assert_eq!(attested.at(), now());
}

#[test]
fn a_key_of_another_kind_is_described_and_not_refused_here() {
    let mut forge = remote(&genuine(), "TEE");
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    forge.certificates[0].spki = Some(rcgen::PublicKeyData::subject_public_key_info(&key));
    let attested = verify(&forge).unwrap();
    assert_eq!(attested.key(), &AttestedKey::Other("EC P-384".to_owned()));
}

#[test]
fn the_app_decides_nothing_about_the_terminal() {
    let mut forge = remote(&genuine(), "TEE");
    forge.certificates[0].subject = common_name("\u{1b}[2Jhello");
    let list = StatusList::empty();
    let roots = forge.roots();
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, Given::default(), trust, now());
    let subject = &examination.certificates[0].subject;
    assert!(subject.contains("hello"), "{subject}");
    assert!(!subject.contains(char::is_control), "{subject}");
}

#[test]
fn finds_the_key_that_signed_among_two_of_one_name() {
    for root_sent in [true, false] {
        let mut forge = remote(&genuine(), "TEE");
        forge.root_sent = root_sent;
        let other = remote(&genuine(), "TEE").roots().android;
        let own = forge.roots().android;
        for android in [own.clone().and(other.clone()), other.and(own)] {
            let roots = Roots {
                android,
                ..Roots::default()
            };
            assert!(verify_with(&forge, &roots).is_ok(), "{root_sent}");
        }
    }
}

/// The signatures are right and the attestation is changed in one octet, as by a faulty encoder:
/// whatever is accepted still says what every device key has to say.
#[test]
fn a_faulty_attestation_is_refused_or_still_says_what_it_must() {
    let mut forge = remote(&genuine(), "TEE");
    let mut description = KeyDescription::complete();
    description.software.retain(|(tag, _)| *tag != 709);
    description
        .software
        .push((709, application(&[PACKAGE], &[&SIGNER])));
    let der = description.der();
    let (mut accepted, mut malformed) = (0, 0);
    for at in 0..der.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[at] ^= mask;
            forge.certificates[0].extensions[1] = extension(KEY_DESCRIPTION, None, &changed);
            match verify(&forge) {
                Ok(attested) => {
                    let description = &facts(&attested).key_description;
                    let hardware = &description.hardware_enforced;
                    assert_eq!(hardware.origin, Some(Origin::Generated), "octet {at}");
                    assert!(hardware.root_of_trust.is_some(), "octet {at}");
                    assert_eq!(description.attestation_challenge, CHALLENGE);
                    accepted += 1;
                }
                Err(rejection) => malformed += usize::from(rejection.reason == MALFORMED),
            }
        }
    }
    assert!(accepted > 100 && malformed > 100, "{accepted}, {malformed}");
    println!("{accepted} accepted, {malformed} malformed");
}

#[test]
fn the_keys_above_a_leaf_are_facts_in_the_order_of_their_serial_numbers() {
    for root_sent in [true, false] {
        let forge = remote_with(|f| f.root_sent = root_sent);
        let attested = verify(&forge).unwrap();
        let facts = facts(&attested);
        let key = |index: usize| assay::key::sha256(&forge.certificates[index].spki());
        assert_eq!(facts.issuer_keys, [key(1), key(2), key(3)]);
        assert_eq!(facts.serials[1..].len(), facts.issuer_keys.len());
        assert!(!facts.attest_key);
    }
}

/// Who holds an attestation key certifies another one with it for each device they make up.
#[test]
fn a_key_put_below_the_attestation_key_does_not_take_its_place() {
    let mut forge = remote_with(|_| {});
    let leaked = assay::key::sha256(&forge.certificates[1].spki());
    // One authority fewer, as some genuine chains have, leaves room for a key of the holder's.
    forge.certificates.remove(2);
    for name in [remote_key("bb02", "TEE"), droid_ca("Droid CA9")] {
        let mut below = remote_with(|_| {}).certificates.remove(1);
        below.subject = name;
        forge.certificates.insert(1, below);
        let attested = verify(&forge).unwrap();
        let own = assay::key::sha256(&forge.certificates[1].spki());
        assert_eq!(facts(&attested).issuer_keys[0], own);
        assert_eq!(facts(&attested).attestation_key_sha256, leaked);
        forge.certificates.remove(1);
    }
    let attested = verify(&forge).unwrap();
    assert_eq!(facts(&attested).attestation_key_sha256, leaked);
}

#[test]
fn a_factory_batch_is_told_by_its_own_key() {
    let forge = factory_with(|_| {});
    let batch = assay::key::sha256(&forge.certificates[1].spki());
    let attested = verify(&forge).unwrap();
    assert_eq!(facts(&attested).attestation_key_sha256, batch);
}

/// An app makes as many attest keys as it likes, so none of them stands for its phone.
#[test]
fn an_attest_key_is_told_and_is_not_the_attestation_key() {
    let forge = under_attest_key(remote_with(|_| {}), &KeyDescription::attest_key());
    let key = |index: usize| assay::key::sha256(&forge.certificates[index].spki());
    let wanted = (key(2), vec![key(1), key(2), key(3), key(4)]);
    let attested = Case::from(forge).allowing_attest_keys().verdict().unwrap();
    let facts = facts(&attested);
    assert!(facts.attest_key);
    assert_eq!(
        (facts.attestation_key_sha256, facts.issuer_keys.clone()),
        wanted
    );
    // The number of the attest key's certificate is the app's choice, too.
    assert_eq!(facts.serials, ["1", "1001", "1002", "1003"]);
    assert_eq!(facts.key_description.attestation_challenge, CHALLENGE);
    let names: Vec<&str> = attested
        .checks()
        .as_slice()
        .iter()
        .map(|c| c.name)
        .collect();
    assert!(names.contains(&"attest_key") && names.contains(&"attest_key_app"));
}

#[test]
fn what_an_attest_key_is_not_compared_with_is_not_accepted() {
    let forge = under_attest_key(remote_with(|_| {}), &KeyDescription::attest_key());
    let (roots, list) = (forge.roots(), StatusList::empty());
    let trust = Trust {
        roots: &roots,
        status_list: Some(&list),
        own_list: None,
    };
    let given = Given {
        attest_keys: AttestKeys::Allow,
        ..Given::default()
    };
    let evidence = Evidence::Android(forge.chain());
    let examination = attestation::examine(&evidence, given, trust, now());
    let unchecked = examination.checks.as_slice().iter();
    let unchecked: Vec<&str> = unchecked
        .filter(|check| check.outcome == Outcome::NotChecked)
        .map(|check| check.name)
        .collect();
    assert_eq!(unchecked, ["challenge", "app", "attest_key_app"]);
}

#[test]
fn the_operators_list_is_a_check_of_its_own_where_there_is_one() {
    let named = |attested: &Attested| {
        let checks = attested.checks().as_slice().to_vec();
        checks.iter().any(|check| check.name == "own_list")
    };
    let forge = remote_with(|_| {});
    assert!(!named(&verify(&forge).unwrap()));
    assert!(named(&Case::from(forge).verdict().unwrap()));
}
