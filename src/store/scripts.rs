//! All Lua that runs in the server: three scripts, which know nothing of devices or sessions.

use std::sync::LazyLock;

use redis::{Cmd, Script};

use super::rate::Rate;
use super::rules::{EVENT_KEPT_FOR, MARK_KEPT_FOR, OUTBOX_NAME, life_millis, mark_key, needs_mark};
use super::{Change, ChangeSet, Key, Limit, Presence};

/// Compare-and-set of several records with claims, members of indexes and events, all or nothing.
///
/// KEYS, all with one hash tag, so all in one slot:
/// - one for each item, then one for each claim,
/// - then for each change of an index that index, a sorted set whose scores are all 0,
/// - the operation's mark,
/// - the outbox, a stream.
///
/// ARGV:
/// 1. the operation id, 16 bytes
/// 2. how many items
/// 3. how many claims
/// 4. how many changes of indexes
/// 5. how many milliseconds the mark is kept, 0: this operation needs none
/// 6. how many milliseconds events are kept
/// 7. for each item four: the expected version (16 bytes, empty: must not exist), `k` keep / `p` put /
///    `d` delete, milliseconds to live (0: for ever), the value; then for each claim two: owner and
///    milliseconds to live (0: for ever); then for each change of an index two: `a` add / `r` remove,
///    and the member; then the events
///
/// Answers 0 done (now or before), -1 conflict, or the number (from 1) of the claim that is taken.
///
/// A record is stored as the version (the id of the operation that wrote it) followed by the value.
///
/// Everything is checked before anything is written, because what a script has written stays when it
/// fails later. Adding and removing members fails only on a key that is no sorted set, and on that
/// `ZCARD` fails as well; an index names no other key of the script, so what it finds still holds when
/// the members are written. Of the writes only appending an event can fail, on a key that is no
/// stream, so events come first. The first line makes the server refuse the whole script, before it
/// starts, where it would refuse a write: on a replica, out of memory, with a broken disk.
const COMMIT: &str = r"#!lua
local op = ARGV[1]
local items = tonumber(ARGV[2])
local claims = tonumber(ARGV[3])
local index = tonumber(ARGV[4])
local mark_millis = tonumber(ARGV[5])
local mark = KEYS[items + claims + index + 1]
local outbox = KEYS[items + claims + index + 2]
local claims_at = 7 + 4 * items
local index_at = claims_at + 2 * claims
local events_at = index_at + 2 * index

if mark_millis > 0 and redis.call('EXISTS', mark) == 1 then
  return 0
end

local conflict = false
for i = 1, items do
  local at = 7 + 4 * (i - 1)
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

for i = 1, index do
  redis.call('ZCARD', KEYS[items + claims + i])
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
  local oldest = now[1] * 1000 - tonumber(ARGV[6])
  for i = events_at, #ARGV do
    redis.call('XADD', outbox, 'MINID', '~', string.format('%.0f', oldest), '*', 'e', ARGV[i])
  end
end
for i = 1, items do
  local at = 7 + 4 * (i - 1)
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
for i = 1, index do
  local at = index_at + 2 * (i - 1)
  if ARGV[at] == 'a' then
    redis.call('ZADD', KEYS[items + claims + i], 0, ARGV[at + 1])
  else
    redis.call('ZREM', KEYS[items + claims + i], ARGV[at + 1])
  end
end
if mark_millis > 0 then
  set(mark, '1', ARGV[5])
end
return 0
";

/// Counts one more against a rate, as `src/store/rate.rs` explains it.
///
/// KEYS: the limit, a string: the instant at which it is idle, in microseconds, decimal.
///
/// ARGV:
/// 1. the interval, in microseconds
/// 2. how many microseconds the whole burst takes
///
/// Answers 0 admitted, or the microseconds after which one more would be.
///
/// Every number stays below 2^53 and so is exact in Lua; a text is made of it only by `%.0f`. The entry
/// goes when it is idle.
const LIMIT: &str = r"#!lua
local every = tonumber(ARGV[1])
local span = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local idle_at = redis.call('GET', KEYS[1])
local ahead = idle_at and math.max(0, tonumber(idle_at) - now) or 0

local function keep(used)
  local value = string.format('%.0f', now + used)
  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.ceil(used / 1000)))
end

local used = math.min(ahead, span)
if used + every <= span then
  keep(used + every)
  return 0
end
if ahead > used then
  keep(used)
end
return used + every - span
";

/// Which commands the user may not run on a key of ours.
///
/// KEYS: any key of ours.
///
/// ARGV:
/// 1. `1` where disks are waited for, too
///
/// Answers the names.
const LACKING: &str = r"#!lua flags=no-writes
local key = KEYS[1]
local needed = {
  {'EVALSHA', '', '1', key}, {'GET', key}, {'MGET', key}, {'SET', key, ''}, {'DEL', key},
  {'EXISTS', key}, {'GETRANGE', key, '0', '0'}, {'XADD', key, '*', 'e', ''},
  {'XRANGE', key, '-', '+'}, {'ZADD', key, '0', ''}, {'ZREM', key, ''}, {'ZCARD', key},
  {'ZRANGE', key, '-', '+'}, {'TIME'}, {'WAIT', '0', '0'},
}
if ARGV[1] == '1' then
  table.insert(needed, {'WAITAOF', '0', '0', '0'})
end
local lacking = {}
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then
    table.insert(lacking, command[1])
  end
end
return lacking
";

static COMMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMMIT));
static LIMIT_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(LIMIT));

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
    cmd.arg(change.items.len() + change.claims.len() + change.index.len() + 2);
    for item in &change.items {
        cmd.arg(item.key.to_string());
    }
    for claim in &change.claims {
        cmd.arg(claim.key.to_string());
    }
    for member in &change.index {
        cmd.arg(member.key.to_string());
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
