"""Petitions (PAKN) as the portal's `TraCuuPAKN` shows them: the same ones that its evaluation counts, and refused ones.

The evaluation counts a petition when it was answered or is past its due date; recounting the feed gives its figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.generator import DAY, NONE, City, Petition, generator_for
from sandbox.records import IMPOSSIBLE, wire
from sandbox.workdays import calendar

STREAM = 102


@dataclass(frozen=True)
class Course:
    """A petition with what the evaluation does not count."""

    petition: Petition
    supplement_asked: int
    refused: int
    published: int
    resent: int  # when it was sent again, NONE: never
    resent_count: int
    bad: str | None = None

    @property
    def events(self) -> tuple[int, ...]:
        p = self.petition
        return (p.accepted, self.supplement_asked, self.refused, p.answered, self.published, self.resent)


def courses(city: City) -> list[Course]:
    """All petitions in the order of their numbers; refused ones come after those that the evaluation counts."""
    rng = generator_for(city.options, STREAM)
    found = []
    for petition in city.petitions:
        day = np.array(petition.answered // DAY)
        slow = rng.random() < 0.08  # the law gives two working days
        published = int(calendar().add(day, int(rng.integers(4, 9)) if slow else int(rng.integers(0, 3))))
        asked = (
            petition.accepted + DAY if rng.random() < 0.1 and petition.answered > petition.accepted + 3 * DAY else NONE
        )
        turns = int(rng.choice([0, 1, 2, 3], p=[0.9, 0.07, 0.02, 0.01]))
        resent = petition.answered + int(rng.integers(1, 12)) * DAY if turns else NONE
        at = max(published * DAY + 16 * 3600, petition.answered + 600)
        found.append(Course(petition, asked, NONE, at, resent, turns))
    for number in range(len(found) // 25):
        accepted = int(rng.integers(city.start, max(city.end - 5 * DAY, city.start + 1)))
        unit = int(rng.integers(0, len(city.units)))
        due = int(calendar().add(np.array(accepted // DAY), 15)) * DAY + 17 * 3600
        refused = int(calendar().add(np.array(accepted // DAY), int(rng.integers(1, 3)))) * DAY + 10 * 3600
        refused = max(refused, accepted + 3600)
        petition = Petition(900_000 + number, unit, accepted, NONE, due, False, False, "OTHER", False)
        found.append(Course(petition, NONE, refused, NONE, NONE, 0))
    for number, bad in enumerate(
        ("impossible_date", "unknown_subject", "missing_key")[: city.options.bad_records // 4]
    ):
        accepted = city.last_month_first * DAY + (9 + number) * 3600
        petition = Petition(990_000 + number, number, accepted, NONE, accepted + 21 * DAY, False, False, "OTHER", False)
        found.append(Course(petition, NONE, accepted + 7200, NONE, NONE, 0, bad))
    return found


class PetitionFeed:
    """Petitions in the order of the feed: (NgayCapNhat, number), as they stand at one moment."""

    def __init__(self, city: City, now: int) -> None:
        self.city, self.now = city, now
        known = [course for course in courses(city) if course.petition.accepted <= now]
        dated = [(max(at for at in course.events if at <= now), course) for course in known]
        self.rows = sorted(dated, key=lambda row: (row[0], row[1].petition.id))
        self.updated = np.array([at for at, _ in self.rows], np.int64)

    def window(self, since: int, until: int) -> tuple[int, int]:
        """Positions of the records with since ≤ NgayCapNhat < until."""
        low, high = np.searchsorted(self.updated, [since, until], side="left")
        return int(low), max(int(low), int(high))

    def page(self, low: int, high: int) -> list[dict[str, Any]]:
        return [self.record(course, at) for at, course in self.rows[low:high]]

    def record(self, course: Course, updated: int) -> dict[str, Any]:
        petition, unit = course.petition, self.city.units[course.petition.unit]

        def text(at: int) -> str | None:
            return wire(at) if 0 <= at <= self.now else None

        answered = 0 <= petition.answered <= self.now
        state = "MOI_TIEP_NHAN"
        for at, name in (
            (course.supplement_asked, "YEU_CAU_BO_SUNG"), (course.refused, "TU_CHOI"), (petition.answered, "DA_TRA_LOI"),
            (course.published, "DA_CONG_KHAI"),
        ):  # fmt: skip
            if 0 <= at <= self.now:
                state = name
        number = petition.id
        return {
            "MaPAKN": None if course.bad == "missing_key" else f"PAKN-H29-{number:07d}",
            "MaCoQuan": unit.department_id,
            "TenCoQuan": unit.portal_name,
            "PhanLoai": "KHONG_RO" if course.bad == "unknown_subject" else petition.about,
            "TrangThai": state,
            "NguoiGui": f"Người Gửi Mẫu {number:06d}",
            "SoDienThoai": f"09{number % 100_000_000:08d}",
            "Email": f"kien.nghi{number:06d}@example.invalid",
            "DiaChi": f"Số {number} đường Mẫu",
            "NoiDung": f"Nội dung phản ánh mẫu số {number}, liên hệ 09{number % 100_000_000:08d}",
            "NoiDungTraLoi": f"Nội dung trả lời mẫu số {number}" if answered else None,
            "CanBoXuLy": f"Cán Bộ Mẫu {petition.unit:03d}-{number % 8}",
            "NgayTiepNhan": IMPOSSIBLE if course.bad == "impossible_date" else wire(petition.accepted),
            "HanXuLy": wire(petition.due),
            "NgayYeuCauBoSung": text(course.supplement_asked),
            "NgayTuChoi": text(course.refused),
            "NgayTraLoi": text(petition.answered),
            "NgayCongKhai": text(course.published),
            "HaiLong": petition.satisfied if answered else None,
            "SoLanGuiLai": course.resent_count if 0 <= course.resent <= self.now else 0,
            "NgayCapNhat": wire(updated),
        }
