"""The Vietnamese of the review: what is wrong with a record, and what its source is asked to do."""

from __future__ import annotations

OURS = "Bộ phận kỹ thuật dữ liệu"
SEVERITIES = {"critical": "Nghiêm trọng", "warning": "Cảnh báo"}
DOSSIER = {
    "dummy_identity": (
        "Số định danh của người nộp là số giả",
        "Nhập lại số định danh thật của người nộp hồ sơ",
    ),
    "done_inserted": (
        "Hồ sơ đang chờ hoặc đã dừng nhưng có bước ghi đã xong",
        "Xoá bước ghi thừa, hoặc sửa trạng thái hồ sơ cho đúng",
    ),
    "due_missing_on_time": (
        "Cổng ghi đúng hạn nhưng không có ngày hẹn trả",
        "Bổ sung ngày hẹn trả và đồng bộ lại lên Cổng",
    ),
    "precision_mixed": (
        "Cổng so ngày với giờ nên ghi sai đúng hạn, quá hạn",
        "Đồng bộ ngày hẹn trả và ngày có kết quả với cùng độ chính xác",
    ),
    "due_moved_by_pause": (
        "Cổng cộng số ngày chờ bổ sung vào hạn cũ; theo quy định thời hạn tính lại từ đầu",
        "Đồng bộ lại ngày hẹn trả tính từ ngày nhận đủ hồ sơ bổ sung",
    ),
}
AT_CITY = ("done_inserted", "dummy_identity")  # the city's own records; the others are what the portal was told
EVALUATION = {
    "no_unit": ("Đơn vị được đánh giá không có trong danh mục", "Sửa mã đơn vị theo danh mục cơ quan"),
    "no_window": ("Kỳ đánh giá không có, hoặc đơn vị không được chấm trong kỳ này", "Sửa kỳ hoặc mã đơn vị"),
    "evaluator_unknown": ("Không rõ cơ quan đánh giá", "Bổ sung mã cơ quan đánh giá"),
    "own_evaluation": ("Đơn vị tự đánh giá chính mình", "Sửa mã cơ quan đánh giá, hoặc huỷ phiếu"),
    "evaluator_not_competent": ("Cơ quan đánh giá không có thẩm quyền", "Sửa mã cơ quan đánh giá, hoặc huỷ phiếu"),
    "no_score": ("Phiếu không có điểm", "Bổ sung điểm"),
    "score_out_of_range": ("Điểm nằm ngoài thang điểm", "Sửa điểm theo thang điểm"),
}
QUARANTINE = {
    "unreadable_record": ("Bản ghi không đọc được", "Gửi lại bản ghi đúng dạng"),
    "missing_key": ("Bản ghi không có mã", "Bổ sung mã bản ghi"),
    "bad_key": ("Mã bản ghi không hợp lệ", "Sửa mã bản ghi"),
    "missing_required": ("Thiếu trường bắt buộc", "Bổ sung trường còn thiếu"),
    "wrong_type": ("Giá trị sai kiểu dữ liệu", "Sửa giá trị theo hợp đồng dữ liệu"),
    "bad_text": ("Chuỗi ký tự không hợp lệ", "Sửa chuỗi ký tự"),
    "too_long": ("Chuỗi ký tự quá dài", "Rút gọn nội dung"),
    "bad_number": ("Giá trị không phải là số", "Sửa thành số"),
    "bad_boolean": ("Giá trị không phải là có hoặc không", "Sửa thành có hoặc không"),
    "bad_date": ("Ngày không có thật", "Sửa ngày"),
    "unknown_code": ("Mã chưa có trong bảng đối chiếu mã", "Sửa mã, hoặc đề nghị bổ sung bảng đối chiếu mã"),
    "bad_device": ("Thiết bị đánh giá trong danh mục không hợp lệ", "Sửa danh sách thiết bị"),
    "bad_metric": ("Thành phần điểm của Cổng không hợp lệ", "Đề nghị Cổng kiểm tra"),
    "bad_predecessor": ("Đơn vị được kế thừa không hợp lệ", "Sửa danh sách đơn vị được kế thừa"),
    "bad_supplement": ("Yêu cầu bổ sung không hợp lệ", "Sửa yêu cầu bổ sung"),
    "bad_step": ("Bước xử lý không hợp lệ", "Sửa bước xử lý"),
    "bad_participant": ("Cơ quan phối hợp không hợp lệ", "Sửa danh sách cơ quan phối hợp"),
}
STALE = (
    "Bản mới của bản ghi không đọc được, đang tính theo bản cũ",
    "Sửa bản mới tại nguồn; xem dòng cách ly cùng mã",
)
UNREADABLE = ("Bản ghi bị cách ly", "Sửa tại hệ thống nguồn")
ASK_PORTAL = "Đề nghị Cổng Dịch vụ công quốc gia kiểm tra số liệu"
SYNCHRONISE = "Kiểm tra hồ sơ ở hai hệ thống và đồng bộ lại"
REPAIR = "Sửa tại hệ thống nguồn; lần đọc dữ liệu sau sẽ kiểm tra lại"
