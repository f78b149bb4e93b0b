"""The Vietnamese of the report: statuses, reasons, verdicts, flags, and how numbers and periods are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal

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
CHANNELS = {"desk": "Trực tiếp", "online": "Trực tuyến", "post": "Bưu chính"}
CLIPPED = {
    "unit_started": "Bắt đầu hoạt động trong kỳ",
    "unit_ended": "Kết thúc hoạt động trong kỳ",
    "policy_started": "Quy định có hiệu lực trong kỳ",
    "policy_ended": "Quy định hết hiệu lực trong kỳ",
}
EXPLANATION_REASONS = {
    "not_satisfied": "Kết quả không hài lòng",
    "k_fell": "Tổng điểm K giảm so với kỳ trước",
    "a_fell": "Chỉ số 1 (thời gian giải quyết) giảm so với kỳ trước",
    "overdue_long": "Còn hồ sơ quá hạn kéo dài",
    "e_zero": "Niêm yết chưa đầy đủ, chưa đúng quy định",
    "reconciliation": "Số liệu khác với Cổng Dịch vụ công quốc gia quá mức cho phép",
}
EXPLANATION_STATES = {
    "not_compared": "Không so sánh được, không phải giải trình",
    "accepted": "Đã được chấp nhận",
    "rejected": "Không được chấp nhận",
    "given": "Đã giải trình, chờ xem xét",
    "running": "Kỳ chưa kết thúc trong số liệu",
    "not_read": "Chưa nhận được số liệu giải trình",
    "overdue": "Quá hạn, chưa giải trình",
    "open": "Còn hạn, chưa giải trình",
}
NOT_COMPARED = {
    "policy": "quy định khác kỳ trước",
    "metric_version": "Cổng tính theo cách khác kỳ trước",
    "window_clipped": "kỳ không trọn",
}
NO_TREND = {
    "not_scored": "kỳ này chưa có K",
    "clipped": "kỳ này không trọn",
    "no_earlier_period": "không có kỳ trước trong số liệu",
    "calendar_changed": "cách chia kỳ đã đổi",
    "succession_broken": "đã sắp xếp lại địa giới, tổ chức",
    "no_earlier_row": "kỳ trước chưa có cơ quan này",
    "policy_changed": "quy định đã đổi",
    "earlier_not_scored": "kỳ trước chưa có K",
    "earlier_clipped": "kỳ trước không trọn",
    "metric_version_changed": "Cổng đã đổi cách tính",
    "indices_differ": "hai kỳ không cùng các chỉ số",
}
NOT_BETWEEN_EDITIONS = {"not_in_earlier_edition": "ấn bản kỳ trước không có K"}
CAUSES = {
    "late": "Dữ liệu về muộn",
    "deleted": "Bản ghi bị xóa ở nguồn",
    "corrected": "Bản ghi được sửa ở nguồn",
    "rule": "Quy tắc tính thay đổi",
    "code": "Chương trình thay đổi",
}
MEASURES = {
    "dossier_received": "Hồ sơ tiếp nhận",
    "dossier_resolved": "Hồ sơ có kết quả",
    "rating": "Lượt đánh giá",
    "petition": "Phản ánh, kiến nghị",
}
TERMS = {
    "refuse": "Từ chối tiếp nhận",
    "ask_supplement": "Yêu cầu bổ sung thông tin",
    "answer": "Trả lời",
    "publish": "Công khai kết quả trả lời",
}
RECONCILIATION = {
    "same": "Khớp",
    "code_replaced": "Mã hồ sơ bị thay khi đồng bộ lỗi",
    "other_unit": "Khác đơn vị giải quyết",
    "other_receipt_day": "Khác ngày tiếp nhận",
    "status_lag": "Khác trạng thái, đang trong thời gian đồng bộ",
    "done_inserted": "Hồ sơ chờ hoặc dừng xử lý, Cổng ghi đã xong",
    "other_status": "Khác trạng thái",
    "not_yet_at_portal": "Chưa có trên Cổng, đang trong thời gian đồng bộ",
    "before_portal_read": "Trước khoảng thời gian đã đọc từ Cổng",
    "quarantined_at_portal": "Bản ghi của Cổng không đọc được, đang cách ly",
    "deleted_at_portal": "Đã bị xoá trên Cổng",
    "missing_at_portal": "Không có trên Cổng",
    "not_yet_at_city": "Chưa có ở hệ thống Thành phố, đang trong thời gian đồng bộ",
    "before_city_read": "Trước khoảng thời gian đã đọc từ hệ thống Thành phố",
    "quarantined_at_city": "Bản ghi của Thành phố không đọc được, đang cách ly",
    "deleted_at_city": "Đã bị xoá ở hệ thống Thành phố",
    "missing_at_city": "Không có ở hệ thống Thành phố",
}
WATCHED = {
    "overdue_long": "Hồ sơ quá hạn kéo dài",
    "returned_often": "Hồ sơ chưa xong đã trả nhiều lần",
    "resent_often": "Phản ánh, kiến nghị phải gửi lại nhiều lần",
    "unanswered_long": "Phản ánh, kiến nghị lâu chưa trả lời",
}
ACTION_STATES = {
    "done": "Đã thực hiện",
    "no_due_date": "Không nêu thời hạn",
    "overdue": "Quá hạn, chưa thực hiện",
    "open": "Đang thực hiện",
}
# Codes that the code map gives; one that is not here is shown as it is.
TOLD_CAUSES = {
    "overload": "Quá tải công việc",
    "system_fault": "Lỗi hệ thống",
    "other_unit": "Chờ cơ quan phối hợp",
    "staff": "Nhân sự",
}
REMEDIES = {
    "training": "Tập huấn, bồi dưỡng",
    "staff": "Bổ sung, bố trí nhân sự",
    "process": "Sửa đổi quy trình",
}
DISPUTE_REASONS = {
    "wrong_due_date": "Sai ngày hẹn trả",
    "wrong_unit": "Sai cơ quan",
    "duplicate": "Trùng lặp",
}
EXTENTS = {"full": "toàn bộ", "partial": "một phần"}
DISPUTE_STATES = {
    "accepted": "Chấp nhận",
    "rejected": "Không chấp nhận",
    "decided": "Đã quyết định (mã quyết định lạ)",
    "open": "Chưa quyết định",
}
FEEDS = {
    "dossier": "Hồ sơ",
    "rating": "Lượt đánh giá",
    "petition": "Phản ánh, kiến nghị",
    "posting_check": "Kiểm tra niêm yết",
}
RECORD_STATUSES = {
    "found": "Có bản ghi",
    "not_found": "Không thấy bản ghi",
    "unknown_feed": "Nguồn lạ",
}
EVALUATORS = {
    "internal": "Đánh giá nội bộ",
    "authority": "Đánh giá của cơ quan có thẩm quyền",
    "self": "Tự đánh giá của cơ quan",
    "organisation": "Điều tra xã hội học của các tổ chức",
}
EVALUATION_STATUSES = {
    "before_rule": "Trước khi quy định có hiệu lực",
    "not_applicable": "Không áp dụng",
    "awaiting_input": "Chờ kết quả đánh giá",
    "no_data": "Không có đánh giá nào được tính",
    "scored": "Đã có kết quả",
}
EVALUATION_REASONS = {
    "no_competent_authority": "Không có cơ quan có thẩm quyền đánh giá",
    "all_left_out": "Mọi phiếu đều không được tính",
    "about_officials_only": "Chỉ có phiếu về cán bộ, công chức",
    "not_due": "Kỳ này chưa đến hạn đánh giá",
    "feed_not_read": "Chưa đọc được nguồn đánh giá",
    "period_running": "Kỳ chưa kết thúc trong số liệu",
    "none_came": "Chưa nhận được đánh giá nào",
}
# Why index C of an official is not told.
WITHHELD = {
    "few_ratings": "Quá ít lượt đánh giá",
    "few_of_others": "Phần còn lại của cơ quan quá ít lượt đánh giá",
    "few_in_quarters": "Phần còn lại của năm quá ít lượt đánh giá",
}
PORTAL_GROUPS = {
    "TONG_SCORE": "Tổng điểm",
    "CKMB": "Công khai, minh bạch",
    "TDGQ": "Tiến độ giải quyết",
    "CLGQ": "Cung cấp dịch vụ trực tuyến",
    "TTTT": "Thanh toán trực tuyến",
    "MDSH": "Số hóa hồ sơ",
    "MDHL": "Mức độ hài lòng",
}
VOLUMES = {
    "none": "Không có hồ sơ",
    "small": "Ít hồ sơ",
    "medium": "Trung bình",
    "large": "Nhiều hồ sơ",
    "very_large": "Rất nhiều hồ sơ",
}
SCOPES = {
    "city": "Toàn Thành phố",
    "peer_group": "Nhóm cơ quan",
    "volume_class": "Nhóm theo số hồ sơ",
    "parent": "Cơ quan và đơn vị trực thuộc",
}
PARTS = {"whole": "Trọn kỳ", "clipped": "Không trọn kỳ"}
ROLLUPS = {
    "k_q1": "K, tứ phân vị 1",
    "k_median": "K, trung vị",
    "k_q3": "K, tứ phân vị 3",
    "verdict_satisfied": "Số cơ quan hài lòng",
    "verdict_not_satisfied": "Số cơ quan không hài lòng",
    "verdict_undetermined": "Số cơ quan chưa xác định",
    "status_before_rule": "Số cơ quan trước khi quy định có hiệu lực",
    "status_not_applicable": "Số cơ quan không áp dụng",
    "status_incomplete": "Số cơ quan chưa đủ chỉ số",
    "status_scored": "Số cơ quan đã chấm",
}
READINGS = {
    "attribution=receiving": "tính hồ sơ cho nơi tiếp nhận",
    "interlinked=participants": "hồ sơ liên thông tính cho từng cơ quan tham gia",
    "inherited_overdue=exclude": "không tính hồ sơ đã quá hạn khi bàn giao",
    "result_statuses=9,10": "không coi hồ sơ bị từ chối, dừng xử lý là có kết quả",
    "due_basis=first": "tính theo ngày hẹn đầu tiên",
    "due_basis=source_current": "tính theo ngày hẹn hiện ghi ở nguồn",
    "due_missing=exclude": "không tính hồ sơ thiếu ngày hẹn",
    "midnight_is_date=false": "coi 00:00:00 là đúng nửa đêm",
    "a_point_within_grace=0.5": "quá hạn đến 5 ngày làm việc được 0,5 điểm",
    "a_point_within_grace=1": "quá hạn đến 5 ngày làm việc được 1 điểm",
    "b_population=returned": "B chỉ tính hồ sơ đã bị trả",
    "b_threshold=beyond_permitted": "B đếm số lần trả vượt số lần cho phép",
    "b_source=citizen_answer": "B theo câu trả lời của người dân",
    "b_applicant_fault=exclude": "B không tính lần trả do lỗi của người nộp",
    "c_question=overall": "C theo câu hỏi chung",
    "c_channels=art7": "C chỉ tính đánh giá trên hệ thống của Thành phố (Điều 7)",
    "c_repeat=last_per_dossier_day": "C chỉ tính lượt cuối của mỗi hồ sơ trong ngày",
    "c_middle_level=normal": "mức giữa “hài lòng” là bình thường",
    "d_definition=petition_rescaled": "D theo hai thành phần phản ánh, quy ra 18 điểm",
    "d_definition=recomputed_104": "D tính lại, ý kiến gửi lại là ý kiến mới",
    "d_definition=petition_12": "D chỉ gồm hai thành phần phản ánh (12 điểm)",
    "d_zero_dossier=no_data": "không có hồ sơ được đánh giá thì D không có số liệu",
    "e_basis=any_failure": "có lần kiểm tra không đạt thì E = 0",
    "e_self_check=authority_only": "không nhận kết quả tự kiểm tra niêm yết",
    "missing_index=zero": "chỉ số thiếu tính 0 điểm",
    "missing_index=rescale": "chỉ số thiếu thì quy các chỉ số còn lại ra 22 điểm",
    "k_scale=2": "làm tròn K đến 2 chữ số",
    "k_equal=satisfied": "K đúng bằng ngưỡng là hài lòng",
    "k_equal=not_satisfied": "K đúng bằng ngưỡng là không hài lòng",
}
STABILITIES = {"stable": "Không đổi", "depends": "Phụ thuộc cách hiểu"}
CALENDARS = {
    "mid_month": "tháng tính từ ngày 15 tháng trước đến hết ngày 14",
    "whole_month": "tháng tính từ ngày 01 đến hết ngày cuối tháng",
    "m21": "tháng tính từ ngày 21 tháng trước đến hết ngày 20",
}
NO_ANNEXES = (
    "Ấn bản này không kèm số liệu này (được lập trước khi các phụ lục được lưu cùng ấn bản); "
    "không có số liệu không có nghĩa là bằng không."
)
NO_SUCH_ANNEX = (
    "Ấn bản này không kèm số liệu này (được lập trước khi phụ lục này có trong ấn bản); "
    "không có số liệu không có nghĩa là bằng không."
)
EMPTY_ANNEX = "Ấn bản này không có dòng nào của phần này: nguồn chưa được đọc trong kỳ, hoặc kỳ này không phát sinh."
NOTHING_LATER = "Đến lúc lập bản trình không có gì về sau số liệu đã tính của kỳ này và của các kỳ đã công bố."
PARAMETER_GROUPS = (
    ("A", ("a_", "result_statuses", "due_", "midnight_is_date", "at_once_cutoff", "inherited_overdue")),
    ("B", ("b_",)),
    ("C", ("c_",)),
    ("D", ("d_",)),
    ("E", ("e_",)),
    ("K", ("k_", "missing_index", "near_threshold_distance", "rank_scale")),
)
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


def lacking(code: str | None) -> str:
    """Why there is no K, of `C:no_data,E:awaiting_input`: the indices in the way; or the one reason that holds for all."""
    if code is None or ":" not in code:
        return reason(code)
    pairs = (part.partition(":") for part in code.split(","))
    return listed(f"Thiếu {index}: {lower_first(named(STATUSES, status))}" for index, _, status in pairs)


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


def of_period(code: str) -> str:
    """`2026-Q3` → của quý III năm 2026."""
    return f"của {lower_first(period_name(code))}"


def is_within(code: str | None, whole: str) -> bool:
    """Whether a period is a quarter or year, or one of its parts: months and quarters are numbered within their year."""
    if code is None or code[:4] != whole[:4]:
        return False
    part = code[5:]
    if len(whole) == 4 or code == whole:
        return True
    return part.isdigit() and f"Q{(int(part) + 2) // 3}" == whole[5:]


def month(value: date) -> str:
    """As in official papers: a zero before the months 1 and 2."""
    return f"{value.month:02d}" if value.month < 3 else str(value.month)


def day(value: date) -> str:
    """As in official papers: a zero before days under 10 and the months 1 and 2."""
    return f"{value.day:02d}/{month(value)}/{value.year}"


def moment(value: datetime) -> str:
    """A local time; midnight is the end of the day before."""
    if value.time() == time():
        return f"hết ngày {day(value.date() - timedelta(days=1))}"
    return f"{value:%H} giờ {value:%M}, ngày {day(value)}"


def number(value: Decimal, places: int = 2) -> str:
    """With a decimal comma, and a point between thousands; a half is rounded away from zero, as the Decision's K is."""
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}".translate(
        str.maketrans(",.", ".,")
    )


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


def percent(value: Decimal, places: int = 1) -> str:
    return f"{number(value * 100, places)}%"


def signed(value: Decimal, places: int = 2) -> str:
    """A change with its sign; the minus is a minus, not a hyphen."""
    text = number(abs(value), places)
    return f"+{text}" if value > 0 else f"−{text}" if value < 0 else text


def count(value: Decimal | int | None) -> str:
    """A number of things; what is not known is a dash."""
    if value is None:
        return NONE
    return f"{int(value):,}".replace(",", ".") if value == int(value) else short(Decimal(value))


def named(names: Mapping[str, str], code: str | None) -> str:
    """The Vietnamese of a code; the code itself where the list does not know it; '' for none."""
    return "" if code is None else names.get(code, code)


def readings(code: str | None) -> str:
    """`a=1 + b=2`: the readings, in words, of a set of them."""
    return "; ".join(named(READINGS, part.strip()) for part in code.split("+")) if code else ""


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def listed(parts: Iterable[str]) -> str:
    return "; ".join(part for part in parts if part)


def parameter_group(name: str) -> str:
    """Which index a parameter decides; '' for those that concern the whole."""
    return next((group for group, starts in PARAMETER_GROUPS if name.startswith(starts)), "")
