"""One landing folder into raw, quarantine and ledger: one transaction, and the second time nothing.

Keys and hashes travel by binary COPY into a temporary table and are judged against the head; the records that are new follow
by a second COPY, straight into raw (by way of a temporary table where there are decimals). A process killed at any moment
leaves the transaction unfinished, and the server rolls it back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql

from hailong.contracts import Column, Contract, find_contract
from hailong.errors import HailongError, PermanentError, TransientError
from hailong.load.landing import FINGERPRINT, Landing, read_landing
from hailong.load.raw import COMMON, ROLE, head_table
from hailong.settings import Settings
from hailong.warehouse.connect import adbc_uri, where

LOCK = 104_001  # advisory lock: loads commit one at a time, so that batch_id order is commit order
BATCH_ROWS = 2_048  # rows that are on their way at a time
_TRANSIENT_CLASSES = ("08", "40", "53", "57")
_HEAD = ("record_key", "op", "version_hash")
COMMON_NAMES = [name for name, _ in COMMON]
TEMPORARY = "pg_temp"
TOMBSTONE = hashlib.sha256(b"deleted").hexdigest()


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

    PermanentError when the folder is not whole, holds fewer rows than the source declared, or misses more keys than the
    contract lets a source delete; TransientError when the warehouse is away.
    """
    landing = read_landing(folder)
    manifest = landing.manifest
    if manifest["declared_rows"] is not None and manifest["declared_rows"] != manifest["received_rows"]:
        raise PermanentError(
            f"{landing.feed}: {folder} holds {manifest['received_rows']} rows, the source declared "
            f"{manifest['declared_rows']}: not loaded. Run the ingest again"
        )
    contract = find_contract(settings.contracts, landing.feed)
    with transaction(settings, f"{landing.feed}, landing folder {landing.folder.name}") as cursor:
        alone_as_loader(cursor)
        present = _find_batch(cursor, landing.sha256)
        if present is not None:
            return present
        tables = Tables.real(contract.feed)
        judge_landing(cursor, landing, contract, tables)
        batch_id = _record_batch(cursor, landing)
        write_batch(cursor, landing, contract, batch_id, tables)
        created = _find_batch(cursor, landing.sha256, created=True)
    if created is None:
        raise PermanentError(f"{landing.feed}: batch {batch_id} was not recorded; nothing was loaded")
    return created


@dataclass(frozen=True)
class Tables:
    """Where a load reads what stands and writes what is new; a replay has its own."""

    raw_name: tuple[str, str]  # schema, table
    head: sql.Identifier
    quarantine: sql.Identifier
    finding: sql.Identifier
    snapshot: sql.Identifier
    partitioned: bool = True

    @property
    def raw(self) -> sql.Identifier:
        return sql.Identifier(*self.raw_name)

    @classmethod
    def real(cls, feed: str) -> Tables:
        return cls(
            ("raw", feed), head_table(feed), sql.Identifier("ops", "quarantine"),
            sql.Identifier("ops", "batch_finding"), sql.Identifier("ops", "snapshot"),
        )  # fmt: skip


def judge_landing(cursor: Any, landing: Landing, contract: Contract, tables: Tables) -> None:
    """Everything that is decided about a folder before its batch is written, as temporary tables of the transaction:
    `landed`, `landed_rejects`, `judged` (fate of each record), `absent` (keys that a complete read misses).

    Depends on the folder and on the batches before it only: a replay decides the same.
    """
    for table in ("landed", "landed_rejects", "judged", "absent", "arrived"):
        cursor.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("pg_temp", table)).as_string())
    _landed_columns(landing, contract)  # refuses what was landed under another contract
    _copy(cursor, landing, contract)
    _copy_rejects(cursor, landing)
    _judge(cursor, landing, contract, tables)
    _find_absent(cursor, landing, contract, tables)


