"""Succession, trends, notes and roll-ups equal an independent recomputation, and a small register tells what it should."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.rows import dict_row

from hailong.extract.run import IngestResult, ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.integration.marts import built_beside
from tests.integration.test_oracle_agreement import newest_batch
from tests.oracle import feeds, rules
from tests.oracle.agreement import scorer_of
from tests.oracle.book import ZONE, Book
from tests.oracle.cases import SINCE, UNTIL, Generator, periods, read_to
from tests.oracle.compare import INDEX_KEY, K_KEY, differences
from tests.oracle.edges import worked_edges
from tests.oracle.scorer import Batch, Policy, Row, World
from tests.oracle.trends import (
    NOTE_COLUMNS,
    ROLLUP_COLUMNS,
    ROLLUP_KEY,
    TREND_COLUMNS,
    Passing,
    Trends,
    told,
)

MARTS = {
    "trend": (INDEX_KEY, TREND_COLUMNS),
    "unit_note": (K_KEY, NOTE_COLUMNS),
    "rollup": (ROLLUP_KEY, ROLLUP_COLUMNS),
}
PASSINGS = [
    Passing("HCM.XA00", "HCM.QU00"),  # unbroken, in the middle of a month
    Passing("HCM.XA01", "HCM.QU01", "partial"),
    Passing("HCM.XA02", "HCM.QU01", "partial"),
    Passing("HCM.XA03", "HCM.QU02"),  # whole, but not alone
    Passing("HCM.XA03", "HCM.NOBODY", "partial"),  # whom nobody registered
    Passing("HCM.XA04", "HCM.NOBODY"),
    Passing("HCM.NOI1", "HCM.BIEN"),  # unbroken, where a month ends and the next begins
    Passing("HCM.NOI2", "HCM.NOI1"),  # and again: two steps back
    Passing("HCM.NOI3", "HCM.THO1", day=date(2026, 7, 15)),
    Passing("HCM.NOI3", "HCM.THO1", day=date(2026, 7, 15)),  # told twice alike
    Passing("HCM.NOI4", "HCM.THO2"),
    Passing("HCM.NOI4", "HCM.THO2", "partial"),  # told twice, otherwise: a part
    Passing("HCM.SO00", "HCM.GOP1", day=date(2026, 4, 15)),  # a unit that lives on takes another over
    Passing("HCM.SO01", "HCM.SO02", "partial", date(2026, 3, 2)),  # or a part of one, in the middle of a month
    Passing("HCM.KEU1", "HCM.KHNG"),  # whose predecessor was never scored, and still is there
    Passing("HCM.KEU2", "HCM.KHO2"),  # unbroken, from one that was never scored
    Passing("HCM.SO03", "HCM.SO03", "partial"),  # of itself: says nothing
    Passing("HCM.SO04", "HCM.NOBODY", day=date(2019, 1, 1)),  # before it began
    Passing("HCM.GAP1", "HCM.GAP0"),  # a month lies between the two
]
pytestmark = pytest.mark.slow


def rules_without_readings(settings: Settings, folder: Path) -> Settings:
    """The project with one other reading left: what becomes of K under all of them costs minutes and is not looked at."""
    shutil.copytree(settings.rules, folder, ignore=shutil.ignore_patterns("target", "logs"))
    seed = folder / "seeds" / "scoring_reading.csv"
    lines = seed.read_text(encoding="utf-8").splitlines(keepends=True)
    seed.write_text(lines[0] + next(line for line in lines if line.startswith("k_equal,satisfied")), encoding="utf-8")
    return replace(settings, rules=folder)


def passing_book(dossiers: int, seed: int, until: date = UNTIL) -> Book:
    """The worked edges, generated records, and units that take over from each other where periods meet."""
    book = worked_edges()
    read_to(book, until)
    generator = Generator(book, random.Random(seed), until)
    for name, valid_from, valid_to in (
        ("NOI1", "2026-09-15", "2026-10-15"), ("NOI2", "2026-10-15", None),
        ("THO1", "2024-01-01", "2026-07-15"), ("NOI3", "2026-07-15", None),
        ("THO2", "2024-01-01", "2026-07-15"), ("NOI4", "2026-07-15", None),
        ("GOP1", "2024-01-01", "2026-04-15"), ("KEU1", "2026-02-15", None), ("KEU2", "2026-02-15", None),
        ("GAP0", "2024-01-01", "2026-05-15"), ("GAP1", "2026-06-15", None),
    ):  # fmt: skip
        generator.units.append(book.unit(name, valid_from, valid_to))
    generator.units.append(book.unit("KHO2", "2024-01-01", "2026-02-15", is_scored=False))
    generator.units *= 2  # each twice as likely as the stranger
    generator.fill(dossiers)
    return book


def write_register(book: Book, folder: Path) -> Path:
    """The register as the source sends it, with predecessors; a unit without any says nothing, as older files do."""
    records = []
    for unit in book.world.units:
        record = feeds.unit(unit)
        own = [passing for passing in PASSINGS if passing.successor == unit.unit_code]
        if own:
            record["DanhSachCoQuanTruoc"] = [
                {"MaCoQuan": one.predecessor, "PhamVi": one.extent}
                | ({"NgayKeThua": f"{one.day:%Y%m%d}"} if one.day else {})
                for one in own
            ]
        records.append(record)
    return feeds.write(folder / "unit_register.jsonl", records)


@dataclass(frozen=True)
class Loaded:
    """A warehouse with all of it."""

    settings: Settings
    world: World
    second_batch: int


@pytest.fixture(scope="module")
def loaded(module_warehouse: Settings, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    book, folder = passing_book(5_000, 31), tmp_path_factory.mktemp("units")
    settings = rules_without_readings(module_warehouse, folder / "rules")
    since, until = (datetime.combine(day, time(), ZONE) for day in (SINCE, UNTIL))
    files = feeds.write_registers(book.world, folder) | {"unit_register": write_register(book, folder)}
    for feed, path in files.items():
        assert ingest(settings, feed, file=path).quarantined == 0
    second = 0
    for number, batch in enumerate(book.world.batches):
        for feed, path in feeds.write_batch(batch, number, folder, SINCE, UNTIL).items():
            ingest(settings, feed, since=since, until=until, file=path)
        second = newest_batch(settings) if number == 1 else second
    build(settings)
    return Loaded(settings, book.world, second)


def read(settings: Settings, mart: str, schema: str = "marts") -> list[Row]:
    with connect(settings) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        query = sql.SQL("select * from {} order by {}").format(
            sql.Identifier(schema, mart), sql.SQL(", ").join(map(sql.Identifier, MARTS[mart][0]))
        )
        return list(connection.execute(query).fetchall())  # type: ignore[arg-type]


def compare(loaded: Loaded, policies: list[Policy] | None = None, schema: str = "marts") -> dict[str, list[Row]]:
    """Asserts that the three marts equal the oracle; gives their rows."""
    trends = Trends(scorer_of(loaded.world, policies), PASSINGS, periods(), told())
    oracle = {
        "trend": trends.rows(),
        "unit_note": trends.notes(UNTIL - timedelta(days=1)),
        "rollup": trends.rollups(),
    }
    found = {mart: read(loaded.settings, mart, schema) for mart in MARTS}
    for mart, (key, columns) in MARTS.items():
        unlike = differences(oracle[mart], found[mart], key, columns)
        assert not unlike, f"marts.{mart}: {len(unlike)} differences\n" + "\n".join(map(str, unlike[:20]))
    return found


def stops(rows: list[Row]) -> Counter[str | None]:
    return Counter(row[f"{name}_stopped_by"] for row in rows for name in ("previous", "year_before"))  # type: ignore[misc]


def test_the_policy_in_force_equals_the_oracle(loaded: Loaded) -> None:
    found = compare(loaded)
    trends = found["trend"]
    assert set(stops(trends)) == {
        None, "not_scored", "clipped", "no_earlier_period", "succession_broken", "no_earlier_row", "earlier_not_scored",
        "earlier_clipped",
    }  # fmt: skip
    over = [
        row
        for row in trends
        if row["previous_unit_code"] not in (None, row["unit_code"]) and row["previous_change"] is not None
    ]
    assert {row["unit_code"] for row in over} == {"HCM.NOI1", "HCM.NOI2", "HCM.NOI3"}
    for index in "ABCDK":
        assert {row["previous_within_one_case"] for row in trends if row["index_code"] == index} >= {True, False}, index
    assert {row["part"] for row in found["rollup"]} == {"whole", "clipped"}
    assert {row["scope_kind"] for row in found["rollup"]} == {"city", "peer_group", "volume_class", "parent"}
    assert sum(row["taken_over_overdue"] > 0 for row in found["unit_note"]) > 10  # type: ignore[operator]


def test_other_policies_in_succession_equal_the_oracle(loaded: Loaded, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(loaded.settings.rules, folder, ignore=shutil.ignore_patterns("target", "logs"))
    since = [date(2024, 11, 29), date(2025, 2, 15), date(2025, 10, 15), date(2026, 5, 1)]
    changes = [
        {"a_point_within_grace": "0.5"},
        {"missing_index": "zero", "b_population": "returned", "a_point_within_grace": "0.5"},
        {"d_definition": "petition_rescaled", "inherited_overdue": "exclude", "attribution": "receiving"},
        {"missing_index": "rescale", "k_scale": "2", "b_population": "returned", "min_window_days": "3"},
    ]
    rules.write_policies(folder / "seeds", since, changes)
    loaded = replace(loaded, world=replace(loaded.world, batches=loaded.world.batches[:2]))
    with built_beside(replace(loaded.settings, rules=folder), loaded.second_batch, *MARTS) as schema:
        found = compare(loaded, rules.policies(folder / "seeds"), schema)
    assert {"policy_changed", "indices_differ"} <= set(stops(found["trend"]))


@pytest.mark.parametrize(
    ("mart", "column", "change"),
    [
        ("trend", "previous_change", Decimal("1e-15")),
        ("trend", "interval_low", Decimal("1e-6")),
        ("unit_note", "taken_over", 1),
        ("rollup", "value", Decimal("1e-15")),
    ],
)
def test_the_comparison_sees_one_changed_value(loaded: Loaded, mart: str, column: str, change: Any) -> None:
    key, columns = MARTS[mart]
    rows = read(loaded.settings, mart)
    changed = [dict(row) for row in rows]
    place = next(n for n, row in enumerate(rows) if row[column] is not None)
    changed[place][column] += change
    assert [found.column for found in differences(rows, changed, key, columns)] == [column]


def test_roll_ups_add_up(loaded: Loaded) -> None:
    """Groups together are the city; each row of k_score is in one status; the points are those of the unit-days."""
    statements = {
        "groups": """select count(*) from (
            select period_code, part, measure,
                sum(numerator) filter (where scope_kind = 'city') as city,
                sum(numerator) filter (where scope_kind = 'peer_group') as groups
            from marts.rollup where measure <> 'D' and measure not like 'k%%'
            group by period_code, part, measure
        ) as sums where city is distinct from groups""",
        "statuses": """select count(*) from (
            select period_code, (select count(*) from marts.k_score as k where k.period_code = r.period_code) as units,
                sum(numerator) as told
            from marts.rollup as r where scope_kind = 'city' and measure like 'status%%' group by period_code
        ) as sums where units is distinct from told""",
    }
    with connect(loaded.settings) as connection:
        for name, statement in statements.items():
            assert connection.execute(statement).fetchone() == (0,), name  # type: ignore[arg-type]
        assert connection.execute("select count(*) > 1000 from marts.rollup").fetchone() == (True,)


# -- a small register, through files and contract, and a year on both sides of 1 July 2025 ------------------------------------

CODES = ("OLD", "NEW", "PART", "LEFT", "RIGHT", "ONE", "TWO", "MERGED", "ISLAND", "ZONE", "LOST", "STAYS")


def record(name: str, is_old: bool, predecessors: list[dict[str, str]] | None = None, **changes: Any) -> dict[str, Any]:
    told = {
        "MaCoQuan": f"HCM.{name}", "TenCoQuan": f"Đơn vị {name}", "LoaiCoQuan": "ward", "NhomXepHang": "xa",
        "TenNhomXepHang": "Phường, xã", "NgayBatDau": "20250101" if is_old else "20250701",
        "NgayKetThuc": "20250701" if is_old else None, "ChamDiem": True, "ChiTiepNhan": False, "NoiNiemYet": "desk",
    }  # fmt: skip
    return told | ({} if predecessors is None else {"DanhSachCoQuanTruoc": predecessors}) | changes


def took(name: str, extent: str = "full", **more: str) -> dict[str, str]:
    return {"MaCoQuan": f"HCM.{name}", "PhamVi": extent, **more}


REGISTER = [
    record("OLD", True), record("NEW", False, [took("OLD", NgayKeThua="20250701")]),
    record("PART", True), record("LEFT", False, [took("PART", "partial")]), record("RIGHT", False, [took("PART", "partial")]),
    record("ONE", True), record("TWO", True), record("MERGED", False, [took("ONE"), took("TWO")]),
    record("ISLAND", True, ChamDiem=False, LoaiCoQuan="district"), record("ZONE", False, [took("ISLAND")]),
    record("LOST", False, [took("OLD2", "một phần")]),
    record("STAYS", True, [], NgayBatDau="20200101", NgayKetThuc=None),
]  # fmt: skip


def at_file(folder: Path, name: str, records: list[dict[str, Any]]) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    return path


def send(settings: Settings, folder: Path, records: list[dict[str, Any]]) -> IngestResult:
    return ingest(settings, "unit_register", file=at_file(folder, "units", records))


@pytest.fixture(scope="module")
def small(new_warehouse: Any, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two dossiers of each unit in 2025-06 or 2026-06: one late before, none after; read with an old register first."""
    folder, book = tmp_path_factory.mktemp("small"), Book()
    settings = rules_without_readings(new_warehouse(), folder / "rules")
    for name in CODES:
        book.codes_of(f"HCM.{name}")
    book.world.batches = [Batch()]
    for unit in REGISTER:
        code = unit["MaCoQuan"]
        days = ["20250602"] if unit["NgayKetThuc"] else ["20260601"]
        days = ["20250602", "20260601"] if code == "HCM.STAYS" else days
        for day in days:
            due = "170000" if day == "20260601" else "120000"
            book.dossier(code, f"{day}080000", f"{day}170000", f"{day}150000")
            book.dossier(code, f"{day}080000", f"{day}{due}", f"{day}150000")
    # One that was open, and one that was overdue, when its unit ended: resolved by the successor.
    book.dossier("HCM.NEW", "20250601080000", "20250801170000", "20250725090000")
    book.dossier("HCM.NEW", "20250601080000", "20250610170000", "20250725090000")
    files = feeds.write_registers(book.world, folder)
    ingest(settings, "code_map", file=files["code_map"])
    ingest(settings, "procedure_register", file=files["procedure_register"])
    old_shape = [{name: value for name, value in unit.items() if name != "DanhSachCoQuanTruoc"} for unit in REGISTER]
    assert send(settings, folder, old_shape).loaded == len(REGISTER)
    since, until = (datetime.combine(day, time(), ZONE) for day in (date(2025, 5, 20), date(2026, 6, 20)))
    for feed, path in feeds.write_batch(book.world.batches[0], 0, folder, since.date(), until.date()).items():
        ingest(settings, feed, since=since, until=until, file=path)
    build(settings)
    return settings


