"""Where a record went: everything the warehouse knows of one key, in the order in which it happened.

raw and quarantine say what changed something; that a record came again unchanged, or as a duplicate, is written nowhere
but in the landing folders, so those are looked through too when asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import psycopg
import pyarrow.parquet as pq
from psycopg import sql

from hailong.contracts import Contract, find_contract
from hailong.errors import PermanentError
from hailong.load.landing import RECORDS, folder_of
from hailong.settings import Settings
from hailong.warehouse.connect import connect


@dataclass(frozen=True)
class Event:
    """One thing that happened to a record: `kind` is loaded, deleted, quarantined, released or received."""

    batch_id: int
    kind: str
    at: datetime
    detail: str
    landing: str


@dataclass(frozen=True)
class Trace:
    """All that is known of one record. `state`: in_force, in_force_stale, deleted, quarantined_only or unknown."""

    feed: str
    record_key: str
    state: str
    explained: str
    events: tuple[Event, ...]


def trace(
    settings: Settings,
    feed: str,
    record_key: str,
    landings: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Every version, tombstone and quarantine entry of a key; with `landings` also each time it was received.

    UsageError for an unknown feed; PermanentError when the warehouse has no such table yet.
    """
    contract = find_contract(settings.contracts, feed)
    with connect(settings, role="hailong_loader") as connection:
        try:
            versions = _versions(connection, contract, record_key)
        except psycopg.errors.UndefinedTable:
            raise PermanentError(f"{feed} has no table in the warehouse yet: run `hailong db migrate`") from None
        held = _quarantined(connection, feed, record_key)
        events = [*versions, *held]
        if landings:
            known = {event.batch_id for event in events if event.kind in ("loaded", "quarantined")}
            events += _received(settings, connection, feed, record_key, known, progress)
    events.sort(key=lambda event: (event.batch_id, event.at))
    state, explained = _state(versions, held)
    return Trace(feed, record_key, state, explained, tuple(events))


def _versions(connection: psycopg.Connection, contract: Contract, record_key: str) -> list[Event]:
    rows = connection.execute(
        sql.SQL(
            "select r.batch_id, r.op, r.version_hash, b.loaded_at, b.landing_uri from {} as r"
            " inner join ops.batch as b on r.batch_id = b.batch_id where r.record_key = %s order by r.batch_id"
        ).format(sql.Identifier("raw", contract.feed)),
        (record_key,),
    ).fetchall()
    return [
        Event(batch, "deleted" if op == "delete" else "loaded", at, f"version {digest[:12]}", uri)
        for batch, op, digest, at, uri in rows
    ]


def _quarantined(connection: psycopg.Connection, feed: str, record_key: str) -> list[Event]:
    rows = connection.execute(
        "select q.batch_id, q.quarantine_id, q.rule, q.detail, b.loaded_at, b.landing_uri, r.outcome, r.released_at,"
        " r.batch_id from ops.quarantine as q inner join ops.batch as b on q.batch_id = b.batch_id"
        " left join ops.quarantine_release as r on q.quarantine_id = r.quarantine_id"
        " where q.feed = %s and q.record_key = %s order by q.quarantine_id",
        (feed, record_key),
    ).fetchall()
    events = []
    for batch, number, rule, detail, at, uri, outcome, released_at, released_batch in rows:
        events.append(Event(batch, "quarantined", at, f"no. {number}, {rule}: {detail}", uri))
        if outcome is not None:
            into = f" in batch {released_batch}" if released_batch else ""
            events.append(Event(released_batch or batch, "released", released_at, f"no. {number}, {outcome}{into}", ""))
    return events


def _received(
    settings: Settings,
    connection: psycopg.Connection,
    feed: str,
    record_key: str,
    known: set[int],
    progress: Callable[[str], None] | None,
) -> list[Event]:
    """Batches whose landing folder holds the key and that changed nothing by it."""
    rows = connection.execute(
        "select batch_id, loaded_at, landing_uri from ops.batch where feed = %s order by batch_id", (feed,)
    ).fetchall()
    events = []
    for number, (batch, at, uri) in enumerate(rows, 1):
        if progress:
            progress(f"landing folders: {number} of {len(rows)}")
        path = folder_of(settings, uri) / RECORDS
        if batch in known or not path.is_file():
            continue
        found = pq.read_table(path, columns=["record_key"], filters=[("record_key", "=", record_key)]).num_rows
        if found:
            events.append(Event(batch, "received", at, f"{found} time(s), nothing new", uri))
    return events


def _state(versions: list[Event], held: list[Event]) -> tuple[str, str]:
    last = versions[-1] if versions else None
    bad = [event for event in held if event.kind == "quarantined"]
    if last is None and not bad:
        return "unknown", "no version and no quarantine entry: it was never received under this key"
    if last is None:
        return "quarantined_only", "it could never be read: see the rule, `hailong quarantine show` and `… replay`"
    if last.kind == "deleted":
        return "deleted", f"batch {last.batch_id} set a tombstone: it was gone from the source in complete reads"
    if any(event.batch_id > last.batch_id for event in bad):
        return "in_force_stale", f"the version of batch {last.batch_id} counts; a newer one lies in quarantine"
    return "in_force", f"the version of batch {last.batch_id} counts"
