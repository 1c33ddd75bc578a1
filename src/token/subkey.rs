//! Keys derived from the service's secrets, one for each purpose.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;

use crate::key::sha256;
use crate::secret::Secret;

/// Bytes of every secret and every derived key: the output of SHA-256.
pub(super) const KEY_BYTES: usize = 32;

/// Separates keys of this service from whatever else might be derived from the same bytes.
const SALT: &[u8] = b"assay/v1";

/// What a secret is used for. Each purpose has its own derived key, so a MAC made for one can never
/// be taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// MAC of refresh tokens.
    RefreshToken,
    /// MAC of challenges.
    Challenge,
    /// MAC of proof nonces.
    Nonce,
    /// MAC of what one caller proposes and another confirms.
    Confirm,
    /// AES-256-GCM key of the records in the store.
    Seal,
}

impl Purpose {
    const fn info(self) -> &'static [u8] {
        match self {
            Self::RefreshToken => b"refresh token",
            Self::Challenge => b"challenge",
            Self::Nonce => b"nonce",
            Self::Confirm => b"confirm",
            Self::Seal => b"seal",
        }
    }
}

/// Names a secret inside what was made with it: the first four bytes of a digest of an id derived
/// from it. It tells nothing of the secret, and a keyring refuses two secrets with one tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyTag([u8; 4]);

impl KeyTag {
    /// From its bytes, as found in a token or record.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The MAC does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the MAC does not verify")]
pub struct BadMac;

/// A derived 256-bit key.
pub struct Subkey {
    mac: hmac::Key,
    bytes: Secret<[u8; KEY_BYTES]>,
}

impl Subkey {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self {
            mac: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            bytes: Secret::new(bytes),
        }
    }

    /// HMAC-SHA-256 over the parts, each with its length before it, so that bytes cannot move from
    /// one part to the next unnoticed.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// Compares in constant time with the first `N` bytes of the MAC; `N` is 16 to 32, checked at
    /// compile time.
    ///
    /// # Errors
    /// [`BadMac`]
    pub fn verify_mac<const N: usize>(
        &self,
        parts: &[&[u8]],
        presented: &[u8; N],
    ) -> Result<(), BadMac> {
        // RFC 2104, 5: no less than half the output.
        const { assert!(N >= 16 && N <= 32) };
        let mac = self.mac(parts);
        let wanted = mac.first_chunk::<N>().ok_or(BadMac)?;
        verify_slices_are_equal(wanted, presented).map_err(|_| BadMac)
    }

    /// The key itself, for a cipher.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.bytes.expose()
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[subkey]")
    }
}

/// Derivation from one secret (HKDF-SHA-256, RFC 5869).
pub(super) struct Root(Prk);

impl Root {
    pub(super) fn new(secret: &[u8; KEY_BYTES]) -> Self {
        Self(Salt::new(HKDF_SHA256, SALT).extract(secret))
    }

    /// The key for one use; `None` never happens for this length, but the library may say so.
    pub(super) fn subkey(&self, info: &[u8]) -> Option<Subkey> {
        let mut bytes = [0; KEY_BYTES];
        let info = [info];
        self.0.expand(&info, Length).ok()?.fill(&mut bytes).ok()?;
        Some(Subkey::new(bytes))
    }

    pub(super) fn tag(&self) -> Option<KeyTag> {
        let id = self.subkey(b"key id")?;
        let digest = sha256(id.bytes());
        digest.first_chunk().copied().map(KeyTag)
    }
}

/// The wanted length, in the library's terms.
#[derive(Clone, Copy)]
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// The derived keys of one secret.
pub(super) struct Derived {
    pub(super) tag: KeyTag,
    refresh_token: Subkey,
    challenge: Subkey,
    nonce: Subkey,
    confirm: Subkey,
    seal: Subkey,
}

impl Derived {
    pub(super) fn new(secret: &[u8; KEY_BYTES]) -> Option<Self> {
        let root = Root::new(secret);
        let subkey = |purpose: Purpose| root.subkey(purpose.info());
        Some(Self {
            tag: root.tag()?,
            refresh_token: subkey(Purpose::RefreshToken)?,
            challenge: subkey(Purpose::Challenge)?,
            nonce: subkey(Purpose::Nonce)?,
            confirm: subkey(Purpose::Confirm)?,
            seal: subkey(Purpose::Seal)?,
        })
    }

    pub(super) const fn subkey(&self, purpose: Purpose) -> &Subkey {
        match purpose {
            Purpose::RefreshToken => &self.refresh_token,
            Purpose::Challenge => &self.challenge,
            Purpose::Nonce => &self.nonce,
            Purpose::Confirm => &self.confirm,
            Purpose::Seal => &self.seal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_is_rfc_5869() {
        // Made with another implementation (Python: hmac and hashlib, written out by hand).
        let derived = Derived::new(&[1; 32]).unwrap();
        let hex = |subkey: &Subkey| data_encoding::HEXLOWER.encode(subkey.bytes());
        assert_eq!(
            hex(derived.subkey(Purpose::RefreshToken)),
            "f836042aa7b5cd12a472ce3201b0c2f763de39363ded4f9c66599ec0fc75ef99"
        );
        assert_eq!(
            hex(derived.subkey(Purpose::Seal)),
            "68fbcead0c7a8538bd49d5dfacccdcf78f64e5b81a22dd4c78c3098d96bb5ff3"
        );
        assert_eq!(derived.tag.to_string(), "f0c28aa7");
        let mac = derived.subkey(Purpose::Nonce).mac(&[b"ab", b"c"]);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&mac),
            "278d9259d5bb35f13e1638928d419896d21f329765369e728f08fce5a8d77a37"
        );
    }

    #[test]
    fn purposes_and_part_borders_change_the_mac() {
        let derived = Derived::new(&[1; 32]).unwrap();
        let nonce = derived.subkey(Purpose::Nonce);
        let mac = nonce.mac(&[b"ab", b"c"]);
        assert_eq!(nonce.verify_mac(&[b"ab", b"c"], &mac), Ok(()));
        assert_eq!(nonce.verify_mac(&[b"a", b"bc"], &mac), Err(BadMac));
        assert_eq!(nonce.verify_mac(&[b"abc"], &mac), Err(BadMac));
        assert_eq!(nonce.verify_mac(&[b"ab", b"c", b""], &mac), Err(BadMac));
        let seal = derived.subkey(Purpose::Seal);
        assert_eq!(seal.verify_mac(&[b"ab", b"c"], &mac), Err(BadMac));
    }

    #[test]
    fn debug_says_nothing() {
        let derived = Derived::new(&[1; 32]).unwrap();
        assert_eq!(format!("{:?}", derived.subkey(Purpose::Seal)), "[subkey]");
    }
}
