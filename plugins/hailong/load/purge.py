"""Dropping what its retention has passed: whole partitions of raw, their quarantine, their landing folders.

What stays: the ledger's counts, the checksum of each folder and of the dropped versions, and who dropped them when.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

from hailong.contracts import Contract, load_contracts
from hailong.errors import PermanentError
from hailong.load.landing import folder_of
from hailong.load.loader import LOCK
from hailong.load.raw import ROLE, head_table, raw_table
from hailong.settings import Settings
from hailong.warehouse.connect import connect


@dataclass(frozen=True)
class PurgeRow:
    """What a purge did to one feed, or would do. `refused`: why nothing."""

    feed: str
    retention_months: int
    batches: int
    raw_rows: int
    quarantine_rows: int
    folders: int
    refused: str | None = None


@dataclass(frozen=True)
class _Partition:
    name: str
    first: int
    stop: int


def purge(
    settings: Settings,
    before: date,
    by: str,
    dry_run: bool = False,
    progress: Callable[[str], None] | None = None,
    now: datetime | None = None,
) -> list[PurgeRow]:
    """Drop what was loaded before a local day, feed by feed, as far as each contract's retention has passed.

    A partition goes when it is full and all its batches were loaded before the day. Tables change in one transaction, the
    folders go afterwards; a purge that was killed between is finished by the next. PermanentError when another role owns
    the ledger.
    """
    zone = ZoneInfo(settings.timezone)
    today = (now or datetime.now(UTC)).astimezone(zone).date()
    limit = datetime.combine(before, time(), zone)
    contracts = load_contracts(settings.contracts)
    rows = []
    with connect(settings) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        for contract in contracts.values():
            row = _purge_feed(connection, contract, before, limit, today, by, dry_run)
            rows.append(row)
            if progress and (row.batches or row.refused):
                progress(f"{row.feed}: {row.refused or f'{row.batches} batches, {row.raw_rows:,} versions'}")
        folders = _purged_folders(settings, connection)
        if dry_run:
            connection.rollback()
    if not dry_run:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    return rows


def _purge_feed(
    connection: psycopg.Connection,
    contract: Contract,
    before: date,
    limit: datetime,
    today: date,
    by: str,
    dry_run: bool,
) -> PurgeRow:
    youngest = months_before(today, contract.retention_months)
    if before > youngest:
        refused = f"kept for {contract.retention_months} months: only what is older than {youngest} may go"
        return PurgeRow(contract.feed, contract.retention_months, 0, 0, 0, 0, refused)
    batches = raw_rows = quarantine_rows = 0
    for partition in _expired(connection, contract, limit):
        taken = _record(connection, contract, partition, by)
        batches += taken[0]
        raw_rows += taken[1]
        quarantine_rows += taken[2]
        _drop(connection, contract, partition)
    return PurgeRow(contract.feed, contract.retention_months, batches, raw_rows, quarantine_rows, batches)


def months_before(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 - months
    return date(index // 12, index % 12 + 1, min(day.day, 28))


def _expired(connection: psycopg.Connection, contract: Contract, limit: datetime) -> list[_Partition]:
    """Partitions that take no further batch and hold only batches loaded before the limit, oldest first."""
    rows = connection.execute(
        "select c.relname, pg_get_expr(c.relpartbound, c.oid) from pg_inherits as i"
        " inner join pg_class as c on c.oid = i.inhrelid"
        " where i.inhparent = to_regclass('raw.' || quote_ident(%s)) order by c.oid",
        (contract.feed,),
    ).fetchall()
    newest: int = connection.execute("select coalesce(max(batch_id), 0) from ops.batch").fetchone()[0]  # type: ignore[index]
    found = []
    for name, bound in rows:
        first, stop = (int(part.strip("'() ")) for part in bound.removeprefix("FOR VALUES FROM ").split(" TO "))
        young = connection.execute(
            "select count(*) from ops.batch where batch_id >= %s and batch_id < %s and feed = %s and loaded_at >= %s",
            (first, stop, contract.feed, limit),
        ).fetchone()
        if stop <= newest + 1 and young == (0,):
            found.append(_Partition(name, first, stop))
    return found


def _record(connection: psycopg.Connection, contract: Contract, partition: _Partition, by: str) -> tuple[int, int, int]:
    """Counts and checksums of the batches in a partition, kept for good."""
    rows = connection.execute(
        sql.SQL(
            "insert into ops.purge (batch_id, feed, raw_rows, quarantine_rows, landing_sha256, raw_sha256, purged_by)"
            " select b.batch_id, b.feed, coalesce(r.versions, 0), (select count(*) from ops.quarantine as q where"
            " q.batch_id = b.batch_id), b.landing_sha256, coalesce(r.digest, encode(sha256(''), 'hex')), %s"
            " from ops.batch as b left join (select batch_id, count(*) as versions, encode(sha256(convert_to(string_agg("
            "record_key || ' ' || version_hash, E'\\n' order by record_key collate \"C\"), 'UTF8')), 'hex') as digest"
            " from {} group by batch_id) as r on b.batch_id = r.batch_id"
            " where b.feed = %s and b.batch_id >= %s and b.batch_id < %s"
            " and not exists (select 1 from ops.purge as p where p.batch_id = b.batch_id)"
            " order by b.batch_id returning raw_rows, quarantine_rows"
        ).format(sql.Identifier("raw", partition.name)),
        (by, contract.feed, partition.first, partition.stop),
    ).fetchall()
    return len(rows), sum(row[0] for row in rows), sum(row[1] for row in rows)


def _drop(connection: psycopg.Connection, contract: Contract, partition: _Partition) -> None:
    role = sql.Identifier(ROLE)
    connection.execute(sql.SQL("set local role {}").format(role))
    connection.execute(
        sql.SQL("alter table {} detach partition {}").format(
            raw_table(contract.feed), sql.Identifier("raw", partition.name)
        )
    )
    connection.execute(sql.SQL("drop table {}").format(sql.Identifier("raw", partition.name)))
    connection.execute(
        sql.SQL("delete from {} where batch_id >= %s and batch_id < %s").format(head_table(contract.feed)),
        (partition.first, partition.stop),
    )
    connection.execute("reset role")
    try:
        connection.execute("alter table ops.quarantine disable trigger quarantine_append_only")
    except psycopg.errors.InsufficientPrivilege:
        raise PermanentError(
            "a purge changes the ledger's quarantine, which belongs to whoever migrates: run it as that role"
        ) from None
    connection.execute(
        "delete from ops.quarantine where feed = %s and batch_id >= %s and batch_id < %s",
        (contract.feed, partition.first, partition.stop),
    )
    connection.execute("alter table ops.quarantine enable always trigger quarantine_append_only")


def _purged_folders(settings: Settings, connection: psycopg.Connection) -> list[Path]:
    rows = connection.execute(
        "select b.landing_uri from ops.purge as p inner join ops.batch as b on p.batch_id = b.batch_id"
    ).fetchall()
    paths = (folder_of(settings, uri) for (uri,) in rows)
    return [path for path in paths if path.parent.parent == settings.landing and path.is_dir()]
