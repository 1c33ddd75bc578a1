//! Genuine evidence for another app or another challenge.

use super::*;

const OTHER: &str = "com.example.other";

fn app_of(packages: &[&str], digests: &[&[u8]]) -> Forge {
    remote(
        &genuine().with_application(application(packages, digests)),
        "TEE",
    )
}

/// With one app by the hardware's word and another by the system's.
fn by_both(hardware: Vec<u8>, software: Vec<u8>) -> Forge {
    let mut description = genuine().with_application(software);
    description.hardware.push((709, hardware));
    remote(&description, "TEE")
}

fn right() -> Vec<u8> {
    application(&[PACKAGE], &[&SIGNER])
}

fn wrong() -> Vec<u8> {
    application(&[OTHER], &[&[9; 32]])
}

fn challenge(bytes: &[u8]) -> Forge {
    let bytes = bytes.to_vec();
    described(|d| d.challenge = bytes)
}

attacks! { GROUP, refuses_evidence_for_another_app_or_challenge;
    "no app":
        AttestationAppMismatch, "app", [0],
        |_| described(|d| drop(d.software.pop()));
    "an app without packages":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[], &[&SIGNER]);
    "another package":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[OTHER], &[&SIGNER]);
    "a foreign package beside the right one":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[PACKAGE, OTHER], &[&SIGNER]);
    "a foreign package with its signer beside the right one":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[OTHER, PACKAGE], &[&[9; 32], &SIGNER]);
    "a package whose name only begins right":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&["com.example.bank.evil"], &[&SIGNER]);
    "a package whose name ends at a NUL":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&["com.example.bank\0.evil"], &[&SIGNER]);
    "a package in other letters":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&["com.example.Bank"], &[&SIGNER]);
    "only the package that may stand beside it":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&["com.example.shared"], &[&SIGNER]);
    "signed by someone else":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[PACKAGE], &[&[9; 32]]);
    "signed by nobody named":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[PACKAGE], &[]);
    "a digest cut short":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[PACKAGE], &[&SIGNER[..31]]);
    "a digest with a byte more":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[PACKAGE], &[&[SIGNER.as_slice(), &[0]].concat()]);
    "an empty digest":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&[PACKAGE], &[&[]]);
    "the system itself":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&["AndroidSystem"], &[]);
    "an app the system could not tell":
        AttestationAppMismatch, "app", [0],
        |_| app_of(&["UnknownPackage"], &[]);
    "another app by the hardware's word":
        AttestationAppMismatch, "app", [0],
        |_| by_both(wrong(), right());
    "another app by the system's word":
        AttestationAppMismatch, "app", [0],
        |_| by_both(right(), wrong());
    "no challenge":
        AttestationChallengeMismatch, "challenge", [0],
        |_| challenge(b"");
    "another challenge":
        AttestationChallengeMismatch, "challenge", [0],
        |_| challenge(b"another");
    "the beginning of the challenge":
        AttestationChallengeMismatch, "challenge", [0],
        |_| challenge(&CHALLENGE[..5]);
    "the challenge with a byte more":
        AttestationChallengeMismatch, "challenge", [0],
        |_| challenge(&[CHALLENGE, &[0]].concat());
    "the challenge in another place":
        AttestationChallengeMismatch, "challenge", [0],
        |_| described(|d| {
            d.unique_id = std::mem::take(&mut d.challenge);
            d.hardware.push((708, octets(CHALLENGE)));
        });
}
