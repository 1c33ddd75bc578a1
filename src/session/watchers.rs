//! Who follows revocations, and who has heard of those before a given moment: one record that all
//! instances share.
//!
//! Instances' clocks differ, so no instant of one is compared with one of another. Whoever wants to know
//! begins a *round*: a random name at the end of the record's list. An instance that reads the name
//! tells its watchers about it in the cursor of the first checkpoint that is newer, by its own clock,
//! than the reading; what was committed before the round began is told before that checkpoint. The
//! watcher that acknowledges the cursor has heard of it all.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::InvalidId;
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// Most watchers that are kept in mind. One takes 400 bytes at most and 100 as a rule, and the record is
/// written once a second by each instance.
pub const WATCHERS_MAX: usize = 512;

/// Most of them with one identity: none may take the places of all others.
pub const WATCHERS_PER_CALLER_MAX: usize = 256;

/// A watcher that was neither connected nor heard of for so long is forgotten: a minute, and what the
/// clocks of instances may differ by.
pub const WATCHER_KEPT_FOR: Duration = Duration::from_secs(60).saturating_add(INSTANCE_SKEW_MAX);

/// So long after a record was begun, every instance has added the watchers it knows: it does so once a
/// second.
const COMPLETE_AFTER: Duration = Duration::from_secs(3);

/// Rounds that are kept in mind: each is of interest for half a minute at most.
pub const ROUNDS_MAX: usize = 32;

/// Longest name of a watcher, in bytes: a UUID or the name of a pod fits.
const NAME_BYTES_MAX: usize = 64;

/// Longest identity of a caller that can be kept, in bytes.
const CALLER_BYTES_MAX: usize = 256;

/// A watcher: the identity of the caller, and its own name among those of that identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatcherId {
    caller: String,
    name: String,
}

impl WatcherId {
    /// A watcher of this caller, by its own name: 1 to 64 visible ASCII characters.
    ///
    /// # Errors
    /// [`InvalidId`], also for a caller whose identity is longer than 256 bytes.
    pub fn new(caller: &str, name: &str) -> Result<Self, InvalidId> {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic())
            && caller.len() <= CALLER_BYTES_MAX;
        if fits {
            let (caller, name) = (caller.to_owned(), name.to_owned());
            Ok(Self { caller, name })
        } else {
            Err(InvalidId)
        }
    }

    /// The identity of its certificate.
    #[must_use]
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// Its own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A round, by 16 random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoundId(pub [u8; 16]);

/// What is known of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watcher {
    /// When it was last connected or heard of.
    pub seen_at: Timestamp,
    /// Up to when it has everything, by the clock of its instance; `None`: it never said.
    pub acked_until: Option<Timestamp>,
    /// The last round it has passed.
    pub passed: Option<RoundId>,
}

/// All watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roll {
    /// When it was begun: with the first watcher, or after it was lost.
    pub began_at: Timestamp,
    /// The last rounds, oldest first.
    pub rounds: Vec<RoundId>,
    /// The watchers.
    pub watchers: BTreeMap<WatcherId, Watcher>,
    /// When somebody was last left out because there are too many.
    pub left_out_at: Option<Timestamp>,
}

impl Roll {
    /// One on which nobody is yet.
    #[must_use]
    pub const fn begin(now: Timestamp) -> Self {
        Self {
            began_at: now,
            rounds: Vec::new(),
            watchers: BTreeMap::new(),
            left_out_at: None,
        }
    }

    /// Whether every watcher is on it, as far as can be said, and the round, too: it was not lost
    /// meanwhile.
    #[must_use]
    pub fn is_complete(&self, round: RoundId, now: Timestamp) -> bool {
        self.place(round).is_some()
            && self.left_out_at.is_none()
            && now.since(self.began_at) >= COMPLETE_AFTER
    }

    /// With what an instance has seen, and without those who were not seen for long.
    #[must_use]
    pub fn merged(&self, seen: &Self, now: Timestamp) -> Self {
        let mut roll = self.clone();
        roll.left_out_at = roll.left_out_at.max(seen.left_out_at);
        roll.forget(now);
        for (id, seen) in &seen.watchers {
            if let Some(known) = roll.watchers.get(id) {
                let both = roll.newer_of(known, seen);
                roll.watchers.insert(id.clone(), both);
            } else if roll.has_room(id, now) {
                roll.watchers.insert(id.clone(), *seen);
            }
        }
        roll
    }

