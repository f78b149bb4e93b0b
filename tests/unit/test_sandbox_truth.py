"""Truth agrees with a recount that sees only what the stand-in sends: the plain rules over the plain records."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from openpyxl import load_workbook

from sandbox import drops, truth
from sandbox.generator import City
from sandbox.options import SIZES, Month, Options, seconds
from sandbox.portal import Portal
from sandbox.records import DossierFeed, RatingFeed
from sandbox.registers import code_records, procedure_records, unit_records
from sandbox.workdays import calendar, number

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = Options(size=SIZES["small"] * 3)
END = seconds(OPTIONS.end_at)
TEST = re.compile(r"^(TEST |Hồ sơ thử)")
Cells = dict[tuple[str, str, str], tuple[int | Decimal | None, int | None, str]]

CODES = {(r["HeThong"], r["LoaiMa"], r["MaNguon"]): r["MaDich"] for r in code_records()}
PROCEDURES = {r["MaTTHC"]: r for r in procedure_records()}
with (ROOT / "dbt_project" / "seeds" / "calendar_day.csv").open(encoding="utf-8") as file:
    WORKING = {date.fromisoformat(r["day"]): r["is_working_day"].lower() == "true" for r in csv.DictReader(file)}


class When(NamedTuple):
    """A moment and whether only its date is known."""

    at: datetime
    is_date: bool

    def before(self, other: When) -> bool:
        if self.is_date or other.is_date:
            return self.at.date() < other.at.date()
        return self.at < other.at


def when(text: str | None) -> When | None:
    if text is None:
        return None
    at = datetime.strptime(text, "%Y%m%d%H%M%S" if len(text) == 14 else "%Y%m%d")
    return When(at, len(text) == 8 or at.time() == datetime.min.time())


def working(day: date, step: int = 1) -> date:
    """The step-th working day after the day; 0: the day itself or the next working one."""
    while step > 0:
        day += timedelta(days=1)
        step -= WORKING[day]
    while not WORKING[day]:
        day += timedelta(days=1)
    return day


def first_due(versions: list[dict[str, Any]]) -> When | None:
    version = next((v for v in versions if v["NgayHenTra"]), None)
    if version is None:
        return None
    asked = sorted(version["DanhSachHoSoBoSung"], key=lambda s: (s["NgayBoSung"], s["HoSoBoSungId"]))
    return when((asked[0]["NgayHenTraTruoc"] if asked else None) or version["NgayHenTra"])


def legal_due(versions: list[dict[str, Any]]) -> When | None:
    record = versions[-1]
    full = [s for s in record["DanhSachHoSoBoSung"]
            if s["TrangThaiBoSung"] == 2 and s["NgayTiepNhanBoSung"] and s["NgayHenTraMoi"]]  # fmt: skip
    due = first_due(versions)
    if full:
        due = when(max(full, key=lambda s: (s["NgayTiepNhanBoSung"], s["HoSoBoSungId"]))["NgayHenTraMoi"])
    received = when(record["NgayTiepNhan"])
    if due is None and received is not None:
        procedure = PROCEDURES[".".join(record["MaTTHC"].split(".")[:2])]
        day = received.at.date()
        if procedure["GiaiQuyetNgay"]:
            late = not received.is_date and received.at.hour >= 15
            due = When(datetime.combine(working(day) if late else day, datetime.min.time()), True)
        elif procedure["ThoiHanNgayLamViec"]:
            due = When(datetime.combine(working(day, procedure["ThoiHanNgayLamViec"]), datetime.min.time()), True)
    if due is not None and not WORKING[due.at.date()]:
        due = When(datetime.combine(working(due.at.date(), 0), datetime.min.time()), True)
    return due


def readable(record: dict[str, Any]) -> bool:
    return (
        record["MaHoSo"] is not None
        and isinstance(record["DanhSachHoSoBoSung"], list)
        and record["NgayTiepNhan"] != "20260231093000"
        and ("tthc", "unit", record["DonViXuLy"]) in CODES
    )


@pytest.fixture(scope="module")
def city() -> City:
    return City(OPTIONS)


@pytest.fixture(scope="module")
def versions(city: City) -> dict[str, list[dict[str, Any]]]:
    """Every readable dossier as read at the early moment and at the end."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for now in (city.early_read, END):
        feed = DossierFeed(city, now)
        for record in feed.page(0, len(feed.rows)):
            if readable(record):
                found[record["MaHoSo"]].append(record)
    return found


@pytest.fixture(scope="module")
def periods() -> list[Month]:
    return OPTIONS.months() + OPTIONS.quarters()


