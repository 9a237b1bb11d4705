-- migrate_alembic: alembic upgrade. The revisions are told by alembic's own library as JSON, the database's by its table.
local json = require "rollout.json"

local alembic = { options = { to = "string", config = "string" } }

local Alembic = {}
Alembic.__index = Alembic

-- The interpreter that alembic is installed for: { ".venv/bin/python" }, { "docker", "compose", "exec", "-T", "app", "python" }.
local COMMAND = { "python3" }
local TABLE = "alembic_version"
local ROWS = "SELECT version_num AS revision FROM %s ORDER BY version_num"

local PROGRAM = [[
import json, sys
from alembic.config import Config
from alembic.script import ScriptDirectory
script = ScriptDirectory.from_config(Config(sys.argv[1]))
many = lambda value: [value] if isinstance(value, str) else list(value or [])
print(json.dumps({"heads": list(script.get_heads()), "revisions": [
    {"id": r.revision, "down": many(r.down_revision) + many(r.dependencies)} for r in script.walk_revisions("base", "heads")]}))
]]

function alembic.new(migration)
    local given = migration.given
    return setmetatable({ migration = migration, config = given.config or "alembic.ini",
        to = given.to or "head", table = TABLE }, Alembic)
end

local function last_line(text)
    return text:match("([^\n]+)%s*$") or "nothing"
end

-- { heads, order = revisions from the first to the last, down = { id = { ids } } }
function Alembic:scripts()
    local ran = self.migration:read(self.migration:command(COMMAND, "-c", PROGRAM, self.config))
    if ran.code ~= 0 then
        fail(("alembic's revisions cannot be read: %s. Is cwd right, and does `command` name the interpreter that alembic is"
            .. " installed for?"):format(last_line(ran.err)))
    end
    local told = json.decode(last_line(ran.out))
    local scripts = { heads = told.heads, order = {}, down = {} }
    for i = #told.revisions, 1, -1 do
        local revision = told.revisions[i]
        scripts.order[#scripts.order + 1] = revision.id
        scripts.down[revision.id] = revision.down
    end
    return scripts
end

-- The revisions that `ids` stand on, themselves among them.
local function ancestry(scripts, ids)
    local set, list = {}, table.move(ids, 1, #ids, 1, {})
    while #list > 0 do
        local id = table.remove(list)
        if not set[id] and scripts.down[id] then
            set[id] = true
            table.move(scripts.down[id], 1, #scripts.down[id], #list + 1, list)
        end
    end
    return set
end

local function in_order(scripts, set, but)
    local list = {}
    for _, id in ipairs(scripts.order) do
        if set[id] and not but[id] then
            list[#list + 1] = id
        end
    end
    return list
end

function Alembic:target(scripts, problems)
    if self.to == "head" then
        if #scripts.heads > 1 then
            problems[#problems + 1] = ("there are %d heads: %s; join them by `alembic merge`, or name one by to"):format(
                #scripts.heads, table.concat(scripts.heads, ", "))
        end
        return scripts.heads
    end
    local found = {}
    for _, id in ipairs(scripts.order) do
        found[#found + 1] = id:sub(1, #self.to) == self.to and id or nil
    end
    if #found ~= 1 then
        problems[#problems + 1] = ("to = %q names %s"):format(self.to, #found == 0 and "no revision" or "several revisions")
    end
    return found
end

function Alembic:status()
    -- Within the step its files do not change, and asking Python costs most of a second.
    local scripts = self.migration.before and self.told or self:scripts()
    self.told = scripts
    local problems, current = {}, {}
    for i, row in ipairs(self.migration.database:own_rows(TABLE, ROWS)) do
        current[i] = row.revision
        if not scripts.down[row.revision] then
            problems[#problems + 1] = ("the database is at %s, which the project does not have"):format(row.revision)
        end
    end
    local there = ancestry(scripts, current)
    local wanted = ancestry(scripts, self:target(scripts, problems))
    local status = { applied = in_order(scripts, there, {}), pending = in_order(scripts, wanted, there), problems = problems,
        version = table.concat(current, ", ") }
    local back = self.to ~= "head" and #status.pending == 0 and in_order(scripts, there, wanted) or {}
    if #back > 0 then
        status.back, status.pending = back, back
        if not self.migration.given.destructive then
            problems[#problems + 1] = ("to = %q goes back, and takes data away: %s; say destructive = \"why\" or restore"
                .. " the backup"):format(self.to, table.concat(back, ", "))
        end
    end
    if #scripts.order == 0 then
        problems[#problems + 1] = "there is no revision in " .. self.config .. "'s folder"
    end
    return status
end

function Alembic:plan()
    self:apply {}
end

function Alembic:apply(before)
    return self.migration:run_tool(self.migration:command(COMMAND, "-m", "alembic", "-c", self.config,
        before.back and "downgrade" or "upgrade", self.to))
end

return alembic
