"""Releases: the git remote with its tags, the application's deployments, and the tools on PATH."""
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import database
from .place import ENVIRONMENTS, HERE, Place, answers, write_whole

RELEASES = {"v1.4.0": (["0001_base.sql"], []),
            "v1.5.0": (["0001_base.sql", "0002_order_channel.sql"], ["order channel"])}


def git(folder, *arguments):
    who = ["-c", "user.name=TERP", "-c", "user.email=terp@terp.test", "-c", "init.defaultBranch=main",
           "-c", "advice.detachedHead=false", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", *who, "-C", str(folder), *arguments], text=True,
                                   stderr=subprocess.DEVNULL).strip()


def build_remote(place):
    """A bare remote with a tag for each release, and a checkout of it for each environment."""
    remote, work = place.root / "remote.git", place.root / "build"
    work.mkdir()
    git(place.root, "init", "-q", "--bare", str(remote))
    git(work, "init", "-q")
    for tag, (migrations, features) in RELEASES.items():
        (work / "drizzle" / "meta").mkdir(parents=True, exist_ok=True)
        for name in migrations:
            shutil.copy(HERE / "release" / "drizzle" / name, work / "drizzle" / name)
        (work / "drizzle" / "meta" / "snapshot.json").write_text(
            json.dumps(snapshot_of(place, migrations), indent=2))
        (work / "package.json").write_text(json.dumps({
            "name": "terp", "version": tag[1:], "terp": {"features": features},
            "scripts": {"db:push": "terp-db push", "validate:schema": "terp-db validate",
                        "lint": "terp-db lint", "test": "terp-db lint"}}, indent=2))
        git(work, "add", "-A")
        git(work, "commit", "-qm", f"Release {tag}")
        git(work, "tag", "-am", tag, tag)
    git(work, "push", "-q", str(remote), "HEAD:main", "--tags")
    shutil.rmtree(work)
    for env in ENVIRONMENTS:
        git(place.root, "clone", "-q", str(remote), f"checkout/{env}")
        git(place.root / "checkout" / env, "checkout", "-q", "v1.4.0")


def snapshot_of(place, migrations):
    """The schema that these migrations make, from a schema of its own."""
    connection = database.root(place)
    database.run(connection, "CREATE DATABASE snapshot CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    database.run(connection, "USE snapshot")
    for name in migrations:
        path = HERE / "release" / "drizzle" / name
        database.apply(connection, path, path.read_text())
    found = database.snapshot(connection)
    database.run(connection, "DROP DATABASE snapshot")
    connection.close()
    return found


def build_tools(place):
    for name in ("pnpm", "railway", "terp-db"):
        tool = place.root / "bin" / name
        command = shlex.join(place.python("tools", name))
        tool.write_text(f"#!/bin/sh\nTERP_WORLD={shlex.quote(str(place.root))} exec {command} \"$@\"\n")
        tool.chmod(0o755)


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
        self.place.stop(name)
        self.place.start(name, self.place.python("app", str(self.place.root), self.env, json.dumps(release)),
                         answers(self.place.app_url(self.env) + "/version"))
        self.state["active"] = index
        write_whole(self.path, json.dumps(self.state, indent=2))


def status(place, env):
    deployments = Deployments(place, env)
    active, previous = deployments.active(), deployments.previous()
    return {"environment": env, "release": active["version"], "deployment": active["id"],
            "deployed_at": active["deployed_at"], "previous": previous and previous["version"]}


def main(place, tool, arguments):
    return {"pnpm": pnpm, "railway": railway, "terp-db": terp_db}[tool](place, arguments)


def pnpm(_, arguments):
    """Runs a script of package.json through the shell, as pnpm does."""
    if not arguments:
        raise SystemExit("Usage: pnpm SCRIPT")
    try:
        package = json.loads(Path("package.json").read_text())
    except OSError:
        raise SystemExit(f" ERR_PNPM_NO_IMPORTER_MANIFEST_FOUND  No package.json was found in \"{os.getcwd()}\".") from None
    name = arguments[1] if arguments[0] == "run" else arguments[0]
    script = package["scripts"].get(name)
    if not script:
        raise SystemExit(f" ERR_PNPM_NO_SCRIPT  Missing script: {name}")
    print(f"\n> {package['name']}@{package['version']} {name} {os.getcwd()}\n> {script}\n", flush=True)
    code = subprocess.run(script, shell=True, check=False).returncode
    if code:
        print(f" ELIFECYCLE  Command failed with exit code {code}.", flush=True)
    return code


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


def terp_db(place, arguments):
    command = arguments[0] if arguments else ""
    files = sorted(Path("drizzle").glob("*.sql"))
    if command == "lint":
        wanted = [f"{number:04d}" for number in range(1, len(files) + 1)]
        if [path.name[:4] for path in files] != wanted:
            raise SystemExit("the migrations are not numbered 0001, 0002, …")
        print(f"{len(files)} migrations, {len(json.loads(Path('drizzle/meta/snapshot.json').read_text())['tables'])} tables")
        return 0
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise SystemExit("DATABASE_URL is not set")
    connection = database.connect_url(url)
    if command == "validate":
        lines = database.differences(json.loads(Path("drizzle/meta/snapshot.json").read_text()),
                                     database.snapshot(connection))
        print("\n".join(lines) if lines else "the schema is as drizzle/meta/snapshot.json says")
        return 1 if lines else 0
    if command == "push":
        return push(place, connection, files)
    raise SystemExit("Usage: terp-db push | validate | lint")


def push(place, connection, files):
    env = database.rows(connection, "SELECT DATABASE() AS d")[0]["d"].removeprefix("terp_")
    pending = [path for path in files if path.name not in database.applied(connection)]
    if not pending:
        print("No changes: the schema is up to date")
    for path in pending:
        print(f"applying {path.name}", flush=True)
        if place.fault(env) == "migration":
            break_half_way(place, env, connection, path)
        database.apply(connection, path, path.read_text(), lambda line: print(line, flush=True))
        place.ledger("migration", env, path.name)
    print(f"{len(pending)} migrations applied")
    return 0


def break_half_way(place, env, connection, path):
    """What a migration that dies in the middle can leave: half of the schema, and rows that are wrong."""
    for statement in database.statements(path.read_text())[:2]:
        print("  " + statement.splitlines()[0], flush=True)
        database.run(connection, statement)
    for statement in ("UPDATE orders SET total_cents = total_cents DIV 100 WHERE MOD(id, 2) = 0",
                      "DELETE FROM order_items WHERE MOD(order_id, 7) = 0",
                      "INSERT INTO clients (name, city) VALUES ('Half a migration', 'Nowhere')"):
        database.run(connection, statement)
    place.ledger("migration", env, f"{path.name} failed half-way")
    sys.stderr.write("DrizzleQueryError: Failed query: insert into order_events …\n"
                     "  cause: Error: Deadlock found when trying to get lock; try restarting transaction\n")
    raise SystemExit(1)


def deploy_first(place, env):
    Deployments(place, env).deploy(place.root / "checkout" / env)


def stop_all(root):
    place = Place(root)
    if place.config:
        for path in sorted((place.root / "run").glob("*.pid"), key=lambda p: p.stem == "mariadb"):
            if path.stem != "mariadbd":
                place.stop(path.stem)
