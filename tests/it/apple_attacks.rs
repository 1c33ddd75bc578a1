//! Made-up App Attest objects, signed under a test authority: everything an attacker may change,
//! with the reason it is refused for, and the odd but genuine forms that have to pass.

use assay::attestation::apple::{Attestation, Environment, Facts, OBJECT_BYTES_MAX};
use assay::attestation::roots::AppleRoots;
use assay::attestation::{AppleApp, AttestKeys, Examination, Facts as AnyFacts, Given, Outcome};
use assay::key::sha256;
use assay::reason::Reason;
use proptest::prelude::*;
use rcgen::{BasicConstraints, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384};

use crate::apple_support::{
    AUTHORITY, BUNDLE, CLIENT_DATA_HASH, Cbor, IMPOSTOR, NOW, Plan, Signer, TEAM, app,
    app_extension, built_in_roots, cose_key, der, examine, extension, extension_map, nonce_value,
    now, seconds, tagged, verdict,
};

const MALFORMED: Reason = Reason::EvidenceMalformed;
const UNTRUSTED: Reason = Reason::AttestationChainUntrusted;
const CHALLENGE: Reason = Reason::AttestationChallengeMismatch;
const APP: Reason = Reason::AttestationAppMismatch;
const ENVIRONMENT: Reason = Reason::AttestationEnvironmentMismatch;
const KEY: Reason = Reason::AttestationKeyRejected;
const BOOT: Reason = Reason::BootStateRejected;

/// Extended key usage of leaves issued since February 2026.
const APPLE_USAGE: &[u64] = &[1, 2, 840, 113_635, 100, 4, 24];

/// The access control list Apple documents for macOS.
const MAC_ACL_BLOB: &str =
    "MEAMAjExMDowCQwCb2uhAwEB/zAJDAJvYaEDAQH/MAsMBG9kZWyhAwEB/zAVDARvc2duoAYMBHJzZWMwBaYDAgEB";

/// What the case is, and what is changed for it.
type Odd = (&'static str, fn(&mut Plan));

fn accepted(rows: &[Odd]) {
    for (name, change) in rows {
        let mut plan = Plan::genuine();
        change(&mut plan);
        assert_eq!(plan.verdict(), Ok(()), "{name}");
    }
}

/// The check that has to refuse, what the case is, and what is changed for it.
type Row = (&'static str, &'static str, fn(&mut Plan));

fn refused(reason: Reason, rows: &[Row]) {
    assert_eq!(Plan::genuine().verdict(), Ok(()), "nothing changed");
    for (check, name, change) in rows {
        let mut plan = Plan::genuine();
        change(&mut plan);
        let rejection = plan.examine().into_attested().unwrap_err();
        assert_eq!(
            (rejection.reason, rejection.name),
            (reason, *check),
            "{name}"
        );
    }
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

fn facts_of(examination: &Examination) -> Facts {
    match &examination.facts {
        Some(AnyFacts::Apple(facts)) => (**facts).clone(),
        other => panic!("no Apple facts but {other:?}"),
    }
}

#[test]
fn accepts_every_odd_but_genuine_form() {
    let rows: &[Odd] = &[
        ("nothing changed", |_| ()),
        ("the key usage Apple added in 2026", |plan| {
            plan.usage(APPLE_USAGE)
        }),
        ("another key usage", |plan| {
            plan.usage(&[1, 3, 6, 1, 5, 5, 7, 3, 1])
        }),
        ("extension map with its flag", |plan| {
            plan.flags = 0xc0;
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        }),
        ("extension map without its flag", |plan| {
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0]));
        }),
        ("category as a number", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(4));
        }),
        ("extension flag without a map", |plan| plan.flags = 0xc0),
        ("empty extension map", |plan| plan.tail = vec![0xa0]),
        ("unknown extension", |plan| {
            plan.tail = Cbor::Map(vec![("apple_new_02", Cbor::Unsigned(1))]).write();
        }),
        ("code directory hash", |plan| {
            plan.tail = Cbor::Map(vec![
                ("apple_cd_hash_hash_01", Cbor::Bytes(vec![7; 32])),
                ("apple_cd_hash_type_01", Cbor::Bytes(vec![2])),
            ])
            .write();
        }),
        ("unsigned cdHash beside the rest", |plan| {
            plan.more_object.push(("cdHash", Cbor::Bytes(vec![1; 32])));
        }),
        ("unknown key in the statement", |plan| {
            plan.more_statement
                .push(("later", Cbor::Array(vec![Cbor::Raw(vec![0xf6])])));
        }),
        ("no receipt", |plan| plan.receipt = None),
    ];
    accepted(rows);
}

