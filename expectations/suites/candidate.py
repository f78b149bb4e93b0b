"""What must hold of a candidate before anybody signs it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from expectations.suites.model import (
    Check,
    Subject,
    Target,
    holds,
    limit,
    not_null,
    one_of,
    rows_present,
    unique,
    within,
)
from hailong.contracts import load_contracts
from hailong.errors import PermanentError
from hailong.periods import WorkingDays, code_before, parse_period
from hailong.publish import annexes, small_cells
from hailong.publish.checksum import content_sha256
from hailong.publish.closing import closing_feeds, unread
from hailong.publish.explain import ENDS
from hailong.settings import Settings

INDICES = ("A", "B", "C", "D", "E")
INDEX_STATUSES = ("before_rule", "not_applicable", "blocked_by_quality", "awaiting_input", "no_data", "scored")
K_STATUSES = ("before_rule", "not_applicable", "incomplete", "scored")
VERDICTS = ("satisfied", "not_satisfied", "undetermined")
BOUNDS = ("satisfied_whatever", "not_satisfied_whatever", "open")
QUOTIENTS = ("A", "B", "C", "E")


def suite() -> list[Check]:
    """Every expectation on a candidate, by target."""
    unit_bounds = [
        within(
            f"k_score.{index.lower()}_bounds",
            "k_score",
            index.lower(),
            0,
            1,
            "critical",
            f"Chỉ số {index} phải từ 0 đến 1",
        )
        for index in QUOTIENTS
    ]
    return [
        rows_present("k_score", "Bản trình không có đơn vị nào: không có gì để ký"),
        rows_present("index_score", "Bản trình không có chỉ số nào: không có gì để ký"),
        # Who is in it
        unique("k_score.unit_once", "k_score", ["unit_code"], "critical", "Mỗi đơn vị chỉ có một dòng tổng điểm"),
        unique(
            "index_score.pair_once",
            "index_score",
            ["unit_code", "index_code"],
            "critical",
            "Mỗi đơn vị chỉ có một dòng cho mỗi chỉ số",
        ),
        holds(
            "units.all_of_register",
            "units",
            "in_k_score",
            "critical",
            "Đơn vị thuộc diện chấm điểm trong kỳ phải có trong bản trình",
        ),
        holds(
            "units.none_beyond_register",
            "units",
            "in_scope",
            "critical",
            "Bản trình có đơn vị không thuộc diện chấm điểm trong kỳ",
        ),
        holds(
            "units.five_indices",
            "units",
            "has_five_indices",
            "critical",
            "Mỗi đơn vị phải có đủ năm chỉ số A, B, C, D, E",
        ),
        holds(
            "k_score.period",
            "k_score",
            "period_is_candidates",
            "critical",
            "Dòng tổng điểm phải thuộc đúng kỳ của bản trình",
        ),
        holds(
            "index_score.period",
            "index_score",
            "period_is_candidates",
            "critical",
            "Dòng chỉ số phải thuộc đúng kỳ của bản trình",
        ),
        holds(
            "k_score.window_in_period", "k_score", "window_in_period", "critical", "Khoảng tính điểm phải nằm trong kỳ"
        ),
        not_null("k_score.name", "k_score", "unit_name", "critical", "Đơn vị phải có tên để in báo cáo"),
        # The five indices
        *unit_bounds,
        holds(
            "k_score.d_bounds",
            "k_score",
            "d_within_maximum",
            "critical",
            "Chỉ số D phải từ 0 đến điểm tối đa của chính sách",
        ),
        holds(
            "k_score.k_bounds",
            "k_score",
            "k_within_maximum",
            "critical",
            "Tổng điểm K phải từ 0 đến tổng điểm tối đa của chính sách",
        ),
        one_of("k_score.e_zero_or_one", "k_score", "e", [0.0, 1.0], "critical", "Chỉ số E chỉ nhận giá trị 0 hoặc 1"),
        one_of(
            "index_score.status_known",
            "index_score",
            "status",
            INDEX_STATUSES,
            "critical",
            "Trạng thái chỉ số phải thuộc danh mục",
        ),
        holds(
            "index_score.value_when_scored",
            "index_score",
            "value_when_scored",
            "critical",
            "Có giá trị khi và chỉ khi chỉ số được chấm",
        ),
        holds(
            "index_score.reason_when_not_scored",
            "index_score",
            "reason_when_not_scored",
            "critical",
            "Chỉ số không được chấm phải nêu lý do",
        ),
        holds(
            "index_score.numerator_within",
            "index_score",
            "numerator_within_denominator",
            "critical",
            "Tử số không được lớn hơn mẫu số",
        ),
        holds(
            "index_score.value_is_quotient",
            "index_score",
            "value_is_quotient",
            "critical",
            "Giá trị phải bằng tử số chia mẫu số (D: điểm của Cổng)",
        ),
        within(
            "index_score.excluded", "index_score", "excluded", 0, None, "critical", "Số hồ sơ loại trừ không được âm"
        ),
        holds(
            "k_score.indices_agree",
            "k_score",
            "indices_agree",
            "critical",
            "Chỉ số in cạnh tổng điểm phải bằng chỉ số chi tiết",
        ),
        # K, verdict, rank
        one_of(
            "k_score.status_known",
            "k_score",
            "status",
            K_STATUSES,
            "critical",
            "Trạng thái tổng điểm phải thuộc danh mục",
        ),
        holds(
            "k_score.k_is_sum",
            "k_score",
            "k_is_sum",
            "critical",
            "K phải bằng A + B + C + D + E khi được chấm, và để trống khi không",
        ),
        holds(
            "k_score.scored_when_complete",
            "k_score",
            "scored_when_complete",
            "critical",
            "Được chấm khi và chỉ khi cả năm chỉ số được chấm",
        ),
        one_of("k_score.verdict_known", "k_score", "verdict", VERDICTS, "critical", "Kết luận phải thuộc danh mục"),
        holds(
            "k_score.verdict_follows_k",
            "k_score",
            "verdict_follows_k",
            "critical",
            "Kết luận phải đúng với K và ngưỡng của chính sách",
        ),
        holds(
            "k_score.bound_when_incomplete",
            "k_score",
            "bound_when_incomplete",
            "critical",
            "Khoảng kết luận chỉ dùng cho đơn vị chưa đủ chỉ số",
        ),
        holds(
            "k_score.rank_when_whole", "k_score", "rank_when_whole", "critical", "Chỉ xếp hạng đơn vị được chấm trọn kỳ"
        ),
        holds("k_score.rank_follows_k", "k_score", "rank_follows_k", "critical", "Thứ hạng phải theo K trong nhóm"),
        holds(
            "groups.has_first", "groups", "has_first", "critical", "Nhóm có đơn vị được chấm trọn kỳ phải có hạng nhất"
        ),
        # The copy and where it comes from
        holds(
            "header.checksum", "header", "checksum_agrees", "critical", "Mã kiểm tra nội dung phải khớp với bản trình"
        ),
        holds("header.parameters", "header", "has_parameters", "critical", "Bản trình phải kèm tham số của chính sách"),
        within("header.late_batches", "header", "late_batches", None, 0, "info", "Có dữ liệu về sau thời điểm chốt"),
        holds(
            "ledger.adds_up",
            "ledger",
            "adds_up",
            "critical",
            "Sổ nạp dữ liệu không cân: nhận = nạp + không đổi + trùng + cách ly",
        ),
        holds("ledger.complete", "ledger", "is_complete", "critical", "Số bản ghi nhận được khác số nguồn khai báo"),
        holds("ledger.raw_agrees", "ledger", "raw_agrees", "critical", "Số dòng trong kho thô khác sổ nạp"),
        # What the public would learn
        holds(
            "small_cells.few_hidden",
            "small_cells",
            "few_are_hidden",
            "critical",
            "Điểm thái độ từ quá ít lượt đánh giá không được công khai",
        ),
        holds(
            "small_cells.attack",
            "small_cells",
            "resists_attack",
            "critical",
            "Lấy kỳ này trừ đi các kỳ, các ấn bản đã công khai thì suy ra được điểm thái độ của rất ít người",
        ),
        # Dossiers that came and went
        holds(
            "flow.balances",
            "flow",
            "balances",
            "critical",
            "Hồ sơ không cân: kỳ trước chuyển sang + tiếp nhận = có kết quả + dừng + rút + không tiếp nhận + còn lại",
        ),
        holds(
            "flow.carried",
            "flow",
            "carries_on",
            "critical",
            "Hồ sơ kỳ trước chuyển sang khác số còn lại cuối kỳ trước",
        ),
        *_for_the_signer(),
    ]


def _for_the_signer() -> list[Check]:
    """What stops nothing: warnings must be quoted by the signer, info is recorded. Each is told to the owner of its feed."""
    return [
        *_of_feed(
            "portal_evaluation",
            within(
                "units.blocked",
                "units",
                "blocked",
                None,
                limit("candidate.blocked_units"),
                "warning",
                "Đơn vị có chỉ số bị chặn vì chất lượng dữ liệu",
            ),
        ),
        *_of_feed(
            "posting_check",
            within(
                "units.awaiting_posting",
                "units",
                "awaiting",
                None,
                limit("candidate.awaiting_units"),
                "warning",
                "Đơn vị còn thiếu kết quả kiểm tra niêm yết (chỉ số E)",
            ),
        ),
        within(
            "header.incomplete_share",
            "header",
            "incomplete_share",
            None,
            limit("candidate.incomplete_share"),
            "warning",
            "Tỷ lệ đơn vị chưa đủ chỉ số cao",
        ),
        *_of_feed(
            "code_map",
            within(
                "header.unknown_unit_share",
                "header",
                "unknown_unit_share",
                None,
                limit("candidate.unknown_unit_share"),
                "warning",
                "Tỷ lệ hồ sơ có kết quả trong kỳ nhưng không rõ đơn vị giải quyết cao",
            ),
        ),
        *_of_feed(
            "dossier",
            within(
                "header.dossiers", "header", "dossiers", 1, None, "warning", "Không có hồ sơ nào có kết quả trong kỳ"
            ),
            within(
                "volume.halved",
                "volume",
                "ratio",
                limit("candidate.volume_ratio"),
                None,
                "info",
                "Số hồ sơ mỗi ngày làm việc giảm từ một nửa trở lên so với kỳ trước",
            ),
            within(
                "volume.city",
                "volume_city",
                "ratio",
                limit("candidate.city_volume_least"),
                limit("candidate.city_volume_most"),
                "warning",
                "Số hồ sơ mỗi ngày làm việc của toàn Thành phố khác hẳn kỳ trước",
            ),
        ),
        within(
            "late.share",
            "late",
            "late_share",
            None,
            limit("candidate.late_share"),
            "warning",
            "Tỷ lệ bản ghi của kỳ về sau thời điểm chốt cao",
        ),
        *_of_feed(
            "dossier_sync",
            within(
                "reconciliation.city",
                "reconciliation_city",
                "share",
                None,
                limit("candidate.reconciliation_share"),
                "warning",
                "Số hồ sơ của toàn Thành phố khác với Cổng Dịch vụ công quốc gia quá mức cho phép",
            ),
            holds(
                "reconciliation.unit",
                "reconciliation",
                "within_tolerance",
                "info",
                "Đơn vị có số hồ sơ khác với Cổng Dịch vụ công quốc gia quá mức của chính sách",
            ),
        ),
        within(
            "jumps.unit",
            "jumps",
            "change",
            None,
            limit("candidate.k_jump"),
            "info",
            "Tổng điểm K của đơn vị thay đổi nhiều so với kỳ trước",
        ),
        within(
            "jumps.share",
            "jumps_city",
            "share",
            None,
            limit("candidate.k_jump_share"),
            "warning",
            "Quá nhiều đơn vị có K thay đổi nhiều: nguồn hoặc cách tính đã đổi, không phải các đơn vị",
        ),
        within(
            "restatement.units",
            "restatement",
            "units_share",
            None,
            limit("candidate.restated_units_share"),
            "warning",
            "Bản thay thế làm đổi chỉ số của quá nhiều đơn vị",
        ),
        within(
            "restatement.verdicts",
            "restatement",
            "verdicts_share",
            None,
            limit("candidate.restated_verdicts_share"),
            "warning",
            "Bản thay thế làm đổi kết luận của quá nhiều đơn vị",
        ),
    ]


def _of_feed(feed: str, *checks: Check) -> Iterator[Check]:
    return (replace(check, feed=feed) for check in checks)


@dataclass(frozen=True)
class Header:
    """What the run records about the candidate."""

    candidate_id: str
    period_code: str
    period_start: date
    period_end: date
    policy_id: str
    as_of_batch: int
    late_batches: int
    content_sha256: str
    scope_units: list[str]
    dossiers: int
    unknown_unit_dossiers: int
    cutoff_at: datetime
    metric_version: str | None
    restates: str | None


def read_header(connection: psycopg.Connection, candidate_id: str) -> Header:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "select candidate_id, period_code, period_start, period_end, policy_id, as_of_batch, late_batches, "
            "content_sha256, scope_units, dossiers, unknown_unit_dossiers, cutoff_at, metric_version, restates "
            "from publish.candidate where candidate_id = %s",
            (candidate_id,),
        ).fetchone()
    if row is None:
        raise PermanentError(
            f"there is no candidate '{candidate_id}': make one with `hailong candidate --period P`, which prints its id"
        )
    if row["scope_units"] is None:
        raise PermanentError(
            f"candidate '{candidate_id}' does not say which units the register wanted: it was copied before candidates did. "
            "Copy a new one with `hailong candidate --period P`"
        )
    return Header(**row)


def read(connection: psycopg.Connection, settings: Settings, header: Header) -> Subject:
    """The candidate's rows and what they are compared with, conditions worked out."""
    parameters = dict(
        connection.execute(
            "select parameter, value from publish.candidate_parameter where candidate_id = %s and policy_id = %s",
            (header.candidate_id, header.policy_id),
        ).fetchall()
    )
    scores = _rows(
        connection,
        "select * from publish.candidate_k_score where candidate_id = %(candidate_id)s order by unit_code",
        header,
    )
    indices = _rows(
        connection,
        "select * from publish.candidate_index_score where candidate_id = %(candidate_id)s order by unit_code, index_code",
        header,
    )
    scope = set(header.scope_units)
    by_unit: dict[str, dict[str, dict[str, Any]]] = {}
    for row in indices:
        by_unit.setdefault(row["unit_code"], {})[row["index_code"]] = row
    digest = content_sha256(connection, "candidate", header.candidate_id)
    owners = {feed: contract.owner for feed, contract in load_contracts(settings.contracts).items()}
    whole = _before_is_whole(connection, settings, header)
    volume, volume_city = (
        _volume(connection, WorkingDays.load(settings.rules), by_unit, scores, header) if whole else ([], [])
    )
    jumps, jumps_city = _jumps(connection, scores, header) if whole else ([], [])
    reconciled, reconciled_city = _reconciliation(connection, header, parameters)
    return Subject(
        {
            "k_score": Target(_frame(_judge_scores(scores, by_unit, header, parameters)), ("unit_code",)),
            "index_score": Target(_frame(_judge_indices(indices, header, parameters)), ("unit_code", "index_code")),
            "units": Target(_frame(_units(scores, by_unit, scope)), ("unit_code",)),
            "groups": Target(_frame(_groups(scores)), ("peer_group",), required=False),
            "header": Target(_frame([_summary(header, scores, parameters, digest)]), ("candidate_id",)),
            "ledger": Target(_frame(_ledger(connection, header)), ("batch",)),
            "small_cells": Target(
                pd.DataFrame(small_cells.attack(settings, connection, header.candidate_id)),
                ("unit_code",),
                required=False,
            ),
            "flow": Target(_frame(_flow(connection, header)), ("unit_code",)),
            "volume": Target(_frame(volume), ("unit_code",), required=False),
            "volume_city": Target(_frame(volume_city), ("period_code",), required=False),
            "late": Target(_frame(_late(connection, header, owners)), ("measure",), required=False),
            "reconciliation": Target(_frame(reconciled), ("unit_code",), required=False),
            "reconciliation_city": Target(_frame(reconciled_city), ("period_code",), required=False),
            "jumps": Target(_frame(jumps), ("unit_code",), required=False),
            "jumps_city": Target(_frame(jumps_city), ("period_code",), required=False),
            "restatement": Target(_frame(_restatement(connection, header)), ("restates",), required=False),
        },
        default=header.period_code,
        owners=owners,
    )