def rows(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    with connect(settings) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


A_YEAR_ON = """select substr(unit_code, 5), year_before_unit_code, year_before_change, year_before_within_one_case,
        year_before_stopped_by
    from marts.trend where period_code = '2026-06' and index_code = 'A' order by unit_code"""


def test_a_register_of_the_old_shape_reads_and_knows_no_succession(small: Settings) -> None:
    assert rows(small, "select count(*) from core.core_unit_succession") == [(0,)]
    stopped = {row[0]: row[4] for row in rows(small, A_YEAR_ON)}
    assert stopped == dict.fromkeys(("LEFT", "LOST", "MERGED", "NEW", "RIGHT", "ZONE"), "no_earlier_row") | {
        "STAYS": None
    }


def test_successions_of_the_register_join_what_is_unbroken_only(small: Settings, tmp_path: Path) -> None:
    sent = send(small, tmp_path, REGISTER)
    assert (sent.loaded, sent.quarantined) == (6, 0)  # those with a predecessor; an empty list says as much as none
    build(small)
    assert rows(
        small,
        "select substr(successor_code, 5), substr(stated_code, 5), predecessor_code is not null, extent, succeeded_on::text,"
        " predecessor_count, successor_count, is_unbroken from core.core_unit_succession order by 1, 2",
    ) == [
        ("LEFT", "PART", True, "partial", "2025-07-01", 1, 2, False),
        ("LOST", "OLD2", False, "partial", "2025-07-01", 1, 1, False),
        ("MERGED", "ONE", True, "full", "2025-07-01", 2, 1, False),
        ("MERGED", "TWO", True, "full", "2025-07-01", 2, 1, False),
        ("NEW", "OLD", True, "full", "2025-07-01", 1, 1, True),
        ("RIGHT", "PART", True, "partial", "2025-07-01", 1, 2, False),
        ("ZONE", "ISLAND", True, "full", "2025-07-01", 1, 1, True),
    ]
    half = Decimal("0.5")
    assert rows(small, A_YEAR_ON) == [
        ("LEFT", None, None, None, "succession_broken"),
        ("LOST", None, None, None, "succession_broken"),
        ("MERGED", None, None, None, "succession_broken"),
        ("NEW", "HCM.OLD", half, True, None),
        ("RIGHT", None, None, None, "succession_broken"),
        ("STAYS", "HCM.STAYS", half, True, None),
        ("ZONE", None, None, None, "no_earlier_row"),  # its predecessor was never scored
    ]


def test_both_sides_of_the_handover_say_who_was_there(small: Settings) -> None:
    """In the month of the handover both stand, clipped and without a trend; what lay open is told beside the successor."""
    assert rows(
        small,
        "select substr(n.unit_code, 5), n.predecessors, n.is_unbroken, n.successors, n.taken_over, n.taken_over_overdue, "
        "k.window_clipped, t.previous_stopped_by from marts.unit_note as n "
        "join marts.k_score as k using (period_code, unit_code) join marts.trend as t using (period_code, unit_code) "
        "where n.period_code = '2025-07' and t.index_code = 'K' and substr(n.unit_code, 5) in ('OLD', 'NEW', 'PART', 'STAYS') "
        "order by 1",
    ) == [
        ("NEW", "HCM.OLD full", True, None, 2, 1, "unit_started", "not_scored"),
        ("OLD", None, None, "HCM.NEW full", 0, 0, "unit_ended", "not_scored"),
        ("PART", None, None, "HCM.LEFT partial, HCM.RIGHT partial", 0, 0, "unit_ended", "not_scored"),
        ("STAYS", None, None, None, 0, 0, None, "not_scored"),
    ]
    inherited = (
        "select inherited_overdue from marts.dossier_flow where unit_code = 'HCM.NEW' and period_code = '2025-08'"
    )
    assert rows(small, inherited) == [(1,)]
    before = "select count(*) from core.core_unit_window where unit_code = 'HCM.OLD' and period_start >= '2025-07-01'"
    assert rows(small, before) == [(0,)]


def test_a_predecessor_without_a_code_keeps_its_unit_as_it_was(small: Settings, tmp_path: Path) -> None:
    """And a build on top of a build leaves every row as it was."""
    before = {mart: read(small, mart) for mart in MARTS}
    bad = record("RIGHT", False, [{"PhamVi": "full"}])
    sent = send(small, tmp_path, [*(unit for unit in REGISTER if unit["MaCoQuan"] != "HCM.RIGHT"), bad])
    assert sent.quarantined == 1
    assert rows(small, "select record_key, rule from ops.quarantine order by batch_id desc limit 1") == [
        ("HCM.RIGHT", "bad_predecessor")
    ]
    build(small)
    assert rows(small, "select count(*) from core.core_unit_succession where successor_code = 'HCM.RIGHT'") == [(1,)]
    assert {mart: read(small, mart) for mart in MARTS} == before
