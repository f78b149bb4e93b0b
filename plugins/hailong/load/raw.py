"""The raw tables: one per contract, append-only versions of its records, partitioned by ranges of batches.

Beside each stands its head: the current version of every key, and whether the last complete read missed it. The head is
derived from raw and belongs to the load alone; whoever wants to know what is in force reads raw, as of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from hailong.contracts import TYPES, Contract
from hailong.errors import PermanentError

ROLE = "hailong_loader"
VIEW_ROLE = "hailong_transformer"  # owner of the staging views
COMMON = (("batch_id", "bigint"), ("record_key", "text"), ("op", "text"), ("version_hash", "text"))
_CATALOG_NAMES = {"timestamptz": "timestamp with time zone"}


def raw_table(feed: str) -> sql.Identifier:
    return sql.Identifier("raw", feed)


def head_table(feed: str) -> sql.Identifier:
    return sql.Identifier("raw", f"{feed}_head")


def ensure_tables(conn: psycopg.Connection, contracts: Mapping[str, Contract]) -> None:
    """Create missing raw tables and add missing columns, inside the caller's transaction; harmless to repeat.

    PermanentError when a column stands there with another type: raw is append-only, a type is never changed in place.
    """
    for contract in contracts.values():
        kind = _kind(conn, contract.feed)
        if kind == "r":
            _drop_views_on(conn, contract.feed)
        conn.execute(sql.SQL("set local role {}").format(sql.Identifier(ROLE)))
        if kind is None:
            _create(conn, contract.feed, contract.description, _named(contract))
        elif kind == "r":
            _partition(conn, contract)
        _extend(conn, contract.feed, _named(contract), contract.path.name)
        _describe(conn, contract)
        conn.execute(
            "select raw.ensure_partition(%s, (select coalesce(max(batch_id), 0) + 1 from ops.batch))", (contract.feed,)
        )
        if _kind(conn, f"{contract.feed}_head") is None:
            _create_head(conn, contract.feed)
            rebuild_head(conn, contract)
        conn.execute("reset role")


def ensure_held(
    conn: psycopg.Connection, feed: str, columns: Sequence[tuple[str, str]], batches: Sequence[int]
) -> None:
    """The table of a feed with at least these columns (name, type as the catalogue has it) and partitions for these batches,
    inside the caller's transaction: for rows of a time whose contract is another one, or gone."""
    kinds = {name: kind for kind, name in _CATALOG_NAMES.items()}
    wanted = [(name, kinds.get(kind, kind)) for name, kind in columns if name not in dict(COMMON)]
    conn.execute(sql.SQL("set local role {}").format(sql.Identifier(ROLE)))
    if _kind(conn, feed) is None:
        _create(conn, feed, "A feed that has no contract any more.", wanted)
    _extend(conn, feed, wanted, "the backup")
    for batch_id in batches:
        conn.execute("select raw.ensure_partition(%s, %s)", (feed, batch_id))
    if _kind(conn, f"{feed}_head") is None:
        _create_head(conn, feed)
    conn.execute("reset role")


def rebuild_head(conn: psycopg.Connection, contract: Contract) -> int:
    """Make the head anew from raw, inside the caller's transaction; returns its rows. Marks of a first miss are lost."""
    cursor = contract.cursor
    changed = sql.Identifier(cursor.name) if cursor else sql.SQL("null::timestamptz")
    conn.execute(sql.SQL("truncate {}").format(head_table(contract.feed)))
    return conn.execute(
        sql.SQL(
            "insert into {} (record_key, batch_id, version_hash, op, changed_at)"
            " select distinct on (record_key) record_key, batch_id, version_hash, op, {} from {}"
            " order by record_key, batch_id desc"
        ).format(head_table(contract.feed), changed, raw_table(contract.feed))
    ).rowcount


def _kind(conn: psycopg.Connection, name: str) -> str | None:
    """'r' for a plain table, 'p' for a partitioned one, None when there is none."""
    row = conn.execute(
        "select relkind::text from pg_class where oid = to_regclass('raw.' || quote_ident(%s))", (name,)
    ).fetchone()
    return None if row is None else str(row[0])


def _columns(conn: psycopg.Connection, feed: str) -> dict[str, str]:
    rows = conn.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a "
        "where a.attrelid = to_regclass('raw.' || quote_ident(%s)) and a.attnum > 0 and not a.attisdropped",
        (feed,),
    ).fetchall()
    return {str(name): str(kind) for name, kind in rows}


def _named(contract: Contract) -> list[tuple[str, str]]:
    return [(column.name, column.type) for column in contract.columns]


