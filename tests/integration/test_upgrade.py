"""From the first release to now, on a database with data: nothing is lost, what was said is readable and holds, the road goes on.

And on that frozen world, what is scored now, digit for digit: whoever moves one by a new package or another model is told.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from hailong.errors import PermanentError
from hailong.extract.run import ingest
from hailong.publish import candidate, edition
from hailong.publish.approval import approve
from hailong.publish.checksum import TABLES, Content, content_sha256, made
from hailong.publish.verify import verify
from hailong.settings import PROJECT, Settings
from hailong.warehouse.build import BuildResult, build
from hailong.warehouse.connect import connect
from hailong.warehouse.logins import grant_unit
from hailong.warehouse.migrations import FOLDER, Migrated, migrate
from tests.conftest import settings_for
from tests.integration import matrix
from tests.integration.released import released
from tests.integration.test_publish import ZONE, gate_says

MONTH, QUARTER = "2026-10", "2026-Q3"
SAID = f"{MONTH}.e1"
KEPT = ("raw", "ops", "dq", "publish")  # schemas of what a build cannot make again
GOLDEN = PROJECT / "tests" / "fixtures" / "golden"
RENEW = "HAILONG_RENEW_GOLDEN"  # `make golden`

Rows = dict[str, tuple[list[str], list[str]]]  # table → its columns, its rows as text


def rows_of(settings: Settings, columns: dict[str, list[str]] | None = None) -> Rows:
    """Every table of the kept schemas, or those named with the columns named."""
    with connect(settings) as connection:
        if columns is None:
            columns = dict(
                connection.execute(
                    "select n.nspname || '.' || c.relname, array_agg(a.attname::text order by a.attnum) from pg_class as c "
                    "inner join pg_namespace as n on n.oid = c.relnamespace inner join pg_attribute as a on a.attrelid = c.oid "
                    "where c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and n.nspname = any(%s) group by 1",
                    (list(KEPT),),
                ).fetchall()
            )
        found: Rows = {}
        for table, names in columns.items():
            query = sql.SQL("select row({})::text from {}").format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(*table.split("."))
            )
            found[table] = names, sorted(row for (row,) in connection.execute(query).fetchall())
    return found


@dataclass(frozen=True)
class Upgraded:
    """A database of the first release, brought to the newest schema."""

    settings: Settings
    before: Rows
    migrated: Migrated


@pytest.fixture(scope="module")
def upgraded(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    home = tmp_path_factory.mktemp("released")
    with released(server_dsn, f"hailong_released_{os.getpid()}", home) as dsn:
        settings = replace(settings_for(dsn, home), signers=("signer",))
        before = rows_of(settings)
        yield Upgraded(settings, before, migrate(settings))


# -- the schema ---------------------------------------------------------------------------------------------------------


def test_the_first_release_is_upgraded_by_every_migration_since(upgraded: Upgraded) -> None:
    files = sorted(path.name for path in FOLDER.glob("*.sql"))
    assert [len(upgraded.before[table][1]) for table in ("ops.migration", "publish.k_score")] == [5, 186]
    assert list(upgraded.migrated.applied) == files[5:]
    again = migrate(upgraded.settings)
    assert (again.applied, again.already) == ((), len(files))


def test_no_row_is_lost_or_changed(upgraded: Upgraded) -> None:
    now = rows_of(upgraded.settings, {table: names for table, (names, _) in upgraded.before.items()})
    assert sum(len(rows) for _, rows in upgraded.before.values()) > 10_000
    for table, (_, rows) in upgraded.before.items():
        if table == "ops.migration":
            assert set(rows) < set(now[table][1])
        else:
            assert now[table][1] == rows, table


def test_what_was_said_then_holds_now(upgraded: Upgraded) -> None:
    with connect(upgraded.settings, "hailong_reader") as connection:
        row = connection.execute("select content_sha256 from publish.edition where edition_id = %s", (SAID,)).fetchone()
        assert row == (content_sha256(connection, "edition", SAID),)
    found = verify(upgraded.settings, chain=True)
    assert found.checks and found.holds


def test_a_changed_row_of_then_is_found(upgraded: Upgraded) -> None:
    change = "update publish.k_score set near_threshold = not near_threshold where unit_code = 'HCM.SN01'"
    with connect(upgraded.settings, autocommit=True) as connection:
        connection.execute("alter table publish.k_score disable trigger all")
        try:
            assert connection.execute(change).rowcount == 1
            assert not verify(upgraded.settings, chain=True).holds
        finally:
            connection.execute(change)
            for trigger in ("k_score_append_only", "k_score_no_truncate"):
                connection.execute(
                    sql.SQL("alter table publish.k_score enable always trigger {}").format(sql.Identifier(trigger))
                )


def test_editions_of_then_are_read_by_the_views_of_now(upgraded: Upgraded) -> None:
    with connect(upgraded.settings, "hailong_bi_reader") as connection:
        for view, rows in (("k_score_latest", 186), ("index_score_latest", 186 * 5), ("edition_diff", 0)):
            assert connection.execute(f"select count(*) from publish.{view}").fetchone() == (rows,), view
    assert edition.write_files(upgraded.settings, SAID) == upgraded.settings.editions / SAID


def test_roles_are_those_of_a_new_database(upgraded: Upgraded) -> None:
    assert matrix.everything_that_differs(upgraded.settings) == []


def test_a_failed_upgrade_leaves_the_schema_of_the_last_file_that_went_well(
    server_dsn: str, tmp_path: Path, upgraded: Upgraded
) -> None:
    half = tmp_path / "migrations"
    shutil.copytree(FOLDER, half)
    name = upgraded.migrated.applied[-1]
    (half / name).write_text((half / name).read_text(encoding="utf-8") + "\nselect 1 / 0;", encoding="utf-8")
    with released(server_dsn, f"hailong_half_{os.getpid()}", tmp_path / "home") as dsn:
        settings = settings_for(dsn, tmp_path / "home")
        with pytest.raises(PermanentError, match=f"{name} failed and was rolled back"):
            migrate(settings, half)
        assert migrate(settings).applied == (name,)


# -- the road goes on ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Onward:
    """The upgraded database after a night by the program of now: an open dossier has ended, another one came. The program's
    login has the roles of its stations and is no administrator."""

    settings: Settings
    batch_id: int
    open_key: str
    built: BuildResult


@pytest.fixture(scope="module")
def onward(upgraded: Upgraded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Onward]:
    with matrix.logins(upgraded.settings, {"program": matrix.STATIONS}) as logins:
        yield _a_night(replace(upgraded.settings, dsn=logins.addresses["program"]), tmp_path_factory.mktemp("night"))


def _a_night(settings: Settings, folder: Path) -> Onward:
    with connect(settings, "hailong_loader") as connection:
        row = connection.execute(
            "select record_key, procedure_code, resolving_unit_source_code, receiving_unit_source_code, channel_code, "
            "to_char(received_at at time zone %s, 'YYYYMMDDHH24MISS') from raw.dossier where finished_at is null and "
            "returned_at is null and status_code = '4' order by record_key limit 1",
            (settings.timezone,),
        ).fetchone()
    assert row
    key, procedure, resolving, receiving, channel, received = row
    told = {"MaTTHC": procedure, "KenhThucHien": channel, "DonViXuLy": resolving, "NoiNopHoSo": receiving,
            "NgayTiepNhan": received, "NgayCapNhat": "20261101120000", "DanhSachHoSoBoSung": []}  # fmt: skip
    ended = {"MaHoSo": key, "TrangThaiHoSo": "9", "NgayKetThucXuLy": "20261020160000", "NgayHenTra": "20261021170000"}
    came = {"MaHoSo": "H29.10-261020-00001", "TrangThaiHoSo": "4", "NgayTiepNhan": "20261020090000"}
    path = folder / "dossier.jsonl"
    path.write_text("".join(json.dumps(told | record) + "\n" for record in (ended, came)), encoding="utf-8")
    loaded = ingest(settings, "dossier", since=datetime(2026, 10, 15, tzinfo=ZONE), until=datetime(2026, 11, 15, tzinfo=ZONE),
                    file=path)  # fmt: skip
    assert loaded.batch_id is not None
    return Onward(settings, loaded.batch_id, key, build(settings))


def test_the_next_night_is_loaded_on_top_of_what_was_there(onward: Onward, upgraded: Upgraded) -> None:
    batches = len(upgraded.before["ops.batch"][1])
    with connect(upgraded.settings) as connection:
        assert onward.batch_id > batches  # more than one further: a batch that is rolled back leaves its number
        assert connection.execute(
            "select received_rows, loaded_rows, quarantined_rows from ops.batch where batch_id = %s", (onward.batch_id,)
        ).fetchone() == (2, 2, 0)
        versions = connection.execute(
            "select batch_id, status_code from raw.dossier where record_key = %s order by 1", (onward.open_key,)
        ).fetchall()
    assert [status for _, status in versions] == ["4", "9"] and versions[1][0] == onward.batch_id


def test_the_first_build_after_it_looks_at_everything(onward: Onward, upgraded: Upgraded) -> None:
    assert (onward.built.since_batch, onward.built.as_of_batch) == (None, onward.batch_id)
    with connect(upgraded.settings) as connection:
        dossiers = connection.execute(
            "select (select count(*) from core.core_dossier), (select count(distinct record_key) from raw.dossier)"
        ).fetchone()
        ended = connection.execute(
            "select count(*) from facts.fct_a_timeliness where dossier_code = %s", (onward.open_key,)
        ).fetchone()
    assert dossiers and dossiers[0] == dossiers[1] > 1000
    assert ended == (1,)


def test_roles_hold_when_a_build_has_made_its_tables_anew(onward: Onward, upgraded: Upgraded) -> None:
    assert onward.built.full_refresh
    assert matrix.everything_that_differs(upgraded.settings) == []


def test_an_edition_of_then_is_made_again_by_its_own_rules(onward: Onward) -> None:
    """After rows came that it does not count. The program has changed since, and what the rule set of then asks of it has not."""
    found = verify(onward.settings, SAID)
    assert found.holds, [check.against for check in found.checks if check.against]


def test_a_period_is_published_behind_an_edition_of_then(onward: Onward, upgraded: Upgraded) -> None:
    """The copy of then is not taken: it has no points, so another one is made of the same state."""
    settings = onward.settings
    copied = candidate.create(settings, QUARTER, "engineer")
    assert (copied.candidate_id, copied.created) == (f"{QUARTER}.c2", True)
    gate_says(settings, copied.candidate_id, "pass")
    approve(settings, copied.candidate_id, "signer")
    assert edition.publish(settings, QUARTER, "engineer").edition_id == f"{QUARTER}.e1"
    found = verify(settings, chain=True)
    assert {check.subject for check in found.checks} >= {SAID, f"{QUARTER}.e1"}
    assert found.holds
    with pytest.raises(PermanentError, match="as the login that runs the migrations"):
        grant_unit(settings, "x", "HCM.SN01", "x")
    with matrix.logins(upgraded.settings, {"unit": [matrix.UNIT_READER]}) as made_logins:
        grant_unit(upgraded.settings, made_logins.names["unit"], "HCM.SN01", "x")
        with made_logins.connect("unit") as connection:
            rows = connection.execute("select edition_id, unit_code from publish.unit_k_score order by 1").fetchall()
        assert rows == [(SAID, "HCM.SN01"), (f"{QUARTER}.e1", "HCM.SN01")]
        with made_logins.connect("unit") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from core.dim_unit")


def test_a_month_of_then_is_not_said_again_by_itself(onward: Onward) -> None:
    """What today's rules make of it may differ: that is a restatement, asked for by a person."""
    copied = candidate.create(onward.settings, MONTH, "engineer")
    assert copied.published_as != SAID, "today's rules say of the fixture what the first release said: it shows nothing"
    gate_says(onward.settings, copied.candidate_id, "pass")
    approve(onward.settings, copied.candidate_id, "signer")
    with pytest.raises(PermanentError, match="a correction is a restatement"):
        edition.publish(onward.settings, MONTH, "engineer")


