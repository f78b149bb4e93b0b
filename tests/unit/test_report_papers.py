"""DOCX and PDF of an edition, made from made-up rows and read back: figures, ties, what is missing, fonts, bytes."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
import zipfile
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import docx as python_docx
import openpyxl
import pypdf
import pytest
import yaml

from hailong.publish.report import DECIDES_BYTES, RENDERER_VERSION, annexes, charts, docx, pdf, posting, words, xlsx
from hailong.publish.report.content import compose, issuers
from hailong.publish.report.data import AnnexRow, Change, Earlier, Report, Row, grouped
from hailong.publish.report.paper import Chart
from hailong.review import words as review_words
from hailong.settings import PROJECT
from tests.unit.test_report import HEADER, report, unit

AT = HEADER.published_at
COMMUNE = "xa_phuong_dac_khu"
UNITS = [
    unit(1, "22"),
    unit(2, "20.004", near_threshold=True),
    unit(3, "20"),
    unit(4, "19.996", small_sample=True),
    unit(5, "21.5", rank_in_group=None, window_clipped="unit_started"),
    unit(6, None, d=Decimal("12.5"), a=Decimal(1)),
    unit(7, None, status="not_applicable", status_reason="receiving_only", verdict_bound=None),
    unit(8, "17.123456", COMMUNE, rank_in_group=1),
]


def code(number: int) -> str:
    return f"HCM.SN{number:02d}"


def flow(number: int, received: int) -> Row:
    return {
        "unit_code": code(number), "open_at_start": 11, "received": received, "resolved": received - 4, "stopped": 1,
        "withdrawn": 2, "not_accepted": 1, "without_moment": 0, "open_at_end": 11, "open_overdue": 3,
        "inherited_overdue": 0, "a_with_open": None, "withdrawn_per_1000": None,
    }  # fmt: skip


def trend(number: int, change: str | None, value: str, index: str = "K") -> Row:
    return {
        "unit_code": code(number), "index_code": index, "value": Decimal(value),
        "previous_value": None if change is None else Decimal(value) - Decimal(change),
        "previous_change": None if change is None else Decimal(change),
        "previous_within_one_case": None if change is None else True,
        "previous_stopped_by": "clipped" if change is None else None,
    }  # fmt: skip


def owed(number: int, reason: str, state: str, **values: Any) -> Row:
    return {
        "unit_code": code(number), "reason": reason, "state": state, "due_on": "2026-10-30", "measured": None,
        "compared_with": None, "threshold": 20, "not_compared_because": None, "explanation_id": None, "cause_code": None,
    } | values  # fmt: skip


def later(edition_id: str | None, period_code: str, **values: Any) -> Row:
    unknown = dict.fromkeys(("units", "units_other_k", "units_other_verdict"))
    return {
        "edition_id": edition_id, "period_code": period_code, "as_of_batch": 9, "built_to": 21, "is_by_same_rules": True,
        "is_built": True,
    } | unknown | values  # fmt: skip


def effect(
    edition_id: str,
    number: int,
    indices: str,
    was: tuple[str | None, str | None],
    now: tuple[str | None, str | None],
    **values: Any,
) -> Row:
    row: Row = {"edition_id": edition_id, "period_code": edition_id.partition(".")[0], "unit_code": code(number)}
    for side, (k, verdict) in (("was", was), ("now", now)):
        row |= {
            f"k_{side}": None if k is None else Decimal(k), f"verdict_{side}": verdict, f"reason_{side}": None,
            f"status_{side}": "incomplete" if k is None else "scored",
        }  # fmt: skip
    changed = {"is_other_k": was[0] != now[0], "is_other_verdict": was[1] != now[1]}
    return row | {"indices": indices} | changed | values


ANNEXES: dict[str, tuple[Row, ...]] = {
    "dossier_flow": (flow(1, 1234), flow(2, 77)),
    "received_by_channel": tuple(
        {"unit_code": code(n), "channel_code": channel, "received": received}
        for n, channel, received in ((1, "desk", 1000), (1, "online", 200), (1, None, 34), (2, "post", 77))
    ),
    "trend": (trend(1, "1.5", "22"), trend(2, "-0.5", "20.004"), trend(5, None, "21.5"), trend(1, "0.25", "1", "A")),
    "explanation_owed": (
        owed(4, "not_satisfied", "open", measured=Decimal("19.996")),
        owed(4, "overdue_long", "overdue", measured=6, threshold=10),
        owed(6, "not_satisfied", "not_read"),
        owed(2, "k_fell", "not_compared", not_compared_because="policy", measured=Decimal(20), compared_with=22),
    ),
    "reconciliation": (
        {"unit_code": code(1), "reason": "same", "city_count": 100, "portal_count": 100},
        {"unit_code": code(1), "reason": "missing_at_portal", "city_count": 7, "portal_count": 0},
    ),
    "late_data": (
        {"unit_code": code(1), "measure": "rating", "days_late": 0, "record_count": 41},
        {"unit_code": code(1), "measure": "rating", "days_late": 9, "record_count": 2},
    ),
    "later_period": (
        later("2026-09.e1", "2026-09", units=2, units_other_k=2, units_other_verdict=1),
        later("2025.e1", "2025", is_built=False, is_by_same_rules=None),
        later("2026-08.e2", "2026-08", units=1, units_other_k=0, units_other_verdict=0, is_by_same_rules=False),
        later("2026-07.e1", "2026-07", units=0, units_other_k=0, units_other_verdict=0),
        later(None, "2026-10", units=0, units_other_k=0, units_other_verdict=0),
    ),
    "later_effect": (
        effect("2026-09.e1", 4, "A,C", ("20.004", "satisfied"), ("19.5", "not_satisfied")),
        effect("2026-09.e1", 2, "A", ("21", "satisfied"), (None, None), reason_now="C:no_data,E:awaiting_input"),
        effect("2026-08.e2", 1, "B", ("22", "satisfied"), ("22", "satisfied")),
    ),
    "later_record": tuple(
        {"edition_id": "2026-09.e1", "period_code": "2026-09", "unit_code": code(n), "measure": measure, "late": late,
         "changed": changed}
        for n, measure, late, changed in (
            (4, "rating", 7, 0), (2, "dossier_resolved", 1234, 5), (2, "dossier_received", 1300, 0),
        )
    ),
    "k_sensitivity": (
        {
            "unit_code": code(3), "k": Decimal(20), "verdict": "undetermined", "verdict_stability": "depends",
            "k_min": Decimal("18.5"), "k_max": Decimal("20.5"), "flipping_readings": "k_equal=satisfied",
            "flipped_verdict": "satisfied",
        },
    ),
}  # fmt: skip


def evaluated(number: int, kind: str, share: str | None, small: bool = False) -> Row:
    return {
        "unit_code": code(number), "evaluator_kind": kind, "is_due": True, "is_small": small,
        "status": "no_data" if share is None else "scored", "share": None if share is None else Decimal(share),
    }  # fmt: skip


def sub_unit(head: int, number: int, **values: Any) -> Row:
    return {
        "unit_code": code(head), "sub_unit_code": f"{code(head)}.{number}", "sub_unit_name": f"Phòng số {number}",
        "a": Decimal("0.9"), "b": Decimal(1), "k": None, "verdict": None, "status": "not_applicable", "status_reason": "sub_unit",
        "window_start": "2026-09-15", "window_end": "2026-12-15", "window_clipped": None, "a_dossiers": 1200, "a_reason": None,
        "b_dossiers": 1200, "b_reason": None, "c_reason": None,
    } | values  # fmt: skip


QUARTER: dict[str, tuple[Row, ...]] = {
    "action": tuple(
        {
            "unit_code": code(n), "remedy_code": "training", "state": state, "due_on": "2026-09-01", "period_code": "2026-Q2",
            "as_of_on": "2026-10-14", "is_without_evidence": state == "done",
        }
        for n, state in ((1, "done"), (2, "overdue"), (3, "open"))
    ),
    "watch_list": tuple(
        {"unit_code": code(1), "reason": reason, "record_key": key, "as_of_on": "2026-10-14"}
        for key, reason in (("H29-1", "overdue_long"), ("H29-2", "overdue_long"), ("P-1", "resent_often"))
    ),
    "sub_unit": (
        sub_unit(1, 2, c_ratings=4, c=Decimal("0.75")),
        sub_unit(1, 1, c_ratings=5, c=Decimal("0.8")),
        sub_unit(4, 3, c_ratings=0, c=None, c_reason="no_rating", a=None, b=None, a_dossiers=0, a_reason="no_resolved_dossier",
                 b_reason="no_resolved_dossier", window_clipped="unit_started"),
        sub_unit(4, 4, c_ratings=3, c=Decimal(1), k=Decimal(21), verdict="satisfied"),
    ),
    "evaluation": (
        evaluated(1, "internal", "0.8125"),
        evaluated(2, "internal", None),
        evaluated(1, "organisation", "0.5", small=True),
    ),
}  # fmt: skip


def made_up(units: list[Any] = UNITS, annexes: dict[str, tuple[Row, ...]] | None = None, **header: Any) -> Report:
    annexes = ANNEXES if annexes is None else annexes
    return replace(report(units, **header), annexes=annexes, has_annexes=bool(annexes))


@dataclass(frozen=True)
class Files:
    """One report as both files; `docx_rows`: the cells of every table's rows; texts with single blanks."""

    docx_rows: list[list[str]]
    docx_text: str
    pdf_text: str
    docx_bytes: bytes
    pdf_bytes: bytes

    def rows_of(self, name: str) -> list[list[str]]:
        return [row for row in self.docx_rows if name in row[:2]]


