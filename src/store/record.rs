//! The form in which devices, their receipts, sessions, subjects, fleets, events and the copy of the
//! status list are kept: protobuf, sealed.
//!
//! A sealed record is `format (1) ‖ key tag (4) ‖ nonce (12) ‖ AES-256-GCM(record)`, under a key of its
//! name and with the name as associated data, so a dump of the store shows no subject, scope or
//! state, and a record copied under another name does not open. Nothing here tells an old record
//! from a new one: whoever can write to the store can put back what was there before.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use prost::Message;
use zeroize::Zeroizing;

use super::{Key, Record};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::attestation::lists::Origin;
use crate::secret::random;
use crate::session::{Device, Event, Fleet, Job, Roll, Session, SubjectRecord};
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
    Event => wire::Event;
    Job => wire::Job;
    ReceiptRecord => wire::Receipt;
    Origin => wire::Origin;
    ListPart => wire::ListPart;
    Roll => wire::Roll;
}

/// A part of the packed status list, with the list it is of: parts that were written at different
/// times are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPart {
    /// [`Origin::sha256`] of the list.
    pub sha256: [u8; 32],
    /// The part.
    pub packed: Vec<u8>,
}

/// Seals a record for its name.
///
/// # Errors
/// [`RecordError::Seal`] when the system gives no randomness.
pub fn seal<T: Stored>(keyring: &Keyring, name: &Key, record: &T) -> Result<Vec<u8>, RecordError> {
    let (tag, subkey) = keyring.secret(Purpose::Seal);
    let nonce = random::<NONCE_LEN>().map_err(|_| RecordError::Seal)?;
    let mut body = record.encode();
    let name = name.to_string();
    cipher(subkey, &name)
        .and_then(|key| {
            let aad = Aad::from(&name);
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
    let name = name.to_string();
    let key = cipher(subkey, &name).ok_or(RecordError::Sealed)?;
    let aad = Aad::from(&name);
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut body)
        .map_err(|_| RecordError::Sealed)?;
    T::decode(plain)
}

/// The cipher of one record. Its key is derived for the record's name: random nonces are good for
/// 2^32 messages under one key (NIST SP 800-38D, 8.3), which a fleet writes within weeks and one
/// record never.
fn cipher(subkey: &Subkey, name: &str) -> Option<LessSafeKey> {
    let key = Zeroizing::new(subkey.mac(&[b"record", name.as_bytes()]));
    UnboundKey::new(&AES_256_GCM, key.as_slice())
        .ok()
        .map(LessSafeKey::new)
}
