"""What a report says: one edition, read from `publish` only."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import set_json_loads

from hailong.errors import PermanentError

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")  # the report is an official paper of Vietnam: its times are Vietnam's
T = TypeVar("T")
INDICES = ("A", "B", "C", "D", "E")
Kind = Literal["month", "quarter", "year"]
Row = dict[str, Any]
OF_EVERY_PERIOD = (
    "dossier_flow",
    "petition_count",
    "trend",
    "unit_note",
    "follow_up",
    "rollup",
    "later_period",
)  # annexes with all units; the last with this very period
OF_LATER = ("later_effect", "later_record")  # empty where nothing came later


class AnnexRow(dict[str, Any]):
    """A row of an annex. A column that its mart did not have yet is unknown, as a null is."""

    def __missing__(self, key: str) -> None:
        return None


@dataclass(frozen=True)
class Header:
    """The edition, its candidate and its signature."""

    edition_id: str
    edition_no: int
    supersedes: str | None
    reason: str | None
    period_code: str
    calendar_code: str
    period_start: date
    period_end: date
    policy_id: str
    legal_basis: str | None
    metric_version: str | None
    as_of_batch: int
    rules_sha256: str
    code_version: str
    content_sha256: str
    gate_run_id: str
    published_at: datetime
    published_by: str
    cutoff_at: datetime
    late_batches: int
    later_batches: int
    later_records: int
    requested_by: str
    signed_by: str | None
    signed_at: datetime | None
    warnings_seen: list[str] | None

    @property
    def last_day(self) -> date:
        return self.period_end - timedelta(days=1)

    @property
    def kind(self) -> Kind:
        return _kind(self.period_code)


@dataclass(frozen=True)
class Unit:
    """One unit's row of `publish.k_score`."""

    unit_code: str
    unit_name: str
    peer_group: str
    peer_group_name: str
    a: Decimal | None
    b: Decimal | None
    c: Decimal | None
    d: Decimal | None
    e: Decimal | None
    k: Decimal | None
    verdict: str | None
    verdict_bound: str | None
    status: str
    status_reason: str | None
    rank_in_group: int | None
    window_start: date
    window_end: date
    window_clipped: str | None
    small_sample: bool
    near_threshold: bool
    no_petitions: bool

    @property
    def values(self) -> dict[str, Decimal | None]:
        return dict(zip(INDICES, (self.a, self.b, self.c, self.d, self.e), strict=True))

    @property
    def present(self) -> Decimal:
        """Sum of the indices there are."""
        return sum((value for value in self.values.values() if value is not None), Decimal(0))


@dataclass(frozen=True)
class Index:
    """One row of `publish.index_score`."""

    unit_code: str
    index_code: str
    numerator: Decimal | None
    denominator: Decimal | None
    excluded: int | None
    value: Decimal | None
    status: str
    status_reason: str | None


@dataclass(frozen=True)
class Parameter:
    """One choice of the policy, with the reason for it."""

    policy_id: str
    parameter: str
    value: str
    why: str


@dataclass(frozen=True)
class Group:
    """A peer group: its units in the order of the ranking (ranked, then with K, then without)."""

    code: str
    name: str
    units: tuple[Unit, ...]

    @property
    def ranked(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.rank_in_group is not None)


@dataclass(frozen=True)
class Change:
    """One row of `publish.edition_diff`: what one cause changed against the edition that this one supersedes."""

    unit_code: str
    index_code: str
    cause: str
    was: Decimal | None
    now: Decimal | None
    contribution: Decimal | None
    status_before: str | None
    status_after: str | None


@dataclass(frozen=True)
class Earlier:
    """The edition of the period before that stood when this one was published."""

    edition_id: str
    period_code: str
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Report:
    """Everything that the report files are made from.

    `annexes`: name → rows, those that have any; `has_annexes`: the edition was made when annexes were kept with it.
    """

    header: Header
    groups: tuple[Group, ...]
    indices: dict[str, dict[str, Index]]
    parameters: tuple[Parameter, ...]
    annexes: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    has_annexes: bool = False
    changes: tuple[Change, ...] = ()
    earlier: Earlier | None = None

    def annex(self, name: str) -> tuple[Row, ...]:
        return self.annexes.get(name, ())

    def predates(self, annex: str) -> bool:
        """Whether the edition was surely made before this annex existed: it has no row where one always has some."""
        if not self.has_annexes:
            return True
        if self.annex(annex):
            return False
        if annex in OF_LATER:
            return not self.annex("later_period")
        if annex == "received_by_channel":
            return any(row["received"] for row in self.annex("dossier_flow"))
        if annex == "k_sensitivity":
            return any(unit.k is not None for unit in self.units)
        return annex in OF_EVERY_PERIOD or (annex == "reform_index_handover" and self.header.kind == "year")

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(unit for group in self.groups for unit in group.units)

    def parameter(self, name: str) -> str:
        """A parameter of the edition's policy; PermanentError when it has none of that name."""
        for parameter in self.parameters:
            if parameter.parameter == name:
                return parameter.value
        raise PermanentError(f"edition {self.header.edition_id} has no parameter '{name}': its report cannot be made")


