"""Taking a backup: the tables as one moment saw them, then the files; the manifest last.

Tables are copied out in one repeatable-read transaction, in the text form of COPY: any PostgreSQL from 15 on reads what any
other wrote. Contents are kept by their checksum, so what is there already is not written again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import pyarrow as pa
from psycopg import sql

from hailong.backup import KEPT, LEFT, LOCK, NOTES, SCHEMAS
from hailong.backup import manifest as manifests
from hailong.backup.manifest import OBJECTS, File, Manifest, Sequence, Table, object_name
from hailong.backup.store import PIECE, Store, copied, open_store, private, scratch_file, sweep, told
from hailong.errors import PermanentError, TransientError
from hailong.settings import Settings
from hailong.warehouse.connect import connect, where

Tell = Callable[[str], None]
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Taken:
    """A finished backup. `stored`: contents that were not there before; `warnings`: what it could not vouch for."""

    backup_id: str
    place: str
    manifest_sha256: str
    tables: int
    rows: int
    files: int
    last_batch: int
    stored: int
    stored_bytes: int
    removed: int
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        gone = f"; {self.removed} older backups removed" if self.removed else ""
        return "\n".join(
            (
                f"Backup {self.backup_id} in {self.place}: {self.rows:,} rows of {self.tables} tables up to batch "
                f"{self.last_batch}, {self.files:,} files; {self.stored:,} contents were new ({_megabytes(self.stored_bytes)})"
                f"{gone}. Manifest sha256 {self.manifest_sha256}",
                "Not in it, keep them elsewhere: the keys of HAILONG_PSEUDONYM_KEY, passwords and tokens, Airflow's database.",
                *(f"Look at this: {warning}" for warning in self.warnings),
            )
        )


def backup(
    settings: Settings,
    to: str,
    keep: int | None = None,
    progress: Tell | None = None,
    now: datetime | None = None,
) -> Taken:
    """Keep everything that cannot be made again in a place outside of HAILONG_HOME; then only the `keep` newest backups.

    Loads, builds and publications go on meanwhile; what empties or drops a table of `raw` (a replay, a purge) waits until
    the tables are copied. TransientError when another backup runs or something changed under it; PermanentError when the
    place holds another warehouse's backups or one of a later time, or when a table may not be read whole.
    """
    tell = progress or (lambda text: None)
    store = open_store(settings, to)
    moment = now or datetime.now(UTC)
    with connect(settings) as connection, _alone(connection):
        with told(store.shown):
            sweep(store)
            box = _Box(store, store.sizes(OBJECTS))
        ids = list(manifests.manifests(store))
        before = manifests.read(store, ids[-1]) if ids else None
        backup_id = _new_id(ids, moment)
        listed = _listed(connection)
        connection.commit()
        installation = _begin(settings, connection, listed)
        if before and before.installation != installation:
            raise PermanentError(
                f"{store.shown} holds backups of another warehouse ({before.backup_id}): take another place. After a loss, first "
                f"bring that one back into an empty warehouse: `hailong restore --from {store.shown}`"
            )
        tables = _tables(connection, box, listed, tell)
        sequences = _sequences(connection)
        migrations = connection.execute("select name, sha256 from ops.migration order by name").fetchall()
        (last_batch,) = connection.execute("select coalesce(max(batch_id), 0) from ops.batch").fetchone() or (0,)
        editions = _editions(connection)
        candidates = {name for (name,) in connection.execute("select candidate_id from publish.candidate")}
        connection.commit()  # the moment is let go of; the lock stays
        files = _files(settings, box, before, {"editions": set(editions), "candidates": candidates}, tell)
        manifest = Manifest(
            backup_id, moment.isoformat(timespec="seconds"), installation, settings.code_version,
            connection.info.server_version, settings.timezone, last_batch, tuple(sorted(editions)), tuple(migrations),
            tuple(tables), tuple(sequences), tuple(files),
        )  # fmt: skip
        sha256 = manifests.write(store, manifest)
        removed = _prune(store, keep) if keep else 0
    return Taken(
        manifest.backup_id, store.shown, sha256, len(tables), manifest.rows, len(files), last_batch, box.stored,
        box.stored_bytes, removed, tuple(_warnings(settings, editions, files)),
    )  # fmt: skip


@contextmanager
def _alone(connection: psycopg.Connection) -> Iterator[None]:
    """One backup of a warehouse at a time: an older one that ends later would remove what a newer one just wrote."""
    lock = connection.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    connection.commit()
    if not lock or not lock[0]:
        raise TransientError("another backup or restore of this warehouse is running: try again when it has finished")
    yield  # the lock goes with the connection


@dataclass
class _Box:
    """The contents of a place, and how many came in now."""

    store: Store
    there: dict[str, int]
    stored: int = 0
    stored_bytes: int = 0

    def has(self, sha256: str, size: int) -> bool:
        return self.there.get(sha256) == size

    def take(self, path: Path, sha256: str, size: int) -> None:
        if self.has(sha256, size):
            return
        with told(self.store.shown):
            self.store.keep(path, object_name(sha256))
        self.there[sha256] = size
        self.stored += 1
        self.stored_bytes += size


# -- tables -----------------------------------------------------------------------------------------------------------


def _begin(settings: Settings, connection: psycopg.Connection, listed: list[Row]) -> str:
    """Fix the moment that every table is read at; returns what names this warehouse.

    The tables are locked before that moment: one that was emptied after it would be read as empty, without a word.
    """
    connection.execute("set transaction isolation level repeatable read, read only")
    names = sql.SQL(", ").join(sql.Identifier(schema, name) for schema, name, *_ in listed)
    try:
        if listed:
            connection.execute(sql.SQL("lock table {} in access share mode").format(names))
        stands = _listed(connection)
    except psycopg.errors.UndefinedTable:
        stands = []
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermanentError(
            f"the tables may not be read whole ({str(error).splitlines()[0]}): take the backup as the role that migrates the "
            "warehouse"
        ) from None
    if stands != listed:
        raise TransientError("tables came or went just now (a purge, a new feed): take the backup again")
    # Row-level security would leave rows out without a word; now it is an error.
    connection.execute("set local row_security = off; set local datestyle = 'ISO'; set local client_encoding = 'UTF8'")
    try:
        row = connection.execute(
            "select encode(sha256(convert_to(applied_at::text, 'UTF8')), 'hex') from ops.migration order by name limit 1"
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    if row is None:
        raise PermanentError(f"the warehouse at {where(settings)} has no schema yet: there is nothing to keep")
    return str(row[0])


_TABLES = """
select
    n.nspname, c.relname, p.relname, pg_get_expr(c.relpartbound, c.oid),
    array(
        select array[a.attname::text, format_type(a.atttypid, a.atttypmod)] from pg_attribute as a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum
    )
