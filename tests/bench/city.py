"""A city-year straight into raw: the rows that a year of nightly loads would have left.

python -m tests.bench.city [--dossiers 6000000] [--days 365] [--seed 104] [--changes 20000]

Fills the warehouse of HAILONG_DSN (or the embedded one): registers, dossiers in the versions that each night brought, ratings,
petitions, the portal's scores, posting checks; one batch a feed and night with counts that add up, partitions, heads. Rows
follow from the seed alone and lie in the columns of the contracts: a column that is added there must be made here. Small
feeds go through the records and the reader of the real road; dossiers and ratings are made as Arrow columns and go by binary
COPY, a night at a time, the next one made meanwhile. `--changes` adds one more night (see `night`).

Their version hashes are numbers, not those of ADR 6: a record that the real road brings later is a new version once.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hailong.contracts import Contract, PortalWindows, load_contracts
from hailong.extract.portal import records_of, windows
from hailong.extract.records import Converter, Row
from hailong.load.loader import TOMBSTONE
from hailong.load.raw import rebuild_head
from hailong.settings import Settings
from hailong.warehouse.connect import adbc_uri, connect
from hailong.warehouse.migrations import migrate
from sandbox.generator import DATES, DAY, NONE, PostingCheck
from sandbox.petitions import PetitionFeed
from sandbox.portal import Counts, Portal, count_petition
from sandbox.records import DESK, DIVISION
from sandbox.registers import (
    CHECKER_KINDS,
    IGNORED_UNIT_CODE,
    POSTING_PLACES,
    POSTING_RESULTS,
    SUFFIX,
    code_records,
    devices,
    procedure_records,
    procedures,
    unit_records,
    units,
)
from tests.bench.lives import (
    LEVELS,
    LOST,
    QUESTIONS,
    RATING_CHANNELS,
    RATING_FIELDS,
    SLOTS,
    YEAR,
    Columns,
    Ints,
    Size,
    Table,
    as_seen,
    changed,
    coarse,
    lives,
    portal_dossiers,
    ratings,
    versions,
)

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OFFSET = 7 * 3600  # Asia/Ho_Chi_Minh is seven hours ahead, all year
EVENTS = ("dossier", "rating", "portal_evaluation", "petition", "posting_check")
REGISTERS = (("unit_register", unit_records), ("procedure_register", procedure_records), ("code_map", code_records))
ARROW = {
    "text": pa.string(), "timestamptz": pa.timestamp("us", "UTC"), "date": pa.date32(), "boolean": pa.bool_(),
    "integer": pa.int32(), "bigint": pa.int64(), "jsonb": pa.binary(), "numeric": pa.string(),
}  # fmt: skip
CHECKS_KEPT = 110  # days before the history whose posting checks lay in the drop folder when it began
UNREADABLE = 0.0002  # versions that could not be read, for one that could


@dataclass(frozen=True)
class Night:
    """What one reading of one feed brought: rows in the contract's columns, deletions among them, and what was unreadable."""

    feed: str
    day: int  # what it read: this day, in the night that follows
    rows: pa.Table
    tombstones: int = 0
    unreadable: tuple[str | None, ...] = ()  # their keys, where there was one
    snapshots: tuple[dict[str, Any], ...] = ()


@dataclass
class Made:
    """What was generated: rows in raw by feed, batches, and seconds."""

    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    batches: int = 0
    seconds: float = 0.0
    changes: dict[str, int] = field(default_factory=dict)


def generate(settings: Settings, size: Size) -> Made:
    """Fill an empty migrated warehouse with a history."""
    began = time.monotonic()
    source = Source(settings, size)
    made = _write(settings, _ahead(source.history()), source)
    _tidy(settings)
    made.seconds = time.monotonic() - began
    return made


def night(settings: Settings, size: Size, changes: int = 20_000, nights: int = 1) -> Made:
    """One more night, the n-th after the history: `changes` dossiers of the last 35 days are new, got a result, moved, vanished;
    and what goes with them. Each night is made from the history alone: what an earlier one changed may change back.
    """
    began = time.monotonic()
    source = Source(settings, size)
    table, kinds = changed(size, changes, nights)
    made = _write(settings, iter(source.one_more(table, size.last + nights)), source)
    with connect(settings, autocommit=True) as connection:
        connection.execute("analyze raw.dossier, raw.rating")  # as a load does
    made.changes, made.seconds = kinds, time.monotonic() - began
    return made


