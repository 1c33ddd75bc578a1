//! What is known of recent revocations beside the records: whatever a record says, it is read with
//! this laid over it, so that a revocation this instance has heard of holds although the store has
//! lost it.
//!
//! Each thing known is one [`Fact`] with the newest event about it. Facts only grow: an epoch moves on,
//! what is over stays over; of a suspension the last word counts. So facts that come twice, late or in
//! another order end up the same, and to write them into the store again takes nothing back.

use std::time::Duration;

mod fact;
mod shelf;

pub use fact::{Fact, Known};

use shelf::Shelf;

use super::{
    Cut, Device, DeviceState, EndReason, Event, EventKind, Fleet, RevocationReason, Session,
    SessionState, SubjectRecord, SuspensionReason,
};
use crate::id::{ConsentId, DeviceId};
use crate::policy::ACCESS_FOR_MAX;
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// How long a fact is kept. It has to outlast a failover: a replica that was cut off for longer than a
/// few minutes is not promoted by itself, and one that people promote is promoted within the hour. The
/// longest life of an access token is as long, so what an instance reads when it starts is enough for
/// both.
pub const OVERLAY_KEPT_FOR: Duration = ACCESS_FOR_MAX.saturating_add(INSTANCE_SKEW_MAX);

/// Most facts about revocations and suspensions, about 400 bytes each; then the oldest ones go.
pub const REVOCATIONS_MAX: usize = 65_536;

/// Most facts about sessions that ended without being revoked. They have room of their own: whoever
/// opens and ends sessions must not push revocations out.
pub const ENDINGS_MAX: usize = 65_536;

/// Most facts that wait to be written for the first time.
pub const WAITING_MAX: usize = 4096;

/// All facts an instance knows.
#[derive(Debug)]
pub struct Overlay {
    revocations: Shelf,
    endings: Shelf,
    /// How often it was doubted what the store has.
    doubts: u64,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            revocations: Shelf::new(REVOCATIONS_MAX),
            endings: Shelf::new(ENDINGS_MAX),
            doubts: 0,
        }
    }
}

impl Overlay {
    /// Takes note of a fact. `kept` says that the store has it.
    pub fn note(&mut self, known: Known, kept: bool) {
        let Known { fact, event } = known;
        let shelf = self.shelf_of(&fact, &event);
        let old = shelf.facts.get(&fact).map(|old| old.rank(&fact));
        let new = event.rank(&fact);
        // That one bucket has it says nothing of the others where all are to be looked at.
        let kept = kept && !(fact.is_everywhere() && shelf.waiting.contains(&fact));
        if old.is_none_or(|old| old < new) {
            shelf.put(fact, event, kept);
        } else if old == Some(new) && kept {
            shelf.settle(&fact);
        }
    }

    /// Takes note of a fact that the store does not have yet. Whether there was room for it.
    #[must_use]
    pub fn wait(&mut self, known: Known) -> bool {
        // What is only doubted, every logout of the last hour, takes no room from it.
        let held = self.revocations.held.len() + self.endings.held.len();
        let room = held < WAITING_MAX;
        if room {
            let Known { fact, event } = known.clone();
            self.note(known, false);
            self.shelf_of(&fact, &event).hold(&fact);
        }
        room
    }

    /// The store has this one, or has no use for it.
    pub fn settle(&mut self, known: &Known) {
        let shelf = self.shelf_of(&known.fact, &known.event);
        if shelf.facts.get(&known.fact) == Some(&known.event) {
            shelf.settle(&known.fact);
        }
    }

    /// Nothing is known any more of what the store has.
    pub fn doubt(&mut self) {
        self.revocations.doubt();
        self.endings.doubt();
        self.doubts = self.doubts.wrapping_add(1);
    }

    /// Another number as soon as what the store has is doubted again: by it a commit that was answered
    /// is known to be one of a server that may have been replaced meanwhile.
    #[must_use]
    pub const fn doubts(&self) -> u64 {
        self.doubts
    }

    /// Forgets what is too old to have been lost.
    pub fn prune(&mut self, now: Timestamp) {
        let before = now.before(OVERLAY_KEPT_FOR);
        self.revocations.prune(before);
        self.endings.prune(before);
    }

    /// Up to so many of those that the store is not known to have, revocations first.
    #[must_use]
    pub fn waiting(&self, max: usize) -> Vec<Known> {
        let waiting = self.revocations.waiting().chain(self.endings.waiting());
        waiting.take(max).collect()
    }

    /// Whether the store is not known to have this one.
    #[must_use]
    pub fn is_waiting(&self, known: &Known) -> bool {
        let shelves = [&self.revocations, &self.endings];
        shelves.iter().any(|shelf| {
            shelf.waiting.contains(&known.fact)
                && shelf.facts.get(&known.fact) == Some(&known.event)
        })
    }

    /// How many the store is not known to have.
    #[must_use]
    pub fn waits(&self) -> usize {
        self.revocations.waiting.len() + self.endings.waiting.len()
    }

