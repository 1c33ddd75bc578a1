//! Which server gets a command, and what becomes of commands that are sent elsewhere.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::Mutex as AsyncMutex;

use super::address::{Access, Address, is_tls};
use super::answer::odd;
use super::cluster::{Cluster, Map};
use super::fault::Fault;
use super::link::{Link, Target};
use super::node::{Node, Purpose};
use super::sentinels::{Known, Sentinels};
use super::{RedisOptions, Servers};
use crate::id::Bucket;
use crate::time::monotonic_now;

/// How often a command follows a redirection: one for a slot that has moved, one into a slot that is
/// moving, and one more where it has arrived meanwhile.
const REDIRECTIONS_MAX: usize = 3;

/// Who has the data.
pub(super) enum Topology {
    /// One server has everything: the one that is named, or the one that Sentinels name.
    One(Arc<Node>),
    /// Each of several has some of the buckets.
    Cluster(Arc<Cluster>),
}

/// A command on its way: its place in the request, where it goes, and whether it is sent into a slot
/// that is just moving there.
struct Way {
    place: usize,
    node: Arc<Node>,
    asking: bool,
}

impl Topology {
    /// Prepares it; connects on first use.
    ///
    /// # Errors
    /// What does not make sense, in plain words.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, &'static str> {
        let access = Access {
            username: options.username.clone(),
            password: options.password.clone(),
            tls_ca: options.tls_ca.clone(),
        };
        let connections = options.connections;
        let connect_timeout = options.connect_timeout;
        let one = |address, target: &dyn Fn() -> Target| {
            let node = Node::new(address, connections, connect_timeout, target);
            Self::One(Arc::new(node))
        };
        match &options.servers {
            Servers::One(url) => {
                let (client, address) = access.client(url)?;
                Ok(one(Some(address), &|| {
                    Target::Server(Box::new(client.clone()))
                }))
            }
            Servers::Sentinels {
                urls,
                master,
                username,
                password,
            } => {
                let to_sentinels = Access {
                    username: username.clone(),
                    password: password.clone(),
                    tls_ca: options.tls_ca.clone(),
                };
                let sentinels = Arc::new(Sentinels {
                    links: links(urls, &to_sentinels, connect_timeout)?,
                    name: master.clone(),
                    access,
                    tls: urls.first().is_some_and(|url| is_tls(url)),
                    known: Mutex::new(Known::default()),
                    turn: AtomicU64::new(0),
                });
                Ok(one(None, &|| Target::Primary(Arc::clone(&sentinels))))
            }
            Servers::Cluster(urls) => Ok(Self::Cluster(Arc::new(Cluster {
                seeds: links(urls, &access, connect_timeout)?,
                access,
                tls: urls.first().is_some_and(|url| is_tls(url)),
                connections,
                connect_timeout,
                map: ArcSwap::from_pointee(Map::default()),
                asking: AsyncMutex::new(None),
            }))),
        }
    }

    /// The server of a bucket.
    pub(super) async fn node_of(&self, bucket: Bucket) -> Result<Arc<Node>, Fault> {
        match self {
            Self::One(node) => Ok(Arc::clone(node)),
            Self::Cluster(cluster) => cluster.node_of(bucket).await,
        }
    }

    /// Every server that takes writes, each with a bucket of it.
    pub(super) async fn primaries(&self) -> Result<Vec<(Arc<Node>, Bucket)>, Fault> {
        match self {
            Self::One(node) => {
                let first = Bucket::of_digest(&[0; 32]);
                Ok(vec![(Arc::clone(node), first)])
            }
            Self::Cluster(cluster) => cluster.primaries().await,
        }
    }

    /// Sends commands, each of one bucket, to their servers at once, and gives how each ended. Those
    /// of one bucket are done in their order. `within` is for all of it, but for making connections.
    ///
    /// A command that a node of a cluster sends elsewhere was not done there, so it may be sent again,
    /// whatever it does.
    pub(super) async fn send(
        &self,
        parts: Vec<(Bucket, Cmd)>,
        purpose: Purpose,
        within: Duration,
    ) -> Vec<Result<Value, Fault>> {
        match self {
            Self::One(node) => one(node, parts, purpose, within).await,
            Self::Cluster(_) => self.route(parts, purpose, within).await,
        }
    }

    async fn route(
        &self,
        parts: Vec<(Bucket, Cmd)>,
        purpose: Purpose,
        within: Duration,
    ) -> Vec<Result<Value, Fault>> {
        let mut answers: Vec<_> = parts.iter().map(|_| Err(odd())).collect();
        let mut ways = Vec::with_capacity(parts.len());
        for (place, (bucket, _)) in parts.iter().enumerate() {
            match self.node_of(*bucket).await {
                Ok(node) => ways.push(Way {
                    place,
                    node,
                    asking: false,
                }),
                Err(fault) => set(&mut answers, place, Err(fault)),
            }
        }
        // Each redirection takes a part of the time, so that all of them end within it.
        let mut left = within;
        for _ in 0..=REDIRECTIONS_MAX {
            let began = monotonic_now();
            let groups = by_node(ways);
            let sent = groups.iter().map(async |ways| {
                let node = ways.first().map(|way| &way.node).ok_or_else(odd)?;
                node.send(&pipeline(ways, &parts), purpose, left).await
            });
            let sent = join_all(sent).await;
            ways = Vec::new();
            for (group, sent) in groups.into_iter().zip(sent) {
                ways.extend(self.sort(group, sent, &mut answers));
            }
            left = left.saturating_sub(began.elapsed());
            if ways.is_empty() || left.is_zero() {
                break;
            }
        }
        answers
    }

    /// Puts answers in their places, and gives the ways of the commands that were sent elsewhere.
    fn sort(
        &self,
        group: Vec<Way>,
        sent: Result<Vec<Value>, Fault>,
        answers: &mut [Result<Value, Fault>],
    ) -> Vec<Way> {
        let mut again = Vec::new();
        let sent = match sent {
            Ok(sent) => sent,
            Err(fault) => {
                self.doubt();
                for way in group {
                    set(answers, way.place, Err(fault.clone()));
                }
                return again;
            }
        };
        let mut sent = sent.into_iter();
        for way in group {
            if way.asking {
                // What the server says to ASKING; it refuses the command itself where it must.
                sent.next();
            }
            let answer = sent.next().ok_or_else(odd);
            if let Ok(answer) = &answer
                && let Some((node, asking)) = self.elsewhere(answer, &way.node)
            {
                again.push(Way {
                    place: way.place,
                    node,
                    asking,
                });
            }
            set(answers, way.place, answer);
        }
        again
    }

    /// Where a server sends a command, if that is what it answered.
    pub(super) fn elsewhere(&self, answer: &Value, asked: &Node) -> Option<(Arc<Node>, bool)> {
        let Self::Cluster(cluster) = self else {
            return None;
        };
        let (node, asking) = cluster.elsewhere(answer, asked)?;
        if !asking {
            cluster.renew_soon();
        }
        Some((node, asking))
    }

    /// A server did not answer: another one may have its place by now.
    pub(super) fn doubt(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.renew_soon();
        }
    }
}

