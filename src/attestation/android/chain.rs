//! A certificate chain as it is sent: bounded before anything is read.

use crate::attestation::pem;
use crate::reason::Reason;

/// Five certificates are the most a genuine chain has; one more for an attest key in between.
const CERTIFICATES_MAX: usize = 6;
/// The largest genuine certificate seen has 2,570 bytes, with an ML-DSA-65 key in it.
const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// The longest genuine chain seen has 5,637 bytes.
const CHAIN_BYTES_MAX: usize = 32 * 1024;
/// Base64 takes four characters for three bytes; twice the bytes leaves room for the lines.
const PEM_BYTES_MAX: usize = 2 * CHAIN_BYTES_MAX;

/// DER certificates, leaf first; bounded, not yet read.
#[derive(Debug, Clone)]
pub struct Chain {
    certificates: Vec<Vec<u8>>,
}

/// Why bytes are not taken as a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no certificate.
    #[error("the chain has no certificate")]
    Empty,
    /// More certificates than any genuine chain has.
    #[error("the chain has {0} certificates, more than {CERTIFICATES_MAX}")]
    TooManyCertificates(usize),
    /// One certificate is larger than any genuine one.
    #[error("certificate {index} has {bytes} bytes, more than {CERTIFICATE_BYTES_MAX}")]
    CertificateTooLarge {
        /// Which one, 0 for the leaf.
        index: usize,
        /// Its size.
        bytes: usize,
    },
    /// Together they are larger than any genuine chain.
    #[error("the chain has {0} bytes, more than {CHAIN_BYTES_MAX}")]
    TooLarge(usize),
    /// The text is larger than any genuine chain in PEM.
    #[error("the text has {0} bytes, more than {PEM_BYTES_MAX}")]
    TextTooLarge(usize),
    /// The text is not a series of PEM certificates.
    #[error("the text is not a series of PEM certificates")]
    NotPem,
}

impl ChainError {
    /// The stable reason.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Empty | Self::NotPem => Reason::EvidenceMalformed,
            Self::TooManyCertificates(_)
            | Self::CertificateTooLarge { .. }
            | Self::TooLarge(_)
            | Self::TextTooLarge(_) => Reason::EvidenceTooLarge,
        }
    }
}

impl Chain {
    /// From DER certificates, leaf first.
    ///
    /// # Errors
    /// [`ChainError`] when there is none, or more than any genuine chain has.
    pub fn from_der(certificates: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        if certificates.is_empty() {
            return Err(ChainError::Empty);
        }
        if certificates.len() > CERTIFICATES_MAX {
            return Err(ChainError::TooManyCertificates(certificates.len()));
        }
        let mut total = 0_usize;
        for (index, certificate) in certificates.iter().enumerate() {
            let bytes = certificate.len();
            if bytes > CERTIFICATE_BYTES_MAX {
                return Err(ChainError::CertificateTooLarge { index, bytes });
            }
            total = total.saturating_add(bytes);
        }
        if total > CHAIN_BYTES_MAX {
            return Err(ChainError::TooLarge(total));
        }
        Ok(Self { certificates })
    }

    /// From PEM certificates, leaf first, with nothing but white space between them.
    ///
    /// # Errors
    /// [`ChainError`], as for [`Chain::from_der`] and when the text is not such PEM.
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        if text.len() > PEM_BYTES_MAX {
            return Err(ChainError::TextTooLarge(text.len()));
        }
        let certificates = pem::blocks(text, "CERTIFICATE").map_err(|_| ChainError::NotPem)?;
        Self::from_der(certificates)
    }

    /// The certificates, leaf first.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.certificates.iter().map(Vec::as_slice)
    }
}
