//! The signature algorithms a chain may use: an explicit list, everything else is refused.
//!
//! Seen in genuine chains: P-256 and P-384 keys with SHA-256 and SHA-384 in any combination, and RSA
//! from 2048 bits with SHA-256 (SHA-384 and SHA-512 are allowed too). SHA-1 is not on the list.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::certificate::{Certificate, Spki};
use super::der::{DerError, Reader, Tag};
use super::name::dotted_oid;

const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];

/// Contents of the `AlgorithmIdentifier`s of keys: named curves only, RSA with its NULL (RFC 3279).
const P256_KEY: &[u8] = &[
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];
const P384_KEY: &[u8] = &[
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 34,
];
const P521_KEY: &[u8] = &[
    6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 35,
];
const RSA_KEY: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const ED25519_KEY: &[u8] = &[6, 3, 0x2b, 101, 112];
const X25519_KEY: &[u8] = &[6, 3, 0x2b, 101, 110];
/// `id-ml-dsa-65` (RFC 9881).
const ML_DSA_65_KEY: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18];

/// The first octet of an uncompressed point, the only form certificates carry (RFC 5480, 2.2).
const UNCOMPRESSED: u8 = 4;

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// The algorithm named in the signed part is not the one beside the signature.
    #[error("the two algorithm identifiers differ")]
    AlgorithmsDiffer,
    /// SHA-1, PSS, or whatever else no genuine chain uses.
    #[error("the algorithm is not one that genuine chains use")]
    Algorithm,
    /// The issuer's key is not of the kind the algorithm needs.
    #[error("the algorithm and the issuer's key do not go together")]
    Key,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
}

/// Checks that a certificate names one allowed algorithm, twice the same.
pub(super) fn check_algorithm(certificate: &Certificate<'_>) -> Result<(), SignatureError> {
    if certificate.inner_algorithm != certificate.outer_algorithm {
        return Err(SignatureError::AlgorithmsDiffer);
    }
    let known = [
        ECDSA_SHA256,
        ECDSA_SHA384,
        RSA_SHA256,
        RSA_SHA384,
        RSA_SHA512,
    ]
    .contains(&certificate.algorithm_oid);
    // Some hardware writes NULL parameters after the ECDSA algorithms, where there should be none.
    if known && certificate.plain_parameters {
        Ok(())
    } else {
        Err(SignatureError::Algorithm)
    }
}

/// Checks that `issuer` signed `certificate`.
pub(super) fn verify(
    certificate: &Certificate<'_>,
    issuer: &Spki<'_>,
) -> Result<(), SignatureError> {
    check_algorithm(certificate)?;
    let algorithm: &'static dyn VerificationAlgorithm =
        match (certificate.algorithm_oid, issuer.algorithm) {
            (ECDSA_SHA256, P256_KEY) => &ECDSA_P256_SHA256_ASN1,
            (ECDSA_SHA384, P256_KEY) => &ECDSA_P256_SHA384_ASN1,
            (ECDSA_SHA256, P384_KEY) => &ECDSA_P384_SHA256_ASN1,
            (ECDSA_SHA384, P384_KEY) => &ECDSA_P384_SHA384_ASN1,
            (RSA_SHA256, RSA_KEY) => &RSA_PKCS1_2048_8192_SHA256,
            (RSA_SHA384, RSA_KEY) => &RSA_PKCS1_2048_8192_SHA384,
            (RSA_SHA512, RSA_KEY) => &RSA_PKCS1_2048_8192_SHA512,
            _ => return Err(SignatureError::Key),
        };
    let canonical = if issuer.algorithm == RSA_KEY {
        rsa_modulus(issuer.key).is_ok()
    } else {
        issuer.key.first() == Some(&UNCOMPRESSED)
    };
    if !canonical {
        return Err(SignatureError::Key);
    }
    UnparsedPublicKey::new(algorithm, issuer.key)
        .verify(certificate.to_be_signed, certificate.signature)
        .map_err(|_| SignatureError::Signature)
}

/// The name of a signature algorithm, for people.
pub(super) fn describe(oid: &[u8]) -> String {
    match oid {
        ECDSA_SHA256 => "ecdsa-with-SHA256".to_owned(),
        ECDSA_SHA384 => "ecdsa-with-SHA384".to_owned(),
        RSA_SHA256 => "sha256WithRSAEncryption".to_owned(),
        RSA_SHA384 => "sha384WithRSAEncryption".to_owned(),
        RSA_SHA512 => "sha512WithRSAEncryption".to_owned(),
        other => dotted_oid(other),
    }
}

/// The kind of a key, for people.
pub(super) fn describe_key(spki: &Spki<'_>) -> String {
    match spki.algorithm {
        P256_KEY => "EC P-256".to_owned(),
        P384_KEY => "EC P-384".to_owned(),
        P521_KEY => "EC P-521".to_owned(),
        ED25519_KEY => "Ed25519".to_owned(),
        X25519_KEY => "X25519".to_owned(),
        ML_DSA_65_KEY => "ML-DSA-65".to_owned(),
        RSA_KEY => {
            modulus_bits(spki.key).map_or_else(|| "RSA".to_owned(), |bits| format!("RSA {bits}"))
        }
        other => {
            let mut fields = Reader::new(other);
            fields
                .expect(Tag::OID)
                .map_or_else(|_| "unknown".to_owned(), |oid| dotted_oid(oid.content))
        }
    }
}

/// The modulus of an `RSAPublicKey` with nothing behind it (RFC 8017, A.1.1). The verifier would take
/// a whole `SubjectPublicKeyInfo` in its place as well.
fn rsa_modulus(key: &[u8]) -> Result<&[u8], DerError> {
    let mut outer = Reader::new(key);
    let mut fields = outer.sequence()?;
    outer.finish()?;
    let modulus = fields.expect(Tag::INTEGER)?.content;
    fields.expect(Tag::INTEGER)?;
    fields.finish()?;
    Ok(modulus)
}

fn modulus_bits(key: &[u8]) -> Option<usize> {
    let modulus = rsa_modulus(key).ok()?;
    let mut significant = modulus.iter().skip_while(|octet| **octet == 0);
    let first = significant.next()?;
    let tail = significant.count();
    Some(tail * 8 + usize::try_from(8 - first.leading_zeros()).ok()?)
}
