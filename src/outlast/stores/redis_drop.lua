-- Removes these notes, and any that expired.
local keys = call('ZRANGEBYSCORE', P .. 'nx', '-inf', A.now)
for _, key in ipairs(A.keys) do keys[#keys + 1] = key end
many('HDEL', P .. 'nv', keys)
many('ZREM', P .. 'n', keys)
many('ZREM', P .. 'nx', keys)
return #keys
