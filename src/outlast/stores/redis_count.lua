-- How many jobs there are of each status and type, by the sizes of the indexes.
local found = {}
for _, type in ipairs(A.type and {A.type} or call('ZRANGE', P .. 'types', 0, -1)) do
  for _, status in ipairs(A.status) do
    local n = call('ZCARD', P .. 'is:' .. status .. ':' .. type)
    if n > 0 then found[#found + 1] = {status .. ':' .. type, n} end
  end
end
return found
