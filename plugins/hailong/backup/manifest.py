"""The manifest of a backup: every table with its rows, every file, and the checksum of each content."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from hailong.backup.store import Store, digest_of, private, scratch_file, told
from hailong.errors import PermanentError

FORMAT = 1
FOLDER = "backups"
OBJECTS = "objects"


@dataclass(frozen=True)
class Table:
    """Rows of a table in the text form of COPY, packed by zstd. `of`: the table that it is a partition of."""

    schema: str
    name: str
    of: str | None
    first: int | None  # of a partition: the batch it begins with
    columns: tuple[tuple[str, str], ...]
    rows: int
    sha256: str | None  # none: it has no row
    bytes: int

    @property
    def called(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Sequence:
    """How far a sequence had counted."""

    schema: str
    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True)
class File:
    """A file of HAILONG_HOME, by its path there."""

    path: str
    bytes: int
    mtime_ns: int
    mode: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One backup. `installation` names the warehouse it is of: the first moment of its first migration, hashed."""

    backup_id: str
    taken_at: str
    installation: str
    code_version: str
    server_version: int
    timezone: str
    last_batch: int
    editions: tuple[str, ...]
    migrations: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    sequences: tuple[Sequence, ...]
    files: tuple[File, ...]

    @property
    def objects(self) -> dict[str, int]:
        """SHA-256 → bytes of every content that it needs."""
        tables = {table.sha256: table.bytes for table in self.tables if table.sha256}
        return tables | {file.sha256: file.bytes for file in self.files}

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def object_name(sha256: str) -> str:
    return f"{OBJECTS}/{sha256}"


def write(store: Store, manifest: Manifest) -> str:
    """The manifest in its place, last of all; returns its SHA-256, which stands in its name too."""
    body = orjson.dumps({"format": FORMAT, **asdict(manifest)}, option=orjson.OPT_INDENT_2)
    sha256 = hashlib.sha256(body).hexdigest()
    with scratch_file(store) as path:
        with private(path) as out:
            out.write(body)
        with told(store.shown):
            store.keep(path, f"{FOLDER}/{manifest.backup_id}.{sha256}.json")
    return sha256


def read(store: Store, backup_id: str) -> Manifest:
    """A backup's manifest; PermanentError when it is not what was written."""
    names = manifests(store)
    name = names[backup_id]
    with told(store.shown), store.read(name) as source:
        body = source.read()
    if hashlib.sha256(body).hexdigest() != name.split(".")[-2]:
        others = ", ".join(other for other in names if other != backup_id)
        raise PermanentError(
            f"the manifest {name} in {store.shown} was changed or is cut off: this backup is not used. Others there: "
            f"{others or 'none'}"
        )
    held: dict[str, Any] = orjson.loads(body)
    if held.pop("format") != FORMAT:
        raise PermanentError(f"{name} in {store.shown} was written by another version of the program: use that one")
    tables = tuple(Table(**{**one, "columns": _pairs(one["columns"])}) for one in held.pop("tables"))
    files = tuple(File(**one) for one in held.pop("files"))
    sequences = tuple(Sequence(**one) for one in held.pop("sequences"))
    migrations, editions = _pairs(held.pop("migrations")), tuple(held.pop("editions"))
    return Manifest(
        **held, editions=editions, migrations=migrations, tables=tables, sequences=sequences, files=files
    )  # fmt: skip


def manifests(store: Store) -> dict[str, str]:
    """Id → name of the manifest of each backup in a place, oldest first."""
    with told(store.shown):
        found = {
            name.split(".")[0]: name for name in store.sizes(FOLDER) if name.endswith(".json") and name.count(".") == 2
        }
    return {backup_id: f"{FOLDER}/{found[backup_id]}" for backup_id in sorted(found)}


def chosen(store: Store, backup_id: str | None) -> str:
    """The backup that is meant, by default the newest; PermanentError when there is none."""
    ids = list(manifests(store))
    if backup_id and backup_id in ids:
        return backup_id
    if backup_id:
        raise PermanentError(
            f"no backup '{backup_id}' in {store.shown}; the newest are: {', '.join(ids[:-6:-1]) or 'none'}"
        )
    if ids:
        return ids[-1]
    with told(store.shown):
        pieces = len(store.sizes(OBJECTS))
    if pieces:
        raise PermanentError(
            f"{store.shown} holds {pieces} contents and no manifest: a backup that never finished is none. Run "
            f"`hailong backup --to {store.shown}` to its end, or take another place"
        )
    raise PermanentError(f"there is no backup in {store.shown}: check the address")


def damaged(store: Store, manifest: Manifest, read_all: bool, tell: Any = None) -> list[str]:
    """What is missing or changed of a backup, in words; `read_all` reads every content, else sizes are compared."""
    with told(store.shown):
        there = store.sizes(OBJECTS)
    used: dict[str, str] = {}
    for part in manifest.tables:
        used.setdefault(part.sha256 or "", part.called)
    for file in manifest.files:
        used.setdefault(file.sha256, file.path)
    wrong = []
    wanted = manifest.objects
    for number, (sha256, size) in enumerate(sorted(wanted.items()), 1):
        if sha256 not in there:
            wrong.append(f"{used[sha256]} is missing")
        elif there[sha256] != size:
            wrong.append(f"{used[sha256]} has {there[sha256]:,} bytes instead of {size:,}")
        elif read_all:
            with told(store.shown), store.read(object_name(sha256)) as source:
                if digest_of(source) != sha256:
                    wrong.append(f"{used[sha256]} was changed")
        if tell and read_all:
            tell(f"checksums: {number:,} of {len(wanted):,}")
    return wrong


def _pairs(values: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(first), str(second)) for first, second in values)
