//! The one thread that writes.

use std::sync::{Arc, OnceLock};

use redb::{Database, StorageError};
use tokio::sync::{mpsc, oneshot};

use super::super::StoreError;
use super::tables::Tables;
use super::unavailable;
use crate::time::Clock;

/// Requests that share one transaction at most: bounds how long the first of them waits.
const GROUP_MAX: usize = 256;

/// Expired entries taken out with every transaction: this many for each request of it. A request adds
/// a few at most, so garbage never grows faster than it goes.
const SWEPT_PER_REQUEST: usize = 16;

/// A request to the writer. Nothing of it is answered before its transaction is committed.
pub(super) trait Job: Send {
    /// Checks and applies it.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError>;

    /// Tells the caller how it ended; `committed` is the fate of the whole transaction.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// Work with the place its answer goes to.
pub(super) struct Asked<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Asked<T, F> {
    pub(super) const fn new(work: F, answer: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            work: Some(work),
            outcome: None,
            answer,
        }
    }
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&mut Tables<'_>) -> Result<Result<T, StoreError>, StorageError> + Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), StorageError> {
        if let Some(work) = self.work.take() {
            self.outcome = Some(work(tables)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self {
            outcome, answer, ..
        } = *self;
        let not_done = || Err(StoreError::Unavailable("not done".to_owned()));
        let outcome = committed.and_then(|()| outcome.unwrap_or_else(not_done));
        // A caller that went away does not want to know.
        let _ = answer.send(outcome);
    }
}

/// What broke the store file, in the words of the first failure: the database takes nothing after it,
/// and those who ask later want to know as well.
#[derive(Debug, Clone, Default)]
pub(super) struct Broken(Arc<OnceLock<String>>);

impl Broken {
    /// Every call after a failure ends so.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.0.get().map_or(Ok(()), |cause| {
            let told = format!("the store file failed, start again when that is mended: {cause}");
            Err(StoreError::Unavailable(told))
        })
    }

    /// Notes a failure behind which the database takes nothing more. The first one counts.
    fn note(&self, cause: &redb::Error) {
        // Whoever came first has told of the cause; the others only of its consequences.
        let _ = self.0.set(cause.to_string());
    }

    /// What came of a transaction that was not committed.
    fn not_done(&self, error: impl Into<redb::Error>) -> StoreError {
        let error = error.into();
        if matches!(error, redb::Error::Io(_)) {
            self.note(&error);
        }
        unavailable(error)
    }
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) clock: Clock,
    pub(super) broken: Broken,
}

impl Writer {
    /// Serves until every sender is gone and nothing waits any more.
    pub(super) fn run(self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX {
                let Ok(next) = waiting.try_recv() else { break };
                group.push(next);
            }
            let committed = self.apply(&mut group);
            for job in group {
                job.answer(committed.clone());
            }
        }
    }

    fn apply(&self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.broken.check()?;
        let not_done = |error| self.broken.not_done(error);
        let transaction = self.database.begin_write();
        let transaction = transaction.map_err(|error| self.broken.not_done(error))?;
        let mut tables = Tables::of(&transaction, self.clock.now())
            .map_err(|error| self.broken.not_done(error))?;
        for job in group.iter_mut() {
            job.apply(&mut tables).map_err(not_done)?;
        }
        // Without a change there is nothing to flush, so no reason to sweep either.
        if !tables.changed() {
            return Ok(());
        }
        tables
            .sweep(group.len() * SWEPT_PER_REQUEST)
            .map_err(not_done)?;
        drop(tables);
        transaction.commit().map_err(|error| {
            let error = error.into();
            self.broken.note(&error);
            StoreError::OutcomeUnknown(format!("the store file failed: {error}"))
        })
    }
}
