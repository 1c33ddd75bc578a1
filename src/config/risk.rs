//! `[apps.NAME.risk]`

use std::collections::{BTreeMap, BTreeSet};

use super::apps::scope_list;
use super::reader::{Reader, Section};
use super::sections::secs;
use super::value::{choice, days, number, span};
use crate::policy::{Enforcement, RiskPolicy, Signal};

/// The most a signal may weigh: one alone may reach every threshold.
const POINTS_MAX: u32 = 1000;

pub(super) fn risk(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<RiskPolicy> {
    if !section.is_written() {
        return Some(RiskPolicy::none());
    }
    let unsaid = RiskPolicy::usual();
    let enforcements = [
        ("monitor", Enforcement::Monitor),
        ("enforce", Enforcement::Enforce),
    ];
    let enforcement = section.or(reader, "mode", unsaid.enforcement, choice(&enforcements));
    let half_life = span(secs(60)..=days(90));
    let half_life = section.or(reader, "half_life", unsaid.half_life, half_life);
    let interval = span(secs(0)..=secs(3600));
    let interval = section.or(
        reader,
        "refresh_interval_min",
        unsaid.refresh_interval_min,
        interval,
    );
    let threshold = || number(1..=1_000_000);
    let step_up = section.maybe(reader, "step_up_at", threshold());
    let drop_scopes = section.maybe(reader, "drop_scopes_at", threshold());
    let at = section.at("drop_scopes_at");
    let dropped = section.or(reader, "dropped_scopes", BTreeSet::new(), scope_list());
    let suspend = section.maybe(reader, "suspend_at", threshold());
    let nested = section.section(reader, "points");
    let points = points(reader, nested);
    section.finish(reader);
    let (drop_scopes, dropped) = (drop_scopes?, dropped?);
    if drop_scopes.is_some() && dropped.is_empty() {
        let hint = "name them in \"dropped_scopes\"";
        return reader.wrong(at, "there is no scope to drop", hint);
    }
    Some(RiskPolicy {
        enforcement: enforcement?,
        half_life: half_life?,
        refresh_interval_min: interval?,
        points: points?,
        step_up_at: step_up?,
        drop_scopes_at: drop_scopes,
        dropped_scopes: dropped,
        suspend_at: suspend?,
    })
}

fn points(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<BTreeMap<Signal, u32>> {
    let mut points = BTreeMap::new();
    let mut good = true;
    for signal in Signal::ALL {
        let unsaid = signal.usual_points();
        match section.or(reader, signal.as_str(), unsaid, number(0..=POINTS_MAX)) {
            Some(weight) => drop(points.insert(*signal, weight)),
            None => good = false,
        }
    }
    section.finish(reader);
    good.then_some(points)
}
