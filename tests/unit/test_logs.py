"""Logs for machines: real commands, every line of their error stream one JSON object with what an operator searches by."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hailong import logs
from hailong.airflow_tasks import HailongOperator
from hailong.errors import PermanentError, UsageError
from hailong.server.environment import environment
from hailong.settings import PROJECT

DOWN = "postgresql://someone:geheim@127.0.0.1:1/none"
TASK = {
    "AIRFLOW_CTX_DAG_ID": "build__warehouse", "AIRFLOW_CTX_TASK_ID": "build", "AIRFLOW_CTX_TRY_NUMBER": "2",
    "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-11-18T20:00:00+00:00",
}  # fmt: skip
EVENTS = {"started", "finished", "failed", "progress", "told", "gate", "expectation", "logged"}


def lines(text: str) -> list[dict[str, Any]]:
    """Every line of a log, proved to be one: JSON, with moment, level, event and command."""
    found = []
    for line in text.splitlines():
        said = json.loads(line)
        moment = datetime.fromisoformat(said["timestamp"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", said["timestamp"]), line
        assert moment.tzinfo == UTC
        assert said["level"] in ("info", "warning", "error"), line
        assert said["event"] in EVENTS and isinstance(said["message"], str) and "command" in said, line
        found.append(said)
    return found


def run(*arguments: str, program: str = "from hailong.cli import main; main()", **env: str) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HAILONG_", "AIRFLOW_CTX_"))}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=PROJECT, capture_output=True, text=True, encoding="utf-8",
        env={**clean, "HAILONG_LOG": "json", **env}, timeout=120,
    )  # fmt: skip


def test_a_command_that_ends_well_says_when_it_began_and_ended() -> None:
    done = run("contracts", "list", "--json")
    began, ended = lines(done.stderr)
    assert (began["event"], ended["event"], ended["exit"]) == ("started", "finished", 0)
    assert began["command"] == ended["command"] == "contracts list"
    assert ended["seconds"] >= 0
    assert json.loads(done.stdout)  # the result is where it was, and nothing else is there


@pytest.mark.parametrize(
    ("arguments", "status", "kind", "about", "way_out"),
    [
        (["build", "--as-of", "7"], 1, "transient", {"command": "build", "batch": 7}, "HAILONG_DSN"),
        (["publish", "--period", "2026-10"], 1, "transient", {"command": "publish", "period": "2026-10"}, "HAILONG_DSN"),
        (["approve", "2026-10.c1", "--by", "x"], 1, "transient", {"candidate": "2026-10.c1"}, "HAILONG_DSN"),
        (["verify", "2026-10.e1"], 1, "transient", {"edition": "2026-10.e1"}, "HAILONG_DSN"),
        (["quarantine", "list", "--feed", "rating"], 1, "transient", {"command": "quarantine list", "feed": "rating"}, "dsn"),
        (["ingest", "nonsense"], 2, "usage", {"command": "ingest", "feed": "nonsense"}, "dossier"),
        (["publish"], 2, "usage", {"command": "publish"}, "hailong publish --help"),
        (["quarantine", "frob"], 2, "usage", {"command": "quarantine"}, "hailong quarantine --help"),
        ([], 2, "usage", {"command": ""}, "hailong --help"),
        (["calendar", "make", "--until", "x"], 2, "usage", {"command": "calendar make"}, "hailong calendar make --help"),
    ],
)  # fmt: skip
def test_a_failure_is_one_line_with_its_kind_what_it_is_about_and_the_way_out(
    arguments: list[str], status: int, kind: str, about: dict[str, Any], way_out: str, tmp_path: Path
) -> None:
    done = run(*arguments, HAILONG_DSN=DOWN, HAILONG_HOME=str(tmp_path), **TASK)
    assert done.returncode == status, done.stderr
    said = lines(done.stderr)
    assert [line["event"] for line in said].count("failed") == 1
    last = said[-1]
    assert (last["event"], last["level"], last["kind"], last["exit"]) == ("failed", "error", kind, status)
    assert last.items() >= about.items()
    assert way_out.lower() in last["message"].lower()
    for line in said:  # whatever is told by a task, can be found by it
        assert (line["dag_id"], line["task_id"], line["try_number"]) == ("build__warehouse", "build", 2)
        assert line["run_id"] == TASK["AIRFLOW_CTX_DAG_RUN_ID"]
    assert "geheim" not in done.stderr + done.stdout


def test_a_transient_failure_still_ends_with_the_status_that_tasks_ask_for(tmp_path: Path) -> None:
    done = run("build", HAILONG_DSN=DOWN, HAILONG_HOME=str(tmp_path), HAILONG_TRANSIENT_EXIT="75")
    assert (done.returncode, lines(done.stderr)[-1]["exit"]) == (75, 75)


# A fault of ours in the middle of a command, after what libraries and interpreter like to tell.
FAULT = """
import logging, warnings
from hailong import cli, contracts
def broken(folder):
    warnings.warn("something is\\nold")
    logging.getLogger("hailong.extract.http").warning("retry %d of %s", 1, "tthc")
    logging.getLogger("httpx").info("HTTP Request: POST http://127.0.0.1/hook/geheim-path")
    logging.getLogger("botocore").error("two\\nlines", exc_info=ValueError("deep"))
    password = "geheim-local"
    raise RuntimeError("no way to https://me:geheim-address@example.invalid/x with s3cret-token, nor half\\udc80")
