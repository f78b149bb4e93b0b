"""Migrations: harmless to repeat, refuse a changed past, and leave tables that nobody can rewrite."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from hailong.errors import PermanentError
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from hailong.warehouse.migrations import FOLDER, migrate


def test_a_second_run_applies_nothing(warehouse: Settings) -> None:
    again = migrate(warehouse)
    assert again.applied == ()
    assert again.already == len(list(FOLDER.glob("*.sql"))) >= 4


def test_a_file_changed_after_it_was_applied_is_refused(warehouse: Settings, tmp_path: Path) -> None:
    changed = tmp_path / "migrations"
    shutil.copytree(FOLDER, changed)
    first = sorted(changed.glob("*.sql"))[0]
    first.write_text(first.read_text() + "\n-- changed")
    with pytest.raises(PermanentError, match=f"{first.name} was changed"):
        migrate(warehouse, changed)


def test_a_failing_file_leaves_nothing_behind(warehouse: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / "9999_half.sql").write_text("create table ops.half (x int); select 1 / 0;")
    with pytest.raises(PermanentError, match=r"9999_half\.sql failed and was rolled back"):
        migrate(warehouse, folder)
    with connect(warehouse) as connection:
        assert connection.execute("select to_regclass('ops.half')").fetchone() == (None,)


@pytest.mark.parametrize(
    "statement", ["update ops.batch set feed = 'x'", "delete from ops.batch", "truncate ops.batch cascade"]
)
def test_the_ledger_is_append_only_even_for_its_owner(warehouse: Settings, statement: str) -> None:
    with connect(warehouse, autocommit=True) as connection:
        connection.execute(
            "insert into ops.batch (feed, landing_uri, landing_sha256, received_rows, loaded_rows, unchanged_rows, "
            "duplicate_rows, quarantined_rows, started_at, contract_version, code_version) "
            "values ('rating', 'x', repeat('a', 64), 1, 1, 0, 0, 0, now(), '1', '1')"
        )
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(statement)


@pytest.mark.parametrize(
    ("declared", "received", "loaded", "constraint"), [(None, 2, 1, "batch_adds_up"), (3, 2, 2, "batch_is_complete")]
)
def test_a_ledger_row_that_does_not_add_up_is_refused(
    warehouse: Settings, declared: int | None, received: int, loaded: int, constraint: str
) -> None:
    with (
        connect(warehouse, role="hailong_loader") as connection,
        pytest.raises(psycopg.errors.CheckViolation, match=constraint),
    ):
        connection.execute(
            "insert into ops.batch (feed, landing_uri, landing_sha256, declared_rows, received_rows, loaded_rows, "
            "unchanged_rows, duplicate_rows, quarantined_rows, started_at, contract_version, code_version) "
            "values ('rating', 'x', repeat('a', 64), %s, %s, %s, 0, 0, 0, now(), '1', '1')",
            (declared, received, loaded),
        )


def test_a_reader_cannot_write_and_the_publisher_cannot_touch_the_ledger(warehouse: Settings) -> None:
    for role in ("hailong_reader", "hailong_publisher", "hailong_gate"):
        with connect(warehouse, role=role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into ops.quarantine (batch_id, feed, rule, detail) values (1, 'x', 'x', 'x')")
