-- {seq, turn} of each of these jobs, false for one that is not there.
local heads = {}
for i, id in ipairs(A.ids) do
  local values = call('HMGET', P .. 'j:' .. id, 'status', 'seq', 'turn')
  heads[i] = values[1] and {values[2] or '0', values[3] or '0'}
end
return heads
