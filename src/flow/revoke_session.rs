//! RevokeSession: the session is out with the answer; the device and its other sessions stay.

use super::withdrawal::{Order, withdraw};
use super::{Engine, Failure, Receipt};
use crate::id::SessionId;
use crate::session::{Actor, EndReason, EventKind, RevocationReason, Session, end};

/// The request.
#[derive(Debug, Clone)]
pub struct RevokeSession {
    /// Which.
    pub session: SessionId,
    /// Why.
    pub why: RevocationReason,
    /// Answer as if, change nothing.
    pub validate_only: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct RevokedSession {
    /// The session as it is now.
    pub session: Session,
    /// What is true of the revocation.
    pub receipt: Receipt,
}

/// Revokes a session. Two trips to the store. Idempotent: one that is over stays as it first ended.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`; `REVOCATION_NOT_DURABLE`: applied, but on fewer replicas than configured,
/// or here alone while the store is away; `CONFLICT`, `STATE_STORE_UNAVAILABLE`.
pub async fn run(engine: &Engine, request: RevokeSession) -> Result<RevokedSession, Failure> {
    let why = EndReason::Revoked(request.why);
    let order = Order {
        kind: EventKind::SessionEnded,
        why: why.as_str(),
        validate_only: request.validate_only,
        by: &request.by,
        durability: engine.revocation_durability,
    };
    let decide = |session: &Session, now| Ok(end(session, why, now));
    let (session, receipt) = withdraw(engine, request.session, &order, decide).await?;
    Ok(RevokedSession { session, receipt })
}
