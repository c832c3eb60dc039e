-- Writes a note if its version is the one given (false: whatever it is). Answers with the new version, or false.
local held = call('HGET', P .. 'nv', A.key)
local version, expires = 0, nil
if held then
  version, expires = held:match('^(%d+) (%S*) ')
  version = tonumber(version)
  if expires ~= '' and tonumber(expires) <= tonumber(A.now) then version = 0 end
end
if A.version and tonumber(A.version) ~= version then return false end
version = string.format('%d', version + 1)
call('HSET', P .. 'nv', A.key, version .. ' ' .. (A.expires or '') .. ' ' .. A.value)
call('ZADD', P .. 'n', 0, A.key)
if A.expires then call('ZADD', P .. 'nx', A.expires, A.key) else call('ZREM', P .. 'nx', A.key) end
return version
