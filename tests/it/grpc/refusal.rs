//! How every refusal has to look, whatever it is for.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The codes of the reasons, as the API documents them.
const CODES: &[(Code, &str)] = &[
    (
        Code::InvalidArgument,
        "MALFORMED_REQUEST UNKNOWN_FIELD EVIDENCE_MALFORMED EVIDENCE_TOO_LARGE UNSUPPORTED_PLATFORM",
    ),
    (
        Code::Unauthenticated,
        "PROOF_INVALID PROOF_KEY_MISMATCH PROOF_TARGET_MISMATCH PROOF_NONCE_REQUIRED \
         PROOF_NONCE_STALE PROOF_STALE PROOF_REPLAYED TOKEN_INVALID TOKEN_EXPIRED \
         SESSION_EXPIRED_IDLE SESSION_EXPIRED_ABSOLUTE SESSION_REVOKED REFRESH_TOKEN_REUSED \
         DEVICE_KEY_UNKNOWN CALLER_UNAUTHENTICATED ACCESS_TOKEN_VOID REFRESH_TOKEN_VOID",
    ),
    (
        Code::FailedPrecondition,
        "STEP_UP_REQUIRED REATTESTATION_REQUIRED DEVICE_SUSPENDED ILLEGAL_STATE_TRANSITION \
         POSTURE_BELOW_POLICY USER_PRESENCE_REQUIRED",
    ),
    (
        Code::PermissionDenied,
        "DEVICE_REVOKED DEVICE_KEY_BANNED SUBJECT_REVOKED APP_DISABLED SCOPE_NOT_ALLOWED \
         CALLER_NOT_ALLOWED TWO_PERSON_REQUIRED ATTESTATION_CHAIN_UNTRUSTED ATTESTATION_CERT_REVOKED \
         ATTESTATION_APP_MISMATCH ATTESTATION_CHALLENGE_MISMATCH \
         ATTESTATION_ENVIRONMENT_MISMATCH ATTESTATION_KEY_REJECTED BOOT_STATE_REJECTED \
         SECURITY_LEVEL_TOO_LOW TRUST_LEVEL_TOO_LOW CHALLENGE_INVALID",
    ),
    (
        Code::AlreadyExists,
        "DEVICE_EXISTS CHALLENGE_ALREADY_USED REQUEST_ID_REUSED",
    ),
    (Code::NotFound, "RESOURCE_NOT_FOUND"),
    (Code::Aborted, "CONFLICT"),
    (
        Code::ResourceExhausted,
        "SESSION_LIMIT DEVICE_LIMIT CONSENT_LIMIT RATE_LIMITED_ATTESTATION_KEY RATE_LIMITED_SUBJECT \
         RATE_LIMITED_DEVICE RATE_LIMITED_IP RATE_LIMITED_CALLER",
    ),
    (
        Code::Unavailable,
        "STATE_STORE_UNAVAILABLE REVOCATION_NOT_DURABLE TRUST_LIST_STALE OVERLOADED",
    ),
    (Code::Internal, "INTERNAL"),
];

/// The actions a phone can switch on, and the reasons that may come with each.
const ACTIONS: &[(&str, &[&str])] = &[
    (
        "RETRY",
        &[
            "CONFLICT",
            "STATE_STORE_UNAVAILABLE",
            "REVOCATION_NOT_DURABLE",
            "TRUST_LIST_STALE",
            "OVERLOADED",
            "RATE_LIMITED_ATTESTATION_KEY",
            "RATE_LIMITED_SUBJECT",
            "RATE_LIMITED_DEVICE",
            "RATE_LIMITED_IP",
            "RATE_LIMITED_CALLER",
            "INTERNAL",
        ],
    ),
    (
        "RETRY_WITH_NONCE",
        &[
            "PROOF_INVALID",
            "PROOF_TARGET_MISMATCH",
            "PROOF_NONCE_REQUIRED",
            "PROOF_NONCE_STALE",
            "PROOF_STALE",
            "PROOF_REPLAYED",
        ],
    ),
    ("REFRESH", &["TOKEN_EXPIRED", "ACCESS_TOKEN_VOID"]),
    (
        "REATTEST",
        &[
            "REATTESTATION_REQUIRED",
            "POSTURE_BELOW_POLICY",
            "TRUST_LEVEL_TOO_LOW",
        ],
    ),
    (
        "REREGISTER",
        &[
            "EVIDENCE_MALFORMED",
            "DEVICE_KEY_UNKNOWN",
            "DEVICE_REVOKED",
            "DEVICE_KEY_BANNED",
            "ATTESTATION_CHAIN_UNTRUSTED",
            "ATTESTATION_CHALLENGE_MISMATCH",
            "ATTESTATION_KEY_REJECTED",
            "CHALLENGE_ALREADY_USED",
            "CHALLENGE_INVALID",
        ],
    ),
    (
        "REAUTHENTICATE",
        &[
            "TOKEN_INVALID",
            "SESSION_EXPIRED_IDLE",
            "SESSION_EXPIRED_ABSOLUTE",
            "SESSION_REVOKED",
            "REFRESH_TOKEN_REUSED",
            "REFRESH_TOKEN_VOID",
            "SUBJECT_REVOKED",
        ],
    ),
    ("STEP_UP", &["STEP_UP_REQUIRED", "USER_PRESENCE_REQUIRED"]),
    (
        "CONTACT_SUPPORT",
        &[
            "DEVICE_SUSPENDED",
            "APP_DISABLED",
            "ATTESTATION_CERT_REVOKED",
            "ATTESTATION_APP_MISMATCH",
            "ATTESTATION_ENVIRONMENT_MISMATCH",
            "BOOT_STATE_REJECTED",
            "SECURITY_LEVEL_TOO_LOW",
        ],
    ),
];

