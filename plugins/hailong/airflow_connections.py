"""Addresses of source systems out of Airflow's connections, for tasks whose environment does not name them.

A system `tthc` has the connection `hailong_tthc` or `tthc`. What is found goes into the environment of one task's process:
never into its arguments, its log or XCom.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException

DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}  # Airflow's name → SQLAlchemy's


def source_environment(system: str, connector: str, env: Mapping[str, str]) -> dict[str, str]:
    """Variables of a system that `env` lacks, from the Airflow connection of its name; none when there is no such connection.

    `connector` is the class of the contract's connector: PagedHttp and PortalWindows need address and token (the password),
    SqlView a SQLAlchemy URL, FileDrop the address of a folder and the options of its storage.
    """
    prefix = f"HAILONG_SOURCE_{system.upper()}"
    wanted = f"{prefix}_DROP" if connector == "FileDrop" else f"{prefix}_URL"
    if env.get(wanted):
        return {}
    connection = _connection(system)
    if connection is None:
        return {}
    if connector == "FileDrop":
        return {wanted: _folder(connection), f"{prefix}_OPTIONS": json.dumps(_options(connection))}
    if connector == "SqlView":
        return {wanted: _database(connection)}
    return {wanted: _address(connection), f"{prefix}_TOKEN": connection.password or ""}


def _connection(system: str) -> Any:
    for name in (f"hailong_{system}", system):
        try:
            return Connection.get(name)
        except AirflowException:
            continue
    return None


def _address(connection: Any) -> str:
    """`https://host[:port][/base]`: as in Airflow's HTTP connections, the schema is the protocol, also where the host has one."""
    host = str(connection.host or "")
    if not host.rpartition("://")[2]:
        raise AirflowFailException(
            f"the connection '{connection.conn_id}' has no host: write the system's address there"
        )
    protocol, separator, rest = host.partition("://")
    if not separator:
        protocol, rest = connection.schema or "https", host
    name, slash, base = rest.partition("/")
    port = f":{connection.port}" if connection.port and ":" not in name else ""
    return f"{protocol}://{name}{port}{slash}{base}"


def _database(connection: Any) -> str:
    kind = str(connection.conn_type)
    driver = connection.extra_dejson.get("sqlalchemy_driver") or DRIVERS.get(kind, kind)
    if kind == "sqlite":
        return f"sqlite:///{connection.host or connection.schema or ''}"
    login = quote(connection.login or "", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    at = "@" if login or password else ""
    port = f":{connection.port}" if connection.port else ""
    return f"{driver}://{login}{password}{at}{connection.host or ''}{port}/{quote(connection.schema or '', safe='')}"


def _folder(connection: Any) -> str:
    host = str(connection.host or "")
    if "://" in host or host.startswith("/"):
        return host
    path = f"/{connection.schema.lstrip('/')}" if connection.schema else ""
    scheme = {"aws": "s3", "ssh": "sftp"}.get(str(connection.conn_type), str(connection.conn_type))
    return f"{scheme}://{host}{path}"


def _options(connection: Any) -> dict[str, Any]:
    options = dict(connection.extra_dejson)
    login, password = ("key", "secret") if connection.conn_type in ("aws", "s3") else ("username", "password")
    given = {login: connection.login, password: connection.password, "port": connection.port}
    return {name: value for name, value in given.items() if value} | options
