-- kubectl: deployments of a Kubernetes cluster, by the user's own kubectl and its configuration. Only the fields that are needed
-- are asked for (jsonpath), since a manifest holds the values of variables. Every change says what the state is to be, so twice
-- is once.
local _, rt = ...
local sh, json = require "rollout.sh", require "rollout.json"

local kubectl = {}

local LONGEST_POLL_MS = 3000
local REVISION = [[{.metadata.annotations.deployment\.kubernetes\.io/revision}]]
local FIELDS = table.concat({ "{.metadata.generation}", REVISION, "{.spec.replicas}", "{.status}", "{.spec.selector.matchLabels}",
    "{.spec.template.spec.containers[*].name}", "{.spec.template.spec.containers[*].image}" }, [[{"\n"}]])
local SETS = [[{range .items[*]}{.metadata.ownerReferences[0].name}{"\t"}]] .. REVISION
    .. [[{"\t"}{.metadata.labels.pod-template-hash}{"\n"}{end}]]
local PODS = [[{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.status.containerStatuses[*].restartCount}{"\t"}]]
    .. [[{.status.containerStatuses[*].state.waiting.reason}{"\t"}{.status.containerStatuses[*].state.waiting.message}{"\n"}{end}]]

local function tools_of(where)
    local env = {}
    for name, value in pairs(where.env or {}) do
        env[name] = value
    end
    env.KUBECONFIG = where.kubeconfig or env.KUBECONFIG
    return sh.with { cwd = where.cwd, env = env }
end

