"""From what a source sent to typed rows of the contract, or to a reject that says what was wrong.

This is the door: fields outside the contract, and personal ones, are not copied past it. A reject carries only
contract fields, and of a value that could not be read only its shape: anything may stand in a field filled wrongly.

Rules of a reject: unreadable_record, missing_key, bad_key, missing_required, wrong_type, bad_text, too_long, bad_number,
bad_boolean, bad_date, unknown_code, and the rule that the contract names for a nested list (bad_supplement, bad_metric).

The version hash: SHA-256 of the hashed columns that are not empty, as `name=value` in the order of their names, separated by
NUL (no text holds one); times as microseconds of UTC. A column that is added later and stays empty makes no new version.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from hailong.contracts import Column, Contract
from hailong.errors import PermanentError
from hailong.extract.privacy import Pseudonyms, is_pseudonym

PAYLOAD_LIMIT = 20_000  # a payload that was cut cannot be replayed
KEY_LIMIT = 500  # a key must fit into an index row
CodeMap = Mapping[tuple[str, str], frozenset[str]]

_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SAFE_DATE = re.compile(r"\d{8}|\d{14}|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T][\d:.+Z-]{0,25})?")
_CODE = re.compile(r"[A-Za-z0-9._/-]{1,40}")
_PERSONAL_NUMBER = re.compile(r"(?<!\d)\d{9,12}(?!\d)")  # identity cards have 9 or 12 digits, phones 10 or 11
_TRUE = frozenset({"true", "1", "có", "x", "yes"})
_FALSE = frozenset({"false", "0", "không", "no"})
_INT64 = 2**63
_DIGITS = 60  # of a decimal
_EXACT = Context(prec=2 * _DIGITS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Bad(Exception):
    """A value that cannot be read: rule and detail of the reject."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


@dataclass(frozen=True)
class Row:
    """A readable record: values in the order of the contract's columns."""

    key: str
    op: str
    version_hash: str
    values: list[Any]


@dataclass(frozen=True)
class Reject:
    """An unreadable record."""

    key: str | None
    rule: str
    detail: str
    payload: str


Moment = tuple[datetime | None, bool | None]
Step = Callable[[Mapping[str, Any], list[Any]], None]


