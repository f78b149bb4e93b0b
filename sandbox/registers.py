"""Registers that the stand-in serves: units, procedures and the code maps of every source system."""

from __future__ import annotations

import csv
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"

PEER_GROUPS = {
    "so_ban_nganh": "Sở, ban, ngành",
    "xa_phuong_dac_khu": "Phường, xã, đặc khu",
    "trung_tam": "Trung tâm tiếp nhận",
    "quan_huyen_truoc_072025": "Quận, huyện, thành phố Thủ Đức (đến ngày 30/6/2025)",
    "xa_phuong_truoc_072025": "Phường, xã, thị trấn (đến ngày 30/6/2025)",
    "ngoai_thanh_pho_truoc_072025": "Đơn vị của tỉnh Bình Dương, tỉnh Bà Rịa – Vũng Tàu (đến ngày 30/6/2025)",
}
HANDOVER = "20250701"  # the day on which the communes of today took over from those before
ROOT_DEPARTMENT = "019d2be3-6a87-7317-855a-9a81af57b106"
IGNORED_UNIT_CODE = "H29.00.00"  # the sources' own test unit: mapped to nothing on purpose
SUFFIX = ".000.00.00.H29"


@dataclass(frozen=True)
class Unit:
    """One agency with the codes by which each source system calls it."""

    index: int
    code: str
    name: str
    name_en: str
    kind: str
    peer_group: str
    valid_from: str
    receiving_only: bool
    posting_places: str
    gso_code: str | None
    sends_old_code: bool

    @property
    def is_commune(self) -> bool:
        return self.peer_group == "xa_phuong_dac_khu"

    @property
    def new_code(self) -> str:
        """Left to right: H29.XX or H29.XX.YY."""
        if self.is_commune:
            return f"H29.{30 + self.index // 20}.{self.index % 20 + 1:02d}"
        return f"H29.{self.index + 1:02d}"

    @property
    def old_code(self) -> str:
        """Right to left: 000.00.XX.H29 or 000.YY.XX.H29."""
        parts = self.new_code.split(".")
        return f"000.{parts[2] if len(parts) == 3 else '00'}.{parts[1]}.H29"

    @property
    def tthc_code(self) -> str:
        return self.old_code if self.sends_old_code else self.new_code

    @property
    def rating_code(self) -> str:
        return f"DV{self.gso_code}" if self.gso_code else self.code.removeprefix("HCM.")

    @property
    def inspection_code(self) -> str:
        return f"KT-{self.gso_code or self.code.removeprefix('HCM.')}"

    @property
    def map_code(self) -> str:
        """On the institutional map."""
        return f"BD.{self.index + 1:03d}"

    @property
    def survey_code(self) -> str:
        return f"MT{self.gso_code or self.code.removeprefix('HCM.')}"

    @property
    def department_id(self) -> str:
        """Looks like the portal's identifiers; made from our own code, so no real agency's."""
        tail = uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{self.code}").hex
        return f"019d2be3-6ab4-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"

    @property
    def portal_name(self) -> str:
        return f"UBND {self.name}" if self.is_commune else f"{self.name} - Thành phố Hồ Chí Minh"


@dataclass(frozen=True)
class FormerUnit:
    """An agency that ended on 30 June 2025: it lies in the register, and nothing in the generated city happens to it.

    Name and code are real; `valid_from` is a day of the sandbox's own, not that on which each was founded.
    Those outside the city of that time were never bound by its Decision: they are not scored.
    """

    code: str
    name: str
    kind: str
    peer_group: str
    valid_from: str
    is_scored: bool
    gso_code: str