from pg_class as c
inner join pg_namespace as n on n.oid = c.relnamespace
left join pg_inherits as i on i.inhrelid = c.oid
left join pg_class as p on p.oid = i.inhparent
where n.nspname = any(%s) and c.relkind = 'r' and c.relpersistence = 'p' and n.nspname || '.' || c.relname <> all(%s)
order by n.nspname, c.relname
"""


def _listed(connection: psycopg.Connection) -> list[Row]:
    """Schema, name, parent and bound of a partition, and columns of every table that is kept."""
    return connection.execute(_TABLES, (list(SCHEMAS), list(NOTES))).fetchall()


def _tables(connection: psycopg.Connection, box: _Box, listed: list[Row], tell: Tell) -> list[Table]:
    tables = []
    for number, (schema, name, of, bound, columns) in enumerate(listed, 1):
        tell(f"tables: {number:,} of {len(listed):,} ({schema}.{name})")
        pairs = tuple((str(column), str(kind)) for column, kind in columns)
        rows, sha256, size = _copy_out(connection, box, schema, name, pairs)
        tables.append(Table(schema, name, of, _first(bound), pairs, rows, sha256, size))
    return tables


def _first(bound: str | None) -> int | None:
    """The lower bound of `FOR VALUES FROM ('512') TO ('1024')`; None where a partition has no such bounds."""
    if bound is None or not bound.startswith("FOR VALUES FROM "):
        return None
    return int(bound.removeprefix("FOR VALUES FROM ").split(" TO ")[0].strip("'() "))


def _copy_out(
    connection: psycopg.Connection, box: _Box, schema: str, name: str, columns: tuple[tuple[str, str], ...]
) -> tuple[int, str | None, int]:
    """Rows, SHA-256 and bytes of a table's content; (0, None, 0) when it is empty."""
    statement = sql.SQL("copy {} ({}) to stdout").format(
        sql.Identifier(schema, name), sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns)
    )
    with scratch_file(box.store) as path:
        with told(box.store.shown), private(path) as out, connection.cursor() as cursor:
            kept = _Hashed(out)
            try:
                with (
                    pa.CompressedOutputStream(pa.PythonFile(kept, mode="w"), "zstd") as packed,
                    cursor.copy(statement) as rows,
                ):
                    for piece in _gathered(rows):
                        packed.write(piece)
            except psycopg.errors.InsufficientPrivilege as error:
                raise PermanentError(
                    f"{schema}.{name} may not be read whole ({str(error).splitlines()[0]}): take the backup as the role that "
                    "migrates the warehouse"
                ) from None
            except psycopg.OperationalError as error:
                raise TransientError(
                    f"the warehouse went away at {schema}.{name}: {error}. Take the backup again"
                ) from error
            count = cursor.rowcount
        if not count:
            return 0, None, 0
        box.take(path, kept.sha256, kept.size)
    return count, kept.sha256, kept.size


