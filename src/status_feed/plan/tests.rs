//! The machine on a clock of its own: every kind of answer, and what must not be believed.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::attestation::lists::{Google, Kept, Lists, Standing};
use crate::time::Clock;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

struct World {
    clock: Clock,
    plan: Plan,
}

fn json(serials: std::ops::Range<u32>) -> Vec<u8> {
    let entries: Vec<String> = serials
        .map(|serial| format!(r#""{serial:x}":{{"status":"REVOKED"}}"#))
        .collect();
    format!(r#"{{"entries":{{{}}}}}"#, entries.join(",")).into_bytes()
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: body.to_vec(),
    }
}

impl World {
    fn with(accept_sha256: Option<[u8; 32]>) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let rules = Rules {
            every: HOUR,
            age_max: DAY,
            accept_sha256,
        };
        let plan = Plan::new(rules, clock.reading());
        Self { clock, plan }
    }

    fn new() -> Self {
        Self::with(None)
    }

    /// With a list of sixteen, just fetched.
    fn started() -> Self {
        let mut world = Self::new();
        assert_eq!(
            world.get(200, &[("etag", "\"1\"")], &json(1..17)),
            ListFetch::Changed
        );
        world
    }

    fn get(&mut self, status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> ListFetch {
        let sent = self.clock.reading();
        self.plan
            .answered(sent, Ok(answer(status, headers, body)), 0)
    }

    fn fail(&mut self, error: CallError) -> ListFetch {
        self.plan.answered(self.clock.reading(), Err(error), 0)
    }

    fn wait(&self) -> u64 {
        let at = self.clock.reading();
        self.plan.due().steady.since(at.steady).as_secs()
    }

    fn standing(&self) -> Standing {
        let kept = Kept {
            held: self.plan.held().cloned(),
            age_max: Some(DAY),
            ..Kept::default()
        };
        let lists = Lists {
            google: Google::Kept(kept),
            own: None,
        };
        lists.standing(self.clock.reading())
    }

    fn entries(&self) -> usize {
        self.plan.held().map_or(0, |held| held.list.len())
    }

    fn age(&self) -> u64 {
        self.plan
            .held()
            .unwrap()
            .age(self.clock.reading())
            .as_secs()
    }
}

#[test]
fn the_first_fetch_is_due_at_once() {
    let mut world = World::new();
    assert!(world.plan.tick(world.clock.reading()).due);
    assert_eq!(world.get(200, &[], &json(1..3)), ListFetch::Changed);
    assert!(!world.plan.tick(world.clock.reading()).due);
    world.clock.advance(HOUR);
    assert!(world.plan.tick(world.clock.reading()).due);
}

#[test]
fn an_answer_says_how_things_were_when_it_was_made() {
    let mut world = World::new();
    let headers = [("cache-control", "max-age=900"), ("age", "300")];
    world.get(200, &headers, &json(1..3));
    assert_eq!(world.age(), 300);
    assert_eq!(world.wait(), 600);
    // Older than the limit from the beginning.
    let mut world = World::new();
    world.get(200, &[("age", "90000")], &json(1..3));
    assert_eq!(world.standing(), Standing::Stale);
    assert_eq!(world.wait(), 60);
}

#[test]
fn not_modified_makes_the_list_young_again() {
    let mut world = World::started();
    world.clock.advance(DAY - HOUR);
    assert_eq!(world.get(304, &[], b""), ListFetch::Unchanged);
    assert_eq!((world.age(), world.entries()), (0, 16));
    world.clock.advance(HOUR);
    assert_eq!(world.get(304, &[("age", "60")], b""), ListFetch::Unchanged);
    assert_eq!(world.age(), 60);
    // An answer out of an older cache takes nothing back.
    assert_eq!(
        world.get(304, &[("age", "9999")], b""),
        ListFetch::Unchanged
    );
    assert_eq!(world.age(), 60);
}

#[test]
fn not_modified_is_no_answer_to_one_who_has_nothing_or_asked_for_everything() {
    let mut world = World::new();
    assert_eq!(world.get(304, &[], b""), ListFetch::Status);
    assert_eq!(world.get(200, &[], &json(1..3)), ListFetch::Changed);
    world.clock.advance(HOUR);
    assert_eq!(world.get(304, &[], b""), ListFetch::Status);
    assert_eq!(world.age(), 3600);
}

#[test]
fn the_same_list_again_is_no_change() {
    let mut world = World::started();
    world.clock.advance(HOUR);
    let same = world.get(200, &[("etag", "\"2\"")], &json(1..17));
    assert_eq!((same, world.age()), (ListFetch::Unchanged, 0));
    let held = world.plan.held().unwrap();
    assert_eq!(held.origin.etag.as_deref(), Some("\"2\""));
}

#[test]
fn what_is_no_list_changes_nothing() {
    let mut world = World::started();
    let whole = json(1..17);
    let many: Vec<u8> = json(0..65_537);
    for (status, body, outcome) in [
        (200, &b"<html>"[..], ListFetch::Malformed),
        (200, &whole[..whole.len() - 9], ListFetch::Malformed),
        (200, b"", ListFetch::Malformed),
        (200, &many, ListFetch::Malformed),
        (200, b"{\"entries\":{}}", ListFetch::Empty),
        (301, &whole, ListFetch::Status),
        (204, b"", ListFetch::Status),
        (206, &whole, ListFetch::Status),
        (404, &whole, ListFetch::Status),
        (500, &whole, ListFetch::Status),
    ] {
        assert_eq!(world.get(status, &[], body), outcome, "{status}");
        assert_eq!(world.plan.last_error(), Some(outcome));
        assert_eq!(world.entries(), 16);
    }
    for (error, outcome) in [
        (CallError::Url, ListFetch::Unreachable),
        (CallError::Unreachable, ListFetch::Unreachable),
        (CallError::Tls, ListFetch::Tls),
        (CallError::Timeout, ListFetch::Timeout),
        (CallError::TooLarge, ListFetch::TooLarge),
        (CallError::Broken, ListFetch::Broken),
    ] {
        assert_eq!(world.fail(error), outcome);
    }
    assert_eq!(world.entries(), 16);
    world.get(304, &[], b"");
    assert_eq!(world.plan.last_error(), None);
}

#[test]
fn failures_back_off_and_follow_retry_after() {
    let mut world = World::started();
    let waits = [(); 7].map(|()| {
        world.get(503, &[], b"");
        world.wait()
    });
    assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600]);
    world.get(304, &[], b"");
    world.get(503, &[("retry-after", "700")], b"");
    assert_eq!(world.wait(), 700);
    world.get(503, &[("retry-after", "999999")], b"");
    assert_eq!(world.wait(), 3600);
}

