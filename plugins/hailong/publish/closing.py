"""Is a period closed in the data? Asked before a candidate is copied, and by the watcher of the 25th."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

import psycopg

from hailong.contracts import load_contracts
from hailong.load.ledger import cover
from hailong.periods import Period
from hailong.settings import Settings


@dataclass(frozen=True)
class Unread:
    """A feed that closes a period and was not read from its start to its end.

    `since`, `until`: what was read without a gap, in local time; None: never loaded. Both may be amiss.
    """

    feed: str
    since: datetime | None
    until: datetime | None
    period: Period

    @property
    def begins_late(self) -> bool:
        """What came before is missing from every count of the period, and nothing else would tell."""
        return self.since is not None and self.since.replace(tzinfo=None) > datetime.combine(self.period.start, time())

    @property
    def ends_early(self) -> bool:
        return self.until is not None and self.until.replace(tzinfo=None) < datetime.combine(self.period.end, time())

    @property
    def way_out(self) -> str:
        """The command that reads what is missing: a feed goes on by itself where it ended, and never goes back."""
        goes_on = self.since is not None and not self.begins_late
        return f"hailong ingest {self.feed}" + ("" if goes_on else f" --since {self.period.start}")

    def __str__(self) -> str:
        if self.since is None or self.until is None:
            return f"{self.feed} was never loaded"
        told = [f"begins with {self.since:%d/%m/%Y %H:%M}"] if self.begins_late else []
        told += [f"reaches {self.until:%d/%m/%Y %H:%M}"] if self.ends_early else []
        return f"{self.feed} {' and '.join(told)}"


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
    """Those of `feeds` that the batches up to `as_of` (default: all) do not read from the period's start to its end."""
    zone = ZoneInfo(settings.timezone)
    found = []
    for feed in feeds:
        read = cover(connection, feed, as_of)
        since, until = (moment.astimezone(zone) for moment in read) if read else (None, None)
        of = Unread(feed, since, until, period)
        if read is None or of.begins_late or of.ends_early:
            found.append(of)
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
