"""The rules that are data: read from the seeds as plain CSV, so that both computations follow the same policy."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

from tests.oracle.scorer import Policy

SEEDS = Path(__file__).resolve().parents[2] / "dbt_project" / "seeds"


def _rows(name: str) -> list[dict[str, str]]:
    with (SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def working_days() -> dict[date, bool]:
    """Every day of the calendar: whether it is worked."""
    return {date.fromisoformat(row["day"]): row["is_working_day"].lower() == "true" for row in _rows("calendar_day")}


def policies() -> list[Policy]:
    """Policies with their parameters."""
    parameters: dict[str, dict[str, str]] = {}
    for row in _rows("scoring_policy_parameter"):
        parameters.setdefault(row["policy_id"], {})[row["parameter"]] = row["value"]
    return [
        Policy(
            policy_id=row["policy_id"],
            valid_from=date.fromisoformat(row["valid_from"]),
            valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
            calendar_code=row["calendar_code"],
            parameters=parameters[row["policy_id"]],
        )
        for row in _rows("scoring_policy")
    ]


def level_classes() -> dict[str, str]:
    """Class (good, middle, not_good) of each level of a rating."""
    return {row["level_code"]: row["class"] for row in _rows("rating_level")}