def read(made: Report, folder: Path) -> Files:
    paper = compose(made)
    docx.write(paper, made.header.published_at, folder / "r.docx")
    pdf.write(paper, made.header.published_at, folder / "r.pdf")
    document = python_docx.Document(str(folder / "r.docx"))
    rows = [[cell.text for cell in row.cells] for table in document.tables for row in table.rows]
    text = "\n".join([*(p.text for p in document.paragraphs), *(" | ".join(row) for row in rows)])
    pages = [page.extract_text() for page in pypdf.PdfReader(folder / "r.pdf").pages]
    return Files(
        rows, text, " ".join(" ".join(pages).split()), (folder / "r.docx").read_bytes(), (folder / "r.pdf").read_bytes()
    )


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return read(made_up(), tmp_path_factory.mktemp("month"))


@pytest.fixture(scope="module")
def restated_year(tmp_path_factory: pytest.TempPathFactory) -> Files:
    handover = {
        "unit_code": code(1), "k": Decimal(22), "quarters": 4, "quarters_scored": 4, "is_year_over": True,
    }  # fmt: skip
    made = made_up(
        annexes=ANNEXES | QUARTER | {"reform_index_handover": (handover,)},
        period_code="2026", edition_id="2026.e2", edition_no=2, supersedes="2026.e1", reason="Sở 1 sửa số liệu",
    )  # fmt: skip
    changes = (
        Change(code(1), "A", "late", Decimal("0.5"), Decimal(1), Decimal("0.5"), "scored", "scored"),
        Change(code(1), "K", "late", Decimal("21.75"), Decimal(22), Decimal("0.5"), "satisfied", "satisfied"),
        Change(code(1), "K", "corrected", Decimal("21.75"), Decimal(22), Decimal("-0.25"), "satisfied", "satisfied"),
        Change(code(6), "K", "deleted", Decimal("19"), None, None, "not_satisfied", None),
    )
    return read(replace(made, changes=changes), tmp_path_factory.mktemp("year"))


def vietnamese(value: Decimal | None, places: int) -> str:
    return "—" if value is None else f"{value:.{places}f}".replace(".", ",")


# -- figures -----------------------------------------------------------------------------------------------------------


def test_every_figure_of_every_unit_stands_in_both_files(month: Files) -> None:
    for row in UNITS:
        places = {"20.004": 3, "19.996": 3}.get(str(row.k), 2)
        figures = [
            row.unit_name,
            *(vietnamese(row.values[index], 4) for index in "ABC"),
            vietnamese(row.d, 2),
            vietnamese(row.e, 0),
            vietnamese(row.k, places),
        ]
        [found] = [cells for cells in month.docx_rows if len(cells) == 10 and cells[1] == row.unit_name]
        assert found[0] == ("—" if row.rank_in_group is None else str(row.rank_in_group))
        assert found[1:8] == figures
        assert " ".join(figures) in month.pdf_text


def test_a_unit_without_k_has_dashes_and_the_reason_never_nought(month: Files) -> None:
    [found] = [cells for cells in month.docx_rows if len(cells) == 10 and cells[1] == "Sở số 6"]
    assert (found[0], found[3], found[4], found[6], found[7]) == ("—", "—", "—", "—", "—")
    assert found[8] == "Chưa kết luận được"
    assert "Thiếu C: Không có lượt đánh giá nào trong kỳ" in found[9]
    assert ["C", "Không có lượt đánh giá nào trong kỳ"] in [cells[:2] for cells in month.docx_rows]


def test_counts_of_verdicts_are_set_against_the_period_before(tmp_path: Path) -> None:
    before = [unit(1, "22"), unit(2, "22"), unit(3, "19"), unit(4, "19"), unit(5, None)]
    made = replace(made_up(), earlier=Earlier("2026-09.e1", "2026-09", grouped(before)[0].units))
    files = read(made, tmp_path)
    assert ["Toàn Thành phố", "8 (+3)", "3 (+1)", "2 (0)", "1 (+1)", "1 (0)", "1 (+1)"] in [
        cells[:7] for cells in files.docx_rows
    ]
    assert "thay đổi so với tháng 9 năm 2026 (ấn bản 2026-09.e1)" in files.pdf_text


