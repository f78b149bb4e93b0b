"""The monthly workbook of a source's owner: exactly the records that the tables call wrong, read back from the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import openpyxl
import psycopg
import pytest

from hailong.errors import PermanentError, UsageError
from hailong.periods import code_before
from hailong.review import records, workbook
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from tests.integration.test_findings import OFFICE, RATERS, failure, night
from tests.integration.test_gate import add_batch, raw

pytestmark = pytest.mark.filterwarnings("ignore:Sparkline Group extension")  # what openpyxl does not read
PERIOD = "2026-10"
OFFICE_FILE, RATERS_FILE = (
    f"can-sua_{PERIOD}_van-phong-uy-ban-nhan-dan-thanh-pho.xlsx",
    f"can-sua_{PERIOD}_so-noi-vu-thanh-pho.xlsx",
)
MARTS = """
    create table core.dim_unit (unit_code text, unit_name text);
    create table marts.dossier_finding (finding text, dossier_code text, unit_code text, event_on date);
    create table marts.stale_record (feed text, record_key text, unit_code text, event_on date, batch_id bigint);
    create table marts.sync_difference (
        pair_code text, reason text, city_dossier_code text, portal_dossier_code text, city_unit_code text,
        portal_unit_code text, city_received_on date, portal_received_on date
    );
    create table rules.reconciliation_reason (reason text, name_vi text, is_explained boolean);
    create table marts.portal_difference (
        period_code text, unit_code text, difference text, portal_value numeric, our_value numeric
    );
    create table rules.portal_difference (difference text, name_vi text);
    create table marts.evaluation_finding (
        evaluator_kind text, record_key text, unit_code text, period_code text, finding text
    );
    create table marts.dispute (
        dispute_id text, unit_code text, disputed_feed text, disputed_key text, reason_code text, raised_at timestamptz,
        record_status text, event_on date, decided_at timestamptz, decision_code text, state text
    );
    insert into core.dim_unit values ('U1', 'Phường Một'), ('U2', 'Phường Hai');
    insert into marts.dossier_finding values
    ('dummy_identity', 'D1', 'U1', '2026-10-14'), ('dummy_identity', 'D2', 'U2', '2026-09-15'),
    ('dummy_identity', 'D0', 'U2', '2026-09-14'), ('dummy_identity', 'D9', 'U2', '2026-10-15'),
    ('precision_mixed', '=1+1', null, '2026-10-01');
    insert into marts.stale_record values ('rating', 'R1', 'U1', '2026-10-02', 1);
    insert into rules.reconciliation_reason values
    ('missing_at_portal', 'Không có trên Cổng', true), ('status_lag', 'Khác trạng thái, đang đồng bộ', false);
    insert into marts.sync_difference values
    ('D3', 'missing_at_portal', 'D3', null, 'U1', null, '2026-10-03', null),
    ('D4', 'status_lag', 'D4', 'D4', 'U1', 'U1', '2026-10-03', '2026-10-03');
    insert into rules.portal_difference values ('petitions', 'Số phản ánh của Cổng khác số đã đọc');
    insert into marts.portal_difference values ('2026-10', 'U2', 'petitions', 12, 11.50), ('2026-Q4', 'U2', 'petitions', 1, 2);
    insert into marts.evaluation_finding values ('self', 'S1', 'U1', '2026-10', 'no_score');
    insert into marts.dispute values
    ('K1', 'U1', 'dossier', 'D1', 'wrong_unit', '2026-10-16 02:00Z', 'found', '2026-10-14', '2026-10-18 02:00Z', 'accepted',
     'accepted'),
    ('K2', 'U2', 'rating', 'R7', 'duplicate', '2026-10-10 02:00Z', 'not_found', null, null, null, 'open'),
    ('K3', 'U2', 'dossier', 'D0', 'duplicate', '2026-10-10 02:00Z', 'found', '2026-09-14', null, null, 'open');
    insert into ops.build (as_of_batch, rules_sha256, full_refresh, status) values (3, 'r', true, 'succeeded');
