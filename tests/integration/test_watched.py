"""The road from feed to edition as those see it who watch: the logs as JSON, and OpenLineage's events, of real commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from hailong.settings import PROJECT, Settings
from hailong.warehouse.connect import connect
from tests.conftest import Sandbox
from tests.privacy import Person, found_in, pattern
from tests.receivers import Hook, webhook
from tests.unit.test_logs import lines

pytestmark = pytest.mark.slow

PERIOD = "2026-10"
ENGINEER = Person(1).name  # may be read in the warehouse, and nowhere else
KEY = "geheim-openlineage"
TASK = {"AIRFLOW_CTX_DAG_ID": "a_dag", "AIRFLOW_CTX_TASK_ID": "a_task", "AIRFLOW_CTX_TRY_NUMBER": "1"}
Event = dict[str, Any]


@dataclass
class Call:
    """One command: its answer, its log, the events that came of it."""

    status: int
    stdout: str
    log: list[dict[str, Any]]
    events: list[Event]

    @property
    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return found

    def of(self, job: str) -> list[Event]:
        return [event for event in self.events if event["job"]["name"] == job]


@dataclass
class Road:
    settings: Settings
    receiver: Hook
    calls: dict[str, Call] = field(default_factory=dict)

    def walk(self, title: str, *arguments: str, **env: str) -> Call:
        given = {
            **os.environ, **self.settings.env, **TASK, "HAILONG_LOG": "json", "OPENLINEAGE_URL": self.receiver.url,
            "OPENLINEAGE_API_KEY": KEY, **env,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "hailong.cli", *arguments], cwd=PROJECT, env=given, capture_output=True, text=True,
            encoding="utf-8", timeout=600,
        )  # fmt: skip
        self.calls[title] = Call(done.returncode, done.stdout, lines(done.stderr), self.receiver.take())
        return self.calls[title]


@pytest.fixture(scope="module")
def road(
    start_sandbox: Callable[..., Sandbox],
    new_warehouse: Callable[..., Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Road]:
    sandbox = start_sandbox("--size", "300", "--seed", "3")
    with webhook() as receiver:
        made = Road(new_warehouse(**sandbox.env, HAILONG_SIGNERS="signer"), receiver)
        for feed in ("unit_register", "procedure_register", "code_map"):
            made.walk(feed, "ingest", feed)
        for feed in ("dossier", "rating", "portal_evaluation"):
            made.walk(feed, "ingest", feed, "--since", "2026-06-15", "--until", "2026-11-19", "--json")
        for path in sorted(sandbox.drop.glob("*.xlsx")):
            made.walk("posting_check", "ingest", "posting_check", "--file", str(path))
        made.walk("build", "build", "--json")
        made.walk("candidate", "candidate", "--period", PERIOD, "--by", ENGINEER, "--json")
        warnings = made.walk("gate", "gate", "--period", PERIOD, "--json").answer["warnings"]
        seen = [part for warning in warnings for part in ("--warning-seen", warning["expectation_id"])]
        made.walk("approve", "approve", f"{PERIOD}.c1", "--by", "signer", *seen)
        made.walk("publish", "publish", "--period", PERIOD, "--by", ENGINEER, "--json")
        made.walk("publish again", "publish", "--period", PERIOD, "--by", ENGINEER)
        rules = tmp_path_factory.mktemp("rules") / "rules"
        shutil.copytree(made.settings.rules, rules)
        (rules / "models" / "marts" / "mart_broken.sql").write_text(
            "{{ config(contract={'enforced': false}) }}\n"
            f"select '{ENGINEER}'::integer as number from {{{{ ref('mart_k_score') }}}}\n"
        )
        made.walk("failed build", "build", HAILONG_RULES=str(rules))
        yield made


def tables(settings: Settings) -> set[str]:
    with connect(settings) as connection:
        rows = connection.execute(
            "select current_database() || '.' || n.nspname || '.' || c.relname from pg_class as c "
            "inner join pg_namespace as n on c.relnamespace = n.oid where c.relkind in ('r', 'p', 'v')"
        ).fetchall()
    return {name for (name,) in rows}


def named(road: Road, *names: str) -> set[str]:
    return {f"{psycopg.conninfo.conninfo_to_dict(road.settings.dsn or '')['dbname']}.{name}" for name in names}


def ends(road: Road, what: str, *, of: list[Event]) -> set[str]:
    return {dataset["name"] for event in of for dataset in event[what]}


def tags(event: Event) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in event["run"]["facets"]["tags"]["tags"]}


# -- logs ---------------------------------------------------------------------------------------------------------------


def test_every_command_of_the_road_ends_as_it_should_and_says_so(road: Road) -> None:
    assert {title: call.status for title, call in road.calls.items() if call.status} == {"failed build": 1}
    for title, call in road.calls.items():
        last = call.log[-1]
        assert last["event"] == ("failed" if call.status else "finished"), title
        assert last["exit"] == call.status
        assert all(line["dag_id"] == "a_dag" and line["try_number"] == 1 for line in call.log), title


@pytest.mark.parametrize(
    ("title", "about"),
    [
        ("rating", {"command": "ingest", "feed": "rating"}),
        ("build", {"command": "build", "build": 1}),
        ("candidate", {"command": "candidate", "period": PERIOD, "candidate": f"{PERIOD}.c1"}),
        ("gate", {"command": "gate", "period": PERIOD, "candidate": f"{PERIOD}.c1"}),
        ("publish", {"command": "publish", "period": PERIOD, "edition": f"{PERIOD}.e1"}),
        ("failed build", {"command": "build", "build": 2}),
    ],
)
def test_the_last_line_is_about_what_the_command_was_about(road: Road, title: str, about: dict[str, Any]) -> None:
    call = road.calls[title]
    assert call.log[-1].items() >= about.items()
    if title == "rating":
        assert call.log[-1]["batch"] == call.answer["batch_ids"][-1]


def test_what_long_work_tells_is_found_by_its_batch_and_its_build(road: Road) -> None:
    loaded = [line for line in road.calls["dossier"].log if "received =" in line["message"]]
    assert loaded and all(
        line["event"] == "progress" and line["feed"] == "dossier" and line["batch"] for line in loaded
    )
    models = [line for line in road.calls["build"].log if "model" in line["message"]]
    assert models and {line["build"] for line in models} == {1}


def test_the_gate_tells_what_it_decided_and_what_failed_by_name_and_number(road: Road) -> None:
    log = road.calls["gate"].log
    (decided,) = [line for line in log if line["event"] == "gate"]
    assert decided["disposition"] == road.calls["gate"].answer["disposition"]
    failed = {line["expectation"] for line in log if line["event"] == "expectation" and line["level"] == "warning"}
    assert failed == {warning["expectation_id"] for warning in road.calls["gate"].answer["warnings"]}
    assert all(line["candidate"] == f"{PERIOD}.c1" for line in log[1:])


def test_a_failed_build_is_one_line_that_names_the_model_and_the_way_out(road: Road) -> None:
    (failed,) = [line for line in road.calls["failed build"].log if line["event"] == "failed"]
    assert failed["kind"] == "permanent" and "mart_broken" in failed["message"]
    assert "correct the cause and run it again" in failed["message"]


# -- lineage ------------------------------------------------------------------------------------------------------------


def test_every_event_is_whole_and_every_run_begins_and_ends(road: Road) -> None:
    runs: dict[str, list[str]] = {}
    events = [event for call in road.calls.values() for event in call.events]
    assert len(events) > 300
    for event in events:
        assert datetime.fromisoformat(event["eventTime"]).tzinfo
        assert event["producer"].startswith("urn:hailong:") and event["schemaURL"].startswith(
            "https://openlineage.io/spec/"
        )
        assert uuid.UUID(event["run"]["runId"])
        assert event["job"]["namespace"] == "hailong" and event["job"]["name"]
        for part in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
            for kind in ("facets", "inputFacets", "outputFacets"):
                for facet in part.get(kind, {}).values():
                    assert facet["_producer"] and facet["_schemaURL"].startswith("https://openlineage.io/spec/")
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert {tuple(told) for told in runs.values()} == {("START", "COMPLETE"), ("START", "FAIL")}
    assert road.receiver.paths == {"/hook/api/v1/lineage"}


def test_a_load_tells_of_feed_and_table_with_batch_and_counts(road: Road) -> None:
    answer = road.calls["rating"].answer
    ended = [event for event in road.calls["rating"].of("ingest.rating") if event["eventType"] == "COMPLETE"]
    assert len(ended) == len(answer["batch_ids"]) > 1  # a chunk of a back-fill is a batch, and a run of its own
    (table,) = named(road, "raw.rating")
    received = loaded = 0
    for event, batch_id in zip(ended, answer["batch_ids"], strict=True):
        (source,) = event["inputs"]
        assert (source["namespace"], source["name"]) == ("hailong.sources", "rating/rating")
        raw = {dataset["name"]: dataset for dataset in event["outputs"]}
        assert {table} <= set(raw) <= {table} | named(road, "ops.quarantine")
        assert raw[table]["facets"]["version"]["datasetVersion"] == str(batch_id)
        assert tags(event).items() >= {"feed": "rating", "batch": str(batch_id), "dag_id": "a_dag"}.items()
        received += source["inputFacets"]["inputStatistics"]["rowCount"]
        loaded += raw[table]["outputFacets"]["outputStatistics"]["rowCount"]
    assert (received, loaded) == (answer["received"], answer["loaded"])


def test_a_build_leads_from_raw_to_the_marts_over_tables_that_exist(road: Road) -> None:
    call = road.calls["build"]
    whole = call.of("build")
    assert [event["eventType"] for event in whole] == ["START", "COMPLETE"]
    assert tags(whole[1])["build"] == "1"
    models = [event for event in call.events if event not in whole]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in models} == {whole[0]["run"]["runId"]}
    made, read = ends(road, "outputs", of=models), ends(road, "inputs", of=models)
    assert made | read <= tables(road.settings)
    address = urlsplit(road.settings.dsn or "")
    places = {dataset["namespace"] for event in models for dataset in (*event["inputs"], *event["outputs"])}
    assert places == {f"postgres://{address.hostname}:{address.port}"}
    # From the table that a load wrote, step by step, to the one that a candidate is copied from.
    edges = {(i["name"], o["name"]) for event in models for i in event["inputs"] for o in event["outputs"]}
    reached = ends(road, "outputs", of=road.calls["rating"].of("ingest.rating"))
    for _ in range(20):
        reached |= {after for before, after in edges if before in reached}
    assert named(road, "marts.k_score", "facts.fct_c_attitude") <= reached
    (of_k,) = [
        event for event in models if event["job"]["name"] == "build.marts.k_score" and event["eventType"] == "COMPLETE"
    ]
    (k_score,) = of_k["outputs"]
    columns = {column["name"]: column["type"] for column in k_score["facets"]["schema"]["fields"]}
    assert columns["k"].startswith("numeric")


def test_a_candidate_and_an_edition_lead_on_from_the_marts(road: Road) -> None:
    copied = road.calls["candidate"].of("candidate")[-1]
    published = road.calls["publish"].of("publish")[-1]
    for event in (copied, published):
        written = {dataset["name"] for dataset in event["outputs"]} - {"editions"}
        assert written | ends(road, "inputs", of=[event]) <= tables(road.settings)
    assert named(road, "marts.k_score") <= ends(road, "inputs", of=[copied])
    handed = named(road, "publish.candidate_k_score", "publish.candidate_annex")
    assert handed <= ends(road, "outputs", of=[copied]) & ends(road, "inputs", of=[published])
    assert named(road, "publish.k_score", "publish.annex", "publish.edition") <= ends(road, "outputs", of=[published])
    assert {dataset["facets"]["version"]["datasetVersion"] for dataset in published["outputs"]} == {f"{PERIOD}.e1"}
    assert tags(published)["edition"] == f"{PERIOD}.e1"
    assert road.calls["publish again"].of("publish")[-1]["outputs"] == []  # nothing was said anew


def test_a_failed_build_says_where_and_not_what_the_database_quoted(road: Road) -> None:
    call = road.calls["failed build"]
    whole = call.of("build")[-1]
    assert whole["eventType"] == "FAIL"
    assert "mart_broken" in whole["run"]["facets"]["errorMessage"]["message"]
    failed = [event for event in call.events if event["eventType"] == "FAIL" and event is not whole]
    assert [event["job"]["name"] for event in failed] == ["build.marts.mart_broken"]
    assert "model.hailong.mart_broken" in failed[0]["run"]["facets"]["errorMessage"]["message"]
    assert any(event["eventType"] == "COMPLETE" for event in call.events)  # what ran before it is told of too


def test_nothing_personal_and_no_secret_leaves(road: Road) -> None:
    wanted = pattern(
        KEY, "tok-", *(value for name, value in road.settings.env.items() if name.endswith(("TOKEN", "_KEY")))
    )
    for title, call in road.calls.items():
        assert not found_in(json.dumps(call.events, ensure_ascii=False), wanted), title
        if title != "failed build":  # its message quotes the database, as people read it too
            assert not found_in(json.dumps(call.log, ensure_ascii=False), wanted), title
    assert KEY not in json.dumps(road.calls["failed build"].log)


# -- the switch ---------------------------------------------------------------------------------------------------------


def test_the_key_goes_with_each_event(road: Road) -> None:
    given = {**os.environ, **road.settings.env, "OPENLINEAGE_URL": road.receiver.url, "OPENLINEAGE_API_KEY": KEY}
    subprocess.run(
        [sys.executable, "-m", "hailong.cli", "ingest", "unit_register"], cwd=PROJECT, env=given, check=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert {headers["Authorization"] for headers, _ in road.receiver.calls} == {f"Bearer {KEY}"}
    began, ended = road.receiver.take()
    assert (began["eventType"], ended["eventType"]) == ("START", "COMPLETE")


@pytest.mark.parametrize(
    ("arguments", "url", "why"),
    [
        (("build",), "http://127.0.0.1:9", "ConnectionError at 127.0.0.1"),
        (("ingest", "unit_register"), "nonsense", "which is no address"),
    ],
)
def test_a_receiver_that_is_away_costs_one_warning(road: Road, arguments: tuple[str, ...], url: str, why: str) -> None:
    call = road.walk(f"away {url}", *arguments, OPENLINEAGE_URL=url)
    assert call.status == 0
    warned = [line for line in call.log if line["level"] != "info"]
    assert [(line["level"], line.get("logger")) for line in warned] == [("warning", "hailong.lineage")]
    assert why in warned[0]["message"] and warned[0]["command"] == arguments[0]


def test_a_receiver_that_refuses_costs_one_warning(road: Road) -> None:
    road.receiver.status = 403
    try:
        call = road.walk("refused", "ingest", "unit_register")
    finally:
        road.receiver.status = 200
    assert (call.status, call.events) == (0, [])
    (warned,) = [line for line in call.log if line["level"] != "info"]
    assert "HTTP 403" in warned["message"] and KEY not in json.dumps(call.log)


@pytest.mark.parametrize("switch", [{"OPENLINEAGE_URL": ""}, {"OPENLINEAGE_DISABLED": "true"}])
def test_without_the_switch_nothing_is_sent_and_nothing_imported(road: Road, switch: dict[str, str]) -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print('imported:', 'openlineage' in sys.modules));"
        "from hailong.cli import main; main()"
    )
    given = {**os.environ, **road.settings.env, "OPENLINEAGE_URL": road.receiver.url, **switch}
    done = subprocess.run(
        [sys.executable, "-c", code, "ingest", "unit_register"], cwd=PROJECT, env=given, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported: False"
    assert road.receiver.take() == []


def test_another_namespace_is_that_of_the_jobs(road: Road) -> None:
    call = road.walk("namespace", "ingest", "unit_register", OPENLINEAGE_NAMESPACE="city")
    assert {event["job"]["namespace"] for event in call.events} == {"city"}
    assert {dataset["namespace"] for event in call.events for dataset in event["inputs"]} == {"city.sources"}


def test_the_settings_do_not_name_the_key(road: Road, tmp_path: Path) -> None:
    assert KEY not in repr(Settings.load({"OPENLINEAGE_API_KEY": KEY, "HAILONG_HOME": str(tmp_path)}))
