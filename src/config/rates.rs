//! `[rates]` and `[apps.NAME.rates]`: how often things may be done. What is not written limits nothing.

use std::ops::RangeInclusive;

use super::reader::{Reader, Section};
use super::value::{number, rate};
use crate::policy::{ActionRates, Rates, ServiceRates};

/// As how many more a telling failure may count: all of it goes to the store in one trip.
const FAILURE_COST: RangeInclusive<u32> = 0..=16;
const FAILURE_COST_UNSAID: u32 = 4;
/// What the rates of a doubted device may be divided by.
const DOUBT_DIVISOR: RangeInclusive<u32> = 1..=100;
const DOUBT_DIVISOR_UNSAID: u32 = 4;

pub(super) fn of_service(
    reader: &mut Reader<'_>,
    mut section: Section<'_, '_>,
) -> Option<ServiceRates> {
    let caller = section.maybe(reader, "caller", rate);
    let register = section.maybe(reader, "register_per_ip", rate);
    let issue = section.maybe(reader, "issue_per_ip", rate);
    let refresh = section.maybe(reader, "refresh_per_ip", rate);
    let cost = number(FAILURE_COST);
    let cost = section.or(reader, "failure_cost", FAILURE_COST_UNSAID, cost);
    section.finish(reader);
    Some(ServiceRates {
        caller: caller?,
        register: register?,
        issue: issue?,
        refresh: refresh?,
        failure_cost: cost?,
    })
}

pub(super) fn of_app(reader: &mut Reader<'_>, mut section: Section<'_, '_>) -> Option<Rates> {
    let register = section.maybe(reader, "register_per_subject", rate);
    let issue = section.maybe(reader, "issue_per_subject", rate);
    let issue_device = section.maybe(reader, "issue_per_device", rate);
    let refresh = section.maybe(reader, "refresh_per_subject", rate);
    let refresh_device = section.maybe(reader, "refresh_per_device", rate);
    let retry = section.maybe(reader, "refresh_retry", rate);
    let divisor = number(DOUBT_DIVISOR);
    let divisor = section.or(reader, "doubt_divisor", DOUBT_DIVISOR_UNSAID, divisor);
    section.finish(reader);
    Some(Rates {
        register: ActionRates {
            subject: register?,
            device: None,
        },
        issue: ActionRates {
            subject: issue?,
            device: issue_device?,
        },
        refresh: ActionRates {
            subject: refresh?,
            device: refresh_device?,
        },
        refresh_retry: retry?,
        doubt_divisor: divisor?,
    })
}
