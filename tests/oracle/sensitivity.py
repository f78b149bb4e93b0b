"""What becomes of indices, K, verdict and rank when the open texts of the Decision are read otherwise, by trying it.

Promise: every index under every set of readings is scored by changing the policy's parameters and scoring again; K is then added
up for every combination, once for those whose five indices are the same. Nothing is derived from other results, nothing is left
out because it could not matter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from tests.oracle.scorer import (
    INDICES,
    Period,
    Policy,
    Row,
    Score,
    Scorer,
    Unit,
    Window,
    k_with_missing,
    not_owed,
    petitions,
    posting,
    quotient,
    rounded,
    unit_bar,
    verdict_of,
    window_of,
)

Changes = tuple[tuple[str, str], ...]  # sorted pairs of parameter and value; empty: the policy's own


@dataclass(frozen=True)
class Reading:
    """Another value of a parameter, as in the seed scoring_reading."""

    parameter: str
    value: str
    kind: str
    indices: tuple[str, ...]
    is_computed: bool = True


def told(changes: Changes) -> str:
    return " + ".join(f"{name}={value}" for name, value in changes) or "own"


def alternatives(policy: Policy, readings: Iterable[Reading]) -> list[Reading]:
    """Readings that differ from what the policy says and can be computed for it."""
    found = []
    for reading in readings:
        own = policy.parameters[reading.parameter]
        if not reading.is_computed or own == reading.value:
            continue
        if reading.parameter == "result_statuses" and not set(reading.value.split(",")) <= set(own.split(",")):
            continue
        found.append(reading)
    return found


def legal_sets(policy: Policy, readings: Iterable[Reading], index: str) -> list[Changes]:
    """Every combination of legal readings of the parameters that touch an index (or K)."""
    values: dict[str, list[str]] = defaultdict(list)
    for reading in alternatives(policy, readings):
        if reading.kind == "legal_gap" and index in reading.indices:
            values[reading.parameter].append(reading.value)
    choices = [[None, *((name, value) for value in of_one)] for name, of_one in sorted(values.items())]
    return [tuple(change for change in chosen if change) for chosen in product(*choices)]


def other_sets(policy: Policy, readings: Iterable[Reading]) -> list[Reading]:
    return [reading for reading in alternatives(policy, readings) if reading.kind != "legal_gap"]


def changed(policy: Policy, changes: Changes) -> Policy:
    return replace(policy, parameters={**policy.parameters, **dict(changes)})


@dataclass(frozen=True)
class Place:
    """A unit in a period under its policy."""

    period: Period
    unit: Unit
    policy: Policy
    window: Window


@dataclass(frozen=True)
class Combination:
    """A set for each of the five indices, by its number among the sets of that index, and how many readings they are together."""

    numbers: tuple[int, ...]
    readings: int


@dataclass
class Values:
    """A unit's indices under every set: which of its distinct values each set gives, by number, which is compared faster."""

    numbers: list[list[int]]
    distinct: list[list[Fraction | None]]

    def key(self, combination: Combination) -> tuple[int, ...]:
        a, b, c, d, e = combination.numbers
        of_a, of_b, of_c, of_d, of_e = self.numbers
        return of_a[a], of_b[b], of_c[c], of_d[d], of_e[e]

    def of(self, key: tuple[int, ...]) -> dict[str, Fraction | None]:
        return {index: self.distinct[place][key[place]] for place, index in enumerate(INDICES)}


