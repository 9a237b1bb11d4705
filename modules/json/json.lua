-- json: pure, so it is allowed everywhere. Integers stay integers and floats round-trip.
local native, rt = ...

local json = {
    null = native.null, -- what JSON's null becomes, and what becomes it; nil takes a field away
}

-- In plan mode a value may hold what only a run knows: then so is what it turns into.
local function convert(where, label, fn, ...)
    local ok, result = pcall(fn, ...)
    if ok then
        return result
    elseif rt.mode() == "plan" then
        return rt.unknown(label)
    end
    rt.raise("json", where .. ": " .. (type(result) == "table" and result.message or tostring(result)))
end

-- Keys are sorted. pretty = true: on several lines, two spaces deep.
function json.encode(value, options)
    local given = rt.options(options or {}, { pretty = "boolean" }, "json.encode")
    if value == nil then
        value = native.null
    end
    return convert("json.encode", "JSON text", native.encode, value, given.pretty)
end

function json.decode(text)
    if rt.is_secret(text) then
        rt.raise("usage", "json.decode: the text is a secret, and what it holds would not be one any more")
    elseif rt.is_unknown(text) then
        return rt.unknown "decoded JSON"
    elseif type(text) ~= "string" then
        rt.raise("usage", "json.decode: expected a string, not a " .. type(text))
    end
    return convert("json.decode", "decoded JSON", native.decode, text)
end

-- Marks a table as an array, which matters when it is empty: {} is an object, json.array {} is [].
function json.array(items)
    if items ~= nil and type(items) ~= "table" then
        rt.raise("usage", "json.array: expected a table, not a " .. type(items))
    end
    return native.array(items or {})
end

return json
