-- Appends a batch of entries to their streams and moves the cursor, in one atomic step.
--
-- It works from Redis 6.2 to 8 and Valkey: no `#!lua` header, no functions to deploy, only
-- commands with pcall, whose errors keep their first word in every version (an error that leaves
-- a script does not).
--
-- A Lua script that fails keeps what it has written. So all that can fail, fails before the first
-- XADD: the first write is the owner into the cursor, which a replica, a full memory, a missing
-- right or a wrong type refuses. An XADD that is refused ends the batch there, and the cursor shows
-- it. Redis does not apply its memory limit again once a script has written (256 records beyond it
-- at most).
--
-- A cursor that is not at prev stops the call before it writes anything. One before it: Redis lost
-- data. One beyond it: a late call of ours, or another copy of the journal; the relay compares the
-- record at the cursor before it continues after it.
--
-- Sequences are 20 digits and compared as strings: Lua's numbers are doubles and lose integers
-- above 2^53. Receipts are microseconds, which stay below that until 2255.
--
-- Duplicates: two hashes map a fingerprint to the receipt of its last record. One of them is
-- current: new fingerprints go there. A record that came a window or more after `since` empties
-- the other hash and makes that one current, so that together they always reach back a whole
-- window. Which of their receipts count is decided by comparing receipts, whichever receiver added
-- them and however late the batch is. `state` holds current, since, and how many fingerprints each
-- hash has; all three keys expire by themselves, counted from the turn.
--
-- Cost: Redis's Lua hashes every string it is given, byte by byte, and each argument costs about
-- as much as 40 bytes. So what records have in common is sent once, as a "kind", and a record's
-- empty query and raw body are not sent at all. Making a number of a receipt costs as much as 200
-- bytes. So receipts have 16 digits (19 Lua would round, and 16 last until 2286) and are compared
-- as strings, with two bounds for the whole batch; numbers are made of one beyond these only.
--
-- KEYS: 1 cursor, 2 dead letters, 3 state of the fingerprints, 4 and 5 fingerprints,
--       6 last event of each hook, 7.. streams
-- ARGV: 1 owner, 2 prev, 3 check of the last record, 4 whether all fingerprints are to be
--       forgotten first (0 1), 5 window in microseconds, 6 max fingerprints, 7 milliseconds until
--       they expire, 8 "<journal id>-", 9 number of hooks, 10 number of fingerprints,
--       11 where the cursor goes after the last record, if further: what is between is another
--       partition's; or '',
--       12 and 13 receipts: one from the first to the second is within the window of every record,
--       then the hooks,
--       the fingerprints of the records that are looked for (kinds m and d), in their order,
--       the receipts of these records,
--       and the records, each: its kind where that is another than the record's before: a short
--       number, and where the kind is new, stream (index in KEYS), duplicates (m mark, d drop,
--       k keep), arguments of each record, whether query and raw are among them (0 1), source
--       (empty: the event is structured), type (of a dead letter: hook); then its sequence and the
--       fields of entry.c that differ
-- Answer: {word, cursor, duplicates marked, duplicates dropped, notice}
local KEYS, ARGV, type, tonumber = KEYS, ARGV, type, tonumber
local key, call = KEYS[1], redis.pcall
local c = call('HMGET', key, 'owner', 'sequence')
if c.err then return {c.err} end
local at = c[2] or '00000000000000000000'
if c[1] and c[1] ~= ARGV[1] then return {'FENCED', at} end
if at ~= ARGV[2] then return {'AT', at} end
local hooks, fingerprints = tonumber(ARGV[9]), tonumber(ARGV[10])
local fingerprint_at = 14 + hooks
local receipt_at = fingerprint_at + fingerprints

-- everything that can fail, fails here
local r = call('HSET', key, 'owner', ARGV[1])
if type(r) == 'table' then return {r.err, at} end
if ARGV[4] == '1' then
  r = call('UNLINK', KEYS[3], KEYS[4], KEYS[5])
  if type(r) == 'table' then return {r.err, at} end
end

-- which hash is current, and what the two know of these fingerprints
local window, current, sizes, new, old = tonumber(ARGV[5]), 4, {}, {}, {}
if fingerprints > 0 then
  local received = tonumber(ARGV[receipt_at])
  local s = call('HMGET', KEYS[3], 'current', 'since', '4', '5')
  if s.err then return {s.err, at} end
  local since = tonumber(s[2])
  current = s[1] == '5' and 5 or 4
  sizes[4], sizes[5] = tonumber(s[3] or 0), tonumber(s[4] or 0)
  if not since then
    r = call('UNLINK', KEYS[4], KEYS[5])
    sizes[4], sizes[5] = 0, 0
  elseif received >= since + window then
    current = 9 - current
    r = call('UNLINK', KEYS[current])
    sizes[current] = 0
  end
  if type(r) == 'table' then return {r.err, at} end
  if not since or received >= since + window then
    r = call('HSET', KEYS[3], 'current', current, 'since',
      string.format('%.0f', received), '4', sizes[4], '5', sizes[5])
    if type(r) == 'table' then return {r.err, at} end
    call('PEXPIRE', KEYS[3], ARGV[7])
  end
  if sizes[current] > 0 then
    new = call('HMGET', KEYS[current], unpack(ARGV, fingerprint_at, receipt_at - 1))
    if new.err then return {new.err, at} end
  end
  if sizes[9 - current] > 0 then
    old = call('HMGET', KEYS[9 - current], unpack(ARGV, fingerprint_at, receipt_at - 1))
    if old.err then return {old.err, at} end
  end
