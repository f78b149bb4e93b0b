"""Tables that more than one command shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

_NUMBERS = {"versions": "versions", "deleted": "tombstones", "quarantine": "quarantine_open", "stale": "stale"}


def feed_table(rows: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> Table:
    """How each feed stands (rows of `feed_status`): one line each, red where the contract's freshness is not kept."""
    table = Table(
        title="Feeds",
        title_justify="left",
        caption="late: share of records first told of more than a day after their event",
        caption_justify="left",
    )
    table.add_column("feed", no_wrap=True)
    table.add_column("batch", justify="right")
    table.add_column("read until", no_wrap=True)
    table.add_column("fresh")
    for name in (*_NUMBERS, "late"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    table.add_column("findings")
    for row in rows:
        until = row["read_until"]
        table.add_row(
            row["feed"],
            str(row["last_batch"] or ""),
            f"{until.astimezone(zone):%Y-%m-%d %H:%M}" if until else "",
            _fresh(row),
            *(f"{row[key]:,}" for key in _NUMBERS.values()),
            "" if row["late_share"] is None else f"{row['late_share']:.1%}",
            ", ".join(row["findings"]),
        )
    return table


def finding_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Findings (rows of `findings.find`), one line each where the width allows it."""
    table = Table(title="Findings", title_justify="left")
    for name in ("id", "state", "severity", "rule", "scope"):
        table.add_column(name, no_wrap=True)
    table.add_column("owner")
    table.add_column("failed", justify="right")
    table.add_column("since", no_wrap=True)
    table.add_column("known by, until")
    for row in rows:
        known = f"{row['by']}, {row['until']}" if row["state"] == "acknowledged" else ""
        cells = (
            str(row["finding_id"]),
            row["state"],
            row["severity"],
            row["expectation_id"],
            row["scope"],
            row["owner"],
        )
        table.add_row(*map(Text, cells), str(row["failures"]), f"{row['opened_at']:%Y-%m-%d}", Text(known))
    return table


def _fresh(row: Mapping[str, Any]) -> str:
    if row["fresh"] is None:
        return "never loaded"
    return "yes" if row["fresh"] else f"[red]no: {row['hours_old']:g} h of {row['hours_allowed']:g}[/red]"
