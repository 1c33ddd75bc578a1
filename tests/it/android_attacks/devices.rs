//! Genuine phones that are not to be trusted, and keys that hardware does not vouch for.

use assay::policy::{ProvisioningRule, TrustLevel};

use super::*;

fn level(attestation: u8, key: u8) -> Forge {
    remote(&genuine().at_level(attestation, key), "TEE")
}

fn origin(value: u64) -> Forge {
    described(|d| *hardware(d, 702) = integer(value))
}

fn boot(locked: u8, state: u8) -> Forge {
    described(|d| *hardware(d, 704) = root_of_trust(&[7; 32], locked, state, Some(&[8; 32])))
}

fn allowing_boot_key(forge: Forge, key: [u8; 32]) -> Case {
    Case::from(forge).under(AndroidPolicy {
        self_signed_boot_keys: vec![key.to_vec()],
        ..AndroidPolicy::strict()
    })
}

/// With what the hardware states of one tag in the system's list only.
fn in_software_only(tag: u32) -> Forge {
    described(|d| {
        let value = hardware(d, tag).clone();
        d.hardware.retain(|(number, _)| *number != tag);
        d.software.push((tag, value));
    })
}

fn wanting_a_secure_element(forge: Forge) -> Case {
    Case::from(forge).under(AndroidPolicy {
        security_level_min: TrustLevel::StrongBox,
        ..AndroidPolicy::strict()
    })
}

/// A chain of a leaked key of the factory that the root has signed itself, which leaves room for a
/// certificate of one's own; that one says it is a secure element's.
fn promoted(genuine_title: Option<&str>) -> Forge {
    let mut forge = factory(&genuine().at_level(2, 2), genuine_title);
    forge.certificates[1] = Certificate::new(batch("aa09", Some("StrongBox")), 5);
    forge
}

/// The same with a leaked key that was provisioned remotely by a single authority.
fn promoted_remotely() -> Forge {
    let mut forge = remote(&genuine().at_level(2, 2), "TEE");
    forge.certificates.remove(2);
    let fake = Certificate::new(remote_key("bb09", "StrongBox"), 5);
    forge.certificates.insert(1, fake);
    forge
}

fn purposes(values: &[u64]) -> Forge {
    described(|d| *hardware(d, 1) = integers(values))
}

