-- git: the user's git, in machine formats. A handle is pure. command.lua runs git, read.lua asks, refs.lua makes tags and
-- pushes, move.lua moves the checkout, copy.lua makes clones and working trees.
local native, rt = ...

local command = native.command(native, rt)
local read = native.read(native, rt, command)
local refs = native.refs(native, rt, command, read)
local move = native.move(native, rt, command, read, refs)
local copy = native.copy(native, rt, command, read, refs)

local M = {}

local Repository = rt.class("git.repo", {
    status = read.status, clean = read.clean, head = read.head, branch = read.branch, resolve = read.resolve,
    is_ancestor = read.is_ancestor, log = read.log, tags = read.tags, previous_tag = read.previous_tag,
    remote_ref = read.remote_ref, submodules = read.submodules,
    tag = refs.tag, push = refs.push, delete_tag = refs.delete_tag,
    fetch = move.fetch, pull = move.pull, checkout = move.checkout, revert = move.revert, back_to = move.back_to,
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
