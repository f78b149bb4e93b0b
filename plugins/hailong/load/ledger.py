"""Reading the ledger: what was loaded, what was quarantined, where a feed stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from hailong.contracts import Contract
from hailong.load.raw import head_table


def ledger_summary(conn: psycopg.Connection) -> list[dict[str, Any]]:
    """Totals per feed: one row each, in the order of the alphabet; empty when nothing was loaded."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select feed, count(*) as batches, sum(declared_rows)::bigint as declared,"
            " sum(received_rows)::bigint as received,"
            " sum(loaded_rows)::bigint as loaded, sum(unchanged_rows)::bigint as unchanged,"
            " sum(duplicate_rows)::bigint as duplicate, sum(quarantined_rows)::bigint as quarantined,"
            " max(batch_id) as last_batch, max(window_end) as window_end"
            " from ops.batch group by feed order by feed"
        ).fetchall()


def feed_status(conn: psycopg.Connection, contracts: Mapping[str, Contract], now: datetime) -> list[dict[str, Any]]:
    """How each feed stands, in the order of the alphabet, also those that were never loaded.

    `fresh`: the newest window end (a register or a file: its loading) is not older than the contract's latency. `late_share`:
    share of records that came more than a day after their event, null until a build has measured it.
    """
    late = _late_shares(conn)
    return [_status_of(conn, contract, now, late) for _, contract in sorted(contracts.items())]


def _status_of(
    conn: psycopg.Connection, contract: Contract, now: datetime, late: Mapping[str, float]
) -> dict[str, Any]:
    with conn.cursor(row_factory=dict_row) as cursor:
        last = cursor.execute(
            "select batch_id, loaded_at, window_end, read_kind, is_complete, received_rows, loaded_rows from ops.batch"
            " where feed = %s order by batch_id desc limit 1",
            (contract.feed,),
        ).fetchone()
        totals = cursor.execute(
            "select count(*) as batches, coalesce(sum(loaded_rows), 0)::bigint as loaded,"
            " coalesce(sum(tombstone_rows), 0)::bigint as tombstones, max(window_end) as window_end,"
            " max(loaded_at) as loaded_at from ops.batch where feed = %s and read_kind <> 'replay'",
            (contract.feed,),
        ).fetchone()
        stale = cursor.execute(
            sql.SQL(
                "select count(*) as n from {} as h where h.op = 'upsert' and exists (select 1 from ops.quarantine as q"
                " where q.feed = %s and q.record_key = h.record_key and q.batch_id > h.batch_id)"
            ).format(head_table(contract.feed)),
            (contract.feed,),
        ).fetchone()
        findings = cursor.execute(
            "select rule, field, records from ops.batch_finding where batch_id = %s order by rule, field",
            (last["batch_id"] if last else -1,),
        ).fetchall()
    assert totals is not None and stale is not None
    until = totals["window_end"] if contract.cursor else totals["loaded_at"]
    hours = None if until is None else (now - until).total_seconds() / 3600
    return {
        "feed": contract.feed,
        "batches": totals["batches"],
        "last_batch": last["batch_id"] if last else None,
        "loaded_at": last["loaded_at"] if last else None,
        "read_until": until,
        "fresh": None if hours is None else hours <= contract.freshness_hours,
        "hours_old": None if hours is None else round(hours, 1),
        "hours_allowed": contract.freshness_hours,
        "versions": totals["loaded"],
        "tombstones": totals["tombstones"],
        "quarantine_open": count_open(conn, contract.feed),
        "stale": stale["n"],
        "late_share": late.get(contract.feed),
        "findings": [f"{row['rule']} {row['field']}".strip() for row in findings],
    }


def _late_shares(conn: psycopg.Connection) -> dict[str, float]:
    """Share of the last build's records that were first told of more than a day after their event."""
    if conn.execute("select to_regclass('marts.late_data')").fetchone() == (None,):
        return {}
    rows = conn.execute(
        "select feed, coalesce(sum(record_count) filter (where days_late > 1), 0)::float / sum(record_count)"
        " from marts.late_data group by feed having sum(record_count) > 0"
    ).fetchall()
    return dict(rows)


