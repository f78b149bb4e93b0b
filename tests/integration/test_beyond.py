"""Beyond K, on the sandbox's feeds and on lines written by hand: each mart equals what plain Python makes of the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg.rows import dict_row

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from sandbox.evaluations import Evaluations
from sandbox.generator import City
from sandbox.options import Options, seconds
from sandbox.registers import CAUSES, DECISIONS
from tests.oracle import beyond, rules
from tests.oracle.beyond import Row

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
OPTIONS = Options(size=1500, seed=5)
SINCE, END = OPTIONS.start_at.replace(tzinfo=ZONE), OPTIONS.end_at.replace(tzinfo=ZONE)
NOW = seconds(OPTIONS.end_at)
REGISTERS = ("code_map", "unit_register", "procedure_register")
BY_CURSOR = (
    "dossier", "rating", "petition", "dossier_sync", "authority_evaluation", "internal_evaluation", "unit_explanation",
    "unit_action", "record_dispute", "portal_evaluation",
)  # fmt: skip
DROPPED = ("posting_check", "self_evaluation", "survey_result")
PARAMETERS = rules.policies()[0].parameters
CITY = City(OPTIONS)
SAID = Evaluations(CITY)
UNIT_OF = {unit.new_code: unit.code for unit in CITY.units}


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def wire(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(ZONE).strftime("%Y%m%d%H%M%S")


def at(text: str | None) -> datetime | None:
    return None if text is None else datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=ZONE)


def heard(name: str) -> list[dict[str, Any]]:
    """What the sandbox's service told until the end of the read, which the end itself is no part of."""
    return SAID.changed(name, seconds(OPTIONS.start_at), NOW, NOW)


def explanations_by_hand() -> list[dict[str, Any]]:
    """Every unit on K of 2026-10, due on 30 October: none, in time, late, accepted before a later one, rejected."""
    found = []
    in_time, late = datetime(2026, 10, 30, 23, 59, 59, tzinfo=ZONE), datetime(2026, 10, 31, tzinfo=ZONE)
    ways: list[list[tuple[datetime, str | None]]] = [
        [], [(in_time, None)], [(late, None)], [(in_time, "CHAP_NHAN"), (late, None)], [(late, "KHONG_CHAP_NHAN")],
    ]  # fmt: skip
    for unit in CITY.units:
        for index_code in ("K", "E"):
            for place, (moment, decision) in enumerate(ways[unit.index % len(ways)]):
                found.append({
                    "id": f"TAY-{unit.index:03d}-{index_code}-{place}", "maCoQuan": unit.new_code, "ky": "2026-10",
                    "chiSo": index_code, "nguyenNhan": "QUA_TAI", "soVanBan": f"{unit.index}/BC", "ngayGui": wire(moment),
                    "ngayKetLuan": wire(moment) if decision else None, "ketLuan": decision, "capNhat": wire(moment),
                })  # fmt: skip
    return found


WARDS = [unit for unit in CITY.units if unit.kind == "ward"]
OFFICE, OTHER = CITY.units[0], CITY.units[1]


def authority_by_hand() -> list[dict[str, Any]]:
    """Lines on the year: two that count, and one for each reason why one does not."""

    def line(key: str, **changes: Any) -> dict[str, Any]:
        return {
            "ma_phieu": f"TAY-{key}", "ma_don_vi": WARDS[0].map_code, "ma_co_quan_danh_gia": OFFICE.map_code,
            "ky_danh_gia": "2026", "tieu_chi": "TC1", "diem": 7.25, "diem_toi_da": 10, "thu_hang": 4,
            "ngay_danh_gia": "10/11/2026", "cap_nhat": "20261110080000",
        } | changes  # fmt: skip

    return [
        line("1"),
        line("2", tieu_chi="TC2", diem=10, thu_hang=None, ngay_danh_gia=None),
        line("3", ma_co_quan_danh_gia=OTHER.map_code),
        line("4", ma_co_quan_danh_gia=None),
        line("5", ma_don_vi=WARDS[1].map_code, diem=10.5),
        line("6", ma_don_vi=WARDS[1].map_code, diem=None),
        line("7", ky_danh_gia="2031"),
        line("8", ma_don_vi=None),
        line("9", ma_don_vi=WARDS[2].map_code, diem=0),
    ]