"""


@pytest.fixture(scope="module")
def reviewed(module_warehouse: Settings) -> Settings:
    """A warehouse with one of everything that is wrong in October, and a little before and after it."""
    settings = module_warehouse
    with connect(settings, "hailong_transformer") as connection:
        connection.execute(MARTS)
    with connect(settings) as connection:
        # Loaded "now" by the server's clock: the day is put where the test wants it.
        connection.execute("alter table ops.batch alter loaded_at set default '2026-10-04 20:00Z'")
        landed(connection)
        connection.execute("alter table ops.batch alter loaded_at set default clock_timestamp()")
        connection.execute(
            "insert into dq.run (run_id, scope, as_of_batch, started_at, finished_at, disposition, expectations) "
            "values ('landed.b2.g1', 'landed', 2, '2026-10-05 20:00Z', now(), 'warn', 1)"
        )
        connection.execute(
            "insert into dq.result (run_id, expectation_id, target, severity, success, failing_keys, reason, owner) values "
            "('landed.b2.g1', 'dossier.receipt_year', 'dossier', 'warning', false, '{D5,D6,D7}', "
            "'Năm tiếp nhận không hợp lý', 'x'), "
            "('landed.b2.g1', 'dossier.due_missing', 'dossier', 'info', false, '{D5}', 'chỉ ghi nhận', 'x')"
        )
    night(settings, failure(("units.awaiting_posting", PERIOD), keys=["U2"]), kind="period")
    night(settings, failure(("late.share", PERIOD), keys=["rating"]), kind="period")  # of the whole: no record to fix
    night(settings, failure(("units.blocked", PERIOD), owner="data-engineering"), kind="period")
    return settings


def landed(connection: psycopg.Connection) -> None:
    """D5 stands as it was, D6 was corrected since, D7 deleted; one rating cannot be read, and comes again every night."""
    first = add_batch(connection, "dossier", "a" * 64, received=3, loaded=3)
    for key in ("D5", "D6", "D7"):
        raw(connection, "dossier", first, key, dossier_code=key)
    add_batch(connection, "rating", "b" * 64, received=1, loaded=0, bad=1)
    third = add_batch(connection, "dossier", "c" * 64, received=1, loaded=1)
    add_batch(connection, "rating", "d" * 64, received=1, loaded=0, bad=1)
    for key, batch, op in (("D5", first, "upsert"), ("D6", third, "upsert"), ("D7", third, "delete")):
        connection.execute(
            "insert into raw.dossier_head (record_key, batch_id, op, version_hash) values (%s, %s, %s, 'h')",
            (key, batch, op),
        )


@pytest.fixture(scope="module")
def books(reviewed: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    paths = workbook.build(reviewed, PERIOD, None, tmp_path_factory.mktemp("books"))
    assert {OFFICE_FILE, RATERS_FILE} < {path.name for path in paths} and len(paths) == 4
    return {path.name: openpyxl.load_workbook(path) for path in paths}


def lines(book: Any, sheet: str) -> list[dict[str, Any]]:
    """Rows of a table by its titles."""
    rows = list(book[sheet].iter_rows(values_only=True))
    top = next(
        n
        for n, row in enumerate(rows)
        if row[0] in ("Nguồn dữ liệu", "Số khiếu nại") and row[1] in ("Mã kiểm tra", "Nguồn dữ liệu")
    )
    return [dict(zip(rows[top], row, strict=True)) for row in rows[top + 1 :] if row[0] != "Không có dòng nào"]


def listed(book: Any) -> Counter[tuple[str, str, str]]:
    return Counter((r["Nguồn dữ liệu"], r["Mã kiểm tra"], r["Mã hồ sơ, bản ghi"]) for r in lines(book, "Cần sửa"))


def test_an_owner_is_handed_exactly_its_wrong_records_of_the_period(books: dict[str, Any]) -> None:
    assert listed(books[OFFICE_FILE]) == Counter([
        ("dossier", "dummy_identity", "D1"), ("dossier", "dummy_identity", "D2"), ("dossier", "dossier.receipt_year", "D5"),
        ("dossier_sync", "precision_mixed", "=1+1"), ("dossier_sync", "sync.missing_at_portal", "D3"),
        ("portal_evaluation", "portal.petitions", "U2"), ("(toàn kho)", "units.awaiting_posting", "U2"),
    ])  # fmt: skip
    found = listed(books[RATERS_FILE])
    assert {key[:2] for key in found} == {
        ("rating", "stale"), ("rating", "quarantine.unreadable"), ("self_evaluation", "evaluation.no_score"),
    }  # fmt: skip
    assert sum(found.values()) == 3  # the unreadable rating came twice and stands once


def test_where_a_run_could_not_keep_all_keys_every_record_that_breaks_the_rule_is_listed(
    reviewed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate named D5 of a feed in which D8 breaks the same rule, D9 does not, and D6 was put right since."""
    with connect(reviewed) as connection:
        connection.execute("alter table ops.batch alter loaded_at set default '2026-10-08 20:00Z'")
        batch = add_batch(connection, "dossier", "e" * 64, received=3, loaded=3)
        connection.execute("alter table ops.batch alter loaded_at set default clock_timestamp()")
        for key, received in (("D8", "1926-10-01"), ("D9", "2026-10-01"), ("D6", "2026-10-01")):
            raw(connection, "dossier", batch, key, dossier_code=key, received_at=received)
            connection.execute(
                "insert into raw.dossier_head (record_key, batch_id, op, version_hash) values (%s, %s, 'upsert', 'h') "
                "on conflict (record_key) do update set batch_id = excluded.batch_id",
                (key, batch),
            )

    def broken() -> dict[str, str]:
        (path,) = workbook.build(reviewed, PERIOD, OFFICE, tmp_path)
        rows = lines(openpyxl.load_workbook(path), "Cần sửa")
        return {
            row["Mã hồ sơ, bản ghi"]: f"{row['Phát hiện từ']:%Y-%m-%d}"
            for row in rows
            if row["Mã kiểm tra"] == "dossier.receipt_year"
        }

    assert broken() == {"D5": "2026-10-06"}
    monkeypatch.setattr(records, "KEYS", 3)  # as many as the run named
    assert broken() == {"D5": "2026-10-06", "D8": "2026-10-09"}


