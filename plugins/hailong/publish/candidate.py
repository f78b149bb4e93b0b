"""The candidate: one closed period's rows, copied out of the marts. Gate, reviewer and signature look at this copy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from hailong.contracts import load_contracts
from hailong.errors import PermanentError, TransientError
from hailong.load.ledger import cover_end
from hailong.periods import Period, parse_period
from hailong.publish import LOCK, ROLE
from hailong.publish.checksum import marts_sha256
from hailong.settings import Settings
from hailong.warehouse.build import LOCK as BUILD_LOCK
from hailong.warehouse.connect import connect

K_COLUMNS = (
    "period_code", "unit_code", "unit_name", "peer_group", "peer_group_name", "unit_kind", "a", "b", "c", "d", "e", "k",
    "verdict", "verdict_bound", "status", "status_reason", "rank_in_group", "window_start", "window_end", "window_clipped",
    "verdict_stability", "k_min", "k_max", "small_sample", "near_threshold", "no_petitions",
)  # fmt: skip
INDEX_COLUMNS = (
    "period_code", "unit_code", "index_code", "numerator", "denominator", "excluded", "value", "status", "status_reason",
)  # fmt: skip
PARAMETER_COLUMNS = ("policy_id", "parameter", "value", "why")


def names(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


@dataclass(frozen=True)
class Candidate:
    """A candidate, made now (`created`) or found to say the same already. `published_as`: the edition that says so."""

    candidate_id: str
    period_code: str
    as_of_batch: int
    content_sha256: str
    requested_by: str
    late_batches: int
    created: bool = False
    published_as: str | None = None

    @property
    def message(self) -> str:
        state = "copied" if self.created else "says the same as before: nothing copied"
        late = f", {self.late_batches} batches came after the cut-off" if self.late_batches else ""
        published = f"; already published as {self.published_as}" if self.published_as else ""
        return (
            f"Candidate {self.candidate_id} {state} (as of batch {self.as_of_batch}{late}), "
            f"sha256 {self.content_sha256[:16]}…{published}"
        )


def create(settings: Settings, period_code: str, requested_by: str) -> Candidate:
    """Copy a period's rows of the newest build into a candidate, in one transaction.

    When the newest candidate of the period has the same content, that one is returned. PermanentError when the period
    is not closed in the data, or when the marts are not those of a finished build.
    """
    period = parse_period(settings.rules, period_code)
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read")
        _hold_builds(connection)
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        build_id, as_of, rules = _build(connection, period)
        _landed_well(connection)
        _closed(connection, settings, period, as_of)
        digest = marts_sha256(connection, period.code)
        found = _newest(connection, period)
        if found is None or found.content_sha256 != digest:
            found = _copy(connection, settings, period, build_id, as_of, rules, digest, requested_by)
        said = _with_edition(connection, found)
    if said.published_as:  # nothing will be published, so nobody else would see that a killed run left no files
        from hailong.publish.edition import write_files

        write_files(settings, said.published_as)
    return said


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
            "select candidate_id, period_code, as_of_batch, content_sha256, requested_by, late_batches "
            "from publish.candidate where period_code = %s and calendar_code = %s order by created_at desc limit 1",
            (period.code, period.calendar_code),
        ).fetchone()


def _hold_builds(connection: psycopg.Connection) -> None:
    """No build may change the marts while they are copied."""
    held = connection.execute("select pg_try_advisory_xact_lock_shared(%s)", (BUILD_LOCK,)).fetchone()
    if not held or not held[0]:
        raise TransientError(
            "a build is running, so the marts are changing: try again when it has finished (`hailong status`)"
        )


def _build(connection: psycopg.Connection, period: Period) -> tuple[int, int, str]:
    row = connection.execute(
        "select build_id, as_of_batch, rules_sha256, status, message from ops.build where schema_prefix = '' "
        "order by build_id desc limit 1"
    ).fetchone()
    if row is None:
        raise PermanentError(f"no build has run, so there is nothing to copy for {period}: run `hailong build` first")
    build_id, as_of, rules, status, message = row
    if status != "succeeded":
        raise PermanentError(
            f"the last build ({build_id}, as of batch {as_of}) {status}: {message or 'no message'}. "
            "The marts may be half of it: run `hailong build` to the end first"
        )
    return build_id, as_of, rules


def _closed(connection: psycopg.Connection, settings: Settings, period: Period, as_of: int) -> None:
    """Every feed whose contract says that it closes a period must have been read, without a gap, up to the period's end."""
    end = datetime.combine(period.end, time(), ZoneInfo(settings.timezone))
    behind = []
    for contract in load_contracts(settings.contracts).values():
        if not contract.closes_period:
            continue
        until = cover_end(connection, contract.feed, as_of)
        if until is None or until < end:
            where = f"reaches {until.astimezone(end.tzinfo):%d/%m/%Y %H:%M}" if until else "was never loaded"
            behind.append(f"{contract.feed} {where}")
    if behind:
        raise PermanentError(
            f"the period {period} is not closed in the data: {'; '.join(behind)}. "
            "Ingest up to its end (`hailong ingest FEED`), build, and try again"
        )


