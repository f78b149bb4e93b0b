"""`hailong doctor`: is everything there that the nights to the 25th need? It looks, says what to do, and changes nothing.

Each check says ok, warning (it goes on, look at it) or problem (something will not work, or must not stay so). Whatever a check
cannot look at because another failed is left out; a check that breaks down is a problem itself. No secret is ever told.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
import psycopg
from psycopg import sql

from hailong import backup, notify, publish
from hailong.contracts import FileDrop, SqlView, load_contracts
from hailong.errors import HailongError
from hailong.extract import privacy
from hailong.extract.http import SKEW_SECONDS
from hailong.extract.storage import drop_address
from hailong.load import loader
from hailong.review import findings
from hailong.settings import Settings
from hailong.warehouse import build, migrations
from hailong.warehouse.connect import airflow_uri, connect, where
from hailong.warehouse.embedded import Embedded
from hailong.warehouse.migrations import migration_files

State = Literal["ok", "warning", "problem"]

ROLES = (
    "hailong_loader", "hailong_transformer", "hailong_gate", "hailong_publisher", "hailong_reader", "hailong_open_reader",
)  # fmt: skip
SECRET_FILES = ("pg/password", "pseudonym.key", "airflow/passwords.json", "airflow/keys.json")
MOUNTED = "/run/secrets"  # of a container, whose only user we are; their mode is the engine's
PREFIXES = ("HAILONG_", "AIRFLOW_", "POSTGRES_", "REDIS_")
# What examples hold, also as base64.
PLACEHOLDER = re.compile(
    r"change[-_ ]?me|replace[-_ ]?me|your[-_ ](password|secret|token|key)|^<[^>]*>$|Y2hhbmdlLW1l", re.I
)
CLOCK_WARNING, CLOCK_PROBLEM = 5.0, 60.0  # seconds
DISK_WARNING, DISK_PROBLEM = 10, 2  # GB free
OLD_BACKUP, VERY_OLD_BACKUP = timedelta(hours=26), timedelta(hours=72)
PATIENCE = timedelta(hours=2)  # a night's load or build holds its lock for less
IDLE = timedelta(minutes=15)
LOCKS = {
    migrations.LOCK: "migrate", loader.LOCK: "load", build.LOCK: "build", build.LOCK_BESIDE: "state beside",
    findings.LOCK: "findings", publish.LOCK: "publish", notify.LOCK: "notify", backup.LOCK: "backup",
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What one check found. `then`: what to do about it, empty when it is ok."""

    check: str
    state: State
    told: str
    then: str = ""


@dataclass(frozen=True)
class Looks:
    """What a check looks at beside the settings; tests put in their own."""

    settings: Settings
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    disk: Callable[[Path], Any] = shutil.disk_usage
    patience: timedelta = PATIENCE
    idle: timedelta = IDLE
    timeout: float = 5.0

    @property
    def local(self) -> datetime:
        try:
            return self.now().astimezone(ZoneInfo(self.settings.timezone))
        except (ZoneInfoNotFoundError, ValueError):  # said by its own check
            return self.now()

    @property
    def year(self) -> int:
        return self.local.year


def examine(looks: Looks) -> list[Said]:
    """Every check in the order in which one would put things right."""
    checks: dict[str, Callable[[Looks], Iterable[Said]]] = {
        "placeholders": placeholders,
        "time zone": timezone,
        "signers": signers,
        "pseudonym keys": pseudonym_keys,
        "secret files": secret_files,
        "mail": channels,
        "disk": disk,
        "warehouse": of_the_warehouse,
        "Airflow's database": airflow,
        "sources": sources,
        "backup": backups,
    }
    return [said for name, check in checks.items() for said in _safely(name, check, looks)]


