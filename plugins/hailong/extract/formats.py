"""Tables as people save them: CSV in Excel's dialects, XLSX, Parquet and JSON lines, as rows by column name.

A row that cannot be read is a Bad in its place and hides no other. Column names are compared in NFC, without a hidden byte
order mark, and with one blank for any run of blanks; a row comes back under the names that the caller knows. Titles above the
header and empty rows are passed over.
"""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils.cell import range_boundaries
from openpyxl.utils.datetime import from_excel
from openpyxl.utils.exceptions import InvalidFileException

from hailong.errors import PermanentError
from hailong.extract.records import Bad

CHUNK = 1000
HEADER_WITHIN = 20  # rows; what stands above the header is a title
SAMPLE = 1 << 16
FIELD_LIMIT = 1 << 20  # a longer field is a quote that was never closed
DELIMITERS = (",", ";", "\t", "|")
UTF8 = "utf-8"
_MARKS = ((codecs.BOM_UTF8, UTF8), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_MERGED = re.compile(rb'mergeCell\s+ref="([A-Z]+\d+:[A-Z]+\d+)"')
_EXCEL_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"})
_EXCEL_DAYS = range(20_000, 80_000)  # serial numbers of days from 1954 to 2119

csv.field_size_limit(FIELD_LIMIT)


@dataclass(frozen=True)
class Layout:
    """What a caller expects of a file, and how it was written as far as that is known."""

    needed: tuple[str, ...]  # columns without which the file is refused
    known: tuple[str, ...]  # every column that is read when it is there
    origin: str  # who reads them: "contract x.yaml", "mapping y.yaml"
    hint: str
    numbers: frozenset[str] = frozenset()
    days: frozenset[str] = frozenset()
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None


# -- header -----------------------------------------------------------------------------------------------------------


@lru_cache(4096)
def plain_name(name: str) -> str:
    """A column's name as it is compared."""
    return unicodedata.normalize("NFC", " ".join(name.replace("\ufeff", "").replace("\u200b", "").split()))


def spelled(names: Iterable[str], layout: Layout) -> list[str]:
    """Column names of a file, spelled as the caller spells them."""
    known = {plain_name(name): name for name in layout.known}
    return [known.get(plain_name(name), plain_name(name)) for name in names]


def _has_all(header: list[str], layout: Layout) -> bool:
    return all(name in header for name in layout.needed)


def checked_header(path: Path, names: Iterable[str], layout: Layout) -> list[str]:
    """The header with everything there that is needed, once; PermanentError lists what the file has."""
    header = spelled(names, layout)
    if not any(header):
        raise PermanentError(f"{path.name} is empty: a header row with the column names is needed")
    twice = sorted({name for name in layout.known if header.count(name) > 1})
    if twice:
        raise PermanentError(f"{path.name}: column '{twice[0]}' stands twice in the header")
    missing = [name for name in layout.needed if name not in header]
    if missing:
        raise missing_columns(path, missing, header, layout)
    return header


def missing_columns(path: Path, missing: list[str], header: list[str], layout: Layout) -> PermanentError:
    hint = layout.hint
    if any("\ufffd" in name for name in header):
        hint = f"it is not UTF-8: save it as UTF-8, or name its encoding in {layout.origin}"
    shown = ", ".join(repr(name[:80]) for name in header[:60] if name)
    return PermanentError(
        f"{path.name} has no column {', '.join(repr(name) for name in missing)} that {layout.origin} reads; "
        f"its columns are {shown}: {hint}"
    )


def _header_among(path: Path, rows: Iterator[list[str]], layout: Layout) -> list[str]:
    """The header: the first row that has every needed column; where none has, the row with most of them is complained about."""
    seen: list[list[str]] = []
    for row in rows:
        names = spelled(row, layout)
        if _has_all(names, layout) and any(names):
            return checked_header(path, row, layout)
        seen.append(row)
        if len(seen) == HEADER_WITHIN:
            break
    best = max(seen, key=lambda row: _found(row, layout), default=[])
    return checked_header(path, best, layout)


def _found(row: list[str], layout: Layout) -> int:
    names = set(spelled(row, layout))
    return sum(name in names for name in layout.needed)


# -- text -------------------------------------------------------------------------------------------------------------


def detected(path: Path, encoding: str | None) -> tuple[str, int]:
    """(encoding, bytes of the mark at the start): a mark in the file wins over `encoding`; without either it is UTF-8."""
    with path.open("rb") as handle:
        start = handle.read(4096)
    for mark, marked in _MARKS:
        if start.startswith(mark):
            size = len(mark)
            while start.startswith(mark, size):  # files that were joined keep their marks
                size += len(mark)
            return marked, size
    if encoding is None:
        even, odd = start[0::2].count(0), start[1::2].count(0)
        wide = 4 * max(even, odd) > len(start) > 0 and even != odd  # UTF-16 whose mark was lost
        return (("utf-16-le" if odd > even else "utf-16-be") if wide else UTF8), 0
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise PermanentError(
            f"{path.name}: there is no encoding '{encoding}': write utf-8, utf-16, windows-1258 or windows-1252"
        ) from None
    return {"utf-8-sig": UTF8, "utf-16": "utf-16-le"}.get(name, name), 0


def open_text(path: Path, encoding: str | None) -> TextIOWrapper:
    """The file as text, after its mark. In Unicode a broken byte spoils its own value only: U+FFFD stands for it."""
    found, start = detected(path, encoding)
    handle = path.open("rb")
    handle.seek(start)
    return TextIOWrapper(handle, encoding=found, errors="replace" if found.startswith("utf") else "strict", newline="")


class _Lines:
    """Lines for csv.reader; those of the record that is being read can be given back."""

    def __init__(self, handle: TextIOWrapper) -> None:
        self._handle = handle
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []
        self.first = 1  # number of the first line of the record

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._handle)
        self._taken.append(line)
        return line

    def begin(self) -> None:
        self.first += len(self._taken)
        self._taken = []

    def give_back(self) -> None:
        """Keep the first line of the record only."""
        self._waiting.extendleft(reversed(self._taken[1:]))
        self._taken = self._taken[:1]