def test_volumes_are_added_up_and_balance(month: Files) -> None:
    [total] = [cells for cells in month.docx_rows if cells[0] == "Toàn Thành phố" and len(cells) == 10]
    assert total[1:] == ["22", "1.311", "1.303", "2", "4", "2", "0", "22", "6"]
    start, received, *ended, end = (int(cell.replace(".", "")) for cell in total[1:9])
    assert start + received == sum(ended) + end
    assert "Sở số 1 11 1.234 1.230 1 2 1 0 11 3" in month.pdf_text


def test_what_was_received_is_told_by_channel(month: Files) -> None:
    assert ["Nhóm cơ quan", "Trực tiếp", "Trực tuyến", "Bưu chính", "Không rõ", "Cộng"] in month.docx_rows
    assert ["Toàn Thành phố", "1.000", "200", "77", "34", "1.311"] in month.docx_rows
    assert "Toàn Thành phố 1.000 200 77 34 1.311" in month.pdf_text


def test_movers_are_shown_with_within_one_case_and_what_cannot_be_compared(month: Files) -> None:
    assert ["Sở số 1", "20,50", "22,00", "+1,50", "A: +0,2500", "Có"] in month.docx_rows
    assert ["Sở số 2", "20,50", "20,004", "−0,50", "—", "Có"] in month.docx_rows
    assert "Không so sánh: 1 cơ quan kỳ này không trọn" in month.docx_text


def test_movers_compare_with_the_edition_of_the_period_before(tmp_path: Path) -> None:
    """The trend says 20,50 and −0,50; the editions said 21,00 and 20,504. Two of the same name stay two bars."""
    units = [replace(row, unit_name="Sở số 1") if row.unit_code == code(2) else row for row in UNITS]
    before = [unit(1, "21", a=Decimal("0.5")), unit(2, "20.504"), unit(5, "19")]
    trends = (*ANNEXES["trend"], trend(8, "1", "17.123456"))
    made = made_up(units, ANNEXES | {"trend": trends})
    made = replace(made, earlier=Earlier("2026-09.e1", "2026-09", grouped(before)[0].units))
    files = read(made, tmp_path)
    rows = [cells for cells in files.docx_rows if len(cells) == 6]
    assert ["Sở số 1", "21,00", "22,00", "+1,00", "D: +1,00", "—"] in rows
    assert ["Sở số 1", "20,50", "20,004", "−0,50", "D: −0,50", "Có"] in rows
    assert "K đã công bố ở ấn bản 2026-09.e1" in files.docx_text
    assert "1 cơ quan kỳ này không trọn" in files.docx_text
    assert "1 cơ quan ấn bản kỳ trước không có K" in files.docx_text
    assert movers_of(made) == {f"Sở số 1 ({code(1)})": 1.0, f"Sở số 1 ({code(2)})": -0.5}