    /// The place of a watcher; `None`: there are too many, which is noted.
    pub fn place_of(&mut self, id: &WatcherId, now: Timestamp) -> Option<&mut Watcher> {
        self.forget(now);
        if !self.watchers.contains_key(id) && !self.has_room(id, now) {
            return None;
        }
        Some(self.watchers.entry(id.clone()).or_insert(Watcher {
            seen_at: now,
            acked_until: None,
            passed: None,
        }))
    }

    /// Without those who were not seen for long.
    pub fn forget(&mut self, now: Timestamp) {
        let young = |at: Timestamp| now.since(at) <= WATCHER_KEPT_FOR;
        self.watchers.retain(|_, watcher| young(watcher.seen_at));
        self.left_out_at = self.left_out_at.filter(|at| young(*at));
    }

    fn has_room(&mut self, id: &WatcherId, now: Timestamp) -> bool {
        let names = self.watchers.keys();
        let own = names.filter(|other| other.caller == id.caller).count();
        let room = self.watchers.len() < WATCHERS_MAX && own < WATCHERS_PER_CALLER_MAX;
        if !room {
            self.left_out_at = Some(now);
        }
        room
    }

    fn newer_of(&self, one: &Watcher, other: &Watcher) -> Watcher {
        let place = |watcher: &Watcher| watcher.passed.and_then(|round| self.place(round));
        let passed = if place(other) > place(one) {
            other.passed
        } else {
            one.passed
        };
        Watcher {
            seen_at: one.seen_at.max(other.seen_at),
            acked_until: one.acked_until.max(other.acked_until),
            passed,
        }
    }

    fn place(&self, round: RoundId) -> Option<usize> {
        self.rounds.iter().position(|known| *known == round)
    }

    /// With one more round.
    #[must_use]
    pub fn with_round(&self, round: RoundId) -> Self {
        let mut roll = self.clone();
        roll.rounds.push(round);
        let over = roll.rounds.len().saturating_sub(ROUNDS_MAX);
        roll.rounds.drain(..over);
        roll
    }

    /// Whether the watcher has passed the round, or a later one. Nobody has passed a round that is no
    /// longer known: the record was lost, or it was long ago.
    #[must_use]
    pub fn heard(&self, watcher: &Watcher, round: RoundId) -> bool {
        let (Some(wanted), Some(passed)) = (self.place(round), watcher.passed) else {
            return false;
        };
        self.place(passed).is_some_and(|passed| passed >= wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
    }

    fn empty() -> Roll {
        Roll::begin(at(0))
    }

    fn id(name: &str) -> WatcherId {
        WatcherId::new("dns:api.example", name).unwrap()
    }

    fn seeing(watchers: impl IntoIterator<Item = (WatcherId, Watcher)>) -> Roll {
        Roll {
            watchers: watchers.into_iter().collect(),
            ..empty()
        }
    }

    fn round(number: u8) -> RoundId {
        RoundId([number; 16])
    }

    fn seen(second: i64, passed: Option<RoundId>) -> Watcher {
        Watcher {
            seen_at: at(second),
            acked_until: Some(at(second)),
            passed,
        }
    }

    #[test]
    fn names_are_bounded_and_visible() {
        let caller = "spiffe://example/api";
        assert!(WatcherId::new(caller, "api-7f9c-0").is_ok());
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(65)] {
            assert_eq!(WatcherId::new(caller, bad), Err(InvalidId), "{bad}");
        }
        assert_eq!(WatcherId::new(&"c".repeat(257), "a"), Err(InvalidId));
    }

    #[test]
    fn who_has_passed_a_round_or_a_later_one_has_heard() {
        let roll = empty().with_round(round(1)).with_round(round(2));
        assert!(roll.heard(&seen(0, Some(round(1))), round(1)));
        assert!(roll.heard(&seen(0, Some(round(2))), round(1)));
        assert!(!roll.heard(&seen(0, Some(round(1))), round(2)));
        assert!(!roll.heard(&seen(0, None), round(1)));
    }

