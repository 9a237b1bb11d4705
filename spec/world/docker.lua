-- A real Docker engine in namespaces of its own: network, mounts and processes. Its containers, its containerd, its bridge and what
-- it mounted end with one process, also where the spec is killed. Nothing of it is seen outside but its socket.
--   local engine = docker.start()     { socket, host, folder, env }
--   engine:image("box", { … })        a small image of busybox;  engine:cli { "ps" };  engine:kill(), engine:restart()
--   docker.unavailable()              why there can be none here, or nil
local uv = require "luv"
local cleanup = require "spec.world.cleanup"
local files = require "spec.world.files"
local process = require "spec.world.process"

local M = {}

local Engine = {}
Engine.__index = Engine

-- The process that all others of the namespaces hang on; it ends with its standard input.
-- /run is where containerd leaves a socket for each container.
local INIT = "busybox ip link set lo up && busybox mount --make-rprivate / && busybox mount -t tmpfs none /run && echo ready && "
    .. "cat >/dev/null"

--- Containers need a root that may make namespaces.
function M.unavailable()
    local tried = process.run { "unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true" }
    if tried.code ~= 0 then
        return "no namespaces of one's own here: " .. tried.err:gsub("%s+$", "")
    end
end

local function ping(engine)
    return process.run({ "curl", "-s", "--max-time", "5", "--unix-socket", engine.socket, "http://docker/_ping" }).out == "OK"
end

function Engine:inside(command)
    local all = { "nsenter", "--target", tostring(self.pid), "--net", "--mount", "--pid" }
    return table.move(command, 1, #command, #all + 1, all)
end

local function begin(engine)
    local folder = engine.folder
    local command = engine:inside { "dockerd", "--data-root", folder .. "/data", "--exec-root", folder .. "/exec",
        "--pidfile", folder .. "/pid", "--host", engine.host, "--iptables=false", "--ip6tables=false", "--ip-forward=false",
        "--ip-masq=false", "--log-level", "error", "--cgroup-parent", engine.cgroup,
        "--exec-opt", "native.cgroupdriver=cgroupfs", "--config-file", folder .. "/daemon.json" }
    table.move(engine.flags, 1, #engine.flags, #command + 1, command)
    command.env = { XDG_CONFIG_HOME = folder, DOCKER_HOST = false }
    engine.daemon = process.start(command)
    cleanup.add(function() -- the namespaces first: all that dockerd has started ends with them
        engine.outer:kill("sigkill")
        process.turn_until(function() return engine.daemon.code end, 5)
    end)
    local up = process.turn_until(function()
        return engine.daemon.code and "ended" or files.exists(engine.socket) and ping(engine) and "up"
    end, 60)
    if up ~= "up" then
        error("dockerd does not start: " .. engine.daemon.err:sub(-2000), 3)
    end
end

local function remove_groups_in(folder)
    local scan = uv.fs_scandir(folder)
    for name in function() return scan and uv.fs_scandir_next(scan) end do
        local found = uv.fs_stat(folder .. "/" .. name)
        if found and found.type == "directory" then
            remove_groups_in(folder .. "/" .. name)
        end
    end
    uv.fs_rmdir(folder)
end

-- What the kernel keeps of their control groups when all processes are gone: one tree, or one for each controller.
local function remove_groups(name)
    local root = "/sys/fs/cgroup"
    remove_groups_in(root .. "/" .. name)
    local scan = uv.fs_scandir(root)
    for controller in function() return scan and uv.fs_scandir_next(scan) end do
        remove_groups_in(("%s/%s/%s"):format(root, controller, name))
    end
end

local function in_use(name)
    local root = "/sys/fs/cgroup"
    local scan = uv.fs_scandir(root)
    for controller in function() return scan and uv.fs_scandir_next(scan) end do
        if files.exists(("%s/%s/%s"):format(root, controller, name)) then
            return true
        end
    end
    return files.exists(root .. "/" .. name)
end

--- options.flags: more of dockerd's.
function M.start(options)
    local why = M.unavailable()
    if why then
        error(why, 2)
    end
    local folder = files.temp()
    local engine = setmetatable({ folder = folder, socket = folder .. "/docker.sock", flags = options and options.flags or {},
        cgroup = "rh-spec-" .. folder:match("[^/]+$"):gsub("[^%w]", "") }, Engine)
    engine.host = "unix://" .. engine.socket
    engine.env = { DOCKER_HOST = engine.host, DOCKER_CONFIG = folder .. "/config" }
    files.write(folder .. "/daemon.json", "{}")
    cleanup.add(function() -- they are in use until the last process has died
        process.turn_until(function()
            remove_groups(engine.cgroup)
            return not in_use(engine.cgroup)
        end, 5)
    end)
    local outer = process.start { "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
        INIT,
        input = true }
    outer:wait_for("ready")
    engine.outer = outer
    engine.pid = tonumber(files.read(("/proc/%d/task/%d/children"):format(outer.pid, outer.pid)):match("%d+"))
    begin(engine)
    return engine
end

--- Kills dockerd alone: its containers go on.
function Engine:kill()
    local pid = tonumber(files.read(self.folder .. "/pid"))
    process.run(self:inside { "kill", "-9", tostring(pid) })
    self.daemon:wait()
end

function Engine:restart()
    begin(self)
end

--- The docker command, or another program that is to find this engine: { code, out, err }.
function Engine:run(command)
    command.env = self.env
    return process.run(command)
end

function Engine:cli(command)
    local result = self:run(table.move(command, 1, #command, 2, { "/usr/bin/docker" }))
    assert(result.code == 0, result.err)
    return (result.out:gsub("%s+$", ""))
end

-- Removes every container.
function Engine:clear()
    local command = { "rm", "-f" }
    for id in self:cli({ "ps", "-aq" }):gmatch "%x+" do
        command[#command + 1] = id
    end
    if #command > 2 then
        self:cli(command)
    end
end

--- A registry inside, which this engine alone can reach: "127.0.0.1:PORT".
function Engine:registry()
    local port, folder = 5000, self.folder .. "/registry"
    local config = files.write(self.folder .. "/registry.yml", ("version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\n"
        .. "http: { addr: 127.0.0.1:%d }\n"):format(folder, port))
    local server = process.start(self:inside { "docker-registry", "serve", config })
    local up = process.turn_until(function()
        return server.code and "ended" or process.run(self:inside { "busybox", "wget", "-q", "-O", "-",
            ("http://127.0.0.1:%d/v2/"):format(port) }).code == 0 and "up"
    end, 30)
    assert(up == "up", server.err)
    return "127.0.0.1:" .. port
end

--- An image of busybox: { changes of `docker import` }.
function Engine:image(name, changes)
    local root = self.folder .. "/root"
    if not files.exists(root) then
        local made = process.run { "sh", "-ec", [[mkdir -p "$0/bin" "$0/tmp" "$0/etc"
            cp "$(command -v busybox)" "$0/bin/busybox"
            for name in $("$0/bin/busybox" --list); do [ -e "$0/bin/$name" ] || ln -s busybox "$0/bin/$name"; done
            tar -C "$0" -cf "$0.tar" .]], root }
        assert(made.code == 0, made.err)
    end
    local command = { "import" }
    for _, change in ipairs(changes or {}) do
        table.move({ "--change", change }, 1, 2, #command + 1, command)
    end
    table.move({ root .. ".tar", name }, 1, 2, #command + 1, command)
    return self:cli(command)
end

return M
