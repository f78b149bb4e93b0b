"""Back-fills in chunks: stopped anywhere and run again, they go on; what was read without a gap is known; no future."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hailong.contracts import find_contract
from hailong.errors import TransientError, UsageError
from hailong.extract.run import Read, extract_remote, ingest
from hailong.load.ledger import cover_end, current_codes
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.integration.fake_source import NOW, FakeSource, dossier, rows, told

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
SINCE, UNTIL = "2026-05-01", "2026-10-15"  # six chunks of 31 days
STARTS = ["20260501", "20260601", "20260702", "20260802", "20260902", "20261003"]
DAYS = [datetime(2026, 5, 1, 9) + timedelta(days=4 * n) for n in range(40)]


@pytest.fixture
def feed(source: FakeSource) -> FakeSource:
    """A source that keeps to the window asked for: forty dossiers, one every four days."""
    every = [dossier(n, NgayCapNhat=f"{day:%Y%m%d%H%M%S}") for n, day in enumerate(DAYS)]
    plain = source.answer

    def answer(path: str, asked: dict[str, Any]) -> dict[str, Any]:
        source.records = [r for r in every if asked["TuNgayCapNhat"] <= r["NgayCapNhat"] < asked["DenNgayCapNhat"]]
        return plain(path, asked)

    source.answer = answer  # type: ignore[method-assign]
    return source


@pytest.fixture
def held(feed: FakeSource) -> Iterator[tuple[Event, Event]]:
    """(the fourth chunk was asked for, it may be answered)"""
    reached, released = Event(), Event()
    plain = feed.answer

    def answer(path: str, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["TuNgayCapNhat"].startswith(STARTS[3]):
            reached.set()
            released.wait(60)
        return plain(path, asked)

    feed.answer = answer  # type: ignore[method-assign]
    yield reached, released
    released.set()


def backfill(settings: Settings, told: list[str] | None = None) -> Any:
    return ingest(
        settings, "dossier", since=SINCE, until=UNTIL, now=NOW, progress=told.append if told is not None else None
    )


def asked(source: FakeSource) -> list[str]:
    found = [call["TuNgayCapNhat"][:8] for call in source.asked]
    source.asked.clear()
    return found


def batches(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(settings, "select window_start, window_end from ops.batch where feed = 'dossier' order by batch_id")


def keys(settings: Settings) -> set[str]:
    return {key for (key,) in rows(settings, "select record_key from raw.dossier where op = 'upsert'")}


ALL = {f"H29.10-20261001-{n:04d}" for n in range(40)}


# -- chunks --------------------------------------------------------------------------------------------------------------


def test_a_back_fill_is_read_in_chunks_each_a_batch(coded: Settings, feed: FakeSource) -> None:
    said: list[str] = []
    result = backfill(coded, said)
    assert asked(feed) == STARTS
    assert told(result) == (40, 40, 0, 0, 0)
    found = batches(coded)
    assert len(found) == len(result.batch_ids) == 6
    assert [start for start, _ in found[1:]] == [end for _, end in found[:-1]], "no gap, no overlap"
    assert found[0][0] == datetime(2026, 5, 1, tzinfo=ZONE)
    assert found[-1][1] == datetime(2026, 10, 15, tzinfo=ZONE)
    assert keys(coded) == ALL
    assert any(line.startswith("[3 of 6] dossier: batch") for line in said), said
    assert rows(coded, "select count(*) from ops.batch where feed = 'dossier' and is_complete") == [(0,)]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_back_fill_that_is_stopped_goes_on_where_it_was(
    coded: Settings, feed: FakeSource, held: tuple[Event, Event], stop: signal.Signals
) -> None:
    reached, released = held
    command = [sys.executable, "-m", "hailong.cli", "ingest", "dossier", "--since", SINCE, "--until", UNTIL]
    child = subprocess.Popen(
        command, env=os.environ | dict(coded.env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # A shell starts what runs in the background with SIGINT ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert reached.wait(60)
        child.send_signal(stop)
        # The source hangs for a minute, who asks does not wait for it.
        output = child.communicate(timeout=40)[0].decode()
        assert child.returncode != 0
        assert "Traceback" not in output
    finally:
        child.kill()
    released.set()
    assert len(batches(coded)) == 3
    assert asked(feed) == STARTS[:4]

    said: list[str] = []
    result = backfill(coded, said)
    assert asked(feed) == STARTS[3:], "what is loaded is not read again"
    assert any("going on at chunk 4" in line for line in said), said
    assert len(batches(coded)) == 6
    assert keys(coded) == ALL
    assert result.received == result.loaded == sum(f"{day:%Y%m%d}" >= STARTS[3] for day in DAYS)
    assert rows(coded, "select count(*), count(distinct record_key) from raw.dossier") == [(40, 40)]
    if stop is signal.SIGINT:  # the others get no chance to tidy up; what they leave is swept a day later
        assert not list((coded.landing / "dossier").glob(".*.tmp"))


def test_a_finished_back_fill_begins_again(coded: Settings, feed: FakeSource) -> None:
    backfill(coded)
    asked(feed)
    assert told(backfill(coded)) == (40, 0, 40, 0, 0)
    assert asked(feed) == STARTS
    ingest(coded, "dossier", since="2026-05-03", until=UNTIL, now=NOW)
    assert len(asked(feed)) == 6, "another back-fill is not taken for this one"


def test_a_chunk_that_fails_ends_the_run_and_keeps_those_before_it(coded: Settings, feed: FakeSource) -> None:
    plain = feed.answer

    def answer(path: str, asked: dict[str, Any]) -> dict[str, Any]:
        given = plain(path, asked)
        return given | {"TongSo": 99} if asked["TuNgayCapNhat"].startswith(STARTS[2]) else given

    feed.answer = answer  # type: ignore[method-assign]
    with pytest.raises(
        TransientError, match=r"99 records were declared.*2 of 6 chunks are loaded; the same command goes on"
    ):
        backfill(coded)
    # A read that does not fit together is read again before anybody is told.
    assert asked(feed) == [*STARTS[:2], *[STARTS[2]] * 6]
    assert len(batches(coded)) == 2
    feed.answer = plain  # type: ignore[method-assign]
    backfill(coded)
    assert asked(feed) == STARTS[2:]
    assert keys(coded) == ALL


def test_a_read_that_starts_over_lands_nothing_twice(coded: Settings, source: FakeSource) -> None:
    """The total changes on the first read's second page; the second read is the only one that lands."""
    source.records = [dossier(n) for n in range(2500)]
    plain = source.answer
    calls: list[int] = []

    def answer(path: str, asked: dict[str, Any]) -> dict[str, Any]:
        calls.append(int(asked["Trang"]))
        given = plain(path, asked)
        return given | {"TongSo": 2501} if len(calls) == 2 else given

    source.answer = answer  # type: ignore[method-assign]
    result = ingest(coded, "dossier", since="2026-10-01", until="2026-11-01", now=NOW)
    assert told(result) == (2500, 2500, 0, 0, 0)
    assert calls.count(1) == 2
    assert rows(coded, "select declared_rows, received_rows from ops.batch where feed = 'dossier'") == [(2500, 2500)]


