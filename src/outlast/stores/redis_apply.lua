-- Writes each change that holds, whole. Answers for each with false, or the job as it now is; the id of a job that is
-- not there if there is one, and then nothing was written.
local jobs = {}

local function holds(change, job)
  return (not change.turn or change.turn == job.turn)
    and (not change.lease or change.lease == job.lease)
    and (not change.till or change.till == job.lease_until)
end

local function lay(change, job)
  local after = {}
  for name, value in pairs(job) do after[name] = value end
  for i = 1, #change.set, 2 do after[change.set[i]] = change.set[i + 1] end
  for _, name in ipairs(change.gone) do after[name] = false end
  if change.place then after.tag = tag_of(job, change.place) end
  return after
end

local function leave_signals(change)
  local inbox = P .. 'g:' .. change.id
  for _, number in ipairs(change.consumed) do
    local signal = call('LINDEX', inbox, number - 1)
    call('LSET', inbox, number - 1, '+' .. signal:sub(2))
  end
  if change.signal then call('RPUSH', inbox, change.signal) end
end

local function write(change, job)
  local id, key = change.id, P .. 'j:' .. change.id
  local after = lay(change, job)
  if #change.set > 0 then call('HSET', key, unpack(change.set)) end
  if #change.gone > 0 then call('HDEL', key, unpack(change.gone)) end
  if change.place then call('HSET', key, 'tag', after.tag) end
  if #change.events > 0 then log(id, change.events, change.last, change.time) end
  if change.result then
    if #change.result > 0 then call('SET', P .. 'r:' .. id, change.result[1]) else call('DEL', P .. 'r:' .. id) end
  end
  record(id, change.steps)
  leave_signals(change)
  if change.report then
    call('RPUSH', P .. 't:' .. id, change.report)
    call('LTRIM', P .. 't:' .. id, -A.reports, -1)
  end
  index(id, job, after)
  jobs[id] = after
end

for _, change in ipairs(A.changes) do
  jobs[change.id] = jobs[change.id] or row_of(change.id)
  if not jobs[change.id] then return change.id end
end
local answers, ready, wrote = {}, false, false
for i, change in ipairs(A.changes) do
  if holds(change, jobs[change.id]) then
    write(change, jobs[change.id])
    answers[i], wrote, ready = false, true, ready or change.place
  else
    answers[i] = shown(change.id, false, true)
  end
end
flush()
if wrote then tell(ready) end
return answers
