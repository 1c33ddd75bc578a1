//! Challenges: stateless, for one purpose and app, and for one subject where it is known.
//!
//! version ‖ purpose ‖ whether a subject is bound ‖ expiry ‖ 16 random bytes ‖ key tag ‖
//! HMAC(all of that ‖ app ‖ subject). 63 bytes; Android's `attestationChallenge` takes 128. That a
//! challenge is used once is the store's claim on [`VerifiedChallenge::id`].

use super::keyring::Keyring;
use super::{KeyTag, Purpose};
use crate::id::{AppId, Subject};
use crate::key::sha256;
use crate::reason::Reason;
use crate::time::Timestamp;

/// Length of every challenge.
pub const CHALLENGE_BYTES: usize = HEADER_BYTES + MAC_BYTES;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 31;
const MAC_BYTES: usize = 32;

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChallengePurpose {
    /// Registering a device.
    Register,
    /// Attesting a device again.
    Reattest,
    /// Moving a device to a new key.
    Rotate,
    /// Enrolling a presence key.
    Presence,
}

impl ChallengePurpose {
    const fn code(self) -> u8 {
        match self {
            Self::Register => 1,
            Self::Reattest => 2,
            Self::Rotate => 3,
            Self::Presence => 4,
        }
    }
}

/// What a challenge is minted for.
#[derive(Debug, Clone, Copy)]
pub struct ChallengeClaims<'a> {
    /// What for.
    pub purpose: ChallengePurpose,
    /// The app it is for.
    pub app: &'a AppId,
    /// The subject it is for; `None`: good for any.
    pub subject: Option<&'a Subject>,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// Makes a challenge from 16 fresh random bytes.
#[must_use]
pub fn mint(keyring: &Keyring, claims: &ChallengeClaims<'_>, random: [u8; 16]) -> Vec<u8> {
    let (tag, subkey) = keyring.secret(Purpose::Challenge);
    let mut bytes = Vec::with_capacity(CHALLENGE_BYTES);
    bytes.push(VERSION);
    bytes.push(claims.purpose.code());
    bytes.push(u8::from(claims.subject.is_some()));
    bytes.extend_from_slice(&claims.expires_at.as_millis().to_be_bytes());
    bytes.extend_from_slice(&random);
    bytes.extend_from_slice(tag.as_bytes());
    let subject = claims.subject.map_or("", Subject::expose);
    let mac = subkey.mac(&[&bytes, claims.app.as_str().as_bytes(), subject.as_bytes()]);
    bytes.extend_from_slice(&mac);
    bytes
}

/// What a challenge must be for.
#[derive(Debug, Clone, Copy)]
pub struct ChallengeExpectation<'a> {
    /// What it is presented for.
    pub purpose: ChallengePurpose,
    /// The app it is presented for.
    pub app: &'a AppId,
    /// The subject it is presented for.
    pub subject: &'a Subject,
}

/// Why a challenge was refused. To a caller they are all `CHALLENGE_INVALID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeRefusal {
    /// Not of this length and version.
    #[error("the challenge is not well formed")]
    Malformed,
    /// Genuine or not, it is for something else.
    #[error("the challenge is for another purpose")]
    WrongPurpose,
    /// No secret of ours has made it.
    #[error("the challenge names a key that is not ours")]
    UnknownKey,
    /// Changed, or for another app or subject.
    #[error("the challenge does not verify for this app and subject")]
    Forged,
    /// Genuine, but over.
    #[error("the challenge has expired")]
    Expired,
}

impl ChallengeRefusal {
    /// The stable reason.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed
            | Self::WrongPurpose
            | Self::UnknownKey
            | Self::Forged
            | Self::Expired => Reason::ChallengeInvalid,
        }
    }
}

/// Checks a challenge as it came back.
///
/// # Errors
/// [`ChallengeRefusal`]
pub fn verify(
    keyring: &Keyring,
    bytes: &[u8],
    expect: &ChallengeExpectation<'_>,
    now: Timestamp,
) -> Result<VerifiedChallenge, ChallengeRefusal> {
    let malformed = ChallengeRefusal::Malformed;
    let (header, mac) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(malformed)?;
    let mac: &[u8; MAC_BYTES] = mac.try_into().map_err(|_| malformed)?;
    let (&[version, purpose, bound], rest) = header.split_first_chunk::<3>().ok_or(malformed)?;
    let (expires_at, rest) = rest.split_first_chunk::<8>().ok_or(malformed)?;
    let (_, tag) = rest.split_last_chunk::<4>().ok_or(malformed)?;
    if version != VERSION {
        return Err(malformed);
    }
    if purpose != expect.purpose.code() {
        return Err(ChallengeRefusal::WrongPurpose);
    }
    let subject = match bound {
        0 => "",
        1 => expect.subject.expose(),
        _ => return Err(malformed),
    };
    let app = expect.app.as_str();
    keyring
        .find(Purpose::Challenge, KeyTag::from_bytes(*tag))
        .ok_or(ChallengeRefusal::UnknownKey)?
        .verify_mac(&[header, app.as_bytes(), subject.as_bytes()], mac)
        .map_err(|_| ChallengeRefusal::Forged)?;
    let expires_at = Timestamp::from_millis(i64::from_be_bytes(*expires_at));
    if now >= expires_at {
        return Err(ChallengeRefusal::Expired);
    }
    Ok(VerifiedChallenge {
        id: sha256(bytes),
        expires_at,
    })
}

/// A challenge of ours, for what it is presented for, not expired. Whether it was used before is for
/// the store to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedChallenge {
    id: [u8; 32],
    expires_at: Timestamp,
}

impl VerifiedChallenge {
    /// What to claim it by: its SHA-256.
    #[must_use]
    pub const fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// From when on it is refused anyway: the claim has to live until then.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}