def _landed_well(connection: psycopg.Connection) -> None:
    """What the gate stopped among the landed data goes into no candidate."""
    row = connection.execute(
        "select run_id, disposition from dq.run where scope = 'landed' order by finished_at desc limit 1"
    ).fetchone()
    if row and row[1] == "stop":
        failed = connection.execute(
            "select string_agg(distinct expectation_id, ', ' order by expectation_id) from dq.result "
            "where run_id = %s and not success and severity = 'critical'",
            (row[0],),
        ).fetchone()
        raise PermanentError(
            f"the gate stopped what has landed (run {row[0]}): {failed[0] if failed else ''}. Repair at the source, "
            "ingest, build, and run `hailong gate --landed` until it passes"
        )


def _copy(
    connection: psycopg.Connection,
    settings: Settings,
    period: Period,
    build_id: int,
    as_of: int,
    rules: str,
    digest: str,
    requested_by: str,
) -> Candidate:
    header = connection.execute(
        "select cutoff_at::timestamp from rules.publication_calendar where period_code = %s and calendar_code = %s",
        (period.code, period.calendar_code),
    ).fetchone()
    if header is None:
        raise PermanentError(
            f"the publication calendar has no {period} under {period.calendar_code}: `hailong calendar make`, then build"
        )
    stamps = connection.execute(
        "select count(*), min(policy_id), max(metric_version) from marts.k_score where period_code = %s", (period.code,)
    ).fetchone()
    if stamps is None or not stamps[0]:
        raise PermanentError(
            f"the marts have no row for {period}: no unit of the register was active in it, or no data reach it. "
            "See `hailong status`"
        )
    late = connection.execute(
        "select count(*) from ops.batch where batch_id <= %s and loaded_at > %s at time zone %s",
        (as_of, header[0], settings.timezone),
    ).fetchone()
    made = connection.execute(
        "select count(*) + 1 from publish.candidate where period_code = %s", (period.code,)
    ).fetchone()
    assert late and made
    candidate_id = f"{period.code}.c{made[0]}"
    connection.execute(
        "insert into publish.candidate (candidate_id, period_code, calendar_code, period_start, period_end, cutoff_at, "
        "as_of_batch, build_id, rules_sha256, policy_id, metric_version, code_version, late_batches, content_sha256, "
        "requested_by, legal_basis) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
        "(select legal_basis from rules.scoring_policy where policy_id = %s))",
        (
            candidate_id, period.code, period.calendar_code, period.start, period.end, header[0], as_of, build_id, rules,
            stamps[1], stamps[2], settings.code_version, late[0], digest, requested_by, stamps[1],
        ),
    )  # fmt: skip
    for table, columns in (("k_score", K_COLUMNS), ("index_score", INDEX_COLUMNS)):
        connection.execute(
            sql.SQL("insert into {} (candidate_id, {}) select %s, {} from {} where period_code = %s").format(
                sql.Identifier("publish", f"candidate_{table}"),
                names(columns),
                names(columns),
                sql.Identifier("marts", table),
            ),
            (candidate_id, period.code),
        )
    connection.execute(
        "insert into publish.candidate_parameter (candidate_id, policy_id, parameter, value, why) "
        "select %s, policy_id, parameter, value, why from rules.scoring_policy_parameter where policy_id = %s",
        (candidate_id, stamps[1]),
    )
    return Candidate(candidate_id, period.code, as_of, digest, requested_by, late[0], created=True)


def _with_edition(connection: psycopg.Connection, candidate: Candidate) -> Candidate:
    """The candidate, with the newest edition of its period where that one has its content."""
    row = connection.execute(
        "select edition_id, content_sha256 from publish.edition where period_code = %s order by edition_no desc limit 1",
        (candidate.period_code,),
    ).fetchone()
    published = row[0] if row and row[1] == candidate.content_sha256 else None
    return Candidate(**{**vars(candidate), "published_as": published})
