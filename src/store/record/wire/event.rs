//! What happened, as it stands in an outbox.

use prost::Message;

use crate::id::{DeviceId, SessionId};
use crate::session as domain;
use crate::time::Timestamp;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Event {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    app: String,
    #[prost(bytes = "vec", tag = "4")]
    device: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    session: Vec<u8>,
    #[prost(string, tag = "6")]
    why: String,
    #[prost(string, tag = "7")]
    by: String,
    #[prost(string, tag = "8")]
    consent: String,
    #[prost(uint64, optional, tag = "9")]
    epoch: Option<u64>,
}

impl From<&domain::Event> for Event {
    fn from(event: &domain::Event) -> Self {
        let session = event.session.map(|id| id.as_bytes().to_vec());
        Self {
            at: event.at.as_millis(),
            kind: event.kind.as_str().to_owned(),
            app: event
                .app
                .as_ref()
                .map_or_else(String::new, |app| app.as_str().to_owned()),
            device: event
                .device
                .map_or_else(Vec::new, |id| id.as_bytes().to_vec()),
            session: session.unwrap_or_default(),
            why: event.why.clone(),
            by: event.by.as_str().to_owned(),
            consent: event
                .consent
                .as_ref()
                .map_or_else(String::new, |id| id.as_str().to_owned()),
            epoch: event.epoch,
        }
    }
}

impl Event {
    pub(in crate::store::record) fn into_domain(self) -> Option<domain::Event> {
        let (app, consent) = (self.app.as_str(), self.consent.as_str());
        Some(domain::Event {
            at: Timestamp::from_millis(self.at),
            kind: domain::EventKind::parse(&self.kind)?,
            app: absent(app.is_empty(), || app.parse().ok())?,
            device: absent(self.device.is_empty(), || {
                DeviceId::from_bytes(&self.device).ok()
            })?,
            session: absent(self.session.is_empty(), || {
                SessionId::from_bytes(&self.session).ok()
            })?,
            consent: absent(consent.is_empty(), || consent.parse().ok())?,
            epoch: self.epoch,
            why: self.why,
            by: domain::Actor::caller(self.by.into()),
        })
    }
}

/// What an empty field stands for: nothing. Anything else has to be readable.
fn absent<T>(empty: bool, read: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    if empty { Some(None) } else { read().map(Some) }
}
