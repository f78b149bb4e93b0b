"""kill -9 during load, build and publish, then the same command again: the same tables row for row, nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from hailong.settings import Settings
from hailong.warehouse.connect import connect

PROJECT = Path(__file__).resolve().parents[2]
PERIOD = "2026-10"


def command(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, **settings.env, "HAILONG_SIGNERS": "signer"}
    return subprocess.Popen(
        [sys.executable, "-m", "hailong.cli", *arguments],
        cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(settings: Settings, *arguments: str) -> str:
    child = command(settings, *arguments)
    output = child.communicate(timeout=300)[0].decode()
    assert child.returncode == 0, output
    return output


def killed_when(settings: Settings, happens: Callable[[psycopg.Connection], bool], *arguments: str) -> bool:
    """Run a command and kill -9 it at the moment something is seen in the database; False when it was too quick."""
    child = command(settings, *arguments)
    with connect(settings, autocommit=True) as connection:
        while child.poll() is None:
            if happens(connection):
                child.send_signal(signal.SIGKILL)
                child.communicate()
                return True
            time.sleep(0.005)
    child.communicate()
    return False


def active(pattern: str) -> Callable[[psycopg.Connection], bool]:
    """A statement like this is running (`ilike`) on the warehouse's database."""

    def happens(connection: psycopg.Connection) -> bool:
        return bool(
            connection.execute(
                "select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
                "and state <> 'idle' and query ilike %s",
                (pattern,),
            ).fetchone()
        )

    return happens


def wait_until_quiet(settings: Settings) -> None:
    """A killed client's backend ends when it notices; what it left behind is then final."""
    with connect(settings, autocommit=True) as connection:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and active("%")(connection):
            time.sleep(0.05)


