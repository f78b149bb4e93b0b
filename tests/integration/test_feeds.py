"""Evaluations, surveys, answers of the units, the portal's groups, devices: staging holds all that the sandbox meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hailong.extract.run import IngestResult, ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from sandbox.evaluations import Evaluations
from sandbox.generator import City
from sandbox.indices import GROUPS, MAXIMA, PATHS, RESULTS, SWAPPED_UNTIL, Indices, points
from sandbox.options import Options, seconds
from sandbox.portal import Portal, two_decimals
from sandbox.registers import ROOT_DEPARTMENT, code_records, devices, retired_devices

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OPTIONS = Options(size=600, seed=11)
END = OPTIONS.end_at.replace(tzinfo=ZONE)
NOW = seconds(OPTIONS.end_at)
BY_CURSOR = ("authority_evaluation", "internal_evaluation", "unit_explanation", "unit_action", "record_dispute")
DROPPED = ("self_evaluation", "survey_result")
LEGACY = (datetime(2025, 6, 10, tzinfo=ZONE), datetime(2025, 7, 10, tzinfo=ZONE))
CODES = {(r["HeThong"], r["LoaiMa"], r["MaNguon"]): r["MaDich"] for r in code_records()}
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def read(start_sandbox: Callable[..., Any], new_warehouse: Callable[..., Settings]) -> Settings:
    """Everything read once, and built."""
    sandbox = start_sandbox("--size", str(OPTIONS.size), "--seed", str(OPTIONS.seed))
    settings = new_warehouse(**sandbox.env)
    for feed in ("code_map", "unit_register", "procedure_register", *DROPPED):
        ingest(settings, feed, now=END)
    for feed in BY_CURSOR:
        ingest(settings, feed, since=OPTIONS.start_at.replace(tzinfo=ZONE))
    ingest(settings, "portal_evaluation", since=LEGACY[0], until=LEGACY[1])
    ingest(settings, "portal_evaluation", since=datetime(2026, 11, 1, tzinfo=ZONE), until=END)
    build(settings)
    return settings


@pytest.fixture(scope="module")
def city() -> City:
    return City(OPTIONS)


@pytest.fixture(scope="module")
def said(city: City) -> Evaluations:
    return Evaluations(city)


def rows(settings: Settings, statement: str) -> list[Row]:
    with connect(settings) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def code(system: str, kind: str, source: str | None) -> str | None:
    return None if source is None else CODES[system, kind, source]


def day(text: str | None) -> date | None:
    return None if text is None else datetime.strptime(text, "%d/%m/%Y").date()


def at(text: str | None) -> datetime | None:
    return None if text is None else datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=ZONE)


def exact(value: object) -> Decimal:
    return Decimal(str(value))


def test_evaluations_of_the_institutional_map(read: Settings, said: Evaluations) -> None:
    found = rows(
        read,
        "select sheet_id, unit_code, evaluator_unit_code, period_code, criterion_code, score, max_score, rank, evaluated_on"
        " from staging.stg_institutional__authority_evaluation",
    )
    expected = [
        (
            r["ma_phieu"], code("institutional", "unit", r["ma_don_vi"]), "HCM.SN01", r["ky_danh_gia"],
            code("institutional", "criterion", r["tieu_chi"]), exact(r["diem"]), Decimal(10), r["thu_hang"],
            day(r["ngay_danh_gia"]),
        )
        for r in said.read("authority", NOW)
    ]  # fmt: skip
    assert len(expected) > 200 and sorted(found) == sorted(expected)
    found = rows(
        read,
        "select sheet_id, unit_code, sub_unit_name, period_code, grade_code, score, max_score, evaluated_on"
        " from staging.stg_institutional__internal_evaluation",
    )
    expected = [
        (
            r["ma_phieu"], code("institutional", "unit", r["ma_don_vi"]), r["ten_bo_phan"], r["ky_danh_gia"],
            code("institutional", "grade", r["xep_loai"]), exact(r["diem"]), Decimal(100), day(r["ngay_danh_gia"]),
        )
        for r in said.read("internal", NOW)
    ]  # fmt: skip
    assert len(expected) > 100 and sorted(found) == sorted(expected)


def test_an_official_that_was_evaluated_is_a_pseudonym_and_a_part_of_a_unit_none(
    read: Settings, said: Evaluations
) -> None:
    found = dict(rows(read, "select sheet_id, official from raw.internal_evaluation"))
    people = {r["ma_phieu"]: r["ten_can_bo"] for r in said.read("internal", NOW)}
    assert {sheet for sheet, official in found.items() if official is None} == {
        s for s, p in people.items() if p is None
    }
    named = {sheet: official for sheet, official in found.items() if official}
    assert all(len(official) == 69 and official[4] == ":" for official in named.values())
    # The same person is the same pseudonym, another person another.
    assert len({(people[sheet], official) for sheet, official in named.items()}) == len(
        {people[sheet] for sheet in named}
    ) == len(set(named.values()))  # fmt: skip


def test_files_as_excel_and_a_mac_write_them(read: Settings, said: Evaluations) -> None:
    found = rows(
        read,
        "select line_id, unit_code, period_code, criterion_code, score, max_score, evaluated_on"
        " from staging.stg_unit_office__self_evaluation",
    )
    expected = [
        (
            r["Mã dòng"], code("unit_office", "unit", r["Mã cơ quan"]), r["Kỳ đánh giá"],
            code("unit_office", "criterion", r["Tiêu chí"]), exact(r["Điểm tự chấm"]), Decimal(10), day(r["Ngày lập"]),
        )
        for r in said.read("self_evaluation", NOW)
    ]  # fmt: skip
    assert len(expected) > 100 and sorted(found) == sorted(expected)
    assert any(score % 1 for *_, score, _, _ in expected), "no decimal comma was read"
    found = rows(
        read,
        "select result_id, unit_code, organisation_code, survey_code, question_code, respondent_count, satisfied_count,"
        " surveyed_from, surveyed_to from staging.stg_survey__result",
    )
    expected = [
        (
            r["Mã kết quả"], code("survey", "unit", r["Mã đơn vị"]), code("survey", "organisation", r["Mã tổ chức"]),
            r["Mã cuộc khảo sát"], r["Câu hỏi"], r["Số phiếu"], r["Số hài lòng"], day(r["Từ ngày"]), day(r["Đến ngày"]),
        )
        for r in said.read("survey", NOW)
    ]  # fmt: skip
    assert len(expected) > 50 and sorted(found) == sorted(expected)
    kinds = rows(read, "select count(*), sum(quarantined_rows) from ops.batch where feed = 'survey_result'")
    assert kinds[0][0] >= 3 and kinds[0][1] == 0  # UTF-16 text, a workbook, UTF-8 with letters taken apart


def test_answers_of_the_units(read: Settings, said: Evaluations) -> None:
    found = rows(
        read,
        "select explanation_id, unit_code, period_code, index_code, cause_code, document_no, submitted_at, decided_at,"
        " decision_code from staging.stg_unit_office__explanation",
    )
    expected = [
        (
            r["id"], code("unit_office", "unit", r["maCoQuan"]), r["ky"], r["chiSo"],
            code("unit_office", "cause", r["nguyenNhan"]), r["soVanBan"], at(r["ngayGui"]), at(r["ngayKetLuan"]),
            code("unit_office", "decision", r["ketLuan"]),
        )
        for r in said.read("explanations", NOW)
    ]  # fmt: skip
    assert len(expected) > 20 and by_key(found, expected)
    found = rows(
        read,
        "select action_id, unit_code, explanation_id, remedy_code, due_on, done_on from staging.stg_unit_office__action",
    )
    expected = [
        (
            r["id"], code("unit_office", "unit", r["maCoQuan"]), r["maGiaiTrinh"],
            code("unit_office", "remedy", r["bienPhap"]), day(r["hanHoanThanh"]), day(r["ngayHoanThanh"]),
        )
        for r in said.read("actions", NOW)
    ]  # fmt: skip
    assert len(expected) > 20 and by_key(found, expected)
    found = rows(
        read,
        "select dispute_id, unit_code, disputed_feed, disputed_key, reason_code, raised_at, decided_at, decision_code"
        " from staging.stg_unit_office__dispute",
    )
    expected = [
        (
            r["id"], code("unit_office", "unit", r["maCoQuan"]), r["loaiBanGhi"], r["maBanGhi"],
            code("unit_office", "dispute_reason", r["lyDo"]), at(r["ngayGui"]), None, None,
        )
        for r in said.read("disputes", NOW)
    ]  # fmt: skip
    assert len(expected) > 10 and by_key(found, expected)


def by_key(found: list[Row], expected: list[Row]) -> bool:
    """The same rows; times are compared as moments, whatever zone they are shown in."""
    assert {row[0]: row for row in found} == {row[0]: row for row in expected}
    return len(found) == len(expected)


def test_devices_of_the_register(read: Settings) -> None:
    found = rows(
        read, "select device_code, unit_code, device_kind, valid_from, valid_to from staging.stg_register__device"
    )
    units = City(OPTIONS).units
    expected = [
        (d.code, units[d.unit].code, d.kind, date(2025, 7, 1), None if d.valid_to is None else date(2026, 7, 1))
        for d in (*devices(), *retired_devices())
    ]
    assert retired_devices() and by_key(found, expected)


def test_successions_of_the_register(read: Settings) -> None:
    """All 493 are of registered units, six of them unbroken; who ended in June 2025 has no row in a later period."""
    counts = (
        "select count(*), count(predecessor_code), count(*) filter (where is_unbroken) from core.core_unit_succession"
    )
    assert rows(read, counts) == [(493, 493, 6)]
    former = (
        "select count(*) filter (where w.period_code = '2025-07'), count(*) filter (where w.period_start >= u.valid_to)"
        " from core.core_unit_window as w inner join core.dim_unit as u on w.unit_code = u.unit_code where u.valid_to is not null"
    )
    assert rows(read, former) == [(22 + 273, 0)]


def test_the_portals_groups_have_their_own_windows(read: Settings, city: City) -> None:
    """Calendar month, quarter and year, null kept apart from zero, and the satisfaction group asked for our own days."""
    found = rows(
        read,
        "select group_code, window_from, window_to, unit_code, total_score, total_max_score from staging.stg_portal__evaluation"
        " where metric_version = '2026' and not is_overview",
    )
    calendar = [
        (date(2026, 11, 1), date(2026, 11, 30)),
        (date(2026, 10, 1), date(2026, 12, 31)),
        (date(2026, 1, 1), date(2026, 12, 31)),
    ]
    groups = {row[:3] for row in found if row[0] != "handling-satisfaction"}
    assert groups == {(path, *window) for path in PATHS for window in calendar}
    assert {row[1:3] for row in found if row[0] == "handling-satisfaction"} & set(calendar) == set()
    indices = Indices(city, Portal(city))
    expected = {}
    for group in GROUPS:
        for window in calendar:
            for index, score in indices.scores(group, *window, NOW).items():
                total = points(group, score)
                shown = None if total is None else exact(two_decimals(total))
                expected[group.path, *window, city.units[index].code] = (shown, Decimal(group.maximum))
    ours = {row[:4]: row[4:] for row in found if row[0] not in ("handling-satisfaction", RESULTS)}
    assert ours == expected
    scores = [score for score, _ in expected.values()]
    assert None in scores and any(score is not None and score < 1 for score in scores)
    assert all(row[5] == 100 for row in found if row[0] == RESULTS)


def test_the_old_api_gives_each_index_its_own_points_and_says_what_it_put_right(read: Settings, city: City) -> None:
    found = rows(
        read,
        "select group_code, window_from, window_to, department_id, total_score, total_max_score"
        " from staging.stg_portal__evaluation where metric_version = '2025'",
    )
    legacy = Indices(city, Portal(city))
    windows = {row[1:3] for row in found}
    assert (date(2025, 6, 1), date(2025, 6, 30)) in windows and (date(2025, 7, 1), date(2025, 7, 31)) in windows
    paths = {group.index: group.path for group in GROUPS} | {"MDHL": "handling-satisfaction", "TONG_SCORE": RESULTS}
    expected = {}
    for first, last in windows:
        for row in legacy.legacy(first, last):
            values = dict(row)
            if last < SWAPPED_UNTIL:
                values["CLGQ"], values["TTTT"] = row["TTTT"], row["CLGQ"]
            for index, path in paths.items():
                most = Decimal(MAXIMA.get(index, 100))
                score = None if values[index] is None else exact(values[index])
                expected[path, first, last, row["departmentId"]] = (score, most)
    assert {row[:4]: row[4:] for row in found} == expected
    said = rows(read, "select rule, records, detail from ops.batch_finding where feed = 'portal_evaluation'")
    assert [(rule, records) for rule, records, _ in said] == [
        ("indices_swapped", sum(last < SWAPPED_UNTIL for _, last in windows))
    ]
    assert ("2025-06-01 – 2025-06-30" in said[0][2]) and "2025-07-31" not in said[0][2]


def test_old_answers_and_calendar_windows_are_no_index_d(read: Settings) -> None:
    versions = rows(read, "select distinct metric_version from core.core_portal_score")
    assert versions == [("2026",)]
    windows = set(rows(read, "select distinct window_from, window_to from core.core_portal_score"))
    periods = set(rows(read, "select period_start, period_end - 1 from core.dim_period"))
    assert windows and windows <= periods


def test_every_answer_is_dated_by_the_last_read_of_its_window(read: Settings) -> None:
    before = dict(rows(read, "select record_key, retrieved_at from staging.stg_portal__evaluation"))
    again: IngestResult = ingest(read, "portal_evaluation", since=datetime(2026, 11, 1, tzinfo=ZONE), until=END)
    assert (again.loaded, again.quarantined) == (0, 0) and again.unchanged == again.received > 1000
    build(read)
    after = dict(rows(read, "select record_key, retrieved_at from staging.stg_portal__evaluation"))
    assert before.keys() == after.keys()
    moved = {key for key in before if after[key] > before[key]}
    assert len(moved) == again.received, "a window that was read again and had not changed keeps its old date"


@pytest.mark.parametrize("feed", BY_CURSOR)
def test_what_is_read_again_writes_nothing(read: Settings, feed: str) -> None:
    again = ingest(read, feed)
    assert (again.loaded, again.quarantined, again.duplicate) == (0, 0, 0) and again.unchanged == again.received > 0


def test_the_city_itself_is_in_no_unit(read: Settings) -> None:
    assert rows(
        read, f"select distinct unit_code from staging.stg_portal__evaluation where department_id = '{ROOT_DEPARTMENT}'"
    ) == [(None,)]


def test_every_group_of_the_portal_stands_beside_k_with_its_own_window(read: Settings, city: City) -> None:
    """New and old method apart, null apart from zero, the two indices of online service and payment by their most points."""
    found = rows(
        read,
        "select group_code, window_from, window_to, unit_code, metric_version, index_code, score, max_score, is_swapped,"
        " is_maximum_odd, period_code is not null from marts.portal_group",
    )
    staged = rows(
        read,
        "select group_code, window_from, window_to, unit_code, metric_version, total_score, total_max_score"
        " from staging.stg_portal__evaluation where not is_overview",
    )
    index_of = {group.path: group.index for group in GROUPS} | {"handling-satisfaction": "MDHL", RESULTS: "TONG_SCORE"}
    expected = {row[:5]: (index_of[row[0]], *row[5:7], False, False) for row in staged}
    assert {row[:5]: row[5:10] for row in found} == expected and len(found) == len(staged)
    assert {row[4] for row in found} == {"2025", "2026"}
    assert {row[0] for row in found if row[10]} == {"handling-satisfaction"}, (
        "only that group is asked for our own days"
    )
    legacy = {row[:4]: row[6] for row in found if row[4] == "2025"}
    units, said = {unit.department_id: unit.code for unit in city.units}, Indices(city, Portal(city))
    for first, last in {row[1:3] for row in found if row[4] == "2025"}:
        service, payment = ("TTTT", "CLGQ") if last < SWAPPED_UNTIL else ("CLGQ", "TTTT")
        for row in said.legacy(first, last):
            unit = units.get(row["departmentId"])
            if unit:
                for path, key in (("provide-online-tree", service), ("formality-online-payment-tree", payment)):
                    score = None if row[key] is None else exact(row[key])
                    assert legacy[path, first, last, unit] == score


def test_metrics_of_a_group_add_up_to_its_score(read: Settings) -> None:
    groups = rows(
        read,
        "select group_code, score, max_score, metrics from marts.portal_group"
        f" where metric_version = '2026' and score is not null and group_code <> '{RESULTS}'",
    )
    assert len(groups) > 1000
    for group_code, score, most, metrics in groups:
        parts = [part for part in metrics if part["max_score"]]
        assert sum(Decimal(str(part["max_score"])) for part in parts) == most, group_code
        assert abs(sum(Decimal(str(part["score"])) for part in parts) - score) <= Decimal("0.02"), group_code
