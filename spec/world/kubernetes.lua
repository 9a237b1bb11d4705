-- Enough of a Kubernetes API server for the real kubectl: deployments with their replica sets and pods, a stateful set and a
-- daemon set with their controller revisions, in the shapes of
-- https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/ (deployment-v1, stateful-set-v1, daemon-set-v1,
-- controller-revision-v1). A roll-out takes a moment, and fails with a bad image.
local json = require "dkjson"
local stand_in = require "spec.world.stand_in"
local files = require "spec.world.files"

local M = {}

local function array(list)
    return setmetatable(list or {}, { __jsontype = "array" })
end

local function resource(name, kind, verbs)
    return { name = name, singularName = name:gsub("s$", "") .. "", namespaced = true, kind = kind, verbs = array(verbs
        or { "get", "list", "patch", "update", "watch" }) }
end

local DISCOVERY = {
    ["/api"] = { kind = "APIVersions", versions = array { "v1" }, serverAddressByClientCIDRs = array() },
    ["/apis"] = { kind = "APIGroupList", apiVersion = "v1", groups = array { { name = "apps",
        versions = array { { groupVersion = "apps/v1", version = "v1" } },
        preferredVersion = { groupVersion = "apps/v1", version = "v1" } } } },
    ["/api/v1"] = { kind = "APIResourceList", groupVersion = "v1", resources = array { resource("pods", "Pod") } },
    ["/apis/apps/v1"] = { kind = "APIResourceList", groupVersion = "apps/v1", resources = array {
        resource("deployments", "Deployment"), resource("replicasets", "ReplicaSet"),
        resource("statefulsets", "StatefulSet"), resource("daemonsets", "DaemonSet"),
        resource("controllerrevisions", "ControllerRevision") } },
}

local function merge(into, patch)
    for key, value in pairs(patch) do
        if type(value) == "table" and value["$patch"] == "replace" then -- as in a controller revision
            value["$patch"] = nil
            into[key] = value
        elseif key == "containers" then
            for _, container in ipairs(value) do
                for _, there in ipairs(into.containers) do
                    if there.name == container.name then merge(there, container) end
                end
            end
        elseif type(value) == "table" and type(into[key]) == "table" then
            merge(into[key], value)
        else
            into[key] = value ~= json.null and value or nil
        end
    end
end

-- What the two controllers tell of a set whose pods are all new, or of which one is and does not start.
local STATUS = {
    StatefulSet = function(set, bad, revision)
        local all = set.object.spec.replicas
        return { replicas = all, readyReplicas = all, availableReplicas = bad and all - 1 or all, currentReplicas = all,
            updatedReplicas = bad and 1 or all, updateRevision = revision, currentRevision = bad and set.before or revision,
            collisionCount = 0 }
    end,
    DaemonSet = function(_, bad)
        return { desiredNumberScheduled = 3, currentNumberScheduled = 3, numberReady = bad and 2 or 3, numberMisscheduled = 0,
            numberAvailable = bad and 2 or 3, updatedNumberScheduled = bad and 1 or 3 }
    end,
}

