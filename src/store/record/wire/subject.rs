//! The record of a subject.

use prost::Message;

use super::Consent;
use crate::id::{AppId, DeviceId, SessionId};
use crate::session::{DeviceEntry, SessionEntry, SubjectRecord};
use crate::time::Timestamp;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Subject {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, repeated, tag = "2")]
    devices: Vec<SubjectDevices>,
    #[prost(message, repeated, tag = "3")]
    sessions: Vec<SubjectSession>,
    #[prost(message, repeated, tag = "4")]
    consents: Vec<Consent>,
}

/// Devices of one app that follow each other in the list, at least one: most subjects have one app, whose
/// name is not to be written with each device of a record that is loaded with every request.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct SubjectDevices {
    #[prost(string, tag = "1")]
    app: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct SubjectSession {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    device: Vec<u8>,
    #[prost(int64, tag = "3")]
    expires_at: i64,
}

impl From<&SubjectRecord> for Subject {
    fn from(subject: &SubjectRecord) -> Self {
        let devices = subject.devices.chunk_by(|one, next| one.app == next.app);
        let devices = devices.filter_map(SubjectDevices::new);
        let sessions = subject.sessions.iter().map(|entry| SubjectSession {
            id: entry.id.as_bytes().to_vec(),
            device: entry.device.as_bytes().to_vec(),
            expires_at: entry.expires_at.as_millis(),
        });
        let consents = subject.consents.iter().map(|(id, epoch)| Consent {
            id: id.as_str().to_owned(),
            epoch: *epoch,
        });
        Self {
            epoch: subject.epoch,
            devices: devices.collect(),
            sessions: sessions.collect(),
            consents: consents.collect(),
        }
    }
}

impl Subject {
    pub(in crate::store::record) fn into_domain(self) -> Option<SubjectRecord> {
        let mut devices = Vec::new();
        for of_app in self.devices {
            devices.extend(of_app.into_domain()?);
        }
        let sessions = self.sessions.into_iter().map(|entry| {
            Some(SessionEntry {
                id: SessionId::from_bytes(&entry.id).ok()?,
                device: DeviceId::from_bytes(&entry.device).ok()?,
                expires_at: Timestamp::from_millis(entry.expires_at),
            })
        });
        let consents = self.consents.into_iter();
        let consents = consents.map(|consent| Some((consent.id.parse().ok()?, consent.epoch)));
        Some(SubjectRecord {
            epoch: self.epoch,
            devices,
            sessions: sessions.collect::<Option<_>>()?,
            consents: consents.collect::<Option<_>>()?,
        })
    }
}

impl SubjectDevices {
    fn new(of_app: &[DeviceEntry]) -> Option<Self> {
        let ids = of_app.iter().map(|device| device.id.as_bytes().to_vec());
        Some(Self {
            app: of_app.first()?.app.as_str().to_owned(),
            ids: ids.collect(),
        })
    }

    fn into_domain(self) -> Option<Vec<DeviceEntry>> {
        let app: AppId = self.app.parse().ok()?;
        let ids = self.ids.iter().map(|id| {
            Some(DeviceEntry {
                id: DeviceId::from_bytes(id).ok()?,
                app: app.clone(),
            })
        });
        let devices: Vec<_> = ids.collect::<Option<_>>()?;
        (!devices.is_empty()).then_some(devices)
    }
}
