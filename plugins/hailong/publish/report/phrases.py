"""What the report says about one unit or group, the same in every file: verdicts, flags, reasons, K as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from hailong.publish.report import words
from hailong.publish.report.data import INDICES, OF_LATER, Group, Index, Report, Row, Unit

BEST = 5
VERDICTS = ("satisfied", "not_satisfied", "undetermined")


@dataclass(frozen=True)
class Counts:
    """How many units of a group there are of each verdict and state, and their highest, median and lowest K."""

    units: int
    verdicts: tuple[int, int, int]
    incomplete: int
    not_applicable: int
    clipped: int
    k: tuple[Decimal, Decimal, Decimal] | None

    @property
    def states(self) -> tuple[int, ...]:
        """Every unit once."""
        return (*self.verdicts, self.incomplete, self.not_applicable)


@dataclass(frozen=True)
class Pool:
    """Indices over a group: A, B, C are sums over sums, D a median, E a share. None where no unit is scored."""

    dossiers: Decimal | None
    ratings: Decimal | None
    good: Decimal | None
    a: Decimal | None
    b: Decimal | None
    c: Decimal | None
    d: Decimal | None
    e: Decimal | None


def counts(units: Sequence[Unit]) -> Counts:
    totals = sorted(unit.k for unit in units if unit.k is not None)
    return Counts(
        units=len(units),
        verdicts=tuple(sum(unit.verdict == verdict for unit in units) for verdict in VERDICTS),  # type: ignore[arg-type]
        incomplete=sum(unit.status == "incomplete" for unit in units),
        not_applicable=sum(unit.status in ("not_applicable", "before_rule") for unit in units),
        clipped=sum(unit.window_clipped is not None and unit.k is not None for unit in units),
        k=(totals[-1], Decimal(median(totals)), totals[0]) if totals else None,
    )


class Phrases:
    """The words and figures of one edition."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.threshold = Decimal(report.parameter("k_threshold"))
        self.names = {"unknown": "Không rõ cơ quan", **{unit.unit_code: unit.unit_name for unit in report.units}}

    def name(self, unit_code: str | None) -> str:
        """A unit's name; its code where the edition has no such unit."""
        return words.NONE if unit_code is None else self.names.get(unit_code, unit_code)

    def in_order(self, rows: Iterable[Row]) -> list[Row]:
        """Rows by unit in the order of the ranking, those of no unit last; within a unit as they came."""
        place = {unit.unit_code: number for number, unit in enumerate(self.report.units)}
        return sorted(
            rows, key=lambda row: (place.get(row.get("unit_code") or "", len(place)), row.get("unit_code") or "")
        )

    def state(self, code: str | None) -> str | None:
        """A verdict, or the status of what has none; None where there was no row."""
        return None if code is None else self.verdict(code) or words.STATUSES.get(code, code)

    def is_few(self, ratings: Decimal | int | None) -> bool:
        """Whether so many ratings are too few for anybody but the City Office (Article 3.4); none is not few."""
        return ratings is not None and 0 < ratings < int(self.report.parameter("c_min_ratings"))

    def stands(self, verdict: str | None, status: str | None, reason: str | None) -> str:
        """The verdict; why there is none; a dash where there is no row."""
        if verdict is not None or status is None:
            return self.verdict(verdict) or words.NONE
        return words.lacking(reason) or words.named(words.STATUSES, status)

    def absent(self, annex: str) -> str:
        """Why an annex says nothing. It never says nought."""
        if not self.report.has_annexes:
            return words.NO_ANNEXES
        if self.report.predates(annex):
            return words.NO_SUCH_ANNEX
        return words.NOTHING_LATER if annex in OF_LATER else words.EMPTY_ANNEX

    def recomputed(self) -> str:
        """What an earlier period beside this one was worked out from, where it is not read from its edition."""
        return (
            f"Số của kỳ trước được tính lại từ số liệu đến đợt nạp số {self.report.header.as_of_batch}, có thể khác ấn bản "
            "đã công bố của kỳ đó."
        )

    def pool(self, units: Sequence[Unit]) -> Pool:
        a, b, c = (self._sums(units, index) for index in "ABC")
        d = sorted(unit.d for unit in units if unit.d is not None)
        e = [unit.e for unit in units if unit.e is not None]
        return Pool(
            a[1], c[1], c[0], _quotient(a), _quotient(b), _quotient(c),
            Decimal(median(d)) if d else None, sum(e, Decimal(0)) / len(e) if e else None,
        )  # fmt: skip

    def _sums(self, units: Sequence[Unit], index: str) -> tuple[Decimal | None, Decimal | None]:
        rows = [self.report.indices.get(unit.unit_code, {}).get(index) for unit in units]
        scored = [row for row in rows if row is not None and row.status == "scored"]
        if not scored:
            return None, None
        return (
            sum((row.numerator or Decimal(0) for row in scored), Decimal(0)),
            sum((row.denominator or Decimal(0) for row in scored), Decimal(0)),
        )

    def maximum(self, index: str) -> Decimal:
        return Decimal(self.report.parameter(f"{index.lower()}_max"))

    def loss(self, unit: Unit) -> str | None:
        """The index that lost most against its maximum, and how many points."""
        lost = self.lost(unit)
        return f"{lost[1]}: −{words.number(lost[0])}" if lost and lost[0] > 0 else None

    def lost(self, unit: Unit) -> tuple[Decimal, str] | None:
        """Points and index; None for a unit without any index."""
        lost = [(self.maximum(index) - value, index) for index, value in unit.values.items() if value is not None]
        return max(lost, key=lambda pair: (pair[0], pair[1] == "D"), default=None)

    def flags(self, unit: Unit) -> str:
        """What to bear in mind about a row; why there is no K."""
        clipped = words.clipped(unit.window_clipped)
        flags = (
            f"Kỳ không trọn ({words.listed(clipped).lower()}), không xếp hạng" if clipped else "",
            "Sát ngưỡng" if unit.near_threshold else "",
            "Mẫu nhỏ" if unit.small_sample else "",
            "Không có PAKN" if unit.no_petitions else "",
        )
        return words.listed((*self.lacks(unit), *flags))

    def lacks(self, unit: Unit) -> Iterable[str]:
        """Why a unit has no K, index by index."""
        if unit.k is not None:
            return
        if unit.status != "incomplete":
            yield words.reason(unit.status_reason) or words.STATUSES.get(unit.status, unit.status)
            return
        for row in self.missing_indices(unit):
            why = words.reason(row.status_reason) or words.STATUSES.get(row.status, row.status)
            yield f"Thiếu {row.index_code}: {why}"

    def missing_indices(self, unit: Unit) -> Iterable[Index]:
        for index in INDICES:
            row = self.report.indices.get(unit.unit_code, {}).get(index)
            if row is not None and row.status != "scored":
                yield row

    def missing(self) -> Iterable[tuple[Group, Unit, Index | None]]:
        """What stands between units and their K: a row per index; one without index where a unit owes no K."""
        for group in self.report.groups:
            for unit in group.units:
                if unit.k is not None:
                    continue
                if unit.status != "incomplete":
                    yield group, unit, None
                    continue
                for row in self.missing_indices(unit):
                    yield group, unit, row

    def verdict(self, code: str | None) -> str | None:
        """The verdict in words; at the threshold the Decision is silent, so the threshold is named."""
        return verdict(code, self.threshold)

    def verdict_whatever_c(self, row: Row) -> str | None:
        """The verdict of a row of a, b, d, e and verdict, where it is the same for every C; None where it would tell C."""
        values = [row.get(name) for name in "abde"]
        if row.get("verdict") is None or any(value is None for value in values):
            return None
        least = sum((Decimal(value) for value in values if value is not None), Decimal(0))
        if least > self.threshold:
            return "satisfied"
        return "not_satisfied" if least + self.maximum("C") < self.threshold else None

    def conclusion(self, unit: Unit) -> str:
        if unit.status == "incomplete":
            return words.BOUNDS.get(unit.verdict_bound or "", "")
        return words.STATUSES.get(unit.status, unit.status)

    def k(self, k: Decimal | None) -> str:
        """K with as many decimals as it needs not to look like the threshold; a dash where there is none."""
        return total(k, self.threshold)