local function argv_of(where, words)
    local argv = table.move(where.command, 1, #where.command, 1, {})
    for _, option in ipairs { "context", "namespace" } do
        if where[option] then
            argv[#argv + 1] = ("--%s=%s"):format(option, where[option])
        end
    end
    argv[#argv + 1] = "--request-timeout=30s"
    return table.move(words, 1, #words, #argv + 1, argv)
end

local CODES = {
    { "%(NotFound%)", "not_found", "" },
    { "%(Forbidden%)", "access_denied", ": the user of the kubeconfig may not do that" },
    { "%(Unauthorized%)", "access_denied", ": the credentials of the kubeconfig are missing or expired" },
    { "must be logged in", "access_denied", ": the credentials of the kubeconfig are missing or expired" },
    { "Unable to connect to the server", "connect", "" },
    { "connection to the server .* was refused", "connect", "" },
    { "context .* does not exist", "usage", ": `kubectl config get-contexts` lists them" },
}

local function ask(where, what, words, change)
    local tools = tools_of(where)
    local ok, told = pcall(change and tools.run or tools.read, argv_of(where, words), { timeout = "1m", capture = "4MiB",
        idempotent = change })
    if ok then
        return told.out
    end
    for _, known in ipairs(type(told) == "table" and told.code == "exit" and CODES or {}) do
        if told.message:find(known[1]) then
            local said = told.message:gsub("\n%s*its whole output.*$", ""):match("[^\n]*$")
            rt.raise(known[2], ("%s: %s%s"):format(what, said:gsub("^%s+", ""), known[3]))
        end
    end
    error(told, 0)
end

local function lines_of(text)
    local list = {}
    for line in (text .. "\n"):gmatch("([^\n]*)\n") do
        list[#list + 1] = line
    end
    return list
end

local function words_of(text)
    local list = rt.json.array {}
    for word in text:gmatch("%S+") do
        list[#list + 1] = word
    end
    return list
end

local function selector_of(labels)
    local parts = {}
    for name, value in pairs(labels) do
        parts[#parts + 1] = name .. "=" .. value
    end
    return table.concat(parts, ",")
end

-- { revision = pod template's hash } of a deployment.
local function revisions(where, name, labels, what)
    local found = {}
    local told = ask(where, what, { "get", "replicasets", "-l", selector_of(labels), "-o", "jsonpath=" .. SETS })
    for _, line in ipairs(lines_of(told)) do
        local owner, revision, hash = line:match("^(.-)\t(.-)\t(.-)$")
        if owner == name and revision ~= "" then
            found[revision] = hash
        end
    end
    return found
end

local function status_of(where, name, what)
    local told = lines_of(ask(where, what, { "get", "deployment", name, "-o", "jsonpath=" .. FIELDS }))
    local ok, status = pcall(json.decode, told[4] or "")
    local labelled, labels = pcall(json.decode, told[5] or "")
    local generation, wanted = math.tointeger(tonumber(told[1])), math.tointeger(tonumber(told[3]))
    if not ok or not labelled or not generation or not wanted or type(status) ~= "table" then
        rt.raise("protocol", what .. ": what kubectl told is no deployment")
    end
    local names, images, by_name = words_of(told[6] or ""), words_of(told[7] or ""), {}
    for i, container in ipairs(names) do
        by_name[container] = images[i]
    end
    local problem
    for _, condition in ipairs(status.conditions or {}) do
        if condition.type == "Progressing" and condition.status == "False" or condition.type == "ReplicaFailure"
            and condition.status == "True" then
            problem = ("%s: %s"):format(condition.reason, condition.message)
        end
    end
    local current = (status.observedGeneration or 0) >= generation
    return { name = name, revision = told[2], replicas = wanted, ready = status.readyReplicas or 0,
        updated = status.updatedReplicas or 0, available = status.availableReplicas or 0, total = status.replicas or 0,
        images = by_name, labels = labels, problem = current and problem or nil,
        done = current and (status.updatedReplicas or 0) == wanted and (status.replicas or 0) == wanted
            and (status.availableReplicas or 0) == wanted }
end

-- What its pods wait for: the reason why a roll-out does not end.
local function troubles(where, status, what)
    local ok, told = pcall(ask, where, what, { "get", "pods", "-l", selector_of(status.labels), "-o", "jsonpath=" .. PODS })
    local list = {}
    for _, line in ipairs(lines_of(ok and told or "")) do
        local pod, phase, restarts, reason, message = line:match("^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$")
        if pod and (reason ~= "" or phase ~= "Running") then
            list[#list + 1] = ("%s: %s %s %s(started again %s times)"):format(pod, phase, reason, message ~= "" and message .. " "
                or "", restarts ~= "" and restarts or "0")
        end
    end
    return #list > 0 and "\n  " .. table.concat(list, "\n  ", 1, math.min(#list, 5)) or ""
end

local function rolled_out(args, what)
    local function stuck(now)
        rt.raise(now.problem and "failed" or "timeout", ("%s: %d of %d replicas are new and available%s%s"):format(what,
            math.min(now.updated, now.available), now.replicas, now.problem and "; " .. now.problem
            or " after " .. rt.show_duration(args.within), troubles(args.where, now, what)))
    end
    return rt.poll(rt.now() + args.within, LONGEST_POLL_MS, function()
        local now = status_of(args.where, args.name, what)
        if now.problem and not now.done then
            stuck(now)
        end
        return now.done and now, now
    end, stuck)
end

local function shown(status)
    status.labels = nil
    return status
end

local Cluster = {}

local function name_of(value, call)
    if rt.is_unknown(value) then
        return value
    end
    local kind, name = tostring(value):match("^([%a%.]+)/([%w%.%-]+)$")
    if not kind then
        name = tostring(value):match("^[%w%.%-]+$")
    elseif not ({ deployment = true, deploy = true, ["deployment.apps"] = true, deployments = true })[kind] then
        name = nil
    end
    if not name then
        rt.raise("usage", ("cluster:%s: %q is no deployment: \"deployment/backend\", or \"backend\""):format(call, tostring(value)))
    end
    return name
end

local function sample(args)
    return { name = args.name, revision = rt.unknown "revision", template = rt.unknown "template",
        replicas = args.replicas or rt.unknown "replicas", ready = 1, updated = 1, available = 1, total = 1, images = {},
        done = true }
end

--- cluster:status "deployment/backend" → { name, revision, template, replicas, ready, updated, available, total, images, done,
--- problem }. `template` is what undo knows the release by.
Cluster.status = rt.effect {
    name = "kubectl.status", class = "read",
    args = function(self, name) return { where = self.where, name = name_of(name, "status") } end,
    describe = function(args) return "look at deployment " .. tostring(args.name) end,
    call = function(args)
        local what = "deployment " .. args.name
        local status = status_of(args.where, args.name, what)
        status.template = revisions(args.where, args.name, status.labels, what)[status.revision]
        return shown(status)
    end,
    sample = sample,
}

-- A change by a patch, and its roll-out awaited.
local function patched(verb, spec, describe, patch_of)
    return rt.effect {
        name = "kubectl." .. verb, class = "idempotent",
        args = function(self, name, options)
            local all = { within = { "duration", default = 600000 } }
            for key, kind in pairs(spec) do all[key] = kind end
            local args = rt.options(options or {}, all, "cluster:" .. verb)
            args.where, args.name = self.where, name_of(name, verb)
            return args
        end,
        describe = describe,
        call = function(args, ctx)
            local what = describe(args)
            ask(args.where, what, { "patch", "deployment", args.name, "--type=strategic", "-o", "name", "-p",
                json.encode(patch_of(args, ctx)) }, true)
            return shown(rolled_out(args, what))
        end,
        sample = sample,
    }
end

--- cluster:restart("deployment/backend", { within = "10m" }): all its pods are replaced, once, and available → as status.
Cluster.restart = patched("restart", {}, function(args) return "restart deployment " .. tostring(args.name) end,
    function(_, ctx) -- the annotation is this effect's own: set a second time it changes nothing
        return { spec = { template = { metadata = { annotations = {
            ["rollouthost/restarted"] = rt.sha256(run.id .. ctx.key):sub(1, 24) } } } } }
    end)

local scale = patched("scale", { replicas = { "integer", required = true } }, function(args)
    return ("scale deployment %s to %s"):format(tostring(args.name), tostring(args.replicas))
end, function(args) return { spec = { replicas = args.replicas } } end)

--- cluster:scale("deployment/backend", 0, { within }) → as status, and `before`: how many there were, for the undo.
function Cluster:scale(name, replicas, options)
    if not rt.is_unknown(replicas) and (math.type(replicas) ~= "integer" or replicas < 0) then
        rt.raise("usage", "cluster:scale: expects a deployment and how many replicas there are to be")
    end
    local before = self:status(name)
    local given = { replicas = replicas }
    for key, value in pairs(options or {}) do given[key] = value end
    local after = scale(self, name, given)
    after.before = before.replicas
    return after
end

local image = patched("set_image", { images = { "table", required = true } }, function(args)
    local parts = {}
    for container, name in pairs(args.images) do parts[#parts + 1] = container .. "=" .. tostring(name) end
    return ("set the image of deployment %s to %s"):format(tostring(args.name), table.concat(parts, ", "))
end, function(args)
    local containers = rt.json.array {}
    for container, name in pairs(args.images) do containers[#containers + 1] = { name = container, image = name } end
    return { spec = { template = { spec = { containers = containers } } } }
end)

--- cluster:set_image("deployment/backend", { backend = "registry/backend:v1.4.0" }, { within }) → as status. A container of
--- another name is refused: a patch would add it.
function Cluster:set_image(name, images, options)
    local status = self:status(name)
    if rt.mode() ~= "plan" then
        local names = {}
        for container in pairs(status.images) do names[#names + 1] = container end
        for container in pairs(images) do
            if not status.images[container] then
                local hint = rt.suggest(container, names)
                rt.raise("usage", ("cluster:set_image: deployment %s has no container %q%s"):format(status.name, container,
                    hint and ": " .. hint or "; it has " .. table.concat(names, ", ")))
            end
        end
    end
    local given = { images = images }
    for key, value in pairs(options or {}) do given[key] = value end
    return image(self, name, given)
end

--- cluster:undo("deployment/backend", before, { within }): the release that status told of in `before` again → as status. Going
--- back twice is going back once, as `kubectl rollout undo` is not.
Cluster.undo = rt.effect {
    name = "kubectl.undo", class = "idempotent",
    args = function(self, name, before, options)
        local args = rt.options(options or {}, { within = { "duration", default = 600000 } }, "cluster:undo")
        args.where, args.name = self.where, name_of(name, "undo")
        args.template = type(before) == "table" and not rt.is_unknown(before) and before.template or before
        if not rt.is_unknown(args.template) and type(args.template) ~= "string" then
            rt.raise("usage", "cluster:undo: expects a deployment and what cluster:status told of it before")
        end
        return args
    end,
    describe = function(args) return ("take deployment %s back to %s"):format(tostring(args.name), tostring(args.template)) end,
    call = function(args)
        local what = ("take deployment %s back to %s"):format(args.name, args.template)
        local status, target = status_of(args.where, args.name, what), nil
        local found = revisions(args.where, args.name, status.labels, what)
        for revision, template in pairs(found) do
            target = template == args.template and revision or target
        end
        if not target then
            rt.raise("gone", what .. ": the cluster does not keep it any more (revisionHistoryLimit)")
        elseif target ~= status.revision then
            ask(args.where, what, { "rollout", "undo", "deployment/" .. args.name, "--to-revision=" .. target }, true)
        end
        return shown(rolled_out(args, what))
    end,
    sample = sample,
}

--- Expectations: it is rolled out, every replica available: cluster:check("deployment/backend", { images = { backend =
--- "…:v1.4.0" }, replicas = 3 }). None at all is a fail, unless replicas = 0 says so.
function Cluster:check(name, options)
    local given = rt.options(options or {}, { images = "table", replicas = "integer" }, "cluster:check")
    local status = self:status(name)
    local enough = status.available >= (given.replicas or 1) or given.replicas == 0 and status.total == 0
    local checks = { rt.expectation { name = status.name .. " is rolled out", verdict = status.done and enough and "pass" or "fail",
        measured = status.available, limit = given.replicas or status.replicas, unit = "replicas",
        text = ("%s: %d of %d replicas new, %d available%s"):format(status.name, status.updated, status.replicas, status.available,
            status.problem and "; " .. status.problem or "") } }
    for container, wanted in pairs(given.images or {}) do
        checks[#checks + 1] = rt.expect("image of " .. container, status.images[container]):equals(wanted)
    end
    return checks
end

local class = rt.class("kubectl.cluster", Cluster, function(self) return self.where.context or "the current cluster" end)

--- A cluster: { context, namespace, kubeconfig, cwd, env, command = { "kubectl" } }. Nothing is asked yet.
function kubectl.cluster(options)
    return setmetatable({ where = rt.options(options or {}, { context = "string", namespace = "string", kubeconfig = "string",
        cwd = "string", env = "table", command = { "table", default = { "kubectl" } } }, "kubectl.cluster") }, class)
end

return kubectl
