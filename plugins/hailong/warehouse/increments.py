"""What a build has to look at again: which records, and when everything.

A model is incremental by what changed since the last finished build: records by `ops.touched_record`, filled here; cells
and periods by `ops.touched_cell` and `ops.touched_period`, which the tables fill themselves (dbt macro `note_cells`).
Law: an incremental build and a full one give the same rows.
"""

from __future__ import annotations

from datetime import date, datetime

import psycopg
from psycopg import sql

from hailong.periods import read_seed
from hailong.settings import Settings
from hailong.warehouse.dbt import Progress

# Registers: what they say of a unit, a procedure or a code reaches every record.
REGISTERS = ("unit_register", "procedure_register", "code_map")
FULL_FROM_SHARE = 0.2  # versions that came against dossiers held


def since(
    connection: psycopg.Connection, settings: Settings, as_of_batch: int, sha256: str, tell: Progress
) -> int | None:
    """The batch after which a build of the real schemas must look again; None: at everything, and `tell` says why."""
    finished = connection.execute(
        "select build_id, as_of_batch, started_at from ops.build where schema_prefix = '' and status = 'succeeded'"
        " order by build_id desc limit 1"
    ).fetchone()
    last = connection.execute(
        "select build_id, rules_sha256, timezone, status, since_batch is null from ops.build"
        " where schema_prefix = '' order by build_id desc limit 1"
    ).fetchone()
    if finished is None or last is None:
        tell("full refresh: no build has finished yet")
        return None
    build_id, rules, timezone, status, was_full = last
    after = int(finished[1])
    why: str | None
    if rules != sha256:
        why = f"the rule set changed since build {build_id}"
    elif timezone != settings.timezone:
        why = f"the time zone changed since build {build_id}"
    elif status != "succeeded" and was_full:
        why = f"build {build_id}, a full one, did not finish"
    else:
        why = (
            _registers_changed(connection, after, as_of_batch)
            or _first_read(connection, after, as_of_batch)
            or _purged(connection, finished[2])
            or _policy_changed(connection, settings, after, as_of_batch)
            or _too_much(connection, after, as_of_batch)
        )
    if why:
        tell(f"full refresh: {why}")
        return None
    return after


def touch(connection: psycopg.Connection, after: int, until: int) -> int:
    """Fill `ops.touched_record` with the records of batches in (after, until]; how many they are."""
    feeds = [
        str(row[0])
        for row in connection.execute(
            "select distinct feed from ops.batch where batch_id > %s and batch_id <= %s order by feed", (after, until)
        )
    ]
    with connection.transaction():
        connection.execute("truncate ops.touched_record")
        for feed in feeds:
            connection.execute(
                sql.SQL(
                    "insert into ops.touched_record (feed, record_key) select {feed}, record_key from {raw}"
                    " where batch_id > {after} and batch_id <= {until}"
                    " union select {feed}, record_key from ops.quarantine where feed = {feed} and record_key is not null"
                    " and batch_id > {after} and batch_id <= {until}"
                ).format(
                    feed=sql.Literal(feed),
                    raw=sql.Identifier("raw", feed),
                    after=sql.Literal(after),
                    until=sql.Literal(until),
                )
            )
        row = connection.execute("select count(*) from ops.touched_record").fetchone()
    connection.execute("analyze ops.touched_record")
    return int(row[0])  # type: ignore[index]


def forget(connection: psycopg.Connection) -> None:
    """A finished build has looked at everything that was touched."""
    connection.execute("truncate ops.touched_record, ops.touched_cell, ops.touched_period")


def _registers_changed(connection: psycopg.Connection, after: int, until: int) -> str | None:
    """What they say of a unit, a procedure or a code reaches every record."""
    changed = connection.execute(
        "select distinct feed from ops.batch where batch_id > %s and batch_id <= %s and feed = any(%s)"
        " and loaded_rows + tombstone_rows + quarantined_rows > 0 order by feed",
        (after, until, list(REGISTERS)),
    ).fetchall()
    return f"{', '.join(feed for (feed,) in changed)} changed" if changed else None


def _first_read(connection: psycopg.Connection, after: int, until: int) -> str | None:
    """What two feeds are compared by begins when both were read."""
    row = connection.execute(
        "select min(feed) from (select feed from ops.batch where batch_id <= %s group by feed having min(batch_id) > %s)"
        " as new",
        (until, after),
    ).fetchone()
    return f"{row[0]} was read for the first time" if row and row[0] else None


def _purged(connection: psycopg.Connection, began: datetime) -> str | None:
    """Versions that were dropped may have been the first ones of records that stay."""
    row = connection.execute("select min(feed) from ops.purge where purged_at >= %s", (began,)).fetchone()
    return f"old versions of {row[0]} were purged" if row and row[0] else None


def _policy_changed(connection: psycopg.Connection, settings: Settings, after: int, until: int) -> str | None:
    """Open dossiers are judged by the policy of the last day that was read."""
    rows = connection.execute(
        "select (max(window_end) at time zone %s)::date - 1 from ops.batch where feed = 'dossier' and batch_id <= %s"
        " union all"
        " select (max(window_end) at time zone %s)::date - 1 from ops.batch where feed = 'dossier' and batch_id <= %s",
        (settings.timezone, after, settings.timezone, until),
    ).fetchall()
    policies = [_policy_on(settings, day) for (day,) in rows]
    return None if policies[0] == policies[1] else f"policy {policies[1]} is in force on the last day read"


def _policy_on(settings: Settings, day: date | None) -> str | None:
    if day is None:
        return None
    for row in read_seed(settings.rules / "seeds" / "scoring_policy.csv"):
        ended = row["valid_to"] and date.fromisoformat(row["valid_to"]) <= day
        if date.fromisoformat(row["valid_from"]) <= day and not ended:
            return row["policy_id"]
    return None


def _too_much(connection: psycopg.Connection, after: int, until: int) -> str | None:
    """Looking everything up again costs more than reading it once."""
    changed, held = connection.execute(
        "select (select coalesce(sum(loaded_rows + tombstone_rows), 0) from ops.batch"
        " where feed = 'dossier' and batch_id > %s and batch_id <= %s),"
        " (select greatest(reltuples, 0) from pg_class where oid = to_regclass('core.core_dossier'))",
        (after, until),
    ).fetchone()  # type: ignore[misc]
    if held is None:
        return "core_dossier is not there"
    if float(changed) > held * FULL_FROM_SHARE:
        return f"{int(changed):,} versions of dossiers came, against {int(held):,} dossiers"
    return None
