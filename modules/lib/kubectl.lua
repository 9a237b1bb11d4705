-- kubectl: deployments, stateful sets and daemon sets of a Kubernetes cluster, by the user's own kubectl and its configuration.
-- Only the fields that are needed are asked for (jsonpath), since a manifest holds the values of variables. Every change says what
-- the state is to be, so twice is once. What a deployment was is in its replica sets; what the others were, in their controller
-- revisions.
local _, rt = ...
local sh, json = require "rollout.sh", require "rollout.json"

local kubectl = {}

local LONGEST_POLL_MS = 3000
local REVISION = [[{.metadata.annotations.deployment\.kubernetes\.io/revision}]]
local FIELDS = table.concat({ "{.metadata.generation}", REVISION, "{.spec.replicas}", "{.status}", "{.spec.selector.matchLabels}",
    "{.spec.template.spec.containers[*].name}", "{.spec.template.spec.containers[*].image}",
    "{.spec.updateStrategy.type}", "{.spec.updateStrategy.rollingUpdate.partition}" }, [[{"\n"}]])
local OWNED = [[{range .items[*]}{.metadata.ownerReferences[0].kind}{"\t"}{.metadata.ownerReferences[0].name}{"\t"}]]
local SETS = OWNED .. REVISION .. [[{"\t"}{.metadata.labels.pod-template-hash}{"\n"}{end}]]
local REVISIONS = OWNED .. [[{.revision}{"\t"}{.metadata.name}{"\n"}{end}]]
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

-- How many pods there are to be and are, of a kind's status. all: the new ones and no others. See
-- https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/
local KINDS = {
    deployment = {
        names = { "deployment", "deploy", "deployments" }, history = "replicasets", owner = "Deployment",
        counts = function(status, wanted)
            local updated, total = status.updatedReplicas or 0, status.replicas or 0
            return { replicas = wanted, ready = status.readyReplicas or 0, updated = updated,
                available = status.availableReplicas or 0, total = total, all = updated == wanted and total == wanted }
        end,
    },
    statefulset = {
        names = { "statefulset", "sts", "statefulsets" }, history = "controllerrevisions", owner = "StatefulSet",
        counts = function(status, wanted, partition)
            local updated, total = status.updatedReplicas or 0, status.replicas or 0
            local all = status.updateRevision == status.currentRevision
            if partition > 0 then -- the pods below it stay what they are
                all = updated >= wanted - partition
            end
            return { replicas = wanted, ready = status.readyReplicas or 0, updated = updated,
                available = status.availableReplicas or status.readyReplicas or 0, total = total, all = all and total == wanted }
        end,
    },
    daemonset = {
        names = { "daemonset", "ds", "daemonsets" }, history = "controllerrevisions", owner = "DaemonSet",
        counts = function(status)
            local wanted, updated = status.desiredNumberScheduled or 0, status.updatedNumberScheduled or 0
            return { replicas = wanted, ready = status.numberReady or 0, updated = updated, available = status.numberAvailable or 0,
                total = status.currentNumberScheduled or 0, all = updated >= wanted }
        end,
    },
}
local KIND_OF = {}
for kind, about in pairs(KINDS) do
    for _, name in ipairs(about.names) do
        KIND_OF[name], KIND_OF[name .. ".apps"] = kind, kind
    end
end

local function called(args)
    return args.kind .. " " .. tostring(args.name)
end

-- { revision = what it was: a pod template's hash, or a controller revision's name }, and the newest revision.
local function revisions(args, labels, what)
    local about, found, newest = KINDS[args.kind], {}, nil
    local told = ask(args.where, what, { "get", about.history, "-l", selector_of(labels), "-o",
        "jsonpath=" .. (about.history == "replicasets" and SETS or REVISIONS) })
    for _, line in ipairs(lines_of(told)) do
        local kind, owner, revision, template = line:match("^(.-)\t(.-)\t(.-)\t(.-)$")
        if kind == about.owner and owner == args.name and revision ~= "" then
            found[revision] = template
            newest = (not newest or tonumber(revision) > tonumber(newest)) and revision or newest
        end
    end
    return found, newest
end

