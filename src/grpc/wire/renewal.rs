//! ReattestDevice and RotateDeviceKey.

use super::fields::Fields;
use super::parse::evidence;
use super::render::{appraisal, device, grant};
use crate::attestation::android::Chain;
use crate::attestation::apple::assertion::ASSERTION_BYTES_MAX;
use crate::attestation::client_data::CLIENT_DATA_BYTES_MAX;
use crate::flow::reattest_device::{ReattestDevice, Reattested};
use crate::flow::rotate_device_key::{RotateDeviceKey, Voucher};
use crate::flow::{Engine, Failure, KeyRotation, Renewed};
use crate::grpc::proto;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::session::Actor;

pub(crate) fn reattest_device(
    sent: proto::ReattestDeviceRequest,
    by: Actor,
) -> Result<ReattestDevice, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let challenge = fields.challenge(sent.challenge);
    let kind = fields.evidence(sent.evidence);
    let rotation = rotation(&mut fields, sent.rotation);
    let all = (|| Some((device?, challenge?, kind?, rotation?)))();
    let (device, challenge, kind, rotation) = fields.finish(all)?;
    Ok(ReattestDevice {
        device,
        challenge,
        evidence: evidence(kind)?,
        rotation,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn rotate_device_key(
    sent: proto::RotateDeviceKeyRequest,
    by: Actor,
) -> Result<RotateDeviceKey, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let challenge = fields.challenge(sent.challenge);
    let voucher = fields.take("voucher", sent.voucher, "one kind of voucher");
    let rotation = rotation(&mut fields, sent.rotation);
    let all = (|| Some((device?, challenge?, voucher?, rotation?)))();
    let (device, challenge, sent, rotation) = fields.finish(all)?;
    Ok(RotateDeviceKey {
        device,
        challenge,
        voucher: vouching(sent)?,
        rotation,
        by,
    })
}

pub(super) fn vouching(
    sent: proto::rotate_device_key_request::Voucher,
) -> Result<Voucher, Failure> {
    use proto::rotate_device_key_request::Voucher as Sent;
    match sent {
        Sent::Android(sent) => Chain::from_der(sent.certificate_chain)
            .map(Voucher::Android)
            .map_err(|error| error.reason().into()),
        Sent::Apple(sent) => {
            let fits = sent.assertion.len() <= ASSERTION_BYTES_MAX
                && sent.client_data.len() <= CLIENT_DATA_BYTES_MAX;
            if !fits {
                return Err(Reason::EvidenceTooLarge.into());
            }
            Ok(Voucher::Apple {
                assertion: sent.assertion,
                client_data: sent.client_data,
            })
        }
    }
}

/// The outer `None`: something about it is wrong.
fn rotation(fields: &mut Fields, sent: Option<proto::KeyRotation>) -> Option<Option<KeyRotation>> {
    let Some(sent) = sent else {
        return Some(None);
    };
    let proof = fields.token("rotation.proof", sent.proof);
    let refresh_token = if sent.refresh_token.is_empty() {
        Some(None)
    } else {
        fields
            .token("rotation.refresh_token", sent.refresh_token)
            .map(Some)
    };
    Some(Some(KeyRotation {
        proof: Secret::new(proof?),
        refresh_token: refresh_token?.map(Secret::new),
    }))
}

pub(crate) fn reattested(
    engine: &Engine,
    reattested: &Reattested,
    next_nonce: String,
) -> proto::ReattestDeviceResponse {
    let renewed = &reattested.renewed;
    let going_on = renewed.grant.as_ref();
    proto::ReattestDeviceResponse {
        device: Some(device(engine, &renewed.device)),
        appraisal: Some(appraisal(&reattested.appraisal)),
        grant: going_on.map(|going_on| grant(going_on, next_nonce.clone())),
        next_nonce,
    }
}

pub(crate) fn renewed(
    engine: &Engine,
    renewed: &Renewed,
    next_nonce: String,
) -> proto::RotateDeviceKeyResponse {
    let going_on = renewed.grant.as_ref();
    proto::RotateDeviceKeyResponse {
        device: Some(device(engine, &renewed.device)),
        grant: going_on.map(|going_on| grant(going_on, next_nonce.clone())),
        next_nonce,
    }
}
