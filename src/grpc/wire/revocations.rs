//! Revoking a consent, cutting all sessions of an app or of every app, and looking first, in both
//! directions.

use super::fields::Fields;
use super::render::timestamp;
use super::revocation::{receipt, revocation_reason};
use crate::flow::preview_revocation::{Preview, Scope};
use crate::flow::revoke_consent::RevokeConsent;
use crate::flow::set_not_before::{Cut, NotBefore, SetNotBefore};
use crate::flow::{Failure, Receipt};
use crate::grpc::proto;
use crate::id::BUCKETS;
use crate::secret::Secret;
use crate::session::{Actor, Reach};

pub(crate) fn revoke_consent(
    sent: &proto::RevokeConsentRequest,
    by: Actor,
) -> Result<RevokeConsent, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let consent = fields.consent(&sent.consent_id);
    let why = revocation_reason(&mut fields, sent.reason());
    let all = (|| Some((subject?, consent?, why?)))();
    let (subject, consent, why) = fields.finish(all)?;
    Ok(RevokeConsent {
        subject,
        consent,
        why,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn revoked_consent(told: &Receipt) -> proto::RevokeConsentResponse {
    proto::RevokeConsentResponse {
        receipt: Some(receipt(told)),
    }
}

pub(crate) fn set_not_before(
    sent: proto::SetNotBeforeRequest,
    by: Actor,
) -> Result<SetNotBefore, Failure> {
    use proto::set_not_before_request::Target;
    let mut fields = Fields::default();
    let reach = match sent.target {
        None => fields.take("target", None, "app_id or everything"),
        Some(Target::AppId(app)) => fields.app(&app).map(Reach::App),
        Some(Target::Everything(proto::Everything {})) => Some(Reach::Everything),
    };
    let not_before = fields.timestamp("not_before", sent.not_before);
    let confirm = match sent.confirm_token.is_empty() {
        true => Some(None),
        false => fields
            .token("confirm_token", sent.confirm_token)
            .map(|token| Some(Secret::new(token))),
    };
    let (reach, confirm) = fields.finish(reach.zip(confirm))?;
    Ok(SetNotBefore {
        reach,
        not_before,
        confirm,
        by,
    })
}

/// The answer; or why not, and in how many buckets it holds.
pub(crate) fn not_before(answer: NotBefore) -> Result<proto::SetNotBeforeResponse, (Failure, u16)> {
    let mut message = proto::SetNotBeforeResponse {
        buckets: BUCKETS.into(),
        ..proto::SetNotBeforeResponse::default()
    };
    match answer {
        NotBefore::Proposed {
            confirm_token,
            confirm_by,
            not_before,
        } => {
            message.confirm_token.clone_from(confirm_token.expose());
            message.confirm_by_time = Some(timestamp(confirm_by));
            message.not_before = Some(timestamp(not_before));
        }
        NotBefore::Confirmed(Cut {
            not_before,
            buckets_done,
            outcome,
        }) => {
            let told = outcome.map_err(|failure| (failure, buckets_done))?;
            message.not_before = Some(timestamp(not_before));
            message.buckets_done = buckets_done.into();
            message.receipt = Some(receipt(&told));
        }
    }
    Ok(message)
}

pub(crate) fn preview_revocation(sent: &proto::PreviewRevocationRequest) -> Result<Scope, Failure> {
    use proto::preview_revocation_request::Target;
    let mut fields = Fields::default();
    let not_before = fields.timestamp("not_before", sent.not_before);
    let wide = matches!(
        sent.target,
        Some(Target::AppId(_) | Target::Everything(_)) | None
    );
    if sent.not_before.is_some() && !wide {
        fields.wrong("not_before", "set with app_id or everything only");
    }
    let scope = match &sent.target {
        None => fields.take("target", None, "what would be revoked"),
        Some(Target::DeviceId(id)) => fields.device(id).map(Scope::Device),
        Some(Target::SessionId(id)) => fields.session(id).map(Scope::Session),
        Some(Target::Subject(subject)) => fields.subject(subject).map(Scope::Subject),
        Some(Target::Consent(of)) => {
            let subject = fields.parse(
                "consent.subject",
                &of.subject,
                "1 to 256 bytes without control characters",
            );
            let consent = fields.parse(
                "consent.consent_id",
                &of.consent_id,
                "1 to 64 visible ASCII characters",
            );
            let both = subject.zip(consent);
            both.map(|(subject, consent)| Scope::Consent(subject, consent))
        }
        Some(Target::AppId(app)) => fields
            .app(app)
            .map(|app| Scope::Fleet(Reach::App(app), not_before)),
        Some(Target::Everything(proto::Everything {})) => {
            Some(Scope::Fleet(Reach::Everything, not_before))
        }
    };
    fields.finish(scope)
}

pub(crate) fn preview(preview: &Preview) -> proto::PreviewRevocationResponse {
    proto::PreviewRevocationResponse {
        devices: preview.devices,
        sessions: preview.sessions,
        sample_session_ids: preview.sample.iter().map(ToString::to_string).collect(),
        exact: preview.exact,
    }
}
