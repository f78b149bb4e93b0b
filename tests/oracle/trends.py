"""Units through time, computed a second time: who may be compared with whom, what one case could have done, pooled sums.

Promise: territories are followed backwards day by day from a window; whether one case explains a change is found by trying
every case more, fewer or judged otherwise, with exact fractions. Nothing here knows how the warehouse does it.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product
from pathlib import Path

from tests.oracle.scorer import (
    DOSSIERS_RATED,
    HANDLED_WELL,
    INDICES,
    ON_TIME,
    ONE_DAY,
    SATISFACTION_GROUP,
    Metric,
    Period,
    Policy,
    PortalRow,
    Row,
    Scorer,
    Unit,
    k_with_missing,
    metric_of,
    petition_weight,
    rounded,
)

SEEDS = Path(__file__).resolve().parents[2] / "dbt_project" / "seeds"
COMPARISONS = ("previous", "year_before")
TREND_COLUMNS = (
    "numerator", "denominator", "value", "status", "policy_id", "interval_low", "interval_high",
    *(
        f"{comparison}_{what}"
        for comparison in COMPARISONS
        for what in (
            "period_code", "unit_code", "numerator", "denominator", "value", "change", "within_one_case", "stopped_by",
        )
    ),
)  # fmt: skip
NOTE_COLUMNS = (
    "dossiers", "volume_class", "predecessors", "is_unbroken", "successors", "taken_over", "taken_over_overdue",
)  # fmt: skip
ROLLUP_KEY = ("period_code", "scope_kind", "scope_code", "part", "measure")
ROLLUP_COLUMNS = ("numerator", "denominator", "value", "units")


@dataclass(frozen=True)
class Passing:
    """The register says: this territory came from that unit, wholly or in part; without a day, on the successor's first."""

    successor: str
    predecessor: str
    extent: str = "full"
    day: date | None = None


@dataclass(frozen=True)
class Told:
    """A seed of volume classes and the width of the interval."""

    classes: tuple[tuple[str, str, int], ...]  # kind of period, class, from how many dossiers
    z: Decimal


def told() -> Told:
    """As the seeds say."""
    with (SEEDS / "volume_class.csv").open(encoding="utf-8", newline="") as lines:
        classes = tuple(
            (row["period_kind"], row["volume_class"], int(row["from_dossiers"])) for row in csv.DictReader(lines)
        )
    with (SEEDS / "trend_parameter.csv").open(encoding="utf-8", newline="") as lines:
        values = {row["parameter"]: row["value"] for row in csv.DictReader(lines)}
    return Told(classes, Decimal(values["interval_z"]))


# ---------------------------------------------------------------- who held a territory


@dataclass(frozen=True)
class Held:
    """Days on which one unit held the territory that is being followed back."""

    unit_code: str
    since: date
    until: date  # exclusive


class Land:
    """Which unit held which territory when."""

    def __init__(self, units: Iterable[Unit], passings: Iterable[Passing]) -> None:
        self.units = {unit.unit_code: unit for unit in units}
        merged: dict[tuple[str, str, date], bool] = {}
        for passing in passings:
            if passing.successor == passing.predecessor or passing.successor not in self.units:
                continue
            day = passing.day or self.units[passing.successor].valid_from
            key = (passing.successor, passing.predecessor, day)
            merged[key] = merged.get(key, True) and passing.extent == "full"
        self.passed = merged

    def extent(self, key: tuple[str, str, date]) -> str:
        return "full" if self.passed[key] else "partial"

    def heir_to(self, unit_code: str, day: date) -> list[tuple[str, str, date]]:
        return [key for key in self.passed if key[0] == unit_code and key[2] == day]

    def unbroken(self, key: tuple[str, str, date]) -> bool:
        """Exactly one passed on exactly its own territory."""
        successor, predecessor, day = key
        old = self.units.get(predecessor)
        alone = len(self.heir_to(successor, day)) == 1
        only = sum(1 for other in self.passed if other[1] == predecessor and other[2] == day) == 1
        return (
            self.passed[key]
            and alone
            and only
            and old is not None
            and old.valid_to == day
            and self.units[successor].valid_from == day
        )

    def back(self, unit_code: str, last_day: date) -> tuple[list[Held], bool]:
        """Who held what the unit held on a day, newest first, and whether before that it lay otherwise."""
        found: list[Held] = []
        until = last_day + ONE_DAY
        while True:
            unit = self.units[unit_code]
            changes = [
                day
                for successor, predecessor, day in self.passed
                if unit_code in (successor, predecessor) and unit.valid_from < day < until
            ]
            if changes:
                found.append(Held(unit_code, max(changes), until))
                return found, True
            found.append(Held(unit_code, unit.valid_from, until))
            heirs = [key for key in self.passed if key[0] == unit_code and key[2] <= unit.valid_from]
            before = [key for key in heirs if key[2] == unit.valid_from and self.unbroken(key)]
            if not before:
                return found, bool(heirs)
            unit_code, until = before[0][1], unit.valid_from


