//! Chains that were made up: extended, rearranged, under a root of one's own.

use assay::attestation::roots::{AndroidRoots, Roots};

use super::*;

/// 1.3.6.1.4.1.11129.2.1.29.1, which says that a virtual machine holds the key.
const VIRTUAL_MACHINE: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 29, 1];
const TARGETED_CRITICAL: &[u8] = &[0x55, 0x1d, 99];

/// A key signs a certificate with an attestation of its holder's invention.
fn extended(mut chain: Forge, extensions: Vec<Vec<u8>>) -> Forge {
    let mut fake = Certificate::new(common_name("Android Keystore Key"), 7);
    fake.extensions = extensions;
    chain.certificates.insert(0, fake);
    chain
}

fn invented() -> Vec<Vec<u8>> {
    vec![attestation(&genuine())]
}

/// A certificate of one's own between the one that signs it and the one below.
fn between(chain: &mut Forge, index: usize, subject: Vec<u8>) {
    let more = Certificate::new(subject, 5);
    chain.certificates.insert(index, more);
}

/// The key that is attested may do more than sign.
fn with_purposes(purposes: &[u64]) -> KeyDescription {
    genuine().with_hardware(1, integers(purposes))
}

fn google() -> Roots {
    Roots {
        android: AndroidRoots::google(),
        ..Roots::default()
    }
}

/// A root that shows a pinned key and did not sign.
fn showing_a_pinned_key() -> Case {
    let real = remote(&genuine(), "TEE");
    let forge = remote_with(|f| f.certificates[4].spki = Some(real.certificates[4].spki()));
    Case::from(forge).trusting(real.roots())
}

/// A chain for a key that a virtual machine holds, extended by whoever runs it.
fn virtual_machine(extensions: Vec<Vec<u8>>) -> Forge {
    remote_with(|f| {
        let mut machine = Certificate::new(common_name("a virtual machine"), 6);
        machine.extensions = extensions;
        f.certificates.insert(1, machine);
    })
}

