"""The MariaDB server, its schemas and its users."""
import hashlib
import os
import subprocess
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pymysql
import pymysql.cursors

from .place import ENVIRONMENTS

HERE = Path(__file__).parent
SIZES = {"staging": {"clients": 40, "orders": 300, "items": 900},
         "production": {"clients": 400, "orders": 3000, "items": 9000}}


def connect(host="127.0.0.1", **options):
    return pymysql.connect(host=host, autocommit=True, charset="utf8mb4",
                           cursorclass=pymysql.cursors.DictCursor, **options)


def connect_url(url):
    parts = urlsplit(url)
    return connect(parts.hostname, port=parts.port or 3306, user=unquote(parts.username or ""),
                   password=unquote(parts.password or ""), database=parts.path.strip("/"))


def url(place, env):
    password = quote(place.config["secret"]["deployer"], safe="")
    return f"mysql://deployer:{password}@127.0.0.1:{place.config['database_port']}/{place.schema(env)}"


def root(place):
    return pymysql.connect(unix_socket=str(place.root / "run" / "mariadb.sock"), user="root",
                           autocommit=True, charset="utf8mb4", cursorclass=pymysql.cursors.DictCursor)


def start(place):
    data = place.root / "mariadb"
    # A server that starts removes what it takes for its own left-overs there: not in a folder that others use.
    os.environ["TMPDIR"] = str(place.root / "run")
    if not data.exists():
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=" + user(),
                        "--skip-test-db", "--auth-root-authentication-method=normal",
                        "--skip-name-resolve", "--force"],  # no name of this machine needs to be known
                       check=True, stdout=subprocess.DEVNULL)

    def ready():
        try:
            root(place).close()
            return True
        except pymysql.err.OperationalError:
            return False

    # Durable as a production server is, but small.
    place.start("mariadb", [
        "mariadbd", "--no-defaults", f"--datadir={data}", "--user=" + user(),
        f"--socket={place.root}/run/mariadb.sock", f"--port={place.config['database_port']}",
        f"--tmpdir={data}",  # another server that starts clears temporary tables out of a shared one
        "--bind-address=127.0.0.1", f"--pid-file={place.root}/run/mariadbd.pid", "--skip-name-resolve",
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--performance-schema=OFF",
        "--character-set-server=utf8mb4", "--max-connections=80", "--innodb-fast-shutdown=2"], ready, seconds=60)


def user():
    return subprocess.check_output(["id", "-un"], text=True).strip()


def create(place, migration):
    """The users, and a schema of each environment with the base migration and rows."""
    connection = root(place)
    with connection.cursor() as cursor:
        for name in ("deployer", "app"):
            cursor.execute(f"CREATE USER {name}@127.0.0.1 IDENTIFIED BY %s", place.config["secret"][name])
        cursor.execute("GRANT ALL ON *.* TO deployer@127.0.0.1 WITH GRANT OPTION")
        for env in ENVIRONMENTS:
            schema = place.schema(env)
            cursor.execute(f"CREATE DATABASE {schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE VIEW, TRIGGER ON {schema}.* "
                           "TO app@127.0.0.1")
    connection.close()
    for env in ENVIRONMENTS:
        connection = connect_url(url(place, env))
        apply(connection, migration, migration.read_text())
        values = dict(SIZES[env], smoke_password=place.config["smoke"][env],
                      customer_password=place.config["customer"])
        seed = (HERE / "seed.sql").read_text()
        for key, value in values.items():
            seed = seed.replace("{" + key + "}", str(value))
        connection.begin()
        for statement in statements(seed):
            run(connection, statement)
        connection.commit()
        connection.close()


def statements(text):
    return [part.strip() for part in text.split(";\n") if part.strip()]


def run(connection, statement, *values):
    with connection.cursor() as cursor:
        # Without values the driver leaves % alone.
        return cursor.execute(statement, values or None)


def rows(connection, query, *values):
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchall()


def applied(connection):
    """The migrations that were applied: their file names."""
    run(connection, "CREATE TABLE IF NOT EXISTS __drizzle_migrations (name VARCHAR(120) PRIMARY KEY, "
                    "hash CHAR(64) NOT NULL, at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3))")
    return {row["name"] for row in rows(connection, "SELECT name FROM __drizzle_migrations")}


def apply(connection, path, text, tell=lambda line: None):
    """Applies a migration's statements and records it. MariaDB commits each DDL statement by itself."""
    done = applied(connection)
    if path.name in done:
        return
    for statement in statements(text):
        tell("  " + statement.splitlines()[0][:100])
        run(connection, statement)
    run(connection, "INSERT INTO __drizzle_migrations (name, hash) VALUES (%s, %s)",
        path.name, hashlib.sha256(text.encode()).hexdigest())


def snapshot(connection):
    """The schema as plain data: table → column → type; and the triggers and views."""
    tables = {}
    for row in rows(connection,
                    "SELECT table_name AS t, column_name AS c, column_type AS y, is_nullable AS n, "
                    "COALESCE(column_default, '') AS d FROM information_schema.columns "
                    "WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"):
        nullable = "" if row["n"] == "YES" else " not null"
        default = f" default {row['d']}" if row["d"] and row["d"] != "NULL" else ""
        tables.setdefault(row["t"], {})[row["c"]] = row["y"] + nullable + default
    triggers = [row["t"] for row in rows(
        connection, "SELECT trigger_name AS t FROM information_schema.triggers "
                    "WHERE trigger_schema = DATABASE() ORDER BY 1")]
    return {"tables": tables, "triggers": triggers}


def differences(wanted, found):
    """What must change in `found` to be `wanted`, a line each."""
    lines = []
    for table in sorted(wanted["tables"].keys() | found["tables"].keys()):
        want, have = wanted["tables"].get(table), found["tables"].get(table)
        if have is None:
            lines.append(f"table {table} is missing")
        elif want is None:
            lines.append(f"table {table} is not in the schema")
        else:
            for column in sorted(want.keys() | have.keys()):
                if want.get(column) != have.get(column):
                    lines.append(f"{table}.{column}: expected {want.get(column, 'nothing')}, "
                                 f"found {have.get(column, 'nothing')}")
    for name in sorted(set(wanted["triggers"]) ^ set(found["triggers"])):
        lines.append(f"trigger {name} is {'missing' if name in wanted['triggers'] else 'too much'}")
    return lines


def fingerprint(connection):
    """A line for each table and view: rows, hash of the rows, hash of the definition."""
    lines = []
    for row in rows(connection, "SHOW FULL TABLES"):
        name, kind = list(row.values())
        every = rows(connection, f"SELECT * FROM `{name}`")
        texts = sorted(repr(list(each.values())) for each in every)
        create_table = list(rows(connection, f"SHOW CREATE TABLE `{name}`")[0].values())[1]
        definition = "\n".join(line.split(" AUTO_INCREMENT=")[0] for line in create_table.splitlines())
        lines.append(f"{name} {len(texts)} {digest(chr(10).join(texts))} {digest(kind + definition)}")
    return lines + [f"trigger {name}" for name in snapshot(connection)["triggers"]]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]
