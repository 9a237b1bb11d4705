-- git: the user's git, in machine formats. A handle is pure. command.lua runs git, read.lua asks, refs.lua makes tags and
-- pushes, move.lua, pull.lua and revert.lua move the checkout (place.lua), copy.lua makes clones and working trees.
local native, rt = ...

local parts = native.parts
local command = parts.command(native, rt)
local read = parts.read(native, rt, command)
local refs = parts.refs(native, rt, command, read)
local place = parts.place(native, rt, command)
local move = parts.move(native, rt, command, refs, place)
local pull = parts.pull(native, rt, command, refs, place)
local revert = parts.revert(native, rt, command, refs, place)
local copy = parts.copy(native, rt, command, refs)

local M = {}

local Repository = rt.class("git.repo", {
    status = read.status, clean = read.clean, head = read.head, branch = read.branch, resolve = read.resolve,
    is_ancestor = read.is_ancestor, log = read.log, tags = read.tags, previous_tag = read.previous_tag,
    remote_ref = read.remote_ref, submodules = read.submodules,
    tag = refs.tag, push = refs.push, delete_tag = refs.delete_tag,
    fetch = pull.fetch, pull = pull.pull, checkout = move.checkout, revert = revert, back_to = move.back_to,
    worktree = copy.worktree, remove_worktree = copy.remove_worktree, update_submodules = copy.update_submodules,
}, function(repo)
    return "git " .. repo.path
end)

--- A repository's checkout. options { env = { NAME = text | secret | false }, timeout = "2m" (of what talks to a remote) }.
--- A relative path starts where the run started. Nothing runs before an effect uses it.
function M.repo(path, options)
    local given = rt.options(options or {}, { env = "table", timeout = "duration" }, "git.repo")
    return setmetatable({ path = command.word(path, "git.repo", "the folder"), env = command.env(given.env, "git.repo") or false,
        timeout = given.timeout or false }, Repository)
end

--- Clones a repository into a folder that is not there, or empty: { path, sha, branch }.
M.clone = copy.clone

return M
