//! Made-up App Attest attestations: what somebody does who has an authority of their own, or a
//! genuine phone and the right to change every byte that is not signed.

use assay::attestation::apple::{Attestation, Environment, InputError, OBJECT_BYTES_MAX};
use assay::attestation::roots::AppleRoots;
use assay::attestation::{Given, Outcome as CheckOutcome};
use assay::key::sha256;
use assay::reason::Reason;
use rcgen::{
    BasicConstraints, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};

use crate::apple_matrix::{
    APP, BOOT, CERTIFIED_APP, CHAIN, CHALLENGE, COSE_KEY, COUNTER, CREDENTIAL, ENVIRONMENT, Group,
    ISSUER, KEY_ID, LEAF_KEY, LEAF_USAGE, Outcome, Subject, VALIDITY,
};
use crate::apple_support::{
    AUTHORITY, BUNDLE, Cbor, DAY, IMPOSTOR, NOW, Plan, Signer, TEAM, app_extension, built_in_roots,
    cose_key, der, examine, extension, facts_of, nonce_value, now, seconds, tagged, verdict,
};

/// The access control list Apple documents for macOS.
const MAC_ACL_BLOB: &str =
    "MEAMAjExMDowCQwCb2uhAwEB/zAJDAJvYaEDAQH/MAsMBG9kZWyhAwEB/zAVDARvc2duoAYMBHJzZWMwBaYDAgEB";

impl Subject for Plan {
    fn genuine() -> Self {
        Self::of(&AUTHORITY)
    }

    fn outcome(&self) -> Outcome {
        let attested = self.examine().into_attested();
        attested
            .map(drop)
            .map_err(|rejection| (rejection.reason, rejection.name))
    }
}

pub(crate) static GROUPS: [&Group<Plan>; 7] =
    [&CHAINS, &DATES, &LEAVES, &NONCES, &APPS, &KEYS, &MACS];