def verdict(code: str | None, threshold: Decimal) -> str | None:
    """A verdict in words; at the threshold the Decision is silent, so the threshold is named."""
    if code == "undetermined":
        return f"{words.VERDICTS[code]} (K = {words.short(threshold)})"
    return words.VERDICTS.get(code or "")


def total(k: Decimal | None, threshold: Decimal) -> str:
    """K with as many decimals as it needs not to look like the threshold; a dash where there is none."""
    return words.NONE if k is None else words.number(k, words.k_places(k, threshold))


def extremes(group: Group) -> tuple[tuple[Unit, ...], tuple[Unit, ...]]:
    """The first and the last of a group, with all who share the rank of the last one taken; a unit is in one only."""
    ranked = group.ranked
    each = min(BEST, len(ranked) // 2 or 1)
    best = tuple(unit for unit in ranked if (unit.rank_in_group or 0) <= (ranked[each - 1].rank_in_group or 0))
    rest = tuple(reversed(ranked[len(best) :]))
    worst = tuple(u for u in rest if (u.rank_in_group or 0) >= (rest[min(each, len(rest)) - 1].rank_in_group or 0))
    return best, worst


def _quotient(sums: tuple[Decimal | None, Decimal | None]) -> Decimal | None:
    return sums[0] / sums[1] if sums[0] is not None and sums[1] else None
