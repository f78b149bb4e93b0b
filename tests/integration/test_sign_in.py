"""Sign-in as on a server: Airflow with Flask-AppBuilder's users, our three roles, and signers known by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from hailong.airflow_api import AirflowApi, RefusedError
from hailong.server import init
from hailong.settings import Settings
from hailong.stack import Stack
from hailong.warehouse.connect import airflow_uri
from hailong.warehouse.embedded import free_port

pytestmark = pytest.mark.slow
DAG_ID = "stub__sign"
# Six migrations back, to the one that made the interval of a deadline JSON. Not further: it writes whole seconds as integers,
# which Airflow 3.3.2 cannot read, and refuses each run of a DAG with a deadline. We began with 3.3.
EARLIER = "8812eb67b63c"
ROLES = {"an": "signer", "signer": "signer", "engineer": "engineer", "viewer": "viewer"}  # `signer` is not named
# The stub stands for publish__period. `public` is somebody whom a provider of identity let in, without a group.
SET_UP = """
import json, os, sys
from hailong import airflow_auth
from hailong.server import init, people
airflow_auth.ROLES["Signer"] += (("can_edit", "DAG:stub__sign"),)
persons = [people.Person.model_validate(person) for person in json.load(sys.stdin)]
for _ in range(2):  # as when the init job runs again
    init.sign_in(persons, os.environ)
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    role = builder.sm.find_role("Public")
    builder.sm.add_user("public", "P", "Q", "public@example.org", [role], password=persons[0].password.get_secret_value())
