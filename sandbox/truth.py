"""What was generated, and what it should score: sums of the generator's intentions.

A, B, C count what each dossier or rating was made to be (in time or late by n working days, sent back n times, a good
word or not), never what a rule would make of its dates. D is the stand-in portal's own figure. E follows from the plan
of visits. Only reporting months and quarters that lie wholly inside the span are stated.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sandbox.generator import (
    BAD_KINDS,
    DAY,
    DONE,
    EXCLUSIONS,
    FINISH_BEFORE_RECEIPT,
    NO_EXCLUSION,
    STOPPED,
    TEST_RECORD,
    Bools,
    City,
    Dossiers,
    Ints,
    PostingCheck,
)
from sandbox.options import WIRE, Month
from sandbox.petitions import courses
from sandbox.portal import Portal
from sandbox.records import wire
from sandbox.registers import Unit
from sandbox.sync import SyncFeed, differences, distortions, portal_copy, reconciliation
from sandbox.workdays import number

POSTING_VALID_DAYS = 100
PRECISION = Decimal(1).scaleb(-15)


@dataclass(frozen=True)
class Cell:
    """One unit × index × period. Counts are null where the index is not the unit's or nothing is known.

    `excluded` belongs to the indices that count records: it is null for D and E.
    """

    period_code: str
    unit_code: str
    index_code: str
    numerator: Decimal | int | None
    denominator: int | None
    excluded: int | None
    status: str
    value: Decimal | None

    def row(self) -> list[str]:
        def text(value: Decimal | int | None) -> str:
            return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)

        return [
            self.period_code, self.unit_code, self.index_code, text(self.numerator), text(self.denominator),
            text(self.excluded), self.status, text(self.value),
        ]  # fmt: skip


HEAD = ("period_code", "unit_code", "index_code", "numerator", "denominator", "excluded", "status", "value")


def quotient(numerator: int, denominator: int) -> Decimal:
    """Exact to 15 decimals, halves away from zero (no value here is negative)."""
    with localcontext() as context:
        context.prec = 60
        return (Decimal(numerator) / Decimal(denominator)).quantize(PRECISION, ROUND_HALF_UP)


def _counted(period: str, unit: Unit, index: str, points: int, all_: int, excluded: int) -> Cell:
    if all_ == 0:
        return Cell(period, unit.code, index, 0, 0, excluded, "no_data", None)
    return Cell(period, unit.code, index, points, all_, excluded, "scored", quotient(points, all_))


def _not_applicable(period: str, unit: Unit, index: str) -> Cell:
    return Cell(period, unit.code, index, None, None, None, "not_applicable", None)


def posting_cell(period: str, unit: Unit, last_day: int, checks: Sequence[PostingCheck]) -> Cell:
    """E: the latest visit to each required place, not older than 100 days at the window's last day."""
    places = [place for place in unit.posting_places.split(";") if place]
    passed, unchecked = 0, False
    for place in places:
        mine = [c for c in checks if c.place == place and last_day - POSTING_VALID_DAYS <= c.day <= last_day]
        latest = max((check.day for check in mine), default=None)
        unchecked |= latest is None
        passed += bool(mine) and all(check.passed for check in mine if check.day == latest)
    if unchecked:
        return Cell(period, unit.code, "E", passed, len(places), None, "awaiting_input", None)
    value = Decimal(int(passed == len(places))).quantize(PRECISION)
    return Cell(period, unit.code, "E", passed, len(places), None, "scored", value)


def _per_unit(city: City, mask: Bools) -> list[int]:
    """Number of dossiers per unit index."""
    found: list[int] = np.bincount(city.dossiers.unit[mask], minlength=len(city.units)).tolist()
    return found


