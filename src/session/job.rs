//! The re-appraisal of all devices as the instances share it: one record says what it is for, how far
//! it is and who works on it.
//!
//! At most one instance works at a time in the normal case. The lease is a courtesy, not a lock: where
//! two work on the same devices, each change of a device is decided on its newest record, so the work
//! is done twice and its result is the same.

use std::time::Duration;

use crate::id::{BUCKETS, Bucket, DeviceId};
use crate::time::Timestamp;

/// An instance that did not touch the record for so long is taken for dead. It touches it every second
/// or two; instances' clocks may differ by seconds.
pub const JOB_LEASE: Duration = Duration::from_secs(30);

/// Everything is looked at again after this long, because some rules depend on the day: the age of a
/// patch level, and what was registered while another instance still had an older list.
pub const JOB_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What began a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Google's list changed.
    StatusList,
    /// The operator's own list changed.
    OwnList,
    /// The policy of an app changed.
    Policy,
    /// It was time.
    Schedule,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 4] = [
        Self::StatusList,
        Self::OwnList,
        Self::Policy,
        Self::Schedule,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StatusList => "status-list",
            Self::OwnList => "own-list",
            Self::Policy => "policy",
            Self::Schedule => "schedule",
        }
    }

    /// The cause of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}

/// What devices are held against, by the SHA-256 of each part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Basis {
    /// Google's list.
    pub google: Option<[u8; 32]>,
    /// When that was last known to be the newest.
    pub google_as_of: Option<Timestamp>,
    /// The operator's own list.
    pub own: Option<[u8; 32]>,
    /// The policies of all apps.
    pub policy: [u8; 32],
}

impl Basis {
    /// What is different; `None`: nothing.
    #[must_use]
    pub fn differs_in(&self, other: &Self) -> Option<Cause> {
        if self.policy != other.policy {
            Some(Cause::Policy)
        } else if self.google != other.google {
            Some(Cause::StatusList)
        } else if self.own != other.own {
            Some(Cause::OwnList)
        } else {
            None
        }
    }

    /// Whether this one has a newer list of Google's.
    fn is_ahead_of(&self, other: &Self) -> bool {
        self.google != other.google && self.google_as_of > other.google_as_of
    }
}

/// How far a run is: at the devices of a bucket behind one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    bucket: u16,
    after: Option<DeviceId>,
}

impl Position {
    /// At the beginning of a bucket; behind the last one it is the end.
    #[must_use]
    pub fn at(bucket: u16) -> Self {
        let bucket = bucket.min(BUCKETS);
        Self {
            bucket,
            after: None,
        }
    }

    /// Behind a device.
    #[must_use]
    pub const fn behind(device: DeviceId) -> Self {
        Self {
            bucket: device.bucket().number(),
            after: Some(device),
        }
    }

    /// The bucket; `None` at the end.
    #[must_use]
    pub const fn bucket(&self) -> Option<Bucket> {
        Bucket::new(self.bucket)
    }

    /// The number of the bucket, one more than the last at the end.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.bucket
    }

    /// The device it is behind.
    #[must_use]
    pub const fn after(&self) -> Option<&DeviceId> {
        self.after.as_ref()
    }

    /// How much is done, in thousandths. Ids are evenly spread over and in buckets.
    #[must_use]
    pub fn permille(&self) -> u32 {
        let within = self.after.map_or(0, |id| {
            let [_, _, high, low, ..] = *id.as_bytes();
            u32::from(u16::from_be_bytes([high, low])) * 1000 / (1 << 16)
        });
        (u32::from(self.bucket) * 1000 + within) / u32::from(BUCKETS)
    }
}

/// What a run did, in numbers of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Looked at.
    pub devices: u64,
    /// Revoked.
    pub revoked: u64,
    /// Suspended.
    pub suspended: u64,
    /// Degraded.
    pub degraded: u64,
    /// Only noted.
    pub reported: u64,
    /// Freed of what was held against them.
    pub cleared: u64,
    /// Not readable.
    pub unreadable: u64,
    /// Of an app that is not configured.
    pub skipped: u64,
    /// Active, and to have attested again by now: to be looked at by nobody but whoever watches.
    pub overdue: u64,
    /// Cut off, but on fewer replicas than configured.
    pub not_durable: u64,
}