def write_batch(cursor: Any, landing: Landing, contract: Contract, batch_id: int, tables: Tables) -> None:
    """Versions, tombstones, head, quarantine, findings and snapshots of one judged folder under a batch number."""
    _insert_rows(cursor, landing, contract, batch_id, tables)
    _insert_tombstones(cursor, contract, batch_id, tables)
    _mark_missed(cursor, batch_id, tables)
    _insert_rejects(cursor, landing, batch_id, tables)
    _insert_findings(cursor, landing, contract, batch_id, tables)
    _insert_snapshots(cursor, landing, batch_id, tables)


@contextmanager
def transaction(settings: Settings, what: str) -> Iterator[Any]:
    """An ADBC cursor whose work is committed when the block ends well, else rolled back; `what` is for messages."""
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


def alone_as_loader(cursor: Any) -> None:
    """Take the loader's role and its lock until the transaction ends."""
    cursor.execute(sql.SQL("set local role {}").format(sql.Identifier(ROLE)).as_string())
    cursor.execute("set local work_mem = '64MB'")  # a city's night is sorted without files
    cursor.execute("set local default_statistics_target = 20")  # samples of a size that tells what a plan asks
    cursor.execute(sql.SQL("select pg_advisory_xact_lock({})").format(sql.Literal(LOCK)).as_string())
    cursor.fetchall()


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
    names = set(pq.read_schema(landing.records).names) - {*_HEAD, "seq", FINGERPRINT}
    unknown = names - {column.name for column in contract.columns}
    if unknown:
        raise PermanentError(
            f"{landing.folder} holds columns that {contract.path.name} does not know: {', '.join(sorted(unknown))}. "
            "Run the ingest again under the contract in force"
        )
    return tuple(column for column in contract.columns if column.name in names)


def _copy(cursor: Any, landing: Landing, contract: Contract) -> None:
    """What a record is judged by, into `landed`: most records of a look-back read have not changed and go no further."""
    cursor.execute(
        "create temporary table landed (record_key text, op text, version_hash text, seq bigint, changed_at timestamptz)"
        " on commit drop"
    )
    names = [*_HEAD, "seq"]
    with pq.ParquetFile(landing.records) as source:
        if source.metadata.num_rows != landing.manifest["records"]:
            raise PermanentError(
                f"{landing.records} holds another number of rows than its manifest says: run the ingest again"
            )
        if contract.cursor and contract.cursor.name in source.schema_arrow.names and not is_census(landing):
            names.append(contract.cursor.name)
        if source.metadata.num_rows:
            told = [*names[:4], "changed_at"][: len(names)]
            schema = pa.schema(
                [source.schema_arrow.field(name).with_name(as_) for name, as_ in zip(names, told, strict=True)]
            )
            batches = (  # a row group at a time: a reader of several keeps the bytes of all that it has passed
                pa.RecordBatch.from_arrays(batch.select(names).columns, schema=schema)
                for group in range(source.num_row_groups)
                for batch in source.iter_batches(BATCH_ROWS, row_groups=[group], columns=names, use_threads=False)
            )
            cursor.adbc_ingest(
                "landed", pa.RecordBatchReader.from_batches(schema, batches), mode="append", temporary=True
            )
    cursor.execute("analyze landed")


