-- A certificate authority and server certificates for 127.0.0.1 and localhost: a good one, an expired one, one for
-- another name, one by an authority that nobody knows, one that is not valid yet, and one that nobody has signed.
local files = require "spec.world.files"
local process = require "spec.world.process"

local M = {}

local function openssl(folder, ...)
    local result = process.run { cwd = folder, "openssl", ... }
    assert(result.code == 0, result.err)
end

local function authority(folder, name)
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=" .. name, "-days", "30", "-keyout", name .. ".key", "-out", name .. ".pem")
end

local function certificate(folder, by, name, subject, dates)
    openssl(folder, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=" .. name, "-keyout", name .. ".key", "-out", name .. ".csr")
    files.write(folder .. "/" .. name .. ".ext", "subjectAltName=" .. subject .. "\n")
    -- `openssl ca` is the one that takes dates in the past
    files.write(folder .. "/" .. name .. ".db", "")
    files.write(folder .. "/" .. name .. ".cnf", ([[
[ca]
default_ca = this
[this]
new_certs_dir = .
database = %s.db
default_md = sha256
policy = any
rand_serial = yes
[any]
commonName = supplied
]]):format(name))
    openssl(folder, "ca", "-batch", "-notext", "-config", name .. ".cnf", "-extfile", name .. ".ext",
        "-cert", by .. ".pem", "-keyfile", by .. ".key", "-startdate", dates[1], "-enddate", dates[2],
        "-in", name .. ".csr", "-out", name .. ".pem")
    return { cert = folder .. "/" .. name .. ".pem", key = folder .. "/" .. name .. ".key" }
end

-- Returns { ca, good, expired, wrong_name, unknown, future, self_signed }: ca a file, the others { cert, key }.
function M.make(folder)
    local here = "IP:127.0.0.1,DNS:localhost"
    local now = { os.date("!%Y%m%d%H%M%SZ", os.time() - 86400), os.date("!%Y%m%d%H%M%SZ", os.time() + 864000) }
    local past = { "20240101000000Z", "20240201000000Z" }
    local future = { "20990101000000Z", "20990201000000Z" }
    authority(folder, "authority")
    authority(folder, "stranger")
    return {
        ca = folder .. "/authority.pem",
        good = certificate(folder, "authority", "good", here, now),
        expired = certificate(folder, "authority", "expired", here, past),
        wrong_name = certificate(folder, "authority", "elsewhere", "DNS:elsewhere.example", now),
        unknown = certificate(folder, "stranger", "unknown", here, now),
        future = certificate(folder, "authority", "future", here, future),
        self_signed = { cert = folder .. "/stranger.pem", key = folder .. "/stranger.key" },
    }
end

return M
