-- Every word of the language once, for the kill matrix. What is done leaves a line in the ledger, or a message.
local fs, http, sh = require "rollout.fs", require "rollout.http", require "rollout.sh"

local function channel(name)
    return function(message) http.post(run.inputs.url .. "/" .. name, { json = { text = message.text }, expect = 200 }) end
end

playbook "every" {
    title = "Every verb",
    environments = { "staging", { "production", protected = true } },
    inputs = {
        folder = { type = "string" },
        url = { type = "string" },
        ending = { type = "string", one_of = { "success", "rollback", "stage" }, default = "success" },
    },
    roles = { owner = {} },
    notify = { team = channel "team", public = channel "public" },
}

local folder = run.inputs.folder

-- One line in the ledger, and the text as the command's output.
local function did(text)
    return sh.run({ "sh", "-c", 'echo "$1" >>ledger; printf "%s" "$1"', "did", text }, { cwd = folder }).out
end

local function line(text)
    return sh.check({ "grep", "-qx", text, "ledger" }, { cwd = folder })
end

local cfg = env.require { SPEC_TOKEN = { min = 8 }, SPEC_PUBLIC = { public = true } }
local text = asset "every_verb.txt"

on.succeeded(function() step("celebrate", function() did "celebrate" end) end)
on.rolled_back(function(outcome) notify { to = "public", text = "Rolled back", when = outcome.cause ~= nil } end)
on.failed(function() note "it failed" end)
on.finished(function(outcome) step("clean", function() did("clean after " .. outcome.status) end) end)

local first = stage("Before", { window = { days = "Mon-Sun" } }, function()
    approve("Go", { role = "owner", evidence = { text = text } })
    confirm "The team is there"
    checklist("Look once more", { "At the weather", "At the calendar" })
    note("starting at " .. run.now())
    local value = step("first", function()
        local a = did "first one"
        local b = did("first two of " .. cfg.SPEC_PUBLIC)
        return { a = a, b = b, number = 2 ^ 53 + 1, at = run.started }
    end)
    gate("first is done", { within = "5s", every = "10ms" }, function()
        return { line "first one", expect("the folder", fs.exists(folder)):equals(true) }
    end)
    step("skipped", { when = false }, function() did "never" end)
    step("elsewhere", { only = "production" }, function() did "never" end)
    return value
end)

stage("Work", function()
    step("log in", function()
        local token = http.post(run.inputs.url .. "/token", { json = { who = cfg.SPEC_TOKEN }, secret = "json.token",
            idempotent = true })
        return http.post(run.inputs.url .. "/with", { bearer = token, expect = 200, idempotent = true }).status
    end)
    rollback("forget it all", function()
        step("forget", function() return did("forget " .. first.a) end)
        gate("forgotten", function() return line "forget first one" end)
        notify { to = "public", text = "It was forgotten" }
    end)
    step("write", { idempotent = true }, function() return fs.write(folder .. "/file", text) end)
    step("flaky", { retry = { times = 3, backoff = "10ms" } }, function()
        did "try"
        return sh.run({ "sh", "-c", "test $(grep -cx try ledger) -ge 3" }, { cwd = folder }).code
    end)
    step("known", { done = function()
        local known = fs.exists(folder .. "/message-known")
        return known and "known"
    end }, function()
        return http.post(run.inputs.url .. "/known", { json = { text = "known" }, expect = 200 }).status
    end)
    local both = parallel {
        left = function()
            step("left one", function() return did "left one" end)
            wait "20ms"
            return step("left two", function() return did "left two" end)
        end,
        right = function()
            step("right one", function() return did "right one" end)
            return step("right two", function() return did "right two" end)
        end,
    }
    for i, name in ipairs { "a", "b" } do
        step("loop " .. name, { key = "loop " .. i }, function() return did("loop " .. name .. " " .. both.left) end)
    end
    attach(folder .. "/file", "file.txt")
    notify { to = { "team", "public" }, text = "Half of it is done" }
    commit "no way back from here"
end)

local function deploy()
    stage("Deploy", { on_failure = run.inputs.ending == "stage" and "stage" or nil }, function()
        step("switch", { undo = function(result) did("switch back from " .. (result and result.was or "?")) end }, function()
            return { was = did "switch" }
        end)
        rollback("restore", { budget = "1m" }, function()
            step("restore", { when = run.begun "change" }, function() return did "restore" end)
            step("not needed", { when = run.begun "never begun" }, function() did "never" end)
            gate("restored", function() return line "restore" end)
        end)
        step("change", function() return did "change" end)
        soak("it holds", { duration = "120ms", every = "40ms", failures = 1 }, function() return line "change" end)
        gate("it is good", function()
            return expect("the ending", run.inputs.ending):equals("success")
        end)
        step("finish", function() return did "finish" end)
    end)
end
deploy()

notify("All of it is done")

return { first = first.a }
