"""Compares the oracle's rows with the warehouse's, every row and every column, and tells a difference readably."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from decimal import Decimal

from tests.oracle.book import text_of
from tests.oracle.scorer import ENDS, Local, Moment, Row, Scorer, window_of
from tests.oracle.scorer import Period as ScoredPeriod

INDEX_KEY = ("period_code", "unit_code", "index_code")
INDEX_COLUMNS = (
    "calendar_code", "numerator", "denominator", "excluded", "value", "status", "status_reason", "policy_id",
    "window_start", "window_end",
)  # fmt: skip
K_KEY = ("period_code", "unit_code")
K_COLUMNS = (
    "calendar_code", "unit_name", "peer_group", "peer_group_name", "unit_kind", "parent_unit_code",
    "a", "b", "c", "d", "e", "k", "verdict", "verdict_bound", "status", "status_reason", "rank_in_group",
    "window_start", "window_end", "window_clipped", "small_sample", "near_threshold", "no_petitions", "policy_id",
)  # fmt: skip


PETITION_COUNTS = ("received", "refused", "not_yet_due", "counted", "unanswered")
PETITION_COLUMNS = (
    "policy_id", "window_start", "window_end", "is_read", "read_until", "judged_at",
    *(name + suffix for name in PETITION_COUNTS for suffix in ("", "_as_new")), "resent", "in_time", "satisfied",
    "portal_window_from", "portal_window_to", "portal_petitions",
    *(f"portal_{name}_{part}" for name in ("on_time", "handling", "dossier") for part in ("numerator", "denominator", "score")),
    "d_portal_group", "d_petition_rescaled", "d_petition_12", "d_recomputed_766", "d_recomputed_104", "difference",
    "d_definition", "d", "d_status", "d_status_reason", "d_window_mismatch", "no_petitions", "small_sample",
    "metric_version", "retrieved_at",
)  # fmt: skip
TERM_KEY = ("period_code", "unit_code", "term_code")
TERM_COLUMNS = ("judged_at", "ran", "kept", "broken", "running")
DIFFERENCE_KEY = ("period_code", "unit_code", "difference")
DIFFERENCE_COLUMNS = ("portal_value", "our_value", "amount")
FLOW_COLUMNS = (
    "open_at_start", "received", *ENDS, "open_at_end", "open_overdue", "inherited_overdue", "a_with_open", "withdrawn_per_1000",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One cell (or one whole row) on which the two computations disagree."""

    key: tuple[object, ...]
    column: str
    oracle: object
    warehouse: object

    def __str__(self) -> str:
        where = " ".join(str(part) for part in self.key)
        return f"{where} · {self.column}: oracle {shown(self.oracle)}, warehouse {shown(self.warehouse)}"


def shown(value: object) -> str:
    """A value or a record on one line; times as their sources write them, empty fields left out."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, Moment):
        return str(text_of(value))
    if isinstance(value, Local):
        return f"{value.day} {value.clock or 'day'}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(shown, value)) + ")"
    if isinstance(value, date):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        parts = ((item.name, getattr(value, item.name)) for item in fields(value))
        told = (f"{name}={shown(part)}" for name, part in parts if part not in (None, (), False))
        return f"{type(value).__name__}({', '.join(told)})"
    return repr(value)


def differences(
    oracle: Iterable[Row], warehouse: Iterable[Row], key: Sequence[str], columns: Sequence[str]
) -> list[Difference]:
    """All differences in key order; a row that only one side has is one difference."""
    ours, theirs = _by_key(oracle, key), _by_key(warehouse, key)
    found = []
    for row_key in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(row_key), theirs.get(row_key)
        if mine is None or other is None:
            found.append(
                Difference(row_key, "row", "none" if mine is None else "a row", "none" if other is None else "a row")
            )
            continue
        for column in columns:
            if not same(mine[column], other[column]):
                found.append(Difference(row_key, column, mine[column], other[column]))
    return found


def same(mine: object, other: object) -> bool:
    """Equal, with null equal to null only, and true never equal to 1."""
    if isinstance(mine, bool) or isinstance(other, bool):
        return mine is other
    return mine == other


def _by_key(rows: Iterable[Row], key: Sequence[str]) -> dict[tuple[str, ...], Row]:
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        row_key = tuple(str(row[name]) for name in key)
        if row_key in found:
            raise ValueError(f"two rows with the key {row_key}")
        found[row_key] = row
    return found


def report(found: Sequence[Difference], scorer: Scorer, periods: Sequence[ScoredPeriod], limit: int = 20) -> str:
    """The first differences, counts by column, and the records behind the first of them."""
    if not found:
        return "no difference"
    by_column: dict[str, int] = {}
    for difference in found:
        name = f"{difference.key[2]}.{difference.column}" if len(difference.key) > 2 else difference.column
        by_column[name] = by_column.get(name, 0) + 1
    lines = [f"{len(found)} differences: " + ", ".join(f"{name} {count}" for name, count in by_column.items())]
    lines += [str(difference) for difference in found[:limit]]
    lines += ["", "Behind the first:", *behind(found[0], scorer, periods)]
    return "\n".join(lines)


def behind(difference: Difference, scorer: Scorer, periods: Sequence[ScoredPeriod], limit: int = 12) -> list[str]:
    """The dossiers, ratings, portal row or checks that one difference rests on, as the oracle reads them."""
    period = next((p for p in periods if p.period_code == difference.key[0]), None)
    unit = scorer.units.get(str(difference.key[1]))
    if period is None or unit is None:
        return ["the oracle knows no such period or unit"]
    policy = scorer.policy_of(period)
    window = window_of(period, unit, policy)
    if window is None:
        return [f"{unit} does not live in {period}"]
    index = str(difference.key[2]) if len(difference.key) > 2 else "K"
    lines = [shown(unit), f"{shown(period)}, {shown(window)}"]
    if index in "ABK":
        outcomes = (scorer.dossier_outcome(history, policy.parameters) for history in scorer.histories.values())
        lines += [
            f"{shown(outcome)}\n    {' | '.join(shown(version) for version in scorer.histories[outcome.dossier_code])}"
            for outcome in outcomes
            if outcome and outcome.unit_code == unit.unit_code and window.start <= outcome.day < window.end
        ][:limit]
    if index in "CK":
        lines += [
            shown(rating)
            for rating in scorer.ratings()
            if scorer.rated_unit(rating) == unit.unit_code
            and window.start <= scorer.local(rating.rated_at, policy.parameters).day < window.end
        ][:limit]
    if index in "DK":
        lines += [
            shown(row)
            for key, row in scorer.portal_rows().items()
            if key[0] == unit.unit_code and key[1] == period.start
        ]
        received = (petition for petition in scorer.petitions.get(unit.unit_code, ()) if petition.received_at)
        lines += [
            shown(petition) for petition in received if window.start <= scorer.day(petition.received_at) < window.end
        ][:limit]
    if index in "EK":
        lines += [f"{key}: {checks}" for key, checks in scorer.checks().items() if key[0] == unit.unit_code]
    return lines
