"""What a build leaves to read: SQL without a literal of the Decision, comments in PostgreSQL, docs without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hailong.settings import Settings
from hailong.warehouse import dbt
from hailong.warehouse.build import build
from tests.dbt.test_project_rules import literals_of_the_decision

LAYERS = ("core", "facts", "marts", "officials")


@pytest.fixture(scope="module")
def target(module_warehouse: Settings) -> Path:
    """dbt's folder after a build and `dbt docs generate`."""
    build(module_warehouse)
    dbt.run(module_warehouse, ["docs", "generate", "--static"], dbt.Reads())
    return module_warehouse.home / "dbt" / "target"


def test_the_sql_that_ran_holds_no_literal_of_the_decision(target: Path) -> None:
    compiled = sorted((target / "compiled" / "hailong" / "models").rglob("*.sql"))
    assert len(compiled) > 50
    found = {path.stem: literals_of_the_decision(path.read_text(encoding="utf-8")) for path in compiled}
    assert {name: literals for name, literals in found.items() if literals} == {}


def test_every_model_locks_the_tables_it_points_to_in_one_order(target: Path) -> None:
    """Two models at a time would else wait for each other: each keeps the lock of one table and wants that of the other."""
    orders = {
        path.stem: re.findall(r"foreign key .*? references (\S+)", path.read_text("utf-8"), re.I | re.S)
        for path in (target / "run" / "hailong" / "models").rglob("*.sql")
    }
    assert sum(len(set(found)) > 1 for found in orders.values()) > 20
    assert {name: found for name, found in orders.items() if found != sorted(found)} == {}


def test_a_literal_in_compiled_sql_is_seen() -> None:
    assert literals_of_the_decision("select case when k > 20 then 1 end") == ["20"]
    assert literals_of_the_decision("where status in ('8', '9')") == ["'8'", "'9'"]


def test_every_column_has_its_comment_in_postgresql(target: Path) -> None:
    catalog: dict[str, Any] = json.loads((target / "catalog.json").read_text(encoding="utf-8"))
    tables = [node for node in catalog["nodes"].values() if node["metadata"]["schema"] in LAYERS]
    assert len(tables) > 20
    silent = [
        f"{node['metadata']['name']}.{name}"
        for node in tables
        for name, column in node["columns"].items()
        if not column["comment"]
    ]
    assert silent == []


def test_the_docs_open_without_a_network(target: Path) -> None:
    page = (target / "static_index.html").read_text(encoding="utf-8")
    assert "mart_dossier_flow" in page  # manifest and catalog stand in the page itself
    assert not re.findall(r"<(?:script|link)[^>]+(?:src|href)=\"https?://[^\"]+", page)
