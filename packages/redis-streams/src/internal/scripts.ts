/**
 * The steps that must be atomic on the server. Each touches keys of one slot: the stream, and at most its dead-letter
 * stream. Who holds a delivery is told by consumer *and* delivery count ("fence"): the count grows whenever an entry is
 * delivered or claimed, and stays when its idle time is only set (`JUSTID`). What was not begun gives its count back.
 *
 * **A script that fails has changed nothing.** A user may lack the right to any command (ACL), and what a script has written before
 * such a refusal stays. So each tries the commands that come late before it writes, in a way that does nothing: no entry has the
 * id 0-0.
 *
 * XNACK (Redis 8.8) leaves an entry without an owner; XPENDING then tells an idle time of -1. It does not ask who held the
 * entry, so `hold` does.
 */
import * as crypto from "node:crypto"

export interface Script {
  readonly name: string
  readonly lua: string
  readonly sha: string
}

/** Entries that one call of a script handles at most, so that none keeps the server busy for long. */
export const pageSize = 500

/**
 * Bytes of the entries' fields that one call of a script reads, the last entry in addition: `bytesOf(fields)` counts them. A script
 * cannot look at a clock, which stands still inside it, and a large entry takes it as long as hundreds of small ones.
 */
export const pageBytes = 262_144

export const bytesOf = `
local function bytesOf(fields)
  local bytes = 0
  for _, field in ipairs(fields) do bytes = bytes + #field end
  return bytes
end`

/**
 * `walk(key, from, to, count, visit)`: visits so many entries of a stream, one after the other, and ends before when they have more
 * than `pageBytes`. Answers where to go on, or "" when `to` is reached. Exclusive ranges came only with 6.2.
 */
export const walk = `${bytesOf}
local function increment(number)
  local head, nines = string.match(number, '^(%d-)(9*)$')
  local kept, digit = string.match(head, '^(%d-)(%d?)$')
  return kept .. (digit == '' and '1' or tostring(tonumber(digit) + 1)) .. string.rep('0', #nines)
end
local function after(id)
  local millis, sequence = string.match(id, '(%d+)-(%d+)')
  if sequence == '18446744073709551615' then return increment(millis) .. '-0' end
  return millis .. '-' .. increment(sequence)
end
local function walk(key, from, to, count, visit)
  local bytes = 0
  for _ = 1, count do
    local entry = redis.call('XRANGE', key, from, to, 'COUNT', 1)[1]
    if not entry then return '' end
    visit(entry[1], entry[2])
    from = after(entry[1])
    bytes = bytes + bytesOf(entry[2])
    if bytes > ${pageBytes} then break end
  end
  return from
end`

/**
 * The answer of `takeOwn` and `takeStale`: where to go on, what was taken, which entries are deleted, and the stream's identity,
 * empty if it has none.
 */
export type Page = readonly [
  next: Buffer,
  entries: ReadonlyArray<readonly [id: Buffer, attempt: number, fields: ReadonlyArray<Buffer>]>,
  deleted: ReadonlyArray<Buffer>,
  born: Buffer
]

export const script = (name: string, lua: string): Script => ({
  name,
  lua,
  sha: crypto.createHash("sha1").update(lua).digest("hex")
})

/**
 * `capped(count)`: XNACK FATAL sets a delivery count to 2^63 - 1, of which a script's reply makes a negative number, as the
 * server does of the next one. Here and there it is 2^53 - 1 then, the greatest that JavaScript can count to.
 */
const capped = `
local function capped(count)
  local most = ${Number.MAX_SAFE_INTEGER}
  return count < 0 and most or math.min(count, most)
end`

/** Asked for first: where it may not be read, nothing is taken. */
const born = `
local born = KEYS[2] and redis.call('GET', KEYS[2]) or ''`

/** `key` and `group` are the script's. */
const mayAck = `redis.call('XACK', key, group, '0-0')`

/**
 * How large the entries are that a group's next read may bring: of what is new, up to a page, and the oldest that is pending.
 *
 * KEYS stream; ARGV group, count. Answers the bytes of the largest.
 */
export const ahead = script(
  "ahead",
  `${walk}
local key, group, largest = KEYS[1], ARGV[1], 0
local function look(_, fields) largest = math.max(largest, bytesOf(fields)) end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local info = {}
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  if info.name == group then
    walk(key, after(info['last-delivered-id']), '+', math.min(tonumber(ARGV[2]), ${pageSize}), look)
    local oldest = redis.call('XPENDING', key, group, '-', '+', 1)[1]
    if oldest then walk(key, oldest[1], oldest[1], 1, look) end
  end
end
return largest`
)

/**
 * The next page of what is pending for one consumer, delivered to it again.
 *
 * KEYS stream, key of its identity if it can have one; ARGV group, consumer, first id, count, ids that are in flight in the caller's process and stay untouched.
 * Answers [last id seen or "" at the end, [[id, delivery count, fields]…], [ids whose entry is deleted], identity or ""].
 */
