//! The embedded store: one node, no server, on disk or in memory.
//!
//! Both modes are one `redb` database, so what is tested in memory is what runs on disk. One writer
//! thread takes every write. It gathers the requests that wait into one transaction, each with its own
//! check, so that they share one flush to disk; nothing is answered before that flush. Records are
//! durable when acknowledged, and there are no replicas to wait for.
//!
//! Plain loads and pages do not go through the writer: they read a snapshot of the last committed state,
//! on the calling task. Such a read is a few microseconds out of a cache, at worst a read of some file pages,
//! which is less than handing it to another thread costs.
//!
//! When a flush fails nobody can say what is on the disk. The requests of that group get
//! [`StoreError::OutcomeUnknown`], and from then on every call is refused, reads too and with the words
//! of that failure, until the process starts again and reads what really is there.

mod snapshot;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use redb::backends::InMemoryBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, StorageError};
use tokio::sync::{mpsc, oneshot};

use self::snapshot::Snapshot;
use self::tables::Tables;
use self::writer::{Asked, Broken, Job, Writer};
use super::rules::{check_admission, check_change_set, check_outboxes, check_ranges};
use super::{
    Admission, Admitted, ChangeSet, Committed, Cursor, IndexRange, Lineage, OutboxRange, Store,
    StoreError,
};
use crate::time::Clock;

/// Name of the file in the given directory.
pub const FILE_NAME: &str = "assay.redb";

/// Memory for pages of the file.
const DISK_CACHE_BYTES: usize = 128 << 20;

/// Memory for pages when they are in memory anyway.
const MEMORY_CACHE_BYTES: usize = 16 << 20;

/// Requests that may wait for the writer; further callers wait for a place.
const WAITING_MAX: usize = 1024;

/// A store in this process.
pub struct Embedded {
    database: Arc<Database>,
    clock: Clock,
    broken: Broken,
    requests: Option<mpsc::Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
}

/// Why an embedded store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or file cannot be made or opened.
    #[error("the directory of the store cannot be used: {0}")]
    Directory(#[source] io::Error),
    /// Another process, or another store of this one, has it open.
    #[error("the store is in use by another process")]
    InUse,
    /// The file is not a store, or is damaged.
    #[error("the store file is damaged or not a store: {0}")]
    Damaged(String),
    /// The file was written by a version of this program with another layout.
    #[error("the store file has layout {found}, this program knows layout {known}")]
    Layout {
        /// The layout of the file.
        found: u64,
        /// The one layout this program knows.
        known: u64,
    },
    /// The writer thread could not be started.
    #[error("the writer thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

impl Embedded {
    /// A store that is gone with this value.
    ///
    /// # Errors
    /// [`OpenError`], in practice only when no thread can be started.
    pub fn in_memory(clock: Clock) -> Result<Self, OpenError> {
        let database = Database::builder()
            .set_cache_size(MEMORY_CACHE_BYTES)
            .create_with_backend(InMemoryBackend::new())
            .map_err(open_error)?;
        Self::over(database, clock)
    }

    /// The store in a directory, made on first use. The directory is made readable for its owner only.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(OpenError::Directory)?;
        let file = dir.join(FILE_NAME);
        // Made here first, because the database would make it readable for everyone.
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&file)
            .map_err(OpenError::Directory)?;
        // So that a crash of the machine does not lose the name of the new file.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(OpenError::Directory)?;
        let database = Database::builder()
            .set_cache_size(DISK_CACHE_BYTES)
            .create(&file)
            .map_err(open_error)?;
        Self::over(database, clock)
    }

    fn over(database: Database, clock: Clock) -> Result<Self, OpenError> {
        tables::prepare(&database)?;
        let database = Arc::new(database);
        let broken = Broken::default();
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        let writer = Writer {
            database: Arc::clone(&database),
            clock: clock.clone(),
            broken: broken.clone(),
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            database,
            clock,
            broken,
            requests: Some(requests),
            writer: Some(writer),
        })
    }

    /// Has the writer do some work in its next transaction, and waits until that is committed.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tables<'_>) -> Result<Result<T, StoreError>, StorageError> + Send + 'static,
    {
        let gone = || StoreError::Unavailable("the writer of the store has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests
            .send(Box::new(Asked::new(work, answer)))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::OutcomeUnknown(
                "the writer of the store stopped".to_owned(),
            ))
        })
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.broken.check()?;
        let transaction = self.database.begin_read().map_err(unavailable)?;
        Snapshot::of(&transaction, self.clock.now()).map_err(unavailable)
    }
}

#[async_trait]
impl Store for Embedded {
    async fn admit(&self, ask: Admission) -> Result<Admitted, StoreError> {
        check_admission(&ask)?;
        if ask.claim.is_empty() && ask.limit.is_empty() && ask.window.is_empty() {
            let snapshot = self.snapshot()?;
            return Ok(Admitted {
                records: snapshot.load(&ask.load)?,
                owners: snapshot.owners(&ask.owner_of).map_err(unavailable)?,
                ..Admitted::default()
            });
        }
        self.write(move |tables| tables.admit(&ask)).await
    }

    async fn commit(&self, change: ChangeSet) -> Result<Committed, StoreError> {
        check_change_set(&change)?;
        self.write(move |tables| tables.commit(&change)).await
    }

    async fn follow(
        &self,
        ranges: Vec<OutboxRange>,
    ) -> Result<Vec<Vec<(Cursor, Vec<u8>)>>, StoreError> {
        let places = check_outboxes(&ranges)?;
        let snapshot = self.snapshot()?;
        let parts = ranges.iter().zip(places);
        let parts = parts.map(|(range, after)| snapshot.events(range.bucket, after, range.limit));
        parts.collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn page(&self, ranges: Vec<IndexRange>) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        check_ranges(&ranges)?;
        let snapshot = self.snapshot()?;
        let pages = ranges.iter().map(|range| snapshot.members(range));
        pages.collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn ping(&self) -> Result<Lineage, StoreError> {
        self.write(|tables| tables.touch().map(Ok)).await?;
        // What is acknowledged is on the disk, or the process is gone with it.
        Ok(Lineage("embedded".to_owned()))
    }
}

impl Drop for Embedded {
    /// Lets the writer finish what waits, and ends it: behind this the file is free again.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // An error is a panic of the writer, which every caller has already been told of.
            let _ended = writer.join();
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

fn unavailable(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Unavailable(format!("the store file failed: {}", error.into()))
}

fn open_error(error: DatabaseError) -> OpenError {
    if matches!(
        error,
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch
    ) {
        OpenError::InUse
    } else {
        OpenError::Damaged(error.to_string())
    }
}
