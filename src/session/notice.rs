//! What verifiers have to know of a revocation: which access tokens may no longer be taken without
//! asking.
//!
//! A notice never says that a token is dead, only that whoever verifies by himself has to ask: so it may
//! name more tokens than were revoked, never fewer, and one that comes twice or late does no harm.

use super::{Event, EventKind};
use crate::id::{AppId, DeviceId, SessionId};
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// Access tokens that may no longer be taken without asking.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Whose.
    pub target: Target,
    /// Those issued at this instant or before.
    pub issued_until: Timestamp,
}

/// Whose access tokens a notice is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Those of a session (`sid`).
    Session(SessionId),
    /// Those of a device (`did`).
    Device(DeviceId),
    /// Those of an app (`client_id`).
    App(AppId),
    /// All.
    Everything,
}

impl Event {
    /// What verifiers have to know of it, where it came into the store at `kept_at`; `None`: it takes
    /// nothing from anybody.
    ///
    /// What could not be written at once, or was lost and is written again, comes there long after it
    /// happened, and until then other instances mint access tokens for whom it takes out.
    #[must_use]
    pub fn notice(&self, kept_at: Timestamp) -> Option<Notice> {
        let target = match self.kind {
            EventKind::SessionEnded
            | EventKind::SessionRotated
            | EventKind::SessionHeld
            | EventKind::RiskActed => Target::Session(self.session?),
            EventKind::DeviceKeyRotated
            | EventKind::DeviceSuspended
            | EventKind::DeviceRevoked
            | EventKind::DeviceDegraded
            | EventKind::SubjectRevoked
            | EventKind::ConsentRevoked
            | EventKind::SubjectErased => Target::Device(self.device?),
            EventKind::NotBeforeSet => self.app.clone().map_or(Target::Everything, Target::App),
            EventKind::DeviceRegistered
            | EventKind::DeviceReattested
            | EventKind::DeviceLinked
            | EventKind::DeviceResumed
            | EventKind::DeviceDoubted
            | EventKind::DeviceCleared
            | EventKind::SessionOpened
            | EventKind::SessionElevated
            | EventKind::PresenceKeyEnrolled
            | EventKind::RiskSignal
            | EventKind::RiskMonitored => return None,
        };
        Some(Notice {
            target,
            // An instance whose clock is ahead may have minted just before.
            issued_until: self.at.max(kept_at).after(INSTANCE_SKEW_MAX),
        })
    }
}
