"""The build's part of `make bench`: raw → marts against SQL by hand and pandas; a night; a month's K. Writes its section of
docs/benchmarks.md; exit 1 when a goal does not hold.

python -m tests.bench.warehouse [--dossiers 6000000] [--rounds 3] [--changes 20000] [--no-report] [--keep]

Two histories are generated (`tests.bench.city`): a year, and its last 36 days. On the year: full build, the script by hand
(`by_hand.py`), bare SQL (`bare.sql`), pandas for the same tables (`frames_tables.py`) and for K only (`frames.py`), one after the
other in each round; all must give the same K table. Then nights on both, each read into raw before it is built and not counted,
and a month's K from the daily facts. `--keep` leaves the databases for another run of the same size, which then need not be
generated.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import orjson
import psycopg
from psycopg import sql

from hailong.settings import PROJECT, Settings
from hailong.warehouse.build import build
from hailong.warehouse.embedded import Embedded
from hailong.warehouse.migrations import migrate
from sandbox.workdays import calendar
from tests.bench import by_hand, table
from tests.bench.city import generate, night
from tests.bench.lives import YEAR, Size
from tests.bench.report import SECTIONS, Goal, goals_table, machine, print_goals, stamp, write_section

FOLDER = PROJECT / ".hailong" / "bench"
SHORT = 36
NIGHTS = 5  # at least: the first finds nothing of its history in memory
MONTH = "2026-11"
MB = 1_000_000
SLOWEST = 10
# Of the bench's own server; for a third of a machine's memory, as for a warehouse that stands on it alone.
SERVER = {
    "shared_buffers": "3GB", "effective_cache_size": "12GB", "work_mem": "1GB", "maintenance_work_mem": "1GB",
    "max_wal_size": "16GB", "checkpoint_timeout": "30min",
}  # fmt: skip


@dataclass
class Bench:
    """One run: the server, the size, and seconds by what was measured."""

    server: str  # address of the maintenance database
    version: str
    size: Size
    seconds: dict[str, list[float]] = field(default_factory=dict)
    importing: float = 0.0
    startup: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)  # rows of those that pandas makes
    nodes: dict[str, float] = field(default_factory=dict)  # seconds by node of the last full build of the year
    rows: dict[str, int] = field(default_factory=dict)
    slowest: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    earlier: int = 0  # nights that an earlier run had left

    def settings(self, name: str) -> Settings:
        env = {"PATH": os.environ["PATH"], "HAILONG_DSN": self.dsn(name), "HAILONG_HOME": str(FOLDER / f"home-{name}")}
        return Settings.load(env)

    def dsn(self, name: str) -> str:
        parts = urlsplit(self.server)
        return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, ""))

    def note(self, what: str, seconds: float) -> None:
        self.seconds.setdefault(what, []).append(seconds)
        print(f"  {what:<40} {seconds:9.2f} s", flush=True)

    def median(self, what: str) -> float:
        return float(statistics.median(self.seconds[what]))


# -- what is measured -----------------------------------------------------------------------------------------------------


def _full(bench: Bench, name: str, what: str) -> None:
    _settle(bench)
    result = build(bench.settings(name), full=True)
    startup = _startup(bench, name)
    bench.startup.append(startup)
    bench.note(what, result.seconds - startup)
    _where_it_goes(bench, name, result.build_id, what)


def _night(bench: Bench, name: str, size: Size, changes: int, nights: int, what: str) -> None:
    """A day off brings less than was asked for: such a night is played, and told apart."""
    settings = bench.settings(name)
    made = night(settings, size, changes, nights)
    what += "" if calendar().is_working(np.array(size.last + nights)) else ", weekend"
    print(
        f"  night {nights} on {name}: " + ", ".join(f"{rows:,} {kind}" for kind, rows in made.changes.items()),
        flush=True,
    )
    _settle(bench)
    result = build(settings)
    if result.full_refresh:
        raise SystemExit(f"the build of night {nights} on {name} was a full one")
    startup = _startup(bench, name)
    bench.startup.append(startup)
    bench.note(what, result.seconds - startup)
    _where_it_goes(bench, name, result.build_id, what)


def _bare(bench: Bench, name: str) -> table.Rows:
    _settle(bench)
    before = time.perf_counter()
    rows = table.of_bare(bench.dsn(name))
    bench.note("bare SQL", time.perf_counter() - before)
    return rows


def _frames(bench: Bench, name: str, module: str, what: str) -> str:
    """In a process of its own, imports not counted; returns the digest of its K table."""
    _settle(bench)
    command = [sys.executable, "-m", f"tests.bench.{module}"]
    env = {"PATH": os.environ["PATH"], "BENCH_DSN": bench.dsn(name)}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    found = orjson.loads(done.stdout.strip().splitlines()[-1])
    bench.note(what, found["seconds"])
    if "writing" in found:
        bench.note(f"{what}, written back", found["writing"])
        bench.tables = found["rows"]
    bench.memory[what] = max(bench.memory.get(what, 0), found["memory"])
    return str(found["digest"])


def _other_counts(bench: Bench, name: str) -> list[str]:
    """In words, where pandas made more or fewer rows than the build."""
    found = []
    with psycopg.connect(bench.dsn(name)) as connection:
        for relation, rows in bench.tables.items():
            counted = connection.execute(
                sql.SQL("select count(*) from {}").format(sql.Identifier(*relation.split(".")))
            ).fetchone()
            if counted != (rows,):
                found.append(f"{relation} has {rows} rows, that of the build {counted}")
    return found


def _by_hand(bench: Bench, name: str) -> table.Rows:
    """The same tables with the same constraints, by hand; gone afterwards: its views stand in a full build's way."""
    made = by_hand.steps(bench.settings(name).home / "dbt" / "target")
    with psycopg.connect(bench.dsn(name), autocommit=True) as connection:
        by_hand.clear(connection, make=True)
        _settle(bench)
        try:
            before = time.perf_counter()
            seconds = by_hand.fill(bench.dsn(name), made)
            bench.note("by hand", time.perf_counter() - before)
            rows = table.of_marts(bench.dsn(name), f"{by_hand.PREFIX}marts")
        finally:
            by_hand.clear(connection)
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:SLOWEST]
    bench.slowest["by hand"] = [(relation.partition(".")[2], spent) for relation, spent in slowest]
    return rows


