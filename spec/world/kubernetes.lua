-- Enough of a Kubernetes API server for the real kubectl: deployments with their replica sets and pods, in the shapes of
-- https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/. A roll-out takes a moment, and fails with a bad image.
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
        resource("deployments", "Deployment"), resource("replicasets", "ReplicaSet") } },
}

local function merge(into, patch)
    for key, value in pairs(patch) do
        if key == "containers" then
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

--- → the stand-in, with `deployment`, `sets`, `config` (a kubeconfig); `refuses`: it lets nobody in.
function M.start()
    local self
    local hashes = 0
    local keyed = { keyorder = { "metadata", "spec" } }

    local function template_text()
        local copy = json.decode(json.encode(self.deployment.spec.template, keyed))
        copy.metadata.labels["pod-template-hash"] = nil
        local parts = {}
        local function walk(value, path)
            if type(value) == "table" then
                local keys = {}
                for key in pairs(value) do keys[#keys + 1] = tostring(key) end
                table.sort(keys)
                for _, key in ipairs(keys) do walk(value[key] == nil and value[tonumber(key)] or value[key], path .. "/" .. key) end
            else
                parts[#parts + 1] = path .. "=" .. tostring(value)
            end
        end
        walk(copy, "")
        return table.concat(parts, "\n")
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

    local function missing(name)
        return 404, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Failure", reason = "NotFound", code = 404,
            message = ('deployments.apps "%s" not found'):format(name), details = { name = name, group = "apps",
            kind = "deployments" } }
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
        if kind == "pods" then
            return 200, list("Pod", self.pods)
        elseif kind == "replicasets" then
            local items = {}
            for i, set in ipairs(self.sets) do items[i] = set.object end
            return 200, list("ReplicaSet", items)
        elseif kind == "deployments" and name ~= "backend" then
            return missing(name)
        elseif kind == "deployments" and request.method == "GET" then
            local told = json.encode(self.deployment)
            self.deployment.status = self.later
            return 200, setmetatable({}, { __jsontype = "object", __tojson = function() return told end })
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
