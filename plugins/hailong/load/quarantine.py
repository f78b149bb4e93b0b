"""The quarantine: what lies there, what one entry is, and reading it again when its cause has gone.

An entry is open until its record was read after all (released as `loaded`) or a newer version of it came in good order
(`superseded`). The same record fails night after night while the look-back covers it: the list shows it once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from hailong import lineage
from hailong.contracts import Contract, find_contract, load_contracts
from hailong.errors import PermanentError
from hailong.extract.records import Converter, Row
from hailong.load.landing import LandingWriter
from hailong.load.ledger import current_codes, open_entries
from hailong.load.loader import load_landing
from hailong.load.raw import ROLE, head_table
from hailong.settings import Settings
from hailong.warehouse.connect import connect


@dataclass(frozen=True)
class QuarantineReplay:
    """What became of the open entries of one feed, counted by record."""

    feed: str
    loaded: int
    superseded: int
    still_bad: int
    not_replayable: int
    batch_id: int | None

    @property
    def message(self) -> str:
        told = (
            f"{self.feed}: {self.loaded} records read after all, {self.superseded} overtaken by newer versions, "
            f"{self.still_bad} still unreadable"
        )
        if self.not_replayable:
            told += f", {self.not_replayable} kept in part only: fetch them with `hailong ingest {self.feed} --since …`"
        return told if self.batch_id is None else f"{told} (batch {self.batch_id})"


def show(conn: psycopg.Connection, quarantine_id: int) -> dict[str, Any]:
    """One entry with its batch, its payload and its release; PermanentError when there is none of that number."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select q.quarantine_id, q.feed, q.record_key, q.rule, q.detail, q.payload_minimised, q.batch_id, b.loaded_at,"
            " b.window_start, b.window_end, b.landing_uri, b.contract_version, r.outcome, r.batch_id as released_in,"
            " r.released_at, r.released_by from ops.quarantine as q inner join ops.batch as b on q.batch_id = b.batch_id"
            " left join ops.quarantine_release as r on q.quarantine_id = r.quarantine_id where q.quarantine_id = %s",
            (quarantine_id,),
        ).fetchone()
    if row is None:
        raise PermanentError(
            f"there is no quarantine entry {quarantine_id}: `hailong quarantine list` shows the numbers"
        )
    return row


def replay(
    settings: Settings,
    by: str,
    feed: str | None = None,
    ids: Sequence[int] = (),
    progress: Callable[[str], None] | None = None,
    now: datetime | None = None,
) -> list[QuarantineReplay]:
    """Read open entries again under today's contract and code map; what is readable now becomes a batch.

    `ids` narrows it to the records of these entries. One result per feed that has open entries.
    """
    contracts = load_contracts(settings.contracts)
    if feed:
        contracts = {feed: find_contract(settings.contracts, feed)}
    results = []
    for contract in contracts.values():
        result = _replay_feed(settings, contract, by, set(ids), now or datetime.now(UTC))
        if result is not None:
            results.append(result)
            if progress:
                progress(result.message)
    return results


def _replay_feed(
    settings: Settings, contract: Contract, by: str, ids: set[int], now: datetime
) -> QuarantineReplay | None:
    with connect(settings, role=ROLE) as connection:
        codes = current_codes(connection)
        with connection.cursor(row_factory=dict_row) as cursor:
            entries = cursor.execute(
                sql.SQL(
                    "select quarantine_id, record_key, payload_minimised from ({}) as q order by quarantine_id"
                ).format(open_entries(contract.feed))
            ).fetchall()
        overtaken = _overtaken(connection, contract, ids)
    groups: dict[Any, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry["record_key"] or entry["quarantine_id"], []).append(entry)
    chosen = [g for g in groups.values() if not ids or ids & {entry["quarantine_id"] for entry in g}]
    if not chosen and not overtaken:
        return None
    converter = Converter(contract, settings.timezone, codes)
    good: list[tuple[list[dict[str, Any]], Row]] = []
    still_bad = partial = 0
    for group in chosen:
        payload = _payload(group[-1]["payload_minimised"])
        if payload is None:
            partial += 1
            continue
        outcome = converter.convert(payload)
        if isinstance(outcome, Row):
            good.append((group, outcome))
        else:
            still_bad += 1
    batch_id = _load(settings, contract, [row for _, row in good], now) if good else None
    released = [entry["quarantine_id"] for group, _ in good for entry in group]
    with connect(settings, role=ROLE) as connection:
        for number in released:
            _release(connection, number, batch_id, "loaded", by)
        for number in overtaken:
            _release(connection, number, None, "superseded", by)
    return QuarantineReplay(contract.feed, len(good), len(overtaken), still_bad, partial, batch_id)


def _overtaken(connection: psycopg.Connection, contract: Contract, ids: set[int]) -> list[int]:
    rows = connection.execute(
        sql.SQL(
            "select q.quarantine_id from ops.quarantine as q inner join {} as h on q.record_key = h.record_key"
            " and h.batch_id > q.batch_id where q.feed = %s"
            " and not exists (select 1 from ops.quarantine_release as r where r.quarantine_id = q.quarantine_id)"
        ).format(head_table(contract.feed)),
        (contract.feed,),
    ).fetchall()
    return [number for (number,) in rows if not ids or number in ids]


def _payload(text: str | None) -> dict[str, Any] | None:
    """The record as it was kept; None when it was cut, or was no record at all."""
    if not text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and not found.get("truncated") else None


def _load(settings: Settings, contract: Contract, rows: list[Row], now: datetime) -> int:
    extract_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-quarantine-{secrets.token_hex(4)}"
    with lineage.load(settings, contract.feed, again=True) as loaded:
        with LandingWriter(settings.landing, contract, extract_id) as writer:
            for row in rows:
                writer.add(row)
            landing = writer.finish(
                source="quarantine", declared=len(rows), window=None, started_at=now, finished_at=now,
                code_version=settings.code_version, read="replay",
            )  # fmt: skip
        result = load_landing(settings, landing.folder)
        loaded(result)
    return result.batch_id


def _release(connection: psycopg.Connection, number: int, batch_id: int | None, outcome: str, by: str) -> None:
    connection.execute(
        "insert into ops.quarantine_release (quarantine_id, batch_id, outcome, released_by) values (%s, %s, %s, %s)"
        " on conflict (quarantine_id) do nothing",
        (number, batch_id, outcome, by),
    )
