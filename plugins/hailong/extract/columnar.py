"""The door, a page at a time: the same rows, hashes and rejects as `records.Converter`, column by column.

Most values of a page are plain: texts, fourteen-digit times, codes that were seen before. They are read per column, the
items of nested lists too, and whatever is not plain makes its record take the slow way, alone. So there is one definition
of what a record means, and a fast way to the same result (a property test compares the two).
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate, chain, pairwise
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hailong.contracts import Column, Contract, PagedHttp
from hailong.errors import PermanentError
from hailong.extract.again import Earlier, Fingerprints, as_column
from hailong.extract.crew import Crew, hands_here, result_of
from hailong.extract.records import (
    KEY_LIMIT,
    Bad,
    Converter,
    Reject,
    Row,
    Step,
    composed,
    flag_rules,
    is_versioned,
    moment,
    number_json,
    number_text,
    without_halves,
)
from hailong.extract.shapes import Answer, Page, Record, Shapes, as_dict, getter
from hailong.load.landing import ARROW, FINGERPRINT, FINGERPRINT_BYTES, LandingWriter, record_schema, rows_to_batch

MEMO = 8_192  # distinct values remembered per column
MEMO_LENGTH = 200  # characters of a text that is worth remembering
MISSING_AFTER = 100  # so many records without a field say that the source dropped it
BLOCK = 2_000  # records that are converted together, at least
CREW_AFTER = 4_000  # records of a read that is long enough for others to help
COLLECT_EVERY = 100  # blocks between two looks for garbage
TRIM_EVERY = 20  # blocks after which memory that is free goes back to the machine
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOW = object()
_ESCAPED = r'["\\\x00-\x1f]'  # what JSON does not take as it is
Content = Answer | list[Any]
_KEY_TYPES = frozenset({"text", "integer", "bigint", "date"})  # their text is the same in Arrow and in Python


def land(
    converter: Converter,
    source: Iterable[list[Any]],
    writer: LandingWriter,
    watched: tuple[str, ...] = (),
    window: tuple[datetime, datetime] | None = None,
    fingerprints: Fingerprints | None = None,
    earlier: Earlier | None = None,
    hands: int | None = None,
) -> Door:
    """All pages of a source into a landing; what was odd about them is asked of the door afterwards.

    `fingerprints` are kept with the rows, and rows of an `earlier` landing are taken again. `hands`: processes that help
    with a long read; by default one a core. PermanentError when a field that the contract requires is in no record: the
    source changed its shape.
    """
    hands = hands_here() if hands is None else hands
    blocks = BlockConverter(converter, fingerprints, earlier)
    with _seldom_collected() as collect, Crew(blocks.convert, hands) as crew:
        door = Door(converter.contract, watched, None if converter.only_keys else window)
        for block in _blocks(source):
            outcome: Future[Block]
            if hands and door.records >= CREW_AFTER:
                outcome = crew.take(block, door.records)
            else:
                outcome = Future()
                outcome.set_result(blocks.convert(block, door.records))
            door.expect(outcome, sum(map(len, block)))
            door.pass_through(writer, waiting=2 * hands)
            collect()
        door.pass_through(writer)
    door.close()
    return door


def _blocks(source: Iterable[list[Any]]) -> Iterator[list[Content]]:
    """Pages put together: a column of a few thousand values costs little more to start with than one of ten."""
    waiting: list[Content] = []
    for page in source:
        waiting.append(page.answer if isinstance(page, Page) else page)
        if sum(map(len, waiting)) >= BLOCK:
            block, waiting = waiting, []
            yield block
    if waiting:
        yield waiting


@contextmanager
def _seldom_collected() -> Iterator[Callable[[], None]]:
    """Records are trees that free themselves; searching thousands of them for cycles costs as much as decoding them."""
    was_enabled = gc.isenabled()
    gc.disable()
    pages = 0

    def collect() -> None:
        nonlocal pages
        pages += 1
        if pages % TRIM_EVERY == 0:
            _give_memory_back()
        if pages % COLLECT_EVERY == 0:
            gc.collect()

    try:
        yield collect
    finally:
        if was_enabled:
            gc.enable()
        _give_memory_back()


def _give_memory_back() -> None:
    """What is free lies scattered after a while, and the load that follows has no use for it."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