#[test]
fn accepts_every_odd_but_genuine_certificate() {
    let rows: &[Odd] = &[
        ("no app in the clear", |plan| {
            plan.leaf.custom_extensions.remove(0);
        }),
        ("app extension of another form", |plan| {
            plan.leaf.custom_extensions[0] = extension(5, b"\x04\x01?".to_vec());
        }),
        ("no system extension", |plan| {
            plan.leaf.custom_extensions.remove(1);
        }),
        ("system extension of another form", |plan| {
            plan.leaf.custom_extensions[1] = extension(7, vec![0xff; 9]);
        }),
        ("macOS with the documented boot state", |plan| {
            mac(plan, &[mac_acl_blob()]);
        }),
        ("iOS with some access control list", |plan| {
            plan.leaf
                .custom_extensions
                .push(extension(6, vec![0x30, 0x00]));
        }),
        ("issuer without keyUsage", |plan| {
            plan.intermediate.key_usages.clear()
        }),
        ("issuer with a path length of 0", |plan| {
            plan.intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }),
        ("first second of validity", |plan| {
            plan.leaf.not_before = seconds(NOW);
        }),
        ("last second of validity", |plan| {
            plan.leaf.not_after = seconds(NOW)
        }),
    ];
    accepted(rows);
}

#[test]
fn the_facts_of_a_2026_system_are_read() {
    let mut plan = Plan::genuine();
    plan.tail = Cbor::Map(vec![
        (
            "apple_validation_category_01",
            Cbor::Bytes(vec![6, 1, 0, 0]),
        ),
        ("apple_bundle_version_01", Cbor::Text("7.2")),
        ("apple_cd_hash_hash_01", Cbor::Bytes(vec![9; 32])),
        ("apple_cd_hash_type_01", Cbor::Bytes(vec![2])),
    ])
    .write();
    mac(&mut plan, &[mac_acl_blob()]);
    let facts = facts_of(&plan.examine());
    assert_eq!(facts.extensions.validation_category, Some(0x106));
    assert_eq!(facts.extensions.bundle_version.as_deref(), Some("7.2"));
    assert_eq!(facts.extensions.cd_hash, Some(vec![9; 32]));
    assert_eq!(facts.extensions.cd_hash_type, Some(2));
    assert_eq!(facts.app_id, Some(format!("{TEAM}.{BUNDLE}")));
    assert_eq!(facts.environment, Some(Environment::Production));
    assert_eq!(facts.platform.as_deref(), Some("macosx"));
    assert_eq!(facts.os_version.as_deref(), Some("27.0"));
    assert_eq!(facts.os_build, None);
    assert_eq!(facts.acl_blob, Some(mac_acl_blob()));
    assert_eq!(facts.leaf_serial, "1a3185c5000");
    assert_eq!(facts.receipt.as_deref(), Some(&b"receipt"[..]));
}

