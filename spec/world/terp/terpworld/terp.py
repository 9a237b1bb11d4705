"""TERP itself: what each endpoint answers, computed from the database."""
import csv
import datetime
import hashlib
import io
import re
import secrets

TEST_CLIENT = 1
STATUSES = ("draft", "confirmed", "shipped", "cancelled")


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def hashed(text):
    return hashlib.sha256(text.encode()).hexdigest()


def need(body, *fields):
    missing = [field for field in fields if body.get(field) in (None, "")]
    if missing:
        raise Refused(422, "missing: " + ", ".join(missing))
    return [body[field] for field in fields]


class Request:
    """One request: its database, user, query and body."""

    def __init__(self, db, app, user, query, body):
        self.db, self.app, self.user, self.query, self.body = db, app, user, query, body

    def all(self, sql, *values):
        with self.db.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def one(self, sql, *values):
        found = self.all(sql, *values)
        return found[0] if found else None

    def value(self, sql, *values):
        found = self.one(sql, *values)
        return next(iter(found.values())) if found else None

    def run(self, sql, *values):
        with self.db.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.lastrowid

    def changed(self, sql, *values):
        with self.db.cursor() as cursor:
            return cursor.execute(sql, values or None)

    def test_only(self):
        """What test accounts write belongs to the test client, so that it can be told and taken back."""
        if self.user["is_test"]:
            return TEST_CLIENT
        return None


def login(r):
    email, password = need(r.body, "email", "password")
    user = r.one("SELECT id, email, role, is_test FROM users WHERE email = %s AND password_hash = %s",
                 email, hashed(password))
    if not user:
        raise Refused(401, "wrong email or password")
    if r.app.maintenance() and not user["is_test"]:
        raise Refused(503, "maintenance")
    token = secrets.token_urlsafe(24)
    r.run("INSERT INTO sessions (token_hash, user_id) VALUES (%s, %s)", hashed(token), user["id"])
    return {"token": token, "user": {key: user[key] for key in ("id", "email", "role")}}


def session(r):
    return {"user": {key: r.user[key] for key in ("id", "email", "role")}}


def logout(r):
    r.run("DELETE FROM sessions WHERE token_hash = %s", r.user["token_hash"])


def users(r):
    if r.user["role"] != "admin":
        raise Refused(403, "administrators only")
    return {"users": r.all("SELECT id, email, role FROM users ORDER BY id")}


def dashboard(r):
    return {
        "orders": r.value("SELECT COUNT(*) FROM orders"),
        "open_orders": r.value("SELECT COUNT(*) FROM open_orders"),
        "revenue_cents": int(r.value("SELECT SUM(total_cents) FROM orders WHERE status = 'shipped'") or 0),
        "clients": r.value("SELECT COUNT(*) FROM clients WHERE NOT is_test"),
        "stock_units": int(r.value("SELECT SUM(units) FROM batches") or 0),
        "newest_order_at": r.value("SELECT MAX(created_at) FROM orders"),
        "upcoming_events": r.value("SELECT COUNT(*) FROM calendar_events WHERE starts_at > NOW()"),
    }


def order_columns(r):
    return "o.id, o.client_id, o.status, o.total_cents, o.note, o.reference, o.created_at" + (
        ", o.channel" if r.app.has("order channel") else "")


def orders_guard(r):
    if r.app.fault() == "smoke":
        raise RuntimeError("TypeError: Cannot read properties of undefined (reading 'channel')")


def orders(r):
    orders_guard(r)
    limit = min(int(r.query.get("limit", 50)), 500)
    found = r.all(f"SELECT {order_columns(r)} FROM orders o ORDER BY o.id DESC LIMIT %s", limit)
    return {"orders": found, "count": r.value("SELECT COUNT(*) FROM orders")}


def order(r, order_id):
    orders_guard(r)
    found = r.one(f"SELECT {order_columns(r)} FROM orders o WHERE id = %s", order_id)
    if not found:
        raise Refused(404, "no such order")
    found["items"] = r.all("SELECT b.code AS batch, i.quantity, i.unit_cents FROM order_items i "
                           "JOIN batches b ON b.id = i.batch_id WHERE i.order_id = %s", order_id)
    found["items_cents"] = sum(item["quantity"] * item["unit_cents"] for item in found["items"])
    return found


