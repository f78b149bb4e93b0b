"""Answers of a source, decoded in two steps.

Who reads the pages needs to know of each record only its key; who converts them needs the fields of the contract. Half the
cost of a page is making dictionaries of what is then dropped: where every record of a page has all fields of the contract
and no field that it does not name, only those are decoded. Any other page is decoded as JSON always was, so nothing that is
odd gets lost here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, ClassVar, TypedDict, cast

import msgspec
import orjson

from hailong.contracts import Column, Contract, PagedHttp
from hailong.errors import TransientError

Loads = Callable[[bytes], Any]
_VALUE = (
    str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None
)  # larger ones: as orjson reads them
_UNFIT = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Record(msgspec.Struct, gc=False):
    """A record, or an item of its nested lists, of a known shape: the fields that are read, and no others."""

    names: ClassVar[dict[str, str]] = {}  # field of the source → attribute

    def __getitem__(self, field: str) -> Any:
        return getattr(self, self.names[field])


@dataclass(frozen=True)
class Answer:
    """An answer as it came, and how many records are in it; `Shapes.records` decodes them, when and where they are needed."""

    content: bytes
    count: int

    def __len__(self) -> int:
        return self.count


class Page(list[Any]):
    """Records of an answer by their keys only, and the answer itself."""

    answer: Answer


def as_dict(record: Record) -> dict[str, Any]:
    """The record as JSON would have been read, without the fields that nobody reads."""
    found = {}
    for field, attribute in record.names.items():
        value = getattr(record, attribute)
        if value.__class__ is list:
            value = [as_dict(item) if isinstance(item, Record) else item for item in value]
        found[field] = value
    return found


def getter(kind: type[Record], fields: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Takes several fields (two at least) of a record at once."""
    return attrgetter(*(kind.names[field] for field in fields))


class Shapes:
    """Reads the answers of a contract's service."""

    def __init__(self, contract: Contract) -> None:
        connector = contract.connector
        assert isinstance(connector, PagedHttp)
        self._items = connector.items_field
        self._what = f"{contract.feed}: {connector.system}{connector.path}"
        told = {connector.total_field, connector.error_field, connector.message_field, connector.page_echo_field} - {
            None
        }
        self._told = [str(field) for field in told]
        keys = [column.source for column in contract.keys if column.source]
        self._keys = self._decoder(_kind_of("Key", keys)) if keys else None
        self._shape = _shape(contract)
        self._whole = self._decoder(self._shape) if self._shape else None
        self._raw = self._decoder(msgspec.Raw)

    def _decoder(self, kind: type) -> msgspec.json.Decoder[Any]:
        fields: dict[str, Any] = dict.fromkeys(self._told, Any) | {self._items: list[kind]}  # type: ignore[valid-type]
        return msgspec.json.Decoder(TypedDict("Answer", fields, total=False))  # type: ignore[misc, operator]

    def answer(self, content: bytes) -> Any:
        """As `orjson.loads`, with a `Page` for the list of records where each of them has its key."""
        if self._keys:
            with suppress(*_UNFIT):
                found: dict[str, Any] = self._keys.decode(content)
                if self._items in found:
                    page = found[self._items] = Page(found[self._items])
                    page.answer = Answer(content, len(page))
                return found
        return orjson.loads(content)

    def records(self, answer: Answer) -> list[Any]:
        """The records: `Record` where all of them fit, else as JSON; TransientError when it is not JSON after all."""
        found = self._decoded(answer.content)
        if not isinstance(found, list) or len(found) != answer.count:
            raise TransientError(
                f"{self._what} answered JSON that means two things. Nothing was landed; try again later"
            )
        return found

    def split(self, answer: Answer) -> list[msgspec.Raw]:
        """The bytes of each record."""
        found: list[msgspec.Raw] = self._raw.decode(answer.content)[self._items]
        return found

    def joined(self, records: list[msgspec.Raw]) -> Answer:
        """An answer of these records and nothing else."""
        return Answer(b'{"%s":[%s]}' % (self._items.encode(), b",".join(records)), len(records))

    @property
    def names(self) -> tuple[str, ...] | None:
        """The fields of a `Record`."""
        return None if self._shape is None else tuple(self._shape.names)

    def _decoded(self, content: bytes) -> Any:
        if self._whole:
            with suppress(*_UNFIT):
                return self._whole.decode(content)[self._items]
        try:
            return orjson.loads(content)[self._items]
        except orjson.JSONDecodeError:
            try:
                return read_leniently(content)[self._items]
            except (ValueError, RecursionError):
                raise TransientError(
                    f"{self._what} answered JSON that cannot be read. Nothing was landed; try again later"
                ) from None


def read_leniently(content: bytes) -> Any:
    """JSON with bytes that are not UTF-8, half characters, or NaN: only the records that hold them shall suffer.

    U+FFFD stands for what cannot be read; the door quarantines texts with it.
    """
    text = content.decode(errors="replace")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        found = json.dumps(json.loads(text, parse_constant=str), ensure_ascii=False)
        return orjson.loads(found.encode(errors="surrogatepass").decode(errors="replace"))


def _shape(contract: Contract) -> type[Record] | None:
    """What the records of the contract are decoded to; None when each of them must be looked at."""
    every = [*contract.columns, *(item for column in contract.columns for item in column.items)]
    names = {column.name for column in every if column.flag or column.pseudonym}
    known = {*_read(tuple(every)), *contract.personal, *contract.ignored}
    if names & known or len(_read(contract.columns)) < 2:
        return None  # a field of the source may hold a value that we computed
    return _kind(contract, contract.columns, nested=False)


def _kind_of(name: str, fields: list[str]) -> type[Record]:
    """Records of which these fields are read and all others skipped."""
    names = {field: f"f{number}" for number, field in enumerate(fields)}
    made: Any = msgspec.defstruct(
        name, [(attribute, _VALUE) for attribute in names.values()], bases=(Record,), namespace={"names": names},
        rename={attribute: field for field, attribute in names.items()}, gc=False,
    )  # fmt: skip
    return cast(type[Record], made)


def _read(columns: tuple[Column, ...]) -> list[str]:
    """Fields that are read, those that flags are computed from among them."""
    flagged = [field for column in columns for field, _ in column.flag]
    return list(dict.fromkeys([*flagged, *(column.source for column in columns if column.source)]))


def _kind(contract: Contract, columns: tuple[Column, ...], nested: bool) -> type[Record] | None:
    wanted = _read(columns)
    lists = {column.source: column for column in columns if column.items}
    names: dict[str, str] = {}
    needed: list[tuple[str, Any]] = []
    others: list[tuple[str, Any, Any]] = []
    for number, field in enumerate(wanted):
        names[field] = f"f{number}"
        kind: Any = _VALUE
        if field in lists:
            column = lists[field]
            if any(item.items for item in column.items):
                return None
            kind = list[_kind(contract, column.items, nested=True)] | None  # type: ignore[misc]
        if nested:
            others.append((names[field], kind, None))
        else:
            needed.append((names[field], kind))
    skipped = {field: f"s{n}" for n, field in enumerate((*contract.personal, *contract.ignored)) if field not in wanted}
    others += [(name, msgspec.Raw, msgspec.Raw(b"null")) for name in skipped.values()]
    made: Any = msgspec.defstruct(
        "Item" if nested else "Record",
        [*needed, *others],
        bases=(Record,),
        namespace={"names": names},
        rename={attribute: field for field, attribute in (names | skipped).items()},
        forbid_unknown_fields=True,
        gc=False,
    )
    return cast(type[Record], made)
