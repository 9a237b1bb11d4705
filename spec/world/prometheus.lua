-- A real Prometheus that scrapes an application inside the spec, five times a second.
local files = require "spec.world.files"
local process = require "spec.world.process"
local stand_in = require "spec.world.stand_in"
local tcp = require "spec.world.tcp"

local M = {}

local CONFIG = [[
global: { scrape_interval: 200ms, evaluation_interval: 200ms }
rule_files: [ "%s/rules.yml" ]
scrape_configs:
  - job_name: shop
    static_configs: [ { targets: [ "127.0.0.1:%s" ] } ]
]]

local RULES = [[
groups:
  - name: shop
    rules:
      - { alert: ManyErrors, expr: "errors_now > 5", labels: { severity: critical } }
      - { alert: Calm, expr: "errors_now > 1000", labels: { severity: page } }
      - { alert: Broken, expr: "errors_now * on() group_left() errors_total > 1", labels: { severity: broken } }
]]

--- → { url, app = the stand-in application, metrics = its page: a text that the spec may change }
function M.start()
    local self, folder, port = { metrics = "" }, files.temp(), tcp.free_port()
    self.app = stand_in.start(function()
        return 200, self.metrics
    end)
    files.write(folder .. "/prometheus.yml", CONFIG:format(folder, self.app.url:match "%d+$"))
    files.write(folder .. "/rules.yml", RULES)
    local server = process.start { "prometheus", "--config.file=" .. folder .. "/prometheus.yml",
        "--storage.tsdb.path=" .. folder .. "/data", "--web.listen-address=127.0.0.1:" .. port, "--log.level=warn" }
    local up = process.turn_until(function()
        return server.code and "ended" or tcp.accepts(port) and "up"
    end, 30)
    if up ~= "up" then
        error("prometheus does not start: " .. server.err, 2)
    end
    self.url = "http://127.0.0.1:" .. port
    return self
end

return M