static CHAINS: Group<Plan> = Group {
    test: "apple_attacks::refuses_chains_that_do_not_lead_to_the_root",
    rows: &[
        (CHAIN, "copied names, other keys", |plan| {
            *plan = Plan::of(&IMPOSTOR)
        }),
        (CHAIN, "self-signed leaf", |plan| {
            plan.leaf_signer = Signer::Itself
        }),
        (
            CHAIN,
            "leaf signed by the root past the intermediate",
            |plan| {
                plan.leaf_signer = Signer::Root;
            },
        ),
        (CHAIN, "changed signature of the leaf", |plan| {
            plan.leaf_changed = Box::new(|leaf| *leaf.last_mut().unwrap() ^= 1);
        }),
        (CHAIN, "intermediate that is no authority", |plan| {
            plan.intermediate.is_ca = IsCa::ExplicitNoCa;
        }),
        (CHAIN, "intermediate without basic constraints", |plan| {
            plan.intermediate.is_ca = IsCa::NoCa;
        }),
        (
            ISSUER,
            "intermediate that may not sign certificates",
            |plan| {
                plan.intermediate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            },
        ),
        (CHAIN, "no certificate", |plan| {
            plan.chain = Box::new(|_| Vec::new())
        }),
        (CHAIN, "leaf alone", |plan| {
            plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf)]);
        }),
        (CHAIN, "chain reversed", |plan| {
            plan.chain = Box::new(|[leaf, intermediate, _]| {
                vec![Cbor::Bytes(intermediate), Cbor::Bytes(leaf)]
            });
        }),
        (CHAIN, "root in the chain", |plan| {
            plan.chain = Box::new(|chain| chain.map(Cbor::Bytes).into());
        }),
        (CHAIN, "root in the place of the intermediate", |plan| {
            plan.chain = Box::new(|[leaf, _, root]| vec![Cbor::Bytes(leaf), Cbor::Bytes(root)]);
        }),
        (CHAIN, "leaf in the place of the intermediate", |plan| {
            plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf); 2].to_vec());
        }),
        (CHAIN, "unknown critical extension of the leaf", |plan| {
            let mut unknown = extension(99, vec![0x05, 0x00]);
            unknown.set_criticality(true);
            plan.leaf.custom_extensions.push(unknown);
        }),
        (
            CHAIN,
            "leaf of the attacker's under a genuine leaf",
            |plan| {
                plan.leaf_signer = Signer::AttestedKey;
            },
        ),
        (
            CHAIN,
            "leaf of the attacker's, genuine leaf and intermediate",
            |plan| {
                plan.leaf_signer = Signer::AttestedKey;
                plan.chain = Box::new(|chain| chain.map(Cbor::Bytes).into());
            },
        ),
        (CHAIN, "intermediate twice", |plan| {
            plan.chain =
                Box::new(|[_, intermediate, _]| vec![Cbor::Bytes(intermediate); 2].to_vec());
        }),
        (
            CHAIN,
            "intermediate of another authority of the same name",
            |plan| {
                plan.chain = Box::new(|[leaf, ..]| {
                    let [_, other] = x5c(&Plan::of(&IMPOSTOR).object());
                    vec![Cbor::Bytes(leaf), Cbor::Bytes(other)]
                });
            },
        ),
        (CHAIN, "changed signature of the intermediate", |plan| {
            plan.chain = Box::new(|[leaf, mut intermediate, _]| {
                *intermediate.last_mut().unwrap() ^= 1;
                vec![Cbor::Bytes(leaf), Cbor::Bytes(intermediate)]
            });
        }),
        (CHAIN, "changed serial number of the leaf", |plan| {
            plan.leaf_changed = Box::new(|leaf| {
                let serial = [0x01, 0xa3, 0x18, 0x5c, 0x50, 0x00];
                let at = leaf.windows(6).position(|window| window == serial).unwrap();
                leaf[at] ^= 2;
            });
        }),
        (
            CHAIN,
            "unknown critical extension of the intermediate",
            |plan| {
                let mut unknown = extension(99, vec![0x05, 0x00]);
                unknown.set_criticality(true);
                plan.intermediate.custom_extensions.push(unknown);
            },
        ),
        (CHAIN, "critical nonce extension", |plan| {
            let mut nonce = extension(2, nonce_value(&plan.right_nonce()));
            nonce.set_criticality(true);
            plan.leaf.custom_extensions.push(nonce);
            plan.nonce = Box::new(|_| Vec::new());
        }),
        (
            CHAIN,
            "signature algorithm inside and outside differ",
            |plan| {
                plan.leaf_changed = Box::new(|leaf| {
                    let with_sha384 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
                    let mut windows = leaf.windows(8);
                    let at = windows.rposition(|window| window == with_sha384).unwrap();
                    leaf[at + 7] = 0x02;
                });
            },
        ),
        (CHAIN, "more certificates than any chain has", |plan| {
            plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf); 9].to_vec());
        }),
    ],
};

#[test]
fn refuses_chains_that_do_not_lead_to_the_root() {
    CHAINS.run();
}

static DATES: Group<Plan> = Group {
    test: "apple_attacks::refuses_certificates_outside_their_validity",
    rows: &[
        (VALIDITY, "expired leaf", |plan| {
            plan.leaf.not_after = seconds(NOW - 1)
        }),
        (VALIDITY, "leaf of the future", |plan| {
            plan.leaf.not_before = seconds(NOW + 1)
        }),
        (VALIDITY, "expired intermediate", |plan| {
            plan.intermediate.not_after = seconds(NOW - 1);
        }),
        (VALIDITY, "intermediate of the future", |plan| {
            plan.intermediate.not_before = seconds(NOW + 1);
        }),
        (
            VALIDITY,
            "genuine attestation kept for three days",
            |plan| {
                plan.at = NOW + 3 * DAY;
            },
        ),
        (VALIDITY, "genuine attestation before its time", |plan| {
            plan.at = NOW - 2 * DAY;
        }),
        (VALIDITY, "clock before 1970", |plan| plan.at = -1),
        (VALIDITY, "leaf that ends before it begins", |plan| {
            plan.leaf.not_before = seconds(NOW);
            plan.leaf.not_after = seconds(NOW - 1);
            plan.at = NOW;
        }),
    ],
};

#[test]
fn refuses_certificates_outside_their_validity() {
    DATES.run();
}

