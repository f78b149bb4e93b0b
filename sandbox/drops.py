"""Posting checks as the workbooks that inspectors put into the drop folder, one file per month of checks."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import xlsxwriter

from sandbox.generator import DAY, City, PostingCheck
from sandbox.options import EPOCH
from sandbox.registers import CHECKER_KINDS, POSTING_PLACES, POSTING_RESULTS

SHEET = "Kiểm tra niêm yết"
COLUMNS = (
    "Mã phiếu", "Mã cơ quan", "Tên cơ quan", "Nơi niêm yết", "Ngày kiểm tra", "Kết quả", "Loại kiểm tra",
    "Người kiểm tra", "Ghi chú",
)  # fmt: skip
_PLACES = {code: name for name, code in POSTING_PLACES.items()}
_RESULTS = {code: name for name, code in POSTING_RESULTS.items()}
_KINDS = {code: name for name, code in CHECKER_KINDS.items()}


def month_of(day: int) -> str:
    return (EPOCH + timedelta(days=day)).strftime("%Y%m")


def workbooks(city: City, now: int) -> dict[str, list[PostingCheck]]:
    """File name → checks, for the files that are there at `now` (a file comes the morning after its last check)."""
    found = {}
    ordered = sorted(city.posting_checks, key=lambda check: (month_of(check.day), check.id))
    for month, group in groupby(ordered, key=lambda check: month_of(check.day)):
        checks = list(group)
        if (max(check.day for check in checks) + 1) * DAY + 8 * 3600 <= now:
            found[f"niem_yet_{month}.xlsx"] = checks
    return found


def write(city: City, folder: Path, now: int) -> list[Path]:
    """Writes the workbooks that are there at `now` and not yet in the folder; the same bytes for the same options."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, checks in workbooks(city, now).items():
        path = folder / name
        if path.exists():
            continue
        partial = path.with_suffix(".part")
        _write_workbook(city, partial, checks)
        partial.replace(path)  # a reader never sees half a file
        written.append(path)
    return written


def _write_workbook(city: City, path: Path, checks: list[PostingCheck]) -> None:
    with xlsxwriter.Workbook(str(path)) as book:
        book.set_properties({"title": SHEET, "created": datetime(2026, 1, 1)})  # no wall clock in the file
        sheet = book.add_worksheet(SHEET)
        head = book.add_format({"bold": True, "bg_color": "#DDE8F5", "border": 1, "text_wrap": True})
        day_format = book.add_format({"num_format": "dd/mm/yyyy"})
        sheet.write_row(0, 0, COLUMNS, head)
        sheet.set_column(0, 1, 14)
        sheet.set_column(2, 3, 34)
        sheet.set_column(4, 8, 20)
        sheet.freeze_panes(1, 0)
        for row, check in enumerate(checks, 1):
            unit = city.units[check.unit]
            sheet.write_string(row, 0, check.id)
            sheet.write_string(row, 1, unit.inspection_code)
            sheet.write_string(row, 2, unit.name)
            sheet.write_string(row, 3, "Bảng tin" if check.bad == "unknown_place" else _PLACES[check.place])
            if check.bad == "impossible_date":
                sheet.write_string(row, 4, "31/02/2026")
            else:
                sheet.write_datetime(row, 4, EPOCH + timedelta(days=check.day), day_format)
            sheet.write_string(row, 5, _RESULTS["pass" if check.passed else "fail"])
            sheet.write_string(row, 6, _KINDS["authority" if check.by_authority else "self"])
            sheet.write_string(row, 7, f"Cán Bộ Kiểm Tra Mẫu {check.unit:03d}")
            if not check.passed:
                sheet.write_string(row, 8, "Chưa niêm yết đủ thủ tục hành chính (ghi chú mẫu)")
