"""What stands between a period and its edition: read from the tables, in the order of the road."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from hailong.periods import Period
from hailong.publish.closing import Unread, landed_stop, last_batch_before, stopped_by, unread
from hailong.publish.told import Row, rows_of
from hailong.settings import Settings

# The newest candidate of a period with what became of it: gate and signature at its own checksum.
CANDIDATE = """
select c.candidate_id, c.content_sha256, c.requested_by, c.as_of_batch, g.run_id, g.disposition, s.decision, s.decided_by,
    s.content_sha256 as signed_sha256
from publish.candidate as c
left join lateral (
    select run_id, disposition from dq.run
    where candidate_id = c.candidate_id and content_sha256 = c.content_sha256
    order by finished_at desc limit 1
) as g on true
left join lateral (
    select decision, decided_by, content_sha256 from publish.approval
    where candidate_id = c.candidate_id
    order by decided_at desc limit 1
) as s on true
where c.period_code = %(period)s and c.calendar_code = %(calendar)s
order by c.created_at desc limit 1
"""
BUILD = "select build_id, as_of_batch, status from ops.build where schema_prefix = '' order by build_id desc limit 1"
# Units whose posting check (E) is still owed; the name where the unit has a K of its own.
AWAITING = """
select distinct e.unit_code, coalesce(k.unit_name, e.unit_code) as unit_name
from {indices} as e
left join {scores} as k on e.unit_code = k.unit_code and e.period_code = k.period_code and {same}
where e.index_code = 'E' and e.status = 'awaiting_input' and e.period_code = %(period)s and {of_candidate}
order by e.unit_code
"""


@dataclass(frozen=True)
class Missing:
    """One thing in the way. `key` is the same while nothing changed about it; the texts may count hours."""

    key: str
    english: str
    vietnamese: str


def missing(
    connection: psycopg.Connection, settings: Settings, feeds: Sequence[str], period: Period, cutoff: datetime
) -> list[Missing]:
    """Everything that a period without an edition still lacks, the earliest station first.

    `feeds` are those that close a period, `cutoff` is the period's local cut-off.
    """
    candidate = _candidate(connection, period)
    found = [] if candidate is None else [_of_candidate(connection, settings, candidate)]
    if candidate is None or candidate["disposition"] == "stop" or candidate["decision"] == "rejected":
        found = [*_on_the_way(connection, settings, feeds, period, cutoff), *found]
    if candidate is None:
        found.append(
            Missing(
                "candidate",
                "no candidate yet: trigger publish__period (or `hailong candidate`)",
                "Chưa lập bản trình ký của kỳ này (chạy publish__period)",
            )
        )
    if units := _awaiting(connection, period, candidate):
        found.append(_posting(units))
    return found


def _candidate(connection: psycopg.Connection, period: Period) -> Row | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(CANDIDATE, {"period": period.code, "calendar": period.calendar_code}).fetchone()


# -- up to the candidate ----------------------------------------------------------------------------------------------


def _on_the_way(
    connection: psycopg.Connection, settings: Settings, feeds: Sequence[str], period: Period, cutoff: datetime
) -> list[Missing]:
    behind = unread(connection, settings, feeds, period)
    found = [
        Missing(
            f"feed {feed.feed}",
            f"feed {feed}, not the whole period from {period.start:%d/%m/%Y} to {period.last_day:%d/%m/%Y}",
            f"Nguồn dữ liệu {feed.feed}: {_unread(feed)}",
        )
        for feed in behind
    ]
    with connection.cursor(row_factory=dict_row) as cursor:
        build = cursor.execute(BUILD).fetchone()
    if build is None or build["status"] != "succeeded":
        found.append(_build(build))
    elif not behind and _reads_too_little(connection, settings, feeds, period, build["as_of_batch"], cutoff):
        found.append(
            Missing(
                "build reads too little",
                f"build {build['build_id']} read less than has landed by the cut-off: `hailong build`",
                f"Lần tính gần nhất (số {build['build_id']}) chưa gồm hết dữ liệu đã nạp của kỳ",
            )
        )
    if build and (run_id := landed_stop(connection, build["as_of_batch"])):
        names = ", ".join(stopped_by(connection, run_id))
        found.append(
            Missing(
                f"landed {names}",
                f"the gate stopped what has landed (run {run_id}): {names}",
                f"Kiểm tra chất lượng không chấp nhận dữ liệu nạp vào (lượt {run_id}), vì: {names}",
            )
        )
    return found


def _unread(feed: Unread) -> str:
    if feed.since is None or feed.until is None:
        return "chưa được nạp lần nào"
    told = []
    if feed.begins_late:
        told.append(f"chỉ đọc từ {feed.since:%H:%M ngày %d/%m/%Y}, thiếu từ ngày {feed.period.start:%d/%m/%Y}")
    if feed.ends_early:
        told.append(f"mới đọc đến {feed.until:%H:%M ngày %d/%m/%Y}, chưa đến hết ngày {feed.period.last_day:%d/%m/%Y}")
    return "; ".join(told)


def _build(build: Row | None) -> Missing:
    if build is None:
        return Missing("build none", "no build has run: `hailong build`", "Kho dữ liệu chưa được tính lần nào")
    number = build["build_id"]
    if build["status"] == "failed":
        return Missing(
            "build failed",
            f"the last build ({number}) failed: see build__warehouse",
            f"Lần tính gần nhất (số {number}) không thành công",
        )
    return Missing(
        "build running",
        f"the last build ({number}) is running or was killed",
        f"Lần tính gần nhất (số {number}) đang chạy hoặc đã bị ngắt giữa chừng",
    )


def _reads_too_little(
    connection: psycopg.Connection,
    settings: Settings,
    feeds: Sequence[str],
    period: Period,
    as_of: int,
    cutoff: datetime,
) -> bool:
    by_then = last_batch_before(connection, settings, cutoff)
    return by_then > as_of or bool(unread(connection, settings, feeds, period, as_of))


# -- from the candidate on --------------------------------------------------------------------------------------------


def _of_candidate(connection: psycopg.Connection, settings: Settings, candidate: Row) -> Missing:
    name = candidate["candidate_id"]
    if candidate["run_id"] is None:
        return Missing(
            f"gate {name}",
            f"candidate {name} has not been through the gate",
            f"Bản trình {name} chưa qua kiểm tra chất lượng",
        )
    if candidate["disposition"] == "stop":
        ids = ", ".join(stopped_by(connection, candidate["run_id"]))
        return Missing(
            f"stopped {name} {ids}",
            f"the gate stopped candidate {name} (run {candidate['run_id']}): {ids}",
            f"Kiểm tra chất lượng không cho bản trình {name} đi tiếp (lượt {candidate['run_id']}), vì: {ids}",
        )
    if candidate["decision"] is None or (
        candidate["decision"] == "approved" and candidate["signed_sha256"] != candidate["content_sha256"]
    ):
        return _unsigned(settings, candidate)
    by = candidate["decided_by"]
    if candidate["decision"] == "rejected":
        return Missing(
            f"refused {name}",
            f"{by} refused candidate {name}: repair, then a new one (`hailong candidate`, `--late` after the cut-off)",
            f"{by} từ chối ký bản trình {name}; cần khắc phục và lập bản trình mới",
        )
    return Missing(
        f"unpublished {name}",
        f"candidate {name} is signed by {by} and not published: `hailong publish`",
        f"Bản trình {name} đã được {by} ký nhưng chưa công bố",
    )


def _unsigned(settings: Settings, candidate: Row) -> Missing:
    name, digest = candidate["candidate_id"], candidate["content_sha256"]
    who = ", ".join(signer for signer in settings.signers if signer != candidate["requested_by"])
    return Missing(
        f"unsigned {name} {digest}",
        f"candidate {name} (sha256 {digest[:16]}…) waits for the signature of "
        + (who or "nobody: HAILONG_SIGNERS names no one who did not ask for it"),
        f"Bản trình {name} (mã kiểm tra {digest[:16]}…) đang chờ ký"
        + (f"; người có quyền ký: {who}" if who else " nhưng không có ai được quyền ký (HAILONG_SIGNERS)"),
    )


# -- what units owe ---------------------------------------------------------------------------------------------------


def _awaiting(connection: psycopg.Connection, period: Period, candidate: Row | None) -> list[tuple[str, str]]:
    """(code, name) of units whose E waits: as the candidate has it, else as the marts do; none before the first build."""
    values: Row = {"period": period.code, "candidate": candidate["candidate_id"] if candidate else None}
    if candidate:
        statement = sql.SQL(AWAITING).format(
            indices=sql.Identifier("publish", "candidate_index_score"),
            scores=sql.Identifier("publish", "candidate_k_score"),
            same=sql.SQL("e.candidate_id = k.candidate_id"),
            of_candidate=sql.SQL("e.candidate_id = %(candidate)s"),
        )
    else:
        made = connection.execute("select to_regclass('marts.index_score'), to_regclass('marts.k_score')").fetchone()
        if made is None or None in made:
            return []
        statement = sql.SQL(AWAITING).format(
            indices=sql.Identifier("marts", "index_score"),
            scores=sql.Identifier("marts", "k_score"),
            same=sql.SQL("true"),
            of_candidate=sql.SQL("true"),
        )
    return [(row["unit_code"], row["unit_name"]) for row in rows_of(connection, statement, values)]


def _posting(units: list[tuple[str, str]]) -> Missing:
    codes = ", ".join(code for code, _ in units)
    named = "; ".join(f"{name} ({code})" for code, name in units)
    return Missing(
        f"posting {codes}",
        f"posting check (E) awaited for {len(units)} unit{'s' if len(units) > 1 else ''}: {codes}",
        f"{len(units)} đơn vị chưa có kết quả kiểm tra niêm yết công khai (chỉ số E): {named}",
    )
