//! Follows everything that is revoked anywhere, and sees to it that no revocation is lost: what the
//! store has lost, or could not be told, is written again until it is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::flow::{Engine, Follower, Round, look_at_watchers};
use crate::telemetry::metrics::{Metrics, RevocationsShown};
use crate::time::Reading;

/// The wait between two rounds. Who follows is promised a checkpoint every second, and those who verify
/// for themselves stop after five seconds without one: so one round may be slow and two may fail. Each
/// instance asks as often, and a round in which nothing happened costs the server about a millisecond.
const ROUND_EVERY: Duration = Duration::from_millis(500);

/// The longest wait while the store does not answer; it begins with one round and is doubled.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// The task.
#[derive(Debug)]
pub struct Revocations {
    task: JoinHandle<()>,
}

impl Revocations {
    /// Starts it.
    #[must_use]
    pub fn start(engine: &Arc<Engine>, metrics: &Arc<Metrics>) -> Self {
        let now = engine.clock.now();
        let worker = Worker {
            engine: Arc::clone(engine),
            metrics: Arc::clone(metrics),
            follower: Follower::new(now),
            complete: engine.clock.reading(),
            said_unreadable: false,
            said_away: false,
        };
        Self {
            task: tokio::spawn(worker.run()),
        }
    }

    /// Ends it. What waits in memory alone is lost with it: whoever asked for that was told so.
    pub async fn stop(self) {
        self.task.abort();
        // Waited for, so that nothing holds the store any more.
        let _ = self.task.await;
    }
}

#[derive(Debug)]
struct Worker {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    follower: Follower,
    /// The newest checkpoint, also when it is doubted by now.
    complete: Reading,
    said_unreadable: bool,
    said_away: bool,
}

impl Worker {
    async fn run(mut self) {
        let mut retry = ROUND_EVERY;
        loop {
            let wait = match self.follower.round(&self.engine).await {
                Ok(round) => {
                    self.say(&round);
                    // For receipts only: whoever has to know asks himself.
                    let _ = look_at_watchers(&self.engine).await;
                    retry = ROUND_EVERY;
                    // What is missing is not kept waiting.
                    let goes_on = round.doubted || round.written.written > 0;
                    if goes_on { Duration::ZERO } else { ROUND_EVERY }
                }
                Err(failure) => {
                    if !self.said_away {
                        tracing::warn!(
                            reason = failure.reason.as_str(),
                            detail = failure.detail.as_deref(),
                            "revocations cannot be followed now"
                        );
                    }
                    self.said_away = true;
                    let wait = retry;
                    retry = retry.saturating_mul(2).min(RETRY_MAX);
                    wait
                }
            };
            self.show();
            tokio::time::sleep(wait).await;
        }
    }

    fn say(&mut self, round: &Round) {
        if std::mem::take(&mut self.said_away) {
            tracing::info!("revocations are followed again");
        }
        if round.doubted {
            tracing::warn!(
                "another server keeps the state now: what is known to be revoked is written again where it is missing"
            );
        }
        let count = round.written.written;
        if count > 0 {
            tracing::warn!(
                count,
                "revocations that the store did not have were written again"
            );
        }
        let count = round.unreadable;
        if count > 0 && !self.said_unreadable {
            self.said_unreadable = true;
            tracing::error!(
                count,
                "events cannot be read: every access token from before them is asked about"
            );
        }
        self.metrics
            .revocations_read(round.unreadable, round.written.written);
    }

    fn show(&mut self) {
        let board = &self.engine.board;
        self.complete = board.complete().unwrap_or(self.complete);
        let age = self.engine.clock.reading().since(self.complete).as_secs();
        let (known, waiting) = {
            let overlay = board.overlay();
            (overlay.len(), overlay.waits())
        };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.revocations(RevocationsShown {
            age: i64::try_from(age).unwrap_or(i64::MAX),
            known: number(known),
            waiting: number(waiting),
        });
    }
}