local function status_of(args, what)
    local told = lines_of(ask(args.where, what, { "get", args.kind, args.name, "-o", "jsonpath=" .. FIELDS }))
    local ok, status = pcall(json.decode, told[4] or "")
    local labelled, labels = pcall(json.decode, told[5] or "")
    local generation, wanted = math.tointeger(tonumber(told[1])), math.tointeger(tonumber(told[3]))
    if not ok or not labelled or not generation or type(status) ~= "table" or args.kind ~= "daemonset" and not wanted then
        rt.raise("protocol", ("%s: what kubectl told is no %s"):format(what, args.kind))
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
    local found = KINDS[args.kind].counts(status, wanted, math.tointeger(tonumber(told[9])) or 0)
    found.done = current and found.all and found.available >= found.replicas
    found.name, found.images, found.labels, found.problem = args.name, by_name, labels, current and problem or nil
    found.revision, found.by_hand, found.all = told[2], told[8] == "OnDelete" or nil, nil
    return found
end

-- What its pods wait for: the reason why a roll-out does not end.
local function troubles(args, status, what)
    local ok, told = pcall(ask, args.where, what, { "get", "pods", "-l", selector_of(status.labels), "-o", "jsonpath=" .. PODS })
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
            or " after " .. rt.show_duration(args.within), troubles(args, now, what)))
    end
    return rt.poll(rt.now() + args.within, LONGEST_POLL_MS, function()
        local now = status_of(args, what)
        local scaled = now.by_hand and args.replicas and now.total == now.replicas and now.available >= now.replicas
        if now.problem and not now.done then
            stuck(now)
        end
        return (now.done or scaled) and now, now
    end, stuck)
end

local function shown(status)
    status.labels, status.by_hand = nil, nil
    return status
end

-- Of a deployment its own annotation says which revision it is; the others are what their newest revision is.
local function with_template(args, status, what)
    local found, newest = revisions(args, status.labels, what)
    if args.kind ~= "deployment" then
        status.revision = newest or ""
    end
    status.template = found[status.revision]
    return found
end

-- What it is when its roll-out is complete.
local function ended(args, what)
    local status = rolled_out(args, what)
    if args.kind ~= "deployment" then
        with_template(args, status, what)
    end
    return shown(status)
end

local Cluster = {}

local ANY = { deployment = true, statefulset = true, daemonset = true }
local SCALED = { deployment = true, statefulset = true }
local NAMED = 'cluster:%s: %q is no deployment, stateful set or daemon set: "deployment/backend", or "backend", "statefulset/db",'
    .. ' "daemonset/agent"'

-- "deployment/backend", "backend", "statefulset/db", "daemonset/agent" → the kind and the name.
local function target(value, call, kinds)
    if rt.is_unknown(value) then
        return "deployment", value
    end
    local word, name = tostring(value):match("^([%a%.]+)/([%w%.%-]+)$")
    local kind = word and KIND_OF[word] or not word and "deployment"
    name = name or tostring(value):match("^[%w%.%-]+$")
    if not name or not kind then
        rt.raise("usage", NAMED:format(call, tostring(value)))
    elseif not kinds[kind] then
        rt.raise("usage", ("cluster:%s: %s runs on each node that it fits on: it has no number of replicas"):format(call,
            tostring(value)))
    end
    return kind, name
end

local function sample(args)
    return { name = args.name, revision = rt.unknown "revision", template = rt.unknown "template",
        replicas = args.replicas or rt.unknown "replicas", ready = 1, updated = 1, available = 1, total = 1, images = {},
        done = true }
end

--- cluster:status "deployment/backend" → { name, revision, template, replicas, ready, updated, available, total, images, done,
--- problem }. `template` is what undo knows the release by. Also of "statefulset/db" and "daemonset/agent", as all of these calls.
Cluster.status = rt.effect {
    name = "kubectl.status", class = "read",
    args = function(self, name)
        local args = { where = self.where }
        args.kind, args.name = target(name, "status", ANY)
        return args
    end,
    describe = function(args) return "look at " .. called(args) end,
    call = function(args)
        local what = called(args)
        local status = status_of(args, what)
        with_template(args, status, what)
        return shown(status)
    end,
    sample = sample,
}

