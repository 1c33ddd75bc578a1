//! What the App Attest tests share: the real objects, and a test authority that makes attestations
//! and assertions with anything in them an attacker may think of. It shares no encoder with the
//! code under test.

use std::path::PathBuf;
use std::sync::LazyLock;

use assay::attestation::apple::{Attestation, Environment, Facts};
use assay::attestation::roots::{AndroidRoots, AppleRoots, Roots};
use assay::attestation::{self, AppleApp, Evidence, Examination, Facts as AnyFacts, Given, Trust};
use assay::key::{PublicKey, sha256};
use assay::reason::Reason;
use assay::time::Timestamp;
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PublicKeyData, SerialNumber, SigningKey,
};
use serde_json::Value;
use time::OffsetDateTime;

/// The vectors of one kind, ordered by name. Fails when there are none.
pub(crate) fn real_vectors(kind: &str) -> Vec<Value> {
    let root = std::env::var_os("ASSAY_VECTORS")
        .expect("ASSAY_VECTORS names the directory with the real device vectors");
    let directory = PathBuf::from(root).join("apple").join(kind);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no vectors in {}", directory.display());
    paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

pub(crate) fn base64(value: &Value) -> Vec<u8> {
    BASE64.decode(text(value).as_bytes()).expect("base64")
}

pub(crate) fn instant(value: &Value) -> Timestamp {
    Timestamp::parse_rfc3339(text(value)).expect("a time")
}

pub(crate) fn key_from(value: &Value) -> PublicKey {
    PublicKey::from_sec1(&base64(value)).expect("a point")
}

/// The app of a vector; an assertion names no environment, so any will do.
pub(crate) fn app_from(json: &Value) -> AppleApp {
    let (team_id, bundle_id) = text(&json["appId"]).split_once('.').unwrap();
    AppleApp {
        team_id: team_id.to_owned(),
        bundle_id: bundle_id.to_owned(),
        environment: match json["environment"].as_str() {
            Some("development") => Environment::Development,
            Some("production") | None => Environment::Production,
            Some(other) => panic!("environment {other}"),
        },
    }
}

/// Apple's root.
pub(crate) fn built_in_roots() -> Roots {
    with_apple(AppleRoots::apple())
}

fn with_apple(apple: AppleRoots) -> Roots {
    Roots {
        android: AndroidRoots::default(),
        apple,
    }
}

/// The checks a registration runs.
pub(crate) fn examine(
    attestation: Attestation,
    given: Given<'_>,
    roots: &Roots,
    at: Timestamp,
) -> Examination {
    let trust = Trust {
        roots,
        status_list: None,
        own_list: None,
    };
    attestation::examine(&Evidence::Apple(attestation), given, trust, at)
}

/// The facts of an attestation.
pub(crate) fn facts_of(examination: &Examination) -> Facts {
    match &examination.facts {
        Some(AnyFacts::Apple(facts)) => (**facts).clone(),
        other => panic!("no Apple facts but {other:?}"),
    }
}

/// Where the receipt stands in an attestation object: behind its name, the type of a byte string
/// and two bytes of length.
pub(crate) fn receipt_range(object: &[u8]) -> std::ops::Range<usize> {
    const NAME: &[u8] = b"greceipt\x59";
    let name = object.windows(NAME.len()).position(|bytes| bytes == NAME);
    let start = name.unwrap() + NAME.len() + 2;
    let length = usize::from(object[start - 2]) << 8 | usize::from(object[start - 1]);
    start..start + length
}

pub(crate) fn verdict(examination: Examination) -> Result<(), Reason> {
    match examination.into_attested() {
        Ok(_) => Ok(()),
        Err(rejection) => Err(rejection.reason),
    }
}

/// CBOR to be written, right or wrong.
#[derive(Clone)]
pub(crate) enum Cbor {
    Unsigned(u64),
    Bytes(Vec<u8>),
    Text(&'static str),
    Array(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

impl Cbor {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Unsigned(number) => out = head(0, *number),
            Self::Bytes(bytes) => {
                out = head(2, bytes.len() as u64);
                out.extend(bytes);
            }
            Self::Text(text) => {
                out = head(3, text.len() as u64);
                out.extend(text.bytes());
            }
            Self::Array(items) => {
                out = head(4, items.len() as u64);
                items.iter().for_each(|item| out.extend(item.write()));
            }
            Self::Map(entries) => {
                out = head(5, entries.len() as u64);
                for (key, item) in entries {
                    out.extend(Self::Text(key).write());
                    out.extend(item.write());
                }
            }
            Self::Raw(bytes) => out.extend(bytes),
        }
        out
    }
}

fn head(major: u8, argument: u64) -> Vec<u8> {
    let major = major << 5;
    if let Ok(byte) = u8::try_from(argument) {
        return if byte < 24 {
            vec![major | byte]
        } else {
            vec![major | 24, byte]
        };
    }
    let (info, skipped) = match argument {
        0..=0xffff => (25, 6),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 0),
    };
    let mut out = vec![major | info];
    out.extend(&argument.to_be_bytes()[skipped..]);
    out
}

/// DER with a tag of one byte.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(byte) => out.extend([0x81, byte]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// An octet string explicitly tagged with a number between 128 and 16383, as Apple's extensions
/// hold them.
pub(crate) fn tagged(number: u16, text: &str) -> Vec<u8> {
    let inner = der(0x04, text.as_bytes());
    let high = u8::try_from(number >> 7).unwrap() | 0x80;
    let low = u8::try_from(number & 0x7f).unwrap();
    let mut out = vec![0xbf, high, low];
    out.extend(&der(0, &inner)[1..]);
    out
}

pub(crate) const TEAM: &str = "TEAM012345";
pub(crate) const BUNDLE: &str = "com.example.bank";
pub(crate) const CLIENT_DATA_HASH: [u8; 32] = [0x5a; 32];
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const DAY: i64 = 86_400;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

pub(crate) fn app() -> AppleApp {
    AppleApp {
        team_id: TEAM.to_owned(),
        bundle_id: BUNDLE.to_owned(),
        environment: Environment::Production,
    }
}

/// A root and what it issued, once for all tests.
pub(crate) struct Authority {
    root_key: KeyPair,
    root_params: CertificateParams,
    root: Certificate,
    intermediate_key: KeyPair,
    device_key: KeyPair,
}

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// The same names with other keys: an attacker who copies everything but the keys.
pub(crate) static IMPOSTOR: LazyLock<Authority> = LazyLock::new(Authority::new);

impl Authority {
    fn new() -> Self {
        let p384 = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let root_key = p384();
        let root_params = authority("Test Attestation Root CA");
        Self {
            root: root_params.self_signed(&root_key).unwrap(),
            root_key,
            root_params,
            intermediate_key: p384(),
            device_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        with_apple(AppleRoots::from_pem(&self.root.pem()).unwrap())
    }

    /// The key of the software device.
    pub(crate) fn device_key(&self) -> PublicKey {
        PublicKey::from_sec1(self.device_key.der_bytes()).unwrap()
    }

    /// ECDSA-SHA-256 over `message`, DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.device_key.sign(message).unwrap()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = seconds(NOW - 400 * DAY);
    params.not_after = seconds(NOW + 400 * DAY);
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn seconds(at: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at).unwrap()
}

/// A list of extension values made from the right nonce.
type NonceValues = Box<dyn Fn(&[u8; 32]) -> Vec<Vec<u8>>>;
/// `x5c` made from leaf, intermediate and root.
type Chain = Box<dyn Fn([Vec<u8>; 3]) -> Vec<Cbor>>;

/// A change of bytes.
type Change = Box<dyn Fn(&mut Vec<u8>)>;

/// Who signs the leaf.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Signer {
    Intermediate,
    Root,
    Itself,
    /// The attested key, with its genuine leaf in the place of the intermediate and the
    /// intermediate in that of the root.
    AttestedKey,
}

/// An attestation to be made, and what it is compared with. It is right until something is changed.
pub(crate) struct Plan {
    /// The app it has to be for.
    pub(crate) expected: AppleApp,
    /// The key id beside the object.
    pub(crate) key_id: Vec<u8>,
    /// The client data hash it has to be for.
    pub(crate) given_hash: Vec<u8>,
    /// What the phone took for a client data hash.
    pub(crate) signed_hash: Vec<u8>,
    /// When it is verified.
    pub(crate) at: i64,
    pub(crate) authority: &'static Authority,
    pub(crate) format: Cbor,
    pub(crate) app_id: String,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    pub(crate) aaguid: [u8; 16],
    pub(crate) credential_id: Vec<u8>,
    pub(crate) credential_length: u16,
    pub(crate) cose_key: Vec<u8>,
    pub(crate) tail: Vec<u8>,
    pub(crate) receipt: Option<Cbor>,
    pub(crate) more_statement: Vec<(&'static str, Cbor)>,
    pub(crate) more_object: Vec<(&'static str, Cbor)>,
    /// Keys left out, of the object and of the statement.
    pub(crate) without: Vec<&'static str>,
    pub(crate) auth_data_changed: Change,
    pub(crate) object_changed: Change,
    pub(crate) nonce: NonceValues,
    pub(crate) leaf: CertificateParams,
    pub(crate) leaf_key: Option<KeyPair>,
    pub(crate) leaf_signer: Signer,
    pub(crate) leaf_changed: Change,
    pub(crate) intermediate: CertificateParams,
    pub(crate) chain: Chain,
}

/// The nonce extension as Apple writes it.
pub(crate) fn nonce_value(nonce: &[u8; 32]) -> Vec<u8> {
    der(0x30, &der(0xa1, &der(0x04, nonce)))
}

pub(crate) fn extension(last: u64, value: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 2, 840, 113_635, 100, 8, last], value)
}

/// The extension that names the app.
pub(crate) fn app_extension(app_id: &str) -> CustomExtension {
    extension(5, der(0x30, &tagged(1204, app_id)))
}

impl Plan {
    pub(crate) fn genuine() -> Self {
        Self::of(&AUTHORITY)
    }

    pub(crate) fn of(authority_in_use: &'static Authority) -> Self {
        let app_id = format!("{TEAM}.{BUNDLE}");
        let point = *authority_in_use.device_key().as_bytes();
        let mut leaf = named("0123456789abcdef");
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::DataEncipherment,
        ];
        leaf.not_before = seconds(NOW - DAY);
        leaf.not_after = seconds(NOW + 2 * DAY);
        leaf.serial_number = Some(SerialNumber::from_slice(&[
            0x01, 0xa3, 0x18, 0x5c, 0x50, 0x00,
        ]));
        leaf.custom_extensions = vec![
            app_extension(&app_id),
            extension(
                7,
                der(
                    0x30,
                    &[tagged(1400, "27.0"), tagged(1403, "24A446")].concat(),
                ),
            ),
        ];
        Self {
            expected: app(),
            key_id: sha256(&point).to_vec(),
            given_hash: CLIENT_DATA_HASH.to_vec(),
            signed_hash: CLIENT_DATA_HASH.to_vec(),
            at: NOW,
            authority: authority_in_use,
            format: Cbor::Text("apple-appattest"),
            app_id,
            flags: 0x40,
            counter: 0,
            aaguid: *b"appattest\0\0\0\0\0\0\0",
            credential_id: sha256(&point).to_vec(),
            credential_length: 32,
            cose_key: cose_key(&point),
            tail: Vec::new(),
            receipt: Some(Cbor::Bytes(b"receipt".to_vec())),
            more_statement: Vec::new(),
            more_object: Vec::new(),
            without: Vec::new(),
            auth_data_changed: Box::new(|_| ()),
            object_changed: Box::new(|_| ()),
            nonce: Box::new(|nonce| vec![nonce_value(nonce)]),
            leaf,
            leaf_key: None,
            leaf_signer: Signer::Intermediate,
            leaf_changed: Box::new(|_| ()),
            intermediate: authority("Test Attestation CA 1"),
            chain: Box::new(|[leaf, intermediate, _]| {
                vec![Cbor::Bytes(leaf), Cbor::Bytes(intermediate)]
            }),
        }
    }

    pub(crate) fn auth_data(&self) -> Vec<u8> {
        let mut data = [
            &sha256(self.app_id.as_bytes())[..],
            &[self.flags],
            &self.counter.to_be_bytes(),
            &self.aaguid,
            &self.credential_length.to_be_bytes(),
            &self.credential_id,
            &self.cose_key,
            &self.tail,
        ]
        .concat();
        (self.auth_data_changed)(&mut data);
        data
    }

    /// The nonce Apple would certify.
    pub(crate) fn right_nonce(&self) -> [u8; 32] {
        sha256(&[&self.auth_data()[..], &self.signed_hash].concat())
    }

    /// The attestation object.
    pub(crate) fn object(&self) -> Vec<u8> {
        let x5c = self.chain_of(&self.right_nonce());
        let mut statement = vec![("x5c", Cbor::Array(x5c))];
        statement.extend(self.receipt.clone().map(|receipt| ("receipt", receipt)));
        statement.extend(self.more_statement.iter().cloned());
        statement.retain(|(key, _)| !self.without.contains(key));
        let mut object = vec![
            ("fmt", self.format.clone()),
            ("attStmt", Cbor::Map(statement)),
            ("authData", Cbor::Bytes(self.auth_data())),
        ];
        object.extend(self.more_object.iter().cloned());
        object.retain(|(key, _)| !self.without.contains(key));
        let mut out = Cbor::Map(object).write();
        (self.object_changed)(&mut out);
        out
    }

    fn chain_of(&self, nonce: &[u8; 32]) -> Vec<Cbor> {
        let authority = self.authority;
        let root = Issuer::from_params(&authority.root_params, &authority.root_key);
        let intermediate = self
            .intermediate
            .signed_by(&authority.intermediate_key, &root)
            .unwrap();
        let intermediate = intermediate.der().to_vec();
        let issuer = Issuer::from_params(&self.intermediate, &authority.intermediate_key);
        let mut leaf = self.leaf.clone();
        let nonces = (self.nonce)(nonce).into_iter();
        leaf.custom_extensions
            .extend(nonces.map(|value| extension(2, value)));
        let key = self.leaf_key.as_ref().unwrap_or(&authority.device_key);
        let root_der = authority.root.der().to_vec();
        let (leaf, above) = match self.leaf_signer {
            Signer::Intermediate => (leaf.signed_by(key, &issuer), [intermediate, root_der]),
            Signer::Root => (leaf.signed_by(key, &root), [intermediate, root_der]),
            Signer::Itself => (leaf.self_signed(key), [intermediate, root_der]),
            Signer::AttestedKey => {
                let device = Issuer::from_params(&leaf, &authority.device_key);
                let genuine = leaf.signed_by(&authority.device_key, &issuer).unwrap();
                let genuine = genuine.der().to_vec();
                (leaf.signed_by(key, &device), [genuine, intermediate])
            }
        };
        let mut leaf = leaf.unwrap().der().to_vec();
        (self.leaf_changed)(&mut leaf);
        let [second, third] = above;
        (self.chain)([leaf, second, third])
    }

    /// What the verifier says of it, under the roots of [`AUTHORITY`].
    pub(crate) fn verdict(&self) -> Result<(), Reason> {
        verdict(self.examine())
    }

    pub(crate) fn examine(&self) -> Examination {
        self.examine_object(self.object())
    }

    /// As [`Self::examine`], of another object.
    pub(crate) fn examine_object(&self, object: Vec<u8>) -> Examination {
        let app = attestation::AppIdentity {
            android: None,
            apple: Some(self.expected.clone()),
        };
        let given = Given {
            binding: Some(&self.given_hash),
            app: Some(&app),
            ..Given::default()
        };
        let evidence = Attestation::new(object, self.key_id.clone()).unwrap();
        let at = Timestamp::from_secs(self.at);
        examine(evidence, given, &AUTHORITY.roots(), at)
    }

    /// An extended key usage extension of the leaf, as given.
    pub(crate) fn raw_usage(&mut self, value: &[u8]) {
        let usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], value.to_vec());
        self.leaf.custom_extensions.push(usage);
    }

    pub(crate) fn usage(&mut self, oid: &[u64]) {
        self.leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(oid.to_vec())];
    }
}

pub(crate) fn cose_key(point: &[u8; 65]) -> Vec<u8> {
    [
        &[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20][..],
        &point[1..33],
        &[0x22, 0x58, 0x20],
        &point[33..],
    ]
    .concat()
}

/// The extension map of a 2026 system.
pub(crate) fn extension_map(category: Cbor) -> Vec<u8> {
    Cbor::Map(vec![
        ("apple_validation_category_01", category),
        ("apple_bundle_version_01", Cbor::Text("1.0")),
    ])
    .write()
}
