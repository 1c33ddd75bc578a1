//! GetDevice.

use super::{Engine, Failure};
use crate::id::DeviceId;
use crate::reason::Reason;
use crate::session::Device;
use crate::store::keys;

/// One device. One trip to the store.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `STATE_STORE_UNAVAILABLE`
pub async fn run(engine: &Engine, id: &DeviceId) -> Result<Device, Failure> {
    let loaded = engine.load_one::<Device>(keys::device(id)).await?;
    loaded.value.ok_or_else(|| Reason::ResourceNotFound.into())
}
