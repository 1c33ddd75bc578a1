//! Answers: domain to proto.

use std::time::Duration;

use data_encoding::HEXLOWER;

use super::challenge::www_authenticate;
use super::posture::{platform, posture};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::attestation::{AttestedKey, Outcome};
use crate::flow::create_challenge::Challenge;
use crate::flow::get_device::Known;
use crate::flow::refresh_session::Refreshed;
use crate::flow::register_device::Registered;
use crate::flow::verify_request::{Consistency, Decision};
use crate::flow::{Appraisal, Engine, Grant, Page};
use crate::grpc::proto;
use crate::id::{DeviceId, SessionId};
use crate::policy::{Posture, TrustLevel, UserPresence};
use crate::reason::Reason;
use crate::session::{
    Device, DeviceState, RefreshOutcome, Requirements, RevocationReason, Session, SessionState,
    SuspensionReason,
};
use crate::time::Timestamp;
use crate::token::access::VerifiedClaims;

pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.as_millis().rem_euclid(1000))
        .unwrap_or(0)
        .saturating_mul(1_000_000);
    prost_types::Timestamp {
        seconds: at.as_secs(),
        nanos,
    }
}

pub(crate) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) const fn user_presence(presence: UserPresence) -> proto::UserPresence {
    match presence {
        UserPresence::None => proto::UserPresence::Unspecified,
        UserPresence::Declared => proto::UserPresence::Declared,
        UserPresence::Proved => proto::UserPresence::Proved,
    }
}

pub(super) const fn trust_level(level: TrustLevel) -> proto::TrustLevel {
    match level {
        TrustLevel::Provisional => proto::TrustLevel::Provisional,
        TrustLevel::AppAttest => proto::TrustLevel::AppAttest,
        TrustLevel::Tee => proto::TrustLevel::Tee,
        TrustLevel::StrongBox => proto::TrustLevel::Strongbox,
    }
}

fn index(index: Option<usize>) -> Option<u32> {
    index.and_then(|index| u32::try_from(index).ok())
}

pub(crate) fn challenge(
    challenge: Challenge,
    next_nonce: String,
) -> proto::CreateChallengeResponse {
    proto::CreateChallengeResponse {
        challenge: challenge.bytes,
        expire_time: Some(timestamp(challenge.expires_at)),
        expires_in: Some(duration(challenge.expires_in)),
        next_nonce,
    }
}

pub(crate) fn appraisal(appraisal: &Appraisal) -> proto::Appraisal {
    let checks = appraisal
        .checks
        .as_slice()
        .iter()
        .map(|check| proto::Check {
            name: check.name.to_owned(),
            outcome: match check.outcome {
                Outcome::Passed => proto::CheckOutcome::Passed,
                Outcome::Failed(_) => proto::CheckOutcome::Failed,
                Outcome::Monitored(_) => proto::CheckOutcome::Monitored,
                Outcome::NotChecked => proto::CheckOutcome::NotChecked,
            }
            .into(),
            seen: check.seen.clone(),
            wanted: check.wanted.clone(),
            certificate_index: index(check.certificate_index),
            reason: match check.outcome {
                Outcome::Failed(reason) | Outcome::Monitored(reason) => reason.as_str().to_owned(),
                Outcome::Passed | Outcome::NotChecked => String::new(),
            },
        });
    let rejection = appraisal.verdict.as_ref().err();
    let accepted = appraisal.verdict.as_ref().ok();
    let seen = appraisal.facts.as_ref().map(Posture::of);
    let level = accepted.map(|accepted| trust_level(accepted.assurance.trust_level()));
    proto::Appraisal {
        accepted: accepted.is_some(),
        reason: rejection.map_or(String::new(), |rejection| rejection.reason.to_string()),
        certificate_index: rejection.and_then(|rejection| index(rejection.certificate_index)),
        checks: checks.collect(),
        platform: seen
            .as_ref()
            .map_or(proto::Platform::Unspecified, platform)
            .into(),
        trust_level: level.unwrap_or(proto::TrustLevel::Unspecified).into(),
        key_thumbprint: match &appraisal.key {
            Some(AttestedKey::P256(key)) => key.thumbprint().to_string(),
            Some(AttestedKey::Other(_)) | None => String::new(),
        },
        posture: seen.as_ref().map(posture),
    }
}

