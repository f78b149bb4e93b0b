"""Restatement: a published period said anew, with a reason, and by which cause each number changed.

The states between the two editions are built one by one, so each cause is what really changes when it alone is added, in a
closed order: records that came late, that were deleted, that were corrected, then other rules (seeds), then other code
(models, and the program around them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from decimal import Decimal

import psycopg
from psycopg import sql

from hailong.contracts import load_contracts
from hailong.errors import PermanentError, UsageError
from hailong.periods import Period, parse_period
from hailong.publish import ROLE
from hailong.publish.candidate import Build, Candidate, copy_restated, hold_builds, newest_build
from hailong.publish.checksum import MODELS, Content, made, said
from hailong.publish.checksum import differences as content_differences
from hailong.publish.verify import raw_rows_kept
from hailong.settings import Settings
from hailong.warehouse import build as building
from hailong.warehouse import rules
from hailong.warehouse.connect import connect
from hailong.warehouse.dbt import DbtFailed

CAUSES = ("late", "deleted", "corrected", "rule", "code")
OF_RECORDS = CAUSES[:3]
# (unit, index or K) → value and status, of K the verdict
Points = dict[tuple[str, str], tuple[Decimal | None, str | None]]
NONE: tuple[Decimal | None, str | None] = (None, None)  # no row


@dataclass(frozen=True)
class Difference:
    """What one cause changed of one unit's index (or K). `contribution` is None where a value begins or ends to exist."""

    unit_code: str
    index_code: str
    cause: str
    contribution: Decimal | None
    status_before: str | None
    status_after: str | None


@dataclass(frozen=True)
class Restatement:
    """What a restatement of an edition says, or would say (`candidate` None: a dry run, or nothing changed)."""

    edition_id: str
    as_of_batch: int
    differences: tuple[Difference, ...]
    otherwise: tuple[str, ...]  # everything that is said otherwise, counts too, as `checksum.differences` has it
    candidate: Candidate | None

    @property
    def unchanged(self) -> bool:
        return not self.otherwise

    @property
    def changed(self) -> dict[str, int]:
        """Cause → values that it changed."""
        return {cause: sum(difference.cause == cause for difference in self.differences) for cause in CAUSES}


@dataclass(frozen=True)
class _Standing:
    edition_id: str
    as_of_batch: int
    rules_sha256: str