def month_statement(settings: Settings, period: str) -> str:
    """The marts' own SQL of the last build, for one period: index scores from the daily facts, and K of them."""
    compiled = settings.home / "dbt" / "target" / "compiled"

    def read(model: str) -> str:
        return next(compiled.rglob(f"{model}.sql")).read_text(encoding="utf-8")

    one = f"(select * from core.core_unit_window where period_code = '{period}')"
    indices, k = (
        _replaced(read(model), "core", "core_unit_window", one) for model in ("mart_index_score", "mart_k_score")
    )
    return _replaced(k, "marts", "index_score", f"({indices})")


def _replaced(statement: str, schema: str, relation: str, other: str) -> str:
    found, times = re.subn(
        rf'from "[^"]+"\."{schema}"\."{relation}"', lambda _: f"from {other} as {relation}", statement
    )
    if not times:
        raise ValueError(f"the compiled SQL does not read {schema}.{relation}")
    return found


def _month(bench: Bench, name: str) -> None:
    statement = month_statement(bench.settings(name), MONTH).encode()
    with psycopg.connect(bench.dsn(name), autocommit=True) as connection:
        connection.execute("set jit = off")
        connection.execute("set enable_nestloop = off")
        before = time.perf_counter()
        cursor = connection.execute(statement)
        names = [column.name for column in cursor.description or ()]
        found = {row[names.index("unit_code")]: row[names.index("k")] for row in cursor.fetchall()}
        bench.note("a month's K", time.perf_counter() - before)
    place = table.COLUMNS.index("k")
    held = {unit: row[place] for (period, unit), row in table.of_marts(bench.dsn(name)).items() if period == MONTH}
    if found != held or not held:
        raise SystemExit(f"a month's K from the daily facts is not that of marts.k_score in {MONTH}")


def _settle(bench: Bench) -> None:
    """Nothing left to write from what was before."""
    with psycopg.connect(bench.server, autocommit=True) as connection:
        connection.execute("checkpoint")


def _startup(bench: Bench, name: str) -> float:
    """Seconds that dbt needs from its call to the first node: it is imported, parses the project, connects."""
    results = orjson.loads((bench.settings(name).home / "dbt" / "target" / "run_results.json").read_bytes())
    called = datetime.fromisoformat(results["metadata"]["invocation_started_at"])
    begun = [datetime.fromisoformat(timing["started_at"]) for node in results["results"] for timing in node["timing"]]
    return bench.importing + float((min(begun) - called).total_seconds())


