"""Calling a source over HTTP: bearer token, rate limit, time-outs, retries of what may pass, and what was declared.

A page that fails is asked for again, not the pages before it. What shows that the source moved under our hands (another
total, a short page in the middle, a row that comes again) makes the read start over; nothing is landed of a read that
did not end well.
"""

from __future__ import annotations

import fcntl
import logging
import re
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count
from operator import itemgetter
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
import orjson
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from hailong.contracts import PagedHttp
from hailong.errors import PermanentError, TransientError, UsageError
from hailong.extract.shapes import Loads, read_leniently
from hailong.settings import Source

TRANSIENT_STATUSES = frozenset({408, 425, 429, *range(500, 600)}) - {501, 505}
LONGEST_WAIT = 120.0  # seconds that one call waits because it was asked to; who asks for more is left alone
WIRE_TIME = "%Y%m%d%H%M%S"
MOST_BYTES = 256 * 1024 * 1024  # of one answer
ROWS_AGAIN = "rows_again"  # a finding: records on two pages, in two reads alike
MOST_READS = 3  # how often a read may start over
MOST_REPEATS = 3  # how often a page that is not the one asked for is asked again
SKEW_SECONDS = 300.0
MOST_WATCHED = 1_000_000  # records of one read that are watched for coming again: eight bytes each

log = logging.getLogger(__name__)
T = TypeVar("T")


def _tell(details: RetryDetails) -> None:
    log.warning("retry %d in %.1f s: %s", details.retry_num, details.wait_for, details.caused_by)


set_on_retry_hooks([_tell])  # the library's default may write to standard output, where --json answers go


@dataclass(frozen=True)
class RetryPolicy:
    """How long a source may be busy before we give up."""

    attempts: int = 6
    timeout: float = 300.0
    wait_initial: float = 0.5
    wait_max: float = 30.0
    answer_within: float = 60.0

    @classmethod
    def load(cls, env: Mapping[str, str]) -> RetryPolicy:
        """HAILONG_HTTP_TIMEOUT: seconds to wait for an answer; HAILONG_HTTP_RETRY_WAIT: first pause between attempts."""
        policy = cls()
        found: dict[str, Any] = {}
        for name, variable in (("answer_within", "HAILONG_HTTP_TIMEOUT"), ("wait_initial", "HAILONG_HTTP_RETRY_WAIT")):
            given = env.get(variable)
            if given:
                try:
                    found[name] = float(given)
                except ValueError:
                    raise UsageError(f"{variable} is not a number of seconds: {given!r}") from None
        return replace(policy, **found)


class StartOver(TransientError):
    """The source moved while it was being read: what was read so far does not fit together."""


