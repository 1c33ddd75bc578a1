//! ListDevices: a subject's devices, newest first.

use super::{DevicePage, Engine, Failure, PageRequest};
use crate::id::{DeviceId, Subject};
use crate::session::SubjectRecord;
use crate::store::keys;

/// A page of a subject's devices. Two trips to the store. A device whose record cannot be read is named.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn run(
    engine: &Engine,
    subject: &Subject,
    page: PageRequest<DeviceId>,
) -> Result<DevicePage, Failure> {
    let tag = engine.keyring.subject_tag(subject);
    let index = engine
        .load_one::<SubjectRecord>(keys::subject(&tag))
        .await?
        .value;
    let listed = index.map_or_else(Vec::new, |index| index.devices);
    let listed = listed.into_iter().rev().map(|device| device.id);
    let (ids, next) = page.cut(listed, |_| true);
    DevicePage::load(engine, &ids, next).await
}
