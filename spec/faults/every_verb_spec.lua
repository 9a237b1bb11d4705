-- A playbook with every word of the language, killed before (or in the middle of) and after each of its commits.
local json = require "dkjson"
local t = require "spec.helper"
local chain = require "spec.faults.chain"

local folder, received, port

-- The other end of messages: counts them, and keeps them where a probe looks.
local function town()
    received = {}
    port = t.serve(function(client, bytes)
        if not bytes then return end
        local path, body = assert(bytes:match("^POST /(%w+) .-\r\n\r\n(.*)$"))
        local answer = '{"token":"0123456789abcdef"}'
        if path ~= "token" and path ~= "with" then
            local text = (json.decode(body) or {}).text
            -- Who is called to an approval is rather told twice than never.
            if not text:find " waits for " then received[#received + 1] = path .. ": " .. text end
            t.write(folder .. "/message-" .. path, "x")
        end
        client:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n%s")
            :format(#answer, answer), function() client:close() end)
    end)
end

-- What is in doubt is a message; it was sent if it was received.
local function decide(doubt, events)
    assert.equal("http.post", doubt.payload.name)
    local channel = doubt.payload.describe:match("/(%w+)$")
    for _, event in ipairs(events) do
        if event.type == "notify.begin" and event.key == doubt.payload.unit then
            for _, line in ipairs(received) do
                if line == channel .. ": " .. event.payload.text then
                    return { "--done", "--reason", "it was received" }
                end
            end
            return { "--retry" }
        end
    end
    error("in doubt, and no message: " .. doubt.key)
end

local BEFORE = [[
first one
first two of seen
try
try
try
left one
left two
right one
right two
loop a left two
loop b left two
switch
change]]

local function lines(text)
    local list = {}
    for line in text:gmatch("[^\n]+") do
        list[#list + 1] = line
    end
    return list
end

-- Branches in parallel come in any order between them.
local function sorted_branches(list)
    local moved = {}
    for i = #list, 1, -1 do
        if list[i]:find "^left" or list[i]:find "^right" then
            table.insert(moved, 1, table.remove(list, i))
        end
    end
    table.sort(moved)
    local at = 1
    while list[at] and list[at] ~= "loop a left two" do
        at = at + 1
    end
    for i, line in ipairs(moved) do
        table.insert(list, at + i - 1, line)
    end
    return list
end

local function rollout(ending)
    folder = t.temp()
    town()
    local me = t.run { "id", "-un" }.out:gsub("%s+$", "")
    for _, name in ipairs { "every_verb.lua", "every_verb.txt" } do
        t.write(folder .. "/" .. name, t.read("spec/faults/" .. name))
    end
    local run = chain.new {
        start = { folder .. "/every_verb.lua", "--env", "staging", "--output", "plain", "--set", "folder=" .. folder,
            "--set", "url=http://127.0.0.1:" .. port, "--set", "ending=" .. ending,
            "--roles", t.write(folder .. "/roles", "owner: " .. me .. "\n") },
        env = { SPEC_TOKEN = "a-token-of-the-spec", SPEC_PUBLIC = "seen" },
        cwd = folder, state = folder .. "/state", doubt = decide,
    }
    local code = run:run(1000)
    print("\n" .. ending .. ": " .. run:summary())
    return code, run
end

local function assert_done(more)
    local expected = lines(BEFORE)
    table.move(more, 1, #more, #expected + 1, expected)
    assert.same(expected, sorted_branches(lines(t.read(folder .. "/ledger"))))
end

local function assert_verified(run)
    local shown = t.host { "show", run:id(), "--verify", state = run.state }
    assert(shown.code == 0, shown.out .. shown.err)
    local leftover = t.run { "grep", "-rF", "a-token-of-the-spec", run.state }
    assert.equal("", leftover.out)
end

describe("every verb, killed at every commit,", function()
    it("succeeds", function()
        local code, run = rollout "success"
        assert(code == 0, run.said:sub(-4000))
        assert_done { "finish", "celebrate", "clean after succeeded" }
        assert.same({ "known: known", "team: Half of it is done", "public: Half of it is done",
            "team: All of it is done" }, received)
        assert_verified(run)
    end)

    it("rolls back", function()
        local code, run = rollout "rollback"
        assert(code == 3, run.said:sub(-4000))
        assert_done { "restore", "switch back from switch", "clean after rolled_back" }
        assert.same({ "known: known", "team: Half of it is done", "public: Half of it is done", "public: Rolled back" },
            received)
        assert_verified(run)
    end)

    it("undoes one stage", function()
        local code, run = rollout "stage"
        assert(code == 1, run.said:sub(-4000))
        assert_done { "restore", "switch back from switch", "clean after stopped" }
        assert_verified(run)
    end)
end)