class _Busy(TransientError):
    """A failure that may pass, with the pause that the other side asked for."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def _pause(error: Exception) -> bool | float:
    if not isinstance(error, _Busy):
        return False
    return True if error.retry_after is None else error.retry_after


class Client:
    """A system as seen from here; messages name the system and the path, never the token."""

    def __init__(
        self,
        system: str,
        source: Source,
        retry: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.system = system
        self.skew = 0.0
        self._source = source
        self._retry = retry or RetryPolicy()
        self._pace = pace
        self._clock = clock
        local = urlsplit(source.url).hostname in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {source.token}"} if source.token else {},
            timeout=httpx.Timeout(self._retry.answer_within, connect=min(10.0, self._retry.answer_within)),
            follow_redirects=False,  # a redirect would carry the token elsewhere
            trust_env=not local,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def findings(self) -> list[dict[str, Any]]:
        """A clock that is far from ours: windows are then asked in another time than the one that stamps the records."""
        if abs(self.skew) <= SKEW_SECONDS:
            return []
        ahead = "ahead of" if self.skew > 0 else "behind"
        told = f"the clock of {self.system} is {abs(self.skew):.0f} s {ahead} ours: the look-back covers it; tell its owner"
        return [{"rule": "clock_skew", "field": "Date", "records": 0, "detail": told}]

    def call(
        self,
        method: str,
        path: str,
        values: Mapping[str, Any],
        form: Mapping[str, str] | None = None,
        part: str = "",
        loads: Loads = orjson.loads,
    ) -> dict[str, Any]:
        """The JSON object that a call answers with: `values` as body (POST) or query (GET), or a `form`. 200 and 201 are answers.
        `part` says in messages which part of the feed was asked for; `loads` decodes, and fails, as `orjson.loads` does.

        Transient failures are retried (`Retry-After` is kept to); what is left is raised as TransientError,
        a refusal (401, 403, 404 and other 4xx) at once as PermanentError.
        """
        for attempt in stamina.retry_context(
            on=_pause,
            attempts=self._retry.attempts,
            timeout=self._retry.timeout,
            wait_initial=self._retry.wait_initial,
            wait_max=self._retry.wait_max,
            wait_jitter=self._retry.wait_initial,
        ):
            with attempt:
                return self._once(method, path, values, form, part, loads)
        raise AssertionError("unreachable: the last failure is raised")

    def _once(
        self,
        method: str,
        path: str,
        values: Mapping[str, Any],
        form: Mapping[str, str] | None,
        part: str,
        loads: Loads,
    ) -> dict[str, Any]:
        what = f"{self.system}: {method} {self._source.url}{path}" + (f", {part}," if part else "")
        if self._pace:
            self._pace.wait()
        options: dict[str, Any]
        if form is not None:
            options = {"data": dict(form)}
        elif method == "POST":
            options = {"content": orjson.dumps(values), "headers": {"Content-Type": "application/json"}}
        else:
            options = {"params": {key: str(value) for key, value in values.items()}}
        try:
            with self._http.stream(method, f"{self._source.url}{path}", **options) as answer:
                content = self._read(what, answer)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Busy(f"{what} got no answer ({_reason(error)}). Is the system up? Try again later") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise PermanentError(
                f"{what}: not a usable address ({error}); check the HAILONG_SOURCE_* variables"
            ) from error
        self._compare_clocks(answer)
        status = answer.status_code
        if status in (200, 201):
            return _parsed(what, answer, content, loads)
        if status in TRANSIENT_STATUSES:
            pause = _retry_after(answer)
            if pause is not None and pause > LONGEST_WAIT:
                raise TransientError(
                    f"{what} answered {status} and asks to be left alone for {pause:,.0f} s: try again then"
                )
            if pause and self._pace:
                self._pace.hold_off(pause)
            raise _Busy(f"{what} answered {status} time and again. Try again later", pause)
        hints = {
            401: f"the token was not accepted: check HAILONG_SOURCE_{self.system.upper()}_TOKEN",
            403: f"the token may not read this: ask the owner of {self.system}",
            404: f"there is no such service: check HAILONG_SOURCE_{self.system.upper()}_URL",
        }
        raise PermanentError(f"{what} answered {status}: {hints.get(status, 'the request was refused')}")

    def _read(self, what: str, answer: httpx.Response) -> bytes:
        parts, size = [], 0
        for part in answer.iter_bytes():
            size += len(part)
            if size > MOST_BYTES:
                raise PermanentError(
                    f"{what} answered more than {MOST_BYTES // 2**20} MB for one page: ask for smaller "
                    "pages (pageSize in the contract)"
                )
            parts.append(part)
        return b"".join(parts)

    def _compare_clocks(self, answer: httpx.Response) -> None:
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", ""))
        except (TypeError, ValueError):
            return
        if theirs.tzinfo is not None:
            skew = (theirs - self._clock()).total_seconds()
            if abs(skew) > abs(self.skew):
                self.skew = skew


def _parsed(what: str, answer: httpx.Response, content: bytes, loads: Loads) -> dict[str, Any]:
    """The object in an answer. Broken JSON may pass; another kind of answer will not."""
    kind = answer.headers.get("content-type", "unknown type")
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        found = loads(content)
    except orjson.JSONDecodeError:
        begin = content.lstrip()[:1]
        if begin not in (b"{", b"[") and ("json" not in kind or begin == b"<"):
            raise PermanentError(f"{what} answered something that is not JSON ({kind}): check the address") from None
        try:
            found = read_leniently(content)
        except (ValueError, RecursionError):
            raise _Busy(f"{what} answered JSON that breaks off ({len(content):,} bytes). Try again later") from None
    if not isinstance(found, dict):
        raise PermanentError(f"{what} answered JSON of an unexpected shape: check the address")
    return found


class Pace:
    """At most so many requests a second to a host, over all processes that share the folder."""

    def __init__(self, folder: Path, host: str, per_second: float) -> None:
        self._path = folder / re.sub(r"[^A-Za-z0-9.-]", "_", host)
        self._gap = 1.0 / per_second

    def wait(self) -> None:
        """Sleep until it is our turn."""
        now = time.time()
        turn = self._take(now, lambda turn: (turn, turn + self._gap))
        time.sleep(max(0.0, turn - now))

    def hold_off(self, seconds: float) -> None:
        """The host asked for a pause: it is for everybody who asks it."""
        now = time.time()
        self._take(now, lambda turn: (turn, max(turn, now + seconds)))

    def _take(self, now: float, change: Callable[[float], tuple[float, float]]) -> float:
        """The next free time, and what it is afterwards, under the lock of the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            handle.seek(0)
            try:
                turn = float(handle.read() or 0)
            except ValueError:
                turn = 0.0
            # A file from before a change of the clock must not stop us for hours.
            turn, after = change(max(now, min(turn, now + LONGEST_WAIT)))
            handle.truncate(0)
            handle.write(repr(after))
        return turn


