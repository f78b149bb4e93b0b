"""What the sandbox intended, by unit, period and index, is what the warehouse finds after two nights over HTTP."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect

PROJECT = Path(__file__).resolve().parents[2]
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OPTIONS = ("--size", "6000", "--seed", "7")
SINCE = datetime(2026, 6, 15, tzinfo=ZONE)
FIRST_NIGHT, END = datetime(2026, 10, 14, 23, 59, 59, tzinfo=ZONE), datetime(2026, 11, 18, 23, 59, 59, tzinfo=ZONE)
REGISTERS = ("unit_register", "procedure_register", "code_map")
NIGHTLY = ("dossier", "rating", "portal_evaluation")


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
def truth(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("truth")
    subprocess.run([sys.executable, "-m", "sandbox", "truth", "--out", str(folder), *OPTIONS], cwd=PROJECT, check=True)
    with (folder / "index_truth.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_marts_equal_the_truth_by_unit_period_and_index(night: Settings, truth: list[dict[str, str]]) -> None:
    with connect(night) as connection:
        rows = connection.execute(
            "select period_code, unit_code, index_code, numerator, denominator, excluded, status, value from marts.index_score"
        ).fetchall()
    found = {row[:3]: row[3:] for row in rows}
    wrong = []
    for row in truth:
        key = (row["period_code"], row["unit_code"], row["index_code"])
        numerator, denominator, excluded, status, value = found.get(key, (None, None, None, "missing", None))
        said = [row[name] or None for name in ("numerator", "denominator", "excluded", "value")]
        ours = [numerator, denominator, excluded, value]
        same = all(
            (a is None) == (b is None) and (a is None or float(a) == float(b)) for a, b in zip(said, ours, strict=True)
        )
        if not same or status != row["status"]:
            wrong.append((key, (row["status"], said), (status, [None if v is None else str(v) for v in ours])))
    assert len(truth) > 4000
    assert not wrong, f"{len(wrong)} of {len(truth)} differ, first: {wrong[:8]}"


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
            "select feed, received_rows, loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows "
            "from ops.batch where feed in ('dossier', 'rating') order by batch_id"
        ).fetchall()
        raw = dict(
            connection.execute(
                "select 'dossier', count(*) from raw.dossier union all select 'rating', count(*) from raw.rating"
            ).fetchall()
        )
    for feed in ("dossier", "rating"):
        first, second = (row[1:] for row in batches if row[0] == feed)
        assert first[2] == 0  # nothing was known before the first night
        assert second[2] > 0  # the look-back read what it knew already
        assert 0 < second[1] < first[1]
        assert first[1] + second[1] == raw[feed]
    assert sum(row[4] + row[5] for row in batches) > 0  # duplicates and unreadable records were there to be found
