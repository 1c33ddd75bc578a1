//! RSA by the book (RFC 8017): keys, and signatures with PKCS #1 v1.5 padding.
//!
//! The book's verifier makes the one encoded message that a digest has and compares it with
//! `signature^e mod n`; it reads no padding, so it cannot be led to read it loosely. It takes any
//! numbers for a key and any length for a signature; where ours takes less, the row says so.

use std::sync::LazyLock;

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use num_bigint::BigUint;

use super::{Case, Issuer, believed, compare, content, fixed, header, number};
use crate::android_forge::{algorithm, null, octets, sequence, tlv};

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const SHA1: &[u8] = &[0x2b, 14, 3, 2, 26];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

/// A key of RSA; `d` is missing where nobody needs it.
#[derive(Clone)]
struct Key {
    n: BigUint,
    e: BigUint,
    d: BigUint,
}

fn small(value: u32) -> BigUint {
    BigUint::from(value)
}

/// The primes of a new key.
fn primes(size: KeySize) -> (BigUint, BigUint) {
    let pair = KeyPair::generate(size).unwrap();
    let pkcs8 = AsDer::as_der(&pair).unwrap();
    // PrivateKeyInfo { version, algorithm, OCTET STRING { RSAPrivateKey } }
    let fields = elements(pkcs8.as_ref());
    let inner = &fields[2][header(fields[2])..];
    // RSAPrivateKey { version, n, e, d, p, q, … }
    let numbers = elements(inner);
    let value = |der: &[u8]| BigUint::from_bytes_be(&der[header(der)..]);
    (value(numbers[4]), value(numbers[5]))
}

/// What is inside a SEQUENCE.
fn elements(der: &[u8]) -> Vec<&[u8]> {
    let mut rest = &der[header(der)..][..content(der)];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (element, behind) = rest.split_at(header(rest) + content(rest));
        found.push(element);
        rest = behind;
    }
    found
}

impl Key {
    fn from(p: &BigUint, q: &BigUint, e: u32) -> Option<Self> {
        let one = small(1);
        let phi = (p - &one) * (q - &one);
        let e = small(e);
        let d = e.modinv(&phi)?;
        Some(Self { n: p * q, e, d })
    }

    fn generate(size: KeySize) -> Self {
        let (p, q) = primes(size);
        Self::from(&p, &q, 65_537).unwrap()
    }

    fn octets(&self) -> usize {
        usize::try_from(self.n.bits().div_ceil(8)).unwrap()
    }

    fn public(&self) -> Vec<u8> {
        sequence(&[number(&self.n), number(&self.e)])
    }

    fn spki(&self) -> Vec<u8> {
        spki(&self.public())
    }

    /// The private operation, on whatever is given.
    fn raise(&self, message: &[u8]) -> BigUint {
        BigUint::from_bytes_be(message).modpow(&self.d, &self.n)
    }

    /// RFC 8017, 8.2.2, but for the length of the signature, which is a row of its own.
    fn verifies(&self, encoded: &[u8], signature: &[u8]) -> bool {
        let opened = BigUint::from_bytes_be(signature).modpow(&self.e, &self.n);
        opened == BigUint::from_bytes_be(encoded)
    }
}

/// A key for which 3 is an exponent: what made forgeries easy where padding was read loosely.
static THREE: LazyLock<Key> = LazyLock::new(|| {
    std::iter::repeat_with(|| primes(KeySize::Rsa2048))
        .find_map(|(p, q)| Key::from(&p, &q, 3))
        .unwrap()
});

fn spki(public: &[u8]) -> Vec<u8> {
    wrapped(&[null()], public)
}

fn wrapped(parameters: &[Vec<u8>], public: &[u8]) -> Vec<u8> {
    let identifier = [&[tlv(6, RSA_ENCRYPTION)], parameters].concat();
    sequence(&[sequence(&identifier), tlv(3, &[&[0], public].concat())])
}

