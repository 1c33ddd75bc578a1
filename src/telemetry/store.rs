//! A store that is counted and timed.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::metrics::{Metrics, StoreOperation, StoreOutcome};
use crate::store::{
    Admission, Admitted, ChangeSet, Committed, Cursor, IndexRange, Lineage, OutboxRange, Store,
    StoreError,
};
use crate::time::monotonic_now;

/// A store whose every operation goes into the metrics.
#[derive(Debug)]
pub struct Observed<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Observed<S> {
    /// Around this store.
    pub const fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    fn note<T>(
        &self,
        operation: StoreOperation,
        began: Instant,
        answer: &Result<T, StoreError>,
        conflict: bool,
    ) {
        let outcome = match answer {
            Ok(_) if conflict => StoreOutcome::Conflict,
            Ok(_) => StoreOutcome::Ok,
            Err(StoreError::OutcomeUnknown(_)) => StoreOutcome::Unknown,
            Err(StoreError::Unavailable(_) | StoreError::Invalid(_)) => StoreOutcome::Unavailable,
        };
        self.metrics
            .store_operation(operation, outcome, began.elapsed());
    }
}

#[async_trait]
impl<S: Store> Store for Observed<S> {
    async fn admit(&self, ask: Admission) -> Result<Admitted, StoreError> {
        let began = monotonic_now();
        let answer = self.inner.admit(ask).await;
        self.note(StoreOperation::Admit, began, &answer, false);
        answer
    }

    async fn commit(&self, change: ChangeSet) -> Result<Committed, StoreError> {
        let began = monotonic_now();
        let answer = self.inner.commit(change).await;
        let conflict = matches!(
            answer,
            Ok(Committed::Conflict | Committed::ClaimTaken { .. })
        );
        self.note(StoreOperation::Commit, began, &answer, conflict);
        answer
    }

    async fn follow(
        &self,
        ranges: Vec<OutboxRange>,
    ) -> Result<Vec<Vec<(Cursor, Vec<u8>)>>, StoreError> {
        let began = monotonic_now();
        let answer = self.inner.follow(ranges).await;
        self.note(StoreOperation::Follow, began, &answer, false);
        answer
    }

    async fn page(&self, ranges: Vec<IndexRange>) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        let began = monotonic_now();
        let answer = self.inner.page(ranges).await;
        self.note(StoreOperation::Page, began, &answer, false);
        answer
    }

    async fn ping(&self) -> Result<Lineage, StoreError> {
        let began = monotonic_now();
        let answer = self.inner.ping().await;
        self.note(StoreOperation::Ping, began, &answer, false);
        answer
    }
}
