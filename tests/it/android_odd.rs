//! Where tolerance for odd chains ends, and what is made of what it lets through.

use assay::attestation::android::{Facts, Provisioning, SecurityLevel};
use assay::attestation::status_list::StatusList;
use assay::attestation::{
    self, AndroidApp, AppIdentity, AttestKeys, Attested, Evidence, Expectation, Rejection, Trust,
};
use assay::policy::{self, AndroidPolicy, ApplePolicy, Posture, TrustLevel};
use assay::reason::Reason;
use assay::time::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};

use crate::android_forge::*;
use crate::apple_support::{self, Plan};

fn verify_at(forge: &Forge, at: Timestamp) -> Result<Attested, Box<Rejection>> {
    let list = StatusList::empty();
    let app = AppIdentity {
        android: Some(AndroidApp {
            package_name: PACKAGE.to_owned(),
            signing_certificate_sha256: vec![SIGNER],
            shared_uid_packages: Vec::new(),
        }),
        apple: None,
    };
    let roots = forge.roots();
    attestation::verify(
        &Evidence::Android(forge.chain()),
        Expectation {
            binding: CHALLENGE,
            app: &app,
            attest_keys: AttestKeys::Refuse,
        },
        Trust {
            roots: &roots,
            status_list: Some(&list),
            own_list: None,
        },
        at,
    )
}

fn verify(forge: &Forge) -> Result<Attested, Box<Rejection>> {
    verify_at(forge, now())
}

fn refusal(forge: &Forge) -> (Reason, &'static str, Option<usize>) {
    let rejection = verify(forge).unwrap_err();
    (
        rejection.reason,
        rejection.name,
        rejection.certificate_index,
    )
}

fn facts(attested: &Attested) -> &Facts {
    match attested.facts() {
        attestation::Facts::Android(facts) => facts,
        attestation::Facts::Apple(_) => panic!("Apple facts from Android evidence"),
    }
}

fn genuine() -> KeyDescription {
    KeyDescription::genuine()
}

#[test]
fn accepts_chains_that_are_shorter_than_usual() {
    let mut direct = factory(&genuine(), Some("TEE"));
    direct.certificates.remove(2);
    direct.certificates[1].not_after = time("20260524165259Z");
    let attested = verify(&direct).unwrap();
    assert_eq!(facts(&attested).provisioning, Provisioning::Factory);
    let mut one_authority = remote(&genuine(), "TEE");
    one_authority.certificates.remove(2);
    let attested = verify(&one_authority).unwrap();
    let provisioning = &facts(&attested).provisioning;
    assert!(matches!(provisioning, Provisioning::Remote { .. }));
    one_authority.certificates[2].not_after = time("20260524165259Z");
    assert_eq!(refusal(&one_authority).1, "dates");
}

fn policy_for(least: TrustLevel) -> AndroidPolicy {
    AndroidPolicy {
        security_level_min: least,
        ..AndroidPolicy::strict()
    }
}

#[test]
fn a_secure_element_that_is_not_certified_as_one_counts_as_an_execution_environment() {
    let apple = ApplePolicy::open();
    let claimed = genuine().at_level(2, 2);
    for (title, level, strong) in [
        (None, SecurityLevel::TrustedEnvironment, false),
        (Some("StrongBox"), SecurityLevel::StrongBox, true),
    ] {
        let attested = verify(&factory(&claimed, title)).unwrap();
        assert_eq!(facts(&attested).security_level, level);
        let judge = |least| {
            let posture = Posture::of(attested.facts());
            policy::posture_checks(&posture, &policy_for(least), &apple, attested.at()).all_passed()
        };
        assert!(judge(TrustLevel::Tee));
        assert_eq!(judge(TrustLevel::StrongBox), strong);
    }
    assert_eq!(
        refusal(&factory(&claimed, Some("TEE"))).1,
        "security_level_certified"
    );
}

#[test]
fn a_set_may_come_in_parts_and_all_of_them_count() {
    let mut description = genuine().with_hardware(1, integers(&[2]));
    description.hardware.push((5, integers(&[6])));
    description.hardware.push((1, integers(&[7])));
    let attested = verify(&remote(&description, "TEE")).unwrap();
    let hardware = &facts(&attested).key_description.hardware_enforced;
    assert_eq!(hardware.digests.as_deref(), Some(&[4, 6][..]));
    assert_eq!(hardware.purposes.as_deref(), Some(&[2, 7][..]));
    let judged = policy::device_key_checks(attested.facts(), attested.key());
    assert_eq!(judged.rejection().unwrap().name, "device_key_purpose");
}

