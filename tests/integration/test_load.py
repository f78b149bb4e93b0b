"""From a source to raw, quarantine and ledger: what arrives is counted once, and nothing is ever half there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openpyxl
import psycopg
import pyarrow.parquet as pq
import pytest

from hailong.contracts import find_contract, load_contracts
from hailong.errors import HailongError, PermanentError, TransientError, UsageError
from hailong.extract.run import ingest
from hailong.load.landing import LandingWriter
from hailong.load.ledger import current_codes, ledger_summary, quarantine_list
from hailong.load.loader import load_landing
from hailong.load.raw import ensure_tables
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.integration.fake_source import NOW, FakeSource, code_file, dossier, fetch, lines, rows, told

SECRETS = ("Trần Thị Giả", "0900000001", "0900000002", "079300000001", "gia@example.invalid", "Nguyễn Cán Bộ")


def state(settings: Settings) -> list[list[tuple[Any, ...]]]:
    """Everything a load can change."""
    return [
        rows(settings, "select * from raw.dossier order by record_key, batch_id"),
        rows(settings, "select * from ops.quarantine order by quarantine_id"),
        rows(settings, "select * from ops.batch order by batch_id"),
    ]


# -- versions and counts ----------------------------------------------------------------------------------------------


def test_a_window_is_loaded_with_its_versions_and_counts(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1), dossier(2), dossier(3)]
    assert told(fetch(coded)) == (3, 3, 0, 0, 0)
    found = rows(
        coded,
        "select received_at, received_at_is_date, due_at_is_date, status_code, supplements from raw.dossier limit 1",
    )
    assert found[0][:4] == (datetime(2026, 10, 1, 1, tzinfo=UTC), False, True, "9")
    assert found[0][4][0]["requested_at"] == "2026-10-02T02:00:00+00:00"

    source.records = [
        dossier(1),
        dossier(2, TrangThaiHoSo=10),
        dossier(4),
        dossier(4),
        dossier(3, NgayCapNhat="20261020"),
    ]
    assert told(fetch(coded)) == (5, 2, 2, 1, 0)
    versions = rows(coded, "select record_key, count(*) from raw.dossier group by 1 order by 1")
    assert [count for _, count in versions] == [1, 2, 1, 1]


def test_of_two_versions_in_one_batch_the_last_counts(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1, TrangThaiHoSo=4), dossier(2), dossier(1, TrangThaiHoSo=10)]
    assert told(fetch(coded)) == (3, 2, 0, 1, 0)
    assert rows(coded, "select status_code from raw.dossier where record_key like '%0001'") == [("10",)]


def test_a_version_that_comes_back_is_a_new_version(coded: Settings, source: FakeSource) -> None:
    for status in (9, 10, 9):
        source.records = [dossier(1, TrangThaiHoSo=status)]
        assert told(fetch(coded))[:2] == (1, 1)
    assert rows(coded, "select status_code from raw.dossier order by batch_id") == [("9",), ("10",), ("9",)]


def test_loading_a_folder_twice_changes_nothing(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1), dossier(2), dossier(3, NgayTiepNhan="20260231")]
    folder = Path(urlsplit(fetch(coded).landings[0]).path)
    before = state(coded)
    again = load_landing(coded, folder)
    assert not again.created
    assert (again.received, again.loaded, again.quarantined) == (3, 2, 1)
    assert "nothing changed" in again.message
    assert state(coded) == before


def test_an_unreadable_record_is_quarantined_beside_the_others(coded: Settings, source: FakeSource) -> None:
    source.records = [
        dossier(1),
        dossier(2, MaHoSo=None),
        dossier(3, NgayTiepNhan="20260231000000"),
        dossier(4, DonViXuLy="H29.99"),
        dossier(5, DanhSachHoSoBoSung=[{"NgayBoSung": "x"}]),
    ]
    assert told(fetch(coded)) == (5, 1, 0, 0, 4)
    contracts = load_contracts(coded.contracts)
    with connect(coded, role="hailong_loader") as connection:
        listed = quarantine_list(connection, contracts, feed="dossier")
        assert [row["rule"] for row in listed] == ["bad_supplement", "unknown_code", "bad_date", "missing_key"]
        assert quarantine_list(connection, contracts, feed="rating") == []
        assert len(quarantine_list(connection, contracts, limit=2)) == 2
        summary = {row["feed"]: row for row in ledger_summary(connection)}
    assert summary["dossier"]["declared"] == summary["dossier"]["received"] == 5
    assert (summary["dossier"]["loaded"], summary["dossier"]["quarantined"]) == (1, 4)


def test_a_code_that_is_mapped_later_is_loaded_then(coded: Settings, source: FakeSource, tmp_path: Path) -> None:
    source.records = [dossier(1, DonViXuLy="H29.11")]
    assert told(fetch(coded))[4] == 1
    ingest(coded, "code_map", file=code_file(tmp_path, (("tthc", "unit", "H29.11"),)))
    with connect(coded) as connection:
        assert "H29.11" in current_codes(connection)["tthc", "unit"]
    assert told(fetch(coded)) == (1, 1, 0, 0, 0)


def test_the_ledger_adds_up_over_several_batches(coded: Settings, source: FakeSource) -> None:
    for n in range(1, 4):
        source.records = [dossier(k, TrangThaiHoSo=8 if k < n else 9) for k in range(n)] * 2 + [dossier(9, MaHoSo="")]
        fetch(coded)
    summary = rows(
        coded,
        "select count(*) from ops.batch where received_rows <> loaded_rows + unchanged_rows + duplicate_rows"
        " + quarantined_rows or declared_rows <> received_rows",
    )
    assert summary == [(0,)]
    counted = rows(
        coded,
        "select b.loaded_rows = (select count(*) from raw.dossier as r where r.batch_id = b.batch_id), b.quarantined_rows ="
        " (select count(*) from ops.quarantine as q where q.batch_id = b.batch_id) from ops.batch as b where feed = 'dossier'",
    )
    assert counted == [(True, True)] * 3


def test_raw_is_append_only_and_belongs_to_the_loader(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1)]
    fetch(coded)
    for statement in ("update raw.dossier set op = 'delete'", "delete from raw.dossier", "truncate raw.dossier"):
        with connect(coded) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(statement)  # type: ignore[call-overload]
    owners = rows(coded, "select distinct tableowner from pg_tables where schemaname = 'raw'")
    assert owners == [("hailong_loader",)]


# -- windows ----------------------------------------------------------------------------------------------------------


def test_the_next_run_goes_on_where_the_last_stopped_less_the_look_back(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1)]
    fetch(coded)
    ingest(coded, "dossier", now=NOW)
    assert source.asked[-1]["TuNgayCapNhat"] == "20260917000000"
    assert source.asked[-1]["DenNgayCapNhat"] == "20261119000000"
    start, end = rows(coded, "select window_start, window_end from ops.batch order by batch_id desc limit 1")[0]
    assert (start, end) == (datetime(2026, 9, 16, 17, tzinfo=UTC), NOW)


def test_wrong_windows_are_wrong_use(coded: Settings) -> None:
    with pytest.raises(UsageError, match="is not before"):
        fetch(coded, since="2026-11-01", until="2026-10-01")
    with pytest.raises(UsageError, match="is not a date"):
        fetch(coded, since="October")
    with pytest.raises(UsageError, match="unknown feed"):
        ingest(coded, "dossiers")
    with pytest.raises(UsageError, match="there is no file"):
        ingest(coded, "dossier", file=Path("/nowhere.csv"))


# -- the source fails -------------------------------------------------------------------------------------------------


def test_a_missing_last_page_lands_and_loads_nothing(coded: Settings, source: FakeSource) -> None:
    source.records, source.total = [dossier(n) for n in range(5)], 6
    before = state(coded)
    with pytest.raises(TransientError, match="6 records were declared and 5 came"):
        fetch(coded)
    assert state(coded) == before
    assert not list((coded.landing / "dossier").iterdir())


def test_a_passing_500_is_retried(coded: Settings, source: FakeSource) -> None:
    source.records, source.failures = [dossier(1)], [500, 503]
    assert told(fetch(coded))[:2] == (1, 1)


def test_a_wrong_token_is_refused_at_once(
    new_warehouse: Callable[..., Settings], source: FakeSource, tmp_path: Path
) -> None:
    settings = new_warehouse(**source.env | {"HAILONG_SOURCE_TTHC_TOKEN": "wrong"})
    ingest(settings, "code_map", file=code_file(tmp_path))
    with pytest.raises(PermanentError, match=r"answered 401.*HAILONG_SOURCE_TTHC_TOKEN"):
        fetch(settings)


def test_a_feed_with_codes_waits_for_the_code_map(new_warehouse: Callable[..., Settings], source: FakeSource) -> None:
    with pytest.raises(PermanentError, match="`hailong ingest code_map` first"):
        fetch(new_warehouse(**source.env))


def test_failures_read_as_one_message(coded: Settings, source: FakeSource) -> None:
    source.total = 3
    with pytest.raises(HailongError) as caught:
        fetch(coded)
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_warehouse_that_is_away_is_transient(tmp_path: Path, coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1)]
    folder = Path(urlsplit(fetch(coded).landings[0]).path)
    away = Settings.load({**coded.env, "HAILONG_DSN": "postgresql://nobody@127.0.0.1:1/none"})
    with pytest.raises(TransientError, match=r"no connection to the warehouse at 127\.0\.0\.1:1"):
        load_landing(away, folder)


# -- privacy ----------------------------------------------------------------------------------------------------------


def test_no_planted_name_or_number_reaches_landing_or_warehouse(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1), dossier(2, NgayTiepNhan="Trần Thị Giả 0900000001"), dossier(3, DonViXuLy="H29.99")]
    result = fetch(coded)
    folder = Path(urlsplit(result.landings[0]).path)
    landed = str([pq.read_table(path).to_pylist() for path in folder.glob("*.parquet")])
    landed += (folder / "manifest.json").read_text("utf-8")
    stored = str(state(coded))
    assert "H29.10-20261001-0002" in landed
    assert "H29.10-20261001-0002" in stored
    for secret in SECRETS:
        assert secret not in landed
        assert secret not in stored
    raw = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not [secret for secret in SECRETS if secret.encode() in raw]


# -- files ------------------------------------------------------------------------------------------------------------


def rating(number: int) -> dict[str, Any]:
    return {"id": f"R{number}", "kenh": "KIOSK", "mucDo": "HÀI LÒNG", "thoiGian": "20261003080000",
            "capNhat": f"2026100{number}090000", "hoTen": "Trần Thị Giả"}  # fmt: skip


def test_a_file_has_its_window_from_its_own_values(coded: Settings, tmp_path: Path) -> None:
    path = lines(tmp_path / "ratings.jsonl", [rating(3), rating(5)])
    assert told(ingest(coded, "rating", file=path)) == (2, 2, 0, 0, 0)
    window = rows(coded, "select window_start, window_end, declared_rows from ops.batch where feed = 'rating'")
    assert window == [(datetime(2026, 10, 3, 2, tzinfo=UTC), datetime(2026, 10, 5, 2, 0, 1, tzinfo=UTC), None)]


def test_the_same_file_again_is_the_same_batch(coded: Settings, tmp_path: Path) -> None:
    path = lines(tmp_path / "ratings.jsonl", [rating(3)])
    first, again = ingest(coded, "rating", file=path), ingest(coded, "rating", file=path)
    assert (first.batch_ids, first.created) == (again.batch_ids, True)
    assert (again.created, again.loaded) == (False, 0)
    assert len(rows(coded, "select 1 from ops.batch where feed = 'rating'")) == 1


def test_an_empty_drop_folder_is_answered(coded: Settings) -> None:
    with pytest.raises(PermanentError, match="no file niem_yet_"):
        ingest(coded, "posting_check")


def test_a_changed_landing_file_is_refused(coded: Settings, source: FakeSource) -> None:
    source.records = [dossier(1)]
    folder = Path(urlsplit(fetch(coded).landings[0]).path)
    (folder / "records.parquet").write_bytes((folder / "rejects.parquet").read_bytes())
    with pytest.raises(PermanentError, match="is not what manifest"):
        load_landing(coded, folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(PermanentError, match="not a complete landing folder"):
        load_landing(coded, folder)


# -- the warehouse follows the contract -------------------------------------------------------------------------------


def test_a_new_column_is_added_and_a_changed_type_refused(coded: Settings, tmp_path: Path) -> None:
    text = (coded.contracts / "rating.yaml").read_text("utf-8")
    path = tmp_path / "rating.yaml"
    extra = """      - name: stars
        logicalType: integer
        physicalType: integer
        description: Stars.
        customProperties:
          - {property: sourceField, value: sao}
