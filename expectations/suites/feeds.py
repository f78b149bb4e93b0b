"""What must hold of every feed alike, as its contract says it: freshness, rows by kind of day, what was odd about its batches,
records in doubt, codes without meaning, windows of the portal that were not read.

One frame row is a feed (or a day, or a finding) and carries the owner from its contract, to whom a failure is addressed. Nothing
here looks at a clock: a feed is late when the others have gone on without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from expectations.suites.model import Check, Target, holds, limit, severity, within
from hailong.contracts import Column, Contract, PortalWindows
from hailong.extract.portal import questions
from hailong.periods import WorkingDays
from hailong.settings import Settings

SAMPLE = 100
HISTORY = 60  # days before the one that is judged
JUDGED = 7  # days at most, the newest
# Findings of a batch, and what is said of them; severities and limits stand in thresholds.yaml under finding.<rule>.
FINDINGS = {
    "new_field": "Nguồn gửi trường mới chưa có trong hợp đồng dữ liệu",
    "missing_field": "Nguồn không còn gửi một trường của hợp đồng dữ liệu",
    "outside_window": "Nguồn trả bản ghi ngoài khoảng thời gian đã hỏi",
    "clock_skew": "Đồng hồ của nguồn lệch so với hệ thống",
    "cursor_went_back": "Nguồn trả bản ghi cũ hơn bản đã có",
    "not_loaded": "Nguồn có bản ghi mà kho dữ liệu chưa từng nhận",
    "indices_swapped": "Nguồn để hai chỉ số (trực tuyến, thanh toán) dưới khóa của nhau",
    "indices_undecided": "Không phân biệt được hai chỉ số (trực tuyến, thanh toán) theo điểm tối đa",
}
OTHER = "other"


def checks() -> list[Check]:
    """Expectations on every feed that was ever loaded."""
    return [
        *(
            within(f"findings.{rule}", "findings", rule, 0, limit(f"finding.{rule}"), severity(f"finding.{rule}"), reason)
            for rule, reason in (FINDINGS | {OTHER: "Lần nạp có điểm lạ"}).items()
        ),
        holds("feeds.fresh", "feeds", "is_fresh", severity("feeds.fresh"), "Nguồn chậm hơn hạn trong hợp đồng dữ liệu"),
        holds(
            "feeds.no_stale",
            "feeds",
            "no_stale",
            severity("feeds.no_stale"),
            "Có bản ghi đang dùng bản cũ vì bản mới bị cách ly",
        ),
        holds(
            "feeds.codes_known",
            "feeds",
            "codes_known",
            severity("feeds.codes_known"),
            "Có mã nguồn chưa có trong bảng đối chiếu mã",
        ),
        holds(
            "feeds.windows_read",
            "feeds",
            "windows_read",
            severity("feeds.windows_read"),
            "Có kỳ đang mở mà lần đọc Cổng mới nhất không có",
        ),
        holds(
            "days.expected_rows",
            "days",
            "as_expected",
            severity("days.expected_rows"),
            "Số bản ghi của ngày khác thường so với các ngày cùng loại",
        ),
        holds(
            "days.judged",
            "days",
            "is_judged",
            severity("days.judged"),
            "Chưa đủ ngày cùng loại, hoặc quá ít bản ghi, để so sánh",
        ),
    ]  # fmt: skip


def targets(
    connection: psycopg.Connection,
    contracts: Mapping[str, Contract],
    settings: Settings,
    batches: Sequence[Mapping[str, Any]],
    passed: int,
    samples: dict[str, dict[str, list[str]]],
) -> dict[str, Target]:
    """The frames that `checks` look at. `batches`: those of this run; `passed`: the newest batch that was let through."""
    ids = [row["batch_id"] for row in batches]
    feeds = _feeds(connection, contracts, settings, ids, samples)
    days = [row for contract in contracts.values() for row in _days(connection, contract, settings, passed)]
    return {
        "findings": Target(
            _findings(connection, contracts, ids),
            ("batch", "finding"),
            required=False,
            scope="feed",
            looked_at=frozenset(row["feed"] for row in batches),
        ),
        "feeds": Target(pd.DataFrame(feeds), ("feed",), required=False, scope="feed"),
        "days": Target(pd.DataFrame(days), ("feed", "day"), required=False, scope="feed"),
    }


def _findings(connection: psycopg.Connection, contracts: Mapping[str, Contract], ids: list[int]) -> pd.DataFrame:
    """One row per finding of a batch, with a one under its rule."""
    rows = []
    for found in _query(
        connection,
        "select feed, batch_id, rule, field from ops.batch_finding where batch_id = any(%(ids)s) order by 2, 3, 4",
        {"ids": ids},
    ):
        rule = found["rule"] if found["rule"] in FINDINGS else OTHER
        rows.append({
            "batch": f"{found['feed']}/{found['batch_id']}",
            "feed": found["feed"],
            "finding": f"{found['rule']} {found['field']}".strip(),
            "owner": _owner(contracts, found["feed"]),
            **{name: int(name == rule) for name in (*FINDINGS, OTHER)},
        })  # fmt: skip
    return pd.DataFrame(rows)


def _feeds(
    connection: psycopg.Connection,
    contracts: Mapping[str, Contract],
    settings: Settings,
    ids: list[int],
    samples: dict[str, dict[str, list[str]]],
) -> list[dict[str, Any]]:
    """One row per feed that was ever loaded."""
    stands = {
        row["feed"]: row
        for row in _query(
            connection,
            "select feed, max(window_end) filter (where read_kind <> 'replay') as window_end,"
            " max(loaded_at) filter (where read_kind <> 'replay') as loaded_at from ops.batch group by feed",
            {},
        )
    }
    ends = [row["window_end"] for row in stands.values() if row["window_end"]]
    loads = [row["loaded_at"] for row in stands.values() if row["loaded_at"]]
    rows = []
    for feed, contract in contracts.items():
        stand = stands.get(feed)
        if stand is None:
            continue
        told = "window_end" if contract.cursor else "loaded_at"
        newest = max(ends if told == "window_end" else loads, default=None)
        behind = newest - stand[told] if newest and stand[told] else timedelta(0)
        unread = _unread_windows(connection, contract, settings)
        found = {
            "is_fresh": [] if behind <= timedelta(hours=contract.freshness_hours) else [feed],
            "no_stale": _stale(connection, feed),
            "codes_known": _unknown_codes(connection, contract, ids),
            "windows_read": unread,
        }
        for name, keys in found.items():
            check = "feeds.fresh" if name == "is_fresh" else f"feeds.{name}"
            if keys:
                samples.setdefault(check, {})[feed] = keys[:SAMPLE]
        rows.append({"feed": feed, "owner": contract.owner, **{name: not keys for name, keys in found.items()}})
    return rows


def _stale(connection: psycopg.Connection, feed: str) -> list[str]:
    """Records that count by a version which a newer, unreadable one has put in doubt."""
    statement = sql.SQL(
        "select distinct q.record_key from ops.quarantine as q inner join (select distinct on (record_key) record_key,"
        " batch_id, op from raw.{} where record_key in (select record_key from ops.quarantine where feed = %(feed)s)"
        " order by record_key, batch_id desc) as r on q.record_key = r.record_key"
        " where q.feed = %(feed)s and r.op = 'upsert' and q.batch_id > r.batch_id order by 1 limit %(sample)s"
    ).format(sql.Identifier(feed))
    return [row["record_key"] for row in _query(connection, statement, {"feed": feed, "sample": SAMPLE})]


def _unknown_codes(connection: psycopg.Connection, contract: Contract, ids: list[int]) -> list[str]:
    """Codes of this run's batches without a meaning: stopped at the door, or let in by a column that is not checked there."""
    stopped = _query(
        connection,
        "select detail from ops.quarantine where feed = %(feed)s and batch_id = any(%(ids)s) and rule = 'unknown_code'"
        " group by detail order by detail limit %(sample)s",
        {"feed": contract.feed, "ids": ids, "sample": SAMPLE},
    )
    found = [str(row["detail"]) for row in stopped]
    for column in contract.columns:
        if column.codes is not None and not column.codes.check:
            found += _unmapped(connection, contract.feed, column, ids)
    return found