contracts.load_contracts = broken
cli.main()
"""


def test_a_fault_of_ours_is_one_line_too_with_its_traceback_and_without_secrets() -> None:
    done = run("contracts", "list", program=FAULT, HAILONG_SOURCE_TTHC_TOKEN="s3cret-token")
    assert done.returncode == 1
    said = lines(done.stderr)
    assert [(line["event"], line["level"], line.get("logger")) for line in said] == [
        ("started", "info", None),
        ("logged", "warning", "py.warnings"),
        ("logged", "warning", "hailong.extract.http"),
        ("logged", "error", "botocore"),
        ("failed", "error", None),
    ]
    assert all(line["command"] == "contracts list" for line in said)
    assert said[2]["message"] == "retry 1 of tthc"
    assert "ValueError: deep" in said[3]["exception"]
    assert said[4]["kind"] == "unexpected"
    assert "RuntimeError: no way to https://me:***@example.invalid/x with ***" in said[4]["message"]
    assert said[4]["exception"].startswith("Traceback (most recent call last)") and "in broken" in said[4]["exception"]
    assert "geheim" not in done.stderr.replace('password = "geheim-local"', "")
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("HAILONG_DSN", "postgresql://u:w%2Ford@host/x", ["w%2Ford", "w/ord"]),
        ("HAILONG_PSEUDONYM_KEY", "2026:AAAAkey1,2027:BBBBkey2", ["AAAAkey1", "BBBBkey2"]),
        ("HAILONG_SOURCE_SURVEY_OPTIONS", '{"key": "id-of-key", "secret": "of s3"}', ["id-of-key", "of s3"]),
        ("HAILONG_WEBHOOK_URL", "https://hooks.example.org/T0/B0/secret", ["https://hooks.example.org/T0/B0/secret"]),
        ("HAILONG_SMTP_URL", "smtp://u:mailpass@host:587", ["mailpass"]),
        ("OPENLINEAGE_API_KEY", "ol-key-1", ["ol-key-1"]),
        ("AIRFLOW_CONN_HAILONG_RATING", "http://:of-uri@rating.example.org", ["of-uri"]),
        ("AIRFLOW_CONN_HAILONG_TTHC", '{"conn_type": "http", "password": "of-conn"}', ["of-conn"]),
    ],
)
def test_each_secret_of_the_environment_is_known(name: str, value: str, hidden: list[str]) -> None:
    harmless = {
        "HAILONG_HOME": "/var/lib/hailong", "HAILONG_TIMEZONE": "Asia/Ho_Chi_Minh", "HAILONG_BACKUP_URI": "/mnt/backup",
        "HAILONG_SOURCE_TTHC_URL": "http://tthc.example.org", "REDIS_PASSWORD_FILE": "/run/secrets/redis",
    }  # fmt: skip
    assert set(hidden) <= set(logs.secrets({name: value} | harmless))
    assert logs.secrets(harmless) == []


def test_vietnamese_is_readable_whatever_the_locale() -> None:
    program = "from hailong import logs; logs.begin('x'); logs.tell('told', 'Sở Nội vụ')"
    done = run(program=program, PYTHONIOENCODING="ascii")
    assert "Sở Nội vụ" in done.stderr and lines(done.stderr)[0]["message"] == "Sở Nội vụ"


def test_people_read_what_they_always_read_and_pay_for_no_library(tmp_path: Path) -> None:
    program = "import sys; from hailong import cli; cli._run(['contracts', 'list', '--json'])"
    watched = (
        f"import atexit, sys; atexit.register(lambda: print('structlog' in sys.modules, file=sys.stderr)); {program}"
    )
    done = run(program=watched, HAILONG_LOG="")
    assert done.stderr == "False\n"
    done = run("build", HAILONG_DSN=DOWN, HAILONG_HOME=str(tmp_path), HAILONG_LOG="text")
    assert done.stderr.startswith("transient error: no connection to the warehouse")


def test_another_format_is_wrong_use() -> None:
    done = run("contracts", "list", HAILONG_LOG="xml")
    assert (done.returncode, done.stderr) == (2, "wrong use: HAILONG_LOG is 'xml': write text or json\n")


def test_what_a_part_is_about_ends_with_it_unless_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_context", {"command": "ingest"})
    with logs.about(batch=1):
        assert logs.context() == {"command": "ingest", "batch": 1}
    assert logs.context() == {"command": "ingest"}
    with pytest.raises(PermanentError), logs.about(batch=2):
        raise PermanentError("x")
    assert logs.context() == {"command": "ingest", "batch": 2}


# -- in Airflow, in containers ------------------------------------------------------------------------------------------


class Told:
    """A task's logger that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda text, *values, **fields: self.said.append((level, text % values, fields))


