//! AckRevocations: a watcher has everything up to a checkpoint.

use super::watch_revocations::WatchCursor;
use super::{Engine, Failure};
use crate::session::WatcherId;

/// The request.
#[derive(Debug, Clone)]
pub struct AckRevocations {
    /// Who says so.
    pub watcher: WatcherId,
    /// Up to where.
    pub cursor: WatchCursor,
}

/// Takes note. No trip to the store: all watchers of an instance are kept together, once a second. A
/// watcher that says what is not so says it of itself only.
///
/// # Errors
/// `MALFORMED_REQUEST` for a cursor of the future; `OVERLOADED` when there are too many watchers.
pub fn run(engine: &Engine, request: &AckRevocations) -> Result<(), Failure> {
    let now = engine.clock.now();
    let cursor = request.cursor.check(now)?;
    let acked = (cursor.complete_until, cursor.passed);
    engine.watchers.note(&request.watcher, Some(acked), now)
}
