"""Each worked edge of the method has the outcome it names, by the independent scorer alone."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.oracle import rules
from tests.oracle.book import PERIODS, Expected
from tests.oracle.cases import periods
from tests.oracle.edges import INTERLINKED, SENT_AGAIN, worked_edges
from tests.oracle.scorer import Policy, Row, Scorer, k_with_missing, rounded
from tests.oracle.sensitivity import Sensitivity

BOOK = worked_edges()
ORACLE = Path(__file__).resolve().parents[1] / "oracle"


def scorer_with(**parameters: str) -> Scorer:
    changed = [replace(p, parameters={**p.parameters, **parameters}) for p in rules.policies()]
    return Scorer(BOOK.world, changed, rules.working_days(), rules.level_classes(), rules.terms())


@pytest.fixture(scope="module")
def rows() -> dict[tuple[object, ...], Row]:
    index_rows, k_rows = scorer_with().score(periods())
    found: dict[tuple[object, ...], Row] = {}
    for row in index_rows:
        found["index_score", row["period_code"], row["unit_code"], row["index_code"]] = row
    for row in k_rows:
        found["k_score", row["period_code"], row["unit_code"], None] = row
    return found


def _name(expected: Expected) -> str:
    parts = (f"edge {expected.edge}", expected.unit_code, expected.index_code or "K", expected.period_code)
    return " ".join(parts)


@pytest.mark.parametrize("expected", BOOK.expected, ids=_name)
def test_worked_edge_has_the_outcome_it_names(expected: Expected, rows: dict[tuple[object, ...], Row]) -> None:
    row = rows[expected.table, expected.period_code, expected.unit_code, expected.index_code]
    assert {name: row[name] for name in expected.columns} == expected.columns


def test_every_worked_edge_of_the_marts_is_written() -> None:
    assert {str(n) for n in range(1, 18)} <= {expected.edge for expected in BOOK.expected}


def test_units_that_are_not_scored_have_no_row(rows: dict[tuple[object, ...], Row]) -> None:
    assert not [key for key in rows if key[2] == "HCM.F6"]


def test_every_other_unit_has_five_indices_in_every_period_it_lives_in(rows: dict[tuple[object, ...], Row]) -> None:
    for period in periods():
        for unit in BOOK.world.units:
            lives = unit.valid_from < period.end and (unit.valid_to is None or unit.valid_to > period.start)
            here = [key for key in rows if key[1] == period.period_code and key[2] == unit.unit_code]
            assert len(here) == (6 if lives and unit.is_scored else 0)


def points(unit_code: str, index: str, **parameters: str) -> Fraction:
    """The only point of a unit's index under changed parameters."""
    scorer = scorer_with(**parameters)
    (event,) = scorer.events(scorer.policies[0].parameters)[index][unit_code]
    assert event.point is not None
    return event.point


def test_edge_4_five_working_days_late_is_grace_and_six_is_not() -> None:
    assert points("HCM.E4A", "A", a_point_within_grace="0.5") == Fraction(1, 2)
    assert points("HCM.E4B", "A", a_point_within_grace="0.5") == 0


def test_edge_1_one_second_late_is_grace() -> None:
    assert points("HCM.E1C", "A", a_point_within_grace="0.5") == Fraction(1, 2)


def test_edge_6_an_extension_counts_only_where_the_source_is_believed() -> None:
    assert points("HCM.E6A", "A") == 0
    assert points("HCM.E6A", "A", due_basis="first") == 0
    assert points("HCM.E6A", "A", due_basis="source_current") == 1
    assert points("HCM.E6B", "A", due_basis="first") == 0


@pytest.mark.parametrize("name", INTERLINKED)
def test_each_unit_of_an_interlinked_dossier_is_judged_by_its_own_step(name: str) -> None:
    scorer = scorer_with()
    oracle = Sensitivity(scorer, rules.readings())
    place = next(place for place in oracle.places([PERIODS["2026-10"]]) if place.unit.unit_code == f"HCM.{name}")
    score = oracle.score(place, "A", (("interlinked", "participants"),))
    assert (score.numerator, score.denominator, score.excluded) == INTERLINKED[name]


@pytest.fixture(scope="module")
def recomputed() -> dict[tuple[object, ...], Row]:
    index_rows, k_rows = scorer_with(d_definition="recomputed_104").score(periods())
    found: dict[tuple[object, ...], Row] = {
        (row["period_code"], row["unit_code"], row["index_code"]): row for row in index_rows
    }
    return found | {(row["period_code"], row["unit_code"], "K"): row for row in k_rows}


