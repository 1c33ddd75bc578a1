//! App Attest: attestation objects, authenticator data, assertions.

use std::path::Path;
use std::sync::LazyLock;

use assay::attestation::apple::assertion::{self as checked, Signer};
use assay::attestation::apple::receipt::ReceiptEvidence;
use assay::attestation::apple::{Attestation, Environment};
use assay::attestation::roots::{AppleRoots, Roots};
use assay::attestation::{
    AppIdentity, AppleApp, Evidence, Examination, Facts, Given, Trust, examine,
};
use assay::key::{PublicKey, sha256};
use assay::simulator::apple::{self as simulated, Extensions, Options, Phone};
use assay::simulator::{Authorities, SoftKey};
use data_encoding::BASE64;

use super::make::{
    NOW, Subject, authority, edited, extension, files, joined, key, parts, pem, presentable,
    signing_only, tlv,
};

const TEAM: &str = "TEAM012345";
const BUNDLE: &str = "com.example.bank";
const CLIENT_DATA: &[u8] = b"client data";
const NONCE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 8, 2];

fn app() -> AppleApp {
    AppleApp {
        team_id: TEAM.to_owned(),
        bundle_id: BUNDLE.to_owned(),
        environment: Environment::Production,
    }
}

fn app_id_hash() -> [u8; 32] {
    sha256(format!("{TEAM}.{BUNDLE}").as_bytes())
}

static APP: LazyLock<AppIdentity> = LazyLock::new(|| AppIdentity {
    android: None,
    apple: Some(app()),
});

/// Examines twice, which has to come to the same, and tells what was seen.
fn look(
    object: Vec<u8>,
    key_id: Vec<u8>,
    client_data: &[u8],
    roots: &Roots,
) -> Option<Examination> {
    let bytes = object.len();
    let evidence = Evidence::Apple(Attestation::new(object, key_id).ok()?);
    let trust = Trust {
        roots,
        status_list: None,
        own_list: None,
    };
    let hash = sha256(client_data);
    let given = Given {
        binding: Some(&hash),
        app: Some(&APP),
        ..Given::default()
    };
    let first = examine(&evidence, given, trust, *NOW);
    let second = examine(&evidence, given, trust, *NOW);
    assert_eq!(first.checks, second.checks);
    presentable(&first.checks, bytes);
    Some(first)
}

/// Everything of the facts but the receipt, which no signature covers.
fn signed_facts(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    if let Facts::Apple(apple) = &mut facts {
        apple.receipt = ReceiptEvidence::Absent;
    }
    facts
}

struct Genuine {
    object: Vec<u8>,
    key_id: Vec<u8>,
    assertion: Vec<u8>,
    key: PublicKey,
    roots: Roots,
}

static PHONES: LazyLock<Vec<Genuine>> = LazyLock::new(|| {
    let authorities = Authorities::generate(*NOW).unwrap();
    let old = Options::well_kept(TEAM, BUNDLE, simulated::Environment::Production);
    let new = Options {
        extensions: Some(Extensions {
            validation_category: 4,
            bundle_version: "1.2.3".to_owned(),
            flagged: true,
        }),
        ..old.clone()
    };
    let genuine = |options| {
        let phone = Phone::new(&authorities, options).unwrap();
        Genuine {
            object: phone.attest(CLIENT_DATA, *NOW).unwrap(),
            key_id: phone.key_id().to_vec(),
            assertion: phone.assert(CLIENT_DATA).unwrap(),
            key: PublicKey::from_sec1(phone.app_attest_key().public_point()).unwrap(),
            roots: Roots {
                apple: AppleRoots::from_pem(&authorities.apple_root_pem())
                    .unwrap()
                    .and(AppleRoots::apple()),
                ..Roots::default()
            },
        }
    };
    [old, new].map(genuine).into()
});

/// What the phones had certified. The key is part of it by its id.
static FACTS: LazyLock<Vec<Facts>> = LazyLock::new(|| {
    let attested = |genuine: &Genuine| {
        let (object, key_id) = (genuine.object.clone(), genuine.key_id.clone());
        let examination = look(object, key_id, CLIENT_DATA, &genuine.roots)?;
        Some(signed_facts(examination.into_attested().ok()?.facts()))
    };
    let facts: Option<_> = PHONES.iter().map(attested).collect();
    facts.expect("the genuine ones are accepted")
});

