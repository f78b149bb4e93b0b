"""The whole road on a small sandbox, by a real scheduler and two people: nights, build, gate, signature, edition; twice."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from rich.console import Console

from expectations import gate
from hailong import sandbox_process
from hailong.airflow_api import RefusedError
from hailong.demo import DAGS, END, PERIOD, REQUESTER, SIGNER, demo
from hailong.publish.edition import digests_of
from hailong.publish.verify import verify
from hailong.settings import Settings
from hailong.stack import Stack
from hailong.warehouse.connect import airflow_uri, connect
from hailong.warehouse.embedded import free_port
from tests.integration.test_increments import load

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


# -- what was said stays said: three months and their quarter, then the past changes ---------------------------------------

MONTHS, QUARTER = ("2026-07", "2026-08", "2026-09"), "2026-Q3"
RESTATED = "2026-08"
REASON = "Đơn vị nộp bù và đính chính hồ sơ tháng 8"


@dataclass
class Corrected:
    """Editions before the past changed, and what the people saw."""

    files: dict[str, dict[str, str]]
    stopped: tuple[
        str, set[str], list[tuple[Any, ...]]
    ]  # a run that the gate stopped: state, tasks that succeeded, editions
    asked: str  # the body of the sign-off of the restatement
    refused: int  # what Airflow answered who asked for it and wanted to sign


def publish(stack: Stack, dag_id: str, *confs: dict[str, str]) -> list[tuple[str, str, int]]:
    """Trigger side by side as one person, sign as another: ends of the runs, what was to be signed, how the first was refused."""
    asks, signs = stack.client(REQUESTER), stack.client(SIGNER)
    runs = [asks.trigger(dag_id, conf) for conf in confs]
    seen = []
    for run_id in runs:
        question = asks.wait_for_question(dag_id, run_id, "sign_off")
        assert question is not None, run_id
        with pytest.raises(RefusedError) as refused:
            asks.answer(dag_id, run_id, "sign_off", "Approve")
        signs.answer(dag_id, run_id, "sign_off", "Approve")
        seen.append((question["body"], refused.value.status))
    return [(asks.wait(dag_id, run_id), *told) for run_id, told in zip(runs, seen, strict=True)]


def change_the_past(settings: Settings) -> None:
    """Of August: two dossiers come late, one is deleted at the source, one gets another result."""
    with connect(settings) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "select r.* from raw.dossier as r inner join facts.fct_a_timeliness as a on r.record_key = a.dossier_code "
            "inner join core.core_dossier as d on a.dossier_code = d.dossier_code and r.batch_id = d.batch_id "
            "where a.point = 1 and a.result_on >= '2026-07-20' and a.result_on < '2026-08-10' and not a.result_is_date "
            "and r.due_at is not null order by r.record_key limit 3"
        ).fetchall()
    kept = [
        {name: value for name, value in row.items() if name not in ("batch_id", "record_key", "op", "version_hash")}
        for row in rows
    ]
    late = {
        f"{rows[0]['record_key']}-nop-bu-{n}": kept[0]
        | {"dossier_code": f"{rows[0]['record_key']}-nop-bu-{n}", "due_at": kept[0]["received_at"]}
        for n in (1, 2)
    }
    load(settings, "dossier", late)
    load(settings, "dossier", {rows[1]["record_key"]: None})
    load(settings, "dossier", {rows[2]["record_key"]: kept[2] | {"finished_at": kept[2]["due_at"] + timedelta(days=1)}})


@pytest.fixture(scope="module")
def corrected(played: Played) -> Iterator[Corrected]:
    settings = played.settings
    stack = Stack(settings, api_port=free_port(), scheduled=False, environment={"HAILONG_SIGNERS": SIGNER})
    dags = ("publish__period", "restate__period", "build__warehouse")
    try:
        stack.up(expected_dags=dags)
        api = stack.client(REQUESTER)
        for dag_id in dags:
            api.unpause(dag_id)
        # Somebody changed a K behind the program's back: the gate stops it in the middle.
        spoil = "update marts.k_score set k = k + 1 where period_code = '2026-10' and k is not null and k < 20"
        with connect(settings) as connection:
            assert connection.execute(spoil).rowcount
        run_id = api.trigger("publish__period", {"period": "2026-10"})
        state = api.wait("publish__period", run_id)
        passed = {name for name, task in api.tasks("publish__period", run_id).items() if task["state"] == "success"}
        stopped = (
            state,
            passed,
            query(settings, "select edition_id from publish.edition where period_code = '2026-10'"),
        )
        said = publish(stack, "publish__period", *({"period": period} for period in (*MONTHS, QUARTER)))
        assert [state for state, _, _ in said] == ["success"] * len(said)
        files = {f"{period}.e1": digests_of(settings.editions / f"{period}.e1") for period in (*MONTHS, QUARTER)}
        change_the_past(settings)
        run_id = api.trigger("build__warehouse", {})
        assert api.wait("build__warehouse", run_id) == "success"
        [(state, asked, refused)] = publish(stack, "restate__period", {"period": RESTATED, "reason": REASON})
        assert state == "success"
        yield Corrected(files, stopped, asked, refused)
    finally:
        stack.down()


def test_what_the_gate_stops_is_not_published(corrected: Corrected) -> None:
    state, passed, editions = corrected.stopped
    assert (state, passed, editions) == ("failed", {"candidate"}, [])


def test_three_months_and_their_quarter_stay_byte_for_byte_when_the_past_changes(
    played: Played, corrected: Corrected
) -> None:
    for edition_id, files in corrected.files.items():
        assert files, edition_id
        assert digests_of(played.settings.editions / edition_id) == files, edition_id
    assert any(name.startswith("du-lieu-mo/") for name in corrected.files[f"{QUARTER}.e1"])
    assert not any(name.startswith("du-lieu-mo/") for name in corrected.files[f"{RESTATED}.e1"])
    assert verify(played.settings, chain=True).holds


def test_the_restatement_says_why_each_number_changed_and_was_signed_by_somebody_else(
    played: Played, corrected: Corrected
) -> None:
    assert corrected.refused == 403
    assert REASON in corrected.asked and f"thay ấn bản {RESTATED}.e1" in corrected.asked
    diff = query(
        played.settings,
        "select index_code, cause, contribution, was, now, unit_code from publish.edition_diff where edition_id = %s",
        f"{RESTATED}.e2",
    )
    assert {cause for index, cause, *_ in diff if index == "A"} == {"late", "deleted", "corrected"}
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for index, _, contribution, was, now, unit in diff:
        sums.setdefault((unit, index), [now - was, Decimal(0)])[1] += contribution
    assert all(whole == parts for whole, parts in sums.values()), sums
    signed = query(
        played.settings,
        "select c.requested_by, a.decided_by, e.reason, e.supersedes from publish.edition as e "
        "inner join publish.candidate as c using (candidate_id) inner join publish.approval as a using (candidate_id) "
        "where e.edition_id = %s",
        f"{RESTATED}.e2",
    )
    assert signed == [(REQUESTER, SIGNER, REASON, f"{RESTATED}.e1")]


def test_a_quarter_whose_month_was_corrected_is_a_finding(played: Played, corrected: Corrected) -> None:
    gate.run_landed(played.settings)
    assert query(
        played.settings, "select scope from dq.finding where expectation_id = 'published.parts_as_counted'"
    ) == [(QUARTER,)]
