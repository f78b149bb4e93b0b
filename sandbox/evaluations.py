"""What others say of the units, and what units answer: evaluations, surveys, explanations, actions, disputes.

The institutional map is a SQLite database with two views; units and organisations drop files as their software writes them
(Excel's CSV in UTF-8 with a mark and semicolons, "Unicode text" in UTF-16, workbooks, one organisation on a Mac with composed
letters taken apart); explanations, actions and disputes are a paged service. Everything follows from the seed.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xlsxwriter

from sandbox.generator import DAY, City, generator_for
from sandbox.options import EPOCH
from sandbox.records import wire
from sandbox.registers import CAUSES, CRITERIA, DECISIONS, DISPUTE_REASONS, GRADES, ORGANISATIONS, REMEDIES, Unit
from sandbox.workdays import number

STREAM = 11
SELF_COLUMNS = (
    "Mã dòng", "Mã cơ quan", "Tên cơ quan", "Kỳ đánh giá", "Tiêu chí", "Điểm tự chấm", "Điểm tối đa", "Ngày lập",
    "Người lập", "Ghi chú",
)  # fmt: skip
SURVEY_COLUMNS = (
    "Mã kết quả", "Mã đơn vị", "Tên đơn vị", "Mã tổ chức", "Mã cuộc khảo sát", "Câu hỏi", "Nội dung câu hỏi", "Số phiếu",
    "Số hài lòng", "Từ ngày", "Đến ngày", "Người phụ trách", "Điện thoại",
)  # fmt: skip
VIEWS = {"v_danh_gia_tham_quyen": "authority", "v_danh_gia_noi_bo": "internal"}


@dataclass(frozen=True)
class Said:
    """One record of one of these feeds: when it became known, and its fields as the source names them."""

    updated: int
    fields: dict[str, Any]


class Evaluations:
    """All records of these feeds that exist at the end of the span."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.units = [unit for unit in city.units if not unit.receiving_only]

    @cached_property
    def periods(self) -> list[tuple[str, date]]:
        """(code, last day) of the months and quarters inside the span."""
        options = self.city.options
        return [(period.code, period.last) for period in (*options.months(), *options.quarters())]

    @cached_property
    def quarters(self) -> list[tuple[str, date]]:
        return [period for period in self.periods if "Q" in period[0]] or self.periods[-1:]

    def read(self, name: str, now: int) -> list[dict[str, Any]]:
        """Records of a feed as they stand at `now`."""
        return [said.fields for said in getattr(self, name) if said.updated <= now]

    def _after(self, last: date, days: int, second: int) -> int:
        return min((number(last) + days) * DAY + second, self.city.end)

    @cached_property
    def authority(self) -> list[Said]:
        rng = generator_for(self.city.options, STREAM)
        found = []
        for code, last in self.quarters:
            for rank, unit in enumerate(self.units, 1):
                for place, criterion in enumerate(CRITERIA):
                    updated = self._after(last, 1 + place, 9 * 3600 + unit.index * 60)
                    found.append(Said(updated, {
                        "ma_phieu": f"TQ-{code}-{unit.index:03d}-{place}", "ma_don_vi": unit.map_code,
                        "ma_co_quan_danh_gia": self.units[0].map_code, "ky_danh_gia": code, "tieu_chi": criterion,
                        "diem": round(float(rng.uniform(5, 10)), 2), "diem_toi_da": 10,
                        "thu_hang": rank if place == 0 else None, "ngay_danh_gia": day_text(updated // DAY),
                        "nguoi_danh_gia": f"Cán Bộ Đánh Giá Mẫu {unit.index:03d}",
                        "nhan_xet": "Nhận xét mẫu của người đánh giá", "cap_nhat": wire(updated),
                    }))  # fmt: skip
        return found

    @cached_property
    def internal(self) -> list[Said]:
        rng = generator_for(self.city.options, STREAM + 1)
        found = []
        for code, last in self.quarters:
            for unit in self.units[::3]:
                for place in range(3):
                    updated = self._after(last, 2, 10 * 3600 + unit.index * 60 + place)
                    person = None if place == 0 else f"Cán Bộ Thụ Lý Mẫu {unit.index * 7 + place:04d}"
                    found.append(Said(updated, {
                        "ma_phieu": f"NB-{code}-{unit.index:03d}-{place}", "ma_don_vi": unit.map_code,
                        "ten_bo_phan": "Bộ phận Một cửa", "ten_can_bo": person, "ky_danh_gia": code,
                        "xep_loai": list(GRADES)[int(rng.integers(len(GRADES)))],
                        "diem": round(float(rng.uniform(50, 100)), 1), "diem_toi_da": 100,
                        "ngay_danh_gia": day_text(updated // DAY), "nguoi_danh_gia": f"Thủ Trưởng Mẫu {unit.index:03d}",
                        "nhan_xet": "Nhận xét mẫu về cán bộ", "cap_nhat": wire(updated),
                    }))  # fmt: skip
        return found

    @cached_property
    def self_evaluation(self) -> list[Said]:
        rng = generator_for(self.city.options, STREAM + 2)
        return [
            Said(self._after(last, 3, 8 * 3600), {
                "Mã dòng": f"TDG-{code}-{unit.index:03d}-{place}", "Mã cơ quan": unit.new_code, "Tên cơ quan": unit.name,
                "Kỳ đánh giá": code, "Tiêu chí": criterion, "Điểm tự chấm": round(float(rng.uniform(6, 10)), 1),
                "Điểm tối đa": 10, "Ngày lập": day_text(number(last) + 3), "Người lập": f"Cán Bộ Lập Phiếu Mẫu {unit.index:03d}",
                "Ghi chú": "Ghi chú mẫu; có dấu chấm phẩy",
            })
            for code, last in self.quarters for unit in self.units[::2] for place, criterion in enumerate(CRITERIA)
        ]  # fmt: skip

    @cached_property
    def survey(self) -> list[Said]:
        rng = generator_for(self.city.options, STREAM + 3)
        found = []
        for code, last in self.quarters:
            for place, organisation in enumerate(ORGANISATIONS):
                for unit in self.units[place::9]:
                    answers = int(rng.integers(20, 120))
                    found.append(Said(self._after(last, 3, 8 * 3600), {
                        "Mã kết quả": f"KS-{code}-{organisation}-{unit.index:03d}", "Mã đơn vị": unit.survey_code,
                        "Tên đơn vị": unit.name, "Mã tổ chức": organisation, "Mã cuộc khảo sát": f"KS-{code}-{organisation}",
                        "Câu hỏi": "1", "Nội dung câu hỏi": "Ông/bà có hài lòng không?", "Số phiếu": answers,
                        "Số hài lòng": int(answers * rng.uniform(0.6, 1)), "Từ ngày": day_text(number(last) - 20),
                        "Đến ngày": day_text(number(last) - 5), "Người phụ trách": f"Người Khảo Sát Mẫu {place:02d}",
                        "Điện thoại": f"09{place:08d}",
                    }))  # fmt: skip
        return found

    def _service(self, stream: int, every: int) -> list[tuple[int, int, Unit, str, int, np.random.Generator]]:
        """(serial, moment, unit, period, chance) of the records of a service."""
        rng = generator_for(self.city.options, STREAM + stream)
        rows = []
        for code, last in self.periods:
            for unit in self.units:
                if rng.random() < 1 / every:
                    moment = self._after(last, int(rng.integers(4, 12)), int(rng.integers(8, 17)) * 3600 + unit.index)
                    rows.append((len(rows) + 1, moment, unit, code, int(rng.integers(1000)), rng))
        return rows

    @cached_property
    def explanations(self) -> list[Said]:
        return [
            Said(at, {
                "id": f"GT{serial:05d}", "maCoQuan": unit.new_code, "ky": code, "chiSo": "ABCDEK"[chance % 6],
                "nguyenNhan": list(CAUSES)[chance % len(CAUSES)], "soVanBan": f"{serial}/BC-UBND", "ngayGui": wire(at),
                "ngayKetLuan": None if chance % 3 else wire(at),
                "ketLuan": None if chance % 3 else list(DECISIONS)[chance % len(DECISIONS)], "capNhat": wire(at),
                "nguoiGui": f"Cán Bộ Giải Trình Mẫu {unit.index:03d}", "noiDung": "Nội dung giải trình mẫu",
                "soDienThoai": f"09{serial:08d}",
            })
            for serial, at, unit, code, chance, _ in self._service(4, 8)
        ]  # fmt: skip

    @cached_property
    def actions(self) -> list[Said]:
        return [
            Said(at, {
                "id": f"KP{serial:05d}", "maCoQuan": unit.new_code,
                "maGiaiTrinh": self._explained(serial) if chance % 2 else None,
                "bienPhap": list(REMEDIES)[chance % len(REMEDIES)], "hanHoanThanh": day_text(at // DAY + 30),
                "ngayHoanThanh": None if chance % 4 else day_text(at // DAY), "soMinhChung": None, "capNhat": wire(at),
                "nguoiPhuTrach": f"Cán Bộ Khắc Phục Mẫu {unit.index:03d}", "noiDung": "Biện pháp khắc phục mẫu",
                "email": f"mau{serial:06d}@example.invalid",
            })
            for serial, at, unit, _, chance, _ in self._service(5, 12)
        ]  # fmt: skip

    def _explained(self, serial: int) -> str | None:
        """An explanation that an action may belong to."""
        found = self.explanations
        return found[serial % len(found)].fields["id"] if found else None

    @cached_property
    def disputes(self) -> list[Said]:
        codes = self.city.dossiers.code
        return [
            Said(at, {
                "id": f"KN{serial:05d}", "maCoQuan": unit.new_code, "loaiBanGhi": "dossier",
                "maBanGhi": codes[chance % len(codes)] if codes else f"H29-{serial}",
                "lyDo": list(DISPUTE_REASONS)[chance % len(DISPUTE_REASONS)], "ngayGui": wire(at),
                "ngayKetLuan": None, "ketLuan": None, "capNhat": wire(at),
                "nguoiGui": f"Cán Bộ Khiếu Nại Mẫu {unit.index:03d}", "moTa": "Mô tả khiếu nại mẫu",
                "soDienThoai": f"09{serial:08d}",
            })
            for serial, at, unit, _, chance, _ in self._service(6, 15)
        ]  # fmt: skip

    def changed(self, name: str, since: int, until: int, now: int) -> list[dict[str, Any]]:
        """Records of a service with since ≤ capNhat < until, as far as they exist at `now`, in its order."""
        found = [said for said in getattr(self, name) if since <= said.updated < until and said.updated <= now]
        return [said.fields for said in sorted(found, key=lambda said: (said.updated, said.fields["id"]))]

    # -- files and database ------------------------------------------------------------------------------------------

    def write_database(self, path: Path, now: int) -> None:
        """The institutional map at `now`: two tables behind two views; a reader sees the old one or the new one."""
        partial = path.with_suffix(".part")
        partial.unlink(missing_ok=True)
        connection = sqlite3.connect(partial)
        for view, name in VIEWS.items():
            rows = [said.fields for said in getattr(self, name) if said.updated <= now]
            columns = list(getattr(self, name)[0].fields) if getattr(self, name) else ["ma_phieu", "cap_nhat"]
            kinds = {"diem": "numeric", "diem_toi_da": "numeric", "thu_hang": "integer"}
            listed = ", ".join(f"{column} {kinds.get(column, 'text')}" for column in columns)
            connection.execute(f"create table {name} ({listed})")
            marks = ", ".join(f":{column}" for column in columns)
            connection.executemany(f"insert into {name} values ({marks})", rows)
            connection.execute(f"create view {view} as select * from {name}")
        connection.commit()
        connection.close()
        partial.replace(path)

    def write_files(self, drop: Path, now: int) -> list[Path]:
        """Files of the units and organisations that are there at `now` and not yet in their folders."""
        units, surveys = drop / "unit_office", drop / "survey"
        written = []
        for code, _ in self.quarters:
            rows = [s.fields for s in self.self_evaluation if s.fields["Kỳ đánh giá"] == code and s.updated <= now]
            written += _put(units / f"tu_danh_gia_{code}.csv", excel_csv(SELF_COLUMNS, rows)) if rows else []
            for place, organisation in enumerate(ORGANISATIONS):
                survey = f"KS-{code}-{organisation}"
                rows = [s.fields for s in self.survey if s.fields["Mã cuộc khảo sát"] == survey and s.updated <= now]
                if not rows:
                    continue
                stem = f"khao_sat_{code}_{organisation}"
                if place % 3 == 0:
                    written += _put(surveys / f"{stem}.csv", unicode_text(SURVEY_COLUMNS, rows))
                elif place % 3 == 1:
                    written += _put(surveys / f"{stem}.xlsx", workbook(SURVEY_COLUMNS, rows))
                else:
                    written += _put(surveys / f"{stem}.csv", excel_csv(SURVEY_COLUMNS, rows, form="NFD"))
        return written


def day_text(day: int) -> str:
    return (EPOCH + timedelta(days=day)).strftime("%d/%m/%Y")


def excel_csv(columns: tuple[str, ...], rows: list[dict[str, Any]], form: str = "NFC") -> bytes:
    """CSV as Excel with Vietnamese settings saves it: UTF-8 with a mark, semicolons, decimal commas, CRLF."""
    return unicodedata.normalize(form, _csv(columns, rows, ";")).encode("utf-8-sig")  # type: ignore[arg-type]


def unicode_text(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> bytes:
    """Excel's "Unicode text": UTF-16 with a mark, tabs."""
    return _csv(columns, rows, "\t").encode("utf-16")


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]], delimiter: str) -> str:
    handle = io.StringIO(newline="")
    writer = csv.DictWriter(handle, columns, delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _excel(value) for name, value in row.items()} for row in rows)
    return handle.getvalue()


def _excel(value: Any) -> Any:
    return str(value).replace(".", ",") if isinstance(value, float) else value


def workbook(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> bytes:
    handle = io.BytesIO()
    with xlsxwriter.Workbook(handle, {"in_memory": True}) as book:
        book.set_properties({"created": EPOCH})  # no wall clock in the file
        sheet = book.add_worksheet("Kết quả")
        sheet.write_row(0, 0, columns)
        for place, row in enumerate(rows, 1):
            sheet.write_row(place, 0, [row[column] for column in columns])
    return handle.getvalue()


def _put(path: Path, content: bytes) -> list[Path]:
    if path.exists():
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)  # a reader never sees half a file
    return [path]
