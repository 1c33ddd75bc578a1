//! Public keys: points, and the `SubjectPublicKeyInfo` around them.

use assay::key::PublicKey;
use num_bigint::BigUint;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Signer;
use p256::pkcs8::DecodePublicKey;
use proptest::prelude::*;

use super::curve::{Curve, P256, P384};
use super::ecdsa::signer;
use super::{Case, Issuer, believed, compare, number};
use crate::android_forge::{algorithm, null, octets, sequence, tlv};

pub(super) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
pub(super) const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(super) const SECP384R1: &[u8] = &[0x2b, 0x81, 4, 0, 34];
const SECP256K1: &[u8] = &[0x2b, 0x81, 4, 0, 10];
const PRIME_FIELD: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 1, 1];

fn signer_key() -> PublicKey {
    let point = signer().verifying_key().to_sec1_point(false);
    PublicKey::from_sec1(point.as_bytes()).unwrap()
}

fn bit_string(bits: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], bits].concat())
}

/// A key of elliptic curves with these parameters.
pub(super) fn ec_spki(parameters: &[Vec<u8>], point: &[u8]) -> Vec<u8> {
    let mut identifier = vec![tlv(6, EC_PUBLIC_KEY)];
    identifier.extend_from_slice(parameters);
    sequence(&[sequence(&identifier), bit_string(point)])
}

pub(super) fn named(curve: &[u8], point: &[u8]) -> Vec<u8> {
    ec_spki(&[tlv(6, curve)], point)
}

/// Every wrong way to write a point of the curve that is known to have been taken somewhere.
pub(super) fn odd_points(curve: &Curve, point: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (x, y) = point[1..].split_at(curve.octets);
    let parity = y[curve.octets - 1] & 1;
    let small = curve.point_from(1);
    let negative = [&[4], x, &fixed_sub(curve, y)].concat();
    let with_first = |first: u8| [&[first], x, y].concat();
    let zeros = vec![0; curve.octets];
    let mut off_curve = point.to_vec();
    off_curve[2 * curve.octets] ^= 1;
    vec![
        ("another point with the same x", negative),
        ("a small x", curve.write(&small)),
        (
            "a small x, plus p",
            curve.write(&(&small.0 + &curve.p, small.1.clone())),
        ),
        ("x is p", curve.write(&(curve.p.clone(), small.1.clone()))),
        ("infinity", vec![0]),
        (
            "infinity as coordinates",
            [vec![4], zeros.clone(), zeros.clone()].concat(),
        ),
        ("infinity, padded", [vec![0], zeros.clone(), zeros].concat()),
        ("compressed", [&[2 + parity], x].concat()),
        ("compressed, other root", [&[3 - parity], x].concat()),
        ("compressed, x only", x.to_vec()),
        ("compressed, padded", [&[2 + parity], x, y].concat()),
        ("hybrid", with_first(6 + parity)),
        ("hybrid, other parity", with_first(7 - parity)),
        ("uncompressed without its first octet", point[1..].to_vec()),
        ("first octet 5", with_first(5)),
        ("off the curve", off_curve),
        ("coordinates swapped", [&[4], y, x].concat()),
        ("a trailing octet", [point, &[0]].concat()),
        ("an octet short", point[..point.len() - 1].to_vec()),
        ("leading zero in each", [&[4, 0], x, &[0], y].concat()),
        ("nothing", Vec::new()),
    ]
}

fn fixed_sub(curve: &Curve, y: &[u8]) -> Vec<u8> {
    super::fixed(&(&curve.p - BigUint::from_bytes_be(y)), curve.octets)
}

