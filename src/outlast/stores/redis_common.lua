-- What every script begins with: the keys of a namespace, a job's row, and the indexes that follow from it.
--
-- KEYS[1] is the prefix of all keys, ARGV[1] the arguments as JSON, in which `false` stands for nothing. Times come as
-- the text that Python gives them, and are stored as that text: Lua compares them and never calculates with them.
--
--   j:ID  the row, a hash of what is not as it is by itself    p:ID  payload       r:ID  result
--   e:ID  events, a list: the place is the number              s:ID  steps, a hash by key
--   g:ID  signals, a list                                      t:ID  reports, a list
--   q:TYPE        ready jobs, by rank, tag and id              d     live jobs, by when the clock moves them
--   f:RANK        ready jobs, by tag                           x     ended jobs, by when they are purged
--   o:RANK:OWNER  the owner's ready jobs, by tag               w:WORKER  the jobs it holds
--   i, io:OWNER, ib:BATCH, is:STATUS:TYPE  jobs, by id         types, k: idempotency keys; n, nv, nx: records
--   schema        the number of this layout
local P = KEYS[1]
local A = cjson.decode(ARGV[1])
local call = redis.call
local CHUNK = 1000
local ENDED = {completed = true, failed = true, cancelled = true}

-- Calls with many arguments, in parts that fit on Lua's stack.
local function many(command, key, args)
  for i = 1, #args, CHUNK do
    call(command, key, unpack(args, i, math.min(i + CHUNK - 1, #args)))
  end
end

-- The order of sorted sets, byte by byte; Lua's own `<` goes by the locale that the server was started in.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Writes to sorted sets, gathered by key until `flush`; of two to one member the later counts.
local pending = {}

local function put(key, member, score)
  local members = pending[key]
  if not members then
    members = {}
    pending[key] = members
  end
  members[member] = score
end

local function flush()
  for key, members in pairs(pending) do
    local add, rem = {}, {}
    for member, score in pairs(members) do
      if score then
        add[#add + 1] = score
        add[#add + 1] = member
      else
        rem[#rem + 1] = member
      end
    end
    many('ZREM', P .. key, rem)
    many('ZADD', P .. key, add)
  end
  pending = {}
end

local function owner_of(job)
  return job.owner and '=' .. job.owner or '-'
end

local function key_of(job)
  return #owner_of(job) .. owner_of(job) .. job.idempotency_key
end

-- The row as a table of these fields; nil if there is none.
local function row_of(id)
  local row = call('HMGET', P .. 'j:' .. id, 'status', 'type', 'owner', 'rank', 'tag', 'next_at', 'lease_until',
    'worker', 'turn', 'lease')
  if not row[1] then return nil end
  return {
    status = row[1], type = row[2], owner = row[3], rank = row[4], tag = row[5], next_at = row[6],
    lease_until = row[7], worker = row[8], turn = row[9], lease = row[10],
  }
end

-- A job for an answer: its row, payload and result.
local function shown(id, payload, result)
  local row = call('HGETALL', P .. 'j:' .. id)
  if #row == 0 then return false end
  return {row, payload and call('GET', P .. 'p:' .. id), result and call('GET', P .. 'r:' .. id)}
end

-- Least tag of a rank, and greatest of an owner in it, as read or as written since.
local fronts, backs = {}, {}

local function forget_tags()
  fronts, backs = {}, {}
end

local function edge(known, key, command)
  if known[key] == nil then
    flush()
    local found = call(command, P .. key, 0, 0, 'WITHSCORES')
    known[key] = tonumber(found[2]) or false
  end
  return known[key]
end

local function back_key(job)
  return 'o:' .. job.rank .. ':' .. owner_of(job)
end

local function tag_of(job, place)
  local front = edge(fronts, 'f:' .. job.rank, 'ZRANGE') or 0
  if place == 'front' then return string.format('%d', front) end
  local own = edge(backs, back_key(job), 'ZREVRANGE') or front - 1
  return string.format('%d', math.max(front, own + 1))
end

local function member_of(id, job)
  return job.rank .. string.format('%012d', tonumber(job.tag)) .. id
end

local function queue(id, job, there)
  put('q:' .. job.type, member_of(id, job), there and '0')
  put('f:' .. job.rank, id, there and job.tag)
  put(back_key(job), id, there and job.tag)
  if not there then return forget_tags() end
  local tag, front, back = tonumber(job.tag), fronts['f:' .. job.rank], backs[back_key(job)]
  if front ~= nil then fronts['f:' .. job.rank] = math.min(front or tag, tag) end
  if back ~= nil then backs[back_key(job)] = math.max(back or tag, tag) end
end

local function due_of(job)
  if job.next_at and job.lease_until then
    return tonumber(job.lease_until) < tonumber(job.next_at) and job.lease_until or job.next_at
  end
  return job.next_at or job.lease_until
end

-- Brings every index from what the row was to what it is now; nil for a job that is not there.
local function index(id, old, new)
  old, new = old or {}, new or {}
  if old.status ~= new.status then
    if old.status then put('is:' .. old.status .. ':' .. old.type, id, false) end
    if new.status then put('is:' .. new.status .. ':' .. new.type, id, '0') end
  end
  if old.tag ~= new.tag then
    if old.tag then queue(id, old, false) end
    if new.tag then queue(id, new, true) end
  end
  if old.worker ~= new.worker then
    if old.worker then put('w:' .. old.worker, id, false) end
    if new.worker then put('w:' .. new.worker, id, '0') end
  end
  local was, is = ENDED[old.status] and 'x' or 'd', ENDED[new.status] and 'x' or 'd'
  local was_due, is_due = due_of(old), due_of(new)
  if was ~= is or was_due ~= is_due then
    if was_due then put(was, id, false) end
    if is_due then put(is, id, is_due) end
  end
end

-- Adds events to a job's log, and what that counts to the fields to be set. `last` is the place among the events of the
-- last that is no output, 0 if all are.
local function log(id, events, last, time, set)
  local seq, n = nil, #set
  for i = 1, #events, CHUNK do
    seq = call('RPUSH', P .. 'e:' .. id, unpack(events, i, math.min(i + CHUNK - 1, #events)))
  end
  set[n + 1], set[n + 2], set[n + 3], set[n + 4] = 'seq', string.format('%d', seq), 'updated_at', time
  if last > 0 then
    set[n + 5], set[n + 6] = 'version', string.format('%d', seq - #events + last)
  end
end

-- Steps as key, text, key, text: a text that begins with "+" is a completed step, which nothing overwrites.
local function record(id, steps)
  local key = P .. 's:' .. id
  for i = 1, #steps, 2 do
    local held = call('HGET', key, steps[i])
    if not held or held:sub(1, 1) ~= '+' then call('HSET', key, steps[i], steps[i + 1]) end
  end
end

-- Tells whoever listens that something was written, and by whom; "1" if a job may have become claimable.
local function tell(ready)
  call('PUBLISH', P .. 'news', (ready and '1' or '0') .. A.me)
end
