-- What the worker does with commands in Redis, each in one step that first compares the lease.
-- KEYS: leader, commands:<service>, results:<service>, commands.ids, commands.order, commands.tried,
--   commands.dead, commands.count
-- ARGV: the step, who holds the lease, how many entries were finished ('': not known), then the
--   step's own.
-- Answers begin with a word: LOST (another worker leads, or Redis lost what was read or finished),
-- GONE (somebody deleted the entry), TYPE (a key is of another type than it must be: the key, its
-- type, and the right one), or OK and how many entries were finished.
--
-- commands.count  entries finished: a Redis that went back, behind a proxy say, has another one
-- commands.ids    hash: SHA-1 of service and ce_id -> "<us> <digest> <outcome> <status> <attempts>"
-- commands.order  sorted set of the same, by time: the oldest go first
-- commands.tried  hash: "<service> <entry>" -> attempts begun, while the entry waits
local GROUP, DAY_US = 'acrelay', 86400000000
local leader, stream, results, ids, order, tried, dead, finished = unpack(KEYS)
local step, self = ARGV[1], ARGV[2]

if redis.call('GET', leader) ~= self then return {'LOST'} end

-- Nothing is begun that could not be finished; the dead commands matter only to who has one.
local TYPES = {'string', 'stream', 'stream', 'hash', 'zset', 'hash', 'stream', 'string'}
local function type_of(key) return redis.call('TYPE', key).ok end
for i, key in ipairs(KEYS) do
  local is = type_of(key)
  if is ~= TYPES[i] and is ~= 'none' and (key ~= dead or step == 'finish' and ARGV[5] ~= '') then
    return {'TYPE', key, is, TYPES[i]}
  end
end
local count = redis.call('GET', finished) or '0'
if ARGV[3] ~= '' and ARGV[3] ~= count then return {'LOST'} end
local time = redis.call('TIME')
local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = string.format('%.0f', us)

-- Known fields alone, in the order of command.h, each cut one byte over its bound.
local NAMES = {'ce_specversion', 'ce_source', 'ce_id', 'ce_type', 'ce_subject', 'content-type',
  'priority', 'not_after', 'query', 'replace', 'validateOnly', 'data'}
local function known(entry)
  local has, out = {}, {entry[1]}
  for i = 1, #entry[2], 2 do has[entry[2][i]] = entry[2][i + 1] end
  for i, name in ipairs(NAMES) do
    out[i + 1] = string.sub(has[name] or '', 1, name == 'data' and 1048577 or 2048)
  end
  return out
end

local service = string.match(stream, ':commands:(.*)$')
local function field(entry) return service .. ' ' .. entry end
local function key(id) return redis.sha1hex(service .. '\0' .. id) end

-- Whether the entry is one that was read. A Redis that went back has it as a new one: what was
-- read together with it is read again, and nothing may be carried out between.
local function is_read(entry)
  return #redis.call('XPENDING', stream, GROUP, entry, entry, 1) > 0
end

