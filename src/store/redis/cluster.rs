//! Which node of a cluster has a bucket.
//!
//! The map is made of what the nodes say and made anew when one of them sends a command elsewhere or
//! does not answer. It need not be right: a node does nothing for a slot it does not have, and says
//! who has it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use redis::{Pipeline, ServerErrorKind, Value};
use tokio::sync::Mutex;

use super::address::{Access, Address};
use super::answer::{info_field, list, odd, text};
use super::fault::Fault;
use super::gather::gather;
use super::link::{Link, Target};
use super::node::{Node, Purpose};
use super::slot::slot_of;
use crate::id::{BUCKETS, Bucket};
use crate::time::monotonic_now;

/// How long nodes may take to say what they know.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The map is made anew no sooner than this after the last time: while a primary is being replaced
/// every call asks for it.
const ANEW_AFTER: Duration = Duration::from_millis(100);

/// The nodes and what they said last.
pub(super) struct Cluster {
    /// Nodes to begin with.
    pub(super) seeds: Vec<(Link, Address)>,
    /// How every node is reached.
    pub(super) access: Access,
    pub(super) tls: bool,
    pub(super) connections: usize,
    pub(super) connect_timeout: Duration,
    pub(super) map: ArcSwap<Map>,
    /// Held by the one who asks: when that was done last, and how it failed.
    pub(super) asking: Mutex<Option<(Instant, Result<(), Fault>)>>,
}

/// Who has what.
#[derive(Default)]
pub(super) struct Map {
    /// Every node that was told of and is kept connected.
    nodes: BTreeMap<Address, Arc<Node>>,
    /// The address of the primary of every bucket, by number. Empty: not known yet.
    owners: Vec<Option<Address>>,
}

/// Slots from one to another, and their primary.
struct Range {
    first: u16,
    last: u16,
    primary: Address,
}

/// What one node says of the cluster.
struct Said {
    is_well: bool,
    epoch: u64,
    ranges: Vec<Range>,
}

impl Cluster {
    /// The node that has a bucket.
    pub(super) async fn node_of(&self, bucket: Bucket) -> Result<Arc<Node>, Fault> {
        let mut map = self.map.load_full();
        if map.owners.is_empty() {
            self.renew(&map).await?;
            map = self.map.load_full();
        }
        let owner = map.owners.get(usize::from(bucket.number())).cloned();
        let node = owner.flatten().and_then(|owner| map.nodes.get(&owner));
        node.cloned().ok_or_else(uncovered)
    }

    /// Every primary that has buckets, each with one of them.
    pub(super) async fn primaries(&self) -> Result<Vec<(Arc<Node>, Bucket)>, Fault> {
        self.renew(&self.map.load_full()).await?;
        let map = self.map.load();
        let mut primaries = BTreeMap::new();
        for (bucket, owner) in (0..BUCKETS).filter_map(Bucket::new).zip(&map.owners) {
            let owner = owner.as_ref().ok_or_else(uncovered)?;
            primaries.entry(owner).or_insert(bucket);
        }
        let node = |(owner, bucket)| Some((Arc::clone(map.nodes.get(owner)?), bucket));
        Ok(primaries.into_iter().filter_map(node).collect())
    }

    /// Where a node sends a command, if that is what it answered.
    pub(super) fn elsewhere(&self, answer: &Value, asked: &Node) -> Option<(Arc<Node>, bool)> {
        let Value::ServerError(error) = answer else {
            return None;
        };
        let asking = error.kind()? == ServerErrorKind::Ask;
        if !asking && error.kind()? != ServerErrorKind::Moved {
            return None;
        }
        let told = error.details()?.split_ascii_whitespace().nth(1)?;
        let address = Address::parse(told, asked.address.as_ref()?)?;
        Some((self.node_at(&address).ok()?, asking))
    }