/// The first byte says what the rest is: key id and object, or changes to genuine ones.
pub(crate) fn attestation(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let genuine = &PHONES[usize::from(mode >> 1) % PHONES.len()];
    let (object, key_id) = if mode % 2 == 0 {
        let Some((key_id, object)) = rest.split_first_chunk::<32>() else {
            return false;
        };
        (object.to_vec(), key_id.to_vec())
    } else {
        (edited(&genuine.object, rest), genuine.key_id.clone())
    };
    let Some(examination) = look(object, key_id, CLIENT_DATA, &genuine.roots) else {
        return false;
    };
    let Ok(attested) = examination.into_attested() else {
        return false;
    };
    let facts = signed_facts(attested.facts());
    assert!(FACTS.contains(&facts), "other facts are accepted");
    true
}

pub(crate) fn attestation_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![1], vec![3], vec![1, 0, 40, 0, 1], vec![3, 1, 0, 1, 7]];
    for genuine in PHONES.iter() {
        seeds.push([&[0], &genuine.key_id[..], &genuine.object].concat());
    }
    seeds
}

fn json_texts(vectors: &Path, kind: &str, members: &[&str]) -> Vec<Vec<Vec<u8>>> {
    let texts = files(&vectors.join("apple").join(kind), ".json");
    let read = |text: &Vec<u8>| {
        let json: serde_json::Value = serde_json::from_slice(text).unwrap();
        let bytes = |member: &&str| BASE64.decode(json[*member].as_str()?.as_bytes()).ok();
        members.iter().map(bytes).collect::<Option<Vec<_>>>()
    };
    texts.iter().filter_map(read).collect()
}

pub(crate) fn real_attestations(vectors: &Path) -> Vec<Vec<u8>> {
    let seed = |parts: Vec<Vec<u8>>| [vec![0], parts.concat()].concat();
    json_texts(vectors, "attestation", &["keyId", "attestation"])
        .into_iter()
        .map(seed)
        .collect()
}

/// An authority that certifies whatever authenticator data it is given.
struct Attester {
    intermediate: SoftKey,
    intermediate_der: Vec<u8>,
    leaf: SoftKey,
    roots: Roots,
}

static ATTESTER: LazyLock<Attester> = LazyLock::new(|| {
    let [root, intermediate, leaf] = [key(), key(), key()];
    let certificate = |serial, name, key| {
        let subject = Subject {
            serial,
            name,
            key,
            extensions: &authority(),
        };
        subject.issued_by("root", &root)
    };
    let root_der = certificate(1, "root", &root);
    Attester {
        intermediate_der: certificate(2, "intermediate", &intermediate),
        roots: Roots {
            apple: AppleRoots::from_pem(&pem(&root_der)).unwrap(),
            ..Roots::default()
        },
        intermediate,
        leaf,
    }
});

fn cbor(major: u8, length: usize) -> Vec<u8> {
    let major = major << 5;
    match u16::try_from(length).expect("made of bounded parts") {
        small @ 0..24 => vec![major | u8::try_from(small).unwrap()],
        byte @ 24..0x100 => vec![major | 24, u8::try_from(byte).unwrap()],
        long => [&[major | 25], &long.to_be_bytes()[..]].concat(),
    }
}

fn cbor_bytes(bytes: &[u8]) -> Vec<u8> {
    [cbor(2, bytes.len()), bytes.to_vec()].concat()
}

fn cbor_text(text: &str) -> Vec<u8> {
    [cbor(3, text.len()), text.as_bytes().to_vec()].concat()
}