def _csv_records(lines: _Lines, delimiter: str) -> Iterator[list[str] | Bad]:
    """Records of a CSV file. A quote that is not closed properly spoils its own line, not those that it swallowed."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back()
            yield Bad("unreadable_record", f"line {lines.first}: {error}")


def read_csv(path: Path, layout: Layout) -> Iterator[Any]:
    """Rows of a delimited text file; the delimiter is the one that shows the columns asked for."""
    try:
        with open_text(path, layout.encoding) as handle:
            start = handle.read(SAMPLE)
        told = _SEPARATOR_LINE.fullmatch(start.splitlines()[0].strip()) if start.strip() else None
        delimiter = layout.delimiter or (told[1] if told else _delimiter(start, layout))
        with open_text(path, layout.encoding) as handle:
            lines = _Lines(handle)
            records = _csv_records(lines, delimiter)
            if told:
                next(handle)
                lines.first += 1
            header = _header_among(path, (r for r in records if not isinstance(r, Bad) and _is_filled(r)), layout)
            # Where the comma is the decimal sign, Excel puts something else between the columns.
            numbers = [i for i, name in enumerate(header) if name in layout.numbers and delimiter != ","]
            names = [(i, name) for i, name in enumerate(header) if name]
            for record in records:
                if isinstance(record, Bad):
                    yield record
                    continue
                if not _is_filled(record):
                    continue
                if len(record) < len(header) or any(cell.strip() for cell in record[len(header) :]):
                    told_width = f"{len(record)} fields, header has {len(header)}"
                    yield Bad("unreadable_record", f"line {lines.first}: {told_width}")
                    continue
                for place in numbers:
                    record[place] = _with_point(record[place])
                yield {name: record[i] for i, name in names}
    except UnicodeDecodeError:
        raise PermanentError(
            f"{path.name} is not {layout.encoding}: save it as UTF-8, or name its encoding in {layout.origin}"
        ) from None


def _is_filled(record: list[str]) -> bool:
    return any(cell.strip() for cell in record)


def _delimiter(start: str, layout: Layout) -> str:
    """The delimiter with which a row near the top has most of the needed columns, then the most frequent one."""

    def score(delimiter: str) -> tuple[int, int]:
        rows = []
        try:
            for row in csv.reader(start.splitlines(keepends=True), delimiter=delimiter):
                rows.append(row)
                if len(rows) == HEADER_WITHIN:
                    break
        except csv.Error:
            pass
        return max((_found(row, layout) for row in rows), default=0), start.partition("\n")[0].count(delimiter)

    return max(DELIMITERS, key=score)


def _with_point(value: str) -> str:
    return value.replace(",", ".") if _DECIMAL_COMMA.fullmatch(value.strip()) else value


# -- workbooks --------------------------------------------------------------------------------------------------------


def read_xlsx(path: Path, layout: Layout) -> Iterator[Any]:
    """Rows of a worksheet. A cell that was merged downwards counts in every row that it covers."""
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError, ValueError, ParseError):
        raise PermanentError(f"{path.name} is not a readable XLSX workbook: open it and save it again") from None
    try:
        sheet = _sheet(path, book, layout)
        merged = _merged(book, sheet)
        sheet.reset_dimensions()
        rows = enumerate(sheet.iter_rows(values_only=True), 1)
        filled = ((number, row) for number, row in rows if any(_has_content(cell) for cell in row))
        header = _header_among(path, ([_cell_text(cell) for cell in row] for _, row in filled), layout)
        names = [(i, name) for i, name in enumerate(header) if name]
        read = _cell_reader(layout, book.epoch)
        above: dict[int, tuple[int, Any]] = {}  # column → (last row covered, value) of the merged cell above
        for number, row in filled:
            cells = [*row, *(None,) * (len(header) - len(row))]
            _fill_merged(cells, number, merged, above)
            broken = [name for i, name in names if name in layout.known and cells[i] in _EXCEL_ERRORS]
            if broken:
                yield Bad("unreadable_record", f"row {number}: a formula failed in column '{broken[0]}'")
            else:
                yield {name: read(name, cells[i]) for i, name in names}
    except (ParseError, zipfile.BadZipFile, KeyError, ValueError, EOFError, zlib.error):
        raise PermanentError(f"{path.name} is a damaged workbook: open it and save it again") from None
    finally:
        book.close()


def _sheet(path: Path, book: Any, layout: Layout) -> Any:
    sheets = {plain_name(sheet.title): sheet for sheet in book.worksheets}
    if not sheets:
        raise PermanentError(f"{path.name} has no worksheet")
    if layout.sheet is None:
        return next((sheet for sheet in sheets.values() if sheet.sheet_state == "visible"), next(iter(sheets.values())))
    if plain_name(layout.sheet) not in sheets:
        raise PermanentError(f"{path.name} has no sheet '{layout.sheet}'; its sheets are {', '.join(sheets)}")
    return sheets[plain_name(layout.sheet)]


def _merged(book: Any, sheet: Any) -> dict[tuple[int, int], int]:
    """(column from 0, first row) → last row of the cells that were merged downwards.

    The streaming reader leaves them out: they stand behind all rows, so the sheet is skimmed for them.
    """
    found: dict[tuple[int, int], int] = {}
    with book._archive.open(sheet._worksheet_path) as source:
        tail = b""
        while piece := source.read(1 << 20):
            block = tail + piece
            for match in _MERGED.finditer(block):
                column, first, _, last = range_boundaries(match[1].decode())
                if column and first and last and last > first:
                    found[column - 1, first] = last
            tail = block[-200:]
    return found


def _fill_merged(
    cells: list[Any], number: int, merged: dict[tuple[int, int], int], above: dict[int, tuple[int, Any]]
) -> None:
    if not merged:
        return
    for column in range(len(cells)):
        last = merged.get((column, number))
        if last is not None:
            above[column] = last, cells[column]
        elif cells[column] is None and column in above and number <= above[column][0]:
            cells[column] = above[column][1]


def _has_content(cell: object) -> bool:
    return cell is not None and not (isinstance(cell, str) and not cell.strip())


def _cell_text(cell: object) -> str:
    return "" if cell is None else str(cell)


def _cell_reader(layout: Layout, epoch: datetime) -> Callable[[str, Any], Any]:
    """A cell's value under a column, as its author saw it."""

    def read(name: str, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.date() if value.time() == time() else value  # a day is kept as a moment at midnight
        if isinstance(value, str):
            return _with_point(value) if name in layout.numbers else value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if name in layout.days and int(value) in _EXCEL_DAYS:  # a date in a cell that is not formatted as one
            return read(name, from_excel(value, epoch))
        return float(format(value, ".15g")) if isinstance(value, float) else value  # Excel shows 15 digits

    return read


# -- Parquet, JSON lines ----------------------------------------------------------------------------------------------


def read_parquet(path: Path, layout: Layout) -> Iterator[Any]:
    """Rows of a Parquet file; times without a zone stay without one, and the door reads them as local."""
    try:
        with pq.ParquetFile(path) as source:
            header = checked_header(path, source.schema_arrow.names, layout)
            for batch in source.iter_batches(CHUNK):
                columns = [_column_values(column) for column in batch.columns]
                for row in zip(*columns, strict=True):
                    yield dict(zip(header, row, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise PermanentError(
            f"{path.name} is not a readable Parquet file ({type(error).__name__}): write it again"
        ) from None


def _column_values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None if value is None else value.decode(errors="replace") for value in values]
    if pa.types.is_floating(column.type):  # how missing numbers are often written
        return [None if value != value else value for value in values]
    return values


def read_lines(path: Path, layout: Layout, is_mapped: bool) -> Iterator[Any]:
    """One JSON document a line; under a mapping the first must have its fields."""
    with open_text(path, None) as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                yield Bad("unreadable_record", f"line {number}: not JSON")
                continue
            record = composed_names(record, layout)
            if is_mapped and number == 1 and isinstance(record, dict):
                missing = [name for name in layout.needed if name not in record]
                if missing:
                    raise missing_columns(path, missing, list(record), layout)
            yield record


def composed_names(record: Any, layout: Layout) -> Any:
    """A record under the names that the caller knows."""
    if not isinstance(record, dict) or all(name.isascii() for name in record):
        return record
    return dict(zip(spelled(record, layout), record.values(), strict=True))
