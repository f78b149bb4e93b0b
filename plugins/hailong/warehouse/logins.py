"""Logins of units: which login reads the rows of which unit in `publish` (row-level security, ADR 21)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from hailong.errors import PermanentError
from hailong.settings import Settings
from hailong.warehouse.connect import connect, where

UNIT_READER = "hailong_unit_reader"
OWNER = "hailong_owner"
# Roles of PostgreSQL itself that read past every grant.
WIDE = ("pg_read_all_data", "pg_write_all_data", "pg_read_server_files", "pg_execute_server_program")


@dataclass(frozen=True)
class UnitLogin:
    """The newest entry of a login and unit: granted or taken away, who decided it, since when (UTC)."""

    login: str
    unit_code: str
    is_granted: bool
    by: str
    at: datetime

    @property
    def message(self) -> str:
        may = "may read" if self.is_granted else "may no longer read"
        return f"{self.login} {may} {self.unit_code}: decided by {self.by}, recorded {self.at:%Y-%m-%d %H:%M} UTC"


def grant_unit(settings: Settings, login: str, unit_code: str, by: str) -> UnitLogin:
    """Let a login read the rows of a unit, on the record; harmless to repeat.

    PermanentError when there is no such login or unit, when the login would see more than its units by another role, or
    when this connection may not grant roles.
    """
    with _as_administrator(settings) as connection:
        _must_be_narrow(connection, settings, login)
        _must_be_known(connection, unit_code)
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(UNIT_READER), sql.Identifier(login)))
        return _record(connection, login, unit_code, True, by)


def revoke_unit(settings: Settings, login: str, unit_code: str, by: str) -> UnitLogin:
    """Take a unit away from a login, on the record. PermanentError when it does not have it."""
    with _as_administrator(settings) as connection:
        connection.execute("set local role hailong_reader")
        if not any(entry.login == login and entry.unit_code == unit_code for entry in _newest(connection)):
            raise PermanentError(f"{login} may not read {unit_code} anyway: `hailong roles list` says who reads what")
        return _record(connection, login, unit_code, False, by)


def unit_logins(settings: Settings) -> list[UnitLogin]:
    """Who reads which unit today, by login and unit."""
    with connect(settings, "hailong_reader") as connection:
        return _newest(connection)


@contextmanager
def _as_administrator(settings: Settings) -> Iterator[psycopg.Connection]:
    """The login that runs the migrations: it may become the owner of `publish` and grant roles. The program's own need not."""
    with connect(settings) as connection:
        try:
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)))
            connection.execute("reset role")
            yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise PermanentError(
                f"the login of HAILONG_DSN may not decide who reads what ({str(error).splitlines()[0]}): run this as the login "
                "that runs the migrations"
            ) from error


def _newest(connection: psycopg.Connection) -> list[UnitLogin]:
    with connection.cursor(row_factory=class_row(UnitLogin)) as cursor:
        entries = cursor.execute(
            "select distinct on (login, unit_code) login, unit_code, is_granted, by, at from publish.unit_login "
            "order by login, unit_code, entry_id desc"
        ).fetchall()
    return [entry for entry in entries if entry.is_granted]


def _record(connection: psycopg.Connection, login: str, unit_code: str, is_granted: bool, by: str) -> UnitLogin:
    connection.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)))
    standing = [entry for entry in _newest(connection) if (entry.login, entry.unit_code) == (login, unit_code)]
    if is_granted and standing:
        return standing[0]
    with connection.cursor(row_factory=class_row(UnitLogin)) as cursor:
        entry = cursor.execute(
            "insert into publish.unit_login (login, unit_code, is_granted, by) values (%s, %s, %s, %s) "
            "returning login, unit_code, is_granted, by, at",
            (login, unit_code, is_granted, by),
        ).fetchone()
    assert entry
    return entry


def _must_be_narrow(connection: psycopg.Connection, settings: Settings, login: str) -> None:
    row = connection.execute(
        "select rolcanlogin, rolsuper or rolbypassrls from pg_roles where rolname = %s", (login,)
    ).fetchone()
    if row is None or not row[0]:
        raise PermanentError(
            f"there is no login '{login}' at {where(settings)}: an administrator makes it first (`create role … login`, "
            "docs/runbook.md)"
        )
    others: list[str] = [
        name
        for (name,) in connection.execute(
            "select rolname from pg_roles where (rolname like %s or rolname = any(%s)) "
            "and rolname not in (%s, 'hailong_open_reader') and rolname <> %s and pg_has_role(%s, oid, 'member') order by 1",
            (r"hailong\_%", list(WIDE), UNIT_READER, login, login),
        ).fetchall()
    ]
    if row[1] or others:
        why = "is an administrator" if row[1] else f"has {', '.join(others)}"
        raise PermanentError(f"'{login}' {why} and would see more than its unit: give the unit a login of its own")


def _must_be_known(connection: psycopg.Connection, unit_code: str) -> None:
    """A mistyped code would be a login that sees nothing, or another unit's."""
    if connection.execute("select to_regclass('core.dim_unit')").fetchone() == (None,):
        raise PermanentError("no build has run yet, so no unit is known: run `hailong build` first")
    connection.execute("set local role hailong_reader")
    known = connection.execute("select 1 from core.dim_unit where unit_code = %s", (unit_code,)).fetchone()
    if known is None:
        near = connection.execute(
            "select unit_code from core.dim_unit where unit_code like %s order by 1 limit 5", (f"{unit_code[:6]}%",)
        ).fetchall()
        hint = f"; codes that begin like it: {', '.join(code for (code,) in near)}" if near else ""
        raise PermanentError(f"the unit register has no '{unit_code}'{hint}")
    connection.execute("reset role")
