"""Beyond K, on the sandbox's feeds and on lines written by hand: each mart equals what plain Python makes of the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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


@dataclass(frozen=True)
class Road:
    """A warehouse with everything in it, and the records written by hand."""

    settings: Settings
    explanations: list[dict[str, Any]]


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
    made = Road(settings, explanations_by_hand())
    ingest(
        settings,
        "unit_explanation",
        since=SINCE,
        until=END,
        file=lines(folder / "explanations.jsonl", made.explanations),
    )
    build(settings)
    return made


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
        for r in (*heard("explanations"), *road.explanations)
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
    assert len(found) == len(heard("explanations")) + len(road.explanations)


def test_the_comparison_sees_one_wrong_row() -> None:
    row = {"measured": 1, "state": "open"}
    assert beyond.same({("p",): row}, {("p",): row | {"state": "given"}}) == [
        "('p',) state: oracle 'open', mart 'given'"
    ]
    assert len(beyond.same({("p",): row}, {})) == len(beyond.same({}, {("p",): row})) == 1
