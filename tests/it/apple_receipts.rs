//! App Attest receipts: real ones, ones made under a test authority, and what is wrong with forged
//! ones.

use std::sync::LazyLock;
use std::time::Duration;

use assay::attestation::apple::receipt::{
    self, Age, Kind, RECEIPT_BYTES_MAX, ReceiptEvidence, ReceiptExpectation, ReceiptFacts,
    ReceiptRefusal,
};
use assay::attestation::apple::{Attestation, Environment, Facts};
use assay::attestation::roots::{AppleRoots, Roots};
use assay::attestation::{
    self, AppIdentity, AttestKeys, Evidence, Expectation, Facts as AnyFacts, Outcome, Trust,
};
use assay::key::{PublicKey, sha256};
use assay::simulator::receipt::Receipt;
use assay::simulator::{Authorities, apple};
use assay::time::Timestamp;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SigningKey,
};

use crate::apple_support::{app, der, receipt_range, seconds};

/// A receipt with everything it has to be.
#[derive(Clone)]
struct Case {
    receipt: Vec<u8>,
    app_id: String,
    key: PublicKey,
    client_data_hash: Vec<u8>,
    environment: Environment,
    kind: Kind,
    age: Age,
    roots: AppleRoots,
    now: Timestamp,
}

impl Case {
    fn verify(&self) -> Result<ReceiptFacts, ReceiptRefusal> {
        let expectation = ReceiptExpectation {
            app_id: &self.app_id,
            key: &self.key,
            client_data_hash: Some(&self.client_data_hash),
            environment: self.environment,
            kind: self.kind,
            age: self.age,
        };
        receipt::verify(&self.receipt, expectation, &self.roots, self.now)
    }

    /// The refusal after a change.
    fn refusal(&self, change: impl FnOnce(&mut Self)) -> ReceiptRefusal {
        let mut changed = self.clone();
        change(&mut changed);
        changed.verify().unwrap_err()
    }
}

/// A receipt to be made under the test authorities. It is right until something is changed.
struct Forge {
    fields: Vec<(u8, u8, Vec<u8>)>,
    root: &'static Root,
    intermediate: CertificateParams,
    signer: CertificateParams,
    signer_algorithm: &'static rcgen::SignatureAlgorithm,
    /// Who signs the signer's certificate.
    signer_under_root: bool,
    /// What is signed, made from the content.
    signed: Change,
    /// The content, made from the fields.
    content: Change,
    /// The signature, made from the right one.
    signature: Change,
    attributes: Vec<u8>,
    signers: usize,
    /// Certificates, made from signer, intermediate and root.
    certificates: Certificates,
    chunk: usize,
    /// The whole, made from the right one.
    whole: Change,
}

type Change = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
type Certificates = Box<dyn Fn([Vec<u8>; 3]) -> Vec<Vec<u8>>>;
/// One change of a forged receipt, named.
type Forgery = (&'static str, fn(&mut Forge));
/// One change of bytes, named.
type Rewriting = (&'static str, fn(Vec<u8>) -> Vec<u8>);

struct Root {
    key: KeyPair,
    params: CertificateParams,
    certificate: Vec<u8>,
    pem: String,
}

static ROOT: LazyLock<Root> = LazyLock::new(Root::new);
/// The same name with another key.
static IMPOSTOR: LazyLock<Root> = LazyLock::new(Root::new);

const APP_ID: &str = "TEAM012345.com.example.bank";
const HASH: [u8; 32] = [0x5a; 32];
const CREATED: &str = "2027-01-15T08:00:00.25Z";
const EXPIRES: &str = "2027-04-15T08:00:00.25Z";
const DAY: i64 = 86_400;

fn now() -> Timestamp {
    Timestamp::parse_rfc3339(CREATED).unwrap()
}

impl Root {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let params = authority("Test Root CA - G3", -400, 4000);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().to_vec(),
            key,
            params,
        }
    }
}

fn params(name: &str, from: i64, to: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.not_before = seconds(now().as_secs() + from * DAY);
    params.not_after = seconds(now().as_secs() + to * DAY);
    params
}

fn authority(name: &str, from: i64, to: i64) -> CertificateParams {
    let mut params = params(name, from, to);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn mark(arcs: &[u64], value: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(arcs, value.to_vec())
}

const SIGNER_MARK: &[u64] = &[1, 2, 840, 113_635, 100, 12, 15];
const ISSUER_MARK: &[u64] = &[1, 2, 840, 113_635, 100, 6, 2, 3];

/// The device's key, and a leaf certificate for it.
static LEAF: LazyLock<(PublicKey, Vec<u8>)> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let leaf = params("leaf", -1, 1).self_signed(&key).unwrap();
    (
        PublicKey::from_sec1(key.der_bytes()).unwrap(),
        leaf.der().to_vec(),
    )
});

fn unchanged() -> Change {
    Box::new(|bytes| bytes)
}

fn indefinite(tag: u8, items: &[Vec<u8>]) -> Vec<u8> {
    [&[tag, 0x80][..], &items.concat(), &[0, 0]].concat()
}

const OID_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const OID_SIGNED: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const SHA256: &[u8] = &[0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0];
const ECDSA: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const VERSION: &[u8] = &[2, 1, 1];