end
local low, high = ARGV[12], ARGV[13]
local function near(known, receipt)
  known = known and tonumber(known)
  return known and known - receipt <= window and receipt - known <= window
end

-- a structured event, which says itself whether it is a duplicate: at its start
local function marked_event(event, again)
  return again and '{"specversion":"1.0","repeat":"1"' .. event:sub(34) or event
end

-- the records; n counts those with a fingerprint, seen has what is to be remembered of them
local id, dead, kinds, seen = ARGV[8], KEYS[2], {}, {}
local word, marked, dropped, n = 'OK', 0, 0, 0
local done, last, stream, mode, width, whole, source, kind_type
local i, total = receipt_at + fingerprints, #ARGV
while i <= total do
  local sequence = ARGV[i]
  if #sequence < 20 then
    local k = kinds[sequence]
    if not k then
      k = {KEYS[tonumber(ARGV[i + 1])], ARGV[i + 2], tonumber(ARGV[i + 3]),
        ARGV[i + 4] == '1', ARGV[i + 5], ARGV[i + 6]}
      kinds[sequence] = k
      i = i + 6
    end
    stream, mode, width, whole, source, kind_type = k[1], k[2], k[3], k[4], k[5], k[6]
    i = i + 1
    sequence = ARGV[i]
  end
  local fingerprint, receipt, known, again
  if mode ~= 'k' then
    fingerprint, receipt = ARGV[fingerprint_at + n], ARGV[receipt_at + n]
    n = n + 1
    known = seen[fingerprint] or new[n]
    again = known and known >= low and known <= high or near(known, receipt) or near(old[n], receipt)
  end
  r = nil
  if stream == dead then
    r = call('XADD', stream, '*', DEAD_FIELDS)
  elseif again and mode == 'd' then
    dropped = dropped + 1
  elseif source == '' then
    r = call('XADD', stream, '*', STRUCTURED_FIELDS)
  else
    r = call('XADD', stream, '*', EVENT_FIELDS)
  end
  if r and #r == 0 then word = r.err break end -- an error is a table, an id has a length
  done, last = sequence, r or last
  if r and fingerprint then
    if again then marked = marked + 1 end
    if not known or receipt > known then seen[fingerprint] = receipt end
  end
  i = i + width
end
if word == 'OK' and ARGV[11] ~= '' then done = ARGV[11] end
if not done then return {word, at, 0, 0} end
redis.call('HSET', key, 'sequence', done, 'check', word == 'OK' and ARGV[3] or '')

-- what is below may fail without harm to the promise: it is reported as a notice
local notice
local function try(...)
  local reply = call(...)
  if type(reply) == 'table' and reply.err then notice = reply.err return 0 end
  return reply
end
local add, added = {}, 0
for fingerprint, receipt in pairs(seen) do
  add[added + 1], add[added + 2] = fingerprint, receipt
  added = added + 2
end
if added > 0 then
  if sizes[4] + sizes[5] + added / 2 > tonumber(ARGV[6]) then notice = 'FULL'
  else
    r = try('HSET', KEYS[current], unpack(add))
    if sizes[current] == 0 then try('PEXPIRE', KEYS[current], ARGV[7]) end
    if r > 0 then try('HSET', KEYS[3], current, sizes[current] + r) end
    notice = notice or 'KEPT'
  end
end
-- Redis's own time, as RFC 3339; the new entry's id where TIME is not permitted
local now = hooks > 0 and call('TIME') or {}
if now.err then
  notice = now.err
  now = {last and last:match('^(%d+)%d%d%d%-'), 0}
end
if now[1] then
  local floor, s = math.floor, tonumber(now[1])
  local z = floor(s / 86400) + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524)
    - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local m = floor((5 * doy + 2) / 153)
  local month = m < 10 and m + 3 or m - 9
  local text = string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ',
    yoe + era * 400 + (month <= 2 and 1 or 0), month,
    doy - floor((153 * m + 2) / 5) + 1, floor(s / 3600) % 24, floor(s / 60) % 60,
    s % 60, now[2])
  local set = {}
  for h = 14, 13 + hooks do
    set[#set + 1] = ARGV[h]
    set[#set + 1] = text
  end
  try('HSET', KEYS[6], unpack(set))
end
return {word, done, marked, dropped, notice}
