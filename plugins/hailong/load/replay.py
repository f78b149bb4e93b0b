"""raw and quarantine of a feed, made again from its landing folders alone, and compared with what stands.

The folders are judged in the order of their batches, as they were the first time, into tables of the transaction. What comes
out is compared row for row; without `check`, rows that differ are put right and the head is made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from hailong.contracts import Contract, find_contract
from hailong.errors import PermanentError
from hailong.load.landing import folder_of, read_landing
from hailong.load.loader import TEMPORARY, Tables, alone_as_loader, judge_landing, transaction, write_batch
from hailong.load.raw import head_table, raw_table
from hailong.settings import Settings

_COUNTS = ("loaded_rows", "unchanged_rows", "duplicate_rows", "tombstone_rows")


@dataclass(frozen=True)
class ReplayResult:
    """What a replay found: rows that stand and should not, and rows that should stand and do not."""

    feed: str
    batches: int
    purged: int
    rows: int
    quarantined: int
    raw_missing: int
    raw_extra: int
    quarantine_missing: int
    quarantine_extra: int
    repaired: bool

    @property
    def identical(self) -> bool:
        return not (self.raw_missing or self.raw_extra or self.quarantine_missing or self.quarantine_extra)

    @property
    def message(self) -> str:
        told = f"{self.feed}: {self.batches} batches replayed, {self.rows:,} versions, {self.quarantined:,} quarantined"
        if self.purged:
            told += f"; {self.purged} purged batches left out"
        if self.identical:
            return f"{told}; the warehouse holds the same, row for row"
        differs = (
            f"raw lacked {self.raw_missing:,} and held {self.raw_extra:,} too many, quarantine lacked "
            f"{self.quarantine_missing:,} and held {self.quarantine_extra:,} too many"
        )
        repair = "put right" if self.repaired else f"`hailong replay {self.feed}` puts it right"
        return f"{told}; {differs}: {repair}"


def replay(
    settings: Settings, feed: str, check: bool = False, progress: Callable[[str], None] | None = None
) -> ReplayResult:
    """Rebuild raw and quarantine of a feed from its landing folders, in one transaction; `check` changes nothing.

    PermanentError names a folder that is missing or changed, or a batch whose counts are not the ledger's.
    """
    contract = find_contract(settings.contracts, feed)
    head, quarantine, finding, snapshot = (
        sql.Identifier(TEMPORARY, f"replay_{name}") for name in ("head", "quarantine", "finding", "snapshot")
    )
    tables = Tables((TEMPORARY, "replay_raw"), head, quarantine, finding, snapshot, partitioned=False)
    with transaction(settings, f"replay of {feed}") as cursor:
        alone_as_loader(cursor)
        batches, purged = _batches(cursor, feed)
        if not batches:
            raise PermanentError(f"{feed} has no batch in the ledger: there is nothing to replay")
        _make_tables(cursor, contract)
        for number, batch in enumerate(batches, 1):
            _replay_one(settings, cursor, contract, tables, batch, bool(purged))
            if progress and (number % 10 == 0 or number == len(batches)):
                progress(f"{feed}: batch {batch['batch_id']} ({number} of {len(batches)})")
        missing, extra = _differences(cursor, contract, bool(purged))
        lost, odd = _quarantine_differences(cursor, feed)
        differs = bool(missing or extra or lost or odd)
        if differs and not check:
            _repair(cursor, contract)
        return ReplayResult(
            feed, len(batches), purged, _count(cursor, "replay_raw"), _count(cursor, "replay_quarantine"),
            missing, extra, lost, odd, differs and not check,
        )  # fmt: skip


def _batches(cursor: Any, feed: str) -> tuple[list[dict[str, Any]], int]:
    cursor.execute(
        "select b.batch_id, b.landing_uri, b.landing_sha256, b.loaded_rows, b.unchanged_rows, b.duplicate_rows,"
        " b.tombstone_rows, p.batch_id is not null as purged from ops.batch as b"
        " left join ops.purge as p on b.batch_id = p.batch_id where b.feed = $1::text order by b.batch_id",
        (feed,),
    )
    names = [item[0] for item in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [row for row in rows if not row["purged"]], sum(row["purged"] for row in rows)


def _make_tables(cursor: Any, contract: Contract) -> None:
    for name, like in (
        ("replay_raw", raw_table(contract.feed)),
        ("replay_head", head_table(contract.feed)),
        ("replay_finding", sql.Identifier("ops", "batch_finding")),
        ("replay_snapshot", sql.Identifier("ops", "snapshot")),
    ):
        cursor.execute(
            sql.SQL("create temporary table {} (like {} including indexes) on commit drop")
            .format(sql.Identifier(name), like)
            .as_string()
        )
    cursor.execute(
        "create temporary table replay_quarantine (batch_id bigint, feed text, record_key text, rule text, detail text,"
        " payload_minimised text) on commit drop"
    )


def _replay_one(
    settings: Settings, cursor: Any, contract: Contract, tables: Tables, batch: dict[str, Any], after_purge: bool
) -> None:
    folder = folder_of(settings, batch["landing_uri"])
    what = f"{contract.feed}, batch {batch['batch_id']}"
    if not folder.is_dir():
        raise PermanentError(
            f"{what}: its landing folder {folder} is gone. Restore it from the backup and replay again"
        )
    landing = read_landing(folder)
    if landing.sha256 != batch["landing_sha256"]:
        raise PermanentError(f"{what}: {folder} is not the folder that was loaded. Restore it from the backup")
    judge_landing(cursor, landing, contract, tables)
    cursor.execute(
        "select count(*) filter (where fate = 'loaded'), count(*) filter (where fate = 'unchanged'),"
        " count(*) filter (where fate in ('duplicate', 'older')), (select count(*) from absent where again) from judged"
    )
    found = dict(zip(_COUNTS, cursor.fetchone(), strict=True))
    if not after_purge and any(found[name] != batch[name] for name in _COUNTS):
        told = ", ".join(f"{name} {found[name]} (ledger: {batch[name]})" for name in _COUNTS)
        raise PermanentError(
            f"{what}: the folder gives other counts than the ledger: {told}. Nothing was changed. A folder loaded under another "
            "contract, or another ledger: look at the batch before you replay"
        )
    write_batch(cursor, landing, contract, int(batch["batch_id"]), tables)


def _columns(contract: Contract) -> sql.Composed:
    names = ("batch_id", "record_key", "op", "version_hash", *(column.name for column in contract.columns))
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _differences(cursor: Any, contract: Contract, after_purge: bool) -> tuple[int, int]:
    """(versions that raw lacks, versions that it holds and the folders do not).

    After a purge a version may come from a later folder than it did: what raw lacks is then not told.
    """
    names = _columns(contract)
    for name, left, right in (
        ("replay_missing", sql.Identifier("pg_temp", "replay_raw"), raw_table(contract.feed)),
        ("replay_extra", raw_table(contract.feed), sql.Identifier("pg_temp", "replay_raw")),
    ):
        cursor.execute(
            sql.SQL("create temporary table {} on commit drop as select {} from {} except select {} from {}")
            .format(sql.Identifier(name), names, left, names, right)
            .as_string()
        )
    if after_purge:
        cursor.execute("delete from replay_missing")
    return _count(cursor, "replay_missing"), _count(cursor, "replay_extra")


def _quarantine_differences(cursor: Any, feed: str) -> tuple[int, int]:
    """The same for quarantine; equal entries of one batch are told apart by their number among themselves."""
    fields = "batch_id, feed, record_key, rule, detail, payload_minimised"
    place = f"row_number() over (partition by {fields}) as place"
    cursor.execute(
        f"create temporary table quarantine_missing on commit drop as select {fields}, {place} from replay_quarantine"
        f" except select {fields}, {place} from ops.quarantine where feed = $1::text",
        (feed,),
    )
    cursor.execute(
        f"create temporary table quarantine_extra on commit drop as select {fields}, {place} from ops.quarantine"
        f" where feed = $1::text except select {fields}, {place} from replay_quarantine",
        (feed,),
    )
    return _count(cursor, "quarantine_missing"), _count(cursor, "quarantine_extra")


def _repair(cursor: Any, contract: Contract) -> None:
    """Only rows that differ are touched; the triggers that refuse a change are off for these statements alone."""
    raw, names = raw_table(contract.feed), _columns(contract)
    trigger = sql.Identifier(f"{contract.feed}_append_only")
    cursor.execute(sql.SQL("alter table {} disable trigger {}").format(raw, trigger).as_string())
    cursor.execute(
        sql.SQL(
            "delete from {} as r using replay_extra as x where r.record_key = x.record_key and r.batch_id = x.batch_id"
        )
        .format(raw)
        .as_string()
    )
    cursor.execute("select distinct batch_id from replay_missing")
    for (batch_id,) in cursor.fetchall():
        cursor.execute("select raw.ensure_partition($1::text, $2::bigint)", (contract.feed, batch_id))
        cursor.fetchall()
    cursor.execute(sql.SQL("insert into {} ({}) select {} from replay_missing").format(raw, names, names).as_string())
    cursor.execute(sql.SQL("alter table {} enable always trigger {}").format(raw, trigger).as_string())
    head = head_table(contract.feed)
    cursor.execute(sql.SQL("truncate {}").format(head).as_string())
    cursor.execute(sql.SQL("insert into {} select * from replay_head").format(head).as_string())
    if _count(cursor, "quarantine_missing") or _count(cursor, "quarantine_extra"):
        cursor.execute("reset role")  # the ledger belongs to whoever migrates
        cursor.execute("alter table ops.quarantine disable trigger quarantine_append_only")
        cursor.execute(
            "delete from ops.quarantine where quarantine_id in (select max(q.quarantine_id) from ops.quarantine as q"
            " inner join quarantine_extra as x on (q.batch_id, q.feed, q.rule, q.detail) = (x.batch_id, x.feed, x.rule, x.detail)"
            " and q.record_key is not distinct from x.record_key"
            " and q.payload_minimised is not distinct from x.payload_minimised group by x.place, q.batch_id, q.record_key,"
            " q.rule, q.detail, q.payload_minimised)"
        )
        cursor.execute("alter table ops.quarantine enable always trigger quarantine_append_only")
        cursor.execute(
            "insert into ops.quarantine (batch_id, feed, record_key, rule, detail, payload_minimised)"
            " select batch_id, feed, record_key, rule, detail, payload_minimised from quarantine_missing"
        )


def _count(cursor: Any, table: str) -> int:
    cursor.execute(sql.SQL("select count(*) from {}").format(sql.Identifier("pg_temp", table)).as_string())
    return int(cursor.fetchone()[0])
