//! The form in which devices, sessions, subjects and fleets are kept: protobuf, sealed.
//!
//! A sealed record is `format (1) ‖ key tag (4) ‖ nonce (12) ‖ AES-256-GCM(record)`, with the
//! record's name as associated data, so a dump of the store shows no subject, scope or state, and a
//! record copied under another name does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use prost::Message;

use super::{Key, Record};
use crate::secret::random;
use crate::session::{Device, Fleet, Session, SubjectRecord};
use crate::token::keyring::Keyring;
use crate::token::{KeyTag, Purpose, Subkey};

#[cfg(test)]
mod tests;
mod wire;

/// The first byte of every sealed record.
const FORMAT: u8 = 1;

/// A record of ours cannot be read: it was not written by us, was moved, or its key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The seal does not open.
    #[error("a stored record cannot be opened with the keys at hand")]
    Sealed,
    /// The seal opens, but the content is not a record of this version.
    #[error("a stored record is not in a known form")]
    Form,
    /// It cannot be sealed.
    #[error("a record cannot be sealed")]
    Seal,
}

/// A kind of record.
pub trait Stored: Sized {
    /// Its plain form.
    fn encode(&self) -> Vec<u8>;

    /// From its plain form.
    ///
    /// # Errors
    /// [`RecordError::Form`]
    fn decode(plain: &[u8]) -> Result<Self, RecordError>;
}

macro_rules! stored {
    ($($kind:ty => $wire:ty;)+) => {
        $(impl Stored for $kind {
            fn encode(&self) -> Vec<u8> {
                <$wire>::from(self).encode_to_vec()
            }

            fn decode(plain: &[u8]) -> Result<Self, RecordError> {
                <$wire>::decode(plain).ok().and_then(|wire| wire.into_domain()).ok_or(RecordError::Form)
            }
        })+
    };
}

stored! {
    Device => wire::Device;
    Session => wire::Session;
    SubjectRecord => wire::Subject;
    Fleet => wire::Fleet;
}

/// Seals a record for its name.
///
/// # Errors
/// [`RecordError::Seal`] when the system gives no randomness.
pub fn seal<T: Stored>(keyring: &Keyring, name: &Key, record: &T) -> Result<Vec<u8>, RecordError> {
    let (tag, subkey) = keyring.secret(Purpose::Seal);
    let nonce = random::<NONCE_LEN>().map_err(|_| RecordError::Seal)?;
    let mut body = record.encode();
    cipher(subkey)
        .and_then(|key| {
            let aad = Aad::from(name.to_string());
            key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body)
                .ok()
        })
        .ok_or(RecordError::Seal)?;
    let mut sealed = vec![FORMAT];
    sealed.extend_from_slice(tag.as_bytes());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// Opens a record that was loaded by its name.
///
/// # Errors
/// [`RecordError::Sealed`], [`RecordError::Form`]
pub fn unseal<T: Stored>(keyring: &Keyring, name: &Key, record: &Record) -> Result<T, RecordError> {
    let rest = record
        .value
        .strip_prefix(&[FORMAT])
        .ok_or(RecordError::Form)?;
    let (tag, rest) = rest.split_first_chunk::<4>().ok_or(RecordError::Form)?;
    let (nonce, body) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(RecordError::Form)?;
    let subkey = keyring
        .find(Purpose::Seal, KeyTag::from_bytes(*tag))
        .ok_or(RecordError::Sealed)?;
    let mut body = body.to_vec();
    let key = cipher(subkey).ok_or(RecordError::Sealed)?;
    let aad = Aad::from(name.to_string());
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut body)
        .map_err(|_| RecordError::Sealed)?;
    T::decode(plain)
}

fn cipher(subkey: &Subkey) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, subkey.bytes())
        .ok()
        .map(LessSafeKey::new)
}