@pytest.fixture(scope="module")
def stated(city: City) -> Cells:
    return {
        (c.period_code, c.unit_code, c.index_code): (c.numerator, c.denominator, c.status)
        for c in truth.index_truth(city, END)
    }


def periods_of(day: date, periods: list[Month]) -> Iterator[str]:
    for period in periods:
        if period.first <= day <= period.last:
            yield period.code


def test_span_holds_the_expected_periods(periods: list[Month]) -> None:
    assert [period.code for period in periods] == ["2026-07", "2026-08", "2026-09", "2026-10", "2026-11", "2026-Q3"]


def test_working_days_are_those_of_the_warehouse() -> None:
    days = sorted(WORKING)
    own = [bool(calendar().is_working(number(day))) for day in days]
    assert [day for day, mine in zip(days, own, strict=True) if mine != WORKING[day]] == []


def test_timeliness_and_guidance_equal_a_recount_of_the_records(
    versions: dict[str, list[dict[str, Any]]], stated: Cells, periods: list[Month], city: City
) -> None:
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    late_by_the_source_only = 0
    for history in versions.values():
        record = history[-1]
        result, received = when(record["NgayKetThucXuLy"]) or when(record["NgayTra"]), when(record["NgayTiepNhan"])
        unit = CODES["tthc", "unit", record["DonViXuLy"]]
        if str(record["TrangThaiHoSo"]) not in {"8", "9", "10"} or result is None or unit is None:
            continue
        assert received is not None
        out_of_both = bool(TEST.match(record["TrichYeuHoSo"])) or result.before(received)
        due = legal_due(history)
        on_time = due is not None and not due.before(result)
        late_by_the_source_only += on_time != (due is not None and not legal_due(history[-1:]).before(result))  # type: ignore[union-attr]
        returns = set()
        for s in record["DanhSachHoSoBoSung"]:
            asked = when(s["NgayBoSung"])
            assert asked is not None
            if s["TrangThaiBoSung"] not in (4, 5) and not asked.before(received) and not result.before(asked):
                returns.add(s["HoSoBoSungId"])
        for period in periods_of(result.at.date(), periods):
            a, b = sums[period, unit, "A"], sums[period, unit, "B"]
            if out_of_both or due is None:
                a[2] += 1
            else:
                a[0] += on_time
                a[1] += 1
            if out_of_both:
                b[2] += 1
            else:
                b[0] += len(returns) <= 1
                b[1] += 1
    assert late_by_the_source_only > 0  # the early read matters
    cells = {(c.period_code, c.unit_code, c.index_code): c for c in truth.index_truth(city, END)}
    compared = 0
    for key, cell in cells.items():
        if key[2] in "AB" and cell.status != "not_applicable":
            assert [cell.numerator, cell.denominator, cell.excluded] == sums.get(key, [0, 0, 0]), key
            assert cell.status == ("scored" if cell.denominator else "no_data")
            compared += 1
    assert compared == 2 * 185 * len(periods)
    assert {"no_data", "not_applicable"} < {cell.status for cell in cells.values()}


def test_attitude_equals_a_recount_of_the_ratings(
    versions: dict[str, list[dict[str, Any]]], stated: Cells, periods: list[Month], city: City
) -> None:
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    feed = RatingFeed(city)
    for rating in feed.page(*feed.window(0, END + 1, END)):
        if rating["id"] is None or rating["thoiGian"] == "20260231093000" or rating["mucDo"] == "TẠM ĐƯỢC":
            continue
        if rating["cauHoi"] not in (None, "THAI_DO"):
            continue
        dossier = versions.get(rating["maHoSo"], [None])[-1]
        unit = CODES["rating", "unit", rating["maCoQuan"]] if rating["maCoQuan"] else None
        if unit is None and rating["kenh"] in ("KIOSK", "TAI_QUAY"):
            if dossier is not None:
                unit = CODES["tthc", "unit", dossier["NoiNopHoSo"]]
            elif rating["thietBi"]:
                unit = CODES["rating", "device", rating["thietBi"]]
        elif unit is None and dossier is not None:
            unit = CODES["tthc", "unit", dossier["DonViXuLy"]]
        if unit is None:
            continue
        rated = when(rating["thoiGian"])
        assert rated is not None
        for period in periods_of(rated.at.date(), periods):
            sums[period, unit, "C"][0] += rating["mucDo"] != "KHÔNG HÀI LÒNG"
            sums[period, unit, "C"][1] += 1
    mine = {key: [n, d] for key, (n, d, _) in stated.items() if key[2] == "C"}
    assert {key: value for key, value in mine.items() if value != [0, 0]} == dict(sums)
    assert any(0 < value[1] < 5 for value in mine.values()) and [0, 0] in mine.values()