def restate(
    settings: Settings,
    period_code: str,
    reason: str,
    by: str,
    dry_run: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Restatement:
    """Compare the newest edition of a period with the newest build, cause by cause; then copy that build as a candidate.

    The candidate goes the way of any other: gate, signature by somebody else, `publish`, which makes it the next edition.
    PermanentError when the period has no edition, the marts are not those of the rules of today, or a state between cannot
    be built any more.
    """
    if not reason.strip():
        raise UsageError("a restatement needs a reason that can be read in ten years: --reason 'why'")
    period = parse_period(settings.rules, period_code)
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read")
        hold_builds(connection)
        _names_no_dossier(connection, reason)
        standing = _standing(connection, period)
        newest = newest_build(connection, period)
        if newest.rules_sha256 != rules.rules_sha256(settings.rules):
            raise PermanentError("the rules were changed since the last build: run `hailong build`, then restate")
        was, now = said(connection, standing.edition_id), made(connection, "marts", period.code)
    otherwise = tuple(content_differences(was, now))
    if not otherwise:
        return Restatement(standing.edition_id, newest.as_of_batch, (), (), None)
    raw_rows_kept(settings, standing.edition_id)
    states = _states(settings, period, standing, newest, was, now, progress)
    differences = tuple(_differences(states))
    if dry_run:
        return Restatement(standing.edition_id, newest.as_of_batch, differences, otherwise, None)
    rows = [astuple(difference) for difference in differences]
    candidate = copy_restated(settings, period, by, standing.edition_id, reason.strip(), now, rows)
    return Restatement(standing.edition_id, newest.as_of_batch, differences, otherwise, candidate)


def _names_no_dossier(connection: psycopg.Connection, reason: str) -> None:
    """The reason of a quarter or year is public, and stays so; who else it names only its author can know."""
    words = [word.strip(".,;:()'\"“”") for word in reason.split()]
    found = connection.execute(
        "select dossier_code from core.core_dossier where dossier_code = any(%s) limit 1", (words,)
    ).fetchone()
    if found:
        raise UsageError(
            "the reason names a dossier, and it is published with the edition: say what was wrong without codes and names"
        )


def _standing(connection: psycopg.Connection, period: Period) -> _Standing:
    row = connection.execute(
        "select edition_id, as_of_batch, rules_sha256 from publish.edition where period_code = %s and calendar_code = %s "
        "order by edition_no desc limit 1",
        (period.code, period.calendar_code),
    ).fetchone()
    if row is None:
        raise PermanentError(
            f"{period} has no edition, so there is nothing to restate: `hailong candidate --period {period.code}`"
        )
    return _Standing(*row)


def _states(
    settings: Settings,
    period: Period,
    standing: _Standing,
    newest: Build,
    was: Content,
    now: Content,
    progress: Callable[[str], None] | None,
) -> list[tuple[str, Content, Content]]:
    """(cause, before it, after it), in order. What no record and no rule changed is not built: the same gives the same."""
    since, built_to = standing.as_of_batch, newest.as_of_batch
    with (
        building.side_state(settings) as connection,
        rules.laid_out(settings, standing.rules_sha256) as own,
        rules.with_seeds_of(own, settings) as reseeded,
        _classified(connection, settings, since, built_to) as kinds,
    ):

        def built(as_of: int, counted: tuple[str, ...] = (), by: Settings = own) -> Content:
            if counted:
                _knows_causes(own, standing)
            reads = (since, counted) if counted else None
            building.build(by, as_of=as_of, beside=True, only=MODELS, counted=reads, progress=progress)
            return made(connection, f"{building.BESIDE}marts", period.code)

        corrected = now if standing.rules_sha256 == newest.rules_sha256 else built(built_to)
        between = rules.rules_sha256(reseeded.rules)
        if between in (standing.rules_sha256, newest.rules_sha256):  # only models changed, or only seeds
            ruled = now if between == newest.rules_sha256 else corrected
        else:
            try:
                ruled = built(built_to, by=reseeded)
            except DbtFailed as error:  # new rules that the old models cannot read: both are told as rules
                ruled = now
                if progress:
                    progress(f"rules and code changed together and are told as rules: {error}")
        deleted = built(built_to, OF_RECORDS[:2]) if "corrected" in kinds else corrected
        late = built(built_to, OF_RECORDS[:1]) if "deleted" in kinds else deleted
        again = built(since) if since < built_to else late
    return [
        ("late", again, late), ("deleted", late, deleted), ("corrected", deleted, corrected), ("rule", corrected, ruled),
        ("code", was, again), ("code", ruled, now),
    ]  # fmt: skip


def _knows_causes(own: Settings, standing: _Standing) -> None:
    if "HAILONG_COUNTED" not in (own.rules / "macros" / "as_of.sql").read_text(encoding="utf-8"):
        raise PermanentError(
            f"the rule set of {standing.edition_id} cannot count records by what happened to them: it was made before that was "
            "possible, so its differences cannot be told apart by cause"
        )


@contextmanager
def _classified(connection: psycopg.Connection, settings: Settings, since: int, until: int) -> Iterator[set[str]]:
    """While it lasts `ops.restated_record` says what happened to each record between two batches; the kinds that occur."""
    with connection.transaction():
        connection.execute("truncate ops.restated_record")
        for feed in load_contracts(settings.contracts):
            connection.execute(
                sql.SQL(
                    "insert into ops.restated_record (feed, record_key, cause) select %(feed)s, came.record_key, case "
                    "when not exists (select 1 from {raw} as old where old.record_key = came.record_key "
                    "and old.batch_id <= %(since)s) then 'late' when came.op <> 'upsert' then 'deleted' else 'corrected' end "
                    "from (select distinct on (record_key) record_key, op from {raw} "
                    "where batch_id > %(since)s and batch_id <= %(until)s order by record_key, batch_id desc) as came"
                ).format(raw=sql.Identifier("raw", feed)),
                {"since": since, "until": until, "feed": feed},
            )
        kinds = connection.execute("select distinct cause from ops.restated_record").fetchall()
    try:
        yield {kind for (kind,) in kinds}
    finally:
        if not connection.closed:
            connection.execute("truncate ops.restated_record")


def _points(content: Content) -> Points:
    found: Points = {}
    for (table, unit, *index), row in content.items():
        if table == "index_score":
            found[unit, index[0]] = (_number(row["value"]), row["status"])
        else:
            found[unit, "K"] = (_number(row["k"]), row["verdict"] or row["status"])
    return found


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _differences(states: list[tuple[str, Content, Content]]) -> Iterator[Difference]:
    steps = [(cause, _points(before), _points(after)) for cause, before, after in states]
    for key in sorted({key for _, before, after in steps for key in before.keys() | after.keys()}):
        found: dict[str, Difference] = {}
        for cause, before, after in steps:
            (value_before, status_before), (value_after, status_after) = before.get(key, NONE), after.get(key, NONE)
            if (value_before, status_before) != (value_after, status_after):
                step = value_after - value_before if value_before is not None and value_after is not None else None
                if earlier := found.get(cause):  # code: what the program makes of the old rows, and other models
                    step = _sum(earlier.contribution, step)
                    status_before = earlier.status_before
                found[cause] = Difference(*key, cause, step, status_before, status_after)
        yield from found.values()


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
