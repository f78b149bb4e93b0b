"""The reading part of `make bench`: measures side by side, says whether each goal holds, writes its section of
docs/benchmarks.md; exit 1 when one does not. The build's part is `tests.bench.warehouse`.

python -m tests.bench [--rows 200000] [--rounds 3] [--large 10] [--only ours,minimum,dlt,large] [--no-report]
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import orjson
import psycopg
from psycopg import sql

from hailong.extract.run import ingest
from hailong.settings import PROJECT, Settings
from hailong.warehouse.embedded import Embedded
from hailong.warehouse.migrations import migrate
from tests.bench.pages import DAYS, SIZE, make
from tests.bench.report import SECTIONS, Goal, goals_table, machine, print_goals, stamp, write_section

FOLDER = PROJECT / ".hailong" / "bench"
DLT = "1.31"
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
MB = 1_000_000
PARTS = ("ours", "minimum", "dlt", "large")


@dataclass
class Bench:
    """One run: where the pages come from, which server takes the rows, and what was measured."""

    rows: int
    port: int
    server: str  # address of the maintenance database
    version: str
    about: dict[str, Any]
    measured: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.about["end"]).replace(tzinfo=ZONE)

    @property
    def since(self) -> str:
        return str(self.about["start"])

    def environment(self, database: str, home: Path, copies: int = 1) -> dict[str, str]:
        prefix = f"/x{copies}" if copies > 1 else ""
        return {
            "PATH": os.environ["PATH"],
            "HAILONG_DSN": _on(self.server, database),
            "HAILONG_HOME": str(home),
            "HAILONG_SOURCE_TTHC_URL": f"http://127.0.0.1:{self.port}{prefix}",
            "HAILONG_PSEUDONYM_KEY": f"{self.now.year}:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "BENCH_NOW": self.now.isoformat(),
            "BENCH_URL": f"http://127.0.0.1:{self.port}/",
            "BENCH_DSN": _on(self.server, database),
            "BENCH_FOLDER": str(home),
        }

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """A new database for one measurement, and nothing left to write to disk from the one before."""
        name = f"bench_{uuid.uuid4().hex[:10]}"
        with psycopg.connect(self.server, autocommit=True) as connection:
            given = sql.SQL(" template {}").format(sql.Identifier(template)) if template else sql.SQL("")
            connection.execute(sql.SQL("create database {}{}").format(sql.Identifier(name), given))
            connection.execute("checkpoint")
        try:
            yield name
        finally:
            with psycopg.connect(self.server, autocommit=True) as connection:
                connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def note(self, what: str, found: dict[str, Any]) -> None:
        self.measured.setdefault(what, []).append(found)
        memory = f", {found['cpu']:.1f} s of CPU, {found['memory'] / MB:.0f} MB at most" if "memory" in found else ""
        print(
            f"  {what:<14} {found['received']:>9,} rows in {found['seconds']:7.2f} s, "
            f"{found['received'] / found['seconds']:>9,.0f} rows/s{memory}",
            flush=True,
        )

    def seconds(self, what: str) -> float:
        return float(statistics.median(found["seconds"] for found in self.measured[what]))

    def memory(self, what: str) -> float:
        return float(max(found["memory"] for found in self.measured[what]))


def _on(server: str, database: str) -> str:
    parts = urlsplit(server)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


def _run(command: list[str], env: dict[str, str], **more: str) -> dict[str, Any]:
    done = subprocess.run(command, cwd=PROJECT, env=env | more, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return dict(orjson.loads(done.stdout.strip().splitlines()[-1]))


@contextmanager
def _server() -> Iterator[str]:
    """The server of HAILONG_DSN, else an embedded one of the bench's own."""
    if os.environ.get("HAILONG_DSN"):
        yield os.environ["HAILONG_DSN"]
        return
    embedded = Embedded(FOLDER)
    try:
        yield embedded.up().uri("postgres")
    finally:
        embedded.down()


@contextmanager
def _pages(count: int) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.bench.pages", str(FOLDER / "pages"), str(count)]
    child = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        child.terminate()
        child.wait(timeout=10)


