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
}

impl From<&domain::Event> for Event {
    fn from(event: &domain::Event) -> Self {
        let session = event.session.map(|id| id.as_bytes().to_vec());
        Self {
            at: event.at.as_millis(),
            kind: event.kind.as_str().to_owned(),
            app: event.app.as_str().to_owned(),
            device: event.device.as_bytes().to_vec(),
            session: session.unwrap_or_default(),
            why: event.why.clone(),
            by: event.by.as_str().to_owned(),
        }
    }
}

impl Event {
    pub(in crate::store::record) fn into_domain(self) -> Option<domain::Event> {
        let session = if self.session.is_empty() {
            None
        } else {
            Some(SessionId::from_bytes(&self.session).ok()?)
        };
        Some(domain::Event {
            at: Timestamp::from_millis(self.at),
            kind: domain::EventKind::parse(&self.kind)?,
            app: self.app.parse().ok()?,
            device: DeviceId::from_bytes(&self.device).ok()?,
            session,
            why: self.why,
            by: domain::Actor::caller(self.by.into()),
        })
    }
}
