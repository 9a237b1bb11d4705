-- TERP's smoke tests, named as its checklist names them.
--
-- A group is tried in one step by TERP's test accounts, which maintenance lets in, and then each line of it is a gate over
-- what the step saw. What they write bears the run's reference and belongs to the test client: written twice it is there
-- once, and the step takes all of it back before it ends.
local http = require "rollout.http"

local smoke = {}

-- ---- visits ----

local function visit(method, session, path, body)
    local answer = http[method](session.url .. path, { bearer = session.token, json = body,
        idempotent = method ~= "get" and true or nil })
    return { status = answer.status, json = answer.json or {}, body = answer.body }
end

local function get(session, path) return visit("get", session, path) end
local function post(session, path, body) return visit("post", session, path, body) end

local function login(app, who)
    local token = http.post(app.url .. "/auth/login", { json = { email = who .. "@terp.test", password = app.password },
        secret = "json.token", idempotent = true })
    return { url = app.url, token = token, reference = run.id }
end

local function logout(session) return post(session, "/auth/logout", {}) end

local function count(list) return list and #list end

-- ---- areas: what is done, and what was seen ----

local areas = {}

function areas.authentication(app)
    local admin, clerk = login(app, "smoke-admin"), login(app, "smoke-clerk")
    local seen = {
        user = get(admin, "/auth/session").json.user,
        again = get(admin, "/auth/session").json.user,
        admin = get(admin, "/admin/users").status,
        clerk = get(clerk, "/admin/users").status,
        wrong = http.post(app.url .. "/auth/login", { json = { email = "smoke-admin@terp.test", password = "wrong" },
            idempotent = true }).status,
        logout = logout(admin).status,
    }
    seen.after = get(admin, "/auth/session").status
    logout(clerk)
    return seen
end

function areas.dashboard(_, session)
    local page, sales = get(session, "/dashboard"), get(session, "/reports/sales")
    local revenue = 0
    for _, month in ipairs(sales.json.months or {}) do
        revenue = revenue + month.revenue_cents
    end
    return { status = page.status, orders = page.json.orders, revenue = page.json.revenue_cents, sales = revenue }
end

function areas.orders(_, session)
    local list = get(session, "/orders?limit=20")
    local seen = { list = list.status, listed = count(list.json.orders), count = list.json.count }
    local stock = get(session, "/inventory/batches/SMOKE").json.units
    local order = post(session, "/orders", { reference = session.reference, items = { { batch = "SMOKE", quantity = 2 } } })
    seen.create, seen.total, seen.items = order.status, order.json.total_cents, order.json.items_cents
    if order.status ~= 201 then
        return seen
    end
    local path = "/orders/" .. order.json.id
    seen.note = visit("patch", session, path, { note = "edited by " .. run.id }).json.note
    post(session, path .. "/status", { status = "confirmed" })
    seen.status = get(session, path).json.status
    seen.taken = stock - get(session, "/inventory/batches/SMOKE").json.units
    return seen
end

function areas.inventory(_, session)
    local list, before = get(session, "/inventory"), get(session, "/inventory/batches/SMOKE")
    local after = post(session, "/inventory/batches/SMOKE/adjust", { delta = -3, reference = session.reference })
    return { list = list.status, listed = count(list.json.batches), batch = before.json.code, adjust = after.status,
        units = after.json.units, sum = after.json.received and after.json.received + after.json.moved }
end

function areas.clients(_, session)
    local list = get(session, "/clients")
    local first = list.json.clients and list.json.clients[1]
    local detail = first and get(session, "/clients/" .. first.id)
    local note = post(session, "/clients/1/notes", { text = "Rollout " .. run.id, reference = session.reference })
    return { list = list.status, listed = count(list.json.clients), first = first and first.name,
        detail = detail and detail.json.name, note = (note.json.notes or { {} })[1].reference }
end

function areas.calendar(_, session)
    local view = get(session, "/calendar")
    local event = post(session, "/calendar/events", { title = "Rollout " .. run.id, starts_at = "2030-01-01 12:00",
        reference = session.reference })
    return { status = view.status, events = count(view.json.events), create = event.status,
        event = event.json.reference }
end

function areas.reporting(_, session)
    local export, orders = get(session, "/reports/export"), get(session, "/reports/integrity").json.orders
    local lines = select(2, (export.body or ""):gsub("\n", ""))
    return { export = export.status, lines = lines - 1, orders = orders }
end

function areas.trpc(_, session)
    local seen = {}
    for _, name in ipairs { "orders", "inventory", "clients", "calendar" } do
        seen[name] = get(session, "/trpc/" .. name .. ".list").status
    end
    return seen
end

function areas.data(_, session)
    return get(session, "/reports/integrity").json
end

-- ---- lines: what each of the checklist's lines wants of what was seen ----

local function ok(name, status) return expect(name, status):equals(200) end

local function logs_in(seen)
    return { expect("the user of the session", (seen.user or {}).email):equals("smoke-admin@terp.test"),
        expect("a wrong password", seen.wrong):equals(401) }
end

local function logs_out(seen)
    return { expect("logging out", seen.logout):equals(204), expect("the session after it", seen.after):equals(401) }
end

local function creates_order(seen)
    return { expect("creating an order", seen.create):equals(201),
        expect("its total", seen.total):equals(seen.items or 0, "cents") }
end

local function shows_orders(seen)
    return { ok("the list of orders", seen.list), expect("orders in it", seen.listed):at_least(1) }
end

local function inventory_works(seen)
    return { ok("the inventory", seen.list), expect("batches in it", seen.listed):at_least(1),
        expect("adjusting a batch", seen.adjust):equals(201), expect("its units", seen.units):equals(seen.sum or -1) }