def _unmapped(connection: psycopg.Connection, feed: str, column: Column, ids: list[int]) -> list[str]:
    assert column.codes is not None
    statement = sql.SQL(
        "with map as (select distinct on (record_key) source_code, op from raw.code_map"
        " where system = %(system)s and code_kind = %(kind)s order by record_key, batch_id desc)"
        " select distinct r.{column} as code from raw.{feed} as r where r.batch_id = any(%(ids)s) and r.op = 'upsert'"
        " and r.{column} is not null and r.{column} not in (select source_code from map where op = 'upsert')"
        " order by 1 limit %(sample)s"
    ).format(column=sql.Identifier(column.name), feed=sql.Identifier(feed))
    values = {"system": column.codes.system, "kind": column.codes.kind, "ids": ids, "sample": SAMPLE}
    return [f"{column.name} {row['code']}" for row in _query(connection, statement, values)]


def _unread_windows(connection: psycopg.Connection, contract: Contract, settings: Settings) -> list[str]:
    """Windows that are open on the last day of the newest read and that it did not bring."""
    if not isinstance(contract.connector, PortalWindows):
        return []
    newest = _query(
        connection,
        "select batch_id, window_end from ops.batch where feed = %(feed)s and read_kind = 'snapshot'"
        " order by window_end desc, batch_id desc limit 1",
        {"feed": contract.feed},
    )
    if not newest or newest[0]["window_end"] is None:
        return []
    until = newest[0]["window_end"].astimezone(ZoneInfo(settings.timezone))
    last = until - timedelta(seconds=1)
    read = {
        (row["group_code"], row["window_from"], row["window_to"])
        for row in _query(connection, "select * from ops.snapshot where batch_id = %(batch_id)s", newest[0])
    }
    asked = questions(contract.connector, settings.rules, last, until)
    open_ = [(q.group, q.window.first, q.window.last) for q in asked if q.style != "legacy"]
    return [f"{group} {first} – {to}" for group, first, to in open_ if (group, first, to) not in read]


