//! The re-appraisal that instances share.

use prost::Message;

use crate::id::{BUCKETS, DeviceId};
use crate::session::{Basis, Cause, Counts, Job as Domain, Position};
use crate::time::Timestamp;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Job {
    #[prost(string, tag = "1")]
    cause: String,
    #[prost(bytes = "vec", optional, tag = "2")]
    google: Option<Vec<u8>>,
    #[prost(int64, optional, tag = "3")]
    google_as_of: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    own: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "5")]
    policy: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    owner: Vec<u8>,
    #[prost(int64, tag = "7")]
    touched_at: i64,
    #[prost(int64, tag = "8")]
    started_at: i64,
    #[prost(int64, optional, tag = "9")]
    ended_at: Option<i64>,
    #[prost(uint32, tag = "10")]
    bucket: u32,
    #[prost(bytes = "vec", tag = "11")]
    after: Vec<u8>,
    #[prost(message, optional, tag = "12")]
    counts: Option<Numbers>,
    #[prost(int64, optional, tag = "13")]
    completed_at: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
#[prost(skip_debug)]
struct Numbers {
    #[prost(uint64, tag = "1")]
    devices: u64,
    #[prost(uint64, tag = "2")]
    revoked: u64,
    #[prost(uint64, tag = "3")]
    suspended: u64,
    #[prost(uint64, tag = "4")]
    degraded: u64,
    #[prost(uint64, tag = "5")]
    reported: u64,
    #[prost(uint64, tag = "6")]
    cleared: u64,
    #[prost(uint64, tag = "7")]
    unreadable: u64,
    #[prost(uint64, tag = "8")]
    skipped: u64,
    #[prost(uint64, tag = "9")]
    overdue: u64,
    #[prost(uint64, tag = "10")]
    not_durable: u64,
}

impl From<&Domain> for Job {
    fn from(job: &Domain) -> Self {
        let after = job.position.after();
        Self {
            cause: job.cause.as_str().to_owned(),
            google: job.basis.google.map(Vec::from),
            google_as_of: job.basis.google_as_of.map(Timestamp::as_millis),
            own: job.basis.own.map(Vec::from),
            policy: job.basis.policy.to_vec(),
            owner: job.owner.to_vec(),
            touched_at: job.touched_at.as_millis(),
            started_at: job.started_at.as_millis(),
            ended_at: job.ended_at.map(Timestamp::as_millis),
            bucket: job.position.number().into(),
            after: after.map_or_else(Vec::new, |id| id.as_bytes().to_vec()),
            counts: Some(Numbers::from(&job.counts)),
            completed_at: job.completed_at.map(Timestamp::as_millis),
        }
    }
}

impl From<&Counts> for Numbers {
    fn from(counts: &Counts) -> Self {
        Self {
            devices: counts.devices,
            revoked: counts.revoked,
            suspended: counts.suspended,
            degraded: counts.degraded,
            reported: counts.reported,
            cleared: counts.cleared,
            unreadable: counts.unreadable,
            skipped: counts.skipped,
            overdue: counts.overdue,
            not_durable: counts.not_durable,
        }
    }
}

impl Numbers {
    const fn into_domain(self) -> Counts {
        Counts {
            devices: self.devices,
            revoked: self.revoked,
            suspended: self.suspended,
            degraded: self.degraded,
            reported: self.reported,
            cleared: self.cleared,
            unreadable: self.unreadable,
            skipped: self.skipped,
            overdue: self.overdue,
            not_durable: self.not_durable,
        }
    }
}

impl Job {
    pub(in crate::store::record) fn into_domain(self) -> Option<Domain> {
        let digest = |bytes: Option<Vec<u8>>| match bytes {
            None => Some(None),
            Some(bytes) => Some(Some(bytes.try_into().ok()?)),
        };
        let instant = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let position = if self.after.is_empty() {
            let bucket = u16::try_from(self.bucket).ok();
            Position::at(bucket.filter(|bucket| *bucket <= BUCKETS)?)
        } else {
            Position::behind(DeviceId::from_bytes(&self.after).ok()?)
        };
        Some(Domain {
            cause: Cause::parse(&self.cause)?,
            basis: Basis {
                google: digest(self.google)?,
                google_as_of: instant(self.google_as_of),
                own: digest(self.own)?,
                policy: self.policy.try_into().ok()?,
            },
            owner: self.owner.try_into().ok()?,
            touched_at: Timestamp::from_millis(self.touched_at),
            started_at: Timestamp::from_millis(self.started_at),
            ended_at: instant(self.ended_at),
            position,
            counts: self.counts.unwrap_or_default().into_domain(),
            completed_at: instant(self.completed_at),
        })
    }
}
