"""What must hold of what has landed since the gate last let something through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from expectations.suites import feeds
from expectations.suites.model import Check, Subject, Target, holds, limit, rows_present, within
from hailong.contracts import load_contracts
from hailong.extract.portal import LEGACY_GROUPS
from hailong.settings import Settings

REGISTERS = ("unit_register", "procedure_register", "code_map")
SAMPLE = 100
CONSTANTS = {
    "earliest": int(limit("landed.earliest_year")),
    "latest": int(limit("landed.latest_year")),
    "supplements": int(limit("landed.supplements")),
    "clock": timedelta(days=limit("landed.clock_days")),
    "longest": int(limit("landed.limit_working_days")),
}


@dataclass(frozen=True)
class Rule:
    """Records of a feed that break a rule: an SQL condition over `r` (raw row) and `b` (its batch), and the share allowed.

    Counted in the database in one pass over the new batches, so memory stays flat whatever has landed.
    """

    feed: str
    name: str
    broken: str
    severity: str
    reason: str
    allowed: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.feed}.{self.name}"


def _coded(column: str, kind: str) -> str:
    """A source code that stands in no code map."""
    return f"r.{column} not in (select source_code from raw.code_map where code_kind = '{kind}' and op = 'upsert')"


def _years(column: str) -> str:
    return f"extract(year from r.{column}) not between %(earliest)s and %(latest)s"


PREDECESSORS = (
    "jsonb_array_elements(case when jsonb_typeof(r.predecessors) = 'array' then r.predecessors else '[]' end) as p"
)

# Neither a due date nor a procedure that gives one (its code in the national form, without a local suffix).
NO_TERM = (
    "r.due_at is null and coalesce(substring(r.procedure_code from '^[^.]+[.][^.]+'), '') not in (select procedure_code "
    "from raw.procedure_register where op = 'upsert' and (is_at_once or limit_working_days is not null))"
)
METRIC_COUNTS = (
    "exists (select 1 from jsonb_array_elements(coalesce(r.metrics, '[]')) as m where (m.value ->> 'numerator')::numeric "
    "> (m.value ->> 'denominator')::numeric or (m.value ->> 'numerator')::numeric < 0)"
)
# Online service (12) and online payment (10) were seen in each other's place: the maximum tells a group.
INDEX_MAXIMUM = "r.total_max_score <> case r.group_code {} end".format(
    " ".join(f"when '{group}' then {most}" for group, most in sorted(LEGACY_GROUPS.values()))
)

RULES = (
    Rule("dossier", "key", "coalesce(r.dossier_code, '') = ''", "critical", "Hồ sơ phải có mã"),
    Rule(
        "dossier",
        "receipt_missing",
        "r.received_at is null",
        "warning",
        "Hồ sơ thiếu thời điểm tiếp nhận",
        limit("landed.implausible_time"),
    ),
    Rule(
        "dossier",
        "receipt_year",
        _years("received_at"),
        "warning",
        "Năm tiếp nhận không hợp lý",
        limit("landed.implausible_time"),
    ),
    Rule(
        "dossier", "due_year", _years("due_at"), "warning", "Năm hẹn trả không hợp lý", limit("landed.implausible_time")
    ),
    Rule(
        "dossier",
        "result_year",
        _years("finished_at"),
        "warning",
        "Năm kết thúc xử lý không hợp lý",
        limit("landed.implausible_time"),
    ),
    Rule(
        "dossier",
        "receipt_in_future",
        "r.received_at > b.window_end + %(clock)s",
        "warning",
        "Tiếp nhận sau thời điểm đọc dữ liệu",
        limit("landed.implausible_time"),
    ),
    Rule(
        "dossier",
        "result_in_future",
        "r.finished_at > b.window_end + %(clock)s",
        "warning",
        "Kết thúc sau thời điểm đọc dữ liệu",
        limit("landed.implausible_time"),
    ),
    Rule(
        "dossier",
        "status_known",
        f"r.status_code is null or {_coded('status_code', 'dossier_status')}",
        "critical",
        "Trạng thái hồ sơ phải có trong bảng mã",
    ),
    Rule(
        "dossier",
        "finish_before_receipt",
        "r.finished_at < r.received_at and not coalesce(r.finished_at_is_date or r.received_at_is_date, false)",
        "warning",
        "Kết thúc trước khi tiếp nhận",
        limit("landed.finish_before_receipt"),
    ),
    Rule(
        "dossier",
        "due_missing",
        NO_TERM,
        "warning",
        "Hồ sơ không có ngày hẹn trả, thủ tục không có thời hạn",
        limit("landed.no_due_date"),
    ),
    Rule(
        "dossier",
        "dummy_identity",
        "r.is_dummy_identity",
        "warning",
        "Tỷ lệ định danh giả cao",
        limit("landed.dummy_identity"),
    ),
    Rule(
        "dossier",
        "supplements_many",
        "jsonb_array_length(coalesce(r.supplements, '[]')) > %(supplements)s",
        "warning",
        "Số lần yêu cầu bổ sung bất thường",
    ),
    Rule("rating", "key", "coalesce(r.rating_id, '') = ''", "critical", "Lượt đánh giá phải có mã"),
    Rule(
        "rating",
        "level_known",
        f"r.level_code is null or {_coded('level_code', 'rating_level')}",
        "critical",
        "Mức đánh giá phải có trong bảng mã",
    ),
    Rule("rating", "time_missing", "r.rated_at is null", "critical", "Lượt đánh giá phải có thời điểm"),
    Rule(
        "rating", "year", _years("rated_at"), "warning", "Năm đánh giá không hợp lý", limit("landed.implausible_time")
    ),
    Rule(
        "rating",
        "in_future",
        "r.rated_at > b.window_end",
        "warning",
        "Đánh giá sau thời điểm đọc dữ liệu",
        limit("landed.implausible_time"),
    ),
    Rule(
        "rating",
        "unplaced",
        "r.unit_source_code is null and r.dossier_code is null and r.device_code is null",
        "warning",
        "Lượt đánh giá không rõ đơn vị",
        limit("landed.rating_unplaced"),
    ),
    Rule(
        "portal_evaluation",
        "window",
        "r.window_from is null or r.window_to is null or r.window_from > r.window_to",
        "critical",
        "Khoảng thời gian của Cổng không hợp lệ",
    ),
    Rule(
        "portal_evaluation",
        "score_bounds",
        "r.total_score < 0 or r.total_score > r.total_max_score",
        "critical",
        "Điểm của Cổng phải từ 0 đến điểm tối đa của nhóm",
    ),
    Rule(
        "portal_evaluation",
        "index_maximum",
        INDEX_MAXIMUM,
        "warning",
        "Điểm tối đa không phải của nhóm: hai chỉ số của Cổng có thể đã đổi chỗ",
    ),
    Rule(
        "portal_evaluation",
        "counts",
        "r.total_petitions < 0 or r.total_dossiers < 0 or r.classified_petitions < 0",
        "critical",
        "Số phản ánh, hồ sơ không được âm",
    ),
    Rule("portal_evaluation", "metric_counts", METRIC_COUNTS, "warning", "Tử số của Cổng lớn hơn mẫu số"),
    Rule(
        "portal_evaluation",
        "score_missing",
        "r.total_score is null and r.total_petitions > 0",
        "warning",
        "Cổng có phản ánh nhưng không trả điểm",
    ),
    Rule(
        "petition",
        "answer_before_receipt",
        "r.answered_at < r.received_at",
        "warning",
        "Phản ánh trả lời trước khi tiếp nhận",
        limit("landed.implausible_time"),
    ),
    Rule(
        "survey_result",
        "counts",
        "r.satisfied_count > r.respondent_count or r.satisfied_count < 0",
        "critical",
        "Số phiếu hài lòng không được vượt số phiếu",
    ),
    Rule(
        "authority_evaluation",
        "score_bounds",
        "r.score < 0 or r.score > r.max_score",
        "critical",
        "Điểm đánh giá phải từ 0 đến điểm tối đa",
    ),
    Rule(
        "self_evaluation",
        "score_bounds",
        "r.score < 0 or r.score > r.max_score",
        "critical",
        "Điểm tự chấm phải từ 0 đến điểm tối đa",
    ),
    Rule(
        "unit_action",
        "done_before_due_known",
        "r.done_on is not null and r.due_on is null",
        "warning",
        "Biện pháp đã xong nhưng chưa có hạn",
    ),
    Rule(
        "posting_check",
        "result_known",
        f"r.result_source_code is null or {_coded('result_source_code', 'posting_result')}",
        "critical",
        "Kết quả kiểm tra niêm yết phải có trong bảng mã",
    ),
    Rule(
        "posting_check",
        "day",
        f"r.checked_on is null or {_years('checked_on')}",
        "critical",
        "Ngày kiểm tra niêm yết không hợp lệ",
    ),
    Rule(
        "posting_check",
        "place_known",
        f"r.place_source_code is null or {_coded('place_source_code', 'posting_place')}",
        "critical",
        "Nơi niêm yết phải có trong bảng mã",
    ),
    Rule("unit_register", "key", "coalesce(r.unit_code, '') = ''", "critical", "Đơn vị phải có mã"),
    Rule(
        "unit_register",
        "validity",
        "r.valid_from is null or r.valid_to <= r.valid_from",
        "critical",
        "Thời gian hiệu lực của đơn vị không hợp lệ",
    ),
    Rule(
        "unit_register",
        "named",
        "coalesce(r.unit_name, '') = '' or (r.is_scored and r.peer_group is null)",
        "critical",
        "Đơn vị phải có tên và nhóm xếp hạng",
    ),
    # What is no plain `full` counts as a part, and an unknown predecessor as one more: either ends a trend, so it must be seen.
    Rule(
        "unit_register",
        "extent_known",
        f"exists (select 1 from {PREDECESSORS} where coalesce(p ->> 'extent', '') not in ('full', 'partial'))",
        "warning",
        "Phạm vi kế thừa của đơn vị phải là full (toàn bộ) hoặc partial (một phần)",
    ),
    Rule(
        "unit_register",
        "predecessor_known",
        f"exists (select 1 from {PREDECESSORS} where p ->> 'unit_code' = r.unit_code or p ->> 'unit_code' not in "
        "(select unit_code from raw.unit_register where op = 'upsert'))",
        "warning",
        "Đơn vị được kế thừa phải có trong danh mục và là đơn vị khác",
    ),
    Rule("procedure_register", "key", "coalesce(r.procedure_code, '') = ''", "critical", "Thủ tục phải có mã"),
    Rule(
        "procedure_register",
        "time_limit",
        "r.limit_working_days not between 0 and %(longest)s",
        "warning",
        "Thời hạn thủ tục không hợp lý",
    ),
    Rule(
        "code_map",
        "target",
        "r.treatment in ('good', 'repaired') and coalesce(r.target_code, '') = ''",
        "critical",
        "Mã nguồn phải có mã đích",
    ),
)


def suite() -> list[Check]:
    """Every expectation on what has landed; those of a feed without new rows do not apply."""
    return [
        rows_present("batches", "Chưa có dữ liệu nào được nạp"),
        *(
            within(
                f"{feed}.newest_has_rows",
                f"{feed}_newest",
                "received_rows",
                1,
                None,
                "critical",
                "Lần nạp danh mục mới nhất không có bản ghi nào",
            )
            for feed in REGISTERS
        ),
        holds(
            "batches.adds_up",
            "batches",
            "adds_up",
            "critical",
            "Sổ nạp dữ liệu không cân: nhận = nạp + không đổi + trùng + cách ly",
        ),
        holds("batches.complete", "batches", "is_complete", "critical", "Số bản ghi nhận được khác số nguồn khai báo"),
        holds("batches.raw_agrees", "batches", "raw_agrees", "critical", "Số dòng trong kho thô khác sổ nạp"),
        within(
            "batches.quarantine",
            "batches",
            "quarantined_share",
            None,
            limit("landed.quarantine_warning"),
            "warning",
            "Tỷ lệ bản ghi cách ly cao",
        ),
        within(
            "batches.quarantine_extreme",
            "batches",
            "quarantined_share",
            None,
            limit("landed.quarantine_critical"),
            "critical",
            "Tỷ lệ bản ghi cách ly quá cao: nguồn đã đổi dạng dữ liệu",
        ),
        holds(
            "published.parts_as_counted",
            "published",
            "parts_as_counted",
            "warning",
            "Kỳ thành phần đã được công bố lại sau khi công bố quý hoặc năm: xem xét công bố lại quý, năm đó",
        ),
        *feeds.checks(),
        *(within(rule.id, rule.feed, rule.name, 0, rule.allowed, rule.severity, rule.reason) for rule in RULES),
    ]


def read(connection: psycopg.Connection, settings: Settings) -> tuple[Subject, int]:
    """What to look at, and up to which batch: per feed the batches since the last run that did not stop, else the newest."""
    contracts = load_contracts(settings.contracts)
    owners = {feed: contract.owner for feed, contract in contracts.items()}
    passed = _query(connection, PASSED, {})[0]["batch_id"]
    batches = _batches(connection, passed)
    samples: dict[str, dict[str, list[str]]] = {}
    judged = [_judge(connection, row) | {"owner": owners.get(row["feed"], "")} for row in batches]
    targets = {"batches": Target(pd.DataFrame(judged), ("batch",), scope="feed")}
    for feed in REGISTERS:
        newest = _query(
            connection,
            "select feed, received_rows from ops.batch where feed = %(feed)s order by batch_id desc limit 1",
            {"feed": feed},
        )
        # A register that never came is as empty as one that came without rows.
        row = newest[0] if newest else {"feed": feed, "received_rows": 0}
        targets[f"{feed}_newest"] = Target(
            pd.DataFrame([row | {"owner": owners.get(feed, "")}]), ("feed",), scope="feed"
        )
    published = pd.DataFrame(_query(connection, PUBLISHED, {}))
    targets["published"] = Target(published, ("edition",), required=False, scope="period")
    targets |= feeds.targets(connection, contracts, settings, batches, passed, samples)
    for feed in dict.fromkeys(rule.feed for rule in RULES):
        ids = [row["batch_id"] for row in batches if row["feed"] == feed]
        shares = _shares(connection, feed, ids, samples).assign(owner=owners.get(feed, ""))
        targets[feed] = Target(shares, ("feed",), required=False, scope="feed")
    return Subject(targets, samples, owners=owners), max((row["batch_id"] for row in batches), default=0)


# Newest edition of each period: whether no period within it was corrected after it was published.
PUBLISHED = """
select distinct on (whole.period_code)
    whole.period_code as period,
    whole.edition_id as edition,
    not exists (
        select 1
        from publish.edition as part
        where
            part.calendar_code = whole.calendar_code
            and part.period_code <> whole.period_code
            and part.period_start >= whole.period_start
            and part.period_end <= whole.period_end
            and part.supersedes is not null
            and (part.published_at > whole.published_at or part.as_of_batch > whole.as_of_batch)
    ) as parts_as_counted
