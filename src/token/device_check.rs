//! The token by which Apple knows who asks for receipts: a JWT of the team's own developer key.
//!
//! The key is made in the developer account, with DeviceCheck enabled, and comes as a `.p8` file:
//! PKCS #8 in PEM. It opens more than receipts and is kept like every other private key here.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::jws;
use super::keyring::{SIGNATURE_BYTES, SigningFailed};
use super::pem::{self, PemProblem};
use crate::secret::{Secret, signing_rng};
use crate::time::Timestamp;

/// The block of a `.p8` file.
const LABEL: &str = "PRIVATE KEY";

/// Characters of a key id and of a team id, digits and capital letters.
const ID_BYTES: usize = 10;

/// A developer key of a team.
pub struct DeviceCheckKey {
    key_id: String,
    team_id: String,
    pair: EcdsaKeyPair,
}

/// Why there is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceCheckError {
    /// The key id is not one.
    #[error("the key id is not {ID_BYTES} digits and capital letters")]
    KeyId,
    /// The team id is not one.
    #[error("the team id is not {ID_BYTES} digits and capital letters")]
    TeamId,
    /// Not a PEM text with a private key.
    #[error("the key file {0}")]
    Pem(#[from] PemProblem),
    /// Not a P-256 key.
    #[error("the key file does not hold a P-256 key in PKCS #8")]
    Key,
}

impl DeviceCheckKey {
    /// From the text of the `.p8` file and the two names Apple knows the key by.
    ///
    /// # Errors
    /// [`DeviceCheckError`]
    pub fn from_pem(
        text: &Secret<String>,
        key_id: &str,
        team_id: &str,
    ) -> Result<Self, DeviceCheckError> {
        if !is_id(key_id) {
            return Err(DeviceCheckError::KeyId);
        }
        if !is_id(team_id) {
            return Err(DeviceCheckError::TeamId);
        }
        let document = pem::decode(text.expose(), LABEL)?;
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            document.expose().as_slice(),
        )
        .map_err(|_| DeviceCheckError::Key)?;
        Ok(Self {
            key_id: key_id.to_owned(),
            team_id: team_id.to_owned(),
            pair,
        })
    }

    /// The value of the header `Authorization` for a request sent now: the token alone. Apple takes
    /// it for a while only, so each request gets its own.
    ///
    /// # Errors
    /// [`SigningFailed`] when the library fails.
    pub fn authorization(&self, now: Timestamp) -> Result<Secret<String>, SigningFailed> {
        let header = format!(r#"{{"alg":"{}","kid":"{}"}}"#, jws::ALGORITHM, self.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{}}}"#, self.team_id, now.as_secs());
        let sign = |message: &[u8]| -> Result<[u8; SIGNATURE_BYTES], SigningFailed> {
            let signature = self.pair.sign(&signing_rng(), message);
            let signature = signature.map_err(|_| SigningFailed)?;
            signature.as_ref().try_into().map_err(|_| SigningFailed)
        };
        jws::compact(&header, claims.as_bytes(), sign).map(Secret::new)
    }
}

impl fmt::Debug for DeviceCheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCheckKey")
            .field("key_id", &self.key_id)
            .field("team_id", &self.team_id)
            .finish_non_exhaustive()
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    text.len() == ID_BYTES && text.bytes().all(allowed)
}
