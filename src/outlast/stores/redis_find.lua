-- A part of a list or count: looks at no more than A.most jobs. Answers {jobs or counts, last id looked at or false}.
local STATUSES = {'queued', 'processing', 'waiting', 'retrying', 'completed', 'failed', 'cancelled'}

-- The indexes that together hold all that is asked for.
local function sources()
  if A.batch then return {'ib:' .. A.batch} end
  if A.owner then return {'io:' .. A.owner} end
  if not A.status and not A.type then return {'i'} end
  local found = {}
  for _, type in ipairs(A.type and {A.type} or call('ZRANGE', P .. 'types', 0, -1)) do
    for _, status in ipairs(A.status or STATUSES) do found[#found + 1] = 'is:' .. status .. ':' .. type end
  end
  return found
end

local function page(most)
  local ids, froms = {}, 0
  local from = A.before and '(' .. A.before
  for _, source in ipairs(sources()) do
    local part
    if A.oldest_first then
      part = call('ZRANGEBYLEX', P .. source, from or '-', '+', 'LIMIT', 0, most)
    else
      part = call('ZREVRANGEBYLEX', P .. source, from or '+', '-', 'LIMIT', 0, most)
    end
    if #part > 0 then froms = froms + 1 end
    for i = 1, #part do ids[#ids + 1] = part[i] end
  end
  if froms > 1 then
    table.sort(ids, A.oldest_first and before or function(a, b) return before(b, a) end)
  end
  return ids
end

local function has(list, wanted)
  for _, one in ipairs(list or {}) do
    if one == wanted then return true end
  end
  return false
end

local function matches(job)
  local created, updated = tonumber(job.created_at or '0'), tonumber(job.updated_at or '0')
  return (not A.owner or A.owner == owner_of(job))
    and (not A.status or has(A.status, job.status))
    and (not A.type or A.type == job.type)
    and (not A.batch or A.batch == job.batch_id)
    and (not A.created_after or created > tonumber(A.created_after))
    and (not A.created_before or created < tonumber(A.created_before))
    and (not A.updated_after or updated > tonumber(A.updated_after))
    and (not A.tag or has(job.asked and cjson.decode(job.asked).tags, A.tag))
end

local FIELDS = {'status', 'type', 'owner', 'batch_id', 'created_at', 'updated_at', 'asked'}

local function job_of(id)
  local values, job = call('HMGET', P .. 'j:' .. id, unpack(FIELDS)), {}
  for i = 1, #FIELDS do job[FIELDS[i]] = values[i] end
  return job
end

local ids, found, counts = page(A.most), {}, {}
local last = false
for i = 1, math.min(A.most, #ids) do
  local job = job_of(ids[i])
  last = ids[i]
  if matches(job) then
    if A.counting then
      local key = job.status .. ':' .. job.type
      counts[key] = (counts[key] or 0) + 1
    else
      found[#found + 1] = shown(ids[i], false, false)
    end
  end
  if #found == A.want then break end
end
if #ids < A.most and last == ids[#ids] then last = false end
for key, n in pairs(counts) do found[#found + 1] = {key, n} end
return {found, last}
