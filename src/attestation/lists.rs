//! The lists evidence is held against, and how they stand.
//!
//! A list says what was revoked when it was last known to be the newest: when its publisher gave it
//! or confirmed it. From then on it ages, by the clock and by how far the clock went, whichever says
//! more. So a clock that is set back makes no old list young, and one that is set forward makes a
//! list too old rather than trusted too long.

use std::sync::Arc;
use std::time::Duration;

use super::own_list::OwnList;
use super::status_list::StatusList;
use crate::time::{Reading, Steady, Timestamp};

/// How far a time of another instance, or of a file, may lie in the future: clocks differ.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// The lists. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    /// Google's.
    pub google: Google,
    /// The operator's own, where one is configured.
    pub own: Option<Own>,
}

/// Google's list.
#[derive(Debug, Clone, Default)]
pub enum Google {
    /// None is configured.
    #[default]
    Unconfigured,
    /// By configuration evidence is taken without one. In development only.
    NotUsed(StatusList),
    /// It is kept.
    Kept(Kept),
}

/// Google's list as it is kept.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The last good one; `None`: there was none yet.
    pub held: Option<Held>,
    /// The age up to which it is believed; `None`: any.
    pub age_max: Option<Duration>,
    /// When it is fetched next; `None` where it is a file.
    pub next_fetch_at: Option<Timestamp>,
    /// What was wrong with the last fetch, a word of a closed set.
    pub last_error: Option<&'static str>,
}

/// A list that was read whole.
#[derive(Debug, Clone)]
pub struct Held {
    /// The list.
    pub list: Arc<StatusList>,
    /// Where it is from.
    pub origin: Origin,
    /// When it was last known to be the newest, where nobody can set it.
    pub steady: Steady,
}

/// Where a list is from, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The SHA-256 of its published form.
    pub sha256: [u8; 32],
    /// When it was last known to be the newest.
    pub validated_at: Timestamp,
    /// When whoever fetched it means to ask again.
    pub refetch_at: Timestamp,
    /// When its publisher changed it, as far as that is said.
    pub modified_at: Option<Timestamp>,
    /// The tag its publisher knows it by.
    pub etag: Option<String>,
    /// The date its publisher knows it by, letter by letter.
    pub last_modified: Option<String>,
}

/// The operator's own list.
#[derive(Debug, Clone)]
pub struct Own {
    /// The last good one.
    pub list: Arc<OwnList>,
    /// The SHA-256 of its file.
    pub sha256: [u8; 32],
    /// When it was read.
    pub read_at: Timestamp,
    /// What is wrong with the newest version of the file, which is not used.
    pub last_error: Option<String>,
}

/// How Google's list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Absent,
    /// There is none, by configuration.
    NotUsed,
    /// Recent enough.
    Fresh,
    /// Too old.
    Stale,
}

/// Which lists are in use, by the SHA-256 of each: what tells one who follows them that they changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Google's.
    pub google: Option<[u8; 32]>,
    /// The operator's own.
    pub own: Option<[u8; 32]>,
}

impl Held {
    /// How long ago it was known to be the newest.
    #[must_use]
    pub fn age(&self, at: Reading) -> Duration {
        let by_clock = at.now.since(self.origin.validated_at);
        by_clock.max(at.steady.since(self.steady))
    }
}

impl Origin {
    /// Whether its publisher can be asked for something newer only.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// The steady instant of the validation, for a list that another process or instance validated.
    /// `None` when it would lie in the future: then nobody knows when it was.
    #[must_use]
    pub fn steady(&self, at: Reading) -> Option<Steady> {
        if self.validated_at > at.now.after(CLOCK_SKEW_MAX) {
            return None;
        }
        Some(at.steady.before(at.now.since(self.validated_at)))
    }
}

impl Lists {
    /// How Google's list stands.
    #[must_use]
    pub fn standing(&self, at: Reading) -> Standing {
        match &self.google {
            Google::Unconfigured => Standing::Absent,
            Google::NotUsed(_) => Standing::NotUsed,
            Google::Kept(kept) => match (&kept.held, kept.age_max) {
                (None, _) => Standing::Absent,
                (Some(held), Some(age_max)) if held.age(at) > age_max => Standing::Stale,
                (Some(_), _) => Standing::Fresh,
            },
        }
    }

    /// Google's list, where evidence may be held against it.
    #[must_use]
    pub fn status_list(&self, at: Reading) -> Option<&StatusList> {
        let usable = match self.standing(at) {
            Standing::Fresh | Standing::NotUsed => true,
            Standing::Absent | Standing::Stale => false,
        };
        match &self.google {
            Google::NotUsed(list) => Some(list),
            Google::Kept(kept) if usable => kept.held.as_ref().map(|held| &*held.list),
            Google::Kept(_) | Google::Unconfigured => None,
        }
    }

    /// Google's list however old it is, where there is one.
    #[must_use]
    pub fn status_list_of_any_age(&self) -> Option<&StatusList> {
        match &self.google {
            Google::NotUsed(list) => Some(list),
            Google::Kept(kept) => kept.held.as_ref().map(|held| &*held.list),
            Google::Unconfigured => None,
        }
    }

