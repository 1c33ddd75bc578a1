//! What is known of recent revocations, laid over each kind of record.

use crate::attestation::apple::receipt::refresh::ReceiptRecord;
use crate::session::{Device, DeviceState, Fleet, Job, Overlay, Roll, Session, SubjectRecord};
use crate::store::record::Stored;
use crate::store::{Key, keys};

/// A record that revocations may be about.
pub(super) trait Laid: Stored {
    /// Lays everything known over the record of this name. Answers the suspension that only is known
    /// here.
    fn lay(_: &Overlay, _: &Key, _: &mut Option<Self>) -> Option<DeviceState> {
        None
    }

    /// The same without this suspension; `None`: it has another state.
    fn without(&self, _: DeviceState) -> Option<Self> {
        None
    }
}

impl Laid for Device {
    fn lay(overlay: &Overlay, _: &Key, device: &mut Option<Self>) -> Option<DeviceState> {
        overlay.over_device(device.as_mut()?)
    }

    fn without(&self, suspension: DeviceState) -> Option<Self> {
        (self.state == suspension).then(|| Self {
            state: DeviceState::Active,
            ..self.clone()
        })
    }
}

impl Laid for Session {
    fn lay(overlay: &Overlay, _: &Key, session: &mut Option<Self>) -> Option<DeviceState> {
        overlay.over_session(session.as_mut()?);
        None
    }
}

impl Laid for SubjectRecord {
    fn lay(overlay: &Overlay, key: &Key, subject: &mut Option<Self>) -> Option<DeviceState> {
        overlay.over_subject(subject.as_mut()?, keys::subject_tag(key)?);
        None
    }
}

impl Laid for Fleet {
    fn lay(overlay: &Overlay, _: &Key, fleet: &mut Option<Self>) -> Option<DeviceState> {
        overlay.over_fleet(fleet);
        None
    }
}

impl Laid for ReceiptRecord {}

impl Laid for Job {}

impl Laid for Roll {}
