//! App Attest receipts: envelopes, and the content of one that is genuinely signed.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use assay::attestation::apple::Environment;
use assay::attestation::apple::receipt::{
    self as receipts, ATTEST_AGE_MAX, Age, Kind, ReceiptExpectation, ReceiptFacts,
};
use assay::attestation::roots::AppleRoots;
use assay::key::{PublicKey, sha256};
use assay::simulator::SoftKey;
use data_encoding::BASE64;

use super::make::{
    EC_SHA256, NOW, Subject, authority, edited, extension, files, has, key, name, pem, readable,
    sequence, signing_only, tlv,
};

const APP_ID: &str = "TEAM012345.com.example.bank";
const CLIENT_DATA: &[u8] = b"client data";
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SIGNER_MARK: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 12, 15];
const ISSUER_MARK: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 6, 2, 3];

/// Who signs receipts, and the device they are about.
struct Signer {
    key: SoftKey,
    /// Signer, intermediate.
    certificates: Vec<u8>,
    device: PublicKey,
    device_certificate: Vec<u8>,
    roots: AppleRoots,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let [root, intermediate, signer, device] = [key(), key(), key(), key()];
    let mark = |oid| extension(oid, &[5, 0]);
    let certificate = |serial, name, key, extensions: &[Vec<u8>], issuer, with| {
        let subject = Subject {
            serial,
            name,
            key,
            extensions,
        };
        subject.issued_by(issuer, with)
    };
    let root_der = certificate(1, "root", &root, &authority(), "root", &root);
    let marked = [authority(), vec![mark(ISSUER_MARK)]].concat();
    let middle = certificate(2, "middle", &intermediate, &marked, "root", &root);
    let fit = [signing_only(), mark(SIGNER_MARK)];
    let leaf = certificate(3, "signer", &signer, &fit, "middle", &intermediate);
    Signer {
        certificates: [leaf, middle].concat(),
        device: PublicKey::from_sec1(device.public_point()).unwrap(),
        device_certificate: certificate(4, "device", &device, &[signing_only()], "root", &root),
        roots: AppleRoots::from_pem(&pem(&root_der))
            .unwrap()
            .and(AppleRoots::apple()),
        key: signer,
    }
});

fn look(receipt: &[u8]) -> Option<ReceiptFacts> {
    let hash = sha256(CLIENT_DATA);
    let expectation = ReceiptExpectation {
        app_id: APP_ID,
        key: &SIGNER.device,
        client_data_hash: Some(&hash),
        environment: Environment::Production,
        kind: Kind::Attest,
        age: Age::Within(ATTEST_AGE_MAX),
    };
    let look = || receipts::verify(receipt, expectation, &SIGNER.roots, *NOW);
    let verdict = look();
    assert_eq!(verdict, look());
    match verdict {
        Err(refusal) => {
            readable(&refusal.to_string());
            None
        }
        Ok(facts) => {
            assert_eq!(facts.app_id, APP_ID);
            assert_eq!(facts.kind, Kind::Attest);
            assert!(facts.created_at >= NOW.before(ATTEST_AGE_MAX));
            assert!(facts.created_at <= NOW.after(ATTEST_AGE_MAX));
            assert!(facts.expires_at > *NOW);
            Some(facts)
        }
    }
}

/// The first byte says what the rest is: a receipt, content to be signed, or changes to a genuine
/// receipt.
pub(crate) fn receipt(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else {
        return false;
    };
    match mode % 3 {
        0 => look(rest).is_some(),
        1 => {
            let accepted = look(&envelope(rest)).is_some();
            if accepted {
                // Not by the reader's word alone.
                let point = SIGNER.device.as_bytes();
                for wanted in [APP_ID.as_bytes(), &sha256(CLIENT_DATA), point, b"ATTEST"] {
                    assert!(has(rest, wanted));
                }
            }
            accepted
        }
        // Unsigned bytes may change, what is said may not.
        _ => {
            let genuine = envelope(&content());
            let facts = look(&edited(&genuine, rest));
            assert!(facts.is_none() || facts == look(&genuine));
            facts.is_some()
        }
    }
}

fn algorithm(oid: &[u8]) -> Vec<u8> {
    sequence(&[tlv(6, oid)])
}

/// A receipt with this content.
fn envelope(content: &[u8]) -> Vec<u8> {
    let one = || tlv(2, &[1]);
    let signature = SIGNER.key.sign_der(content).unwrap();
    let signer = sequence(&[
        one(),
        sequence(&[name("middle"), tlv(2, &[3])]),
        algorithm(SHA256),
        algorithm(EC_SHA256),
        tlv(4, &signature),
    ]);
    let data = sequence(&[
        one(),
        tlv(0x31, &algorithm(SHA256)),
        sequence(&[tlv(6, DATA), tlv(0xa0, &tlv(4, content))]),
        tlv(0xa0, &SIGNER.certificates),
        tlv(0x31, &signer),
    ]);
    sequence(&[tlv(6, SIGNED_DATA), tlv(0xa0, &data)])
}

/// The content of the genuine receipt.
fn content() -> Vec<u8> {
    let field =
        |number: u8, value: &[u8]| sequence(&[tlv(2, &[number]), tlv(2, &[1]), tlv(4, value)]);
    let end = NOW.after(Duration::from_secs(90 * 86_400));
    let fields = [
        field(2, APP_ID.as_bytes()),
        field(3, &SIGNER.device_certificate),
        field(4, &sha256(CLIENT_DATA)),
        field(5, b"token"),
        field(6, b"ATTEST"),
        field(7, b"production"),
        field(12, NOW.to_rfc3339().as_bytes()),
        field(21, end.to_rfc3339().as_bytes()),
    ];
    tlv(0x31, &fields.concat())
}

/// The same with its length left open, as Apple's encoder writes it.
fn indefinite(receipt: &[u8]) -> Vec<u8> {
    let header = 2 + receipt.get(1).map_or(0, |first| usize::from(first & 0x7f));
    [&[0x30, 0x80], &receipt[header..], &[0, 0]].concat()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let genuine = envelope(&content());
    vec![
        [&[0], &genuine[..]].concat(),
        [&[0], &indefinite(&genuine)[..]].concat(),
        [&[1], &content()[..]].concat(),
        [&[1], &content()[..40]].concat(),
        vec![2],
        vec![2, 0, 90, 0, 1],
    ]
}

pub(crate) fn real_receipts(vectors: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for text in files(&vectors.join("apple/attestation"), ".json") {
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let object = json["attestation"].as_str().unwrap_or_default();
        let Ok(object) = BASE64.decode(object.as_bytes()) else {
            continue;
        };
        // The receipt is the byte string behind its name in the object.
        let label = b"greceipt";
        let at = object
            .windows(label.len())
            .position(|window| window == label);
        if let Some([0x59, high, low, rest @ ..]) = at.and_then(|at| object.get(at + label.len()..))
        {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            found.extend(rest.get(..length).map(|receipt| [&[0], receipt].concat()));
        }
    }
    found
}