# -- what was read without a gap -----------------------------------------------------------------------------------------


def test_the_next_run_begins_where_the_cover_has_its_first_gap(coded: Settings, feed: FakeSource) -> None:
    def cover() -> datetime | None:
        with connect(coded) as connection:
            found = cover_end(connection, "dossier")
        return found.astimezone(ZONE) if found else None

    def day(month: int, number: int) -> datetime:
        return datetime(2026, month, number, tzinfo=ZONE)

    assert cover() is None
    ingest(coded, "dossier", since="2026-08-01", until="2026-08-20", now=NOW)
    assert cover() == day(8, 20)
    ingest(coded, "dossier", since="2026-09-01", until="2026-09-10", now=NOW)
    assert cover() == day(8, 20), "from 20 August to 1 September nothing was read"
    asked(feed)
    ingest(coded, "dossier", until="2026-09-05", now=NOW)
    assert asked(feed) == ["20260706"], "45 days before the gap"
    assert cover() == day(9, 10), "the gap is closed and joins what lies after it"
    ingest(coded, "dossier", since="2026-07-15", until="2026-08-05", now=NOW)
    assert cover() == day(9, 10)
    ingest(coded, "dossier", since="2026-05-01", until="2026-05-10", now=NOW)
    assert cover() == day(5, 10), "an earlier start with a gap behind it counts from there"


