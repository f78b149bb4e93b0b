"""The portal's other 766 groups, for calendar months, quarters and years, and the scores of its API to 2025.

Every figure follows from the seed, the group, the window and the unit. A unit without a case in a group has no score there
(null), one whose cases all failed has 0. The API to 2025 calls the index of online service and that of online payment by
each other's key in windows before `SWAPPED_UNTIL`: published sources disagree which is which, only the maximum tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import numpy as np

from sandbox.generator import City
from sandbox.portal import Number, Portal, two_decimals
from sandbox.registers import ROOT_DEPARTMENT, Unit
from sandbox.workdays import number

STREAM = 120
LEGACY_SERVICE = "report_tinh_766_service"
LEGACY_PROVINCE = "H29"
LEGACY_YEARS = range(2022, 2026)
SWAPPED_UNTIL = date(2025, 7, 1)
CITY_NAME = "UBND Thành phố Hồ Chí Minh"


@dataclass(frozen=True)
class Group:
    """One group of the evaluation: its index, whether its rows name their parent, its metrics with their most points."""

    path: str
    index: str
    is_tree: bool
    metrics: tuple[tuple[str, str, int], ...]

    @property
    def maximum(self) -> int:
        return sum(points for _, _, points in self.metrics)


GROUPS = (
    Group("transparency", "CKMB", False, (
        ("PROCEDURE_PUBLISHED_ON_TIME", "Tỷ lệ TTHC được công bố đúng hạn", 6),
        ("PROCEDURE_POSTED", "Tỷ lệ TTHC được công khai đầy đủ", 6),
        ("DOSSIER_SYNCED", "Tỷ lệ hồ sơ đồng bộ lên Cổng", 6),
    )),
    Group("dvc-progress-tree", "TDGQ", True, (("DOSSIER_ON_TIME", "Tỷ lệ hồ sơ giải quyết đúng hạn", 20),)),
    Group("provide-online-tree", "CLGQ", True, (
        ("ONLINE_SERVICE_PROVIDED", "Tỷ lệ TTHC cung cấp trực tuyến", 4),
        ("ONLINE_DOSSIER", "Tỷ lệ hồ sơ nộp trực tuyến", 8),
    )),
    Group("formality-online-payment-tree", "TTTT", True, (
        ("PAYMENT_PROCEDURE", "Tỷ lệ TTHC có thanh toán trực tuyến", 4),
        ("PAYMENT_DOSSIER", "Tỷ lệ hồ sơ thanh toán trực tuyến", 6),
    )),
    Group("dossier-digitized", "MDSH", False, (
        ("RESULT_DIGITIZED", "Tỷ lệ cấp kết quả điện tử", 10),
        ("DOSSIER_DIGITIZED", "Tỷ lệ số hóa hồ sơ", 6),
        ("DATA_REUSED", "Tỷ lệ khai thác, sử dụng lại dữ liệu", 6),
    )),
)  # fmt: skip
RESULTS = "service-results"  # the sum of all six
PATHS = (RESULTS, *(group.path for group in GROUPS))
SATISFACTION = ("MDHL", 18)
MAXIMA = {group.index: group.maximum for group in GROUPS} | dict([SATISFACTION])


def calendar_window(kind: object, year: int, part: int) -> tuple[date, date]:
    """First and last day of a calendar month, quarter or year; ValueError for another."""
    months = {"month": 1, "quarter": 3, "year": 12}.get(str(kind), 0)
    if not months or not 1 <= part <= 12 // months or not 2000 <= year <= 2100:
        raise ValueError(f"timeType {kind!r}, year {year}, part {part}: no such window")
    first = date(year, (part - 1) * months + 1, 1)
    after = date(year + (part * months == 12), part * months % 12 + 1, 1)
    return first, after - timedelta(days=1)


@dataclass(frozen=True)
class Score:
    """One unit in one group: numerator and denominator of each metric."""

    counts: tuple[tuple[int, int], ...]

    @property
    def has_cases(self) -> bool:
        return any(all_ for _, all_ in self.counts)


def points(group: Group, score: Score) -> Fraction | None:
    """Total of a group; null without any case. A metric without cases has no points to lose."""
    if not score.has_cases:
        return None
    shares = (Fraction(good, all_) if all_ else Fraction(1) for good, all_ in score.counts)
    return sum((share * most for share, (_, _, most) in zip(shares, group.metrics, strict=True)), Fraction(0))


class Indices:
    """Scores of the units that the portal lists."""

    def __init__(self, city: City, portal: Portal) -> None:
        self.city, self.portal = city, portal

    def scores(self, group: Group, first: date, last: date, now: int) -> dict[int, Score]:
        """Per listed unit; cases grow day by day while the window is open, and none are there before it."""
        key = [self.city.options.seed, STREAM, GROUPS.index(group), first.toordinal(), last.toordinal()]
        rng = np.random.default_rng(key)
        seen = min(max((now - number(first) * 86_400) / ((number(last) - number(first) + 1) * 86_400), 0.0), 1.0)
        shape = (len(self.portal.listed), len(group.metrics))
        cases = (rng.integers(5, 400, shape) * seen).astype(int)
        cases[rng.random(shape[0]) < 0.04] = 0
        quality = np.clip(rng.normal(0.93, 0.08, shape), 0, 1)
        quality[rng.random(shape[0]) < 0.02] = 0
        good = np.floor(cases * quality).astype(int)
        return {
            unit.index: Score(tuple(zip(good[place].tolist(), cases[place].tolist(), strict=True)))
            for place, unit in enumerate(self.portal.listed)
        }

    def answer(self, path: str, first: date, last: date, now: int, page: int, size: int) -> dict[str, Any]:
        """Body of a group: the city in `overview`, one page of units in `evaluation`."""
        if path == RESULTS:
            found = self._results(first, last, now)
        else:
            group = next(group for group in GROUPS if group.path == path)
            scores = self.scores(group, first, last, now)
            found = {index: _shown(group, score) for index, score in scores.items()}
            summed = [
                (sum(score.counts[place][0] for score in scores.values()),
                 sum(score.counts[place][1] for score in scores.values()))
                for place in range(len(group.metrics))
            ]  # fmt: skip
            found[-1] = _shown(group, Score(tuple(summed)))
        is_tree = path.endswith("-tree")
        units = self.portal.listed[(page - 1) * size : page * size]
        rows = [
            self._row(unit, (page - 1) * size + place, found[unit.index], is_tree)
            for place, unit in enumerate(units, 1)
        ]
        overview = {
            "stt": 1, "departmentId": ROOT_DEPARTMENT, "departmentName": CITY_NAME, "departmentCode": "H29",
            "departmentType": "PROVINCE", "departmentLevel": "PROVINCE", "agencyLevel": "level_1", **found[-1],
        }  # fmt: skip
        return {"code": "OK", "data": {"overview": overview, "evaluation": rows}}

    def _row(self, unit: Unit, place: int, shown: dict[str, Any], is_tree: bool) -> dict[str, Any]:
        row: dict[str, Any] = {
            "stt": place,
            "departmentId": unit.department_id,
            "departmentName": unit.portal_name,
            "departmentType": "COMMUNE_PEOPLE_COMMITTEE" if unit.is_commune else "PROVINCIAL_DEPARTMENT",
            "departmentLevel": "COMMUNE" if unit.is_commune else "PROVINCE",
            "agencyLevel": "level_2",
            **shown,
        }
        if not unit.is_commune:
            row["departmentCode"] = unit.new_code
        if is_tree:
            row |= {"parentId": ROOT_DEPARTMENT, "hasChildren": False}
        return row

    def _results(self, first: date, last: date, now: int) -> dict[int, dict[str, Any]]:
        """All six indices of each unit, and of the city the mean of those that have a score."""
        per_group = {g.index: {i: points(g, s) for i, s in self.scores(g, first, last, now).items()} for g in GROUPS}
        counts = self.portal.counts(first, last, now)
        per_group[SATISFACTION[0]] = {index: None if n.broken else n.points for index, n in counts.items()}
        per_group_city = {}
        for index, found in per_group.items():
            values = [value for value in found.values() if value is not None]
            per_group_city[index] = sum(values, Fraction(0)) / len(values) if values else None
        shown = {unit.index: {index: per_group[index][unit.index] for index in MAXIMA} for unit in self.portal.listed}
        shown[-1] = per_group_city
        return {unit: _summary(values) for unit, values in shown.items()}

    # -- to 2025 -----------------------------------------------------------------------------------------------------

    def legacy(self, first: date, last: date) -> list[dict[str, Any]]:
        """`data` of report_tinh_766_service: the city and its units, the six keys and their sum."""
        kind = [self.city.options.seed, STREAM + 1, first.toordinal(), last.toordinal()]
        rng = np.random.default_rng(kind)
        keys = list(MAXIMA)
        share = np.clip(rng.normal(0.9, 0.08, (len(self.portal.listed) + 1, len(keys))), 0, 1)
        paid = rng.random(len(share)) >= 0.04  # the others have no case of payment: null
        rows = []
        names = [(ROOT_DEPARTMENT, CITY_NAME), *((u.department_id, u.portal_name) for u in self.portal.listed)]
        for place, (id_, name) in enumerate(names):
            values: dict[str, Number | None] = {
                key: two_decimals(Fraction(round(float(share[place, at]) * MAXIMA[key] * 100), 100))
                for at, key in enumerate(keys)
            }
            if place and not paid[place]:
                values["TTTT"] = None
            total = sum((Fraction(str(value)) for value in values.values() if value is not None), Fraction(0))
            if last < SWAPPED_UNTIL:
                values["CLGQ"], values["TTTT"] = values["TTTT"], values["CLGQ"]
            order = ("CKMB", "TDGQ", "TTTT", "CLGQ", "MDHL", "MDSH")
            rows.append({"departmentId": id_, "departmentName": name, **{key: values[key] for key in order},
                         "TONG_SCORE": two_decimals(total)})  # fmt: skip
        return rows


def _shown(group: Group, score: Score) -> dict[str, Any]:
    """Score and metrics as the portal prints them."""
    total = points(group, score)
    metrics = []
    for (code, name, most), (good, all_) in zip(group.metrics, score.counts, strict=True):
        ratio = Fraction(good, all_) if all_ else None
        metrics.append({
            "code": code, "name": name, "numerator": good, "denominator": all_,
            "ratio": None if ratio is None else two_decimals(100 * ratio),
            "score": None if ratio is None else two_decimals(ratio * most), "maxScore": most,
        })  # fmt: skip
    return _total(total, group.maximum) | {"metrics": metrics}


def _summary(values: dict[str, Fraction | None]) -> dict[str, Any]:
    known = [value for value in values.values() if value is not None]
    metrics = [
        {"code": index, "name": index, "numerator": None, "denominator": None, "ratio": None,
         "score": None if value is None else two_decimals(value), "maxScore": MAXIMA[index]}
        for index, value in values.items()
    ]  # fmt: skip
    return _total(sum(known, Fraction(0)) if known else None, sum(MAXIMA.values())) | {"metrics": metrics}


def _total(total: Fraction | None, maximum: int) -> dict[str, Any]:
    return {
        "totalScore": None if total is None else two_decimals(total),
        "totalMaxScore": maximum,
        "ratio": None if total is None else two_decimals(100 * total / maximum),
        "scoreDelta": None,
        "averageScore": None,
    }
