"""Each fault that the stand-in can be asked for reaches the caller as it is described, over a real connection."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.faults import KINDS, LAST, Fault, parse_faults

ROOT = Path(__file__).resolve().parents[2]
DOSSIERS, RATINGS = "/tthc/TraCuuHoSo", "/rating/api/ratings"
PORTAL = "/portal/api/v1/reporting/evaluation/handling-satisfaction"
SIZE = 150


@dataclass
class Source:
    """The stand-in and a caller with one connection kept open."""

    http: httpx.Client

    def faults(self, text: str) -> None:
        self.http.post("/_sandbox/faults", json={"faults": text}).raise_for_status()

    def fired(self) -> list[int]:
        return [told["fired"] for told in self.http.get("/_sandbox/faults").json()["faults"]]

    def dossiers(self, page: int = 1, size: int = SIZE, since: str = "20000101000000") -> httpx.Response:
        body = {"TuNgayCapNhat": since, "DenNgayCapNhat": "20991231000000", "Trang": page, "SoBanGhi": size}
        return self.http.post(DOSSIERS, json=body)

    def ratings(self, page: int = 1, size: int = SIZE) -> httpx.Response:
        asked = {"updatedFrom": "20000101000000", "updatedTo": "20991231000000", "page": page, "size": size}
        return self.http.get(RATINGS, params=asked)

    def codes(self, page: int = 1) -> list[Any]:
        return [record["MaHoSo"] for record in self.dossiers(page).json()["DanhSachHoSo"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("faulty")
    ready = folder / "ready.json"
    log = (folder / "log").open("wb")
    command = [sys.executable, "-m", "sandbox", "serve", "--port", "0", "--ready-file", str(ready), "--size", "600"]
    child = subprocess.Popen([*command, "--faults", "503@1,rating:503@1"], cwd=ROOT, stdout=log, stderr=log)
    while not ready.is_file():
        assert child.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    info = json.loads(ready.read_text())
    yield info["url"], info["token"]
    child.terminate()
    child.wait(30)


@pytest.fixture
def source(server: tuple[str, str]) -> Iterator[Source]:
    headers = {"Authorization": f"Bearer {server[1]}"}
    with httpx.Client(base_url=server[0], headers=headers, timeout=20, trust_env=False) as http:
        yield Source(http)
        Source(http).faults("")


def test_faults_of_the_command_line_are_in_force_from_the_start(source: Source) -> None:
    assert source.fired() == [0, 0]
    assert source.dossiers().status_code == 503
    assert (source.dossiers().status_code, source.ratings().status_code) == (200, 503)
    assert source.fired() == [1, 1]


def test_a_fault_acts_on_its_request_as_often_as_it_says_and_only_on_its_path(source: Source) -> None:
    source.faults("rating:500x2@2")
    assert [source.dossiers().status_code for _ in range(3)] == [200] * 3
    assert [source.ratings().status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    told = source.http.get("/_sandbox/faults").json()
    assert told["faults"] == [{"fault": "rating:500x2@2", "seen": 5, "fired": 2}]
    assert (told["requests"], [entry["path"] for entry in told["log"]]) == (8, [RATINGS, RATINGS])
    source.faults("503x*")
    assert {source.dossiers().status_code for _ in range(4)} == {503}
    source.faults("")
    assert source.dossiers().status_code == 200


def test_too_many_requests_says_when_to_come_again(source: Source) -> None:
    source.faults("429=7@1")
    answer = source.dossiers()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("path", ["dossiers", "ratings"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset", httpx.RemoteProtocolError),
        ("cut", httpx.RemoteProtocolError),
        ("wrong-length=40", httpx.RemoteProtocolError),
        ("timeout", httpx.ReadTimeout),
    ],
)
def test_broken_connections_are_broken_for_the_caller(
    source: Source, path: str, fault: str, error: type[Exception]
) -> None:
    source.faults(f"{fault}@1")
    if fault == "timeout":
        source.http.timeout = httpx.Timeout(20, read=0.3)
    with pytest.raises(error):
        getattr(source, path)()
    source.http.timeout = httpx.Timeout(20)
    assert source.fired() == [1]
    assert getattr(source, path)().status_code == 200


def test_a_length_that_is_too_small_cuts_the_body_and_spoils_what_follows(source: Source) -> None:
    whole = source.dossiers().content
    source.faults("wrong-length=-40@1")
    answer = source.dossiers()
    assert answer.content == whole[:-40]
    assert int(answer.headers["content-length"]) == len(whole) - 40
    # The rest of the body is still on the connection: a caller that keeps it open must not take it for an answer.
    try:
        assert source.dossiers().content == whole
    except httpx.RemoteProtocolError:
        assert source.dossiers().content == whole


def test_half_of_the_json_comes_in_a_whole_answer(source: Source) -> None:
    whole = source.dossiers().content
    source.faults("truncated@1")
    answer = source.dossiers()
    assert (answer.status_code, answer.content) == (200, whole[: len(whole) // 2])
    assert answer.headers["content-type"] == "application/json"


def test_wrong_answers_with_200(source: Source) -> None:
    source.faults("html@1")
    answer = source.ratings()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    source.faults("error-body@1")
    answer = source.dossiers()
    assert (answer.status_code, answer.json()["error_code"]) == (200, "-3")
    assert "DanhSachHoSo" not in answer.json()
    source.faults("error-body@1")
    assert source.ratings().json()["code"] == "ERROR"


def test_an_expired_token_stays_expired(source: Source) -> None:
    source.faults("token-expired@2")
    assert [source.dossiers().status_code for _ in range(3)] == [200, 401, 401]
    assert source.dossiers().json()["error_code"] == "-3"


def test_the_page_before_comes_again(source: Source) -> None:
    first = source.dossiers(1).content
    source.faults("page-repeated@1")
    assert source.dossiers(1).content == first  # nothing comes before page 1
    assert source.dossiers(2).content == first
    assert source.dossiers(2).json()["Trang"] == 2
    assert source.fired() == [1]
    source.faults("page-masked")
    masked = source.dossiers(2).json()
    assert (masked["Trang"], masked["DanhSachHoSo"]) == (2, json.loads(first)["DanhSachHoSo"])
    source.faults("page-repeated@1")
    assert source.ratings(2).json()["page"] == 1


def test_a_page_is_missing_or_short_and_the_total_stays(source: Source) -> None:
    total = source.dossiers().json()["TongSo"]
    last = -(-total // SIZE)
    source.faults("page-missing@last")
    assert len(source.codes(1)) == SIZE
    answer = source.dossiers(last).json()
    assert (answer["DanhSachHoSo"], answer["TongSo"]) == ([], total)
    assert len(source.codes(last)) == total - (last - 1) * SIZE
    source.faults("page-short@2")
    assert [len(source.codes(1)), len(source.codes(2)), len(source.codes(2))] == [SIZE, SIZE - 1, SIZE]


def read_all(source: Source) -> list[Any]:
    total = source.dossiers().json()["TongSo"]
    return [code for page in range(1, -(-total // SIZE) + 1) for code in source.codes(page)]


@pytest.mark.parametrize("by", [1, -1])
def test_rows_move_until_the_first_page_is_asked_again(source: Source, by: int) -> None:
    clean = read_all(source)
    source.faults(f"shift={by}@2")
    moved = read_all(source)  # its first request asks for the total
    assert source.fired() == [1]
    assert len(moved) == len(clean)
    assert moved[:SIZE] == clean[:SIZE]
    if by == 1:
        assert clean[SIZE] not in moved
        assert moved[SIZE:] == [*clean[SIZE + 1 :], clean[0]]
    else:
        assert moved[SIZE] == clean[SIZE - 1]
        assert clean[-1] not in moved
    assert read_all(source) == clean


def test_the_total_changes_on_one_page(source: Source) -> None:
    total = source.dossiers().json()["TongSo"]
    source.faults("total-changes=2@2")
    assert [source.dossiers(page).json()["TongSo"] for page in (1, 2, 3)] == [total, total + 2, total]


def test_records_come_twice_and_are_counted(source: Source) -> None:
    clean = read_all(source)
    source.faults("duplicate-keys")
    twice = read_all(source)
    assert source.dossiers().json()["TongSo"] == len(twice) > len(clean)
    assert sorted(set(map(str, twice))) == sorted(set(map(str, clean)))
    source.faults("unstable-sort@1")
    codes = source.codes(1)
    assert codes[0] == codes[1] == clean[0]
    assert codes[2:] == clean[2:SIZE]


def test_deleted_records_are_in_no_answer(source: Source) -> None:
    clean = list(dict.fromkeys(read_all(source)))
    source.faults("hard-delete=3")
    kept = read_all(source)
    assert set(map(str, clean)) - set(map(str, kept)) == set(map(str, clean[-3:]))
    source.faults("late-delete=2")
    total = source.dossiers(since="20261001000000").json()["TongSo"]
    assert set(map(str, clean)) - set(map(str, read_all(source))) == set(map(str, clean[:2]))
    source.faults("")
    assert source.dossiers(since="20261001000000").json()["TongSo"] == total


def changed_records(source: Source, fault: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Records of the first page that a fault changes, before and after."""
    source.faults("")
    before = source.dossiers().json()["DanhSachHoSo"]
    source.faults(fault)
    answer = json.loads(source.dossiers().content.decode(errors="replace"))
    assert source.fired() == [1]
    pairs = list(zip(before, answer["DanhSachHoSo"], strict=True))
    return [(one, other) for one, other in pairs if one != other]