def _copy_new(
    cursor: Any, landing: Landing, columns: tuple[Column, ...], loaded: int, batch_id: int, tables: Tables
) -> None:
    """The records that are to be loaded, whole, into raw."""
    most = loaded * 2 > landing.manifest["records"]  # the shorter list is fetched
    cursor.execute(
        "select seq from judged where (fate = 'loaded') = $1::text::boolean order by seq", (str(not most).lower(),)
    )
    listed = cursor.fetch_arrow_table().column("seq").to_numpy()
    names = [*_HEAD, *(column.name for column in columns)]
    nested = {column.name for column in columns if column.type == "jsonb"}
    exact = {column.name for column in columns if column.type == "numeric"}

    def told(batch: pa.RecordBatch) -> pa.RecordBatch:
        number = pa.repeat(pa.scalar(batch_id, pa.int64()), batch.num_rows)
        arrays = [_jsonb(array) if name in nested else array for name, array in zip(names, batch.columns, strict=True)]
        return pa.RecordBatch.from_arrays([number, *arrays], names=["batch_id", *names])

    schema, table = (TEMPORARY, "arrived") if exact else tables.raw_name
    place: dict[str, Any] = {"temporary": True} if schema == TEMPORARY else {"db_schema_name": schema}
    if exact:
        _make_arrived(cursor, columns)
    with pq.ParquetFile(landing.records) as source:
        empty = pa.RecordBatch.from_pylist([], pa.schema([source.schema_arrow.field(name) for name in names]))
        rows = map(told, _selected(source, names, listed, keep=not most))
        went = cursor.adbc_ingest(
            table, pa.RecordBatchReader.from_batches(told(empty).schema, rows), mode="append", **place
        )
    if went != loaded:
        raise PermanentError(
            f"{landing.records} holds {went} of the {loaded} records that are new, or some of them twice: run the ingest again"
        )
    if exact:
        listed_names = [sql.Identifier(name) for name in ("batch_id", *names)]
        values = [sql.SQL("{}::numeric" if name in exact else "{}").format(sql.Identifier(name)) for name in names]
        cursor.execute(
            sql.SQL("insert into {} ({}) select batch_id, {} from arrived")
            .format(tables.raw, sql.SQL(", ").join(listed_names), sql.SQL(", ").join(values))
            .as_string()
        )


def _make_arrived(cursor: Any, columns: tuple[Column, ...]) -> None:
    """Exact decimals travel as text, which binary COPY does not take for numbers: their feeds are small and pass by here."""
    kinds = [sql.SQL("batch_id bigint, record_key text, op text, version_hash text")]
    for column in columns:
        kind = "text" if column.type == "numeric" else column.type
        kinds.append(sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(kind)))  # type: ignore[arg-type]
    cursor.execute(
        sql.SQL("create temporary table arrived ({}) on commit drop").format(sql.SQL(", ").join(kinds)).as_string()
    )


def _jsonb(values: pa.Array) -> pa.Array:
    """As PostgreSQL receives it: a version number, and the text, which it reads and refuses as it would a cast."""
    return pc.binary_join_element_wise(b"\x01", values.cast(pa.binary()), b"")


def _selected(source: Any, names: list[str], listed: Any, keep: bool) -> Iterator[Any]:
    """Batches of the rows whose seq is listed, or of the others; a row group without any is not read."""
    for group in range(source.num_row_groups):
        rows = source.metadata.row_group(group).num_rows
        numbers = source.read_row_group(group, columns=["seq"], use_threads=False).column("seq").to_numpy()
        chosen = np.isin(numbers, listed, assume_unique=True) == keep
        if not chosen.any():
            continue
        start = 0
        for batch in source.iter_batches(BATCH_ROWS, row_groups=[group], columns=names, use_threads=False):
            mask = chosen[start : start + batch.num_rows]
            start += batch.num_rows
            if mask.all():
                yield batch.select(names)
            elif mask.any():
                yield batch.select(names).filter(pa.array(mask))
        if start != rows:
            raise PermanentError(f"row group {group} of a landing file broke off: run the ingest again")


def _copy_rejects(cursor: Any, landing: Landing) -> None:
    cursor.execute(
        "create temporary table landed_rejects (seq bigint, record_key text, rule text, detail text,"
        " payload_minimised text) on commit drop"
    )
    if landing.manifest["rejects"]:
        with pq.ParquetFile(landing.rejects) as source:
            reader = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches(BATCH_ROWS))
            cursor.adbc_ingest("landed_rejects", reader, mode="append", temporary=True)


