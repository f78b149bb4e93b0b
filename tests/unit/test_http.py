"""Calling a source: what is retried, what is refused at once, and that nothing declared goes missing unseen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from hailong.contracts import PagedHttp
from hailong.errors import PermanentError, TransientError
from hailong.extract.http import Client, Pages, RetryPolicy
from hailong.settings import Source

QUICK = RetryPolicy(attempts=3, timeout=20, wait_initial=0.001, wait_max=0.002)
CONNECTOR = PagedHttp(
    system="tthc", method="POST", path="/TraCuuHoSo", page_field="Trang", size_field="SoBanGhi", page_size=2,
    items_field="items", total_field="total", since_field="Tu", until_field="Den", error_field="error_code",
    message_field="error_message",
)  # fmt: skip


def client(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return Client("tthc", Source("http://source.invalid/tthc", "secret-token"), QUICK, httpx.MockTransport(answer))


def ok(items: list[int], total: int, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"error_code": "0", "items": items, "total": total} | more)


def read(answer: Callable[[httpx.Request], httpx.Response]) -> list[Any]:
    since, until = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    return [item for page in Pages("dossier", client(answer), CONNECTOR, since, until) for item in page]


def test_pages_are_read_to_the_declared_total() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        asked.append(body)
        assert request.headers["Authorization"] == "Bearer secret-token"
        first = (body["Trang"] - 1) * 2
        return ok(list(range(5))[first : first + 2], 5)

    assert read(answer) == [0, 1, 2, 3, 4]
    assert [body["Trang"] for body in asked] == [1, 2, 3]
    assert asked[0] | {"Trang": 1} == {"Trang": 1, "SoBanGhi": 2, "Tu": "20261001000000", "Den": "20261101000000"}


def test_an_empty_window_is_an_empty_answer() -> None:
    assert read(lambda request: ok([], 0)) == []


def test_a_missing_last_page_is_refused() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = orjson.loads(request.content)["Trang"]
        return ok([page, page] if page < 3 else [], 5)

    with pytest.raises(TransientError, match="5 records were declared and 4 came"):
        read(answer)


def test_more_than_declared_is_refused() -> None:
    with pytest.raises(TransientError, match="1 records were declared and 2 came"):
        read(lambda request: ok([1, 2], 1))


def test_a_total_that_changes_while_reading_is_refused() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        page = orjson.loads(request.content)["Trang"]
        return ok([page, page], 5 + page)

    with pytest.raises(TransientError, match="total changed from 6 to 7"):
        read(answer)


def failing(
    statuses: list[int], headers: dict[str, str] | None = None
) -> tuple[Callable[..., httpx.Response], list[int]]:
    calls: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status = statuses[len(calls)] if len(calls) < len(statuses) else 200
        calls.append(status)
        return ok([1], 1) if status == 200 else httpx.Response(status, headers=headers)

    return answer, calls


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_retried(status: int) -> None:
    answer, calls = failing([status, status])
    assert read(answer) == [1]
    assert len(calls) == 3


def test_a_lasting_failure_is_transient_after_the_last_attempt() -> None:
    answer, calls = failing([500] * 9)
    with pytest.raises(
        TransientError, match=r"tthc/TraCuuHoSo, page 1 from 20261001000000 to 20261101000000, answered 500"
    ):
        read(answer)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "HAILONG_SOURCE_TTHC_TOKEN"),
        (403, "may not read"),
        (404, "HAILONG_SOURCE_TTHC_URL"),
        (400, "refused"),
        (302, "refused"),
    ],
)
def test_a_refusal_is_not_retried_and_the_token_is_not_told(status: int, told: str) -> None:
    answer, calls = failing([status] * 9)
    with pytest.raises(PermanentError) as caught:
        read(answer)
    assert len(calls) == 1
    assert told in str(caught.value)
    assert "secret-token" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_retry_after_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    answer, _ = failing([503], {"Retry-After": "7"})
    assert read(answer) == [1]
    assert waited == [7.0]


def test_no_answer_is_transient() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(TransientError, match="got no answer"):
        read(answer)


def test_an_error_code_in_a_good_answer_is_a_refusal() -> None:
    with pytest.raises(PermanentError, match=r"error_code '-3' \(sai tham số\)"):
        read(lambda request: httpx.Response(200, json={"error_code": "-3", "error_message": "sai tham số"}))


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b'{"error_code":"0"}', b'{"error_code":"0","items":[],"total":null}']
)
def test_an_answer_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(PermanentError):
        read(lambda request: httpx.Response(200, content=body))


def test_a_get_service_is_asked_by_query() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        assert dict(request.url.params) == {"page": "1", "size": "2"}
        return httpx.Response(201, json={"items": [1], "total": 1})

    connector = PagedHttp("rating", "GET", "/api/ratings", "page", "size", 2, "items", "total")
    assert list(Pages("rating", client(answer), connector, None, None)) == [[1]]
