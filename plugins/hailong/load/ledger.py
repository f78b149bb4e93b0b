"""Reading the ledger: what was loaded, what was quarantined, where a feed stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row


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


def quarantine_list(conn: psycopg.Connection, feed: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """The newest quarantined records, of one feed or of all."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select quarantine_id, batch_id, feed, record_key, rule, detail from ops.quarantine"
            " where %(feed)s::text is null or feed = %(feed)s order by quarantine_id desc limit %(limit)s",
            {"feed": feed, "limit": limit},
        ).fetchall()


def cover_end(conn: psycopg.Connection, feed: str) -> datetime | None:
    """Up to when a feed has been read without a gap since its earliest window; None before its first batch.

    The newest end would do when nobody ever named a later start by hand: then everything between would never be read.
    """
    rows = conn.execute(
        "select window_start, window_end from ops.batch where feed = %s and window_start is not null"
        " and read_kind in ('window', 'snapshot', 'file') order by window_start, window_end",
        (feed,),
    ).fetchall()
    end: datetime | None = None
    for start, stop in rows:
        if end is not None and start > end:
            break
        end = stop if end is None else max(end, stop)
    return end


def loads_of_windows(conn: psycopg.Connection, feed: str, windows: Sequence[tuple[datetime, datetime]]) -> list[int]:
    """How many batches each of these windows has; the last one, which may end at a moving present, by its start."""
    rows = conn.execute(
        "select window_start, window_end, count(*) from ops.batch where feed = %s and read_kind = 'window'"
        " and window_start is not null group by 1, 2",
        (feed,),
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