@dataclass(frozen=True)
class Procedure:
    """One administrative procedure; `owner` is a unit code or `commune`."""

    index: int
    owner: str
    code: str
    name: str
    field_code: str
    field_name: str
    limit: int | None
    at_once: bool
    permitted_supplements: int
    weight: float


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1)
def units() -> tuple[Unit, ...]:
    """The 186 agencies; about a quarter of them still send the old code form."""
    return tuple(
        Unit(
            index=index,
            code=row["unit_code"],
            name=row["unit_name"],
            name_en=row["unit_name_en"],
            kind=row["unit_kind"],
            peer_group=row["peer_group"],
            valid_from=row["valid_from"],
            receiving_only=row["is_receiving_only"] == "1",
            posting_places=row["posting_places"],
            gso_code=row["gso_code"] or None,
            sends_old_code=index % 4 == 3,
        )
        for index, row in enumerate(_rows("units.csv"))
    )


@lru_cache(maxsize=1)
def former_units() -> tuple[FormerUnit, ...]:
    """The 22 districts and 273 communes of the city until 30 June 2025, and those of the two provinces that joined it."""
    return tuple(
        FormerUnit(
            code=row["unit_code"],
            name=row["unit_name"],
            kind=row["unit_kind"],
            peer_group=row["peer_group"],
            valid_from=row["valid_from"],
            is_scored=row["is_scored"] == "1",
            gso_code=row["gso_code"],
        )
        for row in _rows("former_units.csv")
    )


