//! Files and arguments of `assay inspect`: bounded, and recognised for what they are.
//!
//! What is refused here is unusable input: nothing that could be called evidence. What is wrong
//! inside evidence is found by the checks.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::config::ConfigReport;
use crate::time::Timestamp;

/// Largest file of evidence, roots or client data: thirty times the largest chain that is looked at.
pub(super) const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Largest status list that is read; its parser has a lower limit of its own.
pub(super) const STATUS_LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// First octet of every DER certificate: SEQUENCE.
const DER_SEQUENCE: u8 = 0x30;

/// Why input cannot be examined at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{file}: {why}")]
    File { file: String, why: String },
    #[error("{0}")]
    Argument(String),
    #[error("the configuration has problems\n{0}")]
    Config(Box<ConfigReport>),
    #[error("the report cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Unusable {
    pub(super) fn file(path: &Path, why: impl ToString) -> Self {
        // What a file is called may have been chosen by whoever sent it.
        let file = path.display().to_string().escape_debug().collect();
        let why = why.to_string();
        Self::File { file, why }
    }
}

/// Octets given as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Octets(pub(super) Vec<u8>);

pub(super) fn parse_hex(text: &str) -> Result<Octets, &'static str> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map(Octets)
        .map_err(|_| "not hex: an even number of 0-9 and a-f")
}

pub(super) fn parse_base64(text: &str) -> Result<Octets, &'static str> {
    base64(text.as_bytes())
        .map(Octets)
        .ok_or("not base64, neither standard nor URL-safe")
}

pub(super) fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("not a time as in 2026-11-22T03:54:00Z")
}

/// A whole file of at most so many bytes.
pub(super) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unusable> {
    let file = File::open(path).map_err(|error| Unusable::file(path, plain(&error)))?;
    read_all(path, file, bytes_max)
}

/// A file of evidence; `-` is the standard input.
fn read_evidence(path: &Path) -> Result<Vec<u8>, Unusable> {
    let bytes = if path == Path::new("-") {
        read_all(path, io::stdin().lock(), FILE_BYTES_MAX)
    } else {
        read(path, FILE_BYTES_MAX)
    }?;
    if bytes.is_empty() {
        return Err(Unusable::file(path, "it is empty"));
    }
    Ok(bytes)
}

fn read_all(path: &Path, source: impl Read, bytes_max: usize) -> Result<Vec<u8>, Unusable> {
    // One byte more than the limit, so that a larger file is refused, not cut.
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    source
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Unusable::file(path, plain(&error)))?;
    if bytes.len() > bytes_max {
        let why = format!("it is larger than {bytes_max} bytes");
        return Err(Unusable::file(path, why));
    }
    Ok(bytes)
}

fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such file".to_owned();
    }
    error.kind().to_string()
}

/// The PEM certificates of a file of evidence, in their order. Text between them is skipped:
/// `openssl` describes each certificate in front of it.
pub(super) fn chain(path: &Path) -> Result<Vec<Vec<u8>>, Unusable> {
    certificates(path, &read_evidence(path)?)
}

/// The PEM certificates of several files, as one text without anything between them.
pub(super) fn roots(paths: &[impl AsRef<Path>]) -> Result<String, Unusable> {
    let mut text = String::new();
    for path in paths.iter().map(AsRef::as_ref) {
        for der in certificates(path, &read(path, FILE_BYTES_MAX)?)? {
            let body = BASE64.encode(&der);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----"
            );
        }
    }
    Ok(text)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Unusable> {
    let found = CertificateDer::pem_slice_iter(bytes)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Unusable::file(path, "its PEM is damaged"))?;
    if found.is_empty() {
        let why = if bytes.first() == Some(&DER_SEQUENCE) {
            "it holds no PEM certificate; it looks like DER, of which \
             `openssl x509 -inform DER` makes PEM"
        } else {
            "it holds no PEM certificate"
        };
        return Err(Unusable::file(path, why));
    }
    Ok(found)
}

/// An App Attest object: the octets themselves, or base64 of them. CBOR of one is never text: its
/// first octet is none of ASCII.
pub(super) fn object(path: &Path) -> Result<Vec<u8>, Unusable> {
    let bytes = read_evidence(path)?;
    let text = bytes
        .iter()
        .all(|octet| octet.is_ascii_graphic() || octet.is_ascii_whitespace());
    if !text {
        return Ok(bytes);
    }
    match base64(&bytes) {
        Some(object) if !object.is_empty() => Ok(object),
        _ => Err(Unusable::file(path, "it is text, but not base64")),
    }
}

/// Base64 of either alphabet, padded or not, over any number of lines. Not both alphabets at once.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut compact = text.to_vec();
    compact.retain(|octet| !octet.is_ascii_whitespace());
    let padded = compact.len();
    while compact.last() == Some(&b'=') && padded - compact.len() < 2 {
        compact.pop();
    }
    if padded != compact.len() && !padded.is_multiple_of(4) {
        return None;
    }
    let encoding = if compact.iter().any(|octet| b"-_".contains(octet)) {
        BASE64URL_NOPAD
    } else {
        BASE64_NOPAD
    };
    encoding.decode(&compact).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_base64_of_either_alphabet_with_and_without_padding() {
        for text in [
            "+/+/AA==",
            "-_-_AA==",
            "+/+/AA",
            "-_-_AA",
            " +/+/\r\nAA==\n",
        ] {
            let octets = Some(vec![0xfb, 0xff, 0xbf, 0x00]);
            assert_eq!(base64(text.as_bytes()), octets, "{text}");
        }
    }

    #[test]
    fn refuses_what_only_looks_like_base64() {
        for text in [
            "A", "AA=", "AAA==", "AAAA====", "+/-_", "AB==", "AA==AA==", "é", "=",
        ] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn hex_is_of_whole_octets() {
        assert_eq!(parse_hex("00fF"), Ok(Octets(vec![0, 255])));
        assert_eq!(parse_hex(""), Ok(Octets(Vec::new())));
        for text in ["0", "0g", "0x00", " 00"] {
            assert!(parse_hex(text).is_err(), "{text}");
        }
    }
}
