"""The stand-in answers like the systems it stands for: shapes, paging, tokens, clock, the same bytes for a seed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from openpyxl import load_workbook
from starlette.testclient import TestClient

from sandbox import drops
from sandbox.generator import City
from sandbox.options import SIZES, Options, seconds
from sandbox.registers import ROOT_DEPARTMENT
from sandbox.server import DEFAULT_TOKEN, Sandbox, build_app

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Options(size=SIZES["small"])
END = seconds(OPTIONS.end_at)
SPAN = {"TuNgayCapNhat": "20260615000000", "DenNgayCapNhat": "20261119000000"}
PORTAL = "/portal/api/v1/reporting/evaluation/handling-satisfaction"


def client_of(sandbox: Sandbox, token: str = DEFAULT_TOKEN) -> TestClient:
    return TestClient(build_app(sandbox), headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def city() -> City:
    return City(OPTIONS)


@pytest.fixture
def client(city: City) -> Iterator[TestClient]:
    with client_of(Sandbox(city, DEFAULT_TOKEN, END)) as client:
        yield client


def dossiers(client: TestClient, size: int = 700, **window: str) -> tuple[list[dict[str, Any]], int]:
    """All pages of a window, and the declared total."""
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        body = {**SPAN, **window, "Trang": page, "SoBanGhi": size}
        answer = client.post("/tthc/TraCuuHoSo", json=body).json()
        assert answer["error_code"] == "0", answer
        found += answer["DanhSachHoSo"]
        if not answer["DanhSachHoSo"]:
            return found, answer["TongSo"]
        page += 1


def test_pages_cover_every_dossier_once_and_the_planned_ones_twice(client: TestClient, city: City) -> None:
    found, total = dossiers(client)
    assert len(found) == total == OPTIONS.size + OPTIONS.bad_records + 6
    times = Counter(record["MaHoSo"] for record in found if record["MaHoSo"])
    assert Counter(times.values())[2] == 6 and max(times.values()) == 2
    assert len(times) == OPTIONS.size + OPTIONS.bad_records - 3  # three have no key
    keys = [(record["NgayCapNhat"], record["MaHoSo"] or "") for record in found if record["MaHoSo"]]
    assert keys == sorted(keys)
    twice = [record for record in found if times[record["MaHoSo"]] == 2]
    assert len({json.dumps(record, sort_keys=True) for record in twice}) == 6


def test_page_size_and_window_cuts_do_not_change_what_is_read(client: TestClient) -> None:
    whole, _ = dossiers(client)
    small, _ = dossiers(client, size=97)
    assert whole == small
    first, _ = dossiers(client, DenNgayCapNhat="20260901120000")
    second, _ = dossiers(client, TuNgayCapNhat="20260901120000")
    assert first + second == whole
    assert max(record["NgayCapNhat"] for record in first) < "20260901120000"


def test_every_request_without_the_token_is_refused(city: City) -> None:
    with client_of(Sandbox(city, DEFAULT_TOKEN, END), token="wrong") as client:
        posts = ["/tthc/TraCuuHoSo", "/tthc/LayDanhSachTTHC", "/tthc/LayDanhMucCoQuan", "/tthc/LayDanhMucMa", PORTAL,
                 "/_sandbox/clock"]  # fmt: skip
        assert [client.post(path, json={}).status_code for path in posts] == [401] * 6
        assert client.get("/rating/api/ratings").status_code == 401
        assert client.get("/_sandbox/health").json()["status"] == "ok"


def test_wrong_parameters_are_answered_in_words(client: TestClient) -> None:
    answer = client.post("/tthc/TraCuuHoSo", json={**SPAN, "TuNgayCapNhat": "2026-06-15"}).json()
    assert answer["error_code"] == "3" and "TuNgayCapNhat" in answer["error_message"]
    assert client.post("/tthc/TraCuuHoSo", content=b"{").json()["error_code"] == "3"
    assert client.post("/tthc/LayDanhMucMa", json={"Trang": 0}).json()["error_code"] == "3"
    assert client.get("/rating/api/ratings").status_code == 400
    assert client.post(PORTAL, json={"fromDate": "2026-11-14", "toDate": "2026-10-15"}).status_code == 400
    assert client.get("/nowhere").status_code == 404


def test_registers_name_every_unit_procedure_and_code_in_use(client: TestClient) -> None:
    units = client.post("/tthc/LayDanhMucCoQuan", json={"SoBanGhi": 1000}).json()["DanhSachCoQuan"]
    assert Counter(unit["LoaiCoQuan"] for unit in units if unit["NgayKetThuc"] is None) == {
        "ward": 113, "commune": 54, "special_zone": 1, "department": 16, "management_board": 1, "service_centre": 1,
    }  # fmt: skip
    procedures = client.post("/tthc/LayDanhSachTTHC", json={}).json()["DanhSachTTHC"]
    codes = client.post("/tthc/LayDanhMucMa", json={"SoBanGhi": 5000}).json()["DanhSachMa"]
    known = {(code["HeThong"], code["LoaiMa"], code["MaNguon"]) for code in codes}
    assert len(known) == len(codes)
    found, _ = dossiers(client)
    unknown = [
        record for record in found
        if ("tthc", "unit", record["DonViXuLy"]) not in known or ("tthc", "unit", record["NoiNopHoSo"]) not in known
    ]  # fmt: skip
    assert len(unknown) == 3  # the ones that are unreadable on purpose
    limits = {procedure["MaTTHC"] for procedure in procedures}
    assert {".".join(record["MaTTHC"].split(".")[:2]) for record in found} <= limits
    query = {"updatedFrom": SPAN["TuNgayCapNhat"], "updatedTo": SPAN["DenNgayCapNhat"], "size": 5000}
    ratings = client.get("/rating/api/ratings", params=query).json()
    assert ratings["total"] == len(ratings["items"]) > 100
    assert {r["thietBi"] for r in ratings["items"]} - {None} <= {k for s, t, k in known if t == "device"}
    assert {r["cauHoi"] for r in ratings["items"]} == {"THAI_DO", "CHUNG", "THOI_GIAN", None}
    assert any(r["maHoSo"] is None and r["thietBi"] for r in ratings["items"])
    assert any(r["maCoQuan"] is None for r in ratings["items"])


def test_portal_scores_follow_its_formulas_from_its_own_counts(client: TestClient, city: City) -> None:
    window = {"fromDate": "2026-10-15", "toDate": "2026-11-14", "rootDepartmentId": ROOT_DEPARTMENT}
    answer = client.post(PORTAL, json={**window, "currentPage": 1, "pageSize": 200})
    assert answer.status_code == 201
    data = answer.json()["data"]
    pages = [
        client.post(PORTAL, json={**window, "currentPage": page, "pageSize": 100}).json()["data"]["evaluation"]
        for page in (1, 2, 3)
    ]
    assert [len(page) for page in pages] == [100, 83, 0] and pages[0] + pages[1] == data["evaluation"]
    blocked = [row for row in data["evaluation"] if row["totalScore"] is None]
    assert len(blocked) == 1 and blocked[0]["totalPetitions"] > 0
    for row in [data["overview"], *data["evaluation"]]:
        exact = Fraction(0)
        for metric in row["metrics"]:
            n, d = metric["numerator"], metric["denominator"]
            if metric["code"].startswith("PETITION_CLASSIFICATION"):
                assert metric["score"] is None and metric["maxScore"] == 0
                continue
            if metric["code"] == "DOSSIER_RECEIVING_SATISFACTION":
                points = min(Fraction(6), Fraction(n, d) * 6 / Fraction(9, 10)) if d else Fraction(0)
            else:
                points = Fraction(6 * n, d) if d else Fraction(6)
            assert abs(Fraction(str(metric["score"])) - points) <= Fraction(1, 200)
            exact += points
        if row["totalScore"] is not None:
            assert abs(Fraction(str(row["totalScore"])) - exact) <= Fraction(1, 200)


def test_portal_answer_has_the_shape_of_the_real_one(client: TestClient) -> None:
    row = client.post(PORTAL, json={"fromDate": "2026-10-15", "toDate": "2026-11-14"}).json()["data"]["evaluation"][30]
    assert set(row) == {
        "stt", "departmentId", "departmentName", "departmentType", "departmentLevel", "agencyLevel", "totalScore",
        "totalMaxScore", "ratio", "scoreDelta", "metrics", "totalPetitions", "classifiedPetitions", "totalDossiers",
        "averageScore",
    }  # fmt: skip
    assert {len(metric) for metric in row["metrics"]} == {7} and len(row["metrics"]) == 5


def test_the_clock_hides_later_records_and_undoes_later_changes(city: City, tmp_path: Path) -> None:
    sandbox = Sandbox(city, DEFAULT_TOKEN, END, drop=tmp_path)
    with client_of(sandbox) as client:
        late, _ = dossiers(client)
        assert client.post("/_sandbox/clock", json={"now": "20260831235959"}).json()["now"] == "20260831235959"
        early, total = dossiers(client)
        assert 0 < total < len(late)
        assert all(record["NgayCapNhat"] <= "20260831235959" for record in early)
        later = {record["MaHoSo"]: record for record in late if record["MaHoSo"]}
        changed = [r for r in early if r["MaHoSo"] and later[r["MaHoSo"]]["NgayCapNhat"] > r["NgayCapNhat"]]
        assert changed and all(r["NgayKetThucXuLy"] is None or r["TrangThaiHoSo"] in (9, "9") for r in changed
                               if r["TrangThaiHoSo"] not in (3, 7, 8, 10, "3", "7", "8", "10"))  # fmt: skip
        assert client.post("/_sandbox/clock", json={"now": "20270101000000"}).status_code == 400
        client.post("/_sandbox/clock", json={"now": "20261118235959"})
        assert dossiers(client)[0] == late


def test_extended_due_dates_move_only_after_the_early_read(city: City) -> None:
    extended = [i for i in range(len(city.dossiers)) if city.dossiers.extended_at[i] >= 0]
    assert extended
    sandbox = Sandbox(city, DEFAULT_TOKEN, city.early_read)
    with client_of(sandbox) as client:
        before = {record["MaHoSo"]: record for record in dossiers(client)[0]}
        client.post("/_sandbox/clock", json={"now": "20261118235959"})
        after = {record["MaHoSo"]: record for record in dossiers(client)[0]}
    for row in extended:
        code = city.dossiers.code[row]
        assert before[code]["NgayHenTra"] < after[code]["NgayHenTra"]
        assert before[code]["DanhSachHoSoBoSung"] == after[code]["DanhSachHoSoBoSung"]


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def answers(seed: int, folder: Path) -> list[bytes]:
        city = City(Options(size=300, seed=seed))
        with client_of(Sandbox(city, DEFAULT_TOKEN, END, drop=folder)) as client:
            query = {"updatedFrom": SPAN["TuNgayCapNhat"], "updatedTo": SPAN["DenNgayCapNhat"]}
            found = [
                client.post("/tthc/TraCuuHoSo", json={**SPAN, "SoBanGhi": 1000}).content,
                client.get("/rating/api/ratings", params=query).content,
                client.post(PORTAL, json={"fromDate": "2026-06-15", "toDate": "2026-09-14"}).content,
            ]
        return found + [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]

    first = answers(7, tmp_path / "a")
    time.sleep(1.1)  # a workbook that knew the hour would differ
    assert first == answers(7, tmp_path / "b")
    assert first[0] != answers(8, tmp_path / "c")[0]


def test_personal_fields_are_filled_and_obviously_made_up(client: TestClient) -> None:
    record = dossiers(client)[0][0]
    assert "Mẫu" in record["ChuHoSo"] and record["Email"].endswith("@example.invalid") and record["SoDienThoai"]


def test_workbooks_have_the_columns_and_real_dates(city: City, tmp_path: Path) -> None:
    paths = drops.write(city, tmp_path, END)
    assert [path.name for path in paths][:1] == ["niem_yet_202606.xlsx"] and len(paths) >= 3
    assert drops.write(city, tmp_path, END) == []
    sheet = load_workbook(paths[0])["Kiểm tra niêm yết"]
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0] == drops.COLUMNS
    assert sum(not hasattr(row[4], "year") for row in rows[1:]) == 1  # the unreadable one
    before = drops.workbooks(city, seconds(OPTIONS.start_at))
    assert before == {}


def test_flaky_server_answers_every_nth_request_with_503(city: City) -> None:
    with client_of(Sandbox(city, DEFAULT_TOKEN, END, flaky=3)) as client:
        assert [client.post("/tthc/LayDanhMucMa", json={}).status_code for _ in range(6)] == [200, 200, 503] * 2


def test_command_line_serves_says_where_and_stops(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "sandbox", "serve", "--size", "tiny", "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        assert "sandbox ready on http://127.0.0.1:" in process.stdout.readline()
        said = json.loads(ready.read_text(encoding="utf-8"))
        assert said["pid"] == process.pid
        url = said["env"]["HAILONG_SOURCE_TTHC_URL"]
        token = said["env"]["HAILONG_SOURCE_TTHC_TOKEN"]
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.post(f"{url}/LayDanhMucCoQuan", json={}, headers=headers).json()["TongSo"] == 186 + 464
        taken = subprocess.run([*command[:-3], str(said["port"])], cwd=ROOT, capture_output=True, text=True)
        assert taken.returncode == 1 and "choose another --port" in taken.stderr
    finally:
        process.terminate()
        process.wait(10)
    wrong = subprocess.run([*command[:4], "--span-months", "99"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "span-months" in wrong.stderr and "Traceback" not in wrong.stderr


def test_other_spans_work() -> None:
    options = Options(size=50, span_months=2, end=date(2026, 4, 20))
    assert [month.code for month in options.months()] == ["2026-03", "2026-04"]
    assert [quarter.code for quarter in Options(end=date(2026, 12, 14), span_months=6).quarters()] == [
        "2026-Q3", "2026-Q4",
    ]  # fmt: skip
    assert len(City(options).dossiers) == 62 and City(Options(size=0, bad_records=0)).ratings is not None


def test_sandbox_imports_nothing_of_the_package() -> None:
    files = sorted((ROOT / "sandbox").glob("**/*.py"))
    assert len(files) >= 9
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] in {"hailong", "expectations"}], path
