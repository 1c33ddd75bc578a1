//! ElevateSession, RotateSession and EnrolPresenceKey.

use super::fields::{Fields, METHODS_MAX};
use super::render::{device, duration, grant, session, timestamp, trust_level, user_presence};
use super::renewal::vouching;
use super::revocation::receipt;
use crate::flow::elevate_session::{ElevateSession, Elevated};
use crate::flow::enrol_presence_key::EnrolPresenceKey;
use crate::flow::rotate_session::{RotateSession, RotatedSession};
use crate::flow::{Engine, Failure, SessionName};
use crate::grpc::proto;
use crate::secret::Secret;
use crate::session::{Actor, Device};

fn named(
    fields: &mut Fields,
    (subject, device, session): (&str, &str, &str),
) -> Option<SessionName> {
    let subject = fields.subject(subject);
    let device = fields.device(device);
    let session = fields.session(session);
    Some(SessionName {
        subject: subject?,
        device: device?,
        session: session?,
    })
}

fn secret(fields: &mut Fields, field: &str, text: String) -> Option<Secret<String>> {
    fields.token(field, text).map(Secret::new)
}

pub(crate) fn elevate_session(
    sent: proto::ElevateSessionRequest,
    by: Actor,
) -> Result<ElevateSession, Failure> {
    let mut fields = Fields::default();
    let name = (&*sent.subject, &*sent.device_id, &*sent.session_id);
    let name = named(&mut fields, name);
    let proof = secret(&mut fields, "proof", sent.proof);
    let presence_proof = if sent.presence_proof.is_empty() {
        Some(None)
    } else {
        secret(&mut fields, "presence_proof", sent.presence_proof).map(Some)
    };
    let acr = fields.context_class("acr", sent.acr);
    let amr = fields.words("amr", sent.amr, METHODS_MAX);
    let auth_time = fields.timestamp("auth_time", sent.auth_time);
    let scopes = fields.scopes("scopes", sent.scopes);
    let request = (|| {
        Some(ElevateSession {
            session: name?,
            proof: proof?,
            presence_proof: presence_proof?,
            acr,
            amr,
            auth_time,
            scopes,
            by,
        })
    })();
    fields.finish(request)
}

pub(crate) fn elevated(elevated: &Elevated, next_nonce: String) -> proto::ElevateSessionResponse {
    proto::ElevateSessionResponse {
        session: Some(session(&elevated.session)),
        access_token: elevated.access.token.expose().clone(),
        access_expires_in: Some(duration(elevated.access.expires_in)),
        access_expire_time: Some(timestamp(elevated.access.expires_at)),
        next_nonce,
        scopes: elevated.scopes.iter().cloned().collect(),
        trust_level: trust_level(elevated.trust_level).into(),
        user_presence: user_presence(elevated.user_presence).into(),
    }
}

pub(crate) fn rotate_session(
    sent: proto::RotateSessionRequest,
    by: Actor,
) -> Result<RotateSession, Failure> {
    let mut fields = Fields::default();
    let name = (&*sent.subject, &*sent.device_id, &*sent.session_id);
    let name = named(&mut fields, name);
    let proof = secret(&mut fields, "proof", sent.proof);
    let (session, proof) = fields.finish((|| Some((name?, proof?)))())?;
    Ok(RotateSession { session, proof, by })
}

pub(crate) fn rotated_session(
    rotated: &RotatedSession,
    next_nonce: String,
) -> proto::RotateSessionResponse {
    proto::RotateSessionResponse {
        grant: Some(grant(&rotated.grant, next_nonce)),
        receipt: Some(receipt(&rotated.receipt)),
    }
}

pub(crate) fn enrol_presence_key(
    sent: proto::EnrolPresenceKeyRequest,
    by: Actor,
) -> Result<EnrolPresenceKey, Failure> {
    use proto::enrol_presence_key_request::Voucher as Sent;
    use proto::rotate_device_key_request::Voucher;
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let challenge = fields.challenge(sent.challenge);
    let voucher = fields.take("voucher", sent.voucher, "one kind of voucher");
    let proof = secret(&mut fields, "proof", sent.proof);
    let presence_proof = secret(&mut fields, "presence_proof", sent.presence_proof);
    let all = (|| Some((device?, challenge?, voucher?, proof?, presence_proof?)))();
    let (device, challenge, voucher, proof, presence_proof) = fields.finish(all)?;
    // The same two kinds as for a device's new key.
    let voucher = match voucher {
        Sent::Android(sent) => Voucher::Android(sent),
        Sent::Apple(sent) => Voucher::Apple(sent),
    };
    Ok(EnrolPresenceKey {
        device,
        challenge,
        voucher: vouching(voucher)?,
        proof,
        presence_proof,
        by,
    })
}

pub(crate) fn enrolled(
    engine: &Engine,
    enrolled: &Device,
    next_nonce: String,
) -> proto::EnrolPresenceKeyResponse {
    proto::EnrolPresenceKeyResponse {
        device: Some(device(engine, enrolled)),
        next_nonce,
    }
}