@dataclass
class Pages:
    """Records of a paged service, a page at a time; `declared` is known once the first page is there.

    `keys` are the fields that name a record: what comes again shows that rows moved from page to page. The same object is
    read again after StartOver, and remembers which repetitions are the source's own.
    """

    feed: str
    client: Client
    connector: PagedHttp
    since: datetime | None
    until: datetime | None
    progress: Callable[[str], None] | None = None
    keys: tuple[str, ...] = ()
    loads: Loads = orjson.loads
    declared: int | None = field(default=None, init=False)
    _order: Order = field(init=False)
    _again: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._order = Order(self.keys)

    def __iter__(self) -> Iterator[list[Any]]:
        """Pages until everything declared is here. StartOver when the source moves while it is being read."""
        received, page, full = 0, 1, 0
        self._order.begin()
        items, self.declared = self._page(1, [])
        full = len(items)  # a server may cap our page size: its first page says so
        while True:
            received += len(items)
            done = received >= self.declared
            if items and not done and len(items) < full:
                raise self._moved(f"page {page} holds {len(items)} records and the pages before it {full}")
            coming = None if done or not items else _ahead(partial(self._page, page + 1, items))
            self._order.add(items)
            if items:
                yield items
            if self.progress and (done or page % 10 == 0):
                self.progress(f"{self.feed}: {received:,} of {self.declared:,}")
            if coming is None:
                break
            page += 1
            items, total = coming.result()
            if total != self.declared:
                raise self._moved(f"the total changed from {self.declared} to {total} (page {page})")
        if received != self.declared:
            raise self._moved(f"{self.declared} records were declared and {received} came (page {page} ended it)")
        again = self._order.end()
        if again and not self._order.is_as_before():
            raise self._moved(f"{again[0]} records came again on another page, first on page {again[1]}")
        self._again = again[0] if again else 0

    def findings(self) -> list[dict[str, Any]]:
        """Records that the source sends again elsewhere, every time: whether they hide others, only its owner knows."""
        if not self._again:
            return []
        told = "records came on two pages, in two reads alike: the pages may overlap and hide others; ask the owner"
        return [{"rule": ROWS_AGAIN, "field": ", ".join(self.keys), "records": self._again, "detail": told}]

    def _moved(self, problem: str) -> StartOver:
        return StartOver(
            f"{self._what}: {problem} while it was being read. Nothing was landed; try again, and tell the owner of the "
            "source if it stays so"
        )

    def _page(self, page: int, before: list[Any]) -> tuple[list[Any], int]:
        """A page, asked again while the answer is another page than the one asked for."""
        for _ in range(MOST_REPEATS):
            items, total, echo = self._fetch(page)
            other = echo is not None and str(echo) != str(page)
            if not other and not (len(items) > 1 and items == before):
                return items, total
            problem = f"page {echo} came" if other else "the page before it came again"
            log.warning("%s: page %d was asked for and %s; asking again", self._what, page, problem)
        raise self._moved(f"page {page} was asked for {MOST_REPEATS} times and {problem}")

    @property
    def _what(self) -> str:
        return f"{self.connector.system}{self.connector.path}{self._window}"

    @property
    def _window(self) -> str:
        return f" from {self.since:{WIRE_TIME}} to {self.until:{WIRE_TIME}}" if self.since and self.until else ""

    def _fetch(self, page: int) -> tuple[list[Any], int, Any]:
        c = self.connector
        values: dict[str, Any] = {c.page_field: page, c.size_field: c.page_size}
        if c.since_field and c.until_field and self.since and self.until:
            values[c.since_field] = self.since.strftime(WIRE_TIME)
            values[c.until_field] = self.until.strftime(WIRE_TIME)
        answer = self.client.call(c.method, c.path, values, part=f"page {page}{self._window}", loads=self.loads)
        if c.error_field and str(answer.get(c.error_field)) != "0":
            message = str(answer.get(c.message_field or "") or "no message")[:200]
            raise PermanentError(
                f"{self._what}, page {page}: the source refused, {c.error_field} {answer.get(c.error_field)!r} ({message})"
            )
        items, total = answer.get(c.items_field), answer.get(c.total_field)
        if not isinstance(items, list) or not isinstance(total, int) or isinstance(total, bool):
            raise PermanentError(
                f"{self._what}, page {page}: the answer has no list '{c.items_field}' with a total '{c.total_field}': "
                "the source changed its shape, or the address is another service"
            )
        return items, total, answer.get(c.page_echo_field) if c.page_echo_field else None


