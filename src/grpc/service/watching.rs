//! The streams of RevocationService: their bounds, and the tasks that fill them.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Services;
use crate::flow::confirm_revocations::{Confirmation, LOOK_EVERY};
use crate::flow::watch_revocations::{CHECKPOINT_EVERY, Told, Watch};
use crate::flow::{Failure, WATCHERS_KEPT_EVERY, keep_watchers};
use crate::grpc::{proto, status, wire};
use crate::reason::Reason;

/// Streams of an instance, as promised. Each holds a few messages at most.
const STREAMS_MAX: usize = 1024;

/// Streams of one caller on an instance, as promised: the API servers of a fleet may share a name, and
/// none of them may take what all others need.
const STREAMS_PER_CALLER_MAX: usize = 256;

/// Questions who has heard that are under way at once, as promised: each reads the store four times a
/// second.
const CONFIRMATIONS_MAX: usize = 4;

/// Messages that wait for a watcher: what is behind them waits on the board.
const MESSAGES_WAITING_MAX: usize = 4;

/// A watcher that takes nothing for this long is sent away, as promised: it cannot rely on what it has
/// by then.
const SLOW_FOR_MAX: Duration = Duration::from_secs(5);

/// A stream of messages.
pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the streams of an instance share.
#[derive(Debug)]
pub(super) struct Streams {
    by_caller: Mutex<HashMap<Arc<str>, usize>>,
    confirmations: Arc<Semaphore>,
    keeping: AtomicBool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            by_caller: Mutex::default(),
            confirmations: Arc::new(Semaphore::new(CONFIRMATIONS_MAX)),
            keeping: AtomicBool::new(false),
        }
    }
}

impl Streams {
    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.by_caller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more stream of this caller; `None`: there are too many.
    pub(super) fn place(self: &Arc<Self>, caller: &str) -> Option<Place> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let own = counts.get(caller).copied().unwrap_or_default();
        if all >= STREAMS_MAX || own >= STREAMS_PER_CALLER_MAX {
            return None;
        }
        let caller: Arc<str> = caller.into();
        counts.insert(Arc::clone(&caller), own.saturating_add(1));
        drop(counts);
        Some(Place {
            streams: Arc::clone(self),
            caller,
        })
    }
}

/// The place of a stream, given back with it.
#[derive(Debug)]
pub(super) struct Place {
    streams: Arc<Streams>,
    caller: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.streams.counts();
        if let Some(count) = counts.get_mut(&self.caller) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

/// The way to one watcher. The last place in its queue is kept for the word with which it is sent
/// away, or a watcher that does not read would never learn why.
struct Outlet<T> {
    messages: mpsc::Sender<Result<T, Status>>,
    farewell: OwnedPermit<Result<T, Status>>,
}

fn outlet<T: Send + 'static>() -> Option<(Outlet<T>, Messages<T>)> {
    let (messages, answer) = mpsc::channel(MESSAGES_WAITING_MAX.saturating_add(1));
    let farewell = messages.clone().try_reserve_owned().ok()?;
    let outlet = Outlet { messages, farewell };
    Some((outlet, Box::pin(ReceiverStream::new(answer))))
}

/// Why a stream ends.
enum End {
    /// The caller went away.
    Gone,
    /// It does not read.
    Slow,
    /// Something went wrong.
    Failed(Box<Failure>),
}

impl<T> Outlet<T> {
    async fn send(&self, message: T) -> Result<(), End> {
        match self.messages.send_timeout(Ok(message), SLOW_FOR_MAX).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(End::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(End::Slow),
        }
    }
}

impl Services {
    /// Streams to a watcher until one of the two goes away.
    pub(super) fn follow(
        &self,
        watch: Watch,
        place: Place,
    ) -> Result<Messages<proto::WatchRevocationsResponse>, Status> {
        let (outlet, answer) = outlet().ok_or_else(|| status::status(Reason::Internal))?;
        let services = self.clone();
        tokio::spawn(async move {
            let end = tokio::select! {
                () = outlet.messages.closed() => End::Gone,
                end = services.tell_watcher(watch, &outlet) => end,
            };
            drop(place);
            services.say_farewell(outlet, end);
        });
        Ok(answer)
    }

    async fn tell_watcher(
        &self,
        mut watch: Watch,
        outlet: &Outlet<proto::WatchRevocationsResponse>,
    ) -> End {
        let mut changes = self.engine.board.changes();
        let mut tick = tokio::time::interval(CHECKPOINT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = true;
        loop {
            if due && watch.is_named() {
                watch.note(&self.engine);
                self.keep_watchers_soon();
            }
            while let Some(told) = watch.next(&self.engine, due) {
                due &= !matches!(told, Told::Checkpoint { .. } | Told::Incomplete { .. });
                if let Err(end) = outlet.send(wire::told(told)).await {
                    return end;
                }
            }
            due = tokio::select! {
                _ = tick.tick() => true,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return End::Gone;
                    }
                    false
                }
            };
        }
    }

    /// Has what is known of watchers kept soon, once for all of them. What fails is done with the next.
    pub(super) fn keep_watchers_soon(&self) {
        if self.streams.keeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let services = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WATCHERS_KEPT_EVERY).await;
            services.streams.keeping.store(false, Ordering::Release);
            let _ = keep_watchers(&services.engine).await;
        });
    }

    /// The right to ask who has heard.
    pub(super) fn confirmation_slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        let slot = Arc::clone(&self.streams.confirmations).try_acquire_owned();
        slot.map_err(|_| status::status(Reason::Overloaded))
    }

    /// Streams who has heard.
    pub(super) fn confirm(
        &self,
        asked: Confirmation,
        wait_for: Duration,
        slot: OwnedSemaphorePermit,
    ) -> Result<Messages<proto::ConfirmRevocationsResponse>, Status> {
        let (outlet, answer) = outlet().ok_or_else(|| status::status(Reason::Internal))?;
        let services = self.clone();
        tokio::spawn(async move {
            let end = tokio::select! {
                () = outlet.messages.closed() => End::Gone,
                end = services.tell_who_heard(asked, wait_for, &outlet) => end.err().unwrap_or(End::Gone),
            };
            drop(slot);
            services.say_farewell(outlet, end);
        });
        Ok(answer)
    }

    async fn tell_who_heard(
        &self,
        asked: Confirmation,
        wait_for: Duration,
        outlet: &Outlet<proto::ConfirmRevocationsResponse>,
    ) -> Result<(), End> {
        let mut over = pin!(tokio::time::sleep(wait_for));
        let mut before = None;
        loop {
            let looked = asked.look(&self.engine).await;
            let heard = looked.map_err(|failure| End::Failed(Box::new(failure)))?;
            let done = heard.all() || over.is_elapsed();
            let state: Vec<bool> = heard.watchers.iter().map(|(_, _, heard)| *heard).collect();
            if done || before.as_ref() != Some(&state) {
                outlet.send(wire::heard(&heard, done)).await?;
            }
            if done {
                return Ok(());
            }
            before = Some(state);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = &mut over => {}
            }
        }
    }

    fn say_farewell<T>(&self, outlet: Outlet<T>, end: End) {
        let refused = match end {
            End::Gone => return,
            End::Slow => status::status(Reason::Overloaded),
            End::Failed(failure) => self.refuse(&failure),
        };
        outlet.farewell.send(Err(refused));
    }
}