/// Certified and signed authenticator data: as an attestation's, and as an assertion's.
pub(crate) fn auth_data(data: &[u8]) -> bool {
    let attester = &*ATTESTER;
    let signed = sha256(&[data, &sha256(CLIENT_DATA)].concat());
    let leaf = Subject {
        serial: 3,
        name: "leaf",
        key: &attester.leaf,
        extensions: &[
            signing_only(),
            extension(NONCE, &tlv(0x30, &tlv(0xa1, &tlv(4, &signed)))),
        ],
    };
    let leaf = leaf.issued_by("intermediate", &attester.intermediate);
    let object = [
        cbor(5, 3),
        cbor_text("fmt"),
        cbor_text("apple-appattest"),
        cbor_text("attStmt"),
        cbor(5, 2),
        cbor_text("x5c"),
        cbor(4, 2),
        cbor_bytes(&leaf),
        cbor_bytes(&attester.intermediate_der),
        cbor_text("receipt"),
        cbor_bytes(b"receipt"),
        cbor_text("authData"),
        cbor_bytes(data),
    ]
    .concat();
    let point = attester.leaf.public_point();
    let key_id = sha256(point);
    let examination = look(object, key_id.to_vec(), CLIENT_DATA, &attester.roots);
    let attested = examination.and_then(|examination| {
        let checks = examination.checks.as_slice();
        let chain = checks.iter().find(|check| check.name == "chain");
        let passed = assay::attestation::Outcome::Passed;
        assert!(
            chain.is_none_or(|chain| chain.outcome == passed),
            "{chain:?}"
        );
        examination.into_attested().ok()
    });
    if attested.is_some() {
        let fixed = [
            &app_id_hash()[..],
            &data[32..33],
            &[0; 4],
            b"appattest\0\0\0\0\0\0\0",
            &[0, 32],
            &key_id,
        ]
        .concat();
        assert!(data.starts_with(&fixed));
        assert!(super::make::has(data, &point[1..33]) && super::make::has(data, &point[33..]));
    }
    let signature = attester.leaf.sign_der(&signed).unwrap();
    let object = [
        cbor(5, 2),
        cbor_text("signature"),
        cbor_bytes(&signature),
        cbor_text("authenticatorData"),
        cbor_bytes(data),
    ]
    .concat();
    let public = PublicKey::from_sec1(point).unwrap();
    let asserted = assert_with(&object, &public, 0);
    if let Some(counter) = asserted {
        assert!(data.starts_with(&app_id_hash()));
        assert_eq!(data[33..37], counter.to_be_bytes());
    }
    attested.is_some() || asserted.is_some()
}

pub(crate) fn auth_data_seeds() -> Vec<Vec<u8>> {
    let point = ATTESTER.leaf.public_point();
    let header = |counter: u8| [&app_id_hash()[..], &[0x40, 0, 0, 0, counter]].concat();
    let attested = [
        header(0),
        b"appattest\0\0\0\0\0\0\0".to_vec(),
        vec![0, 32],
        sha256(point).to_vec(),
        vec![0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20],
        point[1..33].to_vec(),
        vec![0x22, 0x58, 0x20],
        point[33..].to_vec(),
    ]
    .concat();
    let map = [
        cbor(5, 2),
        cbor_text("apple_validation_category_01"),
        vec![4],
        cbor_text("apple_bundle_version_01"),
        cbor_text("1.2"),
    ]
    .concat();
    vec![
        header(1),
        [header(7), map.clone()].concat(),
        header(0),
        attested.clone(),
        [attested, map].concat(),
    ]
}

/// The counter of an accepted assertion.
fn assert_with(object: &[u8], key: &PublicKey, counter_after: u32) -> Option<u32> {
    let (app, hash) = (app(), sha256(CLIENT_DATA));
    let look = |counter_after| {
        let signer = Signer {
            key,
            app: &app,
            counter_after: Some(counter_after),
        };
        checked::verify(object, &hash, &signer)
    };
    let examination = look(counter_after);
    assert_eq!(examination.checks, look(counter_after).checks);
    presentable(&examination.checks, object.len());
    let verified = examination.into_verified().ok()?;
    assert!(verified.counter() > counter_after);
    let replayed = look(verified.counter());
    assert!(replayed.into_verified().is_err(), "taken twice");
    Some(verified.counter())
}

/// The first byte says what the rest is: key and object, or changes to a genuine object.
pub(crate) fn assertion(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    let genuine = &PHONES[usize::from(mode >> 1) % PHONES.len()];
    if mode % 2 == 0 {
        let foreign = parts(rest, 2);
        let [point, object] = &foreign[..] else {
            return false;
        };
        // Anyone may sign with a key of one's own; what is signed is for auth_data to see.
        let key = PublicKey::from_sec1(point).unwrap_or(genuine.key);
        return assert_with(object, &key, 0).is_some();
    }
    let object = edited(&genuine.assertion, rest);
    let accepted = assert_with(&object, &genuine.key, 0).is_some();
    assert!(!accepted || object == genuine.assertion);
    accepted
}

pub(crate) fn assertion_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![1], vec![3], vec![1, 0, 14, 0, 1], vec![3, 0, 99, 1, 7]];
    for genuine in PHONES.iter() {
        let both = [genuine.key.as_bytes().to_vec(), genuine.assertion.clone()];
        seeds.push([vec![0], joined(&both)].concat());
    }
    seeds
}

pub(crate) fn real_assertions(vectors: &Path) -> Vec<Vec<u8>> {
    json_texts(vectors, "assertion", &["publicKeyX963", "assertion"])
        .into_iter()
        .map(|both| [vec![0], joined(&both)].concat())
        .collect()
}
