"""One build of the warehouse: which raw rows, by which rules, with what result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from hailong import logs
from hailong.errors import PermanentError, TransientError
from hailong.settings import Settings
from hailong.warehouse import constraints, dbt, increments, rules
from hailong.warehouse.connect import connect

LOCK = 104_002  # advisory lock: one build at a time (loads have 104_001 and go on meanwhile)
LOCK_WAIT = "10s"
# Advisory lock: one state beside the real one at a time, from before it is built until it was read.
LOCK_BESIDE = 104_006
BESIDE = "beside_"  # prefix of its schemas, which are gone afterwards
ROLE = "hailong_transformer"
SCHEMAS = ("provisional", "marts", "facts", "core", "staging", "rules")
SEEDS = "path:seeds"  # and the tests that stand beside them
OFFICIALS = "path:models/officials"


@dataclass(frozen=True)
class BuildResult:
    """What a build did. `since_batch`: it looked again at what later batches told of; None: at everything.
    `schema_prefix`: empty, or `asof_<batch>_` for a past state built beside the real one.
    """

    build_id: int
    as_of_batch: int
    rules_sha256: str
    full_refresh: bool
    since_batch: int | None
    schema_prefix: str
    seconds: float
    nodes: int
    constraints: int


def build(
    settings: Settings,
    as_of: int | None = None,
    full: bool = False,
    officials: bool = False,
    progress: dbt.Progress | None = None,
    beside: bool = False,
    only: Sequence[str] = (),
    counted: tuple[int, Sequence[str]] | None = None,
) -> BuildResult:
    """Build rules, staging, core, facts and marts from the raw rows with `batch_id <= as_of` (default: all there are).

    Looks again at the records that a batch since the last finished build told of, and at the cells and periods they lie
    in. `full` drops and makes all tables again; so does a changed rule set or register, said aloud. Both give the same
    rows. `officials` scores officials again as well, which a full build does anyway and no other (they look at every
    dossier of a quarter). An `as_of` older than the last finished build goes into scratch schemas and leaves the real ones
    alone; so does any `beside` the real ones (within `side_state`), and `only` of these models and what they are made of.
    `counted`: of what came after a batch only the records that `ops.restated_record` has under these causes.
    TransientError when another build is running; PermanentError when a model, a test or a constraint fails.
    """
    tell = progress or (lambda text: None)
    began = time.monotonic()
    with connect(settings, ROLE, autocommit=True) as connection, _alone(connection), logs.about():
        _bury_the_killed(connection)
        as_of_batch = _as_of(connection, as_of)
        prefix = BESIDE if beside else _prefix(connection, as_of_batch)
        if not prefix:
            _clear_up(connection)
        sha256, _ = rules.pack(settings)
        if only and not beside:
            raise ValueError("the real tables are built together")
        since = None if full or prefix else increments.since(connection, settings, as_of_batch, sha256, tell)
        build_id = _start(connection, as_of_batch, sha256, since, prefix, settings.timezone)
        logs.bind(build=build_id, batch=as_of_batch)
        told = "full" if since is None else f"what batches after {since} told of"
        tell(f"build {build_id}: batches up to {as_of_batch}, rule set {sha256[:12]}, {told}")
        try:
            if since is None:
                if not prefix and _stands_by_other_rules(connection, sha256):
                    dbt.run(settings, ["parse"], dbt.Reads(as_of_batch))  # one that cannot be read drops nothing
                drop_tables(connection, prefix)
            else:
                touched = increments.touch(connection, since, as_of_batch)
                tell(f"build {build_id}: {touched:,} records to look at again")
            args = _what_is_built(since is not None, officials, only)
            reads = dbt.Reads(as_of_batch, since is not None, prefix, counted)
            run = _dbt(settings, connection, build_id, args, reads, progress)
            built = {node.node_id for node in run.nodes} if only else None
            proved = constraints.prove(connection, run.manifest, built)
        except BaseException as error:
            with suppress(psycopg.OperationalError):  # server gone: the next build finds this one still `running`
                _finish(connection, build_id, "failed", str(error) or type(error).__name__)
            if isinstance(error, psycopg.OperationalError):
                raise TransientError(
                    f"the warehouse went away during build {build_id}: {error}. Build again."
                ) from error
            raise
        with connection.transaction():
            if not prefix:
                increments.forget(connection)
            _finish(connection, build_id, "succeeded", None)
        seconds = time.monotonic() - began
        tell(f"build {build_id}: {len(run.nodes)} nodes in {seconds:.1f} s, {proved} constraints proved")
    return BuildResult(build_id, as_of_batch, sha256, since is None, since, prefix, seconds, len(run.nodes), proved)


def drop_scratch(settings: Settings, prefix: str) -> None:
    """Remove the scratch schemas of a past state."""
    if not prefix:
        raise ValueError("these are no scratch schemas")
    with connect(settings, ROLE, autocommit=True) as connection:
        _drop_scratch(connection, prefix)


def _drop_scratch(connection: psycopg.Connection, prefix: str) -> None:
    for schema in SCHEMAS:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(prefix + schema)))


@contextmanager
def side_state(settings: Settings) -> Iterator[psycopg.Connection]:
    """Have the schemas beside the real ones for oneself; afterwards they are gone. A connection as the builder.

    TransientError while another holds them: a candidate at its cut-off, a restatement, a verification.
    """
    with connect(settings, ROLE, autocommit=True) as connection:
        row = connection.execute("select pg_try_advisory_lock(%s)", (LOCK_BESIDE,)).fetchone()
        if not row or not row[0]:
            raise TransientError(
                "another past state is being built beside the warehouse (a candidate at its cut-off, a restatement, a "
                "verification), and there is room for one: try again when it has finished"
            )
        try:
            yield connection
        finally:
            if not connection.closed:
                _drop_scratch(connection, BESIDE)
                connection.execute("select pg_advisory_unlock(%s)", (LOCK_BESIDE,))


def _clear_up(connection: psycopg.Connection) -> None:
    """What a killed one left beside the real tables goes with the next build, unless somebody is at it."""
    row = connection.execute("select pg_try_advisory_lock(%s)", (LOCK_BESIDE,)).fetchone()
    if row and row[0]:
        _drop_scratch(connection, BESIDE)
        connection.execute("truncate ops.restated_record")
        connection.execute("select pg_advisory_unlock(%s)", (LOCK_BESIDE,))


def drop_tables(connection: psycopg.Connection, prefix: str = "") -> None:
    """Drop every relation of dbt's schemas in one transaction; refuses when something else hangs on one of them."""
    schemas = [prefix + schema for schema in SCHEMAS]
    found = connection.execute(
        "select n.nspname, c.relname, c.relkind = 'v' from pg_class as c "
        "inner join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind in ('r', 'v')",
        (schemas,),
    ).fetchall()
    with connection.transaction():
        for kind, is_view in (("view", True), ("table", False)):
            names = [sql.Identifier(schema, name) for schema, name, view in found if view == is_view]
            if names:
                statement = sql.SQL("drop {} {}").format(sql.SQL(kind), sql.SQL(", ").join(names))
                try:
                    connection.execute(statement)
                except psycopg.errors.DependentObjectsStillExist as error:
                    raise PermanentError(
                        f"full build: a {kind} of dbt cannot be dropped because something outside depends on it "
                        f"({error.diag.message_detail}). Nothing outside may reference them: drop that first."
                    ) from error