def _rows(connection: psycopg.Connection, statement: Any, header: Header) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, vars(header)).fetchall()


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Decimals become floats here, after everything exact has been compared."""
    return pd.DataFrame([{name: float(v) if isinstance(v, Decimal) else v for name, v in row.items()} for row in rows])


def _judge_scores(
    scores: list[dict[str, Any]],
    by_unit: dict[str, dict[str, dict[str, Any]]],
    header: Header,
    parameters: dict[str, str],
) -> list[dict[str, Any]]:
    half_a_step = Decimal(5).scaleb(-1 - int(parameters.get("k_scale", "6")))
    tolerance = max(Decimal(str(limit("candidate.k_tolerance"))), half_a_step)
    may_fill = parameters.get("missing_index", "block") != "block"
    ranks = _expected_ranks(scores, int(parameters.get("rank_scale", "2")))
    most = _maxima(parameters)
    judged = []
    for row in scores:
        parts = [row[index.lower()] for index in INDICES]
        scored = row["status"] == "scored"
        own = by_unit.get(row["unit_code"], {})
        is_whole = all(own.get(index, {}).get("status") == "scored" for index in INDICES)
        stretch = _stretch(parts, parameters)
        judged.append(
            {
                **row,
                "period_is_candidates": row["period_code"] == header.period_code,
                "window_in_period": header.period_start <= row["window_start"] < row["window_end"] <= header.period_end,
                "d_within_maximum": row["d"] is None or (most is not None and 0 <= row["d"] <= most["D"]),
                "k_within_maximum": row["k"] is None
                or (most is not None and 0 <= row["k"] <= sum(most.values(), Decimal(0))),
                "indices_agree": all(own.get(index, {}).get("value") == row[index.lower()] for index in INDICES),
                "k_is_sum": _is_sum(row["k"], parts, stretch, tolerance) if scored else row["k"] is None,
                "scored_when_complete": row["status"] != "incomplete"
                if may_fill and stretch is not None and not is_whole
                else scored == is_whole,
                "verdict_follows_k": row["verdict"] == _verdict(row["k"], parameters)
                if scored
                else row["verdict"] is None,
                "bound_when_incomplete": (row["verdict_bound"] in BOUNDS)
                if row["status"] == "incomplete"
                else row["verdict_bound"] is None,
                "rank_when_whole": (row["rank_in_group"] is not None) == _ranked(row),
                "rank_follows_k": row["rank_in_group"] is None or row["rank_in_group"] == ranks.get(row["unit_code"]),
            }
        )
    return judged


def _maxima(parameters: dict[str, str]) -> dict[str, Decimal] | None:
    """What each index can be at most under the candidate's policy; None (so: a failure) when its parameters do not say."""
    named = {index: parameters.get(f"{index.lower()}_max") for index in INDICES}
    known = {index: Decimal(value) for index, value in named.items() if value is not None}
    return known if len(known) == len(INDICES) else None


