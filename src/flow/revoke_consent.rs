//! RevokeConsent: every session of a subject that was opened under a consent is dead with the answer.

use super::revoke_subject::{Order, cut};
use super::{Engine, Failure, Receipt};
use crate::id::{ConsentId, Subject};
use crate::session::{Actor, RevocationReason, revoke_consent};

/// The request.
#[derive(Debug, Clone)]
pub struct RevokeConsent {
    /// Whose.
    pub subject: Subject,
    /// Which consent.
    pub consent: ConsentId,
    /// Why.
    pub why: RevocationReason,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// Cuts every session that was opened under a consent before. Trips to the store, what is told and safety
/// of sending it again as for RevokeSubject.
///
/// # Errors
/// `CONSENT_LIMIT`: nothing was revoked; `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas than
/// configured; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RevokeConsent) -> Result<Receipt, Failure> {
    let order = Order {
        subject: &request.subject,
        consent: Some(&request.consent),
        why: request.why,
        validate_only: request.validate_only,
        by: &request.by,
    };
    cut(engine, &order, |subject, now| {
        revoke_consent(subject, &request.consent, now)
    })
    .await
}
