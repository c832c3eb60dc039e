-- Takes ready jobs in their order, each under a lease of its own. Answers {taken, wished, when a job is due}; those with
-- a wish to cancel are left as they are, for lifecycle to decide.
local function among(types)
  local known = {}
  for _, type in ipairs(types) do known[type] = true end
  return known
end

local function chosen_by_id()
  local known, members, seen = among(A.types), {}, {}
  for _, id in ipairs(A.ids) do
    local job = not seen[id] and row_of(id)
    seen[id] = true
    if job and job.tag and known[job.type] then members[#members + 1] = member_of(id, job) end
  end
  return members
end

local function chosen_by_type()
  local members, lines = {}, 0
  for _, type in ipairs(A.types) do
    local line = call('ZRANGE', P .. 'q:' .. type, 0, A.n - 1)
    if #line > 0 then lines = lines + 1 end
    for i = 1, #line do members[#members + 1] = line[i] end
  end
  return members, lines < 2
end

local function started(attempt, resumes)
  return '["job.started",' .. A.now .. ',' .. attempt
    .. ',{"status":"processing","resumes":' .. tostring(resumes) .. '}]'
end

-- As lifecycle.claim has it; the store checks one of each answer against it in its tests.
local function take(id, job, lease)
  local key = P .. 'j:' .. id
  local more = call('HMGET', key, 'attempt', 'resumes', 'started_at')
  local attempt, resumes = tonumber(more[1] or '0'), more[2] and true or false
  attempt = string.format('%d', resumes and math.max(attempt, 1) or attempt + 1)
  local events = {started(attempt, resumes)}
  local seq = string.format('%d', call('RPUSH', P .. 'e:' .. id, unpack(events)))
  call('HSET', key, 'status', 'processing', 'turn', string.format('%d', tonumber(job.turn) + 1), 'attempt', attempt,
    'lease', lease, 'lease_until', A.till, 'worker', A.worker, 'claimed_at', A.now, 'started_at', more[3] or A.now,
    'seq', seq, 'version', seq, 'updated_at', A.now)
  call('HDEL', key, 'resumes', 'tag', 'next_at', 'waiting', 'open_steps')
  if not resumes then call('HDEL', key, 'progress', 'message', 'ran') end
  index(id, job, {
    status = 'processing', type = job.type, owner = job.owner, rank = job.rank, tag = false, next_at = false,
    lease_until = A.till, worker = A.worker,
  })
end

local members, sorted
if A.ids then members, sorted = chosen_by_id(), false else members, sorted = chosen_by_type() end
if not sorted then table.sort(members, before) end
local taken, wished = {}, {}
for i = 1, math.min(A.n, #members) do
  local id = members[i]:sub(14)
  local job = row_of(id)
  if call('HEXISTS', P .. 'j:' .. id, 'cancel_requested_at') == 1 then
    wished[#wished + 1] = shown(id, false, false)
  else
    take(id, job, A.leases:sub(32 * i - 31, 32 * i))
    taken[#taken + 1] = shown(id, true, false)
  end
end
flush()
if #taken > 0 then tell(false) end
return {taken, wished, call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')[2] or false}