# ---------------------------------------------------------------- what one case could have done


def otherwise(n: Fraction, d: Fraction) -> list[Fraction]:
    """Shares of n points over d records with one record more, fewer, or judged otherwise (by a point at most)."""
    found = [n / (d + 1), (n + 1) / (d + 1)]
    if d > 0:
        found += [min(n + 1, d) / d, max(n - 1, Fraction(0)) / d]
    if d > 1:
        found += [(n - x) / (d - 1) for x in (0, 1) if 0 <= n - x <= d - 1]
    return found


Counts = tuple[int, int]


def printed(counts: Counts, is_dossier: bool) -> Fraction:
    """A metric of the portal as it prints it."""
    n, d = counts
    if d == 0:
        return Fraction(0 if is_dossier else 6)
    score = Fraction(6 * n, d)
    return Fraction(rounded(min(Fraction(6), score / Fraction(9, 10)) if is_dossier else score, 2))


def changes_of(counts: Sequence[Counts]) -> Iterator[list[Counts]]:
    """The same case in one or two metrics: one more good or bad, one fewer, one judged otherwise in them."""
    yield [(n, d + 1) for n, d in counts]
    yield [(n + 1, d + 1) for n, d in counts]
    if all(d > n for n, d in counts):
        yield [(n, d - 1) for n, d in counts]
    if all(n > 0 for n, _ in counts):
        yield [(n - 1, d - 1) for n, d in counts]
    yield [(min(n + 1, d), d) for n, d in counts]
    yield [(max(n - 1, 0), d) for n, d in counts]


def counts_of(row: PortalRow | None, code: str) -> Counts | None:
    metric: Metric | None = metric_of(row, code)
    if metric is None or metric.numerator is None or metric.denominator is None:
        return None
    return metric.numerator, metric.denominator


def portal_changes(row: PortalRow | None, policy: Policy) -> list[Fraction] | None:
    """What one petition or one rated dossier would add to D; None when the portal does not tell what it counted."""
    petitions = [counts_of(row, ON_TIME), counts_of(row, HANDLED_WELL)]
    known = [counts for counts in petitions if counts is not None]
    if len(known) < 2:
        return None

    def score(counts: Sequence[Counts]) -> Fraction:
        return sum((printed(one, False) for one in counts), Fraction(0))

    found = [petition_weight(policy) * (score(changed) - score(known)) for changed in changes_of(known)]
    if policy.parameters["d_definition"] == "portal_group":
        rated = counts_of(row, DOSSIERS_RATED)
        if rated is None:
            return None
        found += [printed(changed[0], True) - printed(rated, True) for changed in changes_of([rated])]
    return found


@dataclass(frozen=True)
class Measured:
    """A value with everything that one case could make of it; None: its cases are not told."""

    value: Fraction
    tried: list[Fraction] | None
    posted: object = None  # E under a K: no case, so it explains nothing


def explained(now: Measured, then: Measured) -> bool | None:
    """Whether one case on either side makes the change vanish or turn."""
    if now.value == then.value:
        return True
    if None not in (now.posted, then.posted) and now.posted != then.posted:
        return False
    is_fall = now.value < then.value

    def passes(tried: list[Fraction] | None, goal: Fraction, is_up: bool) -> bool | None:
        return None if tried is None else any(value >= goal if is_up else value <= goal for value in tried)

    answers = (passes(now.tried, then.value, is_fall), passes(then.tried, now.value, not is_fall))
    return True if True in answers else (None if None in answers else False)


