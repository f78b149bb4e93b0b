"""Data contracts of the feeds (`expectations/contracts/<feed>.yaml`, Open Data Contract Standard v3), read strictly.

Light on purpose: DAG files import this module when they are parsed, so it needs YAML and dataclasses only. What the
standard has no word for stands in `customProperties`; every word used there is listed here, and another one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import yaml

from hailong.errors import PermanentError, UsageError

# physicalType (a PostgreSQL type) and the logicalType that the standard wants beside it.
TYPES = {
    "text": "string",
    "integer": "integer",
    "bigint": "integer",
    "numeric": "number",
    "boolean": "boolean",
    "date": "date",
    "timestamptz": "timestamp",
    "jsonb": "array",
}
FEED_KINDS = ("event", "register")
PRIVACY_CLASSES = ("public", "internal", "restricted")
DELETIONS = ("absence", "none")
DAY_KINDS = {"workingDay": "working_day", "dayOff": "day_off"}
MAX_LENGTH = 4000  # characters of a text column, where the contract says nothing else
MAX_DELETE_SHARE = 0.005
RESERVED = ("batch_id", "record_key", "op", "version_hash", "seq")
# libyaml's, ten times as fast, where PyYAML was built with it: every command and every parse of the DAGs reads contracts.
FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_CRON = re.compile(r"\S+ \S+ \S+ \S+ \S+")


@dataclass(frozen=True)
class Codes:
    """A coded column: its values must stand in the code map (`check`), which says what they mean."""

    system: str
    kind: str
    check: bool


@dataclass(frozen=True)
class Column:
    """One column of the raw table, and where it comes from."""

    name: str
    type: str
    description: str
    source: str | None = None
    required: bool = False
    key_position: int = 0
    hashed: bool = True
    codes: Codes | None = None
    flag: tuple[tuple[str, str], ...] = ()
    precision_of: str | None = None
    reject_rule: str | None = None
    items: tuple[Column, ...] = ()
    pseudonym: bool = False
    max_length: int = MAX_LENGTH


@dataclass(frozen=True)
class PagedHttp:
    """A service that answers page by page and declares a total; `page_echo_field` repeats the page asked for."""

    system: str
    method: str
    path: str
    page_field: str
    size_field: str
    page_size: int
    items_field: str
    total_field: str
    since_field: str | None = None
    until_field: str | None = None
    error_field: str | None = None
    message_field: str | None = None
    page_echo_field: str | None = None
    requests_per_second: float | None = None


@dataclass(frozen=True)
class PortalWindows:
    """The portal's evaluation API: a snapshot per window.

    `group` answers for any days and is asked for our own periods; `calendar_groups` know calendar months, quarters and
    years only. Windows that end before `legacy_until` are asked from the API of that time.
    """

    system: str
    path: str
    group: str
    root_department_id: str
    page_size: int
    metric_version: str
    calendar_groups: tuple[str, ...] = ()
    legacy_path: str | None = None
    legacy_service: str | None = None
    legacy_metric_version: str | None = None
    legacy_until: str | None = None
    requests_per_second: float | None = None


@dataclass(frozen=True)
class FileDrop:
    """Files that a person or a system puts into a folder (a path or an fsspec URI)."""

    system: str
    pattern: str
    sheet: str | None = None
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True)
class SqlView:
    """A view of a city database, read only, in the order of `order_by`; `since_column` is the cursor."""

    system: str
    view: str
    order_by: tuple[str, ...]
    page_size: int
    since_column: str | None = None


Connector = PagedHttp | PortalWindows | FileDrop | SqlView
CONNECTORS: dict[str, type[PagedHttp] | type[PortalWindows] | type[FileDrop] | type[SqlView]] = {
    "paged_http": PagedHttp,
    "portal_windows": PortalWindows,
    "file_drop": FileDrop,
    "sql_view": SqlView,
}


@dataclass(frozen=True)
class Contract:
    """A feed: its columns, where it comes from, when it is due, who owns it.

    `closes_period`: indices are counted from it, so no edition of a period before it was read up to the period's end.
    """

    feed: str
    version: str
    kind: str
    description: str
    owner: str
    schedule: str
    due: str
    freshness_hours: float
    connector: Connector
    columns: tuple[Column, ...]
    personal: tuple[str, ...]
    window_columns: tuple[str, ...]
    lookback_days: int
    initial_since: str | None
    chunk_days: int
    deletions: str
    max_delete_share: float
    retention_months: int
    privacy_class: str
    expected_rows: dict[str, tuple[float, float]] | None
    ignored: tuple[str, ...]
    closes_period: bool
    path: Path

    @property
    def keys(self) -> tuple[Column, ...]:
        """Key columns in the order in which they make the record key."""
        return tuple(sorted((c for c in self.columns if c.key_position), key=lambda c: c.key_position))

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    @property
    def cursor(self) -> Column | None:
        """The column by which the source answers what changed since; None where it cannot."""
        asks = getattr(self.connector, "since_field", None) or getattr(self.connector, "since_column", None)
        return self.column(self.window_columns[0]) if asks and self.window_columns else None

    @property
    def pseudonyms(self) -> tuple[Column, ...]:
        """Columns that hold a person under a pseudonym."""
        return tuple(column for column in self.columns if column.pseudonym)


def load_contracts(folder: Path) -> dict[str, Contract]:
    """All contracts of a folder by feed; PermanentError when there is none or one is wrong."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise PermanentError(f"no contract (*.yaml) in {folder}: check HAILONG_CONTRACTS or the installation")
    return {contract.feed: contract for contract in map(load_contract, paths)}


