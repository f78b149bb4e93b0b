"""Calling a source: what is retried, what is refused at once, and that nothing declared goes missing unseen."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from hailong.contracts import PagedHttp
from hailong.errors import PermanentError, TransientError
from hailong.extract import http
from hailong.extract.http import Client, Order, Pace, Pages, RetryPolicy, StartOver
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


# -- answers that are not what they seem ------------------------------------------------------------------------------

JSON = {"content-type": "application/json"}
WHOLE = b'{"error_code":"0","items":[1],"total":1}'


@pytest.mark.parametrize("broken", [WHOLE[:-9], b"", b"[1,", b'{"items":'])
def test_json_that_breaks_off_is_asked_for_again(broken: bytes) -> None:
    answers = [httpx.Response(200, content=broken, headers=JSON), httpx.Response(200, content=WHOLE, headers=JSON)]
    assert read(lambda request: answers.pop(0)) == [1]
    with pytest.raises(TransientError, match="breaks off"):
        read(lambda request: httpx.Response(200, content=broken, headers=JSON))


@pytest.mark.parametrize("kind", ["text/html", "application/json", ""])
def test_a_page_for_people_is_no_answer_and_not_asked_for_again(kind: str) -> None:
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        headers = {"content-type": kind} if kind else {}
        return httpx.Response(200, content=b"\n<!doctype html><html>B\xe1\xba\xa3o tr\xc3\xac</html>", headers=headers)

    with pytest.raises(PermanentError, match=r"page 1 from .* not JSON"):
        read(answer)
    assert len(calls) == 1


def test_bytes_that_are_not_utf_8_spoil_their_record_only() -> None:
    body = '{"error_code":"0","items":["Hồ sơ","@@"],"total":2}'.encode().replace(b"@@", b"H\xe1\xbb\xffng")
    good, bad = read(lambda request: httpx.Response(200, content=body, headers=JSON))
    assert good == "Hồ sơ"
    assert "\ufffd" in bad


def test_half_a_character_and_not_a_number_spoil_their_record_only() -> None:
    body = rb'{"error_code":"0","items":["a\ud800","b\ud83d\ude00",NaN,12345678901.25],"total":4}'
    half, whole, number, decimal = read(lambda request: httpx.Response(200, content=body, headers=JSON))
    assert "\ufffd" in half
    half.encode()  # can be written
    assert (whole, number, decimal) == ("b😀", "NaN", 12345678901.25)


def test_a_byte_order_mark_is_skipped() -> None:
    assert read(lambda request: httpx.Response(200, content=b"\xef\xbb\xbf" + WHOLE, headers=JSON)) == [1]


def test_a_broken_compression_is_asked_for_again() -> None:
    whole = gzip.compress(WHOLE)
    packed = JSON | {"content-encoding": "gzip"}
    answers = [b"no gzip at all", whole]
    assert read(lambda request: httpx.Response(200, headers=packed, stream=Stream(answers.pop(0)))) == [1]


class Stream(httpx.SyncByteStream):
    """A body that is decoded when it is read, as one from a socket."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __iter__(self) -> Any:
        yield self.body


def test_a_page_of_endless_length_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 20)
    with pytest.raises(PermanentError, match="ask for smaller pages"):
        read(lambda request: ok([1] * 50, 50))


# -- the source moves while it is read -----------------------------------------------------------------------------------

KEYED = PagedHttp(
    system="tthc", method="POST", path="/TraCuuHoSo", page_field="Trang", size_field="SoBanGhi", page_size=3,
    items_field="items", total_field="total", page_echo_field="Trang",
)  # fmt: skip


