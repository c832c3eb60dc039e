-- {key, note} of all notes whose key begins with a prefix. No UTF-8 has a byte 255, so it stands behind them all.
local from, to = '[' .. A.prefix, '(' .. A.prefix .. '\255'
local found = {}
for i, key in ipairs(call('ZRANGEBYLEX', P .. 'n', from, to)) do found[i] = {key, call('HGET', P .. 'nv', key)} end
return found