#[test]
fn points_are_those_of_the_curve_equation_in_one_encoding() {
    let key = signer_key();
    let mut points = odd_points(&P256, key.as_bytes());
    points.push(("genuine", key.as_bytes().to_vec()));
    let good = ["genuine", "another point with the same x", "a small x"];
    let cases = points.into_iter().map(|(name, point)| Case {
        name: name.to_owned(),
        wanted: good.contains(&name),
        ours: PublicKey::from_sec1(&point).is_ok(),
        theirs: P256.has_point(&point),
    });
    compare(cases.collect(), &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_changed_point_is_a_key_exactly_when_the_equation_holds(
        first in 1_u32..1000,
        at in 0_usize..65,
        by in any::<u8>(),
        negate in any::<bool>(),
    ) {
        let (x, mut y) = P256.point_from(first);
        if negate {
            y = &P256.p - y;
        }
        let mut point = P256.write(&(x, y));
        point[at] ^= by;
        prop_assert_eq!(PublicKey::from_sec1(&point).is_ok(), P256.has_point(&point));
        if by == 0 {
            prop_assert!(PublicKey::from_sec1(&point).is_ok());
        }
    }

    #[test]
    fn a_changed_spki_is_read_only_where_the_other_reader_sees_the_same_key(
        at in 0_usize..91,
        by in 1_u8..,
        cut in 0_usize..91,
    ) {
        let point = P256.write(&P256.point_from(1));
        let mut spki = named(PRIME256V1, &point);
        prop_assert!(PublicKey::from_spki_der(&spki[..cut]).is_err());
        spki[at] ^= by;
        if let Ok(key) = PublicKey::from_spki_der(&spki) {
            let theirs = p256::PublicKey::from_public_key_der(&spki).unwrap();
            prop_assert_eq!(&key.as_bytes()[..], &theirs.to_sec1_bytes()[..]);
        }
    }
}

/// The parameters of P-256 written out (RFC 3279, 2.3.5), with the generator as given.
fn explicit_parameters(generator: &[u8]) -> Vec<u8> {
    let octets_of = |number: BigUint| octets(&super::fixed(&number, 32));
    let a = &P256.p - BigUint::from(3_u8);
    let b = super::big("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b");
    sequence(&[
        tlv(2, &[1]),
        sequence(&[tlv(6, PRIME_FIELD), number(&P256.p)]),
        sequence(&[octets_of(a), octets_of(b)]),
        octets(generator),
        number(&P256.n),
        tlv(2, &[1]),
    ])
}

/// `SubjectPublicKeyInfo`s of a P-256 key that are not the one way to write it.
fn odd_spkis(point: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let good = named(PRIME256V1, point);
    let identifier = sequence(&[tlv(6, EC_PUBLIC_KEY), tlv(6, PRIME256V1)]);
    let rsa = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    let long_length = [&[0x30, 0x81, good[1]], &good[2..]].concat();
    let indefinite = [&[0x30, 0x80], &good[2..], &[0, 0]].concat();
    let mut unused_bits = good.clone();
    unused_bits[25] = 1;
    vec![
        ("trailing octet", [&good[..], &[0]].concat()),
        (
            "a third element",
            sequence(&[identifier.clone(), bit_string(point), null()]),
        ),
        ("length in the long form", long_length),
        ("indefinite length", indefinite),
        ("unused bits", unused_bits),
        (
            "key as OCTET STRING",
            sequence(&[identifier, octets(point)]),
        ),
        ("no parameters", ec_spki(&[], point)),
        ("NULL parameters", ec_spki(&[null()], point)),
        ("another curve of this size", named(SECP256K1, point)),
        ("the larger curve", named(SECP384R1, point)),
        (
            "the curve twice",
            ec_spki(&[tlv(6, PRIME256V1), tlv(6, PRIME256V1)], point),
        ),
        (
            "a NULL behind the curve",
            ec_spki(&[tlv(6, PRIME256V1), null()], point),
        ),
        (
            "explicit parameters",
            ec_spki(&[explicit_parameters(point)], point),
        ),
        (
            "the algorithm of RSA",
            sequence(&[algorithm(rsa, true), bit_string(point)]),
        ),
        ("the SPKI as the key", named(PRIME256V1, &good)),
        ("the point alone", point.to_vec()),
        ("nothing", Vec::new()),
    ]
}

#[test]
fn a_key_has_one_subject_public_key_info() {
    let key = signer_key();
    let mut spkis = odd_spkis(key.as_bytes());
    spkis.push(("genuine", named(PRIME256V1, key.as_bytes())));
    for (name, point) in odd_points(&P256, key.as_bytes()) {
        spkis.push((name, named(PRIME256V1, &point)));
    }
    let good = ["genuine", "another point with the same x", "a small x"];
    let mut seen = std::collections::HashSet::new();
    let cases = spkis.into_iter().filter(|(name, _)| seen.insert(*name));
    let cases = cases.map(|(name, spki)| Case {
        name: name.to_owned(),
        wanted: good.contains(&name),
        ours: PublicKey::from_spki_der(&spki).is_ok(),
        theirs: p256::PublicKey::from_public_key_der(&spki).is_ok(),
    });
    let second_form = "no phone compresses its point, and one key shall have one encoding";
    compare(
        cases.collect(),
        &[
            ("compressed", second_form),
            ("compressed, other root", second_form),
        ],
    );
}

/// A key that an authority of a chain has: only the genuine encoding of its own key verifies.
#[test]
fn an_authority_of_a_chain_has_its_key_in_one_encoding() {
    let signer = signer();
    let key = signer_key();
    let point = key.as_bytes();
    let algorithm = algorithm(crate::android_forge::ECDSA_SHA256, false);
    let believes = |spki: &[u8]| {
        let issuer = Issuer {
            spki,
            algorithm: &algorithm,
        };
        believed(&issuer, |signed| {
            let signature: Signature = signer.sign(signed);
            signature.to_der().as_bytes().to_vec()
        })
    };
    assert!(believes(&named(PRIME256V1, point)));
    for (name, spki) in odd_spkis(point) {
        // Bytes that are no element at all spoil the certificate around them.
        assert!(!believes(&spki), "{name}");
    }
    for (name, odd) in odd_points(&P256, point) {
        assert!(!believes(&named(PRIME256V1, &odd)), "{name}");
    }
}

#[test]
fn an_authority_on_the_larger_curve_has_its_key_in_one_encoding() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let point = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
    assert!(P384.has_point(&point));
    let algorithm = algorithm(super::ecdsa::ECDSA_SHA384, false);
    let believes = |spki: &[u8]| {
        let issuer = Issuer {
            spki,
            algorithm: &algorithm,
        };
        believed(&issuer, |signed| {
            rcgen::SigningKey::sign(&pair, signed).unwrap()
        })
    };
    assert!(believes(&named(SECP384R1, &point)));
    assert!(!believes(&named(PRIME256V1, &point)));
    assert!(!believes(&ec_spki(&[], &point)));
    for (name, odd) in odd_points(&P384, &point) {
        assert!(!believes(&named(SECP384R1, &odd)), "{name}");
    }
}