static LEAVES: Group<Plan> = Group {
    test: "apple_attacks::refuses_leaves_that_are_no_signing_keys",
    rows: &[
        (CHAIN, "leaf that is an authority", |plan| {
            plan.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        (LEAF_USAGE, "leaf without digitalSignature", |plan| {
            plan.leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        }),
        (LEAF_USAGE, "leaf without keyUsage", |plan| {
            plan.leaf.key_usages.clear()
        }),
        (LEAF_USAGE, "leaf that may sign certificates", |plan| {
            plan.leaf.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }),
        (LEAF_USAGE, "leaf that may sign revocation lists", |plan| {
            plan.leaf.key_usages.push(KeyUsagePurpose::CrlSign);
        }),
        (CHAIN, "two keyUsage extensions", |plan| {
            let second = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 7, 0x80]);
            plan.leaf.custom_extensions.push(second);
        }),
        (CHAIN, "malformed extended key usage", |plan| {
            plan.raw_usage(&[0x30, 0x03, 0x02, 0x01, 0x01]);
        }),
        (CHAIN, "empty extended key usage", |plan| {
            plan.raw_usage(&[0x30, 0x00])
        }),
        (LEAF_KEY, "P-384 leaf", |plan| {
            plan.leaf_key = Some(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
        }),
        (LEAF_KEY, "RSA leaf", |plan| {
            plan.leaf_key = Some(KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        }),
        (LEAF_KEY, "Ed25519 leaf", |plan| {
            plan.leaf_key = Some(KeyPair::generate_for(&PKCS_ED25519).unwrap());
        }),
        (KEY_ID, "leaf for another P-256 key", |plan| {
            plan.leaf_key = Some(KeyPair::generate().unwrap());
        }),
    ],
};

#[test]
fn refuses_leaves_that_are_no_signing_keys() {
    LEAVES.run();
}

static NONCES: Group<Plan> = Group {
    test: "apple_attacks::refuses_nonces_that_are_not_exactly_the_one",
    rows: &[
        (CHALLENGE, "another nonce", |plan| {
            plan.nonce = Box::new(|_| vec![nonce_value(&[0; 32])]);
        }),
        (CHALLENGE, "no nonce", |plan| {
            plan.nonce = Box::new(|_| Vec::new())
        }),
        (CHALLENGE, "nonce under another tag", |plan| {
            plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0xa2, &der(0x04, nonce)))]);
        }),
        (CHALLENGE, "nonce without its tag", |plan| {
            plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0x04, nonce))]);
        }),
        (CHALLENGE, "two nonce extensions, first wrong", |plan| {
            plan.nonce = Box::new(|nonce| vec![nonce_value(&[0; 32]), nonce_value(nonce)]);
        }),
        (CHALLENGE, "two nonce extensions, second wrong", |plan| {
            plan.nonce = Box::new(|nonce| vec![nonce_value(nonce), nonce_value(&[0; 32])]);
        }),
        (CHALLENGE, "the same nonce extension twice", |plan| {
            plan.nonce = Box::new(|nonce| vec![nonce_value(nonce), nonce_value(nonce)]);
        }),
        (CHALLENGE, "two nonces in one extension", |plan| {
            plan.nonce = Box::new(|nonce| {
                let one = der(0xa1, &der(0x04, nonce));
                vec![der(0x30, &[one.clone(), one].concat())]
            });
        }),
        (CHALLENGE, "bytes behind the nonce", |plan| {
            plan.nonce = Box::new(|nonce| {
                let mut value = nonce_value(nonce);
                value.push(0);
                vec![value]
            });
        }),
        (CHALLENGE, "nonce cut short", |plan| {
            plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0xa1, &der(0x04, &nonce[..31])))]);
        }),
        (CHALLENGE, "nonce of 33 bytes", |plan| {
            plan.nonce = Box::new(|nonce| {
                let longer = [&nonce[..], &[0]].concat();
                vec![der(0x30, &der(0xa1, &der(0x04, &longer)))]
            });
        }),
        (CHALLENGE, "empty nonce", |plan| {
            plan.nonce = Box::new(|_| vec![der(0x30, &der(0xa1, &der(0x04, &[])))]);
        }),
        (CHALLENGE, "empty nonce extension", |plan| {
            plan.nonce = Box::new(|_| vec![Vec::new()])
        }),
        (CHALLENGE, "nonce under an implicit tag", |plan| {
            plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0x81, nonce))]);
        }),
        (CHALLENGE, "nonce as a bit string", |plan| {
            plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0xa1, &der(0x03, nonce)))]);
        }),
        (
            CHALLENGE,
            "nonce extension with a length not in its shortest form",
            |plan| {
                plan.nonce = Box::new(|nonce| {
                    let mut value = nonce_value(nonce);
                    value.insert(1, 0x81);
                    vec![value]
                });
            },
        ),
        (CHALLENGE, "nonce without any DER around it", |plan| {
            plan.nonce = Box::new(|nonce| vec![nonce.to_vec()])
        }),
        (CHALLENGE, "nonce of another extension", |plan| {
            let value = nonce_value(&plan.right_nonce());
            plan.leaf.custom_extensions.push(extension(3, value));
            plan.nonce = Box::new(|_| Vec::new());
        }),
        (CHALLENGE, "nonce hashed once more", |plan| {
            plan.nonce = Box::new(|nonce| vec![nonce_value(&sha256(nonce))]);
        }),
        (
            CHALLENGE,
            "client data hash in the place of the nonce",
            |plan| {
                let hash = plan.given_hash.clone().try_into().unwrap();
                plan.nonce = Box::new(move |_| vec![nonce_value(&hash)]);
            },
        ),
        (
            CHALLENGE,
            "nonce over the authenticator data alone",
            |plan| {
                plan.signed_hash.clear();
            },
        ),
        (CHALLENGE, "attestation of another challenge", |plan| {
            plan.signed_hash = vec![0xa5; 32];
        }),
        (CHALLENGE, "client data hash cut short", |plan| {
            plan.signed_hash.truncate(31)
        }),
        (CHALLENGE, "no client data hash", |plan| {
            plan.given_hash.clear()
        }),
        (
            CHALLENGE,
            "authenticator data changed behind the nonce",
            |plan| {
                let nonce = plan.right_nonce();
                plan.flags = 0xc0;
                plan.nonce = Box::new(move |_| vec![nonce_value(&nonce)]);
            },
        ),
        (
            CHALLENGE,
            "extension map taken away behind the nonce",
            |plan| {
                plan.tail =
                    Cbor::Map(vec![("apple_validation_category_01", Cbor::Unsigned(3))]).write();
                let nonce = plan.right_nonce();
                plan.tail.clear();
                plan.nonce = Box::new(move |_| vec![nonce_value(&nonce)]);
            },
        ),
    ],
};

