"""Dropped files (CSV, XLSX, Parquet, JSON lines, or one saved answer of a service) as source records of a contract.

Without a mapping the file's columns are named as the source names its fields. A mapping (YAML) says otherwise:

    columns:                       # contract column: where it comes from
      dossier_code: "Case no."                                   # a column of the file
      channel_code: {from: "Channel", values: {Desk: "1"}, otherwise: "2"}
      resolving_unit_source_code: {join: ["Department", "Group"], separator: "/"}
      status_code: {when: [{column: "Closed", present: true, value: "9"}], otherwise: "4"}
      is_test_record: {constant: false}
    group_by: "Case no."           # several rows of the file are one record; the first row gives its columns
    items:                         # rows of the group that become items of a nested column
      supplements:
        where: {column: "Activity", matches: ["^Hold"]}
        columns: {supplement_id: "Event no.", requested_at: "Time"}
    format: {delimiter: ";", encoding: "utf-8", sheet: "Data"}
    window_columns: [received_at, finished_at]
"""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zoneinfo import ZoneInfo

import openpyxl
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from openpyxl.utils.exceptions import InvalidFileException

from hailong.contracts import Column, Contract, FileDrop, PagedHttp, PortalWindows
from hailong.errors import PermanentError, UsageError
from hailong.extract.portal import Window, records_of
from hailong.extract.records import Bad, moment