impl Counts {
    /// What came since an earlier count.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            devices: self.devices.saturating_sub(before.devices),
            revoked: self.revoked.saturating_sub(before.revoked),
            suspended: self.suspended.saturating_sub(before.suspended),
            degraded: self.degraded.saturating_sub(before.degraded),
            reported: self.reported.saturating_sub(before.reported),
            cleared: self.cleared.saturating_sub(before.cleared),
            unreadable: self.unreadable.saturating_sub(before.unreadable),
            skipped: self.skipped.saturating_sub(before.skipped),
            overdue: self.overdue.saturating_sub(before.overdue),
            not_durable: self.not_durable.saturating_sub(before.not_durable),
        }
    }
}

/// The re-appraisal of all devices.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// What began it.
    pub cause: Cause,
    /// What devices are held against.
    pub basis: Basis,
    /// The instance that works on it.
    pub owner: [u8; 16],
    /// When that was last heard of.
    pub touched_at: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was done.
    pub ended_at: Option<Timestamp>,
    /// How far it is.
    pub position: Position,
    /// What it did.
    pub counts: Counts,
    /// When the last one that was done, this one or one before, was done.
    pub completed_at: Option<Timestamp>,
}

/// What an instance knows when it looks whether there is something to do.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Which instance.
    pub me: [u8; 16],
    /// What it holds devices against.
    pub basis: Basis,
    /// Whether that is new since its last look.
    pub changed: bool,
    /// When.
    pub now: Timestamp,
}

impl Job {
    /// A run from the beginning.
    #[must_use]
    pub fn begin(look: &Look, cause: Cause, before: Option<&Self>) -> Self {
        Self {
            cause,
            basis: look.basis,
            owner: look.me,
            touched_at: look.now,
            started_at: look.now,
            ended_at: None,
            position: Position::default(),
            counts: Counts::default(),
            completed_at: before.and_then(|before| before.completed_at),
        }
    }

    /// What the instance that looks has to work on, as it has to be written first; `None`: nothing.
    ///
    /// Only what has just changed in an instance makes it begin a run for something else than the last
    /// one was for. So two instances that hold devices against different things for a while, as during
    /// a roll-out, do not undo each other's work for ever; and one whose list is older than the run's
    /// waits for the newer list.
    #[must_use]
    pub fn turn(existing: Option<&Self>, look: &Look) -> Option<Self> {
        let Some(job) = existing else {
            return Some(Self::begin(look, Cause::Schedule, None));
        };
        if job.basis.is_ahead_of(&look.basis) {
            return None;
        }
        let differs = look.basis.differs_in(&job.basis);
        if let Some(cause) = differs.filter(|_| look.changed) {
            return Some(Self::begin(look, cause, existing));
        }
        if let Some(ended_at) = job.ended_at {
            let due = look.now.since(ended_at) >= JOB_EVERY;
            return due.then(|| Self::begin(look, Cause::Schedule, existing));
        }
        let abandoned = job.owner == look.me || look.now.since(job.touched_at) >= JOB_LEASE;
        if !abandoned {
            return None;
        }
        Some(match differs {
            Some(cause) => Self::begin(look, cause, existing),
            None => Self {
                owner: look.me,
                touched_at: look.now,
                ..*job
            },
        })
    }

    /// How far it is by now.
    #[must_use]
    pub fn advanced(&self, position: Position, counts: Counts, now: Timestamp) -> Self {
        Self {
            position,
            counts,
            touched_at: now,
            ..*self
        }
    }

    /// Done.
    #[must_use]
    pub fn done(&self, counts: Counts, now: Timestamp) -> Self {
        Self {
            ended_at: Some(now),
            completed_at: Some(now),
            ..self.advanced(Position::at(BUCKETS), counts, now)
        }
    }

    /// How much is done, in thousandths; 1000 only when all is.
    #[must_use]
    pub fn permille(&self) -> u32 {
        match self.ended_at {
            Some(_) => 1000,
            None => self.position.permille().min(999),
        }
    }
}
