//! What was seen of a session or device that speaks of a thief.

use prost::Message;

use crate::policy::Signal;
use crate::session::{Risk, Tally as Kept};
use crate::time::Timestamp;

/// How much of one signal is left.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Tally {
    #[prost(string, tag = "1")]
    signal: String,
    #[prost(uint32, tag = "2")]
    heat: u32,
    #[prost(int64, tag = "3")]
    last: i64,
}

pub(super) fn tallies(risk: &Risk) -> Vec<Tally> {
    let tallies = risk.tallies.iter().map(|(signal, kept)| Tally {
        signal: signal.as_str().to_owned(),
        heat: kept.heat,
        last: kept.last.as_millis(),
    });
    tallies.collect()
}

pub(super) fn into_domain(tallies: &[Tally]) -> Option<Risk> {
    let tallies = tallies.iter().map(|tally| {
        let kept = Kept {
            heat: tally.heat,
            last: Timestamp::from_millis(tally.last),
        };
        Some((Signal::parse(&tally.signal)?, kept))
    });
    Some(Risk {
        tallies: tallies.collect::<Option<_>>()?,
    })
}
