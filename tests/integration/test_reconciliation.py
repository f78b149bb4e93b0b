"""What was deleted in the city is told apart from what never arrived; an unreadable newer version marks the one in force."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from psycopg import sql

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.integration.marts import built_beside

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OPTIONS = ("--size", "2500", "--seed", "5", "--deletions", "4")
SINCE = datetime(2026, 6, 15, tzinfo=ZONE)
EARLY, END = datetime(2026, 10, 14, 23, 59, 59, tzinfo=ZONE), datetime(2026, 11, 18, 23, 59, 59, tzinfo=ZONE)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    subprocess.run([sys.executable, "-m", "sandbox", "truth", "--out", str(folder), *OPTIONS], cwd=PROJECT, check=True)
    return folder


@pytest.fixture(scope="module")
def night(start_sandbox: Callable[..., Any], new_warehouse: Callable[..., Settings]) -> Settings:
    """Both sides read before and after dossiers were deleted in the city: nightly for the recent, by keys for the old."""
    sandbox = start_sandbox(*OPTIONS, "--clock", f"{EARLY:%Y%m%d%H%M%S}")
    settings = new_warehouse(**sandbox.env)
    for feed in ("unit_register", "procedure_register", "code_map"):
        ingest(settings, feed)
    for feed in ("dossier", "dossier_sync"):
        ingest(settings, feed, since=SINCE, until=EARLY)
    httpx.post(
        f"{sandbox.url}/_sandbox/clock",
        json={"now": f"{END:%Y%m%d%H%M%S}"},
        headers={"Authorization": f"Bearer {sandbox.env['HAILONG_SOURCE_TTHC_TOKEN']}"},
    ).raise_for_status()
    ingest(settings, "dossier_sync", now=END)
    for census in (False, False, True, True):
        ingest(settings, "dossier", now=END, census=census)
    build(settings)
    return settings


def rows(settings: Settings, text: str, *values: Any) -> list[tuple[Any, ...]]:
    with connect(settings) as connection:
        return connection.execute(text, values).fetchall()  # type: ignore[call-overload,no-any-return]


def test_deleted_dossiers_are_known_as_deleted(night: Settings, said: Path) -> None:
    deleted = json.loads((said / "counts.json").read_text(encoding="utf-8"))["dossier"]["deleted"]
    assert len(deleted) == 4
    found = rows(
        night, "select portal_dossier_code from marts.sync_difference where reason = 'deleted_at_city' order by 1"
    )
    assert [code for (code,) in found] == sorted(deleted)
    assert rows(night, "select count(*) from core.core_dossier where dossier_code = any(%s)", deleted) == [(0,)]


def test_reconciliation_with_deletions_is_the_sandboxs_cell_by_cell(night: Settings, said: Path) -> None:
    with (said / "reconciliation_truth.csv").open(encoding="utf-8", newline="") as handle:
        expected = sorted(tuple(row.values()) for row in csv.DictReader(handle))
    found = rows(
        night,
        "select unit_code, received_on::text, status_code, reason, city_count::text, portal_count::text "
        "from marts.reconciliation",
    )
    assert len(expected) > 1000
    assert sorted(found) == expected


def test_participants_of_interlinked_dossiers_are_kept_with_one_in_charge(night: Settings) -> None:
    counted = rows(
        night,
        "select count(distinct p.dossier_code), (select count(*) from core.core_dossier where is_interlinked),"
        " count(*) filter (where p.role_code = 'in_charge'),"
        " count(*) filter (where p.role_code = 'in_charge' and p.unit_code is distinct from d.resolving_unit_code)"
        " from core.core_dossier_participant as p inner join core.core_dossier as d using (dossier_code)",
    )[0]
    assert 80 < counted[0] == counted[1] == counted[2]
    assert counted[3] == 0


def test_steps_have_limits_and_no_persons(night: Settings) -> None:
    steps, limits, statuses = rows(
        night, "select count(*), count(limit_at), count(distinct status_code) from staging.stg_tthc__dossier_step"
    )[0]
    assert steps > 5000 and limits > 2500 and statuses >= 5
    assert rows(night, "select count(*) from raw.dossier where steps::text ~ 'Mẫu|NguoiXuLy'") == [(0,)]
    officials = rows(
        night, "select count(*), count(*) filter (where official !~ '^[0-9]{4}:[0-9a-f]{64}$') from raw.dossier"
    )
    assert officials[0][0] > 0 and officials[0][1] == 0


def test_a_stale_mark_appears_with_a_quarantined_version_and_goes_with_the_next_readable_one(night: Settings) -> None:
    code, version = rows(night, "select dossier_code, batch_id from core.core_dossier order by 1 limit 1")[0]

    def batch(**counts: int) -> int:
        names = ["loaded_rows", "unchanged_rows", "duplicate_rows", "quarantined_rows"]
        values = [counts.get(name, 0) for name in names]
        with connect(night) as connection, connection.transaction():
            row = connection.execute(
                "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, received_rows,"
                " loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows, started_at, contract_version,"
                " code_version) values ('dossier', %s, %s, 'test', encode(sha256(gen_random_uuid()::text::bytea), 'hex'),"
                " %s, %s, %s, %s, %s, now(), '1', '1') returning batch_id",
                (SINCE, END, sum(values), *values),
            ).fetchone()
            assert row is not None
            if counts.get("quarantined_rows"):
                connection.execute(
                    "insert into ops.quarantine (batch_id, feed, record_key, rule, detail) "
                    "values (%s, 'dossier', %s, 'bad_date', 'test')",
                    (row[0], code),
                )
            else:
                connection.execute(
                    "insert into raw.dossier (batch_id, record_key, op, version_hash, dossier_code, status_code,"
                    " received_at, resolving_unit_source_code) select %s, record_key, op, 'next', dossier_code,"
                    " status_code, received_at, resolving_unit_source_code from raw.dossier"
                    " where record_key = %s and batch_id = %s",
                    (row[0], code, version),
                )
        return int(row[0])

    def marks() -> list[tuple[Any, ...]]:
        assert rows(night, "select count(*) from core.core_dossier where is_stale") == rows(
            night, "select count(*) from marts.stale_record where feed = 'dossier'"
        )
        return rows(night, "select feed, record_key, batch_id from marts.stale_record")

    assert marks() == []
    unreadable = batch(quarantined_rows=1)
    build(night)
    assert marks() == [("dossier", code, version)]
    batch(loaded_rows=1)
    build(night)
    assert marks() == []
    with (
        built_beside(night, unreadable, "stale_record") as schema,
        connect(night) as connection,
    ):  # the past is as it was
        past = connection.execute(
            sql.SQL("select record_key from {}").format(sql.Identifier(schema, "stale_record"))
        ).fetchall()
    assert past == [(code,)]
