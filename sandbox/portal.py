"""The national portal's group "mức độ hài lòng": recomputed for any window from petitions and dossiers.

Formulas (they reproduce the portal's published figures): petition metrics 6·n/d, 6 when d = 0; dossier metric
min(6, 6·(n/d)/0.9), 0 when d = 0; the total is their sum. Shown with two decimals, halves away from zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np

from sandbox.generator import DAY, City, Petition
from sandbox.registers import ROOT_DEPARTMENT
from sandbox.workdays import number

NAMES = {
    "PETITION_CLASSIFICATION_TTHC": "Tỷ lệ PAKN về quy định, thủ tục hành chính",
    "DOSSIER_RECEIVING_SATISFACTION": "Tỷ lệ hài lòng trong tiếp nhận, giải quyết TTHC",
    "PETITION_PROCESSING_ON_TIME": "Tỷ lệ PAKN xử lý đúng hạn",
    "PETITION_HANDLING_SATISFACTION": "Tỷ lệ hài lòng trong xử lý PAKN",
    "PETITION_CLASSIFICATION_STAFF": "Tỷ lệ PAKN về hành vi cán bộ, công chức, viên chức",
}
Number = int | float


def two_decimals(value: Fraction) -> Number:
    """Half away from zero at the second decimal; an integer where it is one, as the portal writes it."""
    cents = (value * 200 + 1) // 2
    return int(cents // 100) if cents % 100 == 0 else int(cents) / 100


def petition_points(good: int, all_: int) -> Fraction:
    return Fraction(6) if all_ == 0 else Fraction(6 * good, all_)


def dossier_points(good: int, all_: int) -> Fraction:
    return Fraction(0) if all_ == 0 else min(Fraction(6), Fraction(60 * good, 9 * all_))


@dataclass
class Counts:
    """What the portal counted for one unit (or the city) in one window."""

    petitions: int = 0  # accepted in the window
    classified: int = 0  # of them answered, or past their due date
    on_time: int = 0
    satisfied: int = 0
    about_procedures: int = 0
    about_staff: int = 0
    dossiers: int = 0
    dossiers_good: int = 0
    broken: bool = False

    def add(self, other: Counts) -> None:
        for name in ("petitions", "classified", "on_time", "satisfied", "about_procedures", "about_staff",
                     "dossiers", "dossiers_good"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def points(self) -> Fraction:
        return (
            petition_points(self.on_time, self.classified)
            + petition_points(self.satisfied, self.classified)
            + dossier_points(self.dossiers_good, self.dossiers)
        )

    @property
    def total_score(self) -> Number | None:
        """What the portal prints as the unit's total; null where it failed to compute one."""
        return None if self.broken else two_decimals(self.points)


def count_petition(counts: Counts, petition: Petition, now: int) -> None:
    counts.petitions += 1
    counts.broken |= petition.breaks_score
    if petition.answered > now and petition.due >= now:
        return  # not answered and not yet due: in the total only
    counts.classified += 1
    done = petition.answered <= now
    counts.on_time += done and petition.on_time
    counts.satisfied += done and petition.satisfied
    counts.about_procedures += petition.about == "TTHC"
    counts.about_staff += petition.about == "STAFF"


class Portal:
    """Evaluation of every unit that the portal lists."""

    def __init__(self, city: City) -> None:
        self.city = city
        absent = set(city.behaviour.role("no_portal_row"))
        self.listed = [u for u in city.units if u.index not in absent and not u.receiving_only]

    def counts(self, first: date, last: date, now: int) -> dict[int, Counts]:
        """Counts per listed unit for an inclusive window as the portal knows them at `now`."""
        low, high = number(first) * DAY, (number(last) + 1) * DAY
        found = {unit.index: Counts() for unit in self.listed}
        for petition in self.city.petitions:
            if low <= petition.accepted < high and petition.accepted <= now and petition.unit in found:
                count_petition(found[petition.unit], petition, now)
        dossiers = self.city.dossiers
        inside = dossiers.finish_seen(now) & (dossiers.result_at >= low) & (dossiers.result_at < high)
        inside &= (dossiers.unit >= 0) & (dossiers.bad < 0)
        every = np.bincount(dossiers.unit[inside], minlength=len(self.city.units))
        good = np.bincount(dossiers.unit[inside & dossiers.portal_good], minlength=len(self.city.units))
        for index, counts in found.items():
            counts.dossiers, counts.dossiers_good = int(every[index]), int(good[index])
        return found

    def answer(self, first: date, last: date, now: int, page: int, size: int) -> dict[str, Any]:
        """Body of `handling-satisfaction`: the city in `overview`, one page of units in `evaluation`."""
        counts = self.counts(first, last, now)
        city = Counts()
        for one in counts.values():
            city.add(one)
        rows = []
        for place, unit in enumerate(self.listed, 1):
            if (page - 1) * size < place <= page * size:
                level = "COMMUNE" if unit.is_commune else "PROVINCE"
                kind = "COMMUNE_PEOPLE_COMMITTEE" if unit.is_commune else "PROVINCIAL_DEPARTMENT"
                row = _row(place, unit.department_id, unit.portal_name, kind, level, "level_2", counts[unit.index])
                if not unit.is_commune:
                    row["departmentCode"] = unit.new_code
                rows.append(row)
        overview = _row(1, ROOT_DEPARTMENT, "UBND Thành phố Hồ Chí Minh", "PROVINCE", "PROVINCE", "level_1", city)
        overview["departmentCode"] = "H29"
        return {"code": "OK", "data": {"overview": overview, "evaluation": rows}}


def _row(place: int, id_: str, name: str, kind: str, level: str, agency: str, counts: Counts) -> dict[str, Any]:
    total = counts.total_score

    def metric(code: str, good: int, all_: int, points: Fraction | None) -> dict[str, Any]:
        return {
            "code": code,
            "name": NAMES[code],
            "numerator": good,
            "denominator": all_,
            "ratio": two_decimals(Fraction(100 * good, all_)) if all_ else 0,
            "score": None if points is None else two_decimals(points),
            "maxScore": 0 if points is None else 6,
        }

    n = counts
    return {
        "stt": place,
        "departmentId": id_,
        "departmentName": name,
        "departmentType": kind,
        "departmentLevel": level,
        "agencyLevel": agency,
        "totalScore": total,
        "totalMaxScore": 18,
        "ratio": None if total is None else two_decimals(Fraction(str(total)) * 100 / 18),
        "scoreDelta": None,
        "metrics": [
            metric("PETITION_CLASSIFICATION_TTHC", n.about_procedures, n.classified, None),
            metric("DOSSIER_RECEIVING_SATISFACTION", n.dossiers_good, n.dossiers,
                   dossier_points(n.dossiers_good, n.dossiers)),
            metric("PETITION_PROCESSING_ON_TIME", n.on_time, n.classified, petition_points(n.on_time, n.classified)),
            metric("PETITION_HANDLING_SATISFACTION", n.satisfied, n.classified,
                   petition_points(n.satisfied, n.classified)),
            metric("PETITION_CLASSIFICATION_STAFF", n.about_staff, n.classified, None),
        ],
        "totalPetitions": n.petitions,
        "classifiedPetitions": n.classified,
        "totalDossiers": n.dossiers,
        "averageScore": None,
    }  # fmt: skip