class Door:
    """Takes converted blocks of one read to a landing and remembers what was odd."""

    def __init__(
        self, contract: Contract, watched: tuple[str, ...] = (), window: tuple[datetime, datetime] | None = None
    ) -> None:
        self.contract = contract
        self.seen: dict[str, tuple[Any, Any]] = {}
        self.records = 0
        self._watched = watched
        self._window = window
        self._shapes: Counter[tuple[str, ...]] = Counter()
        self._outside = 0
        self._coming: deque[Future[Block]] = deque()  # in the order of the source

    def expect(self, outcome: Future[Block], records: int) -> None:
        """A block that is converted somewhere."""
        self._coming.append(outcome)
        self.records += records

    def pass_through(self, writer: LandingWriter, waiting: int = 0) -> None:
        """The blocks that are done, in the order of the source, until no more than `waiting` are left."""
        while self._coming and (len(self._coming) > waiting or self._coming[0].done()):
            block = result_of(self._coming.popleft())
            self._shapes.update(block.shapes)
            writer.add_page(block.rows, block.rejects, block.received)
            if block.rows is None or not block.rows.num_rows:
                continue
            if self._watched:
                self._watch(block.rows)
            if self._window and self.contract.cursor:
                self._count_outside(block.rows.column(self.contract.cursor.name))

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
            found.append(
                {"rule": "new_field", "field": without_halves(str(name))[:80], "records": counts[name], "detail": told}
            )
        if self.records >= MISSING_AFTER:
            for column in self.contract.columns:
                if counts[column.name]:  # a value that was computed before: a replay, a mapping
                    continue
                for field in [column.source] if column.source else [name for name, _ in column.flag]:
                    if not counts[field]:
                        told = "in none of the records of this read"
                        if column.flag:
                            told += f", so that {column.name} is false where it should not be, perhaps"
                        found.append({"rule": "missing_field", "field": field, "records": self.records, "detail": told})
        if self._outside:
            cursor = self.contract.cursor
            told = "records whose cursor lies outside the window that was asked for"
            field = cursor.source or "" if cursor else ""
            found.append({"rule": "outside_window", "field": field, "records": self._outside, "detail": told})
        return found


@dataclass(frozen=True)
class Plain:
    """Columns that one reader made of a page, and the places whose records must take the slow way."""

    columns: dict[str, pa.Array]
    slow: Iterable[int] = ()


class Table:
    """Records as columns. All fields are taken in one pass: a record that was looked at is soon out of the cache."""

    def __init__(self, records: list[Any], fields: tuple[str, ...]) -> None:
        self._records = records
        self._columns: dict[str, Sequence[Any]] = {}
        self._is_shaped = isinstance(records[0], Record)
        if self._is_shaped or len(fields) > 1:
            take = getter(type(records[0]), fields) if self._is_shaped else itemgetter(*fields)
            try:
                taken = list(zip(*map(take, records), strict=True))
            except KeyError:  # a record without one of them: field by field, below
                return
            self._columns = dict(zip(fields, taken, strict=True))

    def __len__(self) -> int:
        return len(self._records)

    def values(self, field: str) -> Sequence[Any]:
        """The values of a field, None where a record has none."""
        found = self._columns.get(field)
        if found is None:
            found = self._columns[field] = [record.get(field) for record in self._records]
        return found

    def having(self, field: str) -> list[int]:
        """The places of the records that have a field that we compute; a shaped record has none."""
        return [] if self._is_shaped else [place for place, record in enumerate(self._records) if field in record]


Reader = Callable[[Table], Plain]


def _fields(columns: tuple[Column, ...]) -> tuple[str, ...]:
    named = [column.source for column in columns if column.source]
    named += [field for column in columns for field, _ in column.flag]
    return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class Block:
    """What became of pages: rows and numbered rejects in the order of the source, and how often which fields came."""

    rows: pa.RecordBatch | None
    rejects: list[tuple[int, Reject]]
    received: int
    shapes: Counter[tuple[str, ...]]


