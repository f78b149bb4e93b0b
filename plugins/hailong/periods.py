"""Periods of the Decision and the calendars they follow: the only date arithmetic in Python.

A period is half-open, `[start, end)`, in local days. Which day a month begins on is data
(`dbt_project/seeds/period_calendar.csv`): `mid_month` runs from the 15th of the month before to the 14th.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

from hailong.errors import PermanentError, UsageError

FORMS = "a month '2026-10', a quarter '2026-Q4' or a year '2026'"
_PERIOD = re.compile(r"(?P<year>\d{4})(?:-(?:Q(?P<quarter>[1-4])|(?P<month>0[1-9]|1[0-2])))?")


@dataclass(frozen=True)
class PeriodCalendar:
    """Month M begins on `start_day` of the month `month_offset` months away (mid_month: 15, -1)."""

    code: str
    start_day: int
    month_offset: int

    def first_day(self, year: int, month: int) -> date:
        index = year * 12 + month - 1 + self.month_offset
        return date(index // 12, index % 12 + 1, self.start_day)


@dataclass(frozen=True)
class Period:
    """A month, quarter or year: `[start, end)` local days under a calendar."""

    code: str
    kind: str
    calendar_code: str
    start: date
    end: date

    @classmethod
    def parse(cls, code: str, calendar: PeriodCalendar) -> Period:
        """The period a code names. UsageError for anything that is not one."""
        match = _PERIOD.fullmatch(code)
        if not match or not 2000 <= int(match["year"]) <= 2100:
            raise UsageError(f"'{code}' is not a period: write {FORMS}")
        year = int(match["year"])
        if match["month"]:
            kind, first, last = "month", int(match["month"]), int(match["month"])
        elif match["quarter"]:
            kind, last = "quarter", int(match["quarter"]) * 3
            first = last - 2
        else:
            kind, first, last = "year", 1, 12
        after = (year, last + 1) if last < 12 else (year + 1, 1)
        return cls(code, kind, calendar.code, calendar.first_day(year, first), calendar.first_day(*after))

    @property
    def last_day(self) -> date:
        return self.end - timedelta(days=1)

    def __str__(self) -> str:
        return f"{self.code} ({self.start:%d/%m/%Y} – {self.last_day:%d/%m/%Y})"


def code_before(code: str) -> str:
    """The code of the period of the same kind before: `2026-01` → `2025-12`."""
    year, _, part = code.partition("-")
    if not part:
        return str(int(year) - 1)
    number = int(part.lstrip("Q")) - 1
    if part.startswith("Q"):
        return f"{year}-Q{number}" if number else f"{int(year) - 1}-Q4"
    return f"{year}-{number:02d}" if number else f"{int(year) - 1}-12"


def periods_overlapping(since: date, until: date, calendar: PeriodCalendar) -> list[Period]:
    """Every month, quarter and year of the calendar that shares a day with `[since, until)`, by start, then kind."""
    found = [
        period
        for year in range(since.year - 1, until.year + 2)
        for code in _codes(year)
        if (period := Period.parse(code, calendar)).start < until and period.end > since
    ]
    return sorted(found, key=lambda period: (period.start, period.end))


def _codes(year: int) -> Iterator[str]:
    yield from (f"{year}-{month:02d}" for month in range(1, 13))
    yield from (f"{year}-Q{quarter}" for quarter in range(1, 5))
    yield str(year)


def load_calendars(rules: Path) -> dict[str, PeriodCalendar]:
    """The calendars of a rule set, by code (seed `period_calendar`)."""
    path = rules / "seeds" / "period_calendar.csv"
    return {
        row["calendar_code"]: PeriodCalendar(row["calendar_code"], int(row["start_day"]), int(row["month_offset"]))
        for row in read_seed(path)
    }


def calendar_in_force(rules: Path, on: date) -> PeriodCalendar:
    """The calendar of the policy in force on a day; before the first policy, the first one's."""
    policies = sorted(read_seed(rules / "seeds" / "scoring_policy.csv"), key=lambda row: row["valid_from"])
    if not policies:
        raise PermanentError(f"no policy in {rules / 'seeds' / 'scoring_policy.csv'}: the rule set is incomplete")
    begun = [row for row in policies if date.fromisoformat(row["valid_from"]) <= on]
    code = (begun or policies[:1])[-1]["calendar_code"]
    try:
        return load_calendars(rules)[code]
    except KeyError:
        raise PermanentError(f"the policy's calendar '{code}' is not in the seed period_calendar of {rules}") from None


def parse_period(rules: Path, code: str) -> Period:
    """A period under the calendar in force at its end."""
    calendars = load_calendars(rules)
    probe = Period.parse(code, next(iter(calendars.values())))
    return Period.parse(code, calendar_in_force(rules, probe.last_day))


def read_seed(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        raise PermanentError(f"the rule set has no {path.name}: {path} is missing") from None


# -- working days -----------------------------------------------------------------------------------------------------


class WorkingDays:
    """Working days as the committed seed `calendar_day` has them."""

    def __init__(self, days: Mapping[date, bool]) -> None:
        self._days = days

    @classmethod
    def load(cls, rules: Path) -> WorkingDays:
        rows = read_seed(rules / "seeds" / "calendar_day.csv")
        return cls({date.fromisoformat(row["day"]): row["is_working_day"] == "true" for row in rows})

    def is_working(self, day: date) -> bool:
        try:
            return self._days[day]
        except KeyError:
            raise PermanentError(
                f"{day} is outside the calendar seed: extend it with `hailong calendar make --until YEAR`"
            ) from None

    def nth_from(self, day: date, n: int) -> date:
        """The n-th working day counted from `day` itself (n = 1: `day` if it is one, else the next)."""
        current = day - timedelta(days=1)
        while n > 0:
            current += timedelta(days=1)
            n -= self.is_working(current)
        return current

    def between(self, day: date, end: date) -> int:
        """Working days d with `day` < d <= `end`; negative when `end` lies before `day`: so many working days late."""
        if end < day:
            return -self.between(end, day)
        return sum(self.is_working(day + timedelta(days=n)) for n in range(1, (end - day).days + 1))

    def at_or_before(self, day: date) -> date:
        while not self.is_working(day):
            day -= timedelta(days=1)
        return day


def cutoff_and_due(period: Period, days: WorkingDays) -> tuple[datetime, datetime, datetime]:
    """Local wall times of a period: cut-off (end of the 3rd working day after its end), due, and the hard line.

    Due is the 24th, 17:00, of the month in which the period ends, moved back to a working day; the hard line is the
    25th, 00:00 (Article 15: "before the 25th"). Where the cut-off comes after that, the period reports a month later.
    """
    cutoff = datetime.combine(days.nth_from(period.end, 3) + timedelta(days=1), time())
    month = period.last_day.replace(day=1)
    if cutoff >= (due := _due(month, days)):
        month = (month + timedelta(days=32)).replace(day=1)
        due = _due(month, days)
    return cutoff, due, datetime.combine(month.replace(day=25), time())


def _due(month: date, days: WorkingDays) -> datetime:
    return datetime.combine(days.at_or_before(month.replace(day=24)), time(17))
