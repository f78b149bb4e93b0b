"""Why this number: from K to the indices, their counts and exclusions, the parameters in force, and the records behind."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hailong.errors import PermanentError, UsageError
from hailong.periods import Period, parse_period
from hailong.publish import points
from hailong.publish.explain_petitions import petitions_behind
from hailong.publish.told import cell, number, rows_of
from hailong.settings import Settings
from hailong.warehouse.connect import connect

INDEX_NAMES = {
    "A": "resolution time",
    "B": "guidance",
    "C": "attitude",
    "D": "petitions",
    "E": "public posting",
}
# Which parameters decide an index: the prefix of their names, and the ones without one.
PARAMETERS = {
    "A": (
        "a_",
        "result_statuses",
        "due_basis",
        "due_missing",
        "midnight_is_date",
        "at_once_cutoff",
        "attribution",
        "interlinked",
        "inherited_",
    ),
    "B": ("b_", "result_statuses", "midnight_is_date", "attribution", "interlinked"),
    "C": ("c_",),
    "D": ("d_", "midnight_is_date"),
    "E": ("e_",),
}
ENDS = ("resolved", "stopped", "withdrawn", "not_accepted", "without_moment")
K_PARAMETERS = ("k_", "missing_index", "near_threshold_distance", "min_window_days", "rank_scale")

# The records of one unit and window behind an index; those that cost something come first.
RECORDS = {
    "A": """
        select dossier_code, received_at, received_is_date, due_at, due_is_date, due_basis_used, result_at, result_is_date,
            working_days_late, exclusion_reason, point
        from facts.fct_a_timeliness
        where unit_code = %(unit)s and result_on >= %(start)s and result_on < %(end)s
        order by (point is not distinct from 1), exclusion_reason nulls first, result_at, dossier_code
    """,
    "B": """
        select dossier_code, result_on, return_count, exclusion_reason, point
        from facts.fct_b_guidance
        where unit_code = %(unit)s and result_on >= %(start)s and result_on < %(end)s
        order by (point is not distinct from 1), exclusion_reason nulls first, result_on, dossier_code
    """,
    "C": """
        select rating_id, dossier_code, rated_at, channel_code, level_code, is_overall, unit_basis, exclusion_reason, point
        from facts.fct_c_attitude
        where unit_code = %(unit)s and rated_on >= %(start)s and rated_on < %(end)s
        order by (point is not distinct from 1), exclusion_reason nulls first, rated_at, rating_id
    """,
    "D": """
        select petition_id, received_at, is_refused, due_at, due_is_date, due_on, due_basis, answered_at,
            answered_at_is_date as answered_is_date, is_satisfied, resent_count
        from facts.fct_d_petition
        where unit_code = %(unit)s and received_on >= %(start)s and received_on < %(end)s
        order by is_refused, answered_at is not null, is_satisfied nulls first, resent_count desc, received_at, petition_id
    """,
    "E": """
        select place_code, checked_on, is_carried_forward, result, checker_kinds
        from facts.fct_e_posting where unit_code = %(unit)s and period_code = %(period)s order by place_code
    """,
}
# The same of a copy that keeps its points: names as there, and as above where they differ.
OF_POINTS = {
    "A": {
        "record_code": "dossier_code", "received_at": "", "received_is_date": "", "due_at": "", "due_is_date": "",
        "due_basis_used": "", "result_at": "", "result_is_date": "", "working_days_late": "", "reason": "exclusion_reason",
        "point": "",
    },
    "B": {
        "record_code": "dossier_code", "occurred_on": "result_on", "return_count": "", "reason": "exclusion_reason", "point": "",
    },
    "C": {
        "record_code": "rating_id", "dossier_code": "", "rated_at": "", "channel_code": "", "level_code": "", "is_overall": "",
        "unit_basis": "", "reason": "exclusion_reason", "point": "",
    },
    "E": {"place_code": "", "checked_on": "", "is_carried_forward": "", "result": "", "checker_kinds": ""},
}  # fmt: skip
EXCLUSIONS = """
    select 'A' as index_code, exclusion_reason, count(*) from facts.fct_a_timeliness
    where unit_code = %(unit)s and result_on >= %(start)s and result_on < %(end)s and exclusion_reason is not null
    group by exclusion_reason
    union all
    select 'B', exclusion_reason, count(*) from facts.fct_b_guidance
    where unit_code = %(unit)s and result_on >= %(start)s and result_on < %(end)s and exclusion_reason is not null
    group by exclusion_reason
    union all
    select 'C', exclusion_reason, count(*) from facts.fct_c_attitude
    where unit_code = %(unit)s and rated_on >= %(start)s and rated_on < %(end)s and exclusion_reason is not null
    group by exclusion_reason
    order by 1, 2