@dataclass
class Part:
    """Records of one kind, their numbers in the read, and the fingerprints of their bytes where there are such."""

    is_shaped: bool
    records: list[Any]
    numbers: list[Any]
    prints: list[Any]


class BlockConverter:
    """Pages as they came to rows, with what is remembered from the pages before: a process of its own has its own."""

    def __init__(
        self, converter: Converter, fingerprints: Fingerprints | None = None, earlier: Earlier | None = None
    ) -> None:
        self._pages = PageConverter(converter)
        is_answer = isinstance(converter.contract.connector, PagedHttp)
        self._shapes = Shapes(converter.contract) if is_answer else None
        self._fingerprints, self._earlier = fingerprints, earlier

    def convert(self, block: list[Content], received: int) -> Block:
        """`received`: how many records came before. TransientError when an answer cannot be decoded after all."""
        shapes: Counter[tuple[str, ...]] = Counter()
        parts: list[Part] = []
        pieces: list[pa.RecordBatch] = []
        rejects: list[tuple[int, Reject]] = []
        number = received
        for content in block:
            numbers, prints = np.arange(number + 1, number + len(content) + 1), None
            number += len(content)
            if isinstance(content, Answer):
                content, numbers, prints = self._taken_again(content, numbers, pieces, shapes)
            records = self._records(content)
            if not records:
                continue
            is_shaped = isinstance(records[0], Record)
            if not parts or parts[-1].is_shaped != is_shaped:
                parts.append(Part(is_shaped, [], [], []))
            parts[-1].records += records
            parts[-1].numbers.append(numbers)
            if prints is not None:
                parts[-1].prints.append(prints)
        for part in parts:
            if part.is_shaped:
                shapes[tuple(part.records[0].names)] += len(part.records)
            else:
                shapes.update(map(tuple, (record for record in part.records if record.__class__ is dict)))
            rows, refused = self._converted(part)
            pieces.append(rows)
            rejects += refused
        rows = pieces[0] if len(pieces) == 1 else None
        if len(pieces) > 1:
            rows = pa.Table.from_batches(pieces).sort_by("seq").combine_chunks().to_batches()[0]
        return Block(rows, sorted(rejects, key=itemgetter(0)), number - received, shapes)

    def _taken_again(
        self, answer: Answer, numbers: Any, pieces: list[pa.RecordBatch], shapes: Counter[tuple[str, ...]]
    ) -> tuple[Answer, Any, Any]:
        """What is left of an answer when the rows that it became before are taken: (records, numbers, fingerprints)."""
        if self._fingerprints is None or self._shapes is None or self._shapes.names is None:
            return answer, numbers, None
        records = self._shapes.split(answer)
        prints = self._fingerprints.take(records)
        if self._earlier is None:
            return answer, numbers, prints
        known, rows = self._earlier.take(prints)
        if rows is None:
            return answer, numbers, prints
        place = rows.schema.get_field_index("seq")
        pieces.append(rows.set_column(place, "seq", pa.array(numbers[known], pa.int64())))
        shapes[self._shapes.names] += rows.num_rows
        left = np.flatnonzero(~known)
        return self._shapes.joined([records[at] for at in left.tolist()]), numbers[left], prints[left]

    def _records(self, content: Content) -> list[Any]:
        if not isinstance(content, Answer):
            return content
        assert self._shapes
        return self._shapes.records(content)

    def _converted(self, part: Part) -> tuple[pa.RecordBatch, list[tuple[int, Reject]]]:
        rows, rejects = self._pages.convert(part.records, 0)
        numbers = np.concatenate(part.numbers)
        places = rows.column("seq").to_numpy() - 1
        rows = rows.set_column(rows.schema.get_field_index("seq"), "seq", pa.array(numbers[places], pa.int64()))
        prints = pa.nulls(rows.num_rows, pa.binary(FINGERPRINT_BYTES))
        if part.is_shaped and part.prints:  # what another page holds besides is told anew each time
            prints = as_column(np.concatenate(part.prints)[places])
        return rows.append_column(FINGERPRINT, prints), [(int(numbers[at - 1]), reject) for at, reject in rejects]