# -- golden periods -----------------------------------------------------------------------------------------------------


SHA256 = "content_sha256.txt"


def golden_of(content: Content, digest: str) -> dict[str, str]:
    """A period as files: its two tables as CSV, rows by key, every value in the text that the checksum is made of."""
    files = {SHA256: f"{digest}\n"}
    for table, columns, _ in TABLES:
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(columns)
        for key in sorted(key for key in content if key[0] == table):
            writer.writerow("" if value is None else value for value in content[key].values())
        files[f"{table}.csv"] = lines.getvalue()
    return files


def moved(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """A line a value that is another one now."""
    found = [] if was[SHA256] == now[SHA256] else [f"checksum: was {was[SHA256].strip()}, is {now[SHA256].strip()}"]
    for table, _, key_length in TABLES:
        rows = [
            {tuple(row.values())[:key_length]: row for row in csv.DictReader(io.StringIO(files[f"{table}.csv"]))}
            for files in (was, now)
        ]
        for key in sorted(rows[0].keys() | rows[1].keys()):
            old, new = rows[0].get(key, {}), rows[1].get(key, {})
            found += [
                f"{table} {' '.join(key)} {name}: was {old.get(name)}, is {new.get(name)}"
                for name in old | new
                if old.get(name) != new.get(name)
            ]
    return found


def scored(settings: Settings, period: str) -> dict[str, str]:
    copied = candidate.create(settings, period, "engineer")
    with connect(settings, "hailong_publisher") as connection:
        return golden_of(made(connection, "marts", period), copied.content_sha256)


@pytest.mark.parametrize("period", [MONTH, QUARTER])
def test_not_one_digit_of_a_golden_period_moves(onward: Onward, period: str) -> None:
    folder, now = GOLDEN / period, scored(onward.settings, period)
    if os.environ.get(RENEW):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in now.items():
            (folder / name).write_text(text, encoding="utf-8")
        pytest.fail(
            f"{folder} is renewed: read the difference, say in the commit why it moved, and test without {RENEW}"
        )
    was = {name: (folder / name).read_text(encoding="utf-8") for name in now}
    assert moved(was, now) == []


@pytest.mark.parametrize("period", [MONTH, QUARTER])
def test_golden_periods_hold_what_can_move(period: str) -> None:
    with (GOLDEN / period / "k_score.csv").open(encoding="utf-8", newline="") as lines:
        units = list(csv.DictReader(lines))
    with (GOLDEN / period / "index_score.csv").open(encoding="utf-8", newline="") as lines:
        indices = list(csv.DictReader(lines))
    assert len(units) > 180 and len(indices) == 5 * len(units)
    assert sum(row["k"] != "" for row in units) >= 20
    assert {row["verdict"] for row in units} >= {"satisfied", "not_satisfied"}
    for index in "ABCDE":
        values = {row["value"] for row in indices if row["index_code"] == index and row["status"] == "scored"}
        assert len(values) >= 2, index
    assert any(row["value"][-1:] not in ("", "0") for row in indices), (
        "every quotient ends: the last digits tell nothing"
    )


@pytest.mark.parametrize(
    ("table", "column", "old", "new"), [("k_score", "k", "1", "2"), ("index_score", "value", "6", "7")]
)
def test_one_digit_that_moves_is_told(table: str, column: str, old: str, new: str) -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in (GOLDEN / QUARTER).iterdir()}
    rows = list(csv.DictReader(io.StringIO(files[f"{table}.csv"])))
    row = next(row for row in rows if row[column].endswith(old) or old in row[column])
    line = ",".join(row.values())
    assert files[f"{table}.csv"].count(f"\n{line}\n") == 1
    changed = line.replace(row[column], row[column][::-1].replace(old, new, 1)[::-1])
    told = moved(files, files | {f"{table}.csv": files[f"{table}.csv"].replace(line, changed)})
    assert len(told) == 1 and f" {column}: was {row[column]}, is " in told[0]
