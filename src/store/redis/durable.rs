//! Commits that are answered when other servers, or disks, have them.

use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::Instant;

use super::super::rules::life_millis;
use super::super::scripts::{self, By};
use super::super::{ChangeSet, Committed, StoreError};
use super::Redis;
use super::answer::{committed, count, list, odd};
use super::fault::Fault;

/// How often a commit follows a redirection, as other commands do.
const REDIRECTIONS_MAX: usize = 3;

const NOT_ON_DISK: &str = "it is done, but the server did not confirm that it is on its disk";

impl Redis {
    /// Commits and waits, on a connection where nobody else has to wait for it. On which replicas it is
    /// stands in the answer; that it is not on the primary's own disk, where that is wanted, is an
    /// error that leaves the outcome open: sending the same again waits for the disk again.
    pub(super) async fn commit_replicated(
        &self,
        change: &ChangeSet,
        replicas: u32,
        within: Duration,
    ) -> Result<Committed, StoreError> {
        let deadline = within.saturating_add(self.response_timeout);
        let until = Instant::now() + deadline;
        let node = self.topology.node_of(change.bucket).await;
        let mut node = node.map_err(Fault::of_write)?;
        let mut asking = false;
        for _ in 0..=REDIRECTIONS_MAX {
            node.keep_up();
            let mut commands = Pipeline::with_capacity(3);
            if asking {
                commands.cmd("ASKING");
            }
            // By its text: a script that was unknown would cost a second wait.
            commands.add_command(scripts::commit(change, By::Text));
            commands.add_command(self.wait_command(replicas, within));
            let sent = node.send_and_wait(&commands, (until, deadline)).await;
            let Some(sent) = sent else {
                // Where replicas lag, commits queue up here. What waits in vain is done all the same,
                // and said to be on no replica: a revocation that is not applied is worse than one that
                // may be lost.
                let done = self.commit_local(change).await?;
                return self.on_disk(done, false);
            };
            let mut answers = sent.map_err(|fault| {
                self.topology.doubt();
                fault.of_write()
            })?;
            let (Some(waited), Some(done)) = (answers.pop(), answers.pop()) else {
                return Err(odd().of_write());
            };
            if let Some((next, ask)) = self.topology.elsewhere(&done, &node) {
                (node, asking) = (next, ask);
                continue;
            }
            let (on_disk, acked) = self.acked(waited);
            let done = committed(done, acked).map_err(Fault::of_write)?;
            return self.on_disk(done, on_disk);
        }
        Err(Fault::NotSent("the cluster sends a command in circles".to_owned()).of_write())
    }

    fn wait_command(&self, replicas: u32, within: Duration) -> redis::Cmd {
        let mut wait = if self.fsync {
            let mut wait = redis::cmd("WAITAOF");
            wait.arg(1);
            wait
        } else {
            redis::cmd("WAIT")
        };
        wait.arg(replicas).arg(life_millis(within));
        wait
    }

    /// Whether it is on the primary's disk, and how many replicas have it (on disk, where that is
    /// waited for). Where waiting was refused the commit is done all the same, and nothing is known of
    /// replicas or disks.
    fn acked(&self, waited: Value) -> (bool, u32) {
        if !self.fsync {
            return (false, count(&waited).unwrap_or(0));
        }
        match list(waited).as_deref() {
            Ok([here, replicas]) => (
                count(here).is_some_and(|here| here > 0),
                count(replicas).unwrap_or(0),
            ),
            Ok(_) | Err(_) => (false, 0),
        }
    }

    fn on_disk(&self, done: Committed, on_disk: bool) -> Result<Committed, StoreError> {
        match done {
            Committed::Done { .. } if self.fsync && !on_disk => {
                Err(StoreError::OutcomeUnknown(NOT_ON_DISK.to_owned()))
            }
            done @ (Committed::Done { .. }
            | Committed::Conflict
            | Committed::ClaimTaken { .. }
            | Committed::CounterRefused { .. }
            | Committed::Limited { .. }) => Ok(done),
        }
    }
}
