-- migrate_drizzle: drizzle-kit push (the schema's files are made true in the database) or drizzle-kit migrate (files with a
-- table). push asks before it destroys data, and where nobody can answer it ends with exit code 0 and nothing done: so only
-- its own word that it is done counts. Nobody answers here.
local fs, json = require "rollout.fs", require "rollout.json"

local drizzle = { options = { how = "string", dir = "string" } }

local Drizzle = {}
Drizzle.__index = Drizzle

local COMMAND = {
    push = { "npx", "--no", "--", "drizzle-kit", "push" },
    migrate = { "npx", "--no", "--", "drizzle-kit", "migrate" },
}
local TABLE = "__drizzle_migrations"
local ROWS = "SELECT created_at AS made FROM %s ORDER BY created_at"
local SCHEMA = "the project's schema"

function drizzle.new(migration)
    local given = migration.given
    local how = given.how or "push"
    if not COMMAND[how] then
        error(("%s: how is \"push\" or \"migrate\", not %q"):format(migration.name, how), 0)
    end
    return setmetatable({ migration = migration, how = how, command = given.command or COMMAND[how],
        dir = migration:path(given.dir or "drizzle") }, Drizzle)
end

-- ---- migrate: files and a table ----

function Drizzle:from_files()
    local path = self.dir .. "/meta/_journal.json"
    local problems, status = {}, { applied = {}, pending = {} }
    status.problems = problems
    if not fs.exists(path) then
        problems[1] = "there is no " .. path .. ": are cwd and dir right?"
        return status
    end
    local last = 0
    for _, row in ipairs(self.migration.database:own_rows(TABLE, ROWS)) do
        last = math.max(last, math.tointeger(tonumber(row.made)) or 0)
    end
    for _, entry in ipairs(json.decode(fs.read(path)).entries) do
        -- drizzle's own rule: what is younger than the youngest that is applied
        local list = entry.when > last and status.pending or status.applied
        list[#list + 1] = entry.tag
    end
    status.version = status.applied[#status.applied]
    return status
end

-- ---- push: no files ----

-- pnpm db:push → what package.json says it is.
function Drizzle:script()
    local words = {}
    for _, word in ipairs(self.command) do
        words[#words + 1] = tostring(word)
    end
    local line = table.concat(words, " ")
    local path = self.migration:path("package.json")
    if fs.exists(path) then
        local scripts = json.decode(fs.read(path)).scripts or {}
        for _, word in ipairs(words) do
            line = line .. (type(scripts[word]) == "string" and " → " .. scripts[word] or "")
        end
    end
    return line
end

local function plain(text)
    return (text:gsub("\27%[[%d;?]*%a", ""):gsub("\r", "\n"))
end

-- Its word: "done", "same", or nil and what it said it would do.
local function verdict(ran)
    local said = plain(ran.out .. "\n" .. ran.err)
    local asks = said:find("data%-loss") or said:find("DATA LOSS") or said:find("Interactive prompts require a TTY")
        or said:find("Do you still want") or said:find("Are you sure") or said:find("created or renamed")
    if not asks and said:find("Changes applied", 1, true) then
        return "done"
    elseif not asks and said:find("No changes detected", 1, true) then
        return "same"
    end
    local statements = {}
    for line in said:gmatch("[^\n]+") do
        if line:find("^%s*·") or line:find("^%s*ALTER ") or line:find("^%s*DROP ") or line:find("^%s*TRUNCATE ")
            or line:find("created or renamed") then
            statements[#statements + 1] = (line:gsub("^[%s·]+", ""))
        end
    end
    return nil, asks and statements
end

function Drizzle:from_schema()
    local status = { applied = {}, pending = { SCHEMA }, problems = {}, repeatable = true }
    if self.pushed then
        status.applied, status.pending = status.pending, {}
    end
    return status
end

-- What speaks against running it at all.
function Drizzle:problems()
    local list = {}
    local script = self.how == "push" and self:script() or ""
    if script:find("%-%-force") and not self.migration.given.destructive then
        list[1] = ("`%s` answers its data-loss question by itself: take --force out, or say destructive = \"why\""):format(
            script)
    end
    local tool = self.migration.given.command and { "sh", "-c", 'command -v "$1"', "sh", self.command[1] }
        or { "npx", "--no", "--", "drizzle-kit", "--version" }
    list[#list + 1] = self.migration:cannot_run(tool)
    return list
end

function Drizzle:status(thorough)
    local status = self.how == "migrate" and self:from_files() or self:from_schema()
    for _, problem in ipairs(thorough and self:problems() or {}) do
        table.insert(status.problems, 1, problem)
    end
    return status
end

--- What push would do. It is told to ask before it does anything, and there is nobody to answer.
function Drizzle:check()
    if self.how == "migrate" then
        return self:status(true)
    end
    local status = { pending = {}, problems = self:problems() }
    if #status.problems == 0 then
        local argv = self.migration:command(self.command)
        if argv[1] == "npm" then -- else they would be npm's own
            argv[#argv + 1] = "--"
        end
        argv[#argv + 1], argv[#argv + 2] = "--strict", "--verbose"
        local ran = self.migration:read(argv)
        local word, statements = verdict(ran)
        if word ~= "same" then
            status.problems[1] = statements and #statements > 0 and "the schema differs: " .. table.concat(statements, "; ")
                or "drizzle-kit did not say that there are no changes: " .. (plain(ran.err .. ran.out):match("([^\n]+)%s*$") or "")
        end
    end
    return status
end

function Drizzle:plan()
    self.migration:run_tool(self.migration:command(self.command))
end

function Drizzle:apply()
    self.pushed = nil
    local ran = self.migration:run_tool(self.migration:command(self.command))
    if self.how == "push" and ran.code == 0 and not ran.ended then
        local word, statements = verdict(ran)
        self.pushed = word
        if not word then
            ran.why = statements and #statements > 0
                and "it asks whether to destroy data, and nobody answers that here: " .. table.concat(statements, "; ")
                or "it ended with exit code 0, and did not say that the changes were applied"
        end
    end
    return ran
end

return drizzle
