"""Answers of a source decoded straight into the fields of the contract.

Half the cost of a page is making dictionaries of what is then dropped. Where every record of a page has all fields of the
contract and no field that it does not name, only those are decoded; any other page is decoded as JSON always was, so
nothing that is odd gets lost here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Annotated, Any, ClassVar, TypedDict, cast

import msgspec
import orjson

from hailong.contracts import Column, Contract, PagedHttp

Loads = Callable[[bytes], Any]
_SMALL = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # larger ones are read as orjson reads them


class Record(msgspec.Struct, gc=False):
    """A record, or an item of its nested lists, of a known shape: the fields that are read, and no others."""

    names: ClassVar[dict[str, str]] = {}  # field of the source → attribute

    def __getitem__(self, field: str) -> Any:
        return getattr(self, self.names[field])


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


def answer_reader(contract: Contract) -> Loads:
    """Reads an answer of the contract's service as `orjson.loads` does, records as `Record` where they fit."""
    connector = contract.connector
    every = [*contract.columns, *(item for column in contract.columns for item in column.items)]
    names = {column.name for column in every if column.flag or column.pseudonym}
    known = {*_read(tuple(every)), *contract.personal, *contract.ignored}
    if not isinstance(connector, PagedHttp) or names & known or len(_read(contract.columns)) < 2:
        return orjson.loads  # a field of the source may hold a value that we computed: a look at each record is needed
    record = _kind(contract, contract.columns, nested=False)
    if record is None:
        return orjson.loads
    told = {connector.total_field, connector.error_field, connector.message_field, connector.page_echo_field} - {None}
    fields: dict[str, Any] = {str(field): Any for field in told} | {connector.items_field: list[record]}  # type: ignore[valid-type]
    decoder = msgspec.json.Decoder(TypedDict("Answer", fields, total=False))  # type: ignore[misc, operator]

    def loads(content: bytes) -> Any:
        try:
            return decoder.decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return orjson.loads(content)

    return loads


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
        kind: Any = str | _SMALL | float | bool | None
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
