//! The roots of Apple App Attest: one for attestations, another one for receipts.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::key::sha256;

/// `CN=Apple App Attestation Root CA`, as Apple publishes it.
const APPLE_PEM: &str = include_str!("apple.pem");

/// SHA-256 of the `SubjectPublicKeyInfo` of that root. The file is only believed with this key in
/// it, so that a change of the file alone changes nothing.
const APPLE_SPKI_SHA256: [u8; 32] = [
    0x1a, 0xe7, 0x51, 0xfd, 0x29, 0x89, 0x6d, 0x0f, 0x1f, 0x13, 0xfe, 0x22, 0x6c, 0x06, 0x3f, 0x44,
    0x5d, 0x40, 0xd8, 0x93, 0x8a, 0xcc, 0x62, 0x45, 0xc2, 0x51, 0xec, 0xc0, 0x67, 0x93, 0x30, 0xbd,
];

/// `CN=Apple Root CA - G3`, as Apple publishes it: above what signs receipts.
const RECEIPT_PEM: &str = include_str!("apple_g3.pem");

/// As [`APPLE_SPKI_SHA256`], of the root above receipts.
const RECEIPT_SPKI_SHA256: [u8; 32] = [
    0x9b, 0x21, 0x9d, 0x0f, 0xbf, 0xf3, 0x6a, 0x5f, 0xb3, 0x20, 0x90, 0x57, 0x19, 0x06, 0xbc, 0xee,
    0xa6, 0x86, 0x17, 0xc8, 0x33, 0xa3, 0xf6, 0x1b, 0x81, 0xe9, 0x62, 0xa8, 0xe6, 0x4d, 0xb8, 0xaf,
];

/// Largest PEM text of test roots: room for [`ROOTS_MAX`] certificates of 4 KB each.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// Most test roots in one text; each one costs every refused chain a signature check.
const ROOTS_MAX: usize = 8;

/// The roots an App Attest chain and the signer of a receipt may lead to: name and key of each. The
/// default trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct AppleRoots {
    anchors: Vec<TrustAnchor<'static>>,
    receipt_anchors: Vec<TrustAnchor<'static>>,
}

/// The text does not hold usable root certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Larger than 64 KB.
    #[error("the PEM text is larger than {PEM_BYTES_MAX} bytes")]
    TooLarge,
    /// Not PEM.
    #[error("the text is not well-formed PEM")]
    NotPem,
    /// PEM without a certificate in it.
    #[error("there is no certificate in the PEM text")]
    Empty,
    /// More than eight certificates.
    #[error("there are more than {ROOTS_MAX} certificates in the PEM text")]
    TooMany,
    /// A certificate cannot be read, or has bytes behind it.
    #[error("certificate {0} cannot be read")]
    Unreadable(usize),
    /// A certificate may not issue others.
    #[error("certificate {0} is not a certificate authority")]
    NotAuthority(usize),
    /// A built-in certificate does not hold its pinned key.
    #[error("a built-in root does not hold its pinned key")]
    WrongKey,
}

impl AppleRoots {
    /// Apple's App Attestation root, and for receipts Apple Root CA - G3, built in. Neither stands in
    /// for the other: under the second, Apple issues certificates of many purposes.
    ///
    /// # Panics
    /// When the program was built with another file in its place.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "depends on nothing but the program itself, and has to stop a start"
    )]
    pub fn apple() -> Self {
        Self::built_in(APPLE_PEM, RECEIPT_PEM).expect("the built-in roots hold the pinned keys")
    }

    /// Other roots, for test authorities: one to eight CA certificates in PEM. Each one may stand
    /// above attestations and above receipts.
    ///
    /// # Errors
    /// [`RootError`] unless every certificate in the text is a readable CA certificate.
    pub fn from_pem(text: &str) -> Result<Self, RootError> {
        let anchors = certificates(text)?
            .iter()
            .enumerate()
            .map(|(index, der)| anchor(index, der))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            receipt_anchors: anchors.clone(),
            anchors,
        })
    }

    /// These roots and others: Apple's and a test authority's.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.anchors.extend(others.anchors);
        self.receipt_anchors.extend(others.receipt_anchors);
        self
    }

    pub(in crate::attestation) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(in crate::attestation) fn receipt_anchors(&self) -> &[TrustAnchor<'static>] {
        &self.receipt_anchors
    }

    fn built_in(attestations: &str, receipts: &str) -> Result<Self, RootError> {
        Ok(Self {
            anchors: pinned(attestations, APPLE_SPKI_SHA256)?.anchors,
            receipt_anchors: pinned(receipts, RECEIPT_SPKI_SHA256)?.receipt_anchors,
        })
    }
}

