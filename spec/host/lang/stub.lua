-- Loads the pure files of host/lang on plain Lua: `lang.host` and `lang.engine` are stand-ins with just what
-- those files call.
local stub = { said = {}, recorded = {} }

package.path = "host/?.lua;" .. package.path

local function encode(value)
    if type(value) ~= "table" then
        return type(value) == "string" and ("%q"):format(value) or tostring(value)
    end
    local keys, parts = {}, {}
    for key in pairs(value) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    for i, key in ipairs(keys) do
        parts[i] = (math.type(key) == "integer" and "" or '"' .. key .. '":') .. encode(value[key])
    end
    return #value > 0 and "[" .. table.concat(parts, ",") .. "]" or "{" .. table.concat(parts, ",") .. "}"
end

-- A secret that joins and hides like the host's.
local secret = { __name = "secret" }
secret.__tostring = function(self) return self.shown end
secret.__concat = function(a, b)
    local function text(v) return getmetatable(v) == secret and v.text or tostring(v) end
    return setmetatable({ shown = tostring(a) .. tostring(b), text = text(a) .. text(b) }, secret)
end
function stub.reveal(value) return getmetatable(value) == secret and value.text or value end

stub.variables, stub.files = {}, {}

stub.host = {
    json = { null = setmetatable({}, { __tostring = function() return "null" end }), encode = encode },
    is_secret = function(value) return getmetatable(value) == secret end,
    make_secret = function(name, text)
        if #text < 6 then error({ code = "secret", message = name .. " is shorter than 6 bytes" }, 0) end
        return setmetatable({ shown = "‹secret " .. name .. "›", text = text }, secret)
    end,
    suggest = function(word, list)
        for _, one in ipairs(list) do
            if one:sub(1, 3) == word:sub(1, 3) then return ("did you mean %q?"):format(one) end
        end
    end,
    mono = function() return 0 end,
    now = function() return stub.now or 0 end,
    variable = function(name) return stub.variables[name], "environment" end,
    fingerprint = function(text) return "fp:" .. stub.reveal(text) end,
    sha256 = function(text) return "sha:" .. text end,
    say = function(type, key, payload) stub.said[#stub.said + 1] = { type = type, key = key, payload = payload } end,
    run = { start_dir = "/start" },
}

stub.engine = {
    mode = function() return stub.mode or "run" end,
    fail = function(code, message, detail) error({ code = code, message = message, detail = detail }, 0) end,
    blame = function() return "shop.lua:7" end,
    record = function(type, key, payload)
        stub.recorded[#stub.recorded + 1] = { type = type, key = key, payload = payload }
    end,
    recall = function() end,
    commit = function() end,
    is_playbook_error = function(err) return type(err) ~= "table" or err.code == "lua" end,
    check_place = function(fn, ...) return pcall(fn, ...) end,
    verb = function() end,
    scope = function() return { key = "" } end,
}

package.loaded["lang.host"] = stub.host
package.loaded["lang.engine"] = stub.engine

-- Runs fn, which must raise: its error.
function stub.raised(fn, ...)
    local ok, err = pcall(fn, ...)
    assert(not ok, "nothing was raised")
    return err
end

return stub
