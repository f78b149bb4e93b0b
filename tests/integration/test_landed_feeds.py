"""The gate looks at every feed as its contract says: days, freshness, odd batches, doubt, codes, windows of the portal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from expectations import gate
from expectations.suites import feeds
from expectations.suites.model import THRESHOLDS, read_thresholds
from hailong.contracts import Contract, load_contracts
from hailong.errors import PermanentError
from hailong.extract.portal import questions
from hailong.settings import Settings
from hailong.warehouse.connect import connect

UNTIL = datetime(2026, 10, 30, 17, tzinfo=UTC)  # Saturday 31 October, 00:00 local: Friday is the last whole day
FRIDAY = date(2026, 10, 30)
_numbers = count(1)
Frames = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def warehouse_(new_warehouse: Callable[..., Settings]) -> Settings:
    return new_warehouse()


@pytest.fixture
def connection(warehouse_: Settings) -> Iterator[psycopg.Connection]:
    """Nothing of a test stays."""
    with connect(warehouse_) as open_:
        yield open_
        open_.rollback()


@pytest.fixture(scope="module")
def contracts(warehouse_: Settings) -> dict[str, Contract]:
    return load_contracts(warehouse_.contracts)


def batch(
    connection: psycopg.Connection, feed: str, until: datetime = UNTIL, kind: str = "window", bad: int = 0
) -> int:
    row = connection.execute(
        "insert into ops.batch (feed, window_end, landing_uri, landing_sha256, declared_rows, received_rows, loaded_rows,"
        " unchanged_rows, duplicate_rows, quarantined_rows, started_at, contract_version, code_version, read_kind) values"
        " (%s, %s, 'x', %s, %s, %s, 0, 0, 0, %s, now(), '1', 't', %s) returning batch_id",
        (feed, until, f"{next(_numbers):064x}", bad, bad, bad, kind),
    ).fetchone()
    assert row
    connection.execute("select raw.ensure_partition(%s, %s)", (feed, row[0]))
    return int(row[0])


def raw(connection: psycopg.Connection, feed: str, number: int, key: str, **columns: Any) -> None:
    row = {"batch_id": number, "record_key": key, "op": "upsert", "version_hash": "h", **columns}
    connection.execute(
        sql.SQL("insert into raw.{} ({}) values ({})").format(
            sql.Identifier(feed),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Placeholder, row)),
        ),
        row,
    )


def quarantined(connection: psycopg.Connection, feed: str, number: int, key: str, rule: str, detail: str) -> None:
    connection.execute(
        "insert into ops.quarantine (batch_id, feed, record_key, rule, detail) values (%s, %s, %s, %s, %s)",
        (number, feed, key, rule, detail),
    )


def looked_at(
    settings: Settings, connection: psycopg.Connection, contracts: dict[str, Contract], passed: int = 0
) -> tuple[Frames, dict[str, list[str]]]:
    """Frames by target and first key, and the samples."""
    rows = [
        {"batch_id": n, "feed": feed}
        for n, feed in connection.execute(
            "select batch_id, feed from ops.batch where batch_id > %s", (passed,)
        ).fetchall()
    ]
    samples: dict[str, dict[str, list[str]]] = {}
    found = feeds.targets(connection, contracts, settings, rows, passed, samples)
    frames: Frames = {}
    for name, target in found.items():
        frames[name] = {
            "/".join(str(row[key]) for key in target.keys): row for row in target.frame.to_dict(orient="records")
        }
    return frames, defaultdict(list, {check: [*chain(*keys.values())] for check, keys in samples.items()})


def received(connection: psycopg.Connection, number: int, days: dict[date, int], tag: str = "D") -> None:
    for day, records in days.items():
        for n in range(records):
            moment = datetime(day.year, day.month, day.day, 1, tzinfo=UTC)  # 08:00 local
            raw(connection, "dossier", number, f"{tag}{day}-{n}", dossier_code=f"{tag}{day}-{n}", received_at=moment)


def usual(working: int, off: int, days: int = 21) -> dict[date, int]:
    """The days before Friday 30 October: weekends are off."""
    span = [FRIDAY - timedelta(days=n) for n in range(1, days + 1)]
    return {day: off if day.weekday() >= 5 else working for day in span}


@pytest.mark.parametrize(
    ("last", "as_expected"),
    [(30, True), (10, True), (9, True), (8, False), (0, False), (90, True), (91, False)],
)
def test_a_working_day_is_held_against_the_median_of_working_days(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract], last: int, as_expected: bool
) -> None:
    """The contract says 0.3 to 3 times the median; weekends with one record each do not lower it."""
    received(connection, batch(connection, "dossier"), usual(30, 1) | {FRIDAY: last})
    days = looked_at(warehouse_, connection, contracts)[0]["days"]
    assert [(row["is_judged"], row["as_expected"], row["owner"]) for row in days.values()] == [
        (True, as_expected, contracts["dossier"].owner)
    ]
    assert list(days) == [f"dossier/2026-10-30 ({last})"]


def test_a_day_off_is_held_against_days_off(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    sunday = date(2026, 11, 1)
    number = batch(connection, "dossier", UNTIL + timedelta(days=2))
    received(connection, number, usual(300, 25) | {FRIDAY: 300, date(2026, 10, 31): 25, sunday: 251})
    rows = list(looked_at(warehouse_, connection, contracts)[0]["days"].values())
    assert [(row["day"], row["is_judged"], row["as_expected"]) for row in rows] == [("2026-11-01 (251)", True, False)]


def test_too_few_days_or_records_are_not_judged_and_that_is_said(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    received(connection, batch(connection, "dossier"), usual(30, 1, days=6) | {FRIDAY: 0})  # four working days
    rows = list(looked_at(warehouse_, connection, contracts)[0]["days"].values())
    assert [(row["is_judged"], row["as_expected"]) for row in rows] == [(False, True)]
    connection.rollback()
    received(connection, batch(connection, "dossier"), usual(19, 1) | {FRIDAY: 0})
    rows = list(looked_at(warehouse_, connection, contracts)[0]["days"].values())
    assert [(row["is_judged"], row["as_expected"]) for row in rows] == [(False, True)]
    assert next(check for check in feeds.checks() if check.id == "days.judged").severity == "info"


def test_days_since_the_last_run_are_all_judged_and_a_version_does_not_count_twice(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    first = batch(connection, "dossier", UNTIL - timedelta(days=3))
    received(connection, first, usual(30, 1))
    second = batch(connection, "dossier")
    wednesday, thursday = FRIDAY - timedelta(days=2), FRIDAY - timedelta(days=1)
    received(connection, second, {wednesday: 30, thursday: 30})  # the same keys again, changed
    received(connection, second, {FRIDAY: 91})
    rows = looked_at(warehouse_, connection, contracts, passed=first)[0]["days"]
    assert {row["day"]: row["as_expected"] for row in rows.values()} == {
        "2026-10-28 (30)": True, "2026-10-29 (30)": True, "2026-10-30 (91)": False,
    }  # fmt: skip


def test_a_feed_is_late_when_the_others_have_gone_on_without_it(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    batch(connection, "dossier")
    batch(connection, "petition", UNTIL - timedelta(hours=26))
    batch(connection, "rating", UNTIL - timedelta(hours=27))
    frames, samples = looked_at(warehouse_, connection, contracts)
    fresh = {feed: row["is_fresh"] for feed, row in frames["feeds"].items()}
    assert fresh == {"dossier": True, "petition": True, "rating": False}
    assert samples["feeds.fresh"] == ["rating"]
    assert frames["feeds"]["rating"]["owner"] == contracts["rating"].owner


def test_a_record_in_doubt_is_named_until_a_readable_version_comes(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    raw(connection, "dossier", batch(connection, "dossier"), "D1", dossier_code="D1")
    raw(connection, "dossier", batch(connection, "dossier"), "D2", dossier_code="D2")
    quarantined(connection, "dossier", batch(connection, "dossier", bad=1), "D1", "bad_date", "NgayTiepNhan")
    frames, samples = looked_at(warehouse_, connection, contracts)
    assert frames["feeds"]["dossier"]["no_stale"] is False and samples["feeds.no_stale"] == ["D1"]
    raw(connection, "dossier", batch(connection, "dossier"), "D1", dossier_code="D1")
    frames, samples = looked_at(warehouse_, connection, contracts)
    assert frames["feeds"]["dossier"]["no_stale"] is True and samples["feeds.no_stale"] == []


def test_codes_without_a_meaning_are_named_wherever_they_were_met(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    number = batch(connection, "dossier", bad=1)
    quarantined(connection, "dossier", number, "D1", "unknown_code", "DonViXuLy: code 'H29.99'")
    portal = batch(connection, "portal_evaluation", kind="file")
    for unit in ("known", "ignored", "unknown", "other-system"):
        raw(connection, "portal_evaluation", portal, unit, department_id=unit)
    codes = batch(connection, "code_map")
    for system, unit, treatment in (
        ("portal", "known", "good"), ("portal", "ignored", "ignored"), ("tthc", "other-system", "good"),
    ):  # fmt: skip
        raw(
            connection, "code_map", codes, f"{system}|unit|{unit}", system=system, code_kind="unit", source_code=unit,
            treatment=treatment,
        )  # fmt: skip
    frames, samples = looked_at(warehouse_, connection, contracts)
    assert frames["feeds"]["dossier"]["codes_known"] is False
    assert frames["feeds"]["portal_evaluation"]["codes_known"] is False
    assert samples["feeds.codes_known"] == [
        "DonViXuLy: code 'H29.99'",
        "department_id other-system",
        "department_id unknown",
    ]


def test_an_open_window_that_the_newest_read_lacks_is_named(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    connector = contracts["portal_evaluation"].connector
    day = datetime(2026, 10, 30)
    asked = questions(connector, warehouse_.rules, day, day + timedelta(days=1))  # type: ignore[arg-type]
    open_ = [(q.group, q.window.first, q.window.last) for q in asked]
    # Months, quarter and year of our calendar, and of the calendar for each other group.
    assert len(open_) == 3 + 6 * 3
    assert ("handling-satisfaction", date(2026, 10, 15), date(2026, 11, 14)) in open_
    older, newer = (
        batch(connection, "portal_evaluation", kind="snapshot"),
        batch(connection, "portal_evaluation", kind="snapshot"),
    )
    gone = ("transparency", date(2026, 10, 1), date(2026, 10, 31))
    for number in (older, newer):
        for group, first, last in open_:
            if number == newer and (group, first, last) == gone:
                continue
            connection.execute(
                "insert into ops.snapshot (batch_id, feed, prefix, group_code, window_from, window_to, retrieved_at, rows)"
                " values (%s, 'portal_evaluation', %s, %s, %s, %s, %s, 3)",
                (number, f"{group}|{first}|{last}|", group, first, last, UNTIL),
            )
    frames, samples = looked_at(warehouse_, connection, contracts)
    assert frames["feeds"]["portal_evaluation"]["windows_read"] is False
    assert samples["feeds.windows_read"] == ["transparency 2026-10-01 – 2026-10-31"]


def test_each_kind_of_finding_is_its_own_expectation(
    warehouse_: Settings, connection: psycopg.Connection, contracts: dict[str, Contract]
) -> None:
    number = batch(connection, "rating")
    for rule in (*feeds.FINDINGS, "never_heard_of"):
        connection.execute(
            "insert into ops.batch_finding (batch_id, feed, rule, field, records, detail) values (%s, 'rating', %s, 'f', 1, 'd')",
            (number, rule),
        )
    rows = looked_at(warehouse_, connection, contracts)[0]["findings"]
    assert len(rows) == len(feeds.FINDINGS) + 1
    assert rows[f"rating/{number}/new_field f"]["new_field"] == 1
    assert rows[f"rating/{number}/never_heard_of f"]["other"] == 1
    columns = (*feeds.FINDINGS, feeds.OTHER)
    assert all(sum(row[name] for name in columns) == 1 for row in rows.values())
    assert {f"findings.{name}" for name in columns} <= {check.id for check in feeds.checks()}


def test_a_failure_is_addressed_to_the_owner_of_its_feed(
    new_warehouse: Callable[..., Settings], contracts: dict[str, Contract]
) -> None:
    settings = new_warehouse()
    with connect(settings) as connection:
        batch(connection, "dossier")
        number = batch(connection, "rating")
        connection.execute(
            "insert into ops.batch_finding (batch_id, feed, rule, field, records, detail)"
            " values (%s, 'rating', 'new_field', 'mauSac', 7, 'd')",
            (number,),
        )
    run = gate.run_landed(settings)
    found = {result.expectation_id: result for result in run.failed}
    assert found["findings.new_field"].severity == "warning"
    assert found["findings.new_field"].failing_keys == [f"rating/{number}/new_field mauSac"]
    with connect(settings) as connection:
        owners = dict(connection.execute("select expectation_id, owner from dq.result").fetchall())
    assert owners["findings.new_field"] == contracts["rating"].owner != contracts["dossier"].owner
    assert owners["findings.clock_skew"] == "data-engineering"


def test_a_severity_that_is_none_is_refused(tmp_path: Path) -> None:
    assert len(read_thresholds(THRESHOLDS)) > 30
    path = tmp_path / "thresholds.yaml"
    path.write_text("a.b: {value: 1, severity: grave, since: 2026-11-23, why: because}", encoding="utf-8")
    with pytest.raises(PermanentError, match=r"'a\.b' has severity 'grave'; allowed: critical, warning, info"):
        read_thresholds(path)
