"""What the contracts say, as a page for people: `docs/contracts.md`. Written by a command, never by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hailong.contracts import Column, Contract, FileDrop, PagedHttp, PortalWindows, SqlView, load_contracts

KINDS = {
    PagedHttp: "paged HTTP",
    PortalWindows: "windows of the portal",
    FileDrop: "dropped files",
    SqlView: "database view",
}


def render(contracts: Iterable[Contract]) -> str:
    """The page as Markdown: a table of feeds, then each feed with its columns."""
    ordered = sorted(contracts, key=lambda contract: contract.feed)
    lines = [
        "# The feeds, as their contracts say",
        "",
        "Made by `hailong contracts docs` from `expectations/contracts/`; `make lint` refuses a page that is not up to date.",
        "",
        *_table(
            ("feed", "from", "by", "nightly at", "due", "fresh for", "kept for", "privacy"),
            [
                (
                    f"[`{c.feed}`](#{c.feed})", f"`{c.connector.system}`", KINDS[type(c.connector)], _time(c.schedule),
                    c.due, f"{c.freshness_hours:g} h", f"{c.retention_months} months", c.privacy_class,
                )
                for c in ordered
            ],
        ),
    ]  # fmt: skip
    for contract in ordered:
        lines += ["", *_feed(contract)]
    return "\n".join(lines) + "\n"


def write(folder: Path, target: Path) -> bool:
    """Write the page of the contracts in `folder`; False when it stood there already, word for word."""
    text = render(load_contracts(folder).values())
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return False
    target.write_text(text, encoding="utf-8")
    return True


def is_current(folder: Path, target: Path) -> bool:
    return target.is_file() and target.read_text(encoding="utf-8") == render(load_contracts(folder).values())


def _feed(contract: Contract) -> Iterator[str]:
    yield f"## {contract.feed}"
    yield ""
    yield f"{contract.description} Version {contract.version}, owner: {contract.owner}."
    yield ""
    yield f"- Read from {_origin(contract)}."
    if isinstance(contract.connector, PortalWindows):
        yield from _groups(contract.connector)
    if contract.cursor:
        yield (
            f"- Incremental by `{contract.cursor.name}`, {contract.lookback_days} days of look-back; a back-fill goes in chunks "
            f"of {contract.chunk_days} days."
        )
    if contract.deletions == "absence":
        yield f"- Deletions by absence; a read that lacks more than {contract.max_delete_share:.1%} of the records is refused."
    else:
        yield "- Deletions are not noticed: a file holds what is new."
    if contract.closes_period:
        yield "- Indices are counted from it: no candidate of a period before this feed was read up to the period's end."
    if contract.expected_rows:
        kinds = {"working_day": "working day", "day_off": "day off"}
        told = (
            f"{least:g} to {most:g} times the median of a {kinds[k]}"
            for k, (least, most) in contract.expected_rows.items()
        )
        yield f"- Expected rows: {', '.join(told)}."
    if contract.personal:
        yield f"- Stays at the door (personal or free text): {', '.join(f'`{name}`' for name in contract.personal)}."
    if contract.ignored:
        yield f"- Sent, known and not read: {', '.join(f'`{name}`' for name in contract.ignored)}."
    yield ""
    yield from _table(
        ("column", "type", "source field", "what it is"),
        [
            row
            for column in contract.columns
            for row in [_column(column), *(_column(item, f"{column.name}[].") for item in column.items)]
        ],
    )


def _origin(contract: Contract) -> str:
    connector = contract.connector
    if isinstance(connector, FileDrop):
        return f"files `{connector.pattern}` in `HAILONG_SOURCE_{connector.system.upper()}_DROP`"
    place = f"view `{connector.view}`" if isinstance(connector, SqlView) else f"`{connector.path}`"
    return f"{place} of `HAILONG_SOURCE_{connector.system.upper()}_URL`"


def _groups(connector: PortalWindows) -> Iterator[str]:
    yield f"- `{connector.group}` is asked for our own months, quarters and years (method {connector.metric_version})."
    if connector.calendar_groups:
        names = ", ".join(f"`{name}`" for name in connector.calendar_groups)
        yield f"- {names} are asked for months, quarters and years of the calendar."
    if connector.legacy_path:
        yield (
            f"- Calendar windows that ended before {connector.legacy_until} come from `{connector.legacy_path}`, service "
            f"`{connector.legacy_service}` (method {connector.legacy_metric_version}), all groups at once."
        )


def _column(column: Column, prefix: str = "") -> tuple[str, ...]:
    if column.flag:
        origin = "computed from " + ", ".join(dict.fromkeys(f"`{field}`" for field, _ in column.flag))
    elif column.precision_of:
        origin = f"precision of `{column.precision_of}`"
    else:
        origin = f"`{column.source}`"
    notes = [
        *(["key"] if column.key_position else ["required"] if column.required else []),
        *(["pseudonym"] if column.pseudonym else []),
        *([f"code map: {column.codes.kind}"] if column.codes else []),
    ]
    what = column.description + (f" ({', '.join(notes)})" if notes else "")
    return f"`{prefix}{column.name}`", column.type, origin, what


def _time(schedule: str) -> str:
    minute, hour, *rest = schedule.split()
    daily = rest == ["*", "*", "*"] and minute.isdigit() and hour.isdigit()
    return f"{int(hour):02}:{int(minute):02}" if daily else f"`{schedule}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
