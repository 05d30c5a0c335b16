/**
 * The atomic steps that keep streams and groups in order: dead letters, trimming, consumers that are gone. As in `scripts.ts`, one
 * that fails has changed nothing: commands that come late are tried before, on ids and names that nothing has.
 */
import * as deadEntry from "./deadEntry.js"
import * as scripts from "./scripts.js"

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
export const replay = scripts.script(
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
export const removeLetter = scripts.script(
  "removeLetter",
  `${isLetter}
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry or not isLetter(entry[2], ARGV[2], ARGV[3], ARGV[4]) then return 0 end
return redis.call('XDEL', KEYS[1], ARGV[1])`
)

/**
 * A page of a group's dead entries, up to the one that is the last at the first page: what dies while they are gone through is not
 * among them, or a caller who sends them again would never end.
 *
 * KEYS dead-letter stream; ARGV stream, group, first id, last id or "" at the first page, count. Answers [where to go on or "" at the
 * end, last id, [[id, fields]…]].
 */
export const letters = scripts.script(
  "letters",
  `${scripts.walk}${isLetter}
local to, found = ARGV[4], {}
if to == '' then
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if not last then return { '', '', found } end
  to = last[1]
end
local next = walk(KEYS[1], ARGV[3], to, tonumber(ARGV[5]), function(id, fields)
  if isLetter(fields, ARGV[1], ARGV[2], '') then found[#found + 1] = { id, fields } end
end)
return { next, to, found }`
)

/**
 * Removes a page of old entries of one group from the dead-letter stream.
 *
 * KEYS dead-letter stream; ARGV stream, group, age in milliseconds, first id, last id or "" at the first page, count.
 * Answers [where to go on or "" at the end, last id, number of removed entries].
 */
export const purge = scripts.script(
  "purge",
  `${scripts.walk}${isLetter}
local to, removed = ARGV[5], 0
if to == '' then
  local now = redis.call('TIME')
  to = string.format('%.0f', math.max(0, now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(ARGV[3])))
end
local next = walk(KEYS[1], ARGV[4], to, tonumber(ARGV[6]), function(id, fields)
  if isLetter(fields, ARGV[1], ARGV[2], '') then removed = removed + redis.call('XDEL', KEYS[1], id) end
end)
return { next, to, removed }`
)

/**
 * Counts a page of the dead-letter stream.
 *
 * KEYS dead-letter stream; ARGV stream, group, first id, count. Answers [where to go on or "" at the end, last id seen or "", entries of
 * the page, those of the group, 1 if the last one is the group's, entries of the whole stream].
 */
export const countLetters = scripts.script(
  "countLetters",
  `${scripts.walk}${isLetter}
local last, all, own, isLast = '', 0, 0, 0
local next = walk(KEYS[1], ARGV[3], '+', tonumber(ARGV[4]), function(id, fields)
  isLast = isLetter(fields, ARGV[1], ARGV[2], '') and 1 or 0
  last, all, own = id, all + 1, own + isLast
end)
return { next, last, all, own, isLast, redis.call('XLEN', KEYS[1]) }`
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
export const giveIdentity = scripts.script(
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
      local pending = redis.call('XPENDING', key, info.name, '-', '+', 1)[1][1]
      if below(pending, first) then first = pending end
    end
    if not bound or below(first, bound) then bound = first end
  end
  return bound
end`

/**
 * `removeFirst(key, bounds, most)`: removes the oldest entries that are below all of the bounds, so many at most, and ends before when
 * they have more than a page's bytes: the server has no other way to tell ids than to give the whole entries. Answers how many, and
 * whether it was their bytes that ended it.
 */
const removeFirst = `${scripts.bytesOf}
local function removeFirst(key, bounds, most)
  local removed, bytes = 0, 0
  while removed < most do
    if bytes > ${scripts.pageBytes} then return removed, true end
    local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    if not first then break end
    for _, bound in ipairs(bounds) do
      if not below(first[1], bound) then return removed, false end
    end
    bytes = bytes + bytesOf(first[2])
    removed = removed + redis.call('XDEL', key, first[1])
  end
  return removed, false
end`

/**
 * Removes a page of entries that every group of the stream has acked, and had when the first page was removed: what is acked meanwhile
 * is not among them, or it would never end.
 *
 * KEYS stream; ARGV "MINID" or "" for servers without it, count, the bound or "" at the first page. Answers [how many are gone, the
 * bound or ""].
 */
export const trimAcked = scripts.script(
  "trimAcked",
  `${lowestNeeded}${removeFirst}
local key = KEYS[1]
local bound = lowestNeeded(key)
if not bound then return { 0, '' } end
if ARGV[3] ~= '' and below(ARGV[3], bound) then bound = ARGV[3] end
local removed
if ARGV[1] == 'MINID' then
  removed = redis.call('XTRIM', key, 'MINID', '~', bound, 'LIMIT', ARGV[2])
else
  removed = removeFirst(key, { bound }, tonumber(ARGV[2]))
end
return { removed, bound }`
)

/**
 * `trim(key)` by the script's first three arguments: MAXLEN or MINID, its threshold, = or ~. It removes nothing that a group may still
 * need, a page at most, and with ~ of MAXLEN only when it is worth while. Answers 1 if there is more that its bytes have kept it from.
 */
const trimKeeping = `${lowestNeeded}${removeFirst}
local function trim(key)
  local most, bounds = ${scripts.pageSize}, {}
  if ARGV[1] == 'MAXLEN' then
    local excess = redis.call('XLEN', key) - tonumber(ARGV[2])
    if excess <= (ARGV[3] == '=' and 0 or 100) then return 0 end
    most = math.min(excess, most)
  else
    bounds[1] = ARGV[2] .. '-0'
  end
  bounds[#bounds + 1] = lowestNeeded(key)
  local _, more = removeFirst(key, bounds, most)
  return more and 1 or 0
end`

/** KEYS stream; ARGV as for `trim`. */
export const trimKept = scripts.script("trimKept", `${trimKeeping}\nreturn trim(KEYS[1])`)

/**
 * Adds an entry and trims the stream. What is wrong with the trimming must not look as if the entry had not been added.
 *
 * KEYS stream; ARGV as for `trim`, then the entry's fields. Answers [its id, what `trim` says].
 */
export const addKept = scripts.script(
  "addKept",
  `${trimKeeping}
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
local well, more = pcall(trim, KEYS[1])
return { id, well and more or 0 }`
)

/**
 * Removes a consumer that has nothing pending, after handing over a page of what it has, if somebody is named. What it gets after the
 * first page is not handed over: then it runs.
 *
 * KEYS stream; ARGV group, consumer, heir or "", count, last id or "" at the first page. Answers [1 if the consumer is gone, 0 if it has
 * pending entries that are not to be handed over, 2 if there is more to do; last id].
 */
export const removeConsumer = scripts.script(
  "removeConsumer",
  `
local key, group, consumer, heir, to = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local function pending(to, count) return redis.call('XPENDING', key, group, '-', to, count, consumer) end
if to == '' then to = redis.call('XPENDING', key, group)[3] or '0-0' end
local page = heir == '' and {} or pending(to, ARGV[4])
if #page > 0 then
  redis.call('XGROUP', 'DELCONSUMER', key, group, 'safesync.none')
  for _, p in ipairs(page) do
    redis.call('XCLAIM', key, group, heir, 0, p[1], 'IDLE', p[3], 'JUSTID')
  end
  return { 2, to }
end
if #pending('+', 1) > 0 then return { 0, to } end
redis.call('XGROUP', 'DELCONSUMER', key, group, consumer)
return { 1, to }`
)

/** KEYS stream; ARGV group, consumers. Removes those that have nothing pending, and answers their names. */
export const removeConsumers = scripts.script(
  "removeConsumers",
  `
local removed = {}
for i = 2, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[i]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[i])
    removed[#removed + 1] = ARGV[i]
  end
end
return removed`
)
