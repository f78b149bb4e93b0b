"""The generated cases are many, always the same, and reach every status that the marts can show without a reviewer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date

import pytest

from tests.oracle import rules
from tests.oracle.cases import everything, periods
from tests.oracle.scorer import Row, Scorer, World


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(everything().world, rules.policies(), rules.working_days(), rules.level_classes(), rules.terms())


@pytest.fixture(scope="module")
def scored(scorer: Scorer) -> tuple[list[Row], list[Row]]:
    return scorer.score(periods())


def test_there_are_at_least_twenty_thousand_dossiers_over_many_periods(scorer: Scorer) -> None:
    assert len(scorer.histories) >= 20_000
    assert sum(len(history) > 1 for history in scorer.histories.values()) > 4_000
    assert {len(history) for history in scorer.histories.values()} == {1, 2, 3}
    assert {period.kind for period in periods()} == {"month", "quarter", "year"}
    assert len(periods()) == 37


def test_the_same_seed_gives_the_same_cases() -> None:
    assert everything(200, seed=7).world == everything(200, seed=7).world
    assert everything(200, seed=7).world != everything(200, seed=8).world


def test_every_point_and_exclusion_occurs_often(scorer: Scorer) -> None:
    parameters = scorer.policies[0].parameters
    outcomes = [scorer.dossier_outcome(history, parameters) for history in scorer.histories.values()]
    a = Counter(outcome.a_excluded or str(outcome.a_point) for outcome in outcomes if outcome)
    b = Counter(outcome.b_excluded or str(outcome.b_point) for outcome in outcomes if outcome)
    assert set(a) == {"0", "1", "test_record", "finish_before_receipt", "no_due_date"} and min(a.values()) > 200
    assert set(b) == {"0", "1", "test_record", "finish_before_receipt"} and min(b.values()) > 200


def test_every_status_and_reason_occurs(scored: tuple[list[Row], list[Row]]) -> None:
    index_rows, k_rows = scored
    assert {row["status"] for row in index_rows} == {
        "before_rule", "not_applicable", "blocked_by_quality", "awaiting_input", "no_data", "scored",
    }  # fmt: skip
    assert {str(row["status_reason"]).split(":")[0] for row in index_rows} == {
        "before_policy", "sub_unit", "receiving_only", "window_too_short", "portal_score_missing", "posting_unchecked",
        "no_posting_place", "no_resolved_dossier", "no_rating", "no_portal_row", "None",
    }  # fmt: skip
    assert {row["status"] for row in k_rows} == {"before_rule", "not_applicable", "incomplete", "scored"}
    assert {row["verdict"] for row in k_rows} == {"satisfied", "not_satisfied", "undetermined", None}
    assert {row["verdict_bound"] for row in k_rows} == {"satisfied_whatever", "not_satisfied_whatever", "open", None}
    assert {row["window_clipped"] for row in k_rows} == {
        None, "unit_started", "unit_ended", "unit_started;unit_ended", "policy_started", "unit_ended;policy_started",
    }  # fmt: skip
    assert max(row["rank_in_group"] or 0 for row in k_rows) > 10  # type: ignore[type-var]
    for flag in ("small_sample", "near_threshold", "no_petitions"):
        assert {row[flag] for row in k_rows} == {True, False}


CHANGES = {
    "result_statuses": "9,10",
    "due_basis": "first",
    "due_missing": "exclude",
    "midnight_is_date": "false",
    "a_grace_working_days": "4",
    "a_point_within_grace": "0.5",
    "at_once_cutoff": "15:01",
    "b_max_returns": "2",
    "c_middle_level": "normal",
    "d_max": "17",
    "d_definition": "recomputed_104",
    "e_valid_days": "99",
    "k_scale": "2",
    "k_threshold": "20.000001",
    "k_equal": "satisfied",
    "near_threshold_distance": "0.009999",
    "min_window_days": "11",
    "attribution": "receiving",
    "rank_scale": "3",
}


@pytest.fixture(scope="module")
def some_cases() -> World:
    return everything(1000).world


def scored_with(world: World, **parameters: str) -> tuple[list[Row], list[Row]]:
    policies = [replace(policy, parameters={**policy.parameters, **parameters}) for policy in rules.policies()]
    return Scorer(world, policies, rules.working_days(), rules.level_classes(), rules.terms()).score(periods())


@pytest.fixture(scope="module")
def as_it_is(some_cases: World) -> tuple[list[Row], list[Row]]:
    return scored_with(some_cases, a_point_within_grace="0.5")


@pytest.mark.parametrize("parameter", CHANGES)
def test_the_cases_notice_a_changed_rule(
    parameter: str, some_cases: World, as_it_is: tuple[list[Row], list[Row]]
) -> None:
    """An agreement proves nothing about a rule that no case depends on. (Grace counts half here, so that it shows.)"""
    changed = {"a_point_within_grace": "0.5"} | {parameter: CHANGES[parameter].replace("0.5", "0")}
    assert scored_with(some_cases, **changed) != as_it_is


def test_the_cases_notice_every_changed_day_of_the_calendar_that_was_decided_by_hand(some_cases: World) -> None:
    """2 January 2026 off, Saturday 10 January worked, the first and last day of Tết 2026."""
    policies, levels, days = rules.policies(), rules.level_classes(), rules.working_days()
    original = Scorer(some_cases, policies, days, levels, rules.terms()).score(periods())
    for day in (date(2026, 1, 2), date(2026, 1, 10), date(2026, 2, 16), date(2026, 2, 20)):
        changed = days | {day: not days[day]}
        assert Scorer(some_cases, policies, changed, levels, rules.terms()).score(periods()) != original, day
