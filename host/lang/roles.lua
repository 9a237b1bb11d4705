-- Who holds which role: login names, from the header and from --roles FILE.
local host = require "lang.host"
local options = require "lang.options"

local roles = {}

local function names(known)
    local list = {}
    for role in pairs(known) do list[#list + 1] = role end
    table.sort(list)
    return list
end

-- A file has a role a line, `technical lead: dana, kim`; # begins a comment. It replaces the header's holders.
local function parse(text, path, made)
    local number = 0
    for line in (text .. "\n"):gmatch("(.-)\r?\n") do
        number = number + 1
        line = line:gsub("#.*", ""):match("^%s*(.-)%s*$")
        if line ~= "" then
            local role, users = line:match("^(.-)%s*:%s*(.*)$")
            if not role or role == "" then
                options.refuse(("%s:%d"):format(path, number), "a line is `role: user, user`")
            end
            made[role] = {}
            for user in users:gmatch("[^,%s]+") do table.insert(made[role], user) end
        end
    end
end

-- role → list of users, of the header's `roles` and the file at `path` (nil: none).
function roles.read(given, path, where)
    local made = {}
    for role, users in pairs(given or {}) do
        if type(users) == "string" then users = { users } end
        if type(role) ~= "string" or type(users) ~= "table" then
            options.refuse(where, ("roles: a role has a name and a list of login names; %s has none"):format(
                tostring(role)))
        end
        made[role] = {}
        for i, user in ipairs(users) do
            if type(user) ~= "string" or not user:match("^[^%s,:]+$") then
                options.refuse(where, ("roles: %q is no login name"):format(tostring(user)))
            end
            made[role][i] = user
        end
    end
    if path then parse(host.source(path), path, made) end
    for role, users in pairs(made) do made[role] = host.json.array(users) end
    return made
end

-- Refuses a role that nobody declared.
function roles.known(known, role, where)
    if known[role] then return end
    local list = names(known)
    local hint = host.suggest(role, list)
    options.refuse(where, ("there is no role %q%s"):format(role, hint and ": " .. hint
        or #list > 0 and "; there are " .. table.concat(list, ", ") or ": declare it in the header's roles"))
end

-- The users who hold one of the roles. Refuses unknown roles and, except in a plan, which may be made elsewhere, roles
-- that nobody on this machine holds.
function roles.holders(known, wanted, where)
    local users, seen, here = {}, {}, false
    for _, role in ipairs(wanted) do
        roles.known(known, role, where)
        for _, user in ipairs(known[role]) do
            if not seen[user] then
                seen[user], users[#users + 1] = true, user
                here = here or host.user_exists(user)
            end
        end
    end
    local listed = table.concat(wanted, ", ")
    if host.run.mode == "plan" then
        return users
    elseif #users == 0 then
        options.refuse(where, ("nobody holds the role %s: name them in the header's roles or with --roles FILE"):format(
            listed))
    elseif not here then
        options.refuse(where, ("none of those who hold the role %s is a user of this machine: %s"):format(listed,
            table.concat(users, ", ")))
    end
    return users
end

return roles
