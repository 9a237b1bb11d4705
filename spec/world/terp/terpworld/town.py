"""What stands around TERP, in one process: CI, dashboards, the Slack receiver, and customers."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from .app import Server
from .place import ENVIRONMENTS, Place

PAGES = ("/dashboard", "/orders?limit=20", "/inventory", "/clients", "/calendar", "/reports/sales")
DASHBOARDS = ("errors", "latency", "database", "hosts")
CHANNELS = ("team", "stakeholders")


def ci_status(place, ref):
    found = subprocess.run(["git", "-C", str(place.root / "remote.git"), "rev-parse", "--verify", "-q", ref + "^{commit}"],
                           capture_output=True, text=True, check=False)
    if found.returncode:
        return 404, {"error": f"no such ref: {ref}"}
    checks = [{"name": name, "state": "success"} for name in ("lint", "test", "build")]
    return 200, {"ref": ref, "commit": found.stdout.strip(), "state": "success", "checks": checks}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    place = None

    def get(self):
        path = unquote(urlsplit(self.path).path)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path.startswith("/ci/status/"):
            if bearer != self.place.config["secret"]["ci"]:
                return 401, {"error": "unauthorized"}
            return ci_status(self.place, path.removeprefix("/ci/status/"))
        if path == "/dashboards":
            return 200, {"dashboards": [{"name": name, "url": self.place.town_url(f"/dashboards/{name}")}
                                        for name in DASHBOARDS]}
        if path.removeprefix("/dashboards/") in DASHBOARDS:
            return 200, {"name": path.removeprefix("/dashboards/"), "panels": 4, "data_until": time.time()}
        return 404, {"error": "not found"}

    def post(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, slack, key, channel = (urlsplit(self.path).path + "///").split("/")[:4]
        if slack != "slack" or channel not in CHANNELS:
            return 404, "no_service"
        if key != self.place.config["secret"]["slack"]:
            return 403, "invalid_token"
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError):
            return 400, "invalid_payload"
        with open(self.place.root / "slack.jsonl", "a", encoding="utf-8") as kept:
            kept.write(json.dumps({"at": time.time(), "channel": channel, "text": text}, ensure_ascii=False) + "\n")
        self.place.ledger("message", channel, text.splitlines()[0] if text else "")
        return 200, "ok"

    def reply(self, answer):
        status, body = answer
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.reply(self.get())

    def do_POST(self):
        self.reply(self.post())

    def log_message(self, *_):
        pass


def call(url, token=None, body=None):
    """The JSON answer, or None for any failure: customers try again."""
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body is not None else None)
    if token:
        request.add_header("Authorization", "Bearer " + token)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read() or b"null")
    except (OSError, ValueError):
        return None


def customers(place, env):
    """Reads page after page, about ten a second; logs in when TERP lets it."""
    token, number = None, 0
    while True:
        if not token:
            answer = call(place.app_url(env) + "/auth/login", body={
                "email": "maria@terp.test", "password": place.config["customer"]})
            token = answer and answer["token"]
        else:
            # A failing page is what error rates are made of; a lost session shows in this one.
            if number % 50 == 49 and not call(place.app_url(env) + "/auth/session", token):
                token = None
            else:
                call(place.app_url(env) + PAGES[number % len(PAGES)], token)
            number += 1
        time.sleep(0.1)


def main():
    place = Handler.place = Place.there(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for env in ENVIRONMENTS:
        threading.Thread(target=customers, args=(place, env), daemon=True).start()
    Server(("127.0.0.1", place.config["town_port"]), Handler).serve_forever()


if __name__ == "__main__":
    main()
