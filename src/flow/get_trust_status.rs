//! GetTrustStatus: whom attestations are believed, now.

use std::sync::Arc;

use super::Engine;
use crate::attestation::lists::{Lists, Standing};
use crate::attestation::roots::PinnedRoot;
use crate::time::Reading;

/// Whom attestations are believed.
#[derive(Debug, Clone)]
pub struct TrustStatus {
    /// The pinned roots.
    pub roots: Vec<PinnedRoot>,
    /// The lists.
    pub lists: Arc<Lists>,
    /// How Google's list stands.
    pub standing: Standing,
    /// When that is.
    pub at: Reading,
}

/// Looks at what is in memory. No trip.
#[must_use]
pub fn run(engine: &Engine) -> TrustStatus {
    let at = engine.clock.reading();
    let lists = engine.lists.load_full();
    TrustStatus {
        roots: engine.roots.pinned(),
        standing: lists.standing(at),
        lists,
        at,
    }
}
