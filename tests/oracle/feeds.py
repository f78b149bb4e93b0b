"""Writes a world as the files that the sources would send: JSON lines with the sources' own field names.

One file per feed and batch; the registers once. Every event feed spans the whole time that the cases are about, so that
the warehouse knows which periods it can speak of.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import repeat
from pathlib import Path

from tests.oracle.book import ZONE, text_of
from tests.oracle.scorer import (
    Batch,
    Code,
    Dossier,
    Metric,
    Petition,
    PortalRow,
    PostingCheck,
    Procedure,
    Rating,
    Unit,
    World,
)

REGISTERS = ("code_map", "unit_register", "procedure_register")
EVENTS = ("dossier", "rating", "portal_evaluation", "posting_check", "petition")

Record = dict[str, object]


def write_registers(world: World, folder: Path) -> dict[str, Path]:
    """A file for each register feed."""
    records = {
        "code_map": map(code, world.codes),
        "unit_register": map(unit, world.units),
        "procedure_register": map(procedure, world.procedures),
    }
    return {feed: write(folder / f"{feed}.jsonl", records[feed]) for feed in REGISTERS}


def write_batch(batch: Batch, number: int, folder: Path, since: date, until: date) -> dict[str, Path]:
    """A file for each event feed that has records in this round; changes are dated inside [since, until).

    All over the span in the first round, at its end in the later ones: a newer version never looks older than what it
    replaces, or it would be taken for a stray copy.
    """
    seen = seen_times(since, until)

    def changed(key: str) -> str:
        return seen[zlib.crc32(key.encode()) % len(seen)] if number == 0 else seen[-1]

    records: dict[str, Iterable[Record]] = {
        "dossier": (dossier(d, changed(d.dossier_code)) for d in batch.dossiers),
        "rating": (rating(r, changed(r.rating_id)) for r in batch.ratings),
        "portal_evaluation": map(portal_row, batch.portal_rows),
        "posting_check": map(posting_check, batch.posting_checks),
        "petition": map(petition, batch.petitions, repeat(last_second(span_of(batch, "petition", since, until)))),
    }
    sizes = {
        "dossier": len(batch.dossiers),
        "rating": len(batch.ratings),
        "portal_evaluation": len(batch.portal_rows),
        "posting_check": len(batch.posting_checks),
        "petition": len(batch.petitions),
    }
    return {feed: write(folder / f"{feed}.{number}.jsonl", records[feed]) for feed in EVENTS if sizes[feed]}


def span_of(batch: Batch, feed: str, since: date, until: date) -> tuple[datetime, datetime]:
    """The stretch of time that a batch's file of a feed is said to hold: petitions have their own."""
    if feed == "petition" and batch.petitions_read:
        return batch.petitions_read
    return datetime.combine(since, time(), ZONE), datetime.combine(until, time(), ZONE)


def last_second(span: tuple[datetime, datetime]) -> str:
    return f"{(span[1] - timedelta(seconds=1)).astimezone(ZONE):%Y%m%d%H%M%S}"


def seen_times(since: date, until: date) -> Sequence[str]:
    """Times of change to deal out: the first and the last second of the span, and some between."""
    last = until - timedelta(days=1)
    middle = since + (until - since) // 2
    return (f"{since:%Y%m%d}000000", f"{middle:%Y%m%d}120000", f"{last:%Y%m%d}235959")


def write(path: Path, records: Iterable[Record]) -> Path:
    with path.open("w", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps(record, ensure_ascii=False, default=number) + "\n")
    return path


def number(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"no JSON form for {value!r}")


def day(value: date | None) -> str | None:
    return None if value is None else f"{value:%Y%m%d}"


def code(item: Code) -> Record:
    return {
        "HeThong": item.system,
        "LoaiMa": item.code_kind,
        "MaNguon": item.source_code,
        "MaDich": item.target_code,
        "XuLy": item.treatment,
    }


def unit(item: Unit) -> Record:
    return {
        "MaCoQuan": item.unit_code,
        "TenCoQuan": item.unit_name,
        "TenTiengAnh": item.unit_name_en,
        "LoaiCoQuan": item.unit_kind,
        "NhomXepHang": item.peer_group,
        "TenNhomXepHang": item.peer_group_name,
        "CoQuanCapTren": item.parent_unit_code,
        "NgayBatDau": day(item.valid_from),
        "NgayKetThuc": day(item.valid_to),
        "ChamDiem": item.is_scored,
        "ChiTiepNhan": item.is_receiving_only,
        "NoiNiemYet": item.posting_places,
        "MaThongKe": item.gso_code,
    }