#[test]
fn a_list_that_lacks_most_is_not_taken_until_it_has_stayed() {
    let mut world = World::started();
    // Seven of the sixteen are left, and more new ones than were lost.
    let other = json(10..100);
    let began = world.clock.now();
    let mut fetches = 0;
    let mut outcome = world.get(200, &[], &other);
    while outcome == ListFetch::Shrunken {
        fetches += 1;
        assert_eq!(world.entries(), 16);
        assert_ne!(world.standing(), Standing::Stale);
        world.clock.advance(Duration::from_secs(world.wait()));
        outcome = world.get(200, &[], &other);
    }
    assert_eq!(outcome, ListFetch::Changed);
    assert!(fetches >= 5);
    assert!(world.clock.now().since(began) >= DAY / 2);
    assert_eq!(world.entries(), 90);
    assert_eq!(world.standing(), Standing::Fresh);
}

#[test]
fn a_list_that_lacks_most_has_to_stay_the_same() {
    let mut world = World::started();
    for round in 0..40 {
        let other = json(10..100 + round % 2);
        assert_eq!(world.get(200, &[], &other), ListFetch::Shrunken);
        world.clock.advance(HOUR);
    }
    assert_eq!(world.standing(), Standing::Stale);
    // Nor do many fetches in a short time help.
    let mut world = World::started();
    for _ in 0..40 {
        assert_eq!(world.get(200, &[], &json(10..100)), ListFetch::Shrunken);
    }
}

#[test]
fn a_list_with_half_of_what_is_known_is_taken() {
    let mut world = World::started();
    assert_eq!(world.get(200, &[], &json(1..9)), ListFetch::Changed);
    assert_eq!(world.entries(), 8);
}

#[test]
fn an_empty_list_is_never_taken_by_itself() {
    let mut world = World::new();
    for _ in 0..60 {
        assert_eq!(world.get(200, &[], &json(0..0)), ListFetch::Empty);
        world.clock.advance(HOUR);
    }
    assert_eq!(world.standing(), Standing::Absent);
}

#[test]
fn a_list_that_the_operator_names_is_taken() {
    for accepted in [json(0..0), json(1..3)] {
        let mut world = World::with(Some(sha256(&accepted)));
        world.get(200, &[], &json(1..17));
        assert_ne!(world.get(200, &[], &json(3..5)), ListFetch::Changed);
        assert_eq!(world.get(200, &[], &accepted), ListFetch::Changed);
    }
}

#[test]
fn another_list_out_of_an_older_cache_is_not_taken() {
    let mut world = World::started();
    world.clock.advance(HOUR);
    let older = world.get(200, &[("age", "3700")], &json(1..16));
    assert_eq!((older, world.entries()), (ListFetch::Outdated, 16));
    let newer = world.get(200, &[("age", "3500")], &json(1..16));
    assert_eq!((newer, world.entries()), (ListFetch::Changed, 15));
}

#[test]
fn when_the_clock_is_set_the_list_is_fetched_soon() {
    for seconds in [-100_000, 100_000] {
        let mut world = World::started();
        world.plan.tick(world.clock.reading());
        let set = world.clock.now().as_secs() + seconds;
        world.clock.set(Timestamp::from_secs(set));
        let tick = world.plan.tick(world.clock.reading());
        // The last fetch was just now: a minute passes.
        assert_eq!(
            tick,
            Tick {
                due: false,
                clock_set: true
            }
        );
        world.clock.advance(EVERY_MIN);
        let tick = world.plan.tick(world.clock.reading());
        assert_eq!(
            tick,
            Tick {
                due: true,
                clock_set: false
            }
        );
        // Set forward the list seems too old, and is young again with the answer.
        let stale = world.standing() == Standing::Stale;
        assert_eq!(stale, seconds > 0);
        world.get(304, &[], b"");
        assert_eq!((world.standing(), world.age()), (Standing::Fresh, 0));
    }
}

