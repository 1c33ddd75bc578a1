//! Exporting and erasing what is kept of a subject, in both directions.

use super::devices::audit_event;
use super::fields::Fields;
use super::parse::listing;
use super::render::{device, receipt_summary, session};
use super::revocation::receipt;
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::flow::erase_subject::{EraseSubject, Erased};
use crate::flow::export_subject::{Export, ExportSubject};
use crate::flow::{Engine, Failure};
use crate::grpc::proto;
use crate::session::{Actor, Device, Session};

pub(crate) fn export_subject(sent: &proto::ExportSubjectRequest) -> Result<ExportSubject, Failure> {
    let page = (sent.page_size, sent.page_token.as_str());
    let (subject, page) = listing(&sent.subject, page)?;
    Ok(ExportSubject { subject, page })
}

pub(crate) fn exported(engine: &Engine, export: &Export) -> proto::ExportSubjectResponse {
    let next = export.events.page.next.as_ref();
    let mut message = proto::ExportSubjectResponse {
        events: export.events.page.entries.iter().map(audit_event).collect(),
        next_page_token: next.map_or(String::new(), |cursor| cursor.0.clone()),
        unreadable: export.events.unreadable,
        ..proto::ExportSubjectResponse::default()
    };
    let Some(kept) = &export.kept else {
        return message;
    };
    if let Some(subject) = &kept.subject {
        message.epoch = subject.epoch;
        let consents = subject.consents.iter();
        message.revoked_consents = consents
            .map(|(id, epoch)| proto::ExportedConsent {
                consent_id: id.as_str().to_owned(),
                epoch: *epoch,
            })
            .collect();
    }
    let devices = kept.devices.iter();
    message.devices = devices
        .map(|(device, receipt)| exported_device(engine, device, receipt.as_ref()))
        .collect();
    message.sessions = kept.sessions.iter().map(exported_session).collect();
    message
}

fn exported_device(
    engine: &Engine,
    kept: &Device,
    receipt: Option<&ReceiptRecord>,
) -> proto::ExportedDevice {
    let issuers = kept.issuer_keys.iter();
    proto::ExportedDevice {
        device: Some(proto::Device {
            receipt: receipt.map(receipt_summary),
            ..device(engine, kept)
        }),
        epoch: kept.epoch,
        issuer_keys_sha256: issuers.map(|key| key.to_vec()).collect(),
        assertion_counter: kept.assertion_counter,
        receipt: receipt.map_or_else(Vec::new, |receipt| receipt.receipt.clone()),
    }
}

fn exported_session(kept: &Session) -> proto::ExportedSession {
    proto::ExportedSession {
        session: Some(session(kept)),
        roles: kept.roles.clone(),
        amr: kept.amr.clone(),
        session_key_thumbprint: kept.session_key.to_string(),
        generation: kept.generation,
        device_epoch: kept.device_epoch,
        subject_epoch: kept.subject_epoch,
        consent_epoch: kept.consent.as_ref().map_or(0, |consent| consent.epoch),
    }
}

pub(crate) fn erase_subject(
    sent: &proto::EraseSubjectRequest,
    by: Actor,
) -> Result<EraseSubject, Failure> {
    let mut fields = Fields::default();
    let subject = fields.subject(&sent.subject);
    let subject = fields.finish(subject)?;
    Ok(EraseSubject {
        subject,
        validate_only: sent.validate_only,
        by,
    })
}

pub(crate) fn erased(erased: &Erased) -> proto::EraseSubjectResponse {
    proto::EraseSubjectResponse {
        devices: erased.devices,
        sessions: erased.sessions,
        receipt: Some(receipt(&erased.receipt)),
    }
}
