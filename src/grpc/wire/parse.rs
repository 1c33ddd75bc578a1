//! Requests: proto to domain, every field bounded.

use std::str::FromStr;

use super::fields::{Fields, METHOD_BYTES_MAX, METHODS_MAX, URI_BYTES_MAX, WORDS_MAX};
use crate::attestation::client_data::CLIENT_DATA_BYTES_MAX;
use crate::attestation::{android, apple};
use crate::flow::appraise_evidence::AppraiseEvidence;
use crate::flow::create_challenge::CreateChallenge;
use crate::flow::end_session::EndSession;
use crate::flow::issue_session::IssueSession;
use crate::flow::refresh_session::RefreshSession;
use crate::flow::register_device::RegisterDevice;
use crate::flow::verify_request::{Consistency, VerifyRequest};
use crate::flow::{EvidenceInput, Failure, PageRequest};
use crate::grpc::proto;
use crate::id::{DeviceId, Subject};
use crate::policy::TrustLevel;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::{Actor, Requirements};
use crate::token::challenge::ChallengePurpose;

/// Evidence: its own bounds have their own reasons.
pub(super) fn evidence(kind: proto::evidence::Kind) -> Result<EvidenceInput, Failure> {
    match kind {
        proto::evidence::Kind::Android(sent) => {
            let chain = android::Chain::from_der(sent.certificate_chain);
            chain
                .map(EvidenceInput::Android)
                .map_err(|error| error.reason().into())
        }
        proto::evidence::Kind::Apple(sent) => {
            if sent.client_data.len() > CLIENT_DATA_BYTES_MAX {
                return Err(Reason::EvidenceTooLarge.into());
            }
            let attestation = apple::Attestation::new(sent.attestation_object, sent.key_id)
                .map_err(|error| Failure::from(error.reason()))?;
            Ok(EvidenceInput::Apple {
                attestation,
                client_data: sent.client_data,
            })
        }
    }
}

pub(crate) fn create_challenge(
    sent: proto::CreateChallengeRequest,
) -> Result<CreateChallenge, Failure> {
    let mut fields = Fields::default();
    let app = fields.app(&sent.app_id);
    let purpose = match sent.purpose() {
        proto::ChallengePurpose::Register => Some(ChallengePurpose::Register),
        proto::ChallengePurpose::Reattest => Some(ChallengePurpose::Reattest),
        proto::ChallengePurpose::Rotate => Some(ChallengePurpose::Rotate),
        proto::ChallengePurpose::Presence => Some(ChallengePurpose::Presence),
        proto::ChallengePurpose::Unspecified => None,
    };
    let purpose = fields.take("purpose", purpose, "one of the purposes");
    let subject = if sent.subject.is_empty() {
        Some(None)
    } else {
        fields.subject(&sent.subject).map(Some)
    };
    fields.client(sent.client);
    let request = (|| {
        Some(CreateChallenge {
            app: app?,
            purpose: purpose?,
            subject: subject?,
        })
    })();
    fields.finish(request)
}

pub(crate) fn register_device(
    sent: proto::RegisterDeviceRequest,
    by: Actor,
) -> Result<RegisterDevice, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let app = fields.app(&sent.app_id);
    let challenge = fields.challenge(sent.challenge);
    let kind = fields.evidence(sent.evidence);
    let client = fields.client(sent.client);
    let id = fields.request_id(&sent.request_id);
    let all = (|| Some((subject?, app?, challenge?, kind?, id?)))();
    let (subject, app, challenge, kind, request_id) = fields.finish(all)?;
    Ok(RegisterDevice {
        subject,
        app,
        challenge,
        evidence: evidence(kind)?,
        validate_only: sent.validate_only,
        client,
        by,
        request_id,
    })
}

pub(crate) fn appraise_evidence(
    sent: proto::AppraiseEvidenceRequest,
) -> Result<AppraiseEvidence, Failure> {
    let mut fields = Fields::default();
    let app = fields.app(&sent.app_id);
    let challenge = fields.challenge(sent.challenge);
    let kind = fields.evidence(sent.evidence);
    let (app, challenge, kind) = fields.finish((|| Some((app?, challenge?, kind?)))())?;
    Ok(AppraiseEvidence {
        app,
        evidence: evidence(kind)?,
        challenge,
    })
}

pub(crate) fn get_device(sent: &proto::GetDeviceRequest) -> Result<DeviceId, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    fields.finish(device)
}

/// Subject and page of a listing.
pub(crate) fn listing<Id: FromStr>(
    subject: &str,
    page_of: (i32, &str),
) -> Result<(Subject, PageRequest<Id>), Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(subject);
    let page = page(&mut fields, page_of);
    fields.finish((|| Some((subject?, page?)))())
}

/// A page, by its size and token.
pub(super) fn page<Id: FromStr>(
    fields: &mut Fields,
    (size, token): (i32, &str),
) -> Option<PageRequest<Id>> {
    let after = match token {
        "" => Some(None),
        token => fields
            .parse("page_token", token, "the next_page_token of an answer")
            .map(Some),
    };
    match PageRequest::parse(size, after.flatten()) {
        Ok(page) => Some(page),
        Err(failure) => {
            fields.extend(failure.violations);
            None
        }
    }
}

