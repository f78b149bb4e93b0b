"""The rules that are data: read from the seeds as plain CSV, so that both computations follow the same policy."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

from tests.oracle.scorer import Policy, Term
from tests.oracle.sensitivity import Reading

SEEDS = Path(__file__).resolve().parents[2] / "dbt_project" / "seeds"


def _rows(name: str, seeds: Path = SEEDS) -> list[dict[str, str]]:
    with (seeds / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def working_days() -> dict[date, bool]:
    """Every day of the calendar: whether it is worked."""
    return {date.fromisoformat(row["day"]): row["is_working_day"].lower() == "true" for row in _rows("calendar_day")}


def policies(seeds: Path = SEEDS) -> list[Policy]:
    """Policies with their parameters."""
    parameters: dict[str, dict[str, str]] = {}
    for row in _rows("scoring_policy_parameter", seeds):
        parameters.setdefault(row["policy_id"], {})[row["parameter"]] = row["value"]
    return [
        Policy(
            policy_id=row["policy_id"],
            valid_from=date.fromisoformat(row["valid_from"]),
            valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
            calendar_code=row["calendar_code"],
            parameters=parameters[row["policy_id"]],
        )
        for row in _rows("scoring_policy", seeds)
    ]


def write_policies(seeds: Path, since: list[date], changes: list[dict[str, str]]) -> None:
    """Policies in succession, each from its day to that of the next: the one in force with some parameters changed."""
    first, parameters = _rows("scoring_policy")[0], _rows("scoring_policy_parameter")
    found: dict[str, list[dict[str, str]]] = {"scoring_policy": [], "scoring_policy_parameter": []}
    ends = [*(day.isoformat() for day in since[1:]), ""]
    for number, (start, end, changed) in enumerate(zip(since, ends, changes, strict=True), 1):
        unknown = set(changed) - {row["parameter"] for row in parameters}
        if unknown:
            raise ValueError(f"no such parameter: {', '.join(sorted(unknown))}")
        own = {"policy_id": f"policy-{number}"}
        found["scoring_policy"].append({**first, **own, "valid_from": start.isoformat(), "valid_to": end})
        found["scoring_policy_parameter"] += [
            {**row, **own, "value": changed.get(row["parameter"], row["value"])} for row in parameters
        ]
    for name, rows in found.items():
        with (seeds / f"{name}.csv").open("w", encoding="utf-8", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def terms() -> list[Term]:
    """Terms of Decision 766 for petitions."""
    return [
        Term(
            row["term_code"],
            row["runs_from"],
            row["is_owed"] == "true",
            int(row["working_days"]),
            date.fromisoformat(row["valid_from"]),
            date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
        )
        for row in _rows("petition_term")
    ]


def level_classes() -> dict[str, str]:
    """Class (good, middle, not_good) of each level of a rating."""
    return {row["level_code"]: row["class"] for row in _rows("rating_level")}


def readings() -> list[Reading]:
    """Other readings of the parameters."""
    return [
        Reading(row["parameter"], row["value"], row["kind"], tuple(row["indices"].split(",")), not row["not_computed"])
        for row in _rows("scoring_reading")
    ]
