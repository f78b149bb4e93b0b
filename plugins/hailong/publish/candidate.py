"""The candidate: one closed period's rows as they were at its cut-off. Gate, reviewer and signature look at this copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from hailong.errors import PermanentError, TransientError
from hailong.periods import Period, parse_period
from hailong.publish import LOCK, ROLE, annexes, points
from hailong.publish.checksum import MODELS, Content, made, marts_sha256
from hailong.publish.closing import closing_feeds, landed_stop, last_batch_before, stopped_by, unread
from hailong.settings import Settings
from hailong.warehouse import build as building
from hailong.warehouse.connect import connect
from hailong.warehouse.rules import rules_sha256

COPIED = (*MODELS, *annexes.MODELS, *points.MODELS)  # models that a candidate is copied from
READ = ("marts", "facts", "core", "rules")  # schemas that a candidate is copied from

K_COLUMNS = (
    "period_code", "unit_code", "unit_name", "peer_group", "peer_group_name", "unit_kind", "a", "b", "c", "d", "e", "k",
    "verdict", "verdict_bound", "status", "status_reason", "rank_in_group", "window_start", "window_end", "window_clipped",
    "verdict_stability", "k_min", "k_max", "small_sample", "near_threshold", "no_petitions",
)  # fmt: skip
INDEX_COLUMNS = (
    "period_code", "unit_code", "index_code", "numerator", "denominator", "excluded", "value", "status", "status_reason",
)  # fmt: skip
CANDIDATE = (
    "select candidate_id, period_code, as_of_batch, content_sha256, requested_by, late_batches, later_batches, later_records "
    "from publish.candidate "
)
PARAMETER_COLUMNS = ("policy_id", "parameter", "value", "why")


def names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


@dataclass(frozen=True)
class Build:
    """A finished build whose tables stand: the real ones, or those with a prefix."""

    build_id: int
    as_of_batch: int
    rules_sha256: str
    prefix: str

    def schema(self, name: str) -> str:
        return f"{self.prefix}{name}"


@dataclass(frozen=True)
class Candidate:
    """A candidate, made now (`created`) or found to say the same already. `published_as`: the edition that says so."""

    candidate_id: str
    period_code: str
    as_of_batch: int
    content_sha256: str
    requested_by: str
    late_batches: int
    later_batches: int
    later_records: int
    created: bool = False
    published_as: str | None = None

    @property
    def message(self) -> str:
        state = "copied" if self.created else "says the same as before: nothing copied"
        late = f", {self.late_batches} of them came after the cut-off" if self.late_batches else ""
        if self.later_batches:
            late += (
                f"; {self.later_records:,} records of any period in {self.later_batches} later batches are not in it"
            )
        published = f"; already published as {self.published_as}" if self.published_as else ""
        return (
            f"Candidate {self.candidate_id} {state} (batches up to {self.as_of_batch}{late}), "
            f"sha256 {self.content_sha256[:16]}…{published}"
        )


def create(
    settings: Settings,
    period_code: str,
    requested_by: str,
    late: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Candidate:
    """Copy a period's rows into a candidate, in one transaction, as they were at its cut-off.

    What was loaded by then counts, whatever came since: when the newest build has read more, the state of the cut-off is
    built beside it first. Where a feed that closes the period reached its end only later, or when it is asked for (`late`: the
    cut-off's state was stopped or refused, and what repairs it came later), the newest build is copied, and what came late
    is counted. When the newest candidate of the period has the same content, that one is returned. PermanentError when the
    period is not closed in the data, or when the marts are not those of a finished build.
    """
    period = parse_period(settings.rules, period_code)
    with connect(settings, ROLE) as connection:
        hold_builds(connection)
        built_to = newest_build(connection, period).as_of_batch
        as_of = built_to if late else _as_of(connection, settings, period, built_to)
        _landed_well(connection, as_of)
        said = _of_edition(connection, period, whatever_it_says=as_of < built_to)
        found = None if said else _reusable(settings, connection, period)
        if found and as_of < built_to and _was_made_so(connection, found, as_of, rules_sha256(settings.rules)):
            said = found
    if said is None:
        if as_of < built_to:
            said = _copy_past(settings, period, requested_by, as_of, progress)
        else:
            said = _copy(settings, period, requested_by, "")
    if said.published_as:  # nothing will be published, so nobody else would see that a killed run left no files
        from hailong.publish.edition import write_files

        write_files(settings, said.published_as)
    return said


def _copy_past(
    settings: Settings, period: Period, requested_by: str, as_of: int, progress: Callable[[str], None] | None
) -> Candidate:
    """Copy a state that is built for this and gone afterwards."""
    with building.side_state(settings) as connection:
        building.build(settings, as_of=as_of, beside=True, only=COPIED, progress=progress)
        for schema in READ:
            connection.execute(
                sql.SQL(
                    "grant usage on schema {schema} to {role}; grant select on all tables in schema {schema} to {role}"
                ).format(schema=sql.Identifier(building.BESIDE + schema), role=sql.Identifier(ROLE))
            )
        return _copy(settings, period, requested_by, building.BESIDE)


def _copy(settings: Settings, period: Period, requested_by: str, prefix: str) -> Candidate:
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read")
        hold_builds(connection)
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        build = newest_build(connection, period, prefix)
        if behind := unread(connection, settings, closing_feeds(settings), period, build.as_of_batch):
            raise PermanentError(
                f"the period {period} is not closed in the data: {'; '.join(map(str, behind))}. Run "
                f"{', '.join(f'`{feed.way_out}`' for feed in behind)}, then `hailong build`, and try again"
            )
        digest = marts_sha256(connection, period.code, build.schema("marts"))
        found = _reusable(settings, connection, period)
        if found is None or found.content_sha256 != digest:
            found = _insert(connection, settings, period, build, digest, requested_by)
        return _with_edition(connection, found)


def copy_restated(
    settings: Settings,
    period: Period,
    requested_by: str,
    restates: str,
    reason: str,
    content: Content,
    differences: Sequence[tuple[object, ...]],
) -> Candidate:
    """Copy the newest build as a candidate that is to take the place of an edition, with its differences by cause.

    TransientError when the marts do not say `content` any more.
    """
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read")
        hold_builds(connection)
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        build = newest_build(connection, period)
        _landed_well(connection, build.as_of_batch)
        if made(connection, "marts", period.code) != content:
            raise TransientError("the marts were built anew while the causes were reckoned: restate again")
        digest = marts_sha256(connection, period.code)
        found = _reusable(settings, connection, period)
        if found and found.content_sha256 == digest:
            row = connection.execute(
                "select restates, reason from publish.candidate where candidate_id = %s", (found.candidate_id,)
            ).fetchone()
            if row == (restates, reason):
                return found
        copied = _insert(connection, settings, period, build, digest, requested_by, restates, reason)
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into publish.candidate_difference (candidate_id, unit_code, index_code, cause, contribution, "
                "status_before, status_after) values (%s, %s, %s, %s, %s, %s, %s)",
                [(copied.candidate_id, *difference) for difference in differences],
            )
        return copied


def newest(settings: Settings, period_code: str) -> Candidate:
    """The newest candidate of a period; PermanentError when there is none."""
    period = parse_period(settings.rules, period_code)
    with connect(settings, "hailong_reader") as connection:
        found = _newest(connection, period)
    if found is None:
        raise PermanentError(
            f"the period {period} has no candidate: run `hailong candidate --period {period.code}` first"
        )
    return found


def _newest(connection: psycopg.Connection, period: Period) -> Candidate | None:
    with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        return cursor.execute(
            CANDIDATE + "where period_code = %s and calendar_code = %s order by created_at desc limit 1",
            (period.code, period.calendar_code),
        ).fetchone()


def _reusable(settings: Settings, connection: psycopg.Connection, period: Period) -> Candidate | None:
    """The newest candidate, where another with the same scores could say nothing more: not refused, and with all its parts."""
    found = _newest(connection, period)
    if found is None or _refused(connection, found.candidate_id):
        return None
    parts: dict[str, str] = dict(
        connection.execute(
            "select part, sha256 from publish.candidate_part where candidate_id = %s", (found.candidate_id,)
        ).fetchall()
    )
    whole = annexes.PART in parts and points.kept(
        points.folder(settings, found.candidate_id), parts.get(points.NAME, "")
    )
    return found if whole else None


def _refused(connection: psycopg.Connection, candidate_id: str) -> bool:
    row = connection.execute(
        "select decision from publish.approval where candidate_id = %s order by decided_at desc limit 1",
        (candidate_id,),
    ).fetchone()
    return row == ("rejected",)


def hold_builds(connection: psycopg.Connection) -> None:
    """No build may change the marts while they are copied."""
    held = connection.execute("select pg_try_advisory_xact_lock_shared(%s)", (building.LOCK,)).fetchone()
    if not held or not held[0]:
        raise TransientError(
            "a build is running, so the marts are changing: try again when it has finished (`hailong status`)"
        )


def newest_build(connection: psycopg.Connection, period: Period, prefix: str = "") -> Build:
    """The build that the marts are of; PermanentError, in words about the period, when it did not end well."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select build_id, as_of_batch, rules_sha256, status, message from ops.build where schema_prefix = %s "
            "order by build_id desc limit 1",
            (prefix,),
        ).fetchone()
    if row is None:
        raise PermanentError(f"no build has run, so there is nothing to copy for {period}: run `hailong build` first")
    if row["status"] != "succeeded":
        raise PermanentError(
            f"the last build ({row['build_id']}, as of batch {row['as_of_batch']}) {row['status']}: "
            f"{row['message'] or 'no message'}. The marts may be half of it: run `hailong build` to the end first"
        )
    return Build(row["build_id"], row["as_of_batch"], row["rules_sha256"], prefix)