def procedure(item: Procedure) -> Record:
    return {
        "MaTTHC": item.procedure_code,
        "TenTTHC": item.procedure_name,
        "MaLinhVuc": item.field_code,
        "TenLinhVuc": item.field_name,
        "ThoiHanNgayLamViec": item.limit_working_days,
        "GiaiQuyetNgay": item.is_at_once,
        "SoLanBoSungToiDa": item.permitted_supplements,
        "NgayHieuLuc": "20200101",
        "NgayHetHieuLuc": None,
    }


def dossier(item: Dossier, updated: str) -> Record:
    return {
        "MaHoSo": item.dossier_code,
        "MaTTHC": item.procedure_code,
        "KenhThucHien": item.channel_code,
        "ChuHoSo": "Người Mẫu",
        "MaDoiTuong": "000000001" if item.is_dummy_identity else "079300000001",
        "TrichYeuHoSo": "Hồ sơ thử nghiệm hệ thống" if item.is_test_record else "Cấp bản sao",
        "NgayTiepNhan": text_of(item.received_at),
        "NgayHenTra": text_of(item.due_at),
        "TrangThaiHoSo": item.status_code,
        "NgayTra": text_of(item.returned_at),
        "NgayKetThucXuLy": text_of(item.finished_at),
        "DonViXuLy": item.resolving_unit,
        "NoiNopHoSo": item.receiving_unit,
        "NgayCapNhat": updated,
        "DanhSachHoSoBoSung": [
            {
                "HoSoBoSungId": part.supplement_id,
                "NgayBoSung": text_of(part.requested_at),
                "NgayTiepNhanBoSung": text_of(part.received_at),
                "TrangThaiBoSung": part.status_code,
                "NgayHenTraTruoc": text_of(part.due_before_at),
                "NgayHenTraMoi": text_of(part.due_after_at),
            }
            for part in item.supplements
        ],
        "LienThong": item.is_interlinked,
        "DanhSachDonViPhoiHop": [
            {
                "PhoiHopId": part.participant_id,
                "MaDonVi": part.unit_code,
                "VaiTro": part.role_code,
                "NgayNhan": text_of(part.received_at),
                "HanXuLy": text_of(part.due_at),
                "NgayHoanThanh": text_of(part.finished_at),
            }
            for part in item.participants
        ],
    }


def rating(item: Rating, updated: str) -> Record:
    return {
        "id": item.rating_id,
        "maHoSo": item.dossier_code,
        "maCoQuan": item.unit_code,
        "kenh": item.channel_code,
        "thietBi": item.device_code,
        "cauHoi": item.question_code,
        "mucDo": item.level_code,
        "thoiGian": text_of(item.rated_at),
        "capNhat": updated,
    }


def metric(item: Metric) -> Record:
    return {
        "code": item.code,
        "numerator": item.numerator,
        "denominator": item.denominator,
        "score": item.score,
        "maxScore": item.max_score,
    }


def portal_row(item: PortalRow) -> Record:
    return {
        "group": item.group_code,
        "fromDate": item.window_from.isoformat(),
        "toDate": item.window_to.isoformat(),
        "departmentId": item.department_id,
        "departmentName": "Đơn vị trên Cổng",
        "departmentType": "PROVINCE" if item.is_overview else "PROVINCIAL_DEPARTMENT",
        "agencyLevel": "level_1" if item.is_overview else "level_2",
        "isOverview": item.is_overview,
        "totalScore": item.total_score,
        "totalMaxScore": item.total_max_score,
        "totalPetitions": item.total_petitions,
        "classifiedPetitions": item.total_petitions,
        "totalDossiers": item.total_dossiers,
        "metrics": [metric(part) for part in item.metrics],
        "metricVersion": "2026",
        "retrievedAt": f"{item.retrieved_at.astimezone(ZONE):%Y%m%d%H%M%S}",
    }


def petition(item: Petition, updated: str) -> Record:
    return {
        "MaPAKN": item.petition_id,
        "MaCoQuan": item.department_id,
        "PhanLoai": item.subject_code,
        "TrangThai": item.status_code,
        "NgayTiepNhan": text_of(item.received_at),
        "HanXuLy": text_of(item.due_at),
        "NgayYeuCauBoSung": text_of(item.supplement_asked_at),
        "NgayTuChoi": text_of(item.refused_at),
        "NgayTraLoi": text_of(item.answered_at),
        "NgayCongKhai": text_of(item.published_at),
        "HaiLong": item.is_satisfied,
        "SoLanGuiLai": item.resent_count,
        "NgayCapNhat": updated,
    }


def posting_check(item: PostingCheck) -> Record:
    return {
        "Mã phiếu": item.check_id,
        "Mã cơ quan": item.unit_code,
        "Nơi niêm yết": item.place_code,
        "Ngày kiểm tra": item.checked_on.isoformat(),
        "Kết quả": item.result_code,
        "Loại kiểm tra": item.checker_kind_code,
    }
