"""What a run of the gate found: its results, what they decide, and how they are said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from expectations.suites.model import OWNER, SEVERITIES
from hailong import logs
from hailong.review.findings import KEYS, Tally

SHOWN, RECORDED = 20, KEYS  # failing keys in a message, in `dq.result`


@dataclass(frozen=True)
class Part:
    """What of a failure lies in one scope, and whose it is."""

    scope: str
    owner: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What one expectation saw. `parts`: where it failed, by scope."""

    expectation_id: str
    target: str
    severity: str
    success: bool
    observed: str
    threshold: str
    failing_keys: list[str]
    reason: str
    parts: tuple[Part, ...] = ()

    @property
    def owner(self) -> str:
        return "; ".join(sorted({part.owner for part in self.parts})) or OWNER


@dataclass(frozen=True)
class Run:
    """One run of the gate, as recorded in `dq.run` and `dq.result`."""

    run_id: str
    disposition: str
    results: list[Result]
    docs_uri: str
    tally: Tally = field(default_factory=Tally)
    known: Mapping[str, str] = field(default_factory=dict)  # expectation → who answers for it, in Vietnamese

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if not result.success]

    def as_json(self) -> str:
        """What the sign-off shows: one object on one line."""
        warnings = [
            {"expectation_id": r.expectation_id, "reason": r.reason, "observed": r.observed}
            | ({"known": self.known[r.expectation_id]} if r.expectation_id in self.known else {})
            for r in self.failed
            if r.severity == "warning"
        ]
        answer = {
            "run_id": self.run_id,
            "disposition": self.disposition,
            "warnings": warnings,
            "docs_uri": self.docs_uri,
            "findings": vars(self.tally),
        }
        return json.dumps(answer, ensure_ascii=False)


def decide(results: Sequence[Result]) -> str:
    """stop on a critical failure, warn on a warning, else pass (info never holds anything up)."""
    failed = {result.severity for result in results if not result.success}
    return "stop" if "critical" in failed else "warn" if "warning" in failed else "pass"


def tell(run: Run) -> None:
    """The same for the logs: a line for what was decided and one for each failure; keys and names stay in the Data Docs."""
    levels = {"pass": "info", "warn": "warning", "stop": "error"}
    about = {"gate_run": run.run_id, "disposition": run.disposition}
    logs.tell("gate", f"{run.disposition} ({len(run.results)} expectations)", levels[run.disposition], **about)
    for result in sorted(run.failed, key=lambda r: SEVERITIES.index(r.severity)):
        said = f"{result.reason} ({result.observed}; {result.threshold})"
        level = {"critical": "error", "warning": "warning"}.get(result.severity, "info")
        logs.tell(
            "expectation", said, level, gate_run=run.run_id, expectation=result.expectation_id, owner=result.owner,
            failing=len(result.failing_keys),
        )  # fmt: skip


def show(run: Run, console: Console) -> None:
    """Say what failed, most severe first, with its units or keys."""
    colour = {"pass": "green", "warn": "yellow", "stop": "red"}[run.disposition]
    console.print(f"Gate {run.run_id}: [bold {colour}]{run.disposition}[/] ({len(run.results)} expectations)")
    for result in sorted(run.failed, key=lambda r: SEVERITIES.index(r.severity)):
        console.print(f"  {result.severity}: {result.expectation_id}", style="bold", markup=False)
        console.print(f"    {result.reason} ({result.observed}; {result.threshold})", markup=False)
        if result.expectation_id in run.known:
            console.print(f"    {run.known[result.expectation_id]}", markup=False)
        if result.owner != OWNER:
            console.print(f"    {result.owner}", markup=False)
        if result.failing_keys:
            more = len(result.failing_keys) - SHOWN
            at_least = " or more" if len(result.failing_keys) == RECORDED else ""
            rest = f" and {more} more{at_least}" if more > 0 else ""
            console.print(f"    {', '.join(result.failing_keys[:SHOWN])}{rest}", markup=False)
    console.print(f"{run.tally.message}: `hailong findings list`", markup=False)
    console.print(f"Data Docs: {run.docs_uri}", markup=False, soft_wrap=True)
