//! Refresh tokens: derived, never stored, useless without the device key.
//!
//! `asr1.` ‖ base64url(session id ‖ device id ‖ subject tag ‖ app tag ‖ generation ‖ key tag ‖ end of
//! the session) ‖ `.` ‖ base64url(HMAC(all of that ‖ thumbprint of the device key)). The fixed prefix lets secret scanners
//! find leaked ones: `asr1\.[A-Za-z0-9_-]{123}\.[A-Za-z0-9_-]{43}`.
//!
//! The same claims under the same key tag give the same token, whoever mints it and whenever. The
//! session's record notes the tag of its newest token, so a retry gives the very token of the lost
//! answer, also when another secret came into use in between; the next rotation moves to that one.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;

use super::keyring::Keyring;
use super::{KeyTag, Purpose, TokenRefusal};
use crate::id::{DeviceId, SessionId};
use crate::key::Thumbprint;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What every refresh token begins with; the digit is the version of the form.
pub const PREFIX: &str = "asr1.";

/// Length of every refresh token.
pub const TOKEN_BYTES: usize = PREFIX.len() + BODY_DIGITS + 1 + 43;

const BODY_DIGITS: usize = 123;
const BODY_BYTES: usize = 92;
const MAC_BYTES: usize = 32;

/// What a refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshClaims {
    /// The session it continues.
    pub session: SessionId,
    /// The session's device, so that one trip to the store loads all a refresh depends on.
    pub device: DeviceId,
    /// The tag of the session's subject, for the same.
    pub subject: [u8; 32],
    /// The tag of the session's app, so that its rules for proofs are known before any trip.
    pub app: [u8; 8],
    /// Which one of the session's refresh tokens it is, counted from 0.
    pub generation: u32,
    /// When the session ends, whatever happens. Inside the MAC, so that no rotation can extend it.
    pub session_ends_at: Timestamp,
}

/// The secret with this tag is not in the keyring, or the time cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshMintError {
    /// The secret is not known here (yet, or any more).
    #[error("no secret with the tag {0}")]
    UnknownKey(KeyTag),
    /// The end of the session lies before 1970.
    #[error("the end of the session cannot be written")]
    Time,
}

/// The token of `claims` for the device key `key`, under the secret `under`: always the same.
///
/// # Errors
/// [`RefreshMintError`]
pub fn mint(
    keyring: &Keyring,
    claims: &RefreshClaims,
    key: &Thumbprint,
    under: KeyTag,
) -> Result<Secret<String>, RefreshMintError> {
    let subkey = keyring
        .find(Purpose::RefreshToken, under)
        .ok_or(RefreshMintError::UnknownKey(under))?;
    let ends_at =
        u64::try_from(claims.session_ends_at.as_millis()).map_err(|_| RefreshMintError::Time)?;
    let mut body = Vec::with_capacity(BODY_BYTES);
    body.extend_from_slice(claims.session.as_bytes());
    body.extend_from_slice(claims.device.as_bytes());
    body.extend_from_slice(&claims.subject);
    body.extend_from_slice(&claims.app);
    body.extend_from_slice(&claims.generation.to_be_bytes());
    body.extend_from_slice(under.as_bytes());
    body.extend_from_slice(&ends_at.to_be_bytes());
    let mac = subkey.mac(&[PREFIX.as_bytes(), &body, key.as_bytes()]);
    let mut text = String::with_capacity(TOKEN_BYTES);
    text.push_str(PREFIX);
    BASE64URL_NOPAD.encode_append(&body, &mut text);
    text.push('.');
    BASE64URL_NOPAD.encode_append(&mac, &mut text);
    Ok(Secret::new(text))
}

/// Reads a token without believing it.
///
/// # Errors
/// [`TokenRefusal::Malformed`] unless it has the one text form.
pub fn parse(text: &str) -> Result<UnverifiedRefresh, TokenRefusal> {
    let malformed = TokenRefusal::Malformed;
    if text.len() != TOKEN_BYTES {
        return Err(malformed);
    }
    let rest = text.strip_prefix(PREFIX).ok_or(malformed)?;
    let (body, mac) = rest.split_once('.').ok_or(malformed)?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let body: [u8; BODY_BYTES] = decode(body)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(malformed)?;
    let mac: [u8; MAC_BYTES] = decode(mac)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(malformed)?;
    let (session, rest) = body.split_first_chunk::<18>().ok_or(malformed)?;
    let (device, rest) = rest.split_first_chunk::<18>().ok_or(malformed)?;
    let (subject, rest) = rest.split_first_chunk::<32>().ok_or(malformed)?;
    let (app, rest) = rest.split_first_chunk::<8>().ok_or(malformed)?;
    let (generation, rest) = rest.split_first_chunk::<4>().ok_or(malformed)?;
    let (tag, rest) = rest.split_first_chunk::<4>().ok_or(malformed)?;
    let ends_at: [u8; 8] = rest.try_into().map_err(|_| malformed)?;
    let ends_at = i64::try_from(u64::from_be_bytes(ends_at)).map_err(|_| malformed)?;
    Ok(UnverifiedRefresh {
        claims: RefreshClaims {
            session: SessionId::from_bytes(session).map_err(|_| malformed)?,
            device: DeviceId::from_bytes(device).map_err(|_| malformed)?,
            subject: *subject,
            app: *app,
            generation: u32::from_be_bytes(*generation),
            session_ends_at: Timestamp::from_millis(ends_at),
        },
        tag: KeyTag::from_bytes(*tag),
        body,
        mac,
    })
}

/// A refresh token that can be read but is not believed.
pub struct UnverifiedRefresh {
    claims: RefreshClaims,
    tag: KeyTag,
    body: [u8; BODY_BYTES],
    mac: [u8; MAC_BYTES],
}

impl UnverifiedRefresh {
    /// The session it claims to continue.
    #[must_use]
    pub const fn claimed_session(&self) -> SessionId {
        self.claims.session
    }

    /// Checks that we made it for the device key `key`, and that its session has not reached its end.
    ///
    /// # Errors
    /// [`TokenRefusal`]; the end of the session is told only for a token that is genuine.
    pub fn verify(
        &self,
        keyring: &Keyring,
        key: &Thumbprint,
        now: Timestamp,
    ) -> Result<VerifiedRefresh, TokenRefusal> {
        keyring
            .find(Purpose::RefreshToken, self.tag)
            .ok_or(TokenRefusal::UnknownKey)?
            .verify_mac(&[PREFIX.as_bytes(), &self.body, key.as_bytes()], &self.mac)
            .map_err(|_| TokenRefusal::Forged)?;
        if now >= self.claims.session_ends_at {
            return Err(TokenRefusal::SessionOver);
        }
        Ok(VerifiedRefresh {
            claims: self.claims,
            key: *key,
        })
    }
}

impl fmt::Debug for UnverifiedRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Body and MAC together are the token.
        write!(f, "UnverifiedRefresh({:?})", self.claims)
    }
}

/// A refresh token we made, for this device key, of a session not yet at its end. Whether it is the
/// newest one is for the session's record to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedRefresh {
    claims: RefreshClaims,
    key: Thumbprint,
}

impl VerifiedRefresh {
    /// What it says.
    #[must_use]
    pub const fn claims(&self) -> &RefreshClaims {
        &self.claims
    }

    /// The device key it is bound to.
    #[must_use]
    pub const fn key(&self) -> &Thumbprint {
        &self.key
    }
}