class Converter:
    """Turns source records of one feed into rows; compiled once, called per record.

    `codes` are the source codes known to the current code map by (system, kind); None switches the check off, for
    feeds that have no code map yet. Dates without offset are read in `timezone`.
    """

    def __init__(
        self,
        contract: Contract,
        timezone: str,
        codes: CodeMap | None = None,
        pseudonyms: Pseudonyms | None = None,
        only_keys: bool = False,
    ) -> None:
        self.columns = contract.columns
        self.contract = contract
        self.only_keys = only_keys
        self.pseudonyms = pseudonyms
        self._zone = ZoneInfo(timezone)
        self.codes = codes
        self._contract = contract
        self._steps = _compile(self, contract.columns, native=True)
        self._names = [column.name for column in contract.columns]
        self._keys = [(self._names.index(column.name), column) for column in contract.keys]
        self._hashed = sorted((c.name, i, c.type) for i, c in enumerate(contract.columns) if is_versioned(c))
        self._tombstone = hashlib.sha256(b"deleted").hexdigest()

    def convert(self, record: object, op: str = "upsert") -> Row | Reject:
        """One source record to a row, or to a reject."""
        if not isinstance(record, dict):
            return Reject(None, "unreadable_record", f"expected an object, got {_kind(record)}", "")
        values: list[Any] = [None] * len(self._names)
        try:
            if op == "delete":
                self._fill_keys(record, values)
                return Row(self._key(values), op, self._tombstone, values)
            if self.only_keys:
                self._fill_keys(record, values)
                return Row(self._key(values), op, "", values)
            for step in self._steps:
                step(record, values)
            key = self._key(values)
        except Bad as bad:
            return Reject(self._try_key(record), bad.rule, bad.detail, self._payload(record))
        told = [f"{name}={hash_text(value)}" for name, i, _ in self._hashed if (value := values[i]) is not None]
        return Row(key, op, hashlib.sha256("\0".join(told).encode()).hexdigest(), values)

    def _key(self, values: list[Any]) -> str:
        parts = []
        for index, column in self._keys:
            if values[index] is None:
                raise Bad("missing_key", f"{column.source} is empty")
            parts.append(str(values[index]))
        key = "|".join(parts)
        if len(key) > KEY_LIMIT:
            raise Bad("bad_key", f"the key has {len(key)} characters, at most {KEY_LIMIT} are taken")
        return key

    def _fill_keys(self, record: Mapping[str, Any], values: list[Any]) -> None:
        for index, _ in self._keys:
            self._steps[index](record, values)

    def _try_key(self, record: Mapping[str, Any]) -> str | None:
        values: list[Any] = [None] * len(self._names)
        try:
            self._fill_keys(record, values)
            return self._key(values)
        except Bad:
            return None

    def _payload(self, record: Mapping[str, Any]) -> str:
        """Contract fields only; flags and pseudonyms under their column names, so that a replay knows them again."""
        kept = self._minimised(record, self._contract.columns)
        for column, step in zip(self.columns, self._steps, strict=True):
            if column.flag or (column.pseudonym and self.pseudonyms):  # a census reads no person and needs no key
                values: list[Any] = [None] * len(self._names)
                try:
                    step(record, values)
                except Bad:
                    continue
                kept[column.name] = values[self._names.index(column.name)]
        found = orjson.dumps(kept).decode()
        return (
            found
            if len(found) <= PAYLOAD_LIMIT
            else '{"truncated": true, "start": ' + orjson.dumps(found[:2000]).decode() + "}"
        )

    def _minimised(self, record: Mapping[str, Any], columns: tuple[Column, ...]) -> dict[str, Any]:
        """Contract fields of a record as they came where they are readable, else their shape."""
        kept: dict[str, Any] = {}
        for column in columns:
            if column.source is None or column.pseudonym or record.get(column.source) is None:
                continue
            value = record[column.source]
            if column.items:
                inner = value if isinstance(value, list) else []
                kept[column.source] = [
                    self._minimised(item, column.items) if isinstance(item, dict) else _kind(item) for item in inner
                ]
                continue
            if not self._readable(column, value):
                kept[column.source] = _shape(value)
            elif column.codes is not None and not self._known(column, value):
                kept[column.source] = _code_or_shape(value)
            else:
                kept[column.source] = _plain(value)
        return kept

    def _known(self, column: Column, value: object) -> bool:
        codes = column.codes
        return codes is not None and value in (self.codes or {}).get((codes.system, codes.kind), frozenset())

    def _readable(self, column: Column, value: object) -> bool:
        try:
            found = self.scalar(column)(value)
        except Bad:
            return False
        return not isinstance(found, str) or problem_of_text(found, column.max_length) is None

    # -- compilation ------------------------------------------------------------------------------------------------

    def scalar(self, column: Column) -> Callable[[Any], Any]:
        """The reader of one value of a column's type: value → typed value, or Bad."""
        readers: dict[str, Callable[[Any], Any]] = {
            "text": text,
            "integer": lambda value: whole(value, 2**31),
            "bigint": lambda value: whole(value, _INT64),
            "numeric": number,
            "boolean": boolean,
            "date": lambda value: day(value, self._zone),
            "timestamptz": lambda value: moment(value, self._zone)[0],
        }
        return readers[column.type]

    def known(self, column: Column) -> frozenset[str] | None:
        """The codes that a column may hold; None when any may stand there."""
        if column.codes is None or not column.codes.check or self.codes is None:
            return None
        return self.codes.get((column.codes.system, column.codes.kind), frozenset())

    def item_steps(self, column: Column) -> list[Step]:
        """The readers of the items of a nested list."""
        return _compile(self, column.items, native=False)

    @property
    def zone(self) -> ZoneInfo:
        return self._zone

    def step(self, name: str) -> tuple[Step, int]:
        """The reader of one column, and the column's place."""
        index = self._names.index(name)
        return self._steps[index], index


