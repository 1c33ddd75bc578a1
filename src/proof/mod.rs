//! Proofs of possession: that whoever sends a request holds the device key, now, for this request.
//!
//! One claim set ([`claims`]) and one text ([`dpop`], RFC 9449), signed with ES256 or by an assertion of
//! an App Attest key ([`assertion`]). The checks go from cheap
//! to dear and the signature comes last, so that garbage costs little; no state is touched before a
//! proof is authentic. That a proof is used once is the store's business, by `jti`
//! ([`VerifiedProof::acceptable_until`] tells for how long) or by counter ([`window`]).

mod assertion;
pub mod claims;
pub mod dpop;
pub mod nonce;
pub mod target;
pub mod window;

use crate::id::SessionId;
use crate::key::{PublicKey, Thumbprint, sha256};
use crate::reason::Reason;
use crate::time::Timestamp;

pub use claims::{Body, Freshness, ProofExpectation};
pub use target::TargetUri;

/// Why a proof was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// It cannot be read, or is not in the one accepted form.
    #[error("the proof is not well formed: {0}")]
    Malformed(&'static str),
    /// It is for another method.
    #[error("the proof is for another method")]
    OtherMethod,
    /// It is for another URI.
    #[error("the proof is for another URI")]
    OtherUri,
    /// It is for another access token, or for none where one is shown, or for one where none is.
    #[error("the proof is not for the access token of this request")]
    OtherToken,
    /// It is for another body, or names none where it has to.
    #[error("the proof is not for the body of this request")]
    OtherBody,
    /// It has no nonce and has to have one.
    #[error("the proof has no nonce")]
    NonceMissing,
    /// Its nonce is not one of ours that is still good.
    #[error("the proof's nonce is not current")]
    NonceStale,
    /// It has no nonce and was not made around now.
    #[error("the proof was not made around now")]
    Stale,
    /// It is made with another key.
    #[error("the proof is made with another key")]
    OtherKey,
    /// Its signature does not verify.
    #[error("the proof's signature does not verify")]
    BadSignature,
    /// Its assertion is not one of the app's for this text.
    #[error("the proof's assertion is not good: {0}")]
    BadAssertion(&'static str),
    /// It is an assertion where no App Attest key is expected.
    #[error("the proof is not in the form of the key it is made with")]
    OtherForm,
}

impl ProofRefusal {
    /// The stable reason.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) | Self::BadSignature | Self::BadAssertion(_) | Self::OtherForm => {
                Reason::ProofInvalid
            }
            Self::OtherMethod | Self::OtherUri | Self::OtherToken | Self::OtherBody => {
                Reason::ProofTargetMismatch
            }
            Self::NonceMissing => Reason::ProofNonceRequired,
            Self::NonceStale => Reason::ProofNonceStale,
            Self::Stale => Reason::ProofStale,
            Self::OtherKey => Reason::ProofKeyMismatch,
        }
    }
}

/// In which form a proof is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// ES256 over the text, as RFC 9449 has it.
    Dpop,
    /// An assertion of an App Attest key.
    AppAttest {
        /// How often the key has signed, this time included: what makes the proof good once.
        counter: u32,
    },
}

/// A proof that is authentic and for this request. Only a verifier in this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProof {
    key: PublicKey,
    thumbprint: Thumbprint,
    jti: String,
    issued_at: Timestamp,
    counter: Option<u32>,
    form: Form,
    new_key: Option<Thumbprint>,
    session: Option<SessionId>,
    acceptable_until: Timestamp,
}

impl VerifiedProof {
    /// The key it was made with.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// That key's thumbprint.
    #[must_use]
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Its `jti`, as the client chose it: 1 to 128 visible ASCII characters, unique per key only.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// What to claim it by: a digest of key and `jti`. Never of the signature or the whole text: an
    /// ECDSA signature has a second valid form that anybody can make from the first.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        // The thumbprint has a fixed length, so nothing can move across the border.
        let named = [self.thumbprint.as_bytes(), self.jti.as_bytes()].concat();
        sha256(&named)
    }

    /// When the client says it was made; the client's clock may be wrong.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `ctr`: the client's counter for the anti-replay window, where it sends one.
    #[must_use]
    pub const fn counter(&self) -> Option<u32> {
        self.counter
    }

    /// In which form it is signed. Whether its key is of that kind is for the device's record to say.
    #[must_use]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// `nkt`: the key that shall take this one's place.
    #[must_use]
    pub const fn new_key(&self) -> Option<Thumbprint> {
        self.new_key
    }

    /// `sid`: the session it is for, where it says so.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// From then on the very same proof is refused on every instance, clocks of instances apart by
    /// up to [`crate::token::INSTANCE_SKEW_MAX`] included: a claim on its `jti` has to live until then.
    #[must_use]
    pub const fn acceptable_until(&self) -> Timestamp {
        self.acceptable_until
    }
}
