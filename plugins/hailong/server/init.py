"""The init job: what must be right before a service starts. Safe to repeat; runs again with every `up` of a new image.

Configuration is judged first and whole, so that nothing is made half-way with a secret that everybody knows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from hailong import logs
from hailong.errors import PermanentError, TransientError
from hailong.server import people
from hailong.server.environment import (
    KEYS,
    METADATA,
    SECRETS,
    SOURCE_SECRET,
    WAREHOUSE,
    database,
    environment,
    is_placeholder,
    profiles,
    resolved,
)  # fmt: skip
from hailong.settings import Settings

REQUIRED = ("POSTGRES_PASSWORD", "HAILONG_DB_PASSWORD", "AIRFLOW_DB_PASSWORD", *KEYS, "HAILONG_PSEUDONYM_KEY")
USERS = Path("/run/hailong/users.yaml")
FERNET = re.compile(r"[A-Za-z0-9_-]{43}=")
SOURCE = re.compile(r"HAILONG_SOURCE_[A-Z_]+_(URL|DROP|OPTIONS)")
PATIENCE = 60  # seconds that the database server is waited for


def init(env: Mapping[str, str], users: Path = USERS) -> None:
    """Check, make logins and databases, migrate both, then roles, users and connections. PermanentError says what to repair."""
    given = resolved(env)
    persons = people.read(users)
    if faults := refusals(given, persons):
        raise PermanentError("\n  - ".join(["this configuration is not started:", *faults]))
    made = environment(env)
    settings = Settings.load(made)
    admin = database("postgres", given["POSTGRES_PASSWORD"])
    say(f"version {settings.code_version}")
    for name, password, options in (
        (WAREHOUSE, given["HAILONG_DB_PASSWORD"], "createrole"),
        (METADATA, given["AIRFLOW_DB_PASSWORD"], "nocreaterole"),
    ):
        make_database(admin, name, password, options)
    say(f"databases {WAREHOUSE} and {METADATA}, each with a user of its own")
    _airflow(["db", "migrate"], made)
    say("Airflow's metadata are at their newest schema")

    from hailong.warehouse.migrations import migrate

    applied = migrate(settings)
    say(f"warehouse: {len(applied.applied)} migrations applied, {applied.already} stood already")
    os.environ.update(made, AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING")  # read when Airflow is imported, which is now
    sign_in(persons, made)
    _connections(made)


def say(text: str) -> None:
    if logs.is_json():
        logs.tell("told", text)
    else:
        print(f"init: {text}", flush=True)


def refusals(env: Mapping[str, str], persons: list[people.Person]) -> list[str]:
    """Everything that keeps this configuration from being started, in words that hold no secret."""
    faults = [f"{name} is missing: set it in .env, or {name}_FILE" for name in REQUIRED if not env.get(name)]
    on = profiles(env)
    celery = env.get("AIRFLOW_EXECUTOR") == "CeleryExecutor"
    if celery != ("celery" in on):
        faults.append("AIRFLOW_EXECUTOR=CeleryExecutor and the profile celery in COMPOSE_PROFILES belong together")
    if celery and not env.get("REDIS_PASSWORD"):
        faults.append("REDIS_PASSWORD is missing: set it in .env")
    if env.get("AIRFLOW_FERNET_KEY") and not FERNET.fullmatch(env["AIRFLOW_FERNET_KEY"]):
        faults.append("AIRFLOW_FERNET_KEY is not 32 bytes in URL-safe base64: see .env.example")
    signers = [name.strip() for name in env.get("HAILONG_SIGNERS", "").split(",") if name.strip()]
    if not signers:
        faults.append("HAILONG_SIGNERS names nobody: nothing could ever be published")
    elif not env.get("HAILONG_OIDC_ISSUER") and (unfit := people.unfit_signers(signers, persons)):
        faults.append(f"HAILONG_SIGNERS names {', '.join(unfit)}: no active signer of the file of users")
    faults += _provider_faults(env)
    known = [
        name
        for name, value in env.items()
        if (name in SECRETS or SOURCE_SECRET.fullmatch(name)) and is_placeholder(value)
    ]
    known += [f"the password of {name} in the file of users" for name in people.placeholders(persons)]
    if known and "demo" not in on:
        faults.append(f"still as in the example, so known to everybody: {', '.join(known)}. Only the profile demo may")
    if known and not _is_loopback(env.get("HAILONG_BIND", "127.0.0.1")):
        faults.append(f"HAILONG_BIND is no loopback address, and these are known to everybody: {', '.join(known)}")
    if known and "demo" in on and not _is_here(env.get("HAILONG_URL", "http://localhost")):
        faults.append(f"HAILONG_URL is not this machine's, and these are known to everybody: {', '.join(known)}")
    faults += _source_faults(env)
    if "demo" not in on and Settings.load({}).code_version.endswith("+unknown"):
        faults.append("this image does not know its commit, and editions name it: build it with `make image`")
    return faults


def _provider_faults(env: Mapping[str, str]) -> list[str]:
    """What is wrong with the provider of identity, if one is named."""
    if not env.get("HAILONG_OIDC_ISSUER"):
        return []
    names = ("HAILONG_OIDC_CLIENT_ID", "HAILONG_OIDC_CLIENT_SECRET", "HAILONG_OIDC_ROLES")
    faults = [f"{name} is missing beside HAILONG_OIDC_ISSUER" for name in names if not env.get(name)]
    try:
        roles = json.loads(env.get("HAILONG_OIDC_ROLES") or "{}")
        unknown = sorted({str(role) for role in roles.values()} - set(people.ROLE_NAMES.values()))
    except (ValueError, AttributeError):
        return [*faults, 'HAILONG_OIDC_ROLES is not a JSON object on one line, as {"group": "Signer"}']
    return [*faults, *(f"HAILONG_OIDC_ROLES gives the role {role}, which is none of ours" for role in unknown)]


def _source_faults(env: Mapping[str, str]) -> list[str]:
    """Addresses and options of sources that cannot be read, by name: what reads them later would quote them."""
    faults = []
    for name, value in sorted(env.items()):
        if not SOURCE.fullmatch(name) or not value:
            continue
        try:
            if name.endswith("_OPTIONS"):
                json.loads(value)
            else:
                urlsplit(value).port  # noqa: B018
        except ValueError:
            what = (
                "not JSON on one line"
                if name.endswith("_OPTIONS")
                else "no address: / @ : in a password are %2F %40 %3A"
            )
            faults.append(f"{name} is {what}")
    return faults


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or _is_loopback(host)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def make_database(
    admin: str, name: str, password: str, options: str, connect: Callable[..., psycopg.Connection] = psycopg.connect
) -> None:
    """A login with this password and a database that it owns and nobody else may enter. The password is set each time."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection = connect(admin, autocommit=True, connect_timeout=10)
            break
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            if "authentication failed" in reason:
                raise PermanentError(
                    "the database server refuses POSTGRES_PASSWORD: its volume was made with another one. Change it there first "
                    "(docs/runbook.md, secrets)"
                ) from None
            if time.monotonic() > deadline:
                raise TransientError(f"the database server does not answer: {reason}") from None
            time.sleep(2)
    with connection:
        role = sql.Identifier(name)
        if not connection.execute("select 1 from pg_roles where rolname = %s", (name,)).fetchone():
            connection.execute(sql.SQL("create role {} login").format(role))
        # As a verifier, so that no log of statements can hold the password itself.
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        connection.execute(
            sql.SQL("alter role {} login nosuperuser nocreatedb {} password {}").format(
                role, sql.SQL(options), sql.Literal(verifier)
            )
        )
        if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            connection.execute(sql.SQL("create database {} owner {}").format(role, role))
        connection.execute(sql.SQL("revoke all on database {} from public").format(role))


def _airflow(arguments: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", env=dict(env), check=False,
    )  # fmt: skip
    if done.returncode:
        raise PermanentError(f"`airflow {' '.join(arguments)}` failed (exit {done.returncode}):\n{done.stdout[-3000:]}")


def sign_in(persons: list[people.Person], env: Mapping[str, str]) -> None:
    """Roles and users in Airflow's metadata; the environment of this process must be that of Airflow already."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    from hailong.airflow_auth import ROLES, set_roles

    with get_application_builder() as builder:
        set_roles(builder.sm)
        made, changed = people.apply(persons, builder.sm, by_password=not env.get("HAILONG_OIDC_ISSUER"))
    say(f"roles {', '.join(ROLES)}")
    say(f"users made: {', '.join(made) or 'none'}; changed: {', '.join(changed) or 'none'}")


def _connections(env: Mapping[str, str]) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    from hailong.airflow_connections import of_environment

    found = of_environment(env)
    with create_session() as session:
        for name, fields in found.items():
            session.execute(delete(Connection).where(Connection.conn_id == name))
            session.add(Connection(conn_id=name, **fields))
    say(f"connections: {', '.join(found) or 'none; those made in Airflow stay'}")
