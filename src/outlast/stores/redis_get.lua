-- The jobs of these ids, false for one that is not there.
local found = {}
for i, id in ipairs(A.ids) do found[i] = shown(id, A.payload, true) end
return found
