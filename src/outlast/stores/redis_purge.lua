-- Removes ended jobs with all that belongs to them. Answers with the ids removed.
local function remove(id, job)
  local more = call('HMGET', P .. 'j:' .. id, 'idempotency_key', 'batch_id')
  job.idempotency_key = more[1]
  index(id, job, nil)
  put('i', id, false)
  put('io:' .. owner_of(job), id, false)
  if more[2] then put('ib:' .. more[2], id, false) end
  if more[1] and call('HGET', P .. 'k', key_of(job)) == id then call('HDEL', P .. 'k', key_of(job)) end
  call('UNLINK', P .. 'j:' .. id, P .. 'p:' .. id, P .. 'r:' .. id, P .. 'e:' .. id, P .. 's:' .. id, P .. 'g:' .. id,
    P .. 't:' .. id)
end

local removed = {}
for _, id in ipairs(A.ids) do
  local job = row_of(id)
  if job and ENDED[job.status] and (not A.owner or A.owner == owner_of(job)) then
    remove(id, job)
    removed[#removed + 1] = id
  end
end
flush()
if #removed > 0 then tell(false) end
return removed
