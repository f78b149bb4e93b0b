"""What stands beyond K, computed again: who owes an explanation, evaluations by others, actions, disputes, officials.

Plain Python over records, day by day and case by case, without any of the warehouse's SQL. Scores and indices are taken from the
marts: the scorer answers for them.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from tests.oracle import rules

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
Row = dict[str, Any]
Key = tuple[Any, ...]


def seed(name: str) -> list[dict[str, str]]:
    with (rules.SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def local_day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.astimezone(ZONE).date()


@dataclass
class WorkingDays:
    """The calendar, walked day by day."""

    worked: dict[date, bool]

    def after(self, day: date, count: int) -> date:
        """The count-th working day after a day."""
        while count:
            day += timedelta(days=1)
            count -= self.worked[day]
        return day

    def between(self, day: date, last: date) -> int:
        """Working days d with day < d ≤ last."""
        return sum(self.worked[day + timedelta(days=n)] for n in range(1, (last - day).days + 1))


def by(rows: Iterable[Row], *columns: str) -> dict[Key, Row]:
    return {tuple(row[column] for column in columns): row for row in rows}


# -- Article 3.8: who owes an explanation ---------------------------------------------------------------------------------

SAME = {"same", "status_lag", "not_yet_at_portal", "before_portal_read", "quarantined_at_portal"}
EXPLAINED_BY_TIME = SAME | {"not_yet_at_city", "before_city_read", "quarantined_at_city"}
OF_REASON = {
    "not_satisfied": "K", "k_fell": "K", "a_fell": "A", "overdue_long": "overdue", "e_zero": "E",
    "reconciliation": "reconciliation",
}  # fmt: skip


@dataclass
class Known:
    """Rows of the warehouse that the recomputation starts from, as dicts."""

    periods: list[Row]
    windows: list[Row]
    scores: list[Row]
    indices: list[Row]
    reconciliation: list[Row]
    results: list[Row]
    open_dossiers: list[Row]
    dossiers_until: date
    explanations_until: date


def explanations_owed(known: Known, explanations: Sequence[Row], parameters: dict[str, str]) -> dict[Key, Row]:
    """(period, unit, reason) → measured, compared_with, not_compared_because, state, due_on, explanation_id, is_late."""
    days = WorkingDays(rules.working_days())
    k_fall, cases = Fraction(parameters["explain_k_fall"]), int(parameters["explain_cases"])
    share, limit = Fraction(parameters["explain_reconciliation_share"]), int(parameters["overdue_long_days"])
    scores, indices = (
        by(known.scores, "period_code", "unit_code"),
        by(known.indices, "period_code", "unit_code", "index_code"),
    )
    windows = by(known.windows, "period_code", "unit_code")
    reconciled: dict[str, list[Row]] = defaultdict(list)
    for row in known.reconciliation:
        reconciled[row["unit_code"]].append(row)
    late: dict[str, list[tuple[date, date | None]]] = defaultdict(list)
    for row in known.results:
        if (
            row["exclusion_reason"] in (None, "inherited_overdue")
            and row["due_on"]
            and row["result_on"] > row["due_on"]
        ):
            late[row["unit_code"]].append((row["due_on"], row["result_on"]))
    for row in known.open_dossiers:
        if row["due_on"]:
            late[row["unit_code"]].append((row["due_on"], None))
    found: dict[Key, Row] = {}
    for (period_code, unit_code), window in windows.items():
        if window["is_before_rule"] or window["is_too_short"] or window["is_sub_unit"]:
            continue
        period = next(p for p in known.periods if p["period_code"] == period_code)
        earlier = next(
            (p["period_code"] for p in known.periods if p["period_end"] == period["period_start"]
             and (p["period_kind"], p["calendar_code"]) == (period["period_kind"], period["calendar_code"])), None
        )  # fmt: skip
        reasons: dict[str, tuple[Any, Any, str | None]] = {}

        score, before = scores[period_code, unit_code], scores.get((earlier, unit_code))
        if score["verdict"] == "not_satisfied" or score["verdict_bound"] == "not_satisfied_whatever":
            reasons["not_satisfied"] = (score["k"], None, None)
        clipped = window["window_clipped"] or (windows.get((earlier, unit_code)) or {}).get("window_clipped")
        if before and None not in (score["k"], before["k"]) and Fraction(before["k"]) - Fraction(score["k"]) > k_fall:
            differs = [name for name in ("policy_id", "metric_version") if score[name] != before[name]]
            why = differs[0].removesuffix("_id") if differs else "window_clipped" if clipped else None
            reasons["k_fell"] = (score["k"], before["k"], why)

        a, a_before = indices[period_code, unit_code, "A"], indices.get((earlier, unit_code, "A"))
        if a_before and a["status"] == a_before["status"] == "scored":
            fall = Fraction(a_before["numerator"]) / Fraction(a_before["denominator"])
            fall -= Fraction(a["numerator"]) / Fraction(a["denominator"])
            if fall > Fraction(cases) / min(Fraction(a["denominator"]), Fraction(a_before["denominator"])):
                why = "policy" if a["policy_id"] != a_before["policy_id"] else "window_clipped" if clipped else None
                reasons["a_fell"] = (a["value"], a_before["value"], why)

        last = min(window["window_end"] - timedelta(days=1), known.dossiers_until)
        if last >= window["window_start"]:
            count = sum(
                due <= last and days.between(due, last) > limit and (result is None or result > last)
                for due, result in late[unit_code]
            )
            if count:
                reasons["overdue_long"] = (count, None, None)

        e = indices[period_code, unit_code, "E"]
        if e["status"] == "scored" and e["value"] == 0:
            reasons["e_zero"] = (e["value"], None, None)

        inside = [r for r in reconciled[unit_code] if window["window_start"] <= r["received_on"] < window["window_end"]]
        sides = [(sum(r[side] for r in inside if r["reason"] not in EXPLAINED_BY_TIME), sum(r[side] for r in inside))
                 for side in ("city_count", "portal_count")]  # fmt: skip
        differing, dossiers = max(side[0] for side in sides), max(side[1] for side in sides)
        if differing > cases and differing > share * dossiers:
            reasons["reconciliation"] = (differing, dossiers, None)

        due = days.after(period["due_at"].date(), int(parameters["explain_within_days"]))
        for reason, (measured, compared_with, why) in reasons.items():
            found[period_code, unit_code, reason] = {
                "measured": measured, "compared_with": compared_with, "not_compared_because": why,
                "due_on": None if why else due,
                **_answer(explanations, period_code, unit_code, OF_REASON[reason], why, due, period, known),
            }  # fmt: skip
    return found


def _answer(
    explanations: Sequence[Row],
    period_code: str,
    unit_code: str,
    index_code: str,
    why: str | None,
    due: date,
    period: Row,
    known: Known,
) -> Row:
    wanted = (unit_code, period_code, index_code)
    given = [e for e in explanations if (e["unit_code"], e["period_code"], e["index_code"]) == wanted]
    given.sort(key=lambda e: (e["decision_code"] == "accepted", e["submitted_at"], e["explanation_id"]))
    best = given[-1] if given else None
    if why:
        state = "not_compared"
    elif best:
        state = best["decision_code"] or "given"
    elif period["period_end"] - timedelta(days=1) > known.dossiers_until:
        state = "running"
    else:
        state = "overdue" if known.explanations_until > due else "open"
    is_late = None if best is None or why else (local_day(best["submitted_at"]) or date.min) > due
    return {"state": state, "explanation_id": best and best["explanation_id"], "is_late": is_late}


def same(ours: dict[Key, Row], theirs: dict[Key, Row], wanted: Callable[[Row], Row] = dict) -> list[str]:
    """What differs between two sets of rows, in words; numbers by value."""
    found = [f"{key}: only the oracle has {ours[key]}" for key in ours.keys() - theirs.keys()]
    found += [f"{key}: only the mart has it" for key in theirs.keys() - ours.keys()]
    for key in ours.keys() & theirs.keys():
        row = wanted(theirs[key])
        found += [f"{key} {c}: oracle {v!r}, mart {row[c]!r}" for c, v in ours[key].items() if not _equal(v, row[c])]
    return sorted(found)


def _equal(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None or isinstance(ours, str | bool | date):
        return bool(ours == theirs)
    return Fraction(ours) == Fraction(theirs)
