//! Private keys of software devices and of their authorities.

use std::fmt;

use aws_lc_rs::digest::{Digest, SHA256, SHA384, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use data_encoding::BASE64URL_NOPAD;

use super::{Error, der};
use crate::secret::Secret;

/// A NIST curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

impl Curve {
    const fn arcs(self) -> &'static [u64] {
        match self {
            Self::P256 => &[1, 2, 840, 10045, 3, 1, 7],
            Self::P384 => &[1, 3, 132, 0, 34],
        }
    }

    const fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }
}

/// The hash under an ECDSA signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
}

/// An EC key pair in this process's memory: what a phone would keep in secure hardware.
pub struct SoftKey {
    curve: Curve,
    pair: EcdsaKeyPair,
    /// The same key for signatures of fixed length; P-256 only.
    fixed: Option<EcdsaKeyPair>,
    public: Vec<u8>,
}

impl SoftKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the generator fails.
    pub fn generate(curve: Curve) -> Result<Self, Error> {
        let pair =
            EcdsaKeyPair::generate(curve.algorithm()).map_err(|_| Error::Cryptography("key"))?;
        let pkcs8 = exported(&pair)?;
        Self::from_pkcs8(curve, pkcs8.expose())
    }

    /// From PKCS#8, as [`Self::to_pkcs8`] writes it.
    ///
    /// # Errors
    /// [`Error::Cryptography`] unless it holds a key of this curve.
    pub fn from_pkcs8(curve: Curve, pkcs8: &[u8]) -> Result<Self, Error> {
        let read = |algorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8)
                .map_err(|_| Error::Cryptography("stored key"))
        };
        let pair = read(curve.algorithm())?;
        let fixed = match curve {
            Curve::P256 => Some(read(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Curve::P384 => None,
        };
        let public = pair.public_key().as_ref().to_vec();
        Ok(Self {
            curve,
            pair,
            fixed,
            public,
        })
    }

    /// PKCS#8 version 1, for keeping the key in a file.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the library fails.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, Error> {
        exported(&self.pair)
    }

    /// The public key as an uncompressed SEC 1 point.
    #[must_use]
    pub fn public_point(&self) -> &[u8] {
        &self.public
    }

    /// The public key as `SubjectPublicKeyInfo` (RFC 5480).
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        der::sequence(&[
            der::sequence(&[
                der::oid(&[1, 2, 840, 10045, 2, 1]),
                der::oid(self.curve.arcs()),
            ]),
            der::bits(&self.public),
        ])
    }

    /// The affine coordinates.
    pub(super) fn coordinates(&self) -> (&[u8], &[u8]) {
        let xy = self.public.get(1..).unwrap_or_default();
        xy.split_at(xy.len() / 2)
    }

    /// `x` and `y` as a JWK writes them (RFC 7518, 6.2.1).
    pub(super) fn jwk_coordinates(&self) -> (String, String) {
        let (x, y) = self.coordinates();
        (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y))
    }

    /// The RFC 7638 thumbprint of a P-256 key, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let (x, y) = self.jwk_coordinates();
        // Members in lexical order, no white space: RFC 7638, 3.2.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64URL_NOPAD.encode(digest(&SHA256, canonical.as_bytes()).as_ref())
    }

    /// An ECDSA signature in ASN.1 DER.
    pub(super) fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Cryptography("signature");
        let digest = match (self.curve, hash) {
            (Curve::P256, Hash::Sha256) => digest(&SHA256, message),
            (Curve::P384, Hash::Sha384) => digest(&SHA384, message),
            // Apple signs P-256 leaves with a P-384 key and SHA-256. The library offers no such
            // pair, but a short digest is the same number with zeros before it (FIPS 186-5, 6.4).
            (Curve::P384, Hash::Sha256) => {
                let mut padded = [0; 48];
                let (_, low) = padded.split_at_mut(16);
                low.copy_from_slice(digest(&SHA256, message).as_ref());
                Digest::import_less_safe(&padded, &SHA384).map_err(failed)?
            }
            (Curve::P256, Hash::Sha384) => return Err(Error::Cryptography("hash for this curve")),
        };
        let signature = self.pair.sign_digest(&digest).map_err(failed)?;
        Ok(signature.as_ref().to_vec())
    }

    /// An ECDSA-SHA-256 signature of a P-256 key in ASN.1 DER, as a Keystore key makes it.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the library fails.
    pub fn sign_der(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign(Hash::Sha256, message)
    }

    /// An ECDSA-SHA-256 signature of a P-256 key as `r ‖ s` (RFC 7518, 3.4).
    ///
    /// # Errors
    /// [`Error::Cryptography`] for a key of another curve or when the library fails.
    pub fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |_| Error::Cryptography("signature");
        let pair = self
            .fixed
            .as_ref()
            .ok_or(Error::Cryptography("curve for ES256"))?;
        let signature = pair
            .sign_digest(&digest(&SHA256, message))
            .map_err(failed)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn exported(pair: &EcdsaKeyPair) -> Result<Secret<Vec<u8>>, Error> {
    let document = pair
        .to_pkcs8v1()
        .map_err(|_| Error::Cryptography("key encoding"))?;
    Ok(Secret::new(document.as_ref().to_vec()))
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftKey({:?})", self.curve)
    }
}
