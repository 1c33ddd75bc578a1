//! Made-up App Attest objects, signed under a test authority: everything an attacker may change,
//! with the reason it is refused for, and the odd but genuine forms that have to pass.

use assay::attestation::apple::assertion::{self, ASSERTION_BYTES_MAX};
use assay::attestation::apple::{Attestation, Environment, Facts, OBJECT_BYTES_MAX};
use assay::attestation::roots::AppleRoots;
use assay::attestation::{AppleApp, Examination, Facts as AnyFacts, Given, Outcome};
use assay::key::{PublicKey, sha256};
use assay::reason::Reason;
use rcgen::{BasicConstraints, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384};

use crate::apple_support::{
    AUTHORITY, BUNDLE, CLIENT_DATA_HASH, Cbor, IMPOSTOR, NOW, Plan, Signer, TEAM, app,
    app_extension, built_in_roots, cose_key, der, examine, extension, nonce_value, now, seconds,
    tagged, verdict,
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

type Row = (&'static str, fn(&mut Plan));

fn run(expected: Result<(), Reason>, rows: &[Row]) {
    for (name, change) in rows {
        let mut plan = Plan::genuine();
        change(&mut plan);
        assert_eq!(plan.verdict(), expected, "{name}");
    }
}

fn refused(reason: Reason, rows: &[Row]) {
    assert_eq!(Plan::genuine().verdict(), Ok(()), "nothing changed");
    run(Err(reason), rows);
}

fn extension_map(category: Cbor) -> Vec<u8> {
    Cbor::Map(vec![
        ("apple_validation_category_01", category),
        ("apple_bundle_version_01", Cbor::Text("1.0")),
    ])
    .write()
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
    let rows: &[Row] = &[
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
    run(Ok(()), rows);
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
            ("copied names, other keys", |plan| {
                *plan = Plan::of(&IMPOSTOR)
            }),
            ("self-signed leaf", |plan| plan.leaf_signer = Signer::Itself),
            ("leaf signed by the root past the intermediate", |plan| {
                plan.leaf_signer = Signer::Root;
            }),
            ("changed signature of the leaf", |plan| {
                plan.leaf_changed = Box::new(|leaf| *leaf.last_mut().unwrap() ^= 1);
            }),
            ("intermediate that is no authority", |plan| {
                plan.intermediate.is_ca = IsCa::ExplicitNoCa;
            }),
            ("intermediate without basic constraints", |plan| {
                plan.intermediate.is_ca = IsCa::NoCa;
            }),
            ("intermediate that may not sign certificates", |plan| {
                plan.intermediate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            }),
            ("no certificate", |plan| {
                plan.chain = Box::new(|_| Vec::new())
            }),
            ("leaf alone", |plan| {
                plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf)]);
            }),
            ("reversed", |plan| {
                plan.chain = Box::new(|[leaf, intermediate, _]| {
                    vec![Cbor::Bytes(intermediate), Cbor::Bytes(leaf)]
                });
            }),
            ("root in the chain", |plan| {
                plan.chain = Box::new(|chain| chain.map(Cbor::Bytes).into());
            }),
            ("root in the place of the intermediate", |plan| {
                plan.chain = Box::new(|[leaf, _, root]| vec![Cbor::Bytes(leaf), Cbor::Bytes(root)]);
            }),
            ("leaf twice", |plan| {
                plan.chain = Box::new(|[leaf, ..]| vec![Cbor::Bytes(leaf); 2].to_vec());
            }),
            ("unknown critical extension", |plan| {
                let mut unknown = extension(99, vec![0x05, 0x00]);
                unknown.set_criticality(true);
                plan.leaf.custom_extensions.push(unknown);
            }),
            ("leaf that is an authority", |plan| {
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
            ("expired leaf", |plan| {
                plan.leaf.not_after = seconds(NOW - 1)
            }),
            ("leaf of the future", |plan| {
                plan.leaf.not_before = seconds(NOW + 1)
            }),
            ("expired intermediate", |plan| {
                plan.intermediate.not_after = seconds(NOW - 1);
            }),
            ("intermediate of the future", |plan| {
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
            ("another nonce", |plan| {
                plan.nonce = Box::new(|_| vec![nonce_value(&[0; 32])]);
            }),
            ("no nonce", |plan| plan.nonce = Box::new(|_| Vec::new())),
            ("nonce under another tag", |plan| {
                plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0xa2, &der(0x04, nonce)))]);
            }),
            ("nonce without its tag", |plan| {
                plan.nonce = Box::new(|nonce| vec![der(0x30, &der(0x04, nonce))]);
            }),
            ("two extensions, first wrong", |plan| {
                plan.nonce = Box::new(|nonce| vec![nonce_value(&[0; 32]), nonce_value(nonce)]);
            }),
            ("two extensions, second wrong", |plan| {
                plan.nonce = Box::new(|nonce| vec![nonce_value(nonce), nonce_value(&[0; 32])]);
            }),
            ("the same extension twice", |plan| {
                plan.nonce = Box::new(|nonce| vec![nonce_value(nonce), nonce_value(nonce)]);
            }),
            ("two nonces in one extension", |plan| {
                plan.nonce = Box::new(|nonce| {
                    let one = der(0xa1, &der(0x04, nonce));
                    vec![der(0x30, &[one.clone(), one].concat())]
                });
            }),
            ("bytes behind the nonce", |plan| {
                plan.nonce = Box::new(|nonce| {
                    let mut value = nonce_value(nonce);
                    value.push(0);
                    vec![value]
                });
            }),
            ("nonce cut short", |plan| {
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
            ("another app", |plan| {
                plan.app_id = format!("{TEAM}.com.example.other");
                plan.leaf.custom_extensions[0] = app_extension(&plan.app_id);
            }),
            ("another app, name not in the clear", |plan| {
                plan.app_id = format!("{TEAM}.com.example.other");
                plan.leaf.custom_extensions.remove(0);
            }),
            ("another app in the clear", |plan| {
                plan.leaf.custom_extensions[0] = app_extension("TEAM012345.com.example.other");
            }),
            ("a second app in the clear", |plan| {
                let other = app_extension("TEAM012345.com.example.other");
                plan.leaf.custom_extensions.push(other);
            }),
            ("a second app in the same extension", |plan| {
                let both = [
                    tagged(1204, &format!("{TEAM}.{BUNDLE}")),
                    tagged(1204, "TEAM012345.com.example.other"),
                ];
                plan.leaf.custom_extensions[0] = extension(5, der(0x30, &both.concat()));
            }),
            ("empty app in the clear", |plan| {
                plan.leaf.custom_extensions[0] = app_extension("");
            }),
        ],
    );
    refused(
        ENVIRONMENT,
        &[
            ("development key", |plan| plan.aaguid = *b"appattestdevelop"),
            ("sandbox key", |plan| plan.aaguid = *b"appattestsandbox"),
            ("other tail", |plan| {
                plan.aaguid = *b"appattest\0\0\0\0\0\0\x01"
            }),
            ("zeros", |plan| plan.aaguid = [0; 16]),
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
            ("another credential id", |plan| plan.credential_id[0] ^= 1),
            ("another COSE key", |plan| {
                plan.cose_key = cose_key(IMPOSTOR.device_key().as_bytes());
            }),
            ("COSE garbage", |plan| plan.cose_key = vec![0xff; 77]),
            ("COSE key of another algorithm", |plan| {
                plan.cose_key[4] = 0x27
            }),
            ("COSE key with y first", |plan| plan.cose_key[7] = 0x22),
            ("counter of 1", |plan| plan.counter = 1),
            ("largest counter", |plan| plan.counter = u32::MAX),
            ("leaf without digitalSignature", |plan| {
                plan.leaf.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            }),
            ("leaf without keyUsage", |plan| plan.leaf.key_usages.clear()),
            ("P-384 leaf", |plan| {
                plan.leaf_key = Some(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
            }),
            ("leaf for another P-256 key", |plan| {
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
            ("no access control list", |plan| mac(plan, &[])),
            ("another one", |plan| {
                let mut other = mac_acl_blob();
                *other.last_mut().unwrap() = 0;
                mac(plan, &[other]);
            }),
            ("longer", |plan| {
                mac(plan, &[[mac_acl_blob(), vec![0]].concat()]);
            }),
            ("twice", |plan| mac(plan, &[mac_acl_blob(), mac_acl_blob()])),
            ("another one behind the right one", |plan| {
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
            ("attested-data flag clear", |plan| plan.flags = 0x00),
            ("only the extension flag", |plan| plan.flags = 0x80),
            ("credential id of 0x89f4 bytes", |plan| {
                plan.credential_length = 0x89f4
            }),
            ("credential id of 0 bytes", |plan| {
                plan.credential_length = 0
            }),
            ("credential id of 33 bytes", |plan| {
                plan.credential_length = 33;
                plan.credential_id.push(0);
            }),
            ("COSE key missing", |plan| plan.cose_key.clear()),
            ("COSE key cut short", |plan| plan.cose_key.truncate(76)),
            ("a byte behind the COSE key", |plan| plan.tail = vec![0]),
            ("garbage behind the COSE key", |plan| {
                plan.tail = vec![0xff; 40]
            }),
            ("two maps", |plan| plan.tail = vec![0xa0, 0xa0]),
            ("an array", |plan| plan.tail = vec![0x80]),
            ("map of indefinite length", |plan| {
                plan.tail = vec![0xbf, 0xff]
            }),
            ("key that is not a text", |plan| {
                plan.tail = vec![0xa1, 0x01, 0x01]
            }),
            ("the same extension twice", |plan| {
                plan.tail = Cbor::Map(vec![
                    ("apple_validation_category_01", Cbor::Unsigned(4)),
                    ("apple_validation_category_01", Cbor::Unsigned(3)),
                ])
                .write();
            }),
            ("category of three bytes", |plan| {
                plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0]));
            }),
            ("category as a text", |plan| {
                plan.tail = extension_map(Cbor::Text("4"))
            }),
            ("category beyond 32 bits", |plan| {
                plan.tail = extension_map(Cbor::Unsigned(1 << 32));
            }),
            ("version as a number", |plan| {
                let version = ("apple_bundle_version_01", Cbor::Unsigned(1));
                plan.tail = Cbor::Map(vec![version]).write();
            }),
            ("version with a control character", |plan| {
                let version = ("apple_bundle_version_01", Cbor::Text("1\x1b[2J"));
                plan.tail = Cbor::Map(vec![version]).write();
            }),
            ("code directory hash of 65 bytes", |plan| {
                let hash = ("apple_cd_hash_hash_01", Cbor::Bytes(vec![1; 65]));
                plan.tail = Cbor::Map(vec![hash]).write();
            }),
        ],
    );
}

#[test]
fn refuses_objects_of_another_form() {
    refused(
        MALFORMED,
        &[
            ("format apple", |plan| plan.format = Cbor::Text("apple")),
            ("format packed", |plan| plan.format = Cbor::Text("packed")),
            ("format as bytes", |plan| {
                plan.format = Cbor::Bytes(b"apple-appattest".to_vec());
            }),
            ("bytes behind the object", |plan| {
                plan.behind_object = vec![0]
            }),
            ("an object behind the object", |plan| {
                plan.behind_object = vec![0xa0]
            }),
            ("fmt twice", |plan| {
                plan.more_object
                    .push(("fmt", Cbor::Text("apple-appattest")));
            }),
            ("attStmt twice", |plan| {
                plan.more_object.push(("attStmt", Cbor::Map(Vec::new())));
            }),
            ("x5c twice", |plan| {
                plan.more_statement.push(("x5c", Cbor::Array(Vec::new())));
            }),
            ("receipt as a text", |plan| {
                plan.receipt = Some(Cbor::Text("receipt"))
            }),
            ("tag in an unknown key", |plan| {
                plan.more_object
                    .push(("later", Cbor::Raw(vec![0xc0, 0x00])));
            }),
            ("float in an unknown key", |plan| {
                let float = Cbor::Raw(vec![0xf9, 0x00, 0x00]);
                plan.more_object.push(("later", float));
            }),
            ("deep nesting in an unknown key", |plan| {
                plan.more_object
                    .push(("later", Cbor::Raw(vec![0x81; 8000])));
            }),
            ("huge length in an unknown key", |plan| {
                let mut huge = vec![0x5b];
                huge.extend([0xff; 8]);
                plan.more_object.push(("later", Cbor::Raw(huge)));
            }),
            ("certificate as a text", |plan| {
                plan.chain = Box::new(|_| vec![Cbor::Text("leaf"), Cbor::Text("issuer")]);
            }),
            ("bytes behind the leaf", |plan| {
                plan.leaf_changed = Box::new(|leaf| leaf.push(0));
            }),
            ("empty certificates", |plan| {
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

    fn verify(&self, after: Option<u32>) -> Result<assertion::VerifiedAssertion, Reason> {
        verified(&self.object(), &AUTHORITY.device_key(), after)
    }
}

fn verified(
    object: &[u8],
    key: &PublicKey,
    after: Option<u32>,
) -> Result<assertion::VerifiedAssertion, Reason> {
    assertion::verify(object, &CLIENT_DATA_HASH, key, &app(), after)
        .into_verified()
        .map_err(|rejection| rejection.reason)
}

type SigningRow = (&'static str, fn(&mut Signing));

#[test]
fn accepts_every_odd_but_genuine_assertion() {
    let rows: &[SigningRow] = &[
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
    let rows: &[(Reason, &str, fn(&mut Signing))] = &[
        (APP, "another app", |plan| plan.app_id.push('x')),
        (Reason::ProofReplayed, "equal counter", |plan| {
            plan.counter = 7
        }),
        (Reason::ProofReplayed, "lower counter", |plan| {
            plan.counter = 6
        }),
        (Reason::ProofInvalid, "counter of 0", |plan| {
            plan.counter = 0
        }),
        (Reason::ProofInvalid, "data hashed once only", |plan| {
            plan.signed = <[u8]>::to_vec;
        }),
        (Reason::ProofInvalid, "data hashed three times", |plan| {
            plan.signed = |data| sha256(&sha256(data)).to_vec();
        }),
        (
            Reason::ProofInvalid,
            "signature over something else",
            |plan| {
                plan.signed = |_| vec![0; 32];
            },
        ),
        (Reason::ProofInvalid, "no signature", |plan| {
            plan.signature_changed = |_| Vec::new();
        }),
        (Reason::ProofInvalid, "bytes behind the signature", |plan| {
            plan.signature_changed = |signature| [signature, vec![0]].concat();
        }),
        (Reason::ProofInvalid, "signature as r and s", |plan| {
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
        (Reason::ProofInvalid, "r and s of 0", |plan| {
            plan.signature_changed = |_| der(0x30, &[2, 1, 0, 2, 1, 0]);
        }),
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
    for (reason, name, change) in rows {
        let mut plan = Signing::genuine();
        change(&mut plan);
        assert_eq!(plan.verify(Some(7)).unwrap_err(), *reason, "{name}");
    }
    let object = Signing::genuine().object();
    assert_eq!(
        verified(&object, &IMPOSTOR.device_key(), Some(7)).unwrap_err(),
        Reason::ProofInvalid
    );
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
