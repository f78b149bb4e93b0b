"""The stand-in's evaluations, surveys, answers of units and portal groups: shapes, windows, clock, and people to look for."""

from __future__ import annotations

import csv
import io
import sqlite3
import unicodedata
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from starlette.testclient import TestClient

from sandbox.evaluations import SELF_COLUMNS, SURVEY_COLUMNS, Evaluations
from sandbox.generator import City
from sandbox.indices import GROUPS, MAXIMA, PATHS, RESULTS, SWAPPED_UNTIL, Indices, calendar_window
from sandbox.options import Options, moment, seconds
from sandbox.portal import Portal
from sandbox.registers import ROOT_DEPARTMENT
from sandbox.server import DEFAULT_TOKEN, Sandbox, build_app

OPTIONS = Options(size=600)
END = seconds(OPTIONS.end_at)
SPAN = {"updatedFrom": "20260615000000", "updatedTo": "20261119000000"}
EVALUATION = "/portal/api/v1/reporting/evaluation"
LEGACY = "/portal/jsp/rest.jsp"


@pytest.fixture(scope="module")
def city() -> City:
    return City(OPTIONS)


@pytest.fixture
def client(city: City) -> Iterator[TestClient]:
    with TestClient(
        build_app(Sandbox(city, DEFAULT_TOKEN, END)), headers={"Authorization": f"Bearer {DEFAULT_TOKEN}"}
    ) as client:
        yield client


def group(client: TestClient, path: str, **asked: Any) -> list[dict[str, Any]]:
    """All units of a group, over its pages."""
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        answer = client.post(f"{EVALUATION}/{path}", json={"pageSize": 70, "currentPage": page, **asked})
        assert answer.status_code == 201 and answer.json()["code"] == "OK"
        rows = answer.json()["data"]["evaluation"]
        if not rows:
            return found
        found += rows
        page += 1


@pytest.mark.parametrize("path", PATHS)
def test_every_group_answers_201_with_scores_that_are_the_sum_of_their_metrics(client: TestClient, path: str) -> None:
    rows = group(client, path, timeType="quarter", year=2026, quarter=3)
    assert len({row["departmentId"] for row in rows}) == len(rows) > 150
    most = 100 if path == RESULTS else next(g.maximum for g in GROUPS if g.path == path)
    for row in rows:
        assert row["totalMaxScore"] == sum(metric["maxScore"] for metric in row["metrics"]) == most
        scores = [metric["score"] for metric in row["metrics"]]
        if row["totalScore"] is None:
            assert set(scores) == {None}
        else:
            lost = sum(m["maxScore"] for m in row["metrics"] if m["score"] is None and path != RESULTS)
            total = sum(Fraction(str(score)) for score in scores if score is not None) + lost
            assert abs(total - Fraction(str(row["totalScore"]))) <= Fraction(4, 100)
    if path != RESULTS:
        assert any(row["totalScore"] is None for row in rows) and any(row["totalScore"] == 0 for row in rows)
    assert all(("parentId" in row) == path.endswith("-tree") for row in rows)


def test_the_six_maxima_are_those_of_the_decision() -> None:
    assert MAXIMA == {"CKMB": 18, "TDGQ": 20, "CLGQ": 12, "TTTT": 10, "MDSH": 22, "MDHL": 18}


@pytest.mark.parametrize(
    ("asked", "window"),
    [
        (("month", 2026, 2), (date(2026, 2, 1), date(2026, 2, 28))),
        (("month", 2026, 12), (date(2026, 12, 1), date(2026, 12, 31))),
        (("quarter", 2026, 4), (date(2026, 10, 1), date(2026, 12, 31))),
        (("year", 2026, 1), (date(2026, 1, 1), date(2026, 12, 31))),
    ],
)
def test_a_group_knows_calendar_windows(asked: tuple[str, int, int], window: tuple[date, date]) -> None:
    assert calendar_window(*asked) == window


@pytest.mark.parametrize(
    "asked",
    [
        {"timeType": "week", "year": 2026, "week": 3},
        {"timeType": "quarter", "year": 2026, "quarter": 5},
        {"timeType": "month", "year": 2026},
        {"timeType": "year", "year": 2026, "rootDepartmentId": "x"},
        {"fromDate": "2026-09-15", "toDate": "2026-10-14"},
    ],
)
def test_a_group_that_is_asked_for_our_own_days_refuses(client: TestClient, asked: dict[str, Any]) -> None:
    assert client.post(f"{EVALUATION}/transparency", json=asked).status_code == 400


def test_before_a_window_begins_there_is_no_score_and_cases_grow_while_it_is_open(city: City) -> None:
    indices = Indices(city, Portal(city))
    first, last = date(2026, 10, 1), date(2026, 10, 31)
    early = indices.answer("transparency", first, last, seconds(OPTIONS.start_at), 1, 200)["data"]
    assert early["overview"]["totalScore"] is None
    assert {row["totalScore"] for row in early["evaluation"]} == {None}

    def cases(now: int) -> int:
        data = indices.answer("transparency", first, last, now, 1, 200)["data"]
        return int(data["overview"]["metrics"][0]["denominator"])

    middle, end = seconds(moment(END).replace(month=10, day=15)), END
    assert 0 < cases(middle) < cases(end) == cases(end - 86_400)


def legacy(client: TestClient, **asked: Any) -> Any:
    import json

    params = {"service": "report_tinh_766_service", "provinceCode": "H29"} | asked
    return client.post(LEGACY, data={"params": json.dumps(params)})