# -- nights -------------------------------------------------------------------------------------------------------------


class Source:
    """Everything there is to read, night after night."""

    def __init__(self, settings: Settings, size: Size) -> None:
        self.size = size
        self.rules = settings.rules
        self.contracts = load_contracts(settings.contracts)
        self._zone = settings.timezone
        self._texts = _Texts(size.first - 60, size.last + 400)
        self._petitions = PetitionFeed(size.city, size.city.end)
        self._portal = _DailyPortal(size)
        self._night_before = pa.array([], pa.string())

    def history(self) -> Iterator[Night]:
        first = self.size.first
        for feed, records in REGISTERS:
            yield Night(feed, first, self._converted(feed, records()))
        dossiers: dict[int, list[Table]] = defaultdict(list)
        said: dict[int, list[Table]] = defaultdict(list)
        for day in range(first, self.size.last + 1):
            table = lives(self.size, day)
            _sort_in(dossiers, table, *versions(table))
            spoken = ratings(self.size, day, table)
            _sort_in(said, spoken, np.arange(spoken.shape[1]), _rating_nights(spoken))
            yield self._dossiers(day, np.concatenate(dossiers.pop(day), axis=1))
            yield self._ratings(day, said.pop(day, []))
            yield from self._small(day)

    def one_more(self, table: Table, day: int) -> list[Night]:
        """A night after the history, on which these dossiers changed, with what is said of them, and the small feeds."""
        first = 500_000 + 50_000 * (day - self.size.last)  # their numbers are none of the history's
        said = ratings(self.size, day, table, first)
        said = said[:, _rating_nights(said) == day]
        return [self._dossiers(day, table), self._ratings(day, [said]), *self._small(day)]

    def _small(self, day: int) -> Iterator[Night]:
        if day % 7 == 4 or day in (self.size.first, self.size.last) or day > self.size.last or self._closes(day):
            yield self._scores(day)  # once a week, and when a period ends
        yield self._petition_night(day)
        checks = [check for check in self.size.city.posting_checks if _checked(self.size, check) == day]
        if checks:
            yield Night("posting_check", day, self._converted("posting_check", [_check_record(c) for c in checks]))

    def _closes(self, day: int) -> bool:
        return any(_number(window.last) == day for window in self._windows(day))

    def _windows(self, day: int) -> list[Any]:
        """The periods of our calendar that are open on a day."""
        at = _moment(day)
        return [
            w for w in windows(self.rules, at, at + timedelta(days=1)) if _number(w.first) <= day <= _number(w.last)
        ]

    def _scores(self, day: int) -> Night:
        connector = self.contracts["portal_evaluation"].connector
        assert isinstance(connector, PortalWindows)
        at = _moment(day + 1) + timedelta(hours=1)
        records, snapshots = [], []
        for window in self._windows(day):
            answer = self._portal.answer(window.first, window.last, (day + 1) * DAY - 1, 1, 1000)
            found, _ = records_of(answer, connector, window, at)
            records += found
            snapshots.append({
                "prefix": f"{connector.group}|{window.first}|{window.last}|", "group_code": connector.group,
                "window_from": window.first, "window_to": window.last, "retrieved_at": at, "rows": len(found),
            })  # fmt: skip
        rows = self._converted("portal_evaluation", records)
        return Night("portal_evaluation", day, rows, snapshots=tuple(snapshots))

    def _petition_night(self, day: int) -> Night:
        self._petitions.now = (day + 1) * DAY - 1
        # In the first night, whatever was still going on before.
        since = (day - 60 if day == self.size.first else day) * DAY
        found = []
        for _, course in self._petitions.rows:
            events = [at for at in course.events if 0 <= at <= self._petitions.now]
            if events and max(events) >= since and course.petition.accepted <= self._petitions.now:
                found.append(self._petitions.record(course, max(events)))
        return Night("petition", day, self._converted("petition", found))

    def _converted(self, feed: str, records: list[dict[str, Any]]) -> pa.Table:
        """Records as the sources send them, through the reader of the real road."""
        contract = self.contracts[feed]
        convert = Converter(contract, self._zone).convert
        found = [convert(record) for record in records]
        bad = [row for row in found if not isinstance(row, Row)]
        if bad:
            raise ValueError(f"{feed}: the sandbox's records do not fit the contract: {bad[0]}")
        rows = [row for row in found if isinstance(row, Row)]
        columns: dict[str, Any] = {
            "record_key": [row.key for row in rows], "op": [row.op for row in rows],
            "version_hash": [row.version_hash for row in rows],
        }  # fmt: skip
        for place, column in enumerate(contract.columns):
            values = [row.values[place] for row in rows]
            if column.type == "numeric":
                values = [None if value is None else str(value) for value in values]
            columns[column.name] = pa.array(values, ARROW["text" if column.type == "jsonb" else column.type])
        return _laid_out(contract, columns)

    # -- dossiers and ratings as Arrow columns --------------------------------------------------------------------------

    def _dossiers(self, day: int, table: Table) -> Night:
        contract, t = self.contracts["dossier"], self._texts
        c = as_seen(table, day)
        code, style = t.codes(c["receiver"], c["received"] // DAY, c["sequence"]), c["style"]
        is_date = pa.array(style == DATES)
        gone = pa.array(c["is_deleted"])
        procedure = pa.array([p.code for p in procedures()] + [p.code + SUFFIX for p in procedures()])
        suffixed = c["procedure"] + np.where(c["unit"] % 5 == 0, len(procedures()), 0)
        resolver, official = c["resolver"], np.maximum(c["resolver"], 0) * 8 + c["sequence"] % 8
        columns: dict[str, Any] = {
            "dossier_code": code,
            "procedure_code": procedure.take(pa.array(suffixed)),
            "channel_code": t.small.take(pa.array(c["channel"])),
            "status_code": t.small.take(pa.array(c["status"])),
            "resolving_unit_source_code": t.unit_codes.take(pa.array(np.where(resolver < 0, len(units()), resolver))),
            "receiving_unit_source_code": t.unit_codes.take(pa.array(c["receiver"])),
            "official": t.officials.take(pa.array(official)),
            "is_interlinked": pa.array(c["is_linked"] == 1),
            "is_dummy_identity": pa.array(c["is_dummy"] == 1),
            "is_test_record": pa.array(c["is_test"] == 1),
            "updated_at": _instants(c["updated"]),
            "supplements": t.supplements(c, code),
            "steps": t.steps(c, code),
            "participants": t.participants(c, code),
        }
        for name, moment, is_due in (
            ("received_at", c["received"], False), ("due_at", c["shown_due"], True),
            ("returned_at", c["given"], False), ("finished_at", c["result"], False),
        ):  # fmt: skip
            columns[name] = _instants(coarse(moment, style, is_due))
            columns[f"{name}_is_date"] = pc.if_else(pa.array(moment >= 0), is_date, None)
        for name in columns:  # of a deleted record only the key is left
            if name != "dossier_code":
                columns[name] = pc.if_else(gone, None, columns[name])
        deleted = int(c["is_deleted"].sum())
        columns |= {
            "record_key": code,
            "op": pc.if_else(gone, "delete", "upsert"),
            "version_hash": pc.if_else(gone, TOMBSTONE, _hashes(self.size, 1, day, len(code))),
        }
        return Night("dossier", day, _laid_out(contract, columns), deleted, self._unreadable(day, code))

    def _unreadable(self, day: int, code: pa.Array) -> tuple[str | None, ...]:
        """Keys of dossiers of the night before whose newest version cannot be read; with them, one without a key."""
        rng, before = self.size.rng(31, day), self._night_before
        self._night_before = code
        wanted = min(int(rng.poisson(len(code) * UNREADABLE)), len(before))
        chosen = before.take(pa.array(np.sort(rng.choice(len(before), size=wanted, replace=False))))
        found = chosen.filter(pc.invert(pc.is_in(chosen, code))).to_pylist()
        return (*found, None) if found else ()

    def _ratings(self, day: int, tables: list[Table]) -> Night:
        t = self._texts
        table = np.concatenate(tables, axis=1) if tables else np.zeros((len(RATING_FIELDS), 0), np.int32)
        c = {name: table[place].astype(np.int64) for place, name in enumerate(RATING_FIELDS)}
        named, lost = pa.array(c["sequence"] > 0), pa.array(c["sequence"] == LOST)
        day_of = c["received"] // DAY
        serial = pc.binary_join_element_wise(
            "DG", pa.array(day_of).cast(pa.string()), pa.array(c["serial"] + 100_000).cast(pa.string()), "-"
        )
        code = pc.if_else(lost, pc.binary_join_element_wise("G09.20-2026", serial, "-"), None)
        code = pc.if_else(named, t.codes(c["receiver"], day_of, np.maximum(c["sequence"], 1)), code)
        columns: dict[str, Any] = {
            "record_key": serial,
            "op": pa.array(["upsert"] * len(serial)),
            "version_hash": _hashes(self.size, 2, day, len(serial)),
            "rating_id": serial,
            "dossier_code": code,
            "unit_source_code": _taken(pa.array([u.rating_code for u in units()]), c["unit"]),
            "channel_code": _taken(pa.array(RATING_CHANNELS), c["channel"]),
            "device_code": _taken(pa.array([d.code for d in devices()]), c["device"]),
            "question_code": _taken(pa.array(QUESTIONS), c["question"]),
            "level_code": _taken(pa.array(LEVELS), c["level"]),
            "rated_at": _instants(c["at"]),
            "rated_at_is_date": pa.array(np.zeros(len(serial), np.bool_)),
            "updated_at": _instants(c["at"] + c["lag"]),
        }
        return Night("rating", day, _laid_out(self.contracts["rating"], columns))


def _sort_in(waiting: dict[int, list[Table]], table: Table, column: Ints, nights: Ints) -> None:
    """Versions to the nights that bring them."""
    order = np.argsort(nights, kind="stable")
    column, nights = column[order], nights[order]
    for part in np.split(np.arange(len(nights)), np.flatnonzero(np.diff(nights)) + 1):
        if len(part):
            waiting[int(nights[part[0]])].append(table[:, column[part]])


def _rating_nights(table: Table) -> Ints:
    places = {name: place for place, name in enumerate(RATING_FIELDS)}
    found: Ints = (table[places["at"]].astype(np.int64) + table[places["lag"]]) // DAY
    return found


def _checked(size: Size, check: PostingCheck) -> int:
    """The night in which a posting check is read; long before the history: never."""
    return -1 if check.day < size.first - CHECKS_KEPT else max(check.day, size.first)


def _check_record(check: PostingCheck) -> dict[str, Any]:
    place, result, checker = (
        {target: source for source, target in table.items()}
        for table in (POSTING_PLACES, POSTING_RESULTS, CHECKER_KINDS)
    )
    return {
        "Mã phiếu": check.id,
        "Mã cơ quan": units()[check.unit].inspection_code,
        "Nơi niêm yết": place[check.place],
        "Ngày kiểm tra": _moment(check.day).date(),
        "Kết quả": result["pass" if check.passed else "fail"],
        "Loại kiểm tra": checker["authority" if check.by_authority else "self"],
    }


class _DailyPortal(Portal):
    """The sandbox's portal with the dossiers of our days instead of its own."""

    def __init__(self, size: Size) -> None:
        super().__init__(size.city)
        self._size = size
        self._zero = size.last - YEAR - 30  # what was before counts in no window that a history holds whole
        self._sums: dict[int, tuple[Ints, Ints]] = {self._zero - 1: (np.zeros(len(units()), np.int64),) * 2}

    def _until(self, day: int) -> tuple[Ints, Ints]:
        """Dossiers rated up to a day, and of them the good ones, per unit."""
        for each in range(max(self._sums) + 1, day + 1):
            every, good = portal_dossiers(self._size, each)
            before = self._sums[each - 1]
            self._sums[each] = (before[0] + every, before[1] + good)
        return self._sums[day]

    def counts(self, first: date, last: date, now: int) -> dict[int, Counts]:
        low, high = _number(first), _number(last) + 1
        found = {unit.index: Counts() for unit in self.listed}
        for petition in self.city.petitions:
            if low * DAY <= petition.accepted < high * DAY and petition.accepted <= now and petition.unit in found:
                count_petition(found[petition.unit], petition, now)
        before, after = self._until(max(low, self._zero) - 1), self._until(min(high - 1, now // DAY))
        for index, counts in found.items():
            counts.dossiers = int(after[0][index] - before[0][index])
            counts.dossiers_good = int(after[1][index] - before[1][index])
        return found


# -- texts --------------------------------------------------------------------------------------------------------------


class _Texts:
    """Texts that come again and again, looked up by number instead of being made for each record."""

    def __init__(self, first: int, last: int) -> None:
        self.unit_codes = pa.array([u.tthc_code for u in units()] + [IGNORED_UNIT_CODE])
        self.small = pa.array([str(value) for value in range(11)])
        pseudonyms = (hashlib.sha256(f"official {place}".encode()).hexdigest() for place in range(8 * len(units())))
        self.officials = pa.array([f"2026:{digest}" for digest in pseudonyms])
        self._first = first
        days = [_moment(day) for day in range(first - 1, last)]
        self._utc_days = pa.array([f'"{day:%Y-%m-%d}T' for day in days])
        self._stamps = (pa.array([f"{day:%y%m%d}" for day in days]), pa.array([f"{day:%Y%m%d}" for day in days]))
        clock = [f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(DAY)]
        self._clock = pa.array([f'{text}+00:00"' for text in clock])

    def codes(self, receiver: Ints, day: Ints, sequence: Ints) -> pa.Array:
        """MaHoSo in its historic forms: old or new agency code, six or eight digits of the date, a serial of four to seven."""
        place = pa.array(day - self._first + 1)
        stamp = pc.if_else(pa.array(receiver % 3 == 0), self._stamps[1].take(place), self._stamps[0].take(place))
        serial = pa.array(sequence).cast(pa.string())
        width = 4 + receiver % 4
        padded = pc.utf8_lpad(serial, 4, "0")
        for wanted in (5, 6, 7):
            padded = pc.if_else(pa.array(width == wanted), pc.utf8_lpad(serial, wanted, "0"), padded)
        return pc.binary_join_element_wise(self.unit_codes.take(pa.array(receiver)), stamp, padded, "-")

    def moments(self, local: Ints, style: Ints, is_due: bool = False) -> tuple[pa.Array, pa.Array]:
        """Moments in JSON, and whether each is a date only, as the reader of lists writes both."""
        at = coarse(local, style, is_due) - OFFSET
        missing = pa.array(local < 0)
        at = np.where(local < 0, self._first * DAY, at)
        told = pc.binary_join_element_wise(
            self._utc_days.take(pa.array(at // DAY - self._first + 1)), self._clock.take(pa.array(at % DAY)), ""
        )
        flag = pc.if_else(pa.array(style == DATES), "true", "false")
        return pc.if_else(missing, "null", told), pc.if_else(missing, "null", flag)

    def steps(self, c: Columns, code: pa.Array) -> pa.Array:
        style, limit = c["style"], c["due"]
        nothing = np.full(len(limit), NONE)
        finish = np.where(c["is_ended"], np.where(c["is_again"], c["refinished"], c["finished"]), NONE)
        stopped = np.isin(c["status"], (5, 6, 8)) & (c["adds_step"] == 1)
        listed = [
            self._step("1", code, c["received"], style, DESK, "2", nothing, np.ones(len(limit), np.bool_)),
            self._step("2", code, c["process"], style, DIVISION, "4", limit, c["is_begun"]),
            self._step("3", code, finish, style, DIVISION, self.small.take(pa.array(c["outcome"])), limit, finish >= 0),
            self._step("9", code, c["updated"] - c["lag"], style, DIVISION, "9", nothing, stopped),
        ]
        return pc.binary_join_element_wise("[", *listed, "]", "")

    def _step(
        self, slot: str, code: pa.Array, at: Ints, style: Ints, where: str, status: Any, limit: Ints, has: Any
    ) -> pa.Array:  # fmt: skip
        moment, is_date = self.moments(at, style)
        until, until_is_date = self.moments(limit, style, is_due=True)
        told = pc.binary_join_element_wise(
            "{" if slot == "1" else ",{", '"step_id":"TD-', code, f'-{slot}","processed_at":', moment,
            ',"processed_at_is_date":', is_date, f',"department_name":"{where}","status_code":"', status, '","limit_at":',
            until, ',"limit_at_is_date":', until_is_date, "}", "",
        )  # fmt: skip
        return pc.if_else(pa.array(np.asarray(has, np.bool_)), told, "")

    def supplements(self, c: Columns, code: pa.Array) -> pa.Array:
        kinds = np.stack([c[f"shown_kind{slot}"] for slot in range(SLOTS)])
        rows = np.flatnonzero(kinds.any(axis=0))
        few = {name: column[rows] for name, column in c.items()}
        told, listed = code.take(pa.array(rows)), []
        for slot in range(SLOTS):
            kind = few[f"shown_kind{slot}"]
            listed.append(pc.if_else(pa.array(kind > 0), self._request(few, told, slot), ""))
        # Some software sends the last request twice.
        last = kinds[:, rows].shape[0] - 1 - np.argmax(kinds[::-1, rows] > 0, axis=0)
        for slot in range(SLOTS):
            twice = (few["repeats_request"] == 1) & (last == slot)
            listed.append(pc.if_else(pa.array(twice), self._request(few, told, slot), ""))
        joined = pc.binary_join_element_wise(*listed, "")
        written = pc.binary_join_element_wise("[", pc.utf8_slice_codeunits(joined, 1), "]", "")
        return _put(len(code), rows, written)

    def _request(self, few: Columns, code: pa.Array, slot: int) -> pa.Array:
        asked, answered = few[f"asked{slot}"], few[f"shown_answer{slot}"]
        parts: list[Any] = [',{"supplement_id":"BS-', code, f'-{slot}"']
        for name, moment, is_due in (
            ("requested_at", asked, False), ("received_at", answered, False), ("status_code", None, False),
            ("due_before_at", few[f"before{slot}"], True), ("due_after_at", few[f"shown_after{slot}"], True),
        ):  # fmt: skip
            if moment is None:
                parts += [f',"{name}":"', self.small.take(pa.array(few[f"shown_kind{slot}"])), '"']
                continue
            told, is_date = self.moments(moment, few["style"], is_due)
            parts += [f',"{name}":', told, f',"{name}_is_date":', is_date]
        return pc.binary_join_element_wise(*parts, "}", "")

    def participants(self, c: Columns, code: pa.Array) -> pa.Array:
        rows = np.flatnonzero((c["is_linked"] == 1) & (c["resolver"] >= 0))
        few = {name: column[rows] for name, column in c.items()}
        told = code.take(pa.array(rows))
        reached = np.where(few["is_begun"], few["process"], few["received"])
        parts: list[Any] = ["["]
        for slot, unit, role, done in (
            ("1", few["resolver"], "CHU_TRI", few["result"]),
            ("2", (few["resolver"] + 1) % len(units()), "PHOI_HOP", np.where(few["result"] < 0, NONE, reached)),
        ):
            parts += [
                "{" if slot == "1" else ",{", '"participant_id":"PH-', told, f'-{slot}","unit_source_code":"',
                self.unit_codes.take(pa.array(unit)), f'","role_code":"{role}"',
            ]  # fmt: skip
            for name, moment, is_due in (
                ("received_at", reached, False),
                ("due_at", few["due"], True),
                ("finished_at", done, False),
            ):
                at, is_date = self.moments(moment, few["style"], is_due)
                parts += [f',"{name}":', at, f',"{name}_is_date":', is_date]
            parts.append("}")
        return _put(len(code), rows, pc.binary_join_element_wise(*parts, "]", ""))


def _put(count: int, rows: Ints, values: pa.Array) -> pa.Array:
    """The values at their rows, empty lists elsewhere."""
    place = np.full(count, len(rows))
    place[rows] = np.arange(len(rows))
    return pa.concat_arrays([values.cast(pa.string()), pa.array(["[]"])]).take(pa.array(place))


def _taken(texts: pa.Array, place: Ints) -> pa.Array:
    return texts.take(pa.array(np.maximum(place, 0), mask=place < 0))


def _instants(local: Ints) -> pa.Array:
    return pa.array((local - OFFSET) * 1_000_000, pa.int64(), mask=local < 0).cast(ARROW["timestamptz"])


def _hashes(size: Size, stream: int, day: int, count: int) -> pa.Array:
    """Texts of 64 hexadecimal digits, no two alike."""
    digits = np.frombuffer(size.rng(40 + stream, day).bytes(32 * count).hex().encode(), np.uint8)
    offsets = pa.py_buffer(np.arange(0, 64 * count + 1, 64, dtype=np.int32))
    return pa.StringArray.from_buffers(count, offsets, pa.py_buffer(digits))


def _laid_out(contract: Contract, columns: dict[str, Any]) -> pa.Table:
    """The columns in the contract's order and types; one missing or too many is refused."""
    names = ["record_key", "op", "version_hash", *(column.name for column in contract.columns)]
    if set(names) != set(columns):
        raise ValueError(f"{contract.feed}: columns differ from the contract: {sorted(set(names) ^ set(columns))}")
    kinds = {column.name: column.type for column in contract.columns}
    arrays = []
    for name in names:
        array = columns[name] if isinstance(columns[name], pa.Array) else pa.array(columns[name], pa.string())
        if kinds.get(name) == "jsonb":  # as PostgreSQL receives it: a version number, and the text
            array = pc.binary_join_element_wise(b"\x01", array.cast(pa.binary()), b"")
        arrays.append(array.cast(ARROW[kinds.get(name, "text")]))
    return pa.Table.from_arrays(arrays, names=names)


def _moment(day: int) -> datetime:
    """Local midnight at which a day begins."""
    return datetime(1970, 1, 1, tzinfo=ZONE) + timedelta(days=day)


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


# -- into the warehouse ---------------------------------------------------------------------------------------------------


def _ahead(nights: Iterator[Night]) -> Iterator[Night]:
    """The next night is made while one is being copied."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, nights, None)
        while (found := coming.result()) is not None:
            coming = worker.submit(next, nights, None)
            yield found


def _write(settings: Settings, nights: Iterator[Night], source: Source) -> Made:
    made = Made()
    with adbc.connect(adbc_uri(settings)) as connection, connection.cursor() as cursor:
        cursor.execute("set role hailong_loader")
        cursor.execute("set synchronous_commit = off")  # what is lost in a crash is made again
        connection.commit()
        for found in nights:
            batch_id = _record(cursor, source, found)
            _copy(cursor, source.contracts[found.feed], batch_id, found.rows)
            connection.commit()
            made.rows[found.feed] += found.rows.num_rows
            made.batches += 1
    return made


def _record(cursor: Any, source: Source, found: Night) -> int:
    """The batch with its counts, its quarantine and its snapshots; returns its number."""
    contract = source.contracts[found.feed]
    start, end = _moment(found.day), _moment(found.day + 1)
    loaded, unreadable = found.rows.num_rows - found.tombstones, len(found.unreadable)
    is_event = found.feed in EVENTS
    digest = hashlib.sha256(f"{source.size}|{found.feed}|{found.day}".encode()).hexdigest()
    cursor.execute(
        "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, declared_rows, received_rows,"
        " loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows, tombstone_rows, started_at, loaded_at,"
        " contract_version, code_version, read_kind, is_complete)"
        " values ($1::text, $2::text::timestamptz, $3::text::timestamptz, $4::text, $5::text, $6::bigint, $6::bigint,"
        " $7::bigint, 0, 0, $8::bigint, $9::bigint, $10::text::timestamptz, $11::text::timestamptz, $12::text, 'bench',"
        " $13::text, $14::text::boolean) returning batch_id",
        (
            found.feed, start.isoformat() if is_event else None, end.isoformat() if is_event else None,
            f"generated:{found.feed}/{found.day}", digest, loaded + unreadable, loaded, unreadable, found.tombstones,
            (end + timedelta(minutes=30)).isoformat(), (end + timedelta(minutes=40)).isoformat(), contract.version,
            _read_kind(found.feed), str(found.feed != "posting_check").lower(),
        ),
    )  # fmt: skip
    batch_id = int(cursor.fetchone()[0])
    for key in found.unreadable:
        cursor.execute(
            "insert into ops.quarantine (batch_id, feed, record_key, rule, detail)"
            " values ($1::bigint, $2::text, $3::text, $4::text, 'made unreadable')",
            (batch_id, found.feed, key, "missing_key" if key is None else "unknown_code"),
        )
    for s in found.snapshots:
        cursor.execute(
            "insert into ops.snapshot (batch_id, feed, prefix, group_code, window_from, window_to, retrieved_at, rows)"
            " values ($1::bigint, $2::text, $3::text, $4::text, $5::text::date, $6::text::date, $7::text::timestamptz,"
            " $8::bigint)",
            (batch_id, found.feed, s["prefix"], s["group_code"], str(s["window_from"]), str(s["window_to"]),
             s["retrieved_at"].isoformat(), s["rows"]),
        )  # fmt: skip
    return batch_id


def _read_kind(feed: str) -> str:
    return {"portal_evaluation": "snapshot", "posting_check": "file"}.get(feed, "window" if feed in EVENTS else "full")


def _copy(cursor: Any, contract: Contract, batch_id: int, rows: pa.Table) -> None:
    """Binary COPY straight into the partition; by way of a temporary table where there are exact decimals."""
    cursor.execute("select raw.ensure_partition($1::text, $2::bigint)", (contract.feed, batch_id))
    partition = str(cursor.fetchone()[0])
    if not rows.num_rows:
        return
    numbered = rows.add_column(0, "batch_id", pa.repeat(pa.scalar(batch_id, pa.int64()), rows.num_rows))
    exact = {column.name for column in contract.columns if column.type == "numeric"}
    if not exact:
        went = cursor.adbc_ingest(partition, numbered, mode="append", db_schema_name="raw")
    else:
        kinds = {column.name: "text" if column.type == "numeric" else column.type for column in contract.columns}
        listed = ", ".join(
            f"{name} {kinds.get(name, 'bigint' if name == 'batch_id' else 'text')}" for name in numbered.column_names
        )
        cursor.execute(f"create temporary table arrived ({listed}) on commit drop")  # names of our own contracts
        cursor.adbc_ingest("arrived", numbered, mode="append", temporary=True)
        names = numbered.column_names
        values = ", ".join(f"{name}::numeric" if name in exact else name for name in names)
        cursor.execute(f"insert into raw.{partition} ({', '.join(names)}) select {values} from arrived")
        went = rows.num_rows
    if went != rows.num_rows:
        raise ValueError(f"{contract.feed}: {went} of {rows.num_rows} rows were copied into batch {batch_id}")


def _tidy(settings: Settings) -> None:
    """Heads as the loads would have left them, and what autovacuum would have done in the meantime."""
    contracts = load_contracts(settings.contracts)
    with connect(settings) as connection:
        connection.execute("set role hailong_loader")
        for contract in contracts.values():
            rebuild_head(connection, contract)
        connection.commit()
    with connect(settings, autocommit=True) as connection:
        connection.execute("vacuum (analyze)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.city", description=__doc__)
    parser.add_argument("--dossiers", type=int, default=6_000_000, help="of 365 days")
    parser.add_argument("--days", type=int, default=365, help="how many of these days, the last ones")
    parser.add_argument("--seed", type=int, default=104)
    parser.add_argument("--changes", type=int, default=0, help="dossiers that change in one more night")
    asked = parser.parse_args()
    settings = Settings.load()
    migrate(settings)
    size = Size(asked.dossiers, asked.days, asked.seed)
    for made in [generate(settings, size), *([night(settings, size, asked.changes)] if asked.changes else [])]:
        told = ", ".join(f"{rows:,} {feed}" for feed, rows in made.rows.items())
        print(f"{made.batches} batches in {made.seconds:.1f} s: {told}", *([made.changes] if made.changes else []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
