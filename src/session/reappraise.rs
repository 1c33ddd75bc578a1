//! What becomes of a registered device when the lists and the policy of today are held against it.
//!
//! The policy of now says how a device that fails has to stand, and every run brings it there: what an
//! earlier run did under an older list or policy is taken back where it does not hold any more. Two
//! things are not taken back: a revocation, and what a person decided.

use super::{
    Actor, Device, DeviceState, Event, EventKind, RevocationReason, SuspensionReason, revoke,
    with_signal,
};
use crate::policy::{Consequence, Reappraisal, RiskPolicy, Signal, TrustLevel};
use crate::reason::Reason;
use crate::time::Timestamp;

/// One thing that is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The reason evidence like this is refused for.
    pub reason: Reason,
    /// The check that fails.
    pub check: &'static str,
}

/// What the revocation lists say of a device's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Nothing.
    Clear,
    /// Something of it is on one of them.
    Listed(Fault),
    /// There is no list to ask, and it matters.
    Unknown,
}

/// What the lists and the policy say of a device now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The lists.
    pub listing: Listing,
    /// The policy, of what is known of the device.
    pub below: Option<Fault>,
    /// How far what is known of the device is trusted when nothing is wrong.
    pub level: TrustLevel,
}

/// What was done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// It is noted that it fails.
    Reported,
    /// Its trust level is [`TrustLevel::Provisional`] from now on.
    Degraded,
    /// It is suspended.
    Suspended,
    /// It is revoked.
    Revoked,
    /// Nothing is held against it any more.
    Cleared,
}

/// A device that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reappraised {
    /// As it is from now on.
    pub device: Device,
    /// What was done with it.
    pub effect: Effect,
    /// What is wrong with it, where something is.
    pub fault: Option<Fault>,
}

impl Verdict {
    /// What is wrong, with what follows: of two the harsher, of two that are alike the listed
    /// certificate.
    #[must_use]
    pub fn finding(&self, rules: &Reappraisal) -> Option<(Fault, Consequence)> {
        let listed = match self.listing {
            Listing::Listed(fault) => Some((fault, rules.revoked_certificate)),
            Listing::Clear | Listing::Unknown => None,
        };
        let below = self.below.map(|fault| (fault, rules.below_policy));
        match (listed, below) {
            (Some(listed), Some(below)) if severity(below.1) > severity(listed.1) => Some(below),
            (Some(listed), _) => Some(listed),
            (None, below) => below,
        }
    }
}

const fn severity(consequence: Consequence) -> u8 {
    match consequence {
        Consequence::Report => 0,
        Consequence::Degrade => 1,
        Consequence::Suspend => 2,
        Consequence::Revoke => 3,
    }
}

/// Brings a device to where the policy of now wants it; `None`: it is there. So the same again gives
/// nothing.
///
/// A revoked device stays as it is. A suspension by a person stays theirs to lift, but does not save
/// the device from being revoked. Without a list to ask, nothing that is held against a device is
/// taken back.
#[must_use]
pub fn reappraise(
    device: &Device,
    verdict: &Verdict,
    rules: &Reappraisal,
    now: Timestamp,
) -> Option<Reappraised> {
    if let DeviceState::Revoked { .. } = device.state {
        return None;
    }
    let finding = verdict.finding(rules);
    let lenient = verdict.listing != Listing::Unknown;
    let mut next = device.clone();
    let Some((fault, consequence)) = finding else {
        if !lenient {
            return None;
        }
        next.doubt = None;
        next.trust_level = verdict.level;
        next.state = resumed(device.state);
        return changed(device, next, Effect::Cleared, None);
    };
    next.doubt = Some(fault.reason);
    let level = match consequence {
        Consequence::Degrade => TrustLevel::Provisional,
        Consequence::Report | Consequence::Suspend | Consequence::Revoke => verdict.level,
    };
    next.trust_level = if lenient {
        level
    } else {
        level.min(device.trust_level)
    };
    match consequence {
        Consequence::Revoke => next = revoke(&next, RevocationReason::Reappraisal, now),
        Consequence::Suspend if device.state == DeviceState::Active => {
            next.state = DeviceState::Suspended {
                at: now,
                why: SuspensionReason::Reappraisal,
            };
        }
        Consequence::Degrade | Consequence::Report if lenient => {
            next.state = resumed(device.state);
        }
        Consequence::Suspend | Consequence::Degrade | Consequence::Report => {}
    }
    let effect = match next.state {
        DeviceState::Revoked { .. } => Effect::Revoked,
        DeviceState::Suspended { .. } if next.state != device.state => Effect::Suspended,
        DeviceState::Active | DeviceState::Suspended { .. }
            if consequence == Consequence::Degrade && next.trust_level < device.trust_level =>
        {
            Effect::Degraded
        }
        DeviceState::Active | DeviceState::Suspended { .. } => Effect::Reported,
    };
    changed(device, next, effect, Some(fault))
}