def create_order(r):
    orders_guard(r)
    items, = need(r.body, "items")
    reference = r.body.get("reference")
    client = r.test_only() or need(r.body, "client_id")[0]
    known = reference and r.one("SELECT id FROM orders WHERE reference = %s", reference)
    if known:
        return order(r, known["id"])
    lines = []
    for item in items:
        batch = r.one("SELECT b.id, b.code, p.price_cents FROM batches b JOIN products p ON p.id = b.product_id "
                      "WHERE b.code = %s", item.get("batch"))
        if not batch or int(item.get("quantity", 0)) < 1:
            raise Refused(422, "an item needs a batch that exists and a quantity")
        if r.user["is_test"] and batch["code"] != "SMOKE":
            raise Refused(403, "test accounts order from the batch SMOKE")
        lines.append((batch, int(item["quantity"])))
    total = sum(batch["price_cents"] * quantity for batch, quantity in lines)
    created = r.run("INSERT INTO orders (client_id, total_cents, reference) VALUES (%s, %s, %s)",
                    client, total, reference)
    for batch, quantity in lines:
        r.run("INSERT INTO order_items (order_id, batch_id, quantity, unit_cents) VALUES (%s, %s, %s, %s)",
              created, batch["id"], quantity, batch["price_cents"])
        move(r, batch["id"], -quantity, "order", reference or f"order {created}")
    if r.app.has("order channel"):
        r.run("INSERT INTO order_events (order_id, what) VALUES (%s, 'created')", created)
    r.app.ledger("order", f"{created} {reference or '-'}")
    return order(r, created)


def own_order(r, order_id):
    found = order(r, order_id)
    if r.user["is_test"] and found["client_id"] != TEST_CLIENT:
        raise Refused(403, "not an order of the test client")
    return found


def edit_order(r, order_id):
    own_order(r, order_id)
    r.run("UPDATE orders SET note = %s WHERE id = %s", need(r.body, "note")[0], order_id)
    return order(r, order_id)


def order_status(r, order_id):
    own_order(r, order_id)
    status, = need(r.body, "status")
    if status not in STATUSES:
        raise Refused(422, "status is one of " + ", ".join(STATUSES))
    r.run("UPDATE orders SET status = %s WHERE id = %s", status, order_id)
    return order(r, order_id)


def move(r, batch, delta, reason, reference):
    """Stock changes only together with its movement; one reference moves a batch once for each reason."""
    if r.one("SELECT id FROM stock_movements WHERE batch_id = %s AND reason = %s AND reference = %s",
             batch, reason, reference):
        return
    r.run("INSERT INTO stock_movements (batch_id, delta, reason, reference) VALUES (%s, %s, %s, %s)",
          batch, delta, reason, reference)
    r.run("UPDATE batches SET units = units + %s WHERE id = %s", delta, batch)


def inventory(r):
    batches = r.all("SELECT b.code, p.name AS product, b.units FROM batches b "
                    "JOIN products p ON p.id = b.product_id ORDER BY b.id")
    return {"batches": batches, "count": len(batches), "units": sum(batch["units"] for batch in batches)}


def batch(r, code):
    found = r.one("SELECT b.id, b.code, p.name AS product, b.received, b.units FROM batches b "
                  "JOIN products p ON p.id = b.product_id WHERE b.code = %s", code)
    if not found:
        raise Refused(404, "no such batch")
    moved = r.value("SELECT SUM(delta) FROM stock_movements WHERE batch_id = %s", found["id"])
    found["moved"] = int(moved or 0)
    return found


def adjust_batch(r, code):
    delta, reference = need(r.body, "delta", "reference")
    found = batch(r, code)
    if r.user["is_test"] and code != "SMOKE":
        raise Refused(403, "test accounts adjust the batch SMOKE")
    move(r, found["id"], int(delta), "adjustment", reference)
    return batch(r, code)


def clients(r):
    found = r.all("SELECT id, name, city FROM clients WHERE NOT is_test ORDER BY name LIMIT 100")
    return {"clients": found, "count": r.value("SELECT COUNT(*) FROM clients WHERE NOT is_test")}


def client(r, client_id):
    found = r.one("SELECT id, name, city FROM clients WHERE id = %s", client_id)
    if not found:
        raise Refused(404, "no such client")
    found["orders"] = r.value("SELECT COUNT(*) FROM orders WHERE client_id = %s", client_id)
    found["notes"] = r.value("SELECT COUNT(*) FROM client_notes WHERE client_id = %s", client_id)
    return found


def notes(r, client_id):
    return {"notes": r.all("SELECT id, body, reference, created_at FROM client_notes WHERE client_id = %s "
                           "ORDER BY id DESC LIMIT 50", client_id)}


def add_note(r, client_id):
    text, reference = need(r.body, "text", "reference")
    if r.user["is_test"] and int(client_id) != TEST_CLIENT:
        raise Refused(403, "test accounts write to the test client")
    r.run("INSERT IGNORE INTO client_notes (client_id, body, reference) VALUES (%s, %s, %s)",
          client_id, text, reference)
    return notes(r, client_id)


def calendar(r):
    day = datetime.date.today()
    first = r.query.get("from", str(day - datetime.timedelta(days=31)))
    last = r.query.get("to", str(day + datetime.timedelta(days=31)))
    found = r.all("SELECT id, title, starts_at, reference FROM calendar_events "
                  "WHERE starts_at >= %s AND starts_at < %s ORDER BY starts_at", first, last)
    return {"events": found, "count": len(found)}