def _importing() -> float:
    """Seconds until dbt is imported, the fastest of three: before that it does not tell the time."""
    found = []
    for _ in range(3):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", "from dbt.cli.main import cli"], check=True)
        found.append(time.perf_counter() - before)
    return min(found)


def _where_it_goes(bench: Bench, name: str, build_id: int, what: str) -> None:
    with psycopg.connect(bench.dsn(name)) as connection:
        rows = connection.execute(
            "select node_id, seconds::float from ops.dbt_result where build_id = %s order by seconds desc", (build_id,)
        ).fetchall()
    bench.slowest[what] = [(node.split(".")[2], seconds) for node, seconds in rows[:SLOWEST]]
    if what == "full build":
        bench.nodes = {node.split(".")[2]: seconds for node, seconds in rows}
    layers: dict[str, float] = {}
    for node, seconds in rows:
        kind, _, model = node.split(".")[:3]
        prefix = model.partition("_")[0]
        layer = {
            "stg": "staging", "dim": "core", "core": "core", "fct": "facts", "mart": "marts", "dq": "marts",
            "official": "officials",
        }.get(prefix)  # fmt: skip
        layer = layer if kind == "model" and layer else {"seed": "seeds", "test": "tests"}.get(kind, kind)
        layers[layer] = layers.get(layer, 0.0) + seconds
    bench.layers[what] = layers