fn digest_info(oid: &[u8], hash: &[u8]) -> Vec<u8> {
    sequence(&[algorithm(oid, true), octets(hash)])
}

/// `00 01 FF… 00` and then this, in so many octets.
fn padded(info: &[u8], length: usize) -> Vec<u8> {
    [
        vec![0, 1],
        vec![0xff; length - info.len() - 3],
        vec![0],
        info.to_vec(),
    ]
    .concat()
}

/// Encoded messages that are not the one of this digest but have been taken for it: odd padding.
fn odd_paddings(info: &[u8], length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let good = padded(info, length);
    let at = |index: usize, octet: u8| {
        let mut changed = good.clone();
        changed[index] = octet;
        changed
    };
    // As short as the padding may be, with the rest behind the digest: the forgery of 2006.
    let behind = |rest: u8| {
        let mut message = [&[0, 1], &[0xff; 8][..], &[0], info].concat();
        message.resize(length, rest);
        message
    };
    let separator = length - info.len() - 1;
    let all = |octet: u8| [&[0, 1], &vec![octet; separator - 2][..], &[0], info].concat();
    vec![
        ("block type 2", at(1, 2)),
        ("block type 0", at(1, 0)),
        ("a first octet of 1", at(0, 1)),
        ("one other octet in the padding", at(9, 0xfe)),
        ("the last octet of the padding", at(separator - 1, 0xfe)),
        ("no separator", at(separator, 0xff)),
        ("a separator in the middle", at(20, 0)),
        ("padding of zeros", all(0)),
        ("padding of other octets", all(0x5a)),
        ("zeros behind the digest", behind(0)),
        ("garbage behind the digest", behind(0x5a)),
        ("nothing", vec![0; length]),
    ]
}

/// The same with good padding before something odd.
fn odd_digests(hash: &[u8], length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let info = digest_info(SHA256, hash);
    // As much as there is room for in place of the parameters.
    let filler = tlv(4, &vec![0x5a; length - 128]);
    let garbage = sequence(&[sequence(&[tlv(6, SHA256), filler]), octets(hash)]);
    let without_null = sequence(&[algorithm(SHA256, false), octets(hash)]);
    let long_null = sequence(&[tlv(6, SHA256), vec![5, 0x81, 0]]);
    let odd = [
        ("garbage for parameters", garbage),
        ("parameters missing", without_null),
        (
            "NULL with a long length",
            sequence(&[long_null, octets(hash)]),
        ),
        (
            "length in the long form",
            [&[0x30, 0x81], &info[1..]].concat(),
        ),
        (
            "a third element",
            sequence(&[algorithm(SHA256, true), octets(hash), null()]),
        ),
        ("the digest alone", hash.to_vec()),
        ("the digest as a sequence", sequence(&[octets(hash)])),
        ("the digest cut", digest_info(SHA256, &hash[..31])),
        (
            "the digest longer",
            digest_info(SHA256, &[hash, &[0]].concat()),
        ),
        ("named SHA-384", digest_info(SHA384, hash)),
        ("named SHA-1", digest_info(SHA1, &hash[..20])),
        ("of other content", digest_info(SHA256, &[0x5a; 32])),
    ];
    odd.map(|(name, info)| (name, padded(&info, length))).into()
}

fn odd_messages(hash: &[u8], length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut messages = odd_paddings(&digest_info(SHA256, hash), length);
    messages.extend(odd_digests(hash, length));
    messages
}

/// What a verifier has to see for this to be signed with SHA-256.
fn expected(signed: &[u8], length: usize) -> Vec<u8> {
    padded(
        &digest_info(SHA256, digest(&digest::SHA256, signed).as_ref()),
        length,
    )
}