def internal_by_hand() -> list[dict[str, Any]]:
    """A unit whose head judged its officials only."""
    return [
        {
            "ma_phieu": f"TAY-{n}", "ma_don_vi": OTHER.map_code, "ten_bo_phan": "Một cửa", "ten_can_bo": f"Cán Bộ Mẫu {n}",
            "ky_danh_gia": "2026", "xep_loai": "TOT", "diem": 80, "diem_toi_da": 100, "ngay_danh_gia": "10/11/2026",
            "cap_nhat": "20261110080000",
        }
        for n in range(3)
    ]  # fmt: skip


def surveys_by_hand() -> list[dict[str, Any]]:
    """Few answers, more satisfied than asked, none asked; on the last day of a month and the first of the next."""
    rows = [
        (0, 4, 4, "14/10/2026"), (0, 40, 30, "15/10/2026"), (1, 5, 5, "14/11/2026"), (2, 3, 4, "01/11/2026"),
        (3, 0, 0, "01/11/2026"), (4, 9, 9, "14/06/2026"),
    ]  # fmt: skip
    return [
        {
            "Mã kết quả": f"TAY-{n}", "Mã đơn vị": WARDS[ward].survey_code, "Mã tổ chức": "MTTQ", "Mã cuộc khảo sát": "TAY",
            "Câu hỏi": str(n), "Số phiếu": asked, "Số hài lòng": satisfied, "Từ ngày": "01/06/2026", "Đến ngày": last,
        }
        for n, (ward, asked, satisfied, last) in enumerate(rows)
    ]  # fmt: skip


def actions_by_hand() -> list[dict[str, Any]]:
    """Remedies around the last day read (17 November), of explanations of the same unit and of none."""
    days = [("17/11/2026", None), ("16/11/2026", None), ("01/11/2026", "01/11/2026"), ("01/11/2026", "02/11/2026"),
            ("30/11/2026", "18/11/2026"), (None, None)]  # fmt: skip
    return [
        {
            "id": f"TAY-{unit.index:03d}-{n}", "maCoQuan": unit.new_code,
            "maGiaiTrinh": [f"TAY-{unit.index:03d}-K-0", "GT-MAT", None][n % 3], "bienPhap": "TAP_HUAN", "hanHoanThanh": due,
            "ngayHoanThanh": done, "soMinhChung": "12/BC" if n == 2 else None, "capNhat": "20261116080000",
        }
        for unit in WARDS[:20] for n, (due, done) in enumerate(days)
    ]  # fmt: skip


def disputes_by_hand(settings: Settings) -> list[dict[str, Any]]:
    """Objections of every ward in the list to records of its own, of every feed, decided and not, about the cut-offs."""
    found: list[dict[str, Any]] = []
    keys = {"dossier": "dossier_code", "rating": "rating_id", "petition": "petition_id", "posting_check": "check_id"}
    with connect(settings) as connection:
        for feed, key in keys.items():
            column = "unit_source_code" if feed != "dossier" else "resolving_unit_source_code"
            query = f"select {key}, min({column}) from raw.{feed} where op = 'upsert' group by {key} order by md5({key}) limit 60"
            for place, (record, source) in enumerate(connection.execute(query).fetchall()):  # type: ignore[arg-type]
                unit = CITY.units[place % len(CITY.units)] if source is None else UNIT_CALLED[feed].get(source, OTHER)
                decided = [None, "CHAP_NHAN", "KHONG_CHAP_NHAN"][place % 3]
                found.append({
                    "id": f"TAY-{feed}-{place:03d}", "maCoQuan": unit.new_code, "loaiBanGhi": feed, "maBanGhi": record,
                    "lyDo": "SAI_HAN", "ngayGui": ["20261019235959", "20261020000000", "20260916120000"][place % 3],
                    "ngayKetLuan": "20261110080000" if decided else None, "ketLuan": decided, "capNhat": "20261110080000",
                })  # fmt: skip
    gone = {"id": "TAY-mất", "loaiBanGhi": "rating", "maBanGhi": "không có"}
    return [*found, found[0] | gone, found[0] | {"id": "TAY-lạ", "loaiBanGhi": "lương"}]


UNIT_CALLED = {
    "dossier": {code: unit for unit in CITY.units for code in (unit.new_code, unit.old_code)},
    "rating": {unit.rating_code: unit for unit in CITY.units},
    "petition": {code: unit for unit in CITY.units for code in (unit.department_id, unit.new_code)},
    "posting_check": {unit.inspection_code: unit for unit in CITY.units},
}


