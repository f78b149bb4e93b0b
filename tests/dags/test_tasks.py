"""How a task treats the exit status of the command line, and who may sign."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from hailong import airflow_tasks
from hailong.airflow_connections import of_environment, source_environment
from hailong.airflow_tasks import HailongOperator, RecordAnswer, SignOff


class Pushed:
    """A task instance that only remembers."""

    id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, **values: Any) -> None:
        self.values: dict[str, Any] = values

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.values.get(f"{task_ids}.{key}")


def run(monkeypatch: pytest.MonkeyPatch, status: int, answer: dict[str, Any] | None = None, **options: Any) -> Any:
    task = HailongOperator(task_id="t", command=["build"], **options)
    monkeypatch.setattr(task, "_call", lambda arguments: (status, answer))
    return task.execute({"ti": Pushed()})


def test_success_returns_the_json_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, 0, {"build_id": 1}) == {"build_id": 1}


@pytest.mark.parametrize("status", [1, 2])
def test_a_refusal_or_wrong_use_is_never_retried(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with pytest.raises(AirflowFailException):
        run(monkeypatch, status)


@pytest.mark.parametrize("status", [75, -9, -15])
def test_a_transient_failure_or_a_killed_process_may_be_retried(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    with pytest.raises(AirflowException) as caught:
        run(monkeypatch, status)
    assert not isinstance(caught.value, AirflowFailException)


def test_nothing_to_do_skips_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowSkipException):
        run(monkeypatch, 0, {"published_as": "2026-11.e1"}, skip_when="published_as")
    assert run(monkeypatch, 0, {"published_as": None}, skip_when="published_as") == {"published_as": None}


def test_empty_options_are_left_out_and_the_real_command_line_is_called() -> None:
    task = HailongOperator(task_id="t", command=["--version", ""], options={"--since": "", "--until": "None"})
    assert task.execute({"ti": Pushed()}) is None
    with pytest.raises(AirflowFailException, match="exit 2"):
        HailongOperator(task_id="t", command=["nonsense"]).execute({"ti": Pushed()})


def seen_by_the_process(monkeypatch: pytest.MonkeyPatch, source: tuple[str, str]) -> dict[str, str]:
    """The HAILONG_SOURCE variables in the environment of the task's process."""
    script = (
        "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('HAILONG_SOURCE_')}))"
    )
    popen = airflow_tasks.subprocess.Popen

    def instead(command: list[str], **options: Any) -> Any:
        assert not [part for part in command if "s3cret" in part]
        return popen([command[0], "-c", script], **options)

    monkeypatch.setattr(airflow_tasks.subprocess, "Popen", instead)
    for name in [name for name in os.environ if name.startswith("HAILONG_SOURCE_")]:
        monkeypatch.delenv(name)
    return HailongOperator(task_id="t", command=["ingest", "x"], source=source).execute({"ti": Pushed()}) or {}