export const takeOwn = script(
  "takeOwn",
  `${capped}${bytesOf}${born}
local key, group, consumer, count = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4])
local inFlight = {}
for i = 5, #ARGV do inFlight[ARGV[i]] = true end
${mayAck}
local last, entries, deleted, bytes = '', {}, {}, 0
for _, p in ipairs(redis.call('XPENDING', key, group, ARGV[3], '+', math.min(count, ${pageSize}) + #ARGV - 4, consumer)) do
  if #entries == count or bytes > ${pageBytes} then break end
  last = p[1]
  if not inFlight[last] then
    local claimed = redis.call('XCLAIM', key, group, consumer, 0, last)[1]
    if claimed and claimed[2] then
      entries[#entries + 1] = { last, capped(p[4] + 1), claimed[2] }
      bytes = bytes + bytesOf(claimed[2])
    else
      redis.call('XACK', key, group, last)
      deleted[#deleted + 1] = last
    end
  end
end
return { last, entries, deleted, born }`
)

/**
 * The next page of what has been idle for long enough, whoever held it.
 *
 * KEYS as for `takeOwn`; ARGV group, consumer, min idle, cursor, count.
 * Answers [next cursor, [[id, delivery count, fields]…], [ids whose entry is deleted], identity or ""].
 */
export const takeStale = script(
  "takeStale",
  `${capped}${bytesOf}${born}
local key, group = KEYS[1], ARGV[1]
redis.call('XPENDING', key, group, '-', '+', 1)
local cursor, entries, deleted, bytes = ARGV[4], {}, {}, 0
for _ = 1, math.min(tonumber(ARGV[5]), ${pageSize}) do
  local reply = redis.call('XAUTOCLAIM', key, group, ARGV[2], ARGV[3], cursor, 'COUNT', 1)
  cursor = reply[1]
  for _, e in ipairs(reply[2]) do
    entries[#entries + 1] = { e[1], capped(redis.call('XPENDING', key, group, e[1], e[1], 1)[1][4]), e[2] }
    bytes = bytes + bytesOf(e[2])
  end
  for _, id in ipairs(reply[3]) do deleted[#deleted + 1] = id end
  if cursor == '0-0' or bytes > ${pageBytes} then break end
end
return { cursor, entries, deleted, born }`
)

/**
 * `takeStale` for servers without XAUTOCLAIM or with one that does not tell deleted entries: looks through a window of the
 * pending list that is ten times as wide as what is taken, as in XAUTOCLAIM: with XPENDING … IDLE the server would look through as many
 * younger entries as there are. Also the way to leave one consumer's entries alone, which XAUTOCLAIM cannot.
 *
 * KEYS as for `takeOwn`; ARGV group, consumer, min idle, first id, count, whose entries stay untouched or "".
 * Answers as `takeStale`, with the last id seen in place of the cursor; 0-0 at the end.
 */
export const takeStaleByScan = script(
  "takeStaleByScan",
  `${capped}${bytesOf}${born}
local key, group, minIdle, count = KEYS[1], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[5])
local window = math.min(count, ${pageSize}) * 10
local pending = redis.call('XPENDING', key, group, ARGV[4], '+', window)
${mayAck}
local cursor, entries, deleted, bytes = '0-0', {}, {}, 0
if #pending == window then cursor = pending[#pending][1] end
for _, p in ipairs(pending) do
  if p[3] < 0 or p[3] >= minIdle and p[2] ~= ARGV[6] then
    local id = p[1]
    local claimed = redis.call('XCLAIM', key, group, ARGV[2], 0, id)[1]
    if claimed and claimed[2] then
      entries[#entries + 1] = { id, capped(p[4] + 1), claimed[2] }
      bytes = bytes + bytesOf(claimed[2])
    else
      redis.call('XACK', key, group, id)
      deleted[#deleted + 1] = id
    end
    if #entries == count or bytes > ${pageBytes} then
      cursor = id
      break
    end
  end
end
return { cursor, entries, deleted, born }`
)

/**
 * The answer of `hold`: ids that somebody else holds, that are not pending any more, whose entry is deleted, and those of the first
 * that are another entry's now.
 */
export type NotHeld = readonly [
  taken: ReadonlyArray<string>,
  gone: ReadonlyArray<string>,
  deleted: ReadonlyArray<string>,
  reused: ReadonlyArray<string>
]

/**
 * `isReused(p, consumer, fence)`: whether an id is that of another entry by now, of a stream that was made anew. Whoever takes an
 * entry over counts one more delivery than its holder knows of; a count that is no higher has begun anew.
 */
const isReused = `
local function isReused(p, consumer, fence)
  local count = capped(p[4])
  return count < tonumber(fence) or p[2] ~= consumer and count == tonumber(fence)
end`

/**
 * Acks those entries that are what the consumer was given, whoever has them by now: their handlers have succeeded. Where there is no
 * group any more, nothing is pending. Nearly always the consumer has just these, in this order, which is seen by one look; else
 * each is looked at.
 *
 * KEYS stream; ARGV "XACK", by which MONITOR shows what this is, group, consumer, then the ids, then the fence of each.
 * Answers how many were pending, or [how many were pending, [ids that are another entry's now]].
 */
