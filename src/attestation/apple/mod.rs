//! Apple App Attest: attestations here, assertions in [`assertion`].
//!
//! What an attestation proves: Apple's servers certified a P-256 key for one app on one device, and
//! signed over the challenge in doing so. It is verified once, at registration; leaves live between
//! a day and a year.
//!
//! Not covered by any signature of the object, and therefore believed in nothing: the receipt,
//! which is verified by itself ([`receipt`]), and text keys other than the known ones. The
//! signatures of the certificates can be rewritten too (`s` as `n − s`), so no hash of the object
//! or of a certificate names an attestation; the key id does.

pub mod assertion;
mod auth_data;
mod ber;
mod cbor;
mod certificate;
mod chain;
mod examination;
mod object;
pub mod receipt;

pub use auth_data::Extensions;
pub(super) use examination::examine;

use super::text::steers;
use crate::reason::Reason;
use crate::time::Timestamp;
use receipt::ReceiptEvidence;

/// Largest attestation object. Genuine ones measure 1969 to 5921 bytes.
pub const OBJECT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a key id: SHA-256 of the uncompressed point.
pub const KEY_ID_BYTES: usize = 32;

/// Longest text taken from evidence as a fact.
const TEXT_BYTES_MAX: usize = 255;

/// `aaguid` of the production environment.
const AAGUID_PRODUCTION: [u8; 16] = *b"appattest\0\0\0\0\0\0\0";

/// `aaguid` of the development environment.
const AAGUID_DEVELOPMENT: [u8; 16] = *b"appattestdevelop";

/// Which App Attest environment a key comes from (`aaguid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// TestFlight, App Store, enterprise.
    Production,
    /// Built with Xcode.
    Development,
}

impl Environment {
    /// `production` or `development`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Development => "development",
        }
    }

    /// All sixteen bytes count: another tail is no environment.
    fn from_aaguid(aaguid: [u8; 16]) -> Option<Self> {
        match aaguid {
            AAGUID_PRODUCTION => Some(Self::Production),
            AAGUID_DEVELOPMENT => Some(Self::Development),
            _ => None,
        }
    }
}

/// An attestation object with its key id; bounded.
#[derive(Debug, Clone)]
pub struct Attestation {
    object: Vec<u8>,
    key_id: [u8; KEY_ID_BYTES],
}

/// Why input cannot be an attestation, before any of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The object is larger than [`OBJECT_BYTES_MAX`].
    #[error("the attestation object has {0} bytes, more than {OBJECT_BYTES_MAX}")]
    ObjectTooLarge(usize),
    /// The key id is not [`KEY_ID_BYTES`] long.
    #[error("the key id has {0} bytes, not {KEY_ID_BYTES}")]
    KeyIdLength(usize),
}

impl InputError {
    /// The stable reason.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::ObjectTooLarge(_) => Reason::EvidenceTooLarge,
            Self::KeyIdLength(_) => Reason::EvidenceMalformed,
        }
    }
}

impl Attestation {
    /// Takes an attestation object and the key id the app names the key by.
    ///
    /// # Errors
    /// [`InputError`] when the object is too large or the key id is not 32 bytes long.
    pub fn new(object: Vec<u8>, key_id: Vec<u8>) -> Result<Self, InputError> {
        if object.len() > OBJECT_BYTES_MAX {
            return Err(InputError::ObjectTooLarge(object.len()));
        }
        let key_id = <[u8; KEY_ID_BYTES]>::try_from(key_id)
            .map_err(|given| InputError::KeyIdLength(given.len()))?;
        Ok(Self { object, key_id })
    }

    /// The key id the app gave.
    #[must_use]
    pub const fn key_id(&self) -> &[u8; KEY_ID_BYTES] {
        &self.key_id
    }
}

/// What an App Attest attestation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the key's point: the name of the key.
    pub key_id: [u8; KEY_ID_BYTES],
    /// SHA-256 of the App ID.
    pub rp_id_hash: [u8; 32],
    /// The App ID, `TEAM.bundle`: as Apple wrote it into the leaf, else as expected, where the hash
    /// agrees. Always there once attested.
    pub app_id: Option<String>,
    /// Which environment the key comes from; `None` for an unknown `aaguid`. Always there once
    /// attested.
    pub environment: Option<Environment>,
    /// How often the key had signed; 0 once attested.
    pub sign_count: u32,
    /// What systems of 2026 and later say of the running app. Judged by policy, not here.
    pub extensions: Extensions,
    /// E.g. `17.5.1`. Undocumented, so a signal only, as the two below.
    pub os_version: Option<String>,
    /// E.g. `21F90`.
    pub os_build: Option<String>,
    /// E.g. `iphoneos`, `macosx`.
    pub platform: Option<String>,
    /// The boot state rules of the key, DER; on macOS only the documented value is accepted.
    pub acl_blob: Option<Vec<u8>>,
    /// Minimal lowercase hex.
    pub leaf_serial: String,
    /// As `leaf_serial`.
    pub intermediate_serial: Option<String>,
    /// Start of the leaf's validity.
    pub leaf_not_before: Timestamp,
    /// End of the leaf's validity. Between one day and a year later: no sign of freshness.
    pub leaf_not_after: Timestamp,
    /// The receipt. No signature of the attestation covers it: it is verified by itself, and what
    /// comes of that decides nothing about the attestation.
    pub receipt: ReceiptEvidence,
}

/// Text of bounded length that is safe to show to a person.
fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let fits = (1..=TEXT_BYTES_MAX).contains(&text.len());
    (fits && !text.chars().any(steers)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_bounded_before_it_is_read() {
        let largest = Attestation::new(vec![0; OBJECT_BYTES_MAX], vec![0; 32]);
        assert!(largest.is_ok());
        let larger = Attestation::new(vec![0; OBJECT_BYTES_MAX + 1], vec![0; 32]);
        assert_eq!(larger.unwrap_err().reason(), Reason::EvidenceTooLarge);
        for length in [0, 31, 33] {
            let refused = Attestation::new(Vec::new(), vec![0; length]).unwrap_err();
            assert_eq!(refused, InputError::KeyIdLength(length));
            assert_eq!(refused.reason(), Reason::EvidenceMalformed);
        }
    }

    #[test]
    fn text_for_people_steers_nothing() {
        assert_eq!(printable(b"17.5.1").as_deref(), Some("17.5.1"));
        let turned = "a\u{202e}b".as_bytes();
        let hidden = "1\u{e0041}\u{e0042}".as_bytes();
        for bad in [
            &b""[..],
            b"a\x1b[31m",
            b"\xff",
            turned,
            hidden,
            &[b'a'; 256],
        ] {
            assert_eq!(printable(bad), None);
        }
    }
}
