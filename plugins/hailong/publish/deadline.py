"""What is due, what is late, what is missing: the publication calendar against the tables. Asks the database and nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import dict_row

from hailong.errors import PermanentError
from hailong.periods import Period, WorkingDays, calendar_in_force, read_seed
from hailong.publish.closing import closing_feeds
from hailong.publish.missing import Missing, missing
from hailong.publish.told import Row
from hailong.settings import Settings
from hailong.warehouse.connect import connect

SOON = timedelta(days=3)

# Every period of the calendar that is in force at its end, with its newest edition.
CALENDAR = """
select
    calendar.period_code,
    calendar.period_kind,
    calendar.calendar_code,
    calendar.period_start::date as period_start,
    calendar.period_end::date as period_end,
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


DAYS = "select day::date, is_working_day::boolean from rules.calendar_day"
EDITION = "select edition_id from publish.edition where period_code = %s and calendar_code = %s order by edition_no desc limit 1"


@dataclass(frozen=True)
class DuePeriod:
    """One period that the calendar owes an edition; times are local wall times.

    `working_days_left` are those after today up to the due day, negative after it. `missing` is what a period without an
    edition lacks, the earliest station first.
    """

    period: Period
    cutoff_at: datetime
    due_at: datetime
    hard_due_at: datetime
    edition_id: str | None
    state: str  # published | overdue (past due_at) | due_soon (3 days or less) | past_cutoff
    working_days_left: int = 0
    missing: tuple[Missing, ...] = ()

    @property
    def period_code(self) -> str:
        return self.period.code

    def lines(self) -> list[str]:
        if self.state == "published":
            return [f"{self.period_code}: published as {self.edition_id}"]
        due = f"due {self.due_at:%Y-%m-%d %H:%M}"
        late = f"{-self.working_days_left} working days late"
        left = f"{self.working_days_left} working days left"
        urgency = {
            "overdue": f"OVERDUE, {due} ({late}), hard line {self.hard_due_at:%Y-%m-%d %H:%M}, no edition",
            "due_soon": f"due soon, {due} ({left}), no edition yet",
            "past_cutoff": f"past its cut-off, {due} ({left}), no edition yet",
        }[self.state]
        return [f"{self.period_code}: {urgency}", *(f"  - {item.english}" for item in self.missing)]


@dataclass(frozen=True)
class Blind:
    """Why the database could not say what is due: `kind` for the state, two texts for people."""

    kind: str
    english: str
    vietnamese: str


@dataclass(frozen=True)
class DeadlineState:
    """The periods whose cut-off has passed since the warehouse was set up, by due time.

    `blind`: the database has no calendar that reaches today. The periods are then those of the seeds in the repository.
    """

    now: datetime
    since: datetime
    periods: tuple[DuePeriod, ...]
    blind: Blind | None = None

    @property
    def overdue(self) -> tuple[DuePeriod, ...]:
        return tuple(period for period in self.periods if period.state == "overdue")

    @property
    def ok(self) -> bool:
        return not self.overdue and self.blind is None

    @property
    def message(self) -> str:
        lines = [line for period in self.periods for line in period.lines()]
        if not lines:
            lines = ["no period has passed its cut-off yet"]
        if self.overdue:
            lines.append(
                "Publish now: trigger publish__period (or `hailong candidate`, `gate`, `approve`, `publish`) for "
                + ", ".join(period.period_code for period in self.overdue)
            )
        return "\n".join(lines)


NO_CALENDAR = Blind(
    "no_calendar",
    "the publication calendar is not in the database, so nobody knows what is due: no build has finished yet. "
    "Run `hailong build` (DAG build__warehouse)",
    "Trong cơ sở dữ liệu chưa có lịch công bố: kho dữ liệu chưa được tính xong lần nào. Cần chạy build__warehouse.",
)
EMPTY = Blind(
    "empty",
    "the publication calendar is empty: run `hailong calendar make`, then `hailong build`",
    "Lịch công bố trong cơ sở dữ liệu không có kỳ nào. Cần chạy `hailong calendar make`, sau đó `hailong build`.",
)


