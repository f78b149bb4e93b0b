"""`hailong calendar make`: the committed seeds of days and publication dates, from the `holidays` package and overrides.

The seeds are data under review, not a computation at run time: a test compares them with what this module makes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

from hailong.periods import Period, WorkingDays, cutoff_and_due, load_calendars, periods_overlapping, read_seed

FIRST_DAY = date(2024, 1, 1)
FIRST_PERIOD_DAY = date(2024, 10, 15)


def calendar_days(overrides: Path, last_year: int) -> list[tuple[date, bool, str]]:
    """(day, is_working_day, reason) from 2024 to the end of `last_year`; an override wins over the package."""
    import holidays

    off = holidays.country_holidays("VN", years=range(FIRST_DAY.year, last_year + 1), language="vi")
    decided = {date.fromisoformat(row["day"]): row for row in read_seed(overrides)}
    rows = []
    day = FIRST_DAY
    while day.year <= last_year:
        if day in decided:
            rows.append((day, decided[day]["is_working_day"] == "true", decided[day]["reason"]))
        elif day in off:
            rows.append((day, False, off[day]))
        elif day in off.weekend_workdays:
            rows.append((day, True, "làm bù"))
        elif day.weekday() >= 5:
            rows.append((day, False, "cuối tuần"))
        else:
            rows.append((day, True, ""))
        day += timedelta(days=1)
    return rows


def publication_rows(rules: Path, days: WorkingDays, last_year: int) -> list[list[str]]:
    """Cut-off, due and hard line of every period of every calendar that ends within the seed's years."""
    rows = []
    for calendar in load_calendars(rules).values():
        for period in periods_overlapping(FIRST_PERIOD_DAY, date(last_year, 12, 1), calendar):
            if period.end < date(last_year, 12, 20) and period.start >= date(FIRST_DAY.year, 1, 1) - timedelta(days=20):
                rows.append(publication_row(period, days))
    return rows


def publication_row(period: Period, days: WorkingDays) -> list[str]:
    moments = [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in cutoff_and_due(period, days)]
    return [period.calendar_code, period.code, period.kind, period.start.isoformat(), period.end.isoformat(), *moments]


def make(rules: Path, last_year: int) -> list[Path]:
    """Write `calendar_day.csv` and `publication_calendar.csv` of a rule set; returns their paths."""
    seeds = rules / "seeds"
    days = calendar_days(seeds.parent / "calendar_override.csv", last_year)
    working = WorkingDays({day: is_working for day, is_working, _ in days})
    written = [
        _write(
            seeds / "calendar_day.csv",
            ["day", "is_working_day", "reason"],
            ([day.isoformat(), str(is_working).lower(), reason] for day, is_working, reason in days),
        ),
        _write(
            seeds / "publication_calendar.csv",
            ["calendar_code", "period_code", "period_kind", "period_start", "period_end", "cutoff_at", "due_at",
             "hard_due_at"],
            publication_rows(rules, working, last_year),
        ),
    ]  # fmt: skip
    return written


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path