def test_a_feed_that_was_away_for_long_catches_up_in_chunks(coded: Settings, feed: FakeSource) -> None:
    ingest(coded, "dossier", since="2026-05-01", until="2026-05-20", now=NOW)
    asked(feed)
    result = ingest(coded, "dossier", now=NOW)
    assert asked(feed)[:3] == ["20260405", "20260506", "20260606"]
    assert len(result.batch_ids) == 8
    assert keys(coded) == ALL
    # Only the chunk that reaches the present can tell what is gone.
    assert rows(coded, "select count(*) from ops.batch where feed = 'dossier' and is_complete") == [(1,)]
    assert batches(coded)[-1][1] == NOW


def test_the_last_chunk_reads_up_to_the_moment_it_begins(coded: Settings, feed: FakeSource) -> None:
    """Chunks before it may take hours: what changes meanwhile is not missed, and the read may speak of deletions."""
    contract = find_contract(coded.contracts, "dossier")
    with connect(coded) as connection:
        codes = current_codes(connection)
    later = NOW + timedelta(hours=3)
    read = Read(coded, contract, codes, lambda: later)
    window = (NOW - timedelta(days=20), NOW)
    to_present = extract_remote(read, window, to_present=True).manifest
    assert (to_present["window_end"], to_present["complete"]) == (later.isoformat(), True)
    fixed = extract_remote(read, window).manifest
    assert (fixed["window_end"], fixed["complete"]) == (NOW.isoformat(), False)


# -- wrong use -----------------------------------------------------------------------------------------------------------


def test_nobody_reads_the_future(coded: Settings, feed: FakeSource) -> None:
    with pytest.raises(UsageError, match=r"--until 2026-11-20 .* lies in the future"):
        ingest(coded, "dossier", since="2026-11-01", until="2026-11-20", now=NOW)
    with pytest.raises(UsageError, match="lies in the future"):
        ingest(coded, "dossier", since="2026-11-01", until=datetime.now(UTC) + timedelta(minutes=5))
    assert feed.asked == []
    ingest(coded, "dossier", since="2026-11-01", until=NOW, now=NOW)


def test_a_census_is_of_everything_and_of_feeds_that_are_read_by_cursor(coded: Settings, feed: FakeSource) -> None:
    with pytest.raises(UsageError, match="leave --since and --until out"):
        ingest(coded, "dossier", since="2026-11-01", census=True, now=NOW)
    with pytest.raises(UsageError, match="every read of it is of the whole"):
        ingest(coded, "unit_register", census=True, now=NOW)
    with pytest.raises(UsageError, match="no census"):
        ingest(coded, "posting_check", census=True, now=NOW)
    assert feed.asked == []


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_delete_share_is_a_share(coded: Settings, share: float) -> None:
    with pytest.raises(UsageError, match="is a share, 0 to 1"):
        ingest(coded, "dossier", max_delete_share=share, now=NOW)


def test_the_rate_of_the_contract_is_kept_to(coded: Settings, source: FakeSource, tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    shutil.copytree(coded.contracts, contracts)
    path = contracts / "dossier.yaml"
    text = re.sub(r"( +)kind: paged_http\n", r"\1kind: paged_http\n\1requestsPerSecond: 4\n", path.read_text("utf-8"))
    path.write_text(re.sub(r"pageSize: \d+", "pageSize: 2", text), encoding="utf-8")
    slow = Settings.load({**coded.env, "HAILONG_CONTRACTS": str(contracts)})
    source.records = [dossier(n) for n in range(8)]
    begun = time.monotonic()
    assert ingest(slow, "dossier", since="2026-10-01", until="2026-11-01", now=NOW).loaded == 8
    assert time.monotonic() - begun >= 0.75, "four requests, a quarter of a second apart"
    assert [path.name.split("_")[0] for path in (slow.home / "rate").iterdir()] == ["127.0.0.1"]
