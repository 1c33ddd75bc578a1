//! Looks at registered devices again whenever a revocation list or a policy changes, at the start when
//! they changed meanwhile, and once a day.
//!
//! A change of the lists by few entries is looked up in the indexes by every instance for itself: that
//! takes moments, and an instance whose list came late may have registered a device that the others
//! would have refused. Everything else is a run over all devices, which the instances share by a
//! record in the store (`session::Job` has its rules). It is paced, so that requests go before it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::attestation::lists::{Lists, Standing, Versions};
use crate::attestation::own_list::OwnList;
use crate::attestation::status_list::StatusList;
use crate::flow::reappraise_devices::job::{self, Lease};
use crate::flow::reappraise_devices::{Mark, Run, STEP_PAUSE, Scope};
use crate::flow::{Engine, Failure};
use crate::secret::random;
use crate::session::{Actor, Basis, Job, Look};
use crate::telemetry::metrics::{Metrics, ReappraisalShown};
use crate::time::Timestamp;

/// Changed entries of lists that are looked up one by one, each in every bucket; for more of them all
/// devices are looked at.
const MARKS_MAX: usize = 64;

/// The wait between two looks at the shared record, well within its lease.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often a run says how far it is.
const TOUCH_EVERY: Duration = Duration::from_secs(2);

/// The wait after the store did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The task.
#[derive(Debug)]
pub struct Reappraisal {
    task: JoinHandle<()>,
}

impl Reappraisal {
    /// Starts it.
    #[must_use]
    pub fn start(
        engine: &Arc<Engine>,
        metrics: &Arc<Metrics>,
        lists: watch::Receiver<Versions>,
        policies: watch::Receiver<u64>,
    ) -> Self {
        let worker = Worker {
            engine: Arc::clone(engine),
            metrics: Arc::clone(metrics),
            lists,
            policies,
            seen: None,
        };
        Self {
            task: tokio::spawn(worker.run()),
        }
    }

    /// Ends it. A run under way is taken over by another instance, or by the next start.
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
    lists: watch::Receiver<Versions>,
    policies: watch::Receiver<u64>,
    /// What was in use when this instance last looked.
    seen: Option<(Basis, Arc<Lists>)>,
}

