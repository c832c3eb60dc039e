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

-- As lifecycle.claim has it; the contract holds each answer against that.
local function take(id, job, lease, attempt, resumes, started_at)
  local key = P .. 'j:' .. id
  attempt = tonumber(attempt or '0')
  attempt = string.format('%d', resumes and math.max(attempt, 1) or attempt + 1)
  local set = {
    'status', 'processing', 'turn', string.format('%d', tonumber(job.turn) + 1), 'attempt', attempt, 'lease', lease,
    'lease_until', A.till, 'worker', A.worker, 'claimed_at', A.now, 'started_at', started_at or A.now,
  }
  log(id, {started(attempt, resumes)}, 1, A.now, set)
  call('HSET', key, unpack(set))
  if resumes then
    call('HDEL', key, 'resumes', 'tag', 'next_at', 'waiting', 'open_steps')
  else
    call('HDEL', key, 'tag', 'next_at', 'waiting', 'open_steps', 'progress', 'message', 'ran')
  end
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
  local more = call('HMGET', P .. 'j:' .. id, 'cancel_requested_at', 'attempt', 'resumes', 'started_at')
  if more[1] then
    wished[#wished + 1] = shown(id, false, false)
  else
    take(id, job, A.leases:sub(32 * i - 31, 32 * i), more[2], more[3] and true or false, more[4])
    taken[#taken + 1] = shown(id, true, false)
  end
end
flush()
if #taken > 0 then tell(false) end
return {taken, wished, call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')[2] or false}
