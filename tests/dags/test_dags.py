"""The DAG folder declares exactly these DAGs, by light, thin files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template

PROJECT = Path(__file__).resolve().parents[2]
FEEDS = (
    "authority_evaluation", "code_map", "dossier", "dossier_sync", "internal_evaluation", "petition", "portal_evaluation",
    "posting_check", "procedure_register", "rating", "record_dispute", "self_evaluation", "survey_result", "unit_action",
    "unit_explanation", "unit_register",
)  # fmt: skip
COUNTED = (  # event feeds with a cursor: what is gone is found by absence
    "authority_evaluation", "dossier", "dossier_sync", "internal_evaluation", "petition", "rating", "record_dispute",
    "unit_action", "unit_explanation",
)  # fmt: skip
DAG_IDS = {
    "build__warehouse", "publish__period", "restate__period", "watch__deadline",
    *(f"ingest__{feed}" for feed in FEEDS), *(f"census__{feed}" for feed in COUNTED),
}  # fmt: skip
TAGS = {"ingest", "census", "event", "register", "build", "publish", "watch", "blocks-25th"}


def describe(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "HAILONG_SIGNERS": "signer,deputy",
    }
    command = [sys.executable, str(Path(__file__).parent / "describe_dags.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=PROJECT, timeout=120, check=False)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = describe(PROJECT / "dags", tmp_path_factory.mktemp("airflow"))
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_folder_declares_exactly_the_listed_dags(described: dict[str, Any]) -> None:
    assert described["errors"] == {}
    assert set(described["dags"]) == DAG_IDS


@pytest.mark.parametrize("make_it", [False, True])
def test_a_missing_or_empty_folder_is_refused(tmp_path: Path, make_it: bool) -> None:
    folder = tmp_path / "dags"
    if make_it:
        folder.mkdir()
    done = describe(folder, tmp_path)
    assert done.returncode != 0
    assert "no DAG files" in done.stderr


def test_a_broken_dag_file_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "broken.py").write_text("from airflow.sdk import DAG\nraise RuntimeError('broken')\n")
    done = describe(folder, tmp_path)
    assert json.loads(done.stdout.splitlines()[-1])["errors"]


def test_parsing_the_dags_imports_nothing_heavy(described: dict[str, Any]) -> None:
    assert described["heavy"] == []


def test_dag_files_are_thin_and_import_only_the_sdk_and_light_modules() -> None:
    files = sorted((PROJECT / "dags").glob("*.py"))
    assert [path.name for path in files] == ["build.py", "ingest.py", "publish.py", "restate.py", "watch_deadline.py"]
    allowed = ("airflow.sdk", "airflow.providers.standard.", "datetime", "hailong.")
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 120, path.name
        modules = [line.split()[1] for line in lines if line.startswith(("import ", "from "))]
        assert [module for module in modules if not module.startswith(allowed)] == [], path.name


def test_every_dag_says_who_owns_it_and_what_it_is(described: dict[str, Any]) -> None:
    for dag_id, dag in described["dags"].items():
        assert dag["owner"] not in ("", "airflow"), dag_id
        assert dag["tags"] and set(dag["tags"]) <= TAGS, dag_id
        assert len(dag["doc_md"]) > 100, dag_id
        assert dag["catchup"] is False, dag_id
        assert dag["max_active_runs"] == (4 if dag_id == "publish__period" else 1), dag_id


def test_every_schedule_is_in_local_time(described: dict[str, Any]) -> None:
    for dag_id, dag in described["dags"].items():
        if dag_id in ("publish__period", "restate__period"):
            assert dag["cron"] is None
        else:
            assert dag["cron"] and dag["timezone"] == "Asia/Ho_Chi_Minh", dag_id


def test_registers_come_before_events_and_events_before_the_build(described: dict[str, Any]) -> None:
    def minute(dag_id: str) -> int:
        fields = described["dags"][dag_id]["cron"].split()
        return int(fields[1]) * 60 + int(fields[0])

    registers = [dag_id for dag_id, dag in described["dags"].items() if "register" in dag["tags"]]
    events = [dag_id for dag_id, dag in described["dags"].items() if {"ingest", "event"} <= set(dag["tags"])]
    censuses = [dag_id for dag_id, dag in described["dags"].items() if "census" in dag["tags"]]
    assert len(registers) == 3 and len(events) == len(FEEDS) - 3
    assert max(map(minute, registers)) < min(map(minute, events))
    assert max(map(minute, events)) < minute("build__warehouse") < min(map(minute, censuses))
    assert max(map(minute, censuses)) < minute("watch__deadline")


@pytest.mark.parametrize(
    ("dag_id", "params"), [("publish__period", ["late", "period"]), ("restate__period", ["period", "reason"])]
)
def test_the_sign_off_stands_between_gate_and_edition_and_names_who_may_sign(
    described: dict[str, Any], dag_id: str, params: list[str]
) -> None:
    dag = described["dags"][dag_id]
    assert dag["params"] == params
    assert dag["upstream"] == {
        "candidate": [],
        "gate": ["candidate"],
        "sign_off": ["gate"],
        "approved": ["sign_off"],
        "record": ["approved"],
        "publish": ["approved", "record"],
        "report": ["publish"],
    }
    assert [user["id"] for user in dag["assigned_users"]["sign_off"]] == ["signer", "deputy"]


def test_only_a_publication_has_the_due_moment_of_its_period_as_deadline(described: dict[str, Any]) -> None:
    found = {dag_id: dag["deadlines"] for dag_id, dag in described["dags"].items() if dag["deadlines"]}
    assert found == {"publish__period": [["PeriodDue", "hailong.airflow_deadline.tell"]]}


def test_the_watcher_tells_what_it_sees(described: dict[str, Any]) -> None:
    *command, tells = described["dags"]["watch__deadline"]["commands"]["check"]
    assert command == ["status", "--deadline"]
    for today, tell, told in ((None, False, "--notify"), ("2026-10-22", False, ""), ("2026-10-22", True, "--notify")):
        assert Template(tells).render(params={"today": today, "tell": tell}) == told
    assert described["dags"]["watch__deadline"]["params"] == ["tell", "today"]


def test_owners_are_told_also_when_the_gate_stopped_and_the_night_is_still_judged_by_it(
    described: dict[str, Any],
) -> None:
    """A run is judged by its leaves: the only one wants all of them."""
    dag = described["dags"]["build__warehouse"]
    assert dag["upstream"] == {
        "build": [], "gate": ["build"], "digest": ["gate"], "done": ["build", "digest", "gate"],
    }  # fmt: skip
    assert (dag["rules"]["digest"], dag["rules"]["done"]) == ("all_done", "all_success")
    assert dag["commands"]["digest"] == ["findings", "digest"]


def test_ingest_dags_take_a_window_or_a_file(described: dict[str, Any]) -> None:
    for feed in FEEDS:
        assert described["dags"][f"ingest__{feed}"]["params"] == ["file", "max_delete_share", "since", "until"]


def test_a_census_is_taken_on_two_nights_a_month_where_deletions_are_found_by_absence(
    described: dict[str, Any],
) -> None:
    """Two: a record is deleted when two complete reads in a row lack it. A month between them would be too late."""
    for feed in COUNTED:
        dag = described["dags"][f"census__{feed}"]
        assert dag["cron"].split()[2] == "5,6" and dag["cron"].split()[3:] == ["*", "*"]
        assert dag["params"] == ["max_delete_share"]
        assert dag["tags"] == ["census", "event"]
        assert dag["owner"] == described["dags"][f"ingest__{feed}"]["owner"]


def test_every_dag_stands_in_the_table_of_the_readme_with_its_times(described: dict[str, Any]) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    rows = {}
    for line in readme.splitlines():
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5:
            for dag_id in re.findall(r"`([a-z]+__[a-z_]+)`", cells[0]):
                rows[dag_id] = cells
    assert set(rows) == DAG_IDS
    for dag_id, dag in described["dags"].items():
        if dag["cron"] is None:
            continue
        minute, hour = (int(field) for field in dag["cron"].split()[:2])
        assert rows[dag_id][1].endswith(f"{hour:02}:{minute:02}"), dag_id
        assert rows[dag_id][2].endswith(f"{(hour - 7) % 24:02}:{minute:02}"), dag_id
        assert rows[dag_id][4].startswith(("yes", "no")), dag_id
