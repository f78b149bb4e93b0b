"""Reads the marts that the oracle speaks of."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.oracle.agreement import MARTS, Marts


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