#[test]
fn one_padding_is_taken_and_nothing_like_it() {
    let algorithm = algorithm(RSA_SHA256, true);
    let key = &*THREE;
    let (spki, length) = (key.spki(), key.octets());
    let issuer = Issuer {
        spki: &spki,
        algorithm: &algorithm,
    };
    let mut cases = Vec::new();
    let count = odd_messages(&[0; 32], length).len();
    for index in 0..=count {
        let (mut name, mut theirs) = ("genuine", false);
        let ours = believed(&issuer, |signed| {
            let good = expected(signed, length);
            let mut odd = odd_messages(digest(&digest::SHA256, signed).as_ref(), length);
            let message = if index == count {
                good.clone()
            } else {
                let (odd_name, message) = odd.swap_remove(index);
                name = odd_name;
                message
            };
            let signature = fixed(&key.raise(&message), length);
            theirs = key.verifies(&good, &signature);
            signature
        });
        cases.push(Case {
            name: name.to_owned(),
            wanted: name == "genuine",
            ours,
            theirs,
        });
    }
    compare(cases, &[]);
}

/// Without the private key: the cube root of a message whose end does not matter.
#[test]
fn a_cube_root_is_no_signature() {
    let algorithm = algorithm(RSA_SHA256, true);
    let key = &*THREE;
    let spki = key.spki();
    let issuer = Issuer {
        spki: &spki,
        algorithm: &algorithm,
    };
    let believed = believed(&issuer, |signed| {
        let info = digest_info(SHA256, digest(&digest::SHA256, signed).as_ref());
        let mut wanted = [vec![0, 1], vec![0xff; 8], vec![0], info].concat();
        let prefix = wanted.clone();
        wanted.resize(key.octets(), 0xff);
        let root = BigUint::from_bytes_be(&wanted).cbrt();
        // It does open to a message that begins as it should.
        let opened = fixed(&root.modpow(&key.e, &key.n), key.octets());
        assert!(opened.starts_with(&prefix));
        fixed(&root, key.octets())
    });
    assert!(!believed);
}

/// Repeats with new certificates until `wanted` gives a signature.
fn search(key: &Key, name: &str, wanted: impl Fn(&BigUint) -> Option<Vec<u8>>) -> Case {
    let algorithm = algorithm(RSA_SHA256, true);
    let spki = key.spki();
    let issuer = Issuer {
        spki: &spki,
        algorithm: &algorithm,
    };
    loop {
        let (mut found, mut theirs) = (false, false);
        let ours = believed(&issuer, |signed| {
            let good = expected(signed, key.octets());
            let Some(signature) = wanted(&key.raise(&good)) else {
                return vec![0; key.octets()];
            };
            found = true;
            theirs = key.verifies(&good, &signature);
            signature
        });
        if found {
            return Case {
                name: name.to_owned(),
                wanted: name == "genuine",
                ours,
                theirs,
            };
        }
    }
}

#[test]
fn a_signature_has_the_length_of_the_modulus_and_is_below_it() {
    let key = &*THREE;
    let length = key.octets();
    let n = &key.n;
    let cases = vec![
        search(key, "genuine", |s| Some(fixed(s, length))),
        search(key, "a zero before it", |s| Some(fixed(s, length + 1))),
        search(key, "modulus added", |s| {
            let sum = (s + n).to_bytes_be();
            (sum.len() == length).then_some(sum)
        }),
        search(key, "modulus added, one octet more", |s| {
            let sum = (s + n).to_bytes_be();
            (sum.len() > length).then_some(sum)
        }),
        search(key, "modulus subtracted", |s| Some(fixed(&(n - s), length))),
        search(key, "an octet behind it", |s| {
            Some([fixed(s, length), vec![0]].concat())
        }),
        search(key, "cut", |s| {
            Some(fixed(s, length)[..length - 1].to_vec())
        }),
        search(key, "zero", |_| Some(vec![0; length])),
        search(key, "one", |_| Some(fixed(&small(1), length))),
        search(key, "the modulus", |_| Some(fixed(n, length))),
        search(key, "the modulus less one", |_| {
            Some(fixed(&(n - small(1)), length))
        }),
        search(key, "nothing", |_| Some(Vec::new())),
    ];
    let representative = "RFC 8017, 5.2.2: it has to be below the modulus";
    let length = "RFC 8017, 8.2.2: it has to be as long as the modulus";
    compare(
        cases,
        &[
            ("a zero before it", length),
            ("modulus added", representative),
            ("modulus added, one octet more", representative),
        ],
    );
}