def open_entries(feed: str) -> sql.Composed:
    """Quarantine entries of a feed that nothing has settled: not released, and no newer version of the key."""
    return sql.SQL(
        "select q.* from ops.quarantine as q where q.feed = {}"
        " and not exists (select 1 from ops.quarantine_release as r where r.quarantine_id = q.quarantine_id)"
        " and not exists (select 1 from {} as h where h.record_key = q.record_key and h.batch_id > q.batch_id)"
    ).format(sql.Literal(feed), head_table(feed))


def count_open(conn: psycopg.Connection, feed: str) -> int:
    """Records with an open quarantine entry; entries without a key count once per rule and detail."""
    row = conn.execute(
        sql.SQL("select count(distinct coalesce(record_key, rule || detail)) from ({}) as q").format(open_entries(feed))
    ).fetchone()
    return int(row[0]) if row else 0


def quarantine_list(
    conn: psycopg.Connection, contracts: Mapping[str, Contract], feed: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Open entries, newest first: one row per record and rule, with how often and since which batch it fails."""
    found: list[dict[str, Any]] = []
    for name in [feed] if feed else sorted(contracts):
        with conn.cursor(row_factory=dict_row) as cursor:
            found += cursor.execute(
                sql.SQL(
                    "select max(quarantine_id) as quarantine_id, feed, record_key, rule, (array_agg(detail order by"
                    " quarantine_id desc))[1] as detail, count(*) as times, min(batch_id) as first_batch,"
                    " max(batch_id) as last_batch from ({}) as q"
                    " group by feed, record_key, rule, case when record_key is null then detail end"
                    " order by 1 desc limit %s"
                ).format(open_entries(name)),
                (limit,),
            ).fetchall()
    return sorted(found, key=lambda row: -int(row["quarantine_id"]))[:limit]


def cover(conn: psycopg.Connection, feed: str, as_of: int | None = None) -> tuple[datetime, datetime] | None:
    """From when and up to when a feed has been read without a gap, by the batches up to `as_of`; None: never.

    It begins with the earliest window. The newest end would do when nobody ever named a later start by hand: then everything
    between would never be read.
    """
    rows = conn.execute(
        "select window_start, window_end from ops.batch where feed = %s and window_start is not null"
        " and read_kind in ('window', 'snapshot', 'file') and batch_id <= coalesce(%s, batch_id)"
        " order by window_start, window_end",
        (feed, as_of),
    ).fetchall()
    if not rows:
        return None
    begin, end = rows[0]
    for start, stop in rows:
        if start > end:
            break
        end = max(end, stop)
    return begin, end


def cover_end(conn: psycopg.Connection, feed: str) -> datetime | None:
    """Up to when a feed has been read without a gap, which is where it goes on; None: never."""
    found = cover(conn, feed)
    return found[1] if found else None


def loads_of_windows(
    conn: psycopg.Connection, feed: str, request: str, windows: Sequence[tuple[datetime, datetime]]
) -> list[int]:
    """How many batches of a back-fill each window has; the last one, which may end at a moving present, by its start."""
    rows = conn.execute(
        "select window_start, window_end, count(*) from ops.batch where feed = %s and read_kind = 'window'"
        " and request = %s group by 1, 2",
        (feed, request),
    ).fetchall()
    counted = {(start, end): int(count) for start, end, count in rows}
    last = sum(count for (start, _), count in counted.items() if windows and start == windows[-1][0])
    return [*(counted.get(window, 0) for window in windows[:-1]), last][: len(windows)]


def current_codes(conn: psycopg.Connection) -> dict[tuple[str, str], frozenset[str]]:
    """Source codes of the code map as loaded now, by (system, kind); empty before its first load."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    rows = conn.execute(
        "select system, code_kind, source_code from ("
        " select distinct on (record_key) system, code_kind, source_code, op from raw.code_map"
        " order by record_key, batch_id desc) as latest where op = 'upsert'"
    )
    for system, kind, code in rows:
        found[system, kind].add(code)
    return {key: frozenset(codes) for key, codes in found.items()}