    #[test]
    fn a_round_that_is_not_known_was_passed_by_nobody() {
        let roll = empty().with_round(round(1));
        let liar = seen(0, Some(round(9)));
        assert!(!roll.heard(&liar, round(1)));
        assert!(!roll.heard(&liar, round(9)));
        // The record is lost, and an older one or none takes its place.
        assert!(!empty().heard(&seen(0, Some(round(1))), round(1)));
    }

    #[test]
    fn only_the_last_rounds_are_kept() {
        let all = (0..=ROUNDS_MAX).map(|number| round(u8::try_from(number).unwrap()));
        let roll = all.fold(empty(), |roll, next| roll.with_round(next));
        assert_eq!(roll.rounds.len(), ROUNDS_MAX);
        assert_eq!(roll.rounds.first(), Some(&round(1)));
        assert!(!roll.heard(&seen(0, Some(round(2))), round(0)));
    }

    #[test]
    fn what_two_instances_saw_of_a_watcher_is_put_together_whatever_comes_first() {
        let roll = empty().with_round(round(1)).with_round(round(2));
        let early = seeing([(id("a"), seen(1, Some(round(2))))]);
        let late = seeing([(id("a"), seen(9, Some(round(1))))]);
        let one = roll.merged(&early, at(9)).merged(&late, at(9));
        let other = roll.merged(&late, at(9)).merged(&early, at(9));
        assert_eq!(one, other);
        assert_eq!(
            one.watchers.get(&id("a")),
            Some(&seen(9, Some(round(2)))),
            "the later of each"
        );
        let unknown = seeing([(id("a"), seen(9, Some(round(7))))]);
        assert_eq!(one.merged(&unknown, at(9)), one);
    }

    #[test]
    fn who_is_not_seen_any_more_is_forgotten() {
        let roll = empty().merged(&seeing([(id("a"), seen(0, None))]), at(0));
        let none = empty();
        let last = at(0).after(WATCHER_KEPT_FOR);
        assert_eq!(roll.merged(&none, last), roll);
        let later = last.after(Duration::from_millis(1));
        assert_eq!(roll.merged(&none, later), empty());
    }

    #[test]
    fn one_too_many_is_left_out_and_that_is_known_for_as_long_as_it_could_come_back() {
        let mut own = empty();
        for number in 0..WATCHERS_PER_CALLER_MAX {
            assert!(own.place_of(&id(&format!("b{number}")), at(0)).is_some());
        }
        let full = empty().merged(&own, at(0));
        assert_eq!(
            (full.watchers.len(), full.left_out_at),
            (own.watchers.len(), None)
        );
        assert!(
            own.place_of(&id("b0"), at(1)).is_some(),
            "one that is there"
        );
        assert_eq!(own.place_of(&id("a"), at(1)), None);
        assert_eq!(own.left_out_at, Some(at(1)));
        let more = full.merged(&seeing([(id("a"), seen(0, None))]), at(1));
        assert_eq!(more.watchers, full.watchers);
        assert_eq!(more.left_out_at, Some(at(1)));
        assert_eq!(
            full.merged(&own, at(1)).left_out_at,
            Some(at(1)),
            "elsewhere"
        );
        let later = at(1).after(WATCHER_KEPT_FOR);
        assert_eq!(more.merged(&empty(), later).left_out_at, Some(at(1)));
        // Others have their places.
        let others = (0..).map(|n| WatcherId::new(&format!("dns:{n}.example"), "a").unwrap());
        let others = others.take(WATCHERS_MAX).map(|id| (id, seen(0, None)));
        let all = full.merged(&seeing(others), at(0));
        assert_eq!(
            (all.watchers.len(), all.left_out_at),
            (WATCHERS_MAX, Some(at(0)))
        );
    }

    #[test]
    fn a_roll_is_complete_when_every_instance_had_the_time_to_write() {
        let roll = empty().with_round(round(1));
        let then = at(0).after(COMPLETE_AFTER);
        assert!(roll.is_complete(round(1), then));
        assert!(!roll.is_complete(round(2), then), "the round was lost");
        assert!(!roll.is_complete(round(1), then.before(Duration::from_millis(1))));
        let crowded = Roll {
            left_out_at: Some(at(1)),
            ..roll
        };
        assert!(!crowded.is_complete(round(1), then));
    }
}
