"""Petitions side by side, terms kept and broken, differences of the portal's figures: counted anew for every window.

Promise: the rows of petition_count, petition_term and portal_difference, from plain records and the scorer's own reading of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from tests.oracle.scorer import (
    DOSSIERS_RATED,
    HANDLED_WELL,
    ON_TIME,
    Moment,
    Period,
    Petition,
    Policy,
    PortalRow,
    Recount,
    Row,
    Score,
    Scorer,
    Term,
    Unit,
    Window,
    metric_of,
    not_owed,
    petition_counts,
    petitions,
    rounded,
    window_of,
)

METRICS = {"on_time": ON_TIME, "handling": HANDLED_WELL, "dossier": DOSSIERS_RATED}
DEFINITIONS = {
    "portal_group": ("portal_group", "as_new"),
    "petition_rescaled": ("petition_rescaled", "as_new"),
    "petition_12": ("petition_12", "as_new"),
    "recomputed_766": ("recomputed_104", "once"),
    "recomputed_104": ("recomputed_104", "as_new"),
}


@dataclass(frozen=True)
class Place:
    """A unit in a period, with what the portal says of it and what its petitions came to."""

    period: Period
    unit: Unit
    policy: Policy
    window: Window
    row: PortalRow | None
    recount: Recount | None

    @property
    def key(self) -> Row:
        return {"period_code": self.period.period_code, "unit_code": self.unit.unit_code}

    @property
    def is_clipped(self) -> bool:
        return (self.window.start, self.window.end) != (self.period.start, self.period.end)


class Petitions:
    """Rows about petitions of a scorer's world."""

    def __init__(self, scorer: Scorer, periods: Iterable[Period]) -> None:
        self.scorer = scorer
        self.places = list(self._places(periods))

    def _places(self, periods: Iterable[Period]) -> Iterator[Place]:
        scorer, portal = self.scorer, self.scorer.portal_rows()
        for period in periods:
            policy = scorer.policy_of(period)
            for unit in scorer.world.units:
                window = window_of(period, unit, policy)
                if unit.is_scored and window:
                    row = portal.get((unit.unit_code, period.start, period.end - timedelta(days=1)))
                    told = None
                    if not window.before_policy:
                        told = scorer.recount(unit, window, row, policy.parameters)
                    yield Place(period, unit, policy, window, row, told)

    # -- side by side

    def count_rows(self, small_samples: dict[tuple[object, object], object]) -> list[Row]:
        """Rows of petition_count; whether a verdict hangs on one petition is told by K."""
        return [self._count_row(place, small_samples) for place in self.places]

    def _count_row(self, place: Place, small_samples: dict[tuple[object, object], object]) -> Row:
        row, told = place.row, place.recount
        counts: Row = {}
        for state in ("refused", "not_yet_due", "counted", "unanswered"):
            counts[state] = told.once[state] if told else None
            counts[f"{state}_as_new"] = told.as_new[state] if told else None
        received, received_as_new = (received_of(told, how) if told else None for how in ("once", "as_new"))
        portal: Row = {}
        for name, code in METRICS.items():
            metric = metric_of(row, code)
            portal[f"portal_{name}_numerator"] = metric.numerator if metric else None
            portal[f"portal_{name}_denominator"] = metric.denominator if metric else None
            portal[f"portal_{name}_score"] = metric.score if metric else None
        values = {name: self._value(place, *how) for name, how in DEFINITIONS.items()}
        recomputed, group = values["recomputed_104"], values["portal_group"]
        d = not_owed("D", place.unit, place.window, place.policy) or petitions(row, place.policy, told)
        pair = petition_counts(row, place.policy, told)[0]
        return {
            **place.key,
            "policy_id": place.policy.policy_id,
            "window_start": place.window.start,
            "window_end": place.window.end,
            "is_read": told is not None,
            "read_until": told.read_until if told else None,
            "judged_at": told.judged_at if told else None,
            "received": received,
            "received_as_new": received_as_new,
            **counts,
            "resent": received_as_new - received
            if told and received is not None and received_as_new is not None
            else None,
            "in_time": told.in_time if told else None,
            "satisfied": told.satisfied if told else None,
            "portal_window_from": row.window_from if row else None,
            "portal_window_to": row.window_to if row else None,
            "portal_petitions": row.total_petitions if row else None,
            **portal,
            **{f"d_{name}": shown(value) for name, value in values.items()},
            "difference": None if recomputed is None or group is None else shown(recomputed - group),
            "d_definition": place.policy.parameters["d_definition"],
            "d": shown(d.value),
            "d_status": d.status,
            "d_status_reason": d.reason,
            "d_window_mismatch": place.is_clipped if row else None,
            "no_petitions": pair is not None and pair[1] == 0,
            "small_sample": small_samples[place.period.period_code, place.unit.unit_code],
            "metric_version": "2026" if row else None,
            "retrieved_at": row.retrieved_at if row else None,
        }

    def _value(self, place: Place, definition: str, counting: str) -> Fraction | None:
        parameters = {**place.policy.parameters, "d_definition": definition}
        score: Score = petitions(place.row, replace(place.policy, parameters=parameters), place.recount, counting)
        return score.value

    # -- terms

    def term_rows(self) -> list[Row]:
        """Rows of petition_term."""
        rows = []
        codes = sorted({term.term_code for term in self.scorer.terms})
        for place in self.places:
            if place.recount is None:
                continue
            told: dict[str, list[str]] = {code: [] for code in codes}
            for petition in self._received(place):
                for term in self.scorer.terms:
                    outcome = self._outcome(term, petition, place.recount)
                    if outcome:
                        told[term.term_code].append(outcome)
            for code, outcomes in told.items():
                rows.append({
                    **place.key, "term_code": code, "judged_at": place.recount.judged_at, "ran": len(outcomes),
                    **{name: outcomes.count(name) for name in ("kept", "broken", "running")},
                })  # fmt: skip
        return rows

    def _received(self, place: Place) -> Iterator[Petition]:
        for petition in self.scorer.petitions.get(place.unit.unit_code, ()):
            assert petition.received_at is not None
            if place.window.start <= self.scorer.day(petition.received_at) < place.window.end:
                yield petition

    def _outcome(self, term: Term, petition: Petition, recount: Recount) -> str | None:
        """kept, broken or running; None where the term does not run for the petition."""
        now = recount.judged_at

        def seen(moment: Moment | None) -> date | None:
            return self.scorer.day(moment) if moment and moment.at <= now else None

        begun = seen(petition.received_at if term.runs_from == "receipt" else petition.answered_at)
        met = seen({
            "refuse": petition.refused_at, "ask_supplement": petition.supplement_asked_at,
            "answer": petition.answered_at, "publish": petition.published_at,
        }[term.term_code])  # fmt: skip
        if begun is None or not term.is_in_force(begun):
            return None
        if self.scorer.is_refused(petition, now) if term.is_owed else met is None:
            return None
        last = self.scorer.days.nth_after(begun, term.working_days)
        if met is not None:
            return "kept" if met <= last else "broken"
        return "broken" if now.astimezone(self.scorer.zone).date() > last else "running"

    # -- differences

    def difference_rows(self) -> list[Row]:
        """Rows of portal_difference."""
        rows = []
        for place in self.places:
            for name, theirs, ours, tolerance in self._figures(place):
                if theirs is not None and ours is not None and abs(theirs - ours) > tolerance:
                    rows.append({
                        **place.key, "difference": name, "portal_value": shown(theirs), "our_value": shown(ours),
                        "amount": shown(theirs - ours),
                    })  # fmt: skip
        return rows

    def _figures(self, place: Place) -> Iterator[tuple[str, Fraction | None, Fraction | None, Fraction]]:
        row, policy = place.row, place.policy
        if row is None:
            return
        tolerance, nothing = Fraction(policy.parameters["d_recompute_tolerance"]), Fraction(0)
        days = Fraction((row.window_to - row.window_from).days + 1)
        yield "window", days, Fraction(place.window.days), nothing
        told, made = {}, {}
        for name, code in METRICS.items():
            metric = metric_of(row, code)
            told[name] = None if metric is None or metric.score is None else Fraction(metric.score)
            made[name] = formula(name, metric.numerator, metric.denominator, policy) if metric else None
            yield f"{name}_score", told[name], made[name], tolerance
        total = None if row.total_score is None else Fraction(row.total_score)
        yield "total_of_metrics", total, summed(told), tolerance
        printed = {name: None if value is None else Fraction(rounded(value, 2)) for name, value in made.items()}
        yield "total_recomputed", total, summed(printed), tolerance
        count = place.recount
        if count is None or place.is_clipped:
            return
        if count.read_until < self.scorer.midnight(row.retrieved_at.astimezone(self.scorer.zone).date()):
            return
        ours = {
            "petitions": received_of(count, "once") - count.once["refused"],
            "on_time_denominator": count.once["counted"],
            "on_time_numerator": count.in_time,
            "handling_denominator": count.once["counted"],
            "handling_numerator": count.satisfied,
        }
        theirs = {"petitions": row.total_petitions}
        for name in ("on_time", "handling"):
            metric = metric_of(row, METRICS[name])
            if metric and metric.numerator is not None and metric.denominator is not None:
                theirs |= {f"{name}_numerator": metric.numerator, f"{name}_denominator": metric.denominator}
        for name, value in theirs.items():
            yield name, Fraction(value), Fraction(ours[name]), nothing


def received_of(recount: Recount, how: str) -> int:
    """Everything received; the unanswered ones stand among those counted."""
    counts = recount.once if how == "once" else recount.as_new
    return counts["refused"] + counts["not_yet_due"] + counts["counted"]


def formula(name: str, n: int | None, d: int | None, policy: Policy) -> Fraction | None:
    """A metric of the portal from its own numerator and denominator."""
    if n is None or d is None:
        return None
    most = Fraction(policy.parameters["d_metric_max"])
    if name == "dossier":
        return (
            min(most, most * Fraction(n, d) / Fraction(policy.parameters["d_dossier_full_share"])) if d else Fraction(0)
        )
    return most * Fraction(n, d) if d else most


def summed(parts: dict[str, Fraction | None]) -> Fraction | None:
    known = [part for part in parts.values() if part is not None]
    return sum(known, Fraction(0)) if len(known) == len(parts) else None


def shown(value: Fraction | None) -> Decimal | None:
    return None if value is None else rounded(value, 15)
