//! One admission: a pipeline of claims, looks at claims, counts, uses of counters and loads.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::super::rules::life_millis;
use super::super::scripts::{self, By};
use super::super::{Admission, Admitted, Claim, Key, StoreError};
use super::Redis;
use super::answer::{
    claimed, is_unknown_script, limited, loaded, optional_bytes, was_not_done, windowed,
};
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
        self.ask_unknown(ask, &mut answers).await;
        let marked = may_have_marked(ask, &answers);
        // Where a claim may be made or a counter used, whatever is wrong with the rest leaves it so.
        read(ask, &groups, answers).map_err(|error| match error {
            StoreError::Unavailable(why) if marked => StoreError::OutcomeUnknown(why),
            error @ (StoreError::Unavailable(_)
            | StoreError::OutcomeUnknown(_)
            | StoreError::Invalid(_)) => error,
        })
    }

    /// Runs by their text the scripts that the server did not know by their digest; none where something
    /// else went wrong, so that nothing is counted or used in vain.
    async fn ask_unknown(&self, ask: &Admission, answers: &mut [Result<Value, Fault>]) {
        let failed = |answer: &Result<_, _>| was_not_done(answer) || answer.is_err();
        if answers
            .iter()
            .any(|answer| failed(answer) && !is_unknown_script(answer))
        {
            return;
        }
        let answers = answers
            .iter_mut()
            .skip(ask.claim.len() + ask.owner_of.len());
        let unknown: Vec<_> = scripted(ask, By::Text)
            .zip(answers)
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

/// Whether a claim may have been made or a counter used: they may lie on several servers, of which one
/// did it and another one is away.
fn may_have_marked(ask: &Admission, answers: &[Result<Value, Fault>]) -> bool {
    let before_windows = ask.claim.len() + ask.owner_of.len() + ask.limit.len();
    let claims = answers.iter().take(ask.claim.len());
    let windows = answers.iter().skip(before_windows).take(ask.window.len());
    claims.chain(windows).any(|answer| !was_not_done(answer))
}

/// What the answers say, in the order of the commands.
fn read(
    ask: &Admission,
    groups: &Groups<'_>,
    mut answers: Vec<Result<Value, Fault>>,
) -> Result<Admitted, StoreError> {
    let mut next = |count: usize| {
        let behind = answers.split_off(count.min(answers.len()));
        std::mem::replace(&mut answers, behind)
    };
    let claims = next(ask.claim.len());
    let owners = next(ask.owner_of.len());
    let limits = next(ask.limit.len());
    let windows = next(ask.window.len());
    Ok(Admitted {
        claims: claimed(&ask.claim, claims).map_err(Fault::of_read)?,
        owners: each(owners, optional_bytes)?,
        // Before what scripts say: one that was unknown was not asked again where these failed.
        records: loaded(&ask.load, groups, answers)?,
        limits: each(limits, limited)?,
        windows: each(windows, windowed)?,
    })
}

fn each<T>(
    answers: Vec<Result<Value, Fault>>,
    read: fn(Value) -> Result<T, Fault>,
) -> Result<Vec<T>, StoreError> {
    let read = answers.into_iter().map(|answer| answer.and_then(read));
    read.collect::<Result<_, _>>().map_err(Fault::of_read)
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
