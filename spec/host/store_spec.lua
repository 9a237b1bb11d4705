-- What is recorded survives: full disks, edits, newer versions, a second run, foreign folders.
local t = require "spec.helper"

local LEDGER = [[
local sh = require "rollout.sh"
playbook "books" { environments = { "staging", "production" } }
for _, name in ipairs { "one", "two", "three" } do
    step(name, function() sh.run { "sh", "-c", "echo " .. name .. " >> %s" } end)
end
]]

local WAITING = [[
local sh = require "rollout.sh"
playbook "slow" { environments = { "staging" } }
step("begin", function() return 1 end)
wait("1h")
]]

local function host(state, ...)
    return t.host { state = state, ... }
end

local function sql(state, text)
    local result = t.run { "sh", "-c", 'sqlite3 "$1"/runs/*/journal.db "$2"', "sh", state, text }
    assert.equal(0, result.code, result.err)
    return result.out
end

describe("a journal", function()
    local path, folder, state, ledger

    before_each(function()
        folder = t.temp()
        ledger, state = folder .. "/ledger", folder .. "/state"
        path = t.playbook(LEDGER:format(ledger), "books", folder)
    end)

    it("holds the run, whole", function()
        assert.equal(0, host(state, path, "--env", "staging").code)
        local shown = host(state, "show", "books", "--verify")
        assert.equal(0, shown.code)
        assert.matches("the journal is whole", shown.out)
        assert.equal("wal\n", sql(state, "pragma journal_mode"))
    end)

    it("that was edited is found out and not gone on from", function()
        assert.equal(0, host(state, path, "--env", "staging").code)
        sql(state, "update event set payload = replace(payload, 'two', 'owt') where type = 'step.begin'")
        for _, command in ipairs { { "show", "books", "--verify" }, { "resume", "books" } } do
            local result = host(state, table.unpack(command))
            assert.equal(8, result.code)
            assert.matches("event %d+ does not fit its hash chain", result.err)
        end
        assert.matches("books.-succeeded", host(state, "runs").out) -- which reads only what it tells,
        sql(state, "update event set payload = replace(payload, 'succeeded', 'stopped') where type = 'run.end'")
        assert.matches("books.-damaged", host(state, "runs").out) -- and does not believe an edit of that
    end)

    it("whose end was cut off is found out and not gone on from", function()
        assert.equal(0, host(state, path, "--env", "staging").code)
        sql(state, "delete from event where seq > 3")
        for _, command in ipairs { { "show", "books", "--verify" }, { "resume", "books" } } do
            local result = host(state, table.unpack(command))
            assert.equal(8, result.code, result.out)
            assert.matches("was cut: it ends with event 3, and %d+ were written", result.err)
        end
        assert.matches("damaged", host(state, "runs").out)
        assert.equal(0, t.run({ "sh", "-c", 'rm "$1"/runs/*/journal.tip', "sh", state }).code)
        assert.equal(0, host(state, "resume", "books").code) -- by who knows what was cut off
    end)

    it("may be newer than its tip, or have none", function()
        assert.equal(0, host(state, path, "--env", "staging").code)
        local tip = t.run({ "sh", "-c", 'echo "$1"/runs/*/journal.tip', "sh", state }).out:gsub("\n", "")
        local hash = sql(state, "select lower(hex(hash)) from event where seq = 2"):gsub("\n", "")
        for _, text in ipairs { ("%020d %s\n"):format(2, hash), "", "rubbish" } do
            t.write(tip, text)
            assert.equal(0, host(state, "show", "books", "--verify").code)
            assert.matches("succeeded", host(state, "runs").out)
        end
        t.write(tip, ("%020d %s\n"):format(3, hash)) -- another event was written there
        assert.equal(8, host(state, "show", "books", "--verify").code)
        os.remove(tip)
        assert.equal(0, host(state, "show", "books", "--verify").code)
    end)

    it("of a newer version is refused by that version's name", function()
        assert.equal(0, host(state, path, "--env", "staging").code)
        sql(state, "pragma user_version = 9; update meta set value = '7.1.0' where name = 'host'")
        local result = host(state, "resume", "books")
        assert.equal(8, result.code)
        assert.matches("was written by rollouthost 7.1.0", result.err, 1, true)
    end)

    it("that is damaged is an error and no crash", function()
        assert.equal(0, host(state, path, "--env", "staging").code)
        local file = t.run({ "sh", "-c", 'echo "$1"/runs/*/journal.db', "sh", state }).out:gsub("\n", "")
        t.write(file, t.read(file):sub(1, 4096) .. ("Z"):rep(8192))
        local result = host(state, "resume", "books")
        assert.equal(8, result.code)
        assert.matches("damaged", result.err)
    end)
end)