/// Without the suspension of an earlier re-appraisal.
const fn resumed(state: DeviceState) -> DeviceState {
    match state {
        DeviceState::Suspended {
            why: SuspensionReason::Reappraisal,
            ..
        } => DeviceState::Active,
        DeviceState::Active | DeviceState::Suspended { .. } | DeviceState::Revoked { .. } => state,
    }
}

fn changed(
    before: &Device,
    device: Device,
    effect: Effect,
    fault: Option<Fault>,
) -> Option<Reappraised> {
    (*before != device).then_some(Reappraised {
        device,
        effect,
        fault,
    })
}

impl Reappraised {
    /// With what it says of the device's risk: that something is wrong with it which was not known.
    #[must_use]
    pub fn weighed(self, before: &Device, policy: &RiskPolicy, now: Timestamp) -> Self {
        if self.fault.is_none() || before.doubt == self.device.doubt {
            return self;
        }
        let (device, _) = with_signal(self.device, Signal::PostureDowngraded, policy, now);
        Self { device, ..self }
    }

    /// What to tell of it: what was done, and that a device is free again.
    #[must_use]
    pub fn events(&self, before: &Device, by: &Actor, now: Timestamp) -> Vec<Event> {
        let resumed =
            before.state != DeviceState::Active && self.device.state == DeviceState::Active;
        let found = self.fault.map_or("", |fault| fault.reason.as_str());
        let revoked = RevocationReason::Reappraisal.as_str();
        let suspended = SuspensionReason::Reappraisal.as_str();
        let noted = (before.doubt, before.trust_level);
        let done = match self.effect {
            Effect::Revoked => Some((EventKind::DeviceRevoked, revoked)),
            Effect::Suspended => Some((EventKind::DeviceSuspended, suspended)),
            Effect::Degraded => Some((EventKind::DeviceDegraded, found)),
            // It was noted before: what changed is that less follows from it.
            Effect::Reported if noted == (self.device.doubt, self.device.trust_level) => None,
            Effect::Reported => Some((EventKind::DeviceDoubted, found)),
            Effect::Cleared => Some((EventKind::DeviceCleared, "")),
        };
        let resumed = resumed.then_some((EventKind::DeviceResumed, ""));
        let weighed = before.risk != self.device.risk;
        let signal = Signal::PostureDowngraded.as_str();
        let weighed = weighed.then_some((EventKind::RiskSignal, signal));
        let told = done.into_iter().chain(weighed).chain(resumed);
        told.map(|(kind, why)| {
            let resumed = kind == EventKind::DeviceResumed;
            let at = if resumed { before.resumed_at(now) } else { now };
            let service = Actor::service();
            let seen = kind == EventKind::RiskSignal;
            let by = if seen { &service } else { by };
            self.device.event(kind, why.to_owned(), by, at)
        })
        .collect()
    }
}
