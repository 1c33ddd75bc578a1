//! The rules of sessions, told once more and in other words than the service's: no records, no versions,
//! no store, no tokens. What it knows of a device or session fits on a hand. A new operation is one
//! method here, one variant of `Operation` and one arm of `Model::run`.

use std::time::Duration;

use assay::policy::{ReuseRule, SessionLimitRule};
use assay::reason::Reason;
use assay::session::RefreshOutcome;
use assay::time::Timestamp;

use super::world::{ABSOLUTE, GRACE, IDLE};

/// As the policy of these tests says.
const DEVICE_SESSIONS_MAX: usize = 2;
const SUBJECT_SESSIONS_MAX: usize = 3;

/// What the policy of a case says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) at_limit: SessionLimitRule,
    pub(super) on_reuse: ReuseRule,
}

/// A device; its number is its place.
#[derive(Debug, Clone)]
struct Device {
    subject: &'static str,
    registered: bool,
    revoked: bool,
    suspended: bool,
}

/// A session; its number is its place, in the order of opening.
#[derive(Debug, Clone)]
struct Session {
    device: usize,
    generation: u32,
    rotated_at: Timestamp,
    idle_at: Timestamp,
    ends_at: Timestamp,
    ended: bool,
    /// Its subject was revoked since.
    cut: bool,
}

/// What is true.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    now: Timestamp,
    rules: Rules,
    disabled: bool,
    devices: Vec<Device>,
    sessions: Vec<Session>,
    pub(super) evicted: usize,
}

