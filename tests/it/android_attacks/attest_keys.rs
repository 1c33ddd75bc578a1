//! Attest keys where they are refused, and what passes for one where they are allowed.

use super::*;

type Change = fn(&mut KeyDescription);

/// A remote chain whose leaf an attest key has signed, with one thing done to the attest key, sent to
/// an app that allows them.
fn attested_by(change: Change) -> Case {
    under(remote(&genuine(), "TEE"), change)
}

fn under(chain: Forge, change: Change) -> Case {
    allowed(chain, change, |_| {})
}

fn allowed(chain: Forge, change: Change, rearrange: fn(&mut Forge)) -> Case {
    let mut description = KeyDescription::attest_key();
    change(&mut description);
    let mut forge = under_attest_key(chain, &description);
    rearrange(&mut forge);
    Case::from(forge).allowing_attest_keys()
}

fn remote_chain() -> Forge {
    remote(&genuine(), "TEE")
}

fn factory_chain() -> Forge {
    factory(&genuine(), Some("TEE"))
}

fn nothing(_: &mut KeyDescription) {}

fn boot(locked: u8, state: u8, key: u8, hash: u8) -> Vec<u8> {
    root_of_trust(&[key; 32], locked, state, Some(&[hash; 32]))
}

fn app_of(description: &mut KeyDescription, packages: &[&str], digests: &[&[u8]]) {
    description.software[1].1 = application(packages, digests);
}

/// Without the attest key's own attestation, it is any key that signed a certificate.
fn unattested(forge: &mut Forge) {
    forge.certificates[1].extensions.truncate(1);
}