@pytest.mark.parametrize(
    ("system", "connector", "connection", "expected"),
    [
        (
            "tthc", "PagedHttp",
            {"conn_type": "http", "host": "tthc.example.invalid", "schema": "https", "port": 8443, "password": "s3cret"},
            {"HAILONG_SOURCE_TTHC_URL": "https://tthc.example.invalid:8443", "HAILONG_SOURCE_TTHC_TOKEN": "s3cret"},
        ),
        (
            "portal", "PortalWindows",
            {"conn_type": "http", "host": "http://portal.example.invalid/base", "password": "s3cret"},
            {"HAILONG_SOURCE_PORTAL_URL": "http://portal.example.invalid/base", "HAILONG_SOURCE_PORTAL_TOKEN": "s3cret"},
        ),
        (
            "institutional", "SqlView",
            {"conn_type": "postgres", "host": "db.example.invalid", "port": 5432, "schema": "city", "login": "reader",
             "password": "s3cret/@"},
            {"HAILONG_SOURCE_INSTITUTIONAL_URL": "postgresql+psycopg://reader:s3cret%2F%40@db.example.invalid:5432/city"},
        ),
        (
            "survey", "FileDrop",
            {"conn_type": "aws", "host": "s3://drops/survey", "login": "key-id", "password": "s3cret",
             "extra": {"endpoint_url": "https://s3.example.invalid"}},
            {"HAILONG_SOURCE_SURVEY_DROP": "s3://drops/survey",
             "HAILONG_SOURCE_SURVEY_OPTIONS": '{"key": "key-id", "secret": "s3cret", '
                                              '"endpoint_url": "https://s3.example.invalid"}'},
        ),
        (
            "inspection", "FileDrop",
            {"conn_type": "sftp", "host": "sftp.example.invalid", "schema": "drop", "port": 2222, "login": "hailong",
             "password": "s3cret"},
            {"HAILONG_SOURCE_INSPECTION_DROP": "sftp://sftp.example.invalid/drop",
             "HAILONG_SOURCE_INSPECTION_OPTIONS": '{"username": "hailong", "password": "s3cret", "port": 2222}'},
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["HAILONG_", ""])
def test_where_no_address_is_set_it_comes_from_the_connection_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, connector: str, connection: dict[str, Any],
    expected: dict[str, str], prefix: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(f"AIRFLOW_CONN_{prefix}{system.upper()}", json.dumps(connection))
    assert seen_by_the_process(monkeypatch, (system, connector)) == expected


def test_an_address_in_the_environment_wins_over_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HAILONG_TTHC", json.dumps({"conn_type": "http", "host": "other.example.invalid"}))
    env = {"HAILONG_SOURCE_TTHC_URL": "http://here.example.invalid"}
    assert source_environment("tthc", "PagedHttp", env) == {}


def test_without_either_the_command_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_environment("tthc", "PagedHttp", {}) == {}


@pytest.mark.parametrize(
    ("system", "connector", "env"),
    [
        ("tthc", "PagedHttp", {"HAILONG_SOURCE_TTHC_URL": "https://t.example.org:8443/base", "HAILONG_SOURCE_TTHC_TOKEN": "s/@"}),
        ("institutional", "SqlView", {"HAILONG_SOURCE_INSTITUTIONAL_URL": "sqlite:////var/lib/city.sqlite"}),
        (
            "institutional", "SqlView",
            {"HAILONG_SOURCE_INSTITUTIONAL_URL": "postgresql+psycopg://r:s3%2F%40@db.example.org:5433/city?sslmode=require"},
        ),
        ("unit_office", "FileDrop", {"HAILONG_SOURCE_UNIT_OFFICE_DROP": "/drop", "HAILONG_SOURCE_UNIT_OFFICE_OPTIONS": "{}"}),
        (
            "survey", "FileDrop",
            {"HAILONG_SOURCE_SURVEY_DROP": "s3://drops/x", "HAILONG_SOURCE_SURVEY_OPTIONS": '{"key": "k", "secret": "s"}'},
        ),
    ],
)  # fmt: skip
def test_what_the_environment_says_of_a_source_can_be_kept_as_a_connection(
    monkeypatch: pytest.MonkeyPatch, system: str, connector: str, env: dict[str, str]
) -> None:
    beside = {
        "HAILONG_SOURCE_UNIT_OFFICE_URL": "https://u.example.org"
    } | env  # one system may have an address and a folder
    for name, fields in of_environment(beside).items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))
    assert source_environment(system, connector, {}) == env


def test_an_address_is_never_taken_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_UNIT_OFFICE", json.dumps({"conn_type": "http", "host": "https://u.example.org"}))
    assert source_environment("unit_office", "FileDrop", {}) == {}


def test_a_connection_without_a_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TTHC", json.dumps({"conn_type": "http", "password": "s3cret"}))
    with pytest.raises(AirflowFailException, match="'tthc' has no host") as caught:
        source_environment("tthc", "PagedHttp", {})
    assert "s3cret" not in str(caught.value)


def sign_off(monkeypatch: pytest.MonkeyPatch, signers: str) -> SignOff:
    monkeypatch.setenv("HAILONG_SIGNERS", signers)
    monkeypatch.setattr(airflow_tasks.ApprovalOperator, "execute", lambda self, context: self.assigned_users)
    return SignOff(task_id="sign_off", subject="subject")