class Sensitivity:
    """Scores a scorer's world again under the readings of its policies."""

    def __init__(self, scorer: Scorer, readings: Sequence[Reading]) -> None:
        self.scorer = scorer
        self.readings = readings
        self.portal, self.checks = scorer.portal_rows(), scorer.checks()
        self._events: dict[tuple[str, Changes], Mapping[str, Mapping[str, Sequence]]] = {}
        self._combinations: dict[str, list[Combination]] = {}
        self._scores: dict[tuple[str, str, str, Changes], Score] = {}

    def places(self, periods: Iterable[Period]) -> Iterator[Place]:
        for period in periods:
            policy = self.scorer.policy_of(period)
            for unit in self.scorer.world.units:
                window = window_of(period, unit, policy)
                if unit.is_scored and window and not window.before_policy:
                    yield Place(period, unit, policy, window)

    def score(self, place: Place, index: str, changes: Changes) -> Score:
        """One index of one unit under a set of readings."""
        key = (place.period.period_code, place.unit.unit_code, index, changes)
        if key not in self._scores:
            self._scores[key] = self._score(place, index, changed(place.policy, changes), changes)
        return self._scores[key]

    def _score(self, place: Place, index: str, policy: Policy, changes: Changes) -> Score:
        barred = not_owed(index, place.unit, place.window, policy)
        if barred:
            return barred
        if index in "ABC":
            if (policy.policy_id, changes) not in self._events:
                self._events[policy.policy_id, changes] = self.scorer.events(policy.parameters)
            events = self._events[policy.policy_id, changes][index].get(place.unit.unit_code, ())
            return quotient(events, place.window, "")
        if index == "D":
            row = self.portal.get(
                (
                    place.unit.unit_code,
                    place.period.start,
                    place.period.end.fromordinal(place.period.end.toordinal() - 1),
                )
            )
            recount = self.scorer.recount(place.unit, place.window, row, policy.parameters)
            return petitions(row, policy, recount)
        return posting(place.unit, place.window, self.checks, policy.parameters)

    # -- rows

    def index_rows(self, periods: Iterable[Period]) -> list[Row]:
        """Rows of index_reading."""
        rows: list[Row] = []
        for place in self.places(periods):
            for index in INDICES:
                if unit_bar(place.unit, place.window, place.policy, index):
                    continue
                sets = [(changes, "legal_gap" if changes else "own") for changes in self.legal(place.policy, index)]
                sets += [
                    (((reading.parameter, reading.value),), reading.kind)
                    for reading in other_sets(place.policy, self.readings)
                    if index in reading.indices
                ]
                for changes, kind in sets:
                    columns = self.score(place, index, changes).columns()
                    rows.append({
                        "period_code": place.period.period_code, "unit_code": place.unit.unit_code, "index_code": index,
                        "set_code": told(changes), "kind": kind, "policy_id": place.policy.policy_id,
                        **{name: columns[name] for name in ("numerator", "denominator", "value", "status")},
                    })  # fmt: skip
        return rows

    def legal(self, policy: Policy, index: str) -> list[Changes]:
        return legal_sets(policy, self.readings, index)

    def combinations(self, policy: Policy) -> list[Combination]:
        """Sets for the five indices that agree where a parameter touches several of them."""
        touched: dict[str, list[str]] = {reading.parameter: list(reading.indices) for reading in self.readings}
        if policy.policy_id in self._combinations:
            return self._combinations[policy.policy_id]
        found = []
        for chosen in product(*(enumerate(self.legal(policy, index)) for index in INDICES)):
            by_index = {index: changes for index, (_, changes) in zip(INDICES, chosen, strict=True)}
            everything = {change for changes in by_index.values() for change in changes}
            if all(
                change in by_index[index] for change in everything for index in touched[change[0]] if index in INDICES
            ):
                found.append(Combination(tuple(number for number, _ in chosen), len(everything)))
        self._combinations[policy.policy_id] = found
        return found

    def values_of_all(self, place: Place) -> Values:
        found = Values([], [])
        for index in INDICES:
            values = [self.score(place, index, changes).value for changes in self.legal(place.policy, index)]
            distinct = list(dict.fromkeys(values))
            found.distinct.append(distinct)
            found.numbers.append([distinct.index(value) for value in values])
        return found

    def k_rows(self, periods: Sequence[Period]) -> list[Row]:
        """Rows of k_sensitivity."""
        rows: list[Row] = []
        for period in periods:
            places = [
                place for place in self.places([period]) if not unit_bar(place.unit, place.window, place.policy, "K")
            ]
            of_period = {place.unit.unit_code: self._k_row(place) for place in places}
            self._add_ranks(places, of_period)
            rows.extend(of_period.values())
        return rows

    def verdict_under(self, period: Period, unit_code: str, changes: Changes) -> str | None:
        """The verdict of a unit when exactly these readings are taken; None without a K."""
        place = next(place for place in self.places([period]) if place.unit.unit_code == unit_code)
        touched = {reading.parameter: reading.indices for reading in self.readings}
        of_k = tuple(change for change in changes if "K" in touched[change[0]])
        sets = {index: tuple(change for change in changes if index in touched[change[0]]) for index in INDICES}
        k = self.k(place, self.values(place, sets), of_k)
        return None if k is None else verdict_of(k, changed(place.policy, of_k).parameters)

    def values(self, place: Place, sets: Mapping[str, Changes]) -> dict[str, Fraction | None]:
        return {index: self.score(place, index, sets[index]).value for index in INDICES}

    def k(self, place: Place, values: Mapping[str, Fraction | None], changes: Changes) -> Fraction | None:
        policy = changed(place.policy, changes)
        if all(value is not None for value in values.values()):
            total = sum((value for value in values.values() if value is not None), Fraction(0))
            return Fraction(rounded(total, int(policy.parameters["k_scale"])))
        return k_with_missing(values, policy, policy.parameters["missing_index"])

    def _k_row(self, place: Place) -> Row:
        own_sets: dict[str, Changes] = dict.fromkeys(INDICES, ())
        own_k = self.k(place, self.values(place, own_sets), ())
        own = None if own_k is None else verdict_of(own_k, place.policy.parameters)
        found_k: set[Fraction] = set()
        fewest: int | None = None
        values = self.values_of_all(place)
        least: dict[tuple[int, ...], int] = {}  # readings that it takes to come to these values
        for combination in self.combinations(place.policy):
            key = values.key(combination)
            if combination.readings < least.get(key, combination.readings + 1):
                least[key] = combination.readings
        k_sets = [(changes, changed(place.policy, changes).parameters) for changes in self.legal(place.policy, "K")]
        for key, readings in least.items():
            for changes, parameters in k_sets:
                k = self.k(place, values.of(key), changes)
                if k is not None:
                    found_k.add(k)
                if own is None or (None if k is None else verdict_of(k, parameters)) == own:
                    continue
                if fewest is None or readings + len(changes) < fewest:
                    fewest = readings + len(changes)
        others, flipping = self._others(place, own)
        if own_k is not None:
            others.append(own_k)
        row: Row = {
            "period_code": place.period.period_code,
            "unit_code": place.unit.unit_code,
            "policy_id": place.policy.policy_id,
            "k": shown(own_k),
            "verdict": own,
            "verdict_stability": None if own is None else ("stable" if fewest is None else "depends"),
            "k_min": shown(min(found_k, default=None)),
            "k_max": shown(max(found_k, default=None)),
            "flipping_size": fewest,
            "method_k_min": shown(min(others, default=None)),
            "method_k_max": shown(max(others, default=None)),
            "method_flips": "; ".join(sorted(flipping)) or None,
            "rank_min": None,
            "rank_max": None,
        }
        return row

    def _others(self, place: Place, own: str | None) -> tuple[list[Fraction], list[str]]:
        """K under our own choices taken otherwise, one by one, and those that change the verdict."""
        found, flipping = [], []
        for reading in other_sets(place.policy, self.readings):
            change: Changes = ((reading.parameter, reading.value),)
            sets = {index: change if index in reading.indices else () for index in INDICES}
            k = self.k(place, self.values(place, sets), ())
            if k is not None:
                found.append(k)
            if own is not None and (None if k is None else verdict_of(k, place.policy.parameters)) != own:
                flipping.append(told(change))
        return found, flipping

    def _add_ranks(self, places: Sequence[Place], rows: Mapping[str, Row]) -> None:
        groups: dict[str, list[Place]] = defaultdict(list)
        for place in places:
            if not place.window.clipped:
                groups[place.unit.peer_group].append(place)
        for members in groups.values():
            policy = members[0].policy
            scale = int(policy.parameters["rank_scale"])
            ranks: dict[str, set[int]] = defaultdict(set)
            values = [self.values_of_all(place) for place in members]
            every_key = {tuple(value.key(combination) for value in values) for combination in self.combinations(policy)}
            told_k: list[dict[tuple[int, ...], object]] = [{} for _ in members]
            for keys in every_key:
                for place, value, told_of, key in zip(members, values, told_k, keys, strict=True):
                    if key not in told_of:
                        k = self.k(place, value.of(key), ())
                        told_of[key] = None if k is None else rounded(k, scale)
                totals = [told_of[key] for told_of, key in zip(told_k, keys, strict=True)]
                ranked = sorted(total for total in totals if total is not None)
                for place, total in zip(members, totals, strict=True):
                    if total is not None:
                        ranks[place.unit.unit_code].add(1 + len(ranked) - bisect_right(ranked, total))
            for code, found in ranks.items():
                rows[code]["rank_min"], rows[code]["rank_max"] = min(found), max(found)


def shown(k: Fraction | None) -> object:
    return None if k is None else rounded(k, 6)
