"""What a container makes of its variables, and what the init job refuses to start."""

from __future__ import annotations

import base64
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hailong import installed
from hailong.errors import PermanentError, UsageError
from hailong.server import people
from hailong.server.environment import environment, is_placeholder, resolved
from hailong.server.init import refusals
from hailong.settings import PROJECT

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
GOOD = {
    "POSTGRES_PASSWORD": "p", "HAILONG_DB_PASSWORD": "w/@:%", "AIRFLOW_DB_PASSWORD": "m", "AIRFLOW_FERNET_KEY": KEY,
    "AIRFLOW_SECRET_KEY": "s", "AIRFLOW_JWT_SECRET": "j", "HAILONG_PSEUDONYM_KEY": f"2026:{KEY}",
    "HAILONG_SIGNERS": "an", "HAILONG_URL": "https://chiso.example.org", "HAILONG_BIND": "127.0.0.1",
}  # fmt: skip
SIGNER = {"username": "an", "role": "signer", "first_name": "A", "last_name": "N", "email": "an@example.org"}


@pytest.fixture(autouse=True)
def known_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hailong.settings.Settings.code_version", "0.1.0+abc")


def persons(**changed: Any) -> list[people.Person]:
    return [people.Person.model_validate(SIGNER | changed)]


def test_addresses_are_put_together_whatever_a_password_holds() -> None:
    made = environment(GOOD)
    assert made["HAILONG_DSN"] == "postgresql://hailong:w%2F%40%3A%25@postgres:5432/hailong"
    assert made["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql+psycopg2://airflow:m@postgres:5432/airflow"
    assert made["HAILONG_AIRFLOW_DSN"] == "postgresql://airflow:m@postgres:5432/airflow"
    assert made["AIRFLOW__CORE__FERNET_KEY"] == KEY
    assert environment(made) == made  # once more by `docker compose exec`, inside what it made before
    assert made["AIRFLOW__FAB__COOKIE_SECURE"] == "True"
    assert not {"AIRFLOW_DB_PASSWORD", "HAILONG_DB_PASSWORD", "AIRFLOW_FERNET_KEY"} & set(made)
    assert not any("CELERY" in name for name in made)


def test_a_container_without_the_password_has_no_address() -> None:
    assert "HAILONG_DSN" not in environment({name: value for name, value in GOOD.items() if "HAILONG_DB" not in name})
    assert not any(name.startswith("AIRFLOW__") for name in environment({"SANDBOX_TOKEN": "x"}))


def test_workers_are_reached_through_redis_and_an_own_setting_wins() -> None:
    made = environment(
        GOOD
        | {
            "AIRFLOW_EXECUTOR": "CeleryExecutor",
            "REDIS_PASSWORD": "r@",
            "AIRFLOW__API__BASE_URL": "https://other.example.org",
        }
    )
    assert made["AIRFLOW__CELERY__BROKER_URL"] == "redis://:r%40@redis:6379/0"
    assert made["AIRFLOW__LOGGING__TASK_LOGS_TO_STDOUT"] == "True"
    assert made["AIRFLOW__API__BASE_URL"] == "https://other.example.org"
    with pytest.raises(UsageError, match="KubernetesExecutor"):
        environment(GOOD | {"AIRFLOW_EXECUTOR": "KubernetesExecutor"})


def test_only_the_demo_runs_without_a_schedule() -> None:
    name = "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"
    assert environment(GOOD)[name] == environment(GOOD | {"HAILONG_PROFILES": "celery"})[name] == "True"
    assert environment(GOOD | {"HAILONG_PROFILES": "celery,demo"})[name] == "False"


def test_a_secret_comes_out_of_its_file_and_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("from-file\n")
    env = {
        "HAILONG_DB_PASSWORD": "in-file",
        "HAILONG_DB_PASSWORD_FILE": str(tmp_path / "db"),
        "SSL_CERT_FILE": "/c",
        "X": "",
    }
    assert resolved(env) == {"HAILONG_DB_PASSWORD": "from-file", "SSL_CERT_FILE": "/c"}
    (tmp_path / "t").write_text("tok")
    assert resolved({"HAILONG_SOURCE_TTHC_TOKEN_FILE": str(tmp_path / "t")}) == {"HAILONG_SOURCE_TTHC_TOKEN": "tok"}
    with pytest.raises(PermanentError, match=r"REDIS_PASSWORD_FILE names .*gone"):
        resolved({"REDIS_PASSWORD_FILE": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("change-me-postgres", True), ("Change-Me", True), (KEY, False), ("", False), ("smtp://u:change-me@h", True),
        ("2026:Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtMzI=", True), (f"2026:{KEY},2027:{KEY}", False),
    ],
)  # fmt: skip
def test_a_placeholder_is_seen_also_inside_a_key(value: str, known: bool) -> None:
    assert is_placeholder(value) is known


def test_a_good_configuration_is_not_refused() -> None:
    assert refusals(GOOD, persons()) == []


@pytest.mark.parametrize(
    ("changed", "person", "said"),
    [
        ({"AIRFLOW_JWT_SECRET": ""}, {}, "AIRFLOW_JWT_SECRET is missing"),
        ({"AIRFLOW_FERNET_KEY": "too-short"}, {}, "AIRFLOW_FERNET_KEY is not 32 bytes"),
        ({"POSTGRES_PASSWORD": "change-me-postgres"}, {}, "known to everybody: POSTGRES_PASSWORD"),
        ({"HAILONG_SOURCE_TTHC_TOKEN": "change-me-sandbox"}, {}, "known to everybody: HAILONG_SOURCE_TTHC_TOKEN"),
        ({}, {"password": "change-me-signer"}, "the password of an in the file of users"),
        ({"HAILONG_SIGNERS": " , "}, {}, "HAILONG_SIGNERS names nobody"),
        ({"HAILONG_SIGNERS": "an,binh"}, {}, "HAILONG_SIGNERS names binh"),
        ({}, {"role": "engineer"}, "HAILONG_SIGNERS names an"),
        ({}, {"active": False}, "HAILONG_SIGNERS names an"),
        ({"AIRFLOW_EXECUTOR": "CeleryExecutor"}, {}, "belong together"),
        ({"HAILONG_PROFILES": "celery"}, {}, "belong together"),
        ({"HAILONG_PROFILES": "celery", "AIRFLOW_EXECUTOR": "CeleryExecutor"}, {}, "REDIS_PASSWORD is missing"),
        (
            {"HAILONG_PROFILES": "demo", "HAILONG_BIND": "0.0.0.0", "POSTGRES_PASSWORD": "change-me"}, {},
            "HAILONG_BIND is no loopback address",
        ),
        (
            {"HAILONG_PROFILES": "demo", "HAILONG_URL": "https://hailong.example.org", "POSTGRES_PASSWORD": "change-me"}, {},
            "HAILONG_URL is not this machine's",
        ),
        ({"POSTGRES_PASSWORD": "in-file"}, {}, "known to everybody: POSTGRES_PASSWORD"),
        ({"HAILONG_SOURCE_TTHC_URL": "postgresql://r:s3/cret@db/city"}, {}, "HAILONG_SOURCE_TTHC_URL is no address"),
        ({"HAILONG_SOURCE_SURVEY_OPTIONS": "key: s3cret"}, {}, "HAILONG_SOURCE_SURVEY_OPTIONS is not JSON"),
    ],
)  # fmt: skip
def test_each_fault_is_refused_by_name(changed: dict[str, str], person: dict[str, Any], said: str) -> None:
    found = refusals(GOOD | changed, persons(**person))
    assert any(said in fault for fault in found), found
    assert not any(secret in fault for fault in found for secret in (GOOD["AIRFLOW_FERNET_KEY"], "s3", "cret@"))


def test_the_demo_may_have_placeholders_and_an_unknown_commit_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hailong.settings.Settings.code_version", "0.1.0+unknown")
    env = GOOD | {"POSTGRES_PASSWORD": "change-me-postgres"}
    assert refusals(env | {"HAILONG_PROFILES": "demo", "HAILONG_URL": "http://127.0.0.1:8080"}, persons()) == []
    assert len(refusals(env, persons())) == 2


PROVIDER = {
    "HAILONG_OIDC_ISSUER": "https://id.example.org", "HAILONG_OIDC_CLIENT_ID": "hailong",
    "HAILONG_OIDC_CLIENT_SECRET": "s", "HAILONG_OIDC_ROLES": '{"ky": "Signer"}',
}  # fmt: skip


def test_with_a_provider_of_identity_signers_need_not_be_in_the_file() -> None:
    assert refusals(GOOD | PROVIDER | {"HAILONG_SIGNERS": "binh"}, []) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HAILONG_OIDC_CLIENT_SECRET", "", "HAILONG_OIDC_CLIENT_SECRET is missing"),
        ("HAILONG_OIDC_ROLES", '{"ky": "Op"}', "gives the role Op"),
        ("HAILONG_OIDC_ROLES", "ky:Signer", "is not a JSON object"),
    ],
)
def test_a_provider_that_could_let_nobody_or_too_much_in_is_refused(name: str, value: str, said: str) -> None:
    assert [said in fault for fault in refusals(GOOD | PROVIDER | {name: value}, [])] == [True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {username: a b, role: signer}", "0.username"),
        ("- {username: an, role: boss, first_name: A, last_name: N, email: a@b, password: s3cret}", "0.role"),
        ("- {username: an, pasword: s3cret}", "0.pasword"),
        ("an: {password: s3cret}", "the file: "),
        ("- {username: an\n  password: [s3cret", "not YAML, line"),
    ],
)
def test_a_file_of_users_with_a_fault_is_refused_without_a_password_in_the_message(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(text)
    with pytest.raises(PermanentError, match=re.escape(said)) as caught:
        people.read(path)
    assert "s3cret" not in str(caught.value)


def test_a_name_twice_in_the_file_of_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(
        "".join(
            f"- {{username: {name}, role: viewer, first_name: A, last_name: N, email: {name}@b}}\n"
            for name in ("An", "an")
        )
    )
    with pytest.raises(PermanentError, match="names an twice"):
        people.read(path)


def test_an_address_twice_in_the_file_of_users_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(
        "".join(
            f"- {{username: {name}, role: viewer, first_name: A, last_name: N, email: {address}}}\n"
            for name, address in (("an", "vp@b"), ("binh", "VP@b"))
        )
    )
    with pytest.raises(PermanentError, match="address vp@b twice"):
        people.read(path)


@dataclass
class Account:
    username: str
    first_name: str
    last_name: str
    email: str
    roles: list[str]
    password: str
    active: bool = True


@dataclass
class Security:
    """What `people.apply` uses of Flask-AppBuilder's security manager."""

    users: dict[str, Account] = field(default_factory=dict)
    updates: int = 0
    stores: bool = True

    def find_role(self, name: str) -> str:
        return name

    def find_user(self, username: str) -> Account | None:
        return self.users.get(username)

    def add_user(
        self,
        username: str,
        first: str,
        last: str,
        email: str,
        roles: list[str],
        password: str = "",
        hashed_password: str = "",
    ) -> Account:
        self.users[username] = Account(username, first, last, email, roles, hashed_password or f"hash of {password}")
        return self.users[username]

    def update_user(self, _: Account) -> bool:
        self.updates += 1
        return self.stores


def test_people_are_made_once_and_a_changed_password_is_kept() -> None:
    security = Security()
    assert people.apply(persons(password="first"), security, by_password=True) == (["an"], [])
    security.users["an"].password = "own choice"
    assert people.apply(persons(password="first"), security, by_password=True) == ([], [])
    assert (security.users["an"].password, security.updates) == ("own choice", 0)
    assert people.apply(persons(role="viewer", active=False), security, by_password=True) == ([], ["an"])
    assert (security.users["an"].roles, security.users["an"].active) == (["Viewer"], False)


def test_a_change_that_is_not_stored_is_not_told_as_done() -> None:
    security = Security()
    people.apply(persons(password="first"), security, by_password=True)
    security.stores = False
    with pytest.raises(PermanentError, match="an cannot be stored"):
        people.apply(persons(active=False), security, by_password=True)


def test_a_signer_has_no_password_beside_a_provider_of_identity() -> None:
    security = Security()
    people.apply(persons(password="first"), security, by_password=True)
    assert people.apply(persons(password="first"), security, by_password=False) == ([], ["an"])
    assert security.users["an"].password == people.NO_PASSWORD
    new = Security()
    people.apply(persons(password="first"), new, by_password=False)
    assert new.users["an"].password == people.NO_PASSWORD


def test_without_a_password_nobody_is_made_who_signs_in_by_one_and_no_empty_one_is_set() -> None:
    with pytest.raises(PermanentError, match="an has no password"):
        people.apply(persons(), Security(), by_password=True)
    security = Security()
    people.apply(persons(), security, by_password=False)
    assert security.users["an"].password == people.NO_PASSWORD


def test_sign_in_is_by_password_unless_a_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from flask_appbuilder.const import AUTH_DB, AUTH_OAUTH

    path = str(PROJECT / "plugins/hailong/server/webserver_config.py")
    monkeypatch.delenv("HAILONG_OIDC_ISSUER", raising=False)
    made = runpy.run_path(path)
    assert (made["AUTH_TYPE"], made["AUTH_USER_REGISTRATION"]) == (AUTH_DB, False)
    for name, value in {
        "ISSUER": "https://id.example.org/realms/city/", "CLIENT_ID": "hailong", "CLIENT_SECRET": "s",
        "ROLES": '{"ky": "Signer", "kỹ-sư": "Engineer"}',
    }.items():  # fmt: skip
        monkeypatch.setenv(f"HAILONG_OIDC_{name}", value)
    made = runpy.run_path(path)
    assert made["AUTH_TYPE"] == AUTH_OAUTH
    assert made["AUTH_ROLES_MAPPING"] == {"ky": ["Signer"], "kỹ-sư": ["Engineer"]}
    assert (made["AUTH_USER_REGISTRATION_ROLE"], made["AUTH_ROLES_SYNC_AT_LOGIN"]) == ("Public", True)
    remote = made["OAUTH_PROVIDERS"][0]["remote_app"]
    assert remote["server_metadata_url"] == "https://id.example.org/realms/city/.well-known/openid-configuration"
    assert "groups" in remote["client_kwargs"]["scope"]


def entry_point(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hailong.server", *arguments],
        env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_entry_point_runs_a_command_in_its_environment_and_ends_as_it_does() -> None:
    code = "import os, sys; print(os.environ['HAILONG_DSN'], 'HAILONG_DB_PASSWORD' in os.environ); sys.exit(7)"
    done = entry_point(sys.executable, "-c", code, HAILONG_DB_PASSWORD="w")
    assert (done.returncode, done.stdout.split()) == (7, ["postgresql://hailong:w@postgres:5432/hailong", "False"])
    assert entry_point("no-such-command").returncode == 1
    assert entry_point().returncode == 2
    assert entry_point("health", "nonsense").returncode == 2


def test_version_is_the_first_line_of_the_file_that_the_image_carries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    from dataclasses import replace

    from hailong.settings import Settings

    (tmp_path / "VERSION").write_text("0.1.0+0123456789ab\n2026-11-29T09:00:00+07:00\n")
    assert replace(Settings.load({}), project=tmp_path).code_version == "0.1.0+0123456789ab"


def test_what_only_developers_need_is_told_from_what_runs() -> None:
    apart = set(installed.unneeded())
    assert {"pytest", "mypy", "ruff", "moto", "setuptools"} <= apart
    assert not apart & {
        "apache-airflow",
        "celery",
        "redis",
        "flask-appbuilder",
        "authlib",
        "psycopg-binary",
        "typst",
        "hailong",
        "pip",
    }


def test_every_locked_package_of_the_services_is_there() -> None:
    lock = (PROJECT / "requirements.lock").read_text("utf-8")
    for name in ("apache-airflow-providers-fab", "apache-airflow-providers-celery", "celery", "redis", "authlib"):
        assert re.search(rf"^{name}==", lock, re.M), name
