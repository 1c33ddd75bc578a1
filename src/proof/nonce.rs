//! Nonces for proofs (RFC 9449, 8): stateless, so every instance accepts every instance's.
//!
//! base64url(version ‖ number of the 60-second step ‖ key tag ‖ first 16 bytes of the HMAC). A nonce
//! is not a secret and not for one use: it shows that a proof was made recently by a clock of ours.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::time::Timestamp;
use crate::token::keyring::Keyring;
use crate::token::{KeyTag, Purpose};

/// Length of every nonce.
pub const NONCE_DIGITS: usize = 34;

/// Length of a step. A client sees a new nonce with every answer, so it needs no long one.
pub const STEP: Duration = Duration::from_secs(60);

/// How many steps back a nonce is still good: a client that was silent for two minutes asks anew.
const STEPS_BACK: u32 = 2;

/// How many steps ahead: the instance that minted it may have a clock a little ahead of ours.
const STEPS_AHEAD: u32 = 1;

/// How long a nonce is good at most: from an instance whose clock is ahead of ours.
pub const GOOD_FOR_MAX: Duration =
    Duration::from_secs(STEP.as_secs() * (STEPS_BACK + 1 + STEPS_AHEAD) as u64);

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 25;
const HEADER_BYTES: usize = 9;
const MAC_BYTES: usize = 16;

/// The nonce is not ours, or not current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the nonce is not one of ours or not current")]
pub struct StaleNonce;

/// The nonce of this moment.
#[must_use]
pub fn mint(keyring: &Keyring, now: Timestamp) -> String {
    let (tag, subkey) = keyring.secret(Purpose::Nonce);
    let mut bytes = Vec::with_capacity(NONCE_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&step(now).to_be_bytes());
    bytes.extend_from_slice(tag.as_bytes());
    let mac = subkey.mac(&[&bytes]);
    bytes.extend(mac.iter().take(MAC_BYTES));
    BASE64URL_NOPAD.encode(&bytes)
}

/// Checks a nonce and tells from when on it is refused by this clock.
///
/// # Errors
/// [`StaleNonce`], whatever is wrong with it: the cure is the same, to use the new one.
pub fn verify(keyring: &Keyring, nonce: &str, now: Timestamp) -> Result<Timestamp, StaleNonce> {
    if nonce.len() != NONCE_DIGITS {
        return Err(StaleNonce);
    }
    let bytes = BASE64URL_NOPAD
        .decode(nonce.as_bytes())
        .map_err(|_| StaleNonce)?;
    let (header, mac) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(StaleNonce)?;
    let mac: &[u8; MAC_BYTES] = mac.try_into().map_err(|_| StaleNonce)?;
    let (&[version], rest) = header.split_first_chunk::<1>().ok_or(StaleNonce)?;
    let (minted_in, tag) = rest.split_first_chunk::<4>().ok_or(StaleNonce)?;
    let tag: [u8; 4] = tag.try_into().map_err(|_| StaleNonce)?;
    let minted_in = u32::from_be_bytes(*minted_in);
    let current = step(now);
    let good = current.saturating_sub(STEPS_BACK)..=current.saturating_add(STEPS_AHEAD);
    if version != VERSION || !good.contains(&minted_in) {
        return Err(StaleNonce);
    }
    keyring
        .find(Purpose::Nonce, KeyTag::from_bytes(tag))
        .ok_or(StaleNonce)?
        .verify_mac(&[header], mac)
        .map_err(|_| StaleNonce)?;
    let ends_with = i64::from(minted_in) + i64::from(STEPS_BACK) + 1;
    let step_secs = i64::try_from(STEP.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_secs(ends_with.saturating_mul(step_secs)))
}

/// The number of the step; clamped outside the years 1970 to 10136, where no clock of ours is.
fn step(now: Timestamp) -> u32 {
    let steps = now.since(Timestamp::EPOCH).as_secs() / STEP.as_secs();
    u32::try_from(steps).unwrap_or(u32::MAX)
}
