"""A database as the first release left it, restored; see tests/fixtures/released."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path

import psycopg

from hailong.settings import PROJECT
from tests.conftest import database, on_database

FOLDER = PROJECT / "tests" / "fixtures" / "released"
ROLES = ("owner", "loader", "transformer", "gate", "publisher", "reader")


class released:
    """The restored database as long as the block lasts; gives its address. Its files are put under `home`."""

    def __init__(self, server: str, name: str, home: Path) -> None:
        self.server, self.home, self.database = server, home, database(server, name)

    def __enter__(self) -> str:
        dsn = on_database(self.server, self.database.__enter__())
        with psycopg.connect(dsn, autocommit=True) as connection:
            for role in ROLES:  # a dump of a database does not hold the server's roles
                connection.execute(
                    f"do $$ begin create role hailong_{role} nologin; exception when duplicate_object or unique_violation "
                    "then null; end $$"
                )
            connection.execute(lzma.decompress((FOLDER / "database.sql.xz").read_bytes()))
        for folder in ("editions", "rules"):
            shutil.copytree(FOLDER / folder, self.home / folder)
        return dsn

    def __exit__(self, *_: object) -> None:
        self.database.__exit__()