@contextmanager
def _home() -> Iterator[Path]:
    folder = FOLDER / f"home-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _prepared(bench: Bench) -> Iterator[str]:
    """A migrated database with registers and code map, to copy from."""
    with bench.database() as name, _home() as home:
        settings = Settings.load(bench.environment(name, home))
        migrate(settings)
        for feed in ("unit_register", "procedure_register", "code_map"):
            ingest(settings, feed, now=bench.now)
        yield name


def _ours(bench: Bench, template: str, copies: int = 1) -> None:
    """The first read, and for the plain size the look-back read of the next night, in which nothing changed."""
    with bench.database(template) as name, _home() as home:
        env = bench.environment(name, home, copies)
        migrate(Settings.load(env))  # rights on the database itself are not copied with a template
        command = [sys.executable, "-m", "tests.bench.measured", "ours"]
        first = _run(command, env, BENCH_SINCE=bench.since)
        expected = bench.rows * copies
        rows = _count(bench, name)
        if (first["received"], rows) != (expected, first["loaded"]) or first["quarantined"] or first["batches"] != 1:
            raise SystemExit(f"the first read is not what it should be: {first}, {rows} rows in raw")
        bench.note("ours" if copies == 1 else "ours, large", first)
        if copies > 1:
            return
        again = _run(command, env, BENCH_NOW=(bench.now + timedelta(days=1)).isoformat())
        if (again["received"], again["loaded"], _count(bench, name)) != (expected, 0, rows):
            raise SystemExit(f"the look-back read wrote rows, though nothing changed: {again}")
        bench.note("ours, again", again)


def _count(bench: Bench, database: str) -> int:
    with psycopg.connect(_on(bench.server, database)) as connection:
        row = connection.execute("select count(*) from raw.dossier").fetchone()
        return int(row[0]) if row else 0


def _minimum(bench: Bench) -> None:
    with bench.database() as name, _home() as home:
        found = _run([sys.executable, "-m", "tests.bench.measured", "minimum"], bench.environment(name, home))
        if found["received"] != bench.rows:
            raise SystemExit(f"the bare minimum read {found['received']} rows")
        bench.note("minimum", found)


def _dlt(bench: Bench) -> None:
    venv = FOLDER / "dlt"
    python = venv / "bin" / "python"
    if not (venv / ".ready").is_file():
        print(f"  installing dlt {DLT} into an environment of its own", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"dlt[postgres]=={DLT}.*"], check=True)
        (venv / ".ready").touch()
    with bench.database() as name, _home() as home:
        env = bench.environment(name, home) | {"RUNTIME__DLTHUB_TELEMETRY": "false", "HOME": str(home)}
        found = _run([str(python), str(PROJECT / "tests" / "bench" / "dlt_pipeline.py")], env)
        if found["received"] != bench.rows:
            raise SystemExit(f"dlt loaded {found['received']} rows")
        bench.note("dlt", found)


# -- goals and report ---------------------------------------------------------------------------------------------------


def _goals(bench: Bench) -> list[Goal]:
    found = []
    have = bench.measured
    if "dlt" in have and "ours" in have:
        times = bench.seconds("dlt") / bench.seconds("ours")
        found.append(Goal("throughput against dlt", "at least 8 times", f"{times:.1f} times", times >= 8))
    if "minimum" in have and "ours" in have:
        share = bench.seconds("minimum") / bench.seconds("ours")
        found.append(Goal("throughput against the bare minimum", "at least half", f"{share:.2f}", share >= 0.5))
    if "ours, again" in have:
        share = bench.seconds("ours, again") / bench.seconds("ours")
        wanted = "no row written, less than half the time of the first read"
        found.append(Goal("look-back read, nothing changed", wanted, f"no row, {share:.2f} of the time", share < 0.5))
    if "ours, large" in have:
        large, plain = bench.memory("ours, large"), bench.memory("ours")
        size = have["ours, large"][0]["received"]
        told = f"{large / MB:.0f} MB"
        found.append(Goal(f"peak memory at {size:,} rows", "under 400 MB", told, large < 400 * MB))
        more = large / plain - 1
        wanted = f"within 10 % of that at {bench.rows:,}"
        found.append(Goal(f"peak memory at {size:,} rows", wanted, f"{more:+.1%} ({plain / MB:.0f} MB)", more <= 0.1))
    return found


