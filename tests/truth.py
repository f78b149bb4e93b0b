"""What the warehouse found beside what the sandbox says of its own data (`python -m sandbox truth`): index by index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

SCORES = (
    "select period_code, unit_code, index_code, numerator, denominator, excluded, status, value from marts.index_score"
)
NUMBERS = ("numerator", "denominator", "excluded", "value")


def differences(said: Iterable[Mapping[str, object]], found: Iterable[Mapping[str, object]]) -> list[str]:
    """Indices that are not as said, or not there, from rows of `index_truth.csv` and of `SCORES`, as numbers or as text.

    Nothing at all (null, or an empty text) is not nought.
    """
    held = {_key(row): row for row in found}
    wrong = []
    for row in said:
        ours = held.get(_key(row))
        if ours is None or ours["status"] != row["status"] or _numbers(ours) != _numbers(row):
            wrong.append(f"said {dict(row)}, found {ours and dict(ours)}")
    return wrong


def _key(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["period_code"], row["unit_code"], row["index_code"]


def _numbers(row: Mapping[str, object]) -> list[Decimal | None]:
    return [None if row[name] in (None, "") else Decimal(str(row[name])) for name in NUMBERS]
