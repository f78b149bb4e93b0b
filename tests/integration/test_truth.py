"""What the sandbox intended, by unit, period and index, is what the warehouse finds after two nights over HTTP."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.truth import SCORES, differences

PROJECT = Path(__file__).resolve().parents[2]
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OPTIONS = ("--size", "6000", "--seed", "7")
SINCE = datetime(2026, 6, 15, tzinfo=ZONE)
FIRST_NIGHT, END = datetime(2026, 10, 14, 23, 59, 59, tzinfo=ZONE), datetime(2026, 11, 18, 23, 59, 59, tzinfo=ZONE)
REGISTERS = ("unit_register", "procedure_register", "code_map")
NIGHTLY = ("dossier", "rating", "dossier_sync", "petition", "portal_evaluation")


@pytest.fixture(scope="module")
def night(start_sandbox: Callable[..., object], new_warehouse: Callable[..., Settings]) -> Settings:
    """A warehouse that read the sandbox as it stood 35 days before its end, and again at its end."""
    sandbox = start_sandbox(*OPTIONS, "--clock", f"{FIRST_NIGHT:%Y%m%d%H%M%S}")
    settings = new_warehouse(**sandbox.env)
    for feed in REGISTERS:
        ingest(settings, feed)
    for feed in NIGHTLY:
        ingest(settings, feed, since=SINCE, until=FIRST_NIGHT)
    moved = httpx.post(
        f"{sandbox.url}/_sandbox/clock",
        json={"now": f"{END:%Y%m%d%H%M%S}"},
        headers={"Authorization": f"Bearer {sandbox.env['HAILONG_SOURCE_TTHC_TOKEN']}"},
    )
    moved.raise_for_status()
    for feed in NIGHTLY:
        ingest(settings, feed, until=END)
    for path in sorted(sandbox.drop.glob("*.xlsx")):
        ingest(settings, "posting_check", file=path)
    build(settings)
    return replace(settings)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what the sandbox says about its own data."""
    folder = tmp_path_factory.mktemp("truth")
    subprocess.run([sys.executable, "-m", "sandbox", "truth", "--out", str(folder), *OPTIONS], cwd=PROJECT, check=True)
    return folder


