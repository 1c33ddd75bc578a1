//! Made-up App Attest assertions: what an attacker may change, and the odd but genuine forms.

use assay::attestation::Outcome;
use assay::attestation::apple::assertion::{self, ASSERTION_BYTES_MAX, VerifiedAssertion};
use assay::key::{PublicKey, sha256};
use assay::reason::Reason;

use crate::apple_support::{
    AUTHORITY, BUNDLE, CLIENT_DATA_HASH, Cbor, IMPOSTOR, Plan, TEAM, app, der, extension_map,
};

const MALFORMED: Reason = Reason::EvidenceMalformed;
const APP: Reason = Reason::AttestationAppMismatch;
const INVALID: Reason = Reason::ProofInvalid;

/// An assertion to be made.
struct Signing {
    app_id: String,
    flags: u8,
    counter: u32,
    tail: Vec<u8>,
    signed: fn(&[u8]) -> Vec<u8>,
    signature_changed: fn(Vec<u8>) -> Vec<u8>,
    more: Vec<(&'static str, Cbor)>,
    behind: Vec<u8>,
}

impl Signing {
    fn genuine() -> Self {
        Self {
            app_id: format!("{TEAM}.{BUNDLE}"),
            flags: 0x40,
            counter: 8,
            tail: Vec::new(),
            signed: |data| sha256(data).to_vec(),
            signature_changed: |signature| signature,
            more: Vec::new(),
            behind: Vec::new(),
        }
    }

    fn object(&self) -> Vec<u8> {
        let data = [
            &sha256(self.app_id.as_bytes())[..],
            &[self.flags],
            &self.counter.to_be_bytes(),
            &self.tail,
        ]
        .concat();
        let message = (self.signed)(&[&data[..], &CLIENT_DATA_HASH].concat());
        let signature = (self.signature_changed)(AUTHORITY.sign(&message));
        let mut entries = vec![
            ("signature", Cbor::Bytes(signature)),
            ("authenticatorData", Cbor::Bytes(data)),
        ];
        entries.extend(self.more.iter().cloned());
        let mut out = Cbor::Map(entries).write();
        out.extend(&self.behind);
        out
    }

