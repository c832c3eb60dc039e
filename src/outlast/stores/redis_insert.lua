-- Stores new jobs. Answers for each with itself as it is now, or false if it was stored as it was sent, and its tag.
local function holder(job)
  if call('EXISTS', P .. 'j:' .. job.id) == 1 then return job.id end
  if not job.idempotency_key then return nil end
  local id = call('HGET', P .. 'k', key_of(job))
  local born = id and call('HGET', P .. 'j:' .. id, 'created_at')
  return born and tonumber(born) > tonumber(A.since) and id or nil
end

local function store(new)
  local job = {
    id = new.id, status = new.status, type = new.type, owner = new.owner, rank = new.rank,
    idempotency_key = new.key, next_at = new.next_at,
  }
  local held = holder(job)
  if held then return {shown(held, false, true), false} end
  if new.place then job.tag = tag_of(job, new.place) end
  local row = new.row
  if job.tag then
    row[#row + 1] = 'tag'
    row[#row + 1] = job.tag
  end
  if #new.events > 0 then log(new.id, new.events, new.last, new.time, row) end
  call('HSET', P .. 'j:' .. new.id, unpack(row))
  if new.payload then call('SET', P .. 'p:' .. new.id, new.payload) end
  if new.key then call('HSET', P .. 'k', key_of(job), new.id) end
  record(new.id, new.steps)
  index(new.id, nil, job)
  put('i', new.id, '0')
  put('io:' .. owner_of(job), new.id, '0')
  if new.batch then put('ib:' .. new.batch, new.id, '0') end
  put('types', new.type, '0')
  return {false, job.tag or false}
end

local answers = {}
for i, new in ipairs(A.new) do answers[i] = store(new) end
flush()
tell(true)
return answers