#[test]
fn refuses_nonces_that_are_not_exactly_the_one() {
    NONCES.run();
}

static APPS: Group<Plan> = Group {
    test: "apple_attacks::refuses_another_app_or_environment",
    rows: &[
        (APP, "another app", |plan| {
            plan.app_id = format!("{TEAM}.com.example.other");
            plan.leaf.custom_extensions[0] = app_extension(&plan.app_id);
        }),
        (APP, "another app, name not in the clear", |plan| {
            plan.app_id = format!("{TEAM}.com.example.other");
            plan.leaf.custom_extensions.remove(0);
        }),
        (CERTIFIED_APP, "another app in the clear", |plan| {
            plan.leaf.custom_extensions[0] = app_extension("TEAM012345.com.example.other");
        }),
        (CERTIFIED_APP, "a second app in the clear", |plan| {
            let other = app_extension("TEAM012345.com.example.other");
            plan.leaf.custom_extensions.push(other);
        }),
        (
            CERTIFIED_APP,
            "a second app in the same extension",
            |plan| {
                let both = [
                    tagged(1204, &format!("{TEAM}.{BUNDLE}")),
                    tagged(1204, "TEAM012345.com.example.other"),
                ];
                plan.leaf.custom_extensions[0] = extension(5, der(0x30, &both.concat()));
            },
        ),
        (CERTIFIED_APP, "empty app in the clear", |plan| {
            plan.leaf.custom_extensions[0] = app_extension("");
        }),
        (ENVIRONMENT, "development key", |plan| {
            plan.aaguid = *b"appattestdevelop"
        }),
        (ENVIRONMENT, "sandbox key", |plan| {
            plan.aaguid = *b"appattestsandbox"
        }),
        (ENVIRONMENT, "production key with another tail", |plan| {
            plan.aaguid = *b"appattest\0\0\0\0\0\0\x01"
        }),
        (ENVIRONMENT, "environment of zeros", |plan| {
            plan.aaguid = [0; 16]
        }),
        (APP, "the same app of another team", |plan| {
            plan.app_id = format!("TEAM999999.{BUNDLE}");
            plan.leaf.custom_extensions[0] = app_extension(&plan.app_id);
        }),
        (APP, "app without its team", |plan| {
            plan.app_id = BUNDLE.to_owned();
            plan.leaf.custom_extensions[0] = app_extension(&plan.app_id);
        }),
        (APP, "app in capitals", |plan| {
            plan.app_id.make_ascii_uppercase()
        }),
        (APP, "an app below this one", |plan| {
            plan.app_id.push_str(".clip")
        }),
        (APP, "wildcard of the team", |plan| {
            plan.app_id = format!("{TEAM}.*")
        }),
        (
            APP,
            "key of an app that is configured otherwise here",
            |plan| {
                plan.expected.bundle_id.push_str(".beta");
            },
        ),
        (CERTIFIED_APP, "certified app in capitals", |plan| {
            plan.leaf.custom_extensions[0] = app_extension(&plan.app_id.to_uppercase());
        }),
        (
            CERTIFIED_APP,
            "certified app with a byte behind it",
            |plan| {
                plan.leaf.custom_extensions[0] = app_extension(&format!("{}\0", plan.app_id));
            },
        ),
        (
            ENVIRONMENT,
            "production key for a development app",
            |plan| {
                plan.expected.environment = Environment::Development;
            },
        ),
        (ENVIRONMENT, "development key with a byte changed", |plan| {
            plan.expected.environment = Environment::Development;
            plan.aaguid = *b"appattestdeveloP";
        }),
    ],
};

