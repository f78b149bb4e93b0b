"""docker-compose.yml and .env.example, read as files: what every service must have, and no secret that compose would make up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hailong.contracts import FileDrop, load_contracts
from hailong.review.owners import OURS, role
from hailong.server import people
from hailong.server.environment import SECRETS, SOURCE_SECRET, is_placeholder
from hailong.server.init import REQUIRED
from hailong.settings import PROJECT, Settings

COMPOSE = PROJECT / "docker-compose.yml"
EXAMPLE = PROJECT / ".env.example"
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")
ONCE = {"init"}
# Given by whoever builds the image, not by the operator.
OF_THE_BUILD = {"COMMIT", "BUILD_DATE"}


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    return found


def example() -> dict[str, str]:
    """Every variable of .env.example, also those that are commented out."""
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text("utf-8"), re.M))


def test_the_services_of_the_issue_are_there() -> None:
    assert set(services()) == {
        "postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer", "worker", "redis", "sandbox"
    }  # fmt: skip
    assert {name: service.get("profiles") for name, service in services().items() if service.get("profiles")} == {
        "worker": ["celery"], "redis": ["celery"], "sandbox": ["demo"]
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(services()))
def test_each_service_is_limited_watched_and_started_again(name: str) -> None:
    service = services()[name]
    assert {"mem_limit", "cpus"} <= set(service)
    assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    if name not in ONCE:
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
        if service["healthcheck"]["test"][1:4] == ["python", "-m", "hailong.server"]:
            assert service["healthcheck"]["test"][4:] == ["health", name]
    if name != "postgres":  # its image begins as root and goes over to its own user
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


def test_what_keeps_data_is_a_named_volume_and_ports_are_on_loopback() -> None:
    volumes = yaml.safe_load(COMPOSE.read_text("utf-8"))["volumes"]
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if not volume.startswith("$") else None
            assert source in volumes or volume.endswith("/run/hailong/users.yaml:ro"), (name, volume)
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${HAILONG_BIND:-127.0.0.1}:")), (name, port)
    assert {name for name, service in services().items() if service.get("ports")} == {"api-server", "sandbox"}


def test_no_secret_has_a_default_and_a_missing_one_stops_with_its_name() -> None:
    said: dict[str, set[tuple[str, str]]] = {}
    for name, how, what in VARIABLE.findall(COMPOSE.read_text("utf-8")):
        said.setdefault(name, set()).add((how, what))
    secrets = {name for name in said if name in SECRETS or SOURCE_SECRET.fullmatch(name)}
    assert set(REQUIRED) <= secrets
    for name in secrets:
        wanted = ("?", f"set {name} in .env, see .env.example") if name in REQUIRED else ("-", "")
        assert said[name] == {wanted}, name


def test_every_variable_is_explained_once_and_every_secret_of_the_example_is_a_placeholder() -> None:
    used = {name for name, _, _ in VARIABLE.findall(COMPOSE.read_text("utf-8"))} | {"COMPOSE_PROFILES"}
    assert used - OF_THE_BUILD == set(example())
    blocks = re.split(r"\n(?=# [^-])", EXAMPLE.read_text("utf-8"))
    assert all(any(f"{name}=" in block for block in blocks[1:]) for name in example())
    for name, value in example().items():
        if value and (name in SECRETS or re.fullmatch(r"HAILONG_SOURCE_\w+_TOKEN", name)):
            assert is_placeholder(value), name
    persons = people.read(PROJECT / "users.example.yaml")
    assert sorted(people.placeholders(persons)) == sorted(person.username for person in persons)


def test_every_system_and_every_owner_of_a_contract_can_be_named() -> None:
    tasks = services()["scheduler"]["environment"]
    init = services()["init"]["environment"]
    for contract in load_contracts(Settings.load({}).contracts).values():
        kind = "DROP" if isinstance(contract.connector, FileDrop) else "URL"
        assert f"HAILONG_SOURCE_{contract.connector.system.upper()}_{kind}" in init
        if contract.owner != OURS:
            assert f"HAILONG_MAIL_{role(contract.owner).upper()}" in tasks


def test_each_service_is_given_what_it_needs_and_no_more() -> None:
    holders = {
        name: {service for service, what in services().items() if name in (what.get("environment") or {})}
        for name in (*SECRETS, "HAILONG_SOURCE_TTHC_TOKEN")
    }
    tasks = {"init", "scheduler", "worker"}
    assert holders["POSTGRES_PASSWORD"] == {"postgres", "init"}
    assert holders["HAILONG_DB_PASSWORD"] == {*tasks, "api-server"}
    assert holders["HAILONG_PSEUDONYM_KEY"] == holders["HAILONG_SMTP_URL"] == holders["HAILONG_WEBHOOK_KEY"] == tasks
    assert holders["OPENLINEAGE_API_KEY"] == tasks
    assert holders["HAILONG_SOURCE_TTHC_TOKEN"] == {"init"}
    assert holders["HAILONG_OIDC_CLIENT_SECRET"] == {"init", "api-server"}
    assert not any("sandbox" in found for found in holders.values())


def test_every_process_of_ours_is_told_how_to_log() -> None:
    ours = set(services()) - {"postgres", "redis", "sandbox"}
    told = {name for name, service in services().items() if "HAILONG_LOG" in (service.get("environment") or {})}
    assert told == ours
    assert example()["HAILONG_LOG"] == "json"


def test_the_image_is_of_the_lock_runs_as_nobody_special_and_takes_no_secret() -> None:
    text = (PROJECT / "Dockerfile").read_text("utf-8")
    assert "--no-deps --require-hashes" in text and "requirements.lock" in text
    assert re.search(r"^ARG BASE_IMAGE=python:3\.11", text, re.M)
    assert re.findall(r"^USER (.*)$", text, re.M)[-1] == "10001:10001"
    assert not re.search(r"^(ARG|ENV) .*(PASSWORD|SECRET|TOKEN|KEY)", text, re.M)
    ignored = (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[1] == "*"  # only what is named goes in
    assert {line[1:] for line in ignored if line.startswith("!")} == {
        "requirements.lock", "pyproject.toml", "dags", "dbt_project", "expectations", "plugins", "sandbox"
    }  # fmt: skip


def test_real_secrets_stay_out_of_the_repository() -> None:
    assert {".env", "users.yaml", "docker-compose.override.yml"} <= set(
        (PROJECT / ".gitignore").read_text("utf-8").split()
    )
    assert not [
        path for path in (Path("users.yaml"), Path("docker-compose.override.yml")) if (PROJECT / path).is_file()
    ]
