-- Secrets, and where they must not be found: in no form, in no file, in no process's arguments.
local uv = require "luv"

local leaks = {}

local STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

-- The base64 digits that the text alone decides, when it begins `offset` bytes after the start of a group.
local function base64(text, offset)
    local bits = {}
    for i = 1, #text do
        for bit = 7, 0, -1 do
            bits[#bits + 1] = text:byte(i) >> bit & 1
        end
    end
    local digits = {}
    local first = ({ [0] = 0, 4, 2 })[offset]
    for at = first, #bits - 6, 6 do
        local value = 0
        for i = 1, 6 do
            value = value << 1 | bits[at + i]
        end
        digits[#digits + 1] = STANDARD:sub(value + 1, value + 1)
    end
    return table.concat(digits)
end

local function percent(text, keep, format)
    return (text:gsub("[^%w" .. keep .. "]", function(c) return format:format(c:byte()) end))
end

local SHORT = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

local function json(text, slash)
    text = text:gsub('[%c"\\]', function(c) return SHORT[c] or ("\\u%04x"):format(c:byte()) end)
    return slash and text:gsub("/", "\\/") or text
end

local function json_ascii(text)
    local parts = {}
    for _, point in utf8.codes(text) do
        parts[#parts + 1] = point < 128 and json(utf8.char(point)) or ("\\u%04x"):format(point)
    end
    return table.concat(parts)
end

local function hex(text, format)
    return (text:gsub(".", function(c) return format:format(c:byte()) end))
end

-- Every form in which a text may stand somewhere: { name = text }.
function leaks.forms(text)
    local forms = {
        raw = text, json = json(text), ["json with \\/"] = json(text, true), ["json in ASCII"] = json_ascii(text),
        hex = hex(text, "%02x"), HEX = hex(text, "%02X"),
        ["percent"] = percent(text, "%-._~", "%%%02X"), ["percent, small"] = percent(text, "%-._~", "%%%02x"),
        ["percent, component"] = percent(text, "%-._~!'()*", "%%%02X"),
        ["form"] = (percent(text, "%-._*", "%%%02X"):gsub("%%20", "+")),
    }
    for offset = 0, 2 do
        local digits = base64(text, offset)
        forms["base64 at " .. offset] = digits
        forms["base64url at " .. offset] = digits:gsub("[+/]", { ["+"] = "-", ["/"] = "_" })
    end
    for line in text:gmatch("[^\n]+") do
        if line ~= text and not line:find("^%-%-%-%-%-") then
            forms["line " .. line] = line
        end
    end
    return forms
end

-- { { where = "NAME as form", text = … }, … } of { NAME = text }.
function leaks.needles(secrets)
    local list = {}
    for name, text in pairs(secrets) do
        for form, needle in pairs(leaks.forms(text)) do
            list[#list + 1] = { where = name .. " as " .. form, text = needle }
        end
    end
    return list
end

-- Which of the needles stand in a text; each with `place`, added to `found`.
function leaks.search(text, needles, place, found)
    found = found or {}
    for _, needle in ipairs(needles) do
        if text:find(needle.text, 1, true) then
            found[#found + 1] = needle.where .. " stands in " .. place
        end
    end
    return found
end

-- The same for all names and files below a folder; `except(path)` is true for what may hold them.
function leaks.search_tree(folder, needles, except, found)
    found = found or {}
    local scan = uv.fs_scandir(folder)
    for name, kind in function() return scan and uv.fs_scandir_next(scan) end do
        local path = folder .. "/" .. name
        leaks.search(name, needles, "the name " .. path, found)
        if except and except(path) then
            goto continue
        elseif kind == "directory" then
            leaks.search_tree(path, needles, except, found)
        elseif kind == "file" then
            local file = io.open(path, "rb") -- one that was removed meanwhile holds nothing
            leaks.search(file and file:read("a") or "", needles, path, found)
            if file then file:close() end
        end
        ::continue::
    end
    return found
end

-- Looks, as often as it can, at every process's arguments, at the environment and limits of hosts and guardians, and
-- at a folder. Returns a process; leaks.watched(process) ends it and returns what it found, how often it looked, and
-- the programs of this product that it saw.
function leaks.watch(folder, needles)
    local build = uv.fs_realpath(os.getenv("ROLLOUTHOST_BUILD") or "build")
    local watcher = require("spec.world.process").start { "lua5.4", "spec/world/leak_watch.lua", folder, build, input = true }
    for _, needle in ipairs(needles) do
        watcher:write(hex(needle.text, "%02x") .. " " .. needle.where:gsub("\n", " ") .. "\n")
    end
    watcher:write("\n")
    watcher:wait_for("watching")
    return watcher
end

function leaks.watched(watcher)
    watcher:close_input()
    watcher:wait(60)
    assert(watcher.code == 0, watcher.err)
    local found, seen, rounds = {}, {}, tonumber(watcher.out:match("rounds (%d+)"))
    for line in watcher.out:gmatch("leak ([^\n]+)") do
        found[#found + 1] = line
    end
    for name in watcher.out:gmatch("saw ([^\n]+)") do
        seen[name] = true
    end
    return found, rounds, seen
end

-- The same, with what was found added to `found`; returns the programs. What a host was given in its environment stands
-- there, for root's eyes.
function leaks.gather(watcher, found)
    local leaked, rounds, seen = leaks.watched(watcher)
    for _, one in ipairs(leaked) do
        if not one:find "^INHERITED as .* the environment of rollouthost$" then
            found[#found + 1] = one
        end
    end
    assert(rounds > 10, "only looked " .. rounds .. " times")
    return seen
end

return leaks
