//! The shared store: Redis 7 or Valkey, be it one server, a primary that Sentinels replace, or a
//! cluster.
//!
//! Every call is one trip: an admission or a page is one pipeline, a commit is one script
//! (`src/store/scripts.rs`). Every command stays within one bucket, so in one slot.
//! What may have been done is never sent again here: whoever gets [`StoreError::OutcomeUnknown`]
//! decides. Sent again is what a server refused (a script it did not know, a slot it does not have),
//! and what only reads, once. No server is needed to start: [`Store::ping`] tells how they are.
//!
//! A record is one string: its version, 16 bytes, and its value. A claim is a string: its owner. A
//! limit is a string: the instant at which it is idle. A counter is a string: its window and last use. An
//! index is a sorted set whose scores are all 0,
//! so that its members are ordered by their bytes; without members it has no key. An outbox is a
//! stream.

mod address;
mod admission;
mod answer;
mod breaker;
mod cluster;
mod durable;
mod fault;
mod gather;
mod health;
mod link;
mod node;
mod sentinels;
mod slot;
mod topology;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value};

use self::answer::{committed, events, is_unknown_script, members, odd};
use self::fault::Fault;
use self::node::Purpose;
use self::topology::Topology;
use super::rules::{
    OUTBOX_NAME, Place, check_admission, check_change_set, check_outboxes, check_ranges,
};
use super::scripts::{self, By};
use super::{
    Admission, Admitted, ChangeSet, Committed, Cursor, Durability, IndexRange, Key, Lineage,
    OutboxRange, Store, StoreError,
};
use crate::id::Bucket;
use crate::secret::Secret;
use crate::time::Clock;

/// Where the servers are and how long to wait for them.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Which servers.
    pub servers: Servers,
    /// The ACL user, if not the default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// PEM of the only authority to trust; `None`: those of the system. Needs `rediss://`.
    pub tls_ca: Option<Vec<u8>>,
    /// Connections to each server for everyday use; a server has two more, for what is asked a second
    /// time and for commits that wait for replicas.
    pub connections: usize,
    /// How long to wait for a connection, handshakes included.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub response_timeout: Duration,
    /// Whether a commit that waits for replicas ([`Durability::Replicated`]) waits until they and the
    /// primary have it on disk.
    pub fsync: bool,
    /// What the clocks of the servers are held against.
    pub clock: Clock,
}

/// Which servers have the state.
#[derive(Debug, Clone)]
pub enum Servers {
    /// One: `redis://host:port/db`, or `rediss://` for TLS. Credentials in it are refused.
    One(String),
    /// The one that Sentinels call the primary.
    Sentinels {
        /// The Sentinels, as above, without a database. The servers are reached by TLS where they are.
        urls: Vec<String>,
        /// What they call it.
        master: String,
        /// The ACL user of the Sentinels, if not the default one.
        username: Option<String>,
        /// Its password.
        password: Option<Secret<String>>,
    },
    /// The nodes of a cluster, or some of them: they know the others.
    Cluster(Vec<String>),
}

impl RedisOptions {
    /// These servers, with what the configuration has where it says nothing else.
    #[must_use]
    pub const fn new(servers: Servers) -> Self {
        Self {
            servers,
            username: None,
            password: None,
            tls_ca: None,
            connections: 1,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_millis(250),
            fsync: false,
            clock: Clock::system(),
        }
    }
}

/// The client of one server, or of all those that are one store together.
pub struct Redis {
    topology: Topology,
    response_timeout: Duration,
    fsync: bool,
    clock: Clock,
}

impl Redis {
    /// Prepares the client; connects on first use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the options make no sense, in plain words.
    pub fn connect(options: &RedisOptions) -> Result<Self, StoreError> {
        let topology = Topology::new(options);
        Ok(Self {
            topology: topology.map_err(|why| StoreError::Unavailable(why.to_owned()))?,
            response_timeout: options.response_timeout,
            fsync: options.fsync,
            clock: options.clock.clone(),
        })
    }

    async fn send(&self, parts: Vec<(Bucket, Cmd)>, purpose: Purpose) -> Vec<Result<Value, Fault>> {
        let within = self.response_timeout;
        self.topology.send(parts, purpose, within).await
    }

    async fn commit_local(&self, change: &ChangeSet) -> Result<Committed, StoreError> {
        let mut answer = Err(odd());
        for by in [By::Digest, By::Text] {
            let command = scripts::commit(change, by);
            let sent = self.send(vec![(change.bucket, command)], Purpose::Write);
            answer = sent.await.into_iter().next().unwrap_or_else(|| Err(odd()));
            if !is_unknown_script(&answer) {
                break;
            }
        }
        let done = answer.and_then(|answer| committed(answer, 0));
        done.map_err(Fault::of_write)
    }
}

#[async_trait]
impl Store for Redis {
    async fn admit(&self, ask: Admission) -> Result<Admitted, StoreError> {
        check_admission(&ask)?;
        self.admission(&ask).await
    }

    async fn commit(&self, change: ChangeSet) -> Result<Committed, StoreError> {
        check_change_set(&change)?;
        match change.durability {
            Durability::Replicated { replicas, within } if replicas > 0 || self.fsync => {
                self.commit_replicated(&change, replicas, within).await
            }
            Durability::Local | Durability::Replicated { .. } => self.commit_local(&change).await,
        }
    }

    async fn follow(
        &self,
        ranges: Vec<OutboxRange>,
    ) -> Result<Vec<Vec<(Cursor, Vec<u8>)>>, StoreError> {
        let places = check_outboxes(&ranges)?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let commands = ranges.iter().zip(places);
        let commands = commands.map(|(range, after)| (range.bucket, outbox_command(range, after)));
        let answers = self.send(commands.collect(), Purpose::Read).await;
        let parts = answers.into_iter().map(|answer| answer.and_then(events));
        parts.collect::<Result<_, _>>().map_err(Fault::of_read)
    }

    async fn page(&self, ranges: Vec<IndexRange>) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        check_ranges(&ranges)?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let commands = ranges.iter();
        let commands = commands.map(|range| (range.key.bucket(), range_command(range)));
        let answers = self.send(commands.collect(), Purpose::Read).await;
        let pages = answers.into_iter().map(|answer| answer.and_then(members));
        pages.collect::<Result<_, _>>().map_err(Fault::of_read)
    }

    async fn ping(&self) -> Result<Lineage, StoreError> {
        self.health().await.map_err(Fault::of_read)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

fn outbox_command(range: &OutboxRange, after: Option<Place>) -> Cmd {
    let start = after.map_or_else(
        || "-".to_owned(),
        |place| format!("({}-{}", place.millis, place.number),
    );
    let mut command = redis::cmd("XRANGE");
    command
        .arg(Key::new(range.bucket, OUTBOX_NAME.to_owned()).to_string())
        .arg(start)
        .arg("+")
        .arg("COUNT")
        .arg(range.limit);
    command
}

fn range_command(range: &IndexRange) -> Cmd {
    let mut command = redis::cmd("ZRANGE");
    command.arg(range.key.to_string());
    if range.after.is_empty() {
        command.arg("-");
    } else {
        command.arg([b"(", &range.after[..]].concat());
    }
    command.arg("+").arg("BYLEX");
    command.arg("LIMIT").arg(0).arg(range.limit);
    command
}