pub(crate) fn device(engine: &Engine, device: &Device) -> proto::Device {
    use proto::RevocationReason as Why;
    use proto::SuspensionReason as Hold;
    let (state, suspended, revoked) = match device.state {
        DeviceState::Active => (proto::DeviceState::Active, None, None),
        DeviceState::Suspended { at, why } => {
            (proto::DeviceState::Suspended, Some((at, why)), None)
        }
        DeviceState::Revoked { at, why } => (proto::DeviceState::Revoked, None, Some((at, why))),
    };
    let hold = suspended.map_or(Hold::Unspecified, |(_, why)| match why {
        SuspensionReason::Mislaid => Hold::Mislaid,
        SuspensionReason::Investigation => Hold::Investigation,
        SuspensionReason::Administrative => Hold::Administrative,
        SuspensionReason::Reappraisal => Hold::Reappraisal,
        SuspensionReason::Risk => Hold::Risk,
    });
    let id = |id: Option<DeviceId>| id.map_or_else(String::new, |id| id.to_string());
    let why = revoked.map_or(Why::Unspecified, |(_, why)| match why {
        RevocationReason::Lost => Why::Lost,
        RevocationReason::Stolen => Why::Stolen,
        RevocationReason::Compromised => Why::Compromised,
        RevocationReason::UserRequest => Why::UserRequest,
        RevocationReason::Administrative => Why::Administrative,
        RevocationReason::Replaced => Why::Replaced,
        RevocationReason::Reappraisal => Why::Reappraisal,
    });
    proto::Device {
        device_id: device.id.to_string(),
        app_id: device.app.to_string(),
        subject: device.subject.expose().to_owned(),
        platform: platform(&device.posture).into(),
        state: state.into(),
        trust_level: trust_level(device.trust_level).into(),
        key_thumbprint: device.key.thumbprint().to_string(),
        session_key_thumbprint: device.session_key.to_string(),
        create_time: Some(timestamp(device.registered_at)),
        attest_time: Some(timestamp(device.attested_at)),
        revoke_time: revoked.map(|(at, _)| timestamp(at)),
        revocation_reason: why.into(),
        posture: Some(posture(&device.posture)),
        suspend_time: suspended.map(|(at, _)| timestamp(at)),
        suspension_reason: hold.into(),
        doubt: device.doubt.map_or("", Reason::as_str).to_owned(),
        predecessor_device_id: id(device.lineage.predecessor),
        successor_device_id: id(device.lineage.successor),
        lineage_time: Some(timestamp(device.lineage.since)),
        attestation_serials: device.chain_serials.clone(),
        reattest_by_time: engine.reattest_by(device).map(timestamp),
        receipt: None,
        key_jwk: device.key.jwk(),
        presence_key_thumbprint: device
            .presence
            .map_or_else(String::new, |presence| presence.key.to_string()),
        presence_key_shows: user_presence(
            device
                .presence
                .map(|presence| presence.shows)
                .unwrap_or_default(),
        )
        .into(),
    }
}

pub(super) fn receipt_summary(receipt: &ReceiptRecord) -> proto::ReceiptSummary {
    proto::ReceiptSummary {
        risk_metric: receipt.risk_metric,
        create_time: Some(timestamp(receipt.created_at)),
        refresh_time: receipt.due_at().map(timestamp),
    }
}

pub(crate) fn known(engine: &Engine, known: &Known) -> proto::GetDeviceResponse {
    let receipt = known.receipt.as_ref().map(receipt_summary);
    proto::GetDeviceResponse {
        device: Some(proto::Device {
            receipt,
            ..device(engine, &known.device)
        }),
    }
}

pub(crate) fn registered(
    engine: &Engine,
    registered: &Registered,
    next_nonce: String,
) -> proto::RegisterDeviceResponse {
    proto::RegisterDeviceResponse {
        device: Some(device(engine, &registered.device)),
        appraisal: Some(appraisal(&registered.appraisal)),
        next_nonce,
    }
}

pub(super) fn session(session: &Session) -> proto::Session {
    let consent = session.consent.as_ref();
    let ended = match session.state {
        SessionState::Live => None,
        SessionState::Ended { at, why } => Some((at, why)),
    };
    proto::Session {
        session_id: session.id.to_string(),
        device_id: session.device.to_string(),
        app_id: session.app.to_string(),
        scopes: session.scopes.iter().cloned().collect(),
        audience: session.audience.clone(),
        acr: session.acr.clone(),
        auth_time: Some(timestamp(session.auth_time)),
        create_time: Some(timestamp(session.opened_at)),
        refresh_time: Some(timestamp(session.rotated_at)),
        idle_expire_time: Some(timestamp(session.idle_expires_at)),
        expire_time: Some(timestamp(session.expires_at)),
        end_time: ended.map(|(at, _)| timestamp(at)),
        end_reason: ended.map_or("", |(_, why)| why.as_str()).to_owned(),
        step_up_since_time: session.step_up.map(|step_up| timestamp(step_up.since)),
        step_up_reason: session
            .step_up
            .map_or("", |step_up| step_up.why.as_str())
            .to_owned(),
        rotate_time: session.cut.map(|cut| timestamp(cut.at)),
        consent_id: consent.map_or("", |consent| consent.id.as_str()).to_owned(),
    }
}