#[test]
fn a_small_correction_of_the_clock_changes_nothing() {
    let mut world = World::started();
    world.clock.set(world.clock.now().after(CLOCK_SKEW_MAX));
    let tick = world.plan.tick(world.clock.reading());
    assert_eq!(
        tick,
        Tick {
            due: false,
            clock_set: false
        }
    );
}

#[test]
fn a_copy_is_as_old_as_its_validation() {
    let donor = World::started();
    let held = donor.plan.held().unwrap().clone();
    let mut world = World::new();
    world.clock.advance(HOUR / 2);
    let at = world.clock.reading();
    assert!(world.plan.wants(&held.origin, at));
    assert!(
        world
            .plan
            .adopt(Arc::clone(&held.list), held.origin.clone(), at, 0)
    );
    assert_eq!((world.age(), world.wait()), (1800, 1800));
    assert!(!world.plan.wants(&held.origin, at), "we have it");
    assert!(
        !world
            .plan
            .adopt(Arc::clone(&held.list), held.origin.clone(), at, 0)
    );

    // When it is due, it is a list, but no reason not to fetch.
    let mut world = World::new();
    world.clock.advance(DAY * 2);
    let at = world.clock.reading();
    assert!(!world.plan.wants(&held.origin, at));
    assert!(world.plan.adopt(held.list, held.origin, at, 0));
    assert_eq!(world.standing(), Standing::Stale);
    assert_eq!(world.wait(), 0);
}

#[test]
fn a_copy_from_the_future_is_not_believed() {
    let donor = World::started();
    let held = donor.plan.held().unwrap().clone();
    let mut world = World::new();
    world.clock.set(donor.clock.now().before(DAY));
    let at = world.clock.reading();
    assert!(!world.plan.wants(&held.origin, at));
    assert!(!world.plan.adopt(held.list, held.origin, at, 0));
    assert_eq!(world.standing(), Standing::Absent);
}

#[derive(Debug, Clone)]
enum Step {
    Advance(u32),
    Set(i32),
    Get(u16, Option<u32>, Option<u32>, u8, u8),
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec![200_u16, 304, 500]);
    prop_oneof![
        (0_u32..200_000).prop_map(Step::Advance),
        any::<i32>().prop_map(Step::Set),
        (
            status,
            any::<Option<u32>>(),
            prop::option::of(0_u32..200_000),
            0_u8..4,
            any::<u8>()
        )
            .prop_map(|(s, life, age, list, jitter)| Step::Get(s, life, age, list, jitter)),
        Just(Step::Fail),
    ]
}

proptest! {
    /// Whatever the publisher says and however the clock is set: the next fetch is at most the
    /// configured wait away and at least a minute, and no list is fresh for longer than allowed after
    /// it was last given or confirmed.
    #[test]
    fn no_answer_and_no_clock_keeps_an_old_list_fresh(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let mut went = Duration::ZERO;
        let mut confirmed = None;
        for step in steps {
            match step {
                Step::Advance(seconds) => {
                    let span = Duration::from_secs(seconds.into());
                    world.clock.advance(span);
                    went += span;
                    world.plan.tick(world.clock.reading());
                }
                Step::Set(seconds) => {
                    world.clock.set(Timestamp::from_secs(1_800_000_000 + i64::from(seconds)));
                    world.plan.tick(world.clock.reading());
                }
                Step::Get(status, life, age, list, jitter) => {
                    let mut headers = vec![("etag", "\"x\"".to_owned())];
                    headers.extend(life.map(|life| ("cache-control", format!("max-age={life}"))));
                    headers.extend(age.map(|age| ("age", age.to_string())));
                    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                    let body = json(0..u32::from(list) * 8);
                    let sent = world.clock.reading();
                    let outcome = world.plan.answered(sent, Ok(answer(status, &headers, &body)), jitter);
                    let good = [ListFetch::Changed, ListFetch::Unchanged].contains(&outcome);
                    let made = went.saturating_sub(Duration::from_secs(age.unwrap_or(0).into()));
                    if good {
                        confirmed = confirmed.max(Some(made));
                    }
                    let wait = world.wait();
                    prop_assert!((60..=3600).contains(&wait), "{wait}");
                }
                Step::Fail => {
                    world.fail(CallError::Timeout);
                    prop_assert!((60..=3600).contains(&world.wait()));
                }
            }
            let at = world.clock.reading();
            prop_assert!(world.plan.due().steady.since(at.steady) <= HOUR);
            if world.standing() == Standing::Fresh {
                let confirmed = confirmed.expect("a list that was given");
                prop_assert!(went - confirmed <= DAY);
            }
        }
    }
}
