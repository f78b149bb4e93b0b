"""The checksum of a period's content: the same for a candidate and for the edition made of it.

SHA-256 over JSON lines: for each table its name and column names, then one line a row, rows by key in C collation,
numerics as text of fixed scale, dates in ISO form. Columns that come later do not enter it, so an old edition keeps its
checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

# Column → decimal places of a numeric; None for everything else. The first columns, up to the key's length, are the key.
K_SCORE: dict[str, int | None] = {
    "unit_code": None,
    "period_code": None,
    "unit_name": None,
    "peer_group": None,
    "a": 15,
    "b": 15,
    "c": 15,
    "d": 15,
    "e": 15,
    "k": 6,
    "verdict": None,
    "verdict_bound": None,
    "status": None,
    "rank_in_group": None,
    "window_start": None,
    "window_end": None,
    "window_clipped": None,
    "verdict_stability": None,
    "k_min": 6,
    "k_max": 6,
    "small_sample": None,
    "near_threshold": None,
}
INDEX_SCORE: dict[str, int | None] = {
    "unit_code": None,
    "index_code": None,
    "period_code": None,
    "numerator": 6,
    "denominator": 6,
    "excluded": None,
    "value": 15,
    "status": None,
    "status_reason": None,
}
TABLES = (("k_score", K_SCORE, 1), ("index_score", INDEX_SCORE, 2))
MODELS = tuple(f"mart_{name}" for name, _, _ in TABLES)  # which make them

Content = dict[tuple[str, ...], dict[str, Any]]  # (table, unit, index of an index score) → column → text


def content_sha256(connection: psycopg.Connection, owner: str, owner_id: str) -> str:
    """Checksum of a stored copy: `owner` is 'candidate' or 'edition'."""
    prefix, key = {"candidate": ("candidate_", "candidate_id"), "edition": ("", "edition_id")}[owner]
    return _digest(
        (name, columns, key_length, _rows(connection, ("publish", prefix + name), columns, key, owner_id))
        for name, columns, key_length in TABLES
    )


def marts_sha256(connection: psycopg.Connection, period_code: str, schema: str = "marts") -> str:
    """Checksum that a candidate copied from the marts of a schema now would have."""
    return _digest(
        (name, columns, key_length, _rows(connection, (schema, name), columns, "period_code", period_code))
        for name, columns, key_length in TABLES
    )


def said(connection: psycopg.Connection, edition_id: str) -> Content:
    """What an edition says."""
    return _content(connection, "publish", "edition_id", edition_id)


def made(connection: psycopg.Connection, schema: str, period_code: str) -> Content:
    """What the marts of a schema say of a period."""
    return _content(connection, schema, "period_code", period_code)


def differences(was: Content, now: Content) -> list[str]:
    """What is said otherwise now: a line a value, in the text that the checksum is made of."""
    found = []
    for key in sorted(was.keys() | now.keys()):
        where = " ".join(key)
        if key not in now or key not in was:
            found.append(f"{where}: {'no such row now' if key in was else 'no such row before'}")
            continue
        found += [
            f"{where} {name}: was {was[key][name]}, is {now[key][name]}"
            for name in was[key]
            if was[key][name] != now[key][name]
        ]
    return found


def _content(connection: psycopg.Connection, schema: str, key: str, value: str) -> Content:
    return {
        (name, *map(str, row[:key_length])): {
            column: _text(part, scale) for (column, scale), part in zip(columns.items(), row, strict=True)
        }
        for name, columns, key_length in TABLES
        for row in _rows(connection, (schema, name), columns, key, value)
    }


def _rows(
    connection: psycopg.Connection, table: tuple[str, str], columns: dict[str, int | None], key: str, value: str
) -> list[tuple[Any, ...]]:
    statement = sql.SQL("select {columns} from {table} where {key} = %s").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)), table=sql.Identifier(*table), key=sql.Identifier(key)
    )
    return connection.execute(statement, (value,)).fetchall()


def _digest(tables: Iterator[tuple[str, dict[str, int | None], int, list[tuple[Any, ...]]]]) -> str:
    digest = hashlib.sha256()
    for name, columns, key_length, rows in tables:
        digest.update(_line([name, *columns]))
        # UTF-8 bytes sort as the C collation does.
        for row in sorted(rows, key=lambda row: tuple(str(part).encode() for part in row[:key_length])):
            digest.update(_line([_text(value, scale) for value, scale in zip(row, columns.values(), strict=True)]))
    return digest.hexdigest()


def _line(values: list[Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _text(value: Any, scale: int | None) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.{scale}f}" if scale is not None else str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value
