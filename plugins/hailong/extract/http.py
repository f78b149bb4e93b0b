"""Calling a source over HTTP: bearer token, timeouts, retries of what may pass, and a count of what was declared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import orjson
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from hailong.contracts import PagedHttp
from hailong.errors import PermanentError, TransientError
from hailong.settings import Source

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 120.0
WIRE_TIME = "%Y%m%d%H%M%S"

log = logging.getLogger(__name__)


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
    ) -> None:
        self.system = system
        self._source = source
        self._retry = retry or RetryPolicy()
        local = urlsplit(source.url).hostname in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {source.token}"} if source.token else {},
            timeout=httpx.Timeout(60.0, connect=10.0),
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

    def call(self, method: str, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that a call answers with: `values` as body (POST) or query (GET). 200 and 201 are answers.

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
                return self._once(method, path, values)
        raise AssertionError("unreachable: the last failure is raised")

    def _once(self, method: str, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        what = f"{self.system}: {method} {self._source.url}{path}"
        try:
            if method == "POST":
                answer = self._http.post(
                    f"{self._source.url}{path}",
                    content=orjson.dumps(values),
                    headers={"Content-Type": "application/json"},
                )
            else:
                answer = self._http.get(f"{self._source.url}{path}", params={k: str(v) for k, v in values.items()})
        except httpx.TransportError as error:
            raise _Busy(f"{what} got no answer ({_reason(error)}). Is the system up? Try again later") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise PermanentError(
                f"{what}: not a usable address ({error}); check the HAILONG_SOURCE_* variables"
            ) from error
        status = answer.status_code
        if status in (200, 201):
            return self._parsed(what, answer)
        if status in TRANSIENT_STATUSES:
            raise _Busy(f"{what} answered {status} time and again. Try again later", _retry_after(answer))
        hints = {
            401: f"the token was not accepted: check HAILONG_SOURCE_{self.system.upper()}_TOKEN",
            403: f"the token may not read this: ask the owner of {self.system}",
            404: f"there is no such service: check HAILONG_SOURCE_{self.system.upper()}_URL",
        }
        raise PermanentError(f"{what} answered {status}: {hints.get(status, 'the request was refused')}")

    def _parsed(self, what: str, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            kind = answer.headers.get("content-type", "unknown type")
            raise PermanentError(f"{what} answered something that is not JSON ({kind}): check the address") from None
        if not isinstance(found, dict):
            raise PermanentError(f"{what} answered JSON of an unexpected shape: check the address")
        return found


@dataclass
class Pages:
    """Records of a paged service, a page at a time; `declared` is known once the first page is there."""

    feed: str
    client: Client
    connector: PagedHttp
    since: datetime | None
    until: datetime | None
    progress: Callable[[str], None] | None = None
    declared: int | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[list[Any]]:
        """Pages until everything declared is here. TransientError when the source stops short or changes its total."""
        received, page = 0, 1
        with ThreadPoolExecutor(max_workers=1) as ahead:
            items, self.declared = self._fetch(1)
            while True:
                received += len(items)
                done = received >= self.declared
                coming = None if done or not items else ahead.submit(self._fetch, page + 1)
                if items:
                    yield items
                if self.progress and (done or page % 10 == 0):
                    self.progress(f"{self.feed}: {received:,} of {self.declared:,}")
                if coming is None:
                    break
                page += 1
                items, total = coming.result()
                if total != self.declared:
                    raise TransientError(
                        f"{self._what}: the total changed from {self.declared} to {total} while it was being read. "
                        "Nothing was landed; try again"
                    )
        if received != self.declared:
            raise TransientError(
                f"{self._what}: {self.declared} records were declared and {received} came (page {page} ended it). "
                "Nothing was landed; try again, and tell the owner of the source if it stays so"
            )

    @property
    def _what(self) -> str:
        window = f" from {self.since:{WIRE_TIME}} to {self.until:{WIRE_TIME}}" if self.since and self.until else ""
        return f"{self.connector.system}{self.connector.path}{window}"

    def _fetch(self, page: int) -> tuple[list[Any], int]:
        c = self.connector
        values: dict[str, Any] = {c.page_field: page, c.size_field: c.page_size}
        if c.since_field and c.until_field and self.since and self.until:
            values[c.since_field] = self.since.strftime(WIRE_TIME)
            values[c.until_field] = self.until.strftime(WIRE_TIME)
        answer = self.client.call(c.method, c.path, values)
        if c.error_field and str(answer.get(c.error_field)) != "0":
            message = str(answer.get(c.message_field or "") or "no message")[:200]
            raise PermanentError(
                f"{self._what}: the source refused, {c.error_field} {answer.get(c.error_field)!r} ({message})"
            )
        items, total = answer.get(c.items_field), answer.get(c.total_field)
        if not isinstance(items, list) or not isinstance(total, int) or isinstance(total, bool):
            raise PermanentError(
                f"{self._what}: the answer has no list '{c.items_field}' with a total '{c.total_field}': "
                "the source changed its shape, or the address is another service"
            )
        return items, total


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
    return min(max(seconds, 0.0), LONGEST_WAIT)
