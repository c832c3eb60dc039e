-- {number, event} of a job's log after a number, without output.
local found, at = {}, A.after
while #found < A.limit do
  local page = call('LRANGE', P .. 'e:' .. A.id, at, at + A.page - 1)
  for _, event in ipairs(page) do
    at = at + 1
    if #found < A.limit and event:sub(1, 13) ~= '["job.output.' then found[#found + 1] = {at, event} end
  end
  if #page < A.page then break end
end
return found
