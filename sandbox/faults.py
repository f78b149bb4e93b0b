"""Faults on demand: what a source does wrong, done to the answers on their way out.

A raw ASGI layer around the stand-in, because some faults are in the bytes: a body cut off, a length that lies. A fault is
written `[PATH:]NAME[xN|x*][=VALUE][@n|@last]`: PATH is a part of the address (`rating`, `TraCuuHoSo`), N how often it
happens (`x*`: always), n the first data request, counted from the setting of the fault, that it may happen to (`last`:
the last page). A fault waits for a request that it fits: a page cannot be repeated before the second one.
`POST /_sandbox/faults {"faults": "429@2,rating:cut@3"}` sets them and forgets what was ("" clears);
`GET /_sandbox/faults` tells how often each has happened.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zlib import crc32

import orjson

from sandbox.options import WIRE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Records = list[Any]


@dataclass(frozen=True)
class Kind:
    """What one fault does; `always`: it goes on until it is cleared unless a number says otherwise."""

    example: str
    does: str
    always: bool = False
    value: str = "none"  # none, number (with a default), or field (a field of the record)
    default: float = 0


KINDS: dict[str, Kind] = {
    "429": Kind("429=0@2", "too many requests, with Retry-After: VALUE seconds (1)", value="number", default=1),
    "500": Kind("500x3@2", "HTTP 500, here for three requests"),
    "503": Kind("503@1", "HTTP 503 without Retry-After"),
    "timeout": Kind("timeout@3", "no answer until the caller gives up"),
    "reset": Kind("reset@2", "the connection is closed without an answer"),
    "cut": Kind("cut@3", "the connection is closed in the middle of the body"),
    "truncated": Kind("truncated@3", "a whole HTTP answer that holds half the JSON"),
    "wrong-length": Kind(
        "wrong-length=-40@2", "Content-Length is VALUE bytes (-40) off, the connection stays open when it is too small",
        value="number", default=-40,
    ),
    "html": Kind("html@2", "HTTP 200 with a maintenance page in HTML"),
    "error-body": Kind("error-body@2", "HTTP 200 with the error of the service in the body"),
    "token-expired": Kind("token-expired@3", "from here on the token is refused with 401", always=True),
    "page-repeated": Kind("page-repeated@3", "the page before comes again in place of the one asked for"),
    "page-masked": Kind("page-masked@3", "the page before comes again under the number of the one asked for"),
    "page-missing": Kind("page-missing@last", "an empty page in place of the one asked for"),
    "page-short": Kind("page-short@2", "a page without its last record"),
    "shift": Kind(
        "shift=-1@2", "until page 1 is asked again, rows have moved by VALUE (1): 1 skips a row, -1 shows one twice",
        value="number", default=1,
    ),
    "total-changes": Kind("total-changes@3", "the declared total is VALUE (1) higher on this page", value="number", default=1),
    "duplicate-keys": Kind("duplicate-keys", "every tenth record comes twice, and the total counts both", always=True),
    "unstable-sort": Kind("unstable-sort@2", "the page's first record stands in place of the second one too"),
    "cursor-back": Kind(
        "cursor-back=2", "every tenth record as an older copy: change time and dates VALUE days (1) earlier",
        always=True, value="number", default=1,
    ),
    "clock-skew": Kind(
        "clock-skew=900", "the source's clock (header Date) is VALUE seconds (900) ahead",
        always=True, value="number", default=900,
    ),
    "new-field": Kind("new-field", "every record has a field more, with a person's name in it", always=True),
    "missing-field": Kind("missing-field=NgayTiepNhan", "the field VALUE (the key) is in no record", always=True, value="field"),
    "type-changed": Kind(
        "type-changed=MaTTHC", "the field VALUE (a text) is an object in every tenth record", always=True, value="field"
    ),
    "huge-field": Kind(
        "huge-field=MaTTHC", "the field VALUE (a text) has 200,000 characters in every tenth record", always=True, value="field"
    ),
    "invalid-utf8": Kind(
        "invalid-utf8=MaTTHC", "the field VALUE (a text) holds bytes that are not UTF-8 in every tenth record",
        always=True, value="field",
    ),
    "date-forms": Kind("date-forms", "dates as ISO 8601, as dd/MM/yyyy, and some that do not exist", always=True),
    "hard-delete": Kind(
        "hard-delete=3", "the VALUE (3) records that changed last are gone from every answer",
        always=True, value="number", default=3,
    ),
    "late-delete": Kind(
        "late-delete=2", "the VALUE (2) records that changed first, before any look-back, are gone from every answer",
        always=True, value="number", default=2,
    ),
}  # fmt: skip
INSTEAD = frozenset({"429", "500", "503", "timeout", "reset", "token-expired", "html"})
LISTING = frozenset({"hard-delete", "late-delete", "duplicate-keys", "shift"})
PAGE_FIELDS, SIZE_FIELDS = ("Trang", "page", "currentPage"), ("SoBanGhi", "size", "pageSize")
TOTAL_FIELDS = ("TongSo", "total")
KEY_FIELDS = ("MaHoSo", "id", "departmentId")
TEXT_FIELDS = ("MaTTHC", "maHoSo", "departmentName")
SHARE = 10  # record faults touch every tenth record, chosen by its key
HUGE = 200_000
PERSON = "Người Nộp Mẫu 000042, 0900000042"
MARK = "@@NOT-UTF-8@@"
BROKEN = b"H\xe1\xbb\xffng"
LONGEST_HANG = 600.0
LAST = "last"
_SPEC = re.compile(
    r"(?:(?P<path>[^:=@]+):)?(?P<name>[a-z0-9-]+?)(?:x(?P<times>[1-9]\d*|\*))?(?:=(?P<value>[^@]+))?(?:@(?P<at>[1-9]\d*|last))?"
)


@dataclass(frozen=True)
class Fault:
    """One fault as it was asked for."""

    text: str
    name: str
    path: str = ""
    times: int | None = 1  # None: always
    at: int | str = 1
    value: str | None = None

    @property
    def number(self) -> float:
        return KINDS[self.name].default if self.value is None else float(self.value)


def parse_faults(text: str) -> list[Fault]:
    """The faults of a comma list; ValueError says what is wrong with it."""
    return [_parse(part.strip()) for part in text.split(",") if part.strip()]


def _parse(text: str) -> Fault:
    found = _SPEC.fullmatch(text)
    if found is None or found["name"] not in KINDS:
        raise ValueError(
            f"no fault {text!r}: write [PATH:]NAME[xN|x*][=VALUE][@n|@last] with NAME one of {', '.join(KINDS)}"
        )
    kind, name, value = KINDS[found["name"]], found["name"], found["value"]
    if value is not None and kind.value == "none":
        raise ValueError(f"{text!r}: {name} takes no value")
    if value is not None and kind.value == "number":
        try:
            float(value)
        except ValueError:
            raise ValueError(f"{text!r}: {name} takes a number, e.g. {kind.example}") from None
    if found["times"]:
        times = None if found["times"] == "*" else int(found["times"])
    else:
        times = None if kind.always and (name == "token-expired" or found["at"] is None) else 1
    at = LAST if found["at"] == LAST else int(found["at"] or 1)
    return Fault(text, name, found["path"] or "", times, at, value)


def explain() -> str:
    """What `--help` says about the faults."""
    wide = max(len(kind.example) for kind in KINDS.values())
    return "\n".join(f"  {kind.example:<{wide}}  {kind.does}" for kind in KINDS.values())


@dataclass
class Rule:
    """A fault at work: requests that it saw, how often it happened."""

    fault: Fault
    seen: int = 0
    fired: int = 0
    shifted: bool = False
    gone: frozenset[str] | None = None

    def may(self) -> bool:
        """Whether the request at hand is its turn; whether it is the last page is asked elsewhere."""
        left = self.fault.times is None or self.fired < self.fault.times
        return left and (self.fault.at == LAST or self.seen >= int(self.fault.at))


@dataclass
class Faults:
    """The faults in force, and what happened so far."""

    rules: list[Rule] = field(default_factory=list)
    requests: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    def set(self, text: str) -> None:
        """Replace the faults in force; counts begin again. ValueError for a text that is none."""
        self.rules = [Rule(fault) for fault in parse_faults(text)]
        self.requests = 0
        self.log = []

    def report(self) -> dict[str, Any]:
        told = [{"fault": rule.fault.text, "seen": rule.seen, "fired": rule.fired} for rule in self.rules]
        return {"faults": told, "requests": self.requests, "log": self.log[-200:]}

    def fire(self, rule: Rule, asked: Asked) -> None:
        rule.fired += 1
        self.log.append({"fault": rule.fault.text, "path": asked.path, "request": self.requests, "page": asked.page})


@dataclass(frozen=True)
class Asked:
    """A data request: where, and the fields of its body or query."""

    scope: MutableMapping[str, Any]
    body: bytes
    values: dict[str, Any]

    @classmethod
    async def read(cls, scope: MutableMapping[str, Any], receive: Receive) -> Asked:
        parts = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        body = b"".join(parts)
        if scope["method"] == "GET":
            return cls(scope, body, dict(parse_qsl(scope["query_string"].decode())))
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = {}
        return cls(scope, body, found if isinstance(found, dict) else {})

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    def _number(self, names: tuple[str, ...]) -> int | None:
        for name in names:
            try:
                return int(self.values[name])
            except (KeyError, TypeError, ValueError):
                continue
        return None

    @property
    def page(self) -> int | None:
        return self._number(PAGE_FIELDS)

    @property
    def size(self) -> int | None:
        return self._number(SIZE_FIELDS)

    def with_page(self, page: int) -> Asked:
        return self._with({name: page for name in PAGE_FIELDS if name in self.values})

    def of_all_times(self) -> Asked:
        """The same question without a window."""
        moments = sorted((str(value), name) for name, value in self.values.items() if _is_moment(value))
        if len(moments) != 2:
            return self
        return self._with({moments[0][1]: "20000101000000", moments[1][1]: "20991231235959"})

    def _with(self, changed: dict[str, Any]) -> Asked:
        values = {**self.values, **changed}
        if self.scope["method"] == "GET":
            return Asked({**self.scope, "query_string": urlencode(values).encode()}, self.body, values)
        return Asked(self.scope, orjson.dumps(values), values)


@dataclass
class Answer:
    """What the stand-in would say, opened where it is a page of records."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    content: Any = None
    holder: dict[str, Any] = field(default_factory=dict)
    name: str = ""  # of the list in its holder

    def open(self) -> None:
        """Find the list of records; an answer without one stays shut."""
        try:
            self.content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return
        if isinstance(self.content, dict):
            data = self.content.get("data")
            for holder in (self.content, data if isinstance(data, dict) else {}):
                for name, value in holder.items():
                    if isinstance(value, list) and not self.name:
                        self.holder, self.name = holder, name

    @property
    def is_page(self) -> bool:
        return bool(self.name)

    @property
    def items(self) -> Records:
        return self.holder[self.name] if self.name else []

    @items.setter
    def items(self, records: Records) -> None:
        self.holder[self.name] = records

    @property
    def total(self) -> int | None:
        return (
            next((self.content[name] for name in TOTAL_FIELDS if name in self.content), None) if self.is_page else None
        )

    def set_first(self, names: tuple[str, ...], value: int) -> None:
        for name in names:
            if name in self.content:
                self.content[name] = value

    def is_last(self, asked: Asked) -> bool:
        if not self.is_page or asked.page is None or asked.size is None:
            return False
        return len(self.items) < asked.size if self.total is None else asked.page * asked.size >= self.total


