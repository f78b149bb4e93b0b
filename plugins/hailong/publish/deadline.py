"""What is due, what is late: the publication calendar against the editions. Asks the database and nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import dict_row

from hailong.errors import PermanentError
from hailong.settings import Settings
from hailong.warehouse.connect import connect

SOON = timedelta(days=3)

# Every period of the calendar that is in force at its end, with its newest edition.
CALENDAR = """
select
    calendar.period_code,
    calendar.calendar_code,
    calendar.cutoff_at::timestamp as cutoff_at,
    calendar.due_at::timestamp as due_at,
    calendar.hard_due_at::timestamp as hard_due_at,
    newest.edition_id
from rules.publication_calendar as calendar
left join lateral (
    select edition.edition_id
    from publish.edition as edition
    where edition.period_code = calendar.period_code and edition.calendar_code = calendar.calendar_code
    order by edition.edition_no desc
    limit 1
) as newest on true
where calendar.calendar_code = (
    select policy.calendar_code
    from rules.scoring_policy as policy
    where policy.valid_from::date < calendar.period_end::date
    order by policy.valid_from::date desc
    limit 1
)
order by due_at, period_code
"""


@dataclass(frozen=True)
class DuePeriod:
    """One period that the calendar owes an edition; times are local wall times."""

    period_code: str
    calendar_code: str
    cutoff_at: datetime
    due_at: datetime
    hard_due_at: datetime
    edition_id: str | None
    state: str  # published | overdue (past due_at) | due_soon (3 days or less) | past_cutoff

    def line(self) -> str:
        if self.state == "published":
            return f"{self.period_code}: published as {self.edition_id}"
        due = f"due {self.due_at:%Y-%m-%d %H:%M}"
        if self.state == "overdue":
            return f"{self.period_code}: OVERDUE, {due}, hard line {self.hard_due_at:%Y-%m-%d %H:%M}, no edition"
        urgency = "due soon" if self.state == "due_soon" else "past its cut-off"
        return f"{self.period_code}: {urgency}, {due}, no edition yet"


@dataclass(frozen=True)
class DeadlineState:
    """The periods whose cut-off has passed since the warehouse was set up, by due time."""

    now: datetime
    since: datetime
    periods: tuple[DuePeriod, ...]

    @property
    def overdue(self) -> tuple[DuePeriod, ...]:
        return tuple(period for period in self.periods if period.state == "overdue")

    @property
    def ok(self) -> bool:
        return not self.overdue

    @property
    def message(self) -> str:
        lines = [period.line() for period in self.periods] or ["no period has passed its cut-off yet"]
        if self.overdue:
            lines.append(
                "Publish now: trigger publish__period (or `hailong candidate`, `gate`, `approve`, `publish`) for "
                + ", ".join(period.period_code for period in self.overdue)
            )
        return "\n".join(lines)


def check(settings: Settings, today: date | datetime | None = None) -> DeadlineState:
    """Compare calendar and editions at a local moment (a date: its last second; default now).

    Owed is every period whose hard line lies after the day the warehouse was set up, so that a new installation is not
    asked for the past. PermanentError when there is no calendar to read: a watcher that sees nothing must not be quiet.
    """
    zone = ZoneInfo(settings.timezone)
    now = _local(today, zone)
    with connect(settings, role="hailong_reader") as connection:
        since = _set_up_at(connection, zone)
        with connection.cursor(row_factory=dict_row) as cursor:
            try:
                rows = cursor.execute(CALENDAR).fetchall()
            except psycopg.errors.UndefinedTable as error:
                raise PermanentError(
                    "the publication calendar is not in the database, so nobody knows what is due: no build has "
                    "finished yet. Run `hailong build` (DAG build__warehouse)"
                ) from error
    if not rows:
        raise PermanentError("the publication calendar is empty: run `hailong calendar make`, then `hailong build`")
    last = max(row["due_at"] for row in rows)
    if last <= now:
        raise PermanentError(
            f"the publication calendar ends with the period due {last:%Y-%m-%d}, before {now:%Y-%m-%d}: extend it with "
            "`hailong calendar make --until YEAR`, then build"
        )
    return DeadlineState(now, since, tuple(_owed(rows, now, since)))


def _owed(rows: Sequence[dict[str, object]], now: datetime, since: datetime) -> Iterable[DuePeriod]:
    for row in rows:
        period = DuePeriod(**row, state="")  # type: ignore[arg-type]
        if period.cutoff_at <= now and period.hard_due_at > since:
            yield DuePeriod(**row, state=_state(period, now))  # type: ignore[arg-type]


def _state(period: DuePeriod, now: datetime) -> str:
    if period.edition_id:
        return "published"
    if now >= period.due_at:
        return "overdue"
    return "due_soon" if period.due_at - now <= SOON else "past_cutoff"


def _set_up_at(connection: psycopg.Connection, zone: ZoneInfo) -> datetime:
    row = connection.execute("select min(applied_at) from ops.migration").fetchone()
    if row is None or row[0] is None:
        raise PermanentError("the warehouse has no schema yet: run `hailong db migrate`")
    set_up: datetime = row[0]
    return set_up.astimezone(zone).replace(tzinfo=None)


def _local(moment: date | datetime | None, zone: ZoneInfo) -> datetime:
    if moment is None:
        return datetime.now(UTC).astimezone(zone).replace(tzinfo=None)
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, 23, 59, 59)
    return moment.astimezone(zone).replace(tzinfo=None) if moment.tzinfo else moment
