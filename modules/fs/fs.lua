-- fs: files. Writing is whole or not there at all; nothing blocks the loop.
local native, rt = ...

local fs = {}

local READ_LIMIT = 8 * 1024 * 1024

local function path_of(value, where, what)
    if rt.is_unknown(value) then
        return value
    elseif rt.is_secret(value) then
        rt.raise("usage", where .. ": " .. (what or "the path") .. " is a secret, and paths are public")
    elseif type(value) ~= "string" or value == "" then
        rt.raise("usage", where .. ": expected " .. (what or "a path"))
    elseif value:find("\0", 1, true) then
        rt.raise("usage", where .. ": " .. (what or "the path") .. " has a NUL byte")
    end
    return value
end

local function mode_of(text, where)
    if text == nil then
        return nil
    end
    if not text:find("^0?[0-7][0-7][0-7]$") then
        rt.raise("usage", where .. ': mode is octal text such as "0640", not "' .. text .. '"')
    end
    return tonumber(text, 8)
end

-- Most effects take one path and no options.
local function on_path(name, class, describe, sample, result, exact)
    local verb = name:match("%.(.*)")
    return rt.effect {
        name = name,
        class = class,
        args = function(path, options)
            rt.options(options or {}, {}, name)
            return { path = path_of(path, name) }
        end,
        describe = function(args)
            return describe .. " " .. tostring(args.path)
        end,
        call = function(args)
            local value = native.work { verb = verb, path = args.path }
            if result then
                return result(value)
            end
            return value
        end,
        sample = sample,
        exact = exact,
        destructive = class == "unsafe" and function(args)
            return "rm " .. tostring(args.path)
        end or nil,
    }
end

local function unknown(what)
    return function(args)
        return rt.unknown(what .. " of " .. tostring(args.path))
    end
end

local function sample_names()
    return rt.json.array {}
end

fs.stat = on_path("fs.stat", "read", "look at", function(args)
    return { type = "file", size = rt.unknown("size of " .. tostring(args.path)), mode = "0644", modified = 0, uid = 0, gid = 0 }
end)

fs.exists = rt.effect {
    name = "fs.exists",
    class = "read",
    args = function(path, options)
        rt.options(options or {}, {}, "fs.exists")
        return { path = path_of(path, "fs.exists") }
    end,
    describe = function(args)
        return "is there " .. tostring(args.path)
    end,
    call = function(args)
        return native.work { verb = "stat", path = args.path } ~= nil
    end,
    sample = function()
        return true
    end,
}

fs.sha256 = on_path("fs.sha256", "read", "SHA-256 of", unknown("SHA-256"))
fs.free = on_path("fs.free", "read", "free space at", unknown("free space"))
fs.list = on_path("fs.list", "read", "list", sample_names, function(names)
    return rt.json.array(names)
end, true)

-- True if there was a file.
fs.remove = on_path("fs.remove", "unsafe", "remove", function()
    return true
end)

fs.glob = rt.effect {
    name = "fs.glob",
    class = "read",
    args = function(pattern, options)
        rt.options(options or {}, {}, "fs.glob")
        path_of(pattern, "fs.glob", "a pattern")
        if type(pattern) == "string" and pattern:find("**", 1, true) then
            rt.raise("usage", "fs.glob: ** is not known; * ? [a-z] {a,b} are")
        end
        return { path = pattern }
    end,
    describe = function(args)
        return "find " .. tostring(args.path)
    end,
    call = function(args)
        return rt.json.array(native.work { verb = "glob", path = args.path })
    end,
    sample = sample_names,
    exact = true,
}

fs.read = rt.effect {
    name = "fs.read",
    class = "read",
    args = function(path, options)
        local given = rt.options(options or {}, { limit = "size", secret = "boolean" }, "fs.read")
        return { path = path_of(path, "fs.read"), limit = given.limit or READ_LIMIT, secret = given.secret }
    end,
    describe = function(args)
        return "read " .. tostring(args.path)
    end,
    call = function(args)
        local text = native.work { verb = "read", path = args.path, limit = args.limit }
        if args.secret then
            return native.secret(args.path, (text:gsub("[\r\n]+$", "")))
        end
        return text
    end,
    sample = unknown("content"),
    secret = function(args)
        return args.secret
    end,
}

fs.write = rt.effect {
    name = "fs.write",
    class = "idempotent",
    args = function(path, text, options)
        local given = rt.options(options or {}, { mode = "string" }, "fs.write")
        if type(text) ~= "string" and not rt.is_secret(text) and not rt.is_unknown(text) then
            rt.raise("usage", "fs.write: the content is a " .. type(text) .. "; expected a string or a secret")
        end
        return { path = path_of(path, "fs.write"), text = text, mode = mode_of(given.mode, "fs.write") }
    end,
    describe = function(args)
        local size = type(args.text) == "string" and (" (%d bytes)"):format(#args.text) or ""
        return "write " .. tostring(args.path) .. size
    end,
    call = function(args)
        local secret = rt.is_secret(args.text)
        local mode = args.mode or (secret and tonumber("600", 8)) or nil
        local written = native.work { verb = "write", path = args.path, data = args.text, mode = mode }
        if secret then
            written.sha256 = nil -- anyone could try passwords against it
        end
        return written
    end,
    sample = function(args)
        return {
            path = args.path,
            bytes = type(args.text) == "string" and #args.text or rt.unknown "size",
            sha256 = rt.unknown "SHA-256",
        }
    end,
    exact = { "path" },
}

fs.copy = rt.effect {
    name = "fs.copy",
    class = "idempotent",
    args = function(from, to, options)
        local given = rt.options(options or {}, { mode = "string" }, "fs.copy")
        return { path = path_of(from, "fs.copy"), to = path_of(to, "fs.copy", "where to"),
            mode = mode_of(given.mode, "fs.copy") }
    end,
    describe = function(args)
        return ("copy %s to %s"):format(args.path, args.to)
    end,
    call = function(args)
        return native.work { verb = "copy", path = args.path, to = args.to, mode = args.mode }
    end,
    sample = function(args)
        return { path = args.to, bytes = rt.unknown "size", sha256 = rt.unknown "SHA-256" }
    end,
    exact = { "path", "to" },
}

fs.mkdir = rt.effect {
    name = "fs.mkdir",
    class = "idempotent",
    args = function(path, options)
        local given = rt.options(options or {}, { mode = "string" }, "fs.mkdir")
        return { path = path_of(path, "fs.mkdir"), mode = mode_of(given.mode, "fs.mkdir") }
    end,
    describe = function(args)
        return "make the folder " .. tostring(args.path)
    end,
    call = function(args)
        native.work { verb = "mkdir", path = args.path, mode = args.mode }
        return { path = args.path }
    end,
    sample = function(args)
        return { path = args.path }
    end,
    exact = { "path" },
}

return fs