attacks! { GROUP, refuses_devices_and_keys_that_hardware_does_not_vouch_for;
    "software":
        SecurityLevelTooLow, "security_level", [0],
        |_| level(0, 0);
    "a software attestation of a hardware key":
        SecurityLevelTooLow, "security_level", [0],
        |_| level(0, 1);
    "a software key attested by hardware":
        SecurityLevelTooLow, "security_level", [0],
        |_| level(1, 0);
    "a secure element's attestation of another key":
        SecurityLevelTooLow, "security_level", [0],
        |_| level(2, 1);
    "a secure element's key attested by an execution environment":
        SecurityLevelTooLow, "security_level", [0],
        |_| level(1, 2);
    "a secure element under certificates of an execution environment, remote":
        SecurityLevelTooLow, "security_level_certified", [1],
        |_| level(2, 2);
    "a secure element under certificates of an execution environment, factory":
        SecurityLevelTooLow, "security_level_certified", [1],
        |_| factory(&genuine().at_level(2, 2), Some("TEE"));
    "an execution environment under certificates of a secure element":
        SecurityLevelTooLow, "security_level_certified", [1],
        |_| remote(&genuine(), "StrongBox");
    "a secure element that no certificate names, where one is wanted":
        SecurityLevelTooLow, "security_level_min", [0],
        |_| wanting_a_secure_element(factory(&genuine().at_level(2, 2), None));
    "an execution environment where a secure element is wanted":
        SecurityLevelTooLow, "security_level_min", [0],
        |_| wanting_a_secure_element(remote_with(|_| {}));
    "a secure element by the word of a certificate below an execution environment's":
        SecurityLevelTooLow, "security_level_min", [0],
        |_| wanting_a_secure_element(promoted(Some("TEE")));
    "a secure element by the word of a certificate below a nameless one":
        SecurityLevelTooLow, "security_level_min", [0],
        |_| wanting_a_secure_element(promoted(None));
    "a secure element by the word of a certificate below a remote execution environment's":
        SecurityLevelTooLow, "security_level_min", [0],
        |_| wanting_a_secure_element(promoted_remotely());
    "a factory key where remote provisioning is wanted":
        SecurityLevelTooLow, "provisioning", [],
        |_| Case::from(factory_with(|_| {})).under(AndroidPolicy {
            provisioning: ProvisioningRule::RemoteOnly,
            ..AndroidPolicy::strict()
        });
    "a derived key":
        AttestationKeyRejected, "key_origin", [0],
        |_| origin(1);
    "an imported key":
        AttestationKeyRejected, "key_origin", [0],
        |_| origin(2);
    "a key of reserved origin":
        AttestationKeyRejected, "key_origin", [0],
        |_| origin(3);
    "a securely imported key":
        AttestationKeyRejected, "key_origin", [0],
        |_| origin(4);
    "no origin":
        AttestationKeyRejected, "key_origin", [0],
        |_| described(|d| d.hardware.retain(|(tag, _)| *tag != 702));
    "an origin by the system's word only":
        AttestationKeyRejected, "key_origin", [0],
        |_| in_software_only(702);
    "an imported key that the system calls generated":
        AttestationKeyRejected, "key_origin", [0],
        |_| described(|d| {
            *hardware(d, 702) = integer(2);
            d.software.push((702, integer(0)));
        });
    "the two lists swapped":
        AttestationKeyRejected, "key_origin", [0],
        |_| described(|d| std::mem::swap(&mut d.software, &mut d.hardware));
    "everything in the system's list":
        AttestationKeyRejected, "key_origin", [0],
        |_| described(|d| d.software.extend(std::mem::take(&mut d.hardware)));
    "no root of trust":
        BootStateRejected, "root_of_trust", [0],
        |_| described(|d| d.hardware.retain(|(tag, _)| *tag != 704));
    "a root of trust by the system's word only":
        BootStateRejected, "root_of_trust", [0],
        |_| in_software_only(704);
    "an unlocked device":
        BootStateRejected, "device_locked", [0],
        |_| boot(0, 2);
    "an unlocked device that claims verified boot":
        BootStateRejected, "device_locked", [0],
        |_| boot(0, 0);
    "an unlocked device that the system calls locked":
        BootStateRejected, "device_locked", [0],
        |_| described(|d| {
            *hardware(d, 704) = root_of_trust(&[0; 32], 0, 2, Some(&[8; 32]));
            d.software.push((704, root_of_trust(&[7; 32], 0xff, 0, Some(&[8; 32]))));
        });
    "a system signed by its owner":
        BootStateRejected, "verified_boot_state", [0],
        |_| boot(0xff, 1);
    "a system signed by another owner than is allowed":
        BootStateRejected, "verified_boot_state", [0],
        |_| allowing_boot_key(boot(0xff, 1), [9; 32]);
    "a system signed by an allowed owner on an unlocked device":
        BootStateRejected, "device_locked", [0],
        |_| allowing_boot_key(boot(0, 1), [7; 32]);
    "an unverified system":
        BootStateRejected, "verified_boot_state", [0],
        |_| boot(0xff, 2);
    "an unverified system that shows an allowed boot key":
        BootStateRejected, "verified_boot_state", [0],
        |_| allowing_boot_key(boot(0xff, 2), [7; 32]);
    "a system that failed verification":
        BootStateRejected, "verified_boot_state", [0],
        |_| boot(0xff, 3);
    "a patch level older than wanted":
        PostureBelowPolicy, "os_patch_level", [0],
        |_| Case::from(remote_with(|_| {})).under(AndroidPolicy {
            os_patch_level_min: 202_611,
            ..AndroidPolicy::strict()
        });
    "a patch level by the system's word only":
        PostureBelowPolicy, "os_patch_level", [0],
        |_| Case::from(in_software_only(706)).under(AndroidPolicy {
            os_patch_level_min: 202_001,
            ..AndroidPolicy::strict()
        });
    "an attest key as device key":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| purposes(&[7]);
    "a key that signs and attests":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| purposes(&[2, 7]);
    "a key that signs and attests, in two parts":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| described(|d| d.hardware.push((1, integers(&[7]))));
    "a key that signs and agrees on keys":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| purposes(&[2, 6]);
    "a key that does not sign":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| purposes(&[3]);
    "a key without purposes":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| purposes(&[]);
    "purposes by the system's word only":
        AttestationKeyRejected, "device_key_purpose", [0],
        |_| in_software_only(1);
    "a key that does not sign SHA-256":
        AttestationKeyRejected, "device_key_digest", [0],
        |_| described(|d| *hardware(d, 5) = integers(&[0, 2]));
    "digests by the system's word only":
        AttestationKeyRejected, "device_key_digest", [0],
        |_| in_software_only(5);
}

#[test]
fn a_system_signed_by_an_allowed_owner_is_accepted() {
    let verdict = allowing_boot_key(boot(0xff, 1), [7; 32]).verdict();
    assert!(verdict.is_ok(), "{verdict:?}");
}

#[test]
fn what_is_promoted_is_accepted_for_no_more_than_it_was() {
    for forge in [promoted(Some("TEE")), promoted(None), promoted_remotely()] {
        let verdict = Case::from(forge).verdict();
        assert!(verdict.is_ok(), "{verdict:?}");
    }
    let genuine = remote(&genuine().at_level(2, 2), "StrongBox");
    assert!(wanting_a_secure_element(genuine).verdict().is_ok());
}