def check(settings: Settings, today: date | datetime | None = None) -> DeadlineState:
    """Compare calendar and tables at a local moment (a date: its last second; default now).

    Owed is every period whose hard line lies after the day the warehouse was set up, so that a new installation is not
    asked for the past. Where there is no calendar to read, `blind` says so, the seeds of the repository stand in, and the
    state is not ok: a watcher that sees nothing must not be quiet. PermanentError when there is no schema to ask, or
    days are needed that no calendar has.
    """
    zone = ZoneInfo(settings.timezone)
    now = _local(today, zone)
    with connect(settings, role="hailong_reader") as connection:
        since = _set_up_at(connection, zone)
        rows, days, blind = _calendar(connection, settings)
        if (last := max((row["due_at"] for row in rows), default=now)) <= now:
            blind = blind or _ended(last, now)
        periods = tuple(_owed(connection, settings, rows, days, now, since))
    return DeadlineState(now, since, periods, blind)


def due_moment(settings: Settings, period_code: str) -> datetime | None:
    """When the edition of a period is due under the calendar in force, with its zone; None where there is no such period."""
    with connect(settings, role="hailong_reader") as connection:
        rows, _, _ = _calendar(connection, settings)
    due: list[datetime] = [row["due_at"] for row in rows if row["period_code"] == period_code]
    return due[0].replace(tzinfo=ZoneInfo(settings.timezone)) if due else None


def _calendar(connection: psycopg.Connection, settings: Settings) -> tuple[Sequence[Row], WorkingDays, Blind | None]:
    """Rows of the publication calendar and working days as the last build has them, else as the repository does, and why."""
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            with connection.transaction():
                rows = cursor.execute(CALENDAR).fetchall()
                days = {row["day"]: row["is_working_day"] for row in cursor.execute(DAYS)}
        except psycopg.errors.UndefinedTable:
            return _of_seeds(connection, settings), WorkingDays.load(settings.rules), NO_CALENDAR
    if not rows:
        return _of_seeds(connection, settings), WorkingDays.load(settings.rules), EMPTY
    return rows, WorkingDays(days), None


def _of_seeds(connection: psycopg.Connection, settings: Settings) -> list[Row]:
    """The same rows out of the repository's seeds: what is due is known also when nothing was ever built."""
    rows: list[Row] = []
    for seed in read_seed(settings.rules / "seeds" / "publication_calendar.csv"):
        row: Row = {name: date.fromisoformat(seed[name]) for name in ("period_start", "period_end")}
        row |= {name: datetime.fromisoformat(seed[name]) for name in ("cutoff_at", "due_at", "hard_due_at")}
        if calendar_in_force(settings.rules, row["period_end"] - timedelta(days=1)).code == seed["calendar_code"]:
            edition = connection.execute(EDITION, (seed["period_code"], seed["calendar_code"])).fetchone()
            rows.append({**seed, **row, "edition_id": edition[0] if edition else None})
    return sorted(rows, key=lambda row: (row["due_at"], row["period_code"]))


def _ended(last: datetime, now: datetime) -> Blind:
    return Blind(
        "ended",
        f"the publication calendar ends with the period due {last:%Y-%m-%d}, before {now:%Y-%m-%d}: extend it with "
        "`hailong calendar make --until YEAR`, then build",
        f"Lịch công bố chỉ có đến kỳ có hạn ngày {last:%d/%m/%Y}. Cần chạy `hailong calendar make --until NĂM`, sau đó "
        "`hailong build`.",
    )


def _owed(
    connection: psycopg.Connection,
    settings: Settings,
    rows: Sequence[Row],
    days: WorkingDays,
    now: datetime,
    since: datetime,
) -> Iterator[DuePeriod]:
    owed = [row for row in rows if row["cutoff_at"] <= now and row["hard_due_at"] > since]
    feeds = closing_feeds(settings) if owed else []
    for row in owed:
        period = Period(
            row["period_code"], row["period_kind"], row["calendar_code"], row["period_start"], row["period_end"]
        )
        state = _state(row, now)
        lacks: list[Missing] = []
        left = 0
        if state != "published":
            left = days.between(now.date(), row["due_at"].date())
            lacks = missing(connection, settings, feeds, period, row["cutoff_at"])
        yield DuePeriod(
            period, row["cutoff_at"], row["due_at"], row["hard_due_at"], row["edition_id"], state, left, tuple(lacks)
        )


def _state(row: Row, now: datetime) -> str:
    if row["edition_id"]:
        return "published"
    if now >= row["due_at"]:
        return "overdue"
    return "due_soon" if row["due_at"] - now <= SOON else "past_cutoff"


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
