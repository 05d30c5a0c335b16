/**
 * The atomic steps that keep streams and groups in order: dead letters, trimming, consumers that are gone. As in `scripts.ts`, one
 * that fails has changed nothing: commands that come late are tried before, on ids and names that nothing has.
 */
import * as deadEntry from "./deadEntry.js"
import { script } from "./scripts.js"

/**
 * `isLetter(fields, stream, group, id)`: whether a dead entry is that of this entry, stream and group, or with an empty id any of
 * theirs; and how many of its fields are its own. Those that were added come last, so an entry's own may have any name.
 */
const isLetter = `
local function isLetter(fields, stream, group, id)
  local count = fields[#fields - 1] == '${deadEntry.born}' and ${2 * deadEntry.count + 2} or ${2 * deadEntry.count}
  local own = math.max(#fields - count, 0)
  local added = {}
  for i = own + 1, #fields - 1, 2 do added[fields[i]] = fields[i + 1] end
  return added['${deadEntry.fields.stream}'] == stream and added['${deadEntry.fields.group}'] == group
    and (id == '' or added['${deadEntry.fields.id}'] == id), own
end`

/**
 * Sends a dead entry again, without what was added when it died, for its group alone and under the id by which an inbox
 * knows it: with that id goes what the stream was born with, if it was. Of an entry that has a message id of its own nothing else is.
 *
 * KEYS dead-letter stream, stream; ARGV id in the dead-letter stream, the names of the headers for message id and group, the
 * entry's id, its stream, its group, the name of the header for what goes with an id, and "dry" or "". Answers the new id, or if dry what would be sent; nothing if the entry is gone,
 * or is not the group's.
 */
export const replay = script(
  "replay",
  `${isLetter}
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then return false end
local is, own = isLetter(entry[2], ARGV[5], ARGV[6], ARGV[4])
if not is then return false end
local fields, known = {}, false
for i = 1, own, 2 do
  if entry[2][i] == ARGV[2] and entry[2][i + 1] ~= '' then known = true end
end
for i = 1, own, 2 do
  local name, value = entry[2][i], entry[2][i + 1]
  if name ~= ARGV[3] and not (name == ARGV[2] and value == '') and (known or name ~= ARGV[7]) then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
end
if not known then
  fields[#fields + 1] = ARGV[2]
  fields[#fields + 1] = ARGV[4]
  if entry[2][#entry[2] - 1] == '${deadEntry.born}' then
    fields[#fields + 1] = ARGV[7]
    fields[#fields + 1] = entry[2][#entry[2]]
  end
end
fields[#fields + 1] = ARGV[3]
fields[#fields + 1] = ARGV[6]
if ARGV[8] == 'dry' then return fields end
redis.call('XDEL', KEYS[1], '0-0')
local id = redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
return id`
)

/** KEYS dead-letter stream; ARGV id there, the entry's stream, group and id. Answers how many it has removed: one, or none. */
export const removeLetter = script(
  "removeLetter",
  `${isLetter}
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry or not isLetter(entry[2], ARGV[2], ARGV[3], ARGV[4]) then return 0 end
return redis.call('XDEL', KEYS[1], ARGV[1])`
)

/**
 * Removes a page of old entries of one group from the dead-letter stream.
 *
 * KEYS dead-letter stream; ARGV stream, group, age in milliseconds, first id, count.
 * Answers [last id seen or "", number of removed entries].
 */
export const purge = script(
  "purge",
  `${isLetter}
local now = redis.call('TIME')
local newest = string.format('%.0f', math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[3])))
local last, removed = '', 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[4], newest, 'COUNT', ARGV[5])) do
  last = entry[1]
  if isLetter(entry[2], ARGV[1], ARGV[2], '') then removed = removed + redis.call('XDEL', KEYS[1], last) end
end
return { last, removed }`
)

/**
 * Counts a page of the dead-letter stream.
 *
 * KEYS dead-letter stream; ARGV stream, group, first id, count. Answers [last id seen or "", entries of the page, those of the group,
 * 1 if the last one is the group's, entries of the whole stream].
 */
export const countLetters = script(
  "countLetters",
  `${isLetter}
local page = redis.call('XRANGE', KEYS[1], ARGV[3], '+', 'COUNT', ARGV[4])
local own, isLast = 0, 0
for _, entry in ipairs(page) do
  isLast = isLetter(entry[2], ARGV[1], ARGV[2], '') and 1 or 0
  own = own + isLast
end
return { #page > 0 and page[#page][1] or '', #page, own, isLast, redis.call('XLEN', KEYS[1]) }`
)

const below = `
local function below(a, b)
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if am ~= bm then
    if #am ~= #bm then return #am < #bm end
    return am < bm
  end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end`

