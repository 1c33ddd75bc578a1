//! How often things may be done: rates for subjects, devices, networks and callers.
//!
//! A rate that is not set limits nothing. What is counted when is the shell's work
//! (`src/flow/limits.rs`).

use std::time::Duration;

/// So many in so long, all of them at once if need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

impl Rate {
    /// The part of it that is left to whoever is trusted less: at least one.
    #[must_use]
    pub fn lowered(self, divisor: u32) -> Self {
        Self {
            count: (self.count / divisor.max(1)).max(1),
            per: self.per,
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Registering a device, attesting one again, moving one to a new key.
    Register,
    /// Opening a session.
    Issue,
    /// Refreshing a session.
    Refresh,
}

/// How often one thing may be done in an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionRates {
    /// By one subject.
    pub subject: Option<Rate>,
    /// On one device.
    pub device: Option<Rate>,
}

/// How often things may be done in an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// [`Action::Register`]
    pub register: ActionRates,
    /// [`Action::Issue`]
    pub issue: ActionRates,
    /// [`Action::Refresh`]
    pub refresh: ActionRates,
    /// Sending one refresh token again.
    pub refresh_retry: Option<Rate>,
    /// What the rates of a device are divided by while something is held against it.
    pub doubt_divisor: u32,
}

impl Rates {
    /// Nothing is limited.
    #[must_use]
    pub const fn none() -> Self {
        const NONE: ActionRates = ActionRates {
            subject: None,
            device: None,
        };
        Self {
            register: NONE,
            issue: NONE,
            refresh: NONE,
            refresh_retry: None,
            doubt_divisor: 1,
        }
    }

    /// The rates of one thing.
    #[must_use]
    pub const fn of(&self, action: Action) -> &ActionRates {
        match action {
            Action::Register => &self.register,
            Action::Issue => &self.issue,
            Action::Refresh => &self.refresh,
        }
    }
}

/// How often things may be asked of the whole service, whatever the app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceRates {
    /// By one calling service.
    pub caller: Option<Rate>,
    /// [`Action::Register`] from one network.
    pub register: Option<Rate>,
    /// [`Action::Issue`] from one network.
    pub issue: Option<Rate>,
    /// [`Action::Refresh`] from one network.
    pub refresh: Option<Rate>,
    /// As how many more a telling failure counts.
    pub failure_cost: u32,
}

impl ServiceRates {
    /// How often one thing may be asked for from one network.
    #[must_use]
    pub const fn network(&self, action: Action) -> Option<Rate> {
        match action {
            Action::Register => self.register,
            Action::Issue => self.issue,
            Action::Refresh => self.refresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_rate_leaves_one_at_least() {
        let rate = |count| Rate {
            count,
            per: Duration::from_secs(60),
        };
        assert_eq!(rate(20).lowered(4), rate(5));
        assert_eq!(rate(3).lowered(4), rate(1));
        assert_eq!(rate(3).lowered(0), rate(3));
    }
}
