// The text below works from Redis 6.2 to 8 and Valkey: no `#!lua` header, no functions to
// deploy, only commands with pcall, whose errors keep their first word in every version
// (an error that leaves a script does not).
//
// A Lua script that fails keeps what it has written. So all that can fail, fails before the
// first XADD: the first write is the owner into the cursor, which a replica, a full memory,
// a missing right or a wrong type refuses. An XADD that is refused ends the batch there,
// and the cursor says so. Redis does not apply its memory limit again once a script has
// written (256 records beyond it at most).
//
// A cursor that is not at prev stops the call before it writes anything. One before it: Redis
// lost data. One beyond it: a late call of ours, or another copy of the journal; the relay
// compares the record at the cursor before it goes on behind it.
//
// Sequences are 20 digits and compared as strings: Lua's numbers are doubles and lose
// integers above 2^53. Receipts are microseconds, which stay below that until 2255.
//
// Duplicates: two hashes map a fingerprint to the receipt of its last record. One of them is
// current: new fingerprints go there. A record that came a window or more after `since`
// empties the other hash and makes that one current, so that together they always reach back
// a whole window. Which of their receipts count is decided by comparing receipts, whichever
// receiver added them and however late the batch is. `state` holds current, since, and how many
// fingerprints each hash has; all three keys expire by themselves, counted from the turn.
//
// KEYS: 1 cursor, 2 dead letters, 3 state of the fingerprints, 4 and 5 fingerprints,
//       6 last event of each hook, 7.. streams
// ARGV: 1 owner, 2 prev, 3 check of the last record, 4 whether all fingerprints are to be
//       forgotten first (0 1), 5 window in microseconds, 6 max fingerprints, 7 milliseconds
//       until they expire, 8 "<journal id>-", 9 number n of hooks, then n hooks,
//       then for each record 14:
//       sequence, index of the stream in KEYS, duplicates (m d k), fingerprint, receipt,
//       event: source type subject time recorded fingerprint-in-hex data query raw
//       dead letter: source hook reason detail recorded content-type query raw, and one
//       empty
// Answer: {word, cursor, duplicates marked, duplicates dropped, notice}
#include "relay/script.h"

// ISO C asks compilers for 4,095 bytes only; ours have no such limit.
#pragma GCC diagnostic ignored "-Woverlength-strings"

