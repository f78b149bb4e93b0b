"""Snapshots of the national portal's evaluation: one per month, quarter and year of our policies' calendars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from hailong.contracts import PortalWindows
from hailong.errors import PermanentError
from hailong.extract.http import Client
from hailong.periods import load_calendars, periods_overlapping, read_seed

MOST_PAGES = 1000


@dataclass(frozen=True)
class Window:
    """Days asked for, both inclusive, as the portal takes them."""

    first: date
    last: date


def windows(rules: Path, since: datetime, until: datetime) -> list[Window]:
    """Windows of the months, quarters and years that share a day with `[since, until)`, by each policy's calendar."""
    calendars = load_calendars(rules)
    codes = sorted({row["calendar_code"] for row in read_seed(rules / "seeds" / "scoring_policy.csv")})
    end = until.date() if until.time() == datetime.min.time() else until.date() + timedelta(days=1)
    found: set[tuple[date, date]] = set()
    for code in codes:
        if code not in calendars:
            raise PermanentError(f"the policy's calendar '{code}' is not in the seed period_calendar of {rules}")
        found |= {(p.start, p.last_day) for p in periods_overlapping(since.date(), end, calendars[code])}
    return [Window(first, last) for first, last in sorted(found)]


@dataclass(frozen=True)
class Snapshots:
    """Records of all windows, a page at a time."""

    client: Client
    connector: PortalWindows
    windows: list[Window]
    clock: Callable[[], datetime]
    progress: Callable[[str], None] | None = None

    def __iter__(self) -> Iterator[list[Any]]:
        for number, window in enumerate(self.windows, 1):
            rows = 0
            for page in range(1, MOST_PAGES):
                answer = self.client.call(
                    "POST",
                    self.connector.path,
                    {
                        "fromDate": window.first.isoformat(),
                        "toDate": window.last.isoformat(),
                        "rootDepartmentId": self.connector.root_department_id,
                        "currentPage": page,
                        "pageSize": self.connector.page_size,
                    },
                )
                records, units = records_of(answer, self.connector, window, self.clock(), with_overview=page == 1)
                rows += units
                if records:
                    yield records
                if units < self.connector.page_size:
                    break
            if self.progress:
                self.progress(
                    f"portal_evaluation: {window.first} – {window.last}: {rows} units "
                    f"(window {number} of {len(self.windows)})"
                )


def records_of(
    answer: dict[str, Any], connector: PortalWindows, window: Window, retrieved_at: datetime, with_overview: bool = True
) -> tuple[list[Any], int]:
    """(source records of one answer, number of units in it): overview first, then the units, each with its window."""
    what = f"portal, {connector.group}, {window.first} to {window.last}"
    if answer.get("code") != "OK":
        message = str(answer.get("message") or "no message")[:200]
        raise PermanentError(f"{what}: the portal refused, code {answer.get('code')!r} ({message})")
    data = answer.get("data")
    units = data.get("evaluation") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(units, list):
        raise PermanentError(f"{what}: the answer has no list data.evaluation: the portal changed its shape")
    stamp = {
        "group": connector.group,
        "fromDate": window.first.isoformat(),
        "toDate": window.last.isoformat(),
        "metricVersion": connector.metric_version,
        "retrievedAt": retrieved_at,
    }
    overview = data.get("overview") if with_overview else None
    records: list[Any] = [] if overview is None else [_stamped(overview, stamp, is_overview=True)]
    records.extend(_stamped(unit, stamp, is_overview=False) for unit in units)
    return records, len(units)


def _stamped(record: object, stamp: dict[str, Any], is_overview: bool) -> object:
    return {**record, **stamp, "isOverview": is_overview} if isinstance(record, dict) else record