-- In a mount namespace of its own, a small file system is filled a little less each time.
describe("a full disk", function()
    local SCRIPT = [[
        mount -t tmpfs -o size=500k tmpfs "$1" || exit 99
        for left in 0 4 8 16 32 48 64 80 96 112 128 160 200; do
            rm -rf "$1"/* "$3"; head -c 1m /dev/zero > "$1/fill" 2>/dev/null
            head -c $((left * 1024)) /dev/zero > "$1/hole.$left" 2>/dev/null
            truncate -s -$((left * 1024)) "$1/fill"; rm "$1/hole.$left"
            "$2" "$4" --env staging --state "$1/state" > "$1.out" 2> "$1.err"; first=$?
            rm "$1/fill"
            "$2" resume --state "$1/state" > "$1.again" 2>&1; second=$?
            printf '%s %s %s %s|%s\n' "$left" "$first" "$second" "$(tr '\n' ',' < "$3" 2>/dev/null)" "$(cat "$1.err")"
        done]]

    it("ends the run with 8, loses nothing and does nothing twice", function()
        local folder = t.temp()
        local ledger = folder .. "/ledger"
        local path = t.playbook(LEDGER:format(ledger), "books", folder)
        assert(t.run({ "mkdir", folder .. "/small" }).code == 0)
        local unshare = { "unshare", "-m" }
        if t.run({ "id", "-u" }).out ~= "0\n" then
            unshare = { "unshare", "-Urm" }
        end
        if t.run({ unshare[1], unshare[2], "true" }).code ~= 0 then
            pending("this machine gives no mount namespace")
            return
        end
        local result = t.run { unshare[1], unshare[2], "sh", "-c", SCRIPT, "sh", folder .. "/small", t.binary, ledger, path,
            timeout = 120 }
        if result.code == 99 then
            pending("this machine mounts no tmpfs: " .. result.err)
            return
        end
        local codes = {}
        for line in result.out:gmatch("[^\n]+") do
            local left, first, second, done, message = line:match("^(%d+) (%d+) (%d+) (%S*)|(.*)$")
            assert(left, line)
            codes[first] = true
            if first == "0" then
                assert.equal("one,two,three,", done, line)
            else
                assert.equal("8", first, line)
                assert.is_truthy(message:find("disk is full") or message:find("No space left"), line)
                if second == "0" then -- it had begun, and goes on
                    assert.equal("one,two,three,", done, line)
                elseif second == "7" then -- the guardian's own record of an end was lost: asked, not repeated
                    assert.matches("^one", done)
                else
                    assert.equal("2", second, line) -- it had not
                    assert.equal("", done, line)
                end
            end
        end
        assert.is_true(codes["8"] and codes["0"], result.out .. result.err)
    end)
end)

describe("an environment", function()
    it("serves one run, until that one is dead", function()
        local path, folder = t.playbook(WAITING, "slow")
        local state = folder .. "/state"
        local first = t.start_host { path, state = state }
        first:wait_for("wait")
        local second = host(state, path)
        assert.equal(6, second.code)
        assert.matches("staging of slow is held by run slow%-%d+%-%d+%-%x+, .+ since .+rollouthost pause", second.err)
        first:kill("sigkill")
        first:wait()
        local third = t.start_host { path, state = state }
        third:wait_for("wait")
        third:kill("sigint")
        assert.equal(5, third:wait().code)
    end)
end)

describe("a state folder", function()
    local path, folder

    before_each(function()
        path, folder = t.playbook(LEDGER:format "/dev/null", "books")
    end)

    it("that anyone can write is refused", function()
        assert(t.run({ "install", "-d", "-m", "0777", folder .. "/open" }).code == 0)
        local result = host(folder .. "/open", path, "--env", "staging")
        assert.not_equal(0, result.code)
        assert.matches("anyone can write to the state folder", result.err, 1, true)
    end)

    it("that is a file is refused", function()
        local result = host(path, path, "--env", "staging")
        assert.not_equal(0, result.code)
        assert.matches("is not a folder", result.err, 1, true)
    end)

    it("of somebody else is refused", function()
        if t.run({ "id", "-u" }).out ~= "0\n" then
            pending("only root can make a folder of somebody else's")
            return
        end
        assert(t.run({ "install", "-d", "-m", "0700", "-o", "nobody", folder .. "/theirs" }).code == 0)
        local result = host(folder .. "/theirs", path, "--env", "staging")
        assert.not_equal(0, result.code)
        assert.matches("belongs to nobody", result.err, 1, true)
    end)
end)