#[test]
fn a_leading_zero_of_a_signature_stays() {
    let key = &*THREE;
    let length = key.octets();
    let short = |s: &BigUint| s.to_bytes_be().len() < length;
    let cases = vec![
        search(key, "genuine", |s| short(s).then(|| fixed(s, length))),
        search(key, "zero dropped", |s| short(s).then(|| s.to_bytes_be())),
    ];
    let reason = "RFC 8017, 8.2.2: it has to be as long as the modulus";
    compare(cases, &[("zero dropped", reason)]);
}

/// Whether a chain is believed in which this key has signed by the book.
fn key_case(name: &str, wanted: bool, key: &Key, spki: &[u8]) -> Case {
    let algorithm = algorithm(RSA_SHA256, true);
    let issuer = Issuer {
        spki,
        algorithm: &algorithm,
    };
    let mut theirs = false;
    let ours = believed(&issuer, |signed| {
        let good = expected(signed, key.octets());
        let signature = fixed(&key.raise(&good), key.octets());
        theirs = key.verifies(&good, &signature);
        signature
    });
    Case {
        name: name.to_owned(),
        wanted,
        ours,
        theirs,
    }
}

#[test]
fn moduli_have_2048_bits_or_more() {
    let (p, q) = primes(KeySize::Rsa2048);
    let short = (2_u32..)
        .map(|above| next_prime(&(&p >> above)))
        .find_map(|p| Key::from(&p, &q, 65_537))
        .unwrap();
    let mut cases = vec![key_case("2046 bits", false, &short, &short.spki())];
    for (name, size) in [
        ("2048 bits", KeySize::Rsa2048),
        ("3072 bits", KeySize::Rsa3072),
        ("4096 bits", KeySize::Rsa4096),
    ] {
        let key = Key::generate(size);
        cases.push(key_case(name, true, &key, &key.spki()));
    }
    compare(
        cases,
        &[("2046 bits", "no genuine chain has less than 2048 bits")],
    );
}

/// By Fermat's test, which errs on numbers nobody meets by accident.
fn next_prime(from: &BigUint) -> BigUint {
    let one = small(1);
    let mut candidate = from | &one;
    while small(2).modpow(&(&candidate - &one), &candidate) != one {
        candidate += small(2);
    }
    candidate
}

#[test]
fn exponents_and_moduli_are_those_of_a_key() {
    let key = THREE.clone();
    let identity = |n: &BigUint| Key {
        n: n.clone(),
        e: small(1),
        d: small(1),
    };
    // Everything is its own signature.
    let one = identity(&key.n);
    let even = identity(&(&key.n - small(1)));
    let (p, q) = primes(KeySize::Rsa2048);
    let wide = std::iter::successors(Some((small(1) << 40) + small(1)), |e: &BigUint| {
        Some(e + small(2))
    })
    .find_map(|e| {
        let phi = (&p - small(1)) * (&q - small(1));
        let d = e.modinv(&phi)?;
        Some(Key { n: &p * &q, e, d })
    })
    .unwrap();
    let huge = Key {
        e: &key.e + (&key.n << 1),
        ..key.clone()
    };
    let zero = Key {
        e: BigUint::ZERO,
        ..key.clone()
    };
    let two = Key {
        e: small(2),
        ..key.clone()
    };
    let cases = vec![
        key_case("genuine, 3", true, &key, &key.spki()),
        key_case("exponent 1", false, &one, &one.spki()),
        key_case("even modulus", false, &even, &even.spki()),
        key_case("exponent of 41 bits", false, &wide, &wide.spki()),
        key_case("exponent above the modulus", false, &huge, &huge.spki()),
        key_case("exponent 0", false, &zero, &zero.spki()),
        key_case("exponent 2", false, &two, &two.spki()),
    ];
    compare(
        cases,
        &[
            ("exponent 1", "everything would be its own signature"),
            ("even modulus", "it is no product of two odd primes"),
            (
                "exponent of 41 bits",
                "no certificate has one above 33 bits",
            ),
        ],
    );
}

