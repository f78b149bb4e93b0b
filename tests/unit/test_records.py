"""The door: what is read, what is rejected and why, what never passes."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hailong.contracts import load_contracts
from hailong.extract.records import Bad, CodeMap, Converter, Reject, Row, boolean, day, moment, number, text, whole
from hailong.settings import PROJECT

CONTRACTS = load_contracts(PROJECT / "expectations" / "contracts")
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
CODES: CodeMap = {
    ("tthc", "unit"): frozenset({"H29.10", "000.00.11.H29"}),
    ("tthc", "channel"): frozenset({"1", "2", "3"}),
    ("tthc", "dossier_status"): frozenset(str(n) for n in range(1, 11)),
    ("tthc", "supplement_status"): frozenset("12345"),
}


def converter(feed: str = "dossier", codes: CodeMap | None = CODES) -> Converter:
    return Converter(CONTRACTS[feed], "Asia/Ho_Chi_Minh", codes)


def dossier(**changes: Any) -> dict[str, Any]:
    return {
        "MaHoSo": "H29.10-20261001-0001",
        "MaTTHC": "1.001193",
        "KenhThucHien": 1,
        "ChuHoSo": "Trần Thị Giả",
        "MaDoiTuong": "079300000001",
        "SoDienThoai": "0900000001",
        "Email": "gia@example.invalid",
        "TrichYeuHoSo": "Đăng ký khai sinh",
        "NgayTiepNhan": "20261001080000",
        "NgayHenTra": "20261009",
        "TrangThaiHoSo": 9,
        "NgayTra": None,
        "NgayKetThucXuLy": "20261008150000",
        "DonViXuLy": "H29.10",
        "NoiNopHoSo": "000.00.11.H29",
        "NgayCapNhat": "20261008150100",
        "DanhSachHoSoBoSung": [],
    } | changes


def supplement(**changes: Any) -> dict[str, Any]:
    return {
        "HoSoBoSungId": "BS1",
        "NguoiYeuCauBoSung": "Nguyễn Cán Bộ",
        "NoiDungBoSung": "gọi 0900000002",
        "NgayBoSung": "20261002090000",
        "NgayTiepNhanBoSung": "20261003",
        "TrangThaiBoSung": 2,
    } | changes


def row(record: dict[str, Any], feed: str = "dossier") -> dict[str, Any]:
    outcome = converter(feed).convert(record)
    assert isinstance(outcome, Row), outcome
    return dict(zip([c.name for c in CONTRACTS[feed].columns], outcome.values, strict=True))


def reject(record: Any, feed: str = "dossier") -> Reject:
    outcome = converter(feed).convert(record)
    assert isinstance(outcome, Reject), outcome
    return outcome


def version(record: dict[str, Any]) -> str:
    outcome = converter().convert(record)
    assert isinstance(outcome, Row)
    return outcome.version_hash


@pytest.mark.parametrize(
    ("value", "utc", "is_date"),
    [
        ("20261009153000", datetime(2026, 10, 9, 8, 30, tzinfo=UTC), False),
        ("20261009000000", datetime(2026, 10, 8, 17, tzinfo=UTC), False),
        ("20261009", datetime(2026, 10, 8, 17, tzinfo=UTC), True),
        (20261009153000, datetime(2026, 10, 9, 8, 30, tzinfo=UTC), False),
        (" 20261009 ", datetime(2026, 10, 8, 17, tzinfo=UTC), True),
        ("2026-10-09", datetime(2026, 10, 8, 17, tzinfo=UTC), True),
        ("2026-10-09T15:30:00", datetime(2026, 10, 9, 8, 30, tzinfo=UTC), False),
        ("2011-12-06 13:41:31.788000+01:00", datetime(2011, 12, 6, 12, 41, 31, 788000, tzinfo=UTC), False),
        ("2026-10-09T15:30:00Z", datetime(2026, 10, 9, 15, 30, tzinfo=UTC), False),
        ("09/10/2026", datetime(2026, 10, 8, 17, tzinfo=UTC), True),
        ("9/10/2026 15:30", datetime(2026, 10, 9, 8, 30, tzinfo=UTC), False),
        ("09/10/2026 15:30:01", datetime(2026, 10, 9, 8, 30, 1, tzinfo=UTC), False),
        (datetime(2026, 10, 9, 15, 30), datetime(2026, 10, 9, 8, 30, tzinfo=UTC), False),
        (date(2026, 10, 9), datetime(2026, 10, 8, 17, tzinfo=UTC), True),
    ],
)
def test_every_form_of_time_is_read(value: Any, utc: datetime, is_date: bool) -> None:
    assert moment(value, ZONE) == (utc, is_date)


@pytest.mark.parametrize(
    "value", ["20260231093000", "20261301", "00000000000000", "31/02/2026", "2026-02-30", "20261009246000", "hôm qua"]
)
def test_an_impossible_date_is_a_bad_date(value: str) -> None:
    with pytest.raises(Bad) as caught:
        moment(value, ZONE)
    assert caught.value.rule == "bad_date"


def test_an_empty_value_is_nothing() -> None:
    assert moment("  ", ZONE) == (None, None)
    assert (text("  "), number(" "), whole("", 10), boolean(""), day("", ZONE)) == (None,) * 5


def test_single_values_are_typed() -> None:
    assert text(unicodedata.normalize("NFD", " Hài lòng ")) == "Hài lòng"
    assert (text(10), text(10.0)) == ("10", "10")
    assert (whole("12", 100), whole(12.0, 100)) == (12, 12)
    assert (number(5.78), number("5.780"), number(18)) == (Decimal("5.78"), Decimal("5.780"), Decimal(18))
    assert (boolean("Có"), boolean("không"), boolean(True), boolean(0)) == (True, False, True, False)
    assert day(datetime(2026, 10, 9), ZONE) == date(2026, 10, 9)
    assert day("20261009", ZONE) == date(2026, 10, 9)


@pytest.mark.parametrize(
    ("read", "value"),
    [(number, "1,5"), (number, float("nan")), (number, True), (lambda v: whole(v, 100), 1.5),
     (lambda v: whole(v, 100), 100), (boolean, "maybe"), (text, ["a"]), (text, "a\x00b")],
)  # fmt: skip
def test_what_has_another_type_is_bad(read: Any, value: Any) -> None:
    with pytest.raises(Bad):
        read(value)


def test_a_dossier_becomes_a_typed_row() -> None:
    found = row(dossier(DanhSachHoSoBoSung=[supplement()]))
    assert found["received_at"] == datetime(2026, 10, 1, 1, tzinfo=UTC)
    assert (found["received_at_is_date"], found["due_at_is_date"]) == (False, True)
    assert (found["returned_at"], found["returned_at_is_date"]) == (None, None)
    assert (found["status_code"], found["channel_code"]) == ("9", "1")
    assert json.loads(found["supplements"]) == [
        {
            "supplement_id": "BS1",
            "requested_at": "2026-10-02T02:00:00+00:00",
            "requested_at_is_date": False,
            "received_at": "2026-10-02T17:00:00+00:00",
            "received_at_is_date": True,
            "status_code": "2",
            "due_before_at": None,
            "due_before_at_is_date": None,
            "due_after_at": None,
            "due_after_at_is_date": None,
        }
    ]


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"MaDoiTuong": "000000001"}, "is_dummy_identity"),
        ({"MaDoiTuong": "111111111111"}, "is_dummy_identity"),
        ({"TrichYeuHoSo": "TEST Đăng ký khai sinh"}, "is_test_record"),
        ({"TrichYeuHoSo": unicodedata.normalize("NFD", "Hồ sơ thử nghiệm hệ thống")}, "is_test_record"),
        ({"MaHoSo": "H29.10-test-1"}, "is_test_record"),
    ],
)
def test_flags_are_computed_at_the_door(changes: dict[str, Any], flag: str) -> None:
    assert row(dossier(**changes))[flag] is True
    assert row(dossier())[flag] is False


def test_a_real_testing_laboratory_is_no_test_record() -> None:
    title = "Cấp giấy chứng nhận đăng ký hoạt động thử nghiệm (phòng thử nghiệm xây dựng)"
    assert row(dossier(TrichYeuHoSo=title))["is_test_record"] is False


def test_nothing_personal_passes_the_door() -> None:
    record = dossier(DanhSachHoSoBoSung=[supplement()], GhiChu="Trần Thị Giả")
    outcome = converter().convert(record)
    assert isinstance(outcome, Row)
    broken = converter().convert(record | {"NgayTiepNhan": "Trần Thị Giả 0900000001"})
    assert isinstance(broken, Reject)
    told = f"{outcome.values} {broken.payload} {broken.detail}"
    for secret in ("Trần", "Giả", "0900000001", "0900000002", "079300000001", "gia@", "Cán Bộ", "khai sinh"):
        assert secret not in told
    assert "xxxx" in broken.detail


def test_the_version_follows_what_is_hashed_and_nothing_else() -> None:
    base = version(dossier())
    assert version(dossier(NgayCapNhat="20261101000000")) == base
    assert version(dossier(ChuHoSo="Khác", SoDienThoai="1")) == base
    assert version(dossier(TrangThaiHoSo="9")) == base
    assert version(dossier(TrangThaiHoSo=10)) != base
    assert version(dossier(NgayHenTra="20261009000000")) != base
    one, two = supplement(), supplement(HoSoBoSungId="BS2")
    assert version(dossier(DanhSachHoSoBoSung=[one, two])) == version(dossier(DanhSachHoSoBoSung=[two, one])) != base


@pytest.mark.parametrize(
    ("changes", "rule", "detail"),
    [
        ({"MaHoSo": None}, "missing_key", "MaHoSo is empty"),
        ({"MaHoSo": "  "}, "missing_key", "MaHoSo is empty"),
        ({"MaHoSo": "X" * 600}, "bad_key", "600 characters"),
        ({"NgayTiepNhan": "20260231093000"}, "bad_date", "NgayTiepNhan: '20260231093000' is not a date"),
        ({"NgayTiepNhan": {"a": 1}}, "wrong_type", "NgayTiepNhan: expected a date, got an object"),
        ({"DonViXuLy": "H29.99.99"}, "unknown_code", "DonViXuLy: code 'H29.99.99' of kind unit"),
        ({"TrangThaiHoSo": 11}, "unknown_code", "code '11' of kind dossier_status"),
        ({"DanhSachHoSoBoSung": "không có"}, "bad_supplement", "not a JSON list"),
        ({"DanhSachHoSoBoSung": [3]}, "bad_supplement", "DanhSachHoSoBoSung[1]: expected an object"),
        ({"DanhSachHoSoBoSung": [supplement(HoSoBoSungId=None)]}, "bad_supplement", "HoSoBoSungId is empty"),
        ({"DanhSachHoSoBoSung": [supplement(), supplement(NgayBoSung="2")]}, "bad_supplement", "[2].NgayBoSung"),
        ({"DanhSachHoSoBoSung": [supplement(TrangThaiBoSung=9)]}, "unknown_code", "kind supplement_status"),
    ],
)
def test_an_unreadable_dossier_is_rejected_with_rule_and_detail(
    changes: dict[str, Any], rule: str, detail: str
) -> None:
    found = reject(dossier(**changes))
    assert found.rule == rule
    assert detail in found.detail
    assert "MaHoSo" in changes or found.key == "H29.10-20261001-0001"


@pytest.mark.parametrize("said", ["Nguyễn Thị Bí Mật, 12 Lê Lợi", "079123456789", "CCCD.0903123456", "Bi Mat"])
def test_what_stands_in_a_coded_field_and_is_no_code_leaves_only_its_shape(said: str) -> None:
    found = reject(dossier(KenhThucHien=said))
    assert found.rule == "unknown_code"
    assert said not in found.detail + found.payload
    assert "KenhThucHien" in found.detail


def test_what_is_no_record_is_rejected() -> None:
    assert reject(["x"]).rule == "unreadable_record"
    assert reject(None).rule == "unreadable_record"


def test_the_payload_of_a_reject_is_short() -> None:
    found = reject(dossier(MaTTHC="x" * 5000, NgayTiepNhan="20260231"))
    assert len(found.payload) <= 2000


def test_a_deletion_needs_only_its_key() -> None:
    outcome = converter().convert({"MaHoSo": "H29.10-1"}, op="delete")
    assert isinstance(outcome, Row)
    assert (outcome.key, outcome.op) == ("H29.10-1", "delete")


def test_null_is_not_zero_in_a_portal_row() -> None:
    record = {
        "group": "handling-satisfaction", "fromDate": "2026-10-15", "toDate": "2026-11-14", "departmentId": "u1",
        "isOverview": False, "totalScore": None, "totalMaxScore": 18, "totalPetitions": 0,
        "metrics": [
            {"code": "PETITION_PROCESSING_ON_TIME", "numerator": 0, "denominator": 3, "score": None, "maxScore": 6},
            {"code": "DOSSIER_RECEIVING_SATISFACTION", "numerator": 7, "denominator": 9, "score": 5.19, "maxScore": 6},
        ],
    }  # fmt: skip
    outcome = converter("portal_evaluation").convert(record)
    assert isinstance(outcome, Row)
    assert outcome.key == "handling-satisfaction|2026-10-15|2026-11-14|u1"
    found = row(record, "portal_evaluation")
    assert (found["total_score"], found["total_max_score"], found["total_petitions"]) == (None, Decimal(18), 0)
    metrics = json.loads(found["metrics"])
    assert metrics[0] == {
        "code": "DOSSIER_RECEIVING_SATISFACTION", "numerator": 7, "denominator": 9, "score": 5.19, "max_score": 6
    }  # fmt: skip
    assert metrics[1]["score"] is None
