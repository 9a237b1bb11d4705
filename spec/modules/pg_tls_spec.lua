local t = require "spec.helper"
local play = require "spec.modules.pg_play"

describe("pg over TLS", function()
    local certificates, good

    -- Nobody gets in without TLS.
    local function serve(certificate)
        return t.postgres { ssl = { cert = certificate.cert, key = certificate.key, ca = certificates.ca },
            hba = "hostnossl all all 127.0.0.1/32 reject" }
    end

    setup(function()
        certificates = t.certificates()
        good = serve(certificates.good)
    end)

    local ENCRYPTED = [[return db:value "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]]

    local function at(server, more, text)
        return play.body(server:url() .. "?sslmode=require" .. (more or "&sslrootcert=" .. certificates.ca), text or ENCRYPTED)
    end

    it("encrypts", function()
        local value, problem = at(good)
        assert.is_nil(problem and problem.message)
        assert.is_true(value)
    end)

    it("encrypts also where nobody asks for it, if the server wants it", function()
        assert.is_true(play.value(good:url(), ENCRYPTED))
    end)

    it("takes the authority from Prisma's parameter, and from the environment's list", function()
        assert.is_true((at(good, "&sslcert=" .. certificates.ca)))
        assert.is_true((play.body(good:url() .. "?sslmode=require", ENCRYPTED, { env = { SSL_CERT_FILE = certificates.ca } })))
    end)

    it("refuses an authority that it does not know, and says which ones it does", function()
        local _, problem = at(good, "")
        assert.equal("tls", problem.code, problem.message)
        assert.matches("authority in /.*sslrootcert=FILE", problem.message)
    end)

    for name, why in pairs { expired = "verify failed", wrong_name = "does not match host name", unknown = "verify failed" } do
        it("refuses a certificate: " .. name, function()
            local server = serve(certificates[name])
            local value, problem = at(server)
            assert.is_nil(value)
            assert.equal("tls", problem.code, problem.message)
            assert.matches(why, problem.message)
            local log = server:log()
            assert.is_nil(log:find("authenticated", 1, true))
        end)
    end

    it("refuses a server without TLS, and says how to turn it off", function()
        local plain = t.postgres()
        local _, problem = at(plain)
        assert.equal("tls", problem.code, problem.message)
        assert.matches("does not support SSL.*sslmode=disable", problem.message)
        assert.is_false(play.value(plain:url() .. "?sslmode=disable", ENCRYPTED))
    end)

    it("does not talk where TLS is switched off and the server wants it", function()
        local _, problem = play.body(good:url() .. "?sslmode=disable", ENCRYPTED)
        assert.equal("access_denied", problem.code, problem.message)
        assert.matches("no encryption", problem.message)
    end)

    it("shows a certificate of its own", function()
        local server = t.postgres { ssl = { cert = certificates.good.cert, key = certificates.good.key, ca = certificates.ca },
            hba = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca" }
        local _, problem = at(server)
        assert.equal("access_denied", problem.code, problem.message)
        assert.is_true((at(server, ("&sslrootcert=%s&sslcert=%s&sslkey=%s"):format(certificates.ca, certificates.good.cert,
            certificates.good.key))))
    end)

    it("ends a statement that takes too long, and goes on", function()
        local value, problem = at(good, nil, [[
            local slow = pg.database(cfg.DATABASE_URL, { timeout = "200ms" })
            return { try(slow.value, slow, "SELECT pg_sleep(30)").code, db:value "SELECT 1" }]])
        assert.is_nil(problem and problem.message)
        assert.same({ "timeout", 1 }, value)
    end)
end)
