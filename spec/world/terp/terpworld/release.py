"""TERP's repository with a tag for each release, its checkouts, and the tools on PATH."""
import json
import shlex
import shutil

from . import database
from .place import ENVIRONMENTS, HERE
from .railway import Deployments, git

RELEASES = {"v1.4.0": (["0001_base.sql"], []),
            "v1.5.0": (["0001_base.sql", "0002_order_channel.sql"], ["order channel"])}


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


def deploy_first(place, env):
    Deployments(place, env).deploy(place.root / "checkout" / env)