#[test]
fn refuses_another_app_or_environment() {
    APPS.run();
}

static KEYS: Group<Plan> = Group {
    test: "apple_attacks::refuses_keys_that_do_not_agree",
    rows: &[
        (CREDENTIAL, "another credential id", |plan| {
            plan.credential_id[0] ^= 1
        }),
        (COSE_KEY, "another COSE key", |plan| {
            plan.cose_key = cose_key(IMPOSTOR.device_key().as_bytes());
        }),
        (COSE_KEY, "COSE garbage", |plan| {
            plan.cose_key = vec![0xff; 77]
        }),
        (COSE_KEY, "COSE key of another algorithm", |plan| {
            plan.cose_key[4] = 0x27
        }),
        (COSE_KEY, "COSE key with y first", |plan| {
            plan.cose_key[7] = 0x22
        }),
        (COUNTER, "counter of 1", |plan| plan.counter = 1),
        (COUNTER, "counter of 2^32 − 1", |plan| {
            plan.counter = u32::MAX
        }),
        (KEY_ID, "key id of another key", |plan| {
            plan.key_id = sha256(IMPOSTOR.device_key().as_bytes()).to_vec();
        }),
        (KEY_ID, "key id and credential id of another key", |plan| {
            plan.key_id = sha256(IMPOSTOR.device_key().as_bytes()).to_vec();
            plan.credential_id = plan.key_id.clone();
        }),
        (
            KEY_ID,
            "key id, credential id and COSE key of another key",
            |plan| {
                let other = IMPOSTOR.device_key();
                plan.key_id = sha256(other.as_bytes()).to_vec();
                plan.credential_id = plan.key_id.clone();
                plan.cose_key = cose_key(other.as_bytes());
            },
        ),
        (KEY_ID, "key id over the compressed point", |plan| {
            let point = *AUTHORITY.device_key().as_bytes();
            let sign = 2 + (point[64] & 1);
            plan.key_id = sha256(&[&[sign], &point[1..33]].concat()).to_vec();
            plan.credential_id = plan.key_id.clone();
        }),
        (CREDENTIAL, "credential id of zeros", |plan| {
            plan.credential_id = vec![0; 32]
        }),
        (COSE_KEY, "COSE key of another type", |plan| {
            plan.cose_key[2] = 0x01
        }),
        (COSE_KEY, "COSE key of another curve", |plan| {
            plan.cose_key[6] = 0x02
        }),
        (COSE_KEY, "COSE key with x and y exchanged", |plan| {
            let mut point = *AUTHORITY.device_key().as_bytes();
            point[1..].rotate_left(32);
            plan.cose_key = cose_key(&point);
        }),
        (COSE_KEY, "COSE key with a bit of x changed", |plan| {
            plan.cose_key[40] ^= 1
        }),
        (COSE_KEY, "COSE key in another order", |plan| {
            let (x, y) = (plan.cose_key[7..42].to_vec(), plan.cose_key[42..].to_vec());
            plan.cose_key.truncate(7);
            plan.cose_key.extend([y, x].concat());
        }),
        (COSE_KEY, "COSE key of indefinite length", |plan| {
            plan.cose_key[0] = 0xbf;
        }),
    ],
};

