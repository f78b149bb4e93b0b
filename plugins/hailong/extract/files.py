"""Dropped files (CSV, XLSX, Parquet, JSON, or one saved answer of a service) as source records of a contract.

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

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import yaml

from hailong.contracts import Column, Contract, FileDrop, PagedHttp, PortalWindows
from hailong.errors import PermanentError, UsageError
from hailong.extract.formats import (
    CHUNK,
    SAMPLE,
    Layout,
    composed_names,
    open_text,
    read_csv,
    read_lines,
    read_parquet,
    read_xlsx,
)
from hailong.extract.portal import Window, records_of
from hailong.extract.records import Bad, composed, moment

FORMATS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".jsonl", ".ndjson", ".json")
MOST_JSON = 256 << 20  # bytes: such a file is held in memory
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
    encoding: str | None = None
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
            raise PermanentError(f"{self.path.name}: unknown kind of file; readable are {', '.join(FORMATS)}")
        if suffix == ".json" and not _holds_lines(self.path):
            return self._answer()
        rows = self._rows(suffix)
        return rows if self.mapping is None else self._under_mapping(rows, self.mapping)

    def _rows(self, suffix: str) -> Iterator[Any]:
        if suffix in (".csv", ".tsv", ".txt"):
            return read_csv(self.path, self.layout)
        if suffix == ".xlsx":
            return read_xlsx(self.path, self.layout)
        if suffix == ".parquet":
            return read_parquet(self.path, self.layout)
        return read_lines(self.path, self.layout, is_mapped=self.mapping is not None)

    def _under_mapping(self, rows: Iterable[Any], mapping: ColumnMapping) -> Iterator[Any]:
        if mapping.group_by:
            return _grouped(rows, mapping, mapping.group_by, self.zone)
        return (_mapped(row, mapping.fields) for row in rows)

    @cached_property
    def layout(self) -> Layout:
        """What the mapping, else the contract, expects of the file."""
        if self.mapping:
            sheet = self.mapping.sheet or getattr(self.contract.connector, "sheet", None)
            return Layout(
                needed=self.mapping.needs,
                known=self.mapping.needs,
                origin=f"mapping {self.mapping.name}",
                hint="correct the mapping",
                encoding=self.mapping.encoding,
                delimiter=self.mapping.delimiter,
                sheet=sheet,
            )
        columns = [column for column in self.contract.columns if column.source]
        flags = (field for column in self.contract.columns for field, _ in column.flag)
        connector = self.contract.connector if isinstance(self.contract.connector, FileDrop) else None
        return Layout(
            # Without the bookkeeping fields a file is still readable.
            needed=tuple(column.source or "" for column in columns if column.hashed),
            known=tuple(dict.fromkeys([*(c.source or "" for c in columns), *flags, *self.contract.personal])),
            origin=f"contract {self.contract.path.name}",
            hint="correct the file, or give a --mapping",
            numbers=frozenset(column.source or "" for column in columns if column.type == "numeric"),
            days=frozenset(column.source or "" for column in columns if column.type in ("date", "timestamptz")),
            encoding=connector.encoding if connector else None,
            delimiter=connector.delimiter if connector else None,
            sheet=connector.sheet if connector else None,
        )

    def _answer(self) -> Iterable[Any]:
        """One saved answer of the feed's service, or a list of records."""
        if self.path.stat().st_size > MOST_JSON:
            raise PermanentError(
                f"{self.path.name} is larger than {MOST_JSON >> 20} MB: write one record a line and call it .jsonl"
            )
        try:
            with open_text(self.path, None) as handle:
                answer = orjson.loads(handle.read())
        except orjson.JSONDecodeError:
            raise PermanentError(f"{self.path.name} is not JSON (one record a line is called .jsonl)") from None
        connector = self.contract.connector
        if isinstance(answer, list):
            records = [composed_names(record, self.layout) for record in answer]
            return records if self.mapping is None else self._under_mapping(records, self.mapping)
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
        raise PermanentError(f"{self.path.name} is not an answer of the service of '{self.contract.feed}'")


def last_day(until: datetime, zone: ZoneInfo) -> date:
    """The local day that an exclusive end closes."""
    return (until.astimezone(zone) - timedelta(microseconds=1)).date()


def _holds_lines(path: Path) -> bool:
    """Whether a file called .json is one record a line: its first line is a record, and it is not the only one."""
    with open_text(path, None) as handle:
        first, second = handle.readline(SAMPLE), handle.readline(SAMPLE)
    try:
        return bool(second.strip()) and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


# -- mapping ----------------------------------------------------------------------------------------------------------


def load_mapping(path: Path, contract: Contract) -> ColumnMapping:
    """Read a mapping file; UsageError names the file, the key and what is allowed."""
    try:
        document = yaml.safe_load(unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig")))
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
            encoding=layout.get("encoding"),
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
    return "" if value is None else composed(value).strip()


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