-- What tells whether two templates are the same, however their JSON is ordered.
local function canonical(template)
    local parts = {}
    local function walk(value, path)
        if type(value) == "table" then
            local keys = {}
            for key in pairs(value) do keys[#keys + 1] = key end
            table.sort(keys)
            for _, key in ipairs(keys) do walk(value[key], path .. "/" .. key) end
        else
            parts[#parts + 1] = path .. "=" .. tostring(value)
        end
    end
    walk(template, "")
    return table.concat(parts, "\n")
end

-- A stateful set or a daemon set: { object, revisions }, and what its controller does after a change.
local function controlled(kind, name, spec)
    local labels = { app = name }
    spec.selector = { matchLabels = labels }
    spec.template = { metadata = { labels = labels }, spec = { containers = array { { name = name, image = "shop/" .. name .. ":v1",
        env = array { { name = "PASSWORD", value = "k8s-hunter2-spec" } } } } } }
    local set = { object = { kind = kind, apiVersion = "apps/v1", spec = spec, metadata = { name = name, namespace = "default",
        uid = "u-" .. name, generation = 0, labels = labels } }, revisions = {}, pods = {} }
    function set.reconcile()
        local text = canonical(set.object.spec.template)
        local newest, found = 0, nil
        for _, one in ipairs(set.revisions) do
            newest = math.max(newest, one.revision)
            found = one.text == text and one or found
        end
        if not found then
            local template = json.decode(json.encode(set.object.spec.template))
            template["$patch"] = "replace"
            found = { text = text, kind = "ControllerRevision", apiVersion = "apps/v1", data = { spec = { template = template } },
                metadata = { name = ("%s-%d"):format(name, #set.revisions + 1), namespace = "default", labels = labels,
                    ownerReferences = array { { apiVersion = "apps/v1", kind = kind, name = name, uid = "u-" .. name,
                        controller = true } } } }
            table.insert(set.revisions, found)
        end
        if found.revision ~= newest or newest == 0 then
            found.revision = newest + 1
        end
        local meta, bad = set.object.metadata, text:find "bad"
        meta.generation = meta.generation + 1
        set.object.status = STATUS[kind](set, true, found.metadata.name)
        set.object.status.observedGeneration = meta.generation - 1
        set.later = STATUS[kind](set, bad, found.metadata.name)
        set.later.observedGeneration = meta.generation
        set.before = not bad and found.metadata.name or set.before
        set.pods = bad and { { metadata = { name = name .. "-0" }, status = { phase = "Pending", containerStatuses = array { {
            restartCount = 4, state = { waiting = { reason = "CrashLoopBackOff", message = "back-off" } } } } } } } or {}
    end
    set.reconcile()
    set.object.status = set.later
    return set
end

--- → the stand-in, with `deployment`, `sets`, `statefulset`, `daemonset`, `config` (a kubeconfig); `refuses`: it lets nobody in.
function M.start()
    local self
    local hashes = 0
    local function template_text()
        local copy = json.decode(json.encode(self.deployment.spec.template))
        copy.metadata.labels["pod-template-hash"] = nil
        return canonical(copy)
    end

    -- What the controllers do after a change.
    local function reconcile()
        local deployment, text = self.deployment, template_text()
        local set
        for _, one in ipairs(self.sets) do
            set = one.text == text and one or set
        end
        if not set then
            hashes = hashes + 1
            local labels = { app = "backend", ["pod-template-hash"] = "hash" .. hashes }
            set = { text = text, object = {
                metadata = { name = "backend-hash" .. hashes, namespace = "default", uid = "rs" .. hashes, labels = labels,
                    annotations = {}, ownerReferences = array { { apiVersion = "apps/v1", kind = "Deployment", name = "backend",
                    uid = "d1", controller = true } } },
                spec = { replicas = 0, selector = { matchLabels = labels },
                    template = json.decode(json.encode(deployment.spec.template)) } } }
            set.object.spec.template.metadata.labels["pod-template-hash"] = "hash" .. hashes
            table.insert(self.sets, set)
        end
        if self.current ~= set then
            self.revision, self.current = self.revision + 1, set
            set.object.metadata.annotations["deployment.kubernetes.io/revision"] = tostring(self.revision)
            deployment.metadata.annotations["deployment.kubernetes.io/revision"] = tostring(self.revision)
        end
        deployment.metadata.generation = deployment.metadata.generation + 1
        local bad = deployment.spec.template.spec.containers[1].image:find "bad"
        local replicas = deployment.spec.replicas
        deployment.status = { observedGeneration = deployment.metadata.generation - 1, replicas = replicas,
            conditions = array { { type = "Available", status = "True", reason = "MinimumReplicasAvailable", message = "" } } }
        self.later = { observedGeneration = deployment.metadata.generation, replicas = bad and replicas + 1 or replicas,
            updatedReplicas = bad and 1 or replicas, readyReplicas = replicas, availableReplicas = replicas,
            conditions = array { { type = "Progressing", status = bad and "False" or "True", message = "has timed out progressing",
                reason = bad and "ProgressDeadlineExceeded" or "NewReplicaSetAvailable" } } }
        self.pods = bad and { { metadata = { name = "backend-x" }, status = { phase = "Pending", containerStatuses = array { {
            restartCount = 0, state = { waiting = { reason = "ImagePullBackOff", message = "no such image" } } } } } } } or {}
    end

    local function list(kind, items)
        return { kind = kind .. "List", apiVersion = kind == "Pod" and "v1" or "apps/v1", metadata = { resourceVersion = "1" },
            items = array(items) }
    end

    local function missing(kind, name)
        return 404, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Failure", reason = "NotFound", code = 404,
            message = ('%s.apps "%s" not found'):format(kind, name), details = { name = name, group = "apps", kind = kind } }
    end

    -- Told as it is now; what comes of it is there when it is asked the next time.
    local function told(object, later)
        local text = json.encode(object)
        object.status = later
        return 200, setmetatable({}, { __jsontype = "object", __tojson = function() return text end })
    end

    local function of_set(set, request)
        if request.method == "GET" then
            return told(set.object, set.later)
        end
        merge(set.object, request.json)
        set.reconcile()
        return 200, set.object
    end

    self = stand_in.start(function(request)
        local path = request.path
        if self.refuses then
            return 401, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Failure", reason = "Unauthorized",
                code = 401, message = "Unauthorized" }
        elseif DISCOVERY[path] then
            return 200, DISCOVERY[path]
        elseif path == "/version" then
            return 200, { major = "1", minor = "28", gitVersion = "v1.28.0" }
        end
        local kind, name = path:match "^/apis?/.-/?namespaces/default/(%l+)/?(.*)$"
        local controlled_set = ({ statefulsets = self.statefulset, daemonsets = self.daemonset })[kind]
        if kind == "pods" then
            local asked = request.query.labelSelector or ""
            local of = asked == "app=db" and self.statefulset or asked == "app=agent" and self.daemonset or self
            return 200, list("Pod", of.pods)
        elseif controlled_set and controlled_set.object.metadata.name == name then
            return of_set(controlled_set, request)
        elseif controlled_set then
            return missing(kind, name)
        elseif kind == "controllerrevisions" then
            local items = {}
            for _, one in ipairs { self.statefulset, self.daemonset } do
                table.move(one.revisions, 1, #one.revisions, #items + 1, items)
            end
            return 200, list("ControllerRevision", items)
        elseif kind == "replicasets" then
            local items = {}
            for i, set in ipairs(self.sets) do items[i] = set.object end
            return 200, list("ReplicaSet", items)
        elseif kind == "deployments" and name ~= "backend" then
            return missing(kind, name)
        elseif kind == "deployments" and request.method == "GET" then
            return told(self.deployment, self.later)
        elseif kind == "deployments" and (request.method == "PATCH" or request.method == "PUT") then
            if request.headers["content-type"]:find "json%-patch" then -- kubectl's undo: replaces /spec/template and annotations
                for _, operation in ipairs(request.json) do
                    if operation.path == "/spec/template" then
                        self.deployment.spec.template = operation.value
                        self.deployment.spec.template.metadata.labels["pod-template-hash"] = nil
                    end
                end
            else
                merge(self.deployment, request.json)
            end
            reconcile()
            return 200, self.deployment
        end
        return 404, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Failure", reason = "NotFound", code = 404,
            message = "the server could not find the requested resource" }
    end)
    self.sets, self.revision, self.pods = {}, 0, {}
    self.statefulset = controlled("StatefulSet", "db", { replicas = 2, serviceName = "db",
        updateStrategy = { type = "RollingUpdate", rollingUpdate = { partition = 0 } } })
    self.daemonset = controlled("DaemonSet", "agent", { updateStrategy = { type = "RollingUpdate" } })
    self.deployment = { kind = "Deployment", apiVersion = "apps/v1", metadata = { name = "backend", namespace = "default",
        uid = "d1", generation = 0, annotations = {}, labels = { app = "backend" } }, spec = { replicas = 2,
        selector = { matchLabels = { app = "backend" } }, template = { metadata = { labels = { app = "backend" } },
        spec = { containers = array { { name = "backend", image = "shop/backend:v1",
            env = array { { name = "PASSWORD", value = "k8s-hunter2-spec" } } } } } } } }
    reconcile()
    self.deployment.status = self.later
    self.config = files.write(files.temp() .. "/kubeconfig", ([[
apiVersion: v1
kind: Config
current-context: spec
clusters: [{ name: spec, cluster: { server: "%s" } }]
users: [{ name: spec, user: {} }]
contexts: [{ name: spec, context: { cluster: spec, user: spec, namespace: default } }]
]]):format(self.url))
    return self
end

return M