#[test]
fn refuses_keys_that_do_not_agree() {
    KEYS.run();
}

fn mac(plan: &mut Plan, blobs: &[Vec<u8>]) {
    let system = der(
        0x30,
        &[tagged(1026, "macosx"), tagged(1400, "27.0")].concat(),
    );
    plan.leaf.custom_extensions[1] = extension(7, system);
    let blobs = blobs.iter().map(|blob| extension(6, blob.clone()));
    plan.leaf.custom_extensions.extend(blobs);
}

fn mac_acl_blob() -> Vec<u8> {
    data_encoding::BASE64
        .decode(MAC_ACL_BLOB.as_bytes())
        .unwrap()
}

/// A Mac in the documented boot state.
pub(crate) fn good_mac(plan: &mut Plan) -> Vec<u8> {
    mac(plan, &[mac_acl_blob()]);
    mac_acl_blob()
}

static MACS: Group<Plan> = Group {
    test: "apple_attacks::refuses_a_mac_without_the_documented_boot_state",
    rows: &[
        (BOOT, "Mac that names a phone's platform as well", |plan| {
            let system = [tagged(1026, "iphoneos"), tagged(1026, "macosx")].concat();
            plan.leaf.custom_extensions[1] = extension(7, der(0x30, &system));
        }),
        (BOOT, "Mac without a list of its boot state", |plan| {
            mac(plan, &[])
        }),
        (BOOT, "Mac with another list", |plan| {
            let mut other = mac_acl_blob();
            *other.last_mut().unwrap() = 0;
            mac(plan, &[other]);
        }),
        (BOOT, "Mac with a byte behind the list", |plan| {
            mac(plan, &[[mac_acl_blob(), vec![0]].concat()]);
        }),
        (BOOT, "Mac with the list twice", |plan| {
            mac(plan, &[mac_acl_blob(), mac_acl_blob()])
        }),
        (BOOT, "Mac with another list behind the right one", |plan| {
            mac(plan, &[mac_acl_blob(), vec![0x30, 0x00]]);
        }),
        (BOOT, "Mac with the list in another wrapping", |plan| {
            mac(plan, &[der(0x04, &mac_acl_blob())]);
        }),
        (BOOT, "Mac with an empty list", |plan| {
            mac(plan, &[Vec::new()])
        }),
        (
            BOOT,
            "Mac with a list longer than anything genuine",
            |plan| mac(plan, &[vec![0x30; 4000]]),
        ),
    ],
};

#[test]
fn refuses_a_mac_without_the_documented_boot_state() {
    MACS.run();
}

/// Both certificates of an object of the usual form.
fn x5c(object: &[u8]) -> [Vec<u8>; 2] {
    let mut found = Vec::new();
    let mut rest = object;
    while let Some(at) = rest.windows(2).position(|window| window == [0x30, 0x82]) {
        let length = usize::from(u16::from_be_bytes([rest[at + 2], rest[at + 3]])) + 4;
        found.push(rest[at..at + length].to_vec());
        rest = &rest[at + length..];
    }
    found.truncate(2);
    found.try_into().unwrap()
}