impl Forge {
    fn genuine() -> Self {
        let field = |number, value: &[u8]| (number, 1, value.to_vec());
        let mut intermediate = authority("Test Application Integration CA", -400, 3000);
        intermediate.custom_extensions = vec![mark(ISSUER_MARK, &[5, 0])];
        let mut signer = params("Test Receipt Signing", -100, 295);
        signer.is_ca = IsCa::ExplicitNoCa;
        signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        signer.custom_extensions = vec![mark(SIGNER_MARK, &[5, 0])];
        signer.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x59, 1, 2, 3]));
        Self {
            fields: vec![
                field(2, APP_ID.as_bytes()),
                field(3, &LEAF.1),
                field(4, &HASH),
                field(5, b"dG9rZW4="),
                field(6, b"ATTEST"),
                field(7, b"production"),
                field(12, CREATED.as_bytes()),
                field(21, EXPIRES.as_bytes()),
            ],
            root: &ROOT,
            intermediate,
            signer,
            signer_algorithm: &PKCS_ECDSA_P256_SHA256,
            signer_under_root: false,
            signed: unchanged(),
            content: unchanged(),
            signature: unchanged(),
            attributes: Vec::new(),
            signers: 1,
            certificates: Box::new(|all| all.to_vec()),
            chunk: 1000,
            whole: unchanged(),
        }
    }

    /// One as Apple's server gives it in exchange.
    fn renewed() -> Self {
        let mut forge = Self::genuine();
        forge.set(6, b"RECEIPT");
        forge.fields.push((17, 1, b"4".to_vec()));
        forge
            .fields
            .push((19, 1, b"2027-01-16T08:00:00.25Z".to_vec()));
        forge
    }

    fn set(&mut self, number: u8, value: &[u8]) {
        let field = self.fields.iter_mut().find(|field| field.0 == number);
        field.unwrap().2 = value.to_vec();
    }

    fn receipt(&self) -> Vec<u8> {
        let fields = self.fields.iter().map(|(number, version, value)| {
            let head = [&[2, 1, *number][..], &[2, 1, *version]].concat();
            der(0x30, &[head, der(4, value)].concat())
        });
        let content = der(0x31, &fields.collect::<Vec<_>>().concat());
        let content = (self.content)(content);

        let root = Issuer::from_params(&self.root.params, &self.root.key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let intermediate = self.intermediate.signed_by(&key, &root).unwrap();
        let issuer = Issuer::from_params(&self.intermediate, &key);
        let issuer = if self.signer_under_root {
            &root
        } else {
            &issuer
        };
        let signer_key = KeyPair::generate_for(self.signer_algorithm).unwrap();
        let signer = self.signer.signed_by(&signer_key, issuer).unwrap();
        let signature = signer_key.sign(&(self.signed)(content.clone())).unwrap();
        let signature = (self.signature)(signature);

        let named = if self.signer_under_root {
            &self.root.params
        } else {
            &self.intermediate
        };
        let common_name = named.distinguished_name.get(&rcgen::DnType::CommonName);
        let Some(rcgen::DnValue::Utf8String(name)) = common_name else {
            panic!("no name");
        };
        let attribute = [&[6, 3, 0x55, 4, 3][..], &der(0x0c, name.as_bytes())].concat();
        let name = der(0x30, &der(0x31, &der(0x30, &attribute)));
        let serial = der(2, &[0x59, 1, 2, 3]);
        let info = der(
            0x30,
            &[
                VERSION,
                &der(0x30, &[name, serial].concat()),
                SHA256,
                &self.attributes,
                ECDSA,
                &der(4, &signature),
            ]
            .concat(),
        );
        let chunks: Vec<_> = content.chunks(self.chunk).map(|one| der(4, one)).collect();
        let content = indefinite(0xa0, &[indefinite(0x24, &chunks)]);
        let certificates = (self.certificates)([
            signer.der().to_vec(),
            intermediate.der().to_vec(),
            self.root.certificate.clone(),
        ]);
        let data = indefinite(
            0x30,
            &[
                VERSION.to_vec(),
                der(0x31, SHA256),
                indefinite(0x30, &[OID_DATA.to_vec(), content]),
                indefinite(0xa0, &certificates),
                der(0x31, &info.repeat(self.signers)),
            ],
        );
        let whole = indefinite(0x30, &[OID_SIGNED.to_vec(), indefinite(0xa0, &[data])]);
        (self.whole)(whole)
    }

    fn case(&self) -> Case {
        let is_renewed = self.fields.iter().any(|field| field.2 == b"RECEIPT");
        Case {
            receipt: self.receipt(),
            app_id: APP_ID.to_owned(),
            key: LEAF.0,
            client_data_hash: HASH.to_vec(),
            environment: Environment::Production,
            kind: if is_renewed {
                Kind::Receipt
            } else {
                Kind::Attest
            },
            age: Age::Within(Duration::from_secs(300)),
            roots: AppleRoots::from_pem(&ROOT.pem).unwrap(),
            now: now(),
        }
    }

    fn verify(&self) -> Result<ReceiptFacts, ReceiptRefusal> {
        self.case().verify()
    }
}

/// What a genuine receipt is refused for after a change.
fn refusal(change: impl FnOnce(&mut Forge)) -> ReceiptRefusal {
    let mut forge = Forge::genuine();
    change(&mut forge);
    forge.verify().unwrap_err()
}

fn is_malformed(refusal: &ReceiptRefusal) -> bool {
    matches!(refusal, ReceiptRefusal::Malformed(_))
}

fn is_untrusted(refusal: &ReceiptRefusal) -> bool {
    matches!(refusal, ReceiptRefusal::Untrusted(_))
}

