//! ExportSubject: everything that is kept of a subject, for the subject.

use super::holdings::Holdings;
use super::list_audit_events::{AuditEvents, Whose, search};
use super::{Engine, Failure, PageRequest};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::id::{Bucket, Subject};
use crate::session::{Device, Session, SubjectRecord};
use crate::store::Cursor;

/// The request.
#[derive(Debug, Clone)]
pub struct ExportSubject {
    /// Whose.
    pub subject: Subject,
    /// Which page of the events.
    pub page: PageRequest<Cursor>,
}

/// The answer.
#[derive(Debug)]
pub struct Export {
    /// What is kept, with the first page.
    pub kept: Option<Kept>,
    /// A page of what happened to the devices.
    pub events: AuditEvents,
}

/// What is kept of a subject.
#[derive(Debug)]
pub struct Kept {
    /// Its own record.
    pub subject: Option<SubjectRecord>,
    /// Its devices with their receipts, revoked ones included.
    pub devices: Vec<(Device, Option<ReceiptRecord>)>,
    /// Its sessions, over or not, as long as they are in its list.
    pub sessions: Vec<Session>,
}

/// Everything that is kept of a subject; then, page by page, what happened to its devices. Six trips to
/// the store for a page, and more in a bucket of many thousand devices.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`; `INTERNAL` when a record of the subject cannot be read.
pub async fn run(engine: &Engine, request: ExportSubject) -> Result<Export, Failure> {
    let held = Holdings::load(engine, &request.subject).await?;
    let tag = engine.keyring.subject_tag(&request.subject);
    let mut whose = Whose {
        devices: held.devices.iter().map(|held| held.device.id).collect(),
        apps: Some(
            held.devices
                .iter()
                .map(|held| held.device.app.clone())
                .collect(),
        ),
    };
    let first = request.page.after.is_none();
    let bucket = Bucket::of_digest(&tag);
    let events = search(engine, bucket, &mut whose, request.page).await?;
    let devices = held.devices.into_iter();
    let sessions = held.sessions.into_iter();
    Ok(Export {
        kept: first.then_some(Kept {
            subject: held.subject.value,
            devices: devices
                .map(|held| (held.device, held.receipt.value))
                .collect(),
            sessions: sessions.filter_map(|session| session.value).collect(),
        }),
        events,
    })
}
