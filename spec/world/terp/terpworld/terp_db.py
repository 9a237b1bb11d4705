"""The tool `terp-db` of TERP's repository: applies migrations and validates the schema."""
import json
import os
import sys
from pathlib import Path

from . import database


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
