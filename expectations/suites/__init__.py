"""Suites of the gate as Python builders: every expectation has an id, an owner, a severity and a reason in Vietnamese."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from hailong.errors import PermanentError

THRESHOLDS = Path(__file__).parent / "thresholds.yaml"
CRITICAL, WARNING, INFO = "critical", "warning", "info"

E = TypeVar("E")


@dataclass(frozen=True)
class Threshold:
    """A bound with the reason for it and the day since when it holds."""

    value: float
    reason: str
    since: str


def load_thresholds(scope: str, path: Path = THRESHOLDS) -> dict[str, Threshold]:
    """Bounds of a scope ('candidate' or 'landed'); PermanentError when one has no reason or date."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))[scope]
        found = {
            name: Threshold(float(entry["value"]), str(entry["reason"]).strip(), str(entry["since"]))
            for name, entry in entries.items()
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise PermanentError(
            f"{path} has no usable thresholds for '{scope}': each needs value, reason and since ({error!r})"
        ) from error
    if not found or any(not bound.reason for bound in found.values()):
        raise PermanentError(f"{path}: '{scope}' is empty, or a threshold in it has no reason")
    return found


def expect(kind: type[E], id: str, severity: str, owner: str, reason: str, **arguments: Any) -> E:
    """A Great Expectations expectation that can be named, owned and explained."""
    meta = {"id": id, "owner": owner, "reason": reason}
    return kind(severity=severity, meta=meta, notes=f"{id} · {reason} ({owner})", **arguments)
