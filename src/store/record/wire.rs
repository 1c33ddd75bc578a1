//! The protobuf messages behind the records. Field numbers are for ever: a field is added, never
//! reused, and a reader of an older version skips what it does not know.

mod device;
mod event;
mod job;
mod list;
mod posture;
mod receipt;
mod risk;
mod roll;
mod subject;
mod used_up;

pub(super) use device::Device;
use device::Why;
pub(super) use event::Event;
pub(super) use job::Job;
pub(super) use list::{ListPart, Origin};
pub(super) use receipt::Receipt;
use risk::Tally;
pub(super) use roll::Roll;
pub(super) use subject::Subject;
use used_up::UsedUp;

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

use crate::id::{AppId, DeviceId, SessionId, Subject as SubjectName};
use crate::key::Thumbprint;
use crate::session as domain;
use crate::time::Timestamp;
use crate::token::KeyTag;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum End {
    Unknown = 0,
    LoggedOut = 1,
    RefreshTokenReused = 2,
    Evicted = 3,
    Revoked = 4,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Session {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    device: Vec<u8>,
    #[prost(string, tag = "3")]
    app: String,
    #[prost(string, tag = "4")]
    subject: String,
    #[prost(bytes = "vec", tag = "5")]
    session_key: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    ended: Option<Ended>,
    #[prost(uint32, tag = "7")]
    generation: u32,
    #[prost(int64, tag = "8")]
    rotated_at: i64,
    #[prost(int64, tag = "9")]
    opened_at: i64,
    #[prost(int64, tag = "10")]
    idle_expires_at: i64,
    #[prost(int64, tag = "11")]
    expires_at: i64,
    #[prost(uint64, tag = "12")]
    device_epoch: u64,
    #[prost(uint64, tag = "13")]
    subject_epoch: u64,
    #[prost(string, repeated, tag = "14")]
    scopes: Vec<String>,
    #[prost(string, tag = "15")]
    audience: String,
    #[prost(string, repeated, tag = "16")]
    roles: Vec<String>,
    #[prost(string, tag = "17")]
    acr: String,
    #[prost(string, repeated, tag = "18")]
    amr: Vec<String>,
    #[prost(int64, tag = "19")]
    auth_time: i64,
    #[prost(bytes = "vec", tag = "20")]
    refresh_key: Vec<u8>,
    #[prost(message, optional, tag = "21")]
    consent: Option<Consent>,
    #[prost(message, optional, tag = "22")]
    step_up: Option<StepUp>,
    #[prost(message, optional, tag = "23")]
    cut: Option<Cut>,
    #[prost(message, repeated, tag = "30")]
    risk: Vec<Tally>,
    #[prost(bytes = "vec", optional, tag = "31")]
    network: Option<Vec<u8>>,
    #[prost(string, optional, tag = "32")]
    locale: Option<String>,
    #[prost(int64, optional, tag = "33")]
    answered_at: Option<i64>,
    #[prost(btree_map = "uint32, message", tag = "34")]
    used_up: BTreeMap<u32, UsedUp>,
}

/// A consent and its epoch.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Consent {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Cause {
    Unknown = 0,
    RefreshTokenReused = 1,
    Risk = 2,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct StepUp {
    #[prost(int64, tag = "1")]
    since: i64,
    #[prost(enumeration = "Cause", tag = "2")]
    why: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct Cut {
    #[prost(uint32, tag = "1")]
    generation: u32,
    #[prost(int64, tag = "2")]
    at: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct Ended {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(enumeration = "End", tag = "2")]
    why: i32,
    /// Why it was revoked.
    #[prost(enumeration = "Why", tag = "3")]
    revoked: i32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Fleet {
    #[prost(int64, optional, tag = "1")]
    not_before: Option<i64>,
    #[prost(btree_map = "string, int64", tag = "2")]
    apps: BTreeMap<String, i64>,
}

fn thumbprint(bytes: &[u8]) -> Option<Thumbprint> {
    bytes.try_into().ok().map(Thumbprint::from_bytes)
}

impl From<&domain::Session> for Session {
    fn from(session: &domain::Session) -> Self {
        Self {
            id: session.id.as_bytes().to_vec(),
            device: session.device.as_bytes().to_vec(),
            app: session.app.as_str().to_owned(),
            subject: session.subject.expose().to_owned(),
            session_key: session.session_key.as_bytes().to_vec(),
            ended: match session.state {
                domain::SessionState::Live => None,
                domain::SessionState::Ended { at, why } => Some(Ended::new(at, why)),
            },
            generation: session.generation,
            rotated_at: session.rotated_at.as_millis(),
            opened_at: session.opened_at.as_millis(),
            idle_expires_at: session.idle_expires_at.as_millis(),
            expires_at: session.expires_at.as_millis(),
            device_epoch: session.device_epoch,
            subject_epoch: session.subject_epoch,
            scopes: session.scopes.iter().cloned().collect(),
            audience: session.audience.clone(),
            roles: session.roles.clone(),
            acr: session.acr.clone(),
            amr: session.amr.clone(),
            auth_time: session.auth_time.as_millis(),
            refresh_key: session.refresh_key.as_bytes().to_vec(),
            consent: session.consent.as_ref().map(|consent| Consent {
                id: consent.id.as_str().to_owned(),
                epoch: consent.epoch,
            }),
            step_up: session.step_up.map(StepUp::new),
            cut: session.cut.map(|cut| Cut {
                generation: cut.generation,
                at: cut.at.as_millis(),
            }),
            risk: risk::tallies(&session.risk),
            network: session.footprint.network.clone(),
            locale: session.footprint.locale.clone(),
            answered_at: session.answered_at.map(Timestamp::as_millis),
            used_up: session.used_up.iter().map(UsedUp::new).collect(),
        }
    }
}

impl Session {
    pub(super) fn into_domain(self) -> Option<domain::Session> {
        let state = match self.ended {
            None => domain::SessionState::Live,
            Some(ended) => domain::SessionState::Ended {
                at: Timestamp::from_millis(ended.at),
                why: ended.into_domain()?,
            },
        };
        let consent = match self.consent {
            None => None,
            Some(consent) => Some(domain::Consent {
                id: consent.id.parse().ok()?,
                epoch: consent.epoch,
            }),
        };
        let step_up = match self.step_up {
            None => None,
            Some(step_up) => Some(step_up.into_domain()?),
        };
        Some(domain::Session {
            consent,
            step_up,
            risk: risk::into_domain(&self.risk)?,
            footprint: domain::Footprint {
                network: self.network,
                locale: self.locale,
            },
            answered_at: self.answered_at.map(Timestamp::from_millis),
            used_up: self.used_up.into_iter().map(UsedUp::into_domain).collect(),
            cut: self.cut.map(|cut| domain::Cut {
                generation: cut.generation,
                at: Timestamp::from_millis(cut.at),
            }),
            id: SessionId::from_bytes(&self.id).ok()?,
            device: DeviceId::from_bytes(&self.device).ok()?,
            app: self.app.parse().ok()?,
            subject: self.subject.parse::<SubjectName>().ok()?,
            session_key: thumbprint(&self.session_key)?,
            state,
            generation: self.generation,
            rotated_at: Timestamp::from_millis(self.rotated_at),
            opened_at: Timestamp::from_millis(self.opened_at),
            idle_expires_at: Timestamp::from_millis(self.idle_expires_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            device_epoch: self.device_epoch,
            subject_epoch: self.subject_epoch,
            scopes: self.scopes.into_iter().collect(),
            audience: self.audience,
            roles: self.roles,
            acr: self.acr,
            amr: self.amr,
            auth_time: Timestamp::from_millis(self.auth_time),
            refresh_key: KeyTag::from_bytes(self.refresh_key.try_into().ok()?),
        })
    }
}

impl From<&domain::Fleet> for Fleet {
    fn from(fleet: &domain::Fleet) -> Self {
        let apps = fleet
            .apps
            .iter()
            .map(|(app, at)| (app.as_str().to_owned(), at.as_millis()));
        Self {
            not_before: fleet.not_before.map(Timestamp::as_millis),
            apps: apps.collect(),
        }
    }
}

impl Fleet {
    pub(super) fn into_domain(self) -> Option<domain::Fleet> {
        let apps = self
            .apps
            .into_iter()
            .map(|(app, at)| Some((app.parse::<AppId>().ok()?, Timestamp::from_millis(at))));
        Some(domain::Fleet {
            not_before: self.not_before.map(Timestamp::from_millis),
            apps: apps.collect::<Option<_>>()?,
        })
    }
}

impl StepUp {
    fn new(step_up: domain::StepUp) -> Self {
        let why = match step_up.why {
            domain::StepUpCause::RefreshTokenReused => Cause::RefreshTokenReused,
            domain::StepUpCause::Risk => Cause::Risk,
        };
        Self {
            since: step_up.since.as_millis(),
            why: why.into(),
        }
    }

    fn into_domain(self) -> Option<domain::StepUp> {
        let why = match self.why() {
            Cause::Unknown => return None,
            Cause::RefreshTokenReused => domain::StepUpCause::RefreshTokenReused,
            Cause::Risk => domain::StepUpCause::Risk,
        };
        Some(domain::StepUp {
            since: Timestamp::from_millis(self.since),
            why,
        })
    }
}

impl Ended {
    fn new(at: Timestamp, why: domain::EndReason) -> Self {
        let (why, revoked) = match why {
            domain::EndReason::LoggedOut => (End::LoggedOut, Why::Unknown),
            domain::EndReason::RefreshTokenReused => (End::RefreshTokenReused, Why::Unknown),
            domain::EndReason::Evicted => (End::Evicted, Why::Unknown),
            domain::EndReason::Revoked(why) => (End::Revoked, why.into()),
        };
        Self {
            at: at.as_millis(),
            why: why.into(),
            revoked: revoked.into(),
        }
    }

    fn into_domain(self) -> Option<domain::EndReason> {
        Some(match self.why() {
            End::Unknown => return None,
            End::LoggedOut => domain::EndReason::LoggedOut,
            End::RefreshTokenReused => domain::EndReason::RefreshTokenReused,
            End::Evicted => domain::EndReason::Evicted,
            End::Revoked => domain::EndReason::Revoked(self.revoked().into_domain()?),
        })
    }
}
