"""The annexes as sheets of the workbook: which columns of which annex are shown, in which words.

A sheet's rows come from `publish.annex` as they are; the two that have a row per day are summed first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from hailong.publish.report import words
from hailong.publish.report.content import largest, total
from hailong.publish.report.data import ZONE, Kind, Report, Row
from hailong.publish.report.phrases import Phrases

Shown = tuple[Any, str]
Colours = Mapping[str, str]  # text → colour


@dataclass(frozen=True)
class Field:
    """A column of an annex: title, width in characters, and what a row shows in it, with its format."""

    title: str
    width: float
    show: Callable[[Row], Shown]
    colours: Colours | None = None


@dataclass(frozen=True)
class Annex:
    """A sheet: its name, title and note, columns, and the annex that it is made from."""

    source: str
    sheet: str
    title: str
    note: str
    fields: tuple[Field, ...]
    rows: Sequence[Row]


def annexes(report: Report, say: Phrases) -> Iterable[Annex]:
    """The sheets of an edition's annexes, in the order of its report."""
    for sheet in SHEETS:
        if report.header.kind not in sheet.kinds:
            continue
        rows = sheet.rows(report)
        fields = (_unit(say), *sheet.fields) if sheet.by_unit else sheet.fields
        note = f"{sheet.note} {say.recomputed()}" if sheet.is_recomputed else sheet.note
        yield Annex(sheet.source, sheet.name, sheet.title, note, fields, say.in_order(rows))


@dataclass(frozen=True)
class Sheet:
    """How an annex becomes a sheet: for which kinds of period, by unit or not, and how its rows are summed first."""

    source: str
    name: str
    title: str
    note: str
    fields: tuple[Field, ...]
    kinds: tuple[Kind, ...] = ("month", "quarter", "year")
    by_unit: bool = True
    is_recomputed: bool = False  # an earlier period stands beside this one, not as its edition told it
    prepare: Callable[[Report, Sequence[Row]], Iterable[Row]] | None = None

    def rows(self, report: Report) -> list[Row]:
        rows = report.annex(self.source)
        return list(rows if self.prepare is None else self.prepare(report, rows))


def _unit(say: Phrases) -> Field:
    return Field("Cơ quan", 32, lambda row: (say.name(row.get("unit_code")), "text"))


# -- kinds of columns --------------------------------------------------------------------------------------------------


def _text(title: str, name: str, width: float = 16) -> Field:
    return Field(title, width, lambda row: (_or_none(row.get(name)), "text"))


def _code(title: str, name: str, names: Mapping[str, str], width: float = 24, colours: Colours | None = None) -> Field:
    return Field(
        title,
        width,
        lambda row: (words.named(names, row.get(name)) or None, "text"),
        {names[code]: colour for code, colour in (colours or {}).items()} or None,
    )


def _whole(title: str, name: str, width: float = 11) -> Field:
    return Field(title, width, lambda row: (row.get(name), "integer"))


def _figure(title: str, name: str, style: str = "index", width: float = 11) -> Field:
    return Field(title, width, lambda row: (row.get(name), style))


def _date(title: str, name: str, width: float = 12) -> Field:
    return Field(title, width, lambda row: (_day(row.get(name)), "centre"))


def _flag(title: str, name: str, width: float = 11) -> Field:
    return Field(title, width, lambda row: (YES_NO.get(row.get(name)), "centre"))  # type: ignore[arg-type]


def _lacking(title: str, side: str, width: float = 34) -> Field:
    """Why there is no K on a side; nothing where there is one, or no row."""
    return Field(
        title,
        width,
        lambda row: (words.lacking(row.get(f"reason_{side}")) or None, "text"),
    )


