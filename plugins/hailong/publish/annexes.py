"""Annexes: what a report says beside the scores. Rows of the marts of one period, copied with the candidate.

They are kept as JSON objects, because a report reads them as a whole and their columns are those of the mart of that day.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from hailong.periods import Period
from hailong.publish.later import LATER

PART = "annexes"  # as `publish.candidate_part` names it
OF_PERIOD = "select * from {mart} where period_code = %(period)s"
# Annex → its rows of one period, of the mart of that name unless it says otherwise. What is kept by days there is summed here
# over the days of the period.
ANNEXES = {
    "dossier_flow": OF_PERIOD,
    "dossier_flow_before": (  # what the period's windows began with, out of the same state
        "select was.unit_code, was.period_code, was.open_at_end from {marts}.dossier_flow as was "
        "inner join {core}.core_unit_window as earlier on was.period_code = earlier.period_code "
        "and was.unit_code = earlier.unit_code "
        "inner join {core}.core_unit_window as windows on windows.period_code = %(period)s "
        "and earlier.unit_code = windows.unit_code and earlier.window_end = windows.window_start "
        "inner join {core}.dim_period as old on was.period_code = old.period_code "
        "inner join {core}.dim_period as now on now.period_code = %(period)s and old.period_kind = now.period_kind"
    ),
    "received_by_channel": (
        "select came.unit_code, dossiers.channel_code, count(*) as received from {facts}.fct_dossier_event as came "
        "inner join {core}.core_dossier as dossiers on came.dossier_code = dossiers.dossier_code "
        "inner join {core}.core_unit_window as windows on came.unit_code = windows.unit_code "
        "and came.event_on >= windows.window_start and came.event_on < windows.window_end "
        "where came.event = 'received' and windows.period_code = %(period)s group by came.unit_code, dossiers.channel_code"
    ),
    "petition_count": OF_PERIOD,
    "petition_term": OF_PERIOD,
    "explanation_owed": OF_PERIOD,
    "k_sensitivity": OF_PERIOD,
    "late_data": (
        "select feed, unit_code, measure, days_late, loaded_on >= %(cutoff)s::date as is_after_cutoff, "
        "sum(record_count)::bigint as record_count from {mart} where event_on >= %(start)s and event_on < %(end)s "
        "group by feed, unit_code, measure, days_late, loaded_on >= %(cutoff)s::date"
    ),
    "reconciliation": (
        "select unit_code, reason, sum(city_count)::bigint as city_count, sum(portal_count)::bigint as portal_count, "
        "sum(difference)::bigint as difference from {mart} "
        "where received_on >= %(start)s and received_on < %(end)s group by unit_code, reason"
    ),
    "follow_up": OF_PERIOD,
    "watch_list": "select * from {mart}",  # as of the last day read
    "action": "select * from {mart}",  # a remedy may be due long after the period that it was promised for
    "dispute": (  # a quarter has those of its months
        "select * from {mart} where period_code in (select period_code from {core}.dim_period "
        "where period_start >= %(start)s and period_end <= %(end)s)"
    ),
    "evaluation": OF_PERIOD,
    "evaluation_criterion": OF_PERIOD,
    "rollup": OF_PERIOD,
    "trend": OF_PERIOD,
    "unit_note": OF_PERIOD,
    "portal_group": "select * from {mart} where window_from < %(end)s and window_to >= %(start)s",  # in windows of its own
    "reform_index_handover": OF_PERIOD,
    "sub_unit": (  # under the unit that they are part of: they have A, B, C and no K of their own (Articles 8.2, 16.4)
        "select totals.parent_unit_code as unit_code, totals.unit_code as sub_unit_code, totals.unit_name as sub_unit_name, "
        "totals.a, totals.b, totals.c, totals.k, totals.verdict, totals.status, totals.status_reason, totals.window_start, "
        "totals.window_end, totals.window_clipped, a.denominator as a_dossiers, a.status_reason as a_reason, "
        "b.denominator as b_dossiers, b.status_reason as b_reason, c.denominator as c_ratings, c.status_reason as c_reason "
        "from {marts}.k_score as totals "
        "inner join {marts}.index_score as a on totals.period_code = a.period_code and totals.unit_code = a.unit_code "
        "and a.index_code = 'A' "
        "inner join {marts}.index_score as b on totals.period_code = b.period_code and totals.unit_code = b.unit_code "
        "and b.index_code = 'B' "
        "inner join {marts}.index_score as c on totals.period_code = c.period_code and totals.unit_code = c.unit_code "
        "and c.index_code = 'C' "
        "where totals.period_code = %(period)s and totals.parent_unit_code is not null"
    ),
    **LATER,
}
NO_MARTS = ("dossier_flow_before", "received_by_channel", "sub_unit", *LATER)
MODELS = ("fct_dossier_event", *(f"mart_{name}" for name in ANNEXES if name not in NO_MARTS))  # which make them


def copy(
    connection: psycopg.Connection,
    candidate_id: str,
    period: Period,
    cutoff: datetime,
    prefix: str,
    built_to: int,
    rules_sha256: str,
) -> None:
    """Copy the annexes of a period out of the schemas with this prefix; rows in the order of their text.

    `cutoff` is the period's, a local time. `built_to`, `rules_sha256`: last batch and rule set of the real tables, with which
    what was published is compared.
    """
    schemas = {name: sql.Identifier(f"{prefix}{name}") for name in ("core", "facts", "marts")}
    schemas |= {f"now_{name}": sql.Identifier(name) for name in ("core", "facts", "marts")}
    for annex, rows in ANNEXES.items():
        connection.execute(
            sql.SQL(
                "insert into publish.candidate_annex (candidate_id, annex, row_no, unit_code, content) "
                'select %(candidate)s, %(annex)s, row_number() over (order by content::text collate "C"), '
                "content ->> 'unit_code', content from (select to_jsonb(said) as content from ({rows}) as said) as kept"
            ).format(rows=sql.SQL(rows).format(mart=sql.Identifier(f"{prefix}marts", annex), **schemas)),
            {
                "candidate": candidate_id,
                "annex": annex,
                "period": period.code,
                "start": period.start,
                "end": period.end,
                "cutoff": cutoff,
                "built_to": built_to,
                "rules": rules_sha256,
            },
        )


def of_candidate(connection: psycopg.Connection, candidate_id: str, annex: str) -> list[dict[str, Any]]:
    """The rows of one annex of a candidate."""
    rows = connection.execute(
        "select content from publish.candidate_annex where candidate_id = %s and annex = %s order by row_no",
        (candidate_id, annex),
    ).fetchall()
    return [content for (content,) in rows]


def publish(connection: psycopg.Connection, candidate_id: str, edition_id: str) -> None:
    """Copy a candidate's annexes into its edition."""
    connection.execute(
        "insert into publish.annex (edition_id, annex, row_no, unit_code, content) "
        "select %s, annex, row_no, unit_code, content from publish.candidate_annex where candidate_id = %s",
        (edition_id, candidate_id),
    )


def checksum(connection: psycopg.Connection, owner: str, owner_id: str) -> tuple[int, str]:
    """Rows and SHA-256 of the stored annexes of a 'candidate' or an 'edition': a JSON line a row, by annex and number."""
    table, key = {"candidate": ("candidate_annex", "candidate_id"), "edition": ("annex", "edition_id")}[owner]
    digest, rows = hashlib.sha256(), 0
    with connection.cursor(name="annexes") as cursor:
        cursor.execute(
            sql.SQL(
                "select annex, row_no, unit_code, content::text from {table} where {key} = %s "
                'order by annex collate "C", row_no'
            ).format(table=sql.Identifier("publish", table), key=sql.Identifier(key)),
            (owner_id,),
        )
        for row in cursor:
            rows += 1
            digest.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return rows, digest.hexdigest()
