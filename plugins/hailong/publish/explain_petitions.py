"""Index D of one unit: petitions once and as new beside the portal's figures, D by each definition, terms, differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hailong.publish.told import Row, rows_of
from hailong.publish.told import cell as cell_of

Cell = Callable[[Any], str]

DEFINITIONS = {
    "portal_group": "the portal's total",
    "petition_rescaled": "its two petition metrics, stretched",
    "petition_12": "its two petition metrics alone",
    "recomputed_766": "petitions counted here once, and its dossier metric",
    "recomputed_104": "each one sent again as new, and its dossier metric",
}
# What is counted: once, as new, and by the portal.
COUNTS = (
    ("received", "received", "received_as_new", None),
    ("refused", "refused", "refused_as_new", None),
    ("not yet due", "not_yet_due", "not_yet_due_as_new", None),
    ("counted: answered or past due", "counted", "counted_as_new", "portal_on_time_denominator"),
    ("past due without an answer", "unanswered", "unanswered_as_new", None),
    ("answered in time", "in_time", "in_time", "portal_on_time_numerator"),
    ("satisfied", "satisfied", "satisfied", "portal_handling_numerator"),
)
COUNT = "select * from marts.petition_count where unit_code = %(unit)s and period_code = %(period)s"
TERMS = """
    select t.term_code, t.ran, t.kept, t.broken, t.running,
        (
            select string_agg(distinct s.working_days::text, ' or ') from rules.petition_term as s
            where s.term_code = t.term_code and s.valid_from < %(end)s and coalesce(s.valid_to, 'infinity') > %(start)s
        ) as working_days
    from marts.petition_term as t where t.unit_code = %(unit)s and t.period_code = %(period)s order by t.term_code
"""
DIFFERENCES = """
    select d.difference, n.name_vi, d.portal_value, d.our_value, d.amount
    from marts.portal_difference as d left join rules.portal_difference as n using (difference)
    where d.unit_code = %(unit)s and d.period_code = %(period)s order by d.difference
"""


def petitions_behind(connection: psycopg.Connection, window: Row, zone: ZoneInfo) -> RenderableType:
    """What D of a unit and period rests on, as of the last build."""
    found = rows_of(connection, COUNT, window)
    if not found:
        return Text("Petitions: the last build has no such row\n")
    row = found[0]

    cell = partial(cell_of, zone=zone)
    parts: list[RenderableType] = [_said(row, cell), _counts(row, cell), _definitions(row, cell)]
    terms = rows_of(connection, TERMS, window)
    if terms:
        parts.append(_table("Terms of Decision 766, of petitions received in the window", terms, cell))
    differences = rows_of(connection, DIFFERENCES, window)
    if differences:
        parts.append(_table("Where the portal differs, from itself or from the petitions read", differences, cell))
    else:
        parts.append(Text("The portal's figures differ in nothing that could be compared\n"))
    return Group(*parts)


def _said(row: Row, cell: Cell) -> Text:
    status = row["d_status"] + (f": {row['d_status_reason']}" if row["d_status_reason"] else "")
    text = Text(f"D by {row['d_definition']} = {cell(row['d'])} ({status})", "bold")
    if row["portal_window_from"] is None:
        text.append("\nThe portal has no row of the unit for the period", "")
    else:
        text.append(
            f"\nPortal: {row['portal_window_from']:%d/%m/%Y} to {row['portal_window_to']:%d/%m/%Y}, "
            f"metric version {row['metric_version']}, retrieved {cell(row['retrieved_at'])}",
            "",
        )
    if row["is_read"]:
        text.append(f"\nPetitions: as of {cell(row['judged_at'])}, read until {cell(row['read_until'])}", "")
    else:
        text.append("\nPetitions were not read for all of the window: nothing is counted here", "")
    flags = [name for name in ("d_window_mismatch", "no_petitions", "small_sample") if row[name]]
    text.append(f"\nFlags: {', '.join(flags) or 'none'}\n", "")
    return text


def _counts(row: Row, cell: Cell) -> Table:
    table = Table(
        title=f"Petitions received in the window, sent again {cell(row['resent'])} times", title_justify="left"
    )
    table.add_column("petitions")
    for name in ("once (766)", "sent again as new (104)", "portal"):
        table.add_column(name, justify="right")
    for name, once, as_new, portal in COUNTS:
        table.add_row(name, cell(row[once]), cell(row[as_new]), cell(row[portal]) if portal else "")
    if row["portal_handling_denominator"] != row["portal_on_time_denominator"]:
        table.add_row("counted for satisfaction", "", "", cell(row["portal_handling_denominator"]))
    table.add_row("all but refused", _all_but_refused(row), "", cell(row["portal_petitions"]))
    return table


def _all_but_refused(row: Row) -> str:
    return str(row["received"] - row["refused"]) if row["is_read"] else "–"


def _definitions(row: Row, cell: Cell) -> Table:
    title = f"D by each definition; recomputed_104 minus portal_group: {cell(row['difference'])}"
    table = Table(title=title, title_justify="left")
    table.add_column("definition")
    table.add_column("what it is", overflow="fold")
    table.add_column("D", justify="right")
    for name, meaning in DEFINITIONS.items():
        mark = " (in force)" if name == row["d_definition"] else ""
        table.add_row(name + mark, meaning, cell(row[f"d_{name}"]))
    for metric in ("on_time", "handling", "dossier"):
        counted = f"{cell(row[f'portal_{metric}_numerator'])} of {cell(row[f'portal_{metric}_denominator'])}"
        table.add_row(f"portal's {metric}", counted, cell(row[f"portal_{metric}_score"]))
    return table


def _table(title: str, rows: list[Row], cell: Cell) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    return table
