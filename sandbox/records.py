"""Records as the sources send them: the state of the generated city at a moment, in the sources' words."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np

from sandbox.generator import (
    ASKED,
    BAD_KINDS,
    CANCELLED,
    DATES,
    DAY,
    DONE,
    DUE_MIDNIGHT,
    FEE,
    FULL,
    MAX_REQUESTS,
    MIDNIGHTS,
    NOT_ACCEPTED,
    PART,
    STOPPED,
    TEST_RECORD,
    WITHDRAWN,
    City,
    Ints,
    Rating,
)
from sandbox.options import WIRE, moment, seconds
from sandbox.registers import IGNORED_UNIT_CODE, SUFFIX, procedures

IMPOSSIBLE = "20260231093000"
UNKNOWN_UNIT = "H29.99.99"
DESK, DIVISION = "Bộ phận Tiếp nhận và Trả kết quả", "Phòng chuyên môn"
SUPPLEMENT_ASKED, FEE_ASKED = 5, 6
UNREADABLE: dict[str, tuple[str, str | None]] = {
    "impossible_date": ("NgayTiepNhan", IMPOSSIBLE),
    "missing_key": ("MaHoSo", None),
    "unknown_unit": ("DonViXuLy", UNKNOWN_UNIT),
    "wrong_type": ("DanhSachHoSoBoSung", "không có"),
}


@lru_cache(maxsize=4096)
def _day_text(day: int) -> str:
    return moment(day * DAY).strftime("%Y%m%d")


def wire(value: int) -> str:
    """yyyyMMddHHmmss of a moment."""
    day, second = divmod(value, DAY)
    return f"{_day_text(day)}{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"


def parse_wire(text: object) -> int:
    """Moment of a yyyyMMddHHmmss; ValueError when it is none."""
    if not isinstance(text, str) or len(text) != 14 or not text.isdigit():
        raise ValueError(f"expected yyyyMMddHHmmss, got {text!r}")
    return seconds(datetime.strptime(text, WIRE))


class DossierFeed:
    """Dossiers as `TraCuuHoSo` shows them at one moment, in the order of the feed."""

    def __init__(self, city: City, now: int) -> None:
        self.city, self.now = city, now
        dossiers = city.dossiers
        updated = dossiers.updated_at(now)
        by_code = np.argsort(np.array(dossiers.code), kind="stable")
        rank = np.empty(len(dossiers), np.int64)
        rank[by_code] = np.arange(len(dossiers))
        order = np.lexsort((rank, updated))
        order = order[(updated[order] >= 0) & ~city.gone(now)[order]]
        self.rows: Ints = np.repeat(order, dossiers.copies[order])
        self.updated: Ints = updated[self.rows]

    def window(self, since: int, until: int) -> tuple[int, int]:
        """Positions of the records with since ≤ NgayCapNhat < until."""
        low, high = np.searchsorted(self.updated, [since, until], side="left")
        return int(low), max(int(low), int(high))

    def page(self, low: int, high: int) -> list[dict[str, Any]]:
        return [
            self.record(row, updated)
            for row, updated in zip(self.rows[low:high].tolist(), self.updated[low:high].tolist(), strict=True)
        ]

    def record(self, row: int, updated: int) -> dict[str, Any]:
        d = self.city.dossiers
        seen = self.now - int(d.lag[row])  # what happened up to here is known to the feed
        style = int(d.style[row])

        def text(value: int, *, is_due: bool = False) -> str | None:
            if value < 0:
                return None
            stamp = wire(value)
            if style == DATES:
                return stamp[:8]
            if style == MIDNIGHTS or (style == DUE_MIDNIGHT and is_due):
                return stamp[:8] + "000000"
            return stamp

        due = int(d.first_due[row]) if d.shows_due[row] else -1
        requests = []
        waiting = 0
        for slot in (MAX_REQUESTS, *range(MAX_REQUESTS), MAX_REQUESTS + 1):
            at, kind = int(d.request_at[row, slot]), int(d.request_kind[row, slot])
            if kind == 0 or at > seen:
                continue
            answered = int(d.request_answered[row, slot])
            came = 0 <= answered <= seen
            state = kind if kind in (FEE, CANCELLED) or (came and kind in (FULL, PART)) else ASKED
            if came and kind == FULL:
                due = int(d.request_due_after[row, slot])
            if not came and kind != CANCELLED:
                waiting = kind if kind == FEE else ASKED
            requests.append(
                {
                    "HoSoBoSungId": f"BS{row:08d}-{slot}",
                    "NguoiYeuCauBoSung": f"Cán Bộ Mẫu {row % 900:03d}",
                    "NoiDungBoSung": f"Nội dung yêu cầu mẫu, gọi số 09{row % 100_000_000:08d}",
                    "NgayBoSung": text(at),
                    "NgayTiepNhanBoSung": text(answered) if came else None,
                    "TrangThaiBoSung": state,
                    "NgayHenTraTruoc": text(int(d.request_due_before[row, slot]), is_due=True),
                    "NgayHenTraMoi": text(int(d.request_due_after[row, slot]), is_due=True)
                    if came and kind == FULL
                    else None,
                }
            )
        if requests and d.duplicate_request[row]:
            requests.append(dict(requests[-1]))
        if 0 <= int(d.extended_at[row]) <= seen:
            due = int(d.extended_due[row])

        outcome = int(d.outcome[row])
        ended = 0 <= int(d.finished[row]) <= seen
        given = 0 <= int(d.handed[row]) <= seen
        finish = int(d.shown_finish[row]) if ended else -1
        if d.finish_field_missing[row] or outcome == NOT_ACCEPTED or (outcome == WITHDRAWN and row % 2):
            finish = -1
        if ended and outcome in (NOT_ACCEPTED, WITHDRAWN, STOPPED):
            status = outcome
        elif ended and outcome == DONE:
            status = 10 if given else 9
        elif waiting:
            status = 6 if waiting == FEE else 5
        else:
            status = 4 if 0 <= int(d.process[row]) <= seen else 2

        unit = int(d.unit[row])
        units = self.city.units
        procedure = procedures()[int(d.procedure[row])]
        resolver = IGNORED_UNIT_CODE if unit < 0 else units[unit].tthc_code
        if unit >= 0 and d.alias[row]:
            resolver = units[unit].new_code if units[unit].sends_old_code else units[unit].old_code
        officer = f"Cán Bộ Mẫu {max(unit, 0):03d}-{row % 8}"
        desk_officer = f"Cán Bộ Mẫu {int(d.receiver[row]):03d}-{row % 3}"
        steps = []

        def step(slot: str, at: int, state: int, limit: int = -1) -> None:
            if 0 <= at <= seen:
                at_desk = state in (2, 3, 10)
                steps.append(
                    {
                        "TienDoId": f"TD{row:08d}-{slot}",
                        "NguoiXuLy": desk_officer if at_desk else officer,
                        "ChucDanh": "Công chức Một cửa (mẫu)" if at_desk else "Chuyên viên (mẫu)",
                        "ThoiDiemXuLy": text(at),
                        "PhongBanXuLy": DESK if at_desk else DIVISION,
                        "TrangThai": state,
                        "HanXuLy": text(limit, is_due=True),
                    }
                )

        begun, first_due = int(d.process[row]), int(d.first_due[row]) if d.shows_due[row] else -1
        step("1", int(d.received[row]), 2, int(d.received[row]) + 4 * 3600)
        step("2", begun, 4, first_due)
        if ended:
            step("3", int(d.finished[row]), outcome, first_due)
        if outcome == DONE:
            step("4", int(d.handed[row]), 10)
        if status in (FEE_ASKED, SUPPLEMENT_ASKED, STOPPED) and d.done_inserted[row]:
            step("9", updated - int(d.lag[row]), DONE)  # put there by software so that another system takes the dossier

        linked = bool(unit >= 0 and row % 19 == 4)
        participants = []
        if linked:
            reached_at = begun if 0 <= begun <= seen else int(d.received[row])
            partner = units[(unit + 1) % len(units)]
            half_way = (int(d.received[row]) + int(d.finished[row])) // 2
            for slot, code, role, done in (
                ("1", resolver, "CHU_TRI", int(d.finished[row])), ("2", partner.tthc_code, "PHOI_HOP", half_way),
            ):  # fmt: skip
                participants.append(
                    {
                        "PhoiHopId": f"PH{row:08d}-{slot}",
                        "MaDonVi": code,
                        "VaiTro": role,
                        "NgayNhan": text(reached_at),
                        "HanXuLy": text(first_due, is_due=True),
                        "NgayHoanThanh": text(done) if ended else None,
                    }
                )
        test = int(d.exclusion[row]) == TEST_RECORD
        title = f"{procedure.name} (hồ sơ mẫu số {row})"
        if test:
            title = f"TEST {title}" if row % 2 else f"Hồ sơ thử nghiệm phần mềm {row}"
        record: dict[str, Any] = {
            "MaHoSo": d.code[row],
            "MaTTHC": procedure.code + (SUFFIX if unit % 5 == 0 else ""),
            "TenTTHC": procedure.name,
            "MaLinhVuc": procedure.field_code,
            "TenLinhVuc": procedure.field_name,
            "KenhThucHien": int(d.channel[row]),
            "ChuHoSo": f"Người Nộp Mẫu {row:06d}",
            "LoaiDoiTuong": "Cá nhân" if row % 7 else "Tổ chức",
            "MaDoiTuong": "000000001" if d.dummy_identity[row] else f"0790{row % 100_000_000:08d}",
            "Email": f"mau{row:06d}@example.invalid",
            "SoDienThoai": f"09{row % 100_000_000:08d}",
            "TrichYeuHoSo": title,
            "NgayTiepNhan": text(int(d.received[row])),
            "NgayHenTra": text(due, is_due=True),
            "TrangThaiHoSo": str(status) if unit % 2 else status,
            "NgayTra": text(int(d.handed[row])) if given else None,
            "HinhThuc": "Trực tiếp" if row % 3 else "Trực tuyến",
            "NgayKetThucXuLy": text(finish),
            "DonViXuLy": resolver,
            "NoiNopHoSo": units[int(d.receiver[row])].tthc_code,
            "NguoiXuLyChinh": officer if begun <= seen and unit >= 0 else None,
            "LienThong": linked,
            "DanhSachHoSoBoSung": requests,
            "DanhSachTienDo": steps,
            "DanhSachDonViPhoiHop": participants,
            "DanhSachLePhi": [{"TenLePhi": "Lệ phí", "SoTien": 8000 * (1 + row % 5)}] if row % 4 == 0 else [],
            "DanhSachGiayToKetQua": [{"TenGiayTo": f"Kết quả {d.code[row]}.pdf"}] if ended and outcome == DONE else [],
            "NgayCapNhat": wire(updated),
        }
        bad = int(d.bad[row])
        if bad >= 0:
            field, value = UNREADABLE[BAD_KINDS[bad]]
            record[field] = value
        return record


class RatingFeed:
    """Ratings in the order of the feed: (capNhat, id)."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.ratings = sorted(city.ratings, key=lambda rating: (rating.updated, rating.id))
        self.updated = np.array([rating.updated for rating in self.ratings], np.int64)

    def window(self, since: int, until: int, now: int) -> tuple[int, int]:
        """Positions with since ≤ capNhat < until, as far as they exist at `now`."""
        low, high = np.searchsorted(self.updated, [since, min(until, now + 1)], side="left")
        return int(low), max(int(low), int(high))

    def page(self, low: int, high: int) -> list[dict[str, Any]]:
        return [self.record(rating) for rating in self.ratings[low:high]]

    def record(self, rating: Rating) -> dict[str, Any]:
        sent = rating.unit_sent
        serial = int(rating.id[2:]) if rating.bad is None else 0
        return {
            "id": None if rating.bad == "missing_key" else rating.id,
            "maHoSo": rating.dossier_code,
            "maCoQuan": None if sent is None else self.city.units[sent].rating_code,
            "kenh": rating.channel,
            "thietBi": rating.device,
            "cauHoi": rating.question,
            "mucDo": "TẠM ĐƯỢC" if rating.bad == "unknown_level" else rating.level,
            "thoiGian": IMPOSSIBLE if rating.bad == "impossible_date" else wire(rating.at),
            "capNhat": wire(rating.updated),
            "hoTen": f"Người Đánh Giá Mẫu {serial:06d}",
            "soDienThoai": f"09{serial % 100_000_000:08d}",
            "gopY": f"Góp ý mẫu của người số {serial}" if serial % 9 == 0 else None,
        }
