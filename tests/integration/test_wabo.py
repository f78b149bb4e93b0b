"""Real dossiers of a Dutch municipality through the file drop: A and B equal an independent computation, exactly.

1,434 cases of the receipt phase of environmental permits, 2010–2012 (CoSeLoG, doi:10.4121/uuid:a07386a5-7be3-4367-9535-
70bc9e77dbe6). The rule set is a copy of ours with other data: a policy valid from 2010, whole months, no holidays. Read
only where the shared folder is at hand; nothing of it is copied into the project.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from hailong.calendar_seed import publication_row
from hailong.extract.run import ingest
from hailong.periods import PeriodCalendar, WorkingDays, periods_overlapping
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect

ZONE = ZoneInfo("Europe/Amsterdam")
MAPPING = Path(__file__).with_name("wabo_mapping.yaml")
OUR_RULES = Path(__file__).resolve().parents[2] / "dbt_project"
HOLDS = ("T16", "T07-3", "T07-4")
FIRST, LAST = date(2010, 10, 1), date(2012, 2, 1)


# -- the independent computation ----------------------------------------------------------------------------------------


def cases_of(path: Path) -> pd.DataFrame:
    """One row per case: unit, start, deadline, end (local wall times) and the number of distinct hold requests."""
    events = pd.read_csv(path)
    local = {
        column: pd.to_datetime(events[column], utc=True, format="ISO8601").dt.tz_convert(ZONE).dt.tz_localize(None)
        for column in ("case:startdate", "case:deadline", "case:enddate", "time:timestamp")
    }
    frame = pd.DataFrame(
        {
            "case": events["case:concept:name"],
            "unit": events["case:department"] + "/" + events["case:group"].fillna(""),
            "start": local["case:startdate"],
            "due": local["case:deadline"],
            "end": local["case:enddate"],
        }
    )
    # Two steps that say the same instance are one request; it counts between receipt and result.
    counted = local["time:timestamp"].between(local["case:startdate"], local["case:enddate"])
    is_hold = events["concept:name"].str.split(" ").str[0].isin(HOLDS) & counted
    returns = events[is_hold].groupby("case:concept:name")["concept:instance"].nunique()
    cases = frame.drop_duplicates("case").set_index("case")
    return cases.assign(returns=returns.reindex(cases.index).fillna(0).astype(int))


def is_on_time(due: pd.Timestamp, end: pd.Timestamp) -> bool:
    """A term that ends on a Saturday or Sunday ends with the next Monday; a time of midnight is a date."""
    if due.weekday() >= 5:
        return end.date() <= (due + timedelta(days=7 - due.weekday())).date()
    midnight = pd.Timestamp(0).time()
    if due.time() == midnight or end.time() == midnight:
        return end.date() <= due.date()
    return end <= due


def expected_scores(cases: pd.DataFrame) -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """(month, unit, index) → points, dossiers, excluded."""
    done = cases[cases["end"].notna()].copy()
    done["excluded"] = done["end"] < done["start"]
    done["a"] = [is_on_time(due, end) for due, end in zip(done["due"], done["end"], strict=True)]
    done["b"] = done["returns"] <= 1
    scores = {}
    for (month, unit), rows in done.groupby([done["end"].dt.strftime("%Y-%m"), "unit"]):
        kept = rows[~rows["excluded"]]
        for index, points in (("A", kept["a"].sum()), ("B", kept["b"].sum())):
            scores[month, unit, index] = (int(points), len(kept), int(rows["excluded"].sum()))
    return scores


# -- the road -------------------------------------------------------------------------------------------------------------


def write_csv(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([header, *rows])


def test_rules(folder: Path) -> Path:
    """Our rule set with other data: a policy of 2010, whole months, weekends off and no holiday."""
    shutil.copytree(OUR_RULES, folder, ignore=shutil.ignore_patterns("target", "logs"))
    seeds = folder / "seeds"
    write_csv(
        seeds / "scoring_policy.csv",
        ["policy_id", "legal_basis", "valid_from", "valid_to", "calendar_code"],
        [["test-2010", "test", "2010-01-01", "", "whole_month"]],
    )
    parameters = (seeds / "scoring_policy_parameter.csv").read_text(encoding="utf-8")
    (seeds / "scoring_policy_parameter.csv").write_text(
        parameters.replace("qd104-2024,", "test-2010,"), encoding="utf-8"
    )
    days = {date(2010, 1, 1) + timedelta(days=n): True for n in range(3 * 365)}
    days = {day: day.weekday() < 5 for day in days}
    write_csv(
        seeds / "calendar_day.csv",
        ["day", "is_working_day", "reason"],
        ([day, str(working).lower(), ""] for day, working in days.items()),
    )
    header = (seeds / "publication_calendar.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    periods = [
        period
        for period in periods_overlapping(FIRST, LAST, PeriodCalendar("whole_month", 1, 0))
        if period.kind == "month"
    ]
    write_csv(
        seeds / "publication_calendar.csv", header, (publication_row(period, WorkingDays(days)) for period in periods)
    )
    return folder


test_rules.__test__ = False  # type: ignore[attr-defined]


def json_lines(path: Path, records: Iterable[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def wabo(
    shared_data: Path, new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, pd.DataFrame]:
    """A warehouse built from the WABO file alone, and the cases as pandas reads them."""
    folder = tmp_path_factory.mktemp("wabo")
    settings = new_warehouse(HAILONG_RULES=str(test_rules(folder / "rules")), HAILONG_TIMEZONE="Europe/Amsterdam")
    cases = cases_of(shared_data / "wabo_receipt.csv")
    units = sorted(cases["unit"].unique())
    register = json_lines(
        folder / "units.jsonl",
        (
            {
                "MaCoQuan": unit, "TenCoQuan": unit, "LoaiCoQuan": "department", "NhomXepHang": "wabo",
                "TenNhomXepHang": "WABO", "NgayBatDau": "20100101", "ChamDiem": True, "ChiTiepNhan": False,
                "NoiNiemYet": "desk",
            }
            for unit in units
        ),
    )  # fmt: skip
    pairs = [("unit", unit) for unit in units] + [("dossier_status", status) for status in ("4", "9")]
    pairs += [("supplement_status", "2"), ("supplement_status", "1"), ("channel", "1")]
    targets = {
        ("supplement_status", "2"): "received_in_full",
        ("supplement_status", "1"): "asked",
        ("channel", "1"): "desk",
    }
    codes = json_lines(
        folder / "codes.jsonl",
        (
            {
                "HeThong": "tthc",
                "LoaiMa": kind,
                "MaNguon": code,
                "MaDich": targets.get((kind, code), code),
                "XuLy": "good",
            }
            for kind, code in pairs
        ),
    )
    procedures = json_lines(
        folder / "procedures.jsonl",
        [
            {
                "MaTTHC": "1.000001",
                "TenTTHC": "WABO",
                "GiaiQuyetNgay": False,
                "SoLanBoSungToiDa": 1,
                "NgayHieuLuc": "20100101",
            }
        ],
    )
    for feed, path in (("unit_register", register), ("code_map", codes), ("procedure_register", procedures)):
        ingest(settings, feed, file=path)
    window = {
        "since": pd.Timestamp(FIRST, tz=ZONE).to_pydatetime(),
        "until": pd.Timestamp(LAST, tz=ZONE).to_pydatetime(),
    }
    ingest(settings, "dossier", file=shared_data / "wabo_receipt.csv", mapping=MAPPING, **window)
    build(settings)
    return settings, cases


def test_the_input_is_what_it_is_known_to_be(wabo: tuple[Settings, pd.DataFrame]) -> None:
    _, cases = wabo
    assert len(cases) == 1434
    assert cases["end"].isna().sum() == 105
    assert (cases["end"] < cases["start"]).sum() == 2
    assert ((cases["returns"] >= 2) & cases["end"].notna()).any()


def test_every_case_is_loaded_and_the_ledger_adds_up(wabo: tuple[Settings, pd.DataFrame]) -> None:
    settings, cases = wabo
    with connect(settings) as connection:
        row = connection.execute(
            "select received_rows, loaded_rows, duplicate_rows, quarantined_rows from ops.batch where feed = 'dossier'"
        ).fetchone()
        stored = connection.execute("select count(*) from core.core_dossier").fetchone()
    assert row == (1434, 1434, 0, 0)
    assert stored == (len(cases),)


def test_a_and_b_equal_the_independent_computation_exactly(wabo: tuple[Settings, pd.DataFrame]) -> None:
    settings, cases = wabo
    expected = expected_scores(cases)
    with connect(settings) as connection:
        rows = connection.execute(
            "select period_code, unit_code, index_code, numerator, denominator, excluded, value, status from marts.index_score "
            "where index_code in ('A', 'B')"
        ).fetchall()
    found = {(row[0], row[1], row[2]): row[3:] for row in rows}
    assert set(expected) <= set(found)
    assert len(expected) > 100
    wrong = []
    for key, (numerator, denominator, excluded, value, status) in found.items():
        points, dossiers, left_out = expected.get(key, (0, 0, 0))
        exact = round(Fraction(points, dossiers), 15) if dossiers else None
        agrees = (numerator, denominator, excluded) == (points, dossiers, left_out)
        agrees &= (value is None) == (exact is None) and (value is None or Fraction(value) == exact)
        agrees &= status == ("scored" if dossiers else "no_data")
        if not agrees:
            wrong.append((key, (numerator, denominator, excluded, value, status), (points, dossiers, left_out)))
    assert not wrong, wrong[:10]


def test_open_cases_are_no_results_and_b_is_not_1_everywhere(wabo: tuple[Settings, pd.DataFrame]) -> None:
    settings, _ = wabo
    with connect(settings) as connection:
        results = connection.execute("select count(*) from facts.fct_a_timeliness").fetchone()
        below_one = connection.execute(
            "select count(*) from marts.index_score where index_code = 'B' and status = 'scored' and value < 1"
        ).fetchone()
        excluded = connection.execute("select sum(excluded) from marts.index_score where index_code = 'A'").fetchone()
    assert results == (1434 - 105,)
    assert below_one and below_one[0] > 0
    assert excluded == (2,)
