//! Attestations and assertions with bytes changed: nothing that is signed can be changed, and what
//! is accepted after a change says the same as before. No bytes whatever are more than refused.

use assay::attestation::apple::{Attestation, Facts};
use assay::attestation::{Examination, Given};
use assay::reason::Reason;
use proptest::prelude::*;

use crate::apple_assertions::Signing;
use crate::apple_matrix::Subject;
use crate::apple_support::{
    AUTHORITY, Cbor, Plan, examine, extension, extension_map, facts_of, now, verdict,
};

/// A full attestation: an announced map, and a key outside every signature.
fn full() -> Plan {
    let mut plan = Plan::genuine();
    plan.flags = 0xc0;
    plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
    plan.more_object.push(("cdHash", Cbor::Bytes(vec![1; 32])));
    plan
}

fn full_assertion() -> Signing {
    let mut signing = Signing::genuine();
    signing.extend_fully();
    signing
}

/// What an accepted attestation says.
fn said(examination: Examination) -> Option<Facts> {
    let facts = examination.facts.as_ref().map(|_| facts_of(&examination))?;
    examination.into_attested().ok().map(|_| facts)
}

/// Whether an attestation is refused, or says what the original said apart from the receipt, which
/// no signature of the attestation covers.
fn refused_or_same(examination: Examination, original: &Facts) -> bool {
    said(examination).is_none_or(|said| {
        let receipt = original.receipt.clone();
        Facts { receipt, ..said } == *original
    })
}

/// What is done to the bytes of an object.
#[derive(Debug, Clone)]
enum Edit {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Flip(at, by) => {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            }
            Self::Cut(at, count) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Copy(from, to, count) => {
                let from = from.index(bytes.len());
                let copied = bytes[from..(from + count).min(bytes.len())].to_vec();
                let to = to.index(bytes.len());
                bytes.splice(to..to, copied);
            }
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<prop::sample::Index>;
    let edit = prop_oneof![
        (index(), 1_u8..).prop_map(|(at, by)| Edit::Flip(at, by)),
        (index(), 1_usize..64).prop_map(|(at, count)| Edit::Cut(at, count)),
        (index(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, more)| Edit::Insert(at, more)),
        (index(), index(), 1_usize..64).prop_map(|(from, to, count)| Edit::Copy(from, to, count)),
    ];
    prop::collection::vec(edit, 1..4)
}

#[test]
fn every_byte_of_an_attestation_is_signed_or_says_nothing() {
    let plan = full();
    let object = plan.object();
    let original = said(plan.examine_object(object.clone())).unwrap();
    let mut refused = 0;
    for index in 0..object.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = object.clone();
            changed[index] ^= mask;
            let examination = plan.examine_object(changed);
            refused += usize::from(examination.checks.rejection().is_some());
            let passed = refused_or_same(examination, &original);
            assert!(passed, "byte {index} ^ {mask:#x}");
        }
        assert!(said(plan.examine_object(object[..index].to_vec())).is_none());
    }
    // The receipt, the unknown key and their names are all that is not signed.
    let unsigned = "receipt".len() * 2 + "cdHash".len() + 32 + 2;
    assert!(
        refused >= 3 * (object.len() - unsigned),
        "{refused} refused"
    );
}

#[test]
fn every_byte_of_an_assertion_is_signed_or_says_nothing() {
    let signing = full_assertion();
    let object = signing.object();
    let original = signing.examine(&object).into_verified().unwrap();
    for index in 0..object.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = object.clone();
            changed[index] ^= mask;
            if let Ok(verified) = signing.examine(&changed).into_verified() {
                assert_eq!(verified, original, "byte {index} ^ {mask:#x}");
            }
        }
        assert!(signing.examine(&object[..index]).into_verified().is_err());
    }
}

proptest! {
    #[test]
    fn an_edited_attestation_says_the_same_or_is_refused(edits in edits()) {
        let plan = full();
        let object = plan.object();
        let original = said(plan.examine_object(object.clone())).unwrap();
        let mut changed = object;
        edits.iter().for_each(|edit| edit.apply(&mut changed));
        prop_assert!(refused_or_same(plan.examine_object(changed), &original));
    }

    #[test]
    fn an_edited_assertion_says_the_same_or_is_refused(edits in edits()) {
        let signing = full_assertion();
        let mut changed = signing.object();
        let original = signing.examine(&changed).into_verified().unwrap();
        edits.iter().for_each(|edit| edit.apply(&mut changed));
        if let Ok(verified) = signing.examine(&changed).into_verified() {
            prop_assert_eq!(verified, original);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let signing = Signing::genuine();
        prop_assert!(signing.examine(&bytes).into_verified().is_err());
        let evidence = Attestation::new(bytes, vec![0; 32]).unwrap();
        let examination = examine(evidence, Given::default(), &AUTHORITY.roots(), now());
        prop_assert!(examination.checks.rejection().is_some());
    }

    #[test]
    fn arbitrary_parts_in_a_genuine_frame_are_refused(
        leaf in prop::collection::vec(any::<u8>(), 0..300),
        extension_value in prop::collection::vec(any::<u8>(), 0..80),
        tail in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let mut garbled = Plan::genuine();
        garbled.leaf_changed = Box::new(move |der| der.clone_from(&leaf));
        prop_assert_eq!(verdict(garbled.examine()), Err(Reason::EvidenceMalformed));

        let mut nonce = Plan::genuine();
        let value = extension_value.clone();
        nonce.nonce = Box::new(move |_| vec![value.clone()]);
        prop_assert_eq!(verdict(nonce.examine()), Err(Reason::AttestationChallengeMismatch));

        // The undocumented extensions are signals: nonsense in them is no reason to refuse.
        let mut signals = Plan::genuine();
        signals.leaf.custom_extensions =
            vec![extension(5, extension_value.clone()), extension(7, extension_value)];
        prop_assert_eq!(verdict(signals.examine()), Ok(()));

        let mut behind = Plan::genuine();
        behind.tail = [vec![0xff], tail].concat();
        prop_assert_eq!(verdict(behind.examine()), Err(Reason::EvidenceMalformed));
    }
}