const char script_text[] =
    "local key, call = KEYS[1], redis.pcall\n"
    "local c = call('HMGET', key, 'owner', 'sequence')\n"
    "if c.err then return {c.err} end\n"
    "local at = c[2] or '00000000000000000000'\n"
    "if c[1] and c[1] ~= ARGV[1] then return {'FENCED', at} end\n"
    "if at ~= ARGV[2] then return {'AT', at} end\n"
    "local hooks = tonumber(ARGV[9])\n"
    "local first = 10 + hooks\n"
    // everything that can fail, fails here
    "local r = call('HSET', key, 'owner', ARGV[1])\n"
    "if type(r) == 'table' then return {r.err, at} end\n"
    "if ARGV[4] == '1' then\n"
    "  r = call('UNLINK', KEYS[3], KEYS[4], KEYS[5])\n"
    "  if type(r) == 'table' then return {r.err, at} end\n"
    "end\n"
    "local prints, received = {}, nil\n"
    "for i = first, #ARGV, 14 do\n"
    "  if ARGV[i + 2] ~= 'k' then\n"
    "    prints[#prints + 1] = ARGV[i + 3]\n"
    "    received = received or tonumber(ARGV[i + 4])\n"
    "  end\n"
    "end\n"
    // which hash is current, and what the two know of these fingerprints
    "local window, current, other, sizes = tonumber(ARGV[5]), 4, 5, {}\n"
    "local new, old = {}, {}\n"
    "if received then\n"
    "  local s = call('HMGET', KEYS[3], 'current', 'since', '4', '5')\n"
    "  if s.err then return {s.err, at} end\n"
    "  local since = tonumber(s[2])\n"
    "  current = s[1] == '5' and 5 or 4\n"
    "  sizes[4], sizes[5] = tonumber(s[3] or 0), tonumber(s[4] or 0)\n"
    "  if not since then\n"
    "    r = call('UNLINK', KEYS[4], KEYS[5])\n"
    "    sizes[4], sizes[5] = 0, 0\n"
    "  elseif received >= since + window then\n"
    "    current = 9 - current\n"
    "    r = call('UNLINK', KEYS[current])\n"
    "    sizes[current] = 0\n"
    "  end\n"
    "  other = 9 - current\n"
    "  if type(r) == 'table' then return {r.err, at} end\n"
    "  if not since or received >= since + window then\n"
    "    r = call('HSET', KEYS[3], 'current', current, 'since',\n"
    "      string.format('%.0f', received), '4', sizes[4], '5', sizes[5])\n"
    "    if type(r) == 'table' then return {r.err, at} end\n"
    "    call('PEXPIRE', KEYS[3], ARGV[7])\n"
    "  end\n"
    "  for _, set in ipairs({{current, new}, {other, old}}) do\n"
    "    if sizes[set[1]] > 0 then\n"
    "      r = call('HMGET', KEYS[set[1]], unpack(prints))\n"
    "      if r.err then return {r.err, at} end\n"
    "      for i = 1, #r do if r[i] then set[2][prints[i]] = r[i] end end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "local function near(a, b)\n"
    "  return a and math.abs(tonumber(a) - tonumber(b)) <= window\n"
    "end\n"
    "local id, dead = ARGV[8], KEYS[2]\n"
    "local done, word, marked, dropped, add, last = nil, 'OK', 0, 0, {}, nil\n"
    "for i = first, #ARGV, 14 do\n"
    "  local sequence, stream, mode, print, receipt, source, b, c, d, e, f, g, h, raw =\n"
    "    unpack(ARGV, i, i + 13)\n"
    "  stream = KEYS[tonumber(stream)]\n"
    "  local known, again = new[print], false\n"
    "  if mode ~= 'k' then again = near(known, receipt) or near(old[print], receipt) "
    "end\n"
    "  r = nil\n"
    "  if stream == dead then\n"
    "    r = call('XADD', stream, '*', 'ce_id', id .. sequence, 'ce_source', source,\n"
    "      'hook', b, 'reason', c, 'detail', d, 'ce_recordedtime', e,\n"
    "      'content-type', f, 'query', g, 'raw', h)\n"
    "  elseif again and mode == 'd' then\n"
    "    dropped = dropped + 1\n"
    "  else\n"
    "    r = call('XADD', stream, '*', 'ce_specversion', '1.0', 'ce_id', id .. "
    "sequence,\n"
    "      'ce_source', source, 'ce_type', b, 'ce_subject', c, 'ce_time', d,\n"
    "      'ce_recordedtime', e, 'ce_sequence', sequence,\n"
    "      'ce_dataschema', 'urn:acrelay:event:v1', 'ce_fingerprint', f,\n"
    "      'ce_repeat', again and '1' or '0', 'content-type', 'application/json',\n"
    "      'data', g, 'query', h, 'raw', raw)\n"
    "  end\n"
    "  if type(r) == 'table' and r.err then word = r.err break end\n"
    "  done, last = sequence, r or last\n"
    "  if r and mode ~= 'k' then\n"
    "    if again then marked = marked + 1 end\n"
    "    if not known or tonumber(receipt) > tonumber(known) then\n"
    "      new[print] = receipt\n"
    "      add[#add + 1] = print\n"
    "      add[#add + 1] = receipt\n"
    "    end\n"
    "  end\n"
    "end\n"
    "if not done then return {word, at, 0, 0} end\n"
    "redis.call('HSET', key, 'sequence', done, 'check', word == 'OK' and ARGV[3] or '')\n"
    // what is below may fail without harm to the promise: it is told as a notice
    "local notice\n"
    "local function try(...)\n"
    "  local reply = call(...)\n"
    "  if type(reply) == 'table' and reply.err then notice = reply.err return 0 end\n"
    "  return reply\n"
    "end\n"
    "if #add > 0 then\n"
    "  if sizes[4] + sizes[5] + #add / 2 > tonumber(ARGV[6]) then notice = 'FULL'\n"
    "  else\n"
    "    r = try('HSET', KEYS[current], unpack(add))\n"
    "    if sizes[current] == 0 then try('PEXPIRE', KEYS[current], ARGV[7]) end\n"
    "    if r > 0 then try('HSET', KEYS[3], current, sizes[current] + r) end\n"
    "    notice = notice or 'KEPT'\n"
    "  end\n"
    "end\n"
    // Redis's own time, as RFC 3339; the new entry's id where TIME is not permitted
    "local now = hooks > 0 and call('TIME') or {}\n"
    "if now.err then\n"
    "  notice = now.err\n"
    "  now = {last and last:match('^(%d+)%d%d%d%-'), 0}\n"
    "end\n"
    "if now[1] then\n"
    "  local floor, s = math.floor, tonumber(now[1])\n"
    "  local z = floor(s / 86400) + 719468\n"
    "  local era = floor(z / 146097)\n"
    "  local doe = z - era * 146097\n"
    "  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524)\n"
    "    - floor(doe / 146096)) / 365)\n"
    "  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))\n"
    "  local m = floor((5 * doy + 2) / 153)\n"
    "  local month = m < 10 and m + 3 or m - 9\n"
    "  local text = string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ',\n"
    "    yoe + era * 400 + (month <= 2 and 1 or 0), month,\n"
    "    doy - floor((153 * m + 2) / 5) + 1, floor(s / 3600) % 24, floor(s / 60) % 60,\n"
    "    s % 60, now[2])\n"
    "  local set = {}\n"
    "  for i = 10, first - 1 do\n"
    "    set[#set + 1] = ARGV[i]\n"
    "    set[#set + 1] = text\n"
    "  end\n"
    "  try('HSET', KEYS[6], unpack(set))\n"
    "end\n"
    "return {word, done, marked, dropped, notice}\n";