#[test]
fn refuses_input_beyond_its_bounds_before_reading_it() {
    let object = |bytes: usize| Attestation::new(vec![0; bytes], vec![0; 32]).map(drop);
    assert_eq!(object(OBJECT_BYTES_MAX), Ok(()));
    let refused = object(OBJECT_BYTES_MAX + 1).unwrap_err();
    assert_eq!(refused.reason(), Reason::EvidenceTooLarge);
    for bytes in [0, 31, 33, 64] {
        let refused = Attestation::new(Vec::new(), vec![0; bytes]).unwrap_err();
        assert_eq!(refused, InputError::KeyIdLength(bytes));
    }
}

#[test]
fn test_authorities_and_apple_do_not_vouch_for_each_other() {
    let plan = Plan::genuine();
    let evidence = Attestation::new(plan.object(), plan.key_id).unwrap();
    for roots in [built_in_roots(), IMPOSTOR.roots()] {
        let examination = examine(evidence.clone(), Given::default(), &roots, now());
        assert_eq!(verdict(examination), Err(Reason::AttestationChainUntrusted));
    }
    assert!(AppleRoots::from_pem("").is_err());
}

#[test]
fn everything_wrong_is_listed_at_once() {
    let mut plan = Plan::of(&IMPOSTOR);
    plan.nonce = Box::new(|_| Vec::new());
    plan.app_id = "TEAM012345.com.example.other".to_owned();
    plan.aaguid = [1; 16];
    plan.counter = 9;
    plan.leaf.not_after = seconds(NOW - 1);
    let examination = plan.examine();
    let failed = examination.checks.as_slice().iter();
    let failed: Vec<_> = failed
        .filter(|check| check.outcome != CheckOutcome::Passed)
        .map(|check| check.name)
        .collect();
    assert_eq!(
        failed,
        [
            "validity",
            "chain",
            "challenge",
            "counter",
            "app",
            "certified_app",
            "environment"
        ]
    );
    assert_eq!(examination.certificates.len(), 2);
    assert!(examination.into_attested().is_err());
}

#[test]
fn an_authority_in_the_place_of_the_leaf_is_refused_twice() {
    let mut plan = Plan::genuine();
    plan.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let examination = plan.examine();
    let failed = examination.checks.as_slice().iter();
    let failed: Vec<_> = failed
        .filter(|check| check.outcome != CheckOutcome::Passed)
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, ["chain", "leaf_usage"]);
}

#[test]
fn a_leaf_of_anybodys_making_does_not_fill_the_list_of_checks() {
    let mut plan = Plan::of(&IMPOSTOR);
    let wrong = tagged(1204, "x").repeat(1000);
    plan.leaf.custom_extensions[0] = extension(5, der(0x30, &wrong));
    mac(&mut plan, &[vec![0x30; 4000]]);
    let examination = plan.examine();
    let checks = examination.checks.as_slice();
    let certified = checks.iter().filter(|check| check.name == "certified_app");
    assert_eq!(certified.count(), 1);
    for check in checks {
        assert!(
            check.seen.len() < 400,
            "{} {}",
            check.name,
            check.seen.len()
        );
    }
}

#[test]
fn a_certificate_cannot_steer_a_terminal() {
    let mut plan = Plan::genuine();
    let name = "\u{1b}[2J\nverified";
    plan.leaf.distinguished_name.push(DnType::CommonName, name);
    let system = [tagged(1400, name), tagged(1403, "24A446")].concat();
    plan.leaf.custom_extensions[1] = extension(7, der(0x30, &system));
    plan.leaf.custom_extensions[0] = app_extension(name);
    let examination = plan.examine();
    let facts = facts_of(&examination);
    assert_eq!(facts.os_version, None);
    assert_eq!(facts.os_build.as_deref(), Some("24A446"));
    let texts = examination.checks.as_slice().iter();
    let texts = texts.flat_map(|check| [&check.seen, &check.wanted]);
    let names = examination.certificates.iter();
    let names = names.flat_map(|certificate| [&certificate.subject, &certificate.issuer]);
    for shown in texts.chain(names) {
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
    assert!(examination.certificates[0].subject.contains("verified"));
}
