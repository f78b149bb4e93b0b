"""Deletions by absence: the second complete read in a row that misses a key, and nothing less, makes a tombstone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hailong.contracts import find_contract
from hailong.errors import PermanentError, TransientError
from hailong.extract.run import IngestResult, ingest
from hailong.load.landing import LandingWriter
from hailong.load.loader import load_landing
from hailong.settings import Settings
from tests.integration.fake_source import NOW, FakeSource, dossier, rows

KEY = "H29.10-20261001-0001"


def night(settings: Settings, number: int = 0, **options: Any) -> IngestResult:
    """The nightly read, so many days after the first."""
    return ingest(
        settings, "dossier", since=None if number else "2026-09-01", now=NOW + timedelta(days=number), **options
    )


def gone(settings: Settings) -> list[str]:
    return [key for (key,) in rows(settings, "select record_key from raw.dossier where op = 'delete' order by 1")]


def missed(settings: Settings) -> list[str]:
    found = rows(settings, "select record_key from raw.dossier_head where missed_batch is not null order by 1")
    return [key for (key,) in found]


@pytest.fixture
def loaded(coded: Settings, source: FakeSource) -> Settings:
    source.records = [dossier(n) for n in range(1, 401)]
    night(coded)
    return coded


def test_a_key_missing_from_two_complete_reads_in_a_row_is_deleted(loaded: Settings, source: FakeSource) -> None:
    source.records = source.records[1:]
    night(loaded, 1)
    assert (gone(loaded), missed(loaded)) == ([], [KEY])
    night(loaded, 2)
    assert (gone(loaded), missed(loaded)) == ([KEY], [])
    tombstone = rows(loaded, "select dossier_code, status_code from raw.dossier where op = 'delete'")
    assert tombstone == [(KEY, None)]
    assert rows(
        loaded, "select tombstone_rows, received_rows, loaded_rows from ops.batch order by batch_id desc limit 1"
    ) == [(1, 399, 0)]
    night(loaded, 3)
    assert rows(loaded, "select count(*) from raw.dossier") == [(401,)]  # once and not again


def test_a_sight_in_between_takes_the_mark_away(loaded: Settings, source: FakeSource) -> None:
    every = source.records
    for number, present in enumerate((every[1:], every, every[1:]), 1):
        source.records = present
        night(loaded, number)
    assert (gone(loaded), missed(loaded)) == ([], [KEY])


def test_a_record_that_cannot_be_read_was_seen(loaded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1, NgayTiepNhan="20260231"), *source.records[1:]]
    for number in (1, 2, 3):
        night(loaded, number)
    assert (gone(loaded), missed(loaded)) == ([], [])


def test_a_record_that_comes_back_is_a_new_version(loaded: Settings, source: FakeSource) -> None:
    every = source.records
    for number, present in enumerate((every[1:], every[1:], every), 1):
        source.records = present
        night(loaded, number)
    found = rows(loaded, f"select op from raw.dossier where record_key = '{KEY}' order by batch_id")
    assert [op for (op,) in found] == ["upsert", "delete", "upsert"]
    assert rows(loaded, f"select op from raw.dossier_head where record_key = '{KEY}'") == [("upsert",)]


def test_a_window_that_ends_in_the_past_proves_nothing(loaded: Settings, source: FakeSource) -> None:
    source.records = source.records[1:]
    for _ in range(3):
        ingest(loaded, "dossier", since="2026-09-01", until="2026-11-01", now=NOW)
    assert (gone(loaded), missed(loaded)) == ([], [])


def test_a_change_outside_the_window_is_not_missed(loaded: Settings, source: FakeSource) -> None:
    source.records = source.records[1:]
    for number in (1, 2):  # all cursors lie in October
        ingest(loaded, "dossier", since="2026-11-10", now=NOW + timedelta(days=number))
    assert (gone(loaded), missed(loaded)) == ([], [])


def test_a_page_fault_makes_no_tombstone(loaded: Settings, source: FakeSource) -> None:
    source.total, source.records = 400, source.records[1:]
    for number in (1, 2, 3):
        with pytest.raises(TransientError, match="400 records were declared and 399 came"):
            night(loaded, number)
    source.total, source.records = None, ["not a record", *source.records]  # type: ignore[list-item]
    for number in (4, 5):
        night(loaded, number)
    assert (gone(loaded), missed(loaded)) == ([], [])


def test_pages_that_overlap_each_time_prove_no_absence(loaded: Settings, source: FakeSource) -> None:
    source.records = [*source.records[1:], source.records[1]]  # as many as before, one twice: another may be hidden
    for number in (1, 2, 3):
        night(loaded, number)
    assert (gone(loaded), missed(loaded)) == ([], [])
    found = rows(
        loaded, "select is_complete from ops.batch_finding join ops.batch using (batch_id) where rule = 'rows_again'"
    )
    assert found == [(False,)] * 3


def test_more_than_the_share_of_the_contract_refuses_the_batch(loaded: Settings, source: FakeSource) -> None:
    every = source.records
    source.records = every[3:]  # 0.75 % against 0.5 %
    before = rows(loaded, "select count(*) from ops.batch")
    with pytest.raises(PermanentError) as caught:
        night(loaded, 1)
    assert "3 of 400 records" in str(caught.value)
    assert KEY in str(caught.value)
    assert "--max-delete-share 0.008" in str(caught.value)
    assert rows(loaded, "select count(*) from ops.batch") == before
    for number in (1, 2):
        night(loaded, number, max_delete_share=0.008)
    assert len(gone(loaded)) == 3


def test_a_row_that_vanishes_from_a_register_is_deleted(coded: Settings, source: FakeSource) -> None:
    def answer(path: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {"error_code": "0", "TongSo": len(kept), "DanhSachTTHC": kept if asked["Trang"] == 1 else []}

    source.answer = answer  # type: ignore[method-assign]
    every = [{"MaTTHC": f"1.00{n}", "TenTTHC": "Thủ tục", "ThoiHanNgayLamViec": 5} for n in range(100, 400)]
    kept = every
    ingest(coded, "procedure_register", now=NOW)
    kept = every[1:]
    for number in (1, 2):
        ingest(coded, "procedure_register", now=NOW + timedelta(days=number))
    assert rows(coded, "select record_key from raw.procedure_register where op = 'delete'")[0][0].startswith("1.00100")


def test_a_unit_that_vanishes_from_a_window_of_the_portal_is_deleted_there_only(coded: Settings) -> None:
    contract = find_contract(coded.contracts, "portal_evaluation")

    def snapshot(number: int, units: list[str], windows: list[str]) -> None:
        at = NOW + timedelta(days=number)
        with LandingWriter(coded.landing, contract, f"snapshot-{number}") as writer:
            from hailong.extract.records import Converter, Row

            converter = Converter(contract, coded.timezone)
            for window in windows:
                for unit in units:
                    row = converter.convert(
                        {"group": "handling-satisfaction", "fromDate": window, "toDate": "2026-10-14", "departmentId": unit,
                         "isOverview": False, "metricVersion": "2026", "retrievedAt": at}
                    )  # fmt: skip
                    assert isinstance(row, Row), row
                    writer.add(row)
            landing = writer.finish(
                source="test", declared=None, window=(NOW - timedelta(days=60), at), started_at=at, finished_at=at,
                code_version="test", read="snapshot", complete=True, options={"max_delete_share": 1},
                snapshots=[
                    {"prefix": f"handling-satisfaction|{window}|2026-10-14|", "group_code": "handling-satisfaction",
                     "window_from": window, "window_to": "2026-10-14", "retrieved_at": at.isoformat(), "rows": len(units)}
                    for window in windows
                ],
            )  # fmt: skip
        load_landing(coded, landing.folder)

    snapshot(0, ["a", "b"], ["2026-09-15", "2026-07-15"])
    for number in (1, 2):
        snapshot(number, ["a"], ["2026-09-15"])
    assert rows(coded, "select record_key from raw.portal_evaluation where op = 'delete'") == [
        ("handling-satisfaction|2026-09-15|2026-10-14|b",)
    ]
    assert rows(coded, "select count(*), max(retrieved_at) from ops.snapshot where window_from = '2026-09-15'") == [
        (3, NOW + timedelta(days=2))
    ]


def test_a_census_finds_what_is_gone_and_what_was_never_loaded(loaded: Settings, source: FakeSource) -> None:
    source.records = [*source.records[1:], dossier(900)]
    for number in (1, 2):
        result = ingest(loaded, "dossier", census=True, now=NOW + timedelta(days=number))
        assert (result.received, result.loaded, result.unchanged) == (400, 0, 400)
    assert gone(loaded) == [KEY]
    found = rows(loaded, "select rule, records from ops.batch_finding order by batch_id desc limit 1")
    assert found == [("not_loaded", 1)]
    assert rows(loaded, "select count(*) from raw.dossier where record_key like '%0900'") == [(0,)]


def test_an_older_copy_does_not_replace_a_newer_version(loaded: Settings, source: FakeSource) -> None:
    source.records[0] = dossier(1, TrangThaiHoSo=10, NgayCapNhat="20261020080000")
    assert night(loaded, 1).loaded == 1
    source.records[0] = dossier(1, TrangThaiHoSo=4, NgayCapNhat="20261006080000")
    result = night(loaded, 2)
    assert (result.loaded, result.duplicate) == (0, 1)
    assert rows(loaded, f"select status_code from raw.dossier where record_key = '{KEY}' order by batch_id") == [
        ("9",),
        ("10",),
    ]
    found = rows(loaded, "select rule, field, records from ops.batch_finding where rule like 'cursor%'")
    assert found == [("cursor_went_back", "NgayCapNhat", 1)]


def test_of_copies_in_one_batch_the_one_changed_last_counts(coded: Settings, source: FakeSource) -> None:
    source.records = [
        dossier(1, TrangThaiHoSo=10, NgayCapNhat="20261020080000"),
        dossier(1, TrangThaiHoSo=4, NgayCapNhat="20261002080000"),
    ]
    night(coded)
    assert rows(coded, "select status_code from raw.dossier") == [("10",)]


def test_the_ledger_is_what_the_tables_hold(loaded: Settings, source: FakeSource, tmp_path: Path) -> None:
    """Recounted from the tables, after every kind of batch."""
    every = source.records
    steps: list[list[Any]] = [
        [dossier(1, TrangThaiHoSo=10), *every[1:]],
        [dossier(2, NgayTiepNhan="x"), dossier(2, MaHoSo=None), *every[1:], *every[5:8]],
        every[1:],
        every[1:],
        every,
    ]
    for number, present in enumerate(steps, 1):
        source.records = present
        night(loaded, number)
    ingest(loaded, "dossier", census=True, now=NOW + timedelta(days=9))
    wrong = rows(
        loaded,
        "select b.batch_id from ops.batch as b where feed = 'dossier' and (received_rows <> loaded_rows + unchanged_rows"
        " + duplicate_rows + quarantined_rows"
        " or loaded_rows + tombstone_rows <> (select count(*) from raw.dossier as r where r.batch_id = b.batch_id)"
        " or tombstone_rows <> (select count(*) from raw.dossier as r where r.batch_id = b.batch_id and r.op = 'delete')"
        " or quarantined_rows <> (select count(*) from ops.quarantine as q where q.batch_id = b.batch_id))",
    )
    assert wrong == []
    assert rows(loaded, "select sum(tombstone_rows), sum(quarantined_rows) from ops.batch") == [(1, 2)]
    same = rows(
        loaded,
        "select count(*) from (select distinct on (record_key) record_key, batch_id, version_hash, op from raw.dossier"
        " order by record_key, batch_id desc) as r full join raw.dossier_head as h using (record_key, batch_id, version_hash, op)"
        " where r.record_key is null or h.record_key is null",
    )
    assert same == [(0,)]


def test_an_unchanged_night_writes_no_row(loaded: Settings) -> None:
    before = rows(loaded, "select record_key, xmin::text, ctid::text from raw.dossier_head order by 1")
    night(loaded, 1)
    assert rows(loaded, "select record_key, xmin::text, ctid::text from raw.dossier_head order by 1") == before
    assert rows(loaded, "select count(*) from raw.dossier") == [(400,)]
