-- lua5.4 mk/compile.lua NAME IN OUT: compiles the host's own Lua at build time; parsing it would be most of every start.
-- Line numbers stay. What a playbook brings is text always (core/luaenv.h).
local name, from, to = ...
local file = assert(io.open(from, "rb"))
local text = file:read "a"
file:close()
local chunk, why = load(text, "=[" .. name .. "]", "t")
if not chunk then
    io.stderr:write((why:gsub("^%[" .. name:gsub("%p", "%%%0") .. "%]", from)), "\n")
    os.exit(1)
end
file = assert(io.open(to, "wb"))
assert(file:write((string.dump(chunk))))
assert(file:close())
