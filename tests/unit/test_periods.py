"""Periods under each calendar, working days, and the dates of publication (edges of `scoring.md`)."""

from __future__ import annotations

import itertools
from datetime import date, datetime
from pathlib import Path

import pytest

from hailong.calendar_seed import calendar_days, publication_rows
from hailong.errors import PermanentError, UsageError
from hailong.periods import (
    Period,
    PeriodCalendar,
    WorkingDays,
    calendar_in_force,
    cutoff_and_due,
    load_calendars,
    parse_period,
    periods_overlapping,
    read_seed,
)

RULES = Path(__file__).resolve().parents[2] / "dbt_project"
MID = PeriodCalendar("mid_month", 15, -1)


@pytest.mark.parametrize(
    ("code", "start", "end"),
    [
        ("2026-10", date(2026, 9, 15), date(2026, 10, 15)),
        ("2026-01", date(2025, 12, 15), date(2026, 1, 15)),
        ("2026-Q4", date(2026, 9, 15), date(2026, 12, 15)),
        ("2026-Q1", date(2025, 12, 15), date(2026, 3, 15)),
        ("2026", date(2025, 12, 15), date(2026, 12, 15)),
    ],
)
def test_mid_month_periods_run_from_the_15th_to_the_14th(code: str, start: date, end: date) -> None:
    period = Period.parse(code, MID)
    assert (period.start, period.end) == (start, end)


@pytest.mark.parametrize(
    ("calendar", "start", "end"),
    [("whole_month", date(2026, 8, 1), date(2026, 9, 1)), ("m21", date(2026, 7, 21), date(2026, 8, 21))],
)
def test_other_calendars_are_data(calendar: str, start: date, end: date) -> None:
    period = Period.parse("2026-08", load_calendars(RULES)[calendar])
    assert (period.start, period.end) == (start, end)


@pytest.mark.parametrize(
    "code", ["2026-13", "2026-00", "2026-Q5", "26-10", "2026-1", "2026-10 ", "October", "", "1999"]
)
def test_what_is_not_a_period_is_wrong_use(code: str) -> None:
    with pytest.raises(UsageError, match="is not a period"):
        Period.parse(code, MID)


def test_months_tile_the_quarter_and_quarters_the_year() -> None:
    for kind in ("month", "quarter"):
        found = [p for p in periods_overlapping(date(2025, 12, 15), date(2026, 12, 15), MID) if p.kind == kind]
        assert found[0].start == date(2025, 12, 15)
        assert found[-1].end == date(2026, 12, 15)
        assert all(left.end == right.start for left, right in itertools.pairwise(found))
    assert len(found) == 4


def test_overlapping_is_half_open() -> None:
    codes = {p.code for p in periods_overlapping(date(2026, 10, 15), date(2026, 10, 16), MID)}
    assert codes == {"2026-11", "2026-Q4", "2026"}


def test_the_policy_in_force_names_the_calendar() -> None:
    assert calendar_in_force(RULES, date(2026, 10, 1)).code == "mid_month"
    assert parse_period(RULES, "2026-10").start == date(2026, 9, 15)


def test_make_up_saturday_is_worked_and_its_friday_is_off() -> None:
    days = WorkingDays.load(RULES)
    assert not days.is_working(date(2026, 1, 2))
    assert days.is_working(date(2026, 1, 10))
    assert not days.is_working(date(2026, 1, 11))
    assert not days.is_working(date(2026, 2, 17))  # first day of Tết
    with pytest.raises(PermanentError, match="outside the calendar seed"):
        days.is_working(date(2031, 1, 1))


def test_cut_off_is_the_end_of_the_third_working_day_and_due_moves_back_to_a_working_day() -> None:
    days = WorkingDays.load(RULES)
    assert cutoff_and_due(Period.parse("2026-10", MID), days) == (
        datetime(2026, 10, 20),  # Thu 15, Fri 16, Mon 19, 24:00
        datetime(2026, 10, 23, 17),  # the 24th is a Saturday
        datetime(2026, 10, 25),
    )
    # 24 November 2026 is a day off by the override: the day before
    assert cutoff_and_due(Period.parse("2026-11", MID), days)[1] == datetime(2026, 11, 23, 17)


def test_every_due_moment_is_before_the_25th_and_after_its_cut_off() -> None:
    for row in read_seed(RULES / "seeds" / "publication_calendar.csv"):
        assert row["period_end"] < row["cutoff_at"] < row["due_at"] < row["hard_due_at"], row
        assert row["hard_due_at"][8:10] == "25"


def test_the_committed_seeds_are_what_the_generator_makes() -> None:
    made = calendar_days(RULES / "calendar_override.csv", 2027)
    committed = read_seed(RULES / "seeds" / "calendar_day.csv")
    assert [{"day": d.isoformat(), "is_working_day": str(w).lower(), "reason": r} for d, w, r in made] == committed
    rows = publication_rows(RULES, WorkingDays({d: w for d, w, _ in made}), 2027)
    assert rows == [list(row.values()) for row in read_seed(RULES / "seeds" / "publication_calendar.csv")]
