//! `[apps.NAME.lifetimes]` and, below it, those of single trust levels.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{Reader, Section};
use super::sections::secs;
use super::value::{days, show_span, span};
use crate::policy::{ACCESS_FOR_MAX, Lifetimes, SESSION_FOR_MAX, SessionLifetimes, TrustLevel};

/// What holds where nothing else is said.
const UNSAID: SessionLifetimes = SessionLifetimes {
    access_for: secs(300),
    idle_for: days(30),
    absolute_for: days(180),
};
const REFRESH_GRACE: Duration = secs(600);

/// Lifetimes of an app, and of those trust levels that have their own.
pub(super) type Read = (Lifetimes, BTreeMap<TrustLevel, SessionLifetimes>);

pub(super) fn lifetimes(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<Read> {
    let grace = span(secs(0)..=SESSION_FOR_MAX);
    let grace = section.or(reader, "refresh_grace", REFRESH_GRACE, grace);
    let challenge = section.or(reader, "challenge", secs(300), span(secs(30)..=secs(3600)));
    let reattest = span(secs(3600)..=days(400));
    let reattest = section.maybe(reader, "reattest_after", reattest);
    let of_all = of_sessions(reader, &mut section, UNSAID);
    orderly(reader, &section, of_all, grace);

    let mut levels = BTreeMap::new();
    let mut good = true;
    for level in TrustLevel::ALL {
        let mut below = section.section(reader, level.as_str());
        let written = below.is_written();
        let lives = of_sessions(reader, &mut below, whole(of_all).unwrap_or(UNSAID));
        if written {
            orderly(reader, &below, lives, grace);
            match whole(lives) {
                Some(lives) => drop(levels.insert(level, lives)),
                None => good = false,
            }
        }
        below.finish(reader);
    }
    section.finish(reader);
    let of_all = whole(of_all)?;
    let lifetimes = Lifetimes {
        access_for: of_all.access_for,
        idle_for: of_all.idle_for,
        absolute_for: of_all.absolute_for,
        refresh_grace_for: grace?,
        challenge_for: challenge?,
        reattest_after: reattest?,
    };
    good.then_some((lifetimes, levels))
}

/// Access, idle and absolute, each as far as it can be read.
type Spans = [Option<Duration>; 3];

fn whole([access, idle, absolute]: Spans) -> Option<SessionLifetimes> {
    Some(SessionLifetimes {
        access_for: access?,
        idle_for: idle?,
        absolute_for: absolute?,
    })
}

fn of_sessions(
    reader: &mut Reader<'_>,
    section: &mut Section<'_, '_>,
    unsaid: SessionLifetimes,
) -> Spans {
    let access = span(secs(30)..=ACCESS_FOR_MAX);
    let access = section.or(reader, "access", unsaid.access_for, access);
    let long = || span(secs(300)..=SESSION_FOR_MAX);
    let idle = section.or(reader, "idle", unsaid.idle_for, long());
    let absolute = section.or(reader, "absolute", unsaid.absolute_for, long());
    [access, idle, absolute]
}

fn orderly(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    [access, idle, absolute]: Spans,
    grace: Option<Duration>,
) {
    shorter(reader, section, ("access", access), ("idle", idle));
    shorter(reader, section, ("refresh_grace", grace), ("idle", idle));
    if let Some((idle, absolute)) = idle.zip(absolute).filter(|(idle, most)| idle > most) {
        let (idle, absolute) = (show_span(idle), show_span(absolute));
        let message = format!("\"idle\" ({idle}) is longer than \"absolute\" ({absolute})");
        let key = if section.has("idle") {
            "idle"
        } else {
            "absolute"
        };
        reader.wrong::<()>(
            section.at(key),
            message,
            "a session cannot idle past its end",
        );
    }
}

/// Says so unless the first span is shorter than the second; at the one that is written.
fn shorter(
    reader: &mut Reader<'_>,
    section: &Section<'_, '_>,
    (short, short_for): (&'static str, Option<Duration>),
    (long, long_for): (&'static str, Option<Duration>),
) {
    if let Some((less, more)) = short_for.zip(long_for).filter(|(less, more)| less >= more) {
        let (less, more) = (show_span(less), show_span(more));
        let message = format!("\"{short}\" ({less}) has to be shorter than \"{long}\" ({more})");
        let key = if section.has(short) { short } else { long };
        reader.wrong::<()>(section.at(key), message, "");
    }
}
