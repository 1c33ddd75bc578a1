//! Tokens and the keys behind them.
//!
//! | what | made by | bound to the device key by | stored |
//! |---|---|---|---|
//! | access token | [`access::mint`] | `cnf.jkt`, signed | never |
//! | refresh token | [`refresh::mint`] | the MAC covers the thumbprint | never: derived again |
//! | challenge | [`challenge::mint`] | the attestation made for it | never |
//! | confirm token | [`confirm::mint`] | nothing: it is for callers | never |
//!
//! Everything here is pure: the time and random bytes are arguments. Nothing is believed before its
//! MAC or signature verifies, and a verified value is a type that only its verifier can make.

pub mod access;
pub mod challenge;
pub mod confirm;
pub mod device_check;
pub(crate) mod jws;
mod key_file;
pub mod keyring;
pub mod pem;
pub mod refresh;
mod subkey;

use std::time::Duration;

use crate::reason::Reason;

pub use subkey::{BadMac, KeyTag, Purpose, Subkey};

/// How far the clocks of two instances may lie apart. A token that begins later than this was not
/// minted by a healthy one; a proof is remembered for this much longer than our own clock asks for.
pub const INSTANCE_SKEW_MAX: Duration = Duration::from_secs(60);

/// Why a token was refused. All but the two expiries look the same to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is not in the one form these tokens have.
    #[error("the token is not well formed")]
    Malformed,
    /// It is for another use: the `typ` or `alg` is another.
    #[error("the token is of another type")]
    WrongType,
    /// No key of ours has made it.
    #[error("the token names a key that is not ours")]
    UnknownKey,
    /// The signature or MAC does not verify, or it is bound to another device key.
    #[error("the token does not verify")]
    Forged,
    /// Another issuer or audience.
    #[error("the token is for another issuer or audience")]
    WrongParty,
    /// Its times contradict each other or lie in the future.
    #[error("the token's times make no sense")]
    Untimely,
    /// Genuine, but over.
    #[error("the token has expired")]
    Expired,
    /// Genuine, but the session it belongs to has reached its end.
    #[error("the session of the token has reached its end")]
    SessionOver,
}

impl TokenRefusal {
    /// The stable reason.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed
            | Self::WrongType
            | Self::UnknownKey
            | Self::Forged
            | Self::WrongParty
            | Self::Untimely => Reason::TokenInvalid,
            Self::Expired => Reason::TokenExpired,
            Self::SessionOver => Reason::SessionExpiredAbsolute,
        }
    }
}