def _safely(name: str, check: Callable[[Looks], Iterable[Said]], looks: Looks) -> list[Said]:
    found: list[Said] = []
    try:
        found.extend(check(looks))
    except HailongError as error:
        found.append(Said(name, "problem", str(error), "see there"))
    except Exception as error:  # whatever it is: the other checks are wanted all the same
        told = f"this check broke down ({type(error).__name__})"
        found.append(Said(name, "problem", told, "tell whoever maintains this program"))
    return found


# -- what was set -----------------------------------------------------------------------------------------------------


def placeholders(looks: Looks) -> Iterator[Said]:
    names = [
        name
        for name, value in sorted(looks.settings.env.items())
        if name.startswith(PREFIXES) and PLACEHOLDER.search(value)
    ]
    if names:
        yield Said(
            "placeholders",
            "problem",
            f"still as in the example: {', '.join(names)}",
            "give each a value of its own (.env)",
        )
    else:
        yield Said("placeholders", "ok", "no value of an example is in use")


def timezone(looks: Looks) -> Iterator[Said]:
    name = looks.settings.timezone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        yield Said("time zone", "problem", f"there is no zone {name!r}", "HAILONG_TIMEZONE=Asia/Ho_Chi_Minh")
        return
    yield Said("time zone", "ok", f"days are those of {name}")


def signers(looks: Looks) -> Iterator[Said]:
    names = looks.settings.signers
    if not names:
        yield Said("signers", "problem", "nobody may sign", "name them in HAILONG_SIGNERS, separated by commas")
    elif len(set(names)) == 1:
        yield Said(
            "signers", "warning", "one name may sign", "name a second one in HAILONG_SIGNERS for when it is absent"
        )
    else:
        yield Said("signers", "ok", f"{len(set(names))} names may sign")


def pseudonym_keys(looks: Looks) -> Iterator[Said]:
    settings, name = looks.settings, "pseudonym keys"
    local = settings.home / "pseudonym.key"
    if not settings.env.get(privacy.VARIABLE) and local.is_file():
        settings = Settings.load({**settings.env, privacy.VARIABLE: local.read_text("ascii").strip()})
    try:
        privacy.Pseudonyms.load(settings, looks.year)
    except HailongError as error:
        yield Said(name, "problem", str(error), f"`hailong key make --year {looks.year}`, into the secret store")
        return
    following = looks.local + timedelta(days=31)
    if following.year != looks.year:
        try:
            privacy.Pseudonyms.load(settings, following.year)
        except HailongError:
            then = f"`hailong key make --year {following.year}` before New Year, into the secret store"
            yield Said(name, "warning", f"none for {following.year} yet", then)
            return
    yield Said(name, "ok", f"there is one for {looks.year}")


