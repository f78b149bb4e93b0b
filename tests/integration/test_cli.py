"""Wrong use on a working warehouse: one clear message, the right exit status, no traceback, nothing changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hailong.settings import Settings
from hailong.warehouse.connect import connect

PROJECT = Path(__file__).resolve().parents[2]


def run(settings: Settings, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hailong.cli", *arguments],
        cwd=PROJECT, env={**os.environ, **settings.env, **env}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], status: int, *parts: str) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


def test_an_unknown_feed_is_wrong_use_and_names_the_known_ones(module_warehouse: Settings) -> None:
    refused(run(module_warehouse, "ingest", "dosier"), 2, "dosier", "dossier", "rating")


def test_a_missing_file_says_so(module_warehouse: Settings) -> None:
    refused(run(module_warehouse, "ingest", "unit_register", "--file", "/nowhere/units.csv"), 2, "/nowhere/units.csv")


def test_a_wrong_mapping_column_lists_the_columns_there_are(module_warehouse: Settings, tmp_path: Path) -> None:
    (tmp_path / "units.csv").write_text("code,name\nX,Y\n")
    (tmp_path / "mapping.yaml").write_text("columns:\n  unit_code: cod\n")
    done = run(
        module_warehouse, "ingest", "unit_register", "--file", str(tmp_path / "units.csv"),
        "--mapping", str(tmp_path / "mapping.yaml"),
    )  # fmt: skip
    assert done.returncode in (1, 2)
    refused(done, done.returncode, "cod", "code", "name")


def test_a_contract_with_a_typo_names_file_and_key(module_warehouse: Settings, tmp_path: Path) -> None:
    contracts = tmp_path / "contracts"
    shutil.copytree(module_warehouse.contracts, contracts)
    path = contracts / "rating.yaml"
    path.write_text(path.read_text().replace("physicalType: timestamptz", "physicalType: timestamptzz", 1))
    done = run(module_warehouse, "ingest", "rating", HAILONG_CONTRACTS=str(contracts))
    refused(done, 1, "rating.yaml", "timestamptzz")


def test_a_source_that_is_down_is_a_transient_error(module_warehouse: Settings) -> None:
    down = {"HAILONG_SOURCE_TTHC_URL": "http://127.0.0.1:9", "HAILONG_HTTP_RETRY_WAIT": "0.01"}
    done = run(module_warehouse, "ingest", "unit_register", **down)
    refused(done, 1, "transient error", "127.0.0.1:9")


def test_events_before_the_registers_name_what_to_do_first(module_warehouse: Settings) -> None:
    done = run(
        module_warehouse, "ingest", "dossier", "--since", "2026-10-01", HAILONG_SOURCE_TTHC_URL="http://127.0.0.1:9"
    )
    refused(done, 1, "code_map")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["candidate", "--period", "2026-10"], "hailong build"),
        (["gate", "--period", "2026-10"], "has no candidate"),
        (["publish", "--period", "2026-10"], "has no candidate"),
        (["approve", "2026-10.c1", "--by", "x"], "no candidate"),
        (["explain", "--unit", "X", "--period", "2026-10"], "hailong build"),
        (["report", "--period", "2026-10", "--out", "/tmp"], "no edition"),
        (["build", "--as-of", "99"], "newest batch"),
    ],
)
def test_a_step_out_of_turn_says_which_comes_first(module_warehouse: Settings, arguments: list[str], part: str) -> None:
    refused(run(module_warehouse, *arguments), 1, part)


def test_nothing_was_changed_by_any_of_it(module_warehouse: Settings) -> None:
    with connect(module_warehouse) as connection:
        counts = connection.execute(
            "select (select count(*) from ops.batch), (select count(*) from publish.candidate), "
            "(select count(*) from publish.edition)"
        ).fetchone()
    assert counts == (0, 0, 0)


def test_an_empty_warehouse_has_a_status(module_warehouse: Settings) -> None:
    done = run(module_warehouse, "status")
    assert done.returncode == 0
    assert "Nothing has been loaded yet" in done.stdout
