//! ECDSA signatures: the numbers in them and the two ways to write them.

use assay::key::PublicKey;
use aws_lc_rs::digest::{self, digest};
use num_bigint::BigUint;
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::signature::{Signer, Verifier};
use proptest::prelude::*;

use super::curve::{Curve, P256, P384};
use super::keys::{PRIME256V1, SECP384R1, named};
use super::{Case, Issuer, believed, compare, fixed, number};
use crate::android_forge::{ECDSA_SHA1, ECDSA_SHA256, algorithm, null, sequence, tlv};

pub(super) const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
const MESSAGE: &[u8] = b"a message";

/// The same key in every run, so that what fails once fails again.
pub(super) fn signer() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

fn signer_384() -> p384::ecdsa::SigningKey {
    p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap()
}

type Numbers = (BigUint, BigUint);

fn numbers(fixed: &[u8]) -> Numbers {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    (BigUint::from_bytes_be(r), BigUint::from_bytes_be(s))
}

fn der((r, s): &Numbers) -> Vec<u8> {
    sequence(&[number(r), number(s)])
}

/// Numbers made from those of a good signature.
fn odd_numbers(curve: &Curve, (r, s): &Numbers) -> Vec<(&'static str, Numbers)> {
    let (zero, one) = (BigUint::ZERO, BigUint::from(1_u8));
    let n = &curve.n;
    vec![
        ("n − s", (r.clone(), n - s)),
        ("r is zero", (zero.clone(), s.clone())),
        ("s is zero", (r.clone(), zero.clone())),
        ("both are zero", (zero.clone(), zero.clone())),
        ("both are one", (one.clone(), one)),
        ("r is n", (n.clone(), s.clone())),
        ("s is n", (r.clone(), n.clone())),
        ("both are n", (n.clone(), n.clone())),
        ("n − r", (n - r, s.clone())),
        ("swapped", (s.clone(), r.clone())),
        ("r is n, s is zero", (n.clone(), zero)),
        ("r is p", (curve.p.clone(), s.clone())),
    ]
}

/// Encodings of a good signature that are not its DER.
fn odd_encodings(curve: &Curve, good: &Numbers) -> Vec<(&'static str, Vec<u8>)> {
    let (r, s) = good;
    let n = &curve.n;
    let raw = |number: &BigUint| tlv(2, &fixed(number, curve.octets));
    let padded = |number: &BigUint| tlv(2, &fixed(number, curve.octets + 2));
    let encoded = der(good);
    let inside = [number(r), number(s)].concat();
    let wide = [vec![0x30, 0x82, 0, encoded[1]], inside.clone()].concat();
    let mut long_r = number(r);
    long_r.splice(1..2, [0x81, long_r[1]]);
    vec![
        ("r + n", der(&(r + n, s.clone()))),
        ("s + n", der(&(r.clone(), s + n))),
        ("r with leading zeros", sequence(&[padded(r), number(s)])),
        ("s with leading zeros", sequence(&[number(r), padded(s)])),
        (
            "r negative",
            sequence(&[
                raw(&(r | BigUint::from(1_u8) << (8 * curve.octets - 1))),
                number(s),
            ]),
        ),
        ("−1 for each", sequence(&[tlv(2, &[0xff]), tlv(2, &[0xff])])),
        (
            "integers without content",
            sequence(&[tlv(2, &[]), tlv(2, &[])]),
        ),
        (
            "length in the long form",
            [vec![0x30, 0x81, encoded[1]], inside.clone()].concat(),
        ),
        ("length in two octets", wide),
        (
            "inner length in the long form",
            sequence(&[long_r, number(s)]),
        ),
        (
            "indefinite length",
            [vec![0x30, 0x80], inside.clone(), vec![0, 0]].concat(),
        ),
        ("trailing octet", [&encoded[..], &[0]].concat()),
        ("twice", [&encoded[..], &encoded[..]].concat()),
        ("cut", encoded[..encoded.len() - 1].to_vec()),
        (
            "a third integer",
            sequence(&[number(r), number(s), number(s)]),
        ),
        ("a NULL behind", sequence(&[number(r), number(s), null()])),
        ("r only", sequence(&[number(r)])),
        ("a SET", tlv(0x31, &inside)),
        (
            "ENUMERATED numbers",
            sequence(&[tlv(10, &number(r)[2..]), number(s)]),
        ),
        ("wrapped", sequence(&[encoded])),
        (
            "raw r and s",
            [fixed(r, curve.octets), fixed(s, curve.octets)].concat(),
        ),
        ("an empty sequence", sequence(&[])),
        ("nothing", Vec::new()),
    ]
}

