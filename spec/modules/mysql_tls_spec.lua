local t = require "spec.helper"
local play = require "spec.modules.mysql_play"

describe("mysql over TLS", function()
    local certificates, good

    local function serve(certificate)
        return t.mariadb { args = { "--ssl-cert=" .. certificate.cert, "--ssl-key=" .. certificate.key,
            "--ssl-ca=" .. certificates.ca } }
    end

    setup(function()
        certificates = t.certificates()
        good = serve(certificates.good)
        good:sql("CREATE TABLE one (id INT); INSERT INTO one VALUES (1)", "app")
    end)

    local function at(server, text)
        return play.body(server:url() .. "?ssl-mode=required&ssl-ca=" .. certificates.ca, text)
    end

    it("encrypts", function()
        assert.matches("%w+", (at(good, [[return db:one("SHOW STATUS LIKE 'Ssl_cipher'").Value]])))
    end)

    it("backs up and restores", function()
        local value, problem = at(good, ([[return db:restore(db:dump { to = %q }).rows]]):format(t.temp()))
        assert.is_nil(problem and problem.message)
        assert.equal(1, value)
    end)

    it("refuses an authority that it does not know", function()
        local _, problem = play.body(good:url() .. "?ssl-mode=required", [[db:query "SELECT 1"]])
        assert.equal("tls", problem.code, problem.message)
    end)

    for _, name in ipairs { "expired", "wrong_name", "unknown" } do
        it("refuses a certificate: " .. name, function()
            local value, problem = at(serve(certificates[name]), [[return db:value "SELECT 1"]])
            assert.is_nil(value)
            assert.equal("tls", problem.code, problem.message)
        end)
    end
end)
