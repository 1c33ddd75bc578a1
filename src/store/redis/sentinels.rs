//! Which server is the primary, as the Sentinels that watch over it say.
//!
//! They are asked whenever a connection is made. A server that was replaced while it was cut off goes
//! on as if nothing had happened, so they are also asked beside the calls, once a second at most: when
//! they name another server, every connection made before is an old one and not used again.
//!
//! A Sentinel that was cut off from the others names the server it last heard of. So an older
//! configuration than the newest that was ever heard of counts only where most of them have it: then they
//! were set up anew.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::{Client, Pipeline, Value};

use super::address::{Access, Address};
use super::answer::{list, number, odd, text};
use super::fault::Fault;
use super::gather::gather;
use super::link::Link;
use crate::time::monotonic_now;

/// How long they may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How often they are asked beside the calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The Sentinels and what they said last.
pub(super) struct Sentinels {
    /// Each with its address.
    pub(super) links: Vec<(Link, Address)>,
    /// What they call the primary.
    pub(super) name: String,
    /// How the primary is reached.
    pub(super) access: Access,
    pub(super) tls: bool,
    pub(super) known: Mutex<Known>,
    /// Counts the primaries there were.
    pub(super) turn: AtomicU64,
}

/// What they said last, and when.
#[derive(Default)]
pub(super) struct Known {
    primary: Option<Address>,
    /// Of which configuration, by its number.
    epoch: i64,
    looked_at: Option<Instant>,
}

impl Sentinels {
    /// A client of the server they call the primary, and its number. Boxed: it is asked for over links
    /// like the one that it is for.
    pub(super) fn primary(&self) -> BoxFuture<'_, Result<(Client, u64), Fault>> {
        let asked = async {
            let (primary, turn) = self.ask().await?;
            let client = self.access.client_at(&primary, self.tls);
            let client = client.map_err(|why| Fault::NotSent(why.to_owned()))?;
            Ok((client, turn))
        };
        asked.boxed()
    }

    /// The number of the primary.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// Asks again, where that was not done just now. Does not wait for it.
    pub(super) fn look(self: &Arc<Self>) {
        let now = monotonic_now();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let looked_at = *known.looked_at.get_or_insert(now);
            if now.duration_since(looked_at) < LOOK_EVERY {
                return;
            }
            known.looked_at = Some(now);
        }
        let sentinels = Arc::clone(self);
        tokio::spawn(async move {
            // Where none answers, nothing is known of another primary.
            drop(sentinels.ask().await);
        });
    }

    /// Why the primary could not be reached, or why nobody takes its place.
    pub(super) fn explain(&self, fault: Fault) -> BoxFuture<'_, Fault> {
        let asked = async {
            let mut ask = Pipeline::with_capacity(1);
            ask.cmd("SENTINEL").arg("CKQUORUM").arg(&self.name);
            let answers = self.ask_all(&ask, |answers, _| Ok(answers)).await;
            let no_quorum = |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOQUORUM");
            if !answers.unwrap_or_default().iter().flatten().any(no_quorum) {
                return fault;
            }
            Fault::NotSent(
                "the primary is not reached, and the Sentinels have no quorum to replace it: start \
                 those that are down"
                    .to_owned(),
            )
        };
        asked.boxed()
    }

    /// Takes what they say now, and gives the primary and its number. The number changes under the lock:
    /// one that is given away belongs to the primary it was given with.
    fn learn(&self, said: Vec<(i64, Address)>) -> Result<(Address, u64), Fault> {
        let most = said.len() > self.links.len() / 2;
        let newest = said.into_iter().max_by_key(|(epoch, _)| *epoch);
        let (epoch, primary) = newest.ok_or_else(odd)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.looked_at = Some(monotonic_now());
        if epoch < known.epoch && !most {
            return Err(Fault::NotSent(
                "the Sentinels that answer know only of an earlier primary: look at the others"
                    .to_owned(),
            ));
        }
        known.epoch = epoch;
        if known.primary.as_ref() != Some(&primary) {
            known.primary = Some(primary.clone());
            self.turn.fetch_add(1, Ordering::AcqRel);
        }
        Ok((primary, self.turn()))
    }

    /// The primary of the newest configuration that any of them knows, and its number.
    async fn ask(&self) -> Result<(Address, u64), Fault> {
        let mut ask = Pipeline::with_capacity(2);
        ask.cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.name);
        ask.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        let named = self
            .ask_all(&ask, named)
            .await
            .map_err(|fault| match fault {
                Fault::Refused(why) => Fault::NotSent(why),
                Fault::NotSent(why) | Fault::NoAnswer(why) => {
                    Fault::NotSent(format!("no Sentinel answers: {why}"))
                }
            })?;
        self.learn(named)
    }

    async fn ask_all<T: Send>(
        &self,
        ask: &Pipeline,
        read: fn(Vec<Value>, &Address) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let asked = self.links.iter().map(|(link, address)| {
            let asked = async move { read(link.send(ask, ANSWER_WITHIN).await?, address) };
            asked.boxed()
        });
        gather(asked).await
    }
}

/// What one of them says: the primary, and the number of that configuration.
fn named(answers: Vec<Value>, asked: &Address) -> Result<(i64, Address), Fault> {
    let [address, all] = <[Value; 2]>::try_from(answers).map_err(|_| odd())?;
    if matches!(&address, Value::ServerError(error) if error.code() == "ERR") {
        return Err(Fault::Refused(
            "a server that is named as a Sentinel is none: look at \"sentinels\"".to_owned(),
        ));
    }
    if let Value::ServerError(error) = &address {
        return Err(Fault::Refused(format!(
            "the Sentinels do not say which server is the primary: {}",
            Fault::reply(error).words()
        )));
    }
    if address == Value::Nil {
        return Err(Fault::Refused(
            "the Sentinels know no primary of this name: look at \"master\"".to_owned(),
        ));
    }
    let [host, port] = <[Value; 2]>::try_from(list(address)?).map_err(|_| odd())?;
    let port = text(port)?.parse().map_err(|_| odd())?;
    let primary = Address::new(&text(host)?, port, asked).ok_or_else(odd)?;
    Ok((number(&all, "config-epoch").unwrap_or(0), primary))
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels").finish_non_exhaustive()
    }
}