"""
    path.write_text(text.replace("slaProperties:", extra + "slaProperties:"), encoding="utf-8")
    with connect(coded) as connection, connection.transaction():
        ensure_tables(connection, {"rating": find_contract(tmp_path, "rating")})
        ensure_tables(connection, {"rating": find_contract(tmp_path, "rating")})
    assert rows(coded, "select stars from raw.rating") == []
    text = path.read_text("utf-8").replace("Type: integer", "Type: string", 1).replace("Type: integer", "Type: text", 1)
    path.write_text(text, encoding="utf-8")
    with connect(coded) as connection, pytest.raises(PermanentError, match=r"raw\.rating\.stars is integer"):
        ensure_tables(connection, {"rating": find_contract(tmp_path, "rating")})


# -- kill -9 ----------------------------------------------------------------------------------------------------------

LOAD = "import sys, pathlib; from hailong.settings import Settings; from hailong.load.loader import load_landing;" \
       "load_landing(Settings.load(), pathlib.Path(sys.argv[1]))"  # fmt: skip


def waiting(settings: Settings) -> bool:
    query = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    return bool(rows(settings, query))


@pytest.mark.parametrize("table", ["ops.batch", "raw.dossier", "ops.quarantine"])
def test_a_loader_killed_at_any_step_leaves_nothing_half(coded: Settings, source: FakeSource, table: str) -> None:
    """A lock stops the loader before it writes to each table in turn; there it is killed."""
    from hailong.extract.run import Read, _http_window, extract_remote

    source.records = [dossier(n) for n in range(50)] + [dossier(99, NgayTiepNhan="20260231")]
    contract = find_contract(coded.contracts, "dossier")
    with connect(coded) as connection:
        codes = current_codes(connection)
    window = _http_window(contract, (datetime(2026, 10, 1, tzinfo=UTC), NOW), None, NOW, UTC)  # type: ignore[arg-type]
    landing = extract_remote(Read(coded, contract, codes, lambda: NOW), window)
    before = state(coded)
    environment = os.environ | dict(coded.env)
    with connect(coded) as blocker:
        blocker.execute(f"lock table {table} in share row exclusive mode")  # type: ignore[call-overload]
        child = subprocess.Popen([sys.executable, "-c", LOAD, str(landing.folder)], env=environment)
        deadline = time.monotonic() + 30
        while not waiting(coded):
            assert child.poll() is None, "the loader ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        blocker.rollback()
    assert state(coded) == before
    result = load_landing(coded, landing.folder)
    assert (result.created, result.loaded, result.quarantined) == (True, 50, 1)


def test_an_extraction_that_breaks_leaves_no_landing_folder(coded: Settings, tmp_path: Path) -> None:
    contract = find_contract(coded.contracts, "dossier")
    with pytest.raises(RuntimeError), LandingWriter(tmp_path, contract, "x") as writer:
        assert list((tmp_path / "dossier").iterdir())
        raise RuntimeError(writer.folder)
    assert list((tmp_path / "dossier").iterdir()) == []


# -- the portal -------------------------------------------------------------------------------------------------------


def test_a_saved_answer_of_the_portal_is_read_with_its_window(
    new_warehouse: Callable[..., Settings], shared_data: Path
) -> None:
    settings = new_warehouse()
    path = shared_data / "portal_handling_satisfaction_phu_tho_2026-Q3.json"
    with pytest.raises(UsageError, match="give --since and --until"):
        ingest(settings, "portal_evaluation", file=path)
    assert told(ingest(settings, "portal_evaluation", since="2026-07-01", until="2026-10-01", file=path))[:2] == (
        13,
        13,
    )
    found = rows(
        settings,
        "select window_from::text, window_to::text, is_overview, count(*), min(total_score)::text, max(total_petitions)"
        " from raw.portal_evaluation group by 1, 2, 3 order by 3",
    )
    answer = json.loads(path.read_text("utf-8"))["data"]
    least = min(unit["totalScore"] for unit in answer["evaluation"])
    most = max(unit["totalPetitions"] for unit in answer["evaluation"])
    assert found == [
        ("2026-07-01", "2026-09-30", False, 12, str(least), most),
        ("2026-07-01", "2026-09-30", True, 1, "12.25", 499),
    ]


# -- the drop folder --------------------------------------------------------------------------------------------------


def test_a_broken_file_in_the_drop_folder_does_not_hide_the_others(
    new_warehouse: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = new_warehouse(HAILONG_SOURCE_INSPECTION_DROP=str(tmp_path / "drop"))
    codes = (
        ("inspection", "posting_place", "Bộ phận Một cửa"),
        ("inspection", "posting_result", "Đạt"),
        ("inspection", "checker_kind", "Tự kiểm tra"),
    )
    ingest(settings, "code_map", file=code_file(tmp_path, codes))
    (tmp_path / "drop").mkdir()
    for month in ("08", "09", "10"):
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.title = "Kiểm tra niêm yết"
        sheet.append(
            ["Mã phiếu", "Mã cơ quan", "Nơi niêm yết", "Ngày kiểm tra", "Kết quả", "Loại kiểm tra", "Người kiểm tra"]
        )
        day = date(2026, int(month), 3)
        sheet.append([f"NY-{month}", "KT-01", "Bộ phận Một cửa", day, "Đạt", "Tự kiểm tra", "Trần Thị Giả"])
        book.save(tmp_path / "drop" / f"niem_yet_2026{month}.xlsx")
    broken = tmp_path / "drop" / "niem_yet_202609.xlsx"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PermanentError, match=r"niem_yet_202609\.xlsx is not a readable XLSX workbook"):
        ingest(settings, "posting_check")
    assert rows(settings, "select check_id, checked_on from raw.posting_check order by 1") == [
        ("NY-08", date(2026, 8, 3)),
        ("NY-10", date(2026, 10, 3)),
    ]
    broken.write_bytes(whole)
    result = ingest(settings, "posting_check")
    assert (result.loaded, len(result.batch_ids)) == (1, 3)
    assert "Trần" not in str(rows(settings, "select * from raw.posting_check"))