class Order:
    """Watches one read for records that come again elsewhere: rows moved between pages, so others were skipped.

    A source that sends a record twice in a row, or that answers the very same list when it is read again, sends it twice of
    its own accord: that is for the load to count. Memory is bounded: of a long read the last million records are watched.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._pick = itemgetter(*keys) if keys else None
        self._now = array("q")
        self._before = array("q")
        self._ends: list[int] = []
        self._gone = 0  # pages that are no longer watched
        self._again: list[int] = []  # pages on which records came again
        self._odd = count()

    def begin(self) -> None:
        """The read begins, maybe again."""
        self._before, self._now = self._now, array("q")
        self._ends, self._gone, self._again = [], 0, []

    def add(self, items: list[Any]) -> None:
        """One page, in its order."""
        if self._pick is None:
            return
        if len(self._now) + len(items) > MOST_WATCHED and self._ends:
            self._again += self._count()
            start = self._ends[-2] if len(self._ends) > 1 else 0
            self._now, self._before = self._now[start:], array("q")
            self._gone += len(self._ends) - 1
            self._ends = [len(self._now)]
        try:
            self._now.extend(map(hash, map(self._pick, items)))
        except (KeyError, TypeError):
            del self._now[self._ends[-1] if self._ends else 0 :]
            self._now.extend(map(self._hash, items))
        self._ends.append(len(self._now))

    def _hash(self, item: Any) -> int:
        assert self._pick is not None
        try:
            return hash(self._pick(item))
        except (KeyError, TypeError):
            return hash(("", next(self._odd)))  # a record without a key is like no other

    def end(self) -> tuple[int, int] | None:
        """(how many records came again in another place, the first page with one), None when none did."""
        again = self._again + self._count()
        return (len(again), min(again)) if again else None

    def is_as_before(self) -> bool:
        """The read before this one brought the same list."""
        return self._now == self._before

    def _count(self) -> list[int]:
        """The pages on which records came again elsewhere. Sixteenth by sixteenth: no copy of all is sorted."""
        hashes = np.frombuffer(self._now, np.int64) if self._now else np.empty(0, np.int64)
        last, ends, found = hashes.view(np.uint8)[:: hashes.itemsize] & 15, np.array(self._ends), []
        for part in range(16):
            here = np.flatnonzero(last == part)
            here = here[np.argsort(hashes[here], kind="stable")]
            ordered = hashes[here]
            same = ordered[1:] == ordered[:-1]
            if not same.any():
                continue
            same &= ~np.isin(ordered[1:], (hash(""), hash(None)))
            first, second = here[:-1][same], here[1:][same]
            page = [np.searchsorted(ends, places, side="right") for places in (first, second)]
            elsewhere = (second - first > 1) | (page[0] != page[1])
            found += (page[1][elsewhere] + self._gone + 1).tolist()
        return found


def _ahead(call: Callable[[], T]) -> Future[T]:
    """The call in a thread of its own. It is a daemon: who presses Ctrl-C does not wait for a source that is slow."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the other side asked us to wait: a number, or a date."""
    value = answer.headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(seconds, 0.0)