#[test]
fn refuses_chains_that_do_not_lead_to_the_root() {
    refused(
        UNTRUSTED,
        &[
            ("chain", "copied names, other keys", |plan| {
                *plan = Plan::of(&IMPOSTOR)
            }),
            ("chain", "self-signed leaf", |plan| {
                plan.leaf_signer = Signer::Itself
            }),
            (
                "chain",
                "leaf signed by the root past the intermediate",
                |plan| {
                    plan.leaf_signer = Signer::Root;
                },
            ),
            ("chain", "changed signature of the leaf", |plan| {
                plan.leaf_changed = Box::new(|leaf| *leaf.last_mut().unwrap() ^= 1);
            }),
            ("chain", "intermediate that is no authority", |plan| {
                plan.intermediate.is_ca = IsCa::ExplicitNoCa;
            }),
            ("chain", "intermediate without basic constraints", |plan| {
                plan.intermediate.is_ca = IsCa::NoCa;
            }),
            (
                "issuer_usage",
                "intermediate that may not sign certificates",
                |plan| {
                    plan.intermediate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                },
            ),
            ("chain", "no certificate", |plan| {
                plan.chain = Box::new(|_| Vec::new())
            }),
            ("chain", "leaf alone", |plan| {
                plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf)]);
            }),
            ("chain", "reversed", |plan| {
                plan.chain = Box::new(|[leaf, intermediate, _]| {
                    vec![Cbor::Bytes(intermediate), Cbor::Bytes(leaf)]
                });
            }),
            ("chain", "root in the chain", |plan| {
                plan.chain = Box::new(|chain| chain.map(Cbor::Bytes).into());
            }),
            ("chain", "root in the place of the intermediate", |plan| {
                plan.chain = Box::new(|[leaf, _, root]| vec![Cbor::Bytes(leaf), Cbor::Bytes(root)]);
            }),
            ("chain", "leaf twice", |plan| {
                plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf); 2].to_vec());
            }),
            ("chain", "unknown critical extension", |plan| {
                let mut unknown = extension(99, vec![0x05, 0x00]);
                unknown.set_criticality(true);
                plan.leaf.custom_extensions.push(unknown);
            }),
            ("chain", "malformed key usage", |plan| {
                plan.raw_usage(&[0x30, 0x03, 0x02, 0x01, 0x01])
            }),
            ("chain", "empty key usage", |plan| {
                plan.raw_usage(&[0x30, 0x00])
            }),
            ("chain", "leaf that is an authority", |plan| {
                plan.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
        ],
    );
}

#[test]
fn refuses_certificates_outside_their_validity() {
    refused(
        UNTRUSTED,
        &[
            ("validity", "expired leaf", |plan| {
                plan.leaf.not_after = seconds(NOW - 1)
            }),
            ("validity", "leaf of the future", |plan| {
                plan.leaf.not_before = seconds(NOW + 1)
            }),
            ("validity", "expired intermediate", |plan| {
                plan.intermediate.not_after = seconds(NOW - 1);
            }),
            ("validity", "intermediate of the future", |plan| {
                plan.intermediate.not_before = seconds(NOW + 1);
            }),
        ],
    );
    let mut plan = Plan::genuine();
    plan.intermediate.not_after = seconds(NOW - 1);
    let rejection = plan.examine().into_attested().unwrap_err();
    assert_eq!(rejection.name, "validity");
    assert_eq!(rejection.certificate_index, Some(1));
}

#[test]
fn refuses_nonces_that_are_not_exactly_the_one() {
    refused(
        CHALLENGE,
        &[
            ("challenge", "another nonce", |plan| {
                plan.nonce = Box::new(|_| vec![nonce_value(&[0; 32])]);
            }),
            ("challenge", "no nonce", |plan| {
                plan.nonce = Box::new(|_| Vec::new())
            }),
            ("challenge", "nonce under another tag", |plan| {
                plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0xa2, &der(0x04, nonce)))]);
            }),
            ("challenge", "nonce without its tag", |plan| {
                plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0x04, nonce))]);
            }),
            ("challenge", "two extensions, first wrong", |plan| {
                plan.nonce = Box::new(|nonce| vec![nonce_value(&[0; 32]), nonce_value(nonce)]);
            }),
            ("challenge", "two extensions, second wrong", |plan| {
                plan.nonce = Box::new(|nonce| vec![nonce_value(nonce), nonce_value(&[0; 32])]);
            }),
            ("challenge", "the same extension twice", |plan| {
                plan.nonce = Box::new(|nonce| vec![nonce_value(nonce), nonce_value(nonce)]);
            }),
            ("challenge", "two nonces in one extension", |plan| {
                plan.nonce = Box::new(|nonce| {
                    let one = der(0xa1, &der(0x04, nonce));
                    vec![der(0x30, &[one.clone(), one].concat())]
                });
            }),
            ("challenge", "bytes behind the nonce", |plan| {
                plan.nonce = Box::new(|nonce| {
                    let mut value = nonce_value(nonce);
                    value.push(0);
                    vec![value]
                });
            }),
            ("challenge", "nonce cut short", |plan| {
                plan.nonce =
                    Box::new(|nonce| vec![der(0x30, &der(0xa1, &der(0x04, &nonce[..31])))]);
            }),
        ],
    );
}