def test_the_requester_is_struck_off_the_signers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Pushed(**{"candidate.return_value": {"requested_by": "deputy"}})
    context = {"dag_run": SimpleNamespace(triggering_user_name="engineer"), "ti": found}
    assert sign_off(monkeypatch, "engineer, signer, deputy").execute(context) == [{"id": "signer", "name": "signer"}]


@pytest.mark.parametrize("signers", ["", "engineer"])
def test_without_another_signer_the_sign_off_fails_instead_of_letting_anyone_answer(
    monkeypatch: pytest.MonkeyPatch, signers: str
) -> None:
    context = {"dag_run": SimpleNamespace(triggering_user_name="engineer"), "ti": Pushed()}
    with pytest.raises(AirflowFailException, match="HAILONG_SIGNERS"):
        sign_off(monkeypatch, signers).execute(context)


@pytest.mark.parametrize("approved", [True, False])
def test_the_answer_is_recorded_with_its_author_and_the_warnings_shown(
    monkeypatch: pytest.MonkeyPatch, approved: bool
) -> None:
    called: list[list[str]] = []
    task = RecordAnswer(task_id="record")
    monkeypatch.setattr(task, "_call", lambda arguments: (called.append(arguments), (0, None))[1])
    task.execute(
        {
            "ti": Pushed(
                **{
                    "sign_off.answer": {"by": "signer", "approved": approved},
                    "gate.return_value": {"warnings": [{"expectation_id": "w1"}, {"expectation_id": "w2"}]},
                    "candidate.return_value": {"candidate_id": "2026-11.c1"},
                }
            )
        }
    )
    line = " ".join(called[0])
    assert line.startswith("approve 2026-11.c1 --by signer --channel airflow")
    assert "--warning-seen w1 --warning-seen w2" in line
    assert ("--reject" in line) is not approved


def test_no_answer_is_never_recorded() -> None:
    asked = Pushed(**{"candidate.return_value": {"candidate_id": "2026-11.c1", "published_as": None}})
    with pytest.raises(AirflowFailException, match="no answer"):
        RecordAnswer(task_id="record").execute({"ti": asked})


@pytest.mark.parametrize(
    "answer",
    [
        {"candidate_id": "2026-11.c1", "published_as": "2026-11.e1"},
        {"edition_id": "2026-11.e1", "unchanged": True},
    ],
)
def test_where_nobody_was_asked_nothing_is_recorded(answer: dict[str, Any]) -> None:
    found = Pushed(**{"candidate.return_value": answer})
    with pytest.raises(AirflowSkipException):
        RecordAnswer(task_id="record").execute({"ti": found})


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"disposition": "pass", "run_id": "g1", "warnings": []}, "Không có cảnh báo"),
        (
            {
                "disposition": "warn",
                "run_id": "g1",
                "warnings": [{"expectation_id": "e", "reason": "r", "observed": "o"}],
            },
            "- Cảnh báo `e`: r — o\n",
        ),
        (
            {
                "disposition": "warn",
                "run_id": "g1",
                "warnings": [{"expectation_id": "e", "reason": "r", "observed": "o", "known": "An đã biết"}],
                "findings": {"new": 1, "known": 2, "acknowledged": 3, "closed": 4},
                "docs_uri": "file:///d",
            },
            "- Cảnh báo `e`: r — o (An đã biết)\n",
        ),
    ],
)
def test_what_the_gate_found_can_be_read_by_the_signer(gate: dict[str, Any], told: str) -> None:
    """Airflow renders with a Jinja that knows no missing names."""
    pulled = Pushed(**{"candidate.return_value": {"content_sha256": "abc"}, "gate.return_value": gate})
    text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(airflow_tasks.FOUND_BY_GATE)
    shown = text.render(ti=pulled)
    assert told in shown and "`abc`" in shown
    assert ("1 mới, 2 đã biết, 3 đã ghi nhận, 4 đã hết" in shown) == ("findings" in gate)
