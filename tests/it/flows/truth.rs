//! The rules of sessions, told once more and in other words than the service's: no records, no versions,
//! no store, no tokens. What it knows of a device or session fits on a hand. A new operation is one
//! method here, one variant of `Operation` and one arm of `Model::run`.

mod rules;

use std::time::Duration;

use assay::policy::{ReuseRule, SessionLimitRule};
use assay::reason::Reason;
use assay::session::RefreshOutcome;
use assay::time::Timestamp;

pub(super) use self::rules::Rules;
use super::world::{ABSOLUTE, GRACE, IDLE};

/// As the policy of these tests says.
const DEVICE_SESSIONS_MAX: usize = 2;
const SUBJECT_SESSIONS_MAX: usize = 3;

/// So many generations a rotation by the sign-in server moves on.
const CUT_STRIDE: u32 = 1024;

/// An access token as its session gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) generation: u32,
    pub(super) expires_at: Timestamp,
    /// Its user has shown more than at sign-in.
    pub(super) elevated: bool,
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
    consent: Option<usize>,
    generation: u32,
    /// Tokens of earlier generations are void.
    valid_from: u32,
    rotated_at: Timestamp,
    idle_at: Timestamp,
    ends_at: Timestamp,
    ended: bool,
    /// Something wider than it was revoked since: the widest counts.
    cut: Option<Cut>,
    /// Until its user has shown more.
    waits: bool,
}

/// What was revoked of a subject, the widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    App,
    Subject,
    Consent,
}

impl Session {
    fn cut(&mut self, by: Cut) {
        self.cut = Some(self.cut.map_or(by, |cut| cut.min(by)));
    }
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
            (session.cut == Some(Cut::App), Reason::SessionRevoked),
            (session.cut == Some(Cut::Subject), Reason::SubjectRevoked),
            (session.cut == Some(Cut::Consent), Reason::SessionRevoked),
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

    /// Whether the user of a session may show more: an app may be enabled again, and a device resumed.
    fn usable_but_waits(&self, session: &Session) -> Result<(), Reason> {
        self.enabled()?;
        self.alive(session)?;
        if self.devices[session.device].suspended {
            return Err(Reason::DeviceSuspended);
        }
        Ok(())
    }

