//! Google's attestation roots, pinned by public key.
//!
//! Pinned by key and not by certificate, because Google has issued four certificates for the first
//! of them (one of which has expired on devices that still carry it), and never by name alone,
//! because anyone can write a name into a certificate.

use std::borrow::Cow;

use crate::attestation::{android, pem};
use crate::key::sha256;

/// Names of the built-in roots, as they stand in the certificates they sign.
const RSA_SUBJECT: &[u8] = b"\x30\x1b\x31\x19\x30\x17\x06\x03\x55\x04\x05\x13\x10f92009e853b6b045";
const CA1_SUBJECT: &[u8] = b"\x30\x52\
    \x31\x1c\x30\x1a\x06\x03\x55\x04\x03\x0c\x13Key Attestation CA1\
    \x31\x10\x30\x0e\x06\x03\x55\x04\x0b\x0c\x07Android\
    \x31\x13\x30\x11\x06\x03\x55\x04\x0a\x0c\x0aGoogle LLC\
    \x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02US";
/// Their keys: RSA of 4096 bits since 2016, and P-384 since 2025.
const RSA_KEY: &[u8] = include_bytes!("google/f92009e853b6b045.spki.der");
const CA1_KEY: &[u8] = include_bytes!("google/key_attestation_ca1.spki.der");

/// More roots than Google has had in ten years, in certificates larger than theirs.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// One pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AndroidRoot {
    subject: Cow<'static, [u8]>,
    spki: Cow<'static, [u8]>,
}

impl AndroidRoot {
    /// Its name, DER. It only serves to find the key when a chain comes without its root.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Its `SubjectPublicKeyInfo`, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn key_sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }
}

/// The keys a chain may end in. The default trusts nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AndroidRoots(Vec<AndroidRoot>);

/// Why a text is not taken as a set of roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Too large.
    #[error("the roots have {0} bytes, more than {PEM_BYTES_MAX}")]
    TooLarge(usize),
    /// Not a series of PEM certificates.
    #[error("not a series of PEM certificates")]
    NotPem,
    /// There is none.
    #[error("there is no certificate")]
    Empty,
    /// One cannot be read.
    #[error("root {0} is not a readable X.509 certificate, version 3")]
    Malformed(usize),
    /// One is not a root.
    #[error("root {0} is issued by another name than its own")]
    NotSelfIssued(usize),
}

impl AndroidRoots {
    /// Google's roots, in force since 2016 and 2025.
    #[must_use]
    pub fn google() -> Self {
        let root = |subject, spki| AndroidRoot {
            subject: Cow::Borrowed(subject),
            spki: Cow::Borrowed(spki),
        };
        Self(vec![root(RSA_SUBJECT, RSA_KEY), root(CA1_SUBJECT, CA1_KEY)])
    }

    /// Other roots, from PEM certificates: of a test authority, or new ones of Google's. Their dates
    /// and signatures are not looked at: whoever configures them vouches for their keys.
    ///
    /// # Errors
    /// [`RootError`] when the text is not one or more self-issued certificates.
    pub fn from_pem(text: &str) -> Result<Self, RootError> {
        if text.len() > PEM_BYTES_MAX {
            return Err(RootError::TooLarge(text.len()));
        }
        let certificates = pem::blocks(text, "CERTIFICATE").map_err(|_| RootError::NotPem)?;
        if certificates.is_empty() {
            return Err(RootError::Empty);
        }
        certificates
            .iter()
            .enumerate()
            .map(|(index, der)| {
                let names = android::names_and_key(der).ok_or(RootError::Malformed(index))?;
                if names.issuer != names.subject {
                    return Err(RootError::NotSelfIssued(index));
                }
                Ok(AndroidRoot {
                    subject: Cow::Owned(names.subject.to_vec()),
                    spki: Cow::Owned(names.spki.to_vec()),
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// These roots and others: Google's and a fleet's own.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The pinned roots.
    #[must_use]
    pub fn as_slice(&self) -> &[AndroidRoot] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn the_built_in_keys_are_the_ones_google_publishes() {
        let hashes: Vec<String> = AndroidRoots::google()
            .as_slice()
            .iter()
            .map(|root| HEXLOWER.encode(&root.key_sha256()))
            .collect();
        assert_eq!(
            hashes,
            [
                "feb2ea7551ee316ed4bb443c8293b884dbfdea40b603ee3e4f4a897e4580fbae",
                "3ee44512a1af2beb39c889490c60ea3f82e43f5d5a5532f5ab9419f676cd07ec",
            ]
        );
    }

    #[test]
    fn refuses_text_that_is_no_root() {
        assert_eq!(AndroidRoots::from_pem(""), Err(RootError::Empty));
        assert_eq!(AndroidRoots::from_pem("x"), Err(RootError::NotPem));
        assert_eq!(
            AndroidRoots::from_pem("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"),
            Err(RootError::Malformed(0))
        );
        let long = "x".repeat(PEM_BYTES_MAX + 1);
        assert_eq!(
            AndroidRoots::from_pem(&long),
            Err(RootError::TooLarge(PEM_BYTES_MAX + 1))
        );
    }
}
