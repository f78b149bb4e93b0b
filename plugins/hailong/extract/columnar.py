"""The door, a page at a time: the same rows, hashes and rejects as `records.Converter`, column by column.

Most values of a page are plain: texts, fourteen-digit times, codes that were seen before. They are read per column, and
whatever is not plain makes its record take the slow way, alone. So there is one definition of what a record means,
and a fast way to the same result (a property test compares the two).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hailong.contracts import Column, Contract
from hailong.errors import PermanentError
from hailong.extract.records import (
    KEY_LIMIT,
    Bad,
    Converter,
    Reject,
    Row,
    flag_rules,
    is_versioned,
    moment,
    problem_of_text,
)
from hailong.load.landing import ARROW, LandingWriter, record_schema, rows_to_batch

MEMO = 50_000  # distinct values remembered per column
MISSING_AFTER = 100  # so many records without a field say that the source dropped it
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOW = object()
Plain = tuple[pa.Array, list[int]]


def land(
    converter: Converter,
    source: Iterable[list[Any]],
    writer: LandingWriter,
    watched: tuple[str, ...] = (),
    window: tuple[datetime, datetime] | None = None,
) -> Door:
    """All pages of a source into a landing; what was odd about them is asked of the door afterwards.

    PermanentError when a field that the contract requires is in no record: the source changed its shape.
    """
    door = Door(converter, watched, window)
    for page in source:
        door.pass_through(page, writer)
    door.close()
    return door


class Door:
    """Takes pages of one read to a landing and remembers what was odd."""

    def __init__(
        self, converter: Converter, watched: tuple[str, ...] = (), window: tuple[datetime, datetime] | None = None
    ) -> None:
        self.converter = converter
        self.contract: Contract = converter.contract
        self.seen: dict[str, tuple[Any, Any]] = {}
        self.records = 0
        self._watched = watched
        self._window = window
        self._shapes: Counter[tuple[str, ...]] = Counter()
        self._outside = 0
        self._page = PageConverter(converter)

    def restart(self) -> None:
        """The read begins again."""
        self.seen, self.records, self._outside = {}, 0, 0
        self._shapes.clear()

    def pass_through(self, page: list[Any], writer: LandingWriter) -> None:
        """One page, in the order of the source."""
        self.records += len(page)
        self._shapes.update(tuple(record) for record in page if record.__class__ is dict)
        batch, rejects = self._page.convert(page, writer.received)
        writer.add_page(batch, rejects, len(page))
        if self._watched and batch.num_rows:
            self._watch(batch)
        cursor = self.contract.cursor
        if self._window and cursor and batch.num_rows and not self.converter.only_keys:
            self._count_outside(batch.column(cursor.name))

    def _watch(self, batch: pa.RecordBatch) -> None:
        for name in self._watched:
            found = pc.min_max(batch.column(name)).as_py()
            if found["min"] is not None:
                low, high = self.seen.get(name, (found["min"], found["max"]))
                self.seen[name] = (min(low, found["min"]), max(high, found["max"]))

    def _count_outside(self, column: pa.Array) -> None:
        assert self._window is not None
        since, until = (pa.scalar(bound, ARROW["timestamptz"]) for bound in self._window)
        outside = pc.or_(pc.less(column, since), pc.greater_equal(column, until))
        self._outside += pc.sum(outside).as_py() or 0

    def close(self) -> None:
        """PermanentError when a required field is in no record of the read."""
        if not self.records:
            return
        present = {name for shape in self._shapes for name in shape}
        for column in self.contract.columns:
            if column.source and column.required and present and column.source not in present:
                raise PermanentError(
                    f"{self.contract.feed}: the field {column.source} of {self.contract.path.name} is in none of the "
                    f"{self.records:,} records of the answer: the source changed its shape. Nothing was landed; ask its owner, "
                    "and give the contract the new name"
                )

    def findings(self) -> list[dict[str, Any]]:
        """New fields, fields that are gone, cursors outside the window asked for."""
        found: list[dict[str, Any]] = []
        known = {column.source for column in self.contract.columns if column.source}
        known |= {field for column in self.contract.columns for field, _ in column.flag}
        known |= {column.name for column in self.contract.columns}
        known |= {*self.contract.personal, *self.contract.ignored}
        counts: Counter[str] = Counter()
        for shape, times in self._shapes.items():
            for name in shape:
                counts[name] += times
        for name in sorted(set(counts) - known, key=str):
            told = "the contract neither reads it nor leaves it out on purpose (ignoredFields)"
            found.append({"rule": "new_field", "field": str(name)[:80], "records": counts[name], "detail": told})
        if self.records >= MISSING_AFTER:
            for column in self.contract.columns:
                if column.source and not counts[column.source] and not counts[column.name]:
                    told = "in none of the records of this read"
                    found.append(
                        {"rule": "missing_field", "field": column.source, "records": self.records, "detail": told}
                    )
        if self._outside:
            cursor = self.contract.cursor
            told = "records whose cursor lies outside the window that was asked for"
            field = cursor.source or "" if cursor else ""
            found.append({"rule": "outside_window", "field": field, "records": self._outside, "detail": told})
        return found


class PageConverter:
    """Source records of a page to one Arrow batch (columns of a landing) and the rejects, each with its number."""

    def __init__(self, converter: Converter) -> None:
        self._converter = converter
        contract = converter.contract
        self._columns = contract.columns
        self._schema = record_schema(contract.columns)
        self._keys = [column.name for column in contract.keys]
        self._hashed = sorted(column.name for column in contract.columns if is_versioned(column))
        zone = converter.zone
        self._readers: dict[str, Callable[[list[dict[str, Any]]], dict[str, Plain]]] = {}
        twins = {column.precision_of: column.name for column in contract.columns if column.precision_of}
        for column in contract.columns:
            if column.precision_of:
                continue
            if column.flag:
                self._readers[column.name] = _flags(column)
            elif column.type == "timestamptz" and not column.items:
                self._readers[column.name] = _times(column, twins.get(column.name), zone)
            elif column.type == "text" and not column.pseudonym and (column.key_position or _is_free(column)):
                self._readers[column.name] = _texts(column)
            else:
                self._readers[column.name] = _remembered(converter, column)

    def convert(self, page: list[Any], received: int) -> tuple[pa.RecordBatch, list[tuple[int, Reject]]]:
        """(rows, rejects) of a page whose first record is number `received` + 1 of the read."""
        slow: set[int] = {place for place, record in enumerate(page) if record.__class__ is not dict}
        plain: dict[str, pa.Array] = {}
        if self._converter.only_keys:
            slow = set(range(len(page)))
        else:
            records = page if not slow else [record if record.__class__ is dict else {} for record in page]
            for read in self._readers.values():
                for name, (values, unread) in read(records).items():
                    plain[name] = values
                    slow.update(unread)
            for name in self._keys:  # a key without value is a matter for the slow way, which says so
                slow.update(np.flatnonzero(plain[name].is_null().to_numpy(zero_copy_only=False)).tolist())
            for column in self._columns:
                if column.required and not column.key_position:
                    slow.update(np.flatnonzero(plain[column.name].is_null().to_numpy(zero_copy_only=False)).tolist())
        rows: list[tuple[int, Row]] = []
        rejects: list[tuple[int, Reject]] = []
        for place in sorted(slow):
            record, number = page[place], received + place + 1
            if isinstance(record, Bad):
                rejects.append((number, Reject(None, record.rule, record.detail, "")))
                continue
            outcome = self._converter.convert(record)
            if isinstance(outcome, Row):
                rows.append((number, outcome))
            else:
                rejects.append((number, outcome))
        if len(slow) == len(page):
            return rows_to_batch(rows, self._columns, self._schema), rejects
        fast = self._batch(plain, len(page), received)
        if slow:
            keep = np.ones(len(page), bool)
            keep[list(slow)] = False
            fast = fast.filter(pa.array(keep))
        if rows:
            both = pa.Table.from_batches([fast, rows_to_batch(rows, self._columns, self._schema)])
            fast = both.combine_chunks().to_batches()[0]
        return fast, rejects

    def _batch(self, plain: dict[str, pa.Array], size: int, received: int) -> pa.RecordBatch:
        keys = plain[self._keys[0]]
        if len(self._keys) > 1:
            keys = pc.binary_join_element_wise(*(_key_text(plain[name]) for name in self._keys), "|")
        else:
            keys = _key_text(keys)
        arrays = [
            keys,
            pa.array(["upsert"] * size, pa.string()),
            self._hashes(plain, size),
            pa.array(np.arange(received + 1, received + size + 1), pa.int64()),
            *(plain[column.name] for column in self._columns),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _hashes(self, plain: dict[str, pa.Array], size: int) -> pa.Array:
        told = [
            pc.binary_join_element_wise(pa.scalar(f"{name}="), _hash_text(plain[name]), "")
            for name in self._hashed
            if plain[name].null_count < size
        ]
        if not told:
            return pa.array([hashlib.sha256(b"").hexdigest()] * size, pa.string())
        joined = pc.binary_join_element_wise(*told, "\0", null_handling="skip").cast(pa.binary())
        sha256 = hashlib.sha256
        return pa.array([sha256(value).hexdigest() for value in joined.to_pylist()], pa.string())


def _is_free(column: Column) -> bool:
    """A text without a code list: few values repeat."""
    return column.codes is None


def _key_text(values: pa.Array) -> pa.Array:
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def _hash_text(values: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64()).cast(pa.string())
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


# -- readers of one column ----------------------------------------------------------------------------------------------


def _texts(column: Column) -> Callable[[list[dict[str, Any]]], dict[str, Plain]]:
    field, name = column.source or "", column.name
    longest = min(column.max_length, KEY_LIMIT // 4 if column.key_position else column.max_length)

    def read(records: list[dict[str, Any]]) -> dict[str, Plain]:
        slow: list[int] = []
        values: list[str | None] = []
        for place, record in enumerate(records):
            value = record.get(field)
            if value is None:
                values.append(None)
                continue
            if value.__class__ is not str:
                slow.append(place)
                values.append(None)
                continue
            value = value.strip()
            if not value.isascii():
                value = unicodedata.normalize("NFC", value)
            if "\0" in value or problem_of_text(value, longest) is not None:
                slow.append(place)
                values.append(None)
                continue
            values.append(value or None)
        try:
            return {name: (pa.array(values, pa.string()), slow)}
        except (pa.ArrowInvalid, UnicodeEncodeError):  # half of a surrogate pair
            return {name: (pa.nulls(len(records), pa.string()), list(range(len(records))))}

    return read


def _remembered(converter: Converter, column: Column) -> Callable[[list[dict[str, Any]]], dict[str, Plain]]:
    """Columns whose values come again and again: each distinct value is read once, by the slow way."""
    step, index = converter.step(column.name)
    field, name, kind = column.source or "", column.name, ARROW[column.type]
    is_numeric = column.type == "numeric"
    memo: dict[Any, Any] = {}
    width = len(converter.columns)

    def remember(value: Any) -> Any:
        found: list[Any] = [None] * width
        try:
            step({field: value}, found)
            read: Any = found[index]
        except Bad:
            read = _SLOW
        if read is not _SLOW and is_numeric and read is not None:
            read = format(read.normalize(), "f")
        if len(memo) >= MEMO:
            memo.clear()
        memo[value.__class__, value] = read
        return read

    def read(records: list[dict[str, Any]]) -> dict[str, Plain]:
        slow: list[int] = []
        values: list[Any] = []
        for place, record in enumerate(records):
            value = record.get(field)
            found: Any
            if value is None:
                found = None if column.type != "jsonb" else "[]"
            elif value.__class__ is list:
                found = _SLOW if value else "[]"
            else:
                try:
                    found = memo.get((value.__class__, value), memo)
                    if found is memo:
                        found = remember(value)
                except TypeError:
                    found = _SLOW
            if found is _SLOW:
                slow.append(place)
                found = None
            values.append(found)
        if column.pseudonym or column.flag:  # a replayed payload carries them ready-made
            slow.extend(place for place, record in enumerate(records) if column.name in record)
        return {name: (pa.array(values, kind), slow)}

    return read


def _flags(column: Column) -> Callable[[list[dict[str, Any]]], dict[str, Plain]]:
    rules = flag_rules(column)
    name = column.name

    def read(records: list[dict[str, Any]]) -> dict[str, Plain]:
        values = [False] * len(records)
        slow: list[int] = []
        for field, search in rules:
            for place, record in enumerate(records):
                value: Any = record.get(field)
                if value.__class__ is str:
                    if not value.isascii():
                        value = unicodedata.normalize("NFC", value)
                    if search(value):
                        values[place] = True
                elif value is not None:
                    slow.append(place)
        slow.extend(place for place, record in enumerate(records) if name in record)
        return {name: (pa.array(values, pa.bool_()), slow)}

    return read


def _times(column: Column, twin: str | None, zone: ZoneInfo) -> Callable[[list[dict[str, Any]]], dict[str, Plain]]:
    field, name = column.source or "", column.name
    memo: dict[Any, Any] = {}

    def remember(value: Any) -> Any:
        try:
            at, is_date = moment(value, zone)
            found: Any = None if at is None else ((at - _EPOCH) // timedelta(microseconds=1), is_date)
        except Bad:
            found = _SLOW
        if len(memo) >= MEMO:
            memo.clear()
        memo[value.__class__, value] = found
        return found

    def read(records: list[dict[str, Any]]) -> dict[str, Plain]:
        size = len(records)
        micros = np.zeros(size, np.int64)
        empty = np.ones(size, bool)
        is_date = np.zeros(size, bool)
        slow: list[int] = []
        places: list[int] = []
        stamps: list[str] = []
        for place, record in enumerate(records):
            value = record.get(field)
            if value is None:
                continue
            if value.__class__ is str and len(value) == 14 and value.isascii():
                places.append(place)
                stamps.append(value)
                continue
            try:
                found = memo.get((value.__class__, value), memo)
                if found is memo:
                    found = remember(value)
            except TypeError:
                found = _SLOW
            if found is _SLOW:
                slow.append(place)
            elif found is not None:
                micros[place], is_date[place] = found
                empty[place] = False
        if places:
            at = np.array(places)
            seconds, good = _stamps(stamps, zone)
            micros[at] = seconds * 1_000_000
            empty[at] = ~good
            slow.extend(at[~good].tolist())
        times = pa.array(micros, pa.int64(), mask=empty).cast(ARROW["timestamptz"])
        result = {name: (times, slow)}
        if twin is not None:
            result[twin] = (pa.array(is_date, pa.bool_(), mask=empty), [])
        return result

    return read


def _stamps(stamps: Sequence[str], zone: ZoneInfo) -> tuple[Any, Any]:
    """(UTC seconds, whether it could be read) of yyyyMMddHHmmss texts in ASCII."""
    digits = np.frombuffer("".join(stamps).encode(), np.uint8).reshape(len(stamps), 14).astype(np.int64) - 48
    good: Any = ((digits >= 0) & (digits <= 9)).all(axis=1)
    digits = np.where(good[:, None], digits, 0)
    number = digits @ (10 ** np.arange(13, -1, -1, dtype=np.int64))
    day, clock = np.divmod(number, 1_000_000)
    distinct, inverse = np.unique(day, return_inverse=True)
    starts = np.array([_day_start(int(value), zone) for value in distinct], np.int64)[inverse]
    hour, rest = np.divmod(clock, 10_000)
    minute, second = np.divmod(rest, 100)
    good &= (starts != _NO_DAY) & (hour < 24) & (minute < 60) & (second < 60)
    return np.where(good, starts + hour * 3600 + minute * 60 + second, 0), good


_NO_DAY = -(2**62)


@lru_cache(maxsize=20_000)
def _day_start(number: int, zone: ZoneInfo) -> int:
    """UTC second at which a local day yyyyMMdd begins; `_NO_DAY` when there is none or its clock is moved."""
    try:
        found = date(number // 10_000, number // 100 % 100, number % 100)
        start = datetime(found.year, found.month, found.day, tzinfo=zone)
        end = datetime(found.year, found.month, found.day, 23, 59, 59, tzinfo=zone)
    except ValueError:
        return _NO_DAY
    if start.utcoffset() != end.utcoffset() or not 1 < found.year < 9999:
        return _NO_DAY
    return int((start - _EPOCH).total_seconds())
