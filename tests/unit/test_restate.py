"""Differences between two editions by cause."""

from __future__ import annotations

from decimal import Decimal

from hailong.publish.checksum import Content
from hailong.publish.restate import Difference, _differences


def content(
    a: str | None, status: str = "scored", k: str | None = "20.5", verdict: str | None = "satisfied"
) -> Content:
    return {
        ("index_score", "U", "A"): {"value": a, "status": status},
        ("k_score", "U"): {"k": k, "verdict": verdict, "status": "scored" if k else "incomplete"},
    }


def differences(*states: tuple[str, Content, Content]) -> list[Difference]:
    return list(_differences(list(states)))


def test_what_other_code_gives_of_the_same_rows_is_its_own_cause() -> None:
    was, again, now = content("0.5"), content("0.6"), content("0.9")
    found = differences(("late", again, now), ("code", was, again))
    assert found == [
        Difference("U", "A", "late", Decimal("0.3"), "scored", "scored"),
        Difference("U", "A", "code", Decimal("0.1"), "scored", "scored"),
    ]


def test_what_the_program_and_what_other_models_changed_is_one_cause() -> None:
    was, again, ruled, now = content("0.5"), content("0.6"), content("0.8"), content("0.75", status="clipped")
    found = differences(("rule", again, ruled), ("code", was, again), ("code", ruled, now))
    assert found[1:] == [Difference("U", "A", "code", Decimal("0.05"), "scored", "clipped")]
    none = content(None, "no_data")
    assert differences(("rule", again, none), ("code", was, again), ("code", none, now))[1].contribution is None


def test_a_value_that_begins_to_exist_is_told_by_its_status_and_is_no_number() -> None:
    was, now = content(None, "no_data", None, None), content("0.9")
    assert differences(("late", was, now), ("code", was, was)) == [
        Difference("U", "A", "late", None, "no_data", "scored"),
        Difference("U", "K", "late", None, "incomplete", "satisfied"),
    ]


def test_a_verdict_that_changes_is_told_though_k_moves_little() -> None:
    was, now = content("0.5", k="20.000001"), content("0.5", k="19.999999", verdict="not_satisfied")
    assert differences(("corrected", was, now), ("code", was, was)) == [
        Difference("U", "K", "corrected", Decimal("-0.000002"), "satisfied", "not_satisfied")
    ]


def test_a_unit_without_a_row_on_one_side_has_no_status_there() -> None:
    assert differences(("rule", {}, content("0.5")), ("code", {}, {}))[0] == Difference(
        "U", "A", "rule", None, None, "scored"
    )