/**
 * Gives the stream an identity: the id that it has given out last, and a nonce. One that it has stays, unless the stream stands below
 * it: then it was made anew.
 *
 * KEYS stream, key; ARGV nonce. Answers 1, or 0 if it has one.
 */
export const giveIdentity = script(
  "giveIdentity",
  `${below}
local last
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
local born = redis.call('GET', KEYS[2])
if born and not below(last, born) then return 0 end
redis.call('SET', KEYS[2], last .. ':' .. ARGV[1])
return 1`
)

/** `lowestNeeded(key)`: the lowest id that a group of the stream may still need; nothing if it has no group. */
const lowestNeeded = `${below}
local function lowestNeeded(key)
  local bound
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local info = {}
    for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
    local first = info['last-delivered-id']
    if info.pending > 0 then
      -- What is pending may lie on both sides of where the group reads: XGROUP SETID moves that.
      local pending = redis.call('XPENDING', key, info.name)[2]
      if below(pending, first) then first = pending end
    end
    if not bound or below(first, bound) then bound = first end
  end
  return bound
end
local function removeBelow(key, bound, count)
  local removed = 0
  for _, entry in ipairs(redis.call('XRANGE', key, '-', bound, 'COUNT', count)) do
    if entry[1] ~= bound then removed = removed + redis.call('XDEL', key, entry[1]) end
  end
  return removed
end`

/**
 * Removes a page of entries that every group of the stream has acked.
 *
 * KEYS stream; ARGV "MINID" or "" for servers without it, count. Answers how many are gone.
 */
export const trimAcked = script(
  "trimAcked",
  `${lowestNeeded}
local key = KEYS[1]
local bound = lowestNeeded(key)
if not bound then return 0 end
if ARGV[1] == 'MINID' then return redis.call('XTRIM', key, 'MINID', '~', bound, 'LIMIT', ARGV[2]) end
return removeBelow(key, bound, ARGV[2])`
)

/**
 * `trim(key)` by the script's first four arguments: MAXLEN or MINID, its threshold, = or ~, and "MINID" or "" for servers
 * without it. It removes nothing that a group may still need, a page at most, and with ~ only when it is worth while.
 */
const trimKeeping = `${lowestNeeded}
local function trim(key)
  local page, excess, cut = 500, nil, nil
  if ARGV[1] == 'MAXLEN' then
    excess = redis.call('XLEN', key) - tonumber(ARGV[2])
    if excess <= (ARGV[3] == '=' and 0 or 100) then return end
  else
    cut = ARGV[2] .. '-0'
  end
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if not first or cut and not below(first[1], cut) then return end
  local bound = lowestNeeded(key)
  if bound and not below(first[1], bound) then return end
  if excess then
    local wanted = math.min(excess, page) + 1
    local oldest = redis.call('XRANGE', key, '-', bound or '+', 'COUNT', wanted)
    cut = #oldest < wanted and bound or oldest[#oldest][1]
  end
  if bound and below(bound, cut) then cut = bound end
  if ARGV[4] == 'MINID' then redis.call('XTRIM', key, 'MINID', ARGV[3], cut) else removeBelow(key, cut, page + 1) end
end`

/** KEYS stream; ARGV as for `trim`. */
export const trimKept = script("trimKept", `${trimKeeping}\ntrim(KEYS[1])`)

/**
 * Adds an entry and trims the stream. What is wrong with the trimming must not look as if the entry had not been added.
 *
 * KEYS stream; ARGV as for `trim`, then the entry's fields. Answers its id.
 */
export const addKept = script(
  "addKept",
  `${trimKeeping}
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 5))
pcall(trim, KEYS[1])
return id`
)

/**
 * Removes a consumer that has nothing pending, after handing over a page of what it has, if somebody is named.
 *
 * KEYS stream; ARGV group, consumer, heir or "", count. Answers 1 if the consumer is gone, 0 if it has pending entries and
 * there is no heir, 2 if there is more to hand over.
 */
export const removeConsumer = script(
  "removeConsumer",
  `
local key, group, consumer, heir = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local pending = redis.call('XPENDING', key, group, '-', '+', ARGV[4], consumer)
if #pending > 0 then
  if heir == '' then return 0 end
  redis.call('XGROUP', 'DELCONSUMER', key, group, 'safesync.none')
  for _, p in ipairs(pending) do
    redis.call('XCLAIM', key, group, heir, 0, p[1], 'IDLE', p[3], 'JUSTID')
  end
  return 2
end
redis.call('XGROUP', 'DELCONSUMER', key, group, consumer)
return 1`
)

/**
 * Removes the consumers that have not been heard of for so long and have nothing pending.
 *
 * KEYS stream; ARGV group, idle time. Answers their names.
 */
export const removeIdleConsumers = script(
  "removeIdleConsumers",
  `
local removed = {}
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local info = {}
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  if info.pending == 0 and info.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info.name)
    removed[#removed + 1] = info.name
  end
end
return removed`
)