def cells(city: City, period: Month, now: int) -> Iterable[Cell]:
    """Five cells per unit of one reporting period, as known at `now`."""
    low, high = number(period.first) * DAY, (number(period.last) + 1) * DAY
    d = city.dossiers
    result = d.finish_seen(now) & (d.result_at >= low) & (d.result_at < high) & (d.unit >= 0) & (d.bad < 0)
    result &= ~city.gone(now)
    in_a, in_b = (
        result & (d.exclusion == NO_EXCLUSION),
        result & ~np.isin(d.exclusion, [TEST_RECORD, FINISH_BEFORE_RECEIPT]),
    )
    every, a_all, a_points = _per_unit(city, result), _per_unit(city, in_a), _per_unit(city, in_a & d.on_time)
    b_all, b_points = _per_unit(city, in_b), _per_unit(city, in_b & (d.returns <= 1))
    c_all: Counter[int] = Counter()
    c_points: Counter[int] = Counter()
    for rating in city.ratings:
        if rating.counts and rating.unit_meant is not None and low <= rating.at < high and rating.updated <= now:
            c_all[rating.unit_meant] += 1
            c_points[rating.unit_meant] += rating.good
    portal = Portal(city).counts(period.first, period.last, now)
    checks: dict[int, list[PostingCheck]] = {}
    for check in city.posting_checks:
        if check.bad is None:
            checks.setdefault(check.unit, []).append(check)

    code = period.code
    for unit in city.units:
        i = unit.index
        if unit.receiving_only:
            yield _not_applicable(code, unit, "A")
            yield _not_applicable(code, unit, "B")
        else:
            yield _counted(code, unit, "A", a_points[i], a_all[i], every[i] - a_all[i])
            yield _counted(code, unit, "B", b_points[i], b_all[i], every[i] - b_all[i])
        yield _counted(code, unit, "C", c_points[i], c_all[i], 0)
        if unit.receiving_only:
            yield _not_applicable(code, unit, "D")
        elif i not in portal:
            yield Cell(code, unit.code, "D", None, None, None, "no_data", None)
        elif portal[i].total_score is None:
            status = "blocked_by_quality" if portal[i].petitions else "no_data"
            yield Cell(code, unit.code, "D", None, 18, None, status, None)
        else:
            total = Decimal(str(portal[i].total_score))
            yield Cell(code, unit.code, "D", total, 18, None, "scored", total.quantize(PRECISION))
        yield posting_cell(code, unit, number(period.last), checks.get(i, []))


def index_truth(city: City, now: int) -> list[Cell]:
    """All periods of the span, in the order period, unit, index."""
    periods = city.options.months() + city.options.quarters()
    return [cell for period in periods for cell in cells(city, period, now)]


def counts(city: City, now: int) -> dict[str, object]:
    """How many records a reader of the whole span finds at `now`, and how many of them are not as they should be."""
    d = city.dossiers
    gone = city.gone(now)
    seen = (d.updated_at(now) >= 0) & ~gone
    bad = Counter(BAD_KINDS[kind] for kind in d.bad[seen & (d.bad >= 0)].tolist())
    ratings = [rating for rating in city.ratings if rating.updated <= now]
    return {
        "seed": city.options.seed,
        "size": city.options.size,
        "start": city.options.start.isoformat(),
        "end": city.options.end.isoformat(),
        "now": wire(now),
        "early_read": city.options.early_read_at.strftime(WIRE),
        "dossier": {
            "sent": int(d.copies[seen].sum()),
            "distinct": int(seen.sum()),
            "duplicates": int((d.copies[seen] - 1).sum()),
            "bad": dict(bad),
            "readable": int((seen & (d.bad < 0)).sum()),
            "results": int((d.finish_seen(now) & (d.bad < 0) & ~gone).sum()),
            "deleted": [d.code[row] for row in np.flatnonzero(gone).tolist()],
            "extended": int(((d.extended_at >= 0) & (d.extended_at + d.lag <= now)).sum()),
        },
        "rating": {
            "sent": len(ratings),
            "bad": dict(Counter(rating.bad for rating in ratings if rating.bad)),
            "readable": sum(rating.bad is None for rating in ratings),
        },
        "dossier_sync": {
            "sent": len(SyncFeed(portal_copy(city), now).rows),
            "differences": dict(differences(city, now)),
        },
        "distortions": distortions(city, now),
        "petition": sum(petition.accepted <= now for petition in city.petitions),
        "petition_feed": {
            "sent": sum(course.petition.accepted <= now for course in courses(city)),
            "bad": dict(Counter(c.bad for c in courses(city) if c.bad and c.petition.accepted <= now)),
        },
        "posting_check": {
            "sent": len(city.posting_checks),
            "bad": dict(Counter(check.bad for check in city.posting_checks if check.bad)),
        },
    }


