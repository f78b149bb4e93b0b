"""dbt as a subprocess: its own process, its own memory, and gone when we are gone."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from hailong.errors import PermanentError
from hailong.settings import Settings
from hailong.warehouse.connect import dsn

Progress = Callable[[str], None]

# Its command line, without the collector of cycles: in a process that lives for one call it finds little and takes a sixth of
# the time; without it dbt takes 60 MB more.
PROGRAM = "import gc; gc.disable(); from dbt.cli.main import cli; cli()"
_RESULT_EVENTS = {"LogModelResult", "LogSeedResult", "LogTestResult", "LogSnapshotResult"}
_BAD = {"error", "fail", "runtime error"}


@dataclass(frozen=True)
class Reads:
    """What a call of dbt reads: raw rows up to a batch, all of them or those that changed; `schema_prefix` as in BuildResult,
    `counted` as in `build`.
    """

    as_of_batch: int = 0
    increment: bool = False
    schema_prefix: str = ""
    counted: tuple[int, Sequence[str]] | None = None


@dataclass(frozen=True)
class Node:
    """What one node of a run came to, from `run_results.json`; one that failed with the file of its SQL."""

    node_id: str
    status: str
    seconds: float
    rows: int | None
    message: str | None
    compiled: str | None


@dataclass(frozen=True)
class DbtRun:
    """One finished call of dbt."""

    target: Path
    returncode: int
    nodes: tuple[Node, ...] = ()
    said: tuple[str, ...] = field(default=(), repr=False)

    @property
    def failed(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.status in _BAD)

    @property
    def manifest(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.target / "manifest.json").read_text(encoding="utf-8"))
        return loaded


class DbtFailed(PermanentError):
    """dbt refused or a node failed; `run` holds what the others came to."""

    def __init__(self, message: str, run: DbtRun) -> None:
        super().__init__(message)
        self.run = run


def run(
    settings: Settings,
    args: Sequence[str],
    reads: Reads,
    progress: Progress | None = None,
    threads: int = 2,
    variables: Mapping[str, Any] = MappingProxyType({}),
) -> DbtRun:
    """Call dbt on the rule set, as hailong_transformer. DbtFailed names the first failing node, where and why.

    Artifacts and logs go under HAILONG_HOME, those of a past state apart; the project tree stays as it is. A variable that
    changes makes dbt parse the whole project again, so what changes from build to build comes by the environment.
    """
    home = settings.home / "dbt"
    target = home / ("target-past" if reads.schema_prefix else "target")
    target.mkdir(parents=True, exist_ok=True)
    results = target / "run_results.json"
    results.unlink(missing_ok=True)
    settings_of_dbt = {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_VERSION_CHECK": "false",
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(home / "logs"),
        "DBT_PROJECT_DIR": str(settings.rules),
        "DBT_PROFILES_DIR": str(settings.rules),
        "DBT_PARTIAL_PARSE": "true",
        "DBT_LOG_FORMAT": "json",
        "DBT_LOG_FORMAT_FILE": "text",
        "DBT_USE_COLORS": "false",
        "PYTHONUNBUFFERED": "1",
        "HAILONG_AS_OF_BATCH": str(reads.as_of_batch),
        "HAILONG_INCREMENT": "yes" if reads.increment else "",
        "HAILONG_COUNTED_SINCE": str(reads.counted[0]) if reads.counted else "",
        "HAILONG_COUNTED": ",".join(reads.counted[1]) if reads.counted else "",
        "PGOPTIONS": "-c timezone=UTC -c jit=off",  # compiling costs more than it saves on queries of this size
    }
    command = [
        sys.executable, "-c", PROGRAM, *args,
        "--threads", str(threads),
        "--vars", json.dumps({"timezone": settings.timezone, "schema_prefix": reads.schema_prefix,
                              **_of_its_time(settings.rules, reads), **variables}),
    ]  # fmt: skip
    said: list[str] = []
    with subprocess.Popen(
        command,
        cwd=settings.rules,
        env={**os.environ, **settings_of_dbt, **_address(settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                _listen(line, said, progress)
            returncode = process.wait()
        except BaseException:
            process.kill()
            raise
    finished = DbtRun(target, returncode, _nodes(results), tuple(said))
    if returncode != 0 or finished.failed:
        raise DbtFailed(_explain(settings, args, finished), finished)
    return finished


def _of_its_time(rules: Path, reads: Reads) -> dict[str, Any]:
    """Rule sets of the first release took the batch as a variable; they are kept with their editions and must build for ever."""
    macro = rules / "macros" / "as_of.sql"
    asked = macro.is_file() and "var('as_of_batch')" in macro.read_text(encoding="utf-8")
    return {"as_of_batch": reads.as_of_batch} if asked else {}


def _address(settings: Settings) -> dict[str, str]:
    """The warehouse's address as the profile reads it. The password's name makes dbt hide it in its logs."""
    parts = conninfo_to_dict(dsn(settings))
    return {
        "HAILONG_DBT_HOST": str(parts.get("host") or "localhost"),
        "HAILONG_DBT_PORT": str(parts.get("port") or 5432),
        "HAILONG_DBT_USER": str(parts.get("user") or "postgres"),
        "HAILONG_DBT_DBNAME": str(parts.get("dbname") or parts.get("user") or "postgres"),
        "HAILONG_DBT_SSLMODE": str(parts.get("sslmode") or "prefer"),
        "DBT_ENV_SECRET_HAILONG_PASSWORD": str(parts.get("password") or ""),
    }


def _die_with_parent() -> None:
    """A build killed with -9 must not leave a dbt behind that goes on writing (Linux: PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _listen(line: str, said: list[str], progress: Progress | None) -> None:
    try:
        event = json.loads(line)
        info = event["info"]
    except (ValueError, KeyError, TypeError):
        said.append(line.rstrip())
        return
    if info.get("level") in ("error", "warn"):
        said.append(str(info.get("msg", "")))
    if progress and info.get("name") in _RESULT_EVENTS:
        progress(str(info["msg"]))


def _nodes(path: Path) -> tuple[Node, ...]:
    if not path.is_file():
        return ()
    loaded = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        Node(
            node_id=result["unique_id"],
            status=str(result["status"]),
            seconds=float(result["execution_time"]),
            rows=_rows(result.get("adapter_response") or {}),
            message=result.get("message"),
            compiled=_compiled(path.parent, result["unique_id"]) if result["status"] in _BAD else None,
        )
        for result in loaded["results"]
    )