def _or_none(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _day(value: str | None) -> str | None:
    """A local day; a moment is told by its local day."""
    if value is None:
        return None
    if "T" in value:
        moment = datetime.fromisoformat(value)
        return words.day((moment.astimezone(ZONE) if moment.tzinfo else moment).date())
    return words.day(date.fromisoformat(value))


def _sums(rows: Iterable[Row], keys: tuple[str, ...], sums: tuple[str, ...], most: tuple[str, ...] = ()) -> list[Row]:
    """One row for each value of the keys: sums and largest values, unknown where a part is."""
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        key = tuple(row[name] for name in keys)
        found[key].append(row)
    return [
        dict(zip(keys, key, strict=True))
        | {name: total(of, name) for name in sums}
        | {name: largest(of, name) for name in most}
        for key, of in found.items()
    ]


def _by_reason(report: Report, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["reason"] != "same"]


def _by_measure(report: Report, rows: Sequence[Row]) -> list[Row]:
    split = (row | {"later": _later(row)} for row in rows)
    return _sums(split, ("unit_code", "measure"), ("record_count", "later"), ("days_late",))


def _later(row: Row) -> int | None:
    """Records of a row that came after their day; None where the day is not known."""
    if row["days_late"] is None:
        return None
    return row["record_count"] if row["days_late"] > 0 else 0


def _for_another_department(report: Report, rows: Sequence[Row]) -> Iterable[Row]:
    """Article 3.4: what few ratings or few sheets were given is the City Office's alone, and all that would reveal it."""
    say = Phrases(report)
    for row in rows:
        kept = dict(row)
        if row.get("has_few_ratings") is not False:  # an unknown is not shown either
            kept |= dict.fromkeys(("c", "k", "rank_in_group", "c_ratings"))
            kept["verdict"] = say.verdict_whatever_c(row)
        if row.get("organisation_is_small") is not False:
            kept["organisation_share"] = None
        yield kept


def _for_the_head(report: Report, rows: Sequence[Row]) -> Iterable[Row]:
    """Of a sub-unit its head sees no C of few ratings, nor what tells it."""
    say = Phrases(report)
    for row in sorted(rows, key=lambda row: row["sub_unit_code"]):
        few = say.is_few(row["c_ratings"])
        told = row | {"has_few_ratings": few, "clipped": words.listed(words.clipped(row["window_clipped"]))}
        yield told | dict.fromkeys(("c", "c_ratings", "k")) if few else told


def _of_its_kind(report: Report, rows: Sequence[Row]) -> Iterable[Row]:
    """The portal's windows as long as the period: a year's report does not list its months."""
    return (row for row in rows if row["window_kind"] == report.header.kind)


def _with_scope(report: Report, rows: Sequence[Row]) -> Iterable[Row]:
    names = {
        "city": words.SCOPES["city"],
        **words.VOLUMES,
        **{group.code: group.name for group in report.groups},
        **{unit.unit_code: unit.unit_name for unit in report.units},
    }
    return (row | {"scope_name": names.get(row["scope_code"] or "", row["scope_code"])} for row in rows)


def _with_extents(report: Report, rows: Sequence[Row]) -> Iterable[Row]:
    """`X full, Y partial`: the extents in words."""
    for row in rows:
        told = {name: row[name] for name in ("predecessors", "successors")}
        for code, name in words.EXTENTS.items():
            told = {side: text and text.replace(f" {code}", f" ({name})") for side, text in told.items()}
        yield row | told


def changes(report: Report, say: Phrases) -> Annex:
    """Why a restated edition says something else, as a sheet."""
    return Annex(
        "edition_diff",
        "Nguyên nhân",
        f"Nguyên nhân thay đổi so với ấn bản {report.header.supersedes}",
        "Các phần thay đổi của một cơ quan, một chỉ số cộng lại đúng bằng giá trị mới trừ giá trị cũ. “—”: không có giá trị.",
        (
            Field("Cơ quan", 32, lambda row: (say.name(row["unit_code"]), "text")),
            Field("Chỉ số", 8, lambda row: (row["index_code"], "centre")),
            _code("Nguyên nhân", "cause", words.CAUSES, 28),
            _figure("Trước", "was", "count", 14),
            _figure("Nay", "now", "count", 14),
            _figure("Phần thay đổi", "contribution", "count", 14),
            Field("Trạng thái trước", 22, lambda row: (say.state(row["status_before"]), "text")),
            Field("Trạng thái sau", 22, lambda row: (say.state(row["status_after"]), "text")),
        ),
        [vars(change) for change in report.changes],
    )


EXPLAINED = {"overdue": "red", "rejected": "red", "open": "amber", "accepted": "green"}
VERDICT_COLOURS = {"satisfied": "green", "not_satisfied": "red", "undetermined": "amber"}
YES_NO = {True: "Có", False: "Không"}
FLOW = (
    ("Tồn đầu kỳ", "open_at_start"), ("Tiếp nhận", "received"), ("Giải quyết", "resolved"), ("Dừng xử lý", "stopped"),
    ("Rút", "withdrawn"), ("Không tiếp nhận", "not_accepted"), ("Không rõ thời điểm", "without_moment"),
    ("Tồn cuối kỳ", "open_at_end"), ("Quá hạn", "open_overdue"), ("Quá hạn khi tiếp quản", "inherited_overdue"),
)  # fmt: skip
LONG: tuple[Kind, ...] = ("quarter", "year")
SHEETS = (
    Sheet(
        "dossier_flow", "Hồ sơ", "Khối lượng hồ sơ",
        "Tồn đầu kỳ + tiếp nhận = giải quyết + dừng xử lý + rút + không tiếp nhận + không rõ thời điểm + tồn cuối kỳ.",
        (
            *(_whole(title, name) for title, name in FLOW),
            _figure("A kể cả hồ sơ tồn quá hạn", "a_with_open", "index", 13),
            _figure("Rút trên 1.000 hồ sơ", "withdrawn_per_1000", "d", 12),
        ),
    ),
    Sheet(
        "received_by_channel", "Kênh nộp", "Hồ sơ tiếp nhận theo kênh nộp",
        "Cộng các kênh của một cơ quan bằng số tiếp nhận ở trang “Hồ sơ”.",
        (_code("Kênh", "channel_code", words.CHANNELS, 16), _whole("Tiếp nhận", "received")),
    ),
    Sheet(
        "unit_note", "Quy mô, kế thừa", "Quy mô và việc kế thừa của từng cơ quan",
        "Quy mô theo số hồ sơ tính vào A. Hồ sơ tiếp quản: đang dở ở ngày đầu hoạt động của cơ quan.",
        (
            _whole("Hồ sơ tính vào A", "dossiers"), _code("Quy mô", "volume_class", words.VOLUMES, 20),
            _text("Kế thừa từ", "predecessors", 34), _flag("Nguyên vẹn", "is_unbroken"),
            _text("Chuyển cho", "successors", 24),
            _whole("Hồ sơ tiếp quản", "taken_over"), _whole("Trong đó quá hạn", "taken_over_overdue"),
        ),
        prepare=_with_extents,
    ),
    Sheet(
        "petition_count", "Phản ánh, kiến nghị", "Phản ánh, kiến nghị và chỉ số D",
        "“Đã tính”: đã trả lời hoặc đã quá hạn. Số của Cổng đặt cạnh số đã đọc để đối chiếu; D lấy theo Cổng.",
        (
            _flag("Đã đọc đủ", "is_read"), _whole("Tiếp nhận", "received"), _whole("Từ chối", "refused"),
            _whole("Chưa đến hạn", "not_yet_due"), _whole("Đã tính", "counted"), _whole("Đúng hạn", "in_time"),
            _whole("Được hài lòng", "satisfied"), _whole("Quá hạn chưa trả lời", "unanswered"),
            _whole("Lượt gửi lại", "resent"),
            _whole("Cổng: phản ánh", "portal_petitions"), _figure("Cổng: điểm đúng hạn", "portal_on_time_score", "d"),
            _figure("Cổng: điểm hài lòng", "portal_handling_score", "d"),
            _figure("Cổng: điểm hồ sơ", "portal_dossier_score", "d"),
            _figure("D", "d", "d", 8), _figure("D tính lại", "d_recomputed_104", "d", 9),
        ),
    ),
    Sheet(
        "petition_term", "Thời hạn phản ánh", "Thời hạn xử lý phản ánh, kiến nghị (Quyết định số 766/QĐ-TTg)",
        "Chỉ gồm cơ quan đã đọc đủ phản ánh, kiến nghị của kỳ.",
        (
            _code("Bước", "term_code", words.TERMS, 26), _whole("Phải thực hiện", "ran"), _whole("Đúng hạn", "kept"),
            _whole("Quá hạn", "broken"), _whole("Còn trong hạn", "running"), _date("Xét đến ngày", "judged_at"),
        ),
    ),
    Sheet(
        "explanation_owed", "Giải trình", "Nội dung thủ trưởng cơ quan phải giải trình (Điều 3 khoản 8)",
        "Nội dung giảm nhưng không so sánh được thì không phải giải trình, vẫn nêu để biết.",
        (
            _code("Lý do", "reason", words.EXPLANATION_REASONS, 40), _figure("Kỳ này", "measured", "count"),
            _figure("So với", "compared_with", "count"), _figure("Ngưỡng", "threshold", "count"),
            _code("Không so sánh vì", "not_compared_because", words.NOT_COMPARED, 20), _date("Hạn", "due_on"),
            _code("Tình trạng", "state", words.EXPLANATION_STATES, 28, EXPLAINED),
            _text("Văn bản", "document_no", 18),
            _code("Nguyên nhân", "cause_code", words.TOLD_CAUSES, 20), _date("Ngày gửi", "submitted_at"),
            _flag("Gửi muộn", "is_late"),
        ),
        is_recomputed=True,
    ),
    Sheet(
        "follow_up", "Theo dõi", "Giải trình, khắc phục, khiếu nại số liệu của từng cơ quan",
        "Số đếm trong kỳ.",
        (
            _whole("Phải giải trình", "explanations_owed"), _whole("Quá hạn", "explanations_overdue"),
            _whole("Đã giải trình, chờ", "explanations_given"), _whole("Chấp nhận", "explanations_accepted"),
            _whole("Không chấp nhận", "explanations_rejected"), _whole("Khắc phục đến hạn", "actions_due"),
            _whole("Trong đó đã xong", "actions_due_done"), _whole("Trong đó quá hạn", "actions_due_overdue"),
            _whole("Bản ghi bị khiếu nại", "disputes_raised"), _whole("Chưa quyết định", "disputes_open"),
            _whole("Được chấp nhận", "disputes_accepted"),
        ),
    ),
    Sheet(
        "k_sensitivity", "Phụ thuộc cách hiểu", "K và xếp loại khi những chỗ chưa quy định rõ được hiểu cách khác",
        "K, hạng thấp nhất và cao nhất: trên mọi tổ hợp cách hiểu quy định. Lựa chọn về phương pháp không bỏ "
        "phiếu, xem hai cột cuối.",
        (
            _figure("K", "k", "k", 9), _code("Xếp loại", "verdict", words.VERDICTS, 16),
            _code("Kết luận", "verdict_stability", words.STABILITIES, 20, {"depends": "amber"}),
            _figure("K thấp nhất", "k_min", "k", 9), _figure("K cao nhất", "k_max", "k", 9),
            _whole("Hạng tốt nhất", "rank_min", 9), _whole("Hạng kém nhất", "rank_max", 9),
            Field("Cách hiểu làm đổi xếp loại", 44, lambda row: (words.readings(row.get("flipping_readings")) or None, "text")),
            _code("Xếp loại khi đó", "flipped_verdict", words.VERDICTS | {"none": "Không có K"}, 16),
            _figure("K thấp nhất (phương pháp)", "method_k_min", "k", 12),
            _figure("K cao nhất (phương pháp)", "method_k_max", "k", 12),
        ),
    ),
    Sheet(
        "trend", "Biến động", "Thay đổi của từng chỉ số so với kỳ trước và cùng kỳ năm trước",
        "“Một trường hợp”: một hồ sơ, lượt đánh giá hoặc phản ánh, kiến nghị đủ giải thích thay đổi. Khoảng "
        "tin cậy Wilson chỉ để tham khảo.",
        (
            Field("Chỉ số", 8, lambda row: (row["index_code"], "centre")), _figure("Kỳ này", "value", "count"),
            _text("Kỳ trước là", "previous_period_code", 11), _figure("Kỳ trước", "previous_value", "count"),
            _figure("Thay đổi", "previous_change", "change"), _flag("Một trường hợp", "previous_within_one_case"),
            _code("Không so sánh vì", "previous_stopped_by", words.NO_TREND, 26),
            _figure("Cùng kỳ năm trước", "year_before_value", "count"),
            _figure("Thay đổi so cùng kỳ", "year_before_change", "change"),
            _code("Không so sánh vì ", "year_before_stopped_by", words.NO_TREND, 26),
            _figure("Cận dưới", "interval_low"), _figure("Cận trên", "interval_high"),
        ),
        is_recomputed=True,
    ),
    Sheet(
        "late_data", "Số liệu về muộn", "Bản ghi của kỳ và ngày nạp",
        "Bản ghi nạp sau ngày phát sinh; sau thời điểm chốt thì không có trong ấn bản.",
        (
            _code("Loại bản ghi", "measure", words.MEASURES, 24), _whole("Bản ghi của kỳ", "record_count", 14),
            _whole("Nạp sau ngày phát sinh", "later", 16), _whole("Muộn nhất (ngày)", "days_late", 12),
        ),
        prepare=_by_measure,
    ),
    Sheet(
        "later_period", "Tác động về muộn", "Kỳ này và các kỳ đã công bố so với số liệu đến lúc lập bản trình",
        "Ấn bản đã công bố không tự thay đổi. “—”: kỳ không còn trong số liệu hiện nay, không so sánh được.",
        (
            _text("Kỳ", "period_code", 11), Field("Ấn bản", 16, lambda row: (row["edition_id"] or "Ấn bản này", "text")),
            _whole("Đợt nạp cuối đã tính", "as_of_batch", 14), _whole("So với đợt nạp", "built_to", 12),
            _flag("Cùng quy tắc tính", "is_by_same_rules"), _whole("Cơ quan đổi chỉ số", "units", 13),
            _whole("Cơ quan đổi K", "units_other_k", 13), _whole("Cơ quan đổi xếp loại", "units_other_verdict", 13),
        ),
        by_unit=False,
    ),
    Sheet(
        "later_effect", "Tác động từng cơ quan", "K và xếp loại đã công bố và theo số liệu đến lúc lập bản trình",
        "Chỉ nêu cơ quan có chỉ số, K hoặc xếp loại khác. “—”: không có giá trị, không phải là 0.",
        (
            _text("Kỳ", "period_code", 11), Field("Ấn bản", 16, lambda row: (row["edition_id"] or "Ấn bản này", "text")),
            _text("Chỉ số khác", "indices", 12), _figure("K đã công bố", "k_was", "k", 11),
            _figure("K hiện nay", "k_now", "k", 11),
            _code("Xếp loại đã công bố", "verdict_was", words.VERDICTS, 18, VERDICT_COLOURS),
            _code("Xếp loại hiện nay", "verdict_now", words.VERDICTS, 18, VERDICT_COLOURS),
            _lacking("Vì sao không có K đã công bố", "was"), _lacking("Vì sao nay không có K", "now"),
        ),
    ),
    Sheet(
        "later_record", "Bản ghi về muộn", "Bản ghi về hoặc đổi sau số liệu đã tính của từng ấn bản",
        "Theo ngày phát sinh, trong khoảng thời gian của cơ quan. Hồ sơ có thể đếm cả lúc tiếp nhận và lúc có kết quả.",
        (
            _text("Kỳ", "period_code", 11), Field("Ấn bản", 16, lambda row: (row["edition_id"] or "Ấn bản này", "text")),
            _code("Loại bản ghi", "measure", words.MEASURES, 24), _whole("Về sau", "late"), _whole("Đổi sau", "changed"),
        ),
    ),
    Sheet(
        "reconciliation", "Đối chiếu với Cổng", "Hồ sơ khác nhau giữa hệ thống của Thành phố và Cổng Dịch vụ công quốc gia",
        "Mỗi dòng là một cơ quan và một lý do khác nhau; hồ sơ khớp không liệt kê.",
        (
            _code("Lý do khác", "reason", words.RECONCILIATION, 44), _whole("Thành phố", "city_count", 12),
            _whole("Cổng", "portal_count", 12), _figure("Chênh lệch", "difference", "step", 12),
        ),
        prepare=_by_reason,
    ),
    Sheet(
        "dispute", "Khiếu nại số liệu", "Bản ghi mà cơ quan không đồng ý",
        "Khiếu nại không tự làm đổi số liệu: nguồn sửa bản ghi thì số liệu mới đổi.",
        (
            _text("Mã", "dispute_id", 18), _code("Nguồn", "disputed_feed", words.FEEDS, 20),
            _text("Bản ghi", "disputed_key", 34),
            _code("Lý do", "reason_code", words.DISPUTE_REASONS, 20), _date("Ngày nêu", "raised_at"),
            _flag("Trước khi chốt", "is_before_cutoff"),
            _code("Bản ghi", "record_status", words.RECORD_STATUSES, 18), _date("Ngày quyết định", "decided_at"),
            _code("Kết quả", "state", words.DISPUTE_STATES, 18, {"open": "amber", "accepted": "green"}),
        ),
    ),
    Sheet(
        "sub_unit", "Đơn vị trực thuộc", "Kết quả của đơn vị trực thuộc, theo cơ quan (Điều 8 khoản 2, Điều 16 khoản 4)",
        "Chỉ chấm A, B, C nên thường không có K. Quá ít lượt đánh giá thì C và số lượt để “—”: thủ trưởng cũng không được xem "
        "(Điều 3 khoản 4).",
        (
            _text("Mã", "sub_unit_code", 14), _text("Đơn vị trực thuộc", "sub_unit_name", 32),
            _whole("Hồ sơ đã giải quyết", "a_dossiers", 12), _figure("A", "a", "index", 9), _figure("B", "b", "index", 9),
            _whole("Lượt đánh giá", "c_ratings", 12), _figure("C", "c", "index", 9), _figure("K", "k", "k", 9),
            _flag("Ít lượt", "has_few_ratings"), _text("Không trọn kỳ", "clipped", 26),
        ),
        kinds=LONG,
        prepare=_for_the_head,
    ),
    Sheet(
        "watch_list", "Danh sách theo dõi", "Việc đang dở mà thủ trưởng cơ quan cần xem (Điều 11 khoản 2)",
        "Tính đến ngày đọc số liệu cuối cùng.",
        (
            _code("Lý do", "reason", words.WATCHED, 38), _text("Mã hồ sơ, phản ánh", "record_key", 36),
            _date("Từ ngày", "since_on"),
            _whole("Ngày làm việc hoặc số lần", "how_many", 14), _date("Tính đến", "as_of_on"),
        ),
        kinds=LONG,
    ),
    Sheet(
        "action", "Khắc phục", "Biện pháp khắc phục mà cơ quan đã cam kết (Điều 12 khoản 2)",
        "Tính đến ngày đọc số liệu cuối cùng.",
        (
            _text("Mã", "action_id", 16), _code("Biện pháp", "remedy_code", words.REMEDIES, 24), _text("Kỳ", "period_code", 10),
            _text("Chỉ số", "index_code", 14), _date("Hạn", "due_on"), _date("Ngày xong", "done_on"),
            _code("Tình trạng", "state", words.ACTION_STATES, 22, {"overdue": "red", "open": "amber", "done": "green"}),
            _flag("Xong muộn", "is_late"), _text("Minh chứng", "evidence_no", 18),
            _flag("Thiếu minh chứng", "is_without_evidence"),
        ),
        kinds=LONG,
    ),
    Sheet(
        "evaluation", "Đánh giá khác", "Đánh giá nội bộ, tự đánh giá, của cơ quan có thẩm quyền và của các tổ chức",
        "Chưa có kết quả thì để trống, không phải là 0. “Ít phiếu”: có cuộc điều tra quá ít phiếu, không "
        "công khai (Điều 3 khoản 4).",
        (
            _code("Loại đánh giá", "evaluator_kind", words.EVALUATORS, 34), _flag("Đến hạn", "is_due"),
            _code("Trạng thái", "status", words.EVALUATION_STATUSES, 24, {"scored": "green", "awaiting_input": "amber"}),
            _code("Lý do", "status_reason", words.REASONS | words.EVALUATION_REASONS, 34), _whole("Số phiếu", "line_count"),
            _figure("Điểm", "score", "count"), _figure("Điểm tối đa", "max_score", "count"),
            _figure("Tỷ lệ", "share", "share"),
            _whole("Thứ hạng", "rank"), _flag("Ít phiếu", "is_small"), _date("Ngày đánh giá", "last_on"),
        ),
        kinds=LONG,
    ),
    Sheet(
        "evaluation_criterion", "Tiêu chí đánh giá", "Điểm theo từng tiêu chí, câu hỏi",
        "“Ít phiếu”: có cuộc điều tra quá ít phiếu, không công khai (Điều 3 khoản 4).",
        (
            _code("Loại đánh giá", "evaluator_kind", words.EVALUATORS, 34), _text("Bên đánh giá", "evaluator_code", 18),
            _text("Tiêu chí", "criterion_code", 24), _whole("Số dòng", "line_count"), _figure("Điểm", "score", "count"),
            _figure("Điểm tối đa", "max_score", "count"), _figure("Tỷ lệ", "share", "share"), _flag("Ít phiếu", "is_small"),
        ),
        kinds=LONG,
    ),
    Sheet(
        "portal_group", "Nhóm chỉ số 766", "Sáu nhóm chỉ số của Cổng Dịch vụ công quốc gia (Quyết định số 766/QĐ-TTg)",
        "Để tham khảo bên cạnh K, không tính vào K. Mỗi dòng theo khoảng thời gian của chính Cổng.",
        (
            _code("Nhóm", "index_code", words.PORTAL_GROUPS, 28), _date("Từ ngày", "window_from"),
            _date("Đến ngày", "window_to"),
            _text("Cách tính", "metric_version", 10), _figure("Điểm", "score", "d"), _figure("Tối đa", "max_score", "d"),
            _figure("Tỷ lệ", "share", "share"), _flag("Cổng đổi tên nhóm", "is_swapped"), _date("Đọc ngày", "retrieved_at"),
        ),
        kinds=LONG,
        prepare=_of_its_kind,
    ),
    Sheet(
        "rollup", "Tổng hợp", "Tổng hợp toàn Thành phố, theo nhóm, theo quy mô",
        "A, B, C gộp là tổng chia tổng. Nhóm và Thành phố không có K; tứ phân vị là K của một cơ quan.",
        (
            _code("Phạm vi", "scope_kind", words.SCOPES, 26), _text("Tên", "scope_name", 28),
            _code("Phần", "part", words.PARTS, 16),
            _code("Số liệu", "measure", words.ROLLUPS, 38), _figure("Tử số", "numerator", "count"),
            _figure("Mẫu số", "denominator", "count"),
            _figure("Giá trị", "value", "count"), _whole("Số cơ quan", "units"),
        ),
        by_unit=False,
        prepare=_with_scope,
    ),
    Sheet(
        "reform_index_handover", "Bàn giao CCHC", "Kết quả năm phục vụ Chỉ số cải cách hành chính (Điều 13)",
        "K của chính khoảng thời gian năm, không phải trung bình các quý. “Ít lượt”, “Ít phiếu”: số liệu liên quan để “—”, "
        "chỉ Văn phòng Ủy ban nhân dân Thành phố được xem (Điều 3 khoản 4).",
        (
            _figure("K", "k", "k", 9), _code("Xếp loại", "verdict", words.VERDICTS, 16), _whole("Hạng", "rank_in_group", 7),
            *(_figure(index.upper(), index, "index" if index in "abc" else "d", 9) for index in "abcde"),
            _whole("Số ngày", "window_days"), _whole("Số ngày của năm", "year_days"), _whole("Số quý", "quarters"),
            _whole("Quý có K", "quarters_scored"), _whole("Hồ sơ A", "a_dossiers"), _whole("Lượt đánh giá", "c_ratings"),
            _flag("Ít lượt", "has_few_ratings"), _flag("Ít phiếu", "organisation_is_small"),
            *(_figure(words.EVALUATORS[kind], f"{kind}_share", "share", 16) for kind in words.EVALUATORS),
            _whole("Phải giải trình", "explanations_owed"), _whole("Giải trình quá hạn", "explanations_overdue"),
        ),
        kinds=("year",),
        prepare=_for_another_department,
    ),
)  # fmt: skip
