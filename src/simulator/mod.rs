//! Software phones with their own authorities, for demonstrations, tests and development.
//!
//! What they make has the structure of what real phones make, byte for byte where it matters, under
//! roots of their own: it is worth nothing unless a configuration names those roots.
//!
//! Invariant: nothing here uses an encoder or decoder of `attestation`, `proof` or `token`, and those
//! use nothing from here. A misunderstanding would have to be made twice to go unseen.

pub mod android;
pub mod apple;
mod authority;
mod cbor;
mod certificate;
pub mod client;
mod der;
mod key;
mod pem;
pub mod proof;
pub mod receipt;
pub mod storage;

pub use authority::{Authorities, StoredRoots};
pub use key::{Curve, SoftKey};

use crate::secret::NoRandomness;
use crate::time::Timestamp;
use proof::Dpop;

/// Why a software device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cryptographic operation failed.
    #[error("the cryptographic library failed: {0}")]
    Cryptography(&'static str),
    /// No randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A time that a certificate cannot hold.
    #[error("the time does not fit into a certificate")]
    Time,
    /// Longer than a real Keystore takes.
    #[error(
        "the challenge is longer than {} bytes, which Android does not take",
        android::CHALLENGE_BYTES_MAX
    )]
    ChallengeTooLong,
    /// The counter of an App Attest key came to its end.
    #[error("the key has made all the assertions it can")]
    CounterExhausted,
    /// The phone has no session key yet.
    #[error("the phone has no key yet: it has to register first")]
    NoKey,
    /// A text is not the PEM block it should be.
    #[error("not a PEM block of the wanted kind")]
    Pem,
    /// JSON could not be written.
    #[error("JSON could not be written")]
    Json,
}

/// A software phone of either kind.
#[derive(Debug)]
pub enum Device {
    /// An Android phone and the key it last made.
    Android {
        /// The phone.
        phone: Box<android::Phone>,
        /// Attested and signing proofs, since the last [`Device::evidence`].
        key: Option<SoftKey>,
    },
    /// An iPhone.
    Apple(Box<apple::Phone>),
}

/// What a phone sends to be registered; the fields of the API's evidence message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Android Key Attestation.
    Android {
        /// DER certificates, leaf first.
        certificate_chain: Vec<Vec<u8>>,
    },
    /// Apple App Attest.
    Apple {
        /// The CBOR object.
        attestation_object: Vec<u8>,
        /// SHA-256 of the key's point.
        key_id: Vec<u8>,
        /// What was hashed into the attestation.
        client_data: Vec<u8>,
    },
}

impl Device {
    /// An Android phone, for [`Device::evidence`] to make keys on.
    #[must_use]
    pub fn android(phone: android::Phone) -> Self {
        Self::Android {
            phone: Box::new(phone),
            key: None,
        }
    }

    /// An iPhone.
    #[must_use]
    pub fn apple(phone: apple::Phone) -> Self {
        Self::Apple(Box::new(phone))
    }

    /// Evidence for a registration with this challenge. An Android phone makes a new key each time,
    /// an iPhone attests the key it has.
    ///
    /// # Errors
    /// [`Error`] when a key or certificate cannot be made.
    pub fn evidence(
        &mut self,
        challenge: &[u8],
        app_id: &str,
        now: Timestamp,
    ) -> Result<Evidence, Error> {
        match self {
            Self::Android { phone, key } => {
                let attested = phone.attest(challenge, now)?;
                *key = Some(attested.key);
                Ok(Evidence::Android {
                    certificate_chain: attested.certificate_chain,
                })
            }
            Self::Apple(phone) => {
                let client_data = phone.client_data(challenge, app_id)?;
                Ok(Evidence::Apple {
                    attestation_object: phone.attest(&client_data, now)?,
                    key_id: phone.key_id().to_vec(),
                    client_data,
                })
            }
        }
    }

    /// The key that signs proofs.
    ///
    /// # Errors
    /// [`Error::NoKey`] from an Android phone before its first evidence.
    pub fn session_key(&self) -> Result<&SoftKey, Error> {
        match self {
            Self::Android { key, .. } => key.as_ref().ok_or(Error::NoKey),
            Self::Apple(phone) => Ok(phone.session_key()),
        }
    }

    /// A proof by that key, in its form.
    ///
    /// # Errors
    /// As [`Self::session_key`]; [`Error::CounterExhausted`].
    pub fn proof(&self, dpop: &Dpop<'_>) -> Result<String, Error> {
        match self {
            Self::Android { key, .. } => dpop.sign(key.as_ref().ok_or(Error::NoKey)?),
            Self::Apple(phone) => phone.proof(dpop),
        }
    }
}