/// Which of the inputs above are signatures, because the other number is one, too.
const GOOD: [&str; 2] = ["genuine", "n − s"];

fn der_inputs(curve: &Curve, good: &Numbers) -> Vec<(&'static str, Vec<u8>)> {
    let mut inputs = vec![("genuine", der(good))];
    let odd = odd_numbers(curve, good);
    inputs.extend(odd.iter().map(|(name, numbers)| (*name, der(numbers))));
    inputs.extend(odd_encodings(curve, good));
    inputs
}

fn cases(
    inputs: Vec<(&'static str, Vec<u8>)>,
    ours: impl Fn(&[u8]) -> bool,
    theirs: impl Fn(&[u8]) -> bool,
) -> Vec<Case> {
    let case = |(name, bytes): (&str, Vec<u8>)| Case {
        name: name.to_owned(),
        wanted: GOOD.contains(&name),
        ours: ours(&bytes),
        theirs: theirs(&bytes),
    };
    inputs.into_iter().map(case).collect()
}

fn ours() -> PublicKey {
    let point = signer().verifying_key().to_sec1_point(false);
    PublicKey::from_sec1(point.as_bytes()).unwrap()
}

/// The second form of a signature has to be taken: phones make both, at random. It is why nothing
/// here is remembered or told apart by a signature.
#[test]
fn signatures_in_der_are_taken_in_der_only() {
    let signature: p256::ecdsa::Signature = signer().sign(MESSAGE);
    let inputs = der_inputs(&P256, &numbers(&signature.to_bytes()));
    let theirs = |bytes: &[u8]| {
        p256::ecdsa::Signature::from_der(bytes)
            .is_ok_and(|signature| signer().verifying_key().verify(MESSAGE, &signature).is_ok())
    };
    let ours = |bytes: &[u8]| ours().verify_der(MESSAGE, bytes).is_ok();
    compare(cases(inputs, ours, theirs), &[]);
}

#[test]
fn signatures_of_fixed_length_have_that_length() {
    let signature: p256::ecdsa::Signature = signer().sign(MESSAGE);
    let good = numbers(&signature.to_bytes());
    let raw = |(r, s): &Numbers| [fixed(r, 32), fixed(s, 32)].concat();
    let mut inputs = vec![("genuine", raw(&good))];
    let odd = odd_numbers(&P256, &good);
    inputs.extend(odd.iter().map(|(name, numbers)| (*name, raw(numbers))));
    let (r, s) = &good;
    inputs.extend([
        ("DER", der(&good)),
        ("a trailing octet", [raw(&good), vec![0]].concat()),
        ("a leading octet", [vec![0], raw(&good)].concat()),
        ("of another size", [fixed(r, 48), fixed(s, 48)].concat()),
        ("cut", raw(&good)[..63].to_vec()),
        ("r only", fixed(r, 32)),
        ("nothing", Vec::new()),
    ]);
    let theirs = |bytes: &[u8]| {
        p256::ecdsa::Signature::from_slice(bytes)
            .is_ok_and(|signature| signer().verifying_key().verify(MESSAGE, &signature).is_ok())
    };
    let ours = |bytes: &[u8]| ours().verify_fixed(MESSAGE, bytes).is_ok();
    compare(cases(inputs, ours, theirs), &[]);
}

/// The four pairs of curve and digest in genuine chains, and what is done to their signatures.
#[test]
fn signatures_of_certificates_are_taken_in_der_only() {
    let small = signer().verifying_key().to_sec1_point(false);
    let small = named(PRIME256V1, small.as_bytes());
    let large = signer_384().verifying_key().to_sec1_point(false);
    let large = named(SECP384R1, large.as_bytes());
    for (oid, hash) in [
        (ECDSA_SHA256, &digest::SHA256),
        (ECDSA_SHA384, &digest::SHA384),
    ] {
        for (curve, spki) in [(&*P256, &small), (&*P384, &large)] {
            let is_small = curve.octets == 32;
            let sign = |signed: &[u8]| {
                let prehash = digest(hash, signed);
                let prehash = prehash.as_ref();
                if is_small {
                    let made: p256::ecdsa::Signature = signer().sign_prehash(prehash).unwrap();
                    numbers(&made.to_bytes())
                } else {
                    let made: p384::ecdsa::Signature = signer_384().sign_prehash(prehash).unwrap();
                    numbers(&made.to_bytes())
                }
            };
            let theirs = |signed: &[u8], bytes: &[u8]| {
                let prehash = digest(hash, signed);
                let prehash = prehash.as_ref();
                if is_small {
                    p256::ecdsa::Signature::from_der(bytes).is_ok_and(|made| {
                        signer()
                            .verifying_key()
                            .verify_prehash(prehash, &made)
                            .is_ok()
                    })
                } else {
                    p384::ecdsa::Signature::from_der(bytes).is_ok_and(|made| {
                        signer_384()
                            .verifying_key()
                            .verify_prehash(prehash, &made)
                            .is_ok()
                    })
                }
            };
            let algorithm = algorithm(oid, false);
            let issuer = Issuer {
                spki,
                algorithm: &algorithm,
            };
            // Each input is made for the very certificate it signs, so they are made by number.
            let count = der_inputs(curve, &sign(MESSAGE)).len();
            let cases = (0..count).map(|index| {
                let (mut name, mut other) = ("", false);
                let ours = believed(&issuer, |signed| {
                    let input = der_inputs(curve, &sign(signed)).swap_remove(index);
                    name = input.0;
                    other = theirs(signed, &input.1);
                    input.1
                });
                Case {
                    name: name.to_owned(),
                    wanted: GOOD.contains(&name),
                    ours,
                    theirs: other,
                }
            });
            compare(cases.collect(), &[]);
        }
    }
}

/// Good signatures under names that no genuine chain gives them.
#[test]
fn the_algorithm_of_a_certificate_is_one_of_those_in_use() {
    let point = signer().verifying_key().to_sec1_point(false);
    let spki = named(PRIME256V1, point.as_bytes());
    let sha256 = |signed: &[u8]| {
        let made: p256::ecdsa::Signature = signer().sign(signed);
        made.to_der().as_bytes().to_vec()
    };
    let twice = sequence(&[tlv(6, ECDSA_SHA256), null(), null()]);
    let curve = sequence(&[tlv(6, ECDSA_SHA256), tlv(6, PRIME256V1)]);
    for (algorithm, wanted) in [
        (algorithm(ECDSA_SHA256, false), true),
        // Hardware that writes it is in use.
        (algorithm(ECDSA_SHA256, true), true),
        (algorithm(ECDSA_SHA384, false), false),
        (algorithm(ECDSA_SHA512, false), false),
        (algorithm(ECDSA_SHA1, false), false),
        (twice, false),
        (curve, false),
    ] {
        let issuer = Issuer {
            spki: &spki,
            algorithm: &algorithm,
        };
        assert_eq!(believed(&issuer, sha256), wanted, "{algorithm:02x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn both_agree_on_any_two_numbers(
        secret in 1_u8..,
        message in prop::collection::vec(any::<u8>(), 0..40),
        r in prop::collection::vec(any::<u8>(), 32),
        s in prop::collection::vec(any::<u8>(), 32),
        keep_r in any::<bool>(),
        keep_s in any::<bool>(),
    ) {
        let signer = p256::ecdsa::SigningKey::from_slice(&[secret; 32])
            .unwrap_or_else(|_| signer());
        let point = signer.verifying_key().to_sec1_point(false);
        let key = PublicKey::from_sec1(point.as_bytes()).unwrap();
        let made: p256::ecdsa::Signature = signer.sign(&message);
        let good = made.to_bytes();
        let r = if keep_r { &good[..32] } else { &r };
        let s = if keep_s { &good[32..] } else { &s };
        let raw = [r, s].concat();
        let theirs = p256::ecdsa::Signature::from_slice(&raw)
            .is_ok_and(|made| signer.verifying_key().verify(&message, &made).is_ok());
        prop_assert_eq!(key.verify_fixed(&message, &raw).is_ok(), theirs);
        prop_assert_eq!(key.verify_der(&message, &der(&numbers(&raw))).is_ok(), theirs);
        prop_assert_eq!(theirs, keep_r && keep_s);
    }

    #[test]
    fn both_agree_on_any_change_of_the_encoding(
        at in 0_usize..70,
        by in 1_u8..,
        cut in 0_usize..70,
    ) {
        let made: p256::ecdsa::Signature = signer().sign(MESSAGE);
        let good = made.to_der().as_bytes().to_vec();
        let mut changed = good.clone();
        let at = at % changed.len();
        changed[at] ^= by;
        for bytes in [&changed[..], &good[..cut.min(good.len())]] {
            let theirs = p256::ecdsa::Signature::from_der(bytes)
                .is_ok_and(|made| signer().verifying_key().verify(MESSAGE, &made).is_ok());
            prop_assert_eq!(ours().verify_der(MESSAGE, bytes).is_ok(), theirs);
            prop_assert_eq!(theirs, bytes == good);
        }
    }
}
