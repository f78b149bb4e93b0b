"""Snapshots of the national portal's evaluation.

Three ways of asking. The satisfaction group answers for any days: it is asked for the months, quarters and years of our own
calendars. The other groups know calendar months, quarters and years only: they are stored with *their* window. Windows
that ended before the portal's method changed are asked from the API of that time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from hailong.contracts import PortalWindows
from hailong.errors import PermanentError
from hailong.extract.http import Client, StartOver
from hailong.periods import load_calendars, periods_overlapping, read_seed

MOST_PAGES = 1000
CALENDAR = "whole_month"  # how the other groups count: months, quarters and years of the calendar
PROVINCE = "H29"
# Keys of the API to 2025 → group and most points; CLGQ and TTTT are told apart by the points, not by the key.
LEGACY_GROUPS = {
    "CKMB": ("transparency", 18),
    "TDGQ": ("dvc-progress-tree", 20),
    "CLGQ": ("provide-online-tree", 12),
    "TTTT": ("formality-online-payment-tree", 10),
    "MDSH": ("dossier-digitized", 22),
    "MDHL": ("handling-satisfaction", 18),
    "TONG_SCORE": ("service-results", 100),
}
# Fields that the API to 2025 does not know: null, so that their absence is not news.
NOT_IN_LEGACY = (
    "departmentCode", "departmentType", "agencyLevel", "totalPetitions", "classifiedPetitions", "totalDossiers",
)  # fmt: skip
# What is said of windows in which the two keys cannot be taken as they are.
DOUBTS = {
    "indices_swapped": "online service and online payment stood under each other's key, told apart by their most points",
    "indices_undecided": "online service and online payment cannot be told apart by their points, taken as they are named",
}


@dataclass(frozen=True)
class Window:
    """Days asked for, both inclusive, as the portal takes them; `kind` is month, quarter or year."""

    first: date
    last: date
    kind: str = "month"


@dataclass(frozen=True)
class Question:
    """One window of one group, asked the way the portal wants it."""

    group: str
    window: Window
    style: str  # days | calendar | legacy


def windows(rules: Path, since: datetime, until: datetime) -> list[Window]:
    """Windows of the months, quarters and years that share a day with `[since, until)`, by each policy's calendar."""
    calendars = load_calendars(rules)
    codes = sorted({row["calendar_code"] for row in read_seed(rules / "seeds" / "scoring_policy.csv")})
    found: dict[tuple[date, date], Window] = {}
    for code in codes:
        if code not in calendars:
            raise PermanentError(f"the policy's calendar '{code}' is not in the seed period_calendar of {rules}")
        for p in periods_overlapping(since.date(), _end(until), calendars[code]):
            found[p.start, p.last_day] = Window(p.start, p.last_day, p.kind)
    return [found[key] for key in sorted(found)]


def questions(connector: PortalWindows, rules: Path, since: datetime, until: datetime) -> list[Question]:
    """Everything to ask about `[since, until)`, oldest window first."""
    legacy_until = date.fromisoformat(connector.legacy_until) if connector.legacy_until else date.min
    found = []
    for window in windows(rules, since, until):
        if window.last >= legacy_until:  # the API of then cannot answer for our own days
            found.append(Question(connector.group, window, "days"))
    calendars = load_calendars(rules)
    if connector.calendar_groups and CALENDAR not in calendars:
        raise PermanentError(f"the calendar '{CALENDAR}' is not in the seed period_calendar of {rules}")
    if connector.calendar_groups or connector.legacy_path:
        for p in periods_overlapping(since.date(), _end(until), calendars[CALENDAR]):
            window = Window(p.start, p.last_day, p.kind)
            if window.last < legacy_until:
                found.append(Question("", window, "legacy"))
            else:
                found += [Question(group, window, "calendar") for group in connector.calendar_groups]
    return found


def _end(until: datetime) -> date:
    return until.date() if until.time() == datetime.min.time() else until.date() + timedelta(days=1)