def _as_of(connection: psycopg.Connection, settings: Settings, period: Period, built_to: int) -> int:
    """The batch up to which a candidate counts: the last by the cut-off, if those close the period; else what is built."""
    as_of = last_batch_before(connection, settings, _cutoff(connection, period))
    if unread(connection, settings, closing_feeds(settings), period, as_of):
        return built_to
    if as_of > built_to:
        raise PermanentError(
            f"batches up to {as_of} were loaded by the cut-off of {period}, and the last build read up to {built_to}: "
            "run `hailong build` first"
        )
    return as_of


def _cutoff(connection: psycopg.Connection, period: Period) -> datetime:
    row = connection.execute(
        "select cutoff_at::timestamp from rules.publication_calendar where period_code = %s and calendar_code = %s",
        (period.code, period.calendar_code),
    ).fetchone()
    if row is None:
        raise PermanentError(
            f"the publication calendar has no {period} under {period.calendar_code}: `hailong calendar make`, then build"
        )
    return row[0]  # type: ignore[no-any-return]


def _was_made_so(connection: psycopg.Connection, candidate: Candidate, as_of: int, rules: str) -> bool:
    """A build of the same batches by the same rules gives the same rows: it need not be made again."""
    row = connection.execute(
        "select rules_sha256 from publish.candidate where candidate_id = %s", (candidate.candidate_id,)
    ).fetchone()
    return candidate.as_of_batch == as_of and row == (rules,)


