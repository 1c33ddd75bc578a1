//! The stable reason codes: the one thing every refusal is known by, in `ErrorInfo`, in a decision,
//! in the metric label, in the audit event and in `docs/reasons.md`.

use std::fmt;

/// What the caller can do about a refusal: one field a phone can switch on (`metadata.action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send the same request again, after `RetryInfo` where it is given.
    Retry,
    /// Make a new proof with the nonce of this answer and send again.
    RetryWithNonce,
    /// Use the refresh token.
    Refresh,
    /// Attest the same device again with a fresh challenge.
    Reattest,
    /// Make a new device key and register it.
    Reregister,
    /// Sign the user in again.
    Reauthenticate,
    /// Prove more: a higher `acr` or user presence.
    StepUp,
    /// A person has to decide.
    ContactSupport,
    /// Nothing the caller sends will change the answer.
    None,
}

impl Action {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "RETRY",
            Self::RetryWithNonce => "RETRY_WITH_NONCE",
            Self::Refresh => "REFRESH",
            Self::Reattest => "REATTEST",
            Self::Reregister => "REREGISTER",
            Self::Reauthenticate => "REAUTHENTICATE",
            Self::StepUp => "STEP_UP",
            Self::ContactSupport => "CONTACT_SUPPORT",
            Self::None => "NONE",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident $wire:literal $action:ident $message:literal;)+) => {
        /// Why something was refused. The words are stable: they are never renamed or reused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $message] $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of `docs/reasons.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }

            /// The reason of a word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }

            /// What the caller can do about it.
            #[must_use]
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action),+ }
            }

            /// The fixed message: the same for every occurrence, so it can leak nothing.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),+ }
            }
        }
    };
}

