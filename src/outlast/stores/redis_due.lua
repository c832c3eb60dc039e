-- Jobs whose time has come, the longest due first, then those of dead workers, then ended ones.
local ids, seen = {}, {}

local function add(id)
  if not seen[id] and #ids < A.limit then
    seen[id] = true
    ids[#ids + 1] = id
  end
end

local function of_dead_workers()
  local held = {}
  for _, worker in ipairs(A.dead) do
    for _, id in ipairs(call('ZRANGE', P .. 'w:' .. worker, 0, -1)) do
      held[#held + 1] = {tonumber(call('ZSCORE', P .. 'd', id) or 'inf'), id}
    end
  end
  table.sort(held, function(a, b) return a[1] < b[1] end)
  return held
end

for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'd', '-inf', A.now, 'LIMIT', 0, A.limit)) do add(id) end
for _, held in ipairs(of_dead_workers()) do add(held[2]) end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'x', '-inf', A.now, 'LIMIT', 0, A.limit)) do add(id) end
local found = {}
for i, id in ipairs(ids) do found[i] = shown(id, false, false) end
return found
