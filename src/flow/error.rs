//! Why a flow could not answer.

use std::time::Duration;

use crate::attestation::Rejection;
use crate::policy::Signal;
use crate::proof::ProofRefusal;
use crate::reason::Reason;
use crate::secret::NoRandomness;
use crate::session::Refusal;
use crate::store::StoreError;
use crate::store::record::RecordError;
use crate::token::TokenRefusal;
use crate::token::access::MintError;
use crate::token::challenge::ChallengeRefusal;
use crate::token::refresh::RefreshMintError;

/// One field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, e.g. `evidence.android.certificate_chain`.
    pub field: String,
    /// What would be right. It never repeats the value.
    pub description: String,
}

/// Why a flow could not answer: the reason goes to the caller, the detail to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// The stable reason.
    pub reason: Reason,
    /// The fields that are wrong, with [`Reason::MalformedRequest`].
    pub violations: Vec<FieldViolation>,
    /// For the log: facts that help the operator, no secret, no subject.
    pub detail: Option<String>,
    /// How long to wait before the same is tried again, where that is known better than by the reason.
    pub retry_after: Option<Duration>,
    /// What of it speaks of a thief, for who knows whose request it was.
    pub signal: Option<Signal>,
}

impl Failure {
    /// A request with wrong fields.
    #[must_use]
    pub const fn malformed(violations: Vec<FieldViolation>) -> Self {
        Self {
            reason: Reason::MalformedRequest,
            violations,
            detail: None,
            retry_after: None,
            signal: None,
        }
    }

    /// A request with one wrong field.
    #[must_use]
    pub fn field(field: &str, description: &str) -> Self {
        let (field, description) = (field.to_owned(), description.to_owned());
        Self::malformed(vec![FieldViolation { field, description }])
    }

    /// Whether this is a "no" about what was presented, rather than a failure to find out: the two
    /// must never be mixed up, or a broken store would end sessions.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        !matches!(
            self.reason,
            Reason::StateStoreUnavailable
                | Reason::Conflict
                | Reason::RateLimitedCaller
                | Reason::Internal
                | Reason::MalformedRequest
        )
    }

    /// A refusal that is over after a while.
    pub(super) const fn limited(reason: Reason, wait: Duration, detail: String) -> Self {
        Self {
            reason,
            violations: Vec::new(),
            detail: Some(detail),
            retry_after: Some(wait),
            signal: None,
        }
    }

    /// The same, which speaks of a thief.
    pub(super) fn with_signal(self, signal: Signal) -> Self {
        Self {
            signal: Some(signal),
            ..self
        }
    }

    fn detailed(reason: Reason, detail: String) -> Self {
        Self {
            reason,
            violations: Vec::new(),
            detail: Some(detail),
            retry_after: None,
            signal: None,
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            violations: Vec::new(),
            detail: None,
            retry_after: None,
            signal: None,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.0.into()
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let at = rejection
            .certificate_index
            .map_or(String::new(), |i| format!(" (certificate {i})"));
        Self::detailed(rejection.reason, format!("{}{at}", rejection.name))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let reason = match error {
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => {
                Reason::StateStoreUnavailable
            }
            StoreError::Invalid(_) => Reason::Internal,
        };
        Self::detailed(reason, error.to_string())
    }
}

impl From<ProofRefusal> for Failure {
    fn from(refusal: ProofRefusal) -> Self {
        Self::detailed(refusal.reason(), refusal.to_string())
    }
}

impl From<TokenRefusal> for Failure {
    fn from(refusal: TokenRefusal) -> Self {
        Self::detailed(refusal.reason(), refusal.to_string())
    }
}

impl From<ChallengeRefusal> for Failure {
    fn from(refusal: ChallengeRefusal) -> Self {
        Self::detailed(refusal.reason(), refusal.to_string())
    }
}

impl From<MintError> for Failure {
    fn from(error: MintError) -> Self {
        match error {
            // What the caller asked for does not fit a token.
            MintError::TooLarge => Self::field(
                "roles",
                "together with subject, scopes and the other words short enough for an access token",
            ),
            // The session ends within this second.
            MintError::Lifetime => {
                Self::detailed(Reason::SessionExpiredAbsolute, error.to_string())
            }
            MintError::Scope | MintError::Json | MintError::Signing(_) => {
                Self::detailed(Reason::Internal, error.to_string())
            }
        }
    }
}

impl From<RefreshMintError> for Failure {
    fn from(error: RefreshMintError) -> Self {
        Self::detailed(Reason::Internal, error.to_string())
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::detailed(Reason::Internal, error.to_string())
    }
}

impl From<NoRandomness> for Failure {
    fn from(error: NoRandomness) -> Self {
        Self::detailed(Reason::Internal, error.to_string())
    }
}
