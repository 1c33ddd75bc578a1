//! Genuine phones that break a rule: every quirk of certificates and attestations that devices were
//! seen to have, accepted. A row of a table may have variants, which are numbers its closure is
//! given; `docs/attacks-android.md` shows all rows.

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};

use crate::android_attacks::{Case, described, factory_with, genuine, hardware, remote_with};
use crate::android_forge::*;

pub(crate) struct Quirk {
    pub(crate) name: &'static str,
    variants: &'static [u64],
    case: fn(u64) -> Case,
}

macro_rules! quirks {
    ($table:ident, $test:ident, $name_of_test:ident;
     $($name:literal: $variants:expr, $case:expr;)+) => {
        pub(crate) const $table: &[Quirk] = &[$(Quirk {
            name: $name,
            variants: &$variants,
            case: |variant| variant_of($case, variant),
        }),+];
        pub(crate) const $name_of_test: &str =
            concat!(module_path!(), "::", stringify!($test));

        #[test]
        fn $test() {
            accept_all($table);
        }
    };
}

fn variant_of<C: Into<Case>>(make: impl Fn(u64) -> C, variant: u64) -> Case {
    make(variant).into()
}

fn accept_all(quirks: &[Quirk]) {
    let mut wrong = Vec::new();
    for quirk in quirks {
        let whole = quirk.variants.is_empty().then_some(&0);
        for variant in quirk.variants.iter().chain(whole) {
            match (quirk.case)(*variant).verdict() {
                Ok(attested) => assert!(attested.checks().all_passed()),
                Err(refusal) => wrong.push(format!("{}, {variant}: {refusal:?}", quirk.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const SHORT_BATCH_END: &str = "20260524165259Z";

fn critical(octet: u8) -> Vec<u8> {
    extension(KEY_USAGE, Some(octet), &tlv(3, &[7, 0x80]))
}

/// A certificate whose key usage comes with this BOOLEAN.
fn with_critical(index: usize, octet: u8) -> Forge {
    remote_with(|f| {
        let place = usize::from(index > 0);
        f.certificates[index].extensions[place] = critical(octet);
    })
}

fn leaf_dates(not_before: Vec<u8>, not_after: Vec<u8>) -> Forge {
    remote_with(|f| {
        f.certificates[0].not_before = not_before;
        f.certificates[0].not_after = not_after;
    })
}

fn stating(tag: u32, value: Vec<u8>) -> Forge {
    described(|d| {
        d.hardware.retain(|(number, _)| *number != tag);
        d.hardware.push((tag, value));
    })
}

fn boot(key: &[u8], locked: u8, hash: Option<&[u8]>) -> Forge {
    stating(704, root_of_trust(key, locked, 0, hash))
}

/// With a further tag in the system's list (0) or the hardware's (1).
fn further(list: u64, tag: u32, value: Vec<u8>) -> Forge {
    described(|d| {
        let list = if list == 0 {
            &mut d.software
        } else {
            &mut d.hardware
        };
        list.push((tag, value));
    })
}

fn p384() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

/// Versions of attestation and key as devices state them.
const PAIRS: [(u64, u64); 8] = [
    (2, 1),
    (2, 3),
    (3, 4),
    (3, 41),
    (4, 41),
    (1, 2),
    (1, 0),
    (3, 3),
];

/// Which certificate has a quirk.
const BELOW_THE_ROOT: [u64; 4] = [0, 1, 2, 3];

fn at(variant: u64) -> usize {
    usize::try_from(variant).unwrap()
}

quirks! { CERTIFICATES, accepts_certificates_as_genuine_devices_have_them, TEST_OF_CERTIFICATES;
    "a remote chain": [], |_| remote_with(|_| {});
    "a factory chain": [], |_| factory_with(|_| {});
    "a factory chain without titles": [], |_| factory(&genuine(), None);
    "a factory chain of three certificates": [], |_| factory_with(|f| {
        f.certificates.remove(2);
    });
    "a remote chain of four certificates": [], |_| remote_with(|f| drop(f.certificates.remove(2)));
    "a secure element, factory": [],
        |_| factory(&genuine().at_level(2, 2), Some("StrongBox"));
    "a secure element, remote": [], |_| remote(&genuine().at_level(2, 2), "StrongBox");
    "a secure element that no certificate names": [],
        |_| factory(&genuine().at_level(2, 2), None);
    "the root left out": [], |_| remote_with(|f| f.root_sent = false);
    "NULL behind ECDSA algorithms, inside and outside": BELOW_THE_ROOT,
        |variant| remote_with(|f| {
            f.certificates[at(variant)].inner_algorithm = algorithm(ECDSA_SHA256, true);
            f.certificates[at(variant)].outer_algorithm = algorithm(ECDSA_SHA256, true);
        });
    "a P-256 key that signs with SHA-384": BELOW_THE_ROOT,
        |variant| crate::android_attacks::signed_with_sha_384(at(variant));
    "a P-384 key that signs with SHA-256": BELOW_THE_ROOT,
        |variant| crate::android_attacks::signed_by_p384(at(variant));
    "an RSA key among EC keys": BELOW_THE_ROOT,
        |variant| crate::android_attacks::signed_by_rsa(at(variant));
    "a critical BOOLEAN of 1": [0, 1, 2, 3, 4],
        |variant| with_critical(at(variant), 1);
    "an explicit critical BOOLEAN of 0": [0, 1, 2, 3, 4],
        |variant| with_critical(at(variant), 0);
    "an attestation certificate that is no authority": [], |_| remote_with(|f| {
        f.certificates[1].extensions =
            vec![extension(BASIC_CONSTRAINTS, Some(0xff), &sequence(&[]))];
    });
    "an attestation certificate whose key may not sign certificates": [], |_| remote_with(|f| {
        f.certificates[1].extensions = vec![critical(0xff)];
    });
    "an attestation certificate without extensions": [],
        |_| factory_with(|f| f.certificates[1].extensions.clear());
    "name constraints that are not critical": [1, 2, 3], |variant| remote_with(|f| {
        let constraints = extension(NAME_CONSTRAINTS, None, &sequence(&[]));
        f.certificates[at(variant)].extensions.push(constraints);
    });
    "the extension of Samsung's Knox beside the attestation": [], |_| remote_with(|f| {
        let knox = [0x2b, 6, 1, 4, 1, 0x81, 0x6c, 11, 3, 23, 7];
        f.certificates[0].extensions.push(extension(&knox, None, &sequence(&[])));
    });
    "a CRL distribution point of one zero octet": [], |_| remote_with(|f| {
        f.certificates[0].extensions.push(extension(&[0x55, 0x1d, 31], None, &[0]));
    });
    "rubbish where remote provisioning is described": [], |_| remote_with(|f| {
        f.certificates[1].extensions[2] = extension(PROVISIONING_INFO, None, &[0xff]);
    });
    "a leaf of 1970": [],
        |_| leaf_dates(time("19700101000000Z"), time("19700101000000Z"));
    "a leaf until 2106": [],
        |_| leaf_dates(time("19700101000000Z"), time("21060207062815Z"));
    "a leaf that begins in the future": [],
        |_| leaf_dates(time("20480101000000Z"), time("21060207062815Z"));
    "a leaf that ends before it begins": [],
        |_| leaf_dates(time("21060207062815Z"), time("19700101000000Z"));
    "a leaf with a date that is none": [],
        |_| leaf_dates(tlv(23, b"990231250061Z"), tlv(23, b""));
    "a GeneralizedTime before 2050": [1, 2, 3], |variant| remote_with(|f| {
        f.certificates[at(variant)].not_before = tlv(24, b"20260101000000Z");
        f.certificates[at(variant)].not_after = tlv(24, b"20270101000000Z");
    });
    "a UTCTime": [0, 1, 2, 3], |variant| remote_with(|f| {
        f.certificates[at(variant)].not_before = tlv(23, b"260101000000Z");
        f.certificates[at(variant)].not_after = tlv(23, b"270101000000Z");
    });
    "an expired factory certificate": [1, 2],
        |variant| factory_with(|f| f.certificates[at(variant)].not_after = time(SHORT_BATCH_END));
    "an expired root": [],
        |_| remote_with(|f| f.certificates[4].not_after = time(SHORT_BATCH_END));
    "a root of tomorrow": [],
        |_| remote_with(|f| f.certificates[4].not_before = time("20261123000000Z"));
    "a certificate below the root with a name of the future": [],
        |_| remote_with(|f| f.certificates[3].subject = common_name("Some Authority"));
    "another number behind Droid CA": [],
        |_| remote_with(|f| f.certificates[3].subject = droid_ca("Droid CA17"));
    "the attributes of a remote name in the other order": [1, 3], |variant| remote_with(|f| {
        let name = f.certificates[at(variant)].subject.clone();
        // Two attributes behind the two octets of the outer header.
        let first = 2 + 2 + usize::from(name[3]);
        let turned = [&name[first..], &name[2..first]].concat();
        f.certificates[at(variant)].subject = tlv(0x30, &turned);
    });
    "the attributes of a factory name in the other order": [1, 2], |variant| factory_with(|f| {
        let name = f.certificates[at(variant)].subject.clone();
        let first = 2 + 2 + usize::from(name[3]);
        let turned = [&name[first..], &name[2..first]].concat();
        f.certificates[at(variant)].subject = tlv(0x30, &turned);
        f.certificates[at(variant)].not_after = time(SHORT_BATCH_END);
    });
    "a leaf with a name of the app's choice": [],
        |_| remote_with(|f| f.certificates[0].subject = common_name("http://192.168.178.33:8080"));
    "a leaf without a name": [], |_| remote_with(|f| f.certificates[0].subject = sequence(&[]));
    "a leaf with a name of a thousand levels": [],
        |_| remote_with(|f| f.certificates[0].subject = crate::android_attacks::deep_name());
    "a leaf with the name of its issuer": [], |_| remote_with(|f| {
        f.certificates[0].subject = f.certificates[1].subject.clone();
    });
    "a leaf that names the wrong issuer": [], |_| factory_with(|f| {
        f.certificates[0].issuer = Some(f.certificates[2].subject.clone());
    });
    "a leaf with a serial number of its own": [],
        |_| remote_with(|f| f.certificates[0].serial = vec![0, 0xcc, 0x66]);
    "a serial number of 20 octets": BELOW_THE_ROOT,
        |variant| remote_with(|f| f.certificates[at(variant)].serial = vec![0x7f; 20]);
}

quirks! { ATTESTATIONS, accepts_attestations_as_genuine_devices_write_them, TEST_OF_ATTESTATIONS;
    "a version of attestations, known or of the future":
        [1, 2, 3, 4, 100, 200, 300, 400, 500, 501, 1_000, 4_000_000_000],
        |version| described(|d| d.version = version);
    "versions of attestation and key that differ: (2, 1) (2, 3) (3, 4) (3, 41) (4, 41) (1, 2)":
        [0, 1, 2, 3, 4, 5, 6, 7], |variant| described(|d| {
            let (attestation, key) = PAIRS[at(variant)];
            (d.version, d.key_version) = (attestation, Some(key));
        });
    "a root of trust of three fields": [], |_| boot(&[7; 32], 0xff, None);
    "a lock of 1 instead of 255": [], |_| boot(&[7; 32], 1, Some(&[8; 32]));
    "a boot key of zeros on a locked device": [], |_| boot(&[0; 32], 0xff, Some(&[8; 32]));
    "an empty boot key": [], |_| boot(&[], 0xff, Some(&[8; 32]));
    "an empty boot hash": [], |_| boot(&[7; 32], 0xff, Some(&[]));
    "sets that are not sorted": [], |_| described(|d| {
        *hardware(d, 1) = integers(&[3, 2]);
        *hardware(d, 5) = integers(&[6, 4, 0]);
    });
    "a set with a value twice": [], |_| described(|d| *hardware(d, 5) = integers(&[4, 4]));
    "a set in several parts": [], |_| described(|d| d.hardware.push((5, integers(&[6]))));
    "tags out of order": [], |_| described(|d| {
        d.hardware.reverse();
        d.software.reverse();
    });
    "a curve that is not the key's": [0, 2, 3, 4], |curve| stating(10, integer(curve));
    "no curve": [], |_| described(|d| d.hardware.retain(|(tag, _)| *tag != 10));
    "the variant of ML-DSA": [0, 1], |list| further(list, 11, integer(1));
    "a hash of modules": [0, 1], |list| further(list, 724, octets(&[3; 32]));
    "a limit of uses": [0, 1], |list| further(list, 405, integer(1));
    "a wish for confirmation by the user": [0, 1], |list| further(list, 508, null());
    "a wish for an unlocked screen": [0, 1], |list| further(list, 509, null());
    "unknown tags": [0, 1], |list| further(list, 999, integer(1));
    "an unknown tag beyond 16,383": [0, 1], |list| further(list, 20_000, sequence(&[null()]));
    "an unknown tag twice": [0, 1], |list| described(|d| {
        let list = if list == 0 { &mut d.software } else { &mut d.hardware };
        list.extend([(999, integer(1)), (999, integer(2))]);
    });
    "an unknown tag of a thousand levels": [0, 1],
        |list| further(list, 999, crate::android_attacks::deep_name());
    "a vendor's patch level of six digits": [], |_| stating(718, integer(201_809));
    "a boot patch level of day 00": [], |_| stating(719, integer(20_190_700));
    "a boot patch level years older than the system's": [], |_| stating(719, integer(20_190_606));
    "patch levels of zero": [], |_| described(|d| {
        for tag in [706, 718, 719] {
            *hardware(d, tag) = integer(0);
        }
    });
    "no patch levels": [],
        |_| described(|d| d.hardware.retain(|(tag, _)| ![706, 718, 719].contains(tag)));
    "a system of version zero": [], |_| stating(705, integer(0));
    "a time of creation since the device started":
        [380_245_353, 2_645_469_160, 2_875_905_368], |millis| described(|d| {
            d.software[0].1 = integer(millis);
        });
    "a time of creation by the hardware": [], |_| described(|d| {
        let created = d.software.remove(0);
        d.hardware.push(created);
    });
    "no time of creation": [], |_| described(|d| drop(d.software.remove(0)));
    "identifiers nobody asked for": [0, 1], |list| described(|d| {
        let list = if list == 0 { &mut d.software } else { &mut d.hardware };
        list.extend([717, 716, 712, 711, 710].map(|tag| (tag, octets(b"bogus"))));
    });
    "every tag there is in the system's list": [], |_| {
        let mut description = KeyDescription::complete();
        description.version = 500;
        remote(&description, "TEE")
    };
    "the origin by the system's word too": [], |_| further(0, 702, integer(2));
    "the root of trust by the system's word too": [],
        |_| further(0, 704, root_of_trust(&[0; 32], 0, 2, None));
    "the app in the hardware's list": [], |_| described(|d| {
        let app = d.software.remove(1);
        d.hardware.push(app);
    });
    "the app in both lists": [], |_| further(1, 709, application(&[PACKAGE], &[&SIGNER]));
    "a package beside it that may be there, and two signers": [], |_| described(|d| {
        let packages = ["com.example.shared", PACKAGE];
        d.software[1].1 = application(&packages, &[&[9; 32], &SIGNER]);
    });
    "a unique identifier": [], |_| described(|d| d.unique_id = vec![1; 16]);
    "use without the user, or with": [0, 1], |variant| described(|d| if variant == 1 {
        d.hardware.retain(|(tag, _)| *tag != 503);
        d.hardware.extend([(504, integer(0xffff_ffff)), (505, integer(0))]);
    });
    "a key of an old version for every app": [], |_| described(|d| {
        d.version = 2;
        d.software.push((600, null()));
        d.hardware.push((703, null()));
    });
}

fn allowed(change: impl FnOnce(&mut Forge)) -> Case {
    let mut forge = under_attest_key(remote_with(|_| {}), &KeyDescription::attest_key());
    change(&mut forge);
    Case::from(forge).allowing_attest_keys()
}

fn of_strongbox() -> Case {
    let attest_key = KeyDescription::attest_key().at_level(2, 2);
    let chain = remote(&genuine().at_level(2, 2), "StrongBox");
    Case::from(under_attest_key(chain, &attest_key)).allowing_attest_keys()
}

fn with_attest_key_changed(change: impl FnOnce(&mut KeyDescription)) -> Case {
    let mut description = KeyDescription::attest_key();
    change(&mut description);
    Case::from(under_attest_key(remote_with(|_| {}), &description)).allowing_attest_keys()
}

quirks! { ATTEST_KEYS, accepts_attest_keys_where_they_are_allowed, TEST_OF_ATTEST_KEYS;
    "a chain without one": [], |_| Case::from(remote_with(|_| {})).allowing_attest_keys();
    "an attest key, remote": [], |_| allowed(|_| {});
    "an attest key, factory": [], |_| Case::from(
        under_attest_key(factory_with(|_| {}), &KeyDescription::attest_key()),
    ).allowing_attest_keys();
    "an attest key of a secure element": [], |_| of_strongbox();
    "an attest key, the root left out": [], |_| allowed(|f| f.root_sent = false);
    "an attest key whose certificate ended long ago": [],
        |_| allowed(|f| f.certificates[1].not_after = time("19700101000000Z"));
    "an attest key with a serial number that is listed": [],
        |_| allowed(|f| f.certificates[1].serial = vec![0x77]).listed("77", "REVOKED");
    "an attest key that names the wrong issuer": [],
        |_| allowed(|f| f.certificates[1].issuer = Some(f.certificates[3].subject.clone()));
    "an attest key with a name that says secure element": [],
        |_| allowed(|f| f.certificates[1].subject = remote_key("bb09", "StrongBox"));
    "an attest key made by an older version of the app": [],
        |_| with_attest_key_changed(|d| {
            let package = sequence(&[octets(PACKAGE.as_bytes()), integer(6)]);
            let id = sequence(&[set(&[package]), set(&[octets(&SIGNER)])]);
            d.software[1].1 = octets(&id);
        });
    "an attest key of another version of the hardware's interface": [],
        |_| with_attest_key_changed(|d| d.version = 200);
    "an attest key on P-384": [], |_| allowed(|f| {
        f.certificates[1].key = p384();
        f.certificates[0].inner_algorithm = algorithm(ECDSA_SHA384, false);
        f.certificates[0].outer_algorithm = algorithm(ECDSA_SHA384, false);
    });
    "an attest key that is told twice to attest": [],
        |_| with_attest_key_changed(|d| d.hardware.push((1, integers(&[7]))));
}
