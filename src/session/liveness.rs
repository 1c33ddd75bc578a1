//! Whether a session may be used: asked before every answer that helps its holder.

use super::{Device, DeviceState, Fleet, Refusal, Session, SessionState, SubjectRecord};
use crate::reason::Reason;
use crate::time::Timestamp;

/// Whether an app may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Configured and enabled.
    Enabled,
    /// Not configured, or switched off.
    Disabled,
}

/// All that a session depends on, as loaded. What is missing counts as revoked: lost state never
/// opens a door.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The session's app.
    pub app: Standing,
    /// The session's device.
    pub device: Option<&'a Device>,
    /// The session's subject.
    pub subject: Option<&'a SubjectRecord>,
    /// The fleet; absent: nothing was ever cut fleet-wide.
    pub fleet: Option<&'a Fleet>,
}

impl Surroundings<'_> {
    /// Checks a session against everything that can have cut it. Any level cuts.
    ///
    /// # Errors
    /// The reason of the widest level that cut it. [`Reason::DeviceSuspended`] and
    /// [`Reason::StepUpRequired`] come last, because they cut nothing: a session that is refused with
    /// them is good again when its device is resumed, or its user has shown more.
    pub fn check(&self, session: &Session, now: Timestamp) -> Result<(), Refusal> {
        self.check_but_step_up(session, now)?;
        match session.step_up {
            None => Ok(()),
            Some(_) => Err(Reason::StepUpRequired.into()),
        }
    }

    /// The same for the one call that a session waiting for a step-up is there for.
    ///
    /// # Errors
    /// As [`Self::check`], but for [`Reason::StepUpRequired`].
    pub(super) fn check_but_step_up(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.app == Standing::Disabled {
            return Err(Reason::AppDisabled.into());
        }
        if self.fleet.is_some_and(|fleet| fleet.cuts(session)) {
            return Err(Reason::SessionRevoked.into());
        }
        let subject = match self.subject {
            Some(subject) if subject.epoch == session.subject_epoch => subject,
            _ => return Err(Reason::SubjectRevoked.into()),
        };
        if subject.has_revoked_the_consent_of(session) {
            return Err(Reason::SessionRevoked.into());
        }
        let device = self.device.ok_or(Reason::DeviceRevoked)?;
        if let DeviceState::Revoked { .. } = device.state {
            return Err(Reason::DeviceRevoked.into());
        }
        if device.epoch != session.device_epoch || device.session_key != session.session_key {
            return Err(Reason::SessionRevoked.into());
        }
        if let SessionState::Ended { .. } = session.state {
            return Err(Reason::SessionRevoked.into());
        }
        if session.expires_at <= now {
            return Err(Reason::SessionExpiredAbsolute.into());
        }
        if session.idle_expires_at <= now {
            return Err(Reason::SessionExpiredIdle.into());
        }
        device.check_active()
    }

    /// Whether a session may be used, now or later: a disabled app may be enabled again, a
    /// suspended device resumed and a user step up, and the sessions with them that nothing has cut.
    #[must_use]
    pub fn may_come_back(&self, session: &Session, now: Timestamp) -> bool {
        let enabled = Self {
            app: Standing::Enabled,
            ..*self
        };
        matches!(
            enabled.check(session, now),
            Ok(()) | Err(Refusal(Reason::DeviceSuspended | Reason::StepUpRequired))
        )
    }
}

impl Fleet {
    /// Whether a session was opened before one of the instants that concern it. A session opened in
    /// the very millisecond of the cut is cut.
    fn cuts(&self, session: &Session) -> bool {
        let cut = self.cut_until(&session.app);
        cut.is_some_and(|cut| session.opened_at <= cut)
    }
}

impl Device {
    /// Checks that the device may have sessions.
    ///
    /// # Errors
    /// [`Reason::DeviceRevoked`], [`Reason::DeviceSuspended`]
    pub const fn check_active(&self) -> Result<(), Refusal> {
        match self.state {
            DeviceState::Active => Ok(()),
            DeviceState::Suspended { .. } => Err(Refusal(Reason::DeviceSuspended)),
            DeviceState::Revoked { .. } => Err(Refusal(Reason::DeviceRevoked)),
        }
    }
}