impl Truth {
    pub(super) fn new(rules: Rules, now: Timestamp, subjects: &[&'static str]) -> Self {
        let device = |subject| Device {
            subject,
            registered: false,
            revoked: false,
            suspended: false,
        };
        Self {
            now,
            rules,
            disabled: false,
            devices: subjects.iter().copied().map(device).collect(),
            sessions: Vec::new(),
            evicted: 0,
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    pub(super) const fn switch(&mut self, disabled: bool) {
        self.disabled = disabled;
    }

    pub(super) const fn is_disabled(&self) -> bool {
        self.disabled
    }

    pub(super) fn is_registered(&self, device: usize) -> bool {
        self.devices[device].registered
    }

    fn enabled(&self) -> Result<(), Reason> {
        if self.disabled {
            return Err(Reason::AppDisabled);
        }
        Ok(())
    }

    /// Why a session is dead for ever, if it is: the widest cause first.
    fn alive(&self, session: &Session) -> Result<(), Reason> {
        let device = &self.devices[session.device];
        let causes = [
            (session.cut, Reason::SubjectRevoked),
            (device.revoked, Reason::DeviceRevoked),
            (session.ended, Reason::SessionRevoked),
            (session.ends_at <= self.now, Reason::SessionExpiredAbsolute),
            (session.idle_at <= self.now, Reason::SessionExpiredIdle),
        ];
        causes
            .into_iter()
            .find_map(|(holds, reason)| holds.then_some(reason))
            .map_or(Ok(()), Err)
    }

    /// Whether a session may be used now: an app may be enabled again, and a device resumed.
    fn usable(&self, session: &Session) -> Result<(), Reason> {
        self.enabled()?;
        self.alive(session)?;
        if self.devices[session.device].suspended {
            return Err(Reason::DeviceSuspended);
        }
        Ok(())
    }

    /// Registers a device, or the very same again.
    pub(super) fn register(&mut self, device: usize, challenge_over: bool) -> Result<(), Reason> {
        self.enabled()?;
        let device = &mut self.devices[device];
        if challenge_over {
            Err(Reason::ChallengeInvalid)
        } else if device.revoked {
            Err(Reason::DeviceKeyBanned)
        } else if device.suspended {
            Err(Reason::DeviceSuspended)
        } else {
            device.registered = true;
            Ok(())
        }
    }

    /// Opens a session on a registered device: its number.
    pub(super) fn issue(&mut self, device: usize) -> Result<usize, Reason> {
        self.enabled()?;
        if self.devices[device].revoked {
            return Err(Reason::DeviceRevoked);
        }
        if self.devices[device].suspended {
            return Err(Reason::DeviceSuspended);
        }
        let subject = self.devices[device].subject;
        let lives = |number: &usize| self.alive(&self.sessions[*number]).is_ok();
        let here = |number: &usize| self.sessions[*number].device == device;
        let of_user =
            |number: &usize| self.devices[self.sessions[*number].device].subject == subject;
        let all = || (0..self.sessions.len()).filter(lives).filter(of_user);
        let device_full = all().filter(here).count() >= DEVICE_SESSIONS_MAX;
        if device_full || all().count() >= SUBJECT_SESSIONS_MAX {
            if self.rules.at_limit == SessionLimitRule::Refuse {
                return Err(Reason::SessionLimit);
            }
            let near = all().filter(|number| !device_full || here(number));
            // Of those used at the same time, the one opened first.
            let oldest = near.min_by_key(|number| self.sessions[*number].rotated_at);
            self.sessions[oldest.unwrap()].ended = true;
            self.evicted += 1;
        }
        self.sessions.push(Session {
            device,
            generation: 0,
            rotated_at: self.now,
            idle_at: self.now.after(IDLE),
            ends_at: self.now.after(ABSOLUTE),
            ended: false,
            cut: false,
        });
        Ok(self.sessions.len() - 1)
    }

    /// Presents a refresh token of a session by its generation: how it ends, and the next generation.
    pub(super) fn refresh(
        &mut self,
        number: usize,
        presented: u32,
    ) -> Result<(RefreshOutcome, u32), Reason> {
        let now = self.now;
        let session = &self.sessions[number];
        // The token itself says when its session is over.
        if session.ends_at <= now {
            return Err(Reason::SessionExpiredAbsolute);
        }
        self.usable(session)?;
        let current = session.generation;
        let in_grace = now <= session.rotated_at.after(GRACE);
        // An access token is made for whole seconds; in the last one there is none left to give.
        let last_second = session.ends_at.as_secs() <= now.as_secs();
        let outcome = if presented == current {
            RefreshOutcome::Rotated
        } else if presented > current {
            RefreshOutcome::Healed
        } else if presented + 1 == current && in_grace {
            RefreshOutcome::Retry
        } else {
            if self.rules.on_reuse == ReuseRule::RevokeSession {
                self.sessions[number].ended = true;
            }
            return Err(Reason::RefreshTokenReused);
        };
        if last_second {
            return Err(Reason::SessionExpiredAbsolute);
        }
        if outcome != RefreshOutcome::Retry {
            let session = &mut self.sessions[number];
            session.generation = presented + 1;
            session.rotated_at = now;
            session.idle_at = now.after(IDLE);
        }
        Ok((outcome, presented + 1))
    }

    /// Whether an access token of a session opens doors.
    pub(super) fn verify(&self, number: usize, expires_at: Timestamp) -> Result<(), Reason> {
        // Whole seconds, rounded down.
        if expires_at.as_secs() * 1000 <= self.now.as_millis() {
            return Err(Reason::TokenExpired);
        }
        self.usable(&self.sessions[number])
    }

    /// Ends a session, whoever does it and why.
    pub(super) fn end(&mut self, number: usize) {
        self.sessions[number].ended = true;
    }

    /// Whether the record of a session may be forgotten: a day after its end.
    pub(super) fn may_be_forgotten(&self, number: usize) -> bool {
        const DAY: Duration = Duration::from_secs(86_400);
        self.sessions[number].ends_at.after(DAY) <= self.now
    }

    pub(super) fn revoke_device(&mut self, device: usize) {
        self.devices[device].revoked = true;
    }

    pub(super) fn revoke_subject(&mut self, of: usize) {
        let subject = self.devices[of].subject;
        for session in &mut self.sessions {
            session.cut |= self.devices[session.device].subject == subject;
        }
    }

    pub(super) fn suspend(&mut self, device: usize, suspended: bool) -> Result<(), Reason> {
        if self.devices[device].revoked {
            return Err(Reason::DeviceRevoked);
        }
        self.devices[device].suspended = suspended;
        Ok(())
    }

    /// The sessions of a device's subject that may be used, the newest first.
    pub(super) fn list(&self, of: usize) -> Vec<usize> {
        let subject = self.devices[of].subject;
        let listed = |number: &usize| {
            let session = &self.sessions[*number];
            self.devices[session.device].subject == subject && self.usable(session).is_ok()
        };
        (0..self.sessions.len()).rev().filter(listed).collect()
    }
}