#[test]
fn accepts_a_receipt_of_each_kind() {
    let facts = ReceiptFacts {
        kind: Kind::Attest,
        app_id: APP_ID.to_owned(),
        environment: Some(Environment::Production),
        created_at: now(),
        not_before: None,
        expires_at: Timestamp::parse_rfc3339(EXPIRES).unwrap(),
        risk_metric: None,
        unknown_fields: Vec::new(),
    };
    assert_eq!(Forge::genuine().verify(), Ok(facts.clone()));
    let renewed = ReceiptFacts {
        kind: Kind::Receipt,
        not_before: Some(now().after(Duration::from_secs(86_400))),
        risk_metric: Some(4),
        ..facts
    };
    assert_eq!(Forge::renewed().verify(), Ok(renewed));
}

#[test]
fn accepts_every_odd_but_genuine_receipt() {
    let accepted = |change: fn(&mut Forge)| {
        let mut forge = Forge::genuine();
        change(&mut forge);
        forge.verify().unwrap_or_else(|why| panic!("{why}"))
    };
    // Fields without a known meaning are passed over, whatever their version, and told.
    let facts = accepted(|forge| forge.fields.extend([(20, 1, vec![]), (99, 7, vec![1])]));
    assert_eq!(facts.unknown_fields, [20, 99]);
    // The environment is undocumented.
    let facts = accepted(|forge| forge.fields.retain(|field| field.0 != 7));
    assert_eq!(facts.environment, None);
    // Fields may stand in any order; chunks and certificates, too.
    accepted(|forge| forge.fields.reverse());
    accepted(|forge| forge.chunk = 100);
    accepted(|forge| forge.chunk = 4000);
    accepted(|forge| forge.certificates = Box::new(|[a, b, c]| vec![c, b, a]));
    // The root need not be sent.
    accepted(|forge| forge.certificates = Box::new(|[a, b, _]| vec![a, b]));
}

#[test]
fn refuses_receipts_with_fields_missing_twice_or_of_another_form() {
    for number in [2, 3, 4, 6, 12, 21] {
        let missing = refusal(|forge| forge.fields.retain(|field| field.0 != number));
        assert_eq!(missing, ReceiptRefusal::FieldMissing(number.into()));
    }
    for number in [2, 3, 4, 5, 6, 7, 12, 21] {
        let twice = refusal(|forge| {
            let field = forge.fields.iter().find(|field| field.0 == number);
            let field = field.unwrap().clone();
            forge.fields.push(field);
        });
        assert_eq!(twice, ReceiptRefusal::FieldTwice(number.into()));
        let version = refusal(|forge| {
            let field = forge.fields.iter_mut().find(|field| field.0 == number);
            field.unwrap().1 = 2;
        });
        assert_eq!(version, ReceiptRefusal::Field(number.into()));
    }
    let unknown_twice = refusal(|forge| forge.fields.extend([(20, 1, vec![]), (20, 1, vec![])]));
    assert_eq!(unknown_twice, ReceiptRefusal::FieldTwice(20));
    let cut = &LEAF.1[..LEAF.1.len() - 1];
    let odd: &[(u8, &[u8])] = &[
        (2, b""),
        (2, b"TEAM012345.com\x1b[31m"),
        (2, b"\xff"),
        (3, b""),
        (3, cut),
        (3, LEAF.0.as_bytes()),
        (6, b""),
        (6, b"attest"),
        (6, b"ATTEST "),
        (7, b""),
        (7, b"Production"),
        (12, b""),
        (12, b"2027-01-15"),
        (12, b"2027-01-15T08:00:00.25"),
        (12, b"2027-01-15T09:00:00.25+01:00"),
        (21, b"never"),
    ];
    for (number, value) in odd {
        let refused = refusal(|forge| forge.set(*number, value));
        assert_eq!(
            refused,
            ReceiptRefusal::Field((*number).into()),
            "{value:?}"
        );
    }
    for (number, value) in [
        (17, &b"-1"[..]),
        (17, b""),
        (17, b"4294967296"),
        (19, b"now"),
    ] {
        let mut forge = Forge::renewed();
        forge.set(number, value);
        let refused = forge.verify().unwrap_err();
        assert_eq!(refused, ReceiptRefusal::Field(number.into()), "{value:?}");
    }
    let many = refusal(|forge| {
        forge
            .fields
            .extend((30..60).map(|number| (number, 1, vec![])))
    });
    assert!(is_malformed(&many), "{many}");
}

