//! Looking at sessions, revoking one and revoking all of a subject, in both directions; what
//! revocations share.

use data_encoding::HEXLOWER;

use super::fields::Fields;
use super::render::{duration, session, timestamp};
use super::watching::watchers;
use crate::flow::get_session::Found;
use crate::flow::revoke_session::{RevokeSession, RevokedSession};
use crate::flow::revoke_subject::RevokeSubject;
use crate::flow::{Failure, Receipt};
use crate::grpc::proto;
use crate::id::SessionId;
use crate::session::{Actor, RevocationReason};

/// Why a person revokes. The service alone gives the other reasons.
pub(super) fn revocation_reason(
    fields: &mut Fields,
    sent: proto::RevocationReason,
) -> Option<RevocationReason> {
    use proto::RevocationReason as Sent;
    let why = match sent {
        Sent::Lost => Some(RevocationReason::Lost),
        Sent::Stolen => Some(RevocationReason::Stolen),
        Sent::Compromised => Some(RevocationReason::Compromised),
        Sent::UserRequest => Some(RevocationReason::UserRequest),
        Sent::Administrative => Some(RevocationReason::Administrative),
        Sent::Unspecified | Sent::Replaced | Sent::Reappraisal => None,
    };
    fields.take("reason", why, "one of the reasons a person can give")
}

pub(super) fn receipt(receipt: &Receipt) -> proto::RevocationReceipt {
    proto::RevocationReceipt {
        revision: receipt
            .revision
            .map_or(String::new(), |id| HEXLOWER.encode(&id.0)),
        effective_time: Some(timestamp(receipt.effective_at)),
        replicas_acked: receipt.replicas_acked,
        replicas_wanted: receipt.replicas_wanted,
        max_residual_access: Some(duration(receipt.residual_access_for)),
        watchers: watchers(&receipt.watchers, receipt.as_of),
    }
}

pub(crate) fn get_session(sent: &proto::GetSessionRequest) -> Result<SessionId, Failure> {
    let mut fields = Fields::default();
    let session = fields.session(&sent.session_id);
    fields.finish(session)
}

pub(crate) fn found_session(found: &Found) -> proto::GetSessionResponse {
    let refusal = found.standing.err();
    proto::GetSessionResponse {
        session: Some(session(&found.session)),
        refusal: refusal.map_or(String::new(), |refusal| refusal.0.to_string()),
    }
}

pub(crate) fn revoke_session(
    sent: &proto::RevokeSessionRequest,
    by: Actor,
) -> Result<RevokeSession, Failure> {
    let mut fields = Fields::default();
    let session = fields.session(&sent.session_id);
    let why = revocation_reason(&mut fields, sent.reason());
    let (session, why) = fields.finish(session.zip(why))?;
    Ok(RevokeSession {
        session,
        why,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn revoked_session(revoked: &RevokedSession) -> proto::RevokeSessionResponse {
    proto::RevokeSessionResponse {
        session: Some(session(&revoked.session)),
        receipt: Some(receipt(&revoked.receipt)),
    }
}

pub(crate) fn revoke_subject(
    sent: &proto::RevokeSubjectRequest,
    by: Actor,
) -> Result<RevokeSubject, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let why = revocation_reason(&mut fields, sent.reason());
    let (subject, why) = fields.finish(subject.zip(why))?;
    Ok(RevokeSubject {
        subject,
        why,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn revoked_subject(told: &Receipt) -> proto::RevokeSubjectResponse {
    proto::RevokeSubjectResponse {
        receipt: Some(receipt(told)),
    }
}
