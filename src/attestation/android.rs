//! Android Key Attestation.

use super::{Checks, Examination, Given, Trust};
use crate::time::Timestamp;

/// DER certificates, leaf first; bounded.
#[derive(Debug, Clone)]
pub struct Chain {}

/// What an Android attestation says.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {}

pub(super) fn examine(_: &Chain, _: Given<'_>, _: Trust<'_>, now: Timestamp) -> Examination {
    Examination {
        checks: Checks::default(),
        certificates: Vec::new(),
        key: None,
        facts: None,
        at: now,
    }
}