attacks! { GROUP, refuses_what_passes_for_an_attest_key;
    "a genuine attest key where they are refused, remote":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| under_attest_key(remote_with(|f| drop(f.certificates.remove(2))),
            &KeyDescription::attest_key());
    "a genuine attest key where they are refused, factory":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| under_attest_key(factory_chain(), &KeyDescription::attest_key());
    "a signing key in its place":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 1) = integers(&[2, 3]));
    "a signing key in its place, factory":
        AttestationChainUntrusted, "attest_key", [1],
        |_| under(factory_chain(), |d| *hardware(d, 1) = integers(&[2]));
    "a key that attests and signs":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 1) = integers(&[7, 2]));
    "a key that attests and signs, in two parts":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.hardware.push((1, integers(&[2]))));
    "a key that signs by the system's word":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.software.push((1, integers(&[2]))));
    "a key without purposes in its place":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 1) = integers(&[]));
    "a key whose purposes are not stated":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.hardware.retain(|(tag, _)| *tag != 1));
    "a key that attests by the system's word only":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| {
            d.hardware.retain(|(tag, _)| *tag != 1);
            d.software.push((1, integers(&[7])));
        });
    "an attest key of hardware that has none":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.version = 4);
    "an attest key of an older interface than its attestation":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.key_version = Some(41));
    "a software attest key":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| (d.attestation_level, d.key_level) = (0, 0));
    "a software attest key that hardware attests":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.key_level = 0);
    "an execution environment's attest key for a secure element's key":
        AttestationChainUntrusted, "attest_key", [1],
        |_| under(remote(&genuine().at_level(2, 2), "TEE"), nothing);
    "a secure element's attest key for an execution environment's key":
        AttestationChainUntrusted, "attest_key", [1],
        |_| under(remote(&genuine(), "StrongBox"),
            |d| (d.attestation_level, d.key_level) = (2, 2));
    "an imported attest key":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 702) = integer(2));
    "an attest key without origin":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.hardware.retain(|(tag, _)| *tag != 702));
    "an attest key without root of trust":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| d.hardware.retain(|(tag, _)| *tag != 704));
    "an attest key made while the device was unlocked":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 704) = boot(0, 2, 7, 8));
    "an attest key made under another boot key":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 704) = boot(0xff, 0, 6, 8));
    "an attest key made under another system":
        AttestationChainUntrusted, "attest_key", [1],
        |_| attested_by(|d| *hardware(d, 704) = boot(0xff, 0, 7, 9));
    "an attest key of a locked device for a key of an unlocked one":
        AttestationChainUntrusted, "attest_key", [1],
        |_| under(described(|d| *hardware(d, 704) = boot(0, 2, 7, 8)), nothing);
    "an attest key of an unlocked device for a key of its own":
        BootStateRejected, "device_locked", [0],
        |_| under(
            described(|d| *hardware(d, 704) = boot(0, 2, 7, 8)),
            |d| *hardware(d, 704) = boot(0, 2, 7, 8),
        );
    "an attest key of another app":
        AttestationAppMismatch, "attest_key_app", [1],
        |_| attested_by(|d| app_of(d, &["com.example.other"], &[&SIGNER]));
    "an attest key of a repackaged app":
        AttestationAppMismatch, "attest_key_app", [1],
        |_| attested_by(|d| app_of(d, &[PACKAGE], &[&[9; 32]]));
    "an attest key of a foreign package beside the right one":
        AttestationAppMismatch, "attest_key_app", [1],
        |_| attested_by(|d| app_of(d, &[PACKAGE, "com.example.other"], &[&SIGNER]));
    "an attest key of no app":
        AttestationAppMismatch, "attest_key_app", [1],
        |_| attested_by(|d| drop(d.software.pop()));
    "an attest key whose app hardware and system tell differently":
        AttestationAppMismatch, "attest_key_app", [1],
        |_| attested_by(|d| {
            d.hardware.push((709, application(&["com.example.other"], &[&SIGNER])));
        });
    "the attest key of the right app for a key of another":
        AttestationAppMismatch, "app", [0],
        |_| under(described(|d| app_of(d, &["com.example.other"], &[&SIGNER])), nothing);
    "an attest key whose attestation cannot be read":
        EvidenceMalformed, "attest_key", [1],
        |_| attested_by(|d| d.trailing = null());
    "an attest key attested by an attest key":
        AttestationChainUntrusted, "attestation_position", [2],
        |_| under(
            under_attest_key(factory_chain(), &KeyDescription::attest_key()),
            nothing,
        );
    "a forged attest key under an attested signing key":
        AttestationChainUntrusted, "attestation_position", [2],
        |_| {
            let mut forge = factory_chain();
            let mut fake = Certificate::new(common_name("Android Keystore Key"), 7);
            fake.extensions = vec![attestation(&genuine())];
            forge.certificates.insert(0, fake);
            under(forge, nothing)
        };
    "a third attestation":
        AttestationChainUntrusted, "attestation_position", [2, 3, 4],
        |at| {
            let mut forge = under_attest_key(factory_chain(), &KeyDescription::attest_key());
            forge.certificates[at].extensions.push(attestation(&KeyDescription::attest_key()));
            Case::from(forge).allowing_attest_keys()
        };
    "a key without attestation in its place, remote":
        AttestationChainUntrusted, "shape", [],
        |_| allowed(remote_chain(), nothing, unattested);
    "a key without attestation in its place, factory":
        AttestationChainUntrusted, "shape", [],
        |_| allowed(factory_chain(), nothing, unattested);
    "a certificate between the attest key and the genuine ones, factory":
        AttestationChainUntrusted, "shape", [],
        |_| allowed(factory_chain(), nothing, |f| {
            f.certificates.insert(2, Certificate::new(batch("aa09", Some("TEE")), 5));
        });
    "a certificate between the attest key and the genuine ones, remote":
        EvidenceTooLarge, "chain", [],
        |_| allowed(remote_chain(), nothing, |f| {
            f.certificates.insert(2, Certificate::new(remote_key("bb09", "TEE"), 5));
        });
    "a certificate too many, the root left out":
        AttestationChainUntrusted, "shape", [],
        |_| allowed(remote_chain(), nothing, |f| {
            f.certificates.insert(2, Certificate::new(remote_key("bb09", "TEE"), 5));
            f.root_sent = false;
        });
    "an attest key that the root has signed":
        AttestationChainUntrusted, "shape", [],
        |_| allowed(remote_chain(), nothing, |f| drop(f.certificates.drain(2..5)));
    "an attest key with the name of the one that signed it":
        AttestationChainUntrusted, "root", [1],
        |_| allowed(remote_chain(), nothing, |f| {
            f.certificates[1].subject = f.certificates[2].subject.clone();
        });
    "an attest key whose name says secure element":
        SecurityLevelTooLow, "security_level_certified", [1],
        |_| allowed(
            remote(&genuine().at_level(2, 2), "TEE"),
            |d| (d.attestation_level, d.key_level) = (2, 2),
            |f| f.certificates[1].subject = remote_key("bb09", "StrongBox"),
        );
    "an unknown critical extension beside it":
        AttestationChainUntrusted, "extensions", [1],
        |_| allowed(remote_chain(), nothing, |f| {
            let critical = extension(&[0x55, 0x1d, 99], Some(0xff), &null());
            f.certificates[1].extensions.push(critical);
        });
    "an entity attestation token beside it":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| allowed(remote_chain(), nothing, |f| {
            f.certificates[1].extensions.push(extension(ENTITY_TOKEN, None, &[0xa0]));
        });
    "an expired attestation certificate above it":
        AttestationChainUntrusted, "dates", [2, 3, 4],
        |at| {
            let mut forge = under_attest_key(remote_chain(), &KeyDescription::attest_key());
            forge.certificates[at].not_after = time("20261121235959Z");
            Case::from(forge).allowing_attest_keys()
        };
    "a revoked certificate above it":
        AttestationCertRevoked, "status_list", [2, 3, 4],
        |at| attested_by(nothing).listed(&format!("100{}", at - 1), "REVOKED");
    "its key on the operator's list":
        AttestationCertRevoked, "own_list", [1],
        |at| {
            let forge = under_attest_key(remote_chain(), &KeyDescription::attest_key());
            let key = assay::key::sha256(&forge.certificates[at].spki());
            let entry = format!("key {}", data_encoding::HEXLOWER.encode(&key));
            Case::from(forge).allowing_attest_keys().revoked(entry)
        };
}