def _compile(converter: Converter, columns: tuple[Column, ...], native: bool) -> list[Step]:
    """One step per column: it reads its field and writes its value (a precision column is written by its twin)."""
    places = {column.name: index for index, column in enumerate(columns)}
    twins = {column.precision_of: places[column.name] for column in columns if column.precision_of}
    steps: list[Step] = []
    for index, column in enumerate(columns):
        if column.flag:
            steps.append(_flag_step(column, index))
        elif column.pseudonym:
            steps.append(_pseudonym_step(converter, column, index))
        elif column.precision_of:
            steps.append(_nothing)
        elif column.items:
            steps.append(_list_step(converter, column, index))
        elif column.type == "timestamptz":
            steps.append(_moment_step(converter, column, index, twins.get(column.name), native))
        else:
            steps.append(_scalar_step(converter, column, index))
    return steps


def _nothing(record: Mapping[str, Any], values: list[Any]) -> None:
    return None


def _scalar_step(converter: Converter, column: Column, index: int) -> Step:
    read, known = converter.scalar(column), converter.known(column)
    field, required, is_key = column.source or "", column.required, bool(column.key_position)
    codes, is_text, longest = column.codes, column.type == "text", column.max_length

    def step(record: Mapping[str, Any], values: list[Any]) -> None:
        raw = record.get(field)
        value = None
        if raw is not None:
            try:
                value = read(raw)
            except Bad as bad:
                raise Bad(bad.rule, f"{field}: {bad.detail}") from None
        if value is None:
            if required:
                raise Bad("missing_key" if is_key else "missing_required", f"{field} is empty")
            return
        if is_text and (problem := problem_of_text(value, longest)) is not None:
            raise Bad(problem[0], f"{field}: {problem[1]}")
        if known is not None and value not in known and codes is not None:
            raise Bad(
                "unknown_code",
                f"{field}: code '{_code_or_shape(value)}' of kind {codes.kind} is not in the code map of {codes.system}",
            )
        values[index] = value

    return step


def _moment_step(converter: Converter, column: Column, index: int, twin: int | None, native: bool) -> Step:
    field, required, zone = column.source or "", column.required, converter.zone

    def step(record: Mapping[str, Any], values: list[Any]) -> None:
        raw = record.get(field)
        at: datetime | None = None
        is_date: bool | None = None
        if raw is not None:
            try:
                at, is_date = moment(raw, zone)
            except Bad as bad:
                raise Bad(bad.rule, f"{field}: {bad.detail}") from None
        if at is None:
            if required:
                raise Bad("missing_required", f"{field} is empty")
            return
        values[index] = at if native else at.isoformat()
        if twin is not None:
            values[twin] = is_date

    return step


def flag_rules(column: Column) -> list[tuple[str, Callable[[str], Any]]]:
    """(field, search) of each rule of a flag."""
    return [(field, re.compile(unicodedata.normalize("NFC", pattern)).search) for field, pattern in column.flag]


def _flag_step(column: Column, index: int) -> Step:
    rules = flag_rules(column)

    def step(record: Mapping[str, Any], values: list[Any]) -> None:
        given = record.get(column.name)
        if isinstance(given, bool):  # a mapping file may set a flag itself
            values[index] = given
            return
        values[index] = any(
            found(composed(value)) for field, found in rules if (value := record.get(field)) is not None
        )

    return step


def _pseudonym_step(converter: Converter, column: Column, index: int) -> Step:
    field, required = column.source or "", column.required

    def step(record: Mapping[str, Any], values: list[Any]) -> None:
        given = record.get(column.name)
        if is_pseudonym(given):  # a replayed payload
            values[index] = given
            return
        person = record.get(field)
        name = None
        if person is not None:
            try:
                name = text(person)
            except Bad as bad:
                raise Bad(bad.rule, f"{field}: {bad.detail}") from None
        if name is None:
            if required:
                raise Bad("missing_required", f"{field} is empty")
            return
        if converter.pseudonyms is None:
            raise PermanentError(f"{converter.contract.feed}: {field} is a person and there is no pseudonym key")
        values[index] = converter.pseudonyms.of(name)

    return step


