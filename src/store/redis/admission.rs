//! One admission: a pipeline of claims, looks at claims, counts and loads.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::super::rules::life_millis;
use super::super::scripts::{self, By};
use super::super::{Admission, Admitted, Claim, Key, Limit, StoreError};
use super::Redis;
use super::answer::{claimed, is_unknown_script, limited, loaded, optional_bytes};
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
        let purpose = if ask.claim.is_empty() && ask.limit.is_empty() {
            Purpose::Read
        } else {
            Purpose::Write
        };
        let mut answers = self.send(commands, purpose).await;
        if ask.claim.is_empty() {
            return self.without_claims(ask, &groups, answers).await;
        }
        let rest = answers.split_off(ask.claim.len().min(answers.len()));
        let claims = claimed(&ask.claim, answers)?;
        // The claims are made. What is wrong with the rest then leaves them as they are.
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
        let loads = rest.split_off(ask.limit.len().min(rest.len()));
        let owners = answers
            .into_iter()
            .map(|answer| answer.and_then(optional_bytes));
        let owners = owners.collect::<Result<_, _>>().map_err(Fault::of_read)?;
        let records = loaded(&ask.load, groups, loads)?;
        self.count_unknown(&ask.limit, &mut rest).await;
        let limits = rest.into_iter().map(|answer| answer.and_then(limited));
        let limits = limits.collect::<Result<_, _>>().map_err(Fault::of_read)?;
        Ok(Admitted {
            records,
            owners,
            limits,
            ..Admitted::default()
        })
    }

    /// Counts by the text of the script what the server could not count by its digest.
    async fn count_unknown(&self, limits: &[Limit], answers: &mut [Result<Value, Fault>]) {
        let answers = limits.iter().zip(answers);
        let unknown: Vec<_> = answers
            .filter(|(_, answer)| is_unknown_script(answer))
            .collect();
        if unknown.is_empty() {
            return;
        }
        let command = |limit: &Limit| (limit.key.bucket(), scripts::limit(limit, By::Text));
        let commands = unknown.iter().map(|(limit, _)| command(limit)).collect();
        let again = self.send(commands, Purpose::Write).await;
        for ((_, slot), answer) in unknown.into_iter().zip(again) {
            *slot = answer;
        }
    }
}

/// Claims, looks at claims, limits, loads.
fn commands(ask: &Admission, groups: &Groups<'_>) -> Vec<(Bucket, Cmd)> {
    let claims = ask.claim.iter();
    let claims = claims.map(|claim| (claim.key.bucket(), claim_command(claim)));
    let owners = ask.owner_of.iter().map(|key| {
        let mut get = redis::cmd("GET");
        get.arg(key.to_string());
        (key.bucket(), get)
    });
    let limits = ask.limit.iter();
    let limits = limits.map(|limit| (limit.key.bucket(), scripts::limit(limit, By::Digest)));
    let loads = groups.iter().map(|(bucket, group)| {
        let mut load = redis::cmd("MGET");
        for (_, key) in group {
            load.arg(key.to_string());
        }
        (*bucket, load)
    });
    claims.chain(owners).chain(limits).chain(loads).collect()
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
