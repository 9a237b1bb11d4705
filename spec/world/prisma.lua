-- A project of Prisma's in a folder, for PostgreSQL. Its engine is the one that npm's package brings (WebAssembly, with the
-- driver adapter); the native one is downloaded from a host of Prisma's, and no spec does that.
local files = require "spec.world.files"
local npm = require "spec.world.npm"
local process = require "spec.world.process"

local M = {}

local CONFIG = [[
import { PrismaPg } from "@prisma/adapter-pg";
import { defineConfig } from "prisma/config";
export default defineConfig({
  experimental: { adapter: true }, engine: "js", schema: "prisma/schema.prisma",
  adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL, allowExitOnIdle: true }),
});
]]

-- The engine's timer for its lock outlives the lock, and would keep each command for 10 s.
local TIMER = [[
const start = globalThis.setTimeout;
globalThis.setTimeout = (fn, ms, ...more) => {
  const timer = start(fn, ms, ...more);
  return ms === 10000 ? timer.unref() : timer;
};
]]

local SCHEMA = [[
datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}
]]

-- Writes it, and returns the variables that its commands need besides DATABASE_URL.
function M.project(folder)
    local modules = npm.modules { "prisma", "@prisma/adapter-pg", "pg" }
    assert(process.run({ "ln", "-sfn", modules, folder .. "/node_modules" }).code == 0)
    files.write(folder .. "/prisma.config.mjs", CONFIG)
    files.write(folder .. "/prisma/schema.prisma", SCHEMA)
    files.write(folder .. "/prisma/migrations/migration_lock.toml", 'provider = "postgresql"\n')
    -- `resolve` asks the native engine, and it alone, whether the database answers.
    local none = files.write(folder .. "/no-native-engine",
        '#!/bin/sh\ncase "$*" in *can-connect-to-database*) exit 0 ;; esac\nexit 1\n', "755")
    local timer = files.write(folder .. "/timer.cjs", TIMER)
    return { NODE_OPTIONS = "--require " .. timer, PRISMA_QUERY_ENGINE_LIBRARY = none, PRISMA_SCHEMA_ENGINE_BINARY = none,
        CHECKPOINT_DISABLE = "1", npm_config_offline = "true", PRISMA_HIDE_UPDATE_MESSAGE = "1" }
end

function M.migration(folder, name, sql)
    files.write(folder .. "/prisma/migrations/" .. name .. "/migration.sql", sql)
end

return M
