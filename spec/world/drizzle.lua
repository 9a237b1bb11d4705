-- A project of drizzle's in a folder: package.json with db:push, a config that takes DATABASE_URL, and a schema.
local files = require "spec.world.files"
local npm = require "spec.world.npm"
local process = require "spec.world.process"

local M = {}

local CONFIG = [[
module.exports = { dialect: %q, schema: "./schema.js", out: "./drizzle",
    dbCredentials: { url: process.env.DATABASE_URL }, tablesFilter: ["clients", "orders"] };
]]

local CORE = { mysql = { "mysql-core", "mysqlTable", "int" }, postgresql = { "pg-core", "pgTable", "integer" } }

local Project = {}
Project.__index = Project

-- dialect: "mysql" or "postgresql"
function M.project(folder, dialect)
    local modules = npm.modules { "drizzle-kit", "drizzle-orm", "mysql2", "pg" }
    assert(process.run({ "ln", "-sfn", modules, folder .. "/node_modules" }).code == 0)
    files.write(folder .. "/drizzle.config.js", CONFIG:format(dialect))
    files.write(folder .. "/package.json", [[{ "name": "shop", "version": "1.0.0", "scripts": {
        "db:push": "drizzle-kit push --verbose", "db:force": "drizzle-kit push --force" } }]])
    return setmetatable({ folder = folder, dialect = dialect }, Project)
end

-- Writes the schema: clients with these columns of text beside its key, as { plan = "plan" }.
function Project:schema(columns)
    local core = CORE[self.dialect]
    local lines = {}
    for _, name in ipairs(columns) do
        lines[#lines + 1] = (", %s: text(%q)"):format(name, name)
    end
    files.write(self.folder .. "/schema.js", ([[
const { %s: table, %s: int, text } = require("drizzle-orm/%s");
exports.clients = table("clients", { id: int("id").primaryKey()%s });
]]):format(core[2], core[3], core[1], table.concat(lines)))
end

-- What a developer does: writes the next migration into drizzle/.
function Project:generate(name, url)
    local made = process.run { "npx", "--no", "drizzle-kit", "generate", "--name", name, cwd = self.folder,
        env = { DATABASE_URL = url }, input = "", timeout = 60 }
    assert(made.code == 0, made.out .. made.err)
end

return M
