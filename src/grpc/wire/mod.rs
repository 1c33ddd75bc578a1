//! The only place where proto messages become our own words and the other way round.
//!
//! Parsing collects every wrong field of a request, so that the caller learns of all at once, and
//! never repeats a value.

mod challenge;
mod devices;
mod drill;
mod fields;
mod parse;
mod posture;
mod reappraisal;
mod render;
mod renewal;
mod revocation;
mod revocations;
mod step_up;
mod subjects;
mod trust;
mod watching;

pub(super) use devices::*;
pub(super) use drill::*;
pub(super) use parse::*;
pub(super) use reappraisal::*;
pub(super) use render::*;
pub(super) use renewal::*;
pub(super) use revocation::*;
pub(super) use revocations::*;
pub(super) use step_up::*;
pub(super) use subjects::*;
pub(super) use trust::trust_status;
pub(super) use watching::*;