@lru_cache(maxsize=1)
def predecessors() -> dict[str, tuple[tuple[str, str], ...]]:
    """Code of a commune → codes of those before it, each with its extent: `full`, or `partial` where the rest went elsewhere."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for row in _rows("succession.csv"):
        found[row["unit_code"]] = (*found.get(row["unit_code"], ()), (row["predecessor_code"], row["extent"]))
    return found


@lru_cache(maxsize=1)
def procedures() -> tuple[Procedure, ...]:
    return tuple(
        Procedure(
            index=index,
            owner=row["owner"],
            code=row["procedure_code"],
            name=row["procedure_name"],
            field_code=row["field_code"],
            field_name=row["field_name"],
            limit=int(row["limit_working_days"]) if row["limit_working_days"] else None,
            at_once=row["is_at_once"] == "1",
            permitted_supplements=int(row["permitted_supplements"]),
            weight=float(row["weight"]),
        )
        for index, row in enumerate(_rows("procedures.csv"))
    )


@dataclass(frozen=True)
class Device:
    """A machine on which citizens rate; one with `valid_to` is out of use and in no rating."""

    code: str
    unit: int
    kind: str = "KIOSK"
    valid_to: str | None = None


@lru_cache(maxsize=1)
def retired_devices() -> tuple[Device, ...]:
    """Tablets that some communes no longer use."""
    communes = (unit.index for unit in units() if unit.is_commune and unit.index % 25 == 0)
    return tuple(Device(f"TABLET-{index:04d}", index, "TABLET", "20260701") for index in communes)


@lru_cache(maxsize=1)
def devices() -> tuple[Device, ...]:
    """Rating kiosks: the centre has four, every third other unit has one."""
    places = [unit.index for unit in units() if unit.receiving_only] * 4
    places += [unit.index for unit in units() if not unit.receiving_only and unit.index % 3 == 0]
    return tuple(Device(f"KIOSK-{number:04d}", unit) for number, unit in enumerate(places, 1))


def unit_records() -> list[dict[str, Any]]:
    """DanhSachCoQuan: those of today, then those that ended on 30 June 2025."""
    today = [
        {
            "MaCoQuan": unit.code,
            "TenCoQuan": unit.name,
            "TenTiengAnh": unit.name_en,
            "LoaiCoQuan": unit.kind,
            "NhomXepHang": unit.peer_group,
            "TenNhomXepHang": PEER_GROUPS[unit.peer_group],
            "CoQuanCapTren": None,
            "NgayBatDau": unit.valid_from,
            "NgayKetThuc": None,
            "ChamDiem": True,
            "ChiTiepNhan": unit.receiving_only,
            "NoiNiemYet": unit.posting_places,
            "MaThongKe": unit.gso_code,
            "DanhSachThietBi": [
                {
                    "MaThietBi": device.code,
                    "LoaiThietBi": device.kind,
                    "NoiDat": "Bộ phận Một cửa",
                    "NgayBatDau": "20250701",
                    "NgayKetThuc": device.valid_to,
                }
                for device in (*devices(), *retired_devices())
                if device.unit == unit.index
            ],
            "DanhSachCoQuanTruoc": [
                {"MaCoQuan": code, "PhamVi": extent, "NgayKeThua": HANDOVER}
                for code, extent in predecessors().get(unit.code, ())
            ],
        }
        for unit in units()
    ]
    before = [
        {
            "MaCoQuan": unit.code,
            "TenCoQuan": unit.name,
            "TenTiengAnh": None,
            "LoaiCoQuan": unit.kind,
            "NhomXepHang": unit.peer_group,
            "TenNhomXepHang": PEER_GROUPS[unit.peer_group],
            "CoQuanCapTren": None,
            "NgayBatDau": unit.valid_from,
            "NgayKetThuc": HANDOVER,
            "ChamDiem": unit.is_scored,
            "ChiTiepNhan": False,
            "NoiNiemYet": "desk;website",
            "MaThongKe": unit.gso_code,
            "DanhSachThietBi": [],
            "DanhSachCoQuanTruoc": [],
        }
        for unit in former_units()
    ]
    return today + before


def procedure_records() -> list[dict[str, Any]]:
    """DanhSachTTHC."""
    return [
        {
            "MaTTHC": procedure.code,
            "TenTTHC": procedure.name,
            "MaLinhVuc": procedure.field_code,
            "TenLinhVuc": procedure.field_name,
            "ThoiHanNgayLamViec": procedure.limit,
            "GiaiQuyetNgay": procedure.at_once,
            "SoLanBoSungToiDa": procedure.permitted_supplements,
            "NgayHieuLuc": "20250701",
            "NgayHetHieuLuc": None,
        }
        for procedure in procedures()
    ]


CHANNELS = {"1": "desk", "2": "online", "3": "post"}
SUPPLEMENT_STATUSES = {"1": "asked", "2": "received_in_full", "3": "received_in_part", "4": "cancelled", "5": "fee"}
PARTICIPANT_ROLES = {"CHU_TRI": "in_charge", "PHOI_HOP": "contributing"}
TIMELINESS = {"DUNG_HAN": "on_time", "QUA_HAN": "late", "CHUA_KET_THUC": "open"}
PETITION_SUBJECTS = {"TTHC": "procedure", "STAFF": "staff", "OTHER": "other"}
PETITION_STATUSES = {
    "MOI_TIEP_NHAN": "received",
    "YEU_CAU_BO_SUNG": "supplement_asked",
    "TU_CHOI": "refused",
    "DA_TRA_LOI": "answered",
    "DA_CONG_KHAI": "published",
}
RATING_LEVELS = {"RẤT HÀI LÒNG": "very_satisfied", "HÀI LÒNG": "satisfied", "KHÔNG HÀI LÒNG": "not_satisfied"}
RATING_QUESTIONS = {"THAI_DO": "attitude", "CHUNG": "overall", "THOI_GIAN": "time", "CO_SO_VAT_CHAT": "facilities"}
RATING_CHANNELS = {
    "HE_THONG_TP": "city_system",
    "KIOSK": "kiosk",
    "WEBSITE": "website",
    "CONG_DVC_TP": "city_portal",
    "TAI_QUAY": "desk",
}
POSTING_PLACES = {"Bộ phận Một cửa": "desk", "Trang thông tin điện tử": "website"}
POSTING_RESULTS = {"Đạt": "pass", "Không đạt": "fail"}
CHECKER_KINDS = {"Văn phòng UBND Thành phố": "authority", "Tự kiểm tra": "self"}

CRITERIA = {"TC1": "timeliness", "TC2": "guidance"}
GRADES = {"XUAT_SAC": "excellent", "TOT": "good", "HOAN_THANH": "fair", "KHONG_HOAN_THANH": "poor"}
ORGANISATIONS = {"MTTQ": "fatherland_front", "HOI_LUAT_GIA": "lawyers", "HIEP_HOI_DN": "business"}
CAUSES = {"QUA_TAI": "overload", "HE_THONG": "system_fault", "PHOI_HOP": "other_unit", "NHAN_SU": "staff"}
DECISIONS = {"CHAP_NHAN": "accepted", "KHONG_CHAP_NHAN": "rejected"}
REMEDIES = {"TAP_HUAN": "training", "BO_SUNG_NHAN_SU": "staff", "SUA_QUY_TRINH": "process"}
DISPUTE_REASONS = {"SAI_HAN": "wrong_due_date", "SAI_DON_VI": "wrong_unit", "TRUNG_LAP": "duplicate"}


def code_records() -> list[dict[str, Any]]:
    """DanhSachMa: (system, kind, source code) → our code, with how good the code is."""
    found: list[tuple[str, str, str, str | None, str]] = []
    for unit in units():
        found += [
            ("tthc", "unit", unit.new_code, unit.code, "repaired" if unit.sends_old_code else "good"),
            ("tthc", "unit", unit.old_code, unit.code, "good" if unit.sends_old_code else "repaired"),
            ("rating", "unit", unit.rating_code, unit.code, "good"),
            ("portal", "unit", unit.department_id, unit.code, "good"),
            ("portal", "unit", unit.new_code, unit.code, "good"),
            ("inspection", "unit", unit.inspection_code, unit.code, "good"),
            ("institutional", "unit", unit.map_code, unit.code, "good"),
            ("unit_office", "unit", unit.new_code, unit.code, "good"),
            ("survey", "unit", unit.survey_code, unit.code, "good"),
        ]
    found.append(("tthc", "unit", IGNORED_UNIT_CODE, None, "ignored"))
    found.append(("portal", "unit", IGNORED_UNIT_CODE, None, "ignored"))
    found.append(("portal", "unit", ROOT_DEPARTMENT, None, "ignored"))
    found += [("rating", "device", device.code, units()[device.unit].code, "good") for device in devices()]
    tables = (
        ("tthc", "dossier_status", {str(code): str(code) for code in range(1, 11)}),
        ("tthc", "channel", CHANNELS),
        ("tthc", "supplement_status", SUPPLEMENT_STATUSES),
        ("tthc", "participant_role", PARTICIPANT_ROLES),
        ("portal", "dossier_status", {str(code): str(code) for code in range(1, 11)}),
        ("portal", "channel", CHANNELS),
        ("portal", "timeliness", TIMELINESS),
        ("portal", "petition_subject", PETITION_SUBJECTS),
        ("portal", "petition_status", PETITION_STATUSES),
        ("rating", "rating_level", RATING_LEVELS),
        ("rating", "rating_question", RATING_QUESTIONS),
        ("rating", "rating_channel", RATING_CHANNELS),
        ("inspection", "posting_place", POSTING_PLACES),
        ("inspection", "posting_result", POSTING_RESULTS),
        ("inspection", "checker_kind", CHECKER_KINDS),
        ("institutional", "criterion", CRITERIA),
        ("institutional", "grade", GRADES),
        ("unit_office", "criterion", CRITERIA),
        ("unit_office", "cause", CAUSES),
        ("unit_office", "decision", DECISIONS),
        ("unit_office", "remedy", REMEDIES),
        ("unit_office", "dispute_reason", DISPUTE_REASONS),
        ("survey", "organisation", ORGANISATIONS),
    )
    for system, kind, table in tables:
        found += [(system, kind, source, target, "good") for source, target in table.items()]
    return [
        {"HeThong": system, "LoaiMa": kind, "MaNguon": source, "MaDich": target, "XuLy": treatment}
        for system, kind, source, target, treatment in found
    ]