"""
# One reading at a time, where it changes the index.
READINGS = """
    select r.index_code, r.set_code, r.kind, r.numerator, r.denominator, r.value, r.status
    from marts.index_reading as r
    inner join marts.index_reading as own using (period_code, unit_code, index_code)
    where own.kind = 'own' and r.kind <> 'own' and r.set_code not like '%% + %%'
        and r.value is distinct from own.value
        and r.unit_code = %(unit)s and r.period_code = %(period)s
    order by r.index_code, r.kind, r.set_code
"""


@dataclass(frozen=True)
class Said:
    """Where the numbers come from: an edition, a candidate, or tonight's marts."""

    schema: str
    prefix: str
    key: str
    value: str
    title: str


def explain(
    settings: Settings,
    unit: str,
    period_code: str,
    index: str | None = None,
    limit: int = 20,
    source: str | None = None,
) -> RenderableType:
    """Everything behind a unit's row of a period: of its newest edition, else of the marts (said so).

    `source` asks for another: the name of an edition or a candidate of the period, or 'provisional' for the marts. With
    `index`, the records behind that index, those that cost a point first, at most `limit`. UsageError for an unknown
    index; PermanentError for a source, unit or period without a row, with the codes that come near.
    """
    chosen = index.upper() if index else None
    if chosen and chosen not in RECORDS:
        raise UsageError(f"'{index}' is not an index: A, B, C, D or E")
    period = parse_period(settings.rules, period_code)
    zone = ZoneInfo(settings.timezone)
    with connect(settings, "hailong_reader") as connection:
        as_of = _last_build(connection)
        said = _source(connection, period, source)
        row = _k_row(connection, said, unit, period)
        indices = rows_of(
            connection,
            sql.SQL("select * from {} where {} = %(value)s and unit_code = %(unit)s order by index_code").format(
                sql.Identifier(said.schema, f"{said.prefix}index_score"), sql.Identifier(said.key)
            ),
            {"value": said.value, "unit": unit},
        )
        window = {"unit": unit, "period": period.code, "start": row["window_start"], "end": row["window_end"]}
        parts: list[RenderableType] = [_head(row, period, said), _index_table(indices)]
        kept = _points_kept(settings, said)
        exclusions = _excluded(kept, unit) if kept else connection.execute(EXCLUSIONS, window).fetchall()
        parts.append(_exclusion_text(exclusions))
        parts.append(_beside_a(connection, window))
        parameters = _parameter_rows(connection, period, said)
        parts.append(_would_change(row, indices, parameters))
        parts.append(_readings(connection, window, row))
        parts.append(_parameters(parameters, chosen))
        scored = [entry["index_code"] for entry in indices if entry["status"] == "scored"]
        for code in [chosen] if chosen else scored:
            if code == "D":
                parts.append(petitions_behind(connection, window, zone))
            counted = kept if code in OF_POINTS else None
            rows = _of_points(counted, unit, code) if counted else rows_of(connection, RECORDS[code], window)
            parts.append(_records(code, rows, limit, zone))
    last = f"those of the last build, as of batch {as_of}"
    whose = f"as they were counted in {said.value}; petitions and what stands beside them are {last}" if kept else last
    parts.append(Text(f"Records are {whose}; all of one index: --index A --limit 1000.", "dim"))
    return Group(*parts)


