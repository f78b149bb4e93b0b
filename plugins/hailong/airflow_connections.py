"""Addresses of source systems out of Airflow's connections, for tasks whose environment does not name them.

A system `tthc` has the connection `hailong_tthc` or `tthc`, for files that are dropped `hailong_tthc_drop` before them, because
one system may have both. What is found goes into the environment of one task's process:
never into its arguments, its log or XCom.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

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
    connection = _connection(system, connector == "FileDrop")
    if connection is None:
        return {}
    if connector == "FileDrop":
        return {wanted: _folder(connection), f"{prefix}_OPTIONS": json.dumps(_options(connection))}
    if connector == "SqlView":
        return {wanted: _database(connection)}
    return {wanted: _address(connection), f"{prefix}_TOKEN": connection.password or ""}


def of_environment(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Connections that say what HAILONG_SOURCE_* of `env` say: connection id → fields, such that `source_environment` gives
    the same back. So a server keeps tokens and passwords encrypted in Airflow, and no task has those of another source.
    """
    found = {}
    for name, value in sorted(env.items()):
        match = re.fullmatch(r"HAILONG_SOURCE_([A-Z_]+)_(URL|DROP)", name)
        if not match or not value:
            continue
        system, kind = match.groups()
        if kind == "DROP":
            fields = {
                "conn_type": "generic",
                "host": value,
                "extra": env.get(f"HAILONG_SOURCE_{system}_OPTIONS") or None,
            }
        elif value.startswith(("http://", "https://")):
            fields = {"conn_type": "http", "host": value, "password": env.get(f"HAILONG_SOURCE_{system}_TOKEN")}
        else:
            fields = _of_database(value)
        found[f"hailong_{system.lower()}" + ("_drop" if kind == "DROP" else "")] = fields
    return found


def _of_database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[0]
    if kind == "sqlite":
        return {"conn_type": kind, "host": parts.path.removeprefix("/")}
    return {
        "conn_type": "postgres" if kind == "postgresql" else kind,
        "host": parts.hostname, "port": parts.port, "schema": unquote(parts.path.removeprefix("/")),
        "login": unquote(parts.username or "") or None, "password": unquote(parts.password or "") or None,
        "extra": json.dumps({"sqlalchemy_driver": parts.scheme, "query": dict(parse_qsl(parts.query))}),
    }  # fmt: skip


def _connection(system: str, dropped: bool) -> Any:
    for name in (*((f"hailong_{system}_drop",) if dropped else ()), f"hailong_{system}", system):
        try:
            found = Connection.get(name)
        except AirflowException:
            continue
        if not dropped or found.conn_type not in ("http", "https"):
            return found
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
    query = urlencode(connection.extra_dejson.get("query") or {})
    path = f"{quote(connection.schema or '', safe='')}{'?' if query else ''}{query}"
    return f"{driver}://{login}{password}{at}{connection.host or ''}{port}/{path}"


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
