"""A view of a city database, read only: one snapshot, rows in the order of the contract, a page at a time.

The address is a SQLAlchemy URL in HAILONG_SOURCE_<SYSTEM>_URL; it holds a password, so neither it nor what a driver says is
quoted. Identifiers come from the contract and are quoted by SQLAlchemy, values travel as parameters.

Only columns that the contract knows are asked for: what else the view shows, persons perhaps, stays in the city's database
and is a finding.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc

from hailong.contracts import Contract, SqlView
from hailong.errors import PermanentError, TransientError
from hailong.settings import Settings

WIRE_TIME = "%Y%m%d%H%M%S"
CONNECT_TIMEOUT = 30  # seconds
# How a text column may write its moments, so that their order is that of time.
_TEXT_TIMES = (
    (re.compile(r"\d{14}"), WIRE_TIME),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*"), "%Y-%m-%dT%H:%M:%S"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d.*"), "%Y-%m-%d %H:%M:%S"),
)
_TEXT_DAYS = ((re.compile(r"\d{8}"), "%Y%m%d"), (re.compile(r"\d{4}-\d\d-\d\d"), "%Y-%m-%d"))
# SQLSTATE classes that another try does not mend: rights, no such database, wrong statement, wrong value, a view that writes.
_PERMANENT_STATES = ("28", "3D", "42", "22", "0A", "25006")
# PostgreSQL's refusals before a session exists carry no SQLSTATE; their text is looked at and not shown.
_REFUSALS = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "no password supplied",
    "permission denied",
    "not permitted to log in",
)
_RAW = sa.types.NullType()  # values as the driver gives them: the door reads them


@dataclass
class SqlRows:
    """Rows of the view changed in `[since, until)`, as source records; `declared` is counted in the same snapshot.

    Rows without a value in the cursor column are read every time: no window would ever hold them.
    """

    settings: Settings
    contract: Contract
    since: datetime | None
    until: datetime | None
    progress: Callable[[str], None] | None = None
    declared: int | None = field(default=None, init=False)
    _unknown: list[str] = field(default_factory=list, init=False)

    def __iter__(self) -> Iterator[list[Any]]:
        connector = self._connector
        with self._connected() as connection:
            view = self._view(connection)
            where = self._condition(connection, view)
            self.declared = int(
                connection.execute(sa.select(sa.func.count()).select_from(view).where(where)).scalar_one()
            )
            chosen = sa.select(*(sa.type_coerce(view.c[name], _RAW).label(name) for name in self._chosen(view)))
            chosen = chosen.where(where).order_by(*(self._column(view, name) for name in connector.order_by))
            rows = connection.execution_options(stream_results=True, yield_per=connector.page_size).execute(chosen)
            read = 0
            for page in rows.mappings().partitions(connector.page_size):
                read += len(page)
                yield [{name: _plain(value) for name, value in row.items()} for row in page]
                if self.progress:
                    self.progress(f"{self.contract.feed}: {read:,} of {self.declared:,}")

    def findings(self) -> list[dict[str, Any]]:
        """Columns of the view that the contract neither reads nor leaves out on purpose."""
        told = "the contract neither reads it nor leaves it out on purpose (ignoredFields); it was not asked for"
        return [
            {"rule": "new_field", "field": name[:80], "records": self.declared or 0, "detail": told}
            for name in self._unknown
        ]

    @property
    def _connector(self) -> SqlView:
        connector = self.contract.connector
        assert isinstance(connector, SqlView)
        return connector

    @property
    def _what(self) -> str:
        return f"{self.contract.feed}: {self._connector.system}, view {self._connector.view}"

    # -- connection -------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = self._engine()
        try:
            with engine.connect() as connection:
                is_postgresql = connection.dialect.name == "postgresql"
                if is_postgresql:
                    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                with connection.begin():
                    if is_postgresql:  # the driver reads moments in this style only
                        connection.exec_driver_sql("set local datestyle to iso")
                    yield connection
        except exc.NoSuchTableError:
            raise PermanentError(f"{self._what}: there is no such view, or it may not be read") from None
        except exc.SQLAlchemyError as error:
            raise self._explained(error) from None

    def _engine(self) -> sa.Engine:
        variable = f"HAILONG_SOURCE_{self._connector.system.upper()}_URL"
        address = self.settings.env.get(variable)
        if not address:
            raise PermanentError(
                f"no address for the system '{self._connector.system}': set {variable} to a SQLAlchemy URL, such as "
                "postgresql+psycopg://reader:password@host/database, or start the sandbox, which prints one"
            )
        return engine_of(self._what, variable, address)

    def _explained(self, error: exc.SQLAlchemyError) -> PermanentError | TransientError:
        """By the kind of the driver's error: its text may hold the address."""
        original = getattr(error, "orig", None)
        kind = type(original or error).__name__
        state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
        if state:
            kind = f"{kind}, SQLSTATE {state}"
        if isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError | exc.TimeoutError):
            text = str(original or error)
            refused = state.startswith(_PERMANENT_STATES) if state else any(word in text for word in _REFUSALS)
            if not refused:
                return TransientError(f"{self._what}: the database cannot be read now ({kind}). Try again later")
        variable = f"HAILONG_SOURCE_{self._connector.system.upper()}_URL"
        return PermanentError(
            f"{self._what}: the database refused ({kind}): check {variable}, the rights of its user, and the view"
        )

    # -- what is asked ----------------------------------------------------------------------------------------------

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

    def _chosen(self, view: sa.Table) -> list[str]:
        """Columns that the contract reads, in the view's order; the door says which of them are missing."""
        columns = self.contract.columns
        read = {column.source for column in columns if column.source} | {name for c in columns for name, _ in c.flag}
        known = read | {*self.contract.personal, *self.contract.ignored}
        self._unknown = [name for name in view.c.keys() if name not in known]  # noqa: SIM118
        found = [name for name in view.c.keys() if name in read]  # noqa: SIM118
        if not found:
            raise PermanentError(
                f"{self._what}: it has none of the columns of {self.contract.path.name}; its columns are "
                f"{', '.join(view.c.keys())}"
            )
        return found

    def _condition(self, connection: sa.Connection, view: sa.Table) -> sa.ColumnElement[bool]:
        name = self._connector.since_column
        if name is None or self.since is None or self.until is None:
            return sa.true()
        column = self._column(view, name)
        raw = sa.type_coerce(column, _RAW)
        sample = connection.execute(sa.select(raw).where(column.is_not(None)).limit(1)).scalar()
        if sample is None:
            return column.is_(None)
        first, last, is_day = self._bounds(name, sample, self.since, self.until)
        compared: sa.ColumnElement[Any] = column
        if connection.dialect.name == "sqlite":  # it compares what is stored, whatever type the column declares
            compared = sa.type_coerce(column, sa.String() if isinstance(first, str) else sa.BigInteger())
        ended = compared <= last if is_day else compared < last
        return sa.or_(sa.and_(compared >= first, ended), column.is_(None))

    def _bounds(self, name: str, sample: Any, since: datetime, until: datetime) -> tuple[Any, Any, bool]:
        """(first, last, True when days are compared) in the form in which the cursor column holds its moments."""
        last_day = (until - timedelta(microseconds=1)).date()
        if isinstance(sample, datetime):
            first, last = (bound if sample.tzinfo else bound.replace(tzinfo=None) for bound in (since, until))
            return first, last, False
        if isinstance(sample, date):
            return since.date(), last_day, True
        word = str(sample)
        as_held: Callable[[str], Any] = int if isinstance(sample, int | Decimal) else str
        if isinstance(sample, str | int | Decimal):
            for form, wire in _TEXT_TIMES:
                if form.fullmatch(word):
                    return as_held(since.strftime(wire)), as_held(until.strftime(wire)), False
            for form, wire in _TEXT_DAYS:
                if form.fullmatch(word):
                    return as_held(since.strftime(wire)), as_held(last_day.strftime(wire)), True
        raise PermanentError(
            f"{self._what}: {name} does not hold moments that can be compared: it must be a timestamp, a date, or a text or "
            "number like 20261003080000 or 2026-10-03T08:00:00"
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def engine_of(what: str, variable: str, address: str) -> sa.Engine:
    """Engine of a source's database, which is never written to; `variable` holds its address, which is never quoted."""
    try:
        url = sa.make_url(address)
        if url.get_backend_name() == "sqlite":
            return _sqlite(what, url)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "postgresql" and "connect_timeout" not in url.query:
            options = {"connect_timeout": CONNECT_TIMEOUT}
        return sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=options, hide_parameters=True)
    except (exc.ArgumentError, exc.NoSuchModuleError, ImportError, ValueError) as error:
        raise PermanentError(
            f"{variable} is not a usable SQLAlchemy URL ({type(error).__name__}): write "
            "driver://user:password@host/database, with a driver that is installed"
        ) from None


def _sqlite(what: str, url: sa.URL) -> sa.Engine:
    """Opened read only: a mistyped path must not become an empty database, and nothing is written."""
    path = Path(url.database or "")
    if not path.is_file():
        raise PermanentError(f"{what}: there is no database file where its address points to")
    opened = partial(
        sqlite3.connect,
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=CONNECT_TIMEOUT,
        isolation_level=None,
    )
    engine = sa.create_engine("sqlite://", creator=opened, poolclass=sa.pool.NullPool, hide_parameters=True)
    # The driver begins nothing before a query, and without a transaction count and rows are of two moments.
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("begin"))
    return engine
