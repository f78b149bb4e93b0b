"""What an expectation of ours is: a Great Expectations expectation with a name, an owner and a reason in Vietnamese."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import great_expectations.expectations as gxe
import pandas as pd
import yaml

from hailong.errors import PermanentError
from hailong.review.findings import EVERYTHING
from hailong.review.owners import OURS as OWNER

SEVERITIES = ("critical", "warning", "info")
THRESHOLDS = Path(__file__).with_name("thresholds.yaml")


@dataclass(frozen=True)
class Target:
    """A small table that expectations look at, and the columns that name a row in messages.

    A required target without rows stops the run; another one is left out, and with it its expectations. `scope`: the column
    by which its failures are findings (default: the whole is one). `looked_at`: scopes of which a missing row is good news,
    because rows stand for what is wrong.
    """

    frame: pd.DataFrame
    keys: tuple[str, ...]
    required: bool = True
    scope: str | None = None
    looked_at: frozenset[str] = frozenset()

    def scopes(self, default: str) -> frozenset[str]:
        """Every scope that was looked at."""
        if self.scope is None:
            return frozenset() if self.frame.empty else frozenset({default})
        return self.looked_at | (frozenset() if self.frame.empty else frozenset(self.frame[self.scope]))


@dataclass(frozen=True)
class Subject:
    """Everything that one run looks at.

    `samples`: keys behind a number, by expectation id and scope. `default`: the scope of what has no other. `owners`: by feed.
    """

    targets: Mapping[str, Target]
    samples: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    default: str = EVERYTHING
    owners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One expectation on one target. `kind` is a class of `great_expectations.expectations`.

    `feed`: the feed whose owner is told when it fails and the rows name no owner; without one it is ours.
    """

    id: str
    target: str
    severity: str
    reason: str
    kind: str
    arguments: Mapping[str, Any]
    threshold: str
    feed: str | None = None

    def expectation(self) -> Any:
        """The same for Great Expectations, which carries the id through to its result."""
        meta = {"id": self.id, "owner": OWNER, "reason": self.reason, "threshold": self.threshold}
        told = f"{self.id} ({self.severity}): {self.reason} [{self.threshold}]"
        return getattr(gxe, self.kind)(**self.arguments, severity=self.severity, meta=meta, description=told)


def holds(check_id: str, target: str, column: str, severity: str, reason: str) -> Check:
    """A condition that was worked out row by row into a boolean column; an unknown outcome is a failure too."""
    return Check(
        check_id, target, severity, reason, "ExpectColumnValuesToBeInSet",
        {"column": column, "value_set": [True]}, column.replace("_", " "),
    )  # fmt: skip


def within(
    check_id: str, target: str, column: str, low: float | None, high: float | None, severity: str, reason: str
) -> Check:
    """Numbers between two bounds, bounds included; null passes (what must not be null has its own expectation)."""
    return Check(
        check_id, target, severity, reason, "ExpectColumnValuesToBeBetween",
        {"column": column, "min_value": low, "max_value": high},
        f"{'' if low is None else f'{low:g} ≤ '}{column}{'' if high is None else f' ≤ {high:g}'}",
    )  # fmt: skip


def one_of(check_id: str, target: str, column: str, values: Iterable[Any], severity: str, reason: str) -> Check:
    """A closed list; null passes."""
    allowed = list(values)
    return Check(
        check_id, target, severity, reason, "ExpectColumnValuesToBeInSet",
        {"column": column, "value_set": allowed}, f"{column}: {', '.join(map(str, allowed))}",
    )  # fmt: skip


def unique(check_id: str, target: str, columns: list[str], severity: str, reason: str) -> Check:
    """No two rows with the same key."""
    kind, arguments = "ExpectCompoundColumnsToBeUnique", dict[str, Any](column_list=columns)
    if len(columns) == 1:
        kind, arguments = "ExpectColumnValuesToBeUnique", {"column": columns[0]}
    return Check(check_id, target, severity, reason, kind, arguments, f"unique: {', '.join(columns)}")


def not_null(check_id: str, target: str, column: str, severity: str, reason: str) -> Check:
    return Check(check_id, target, severity, reason, "ExpectColumnValuesToNotBeNull", {"column": column}, "not null")


def rows_present(target: str, reason: str) -> Check:
    """The check that something was looked at."""
    return Check(
        f"{target}.rows_present", target, "critical", reason,
        "ExpectTableRowCountToBeBetween", {"min_value": 1, "max_value": None}, "≥ 1 row",
    )  # fmt: skip


def read_thresholds(path: Path) -> dict[str, float]:
    """Thresholds by name; PermanentError when one comes without its reason and date."""
    return {name: float(entry["value"]) for name, entry in _read(path).items()}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, entry in document.items():
        if (
            not isinstance(entry, dict)
            or set(entry) - {"severity"} != {"value", "since", "why"}
            or not isinstance(entry["since"], date)
        ):
            raise PermanentError(f"{path.name}: '{name}' needs exactly value, since (a date) and why")
        if entry.get("severity", SEVERITIES[0]) not in SEVERITIES:
            raise PermanentError(
                f"{path.name}: '{name}' has severity {entry['severity']!r}; allowed: {', '.join(SEVERITIES)}"
            )
    return dict(document)


@cache
def _thresholds() -> dict[str, dict[str, Any]]:
    return _read(THRESHOLDS)


def limit(name: str) -> float:
    """A threshold by name."""
    return float(_thresholds()[name]["value"])


def severity(name: str) -> str:
    """How much the expectation of this name weighs; PermanentError where the data does not say."""
    found = _thresholds().get(name, {}).get("severity")
    if found is None:
        raise PermanentError(f"{THRESHOLDS.name}: '{name}' has no severity")
    return str(found)
