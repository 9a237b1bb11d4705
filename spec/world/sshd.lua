-- A real sshd on loopback, with keys of its own, for the user who runs the specs.
--   local server = sshd.start()
--   server:url(path) → an ssh:// URL;  server.command → what to run as ssh, which knows the host and has the key
local files = require "spec.world.files"
local process = require "spec.world.process"
local tcp = require "spec.world.tcp"

local M = {}

local CONFIG = [[
Port %d
ListenAddress 127.0.0.1
HostKey %s/host_key
PidFile none
AuthorizedKeysFile %s/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
MaxStartups 100
Subsystem sftp internal-sftp
]]

local Server = {}
Server.__index = Server

-- An ed25519 key pair; the path of the private one.
function M.key(path)
    local made = process.run { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "spec", "-f", path }
    assert(made.code == 0, made.err)
    return path
end

local function known(server, key)
    return ("[127.0.0.1]:%d %s"):format(server.port, files.read(key .. ".pub"))
end

-- { folder, port, user, key, known_hosts, command, process }. options.accept: a forced command for everyone who logs in;
-- options.home: their home.
function M.start(options)
    local folder = files.temp()
    local server = setmetatable({ folder = folder, port = tcp.free_port(),
        user = process.run({ "id", "-un" }).out:gsub("%s+$", "") }, Server)
    server.host_key = M.key(folder .. "/host_key")
    server.key = M.key(folder .. "/user_key")
    local forced = options and options.accept and ('command="%s" '):format(options.accept) or ""
    files.write(folder .. "/authorized_keys", forced .. files.read(server.key .. ".pub"))
    server.known_hosts = files.write(folder .. "/known_hosts", known(server, server.host_key))
    files.write(folder .. "/sshd_config", CONFIG:format(server.port, folder, folder)
        .. (options and options.home and "SetEnv HOME=" .. options.home .. "\n" or ""))
    -- sshd wants its whole path, and its separation folder, which a machine that never booted it does not have.
    process.run { "sh", "-c", "test -d /run/sshd || mkdir -p /run/sshd" }
    server.process = process.start { "/usr/sbin/sshd", "-D", "-e", "-f", folder .. "/sshd_config" }
    local up = process.turn_until(function()
        return server.process.code and "ended" or (tcp.accepts(server.port) and "up")
    end, 20)
    if up ~= "up" then
        error("sshd does not start: " .. server.process.err, 2)
    end
    server.command = server:ssh()
    return server
end

-- The ssh command line with other files than the server's: { key, known_hosts }.
function Server:ssh(other)
    other = other or {}
    return ("ssh -F none -o IdentitiesOnly=yes -o IdentityFile=%s -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes")
        :format(other.key or self.key, other.known_hosts or self.known_hosts)
end

-- An ssh configuration file that says the same, for ~/.ssh/config or ssh -F.
function Server:config(path)
    return files.write(path, ("Host *\n  IdentitiesOnly yes\n  IdentityFile %s\n  UserKnownHostsFile %s\n")
        :format(self.key, self.known_hosts), "600")
end

function Server:url(path)
    return ("ssh://%s@127.0.0.1:%d%s"):format(self.user, self.port, path)
end

-- The pids of the connections that runs have opened by that configuration file, a line each.
function M.connections(config)
    return process.run({ "sh", "-c", "ps -eo pid,args | awk '/[s]sh .*-M -N -f/ && index($0, \"" .. config
        .. "\") { print $1 }'" }).out
end

-- Ends them: a run that has not come to its end leaves its own to the run that goes on with it.
function M.disconnect(config)
    for pid in M.connections(config):gmatch "%d+" do
        process.run { "kill", pid }
    end
end

-- What known_hosts would say if the server had that key.
function Server:known_as(key)
    return known(self, key)
end

return M