@pytest.mark.parametrize(
    ("n", "k", "verdict"),
    [
        (5, "19.600000", "not_satisfied"),
        (6, "20.000000", "undetermined"),
        (7, "20.285714", "satisfied"),
        (11, "20.909091", "satisfied"),
        (12, "21.000000", "satisfied"),
    ],
)
def test_edge_12_counted_again_one_failing_petition_costs_as_much(
    n: int, k: str, verdict: str, recomputed: dict[tuple[object, ...], Row]
) -> None:
    row = recomputed["2026-10", f"HCM.E12N{n}", "K"]
    assert (row["k"], row["verdict"], row["small_sample"]) == (Decimal(k), verdict, n < 12)


@pytest.mark.parametrize("name", SENT_AGAIN)
def test_edge_12_each_petition_sent_again_is_a_new_one(name: str, recomputed: dict[tuple[object, ...], Row]) -> None:
    d, k = SENT_AGAIN[name]
    found, total = recomputed["2026-10", f"HCM.{name}", "D"], recomputed["2026-10", f"HCM.{name}", "K"]
    assert (rounded(Fraction(str(found["value"])), 6), total["k"]) == (Decimal(d), Decimal(k))
    assert total["no_petitions"] == (name in ("E12SU", "E12SX"))


def test_edge_12_petitions_that_were_not_read_give_no_value(recomputed: dict[tuple[object, ...], Row]) -> None:
    row = recomputed["2024-12", "HCM.E12SY", "D"]
    assert (row["status"], row["status_reason"], row["value"]) == ("no_data", "petitions_not_read", None)
    row = recomputed["2026-10", "HCM.E12M", "D"]
    assert (row["status"], row["status_reason"]) == ("no_data", "no_portal_row")


def test_edge_14_readings_of_a_missing_index() -> None:
    (policy,) = [p for p in rules.policies() if p.policy_id == "qd104-2024"]
    values = {"A": Fraction(1), "B": Fraction(1), "C": None, "D": Fraction(17), "E": Fraction(1)}
    assert k_with_missing(values, policy, "block") is None
    assert k_with_missing(values, policy, "zero") == 20
    assert k_with_missing(values, policy, "rescale") == Fraction("20.952381")


def test_rounding_is_half_away_from_zero() -> None:
    assert rounded(Fraction(1, 8), 2) == Decimal("0.13")
    assert rounded(Fraction(-1, 8), 2) == Decimal("-0.13")
    assert rounded(Fraction(2, 3), 15) == Decimal("0.666666666666667")


def test_an_unknown_parameter_value_is_refused() -> None:
    with pytest.raises(ValueError, match="b_source = citizen_answer"):
        scorer_with(b_source="citizen_answer")


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted(ORACLE.glob("*.py")), ids=lambda path: path.stem)
def test_oracle_imports_the_standard_library_only(path: Path) -> None:
    foreign = {
        name
        for name in imported(path)
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("tests.oracle")
    }
    assert not foreign


def test_the_look_at_imports_can_fail(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from hailong.periods import Period\nimport pandas as pd\n")
    assert {"hailong.periods", "pandas"} <= imported(tmp_path / "bad.py")


def test_the_oracle_is_there_to_be_looked_at() -> None:
    assert {"scorer", "cases", "edges", "book", "rules", "feeds", "petitions"} <= {
        path.stem for path in ORACLE.glob("*.py")
    }


def test_policy_of_a_period_is_the_one_in_force_on_its_last_day() -> None:
    base = rules.policies()[0]
    old = Policy("old", base.valid_from, base.valid_from.replace(year=2026), base.calendar_code, base.parameters)
    new = Policy("new", base.valid_from.replace(year=2026), None, base.calendar_code, base.parameters)
    scorer = Scorer(BOOK.world, [new, old], rules.working_days(), rules.level_classes())
    by_code = {period.period_code: scorer.policy_of(period).policy_id for period in periods()}
    assert by_code["2026-10"] == "old"
    assert by_code["2024-11"] == "old"
    last = periods()[-1]
    assert scorer.policy_of(replace(last, start=last.end, end=last.end.replace(year=2027))).policy_id == "new"