#[test]
fn refuses_receipts_for_something_else() {
    let case = Forge::genuine().case();
    let other_key = PublicKey::from_jwk_coordinates(
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
        "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    );
    assert_eq!(
        [
            case.refusal(|case| case.app_id.push('x')),
            case.refusal(|case| case.key = other_key.unwrap()),
            case.refusal(|case| case.client_data_hash[0] ^= 1),
            case.refusal(|case| case.environment = Environment::Development),
            case.refusal(|case| case.kind = Kind::Receipt),
            Forge::renewed()
                .case()
                .refusal(|case| case.kind = Kind::Attest),
        ],
        [
            ReceiptRefusal::OtherApp,
            ReceiptRefusal::OtherKey,
            ReceiptRefusal::OtherClientData,
            ReceiptRefusal::OtherEnvironment,
            ReceiptRefusal::OtherKind,
            ReceiptRefusal::OtherKind,
        ]
    );
    for expires in [CREATED, "2026-04-15T08:00:00Z"] {
        let refused = refusal(|forge| forge.set(21, expires.as_bytes()));
        assert!(matches!(refused, ReceiptRefusal::Expired(_)), "{refused}");
    }
}

#[test]
fn a_signer_of_another_purpose_under_the_same_root_signs_no_receipts() {
    let changes: &[Forgery] = &[
        ("no mark", |forge| forge.signer.custom_extensions.clear()),
        ("another mark", |forge| {
            forge.signer.custom_extensions =
                vec![mark(&[1, 2, 840, 113_635, 100, 12, 16], &[5, 0])];
        }),
        ("the mark with another value", |forge| {
            forge.signer.custom_extensions = vec![mark(SIGNER_MARK, &[4, 0])];
        }),
        ("the mark twice", |forge| {
            forge
                .signer
                .custom_extensions
                .push(mark(SIGNER_MARK, &[5, 0]));
        }),
        ("an authority", |forge| {
            forge.signer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        ("no digital signature", |forge| {
            forge.signer.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        }),
        ("no key usage", |forge| forge.signer.key_usages.clear()),
        ("another curve", |forge| {
            forge.signer_algorithm = &PKCS_ECDSA_P384_SHA384;
        }),
    ];
    for (name, change) in changes {
        assert_eq!(refusal(change), ReceiptRefusal::SignerUnfit, "{name}");
    }
    let changes: &[Forgery] = &[
        ("no mark", |forge| {
            forge.intermediate.custom_extensions.clear()
        }),
        ("the mark with another value", |forge| {
            forge.intermediate.custom_extensions = vec![mark(ISSUER_MARK, &[])];
        }),
        ("no signing of certificates", |forge| {
            forge.intermediate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }),
    ];
    for (name, change) in changes {
        assert_eq!(refusal(change), ReceiptRefusal::IssuerUnfit, "{name}");
    }
}

#[test]
fn refuses_signers_without_a_path_to_the_root() {
    let changes: &[Forgery] = &[
        ("another root of the same name", |forge| {
            forge.root = &IMPOSTOR
        }),
        ("the intermediate is no authority", |forge| {
            forge.intermediate.is_ca = IsCa::ExplicitNoCa;
        }),
        ("the signer stands right under the root", |forge| {
            forge.signer_under_root = true;
        }),
        ("the signer is over", |forge| {
            forge.signer.not_after = seconds(now().as_secs() - 1);
        }),
        ("the signer is not valid yet", |forge| {
            forge.signer.not_before = seconds(now().as_secs() + 2);
        }),
        ("the intermediate is over", |forge| {
            forge.intermediate.not_after = seconds(now().as_secs() - 1);
        }),
        ("the intermediate is missing", |forge| {
            forge.certificates = Box::new(|[signer, _, root]| vec![signer, root]);
        }),
    ];
    for (name, change) in changes {
        let refused = refusal(change);
        assert!(is_untrusted(&refused), "{name}: {refused}");
    }
    let case = Forge::genuine().case();
    let refused = case.refusal(|case| case.roots = AppleRoots::apple());
    assert!(is_untrusted(&refused), "{refused}");
    assert!(is_untrusted(
        &case.refusal(|case| case.roots = AppleRoots::default())
    ));
}

/// A kept receipt is judged for when it was made; a signer that was over by then is not believed.
#[test]
fn a_receipt_cannot_be_dated_outside_the_life_of_its_signer() {
    let mut forge = Forge::genuine();
    forge.signer.not_after = seconds(now().as_secs() - 1);
    let case = Case {
        age: Age::Kept,
        now: now().after(Duration::from_secs(900_000)),
        ..forge.case()
    };
    assert!(is_untrusted(&case.verify().unwrap_err()));
}

/// What Apple's server gives has to be signed by a signer valid now, however right its date is.
#[test]
fn a_renewed_receipt_is_judged_for_now_and_a_kept_one_for_its_date() {
    let mut forge = Forge::renewed();
    forge.signer.not_after = seconds(now().as_secs() + DAY);
    let at = |days: u64, age| Case {
        age,
        now: now().after(Duration::from_secs(86_400 * days)),
        ..forge.case()
    };
    assert!(at(1, Age::Since(now())).verify().is_ok());
    assert!(is_untrusted(
        &at(2, Age::Since(now())).verify().unwrap_err()
    ));
    assert!(at(2, Age::Kept).verify().is_ok());
    let expired = at(90, Age::Since(now())).verify().unwrap_err();
    assert!(matches!(expired, ReceiptRefusal::Expired(_)), "{expired}");
}

#[test]
fn refuses_envelopes_that_are_not_signed_once_by_the_one_named() {
    assert_eq!(
        refusal(|forge| forge.signers = 0),
        ReceiptRefusal::Signers(0)
    );
    assert_eq!(
        refusal(|forge| forge.signers = 2),
        ReceiptRefusal::Signers(2)
    );
    let without = refusal(|forge| {
        forge.certificates = Box::new(|[_, intermediate, root]| vec![intermediate, root]);
    });
    assert_eq!(without, ReceiptRefusal::SignerMissing);
    let twice = refusal(|forge| {
        forge.certificates = Box::new(|[signer, above, _]| vec![signer.clone(), signer, above]);
    });
    assert_eq!(twice, ReceiptRefusal::SignerMissing);
    let none = refusal(|forge| forge.certificates = Box::new(|_| Vec::new()));
    assert_eq!(none, ReceiptRefusal::SignerMissing);
    let five = refusal(|forge| {
        forge.certificates = Box::new(|[a, b, c]| vec![a, b, c.clone(), c.clone(), c]);
    });
    assert!(is_malformed(&five), "{five}");
}

#[test]
fn refuses_signatures_of_something_else() {
    let changes: &[Forgery] = &[
        ("over nothing", |forge| {
            forge.signed = Box::new(|_| Vec::new())
        }),
        ("over more", |forge| {
            forge.signed = Box::new(|content| [content, vec![0]].concat());
        }),
        ("empty", |forge| forge.signature = Box::new(|_| Vec::new())),
        ("zero", |forge| {
            forge.signature = Box::new(|_| vec![0x30, 6, 2, 1, 0, 2, 1, 0]);
        }),
        ("with a byte behind it", |forge| {
            forge.signature = Box::new(|signature| [signature, vec![0]].concat());
        }),
    ];
    for (name, change) in changes {
        assert_eq!(refusal(change), ReceiptRefusal::Signature, "{name}");
    }
}

/// Signed attributes are passed over: what is signed over the content is believed with them, and
/// what is signed over them is not.
#[test]
fn signed_attributes_stand_in_for_nothing() {
    let attribute = [
        &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4][..],
        &der(0x31, &der(4, &[7; 32])),
    ]
    .concat();
    let attributes = der(0x30, &attribute);
    let mut forge = Forge::genuine();
    forge.attributes = der(0xa0, &attributes);
    assert!(forge.verify().is_ok());
    let signed = der(0x31, &attributes);
    let over_attributes = signed.clone();
    forge.signed = Box::new(move |_| over_attributes.clone());
    assert_eq!(forge.verify().unwrap_err(), ReceiptRefusal::Signature);
    let as_content = refusal(|forge| forge.content = Box::new(move |_| signed.clone()));
    assert!(is_malformed(&as_content), "{as_content}");
}

#[test]
fn refuses_bytes_of_another_form_without_following_them() {
    let bombs: &[Rewriting] = &[
        ("nothing", |_| Vec::new()),
        ("a byte behind", |whole| [whole, vec![0]].concat()),
        ("an end mark behind", |whole| [whole, vec![0, 0]].concat()),
        ("twice", |whole| [whole.clone(), whole].concat()),
        ("open without end", |_| [0x30, 0x80].repeat(8000)),
        ("nested and closed", |_| {
            [[0x30, 0x80].repeat(4000), [0, 0].repeat(4000)].concat()
        }),
        ("nested octet strings", |_| {
            [[0x24, 0x80].repeat(4000), [0, 0].repeat(4000)].concat()
        }),
        ("inside the right beginning", |whole| {
            [&whole[..17], &[0x30, 0x80].repeat(4000)].concat()
        }),
        ("empty elements without end", |_| {
            [vec![0x30, 0x80], [5, 0].repeat(8000)].concat()
        }),
    ];
    for (name, change) in bombs {
        let refused = refusal(|forge| forge.whole = Box::new(*change));
        assert!(is_malformed(&refused), "{name}: {refused}");
    }
    let large = refusal(|forge| forge.whole = Box::new(|_| vec![0x30; RECEIPT_BYTES_MAX + 1]));
    assert_eq!(large, ReceiptRefusal::TooLarge(RECEIPT_BYTES_MAX + 1));
    // A chunk that claims more than there is, and more chunks than fit.
    let long = refusal(|forge| {
        forge.whole = Box::new(|mut whole| {
            let at = whole.windows(3).position(|three| three == [0x24, 0x80, 4]);
            whole[at.unwrap() + 4] = 0xff;
            whole
        });
    });
    assert!(is_malformed(&long), "{long}");
    let many = refusal(|forge| forge.chunk = 10);
    assert!(is_malformed(&many), "{many}");
    // Content of another form.
    let contents: &[Rewriting] = &[
        ("nothing", |_| Vec::new()),
        ("more behind", |content| [content, vec![5, 0]].concat()),
        ("cut", |content| content[..content.len() - 1].to_vec()),
        ("a sequence", |mut content| {
            content[0] = 0x30;
            content
        }),
        ("no field", |_| vec![0x31, 2, 5, 0]),
        ("a number alone", |_| vec![0x31, 7, 0x30, 5, 2, 1, 2, 2, 0]),
    ];
    for (name, change) in contents {
        let refused = refusal(|forge| forge.content = Box::new(*change));
        assert!(is_malformed(&refused), "{name}: {refused}");
    }
}

/// Replaces the first place where `from` stands.
fn replaced(whole: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = whole.windows(from.len()).position(|bytes| bytes == from);
    let (before, rest) = whole.split_at(at.unwrap());
    [before, to, &rest[from.len()..]].concat()
}

#[test]
fn refuses_envelopes_that_are_other_than_apples() {
    const SHA512: &[u8] = &[0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0];
    const ECDSA_SHA384: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    const ENVELOPED: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3];
    let forgeries: &[Rewriting] = &[
        ("enveloped data", |whole| {
            replaced(&whole, OID_SIGNED, ENVELOPED)
        }),
        ("content of another type", |whole| {
            replaced(&whole, OID_DATA, ENVELOPED)
        }),
        ("a later version", |whole| {
            replaced(&whole, &[2, 1, 1, 0x31], &[2, 1, 3, 0x31])
        }),
        ("another digest", |whole| replaced(&whole, SHA256, SHA512)),
        ("two digests", |whole| {
            let two = [SHA256, SHA256].concat();
            replaced(&whole, &der(0x31, SHA256), &der(0x31, &two))
        }),
        ("a NULL with content", |whole| {
            let odd = [&[0x30, 14], &SHA256[2..13], &[5, 1, 0]].concat();
            replaced(&whole, &der(0x31, SHA256), &der(0x31, &odd))
        }),
        ("no content", |whole| {
            let start = whole
                .windows(4)
                .position(|four| four == [0xa0, 0x80, 0x24, 0x80]);
            let certificates = [0, 0, 0, 0, 0, 0, 0xa0, 0x80];
            let end = whole.windows(8).position(|eight| eight == certificates);
            [&whole[..start.unwrap()], &whole[end.unwrap() + 4..]].concat()
        }),
        ("no certificates", |whole| {
            let start = whole
                .windows(8)
                .position(|eight| eight == [0, 0, 0, 0, 0, 0, 0xa0, 0x80]);
            let start = start.unwrap() + 6;
            [&whole[..start], &[0x31, 0, 0, 0, 0, 0, 0, 0]].concat()
        }),
        ("a revocation list", |whole| {
            let end = whole.len() - 6;
            [&whole[..end], &[0xa1, 2, 0x30, 0], &whole[end..]].concat()
        }),
    ];
    for (name, change) in forgeries {
        let refused = refusal(|forge| forge.whole = Box::new(*change));
        assert!(is_malformed(&refused), "{name}: {refused}");
    }
    let attributes: &[(&str, &[u8])] = &[
        ("unsigned attributes in their place", &[0xa1, 0]),
        ("attributes twice", &[0xa0, 0, 0xa0, 0]),
        ("another algorithm", ECDSA_SHA384),
    ];
    for (name, bytes) in attributes {
        let refused = refusal(|forge| forge.attributes = bytes.to_vec());
        assert!(is_malformed(&refused), "{name}: {refused}");
    }
}

/// The attestation of a software phone, with a chosen receipt in the place of its own.
fn attested_with(receipt: impl FnOnce(&Authorities, Vec<u8>) -> Vec<u8>) -> (Facts, String) {
    let authorities = Authorities::generate(now()).unwrap();
    let options = apple::Options::well_kept(
        "TEAM012345",
        "com.example.bank",
        apple::Environment::Production,
    );
    let phone = apple::Phone::new(&authorities, options).unwrap();
    let mut object = phone.attest(b"client data", now()).unwrap();
    let place = receipt_range(&object);
    let chosen = receipt(&authorities, object[place.clone()].to_vec());
    let length = u16::try_from(chosen.len()).unwrap().to_be_bytes();
    let start = place.start;
    object.splice(place, chosen);
    object[start - 2..start].copy_from_slice(&length);

    let app = AppIdentity {
        android: None,
        apple: Some(app()),
    };
    let expectation = Expectation {
        binding: &sha256(b"client data"),
        app: &app,
        attest_keys: AttestKeys::Refuse,
    };
    let roots = Roots {
        apple: AppleRoots::from_pem(&authorities.apple_root_pem()).unwrap(),
        ..Roots::default()
    };
    let trust = Trust {
        roots: &roots,
        status_list: None,
        own_list: None,
    };
    let evidence = Attestation::new(object, phone.key_id().to_vec()).unwrap();
    let evidence = Evidence::Apple(evidence);
    let attested = attestation::verify(&evidence, expectation, trust, now()).unwrap();
    let row = attested.checks().as_slice().last().unwrap();
    assert_eq!((row.name, row.outcome), ("receipt", Outcome::Passed));
    match attested.facts() {
        AnyFacts::Apple(facts) => ((**facts).clone(), row.seen.clone()),
        AnyFacts::Android(_) => panic!("an Android device"),
    }
}

#[test]
fn the_receipt_of_an_attestation_is_verified_with_it() {
    let (facts, seen) = attested_with(|_, own| own);
    let ReceiptEvidence::Verified { facts, bytes } = facts.receipt else {
        panic!("{:?}", facts.receipt);
    };
    assert_eq!(facts.created_at, now());
    assert_eq!(facts.kind, Kind::Attest);
    assert_eq!(facts.environment, Some(Environment::Production));
    assert_eq!(
        seen,
        format!("{} bytes, verified, made at {}", bytes.len(), now())
    );
}

/// A receipt that is not this attestation's makes the attestation no less genuine. It is told, and
/// policy decides.
#[test]
fn a_receipt_that_is_not_believed_decides_nothing_about_the_attestation() {
    type Choice = fn(&Authorities, Vec<u8>) -> Vec<u8>;
    fn changed(authorities: &Authorities, own: &[u8], change: fn(&mut Receipt)) -> Vec<u8> {
        let mut receipt = Receipt::read(own).unwrap();
        change(&mut receipt);
        authorities.receipt(&receipt).unwrap()
    }
    let late = now().before(Duration::from_secs(301));
    let cases: &[(ReceiptRefusal, Choice)] = &[
        (
            ReceiptRefusal::Malformed("there is an end mark where nothing is open"),
            |_, _| vec![0; 300],
        ),
        (ReceiptRefusal::Signature, |_, mut own| {
            let at = own.windows(5).position(|five| five == b"token");
            assert_eq!(at, None);
            let at = own
                .windows(4)
                .position(|four| four == [2, 1, 5, 2])
                .unwrap();
            // Inside the token, which is not read.
            own[at + 12] ^= 1;
            own
        }),
        (ReceiptRefusal::OtherClientData, |authorities, own| {
            changed(authorities, &own, |receipt| {
                receipt.client_data_hash[0] ^= 1
            })
        }),
        (ReceiptRefusal::OtherApp, |authorities, own| {
            changed(authorities, &own, |receipt| receipt.app_id.push('x'))
        }),
        (ReceiptRefusal::OtherEnvironment, |authorities, own| {
            changed(authorities, &own, |receipt| {
                receipt.environment = apple::Environment::Development;
            })
        }),
        (ReceiptRefusal::OtherKey, |authorities, own| {
            changed(authorities, &own, |receipt| {
                receipt.leaf.clone_from(&LEAF.1)
            })
        }),
        (ReceiptRefusal::OtherKind, |authorities, own| {
            changed(authorities, &own, |receipt| receipt.risk_metric = Some(1))
        }),
        (ReceiptRefusal::NotFresh(late), |authorities, own| {
            changed(authorities, &own, |receipt| {
                receipt.created_at = now().before(Duration::from_secs(301));
            })
        }),
    ];
    for (expected, choice) in cases {
        let (facts, seen) = attested_with(choice);
        let ReceiptEvidence::Unverified { why, .. } = facts.receipt else {
            panic!("{:?}", facts.receipt);
        };
        assert_eq!(&why, expected);
        assert!(
            seen.ends_with(&format!("not believed: {expected}")),
            "{seen}"
        );
    }
    // Under another authority of the same names.
    let (facts, _) = attested_with(|_, own| {
        let others = Authorities::generate(now()).unwrap();
        others.receipt(&Receipt::read(&own).unwrap()).unwrap()
    });
    let ReceiptEvidence::Unverified { why, .. } = facts.receipt else {
        panic!("{:?}", facts.receipt);
    };
    assert!(is_untrusted(&why), "{why}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        at in 0_usize..2000,
    ) {
        static CASE: LazyLock<Case> = LazyLock::new(|| Forge::genuine().case());
        let mut case = CASE.clone();
        let good = case.verify().unwrap();
        // In a genuine frame: what is not refused says the same.
        let at = at.min(case.receipt.len() - bytes.len());
        case.receipt[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok(facts) = case.verify() {
            prop_assert_eq!(facts, good);
        }
        case.receipt = bytes;
        prop_assert!(case.verify().is_err());
    }
}

mod real_devices {
    use assay::attestation::Given;
    use serde_json::Value;

    use super::*;
    use crate::apple_support::{
        app_from, base64, built_in_roots, examine, instant, key_from, real_vectors, text,
    };

    const DAY: Duration = Duration::from_secs(86_400);

    fn evidence(json: &Value, at: Timestamp) -> ReceiptEvidence {
        let object = base64(&json["attestation"]);
        let evidence = Attestation::new(object, base64(&json["keyId"])).unwrap();
        let app = AppIdentity {
            android: None,
            apple: Some(app_from(json)),
        };
        let hash = base64(&json["clientDataHash"]);
        let given = Given {
            binding: Some(&hash),
            app: Some(&app),
            ..Given::default()
        };
        match examine(evidence, given, &built_in_roots(), at).facts {
            Some(AnyFacts::Apple(facts)) => facts.receipt,
            other => panic!("no Apple facts but {other:?}"),
        }
    }

    /// The receipt of each real attestation, as of its creation.
    fn cases() -> Vec<(Value, Case)> {
        let good = |(json, _): &(Value, Case)| json["receipt"]["chainValid"] == true;
        all_cases().into_iter().filter(good).collect()
    }

    fn all_cases() -> Vec<(Value, Case)> {
        let mut found = Vec::new();
        for json in real_vectors("attestation") {
            let now = instant(&json["receipt"]["creation"]);
            let evidence = evidence(&json, now);
            let Some(receipt) = evidence.bytes() else {
                continue;
            };
            let app = app_from(&json);
            let case = Case {
                receipt: receipt.to_vec(),
                app_id: format!("{}.{}", app.team_id, app.bundle_id),
                key: key_from(&json["publicKeyX963"]),
                client_data_hash: base64(&json["clientDataHash"]),
                environment: app.environment,
                kind: Kind::Attest,
                age: Age::Within(Duration::from_secs(300)),
                roots: AppleRoots::apple(),
                now,
            };
            found.push((json, case));
        }
        assert!(!found.is_empty());
        found
    }

    #[test]
    fn every_real_receipt_verifies_when_it_was_made_and_says_what_is_expected() {
        let cases = all_cases();
        for (json, case) in &cases {
            let (id, said) = (text(&json["id"]), &json["receipt"]);
            assert_eq!(said["type"], "ATTEST", "{id}");
            if said["chainValid"] == false {
                let refused = case.verify().unwrap_err();
                assert!(
                    matches!(refused, ReceiptRefusal::Untrusted(_)),
                    "{id}: {refused}"
                );
                continue;
            }
            let facts = case.verify().unwrap_or_else(|why| panic!("{id}: {why}"));
            let expected = ReceiptFacts {
                kind: Kind::Attest,
                app_id: text(&json["appId"]).to_owned(),
                environment: Some(match text(&said["environment"]) {
                    "production" => Environment::Production,
                    "sandbox" => Environment::Development,
                    other => panic!("{id}: environment {other}"),
                }),
                created_at: instant(&said["creation"]),
                not_before: None,
                expires_at: instant(&said["expiration"]),
                risk_metric: None,
                unknown_fields: Vec::new(),
            };
            assert_eq!(facts, expected, "{id}");
            assert_eq!(facts.expires_at, facts.created_at.after(DAY * 90), "{id}");
            let of_examination = evidence(json, case.now);
            assert_eq!(of_examination.facts(), Some(&facts), "{id}");
        }
        println!("{} real receipts verified", cases.len());
    }

    /// The oldest ones are signed over the content although they have signed attributes.
    #[test]
    fn receipts_of_both_forms_are_among_them() {
        let with_attributes = |(json, _): &(Value, Case)| json["receipt"]["signedAttrs"].is_array();
        let cases = cases();
        let count = cases.iter().filter(|case| with_attributes(case)).count();
        assert!(0 < count && count < cases.len());
    }

    #[test]
    fn real_receipts_are_refused_for_anything_they_were_not_made_for() {
        for (json, case) in cases() {
            let id = text(&json["id"]);
            let other_key = PublicKey::from_jwk_coordinates(
                "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
                "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
            );
            let created_at = case.now;
            let (five, milli) = (Duration::from_secs(300), Duration::from_millis(1));
            let late = ReceiptRefusal::NotFresh(created_at);
            assert_eq!(
                [
                    case.refusal(|case| case.app_id.push('x')),
                    case.refusal(|case| case.app_id.make_ascii_uppercase()),
                    case.refusal(|case| case.key = other_key.unwrap()),
                    case.refusal(|case| case.client_data_hash[31] ^= 1),
                    case.refusal(|case| case.client_data_hash.clear()),
                    case.refusal(|case| case.kind = Kind::Receipt),
                    case.refusal(|case| case.environment = other(case.environment)),
                    case.refusal(|case| case.now = created_at.after(five).after(milli)),
                    case.refusal(|case| case.now = created_at.before(five).before(milli)),
                    case.refusal(|case| case.age = Age::Since(created_at.after(milli))),
                ],
                [
                    ReceiptRefusal::OtherApp,
                    ReceiptRefusal::OtherApp,
                    ReceiptRefusal::OtherKey,
                    ReceiptRefusal::OtherClientData,
                    ReceiptRefusal::OtherClientData,
                    ReceiptRefusal::OtherKind,
                    ReceiptRefusal::OtherEnvironment,
                    late.clone(),
                    late.clone(),
                    late,
                ],
                "{id}"
            );
            for now in [created_at.after(five), created_at.before(five)] {
                let at_the_edge = Case {
                    now,
                    ..case.clone()
                };
                assert!(at_the_edge.verify().is_ok(), "{id} at {now}");
            }
        }
    }

    const fn other(environment: Environment) -> Environment {
        match environment {
            Environment::Production => Environment::Development,
            Environment::Development => Environment::Production,
        }
    }

    /// New evidence is judged for now, and every signer of these is over by now; a receipt that was
    /// kept since it came is judged for when it came.
    #[test]
    fn a_kept_receipt_outlives_its_signer_and_a_new_one_does_not() {
        for (json, case) in cases() {
            let id = text(&json["id"]);
            let later = case.now.after(DAY * 500);
            let kept = Case {
                now: later,
                age: Age::Kept,
                ..case.clone()
            };
            assert_eq!(kept.verify(), case.verify(), "{id}");
            let ahead = kept.refusal(|kept| kept.now = case.now.before(DAY));
            assert_eq!(ahead, ReceiptRefusal::NotFresh(case.now), "{id}");
            // So wide that the expiry of the receipt is what is met first; then the signer's.
            let wide =
                |now| case.refusal(|case| (case.now, case.age) = (now, Age::Within(DAY * 1000)));
            assert!(matches!(wide(later), ReceiptRefusal::Expired(_)), "{id}");
            let before_the_signer = case.now.before(DAY * 400);
            let refused = wide(before_the_signer);
            assert!(
                matches!(refused, ReceiptRefusal::Untrusted(_)),
                "{id}: {refused}"
            );
        }
    }

    #[test]
    fn real_receipts_lead_to_no_other_root() {
        for (json, case) in cases() {
            let id = text(&json["id"]);
            let refused = case.refusal(|case| case.roots = AppleRoots::default());
            assert!(matches!(refused, ReceiptRefusal::Untrusted(_)), "{id}");
        }
    }

    /// Whatever single byte is changed, a receipt is refused or says the very same.
    fn flip_every_byte(case: &Case) {
        let expected = case.verify().unwrap();
        let mut changed = case.clone();
        let mut unsigned = 0;
        for index in 0..case.receipt.len() {
            for mask in [0x01, 0xff] {
                changed.receipt[index] ^= mask;
                if let Ok(facts) = changed.verify() {
                    assert_eq!(facts, expected, "byte {index} ^ {mask:#x}");
                    unsigned += 1;
                }
                changed.receipt[index] ^= mask;
            }
        }
        // The root that is sent along, and attributes where there are some.
        println!("{unsigned} changes of bytes that nothing rests on");
        assert!(unsigned < 2 * 1000);
        for length in 0..case.receipt.len() {
            changed.receipt = case.receipt[..length].to_vec();
            let refused = changed.verify().unwrap_err();
            assert!(matches!(refused, ReceiptRefusal::Malformed(_)), "{length}");
        }
        for more in [&[0_u8][..], &[0, 0], &[5, 0], &[0x30, 0x80, 0, 0]] {
            changed.receipt = [&case.receipt, more].concat();
            let refused = changed.verify().unwrap_err();
            assert!(matches!(refused, ReceiptRefusal::Malformed(_)), "{more:?}");
        }
    }

    #[test]
    fn a_changed_byte_of_the_oldest_receipt_changes_nothing_it_says() {
        flip_the_one_named("veehaitch-ios14.0-3cf82b");
    }

    #[test]
    fn a_changed_byte_of_a_newer_receipt_changes_nothing_it_says() {
        flip_the_one_named("a-sit-plus-ios17.5.1-c1888c");
    }

    fn flip_the_one_named(id: &str) {
        let cases = cases();
        let (_, case) = cases.iter().find(|(json, _)| json["id"] == id).unwrap();
        flip_every_byte(case);
    }

    #[test]
    fn a_receipt_of_another_real_device_is_not_taken_for_this_ones() {
        let cases = cases();
        let [(_, one), .., (_, other)] = cases.as_slice() else {
            panic!("two receipts are needed");
        };
        let refused = one.refusal(|case| case.receipt.clone_from(&other.receipt));
        assert_eq!(refused, ReceiptRefusal::OtherApp);
        assert!(one.receipt.len() < RECEIPT_BYTES_MAX);
    }
}