@contextmanager
def _alone(connection: psycopg.Connection) -> Iterator[None]:
    """Hold the builders' lock on this connection. A server notices a killed holder at once, so waiting is short."""
    connection.execute("select set_config('lock_timeout', %s, false)", (LOCK_WAIT,))
    try:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
    except psycopg.errors.LockNotAvailable as error:
        running = connection.execute(
            "select build_id, started_at from ops.build where status = 'running' order by build_id desc limit 1"
        ).fetchone()
        which = f"build {running[0]}, running since {running[1]:%Y-%m-%d %H:%M:%S} UTC" if running else "another build"
        raise TransientError(f"{which} holds the lock: one build at a time. Try again when it has finished.") from error
    connection.execute("reset lock_timeout")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(%s)", (LOCK,))


def _bury_the_killed(connection: psycopg.Connection) -> None:
    """Whoever holds the lock is the only build: one that still says `running` was killed."""
    connection.execute(
        "update ops.build set status = 'failed', finished_at = clock_timestamp(), "
        "message = 'killed before it finished; found by the next build' where status = 'running'"
    )


def _as_of(connection: psycopg.Connection, wanted: int | None) -> int:
    newest: int = connection.execute("select coalesce(max(batch_id), 0) from ops.batch").fetchone()[0]  # type: ignore[index]
    if wanted is None:
        return newest
    if not 0 <= wanted <= newest:
        raise PermanentError(
            f"build as of batch {wanted}: the newest batch is {newest}. `hailong status` lists the batches."
        )
    return wanted