FORMATS = (".csv", ".xlsx", ".parquet", ".jsonl", ".ndjson", ".json")
CHUNK = 1000
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SEPARATOR_LINE = re.compile(r"sep=(.)")
Reader = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Mapped:
    """A value read from a row, with the file columns it needs."""

    read: Reader
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """Rows of a group that become items of a nested column."""

    column: Column
    matches: Reader
    fields: tuple[tuple[str, Mapped], ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class ColumnMapping:
    """A mapping file, read and checked against the contract."""

    name: str
    fields: tuple[tuple[str, Mapped], ...]
    group_by: str | None = None
    items: tuple[Items, ...] = ()
    delimiter: str | None = None
    encoding: str = "utf-8-sig"
    sheet: str | None = None
    window_columns: tuple[str, ...] = ()
    needs: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class DroppedFile:
    """One file as an iterable of chunks of source records; a row that cannot be read is a Bad in its place."""

    path: Path
    contract: Contract
    mapping: ColumnMapping | None
    zone: ZoneInfo
    window: tuple[datetime, datetime] | None
    now: datetime

    def __iter__(self) -> Iterator[list[Any]]:
        records = iter(self._records())
        while chunk := list(islice(records, CHUNK)):
            yield chunk

    def _records(self) -> Iterable[Any]:
        suffix = self.path.suffix.lower()
        if suffix not in FORMATS:
            raise UsageError(f"{self.path.name}: unknown kind of file; readable are {', '.join(FORMATS)}")
        if suffix == ".json":
            return self._answer()
        rows = {".csv": self._csv, ".xlsx": self._xlsx, ".parquet": self._parquet}.get(suffix, self._lines)()
        if self.mapping is None:
            return rows
        if self.mapping.group_by:
            return _grouped(rows, self.mapping, self.mapping.group_by, self.zone)
        return (_mapped(row, self.mapping.fields) for row in rows)

    # -- formats ----------------------------------------------------------------------------------------------------

    def _csv(self) -> Iterator[Any]:
        encoding, given = self._layout()
        # In UTF-8 a broken byte spoils its own record only: U+FFFD stands for it, and the door quarantines that.
        lenient = "replace" if encoding == "utf-8-sig" else "strict"
        try:
            with self.path.open(encoding=encoding, errors=lenient, newline="") as handle:
                first = handle.readline()
                told = _SEPARATOR_LINE.fullmatch(first.strip())  # "sep=;", as Excel understands it
                if told:
                    given, first = told[1], handle.readline()
                handle.seek(0)
                delimiter = given or max(",;\t|", key=first.count)
                reader = csv.reader(handle, delimiter=delimiter)
                if told:
                    next(reader)
                header = self._header(next(reader, None))
                # Where the comma is the decimal sign, Excel puts something else between the columns.
                decimals = set() if delimiter == "," or self.mapping else _number_fields(self.contract)
                numbers = [place for place, name in enumerate(header) if name in decimals]
                for row in reader:
                    if not any(row):
                        continue
                    if len(row) != len(header):
                        yield Bad(
                            "unreadable_record", f"line {reader.line_num}: {len(row)} fields, header has {len(header)}"
                        )
                        continue
                    for place in numbers:
                        if _DECIMAL_COMMA.fullmatch(row[place].strip()):
                            row[place] = row[place].replace(",", ".")
                    yield dict(zip(header, row, strict=True))
        except UnicodeDecodeError:
            raise PermanentError(
                f"{self.path.name} is not {encoding}: save it as UTF-8, or name its encoding in the mapping "
                "(format.encoding)"
            ) from None
        except csv.Error as error:
            raise PermanentError(f"{self.path.name} is not a readable CSV file ({error})") from None

    def _layout(self) -> tuple[str, str | None]:
        """(encoding, delimiter or None): as the mapping or the contract says; else UTF-16 where a mark says so, else UTF-8."""
        connector = self.contract.connector if isinstance(self.contract.connector, FileDrop) else None
        if self.mapping:
            return self.mapping.encoding, self.mapping.delimiter
        given = connector.encoding if connector else None
        if given is None:
            with self.path.open("rb") as handle:
                given = "utf-16" if handle.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        return given, connector.delimiter if connector else None

    def _xlsx(self) -> Iterator[Any]:
        try:
            book = openpyxl.load_workbook(self.path, read_only=True, data_only=True)
        except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError, ValueError):
            raise PermanentError(
                f"{self.path.name} is not a readable XLSX workbook: open it and save it again"
            ) from None
        try:
            sheet = book[self._sheet(book.sheetnames)]
            sheet.reset_dimensions()
            rows = (row for row in sheet.iter_rows(values_only=True) if any(cell is not None for cell in row))
            head = next(rows, None)
            header = self._header(None if head is None else [_cell_text(cell) for cell in head])
            for row in rows:
                yield dict(zip(header, chain(row, (None,) * (len(header) - len(row))), strict=False))
        except (ParseError, zipfile.BadZipFile, KeyError, ValueError):
            raise PermanentError(f"{self.path.name} is a damaged workbook: open it and save it again") from None
        finally:
            book.close()

    def _sheet(self, names: list[str]) -> str:
        wanted = self.mapping.sheet if self.mapping else None
        if wanted is None and isinstance(self.contract.connector, FileDrop):
            wanted = self.contract.connector.sheet
        if wanted is None:
            return names[0]
        if wanted not in names:
            raise PermanentError(f"{self.path.name} has no sheet '{wanted}'; its sheets are {', '.join(names)}")
        return wanted

    def _parquet(self) -> Iterator[Any]:
        try:
            with pq.ParquetFile(self.path) as source:
                self._header(source.schema_arrow.names)
                for batch in source.iter_batches(CHUNK):
                    yield from batch.to_pylist()
        except pa.ArrowInvalid as error:
            raise PermanentError(f"{self.path.name} is not a readable Parquet file ({str(error)[:200]})") from None

    def _lines(self) -> Iterator[Any]:
        with self.path.open("rb") as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                try:
                    record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    yield Bad("unreadable_record", f"line {number}: not JSON")
                    continue
                if self.mapping and isinstance(record, dict):
                    missing = [name for name in self.mapping.needs if name not in record]
                    if missing and number == 1:
                        raise self._missing(missing, list(record))
                yield record

    def _answer(self) -> list[Any]:
        """One saved answer of the feed's service."""
        try:
            answer = orjson.loads(self.path.read_bytes())
        except orjson.JSONDecodeError:
            raise PermanentError(f"{self.path.name} is not JSON (one record a line is called .jsonl)") from None
        connector = self.contract.connector
        if self.mapping:
            raise UsageError(
                f"{self.path.name} is a saved answer: it is read as the service sends it, without a mapping"
            )
        if isinstance(connector, PortalWindows) and isinstance(answer, dict):
            if self.window is None:
                raise UsageError(
                    f"{self.path.name}: a saved answer of the portal does not say its window: give --since and --until "
                    "(--until is the day after the window's last day)"
                )
            first, last = self.window[0].astimezone(self.zone).date(), last_day(self.window[1], self.zone)
            return records_of(answer, connector, Window(first, last), self.now)[0]
        if isinstance(connector, PagedHttp) and isinstance(answer, dict):
            items, total = answer.get(connector.items_field), answer.get(connector.total_field)
            if isinstance(items, list):
                if isinstance(total, int) and total != len(items):
                    raise PermanentError(
                        f"{self.path.name} holds {len(items)} records and declares {total}: fetch it again"
                    )
                return items
        if isinstance(answer, list):
            return answer
        raise PermanentError(f"{self.path.name} is not an answer of the service of '{self.contract.feed}'")

    # -- header -----------------------------------------------------------------------------------------------------

    def _header(self, names: Iterable[str] | None) -> list[str]:
        """The file's column names, with everything there that is needed; PermanentError lists what the file has."""
        header = [unicodedata.normalize("NFC", name.lstrip("\ufeff").strip()) for name in names or []]
        if not any(header):
            raise PermanentError(f"{self.path.name} is empty: a header row with the column names is needed")
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise PermanentError(f"{self.path.name}: column '{twice[0]}' stands twice in the header")
        needed = self.mapping.needs if self.mapping else _source_fields(self.contract)
        missing = [name for name in needed if name not in header]
        if missing:
            raise self._missing(missing, header)
        return header

    def _missing(self, missing: list[str], header: list[str]) -> PermanentError:
        origin = f"mapping {self.mapping.name}" if self.mapping else f"contract {self.contract.path.name}"
        hint = "correct the mapping" if self.mapping else "correct the file, or give a --mapping"
        return PermanentError(
            f"{self.path.name} has no column {', '.join(repr(name) for name in missing)} that {origin} reads; "
            f"its columns are {', '.join(repr(name) for name in header if name)}: {hint}"
        )


