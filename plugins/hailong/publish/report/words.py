"""The Vietnamese of the report: statuses, reasons, verdicts, flags, and how numbers and periods are written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal

NONE = "—"  # what is missing is never a zero
INDEX_NAMES = {
    "A": "Thời gian giải quyết hồ sơ",
    "B": "Hướng dẫn hoàn thiện hồ sơ",
    "C": "Thái độ phục vụ",
    "D": "Phản hồi phản ánh, kiến nghị",
    "E": "Niêm yết công khai",
}
NUMERATORS = {
    "A": "điểm hồ sơ đúng hạn",
    "B": "điểm hồ sơ trả không quá 1 lần",
    "C": "lượt đánh giá tốt",
    "D": "điểm của Cổng",
    "E": "nơi niêm yết đạt",
}
DENOMINATORS = {
    "A": "hồ sơ đã giải quyết",
    "B": "hồ sơ đã giải quyết",
    "C": "lượt đánh giá",
    "D": "điểm tối đa",
    "E": "nơi phải niêm yết",
}
VERDICTS = {"satisfied": "Hài lòng", "not_satisfied": "Không hài lòng", "undetermined": "Chưa xác định"}
BOUNDS = {
    "satisfied_whatever": "Chắc chắn hài lòng",
    "not_satisfied_whatever": "Chắc chắn không hài lòng",
    "open": "Chưa kết luận được",
}
STATUSES = {
    "before_rule": "Trước khi quy định có hiệu lực",
    "not_applicable": "Không áp dụng",
    "blocked_by_quality": "Bị chặn do lỗi dữ liệu",
    "awaiting_input": "Chờ kết quả kiểm tra",
    "no_data": "Không có số liệu",
    "incomplete": "Chưa đủ chỉ số",
    "scored": "Đã chấm",
}
STATUS_NOTES = {
    "scored": "Có đủ số liệu và đã tính.",
    "no_data": "Trong kỳ không có hồ sơ, lượt đánh giá hoặc số liệu của Cổng để tính.",
    "awaiting_input": "Còn chờ kết quả kiểm tra niêm yết của người có trách nhiệm.",
    "blocked_by_quality": "Số liệu nguồn có lỗi nghiêm trọng, chưa được dùng để tính.",
    "not_applicable": "Cơ quan không có nhiệm vụ này, hoặc hoạt động quá ít ngày trong kỳ.",
    "before_rule": "Kỳ đánh giá nằm trước ngày Quyết định có hiệu lực.",
    "incomplete": "Thiếu ít nhất một trong năm chỉ số nên chưa có K.",
}
REASONS = {
    "before_policy": "Kỳ đánh giá trước ngày quy định có hiệu lực",
    "sub_unit": "Đơn vị trực thuộc: chỉ chấm A, B, C",
    "receiving_only": "Chỉ tiếp nhận, không giải quyết hồ sơ: chỉ chấm C, E",
    "window_too_short": "Hoạt động quá ít ngày trong kỳ",
    "portal_score_missing": "Cổng có phản ánh nhưng không có điểm",
    "no_posting_place": "Danh mục không nêu nơi niêm yết",
    "no_resolved_dossier": "Không có hồ sơ nào có kết quả trong kỳ",
    "no_rating": "Không có lượt đánh giá nào trong kỳ",
    "no_portal_row": "Cổng không có số liệu của cơ quan trong kỳ",
    "no_dossier_rated": "Cổng không có hồ sơ nào được đánh giá trong kỳ",
    "petitions_not_read": "Chưa đọc đủ phản ánh, kiến nghị của kỳ",
    "posting_unchecked": "Chưa có kết quả kiểm tra niêm yết còn giá trị",
}
OWED_BY = {
    "before_policy": "Không ai",
    "sub_unit": "Không ai",
    "receiving_only": "Không ai",
    "window_too_short": "Không ai",
    "portal_score_missing": "Văn phòng UBND Thành phố: đề nghị Cổng bổ sung điểm",
    "no_posting_place": "Sở Nội vụ bổ sung nơi niêm yết vào danh mục cơ quan",
    "no_resolved_dossier": "Cơ quan: xác nhận không có hồ sơ, hoặc kiểm tra đồng bộ",
    "no_rating": "Cơ quan: mời người dân đánh giá, kiểm tra kết nối thiết bị",
    "no_portal_row": "Văn phòng UBND Thành phố: đề nghị Cổng bổ sung cơ quan",
    "no_dossier_rated": "Không ai",
    "petitions_not_read": "Bộ phận kỹ thuật: đọc lại phản ánh, kiến nghị của kỳ",
    "posting_unchecked": "Văn phòng UBND Thành phố kiểm tra, hoặc cơ quan tự kiểm tra",
}
PLACES = {"desk": "Bộ phận Một cửa", "website": "Trang thông tin điện tử"}
CLIPPED = {
    "unit_started": "Bắt đầu hoạt động trong kỳ",
    "unit_ended": "Kết thúc hoạt động trong kỳ",
    "policy_started": "Quy định có hiệu lực trong kỳ",
    "policy_ended": "Quy định hết hiệu lực trong kỳ",
}
PARAMETER_GROUPS = (
    ("A", ("a_", "result_statuses", "due_", "midnight_is_date", "at_once_cutoff", "inherited_overdue")),
    ("B", ("b_",)),
    ("C", ("c_",)),
    ("D", ("d_",)),
    ("E", ("e_",)),
    ("K", ("k_", "missing_index", "near_threshold_distance", "rank_scale")),
)
KINDS = ("Tháng", "Quý", "Năm")
ROMAN = ("I", "II", "III", "IV")


def reason(code: str | None) -> str:
    """Why an index has no value; `posting_unchecked:desk,website` names the places."""
    if code is None:
        return ""
    head, _, places = code.partition(":")
    if head == "posting_unchecked":
        named = ", ".join(PLACES.get(place, place) for place in places.split(","))
        return f"Chưa có kết quả kiểm tra còn giá trị: {named}"
    return REASONS.get(head, code)


def owed_by(code: str | None) -> str:
    """Who has to do something about it, and what."""
    return OWED_BY.get((code or "").partition(":")[0], "")


def clipped(code: str | None) -> list[str]:
    return [CLIPPED.get(part, part) for part in (code or "").split(";") if part]


def period_name(code: str) -> str:
    """`2026-10` → Tháng 10 năm 2026; `2026-Q4` → Quý IV năm 2026; `2026` → Năm 2026."""
    year, _, part = code.partition("-")
    if not part:
        return f"Năm {year}"
    if part.startswith("Q"):
        return f"Quý {ROMAN[int(part[1]) - 1]} năm {year}"
    return f"Tháng {int(part)} năm {year}"


def day(value: date) -> str:
    """As in official papers: a zero before days under 10 and the months 1 and 2."""
    month = f"{value.month:02d}" if value.month < 3 else str(value.month)
    return f"{value.day:02d}/{month}/{value.year}"


def moment(value: datetime) -> str:
    """A local time; midnight is the end of the day before."""
    if value.time() == time():
        return f"hết ngày {day(value.date() - timedelta(days=1))}"
    return f"{value:%H} giờ {value:%M}, ngày {day(value)}"


def number(value: Decimal, places: int = 2) -> str:
    """With a decimal comma, and a point between thousands."""
    return f"{value:,.{places}f}".translate(str.maketrans(",.", ".,"))


def short(value: Decimal) -> str:
    """With as few decimals as it has."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace(".", ",")


def k_places(k: Decimal, threshold: Decimal) -> int:
    """Decimals that K is shown with: two, and as many as needed where two would show the threshold itself."""
    places = 2
    while k != threshold and round(k, places) == threshold and places < 6:
        places += 1
    return places


def listed(parts: Iterable[str]) -> str:
    return "; ".join(part for part in parts if part)


def parameter_group(name: str) -> str:
    """Which index a parameter decides; '' for those that concern the whole."""
    return next((group for group, starts in PARAMETER_GROUPS if name.startswith(starts)), "")