async fn one(
    node: &Node,
    parts: Vec<(Bucket, Cmd)>,
    purpose: Purpose,
    within: Duration,
) -> Vec<Result<Value, Fault>> {
    let count = parts.len();
    let mut commands = Pipeline::with_capacity(count);
    for (_, command) in parts {
        commands.add_command(command);
    }
    match node.send(&commands, purpose, within).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(fault) => vec![Err(fault); count],
    }
}

fn links(
    urls: &[String],
    access: &Access,
    connect_timeout: Duration,
) -> Result<Vec<(Link, Address)>, &'static str> {
    let link = |url: &String| {
        let (client, address) = access.client(url)?;
        Ok((
            Link::new(Target::Server(Box::new(client)), connect_timeout),
            address,
        ))
    };
    urls.iter().map(link).collect()
}

/// Ways to the same node together, in their order.
fn by_node(ways: Vec<Way>) -> Vec<Vec<Way>> {
    let mut groups: Vec<Vec<Way>> = Vec::new();
    for way in ways {
        let same = |group: &&mut Vec<Way>| {
            group
                .first()
                .is_some_and(|first| Arc::ptr_eq(&first.node, &way.node))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(way),
            None => groups.push(vec![way]),
        }
    }
    groups
}

fn pipeline(ways: &[Way], parts: &[(Bucket, Cmd)]) -> Pipeline {
    let mut commands = Pipeline::with_capacity(ways.len());
    for way in ways {
        if way.asking {
            commands.cmd("ASKING");
        }
        if let Some((_, command)) = parts.get(way.place) {
            commands.add_command(command.clone());
        }
    }
    commands
}

fn set(answers: &mut [Result<Value, Fault>], place: usize, answer: Result<Value, Fault>) {
    if let Some(slot) = answers.get_mut(place) {
        *slot = answer;
    }
}
