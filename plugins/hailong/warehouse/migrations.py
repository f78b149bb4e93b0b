"""Versioned migrations: numbered SQL files, each run once in its own transaction, then raw tables from the contracts."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from hailong.contracts import load_contracts
from hailong.errors import PermanentError
from hailong.load.raw import ensure_tables
from hailong.settings import Settings
from hailong.warehouse.connect import connect

FOLDER = Path(__file__).parent / "migrations"
LOCK = 104_000  # advisory lock: one migration at a time


@dataclass(frozen=True)
class Migrated:
    """What a run did: names of the files applied now, and how many stood already."""

    applied: tuple[str, ...]
    already: int


def migration_files(folder: Path = FOLDER) -> dict[Path, str]:
    """The migrations in their order, and the SHA-256 of each. PermanentError when there are none."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    if not files:
        raise PermanentError(f"no migrations in {folder}: the installation is incomplete")
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def migrate(settings: Settings, folder: Path = FOLDER, only: Collection[str] | None = None) -> Migrated:
    """Bring the database to the newest schema, or to the one that `only` these files make; harmless to repeat.

    PermanentError when a file that was applied has been changed since: write a new one instead.
    """
    files = {path: digest for path, digest in migration_files(folder).items() if only is None or path.name in only}
    applied: list[str] = []
    with connect(settings, autocommit=True) as connection:
        if connection.info.server_version >= 160000:  # since then who makes a role may not take it by that alone
            connection.execute("set createrole_self_grant = 'set, inherit'")
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        try:
            done = _recorded(connection)
            for path, digest in files.items():
                if path.name in done:
                    if done[path.name] != digest:
                        raise PermanentError(
                            f"migration {path.name} was changed after it had been applied: put the file back as it was "
                            "and write the change as a new migration"
                        )
                    continue
                _apply(connection, path.name, path.read_text(encoding="utf-8"), digest)
                applied.append(path.name)
            _grant_database(connection)
            with connection.transaction():
                ensure_tables(connection, load_contracts(settings.contracts))
        finally:
            connection.execute("select pg_advisory_unlock(%s)", (LOCK,))
    return Migrated(tuple(applied), len(files) - len(applied))


def _recorded(connection: psycopg.Connection) -> dict[str, str]:
    connection.execute("create schema if not exists ops")
    connection.execute(
        "create table if not exists ops.migration ("
        "name text primary key, sha256 text not null, applied_at timestamptz not null default clock_timestamp())"
    )
    return dict(connection.execute("select name, sha256 from ops.migration").fetchall())


def _apply(connection: psycopg.Connection, name: str, text: str, digest: str) -> None:
    try:
        with connection.transaction():
            connection.execute(text.encode())
            connection.execute("insert into ops.migration (name, sha256) values (%s, %s)", (name, digest))
    except psycopg.Error as error:
        raise PermanentError(f"migration {name} failed and was rolled back: {str(error).strip()}") from error


def _grant_database(connection: psycopg.Connection) -> None:
    """Rights on the database itself; not in a file, because a copy or a restore of a database does not carry them."""
    database = sql.Identifier(connection.info.dbname)
    # dbt makes scratch schemas for past states beside the real ones; the loader copies into temporary tables.
    connection.execute(sql.SQL("grant create, temporary on database {} to hailong_transformer").format(database))
    connection.execute(sql.SQL("grant temporary on database {} to hailong_loader").format(database))
