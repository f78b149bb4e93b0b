"""The changelog of numbers: every correction of what was said, why, by which causes, and what became of the verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from hailong.settings import Settings
from hailong.warehouse.connect import connect

# Causes in the closed order in which they are reckoned; a correction without any changed counts only.
CORRECTIONS = """
select
    e.edition_id,
    e.supersedes,
    e.reason,
    e.published_at,
    e.published_by,
    coalesce(changed.units, 0) as units,
    coalesce(changed.late, 0) as late,
    coalesce(changed.deleted, 0) as deleted,
    coalesce(changed.corrected, 0) as corrected,
    coalesce(changed.rule, 0) as rule,
    coalesce(changed.code, 0) as code,
    verdicts.changed as verdicts
from publish.edition as e
left join lateral (
    select
        count(distinct d.unit_code) as units,
        count(*) filter (where d.cause = 'late') as late,
        count(*) filter (where d.cause = 'deleted') as deleted,
        count(*) filter (where d.cause = 'corrected') as corrected,
        count(*) filter (where d.cause = 'rule') as rule,
        count(*) filter (where d.cause = 'code') as code
    from publish.edition_diff as d
    where d.edition_id = e.edition_id
) as changed on true
cross join lateral (
    select coalesce(array_agg(
        coalesce(now.unit_code, was.unit_code) || ': ' || coalesce(was.verdict, 'none') || ' → ' || coalesce(now.verdict, 'none')
        order by coalesce(now.unit_code, was.unit_code)
    ), '{}') as changed
    from (select k.unit_code, k.verdict from publish.k_score as k where k.edition_id = e.edition_id) as now
    full join (select k.unit_code, k.verdict from publish.k_score as k where k.edition_id = e.supersedes) as was
        on now.unit_code = was.unit_code
    where now.verdict is distinct from was.verdict
) as verdicts
where e.supersedes is not null and (%(period)s::text is null or e.period_code = %(period)s)
order by e.published_at, e.edition_id
"""


@dataclass(frozen=True)
class Correction:
    """One edition that takes the place of another: how many values of how many units each cause changed."""

    edition_id: str
    supersedes: str
    reason: str
    published_at: datetime
    published_by: str
    units: int
    late: int
    deleted: int
    corrected: int
    rule: int
    code: int
    verdicts: list[str]  # unit: verdict before → after

    @property
    def causes(self) -> dict[str, int]:
        counts = {name: getattr(self, name) for name in ("late", "deleted", "corrected", "rule", "code")}
        return {name: count for name, count in counts.items() if count}


def corrections(settings: Settings, period_code: str | None = None) -> list[Correction]:
    """All corrections, or those of one period, oldest first."""
    with (
        connect(settings, "hailong_reader") as connection,
        connection.cursor(row_factory=class_row(Correction)) as cursor,
    ):
        return cursor.execute(CORRECTIONS, {"period": period_code}).fetchall()
