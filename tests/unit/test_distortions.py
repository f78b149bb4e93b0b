"""The distortions that are known of real integrations: each has its rule and its test; here those of the door itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hailong.contracts import load_contracts
from hailong.extract.records import Converter, Reject, Row

PROJECT = Path(__file__).resolve().parents[2]
CONTRACTS = load_contracts(PROJECT / "expectations" / "contracts")
MODELS = "dbt_project/models"

# Distortion → where the rule stands, a word of it; where its test stands, a word of it.
KNOWN = {
    "made-up identity numbers": (
        ("expectations/contracts/dossier.yaml", "is_dummy_identity"),
        (f"{MODELS}/marts/_unit_tests.yml", "dummy_identity"),
    ),
    "status 9 inserted for dossiers that wait or were stopped": (
        (f"{MODELS}/core/core_dossier.sql", "has_inserted_step"),
        (f"{MODELS}/core/_unit_tests.yml", "a_step_done_is_inserted_where_the_dossier_waits_or_was_stopped"),
    ),
    "a dossier code replaced at random after an error": (
        (f"{MODELS}/marts/dq_sync_difference.sql", "code_replaced"),
        (f"{MODELS}/marts/_unit_tests.yml", "each_difference_has_the_first_reason_that_holds"),
    ),
    "two indices swapped between sources": (
        ("plugins/hailong/extract/portal.py", "def legacy_records"),
        ("tests/unit/test_portal.py", "def test_indices_under_each_others_key_are_found_and_said"),
    ),
    "a missing due date taken for on time": (
        (f"{MODELS}/marts/dq_dossier_finding.sql", "due_missing_on_time"),
        (f"{MODELS}/facts/_unit_tests.yml", "a_edge_5_without_a_due_date_the_procedure_says"),
    ),
    "days compared with moments": (
        (f"{MODELS}/marts/dq_dossier_finding.sql", "precision_mixed"),
        (f"{MODELS}/facts/_unit_tests.yml", "a_edge_1_moments_compare_at_the_coarser_precision"),
    ),
    "the due date moved by the pause where the law restarts the term": (
        (f"{MODELS}/marts/dq_dossier_finding.sql", "due_moved_by_pause"),
        (f"{MODELS}/marts/_unit_tests.yml", "known_distortions_of_dossiers_are_found"),
    ),
    "figures of city and portal that disagree": (
        (f"{MODELS}/marts/mart_reconciliation.sql", "reason"),
        ("tests/integration/test_reconciliation.py", "def test_reconciliation_with_deletions_is_the_sandboxs_cell_by_cell"),
    ),
    "test records": (
        ("expectations/contracts/dossier.yaml", "is_test_record"),
        ("tests/unit/test_records.py", "def test_flags_are_computed_at_the_door"),
    ),
    "due dates overwritten after an apology": (
        (f"{MODELS}/core/core_dossier.sql", "first_due_at"),
        (f"{MODELS}/core/_unit_tests.yml", "due_dates_edge_6_come_from_the_history"),
    ),
    "three forms of dates, and days that do not exist": (
        ("plugins/hailong/extract/records.py", "def _moment_of_text"),
        ("tests/unit/test_records.py", "def test_every_form_of_time_is_read"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("distortion", KNOWN)
def test_every_known_distortion_has_a_rule_and_a_test(distortion: str) -> None:
    for path, word in KNOWN[distortion]:
        text = (PROJECT / path).read_text(encoding="utf-8")
        assert re.search(rf"\b{re.escape(word)}\b", text), f"{distortion}: no {word} in {path}"


def convert(**changes: Any) -> dict[str, Any] | Reject:
    record = {
        "MaHoSo": "000.16.33.H29-261001-0001",
        "MaTTHC": "1.001193",
        "KenhThucHien": 1,
        "TrangThaiHoSo": 4,
        "DonViXuLy": "H29.10",
        "NoiNopHoSo": "H29.10",
        "NgayTiepNhan": "20261001080000",
        "NgayCapNhat": "20261001080000",
        "LienThong": False,
    }
    contract = CONTRACTS["dossier"]
    outcome = Converter(contract, "Asia/Ho_Chi_Minh", codes=None).convert(record | changes)
    if isinstance(outcome, Row):
        return dict(zip([column.name for column in contract.columns], outcome.values, strict=True)) | {
            "key": outcome.key
        }
    return outcome


@pytest.mark.parametrize(
    "code",
    [
        "000.00.00.H29-261001-0001",
        "000.16.33.H29-20261001-0000001",
        "H29.50.05-261001-00001",
        "G09.20-20260609-0092637",
        "H29-1",
        "H29.50.05.117-20261001-12345678901234",
    ],
)
def test_codes_of_every_age_and_length_are_keys_as_they_are(code: str) -> None:
    found = convert(MaHoSo=f" {code} ")
    assert isinstance(found, dict)
    assert (found["key"], found["dossier_code"], found["is_test_record"]) == (code, code, False)


@pytest.mark.parametrize("code", ["1.001193", "1.001193.000.00.00.H29", "2.000815"])
def test_procedures_with_and_without_the_local_suffix_stay_as_sent(code: str) -> None:
    found = convert(MaTTHC=code)
    assert isinstance(found, dict) and found["procedure_code"] == code


@pytest.mark.parametrize("status", [9, "9", 9.0, " 9 "])
def test_a_status_is_the_same_as_number_and_as_text(status: Any) -> None:
    found = convert(TrangThaiHoSo=status)
    assert isinstance(found, dict) and found["status_code"] == "9"


@pytest.mark.parametrize(
    ("sent", "at", "is_date"),
    [
        ("20261009153000", datetime(2026, 10, 9, 8, 30, tzinfo=UTC), False),
        ("20261009", datetime(2026, 10, 8, 17, tzinfo=UTC), True),
        ("09/10/2026", datetime(2026, 10, 8, 17, tzinfo=UTC), True),
        ("20261009000000", datetime(2026, 10, 8, 17, tzinfo=UTC), False),
    ],
)
def test_a_due_day_keeps_that_it_is_a_day(sent: str, at: datetime, is_date: bool) -> None:
    """A day and its midnight are told apart, so that a due day lasts until 24:00."""
    found = convert(NgayHenTra=sent)
    assert isinstance(found, dict)
    assert (found["due_at"], found["due_at_is_date"]) == (at, is_date)


@pytest.mark.parametrize("field", ["NgayTiepNhan", "NgayHenTra", "NgayKetThucXuLy", "NgayTra", "NgayCapNhat"])
@pytest.mark.parametrize("sent", ["20260231093000", "20261301", "31/02/2026", "00000000", "99999999999999"])
def test_a_day_that_never_was_is_quarantined_in_any_field(field: str, sent: str) -> None:
    found = convert(**{field: sent})
    assert isinstance(found, Reject)
    assert (found.rule, found.key) == ("bad_date", "000.16.33.H29-261001-0001")
    assert field in found.detail and sent in found.detail


def test_a_missing_due_date_is_missing() -> None:
    for empty in (None, "", "   "):
        found = convert(NgayHenTra=empty)
        assert isinstance(found, dict)
        assert (found["due_at"], found["due_at_is_date"]) == (None, None)


@pytest.mark.parametrize(
    ("identity", "made_up"),
    [
        ("000000001", True),
        ("000000000", True),
        ("111111111", True),
        ("123456789", True),
        ("079012345678", False),
        ("", False),
    ],
)
def test_a_made_up_identity_is_known_and_the_number_is_not_kept(identity: str, made_up: bool) -> None:
    found = convert(MaDoiTuong=identity)
    assert isinstance(found, dict)
    assert found["is_dummy_identity"] is made_up
    assert not identity or identity not in map(str, found.values())
