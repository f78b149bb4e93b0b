"""One landing folder into raw, quarantine and ledger: one transaction, and the second time nothing.

Records travel by binary COPY into a temporary table; one INSERT … SELECT takes the new versions into raw. A process
killed at any moment leaves the transaction unfinished, and the server rolls it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from hailong.contracts import Column, Contract, find_contract
from hailong.errors import HailongError, PermanentError, TransientError
from hailong.load.landing import Landing, read_landing
from hailong.load.raw import ROLE
from hailong.settings import Settings
from hailong.warehouse.connect import adbc_uri, where

LOCK = 104_001  # advisory lock: loads commit one at a time, so that batch_id order is commit order
BATCH_ROWS = 16_384
_CASTS = {"numeric": "numeric", "jsonb": "jsonb"}
_TRANSIENT_CLASSES = ("08", "40", "53", "57")
_HEAD = ("record_key", "op", "version_hash")


@dataclass(frozen=True)
class LoadResult:
    """One batch of the ledger. `created` is False when the landing folder had been loaded before."""

    batch_id: int
    feed: str
    created: bool
    landing: str
    landing_sha256: str
    window_start: datetime | None
    window_end: datetime | None
    declared: int | None
    received: int
    loaded: int
    unchanged: int
    duplicate: int
    quarantined: int
    tombstones: int

    @property
    def message(self) -> str:
        told = (
            f"{self.received} received = {self.loaded} new + {self.unchanged} unchanged + {self.duplicate} duplicate"
            f" + {self.quarantined} quarantined"
        )
        if not self.created:
            return (
                f"{self.feed}: this landing folder was loaded before as batch {self.batch_id} ({told}); nothing changed"
            )
        return f"{self.feed}: batch {self.batch_id}, {told}"


def load_landing(settings: Settings, folder: Path) -> LoadResult:
    """Load a landing folder; loading it again changes nothing and returns the recorded batch.

    PermanentError when the folder is not whole or holds fewer rows than the source declared;
    TransientError when the warehouse is away.
    """
    landing = read_landing(folder)
    manifest = landing.manifest
    if manifest["declared_rows"] is not None and manifest["declared_rows"] != manifest["received_rows"]:
        raise PermanentError(
            f"{landing.feed}: {folder} holds {manifest['received_rows']} rows, the source declared "
            f"{manifest['declared_rows']}: not loaded. Run the ingest again"
        )
    contract = find_contract(settings.contracts, landing.feed)
    columns = _landed_columns(landing, contract)
    with _transaction(settings, landing) as cursor:
        cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(ROLE)).as_string())
        cursor.execute(sql.SQL("select pg_advisory_xact_lock({})").format(sql.Literal(LOCK)).as_string())
        cursor.fetchall()
        present = _find_batch(cursor, landing.sha256)
        if present is not None:
            return present
        _copy(cursor, landing, columns)
        _judge(cursor, contract)
        batch_id = _record_batch(cursor, landing)
        _insert_rows(cursor, contract, columns, batch_id)
        _insert_rejects(cursor, landing, batch_id)
        created = _find_batch(cursor, landing.sha256, created=True)
    if created is None:
        raise PermanentError(f"{landing.feed}: batch {batch_id} was not recorded; nothing was loaded")
    return created


@contextmanager
def _transaction(settings: Settings, landing: Landing) -> Iterator[Any]:
    """An ADBC cursor whose work is committed when the block ends well, else rolled back."""
    what = f"{landing.feed}, landing folder {landing.folder.name}"
    try:
        connection = adbc.connect(adbc_uri(settings))
    except adbc.Error as error:
        raise TransientError(
            f"{what}: no connection to the warehouse at {where(settings)}: {_first_line(error)}. "
            "Is the server up? Check HAILONG_DSN, or unset it to use the embedded server (`hailong db up`)."
        ) from error
    try:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    except adbc.Error as error:
        raise _explained(what, error) from error
    finally:
        connection.close()  # an uncommitted transaction is rolled back


def _explained(what: str, error: adbc.Error) -> HailongError:
    state = error.sqlstate or ""
    if state in ("42P01", "42703", "3F000", "42704", "42501"):
        return PermanentError(
            f"{what}: the warehouse does not fit the contract ({_first_line(error)}). Run `hailong db migrate`"
        )
    if not state or state.startswith(_TRANSIENT_CLASSES):
        return TransientError(
            f"{what}: the warehouse broke off ({_first_line(error)}). Nothing was loaded; run it again"
        )
    return PermanentError(f"{what}: the warehouse refused the rows ({_first_line(error)}). Nothing was loaded")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("IO: ").removeprefix("[libpq] ") if lines else type(error).__name__


def _landed_columns(landing: Landing, contract: Contract) -> tuple[Column, ...]:
    """Contract columns of the landed file; a column that the contract does not know is refused."""
    names = set(pq.read_schema(landing.records).names) - {*_HEAD, "seq"}
    unknown = names - {column.name for column in contract.columns}
    if unknown:
        raise PermanentError(
            f"{landing.folder} holds columns that {contract.path.name} does not know: {', '.join(sorted(unknown))}. "
            "Run the ingest again under the contract in force"
        )
    return tuple(column for column in contract.columns if column.name in names)


def _copy(cursor: Any, landing: Landing, columns: tuple[Column, ...]) -> None:
    kinds = [sql.SQL("record_key text"), sql.SQL("op text"), sql.SQL("version_hash text"), sql.SQL("seq bigint")]
    for column in columns:
        kind = "text" if column.type in _CASTS else column.type
        kinds.append(sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(kind)))  # type: ignore[arg-type]
    cursor.execute(
        sql.SQL("create temporary table landed ({}) on commit drop").format(sql.SQL(", ").join(kinds)).as_string()
    )
    with pq.ParquetFile(landing.records) as source:
        names = [*_HEAD, "seq", *(column.name for column in columns)]
        if source.metadata.num_rows != landing.manifest["records"]:
            raise PermanentError(
                f"{landing.records} holds another number of rows than its manifest says: run the ingest again"
            )
        if source.metadata.num_rows:
            schema = pa.schema([source.schema_arrow.field(name) for name in names])
            batches = (batch.select(names) for batch in source.iter_batches(BATCH_ROWS, columns=names))
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            cursor.adbc_ingest("landed", reader, mode="append", temporary=True)
    cursor.execute("analyze landed")


def _judge(cursor: Any, contract: Contract) -> None:
    """Per record: duplicate (a later one here has its key), unchanged (raw has this version last), or loaded."""
    cursor.execute(
        sql.SQL(
            "create temporary table judged on commit drop as"
            " select ranked.seq, ranked.op, case when ranked.place > 1 then 'duplicate'"
            " when newest.version_hash = ranked.version_hash then 'unchanged' else 'loaded' end as fate"
            " from (select seq, op, record_key, version_hash,"
            " row_number() over (partition by record_key order by seq desc) as place from landed) as ranked"
            " left join lateral (select r.version_hash from {} as r where r.record_key = ranked.record_key"
            " order by r.batch_id desc limit 1) as newest on true"
        )
        .format(sql.Identifier("raw", contract.feed))
        .as_string()
    )


def _record_batch(cursor: Any, landing: Landing) -> int:
    manifest = landing.manifest
    cursor.execute(
        "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, declared_rows,"
        " received_rows, loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows, tombstone_rows, started_at,"
        " contract_version, code_version) select $1::text, $2::text::timestamptz, $3::text::timestamptz, $4::text,"
        " $5::text, $6::text::bigint, $7::bigint,"
        " count(*) filter (where fate = 'loaded'), count(*) filter (where fate = 'unchanged'),"
        " count(*) filter (where fate = 'duplicate'), $8::bigint,"
        " count(*) filter (where fate = 'loaded' and op = 'delete'), $9::text::timestamptz, $10::text, $11::text"
        " from judged returning batch_id",
        (
            landing.feed,
            manifest["window_start"],
            manifest["window_end"],
            landing.folder.absolute().as_uri(),
            landing.sha256,
            None if manifest["declared_rows"] is None else str(manifest["declared_rows"]),
            manifest["received_rows"],
            manifest["rejects"],
            manifest["started_at"],
            manifest["contract_version"],
            manifest["code_version"],
        ),
    )
    return int(cursor.fetchone()[0])


def _insert_rows(cursor: Any, contract: Contract, columns: tuple[Column, ...], batch_id: int) -> None:
    names = [sql.Identifier(name) for name in (*_HEAD, *(column.name for column in columns))]
    values = [sql.SQL("l.{}").format(sql.Identifier(name)) for name in _HEAD]
    for column in columns:
        value = sql.SQL("l.{}").format(sql.Identifier(column.name))
        cast = _CASTS.get(column.type)
        values.append(sql.SQL("{}::{}").format(value, sql.SQL(cast)) if cast else value)  # type: ignore[arg-type]
    table = sql.Identifier("raw", contract.feed)
    cursor.execute(
        sql.SQL(
            "insert into {} (batch_id, {}) select {}, {} from landed as l inner join judged as j on j.seq = l.seq"
            " where j.fate = 'loaded' order by l.seq"
        )
        .format(table, sql.SQL(", ").join(names), sql.Literal(batch_id), sql.SQL(", ").join(values))
        .as_string()
    )
    cursor.execute(sql.SQL("analyze {}").format(table).as_string())


def _insert_rejects(cursor: Any, landing: Landing, batch_id: int) -> None:
    if not landing.manifest["rejects"]:
        return
    cursor.execute(
        "create temporary table landed_rejects (seq bigint, record_key text, rule text, detail text,"
        " payload_minimised text) on commit drop"
    )
    with pq.ParquetFile(landing.rejects) as source:
        reader = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches(BATCH_ROWS))
        cursor.adbc_ingest("landed_rejects", reader, mode="append", temporary=True)
    cursor.execute(
        sql.SQL(
            "insert into ops.quarantine (batch_id, feed, record_key, rule, detail, payload_minimised)"
            " select {}, {}, record_key, rule, detail, payload_minimised from landed_rejects order by seq"
        )
        .format(sql.Literal(batch_id), sql.Literal(landing.feed))
        .as_string()
    )


def _find_batch(cursor: Any, landing_sha256: str, created: bool = False) -> LoadResult | None:
    cursor.execute(
        "select batch_id, feed, landing_uri, window_start, window_end, declared_rows, received_rows, loaded_rows,"
        " unchanged_rows, duplicate_rows, quarantined_rows, tombstone_rows from ops.batch"
        " where landing_sha256 = $1::text",
        (landing_sha256,),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    batch_id, feed, uri, start, end, declared, received, loaded, unchanged, duplicate, quarantined, tombstones = row
    return LoadResult(
        batch_id, feed, created, uri, landing_sha256, start, end, declared, received, loaded, unchanged, duplicate,
        quarantined, tombstones,
    )  # fmt: skip