def test_the_shape_of_records_changes(source: Source) -> None:
    added = changed_records(source, "new-field")
    assert len(added) == SIZE
    assert {tuple(set(new) - set(old)) for old, new in added} == {("truongMoi",)}
    gone = changed_records(source, "missing-field=NgayTiepNhan")
    assert len(gone) == SIZE
    assert {tuple(set(old) - set(new)) for old, new in gone} == {("NgayTiepNhan",)}
    assert all("MaHoSo" not in new for _, new in changed_records(source, "missing-field"))


def test_single_records_are_damaged(source: Source) -> None:
    typed = changed_records(source, "type-changed=MaTTHC")
    assert 0 < len(typed) < SIZE / 3
    assert all(new["MaTTHC"] == {"giaTri": old["MaTTHC"]} for old, new in typed)
    huge = changed_records(source, "huge-field")
    assert all(len(new["MaTTHC"]) == 200_000 for _, new in huge)
    broken = changed_records(source, "invalid-utf8")
    assert all("\ufffd" in new["MaTTHC"] for _, new in broken)
    assert len(typed) == len(huge) == len(broken)
    with pytest.raises(UnicodeDecodeError):
        source.dossiers().content.decode()


def test_older_copies_come_out_of_order(source: Source) -> None:
    changed = changed_records(source, "cursor-back=2")
    assert changed
    for old, new in changed:
        one, other = (datetime.strptime(record["NgayCapNhat"], "%Y%m%d%H%M%S") for record in (old, new))
        assert (one - other).days == 2
    assert any(new["NgayTiepNhan"] < old["NgayTiepNhan"] for old, new in changed)


