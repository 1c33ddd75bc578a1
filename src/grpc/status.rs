//! Refusals on the wire: the one map from [`Reason`] to a gRPC status.
//!
//! A status says the reason, the action and the fixed message of the reason, and nothing else: no
//! identifier, no value seen, nothing from which the existence of anything could be told. Facts go
//! to the log.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{
    ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt as _,
};

use crate::reason::{Action, Reason};

/// The `ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "assay.v1";

/// Most violations one `BadRequest` lists: an answer stays small whatever was sent.
const VIOLATIONS_MAX: usize = 32;

/// Most bytes of one violation's field path or description: the `grpc-status-details-bin` header
/// has to pass header limits of 8 KiB, the smallest common one.
const VIOLATION_TEXT_BYTES_MAX: usize = 96;

/// Most bytes of all violation texts of one answer; base64 and the other details fit beside it in
/// 8 KiB.
const VIOLATIONS_BYTES_MAX: usize = 4096;

/// The gRPC code of a reason. A new reason does not compile until it has its place here.
#[must_use]
pub const fn code(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::MalformedRequest
        | R::UnknownField
        | R::EvidenceMalformed
        | R::EvidenceTooLarge
        | R::UnsupportedPlatform => Code::InvalidArgument,

        R::ProofInvalid
        | R::ProofKeyMismatch
        | R::ProofTargetMismatch
        | R::ProofNonceRequired
        | R::ProofNonceStale
        | R::ProofStale
        | R::ProofReplayed
        | R::TokenInvalid
        | R::TokenExpired
        | R::SessionExpiredIdle
        | R::SessionExpiredAbsolute
        | R::SessionRevoked
        | R::RefreshTokenReused
        | R::AccessTokenVoid
        | R::RefreshTokenVoid
        | R::DeviceKeyUnknown
        | R::CallerUnauthenticated => Code::Unauthenticated,

        R::StepUpRequired
        | R::UserPresenceRequired
        | R::ReattestationRequired
        | R::DeviceSuspended
        | R::IllegalStateTransition
        | R::PostureBelowPolicy => Code::FailedPrecondition,

        R::DeviceRevoked
        | R::DeviceKeyBanned
        | R::SubjectRevoked
        | R::AppDisabled
        | R::ScopeNotAllowed
        | R::CallerNotAllowed
        | R::TwoPersonRequired
        | R::AttestationChainUntrusted
        | R::AttestationCertRevoked
        | R::AttestationAppMismatch
        | R::AttestationChallengeMismatch
        | R::AttestationEnvironmentMismatch
        | R::AttestationKeyRejected
        | R::BootStateRejected
        | R::SecurityLevelTooLow
        | R::TrustLevelTooLow
        | R::ChallengeInvalid => Code::PermissionDenied,

        R::DeviceExists | R::ChallengeAlreadyUsed | R::RequestIdReused => Code::AlreadyExists,
        R::ResourceNotFound => Code::NotFound,
        R::Conflict => Code::Aborted,
        R::RateLimitedSubject
        | R::RateLimitedDevice
        | R::RateLimitedIp
        | R::RateLimitedCaller
        | R::RateLimitedAttestationKey
        | R::SessionLimit
        | R::DeviceLimit
        | R::ConsentLimit => Code::ResourceExhausted,
        R::StateStoreUnavailable | R::RevocationNotDurable | R::TrustListStale | R::Overloaded => {
            Code::Unavailable
        }
        R::Internal => Code::Internal,
    }
}

/// How long a caller waits before it sends the same request again; `None` where that is no use.
///
/// A conflict is over as soon as the other change is done. A store comes back after a failover of
/// seconds. A status list is fetched again within minutes.
#[must_use]
pub const fn retry_after(reason: Reason) -> Option<Duration> {
    if !matches!(reason.action(), Action::Retry) {
        return None;
    }
    let wait = if matches!(reason, Reason::Conflict) {
        Duration::from_millis(50)
    } else if matches!(reason, Reason::TrustListStale) {
        Duration::from_secs(30)
    } else {
        Duration::from_secs(1)
    };
    Some(wait)
}

/// The status of a refusal.
#[must_use]
pub fn status(reason: Reason) -> Status {
    Status::with_error_details(code(reason), reason.message(), details(reason, []))
}

/// The status of a refusal that is over after this time.
#[must_use]
pub fn status_after(reason: Reason, wait: Duration) -> Status {
    let mut details = details(reason, []);
    details.set_retry_info(Some(wait));
    Status::with_error_details(code(reason), reason.message(), details)
}

/// The status of a refusal with facts about the request's own form beside reason and action.
pub fn status_with(
    reason: Reason,
    facts: impl IntoIterator<Item = (&'static str, String)>,
) -> Status {
    let facts = facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), shortened(value)));
    let details = details(reason, facts);
    Status::with_error_details(code(reason), reason.message(), details)
}