class PageConverter:
    """Source records of a page to one Arrow batch (columns of a landing) and the rejects, each with its number."""

    def __init__(self, converter: Converter) -> None:
        self._converter = converter
        contract = converter.contract
        self._columns = contract.columns
        self._schema = record_schema(contract.columns)
        self._keys = [column.name for column in contract.keys]
        self._needed = [column.name for column in contract.columns if column.required]
        self._hashed = sorted(column.name for column in contract.columns if is_versioned(column))
        self._only_slow = converter.only_keys or any(column.type not in _KEY_TYPES for column in contract.keys)
        self._fields = _fields(contract.columns)
        self._readers = _readers(converter, contract.columns, [converter.step(c.name)[0] for c in contract.columns])

    def convert(self, page: list[Any], received: int) -> tuple[pa.RecordBatch, list[tuple[int, Reject]]]:
        """(rows in their order, rejects) of a page whose first record is number `received` + 1 of the read."""
        if self._only_slow or not page:
            rows, rejects = self._slowly(page, range(len(page)), received)
            return rows_to_batch(rows, self._columns, self._schema), rejects
        kinds = set(map(type, page))
        slow: set[int] = set()
        records = page
        if len(kinds) > 1 or not issubclass(next(iter(kinds)), dict | Record):
            page = [as_dict(record) if isinstance(record, Record) else record for record in page]
            slow = {place for place, record in enumerate(page) if record.__class__ is not dict}
            records = [record if record.__class__ is dict else {} for record in page]
        plain: dict[str, pa.Array] = {}
        table = Table(records, self._fields)
        for read in self._readers:
            found = read(table)
            plain.update(found.columns)
            slow.update(found.slow)
        for name in self._needed:  # a key or a needed column without value is a matter for the slow way, which says so
            slow.update(_places(plain[name].is_null()))
        keys = self._record_keys(plain)
        slow.update(_places(pc.greater(pc.binary_length(keys), KEY_LIMIT)))
        rows, rejects = self._slowly(page, sorted(slow), received)
        if len(slow) == len(page):
            return rows_to_batch(rows, self._columns, self._schema), rejects
        fast = self._batch(keys, plain, len(page), received)
        if slow:
            keep = np.ones(len(page), bool)
            keep[list(slow)] = False
            fast = fast.filter(pa.array(keep))
        if rows:
            both = pa.Table.from_batches([fast, rows_to_batch(rows, self._columns, self._schema)])
            fast = both.sort_by("seq").combine_chunks().to_batches()[0]
        return fast, rejects

    def _slowly(
        self, page: list[Any], places: Iterable[int], received: int
    ) -> tuple[list[tuple[int, Row]], list[tuple[int, Reject]]]:
        rows: list[tuple[int, Row]] = []
        rejects: list[tuple[int, Reject]] = []
        for place in places:
            record, number = page[place], received + place + 1
            if isinstance(record, Bad):  # a line of a file that is no record
                rejects.append((number, Reject(None, record.rule, record.detail, "")))
                continue
            outcome = self._converter.convert(as_dict(record) if isinstance(record, Record) else record)
            if isinstance(outcome, Row):
                rows.append((number, outcome))
            else:
                rejects.append((number, outcome))
        return rows, rejects

    def _record_keys(self, plain: dict[str, pa.Array]) -> pa.Array:
        parts = [_as_text(plain[name]) for name in self._keys]
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "|")

    def _batch(self, keys: pa.Array, plain: dict[str, pa.Array], size: int, received: int) -> pa.RecordBatch:
        arrays = [
            keys,
            pa.array(["upsert"] * size, pa.string()),
            self._hashes(plain, size),
            pa.array(np.arange(received + 1, received + size + 1), pa.int64()),
            *(plain[column.name] for column in self._columns),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _hashes(self, plain: dict[str, pa.Array], size: int) -> pa.Array:
        told: list[Any] = []
        for name in self._hashed:
            values = plain[name]
            if values.null_count == 0:
                told += [f"\0{name}=", _hash_text(values)]
            elif values.null_count < size:
                told.append(pc.binary_join_element_wise(f"\0{name}=", _hash_text(values), ""))
        if not told:
            return pa.array([hashlib.sha256(b"").hexdigest()] * size, pa.string())
        if all(isinstance(part, str) or part.null_count for part in told):
            told.append(pa.array([""] * size, pa.string()))
        joined = pc.binary_join_element_wise(*told, "", null_handling="skip").cast(pa.binary())
        _, ends, content = joined.buffers()
        texts, sha256 = memoryview(content), hashlib.sha256
        bounds = pairwise(np.frombuffer(ends, np.int32, size + 1).tolist())
        return pa.array([sha256(texts[start + 1 : end]).hexdigest() for start, end in bounds], pa.string())


def _places(condition: pa.Array) -> list[int]:
    """Where a condition holds; nothing where it cannot be said."""
    found: list[int] = []
    if pc.any(condition).as_py():
        found = np.flatnonzero(condition.fill_null(False).to_numpy(zero_copy_only=False)).tolist()
    return found


def _as_text(values: pa.Array) -> pa.Array:
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def _hash_text(values: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return _as_text(values)


# -- readers of columns -------------------------------------------------------------------------------------------------


def _readers(converter: Converter, columns: tuple[Column, ...], steps: list[Step]) -> list[Reader]:
    """One reader per column; a precision column is made with the time it belongs to."""
    twins = {column.precision_of: column.name for column in columns if column.precision_of}
    readers: list[Reader] = []
    for index, (column, step) in enumerate(zip(columns, steps, strict=True)):
        if column.precision_of:
            continue
        if column.flag:
            readers.append(_flags(column))
        elif column.items:
            readers.append(_lists(converter, column, step, index, len(columns)))
        elif column.type == "timestamptz":
            readers.append(_times(column, twins.get(column.name), converter.zone))
        elif column.type == "text" and not column.pseudonym and converter.known(column) is None:
            readers.append(_texts(column, _Memo.of(column, step, index, len(columns))))
        else:
            readers.append(_remembered(column, _Memo.of(column, step, index, len(columns))))
    return readers


class _Memo(dict[Any, Any]):
    """What the slow way makes of a value, remembered; `_SLOW` for what it rejects."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self._read = read

    @classmethod
    def of(cls, column: Column, step: Step, index: int, width: int) -> _Memos:
        field, is_numeric = column.source or "", column.type == "numeric"

        def read(value: Any) -> Any:
            values: list[Any] = [None] * width
            try:
                step({field: value}, values)
            except Bad:
                return None if value is None else _SLOW  # an empty needed value is looked for later
            found = values[index]
            return number_text(found) if is_numeric and found is not None else found

        return _Memos(read)

    def __missing__(self, value: Any) -> Any:
        found = self._read(value)
        # Equal is not the same for decimals (1.0, 1.00) and for the two zeros of a float.
        if value.__class__ is Decimal or (value.__class__ is float and not value):
            return found
        if value.__class__ is str and len(value) > MEMO_LENGTH:
            return found
        if len(self) >= MEMO:
            self.clear()
        self[value] = found
        return found


class _Memos(dict[type, _Memo]):
    """A memo per type: 1, 1.0 and true are equal and mean different things."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, kind: type) -> _Memo:
        self[kind] = memo = _Memo(self._read)
        return memo

    def take(self, values: Sequence[Any]) -> list[Any]:
        kinds = set(map(type, values))
        others = kinds - {str, type(None)}
        try:
            if len(others) <= 1:
                return list(map(self[others.pop() if others else str].__getitem__, values))
            return [self[value.__class__][value] for value in values]
        except TypeError:  # a list or an object: nothing to remember it by
            return [self[value.__class__][value] if _is_hashable(value) else _SLOW for value in values]


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _unread(found: list[Any]) -> list[int]:
    """The places that the slow way must see; their values become empty."""
    if _SLOW not in found:
        return []
    slow = [place for place, value in enumerate(found) if value is _SLOW]
    for place in slow:
        found[place] = None
    return slow


def _array(found: list[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    slow = _unread(found)
    try:
        return pa.array(found, kind), slow
    except (pa.ArrowInvalid, UnicodeEncodeError):  # half of a surrogate pair
        return pa.nulls(len(found), kind), list(range(len(found)))


def _texts(column: Column, memos: _Memos) -> Reader:
    """Texts that are not looked up. A column of plain codes and identifiers is taken as it is, all at once."""
    field, name, longest = column.source or "", column.name, column.max_length

    def read(table: Table) -> Plain:
        values = table.values(field)
        try:
            joined = "".join(values)
        except TypeError:
            joined = " "
        if joined and joined.isascii() and joined.isprintable() and " " not in joined:
            array = pa.array(values, pa.string())
            lengths = pc.min_max(pc.binary_length(array)).as_py()
            if lengths["min"] > 0 and lengths["max"] <= longest:
                return Plain({name: array})
        array, slow = _array(memos.take(values), pa.string())
        return Plain({name: array}, slow)

    return read


def _remembered(column: Column, memos: _Memos) -> Reader:
    """Columns whose values come again and again: each distinct value is read once, by the slow way."""
    field, name, kind = column.source or "", column.name, ARROW[column.type]

    def read(table: Table) -> Plain:
        array, slow = _array(memos.take(table.values(field)), kind)
        if column.pseudonym:  # a replayed payload carries them ready-made
            slow += table.having(name)
        return Plain({name: array}, slow)

    return read


def _flags(column: Column) -> Reader:
    rules = flag_rules(column)
    name = column.name

    def read(table: Table) -> Plain:
        slow = table.having(name)
        found: set[int] = set()
        for field, search in rules:
            values = table.values(field)
            places: list[int] | range = range(len(values))
            if not set(map(type, values)) <= {str}:
                places = [place for place, value in enumerate(values) if value.__class__ is str]
                slow += [place for place, value in enumerate(values) if not isinstance(value, str | None)]
                values = [values[place] for place in places]
            if not unicodedata.is_normalized("NFC", "\n".join(values)):
                values = list(map(composed, values))
            found.update(place for place, match in zip(places, map(search, values), strict=True) if match)
        flags = np.zeros(len(table), bool)
        flags[list(found)] = True
        return Plain({name: pa.array(flags)}, slow)

    return read


def _times(column: Column, twin: str | None, zone: ZoneInfo) -> Reader:
    """Times of fourteen digits and days of eight, all at once; other forms one by one, remembered."""
    field, name = column.source or "", column.name

    def one(value: Any) -> Any:
        try:
            at, is_date = moment(value, zone)
        except Bad:
            return _SLOW
        return None if at is None else ((at - _EPOCH) // timedelta(microseconds=1), is_date)

    memos, starts = _Memos(one), _DayStarts(zone)

    def read(table: Table) -> Plain:
        size = len(table)
        values = table.values(field)
        micros, empty, is_date = np.zeros(size, np.int64), np.ones(size, bool), np.zeros(size, bool)
        other: Any
        try:
            texts = pa.array(values, pa.string())
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            other = range(size)
        else:
            if texts.null_count < size:
                lengths = pc.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
                done = texts.is_null().to_numpy(zero_copy_only=False)
                for width, days_only in ((14, False), (8, True)):
                    at = np.flatnonzero(lengths == width)
                    if not len(at):
                        continue
                    seconds, good = _stamps(texts.take(pa.array(at)), width, starts)
                    at, seconds = at[good], seconds[good]
                    micros[at], empty[at], is_date[at], done[at] = seconds * 1_000_000, False, days_only, True
                other = np.flatnonzero(~done)
            else:
                other = ()
        slow: list[int] = []
        if len(other):
            for place, found in zip(other, memos.take([values[place] for place in other]), strict=True):
                if found is _SLOW:
                    slow.append(int(place))
                elif found is not None:
                    micros[place], is_date[place] = found
                    empty[place] = False
        result = {name: pa.array(micros, pa.int64(), mask=empty).cast(ARROW["timestamptz"])}
        if twin is not None:
            result[twin] = pa.array(is_date, pa.bool_(), mask=empty)
        return Plain(result, slow)

    return read


def _stamps(stamps: pa.Array, width: int, starts: _DayStarts) -> tuple[Any, Any]:
    """(UTC seconds, whether it could be read) of texts of `width` bytes, yyyyMMdd or yyyyMMddHHmmss."""
    content = np.frombuffer(stamps.buffers()[2], np.uint8, count=len(stamps) * width)
    digits = content.reshape(len(stamps), width) - np.uint8(ord("0"))
    good: Any = np.ones(len(stamps), bool)
    if digits.max() > 9:
        good = (digits <= 9).all(axis=1)
        digits = np.where(good[:, None], digits, 0)
    pairs = (digits[:, 0::2] * np.uint8(10) + digits[:, 1::2]).T.astype(np.int64)
    seconds = starts.of(pairs[0] * 100 + pairs[1], pairs[2], pairs[3])
    good &= seconds != _NO_DAY
    if width == 14:
        good &= (pairs[4] < 24) & (pairs[5] < 60) & (pairs[6] < 60)
        seconds = seconds + pairs[4] * 3600 + pairs[5] * 60 + pairs[6]
    return seconds, good


class _DayStarts:
    """UTC second at which each local day of two centuries begins, found out when first asked for."""

    _FIRST, _YEARS = 1900, 200

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._known = np.full(self._YEARS * 12 * 31, _NOT_ASKED, np.int64)

    def of(self, year: Any, month: Any, day: Any) -> Any:
        """The seconds of days given as arrays; `_NO_DAY` for what is no day or lies outside the two centuries."""
        year = year - self._FIRST
        good = (year >= 0) & (year < self._YEARS) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
        places = np.where(good, (year * 12 + month - 1) * 31 + day - 1, 0)
        found = self._known[places]
        if (found == _NOT_ASKED).any():
            for place in np.unique(places[found == _NOT_ASKED]).tolist():
                months, day_before = divmod(place, 31)
                self._known[place] = _day_start(self._FIRST + months // 12, months % 12 + 1, day_before + 1, self._zone)
            found = self._known[places]
        return np.where(good, found, _NO_DAY)


_NO_DAY, _NOT_ASKED = -(2**62), -(2**61)


def _day_start(year: int, month: int, day: int, zone: ZoneInfo) -> int:
    """UTC second at which a local day begins; `_NO_DAY` when there is none or its clock is moved."""
    try:
        start = datetime(year, month, day, tzinfo=zone)
        end = datetime(year, month, day, 23, 59, 59, tzinfo=zone)
    except ValueError:
        return _NO_DAY
    if start.utcoffset() != end.utcoffset():
        return _NO_DAY
    return int((start - _EPOCH).total_seconds())


# -- nested lists -------------------------------------------------------------------------------------------------------


def _lists(converter: Converter, column: Column, step: Step, index: int, width: int) -> Reader:
    """Nested lists: the items of the whole page are read as one table, made JSON text, and dealt out to their records."""
    field, name = column.source or "", column.name
    if any(item.items for item in column.items):  # lists in lists: one by one
        return _remembered(column, _Memo.of(column, step, index, width))
    readers = _readers(converter, column.items, converter.item_steps(column))
    needed = [item.name for item in column.items if item.required]
    fields = _fields(column.items)

    def read(table: Table) -> Plain:
        values = table.values(field)
        slow: set[int] = set()
        if not set(map(type, values)) <= {list}:
            values = list(values)
            for place, value in enumerate(values):
                if value.__class__ is not list:
                    values[place] = []
                    if value is not None and value != "":
                        slow.add(place)
        offsets = list(accumulate(map(len, values), initial=0))
        items = list(chain.from_iterable(values))
        if not items:
            return Plain({name: pa.array(["[]"] * len(table), pa.string())}, slow)
        unread: set[int] = set()
        kinds = set(map(type, items))
        if len(kinds) > 1 or not issubclass(kinds.pop(), dict | Record):
            unread = {place for place, item in enumerate(items) if item.__class__ is not dict}
            items = [item if item.__class__ is dict else {} for item in items]
        plain: dict[str, pa.Array] = {}
        inner = Table(items, fields)
        for reader in readers:
            found = reader(inner)
            plain.update(found.columns)
            unread.update(found.slow)
        for needs in needed:
            unread.update(_places(plain[needs].is_null()))
        if unread:
            slow.update((np.searchsorted(offsets, list(unread), side="right") - 1).tolist())
        texts = _objects(column.items, plain)
        return Plain({name: _dealt(texts, offsets)}, slow)

    return read


def _objects(columns: tuple[Column, ...], plain: dict[str, pa.Array]) -> pa.Array:
    """One JSON object per item, as the slow way writes it."""
    parts: list[Any] = []
    for number, column in enumerate(columns):
        parts += [f'{"," if number else "{"}"{column.name}":', _json(column, plain[column.name])]
    return pc.binary_join_element_wise(*parts, "}", "", null_handling="replace", null_replacement="null")


def _json(column: Column, values: pa.Array) -> pa.Array:
    if column.type in ("boolean", "integer", "bigint"):
        return values.cast(pa.string())
    if column.type == "numeric":
        told = [
            None if text is None else orjson.dumps(Decimal(text), default=number_json).decode()
            for text in values.to_pylist()
        ]
        return pa.array(told, pa.string())
    if column.type == "timestamptz":
        return _iso_times(values)
    texts = _as_text(values)
    if pc.any(pc.match_substring_regex(texts, _ESCAPED)).as_py():
        told = [None if text is None else orjson.dumps(text).decode() for text in texts.to_pylist()]
        return pa.array(told, pa.string())
    return pc.binary_join_element_wise('"', texts, '"', "")


def _iso_times(values: pa.Array) -> pa.Array:
    """Times as JSON texts of 27 characters, written digit by digit."""
    micros = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    seconds, rest = np.divmod(micros, 1_000_000)
    day, clock = np.divmod(seconds, _DAY)
    texts = _day_texts()
    if rest.any() or day.min() < _FIRST_DAY or day.max() >= _FIRST_DAY + len(texts):
        told = [None if at is None else f'"{at.isoformat()}"' for at in values.to_pylist()]
        return pa.array(told, pa.string())
    written = np.tile(np.frombuffer(b'"0000-00-00T00:00:00+00:00"', np.uint8), (len(values), 1))
    written[:, 1:11] = texts[day - _FIRST_DAY]
    hour, minutes = np.divmod(clock, 3600)
    minute, second = np.divmod(minutes, 60)
    written[:, 12:14], written[:, 15:17], written[:, 18:20] = _PAIRS[hour], _PAIRS[minute], _PAIRS[second]
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 27
    valid = None
    if values.null_count:
        valid = pa.py_buffer(np.packbits(values.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(written), valid)


_FIRST_DAY = -25_567  # 1900-01-01
_PAIRS = np.frombuffer("".join(f"{n:02d}" for n in range(60)).encode(), np.uint8).reshape(60, 2)


@cache
def _day_texts() -> Any:
    """yyyy-MM-dd of each day of two centuries, ten bytes each."""
    days = np.arange("1900-01-01", "2100-01-01", dtype="datetime64[D]")
    return np.char.encode(np.datetime_as_string(days)).view(np.uint8).reshape(-1, 10)


def _dealt(texts: pa.Array, offsets: list[int]) -> pa.Array:
    """Items as lists of their records, in the order of their text."""
    starts = np.array(offsets, np.int32)
    if len(texts) > 1:
        falls = np.flatnonzero(pc.greater(texts[:-1], texts[1:]).to_numpy(zero_copy_only=False)) + 1
        falls = falls[~np.isin(falls, starts)]
        if len(falls):
            order = np.arange(len(texts))
            for record in np.unique(np.searchsorted(starts, falls, side="right") - 1):
                low, high = offsets[record], offsets[record + 1]
                listed = [text.encode() for text in texts[low:high].to_pylist()]
                order[low:high] = low + np.array(sorted(range(high - low), key=listed.__getitem__))
            texts = texts.take(pa.array(order))
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts), texts), ",")
    return pc.binary_join_element_wise("[", joined, "]", "")