#[test]
fn refuses_another_app_or_environment() {
    refused(
        APP,
        &[
            ("app", "another app", |plan| {
                plan.app_id = format!("{TEAM}.com.example.other");
                plan.leaf.custom_extensions[0] = app_extension(&plan.app_id);
            }),
            ("app", "another app, name not in the clear", |plan| {
                plan.app_id = format!("{TEAM}.com.example.other");
                plan.leaf.custom_extensions.remove(0);
            }),
            ("certified_app", "another app in the clear", |plan| {
                plan.leaf.custom_extensions[0] = app_extension("TEAM012345.com.example.other");
            }),
            ("certified_app", "a second app in the clear", |plan| {
                let other = app_extension("TEAM012345.com.example.other");
                plan.leaf.custom_extensions.push(other);
            }),
            (
                "certified_app",
                "a second app in the same extension",
                |plan| {
                    let both = [
                        tagged(1204, &format!("{TEAM}.{BUNDLE}")),
                        tagged(1204, "TEAM012345.com.example.other"),
                    ];
                    plan.leaf.custom_extensions[0] = extension(5, der(0x30, &both.concat()));
                },
            ),
            ("certified_app", "empty app in the clear", |plan| {
                plan.leaf.custom_extensions[0] = app_extension("");
            }),
        ],
    );
    refused(
        ENVIRONMENT,
        &[
            ("environment", "development key", |plan| {
                plan.aaguid = *b"appattestdevelop"
            }),
            ("environment", "sandbox key", |plan| {
                plan.aaguid = *b"appattestsandbox"
            }),
            ("environment", "other tail", |plan| {
                plan.aaguid = *b"appattest\0\0\0\0\0\0\x01"
            }),
            ("environment", "zeros", |plan| plan.aaguid = [0; 16]),
        ],
    );
}

#[test]
fn a_production_key_is_refused_by_a_development_app() {
    let plan = Plan::genuine();
    let app = assay::attestation::AppIdentity {
        android: None,
        apple: Some(AppleApp {
            environment: Environment::Development,
            ..app()
        }),
    };
    let given = Given {
        binding: Some(&CLIENT_DATA_HASH),
        app: Some(&app),
        attest_keys: AttestKeys::Refuse,
    };
    let key_id = sha256(AUTHORITY.device_key().as_bytes()).to_vec();
    let evidence = Attestation::new(plan.object(), key_id).unwrap();
    let examination = examine(evidence, given, &AUTHORITY.roots(), now());
    assert_eq!(verdict(examination), Err(ENVIRONMENT));
}

