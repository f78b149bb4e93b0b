"""Bringing a backup back into an empty warehouse and an empty home.

The schema is made by our own migrations, up to those that the backup had; rows are copied in, files laid out; then the
newer migrations run. So roles, grants and triggers are as migrations make them, and the server may be of another version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from hailong.backup import KEPT, LOCK, SCHEMAS
from hailong.backup import manifest as manifests
from hailong.backup.manifest import File, Manifest, Sequence, Table, object_name
from hailong.backup.store import PIECE, Store, copied, digest_of, open_store, sync, told
from hailong.errors import PermanentError, TransientError
from hailong.load import loader
from hailong.load.raw import ensure_held
from hailong.settings import Settings
from hailong.warehouse.connect import connect, where
from hailong.warehouse.migrations import migrate, migration_files

Tell = Callable[[str], None]
FILLED = (("ops", "migration"),)  # by migrations themselves, so never empty
SHOWN = 5


@dataclass(frozen=True)
class Restored:
    """What came back. `migrated`: files that a newer version of the program brought on top."""

    backup_id: str
    taken_at: str
    tables: int
    rows: int
    files: int
    last_batch: int
    editions: int
    migrated: tuple[str, ...]

    @property
    def message(self) -> str:
        newer = f", brought to this version's schema by {', '.join(self.migrated)}" if self.migrated else ""
        return (
            f"Backup {self.backup_id}, taken {self.taken_at}, is back: {self.rows:,} rows of {self.tables} tables up to batch "
            f"{self.last_batch}, {self.files:,} files, {self.editions} editions{newer}.\n"
            "Next: the keys of HAILONG_PSEUDONYM_KEY as they were, `hailong verify --chain`, `hailong build`, `hailong doctor`"
        )


@dataclass(frozen=True)
class Checked:
    """A backup whose every content was read: `wrong` says what is missing or changed."""

    backup_id: str
    taken_at: str
    last_batch: int
    contents: int
    bytes: int
    wrong: tuple[str, ...]


def check(settings: Settings, place: str, progress: Tell | None = None) -> Checked:
    """Read every content of the newest backup in a place and compare its checksum; nothing is changed."""
    store = open_store(settings, place)
    manifest = manifests.read(store, manifests.chosen(store, None))
    wrong = manifests.damaged(store, manifest, read_all=True, tell=progress)
    objects = manifest.objects
    return Checked(
        manifest.backup_id, manifest.taken_at, manifest.last_batch, len(objects), sum(objects.values()), tuple(wrong)
    )


def restore(settings: Settings, place: str, backup_id: str | None = None, progress: Tell | None = None) -> Restored:
    """Bring a backup back, by default the newest of a place. Stopped at any moment, the same command goes on.

    Before anything is touched every content is read and compared. PermanentError when one is missing or changed, when the
    program is older than the backup, or when the warehouse or the home holds anything that the backup has not put there.
    """
    tell = progress or (lambda text: None)
    store = open_store(settings, place)
    manifest = manifests.read(store, manifests.chosen(store, backup_id))
    _of_this_program(manifest)
    if wrong := manifests.damaged(store, manifest, read_all=True, tell=tell):
        raise PermanentError(
            f"backup {manifest.backup_id} in {store.shown} is not whole ({len(wrong)}): {'; '.join(wrong[:SHOWN])}. Nothing was "
            f"restored. Others there: {', '.join(set(manifests.manifests(store)) - {manifest.backup_id}) or 'none'} (--backup)"
        )
    with connect(settings) as connection:
        _empty_warehouse(settings, connection)
    _empty_home(settings, manifest)
    migrate(settings, only={name for name, _ in manifest.migrations})
    _lay_out(settings, store, manifest, tell)
    with connect(settings) as connection:
        _fill(settings, connection, store, manifest, tell)
    applied = migrate(settings).applied
    return Restored(
        manifest.backup_id, manifest.taken_at, len(manifest.tables), manifest.rows, len(manifest.files),
        manifest.last_batch, len(manifest.editions), applied,
    )  # fmt: skip


# -- may it? ----------------------------------------------------------------------------------------------------------


def _of_this_program(manifest: Manifest) -> None:
    ours = {path.name: digest for path, digest in migration_files().items()}
    other = [name for name, digest in manifest.migrations if ours.get(name) != digest]
    if other:
        raise PermanentError(
            f"backup {manifest.backup_id} was taken by version {manifest.code_version}, whose schema this program does not know "
            f"({', '.join(other[:SHOWN])}): restore it with that version or a newer one"
        )


def _empty_warehouse(settings: Settings, connection: psycopg.Connection) -> None:
    tables = connection.execute(
        "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind = 'r' order by 1, 2",
        (list(SCHEMAS),),
    ).fetchall()
    held = [
        f"{schema}.{name}"
        for schema, name in tables
        if (schema, name) not in FILLED
        and connection.execute(sql.SQL("select 1 from {} limit 1").format(sql.Identifier(schema, name))).fetchone()
    ]
    if held:
        raise PermanentError(
            f"the warehouse at {where(settings)} is not empty: there are rows in {', '.join(held[:SHOWN])}. A backup is "
            "brought back into an empty one only: make a new database, or a new HAILONG_HOME. If a restore was stopped "
            "after its rows had come in, `hailong db migrate` finishes it"
        )


def _empty_home(settings: Settings, manifest: Manifest) -> None:
    """Only what a restore of this backup that was stopped has laid out may lie there."""
    known = {file.path: file for file in manifest.files}
    for folder in KEPT:
        for path in sorted((settings.home / folder).rglob("*")):
            if not path.is_file() or path.name.startswith("."):
                continue
            name = path.relative_to(settings.home).as_posix()
            if name not in known or not _is(path, known[name]):
                raise PermanentError(
                    f"{settings.home} is not empty: {name} is not of backup {manifest.backup_id}. A backup is brought back into "
                    "an empty home only: move its folders away, or set another HAILONG_HOME"
                )


def _is(path: Path, file: File) -> bool:
    if path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as source:
        return digest_of(source) == file.sha256


# -- files ------------------------------------------------------------------------------------------------------------


def _lay_out(settings: Settings, store: Store, manifest: Manifest, tell: Tell) -> None:
    for number, file in enumerate(manifest.files, 1):
        parts = PurePosixPath(file.path).parts
        if len(parts) < 2 or parts[0] not in KEPT or ".." in parts:
            raise PermanentError(
                f"backup {manifest.backup_id} names the file {file.path}, which no backup has: not used"
            )
        path = settings.home / file.path
        if not path.is_file() or not _is(path, file):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.restored")
            partial.unlink(missing_ok=True)
            with told(store.shown), store.read(object_name(file.sha256)) as source:
                sha256, _ = copied(source, partial)
            if sha256 != file.sha256:
                raise PermanentError(f"{file.path} was changed in {store.shown} while it was read: run it again")
            partial.chmod(file.mode)
            os.utime(partial, ns=(file.mtime_ns, file.mtime_ns))  # so that the next backup need not read it
            sync(partial)
            partial.replace(path)
        if number % 100 == 0 or number == len(manifest.files):
            tell(f"files: {number:,} of {len(manifest.files):,}")


# -- tables -----------------------------------------------------------------------------------------------------------


def _fill(settings: Settings, connection: psycopg.Connection, store: Store, manifest: Manifest, tell: Tell) -> None:
    """All rows in one transaction: all of them, or none. Constraints and triggers are off for its time, and proved after."""
    connection.execute("set local row_security = off; set local datestyle = 'ISO'; set local client_encoding = 'UTF8'")
    for lock in (LOCK, loader.LOCK):
        connection.execute("select pg_advisory_xact_lock(%s)", (lock,))
    _empty_warehouse(settings, connection)
    _raw_tables(connection, manifest)
    targets = list(dict.fromkeys((table.schema, table.of or table.name) for table in manifest.tables))
    _same_columns(connection, manifest)
    with _unguarded(connection, [target for target in targets if target[0] != "raw"]):
        for schema, name in FILLED:
            connection.execute(sql.SQL("delete from {}").format(sql.Identifier(schema, name)))
        for number, table in enumerate(manifest.tables, 1):
            tell(f"tables: {number:,} of {len(manifest.tables):,} ({table.called})")
            if table.sha256:
                _copy_in(connection, store, table)
        tell("keys are checked")
    for sequence in manifest.sequences:
        _continue(connection, sequence)
    connection.commit()
    for schema, name in targets:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, name)))
        connection.commit()


def _raw_tables(connection: psycopg.Connection, manifest: Manifest) -> None:
    """Feeds may have lost columns since, or be gone; partitions are made as the loads made them."""
    parts = sorted(
        (table for table in manifest.tables if table.schema == "raw" and table.of), key=lambda part: part.of or ""
    )
    for feed, found in groupby(parts, key=lambda part: part.of or ""):
        of_feed = list(found)
        columns = dict(column for part in of_feed for column in part.columns)
        ensure_held(connection, feed, list(columns.items()), [part.first or 0 for part in of_feed])


def _same_columns(connection: psycopg.Connection, manifest: Manifest) -> None:
    rows = connection.execute(
        "select n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute as a "
        "inner join pg_class as c on a.attrelid = c.oid inner join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped",
        (list(SCHEMAS),),
    ).fetchall()
    there = {(schema, table, column): kind for schema, table, column, kind in rows}
    wrong = [
        f"{table.called}.{column}"
        for table in manifest.tables
        for column, kind in table.columns
        if there.get((table.schema, table.of or table.name, column)) != kind
    ]
    if wrong:
        raise PermanentError(
            f"backup {manifest.backup_id} holds columns that the migrations do not make: {', '.join(wrong[:SHOWN])}. Nothing was "
            "restored. Somebody added them by hand: restore with the version that took the backup, or make the tables first"
        )


_KEYS = """
select n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid)
from pg_constraint as k
inner join pg_class as c on c.oid = k.conrelid
inner join pg_namespace as n on n.oid = c.relnamespace
where k.contype = 'f' and k.conparentid = 0 and n.nspname || '.' || c.relname = any(%s)
order by 1, 2, 3
"""

_TRIGGERS = """
select n.nspname, c.relname, t.tgname, t.tgenabled::text
from pg_trigger as t
inner join pg_class as c on c.oid = t.tgrelid
inner join pg_namespace as n on n.oid = c.relnamespace
where not t.tgisinternal and n.nspname || '.' || c.relname = any(%s)
order by 1, 2, 3
"""


@contextmanager
def _unguarded(connection: psycopg.Connection, tables: list[tuple[str, str]]) -> Iterator[None]:
    """Without foreign keys (some go in circles) and without triggers (they judge what happens, and this has happened)."""
    names = [f"{schema}.{name}" for schema, name in tables]
    keys = connection.execute(_KEYS, (names,)).fetchall()
    triggers = connection.execute(_TRIGGERS, (names,)).fetchall()
    for schema, table, key, _ in keys:
        _alter(connection, schema, table, "drop constraint", key)
    for schema, table, trigger, _ in triggers:
        _alter(connection, schema, table, "disable trigger", trigger)
    yield
    for schema, table, key, definition in keys:
        try:
            _alter(connection, schema, table, "add constraint", key, definition)
        except psycopg.errors.ForeignKeyViolation as error:
            raise PermanentError(
                f"the rows of the backup do not fit together ({error.diag.message_detail}): nothing was restored. Take another"
            ) from error
    for schema, table, trigger, enabled in triggers:
        how = {"O": "enable", "A": "enable always", "R": "enable replica", "D": "disable"}[enabled]
        _alter(connection, schema, table, f"{how} trigger", trigger)


def _alter(connection: psycopg.Connection, schema: str, table: str, what: str, name: str, more: str = "") -> None:
    statement = sql.SQL("alter table {} {} {} {}").format(
        sql.Identifier(schema, table), sql.SQL(what), sql.Identifier(name), sql.SQL(more)  # type: ignore[arg-type]
    )  # fmt: skip
    connection.execute(statement)


def _copy_in(connection: psycopg.Connection, store: Store, table: Table) -> None:
    statement = sql.SQL("copy {} ({}) from stdin").format(
        sql.Identifier(table.schema, table.of or table.name),
        sql.SQL(", ").join(sql.Identifier(column) for column, _ in table.columns),
    )
    try:
        with connection.cursor() as cursor:
            with (
                told(store.shown),
                store.read(object_name(table.sha256 or "")) as source,
                cursor.copy(statement) as rows,
            ):
                packed: Any = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd")
                while piece := packed.read(PIECE):
                    rows.write(piece)
            count = cursor.rowcount
    except psycopg.errors.DiskFull as error:
        raise TransientError(
            f"the server has no room left at {table.called}: no row was restored. Free some space, run it again"
        ) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:  # their texts quote the row
        raise PermanentError(
            f"a row of {table.called} does not fit its table (SQLSTATE {error.sqlstate}): nothing was restored. Take another"
        ) from None
    except psycopg.OperationalError as error:
        raise TransientError(
            f"the warehouse went away at {table.called} ({str(error).strip().splitlines()[0]}): no row was restored. Run it again"
        ) from error
    if count != table.rows:
        raise PermanentError(f"{table.called}: {count:,} rows came back of {table.rows:,}. Nothing was restored")


def _continue(connection: psycopg.Connection, sequence: Sequence) -> None:
    connection.execute(
        "select setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)",
        (sequence.schema, sequence.name, sequence.last_value, sequence.is_called),
    )
