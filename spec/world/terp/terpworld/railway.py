"""Deployments, and the tool `railway` that makes them."""
import json
import os
import subprocess
import time
from pathlib import Path

from .place import ENVIRONMENTS, answers, write_whole


def git(folder, *arguments):
    who = ["-c", "user.name=TERP", "-c", "user.email=terp@terp.test", "-c", "init.defaultBranch=main",
           "-c", "advice.detachedHead=false", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *who, "-C", str(folder), *arguments], text=True,
                                   stderr=subprocess.DEVNULL).strip()


class Deployments:
    """The deployments of one environment, oldest first; `active` is the index of the one that runs."""

    def __init__(self, place, env):
        self.place, self.env = place, env
        self.path = place.root / "releases" / f"{env}.json"
        self.state = json.loads(self.path.read_text()) if self.path.exists() else {"active": -1, "all": []}

    def active(self):
        return self.state["all"][self.state["active"]] if self.state["active"] >= 0 else None

    def previous(self):
        return self.state["all"][self.state["active"] - 1] if self.state["active"] > 0 else None

    def deploy(self, folder):
        package = json.loads((folder / "package.json").read_text())
        tag = git(folder, "describe", "--tags", "--exact-match")
        del self.state["all"][self.state["active"] + 1:]
        self.state["all"].append({
            "id": f"d{time.time_ns() // 1000:x}", "version": tag, "commit": git(folder, "rev-parse", "HEAD"),
            "features": package["terp"]["features"]})
        self.switch(len(self.state["all"]) - 1)

    def rollback(self):
        if not self.previous():
            raise SystemExit("railway: there is no earlier deployment to roll back to")
        self.switch(self.state["active"] - 1)

    def switch(self, index):
        """Restarts the application with that deployment; it is active once it answers."""
        name = f"app-{self.env}"
        release = dict(self.state["all"][index], deployed_at=round(time.time(), 3))
        self.state["all"][index] = release
        ready = answers(self.place.config["app_port"][self.env])
        self.place.stop(name)
        end = time.monotonic() + 10
        while ready() and time.monotonic() < end:  # a thread of the one that ended still holds its port
            time.sleep(0.01)
        self.place.start(name, self.place.python("app", str(self.place.root), self.env, json.dumps(release)), ready)
        self.state["active"] = index
        write_whole(self.path, json.dumps(self.state, indent=2))


def status(place, env):
    deployments = Deployments(place, env)
    active, previous = deployments.active(), deployments.previous()
    return {"environment": env, "release": active["version"], "deployment": active["id"],
            "deployed_at": active["deployed_at"], "previous": previous and previous["version"]}


def option(arguments, name, default=None):
    if name not in arguments:
        return default
    at = arguments.index(name)
    if at + 1 >= len(arguments):
        raise SystemExit(f"error: {name} wants a value")
    return arguments[at + 1]


def railway(place, arguments):
    if os.environ.get("RAILWAY_TOKEN") != place.config["secret"]["railway"]:
        raise SystemExit("Unauthorized. Please check that your RAILWAY_TOKEN is valid and has access to the resource.")
    env = option(arguments, "--environment")
    if env not in ENVIRONMENTS:
        raise SystemExit(f"Environment \"{env}\" not found.")
    command = arguments[0]
    if command == "status":
        print(json.dumps(status(place, env)))
        return 0
    if command == "logs":
        return logs(place, env, float(option(arguments, "--since", "86400")), option(arguments, "--filter", ""))
    if command not in ("deploy", "rollback"):
        raise SystemExit(f"error: unrecognized subcommand '{command}'")
    with place.lock(f"deploy.{env}"):
        deployments = Deployments(place, env)
        print(f"{command}: environment {env}", flush=True)
        getattr(deployments, command)(*([Path.cwd()] if command == "deploy" else []))
        place.ledger(command, env, deployments.active()["version"])
        print(f"{deployments.active()['version']} is active ({deployments.active()['id']})")
    return 0


def logs(place, env, since, text):
    begin, deployment = time.time() - since, Deployments(place, env).active()["id"]
    for line in (place.root / "log" / f"app-{env}.log").read_text().splitlines():
        stamp, _, rest = line.partition(" ")
        if rest.startswith(deployment + " ") and text in line and float(stamp) >= begin:
            print(line)
    return 0
