-- GitHub: its REST API for the repository acme/shop, on a real git repository (github.py), and before it Prism, which holds
-- every request and every answer against GitHub's own API description.
--   local hub = github.start();  hub.url: through Prism;  hub.direct: without it, for answers that GitHub does not describe
local json = require "dkjson"
local files = require "spec.world.files"
local npm = require "spec.world.npm"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local PATHS = { "/pulls/{pull_number}", "/pulls/{pull_number}/merge", "/pulls/{pull_number}/update-branch",
    "/pulls/{pull_number}/reviews",
    "/commits/{ref}/check-runs", "/commits/{ref}/status", "/git/ref/{ref}", "/git/refs/{ref}", "/releases",
    "/releases/tags/{tag}", "/releases/{release_id}" }

-- The part of the description that is asked about: Prism takes a minute for all of it.
local EXTRACT = [==[
import json, sys
api = json.load(open(sys.argv[1]))
base = "/repos/{owner}/{repo}"
api["paths"] = {path: api["paths"][path] for path in (base + rest for rest in sys.argv[3:])}
api.pop("x-webhooks", None)
wanted, queue = {}, [api["paths"]]
def look(node):
    if isinstance(node, dict):
        ref = node.get("$ref")
        if isinstance(ref, str) and ref not in wanted:
            _, _, kind, name = ref.split("/")
            wanted[ref] = api["components"][kind][name]
            queue.append(wanted[ref])
        for value in node.values():
            look(value)
    elif isinstance(node, list):
        for value in node:
            look(value)
while queue:
    look(queue.pop())
parts = {}
for ref, value in wanted.items():
    _, _, kind, name = ref.split("/")
    parts.setdefault(kind, {})[name] = value
api["components"] = parts
json.dump(api, open(sys.argv[2], "w"))
]==]

local function up(server, port, what)
    local state = process.turn_until(function()
        return server.code and "ended" or (tcp.accepts(port) and "up")
    end, 60)
    if state ~= "up" then
        error(what .. " does not start: " .. server.err .. server.out, 3)
    end
end

function M.start()
    local folder, port, front = files.temp(), tcp.free_port(), tcp.free_port()
    local modules = npm.modules { "@stoplight/prism-cli", "@octokit/openapi" }
    local description, repository = folder .. "/api.json", folder .. "/shop.git"
    local extracted = process.run { "python3", "-c", EXTRACT, modules .. "/@octokit/openapi/generated/api.github.com.json",
        description, table.unpack(PATHS) }
    assert(extracted.code == 0, extracted.err)
    process.run { "git", "init", "-q", "--bare", "-b", "main", repository }
    local hub = { repository = repository, direct = "http://127.0.0.1:" .. port, url = "http://127.0.0.1:" .. front }

    local function git(...)
        local done = process.run { "git", "-C", repository, "-c", "user.name=s", "-c", "user.email=s@example.com", ... }
        assert(done.code == 0, done.err)
        return (done.out:gsub("%s+$", ""))
    end

    hub.git = git

    -- A commit of one file on that branch, which begins at `from` if it is not there.
    function hub.commit(branch, name, text, from)
        local done = process.run { "sh", "-ec", [[
            cd "$1"; export GIT_INDEX_FILE="$1/index.$$" GIT_AUTHOR_NAME=s GIT_AUTHOR_EMAIL=s@example.com
            export GIT_COMMITTER_NAME=s GIT_COMMITTER_EMAIL=s@example.com
            base=$(git rev-parse -q --verify "refs/heads/$2" || git rev-parse -q --verify "refs/heads/$5" || true)
            rm -f "$GIT_INDEX_FILE"; [ -z "$base" ] || git read-tree "$base"
            blob=$(printf %s "$4" | git hash-object -w --stdin)
            git update-index --add --cacheinfo "100644,$blob,$3"
            git update-ref "refs/heads/$2" "$(git commit-tree "$(git write-tree)" ${base:+-p "$base"} -m "$3")"
        ]], "sh", repository, branch, name, text, from or "main" }
        assert(done.code == 0, done.err)
        return git("rev-parse", "refs/heads/" .. branch)
    end

    up(process.start { "python3", "spec/world/github.py", description, repository, tostring(port) }, port, "the repository's API")
    up(process.start { "node", modules .. "/@stoplight/prism-cli/dist/index.js", "proxy", description, hub.direct, "--errors",
        "--port", tostring(front), "--host", "127.0.0.1" }, front, "Prism")

    function hub.control(settings)
        local done = process.run { "curl", "-sf", "-d", "@-", hub.direct .. "/_control", input = json.encode(settings) }
        assert(done.code == 0, done.err)
    end

    function hub.log()
        return json.decode(process.run({ "curl", "-sf", hub.direct .. "/_log" }).out)
    end

    return hub
end

return M