def _is_sum(k: Decimal | None, parts: list[Decimal | None], stretch: Decimal | None, tolerance: Decimal) -> bool:
    if k is None or stretch is None:
        return False
    return abs(k - sum((part for part in parts if part is not None), Decimal(0)) * stretch) <= tolerance


def _verdict(k: Decimal | None, parameters: dict[str, str]) -> str | None:
    """The verdict that the candidate's own parameters give; None (so: a failure) when it lacks them."""
    if k is None or not {"k_threshold", "k_equal"} <= set(parameters):
        return None
    threshold = Decimal(parameters["k_threshold"])
    if k == threshold:
        return parameters["k_equal"]
    return "satisfied" if k > threshold else "not_satisfied"


def _ranked(row: dict[str, Any]) -> bool:
    return row["status"] == "scored" and row["window_clipped"] is None


def _expected_ranks(scores: list[dict[str, Any]], scale: int) -> dict[str, int]:
    step = Decimal(1).scaleb(-scale)
    groups: dict[str, list[tuple[str, Decimal]]] = {}
    for row in scores:
        if _ranked(row) and row["k"] is not None:
            shown = row["k"].quantize(step, rounding=ROUND_HALF_UP)
            groups.setdefault(row["peer_group"], []).append((row["unit_code"], shown))
    return {unit: 1 + sum(other > k for _, other in group) for group in groups.values() for unit, k in group}