def _last_build(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "select as_of_batch from ops.build where schema_prefix = '' and status = 'succeeded' order by build_id desc limit 1"
    ).fetchone()
    if row is None:
        raise PermanentError("no build has finished, so there is no number to explain: run `hailong build`")
    return int(row[0])


def _source(connection: psycopg.Connection, period: Period, source: str | None) -> Said:
    provisional = Said("marts", "", "period_code", period.code, "provisional: tonight's marts, not published")
    if source == "provisional":
        return provisional
    found = {
        row[0]: Said("publish", prefix, key, row[0], f"{word} {row[0]}, as of batch {row[1]}, sha256 {row[2][:16]}…")
        for word, prefix, key, order in (
            ("candidate", "candidate_", "candidate_id", "created_at"),
            ("edition", "", "edition_id", "edition_no"),
        )
        for row in connection.execute(
            sql.SQL("select {}, as_of_batch, content_sha256 from {} where period_code = %s order by {}").format(
                sql.Identifier(key), sql.Identifier("publish", word), sql.Identifier(order)
            ),
            (period.code,),
        ).fetchall()
    }
    if source is not None and source not in found:
        raise PermanentError(
            f"{period} has no edition or candidate '{source}'; there is: {', '.join([*found, 'provisional'])}"
        )
    if source is not None:
        return found[source]
    editions = [said for said in found.values() if said.key == "edition_id"]
    return editions[-1] if editions else provisional


def _k_row(connection: psycopg.Connection, said: Said, unit: str, period: Period) -> dict[str, Any]:
    table = sql.Identifier(said.schema, f"{said.prefix}k_score")
    condition = sql.SQL("{} = %(value)s").format(sql.Identifier(said.key))
    found = rows_of(
        connection,
        sql.SQL("select * from {} where {} and unit_code = %(unit)s").format(table, condition),
        {"value": said.value, "unit": unit},
    )
    if found:
        return found[0]
    codes = [
        row["unit_code"]
        for row in rows_of(
            connection, sql.SQL("select unit_code from {} where {}").format(table, condition), {"value": said.value}
        )
    ]
    if not codes:
        known = connection.execute("select string_agg(distinct period_code, ', ') from marts.k_score").fetchone()
        raise PermanentError(
            f"there is no row for {period}; the marts hold: {known[0] if known and known[0] else 'nothing'}"
        )
    near = (
        sorted(code for code in codes if code.startswith(unit))
        or difflib.get_close_matches(unit, codes, n=5, cutoff=0.5)
    )[:5]
    near = near or sorted(codes)[:5]
    raise PermanentError(f"no unit '{unit}' in {period}; did you mean {', '.join(near)}?")


def _head(row: dict[str, Any], period: Period, said: Said) -> Text:
    text = Text()
    text.append(f"{row['unit_name']} ({row['unit_code']})", style="bold")
    text.append(f"\nPeriod {period}, {period.calendar_code}; {said.title}")
    window = f"{row['window_start']:%d/%m/%Y} up to, not including, {row['window_end']:%d/%m/%Y}"
    text.append(f"\nWindow {window}" + (f", clipped: {row['window_clipped']}" if row["window_clipped"] else ""))
    if row["k"] is not None:
        text.append(f"\nK = {number(row['k'])}: {row['verdict']}", style="bold")
        rank = f"rank {row['rank_in_group']}" if row["rank_in_group"] else "not ranked"
        text.append(f", {rank} in {row['peer_group_name']}")
    else:
        text.append(f"\nNo K: {row['status']} ({row['status_reason']})", style="bold")
        if row["verdict_bound"]:
            text.append(f"; verdict whatever the missing indices are: {row['verdict_bound']}")
    flags = [name for name in ("near_threshold", "small_sample", "no_petitions") if row[name]]
    if flags:
        text.append(f"\nFlags: {', '.join(flags)}")
    return text