@dataclass
class Snapshots:
    """Records of all windows, a page at a time; `taken` lists the windows that were answered whole.

    The same object is read again after StartOver, and remembers what it complained of: a list that is the same when it is read
    again did not move, it is the portal's own.
    """

    feed: str
    client: Client
    connector: PortalWindows
    questions: list[Question]
    clock: Callable[[], datetime]
    progress: Callable[[str], None] | None = None
    taken: list[dict[str, Any]] = field(default_factory=list, init=False)
    _known: set[tuple[Question, int, frozenset[str]]] = field(default_factory=set, init=False)
    _doubts: dict[str, list[Window]] = field(default_factory=dict, init=False)

    def findings(self) -> list[dict[str, Any]]:
        """Windows of the old API whose CLGQ and TTTT stood under each other's key, or could not be told apart."""
        return [
            {"rule": rule, "field": "CLGQ, TTTT", "records": len(found), "detail": f"{DOUBTS[rule]}: {_listed(found)}"}
            for rule, found in sorted(self._doubts.items())
        ]

    def __iter__(self) -> Iterator[list[Any]]:
        self.taken, self._doubts = [], {}
        for number, question in enumerate(self.questions, 1):
            rows = 0
            read = self._legacy if question.style == "legacy" else self._pages
            for records in read(question):
                rows += len(records)
                if records:
                    yield records
            if self.progress:
                window = question.window
                self.progress(
                    f"{self.feed}: {question.group or 'all groups'}, {window.first} – {window.last}: {rows} records "
                    f"({number} of {len(self.questions)})"
                )

    def _pages(self, question: Question) -> Iterator[list[Any]]:
        """Pages of one window to an empty one: the portal declares no total, and a short page may be in the middle."""
        at = self.clock()
        seen: set[str] = set()
        before: set[str] = set()
        received = full = last = 0
        for page in range(1, MOST_PAGES):
            records, units = self._page(question, page, at)
            if not units:
                # An empty page is all that tells the end, so it is believed the second time.
                records, units = self._page(question, page, at)
            keys = {str(r.get("departmentId")) for r in records if isinstance(r, dict) and not r.get("isOverview")}
            full = full or units
            if keys and keys == before:
                self._moved(question, page, None, f"page {page} is page {page - 1} again")
            elif keys & seen:
                self._moved(question, page, frozenset(keys & seen), f"page {page} holds units of a page before it")
            elif units and last < full and page > 1:
                self._moved(question, page, frozenset(keys), f"page {page - 1} holds {last} units and page 1 {full}")
            seen |= keys
            before, last = keys, units
            received += len(records)
            if records:
                yield records
            if not units:
                self._took(question.group, question.window, at, received)
                return
        raise PermanentError(f"portal, {question.group}: {MOST_PAGES} pages and no end: the portal changed its paging")

    def _page(self, question: Question, page: int, at: datetime) -> tuple[list[Any], int]:
        part = f"page {page} of {question.window.first} to {question.window.last}"
        answer = self.client.call(
            "POST", f"{self.connector.path}/{question.group}", _asked(self.connector, question, page), part=part
        )
        return records_of(answer, self.connector, question.window, at, page, question.group)

    def _moved(self, question: Question, page: int, what: frozenset[str] | None, problem: str) -> None:
        """StartOver, unless the read before this one found the very same; a whole page that comes again never passes."""
        if what is not None:
            if (question, page, what) in self._known:
                return
            self._known.add((question, page, what))
        raise StartOver(
            f"portal, {question.group}, {question.window.first} to {question.window.last}: {problem}, so the list moved while "
            "it was being read. Nothing was landed; try again"
        )

    def _legacy(self, question: Question) -> Iterator[list[Any]]:
        c, window = self.connector, question.window
        at = self.clock()
        params = {
            "service": c.legacy_service,
            "timeType": window.kind,
            "year": window.first.year,
            **_part_of_year(window),
            "provinceCode": PROVINCE,
        }
        form = {"params": orjson.dumps(params).decode()}
        answer = self.client.call("POST", str(c.legacy_path), {}, form, f"{window.first} to {window.last}")
        rows = answer.get("data")
        what = f"portal, {c.legacy_service}, {window.first} to {window.last}"
        if answer.get("code") != "OK" or not isinstance(rows, list):
            message = str(answer.get("message") or "no message")[:200]
            raise PermanentError(f"{what}: the portal refused, code {answer.get('code')!r} ({message})")
        groups = legacy_groups(rows)
        if doubt := legacy_doubt(rows):
            self._doubts.setdefault(doubt, []).append(window)
        records = [record for row in rows for record in legacy_records(row, groups, window, at, c)]
        yield records
        for group, _ in groups.values():
            answered = sum(record.get("group") == group for record in records if isinstance(record, dict))
            if answered:  # of a group that the answer does not speak of, nothing is known
                self._took(group, window, at, answered)

    def _took(self, group: str, window: Window, at: datetime, rows: int) -> None:
        """`prefix`: how the record keys of the window begin (group, window: the first key columns of the contract)."""
        self.taken.append(
            {
                "prefix": f"{group}|{window.first}|{window.last}|",
                "group_code": group,
                "window_from": window.first.isoformat(),
                "window_to": window.last.isoformat(),
                "retrieved_at": at.isoformat(),
                "rows": rows,
            }
        )


