-- Handles secrets in every way there is; secrets_spec.lua runs it and looks for them everywhere.
local http, sh, fs, json = require "rollout.http", require "rollout.sh", require "rollout.fs", require "rollout.json"
local mysql, slack = require "rollout.mysql", require "rollout.slack"

playbook "leaky" {
    environments = { "staging" },
    inputs = { url = { type = "string" }, here = { type = "string" } },
    roles = { lead = {} },
    notify = { team = slack.webhook(secret "HOOK"), file = function(message) fs.write("told", message.text) end },
}

local input = run.inputs
local url, here = input.url, input.here
local names = { "TOKEN", "SPECIAL", "KEY", "CREDENTIAL", "INHERITED" }
local cfg = env.require {
    TOKEN = { min = 16 }, SPECIAL = {}, KEY = {}, CREDENTIAL = {}, INHERITED = {}, DATABASE_URL = { format = "mysql" },
}
local commanded = secret { "COMMANDED", command = { "cat", here .. "/commanded" } }
local joined = "Bearer " .. cfg.TOKEN .. ":" .. cfg.SPECIAL
local db = mysql.database(cfg.DATABASE_URL)
local variables = { COMMANDED = commanded, JOINED = joined, DATABASE_URL = cfg.DATABASE_URL }
for _, name in ipairs(names) do variables[name] = cfg[name] end
local be = sh.with { env = variables }

-- What must fail, and says so: the error's text, or the lack of one.
local function refused(fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then fail "it was not refused" end
    return tostring(err)
end

local printed = step("commands print them", function()
    local words = { "python3", here .. "/leaky.py", "COMMANDED", "JOINED", "DATABASE_URL" }
    for _, name in ipairs(names) do words[#words + 1] = name end
    local all = be.run({ table.unpack(words) }, { ok = 3, stdin = cfg.SPECIAL })
    return { all.out, all.err, refused(be.run, words), refused(be.run, "echo \"$TOKEN\" >&2; exit 1"),
        refused(sh.run, { "echo", cfg.TOKEN }), refused(sh.run, "echo " .. cfg.SPECIAL) }
end)
step("one fails", { on_failure = "alert" }, function() be.run [[echo "no way in with $SPECIAL" >&2; exit 4]] end)
step("one is slow", { on_failure = "alert", timeout = "2s" }, function() be.run [[echo "with $KEY"; sleep 60]] end)
step("an error quotes it", { on_failure = "alert" }, function() error("bad token " .. cfg.SPECIAL) end)
step("an error of text quotes it", { on_failure = "alert" }, function() error("bad token " .. tostring(joined)) end)

local login = step("asks for a token", function()
    local token = http.post(url .. "/login", { json = { password = cfg.SPECIAL }, secret = "json.token" })
    local head = http.get(url .. "/login", { secret = "headers.x-token" })
    return { token = token, head = head, back = http.get(url .. "/echo", { bearer = token }).body,
        again = http.get(url .. "/echo", { headers = { ["X-Key"] = head } }).body }
end)
step("speaks HTTP", function()
    local answers = {
        http.get(url .. "/echo", { bearer = cfg.TOKEN }).body,
        http.get(url .. "/echo", { basic = { user = "ann", password = cfg.SPECIAL } }).body,
        http.get(url .. "/echo", { headers = { ["X-Key"] = cfg.CREDENTIAL } }),
        http.get(url .. "/echo", { query = { key = cfg.SPECIAL, of = commanded } }),
        http.get(url .. "/echo/" .. cfg.TOKEN),
        http.post(url .. "/body", { json = { of = { cfg.SPECIAL, cfg.KEY }, in_words = joined } }),
        http.post(url .. "/body", { form = { one = cfg.SPECIAL, other = cfg.KEY } }),
        http.put(url .. "/body", { body = cfg.KEY }).body,
        refused(http.get, url .. "/login/" .. cfg.TOKEN, { expect = 201 }),
        refused(http.get, "http://127.0.0.1:1/" .. cfg.TOKEN, { query = { key = cfg.SPECIAL } }),
        refused(http.get, "https://nobody.invalid/" .. cfg.TOKEN),
        refused(http.post, url .. "/body", { json = { of = cfg.SPECIAL }, expect = 201 }),
    }
    return json.decode(json.encode(answers))
end)
step("asks a database", function()
    db:exec("create table if not exists keyring (value varchar(700) primary key)")
    local rows = {}
    for i, value in ipairs { cfg.TOKEN, cfg.SPECIAL, commanded, cfg.KEY } do
        db:exec("insert into keyring values (?)", value)
        rows[i] = { refused(db.exec, db, "insert into keyring values (?)", value),
            db:one("select value, hex(value), to_base64(value), to_base64(concat('x', value)), json_quote(value)"
                .. " from keyring where value = ?", value), refused(db.query, db, "select ? from nowhere", value) }
    end
    return { rows, db:query "select * from keyring", mysql.database(cfg.DATABASE_URL):value "select user()" }
end)
step("backs up", function() return db:dump { to = here .. "/backups" } end)
step("keeps files", function()
    fs.mkdir "kept"
    local written = { fs.write("kept/token", cfg.TOKEN), fs.write("kept/key", cfg.KEY), fs.write("kept/joined", joined) }
    local read = { fs.read "kept/token", fs.read "kept/joined", fs.read "kept/key" }
    return { written, read, refused(fs.read, cfg.TOKEN), fs.sha256 "kept/token" }
end)
attach(here .. "/kept/joined")
attach(here .. "/log of a tool", "tool.log")
note(joined)
note("the output was " .. printed[1])
notify { to = { "team", "file" }, text = "it is " .. joined .. " & " .. login.token }
notify { to = "file", text = printed[2] }
local given = step("returns them", function()
    return { first = cfg.TOKEN, second = joined, nested = { [printed[1]:match "[^\n]+"] = commanded }, login = login.token }
end)
gate("compares them", { on_failure = "alert" }, function()
    return { expect("token", be.read([[printf %s "$TOKEN"]]).out):equals "another", expect("said", printed[1]):includes "nothing",
        http.check(url .. "/echo", { bearer = cfg.SPECIAL, status = 201 }), sh.check { "false", env = { A = cfg.KEY } } }
end)
gate("knows none", { on_failure = "alert" }, function() return false, printed[2] end)
soak("measures them", { duration = "1s", every = "1s", on_failure = "alert" }, function()
    return expect("body", http.get(url .. "/echo", { bearer = cfg.TOKEN }).body):equals "another"
end)
parallel {
    one = function() step("prints", function() return be.run([[printf '%s\n' "$SPECIAL" "$KEY"]]).out end) end,
    other = function() step("sends", function() return http.get(url .. "/echo", { bearer = given.second }).body end) end,
}
local service = step("a service prints", function()
    sh.start { "python3", here .. "/leaky.py", "SPECIAL", env = variables, stdin = cfg.TOKEN }
end)
approve("Go on", { role = "lead",
    evidence = { token = cfg.TOKEN, all = joined, printed = printed[1], login = login } })
stage("Later", function()
    rollback("take it back", function() step("prints", function() be.run [[printf '%s' "$TOKEN"; printf '%s' "$KEY" >&2]] end) end)
    step("is in doubt", { on_failure = "rollback" }, function()
        http.post(url .. "/slow", { json = { key = cfg.TOKEN, of = login.token }, headers = { ["X-Key"] = commanded } })
        be.run [[echo "$SPECIAL"; exit 9]]
    end)
end)
return { cfg.TOKEN, printed, service }