attacks! { GROUP, refuses_chains_that_were_made_up;
    "an invented attestation under an attested signing key, remote":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| extended(remote(&genuine(), "TEE"), invented());
    "an invented attestation under an attested signing key, factory":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| extended(factory(&genuine(), Some("TEE")), invented());
    "an invented attestation under an attested signing key, factory of three certificates":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| extended(factory_with(|f| drop(f.certificates.remove(2))), invented());
    "an invented attestation under a genuine attest key":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| extended(remote(&with_purposes(&[7]), "TEE"), invented());
    "an invented attestation under a key that signs and attests":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| extended(remote(&with_purposes(&[2, 7]), "TEE"), invented());
    "an invented attestation two below an attested signing key":
        EvidenceTooLarge, "chain", [],
        |_| extended(extended(remote(&genuine(), "TEE"), Vec::new()), invented());
    "an invented attestation two below an attested signing key, factory":
        AttestationChainUntrusted, "attestation_position", [2],
        |_| extended(extended(factory(&genuine(), Some("TEE")), Vec::new()), invented());
    "a key of one's own without attestation in front of a chain":
        AttestationChainUntrusted, "attestation_position", [0],
        |_| extended(remote(&genuine(), "TEE"), Vec::new());
    "an invented attestation under a key certified without one, remote":
        AttestationChainUntrusted, "shape", [],
        |_| extended(remote_with(|f| f.certificates[0].extensions.truncate(1)), invented());
    "an invented attestation under a key certified without one, factory":
        AttestationChainUntrusted, "shape", [],
        |_| extended(factory_with(|f| f.certificates[0].extensions.truncate(1)), invented());
    "an invented attestation under the key of a virtual machine":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| virtual_machine(vec![extension(VIRTUAL_MACHINE, None, &sequence(&[]))]);
    "an invented attestation under the key of a virtual machine that does not say so":
        AttestationChainUntrusted, "shape", [],
        |_| virtual_machine(Vec::new());
    "an invented attestation under the key of a virtual machine, by a single authority":
        AttestationChainUntrusted, "attestation_position", [1],
        |_| {
            let says_so = extension(VIRTUAL_MACHINE, None, &sequence(&[]));
            let mut forge = virtual_machine(vec![says_so]);
            forge.certificates.remove(3);
            forge
        };
    "the same under authorities with names of the future":
        AttestationChainUntrusted, "shape", [],
        |_| {
            let mut forge = virtual_machine(Vec::new());
            forge.certificates[4].subject = common_name("Some Authority");
            forge
        };
    "a second attestation above the leaf":
        AttestationChainUntrusted, "attestation_position", [1, 2, 3, 4],
        |at| remote_with(|f| f.certificates[at].extensions.push(attestation(&genuine())));
    "two attestations in one certificate":
        AttestationChainUntrusted, "extensions", [0],
        |at| remote_with(|f| f.certificates[at].extensions.push(attestation(&genuine())));
    "the attestation in the certificate above instead":
        AttestationChainUntrusted, "attestation_position", [0],
        |_| remote_with(|f| {
            let moved = f.certificates[0].extensions.remove(1);
            f.certificates[1].extensions.push(moved);
        });
    "no attestation at all":
        AttestationChainUntrusted, "attestation_position", [0],
        |_| remote_with(|f| f.certificates[0].extensions.truncate(1));
    "an entity attestation token instead of the attestation":
        AttestationChainUntrusted, "attestation_position", [0],
        |_| remote_with(|f| {
            f.certificates[0].extensions[1] = extension(ENTITY_TOKEN, None, &[0xa0]);
        });
    "an entity attestation token beside the attestation, or above":
        AttestationChainUntrusted, "attestation_position", [0, 1, 2, 3, 4],
        |at| remote_with(|f| {
            f.certificates[at].extensions.push(extension(ENTITY_TOKEN, None, &[0xa0]));
        });
    "an unknown critical extension, remote":
        AttestationChainUntrusted, "extensions", [0, 1, 2, 3, 4],
        |at| remote_with(|f| {
            let critical = extension(TARGETED_CRITICAL, Some(0xff), &null());
            f.certificates[at].extensions.push(critical);
        });
    "an unknown critical extension, factory":
        AttestationChainUntrusted, "extensions", [0, 1, 2, 3],
        |at| factory_with(|f| {
            let critical = extension(TARGETED_CRITICAL, Some(1), &null());
            f.certificates[at].extensions.push(critical);
        });
    "critical name constraints":
        AttestationChainUntrusted, "extensions", [1, 2, 3],
        |at| remote_with(|f| {
            let critical = extension(NAME_CONSTRAINTS, Some(1), &sequence(&[]));
            f.certificates[at].extensions.push(critical);
        });
    "an extension twice":
        AttestationChainUntrusted, "extensions", [0, 1, 2, 3, 4],
        |at| remote_with(|f| {
            let again = f.certificates[at].extensions[0].clone();
            f.certificates[at].extensions.push(again);
        });
    "a fake intermediate in front of the genuine ones, remote":
        AttestationChainUntrusted, "shape", [],
        |_| remote_with(|f| between(f, 1, remote_key("bb09", "TEE")));
    "a fake intermediate in front of the genuine ones, factory":
        AttestationChainUntrusted, "shape", [],
        |_| factory_with(|f| between(f, 1, batch("aa09", Some("TEE"))));
    "a fake intermediate in front of genuine ones of neither kind":
        AttestationChainUntrusted, "shape", [],
        |_| remote_with(|f| {
            f.certificates[3].subject = common_name("Some Authority");
            between(f, 1, remote_key("bb09", "TEE"));
        });
    "a fake intermediate and the root left out":
        AttestationChainUntrusted, "shape", [],
        |_| remote_with(|f| {
            f.root_sent = false;
            between(f, 1, remote_key("bb09", "TEE"));
        });
    "a certificate too many among the authorities":
        AttestationChainUntrusted, "shape", [],
        |_| remote_with(|f| between(f, 2, droid_ca("Droid CA4")));
    "a leaf that the root has signed":
        AttestationChainUntrusted, "shape", [],
        |_| remote_with(|f| drop(f.certificates.drain(1..4)));
    "a leaf alone":
        AttestationChainUntrusted, "shape", [],
        |_| remote_with(|f| {
            f.certificates.drain(1..4);
            f.root_sent = false;
        });
    "more certificates than any chain has":
        EvidenceTooLarge, "chain", [],
        |_| Case::from(remote_with(|_| {})).sent(|der| der.resize(7, der[0].clone()));
    "no certificate":
        EvidenceMalformed, "chain", [],
        |_| Case::from(remote_with(|_| {})).sent(Vec::clear);
    "a certificate larger than any genuine one":
        EvidenceTooLarge, "chain", [],
        |_| remote_with(|f| {
            let ballast = extension(&[0x55, 0x1d, 98], None, &[0; 8 * 1024]);
            f.certificates[0].extensions.push(ballast);
        });
    "a chain larger than any genuine one":
        EvidenceTooLarge, "chain", [],
        |_| remote_with(|f| for certificate in &mut f.certificates {
            let ballast = extension(&[0x55, 0x1d, 98], None, &[0; 7 * 1024]);
            certificate.extensions.push(ballast);
        });
    "a root of one's own with the name of the pinned one":
        AttestationChainUntrusted, "root", [4],
        |_| Case::from(remote_with(|_| {})).trusting(remote(&genuine(), "TEE").roots());
    "a root of one's own with the name of Google's":
        AttestationChainUntrusted, "root", [4],
        |_| Case::from(remote_with(|f| {
            f.certificates[4].subject = google().android.as_slice()[0].subject().to_vec();
        })).trusting(google());
    "a root of one's own, left out":
        AttestationChainUntrusted, "signatures", [3],
        |_| Case::from(remote_with(|f| f.root_sent = false))
            .trusting(remote(&genuine(), "TEE").roots());
    "an issuer nobody has pinned, the root left out":
        AttestationChainUntrusted, "root", [3],
        |_| Case::from(remote_with(|f| f.root_sent = false)).trusting(google());
    "no root pinned":
        AttestationChainUntrusted, "root", [4],
        |_| Case::from(remote_with(|_| {})).trusting(Roots::default());
    "a root that shows the pinned key and did not sign":
        AttestationChainUntrusted, "signatures", [3],
        |_| showing_a_pinned_key();
    "a root before the end of the chain, remote":
        AttestationChainUntrusted, "root", [4],
        |_| Case::from(remote_with(|_| {})).sent(|der| der.push(der[4].clone()));
    "a root before the end of the chain, factory":
        AttestationChainUntrusted, "root", [3],
        |_| Case::from(factory_with(|_| {})).sent(|der| der.push(der[3].clone()));
    "the certificates in reverse":
        AttestationChainUntrusted, "attestation_position", [0],
        |_| Case::from(remote_with(|_| {})).sent(|der| der.reverse());
    "two certificates swapped":
        AttestationChainUntrusted, "signatures", [0],
        |_| Case::from(remote_with(|_| {})).sent(|der| der.swap(1, 2));
    "a certificate left out":
        AttestationChainUntrusted, "signatures", [1],
        |_| Case::from(remote_with(|_| {})).sent(|der| drop(der.remove(2)));
    "a name that is not the next certificate's":
        AttestationChainUntrusted, "names", [1, 2, 3],
        |at| remote_with(|f| f.certificates[at].issuer = Some(common_name("someone")));
}
