//! Odd but genuine chains and the attacks that look like them: where tolerance ends.

use assay::attestation::android::{Facts, Provisioning, SecurityLevel};
use assay::attestation::status_list::StatusList;
use assay::attestation::{
    self, AndroidApp, AppIdentity, AttestKeys, Attested, Evidence, Expectation, Rejection, Trust,
};
use assay::policy::{self, AndroidPolicy, ApplePolicy, MissingRule, ProvisioningRule, TrustLevel};
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

/// 1.3.6.1.4.1.11129.2.1.29.1, which says that a virtual machine holds the key.
const VIRTUAL_MACHINE: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 29, 1];

/// A chain of the remote kind for a key that a virtual machine holds, extended by whoever runs it.
/// `authorities` is how many stand between the service and the root.
fn extended_virtual_machine(authorities: usize) -> Forge {
    let mut forge = remote(&genuine(), "TEE");
    let mut machine = Certificate::new(common_name("a virtual machine"), 6);
    machine.extensions = vec![extension(VIRTUAL_MACHINE, None, &sequence(&[]))];
    forge.certificates.insert(1, machine);
    forge.certificates.drain(3..5 - authorities);
    forge
}

#[test]
fn refuses_an_attestation_made_by_the_key_of_a_virtual_machine() {
    for authorities in [1, 2] {
        assert_eq!(
            refusal(&extended_virtual_machine(authorities)),
            (
                Reason::AttestationChainUntrusted,
                "attestation_position",
                Some(1)
            )
        );
    }
    // Without the extension that says so the length tells.
    let mut unnamed = extended_virtual_machine(2);
    unnamed.certificates[1].extensions.clear();
    let shape = (Reason::AttestationChainUntrusted, "shape", None);
    assert_eq!(refusal(&unnamed), shape);
    unnamed.root_sent = false;
    assert_eq!(refusal(&unnamed), shape);
    // Also where the authorities have names of the future.
    unnamed.certificates[4].subject = common_name("Some Authority");
    assert_eq!(refusal(&unnamed), shape);
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

/// The firmware of a secure element writes the issuer of its certificate where its subject belongs.
#[test]
fn accepts_a_leaf_that_names_the_wrong_issuer() {
    let mut forge = factory(&genuine().at_level(2, 2), Some("StrongBox"));
    forge.certificates[0].issuer = Some(forge.certificates[2].subject.clone());
    assert!(verify(&forge).is_ok());
    forge.certificates[1].issuer = Some(forge.certificates[3].subject.clone());
    assert_eq!(
        refusal(&forge),
        (Reason::AttestationChainUntrusted, "names", Some(1))
    );
}

fn policy_for(least: TrustLevel) -> AndroidPolicy {
    AndroidPolicy {
        security_level_min: least,
        self_signed_boot_keys: Vec::new(),
        os_version_min: 0,
        os_patch_level_min: 0,
        vendor_patch_level_min: 0,
        boot_patch_level_min: 0,
        provisioning: ProvisioningRule::Any,
    }
}

#[test]
fn a_secure_element_that_is_not_certified_as_one_counts_as_an_execution_environment() {
    let apple = ApplePolicy {
        validation_categories: std::collections::BTreeSet::new(),
        missing_category: MissingRule::Allowed,
    };
    let claimed = genuine().at_level(2, 2);
    for (title, level, strong) in [
        (None, SecurityLevel::TrustedEnvironment, false),
        (Some("StrongBox"), SecurityLevel::StrongBox, true),
    ] {
        let attested = verify(&factory(&claimed, title)).unwrap();
        assert_eq!(facts(&attested).security_level, level);
        let judge = |least| {
            policy::posture_checks(attested.facts(), &policy_for(least), &apple).all_passed()
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
fn refuses_repetition_that_is_no_part_of_a_set() {
    let boot = root_of_trust(&[7; 32], 0xff, 0, Some(&[8; 32]));
    let cases = [
        ("a flag twice", vec![(503, null())]),
        ("two roots of trust", vec![(704, boot)]),
        ("a set without end", vec![(5, integers(&[4; 32]))]),
        ("an unknown tag without end", vec![(900, null()); 128]),
    ];
    for (attack, more) in cases {
        let mut description = genuine();
        description.hardware.extend(more);
        let malformed = (Reason::EvidenceMalformed, "key_description", Some(0));
        assert_eq!(refusal(&remote(&description, "TEE")), malformed, "{attack}");
    }
}

#[test]
fn refuses_two_lists_that_name_different_apps() {
    let right = application(&[PACKAGE], &[&SIGNER]);
    let wrong = application(&["com.example.other"], &[&[9; 32]]);
    for (hardware, software) in [(&right, &wrong), (&wrong, &right)] {
        let mut description = genuine().with_application(software.clone());
        description.hardware.push((709, hardware.clone()));
        let app = (Reason::AttestationAppMismatch, "app", Some(0));
        assert_eq!(refusal(&remote(&description, "TEE")), app);
    }
    let mut both = genuine();
    both.hardware.push((709, right));
    assert!(verify(&remote(&both, "TEE")).is_ok());
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

const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];

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
