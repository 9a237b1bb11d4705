-- database: what rollout.mysql and rollout.pg share. No playbook names it: its functions are the drivers' (rt.native
-- "database"), and pass no door.
local native, rt = ...

local work = native.parts.work(native, rt)
local statements = native.parts.statements(native, rt, work)
local inspect = native.parts.inspect(native, rt)

for name, fn in pairs(work) do
    native[name] = fn
end

--- The methods of a handle, for the driver to add its own to. A driver is described in docs/design.md, "A database".
function native.module(driver)
    local shared = statements(driver)
    inspect(driver, shared)
    return shared.methods, shared
end

return {}
