"""Small cells: what of a quarter or year may be shown, edge by edge."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hailong.publish.small_cells import Cell, Limits, _whatever_c, found_out, hidden_because, reveals

LIMITS = Limits(5, Decimal("0.5"))
PARAMETERS = {"k_scale": "6", "k_threshold": "20"} | {f"{name}_max": "1" for name in "abce"} | {"d_max": "18"}


def shown(ratings: int, good: int) -> Cell:
    return Cell(ratings, good)


def hidden(ratings: int, good: int) -> Cell:
    return Cell(ratings, good, shown=False)


@pytest.mark.parametrize(("ratings", "why"), [(1, "few_ratings"), (4, "few_ratings"), (5, None), (6, None)])
def test_under_the_limit_a_cell_is_hidden(ratings: int, why: str | None) -> None:
    assert hidden_because(Cell(ratings, 1), [], [], [], LIMITS) == why


@pytest.mark.parametrize(
    ("before", "cell", "why"),
    [
        ([], shown(12, 9), None),
        ([shown(10, 8)], shown(10, 8), None),
        ([shown(10, 8)], shown(12, 9), "between_editions"),
        ([shown(10, 8)], shown(10, 9), "between_editions"),  # one rating became good
        ([shown(12, 9)], shown(10, 8), "between_editions"),  # two were deleted
        ([shown(10, 8)], shown(14, 9), "between_editions"),
        ([shown(10, 8)], shown(15, 9), None),
        ([hidden(4, 4)], shown(5, 4), None),  # what was never shown is not subtracted
        ([shown(10, 8), shown(20, 12)], shown(22, 13), "between_editions"),
    ],
)
def test_no_edition_less_another_gives_a_few_ratings(before: list[Cell], cell: Cell, why: str | None) -> None:
    assert hidden_because(cell, before, [], [], LIMITS) == why


@pytest.mark.parametrize(
    ("parts", "tells"),
    [
        ([shown(10, 8), shown(10, 7)], False),  # 20 of 20
        ([shown(10, 8), shown(9, 7)], True),  # one late rating
        ([shown(10, 8), shown(6, 4)], True),
        ([shown(10, 8), shown(5, 4)], False),  # five late ones
        ([shown(10, 8), shown(10, 8)], True),  # as many, but not as good
        ([shown(16, 12), hidden(4, 3)], True),  # what is left is the hidden quarter
        ([shown(14, 12), hidden(3, 1), hidden(3, 2)], False),  # six of two, good and not
        ([shown(14, 9), hidden(3, 3), hidden(3, 3)], True),  # all six are good
        ([shown(14, 15), hidden(3, 0), hidden(3, 0)], True),  # none is
        ([shown(12, 8), hidden(4, 4), hidden(4, 3)], True),  # both must be four: 0.75 or 1
        ([shown(30, 20)], False),  # older ratings were deleted by the dozen
    ],
)
def test_no_year_less_its_quarters_gives_a_few_ratings(parts: Sequence[Cell], tells: bool) -> None:
    assert reveals(shown(20, 15), parts, LIMITS) is found_out(shown(20, 15), parts, LIMITS) is tells
    expected = "between_periods" if tells else None
    assert hidden_because(shown(20, 15), [], [], [[part] for part in parts], LIMITS) == expected


@st.composite
def families(draw: st.DrawFn) -> tuple[Cell, list[Cell]]:
    """A year of up to four quarters, with a few ratings that are in none of them, or that were deleted since."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        ratings = draw(st.integers(1, 9))
        parts.append(Cell(ratings, draw(st.integers(0, ratings)), draw(st.booleans())))
    late = draw(st.integers(-3, 8))
    ratings = max(sum(part.ratings for part in parts) + late, 0)
    good = sum(part.good for part in parts) + draw(st.integers(min(late, 0), max(late, 0)))
    return Cell(ratings, min(max(good, 0), ratings)), parts


@settings(max_examples=500, derandomize=True, deadline=None)
@given(families())
def test_the_attack_of_the_gate_and_the_decision_agree_by_two_ways(family: tuple[Cell, list[Cell]]) -> None:
    whole, parts = family
    assert reveals(whole, parts, LIMITS) is found_out(whole, parts, LIMITS)


def test_every_published_edition_of_a_quarter_is_subtracted() -> None:
    first, second = shown(8, 4), shown(15, 11)
    assert hidden_because(shown(20, 15), [], [], [[second]], LIMITS) is None
    assert hidden_because(shown(18, 13), [], [], [[first], [shown(5, 4)]], LIMITS) is None
    assert hidden_because(shown(18, 13), [], [], [[first, second], [shown(5, 4)]], LIMITS) == "between_periods"


def test_a_year_waits_for_its_quarters_and_a_late_quarter_looks_at_the_year() -> None:
    assert hidden_because(shown(20, 15), [], [], None, LIMITS) == "parts_not_published"
    assert hidden_because(shown(9, 5), [], [(shown(20, 15), [[shown(9, 8)]])], [], LIMITS) == "between_periods"
    assert hidden_because(shown(11, 7), [], [(shown(20, 15), [[shown(9, 8)]])], [], LIMITS) is None


def test_a_looser_limit_shows_more() -> None:
    assert hidden_because(shown(4, 2), [], [], [], Limits(4, Decimal("0.5"))) is None
    parts = [shown(12, 8), hidden(4, 4), hidden(4, 3)]
    assert not reveals(shown(20, 15), parts, Limits(5, Decimal("0.25")))


def row(status: str = "scored", verdict: str | None = "satisfied", **values: str | None) -> dict[str, object]:
    given = {"a": "1", "b": "1", "d": "18", "e": "1"} | values
    return {"status": status, "verdict": verdict} | {k: None if v is None else Decimal(v) for k, v in given.items()}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (row(d="17.5"), ("satisfied", None)),  # 20.5 with C = 0
        (row(d="16.5"), (None, None)),  # 19.5
        (row(d="17"), (None, None)),  # 20 with C = 0: undetermined, and above it satisfied
        (row(d="17.000001"), ("satisfied", None)),
        (row(d="16"), (None, None)),  # 20 with C = 1
        (row(d="15.999999", verdict="not_satisfied"), ("not_satisfied", None)),
        (row(e=None, verdict="satisfied"), (None, None)),  # filled up by the policy
        (row("incomplete", None, e=None, d="18"), (None, "open")),
        (row("incomplete", None, a=None, d="18.5", b="0.6"), (None, "satisfied_whatever")),
        (row("incomplete", None, e=None, d="15"), (None, "not_satisfied_whatever")),
        (row("not_applicable", None, d=None, e=None), (None, None)),
    ],
)
def test_a_verdict_is_shown_when_every_c_gives_it(
    given: dict[str, object], told: tuple[str | None, str | None]
) -> None:
    assert _whatever_c(given, PARAMETERS) == told