def _judge(cursor: Any, landing: Landing, contract: Contract, tables: Tables) -> None:
    """Fate of each record: duplicate (a newer one here has its key), older (we hold a newer one), unchanged, loaded.

    What comes again as it was after a newer version had been quarantined is loaded: it ends the doubt about the record.
    A census only counts keys.
    """
    if is_census(landing):
        cursor.execute(
            "create temporary table judged on commit drop as select seq, record_key, op, version_hash,"
            " null::timestamptz as changed_at, case when row_number() over (partition by record_key order by seq) > 1"
            " then 'duplicate' else 'unchanged' end as fate from landed"
        )
        return
    cursor.execute(
        sql.SQL(
            "create temporary table judged on commit drop as"
            " select ranked.seq, ranked.record_key, ranked.op, ranked.version_hash, ranked.changed_at,"
            " head.record_key is not null as known, case when ranked.place > 1 then 'duplicate'"
            " when head.version_hash = ranked.version_hash and (doubt.batch_id is null or doubt.batch_id <= head.batch_id)"
            " then 'unchanged'"
            " when ranked.changed_at < head.changed_at and head.version_hash <> ranked.version_hash and head.op = 'upsert'"
            " then 'older' else 'loaded' end as fate"
            " from (select seq, op, record_key, version_hash, changed_at, row_number() over"
            " (partition by record_key order by changed_at desc nulls last, seq desc) as place from landed) as ranked"
            " left join {head} as head on ranked.record_key = head.record_key"
            " left join (select record_key, max(batch_id) as batch_id from {quarantine}"
            " where feed = {feed} and record_key is not null group by record_key) as doubt"
            " on ranked.record_key = doubt.record_key"
        )
        .format(head=tables.head, quarantine=tables.quarantine, feed=sql.Literal(contract.feed))
        .as_string()
    )


def is_census(landing: Landing) -> bool:
    return bool(landing.manifest.get("read") == "census")


def _find_absent(cursor: Any, landing: Landing, contract: Contract, tables: Tables) -> None:
    """Keys in force that this read should have brought and did not; PermanentError when they are too many.

    `again`: an earlier complete read missed the key too, and none has seen it since.
    """
    scope = _scope(landing, contract)
    if scope is None:
        cursor.execute("create temporary table absent (record_key text, again boolean) on commit drop")
        return
    cursor.execute(
        sql.SQL(
            "create temporary table absent on commit drop as"
            " select head.record_key, head.missed_batch is not null as again from {} as head"
            " where head.op = 'upsert' and ({})"
            " and not exists (select 1 from landed where landed.record_key = head.record_key)"
            " and not exists (select 1 from landed_rejects as r where r.record_key = head.record_key)"
        )
        .format(tables.head, scope)
        .as_string()
    )
    cursor.execute("select count(*) from absent")
    missing = int(cursor.fetchone()[0])
    if not missing:
        return
    cursor.execute(
        sql.SQL("select count(*) from {} as head where head.op = 'upsert' and ({})")
        .format(tables.head, scope)
        .as_string()
    )
    expected = int(cursor.fetchone()[0])
    given = (landing.manifest.get("options") or {}).get("max_delete_share")
    allowed = contract.max_delete_share if given is None else float(given)
    if missing > allowed * expected:
        cursor.execute(
            "select string_agg(record_key, ', ') from (select record_key from absent order by 1 limit 5) as a"
        )
        named = cursor.fetchone()[0]
        raise PermanentError(
            f"{landing.feed}: {missing} of {expected} records that we hold are missing from this read ({named}"
            f"{', …' if missing > 5 else ''}), more than the share of {allowed:g} that the contract lets a source delete. "
            "Nothing was loaded. Ask the owner of the source; if they are really gone: "
            f"hailong ingest {landing.feed} --max-delete-share {min(1.0, -(-1000 * missing // expected) / 1000):g}"
        )


def _scope(landing: Landing, contract: Contract) -> sql.Composable | None:
    """Which of the keys in force a complete read must hold, as a condition on the head; None: the read proves nothing."""
    manifest = landing.manifest
    if contract.deletions != "absence" or not manifest.get("complete") or manifest.get("unreadable"):
        return None
    if _has_unreadable(landing):
        return None
    read = manifest.get("read")
    end = sql.Literal(manifest["window_end"])
    if read == "full":
        return sql.SQL("true")
    if read == "census":
        return sql.SQL("head.changed_at < {}::timestamptz").format(end)
    if read == "snapshot":
        prefixes = [snapshot["prefix"] for snapshot in manifest.get("snapshots", ())]
        if not prefixes:
            return None
        return sql.SQL(" or ").join(
            sql.SQL("starts_with(head.record_key, {})").format(sql.Literal(prefix)) for prefix in prefixes
        )
    if read == "window" and contract.cursor:
        return sql.SQL("head.changed_at >= {}::timestamptz and head.changed_at < {}::timestamptz").format(
            sql.Literal(manifest["window_start"]), end
        )
    return None


