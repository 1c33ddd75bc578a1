//! Keys and signatures held against a second implementation.
//!
//! What the service takes for a key or a signature is compared with other code that knows nothing of
//! it: `p256` and `p384` for ECDSA, `jsonwebtoken` for JWKs, and the equations of the standards on
//! plain integers for the curve and for RSA. Every input says what is wanted. Where the two differ,
//! the difference has a row with its reason, and a row that no input needs any more fails as well.

mod curve;
mod ecdsa;
mod jwk;
mod keys;
mod rsa;

use std::collections::BTreeMap;

use assay::attestation::status_list::StatusList;
use assay::attestation::{
    AndroidApp, AppIdentity, AttestKeys, Evidence, Expectation, Trust, verify,
};
use num_bigint::BigUint;
use rcgen::PublicKeyData;

use super::android_forge::{
    CHALLENGE, KeyDescription, PACKAGE, SIGNER, factory, integer, now, sequence, tlv,
};

/// One input, what should become of it, and what the two say.
struct Case {
    name: String,
    wanted: bool,
    ours: bool,
    theirs: bool,
}

/// Holds the cases against what is wanted; `differences` names those in which the other side says
/// something else, each with why ours is right.
fn compare(cases: Vec<Case>, differences: &[(&str, &str)]) {
    assert!(cases.iter().any(|case| case.ours && case.theirs));
    let mut open: BTreeMap<&str, &str> = differences.iter().copied().collect();
    assert_eq!(open.len(), differences.len(), "a difference stands twice");
    let mut wrong = Vec::new();
    for Case {
        name,
        wanted,
        ours,
        theirs,
    } in &cases
    {
        if ours != wanted {
            wrong.push(format!("{name}: ours {ours}, wanted {wanted}"));
        }
        let listed = open.remove(name.as_str()).is_some();
        if (ours != theirs) != listed {
            wrong.push(format!(
                "{name}: ours {ours}, theirs {theirs}, listed {listed}"
            ));
        }
    }
    wrong.extend(
        open.keys()
            .map(|name| format!("{name}: no such difference")),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What an authority of a chain is and how it signs.
struct Issuer<'a> {
    /// Its `SubjectPublicKeyInfo`.
    spki: &'a [u8],
    /// The `AlgorithmIdentifier` of its signatures.
    algorithm: &'a [u8],
}

/// Whether a chain is believed whose leaf is signed by this issuer with what `sign` makes of the
/// signed part. Where it is not, it is for this signature or key and nothing else.
fn believed(issuer: &Issuer<'_>, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
    let mut forge = factory(&KeyDescription::genuine(), None);
    forge.certificates[0].inner_algorithm = issuer.algorithm.to_vec();
    forge.certificates[1].spki = Some(issuer.spki.to_vec());
    let roots = forge.roots();
    let mut chain = forge.der();
    let signed = signed_part(&chain[0]).to_vec();
    let mut bits = vec![0];
    bits.extend(sign(&signed));
    chain[0] = sequence(&[signed, issuer.algorithm.to_vec(), tlv(3, &bits)]);
    let android = AndroidApp {
        package_name: PACKAGE.to_owned(),
        signing_certificate_sha256: vec![SIGNER],
        shared_uid_packages: Vec::new(),
    };
    let app = AppIdentity {
        android: Some(android),
        apple: None,
    };
    let expectation = Expectation {
        binding: CHALLENGE,
        app: &app,
        attest_keys: AttestKeys::Refuse,
    };
    let trust = Trust {
        roots: &roots,
        status_list: Some(&StatusList::empty()),
        own_list: None,
    };
    let chain = assay::attestation::android::Chain::from_der(chain).unwrap();
    match verify(&Evidence::Android(chain), expectation, trust, now()) {
        Ok(_) => true,
        Err(rejection) => {
            assert!(
                ["structure", "signatures"].contains(&rejection.name),
                "{rejection}"
            );
            false
        }
    }
}

/// `tbsCertificate`: the first element inside the outermost.
fn signed_part(certificate: &[u8]) -> &[u8] {
    let inside = &certificate[header(certificate)..];
    let length = header(inside) + content(inside);
    &inside[..length]
}

/// Octets of tag and length.
fn header(der: &[u8]) -> usize {
    2 + der[1].checked_sub(0x80).map_or(0, usize::from)
}

/// What the length says.
fn content(der: &[u8]) -> usize {
    match der[1] {
        short @ 0..0x80 => usize::from(short),
        _ => der[2..header(der)]
            .iter()
            .fold(0, |length, octet| length << 8 | usize::from(*octet)),
    }
}

/// An INTEGER in DER.
fn number(value: &BigUint) -> Vec<u8> {
    let mut octets = value.to_bytes_be();
    if octets[0] & 0x80 != 0 {
        octets.insert(0, 0);
    }
    tlv(2, &octets)
}

/// In as many octets as wanted, from the left.
fn fixed(value: &BigUint, octets: usize) -> Vec<u8> {
    let bytes = value.to_bytes_be();
    let missing = octets.checked_sub(bytes.len()).expect("it fits");
    [vec![0; missing], bytes].concat()
}

fn big(hex: &str) -> BigUint {
    BigUint::parse_bytes(hex.as_bytes(), 16).unwrap()
}

#[test]
fn the_comparison_itself_notices() {
    let case = |name: &str, wanted, ours, theirs| Case {
        name: name.to_owned(),
        wanted,
        ours,
        theirs,
    };
    let fails = |case: Case, differences: &'static [(&str, &str)]| {
        let genuine = Case {
            name: "genuine".to_owned(),
            wanted: true,
            ours: true,
            theirs: true,
        };
        std::panic::catch_unwind(|| compare(vec![genuine, case], differences)).is_err()
    };
    assert!(!fails(case("x", false, false, false), &[]));
    assert!(!fails(case("x", false, false, true), &[("x", "why")]));
    assert!(fails(case("x", false, true, true), &[]));
    assert!(fails(case("x", false, false, true), &[]));
    assert!(fails(case("x", false, false, false), &[("x", "why")]));
    assert!(fails(case("x", false, false, false), &[("y", "why")]));
    let untouched = factory(&KeyDescription::genuine(), None);
    let der = &untouched.der()[0];
    assert_eq!(signed_part(der)[0], 0x30);
    assert!(!untouched.certificates[0].key.der_bytes().is_empty());
    assert_eq!(number(&BigUint::from(0x80_u8)), integer(0x80));
}