#[test]
fn refuses_keys_that_do_not_agree() {
    refused(
        KEY,
        &[
            ("credential_id", "another credential id", |plan| {
                plan.credential_id[0] ^= 1
            }),
            ("cose_key", "another COSE key", |plan| {
                plan.cose_key = cose_key(IMPOSTOR.device_key().as_bytes());
            }),
            ("cose_key", "COSE garbage", |plan| {
                plan.cose_key = vec![0xff; 77]
            }),
            ("cose_key", "COSE key of another algorithm", |plan| {
                plan.cose_key[4] = 0x27
            }),
            ("cose_key", "COSE key with y first", |plan| {
                plan.cose_key[7] = 0x22
            }),
            ("counter", "counter of 1", |plan| plan.counter = 1),
            ("counter", "largest counter", |plan| plan.counter = u32::MAX),
            ("leaf_usage", "leaf without digitalSignature", |plan| {
                plan.leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            }),
            ("leaf_usage", "leaf without keyUsage", |plan| {
                plan.leaf.key_usages.clear()
            }),
            ("leaf_key", "P-384 leaf", |plan| {
                plan.leaf_key = Some(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
            }),
            ("key_id", "leaf for another P-256 key", |plan| {
                plan.leaf_key = Some(KeyPair::generate().unwrap());
            }),
        ],
    );
    let other = sha256(IMPOSTOR.device_key().as_bytes()).to_vec();
    assert_eq!(verdict(Plan::genuine().examine_as(other)), Err(KEY));
}

#[test]
fn refuses_a_mac_without_the_documented_boot_state() {
    refused(
        BOOT,
        &[
            ("boot_state", "platform named twice", |plan| {
                let system = [tagged(1026, "iphoneos"), tagged(1026, "macosx")].concat();
                plan.leaf.custom_extensions[1] = extension(7, der(0x30, &system));
            }),
            ("boot_state", "no access control list", |plan| {
                mac(plan, &[])
            }),
            ("boot_state", "another one", |plan| {
                let mut other = mac_acl_blob();
                *other.last_mut().unwrap() = 0;
                mac(plan, &[other]);
            }),
            ("boot_state", "longer", |plan| {
                mac(plan, &[[mac_acl_blob(), vec![0]].concat()]);
            }),
            ("boot_state", "twice", |plan| {
                mac(plan, &[mac_acl_blob(), mac_acl_blob()])
            }),
            ("boot_state", "another one behind the right one", |plan| {
                mac(plan, &[mac_acl_blob(), vec![0x30, 0x00]]);
            }),
        ],
    );
}

#[test]
fn refuses_authenticator_data_of_another_layout() {
    refused(
        MALFORMED,
        &[
            ("authenticator_data", "attested-data flag clear", |plan| {
                plan.flags = 0x00
            }),
            ("authenticator_data", "only the extension flag", |plan| {
                plan.flags = 0x80
            }),
            (
                "authenticator_data",
                "credential id of 0x89f4 bytes",
                |plan| plan.credential_length = 0x89f4,
            ),
            ("authenticator_data", "credential id of 0 bytes", |plan| {
                plan.credential_length = 0
            }),
            ("authenticator_data", "credential id of 33 bytes", |plan| {
                plan.credential_length = 33;
                plan.credential_id.push(0);
            }),
            ("authenticator_data", "COSE key missing", |plan| {
                plan.cose_key.clear()
            }),
            ("authenticator_data", "COSE key cut short", |plan| {
                plan.cose_key.truncate(76)
            }),
            ("authenticator_data", "a byte behind the COSE key", |plan| {
                plan.tail = vec![0]
            }),
            (
                "authenticator_data",
                "garbage behind the COSE key",
                |plan| plan.tail = vec![0xff; 40],
            ),
            ("authenticator_data", "two maps", |plan| {
                plan.tail = vec![0xa0, 0xa0]
            }),
            ("authenticator_data", "an array", |plan| {
                plan.tail = vec![0x80]
            }),
            ("authenticator_data", "map of indefinite length", |plan| {
                plan.tail = vec![0xbf, 0xff]
            }),
            ("authenticator_data", "key that is not a text", |plan| {
                plan.tail = vec![0xa1, 0x01, 0x01]
            }),
        ],
    );
}

#[test]
fn refuses_known_extensions_of_another_form() {
    refused(
        MALFORMED,
        &[
            ("authenticator_data", "the same extension twice", |plan| {
                plan.tail = Cbor::Map(vec![
                    ("apple_validation_category_01", Cbor::Unsigned(4)),
                    ("apple_validation_category_01", Cbor::Unsigned(3)),
                ])
                .write();
            }),
            ("authenticator_data", "category of three bytes", |plan| {
                plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0]));
            }),
            ("authenticator_data", "category as a text", |plan| {
                plan.tail = extension_map(Cbor::Text("4"))
            }),
            ("authenticator_data", "category beyond 32 bits", |plan| {
                plan.tail = extension_map(Cbor::Unsigned(1 << 32));
            }),
            ("authenticator_data", "version as a number", |plan| {
                let version = ("apple_bundle_version_01", Cbor::Unsigned(1));
                plan.tail = Cbor::Map(vec![version]).write();
            }),
            (
                "authenticator_data",
                "version with a control character",
                |plan| {
                    let version = ("apple_bundle_version_01", Cbor::Text("1\x1b[2J"));
                    plan.tail = Cbor::Map(vec![version]).write();
                },
            ),
            (
                "authenticator_data",
                "code directory hash of 65 bytes",
                |plan| {
                    let hash = ("apple_cd_hash_hash_01", Cbor::Bytes(vec![1; 65]));
                    plan.tail = Cbor::Map(vec![hash]).write();
                },
            ),
        ],
    );
}

