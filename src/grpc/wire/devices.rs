//! What on-call asks about registered devices and does with them, in both directions.

use std::collections::BTreeSet;

use super::fields::Fields;
use super::parse::page;
use super::render::{device, timestamp};
use super::revocation::{receipt, revocation_reason};
use crate::flow::batch_revoke_devices::{BatchRevokeDevices, DEVICES_MAX, Revocation};
use crate::flow::find_devices::{By, FindDevices};
use crate::flow::link_device_successor::{LinkDeviceSuccessor, Linked};
use crate::flow::list_audit_events::{AuditEvents, ListAuditEvents};
use crate::flow::resume_device::ResumeDevice;
use crate::flow::revoke_device::{RevokeDevice, Revoked};
use crate::flow::suspend_device::{SuspendDevice, Suspended};
use crate::flow::{DevicePage, Engine, Failure};
use crate::grpc::{proto, status};
use crate::id::DeviceId;
use crate::session::{Actor, Event, SuspensionReason};

pub(crate) fn revoke_device(
    sent: &proto::RevokeDeviceRequest,
    by: Actor,
) -> Result<RevokeDevice, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let why = revocation_reason(&mut fields, sent.reason());
    let (device, why) = fields.finish(device.zip(why))?;
    Ok(RevokeDevice {
        device,
        why,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn batch_revoke_devices(
    sent: &proto::BatchRevokeDevicesRequest,
    by: Actor,
) -> Result<BatchRevokeDevices, Failure> {
    let mut fields = Fields::default();
    let devices = device_ids(&mut fields, &sent.device_ids);
    let why = revocation_reason(&mut fields, sent.reason());
    let why = fields.finish(why)?;
    Ok(BatchRevokeDevices {
        devices,
        why,
        validate_only: sent.validate_only,
        by,
    })
}

fn device_ids(fields: &mut Fields, sent: &[String]) -> Vec<DeviceId> {
    if !(1..=DEVICES_MAX).contains(&sent.len()) {
        fields.wrong("device_ids", "1 to 1000 device ids");
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let ids = sent.iter().enumerate().filter_map(|(place, id)| {
        let field = format!("device_ids[{place}]");
        let id = fields.parse(&field, id, "a device id: dev_ and 36 hex digits")?;
        if !seen.insert(id) {
            fields.wrong(&field, "each id once");
        }
        Some(id)
    });
    ids.collect()
}

pub(crate) fn suspend_device(
    sent: &proto::SuspendDeviceRequest,
    by: Actor,
) -> Result<SuspendDevice, Failure> {
    use proto::SuspensionReason as Sent;
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let why = match sent.reason() {
        Sent::Mislaid => Some(SuspensionReason::Mislaid),
        Sent::Investigation => Some(SuspensionReason::Investigation),
        Sent::Administrative => Some(SuspensionReason::Administrative),
        // The service alone gives the last one.
        Sent::Unspecified | Sent::Reappraisal | Sent::Risk => None,
    };
    let why = fields.take("reason", why, "one of the reasons a person can give");
    let (device, why) = fields.finish(device.zip(why))?;
    Ok(SuspendDevice {
        device,
        why,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn resume_device(
    sent: &proto::ResumeDeviceRequest,
    by: Actor,
) -> Result<ResumeDevice, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    Ok(ResumeDevice {
        device: fields.finish(device)?,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn link_device_successor(
    sent: &proto::LinkDeviceSuccessorRequest,
    by: Actor,
) -> Result<LinkDeviceSuccessor, Failure> {
    let mut fields = Fields::default();
    let old = fields.device(&sent.device_id);
    let new = fields.parse(
        "successor_device_id",
        &sent.successor_device_id,
        "a device id: dev_ and 36 hex digits",
    );
    let (old, new) = fields.finish(old.zip(new))?;
    Ok(LinkDeviceSuccessor {
        old,
        new,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn find_devices(sent: &proto::FindDevicesRequest) -> Result<FindDevices, Failure> {
    use proto::find_devices_request::By as Sent;
    let mut fields = Fields::default();
    let by = match &sent.by {
        None => fields.take("by", None, "one of the things to find devices by"),
        Some(Sent::DeviceId(id)) => fields.device(id).map(By::Id),
        Some(Sent::KeyThumbprint(key)) => fields
            .parse(
                "key_thumbprint",
                key,
                "43 characters of base64url (RFC 7638)",
            )
            .map(By::Key),
        Some(Sent::AttestationSerial(serial)) => fields
            .parse("attestation_serial", serial, "1 to 42 hex digits")
            .map(By::Serial),
        Some(Sent::AttestationKeySha256(key)) => fields
            .parse("attestation_key_sha256", key, "64 hex digits")
            .map(By::AttestationKey),
    };
    let page = page(&mut fields, (sent.page_size, &sent.page_token));
    let (by, page) = fields.finish(by.zip(page))?;
    Ok(FindDevices { by, page })
}

pub(crate) fn list_audit_events(
    sent: &proto::ListAuditEventsRequest,
) -> Result<ListAuditEvents, Failure> {
    let mut fields = Fields::default();
    let device = fields.device(&sent.device_id);
    let page = page(&mut fields, (sent.page_size, &sent.page_token));
    let (device, page) = fields.finish(device.zip(page))?;
    Ok(ListAuditEvents { device, page })
}

pub(crate) fn devices(
    engine: &Engine,
    found: &DevicePage,
) -> (Vec<proto::Device>, String, Vec<String>) {
    let page = &found.page;
    let devices = page.entries.iter().map(|entry| device(engine, entry));
    let next = page.next.map_or(String::new(), |id| id.to_string());
    let unreadable = found.unreadable.iter().map(ToString::to_string);
    (devices.collect(), next, unreadable.collect())
}

pub(crate) fn revoked(engine: &Engine, revoked: &Revoked) -> proto::RevokeDeviceResponse {
    proto::RevokeDeviceResponse {
        device: Some(device(engine, &revoked.device)),
        receipt: Some(receipt(&revoked.receipt)),
    }
}

pub(crate) fn revocations(revocations: &[Revocation]) -> proto::BatchRevokeDevicesResponse {
    use proto::device_revocation::Outcome;
    let each = revocations.iter().map(|one| proto::DeviceRevocation {
        device_id: one.device.to_string(),
        outcome: Some(match &one.outcome {
            Ok(told) => Outcome::Receipt(receipt(told)),
            Err(failure) => Outcome::Refusal(proto::Refusal {
                code: status::code(failure.reason).into(),
                reason: failure.reason.to_string(),
                action: failure.reason.action().as_str().to_owned(),
                message: failure.reason.message().to_owned(),
            }),
        }),
    });
    proto::BatchRevokeDevicesResponse {
        revocations: each.collect(),
    }
}

pub(crate) fn suspended(engine: &Engine, suspended: &Suspended) -> proto::SuspendDeviceResponse {
    proto::SuspendDeviceResponse {
        device: Some(device(engine, &suspended.device)),
        receipt: Some(receipt(&suspended.receipt)),
    }
}

pub(crate) fn linked(engine: &Engine, linked: &Linked) -> proto::LinkDeviceSuccessorResponse {
    proto::LinkDeviceSuccessorResponse {
        device: Some(device(engine, &linked.succession.old)),
        successor: Some(device(engine, &linked.succession.new)),
        receipt: Some(receipt(&linked.receipt)),
    }
}

pub(crate) fn audit_events(found: &AuditEvents) -> proto::ListAuditEventsResponse {
    let next = found.page.next.as_ref();
    proto::ListAuditEventsResponse {
        events: found.page.entries.iter().map(audit_event).collect(),
        next_page_token: next.map_or(String::new(), |cursor| cursor.0.clone()),
        unreadable: found.unreadable,
    }
}

pub(super) fn audit_event(event: &Event) -> proto::AuditEvent {
    proto::AuditEvent {
        event_time: Some(timestamp(event.at)),
        kind: event.kind.as_str().to_owned(),
        device_id: event.device.map_or_else(String::new, |id| id.to_string()),
        app_id: event
            .app
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        reason: event.why.clone(),
        actor: event.by.as_str().to_owned(),
        session_id: event.session.map_or_else(String::new, |id| id.to_string()),
        consent_id: event
            .consent
            .as_ref()
            .map_or_else(String::new, |id| id.as_str().to_owned()),
    }
}