@dataclass(frozen=True)
class Road:
    """A warehouse with everything in it, and the records written by hand."""

    settings: Settings
    by_hand: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def road(
    start_sandbox: Callable[..., Any], new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Road:
    sandbox = start_sandbox("--size", str(OPTIONS.size), "--seed", str(OPTIONS.seed))
    settings = new_warehouse(**sandbox.env)
    folder = tmp_path_factory.mktemp("beyond")
    for feed in (*REGISTERS, *DROPPED):
        ingest(settings, feed, now=END)
    for feed in BY_CURSOR:
        ingest(settings, feed, since=SINCE, until=END)
    by_hand = {
        "unit_explanation": explanations_by_hand(),
        "authority_evaluation": authority_by_hand(),
        "internal_evaluation": internal_by_hand(),
        "survey_result": surveys_by_hand(),
        "unit_action": actions_by_hand(),
        "record_dispute": disputes_by_hand(settings),
    }
    for feed, records in by_hand.items():
        result = ingest(settings, feed, since=SINCE, until=END, file=lines(folder / f"{feed}.jsonl", records))
        assert (result.loaded, result.quarantined) == (len(records), 0), feed
    build(settings)
    return Road(settings, by_hand)


def read(road: Road, table: str, where: str = "true") -> list[Row]:
    with connect(road.settings) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        return list(connection.execute(f"select * from {table} where {where}"))  # type: ignore[arg-type]


def value(road: Road, query: str) -> Any:
    with connect(road.settings) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


# -- Article 3.8 ----------------------------------------------------------------------------------------------------------


def explanations(road: Road) -> list[Row]:
    """All that came, in our words."""
    return [
        {
            "explanation_id": r["id"], "unit_code": UNIT_OF[r["maCoQuan"]], "period_code": r["ky"], "index_code": r["chiSo"],
            "submitted_at": at(r["ngayGui"]), "decision_code": DECISIONS[r["ketLuan"]] if r["ketLuan"] else None,
        }
        for r in (*heard("explanations"), *road.by_hand["unit_explanation"])
    ]  # fmt: skip


def last_day(road: Road, feed: str) -> date:
    """The last day that was read of a feed."""
    until: datetime = value(road, f"select max(window_end) from ops.batch where feed = '{feed}'")
    return until.astimezone(ZONE).date() - timedelta(days=1)


def known(road: Road) -> beyond.Known:
    return beyond.Known(
        periods=read(road, "core.dim_period"),
        windows=read(road, "core.core_unit_window"),
        scores=read(road, "marts.k_score"),
        indices=read(road, "marts.index_score"),
        reconciliation=read(road, "marts.reconciliation"),
        results=read(road, "facts.fct_a_timeliness", "unit_code is not null"),
        open_dossiers=read(road, "facts.fct_open_dossier", "unit_code is not null"),
        dossiers_until=last_day(road, "dossier"),
        explanations_until=last_day(road, "unit_explanation"),
    )


def test_who_owes_an_explanation_and_what_came_of_it(road: Road) -> None:
    found = beyond.by(read(road, "marts.explanation_owed"), "period_code", "unit_code", "reason")
    expected = beyond.explanations_owed(known(road), explanations(road), PARAMETERS)
    assert beyond.same(expected, found) == []
    reasons = Counter(reason for _, _, reason in expected)
    assert set(reasons) == set(beyond.OF_REASON) and sum(reasons.values()) > 300, reasons
    states = Counter(row["state"] for row in expected.values())
    assert states.keys() >= {"accepted", "rejected", "given", "running", "overdue", "open"}, states
    assert {row["is_late"] for row in expected.values()} == {None, True, False}


def test_long_overdue_on_the_last_day_read_is_the_watch_list(road: Road) -> None:
    watched = Counter(row["unit_code"] for row in read(road, "marts.watch_list", "reason = 'overdue_long'"))
    now = read(road, "marts.explanation_owed", "reason = 'overdue_long' and period_code = '2026-12'")
    assert {row["unit_code"]: row["measured"] for row in now} == watched
    assert sum(watched.values()) > 5


def test_an_explanation_keeps_its_cause_and_document(road: Road) -> None:
    found = beyond.by(read(road, "core.core_explanation"), "explanation_id")
    for r in heard("explanations"):
        row = found[(r["id"],)]
        assert (row["document_no"], row["cause_code"]) == (r["soVanBan"], CAUSES[r["nguyenNhan"]])
        assert row["submitted_on"] == at(r["ngayGui"]).date()  # type: ignore[union-attr]
    assert len(found) == len(heard("explanations")) + len(road.by_hand["unit_explanation"])


def test_the_comparison_sees_one_wrong_row() -> None:
    row = {"measured": 1, "state": "open"}
    assert beyond.same({("p",): row}, {("p",): row | {"state": "given"}}) == [
        "('p',) state: oracle 'open', mart 'given'"
    ]
    assert len(beyond.same({("p",): row}, {})) == len(beyond.same({}, {("p",): row})) == 1


# -- Articles 5 to 8 and 10 -----------------------------------------------------------------------------------------------


def day(text: str | None) -> date | None:
    return None if text is None else datetime.strptime(text, "%d/%m/%Y").date()


def exact(number: Any) -> Decimal | None:
    return None if number is None else Decimal(str(number))


def evaluation_lines(road: Road) -> list[beyond.Line]:
    """All lines of the four feeds, in our codes."""
    units = {unit.map_code: unit.code for unit in CITY.units}
    units |= {unit.survey_code: unit.code for unit in CITY.units} | UNIT_OF
    told = {
        name: [said.fields for said in getattr(SAID, name) if said.updated < NOW] for name in ("authority", "internal")
    }
    found = [
        beyond.Line(
            "authority", r["ma_phieu"], units.get(r["ma_don_vi"]), r["ky_danh_gia"], units.get(r["ma_co_quan_danh_gia"]),
            exact(r["diem"]), exact(r["diem_toi_da"]), day(r["ngay_danh_gia"]),
        )
        for r in (*told["authority"], *road.by_hand["authority_evaluation"])
    ]  # fmt: skip
    for r in (*told["internal"], *road.by_hand["internal_evaluation"]):
        unit, most = units[r["ma_don_vi"]], exact(r["diem_toi_da"])
        found.append(beyond.Line(
            "internal", r["ma_phieu"], unit, r["ky_danh_gia"], unit, exact(r["diem"]), most, day(r["ngay_danh_gia"]),
            is_about_official=r["ten_can_bo"] is not None,
        ))  # fmt: skip
    for r in SAID.read("self_evaluation", NOW):
        unit, most = units[r["Mã cơ quan"]], exact(r["Điểm tối đa"])
        own = (r["Mã dòng"], unit, r["Kỳ đánh giá"], unit, exact(r["Điểm tự chấm"]), most, day(r["Ngày lập"]))
        found.append(beyond.Line("self", *own))
    for r in (*SAID.read("survey", NOW), *road.by_hand["survey_result"]):
        asked = (exact(r["Số hài lòng"]), exact(r["Số phiếu"]), day(r["Đến ngày"]))
        found.append(beyond.Line("organisation", r["Mã kết quả"], units[r["Mã đơn vị"]], None, r["Mã tổ chức"], *asked))
    return found


def expected_evaluations(road: Road) -> tuple[dict[beyond.Key, Row], dict[beyond.Key, str]]:
    with connect(road.settings) as connection:
        feeds = {row[0] for row in connection.execute("select distinct feed from ops.batch")}
    until: datetime = value(road, "select max(window_end) from ops.batch")
    return beyond.evaluations(
        evaluation_lines(road),
        read(road, "core.core_unit_window"),
        read(road, "core.dim_period"),
        {unit.code: unit.kind for unit in CITY.units},
        feeds,
        until.astimezone(ZONE).date() - timedelta(days=1),
        int(PARAMETERS["c_min_ratings"]),
    )


def test_evaluations_by_others_what_was_due_and_what_came(road: Road) -> None:
    expected, _ = expected_evaluations(road)
    found = beyond.by(read(road, "marts.evaluation"), "period_code", "unit_code", "evaluator_kind")
    assert beyond.same(expected, found) == []
    seen = Counter((kind, row["status"], row["status_reason"]) for (_, _, kind), row in expected.items())
    assert {(kind, status) for kind, status, _ in seen} >= {
        ("internal", "scored"), ("authority", "scored"), ("self", "scored"), ("organisation", "scored"),
        ("internal", "awaiting_input"), ("organisation", "not_applicable"),
    }, seen  # fmt: skip
    reasons = {reason for _, _, reason in seen}
    assert reasons >= {"all_left_out", "about_officials_only", "not_due", "none_came", "no_competent_authority"}, seen
    assert any(row["is_small"] for row in expected.values()) and any(row["share"] == 0 for row in expected.values())


def test_lines_that_count_nowhere_are_findings(road: Road) -> None:
    _, expected = expected_evaluations(road)
    found = {(r["evaluator_kind"], r["record_key"]): r["finding"] for r in read(road, "marts.evaluation_finding")}
    assert found == expected
    assert set(expected.values()) == {
        "no_unit", "no_window", "evaluator_unknown", "own_evaluation", "evaluator_not_competent", "no_score",
        "score_out_of_range",
    }  # fmt: skip


def test_criteria_add_up_to_the_evaluation(road: Road) -> None:
    """Every line that counts stands in one criterion of its evaluation; none of a window that is not judged is missing."""
    query = """
        select e.period_code, e.unit_code, e.evaluator_kind
        from marts.evaluation as e
        left join (
            select period_code, unit_code, evaluator_kind, sum(line_count) as lines, sum(score) as score, sum(max_score) as most
            from marts.evaluation_criterion group by 1, 2, 3
        ) as c using (period_code, unit_code, evaluator_kind)
        where e.line_count <> coalesce(c.lines, 0)
            or (e.status = 'scored' and (e.score, e.max_score) is distinct from (c.score, c.most))"""
    with connect(road.settings) as connection:
        assert connection.execute(query).fetchall() == []
    rows = read(road, "marts.evaluation_criterion", f"unit_code = '{WARDS[0].code}' and period_code = '2026'")
    shown = {(r["evaluator_kind"], r["evaluator_code"], r["criterion_code"]): (r["score"], r["rank"]) for r in rows}
    assert shown["authority", OFFICE.code, "timeliness"] == (Decimal("7.25"), 4)
    assert shown["authority", OFFICE.code, "guidance"] == (Decimal(10), None)
    assert shown["organisation", "fatherland_front", "TAY/0"] == (Decimal(4), None)


def test_points_of_officials_stay_out_of_the_open_layers(road: Road) -> None:
    sheets = read(road, "core.core_internal_evaluation", "is_about_official")
    assert len(sheets) > 20 and all(row["score"] is None and row["grade_code"] is None for row in sheets)


# -- Article 12.2 and disputes ----------------------------------------------------------------------------------------------


def test_remedies_as_of_the_last_day_read(road: Road) -> None:
    given = [
        {
            "action_id": r["id"], "unit_code": UNIT_OF[r["maCoQuan"]], "explanation_id": r["maGiaiTrinh"],
            "due_on": day(r["hanHoanThanh"]), "done_on": day(r["ngayHoanThanh"]), "evidence_no": r["soMinhChung"],
        }
        for r in (*heard("actions"), *road.by_hand["unit_action"])
    ]  # fmt: skip
    expected = beyond.actions(given, explanations(road), last_day(road, "unit_action"))
    found = beyond.by(read(road, "marts.action"), "action_id")
    assert beyond.same(expected, found) == []
    assert {row["state"] for row in expected.values()} == {"done", "no_due_date", "overdue", "open"}
    assert {row["link_status"] for row in expected.values()} == {"none", "unknown", "other_unit", "linked"}


def test_disputes_name_their_record_and_come_before_the_cutoff_or_not(road: Road) -> None:
    records: dict[beyond.Key, tuple[str | None, date | None]] = {
        ("dossier", r["dossier_code"]): (r["resolving_unit_code"], None) for r in read(road, "core.core_dossier")
    }
    for row in read(road, "facts.fct_a_timeliness"):
        records["dossier", row["dossier_code"]] = (row["unit_code"], row["result_on"])
    for feed, table, key, column in (
        ("rating", "core.core_rating", "rating_id", "rated_on"),
        ("petition", "core.core_petition", "petition_id", "received_on"),
        ("posting_check", "core.core_posting_check", "check_id", "checked_on"),
    ):
        records |= {(feed, row[key]): (row["unit_code"], row[column]) for row in read(road, table)}
    given = [
        {
            "dispute_id": r["id"], "unit_code": UNIT_OF[r["maCoQuan"]], "disputed_feed": r["loaiBanGhi"],
            "disputed_key": r["maBanGhi"], "raised_at": at(r["ngayGui"]), "decided_at": at(r["ngayKetLuan"]),
            "decision_code": DECISIONS[r["ketLuan"]] if r["ketLuan"] else None,
        }
        for r in (*heard("disputes"), *road.by_hand["record_dispute"])
    ]  # fmt: skip
    expected = beyond.disputes(given, records, read(road, "core.dim_period", "period_kind = 'month'"))
    found = beyond.by(read(road, "marts.dispute"), "dispute_id")
    assert beyond.same(expected, found) == []
    for column, values in {
        "record_status": {"found", "not_found", "unknown_feed"}, "is_own_record": {True, False, None},
        "is_before_cutoff": {True, False, None}, "state": {"open", "accepted", "rejected"},
    }.items():  # fmt: skip
        assert {row[column] for row in expected.values()} == values, column
    assert {dispute["disputed_feed"] for dispute in given} > {"dossier", "rating", "petition", "posting_check"}


def test_follow_up_counts_per_period_and_unit(road: Road) -> None:
    expected = beyond.follow_up(
        read(road, "core.core_unit_window"),
        read(road, "core.dim_period"),
        read(road, "marts.explanation_owed"),
        read(road, "core.core_explanation"),
        read(road, "marts.action"),
        read(road, "marts.dispute"),
    )
    found = beyond.by(read(road, "marts.follow_up"), "period_code", "unit_code")
    assert beyond.same(expected, found) == []
    for column in next(iter(expected.values())):
        if column != "falls_not_compared":  # one method, one policy, no clipped window in the sandbox
            assert sum(row[column] for row in expected.values()) > 0, column


# -- Article 13 -------------------------------------------------------------------------------------------------------------


def test_the_hand_over_is_the_years_own_figures(road: Road) -> None:
    """Row by row from the marts that it is made of: no figure of a quarter or month slips in."""
    scores = beyond.by(read(road, "marts.k_score"), "period_code", "unit_code")
    indices = beyond.by(read(road, "marts.index_score"), "period_code", "unit_code", "index_code")
    windows = beyond.by(read(road, "core.core_unit_window"), "period_code", "unit_code")
    others = beyond.by(read(road, "marts.evaluation"), "period_code", "unit_code", "evaluator_kind")
    owed = Counter(
        (r["period_code"], r["unit_code"]) for r in read(road, "marts.explanation_owed", "state <> 'not_compared'")
    )
    quarters = ("2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4")
    expected: dict[beyond.Key, Row] = {}
    for unit in CITY.units:
        year = ("2026", unit.code)
        score, ratings, window = scores[year], indices[*year, "C"]["denominator"], windows[year]
        of_quarters = [scores[q, unit.code]["status"] for q in quarters if (q, unit.code) in scores]
        expected[year] = {
            **{
                c: score[c]
                for c in ("a", "b", "c", "d", "e", "k", "verdict", "verdict_bound", "status", "rank_in_group")
            },
            "a_dossiers": indices[*year, "A"]["denominator"],
            "c_ratings": ratings,
            "has_few_ratings": bool(ratings) and 0 < ratings < int(PARAMETERS["c_min_ratings"]),
            "quarters": len(of_quarters),
            "quarters_scored": of_quarters.count("scored"),
            "window_days": (window["window_end"] - window["window_start"]).days,
            "year_days": 365,
            "is_year_over": False,
            "explanations_owed": owed[year],
            **{
                f"{kind}_share": others[*year, kind]["share"]
                for kind in ("internal", "authority", "self", "organisation")
            },
            **{f"{kind}_status": others[*year, kind]["status"] for kind in ("internal", "authority", "organisation")},
            "authority_rank": others[*year, "authority"]["rank"],
            "organisation_is_small": others[*year, "organisation"]["is_small"],
        }
    found = beyond.by(read(road, "marts.reform_index_handover"), "period_code", "unit_code")
    assert beyond.same(expected, found) == []
    assert any(row["has_few_ratings"] for row in expected.values()) and any(row["k"] for row in expected.values())
    assert any(row["authority_share"] for row in expected.values()) and any(owed[key] for key in expected)
