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
from decimal import Decimal
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


# -- Articles 5 to 8 and 10: evaluations by others -------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of an evaluation, in our codes; of a survey without period, with its last day as `on`."""

    kind: str
    key: str
    unit: str | None
    period: str | None
    evaluator: str | None
    score: Decimal | None
    most: Decimal | None
    on: date | None
    is_about_official: bool = False


def periods_of(line: Line, windows: Sequence[Row]) -> list[Row]:
    """Windows that a line belongs to."""
    own = [w for w in windows if w["unit_code"] == line.unit]
    if line.kind == "organisation":
        return [w for w in own if line.on and w["window_start"] <= line.on < w["window_end"]]
    return [w for w in own if w["period_code"] == line.period]


def is_competent(line: Line, kinds: dict[str, str], on: date) -> bool:
    """Whether the evaluator was the competent authority on that day."""
    for duty in seed("evaluator_duty"):
        if duty["evaluated_kind"] != kinds[line.unit or ""] or not line.evaluator:
            continue
        since, until = date.fromisoformat(duty["valid_from"]), duty["valid_to"]
        named = duty["evaluator_unit_code"] or None
        who = line.evaluator == named if named else kinds[line.evaluator] == duty["evaluator_kind"]
        if who and since <= on and (not until or on < date.fromisoformat(until)):
            return True
    return False


def left_out_because(line: Line, kinds: dict[str, str], window: Row) -> str | None:
    if line.is_about_official:
        return "about_official"
    if line.kind == "authority":
        if line.evaluator is None:
            return "evaluator_unknown"
        if line.evaluator == line.unit:
            return "own_evaluation"
        if not is_competent(line, kinds, line.on or window["window_end"] - timedelta(days=1)):
            return "evaluator_not_competent"
    if line.score is None or not line.most:
        return "no_score"
    return None if 0 <= line.score <= line.most else "score_out_of_range"


def evaluations(
    lines: Sequence[Line],
    windows: Sequence[Row],
    period_rows: Sequence[Row],
    kinds: dict[str, str],
    feeds_read: set[str],
    horizon: date,
    c_min_ratings: int,
) -> tuple[dict[Key, Row], dict[Key, str]]:
    """((period, unit, kind) → what came or why there is nothing, (kind, key) → why a line counts nowhere)."""
    period_of = {row["period_code"]: row for row in period_rows}
    placed: dict[Key, list[tuple[Line, str | None]]] = defaultdict(list)
    findings: dict[Key, str] = {}
    for line in lines:
        verdicts = [(w, left_out_because(line, kinds, w)) for w in periods_of(line, windows)]
        for window, why in verdicts:
            placed[window["period_code"], line.unit, line.kind].append((line, why))
        if line.unit is None:
            findings[line.kind, line.key] = "no_unit"
        elif not verdicts:
            findings[line.kind, line.key] = "no_window"
        elif all(why not in (None, "about_official") for _, why in verdicts):
            findings[line.kind, line.key] = min(why or "" for _, why in verdicts)
    cadence = {
        (row["evaluator_kind"], row["period_kind"]): row["is_due"] == "true" for row in seed("evaluation_cadence")
    }
    found: dict[Key, Row] = {}
    for window in windows:
        period = period_of[window["period_code"]]
        for kind in seed("evaluator_kind"):
            name = kind["evaluator_kind"]
            here = placed[window["period_code"], window["unit_code"], name]
            counted = [line for line, why in here if why is None]
            others = [why for _, why in here if why not in (None, "about_official")]
            officials = sum(why == "about_official" for _, why in here)
            barred = _barred(window, kind, kinds)
            is_due = cadence[name, period["period_kind"]] and barred is None
            if barred:
                status, reason = "before_rule" if barred == "before_policy" else "not_applicable", barred
            elif counted:
                status, reason = "scored", None
            elif others or officials:
                status, reason = "no_data", "all_left_out" if others else "about_officials_only"
            elif not is_due:
                status, reason = "not_applicable", "not_due"
            elif kind["feed"] not in feeds_read:
                status, reason = "no_data", "feed_not_read"
            else:
                running = period["period_end"] - timedelta(days=1) > horizon
                status, reason = "awaiting_input", "period_running" if running else "none_came"
            score = sum((line.score or Decimal(0) for line in counted), Decimal(0))
            most = sum((line.most or Decimal(0) for line in counted), Decimal(0))
            shown = status == "scored"
            found[window["period_code"], window["unit_code"], name] = {
                "is_due": is_due, "line_count": len(counted), "official_sheet_count": officials,
                "left_out_count": len(others), "score": score if shown else None, "max_score": most if shown else None,
                "share": rounded(Fraction(score) / Fraction(most)) if shown else None, "status": status,
                "status_reason": reason,
                "is_small": shown and name == "organisation" and any((x.most or 0) < c_min_ratings for x in counted),
            }  # fmt: skip
    return found, findings


