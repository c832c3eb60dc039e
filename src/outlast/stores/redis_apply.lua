-- Writes each change that holds, whole. Answers for each with false, or the job as it now is; the id of a job that is
-- not there if there is one, and then nothing was written.
local jobs = {}

local function lay(job, set, gone)
  local after = {
    status = job.status, type = job.type, owner = job.owner, rank = job.rank, tag = job.tag, next_at = job.next_at,
    lease_until = job.lease_until, worker = job.worker, turn = job.turn, lease = job.lease,
  }
  for i = 1, #set, 2 do after[set[i]] = set[i + 1] end
  for i = 1, #gone do after[gone[i]] = false end
  return after
end

local function leave_signals(id, consumed, signal)
  local inbox = P .. 'g:' .. id
  for _, number in ipairs(consumed) do
    call('LSET', inbox, number - 1, '+' .. call('LINDEX', inbox, number - 1):sub(2))
  end
  if signal then call('RPUSH', inbox, signal) end
end

-- What few changes have.
local function write_more(id, more)
  if more.result then call('SET', P .. 'r:' .. id, more.result) end
  if more.no_result then call('DEL', P .. 'r:' .. id) end
  if more.steps then record(id, more.steps) end
  leave_signals(id, more.consumed or {}, more.signal)
  if more.report then
    call('RPUSH', P .. 't:' .. id, more.report)
    call('LTRIM', P .. 't:' .. id, -A.reports, -1)
  end
end

local function write(job, id, set, gone, events, last, time, more)
  if more.place then
    set[#set + 1] = 'tag'
    set[#set + 1] = tag_of(job, more.place)
  end
  local after = lay(job, set, gone)
  if #events > 0 then log(id, events, last, time, set) end
  if #set > 0 then call('HSET', P .. 'j:' .. id, unpack(set)) end
  if #gone > 0 then call('HDEL', P .. 'j:' .. id, unpack(gone)) end
  write_more(id, more)
  index(id, job, after)
  jobs[id] = after
end

-- Answers with false, or the job if the change does not hold.
local function apply(id, turn, lease, till, ...)
  local job = jobs[id]
  local holds = (not turn or turn == job.turn) and (not lease or lease == job.lease)
    and (not till or till == job.lease_until)
  if not holds then return shown(id, false, true) end
  write(job, id, ...)
  return false
end

for _, change in ipairs(A.changes) do
  local id = change[1]
  jobs[id] = jobs[id] or row_of(id)
  if not jobs[id] then return id end
end
local answers, wrote, ready = {}, false, false
for i, change in ipairs(A.changes) do
  answers[i] = apply(unpack(change))
  wrote = wrote or not answers[i]
  ready = ready or not answers[i] and change[10].place
end
flush()
if wrote then tell(ready) end
return answers
