"""Reads the marts that the oracle speaks of, and builds some beside the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from hailong.settings import Settings
from hailong.warehouse import build as building
from hailong.warehouse.connect import connect
from tests.oracle.agreement import MARTS, Marts


@contextmanager
def built_beside(settings: Settings, as_of: int, *marts: str) -> Iterator[str]:
    """Schema of these marts (default: all) under the rules of `settings` as of a batch, with what they are made of; dropped
    afterwards. It has the same name each time, so that dbt need not parse everything again.
    """
    with building.side_state(settings):
        models = settings.rules / "models" / "marts"
        only = [name for mart in marts for name in (f"mart_{mart}", f"dq_{mart}") if (models / f"{name}.sql").is_file()]
        assert len(only) == len(marts)
        building.build(settings, as_of=as_of, beside=True, only=only)
        yield f"{building.BESIDE}marts"


def read_marts(settings: Settings, schema: str = "marts") -> Marts:
    with connect(settings) as connection:
        return marts_of(connection, schema)


def marts_of(connection: psycopg.Connection, schema: str = "marts") -> Marts:
    found = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for mart, (key, _) in MARTS.items():
            query = sql.SQL("select * from {} order by {}").format(
                sql.Identifier(schema, mart), sql.SQL(", ").join(map(sql.Identifier, key))
            )
            found[mart] = cursor.execute(query).fetchall()
    return found
