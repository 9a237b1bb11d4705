-- database: what rollout.mysql and rollout.pg share. No playbook names it: its functions are the drivers' (rt.native
-- "database"), and pass no door.
local native, rt = ...

local work = native.parts.work(native, rt)
local statements = native.parts.statements(native, rt, work)

for name, fn in pairs(work) do
    native[name] = fn
end

--- The methods of a handle, for the driver to add its own to. A driver is described in docs/design.md, "A database".
function native.module(driver)
    local shared = statements(driver)
    return shared.methods, shared
end

return {}