#[test]
fn refuses_objects_of_another_form() {
    refused(
        MALFORMED,
        &[
            ("format", "format apple", |plan| {
                plan.format = Cbor::Text("apple")
            }),
            ("format", "format packed", |plan| {
                plan.format = Cbor::Text("packed")
            }),
            ("object", "format as bytes", |plan| {
                plan.format = Cbor::Bytes(b"apple-appattest".to_vec());
            }),
            ("object", "bytes behind the object", |plan| {
                plan.behind_object = vec![0]
            }),
            ("object", "an object behind the object", |plan| {
                plan.behind_object = vec![0xa0]
            }),
            ("object", "fmt twice", |plan| {
                plan.more_object
                    .push(("fmt", Cbor::Text("apple-appattest")));
            }),
            ("object", "attStmt twice", |plan| {
                plan.more_object.push(("attStmt", Cbor::Map(Vec::new())));
            }),
            ("object", "x5c twice", |plan| {
                plan.more_statement.push(("x5c", Cbor::Array(Vec::new())));
            }),
            ("object", "receipt as a text", |plan| {
                plan.receipt = Some(Cbor::Text("receipt"))
            }),
            ("object", "tag in an unknown key", |plan| {
                plan.more_object
                    .push(("later", Cbor::Raw(vec![0xc0, 0x00])));
            }),
            ("object", "float in an unknown key", |plan| {
                let float = Cbor::Raw(vec![0xf9, 0x00, 0x00]);
                plan.more_object.push(("later", float));
            }),
            ("object", "deep nesting in an unknown key", |plan| {
                plan.more_object
                    .push(("later", Cbor::Raw(vec![0x81; 8000])));
            }),
            ("object", "huge length in an unknown key", |plan| {
                let mut huge = vec![0x5b];
                huge.extend([0xff; 8]);
                plan.more_object.push(("later", Cbor::Raw(huge)));
            }),
            ("object", "certificate as a text", |plan| {
                plan.chain = Box::new(|_| vec![Cbor::Text("leaf"), Cbor::Text("issuer")]);
            }),
            ("certificate", "bytes behind the leaf", |plan| {
                plan.leaf_changed = Box::new(|leaf| leaf.push(0));
            }),
            ("certificate", "empty certificates", |plan| {
                plan.chain = Box::new(|_| vec![Cbor::Bytes(Vec::new()); 2].to_vec());
            }),
        ],
    );
}

#[test]
fn refuses_bytes_that_are_no_object() {
    let roots = AUTHORITY.roots();
    let long = vec![0x81; OBJECT_BYTES_MAX];
    for bytes in [&b""[..], b"\xa0", b"\x80", b"\xf6", b"{}", &long] {
        let evidence = Attestation::new(bytes.to_vec(), vec![0; 32]).unwrap();
        let examination = examine(evidence, Given::default(), &roots, now());
        assert_eq!(verdict(examination), Err(MALFORMED));
    }
}

#[test]
fn test_authorities_and_apple_do_not_vouch_for_each_other() {
    let plan = Plan::genuine();
    let key_id = sha256(AUTHORITY.device_key().as_bytes()).to_vec();
    let evidence = Attestation::new(plan.object(), key_id).unwrap();
    for roots in [built_in_roots(), IMPOSTOR.roots()] {
        let examination = examine(evidence.clone(), Given::default(), &roots, now());
        assert_eq!(verdict(examination), Err(UNTRUSTED));
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
        .filter(|check| check.outcome != Outcome::Passed)
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
        .filter(|check| check.outcome != Outcome::Passed)
        .map(|check| check.name)
        .collect();
    assert_eq!(failed, ["chain", "leaf_usage"]);
}

#[test]
fn an_app_id_is_a_fact_only_where_its_hash_agrees() {
    let mut plan = Plan::genuine();
    plan.leaf.custom_extensions.remove(0);
    let expected = Some(format!("{TEAM}.{BUNDLE}"));
    assert_eq!(facts_of(&plan.examine()).app_id, expected);
    plan.app_id.push('x');
    assert_eq!(facts_of(&plan.examine()).app_id, None);
    let claimed = app_extension(&format!("{TEAM}.{BUNDLE}"));
    plan.leaf.custom_extensions.push(claimed);
    assert_eq!(facts_of(&plan.examine()).app_id, None);
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

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
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
        prop_assert_eq!(garbled.verdict(), Err(MALFORMED));

        let mut nonce = Plan::genuine();
        let value = extension_value.clone();
        nonce.nonce = Box::new(move |_| vec![value.clone()]);
        prop_assert_eq!(nonce.verdict(), Err(CHALLENGE));

        // The undocumented extensions are signals: nonsense in them is no reason to refuse.
        let mut signals = Plan::genuine();
        signals.leaf.custom_extensions =
            vec![extension(5, extension_value.clone()), extension(7, extension_value)];
        prop_assert_eq!(signals.verdict(), Ok(()));

        let mut behind = Plan::genuine();
        behind.tail = [vec![0xff], tail].concat();
        prop_assert_eq!(behind.verdict(), Err(MALFORMED));
    }
}