def dossier_table(city: City, now: int) -> pa.Table:
    """One row per readable dossier known at `now`: what it was made to be."""
    d: Dossiers = city.dossiers
    keep = np.flatnonzero((d.updated_at(now) >= 0) & (d.bad < 0) & ~city.gone(now))

    def unit_codes(index: Ints) -> list[str | None]:
        return [None if i < 0 else city.units[i].code for i in index[keep].tolist()]

    def moments(column: Ints) -> pa.Array:
        values = column[keep]
        return pa.array(values * 1_000_000, pa.timestamp("us"), mask=values < 0)

    finished = d.finish_seen(now)
    is_result = finished & np.isin(d.outcome, [STOPPED, DONE])
    return pa.table(
        {
            "dossier_code": [d.code[i] for i in keep.tolist()],
            "resolving_unit_code": unit_codes(d.unit),
            "receiving_unit_code": unit_codes(d.receiver),
            "received_at": moments(d.received),
            "result_at": moments(np.where(is_result, d.result_at, -1)),
            "exclusion": pa.array([EXCLUSIONS[i] or None for i in d.exclusion[keep].tolist()], pa.string()),
            "first_due_at": moments(d.first_due),
            "legal_due_at": moments(d.legal_due),
            "extended_due_at": moments(np.where(d.extended_at + d.lag <= now, d.extended_due, -1)),
            "on_time": (is_result & d.on_time)[keep],
            "working_days_late": np.where(is_result, d.days_late, 0)[keep],
            "returns": np.where(is_result, d.returns, 0)[keep],
            "is_dummy_identity": d.dummy_identity[keep],
            "is_test_record": (d.exclusion == TEST_RECORD)[keep],
        }
    )


def rating_table(city: City, now: int) -> pa.Table:
    """One row per readable rating known at `now`."""
    ratings = [rating for rating in city.ratings if rating.bad is None and rating.updated <= now]
    return pa.table(
        {
            "rating_id": [rating.id for rating in ratings],
            "unit_code": pa.array(
                [None if r.unit_meant is None else city.units[r.unit_meant].code for r in ratings], pa.string()
            ),
            "rated_at": pa.array([rating.at * 1_000_000 for rating in ratings], pa.timestamp("us")),
            "counts": [rating.counts for rating in ratings],
            "good": [rating.good for rating in ratings],
        }
    )


def write(city: City, folder: Path, now: int) -> list[Path]:
    """units.csv, dossiers.parquet, ratings.parquet, index_truth.csv, counts.json, reconciliation_truth.csv: their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    roles: dict[int, list[str]] = {}
    for name, members in city.behaviour.roles.items():
        for index in members:
            roles.setdefault(index, []).append(name)
    units_path = folder / "units.csv"
    with units_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("unit_code", "unit_name", "unit_kind", "peer_group", "is_receiving_only", "roles"))
        for unit in city.units:
            mine = ";".join(roles.get(unit.index, []))
            writer.writerow((unit.code, unit.name, unit.kind, unit.peer_group, str(unit.receiving_only).lower(), mine))
    dossiers_path, ratings_path = folder / "dossiers.parquet", folder / "ratings.parquet"
    pq.write_table(dossier_table(city, now), dossiers_path)
    pq.write_table(rating_table(city, now), ratings_path)
    index_path = folder / "index_truth.csv"
    with index_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        writer.writerows(cell.row() for cell in index_truth(city, now))
    reconciliation_path = folder / "reconciliation_truth.csv"
    with reconciliation_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("unit_code", "received_on", "status_code", "reason", "city_count", "portal_count"))
        writer.writerows((*cell, *both) for cell, both in reconciliation(city, now).items())
    counts_path = folder / "counts.json"
    counts_path.write_text(json.dumps(counts(city, now), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return [units_path, dossiers_path, ratings_path, index_path, counts_path, reconciliation_path]