def _report(bench: Bench, goals: list[Goal], rounds: int) -> list[str]:
    names = {
        "ours": "ours: HTTP to committed raw, contract checked, landing folder written",
        "minimum": "bare minimum: read, decoded, binary COPY of text, nothing else",
        "dlt": f"dlt {bench.measured['dlt'][0]['version'] if 'dlt' in bench.measured else DLT}, `rest_api` to `postgres`,"
        " default settings",
        "ours, again": "ours, look-back read the night after: nothing changed",
        "ours, large": "ours, ten times as many",
    }
    lines = [
        *stamp(bench.version),
        f"- {bench.rows:,} dossiers of the sandbox, {bench.about['bytes'] / MB:.0f} MB of JSON in pages of {SIZE:,}, encoded"
        f" before and served from a memory map; all changed within {DAYS} days",
        f"- median of {rounds} rounds (dlt: {len(bench.measured.get('dlt', []))}), each into a new database; seconds from the"
        " first request to the commit",
        "",
        "| what | rows | seconds | rows/s | peak memory |",
        "|---|--:|--:|--:|--:|",
    ]
    for what, told in names.items():
        if what in bench.measured:
            rows, seconds = bench.measured[what][0]["received"], bench.seconds(what)
            memory = f"{bench.memory(what) / MB:.0f} MB" if "memory" in bench.measured[what][0] else ""
            lines.append(f"| {told} | {rows:,} | {seconds:.2f} | {rows / seconds:,.0f} | {memory} |")
    return [*lines, "", *goals_table(goals), "", NOTES.strip()]


NOTES = """
How it is fast (docs/adr/0010-long-reads.md): who reads the pages decodes keys only; the answer's bytes go to one process a
core, where pages become Arrow columns without a Python object per value: what repeats (codes, people, days) is read once per
value, what is plain column by column, and only a record with something odd in it goes through the reader of single records,
which gives the same row (property test `tests/unit/test_columnar.py`). Rows are written to Parquet by row group. Of a landing,
keys and hashes go to PostgreSQL first and are judged there; the new rows follow by binary COPY into raw itself. A record that
comes again byte for byte becomes the row that it became before, found by a keyed fingerprint (`tests/unit/test_again.py`).

What the figures leave out: peak memory is that of the process that reads and loads; the processes that convert for it take some
60 MB each besides, however long the read. Every conversion process is forked within the measured time; imports are not counted.

dlt unpacks nested lists into tables of their own and keeps the fields that we drop at the door (names, phones, free
text); it checks no contract, keeps no landing folder and no ledger. The bare minimum keeps nothing but the contract's fields.

The next limit: of a first read half is conversion, on both cores, and half the load, of which two thirds are the server's COPY
(JSON columns, primary key, write-ahead log) on one core.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=10, help="how many times the rows in the memory test")
    parser.add_argument("--only", default=",".join(PARTS), help="comma list of " + ", ".join(PARTS))
    parser.add_argument("--no-report", action="store_true")
    asked = parser.parse_args()
    parts = asked.only.split(",")
    about = make(FOLDER / "pages", asked.rows)
    print(f"{machine()}; {asked.rows:,} dossiers, {about['bytes'] / MB:.0f} MB of JSON", flush=True)
    with _server() as server, _pages(asked.rows) as port:
        with psycopg.connect(server) as connection:
            version = str(connection.info.parameter_status("server_version"))
        bench = Bench(asked.rows, port, server, version, about)
        with _prepared(bench) as template:
            for number in range(asked.rounds):
                if "minimum" in parts:
                    _minimum(bench)
                if "ours" in parts:
                    _ours(bench, template)
                if "dlt" in parts and number == asked.rounds // 2:
                    _dlt(bench)
            if "large" in parts:
                _ours(bench, template, asked.large)
    goals = _goals(bench)
    print_goals(goals)
    if not asked.no_report:
        write_section(SECTIONS[0], _report(bench, goals, asked.rounds))
        print("written to docs/benchmarks.md")
    return 0 if all(goal.holds for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