def test_dates_in_other_forms_and_impossible_ones(source: Source) -> None:
    changed = changed_records(source, "date-forms")
    received = {str(new["NgayTiepNhan"]) for _, new in changed}
    for form in ("T", "/", "+07:00", "-"):
        assert any(form in date for date in received), form
    assert {"20260231093000", "31/02/2026", "00000000", "20261301", "2026-02-30", "99999999999999"} <= received
    slashed = [(old, new) for old, new in changed if " " in new["NgayTiepNhan"] and "/" in new["NgayTiepNhan"]]
    assert slashed
    for old, new in slashed:
        at = datetime.strptime(new["NgayTiepNhan"], "%d/%m/%Y %H:%M:%S")
        assert at == datetime.strptime(old["NgayTiepNhan"], "%Y%m%d%H%M%S")


def test_a_clock_that_is_ahead(source: Source) -> None:
    def ahead() -> float:
        return (parsedate_to_datetime(source.dossiers().headers["date"]) - datetime.now(UTC)).total_seconds()

    assert abs(ahead()) < 60
    source.faults("clock-skew=3600")
    assert 3500 < ahead() < 3700
    source.faults("clock-skew=-3600")
    assert -3700 < ahead() < -3500


def test_pages_of_the_portal_are_pages_too(source: Source) -> None:
    asked = {"fromDate": "2026-09-15", "toDate": "2026-10-14", "currentPage": 1, "pageSize": 100}
    first = source.http.post(PORTAL, json=asked).json()
    source.faults("page-masked@1,portal:missing-field=departmentName@2")
    assert source.http.post(PORTAL, json=asked).json() == first
    second = source.http.post(PORTAL, json={**asked, "currentPage": 2}).json()
    ids = [unit["departmentId"] for unit in first["data"]["evaluation"]]
    assert [unit["departmentId"] for unit in second["data"]["evaluation"]] == ids
    assert "departmentName" not in second["data"]["evaluation"][0]


@pytest.mark.parametrize(
    "text", ["42", "429@0", "429@x", "500x0", "nothing", "timeout=3", "429=soon", "cut@2@3", "rating:", ":429"]
)
def test_what_is_no_fault_is_refused_and_changes_nothing(source: Source, text: str) -> None:
    source.faults("500x*")
    answer = source.http.post("/_sandbox/faults", json={"faults": text})
    assert answer.status_code == 400
    assert text in answer.json()["message"]
    assert source.dossiers().status_code == 500


def test_faults_are_read_as_written() -> None:
    assert parse_faults("rating:500x3@2, wrong-length=-40@last,clock-skew=900,token-expired@3,hard-deletex*@2") == [
        Fault("rating:500x3@2", "500", "rating", 3, 2, None),
        Fault("wrong-length=-40@last", "wrong-length", "", 1, LAST, "-40"),
        Fault("clock-skew=900", "clock-skew", "", None, 1, "900"),
        Fault("token-expired@3", "token-expired", "", None, 3, None),
        Fault("hard-deletex*@2", "hard-delete", "", None, 2, None),
    ]
    assert parse_faults("") == []


def test_the_command_line_explains_every_fault() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "sandbox", "serve", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name, kind in KINDS.items():
        assert kind.example in told
        assert parse_faults(kind.example)[0].name == name
    wrong = subprocess.run(
        [sys.executable, "-m", "sandbox", "serve", "--faults", "42@2"], cwd=ROOT, capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert "no fault '42@2'" in wrong.stderr