# -- the run ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _server() -> Iterator[str]:
    """The server of HAILONG_DSN as it is, else an embedded one of the bench's own, set up for a warehouse."""
    if os.environ.get("HAILONG_DSN"):
        yield os.environ["HAILONG_DSN"]
        return
    embedded = Embedded(FOLDER)
    with psycopg.connect(embedded.up().uri("postgres"), autocommit=True) as connection:
        for name, value in SERVER.items():
            connection.execute(sql.SQL("alter system set {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    embedded.down()  # for what is read at the start only
    try:
        yield embedded.up().uri("postgres")
    finally:
        with psycopg.connect(embedded.up().uri("postgres"), autocommit=True) as connection:
            connection.execute("alter system reset all")  # the other part measures with the package's own settings
        embedded.down()


def _history(bench: Bench, name: str, size: Size, keep: bool) -> None:
    with psycopg.connect(bench.server, autocommit=True) as connection:
        held = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
        if held and keep:
            return
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    settings = bench.settings(name)
    migrate(settings)
    made = generate(settings, size)
    told = ", ".join(f"{rows:,} {feed}" for feed, rows in made.rows.items())
    print(f"  generated in {made.seconds:.0f} s, {made.batches} batches: {told}", flush=True)


def nights_held(dsn: str, size: Size) -> int:
    """Nights that an earlier run left after the history (`--keep`): a night is loaded once."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from ops.batch where feed = 'dossier'").fetchone()
    return int(row[0]) - size.days  # type: ignore[index]


def _drop(bench: Bench, *names: str) -> None:
    with psycopg.connect(bench.server, autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def run(bench: Bench, rounds: int, changes: int, keep: bool) -> None:
    year, short = f"bench_{bench.size.dossiers}_{YEAR}", f"bench_{bench.size.dossiers}_{SHORT}"
    few = Size(bench.size.dossiers, SHORT, bench.size.seed)
    try:
        _history(bench, year, bench.size, keep)
        with psycopg.connect(bench.dsn(year)) as connection:
            for feed in ("dossier", "rating"):
                counted = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("raw", feed)))
                bench.rows[feed] = int(counted.fetchone()[0])  # type: ignore[index]
        for _ in range(rounds):
            _full(bench, year, "full build")
            held = table.of_marts(bench.dsn(year))
            if found := table.differences(_by_hand(bench, year), held):
                raise SystemExit(f"by hand another K table comes out: {len(found)} differences, {found[:3]}")
            if found := table.differences(_bare(bench, year), held):
                raise SystemExit(f"bare SQL gives another K table: {len(found)} differences, {found[:3]}")
            for module, what in (("frames_tables", "pandas"), ("frames", "pandas, K only")):
                if _frames(bench, year, module, what) != table.digest(held):
                    raise SystemExit(f"{what} ({module}.py) gives another K table")
            if found := _other_counts(bench, year):
                raise SystemExit(f"pandas makes other tables: {', '.join(found)}")
        for _ in range(rounds):
            _month(bench, year)
        _history(bench, short, few, keep)
        _full(bench, short, f"full build, {SHORT} days")
        nights = bench.earlier = max(nights_held(bench.dsn(year), bench.size), nights_held(bench.dsn(short), few))
        while len(bench.seconds.get("night on 12 months", ())) < max(rounds, NIGHTS):
            nights += 1
            _night(bench, short, few, changes, nights, f"night on {SHORT} days")
            _night(bench, year, bench.size, changes, nights, "night on 12 months")
    finally:
        if not keep:
            _drop(bench, year, short)


# -- goals and report --------------------------------------------------------------------------------------------------------


def goals(bench: Bench) -> list[Goal]:
    full, bare, pandas = bench.median("full build"), bench.median("bare SQL"), bench.median("pandas")
    long, short = bench.median("night on 12 months"), bench.median(f"night on {SHORT} days")
    month = bench.median("a month's K")
    times = full / bench.median("by hand")
    return [
        Goal(
            "full build against SQL by hand, same tables and constraints",
            "at most 1.5 times",
            f"{times:.2f} times",
            times <= 1.5,
        ),
        Goal("full build against bare SQL, K only", "at most 6 times", f"{full / bare:.1f} times", full <= 6 * bare),
        Goal("full build against pandas, same tables", "faster", f"{full:.0f} s, pandas {pandas:.0f} s", full < pandas),
        Goal(
            f"a night on 12 months against one on {SHORT} days",
            "at most 1.3 times",
            f"{long / short:.2f} times",
            long <= 1.3 * short,
        ),
        Goal(
            "a night against the full build", "at least 15 times faster", f"{full / long:.1f} times", full >= 15 * long
        ),
        Goal(
            "a month's K from the daily facts",
            "at most 2 % of the full build",
            f"{month / full:.1%}",
            month <= 0.02 * full,
        ),
    ]


def report(bench: Bench, found: list[Goal], rounds: int, changes: int) -> list[str]:
    told = {
        "full build": "full build, raw → marts: every table with its keys and checks, every test",
        "by hand": "by hand: the same tables with the same constraints (`by_hand.py`)",
        "bare SQL": "bare SQL: one statement that computes the same K table and keeps nothing (`bare.sql`)",
        "pandas": "pandas: reads the same raw over the driver, computes the same tables (`frames_tables.py`)",
        "pandas, written back": "and writes them back, by COPY into tables without keys, checks and indexes",
        "pandas, K only": "pandas: reads the same raw over the driver, computes the same K table and nothing else (`frames.py`)",
        "night on 12 months": f"a night of {changes:,} changed dossiers, 12 months of history",
        f"night on {SHORT} days": f"the same night, {SHORT} days of history",
        "a month's K": "a month's K from the daily facts, one statement",
        f"full build, {SHORT} days": f"full build of {SHORT} days",
    }
    names = ", ".join(f"{name} {value}" for name, value in SERVER.items())
    earlier = f", after {bench.earlier} that an earlier run had left" if bench.earlier else ""
    lines = [
        *stamp(bench.version),
        f"- {bench.size.dossiers:,} generated dossiers of one city-year in {bench.rows['dossier']:,} versions, and"
        f" {bench.rows['rating']:,} ratings, by COPY (`tests/bench/city.py`)",
        f"- median of {rounds} round{'s' if rounds > 1 else ''}, of {max(rounds, NIGHTS)} nights one after the other, no"
        f" weekend's{earlier}; the server for all: {names}",
        f"- dbt's start-up, {statistics.median(bench.startup):.1f} s a build, is not in these seconds; every contestant gave the"
        " same K table, row for row",
        "",
        "| what | seconds |",
        "|---|--:|",
        *(f"| {text} | {bench.median(what):.2f} |" for what, text in told.items() if what in bench.seconds),
        "",
        *(
            f"The nights one by one, {text}: {', '.join(f'{seconds:.1f}' for seconds in bench.seconds[what])} s."
            for what, text in (("night on 12 months", "12 months"), (f"night on {SHORT} days", f"{SHORT} days"))
        ),
        "",
        *goals_table(found),
        "",
        f"Peak memory of pandas: {bench.memory['pandas'] / MB:,.0f} MB for the tables,"
        f" {bench.memory['pandas, K only'] / MB:,.0f} MB for K only.",
        "",
        "Where the time goes (seconds of the last round; the ten slowest nodes):",
        "",
        "| full build | | by hand | | night on 12 months | |",
        "|---|--:|---|--:|---|--:|",
    ]
    for row in zip(*(bench.slowest[what] for what in ("full build", "by hand", "night on 12 months")), strict=False):
        lines.append("| " + " | ".join(f"`{node}` | {seconds:.1f}" for node, seconds in row) + " |")
    for what in ("full build", "night on 12 months"):
        spent = sum(bench.layers[what].values())
        shares = sorted(bench.layers[what].items(), key=lambda item: -item[1])
        told_shares = ", ".join(f"{layer} {seconds / spent:.0%}" for layer, seconds in shares)
        at_a_time = spent / bench.seconds[what][-1]
        lines += ["", f"The {what} by layer: {told_shares}; {at_a_time:.1f} nodes at a time."]
    limits = [f"of a {what} `{bench.slowest[what][0][0]}`" for what in ("full build", "night on 12 months")]
    made = {name.partition(".")[2] for name in bench.tables}
    in_common = sum(spent for node, spent in bench.nodes.items() if node.removeprefix("mart_") in made)
    notes = NOTES.format(
        tables=", ".join(f"`{name}`" for name in bench.tables),
        share=in_common / sum(bench.nodes.values()),
        full=bench.median("full build"),
        k_only=bench.median("pandas, K only"),
    )
    return [*lines, "", f"The next limit: {', '.join(limits)}.", "", notes.strip()]


NOTES = """
By hand is plain SQL that a person would write who knows the data and needs no models: where the time goes the statements are
written by hand (`tests/bench/by_hand/*.sql`: raw aggregated once and joined once for all that is made of dossiers, what several
tables need computed once in unlogged tables, the default policy in the statements' shape), the other
tables, which take next to no time, are what dbt made of their models. Two connections, as dbt's two threads, each table begun as
soon as those it needs are there; the same columns, not-nulls, checks, keys, indexes and statistics; no triggers, no comments, no
tests. The scores of officials are in both. Every row and constraint is compared by a test at 20,000 dossiers.

Pandas is measured twice. The goal is set against the script that makes the tables which dossiers and ratings go through to
their scores; on these the build spends {share:.0%} of its nodes' seconds: {tables}. Every row of them is compared with the
build's by a test. Its seconds are reading and computing; writing the tables back stands beside them and is not in the goal,
though the build's seconds have the writing of its tables, their keys, checks, indexes and tests in them. What the build makes
besides (registers, petitions, roll-ups, lists, findings) pandas does not.

The other script computes the K table and nothing else, {k_only:.0f} s against {full:.0f} s of the full build. The
goal is not set against it because it does not do the same: it reads fewer columns, forgets each dossier as soon as it is
counted, and reads nothing in any other way than the policy does. Who wants K alone in the database has bare SQL beside it.

What the figures leave out: the portal's copy of the dossiers is not generated, so the reconciliation has nothing to compare; bare
SQL and pandas for K only compute K without sensitivity, keep no table, check nothing and cannot say why a number is what it is.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.warehouse", description=__doc__)
    parser.add_argument("--dossiers", type=int, default=6_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=104)
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the databases, and use what an earlier run left")
    asked = parser.parse_args()
    print(f"{machine()}; {asked.dossiers:,} dossiers", flush=True)
    with _server() as server:
        with psycopg.connect(server) as connection:
            version = str(connection.info.parameter_status("server_version"))
        bench = Bench(server, version, Size(asked.dossiers, YEAR, asked.seed), importing=_importing())
        run(bench, asked.rounds, asked.changes, asked.keep)
    found = goals(bench)
    print_goals(found)
    if not asked.no_report:
        write_section(SECTIONS[1], report(bench, found, asked.rounds, asked.changes))
        print("written to docs/benchmarks.md")
    return 0 if all(goal.holds for goal in found) else 1


if __name__ == "__main__":
    sys.exit(main())
