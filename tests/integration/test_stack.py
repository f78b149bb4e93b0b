"""The local Airflow stack, really started: who may sign, what is private, and that `kill -9` leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from hailong.airflow_api import AirflowApi, RefusedError
from hailong.publish import points
from hailong.settings import Settings
from hailong.stack import COMPONENTS, Stack
from hailong.warehouse.connect import airflow_uri
from hailong.warehouse.embedded import free_port
from tests.receivers import Hook, webhook

pytestmark = pytest.mark.slow
DAG_ID = "stub__sign"


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with webhook() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stack(
    new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory, hook: Hook
) -> Iterator[Stack]:
    settings = new_warehouse(HAILONG_SIGNERS="signer", HAILONG_WEBHOOK_URL=hook.url)
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(Path(__file__).parent / "stub_dags.py", dags / "stub_dags.py")
    made = Stack(settings, api_port=free_port(), dags=dags, scheduled=False)
    made.up(expected_dags=[DAG_ID])
    made.client("engineer").unpause(DAG_ID)
    try:
        yield made
    finally:
        made.down()


def ask(stack: Stack, conf: dict[str, str] | None = None) -> tuple[AirflowApi, str]:
    """Trigger as the engineer; wait for the question."""
    engineer = stack.client("engineer")
    run_id = engineer.trigger(DAG_ID, conf)
    assert engineer.wait_for_question(DAG_ID, run_id, "sign_off", timeout=60)
    return engineer, run_id


@pytest.mark.parametrize(("option", "approved"), [("Approve", True), ("Reject", False)])
def test_only_an_assigned_user_signs_and_the_answer_reaches_the_record(
    stack: Stack, option: str, approved: bool
) -> None:
    engineer, run_id = ask(stack)
    question: Any = engineer.question(DAG_ID, run_id, "sign_off")
    assert question["assigned_users"] == [{"id": "signer", "name": "signer"}]
    assert question["body"] == "người đề nghị: engineer"
    for name in ("engineer", "viewer"):
        with pytest.raises(RefusedError) as caught:
            stack.client(name).answer(DAG_ID, run_id, "sign_off", option)
        assert caught.value.status == 403
    answer = stack.client("signer").answer(DAG_ID, run_id, "sign_off", option)
    assert answer["responded_by"]["id"] == "signer"
    assert engineer.wait(DAG_ID, run_id, timeout=60) == "success"
    assert engineer.tasks(DAG_ID, run_id)["approved"]["state"] == ("success" if approved else "skipped")
    recorded = engineer.result(DAG_ID, run_id, "record")
    assert recorded == {"by": "signer", "approved": approved}


def deadlines(stack: Stack, run_id: str) -> list[tuple[datetime, bool]]:
    """(moment, missed) of a run, as Airflow has them."""
    with psycopg.connect(airflow_uri(stack.settings, "postgresql")) as connection:
        return connection.execute(
            "select deadline_time, missed from deadline join dag_run on dag_run.id = dagrun_id where run_id = %s",
            (run_id,),
        ).fetchall()


def test_a_run_has_the_due_moment_of_its_period_until_it_is_through(stack: Stack) -> None:
    """2027-12 ends on 14/12 and is due on Friday the 24th, 17:00 in Ho Chi Minh City."""
    engineer, run_id = ask(stack, {"period": "2027-12"})
    assert deadlines(stack, run_id) == [(datetime(2027, 12, 24, 10, tzinfo=UTC), False)]
    stack.client("signer").answer(DAG_ID, run_id, "sign_off", "Approve")
    assert engineer.wait(DAG_ID, run_id, timeout=60) == "success"
    assert deadlines(stack, run_id) == []


def test_a_run_without_a_due_moment_starts_all_the_same(stack: Stack) -> None:
    for conf in (None, {"period": "1999-01"}):
        assert deadlines(stack, stack.client("engineer").trigger(DAG_ID, conf)) == []


def test_when_the_due_moment_passes_the_watcher_looks_and_tells(stack: Stack, hook: Hook) -> None:
    assert hook.calls == []
    _, run_id = ask(stack, {"period": "2026-01"})
    until = time.monotonic() + 60
    while not hook.calls and time.monotonic() < until:
        time.sleep(0.2)
    assert [post["topic"] for post in hook.take()][:1] == ["deadline/watcher"]  # nothing was ever built here
    assert [missed for _, missed in deadlines(stack, run_id)] == [True]
    stack.client("signer").answer(DAG_ID, run_id, "sign_off", "Reject")


def test_what_the_signer_asked_for_has_no_signer_left(stack: Stack) -> None:
    signer = stack.client("signer")
    run_id = signer.trigger(DAG_ID)
    assert signer.wait(DAG_ID, run_id, timeout=60) == "failed"


def test_a_second_up_changes_nothing_and_files_with_secrets_are_private(stack: Stack) -> None:
    assert stack.up(expected_dags=[DAG_ID]) is False
    for name in ("passwords.json", "keys.json", "airflow.cfg"):
        assert stat.S_IMODE((stack.home / name).stat().st_mode) == 0o600, name
    for folder, _, names in os.walk(stack.logs):
        assert stat.S_IMODE(Path(folder).stat().st_mode) & 0o077 == 0, folder
        assert not [name for name in names if stat.S_IMODE((Path(folder) / name).stat().st_mode) & 0o077]


def test_data_docs_are_shown_to_whoever_is_logged_in_and_nothing_else_is(stack: Stack) -> None:
    docs = stack.settings.data_docs / "2026-11.c1.g1"
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "index.html").write_text("<h1>Data Docs</h1>")
    path = "/hailong/data_docs/2026-11.c1.g1/index.html"
    assert httpx.get(stack.url + path, trust_env=False).status_code == 401
    token = httpx.post(
        f"{stack.url}/auth/token", json={"username": "viewer", "password": stack.passwords()["viewer"]}, trust_env=False
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert "Data Docs" in httpx.get(stack.url + path, headers=headers, trust_env=False).text
    assert (
        "data_docs/2026-11.c1.g1/index.html"
        in httpx.get(f"{stack.url}/hailong/", headers=headers, trust_env=False).text
    )
    edition = stack.settings.editions / "2026-11.e1"
    edition.mkdir(parents=True, exist_ok=True)
    for name in ("months.csv", points.NAME, ".being-made"):
        (edition / name).write_text("x")
    served = f"{stack.url}/hailong/editions/2026-11.e1/"
    assert httpx.get(f"{served}months.csv", headers=headers, trust_env=False).status_code == 200
    shown = httpx.get(f"{stack.url}/hailong/", headers=headers, trust_env=False).text
    assert "editions/2026-11.e1/months.csv" in shown
    for name in (points.NAME, ".being-made"):
        assert httpx.get(served + name, headers=headers, trust_env=False).status_code == 404
        assert name not in shown
    outside = "/hailong/data_docs/%2e%2e/airflow/passwords.json"
    assert httpx.get(stack.url + outside, headers=headers, trust_env=False).status_code == 404


def test_killed_components_are_found_again_and_nothing_is_left_after_down(stack: Stack) -> None:
    before = stack._family()
    assert set(stack.running()) == set(COMPONENTS) and len(before) > len(COMPONENTS)
    for name in ("scheduler", "api-server"):
        process = stack._process(name)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(0.5)
    assert stack.running() == ("dag-processor",)
    assert stack.up(expected_dags=[DAG_ID]) is True
    assert not [process for process in before if alive(process)]
    everything = stack._family()
    assert stack.down() is True
    assert not [process for process in everything if alive(process)]
    assert stack.down() is False


def alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