@pytest.fixture(scope="module")
def truth(said: Path) -> list[dict[str, str]]:
    with (said / "index_truth.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_marts_equal_the_truth_by_unit_period_and_index(night: Settings, truth: list[dict[str, str]]) -> None:
    with connect(night) as connection:
        found = connection.cursor(row_factory=dict_row).execute(SCORES).fetchall()
    wrong = differences(truth, found)
    assert len(truth) > 4000
    assert not wrong, f"{len(wrong)} of {len(truth)} differ, first: {wrong[:8]}"


@pytest.mark.parametrize(
    ("column", "value"),
    [("numerator", "3"), ("denominator", "3"), ("excluded", None), ("excluded", "1"), ("status", "no_data"),
     ("value", "0.5"), ("unit_code", "U2")],
)  # fmt: skip
def test_what_differs_from_the_truth_is_told(column: str, value: str | None) -> None:
    said = {
        "period_code": "2026-10", "unit_code": "U", "index_code": "A", "numerator": "2", "denominator": "2",
        "excluded": "0", "status": "scored", "value": "1.000000000000000",
    }  # fmt: skip
    assert differences([said], [{**said, "value": Decimal(1), "excluded": 0}]) == []
    assert len(differences([said], [{**said, column: value}])) == 1


def test_facts_add_up_to_the_same_truth(night: Settings, truth: list[dict[str, str]]) -> None:
    """Points counted dossier by dossier, without going through the daily sums."""
    expected = {
        (row["period_code"], row["unit_code"], row["index_code"]): (float(row["numerator"]), float(row["denominator"]))
        for row in truth
        if row["index_code"] in "AB" and row["status"] == "scored"
    }
    with connect(night) as connection:
        rows = connection.execute(
            """
            select p.period_code, f.unit_code, f.index_code, sum(f.point), count(*)
            from (
                select unit_code, result_on, 'A' as index_code, point from facts.fct_a_timeliness where exclusion_reason is null
                union all
                select unit_code, result_on, 'B', point from facts.fct_b_guidance where exclusion_reason is null
            ) as f
            inner join core.dim_period as p on f.result_on >= p.period_start and f.result_on < p.period_end
            group by 1, 2, 3
            """
        ).fetchall()
    found = {row[:3]: (float(row[3]), float(row[4])) for row in rows}
    assert len(expected) > 1500
    assert {key: found.get(key) for key in expected} == expected


def test_the_second_night_loaded_changes_only_and_the_ledger_adds_up(night: Settings) -> None:
    with connect(night) as connection:
        batches = connection.execute(
            "select feed, loaded_rows, unchanged_rows, duplicate_rows + quarantined_rows, batch_id > "
            "(select min(f.batch_id) from ops.batch as f where f.feed = b.feed and f.window_end = %s) "
            "from ops.batch as b where feed in ('dossier', 'rating', 'dossier_sync', 'petition') order by batch_id",
            (FIRST_NIGHT,),
        ).fetchall()
        for feed in ("dossier", "rating", "dossier_sync", "petition"):
            first, second = (
                [row[1:] for row in batches if row[0] == feed and row[4] == later] for later in (False, True)
            )
            assert sum(row[1] for row in first) == 0  # nothing was known before the first night
            assert sum(row[1] for row in second) > 0  # the look-back read what it knew already
            loaded = [sum(row[0] for row in part) for part in (first, second)]
            assert 0 < loaded[1] < loaded[0]
            raw = connection.execute(sql.SQL("select count(*) from raw.{}").format(sql.Identifier(feed))).fetchone()
            assert raw == (sum(loaded),)
    assert sum(row[3] for row in batches) > 0  # duplicates and unreadable records were there to be found


def test_reconciliation_finds_every_difference_and_its_reason(night: Settings, said: Path) -> None:
    """City against portal per unit, day and status: reasons and counts as the sandbox made them, cell by cell."""
    with (said / "reconciliation_truth.csv").open(encoding="utf-8", newline="") as handle:
        expected = {
            (row["unit_code"], row["received_on"], row["status_code"], row["reason"]): (
                int(row["city_count"]),
                int(row["portal_count"]),
            )
            for row in csv.DictReader(handle)
        }
    with connect(night) as connection:
        found = {
            (unit, str(day), status, reason): (city, portal)
            for unit, day, status, reason, city, portal in connection.execute(
                "select unit_code, received_on, status_code, reason, city_count, portal_count from marts.reconciliation"
            )
        }
        sides = connection.execute(
            "select (select count(*) from core.core_dossier), (select count(*) from core.core_dossier_sync)"
        ).fetchone()
    wrong = {key: (expected.get(key), found.get(key)) for key in expected.keys() | found.keys()}
    wrong = {key: value for key, value in wrong.items() if value[0] != value[1]}
    assert len({reason for *_, reason in expected}) >= 10
    assert not wrong, f"{len(wrong)} of {len(expected)} cells differ, first: {sorted(wrong.items())[:8]}"
    assert sides == (sum(city for city, _ in found.values()), sum(portal for _, portal in found.values()))


def test_distortions_of_dossiers_are_found_as_often_as_they_were_made(night: Settings, said: Path) -> None:
    expected = json.loads((said / "counts.json").read_text(encoding="utf-8"))["distortions"]
    with connect(night) as connection:
        found = dict(connection.execute("select finding, count(*) from marts.dossier_finding group by 1").fetchall())
        found |= dict(
            connection.execute(
                "select reason, count(*) from marts.sync_difference where reason = 'code_replaced' group by 1"
            ).fetchall()
        )
    assert found == expected and min(expected.values()) > 0


def test_late_data_add_up_to_the_records_of_the_facts(night: Settings) -> None:
    """Per measure, unit and day of the event: what was loaded, whenever it came, is what counts."""
    with connect(night) as connection:
        wrong = connection.execute(
            """
            with facts as (
                select 'dossier_resolved' as measure, unit_code, result_on as event_on, count(*) as n
                from facts.fct_a_timeliness group by 2, 3
                union all
                select 'rating', unit_code, rated_on, count(*) from facts.fct_c_attitude group by 2, 3
                union all
                select 'dossier_received', resolving_unit_code, received_on, count(*) from core.core_dossier group by 2, 3
                union all
                select 'petition', unit_code, received_on, count(*) from core.core_petition group by 2, 3
            ),
            late as (
                select measure, unit_code, event_on, sum(record_count) as n from marts.late_data group by 1, 2, 3
            )
            select count(*) filter (where facts.n is distinct from late.n), count(*), count(distinct measure)
            from facts full join late
            on facts.measure = late.measure and coalesce(facts.unit_code, 'unknown') = late.unit_code
            and facts.event_on = late.event_on
            """.replace("count(distinct measure)", "count(distinct late.measure)")
        ).fetchone()
        batches = connection.execute(
            """
            select count(*) from marts.late_data as l
            where not exists (
                select 1 from ops.batch as b
                where b.feed = l.feed and (b.loaded_at at time zone 'Asia/Ho_Chi_Minh')::date = l.loaded_on
            ) or l.days_late <> l.loaded_on - l.event_on
            """
        ).fetchone()
    assert wrong is not None and wrong[0] == 0 and wrong[1] > 5000 and wrong[2] == 4
    assert batches == (0,)


def test_petitions_recounted_are_what_the_portal_counts(night: Settings) -> None:
    with connect(night) as connection:
        row = connection.execute(
            """
            select count(*), sum(portal_petitions), sum(resent), sum(not_yet_due), count(*) filter (
                where (portal_petitions, portal_on_time_denominator, portal_on_time_numerator,
                    portal_handling_denominator, portal_handling_numerator)
                is distinct from (received - refused, counted, in_time, counted, satisfied)
            ) from marts.petition_count where is_read and not d_window_mismatch
            """
        ).fetchone()
        differences = connection.execute("select distinct difference from marts.portal_difference").fetchall()
    assert row is not None and row[0] > 500 and row[1] > 100 and row[2] > 0 and row[3] > 0
    assert row[4] == 0
    assert {difference for (difference,) in differences} <= {"window"}
