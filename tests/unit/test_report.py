"""The report of an edition, written from made-up rows and read back: figures, words, flags, and the same bytes again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from hailong.publish.report import words
from hailong.publish.report.data import INDICES, Header, Index, Parameter, Report, Unit, grouped
from hailong.publish.report.xlsx import write

OF_A_MONTH = [
    "Hồ sơ", "Kênh nộp", "Quy mô, kế thừa", "Phản ánh, kiến nghị", "Thời hạn phản ánh", "Giải trình", "Theo dõi",
    "Phụ thuộc cách hiểu", "Biến động", "Số liệu về muộn", "Tác động về muộn", "Tác động từng cơ quan", "Bản ghi về muộn",
    "Đối chiếu với Cổng", "Khiếu nại số liệu", "Tổng hợp",
]  # fmt: skip
SHEETS = ["Tổng quan", "Xếp hạng", "Chỉ số", "Chưa đủ dữ liệu", *OF_A_MONTH, "Tham số", "Ghi chú"]
HEADER = Header(
    edition_id="2026-10.e1",
    edition_no=1,
    supersedes=None,
    reason=None,
    period_code="2026-10",
    calendar_code="mid_month",
    period_start=date(2026, 9, 15),
    period_end=date(2026, 10, 15),
    policy_id="qd104-2024",
    legal_basis="Quyết định số 104/2024/QĐ-UBND",
    metric_version="2026",
    as_of_batch=14,
    rules_sha256="a" * 64,
    code_version="0.1.0",
    content_sha256="b" * 64,
    gate_run_id="2026-10.c1.g1",
    published_at=datetime(2026, 10, 20, 3, 4, 5, tzinfo=UTC),
    published_by="engineer",
    cutoff_at=datetime(2026, 10, 20),
    late_batches=0,
    later_batches=0,
    later_records=0,
    requested_by="engineer",
    signed_by="Nguyễn Thị Ký",
    signed_at=datetime(2026, 10, 20, 3, 0, tzinfo=UTC),
    warnings_seen=["units.awaiting_posting"],
)


def unit(number: int, k: str | None, group: str = "so_ban_nganh", **values: object) -> Unit:
    parts = {name: Decimal("1") if k else None for name in "abce"}
    row = Unit(
        unit_code=f"HCM.SN{number:02d}",
        unit_name=f"Sở số {number}",
        peer_group=group,
        peer_group_name={"so_ban_nganh": "Sở, ban, ngành"}.get(group, "Phường, xã, đặc khu"),
        d=Decimal(k) - 4 if k else None,
        k=Decimal(k) if k else None,
        verdict=verdict(k),
        verdict_bound=None if k else "open",
        status="scored" if k else "incomplete",
        status_reason=None,
        rank_in_group=number if k else None,
        window_start=HEADER.period_start,
        window_end=HEADER.period_end,
        window_clipped=None,
        small_sample=False,
        near_threshold=False,
        no_petitions=False,
        **parts,
    )
    return replace(row, **values)  # type: ignore[arg-type]


def verdict(k: str | None) -> str | None:
    if k is None:
        return None
    threshold = Decimal(20)
    return "undetermined" if Decimal(k) == threshold else "satisfied" if Decimal(k) > threshold else "not_satisfied"


def rows_of(row: Unit) -> dict[str, Index]:
    found = {}
    for index, value in row.values.items():
        whole = Decimal(18 if index == "D" else 1)
        status, reason = ("scored", None) if value is not None else ("no_data", "no_rating")
        found[index] = Index(row.unit_code, index, value, whole, 0, value, status, reason)
    return found


def report(units: list[Unit], **header: object) -> Report:
    return Report(
        header=replace(HEADER, **header),  # type: ignore[arg-type]
        groups=grouped(units),
        indices={row.unit_code: rows_of(row) for row in units},
        parameters=(
            Parameter("qd104-2024", "k_threshold", "20", "Phụ lục, phần II"),
            *(Parameter("qd104-2024", f"{index}_max", "18" if index == "d" else "1", "Phụ lục") for index in "abcde"),
            Parameter("qd104-2024", "c_min_ratings", "5", "Điều 3"),
            Parameter("qd104-2024", "a_grace_working_days", "5", "Phụ lục, Chỉ số 1"),
            Parameter("qd104-2024", "territory", "all", "Mọi xã, phường"),
        ),
    )


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openpyxl.Workbook]:
    units = [
        unit(1, "22"),
        unit(2, "20.004", near_threshold=True),
        unit(3, "20"),
        unit(4, "19.996", small_sample=True, no_petitions=True),
        unit(5, "21.5", rank_in_group=None, window_clipped="unit_started;policy_started"),
        unit(6, None, d=Decimal("12.5"), a=Decimal(1)),
        unit(7, None, status="not_applicable", status_reason="receiving_only", verdict_bound=None),
    ]
    path = tmp_path_factory.mktemp("report") / "r.xlsx"
    write(report(units), path)
    yield openpyxl.load_workbook(path)


def table(book: openpyxl.Workbook, name: str) -> list[dict[str, object]]:
    rows = list(book[name].iter_rows(min_row=3))
    titles = [cell.value for cell in rows[0]]
    return [dict(zip(titles, (cell.value for cell in row), strict=True)) for row in rows[1:]]


def text(book: openpyxl.Workbook, name: str) -> str:
    return "\n".join(str(cell) for row in book[name].iter_rows(values_only=True) for cell in row if cell is not None)


def test_the_sheets_are_those_promised_and_print_one_page_wide(book: openpyxl.Workbook) -> None:
    assert book.sheetnames == SHEETS
    for sheet in book:
        assert sheet.page_setup.orientation == "landscape"
        assert int(sheet.page_setup.paperSize) == 9
        assert sheet.sheet_properties.pageSetUpPr.fitToPage
        assert (sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight) in ((None, 0), (1, 0))
        assert sheet.print_area
    for name in ("Xếp hạng", "Chỉ số", "Chưa đủ dữ liệu", *OF_A_MONTH, "Tham số"):
        assert book[name].freeze_panes == "A4"
        assert book[name].auto_filter.ref
        assert book[name].print_title_rows == "$3:$3"


def test_the_overview_names_edition_period_signature_and_checksum(book: openpyxl.Workbook) -> None:
    shown = text(book, "Tổng quan")
    for part in (
        "Tháng 10 năm 2026 (từ ngày 15/9/2026 đến hết ngày 14/10/2026)",
        "2026-10.e1 (công bố lần đầu)",
        "hết ngày 19/10/2026",
        "Nguyễn Thị Ký, 10 giờ 00, ngày 20/10/2026",
        "Người đề nghị\nengineer",
        "SHA-256 " + "b" * 64,
        "Căn cứ Quyết định số 104/2024/QĐ-UBND",
    ):
        assert part in shown


def test_the_overview_counts_every_unit_once(book: openpyxl.Workbook) -> None:
    first = next(r for r in book["Tổng quan"].iter_rows(values_only=True) if r[0] == "Toàn Thành phố")
    assert first[1:7] == (7, 3, 1, 1, 1, 1)
    assert first[1] == sum(first[2:7])
    assert first[7] == 22


def test_k_is_shown_with_as_many_decimals_as_it_needs(book: openpyxl.Workbook) -> None:
    cells = {row[2].value: row[9] for row in book["Xếp hạng"].iter_rows(min_row=4) if row[9].value != "—"}
    shown = {code: (cell.value, len(cell.number_format.split("_")[0].split(".")[1])) for code, cell in cells.items()}
    assert shown == {
        "HCM.SN01": (22, 2),
        "HCM.SN02": (20.004, 3),
        "HCM.SN03": (20, 2),
        "HCM.SN04": (19.996, 3),
        "HCM.SN05": (21.5, 2),
    }


@pytest.mark.parametrize(
    ("k", "places"), [("20", 2), ("20.000001", 6), ("19.999", 3), ("20.005", 3), ("20.01", 2), ("19.9949", 2)]
)
def test_decimals_of_k(k: str, places: int) -> None:
    assert words.k_places(Decimal(k), Decimal(20)) == places


def test_the_ranking_has_ranks_verdicts_and_flags_and_ends_with_units_without_k(book: openpyxl.Workbook) -> None:
    rows = {row["Mã"]: row for row in table(book, "Xếp hạng")}
    assert list(rows) == [f"HCM.SN0{n}" for n in range(1, 8)]
    assert [rows[f"HCM.SN0{n}"]["Hạng"] for n in range(1, 8)] == [1, 2, 3, 4, "—", "—", "—"]
    assert [rows[f"HCM.SN0{n}"]["Xếp loại"] for n in range(1, 8)] == [
        "Hài lòng", "Hài lòng", "Chưa xác định (K = 20)", "Không hài lòng", "Hài lòng", "—", "—"
    ]  # fmt: skip
    assert [rows[f"HCM.SN0{n}"]["Lưu ý"] for n in range(1, 8)] == [
        "",
        "Sát ngưỡng",
        "",
        "Mẫu nhỏ; Không có PAKN",
        "Kỳ không trọn (bắt đầu hoạt động trong kỳ; quy định có hiệu lực trong kỳ), không xếp hạng",
        "; ".join(f"Thiếu {index}: Không có lượt đánh giá nào trong kỳ" for index in "BCE"),
        "Chỉ tiếp nhận, không giải quyết hồ sơ: chỉ chấm C, E",
    ]
    assert (rows["HCM.SN06"]["A"], rows["HCM.SN06"]["B"], rows["HCM.SN06"]["K"]) == (1, "—", "—")


def best_and_worst(path: Path) -> tuple[list[object], list[object]]:
    rows = list(openpyxl.load_workbook(path)["Tổng quan"].iter_rows(values_only=True))
    first = next(n for n, row in enumerate(rows) if row[0] == "Sở, ban, ngành: cao nhất") + 2
    lines = [row for row in rows[first : first + 20] if row[2] is not None or row[7] is not None]
    return [row[0] for row in lines if row[2]], [row[5] for row in lines if row[7]]


def test_the_best_and_the_worst_are_shown_with_all_their_ties(tmp_path: Path) -> None:
    """Seven share the first rank, two the last but four: all are named, none on both sides."""
    totals = ["22"] * 7 + ["21"] * 4 + ["19", "19", "18", "17", "16", "15"]
    units = [unit(n, k, rank_in_group=totals.index(k) + 1) for n, k in enumerate(totals, start=1)]
    write(report(units), tmp_path / "r.xlsx")
    best, worst = best_and_worst(tmp_path / "r.xlsx")
    assert best == [f"Sở số {n}" for n in range(1, 8)]
    assert worst == [f"Sở số {n}" for n in (17, 16, 15, 14, 13, 12)]


def test_a_crowd_of_ties_is_counted_not_listed(tmp_path: Path) -> None:
    write(report([unit(n, "22", rank_in_group=1) for n in range(1, 31)]), tmp_path / "r.xlsx")
    best, worst = best_and_worst(tmp_path / "r.xlsx")
    assert (len(best), worst) == (15, [])
    assert "và 15 cơ quan nữa cùng K" in text(openpyxl.load_workbook(tmp_path / "r.xlsx"), "Tổng quan")


def test_the_whole_city_is_read_back_figure_by_figure(tmp_path: Path) -> None:
    """186 units, values with 15 decimals: every figure of the edition is in the workbook, as a number."""
    units = []
    for n in range(1, 187):
        a, d = Decimal(n % 97) / Decimal(97), Decimal(18) - Decimal(n) / Decimal(7)
        missing = n % 10 == 0
        row = unit(n, None if missing else "22", "xa_phuong_dac_khu", unit_code=f"HCM.X{n:05d}", unit_name=f"Xã {n}")
        values = {"a": a, "b": Decimal(1), "c": None if missing else Decimal(1) / 3, "d": d, "e": Decimal(1)}
        k = None if missing else round(sum(value for value in values.values() if value is not None), 6)
        units.append(replace(row, **values, k=k, verdict=verdict(None if k is None else str(k))))  # type: ignore[arg-type]
    made = report(units)
    write(made, tmp_path / "r.xlsx")
    read = openpyxl.load_workbook(tmp_path / "r.xlsx")
    ranking = {row["Mã"]: row for row in table(read, "Xếp hạng")}
    figures = {(row["Mã"], row["Chỉ số"]): row for row in table(read, "Chỉ số")}
    assert (len(ranking), len(figures)) == (186, 186 * 5)
    for row in units:
        assert ranking[row.unit_code]["K"] == shown(row.k)
        for index, value in row.values.items():
            assert ranking[row.unit_code][index] == shown(value)
            line, source = figures[row.unit_code, index], made.indices[row.unit_code][index]
            assert [line[title] for title in ("Tử số", "Mẫu số", "Loại khỏi tính", "Giá trị")] == [
                shown(source.numerator), shown(source.denominator), source.excluded, shown(source.value)
            ]  # fmt: skip
            assert line["Trạng thái"] == words.STATUSES[source.status]


def shown(value: Decimal | None) -> object:
    return "—" if value is None else pytest.approx(float(value), abs=1e-12)


def test_an_annex_is_read_back_figure_by_figure_and_what_is_missing_is_a_dash(tmp_path: Path) -> None:
    rows = tuple(
        {"unit_code": f"HCM.SN{n:02d}", "k": k, "verdict": None, "verdict_stability": "stable", "k_min": Decimal("18.25"),
         "k_max": k, "rank_min": n, "rank_max": None, "flipping_readings": None, "method_k_min": k}
        for n, k in ((1, Decimal("21.123456")), (2, None))
    )  # fmt: skip
    made = replace(report([unit(1, "21"), unit(2, None)]), annexes={"k_sensitivity": rows}, has_annexes=True)
    write(made, tmp_path / "r.xlsx")
    found = table(openpyxl.load_workbook(tmp_path / "r.xlsx"), "Phụ thuộc cách hiểu")
    wanted = (
        "Cơ quan",
        "K",
        "K thấp nhất",
        "K cao nhất",
        "Hạng tốt nhất",
        "Hạng kém nhất",
        "K thấp nhất (phương pháp)",
    )
    assert [tuple(row[title] for title in wanted) for row in found] == [
        ("Sở số 1", 21.123456, 18.25, 21.123456, 1, "—", 21.123456),
        ("Sở số 2", "—", 18.25, "—", 2, "—", "—"),
    ]


def test_units_without_k_are_listed_with_the_reason_and_who_owes_it(book: openpyxl.Workbook) -> None:
    rows = table(book, "Chưa đủ dữ liệu")
    assert [(row["Mã"], row["Thiếu"]) for row in rows] == [
        ("HCM.SN06", "B"),
        ("HCM.SN06", "C"),
        ("HCM.SN06", "E"),
        ("HCM.SN07", "K"),
    ]
    assert rows[1]["Lý do"] == "Không có lượt đánh giá nào trong kỳ"
    assert "Cơ quan" in str(rows[1]["Ai cần làm gì"])
    assert rows[1]["Điểm đã có"] == 13.5
    assert rows[1]["Kết luận hiện có"] == "Chưa kết luận được"
    assert rows[3]["Kết luận hiện có"] == "Không áp dụng"


def test_missing_is_a_dash_and_never_zero(book: openpyxl.Workbook) -> None:
    rows = {(row["Mã"], row["Chỉ số"]): row for row in table(book, "Chỉ số")}
    assert len(rows) == 7 * len(INDICES)
    assert rows["HCM.SN06", "C"]["Giá trị"] == "—"
    assert rows["HCM.SN06", "D"]["Giá trị"] == 12.5


def test_parameters_come_by_index_with_their_reason(book: openpyxl.Workbook) -> None:
    rows = [(row["Dùng cho"], row["Tham số"], row["Giá trị"], row["Vì sao"]) for row in table(book, "Tham số")]
    assert rows == [
        ("A", "a_grace_working_days", "5", "Phụ lục, Chỉ số 1"),
        ("A", "a_max", "1", "Phụ lục"),
        ("B", "b_max", "1", "Phụ lục"),
        ("C", "c_max", "1", "Phụ lục"),
        ("C", "c_min_ratings", "5", "Điều 3"),
        ("D", "d_max", "18", "Phụ lục"),
        ("E", "e_max", "1", "Phụ lục"),
        ("K", "k_threshold", "20", "Phụ lục, phần II"),
        ("Chung", "territory", "all", "Mọi xã, phường"),
    ]


def test_the_same_edition_gives_the_same_bytes(tmp_path: Path) -> None:
    units = [unit(1, "21.25"), unit(2, None)]
    for name in ("a.xlsx", "b.xlsx"):
        write(report(units), tmp_path / name)
    write(report(units, content_sha256="c" * 64), tmp_path / "c.xlsx")
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    assert (tmp_path / "a.xlsx").read_bytes() != (tmp_path / "c.xlsx").read_bytes()


def test_an_edition_without_any_k_can_still_be_read(tmp_path: Path) -> None:
    write(report([unit(1, None)]), tmp_path / "r.xlsx")
    read = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert [(row["Hạng"], row["K"]) for row in table(read, "Xếp hạng")] == [("—", "—")]


def test_every_status_is_explained(book: openpyxl.Workbook) -> None:
    shown_text = text(book, "Ghi chú")
    assert set(words.STATUS_NOTES) == set(words.STATUSES)
    for name in words.STATUSES.values():
        assert f"Trạng thái “{name}”" in shown_text


@pytest.mark.parametrize(
    ("code", "name"),
    [("2026-10", "Tháng 10 năm 2026"), ("2026-Q4", "Quý IV năm 2026"), ("2026", "Năm 2026")],
)
def test_periods_have_vietnamese_names(code: str, name: str) -> None:
    assert words.period_name(code) == name


def test_dates_numbers_and_reasons_are_written_as_in_official_papers() -> None:
    assert words.day(date(2026, 2, 5)) == "05/02/2026"
    assert words.moment(datetime(2026, 10, 20)) == "hết ngày 19/10/2026"
    assert words.number(Decimal("1234.5")) == "1.234,50"
    assert words.reason("posting_unchecked:desk,website") == (
        "Chưa có kết quả kiểm tra còn giá trị: Bộ phận Một cửa, Trang thông tin điện tử"
    )
    assert words.reason("something_new") == "something_new"
    assert words.number(Decimal("0.125")) == "0,13"
    assert words.count(Decimal("1E+3")) == "1.000"
    assert words.readings("k_scale=2 + k_equal=satisfied") == "làm tròn K đến 2 chữ số; K đúng bằng ngưỡng là hài lòng"