#[test]
fn a_key_is_written_in_one_way() {
    let key = &*THREE;
    let (n, e) = (&key.n, &key.e);
    let public = key.public();
    let n_octets = n.to_bytes_be();
    let negative = tlv(2, &n_octets);
    let zeros = tlv(2, &[&[0, 0], &n_octets[..]].concat());
    let wide = [&[0x30, 0x83, 0], &public[2..]].concat();
    let spkis = [
        ("genuine", key.spki()),
        ("NULL missing", wrapped(&[], &public)),
        ("two NULLs", wrapped(&[null(), null()], &public)),
        ("NULL with content", wrapped(&[tlv(5, &[0])], &public)),
        ("a trailing octet", spki(&[&public[..], &[0]].concat())),
        (
            "a third number",
            spki(&sequence(&[number(n), number(e), number(e)])),
        ),
        (
            "a version before",
            spki(&sequence(&[number(&BigUint::ZERO), number(n), number(e)])),
        ),
        ("modulus negative", spki(&sequence(&[negative, number(e)]))),
        (
            "modulus with zeros before",
            spki(&sequence(&[zeros, number(e)])),
        ),
        (
            "exponent with zeros before",
            spki(&sequence(&[number(n), tlv(2, &[0, 0, 3])])),
        ),
        (
            "exponent negative",
            spki(&sequence(&[number(n), tlv(2, &[0xfd])])),
        ),
        (
            "exponent without content",
            spki(&sequence(&[number(n), tlv(2, &[])])),
        ),
        ("swapped", spki(&sequence(&[number(e), number(n)]))),
        ("length in more octets", spki(&wide)),
        ("exponent missing", spki(&sequence(&[number(n)]))),
        ("the SPKI as the key", spki(&key.spki())),
        (
            "the numbers without their sequence",
            spki(&[number(n), number(e)].concat()),
        ),
        ("nothing", spki(&[])),
    ];
    for (name, spki) in spkis {
        let case = key_case(name, name == "genuine", key, &spki);
        assert!(case.theirs);
        assert_eq!(case.ours, case.wanted, "{name}");
    }
}

#[test]
fn digests_are_those_of_the_named_algorithm() {
    let key = &*THREE;
    let spki = key.spki();
    let signed_with = |oid: &[u8], info: &[u8], hash: &'static digest::Algorithm| {
        let algorithm = algorithm(oid, true);
        let issuer = Issuer {
            spki: &spki,
            algorithm: &algorithm,
        };
        believed(&issuer, |signed| {
            let info = digest_info(info, digest(hash, signed).as_ref());
            fixed(&key.raise(&padded(&info, key.octets())), key.octets())
        })
    };
    let digests: [(&[u8], &'static digest::Algorithm); 4] = [
        (SHA1, &digest::SHA1_FOR_LEGACY_USE_ONLY),
        (SHA256, &digest::SHA256),
        (SHA384, &digest::SHA384),
        (SHA512, &digest::SHA512),
    ];
    for (oid, wanted) in [
        (RSA_SHA1, None),
        (RSA_PSS, None),
        (RSA_ENCRYPTION, None),
        (RSA_SHA256, Some(SHA256)),
        (RSA_SHA384, Some(SHA384)),
        (RSA_SHA512, Some(SHA512)),
    ] {
        for (info, hash) in digests {
            let believed = signed_with(oid, info, hash);
            assert_eq!(believed, wanted == Some(info), "{oid:02x?} {info:02x?}");
        }
    }
}
