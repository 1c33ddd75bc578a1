//! Who follows revocations.

use prost::Message;

use crate::session::{Roll as Domain, RoundId, Watcher as DomainWatcher, WatcherId};
use crate::time::Timestamp;

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(in crate::store::record) struct Roll {
    #[prost(bytes = "vec", repeated, tag = "1")]
    rounds: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "2")]
    watchers: Vec<Watcher>,
    #[prost(int64, optional, tag = "3")]
    left_out_at: Option<i64>,
    #[prost(int64, tag = "4")]
    began_at: i64,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Watcher {
    #[prost(string, tag = "1")]
    caller: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(int64, tag = "3")]
    seen_at: i64,
    #[prost(int64, optional, tag = "4")]
    acked_until: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "5")]
    passed: Option<Vec<u8>>,
}

impl From<&Domain> for Roll {
    fn from(roll: &Domain) -> Self {
        let watchers = roll.watchers.iter().map(|(id, watcher)| Watcher {
            caller: id.caller().to_owned(),
            name: id.name().to_owned(),
            seen_at: watcher.seen_at.as_millis(),
            acked_until: watcher.acked_until.map(Timestamp::as_millis),
            passed: watcher.passed.map(|round| round.0.to_vec()),
        });
        Self {
            rounds: roll.rounds.iter().map(|round| round.0.to_vec()).collect(),
            watchers: watchers.collect(),
            left_out_at: roll.left_out_at.map(Timestamp::as_millis),
            began_at: roll.began_at.as_millis(),
        }
    }
}

impl Roll {
    pub(in crate::store::record) fn into_domain(self) -> Option<Domain> {
        let rounds = self.rounds.into_iter().map(round);
        let watchers = self.watchers.into_iter().map(Watcher::into_domain);
        Some(Domain {
            began_at: Timestamp::from_millis(self.began_at),
            rounds: rounds.collect::<Option<_>>()?,
            watchers: watchers.collect::<Option<_>>()?,
            left_out_at: self.left_out_at.map(Timestamp::from_millis),
        })
    }
}

impl Watcher {
    fn into_domain(self) -> Option<(WatcherId, DomainWatcher)> {
        let id = WatcherId::new(&self.caller, &self.name).ok()?;
        let watcher = DomainWatcher {
            seen_at: Timestamp::from_millis(self.seen_at),
            acked_until: self.acked_until.map(Timestamp::from_millis),
            passed: match self.passed {
                None => None,
                Some(bytes) => Some(round(bytes)?),
            },
        };
        Some((id, watcher))
    }
}

fn round(bytes: Vec<u8>) -> Option<RoundId> {
    bytes.try_into().ok().map(RoundId)
}
