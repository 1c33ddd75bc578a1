//! Made-up App Attest assertions: what an attacker may change, and the odd but genuine forms.

use assay::attestation::apple::assertion::{
    self, ASSERTION_BYTES_MAX, AssertionExamination, Signer,
};
use assay::attestation::{AppleApp, Outcome as CheckOutcome};
use assay::key::sha256;

use crate::apple_matrix::{
    ACCEPTED, APP, Group, LAYOUT, OBJECT, Outcome, REPLAYED, SIGNATURE, Subject, TOO_LARGE, ZERO,
};
use crate::apple_support::{
    AUTHORITY, Authority, BUNDLE, CLIENT_DATA_HASH, Cbor, IMPOSTOR, Plan, TEAM, app, der,
    extension_map,
};

/// An assertion to be made, and what it is compared with.
pub(crate) struct Signing {
    /// Whose key it has to be made with.
    expected_key: &'static Authority,
    expected: AppleApp,
    given_hash: Vec<u8>,
    counter_after: Option<u32>,
    authority: &'static Authority,
    pub(crate) app_id: String,
    flags: u8,
    pub(crate) counter: u32,
    tail: Vec<u8>,
    pub(crate) signed_hash: Vec<u8>,
    signed: fn(&[u8], &[u8]) -> Vec<u8>,
    data_changed: fn(&mut Vec<u8>),
    signature_changed: fn(Vec<u8>) -> Vec<u8>,
    more: Vec<(&'static str, Cbor)>,
    object_changed: fn(&mut Vec<u8>),
}

impl Subject for Signing {
    fn genuine() -> Self {
        Self {
            expected_key: &AUTHORITY,
            expected: app(),
            given_hash: CLIENT_DATA_HASH.to_vec(),
            counter_after: Some(7),
            authority: &AUTHORITY,
            app_id: format!("{TEAM}.{BUNDLE}"),
            flags: 0x40,
            counter: 8,
            tail: Vec::new(),
            signed_hash: CLIENT_DATA_HASH.to_vec(),
            signed: |data, hash| nonce(data, hash).to_vec(),
            data_changed: |_| (),
            signature_changed: |signature| signature,
            more: Vec::new(),
            object_changed: |_| (),
        }
    }

    fn outcome(&self) -> Outcome {
        let verified = self.examine(&self.object()).into_verified();
        verified
            .map(|verified| assert_eq!(verified.counter(), self.counter))
            .map_err(|rejection| (rejection.reason, rejection.name))
    }
}

impl Signing {
    fn data(&self) -> Vec<u8> {
        let mut data = [
            &sha256(self.app_id.as_bytes())[..],
            &[self.flags],
            &self.counter.to_be_bytes(),
            &self.tail,
        ]
        .concat();
        (self.data_changed)(&mut data);
        data
    }

    pub(crate) fn object(&self) -> Vec<u8> {
        let data = self.data();
        let message = (self.signed)(&data, &self.signed_hash);
        let signature = (self.signature_changed)(self.authority.sign(&message));
        let mut entries = vec![
            ("signature", Cbor::Bytes(signature)),
            ("authenticatorData", Cbor::Bytes(data)),
        ];
        entries.extend(self.more.iter().cloned());
        let mut out = Cbor::Map(entries).write();
        (self.object_changed)(&mut out);
        out
    }

    /// An announced map, and a key outside every signature.
    pub(crate) fn extend_fully(&mut self) {
        self.flags = 0xc0;
        self.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        self.more.push(("cdHash", Cbor::Bytes(vec![1; 32])));
    }