    /// How many facts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revocations.facts.len() + self.endings.facts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the subject with this tag was cut in a way that no notice tells of.
    #[must_use]
    pub fn has_subject(&self, tag: [u8; 32]) -> bool {
        self.of_subject(tag).next().is_some()
    }

    /// What is known of a subject by its tag, and of its consents.
    fn of_subject(&self, tag: [u8; 32]) -> impl Iterator<Item = (Option<&ConsentId>, &Event)> {
        let from = self.revocations.facts.range(Fact::Subject(tag, None)..);
        from.map_while(move |(fact, event)| {
            let Fact::Subject(of, consent) = fact else {
                return None;
            };
            (*of == tag).then_some((consent.as_ref(), event))
        })
    }

    /// What is known of the subject of a device, and of its consents.
    fn of_subject_of(
        &self,
        device: DeviceId,
    ) -> impl Iterator<Item = (Option<&ConsentId>, &Event)> {
        let from = self
            .revocations
            .facts
            .range(Fact::SubjectOf(device, None)..);
        from.map_while(move |(fact, event)| {
            let Fact::SubjectOf(of, consent) = fact else {
                return None;
            };
            (*of == device).then_some((consent.as_ref(), event))
        })
    }

    /// A session as it is by all that is known.
    pub fn over_session(&self, session: &mut Session) {
        if let Some(event) = self.event(&Fact::Ended(session.id))
            && session.state == SessionState::Live
        {
            let why = EndReason::parse(&event.why);
            session.state = SessionState::Ended { at: event.at, why };
        }
        if let Some(event) = self.event(&Fact::Cut(session.id)) {
            let generation = u32::try_from(event.epoch.unwrap_or(0)).unwrap_or(u32::MAX);
            if session.cut.is_none_or(|cut| cut.generation < generation) {
                let at = event.at;
                session.cut = Some(Cut { generation, at });
            }
            // What is given next is from behind the cut: the store has lost that the session moved on.
            session.generation = session.generation.max(generation);
        }
    }

    /// A device as it is by all that is known. Answers the suspension that only is known here.
    pub fn over_device(&self, device: &mut Device) -> Option<DeviceState> {
        if let Some(event) = self.event(&Fact::Revoked(device.id)) {
            if !matches!(device.state, DeviceState::Revoked { .. }) {
                let why = RevocationReason::parse(&event.why);
                let why = why.unwrap_or(RevocationReason::Administrative);
                device.state = DeviceState::Revoked { at: event.at, why };
            }
            device.epoch = device.epoch.max(event.epoch.unwrap_or(0));
        }
        let event = self.event(&Fact::Suspension(device.id))?;
        if device.state != DeviceState::Active || event.kind == EventKind::DeviceResumed {
            return None;
        }
        let why = SuspensionReason::parse(&event.why);
        let why = why.unwrap_or(SuspensionReason::Administrative);
        device.state = DeviceState::Suspended { at: event.at, why };
        Some(device.state)
    }

    /// A subject as it is by all that is known.
    pub fn over_subject(&self, subject: &mut SubjectRecord, tag: [u8; 32]) {
        let devices = subject.devices.iter();
        let of_devices = devices.flat_map(|device| self.of_subject_of(device.id));
        let mut newest = 0;
        for (consent, event) in self.of_subject(tag).chain(of_devices) {
            let reached = event.epoch_reached();
            match consent {
                None => newest = newest.max(reached),
                Some(consent) => {
                    let known = subject.consents.entry(consent.clone()).or_default();
                    *known = reached.max(*known);
                }
            }
        }
        if newest > subject.epoch {
            subject.epoch = newest;
            // As when it is revoked: none of them comes back.
            subject.sessions.clear();
        }
    }

    /// The fleet as it is by all that is known; there may be no record of it.
    pub fn over_fleet(&self, fleet: &mut Option<Fleet>) {
        for (fact, event) in self.revocations.facts.range(Fact::NotBefore(None)..) {
            let Fact::NotBefore(app) = fact else { break };
            let kept = fleet.take().unwrap_or_default();
            *fleet = Some(event.over_fleet(app.as_ref(), &kept));
        }
    }

    fn event(&self, fact: &Fact) -> Option<&Event> {
        let shelves = [&self.revocations, &self.endings];
        let mut found = shelves.iter().filter_map(|shelf| shelf.facts.get(fact));
        found.next()
    }

    fn shelf_of(&mut self, fact: &Fact, event: &Event) -> &mut Shelf {
        let ended = matches!(fact, Fact::Ended(_));
        if ended && RevocationReason::parse(&event.why).is_none() {
            &mut self.endings
        } else {
            &mut self.revocations
        }
    }
}

impl Device {
    /// When a resumption of this device takes place. A clock that is behind must not make it look
    /// older than the suspension it lifts.
    #[must_use]
    pub fn resumed_at(&self, now: Timestamp) -> Timestamp {
        match self.state {
            DeviceState::Suspended { at, .. } => now.max(at.after(Duration::from_millis(1))),
            DeviceState::Active | DeviceState::Revoked { .. } => now,
        }
    }
}