def _list_step(converter: Converter, column: Column, index: int) -> Step:
    """A nested list: to canonical JSON text, items in a fixed order, so that another order is not another version."""
    steps = converter.item_steps(column)
    names = [item.name for item in column.items]
    field, rule = column.source or "", column.reject_rule or "bad_item"

    def step(record: Mapping[str, Any], values: list[Any]) -> None:
        raw = record.get(field)
        if isinstance(raw, str) and raw.strip():  # a cell of a file
            try:
                raw = orjson.loads(raw)
            except orjson.JSONDecodeError:
                raise Bad(rule, f"{field}: not a JSON list") from None
        if raw is None or raw == "":
            values[index] = "[]"
            return
        if not isinstance(raw, list):
            raise Bad(rule, f"{field}: expected a list, got {_kind(raw)}")
        if not raw:
            values[index] = "[]"
            return
        found = []
        for position, item in enumerate(raw, 1):
            if not isinstance(item, dict):
                raise Bad(rule, f"{field}[{position}]: expected an object, got {_kind(item)}")
            inner: list[Any] = [None] * len(names)
            try:
                for inner_step in steps:
                    inner_step(item, inner)
            except Bad as bad:
                if bad.rule == "unknown_code":
                    raise Bad(bad.rule, f"{field}[{position}].{bad.detail}") from None
                raise Bad(rule, f"{field}[{position}].{bad.detail} ({bad.rule})") from None
            found.append(inner)
        listed = sorted(orjson.dumps(dict(zip(names, inner, strict=True)), default=number_json) for inner in found)
        values[index] = f"[{b','.join(listed).decode()}]"

    return step


# -- readers of single values ---------------------------------------------------------------------------------------


def text(value: Any) -> str | None:
    """Text in NFC without surrounding blanks; blank is None. Numbers are taken as codes (1 → '1')."""
    if isinstance(value, str):
        found = value.strip()
        if not found.isascii():
            found = unicodedata.normalize("NFC", found)
            if without_halves(found) != found:
                raise Bad("bad_text", "holds half a character")
        if "\x00" in found:
            raise Bad("bad_text", "holds a null character")
        return found or None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Bad("wrong_type", f"expected a text, got {_kind(value)}")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def without_halves(value: str) -> str:
    """Text that can be written: half of a surrogate pair becomes a question mark."""
    return value.encode(errors="replace").decode()


def problem_of_text(value: str, longest: int) -> tuple[str, str] | None:
    """(rule, detail) when a text cannot be taken as it is."""
    if len(value) > longest:
        return "too_long", f"{len(value):,} characters, at most {longest:,} are taken"
    if "\ufffd" in value:
        return "bad_text", "holds bytes that are not UTF-8"
    return None


def whole(value: Any, limit: int) -> int | None:
    """A whole number within ± limit."""
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, float) and value.is_integer():
        found = int(value)
    elif isinstance(value, str):
        if not value.strip():
            return None
        try:
            found = int(value)
        except ValueError:
            raise Bad("bad_number", f"{_shape(value)!r} is not a whole number") from None
    else:
        raise Bad("bad_number", f"expected a whole number, got {_kind(value)}")
    if not -limit <= found < limit:
        raise Bad("bad_number", "the number is too large")
    return found