def test_what_is_recomputed_says_so(month: Files, tmp_path: Path) -> None:
    told = "Số của kỳ trước được tính lại từ số liệu đến đợt nạp số 14"
    assert month.docx_text.count(told) == 3  # movers without an edition before, explanations, and theirs of each unit
    xlsx.write(made_up(), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    for name in book.sheetnames:
        shown = any(told in str(cell) for row in book[name].iter_rows(values_only=True) for cell in row)
        assert shown is (name in ("Giải trình", "Biến động"))


def movers_of(made: Report) -> dict[str, float]:
    blocks = [block for section in compose(made).sections for block in section.blocks]
    [chart] = [block for block in blocks if isinstance(block, Chart) and block.kind == "movers"]
    return {row["unit"]: row["change"] for row in chart.rows}


def test_what_came_later_is_counted_from_the_last_batch(month: Files, tmp_path: Path) -> None:
    last = "sau đợt nạp cuối của ấn bản (số 14)"
    assert last in month.docx_text
    some = read(made_up(late_batches=1, later_batches=2, later_records=1500), tmp_path)
    assert last in some.docx_text.lower()
    assert "1.500 bản ghi của mọi kỳ (2 đợt nạp)" in some.docx_text
    assert "Sau khi chốt" not in some.docx_text
    assert last not in read(made_up(annexes={}), tmp_path).docx_text.lower()  # nobody counted it


def test_who_must_explain_what_until_when(month: Files) -> None:
    assert "Thủ trưởng 2 cơ quan phải giải trình 3 nội dung" in month.docx_text
    [row] = [cells for cells in month.rows_of("Sở số 4") if cells[2:3] == ["30/10/2026"]]
    assert "Kết quả không hài lòng (K = 19,996)" in row[1]
    assert "6 hồ sơ quá hạn trên 10 ngày làm việc" in row[1]
    assert row[3] == "1 còn hạn, chưa giải trình; 1 quá hạn, chưa giải trình"
    assert "1 cơ quan quy định khác kỳ trước" in month.docx_text
    assert "20 → 22" not in month.docx_text


def test_reading_late_data_and_the_portal_are_told(month: Files) -> None:
    assert ["Sở số 3", "20,00", "18,50 – 20,50", "K đúng bằng ngưỡng là hài lòng", "Hài lòng"] in month.docx_rows
    assert ["Lượt đánh giá", "43", "41", "2", "9"] in month.docx_rows
    assert ["Không có trên Cổng", "7", "0", "+7"] in month.docx_rows
    assert ["Tổng số", "107", "100", "+7"] in month.docx_rows


def test_what_came_later_is_held_against_each_published_period(month: Files) -> None:
    rows = [
        ["Năm 2025", "2025.e1", "0", "0", "—", "—", "—"],
        ["Tháng 8 năm 2026", "2026-08.e2", "0", "0", "1", "0", "0"],
        ["Tháng 9 năm 2026", "2026-09.e1", "1.241", "5", "2", "2", "1"],
    ]
    start = month.docx_rows.index(rows[0])
    assert month.docx_rows[start : start + 3] == rows
    for row in rows:
        assert " ".join(row) in month.pdf_text
    assert "Tính đến đợt nạp số 21." in month.docx_text
    assert "2 kỳ không có gì thay đổi" in month.docx_text
    assert "Quy tắc tính đã đổi sau khi công bố tháng 8 năm 2026:" in month.docx_text
    assert "kỳ không còn trong số liệu hiện nay" in month.docx_text


def test_a_restatement_is_proposed_where_a_verdict_would_turn_and_nowhere_else(month: Files) -> None:
    assert "Đề nghị lập ấn bản đính chính của tháng 9 năm 2026. Ấn bản đã công bố không tự thay đổi." in month.docx_text
    assert "Xếp loại của chính kỳ này" not in month.docx_text
    turned = ["2026-09", "Sở số 4", "A, C", "20,004", "19,50", "Hài lòng", "Không hài lòng"]
    lost = [
        "2026-09",
        "Sở số 2",
        "A",
        "21,00",
        "—",
        "Hài lòng",
        "Thiếu C: không có số liệu; Thiếu E: chờ kết quả kiểm tra",
    ]
    same = ["2026-08", "Sở số 1", "B", "22,00", "22,00", "Hài lòng", "Hài lòng"]
    assert [month.docx_rows.count(row) for row in (turned, lost, same)] == [
        2,
        2,
        1,
    ]  # in the section, and in the appendix
    assert " ".join(turned) in month.pdf_text


def test_the_workbook_holds_every_effect_and_where_nothing_came_later_says_so(tmp_path: Path) -> None:
    xlsx.write(made_up(), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")

    def shown(name: str) -> list[tuple[Any, ...]]:
        return list(book[name].iter_rows(min_row=4, values_only=True))

    assert ("2026-09", "2026-09.e1", 9, 21, "Có", 2, 2, 1) in shown("Tác động về muộn")
    assert ("2025", "2025.e1", 9, 21, "—", "—", "—", "—") in shown("Tác động về muộn")
    assert ("Sở số 4", "2026-09", "2026-09.e1", "A,C", 20.004, 19.5, "Hài lòng", "Không hài lòng", "—", "—") in (
        shown("Tác động từng cơ quan")
    )
    assert ("Sở số 2", "2026-09", "2026-09.e1", "Hồ sơ có kết quả", 1234, 5) in shown("Bản ghi về muộn")
    quiet = {"later_period": (later(None, "2026-10", units=0, units_other_k=0, units_other_verdict=0),)}
    files = read(made_up(annexes=ANNEXES | quiet | {"later_effect": (), "later_record": ()}), tmp_path)
    assert files.docx_text.count(words.NOTHING_LATER) == 1
    assert "1 kỳ không có gì thay đổi" in files.docx_text and "Đề nghị lập ấn bản đính chính" not in files.docx_text


def test_ties_are_named_in_full(tmp_path: Path) -> None:
    """Forty share the first rank: all forty names stand in one row, in both files."""
    files = read(made_up([unit(n, "22", rank_in_group=1) for n in range(1, 41)], {}), tmp_path)
    [row] = [cells for cells in files.docx_rows if cells[0] == "1" and "40 cơ quan cùng hạng" in cells[-1]]
    assert row[2].split("; ") == [f"Sở số {n}" for n in range(1, 41)]
    assert "; ".join(f"Sở số {n}" for n in range(1, 41)) in files.pdf_text


def test_a_shared_rank_on_both_sides_of_the_threshold_shows_every_k(tmp_path: Path) -> None:
    units = [unit(1, "20.004", rank_in_group=1), unit(2, "19.996", rank_in_group=1), unit(3, "15", rank_in_group=3)]
    files = read(made_up(units, {}), tmp_path)
    [row] = [cells for cells in files.docx_rows if cells[0] == "1" and "2 cơ quan cùng hạng" in cells[-1]]
    assert row[1:3] == ["20,004; 19,996", "Sở số 1; Sở số 2"]


# -- what is missing ---------------------------------------------------------------------------------------------------


def test_an_edition_older_than_annexes_says_so_in_every_file(tmp_path: Path) -> None:
    files = read(made_up(annexes={}), tmp_path)
    assert files.docx_text.count(words.NO_ANNEXES) == 11
    assert words.NO_ANNEXES in files.pdf_text
    assert words.EMPTY_ANNEX not in files.pdf_text
    xlsx.write(made_up(annexes={}), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert book["Hồ sơ"]["A4"].value == words.NO_ANNEXES
    assert book["Hồ sơ"].max_row == 4


def test_an_annex_without_rows_says_so_and_prints_no_nought(month: Files, tmp_path: Path) -> None:
    assert (
        month.docx_text.count(words.NO_SUCH_ANNEX) == 1
    )  # petitions: a row of every unit, in every edition that has them
    assert words.EMPTY_ANNEX not in month.docx_text
    nothing_late = read(
        made_up(annexes={name: rows for name, rows in ANNEXES.items() if name != "late_data"}), tmp_path
    )
    assert nothing_late.docx_text.count(words.EMPTY_ANNEX) == 1
    xlsx.write(made_up(), tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert book["Phản ánh, kiến nghị"]["A4"].value == words.NO_SUCH_ANNEX
    assert book["Khiếu nại số liệu"]["A4"].value == words.EMPTY_ANNEX


def test_a_sum_with_an_unknown_part_is_unknown(tmp_path: Path) -> None:
    petitions = [
        {"unit_code": code(n), "is_read": True, "received": 5, "counted": 4, "in_time": 3, "satisfied": told,
         "unanswered": 0, "not_yet_due": 1}
        for n, told in ((1, 2), (2, None))
    ]  # fmt: skip
    petitions.append({"unit_code": code(3), "is_read": False, **dict.fromkeys(PETITIONS, None)})
    files = read(made_up(annexes=ANNEXES | {"petition_count": tuple(petitions)}), tmp_path)
    assert ["Toàn Thành phố", "10", "8", "6", "—", "0", "2"] in files.docx_rows
    assert "Chưa đọc đủ phản ánh, kiến nghị của 1 cơ quan" in files.docx_text


PETITIONS = ("received", "counted", "in_time", "satisfied", "unanswered", "not_yet_due")


def test_what_is_unknown_is_a_dash_in_every_sum_and_stops_nothing(tmp_path: Path) -> None:
    """Rows of an annex as an older mart wrote them: columns are missing, others null."""
    known: dict[str, tuple[Row, ...]] = {
        "dossier_flow": ({"unit_code": code(1), "received": 5},),
        "received_by_channel": (
            {"unit_code": code(1), "channel_code": "desk", "received": None},
            {"unit_code": code(1), "channel_code": "post", "received": 3},
        ),
        "trend": (trend(1, None, "22"),),
        "petition_count": ({"unit_code": code(1), "is_read": True, "received": 4, "unanswered": None},),
        "petition_term": (
            {"unit_code": code(1), "term_code": "answer", "ran": 3, "kept": None, "broken": 1},
            {"unit_code": code(2), "term_code": "answer", "ran": 2, "kept": 2, "broken": 0},
        ),
        "explanation_owed": ({"unit_code": code(2), "reason": "k_fell", "state": "open", "measured": Decimal(19)},),
        "reconciliation": (
            {"unit_code": code(1), "reason": "same", "city_count": 8, "portal_count": 8},
            {"unit_code": code(1), "reason": "missing_at_portal", "city_count": None, "portal_count": 0},
        ),
        "late_data": (
            {"unit_code": code(1), "measure": "rating", "days_late": None, "record_count": 41},
            {"unit_code": code(1), "measure": "rating", "days_late": 2, "record_count": 1},
        ),
        "action": ({"unit_code": code(1), "remedy_code": "training", "state": "open"},),
        "watch_list": ({"unit_code": code(1), "reason": "overdue_long"},),
        "evaluation": ({"unit_code": code(1), "evaluator_kind": "internal", "status": "scored"},),
        "portal_group": tuple(
            {"unit_code": code(1), "index_code": index, "window_kind": "year", "score": Decimal(7)}
            for index in ("NEW", "CKMB")
        ),
        "reform_index_handover": ({"unit_code": code(1), "k": Decimal(22)},),
    }
    annexes = {name: tuple(AnnexRow(row) for row in rows) for name, rows in known.items()}
    made = made_up(annexes=annexes, period_code="2026")
    files = read(made, tmp_path)
    for row in (
        ["Toàn Thành phố", "—", "3", "—"],
        ["Trả lời", "5", "—", "1", "—"],
        ["Tổng số", "—", "8", "—"],
        ["Lượt đánh giá", "42", "—", "—", "—"],
        ["Đánh giá nội bộ", "0", "1", "0", "—", "—"],
        ["NEW", "— – —", "—", "1/1", "7,00", "—"],
    ):
        assert row in files.docx_rows
    assert "Có — hồ sơ trả kết quả muộn" in files.docx_text
    assert "Chưa rõ số phản ánh, kiến nghị quá hạn chưa trả lời của 1 cơ quan" in files.docx_text
    assert "Tổng điểm K giảm so với kỳ trước (— → 19,00)" in files.docx_text
    assert "1 có K của năm; — có K ở mọi quý" in files.docx_text
    assert "Tính đến ngày —. — biện pháp" in files.docx_text
    xlsx.write(made, tmp_path / "r.xlsx")
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert [cell.value for cell in book["Số liệu về muộn"][4]] == ["Sở số 1", "Lượt đánh giá", 42, "—", "—"]
    [different] = list(book["Đối chiếu với Cổng"].iter_rows(min_row=4, values_only=True))
    assert different[2:] == ("—", 0, "—")


def test_of_the_portals_calendar_the_year_that_shares_most_days_is_told_and_the_periods_own(tmp_path: Path) -> None:
    def group(code_: str, since: str, until: str, score: int, period: str | None = None) -> Row:
        return AnnexRow(
            unit_code=code(1), index_code=code_, window_kind="year", window_from=since, window_to=until, score=Decimal(score),
            max_score=Decimal(18), metric_version="2026", period_code=period,
        )  # fmt: skip

    rows = (
        group("CKMB", "2025-01-01", "2025-12-31", 11),
        group("CKMB", "2026-01-01", "2026-12-31", 12),
        group("MDHL", "2025-12-15", "2026-12-14", 13, "2026"),
        group("MDHL", "2025-01-01", "2025-12-31", 14),
        group("MDHL", "2026-01-01", "2026-12-31", 15),
    )
    made = made_up(
        annexes=ANNEXES | QUARTER | {"portal_group": rows}, period_code="2026", period_start=date(2025, 12, 15),
        period_end=date(2026, 12, 15),
    )  # fmt: skip
    files = read(made, tmp_path)
    told = [(row[1], row[4]) for row in files.docx_rows if len(row) == 6 and row[2] == "2026" and row[3] == "1/1"]
    assert told == [
        ("15/12/2025 – 14/12/2026", "13,00"),
        ("01/01/2026 – 31/12/2026", "12,00"),
        ("01/01/2026 – 31/12/2026", "15,00"),
    ]


def test_an_appendix_without_a_table_takes_no_page_of_its_own(tmp_path: Path) -> None:
    def pages(report_: Report, name: str) -> list[str]:
        paper = compose(report_)
        pdf.write(paper, report_.header.published_at, tmp_path / f"{name}.pdf")
        return [page.extract_text() for page in pypdf.PdfReader(tmp_path / f"{name}.pdf").pages]

    empty = made_up(annexes=ANNEXES | {"explanation_owed": ()})
    [before] = [page for page in pages(empty, "empty") if "Phụ lục 2." in page]
    assert "Phụ lục 3." in before, "it says why it is empty below the appendix before it"
    [alone] = [page for page in pages(made_up(), "full") if "Phụ lục 3." in page]
    assert "Phụ lục 2." not in alone
    for report_, breaks in ((empty, False), (made_up(), True)):
        docx.write(compose(report_), report_.header.published_at, tmp_path / "r.docx")
        [title] = [
            p for p in python_docx.Document(str(tmp_path / "r.docx")).paragraphs if p.text.startswith("Phụ lục 3.")
        ]
        assert bool(title.paragraph_format.page_break_before) is breaks


# -- restated, quarter, year -------------------------------------------------------------------------------------------


def test_a_restated_edition_tells_what_each_cause_did(restated_year: Files) -> None:
    assert "Ấn bản 2026.e2 thay ấn bản 2026.e1. Lý do: Sở 1 sửa số liệu." in restated_year.docx_text
    assert ["Sở số 1", "21,75", "22,00", "Dữ liệu về muộn: +0,5000; Bản ghi được sửa ở nguồn: −0,2500"] in (
        restated_year.docx_rows
    )
    assert ["Sở số 6", "19,00", "—", "Bản ghi bị xóa ở nguồn: Không hài lòng → không có K"] in restated_year.docx_rows
    assert ["Dữ liệu về muộn", "1", "1", "0", "0", "0", "0", "1"] in restated_year.docx_rows


def test_a_year_says_what_article_12_asks_for(restated_year: Files) -> None:
    rows = restated_year.docx_rows
    assert ["Sở, ban, ngành", "Không hài lòng", "1", "Sở số 4"] in rows
    assert ["Tập huấn, bồi dưỡng", "1", "0", "1", "1", "3"] in rows
    assert ["Sở số 2", "Tập huấn, bồi dưỡng", "01/9/2026", "2026-Q2"] in rows
    assert ["Sở số 1", "2", "0", "1", "0"] in rows  # watch-lists
    assert ["Đánh giá nội bộ", "2", "1", "1", "81,3%", "81,3%"] in rows
    assert ["Sở số 1", "81,3%", "—", "—", "50,0%*"] in rows
    assert "Bàn giao cho Sở Nội vụ kết quả của 1 cơ quan: 1 có K của năm; 1 có K ở mọi quý" in restated_year.docx_text
    for text in (restated_year.docx_text, restated_year.pdf_text):
        assert "Đề xuất khen thưởng" in text
        assert "CHÁNH VĂN PHÒNG" in text
        assert "nên không đăng nguyên văn" in text


def test_a_quarter_tells_the_remedies_of_the_quarter_before_and_what_is_open(tmp_path: Path) -> None:
    rows = tuple(
        {"unit_code": code(1), "remedy_code": remedy, "state": state, "due_on": "2026-09-01", "period_code": period,
         "as_of_on": "2027-02-14", "is_without_evidence": False}
        for remedy, state, period in (
            ("training", "done", "2026-Q4"), ("training", "done", "2026-11"), ("training", "done", "2026-09"),
            ("training", "done", "2027-Q1"), ("staff", "open", "2026-Q1"), ("staff", "done", None),
        )
    )  # fmt: skip
    told = (
        owed(1, "k_fell", "given", explanation_id="G1", cause_code="overload", measured=Decimal(19), compared_with=20),
        owed(2, "e_zero", "given", explanation_id="G2", cause_code="strange", measured=0),
    )
    annexes = ANNEXES | QUARTER | {"action": rows, "explanation_owed": told}
    files = read(made_up([*UNITS, BARE], annexes, period_code="2027-Q1"), tmp_path)
    assert "KẾT QUẢ KHẮC PHỤC, CHẤN CHỈNH CỦA QUÝ IV NĂM 2026 VÀ VIỆC CÒN DỞ" in files.docx_text
    assert ["Tập huấn, bồi dưỡng", "2", "0", "0", "0", "2"] in files.docx_rows
    assert ["Bổ sung, bố trí nhân sự", "0", "0", "0", "1", "1"] in files.docx_rows
    assert "1 biện pháp đã thực hiện không rõ của kỳ nào" in files.docx_text
    assert "(kèm số nội dung): Quá tải công việc: 1; strange: 1." in files.docx_text


def test_each_head_is_told_of_his_sub_units_without_a_c_of_few_ratings(tmp_path: Path) -> None:
    made = made_up(annexes=ANNEXES | QUARTER, period_code="2026-Q4", edition_id="2026-Q4.e1")
    files = read(made, tmp_path)
    wanted = [
        ["Phòng số 1", "1.200", "0,9000", "1,0000", "5", "0,8000", "—", ""],
        ["Phòng số 2", "1.200", "0,9000", "1,0000", "*", "*", "—", ""],
        ["Phòng số 3", "0", "—", "—", "0", "—", "—",
         "Bắt đầu hoạt động trong kỳ; Không có hồ sơ nào có kết quả trong kỳ; Không có lượt đánh giá nào trong kỳ"],
        ["Phòng số 4", "1.200", "0,9000", "1,0000", "*", "*", "*", ""],
    ]  # fmt: skip
    start = files.docx_rows.index(wanted[0])
    assert files.docx_rows[start : start + 2] == wanted[:2]  # of one head; the next head has a table of his own
    assert [row for row in files.docx_rows if row[0] in ("Phòng số 3", "Phòng số 4")] == wanted[2:]
    assert "Sở số 1 (2 đơn vị trực thuộc)" in files.docx_text and "Sở số 4 (2 đơn vị trực thuộc)" in files.docx_text
    assert "2 cơ quan có 4 đơn vị trực thuộc được chấm điểm" in files.docx_text
    assert "do người được Văn phòng Ủy ban nhân dân Thành phố giao quyền lập khi thủ trưởng đề nghị" in files.docx_text
    assert "hailong " not in files.docx_text  # an official paper names no command
    for text in (files.docx_text, files.pdf_text):
        assert "Phòng số 2" in text
        assert "0,7500" not in text
    xlsx.write(made, tmp_path / "r.xlsx")
    rows = list(openpyxl.load_workbook(tmp_path / "r.xlsx")["Đơn vị trực thuộc"].iter_rows(min_row=4, values_only=True))
    assert [(row[0], row[2], *row[6:10]) for row in rows] == [
        ("Sở số 1", "Phòng số 1", 5, 0.8, "—", "Không"),
        ("Sở số 1", "Phòng số 2", "—", "—", "—", "Có"),
        ("Sở số 4", "Phòng số 3", 0, "—", "—", "Không"),
        ("Sở số 4", "Phòng số 4", "—", "—", "—", "Có"),
    ]


# Judged not satisfied whatever is missing, with no index at all: nothing can be said of where it lost.
BARE = unit(9, None, verdict="not_satisfied")


def test_a_month_is_the_centres_and_says_nothing_of_proposals(month: Files) -> None:
    for text in (month.docx_text, month.pdf_text):
        assert "TRUNG TÂM CHUYỂN ĐỔI SỐ" in text
        assert "GIÁM ĐỐC" in text
        assert "Đề xuất khen thưởng" not in text


def test_the_head_is_that_of_official_papers(month: Files) -> None:
    for text in (month.docx_text, month.pdf_text):
        for part in (
            "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM",
            "Độc lập - Tự do - Hạnh phúc",
            "/BC-TTCĐS",
            "Thành phố Hồ Chí Minh, ngày 20 tháng 10 năm 2026",
            "Nơi nhận:",
            "BÁO CÁO",
        ):
            assert part in text
    section = python_docx.Document(io.BytesIO(month.docx_bytes)).sections[0]
    margins = (section.top_margin, section.bottom_margin, section.left_margin, section.right_margin)
    assert [round(margin.mm) for margin in margins] == [20, 20, 30, 15]  # type: ignore[union-attr]
    assert (round(section.page_width.mm), round(section.page_height.mm)) == (210, 297)  # type: ignore[union-attr]


def test_the_handover_file_holds_every_unit_of_the_annex(tmp_path: Path) -> None:
    rows = tuple(
        {
            "unit_code": code(n),
            "k": k,
            "verdict": None,
            "organisation_share": None,
            "quarters": 4,
            "quarters_scored": 3,
            "has_few_ratings": False,
            "organisation_is_small": False,
        }
        for n, k in ((1, Decimal("21.123456")), (6, None))
    )
    made = made_up(annexes={"reform_index_handover": rows}, period_code="2026")
    xlsx.write_handover(made, tmp_path / "h.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "h.xlsx")["Bàn giao CCHC"]
    assert [[cell.value for cell in row[:2]] for row in sheet.iter_rows(min_row=4)] == [
        ["Sở số 1", 21.123456],
        ["Sở số 6", "—"],
    ]


def test_the_handover_file_keeps_few_ratings_and_few_sheets_to_the_city_office(tmp_path: Path) -> None:
    """A verdict stays only where it is the same for every C."""
    row = {
        "a": Decimal(1), "b": Decimal(1), "c": Decimal("0.75"), "d": Decimal(17), "e": Decimal(1), "k": Decimal("20.75"),
        "verdict": "satisfied", "rank_in_group": 3, "c_ratings": 4, "organisation_share": Decimal("0.5"),
    }  # fmt: skip
    flags = {1: (True, False), 2: (False, True), 3: (True, True)}
    rows = tuple(
        row | {"unit_code": code(n), "has_few_ratings": few, "organisation_is_small": small}
        | ({"d": Decimal("17.5"), "k": Decimal("21.25")} if n == 3 else {})
        for n, (few, small) in flags.items()
    )  # fmt: skip
    xlsx.write_handover(made_up(annexes={"reform_index_handover": rows}, period_code="2026"), tmp_path / "h.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "h.xlsx")["Bàn giao CCHC"]
    titles = [cell.value for cell in sheet[3]]
    wanted = ("K", "Xếp loại", "Hạng", "C", "Lượt đánh giá", words.EVALUATORS["organisation"])
    found = [[row[titles.index(title)].value for title in wanted] for row in sheet.iter_rows(min_row=4)]
    assert found == [
        ["—", "—", "—", "—", "—", 0.5],
        [20.75, "Hài lòng", 3, 0.75, 4, "—"],
        ["—", "Hài lòng", "—", "—", "—", "—"],
    ]


def test_a_report_goes_to_those_who_may_read_it() -> None:
    for issuer in issuers().values():
        assert issuer.recipients == ("Như trên", "Lưu: VT")


# -- sheets to post ----------------------------------------------------------------------------------------------------


def test_a_sheet_to_post_shows_no_figure_of_a_hidden_cell(tmp_path: Path) -> None:
    start, end = date(2026, 9, 15), date(2026, 12, 15)
    header = {
        "edition_id": "2026-Q4.e1", "period_code": "2026-Q4", "period_start": start, "period_end": end, "supersedes": None,
        "reason": None, "legal_basis": None, "public_sha256": "b" * 64, "published_at": AT,
    }  # fmt: skip
    shown = {
        "unit_code": "U1", "unit_name": "Phường Một", "peer_group": "g", "peer_group_name": "Phường", "k": Decimal("20.004"),
        "verdict": "satisfied", "verdict_bound": None, "status": "scored", "status_reason": None, "rank_among_shown": 1,
        "window_start": start, "window_end": end,
    }  # fmt: skip
    hidden = shown | {
        "unit_code": "U2", "unit_name": "Phường Hai", "k": None, "verdict": None, "status": "suppressed",
        "rank_among_shown": None, "window_start": start + timedelta(days=16),
    }  # fmt: skip
    index = {
        "index_code": "C",
        "numerator": Decimal(7),
        "denominator": Decimal(9),
        "value": Decimal(7) / 9,
        "status": "scored",
    }
    rows = [
        index | {"unit_code": "U1", "status_reason": None},
        {**dict.fromkeys(index), "unit_code": "U2", "index_code": "C", "status": "suppressed", "status_reason": None},
        {
            **dict.fromkeys(index),
            "unit_code": "U2",
            "index_code": "B",
            "status": "no_data",
            "status_reason": "no_resolved_dossier",
        },
    ]
    parameters = {"k_threshold": "20", **{f"{name}_max": "18" if name == "d" else "1" for name in "abcde"}}
    data = posting.sheets(header, [shown, hidden], rows, parameters)
    (tmp_path / "n.pdf").write_bytes(pdf.typeset(posting.MAIN, data, {}, AT))
    first, second = (" ".join(p.extract_text().split()) for p in pypdf.PdfReader(tmp_path / "n.pdf").pages)
    assert "Tổng điểm K (tối đa 22, trên 20 là hài lòng): 20,004" in first
    assert "0,7778" in first
    assert "7 lượt đánh giá tốt / 9 lượt đánh giá" in first
    assert "1 trong 1 cơ quan" in first
    assert second.count("Không công khai") == 3 + 2  # verdict, K, C; and why, of K and of C
    assert second.count(posting.HIDDEN) == 2
    assert "quá ít" not in second  # one sentence for every reason
    assert "Không có hồ sơ nào có kết quả trong kỳ" in second
    assert "từ ngày 01/10/2026" in second
    assert not re.search(r"0,\d{4}|Hài lòng|Xếp hạng", second)


# -- bytes, fonts, words -----------------------------------------------------------------------------------------------


def test_the_same_edition_gives_the_same_bytes_and_another_other_bytes(month: Files, tmp_path: Path) -> None:
    again = read(made_up(), tmp_path)
    other = read(made_up(content_sha256="c" * 64), tmp_path)
    assert (again.docx_bytes, again.pdf_bytes) == (month.docx_bytes, month.pdf_bytes)
    assert other.docx_bytes != month.docx_bytes
    assert other.pdf_bytes != month.pdf_bytes


def test_the_publication_is_the_only_clock(month: Files) -> None:
    with zipfile.ZipFile(io.BytesIO(month.docx_bytes)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 10, 20, 3, 4, 4)}  # zip counts two seconds
        core = archive.read("docProps/core.xml").decode()
    assert set(re.findall(r"\d{4}-\d\d-\d\dT[\d:]+Z", core)) == {"2026-10-20T03:04:05Z"}
    reader = pypdf.PdfReader(io.BytesIO(month.pdf_bytes))
    assert reader.metadata
    assert {str(value)[:16] for name, value in reader.metadata.items() if "Date" in name} == {"D:20261020030405"}
    assert set(re.findall(rb"20\d\d-\d\d-\d\dT[\d:]+", month.pdf_bytes)) <= {b"2026-10-20T03:04:05"}


def test_the_pdf_embeds_its_fonts_and_needs_no_other(month: Files) -> None:
    names = set()
    for page in pypdf.PdfReader(io.BytesIO(month.pdf_bytes)).pages:
        for font in page["/Resources"]["/Font"].values():  # type: ignore[index, union-attr]
            [inner] = font["/DescendantFonts"]
            assert "/FontFile2" in inner["/FontDescriptor"]
            names.add(str(font["/BaseFont"]).partition("+")[2])
    assert names == {"LiberationSerif", "LiberationSerif-Bold", "LiberationSerif-Italic", "LiberationSerif-BoldItalic"}


def test_letters_are_composed_ones(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "Phường Thủ Đức")
    assert apart != "Phường Thủ Đức"
    files = read(made_up([unit(1, "22", unit_name=apart)], {}), tmp_path)
    for text in (files.docx_text, files.pdf_text):
        assert "Phường Thủ Đức" in text
        assert apart not in text


@pytest.mark.parametrize(("change", "colour"), [(1, charts.STATE_COLOURS[0]), (-1, charts.STATE_COLOURS[1])])
def test_who_rose_is_green_and_who_fell_is_red(change: int, colour: str) -> None:
    drawn = charts.draw(Chart("movers", "x", ({"unit": "U", "change": change},), Decimal(20)))
    assert colour in drawn
    assert not set(charts.STATE_COLOURS[:2]) - {colour} & set(re.findall("#[0-9A-F]{6}", drawn))


def test_each_state_has_its_colour_in_the_order_of_the_table_and_k_its_threshold() -> None:
    """Bars of widths 1 to 5, in the order of the states."""
    states = ("Hài lòng", "Không hài lòng", "Chưa xác định", "Chưa đủ chỉ số", "Không áp dụng")
    rows = tuple({"group": "g", "state": state, "units": n} for n, state in enumerate(states, start=1))
    drawn = charts.draw(Chart("verdicts", "x", rows, Decimal(20)))
    bars = re.findall(r'aria-label="Số cơ quan: (\d)[^"]*"[^>]*? fill="(#[0-9A-F]{6})"', drawn)
    assert dict(bars) == {str(n): colour for n, colour in enumerate(charts.STATE_COLOURS, start=1)}
    totals = charts.draw(Chart("k", "x", ({"group": "g", "k": 19.2}, {"group": "g", "k": 21.2}), Decimal(20)))
    assert 'aria-label="Tổng điểm K: 20' in totals or re.search(r'aria-label="k: 20\b', totals), totals[:3000]


def test_charts_are_drawn_and_measured_with_the_reports_font(monkeypatch: pytest.MonkeyPatch) -> None:
    """A legend of long names is laid out by their measured widths: another font puts its entries elsewhere."""
    rows = tuple({"group": f"Nhóm {n}", "state": f"{'Wm' * n} {n}", "units": n} for n in range(1, 6))
    chart = Chart("verdicts", "x", rows, Decimal(20))
    drawn = charts.draw(chart)
    assert set(re.findall(r'font-family="([^"]+)"', drawn)) == {"Liberation Serif"}
    monkeypatch.setattr(charts, "FONT", "No such font")
    other = charts.draw(chart).replace("No such font", "Liberation Serif")
    assert re.findall(r"translate\([^)]*\)", drawn) != re.findall(r"translate\([^)]*\)", other)


def test_the_renderers_version_names_what_decides_the_bytes() -> None:
    for name in (*DECIDES_BYTES, "zlib"):
        assert re.search(rf"\b{name} \d", RENDERER_VERSION)


class Asked(dict[str, Any]):
    """A row that knows nothing and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def test_every_column_of_a_sheet_is_one_of_its_annex() -> None:
    """What an annex does not have is a dash, so a misspelt name would be a column of dashes for ever."""
    columns: dict[str, set[str]] = {"received_by_channel": {"unit_code", "channel_code", "received"}}
    of_no_mart = {name: rows for name, rows in (ANNEXES | QUARTER).items() if name.startswith(("later_", "sub_unit"))}
    columns |= {
        name: set(rows[0]) for name, rows in of_no_mart.items()
    }  # these rows are read from a real candidate elsewhere
    for path in (PROJECT / "dbt_project/models/marts").glob("_*.yml"):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models") or []:
            columns[model["name"].removeprefix("mart_")] = {column["name"] for column in model["columns"]}
    # Worked out for the sheet.
    prepared = {"late_data": {"later"}, "rollup": {"scope_name"}, "sub_unit": {"has_few_ratings", "clipped"}}
    assert len(annexes.SHEETS) > 12
    for sheet in annexes.SHEETS:
        row = Asked()
        for field in sheet.fields:
            field.show(row)
        unknown = row.names - columns[sheet.source] - prepared.get(sheet.source, set())
        assert row.names and not unknown, (sheet.name, unknown)


SEEDS = PROJECT / "dbt_project/seeds"


@pytest.mark.parametrize(
    ("seed", "column", "known"),
    [
        ("explanation_reason", "reason", words.EXPLANATION_REASONS),
        ("reconciliation_reason", "reason", words.RECONCILIATION),
        ("petition_term", "term_code", words.TERMS),
        ("evaluator_kind", "evaluator_kind", words.EVALUATORS),
        ("volume_class", "volume_class", words.VOLUMES),
        ("portal_group", "index_code", words.PORTAL_GROUPS),
    ],
)
def test_every_code_of_the_seeds_has_its_words(seed: str, column: str, known: dict[str, str]) -> None:
    """The workbook of a source's owner reads the seed: both must say the same."""
    with (SEEDS / f"{seed}.csv").open(encoding="utf-8") as file:
        names = {row[column]: row["name_vi"] for row in csv.DictReader(file)}
    if seed == "volume_class":  # the seed's names hold the limits, which stand beside the class in a report
        assert set(names) == set(known)
    else:
        assert names == known


@pytest.fixture(scope="module")
def checks() -> dict[str, dict[str, str]]:
    """Mart → its named checks."""
    return {
        entry["name"]: {rule["name"]: rule["expression"] for rule in entry.get("constraints", ()) if "name" in rule}
        for folder in ("marts", "officials")
        for path in (PROJECT / "dbt_project/models" / folder).glob("_*.yml")
        if "unit_tests" not in path.name
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", ())
    }


def test_every_reading_has_its_words() -> None:
    with (SEEDS / "scoring_reading.csv").open(encoding="utf-8") as file:
        assert {f"{row['parameter']}={row['value']}" for row in csv.DictReader(file)} == set(words.READINGS)


@pytest.mark.parametrize(
    ("model", "constraint", "known"),
    [
        ("mart_explanation_owed", "owed_state_known", words.EXPLANATION_STATES),
        ("mart_explanation_owed", "owed_not_compared_because_known", words.NOT_COMPARED),
        ("mart_trend", "previous_stop_known", words.NO_TREND),
        ("mart_action", "action_state_known", words.ACTION_STATES),
        ("mart_dispute", "dispute_state_known", words.DISPUTE_STATES),
        ("mart_dispute", "dispute_record_known", words.RECORD_STATUSES),
        ("mart_late_data", "late_measure_known", words.MEASURES),
        ("mart_evaluation", "evaluation_status_known", words.EVALUATION_STATUSES),
        ("official_score", "official_c_withheld_known", words.WITHHELD),
        ("mart_rollup", "scope_known", words.SCOPES),
        ("mart_rollup", "part_known", words.PARTS),
        ("mart_k_sensitivity", "stability_known", words.STABILITIES),
        ("dq_dossier_finding", "dossier_finding_known", review_words.DOSSIER),
        ("dq_evaluation_finding", "evaluation_finding_known", review_words.EVALUATION),
    ],
)
def test_every_state_of_the_marts_has_its_words(
    checks: dict[str, dict[str, str]], model: str, constraint: str, known: dict[str, Any]
) -> None:
    assert set(re.findall(r"'([a-z_]+)'", checks[model][constraint])) == set(known)
