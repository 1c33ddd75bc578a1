//! Makes what surrounds a fuzzed part: DER, certificates, changed copies.

use std::sync::LazyLock;

use assay::attestation::{Checks, Outcome};
use assay::simulator::{Curve, SoftKey};
use assay::time::Timestamp;
use data_encoding::BASE64;

/// When everything happens.
pub(crate) static NOW: LazyLock<Timestamp> =
    LazyLock::new(|| Timestamp::parse_rfc3339("2026-11-22T00:00:00Z").unwrap());

pub(crate) const PACKAGE: &str = "com.example.bank";
pub(crate) const SIGNER: [u8; 32] = [0x5a; 32];
pub(crate) const CHALLENGE: &[u8] = b"a challenge of the server";

pub(crate) const EC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SERIAL_NUMBER: &[u8] = &[0x55, 4, 5];

pub(crate) fn key() -> SoftKey {
    SoftKey::generate(Curve::P256).unwrap()
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(byte) => out.extend([0x81, byte]),
        Err(_) => {
            let length = u16::try_from(content.len()).expect("made of bounded parts");
            out.push(0x82);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[tlv(6, oid), tlv(4, value)])
}

fn critical(oid: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[tlv(6, oid), tlv(1, &[0xff]), tlv(4, value)])
}

pub(crate) fn authority() -> Vec<Vec<u8>> {
    vec![
        critical(BASIC_CONSTRAINTS, &sequence(&[tlv(1, &[0xff])])),
        critical(KEY_USAGE, &tlv(3, &[2, 4])),
    ]
}

pub(crate) fn signing_only() -> Vec<u8> {
    critical(KEY_USAGE, &tlv(3, &[7, 0x80]))
}

pub(crate) fn name(value: &str) -> Vec<u8> {
    let attribute = sequence(&[tlv(6, SERIAL_NUMBER), tlv(12, value.as_bytes())]);
    sequence(&[tlv(0x31, &attribute)])
}

/// A certificate: who it is for, what it can do.
pub(crate) struct Subject<'a> {
    pub(crate) serial: u8,
    pub(crate) name: &'a str,
    pub(crate) key: &'a SoftKey,
    pub(crate) extensions: &'a [Vec<u8>],
}

impl Subject<'_> {
    /// Issued by this name and key, valid around [`NOW`].
    pub(crate) fn issued_by(&self, issuer: &str, signer: &SoftKey) -> Vec<u8> {
        let algorithm = sequence(&[tlv(6, EC_SHA256)]);
        let signed = sequence(&[
            tlv(0xa0, &tlv(2, &[2])),
            tlv(2, &[self.serial]),
            algorithm.clone(),
            name(issuer),
            sequence(&[tlv(0x17, b"260101000000Z"), tlv(0x17, b"270101000000Z")]),
            name(self.name),
            self.key.spki(),
            tlv(0xa3, &sequence(self.extensions)),
        ]);
        let signature = [&[0], &signer.sign_der(&signed).unwrap()[..]].concat();
        sequence(&[signed, algorithm, tlv(3, &signature)])
    }
}

pub(crate) fn pem(der: &[u8]) -> String {
    let lines: Vec<String> = BASE64
        .encode(der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

/// A changed copy. Each four bytes of `edits` are one change: a place of two bytes, what to do there,
/// and an octet to do it with.
pub(crate) fn edited(original: &[u8], edits: &[u8]) -> Vec<u8> {
    const EDITS_MAX: usize = 16;
    let mut copy = original.to_vec();
    for edit in edits.chunks_exact(4).take(EDITS_MAX) {
        let &[high, low, what, octet] = edit else {
            continue;
        };
        let at = usize::from(u16::from_be_bytes([high, low])) % (copy.len() + 1);
        match what % 4 {
            0 => {
                if let Some(place) = copy.get_mut(at) {
                    *place ^= octet;
                }
            }
            1 => copy.insert(at, octet),
            2 => {
                let end = (at + usize::from(octet)).min(copy.len());
                copy.drain(at..end);
            }
            _ => copy.truncate(at),
        }
    }
    copy
}

/// Parts, each behind its length in two bytes; what is left over is a last part.
pub(crate) fn parts(mut bytes: &[u8], parts_max: usize) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        if parts.len() == parts_max {
            break;
        }
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push(part.to_vec());
        bytes = rest;
    }
    parts
}

pub(crate) fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

pub(crate) fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// What holds of every list of checks, whatever was looked at: there are some, a person can read
/// them on a terminal, and they are not much longer than what they are about.
pub(crate) fn presentable(checks: &Checks, input_bytes: usize) {
    assert!(!checks.as_slice().is_empty(), "no check was made");
    for check in checks.as_slice() {
        readable(&check.seen);
        readable(&check.wanted);
        let most = 1024 + 8 * input_bytes;
        assert!(check.seen.len() <= most, "{} says too much", check.name);
        let passed = check.outcome == Outcome::Passed;
        assert!(!passed || !check.wanted.is_empty(), "{}", check.name);
    }
    let failed = |check: &assay::attestation::Check| matches!(check.outcome, Outcome::Failed(_));
    let some_failed = checks.as_slice().iter().any(failed);
    assert_eq!(some_failed, checks.rejection().is_some());
    assert!(!(some_failed && checks.all_passed()));
}

/// No character that could steer a terminal.
pub(crate) fn readable(text: &str) {
    let steers = |c: char| {
        c.is_control()
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c)
    };
    assert!(!text.chars().any(steers), "{text:?} could steer a terminal");
}

/// Every file below a directory, by its ending.
pub(crate) fn files(directory: &std::path::Path, ending: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    let read = |path: &std::path::PathBuf| std::fs::read(path).unwrap();
    found.iter().map(read).collect()
}
