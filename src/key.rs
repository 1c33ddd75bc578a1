//! Device and session public keys: P-256 points in one canonical form.
//!
//! One encoding per key is read, `p256` says whether the point is on the curve, `aws-lc-rs` verifies.
//! `aws-lc-rs` alone takes five encodings of one key, which would give one key five thumbprints.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use data_encoding::BASE64URL_NOPAD;

/// Bytes of an uncompressed P-256 point (SEC 1, 2.3.3): `04 ‖ x ‖ y`.
pub const POINT_BYTES: usize = 65;

/// Everything of a P-256 `SubjectPublicKeyInfo` (RFC 5480, 2) before the point: the algorithm, the
/// named curve, and a BIT STRING of whole octets. In DER there is no other way to write it.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A P-256 public key, on the curve, in its canonical uncompressed form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; POINT_BYTES]);

/// The bytes are not a P-256 public key in the wanted encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a P-256 public key in canonical form")]
pub struct InvalidKey;

/// The signature does not verify under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

impl PublicKey {
    /// From an uncompressed SEC 1 point (X9.62, 65 bytes); compressed and hybrid forms are refused.
    ///
    /// # Errors
    /// [`InvalidKey`] unless it is such a point on the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let point: [u8; POINT_BYTES] = bytes.try_into().map_err(|_| InvalidKey)?;
        p256::PublicKey::from_sec1_bytes(&point).map_err(|_| InvalidKey)?;
        Ok(Self(point))
    }

    /// From a DER `SubjectPublicKeyInfo` (RFC 5480) with nothing behind it, with the curve named and
    /// the point uncompressed, as phones write it.
    ///
    /// # Errors
    /// [`InvalidKey`] unless it holds a P-256 key.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, InvalidKey> {
        Self::from_sec1(der.strip_prefix(&SPKI_PREFIX).ok_or(InvalidKey)?)
    }

    /// The SHA-256 of its `SubjectPublicKeyInfo`, by which revocation lists name it.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&[SPKI_PREFIX.as_slice(), &self.0].concat())
    }

    /// From the `x` and `y` of a JWK (RFC 7518, 6.2.1): base64url without padding, 32 bytes each.
    ///
    /// # Errors
    /// [`InvalidKey`] unless both are well formed and the point is on the curve.
    pub fn from_jwk_coordinates(x: &str, y: &str) -> Result<Self, InvalidKey> {
        let coordinate = |text: &str| -> Result<[u8; 32], InvalidKey> {
            let bytes = BASE64URL_NOPAD
                .decode(text.as_bytes())
                .map_err(|_| InvalidKey)?;
            bytes.try_into().map_err(|_| InvalidKey)
        };
        let mut point = [4; POINT_BYTES];
        let (_, xy) = point.split_at_mut(1);
        let (left, right) = xy.split_at_mut(32);
        left.copy_from_slice(&coordinate(x)?);
        right.copy_from_slice(&coordinate(y)?);
        Self::from_sec1(&point)
    }

    /// The uncompressed point.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; POINT_BYTES] {
        &self.0
    }

    /// `x` and `y` as a JWK writes them.
    #[must_use]
    pub fn jwk_coordinates(&self) -> (String, String) {
        let (x, y) = self.0.split_at(33);
        let x = x.split_at(1).1;
        (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y))
    }

    /// The public JWK, with the members and in the order that its thumbprint is taken over.
    #[must_use]
    pub fn jwk(&self) -> String {
        let (x, y) = self.jwk_coordinates();
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
    }

    /// The RFC 7638 thumbprint, as in `cnf.jkt` (RFC 9449, 6.1).
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint(sha256(self.jwk().as_bytes()))
    }

    /// Checks an ECDSA-SHA-256 signature in ASN.1 DER.
    ///
    /// # Errors
    /// [`BadSignature`]
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify(&ECDSA_P256_SHA256_ASN1, message, signature)
    }

    /// Checks an ECDSA-SHA-256 signature in the fixed form of JWS (RFC 7518, 3.4): `r ‖ s`.
    ///
    /// # Errors
    /// [`BadSignature`]
    pub fn verify_fixed(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify(&ECDSA_P256_SHA256_FIXED, message, signature)
    }

    fn verify(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(algorithm, &self.0)
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

/// SHA-256, the digest of everything here.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// An RFC 7638 SHA-256 JWK thumbprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Thumbprint {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| InvalidKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidKey)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn generator() -> PublicKey {
        PublicKey::from_jwk_coordinates(
            "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
            "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
        )
        .unwrap()
    }

    #[test]
    fn one_key_has_one_accepted_encoding() {
        let key = generator();
        assert_eq!(PublicKey::from_sec1(key.as_bytes()), Ok(key));
        let mut compressed = vec![0x03];
        compressed.extend_from_slice(&key.as_bytes()[1..33]);
        let mut hybrid = *key.as_bytes();
        hybrid[0] = 0x07;
        let mut off_curve = *key.as_bytes();
        off_curve[64] ^= 1;
        let mut longer = key.as_bytes().to_vec();
        longer.push(0);
        for bad in [&compressed[..], &hybrid, &off_curve, &longer, &[0], &[]] {
            assert_eq!(PublicKey::from_sec1(bad), Err(InvalidKey));
        }
    }

    #[test]
    fn spki_with_a_trailing_byte_is_refused() {
        let mut spki = HEXLOWER
            .decode(b"3059301306072a8648ce3d020106082a8648ce3d030107034200")
            .unwrap();
        spki.extend_from_slice(generator().as_bytes());
        assert_eq!(PublicKey::from_spki_der(&spki), Ok(generator()));
        spki.push(0);
        assert_eq!(PublicKey::from_spki_der(&spki), Err(InvalidKey));
    }

    #[test]
    fn the_thumbprint_is_over_the_members_in_order() {
        let (x, y) = generator().jwk_coordinates();
        let members = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}");
        assert_eq!(
            generator().thumbprint().as_bytes(),
            &sha256(members.as_bytes())
        );
        assert_eq!(
            generator().thumbprint().to_string().parse(),
            Ok(generator().thumbprint())
        );
    }
}
