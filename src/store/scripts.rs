//! How the scripts are called, and with what.

mod lua;

use std::sync::LazyLock;

use redis::{Cmd, Script};

use lua::{COMMIT, LACKING, LIMIT, WINDOW};

use super::rate::Rate;
use super::rules::{EVENT_KEPT_FOR, MARK_KEPT_FOR, OUTBOX_NAME, life_millis, mark_key, needs_mark};
use super::{Change, ChangeSet, CounterUse, Key, Limit, Presence};
use crate::policy::CounterOrder;

static COMMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMMIT));
static LIMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(LIMIT));
static WINDOW_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(WINDOW));

/// How to name a script to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Its digest: short, but a server that was restarted or promoted may not know it.
    Digest,
    /// Its text.
    Text,
}

/// The call of the commit script for a change set.
pub(super) fn commit(change: &ChangeSet, by: By) -> Cmd {
    let mut cmd = call(&COMMIT_SCRIPT, COMMIT, by);
    let named = change.items.len() + change.claims.len() + change.index.len();
    cmd.arg(named + change.limits.len() + change.windows.len() + 2);
    for item in &change.items {
        cmd.arg(item.key.to_string());
    }
    for claim in &change.claims {
        cmd.arg(claim.key.to_string());
    }
    for member in &change.index {
        cmd.arg(member.key.to_string());
    }
    for limit in &change.limits {
        cmd.arg(limit.key.to_string());
    }
    for used in &change.windows {
        cmd.arg(used.key.to_string());
    }
    cmd.arg(mark_key(change).to_string());
    cmd.arg(Key::new(change.bucket, OUTBOX_NAME.to_owned()).to_string());

    let mark_millis = if needs_mark(change) {
        life_millis(MARK_KEPT_FOR)
    } else {
        0
    };
    cmd.arg(&change.operation.0[..])
        .arg(change.items.len())
        .arg(change.claims.len())
        .arg(change.index.len())
        .arg(change.limits.len())
        .arg(change.windows.len())
        .arg(mark_millis)
        .arg(life_millis(EVENT_KEPT_FOR));
    for item in &change.items {
        let expected = item.expected.as_ref();
        cmd.arg(expected.map_or(&[][..], |version| &version.0[..]));
        match &item.change {
            Change::Keep => cmd.arg(b"k").arg(0).arg(b""),
            Change::Delete => cmd.arg(b"d").arg(0).arg(b""),
            Change::Put { value, live_for } => cmd
                .arg(b"p")
                .arg(live_for.map_or(0, life_millis))
                .arg(&value[..]),
        };
    }
    for claim in &change.claims {
        cmd.arg(&claim.owner[..])
            .arg(claim.live_for.map_or(0, life_millis));
    }
    for member in &change.index {
        let presence: &[u8] = match member.presence {
            Presence::Present => b"a",
            Presence::Absent => b"r",
        };
        cmd.arg(presence).arg(&member.member[..]);
    }
    for limit in &change.limits {
        let rate = Rate::of(limit);
        cmd.arg(rate.every).arg(rate.span);
    }
    for used in &change.windows {
        use_arguments(&mut cmd, used);
    }
    for event in &change.events {
        cmd.arg(&event[..]);
    }
    cmd
}

/// The call of the limit script.
pub(super) fn limit(limit: &Limit, by: By) -> Cmd {
    let rate = Rate::of(limit);
    let mut cmd = call(&LIMIT_SCRIPT, LIMIT, by);
    cmd.arg(1).arg(limit.key.to_string());
    cmd.arg(rate.every).arg(rate.span);
    cmd
}

/// The call of the counter script.
pub(super) fn window(used: &CounterUse, by: By) -> Cmd {
    let mut cmd = call(&WINDOW_SCRIPT, WINDOW, by);
    cmd.arg(1).arg(used.key.to_string());
    use_arguments(&mut cmd, used);
    cmd
}

fn use_arguments(cmd: &mut Cmd, used: &CounterUse) {
    let order: &[u8] = match used.order {
        CounterOrder::Window => b"a",
        CounterOrder::Strict => b"s",
    };
    cmd.arg(used.counter)
        .arg(order)
        .arg(&used.operation.0[..])
        .arg(used.live_for.map_or(0, life_millis));
}

/// The call of the script that names what our user may not do. By its text: it is rarely run.
pub(super) fn lacking(key: &str, fsync: bool) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(LACKING).arg(1).arg(key).arg(u8::from(fsync));
    cmd
}

fn call(script: &Script, text: &str, by: By) -> Cmd {
    match by {
        By::Digest => {
            let mut cmd = redis::cmd("EVALSHA");
            cmd.arg(script.get_hash());
            cmd
        }
        By::Text => {
            let mut cmd = redis::cmd("EVAL");
            cmd.arg(text);
            cmd
        }
    }
}
