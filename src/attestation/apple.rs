//! Apple App Attest.

use super::{Checks, Examination, Given, Trust};
use crate::time::Timestamp;

/// Which App Attest environment a key comes from (`aaguid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// TestFlight, App Store, enterprise.
    Production,
    /// Built with Xcode.
    Development,
}

/// An attestation object with its key id; bounded.
#[derive(Debug, Clone)]
pub struct Attestation {}

/// What an App Attest attestation says.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {}

pub(super) fn examine(_: &Attestation, _: Given<'_>, _: Trust<'_>, now: Timestamp) -> Examination {
    Examination {
        checks: Checks::default(),
        certificates: Vec::new(),
        key: None,
        facts: None,
        at: now,
    }
}