def last_day(until: datetime, zone: ZoneInfo) -> date:
    """The local day that an exclusive end closes."""
    return (until.astimezone(zone) - timedelta(microseconds=1)).date()


def _source_fields(contract: Contract) -> list[str]:
    """Fields a file must have to be read without a mapping: all of the contract but the bookkeeping ones."""
    return [column.source for column in contract.columns if column.source and column.hashed]


def _number_fields(contract: Contract) -> set[str]:
    return {column.source for column in contract.columns if column.source and column.type == "numeric"}


def _cell_text(cell: object) -> str:
    return "" if cell is None else str(cell)


# -- mapping ----------------------------------------------------------------------------------------------------------


def load_mapping(path: Path, contract: Contract) -> ColumnMapping:
    """Read a mapping file; UsageError names the file, the key and what is allowed."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"mapping {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"mapping {path.name} is not valid YAML") from None
    return _MappingReader(path.name, contract).read(document)


@dataclass(frozen=True)
class _MappingReader:
    name: str
    contract: Contract

    def fail(self, place: str, problem: str) -> UsageError:
        return UsageError(f"mapping {self.name}, {place}: {problem}")

    def keys(self, value: object, place: str, allowed: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(place, f"expected a mapping with {', '.join(allowed)}")
        for key in value:
            if key not in allowed:
                raise self.fail(place, f"unknown key '{key}'; allowed: {', '.join(allowed)}")
        return value

    def read(self, document: object) -> ColumnMapping:
        top = self.keys(document, "top level", ("columns", "group_by", "items", "format", "window_columns"))
        if "columns" not in top:
            raise self.fail("top level", "columns is missing")
        layout = self.keys(top.get("format") or {}, "format", ("delimiter", "encoding", "sheet"))
        fields = self.fields(top["columns"], "columns", self.contract.columns)
        items = tuple(self.item(name, value) for name, value in (top.get("items") or {}).items())
        group_by = top.get("group_by")
        if items and not group_by:
            raise self.fail("items", "items are built from the rows of a group: group_by is missing")
        for column in self.contract.keys:
            if column.source not in {name for name, _ in fields}:
                raise self.fail("columns", f"the key column '{column.name}' is missing")
        window = tuple(top.get("window_columns") or ())
        dated = [column.name for column in self.contract.columns if column.type in ("date", "timestamptz")]
        for name in window:
            if name not in dated:
                raise self.fail("window_columns", f"no date column '{name}'; allowed: {', '.join(dated)}")
        needs = dict.fromkeys(name for _, mapped in fields for name in mapped.needs)
        needs |= dict.fromkeys(name for item in items for name in item.needs)
        if group_by:
            needs[group_by] = None
        return ColumnMapping(
            name=self.name,
            fields=fields,
            group_by=group_by,
            items=items,
            delimiter=layout.get("delimiter"),
            encoding=layout.get("encoding", "utf-8-sig"),
            sheet=layout.get("sheet"),
            window_columns=window,
            needs=tuple(needs),
        )

    def fields(self, value: object, place: str, columns: tuple[Column, ...]) -> tuple[tuple[str, Mapped], ...]:
        allowed = {column.name: column for column in columns if not column.precision_of}
        given = self.keys(value, place, tuple(allowed))
        return tuple(
            (allowed[name].source or name, self.mapped(spec, f"{place}.{name}")) for name, spec in given.items()
        )

    def mapped(self, spec: object, place: str) -> Mapped:
        if isinstance(spec, str):
            return _plain_column(spec)
        given = self.keys(spec, place, ("from", "values", "otherwise", "constant", "join", "separator", "when"))
        forms = [form for form in ("from", "constant", "join", "when") if form in given]
        if len(forms) != 1:
            raise self.fail(place, "exactly one of from, constant, join, when is needed")
        if forms == ["constant"]:
            constant = given["constant"]
            return Mapped(lambda row: constant, ())
        if forms == ["join"]:
            return _joined(tuple(given["join"]), str(given.get("separator", "/")))
        if forms == ["when"]:
            return self.when(given, place)
        return self.translated(given, place)

    def translated(self, given: dict[str, Any], place: str) -> Mapped:
        source, values = str(given["from"]), given.get("values")
        if values is None:
            return _plain_column(source)
        if not isinstance(values, dict):
            raise self.fail(f"{place}.values", "expected a mapping of file value to source code")
        table = {str(key): value for key, value in values.items()}
        if "otherwise" in given:
            otherwise = given["otherwise"]
            return Mapped(lambda row: table.get(_word(row, source), otherwise), (source,))
        return Mapped(lambda row: table.get(_word(row, source), row.get(source)), (source,))

    def when(self, given: dict[str, Any], place: str) -> Mapped:
        rules: list[tuple[Reader, Any]] = []
        needs: dict[str, None] = {}
        for rule in given["when"] or []:
            one = self.keys(rule, f"{place}.when", ("column", "present", "equals", "matches", "value"))
            if "column" not in one or "value" not in one:
                raise self.fail(f"{place}.when", "each rule needs column, value and one of present, equals, matches")
            rules.append((self.test(one, f"{place}.when"), one["value"]))
            needs[str(one["column"])] = None
        otherwise = given.get("otherwise")

        def read(row: Mapping[str, Any]) -> Any:
            return next((value for test, value in rules if test(row)), otherwise)

        return Mapped(read, tuple(needs))

    def test(self, rule: dict[str, Any], place: str) -> Reader:
        column = str(rule["column"])
        tests = [name for name in ("present", "equals", "matches") if name in rule]
        if len(tests) != 1:
            raise self.fail(place, "exactly one of present, equals, matches is needed")
        if tests == ["present"]:
            wanted = bool(rule["present"])
            return lambda row: bool(_word(row, column)) is wanted
        if tests == ["equals"]:
            value = str(rule["equals"])
            return lambda row: _word(row, column) == value
        patterns = rule["matches"] if isinstance(rule["matches"], list) else [rule["matches"]]
        try:
            compiled = [re.compile(str(pattern)) for pattern in patterns]
        except re.error as error:
            raise self.fail(place, f"not a regular expression ({error})") from None
        return lambda row: any(pattern.search(_word(row, column)) for pattern in compiled)

    def item(self, name: str, value: object) -> Items:
        place = f"items.{name}"
        nested = {column.name: column for column in self.contract.columns if column.items}
        if name not in nested:
            raise self.fail("items", f"no nested column '{name}'; allowed: {', '.join(nested) or 'none'}")
        given = self.keys(value, place, ("where", "columns"))
        if set(given) != {"where", "columns"}:
            raise self.fail(place, "where and columns are needed")
        where = self.keys(given["where"], f"{place}.where", ("column", "present", "equals", "matches"))
        if "column" not in where:
            raise self.fail(f"{place}.where", "column is missing")
        fields = self.fields(given["columns"], f"{place}.columns", nested[name].items)
        needs = (str(where["column"]), *(need for _, mapped in fields for need in mapped.needs))
        return Items(nested[name], self.test(where, f"{place}.where"), fields, needs)


def _plain_column(name: str) -> Mapped:
    return Mapped(lambda row: row.get(name), (name,))


def _joined(names: tuple[str, ...], separator: str) -> Mapped:
    """The parts with the separator between them; None when all are empty."""

    def read(row: Mapping[str, Any]) -> str | None:
        parts = [_word(row, name) for name in names]
        return separator.join(parts) if any(parts) else None

    return Mapped(read, names)


def _word(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value).strip()


def _mapped(row: object, fields: tuple[tuple[str, Mapped], ...]) -> Any:
    if not isinstance(row, dict):
        return row
    return {name: mapped.read(row) for name, mapped in fields}


def _grouped(rows: Iterable[Any], mapping: ColumnMapping, group_by: str, zone: ZoneInfo) -> Iterator[Any]:
    """One record per group, in the order in which groups begin; unreadable and unkeyed rows as they come."""
    groups: dict[str, dict[str, Any]] = {}
    items: dict[str, dict[str, dict[Any, dict[str, Any]]]] = {}
    for row in rows:
        if not isinstance(row, dict):
            yield row
            continue
        group = _word(row, group_by)
        if not group:
            yield Bad("missing_key", f"{group_by} is empty")
            continue
        if group not in groups:
            groups[group] = _mapped(row, mapping.fields)
            items[group] = {}
        for spec in mapping.items:
            if spec.matches(row):
                _add_item(items[group].setdefault(spec.column.name, {}), spec, _mapped(row, spec.fields), zone)
    sources = {spec.column.name: spec.column.source or "" for spec in mapping.items}
    for group, record in groups.items():
        for name, found in items[group].items():
            record[sources[name]] = list(found.values())
        yield record


def _add_item(found: dict[Any, dict[str, Any]], spec: Items, item: dict[str, Any], zone: ZoneInfo) -> None:
    """Rows with the same id are one item (start and end of one step): the earliest stays."""
    identity = next((column.source or "" for column in spec.column.items if column.required), "")
    key = item.get(identity)
    timed = next((c.source for c in spec.column.items if c.type == "timestamptz" and item.get(c.source or "")), None)
    if key in (None, ""):
        found[object()] = item  # no id: kept, and refused later with its dossier
    elif key not in found or (timed and _earlier(item[timed], found[key].get(timed), zone)):
        found[key] = item


def _earlier(one: object, other: object, zone: ZoneInfo) -> bool:
    try:
        first, second = moment(one, zone)[0], moment(other, zone)[0]
    except Bad:
        return False
    return first is not None and (second is None or first < second)