def _barred(window: Row, kind: dict[str, str], kinds: dict[str, str]) -> str | None:
    if window["is_before_rule"]:
        return "before_policy"
    if window["is_sub_unit"] and kind["owed_by_sub_unit"] != "true":
        return "sub_unit"
    if window["is_receiving_only"] and kind["owed_by_receiving_unit"] != "true":
        return "receiving_only"
    if window["is_too_short"]:
        return "window_too_short"
    if kind["evaluator_kind"] != "authority":
        return None
    for duty in seed("evaluator_duty"):
        begun = date.fromisoformat(duty["valid_from"]) < window["window_end"]
        over = duty["valid_to"] and date.fromisoformat(duty["valid_to"]) <= window["window_start"]
        another = duty["evaluator_unit_code"] != window["unit_code"]
        if duty["evaluated_kind"] == kinds[window["unit_code"]] and begun and not over and another:
            return None
    return "no_competent_authority"


def rounded(value: Fraction, places: int = 15) -> Fraction:
    """Half away from zero."""
    return Fraction(int(abs(value) * 10**places * 2 + 1) // 2 * (1 if value >= 0 else -1), 10**places)


# -- Article 12.2 and disputes ----------------------------------------------------------------------------------------------


def actions(given: Sequence[Row], explanation_rows: Sequence[Row], until: date) -> dict[Key, Row]:
    """action → state, is_late, is_without_evidence, link_status, period_code."""
    known_ones = {e["explanation_id"]: e for e in explanation_rows}
    found: dict[Key, Row] = {}
    for action in given:
        named, due, done = known_ones.get(action["explanation_id"]), action["due_on"], action["done_on"]
        link = "none" if action["explanation_id"] is None else "unknown" if named is None else "linked"
        if named is not None and named["unit_code"] != action["unit_code"]:
            link = "other_unit"
        is_done = done is not None and done <= until
        state = "done" if is_done else "no_due_date" if due is None else "overdue" if until > due else "open"
        found[action["action_id"],] = {
            "unit_code": action["unit_code"], "state": state, "link_status": link,
            "is_late": done > due if is_done and due else None, "is_without_evidence": is_done and not action["evidence_no"],
            "period_code": named["period_code"] if named is not None and link == "linked" else None,
        }  # fmt: skip
    return found


def disputes(
    given: Sequence[Row], records: dict[Key, tuple[str | None, date | None]], months: Sequence[Row]
) -> dict[Key, Row]:
    """dispute → record_status, is_own_record, event_on, period_code, is_before_cutoff, state.

    `records`: (feed, key) → unit and day on which the record counts.
    """
    found: dict[Key, Row] = {}
    for dispute in given:
        record = records.get((dispute["disputed_feed"], dispute["disputed_key"]))
        known_feed = dispute["disputed_feed"] in ("dossier", "rating", "petition", "posting_check")
        unit, day = record or (None, None)
        month = next((m for m in months if day and m["period_start"] <= day < m["period_end"]), None)
        wall = dispute["raised_at"].astimezone(ZONE).replace(tzinfo=None)
        found[dispute["dispute_id"],] = {
            "record_status": "found" if record else "not_found" if known_feed else "unknown_feed",
            "is_own_record": unit == dispute["unit_code"] if unit else None, "event_on": day,
            "period_code": month and month["period_code"], "is_before_cutoff": wall < month["cutoff_at"] if month else None,
            "state": dispute["decision_code"] or ("decided" if dispute["decided_at"] else "open"),
        }  # fmt: skip
    return found


def follow_up(
    windows: Sequence[Row],
    period_rows: Sequence[Row],
    owed: Sequence[Row],
    explanation_rows: Sequence[Row],
    action_rows: Sequence[Row],
    dispute_rows: Sequence[Row],
) -> dict[Key, Row]:
    """(period, unit) → the counts of it."""
    cutoffs = {row["period_code"]: row["cutoff_at"] for row in period_rows}
    found: dict[Key, Row] = {}
    for window in windows:
        key = (window["period_code"], window["unit_code"])
        first, last = window["window_start"], window["window_end"] - timedelta(days=1)
        states = [row["state"] for row in owed if (row["period_code"], row["unit_code"]) == key]
        own = [row for row in action_rows if row["unit_code"] == key[1]]
        due = [row["state"] for row in own if row["due_on"] and first <= row["due_on"] <= last]
        raised = [
            r for r in dispute_rows if r["unit_code"] == key[1] and r["event_on"] and first <= r["event_on"] <= last
        ]
        walls = [row["raised_at"].astimezone(ZONE).replace(tzinfo=None) for row in raised]
        found[key] = {
            "explanations_owed": len(states) - states.count("not_compared"),
            "explanations_not_yet": states.count("running") + states.count("not_read"),
            **{f"explanations_{s}": states.count(s) for s in ("open", "overdue", "given", "accepted", "rejected")},
            "falls_not_compared": states.count("not_compared"),
            "explanations_came": sum((e["period_code"], e["unit_code"]) == key for e in explanation_rows),
            "actions_due": len(due), "actions_due_done": due.count("done"), "actions_due_overdue": due.count("overdue"),
            "actions_done": sum(r["state"] == "done" and first <= r["done_on"] <= last for r in own),
            "actions_explained": sum(r["link_status"] == "linked" and r["period_code"] == key[0] for r in own),
            "disputes_raised": len(raised), "disputes_before_cutoff": sum(wall < cutoffs[key[0]] for wall in walls),
            **{f"disputes_{s}": [r["state"] for r in raised].count(s) for s in ("open", "accepted", "rejected")},
        }  # fmt: skip
    return found


# -- Articles 8.2 and 16.4: officials ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """A point of index A, B or C on a day, of a unit and, where its dossier names one, an official."""

    unit: str
    official: str | None
    index: str
    on: date
    point: Fraction


def officials(
    events: Sequence[Event], windows: Sequence[Row], period_rows: Sequence[Row], until: date, least: int
) -> dict[Key, Row]:
    """(period, unit, official) → sums of A, B and C and why C is withheld, of quarters and years that end before `until`."""
    kinds = {row["period_code"]: row for row in period_rows}
    over = [
        w for w in windows
        if kinds[w["period_code"]]["period_kind"] != "month" and kinds[w["period_code"]]["period_end"] <= until
        and not w["is_before_rule"] and not w["is_too_short"]
    ]  # fmt: skip
    found: dict[Key, Row] = {}
    of_unit: dict[Key, int] = {}
    for window in over:
        key = (window["period_code"], window["unit_code"])
        here = [e for e in events if e.unit == key[1] and window["window_start"] <= e.on < window["window_end"]]
        of_unit[key] = sum(e.index == "C" for e in here)
        for name in {e.official for e in here if e.official}:
            own = [e for e in here if e.official == name]
            row: Row = {}
            for index in "abc":
                points = [e.point for e in own if e.index == index.upper()]
                row |= {f"{index}_points": sum(points, Fraction(0)), f"{index}_n": len(points)}
            found[*key, name] = row
    for kind in ("quarter", "year"):
        for window in over:
            if kinds[window["period_code"]]["period_kind"] != kind:
                continue
            key = (window["period_code"], window["unit_code"])
            rows = {name: row for (code, unit, name), row in found.items() if (code, unit) == key}
            for name, row in rows.items():
                row["why"] = "few_ratings" if 0 < row["c_n"] < least else None
                told = [
                    found[code, key[1], name]["c_n"] for code, p in kinds.items()
                    if p["period_kind"] == "quarter" and kind == "year" and (code, key[1], name) in found
                    and window["period_start"] <= p["period_start"] and p["period_end"] <= window["period_end"]
                    and found[code, key[1], name]["why"] is None
                ]  # fmt: skip
                if row["why"] is None and 0 < row["c_n"] - sum(told) < least:
                    row["why"] = "few_in_quarters" if kind == "year" else None
            shown = sorted((row["c_n"], name) for name, row in rows.items() if row["why"] is None and row["c_n"])
            if shown and 0 < of_unit[key] - sum(n for n, _ in shown) < least:
                rows[shown[0][1]]["why"] = "few_of_others"
    return {key: _told(row) for key, row in found.items()}


def _told(row: Row) -> Row:
    told: Row = {"c_withheld_because": row["why"]}
    for index, counted in (("a", "a_dossiers"), ("b", "b_dossiers"), ("c", "c_ratings")):
        points, n = row[f"{index}_points"], row[f"{index}_n"]
        hidden = index == "c" and row["why"] is not None
        told |= {
            f"{index}_points": None if hidden else points, counted: None if hidden else n,
            index: None if hidden or not n else rounded(points / n),
        }  # fmt: skip
    return told


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
