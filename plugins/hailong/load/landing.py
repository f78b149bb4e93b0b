"""The landing folder: `records.parquet`, `rejects.parquet`, and `manifest.json` written last.

A folder is written beside its place under a temporary name and renamed when it is complete: a landing folder that can
be seen is whole. Memory stays flat: rows are written a row group at a time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hailong.contracts import Column, Contract
from hailong.errors import PermanentError
from hailong.extract.records import Reject, Row, number_text
from hailong.settings import Settings

ROW_GROUP = 8_192
RECORDS, REJECTS, MANIFEST = "records.parquet", "rejects.parquet", "manifest.json"
STALE_SECONDS = 24 * 3600

# Exact decimals and JSON travel as text and are cast by the database: no digit is lost on the way.
ARROW = {
    "text": pa.string(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "numeric": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "jsonb": pa.string(),
}
HEAD = (("record_key", pa.string()), ("op", pa.string()), ("version_hash", pa.string()), ("seq", pa.int64()))
FINGERPRINT = (
    "fingerprint"  # of a record's bytes, where a read keeps one (extract/again.py); a load does not look at it
)
FINGERPRINT_BYTES = 16
REJECT_SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("record_key", pa.string()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("payload_minimised", pa.string()),
    ]
)


def record_schema(columns: Iterable[Column]) -> pa.Schema:
    return pa.schema([*HEAD, *((column.name, ARROW[column.type]) for column in columns)])


def rows_to_batch(rows: list[tuple[int, Row]], columns: Sequence[Column], schema: pa.Schema) -> pa.RecordBatch:
    """Numbered rows as one Arrow batch of a landing."""
    values: list[Any] = [
        [row.key for _, row in rows],
        [row.op for _, row in rows],
        [row.version_hash for _, row in rows],
        [number for number, _ in rows],
    ]
    for index, column in enumerate(columns):
        found = [row.values[index] for _, row in rows]
        if column.type == "numeric":
            found = [None if value is None else number_text(value) for value in found]
        values.append(found)
    arrays = [pa.array(found, field.type) for found, field in zip(values, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class Landing:
    """A complete landing folder and what its manifest says."""

    folder: Path
    sha256: str
    manifest: dict[str, Any]

    @property
    def feed(self) -> str:
        return str(self.manifest["feed"])

    @property
    def records(self) -> Path:
        return self.folder / RECORDS

    @property
    def rejects(self) -> Path:
        return self.folder / REJECTS


class LandingWriter:
    """Writes one landing folder; leaving the block without `finish` leaves nothing behind."""

    def __init__(self, root: Path, contract: Contract, extract_id: str) -> None:
        self.folder = root / contract.feed / extract_id
        self._contract = contract
        self._extract_id = extract_id
        self._temporary = self.folder.with_name(f".{extract_id}.{os.getpid()}.tmp")
        self._schema = record_schema(contract.columns)
        self._file_schema = self._schema.append(pa.field(FINGERPRINT, pa.binary(FINGERPRINT_BYTES)))
        repeated = [column.name for column in contract.columns if column.type == "text" and not column.key_position]
        self._repeated = ["op", *repeated]  # columns whose values come again; of others a dictionary is dead weight
        self._batches: list[pa.RecordBatch] = []
        self._waiting = 0
        self._rejects: list[tuple[int, Reject]] = []
        self.records = self.rejects = self.received = 0

    def __enter__(self) -> Self:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.folder.parent.glob(".*.tmp"))
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        self._open()
        return self

    def _open(self) -> None:
        self._record_file = pq.ParquetWriter(
            self._temporary / RECORDS, self._file_schema, compression="zstd",
            use_dictionary=self._repeated, write_statistics=False,
        )  # fmt: skip
        self._reject_file = pq.ParquetWriter(self._temporary / REJECTS, REJECT_SCHEMA, compression="zstd")

    def _close(self) -> None:
        self._record_file.close()
        self._reject_file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, outcome: Row | Reject) -> None:
        """Take one received record, in the order of the source."""
        number = self.received + 1
        if isinstance(outcome, Row):
            self.add_page(rows_to_batch([(number, outcome)], self._contract.columns, self._schema), [], 1)
        else:
            self.add_page(None, [(number, outcome)], 1)

    def add_page(self, batch: pa.RecordBatch | None, rejects: list[tuple[int, Reject]], received: int) -> None:
        """Take a converted page: its rows, its rejects, and how many records were received."""
        self.received += received
        if batch is not None and batch.num_rows:
            if FINGERPRINT not in batch.schema.names:
                batch = batch.append_column(
                    FINGERPRINT, pa.nulls(batch.num_rows, self._file_schema.field(FINGERPRINT).type)
                )
            self._batches.append(batch)
            self._waiting += batch.num_rows
            if self._waiting >= ROW_GROUP:
                self._flush_rows()
        self._rejects.extend(rejects)
        if len(self._rejects) >= ROW_GROUP:
            self._flush_rejects()

    def restart(self) -> None:
        """Throw away what was taken so far: the read begins again."""
        self._close()
        self._batches, self._waiting, self._rejects = [], 0, []
        self.records = self.rejects = self.received = 0
        self._open()

    def finish(
        self,
        *,
        source: str,
        declared: int | None,
        window: tuple[datetime, datetime] | None,
        started_at: datetime,
        finished_at: datetime,
        code_version: str,
        read: str = "window",
        complete: bool = False,
        snapshots: Iterable[dict[str, Any]] = (),
        findings: Iterable[dict[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        conversion: str | None = None,
    ) -> Landing:
        """Close the files, write the manifest, put the folder in its place.

        `read`: window, full, census, snapshot, file or replay. `complete`: everything in the scope was read to its end, up to
        the present: what is missing here was missing in the source. `snapshots`: windows of the portal that were
        answered whole. `findings`: what was odd, as {rule, field, records, detail}. `options`: what a person asked for.
        `conversion`: names what the rows were made by, where they have fingerprints.
        """
        self._flush_rows()
        self._flush_rejects()
        self._close()
        manifest = {
            "extract_id": self._extract_id,
            "feed": self._contract.feed,
            "source": source,
            "window_start": window[0].isoformat() if window else None,
            "window_end": window[1].isoformat() if window else None,
            "declared_rows": declared,
            "received_rows": self.received,
            "records": self.records,
            "rejects": self.rejects,
            "files": {name: file_sha256(self._temporary / name) for name in (RECORDS, REJECTS)},
            "contract_version": self._contract.version,
            "code_version": code_version,
            "started_at": started_at.isoformat(),
            "finished_at": finished_at.isoformat(),
            "read": read,
            "complete": complete,
            "snapshots": list(snapshots),
            "findings": list(findings),
            "options": dict(options or {}),
            "conversion": conversion,
        }
        content = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
        for name in (RECORDS, REJECTS):
            _sync(self._temporary / name)
        (self._temporary / MANIFEST).write_bytes(content)
        _sync(self._temporary / MANIFEST)
        try:
            os.rename(self._temporary, self.folder)
        except OSError:
            if (self.folder / MANIFEST).is_file():  # another run of the same file was faster
                return read_landing(self.folder)
            raise
        _sync(self.folder.parent)
        return Landing(self.folder, hashlib.sha256(content).hexdigest(), manifest)

    def _flush_rows(self) -> None:
        if not self._batches:
            return
        batches, self._batches, self._waiting = self._batches, [], 0
        table = pa.Table.from_batches(batches)
        self._record_file.write_table(table, row_group_size=table.num_rows)
        self.records += table.num_rows

    def _flush_rejects(self) -> None:
        if not self._rejects:
            return
        rejects, self._rejects = self._rejects, []
        columns = [
            [seq for seq, _ in rejects],
            [reject.key for _, reject in rejects],
            [reject.rule for _, reject in rejects],
            [reject.detail for _, reject in rejects],
            [reject.payload for _, reject in rejects],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, REJECT_SCHEMA, strict=True)]
        self._reject_file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=REJECT_SCHEMA))
        self.rejects += len(rejects)


def read_landing(folder: Path) -> Landing:
    """A landing folder, its files compared with the manifest; PermanentError when it is not whole."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError:
        raise PermanentError(
            f"{folder} is not a complete landing folder ({MANIFEST} is missing): run the ingest again"
        ) from None
    try:
        manifest = orjson.loads(content)
        files = manifest["files"]
        for name in (RECORDS, REJECTS):
            if file_sha256(folder / name) != files[name]:
                raise PermanentError(f"{folder / name} is not what {MANIFEST} says it was: run the ingest again")
    except (orjson.JSONDecodeError, KeyError, TypeError, OSError) as error:
        raise PermanentError(f"{folder} is not a usable landing folder ({error}): run the ingest again") from None
    return Landing(folder, hashlib.sha256(content).hexdigest(), manifest)


def folder_of(settings: Settings, uri: str) -> Path:
    """Where the landing folder lies that the ledger names by `uri`: in this home, wherever the home was when it was loaded.

    A home that was moved or restored keeps its ledger as it was written; and a copy of it never reaches into the first one.
    """
    return settings.landing.joinpath(*Path(unquote(urlsplit(uri).path)).parts[-2:])


def file_sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folders: Iterable[Path]) -> None:
    """Remove working folders that killed runs left behind, once they are a day old."""
    for folder in folders:
        try:
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