-- take <after, or '>'> <count> -> now, entries, each with the attempts begun and, where an earlier
-- command had its ce_id, 1 at the end
local function take()
  local function read()
    return redis.pcall('XREADGROUP', 'GROUP', GROUP, 'worker', 'COUNT', ARGV[5], 'STREAMS',
      stream, ARGV[4])
  end
  local reply = read()
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP') then return reply end
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
    reply = read()
    if reply and reply.err then return reply end
  end
  local out = {'OK', count, now}
  for _, entry in ipairs(reply and reply[1][2] or {}) do
    if entry[2] then
      local one = known(entry)
      local was = redis.call('HGET', tried, field(entry[1]))
      one[#one + 1] = was or '0'
      one[#one + 1] = not was and redis.call('HGET', ids, key(one[4])) and '1' or ''
      out[#out + 1] = one
    else -- somebody deleted it while it waited
      redis.call('XACK', stream, GROUP, entry[1])
      redis.call('HDEL', tried, field(entry[1]))
      out[#out + 1] = {entry[1]}
    end
  end
  return out
end

-- begin <entry> <attempt, '': no call will be made> <us, '': no id is too old> -> what is known of
-- its ce_id or '', the fields.
-- The id of an entry that was tried is not looked up: what it did may be its own.
local function begin()
  if not is_read(ARGV[4]) then return {'LOST'} end
  local entry = redis.call('XRANGE', stream, ARGV[4], ARGV[4])[1]
  if not entry then
    redis.call('XACK', stream, GROUP, ARGV[4])
    redis.call('HDEL', tried, field(ARGV[4]))
    return {'GONE'}
  end
  local fields, memory = known(entry), ''
  if ARGV[5] ~= '' then
    local was = redis.call('HGET', tried, field(ARGV[4]))
    memory = not was and redis.call('HGET', ids, key(fields[4])) or ''
    local since = ARGV[6] ~= '' and tonumber(string.match(memory, '^%d+'))
    if since and tonumber(ARGV[6]) - since > DAY_US then -- this one is remembered instead
      memory = ''
      redis.call('HDEL', ids, key(fields[4]))
      redis.call('ZREM', order, key(fields[4]))
    end
    if memory == '' then redis.call('HSET', tried, field(ARGV[4]), ARGV[5]) end
  end
  return {'OK', count, memory, fields}
end

-- put_off <entry> <attempts>: the one that was begun is none
local function put_off()
  if redis.call('HGET', tried, field(ARGV[4])) then
    redis.call('HSET', tried, field(ARGV[4]), ARGV[5])
  end
  return {'OK', count}
end

-- finish <entry> <reason for the dead, ''> <1: remember, ''> <what, us first> <ids max> <entries>
--   <name> <value> ... of the result -> ids forgotten before their time, dead ones trimmed.
-- What can fail comes first: a script is not undone.
local function finish()
  local entry, reason, remember = ARGV[4], ARGV[5], ARGV[6] ~= ''
  if not is_read(entry) then
    redis.call('HDEL', tried, field(entry))
    return {'LOST'}
  end
  redis.call('XADD', results, 'MAXLEN', '~', ARGV[9], '*', unpack(ARGV, 10))
  local kept = reason ~= '' and redis.call('XRANGE', stream, entry, entry)[1]
  local trimmed = 0
  if kept then
    local values, letter = known(kept), {}
    for i, name in ipairs(NAMES) do
      letter[#letter + 1] = name
      letter[#letter + 1] = values[i + 1]
    end
    redis.call('XADD', dead, '*', 'service', service, 'ce_command', entry,
      'reason', reason, 'ce_time', ARGV[23], 'outcome', ARGV[25], 'status', ARGV[27],
      'attempts', ARGV[29], 'detail', ARGV[33], unpack(letter))
    trimmed = redis.call('XTRIM', dead, 'MAXLEN', '~', ARGV[9])
  end
  local forgotten, id = 0, key(ARGV[13])
  if remember and redis.call('HSETNX', ids, id, ARGV[7]) == 1 then
    redis.call('ZADD', order, string.match(ARGV[7], '^%d+'), id)
    local over = tonumber(redis.call('ZCARD', order)) - tonumber(ARGV[8])
    local oldest = over > 0 and redis.call('ZPOPMIN', order, math.min(over, 1000)) or {}
    for i = 1, #oldest, 2 do redis.call('HDEL', ids, oldest[i]) end
    forgotten = #oldest / 2
  end
  redis.call('XACK', stream, GROUP, entry)
  redis.call('XDEL', stream, entry)
  redis.call('HDEL', tried, field(entry))
  return {'OK', tostring(redis.call('INCR', finished)), tostring(forgotten), tostring(trimmed)}
end

-- The oldest entry that the group was given, and that is not pending for the worker, or '': it is
-- looked for between the first PENDING_MAX that are.
local PENDING_MAX = 1000
local function stray()
  local from, last = '-', nil
  for _, group in ipairs(type_of(stream) == 'stream' and redis.call('XINFO', 'GROUPS', stream) or {}) do
    local has = {}
    for i = 1, #group, 2 do has[group[i]] = group[i + 1] end
    last = has.name == GROUP and has['last-delivered-id'] or last
  end
  if not last then return '' end
  local pending = redis.call('XPENDING', stream, GROUP, '-', '+', PENDING_MAX, 'worker')
  for _, one in ipairs(pending) do
    local entry = redis.call('XRANGE', stream, from, '(' .. one[1], 'COUNT', 1)[1]
    if entry then return entry[1] end
    from = '(' .. one[1]
  end
  local entry = #pending < PENDING_MAX and redis.call('XRANGE', stream, from, last, 'COUNT', 1)[1]
  return entry and entry[1] or ''
end

-- tidy <results' age in ms> <entries> <dead ones' age in ms> -> dead ones that were trimmed, a stray
local function tidy()
  local function minid(age) return string.format('%.0f-0', math.max(0, us / 1000 - tonumber(age))) end
  redis.call('XTRIM', results, 'MINID', minid(ARGV[4]))
  redis.call('XTRIM', results, 'MAXLEN', '~', ARGV[5])
  local trimmed = type_of(dead) == 'stream' and redis.call('XTRIM', dead, 'MINID', minid(ARGV[6])) or 0
  local old = redis.call('ZRANGEBYSCORE', order, '-inf', string.format('%.0f', us - DAY_US),
    'LIMIT', 0, 1000)
  for _, id in ipairs(old) do
    redis.call('ZREM', order, id)
    redis.call('HDEL', ids, id)
  end
  return {'OK', count, tostring(trimmed), stray()}
end

return ({take = take, begin = begin, put_off = put_off, finish = finish, tidy = tidy})[step]()