def _rows(response: Mapping[str, Any]) -> int | None:
    rows = response.get("rows_affected")
    return int(rows) if isinstance(rows, int) and rows >= 0 else None


def _compiled(target: Path, node_id: str) -> str | None:
    name = node_id.split(".")[2] if node_id.count(".") >= 2 else node_id
    found = sorted((target / "compiled").rglob(f"{name}.sql"))
    return str(found[0]) if found else None


def _explain(settings: Settings, args: Sequence[str], run: DbtRun) -> str:
    what = f"`dbt {args[0]}` on the rule set {settings.rules}"
    log = settings.home / "dbt" / "logs" / "dbt.log"
    if not run.failed:
        reason = "\n".join(run.said[-12:]) or f"exit code {run.returncode}"
        return f"{what} stopped before any model ran:\n{reason}\nCorrect the rule set and build again. Full log: {log}"
    first = run.failed[0]
    others = f" and {len(run.failed) - 1} more" if len(run.failed) > 1 else ""
    compiled = f"\nSQL as it ran: {first.compiled}" if first.compiled else ""
    return (
        f"{what} failed at {first.node_id}{others}: {(first.message or first.status).strip()}{compiled}\n"
        f"What comes after it was not touched; correct the cause and run it again. Full log: {log}"
    )
