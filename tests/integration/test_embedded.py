"""The embedded server: safe to repeat, survives kill -9, wants its password, changes no folder's mode."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from hailong.warehouse import embedded as module
from hailong.warehouse.embedded import Embedded


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hailong-embedded-"))
    folder.chmod(0o755)
    yield folder / "home"
    Embedded(folder / "home").down()
    shutil.rmtree(folder)


def test_up_and_down_are_safe_to_call_twice(home: Path) -> None:
    embedded = Embedded(home)
    first = embedded.up()
    second = embedded.up()
    assert (first.started, second.started) == (True, False)
    assert second.port == first.port
    assert embedded.down() is True
    assert embedded.down() is False
    assert embedded.current() is None


def test_two_callers_at_once_start_one_server(home: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        servers = list(pool.map(lambda _: Embedded(home).up(), range(2)))
    assert sorted(server.started for server in servers) == [False, True]
    assert servers[0].port == servers[1].port


def test_rows_survive_kill_9_of_the_server(home: Path) -> None:
    embedded = Embedded(home)
    server = embedded.up()
    with psycopg.connect(server.uri("hailong"), autocommit=True) as connection:
        connection.execute("create table kept as select 104 as number")
    os.kill(int((server.data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    again = embedded.up()
    assert again.started
    with psycopg.connect(again.uri("hailong")) as connection:
        assert connection.execute("select number from kept").fetchone() == (104,)


def test_both_databases_exist_and_a_password_is_needed(home: Path) -> None:
    server = Embedded(home).up()
    for database in ("hailong", "airflow"):
        with psycopg.connect(server.uri(database)) as connection:
            assert connection.execute("select current_database()").fetchone() == (database,)
    for password in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=server.host, port=server.port, user=server.user, password=password, dbname="hailong")
    with psycopg.connect(server.uri("hailong")) as connection:
        methods = connection.execute("select distinct auth_method from pg_hba_file_rules").fetchall()
    assert methods == [("scram-sha-256",)]
    assert stat.S_IMODE((home / "pg" / "password").stat().st_mode) == 0o600


def test_no_parent_folder_changes_its_mode_even_a_private_one(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    parents = [private, *private.parents]
    before = [stat.S_IMODE(folder.stat().st_mode) for folder in parents]
    embedded = Embedded(private / "home")
    server = embedded.up()
    try:
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in parents] == before
        if os.geteuid() == 0:
            assert not server.data.is_relative_to(private)  # its system user could not get in there
    finally:
        embedded.down()
        shutil.rmtree(server.data)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a system user, and binaries that it can reach")
def test_binaries_under_a_private_folder_are_copied_where_the_server_can_run_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system_root = home.parent / "system"
    monkeypatch.setattr(module, "SYSTEM_ROOT", system_root)
    monkeypatch.setattr(module, "others_may_enter", lambda path: False)
    server = Embedded(home).up()
    assert server.data.parent == system_root
    with psycopg.connect(server.uri("hailong")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_the_server_listens_on_loopback_only(home: Path) -> None:
    server = Embedded(home).up()
    with psycopg.connect(server.uri("hailong")) as connection:
        shown = {
            name: connection.execute(f"show {name}").fetchone()
            for name in ("listen_addresses", "unix_socket_directories")
        }
    assert shown == {"listen_addresses": ("127.0.0.1",), "unix_socket_directories": ("",)}