def wilson(n: Fraction, d: Fraction, z: Decimal) -> tuple[Decimal, Decimal]:
    """Wilson's interval of a share, six decimals."""
    with localcontext() as context:
        context.prec = 80
        records = Decimal(d.numerator) / d.denominator
        share = Decimal(n.numerator) / n.denominator / records
        centre = share + z * z / (2 * records)
        half = z * (share * (1 - share) / records + z * z / (4 * records * records)).sqrt()
        bounds = [(centre + sign * half) / (1 + z * z / records) for sign in (-1, 1)]
        low, high = (rounded(Fraction(bound), 6) for bound in bounds)
        return low, high


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class Scored:
    """One row of index_score or k_score."""

    row: Row
    measured: Measured | None
    scored_indices: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[Fraction, Fraction] | None:
        n, d = self.row.get("numerator"), self.row.get("denominator")
        return None if n is None or d is None else (Fraction(str(n)), Fraction(str(d)))


class Trends:
    """Trends, notes and roll-ups of a scorer's world, given what the register says of successions."""

    def __init__(self, scorer: Scorer, passings: Sequence[Passing], periods: Sequence[Period], seeds: Told) -> None:
        self.scorer = scorer
        self.seeds = seeds
        self.periods = {period.period_code: period for period in periods}
        self.land = Land(scorer.world.units, passings)
        self.portal = scorer.portal_rows()
        self.index_rows, self.k_rows = scorer.score(periods)
        self.k_by_unit = {(str(row["period_code"]), str(row["unit_code"])): row for row in self.k_rows}
        self.scored = self._scored()

    def _scored(self) -> dict[tuple[str, str, str], Scored]:
        found: dict[tuple[str, str, str], Scored] = {}
        for row in self.index_rows:
            key = (str(row["period_code"]), str(row["unit_code"]), str(row["index_code"]))
            found[key] = Scored(row, self._measured(row) if row["status"] == "scored" else None)
        for (period_code, unit_code), row in self.k_by_unit.items():
            own = {index: found[period_code, unit_code, index] for index in INDICES}
            there = tuple(index for index in INDICES if own[index].measured is not None)
            found[period_code, unit_code, "K"] = Scored(
                {**row, "index_code": "K", "value": row["k"], "numerator": None, "denominator": None},
                self._total(row, own) if row["status"] == "scored" else None,
                there,
            )
        return found

    def _measured(self, row: Row) -> Measured:
        value, index = Fraction(str(row["value"])), row["index_code"]
        if index in ("A", "B", "C"):
            n, d = Fraction(str(row["numerator"])), Fraction(str(row["denominator"]))
            return Measured(n / d if d else value, otherwise(n, d))
        if index == "E":
            return Measured(value, None)
        period = self.periods[str(row["period_code"])]
        portal_row = self.portal.get((str(row["unit_code"]), period.start, period.end - ONE_DAY))
        steps = portal_changes(portal_row, self.scorer.policy_of(period))
        return Measured(value, None if steps is None else [value + step for step in steps])

    def _total(self, row: Row, own: Mapping[str, Scored]) -> Measured:
        policy = self.scorer.policy_of(self.periods[str(row["period_code"])])
        measured = {index: one.measured for index, one in own.items()}
        values = {index: one.value if one else None for index, one in measured.items()}
        k = Fraction(str(row["k"]))
        d = measured["D"]
        if d is not None and d.tried is None:
            return Measured(k, None, row["e"])

        def tried(index: str) -> list[Fraction | None]:
            one = measured[index]
            return [None] if one is None else [one.value, *(one.tried or [])]

        changed = [{**values, "A": a, "B": b} for a, b in product(tried("A"), tried("B"))]
        changed += [{**values, index: value} for index in "CD" for value in tried(index)]
        found = {k_with_missing(one, policy, policy.parameters["missing_index"]) for one in changed}
        return Measured(k, [value for value in found if value is not None], row["e"])

    # -- trend

    def rows(self) -> list[Row]:
        """Rows of trend."""
        found = []
        for (period_code, unit_code, index), scored in self.scored.items():
            row: Row = {
                "period_code": period_code, "unit_code": unit_code, "index_code": index,
                **{name: scored.row[name] for name in ("numerator", "denominator", "value", "status", "policy_id")},
                "interval_low": None, "interval_high": None,
            }  # fmt: skip
            counts = scored.counts
            if index in "ABC" and scored.measured and counts and counts[1]:
                row["interval_low"], row["interval_high"] = wilson(*counts, self.seeds.z)
            for comparison in COMPARISONS:
                told = self._compared(scored, self._earlier(self.periods[period_code], comparison))
                row |= {f"{comparison}_{name}": value for name, value in told.items()}
            found.append(row)
        return found

    def _earlier(self, period: Period, comparison: str) -> Period | None:
        for other in self.periods.values():
            if other.kind != period.kind:
                continue
            if comparison == "previous" and other.end == period.start:
                return other
            if comparison == "year_before" and a_year_before(period.start) == other.start:
                return other
        return None

    def _compared(self, scored: Scored, earlier: Period | None) -> Row:
        row = scored.row
        period_code, unit_code, index = (str(row[name]) for name in ("period_code", "unit_code", "index_code"))
        mine = self.k_by_unit[period_code, unit_code]
        nothing: Row = dict.fromkeys(("numerator", "denominator", "value", "change", "within_one_case"))
        held, was_otherwise = self._comparable(mine, earlier)
        told = {
            "period_code": earlier.period_code if earlier else None,
            "unit_code": held,
            **nothing,
            "stopped_by": None,
        }
        if scored.measured is None:
            return {**told, "stopped_by": "not_scored"}
        if mine["window_clipped"]:
            return {**told, "stopped_by": "clipped"}
        if earlier is None:
            return {**told, "stopped_by": "no_earlier_period"}
        if held is None:
            return {**told, "stopped_by": "succession_broken" if was_otherwise else "no_earlier_row"}
        theirs = self.k_by_unit[earlier.period_code, held]
        then = self.scored[earlier.period_code, held, index]
        if theirs["policy_id"] != mine["policy_id"]:
            return {**told, "stopped_by": "policy_changed"}
        if then.measured is None:
            return {**told, "stopped_by": "earlier_not_scored"}
        if theirs["window_clipped"]:
            return {**told, "stopped_by": "earlier_clipped"}
        if then.scored_indices != scored.scored_indices:
            return {**told, "stopped_by": "indices_differ"}
        return {
            **told,
            "numerator": then.row["numerator"], "denominator": then.row["denominator"], "value": then.row["value"],
            "change": Decimal(str(row["value"])) - Decimal(str(then.row["value"])),
            "within_one_case": explained(scored.measured, then.measured),
        }  # fmt: skip

    def _comparable(self, mine: Row, earlier: Period | None) -> tuple[str | None, bool]:
        """The unit of the earlier period that held the same territory, and whether the territory was another then."""
        start, end = mine["window_start"], mine["window_end"]
        assert isinstance(start, date) and isinstance(end, date)
        held, was_otherwise = self.land.back(str(mine["unit_code"]), end - ONE_DAY)
        if start < held[0].since:
            return None, True
        if earlier is None:
            return None, False
        for one in held:
            row = self.k_by_unit.get((earlier.period_code, one.unit_code))
            if row and one.since <= row["window_start"] and row["window_end"] <= one.until:  # type: ignore[operator]
                return one.unit_code, False
        return None, was_otherwise and earlier.start < held[-1].since

    # -- notes

    def notes(self, last_day: date) -> list[Row]:
        """Rows of unit_note; `last_day` is the last that was read."""
        lives: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for life in self.scorer.lives(last_day):
            first = self.land.units[life.unit_code].valid_from
            lives[life.unit_code].append((life.is_open_at(first), life.is_overdue_at(first)))
        rows = []
        for (period_code, unit_code), row in self.k_by_unit.items():
            end = row["window_end"]
            assert isinstance(end, date)
            dossiers = self.scored[period_code, unit_code, "A"].row["denominator"]
            taken = sorted((key for key in self.land.passed if key[0] == unit_code and key[2] < end), key=_in_order(1))
            given = sorted((key for key in self.land.passed if key[1] == unit_code and key[2] <= end), key=_in_order(0))
            rows.append({
                "period_code": period_code, "unit_code": unit_code, "dossiers": dossiers,
                "volume_class": self._class(period_code, dossiers),
                "predecessors": ", ".join(f"{key[1]} {self.land.extent(key)}" for key in taken) or None,
                "is_unbroken": all(map(self.land.unbroken, taken)) if taken else None,
                "successors": ", ".join(f"{key[0]} {self.land.extent(key)}" for key in given) or None,
                "taken_over": sum(is_open for is_open, _ in lives[unit_code]),
                "taken_over_overdue": sum(is_late for _, is_late in lives[unit_code]),
            })  # fmt: skip
        return rows

    def _class(self, period_code: str, dossiers: object) -> str | None:
        if dossiers is None:
            return None
        kind = self.periods[period_code].kind
        reached = [(bound, name) for of, name, bound in self.seeds.classes if of == kind and bound <= dossiers]  # type: ignore[operator]
        return max(reached)[1]

    # -- roll-ups

    def rollups(self) -> list[Row]:
        """Rows of rollup."""
        members: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
        for (period_code, unit_code), row in self.k_by_unit.items():
            unit = self.land.units[unit_code]
            part = "clipped" if row["window_clipped"] else "whole"
            scopes = [("city", "city"), ("peer_group", unit.peer_group)]
            volume = self._class(period_code, self.scored[period_code, unit_code, "A"].row["denominator"])
            scopes += [("volume_class", volume)] if volume else []
            parent = unit.parent_unit_code or unit_code
            if any(
                self.land.units[other].parent_unit_code == parent
                for code, other in self.k_by_unit
                if code == period_code
            ):
                scopes.append(("parent", parent))
            for kind, code in scopes:
                members[period_code, kind, code, part].append(unit_code)
        rows = [self._city_row(period) for period in self.periods.values()]
        for key, units in members.items():
            rows += [
                dict(zip(ROLLUP_KEY, (*key, measure), strict=True)) | told
                for measure, told in self._pooled(key[0], units)
            ]
        return rows

    def _city_row(self, period: Period) -> Row:
        newest = None
        for batch in self.scorer.world.batches:
            for row in batch.portal_rows:
                is_city = row.is_overview and row.group_code == SATISFACTION_GROUP
                if is_city and (row.window_from, row.window_to) == (period.start, period.end - ONE_DAY):
                    newest = row
        score = newest.total_score if newest else None
        return {
            "period_code": period.period_code, "scope_kind": "city", "scope_code": "city", "part": "whole", "measure": "D",
            "numerator": score, "denominator": newest.total_max_score if newest else None, "value": score, "units": None,
        }  # fmt: skip

    def _pooled(self, period_code: str, units: Sequence[str]) -> Iterator[tuple[str, Row]]:
        def share(n: Fraction, d: Fraction, of: int) -> Row:
            value = rounded(n / d, 15) if d else None
            return {"numerator": Decimal(n.numerator) / n.denominator, "denominator": d, "value": value, "units": of}

        for index in "ABC":
            own = [self.scored[period_code, unit, index] for unit in units]
            counts = [one.counts for one in own if one.counts is not None]
            n, d = (sum((pair[place] for pair in counts), Fraction(0)) for place in (0, 1))
            yield index, share(n, d, sum(one.measured is not None for one in own))
        posted = [self.scored[period_code, unit, "E"].row["value"] for unit in units]
        scored = [value for value in posted if value is not None]
        yield "E", share(Fraction(sum(value == 1 for value in scored)), Fraction(len(scored)), len(scored))
        totals = [self.k_by_unit[period_code, unit] for unit in units]
        for status in ("before_rule", "not_applicable", "incomplete", "scored"):
            count = sum(row["status"] == status for row in totals)
            yield f"status_{status}", share(Fraction(count), Fraction(len(totals)), len(totals))
        with_k = sorted(Fraction(str(row["k"])) for row in totals if row["k"] is not None)
        for verdict in ("satisfied", "not_satisfied", "undetermined"):
            count = sum(row["verdict"] == verdict for row in totals)
            yield f"verdict_{verdict}", share(Fraction(count), Fraction(len(with_k)), len(with_k))
        for name, quarter in (("k_q1", 1), ("k_median", 2), ("k_q3", 3)):
            # The lowest K that so many quarters of the units do not exceed.
            reached = [k for k in with_k if 4 * sum(other <= k for other in with_k) >= quarter * len(with_k)]
            value = rounded(reached[0], 15) if reached else None
            yield name, {"numerator": None, "denominator": None, "value": value, "units": len(with_k)}


def a_year_before(day: date) -> date:
    return day.replace(year=day.year - 1)


def _in_order(place: int):  # type: ignore[no-untyped-def]
    return lambda key: (key[2], key[place].encode())