from publish.edition as whole
order by whole.period_code, whole.edition_no desc
"""
PASSED = "select coalesce(max(as_of_batch), 0) as batch_id from dq.run where scope = 'landed' and disposition <> 'stop'"


def _batches(connection: psycopg.Connection, passed: int) -> list[dict[str, Any]]:
    return _query(
        connection,
        "with newest as (select feed, max(batch_id) as batch_id from ops.batch group by feed) "
        "select b.*, (select count(*) from ops.quarantine as q where q.batch_id = b.batch_id) as in_quarantine "
        "from ops.batch as b inner join newest on newest.feed = b.feed "
        "where (b.batch_id > %(passed)s or b.batch_id = newest.batch_id) "
        "and not exists (select 1 from ops.purge as p where p.batch_id = b.batch_id) order by b.batch_id",
        {"passed": passed},
    )


def _judge(connection: psycopg.Connection, row: dict[str, Any]) -> dict[str, Any]:
    statement = sql.SQL("select count(*) as n from raw.{} where batch_id = %(batch_id)s").format(
        sql.Identifier(row["feed"])
    )
    in_raw = _query(connection, statement, row)[0]["n"]
    received = row["received_rows"]
    return {
        "batch": f"{row['feed']}/{row['batch_id']}",
        "feed": row["feed"],
        "received_rows": received,
        "adds_up": received
        == row["loaded_rows"] + row["unchanged_rows"] + row["duplicate_rows"] + row["quarantined_rows"],
        "is_complete": row["declared_rows"] in (None, received),
        "raw_agrees": (in_raw, row["in_quarantine"])
        == (row["loaded_rows"] + row["tombstone_rows"], row["quarantined_rows"]),
        "quarantined_share": row["quarantined_rows"] / max(received, limit("landed.quarantine_least")),
    }


def _shares(
    connection: psycopg.Connection, feed: str, batches: list[int], samples: dict[str, dict[str, list[str]]]
) -> pd.DataFrame:
    """One row: the share of new records that breaks each rule; no row when nothing new landed. Keys of what broke: a few."""
    rules = [rule for rule in RULES if rule.feed == feed]
    source = sql.SQL(
        "from raw.{} as r inner join ops.batch as b using (batch_id) where r.batch_id = any(%(batches)s) and r.op = 'upsert'"
    ).format(sql.Identifier(feed))
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) filter (where {}) as {}").format(sql.SQL(rule.broken), sql.Identifier(rule.name))  # type: ignore[arg-type]
        for rule in rules
    )
    values = {**CONSTANTS, "batches": batches, "sample": SAMPLE}
    found = _query(connection, sql.SQL("select count(*) as records, {} {}").format(counts, source), values)[0]
    if not found["records"]:
        return pd.DataFrame()
    for rule in rules:
        if found[rule.name] > rule.allowed * found["records"]:
            statement = sql.SQL("select distinct r.record_key {} and ({}) order by 1 limit %(sample)s").format(
                source,
                sql.SQL(rule.broken),  # type: ignore[arg-type]
            )
            samples[rule.id] = {feed: [row["record_key"] for row in _query(connection, statement, values)]}
    shares = {rule.name: found[rule.name] / found["records"] for rule in rules}
    return pd.DataFrame([{"feed": feed, "records": found["records"], **shares}])


def _query(connection: psycopg.Connection, statement: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()
