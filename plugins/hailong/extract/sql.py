"""A view of a city database, read only: one transaction, rows in the order of the contract, a page at a time.

The address is a SQLAlchemy URL in HAILONG_SOURCE_<SYSTEM>_URL; it holds a password and is never quoted. Identifiers come from the
contract and are quoted by SQLAlchemy, values travel as parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from hailong.contracts import Contract, SqlView
from hailong.errors import PermanentError, TransientError
from hailong.settings import Settings

WIRE_TIME = "%Y%m%d%H%M%S"


@dataclass
class SqlRows:
    """Rows of the view changed in `[since, until)`, as source records; `declared` is counted in the same snapshot.

    The cursor column is compared as what it is: a timestamp, or a text yyyyMMddHHmmss.
    """

    settings: Settings
    contract: Contract
    since: datetime | None
    until: datetime | None
    progress: Callable[[str], None] | None = None
    declared: int | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[list[Any]]:
        connector = self._connector
        with self._connected() as connection:
            view = self._view(connection)
            where = self._condition(view)
            counted = sa.select(sa.func.count()).select_from(view)
            chosen = sa.select(view)
            if where is not None:
                counted, chosen = counted.where(where), chosen.where(where)
            self.declared = int(connection.execute(counted).scalar_one())
            chosen = chosen.order_by(*(self._column(view, name) for name in connector.order_by))
            rows = connection.execution_options(stream_results=True, yield_per=connector.page_size).execute(chosen)
            read = 0
            for page in rows.mappings().partitions(connector.page_size):
                read += len(page)
                yield [dict(row) for row in page]
                if self.progress:
                    self.progress(f"{self.contract.feed}: {read:,} of {self.declared:,}")

    @property
    def _connector(self) -> SqlView:
        connector = self.contract.connector
        assert isinstance(connector, SqlView)
        return connector

    @property
    def _what(self) -> str:
        return f"{self._connector.system}, view {self._connector.view}"

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        variable = f"HAILONG_SOURCE_{self._connector.system.upper()}_URL"
        address = self.settings.env.get(variable)
        if not address:
            raise PermanentError(
                f"no address for the system '{self._connector.system}': set {variable} to a SQLAlchemy URL, such as "
                "postgresql+psycopg://reader:password@host/database, or start the sandbox, which prints one"
            )
        try:
            engine = sa.create_engine(address, poolclass=sa.pool.NullPool)
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            raise PermanentError(f"{variable} is not a usable SQLAlchemy URL ({type(error).__name__})") from None
        try:
            with engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with connection.begin():
                    yield connection
        except (exc.NoSuchTableError, exc.ProgrammingError) as error:
            raise PermanentError(f"{self._what}: it is not there, or may not be read ({_reason(error)})") from None
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            raise TransientError(
                f"{self._what}: the database cannot be reached ({_reason(error)}). Try again later"
            ) from None
        except exc.SQLAlchemyError as error:
            raise PermanentError(f"{self._what}: the database refused ({_reason(error)})") from None

    def _view(self, connection: sa.Connection) -> sa.Table:
        schema, _, name = self._connector.view.rpartition(".")
        return sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=connection, resolve_fks=False)

    def _column(self, view: sa.Table, name: str) -> sa.Column[Any]:
        if name not in view.c:
            raise PermanentError(
                f"{self._what}: there is no column {name}, which {self.contract.path.name} names; its columns are "
                f"{', '.join(view.c.keys())}"
            )
        return view.c[name]

    def _condition(self, view: sa.Table) -> sa.ColumnElement[bool] | None:
        name = self._connector.since_column
        if name is None or self.since is None or self.until is None:
            return None
        column = self._column(view, name)
        if isinstance(column.type, sa.DateTime):
            zoned = bool(column.type.timezone)
            since, until = (bound if zoned else bound.replace(tzinfo=None) for bound in (self.since, self.until))
            return sa.and_(column >= since, column < until)
        return sa.and_(column >= self.since.strftime(WIRE_TIME), column < self.until.strftime(WIRE_TIME))


def _reason(error: exc.SQLAlchemyError) -> str:
    """The driver's kind of error: its text may hold the address."""
    original = getattr(error, "orig", None)
    return type(original or error).__name__
