-- Disks that fail, are full, or may not be written.
local t = require "spec.helper"
local chain = require "spec.faults.chain"

local ONCE = [[
local sh = require "rollout.sh"
playbook "demo" { environments = { "staging" } }
for i = 1, 5 do
    step("s" .. i, { key = i }, function() sh.run { "sh", "-c", "echo " .. i .. " >>ledger" } end)
end
]]

describe("a sync of the journal that fails", function()
    it("ends the run with 8 at once, is not tried again, and the run can be resumed", function()
        for at = 1, 7 do
            local path, folder = t.playbook(ONCE, "demo")
            local log = folder .. "/log"
            local failed = t.host { path, cwd = folder, state = folder .. "/state", env = { LD_PRELOAD = chain.preload(),
                RH_KILL = "fail:" .. at, RH_KILL_LOG = log } }
            assert.equal(8, failed.code, failed.out .. failed.err)
            assert.matches("cannot write the journal .+ error%. .+: mend the disk, then ", failed.err)
            local commits = t.read(log)
            assert.matches("\nfail\t[^\n]+\n$", "\n" .. commits)
            assert.is_nil(commits:find "again", "synced again after a failure at commit " .. at)
            local resumed = t.host { at == 1 and path or "resume", cwd = folder, state = folder .. "/state" }
            assert.equal(0, resumed.code, resumed.out .. resumed.err)
            assert.equal("1\n2\n3\n4\n5\n", t.read(folder .. "/ledger"))
        end
    end)
end)

-- Runs a script in a mount namespace of its own; also returns why there is none, for pending.
local function in_namespace(script, folder, env)
    local unshare = t.run({ "id", "-u" }).out == "0\n" and "-m" or "-Urm"
    local result = t.run { "unshare", unshare, "sh", "-c", script, "sh", folder, t.binary, env = env, timeout = 100 }
    return result, (result.err:find "unshare failed" or result.code == 99) and result.err
end

describe("a file system that is read-only", function()
    it("as the state folder is refused, and can be looked at", function()
        local path, folder = t.playbook(ONCE, "demo")
        assert.equal(0, t.host({ path, cwd = folder, state = folder .. "/state" }).code)
        local result, missing = in_namespace([[
            mount --bind "$1/state" "$1/state" && mount -o remount,ro,bind "$1/state" || exit 99
            cd "$1"
            for command in demo.lua resume runs show; do
                "$2" $command --state "$1/state" 2>&1; echo "exit $?"
            done]], folder)
        if missing then
            pending("this machine gives no mount namespace: " .. missing)
            return
        end
        local codes = {}
        for code in result.out:gmatch "exit (%d+)" do
            codes[#codes + 1] = code
        end
        assert.same({ "2", "2", "0", "0" }, codes, result.out)
        assert.matches("Read%-only file system", result.out)
    end)
end)

describe("a backup folder that is full", function()
    it("fails the step, leaves nothing, and the run goes on when there is room", function()
        local server = t.mariadb()
        server:sql("create table wine (id int primary key, name varchar(900) default (hex(random_bytes(400)))); "
            .. "insert into wine (id) select seq from seq_1_to_3000", "app")
        local _, folder = t.playbook([[
            local mysql = require "rollout.mysql"
            playbook "demo" { environments = { "staging" } }
            local cfg = env.require { DATABASE_URL = { format = "mysql" } }
            step("back up", function() mysql.database(cfg.DATABASE_URL):dump { to = "backups", name = "b.sql" } end)
        ]], "demo")
        -- Room for what the server says that the tables take, until the dump has begun.
        local result, missing = in_namespace([[
            cd "$1" && mkdir backups && mount -t tmpfs -o size=64m tmpfs backups || exit 99
            (timeout 30 sh -c 'until ls backups/*.partial; do sleep 0.01; done' >/dev/null 2>&1
                head -c 100m /dev/zero >backups/fill 2>/dev/null) &
            "$2" demo.lua --state state; echo "exit $?"
            wait; rm backups/fill; ls -A backups | sed 's/^/left: /'
            "$2" resume --state state >/dev/null; echo "exit $?"; ls -A backups]], folder, { DATABASE_URL = server:url() })
        if missing then
            pending("this machine mounts no tmpfs: " .. missing)
            return
        end
        assert.matches("exit 1\nexit 0\nb.sql\nb.sql.manifest.json\n$", result.out, 1, result.out .. result.err)
        assert.matches("no space left", result.out:lower())
        assert.is_nil(server:sql("show databases"):find "rh_")
    end)
end)
