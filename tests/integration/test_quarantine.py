"""Quarantine, stale marks, replay, trace and purge: where a record went, and getting it back."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson
import psycopg
import pytest

from hailong.contracts import load_contracts
from hailong.errors import PermanentError
from hailong.extract.run import ingest
from hailong.load import quarantine
from hailong.load.ledger import count_open, feed_status, quarantine_list
from hailong.load.purge import purge
from hailong.load.replay import replay
from hailong.load.trace import trace
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.integration.fake_source import NOW, FakeSource, code_file, dossier, rows, told

KEY = "H29.10-20261001-0001"


def night(settings: Settings, number: int = 0) -> tuple[int, int, int, int, int]:
    since = None if number else "2026-10-19"  # one chunk
    return told(ingest(settings, "dossier", since=since, now=NOW + timedelta(days=number)))


def open_entries(settings: Settings) -> list[tuple[str | None, str, int]]:
    with connect(settings, role="hailong_loader") as connection:
        found = quarantine_list(connection, load_contracts(settings.contracts), feed="dossier")
    return [(row["record_key"], row["rule"], row["times"]) for row in found]


# -- stale marks ------------------------------------------------------------------------------------------------------


def test_a_good_copy_after_a_bad_one_is_loaded_even_if_it_is_the_old_one(coded: Settings, source: FakeSource) -> None:
    good, bad = dossier(1), dossier(1, NgayTiepNhan="20260231", NgayCapNhat="20261020")
    for number, (record, expected) in enumerate(
        [
            (good, (1, 1, 0, 0, 0)),
            (bad, (1, 0, 0, 0, 1)),
            (bad, (1, 0, 0, 0, 1)),
            (good, (1, 1, 0, 0, 0)),
            (good, (1, 0, 1, 0, 0)),
        ]
    ):
        source.records = [record]
        assert night(coded, number) == expected
        if number == 2:
            assert open_entries(coded) == [(KEY, "bad_date", 2)]
            with connect(coded, role="hailong_loader") as connection:
                status = {row["feed"]: row for row in feed_status(connection, load_contracts(coded.contracts), NOW)}
            assert (status["dossier"]["stale"], status["dossier"]["quarantine_open"]) == (1, 1)
            assert trace(coded, "dossier", KEY).state == "in_force_stale"
    assert open_entries(coded) == []
    assert trace(coded, "dossier", KEY).state == "in_force"


# -- reading entries again --------------------------------------------------------------------------------------------


def test_what_the_code_map_learned_is_read_again_with_its_flags_and_pseudonym(
    coded: Settings, source: FakeSource, tmp_path: Path
) -> None:
    unknown = {"DonViXuLy": "H29.11", "MaDoiTuong": "000000001", "NguoiXuLyChinh": "Nguyễn Cán Bộ"}
    source.records = [dossier(1, **unknown), dossier(2, NgayTiepNhan="20260231")]
    night(coded)
    night(coded, 1)
    first = quarantine.replay(coded, by="engineer")
    assert [(r.feed, r.loaded, r.still_bad, r.batch_id) for r in first] == [("dossier", 0, 2, None)]

    ingest(coded, "code_map", file=code_file(tmp_path, (("tthc", "unit", "H29.11"),)))
    (result,) = quarantine.replay(coded, by="engineer")
    assert (result.loaded, result.still_bad) == (1, 1)
    assert rows(coded, "select record_key, is_dummy_identity, official is not null from raw.dossier") == [
        (KEY, True, True)
    ]
    assert open_entries(coded) == [("H29.10-20261001-0002", "bad_date", 2)]
    released = rows(coded, "select outcome, batch_id, released_by from ops.quarantine_release")
    assert released == [("loaded", result.batch_id, "engineer")] * 2
    assert rows(
        coded, "select read_kind, received_rows, loaded_rows from ops.batch order by batch_id desc limit 1"
    ) == [("replay", 1, 1)]
    assert night(coded, 2)[:3] == (2, 0, 1)  # the source's own copy is the same version
    told_twice = quarantine.replay(coded, by="engineer")
    assert [(r.loaded, r.batch_id) for r in told_twice] == [(0, None)]


def test_an_entry_that_was_overtaken_is_released_and_not_loaded(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1, DonViXuLy="H29.11")]
    night(coded)
    source.records = [dossier(1)]
    night(coded, 1)
    (result,) = quarantine.replay(coded, by="engineer")
    assert (result.loaded, result.superseded, result.batch_id) == (0, 1, None)
    assert rows(coded, "select resolving_unit_source_code from raw.dossier") == [("H29.10",)]


def test_a_payload_that_was_cut_is_not_replayed(coded: Settings, source: FakeSource) -> None:
    requests = [{"HoSoBoSungId": f"BS{n}", "NgayBoSung": "20261002090000", "TrangThaiBoSung": 1} for n in range(600)]
    source.records = [dossier(1, DonViXuLy="H29.11", DanhSachHoSoBoSung=requests)]
    night(coded)
    (result,) = quarantine.replay(coded, by="engineer")
    assert (result.loaded, result.not_replayable) == (0, 1)
    assert "hailong ingest dossier --since" in result.message


def test_an_entry_is_shown_with_its_batch_and_without_a_person(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1, NgayTiepNhan="20260231")]
    night(coded)
    with connect(coded, role="hailong_loader") as connection:
        number = connection.execute("select max(quarantine_id) from ops.quarantine").fetchone()[0]  # type: ignore[index]
        entry = quarantine.show(connection, number)
        with pytest.raises(PermanentError, match="there is no quarantine entry 999"):
            quarantine.show(connection, 999)
    assert (entry["record_key"], entry["rule"], entry["outcome"]) == (KEY, "bad_date", None)
    assert entry["landing_uri"].startswith("file://")
    assert "Trần" not in entry["payload_minimised"]
    assert orjson.loads(entry["payload_minimised"])["MaHoSo"] == KEY


# -- replay -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lived(coded: Settings, source: FakeSource) -> Settings:
    """A feed with versions, duplicates, quarantine, tombstones and a census behind it."""
    every = [dossier(n) for n in range(1, 301)]
    steps = [
        every,
        [dossier(1, TrangThaiHoSo=10), dossier(2, NgayTiepNhan="x"), *every[2:], *every[2:5]],
        every[1:],
        every[1:],
        every,
    ]
    for number, present in enumerate(steps):
        source.records = present
        night(coded, number)
    ingest(coded, "dossier", census=True, now=NOW + timedelta(days=9))
    return coded


def everything(settings: Settings) -> list[list[tuple[object, ...]]]:
    return [
        rows(settings, "select * from raw.dossier order by record_key, batch_id"),
        rows(settings, "select record_key, batch_id, version_hash, op, missed_batch from raw.dossier_head order by 1"),
        rows(settings, "select * from ops.quarantine order by quarantine_id"),
        rows(settings, "select * from ops.batch order by 1"),
    ]


def test_a_replay_gives_the_same_rows(lived: Settings) -> None:
    before = everything(lived)
    assert replay(lived, "dossier", check=True).identical
    result = replay(lived, "dossier")
    assert (result.identical, result.repaired, result.batches, result.quarantined) == (True, False, 6, 1)
    assert everything(lived) == before


def test_a_replay_finds_what_was_changed_by_hand_and_puts_it_right(lived: Settings) -> None:
    before = everything(lived)
    with connect(lived) as connection:
        connection.execute("alter table raw.dossier disable trigger dossier_append_only")
        connection.execute("delete from raw.dossier where record_key like '%0007'")
        connection.execute("update raw.dossier set status_code = '4' where record_key like '%0008'")
        connection.execute("alter table raw.dossier enable always trigger dossier_append_only")
        connection.execute("alter table ops.quarantine disable trigger quarantine_append_only")
        connection.execute("update ops.quarantine set rule = 'harmless'")
        connection.execute("alter table ops.quarantine enable always trigger quarantine_append_only")
    found = replay(lived, "dossier", check=True)
    assert (found.raw_missing, found.raw_extra, found.quarantine_missing, found.quarantine_extra) == (2, 1, 1, 1)
    assert "hailong replay dossier" in found.message
    assert replay(lived, "dossier").repaired
    assert replay(lived, "dossier", check=True).identical
    after = everything(lived)
    assert after[:2] == before[:2]
    assert [row[1:] for row in after[2]] == [row[1:] for row in before[2]]  # a repaired entry has a new number
    for statement in ("delete from raw.dossier", "delete from ops.quarantine"):
        with connect(lived) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(statement)  # type: ignore[call-overload]


def test_a_replay_without_its_folders_says_which_one(lived: Settings) -> None:
    uri = rows(lived, "select landing_uri from ops.batch where feed = 'dossier' order by batch_id limit 1")[0][0]
    folder = Path(unquote(urlsplit(uri).path))
    before = everything(lived)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(PermanentError, match=r"dossier, batch 2: its landing folder .* is gone"):
        replay(lived, "dossier")
    assert everything(lived) == before


# -- trace ------------------------------------------------------------------------------------------------------------


def test_a_record_is_followed_through_every_batch(lived: Settings) -> None:
    found = trace(lived, "dossier", KEY, landings=True)
    assert [event.kind for event in found.events] == ["loaded", "loaded", "deleted", "loaded", "received"]
    assert found.state == "in_force"
    assert trace(lived, "dossier", "nothing").state == "unknown"
    other = trace(lived, "dossier", "H29.10-20261001-0002")
    assert [event.kind for event in other.events][:2] == ["loaded", "quarantined"]


# -- purge ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def aged(lived: Settings, source: FakeSource) -> Settings:
    """The first partition is full, and what comes after it lies in the next."""
    with connect(lived) as connection:
        connection.execute("alter table ops.batch alter column batch_id restart with 512")
    source.records = [dossier(n) for n in range(1, 5)]
    ingest(lived, "dossier", since="2026-10-05", until="2026-11-01", now=NOW)
    assert rows(lived, "select relname from pg_class where relname like 'dossier_p_' order by 1") == [
        ("dossier_p0",), ("dossier_p1",)
    ]  # fmt: skip
    return lived


LATER = datetime(2040, 1, 1, tzinfo=UTC)


def test_what_is_younger_than_its_retention_is_not_purged(aged: Settings) -> None:
    before = everything(aged)
    results = {row.feed: row for row in purge(aged, date(2026, 11, 20), by="engineer", now=NOW)}
    assert "kept for 120 months" in str(results["dossier"].refused)
    assert everything(aged) == before


def test_a_purge_drops_partitions_and_folders_and_leaves_counts_and_checksums(aged: Settings) -> None:
    ledger = rows(aged, "select * from ops.batch order by 1")
    before = everything(aged)
    dry = {row.feed: row for row in purge(aged, date(2028, 1, 1), by="engineer", dry_run=True, now=LATER)}
    assert (dry["dossier"].batches, dry["dossier"].quarantine_rows) == (6, 1)
    assert everything(aged) == before

    purge(aged, date(2028, 1, 1), by="engineer", now=LATER)
    assert rows(aged, "select relname from pg_class where relname like 'dossier_p_' order by 1") == [("dossier_p1",)]
    assert rows(aged, "select distinct batch_id from raw.dossier") == []  # all four came unchanged
    assert rows(aged, "select count(*) from raw.dossier_head") == [(0,)]
    assert rows(aged, "select count(*) from ops.quarantine") == [(0,)]
    assert rows(aged, "select * from ops.batch order by 1") == ledger
    kept = rows(
        aged,
        "select count(*), sum(raw_rows), sum(quarantine_rows), count(distinct raw_sha256) from ops.purge where feed = 'dossier'",
    )
    assert kept == [(6, len(before[0]), 1, 6)]
    folders = list((aged.landing / "dossier").iterdir())
    assert len(folders) == 1
    assert purge(aged, date(2028, 1, 1), by="engineer", now=LATER)[0].batches == 0
    assert night(aged, 20)[:2] == (4, 4)  # what the source still has comes back as new


def test_a_purge_that_was_stopped_before_its_folders_is_finished_by_the_next(
    aged: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        purge(aged, date(2028, 1, 1), by="engineer", now=LATER)
    assert len(list((aged.landing / "dossier").iterdir())) == 7
    purge(aged, date(2028, 1, 1), by="engineer", now=LATER)
    assert len(list((aged.landing / "dossier").iterdir())) == 1


def test_counts_of_open_entries_follow_a_release(coded: Settings, source: FakeSource, tmp_path: Path) -> None:
    source.records = [dossier(1, DonViXuLy="H29.11"), dossier(2, MaHoSo=None)]
    night(coded)
    with connect(coded, role="hailong_loader") as connection:
        assert count_open(connection, "dossier") == 2
    ingest(coded, "code_map", file=code_file(tmp_path, (("tthc", "unit", "H29.11"),)))
    quarantine.replay(coded, by="engineer", feed="dossier")
    with connect(coded, role="hailong_loader") as connection:
        assert count_open(connection, "dossier") == 1
