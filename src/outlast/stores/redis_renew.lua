-- Makes each lease that is still the job's own last longer. Answers with {seq, turn}, or false where it is not.
local function renew(one)
  local job = row_of(one[1])
  if not job or job.lease ~= one[2] then return false end
  call('HSET', P .. 'j:' .. one[1], 'lease_until', A.till)
  job.lease_until = A.till
  put('d', one[1], due_of(job))
  return {call('HGET', P .. 'j:' .. one[1], 'seq') or '0', job.turn or '0'}
end

local answers = {}
for i, one in ipairs(A.leases) do answers[i] = renew(one) end
flush()
return answers
