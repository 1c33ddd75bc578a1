//! The shared store: a Redis 7 or Valkey server.
//!
//! Every call is one trip: an admission or a page is one pipeline, a commit is one script
//! (`src/store/scripts.rs`). Every command stays within one bucket, so in one slot. Nothing is ever sent again here, except a script the server did not know:
//! whoever gets [`StoreError::OutcomeUnknown`] decides. The server is not needed to start:
//! [`Store::ping`] tells how it is.
//!
//! A record is one string: its version, 16 bytes, and its value. A claim is a string: its owner. A
//! limit is a string: the instant at which it is idle. A counter is a string: its window and last use. An
//! index is a sorted set whose scores are all 0,
//! so that its members are ordered by their bytes; without members it has no key. An outbox is a
//! stream.

mod admission;
mod answer;
mod fault;
mod link;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use redis::{
    Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, Pipeline, ProtocolVersion,
    TlsCertificates, Value,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::answer::{committed, count, events, healthy, is_unknown_script, members, odd};
use self::fault::Fault;
use self::link::Link;
use super::rules::{
    MARK_PREFIX, OUTBOX_NAME, Place, check_admission, check_change_set, check_outboxes,
    check_ranges, life_millis,
};
use super::scripts::{self, By};
use super::{
    Admission, Admitted, ChangeSet, Committed, Cursor, Durability, IndexRange, Key, Lineage,
    OutboxRange, Store, StoreError,
};
use crate::id::Bucket;
use crate::secret::Secret;

/// Where the server is and how long to wait for it.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://host:port/db`, or `rediss://` for TLS. Credentials in it are refused.
    pub url: String,
    /// The ACL user, if not the default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// PEM of the only authority to trust; `None`: those of the system. Needs `rediss://`.
    pub tls_ca: Option<Vec<u8>>,
    /// How long to wait for a connection, handshakes included.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub response_timeout: Duration,
}

/// The client of one server.
pub struct Redis {
    link: Link,
    /// For commits that wait for replicas: the server answers nothing else on such a connection
    /// meanwhile. One at a time.
    waiting: Mutex<Link>,
    response_timeout: Duration,
}

impl Redis {
    /// Prepares the client; connects on first use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the options make no sense, in plain words.
    pub fn connect(options: &RedisOptions) -> Result<Self, StoreError> {
        let client = client(options).map_err(|why| StoreError::Unavailable(why.to_owned()))?;
        Ok(Self {
            link: Link::new(client.clone(), options.connect_timeout),
            waiting: Mutex::new(Link::new(client, options.connect_timeout)),
            response_timeout: options.response_timeout,
        })
    }

    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        self.link.send(commands, self.response_timeout).await
    }

    async fn send_one(&self, command: Cmd) -> Result<Value, Fault> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let answers = self.send(&commands).await?;
        answers.into_iter().next().ok_or_else(odd)
    }

    async fn commit_local(&self, change: &ChangeSet) -> Result<Committed, StoreError> {
        let sent = self.send_one(scripts::commit(change, By::Digest)).await;
        let mut answer = sent.map_err(Fault::of_write)?;
        if is_unknown_script(&answer) {
            let sent = self.send_one(scripts::commit(change, By::Text)).await;
            answer = sent.map_err(Fault::of_write)?;
        }
        committed(answer, 0).map_err(Fault::of_write)
    }

    async fn commit_replicated(
        &self,
        change: &ChangeSet,
        replicas: u32,
        within: Duration,
    ) -> Result<Committed, StoreError> {
        let deadline = within.saturating_add(self.response_timeout);
        let Ok(link) = timeout(deadline, self.waiting.lock()).await else {
            // Where replicas lag, commits queue up here. What waits in vain is done all the same, and
            // said to be on no replica: a revocation that is not applied is worse than one that may
            // be lost.
            return self.commit_local(change).await;
        };
        let mut commands = Pipeline::with_capacity(2);
        // By its text: a script that was unknown would cost a second wait.
        commands.add_command(scripts::commit(change, By::Text));
        let mut wait = redis::cmd("WAIT");
        wait.arg(replicas).arg(life_millis(within));
        commands.add_command(wait);
        let answers = link.send(&commands, deadline).await;
        let [done, acked] = <[Value; 2]>::try_from(answers.map_err(Fault::of_write)?)
            .map_err(|_| odd().of_write())?;
        // Where WAIT was refused the commit is done, and no replica is known to have it.
        let acked = count(&acked).unwrap_or(0);
        committed(done, acked).map_err(Fault::of_write)
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
            Durability::Local | Durability::Replicated { replicas: 0, .. } => {
                self.commit_local(&change).await
            }
            Durability::Replicated { replicas, within } => {
                self.commit_replicated(&change, replicas, within).await
            }
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
        let mut commands = Pipeline::with_capacity(ranges.len());
        for (range, after) in ranges.iter().zip(places) {
            commands.add_command(outbox_command(range, after));
        }
        let answers = self.send(&commands).await.map_err(Fault::of_read)?;
        let parts = answers.into_iter().map(events);
        parts.collect::<Result<_, _>>().map_err(Fault::of_read)
    }

    async fn page(&self, ranges: Vec<IndexRange>) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        check_ranges(&ranges)?;
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(ranges.len());
        for range in &ranges {
            commands.add_command(range_command(range));
        }
        let answers = self.send(&commands).await.map_err(Fault::of_read)?;
        let pages = answers.into_iter().map(members);
        pages.collect::<Result<_, _>>().map_err(Fault::of_read)
    }

    async fn ping(&self) -> Result<Lineage, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("INFO").arg("server");
        commands.cmd("INFO").arg("memory");
        commands.cmd("INFO").arg("replication");
        let key = Bucket::new(0).map(|bucket| Key::new(bucket, format!("{MARK_PREFIX}ping")));
        let key = key.map_or_else(String::new, |key| key.to_string());
        commands.cmd("SET").arg(key).arg("1").arg("PX").arg(1000);
        let answers = self.send(&commands).await.map_err(Fault::of_read)?;
        let [server, memory, replication, write] =
            <[Value; 4]>::try_from(answers).map_err(|_| odd().of_read())?;
        healthy([server, memory, replication], write).map_err(Fault::of_read)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

fn client(options: &RedisOptions) -> Result<Client, &'static str> {
    const BAD_URL: &str = "the URL of the Redis server is not valid";
    let info = options
        .url
        .as_str()
        .into_connection_info()
        .map_err(|_| BAD_URL)?;
    let settings = info.redis_settings();
    if settings.username().is_some() || settings.password().is_some() {
        return Err("credentials do not belong in the URL of the Redis server");
    }
    // RESP3, because only there the client library tells at once when the connection breaks.
    let mut settings = settings.clone().set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = &options.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &options.password {
        settings = settings.set_password(password.expose());
    }
    let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    let info = info.set_redis_settings(settings);
    match &options.tls_ca {
        None => Client::open(info).map_err(|_| BAD_URL),
        Some(_) if !encrypted => {
            Err("a certificate authority is given, but the URL asks for no TLS")
        }
        Some(pem) => {
            const BAD_PEM: &str = "the certificate authority of the Redis server is not valid PEM";
            // The client library takes a text without any certificate, and then trusts nobody.
            let mut authorities = CertificateDer::pem_slice_iter(pem).peekable();
            if authorities.peek().is_none() || authorities.any(|found| found.is_err()) {
                return Err(BAD_PEM);
            }
            let authority = TlsCertificates {
                client_tls: None,
                root_cert: Some(pem.clone()),
            };
            Client::build_with_tls(info, authority).map_err(|_| BAD_PEM)
        }
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
