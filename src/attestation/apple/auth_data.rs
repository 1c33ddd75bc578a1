//! `authenticatorData` (Web Authentication, 6.1) as App Attest writes it.
//!
//! It is laid out by offset, never by its flags: genuine assertions set the attested-data flag without
//! having any, and genuine extension maps come with the extension flag clear.

use super::cbor::{self, CborError, Map, Value};
use super::printable;
use crate::key::PublicKey;

/// Bytes of `rpIdHash`, flags and counter.
const HEADER_BYTES: usize = 32 + 1 + 4;

/// The one canonical COSE encoding of a P-256 key: `{1: 2, 3: -7, -1: 1, -2: x, -3: y}`.
const COSE_KEY_BYTES: usize = 77;

/// `AT`: attested credential data included.
const ATTESTED_DATA_FLAG: u8 = 0x40;

/// `ED`: extension data included.
const EXTENSIONS_FLAG: u8 = 0x80;

/// Longest bundle version; genuine ones are a few digits and dots.
const BUNDLE_VERSION_BYTES_MAX: usize = 128;

/// Longest code directory hash: SHA-512.
const CD_HASH_BYTES_MAX: usize = 64;

/// The part every `authenticatorData` begins with.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) rp_id_hash: [u8; 32],
    pub(super) counter: u32,
}

/// What an attestation's `authenticatorData` holds.
#[derive(Debug)]
pub(super) struct Attested {
    pub(super) header: Header,
    pub(super) aaguid: [u8; 16],
    pub(super) credential_id: [u8; 32],
    pub(super) cose_key: [u8; COSE_KEY_BYTES],
    pub(super) extensions: Extensions,
}

/// What an assertion's `authenticatorData` holds.
#[derive(Debug)]
pub(super) struct Asserted {
    pub(super) header: Header,
    pub(super) extensions: Extensions,
}

/// What the systems of 2026 (iOS 27, macOS 27) add. Everything is absent on older ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Whether the flags announce the map. Genuine maps come unannounced, too, but only an announced
    /// one is the system's word: the system signs header and map and then whatever the app calls a
    /// hash. An app that hands it a map of its own with the hash behind gets a signature that reads
    /// like one over a map of the system. The flags stand in front, where the app does not reach.
    pub announced: bool,
    /// `apple_validation_category_01`: how the running app was signed: 1 OS, 2 TestFlight,
    /// 3 development, 4 App Store, 5 enterprise or ad hoc, 6 Developer ID, 10 other, 0 invalid.
    pub validation_category: Option<u32>,
    /// `apple_bundle_version_01`: `CFBundleVersion` of the running app.
    pub bundle_version: Option<String>,
    /// `apple_cd_hash_hash_01`: hash of the running app's code directory.
    pub cd_hash: Option<Vec<u8>>,
    /// `apple_cd_hash_type_01`: which hash that is; 2 is SHA-256.
    pub cd_hash_type: Option<u8>,
}