class _Hashed:
    """Writes through to a file and hashes what passes."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._digest, self.size, self.closed = out, hashlib.sha256(), 0, False

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._out.write(data)

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        self.closed = True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _gathered(rows: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """The same bytes in pieces: a call for each row would cost more than the row."""
    piece = bytearray()
    for row in rows:
        piece += row
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _editions(connection: psycopg.Connection) -> dict[str, dict[str, str]]:
    """Edition → its recorded files and their SHA-256; none of one whose files are still to be made."""
    rows = connection.execute(
        "select e.edition_id, a.name, a.sha256 from publish.edition as e left join publish.artifact as a using (edition_id)"
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for edition_id, name, sha256 in rows:
        found.setdefault(edition_id, {}).update({name: sha256} if name else {})
    return found


def _sequences(connection: psycopg.Connection) -> list[Sequence]:
    names = connection.execute(
        "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind = 'S' order by 1, 2",
        (list(SCHEMAS),),
    ).fetchall()
    found = []
    for schema, name in names:
        row = connection.execute(
            sql.SQL("select last_value, is_called from {}").format(sql.Identifier(schema, name))
        ).fetchone()
        assert row
        found.append(Sequence(schema, name, int(row[0]), bool(row[1])))
    return found


# -- files ------------------------------------------------------------------------------------------------------------


def _files(
    settings: Settings, box: _Box, before: Manifest | None, known: dict[str, set[str]], tell: Tell
) -> list[File]:
    """Every file that is kept. Of editions and candidates only those that the tables of this backup have."""
    held = {file.path: file for file in before.files} if before else {}
    paths = [path for folder in KEPT for path in _walk(settings.home / folder, known.get(folder))]
    files = []
    for number, path in enumerate(paths, 1):
        name = path.relative_to(settings.home).as_posix()
        try:
            files.append(_file(box, path, name, held.get(name)))
        except FileNotFoundError:
            raise TransientError(f"{path} went away while it was being copied: take the backup again") from None
        if number % 100 == 0 or number == len(paths):
            tell(f"files: {number:,} of {len(paths):,}")
    return files


def _walk(folder: Path, only: set[str] | None) -> Iterator[Path]:
    """Files below a folder in the order of their paths; hidden ones are being made by somebody."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith((".partial", ".new")) or path.is_symlink():
            continue
        if path.is_dir():
            if only is None or path.name in only:
                yield from _walk(path, None)
        elif only is None:
            yield path


def _file(box: _Box, path: Path, name: str, held: File | None) -> File:
    """A file whose size and time are those of the last backup is not read again."""
    stat = path.stat()
    if held and (held.bytes, held.mtime_ns) == (stat.st_size, stat.st_mtime_ns) and box.has(held.sha256, held.bytes):
        return File(name, held.bytes, held.mtime_ns, stat.st_mode & 0o777, held.sha256)
    with scratch_file(box.store) as scratch:
        with told(box.store.shown), path.open("rb") as source:
            sha256, size = copied(source, scratch)
            after = os.fstat(source.fileno())
        if (size, after.st_mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            raise TransientError(f"{path} was written to while it was being copied: take the backup again")
        box.take(scratch, sha256, size)
    return File(name, size, stat.st_mtime_ns, stat.st_mode & 0o777, sha256)


def _warnings(settings: Settings, editions: dict[str, dict[str, str]], files: list[File]) -> Iterator[str]:
    """What whoever restores this would miss."""
    there = {file.path: file.sha256 for file in files}
    for edition, recorded in sorted(editions.items()):
        wrong = [name for name, sha256 in sorted(recorded.items()) if there.get(f"editions/{edition}/{name}") != sha256]
        if wrong:
            yield (
                f"files of edition {edition} are missing or changed ({', '.join(wrong)}): `hailong verify --chain`, and bring "
                "them back from an older backup"
            )
    strangers = sorted(path.name for path in settings.home.iterdir() if path.name not in (*KEPT, *LEFT))
    if strangers:
        yield f"in {settings.home} there is what no backup keeps: {', '.join(strangers)}"


# -- old ones ---------------------------------------------------------------------------------------------------------


def _new_id(ids: list[str], now: datetime) -> str:
    stem = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    again = sum(found.startswith(stem) for found in ids)
    made = f"{stem}-{again:02}" if again else stem
    if ids and made < ids[-1]:
        raise PermanentError(
            f"the newest backup there, {ids[-1]}, is of a later time than now ({stem}): which clock was wrong? The newest is "
            "what a restore takes, so remove its manifest from `backups/`, or take another place"
        )
    return made


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _prune(store: Store, keep: int) -> int:
    """Remove all backups but the newest, and contents that none needs any more. A manifest goes before its contents."""
    names = manifests.manifests(store)
    gone = list(names)[:-keep]
    needed = {sha256 for backup_id in list(names)[-keep:] for sha256 in manifests.read(store, backup_id).objects}
    with told(store.shown):
        for backup_id in gone:
            store.remove(names[backup_id])
    with told(store.shown):
        for sha256 in store.sizes(OBJECTS).keys() - needed:
            store.remove(object_name(sha256))
    return len(gone)
