//! GetDevice.

use super::{Engine, Failure, receipt};
use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::id::DeviceId;
use crate::session::Device;

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The device.
    pub device: Device,
    /// Its receipt, where one is kept.
    pub receipt: Option<ReceiptRecord>,
}

/// One device and its receipt. One trip to the store.
///
/// # Errors
/// `RESOURCE_NOT_FOUND`, `STATE_STORE_UNAVAILABLE`
pub async fn run(engine: &Engine, id: &DeviceId) -> Result<Known, Failure> {
    let (device, receipt) = receipt::of_device(engine, id).await?;
    Ok(Known { device, receipt })
}