def test_petitions_state_the_portals_own_score(stated: Cells, city: City) -> None:
    november = next(month for month in OPTIONS.months() if month.code == "2026-11")
    rows = Portal(city).answer(november.first, november.last, END, 1, 500)["data"]["evaluation"]
    scores = {CODES["portal", "unit", row["departmentId"]]: row["totalScore"] for row in rows}
    mine = {key[1]: value for key, value in stated.items() if key[0] == "2026-11" and key[2] == "D"}
    assert Counter(status for _, _, status in mine.values()) == {
        "scored": 182, "no_data": 2, "blocked_by_quality": 1, "not_applicable": 1,
    }  # fmt: skip
    for unit, (numerator, _, status) in mine.items():
        assert (status == "scored") == (scores.get(unit) is not None)
        if status == "scored":
            assert numerator == Decimal(str(scores[unit]))


def test_posting_equals_a_recount_of_the_workbooks(
    stated: Cells, periods: list[Month], city: City, tmp_path: Path
) -> None:
    checks: dict[tuple[str, str], list[tuple[date, bool]]] = defaultdict(list)
    for path in drops.write(city, tmp_path, END):
        for row in load_workbook(path, read_only=True).active.iter_rows(min_row=2, values_only=True):
            place = CODES.get(("inspection", "posting_place", row[3]))
            if place and isinstance(row[4], datetime):
                unit = CODES["inspection", "unit", row[1]]
                checks[unit, place].append((row[4].date(), row[5] == "Đạt"))
    active = [record for record in unit_records() if not record["NgayKetThuc"]]
    places = {record["MaCoQuan"]: record["NoiNiemYet"].split(";") for record in active}
    for period in periods:
        for unit, required in places.items():
            passes: list[bool] = []
            status = "scored"
            for place in required:
                valid = [c for c in checks[unit, place] if 0 <= (period.last - c[0]).days <= 100]
                if not valid:
                    status = "awaiting_input"
                    break
                latest = max(day for day, _ in valid)
                passes.append(all(passed for day, passed in valid if day == latest))
            numerator, denominator, mine = stated[period.code, unit, "E"]
            assert mine == status, (period.code, unit)
            if status == "scored":
                assert (numerator, denominator) == (sum(passes), len(required)), (period.code, unit)
    november = Counter(value for key, value in stated.items() if key[0] == "2026-11" and key[2] == "E")
    assert {status for _, _, status in november} == {"scored", "awaiting_input"}
    assert any(n == 0 or (n, d) == (1, 2) for n, d, _ in november)


def test_one_unit_of_the_last_month_stands_exactly_at_twenty() -> None:
    demo = City(Options())  # the size of the demo
    cells = [c for c in truth.index_truth(demo, END) if c.period_code == "2026-11"]
    by_unit: dict[str, list[truth.Cell]] = defaultdict(list)
    for cell in cells:
        by_unit[cell.unit_code].append(cell)
    verdicts: Counter[str] = Counter()
    for five in by_unit.values():
        if any(cell.value is None for cell in five):
            verdicts["incomplete"] += 1
            continue
        k = sum((cell.value for cell in five if cell.value is not None), Decimal(0))
        k = k.quantize(Decimal("0.000001"), ROUND_HALF_UP)
        verdicts["undetermined" if k == 20 else "satisfied" if k > 20 else "not_satisfied"] += 1
    assert verdicts["undetermined"] == 1
    assert verdicts["satisfied"] > 100 and verdicts["not_satisfied"] >= 5 and verdicts["incomplete"] >= 5


def test_files_of_truth_are_complete_and_the_same_each_time(city: City, tmp_path: Path) -> None:
    paths = truth.write(city, tmp_path / "a", END)
    again = truth.write(City(OPTIONS), tmp_path / "b", END)
    assert [path.name for path in paths] == [
        "units.csv", "dossiers.parquet", "ratings.parquet", "index_truth.csv", "counts.json", "reconciliation_truth.csv",
    ]  # fmt: skip
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    with paths[3].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 186 * 5 and tuple(rows[0]) == truth.HEAD
    scored = [row for row in rows if row["status"] == "scored"]
    assert all(re.fullmatch(r"\d+\.\d{15}", row["value"]) for row in scored)
    counts = json.loads(paths[4].read_text(encoding="utf-8"))
    assert counts["dossier"]["readable"] == OPTIONS.size == pq.read_table(paths[1]).num_rows
    assert sum(counts["dossier"]["bad"].values()) == OPTIONS.bad_records