def _stretch(parts: list[Decimal | None], parameters: dict[str, str]) -> Decimal | None:
    """By what the policy multiplies the indices that are there; None when it makes no K of them."""
    present = [index for index, part in zip(INDICES, parts, strict=True) if part is not None]
    reading = parameters.get("missing_index", "block")
    if len(present) == len(INDICES) or reading == "zero":
        return Decimal(1)
    if reading == "block" or not present:
        return None
    most = {index: Decimal(parameters[f"{index.lower()}_max"]) for index in INDICES}
    return sum(most.values(), Decimal(0)) / sum((most[index] for index in present), Decimal(0))


def _judge_indices(indices: list[dict[str, Any]], header: Header, parameters: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "period_is_candidates": row["period_code"] == header.period_code,
            "value_when_scored": (row["value"] is not None) == (row["status"] == "scored"),
            "reason_when_not_scored": (row["status_reason"] is None) == (row["status"] == "scored"),
            "numerator_within_denominator": _within_denominator(row),
            "value_is_quotient": row["value"] is None or _is_quotient(row, parameters),
        }
        for row in indices
    ]


def _within_denominator(row: dict[str, Any]) -> bool:
    numerator, denominator = row["numerator"], row["denominator"]
    if numerator is None or denominator is None:
        return numerator is None and (denominator is None or row["status"] != "scored")
    return bool(0 <= numerator <= denominator)