"""


def person(name: str, password: str) -> dict[str, str]:
    return {
        "username": name, "role": ROLES[name], "first_name": name.title(), "last_name": "Lê", "password": password,
        "email": f"{name}@example.org",
    }  # fmt: skip


@pytest.fixture(scope="module")
def stack(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = new_warehouse(HAILONG_SIGNERS="an")
    dags = tmp_path_factory.mktemp("dags")
    shutil.copy(Path(__file__).parent / "stub_dags.py", dags / "stub_dags.py")
    fab = {
        "AIRFLOW__CORE__AUTH_MANAGER": "hailong.airflow_auth.HailongAuthManager",
        "AIRFLOW__FAB__CONFIG_FILE": str(settings.project / "plugins/hailong/server/webserver_config.py"),
    }
    made = Stack(settings, api_port=free_port(), dags=dags, scheduled=False, environment=fab)
    environment = made.airflow_environment(made.api_port or 0)
    made.migrate(environment)
    people = [person(name, password) for name, password in made.passwords().items()]
    done = subprocess.run(
        [sys.executable, "-c", SET_UP], input=json.dumps(people), env=environment, cwd=settings.project,
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not [password for password in made.passwords().values() if password in done.stdout + done.stderr]
    made.up(expected_dags=[DAG_ID])
    made.client("engineer").unpause(DAG_ID)
    try:
        yield made
    finally:
        made.down()


def client(stack: Stack, user: str) -> AirflowApi:
    if user == "public":
        return AirflowApi(stack.url, user, stack.passwords()["an"])
    return stack.client(user)


def refused(call: Callable[[], Any]) -> int:
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value.status


def test_only_a_signer_who_is_named_answers_and_the_name_is_recorded(stack: Stack) -> None:
    engineer = client(stack, "engineer")
    run_id = engineer.trigger(DAG_ID)
    question: Any = engineer.wait_for_question(DAG_ID, run_id, "sign_off", timeout=90)
    assert question["assigned_users"] == [{"id": "an", "name": "an"}]
    assert question["body"] == "người đề nghị: engineer"
    for name in ("engineer", "viewer", "signer", "public"):
        assert refused(lambda name=name: client(stack, name).answer(DAG_ID, run_id, "sign_off", "Approve")) == 403, name
    answer = client(stack, "an").answer(DAG_ID, run_id, "sign_off", "Approve")
    assert (answer["responded_by"]["name"], answer["responded_by"]["id"].isdigit()) == ("an", True)
    assert engineer.wait(DAG_ID, run_id, timeout=90) == "success"
    assert engineer.result(DAG_ID, run_id, "record") == {"by": "an", "approved": True}


def test_an_engineer_cannot_write_the_answer_of_a_signer(stack: Stack) -> None:
    engineer = client(stack, "engineer")
    run_id = engineer.trigger(DAG_ID)
    assert engineer.wait_for_question(DAG_ID, run_id, "sign_off", timeout=90)
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/sign_off/xcomEntries"
    forged = {"key": "answer", "value": {"by": "an", "approved": True}}
    assert refused(lambda: engineer._request("POST", path, json=forged)) == 403
    client(stack, "an").answer(DAG_ID, run_id, "sign_off", "Reject")
    assert engineer.wait(DAG_ID, run_id, timeout=90) == "success"
    assert refused(lambda: engineer._request("PATCH", f"{path}/answer", json=forged)) == 403


@pytest.mark.parametrize(
    ("user", "triggers", "sees_dags", "sees_connections"),
    [("engineer", 200, 200, 200), ("an", 403, 200, 403), ("viewer", 403, 200, 403), ("public", 403, 403, 403)],
)
def test_each_role_reaches_what_is_its_own(
    stack: Stack, user: str, triggers: int, sees_dags: int, sees_connections: int
) -> None:
    api = client(stack, user)

    def status(method: str, path: str, body: Any = None) -> int:
        headers = {"Authorization": f"Bearer {api._login()}"}
        answer = httpx.request(method, stack.url + path, json=body, headers=headers, trust_env=False, timeout=30)
        return answer.status_code

    assert status("GET", f"/api/v2/dags/{DAG_ID}") == sees_dags
    assert status("GET", "/api/v2/connections") == sees_connections
    # A period that no calendar has: refused by nobody but the role, and no signature is asked for by the run's end.
    assert status("POST", f"/api/v2/dags/{DAG_ID}/dagRuns", {"logical_date": None, "conf": {}}) == triggers
    for forbidden in ("/auth/fab/v1/users", "/auth/fab/v1/roles", "/api/v2/config", "/api/v2/variables"):
        assert status("GET", forbidden) in (401, 403), forbidden


def test_files_are_shown_to_our_roles_and_to_nobody_else(stack: Stack) -> None:
    docs = stack.settings.data_docs / "2026-11.c1.g1"
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "index.html").write_text("<h1>Data Docs</h1>")
    path = f"{stack.url}/hailong/data_docs/2026-11.c1.g1/index.html"
    seen = {}
    for user in (*ROLES, "public"):
        headers = {"Authorization": f"Bearer {client(stack, user)._login()}"}
        seen[user] = httpx.get(path, headers=headers, trust_env=False).status_code
    assert seen == {**dict.fromkeys(ROLES, 200), "public": 403}
    assert httpx.get(path, trust_env=False).status_code == 401


def test_metadata_of_an_earlier_schema_are_carried_over(stack: Stack) -> None:
    """What the init job does on an upgrade: runs, signatures, users and connections are there afterwards, and work goes on."""
    engineer = client(stack, "engineer")
    run_id = engineer.trigger(DAG_ID)
    assert engineer.wait_for_question(DAG_ID, run_id, "sign_off", timeout=90)
    client(stack, "an").answer(DAG_ID, run_id, "sign_off", "Approve")
    assert engineer.wait(DAG_ID, run_id, timeout=90) == "success"
    environment = stack.airflow_environment(stack.api_port or 0)
    kept = {"connection_id": "kept", "conn_type": "http", "password": "k3pt"}
    engineer._request("POST", "/api/v2/connections", json=kept)

    def schema() -> str:
        with psycopg.connect(airflow_uri(stack.settings, "postgresql")) as metadata:
            row = metadata.execute("select version_num from alembic_version").fetchone()
            return str(row and row[0])

    newest = schema()
    stack.down()
    try:
        init._airflow(["db", "downgrade", "--to-revision", EARLIER, "--yes"], environment)
        assert schema() != newest
        init._airflow(["db", "migrate"], environment)
        assert schema() == newest
    finally:
        stack.up(expected_dags=[DAG_ID])
    engineer = client(stack, "engineer")
    assert engineer.result(DAG_ID, run_id, "record") == {"by": "an", "approved": True}
    assert engineer._request("GET", "/api/v2/connections/kept")["conn_type"] == "http"
    run_id = engineer.trigger(DAG_ID)
    assert engineer.wait_for_question(DAG_ID, run_id, "sign_off", timeout=90)
    assert refused(lambda: client(stack, "signer").answer(DAG_ID, run_id, "sign_off", "Approve")) == 403
    client(stack, "an").answer(DAG_ID, run_id, "sign_off", "Approve")
    assert engineer.wait(DAG_ID, run_id, timeout=90) == "success"


def test_no_log_of_the_server_holds_a_token_or_a_password(stack: Stack) -> None:
    token = client(stack, "viewer")._login()
    logged = "".join(path.read_text(errors="replace") for path in stack.logs.glob("*.log"))
    assert "/auth/token" in logged  # it looked at the requests
    for secret in (token, token.split(".")[2], *stack.passwords().values()):
        assert secret not in logged