    /// The operator's own list. It has no age: whoever wrote it knows whether it is the newest.
    #[must_use]
    pub fn own_list(&self) -> Option<&OwnList> {
        self.own.as_ref().map(|own| &*own.list)
    }

    /// Which lists are in use.
    #[must_use]
    pub fn versions(&self) -> Versions {
        let google = match &self.google {
            Google::Kept(kept) => kept.held.as_ref().map(|held| held.origin.sha256),
            Google::NotUsed(_) | Google::Unconfigured => None,
        };
        Versions {
            google,
            own: self.own.as_ref().map(|own| own.sha256),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Clock;

    const DAY: Duration = Duration::from_secs(86_400);

    fn origin(validated_at: Timestamp) -> Origin {
        Origin {
            sha256: [7; 32],
            validated_at,
            refetch_at: validated_at,
            modified_at: None,
            etag: None,
            last_modified: None,
        }
    }

    fn lists(at: Reading, age_max: Option<Duration>) -> Lists {
        let held = Held {
            list: Arc::default(),
            origin: origin(at.now),
            steady: at.steady,
        };
        let kept = Kept {
            held: Some(held),
            age_max,
            ..Kept::default()
        };
        Lists {
            google: Google::Kept(kept),
            own: None,
        }
    }

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_secs(1_800_000_000))
    }

    #[test]
    fn a_list_is_fresh_up_to_its_age_and_not_longer() {
        let clock = clock();
        let lists = lists(clock.reading(), Some(DAY));
        clock.advance(DAY);
        assert_eq!(lists.standing(clock.reading()), Standing::Fresh);
        assert!(lists.status_list(clock.reading()).is_some());
        clock.advance(Duration::from_millis(1));
        assert_eq!(lists.standing(clock.reading()), Standing::Stale);
        assert!(lists.status_list(clock.reading()).is_none());
    }

    #[test]
    fn setting_the_clock_back_makes_no_old_list_young() {
        let clock = clock();
        let lists = lists(clock.reading(), Some(DAY));
        clock.advance(DAY * 2);
        clock.set(Timestamp::from_secs(1_800_000_000));
        assert_eq!(lists.standing(clock.reading()), Standing::Stale);
    }

    #[test]
    fn setting_the_clock_back_leaves_a_young_list_young() {
        let clock = clock();
        let lists = lists(clock.reading(), Some(DAY));
        clock.set(Timestamp::EPOCH);
        assert_eq!(lists.standing(clock.reading()), Standing::Fresh);
    }

    #[test]
    fn setting_the_clock_forward_makes_a_list_too_old() {
        let clock = clock();
        let lists = lists(clock.reading(), Some(DAY));
        clock.set(clock.now().after(DAY * 2));
        assert_eq!(lists.standing(clock.reading()), Standing::Stale);
    }

    #[test]
    fn without_a_limit_a_list_is_never_too_old() {
        let clock = clock();
        let lists = lists(clock.reading(), None);
        clock.advance(DAY * 3650);
        assert_eq!(lists.standing(clock.reading()), Standing::Fresh);
    }

    #[test]
    fn without_a_list_there_is_nothing_to_hold_evidence_against() {
        let at = clock().reading();
        let awaited = Google::Kept(Kept::default());
        for (google, standing) in [
            (Google::Unconfigured, Standing::Absent),
            (awaited, Standing::Absent),
            (Google::NotUsed(StatusList::empty()), Standing::NotUsed),
        ] {
            let lists = Lists { google, own: None };
            assert_eq!(lists.standing(at), standing);
            assert_eq!(
                lists.status_list(at).is_some(),
                standing == Standing::NotUsed
            );
            assert_eq!(lists.versions(), Versions::default());
        }
    }

    #[test]
    fn a_validation_in_the_future_is_none() {
        let at = clock().reading();
        assert_eq!(origin(at.now).steady(at), Some(at.steady));
        let ahead = at.now.after(CLOCK_SKEW_MAX);
        assert_eq!(origin(ahead).steady(at), Some(at.steady));
        let beyond = ahead.after(Duration::from_millis(1));
        assert_eq!(origin(beyond).steady(at), None);
        let before = origin(at.now.before(DAY)).steady(at).unwrap();
        assert_eq!(at.steady.since(before), DAY);
    }

    proptest! {
        /// However the clock is set on the way: what went by in truth, while the machine was awake,
        /// is never more than the age.
        #[test]
        fn no_setting_of_the_clock_hides_the_age(
            steps in prop::collection::vec((0_u64..400_000, any::<Option<i32>>()), 1..20)
        ) {
            let clock = clock();
            let lists = lists(clock.reading(), Some(DAY));
            let mut went = Duration::ZERO;
            for (seconds, set) in steps {
                clock.advance(Duration::from_secs(seconds));
                went += Duration::from_secs(seconds);
                if let Some(set) = set {
                    clock.set(Timestamp::from_secs(1_800_000_000 + i64::from(set)));
                }
                let fresh = lists.standing(clock.reading()) == Standing::Fresh;
                prop_assert!(!fresh || went <= DAY);
            }
        }
    }
}