def test_a_line_says_who_what_and_what_to_do(books: dict[str, Any]) -> None:
    line = next(row for row in lines(books[OFFICE_FILE], "Cần sửa") if row["Mã hồ sơ, bản ghi"] == "D1")
    assert (line["Mã đơn vị"], line["Đơn vị"], f"{line['Ngày tính']:%Y-%m-%d}") == ("U1", "Phường Một", "2026-10-14")
    assert line["Sai ở đâu"] == "Số định danh của người nộp là số giả" and line["Cần làm gì"].startswith("Nhập lại")
    line = next(row for row in lines(books[OFFICE_FILE], "Cần sửa") if row["Mã hồ sơ, bản ghi"] == "D5")
    assert f"{line['Phát hiện từ']:%Y-%m-%d}" == "2026-10-06"  # 20:00 UTC is the next day here
    line = next(row for row in lines(books[OFFICE_FILE], "Cần sửa") if row["Mã kiểm tra"] == "portal.petitions")
    assert line["Sai ở đâu"] == "Số phản ánh của Cổng khác số đã đọc: 12 và 11,5"


def test_the_trend_counts_what_the_table_counts(books: dict[str, Any]) -> None:
    rows = {row["Mã kiểm tra"]: row for row in lines(books[OFFICE_FILE], "Tổng hợp")}
    assert [name for name in rows["dummy_identity"] if name and name.startswith("202")] == [
        "2025-11", "2025-12", *(f"2026-{month:02d}" for month in range(1, 11)),
    ]  # fmt: skip
    assert (rows["dummy_identity"]["2026-09"], rows["dummy_identity"][PERIOD], rows["dummy_identity"]["2026-08"]) == (
        1,
        2,
        0,
    )
    assert sum(row[PERIOD] for row in rows.values()) == len(lines(books[OFFICE_FILE], "Cần sửa"))


def test_disputes_stand_there_with_their_decision(books: dict[str, Any]) -> None:
    (line,) = lines(books[OFFICE_FILE], "Khiếu nại")
    assert (line["Số khiếu nại"], line["Kết luận"], line["Lý do"]) == ("K1", "Chấp nhận", "Sai cơ quan")
    (line,) = lines(books[RATERS_FILE], "Khiếu nại")  # about no record that is known, raised in the period
    assert (line["Số khiếu nại"], line["Bản ghi"], line["Kết luận"]) == (
        "K2",
        "Không thấy bản ghi",
        "Chưa quyết định",
    )


def test_sheets_are_for_working_with(books: dict[str, Any]) -> None:
    for book in books.values():
        for sheet in book.worksheets:
            assert sheet.auto_filter.ref and sheet.freeze_panes and sheet.print_area and sheet.print_title_rows, (
                sheet.title
            )
    assert books[OFFICE_FILE]["Cần sửa"]["E4"].data_type == "s"  # a key is text, whatever it begins with


def test_the_same_warehouse_gives_the_same_bytes(reviewed: Settings, tmp_path: Path) -> None:
    once, again = (workbook.build(reviewed, PERIOD, OFFICE, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in once] == [OFFICE_FILE]
    assert once[0].read_bytes() == again[0].read_bytes()


def test_more_rows_than_a_sheet_holds_go_on_in_the_next(
    reviewed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "MOST", 5)
    (path,) = workbook.build(reviewed, PERIOD, OFFICE, tmp_path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["Tổng hợp", "Cần sửa", "Cần sửa (2)", "Khiếu nại"]
    assert [len(lines(book, name)) for name in book.sheetnames[1:3]] == [5, 2]


def test_an_unknown_owner_and_a_warehouse_without_build_are_refused(
    reviewed: Settings, warehouse: Settings, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"the owners are: .*{RATERS}"):
        workbook.build(reviewed, PERIOD, "Sở Y tế", tmp_path)
    with pytest.raises(PermanentError, match="hailong build"):
        workbook.build(warehouse, PERIOD, None, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(PermanentError, match="cannot be written"):
        workbook.build(reviewed, PERIOD, None, tmp_path / "file")


def test_the_period_before_is_of_the_same_kind() -> None:
    codes = {"2026-10": "2026-09", "2026-01": "2025-12", "2026-Q4": "2026-Q3", "2026-Q1": "2025-Q4", "2026": "2025"}
    assert {code: code_before(code) for code in codes} == codes
