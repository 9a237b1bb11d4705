-- The docker command and compose, run by sh: so they outlive the host, and their output is in the step's log.
local _, rt, engine = ...

local M = {}

local function fresh_id(sh, ctx)
    local n = 0
    local id
    repeat
        n = n + 1
        id = ctx.id .. ".d" .. n
    until sh.state(id) == "never"
    return id
end

--- The options that lead docker, and compose, to an engine.
local function to_engine(of)
    local place = engine.reach(of)
    local argv = { "--host", place.ssh and "unix://" .. place.unix_socket or place.host }
    if place.ca then
        table.move({ "--tlsverify", "--tlscacert", place.ca }, 1, 3, 3, argv)
    end
    if place.certificate then
        table.move({ "--tlscert", place.certificate, "--tlskey", place.key }, 1, 4, #argv + 1, argv)
    end
    return argv
end

-- opts: main (default true: the command that the effect is about; after a crash it is found again, and its output is in the
-- step's log), env, cwd, timeout, input.
local function execute(ctx, argv, opts)
    local sh = rt.native("sh")
    local main = opts.main ~= false
    local env = { DOCKER_HOST = false, DOCKER_CONTEXT = false, DOCKER_CLI_HINTS = "false", COMPOSE_ANSI = "never" }
    for i, word in ipairs(argv) do -- docker-compose builds by a docker command of its own, which hears of neither
        if word == "--host" then
            env.DOCKER_HOST = argv[i + 1]
        elseif word == "--tlsverify" then
            env.COMPOSE_DOCKER_CLI_BUILD = "0"
        end
    end
    for name, value in pairs(opts.env or {}) do
        env[name] = value
    end
    local ok, result = pcall(sh.run, { id = main and ctx.id or fresh_id(sh, ctx), argv = argv, env = env, cwd = opts.cwd,
        timeout = opts.timeout, input = opts.input, log = main and ctx.log or nil })
    if not ok and type(result) == "table" and result.code == "command_not_found" then
        rt.raise("command_not_found", ("docker: there is no command %s here, or it is not in PATH"):format(argv[1]))
    elseif not ok and type(result) == "table" and result.code == "cwd" then
        rt.raise("usage", ("docker: there is no folder %s"):format(tostring(opts.cwd)))
    elseif not ok then
        error(result, 0)
    elseif result.timed_out then
        rt.raise("timeout", ("docker: `%s` was still running after %s and was ended%s"):format(table.concat(argv, " ", 1, 3),
            rt.show_duration(opts.timeout), M.said(result)))
    end
    return result
end

--- The last lines of what a command said.
function M.said(result)
    local said = rt.last_said(result, 10)
    return said ~= "" and ":\n  " .. said or ", and it printed nothing"
end

local function joined(...)
    local all = {}
    for _, list in ipairs { ... } do
        table.move(list, 1, #list, #all + 1, all)
    end
    return all
end

--- Runs the docker command at that engine.
function M.docker(ctx, of, argv, opts)
    return execute(ctx, joined({ "docker" }, to_engine(of), argv), opts or {})
end

local plugin -- whether `docker compose` is there; docker-compose is asked otherwise

--- Runs compose for a project { engine, project, files, cwd, env, profiles, env_file }.
function M.compose(ctx, app, argv, opts)
    opts = opts or {}
    if plugin == nil then
        local ok, found = pcall(execute, ctx, { "docker", "compose", "version" }, { main = false, timeout = 30000 })
        if not ok and not (type(found) == "table" and found.code == "command_not_found") then
            error(found, 0)
        end
        plugin = ok and found.code == 0
    end
    local options = { "--ansi", "never", "--project-name", app.project }
    for _, file in ipairs(app.files) do
        table.move({ "--file", file }, 1, 2, #options + 1, options)
    end
    for _, profile in ipairs(app.profiles or {}) do
        table.move({ "--profile", profile }, 1, 2, #options + 1, options)
    end
    if app.env_file then
        table.move({ "--env-file", app.env_file }, 1, 2, #options + 1, options)
    end
    local start = plugin and joined({ "docker" }, to_engine(app.engine), { "compose" })
        or joined({ "docker-compose" }, to_engine(app.engine))
    local env = {}
    for _, given in ipairs { app.env or {}, opts.env or {} } do
        for name, value in pairs(given) do
            env[name] = value
        end
    end
    return execute(ctx, joined(start, options, argv), { env = env, cwd = app.cwd, timeout = opts.timeout, input = opts.input,
        main = opts.main })
end

return M