pub(crate) fn issue_session(
    sent: proto::IssueSessionRequest,
    by: Actor,
) -> Result<IssueSession, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let device = fields.device(&sent.device_id);
    let proof = fields.token("proof", sent.proof).map(Secret::new);
    let scopes = fields.scopes("scopes", sent.scopes);
    if scopes.is_empty() {
        fields.wrong("scopes", "at least one scope");
    }
    let audience = fields.optional_word("audience", sent.audience);
    let roles = fields.words("roles", sent.roles, WORDS_MAX);
    let acr = fields.context_class("acr", sent.acr);
    let amr = fields.words("amr", sent.amr, METHODS_MAX);
    let auth_time = fields.timestamp("auth_time", sent.auth_time);
    let client = fields.client(sent.client);
    let request_id = fields.request_id(&sent.request_id);
    let consent = match sent.consent_id.as_str() {
        "" => Some(None),
        id => fields.consent(id).map(Some),
    };
    let request = (|| {
        let (subject, device, proof) = (subject?, device?, proof?);
        Some(IssueSession {
            subject,
            device,
            proof,
            scopes,
            audience,
            roles,
            acr,
            amr,
            auth_time,
            client,
            consent: consent?,
            by,
            request_id: request_id?,
        })
    })();
    fields.finish(request)
}

pub(crate) fn refresh_session(
    sent: proto::RefreshSessionRequest,
    by: Actor,
) -> Result<RefreshSession, Failure> {
    let mut fields = Fields::default();
    let token = fields
        .token("refresh_token", sent.refresh_token)
        .map(Secret::new);
    let proof = fields.token("proof", sent.proof).map(Secret::new);
    let scopes = fields.scopes("scopes", sent.scopes);
    let client = fields.client(sent.client);
    let request = (|| {
        Some(RefreshSession {
            refresh_token: token?,
            proof: proof?,
            scopes,
            client,
            by,
        })
    })();
    fields.finish(request)
}

pub(crate) fn end_session(sent: proto::EndSessionRequest) -> Result<EndSession, Failure> {
    use proto::end_session_request::Session;
    let mut fields = Fields::default();
    let request = match sent.session {
        None => fields.take("session", None, "refresh_token or session_id"),
        Some(Session::RefreshToken(token)) => fields
            .token("refresh_token", token)
            .map(|token| EndSession::Token(Secret::new(token))),
        Some(Session::SessionId(id)) => fields.session(&id).map(EndSession::Id),
    };
    fields.finish(request)
}

pub(crate) fn verify_request(
    sent: proto::VerifyRequestRequest,
    by: Actor,
) -> Result<VerifyRequest, Failure> {
    let mut fields = Fields::default();
    let access_token = fields
        .token("access_token", sent.access_token)
        .map(Secret::new);
    let proof = fields.token("proof", sent.proof).map(Secret::new);
    let method = (1..=METHOD_BYTES_MAX)
        .contains(&sent.method.len())
        .then_some(sent.method);
    let method = fields.take("method", method, "1 to 32 bytes");
    let uri = (1..=URI_BYTES_MAX)
        .contains(&sent.uri.len())
        .then_some(sent.uri);
    let uri = fields.take("uri", uri, "1 to 2048 bytes");
    let body_sha256 = match sent.body_sha256.len() {
        0 => Some(None),
        _ => {
            let digest = sent.body_sha256.try_into().ok().map(Some);
            fields.take("body_sha256", digest, "32 bytes")
        }
    };
    let required = requirements(&mut fields, sent.required.unwrap_or_default());
    let consistency = match proto::Consistency::try_from(sent.consistency) {
        Ok(proto::Consistency::Unspecified | proto::Consistency::Fresh) => Some(Consistency::Fresh),
        Ok(proto::Consistency::Local) => Some(Consistency::Local),
        Err(_) => fields.take("consistency", None, "a consistency of this version"),
    };
    let request = (|| {
        Some(VerifyRequest {
            access_token: access_token?,
            proof: proof?,
            method: method?,
            uri: uri?,
            body_sha256: body_sha256?,
            required,
            by,
            consistency: consistency?,
        })
    })();
    fields.finish(request)
}

fn requirements(fields: &mut Fields, sent: proto::Requirements) -> Requirements {
    use proto::TrustLevel as Sent;
    let trust_level_min = match Sent::try_from(sent.min_trust_level) {
        Ok(Sent::Unspecified) => None,
        Ok(Sent::Provisional) => Some(TrustLevel::Provisional),
        Ok(Sent::AppAttest) => Some(TrustLevel::AppAttest),
        Ok(Sent::Tee) => Some(TrustLevel::Tee),
        Ok(Sent::Strongbox) => Some(TrustLevel::StrongBox),
        // A level this version does not know must not become "no requirement".
        Err(_) => {
            fields.wrong("required.min_trust_level", "a trust level of this version");
            None
        }
    };
    Requirements {
        scopes: fields.scopes("required.scopes", sent.scopes),
        acr_values: fields.context_classes("required.acr_values", sent.acr_values),
        max_age: fields.duration("required.max_age", sent.max_age),
        trust_level_min,
        audience: fields.optional_word("required.audience", sent.audience),
    }
}

pub(crate) fn introspect_token(
    sent: proto::IntrospectTokenRequest,
) -> Result<Secret<String>, Failure> {
    let mut fields = Fields::default();
    let token = fields.token("token", sent.token).map(Secret::new);
    fields.finish(token)
}
