"""The raw tables: one per contract, append-only versions of its records."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from hailong.contracts import TYPES, Contract
from hailong.errors import PermanentError

ROLE = "hailong_loader"
COMMON = (("batch_id", "bigint"), ("record_key", "text"), ("op", "text"), ("version_hash", "text"))
_CATALOG_NAMES = {"timestamptz": "timestamp with time zone"}


def ensure_tables(conn: psycopg.Connection, contracts: Mapping[str, Contract]) -> None:
    """Create missing raw tables and add missing columns, inside the caller's transaction; harmless to repeat.

    PermanentError when a column stands there with another type: raw is append-only, a type is never changed in place.
    """
    conn.execute(sql.SQL("set local role {}").format(sql.Identifier(ROLE)))
    for contract in contracts.values():
        present = _columns(conn, contract.feed)
        if present:
            _extend(conn, contract, present)
        else:
            _create(conn, contract)
    conn.execute("reset role")


def _columns(conn: psycopg.Connection, feed: str) -> dict[str, str]:
    rows = conn.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a "
        "where a.attrelid = to_regclass('raw.' || quote_ident(%s)) and a.attnum > 0 and not a.attisdropped",
        (feed,),
    ).fetchall()
    return {str(name): str(kind) for name, kind in rows}


def _create(conn: psycopg.Connection, contract: Contract) -> None:
    table = sql.Identifier("raw", contract.feed)
    lines = [
        sql.SQL("batch_id bigint not null references ops.batch (batch_id)"),
        sql.SQL("record_key text not null"),
        sql.SQL("op text not null check (op in ('upsert', 'delete'))"),
        sql.SQL("version_hash text not null"),
        *(sql.SQL("{} {}").format(sql.Identifier(c.name), _type(c.type)) for c in contract.columns),
        sql.SQL("primary key (record_key, batch_id)"),
    ]
    conn.execute(sql.SQL("create table {} ({})").format(table, sql.SQL(", ").join(lines)))
    conn.execute(sql.SQL("create index {} on {} (batch_id)").format(sql.Identifier(f"{contract.feed}_batch"), table))
    conn.execute(sql.SQL("comment on table {} is {}").format(table, sql.Literal(contract.description)))
    for name, when in (
        (f"{contract.feed}_append_only", "update or delete"),
        (f"{contract.feed}_no_truncate", "truncate"),
    ):
        scope = "statement" if when == "truncate" else "row"
        conn.execute(
            sql.SQL("create trigger {} before {} on {} for each {} execute function ops.refuse_change()").format(
                sql.Identifier(name), sql.SQL(when), table, sql.SQL(scope)
            )
        )
        conn.execute(sql.SQL("alter table {} enable always trigger {}").format(table, sql.Identifier(name)))
    _describe(conn, contract)


def _extend(conn: psycopg.Connection, contract: Contract, present: Mapping[str, str]) -> None:
    table = sql.Identifier("raw", contract.feed)
    for column in contract.columns:
        found = present.get(column.name)
        if found is None:
            conn.execute(
                sql.SQL("alter table {} add column {} {}").format(
                    table, sql.Identifier(column.name), _type(column.type)
                )
            )
        elif found != _CATALOG_NAMES.get(column.type, column.type):
            raise PermanentError(
                f"raw.{contract.feed}.{column.name} is {found} in the warehouse and {column.type} in "
                f"{contract.path.name}: "
                "give the column a new name in the contract; what was loaded stays as it is"
            )
    _describe(conn, contract)


def _describe(conn: psycopg.Connection, contract: Contract) -> None:
    for column in contract.columns:
        conn.execute(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier("raw", contract.feed, column.name), sql.Literal(column.description)
            )
        )


def _type(name: str) -> sql.SQL:
    if name not in TYPES:
        raise PermanentError(f"unknown column type '{name}'; allowed: {', '.join(TYPES)}")
    return sql.SQL(name)  # type: ignore[arg-type]