def secret_files(looks: Looks) -> Iterator[Said]:
    settings = looks.settings
    paths = [settings.home / name for name in SECRET_FILES] + [settings.project / ".env"]
    paths += [
        Path(value) for name, value in settings.env.items() if name.startswith(PREFIXES) and name.endswith("_FILE")
    ]
    there = [path for path in paths if path.is_file() and not path.is_relative_to(MOUNTED)]
    opened = [path for path in there if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if opened:
        listed = " ".join(map(str, opened))
        yield Said(
            "secret files",
            "problem",
            f"others may read {listed}",
            f"`chmod 600 {listed}`, and change what stood in them",
        )
    else:
        yield Said("secret files", "ok", f"{len(there)} files of passwords and keys, for their owner only")


def channels(looks: Looks) -> Iterator[Said]:
    if notify.is_configured(looks.settings):
        yield Said("mail", "ok", "people are told by mail or webhook")
    else:
        yield Said(
            "mail", "warning", notify.NOBODY.rstrip("."), "set one of them, or look at `hailong status` every morning"
        )


# -- this machine -----------------------------------------------------------------------------------------------------


def disk(looks: Looks) -> Iterator[Said]:
    home = looks.settings.home
    if not home.is_dir():
        yield Said("disk", "warning", f"{home} is not there yet", "`hailong db up` makes it; is HAILONG_HOME right?")
        return
    if not os.access(home, os.W_OK | os.X_OK):
        yield Said("disk", "problem", f"{home} may not be written to", "give it to the user that runs this")
        return
    places = [home]
    server = None if looks.settings.dsn else Embedded(home).current()
    if server and server.data.is_dir():
        places.append(server.data)
    for place in places:
        free = looks.disk(place).free / 1e9
        state: State = "problem" if free < DISK_PROBLEM else "warning" if free < DISK_WARNING else "ok"
        then = "" if state == "ok" else "`hailong purge --dry-run` says what may go; then a larger disk"
        yield Said("disk", state, f"{free:,.1f} GB are free at {place}", then)


# -- the warehouse ----------------------------------------------------------------------------------------------------


def of_the_warehouse(looks: Looks) -> Iterator[Said]:
    settings = looks.settings
    if not settings.dsn and Embedded(settings.home).current() is None:
        yield Said("warehouse", "problem", "the embedded server does not run", "`hailong db up`")
        return
    try:
        connection = connect(settings, autocommit=True)
    except HailongError as error:
        yield Said("warehouse", "problem", str(error), "see there")
        return
    with connection:
        yield from warehouse(looks, connection)
        yield from roles(looks, connection)
        yield from schema(looks, connection)
        yield from clock(looks, connection)
        yield from zone_of_the_server(looks, connection)
        yield from locks(looks, connection)


def warehouse(looks: Looks, connection: psycopg.Connection) -> Iterator[Said]:
    version = connection.info.server_version
    yield Said("warehouse", "ok", f"PostgreSQL {version // 10000}.{version % 10000} answers at {where(looks.settings)}")


def roles(looks: Looks, connection: psycopg.Connection) -> Iterator[Said]:
    refused = []
    for role in ROLES:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        except psycopg.Error:
            refused.append(role)
    if refused:
        then = (
            "`hailong db migrate` as the owner of the database, or as that owner: grant ROLE to the user of HAILONG_DSN"
        )
        yield Said("roles", "problem", f"cannot be taken: {', '.join(refused)}", then)
    else:
        yield Said("roles", "ok", f"all {len(ROLES)} can be taken")


def schema(looks: Looks, connection: psycopg.Connection) -> Iterator[Said]:
    ours = {path.name: digest for path, digest in migration_files().items()}
    try:
        theirs: dict[str, str] = dict(connection.execute("select name, sha256 from ops.migration").fetchall())
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        yield Said("schema", "problem", "there is none", "`hailong db migrate`")
        return
    except psycopg.errors.InsufficientPrivilege:
        then = "run this with the HAILONG_DSN of the login that migrates"
        yield Said("schema", "problem", "this login may not look at it", then)
        return
    unknown = sorted(name for name, digest in theirs.items() if ours.get(name) != digest)
    missing = sorted(ours.keys() - theirs.keys())
    present = {
        name
        for (name,) in connection.execute("select relname from pg_class where relnamespace = to_regnamespace('raw')")
    }
    feeds = sorted(load_contracts(looks.settings.contracts).keys() - present)
    if unknown:
        told = f"the database has migrations that this version does not know, or knows otherwise: {', '.join(unknown)}"
        yield Said("schema", "problem", told, "install the version that made them, or a newer one")
    elif missing or feeds:
        lacking = ", ".join([*missing, *(f"table of {feed}" for feed in feeds)])
        yield Said("schema", "problem", f"it lacks {lacking}", "`hailong db migrate`")
    else:
        yield Said("schema", "ok", f"the newest, {len(ours)} migrations")


def clock(looks: Looks, connection: psycopg.Connection) -> Iterator[Said]:
    before = looks.now()
    row = connection.execute("select clock_timestamp()").fetchone()
    after = looks.now()
    assert row
    ahead = max((row[0] - after).total_seconds(), (before - row[0]).total_seconds(), 0.0)
    state: State = "problem" if ahead > CLOCK_PROBLEM else "warning" if ahead > CLOCK_WARNING else "ok"
    then = (
        "" if state == "ok" else "let both machines follow a time server (chrony): cut-offs are judged by these clocks"
    )
    yield Said("clock", state, f"the server's is {ahead:.0f} s off this machine's", then)


def zone_of_the_server(looks: Looks, connection: psycopg.Connection) -> Iterator[Said]:
    name = looks.settings.timezone
    try:
        here = looks.now().astimezone(ZoneInfo(name)).replace(tzinfo=None)
        row = connection.execute("select %s::timestamptz at time zone %s", (looks.now(), name)).fetchone()
    except (psycopg.Error, ZoneInfoNotFoundError, ValueError):
        yield Said("time zone", "problem", f"the server does not know {name}", "install its time zone data (tzdata)")
        return
    if row and abs(row[0] - here) > timedelta(minutes=1):
        then = "bring the time zone data of both up to date"
        yield Said("time zone", "problem", f"the server's {name} is another one than this machine's", then)
    last = connection.execute(
        "select timezone from ops.build where schema_prefix = '' and timezone is not null order by build_id desc limit 1"
    ).fetchone() if connection.execute("select to_regclass('ops.build')").fetchone() != (None,) else None  # fmt: skip
    if last and last[0] != name:
        then = f"set HAILONG_TIMEZONE={last[0]}, unless the change is meant"
        yield Said("time zone", "warning", f"the last build had {last[0]}: the next one computes everything anew", then)


_HELD = """
select
    a.pid, coalesce(nullif(a.application_name, ''), 'a client'), a.state,
    array(
        select l.objid::bigint from pg_locks as l
        where l.pid = a.pid and l.locktype = 'advisory' and l.granted and l.database = a_db.oid
    ),
    extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.state_change)),
    extract(epoch from clock_timestamp() - a.state_change),
    (select count(*) from pg_stat_activity as w where a.pid = any(pg_blocking_pids(w.pid)))
from pg_stat_activity as a
inner join pg_database as a_db on a_db.datname = a.datname
where a.datname = current_database() and a.pid <> pg_backend_pid()
order by a.pid
"""


def locks(looks: Looks, connection: psycopg.Connection) -> Iterator[Said]:
    found = []
    for pid, client, state, advisory, held, since, waiting in connection.execute(_HELD).fetchall():
        ours = [LOCKS.get(number, f"lock {number}") for number in advisory]
        long = held is not None and held > looks.patience.total_seconds() and (ours or waiting)
        idle = str(state).startswith("idle in transaction") and since > looks.idle.total_seconds()
        if long or idle:
            what = f"holds {', '.join(ours) or 'rows or tables'}" if ours or waiting else "keeps a transaction open"
            others = f", {waiting} wait for it" if waiting else ""
            found.append(f"process {pid} ({client}, {state}) {what} for {float(held) / 60:.0f} min{others}")
    if found:
        then = "is it still at work? Otherwise as its owner: select pg_terminate_backend(PROCESS)"
        yield Said("locks", "warning", "; ".join(found), then)
    else:
        yield Said("locks", "ok", "nobody holds one for long")


# -- others -----------------------------------------------------------------------------------------------------------


def airflow(looks: Looks) -> Iterator[Said]:
    settings = looks.settings
    if not settings.dsn and Embedded(settings.home).current() is None:
        return  # said of the warehouse
    try:
        with psycopg.connect(airflow_uri(settings, "postgresql"), connect_timeout=int(looks.timeout)) as connection:
            row = connection.execute("select version_num from alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        yield Said(
            "Airflow's database", "warning", "it has no schema yet", "`hailong up` makes it, or `airflow db migrate`"
        )
        return
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        then = "create it (`hailong up` does when it may), or set HAILONG_AIRFLOW_DSN"
        yield Said("Airflow's database", "problem", f"no connection: {reason}", then)
        return
    yield Said("Airflow's database", "ok", f"answers, schema {row[0] if row else 'empty'}")


def sources(looks: Looks) -> Iterator[Said]:
    systems = {(c.connector.system, _kind(c.connector)) for c in load_contracts(looks.settings.contracts).values()}
    for system, kind in sorted(systems):
        yield from _safely(f"source {system}", partial(_source, system=system, kind=kind), looks)


def _source(looks: Looks, system: str, kind: str) -> Iterator[Said]:
    settings, name = looks.settings, f"source {system}"
    variable = f"HAILONG_SOURCE_{system.upper()}_{'DROP' if kind == 'drop' else 'URL'}"
    if kind == "drop":
        address = drop_address(settings, system)
        if "://" not in address and not Path(address).is_dir():
            yield Said(name, "warning", f"its folder {address} is not there", f"make it, or set {variable}")
        else:
            yield Said(name, "ok", "files are dropped where a folder is" if "://" not in address else "a remote folder")
    elif not settings.env.get(variable):
        yield Said(name, "warning", "no address here", f"set {variable}, unless Airflow's connection {system} has it")
    elif kind == "sql":
        yield _database(name, variable, settings.env[variable])
    else:
        yield from _service(looks, name, variable, settings.source(system).url)


def _kind(connector: object) -> str:
    return "drop" if isinstance(connector, FileDrop) else "sql" if isinstance(connector, SqlView) else "http"


def _service(looks: Looks, name: str, variable: str, url: str) -> Iterator[Said]:
    """Any answer will do: whether the token is right only a read tells."""
    try:
        answer = httpx.get(url, timeout=looks.timeout)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        then = f"ask its owner; check {variable}, the proxy (HTTPS_PROXY, NO_PROXY) and the certificates"
        yield Said(name, "problem", f"no answer ({type(error).__name__})", then)
        return
    if answer.status_code >= 500:
        yield Said(name, "warning", f"it answers {answer.status_code}", "ask its owner; a read tries again by itself")
        return
    try:
        skew = abs((parsedate_to_datetime(answer.headers["Date"]) - looks.now()).total_seconds())
    except (KeyError, TypeError, ValueError):
        skew = 0.0
    if skew > SKEW_SECONDS:
        then = "which clock is right? The look-back covers it; tell whoever owns the wrong one"
        yield Said(name, "warning", f"it answers, its clock is {skew:.0f} s off ours", then)
    else:
        yield Said(name, "ok", "it answers")


def _database(name: str, variable: str, url: str) -> Said:
    import sqlalchemy as sa
    from sqlalchemy import exc

    from hailong.extract.sql import engine_of

    try:
        with engine_of(name, variable, url).connect() as connection:
            connection.execute(sa.text("select 1"))
    except exc.SQLAlchemyError as error:  # its text quotes the address
        return Said(name, "problem", f"no connection ({type(error).__name__})", f"ask its owner; check {variable}")
    return Said(name, "ok", "it answers")


def backups(looks: Looks) -> Iterator[Said]:
    from hailong.backup import manifest as manifests
    from hailong.backup.store import open_store

    settings = looks.settings
    place = settings.env.get(backup.VARIABLE)
    if not place:
        then = f"`hailong backup --to PLACE` every night, with {backup.VARIABLE} set it is watched here"
        yield Said("backup", "warning", "none is configured", then)
        return
    store = open_store(settings, place)
    manifest = manifests.read(store, manifests.chosen(store, None))
    wrong = manifests.damaged(store, manifest, read_all=False)
    age = looks.now() - datetime.fromisoformat(manifest.taken_at)
    told = f"the newest, {manifest.backup_id}, is {age.total_seconds() / 3600:.0f} hours old"
    if wrong:
        yield Said(
            "backup", "problem", f"{told} and not whole: {'; '.join(wrong[:3])}", "`hailong backup` now, elsewhere"
        )
    elif age > OLD_BACKUP:
        state: State = "problem" if age > VERY_OLD_BACKUP else "warning"
        yield Said("backup", state, told, "`hailong backup`, and see why the nightly one does not come")
    else:
        yield Said("backup", "ok", told)