class Listing:
    """A paged list of keys; `change` may say something else about a page (number of the call, page) -> keys or None."""

    def __init__(
        self, keys: list[str], change: Callable[[int, int], list[str] | None] = lambda call, page: None
    ) -> None:
        self.keys, self.change = keys, change
        self.asked: list[int] = []
        self.echo: Callable[[int], int] = lambda page: page
        self.pages = Pages("dossier", client(self.answer), KEYED, None, None, keys=("k",))

    def answer(self, request: httpx.Request) -> httpx.Response:
        page = orjson.loads(request.content)["Trang"]
        self.asked.append(page)
        keys = self.change(len(self.asked), page)
        if keys is None:
            keys = self.keys[(page - 1) * 3 : page * 3]
        return ok([{"k": key} for key in keys], len(self.keys), Trang=self.echo(page))  # type: ignore[arg-type]

    def read(self) -> list[str]:
        return [record["k"] for page in self.pages for record in page]


NINE = list("abcdefghi")


def test_the_page_before_in_place_of_the_next_is_asked_for_again() -> None:
    listing = Listing(NINE, lambda call, page: list("abc") if call == 2 else None)
    assert listing.read() == NINE
    assert listing.asked == [1, 2, 2, 3]
    with pytest.raises(StartOver, match="page 2 was asked for 3 times and the page before it came again"):
        Listing(NINE, lambda call, page: list("abc") if page == 2 else None).read()


def test_a_page_that_says_it_is_another_one_is_asked_for_again() -> None:
    listing = Listing(NINE)
    listing.echo = lambda page: 9 if len(listing.asked) == 3 else page
    assert listing.read() == NINE
    assert listing.asked == [1, 2, 3, 3]
    listing.echo = lambda page: 1
    with pytest.raises(StartOver, match="page 2 was asked for 3 times and page 1 came"):
        listing.read()


def test_a_short_page_in_the_middle_starts_over() -> None:
    listing = Listing(NINE, lambda call, page: list("de") if call == 2 else None)
    with pytest.raises(StartOver, match="page 2 holds 2 records and the pages before it 3"):
        listing.read()
    assert listing.read() == NINE


def test_an_empty_page_in_the_middle_is_not_the_end() -> None:
    with pytest.raises(StartOver, match="9 records were declared and 3 came"):
        Listing(NINE, lambda call, page: [] if page == 2 else None).read()


def test_a_server_may_have_smaller_pages_than_we_ask_for() -> None:
    listing = Listing(NINE)
    listing.change = lambda call, page: NINE[(page - 1) * 2 : page * 2]
    assert listing.read() == NINE


@pytest.mark.parametrize(
    ("shifted", "told"),
    [
        (list("cde") + list("fgh"), "1 records came again on another page, first on page 2"),  # b left, i was skipped
        (
            list("efg") + list("hia"),
            "1 records came again on another page, first on page 3",
        ),  # d was skipped, a comes twice
        (list("bcd") + list("efg"), "2 records came again on another page, first on page 2"),
    ],
)
def test_rows_that_move_between_pages_start_over(shifted: list[str], told: str) -> None:
    """The total stays, the number of records fits: only the keys tell."""
    listing = Listing(NINE, lambda call, page: shifted[(page - 2) * 3 : (page - 1) * 3] if call in (2, 3) else None)
    with pytest.raises(StartOver, match=told):
        listing.read()
    assert listing.read() == NINE


def test_records_that_the_source_always_sends_twice_are_its_own() -> None:
    """Next to each other on a page at once; elsewhere when a second read brings the very same list."""
    twice = list("aabcddefg")
    assert Listing(twice).read() == twice
    apart = list("abcabdefa")
    listing = Listing(apart)
    with pytest.raises(StartOver):
        listing.read()
    assert listing.read() == apart
    assert [(f["rule"], f["field"], f["records"]) for f in listing.pages.findings()] == [("rows_again", "k", 3)]
    moving = Listing(NINE, lambda call, page: [f"x{call}", "a", f"y{call}"] if page == 3 else None)
    for _ in range(3):
        with pytest.raises(StartOver):
            moving.read()


