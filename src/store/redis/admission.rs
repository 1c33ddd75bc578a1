//! One admission: a pipeline of claims, looks at claims, counts, uses of counters and loads.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::super::rules::life_millis;
use super::super::scripts::{self, By};
use super::super::{Admission, Admitted, Claim, Key, StoreError};
use super::Redis;
use super::answer::{claimed, is_unknown_script, limited, loaded, optional_bytes, windowed};
use super::fault::Fault;
use super::node::Purpose;
use crate::id::Bucket;

impl Redis {
    pub(super) async fn admission(&self, ask: &Admission) -> Result<Admitted, StoreError> {
        let groups = by_bucket(&ask.load);
        let commands = commands(ask, &groups);
        if commands.is_empty() {
            return Ok(Admitted::default());
        }
        let marks = !ask.claim.is_empty() || !ask.window.is_empty();
        let purpose = if marks || !ask.limit.is_empty() {
            Purpose::Write
        } else {
            Purpose::Read
        };
        let mut answers = self.send(commands, purpose).await;
        let unsent = |answer: &Result<Value, Fault>| matches!(answer, Err(Fault::NotSent(_)));
        if !marks || answers.iter().all(unsent) {
            return self.without_claims(ask, &groups, answers).await;
        }
        let rest = answers.split_off(ask.claim.len().min(answers.len()));
        let claims = claimed(&ask.claim, answers)?;
        // The claims are made, and counters may be used. What is wrong with the rest then leaves them as
        // they are.
        let admitted = self.without_claims(ask, &groups, rest).await;
        let admitted = admitted.map_err(|error| match error {
            StoreError::Unavailable(why) => StoreError::OutcomeUnknown(why),
            other @ (StoreError::OutcomeUnknown(_) | StoreError::Invalid(_)) => other,
        })?;
        Ok(Admitted { claims, ..admitted })
    }

    /// What the answers behind those to the claims say.
    async fn without_claims(
        &self,
        ask: &Admission,
        groups: &Groups<'_>,
        mut answers: Vec<Result<Value, Fault>>,
    ) -> Result<Admitted, StoreError> {
        let mut rest = answers.split_off(ask.owner_of.len().min(answers.len()));
        let scripted = ask.limit.len() + ask.window.len();
        let loads = rest.split_off(scripted.min(rest.len()));
        let owners = answers
            .into_iter()
            .map(|answer| answer.and_then(optional_bytes));
        let owners = owners.collect::<Result<_, _>>().map_err(Fault::of_read)?;
        let records = loaded(&ask.load, groups, loads)?;
        self.ask_unknown(ask, &mut rest).await;
        let windows = rest.split_off(ask.limit.len().min(rest.len()));
        let limits = rest.into_iter().map(|answer| answer.and_then(limited));
        let limits = limits.collect::<Result<_, _>>().map_err(Fault::of_read)?;
        let windows = windows.into_iter().map(|answer| answer.and_then(windowed));
        let windows = windows.collect::<Result<_, _>>().map_err(Fault::of_read)?;
        Ok(Admitted {
            records,
            owners,
            limits,
            windows,
            ..Admitted::default()
        })
    }

    /// Runs by their text the scripts that the server did not know by their digest.
    async fn ask_unknown(&self, ask: &Admission, answers: &mut [Result<Value, Fault>]) {
        let answers = scripted(ask, By::Text).zip(answers);
        let unknown: Vec<_> = answers
            .filter(|(_, answer)| is_unknown_script(answer))
            .collect();
        if unknown.is_empty() {
            return;
        }
        let (commands, slots): (Vec<_>, Vec<_>) = unknown.into_iter().unzip();
        let again = self.send(commands, Purpose::Write).await;
        for (slot, answer) in slots.into_iter().zip(again) {
            *slot = answer;
        }
    }
}

/// The scripts of an admission: limits, then counters.
fn scripted(ask: &Admission, by: By) -> impl Iterator<Item = (Bucket, Cmd)> + '_ {
    let limits = ask.limit.iter();
    let limits = limits.map(move |limit| (limit.key.bucket(), scripts::limit(limit, by)));
    let windows = ask.window.iter();
    limits.chain(windows.map(move |used| (used.key.bucket(), scripts::window(used, by))))
}

/// Claims, looks at claims, limits, counters, loads.
fn commands(ask: &Admission, groups: &Groups<'_>) -> Vec<(Bucket, Cmd)> {
    let claims = ask.claim.iter();
    let claims = claims.map(|claim| (claim.key.bucket(), claim_command(claim)));
    let owners = ask.owner_of.iter().map(|key| {
        let mut get = redis::cmd("GET");
        get.arg(key.to_string());
        (key.bucket(), get)
    });
    let loads = groups.iter().map(|(bucket, group)| {
        let mut load = redis::cmd("MGET");
        for (_, key) in group {
            load.arg(key.to_string());
        }
        (*bucket, load)
    });
    let scripts = scripted(ask, By::Digest);
    claims.chain(owners).chain(scripts).chain(loads).collect()
}

fn claim_command(claim: &Claim) -> Cmd {
    let mut set = redis::cmd("SET");
    set.arg(claim.key.to_string())
        .arg(&claim.owner[..])
        .arg("NX");
    if let Some(life) = claim.live_for {
        set.arg("PX").arg(life_millis(life));
    }
    // Gives the owner it has, or nothing where the claim is now made.
    set.arg("GET");
    set
}

/// Keys with their places in the request, by bucket.
pub(super) type Groups<'k> = BTreeMap<Bucket, Vec<(usize, &'k Key)>>;

/// A load of one bucket is one command, and stays in one slot.
fn by_bucket(keys: &[Key]) -> Groups<'_> {
    let mut groups = Groups::new();
    for (place, key) in keys.iter().enumerate() {
        groups.entry(key.bucket()).or_default().push((place, key));
    }
    groups
}