    /// Whether a session may be used now.
    fn usable(&self, session: &Session) -> Result<(), Reason> {
        self.usable_but_waits(session)?;
        if session.waits {
            return Err(Reason::StepUpRequired);
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

    /// Opens a session on a registered device, under a consent or none: its number.
    pub(super) fn issue(&mut self, device: usize, consent: Option<usize>) -> Result<usize, Reason> {
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
            consent,
            generation: 0,
            valid_from: 0,
            rotated_at: self.now,
            idle_at: self.now.after(IDLE),
            ends_at: self.now.after(ABSOLUTE),
            ended: false,
            cut: None,
            waits: false,
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
        self.refreshable(number)?;
        self.usable(session)?;
        if presented < session.valid_from {
            return Err(Reason::RefreshTokenVoid);
        }
        let current = session.generation;
        let in_grace = now <= session.rotated_at.after(GRACE);
        let outcome = if presented == current {
            RefreshOutcome::Rotated
        } else if presented > current {
            RefreshOutcome::Healed
        } else if presented + 1 == current && in_grace {
            RefreshOutcome::Retry
        } else {
            match self.rules.on_reuse {
                ReuseRule::RevokeSession => self.sessions[number].ended = true,
                ReuseRule::StepUp => self.sessions[number].waits = true,
                ReuseRule::Report => {}
            }
            return Err(Reason::RefreshTokenReused);
        };
        self.time_left(session.ends_at)?;
        if outcome != RefreshOutcome::Retry {
            self.go_on(number, presented + 1);
        }
        Ok((outcome, presented + 1))
    }

    /// An access token is made for whole seconds; in the last one there is none left to give.
    fn time_left(&self, until: Timestamp) -> Result<(), Reason> {
        if until.as_secs() <= self.now.as_secs() {
            return Err(Reason::SessionExpiredAbsolute);
        }
        Ok(())
    }

    fn go_on(&mut self, number: usize, generation: u32) {
        let session = &mut self.sessions[number];
        session.generation = generation;
        session.rotated_at = self.now;
        session.idle_at = self.now.after(IDLE);
    }

    /// What a refresh token says of itself, without its session: when that is over at the latest.
    pub(super) fn refreshable(&self, number: usize) -> Result<(), Reason> {
        if self.sessions[number].ends_at <= self.now {
            return Err(Reason::SessionExpiredAbsolute);
        }
        self.enabled()
    }

    /// Makes the tokens of a session void: the generation of the new ones.
    pub(super) fn rotate(&mut self, number: usize) -> Result<u32, Reason> {
        let session = &self.sessions[number];
        self.usable(session)?;
        self.time_left(session.ends_at)?;
        let generation = session.generation + CUT_STRIDE;
        self.sessions[number].valid_from = generation;
        self.go_on(number, generation);
        Ok(generation)
    }

    /// The user of a session shows more: the generation of the access token.
    pub(super) fn elevate(&mut self, number: usize) -> Result<u32, Reason> {
        let session = &self.sessions[number];
        self.usable_but_waits(session)?;
        self.time_left(session.ends_at.min(session.idle_at))?;
        let session = &mut self.sessions[number];
        if session.waits {
            session.waits = false;
            // The honest phone may be the one whose answer was lost.
            session.rotated_at = self.now;
        }
        Ok(session.generation)
    }

    /// What an access token says of itself, without its session.
    pub(super) fn unasked(&self, access: Access) -> Result<(), Reason> {
        // Whole seconds, rounded down.
        if access.expires_at.as_secs() * 1000 <= self.now.as_millis() {
            return Err(Reason::TokenExpired);
        }
        self.enabled()
    }

    /// Whether an access token of a session opens doors.
    pub(super) fn verify(&self, number: usize, access: Access) -> Result<(), Reason> {
        self.unasked(access)?;
        let session = &self.sessions[number];
        self.usable(session)?;
        if access.generation < session.valid_from {
            return Err(Reason::AccessTokenVoid);
        }
        Ok(())
    }

    /// Whether what is known here keeps an access token out, whatever the time: one that was given
    /// before all of this.
    pub(super) fn keeps_out(&self, number: usize, access: Access) -> bool {
        let Some(session) = self.sessions.get(number) else {
            return false;
        };
        let device = &self.devices[session.device];
        let over = session.ended || session.cut.is_some() || device.revoked;
        let held = device.suspended || session.waits;
        over || held || access.generation < session.valid_from
    }

    /// Whether a session's device is suspended by what is known here.
    pub(super) fn is_suspended(&self, device: usize) -> bool {
        self.devices[device].suspended
    }

    /// Ends a session, whoever does it and why.
    pub(super) fn end(&mut self, number: usize) {
        self.sessions[number].ended = true;
    }

    /// Ends a session by a refresh token of it: one that is void does nothing.
    pub(super) fn end_by_token(&mut self, number: usize, presented: u32) {
        self.sessions[number].ended |= presented >= self.sessions[number].valid_from;
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
            if self.devices[session.device].subject == subject {
                session.cut(Cut::Subject);
            }
        }
    }

    pub(super) fn revoke_consent(&mut self, of: usize, consent: usize) {
        let subject = self.devices[of].subject;
        for session in &mut self.sessions {
            let own = self.devices[session.device].subject == subject;
            if own && session.consent == Some(consent) {
                session.cut(Cut::Consent);
            }
        }
    }

    /// All sessions of the app until now are dead.
    pub(super) fn set_not_before(&mut self) {
        for session in &mut self.sessions {
            session.cut(Cut::App);
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
