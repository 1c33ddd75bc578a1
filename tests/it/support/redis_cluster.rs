//! A Redis Cluster of three primaries, each with as many replicas as wanted, all on this machine.

use std::path::Path;
use std::time::Duration;

use super::redis_server::{RedisServer, free_port, wait_until};

const PRIMARIES: usize = 3;
const SLOTS: usize = 16384;

/// How often a replica is told to take over, how often looked at between, and the pause.
const ORDERS_MAX: usize = 10;
const LOOKS: usize = 30;
const PAUSE: Duration = Duration::from_millis(50);

/// Running nodes; all are killed when this is dropped.
pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Three primaries, numbers 0 to 2 with a third of the slots each, and then their replicas: first
    /// one for each, and so on. A primary that says nothing for three seconds is replaced: one that a busy
    /// machine holds up is not.
    pub(crate) fn start(replicas_each: usize) -> Self {
        Self::start_with(replicas_each, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(replicas_each: usize, args: &[&str]) -> Self {
        Self::form(replicas_each, |cluster_args| {
            RedisServer::start_with(&[cluster_args, args].concat())
        })
    }

    /// The same of another make, e.g. Valkey.
    pub(crate) fn start_program(program: &Path, replicas_each: usize) -> Self {
        Self::form(replicas_each, |args| {
            RedisServer::start_program(program, args)
        })
    }

    fn form(replicas_each: usize, start: impl Fn(&[&str]) -> RedisServer) -> Self {
        let mut buses = Vec::new();
        let mut node = || {
            // Of its own choice the bus would be 10000 above the port, which may be somebody else's.
            let bus = free_port().to_string();
            let node = start(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "3000",
                "--repl-diskless-sync-delay",
                "0",
                // A replica takes over however long its link was down.
                "--cluster-replica-validity-factor",
                "0",
            ]);
            buses.push(bus);
            node
        };
        let nodes: Vec<_> = (0..PRIMARIES * (1 + replicas_each))
            .map(|_| node())
            .collect();
        let cluster = Self { nodes };
        let order = |number: usize, line: &str| {
            let answer = cluster.nodes[number].command(line);
            assert_eq!(answer, "+OK\r\n", "{line}");
        };
        for (number, bus) in buses.iter().enumerate() {
            if number < PRIMARIES {
                let first = number * SLOTS / PRIMARIES;
                let last = (number + 1) * SLOTS / PRIMARIES - 1;
                order(number, &format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            }
            order(number, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
            if number > 0 {
                let port = cluster.nodes[number].main_port();
                order(0, &format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
            }
        }
        wait_until("everyone knows everyone", || {
            let knows = format!("cluster_known_nodes:{}", cluster.nodes.len());
            let mut nodes = cluster.nodes.iter();
            nodes.all(|node| node.command("CLUSTER INFO").contains(&knows))
        });
        for number in PRIMARIES..cluster.nodes.len() {
            let primary = cluster.id(number % PRIMARIES);
            wait_until("the replica knows its primary", || {
                let line = format!("CLUSTER REPLICATE {primary}");
                cluster.nodes[number].command(&line) == "+OK\r\n"
            });
        }
        cluster.wait_until_well();
        cluster
    }

    /// A node.
    pub(crate) fn node(&self, number: usize) -> &RedisServer {
        &self.nodes[number]
    }

    /// Every node.
    pub(crate) fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The URLs of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// Ends a node at once, as a crash would.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// Starts a killed node again, on the same port and data.
    pub(crate) fn restart(&mut self, number: usize) {
        self.nodes[number].restart();
    }

    /// Waits until the first replica of a first primary has everything that was written there.
    pub(crate) fn wait_for_replica_of(&self, primary: usize) {
        self.nodes[primary].wait_for_replica(&self.nodes[primary + PRIMARIES]);
    }

    /// What the cluster calls a node.
    pub(crate) fn id(&self, number: usize) -> String {
        let answer = self.nodes[number].command("CLUSTER MYID");
        answer.lines().nth(1).expect("an id").to_owned()
    }

    /// The slot of a bucket.
    pub(crate) fn slot_of(&self, bucket: u16) -> u16 {
        let running = self.nodes.iter().find(|node| node.is_running());
        let line = format!("CLUSTER KEYSLOT {{b{bucket}}}:x");
        let answer = running.expect("a node runs").command(&line);
        answer.trim_start_matches(':').trim().parse().unwrap()
    }

    /// The node that has a bucket: the only one that answers for it and calls itself a primary.
    pub(crate) fn primary_of(&self, bucket: u16) -> Option<usize> {
        let has = |node: &RedisServer| {
            let line = format!("GET {{b{bucket}}}:x");
            node.is_running()
                && node
                    .try_command(&line)
                    .is_ok_and(|answer| answer.starts_with('$'))
                && node
                    .try_command("ROLE")
                    .is_ok_and(|role| role.contains("master"))
        };
        self.nodes.iter().position(has)
    }

    /// Waits until another node than this one has a bucket, and gives it.
    pub(crate) fn wait_for_another_than(&self, number: usize, bucket: u16) -> usize {
        let mut found = None;
        wait_until("another node has the bucket", || {
            found = self.primary_of(bucket).filter(|node| *node != number);
            found.is_some()
        });
        found.unwrap()
    }

    /// Has a replica take the place of its primary, in good order.
    pub(crate) fn promote(&self, replica: usize) {
        // An order is forgotten where the others do not vote in time.
        for _ in 0..ORDERS_MAX {
            self.nodes[replica].command("CLUSTER FAILOVER");
            for _ in 0..LOOKS {
                std::thread::sleep(PAUSE);
                let role = self.nodes[replica].try_command("ROLE");
                if role.is_ok_and(|role| role.contains("master")) {
                    return;
                }
            }
        }
        panic!("never so: the replica is a primary");
    }

    /// Waits until every running node calls the cluster well, and every replica is in sync.
    pub(crate) fn wait_until_well(&self) {
        wait_until("the cluster is well", || {
            let mut running = self.nodes.iter().filter(|node| node.is_running());
            running.all(|node| {
                let state = node.try_command("CLUSTER INFO").unwrap_or_default();
                let role = node.try_command("INFO replication").unwrap_or_default();
                state.contains("cluster_state:ok")
                    && (role.contains("role:master") || role.contains("master_link_status:up"))
                    && !role.contains("state=wait_bgsave")
            })
        });
    }
}