reasons! {
    MalformedRequest "MALFORMED_REQUEST" None "The request is not well formed.";
    UnknownField "UNKNOWN_FIELD" None "The request has a field this version does not know.";
    EvidenceMalformed "EVIDENCE_MALFORMED" Reregister "The evidence cannot be read.";
    EvidenceTooLarge "EVIDENCE_TOO_LARGE" None "The evidence is larger than any genuine one.";
    UnsupportedPlatform "UNSUPPORTED_PLATFORM" None "This app does not accept this kind of evidence.";

    ProofInvalid "PROOF_INVALID" RetryWithNonce "The proof of possession does not verify.";
    ProofKeyMismatch "PROOF_KEY_MISMATCH" None "The proof is made with another key.";
    ProofTargetMismatch "PROOF_TARGET_MISMATCH" RetryWithNonce "The proof is for another method, URI, token or body.";
    ProofNonceRequired "PROOF_NONCE_REQUIRED" RetryWithNonce "The proof needs the nonce given with this answer.";
    ProofNonceStale "PROOF_NONCE_STALE" RetryWithNonce "The nonce in the proof is too old.";
    ProofStale "PROOF_STALE" RetryWithNonce "The time in the proof is too far from now.";
    ProofReplayed "PROOF_REPLAYED" RetryWithNonce "This proof was used before.";
    TokenInvalid "TOKEN_INVALID" Reauthenticate "The token is not valid.";
    TokenExpired "TOKEN_EXPIRED" Refresh "The token has expired.";
    SessionExpiredIdle "SESSION_EXPIRED_IDLE" Reauthenticate "The session was idle for too long.";
    SessionExpiredAbsolute "SESSION_EXPIRED_ABSOLUTE" Reauthenticate "The session has reached its end.";
    SessionRevoked "SESSION_REVOKED" Reauthenticate "The session was ended.";
    RefreshTokenReused "REFRESH_TOKEN_REUSED" Reauthenticate "The refresh token was used before.";
    AccessTokenVoid "ACCESS_TOKEN_VOID" Refresh "The session was rotated since this access token was issued.";
    RefreshTokenVoid "REFRESH_TOKEN_VOID" Reauthenticate "The session was rotated since this refresh token was issued.";
    DeviceKeyUnknown "DEVICE_KEY_UNKNOWN" Reregister "No registered device has this key.";
    CallerUnauthenticated "CALLER_UNAUTHENTICATED" None "The caller did not show a known client certificate.";

    StepUpRequired "STEP_UP_REQUIRED" StepUp "The request needs a stronger or fresher authentication.";
    UserPresenceRequired "USER_PRESENCE_REQUIRED" StepUp "It has to be shown that the user is there.";
    ReattestationRequired "REATTESTATION_REQUIRED" Reattest "The device has to attest again.";
    DeviceSuspended "DEVICE_SUSPENDED" ContactSupport "The device is suspended.";
    IllegalStateTransition "ILLEGAL_STATE_TRANSITION" None "The resource is not in a state for this.";
    PostureBelowPolicy "POSTURE_BELOW_POLICY" Reattest "The device's software is older than the policy allows.";

    DeviceRevoked "DEVICE_REVOKED" Reregister "The device was revoked.";
    DeviceKeyBanned "DEVICE_KEY_BANNED" Reregister "The device key was revoked and does not come back.";
    SubjectRevoked "SUBJECT_REVOKED" Reauthenticate "Everything of this subject issued until now was revoked.";
    AppDisabled "APP_DISABLED" ContactSupport "The app is not configured or not enabled.";
    ScopeNotAllowed "SCOPE_NOT_ALLOWED" None "A scope is not allowed here.";
    CallerNotAllowed "CALLER_NOT_ALLOWED" None "The caller's role may not call this.";
    TwoPersonRequired "TWO_PERSON_REQUIRED" None "Another caller than the one who proposed this has to confirm it.";
    AttestationChainUntrusted "ATTESTATION_CHAIN_UNTRUSTED" Reregister "The certificate chain does not lead to a trusted root by genuine steps.";
    AttestationCertRevoked "ATTESTATION_CERT_REVOKED" ContactSupport "A certificate of the chain is on the revocation status list.";
    AttestationAppMismatch "ATTESTATION_APP_MISMATCH" ContactSupport "The evidence is for another app.";
    AttestationChallengeMismatch "ATTESTATION_CHALLENGE_MISMATCH" Reregister "The evidence is not for this challenge.";
    AttestationEnvironmentMismatch "ATTESTATION_ENVIRONMENT_MISMATCH" ContactSupport "The evidence is from another App Attest environment.";
    AttestationKeyRejected "ATTESTATION_KEY_REJECTED" Reregister "The attested key cannot serve as a device key.";
    BootStateRejected "BOOT_STATE_REJECTED" ContactSupport "The device did not boot a verified, locked system.";
    SecurityLevelTooLow "SECURITY_LEVEL_TOO_LOW" ContactSupport "The key is not held by hardware of the wanted level.";
    TrustLevelTooLow "TRUST_LEVEL_TOO_LOW" Reattest "The device's trust level is below the one required.";

    DeviceExists "DEVICE_EXISTS" None "The device key is already registered otherwise.";
    ChallengeAlreadyUsed "CHALLENGE_ALREADY_USED" Reregister "The challenge was used before.";
    ChallengeInvalid "CHALLENGE_INVALID" Reregister "The challenge is not one of ours for this purpose, app and subject, or has expired.";
    RequestIdReused "REQUEST_ID_REUSED" None "The request id was used for another request.";
    ResourceNotFound "RESOURCE_NOT_FOUND" None "There is no such resource.";
    Conflict "CONFLICT" Retry "Another change came in between.";

    RateLimitedSubject "RATE_LIMITED_SUBJECT" Retry "The subject does this more often than it may.";
    RateLimitedDevice "RATE_LIMITED_DEVICE" Retry "The device does this more often than it may.";
    RateLimitedIp "RATE_LIMITED_IP" Retry "More requests come from this network than may.";
    RateLimitedCaller "RATE_LIMITED_CALLER" Retry "The calling service asks more often than it may.";
    RateLimitedAttestationKey "RATE_LIMITED_ATTESTATION_KEY" Retry "More devices than usual register under one attestation key.";
    SessionLimit "SESSION_LIMIT" None "The subject or device has as many sessions as it may.";
    DeviceLimit "DEVICE_LIMIT" None "The subject has as many devices as it may.";
    ConsentLimit "CONSENT_LIMIT" None "The subject has as many revoked consents as can be kept.";

    StateStoreUnavailable "STATE_STORE_UNAVAILABLE" Retry "The state store cannot be reached.";
    RevocationNotDurable "REVOCATION_NOT_DURABLE" Retry "The revocation is applied but not yet on as many replicas as wanted.";
    TrustListStale "TRUST_LIST_STALE" Retry "The attestation status list is too old to trust.";
    Overloaded "OVERLOADED" Retry "The service has more to do than it can.";
    Internal "INTERNAL" Retry "Something went wrong on our side.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_unique_and_upper_snake_case() {
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for word in words {
            assert!(
                word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'),
                "{word}"
            );
        }
    }
}