def _is_quotient(row: dict[str, Any], parameters: dict[str, str]) -> bool:
    if row["index_code"] == "D":
        return bool(row["value"] == row["numerator"])
    if row["index_code"] == "E":  # all places or nothing
        return bool(row["value"] == (1 if row["numerator"] == row["denominator"] else 0))
    if not row["denominator"]:  # where returned dossiers alone are looked at and none was, B is full
        is_full = row["index_code"] == "B" and parameters.get("b_population") == "returned" and row["excluded"] > 0
        return bool(is_full and row["value"] == Decimal(parameters.get("b_max", "nan")))
    return abs(row["value"] - row["numerator"] / row["denominator"]) <= Decimal(
        str(limit("candidate.quotient_tolerance"))
    )


def _units(
    scores: list[dict[str, Any]], by_unit: dict[str, dict[str, dict[str, Any]]], scope: set[str]
) -> list[dict[str, Any]]:
    present = {row["unit_code"] for row in scores}

    def count(unit: str, status: str) -> int:
        return sum(row["status"] == status for row in by_unit.get(unit, {}).values())

    return [
        {
            "unit_code": unit,
            "in_scope": unit in scope,
            "in_k_score": unit in present,
            "has_five_indices": set(by_unit.get(unit, {})) == set(INDICES),
            "blocked": count(unit, "blocked_by_quality"),
            "awaiting": int(by_unit.get(unit, {}).get("E", {}).get("status") == "awaiting_input"),
        }
        for unit in sorted(present | set(by_unit) | scope)
    ]


