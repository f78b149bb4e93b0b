"""A paged service that a test tells what to do, and a warehouse that knows the codes it sends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hailong.extract.run import IngestResult, ingest
from hailong.settings import Settings
from hailong.warehouse.connect import connect

NOW = datetime(2026, 11, 18, 17, tzinfo=UTC)

# -- a source that does as it is told ---------------------------------------------------------------------------------


@dataclass
class FakeSource:
    """A paged service whose records, total and failures a test sets."""

    records: list[dict[str, Any]] = field(default_factory=list)
    total: int | None = None
    failures: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    def answer(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append({"path": path} | asked)
        page, size = int(asked.get("Trang") or asked["page"]), int(asked.get("SoBanGhi") or asked["size"])
        items = self.records[(page - 1) * size : page * size]
        total = len(self.records) if self.total is None else self.total
        if path.startswith("/rating"):
            return {"total": total, "page": page, "size": size, "items": items}
        return {"error_code": "0", "error_message": "", "TongSo": total, "DanhSachHoSo": items}


CODES = [
    ("tthc", "unit", "H29.10"),
    *(("tthc", "channel", code) for code in "123"),
    *(("tthc", "dossier_status", str(code)) for code in range(1, 11)),
    *(("tthc", "supplement_status", code) for code in "12345"),
    ("rating", "unit", "R10"),
    ("rating", "rating_level", "HÀI LÒNG"),
    ("rating", "rating_channel", "KIOSK"),
    ("inspection", "unit", "KT-01"),
]


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def code_file(folder: Path, more: tuple[tuple[str, str, str], ...] = ()) -> Path:
    return lines(
        folder / "codes.jsonl",
        [
            {"HeThong": system, "LoaiMa": kind, "MaNguon": code, "MaDich": code, "XuLy": "good"}
            for system, kind, code in (*CODES, *more)
        ],
    )


def dossier(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "MaHoSo": f"H29.10-20261001-{number:04d}",
        "MaTTHC": "1.001193",
        "KenhThucHien": 1,
        "ChuHoSo": "Trần Thị Giả",
        "MaDoiTuong": "079300000001",
        "SoDienThoai": "0900000001",
        "Email": "gia@example.invalid",
        "TrichYeuHoSo": "Đăng ký khai sinh cho Trần Thị Giả",
        "NgayTiepNhan": "20261001080000",
        "NgayHenTra": "20261009",
        "TrangThaiHoSo": 9,
        "NgayKetThucXuLy": "20261008150000",
        "DonViXuLy": "H29.10",
        "NoiNopHoSo": "H29.10",
        "NgayCapNhat": "20261008150100",
        "DanhSachHoSoBoSung": [
            {
                "HoSoBoSungId": f"BS{number}",
                "NguoiYeuCauBoSung": "Nguyễn Cán Bộ",
                "NoiDungBoSung": "gọi 0900000002",
                "NgayBoSung": "20261002090000",
                "TrangThaiBoSung": 1,
            }
        ],
    } | changes


def fetch(settings: Settings, since: str = "2026-10-01", until: str = "2026-11-01") -> IngestResult:
    return ingest(settings, "dossier", since=since, until=until)


def told(result: IngestResult) -> tuple[int, int, int, int, int]:
    return result.received, result.loaded, result.unchanged, result.duplicate, result.quarantined


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with connect(settings) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]