def test_the_old_api_has_two_indices_under_each_others_key_until_the_middle_of_2025(client: TestClient) -> None:
    for month, swapped in ((6, True), (7, False)):
        answer = legacy(client, timeType="month", year=2025, month=month).json()
        assert answer["code"] == "OK" and answer["data"][0]["departmentId"] == ROOT_DEPARTMENT
        highest = {key: max(row[key] for row in answer["data"] if row[key] is not None) for key in ("CLGQ", "TTTT")}
        over, under = ("TTTT", "CLGQ") if swapped else ("CLGQ", "TTTT")
        assert 10 < highest[over] <= 12 and highest[under] <= 10
        assert any(row[under] is None for row in answer["data"])
        for row in answer["data"]:
            total = sum(Fraction(str(row[key])) for key in MAXIMA if row[key] is not None)
            assert total == Fraction(str(row["TONG_SCORE"]))
    assert date(2025, 7, 1) == SWAPPED_UNTIL


@pytest.mark.parametrize(
    "asked",
    [
        {"timeType": "month", "year": 2026, "month": 1},
        {"timeType": "month", "year": 2025, "month": 13},
        {"timeType": "year", "year": 2025, "service": "another"},
        {"timeType": "year", "year": 2025, "provinceCode": "H30"},
    ],
)
def test_the_old_api_refuses_what_it_does_not_know(client: TestClient, asked: dict[str, Any]) -> None:
    assert legacy(client, **asked).status_code == 400


@pytest.mark.parametrize("name", ["explanations", "actions", "disputes"])
def test_answers_of_units_are_paged_by_what_changed(client: TestClient, name: str) -> None:
    def pages(size: int, **window: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, 1000):
            query = {**SPAN, **window, "page": page, "size": size}
            answer = client.get(f"/unit_office/api/{name}", params=query).json()
            assert (answer["page"], answer["size"]) == (page, size)
            found += answer["items"]
            if not answer["items"]:
                assert answer["total"] == len(found)
                return found
        raise AssertionError("no end")

    whole = pages(500)
    assert len(whole) > 20 and whole == pages(7)
    keys = [(record["capNhat"], record["id"]) for record in whole]
    assert keys == sorted(set(keys))
    cut = whole[len(whole) // 2]["capNhat"]
    assert pages(500, updatedTo=cut) + pages(500, updatedFrom=cut) == whole
    assert client.get(f"/unit_office/api/{name}", params=SPAN, headers={"Authorization": "x"}).status_code == 401


def test_files_and_database_show_what_is_known_at_the_clock(city: City, tmp_path: Path) -> None:
    said = Evaluations(city)
    early = said.quarters[0][1]  # the last day of the quarter: nobody has evaluated it yet
    before = seconds(moment(END).replace(month=early.month, day=early.day))
    assert said.write_files(tmp_path, before) == []
    said.write_database(tmp_path / "city.sqlite", before)
    with sqlite3.connect(tmp_path / "city.sqlite") as connection:
        assert connection.execute("select count(*) from v_danh_gia_tham_quyen").fetchone() == (0,)
    written = {path.name for path in said.write_files(tmp_path, END)}
    assert {name.split("_2026")[0] for name in written} == {"tu_danh_gia", "khao_sat"} and len(written) >= 4
    assert said.write_files(tmp_path, END) == []
    said.write_database(tmp_path / "city.sqlite", END)
    with sqlite3.connect(tmp_path / "city.sqlite") as connection:
        count = connection.execute("select count(*) from v_danh_gia_noi_bo").fetchone()
    assert count == (len(said.read("internal", END)),) and count[0] > 100


def test_files_are_written_as_their_software_writes_them(city: City, tmp_path: Path) -> None:
    paths = Evaluations(city).write_files(tmp_path, END)
    own = next(path for path in paths if path.name.startswith("tu_danh_gia")).read_bytes()
    assert own.startswith(b"\xef\xbb\xbf") and b"\r\n" in own
    rows = list(csv.DictReader(io.StringIO(own.decode("utf-8-sig")), delimiter=";"))
    assert tuple(rows[0]) == SELF_COLUMNS and any("," in row["Điểm tự chấm"] for row in rows)
    surveys = [path for path in paths if path.name.startswith("khao_sat")]
    book = next(path for path in surveys if path.suffix == ".xlsx")
    sheet = load_workbook(book).worksheets[0]
    assert next(iter(sheet.iter_rows(values_only=True))) == SURVEY_COLUMNS
    texts = [path.read_bytes() for path in surveys if path.suffix == ".csv"]
    assert any(text.startswith(b"\xff\xfe") and "Mã kết quả\t" in text.decode("utf-16") for text in texts)
    apart = [text.decode("utf-8-sig") for text in texts if text.startswith(b"\xef\xbb\xbf")]
    assert apart and all(text != unicodedata.normalize("NFC", text) for text in apart)


def test_people_and_free_text_stand_in_every_feed(city: City) -> None:
    said = Evaluations(city)
    person = {
        "authority": "nguoi_danh_gia", "internal": "ten_can_bo", "self_evaluation": "Người lập", "survey": "Người phụ trách",
        "explanations": "nguoiGui", "actions": "nguoiPhuTrach", "disputes": "nguoiGui",
    }  # fmt: skip
    for name, field in person.items():
        named = [record[field] for record in said.read(name, END) if record[field]]
        assert named and all("Mẫu" in value for value in named), name
