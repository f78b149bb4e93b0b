"""Shared fixtures: one PostgreSQL for the run (`HAILONG_DSN`, else an embedded one), a fresh migrated database a test."""

from __future__ import annotations

import base64
import json
import os
import pprint
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from hailong.settings import Settings
from hailong.warehouse import dbt
from hailong.warehouse.embedded import Embedded
from hailong.warehouse.migrations import migrate

PROJECT = Path(__file__).resolve().parents[1]
SHARED = PROJECT.parent / "shared"
# dbt's own log takes a tenth of a build, and is read by the test that looks for people in it (which has it written).
os.environ.setdefault("DBT_LOG_LEVEL_FILE", "none")


@contextmanager
def throwaway_server() -> Iterator[str]:
    """Superuser address of a server for one run, on its maintenance database: `HAILONG_DSN`, else an embedded one."""
    given = os.environ.get("HAILONG_DSN")
    if given:
        yield given
        return
    home = Path(tempfile.mkdtemp(prefix="hailong-test-"))
    home.chmod(0o755)  # our own new folder: lets the server's system user in
    embedded = Embedded(home)
    try:
        uri = embedded.up().uri("postgres")
        with psycopg.connect(uri, autocommit=True) as server:  # a server to throw away need not survive a power cut
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                server.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
            server.execute("select pg_reload_conf()")
            # Each connection proves the password anew, and dbt makes one a node: 4096 rounds of it are for real passwords.
            server.execute("set scram_iterations = 1")
            me, password = server.info.user, server.info.password
            server.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(me), sql.Literal(password)))
        yield uri
    finally:
        embedded.down()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    with throwaway_server() as dsn:
        yield dsn


def on_database(dsn: str, database: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


# One key for every year in which the tests' records may be extracted; it protects nobody.
PSEUDONYM_KEYS = ",".join(f"{year}:{base64.b64encode(bytes(range(32))).decode()}" for year in range(2024, 2040))


def settings_for(dsn: str, home: Path, **env: str) -> Settings:
    given = {"PATH": os.environ["PATH"], "HAILONG_DSN": dsn, "HAILONG_HOME": str(home)}
    return Settings.load(given | {"HAILONG_PSEUDONYM_KEY": PSEUDONYM_KEYS} | env)


@pytest.fixture(scope="session")
def template(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database that the tests' databases are copied from."""
    name = f"hailong_template_{uuid.uuid4().hex[:8]}"
    with database(server_dsn, name):
        migrate(settings_for(on_database(server_dsn, name), tmp_path_factory.mktemp("template")))
        yield name


def lend_parsed(made: Iterable[Settings], settings: Settings) -> None:
    """Give a new warehouse what dbt parsed of the rule set for one before it, in its own words: a third of the time.

    The names of the databases are of one length, so that they and the checksum of the connection can be put in place. Files of
    rules that differ are parsed again by their checksums, and all of them where this does not fit any more.
    """
    for target in ("target", "target-past"):
        for other in made:
            path = other.home / "dbt" / target / "partial_parse.msgpack"
            if path.is_file():
                parsed = path.read_bytes()
                for was, now in zip(_connection(other), _connection(settings), strict=True):
                    parsed = parsed.replace(was, now)
                (settings.home / "dbt" / target).mkdir(parents=True, exist_ok=True)
                (settings.home / "dbt" / target / path.name).write_bytes(parsed)
                break


def _connection(settings: Settings) -> tuple[bytes, bytes]:
    """Name of the database, and the checksum by which dbt knows a connection again (`build_manifest_state_check`)."""
    from dbt.adapters.postgres.connections import PostgresCredentials
    from dbt.contracts.files import FileHash

    address = dbt._address(settings)
    credentials = PostgresCredentials(
        host=address["HAILONG_DBT_HOST"], port=int(address["HAILONG_DBT_PORT"]), user=address["HAILONG_DBT_USER"],
        password="", database=address["HAILONG_DBT_DBNAME"], sslmode=address["HAILONG_DBT_SSLMODE"],
        role="hailong_transformer", schema="core", connect_timeout=10,
    )  # fmt: skip
    known = FileHash.from_contents(pprint.pformat(sorted(credentials.connection_info()))).checksum
    return credentials.database.encode(), known.encode()


@dataclass(frozen=True)
class _Database:
    server: str
    name: str
    template: str | None

    def create(self) -> None:
        source = sql.SQL(" template {}").format(sql.Identifier(self.template)) if self.template else sql.SQL("")
        self._run(sql.SQL("create database {}{}").format(sql.Identifier(self.name), source))

    def drop(self) -> None:
        self._run(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self.name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement)


class database:
    """A database that is there as long as the block lasts; gives its name."""

    def __init__(self, server: str, name: str, template: str | None = None) -> None:
        self.database = _Database(server, name, template)

    def __enter__(self) -> str:
        self.database.create()
        return self.database.name

    def __exit__(self, *_: object) -> None:
        self.database.drop()


@pytest.fixture(scope="session")
def new_warehouse(
    server_dsn: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Settings]]:
    """Function that makes a Settings object with a fresh migrated database and an own HAILONG_HOME.

    With `of` they are copies of another's, which nobody is connected to, as they stand.
    """
    made: list[_Database] = []
    homes: list[Settings] = []

    def make(of: Settings | None = None, **env: str) -> Settings:
        source = template if of is None else urlsplit(of.dsn or "").path.removeprefix("/")
        database = _Database(server_dsn, f"hailong_{uuid.uuid4().hex[:10]}", source)
        database.create()
        made.append(database)
        settings = settings_for(on_database(server_dsn, database.name), tmp_path_factory.mktemp("home"), **env)
        migrate(settings)  # rights on the database itself are not copied with a template
        if of:
            shutil.copytree(of.home, settings.home, dirs_exist_ok=True)
        lend_parsed(homes, settings)
        homes.append(settings)
        return settings

    yield make
    for database in made:
        database.drop()


@pytest.fixture
def warehouse(new_warehouse: Callable[..., Settings]) -> Settings:
    return new_warehouse()


@pytest.fixture(scope="module")
def module_warehouse(new_warehouse: Callable[..., Settings]) -> Settings:
    return new_warehouse()


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: its address, the environment that points the package at it, its drop folder."""

    url: str
    env: dict[str, str]
    drop: Path


@pytest.fixture(scope="session")
def start_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sandbox]]:
    """Function that starts `python -m sandbox serve` with options and waits until it is ready."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> Sandbox:
        folder = tmp_path_factory.mktemp("sandbox")
        ready, drop = folder / "ready.json", folder / "drop"
        drop.mkdir()
        log = (folder / "log").open("wb")
        command = [
            sys.executable,
            "-m",
            "sandbox",
            "serve",
            "--port",
            "0",
            "--ready-file",
            str(ready),
            "--drop",
            str(drop),
        ]
        child = subprocess.Popen([*command, *options], cwd=PROJECT, stdout=log, stderr=log)
        children.append(child)
        deadline = time.monotonic() + 120
        while not ready.is_file():
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        info = json.loads(ready.read_text())
        return Sandbox(info["url"], info["env"], drop)

    yield start
    for child in children:
        child.terminate()
    for child in children:
        child.wait(timeout=30)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real input data; skips, saying so, where it is not at hand."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder (../shared/data) is not here: tests on real input are left out")
    return folder
