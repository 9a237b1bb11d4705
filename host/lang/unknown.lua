-- Placeholders of plan mode: a value that only a real run knows. One bears indexing, calls, arithmetic,
-- joining and comparison, ends a loop over it, and prints as ‹known after run›.
--
-- ipairs would never end over one: the playbook's own is unknown.ipairs in plan mode.
--
-- Lua asks a placeholder neither for its truth nor before == with another type, so an effect's sample
-- holds one only where any concrete value would lie.
local unknown = {}

local SHOWN = "‹known after run›"
local facts = setmetatable({}, { __mode = "k" }) -- placeholder → { label, text, length }
local meta = {}
local noted = function() end

local function new(label, text, length)
    local value = setmetatable({}, meta)
    facts[value] = { label = label, text = text or SHOWN, length = length }
    return value
end

-- A placeholder; `label` says of what ("db.value"), for the notes of a plan.
function unknown.new(label) return new(label or "a value") end

function unknown.is(value) return facts[value] ~= nil end

function unknown.ipairs(list)
    if unknown.is(list) then return function() end end
    return ipairs(list)
end

function unknown.label(value) return facts[value] and facts[value].label end

-- `fn(label)` hears of each comparison that was decided without knowing.
function unknown.on_guess(fn) noted = fn end

local function derived(a, b)
    return new((facts[a] or facts[b]).label)
end

-- The length that an earlier `#rows` did not know is 0, so that `for i = 1, #rows` ends.
meta.__len = function() return 0 end
meta.__index = function(self, key)
    return new(facts[self].label .. "." .. tostring(key))
end
meta.__newindex = function() end
meta.__call = function(self, ...)
    -- So a generic for asks its iterator for the first time: the loop ends at once.
    if select("#", ...) == 2 and ... == nil and select(2, ...) == nil then return nil end
    return new(facts[self].label .. "()")
end
meta.__pairs = function() return function() end end
meta.__tostring = function(self) return facts[self].text end
meta.__name = "unknown"
meta.__metatable = false
meta.__concat = function(a, b)
    local fact = facts[a] or facts[b]
    return new(fact.label, tostring(a) .. tostring(b))
end
for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band", "bor", "bxor",
    "bnot", "shl", "shr" } do
    meta["__" .. event] = derived
end
local function guess(a, b)
    noted((facts[a] or facts[b]).label)
    return true
end
meta.__lt, meta.__le = guess, guess

return unknown
