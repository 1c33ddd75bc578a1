//! The certificate path: leaf, one intermediate, a pinned root, at a given time.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::aws_lc_rs::{ECDSA_P256_SHA256, ECDSA_P384_SHA256, ECDSA_P384_SHA384};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use crate::attestation::roots::AppleRoots;
use crate::time::Timestamp;

/// Apple signs leaves with P-384 and SHA-256, the intermediate with P-384 and SHA-384. P-256 is
/// there for test authorities and for a smaller intermediate to come.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[ECDSA_P384_SHA256, ECDSA_P384_SHA384, ECDSA_P256_SHA256];

/// Why there is no path.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChainError {
    #[error("{0} certificates")]
    Length(usize),
    #[error("{0:?}")]
    Path(webpki::Error),
    #[error("a path through none or several intermediates")]
    Intermediates,
}

/// Any well-formed extended key usage, or none. Apple added one of its own to leaves in 2026, for
/// which the usual `serverAuth` and `clientAuth` fail. What a leaf is for is said by the nonce
/// extension, and the root issues nothing else.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        for usage in usages {
            usage?;
        }
        Ok(())
    }
}

/// Finds the path of exactly `[leaf, intermediate]` to one of the roots at `now`.
pub(super) fn verify(x5c: &[&[u8]], roots: &AppleRoots, now: Timestamp) -> Result<(), ChainError> {
    let [leaf, intermediate] = x5c else {
        return Err(ChainError::Length(x5c.len()));
    };
    through_one(leaf, &[intermediate], roots.anchors(), now).map(|_| ())
}

/// Finds a path from the leaf through exactly one of the certificates above it to one of the
/// anchors at `now`, and gives that certificate.
pub(super) fn through_one<'a>(
    leaf: &[u8],
    above: &[&'a [u8]],
    anchors: &[TrustAnchor<'_>],
    now: Timestamp,
) -> Result<&'a [u8], ChainError> {
    let leaf = CertificateDer::from_slice(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(ChainError::Path)?;
    // A time before 1970 becomes 1970, where no root of ours was born.
    let now = Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or(0));
    let intermediates: Vec<_> = above
        .iter()
        .map(|der| CertificateDer::from_slice(der))
        .collect();
    let path = leaf
        .verify_for_usage(
            ALGORITHMS,
            anchors,
            &intermediates,
            UnixTime::since_unix_epoch(now),
            AnyUsage,
            None,
            None,
        )
        .map_err(ChainError::Path)?;
    let mut used = path.intermediate_certificates();
    match (used.next(), used.next()) {
        (Some(one), None) => above
            .iter()
            .find(|der| one.der().as_ref() == **der)
            .copied()
            .ok_or(ChainError::Intermediates),
        _ => Err(ChainError::Intermediates),
    }
}
