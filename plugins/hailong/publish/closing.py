"""Is a period closed in the data? Asked before a candidate is copied, and by the watcher of the 25th."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

import psycopg

from hailong.contracts import load_contracts
from hailong.load.ledger import cover_end
from hailong.periods import Period
from hailong.settings import Settings


@dataclass(frozen=True)
class Unread:
    """A feed that closes a period and was not read up to its end: until when it was (local time), None: never loaded."""

    feed: str
    until: datetime | None

    def __str__(self) -> str:
        where = f"reaches {self.until:%d/%m/%Y %H:%M}" if self.until else "was never loaded"
        return f"{self.feed} {where}"


def closing_feeds(settings: Settings) -> list[str]:
    """Feeds whose contract says that they close a period."""
    return [contract.feed for contract in load_contracts(settings.contracts).values() if contract.closes_period]


def unread(
    connection: psycopg.Connection,
    settings: Settings,
    feeds: Sequence[str],
    period: Period,
    as_of: int | None = None,
) -> list[Unread]:
    """Those of `feeds` that the batches up to `as_of` (default: all) do not read up to the period's end without a gap."""
    zone = ZoneInfo(settings.timezone)
    end = datetime.combine(period.end, time(), zone)
    found = []
    for feed in feeds:
        until = cover_end(connection, feed, as_of)
        if until is None or until < end:
            found.append(Unread(feed, until.astimezone(zone) if until else None))
    return found


def last_batch_before(connection: psycopg.Connection, settings: Settings, moment: datetime) -> int:
    """The newest batch that was loaded before a local moment; 0: none."""
    row = connection.execute(
        "select coalesce(max(batch_id), 0) from ops.batch where loaded_at < %s at time zone %s",
        (moment, settings.timezone),
    ).fetchone()
    return int(row[0]) if row else 0


def stopped_by(connection: psycopg.Connection, run_id: str) -> list[str]:
    """Ids of the critical expectations that failed in a run of the gate."""
    rows = connection.execute(
        "select distinct expectation_id from dq.result where run_id = %s and not success and severity = 'critical' "
        "order by 1",
        (run_id,),
    ).fetchall()
    return [name for (name,) in rows]


def landed_stop(connection: psycopg.Connection, as_of: int) -> str | None:
    """The run of the gate over what has landed, if the newest one up to a batch stopped it; its id."""
    row = connection.execute(
        "select run_id, disposition from dq.run where scope = 'landed' and as_of_batch <= %s "
        "order by finished_at desc limit 1",
        (as_of,),
    ).fetchone()
    return row[0] if row and row[1] == "stop" else None