def _landed_well(connection: psycopg.Connection, as_of: int) -> None:
    """What the gate stopped among the landed data goes into no candidate; what landed after its last batch is not in it."""
    if run_id := landed_stop(connection, as_of):
        raise PermanentError(
            f"the gate stopped what has landed (run {run_id}): {', '.join(stopped_by(connection, run_id))}. Repair at the "
            "source, ingest, build, and run `hailong gate --landed` until it passes"
        )


def _insert(
    connection: psycopg.Connection,
    settings: Settings,
    period: Period,
    build: Build,
    digest: str,
    requested_by: str,
    restates: str | None = None,
    reason: str | None = None,
) -> Candidate:
    cutoff = _cutoff(connection, period)
    stamps = connection.execute(
        sql.SQL("select count(*), min(policy_id), max(metric_version) from {} where period_code = %s").format(
            sql.Identifier(build.schema("marts"), "k_score")
        ),
        (period.code,),
    ).fetchone()
    if stamps is None or not stamps[0]:
        raise PermanentError(
            f"the marts have no row for {period}: no unit of the register was active in it, or no data reach it. "
            "See `hailong status`"
        )
    late = connection.execute(
        "select count(*) from ops.batch where batch_id <= %s and loaded_at >= %s at time zone %s",
        (build.as_of_batch, cutoff, settings.timezone),
    ).fetchone()
    later = connection.execute(
        "select count(*), coalesce(sum(loaded_rows + tombstone_rows), 0)::bigint from ops.batch "
        "where batch_id > %s and loaded_rows + tombstone_rows > 0",
        (build.as_of_batch,),
    ).fetchone()
    number = connection.execute(
        "select count(*) + 1 from publish.candidate where period_code = %s", (period.code,)
    ).fetchone()
    assert late and later and number
    candidate_id = f"{period.code}.c{number[0]}"
    scope = connection.execute(
        sql.SQL(
            "select (select array_agg(unit_code order by unit_code) from {units} where period_code = %s), "
            "count(*), count(*) filter (where resolving_unit_code is null) from {dossiers} "
            "where result_on >= %s and result_on < %s"
        ).format(
            units=sql.Identifier(build.schema("core"), "core_unit_window"),
            dossiers=sql.Identifier(build.schema("core"), "core_dossier"),
        ),
        (period.code, period.start, period.end),
    ).fetchone()
    assert scope
    legal_basis = connection.execute(
        sql.SQL("select legal_basis from {} where policy_id = %s").format(
            sql.Identifier(build.schema("rules"), "scoring_policy")
        ),
        (stamps[1],),
    ).fetchone()
    row = {
        "candidate_id": candidate_id, "period_code": period.code, "calendar_code": period.calendar_code,
        "period_start": period.start, "period_end": period.end, "cutoff_at": cutoff, "as_of_batch": build.as_of_batch,
        "build_id": build.build_id, "rules_sha256": build.rules_sha256, "policy_id": stamps[1], "metric_version": stamps[2],
        "code_version": settings.code_version, "late_batches": late[0], "content_sha256": digest,
        "requested_by": requested_by, "legal_basis": legal_basis[0] if legal_basis else None, "later_batches": later[0],
        "later_records": later[1], "restates": restates, "reason": reason, "scope_units": scope[0], "dossiers": scope[1],
        "unknown_unit_dossiers": scope[2],
    }  # fmt: skip
    connection.execute(
        sql.SQL("insert into publish.candidate ({}) values ({})").format(
            names(tuple(row)), sql.SQL(", ").join(map(sql.Placeholder, row))
        ),
        row,
    )
    for table, columns in (("k_score", K_COLUMNS), ("index_score", INDEX_COLUMNS)):
        connection.execute(
            sql.SQL("insert into {} (candidate_id, {}) select %s, {} from {} where period_code = %s").format(
                sql.Identifier("publish", f"candidate_{table}"),
                names(columns),
                names(columns),
                sql.Identifier(build.schema("marts"), table),
            ),
            (candidate_id, period.code),
        )
    connection.execute(
        sql.SQL(
            "insert into publish.candidate_parameter (candidate_id, policy_id, parameter, value, why) "
            "select %s, policy_id, parameter, value, why from {} where policy_id = %s"
        ).format(sql.Identifier(build.schema("rules"), "scoring_policy_parameter")),
        (candidate_id, stamps[1]),
    )
    tonight = newest_build(connection, period) if build.prefix else build
    annexes.copy(connection, candidate_id, period, cutoff, build.prefix, tonight.as_of_batch, tonight.rules_sha256)
    written = points.write(settings, connection, candidate_id, period, build.prefix)
    rows, annex_digest = annexes.checksum(connection, "candidate", candidate_id)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into publish.candidate_part (candidate_id, part, row_count, sha256) values (%s, %s, %s, %s)",
            [
                (candidate_id, annexes.PART, rows, annex_digest),
                (candidate_id, points.NAME, written.row_count, written.sha256),
            ],
        )
    return Candidate(
        candidate_id, period.code, build.as_of_batch, digest, requested_by, late[0], later[0], later[1], created=True
    )


def _of_edition(connection: psycopg.Connection, period: Period, whatever_it_says: bool) -> Candidate | None:
    """The candidate of the period's edition, where a new copy could say nothing: the cut-off is past, or it was restated."""
    row = connection.execute(
        "select edition_id, edition_no, candidate_id from publish.edition where period_code = %s and calendar_code = %s "
        "order by edition_no desc limit 1",
        (period.code, period.calendar_code),
    ).fetchone()
    if row is None or not (whatever_it_says or row[1] > 1):
        return None
    with connection.cursor(row_factory=class_row(Candidate)) as cursor:
        found = cursor.execute(CANDIDATE + "where candidate_id = %s", (row[2],)).fetchone()
    return replace(found, published_as=row[0]) if found else None


def _with_edition(connection: psycopg.Connection, candidate: Candidate) -> Candidate:
    """The candidate, with the newest edition of its period where that one has its content."""
    row = connection.execute(
        "select edition_id, content_sha256 from publish.edition where period_code = %s order by edition_no desc limit 1",
        (candidate.period_code,),
    ).fetchone()
    published = row[0] if row and row[1] == candidate.content_sha256 else None
    return replace(candidate, published_as=published)
