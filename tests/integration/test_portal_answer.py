"""A real answer of the national portal (Phú Thọ, quarter 3 of 2026): D equals what the portal says, for every unit.

Read only where the shared folder is at hand; the figures are as published.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect

ANSWER = "portal_handling_satisfaction_phu_tho_2026-Q3.json"
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")


def portal_that_answers(whole: bytes) -> tuple[ThreadingHTTPServer, list[dict[str, Any]]]:
    """A server whose first page is this answer, with 201, for whoever has the right token; and what it was asked."""
    asked: list[dict[str, Any]] = []
    answer = json.loads(whole)
    end = json.dumps(answer | {"data": answer["data"] | {"evaluation": []}}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            satisfaction = self.path.endswith("/handling-satisfaction")  # the other groups have no answer here
            if satisfaction:
                asked.append(request)
            body = whole if satisfaction and request["currentPage"] == 1 else end
            known = self.headers.get("Authorization") == "Bearer secret"
            self.send_response(201 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server, asked


def json_lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def portal(
    shared_data: Path, new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, dict[str, Any], list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("portal")
    body = (shared_data / ANSWER).read_bytes()
    answer = json.loads(body)["data"]
    server, asked = portal_that_answers(body)
    settings = new_warehouse(
        HAILONG_SOURCE_PORTAL_URL=f"http://127.0.0.1:{server.server_port}", HAILONG_SOURCE_PORTAL_TOKEN="secret"
    )
    units = [(f"PT.{row['stt']:02d}", row["departmentId"], row["departmentName"]) for row in answer["evaluation"]]
    register = [
        {
            "MaCoQuan": code, "TenCoQuan": name, "LoaiCoQuan": "department", "NhomXepHang": "phu_tho",
            "TenNhomXepHang": "Phú Thọ", "NgayBatDau": "20250701", "ChamDiem": True, "ChiTiepNhan": False,
            "NoiNiemYet": "desk;website",
        }
        for code, _, name in units
    ]  # fmt: skip
    codes = [
        {"HeThong": "portal", "LoaiMa": "unit", "MaNguon": department, "MaDich": code, "XuLy": "good"}
        for code, department, _ in units
    ]
    procedures = [
        {"MaTTHC": "1.000001", "TenTTHC": "x", "GiaiQuyetNgay": False, "SoLanBoSungToiDa": 1, "NgayHieuLuc": "20250701"}
    ]
    for feed, records in (("unit_register", register), ("code_map", codes), ("procedure_register", procedures)):
        ingest(settings, feed, file=json_lines(folder / f"{feed}.jsonl", records))
    # Our quarter 3 is 15 June to 14 September: exactly one quarter, three months and a year are asked for.
    ingest(
        settings,
        "portal_evaluation",
        since=datetime(2026, 6, 15, tzinfo=ZONE),
        until=datetime(2026, 9, 15, tzinfo=ZONE),
    )
    server.shutdown()
    build(settings)
    return settings, answer, asked


def test_the_connector_asks_for_our_own_windows(portal: tuple[Settings, dict[str, Any], list[dict[str, Any]]]) -> None:
    _, _, asked = portal
    windows = {(request["fromDate"], request["toDate"]) for request in asked}
    assert ("2026-06-15", "2026-09-14") in windows
    assert ("2026-07-15", "2026-08-14") in windows
    assert ("2025-12-15", "2026-12-14") in windows


def test_d_equals_the_total_score_of_all_12_units(
    portal: tuple[Settings, dict[str, Any], list[dict[str, Any]]],
) -> None:
    settings, answer, _ = portal
    expected = {f"PT.{row['stt']:02d}": Decimal(str(row["totalScore"])) for row in answer["evaluation"]}
    assert len(expected) == 12
    assert len(set(expected.values())) > 3
    with connect(settings) as connection:
        rows = connection.execute(
            "select unit_code, value, status from marts.index_score where index_code = 'D' and period_code = '2026-Q3'"
        ).fetchall()
    assert {unit: value for unit, value, _ in rows} == expected
    assert {status for _, _, status in rows} == {"scored"}


def score(metric: dict[str, Any]) -> Decimal:
    """The portal's three formulas as `scoring.md` states them, to two decimals."""
    n, d = Decimal(metric["numerator"]), Decimal(metric["denominator"])
    if metric["code"] == "DOSSIER_RECEIVING_SATISFACTION":
        value = min(Decimal(6), 6 * (n / d) / Decimal("0.9")) if d else Decimal(0)
    else:
        value = 6 * n / d if d else Decimal(6)
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_the_three_formulas_agree_on_every_metric(
    portal: tuple[Settings, dict[str, Any], list[dict[str, Any]]],
) -> None:
    settings, answer, _ = portal
    scored = [m for row in (answer["overview"], *answer["evaluation"]) for m in row["metrics"] if m["maxScore"]]
    assert len(scored) == 13 * 3
    assert [m for m in scored if abs(score(m) - Decimal(str(m["score"]))) > Decimal("0.01")] == []
    with connect(settings) as connection:
        rows = connection.execute(
            "select unit_code, recomputed_score, difference from facts.fct_d_petitions where period_code = '2026-Q3'"
        ).fetchall()
    assert len(rows) == 12
    assert all(difference is not None and abs(difference) <= Decimal("0.01") for _, _, difference in rows), rows