export const ack = script(
  "ack",
  `
local key, group, consumer, n = KEYS[1], ARGV[2], ARGV[3], (#ARGV - 3) / 2
local function isRefused(reply) return reply.err and not string.find(reply.err, 'NOGROUP', 1, true) end
if n <= ${pageSize} then
  local mine = redis.pcall('XPENDING', key, group, ARGV[4], ARGV[3 + n], n, consumer)
  if isRefused(mine) then return mine end
  local has = #mine
  for i = 1, has do
    local p = mine[i]
    if p[1] ~= ARGV[3 + i] or p[4] ~= tonumber(ARGV[3 + n + i]) then has = 0 break end
  end
  if has == n then return redis.call(ARGV[1], key, group, unpack(ARGV, 4, 3 + n)) end
end
${capped}${isReused}
local acked, held, reused = 0, {}, {}
local function ack()
  if #held > 0 then acked = acked + redis.call(ARGV[1], key, group, unpack(held)) end
  held = {}
end
for i = 4, 3 + n do
  local id = ARGV[i]
  local found = redis.pcall('XPENDING', key, group, id, id, 1)
  if isRefused(found) then return found end
  local p = found[1]
  if p and isReused(p, consumer, ARGV[n + i]) then
    reused[#reused + 1] = id
  else
    held[#held + 1] = id
    if #held == ${pageSize} then ack() end
  end
end
ack()
return { acked, reused }`
)

/**
 * `isHeld(p, consumer, fence)`: a holder that has given a count back may not know yet that it has. What has no owner, and
 * has not been delivered since, is still for the one who held it.
 */
const isHeld = `${capped}
local function isHeld(p, consumer, fence)
  local count = capped(p[4])
  return (p[2] == consumer or p[3] < 0) and (count == tonumber(fence) or count == tonumber(fence) - 1)
end`

/**
 * Sets owner, idle time and delivery count of those deliveries that the consumer still holds.
 *
 * KEYS stream; ARGV group, consumer, new owner or "" for nobody (by XNACK), idle time or "" to leave it, then id, fence and
 * new count of each.
 * Answers what `NotHeld` says.
 */
export const hold = script(
  "hold",
  `${isHeld}${isReused}
local key, group = KEYS[1], ARGV[1]
local owner = ARGV[3] == '' and ARGV[2] or ARGV[3]
${mayAck}
if ARGV[3] == '' and not redis.acl_check_cmd('XNACK', key, group, 'FAIL', 'IDS', '1', '0-0') then
  return redis.error_reply('NOPERM XNACK may not be run by this user')
end
local taken, gone, deleted, reused, released = {}, {}, {}, {}, {}
for i = 5, #ARGV, 3 do
  local id = ARGV[i]
  local p = redis.call('XPENDING', key, group, id, id, 1)[1]
  if not p then
    gone[#gone + 1] = id
  elseif not isHeld(p, ARGV[2], ARGV[i + 1]) then
    taken[#taken + 1] = id
    if isReused(p, ARGV[2], ARGV[i + 1]) then reused[#reused + 1] = id end
  else
    local idle = ARGV[4] == '' and p[3] or ARGV[4]
    local claimed = redis.call('XCLAIM', key, group, owner, 0, id, 'IDLE', idle, 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
    if #claimed == 0 then
      redis.call('XACK', key, group, id)
      deleted[#deleted + 1] = id
    elseif ARGV[3] == '' then
      released[#released + 1] = id
    end
  end
end
if #released > 0 then redis.call('XNACK', key, group, 'FAIL', 'IDS', #released, unpack(released)) end
return { taken, gone, deleted, reused }`
)

/**
 * Moves an entry to the dead-letter stream, if the consumer still holds it: its fields as they are, then the given ones.
 * An entry of more than some 4,000 fields is more than a script can pass on: it fails, and the entry stays as it is.
 *
 * KEYS stream, dead-letter stream; ARGV group, consumer, id, fence, then names and values to add.
 * Answers "dead", "lost", or "deleted" if there is no content any more that could be moved (it is acked then).
 */
export const deadLetter = script(
  "deadLetter",
  `${isHeld}
local key, group, id = KEYS[1], ARGV[1], ARGV[3]
local p = redis.call('XPENDING', key, group, id, id, 1)[1]
if not p or not isHeld(p, ARGV[2], ARGV[4]) then return 'lost' end
${mayAck}
local entry = redis.call('XRANGE', key, id, id)[1]
if entry then
  local fields = entry[2]
  for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
end
redis.call('XACK', key, group, id)
return entry and 'dead' or 'deleted'`
)

/**
 * Adds an entry, unless the key remembers one.
 *
 * KEYS stream, key; ARGV milliseconds to remember, then the arguments of XADD after the stream.
 * Answers [id, whether it was there before].
 */
export const sendOnce = script(
  "sendOnce",
  `
local known = redis.call('GET', KEYS[2])
if known then return { known, 1 } end
-- With XX, only where the key exists, which it does not.
redis.call('SET', KEYS[2], '', 'XX', 'PX', ARGV[1])
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'PX', ARGV[1])
return { id, 0 }`
)
