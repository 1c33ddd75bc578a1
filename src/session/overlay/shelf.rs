//! Facts in order of age, up to so many.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Known};
use crate::session::{Event, EventKind};
use crate::time::Timestamp;

/// Facts with the newest event about each, up to so many.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) facts: BTreeMap<Fact, Event>,
    pub(super) by_age: BTreeSet<(Timestamp, Fact)>,
    /// Those of which is not known that the store has them.
    pub(super) waiting: BTreeSet<Fact>,
    /// Those among them that the store was never told.
    pub(super) held: BTreeSet<Fact>,
    pub(super) max: usize,
}

impl Shelf {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            facts: BTreeMap::new(),
            by_age: BTreeSet::new(),
            waiting: BTreeSet::new(),
            held: BTreeSet::new(),
            max,
        }
    }

    pub(super) fn put(&mut self, fact: Fact, event: Event, kept: bool) {
        self.remove(&fact);
        if self.facts.len() >= self.max
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.remove(&oldest);
        }
        self.by_age.insert((event.at, fact.clone()));
        if !kept {
            self.waiting.insert(fact.clone());
        }
        self.facts.insert(fact, event);
    }

    pub(super) fn remove(&mut self, fact: &Fact) {
        if let Some(event) = self.facts.remove(fact) {
            self.by_age.remove(&(event.at, fact.clone()));
            self.settle(fact);
        }
    }

    /// The store has it, or has no use for it.
    pub(super) fn settle(&mut self, fact: &Fact) {
        self.waiting.remove(fact);
        self.held.remove(fact);
    }

    /// The store has to be told of it for the first time, if it does not have it by now.
    pub(super) fn hold(&mut self, fact: &Fact) {
        if self.waiting.contains(fact) {
            self.held.insert(fact.clone());
        }
    }

    /// Forgets what is older and kept.
    pub(super) fn prune(&mut self, before: Timestamp) {
        let old = self.by_age.iter().take_while(|(at, _)| *at < before);
        let gone = old.filter(|(_, fact)| !self.waiting.contains(fact));
        for fact in gone.map(|(_, fact)| fact.clone()).collect::<Vec<_>>() {
            self.remove(&fact);
        }
    }

    pub(super) fn doubt(&mut self) {
        // A resumption that is lost keeps somebody out, and is asked for again.
        let lost = |event: &Event| event.kind != EventKind::DeviceResumed;
        let facts = self.facts.iter().filter(|(_, event)| lost(event));
        self.waiting = facts.map(|(fact, _)| fact.clone()).collect();
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = Known> + '_ {
        self.waiting.iter().filter_map(|fact| {
            let (fact, event) = self.facts.get_key_value(fact)?;
            let (fact, event) = (fact.clone(), event.clone());
            Some(Known { fact, event })
        })
    }
}
