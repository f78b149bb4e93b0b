"""The local Airflow stack: scheduler, DAG processor and API server on the metadata database beside the warehouse.

Everything is set by environment variables (no configuration file to drift), listens on loopback, sends nothing out, and
is found again after `kill -9`: each process is recorded in `airflow/run/` with its start time, in a session of its own.
No triggerer: since Airflow 3.3 an approval waits without one, and no task of ours is deferrable.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from hailong import airflow_settings
from hailong.airflow_api import AirflowApi, RefusedError
from hailong.errors import PermanentError, TransientError
from hailong.extract.privacy import VARIABLE, local_keys
from hailong.settings import Settings
from hailong.warehouse.connect import airflow_uri, connect
from hailong.warehouse.embedded import free_port, port_is_free

COMPONENTS = ("api-server", "scheduler", "dag-processor")
# The demo's two people (requester and signer), and one who may look only. Names in HAILONG_SIGNERS are added.
USERS = {"engineer": "op", "signer": "user", "viewer": "viewer"}
SIGNERS = "signer"  # unless HAILONG_SIGNERS says who
PARALLELISM = 4
DEFAULT_PORT = 8080


def _say_nothing(_: str) -> None:
    return None


@dataclass
class Stack:
    """One Airflow under `HAILONG_HOME/airflow`. `up` and `down` are safe to repeat.

    `scheduled=False` leaves the clock out: only triggered runs start (the demo, tests).
    """

    settings: Settings
    api_port: int | None = None
    dags: Path | None = None
    scheduled: bool = True
    environment: dict[str, str] = field(default_factory=dict)  # what tasks see beside our own environment

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        return self.settings.home / "airflow"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def passwords_file(self) -> Path:
        return self.home / "passwords.json"

    @property
    def url(self) -> str:
        """Address of the running API server and UI."""
        return f"http://127.0.0.1:{self._recorded_port()}"

    def passwords(self) -> dict[str, str]:
        """User name → password, made on the first call (file mode 0600)."""
        return self._private_json(
            self.passwords_file, lambda: {name: secrets.token_urlsafe(12) for name in self.users()}
        )

    def users(self) -> dict[str, str]:
        """User name → role in Airflow's simple auth manager."""
        return {**dict.fromkeys(self.settings.signers, "user"), **USERS}

    def client(self, user: str) -> AirflowApi:
        """Airflow's API as `user`."""
        return AirflowApi(self.url, user, self.passwords()[user])

    def running(self) -> tuple[str, ...]:
        """Components that are alive."""
        return tuple(name for name in COMPONENTS if self._process(name) is not None)

    # -- up and down -------------------------------------------------------------------------------------------------

    def up(
        self, expected_dags: Collection[str] = (), timeout: float = 180, tell: Callable[[str], None] = _say_nothing
    ) -> bool:
        """Start what is not running and wait until it is healthy and has parsed `expected_dags`.

        False when the whole stack was running already. TransientError names the component and shows the end of its log.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock():
            if set(self.running()) == set(COMPONENTS):
                self._wait_healthy(expected_dags, datetime.min.replace(tzinfo=UTC), timeout)
                return False
            self._kill_leftovers()
            port = self._choose_port()
            environment = self.airflow_environment(port)
            self.migrate(environment, tell)
            started_at = datetime.now(UTC)
            _write_private(self.home / "run" / "port", str(port))
            tell("starting Airflow")
            for name in COMPONENTS:
                self._start(name, environment)
            try:
                self._wait_healthy(expected_dags, started_at, timeout)
            except BaseException:
                self._kill_leftovers()
                raise
            return True

    def down(self) -> bool:
        """Stop every process of the stack, children included; False when nothing ran."""
        if not self.home.is_dir():
            return False
        with self._lock():
            return self._kill_leftovers()

    def migrate(self, environment: dict[str, str] | None = None, tell: Callable[[str], None] = _say_nothing) -> None:
        """Bring Airflow's own database to its newest schema; asked of Alembic's table first, which costs nothing."""
        from importlib.metadata import version

        uri = airflow_uri(self.settings, "postgresql")
        if self.settings.dsn:
            _ensure_database(self.settings, uri)
        # The FAB provider has tables of its own, and Airflow refuses to start where they are missing, used or not.
        installed = f"{version('apache-airflow-core')} {version('apache-airflow-providers-fab')}"
        marker = self.home / "run" / "migrated"
        state = f"{installed} {hashlib.sha256(uri.encode()).hexdigest()} {_alembic_version(uri)}"
        if marker.is_file() and marker.read_text(encoding="utf-8") == state:
            return
        tell("preparing Airflow's database")
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run("db-migrate", ["db", "migrate"], environment or self.airflow_environment(DEFAULT_PORT))
        _write_private(marker, f"{installed} {hashlib.sha256(uri.encode()).hexdigest()} {_alembic_version(uri)}")

    def airflow_environment(self, port: int) -> dict[str, str]:
        """Environment of every Airflow process (and so of every task)."""
        keys = self._keys()
        base = f"http://127.0.0.1:{port}"
        self.passwords()
        inherited = {name: value for name, value in self.settings.env.items() if not name.startswith("AIRFLOW__")}
        return {
            **inherited,
            **airflow_settings.shared(self.settings),
            **airflow_settings.signed(keys["fernet"], keys["secret"], keys["jwt"]),
            "HAILONG_HOME": str(self.settings.home),
            "HAILONG_SIGNERS": ",".join(self.settings.signers) or SIGNERS,
            VARIABLE: local_keys(self.settings, datetime.now(ZoneInfo(self.settings.timezone)).year),
            **self.environment,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '/usr/bin:/bin')}",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags or self.settings.project / "dags"),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
                f"{user}:{role}" for user, role in self.users().items()
            ),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.passwords_file),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_uri(self.settings),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": base,
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(self.scheduled),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(self.logs / "dag_processor"),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        }  # fmt: skip

    # -- processes ---------------------------------------------------------------------------------------------------

    def _start(self, name: str, environment: dict[str, str]) -> None:
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [name, *(("--skip-serve-logs",) if name == "scheduler" else ())]
        with _private_log(self.logs / f"{name}.log") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
                cwd=self.settings.project, start_new_session=True, umask=0o077,
            )  # fmt: skip
        record = {"pid": process.pid, "created": psutil.Process(process.pid).create_time()}
        _write_private(self.home / "run" / f"{name}.json", json.dumps(record))

    def _run(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with _private_log(log) as handle:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", *arguments],
                stdin=subprocess.DEVNULL, stdout=handle, stderr=subprocess.STDOUT, env=environment,
                cwd=self.settings.project, umask=0o077, check=False,
            )  # fmt: skip
        if done.returncode:
            raise PermanentError(
                f"`airflow {' '.join(arguments)}` failed (exit {done.returncode}); {log} ends with:\n{tail(log)}"
            )

    def _process(self, name: str) -> psutil.Process | None:
        """The recorded process if it lives and is still that one: a number alone may belong to somebody else by now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = self._recorded(name)
            if process is not None and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def _recorded(self, name: str) -> psutil.Process | None:
        try:
            record = json.loads((self.home / "run" / f"{name}.json").read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            return process if abs(process.create_time() - record["created"]) < 1 else None
        except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
            return None

    def _kill_leftovers(self) -> bool:
        leaders = [process for name in COMPONENTS if (process := self._process(name)) is not None]
        family = self._family()
        for process in leaders:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        psutil.wait_procs(leaders, timeout=10)
        for process in family:  # workers of a scheduler that was killed, tasks in sessions of their own
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        for name in COMPONENTS:
            (self.home / "run" / f"{name}.json").unlink(missing_ok=True)
        return bool(family)

    def _family(self) -> list[psutil.Process]:
        """Every live process of the stack: the recorded ones, their descendants, and whoever shares their sessions."""
        sessions = self._sessions()
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) in sessions:
                    found[process.pid] = process
        for process in list(found.values()):
            with contextlib.suppress(psutil.Error):
                found.update({child.pid: child for child in process.children(recursive=True)})
        found.pop(os.getpid(), None)
        return list(found.values())

    def _sessions(self) -> set[int]:
        """Session ids (= recorded pids) that are ours. A system gives a number to nobody else while its session lives."""
        sessions = set()
        for name in COMPONENTS:
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
                pid = json.loads((self.home / "run" / f"{name}.json").read_text(encoding="utf-8"))["pid"]
                if self._recorded(name) is not None or not psutil.pid_exists(pid):
                    sessions.add(pid)
        return sessions

    # -- health ------------------------------------------------------------------------------------------------------

    def _wait_healthy(self, expected_dags: Collection[str], started_at: datetime, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        missing = "no answer"
        while time.monotonic() < deadline:
            for name in COMPONENTS:
                if self._process(name) is None:
                    log = self.logs / f"{name}.log"
                    raise TransientError(f"Airflow's {name} stopped while starting; {log} ends with:\n{tail(log)}")
            missing = self._missing(expected_dags, started_at)
            if not missing:
                return
            time.sleep(0.5)
        raise TransientError(f"Airflow was not ready after {timeout:.0f} s: {missing}. Its logs: {self.logs}")

    def _missing(self, expected_dags: Collection[str], started_at: datetime) -> str:
        try:
            api = self.client("engineer")
            health = api.get("/api/v2/monitor/health")
            for part, key in (
                ("scheduler", "latest_scheduler_heartbeat"),
                ("dag_processor", "latest_dag_processor_heartbeat"),
            ):
                beat = (health.get(part) or {}).get(key)
                if not beat or datetime.fromisoformat(beat) < started_at:
                    return f"the {part} has not reported yet"
            parsed = {
                dag["dag_id"] for dag in api.dags() if datetime.fromisoformat(dag["last_parsed_time"]) >= started_at
            }
            absent = sorted(set(expected_dags) - parsed)
            if absent:
                errors = "; ".join(
                    f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in api.import_errors()
                )
                return f"DAGs not parsed: {', '.join(absent)} {errors}".rstrip()
        except TransientError as error:
            return str(error)
        except RefusedError as error:  # another stack was quicker to take the port: ours will end, and its log says why
            return f"another program answers at {self.url}: {error}"
        return ""

    # -- small files -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        (self.home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / "run" / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _keys(self) -> dict[str, str]:
        def make() -> dict[str, str]:
            fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            return {"fernet": fernet, "jwt": secrets.token_urlsafe(48), "secret": secrets.token_urlsafe(32)}

        return self._private_json(self.home / "keys.json", make)

    def _private_json(self, path: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
        wanted = make()
        with contextlib.suppress(FileNotFoundError, ValueError):
            present: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            if wanted.keys() <= present.keys():
                return present
            wanted |= present
        _write_private(path, json.dumps(wanted, indent=1) + "\n")
        return wanted

    def _choose_port(self) -> int:
        for port in (self.api_port, DEFAULT_PORT):
            if port and port_is_free(port):
                return port
        if self.api_port:
            raise PermanentError(f"port {self.api_port} is in use: choose another one, or stop what listens there")
        return free_port()

    def _recorded_port(self) -> int:
        try:
            return int((self.home / "run" / "port").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            raise PermanentError("Airflow has not been started here: run `hailong up` (or `make up`)") from error


def tail(path: Path, lines: int = 25) -> str:
    """The last lines of a text file, or nothing."""
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def up(settings: Settings, api_port: int | None = None) -> Stack:
    """`hailong up`: the warehouse and an Airflow with its schedule running; says where it is and who may log in."""
    from hailong.warehouse.migrations import migrate

    console = Console(highlight=False, soft_wrap=True)
    migrate(settings)
    stack = Stack(settings, api_port)
    with console.status("starting Airflow"):
        fresh = stack.up()
    console.print(f"Airflow {'is up' if fresh else 'was up already'}: {stack.url}")
    console.print(f"Users {', '.join(stack.users())}; their passwords: {stack.passwords_file}. Logs: {stack.logs}")
    console.print("New DAGs are paused: unpause in the UI those that should run. Stop with `hailong down`.")
    return stack


def down(settings: Settings) -> bool:
    """`hailong down`: Airflow, a sandbox of the demo, and the embedded server; False when nothing ran."""
    from hailong import sandbox_process
    from hailong.warehouse.embedded import Embedded

    console = Console(highlight=False, soft_wrap=True)
    stopped = {"Airflow": Stack(settings).down(), "sandbox": sandbox_process.stop(settings)}
    if not settings.dsn:
        stopped["embedded PostgreSQL"] = Embedded(settings.home).down()
    names = [name for name, was_up in stopped.items() if was_up]
    console.print(f"Stopped: {', '.join(names)}." if names else "Nothing was running.")
    return bool(names)


def _ensure_database(settings: Settings, uri: str) -> None:
    """Make Airflow's database on the server of HAILONG_DSN when it is not there and we may."""
    name = conninfo_to_dict(uri)["dbname"]
    with connect(settings, autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(str(name))))
        except psycopg.errors.InsufficientPrivilege as error:
            raise PermanentError(
                f"Airflow's database '{name}' does not exist and this user may not create it: create it, or name "
                "another one in HAILONG_AIRFLOW_DSN"
            ) from error


def _alembic_version(uri: str) -> str:
    try:
        with psycopg.connect(uri, connect_timeout=10) as connection:
            row: Any = connection.execute("select version_num from alembic_version").fetchone()
            return str(row[0]) if row else ""
    except psycopg.errors.UndefinedTable:
        return ""
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise TransientError(f"no connection to Airflow's database (HAILONG_AIRFLOW_DSN): {reason}") from error


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
    temporary.replace(path)


def _private_log(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