def test_a_task_logs_each_line_again_with_its_level_and_takes_none_for_the_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"HAILONG_LOG": "json", "HAILONG_DSN": DOWN, "HAILONG_HOME": str(tmp_path), **TASK}.items():
        monkeypatch.setenv(name, value)
    told = Told()
    task = HailongOperator(task_id="t", command=["contracts", "list"])
    monkeypatch.setattr(HailongOperator, "log", told)
    assert task._call(["build"]) == (75, None)
    assert [(level, fields["what"]) for level, _, fields in told.said] == [("info", "started"), ("error", "failed")]
    assert told.said[-1][1].startswith("no connection to the warehouse") and told.said[-1][2]["kind"] == "transient"
    told.said.clear()
    assert task._call(["contracts", "list"])[1] is None
    assert any(level == "info" and "dossier" in text for level, text, _ in told.said)  # a table stays a table


def test_an_answer_is_told_from_a_line_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAILONG_LOG", "json")
    script = (
        "import json, sys; from hailong import logs; logs.begin('build'); logs.tell('progress', 'a');"
        "print(json.dumps({'build_id': 3}), flush=True); logs.tell('finished', 'exit 0')"
    )
    monkeypatch.setattr("hailong.airflow_tasks.sys.executable", sys.executable)
    popen = subprocess.Popen
    monkeypatch.setattr(
        "hailong.airflow_tasks.subprocess.Popen",
        lambda command, **options: popen([sys.executable, "-c", script], **options),
    )
    assert HailongOperator(task_id="t", command=["build"])._call(["build"]) == (0, {"build_id": 3})


@pytest.mark.parametrize(("wanted", "airflow"), [("json", "True"), ("text", "False"), (None, "False")])
def test_airflow_logs_likewise(wanted: str | None, airflow: str) -> None:
    given = {"AIRFLOW_DB_PASSWORD": "m"} | ({"HAILONG_LOG": wanted} if wanted else {})
    assert environment(given)["AIRFLOW__LOGGING__JSON_LOGS"] == airflow


def test_a_container_with_another_format_does_not_start() -> None:
    with pytest.raises(UsageError, match="HAILONG_LOG"):
        environment({"AIRFLOW_DB_PASSWORD": "m", "HAILONG_LOG": "yaml"})


def test_the_entry_point_of_the_image_fails_in_one_line() -> None:
    program = "import sys; from hailong.server.__main__ import main; main(sys.argv[1:])"
    done = run("init", program=program, HAILONG_DB_PASSWORD_FILE="/nowhere/password")
    (said,) = lines(done.stderr)
    assert (done.returncode, said["event"], said["kind"], said["command"]) == (1, "failed", "permanent", "init")
    assert "/nowhere/password" in said["message"]


def test_airflow_knows_the_option_and_tells_each_task_which_it_is() -> None:
    from airflow.configuration import conf
    from airflow.sdk.execution_time.context import AIRFLOW_VAR_NAME_FORMAT_MAPPING

    assert set(logs.OF_AIRFLOW) <= {name["env_var_format"] for name in AIRFLOW_VAR_NAME_FORMAT_MAPPING.values()}
    assert conf.configuration_description["logging"]["options"]["json_logs"]["type"] == "boolean"
