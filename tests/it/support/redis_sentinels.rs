//! A primary, two replicas and three Sentinels that watch over them, all on this machine.

use super::redis_server::{RedisServer, wait_until};

/// What the Sentinels call the primary.
pub(crate) const PRIMARY: &str = "assay";

const REPLICAS: u32 = 2;
const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// Running servers; all are killed when this is dropped.
pub(crate) struct Sentinels {
    nodes: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Three servers in sync and three Sentinels that know of them and of each other. A primary that
    /// says nothing for three seconds is replaced: one that a busy machine holds up is not.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// The same with further arguments of the servers, and of the Sentinels.
    pub(crate) fn start_with(node_args: &[&str], sentinel_args: &[&str]) -> Self {
        // Otherwise the primary gathers replicas for seconds before it sends them anything.
        let args = [&["--repl-diskless-sync-delay", "0"][..], node_args].concat();
        let mut nodes = vec![RedisServer::start_with(&args)];
        let primary = format!("127.0.0.1 {}", nodes[0].main_port());
        for _ in 0..REPLICAS {
            let replica = [&args[..], &["--replicaof", &primary]].concat();
            nodes.push(RedisServer::start_with(&replica));
        }
        let sentinels = (0..SENTINELS).map(|_| RedisServer::start_sentinel(sentinel_args));
        let set = Self {
            nodes,
            sentinels: sentinels.collect(),
        };
        set.wait_until_in_sync();
        for sentinel in &set.sentinels {
            set.watch_over(sentinel, set.nodes[0].main_port());
        }
        set.wait_until_watched();
        set
    }

    /// A server: 0 is the first primary, 1 and 2 its first replicas.
    pub(crate) fn node(&self, number: usize) -> &RedisServer {
        &self.nodes[number]
    }

    /// One of the three Sentinels.
    pub(crate) fn sentinel(&self, number: usize) -> &RedisServer {
        &self.sentinels[number]
    }

    /// One of the three Sentinels.
    pub(crate) fn sentinel_mut(&mut self, number: usize) -> &mut RedisServer {
        &mut self.sentinels[number]
    }

    /// The URLs of the Sentinels.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// Ends a server at once, as a crash would.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// Starts a killed server again, on the same port and data. It begins as what it was started as
    /// first; the Sentinels set it right.
    pub(crate) fn restart(&mut self, number: usize) {
        self.nodes[number].restart();
    }

    /// The server that most Sentinels call the primary, and that calls itself so.
    pub(crate) fn primary(&self) -> Option<usize> {
        let line = format!("SENTINEL get-master-addr-by-name {PRIMARY}");
        let named = |port: u16| {
            let running = self
                .sentinels
                .iter()
                .filter(|sentinel| sentinel.is_running());
            let named = running.filter(|sentinel| {
                let answer = sentinel.try_command(&line).unwrap_or_default();
                answer.lines().any(|line| line == port.to_string())
            });
            named.count()
        };
        self.nodes.iter().position(|node| {
            node.is_running()
                && named(node.main_port()) >= QUORUM
                && node
                    .try_command("ROLE")
                    .is_ok_and(|role| role.contains("master"))
        })
    }

    /// Waits until another server than this one is the primary, and gives it.
    pub(crate) fn wait_for_another_than(&self, number: usize) -> usize {
        let mut found = None;
        wait_until("another server is the primary", || {
            found = self.primary().filter(|primary| *primary != number);
            found.is_some()
        });
        found.unwrap()
    }

    /// Has the Sentinels put another server in the place of the primary, in good order.
    pub(crate) fn fail_over(&self) -> usize {
        let before = self.primary().expect("there is a primary");
        wait_until("a Sentinel takes the order", || {
            let order = format!("SENTINEL FAILOVER {PRIMARY}");
            self.sentinels[0].command(&order).starts_with("+OK")
        });
        self.wait_for_another_than(before)
    }

    /// Waits until the first primary sends its replicas every write.
    fn wait_until_in_sync(&self) {
        wait_until("the replicas are in sync", || {
            let up = |node: &RedisServer| {
                let info = node.try_command("INFO replication").unwrap_or_default();
                info.contains("master_link_status:up")
            };
            let info = self.nodes[0].command("INFO replication");
            self.nodes[1..].iter().all(up)
                && info.matches("state=online").count() == self.nodes.len() - 1
        });
    }

    fn watch_over(&self, sentinel: &RedisServer, port: u16) {
        for line in [
            format!("SENTINEL MONITOR {PRIMARY} 127.0.0.1 {port} {QUORUM}"),
            format!("SENTINEL SET {PRIMARY} down-after-milliseconds 3000"),
            format!("SENTINEL SET {PRIMARY} failover-timeout 3000"),
            format!("SENTINEL SET {PRIMARY} parallel-syncs 2"),
        ] {
            assert_eq!(sentinel.command(&line), "+OK\r\n", "{line}");
        }
    }

    /// Waits until every Sentinel knows the replicas and the other Sentinels.
    fn wait_until_watched(&self) {
        wait_until("the Sentinels know everyone", || {
            self.sentinels.iter().all(|sentinel| {
                let info = sentinel.command("INFO sentinel");
                info.contains(&format!("slaves={REPLICAS},sentinels={SENTINELS}"))
            })
        });
    }
}
