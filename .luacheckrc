-- luacheck itself runs on Lua 5.1
std = "lua54"
max_line_length = 132
codes = true
exclude_files = { "build*/**" }

-- luacheck knows a playbook's words from here; the language itself defines them.
local words = {
    "playbook", "run", "stage", "step", "parallel", "wait", "commit", "note", "attach", "notify", "fail", "gate",
    "soak", "watch", "ramp", "expect", "rollback", "approve", "confirm", "checklist", "secret", "asset", "env",
}
files["playbooks/**/*.lua"] = { read_globals = { "on", unpack(words) } }
files["spec/faults/every_verb.lua"] = { read_globals = { "on", unpack(words) } }
files["spec/modules/deploys_plan.lua"] = { read_globals = { "on", unpack(words) } }
files["modules/lib/*.lua"] = { read_globals = { "on", unpack(words) } }
files["spec/**/*.lua"] = { std = "+busted" }
files["spec/faults/leaky/*.lua"] = { read_globals = words }
