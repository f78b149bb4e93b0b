"""`hailong doctor`: a warehouse that is well passes every check, and each check has an illness that it must find."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from hailong.backup.take import backup
from hailong.doctor import Looks, Said, examine
from hailong.extract.privacy import make_key
from hailong.settings import Settings
from hailong.warehouse.connect import connect
from hailong.warehouse.embedded import free_port
from tests.conftest import PSEUDONYM_KEYS, database, on_database
from tests.integration.test_cli import run

NOW = datetime.now(UTC)
FILES = ("pg/password", "pseudonym.key", "airflow/passwords.json", "airflow/keys.json")


@contextmanager
def service(status: int = 401) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def well(
    new_warehouse: Callable[..., Settings], server_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A warehouse that wants for nothing."""
    folder = tmp_path_factory.mktemp("well")
    sqlite3.connect(folder / "city.sqlite").close()
    with service() as url, database(server_dsn, f"hailong_{uuid.uuid4().hex[:10]}_airflow") as metadata:
        with psycopg.connect(on_database(server_dsn, metadata)) as connection:
            connection.execute("create table alembic_version (version_num text)")
            connection.execute("insert into alembic_version values ('abc')")
        sources = {f"HAILONG_SOURCE_{system}_URL": url for system in ("TTHC", "RATING", "PORTAL", "UNIT_OFFICE")}
        settings = new_warehouse(
            **sources,
            HAILONG_SOURCE_INSTITUTIONAL_URL=f"sqlite:///{folder}/city.sqlite",
            HAILONG_SIGNERS="An, Bình",
            HAILONG_WEBHOOK_URL="http://127.0.0.1:9/",
            HAILONG_BACKUP_URI=str(folder / "kept"),
            HAILONG_AIRFLOW_DSN=on_database(server_dsn, metadata),
        )
        for system in ("inspection", "unit_office", "survey"):
            (settings.home / "drop" / system).mkdir(parents=True)
        for name in FILES:
            path = settings.home / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
            path.chmod(0o600)
        backup(settings, str(folder / "kept"))
        yield settings


def given(settings: Settings, **env: str) -> Settings:
    """The same in another environment; an empty value takes a variable out."""
    changed = {name: value for name, value in {**settings.env, **env}.items() if value}
    return Settings.load(changed)


def looks(settings: Settings, **others: Any) -> Looks:
    return Looks(settings, **{"disk": lambda _: SimpleNamespace(free=50e9), **others})


def ill(found: list[Said]) -> list[tuple[str, str]]:
    return [(said.check, said.state) for said in found if said.state != "ok"]


def the_one(found: list[Said], check: str, state: str) -> Said:
    """The only thing that is not ok; it says what to do."""
    assert ill(found) == [(check, state)], found
    said = next(said for said in found if said.state != "ok")
    assert said.then
    return said


def test_one_that_is_well_passes_every_check(well: Settings) -> None:
    found = examine(looks(well))
    assert ill(found) == []
    assert {said.check for said in found} == {
        "placeholders", "time zone", "signers", "pseudonym keys", "secret files", "disk", "mail", "warehouse", "roles", "schema",
        "clock", "locks", "Airflow's database", "backup", *(f"source {system}" for system in (
            "tthc", "rating", "portal", "unit_office", "institutional", "inspection", "survey")),
    }  # fmt: skip
    assert len(found) == len({said.check for said in found}) + 1  # unit_office is asked and drops files


