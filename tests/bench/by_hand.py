"""The benchmark's script by hand: what a full build of dbt fills, in plain SQL, in schemas by_hand_*.

Where the time goes, a person wrote the statements (`by_hand/*.sql`): free of the borders of models, what several tables need is
computed once, and the default policy's choices are in the statements' shape. The other tables, which take next to no time in
any form, are made by what dbt itself made of their models: to write them again would change no figure and could only go wrong.

Every table gets its rows by `create table … as`, then what dbt gives it: not-nulls and checks in one pass, keys, indexes,
statistics. Left out is what only a later night needs: triggers, comments. Rows and constraints are those of dbt's tables, which
a test shows (`tests/integration/test_bench_city.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import orjson
import psycopg
from psycopg import sql

from tests.bench import table

FOLDER = Path(__file__).parent / "by_hand"
SCHEMAS = ("staging", "core", "facts", "marts", "officials")
PREFIX = "by_hand_"
SCRATCH = f"{PREFIX}scratch"  # what more than one table is made from
CONNECTIONS = 2  # as dbt's threads
SETTINGS = (
    "set jit = off",
    # As our models: what comes out of an aggregate is taken for a few rows, and joined rows times rows.
    "set enable_nestloop = off",
    # Two connections keep both cores busy; workers would hand wide rows to and fro.
    "set max_parallel_workers_per_gather = 0",
    "set max_parallel_maintenance_workers = 0",
)

_RELATION = re.compile(rf'"[^"]+"\."({"|".join(SCHEMAS)})"\."(\w+)"')
_NAMED = re.compile(rf"\b({PREFIX}\w+)\.(\w+)")


@dataclass(frozen=True)
class Step:
    """One relation: the statements that make it, and the relations that must be there before."""

    relation: str
    statements: tuple[str, ...]
    needs: frozenset[str]


def steps(target: Path, folder: Path = FOLDER) -> tuple[Step, ...]:
    """From dbt's artifacts of a full build in `target`, what stands in `folder` put in its place.

    ValueError when a file of the folder stands for no table, or the build was not a full one.
    """
    nodes = orjson.loads((target / "manifest.json").read_bytes())["nodes"]
    results = orjson.loads((target / "run_results.json").read_bytes())["results"]
    compiled = {result["unique_id"]: result["compiled_code"] for result in results}
    models = {
        f"{PREFIX}{node['schema']}.{node['alias']}": (node, compiled[name])
        for name, node in nodes.items()
        if node["resource_type"] == "model" and node["schema"] in SCHEMAS and name in compiled
    }
    by_hand = {".".join((PREFIX + path.parent.name, path.stem)): path for path in sorted(folder.glob("*/*.sql"))}
    made = [_scratch(relation, path) for relation, path in by_hand.items() if relation.startswith(f"{SCRATCH}.")]
    if strangers := by_hand.keys() - models.keys() - {step.relation for step in made}:
        raise ValueError(f"no model makes {', '.join(sorted(strangers))}")
    for relation, (node, of_dbt) in models.items():
        path = by_hand.get(relation)
        query = path.read_text(encoding="utf-8") if path else _RELATION.sub(rf"{PREFIX}\1.\2", of_dbt)
        if "ops.touched_" in query:
            raise ValueError(f"{relation}: the last build looked at what changed only; build in full first")
        statements = tuple(_statements(relation, node, query))
        made.append(Step(relation, statements, _needs(relation, statements)))
    return tuple(made)


def _scratch(relation: str, path: Path) -> Step:
    query = path.read_text(encoding="utf-8")
    statements = (f"create unlogged table {relation} as\n{query}", f"analyze {relation}")
    return Step(relation, statements, _needs(relation, statements))


def _statements(relation: str, node: Mapping[str, Any], query: str) -> Iterator[str]:
    if node["config"]["materialized"] == "view":
        yield f"create view {relation} as\n{query}"
        return
    columns = node["columns"]
    yield f"create table {relation} as\nselect {', '.join(columns)} from (\n{query}\n) as made"
    rules = [
        f"alter column {name} set not null"
        for name, column in columns.items()
        if any(rule["type"] == "not_null" for rule in column.get("constraints") or ())
    ]
    keys = []
    for rule in node["constraints"]:
        named = ", ".join(rule.get("columns") or ())
        match rule["type"]:
            case "check":
                rules.append(f"add constraint {rule['name']} check ({rule['expression']})")
            case "primary_key":
                keys.append(f"add primary key ({named})")
            case "foreign_key":
                to = _RELATION.sub(rf"{PREFIX}\1.\2", rule["to"])
                others = ", ".join(rule["to_columns"])
                keys.append(f"add foreign key ({named}) references {to} ({others}) on delete cascade")
            case other:
                raise ValueError(f"{relation}: a constraint of type {other}")
    for rule in ([", ".join(rules)] if rules else []) + keys:
        yield f"alter table {relation} {rule}"
    for index in node["config"].get("indexes") or ():
        unique = "unique " if index.get("unique") else ""
        yield f"create {unique}index on {relation} ({', '.join(index['columns'])})"
    yield f"analyze {relation}"


def _needs(relation: str, statements: tuple[str, ...]) -> frozenset[str]:
    named = {".".join(found) for statement in statements for found in _NAMED.findall(statement)}
    return frozenset(named - {relation})


def fill(dsn: str, made: tuple[Step, ...]) -> dict[str, float]:
    """Make all relations, several at a time, the ones first that most hangs on; seconds by relation."""
    last = _levels(made)
    waiting = sorted(made, key=lambda step: (-last[step.relation], step.relation))
    seconds: dict[str, float] = {}
    connections: SimpleQueue[psycopg.Connection] = SimpleQueue()
    running: dict[Future[float], Step] = {}
    with ExitStack() as opened, ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in range(CONNECTIONS):
            connection = opened.enter_context(psycopg.connect(dsn, autocommit=True))
            for setting in SETTINGS:
                connection.execute(setting.encode())
            connections.put(connection)
        while waiting or running:
            for step in [step for step in waiting if step.needs <= seconds.keys()][: CONNECTIONS - len(running)]:
                waiting.remove(step)
                running[pool.submit(_make, connections, step)] = step
            if not running:
                raise ValueError(f"{waiting[0].relation} needs what nothing makes: {sorted(waiting[0].needs)}")
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                seconds[running.pop(future).relation] = future.result()
    return seconds


def _make(connections: SimpleQueue[psycopg.Connection], step: Step) -> float:
    """Each statement is a transaction: a key holds the table it points at only as long as it is being checked."""
    connection = connections.get()
    before = time.perf_counter()
    try:
        for statement in step.statements:
            connection.execute(statement.encode())
    finally:
        connections.put(connection)
    return time.perf_counter() - before


def _levels(made: tuple[Step, ...]) -> dict[str, int]:
    """How long a chain of relations hangs on each."""
    levels = {step.relation: 0 for step in made}
    for _ in made:  # a chain is not longer than there are relations
        for step in made:
            for needed in step.needs:
                levels[needed] = max(levels[needed], levels[step.relation] + 1)
    return levels


def clear(connection: psycopg.Connection, make: bool = False) -> None:
    """Drop what an earlier run made; `make`: and make the empty schemas."""
    for schema in (*(PREFIX + schema for schema in SCHEMAS), SCRATCH):
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(name))
        if make:
            connection.execute(sql.SQL("create schema {}").format(name))


def differences(connection: psycopg.Connection, made: tuple[Step, ...]) -> list[str]:
    """In words, where what was made is not what dbt made: rows, columns, keys, checks, indexes."""
    found = []
    for step in made:
        schema, name = step.relation.split(".")
        if schema == SCRATCH:
            continue
        ours, of_dbt = sql.Identifier(schema, name), sql.Identifier(schema.removeprefix(PREFIX), name)
        described = [
            connection.execute(_DESCRIBED.encode(), {"relation": relation.as_string(connection)}).fetchall()
            for relation in (ours, of_dbt)
        ]
        told = {str(row) for row in described[0]} ^ {str(row) for row in described[1]}
        found += [f"{name}: {what}" for what in sorted(told)]
        if schema == f"{PREFIX}staging" or told:
            continue
        found += table.left_over(connection, name, ours, of_dbt)
    return found


# Schemas by their own names alike; a key's name is the database's choice.
_DESCRIBED = rf"""
select 'column', attnum::text, attname::text, format_type(atttypid, atttypmod), attnotnull::text
from pg_attribute where attrelid = %(relation)s::regclass and attnum > 0
union all
select 'constraint', contype::text, case when contype = 'c' then conname::text end,
    replace(pg_get_constraintdef(oid), '{PREFIX}', ''), convalidated::text
from pg_constraint where conrelid = %(relation)s::regclass and contype in ('p', 'f', 'c')
union all
select 'index', null, null, regexp_replace(replace(pg_get_indexdef(indexrelid), '{PREFIX}', ''), 'INDEX \S+ ON', 'ON'), null
from pg_index where indrelid = %(relation)s::regclass
"""
