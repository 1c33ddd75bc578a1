//! The connection to the server: made on first use, made again when it broke.
//!
//! The client library has a reconnecting connection of its own. It is not used because its errors do
//! not tell "never sent" from "sent, and the answer was lost", and that is the difference between
//! "nothing happened" and "nobody knows".

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, Pipeline, PushInfo, PushKind, Value};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;

use super::answer::is_from_replica;
use super::fault::Fault;
use super::sentinels::Sentinels;
use crate::time::monotonic_now;

/// After a failed attempt to connect, calls fail with its error for this long: a server that is down
/// is not stormed.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// So many calls in a row without an answer, and the connection is given up: a peer that vanished
/// without a word is not noticed otherwise. One slow answer is not worth a new connection.
const UNANSWERED_MAX: u32 = 3;

/// A call that was given up counts as unanswered when this part of its time had passed: another
/// connection had the answer first, or its caller lost patience.
const PATIENCE: u32 = 2;

/// Commands queued for the socket; further callers wait, within their deadline.
const QUEUED_MAX: usize = 1024;

/// One connection, shared by everyone, and how to make it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

/// Where a link leads.
pub(super) enum Target {
    /// To one server, whatever it is.
    Server(Box<Client>),
    /// To whichever server is the primary.
    Primary(Arc<Sentinels>),
}

struct Inner {
    target: Target,
    connect_timeout: Duration,
    /// A std mutex: held for a clone only, never across an await.
    current: Mutex<Option<Wire>>,
    /// Held by the one who connects.
    connecting: AsyncMutex<Option<(Instant, Fault)>>,
}

#[derive(Clone)]
struct Wire {
    connection: MultiplexedConnection,
    broken: Arc<AtomicBool>,
    unanswered: Arc<AtomicU32>,
    /// Which of the primaries there were it leads to.
    turn: u64,
}

/// A call under way. Dropped without [`Asked::answered`], it counts as unanswered.
struct Asked<'w> {
    wire: &'w Wire,
    since: Instant,
    within: Duration,
    answered: bool,
}

impl Asked<'_> {
    fn answered(mut self) {
        self.answered = true;
        self.wire.unanswered.store(0, Ordering::Relaxed);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let waited = monotonic_now().duration_since(self.since);
        if self.answered || waited < self.within / PATIENCE {
            return;
        }
        if self.wire.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
            self.wire.broken.store(true, Ordering::Release);
        }
    }
}

impl Link {
    pub(super) fn new(target: Target, connect_timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            target,
            connect_timeout,
            current: Mutex::new(None),
            connecting: AsyncMutex::new(None),
        }))
    }

    /// Sends commands together and gives one answer for each. Takes at most the time to connect and
    /// `within`.
    pub(super) async fn send(
        &self,
        commands: &Pipeline,
        within: Duration,
    ) -> Result<Vec<Value>, Fault> {
        let wire = self.wire().await?;
        let count = commands.len();
        let mut connection = wire.connection.clone();
        let sent = connection.send_packed_commands(commands, 0, count);
        let asked = Asked {
            wire: &wire,
            since: monotonic_now(),
            within,
            answered: false,
        };
        match timeout(within, sent).await {
            Ok(Ok(answers)) if answers.len() == count => {
                asked.answered();
                if answers.iter().any(is_from_replica) {
                    wire.broken.store(true, Ordering::Release);
                }
                Ok(answers)
            }
            Ok(Ok(_)) => {
                wire.broken.store(true, Ordering::Release);
                Err(Fault::NoAnswer(
                    "the server answered out of step".to_owned(),
                ))
            }
            Ok(Err(error)) => {
                let fault = Fault::after_sending(&error);
                if matches!(fault, Fault::NoAnswer(_)) {
                    wire.broken.store(true, Ordering::Release);
                }
                Err(fault)
            }
            Err(_elapsed) => Err(Fault::NoAnswer("no answer in time".to_owned())),
        }
    }

    /// Closes the connection when the calls under way have ended; the next one connects anew.
    pub(super) fn give_up(&self) {
        let current = self.0.current.lock();
        *current.unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn wire(&self) -> Result<Wire, Fault> {
        if let Some(wire) = self.0.usable() {
            return Ok(wire);
        }
        // In a task of its own: a caller that gives up does not break off the attempt of the others.
        let inner = Arc::clone(&self.0);
        let attempt = tokio::spawn(async move { inner.connect().await });
        match timeout(self.0.connect_timeout, attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(Fault::NotSent("no connection in time".to_owned())),
        }
    }
}

impl Inner {
    fn usable(&self) -> Option<Wire> {
        let turn = self.target.turn();
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |wire: &&Wire| wire.turn == turn && !wire.broken.load(Ordering::Acquire);
        current.as_ref().filter(usable).cloned()
    }

    /// One attempt, for everyone who waits for it.
    async fn connect(&self) -> Result<Wire, Fault> {
        let mut last_failure = self.connecting.lock().await;
        if let Some(wire) = self.usable() {
            return Ok(wire);
        }
        if let Some((at, fault)) = last_failure.as_ref()
            && monotonic_now().duration_since(*at) < RETRY_AFTER
        {
            return Err(fault.clone());
        }
        match self.try_connect().await {
            Ok(wire) => {
                *last_failure = None;
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                *current = Some(wire.clone());
                Ok(wire)
            }
            Err(fault) => {
                *last_failure = Some((monotonic_now(), fault.clone()));
                Err(fault)
            }
        }
    }

    async fn try_connect(&self) -> Result<Wire, Fault> {
        let attempt = async {
            match &self.target {
                Target::Server(client) => self.open(client, 0).await,
                Target::Primary(sentinels) => {
                    let (client, turn) = sentinels.primary().await?;
                    match self.open(&client, turn).await {
                        Ok(wire) => must_be_primary(wire).await,
                        Err(fault) => Err(sentinels.explain(fault).await),
                    }
                }
            }
        };
        timeout(self.connect_timeout, attempt)
            .await
            .unwrap_or_else(|_| Err(Fault::NotSent("no connection in time".to_owned())))
    }

    async fn open(&self, client: &Client, turn: u64) -> Result<Wire, Fault> {
        let broken = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&broken);
        let on_push = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection {
                told.store(true, Ordering::Release);
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED_MAX)
            .set_push_sender(on_push);
        let tls = matches!(
            client.get_connection_info().addr(),
            ConnectionAddr::TcpTls { .. }
        );
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| Fault::while_connecting(&error, tls))?;
        Ok(Wire {
            connection,
            broken,
            unanswered: Arc::new(AtomicU32::new(0)),
            turn,
        })
    }
}

impl Target {
    /// Another number as soon as another server is the primary.
    fn turn(&self) -> u64 {
        match self {
            Self::Server(_) => 0,
            Self::Primary(sentinels) => sentinels.turn(),
        }
    }
}

/// A server that was just replaced may still be named for a moment.
async fn must_be_primary(mut wire: Wire) -> Result<Wire, Fault> {
    let mut ask = Pipeline::with_capacity(1);
    ask.cmd("ROLE");
    let answer = wire.connection.send_packed_commands(&ask, 0, 1).await;
    let answer = answer.map_err(|error| Fault::while_connecting(&error, true))?;
    match answer.into_iter().next() {
        Some(Value::ServerError(error)) => Err(Fault::NotSent(Fault::reply(&error).words())),
        Some(Value::Array(role)) if role.first() == Some(&Value::BulkString(b"master".into())) => {
            Ok(wire)
        }
        _ => Err(Fault::NotSent(
            "the server that the Sentinels name is not a primary (any more, or yet)".to_owned(),
        )),
    }
}