def _index_table(indices: list[dict[str, Any]]) -> Table:
    table = Table(title="Indices", title_justify="left")
    table.add_column("index")
    for name in ("numerator", "denominator", "excluded", "value"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for row in indices:
        status = row["status"] + (f": {row['status_reason']}" if row["status_reason"] else "")
        table.add_row(
            f"{row['index_code']} {INDEX_NAMES[row['index_code']]}",
            *(cell(row[name]) for name in ("numerator", "denominator", "excluded", "value")),
            status,
        )
    return table


def _exclusion_text(rows: list[tuple[Any, ...]]) -> Text:
    if not rows:
        return Text("Exclusions: none\n")
    return Text("Exclusions: " + "; ".join(f"{index} {reason} {count}" for index, reason, count in rows) + "\n")


def _beside_a(connection: psycopg.Connection, window: dict[str, Any]) -> Text:
    """What index A does not show, as of the last build."""
    found = rows_of(
        connection, "select * from marts.dossier_flow where unit_code = %(unit)s and period_code = %(period)s", window
    )
    if not found:
        return Text("Beside A: the last build has no such row\n")
    row = found[0]
    ends = ", ".join(f"{row[name]} {name.replace('_', ' ')}" for name in ENDS if row[name])
    withdrawn = row["withdrawn_per_1000"]
    rate = "" if withdrawn is None else f"; {withdrawn:.1f} withdrawn per 1,000 received"
    return Text(
        f"Beside A: {row['open_at_start']} carried over + {row['received']} received = {ends or 'none ended'},"
        f" {row['open_at_end']} open at the end; {row['open_overdue']} of these overdue, A with them {cell(row['a_with_open'])};"
        f" {row['inherited_overdue']} inherited overdue{rate}\n"
    )


def _would_change(row: dict[str, Any], indices: list[dict[str, Any]], parameters: list[tuple[str, str, str]]) -> Text:
    """How far K is from the threshold, and how many records of one index alone, all else equal, would carry it across."""
    threshold = next((Decimal(value) for _, name, value in parameters if name == "k_threshold"), None)
    if row["k"] is None or threshold is None:
        return Text("")
    distance = row["k"] - threshold
    if not distance:
        return Text(f"What would change it: K stands at the threshold of {number(threshold)}\n")
    ways = []
    for entry in indices:
        top, bottom = entry["numerator"], entry["denominator"]
        if entry["index_code"] not in "ABC" or entry["status"] != "scored" or not bottom:
            continue
        needed = int(abs(distance) * bottom) + 1  # whole points; the first that is past the threshold
        possible = top if distance > 0 else bottom - top
        name, verb = INDEX_NAMES[entry["index_code"]], "lost" if distance > 0 else "won"
        ways.append(
            f"{needed} points {verb} in {entry['index_code']} ({name})"
            if needed <= possible
            else f"nothing in {entry['index_code']} alone"
        )
    if row["small_sample"]:
        ways.append("one petition more or fewer")
    side = "above" if distance > 0 else "below"
    return Text(
        f"What would change it: K is {number(abs(distance))} {side} {number(threshold)}; across it: {'; '.join(ways)}\n"
    )


def _readings(connection: psycopg.Connection, window: dict[str, Any], row: dict[str, Any]) -> RenderableType:
    """What K becomes when the open texts are read otherwise, as of the last build; nothing without K's sensitivity."""
    found = rows_of(
        connection,
        "select * from marts.k_sensitivity where unit_code = %(unit)s and period_code = %(period)s",
        window,
    )
    if not found:
        return Text("Readings: no K is owed, so none is read otherwise\n")
    said = found[0]
    text = Text(f"Readings: K from {cell(said['k_min'])} to {cell(said['k_max'])} over every legal reading")
    text.append(f", rank {cell(said['rank_min'])} to {cell(said['rank_max'])}; ")
    if said["flipping_readings"]:
        text.append(f"{said['flipped_verdict']} under {said['flipping_readings']}", style="bold")
    elif said["verdict"]:
        text.append("no reading gives another verdict")
    else:
        text.append("no reading gives a verdict")
    text.append(f". Our own choices apart: K from {cell(said['method_k_min'])} to {cell(said['method_k_max'])}")
    text.append(f", another verdict under {said['method_flips']}" if said["method_flips"] else "")
    if said["not_computed"]:
        text.append(f". Not computed: {said['not_computed']}")
    if said["k"] != row["k"]:
        text.append(f". The last build gives K = {cell(said['k'])}, not what is explained here", style="bold")
    table = Table(title="An index under its readings, where it is another", title_justify="left")
    for name in ("index", "readings", "kind"):
        table.add_column(name, overflow="fold")
    for name in ("numerator", "denominator", "value"):
        table.add_column(name, justify="right")
    table.add_column("status")
    for other in rows_of(connection, READINGS, window):
        table.add_row(
            *(cell(other[name]) for name in ("index_code", "set_code", "kind", "numerator", "denominator")),
            cell(other["value"]),
            other["status"],
        )
    return Group(text, table) if table.row_count else Group(text, Text(""))


def _parameter_rows(connection: psycopg.Connection, period: Period, said: Said) -> list[tuple[str, str, str]]:
    if said.schema == "publish":
        rows = connection.execute(
            sql.SQL("select policy_id, parameter, value from {} where {} = %s order by parameter").format(
                sql.Identifier("publish", f"{said.prefix or 'edition_'}parameter"), sql.Identifier(said.key)
            ),
            (said.value,),
        ).fetchall()
    else:
        rows = connection.execute(
            "select policy_id, parameter, value from rules.scoring_policy_parameter where policy_id in "
            "(select policy_id from marts.k_score where period_code = %s) order by parameter",
            (period.code,),
        ).fetchall()
    return rows


def _parameters(rows: list[tuple[str, str, str]], index: str | None) -> Table:
    wanted = PARAMETERS[index] if index else (*(p for names in PARAMETERS.values() for p in names), *K_PARAMETERS)
    table = Table(title=f"Parameters in force ({rows[0][0] if rows else 'none'})", title_justify="left")
    table.add_column("parameter")
    table.add_column("value")
    for _, parameter, value in rows:
        if parameter.startswith(wanted):
            table.add_row(parameter, value)
    return table


def _points_kept(settings: Settings, said: Said) -> Path | None:
    """The file of points of an edition or candidate; None for the marts, and where there is none (`hailong verify --chain`)."""
    if said.schema != "publish":
        return None
    folder = points.folder(settings, said.value) if said.prefix else settings.editions / said.value
    # Not everybody may read it: then the last build's records are shown, and said to be.
    return folder / points.NAME if os.access(folder / points.NAME, os.R_OK) else None


def _excluded(kept: Path, unit: str) -> list[tuple[str, str, int]]:
    found = Counter(
        (index, row["reason"])
        for index in "ABC"
        for row in points.read(kept, unit, index).select(["reason"]).to_pylist()
        if row["reason"]
    )
    return [(index, reason, count) for (index, reason), count in sorted(found.items())]


def _of_points(kept: Path, unit: str, index: str) -> list[dict[str, Any]]:
    """The records behind an index, those that cost something first, as `RECORDS` has them."""
    found = points.read(kept, unit, index).to_pylist()
    found.sort(
        key=lambda row: (
            row["point"] == 1,
            row["reason"] or "",
            row["occurred_on"] or date.min,
            row["record_code"] or "",
        )
    )
    return [{shown or name: row[name] for name, shown in OF_POINTS[index].items()} for row in found]


def _records(index: str, rows: list[dict[str, Any]], limit: int, zone: ZoneInfo) -> RenderableType:
    table = Table(title=f"Behind {index}: {min(limit, len(rows))} of {len(rows)} records", title_justify="left")
    if not rows:
        return Text(f"Behind {index}: no record")
    names = [name for name in rows[0] if not name.endswith("_is_date")]
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows[:limit]:
        table.add_row(*(cell(row[name], zone, bool(row.get(name.replace("_at", "_is_date")))) for name in names))
    return table
