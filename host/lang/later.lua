-- Files that a run may not need are loaded when the first of what they bring is used: loading all of them would be a
-- fifth of a short run.
local engine = require "lang.engine"

local WORDS = { -- of the language
    approve = { "approve" }, confirm = { "confirm", "checklist" }, gate = { "gate" }, soak = { "soak" }, wait = { "wait" },
    tell = { "note", "attach", "notify", "fail" }, variables = { "secret", "asset" },
}
local FUNCTIONS = { -- of the engine
    ask = { "undecided", "on_decision", "ask", "alert", "escalate" }, tell = { "tell_people", "calling" },
    plan = { "plan_unit", "plan_stage", "plan_branch", "plan_compensation", "plan_effect" },
}

-- The file replaces what stands here for it.
local function stand_in(list, into)
    for file, names in next, list do
        for _, name in ipairs(names) do
            into[name] = function(...)
                require("lang." .. file)
                return into[name](...)
            end
        end
    end
end

stand_in(WORDS, engine.words)
stand_in(FUNCTIONS, engine)

function engine.words.expect(...)
    return require("lang.expect").new(...)
end

local function env()
    require "lang.variables"
    return engine.words.env
end

engine.words.env = setmetatable({}, {
    __index = function(_, key) return env()[key] end,
    __newindex = function(_, key, value) env()[key] = value end,
    __metatable = false,
})