def number(value: Any) -> Decimal | None:
    """An exact decimal: a float from JSON counts as the digits it was written with."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise Bad("bad_number", f"expected a number, got {_kind(value)}")
    if isinstance(value, str) and not value.strip():
        return None
    try:
        found = Decimal(value.strip() if isinstance(value, str) else repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise Bad("bad_number", f"{_shape(value)!r} is not a number") from None
    if not found.is_finite() or abs(found) >= Decimal("1e30"):
        raise Bad("bad_number", "the number is not finite or too large")
    if len(found.as_tuple().digits) > _DIGITS or (found and found.adjusted() < -_DIGITS):
        raise Bad("bad_number", f"the number has more than {_DIGITS} digits")
    return found or Decimal(0)  # there is one zero


def boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = text(value)
    if word is None:
        return None
    if word.lower() in _TRUE:
        return True
    if word.lower() in _FALSE:
        return False
    raise Bad("bad_boolean", f"{_shape(word)!r} is neither true nor false")


def day(value: Any, zone: ZoneInfo) -> date | None:
    """A local date."""
    if isinstance(value, datetime):
        return (value.astimezone(zone) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    at, _ = moment(value, zone)
    return None if at is None else at.astimezone(zone).date()


def moment(value: Any, zone: ZoneInfo) -> Moment:
    """(UTC time, True when it is a date only); local unless it carries an offset; Bad('bad_date') if none such exists.

    Read: yyyyMMddHHmmss, yyyyMMdd, ISO 8601, dd/MM/yyyy[ HH:mm[:ss]].
    """
    try:
        if isinstance(value, str):
            return _moment_of_text(value, zone)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC), False
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=zone).astimezone(UTC), True
        if isinstance(value, int) and not isinstance(value, bool) and 10**7 <= value < 10**14:
            return _moment_of_text(str(value), zone)
    except (ValueError, OverflowError):
        raise Bad("bad_date", f"{_shape(value)!r} is not a date that exists") from None
    raise Bad("wrong_type", f"expected a date, got {_kind(value)}")


def _moment_of_text(value: str, zone: ZoneInfo) -> Moment:
    size = len(value)
    if size == 14 and value.isascii() and value.isdigit():
        at = datetime(
            int(value[:4]),
            int(value[4:6]),
            int(value[6:8]),
            int(value[8:10]),
            int(value[10:12]),
            int(value[12:]),
            tzinfo=zone,
        )
        return at.astimezone(UTC), False
    stripped = value.strip()
    if not stripped:
        return None, None
    if stripped != value:
        return _moment_of_text(stripped, zone)
    if size == 8 and value.isascii() and value.isdigit():
        return datetime(int(value[:4]), int(value[4:6]), int(value[6:]), tzinfo=zone).astimezone(UTC), True
    slashed = _SLASHED.fullmatch(value)
    if slashed:
        d, m, y, hour, minute, second = (int(part) if part else 0 for part in slashed.groups())
        return datetime(y, m, d, hour, minute, second, tzinfo=zone).astimezone(UTC), slashed[4] is None
    if _ISO_DATE.fullmatch(value):
        return datetime.fromisoformat(value).replace(tzinfo=zone).astimezone(UTC), True
    if value.isdigit():
        raise ValueError(value)
    at = datetime.fromisoformat(value)
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC), False


def is_versioned(column: Column) -> bool:
    """Whether another value in this column is another version of the record."""
    return column.hashed and not column.key_position


def hash_text(value: Any) -> str:
    """A typed value as the version hash reads it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str((value - _EPOCH) // _MICROSECOND)
    if isinstance(value, Decimal):
        return number_text(value)
    return str(value)


# -- shapes ---------------------------------------------------------------------------------------------------------


def number_text(value: Decimal) -> str:
    """Decimals in a hash and in a landing: 18, 18.0 and 18.00 are one number, and no digit is lost."""
    return format(value.normalize(_EXACT), "f")


def number_json(value: Any) -> int | float:
    """Decimals in JSON: the shortest digits, as the source wrote them."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < _INT64 else float(value)
    raise TypeError(type(value).__name__)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true/false", str: "a text", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), "another type")


def _shape(value: Any) -> str:
    """A value that could not be read, without what it might give away: dates as they are, else only x and 9."""
    if not isinstance(value, str | int | float):
        return _kind(value)
    found = without_halves(str(value))
    if _SAFE_DATE.fullmatch(found.strip()):
        return found
    return "".join("9" if c.isdigit() else "x" if c.isalpha() else c for c in found[:40])


def _code_or_shape(value: Any) -> str:
    """An unknown code as it is where it looks like one; a name, a number of a person or a sentence only by its shape."""
    found = str(value)
    return found if _CODE.fullmatch(found) and not _PERSONAL_NUMBER.search(found) else _shape(value)


def composed(value: Any) -> str:
    word = str(value)
    return word if word.isascii() else unicodedata.normalize("NFC", word)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | Decimal):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _INT64:
        return str(value)
    return value