/// The action that goes with a reason.
pub(crate) fn action(reason: &str) -> &'static str {
    let listed = ACTIONS
        .iter()
        .find(|(_, reasons)| reasons.contains(&reason));
    listed.map_or("NONE", |(action, _)| action)
}

/// Holds a refusal against everything that is promised of refusals: code, reason, domain, action,
/// fixed message, and exactly the details that belong to it.
#[track_caller]
pub(crate) fn assert_refused(status: &Status, reason: &str) {
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{reason}: no ErrorInfo in {status:?}"));
    assert_eq!(info.reason, reason, "{status:?}");
    assert_eq!(info.domain, "assay.v1");
    assert_eq!(info.metadata["action"], action(reason), "{reason}");
    let (code, _) = CODES
        .iter()
        .find(|(_, reasons)| reasons.split(' ').any(|known| known == reason))
        .unwrap_or_else(|| panic!("{reason} has no documented code"));
    assert_eq!(status.code(), *code, "{reason}");

    let known = assay::reason::Reason::ALL.iter();
    let fixed = known.into_iter().find(|r| r.as_str() == reason).unwrap();
    assert_eq!(status.message(), fixed.message());

    let retry = status.get_details_retry_info();
    assert_eq!(retry.is_some(), action(reason) == "RETRY", "{reason}");
    if let Some(wait) = retry.and_then(|info| info.retry_delay) {
        // A rate knows when the next one may come in; the app's is one a day.
        let rated = reason.starts_with("RATE_LIMITED_");
        let most = if rated { 86_400 } else { 60 };
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(most));
    }
    let bad = status.get_details_bad_request().is_some();
    assert_eq!(bad, reason == "MALFORMED_REQUEST", "{reason}");
    let quota = status.get_details_quota_failure().is_some();
    assert_eq!(quota, *code == Code::ResourceExhausted, "{reason}");
    let precondition = status.get_details_precondition_failure().is_some();
    assert_eq!(precondition, *code == Code::FailedPrecondition, "{reason}");
    let nonce = status.metadata().get("dpop-nonce").is_some();
    assert_eq!(nonce, action(reason) == "RETRY_WITH_NONCE", "{reason}");
    if reason != "UNKNOWN_FIELD" {
        assert_eq!(info.metadata.len(), 1, "{:?}", info.metadata);
    }
}

/// The wrong fields a refusal names.
#[track_caller]
pub(crate) fn wrong_fields(status: &Status) -> BTreeSet<String> {
    assert_refused(status, "MALFORMED_REQUEST");
    let bad = status.get_details_bad_request().unwrap();
    for violation in &bad.field_violations {
        assert!(!violation.description.is_empty());
    }
    let fields = bad.field_violations.into_iter().map(|v| v.field);
    fields.collect()
}

/// Fails when a status says any of these words, in its message, details or metadata.
#[track_caller]
pub(crate) fn assert_says_none_of(status: &Status, secrets: &[String]) {
    let nonce = status
        .metadata()
        .get("dpop-nonce")
        .and_then(|nonce| nonce.to_str().ok())
        .unwrap_or_default();
    let shown = format!(
        "{} {} {:?}",
        status.message(),
        String::from_utf8_lossy(status.details()),
        status.metadata()
    );
    for secret in secrets.iter().filter(|secret| *secret != nonce) {
        assert!(!shown.contains(secret.as_str()), "{secret} is in {shown}");
    }
}
