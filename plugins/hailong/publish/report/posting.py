"""One A4 sheet per unit to post at its desk and on its page (Article 10.2), as one PDF.

The sheet is public: it is read as the public reads, from the views of schema `open` and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from hailong.publish import opendata
from hailong.publish.report import words
from hailong.publish.report.content import TEMPLATES
from hailong.publish.report.data import INDICES, ZONE
from hailong.publish.report.pdf import typeset
from hailong.publish.report.phrases import total, verdict
from hailong.settings import Settings
from hailong.warehouse.connect import connect

ROLE = "hailong_open_reader"
MAIN = TEMPLATES / "niem-yet.typ"
Row = dict[str, Any]
NOT_SHOWN = "Không công khai"
# One sentence whatever the reason: to say which of them applies would itself tell something of the ratings.
HIDDEN = "Không công khai để bảo mật thông tin người đánh giá (Điều 3 khoản 4)"
PLACES = {"D": 2, "E": 0}


def write(settings: Settings, edition_id: str, path: Path) -> bool:
    """Write the sheets of an edition; False where the public may not read it (a month, or nobody decided what)."""
    with connect(settings, ROLE) as connection:
        edition = _rows(connection, EDITION, edition_id)
        if not edition:
            return False
        units = _rows(connection, UNITS, edition_id)
        index_rows = _rows(connection, INDEX_ROWS, edition_id)
        parameters = {row["parameter"]: row["value"] for row in _rows(connection, PARAMETERS, edition_id)}
    data = sheets(
        edition[0] | {"public_sha256": opendata.checksum(settings, edition_id)}, units, index_rows, parameters
    )
    path.write_bytes(typeset(MAIN, data, {}, edition[0]["published_at"]))
    return True


def sheets(
    header: Row, units: Sequence[Row], index_rows: Sequence[Row], parameters: Mapping[str, str]
) -> dict[str, Any]:
    """What the sheets say, from rows of `open`."""
    indices: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in index_rows:
        indices[row["unit_code"]][row["index_code"]] = row
    ranked: dict[str, int] = defaultdict(int)
    for unit in units:
        ranked[unit["peer_group"]] += unit["rank_among_shown"] is not None
    return {
        "edition_id": header["edition_id"],
        "public_sha256": header["public_sha256"],
        "period": words.period_name(header["period_code"]),
        "window": _window(header["period_start"], header["period_end"]),
        "threshold": words.short(Decimal(parameters["k_threshold"])),
        "maximum": words.short(sum((Decimal(parameters[f"{index.lower()}_max"]) for index in INDICES), Decimal(0))),
        "basis": header["legal_basis"],
        "published": words.day(header["published_at"].astimezone(ZONE).date()),
        "supersedes": header["supersedes"],
        "reason": header["reason"],
        "units": [_sheet(unit, indices[unit["unit_code"]], parameters, ranked, header) for unit in units],
    }


def _sheet(
    unit: Row, indices: Mapping[str, Row], parameters: Mapping[str, str], ranked: Mapping[str, int], header: Row
) -> dict[str, Any]:
    threshold = Decimal(parameters["k_threshold"])
    hidden = unit["status"] == "suppressed"
    own = (unit["window_start"], unit["window_end"]) != (header["period_start"], header["period_end"])
    return {
        "name": unit["unit_name"],
        "group": unit["peer_group_name"],
        "window": _window(unit["window_start"], unit["window_end"]) if own else "",
        "indices": [_index(indices[index], parameters) for index in INDICES if index in indices],
        "k": NOT_SHOWN if hidden else total(unit["k"], threshold),
        "verdict": _verdict(unit, threshold),
        "tone": {"satisfied": "good", "not_satisfied": "bad"}.get(unit["verdict"] or "", "open"),
        "rank": (
            words.NONE
            if unit["rank_among_shown"] is None
            else f"{unit['rank_among_shown']} trong {ranked[unit['peer_group']]} cơ quan được công khai K của nhóm"
        ),
        "why": _why(unit),
    }


def _index(row: Row, parameters: Mapping[str, str]) -> dict[str, str]:
    code = row["index_code"]
    hidden = row["status"] == "suppressed"
    value = row["value"]
    return {
        "code": code,
        "name": words.INDEX_NAMES[code],
        "value": NOT_SHOWN if hidden else words.NONE if value is None else words.number(value, PLACES.get(code, 4)),
        "maximum": words.short(Decimal(parameters[f"{code.lower()}_max"])),
        "counts": (
            ""
            if row["denominator"] is None or value is None
            else f"{words.short(row['numerator'])} {words.NUMERATORS[code]} / "
            f"{words.short(row['denominator'])} {words.DENOMINATORS[code]}"
        ),
        "why": HIDDEN if hidden else words.reason(row["status_reason"]),
    }


def _verdict(unit: Row, threshold: Decimal) -> str:
    """The verdict, or what holds whatever is missing; a verdict that is not said is not said."""
    if said := verdict(unit["verdict"], threshold):
        return said
    if unit["verdict_bound"]:
        return words.BOUNDS[unit["verdict_bound"]]
    return NOT_SHOWN if unit["status"] == "suppressed" else words.STATUSES[unit["status"]]


def _why(unit: Row) -> str:
    """Why there is no K, in a sentence; '' where there is one."""
    if unit["status"] == "suppressed":
        return f"{HIDDEN}."
    if unit["k"] is not None:
        return ""
    if unit["status"] == "incomplete" or unit["status_reason"] is None:
        return words.STATUS_NOTES[unit["status"]]
    return f"{words.reason(unit['status_reason'])}."


def _window(start: date, end: date) -> str:
    return f"từ ngày {words.day(start)} đến hết ngày {words.day(end - timedelta(days=1))}"


EDITION = """
select edition_id, period_code, period_start, period_end, supersedes, reason, legal_basis, published_at
from open.edition
where edition_id = %s
"""
UNITS = """
select
    unit_code, unit_name, peer_group, peer_group_name, k, verdict, verdict_bound, status, status_reason, rank_among_shown,
    window_start, window_end
from open.k_score
where edition_id = %s
order by unit_code collate "C"
"""
INDEX_ROWS = """
select unit_code, index_code, numerator, denominator, value, status, status_reason
from open.index_score
where edition_id = %s
"""
PARAMETERS = "select parameter, value from open.parameter where edition_id = %s"


def _rows(connection: psycopg.Connection, statement: str, edition_id: str) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.encode(), (edition_id,)).fetchall()