def find_contract(folder: Path, feed: str) -> Contract:
    """The contract of a feed; UsageError names the feeds there are."""
    path = folder / f"{feed}.yaml"
    if not _NAME.fullmatch(feed) or not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise UsageError(f"unknown feed '{feed}': the contracts in {folder} are {known}")
    return load_contract(path)


def load_contract(path: Path) -> Contract:
    """Read and check one contract; PermanentError names the file, the place in it and what is allowed there."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=FAST_LOADER)
    except OSError as error:
        raise PermanentError(f"contract {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise PermanentError(
            f"contract {path.name}{place}: not valid YAML ({getattr(error, 'problem', error)})"
        ) from error
    return _Reader(path).contract(document)


@dataclass(frozen=True)
class _Reader:
    """Reads one document; every complaint carries the file and the place."""

    path: Path

    def fail(self, place: str, problem: str) -> PermanentError:
        return PermanentError(f"contract {self.path.name}, {place}: {problem}")

    def mapping(self, value: object, place: str, allowed: Mapping[str, bool]) -> dict[str, Any]:
        """`value` as a mapping whose keys are all allowed; those allowed with True must be there."""
        if not isinstance(value, dict):
            raise self.fail(place, f"expected a mapping, found {type(value).__name__}")
        for key in value:
            if key not in allowed:
                raise self.fail(place, f"unknown key '{key}'; allowed: {', '.join(allowed)}")
        missing = [key for key, needed in allowed.items() if needed and value.get(key) is None]
        if missing:
            raise self.fail(place, f"missing {', '.join(missing)}")
        return value

    def text(self, value: object, place: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.fail(place, f"expected a text, found {value!r}")
        return value.strip()

    def texts(self, value: object, place: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise self.fail(place, f"expected a list of texts, found {type(value).__name__}")
        return tuple(self.text(item, place) for item in value)

    def integer(self, value: object, place: str, least: int = 1) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.fail(place, f"expected a whole number of at least {least}, found {value!r}")
        return value

    def boolean(self, value: object, place: str) -> bool:
        if not isinstance(value, bool):
            raise self.fail(place, f"expected true or false, found {value!r}")
        return value

    def one_of(self, value: object, place: str, allowed: tuple[str, ...]) -> str:
        if value not in allowed:
            raise self.fail(place, f"unknown value {value!r}; allowed: {', '.join(allowed)}")
        return str(value)

    def custom(self, value: object, place: str, allowed: Mapping[str, bool]) -> dict[str, Any]:
        """The `customProperties` list as a mapping property → value."""
        found: dict[str, Any] = {}
        if not isinstance(value or [], list):
            raise self.fail(place, "customProperties is a list of {property, value}")
        for entry in value or []:  # type: ignore[attr-defined]
            entry = self.mapping(entry, place, {"property": True, "value": True, "description": False})
            if entry["property"] in found:
                raise self.fail(place, f"'{entry['property']}' stands twice")
            found[entry["property"]] = entry["value"]
        return self.mapping(found, f"{place}, customProperties", allowed)

    def contract(self, document: object) -> Contract:
        top = self.mapping(document, "top level", _TOP)
        if not str(top["apiVersion"]).startswith("v3.") or top["kind"] != "DataContract":
            raise self.fail("top level", "apiVersion v3.* and kind DataContract are needed")
        feed = self.text(top["id"], "id")
        if feed != self.path.stem or not _NAME.fullmatch(feed):
            raise self.fail("id", f"'{feed}' must be the file's name without .yaml, in lower_case")
        described = self.mapping(
            top["description"], "description", {"purpose": True, "usage": False, "limitations": False}
        )
        team = self.mapping(top["team"], "team", {"name": True, "description": False, "members": False})
        schemas = top["schema"]
        if not isinstance(schemas, list) or len(schemas) != 1:
            raise self.fail("schema", "exactly one table is described")
        table = self.mapping(schemas[0], "schema[0]", _TABLE)
        if table["name"] != feed or table["physicalName"] != f"raw.{feed}":
            raise self.fail("schema[0]", f"name and physicalName must be '{feed}' and 'raw.{feed}'")
        custom = self.custom(top["customProperties"], "top level", _CONTRACT_WORDS)
        connector = self.connector(custom["connector"])
        columns = self.columns(table["properties"], "schema", connector.system)
        kind = self.one_of(custom["feedKind"], "feedKind", FEED_KINDS)
        personal = self.texts(custom.get("personalFields") or [], "personalFields")
        window = self.texts(custom.get("windowColumns") or [], "windowColumns")
        self.check_columns(columns, kind, personal, window)
        sla = self.service_level(top["slaProperties"])
        return Contract(
            feed=feed,
            version=self.text(top["version"], "version"),
            kind=kind,
            description=self.text(described["purpose"], "description.purpose"),
            owner=self.text(team["name"], "team.name"),
            schedule=sla[0],
            due=sla[1],
            freshness_hours=sla[2],
            connector=connector,
            columns=columns,
            personal=personal,
            window_columns=window,
            lookback_days=self.integer(custom.get("lookbackDays", 45), "lookbackDays", least=0),
            initial_since=None if custom.get("initialSince") is None else str(custom["initialSince"]),
            chunk_days=self.integer(custom.get("chunkDays", 31), "chunkDays"),
            deletions=self.deletions(custom.get("deletions"), connector, kind),
            max_delete_share=self.share(custom.get("maxDeleteShare", MAX_DELETE_SHARE), "maxDeleteShare"),
            retention_months=self.integer(custom["retentionMonths"], "retentionMonths"),
            privacy_class=self.one_of(custom["privacyClass"], "privacyClass", PRIVACY_CLASSES),
            expected_rows=self.expected_rows(custom.get("expectedRows")),
            ignored=self.texts(custom.get("ignoredFields") or [], "ignoredFields"),
            closes_period=self.boolean(custom.get("closesPeriod", False), "closesPeriod"),
            path=self.path,
        )

    def connector(self, value: object) -> Connector:
        if not isinstance(value, dict) or "kind" not in value:
            raise self.fail("connector", f"expected a mapping with kind; allowed: {', '.join(CONNECTORS)}")
        kind = self.one_of(value["kind"], "connector.kind", tuple(CONNECTORS))
        wanted = CONNECTORS[kind].__dataclass_fields__
        options = {_camel(name): _is_required(field.default) for name, field in wanted.items()}
        given = self.mapping(value, "connector", {"kind": True} | options)
        values: dict[str, Any] = {}
        for name, field in wanted.items():
            raw, place = given.get(_camel(name)), f"connector.{_camel(name)}"
            if raw is None:
                continue
            readers: dict[str, Callable[[object, str], Any]] = {
                "int": self.integer, "float | None": self.positive, "tuple[str, ...]": self.texts,
            }  # fmt: skip
            values[name] = readers.get(str(field.type), self.text)(raw, place)
        if values.get("method", "GET") not in ("GET", "POST"):
            raise self.fail("connector.method", f"unknown method '{values['method']}'; allowed: GET, POST")
        return CONNECTORS[kind](**values)

    def columns(self, value: object, place: str, system: str) -> tuple[Column, ...]:
        if not isinstance(value, list) or not value:
            raise self.fail(place, "properties must list at least one column")
        columns = tuple(self.column(item, place, system) for item in value)
        names = [column.name for column in columns]
        for name in names:
            if names.count(name) > 1:
                raise self.fail(place, f"column '{name}' stands twice")
        for column in columns:
            if column.precision_of and (column.precision_of not in names or column.type != "boolean"):
                raise self.fail(
                    f"{place}.{column.name}",
                    f"precisionOf names no column '{column.precision_of}'; columns: {', '.join(names)}",
                )
        return columns

    def column(self, value: object, place: str, system: str) -> Column:
        given = self.mapping(value, place, _PROPERTY)
        name = self.text(given["name"], place)
        place = f"{place}.{name}"
        if not _NAME.fullmatch(name) or (name in RESERVED and place.count(".") == 1):
            raise self.fail(place, f"not a usable column name (lower_case, none of {', '.join(RESERVED)})")
        kind = self.one_of(given["physicalType"], f"{place}.physicalType", tuple(TYPES))
        self.one_of(given["logicalType"], f"{place}.logicalType", (TYPES[kind],))
        custom = self.custom(given.get("customProperties"), place, _COLUMN_WORDS)
        origins = [word for word in ("sourceField", "precisionOf", "flag") if custom.get(word) is not None]
        if len(origins) != 1:
            raise self.fail(place, "exactly one of sourceField, precisionOf, flag says where the column comes from")
        if custom.get("flag") is not None and kind != "boolean":
            raise self.fail(place, "a flag is boolean")
        pseudonym = self.boolean(custom.get("pseudonym", False), f"{place}.pseudonym")
        if pseudonym and (kind != "text" or place.count(".") > 1 or given.get("primaryKey")):
            raise self.fail(place, "a pseudonym is a text column of the record itself and no key")
        items: tuple[Column, ...] = ()
        if kind == "jsonb":
            inner = self.mapping(given.get("items"), f"{place}.items", {"logicalType": True, "properties": True})
            items = self.columns(inner["properties"], f"{place}.items", system)
        elif given.get("items") is not None:
            raise self.fail(place, "only a jsonb column has items")
        is_key = self.boolean(given.get("primaryKey", False), f"{place}.primaryKey")
        return Column(
            name=name,
            type=kind,
            description=self.text(given["description"], f"{place}.description"),
            source=None
            if custom.get("sourceField") is None
            else self.text(custom["sourceField"], f"{place}.sourceField"),
            required=self.boolean(given.get("required", False), f"{place}.required") or is_key,
            key_position=self.integer(given.get("primaryKeyPosition", 1), f"{place}.primaryKeyPosition")
            if is_key
            else 0,
            hashed=self.boolean(custom.get("hashed", True), f"{place}.hashed") and not pseudonym,
            codes=self.codes(custom.get("codes"), place, system),
            flag=self.flag(custom.get("flag"), place),
            precision_of=custom.get("precisionOf"),
            reject_rule=custom.get("rejectRule"),
            items=items,
            pseudonym=pseudonym,
            max_length=self.integer(custom.get("maxLength", MAX_LENGTH), f"{place}.maxLength"),
        )

    def codes(self, value: object, place: str, system: str) -> Codes | None:
        if value is None:
            return None
        given = self.mapping(value, f"{place}.codes", {"kind": True, "system": False, "check": False})
        return Codes(
            system=given.get("system") or system,
            kind=self.text(given["kind"], f"{place}.codes.kind"),
            check=self.boolean(given.get("check", True), f"{place}.codes.check"),
        )

    def flag(self, value: object, place: str) -> tuple[tuple[str, str], ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise self.fail(f"{place}.flag", "expected a list of {field, matches}")
        rules = []
        for entry in value:
            given = self.mapping(entry, f"{place}.flag", {"field": True, "matches": True})
            try:
                re.compile(given["matches"])
            except (re.error, TypeError) as error:
                raise self.fail(
                    f"{place}.flag", f"{given['matches']!r} is not a regular expression ({error})"
                ) from error
            rules.append((self.text(given["field"], f"{place}.flag.field"), str(given["matches"])))
        return tuple(rules)

    def check_columns(
        self, columns: tuple[Column, ...], kind: str, personal: tuple[str, ...], window: tuple[str, ...]
    ) -> None:
        names = {column.name: column for column in columns}
        if not any(column.key_position for column in columns):
            raise self.fail("schema", "no column is the primaryKey")
        for column in columns:
            passes = column.source in personal and not column.pseudonym
            if passes or any(item.source in personal for item in column.items):
                raise self.fail(
                    f"schema.{column.name}", "a personal field may feed a flag or a pseudonym, never a plain column"
                )
        for name in window:
            if name not in names or names[name].type not in ("date", "timestamptz"):
                dated = [column.name for column in columns if column.type in ("date", "timestamptz")]
                raise self.fail("windowColumns", f"no date column '{name}'; allowed: {', '.join(dated)}")
        if kind == "event" and not window:
            raise self.fail("windowColumns", "an event feed names the columns that its window is read from")

    def deletions(self, value: object, connector: Connector, kind: str) -> str:
        """How deletions are noticed: files say nothing of what is gone, everything else is read whole or by cursor."""
        if value is None:
            return "none" if isinstance(connector, FileDrop) else "absence"
        if value == "absence" and isinstance(connector, FileDrop):
            raise self.fail("deletions", "a dropped file holds what is new, not what there is: only 'none' is possible")
        return self.one_of(value, "deletions", DELETIONS)

    def expected_rows(self, value: object) -> dict[str, tuple[float, float]] | None:
        """(least, most) rows of a day by kind of day, as multiples of the median of such days; None: no expectation."""
        if value is None:
            return None
        given = self.mapping(value, "expectedRows", dict.fromkeys(DAY_KINDS, True))
        found = {}
        for word, kind in DAY_KINDS.items():
            bounds = given[word]
            if not isinstance(bounds, list) or len(bounds) != 2:
                raise self.fail(f"expectedRows.{word}", "expected [least, most]")
            least, most = (self.positive(bound, f"expectedRows.{word}", least=0) for bound in bounds)
            if least >= most:
                raise self.fail(f"expectedRows.{word}", f"{least} is not less than {most}")
            found[kind] = (least, most)
        return found

    def share(self, value: object, place: str) -> float:
        found = self.positive(value, place, least=0)
        if found > 1:
            raise self.fail(place, f"a share is 0 to 1, found {value!r}")
        return found

    def positive(self, value: object, place: str, least: float | None = None) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0 or (least is None and not value):
            raise self.fail(place, f"expected a number above zero, found {value!r}")
        return float(value)

    def service_level(self, value: object) -> tuple[str, str, float]:
        """(cron schedule in local time, time of day when due, hours after which the feed is stale)."""
        found: dict[str, dict[str, Any]] = {}
        if not isinstance(value, list):
            raise self.fail("slaProperties", "expected a list")
        for entry in value:
            given = self.mapping(entry, "slaProperties", _SLA)
            found[self.one_of(given["property"], "slaProperties.property", _SLA_WORDS)] = given
        for word in _SLA_WORDS:
            if word not in found:
                raise self.fail("slaProperties", f"missing '{word}'; needed: {', '.join(_SLA_WORDS)}")
        schedule = self.text(found["frequency"].get("schedule"), "slaProperties.frequency.schedule")
        if not _CRON.fullmatch(schedule):
            raise self.fail("slaProperties.frequency.schedule", f"'{schedule}' is not a cron line of five fields")
        hours = found["latency"]["value"]
        if found["latency"].get("unit") != "h" or not isinstance(hours, int | float) or isinstance(hours, bool):
            raise self.fail("slaProperties.latency", "value in hours with unit h is needed")
        return (
            schedule,
            self.text(found["timeOfAvailability"]["value"], "slaProperties.timeOfAvailability"),
            float(hours),
        )


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _is_required(default: object) -> bool:
    return default is MISSING


_TOP = {
    "apiVersion": True, "kind": True, "id": True, "name": True, "version": True, "status": True, "domain": False,
    "description": True, "team": True, "schema": True, "slaProperties": True, "customProperties": True, "tags": False,
}  # fmt: skip
_TABLE = {
    "name": True, "physicalName": True, "physicalType": False, "logicalType": False, "description": False,
    "dataGranularityDescription": False, "properties": True,
}  # fmt: skip
_PROPERTY = {
    "name": True, "logicalType": True, "physicalType": True, "description": True, "required": False,
    "primaryKey": False, "primaryKeyPosition": False, "items": False, "customProperties": True,
    "classification": False, "examples": False,
}  # fmt: skip
_SLA = {
    "property": True, "value": True, "unit": False, "schedule": False, "scheduler": False, "description": False,
    "element": False,
}  # fmt: skip
_SLA_WORDS = ("frequency", "timeOfAvailability", "latency")
_CONTRACT_WORDS = {
    "feedKind": True, "connector": True, "personalFields": False, "windowColumns": False, "lookbackDays": False,
    "initialSince": False, "chunkDays": False, "deletions": False, "maxDeleteShare": False, "retentionMonths": True,
    "privacyClass": True, "expectedRows": False, "ignoredFields": False, "closesPeriod": False,
}  # fmt: skip
_COLUMN_WORDS = {
    "sourceField": False, "precisionOf": False, "flag": False, "codes": False, "hashed": False, "rejectRule": False,
    "pseudonym": False, "maxLength": False,
}  # fmt: skip