class FaultLayer:
    """The stand-in's application with the faults in force done to its answers."""

    def __init__(self, app: App, faults: Faults) -> None:
        self.app = app
        self.faults = faults
        self._listings: dict[bytes, Records] = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        dated = _dated(send, 0.0)
        if scope["path"].startswith("/_sandbox/"):
            self._listings.clear()  # the clock or the faults may be moving
            await self.app(scope, receive, dated)
            return
        self.faults.requests += 1
        rules = [rule for rule in self.faults.rules if rule.fault.path.lower() in scope["path"].lower()]
        if not rules:
            await self.app(scope, receive, dated)
            return
        asked = await Asked.read(scope, receive)
        for rule in rules:
            rule.seen += 1
        await self._answer(rules, asked, receive, send)

    async def _answer(self, rules: list[Rule], asked: Asked, receive: Receive, send: Send) -> None:
        due = [rule for rule in rules if rule.may() or rule.shifted]
        skew = 0.0
        for rule in [rule for rule in due if rule.fault.name == "clock-skew"]:
            self.faults.fire(rule, asked)
            skew = rule.fault.number
        dated = _dated(send, skew)
        if not any(rule.fault.at == LAST for rule in due):
            for rule in due:
                if rule.fault.name in INSTEAD:
                    self.faults.fire(rule, asked)
                    await self._instead(rule, asked, receive, dated, send)
                    return
        answer = await self._ask(asked)
        due = [rule for rule in due if rule.fault.at != LAST or answer.is_last(asked)]
        for rule in due:
            if rule.fault.name in INSTEAD:
                self.faults.fire(rule, asked)
                await self._instead(rule, asked, receive, dated, send)
                return
        if answer.is_page and asked.page is not None:
            await self._change(due, asked, answer)
        for rule in due:
            if rule.fault.name == "error-body":
                self.faults.fire(rule, asked)
                wrong = {"code": "ERROR", "message": "Hệ thống đang bận (lỗi mẫu)"}
                if "error_code" in (answer.content or {}):
                    wrong = {"error_code": "-3", "error_message": "Hệ thống đang bận (lỗi mẫu)"}
                answer.body = orjson.dumps(wrong)
        for rule in due:
            if rule.fault.name in ("cut", "truncated", "wrong-length"):
                self.faults.fire(rule, asked)
                await _broken(rule.fault, answer, dated, send)
                return
        await _whole(answer, dated)

    async def _instead(self, rule: Rule, asked: Asked, receive: Receive, dated: Send, send: Send) -> None:
        name = rule.fault.name
        if name == "timeout":
            await _hang_up(receive, send, LONGEST_HANG)
        elif name == "reset":
            await _hang_up(receive, send, 0.0)
        elif name == "token-expired":
            bare = [(key, value) for key, value in asked.scope["headers"] if key != b"authorization"]
            await _whole(await self._ask(Asked({**asked.scope, "headers": bare}, asked.body, asked.values)), dated)
        elif name == "html":
            page = "<html><body><h1>Hệ thống đang bảo trì</h1></body></html>".encode()
            await _whole(Answer(200, [(b"content-type", b"text/html; charset=utf-8")], page), dated)
        else:
            headers = [(b"content-type", b"application/json")]
            if name == "429":
                headers.append((b"retry-after", f"{rule.fault.number:g}".encode()))
            await _whole(Answer(int(name), headers, b'{"message": "l\xe1\xbb\x97i m\xe1\xba\xabu"}'), dated)

    # -- pages and records ----------------------------------------------------------------------------------------------

    async def _change(self, due: list[Rule], asked: Asked, answer: Answer) -> None:
        page = asked.page or 1
        listed = [rule for rule in due if rule.fault.name in LISTING]
        for rule in listed:
            if rule.fault.name == "shift" and page == 1:
                rule.shifted = False  # a new read, of rows that lie still again
        acting = [rule for rule in listed if rule.fault.name != "shift" or (page > 1 and answer.items)]
        if acting:
            await self._relist(acting, asked, answer)
        for rule in due:
            if await self._change_page(rule, asked, answer):
                self.faults.fire(rule, asked)
        for rule in due:
            change = _RECORD_FAULTS.get(rule.fault.name)
            if change and change(answer.items, rule.fault):
                self.faults.fire(rule, asked)
        answer.body = orjson.dumps(answer.content).replace(MARK.encode(), BROKEN)

    async def _change_page(self, rule: Rule, asked: Asked, answer: Answer) -> bool:
        name, page = rule.fault.name, asked.page or 1
        if name in ("page-repeated", "page-masked"):
            if page == 1:
                return False
            before = await self._ask(asked.with_page(page - 1))
            answer.content, answer.holder, answer.name = before.content, before.holder, before.name
            if name == "page-masked":
                answer.set_first(PAGE_FIELDS, page)
        elif name in ("page-missing", "page-short"):
            if not answer.items:
                return False
            answer.items = [] if name == "page-missing" else answer.items[:-1]
        elif name == "unstable-sort":
            if len(answer.items) < 2:
                return False
            answer.items = [answer.items[0], answer.items[0], *answer.items[2:]]
        elif name == "total-changes":
            if page == 1 or answer.total is None:
                return False
            answer.set_first(TOTAL_FIELDS, answer.total + int(rule.fault.number))
        else:
            return False
        return True

    async def _relist(self, rules: list[Rule], asked: Asked, answer: Answer) -> None:
        """The page as it is when the whole list, not only this page, is another."""
        records = list(await self._listing(asked))
        for rule in rules:
            name, number = rule.fault.name, int(rule.fault.number)
            before = len(records)
            if name == "shift":
                records = records[number:] + records[:number]
                if not rule.shifted:
                    self.faults.fire(rule, asked)
                rule.shifted = True
            elif name == "duplicate-keys":
                records = [record for one in records for record in ([one, one] if _chosen(one) else [one])]
            else:
                if rule.gone is None:
                    rule.gone = _ends(await self._listing(asked.of_all_times()), number, name == "hard-delete")
                records = [record for record in records if _key(record) not in rule.gone]
            if len(records) != before:
                self.faults.fire(rule, asked)
        size = asked.size or len(records)
        low = ((asked.page or 1) - 1) * size
        answer.items = records[low : low + size]
        answer.set_first(TOTAL_FIELDS, len(records))

    async def _listing(self, asked: Asked) -> Records:
        """Every record that a question has for an answer, page by page; kept until the clock or the faults change."""
        first = asked.with_page(1)
        name = b" ".join((asked.path.encode(), first.scope["query_string"], first.body))
        if name not in self._listings:
            found: Records = []
            page = 1
            while True:
                answer = await self._ask(asked.with_page(page))
                found += answer.items
                if not answer.items or answer.is_last(asked.with_page(page)):
                    break
                page += 1
            self._listings[name] = found
        return self._listings[name]

    async def _ask(self, asked: Asked) -> Answer:
        """The stand-in's own answer."""
        given = [{"type": "http.request", "body": asked.body, "more_body": False}]
        answer = Answer(500, [], b"")

        async def receive() -> Message:
            return given.pop() if given else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message.get("headers", []))
            else:
                answer.body += message.get("body", b"")

        headers = [(key, value) for key, value in asked.scope["headers"] if key != b"content-length"]
        await self.app({**asked.scope, "headers": headers}, receive, send)
        answer.open()
        return answer