    /// What the verifier says of an object that was to be like this one.
    pub(crate) fn examine(&self, object: &[u8]) -> AssertionExamination {
        let signer = Signer {
            key: &self.expected_key.device_key(),
            app: &self.expected,
            counter_after: self.counter_after,
        };
        assertion::verify(object, &self.given_hash, &signer)
    }
}

fn nonce(data: &[u8], hash: &[u8]) -> [u8; 32] {
    sha256(&[data, hash].concat())
}

pub(crate) static REFUSED: [&Group<Signing>; 4] = [&CLAIMS, &SIGNATURES, &LAYOUTS, &ENCODINGS];

pub(crate) static ODD: Group<Signing> = Group {
    test: "apple_assertions::accepts_every_odd_but_genuine_assertion",
    rows: &[
        (ACCEPTED, "nothing changed", |_| ()),
        (ACCEPTED, "no flag", |plan| plan.flags = 0),
        (ACCEPTED, "iOS 27: extension map with its flag", |plan| {
            plan.flags = 0xc0;
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        }),
        (
            ACCEPTED,
            "macOS 27: map with code directory hash, no flag",
            |plan| {
                plan.tail = Cbor::Map(vec![
                    (
                        "apple_validation_category_01",
                        Cbor::Bytes(vec![6, 0, 0, 0]),
                    ),
                    ("apple_bundle_version_01", Cbor::Text("1")),
                    ("apple_cd_hash_hash_01", Cbor::Bytes(vec![9; 32])),
                    ("apple_cd_hash_type_01", Cbor::Bytes(vec![2])),
                ])
                .write();
            },
        ),
        (ACCEPTED, "category as a number", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(4));
        }),
        (ACCEPTED, "extension flag without a map", |plan| {
            plan.flags = 0xc0
        }),
        (ACCEPTED, "empty extension map", |plan| {
            plan.tail = vec![0xa0]
        }),
        (ACCEPTED, "unknown extension", |plan| {
            plan.tail = Cbor::Map(vec![("apple_new_02", Cbor::Unsigned(1))]).write();
        }),
        (ACCEPTED, "counter of 1, the first", |plan| {
            plan.counter = 1;
            plan.counter_after = Some(0);
        }),
        (ACCEPTED, "counter that skips many", |plan| {
            plan.counter = 70_000
        }),
        (ACCEPTED, "counter of 2^31", |plan| plan.counter = 1 << 31),
        (ACCEPTED, "counter past 2^31", |plan| {
            plan.counter_after = Some(1 << 31);
            plan.counter = (1 << 31) + 1;
        }),
        (ACCEPTED, "largest counter", |plan| {
            plan.counter_after = Some(u32::MAX - 1);
            plan.counter = u32::MAX;
        }),
        (ACCEPTED, "unsigned cdHash beside the rest", |plan| {
            plan.more.push(("cdHash", Cbor::Bytes(vec![1; 32])));
        }),
        (ACCEPTED, "the other of the two valid signatures", |plan| {
            plan.signature_changed = |signature| flipped(&signature);
        }),
        (
            ACCEPTED,
            "raw data in the place of its hash, as in Apple's guide",
            |plan| {
                plan.signed_hash = b"client data of the guide".to_vec();
                plan.given_hash.clone_from(&plan.signed_hash);
            },
        ),
        (
            ACCEPTED,
            "development app, which an assertion does not tell",
            |plan| {
                plan.expected.environment = assay::attestation::apple::Environment::Development;
            },
        ),
    ],
};

#[test]
fn accepts_every_odd_but_genuine_assertion() {
    ODD.run();
}

static CLAIMS: Group<Signing> = Group {
    test: "apple_assertions::refuses_what_was_not_signed_for_this",
    rows: &[
        (APP, "another app", |plan| plan.app_id.push('x')),
        (APP, "the same app of another team", |plan| {
            plan.app_id = format!("TEAM999999.{BUNDLE}");
        }),
        (APP, "an app that is configured otherwise here", |plan| {
            plan.expected.bundle_id.push_str(".beta");
        }),
        (SIGNATURE, "another key", |plan| plan.authority = &IMPOSTOR),
        (SIGNATURE, "key of another device", |plan| {
            plan.expected_key = &IMPOSTOR
        }),
        (SIGNATURE, "other client data", |plan| {
            plan.given_hash[0] ^= 1
        }),
        (SIGNATURE, "no client data", |plan| plan.given_hash.clear()),
        (SIGNATURE, "client data hash cut short", |plan| {
            plan.given_hash.truncate(31)
        }),
        (REPLAYED, "equal counter", |plan| plan.counter = 7),
        (REPLAYED, "lower counter", |plan| plan.counter = 6),
        (REPLAYED, "counter begun again after its end", |plan| {
            plan.counter_after = Some(u32::MAX);
            plan.counter = 1;
        }),
        (REPLAYED, "largest counter twice", |plan| {
            plan.counter_after = Some(u32::MAX);
            plan.counter = u32::MAX;
        }),
        (
            REPLAYED,
            "lower counter past 2^31, where a signed number is below 0",
            |plan| {
                plan.counter_after = Some(u32::MAX);
                plan.counter = 1 << 31;
            },
        ),
        (ZERO, "counter of 0", |plan| plan.counter = 0),
        (ZERO, "counter of 0 for a new key", |plan| {
            plan.counter_after = Some(0);
            plan.counter = 0;
        }),
        (SIGNATURE, "counter raised behind the signature", |plan| {
            plan.signed = |data, hash| {
                let mut before = data.to_vec();
                before[36] -= 1;
                nonce(&before, hash).to_vec()
            };
        }),
        (SIGNATURE, "map added behind the signature", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(4));
            plan.signed = |data, hash| nonce(&data[..37], hash).to_vec();
        }),
        (SIGNATURE, "map taken away behind the signature", |plan| {
            plan.signed = |data, hash| {
                let map = extension_map(Cbor::Unsigned(3));
                nonce(&[data, &map].concat(), hash).to_vec()
            };
        }),
    ],
};