def _has_unreadable(landing: Landing) -> bool:
    """A record that is not one may be anybody's: the read proves no absence."""
    if not landing.manifest["rejects"]:
        return False
    rules = pq.read_table(landing.rejects, columns=["rule"]).column("rule")
    return "unreadable_record" in rules.unique().to_pylist()


def _record_batch(cursor: Any, landing: Landing) -> int:
    manifest = landing.manifest
    cursor.execute(
        "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, declared_rows,"
        " received_rows, loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows, tombstone_rows, started_at,"
        " contract_version, code_version, read_kind, is_complete, request)"
        " select $1::text, $2::text::timestamptz, $3::text::timestamptz, $4::text,"
        " $5::text, $6::text::bigint, $7::bigint,"
        " count(*) filter (where fate = 'loaded'), count(*) filter (where fate = 'unchanged'),"
        " count(*) filter (where fate in ('duplicate', 'older')), $8::bigint,"
        " (select count(*) from absent where again), $9::text::timestamptz, $10::text, $11::text, $12::text,"
        " $13::text::boolean, $14::text from judged returning batch_id",
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
            manifest.get("read", "window"),
            str(bool(manifest.get("complete", False))),
            (manifest.get("options") or {}).get("request"),
        ),
    )
    return int(cursor.fetchone()[0])


def _insert_rows(cursor: Any, landing: Landing, contract: Contract, batch_id: int, tables: Tables) -> None:
    partition = None
    if tables.partitioned:
        cursor.execute("select raw.ensure_partition($1::text, $2::bigint)", (contract.feed, batch_id))
        partition = sql.Identifier("raw", str(cursor.fetchone()[0]))
    cursor.execute("select count(*) from judged where fate = 'loaded'")
    loaded = int(cursor.fetchone()[0])
    if not loaded:
        return
    columns = _landed_columns(landing, contract)
    _copy_new(cursor, landing, columns, loaded, batch_id, tables)
    cursor.execute(
        sql.SQL(
            "update {} as held set batch_id = {}, version_hash = judged.version_hash, op = judged.op,"
            " changed_at = judged.changed_at, missed_batch = null"
            " from judged where judged.fate = 'loaded' and judged.known and held.record_key = judged.record_key"
        )
        .format(tables.head, sql.Literal(batch_id))
        .as_string()
    )
    cursor.execute(
        sql.SQL(
            "insert into {} (record_key, batch_id, version_hash, op, changed_at)"
            " select record_key, {}, version_hash, op, changed_at from judged where fate = 'loaded' and not known"
            " order by record_key"  # an index grows faster by one end than all over
        )
        .format(tables.head, sql.Literal(batch_id))
        .as_string()
    )
    # What a load and a build are planned by; the rest is looked at when autovacuum comes by.
    looked_at = [*COMMON_NAMES, *([contract.cursor.name] if contract.cursor else [])]
    cursor.execute(
        sql.SQL("analyze {} ({})")
        .format(partition or tables.raw, sql.SQL(", ").join(map(sql.Identifier, looked_at)))
        .as_string()
    )


def _insert_tombstones(cursor: Any, contract: Contract, batch_id: int, tables: Tables) -> None:
    """A version of its own for each key that is gone: key columns as they were, everything else empty."""
    keys = [sql.Identifier(column.name) for column in contract.keys]
    digest = sql.Literal(TOMBSTONE)
    cursor.execute(
        sql.SQL(
            "insert into {raw} (batch_id, record_key, op, version_hash, {keys})"
            " select {batch}, absent.record_key, 'delete', {digest}, {values} from absent"
            " inner join {head} as head on absent.record_key = head.record_key"
            " inner join {raw} as r on r.record_key = head.record_key and r.batch_id = head.batch_id where absent.again"
            " order by absent.record_key"
        )
        .format(
            raw=tables.raw, head=tables.head, batch=sql.Literal(batch_id), digest=digest,
            keys=sql.SQL(", ").join(keys), values=sql.SQL(", ").join(sql.SQL("r.{}").format(key) for key in keys),
        )
        .as_string()
    )  # fmt: skip
    cursor.execute(
        sql.SQL(
            "update {} as head set batch_id = {}, version_hash = {}, op = 'delete', changed_at = null, missed_batch = null"
            " from absent where absent.again and head.record_key = absent.record_key"
        )
        .format(tables.head, sql.Literal(batch_id), digest)
        .as_string()
    )


