"""Reaching the warehouse: the server that `HAILONG_DSN` names, or the embedded one."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from hailong.errors import PermanentError, TransientError, UsageError
from hailong.settings import Settings
from hailong.warehouse.embedded import Embedded

MINIMUM_VERSION = 150000


def dsn(settings: Settings) -> str:
    """`postgresql://…` address of the warehouse; starts the embedded server when no other is set."""
    return settings.dsn or Embedded(settings.home).up().uri("hailong")


def adbc_uri(settings: Settings) -> str:
    """The same address for ADBC (libpq's own URI form)."""
    return dsn(settings)


def airflow_uri(settings: Settings, driver: str = "postgresql+psycopg2") -> str:
    """SQLAlchemy address of Airflow's metadata: its own database beside the warehouse's."""
    if not settings.dsn:
        return Embedded(settings.home).up().uri("airflow", driver)
    explicit = settings.env.get("HAILONG_AIRFLOW_DSN")
    parts = urlsplit(explicit or settings.dsn)
    path = parts.path if explicit else f"{parts.path}_airflow"
    return urlunsplit((driver, parts.netloc, path, parts.query, ""))


def where(settings: Settings) -> str:
    """Host, port and database for messages: never the password."""
    parts = conninfo_to_dict(settings.dsn) if settings.dsn else {}
    return (
        f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}" if parts else "embedded"
    )


def connect(settings: Settings, role: str | None = None, autocommit: bool = False) -> psycopg.Connection:
    """A psycopg connection, in UTC, acting as `role`. TransientError when the server is away."""
    address = dsn(settings)
    try:
        connection = psycopg.connect(
            address, autocommit=True, connect_timeout=10, application_name="hailong", options="-c timezone=UTC"
        )
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise TransientError(
            f"no connection to the warehouse at {where(settings)}: {reason}. "
            "Is the server up? Check HAILONG_DSN, or unset it to use the embedded server (`hailong db up`)."
        ) from error
    except psycopg.ProgrammingError:  # its text quotes the address, password included
        raise UsageError(
            "HAILONG_DSN cannot be read: write postgresql://user:password@host:5432/database, and only options that libpq knows"
        ) from None
    if connection.info.server_version < MINIMUM_VERSION:
        found = connection.info.server_version // 10000
        connection.close()
        raise PermanentError(
            f"PostgreSQL {found} at {where(settings)}: version 15 or newer is needed (security_invoker views)"
        )
    if role:
        try:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        except psycopg.Error as error:
            connection.close()
            raise PermanentError(
                f"the role '{role}' cannot be taken at {where(settings)}: {str(error).strip()}. Run `hailong db migrate` first."
            ) from error
    connection.autocommit = autocommit
    return connection