/// Roots that all hold this one key.
fn pinned(text: &str, spki_sha256: [u8; 32]) -> Result<AppleRoots, RootError> {
    for (index, der) in certificates(text)?.iter().enumerate() {
        if sha256(parsed(index, der)?.public_key().raw) != spki_sha256 {
            return Err(RootError::WrongKey);
        }
    }
    AppleRoots::from_pem(text)
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, RootError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(RootError::TooLarge);
    }
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| RootError::NotPem)?;
    match found.len() {
        0 => Err(RootError::Empty),
        1..=ROOTS_MAX => Ok(found),
        _ => Err(RootError::TooMany),
    }
}

fn parsed(index: usize, der: &[u8]) -> Result<X509Certificate<'_>, RootError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(RootError::Unreadable(index)),
    }
}

fn anchor(index: usize, der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, RootError> {
    if !parsed(index, der)?.is_ca() {
        return Err(RootError::NotAuthority(index));
    }
    webpki::anchor_from_trusted_cert(der)
        .map(|anchor| anchor.to_owned())
        .map_err(|_| RootError::Unreadable(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_root(is_ca: rcgen::IsCa) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = is_ca;
        params.self_signed(&key).unwrap().pem()
    }

    fn authority() -> String {
        test_root(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained))
    }

    #[test]
    fn the_built_in_roots_are_apples() {
        let roots = [
            (
                APPLE_PEM,
                APPLE_SPKI_SHA256,
                "1cb9823ba28ba6ad2d33a006941de2ae4f513ef1d4e831b9f7e0fa7b6242c932",
                "CN=Apple App Attestation Root CA, O=Apple Inc., ST=California",
            ),
            (
                RECEIPT_PEM,
                RECEIPT_SPKI_SHA256,
                "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179",
                "CN=Apple Root CA - G3, OU=Apple Certification Authority, O=Apple Inc., C=US",
            ),
        ];
        for (pem, key, certificate, name) in roots {
            let ders = certificates(pem).unwrap();
            assert_eq!(ders.len(), 1);
            let root = parsed(0, &ders[0]).unwrap();
            assert_eq!(sha256(root.public_key().raw), key);
            let hash = data_encoding::HEXLOWER.encode(&sha256(&ders[0]));
            assert_eq!(hash, certificate);
            assert_eq!(root.subject().to_string(), name);
        }
    }

    #[test]
    fn neither_built_in_root_stands_in_for_the_other() {
        let subjects = |anchors: &[TrustAnchor<'static>]| {
            let subjects = anchors.iter().map(|anchor| anchor.subject.to_vec());
            subjects.collect::<Vec<_>>()
        };
        let apple = AppleRoots::apple();
        let of = |text| subjects(AppleRoots::from_pem(text).unwrap().anchors());
        assert_eq!(subjects(apple.anchors()), of(APPLE_PEM));
        assert_eq!(subjects(apple.receipt_anchors()), of(RECEIPT_PEM));
        let both = apple.and(AppleRoots::from_pem(&authority()).unwrap());
        assert_eq!((both.anchors().len(), both.receipt_anchors().len()), (2, 2));
    }

    #[test]
    fn another_key_does_not_pass_for_a_built_in_root() {
        let built_in = |attestations: &str, receipts: &str| {
            AppleRoots::built_in(attestations, receipts).map(|_| ())
        };
        assert_eq!(built_in(APPLE_PEM, RECEIPT_PEM), Ok(()));
        let beside = |pem: &str| format!("{pem}{}", authority());
        for (attestations, receipts) in [
            (RECEIPT_PEM, APPLE_PEM),
            (&authority(), RECEIPT_PEM),
            (APPLE_PEM, &authority()),
            (&beside(APPLE_PEM), RECEIPT_PEM),
            (APPLE_PEM, &beside(RECEIPT_PEM)),
        ] {
            let refused = built_in(attestations, receipts);
            assert_eq!(refused, Err(RootError::WrongKey));
        }
    }

    #[test]
    fn test_authorities_may_be_several() {
        let two = format!("{}{}", authority(), authority());
        assert_eq!(AppleRoots::from_pem(&two).unwrap().anchors().len(), 2);
    }

    #[test]
    fn refuses_what_is_not_a_set_of_authorities() {
        let leaf = test_root(rcgen::IsCa::ExplicitNoCa);
        let garbled = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let cut = authority().replace("-----END", "");
        let cases = [
            (String::new(), RootError::Empty),
            ("no certificate here".to_owned(), RootError::Empty),
            (cut, RootError::NotPem),
            (garbled.to_owned(), RootError::Unreadable(0)),
            (format!("{}{leaf}", authority()), RootError::NotAuthority(1)),
            (authority().repeat(9), RootError::TooMany),
            (" ".repeat(PEM_BYTES_MAX + 1), RootError::TooLarge),
        ];
        for (text, expected) in cases {
            assert_eq!(AppleRoots::from_pem(&text).unwrap_err(), expected);
        }
    }
}
