local stub = dofile("spec/host/lang/stub.lua")
stub.engine.words = {}
stub.host.variable_in = function(path, name)
    local file = stub.files[path:match("^/start/(.*)")]
    if not file then return nil, "cannot be compared: there is no file " .. path end
    return file[name]
end
require "lang.variables"
local inputs = require "lang.inputs"
local urls = require "lang.urls"

local env = stub.engine.words.env

describe("env.require", function()
    before_each(function() stub.variables, stub.files, stub.mode = {}, {}, nil end)

    it("tells every problem at once, and no value", function()
        stub.variables = { SHORT = "short", PORT = "http", MAIL = "nobody", STAGE = "prod", DB = "mysql://u:p4ssw0rd@h/d" }
        local err = stub.raised(env.require, {
            SHORT = { min = 16 }, PORT = { format = "integer" }, MAIL = { format = "email" }, MISSING = { help = "ask kim" },
            STAGE = { one_of = { "staging", "production" } }, DB = { format = "postgresql" },
        })
        assert.equal("usage", err.code)
        for _, text in ipairs { "6 of 6", "SHORT has 5 characters, at least 16", "PORT is not an integer",
            "MAIL is not an e-mail", "MISSING is not set (ask kim)", "STAGE is none of staging, production",
            "DB is no URL that begins with postgresql://" } do
            assert.matches(text, err.message, 1, true)
        end
        assert.is_nil(err.message:find("p4ssw0rd", 1, true))
        assert.is_nil(err.message:find("short", 1, true))
    end)
    it("hides values unless they are public", function()
        stub.variables = { TOKEN = "token-of-mine", APP = "https://app.example", N = "5", FLAG = "no", E = "prod" }
        local cfg = env.require { TOKEN = {}, APP = { format = "https" }, N = { format = "integer" },
            FLAG = { format = "boolean" }, E = { one_of = { "prod" } } }
        assert.equal("‹secret TOKEN›", tostring(cfg.TOKEN))
        assert.equal("https://app.example", cfg.APP)
        assert.equal(5, cfg.N)
        assert.equal(false, cfg.FLAG)
        assert.equal("prod", cfg.E)
    end)
    it("hides of a URL the password only", function()
        stub.variables = { DB = "mysql://terp:s3cr3t%40x@db:3306/terp?ssl=1" }
        local url = env.require { DB = { format = "mysql" } }.DB
        assert.equal("mysql://terp:‹secret DB›@db:3306/terp?ssl=1", tostring(url))
        assert.equal("mysql://terp:s3cr3t%40x@db:3306/terp?ssl=1", stub.reveal(url))
    end)
    it("refuses a secret under 6 bytes", function()
        stub.variables = { TOKEN = "abc" }
        assert.matches("TOKEN", stub.raised(env.require, { TOKEN = {} }).message)
    end)
    it("compares with another file", function()
        stub.variables = { KEY = "same-value" }
        stub.files[".env.staging"] = { KEY = "same-value" }
        assert.matches("is the same as in .env.staging", stub.raised(env.require,
            { KEY = { differs = ".env.staging" } }).message, 1, true)
        stub.files[".env.staging"].KEY = "other-value"
        assert.is_not_nil(env.require({ KEY = { differs = ".env.staging" } }).KEY)
        assert.matches("cannot be compared", stub.raised(env.require, { KEY = { differs = ".env.stagin" } }).message)
    end)
    it("compares the passwords of URLs", function()
        local rules = { DB = { format = "postgresql", differs = ".env.example" } }
        stub.variables = { DB = "postgresql://app:p%40ssword@db.example.com/app" }
        stub.files[".env.example"] = { DB = "postgres://postgres:p@ssword@localhost:5432/dev" }
        local refused = stub.raised(env.require, rules).message
        assert.matches("has the same password as in .env.example", refused, 1, true)
        assert.is_nil(refused:find("ssword@", 1, true))
        stub.files[".env.example"].DB = "postgres://postgres:another@localhost:5432/dev"
        assert.is_not_nil(env.require(rules).DB)
        stub.files[".env.example"].DB = "not filled in"
        assert.is_not_nil(env.require(rules).DB)
    end)
    it("knows its names", function()
        local cfg = env.require { MAYBE = { optional = true } }
        assert.is_nil(cfg.MAYBE)
        assert.matches("was not required", stub.raised(function() return cfg.MAYB end).message)
        assert.equal("usage", stub.raised(function() cfg.MAYBE = 1 end).code)
        assert.equal("usage", stub.raised(env.require, { A = { format = "mysqk" } }).code)
        assert.equal("usage", stub.raised(env.require, { A = { formt = "mysql" } }).code)
        assert.equal("usage", stub.raised(env.require, { "A" }).code)
        assert.equal("usage", stub.raised(env.require, nil).code)
    end)
    it("plans without values", function()
        stub.mode = "plan"
        local cfg = env.require { TOKEN = {}, N = { format = "integer" }, DB_URL = { format = "mysql" }, E = { one_of = { "a" } } }
        assert.equal("‹secret TOKEN›", tostring(cfg.TOKEN))
        assert.equal(1, cfg.N)
        assert.equal("mysql://db-url.invalid/unset", cfg.DB_URL)
        assert.equal("a", cfg.E)
        assert.equal(4, #stub.said)
    end)
end)

describe("a URL", function()
    for text, password in pairs {
        ["postgres://u:secret@h/d"] = "secret", ["postgres://u:a@b:c@h:5432/d"] = "a@b:c", ["postgres://u@h/d"] = false,
        ["postgres://h/d?x=a:b@c"] = false, ["postgres://:only@[::1]:5432/d"] = "only",
    } do
        it(text, function() assert.equal(password, urls.parse(text, "postgresql").password or false) end)
    end
    for _, text in ipairs { "postgres://", "postgres:///d", "mysql://h", "h/d", "postgres://h:port/d", "postgres://h:99999",
        "postgres://h/a b", "postgres://u:p@/d" } do
        it("not " .. text, function() assert.is_nil((urls.parse(text, "postgresql"))) end)
    end
end)

describe("inputs", function()
    local rules
    before_each(function()
        rules = inputs.declare({
            version = { type = "string", pattern = "^v%d+$", help = "release tag" },
            percent = { type = "integer", min = 1, max = 100, default = 10 },
            schema = { type = "boolean", default = true },
            soak = { type = "duration", max = "24h", default = "1h" },
            size = { one_of = { "small", "large" }, default = "small" },
        }, "playbook")
    end)

    it("are read by their type", function()
        local values = inputs.read(rules, { "version=v1", "percent=50", "schema=no", "soak=10m", "size=large" }, "inputs")
        assert.same({ version = "v1", percent = 50, schema = false, soak = "10m", size = "large" }, values)
        assert.same({ version = "v2", percent = 10, schema = true, soak = "1h", size = "small" },
            inputs.read(rules, { "version=v2" }, "inputs"))
    end)
    it("tell every problem at once", function()
        local err = stub.raised(inputs.read, rules, { "percent=500", "schema=maybe", "soak=48h", "size=huge", "vers=1", "x" },
            "inputs")
        for _, text in ipairs { 'percent = "500" is more than 100', 'schema = "maybe" is not true or false',
            'soak = "48h" is more than 24h', 'is none of small, large', 'no input "vers": did you mean "version"?',
            "write --set name=value", "version is missing: give --set version=… (release tag)" } do
            assert.matches(text, err.message, 1, true)
        end
    end)
    it("are refused when they are declared wrongly", function()
        for _, spec in ipairs {
            { a = { type = "text" } }, { a = { type = "integer", default = "5" } }, { a = { pattern = "[" } },
            { a = { type = "integer", min = 5, default = 1 } }, { a = { type = "duration", default = "5" } },
            { a = { type = "one_of" } }, { a = { typ = "string" } }, { [1] = {} }, { a = { type = "duration", max = 5 } },
        } do
            assert.equal("usage", stub.raised(inputs.declare, spec, "playbook").code)
        end
    end)
end)