def event_column(contract: Contract) -> Column | None:
    """When the thing that a record tells of happened: its first moment that is not the cursor."""
    dated = (c for c in contract.columns if c.type in ("date", "timestamptz") and c.name not in contract.window_columns)
    return next(dated, None)


def _days(connection: psycopg.Connection, contract: Contract, settings: Settings, passed: int) -> list[dict[str, Any]]:
    """Records by day of their event: the whole days since the run that was let through, against days of the same kind.

    A working day is compared with working days. With fewer of them than the least number, or hardly a record on them,
    a day is not judged, and that is said.
    """
    column = event_column(contract)
    if contract.expected_rows is None or contract.cursor is None or column is None:
        return []
    zone = ZoneInfo(settings.timezone)
    stand = _query(
        connection,
        "select max(window_end) as until, max(window_end) filter (where batch_id <= %(passed)s) as passed_until"
        " from ops.batch where feed = %(feed)s and read_kind in ('window', 'full')",
        {"feed": contract.feed, "passed": passed},
    )[0]
    if stand["until"] is None:
        return []
    last = stand["until"].astimezone(zone).date() - timedelta(days=1)
    since = last - timedelta(days=HISTORY + JUDGED)
    by_day = _counted(connection, contract, column, settings, since, last)
    if not by_day:
        return []
    before = stand["passed_until"].astimezone(zone).date() if stand["passed_until"] else last
    judged = max(min(before, last), last - timedelta(days=JUDGED - 1))
    calendar = WorkingDays.load(settings.rules)
    first = min(by_day)
    rows = []
    while judged <= last:
        kind = calendar.is_working(judged)
        start = max(first, judged - timedelta(days=HISTORY))
        span = [start + timedelta(days=n) for n in range((judged - start).days)]
        alike = [by_day.get(day, 0) for day in span if calendar.is_working(day) == kind]
        usual = median(alike) if alike else 0
        enough = len(alike) >= limit("days.least") and usual >= limit("days.rows_least")
        least, most = contract.expected_rows["working_day" if kind else "day_off"]
        records = by_day.get(judged, 0)
        rows.append({
            "feed": contract.feed, "day": f"{judged} ({records})", "owner": contract.owner, "is_judged": enough,
            "as_expected": not enough or least * usual <= records <= most * usual,
        })  # fmt: skip
        judged += timedelta(days=1)
    return rows


def _counted(
    connection: psycopg.Connection, contract: Contract, column: Column, settings: Settings, since: date, last: date
) -> dict[date, int]:
    """Records by local day of the event; a version that came later does not count its record twice."""
    local = sql.SQL("r.{}" if column.type == "date" else "(r.{} at time zone %(zone)s)::date").format(
        sql.Identifier(column.name)
    )
    statement = sql.SQL(
        "select {local} as day, count(distinct r.record_key) as records from raw.{feed} as r where r.op = 'upsert'"
        " and r.batch_id >= (select coalesce(min(batch_id), 0) from ops.batch where feed = %(feed)s and window_end >= %(since)s)"
        " and {local} between %(since)s and %(last)s group by 1"
    ).format(local=local, feed=sql.Identifier(contract.feed))
    values = {"zone": settings.timezone, "feed": contract.feed, "since": since, "last": last}
    return {row["day"]: row["records"] for row in _query(connection, statement, values)}


def _owner(contracts: Mapping[str, Contract], feed: str) -> str:
    return contracts[feed].owner if feed in contracts else ""


def _query(connection: psycopg.Connection, statement: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()
