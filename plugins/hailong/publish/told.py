"""How `hailong explain` reads rows and writes their values."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Row = dict[str, Any]


def rows_of(connection: psycopg.Connection, statement: sql.Composed | str, values: Row) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()  # type: ignore[arg-type]


def cell(value: Any, zone: ZoneInfo | None = None, date_only: bool = False) -> str:
    """A value as a reader sees it: what is missing as a dash, moments in `zone`."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(zone):%Y-%m-%d}" if date_only else f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, date):
        return value.isoformat()
    return number(value) if isinstance(value, Decimal) else str(value)


def number(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
