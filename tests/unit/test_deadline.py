"""The watcher of the 25th: what it calls due, late and published, and that it is never quiet about seeing nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from hailong.publish.deadline import DeadlineState, check
from hailong.settings import Settings
from hailong.warehouse.connect import connect

SHA = "0" * 64
# calendar, period, start, end, cut-off, due, hard line
CALENDAR = (
    ("mid_month", "2026-09", "2026-08-15", "2026-09-15", "2026-09-18", "2026-09-24 17:00", "2026-09-25"),
    ("mid_month", "2026-10", "2026-09-15", "2026-10-15", "2026-10-20", "2026-10-23 17:00", "2026-10-25"),
    ("mid_month", "2026-11", "2026-10-15", "2026-11-15", "2026-11-19", "2026-11-24 17:00", "2026-11-25"),
    ("mid_month", "2026-12", "2026-11-15", "2026-12-15", "2026-12-18", "2026-12-24 17:00", "2026-12-25"),
    ("whole_month", "2026-10", "2026-10-01", "2026-11-01", "2026-11-05", "2026-11-06", "2026-11-07"),
)


def write_calendar(settings: Settings, *, policy: bool = True) -> None:
    """The two seeds that the watcher reads, as dbt makes them: dates as dates, times as text or timestamps."""
    with connect(settings, role="hailong_transformer") as connection:
        connection.execute(
            """
            create table rules.publication_calendar (calendar_code text, period_code text, period_kind text,
                period_start date, period_end date, cutoff_at timestamp, due_at timestamp, hard_due_at timestamp);
            create table rules.scoring_policy (policy_id text, valid_from date, calendar_code text);
            create table rules.calendar_day (day date, is_working_day boolean, reason text);
            insert into rules.calendar_day
            select day::date, extract(isodow from day) < 6
            from generate_series('2026-01-01'::date, '2028-12-31', interval '1 day') as day;
            """
        )
        for row in CALENDAR:
            connection.execute(
                "insert into rules.publication_calendar values (%s, %s, 'month', %s, %s, %s, %s, %s)", row
            )
        if policy:
            connection.execute("insert into rules.scoring_policy values ('qd104-2024', '2024-11-29', 'mid_month')")


def set_up_on(settings: Settings, day: date) -> None:
    with connect(settings) as connection:
        connection.execute(
            "update ops.migration set applied_at = %s", (datetime(day.year, day.month, day.day, tzinfo=UTC),)
        )


def publish(settings: Settings, period: str, calendar: str = "mid_month") -> None:
    with connect(settings, role="hailong_publisher") as connection:
        connection.execute(
            """
            insert into publish.candidate (candidate_id, period_code, calendar_code, period_start, period_end,
                cutoff_at, as_of_batch, build_id, rules_sha256, policy_id, code_version, late_batches, content_sha256,
                requested_by)
            values (%(c)s, %(p)s, %(k)s, '2026-01-01', '2026-02-01', '2026-02-03', 1, 1, %(s)s, 'p', 'v', 0, %(s)s, 'a')
            """,
            {"c": f"{period}.c1", "p": period, "k": calendar, "s": SHA},
        )
        connection.execute(
            """
            insert into publish.edition (edition_id, period_code, calendar_code, period_start, period_end, edition_no,
                candidate_id, as_of_batch, rules_sha256, policy_id, code_version, content_sha256, gate_run_id,
                published_by)
            values (%(e)s, %(p)s, %(k)s, '2026-01-01', '2026-02-01', 1, %(c)s, 1, %(s)s, 'p', 'v', %(s)s, 'g', 'a')
            """,
            {"e": f"{period}.e1", "c": f"{period}.c1", "p": period, "k": calendar, "s": SHA},
        )


def states(state: DeadlineState) -> dict[str, str]:
    return {period.period_code: period.state for period in state.periods}


@pytest.fixture
def watched(warehouse: Settings) -> Settings:
    write_calendar(warehouse)
    set_up_on(warehouse, date(2026, 10, 1))
    return warehouse


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 10, 19, 23, 59, 59), {}),
        (datetime(2026, 10, 20), {"2026-10": "past_cutoff"}),
        (datetime(2026, 10, 20, 17), {"2026-10": "due_soon"}),
        (datetime(2026, 10, 23, 16, 59, 59), {"2026-10": "due_soon"}),
        (datetime(2026, 10, 23, 17), {"2026-10": "overdue"}),
        (datetime(2026, 10, 31), {"2026-10": "overdue"}),
        (datetime(2026, 11, 20), {"2026-10": "overdue", "2026-11": "past_cutoff"}),
    ],
)
def test_a_period_goes_from_cut_off_to_overdue_when_nothing_is_published(
    watched: Settings, now: datetime, expected: dict[str, str]
) -> None:
    state = check(watched, now)
    assert states(state) == expected
    assert state.ok is ("overdue" not in expected.values())


def test_a_date_stands_for_its_end_and_an_aware_moment_is_turned_local(watched: Settings) -> None:
    assert states(check(watched, date(2026, 10, 23))) == {"2026-10": "overdue"}
    assert states(check(watched, datetime(2026, 10, 23, 9, 59, tzinfo=UTC))) == {"2026-10": "due_soon"}
    assert states(check(watched, datetime(2026, 10, 23, 10, tzinfo=UTC))) == {"2026-10": "overdue"}


def test_an_edition_settles_its_period_and_only_under_its_own_calendar(watched: Settings) -> None:
    publish(watched, "2026-10", "whole_month")
    assert not check(watched, date(2026, 10, 24)).ok
    publish(watched, "2026-11")
    state = check(watched, date(2026, 11, 26))
    assert states(state) == {"2026-10": "overdue", "2026-11": "published"}
    assert "2026-10: OVERDUE" in state.message and "2026-11.e1" in state.message


def test_a_new_installation_is_not_asked_for_the_past(watched: Settings) -> None:
    set_up_on(watched, date(2026, 10, 26))
    assert states(check(watched, date(2026, 11, 20))) == {"2026-11": "past_cutoff"}


def test_working_days_are_counted_from_tomorrow_to_the_due_day_and_negative_after_it(watched: Settings) -> None:
    def left(day: int, month: int = 10) -> int:
        return check(watched, date(2026, month, day)).periods[0].working_days_left

    # due on Friday the 23rd
    assert [left(day) for day in (20, 22, 23, 25, 26, 30)] == [3, 1, 0, 0, -1, -5]


def test_without_a_calendar_the_seeds_say_what_is_due_and_the_state_is_not_ok(warehouse: Settings) -> None:
    set_up_on(warehouse, date(2026, 10, 1))
    state = check(warehouse, date(2026, 10, 22))
    assert not state.ok and state.blind and state.blind.kind == "no_calendar"
    assert "no build has finished" in state.blind.english
    assert states(state) == {"2026-10": "due_soon"}  # under the calendar of the policy, of three
    assert state.periods[0].working_days_left == 1
    publish(warehouse, "2026-10")
    assert states(check(warehouse, date(2026, 10, 24))) == {"2026-10": "published"}


def test_an_empty_calendar_or_no_policy_is_not_ok(warehouse: Settings) -> None:
    write_calendar(warehouse, policy=False)
    set_up_on(warehouse, date(2026, 10, 1))
    state = check(warehouse, date(2026, 10, 24))
    assert state.blind and state.blind.kind == "empty" and states(state) == {"2026-10": "overdue"}


def test_a_calendar_that_has_run_out_is_not_ok(watched: Settings) -> None:
    for period in ("2026-10", "2026-11", "2026-12"):
        publish(watched, period)
    state = check(watched, date(2027, 1, 1))
    assert not state.overdue and not state.ok
    assert state.blind and "extend it" in state.blind.english


@pytest.mark.parametrize("due_in_days", [-1, 30])
def test_the_command_fails_while_a_period_is_overdue(watched: Settings, due_in_days: int) -> None:
    today = datetime.now(UTC).date()
    with connect(watched, role="hailong_transformer") as connection:
        connection.execute("delete from rules.publication_calendar")
        for period, days in (("2026-10", due_in_days), ("2026-11", 400)):
            due = today + timedelta(days=days)
            connection.execute(
                "insert into rules.publication_calendar values ('mid_month', %s, 'month', %s, %s, %s, %s, %s)",
                (period, "2026-09-15", "2026-10-15", today - timedelta(days=2), due, due + timedelta(days=9)),
            )
    command = [sys.executable, "-m", "hailong.cli", "status", "--deadline"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **watched.env}, check=False)
    assert done.returncode == (1 if due_in_days < 0 else 0), done.stderr
    assert ("OVERDUE" in done.stdout) is (due_in_days < 0)
    assert "no build has run" in done.stdout and "feed dossier was never loaded" in done.stdout


def test_the_command_fails_and_says_why_when_there_is_no_calendar(warehouse: Settings) -> None:
    command = [sys.executable, "-m", "hailong.cli", "status", "--deadline", "--notify", "--today", "2026-10-22"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **warehouse.env}, check=False)
    assert done.returncode == 1
    assert "no build has finished" in done.stderr
    assert done.stderr.count("Nobody is told") == 1
