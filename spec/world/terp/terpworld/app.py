"""The application process: one environment of TERP, at one release."""
import collections
import datetime
import decimal
import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql

from . import database, terp
from .place import Place, write_whole

POOL = 6


def seconds(text):
    """"5m", "90s", "1h" or plain seconds."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)


def plain(value):
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == int(value) else float(value)
    raise TypeError(type(value).__name__)


class App:
    def __init__(self, place, env, release):
        self.place, self.env, self.release = place, env, release
        self.begun = time.time()
        self.pool = queue.LifoQueue()
        for _ in range(POOL):
            self.pool.put(None)
        self.served = collections.deque(maxlen=100_000)  # (when, ms, status)
        self.customers = 0
        self.lock = threading.Lock()

    def has(self, feature):
        return feature in self.release["features"]

    def fault(self):
        return self.place.fault(self.env, self.release["version"])

    def ledger(self, what, detail):
        self.place.ledger(what, self.env, detail)

    # The switch is a file: it outlives restarts, deployments and restored databases.
    def maintenance_file(self):
        return self.place.root / "run" / f"maintenance.{self.env}"

    def maintenance(self):
        return self.maintenance_file().exists()

    def switch(self, on):
        if on != self.maintenance():
            if on:
                write_whole(self.maintenance_file(), str(time.time()))
            else:
                self.maintenance_file().unlink()
            self.ledger("maintenance", "on" if on else "off")
        return {"enabled": self.maintenance()}

    def borrow(self):
        """A connection that works: one that a restarted server closed is replaced."""
        connection = self.pool.get()
        try:
            if connection is None:
                connection = database.connect(
                    port=self.place.config["database_port"], user="app", connect_timeout=5, read_timeout=30,
                    password=self.place.config["secret"]["app"], database=self.place.schema(self.env))
            connection.ping(reconnect=True)
            return connection
        except BaseException:
            self.pool.put(None)
            raise

    def health(self):
        services = {"sessions": "ok", "exports": "ok"}
        try:
            connection = self.borrow()
            try:
                database.rows(connection, "SELECT 1 FROM sessions LIMIT 1")
                database.rows(connection, "SELECT 1 FROM orders LIMIT 1")
                services["database"] = "ok"
            finally:
                self.pool.put(connection)
        except pymysql.err.MySQLError as error:
            services = {name: "down" for name in ("database", "sessions", "exports")}
            services["reason"] = str(error)
        fine = services["database"] == "ok"
        return 200 if fine else 503, {"status": "ok" if fine else "down", "version": self.release["version"],
                                      "maintenance": self.maintenance(), "services": services}

    def version(self):
        return {"version": self.release["version"], "environment": self.env, "commit": self.release["commit"],
                "deployed_at": self.release["deployed_at"],
                "running_for_s": int(time.time() - self.release["deployed_at"])}

    def metrics(self, window):
        now = time.time()
        with self.lock:
            seen = [each for each in self.served if each[0] > now - window]
        took = sorted(ms for _, ms, _ in seen)
        errors = sum(status >= 500 for _, _, status in seen)
        usage = resource.getrusage(resource.RUSAGE_SELF)

        def percentile(share):
            return round(took[min(len(took) - 1, int(len(took) * share))], 2) if took else None

        return {"window_s": window, "requests": len(seen), "errors": errors,
                "error_rate": errors / len(seen) if seen else None,
                "p50_ms": percentile(0.5), "p95_ms": percentile(0.95),
                "pool": {"used": POOL - self.pool.qsize(), "size": POOL},
                "memory_mb": round(usage.ru_maxrss / 1024, 1),
                "cpu_percent": round(100 * (usage.ru_utime + usage.ru_stime) / (now - self.begun + 0.001), 1)}

    def operational(self, method, path, query, bearer):
        """The endpoints that answer in maintenance too; None for all others."""
        if (method, path) == ("GET", "/health"):
            return self.health()
        if (method, path) == ("GET", "/version"):
            return 200, self.version()
        if (method, path) == ("GET", "/metrics"):
            return 200, self.metrics(seconds(query.get("window", "1m")))
        if path.startswith("/admin/maintenance"):
            if bearer != self.place.config["admin"][self.env]:
                raise terp.Refused(401, "the admin token is missing or wrong")
            if (method, path) == ("GET", "/admin/maintenance"):
                return 200, {"enabled": self.maintenance()}
            if method == "POST" and path.endswith(("/enable", "/disable")):
                return 200, self.switch(path.endswith("/enable"))
        return None

    def answer(self, method, path, query, bearer, body):
        """(status, body, counted): `counted` answers make up the error rate and the latencies."""
        operational = self.operational(method, path, query, bearer)
        if operational:
            return (*operational, False)
        handler, parts = terp.find(method, path)
        connection = self.borrow()
        try:
            user = None
            if handler is not terp.login:
                user = self.user(connection, bearer)
                if bearer and not user:
                    raise terp.Refused(401, "this session is over")
                if self.maintenance() and not (user and user["is_test"]):
                    raise terp.Refused(503, "maintenance")
                if not user:
                    raise terp.Refused(401, "log in first")
                self.bother(user)
            connection.begin()
            found = handler(terp.Request(connection, self, user, query, body), *map(unquote, parts))
            connection.commit()
            return (204 if found is None else 201 if method == "POST" and handler is not terp.login else 200,
                    found, True)
        except BaseException:
            connection.rollback()
            raise
        finally:
            self.pool.put(connection)

    def user(self, connection, bearer):
        found = bearer and database.rows(
            connection, "SELECT u.id, u.email, u.role, u.is_test, s.token_hash FROM sessions s "
                        "JOIN users u ON u.id = s.user_id WHERE s.token_hash = %s", terp.hashed(bearer))
        return found[0] if found else None

    def bother(self, user):
        """The faults that only customers feel."""
        if user["is_test"] or self.maintenance():
            return
        with self.lock:
            self.customers += 1
            number = self.customers
        if self.fault() == "errors" and number % 3 == 0:
            raise RuntimeError("ECONNRESET: upstream closed the connection")
        if self.fault() == "slow":
            time.sleep(0.4)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    app = None

    def serve(self):
        parts = urlsplit(self.path)
        began = time.monotonic()
        size = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(size)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        counted = True
        try:
            body = json.loads(text) if text else {}
            if not isinstance(body, dict):
                raise terp.Refused(422, "the body is not an object")
            status, body, counted = self.app.answer(
                self.command, parts.path, dict(parse_qsl(parts.query)), bearer, body)
        except terp.Refused as refusal:
            status, body = refusal.status, {"error": str(refusal)}
            counted = status != 503
        except (ValueError, KeyError) as error:
            status, body = 422, {"error": str(error)}
        except Exception as error:  # pylint: disable=broad-except
            status, body = 500, {"error": str(error)}
        took = (time.monotonic() - began) * 1000
        if counted:
            with self.app.lock:
                self.app.served.append((time.time(), took, status))
        # One log line a request, the errors with their reason: `railway logs` shows them.
        failed = status >= 500 and counted
        level, reason = ("error", f" {body['error']}") if failed else ("info", "")
        print(f"{time.time():.3f} {self.app.release['id']} level={level} {self.command} {parts.path} {status} "
              f"{took:.1f}ms{reason}", flush=True)
        self.reply(status, body)

    def reply(self, status, body):
        kind = "application/json"
        if isinstance(body, str):
            data, kind = body.encode(), "text/csv; charset=utf-8"
        else:
            data = b"" if status == 204 else json.dumps(body, default=plain).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = serve

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # a client that went away


def main():
    place, env, release = Place.there(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    Handler.app = App(place, env, release)
    server = Server(("127.0.0.1", place.config["app_port"][env]), Handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