    /// Makes the map anew beside the calls, where nobody does so just now: while a node is away each
    /// failed call asks for it.
    pub(super) fn renew_soon(self: &Arc<Self>) {
        if self.asking.try_lock().is_err() {
            return;
        }
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            let old = cluster.map.load_full();
            // Whoever needs the map is told what is wrong with it.
            drop(cluster.renew(&old).await);
        });
    }

    /// Makes the map anew, unless somebody did so since this one or just now.
    async fn renew(&self, old: &Arc<Map>) -> Result<(), Fault> {
        let mut last = self.asking.lock().await;
        if !Arc::ptr_eq(&self.map.load_full(), old) {
            return Ok(());
        }
        if let Some((at, outcome)) = last.as_ref()
            && monotonic_now().duration_since(*at) < ANEW_AFTER
        {
            return outcome.clone();
        }
        let outcome = self.ask().await.and_then(|said| self.learn(said));
        *last = Some((monotonic_now(), outcome.clone()));
        outcome
    }

    /// What the node knows that is well and has the newest configuration.
    async fn ask(&self) -> Result<Said, Fault> {
        let mut ask = Pipeline::with_capacity(2);
        ask.cmd("CLUSTER").arg("INFO");
        ask.cmd("CLUSTER").arg("SLOTS");
        let map = self.map.load_full();
        let ask = &ask;
        let nodes = map.nodes.iter().map(|(address, node)| {
            let asked = async move {
                let answers = node.send(ask, Purpose::Write, ANSWER_WITHIN).await?;
                said(answers, address)
            };
            asked.boxed()
        });
        let unknown = |(_, address): &&(Link, Address)| !map.nodes.contains_key(address);
        let seeds = self.seeds.iter().filter(unknown).map(|(link, address)| {
            let asked = async move { said(link.send(ask, ANSWER_WITHIN).await?, address) };
            asked.boxed()
        });
        let best = gather(nodes.chain(seeds))
            .await
            .map_err(|fault| match fault {
                Fault::Refused(why) => Fault::NotSent(why),
                Fault::NotSent(why) | Fault::NoAnswer(why) => {
                    Fault::NotSent(format!("no node of the cluster answers: {why}"))
                }
            })?;
        let best = best
            .into_iter()
            .max_by_key(|said| (said.is_well, said.epoch));
        let best = best.ok_or_else(odd)?;
        if best.is_well { Ok(best) } else { Err(down()) }
    }

    fn learn(&self, said: Said) -> Result<(), Fault> {
        let old = self.map.load_full();
        let mut map = Map::default();
        for bucket in (0..BUCKETS).filter_map(Bucket::new) {
            let slot = slot_of(bucket);
            let mut ranges = said.ranges.iter();
            let range = ranges.find(|range| (range.first..=range.last).contains(&slot));
            map.owners.push(range.map(|range| range.primary.clone()));
        }
        for address in map.owners.iter().flatten() {
            if !map.nodes.contains_key(address) {
                let node = match old.nodes.get(address) {
                    Some(node) => Arc::clone(node),
                    None => self.node(address)?,
                };
                map.nodes.insert(address.clone(), node);
            }
        }
        self.map.store(Arc::new(map));
        Ok(())
    }

    /// The node at an address; kept connected from then on, as long as the map stands.
    fn node_at(&self, address: &Address) -> Result<Arc<Node>, Fault> {
        if let Some(node) = self.map.load().nodes.get(address) {
            return Ok(Arc::clone(node));
        }
        let node = self.node(address)?;
        self.map.rcu(|map| {
            let mut nodes = map.nodes.clone();
            nodes.insert(address.clone(), Arc::clone(&node));
            let owners = map.owners.clone();
            Map { nodes, owners }
        });
        Ok(node)
    }

    fn node(&self, address: &Address) -> Result<Arc<Node>, Fault> {
        let client = self.access.client_at(address, self.tls);
        let client = client.map_err(|why| Fault::NotSent(why.to_owned()))?;
        Ok(Arc::new(Node::new(
            Some(address.clone()),
            self.connections,
            self.connect_timeout,
            || Target::Server(Box::new(client.clone())),
        )))
    }
}

fn said(answers: Vec<Value>, asked: &Address) -> Result<Said, Fault> {
    let [info, slots] = <[Value; 2]>::try_from(answers).map_err(|_| odd())?;
    if matches!(&info, Value::ServerError(error) if error.code() == "ERR") {
        return Err(Fault::Refused(
            "the server is no node of a cluster: name it in \"url\"".to_owned(),
        ));
    }
    let info = text(info)?;
    let epoch = info_field(&info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    let ranges = list(slots)?.into_iter().map(|entry| range(entry, asked));
    Ok(Said {
        is_well: info_field(&info, "cluster_state") == Some("ok"),
        epoch: epoch.unwrap_or(0),
        ranges: ranges.collect::<Result<_, _>>()?,
    })
}

/// First and last slot, then the primary, then its replicas.
fn range(entry: Value, asked: &Address) -> Result<Range, Fault> {
    let mut parts = list(entry)?.into_iter();
    let mut number = || match parts.next() {
        Some(Value::Int(number)) => u16::try_from(number).map_err(|_| odd()),
        _ => Err(odd()),
    };
    let (first, last) = (number()?, number()?);
    let mut primary = list(parts.next().ok_or_else(odd)?)?.into_iter();
    let (host, port) = (primary.next().unwrap_or(Value::Nil), primary.next());
    let host = if host == Value::Nil {
        String::new()
    } else {
        text(host)?
    };
    let Some(Value::Int(port)) = port else {
        return Err(odd());
    };
    let port = u16::try_from(port).map_err(|_| odd())?;
    let primary = Address::new(&host, port, asked).ok_or_else(odd)?;
    Ok(Range {
        first,
        last,
        primary,
    })
}

fn down() -> Fault {
    Fault::NotSent("the cluster is down: it lacks primaries or slots".to_owned())
}

fn uncovered() -> Fault {
    Fault::NotSent("no node of the cluster has the slot: cover all slots".to_owned())
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}
