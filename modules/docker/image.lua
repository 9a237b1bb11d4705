-- Images: looked at, fetched, named, sent, built, loaded, removed.
local _, rt, engine, command = ...

local M = {}

-- "registry:5000/app:v1" → "registry:5000/app", "v1"; with a digest that
local function split(name)
    local repository, digest = name:match("^(.-)@(sha256:%x+)$")
    if repository then
        return repository, digest
    end
    repository = name:match("^(.*):[%w_%.%-]+$")
    if repository and not name:sub(#repository + 2):find("/", 1, true) then
        return repository, name:sub(#repository + 2)
    end
    return name, "latest"
end

local function look(of, name, ok)
    local status, found = engine.ask(of, { path = "/images/" .. engine.escaped(name) .. "/json", ok = ok, missing = "no_image",
        doing = "look at the image " .. name })
    return status < 400 and found or nil
end

local function digest_of(found, name)
    local repository = name and split(name)
    for _, one in ipairs(found.RepoDigests or {}) do
        local of, digest = one:match("^(.-)@(.*)$")
        if not repository or of == repository then
            return digest
        end
    end
end

local function shape(found, name)
    return { id = found.Id, names = rt.json.array(found.RepoTags or {}), digest = digest_of(found, name),
        digests = rt.json.array(found.RepoDigests or {}), created = found.Created, size = found.Size, os = found.Os,
        architecture = found.Architecture, labels = found.Config and found.Config.Labels or {} }
end

local function sampled(args)
    local value = {}
    for _, field in ipairs { "id", "digest", "created", "size" } do
        value[field] = rt.unknown(("%s of %s"):format(field, tostring(args.image)))
    end
    return value
end

-- Of (handle, name, options).
local function on_image(verb, def)
    local where = "docker." .. verb
    local spec = def.options or {}
    def.name = where
    def.args = function(handle, name, options)
        local args = rt.options(options or {}, spec, where)
        args.engine, args.image = engine.plain(handle, where), engine.word(name, where, "the image")
        return args
    end
    local words = def.words
    def.describe = function(args) return words .. " " .. tostring(args.image) .. (args.as and " as " .. tostring(args.as) or "") end
    def.sample = def.sample or sampled
    def.options, def.words = nil, nil
    return rt.effect(def)
end

-- ---- looking ----

M.images = rt.effect {
    name = "docker.images",
    class = "read",
    args = function(handle, options)
        local where = "docker.images"
        local given = rt.options(options or {}, { name = "string", label = "string" }, where)
        return { engine = engine.plain(handle, where), filters = engine.compact { reference = given.name and { given.name },
            label = given.label and { given.label } } }
    end,
    describe = function() return "list images" end,
    call = function(args)
        local _, found = engine.ask(args.engine, { path = "/images/json", query = { filters = args.filters },
            doing = "list the images" })
        local list = {}
        for i, one in ipairs(found) do
            list[i] = { id = one.Id, names = rt.json.array(one.RepoTags or {}), digests = rt.json.array(one.RepoDigests or {}),
                size = one.Size, created = one.Created * 1000, labels = one.Labels or {} }
        end
        return rt.json.array(list)
    end,
    sample = function() return rt.json.array {} end,
}

M.image = on_image("image", {
    class = "read", words = "look at image",
    call = function(args)
        local found = look(args.engine, args.image, { 404 })
        return found and shape(found, args.image)
    end,
})

M.digest = on_image("digest", {
    class = "read", words = "digest in its registry of", options = { auth = "table" },
    call = function(args)
        local _, found = engine.ask(args.engine, { path = "/distribution/" .. engine.escaped(args.image) .. "/json",
            auth = args.auth,
            missing = "no_image",
            doing = "ask the registry for the digest of " .. args.image })
        return found.Descriptor and found.Descriptor.digest
    end,
    sample = function(args) return rt.unknown("digest of " .. tostring(args.image)) end,
})

-- ---- what comes bit by bit ----

local NOT_THERE = { "not found", "manifest unknown", "does not exist", "repository name not known" }

local function refused(doing, said)
    local code = "docker"
    for _, words in ipairs(NOT_THERE) do
        code = said:find(words, 1, true) and "no_image" or code
    end
    if code == "docker" and (engine.not_for_us(said) or said:find("denied", 1, true)) then
        code = "permission"
    end
    rt.raise(code, ("docker: could not %s: %s"):format(doing, rt.readable(said)))
end

-- Follows what the engine says of a transfer, layer by layer; each(line) sees what is no progress.
local function follow(args, request, ctx, each)
    local layers = {}
    local answer <close> = engine.open(args.engine, request)
    for line in engine.lines(answer) do
        if line.error then
            refused(request.doing, tostring(line.error))
        end
        local progress = line.progressDetail
        if line.id and progress and progress.total then
            layers[line.id] = progress
            local done, total = 0, 0
            for _, one in pairs(layers) do
                done, total = done + (one.current or 0), total + one.total
            end
            ctx.progress(done, total, "bytes")
        elseif each then
            each(line)
        end
    end
end

M.pull = on_image("pull", {
    class = "idempotent", words = "pull", options = { auth = "table", platform = "string" },
    call = function(args, ctx)
        local repository, tag = split(args.image)
        follow(args, { method = "POST", path = "/images/create", auth = args.auth, missing = "no_image",
            doing = "pull " .. args.image,
            query = { fromImage = repository, tag = tag, platform = args.platform } }, ctx)
        return shape(look(args.engine, args.image), args.image)
    end,
})

M.push = on_image("push", {
    class = "idempotent", words = "push", options = { auth = "table" },
    call = function(args, ctx)
        local repository, tag = split(args.image)
        local digest
        follow(args, { method = "POST", path = ("/images/%s/push"):format(engine.escaped(repository)), query = { tag = tag },
            missing = "no_image",
            auth = args.auth or { username = "" }, doing = "push " .. args.image }, ctx, function(line)
            digest = line.aux and line.aux.Digest or digest
        end)
        return { image = args.image, digest = digest }
    end,
    sample = function(args) return { image = args.image, digest = rt.unknown("digest of " .. tostring(args.image)) } end,
})

M.load = rt.effect {
    name = "docker.load",
    class = "idempotent",
    args = function(handle, path)
        return { engine = engine.plain(handle, "docker.load"), path = engine.word(path, "docker.load", "the archive") }
    end,
    describe = function(args) return "load images from " .. tostring(args.path) end,
    call = function(args, ctx)
        local names = {}
        follow(args, { method = "POST", path = "/images/load", query = { quiet = true }, file = args.path,
            headers = { "Content-Type: application/x-tar" }, doing = "load images from " .. args.path }, ctx, function(line)
            for name in (line.stream or ""):gmatch("Loaded image[^:]*: (%S+)") do
                names[#names + 1] = name
            end
        end)
        return { names = rt.json.array(names) }
    end,
    sample = function(args) return { names = rt.unknown("images of " .. tostring(args.path)) } end,
    exact = { "path" },
}

-- ---- names ----

M.tag = on_image("tag", {
    class = "idempotent", words = "tag image", options = { as = { "string", required = true } },
    call = function(args)
        local repository, tag = split(engine.word(args.as, "docker.tag", "as"))
        engine.ask(args.engine, { method = "POST", path = "/images/" .. engine.escaped(args.image) .. "/tag", missing = "no_image",
            query = { repo = repository, tag = tag }, doing = ("tag %s as %s"):format(args.image, args.as) })
        return shape(look(args.engine, args.as), args.as)
    end,
})

M.remove_image = on_image("remove_image", {
    class = "idempotent", words = "remove image", options = { force = "boolean" },
    call = function(args)
        engine.ask(args.engine, { method = "DELETE", path = "/images/" .. engine.escaped(args.image), ok = { 404 }, timeout = false,
            query = engine.compact { force = args.force }, doing = "remove the image " .. args.image })
        return true
    end,
    sample = function() return true end,
})

-- ---- building: by the docker command, so that a build outlives its host ----

local function build_argv(args)
    local argv = { "build", "--tag", args.image }
    local function add(option, value)
        if value then
            argv[#argv + 1] = option
            argv[#argv + 1] = value ~= true and value or nil
        end
    end
    add("--file", args.file)
    add("--target", args.target)
    add("--platform", args.platform)
    add("--pull", args.pull)
    add("--no-cache", args.no_cache)
    for name in pairs(args.args or {}) do
        add("--build-arg", name) -- its value comes from the command's environment
    end
    for name, value in pairs(args.labels or {}) do
        add("--label", ("%s=%s"):format(name, tostring(value)))
    end
    add("--", args.context)
    return argv
end

M.build = rt.effect {
    name = "docker.build",
    class = "idempotent",
    command = true,
    args = function(handle, context, options)
        local where = "docker.build"
        local args = rt.options(options or {}, { tag = { "string", required = true }, file = "string", target = "string",
            platform = "string", pull = "boolean", no_cache = "boolean", args = "table", labels = "table" }, where)
        args.engine, args.context = engine.plain(handle, where), engine.word(context, where, "the folder")
        args.image, args.tag = engine.word(args.tag, where, "tag"), nil
        return args
    end,
    describe = function(args) return ("build image %s from %s"):format(tostring(args.image), tostring(args.context)) end,
    call = function(args, ctx)
        local result = command.docker(ctx, args.engine, build_argv(args), { env = args.args })
        if result.code ~= 0 then
            rt.raise("build", ("docker: the image %s could not be built (exit %s)%s\n  the whole output: %s"):format(args.image,
                tostring(result.signal or result.code), command.said(result), tostring(ctx.log)), { code = result.code,
                    log = ctx.log })
        end
        return shape(look(args.engine, args.image), args.image)
    end,
    sample = sampled,
}

return M
