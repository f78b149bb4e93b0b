"""docs/method.md tells where each clause of the Decision stands, and names nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLAUSES = {1: 0, 2: 4, 3: 8, 4: 3, 5: 5, 6: 2, 7: 4, 8: 3, 9: 0, 10: 2, 11: 2, 12: 2, 13: 0, 14: 0, 15: 0, 16: 4, 17: 0}
ANNEX = ("I.1", "I.2", "I.3", "I.4", "I.5", "II.1", "II.2")
NOWHERE = ("nothing", "not yet")
MODEL = re.compile(r"^(stg|dim|core|fct|mart|dq)_\w+$")


def rows_of(text: str) -> list[list[str]]:
    """Cells of the table whose header begins with `clause`."""
    lines = text[text.index("| clause |") :].splitlines()[2:]
    table = lines[: next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def problems(text: str) -> list[str]:
    """What is wrong with the table, in words."""
    rows = rows_of(text)
    every = [f"{a}.{n}" for a, count in CLAUSES.items() for n in range(1, count + 1)]
    every += [str(a) for a, count in CLAUSES.items() if not count]
    listed = [row[0] for row in rows]
    found = [f"{clause} has no row" for clause in {*every, *ANNEX} - set(listed)]
    found += [f"{clause} is no clause, or stands there twice" for clause in set(listed) if listed.count(clause) > 1]
    found += [f"{clause} is no clause" for clause in set(listed) - {*every, *ANNEX}]
    models = {path.stem for path in (ROOT / "dbt_project" / "models").rglob("*.sql")}
    for clause, _, where, *test in rows:
        named = re.findall(r"`([^`]+)`", " ".join((where, *test)))
        found += [
            f"{clause} names {name}, which is no model" for name in named if MODEL.match(name) and name not in models
        ]
        found += [
            f"{clause} names {name}, which is no file" for name in named if "/" in name and not (ROOT / name).exists()
        ]
        if not named and not any(word in where for word in NOWHERE):
            found.append(f"{clause} says neither where it stands nor that it stands nowhere")
        built = [name for name in re.sub(r"[^;]*not yet", "", where).split("`")[1::2] if MODEL.match(name)]
        if built and not any(name.startswith("tests/") for name in named):
            found.append(f"{clause} names {built[0]} and no test")
    return found


@pytest.fixture
def method() -> str:
    return (ROOT / "docs" / "method.md").read_text(encoding="utf-8")


def test_every_clause_has_its_row_and_what_it_names_is_there(method: str) -> None:
    assert problems(method) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("| 3.4 | secrecy", "| 3.9 | secrecy"), "3.4 has no row"),
        (("| 3.5 | no cost", "| 3.4 | no cost"), "3.4 is no clause, or stands there twice"),
        (("`fct_e_posting` |", "`fct_e_post` |"), "I.5 names fct_e_post, which is no model"),
        (("`tests/unit/test_deadline.py` |", "`tests/unit/test_deadlines.py` |"), "no file"),
        (("| no cost for citizens | nothing |", "| no cost for citizens | somewhere |"), "3.5 says neither"),
        (
            ("`fct_e_posting` | `tests/dbt/test_dbt_unit.py` |", "`fct_e_posting` | |"),
            "I.5 names fct_e_posting and no test",
        ),
    ],
)
def test_the_check_can_fail(method: str, change: tuple[str, str], told: str) -> None:
    assert change[0] in method
    assert any(told in problem for problem in problems(method.replace(*change)))