-- What replaces no pods by itself would never come to the end of its roll-out.
local function refuse_by_hand(args, what)
    if args.kind ~= "deployment" and not args.replicas and status_of(args, what).by_hand then
        rt.raise("usage", what .. ": its updateStrategy is OnDelete: it replaces only pods that somebody deletes")
    end
end

-- A change by a patch, and its roll-out awaited.
local function patched(verb, kinds, spec, describe, patch_of)
    return rt.effect {
        name = "kubectl." .. verb, class = "idempotent",
        args = function(self, name, options)
            local all = { within = { "duration", default = 600000 } }
            for key, kind in pairs(spec) do all[key] = kind end
            local args = rt.options(options or {}, all, "cluster:" .. verb)
            args.where = self.where
            args.kind, args.name = target(name, verb, kinds)
            return args
        end,
        describe = describe,
        call = function(args, ctx)
            local what = describe(args)
            refuse_by_hand(args, what)
            ask(args.where, what, { "patch", args.kind, args.name, "--type=strategic", "-o", "name", "-p",
                json.encode(patch_of(args, ctx)) }, true)
            return ended(args, what)
        end,
        sample = sample,
    }
end

--- cluster:restart("deployment/backend", { within = "10m" }): all its pods are replaced, once, and available → as status.
Cluster.restart = patched("restart", ANY, {}, function(args) return "restart " .. called(args) end,
    function(_, ctx) -- the annotation is this effect's own: set a second time it changes nothing
        return { spec = { template = { metadata = { annotations = {
            ["rollouthost/restarted"] = rt.sha256(run.id .. ctx.key):sub(1, 24) } } } } }
    end)

local scale = patched("scale", SCALED, { replicas = { "integer", required = true } }, function(args)
    return ("scale %s to %s"):format(called(args), tostring(args.replicas))
end, function(args) return { spec = { replicas = args.replicas } } end)

--- cluster:scale("deployment/backend", 0, { within }) → as status, and `before`: how many there were, for the undo.
function Cluster:scale(name, replicas, options)
    if not rt.is_unknown(replicas) and (math.type(replicas) ~= "integer" or replicas < 0) then
        rt.raise("usage", "cluster:scale: expects a deployment or a stateful set, and how many replicas there are to be")
    end
    target(name, "scale", SCALED)
    local before = self:status(name)
    local given = { replicas = replicas }
    for key, value in pairs(options or {}) do given[key] = value end
    local after = scale(self, name, given)
    after.before = before.replicas
    return after
end

local image = patched("set_image", ANY, { images = { "table", required = true } }, function(args)
    local parts = {}
    for container, name in pairs(args.images) do parts[#parts + 1] = container .. "=" .. tostring(name) end
    return ("set the image of %s to %s"):format(called(args), table.concat(parts, ", "))
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
                rt.raise("usage", ("cluster:set_image: %s %s has no container %q%s"):format((target(name, "set_image", ANY)),
                    status.name, container, hint and ": " .. hint or "; it has " .. table.concat(names, ", ")))
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
        args.where = self.where
        args.kind, args.name = target(name, "undo", ANY)
        args.template = type(before) == "table" and not rt.is_unknown(before) and before.template or before
        if not rt.is_unknown(args.template) and type(args.template) ~= "string" then
            rt.raise("usage", "cluster:undo: expects a deployment and what cluster:status told of it before")
        end
        return args
    end,
    describe = function(args) return ("take %s back to %s"):format(called(args), tostring(args.template)) end,
    call = function(args)
        local what = ("take %s back to %s"):format(called(args), args.template)
        local status, wanted = status_of(args, what), nil
        local found = with_template(args, status, what)
        for revision, template in pairs(found) do
            wanted = template == args.template and revision or wanted
        end
        if not wanted then
            rt.raise("gone", what .. ": the cluster does not keep it any more (revisionHistoryLimit)")
        elseif wanted ~= status.revision then
            refuse_by_hand(args, what)
            ask(args.where, what, { "rollout", "undo", args.kind .. "/" .. args.name, "--to-revision=" .. wanted }, true)
        end
        return ended(args, what)
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
        text = ("%s: %s of %s replicas new, %s available%s"):format(status.name, status.updated, status.replicas, status.available,
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
