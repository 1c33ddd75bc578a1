//! Whether servers can be trusted with state, in plain words, and which they are.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Pipeline, Value};

use super::super::rules::MARK_PREFIX;
use super::super::{Key, Lineage, scripts};
use super::Redis;
use super::answer::{info_field, list, odd, text};
use super::fault::Fault;
use super::node::{Node, Purpose};
use crate::id::Bucket;
use crate::key::sha256;
use crate::time::Timestamp;
use crate::token::INSTANCE_SKEW_MAX;

/// The oldest version that has `SET … NX GET` and scripts that declare themselves.
const VERSION_MIN: (u32, u32) = (7, 0);

/// The oldest version that has `WAITAOF`.
const FSYNC_VERSION_MIN: (u32, u32) = (7, 2);

/// How far the server's clock and ours may be apart: two instances that are each that near to it are as
/// near to each other as [`INSTANCE_SKEW_MAX`] asks.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(INSTANCE_SKEW_MAX.as_secs() / 2);

impl Redis {
    /// Whether every server that takes writes is well. Who they are: their processes and the histories
    /// of their data.
    pub(super) async fn health(&self) -> Result<Lineage, Fault> {
        let primaries = self.topology.primaries().await?;
        let looked = primaries.iter().map(async |(node, bucket)| {
            let looked = self.look_at(node, *bucket).await;
            looked.inspect_err(|_| self.topology.doubt())
        });
        let mut who = join_all(looked)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        who.sort_unstable();
        Ok(Lineage(match who.as_slice() {
            [one] => one.clone(),
            several => data_encoding::HEXLOWER.encode(&sha256(several.join("\n").as_bytes())),
        }))
    }

    async fn look_at(&self, node: &Node, bucket: Bucket) -> Result<String, Fault> {
        let key = Key::new(bucket, format!("{MARK_PREFIX}ping")).to_string();
        let mut commands = Pipeline::with_capacity(7);
        for section in ["server", "memory", "replication", "persistence"] {
            commands.cmd("INFO").arg(section);
        }
        commands.cmd("SET").arg(&key).arg("1").arg("PX").arg(1000);
        commands.add_command(scripts::lacking(&key, self.fsync));
        commands.cmd("TIME");
        let before = self.clock.now();
        let answers = node.send(&commands, Purpose::Look, self.response_timeout);
        let answers = answers.await?;
        let after = self.clock.now();
        let [
            server,
            memory,
            replication,
            persistence,
            write,
            lacking,
            time,
        ] = <[Value; 7]>::try_from(answers).map_err(|_| odd())?;
        let server = text(server)?;
        self.is_able(&server)?;
        is_safe(&text(memory)?)?;
        if self.fsync && info_field(&text(persistence)?, "aof_enabled") != Some("1") {
            return Err(refused(
                "the server keeps no append-only file, so nothing is ever on its disk: set appendonly \
                 to yes, or revocation_fsync to false",
            ));
        }
        if let Value::ServerError(error) = &write {
            return Err(Fault::reply(error));
        }
        if write != Value::Okay {
            return Err(odd());
        }
        is_allowed(lacking)?;
        let time = time_of(time)?;
        if before.since(time) > CLOCKS_APART_MAX || time.since(after) > CLOCKS_APART_MAX {
            return Err(refused(
                "the clocks of the server and of this machine are more than 30 seconds apart: set \
                 both by the network",
            ));
        }
        let replication = text(replication)?;
        let process = info_field(&server, "run_id").ok_or_else(odd)?;
        let history = info_field(&replication, "master_replid").ok_or_else(odd)?;
        Ok(format!("{process} {history}"))
    }

    /// Whether the server is of a kind and version that can do what is needed.
    fn is_able(&self, server: &str) -> Result<(), Fault> {
        if info_field(server, "redis_mode") == Some("sentinel") {
            return Err(refused(
                "the server is a Sentinel: name it in \"sentinels\"",
            ));
        }
        let mut version = info_field(server, "redis_version").unwrap_or("").split('.');
        let mut part = || version.next().and_then(|part| part.parse().ok());
        let version = (part().unwrap_or(0), part().unwrap_or(0));
        if version < VERSION_MIN {
            return Err(refused("the server is older than Redis 7.0: upgrade it"));
        }
        if self.fsync && version < FSYNC_VERSION_MIN {
            return Err(refused(
                "the server is older than Redis 7.2 and cannot say what is on its disk: upgrade it, \
                 or set revocation_fsync to false",
            ));
        }
        Ok(())
    }
}

fn refused(why: &str) -> Fault {
    Fault::Refused(why.to_owned())
}

/// Whether the server keeps what it has.
fn is_safe(memory: &str) -> Result<(), Fault> {
    if info_field(memory, "maxmemory_policy") == Some("noeviction") {
        return Ok(());
    }
    Err(refused(
        "the server may evict keys, which would lose revocations: set its maxmemory-policy to \
         noeviction",
    ))
}

/// Whether our user may do everything that is needed; the script names what it may not.
fn is_allowed(lacking: Value) -> Result<(), Fault> {
    let lacking = list(lacking)?.into_iter().map(text);
    let lacking = lacking.collect::<Result<Vec<_>, _>>()?;
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    Err(Fault::Refused(format!(
        "our user on the server may not run {lacking} on our keys: add it to its ACL"
    )))
}

/// Seconds and microseconds.
fn time_of(time: Value) -> Result<Timestamp, Fault> {
    let [secs, _] = <[Value; 2]>::try_from(list(time)?).map_err(|_| odd())?;
    let secs = text(secs)?.parse().map_err(|_| odd())?;
    Ok(Timestamp::from_secs(secs))
}
