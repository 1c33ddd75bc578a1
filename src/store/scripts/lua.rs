//! All Lua that runs in the server: four scripts, and how they count rates and use counters. They know
//! nothing of devices or sessions.

/// The first line of every script: it makes the server refuse the whole script, before it starts, where
/// it would refuse a write: on a replica, out of memory, with a broken disk.
macro_rules! script {
    ($($part:expr),+ $(,)?) => { concat!("#!lua", $($part),+) };
}

/// How a rate is counted, as `src/store/rate.rs` explains it, for the scripts that do.
///
/// A limit is a string: the instant at which it is idle, in microseconds, decimal. The entry goes when
/// it is idle. Every number stays below 2^53 and so is exact in Lua; a text is made of it only by
/// `%.0f`.
macro_rules! rates {
    () => {
        r"
local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- How long to wait, 0: one more is admitted; and how far ahead of now the limit is to be kept, nil: as
-- it is.
local function count(key, every, span, now)
  local idle_at = redis.call('GET', key)
  local ahead = idle_at and math.max(0, tonumber(idle_at) - now) or 0
  local used = math.min(ahead, span)
  if used + every <= span then
    return 0, used + every
  end
  return used + every - span, ahead > used and used or nil
end

local function keep(key, ahead, now)
  local idle_at = string.format('%.0f', now + ahead)
  redis.call('SET', key, idle_at, 'PX', string.format('%.0f', math.ceil(ahead / 1000)))
end
"
    };
}

/// How counters are used, for the scripts that do: the rule of `src/proof/window.rs` over what
/// `src/store/window.rs` keeps. `used` only reads and gives 0 admitted, 1 replayed or 2 too old, and
/// what is to be kept, if anything; `keep_use` writes it, for as long as it is kept already at least.
///
/// The 64 bits are two halves of 32, which is what `bit` works on; `% 4294967296` takes the sign off
/// that it gives them.
macro_rules! counters {
    () => {
        r"
local function used(key, counter, order, operation)
  local kept = redis.call('GET', key)
  if not kept then
    return 0, struct.pack('>I4I4I4I4', counter, 0, 1, counter) .. operation
  end
  if #kept ~= 32 then
    error('a stored counter is damaged')
  end
  local highest, high, low, last = struct.unpack('>I4I4I4I4', kept)
  if last == counter and string.sub(kept, 17) == operation then
    return 0
  end
  if counter > highest then
    local by = counter - highest
    if by >= 64 then
      high, low = 0, 0
    elseif by >= 32 then
      high, low = bit.lshift(low, by - 32), 0
    else
      high = bit.bor(bit.lshift(high, by), bit.rshift(low, 32 - by))
      low = bit.lshift(low, by)
    end
    highest = counter
    low = bit.bor(low, 1)
  else
    local behind = highest - counter
    if behind > 0 and (order == 's' or behind >= 64) then
      return 2
    end
    local mask = bit.lshift(1, behind % 32)
    if bit.band(behind < 32 and low or high, mask) ~= 0 then
      return 1
    end
    if behind < 32 then
      low = bit.bor(low, mask)
    else
      high = bit.bor(high, mask)
    end
  end
  high, low = high % 4294967296, low % 4294967296
  return 0, struct.pack('>I4I4I4I4', highest, high, low, counter) .. operation
end

local function keep_use(key, value, millis)
  local left = redis.call('PTTL', key)
  local life = tonumber(millis)
  if left == -1 or life == 0 then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', string.format('%.0f', math.max(left, life)))
  end
end
"
    };
}