def test_records_without_a_key_are_like_no_other() -> None:
    order = Order(("k",))
    order.begin()
    order.add([{"k": "a"}, {"x": 1}, {"k": None}])
    order.add([{"x": 2}, "text", {"k": {}}, {"k": ""}, {"k": None}])
    order.add([{"k": ""}])
    assert order.end() is None
    assert not order.is_as_before()
    order.begin()
    order.add([{"k": "a"}])
    order.add([{"x": 2}, {"k": "b"}, {"k": "a"}])
    assert order.end() == (1, 2)


def test_what_came_before_the_last_million_is_no_longer_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_WATCHED", 6)
    order = Order(("k",))
    order.begin()
    for page in ("abc", "def", "ghi", "jka"):
        order.add([{"k": key} for key in page])
    assert order.end() is None
    order.begin()
    for page in ("abc", "dbf", "fgh"):
        order.add([{"k": key} for key in page])
    assert order.end() == (2, 2)


def test_an_interrupt_does_not_wait_for_a_slow_page() -> None:
    """The page ahead hangs; whoever stops reading goes on at once."""
    hang = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        if orjson.loads(request.content)["Trang"] == 2:
            hang.wait(30)
        return ok([1, 2], 4)

    pages = iter(Pages("dossier", client(answer), CONNECTOR, None, None))
    next(pages)
    begun = time.monotonic()
    pages.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 5
    hang.set()


# -- pauses and clocks ---------------------------------------------------------------------------------------------------


def test_who_asks_for_a_long_pause_is_left_alone() -> None:
    answer, calls = failing([429] * 9, {"Retry-After": "3600"})
    with pytest.raises(TransientError, match="left alone for 3,600 s"):
        read(answer)
    assert len(calls) == 1


def test_retry_after_may_be_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    answer, _ = failing([429], {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)})
    assert read(answer) == [1]
    assert 25 < waited[0] <= 30


# Whoever wakes late on a busy machine was given his turn all the same: turns are compared, not when somebody woke.
PACED = """
import sys
from pathlib import Path
from hailong.extract.http import Pace
class Told(Pace):
    def _take(self, *args):
        turn = super()._take(*args)
        print(repr(turn))
        return turn
pace = Told(Path(sys.argv[1]), "host:80", 20)
for _ in range(5):
    pace.wait()
"""


def test_processes_share_the_rate_of_a_host(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PACED, str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    turns = sorted(float(line) for child in children for line in child.communicate(timeout=60)[0].split())
    assert len(turns) == 10
    assert min(later - turn for turn, later in pairwise(turns)) > 0.0499, "twenty requests a second"


def test_a_pause_is_for_every_process_and_a_wrong_clock_stops_nobody_for_long(tmp_path: Path) -> None:
    waited: list[float] = []
    one, other = Pace(tmp_path, "h", 100), Pace(tmp_path, "h", 100)
    one.hold_off(7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", waited.append)
        other.wait()
        (tmp_path / "h").write_text(repr(time.time() + 9e9))
        other.wait()
        (tmp_path / "h").write_text("rubbish")
        other.wait()
    assert 6 < waited[0] <= 7
    assert waited[1] <= http.LONGEST_WAIT
    assert waited[2] == 0


@pytest.mark.parametrize(("off", "told"), [(0, None), (200, None), (900, "900 s ahead of"), (-900, "900 s behind")])
def test_a_clock_that_is_off_is_a_finding(off: int, told: str | None) -> None:
    now = datetime(2026, 10, 1, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=off), usegmt=True)
    asking = Client(
        "tthc", Source("http://source.invalid", ""), QUICK,
        httpx.MockTransport(lambda request: httpx.Response(200, json={}, headers={"Date": date})), clock=lambda: now,
    )  # fmt: skip
    asking.call("GET", "/", {})
    findings = asking.findings()
    assert [told in finding["detail"] for finding in findings] == ([True] if told else [])
    assert {finding["rule"] for finding in findings} <= {"clock_skew"}