def load(connection: psycopg.Connection, edition_id: str) -> Report:
    """Read an edition; PermanentError when there is none of that id."""
    headers = _read(connection, Header, HEADER, edition_id)
    if not headers:
        raise PermanentError(f"there is no edition '{edition_id}' to report")
    indices: dict[str, dict[str, Index]] = defaultdict(dict)
    for row in _read(connection, Index, INDEX_ROWS, edition_id):
        indices[row.unit_code][row.index_code] = row
    return Report(
        header=headers[0],
        groups=grouped(_read(connection, Unit, UNIT_ROWS, edition_id)),
        indices=dict(indices),
        parameters=tuple(_read(connection, Parameter, PARAMETER_ROWS, edition_id)),
        annexes=_annexes(connection, edition_id),
        has_annexes=connection.execute(HAS_ANNEXES, (edition_id,)).fetchone() is not None,
        changes=tuple(_read(connection, Change, CHANGE_ROWS, edition_id)),
        earlier=_earlier(connection, edition_id, headers[0].kind),
    )


def _annexes(connection: psycopg.Connection, edition_id: str) -> dict[str, tuple[Row, ...]]:
    """The annexes of an edition, their numbers exact."""
    found: dict[str, list[Row]] = defaultdict(list)
    with connection.cursor() as cursor:
        set_json_loads(partial(json.loads, parse_float=Decimal), cursor)
        for annex, content in cursor.execute(ANNEX_ROWS, (edition_id,)):
            found[annex].append(AnnexRow(content))
    return {annex: tuple(rows) for annex, rows in found.items()}


def _earlier(connection: psycopg.Connection, edition_id: str, kind: Kind) -> Earlier | None:
    """Of the editions that end where this one begins, of its kind, the newest published before it: it never changes."""
    rows = connection.execute(EARLIER, (edition_id,)).fetchall()
    header = next((row for row in rows if _kind(row[1]) == kind), None)
    if header is None:
        return None
    edition_id, period_code = header
    return Earlier(edition_id, period_code, tuple(_read(connection, Unit, UNIT_ROWS, edition_id)))


def _kind(period_code: str) -> Kind:
    _, _, part = period_code.partition("-")
    return "year" if not part else "quarter" if part.startswith("Q") else "month"


def grouped(units: list[Unit]) -> tuple[Group, ...]:
    """Groups by their number of ranked units, largest last: departments come before communes, as in official papers."""
    members: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        members[unit.peer_group].append(unit)
    groups = [
        Group(code, members[code][0].peer_group_name, tuple(sorted(members[code], key=_place))) for code in members
    ]
    return tuple(sorted(groups, key=lambda group: (not group.ranked, len(group.units), group.code)))


def _place(unit: Unit) -> tuple[Any, ...]:
    return (
        unit.rank_in_group is None,
        unit.rank_in_group or 0,
        unit.k is None,
        -(unit.k or Decimal(0)),
        unit.unit_code.encode(),
    )


HEADER = """
select
    e.edition_id, e.edition_no, e.supersedes, e.reason, e.period_code, e.calendar_code, e.period_start, e.period_end,
    e.policy_id, e.legal_basis, e.metric_version, e.as_of_batch, e.rules_sha256, e.code_version, e.content_sha256, e.gate_run_id,
    e.published_at, e.published_by, c.cutoff_at, c.late_batches, c.later_batches, c.later_records,
    c.requested_by,
    a.decided_by as signed_by, a.decided_at as signed_at, a.warnings_seen
from publish.edition as e
inner join publish.candidate as c using (candidate_id)
left join lateral (
    select * from publish.approval as a
    where a.candidate_id = e.candidate_id and a.decision = 'approved' and a.decided_at <= e.published_at
    order by a.decided_at desc
    limit 1
) as a on true
where e.edition_id = %s
"""
UNIT_ROWS = """
select
    unit_code, unit_name, peer_group, peer_group_name, a, b, c, d, e, k, verdict, verdict_bound, status, status_reason,
    rank_in_group, window_start, window_end, window_clipped, small_sample, near_threshold, no_petitions
from publish.k_score
where edition_id = %s
order by unit_code collate "C"
"""
INDEX_ROWS = """
select unit_code, index_code, numerator, denominator, excluded, value, status, status_reason
from publish.index_score
where edition_id = %s
order by unit_code collate "C", index_code collate "C"
"""
PARAMETER_ROWS = """
select policy_id, parameter, value, why
from publish.edition_parameter
where edition_id = %s
order by policy_id collate "C", parameter collate "C"
"""
ANNEX_ROWS = "select annex, content from publish.annex where edition_id = %s order by annex, row_no"
HAS_ANNEXES = """
select from publish.candidate_part as p
inner join publish.edition as e on p.candidate_id = e.candidate_id
where e.edition_id = %s and p.part = 'annexes'
"""
CHANGE_ROWS = """
select unit_code, index_code, cause, was, now, contribution, status_before, status_after
from publish.edition_diff
where edition_id = %s
order by
    unit_code collate "C", index_code collate "C",
    array_position(array['late', 'deleted', 'corrected', 'rule', 'code'], cause)
"""
EARLIER = """
select earlier.edition_id, earlier.period_code
from publish.edition as e
inner join publish.edition as earlier
    on e.calendar_code = earlier.calendar_code and e.period_start = earlier.period_end
    and earlier.published_at < e.published_at
where e.edition_id = %s
order by earlier.published_at desc
"""


def _read(connection: psycopg.Connection, kind: type[T], statement: str, edition_id: str) -> list[T]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement.encode(), (edition_id,)).fetchall()