def _mark_missed(cursor: Any, batch_id: int, tables: Tables) -> None:
    """First misses get their mark; what was seen, readable or not, loses it."""
    head = tables.head
    cursor.execute(
        sql.SQL(
            "update {} as head set missed_batch = {} from absent where not absent.again"
            " and head.record_key = absent.record_key"
        )
        .format(head, sql.Literal(batch_id))
        .as_string()
    )
    cursor.execute(
        sql.SQL(
            "update {} as head set missed_batch = null where head.missed_batch is not null and"
            " (head.record_key in (select record_key from landed)"
            " or head.record_key in (select record_key from landed_rejects where record_key is not null))"
        )
        .format(head)
        .as_string()
    )


def _insert_rejects(cursor: Any, landing: Landing, batch_id: int, tables: Tables) -> None:
    if not landing.manifest["rejects"]:
        return
    cursor.execute(
        sql.SQL(
            "insert into {} (batch_id, feed, record_key, rule, detail, payload_minimised)"
            " select {}, {}, record_key, rule, detail, payload_minimised from landed_rejects order by seq"
        )
        .format(tables.quarantine, sql.Literal(batch_id), sql.Literal(landing.feed))
        .as_string()
    )


def _insert_findings(cursor: Any, landing: Landing, contract: Contract, batch_id: int, tables: Tables) -> None:
    """What the door found, and what only the load can see: older copies, and keys of a census that were never loaded."""
    found = [
        (str(f["rule"]), str(f.get("field") or ""), int(f["records"]), str(f["detail"]))
        for f in landing.manifest.get("findings", ())
    ]
    cursor.execute("select count(*) from judged where fate = 'older'")
    older = int(cursor.fetchone()[0])
    if older:
        field = contract.cursor.source or "" if contract.cursor else ""
        found.append(
            ("cursor_went_back", field, older, "copies older than the version we hold; that one stays in force")
        )
    if is_census(landing):
        cursor.execute(
            sql.SQL(
                "select count(distinct landed.record_key) from landed left join {} as head"
                " on landed.record_key = head.record_key and head.op = 'upsert' where head.record_key is null"
            )
            .format(tables.head)
            .as_string()
        )
        unknown = int(cursor.fetchone()[0])
        if unknown:
            told = f"keys that the source has and we do not: hailong ingest {landing.feed} --since …"
            found.append(("not_loaded", "", unknown, told))
    for rule, field, records, detail in found:
        cursor.execute(
            sql.SQL(
                "insert into {} (batch_id, feed, rule, field, records, detail)"
                " values ($1::bigint, $2::text, $3::text, $4::text, $5::bigint, $6::text)"
            )
            .format(tables.finding)
            .as_string(),
            (batch_id, landing.feed, rule, field, records, detail),
        )


def _insert_snapshots(cursor: Any, landing: Landing, batch_id: int, tables: Tables) -> None:
    for s in landing.manifest.get("snapshots", ()):
        cursor.execute(
            sql.SQL(
                "insert into {} (batch_id, feed, prefix, group_code, window_from, window_to, retrieved_at, rows)"
                " values ($1::bigint, $2::text, $3::text, $4::text, $5::text::date, $6::text::date,"
                " $7::text::timestamptz, $8::bigint)"
            )
            .format(tables.snapshot)
            .as_string(),
            (batch_id, landing.feed, s["prefix"], s["group_code"], s["window_from"], s["window_to"], s["retrieved_at"],
             s["rows"]),
        )  # fmt: skip


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