    fn verify(&self, after: Option<u32>) -> Result<VerifiedAssertion, Reason> {
        verified(&self.object(), &AUTHORITY.device_key(), after)
    }
}

fn verified(
    object: &[u8],
    key: &PublicKey,
    after: Option<u32>,
) -> Result<VerifiedAssertion, Reason> {
    assertion::verify(object, &CLIENT_DATA_HASH, key, &app(), after)
        .into_verified()
        .map_err(|rejection| rejection.reason)
}

/// What the case is, and what is changed for it.
type Odd = (&'static str, fn(&mut Signing));

/// Why it has to be refused, what the case is, and what is changed for it.
type Row = (Reason, &'static str, fn(&mut Signing));

fn refused(rows: &[Row]) {
    for (reason, name, change) in rows {
        let mut plan = Signing::genuine();
        change(&mut plan);
        assert_eq!(plan.verify(Some(7)).unwrap_err(), *reason, "{name}");
    }
}

#[test]
fn accepts_every_odd_but_genuine_assertion() {
    let rows: &[Odd] = &[
        ("nothing changed", |_| ()),
        ("no flag", |plan| plan.flags = 0),
        ("extension map with its flag", |plan| {
            plan.flags = 0xc0;
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        }),
        ("extension map without its flag", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(4));
        }),
        ("counter of 2^31", |plan| plan.counter = 1 << 31),
        ("largest counter", |plan| plan.counter = u32::MAX),
        ("unknown key", |plan| {
            plan.more.push(("cdHash", Cbor::Bytes(vec![1; 32])));
        }),
        ("the other of the two valid signatures", |plan| {
            plan.signature_changed = |signature| flipped(&signature);
        }),
    ];
    for (name, change) in rows {
        let mut plan = Signing::genuine();
        change(&mut plan);
        let verified = plan.verify(Some(7)).unwrap_or_else(|reason| {
            panic!("{name}: {reason}");
        });
        assert_eq!(verified.counter(), plan.counter, "{name}");
        let category = (!plan.tail.is_empty()).then_some(4);
        assert_eq!(
            verified.extensions().validation_category,
            category,
            "{name}"
        );
    }
}

#[test]
fn refuses_every_wrong_assertion() {
    let rows: &[Row] = &[
        (APP, "another app", |plan| plan.app_id.push('x')),
        (Reason::ProofReplayed, "equal counter", |plan| {
            plan.counter = 7
        }),
        (Reason::ProofReplayed, "lower counter", |plan| {
            plan.counter = 6
        }),
        (INVALID, "counter of 0", |plan| plan.counter = 0),
        (INVALID, "data hashed once only", |plan| {
            plan.signed = <[u8]>::to_vec;
        }),
        (INVALID, "data hashed three times", |plan| {
            plan.signed = |data| sha256(&sha256(data)).to_vec();
        }),
        (
            Reason::ProofInvalid,
            "signature over something else",
            |plan| {
                plan.signed = |_| vec![0; 32];
            },
        ),
        (INVALID, "no signature", |plan| {
            plan.signature_changed = |_| Vec::new();
        }),
        (INVALID, "bytes behind the signature", |plan| {
            plan.signature_changed = |signature| [signature, vec![0]].concat();
        }),
        (INVALID, "signature as r and s", |plan| {
            plan.signature_changed = |signature| numbers(&signature).concat();
        }),
        (
            Reason::ProofInvalid,
            "numbers with a needless zero",
            |plan| {
                plan.signature_changed = |signature| {
                    let padded = |n: &[u8; 32]| der(0x02, &[&[0, 0][..], n].concat());
                    let [r, s] = numbers(&signature);
                    der(0x30, &[padded(&r), padded(&s)].concat())
                };
            },
        ),
        (INVALID, "r and s of 0", |plan| {
            plan.signature_changed = |_| der(0x30, &[2, 1, 0, 2, 1, 0]);
        }),
    ];
    refused(rows);
    let object = Signing::genuine().object();
    let other = verified(&object, &IMPOSTOR.device_key(), Some(7));
    assert_eq!(other.unwrap_err(), INVALID);
}

#[test]
fn refuses_assertions_of_another_form() {
    let rows: &[Row] = &[
        (MALFORMED, "bytes behind the object", |plan| {
            plan.behind = vec![0]
        }),
        (MALFORMED, "bytes behind the data", |plan| {
            plan.tail = vec![0]
        }),
        (MALFORMED, "two maps behind the data", |plan| {
            plan.tail = vec![0xa0, 0xa0];
        }),
        (MALFORMED, "signature twice", |plan| {
            plan.more.push(("signature", Cbor::Bytes(Vec::new())));
        }),
        (MALFORMED, "deep nesting", |plan| {
            plan.more.push(("later", Cbor::Raw(vec![0x81; 2000])));
        }),
        (Reason::EvidenceTooLarge, "too large", |plan| {
            let filling = Cbor::Bytes(vec![0; ASSERTION_BYTES_MAX]);
            plan.more.push(("later", filling));
        }),
    ];
    refused(rows);
}

#[test]
fn a_counter_compared_with_nothing_is_not_verified() {
    let examination = |counter| {
        let plan = Signing {
            counter,
            ..Signing::genuine()
        };
        let object = plan.object();
        let key = AUTHORITY.device_key();
        assertion::verify(&object, &CLIENT_DATA_HASH, &key, &app(), None)
    };
    let unchecked = examination(8);
    let outcome = unchecked.checks.as_slice().last().unwrap();
    assert_eq!(
        (outcome.name, outcome.outcome),
        ("counter", Outcome::NotChecked)
    );
    assert_eq!(unchecked.facts.as_ref().unwrap().counter, 8);
    assert!(unchecked.checks.rejection().is_none());
    assert_eq!(unchecked.into_verified().unwrap_err().name, "counter");

    let zero = examination(0).checks.rejection().unwrap();
    assert_eq!((zero.name, zero.reason), ("counter", Reason::ProofInvalid));
}

#[test]
fn refuses_bytes_that_are_no_assertion() {
    for bytes in [
        &b""[..],
        b"\xa0",
        b"\x80",
        b"\xf6",
        &[0x81; ASSERTION_BYTES_MAX],
    ] {
        let refused = verified(bytes, &AUTHORITY.device_key(), Some(0)).unwrap_err();
        assert_eq!(refused, MALFORMED);
    }
    let attestation = Plan::genuine().object();
    let refused = verified(&attestation, &AUTHORITY.device_key(), Some(0)).unwrap_err();
    assert_eq!(refused, MALFORMED);
}

/// `r` and `s` of a DER signature.
fn numbers(signature: &[u8]) -> [[u8; 32]; 2] {
    let mut rest = &signature[2..];
    [(); 2].map(|()| {
        let length = usize::from(rest[1]);
        let digits = &rest[2..2 + length];
        rest = &rest[2 + length..];
        let first = digits.iter().position(|digit| *digit != 0).unwrap();
        let digits = &digits[first..];
        let mut number = [0; 32];
        number[32 - digits.len()..].copy_from_slice(digits);
        number
    })
}

/// The signature with `n − s` for `s`, `n` the order of P-256.
fn flipped(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
        0x25, 0x51,
    ];
    let [r, s] = numbers(signature);
    let mut other = [0; 32];
    let mut borrow = false;
    for index in (0..32).rev() {
        let (first, under) = ORDER[index].overflowing_sub(s[index]);
        let (digit, again) = first.overflowing_sub(u8::from(borrow));
        other[index] = digit;
        borrow = under || again;
    }
    let integer = |number: [u8; 32]| {
        let first = number.iter().position(|digit| *digit != 0).unwrap();
        let mut digits = number[first..].to_vec();
        if digits[0] >= 0x80 {
            digits.insert(0, 0);
        }
        der(0x02, &digits)
    };
    der(0x30, &[integer(r), integer(other)].concat())
}