#[test]
fn refuses_what_was_not_signed_for_this() {
    CLAIMS.run();
}

static SIGNATURES: Group<Signing> = Group {
    test: "apple_assertions::refuses_every_other_signature",
    rows: &[
        (SIGNATURE, "data hashed once only", |plan| {
            plan.signed = |data, hash| [data, hash].concat();
        }),
        (SIGNATURE, "data hashed three times", |plan| {
            plan.signed = |data, hash| sha256(&nonce(data, hash)).to_vec();
        }),
        (SIGNATURE, "client data hash in front of the data", |plan| {
            plan.signed = |data, hash| nonce(hash, data).to_vec();
        }),
        (SIGNATURE, "client data hash hashed once more", |plan| {
            plan.signed = |data, hash| nonce(data, &sha256(hash)).to_vec();
        }),
        (SIGNATURE, "authenticator data alone", |plan| {
            plan.signed = |data, _| sha256(data).to_vec();
        }),
        (SIGNATURE, "client data hash alone", |plan| {
            plan.signed = |_, hash| hash.to_vec()
        }),
        (SIGNATURE, "signature over something else", |plan| {
            plan.signed = |_, _| vec![0; 32];
        }),
        (SIGNATURE, "no signature", |plan| {
            plan.signature_changed = |_| Vec::new()
        }),
        (SIGNATURE, "bytes behind the signature", |plan| {
            plan.signature_changed = |signature| [signature, vec![0]].concat();
        }),
        (SIGNATURE, "bytes behind s in the sequence", |plan| {
            plan.signature_changed = |signature| sequence(&signature, |all| all.extend([5, 0]));
        }),
        (SIGNATURE, "signature cut short", |plan| {
            plan.signature_changed = |mut signature| {
                signature.pop();
                signature
            };
        }),
        (SIGNATURE, "signature as r and s", |plan| {
            plan.signature_changed = |signature| numbers(&signature).concat();
        }),
        (SIGNATURE, "r alone", |plan| {
            plan.signature_changed = |signature| der(0x30, &integer(numbers(&signature)[0]));
        }),
        (SIGNATURE, "r and s exchanged", |plan| {
            plan.signature_changed = |signature| {
                let [r, s] = numbers(&signature);
                der(0x30, &[integer(s), integer(r)].concat())
            };
        }),
        (SIGNATURE, "numbers with a needless zero", |plan| {
            plan.signature_changed = |signature| {
                let padded = |n: &[u8; 32]| der(0x02, &[&[0, 0][..], n].concat());
                let [r, s] = numbers(&signature);
                der(0x30, &[padded(&r), padded(&s)].concat())
            };
        }),
        (SIGNATURE, "numbers below 0", |plan| {
            plan.signature_changed = |signature| {
                let negative = |mut n: [u8; 32]| {
                    n[0] |= 0x80;
                    der(0x02, &n)
                };
                der(0x30, &numbers(&signature).map(negative).concat())
            };
        }),
        (SIGNATURE, "length not in its shortest form", |plan| {
            plan.signature_changed = |mut signature| {
                signature.insert(1, 0x81);
                signature
            };
        }),
        (SIGNATURE, "indefinite length", |plan| {
            plan.signature_changed = |mut signature| {
                signature[1] = 0x80;
                [signature, vec![0, 0]].concat()
            };
        }),
        (SIGNATURE, "set in the place of the sequence", |plan| {
            plan.signature_changed = |mut signature| {
                signature[0] = 0x31;
                signature
            };
        }),
        (SIGNATURE, "r and s of 0", |plan| {
            plan.signature_changed = |_| der(0x30, &[2, 1, 0, 2, 1, 0]);
        }),
        (SIGNATURE, "s of 0", |plan| {
            plan.signature_changed = |signature| {
                der(
                    0x30,
                    &[integer(numbers(&signature)[0]), vec![2, 1, 0]].concat(),
                )
            };
        }),
        (SIGNATURE, "r and s of the order", |plan| {
            plan.signature_changed = |_| der(0x30, &[integer(ORDER), integer(ORDER)].concat());
        }),
        (SIGNATURE, "s plus the order", |plan| {
            plan.signature_changed = |signature| {
                let [r, s] = numbers(&signature);
                der(0x30, &[integer(r), plus_order(s)].concat())
            };
        }),
    ],
};