def add_event(r):
    title, starts_at, reference = need(r.body, "title", "starts_at", "reference")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?Z?", starts_at):
        raise Refused(422, "starts_at is a date and time")
    r.run("INSERT IGNORE INTO calendar_events (client_id, title, starts_at, reference) VALUES (%s, %s, %s, %s)",
          TEST_CLIENT, title, starts_at.rstrip("Z").replace("T", " "), reference)
    return r.one("SELECT id, title, starts_at, reference FROM calendar_events WHERE reference = %s", reference)


def sales(r):
    return {"months": r.all("SELECT DATE_FORMAT(created_at, '%%Y-%%m') AS month, COUNT(*) AS orders, "
                            "CAST(SUM(total_cents) AS SIGNED) AS revenue_cents FROM orders "
                            "WHERE status = %s GROUP BY 1 ORDER BY 1", "shipped")}


def export(r):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("id", "client", "status", "total_cents"))
    for row in r.all("SELECT o.id, c.name, o.status, o.total_cents FROM orders o "
                     "JOIN clients c ON c.id = o.client_id ORDER BY o.id"):
        writer.writerow(row.values())
    return out.getvalue()


def integrity(r):
    return {
        "orders": r.value("SELECT COUNT(*) FROM orders"),
        "newest_order_at": r.value("SELECT MAX(created_at) FROM orders"),
        "wrong_totals": r.value(
            "SELECT COUNT(*) FROM orders o WHERE total_cents <> "
            "(SELECT COALESCE(SUM(quantity * unit_cents), 0) FROM order_items i WHERE i.order_id = o.id)"),
        "orders_without_items": r.value(
            "SELECT COUNT(*) FROM orders o LEFT JOIN order_items i ON i.order_id = o.id WHERE i.id IS NULL"),
        "orphaned_notes": r.value(
            "SELECT COUNT(*) FROM client_notes n LEFT JOIN clients c ON c.id = n.client_id WHERE c.id IS NULL"),
        "wrong_stock": r.value(
            "SELECT COUNT(*) FROM batches b WHERE units <> received + "
            "(SELECT COALESCE(SUM(delta), 0) FROM stock_movements m WHERE m.batch_id = b.id)"),
    }


def forget(r, reference):
    """Takes back everything that a test account wrote under a reference."""
    if not r.user["is_test"]:
        raise Refused(403, "test accounts only")
    removed = 0
    for moved in r.all("SELECT id, batch_id, delta FROM stock_movements WHERE reference = %s", reference):
        r.run("UPDATE batches SET units = units - %s WHERE id = %s", moved["delta"], moved["batch_id"])
        removed += r.changed("DELETE FROM stock_movements WHERE id = %s", moved["id"])
    for table in ("orders", "client_notes", "calendar_events"):
        removed += r.changed(f"DELETE FROM {table} WHERE reference = %s AND client_id = %s",
                             reference, TEST_CLIENT)
    return {"removed": removed}


def trpc(answer):
    return lambda r: {"result": {"data": answer(r)}}


# What needs no session comes first; {} is one path segment.
OPEN = {("POST", "/auth/login"): login}
ROUTES = {
    ("GET", "/auth/session"): session,
    ("POST", "/auth/logout"): logout,
    ("GET", "/admin/users"): users,
    ("GET", "/dashboard"): dashboard,
    ("GET", "/orders"): orders,
    ("POST", "/orders"): create_order,
    ("GET", "/orders/{}"): order,
    ("PATCH", "/orders/{}"): edit_order,
    ("POST", "/orders/{}/status"): order_status,
    ("GET", "/inventory"): inventory,
    ("GET", "/inventory/batches/{}"): batch,
    ("POST", "/inventory/batches/{}/adjust"): adjust_batch,
    ("GET", "/clients"): clients,
    ("GET", "/clients/{}"): client,
    ("GET", "/clients/{}/notes"): notes,
    ("POST", "/clients/{}/notes"): add_note,
    ("GET", "/calendar"): calendar,
    ("POST", "/calendar/events"): add_event,
    ("GET", "/reports/sales"): sales,
    ("GET", "/reports/export"): export,
    ("GET", "/reports/integrity"): integrity,
    ("GET", "/trpc/orders.list"): trpc(orders),
    ("GET", "/trpc/inventory.list"): trpc(inventory),
    ("GET", "/trpc/clients.list"): trpc(clients),
    ("GET", "/trpc/calendar.list"): trpc(calendar),
    ("DELETE", "/smoke/{}"): forget,
}


def find(method, path):
    """The handler and the path's variable parts, or a refusal."""
    other = False
    for (verb, pattern), handler in {**OPEN, **ROUTES}.items():
        match = re.fullmatch(pattern.replace(".", r"\.").replace("{}", "([^/]+)"), path)
        if match and verb == method:
            return handler, match.groups()
        other = other or bool(match)
    raise Refused(405 if other else 404, f"{method} {path}: " + ("not allowed" if other else "not found"))
