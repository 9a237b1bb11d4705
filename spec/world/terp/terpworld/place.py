"""The world's folder: its configuration, ledger and processes."""
import fcntl
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ("staging", "production")


def free_ports(count):
    """Ports that are free, all different, and below those that the kernel gives to outgoing connections: an application that
    is started anew finds its own free again."""
    sockets = []
    while len(sockets) < count:
        sock = socket.socket()
        try:
            sock.bind(("127.0.0.1", random.randrange(10240, 32768)))
            sockets.append(sock)
        except OSError:
            sock.close()
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Place:
    """A world's folder. `config` holds its ports and secrets."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        path = self.root / "world.json"
        self.config = json.loads(path.read_text()) if path.exists() else None

    @classmethod
    def create(cls, root):
        place = cls(root)
        if place.config:
            raise SystemExit(f"{place.root}: a world is there already; `world down` it first")
        place.root.mkdir(parents=True, exist_ok=True)
        os.chmod(place.root, 0o700)
        for folder in ("run", "log", "bin", "releases", "checkout", "backups", "mirror", "faults"):
            (place.root / folder).mkdir()
        for name in ("ledger", "slack.jsonl"):
            (place.root / name).touch()
        database, town, *apps = free_ports(2 + len(ENVIRONMENTS))
        words = ("deployer", "app", "slack", "ci", "railway")
        place.config = {
            "database_port": database,
            "town_port": town,
            "app_port": dict(zip(ENVIRONMENTS, apps)),
            "secret": {word: secrets.token_urlsafe(18) for word in words},
            "admin": {env: secrets.token_urlsafe(24) for env in ENVIRONMENTS},
            "smoke": {env: secrets.token_urlsafe(12) for env in ENVIRONMENTS},
            "customer": secrets.token_urlsafe(12),
        }
        path = place.root / "world.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(place.config, indent=2))
        return place

    @classmethod
    def there(cls, root):
        place = cls(root)
        if not place.config:
            raise SystemExit(f"{place.root}: no world here; `world up` makes one")
        return place

    def app_url(self, env):
        return f"http://127.0.0.1:{self.config['app_port'][env]}"

    def town_url(self, path=""):
        return f"http://127.0.0.1:{self.config['town_port']}{path}"

    def schema(self, env):
        return f"terp_{env}"

    # One write of less than a page with O_APPEND: lines of several processes never mix.
    def ledger(self, what, env, detail=""):
        now = time.time()
        stamp = time.strftime("%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}"
        line = f"{stamp}\t{what}\t{env}\t{detail}".replace("\n", " ")
        fd = os.open(self.root / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, (line + "\n").encode())
        os.close(fd)

    def fault(self, env, version=None):
        """The fault that is to happen there now, or ''."""
        if env != "production" or version == "v1.4.0":
            return ""
        path = self.root / "faults" / env
        return path.read_text().strip() if path.exists() else ""

    def python(self, module, *arguments):
        """The command that runs one of this package's modules, leaving nothing in the source tree."""
        return ["/usr/bin/env", f"PYTHONPATH={HERE}", f"PYTHONPYCACHEPREFIX={self.root}/run/pycache",
                "/usr/bin/python3", "-m", f"terpworld.{module}", *arguments]

    def start(self, name, argv, ready, seconds=60):
        """Starts a daemon of this world and waits until ready() is true."""
        with open(self.root / "log" / f"{name}.log", "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True, cwd=self.root)
        (self.root / "run" / f"{name}.pid").write_text(str(process.pid))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ready():
                return
            if process.poll() is not None:
                break
            time.sleep(0.02)
        sys.stderr.write((self.root / "log" / f"{name}.log").read_text()[-3000:])
        raise SystemExit(f"{name} does not start")

    def stop(self, name):
        """Ends a daemon: TERM, then KILL. Only a process that names this folder is ended."""
        path = self.root / "run" / f"{name}.pid"
        if not path.exists():
            return
        pid = int(path.read_text())

        def alive():
            try:
                return str(self.root) in Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                return False

        for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            if not alive():
                break
            os.kill(pid, number)
            end = time.monotonic() + seconds
            while alive() and time.monotonic() < end:
                try:
                    os.waitpid(pid, os.WNOHANG)  # our own child would stay a zombie
                except ChildProcessError:
                    pass
                time.sleep(0.01)
        path.unlink()

    def stop_all(self):
        """The database last: the others use it."""
        names = [path.stem for path in (self.root / "run").glob("*.pid") if path.stem != "mariadbd"]
        for name in sorted(names, key=lambda name: name == "mariadb"):
            self.stop(name)

    def lock(self, name):
        """An exclusive lock until the returned file is closed."""
        lock = open(self.root / "run" / f"{name}.lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock


def answers(port):
    """A function that tells whether a server listens there."""
    def ready():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return True
        except OSError:
            return False
    return ready


def write_whole(path, text):
    """Replaces a file's contents at once."""
    temporary = Path(f"{path}.new")
    temporary.write_text(text)
    os.replace(temporary, path)