def _asked(connector: PortalWindows, question: Question, page: int) -> dict[str, Any]:
    window = question.window
    if question.style == "days":
        when: dict[str, Any] = {"fromDate": window.first.isoformat(), "toDate": window.last.isoformat()}
    else:
        when = {"timeType": window.kind, "year": window.first.year, **_part_of_year(window)}
    return when | {
        "rootDepartmentId": connector.root_department_id,
        "currentPage": page,
        "pageSize": connector.page_size,
    }


def _part_of_year(window: Window) -> dict[str, int]:
    if window.kind == "month":
        return {"month": window.first.month}
    return {"quarter": (window.first.month - 1) // 3 + 1} if window.kind == "quarter" else {}


def records_of(
    answer: dict[str, Any],
    connector: PortalWindows,
    window: Window,
    retrieved_at: datetime,
    page: int = 1,
    group: str | None = None,
) -> tuple[list[Any], int]:
    """(source records of one answer, number of units in it): overview first, then the units, each with its window."""
    group = group or connector.group
    what = f"portal, {group}, page {page} of {window.first} to {window.last}"
    if answer.get("code") != "OK":
        message = str(answer.get("message") or "no message")[:200]
        raise PermanentError(f"{what}: the portal refused, code {answer.get('code')!r} ({message})")
    data = answer.get("data")
    units = data.get("evaluation") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(units, list):
        raise PermanentError(f"{what}: the answer has no list data.evaluation: the portal changed its shape")
    stamp = {
        "group": group,
        "fromDate": window.first.isoformat(),
        "toDate": window.last.isoformat(),
        "metricVersion": connector.metric_version,
        "retrievedAt": retrieved_at,
    }
    overview = data.get("overview") if page == 1 else None
    records: list[Any] = [] if overview is None else [_stamped(overview, stamp, is_overview=True)]
    records.extend(_stamped(unit, stamp, is_overview=False) for unit in units)
    return records, len(units)


def legacy_groups(rows: list[Any]) -> dict[str, tuple[str, int]]:
    """Group and most points of each key. Published sources disagree which of CLGQ and TTTT is which: the points tell."""
    groups = dict(LEGACY_GROUPS)
    most = groups["TTTT"][1]
    if _highest(rows, "TTTT") > most >= _highest(rows, "CLGQ"):
        groups["CLGQ"], groups["TTTT"] = groups["TTTT"], groups["CLGQ"]
    return groups


def legacy_doubt(rows: list[Any]) -> str | None:
    """What is odd about the two keys: swapped, or not to be told apart; None when the points speak for the usual order."""
    most = LEGACY_GROUPS["TTTT"][1]
    clgq, tttt = _highest(rows, "CLGQ") > most, _highest(rows, "TTTT") > most
    if tttt and not clgq:
        return "indices_swapped"
    return "indices_undecided" if rows and clgq == tttt else None


def _listed(found: list[Window]) -> str:
    told = [f"{window.first} – {window.last}" for window in found[:5]]
    return ", ".join(told) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _highest(rows: list[Any], key: str) -> float:
    values = [row.get(key) for row in rows if isinstance(row, dict)]
    return max((value for value in values if isinstance(value, int | float)), default=0)


def legacy_records(
    row: Any, groups: dict[str, tuple[str, int]], window: Window, retrieved_at: datetime, connector: PortalWindows
) -> list[Any]:
    """One row of the API to 2025 as a record per group that it has a score of, null or not."""
    if not isinstance(row, dict):
        return [row]
    stamp = {
        "fromDate": window.first.isoformat(),
        "toDate": window.last.isoformat(),
        "metricVersion": connector.legacy_metric_version,
        "retrievedAt": retrieved_at,
        "isOverview": row.get("departmentId") == connector.root_department_id,
        "departmentId": row.get("departmentId"),
        "departmentName": row.get("departmentName"),
        **dict.fromkeys(NOT_IN_LEGACY),
    }
    return [
        {**stamp, "group": group, "totalScore": row[key], "totalMaxScore": most, "metrics": []}
        for key, (group, most) in groups.items()
        if key in row
    ]


def _stamped(record: object, stamp: dict[str, Any], is_overview: bool) -> object:
    return {**record, **stamp, "isOverview": is_overview} if isinstance(record, dict) else record