/// Why `authenticatorData` cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthDataError {
    #[error("the authenticator data ends too early")]
    Truncated,
    #[error("the attested-data flag is not set")]
    FlagClear,
    #[error("the credential id is said to be {0} bytes long")]
    CredentialIdLength(u16),
    #[error("what follows is not an extension map: {0}")]
    Tail(#[from] CborError),
    #[error("what follows is CBOR, but not a map")]
    TailNotMap,
    #[error("the extension {0} has an unexpected form")]
    Extension(&'static str),
}

/// Reads the `authenticatorData` of an attestation, to its last byte.
pub(super) fn attested(bytes: &[u8]) -> Result<Attested, AuthDataError> {
    let (header, flags, rest) = header(bytes)?;
    if flags & ATTESTED_DATA_FLAG == 0 {
        return Err(AuthDataError::FlagClear);
    }
    let (aaguid, rest) = chunk(rest)?;
    let (length, rest) = chunk(rest)?;
    let length = u16::from_be_bytes(length);
    if length != 32 {
        return Err(AuthDataError::CredentialIdLength(length));
    }
    let (credential_id, rest) = chunk(rest)?;
    let (cose_key, rest) = chunk(rest)?;
    Ok(Attested {
        header,
        aaguid,
        credential_id,
        cose_key,
        extensions: extensions(flags, rest)?,
    })
}

/// Reads the `authenticatorData` of an assertion, to its last byte.
pub(super) fn asserted(bytes: &[u8]) -> Result<Asserted, AuthDataError> {
    let (header, flags, rest) = header(bytes)?;
    Ok(Asserted {
        header,
        extensions: extensions(flags, rest)?,
    })
}

/// The only COSE key that may stand beside a certificate for `key`.
pub(super) fn cose_key(key: &PublicKey) -> Vec<u8> {
    let (x, y) = key.as_bytes().split_at(33);
    let mut cose = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
    cose.extend_from_slice(x.split_at(1).1);
    cose.extend_from_slice(&[0x22, 0x58, 0x20]);
    cose.extend_from_slice(y);
    cose
}

fn header(bytes: &[u8]) -> Result<(Header, u8, &[u8]), AuthDataError> {
    if bytes.len() < HEADER_BYTES {
        return Err(AuthDataError::Truncated);
    }
    let (rp_id_hash, rest) = chunk(bytes)?;
    let ([flags], rest) = chunk(rest)?;
    let (counter, rest) = chunk(rest)?;
    let counter = u32::from_be_bytes(counter);
    let header = Header {
        rp_id_hash,
        counter,
    };
    Ok((header, flags, rest))
}

fn chunk<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), AuthDataError> {
    bytes
        .split_first_chunk()
        .map(|(taken, rest)| (*taken, rest))
        .ok_or(AuthDataError::Truncated)
}

/// Nothing, or exactly one map. Keys not known here are signed like the rest and left alone.
fn extensions(flags: u8, tail: &[u8]) -> Result<Extensions, AuthDataError> {
    let announced = flags & EXTENSIONS_FLAG != 0;
    let map = match tail {
        [] => Map::default(),
        _ => cbor::parse_map(tail)?.ok_or(AuthDataError::TailNotMap)?,
    };
    Ok(Extensions {
        announced,
        validation_category: field(&map, "apple_validation_category_01", category)?,
        bundle_version: field(&map, "apple_bundle_version_01", version)?,
        cd_hash: field(&map, "apple_cd_hash_hash_01", cd_hash)?,
        cd_hash_type: field(&map, "apple_cd_hash_type_01", byte)?,
    })
}

/// A known extension of an unknown form is refused: taken as absent, it would be judged by the
/// rule for systems that do not state it.
fn field<T>(
    map: &Map<'_>,
    key: &'static str,
    read: fn(&Value<'_>) -> Option<T>,
) -> Result<Option<T>, AuthDataError> {
    map.get(key)
        .map(|value| read(value).ok_or(AuthDataError::Extension(key)))
        .transpose()
}

fn category(value: &Value<'_>) -> Option<u32> {
    match value.as_bytes() {
        Some(bytes) => bytes.try_into().ok().map(u32::from_le_bytes),
        None => u32::try_from(value.as_unsigned()?).ok(),
    }
}

fn version(value: &Value<'_>) -> Option<String> {
    value
        .as_text()
        .filter(|text| text.len() <= BUNDLE_VERSION_BYTES_MAX)
        .and_then(|text| printable(text.as_bytes()))
}

fn cd_hash(value: &Value<'_>) -> Option<Vec<u8>> {
    value
        .as_bytes()
        .filter(|hash| (1..=CD_HASH_BYTES_MAX).contains(&hash.len()))
        .map(<[u8]>::to_vec)
}

fn byte(value: &Value<'_>) -> Option<u8> {
    match value.as_bytes() {
        Some(bytes) => bytes.try_into().ok().map(u8::from_le_bytes),
        None => u8::try_from(value.as_unsigned()?).ok(),
    }
}