/// The status of a request with faulty fields: each a path as in the proto and what is wrong with
/// it. Descriptions are the caller's own fault in our fixed words; values never go in.
#[must_use]
pub fn bad_request<F, D>(violations: impl IntoIterator<Item = (F, D)>) -> Status
where
    F: Into<String>,
    D: Into<String>,
{
    let mut left = VIOLATIONS_BYTES_MAX;
    let listed: Vec<_> = violations
        .into_iter()
        .take(VIOLATIONS_MAX)
        .map(|(field, description)| (shortened(field.into()), shortened(description.into())))
        .map_while(|(field, description)| {
            left = left.checked_sub(field.len().saturating_add(description.len()))?;
            Some(FieldViolation::new(field, description))
        })
        .collect();
    let reason = Reason::MalformedRequest;
    let mut details = details(reason, []);
    details.set_bad_request(listed);
    Status::with_error_details(code(reason), reason.message(), details)
}

/// The reason in a status made here; `None` for a status of another making.
#[must_use]
pub fn reason_of(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.as_str() == info.reason)
}

fn details(reason: Reason, facts: impl IntoIterator<Item = (String, String)>) -> ErrorDetails {
    let action = ("action".to_owned(), reason.action().as_str().to_owned());
    let metadata: HashMap<_, _> = facts.into_iter().chain([action]).collect();
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    if let Some(wait) = retry_after(reason) {
        details.set_retry_info(Some(wait));
    }
    let code = code(reason);
    if code == Code::ResourceExhausted {
        let violation = QuotaViolation::new(quota_subject(reason), reason.message());
        details.set_quota_failure(vec![violation]);
    }
    if code == Code::FailedPrecondition {
        let violation = PreconditionViolation::new(reason.as_str(), "", reason.message());
        details.set_precondition_failure(vec![violation]);
    }
    details
}

/// What is limited, in the words of `QuotaFailure`; never who.
const fn quota_subject(reason: Reason) -> &'static str {
    if matches!(reason, Reason::DeviceLimit) {
        "devices of the subject"
    } else if matches!(reason, Reason::RateLimitedAttestationKey) {
        "devices under one attestation key"
    } else if matches!(reason, Reason::RateLimitedSubject) {
        "requests of the subject"
    } else if matches!(reason, Reason::RateLimitedDevice) {
        "requests of the device"
    } else if matches!(reason, Reason::RateLimitedIp) {
        "requests from the network"
    } else if matches!(reason, Reason::RateLimitedCaller) {
        "requests of the calling service"
    } else if matches!(reason, Reason::ConsentLimit) {
        "revoked consents of the subject"
    } else {
        "sessions of the subject or device"
    }
}

fn shortened(mut text: String) -> String {
    let mut end = text.len().min(VIOLATION_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_a_domain_an_action_and_its_fixed_message() {
        for reason in Reason::ALL.iter().copied() {
            let status = status(reason);
            assert_ne!(status.code(), Code::Ok, "{reason}");
            assert_ne!(status.code(), Code::Unknown, "{reason}");
            assert_eq!(status.message(), reason.message());
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, reason.as_str());
            assert_eq!(info.domain, "assay.v1");
            assert_eq!(info.metadata["action"], reason.action().as_str());
            assert_eq!(info.metadata.len(), 1);
            assert_eq!(reason_of(&status), Some(reason));
        }
    }

    #[test]
    fn retry_info_goes_with_the_action_retry_and_with_no_other() {
        for reason in Reason::ALL.iter().copied() {
            let given = status(reason).get_details_retry_info().is_some();
            assert_eq!(given, reason.action() == Action::Retry, "{reason}");
        }
    }

    #[test]
    fn a_wait_that_is_known_is_told() {
        let wait = Duration::from_secs(4321);
        let status = status_after(Reason::RateLimitedAttestationKey, wait);
        assert_eq!(status.code(), Code::ResourceExhausted);
        let told = status.get_details_retry_info().unwrap().retry_delay;
        assert_eq!(told, Some(wait));
        let quota = status.get_details_quota_failure().unwrap();
        assert_eq!(
            quota.violations[0].subject,
            "devices under one attestation key"
        );
    }

    #[test]
    fn a_bad_request_names_its_fields_under_malformed_request() {
        let status = bad_request([("proof.jwt", "is empty"), ("app_id", "is too long")]);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&status), Some(Reason::MalformedRequest));
        let fields: Vec<_> = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .into_iter()
            .map(|v| (v.field, v.description))
            .collect();
        assert_eq!(
            fields,
            [
                ("proof.jwt".to_owned(), "is empty".to_owned()),
                ("app_id".to_owned(), "is too long".to_owned())
            ]
        );
    }

    #[test]
    fn a_bad_request_stays_small_whatever_was_wrong() {
        let long = "ä".repeat(10_000);
        let status = bad_request(vec![(long.clone(), long); 10_000]);
        assert!(
            status.details().len() < 6 * 1024,
            "{}",
            status.details().len()
        );
        assert!(
            !status
                .get_details_bad_request()
                .unwrap()
                .field_violations
                .is_empty()
        );
    }

    #[test]
    fn a_foreign_status_has_no_reason() {
        assert_eq!(reason_of(&Status::internal("INTERNAL")), None);
        let foreign = Status::with_error_details(
            Code::Internal,
            "",
            ErrorDetails::with_error_info("INTERNAL", "example.com", HashMap::new()),
        );
        assert_eq!(reason_of(&foreign), None);
    }
}
