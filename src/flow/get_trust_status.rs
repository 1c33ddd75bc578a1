//! GetTrustStatus: whom attestations are believed, now.

use std::sync::Arc;

use super::Engine;
use super::reappraise_devices::job;
use crate::attestation::lists::{Lists, Standing};
use crate::attestation::roots::PinnedRoot;
use crate::session::Job;
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
    /// The re-appraisal of registered devices; `None` before the first, and when the store does not
    /// answer: what is in memory is worth most then.
    pub reappraisal: Option<Job>,
    /// When that is.
    pub at: Reading,
}

/// Looks at what is in memory, and at the re-appraisal that all instances share. One trip.
pub async fn run(engine: &Engine) -> TrustStatus {
    let reappraisal = job::look(engine).await.ok().flatten();
    let at = engine.clock.reading();
    let lists = engine.lists.load_full();
    TrustStatus {
        roots: engine.roots.pinned(),
        standing: lists.standing(at),
        lists,
        reappraisal,
        at,
    }
}