@pytest.mark.parametrize(
    "value",
    ["change-me", "CHANGE_ME_postgres", "postgresql://h:change-me-warehouse@db/h", "<token>", "your-password",
     f"2026:{base64.b64encode(b'change-me-change-me-change-me-32').decode()}"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["HAILONG_WEBHOOK_KEY", "POSTGRES_PASSWORD"])
def test_a_value_of_the_example_is_a_problem_and_is_not_told(well: Settings, variable: str, value: str) -> None:
    said = the_one(examine(looks(given(well, **{variable: value}))), "placeholders", "problem")
    assert variable in said.told and value not in f"{said}"


def test_without_signers_nobody_may_sign_and_one_may_be_absent(well: Settings) -> None:
    the_one(examine(looks(given(well, HAILONG_SIGNERS=""))), "signers", "problem")
    the_one(examine(looks(given(well, HAILONG_SIGNERS="An, An"))), "signers", "warning")


def test_a_zone_that_is_none_is_a_problem(well: Settings) -> None:
    found = examine(looks(given(well, HAILONG_TIMEZONE="Asia/Sai_Gon_")))
    assert ("time zone", "problem") in ill(found) and {check for check, _ in ill(found)} == {"time zone"}


def test_a_zone_other_than_that_of_the_last_build_is_a_warning(well: Settings) -> None:
    with connect(well) as connection:
        connection.execute(
            "insert into ops.build (as_of_batch, rules_sha256, full_refresh, timezone) values (0, 'r', true, 'Asia/Tokyo')"
        )
    try:
        assert "Asia/Tokyo" in the_one(examine(looks(well)), "time zone", "warning").told
    finally:
        with connect(well) as connection:
            connection.execute("delete from ops.build")


def test_a_year_without_its_pseudonym_key_is_a_problem_and_the_next_one_a_warning(well: Settings) -> None:
    only = given(well, HAILONG_PSEUDONYM_KEY=make_key(NOW.year))
    for month, day, expected in ((6, 1, []), (12, 20, [("pseudonym keys", "warning")])):
        at = datetime(NOW.year, month, day, tzinfo=UTC)
        found = [said for said in examine(looks(only, now=lambda at=at: at)) if said.check == "pseudonym keys"]
        assert ill(found) == expected
    (well.home / "pseudonym.key").write_text(make_key(NOW.year - 1))
    for keys in (make_key(NOW.year - 1), "", "2026:short"):
        said = the_one(examine(looks(given(well, HAILONG_PSEUDONYM_KEY=keys))), "pseudonym keys", "problem")
        assert "hailong key make" in said.then and (not keys or keys.partition(":")[2] not in f"{said}")
    (well.home / "pseudonym.key").write_text(PSEUDONYM_KEYS)  # of a local installation, which keeps its own
    assert ill(examine(looks(given(well, HAILONG_PSEUDONYM_KEY="")))) == []


@pytest.mark.parametrize("name", [*FILES, "token of a source"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_secret_that_others_may_read_is_a_problem(well: Settings, tmp_path: Path, name: str, mode: int) -> None:
    path = well.home / name if name in FILES else tmp_path / "token"
    path.touch()
    path.chmod(mode)
    settings = well if name in FILES else given(well, HAILONG_SOURCE_TTHC_TOKEN_FILE=str(path))
    said = the_one(examine(looks(settings)), "secret files", "problem")
    assert f"chmod 600 {path}" in said.then
    path.chmod(0o600)
    assert ill(examine(looks(settings))) == []


@pytest.mark.parametrize(("free", "state"), [(1e9, "problem"), (5e9, "warning")])
def test_a_disk_that_fills_up_is_told(well: Settings, free: float, state: str) -> None:
    the_one(examine(looks(well, disk=lambda _: SimpleNamespace(free=free))), "disk", state)


def test_a_home_that_is_not_there_is_told(well: Settings, tmp_path: Path) -> None:
    found = examine(looks(given(well, HAILONG_HOME=str(tmp_path / "none"))))
    assert ("disk", "warning") in ill(found)


def test_who_tells_nobody_is_warned(well: Settings) -> None:
    the_one(examine(looks(given(well, HAILONG_WEBHOOK_URL=""))), "mail", "warning")


def test_a_server_that_is_away_is_one_problem_and_its_password_is_not_told(well: Settings) -> None:
    away = given(well, HAILONG_DSN=f"postgresql://u:secret-Zq7@127.0.0.1:{free_port()}/x")
    said = the_one(examine(looks(away)), "warehouse", "problem")
    assert "secret-Zq7" not in f"{said}"


def test_an_embedded_server_is_not_started_by_looking(well: Settings, tmp_path: Path) -> None:
    found = examine(looks(given(well, HAILONG_DSN="", HAILONG_HOME=str(tmp_path))))
    assert ("warehouse", "problem") in ill(found) and not (tmp_path / "pg").exists()
    assert next(said for said in found if said.check == "warehouse").then == "`hailong db up`"


def test_a_login_that_cannot_take_the_roles_is_a_problem(well: Settings) -> None:
    login = f"looker_{uuid.uuid4().hex[:8]}"
    with connect(well) as connection:
        connection.execute(sql.SQL("create role {} login password 'p'").format(sql.Identifier(login)))
        connection.execute(sql.SQL("grant hailong_reader to {}").format(sql.Identifier(login)))
    parts = conninfo_to_dict(well.dsn or "")
    seen = replace(well, dsn=(well.dsn or "").replace(f"{parts['user']}:{parts['password']}", f"{login}:p"))
    try:
        said = next(said for said in examine(looks(seen)) if said.check == "roles")
        assert said.state == "problem" and "hailong_loader" in said.told and "hailong_reader" not in said.told
    finally:
        with connect(well) as connection:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))


def test_a_schema_that_is_behind_ahead_or_otherwise_is_a_problem(well: Settings, tmp_path: Path) -> None:
    for statement, told in (
        ("delete from ops.migration where name like '0004%'", "it lacks 0004_dq.sql"),
        (
            "insert into ops.migration (name, sha256) values ('9999_x.sql', 'y')",
            "does not know, or knows otherwise: 9999_x.sql",
        ),
        ("update ops.migration set sha256 = 'y' where name like '0004%'", "knows otherwise: 0004_dq.sql"),
    ):
        with connect(well) as connection:
            kept = connection.execute("select name, sha256, applied_at from ops.migration").fetchall()
            connection.execute(statement)  # type: ignore[call-overload]
        try:
            assert told in the_one(examine(looks(well)), "schema", "problem").told
        finally:
            with connect(well) as connection, connection.cursor() as cursor:
                cursor.execute("delete from ops.migration")
                cursor.executemany("insert into ops.migration values (%s, %s, %s)", kept)
    contracts = tmp_path / "contracts"
    shutil.copytree(well.contracts, contracts)
    text = (contracts / "rating.yaml").read_text(encoding="utf-8")
    (contracts / "tally.yaml").write_text(text.replace("rating", "tally"), encoding="utf-8")
    found = examine(looks(given(well, HAILONG_CONTRACTS=str(contracts))))
    assert "table of tally" in next(said.told for said in found if said.check == "schema")


def test_a_database_without_schema_is_told_what_to_do(well: Settings, server_dsn: str) -> None:
    with database(server_dsn, f"hailong_{uuid.uuid4().hex[:10]}") as name:
        found = examine(looks(given(well, HAILONG_DSN=on_database(server_dsn, name))))
    said = next(said for said in found if said.check == "schema")
    assert (said.state, said.then) == ("problem", "`hailong db migrate`")


@pytest.mark.parametrize(("off", "state"), [(30, "warning"), (-30, "warning"), (300, "problem"), (-300, "problem")])
def test_a_clock_that_is_off_is_told(well: Settings, off: int, state: str) -> None:
    found = examine(looks(well, now=lambda: datetime.now(UTC) + timedelta(seconds=off)))
    assert ("clock", state) in ill(found)


def until_it_waits(watcher: psycopg.Connection, pid: int) -> None:
    for _ in range(3000):
        if watcher.execute("select 1 from pg_locks where pid = %s and not granted", (pid,)).fetchone():
            return
        time.sleep(0.01)
    pytest.fail("the second transaction does not wait")


def test_who_holds_a_lock_for_long_is_named(well: Settings) -> None:
    strict = {"patience": timedelta(0), "idle": timedelta(hours=1)}
    with connect(well) as holder:
        holder.execute("select pg_advisory_xact_lock(104002)")
        said = the_one(examine(looks(well, **strict)), "locks", "warning")
        assert f"process {holder.info.backend_pid}" in said.told and "holds build" in said.told
        assert ill(examine(looks(well))) == []  # not for long
        holder.rollback()
        holder.execute("lock table ops.build in exclusive mode")
        assert ill(examine(looks(well, **strict))) == []  # nobody waits
        with connect(well) as waiter:
            waiter.execute("select 1")  # opens the transaction
            waiter.pgconn.send_query(b"lock table ops.build in exclusive mode")
            with connect(well, autocommit=True) as watcher:
                until_it_waits(watcher, waiter.info.backend_pid)
            assert "1 wait for it" in the_one(examine(looks(well, **strict)), "locks", "warning").told
            holder.rollback()
            while waiter.pgconn.get_result() is not None:
                pass


def test_a_transaction_that_was_forgotten_is_told(well: Settings) -> None:
    with connect(well) as forgotten:
        forgotten.execute("select 1")
        said = the_one(examine(looks(well, idle=timedelta(0))), "locks", "warning")
        assert "keeps a transaction open" in said.told and "pg_terminate_backend" in said.then


def test_airflows_database_is_looked_at(well: Settings, server_dsn: str) -> None:
    nowhere = given(well, HAILONG_AIRFLOW_DSN=on_database(server_dsn, "no_such_database"))
    assert "no_such_database" in the_one(examine(looks(nowhere)), "Airflow's database", "problem").told
    with database(server_dsn, f"hailong_{uuid.uuid4().hex[:10]}") as name:
        empty = given(well, HAILONG_AIRFLOW_DSN=on_database(server_dsn, name))
        the_one(examine(looks(empty)), "Airflow's database", "warning")


def test_a_source_that_is_away_or_busy_or_unknown_is_told(well: Settings, tmp_path: Path) -> None:
    away = given(well, HAILONG_SOURCE_TTHC_URL=f"http://127.0.0.1:{free_port()}/tthc")
    assert "HAILONG_SOURCE_TTHC_URL" in the_one(examine(looks(away)), "source tthc", "problem").then
    with service(503) as url:
        said = the_one(examine(looks(given(well, HAILONG_SOURCE_RATING_URL=url))), "source rating", "warning")
    assert "503" in said.told
    the_one(examine(looks(given(well, HAILONG_SOURCE_PORTAL_URL=""))), "source portal", "warning")
    database_away = given(well, HAILONG_SOURCE_INSTITUTIONAL_URL="sqlite:////nowhere/secret-Zq7.sqlite")
    said = the_one(examine(looks(database_away)), "source institutional", "problem")
    assert "secret-Zq7" not in f"{said}"
    typo = tmp_path / "typo.sqlite"
    mistyped = given(well, HAILONG_SOURCE_INSTITUTIONAL_URL=f"sqlite:///{typo}", HAILONG_SOURCE_TTHC_URL="http://[")
    told = examine(looks(mistyped))
    assert ill(told) == [("source institutional", "problem"), ("source tthc", "problem")]  # one hides no other
    assert not typo.exists()
    no_folder = given(well, HAILONG_SOURCE_SURVEY_DROP=str(tmp_path / "none"))
    the_one(examine(looks(no_folder)), "source survey", "warning")


def test_a_source_whose_clock_is_off_is_told(well: Settings) -> None:
    found = examine(looks(well, now=lambda: datetime.now(UTC) + timedelta(minutes=10)))
    assert {check for check, _ in ill(found)} == {
        "clock", "source tthc", "source rating", "source portal", "source unit_office"
    }  # fmt: skip


@pytest.mark.parametrize(("hours", "state"), [(20, None), (30, "warning"), (100, "problem")])
def test_a_backup_that_grows_old_is_told(well: Settings, tmp_path: Path, hours: int, state: str | None) -> None:
    place = tmp_path / "kept"
    backup(well, str(place), now=datetime.now(UTC) - timedelta(hours=hours))
    found = examine(looks(given(well, HAILONG_BACKUP_URI=str(place))))
    assert ill(found) == ([("backup", state)] if state else [])


def test_a_backup_that_is_missing_or_not_whole_is_told(well: Settings, tmp_path: Path) -> None:
    the_one(examine(looks(given(well, HAILONG_BACKUP_URI=""))), "backup", "warning")
    nothing = examine(looks(given(well, HAILONG_BACKUP_URI=str(tmp_path / "none"))))
    assert ill(nothing) == [("backup", "problem")] and "there is no backup" in next(
        s.told for s in nothing if s.state != "ok"
    )
    place = tmp_path / "kept"
    backup(well, str(place))
    next((place / "objects").iterdir()).unlink()
    assert "not whole" in the_one(examine(looks(given(well, HAILONG_BACKUP_URI=str(place)))), "backup", "problem").told


def test_a_check_that_breaks_down_is_a_problem_and_the_others_are_made(well: Settings) -> None:
    def broken(_: Path) -> Any:
        raise RuntimeError("secret-Zq7")

    found = examine(looks(well, disk=broken))
    assert "secret-Zq7" not in f"{the_one(found, 'disk', 'problem')}" and len(found) > 15


def test_the_command_exits_by_its_problems(well: Settings) -> None:
    good = run(well, "doctor", "--json")
    told = json.loads(good.stdout)
    assert (good.returncode, told["problems"]) == (0, 0) and len(told["checks"]) > 15
    bad = run(well, "doctor", HAILONG_SIGNERS="")
    assert bad.returncode == 1 and "nobody may sign" in bad.stdout and "1 problems" in bad.stdout
    assert "Traceback" not in bad.stderr
