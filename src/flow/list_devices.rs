//! ListDevices: a subject's devices, newest first.

use super::{Engine, Failure, Page, PageRequest};
use crate::id::{DeviceId, Subject};
use crate::session::{Device, SubjectRecord};
use crate::store::keys;

/// A page of a subject's devices. Two trips to the store.
///
/// # Errors
/// `STATE_STORE_UNAVAILABLE`
pub async fn run(
    engine: &Engine,
    subject: &Subject,
    page: PageRequest<DeviceId>,
) -> Result<Page<Device, DeviceId>, Failure> {
    let tag = engine.keyring.subject_tag(subject);
    let index = engine
        .load_one::<SubjectRecord>(keys::subject(&tag))
        .await?
        .value;
    let listed = index.map_or_else(Vec::new, |index| index.devices);
    let listed = listed.into_iter().rev().map(|device| device.id);
    let (ids, next) = page.cut(listed, |_| true);
    if ids.is_empty() {
        return Ok(Page {
            entries: Vec::new(),
            next: None,
        });
    }
    let devices = engine
        .load_all::<Device>(ids.iter().map(keys::device).collect())
        .await?;
    Ok(Page {
        entries: devices
            .into_iter()
            .filter_map(|loaded| loaded.value)
            .collect(),
        next,
    })
}