/// Compare-and-set of several records with claims, members of indexes, limits, uses of counters and
/// events, all or nothing.
///
/// KEYS, all with one hash tag, so all in one slot:
/// - one for each item, then one for each claim,
/// - then for each change of an index that index, a sorted set whose scores are all 0,
/// - then one for each limit,
/// - then for each use of a counter that counter,
/// - the operation's mark,
/// - the outbox, a stream.
///
/// ARGV:
/// 1. the operation id, 16 bytes
/// 2. how many items
/// 3. how many claims
/// 4. how many changes of indexes
/// 5. how many limits
/// 6. how many uses of counters
/// 7. how many milliseconds the mark is kept, 0: this operation needs none
/// 8. how many milliseconds events are kept
/// 9. for each item four: the expected version (16 bytes, empty: must not exist), `k` keep / `p` put /
///    `d` delete, milliseconds to live (0: for ever), the value; then for each claim two: owner and
///    milliseconds to live (0: for ever); then for each change of an index two: `a` add / `r` remove,
///    and the member; then for each limit two: the interval and how long the whole burst takes, in
///    microseconds; then for each use of a counter four: the value, `a` any order / `s` strict, the
///    operation, milliseconds to live (0: for ever); then the events
///
/// Answers 0 done (now or before), -1 conflict, the number (from 1) of the claim that is taken, or a list
/// of three: `l`, the number of the limit that is used up, and the microseconds after which it would
/// admit one more; or `w`, the number of the counter that does not admit its use, and what it said.
///
/// A record is stored as the version (the id of the operation that wrote it) followed by the value.
///
/// Everything is checked before anything is written, because what a script has written stays when it
/// fails later. Adding and removing members fails only on a key that is no sorted set, and on that
/// `ZCARD` fails as well; an index names no other key of the script, so what it finds still holds when
/// the members are written. Of the writes only appending an event can fail, on a key that is no
/// stream, so events come first. A limit that refuses is written where its instant has to be pulled in.
///
/// Where the operation was done before, its mark is written (again). Newer servers wait, in `WAIT` and
/// `WAITAOF`, for the last write of the connection that asks, and for nothing where it wrote nothing:
/// replicas that lack the operation would count as having it. They have the mark only behind it.
pub(super) const COMMIT: &str = script!(
    rates!(),
    counters!(),
    r"
local op = ARGV[1]
local items = tonumber(ARGV[2])
local claims = tonumber(ARGV[3])
local index = tonumber(ARGV[4])
local limits = tonumber(ARGV[5])
local windows = tonumber(ARGV[6])
local mark_millis = tonumber(ARGV[7])
local limit_keys = items + claims + index
local window_keys = limit_keys + limits
local mark = KEYS[window_keys + windows + 1]
local outbox = KEYS[window_keys + windows + 2]
local claims_at = 9 + 4 * items
local index_at = claims_at + 2 * claims
local limits_at = index_at + 2 * index
local windows_at = limits_at + 2 * limits
local events_at = windows_at + 4 * windows

local function done_before()
  redis.call('SET', mark, '1', 'PX', math.max(mark_millis, 1000))
  return 0
end

if mark_millis > 0 and redis.call('EXISTS', mark) == 1 then
  return done_before()
end

local conflict = false
for i = 1, items do
  local at = 9 + 4 * (i - 1)
  local version = redis.call('GETRANGE', KEYS[i], 0, 15)
  if ARGV[at + 1] == 'p' and version == op then
    return done_before()
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

local kept = {}
for i = 1, windows do
  local at = windows_at + 4 * (i - 1)
  local key = KEYS[window_keys + i]
  local said, value = used(key, tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2])
  if said > 0 then
    return {'w', i, said}
  end
  kept[i] = value
end

local now = limits > 0 and micros()
local counted = {}
for i = 1, limits do
  local at = limits_at + 2 * (i - 1)
  local every, span = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local wait, ahead = count(KEYS[limit_keys + i], every, span, now)
  if wait > 0 then
    if ahead then
      keep(KEYS[limit_keys + i], ahead, now)
    end
    return {'l', i, wait}
  end
  counted[i] = ahead
end

local function set(key, value, millis)
  if tonumber(millis) > 0 then
    redis.call('SET', key, value, 'PX', millis)
  else
    redis.call('SET', key, value)
  end
end

if events_at <= #ARGV then
  local oldest = micros() / 1000 - tonumber(ARGV[8])
  for i = events_at, #ARGV do
    redis.call('XADD', outbox, 'MINID', '~', string.format('%.0f', oldest), '*', 'e', ARGV[i])
  end
end
for i = 1, items do
  local at = 9 + 4 * (i - 1)
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
for i = 1, limits do
  keep(KEYS[limit_keys + i], counted[i], now)
end
for i = 1, windows do
  if kept[i] then
    keep_use(KEYS[window_keys + i], kept[i], ARGV[windows_at + 4 * (i - 1) + 3])
  end
end
if mark_millis > 0 then
  set(mark, '1', ARGV[7])
end
return 0
"
);

/// Counts one more against a rate.
///
/// KEYS: the limit.
///
/// ARGV:
/// 1. the interval, in microseconds
/// 2. how many microseconds the whole burst takes
///
/// Answers 0 admitted, or the microseconds after which one more would be.
pub(super) const LIMIT: &str = script!(
    rates!(),
    r"
local now = micros()
local wait, ahead = count(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), now)
if ahead then
  keep(KEYS[1], ahead, now)
end
return wait
"
);

/// Uses a counter.
///
/// KEYS: the counter, a string of 32 bytes.
///
/// ARGV: the value; `a` any order / `s` strict; the operation, 16 bytes; milliseconds to live (0: for
/// ever).
///
/// Answers 0 admitted, 1 replayed, 2 too old.
pub(super) const WINDOW: &str = script!(
    counters!(),
    r"
local said, value = used(KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3])
if value then
  keep_use(KEYS[1], value, ARGV[4])
end
return said
"
);

/// Which commands the user may not run on a key of ours.
///
/// KEYS: any key of ours.
///
/// ARGV:
/// 1. `1` where disks are waited for, too
///
/// Answers the names.
pub(super) const LACKING: &str = r"#!lua flags=no-writes
local key = KEYS[1]
local needed = {
  {'EVALSHA', '', '1', key}, {'GET', key}, {'MGET', key}, {'SET', key, ''}, {'DEL', key},
  {'EXISTS', key}, {'GETRANGE', key, '0', '0'}, {'PTTL', key}, {'XADD', key, '*', 'e', ''},
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
