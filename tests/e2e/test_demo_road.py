"""The whole road on a small sandbox, by a real scheduler and two people: nights, build, gate, signature, edition; twice."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from hailong import sandbox_process
from hailong.demo import DAGS, END, PERIOD, REQUESTER, SIGNER, demo
from hailong.settings import Settings
from hailong.stack import Stack
from hailong.warehouse.connect import airflow_uri, connect

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]
SIZE = 3000


@dataclass
class Played:
    """A warehouse after two demos, and what each of them said."""

    settings: Settings
    first: str
    second: str
    ledger: list[tuple[Any, ...]]  # per feed after the first demo: loaded, batches
    airflow: list[tuple[Any, ...]]  # Airflow's runs: dag, state, who, how often


def query(settings: Settings, text: str, *values: object) -> list[tuple[Any, ...]]:
    with connect(settings, role="hailong_reader") as connection:
        return connection.execute(text.encode(), values).fetchall()


def play(settings: Settings) -> str:
    said = io.StringIO()
    demo(settings, Console(file=said, width=180), size=SIZE)
    return said.getvalue()


LEDGER = (
    "select feed, sum(loaded_rows), sum(unchanged_rows), sum(received_rows) from ops.batch group by feed order by feed"
)


@pytest.fixture(scope="module")
def played(new_warehouse: Callable[..., Settings]) -> Iterator[Played]:
    settings = new_warehouse()
    metadata = airflow_uri(settings, "postgresql")
    try:
        first = play(settings)
        ledger = query(settings, LEDGER)
        second = play(settings)
        with psycopg.connect(metadata) as connection:
            runs = connection.execute(
                "select dag_id, state, triggering_user_name, count(*) from dag_run group by 1, 2, 3 order by 1"
            ).fetchall()
        yield Played(settings, first, second, ledger, runs)
    finally:
        Stack(settings).down()
        sandbox_process.stop(settings)
        with connect(settings, autocommit=True) as connection:
            name = sql.Identifier(str(conninfo_to_dict(metadata)["dbname"]))
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))


def test_a_real_scheduler_ran_every_dag_for_the_requester(played: Played) -> None:
    assert {(dag_id, state, user) for dag_id, state, user, _ in played.airflow} == {
        (dag_id, "success", REQUESTER) for dag_id in DAGS
    }


def test_the_edition_was_signed_by_somebody_else_than_asked_for_it(played: Played) -> None:
    rows = query(
        played.settings,
        "select e.edition_id, c.requested_by, a.decided_by, a.decision, a.channel, a.content_sha256 = c.content_sha256,"
        " e.content_sha256 = c.content_sha256 from publish.edition as e join publish.candidate as c using (candidate_id)"
        " join publish.approval as a using (candidate_id)",
    )
    assert rows == [(f"{PERIOD}.e1", REQUESTER, SIGNER, "approved", "airflow", True, True)]
    assert f"'{REQUESTER}', who asked for it, may not sign" in played.first


def test_a_second_demo_loads_nothing_twice_and_publishes_no_second_edition(played: Played) -> None:
    before = {feed: (loaded, unchanged) for feed, loaded, unchanged, _ in played.ledger}
    after = {feed: (loaded, unchanged) for feed, loaded, unchanged, _ in query(played.settings, LEDGER)}
    assert {feed: loaded for feed, (loaded, _) in before.items()} == {
        feed: loaded for feed, (loaded, _) in after.items()
    }
    assert after["dossier"][1] >= before["dossier"][0] / 2  # read again, found unchanged
    assert query(played.settings, "select count(*) from publish.edition") == [(1,)]
    assert query(played.settings, "select count(*) from publish.approval") == [(1,)]
    assert "nothing was loaded twice, and no second edition was published" in played.second
    assert "no second edition" not in played.first


def test_the_edition_says_what_the_sandbox_intended(played: Played, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "truth", "--out", str(tmp_path), "--size", str(SIZE), "--end", str(END)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    with (tmp_path / "index_truth.csv").open(encoding="utf-8", newline="") as handle:
        truth = {
            (row["unit_code"], row["index_code"]): (row["status"], Decimal(row["value"]) if row["value"] else None)
            for row in csv.DictReader(handle)
            if row["period_code"] == PERIOD
        }
    published = {
        (unit, index): (status, value)
        for unit, index, status, value in query(
            played.settings, "select unit_code, index_code, status, value from publish.index_score"
        )
    }
    assert len(truth) > 900
    assert published == truth


def test_the_report_is_in_place_and_recorded_with_its_checksum(played: Played) -> None:
    artifacts = query(played.settings, "select edition_id, name, bytes, sha256 from publish.artifact")
    assert any(name.endswith(".xlsx") for _, name, _, _ in artifacts)
    for edition_id, name, size, digest in artifacts:
        content = (played.settings.editions / edition_id / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)


def test_the_demo_shows_what_it_did_and_where_to_look(played: Played) -> None:
    for text in (f"{PERIOD}.e1", "satisfied", "Ledger", "dossier", "Report", "Data Docs", "make up", "passwords.json"):
        assert text in played.first, text
    report = next((played.settings.editions / f"{PERIOD}.e1").glob("*.xlsx"))
    assert report.is_file()


def test_nothing_the_demo_started_is_left(played: Played) -> None:
    assert Stack(played.settings).running() == ()
    assert sandbox_process.stop(played.settings) is False
