use super::*;
use crate::id::BUCKETS;
use crate::session::{Basis, Cause, Counts, JOB_EVERY, JOB_LEASE, Job, Look, Position};

const ME: [u8; 16] = [1; 16];
const OTHER: [u8; 16] = [2; 16];

fn basis(google: u8, as_of: Timestamp) -> Basis {
    Basis {
        google: Some([google; 32]),
        google_as_of: Some(as_of),
        own: None,
        policy: [0; 32],
    }
}

fn look(me: [u8; 16], changed: bool, now: Timestamp) -> Look {
    let basis = basis(1, super::now());
    Look {
        me,
        basis,
        changed,
        now,
    }
}

fn of_other() -> Job {
    Job::begin(&look(OTHER, true, now()), Cause::Policy, None)
}

#[test]
fn the_first_instance_begins_and_the_others_leave_it_to_that_one() {
    let first = Job::turn(None, &look(ME, true, now())).unwrap();
    assert_eq!((first.cause, first.owner), (Cause::Schedule, ME));
    let soon = now().after(JOB_LEASE - MILLISECOND);
    assert!(Job::turn(Some(&first), &look(OTHER, true, soon)).is_none());
}

#[test]
fn who_is_not_heard_of_is_taken_over_where_it_was() {
    let position = Position::at(500);
    let counts = Counts {
        devices: 9,
        ..Counts::default()
    };
    let left = of_other().advanced(position, counts, now());
    let late = now().after(JOB_LEASE);
    let taken = Job::turn(Some(&left), &look(ME, false, late)).unwrap();
    assert_eq!((taken.owner, taken.touched_at), (ME, late));
    assert_eq!((taken.position, taken.counts), (position, counts));
    assert_eq!((taken.cause, taken.started_at), (Cause::Policy, now()));
    // One that failed for a moment goes on at once.
    let again = Job::turn(Some(&left), &look(OTHER, false, now())).unwrap();
    assert_eq!((again.owner, again.position), (OTHER, position));
}

#[test]
fn what_has_changed_begins_from_the_beginning_whoever_is_at_work() {
    let job = of_other().advanced(Position::at(500), Counts::default(), now());
    let same = look(ME, true, now());
    let another = [9; 32];
    for (cause, basis) in [
        (
            Cause::StatusList,
            Basis {
                google: Some(another),
                ..same.basis
            },
        ),
        (
            Cause::OwnList,
            Basis {
                own: Some(another),
                ..same.basis
            },
        ),
        (
            Cause::Policy,
            Basis {
                policy: another,
                ..same.basis
            },
        ),
    ] {
        let mut look = Look { basis, ..same };
        let begun = Job::turn(Some(&job), &look).unwrap();
        assert_eq!((begun.cause, begun.position), (cause, Position::default()));
        // What another instance sees otherwise is no reason to begin again.
        look.changed = false;
        assert!(Job::turn(Some(&job), &look).is_none());
        // But a run of nobody is not gone on with for something else.
        look.now = now().after(JOB_LEASE);
        let begun = Job::turn(Some(&job), &look).unwrap();
        assert_eq!(begun.position, Position::default());
    }
}

#[test]
fn an_instance_with_an_older_list_waits_for_the_newer_one() {
    let job = of_other();
    let mut late = look(ME, true, now().after(JOB_EVERY));
    late.basis = basis(2, now().before(MILLISECOND));
    assert!(Job::turn(Some(&job), &late).is_none());
    late.basis = basis(1, now().before(MILLISECOND));
    assert!(Job::turn(Some(&job), &late).is_some(), "the same list");
}

#[test]
fn everything_is_looked_at_once_a_day() {
    let done = of_other().done(Counts::default(), now());
    assert_eq!(done.permille(), 1000);
    let before = now().after(JOB_EVERY - MILLISECOND);
    assert!(Job::turn(Some(&done), &look(ME, true, before)).is_none());
    let due = Job::turn(Some(&done), &look(ME, false, now().after(JOB_EVERY))).unwrap();
    assert_eq!(
        (due.cause, due.completed_at),
        (Cause::Schedule, Some(now()))
    );
}

#[test]
fn progress_never_goes_back_and_is_whole_at_the_end_only() {
    let mut last = 0;
    for bucket in 0..BUCKETS {
        let within = DeviceId::new(Bucket::new(bucket).unwrap(), [0xff; 16]);
        for position in [Position::at(bucket), Position::behind(within)] {
            assert!((last..1000).contains(&position.permille()));
            last = position.permille();
        }
    }
    assert_eq!(Position::at(BUCKETS).permille(), 1000);
    assert_eq!(Position::at(u16::MAX), Position::at(BUCKETS));
    assert_eq!(Position::at(BUCKETS).bucket(), None);
}

#[test]
fn causes_are_known_by_their_words() {
    for cause in Cause::ALL {
        assert_eq!(Cause::parse(cause.as_str()), Some(cause));
    }
    assert_eq!(Cause::parse("now"), None);
}
