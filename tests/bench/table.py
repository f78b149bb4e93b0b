"""The K table of each contestant as plain rows, so that they can be compared: a fast answer must be the same one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql

from tests.bench.frames import COLUMNS, k_table

BARE = Path(__file__).parent / "bare.sql"
# The planner takes what comes out of an aggregate for a few rows; as our models, it is told not to join rows times rows.
# With parallel workers each of them would compute the versions in force for itself.
BARE_SETTINGS = ("set enable_nestloop = off", "set max_parallel_workers_per_gather = 0", "set jit = off")
Rows = dict[tuple[str, str], tuple[Any, ...]]  # by period and unit


def of_marts(dsn: str, schema: str = "marts") -> Rows:
    statement = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), sql.Identifier(schema, "k_score")
    )
    with psycopg.connect(dsn) as connection:
        return _keyed(connection.execute(statement).fetchall())


def of_bare(dsn: str, statement: str | None = None) -> Rows:
    """What the statement answers; `statement`: another one than the file's."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for setting in BARE_SETTINGS:
            connection.execute(setting.encode())
        cursor = connection.execute((statement or BARE.read_text(encoding="utf-8")).encode())
        told = tuple(column.name for column in cursor.description or ())
        if told != COLUMNS:
            raise ValueError(f"bare.sql answers other columns: {sorted(set(told) ^ set(COLUMNS))}")
        return _keyed(cursor.fetchall())


def of_frames(dsn: str) -> Rows:
    return of_frame(k_table(dsn))


def of_frame(found: pd.DataFrame) -> Rows:
    return _keyed([tuple(map(_plain, row)) for row in found.itertuples(index=False)])


def left_over(connection: psycopg.Connection, name: str, ours: sql.Identifier, theirs: sql.Identifier) -> list[str]:
    """In words, how many rows one of two tables has and the other has not, either way round."""
    found = []
    for one, other in ((ours, theirs), (theirs, ours)):
        only = sql.SQL("select count(*) from (select * from {} except all select * from {}) as left_over")
        row = connection.execute(only.format(one, other)).fetchone()
        if row and row[0]:
            found.append(f"{name}: {row[0]} rows only in {one.as_string(connection)}")
    return found


def _keyed(rows: list[Any]) -> Rows:
    found = {(row[0], row[2]): tuple(row) for row in rows}
    if len(found) != len(rows):
        raise ValueError(f"{len(rows) - len(found)} rows share their period and unit with another")
    return found


def _plain(value: Any) -> Any:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.date()
    return value.item() if hasattr(value, "item") else value


def differences(one: Rows, other: Rows) -> list[str]:
    """In words, where two tables differ; numbers are compared as numbers, exactly."""
    found = [f"{key}: only in one of them" for key in sorted(one.keys() ^ other.keys())]
    for key in sorted(one.keys() & other.keys()):
        found += [
            f"{key} {name}: {a!r}, {b!r}"
            for name, a, b in zip(COLUMNS, one[key], other[key], strict=True)
            if a != b
        ]  # fmt: skip
    return found


def digest(rows: Rows) -> str:
    """The same for equal tables, whatever made them."""
    told = hashlib.sha256()
    for key in sorted(rows):
        told.update("|".join(_text(value) for value in rows[key]).encode() + b"\n")
    return told.hexdigest()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return format(value.normalize(), "f") if hasattr(value, "normalize") else str(value)