pub(crate) fn sessions(page: &Page<Session, SessionId>) -> proto::ListSessionsResponse {
    proto::ListSessionsResponse {
        sessions: page.entries.iter().map(session).collect(),
        next_page_token: page.next.map_or(String::new(), |id| id.to_string()),
    }
}

pub(crate) fn grant(grant: &Grant, next_nonce: String) -> proto::Grant {
    proto::Grant {
        session: Some(session(&grant.session)),
        access_token: grant.access_token.expose().clone(),
        access_expires_in: Some(duration(grant.access_expires_in)),
        access_expire_time: Some(timestamp(grant.access_expires_at)),
        refresh_token: grant.refresh_token.expose().clone(),
        refresh_expire_time: Some(timestamp(grant.session.idle_expires_at)),
        idle_for: Some(duration(grant.idle_for)),
        next_nonce,
        scopes: grant.scopes.iter().cloned().collect(),
        trust_level: trust_level(grant.trust_level).into(),
        reattest_by_time: grant.reattest_by.map(timestamp),
    }
}

pub(crate) fn refreshed(
    refreshed: &Refreshed,
    next_nonce: String,
) -> proto::RefreshSessionResponse {
    let outcome = match refreshed.outcome {
        RefreshOutcome::Rotated => proto::RefreshOutcome::Rotated,
        RefreshOutcome::Retry => proto::RefreshOutcome::Retry,
        RefreshOutcome::Healed => proto::RefreshOutcome::Healed,
    };
    proto::RefreshSessionResponse {
        grant: Some(grant(&refreshed.grant, next_nonce)),
        outcome: outcome.into(),
    }
}

pub(crate) fn decision(
    decision: &Decision,
    required: &Requirements,
    next_nonce: String,
    now: Timestamp,
) -> proto::Decision {
    let as_of = Some(timestamp(decision.as_of));
    let verdict = match &decision.verdict {
        Ok(verified) => verified,
        Err(reason) => {
            return proto::Decision {
                allow: false,
                reason: reason.to_string(),
                action: reason.action().as_str().to_owned(),
                www_authenticate: www_authenticate(*reason, required),
                as_of,
                next_nonce,
                ..proto::Decision::default()
            };
        }
    };
    let claims = verdict.claims();
    let by = match decision.by {
        Consistency::Fresh => proto::Consistency::Fresh,
        Consistency::Local => proto::Consistency::Local,
    };
    proto::Decision {
        allow: true,
        reason: String::new(),
        action: String::new(),
        subject: claims.subject.expose().to_owned(),
        session_id: claims.session.to_string(),
        device_id: claims.device.to_string(),
        app_id: claims.app.to_string(),
        scopes: claims.scopes.iter().cloned().collect(),
        roles: claims.roles.clone(),
        acr: claims.acr.clone().unwrap_or_default(),
        auth_time: claims.authenticated_at.map(timestamp),
        trust_level: trust_level(claims.trust_level).into(),
        expire_time: Some(timestamp(claims.expires_at)),
        as_of,
        next_nonce,
        www_authenticate: String::new(),
        user_presence: user_presence(claims.user_presence).into(),
        cache_for: Some(duration(decision.cache_for(now))),
        consistency: by.into(),
    }
}

pub(crate) fn introspection(verified: Option<&VerifiedClaims>) -> proto::IntrospectTokenResponse {
    let Some(verified) = verified else {
        return proto::IntrospectTokenResponse::default();
    };
    let claims = verified.claims();
    let scopes: Vec<&str> = claims.scopes.iter().map(String::as_str).collect();
    proto::IntrospectTokenResponse {
        active: true,
        scope: scopes.join(" "),
        client_id: claims.app.to_string(),
        token_type: "DPoP".to_owned(),
        exp: claims.expires_at.as_secs(),
        iat: claims.issued_at.as_secs(),
        sub: claims.subject.expose().to_owned(),
        aud: claims.audience.clone(),
        iss: claims.issuer.clone(),
        jti: HEXLOWER.encode(&claims.token_id),
        sid: claims.session.to_string(),
        did: claims.device.to_string(),
        cnf_jkt: claims.key.to_string(),
        acr: claims.acr.clone().unwrap_or_default(),
        auth_time: claims.authenticated_at.map_or(0, Timestamp::as_secs),
        user_presence: user_presence(claims.user_presence).into(),
    }
}
