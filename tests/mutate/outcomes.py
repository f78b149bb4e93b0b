"""Plugin of pytest (`-p tests.mutate.outcomes`): writes to the file MUTATE_OUTCOMES what became of each test, and why.

A test that fails by an assertion saw a difference; so did a build in it that stopped because a dbt test found rows or a check
of a table refused them. Whatever else stops it, SQL that does not run above all, saw none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hailong.warehouse.dbt import DbtFailed, Node
from tests.mutate.mutations import Outcome

_told: dict[str, tuple[str, str]] = {}


def outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        return Outcome.DIFFERED
    failed = error.run.failed if isinstance(error, DbtFailed) else ()
    return Outcome.DIFFERED if failed and all(map(_saw_rows, failed)) else Outcome.BROKE


def _saw_rows(node: Node) -> bool:
    return node.status == "fail" or "violates check constraint" in (node.message or "")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo is not None:
        outcome = outcome_of(call.excinfo.value)
        _told[item.nodeid] = (outcome, f"{call.when}: {call.excinfo.exconly()}")
    elif call.when == "call":
        _told[item.nodeid] = (Outcome.PASSED, "")


def pytest_sessionfinish() -> None:
    Path(os.environ["MUTATE_OUTCOMES"]).write_text(json.dumps(_told), encoding="utf-8")
