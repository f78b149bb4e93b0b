"""The init job's part in the database: two logins that are no superusers, two databases that nobody else enters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from hailong.errors import PermanentError
from hailong.server.init import make_database
from hailong.warehouse.migrations import migrate
from tests.conftest import on_database, settings_for, throwaway_server

PASSWORDS = {"hailong": "w/@:% ü", "airflow": "m"}


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    """Address of a superuser on an embedded server of its own: on others a superuser has made our roles already."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.delenv("HAILONG_DSN", raising=False)
        dsn = stack.enter_context(throwaway_server())
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create role postgres superuser login password 'p'")
        address = psycopg.conninfo.conninfo_to_dict(dsn)
        admin = f"postgresql://postgres:p@{address['host']}:{address['port']}/postgres"
        with psycopg.connect(admin, autocommit=True) as connection:  # those that the embedded server begins with
            for name in PASSWORDS:
                connection.execute(f"drop database if exists {name}")
            connection.execute("alter role hailong rename to embedded")
        for _ in range(2):
            for name, password in PASSWORDS.items():
                make_database(admin, name, password, "createrole" if name == "hailong" else "nocreaterole")
        yield admin


def login(admin: str, name: str, password: str, database: str | None = None) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(admin)
    return psycopg.conninfo.make_conninfo(
        host=parts["host"], port=parts["port"], user=name, password=password, dbname=database or name
    )


def test_each_login_enters_its_own_database_and_no_other(admin: str) -> None:
    for name, password in PASSWORDS.items():
        with psycopg.connect(login(admin, name, password)) as connection:
            assert connection.execute(
                "select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = current_user"
            ).fetchone() == (False, False, name == "hailong")
        other = next(iter(set(PASSWORDS) - {name}))
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(login(admin, name, password, other))


def test_the_password_follows_the_configuration(admin: str) -> None:
    make_database(admin, "airflow", "another", "nocreaterole")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(login(admin, "airflow", "m"))
    psycopg.connect(login(admin, "airflow", "another")).close()
    make_database(admin, "airflow", "m", "nocreaterole")


def test_the_warehouse_is_migrated_by_its_own_login(admin: str, tmp_path: Path) -> None:
    own = on_database(admin.replace("postgres:p@", "hailong:w%2F%40%3A%25%20%C3%BC@"), "hailong")
    settings = settings_for(own, tmp_path)
    assert migrate(settings).already == 0
    assert migrate(settings).applied == ()
    with psycopg.connect(own) as connection:
        for role in ("hailong_loader", "hailong_transformer", "hailong_gate", "hailong_publisher"):
            connection.execute(f"set role {role}")
            connection.execute("reset role")


def test_a_volume_with_another_superuser_password_is_told(admin: str) -> None:
    with pytest.raises(PermanentError, match="refuses POSTGRES_PASSWORD") as caught:
        make_database(admin.replace("postgres:p@", "postgres:wr0ng@"), "hailong", "w", "createrole")
    assert "wr0ng" not in str(caught.value)