#[test]
fn refuses_every_other_signature() {
    SIGNATURES.run();
}

static LAYOUTS: Group<Signing> = Group {
    test: "apple_assertions::refuses_authenticator_data_of_another_layout",
    rows: &[
        (LAYOUT, "bytes behind the data", |plan| plan.tail = vec![0]),
        (LAYOUT, "two maps behind the data", |plan| {
            plan.tail = vec![0xa0, 0xa0]
        }),
        (LAYOUT, "map with a byte behind it", |plan| {
            plan.tail = [extension_map(Cbor::Unsigned(4)), vec![0]].concat();
        }),
        (LAYOUT, "map of indefinite length", |plan| {
            plan.tail = vec![0xbf, 0xff]
        }),
        (LAYOUT, "an array", |plan| plan.tail = vec![0x80]),
        (LAYOUT, "the same extension twice", |plan| {
            let category = |number| ("apple_validation_category_01", Cbor::Unsigned(number));
            plan.tail = Cbor::Map(vec![category(4), category(3)]).write();
        }),
        (LAYOUT, "category as a text", |plan| {
            plan.tail = extension_map(Cbor::Text("4"))
        }),
        (LAYOUT, "category of three bytes", |plan| {
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0]));
        }),
        (LAYOUT, "header cut short", |plan| {
            plan.data_changed = |data| data.truncate(36)
        }),
        (LAYOUT, "empty data", |plan| plan.data_changed = Vec::clear),
        (
            LAYOUT,
            "attested key behind the header, as in an attestation",
            |plan| {
                plan.data_changed = |data| {
                    data.extend(Plan::genuine().auth_data().split_off(37));
                };
            },
        ),
    ],
};

#[test]
fn refuses_authenticator_data_of_another_layout() {
    LAYOUTS.run();
}