def _create(conn: psycopg.Connection, feed: str, description: str, columns: Sequence[tuple[str, str]]) -> None:
    table = raw_table(feed)
    lines = [
        sql.SQL("batch_id bigint not null"),  # of ops.batch: the loader has it from there, the gate compares the two
        sql.SQL("record_key text not null"),
        sql.SQL("op text not null check (op in ('upsert', 'delete'))"),
        sql.SQL("version_hash text not null"),
        *(sql.SQL("{} {}").format(sql.Identifier(name), _type(kind)) for name, kind in columns),
        sql.SQL("primary key (record_key, batch_id)"),
    ]
    conn.execute(sql.SQL("create table {} ({}) partition by range (batch_id)").format(table, sql.SQL(", ").join(lines)))
    # Batches come in their order: summaries of page ranges find them, and cost a load next to nothing.
    conn.execute(
        sql.SQL("create index {} on {} using brin (batch_id) with (autosummarize = on)").format(
            sql.Identifier(f"{feed}_batch"), table
        )
    )
    conn.execute(sql.SQL("comment on table {} is {}").format(table, sql.Literal(description)))
    for name, when in (
        (f"{feed}_append_only", "update or delete"),
        (f"{feed}_no_truncate", "truncate"),
    ):
        scope = "statement" if when == "truncate" else "row"
        conn.execute(
            sql.SQL("create trigger {} before {} on {} for each {} execute function ops.refuse_change()").format(
                sql.Identifier(name), sql.SQL(when), table, sql.SQL(scope)
            )
        )
        conn.execute(sql.SQL("alter table {} enable always trigger {}").format(table, sql.Identifier(name)))


def _create_head(conn: psycopg.Connection, feed: str) -> None:
    table = head_table(feed)
    conn.execute(
        sql.SQL(
            "create table {} (record_key text primary key, batch_id bigint not null, version_hash text not null,"
            " op text not null, changed_at timestamptz, missed_batch bigint)"
        ).format(table)
    )
    conn.execute(
        sql.SQL("comment on table {} is {}").format(
            table,
            sql.Literal(
                f"Derived from raw.{feed}, for the load only: the current version of each key. missed_batch: "
                "the complete read that first missed it; another one in a row makes a tombstone."
            ),
        )
    )


def _partition(conn: psycopg.Connection, contract: Contract) -> None:
    """A table of the time before partitions becomes a partitioned one with the same rows."""
    old = f"{contract.feed}_before_partitions"
    table = raw_table(contract.feed)
    present = _columns(conn, contract.feed)
    conn.execute(sql.SQL("alter table {} rename to {}").format(table, sql.Identifier(old)))
    names = conn.execute(
        "select indexrelid::regclass::text, c.relname from pg_index as i inner join pg_class as c on c.oid = i.indexrelid"
        " where i.indrelid = to_regclass('raw.' || quote_ident(%s))",
        (old,),
    ).fetchall()
    for _, name in names:
        conn.execute(
            sql.SQL("alter index {} rename to {}").format(
                sql.Identifier("raw", name), sql.Identifier(f"{name}_before_partitions"[:63])
            )
        )
    _create(conn, contract.feed, contract.description, _named(contract))
    batches = conn.execute(sql.SQL("select distinct batch_id from {}").format(sql.Identifier("raw", old))).fetchall()
    for (batch_id,) in batches:
        conn.execute("select raw.ensure_partition(%s, %s)", (contract.feed, batch_id))
    _extend(conn, contract.feed, _named(contract), contract.path.name)
    kept = sql.SQL(", ").join(sql.Identifier(name) for name in present if name in _columns(conn, contract.feed))
    conn.execute(sql.SQL("insert into {} ({}) select {} from {}").format(table, kept, kept, sql.Identifier("raw", old)))
    conn.execute(sql.SQL("drop table {}").format(sql.Identifier("raw", old)))


def _drop_views_on(conn: psycopg.Connection, feed: str) -> None:
    """Staging views read the old table by its identity; the next build makes them again."""
    views = conn.execute(
        "with recursive dependent(oid) as ("
        " select to_regclass('raw.' || quote_ident(%s))::oid"
        " union select r.ev_class from pg_depend as d inner join pg_rewrite as r on d.objid = r.oid"
        " inner join dependent on d.refobjid = dependent.oid where d.classid = 'pg_rewrite'::regclass)"
        " select n.nspname, c.relname from dependent inner join pg_class as c on c.oid = dependent.oid"
        " inner join pg_namespace as n on n.oid = c.relnamespace where c.relkind = 'v'",
        (feed,),
    ).fetchall()
    if views:
        conn.execute(sql.SQL("set local role {}").format(sql.Identifier(VIEW_ROLE)))
        names = sql.SQL(", ").join(sql.Identifier(schema, name) for schema, name in views)
        conn.execute(sql.SQL("drop view {}").format(names))
        conn.execute("reset role")


def _extend(conn: psycopg.Connection, feed: str, columns: Sequence[tuple[str, str]], source: str) -> None:
    present = _columns(conn, feed)
    for name, kind in columns:
        found = present.get(name)
        if found is None:
            conn.execute(
                sql.SQL("alter table {} add column {} {}").format(raw_table(feed), sql.Identifier(name), _type(kind))
            )
        elif found != _CATALOG_NAMES.get(kind, kind):
            raise PermanentError(
                f"raw.{feed}.{name} is {found} in the warehouse and {kind} in {source}: "
                "give the column a new name in the contract; what was loaded stays as it is"
            )


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