end

local function clients_work(seen)
    return { ok("the list of clients", seen.list), expect("clients in it", seen.listed):at_least(1),
        expect("a client's page", seen.detail):equals(seen.first or ""),
        expect("a client's note", seen.note):equals(run.id) }
end

local function dashboard_loads(seen)
    return { ok("the dashboard", seen.status), expect("orders on it", seen.orders):at_least(1),
        expect("revenue on it", seen.revenue):equals(seen.sales, "cents") }
end

local lines = {
    ["User login works"] = { "authentication", logs_in },
    ["Session persistence works"] = { "authentication", function(seen)
        return expect("the session's user, asked again", (seen.again or {}).email):equals((seen.user or {}).email or "") end },
    ["Logout works"] = { "authentication", logs_out },
    ["Login with valid credentials"] = { "authentication", logs_in },
    ["Logout functionality"] = { "authentication", logs_out },
    ["Role-based access control working"] = { "authentication", function(seen)
        return { ok("the users page to an administrator", seen.admin), expect("to a clerk", seen.clerk):equals(403) } end },

    ["Dashboard loads with real data"] = { "dashboard", dashboard_loads },
    ["Dashboard metrics load"] = { "dashboard", dashboard_loads },
    ["Export functionality works"] = { "reporting", function(seen)
        return { ok("the export", seen.export), expect("lines in it", seen.lines):equals(seen.orders or -1) } end },

    ["Orders list displays correctly"] = { "orders", shows_orders },
    ["View orders list"] = { "orders", shows_orders },
    ["Create new order works"] = { "orders", creates_order },
    ["Create new order"] = { "orders", creates_order },
    ["Edit existing order"] = { "orders", function(seen)
        return expect("the order's note", seen.note):equals("edited by " .. run.id) end },
    ["Order status updates work"] = { "orders", function(seen)
        return expect("the order's status", seen.status):equals("confirmed") end },
    ["Stock updates reflect correctly"] = { "orders", function(seen)
        return expect("units that the order took from stock", seen.taken):equals(2) end },

    ["Inventory operations work"] = { "inventory", inventory_works },
    ["View inventory list"] = { "inventory", function(seen)
        return { ok("the inventory", seen.list), expect("batches in it", seen.listed):at_least(1) } end },
    ["Batch management works"] = { "inventory", inventory_works },

    ["Client management works"] = { "clients", clients_work },
    ["View client list"] = { "clients", function(seen)
        return { ok("the list of clients", seen.list), expect("clients in it", seen.listed):at_least(1) } end },
    ["Client details page loads"] = { "clients", function(seen)
        return expect("a client's page", seen.detail):equals(seen.first or "") end },
    ["Client notes work"] = { "clients", function(seen)
        return expect("a client's note", seen.note):equals(run.id) end },

    ["Calendar view loads"] = { "calendar", function(seen) return ok("the calendar", seen.status) end },
    ["Events display correctly"] = { "calendar", function(seen)
        return expect("events in the calendar", seen.events):at_least(1) end },
    ["Event creation works"] = { "calendar", function(seen)
        return { expect("creating an event", seen.create):equals(201), expect("the event", seen.event):equals(run.id) } end },

    ["Health endpoint"] = { nil, function(_, app)
        return http.check(app.url .. "/health", { json = { path = "status", equals = "ok" } }) end },
    ["tRPC endpoints responding"] = { "trpc", function(seen)
        return { ok("orders.list", seen.orders), ok("inventory.list", seen.inventory),
            ok("clients.list", seen.clients), ok("calendar.list", seen.calendar) } end },
    ["No 5xx errors in logs"] = { nil, function(_, app)
        return expect("5xx answers in the log", #app.service:log("level=error")):equals(0) end },

    ["Recent data is visible"] = { "data", function(seen, app)
        return { expect("orders", seen.orders):at_least(app.before.orders),
            expect("the newest order", seen.newest_order_at):equals(app.before.newest_order_at) } end },
    ["No data corruption detected"] = { "data", function(seen)
        return { expect("orders without items", seen.orders_without_items):equals(0),
            expect("notes without a client", seen.orphaned_notes):equals(0) } end },
    ["Calculations are correct"] = { "data", function(seen)
        return { expect("orders with a wrong total", seen.wrong_totals):equals(0),
            expect("batches with a wrong stock", seen.wrong_stock):equals(0) } end },
}

-- ---- tests ----

local function line_of(name)
    return lines[name] or error(("there is no smoke test %q"):format(name), 3)
end

local function try(app, names)
    local seen = {}
    local session = login(app, "smoke-admin")
    local function take_back()
        http.delete(app.url .. "/smoke/" .. run.id, { bearer = session.token, expect = 200 })
    end
    take_back() -- what a try that was cut off has left: it would be in the measurements
    for _, name in ipairs(names) do
        local area = line_of(name)[1]
        if area and not seen[area] then
            seen[area] = areas[area](app, session)
        end
    end
    take_back()
    logout(session)
    return seen
end

--- What the data looks like now: orders, the newest one, and what must be zero.
function smoke.data(app)
    local session = login(app, "smoke-admin")
    local seen = areas.data(app, session)
    logout(session)
    return seen
end

--- A stage that tries the lines `names` of the checklist on `app` = { url, password, service, before } and judges each.
function smoke.test(app, title, names)
    stage(title, function()
        local seen = step("Try " .. title, { idempotent = true, timeout = "5m" }, function() return try(app, names) end)
        for _, name in ipairs(names) do
            local area, judge = line_of(name)[1], line_of(name)[2]
            gate(name, function() return judge(area and seen[area], app) end)
        end
    end)
end

return smoke
