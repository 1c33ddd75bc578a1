//! The record of a device's App Attest receipt.

use prost::{Enumeration, Message};

use crate::attestation::apple::receipt::refresh::{
    self as domain, Outcome, ReceiptRecord, Schedule,
};
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum End {
    None = 0,
    WrongEnvironment = 1,
    BadPayload = 2,
    NoData = 3,
    Expired = 4,
}

/// How the last attempt ended; one that ended for good has its [`End`] beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum Last {
    None = 0,
    Renewed = 1,
    TooEarly = 2,
    Ended = 3,
    Unauthorized = 4,
    RateLimited = 5,
    Unavailable = 6,
    NotBelieved = 7,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Receipt {
    #[prost(bytes = "vec", tag = "1")]
    receipt: Vec<u8>,
    #[prost(int64, tag = "2")]
    created_at: i64,
    #[prost(int64, optional, tag = "3")]
    not_before: Option<i64>,
    #[prost(int64, tag = "4")]
    expires_at: i64,
    #[prost(uint32, optional, tag = "5")]
    risk_metric: Option<u32>,
    #[prost(uint32, tag = "6")]
    attempts: u32,
    /// Where `ended` says nothing.
    #[prost(int64, tag = "7")]
    due_at: i64,
    #[prost(enumeration = "End", tag = "8")]
    ended: i32,
    #[prost(enumeration = "Last", tag = "9")]
    last: i32,
    #[prost(enumeration = "End", tag = "10")]
    last_end: i32,
}

impl From<&ReceiptRecord> for Receipt {
    fn from(record: &ReceiptRecord) -> Self {
        let (due_at, ended) = match record.schedule {
            Schedule::DueAt(at) => (at.as_millis(), End::None),
            Schedule::Ended(end) => (0, End::from(end)),
        };
        let (last, last_end) = match record.last {
            None => (Last::None, End::None),
            Some(Outcome::Renewed) => (Last::Renewed, End::None),
            Some(Outcome::TooEarly) => (Last::TooEarly, End::None),
            Some(Outcome::Ended(end)) => (Last::Ended, End::from(end)),
            Some(Outcome::Unauthorized) => (Last::Unauthorized, End::None),
            Some(Outcome::RateLimited) => (Last::RateLimited, End::None),
            Some(Outcome::Unavailable) => (Last::Unavailable, End::None),
            Some(Outcome::NotBelieved) => (Last::NotBelieved, End::None),
        };
        Self {
            receipt: record.receipt.clone(),
            created_at: record.created_at.as_millis(),
            not_before: record.not_before.map(Timestamp::as_millis),
            expires_at: record.expires_at.as_millis(),
            risk_metric: record.risk_metric,
            attempts: record.attempts,
            due_at,
            ended: ended.into(),
            last: last.into(),
            last_end: last_end.into(),
        }
    }
}

impl Receipt {
    pub(in crate::store::record) fn into_domain(self) -> Option<ReceiptRecord> {
        let ended = End::try_from(self.ended).ok()?.into_domain();
        let due_at = Timestamp::from_millis(self.due_at);
        Some(ReceiptRecord {
            schedule: ended.map_or(Schedule::DueAt(due_at), Schedule::Ended),
            last: self.last_outcome()?,
            receipt: self.receipt,
            created_at: Timestamp::from_millis(self.created_at),
            not_before: self.not_before.map(Timestamp::from_millis),
            expires_at: Timestamp::from_millis(self.expires_at),
            risk_metric: self.risk_metric,
            attempts: self.attempts,
        })
    }

    /// The outer `None` when it is nothing that is known.
    fn last_outcome(&self) -> Option<Option<Outcome>> {
        Some(match Last::try_from(self.last).ok()? {
            Last::None => None,
            Last::Renewed => Some(Outcome::Renewed),
            Last::TooEarly => Some(Outcome::TooEarly),
            Last::Ended => {
                let end = End::try_from(self.last_end).ok()?.into_domain();
                Some(Outcome::Ended(end?))
            }
            Last::Unauthorized => Some(Outcome::Unauthorized),
            Last::RateLimited => Some(Outcome::RateLimited),
            Last::Unavailable => Some(Outcome::Unavailable),
            Last::NotBelieved => Some(Outcome::NotBelieved),
        })
    }
}

impl From<domain::End> for End {
    fn from(end: domain::End) -> Self {
        match end {
            domain::End::WrongEnvironment => Self::WrongEnvironment,
            domain::End::BadPayload => Self::BadPayload,
            domain::End::NoData => Self::NoData,
            domain::End::Expired => Self::Expired,
        }
    }
}

impl End {
    const fn into_domain(self) -> Option<domain::End> {
        match self {
            Self::None => None,
            Self::WrongEnvironment => Some(domain::End::WrongEnvironment),
            Self::BadPayload => Some(domain::End::BadPayload),
            Self::NoData => Some(domain::End::NoData),
            Self::Expired => Some(domain::End::Expired),
        }
    }
}
