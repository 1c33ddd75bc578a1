//! What events say for good.

use crate::id::{AppId, ConsentId, DeviceId, SessionId};
use crate::session::subject::first_epoch;
use crate::session::{Actor, Event, EventKind, Fleet, Reach};
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// What an event says for good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    /// The session is over.
    Ended(SessionId),
    /// The device is revoked, or erased.
    Revoked(DeviceId),
    /// Whether the device is suspended: the last word.
    Suspension(DeviceId),
    /// The epoch of the device's subject, or of one of the subject's consents.
    SubjectOf(DeviceId, Option<ConsentId>),
    /// The epoch of a subject, by its tag, or of one of its consents.
    Subject([u8; 32], Option<ConsentId>),
    /// Every token of the session from before a generation is void.
    Cut(SessionId),
    /// Sessions opened until then are dead, those of one app or all.
    NotBefore(Option<AppId>),
}

impl Fact {
    /// Whether it stands in every bucket, so that it may be lost in some and told of in others.
    #[must_use]
    pub const fn is_everywhere(&self) -> bool {
        matches!(self, Self::NotBefore(_))
    }
}

/// A fact with the event that told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The fact.
    pub fact: Fact,
    /// The event.
    pub event: Event,
}

impl Event {
    /// What it says for good; `None`: nothing is taken from anybody.
    #[must_use]
    pub fn fact(&self) -> Option<Fact> {
        match self.kind {
            EventKind::SessionEnded => self.session.map(Fact::Ended),
            EventKind::SessionRotated => self.session.map(Fact::Cut),
            EventKind::NotBeforeSet => Some(Fact::NotBefore(self.app.clone())),
            // A store that has lost the erasure has the device's sessions again.
            EventKind::DeviceRevoked | EventKind::SubjectErased => self.device.map(Fact::Revoked),
            EventKind::DeviceSuspended | EventKind::DeviceResumed => {
                self.device.map(Fact::Suspension)
            }
            EventKind::SubjectRevoked | EventKind::ConsentRevoked => {
                let consent = self.consent.clone();
                self.device.map(|device| Fact::SubjectOf(device, consent))
            }
            EventKind::DeviceRegistered
            | EventKind::DeviceReattested
            | EventKind::DeviceKeyRotated
            | EventKind::DeviceLinked
            | EventKind::DeviceDegraded
            | EventKind::DeviceDoubted
            | EventKind::DeviceCleared
            | EventKind::SessionOpened
            | EventKind::SessionElevated
            | EventKind::SessionHeld
            | EventKind::PresenceKeyEnrolled
            | EventKind::RiskSignal
            | EventKind::RiskActed
            | EventKind::RiskMonitored => None,
        }
    }

    /// The fleet with the instant that this one brought for an app, or all.
    pub(super) fn over_fleet(&self, app: Option<&AppId>, fleet: &Fleet) -> Fleet {
        let reach = app.map_or(Reach::Everything, |app| Reach::App(app.clone()));
        let not_before = Timestamp::from_millis(self.epoch_reached().try_into().unwrap_or(0));
        fleet.cut(&reach, not_before, self.at)
    }

    /// The epoch it brought. An event that does not say it moved its epoch to its own time at least.
    pub(super) fn epoch_reached(&self) -> u64 {
        self.epoch.unwrap_or_else(|| first_epoch(self.at))
    }

    /// Among events of one fact the greater one is the newer word.
    pub(super) fn rank(&self, fact: &Fact) -> (u64, bool) {
        match fact {
            Fact::Ended(_) => (0, false),
            // What counts is the generation that a cut left behind.
            Fact::Revoked(_) | Fact::Cut(_) => (self.epoch.unwrap_or(0), false),
            // A resumption is later than what it lifts, so of two at one instant it is over.
            Fact::Suspension(_) => (first_epoch(self.at), self.kind != EventKind::DeviceResumed),
            Fact::SubjectOf(..) | Fact::Subject(..) => (self.epoch_reached(), false),
            Fact::NotBefore(_) => (self.epoch_reached(), false),
        }
    }
}

impl Known {
    /// What an event says for good.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let fact = event.fact()?;
        let event = event.clone();
        Some(Self { fact, event })
    }

    /// The fleet with this one, where it is about the fleet.
    #[must_use]
    pub fn over_fleet(&self, fleet: &Fleet) -> Fleet {
        if let Fact::NotBefore(app) = &self.fact {
            self.event.over_fleet(app.as_ref(), fleet)
        } else {
            fleet.clone()
        }
    }

    /// A subject is to be cut, or one of its consents, whose devices are not known. The epoch is ahead
    /// of what any instance can have given to a session until now.
    #[must_use]
    pub fn subject_cut(
        (tag, consent): ([u8; 32], Option<&ConsentId>),
        (why, by): (&str, &Actor),
        now: Timestamp,
    ) -> Self {
        let event = Event {
            at: now,
            kind: match consent {
                None => EventKind::SubjectRevoked,
                Some(_) => EventKind::ConsentRevoked,
            },
            app: None,
            device: None,
            session: None,
            consent: consent.cloned(),
            epoch: Some(first_epoch(now.after(INSTANCE_SKEW_MAX))),
            why: why.to_owned(),
            by: by.clone(),
        };
        let fact = Fact::Subject(tag, consent.cloned());
        Self { fact, event }
    }
}