def dump(settings: Settings, tables: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Every row of the tables as text, without the columns named (identities, clocks), in a fixed order."""
    found = {}
    with connect(settings) as connection:
        for table, without in tables.items():
            statement = sql.SQL("select (to_jsonb(t) - %s::text[])::text from {} as t order by 1").format(
                sql.SQL(".").join(map(sql.Identifier, table.split(".")))
            )
            found[table] = [row[0] for row in connection.execute(statement, (list(without),))]
    return found


RAW = {"raw.dossier": ("batch_id",), "ops.quarantine": ("batch_id", "quarantine_id")}
LEDGER = {
    "ops.batch": ("batch_id", "landing_uri", "landing_sha256", "started_at", "loaded_at", "window_end", "window_start")
}
BUILT = {
    "core.core_dossier": ("batch_id", "first_batch_id", "first_result_batch_id"),
    "facts.fct_a_timeliness": ("batch_id",),
    "marts.index_score": (),
    "marts.k_score": (),
}
PUBLISHED = {
    "publish.edition": ("published_at", "build_id", "as_of_batch", "candidate_id", "gate_run_id", "code_version"),
    "publish.k_score": (),
    "publish.index_score": (),
    "publish.artifact": ("created_at", "sha256", "bytes"),
}
WINDOW = ("--since", "2026-06-15", "--until", "2026-11-19")


@pytest.fixture(scope="module")
def sandbox(start_sandbox: Callable[..., object]) -> object:
    return start_sandbox("--size", "4000", "--seed", "11")


def ingest_registers(settings: Settings) -> None:
    for feed in ("unit_register", "procedure_register", "code_map"):
        run(settings, "ingest", feed)


def ingest_all(settings: Settings, sandbox: object) -> None:
    ingest_registers(settings)
    for feed in ("rating", "portal_evaluation", "dossier"):
        run(settings, "ingest", feed, *WINDOW)
    for path in sorted(sandbox.drop.glob("*.xlsx")):  # type: ignore[attr-defined]
        run(settings, "ingest", "posting_check", "--file", str(path))


def sign(settings: Settings) -> str:
    from hailong.publish.candidate import newest

    run(settings, "candidate", "--period", PERIOD, "--by", "engineer")
    run(settings, "gate", "--period", PERIOD)
    candidate = newest(settings, PERIOD).candidate_id
    with connect(settings) as connection:
        warnings = connection.execute(
            "select distinct r.expectation_id from dq.result as r inner join dq.run as g using (run_id) "
            "where g.candidate_id = %s and not r.success and r.severity = 'warning'",
            (candidate,),
        ).fetchall()
    seen = [part for (warning,) in warnings for part in ("--warning-seen", warning)]
    run(settings, "approve", candidate, "--by", "signer", *seen)
    return candidate


@pytest.fixture(scope="module")
def loaded(new_warehouse: Callable[..., Settings], sandbox: object) -> Settings:
    """Everything loaded, nothing built; the others are copies of it."""
    settings = new_warehouse(**sandbox.env)  # type: ignore[attr-defined]
    ingest_all(settings, sandbox)
    return settings


@pytest.fixture(scope="module")
def clean(new_warehouse: Callable[..., Settings], loaded: Settings, sandbox: object) -> Settings:
    """The same road, undisturbed."""
    settings = new_warehouse(loaded, **sandbox.env)  # type: ignore[attr-defined]
    run(settings, "build")
    sign(settings)
    run(settings, "publish", "--period", PERIOD, "--by", "engineer")
    return settings


@pytest.fixture(scope="module")
def disturbed(new_warehouse: Callable[..., Settings], loaded: Settings, sandbox: object) -> Settings:
    """Loaded, and built or not, as the order of the tests will have it."""
    return new_warehouse(loaded, **sandbox.env)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_killed_load_leaves_nothing_and_the_next_one_loads_everything(
    new_warehouse: Callable[..., Settings], sandbox: object, loaded: Settings
) -> None:
    disturbed = new_warehouse(**sandbox.env)  # type: ignore[attr-defined]
    ingest_registers(disturbed)
    moments = [active("%pg_advisory%"), active("copy%"), active("insert into%raw%")]
    kills = 0
    for moment in moments:
        kills += killed_when(disturbed, moment, "ingest", "dossier", *WINDOW)
        wait_until_quiet(disturbed)
        with connect(disturbed) as connection:
            batches = connection.execute("select count(*) from ops.batch where feed = 'dossier'").fetchone()
            rows = connection.execute("select count(*) from raw.dossier").fetchone()
        assert batches and rows and bool(batches[0]) == bool(rows[0])  # all of it, or nothing
    assert kills > 0, "the load was never caught in the act"
    run(disturbed, "ingest", "dossier", *WINDOW)
    assert dump(disturbed, RAW)["raw.dossier"] == dump(loaded, RAW)["raw.dossier"]


def builds(settings: Settings) -> Counter[str]:
    with connect(settings) as connection:
        return Counter(dict(connection.execute("select status, count(*) from ops.build group by status").fetchall()))


@pytest.mark.slow
def test_killed_build_is_repeated_to_the_same_rows(disturbed: Settings, clean: Settings) -> None:
    before = builds(disturbed)
    for moment in (active("%fct_a_timeliness%"), active("%index_score%")):
        assert killed_when(disturbed, moment, "build"), "the build was never caught in the act"
        run(disturbed, "build")
    assert dump(disturbed, BUILT) == dump(clean, BUILT)
    assert builds(disturbed) - before == Counter(failed=2, succeeded=2)


@pytest.mark.slow
def test_killed_publish_leaves_no_half_edition(disturbed: Settings, clean: Settings) -> None:
    run(disturbed, "build")
    sign(disturbed)
    inserted = active("%insert into%publish.%")

    def files_begun(_: psycopg.Connection) -> bool:
        return any(disturbed.editions.glob("**/*"))

    kills = 0
    for moment in (inserted, files_begun):
        kills += killed_when(disturbed, moment, "publish", "--period", PERIOD, "--by", "engineer")
        wait_until_quiet(disturbed)
        with connect(disturbed) as connection:
            editions = connection.execute("select count(*) from publish.edition").fetchone()
            rows = connection.execute("select count(*) from publish.k_score").fetchone()
        assert editions and rows and bool(editions[0]) == bool(rows[0])
    assert kills > 0, "the publication was never caught in the act"
    for _ in range(2):
        run(disturbed, "publish", "--period", PERIOD, "--by", "engineer")
    assert dump(disturbed, PUBLISHED) == dump(clean, PUBLISHED)
    names = sorted(path.name for path in (disturbed.editions / f"{PERIOD}.e1").iterdir())
    assert names == sorted(path.name for path in (clean.editions / f"{PERIOD}.e1").iterdir()) != []


def test_the_dump_sees_a_difference(clean: Settings) -> None:
    before = dump(clean, LEDGER)
    with connect(replace(clean), autocommit=True) as connection:
        connection.execute(
            "insert into ops.batch (feed, landing_uri, landing_sha256, received_rows, loaded_rows, unchanged_rows, "
            "duplicate_rows, quarantined_rows, started_at, contract_version, code_version) "
            "values ('rating', 'x', repeat('b', 64), 0, 0, 0, 0, 0, now(), '1', '1')"
        )
    assert dump(clean, LEDGER) != before
