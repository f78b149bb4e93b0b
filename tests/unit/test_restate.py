"""Differences between two editions by cause."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from hailong.periods import Period
from hailong.publish import restate as restating
from hailong.publish.candidate import Build
from hailong.publish.checksum import Content
from hailong.publish.restate import Difference, _differences
from hailong.settings import Settings
from hailong.warehouse import rules
from hailong.warehouse.dbt import DbtFailed, DbtRun


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


def rule_set(folder: Path, seed: str, model: str) -> Settings:
    (folder / "seeds").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "dbt_project.yml").write_text("name: x\n")
    (folder / "seeds" / "rule.csv").write_text(seed)
    (folder / "models" / "model.sql").write_text(model)
    return Settings.load({"HAILONG_RULES": str(folder), "HAILONG_HOME": str(folder / ".home")})


def test_between_rules_and_code_stand_the_models_of_then_over_the_seeds_of_today(tmp_path: Path) -> None:
    then, today = rule_set(tmp_path / "a", "1", "old"), rule_set(tmp_path / "b", "2", "new")
    (today.rules / "seeds" / "added.csv").write_text("3")
    (then.rules / "seeds" / "gone.csv").write_text("4")
    with rules.with_seeds_of(then, today) as between:
        assert {path.as_posix(): (between.rules / path).read_text() for path in rules.rule_files(between.rules)} == {
            "dbt_project.yml": "name: x\n", "models/model.sql": "old", "seeds/added.csv": "3", "seeds/rule.csv": "2",
        }  # fmt: skip
    assert not between.rules.exists()


@pytest.mark.parametrize(
    ("seed", "model", "expected"),
    [
        ("1", "old", {}),
        ("2", "old", {"rule": ["own 9"]}),  # what is built is the rows of today by the rules of then
        ("1", "new", {"code": ["own 9"]}),
        ("2", "new", {"rule": ["own 9", "between 9"], "code": ["own 9", "between 9"]}),
        ("2", "fails", {"rule": ["own 9", "between 9"]}),
    ],
)
def test_what_changed_in_the_rule_set_is_told_by_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: str, model: str, expected: dict[str, list[str]]
) -> None:
    """Rules of today that the models of then cannot read are told as rules, with all that hangs on them."""
    then, today = rule_set(tmp_path / "then", "1", "old"), rule_set(tmp_path / "today", seed, model)
    sha256 = rules.rules_sha256(today.rules)
    built: list[str] = []
    told: list[str] = []

    def build(by: Settings, as_of: int, **_: object) -> None:
        built.append(f"{'own' if by.rules == then.rules else 'between'} {as_of}")
        if model == "fails" and by.rules != then.rules:
            raise DbtFailed("no such column", DbtRun(by.rules, 1))

    monkeypatch.setattr(restating.building, "side_state", lambda settings: nullcontext(None))
    monkeypatch.setattr(restating.rules, "laid_out", lambda settings, sha256: nullcontext(then))
    monkeypatch.setattr(restating, "_classified", lambda *_: nullcontext(set()))
    monkeypatch.setattr(restating.building, "build", build)
    monkeypatch.setattr(restating, "made", lambda *_: content("0.6") if built[-1] == "own 9" else content("0.7"))
    now = content("0.6") if (seed, model) == ("1", "old") else content("0.9")
    standing = restating._Standing("2026-10.e1", 9, rules.rules_sha256(then.rules))
    period = Period("2026-10", "month", "mid_month", date(2026, 9, 15), date(2026, 10, 15))
    states = restating._states(today, period, standing, Build(1, 9, sha256, ""), content("0.6"), now, told.append)
    found = list(_differences(states))
    assert {difference.cause for difference in found} == set(expected)
    assert sum(difference.contribution or 0 for difference in found) == (Decimal("0.3") if expected else 0)
    assert built == next(iter(expected.values()), [])
    assert ["no such column" in line for line in told] == [True] * (model == "fails")
