"""The worked edges as dbt unit tests, each on the models' own SQL."""

from __future__ import annotations

import re
from pathlib import Path

from hailong.settings import Settings
from hailong.warehouse import dbt
from hailong.warehouse.build import build

MODELS = Path(__file__).resolve().parents[2] / "dbt_project" / "models"


def test_every_dbt_unit_test_runs_and_passes(warehouse: Settings) -> None:
    declared = sum(
        len(re.findall(r"^  - name:", path.read_text(encoding="utf-8"), re.M))
        for path in MODELS.rglob("_*unit_tests.yml")
    )
    build(warehouse)  # dbt takes the types of columns from the tables
    run = dbt.run(warehouse, ["test", "--select", "test_type:unit"], dbt.Reads())
    assert declared >= 16
    assert len(run.nodes) == declared  # a selector that matches nothing succeeds
    assert {node.status for node in run.nodes} == {"pass"}