static ENCODINGS: Group<Signing> = Group {
    test: "apple_assertions::refuses_objects_of_another_form",
    rows: &[
        (OBJECT, "bytes behind the object", |plan| {
            plan.object_changed = |object| object.push(0)
        }),
        (OBJECT, "an object behind the object", |plan| {
            plan.object_changed = |object| object.extend([0xa0]);
        }),
        (OBJECT, "object cut short", |plan| {
            plan.object_changed = |object| {
                object.pop();
            };
        }),
        (OBJECT, "signature twice", |plan| {
            plan.more.push(("signature", Cbor::Bytes(Vec::new())));
        }),
        (OBJECT, "authenticatorData twice", |plan| {
            plan.more
                .push(("authenticatorData", Cbor::Bytes(Vec::new())));
        }),
        (OBJECT, "unknown key twice", |plan| {
            plan.more.push(("cdHash", Cbor::Bytes(Vec::new())));
            plan.more.push(("cdHash", Cbor::Bytes(Vec::new())));
        }),
        (OBJECT, "no signature in the object", |plan| {
            plan.object_changed = |object| object[2] ^= 1;
        }),
        (OBJECT, "an attestation", |plan| {
            plan.object_changed = |object| *object = small_attestation();
        }),
        (OBJECT, "deep nesting", |plan| {
            plan.more.push(("later", Cbor::Raw(vec![0x81; 2000])));
        }),
        (OBJECT, "object of indefinite length", |plan| {
            plan.object_changed = |object| {
                object[0] = 0xbf;
                object.push(0xff);
            };
        }),
        (
            OBJECT,
            "number of entries not in its shortest form",
            |plan| {
                plan.object_changed = |object| {
                    object.splice(..1, [0xb8, 0x02]);
                };
            },
        ),
        (OBJECT, "object under the tag for CBOR", |plan| {
            plan.object_changed = |object| {
                object.splice(..0, [0xd9, 0xd9, 0xf7]);
            };
        }),
        (OBJECT, "object in an array", |plan| {
            plan.object_changed = |object| object.insert(0, 0x81);
        }),
        (OBJECT, "signature as a text", |plan| {
            plan.object_changed = |object| {
                let at = object
                    .windows(9)
                    .position(|window| window == b"signature")
                    .unwrap();
                object.splice(at + 9.., [0x60]);
                object.extend(Cbor::Text("authenticatorData").write());
                object.extend(Cbor::Bytes(vec![0; 37]).write());
            };
        }),
        (OBJECT, "huge length in an unknown key", |plan| {
            plan.more.push((
                "later",
                Cbor::Raw(vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
            ));
        }),
        (OBJECT, "float in an unknown key", |plan| {
            plan.more.push(("later", Cbor::Raw(vec![0xf9, 0, 0])));
        }),
        (OBJECT, "no bytes", |plan| plan.object_changed = Vec::clear),
        (TOO_LARGE, "more bytes than any assertion has", |plan| {
            plan.more
                .push(("later", Cbor::Bytes(vec![0; ASSERTION_BYTES_MAX])));
        }),
    ],
};

#[test]
fn refuses_objects_of_another_form() {
    ENCODINGS.run();
}

/// An attestation object without its certificates, so that its size is no reason to refuse it.
fn small_attestation() -> Vec<u8> {
    let mut plan = Plan::genuine();
    plan.chain = Box::new(|_| Vec::new());
    plan.object()
}

/// The system signs header, map and whatever the app calls a hash, with nothing in between. Only the
/// flags in front tell whose the map is.
#[test]
fn a_map_that_an_app_put_in_front_of_the_hash_is_not_taken_for_announced() {
    let map = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
    let mut lured = Signing::genuine();
    lured.signed_hash = [&map[..], &CLIENT_DATA_HASH].concat();
    lured.data_changed = |data| data.extend(extension_map(Cbor::Bytes(vec![4, 0, 0, 0])));
    lured.signed = |data, hash| nonce(&data[..37], hash).to_vec();
    let verified = lured.examine(&lured.object()).into_verified().unwrap();
    assert_eq!(verified.extensions().validation_category, Some(4));
    assert!(!verified.extensions().announced);

    let mut said = Signing::genuine();
    said.flags = 0xc0;
    said.tail = map;
    let verified = said.examine(&said.object()).into_verified().unwrap();
    assert!(verified.extensions().announced);
}

#[test]
fn a_counter_compared_with_nothing_is_not_verified() {
    let mut signing = Signing::genuine();
    signing.counter_after = None;
    let unchecked = signing.examine(&signing.object());
    let outcome = unchecked.checks.as_slice().last().unwrap();
    assert_eq!(
        (outcome.name, outcome.outcome),
        ("counter", CheckOutcome::NotChecked)
    );
    assert_eq!(unchecked.facts.as_ref().unwrap().counter, 8);
    assert!(unchecked.checks.rejection().is_none());
    assert_eq!(unchecked.into_verified().unwrap_err().name, "counter");

    signing.counter = 0;
    assert_eq!(signing.outcome(), ZERO);
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

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The signature with `n − s` for `s`, `n` the order of P-256.
fn flipped(signature: &[u8]) -> Vec<u8> {
    let [r, s] = numbers(signature);
    let mut other = [0; 32];
    let mut borrow = false;
    for index in (0..32).rev() {
        let (first, under) = ORDER[index].overflowing_sub(s[index]);
        let (digit, again) = first.overflowing_sub(u8::from(borrow));
        other[index] = digit;
        borrow = under || again;
    }
    der(0x30, &[integer(r), integer(other)].concat())
}

/// `s` plus the order: congruent, but not below it.
fn plus_order(s: [u8; 32]) -> Vec<u8> {
    let mut sum = [0; 33];
    let mut carry = 0;
    for index in (0..32).rev() {
        let digits = u16::from(ORDER[index]) + u16::from(s[index]) + carry;
        sum[index + 1] = digits.to_be_bytes()[1];
        carry = digits >> 8;
    }
    sum[0] = carry.to_be_bytes()[1];
    let from = usize::from(sum[0] == 0 && sum[1] < 0x80);
    der(0x02, &sum[from..])
}

fn integer(number: [u8; 32]) -> Vec<u8> {
    let first = number.iter().position(|digit| *digit != 0).unwrap();
    let mut digits = number[first..].to_vec();
    if digits[0] >= 0x80 {
        digits.insert(0, 0);
    }
    der(0x02, &digits)
}

/// The signature with something done to the content of its sequence.
fn sequence(signature: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut content = signature[2..].to_vec();
    change(&mut content);
    der(0x30, &content)
}