def _groups(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[str, list[int | None]] = {}
    for row in filter(_ranked, scores):
        groups.setdefault(row["peer_group"], []).append(row["rank_in_group"])
    return [
        {"peer_group": group, "units": len(ranks), "has_first": 1 in ranks} for group, ranks in sorted(groups.items())
    ]


def _summary(
    header: Header,
    scores: list[dict[str, Any]],
    parameters: dict[str, str],
    digest: str,
) -> dict[str, Any]:
    due = [row for row in scores if row["status"] in ("scored", "incomplete")]
    return {
        "candidate_id": header.candidate_id,
        "checksum_agrees": digest == header.content_sha256,
        "has_parameters": {"k_threshold", "k_equal", "k_scale"} <= set(parameters),
        "late_batches": header.late_batches,
        "incomplete_share": sum(row["status"] == "incomplete" for row in due) / max(len(due), 1),
        "dossiers": header.dossiers,
        "unknown_unit_share": header.unknown_unit_dossiers / max(header.dossiers, 1),
    }


def _ledger(connection: psycopg.Connection, header: Header) -> list[dict[str, Any]]:
    """Every batch that the candidate may have read, beside what stands in raw and in quarantine; purged ones are gone.

    Rows of a batch that the ledger does not know are a batch here too, which nothing agrees with.
    """
    batches = _rows(
        connection,
        "select b.*, (select count(*) from ops.quarantine as q where q.batch_id = b.batch_id) as in_quarantine "
        "from ops.batch as b where b.batch_id <= %(as_of_batch)s "
        "and not exists (select 1 from ops.purge as p where p.batch_id = b.batch_id) order by b.batch_id",
        header,
    )
    raw: dict[tuple[str, int], int] = {}
    for feed in sorted({row["feed"] for row in batches}):
        statement = sql.SQL(
            "select batch_id, count(*) as n from raw.{} where batch_id <= %(as_of_batch)s group by 1"
        ).format(sql.Identifier(feed))
        raw.update(((feed, row["batch_id"]), row["n"]) for row in _rows(connection, statement, header))
    found = [
        {
            "batch": f"{row['feed']}/{row['batch_id']}",
            "adds_up": row["received_rows"]
            == row["loaded_rows"] + row["unchanged_rows"] + row["duplicate_rows"] + row["quarantined_rows"],
            "is_complete": row["declared_rows"] in (None, row["received_rows"]),
            "raw_agrees": (raw.pop((row["feed"], row["batch_id"]), 0), row["in_quarantine"])
            == (row["loaded_rows"] + row["tombstone_rows"], row["quarantined_rows"]),
        }
        for row in batches
    ]
    unknown = {"adds_up": True, "is_complete": True, "raw_agrees": False}
    return found + [{"batch": f"{feed}/{batch_id}", **unknown} for feed, batch_id in sorted(raw)]


def _before_is_whole(connection: psycopg.Connection, settings: Settings, header: Header) -> bool:
    """False where the reading of a feed began within the period before: it is there in part, and nothing is compared with it."""
    before = parse_period(settings.rules, code_before(header.period_code))
    return not any(
        feed.begins_late for feed in unread(connection, settings, closing_feeds(settings), before, header.as_of_batch)
    )


def _volume(
    connection: psycopg.Connection,
    calendar: WorkingDays,
    by_unit: dict[str, dict[str, dict[str, Any]]],
    scores: list[dict[str, Any]],
    header: Header,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Dossiers per working day against the period of the same kind before: units with enough of them, and all together.

    Tết is in the calendar: a window with seven days off is not a window with half the work.
    """
    before = _rows(
        connection,
        "select i.unit_code, i.denominator, w.window_start, w.window_end from marts.index_score as i "
        "inner join core.dim_period as p using (period_code) "
        "inner join core.core_unit_window as w on i.period_code = w.period_code and i.unit_code = w.unit_code "
        "inner join core.dim_period as now on now.period_code = %(period_code)s and now.period_kind = p.period_kind "
        "where p.period_end = %(period_start)s and i.index_code = 'A' and i.denominator > 0 order by i.unit_code",
        header,
    )
    windows = {row["unit_code"]: (row["window_start"], row["window_end"]) for row in scores}
    rows = []
    for row in before:
        unit = row["unit_code"]
        if unit not in windows or "A" not in by_unit.get(unit, {}):
            continue
        days = _working_days(calendar, *windows[unit])
        days_before = _working_days(calendar, row["window_start"], row["window_end"])
        if not days or not days_before:
            continue
        a_day = (by_unit[unit]["A"]["denominator"] or Decimal(0)) / days
        a_day_before = row["denominator"] / days_before
        rows.append(
            {
                "unit_code": unit,
                "before": row["denominator"],
                "ratio": a_day / a_day_before,
                "a_day": a_day,
                "a_day_before": a_day_before,
            }
        )
    least = Decimal(str(limit("candidate.volume_least")))
    base = sum((row["a_day_before"] for row in rows), Decimal(0))
    now = sum((row["a_day"] for row in rows), Decimal(0))
    city = [{"period_code": header.period_code, "ratio": now / base}] if base else []
    return [row for row in rows if row["before"] >= least], city


def _working_days(calendar: WorkingDays, start: date, end: date) -> int:
    """Of a window, whose last day is the one before its end."""
    day = timedelta(days=1)
    return calendar.between(start - day, end - day)


def _flow(connection: psycopg.Connection, header: Header) -> list[dict[str, Any]]:
    """Every unit's dossiers, as they were copied: what began plus what came is what ended plus what is left."""
    before = {
        row["unit_code"]: row["open_at_end"]
        for row in annexes.of_candidate(connection, header.candidate_id, "dossier_flow_before")
    }
    return [
        {
            "unit_code": row["unit_code"],
            "balances": row["open_at_start"] + row["received"] == sum(row[end] for end in ENDS) + row["open_at_end"],
            "carries_on": before.get(row["unit_code"]) in (None, row["open_at_start"]),
        }
        for row in annexes.of_candidate(connection, header.candidate_id, "dossier_flow")
    ]


def _late(connection: psycopg.Connection, header: Header, owners: dict[str, str]) -> list[dict[str, Any]]:
    """Per kind of record, the share of the period's that was first told of after the cut-off."""
    told: dict[str, list[int]] = {}
    feeds: dict[str, str] = {}
    for row in annexes.of_candidate(connection, header.candidate_id, "late_data"):
        of = told.setdefault(row["measure"], [0, 0])
        of[0] += row["record_count"]
        of[1] += row["record_count"] if row["is_after_cutoff"] else 0
        feeds[row["measure"]] = row["feed"]
    return [
        {"measure": measure, "late_share": Decimal(late) / records, "owner": owners.get(feeds[measure], "")}
        for measure, (records, late) in sorted(told.items())
    ]


def _reconciliation(
    connection: psycopg.Connection, header: Header, parameters: dict[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Dossiers received in the period on which city and portal differ for a reason that somebody must explain."""
    explained = {
        row["reason"]
        for row in _rows(connection, "select reason from rules.reconciliation_reason where is_explained", header)
    }
    cases = Decimal(parameters.get("explain_cases", "0"))
    share = Decimal(parameters.get("explain_reconciliation_share", "0"))
    units: dict[str, list[dict[str, Any]]] = {}
    for row in annexes.of_candidate(connection, header.candidate_id, "reconciliation"):
        units.setdefault(row["unit_code"], []).append(row)
    judged = []
    for unit, rows in sorted(units.items()):
        dossiers, differing = (
            max(sum(row[side] for row in chosen) for side in ("city_count", "portal_count"))
            for chosen in (rows, [row for row in rows if row["reason"] in explained])
        )
        within_tolerance = differing <= cases or differing <= share * dossiers
        judged.append(
            {"unit_code": unit, "differing": differing, "dossiers": dossiers, "within_tolerance": within_tolerance}
        )
    dossiers = sum(row["dossiers"] for row in judged)
    differing = sum(row["differing"] for row in judged)
    city = [{"period_code": header.period_code, "share": Decimal(differing) / dossiers}] if dossiers else []
    return judged, city


def _jumps(
    connection: psycopg.Connection, scores: list[dict[str, Any]], header: Header
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Change of K against the period of the same kind before, by the same method of the portal; and how many change much."""
    before = {
        row["unit_code"]: row["k"]
        for row in _rows(
            connection,
            "select k.unit_code, k.k from marts.k_score as k inner join core.dim_period as p using (period_code) "
            "inner join core.dim_period as now on now.period_code = %(period_code)s and now.period_kind = p.period_kind "
            "where p.period_end = %(period_start)s and k.k is not null "
            "and k.metric_version is not distinct from %(metric_version)s",
            header,
        )
    }
    rows = [
        {"unit_code": row["unit_code"], "change": abs(row["k"] - before[row["unit_code"]])}
        for row in scores
        if row["k"] is not None and row["unit_code"] in before
    ]
    much = sum(row["change"] > Decimal(str(limit("candidate.k_jump"))) for row in rows)
    return rows, [{"period_code": header.period_code, "share": much / len(rows)}] if rows else []


def _restatement(connection: psycopg.Connection, header: Header) -> list[dict[str, Any]]:
    """How much of the edition a restatement changes: units with another index, units with another verdict or status of K."""
    if header.restates is None:
        return []
    return _rows(
        connection,
        "select %(restates)s as restates, count(d.unit_code)::numeric / greatest(count(*), 1) as units_share, "
        "(count(*) filter (where is_verdict))::numeric / greatest(count(*), 1) as verdicts_share "
        "from (select unit_code from publish.candidate_k_score where candidate_id = %(candidate_id)s "
        "union select unit_code from publish.k_score where edition_id = %(restates)s) as u "
        "left join (select unit_code, bool_or(index_code = 'K' and status_before is distinct from status_after) as is_verdict "
        "from publish.candidate_difference where candidate_id = %(candidate_id)s group by unit_code) as d using (unit_code)",
        header,
    )
