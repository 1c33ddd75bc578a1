//! All Lua that runs in the server: one script, which knows nothing of devices or sessions.

use std::sync::LazyLock;

use redis::{Cmd, Script};

use super::rules::{EVENT_KEPT_FOR, MARK_KEPT_FOR, OUTBOX_NAME, life_millis, mark_key, needs_mark};
use super::{Change, ChangeSet, Key};

/// Compare-and-set of several records with claims and events, all or nothing.
///
/// KEYS, all with one hash tag, so all in one slot:
/// - one for each item, then one for each claim,
/// - the operation's mark,
/// - the outbox, a stream.
///
/// ARGV:
/// 1. the operation id, 16 bytes
/// 2. how many items
/// 3. how many claims
/// 4. how many milliseconds the mark is kept, 0: this operation needs none
/// 5. how many milliseconds events are kept
/// 6. for each item four: the expected version (16 bytes, empty: must not exist), `k` keep / `p` put /
///    `d` delete, milliseconds to live (0: for ever), the value; then for each claim two: owner and
///    milliseconds to live (0: for ever); then the events
///
/// Answers 0 done (now or before), -1 conflict, or the number (from 1) of the claim that is taken.
///
/// A record is stored as the version (the id of the operation that wrote it) followed by the value.
///
/// Everything is checked before anything is written, because what a script has written stays when it
/// fails later. Of the writes only appending an event can fail, on a key that is no stream, so events
/// come first. The first line makes the server refuse the whole script, before it starts, where it
/// would refuse a write: on a replica, out of memory, with a broken disk.
const COMMIT: &str = r"#!lua
local op = ARGV[1]
local items = tonumber(ARGV[2])
local claims = tonumber(ARGV[3])
local mark_millis = tonumber(ARGV[4])
local mark = KEYS[items + claims + 1]
local outbox = KEYS[items + claims + 2]
local claims_at = 6 + 4 * items
local events_at = claims_at + 2 * claims

if mark_millis > 0 and redis.call('EXISTS', mark) == 1 then
  return 0
end

local conflict = false
for i = 1, items do
  local at = 6 + 4 * (i - 1)
  local version = redis.call('GETRANGE', KEYS[i], 0, 15)
  if ARGV[at + 1] == 'p' and version == op then
    return 0
  end
  if version ~= ARGV[at] then
    conflict = true
  end
end
if conflict then
  return -1
end

local free = {}
for i = 1, claims do
  local owner = redis.call('GET', KEYS[items + i])
  if owner and owner ~= ARGV[claims_at + 2 * (i - 1)] then
    return i
  end
  free[i] = not owner
end

local function set(key, value, millis)
  if tonumber(millis) > 0 then
    redis.call('SET', key, value, 'PX', millis)
  else
    redis.call('SET', key, value)
  end
end

if events_at <= #ARGV then
  local now = redis.call('TIME')
  local oldest = now[1] * 1000 - tonumber(ARGV[5])
  for i = events_at, #ARGV do
    redis.call('XADD', outbox, 'MINID', '~', string.format('%.0f', oldest), '*', 'e', ARGV[i])
  end
end
for i = 1, items do
  local at = 6 + 4 * (i - 1)
  if ARGV[at + 1] == 'p' then
    set(KEYS[i], op .. ARGV[at + 3], ARGV[at + 2])
  elseif ARGV[at + 1] == 'd' then
    redis.call('DEL', KEYS[i])
  end
end
for i = 1, claims do
  if free[i] then
    local at = claims_at + 2 * (i - 1)
    set(KEYS[items + i], ARGV[at], ARGV[at + 1])
  end
end
if mark_millis > 0 then
  set(mark, '1', ARGV[4])
end
return 0
";

static COMMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMMIT));

/// How to name the script to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Its digest: short, but a server that was restarted or promoted may not know it.
    Digest,
    /// Its text.
    Text,
}

/// The call of the commit script for a change set.
pub(super) fn commit(change: &ChangeSet, by: By) -> Cmd {
    let mut cmd = match by {
        By::Digest => redis::cmd("EVALSHA"),
        By::Text => redis::cmd("EVAL"),
    };
    match by {
        By::Digest => cmd.arg(COMMIT_SCRIPT.get_hash()),
        By::Text => cmd.arg(COMMIT),
    };
    cmd.arg(change.items.len() + change.claims.len() + 2);
    for item in &change.items {
        cmd.arg(item.key.to_string());
    }
    for claim in &change.claims {
        cmd.arg(claim.key.to_string());
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
    for event in &change.events {
        cmd.arg(&event[..]);
    }
    cmd
}