#[test]
fn tags_without_a_name_may_come_in_parts_too() {
    let mut description = genuine();
    let part = |value| (900, integers(&[value]));
    description.hardware.extend([part(1), part(2)]);
    let attested = verify(&remote(&description, "TEE")).unwrap();
    let hardware = &facts(&attested).key_description.hardware_enforced;
    assert_eq!(hardware.unknown_tags, [900]);
}

#[test]
fn the_last_second_of_a_remote_certificate_counts_to_its_end() {
    let mut forge = remote(&genuine(), "TEE");
    forge.certificates[1].not_after = time("20261122000000Z");
    let at = |millis| Timestamp::from_millis(now().as_millis() + millis);
    assert!(verify_at(&forge, at(999)).is_ok());
    let rejection = verify_at(&forge, at(1000)).unwrap_err();
    assert_eq!(rejection.name, "dates");
}

/// Gives a certificate another key and the one below it the algorithm of that key.
fn rekey(forge: &mut Forge, index: usize, key: KeyPair, algorithm: &[u8]) {
    let named = crate::android_forge::algorithm(algorithm, algorithm == RSA_SHA256);
    forge.certificates[index].key = key;
    let last = forge.certificates.len() - 1;
    let signed = [index.checked_sub(1), (index == last).then_some(index)];
    for signed in signed.into_iter().flatten() {
        forge.certificates[signed].inner_algorithm = named.clone();
        forge.certificates[signed].outer_algorithm = named.clone();
    }
}

#[test]
fn accepts_every_mixture_of_keys_that_factories_use() {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
    let p384 = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut all_rsa = factory(&genuine(), None);
    rekey(&mut all_rsa, 0, rsa(RsaKeySize::_2048), RSA_SHA256);
    rekey(&mut all_rsa, 1, rsa(RsaKeySize::_2048), RSA_SHA256);
    rekey(&mut all_rsa, 2, rsa(RsaKeySize::_3072), RSA_SHA256);
    rekey(&mut all_rsa, 3, rsa(RsaKeySize::_4096), RSA_SHA256);
    assert!(verify(&all_rsa).is_ok());
    let mut mixed = factory(&genuine(), Some("TEE"));
    rekey(&mut mixed, 1, rsa(RsaKeySize::_2048), RSA_SHA256);
    rekey(&mut mixed, 2, p384(), ECDSA_SHA384);
    rekey(&mut mixed, 3, rsa(RsaKeySize::_4096), RSA_SHA256);
    assert!(verify(&mixed).is_ok());
}

#[test]
fn no_date_makes_the_verifier_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut forge = factory(&genuine(), Some("TEE"));
    let alphabet = b"0123459 Zz+-.,\0\xff";
    for round in 0..400_u64 {
        let length = usize::try_from(random() % 24).unwrap();
        let mut text = b"20261122235959Z".to_vec();
        text.resize(length, b'9');
        for _ in 0..random() % 4 {
            let at = usize::try_from(random()).unwrap_or(0) % length.max(1);
            let octet = alphabet[usize::try_from(random() % 16).unwrap()];
            if let Some(place) = text.get_mut(at) {
                *place = octet;
            }
        }
        let date = tlv(if round % 2 == 0 { 23 } else { 24 }, &text);
        forge.certificates[0].not_after = date.clone();
        assert!(verify(&forge).is_ok(), "{text:?}");
        forge.certificates[0].not_after = time("21060207062815Z");
        forge.certificates[2].not_after = date;
        if let Err(rejection) = verify(&forge) {
            assert_eq!(rejection.name, "dates");
        }
        forge.certificates[2].not_after = time("20260524165259Z");
    }
}

#[test]
fn a_field_of_another_form_does_not_hide_that_the_system_is_a_mac() {
    let platform = apple_support::tagged(1026, "macosx");
    for odd in [&[4, 1, 0][..], &[0xa0, 0], &[0x84, 2, 4, 0]] {
        let mut plan = Plan::genuine();
        let fields = apple_support::der(0x30, &[odd, &platform].concat());
        plan.leaf.custom_extensions[1] = apple_support::extension(7, fields);
        let refused = plan.verdict().unwrap_err();
        assert_eq!(refused, Reason::BootStateRejected, "{odd:02x?}");
    }
}