# -- records ------------------------------------------------------------------------------------------------------------


def _key(record: Any) -> str:
    if not isinstance(record, dict):
        return ""
    for name in KEY_FIELDS:
        if name in record:
            return str(record[name])
    return str(next(iter(record.values()), ""))


def _key_field(record: dict[str, Any]) -> str:
    return next((name for name in KEY_FIELDS if name in record), next(iter(record)))


def _text_field(record: dict[str, Any], fault: Fault) -> str:
    if fault.value:
        return fault.value
    fallback = [name for name, value in record.items() if isinstance(value, str) and name != _key_field(record)]
    return next((name for name in TEXT_FIELDS if name in record), fallback[0] if fallback else _key_field(record))


def _chosen(record: Any) -> bool:
    return crc32(_key(record).encode()) % SHARE == 0


def _ends(records: Records, number: int, newest: bool) -> frozenset[str]:
    keys = list(
        dict.fromkeys(_key(record) for record in records if isinstance(record, dict) and _key(record) != "None")
    )
    return frozenset(keys[-number:] if newest else keys[:number])


def _is_moment(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 14 and value.isdigit()


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.strptime(value, WIRE) if _is_moment(value) else None
    except ValueError:
        return None


def _new_field(records: Records, _: Fault) -> bool:
    for record in records:
        record["truongMoi"] = PERSON
    return bool(records)


def _missing_field(records: Records, fault: Fault) -> bool:
    gone = [record.pop(fault.value or _key_field(record), None) for record in records]
    return bool(gone)


def _other(make: Callable[[Any], Any]) -> Callable[[Records, Fault], bool]:
    """A change of one text field in the chosen records."""

    def change(records: Records, fault: Fault) -> bool:
        chosen = [record for record in records if _chosen(record)]
        for record in chosen:
            name = _text_field(record, fault)
            record[name] = make(record.get(name))
        return bool(chosen)

    return change


def _cursor_back(records: Records, fault: Fault) -> bool:
    chosen = [record for record in records if _chosen(record)]
    for record in chosen:
        for name, value in record.items():
            at = _moment(f"{value}000000" if _is_day(value) else value)
            if at is not None:
                record[name] = (at - timedelta(days=fault.number)).strftime(WIRE)[: len(value)]
    return bool(chosen)


NEVER = ("20260231093000", "31/02/2026", "00000000", "20261301", "2026-02-30", "99999999999999")


def _date_forms(records: Records, _: Fault) -> bool:
    changed = False
    for record in records:
        form = crc32(_key(record).encode()) % 16
        dates = [name for name, value in record.items() if _moment(value) or _is_day(value)]
        if form >= 4 + len(NEVER) or not dates:
            continue
        changed = True
        if form >= 4:
            record[dates[0]] = NEVER[form - 4]
            continue
        for name in dates:
            record[name] = _rewritten(record[name], form)
    return changed


def _is_day(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 8 and value.isdigit() and value[:2] in ("19", "20")


def _rewritten(value: str, form: int) -> str:
    """The same moment, or day, in another form."""
    at = _moment(value)
    if at is None:
        return f"{value[:4]}-{value[4:6]}-{value[6:]}" if form % 2 else f"{value[6:]}/{value[4:6]}/{value[:4]}"
    return at.strftime(("%Y-%m-%dT%H:%M:%S", "%d/%m/%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S+07:00", "%Y-%m-%d %H:%M:%S")[form])


_RECORD_FAULTS: dict[str, Callable[[Records, Fault], bool]] = {
    "new-field": _new_field,
    "missing-field": _missing_field,
    "type-changed": _other(lambda value: {"giaTri": value}),
    "huge-field": _other(lambda value: "Đ" * HUGE),
    "invalid-utf8": _other(lambda value: f"{value or ''}{MARK}"),
    "cursor-back": _cursor_back,
    "date-forms": _date_forms,
}


# -- bytes --------------------------------------------------------------------------------------------------------------


def _dated(send: Send, skew: float) -> Send:
    """The server does not date its answers; the layer does, so that a clock can be wrong."""

    async def run(message: Message) -> None:
        if message["type"] == "http.response.start":
            date = (b"date", formatdate(time.time() + skew, usegmt=True).encode())
            message = {**message, "headers": [*message.get("headers", []), date]}
        await send(message)

    return run


def _headers(answer: Answer, length: int) -> list[tuple[bytes, bytes]]:
    kept = [(key, value) for key, value in answer.headers if key.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]


async def _whole(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer, len(answer.body))})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _broken(fault: Fault, answer: Answer, dated: Send, send: Send) -> None:
    """Bytes that do not fit together. The server closes the connection of an application that stops too early."""
    body = answer.body
    half = body[: len(body) // 2]
    if fault.name == "truncated":
        answer.body = half
        await _whole(answer, dated)
        return
    length = len(body) if fault.name == "cut" else max(1, len(body) + int(fault.number))
    await dated({"type": "http.response.start", "status": answer.status, "headers": _headers(answer, length)})
    if fault.name == "cut":
        await dated({"type": "http.response.body", "body": half, "more_body": True})
    elif length > len(body):
        await dated({"type": "http.response.body", "body": body, "more_body": True})
    else:
        await dated({"type": "http.response.body", "body": body[:length], "more_body": False})
        transport = _transport(send)
        if transport is not None:
            transport.write(body[length:])


def _transport(send: Send) -> asyncio.Transport | None:
    """The connection under the server's `send`; None where there is none (a test client without a socket)."""
    found = getattr(getattr(send, "__self__", None), "transport", None)
    return found if hasattr(found, "abort") else None


async def _hang_up(receive: Receive, send: Send, after: float) -> None:
    """Close the connection without a word, unless the caller does so before."""
    try:
        async with asyncio.timeout(after):
            await _gone(receive)
    except TimeoutError:
        transport = _transport(send)
        if transport is not None:
            transport.abort()
            await _gone(receive)  # else the server takes our silence for a mistake and answers 500


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