def _prefix(connection: psycopg.Connection, as_of_batch: int) -> str:
    """The real schemas hold the newest state built; anything older is scratch."""
    held: int = connection.execute(
        "select coalesce(max(as_of_batch), 0) from ops.build where status = 'succeeded'"
    ).fetchone()[0]  # type: ignore[index]
    return f"asof_{as_of_batch}_" if as_of_batch < held else ""


def _stands_by_other_rules(connection: psycopg.Connection, sha256: str) -> bool:
    """Whether the real tables were last made by another rule set than this one."""
    row = connection.execute(
        "select rules_sha256 from ops.build where schema_prefix = '' and status = 'succeeded' order by build_id desc limit 1"
    ).fetchone()
    return row is not None and row[0] != sha256


def _start(
    connection: psycopg.Connection, as_of_batch: int, sha256: str, since: int | None, prefix: str, timezone: str
) -> int:
    row = connection.execute(
        "insert into ops.build (as_of_batch, rules_sha256, full_refresh, since_batch, schema_prefix, timezone) "
        "values (%s, %s, %s, %s, %s, %s) returning build_id",
        (as_of_batch, sha256, since is None, since, prefix, timezone),
    ).fetchone()
    return int(row[0])  # type: ignore[index]


def _finish(connection: psycopg.Connection, build_id: int, status: str, message: str | None) -> None:
    connection.execute(
        "update ops.build set status = %s, message = %s, finished_at = clock_timestamp() where build_id = %s",
        (status, message, build_id),
    )


def _what_is_built(is_increment: bool, officials: bool, only: Sequence[str]) -> list[str]:
    """Seeds that changed make a full build, so an increment need neither load nor test them again."""
    if only:
        made_of = [f"+{model}" for model in only]
        return [
            "build",
            "--exclude-resource-types",
            "unit_test",
            "--indirect-selection",
            "buildable",
            "--select",
            *made_of,
        ]
    if not is_increment:
        return ["build", "--exclude-resource-type", "unit_test"]
    skipped = [SEEDS] if officials else [SEEDS, OFFICIALS]
    return ["build", "--exclude-resource-types", "unit_test", "--exclude", *skipped]


def _dbt(
    settings: Settings,
    connection: psycopg.Connection,
    build_id: int,
    args: list[str],
    reads: dbt.Reads,
    progress: dbt.Progress | None,
) -> dbt.DbtRun:
    try:
        run = dbt.run(settings, args, reads, progress)
    except dbt.DbtFailed as error:
        _record(connection, build_id, error.run.nodes)
        raise
    _record(connection, build_id, run.nodes)
    if not any(node.node_id.startswith("model.") for node in run.nodes):
        raise PermanentError(f"build {build_id} ran no model: the rule set {settings.rules} is empty")
    return run


def _record(connection: psycopg.Connection, build_id: int, nodes: tuple[dbt.Node, ...]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.dbt_result (build_id, node_id, status, seconds, rows_affected, message) "
            "values (%s, %s, %s, %s, %s, %s)",
            [(build_id, node.node_id, node.status, round(node.seconds, 3), node.rows, node.message) for node in nodes],
        )
