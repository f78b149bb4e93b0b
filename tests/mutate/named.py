"""Runs named tests on a copy of the project: dbt unit tests in a warehouse built once, pytest nodes in a process each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hailong.settings import PROJECT, Settings
from hailong.warehouse import dbt
from hailong.warehouse.build import build
from hailong.warehouse.migrations import migrate
from tests.conftest import database, on_database, settings_for, throwaway_server
from tests.mutate.mutations import Outcome, Result

LONGEST = 1800  # seconds for a process of pytest: a mutation may make a query endless


@dataclass(frozen=True)
class Bench:
    """A copy of the project, whose rule set may be spoiled, and a warehouse built by the rule set as it was."""

    project: Path
    server: str
    warehouse: Settings

    @property
    def rules(self) -> Path:
        return self.warehouse.rules

    def run(self, names: Sequence[str]) -> dict[str, Result]:
        """The result of each test. A name with `::` is a pytest node id, another one a dbt unit test."""
        nodes = [name for name in names if "::" in name]
        units = [name for name in names if "::" not in name]
        return (self._units(units) if units else {}) | (self._nodes(nodes) if nodes else {})

    def _units(self, names: Sequence[str]) -> dict[str, Result]:
        # dbt keeps the rows of seeds with the tests that it parsed and does not see that a seed changed; a variable it does.
        variables = {"seeds": _sha256_of_seeds(self.rules)}
        try:
            run = dbt.run(self.warehouse, ["test", "--select", *names], dbt.Reads(), variables=variables)
        except dbt.DbtFailed as error:
            run = error.run
        told = {node.node_id.rsplit(".", 1)[-1]: node for node in run.nodes}
        absent = Result(Outcome.BROKE, "\n".join(run.said[-12:]) or "dbt has no unit test of that name")
        return {name: _result(told[name]) if name in told else absent for name in names}

    def _nodes(self, names: Sequence[str]) -> dict[str, Result]:
        outcomes = self.project / "outcomes.json"
        outcomes.unlink(missing_ok=True)
        env = os.environ | {
            "PYTHONPATH": f"{self.project / 'plugins'}{os.pathsep}{self.project}",
            "HAILONG_DSN": self.server,
            "MUTATE_OUTCOMES": str(outcomes),
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.mutate.outcomes",
            "-p",
            "no:cacheprovider",
            *names,
        ]
        try:
            run = subprocess.run(
                command, cwd=self.project, env=env, capture_output=True, text=True, timeout=LONGEST, check=False
            )
            said = (run.stdout + run.stderr)[-2000:]
        except subprocess.TimeoutExpired:
            said = f"not finished after {LONGEST} s"
        told = json.loads(outcomes.read_text(encoding="utf-8")) if outcomes.is_file() else {}
        absent = (Outcome.BROKE, said)
        return {name: Result(Outcome(outcome), why) for name in names for outcome, why in [told.get(name, absent)]}


def _sha256_of_seeds(rules: Path) -> str:
    found = hashlib.sha256()
    for path in sorted((rules / "seeds").glob("*.csv")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _result(node: dbt.Node) -> Result:
    """dbt says `fail` where rows differ and `error` where it could not compile or run."""
    outcome = {"pass": Outcome.PASSED, "fail": Outcome.DIFFERED}.get(node.status, Outcome.BROKE)
    return Result(outcome, (node.message or "").strip())


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything that runs tests, gone afterwards. The server is HAILONG_DSN's, else an embedded one of its own."""
    folder = Path(tempfile.mkdtemp(prefix="hailong-mutate-"))
    try:
        project = folder / "project"
        shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info"))
        with throwaway_server() as dsn, database(dsn, f"hailong_mutate_{uuid.uuid4().hex[:8]}") as name:
            settings = settings_for(on_database(dsn, name), folder / "home", HAILONG_RULES=str(project / "dbt_project"))
            migrate(settings)
            build(settings)  # dbt takes the types of columns from the tables
            yield Bench(project, dsn, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