impl Worker {
    async fn run(mut self) {
        let Ok(me) = random() else {
            tracing::error!("registered devices are not re-appraised: there is no randomness");
            return;
        };
        loop {
            let wait = match self.look(me).await {
                Ok(()) => LOOK_EVERY,
                Err(failure) => {
                    tracing::warn!(
                        reason = failure.reason.as_str(),
                        detail = failure.detail.as_deref(),
                        "registered devices cannot be re-appraised now"
                    );
                    RETRY_AFTER
                }
            };
            tokio::select! {
                Ok(()) = self.lists.changed() => {}
                Ok(()) = self.policies.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    async fn look(&mut self, me: [u8; 16]) -> Result<(), Failure> {
        self.lists.borrow_and_update();
        self.policies.borrow_and_update();
        if self.waits_for_list() {
            return Ok(());
        }
        let lists = self.engine.lists.load_full();
        let basis = self.engine.basis(&lists);
        let before = self.seen.as_ref();
        let changed = before.is_none_or(|(seen, _)| basis.differs_in(seen).is_some());
        let look = Look {
            me,
            basis,
            changed,
            now: self.now(),
        };
        if let Some((seen, older)) = before.filter(|(seen, _)| seen.policy == basis.policy)
            && changed
            && let Some(marks) = marks(older, &lists)
        {
            let complete = marks.iter().all(|mark| matches!(mark, Mark::Serial(_)));
            self.look_up(marks).await?;
            if complete {
                job::note_lists(&self.engine, seen, &look).await?;
            }
        }
        let taken = job::take(&self.engine, &look).await?;
        self.seen = Some((basis, lists));
        match taken {
            Some(lease) => self.work(lease, basis).await?,
            None => self.show(job::look(&self.engine).await?.as_ref()),
        }
        Ok(())
    }

    /// Before there is a list, its absence says nothing.
    fn waits_for_list(&self) -> bool {
        let standing = self
            .engine
            .lists
            .load()
            .standing(self.engine.clock.reading());
        let apps = self.engine.apps.load();
        standing == Standing::Absent && apps.values().any(|app| app.identity.android.is_some())
    }

    /// The devices behind what was put on the lists or taken off them.
    async fn look_up(&self, marks: Vec<Mark>) -> Result<(), Failure> {
        let count = marks.len();
        let mut run = Run::marked(scope(), marks);
        while !run.is_done() {
            self.step(&mut run).await?;
            tokio::time::sleep(STEP_PAUSE).await;
        }
        tracing::info!(
            count,
            devices = run.counts().devices,
            "the devices behind changed entries of the lists were re-appraised"
        );
        Ok(())
    }

    async fn step(&self, run: &mut Run) -> Result<(), Failure> {
        let before = run.counts();
        let stepped = run.step(&self.engine).await;
        self.metrics.reappraised(&run.counts().since(&before));
        stepped.map(drop)
    }

    async fn work(&self, mut lease: Lease, basis: Basis) -> Result<(), Failure> {
        tracing::info!(
            cause = lease.job.cause.as_str(),
            "the re-appraisal of registered devices goes on"
        );
        let mut run = Run::all(scope(), lease.job.position).counted(lease.job.counts);
        let mut touch = tokio::time::interval(TOUCH_EVERY);
        touch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !run.is_done() {
            self.step(&mut run).await?;
            tokio::select! {
                _ = touch.tick() => {
                    let lists = self.engine.lists.load_full();
                    let newer = self.engine.basis(&lists).differs_in(&basis).is_some();
                    let job = lease.job.advanced(run.position(), run.counts(), self.now());
                    // What is newer is begun by the next look.
                    if !job::advance(&self.engine, &mut lease, job).await? || newer {
                        tracing::info!("the re-appraisal of registered devices is left to another run");
                        return Ok(());
                    }
                    self.show(Some(&job));
                }
                () = tokio::time::sleep(STEP_PAUSE) => {}
            }
        }
        let job = lease.job.done(run.counts(), self.now());
        if job::advance(&self.engine, &mut lease, job).await? {
            self.show(Some(&job));
            say_done(&job);
        }
        Ok(())
    }

    fn show(&self, job: Option<&Job>) {
        let Some(job) = job else { return };
        let until = job.ended_at.unwrap_or_else(|| self.now());
        let took = until.since(job.started_at).as_secs();
        self.metrics.reappraisal(ReappraisalShown {
            done_permille: job.permille().into(),
            started_at: job.started_at.as_secs(),
            took: number(took),
            completed_at: job.completed_at.map_or(0, Timestamp::as_secs),
            overdue: number(job.counts.overdue),
        });
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn scope() -> Scope {
    Scope {
        app: None,
        validate_only: false,
        by: Actor::service(),
    }
}

fn say_done(job: &Job) {
    let counts = &job.counts;
    tracing::info!(
        cause = job.cause.as_str(),
        devices = counts.devices,
        revoked = counts.revoked,
        suspended = counts.suspended,
        degraded = counts.degraded,
        reported = counts.reported,
        overdue = counts.overdue,
        "registered devices were re-appraised"
    );
    if counts.unreadable > 0 {
        let count = counts.unreadable;
        tracing::error!(count, "records of devices cannot be read");
    }
    if counts.not_durable > 0 {
        let count = counts.not_durable;
        tracing::error!(
            count,
            "devices were cut off on fewer replicas than configured"
        );
    }
}

/// What is on one state of the lists and not on the other; `None` when it is too much to be looked up.
/// Taken off counts as well: a device may be free again.
fn marks(before: &Lists, now: &Lists) -> Option<Vec<Mark>> {
    let (none, no_own) = (StatusList::empty(), OwnList::default());
    let older = before.status_list_of_any_age()?;
    let newer = now.status_list_of_any_age().unwrap_or(&none);
    let changed = newer.newly_listed(older).chain(older.newly_listed(newer));
    let google = changed.map(|serial| Mark::Serial(serial.to_owned()));
    let own = now.own_list().unwrap_or(&no_own);
    let (serials, keys) = own.difference(before.own_list().unwrap_or(&no_own));
    let serials = serials
        .into_iter()
        .map(|serial| Mark::Serial(serial.to_owned()));
    let keys = keys.into_iter().map(|key| Mark::Key(*key));
    let all = google.chain(serials).chain(keys);
    let marks: Vec<Mark> = all.take(MARKS_MAX + 1).collect();
    (marks.len() <= MARKS_MAX).then_some(marks)
}
