"""The fast way through the door gives what the slow way gives: rows, hashes, order, rejects, findings."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hailong.contracts import Codes, Column, Contract, load_contracts
from hailong.errors import PermanentError, TransientError
from hailong.extract import columnar
from hailong.extract.columnar import PageConverter, land
from hailong.extract.privacy import Pseudonyms
from hailong.extract.records import Bad, CodeMap, Converter, Reject, Row
from hailong.extract.shapes import Page, Record, Shapes
from hailong.load.landing import LandingWriter, record_schema, rows_to_batch
from hailong.settings import PROJECT
from sandbox.generator import City
from sandbox.options import Options
from sandbox.records import DossierFeed
from sandbox.registers import code_records

CONTRACTS = load_contracts(PROJECT / "expectations" / "contracts")
PSEUDONYMS = Pseudonyms("2026", b"k" * 32)
GIVEN = f"2025:{'ab' * 32}"
CODES: CodeMap = {("tthc", "unit"): frozenset({"H29.10", "7", "Sở Nội vụ"})}
FLAG = (("Ten", "(?i)^\\s*test\\b"), ("GhiChu", "thử nghiệm|(?<!\\d)0{6}(?!\\d)"))


def column(name: str, kind: str, **more: Any) -> Column:
    return Column(name, kind, name, **({"source": name.title().replace("_", "")} | more))


ITEMS = (
    column("item_id", "text", required=True),
    column("note", "text", max_length=40),
    column("unit_code", "text", codes=Codes("tthc", "unit", True)),
    column("seen_at", "timestamptz"),
    column("seen_at_is_date", "boolean", source=None, precision_of="seen_at"),
    column("amount", "numeric"),
    column("count", "integer"),
    column("is_good", "boolean"),
    column("on_day", "date"),
    column("is_test", "boolean", source=None, flag=FLAG),
)
COLUMNS = (
    column("code", "text", required=True, key_position=1),
    column("number", "integer", required=True, key_position=2),
    column("day_key", "date", required=True, key_position=3),
    column("name", "text", source="Ten", max_length=60),
    column("unit_code", "text", codes=Codes("tthc", "unit", True)),
    column("loose_code", "text", codes=Codes("tthc", "unit", False)),
    column("needed", "text", required=True),
    column("changed_at", "timestamptz", hashed=False),
    column("due_at", "timestamptz"),
    column("due_at_is_date", "boolean", source=None, precision_of="due_at"),
    column("total", "bigint"),
    column("score", "numeric"),
    column("is_open", "boolean"),
    column("on_day", "date"),
    column("official", "text", hashed=False, pseudonym=True),
    column("is_test", "boolean", source=None, flag=FLAG),
    column("items", "jsonb", items=ITEMS, reject_rule="bad_item"),
    column("parts", "jsonb", items=(column("part", "text"), column("inner", "jsonb", items=ITEMS[:2]))),
)  # fmt: skip

TEXTS = [
    "a", "A-1", "", "  ", " x ", "Sở Nội vụ", unicodedata.normalize("NFD", "Sở Nội vụ"), "H29.10", "7", 7, 7.0, 7.5, True,
    None, "test", " TEST lần", "thử nghiệm", "000000", "1000000", "x" * 41, "x" * 61, "x" * 300, "bad\ufffd", "nul\0", "\ud800",
    'quote " back \\ tab \t', "line\nline", "\x7f", "\x1f", "\u00a0nbsp\u00a0", "🙂", ["a"], {"a": 1},
    Decimal("1.0"), Decimal("1.00"), -0.0, 0.0,
]  # fmt: skip
TIMES = [
    "20261009153000", "20261009000000", "20261009", "20260231", "20260231093000", "20261009246000", "2026100915300x", "x2026100",
    " 20261009 ", "", None, 20261009, 20261009153000, "2026-10-09", "2026-10-09T15:30:00.123456", "2026-10-09T15:30:00+02:00",
    "09/10/2026 15:30", "31/02/2026", "hôm qua", "００２６１００９", "00010101", "99991231235959", "19060615", "19750101120000",
    True, 5.5, ["x"], {"x": 1}, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 7, tzinfo=timezone(timedelta(hours=7))),
    datetime(2026, 1, 1), date(2026, 1, 1), "\ud800",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, "12", " 12 ", "", None, 12.0, 12.5, "x", True, False, "1.50", 1.5, Decimal("1.50"), Decimal("1.5"), -0.0, 0.0, "-0",
    "1" * 29 + ".5", "1e-70", "1e400", float("nan"), 2**31, 2**63, 2**63 - 1, [1], {}, "123456789012345678.123456789012345678",
    18, 18.0,
]  # fmt: skip
TRUTHS = [True, False, None, "có", "Không", "x", "", 1, 0, 1.0, "maybe", [True], 2, "TRUE"]
WILD: dict[str, list[Any]] = {"text": TEXTS, "timestamptz": TIMES, "date": TIMES, "boolean": TRUTHS} | dict.fromkeys(
    ("integer", "bigint", "numeric"), NUMBERS
)
TAME: dict[str, list[Any]] = {
    "text": ["a", "b7", "Sở Nội vụ", None], "timestamptz": ["20261009153000", "20261010", None], "date": ["20261009"],
    "boolean": [True, False], "integer": [1, 2], "bigint": [10**12, None], "numeric": [1.5, 2, None],
}  # fmt: skip


class Maker:
    """Records that are tame in most fields and wild in some."""

    def __init__(self, seed: int, wildness: float) -> None:
        self.random = random.Random(seed)
        self.wildness = wildness

    def value(self, kind: str) -> Any:
        return self.random.choice((WILD if self.random.random() < self.wildness else TAME)[kind])

    def record(self, columns: tuple[Column, ...] = COLUMNS) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for c in columns:
            if c.source is None or (self.random.random() < self.wildness / 3):
                continue
            if c.items:
                found[c.source] = self.items(c)
            elif c.codes and self.random.random() > self.wildness:
                found[c.source] = self.random.choice(["H29.10", "7", 7])
            elif c.key_position == 1 or c.name in ("item_id", "needed"):
                wild = self.random.random() < self.wildness / 4
                found[c.source] = self.random.choice(TEXTS) if wild else f"K{self.random.randrange(10**6)}"
            else:
                found[c.source] = self.value(c.type)
        if self.random.random() < self.wildness / 4:
            found[self.random.choice(["is_test", "official"])] = self.random.choice([True, False, "x", GIVEN])
        if self.random.random() < 0.2:
            found["GhiChu"] = self.value("text")
        return found

    def items(self, c: Column) -> Any:
        if self.random.random() < self.wildness / 5:
            return self.random.choice(
                [None, "", "[]", "không", '[{"ItemId": "z"}]', {}, 3, [3], [None], [[]], ["x", {}]]
            )
        return [self.record(c.items) for _ in range(self.random.choice([0, 0, 1, 1, 2, 3, 5]))]

    def page(self, size: int) -> list[Any]:
        page: list[Any] = [self.record() for _ in range(size)]
        for place in range(size):
            if self.random.random() < self.wildness / 20:
                page[place] = self.random.choice([None, 3, "x", [], {}, Bad("unreadable_record", "line 3")])
        return page


def contract() -> Contract:
    return replace(CONTRACTS["rating"], columns=COLUMNS, window_columns=("changed_at",), personal=("GhiChu",))


def converter(of: Contract, codes: CodeMap | None = CODES) -> Converter:
    return Converter(of, "Asia/Ho_Chi_Minh", codes, PSEUDONYMS)


def slowly(given: Converter, page: list[Any], received: int) -> tuple[pa.RecordBatch, list[tuple[int, Reject]]]:
    rows: list[tuple[int, Row]] = []
    rejects: list[tuple[int, Reject]] = []
    for number, record in enumerate(page, received + 1):
        if isinstance(record, Bad):
            rejects.append((number, Reject(None, record.rule, record.detail, "")))
            continue
        outcome = given.convert(record)
        if isinstance(outcome, Row):
            rows.append((number, outcome))
        else:
            rejects.append((number, outcome))
    columns = given.contract.columns
    return rows_to_batch(rows, columns, record_schema(columns)), rejects


def assert_same(given: Converter, pages: Iterator[list[Any]] | list[list[Any]]) -> tuple[int, int]:
    """Both ways on pages one after the other, through one PageConverter; (rows, rejects) in all."""
    fast, received, taken, refused = PageConverter(given), 0, 0, 0
    for page in pages:
        batch, rejects = fast.convert(page, received)
        expected, expected_rejects = slowly(given, page, received)
        assert rejects == expected_rejects
        for name in expected.schema.names:
            assert batch.column(name).to_pylist() == expected.column(name).to_pylist(), name
        assert batch.equals(expected)
        received, taken, refused = received + len(page), taken + batch.num_rows, refused + len(rejects)
    return taken, refused


@pytest.mark.parametrize("wildness", [0.0, 0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_generated_and_broken_records_become_the_same_either_way(seed: int, wildness: float) -> None:
    maker = Maker(seed, wildness)
    taken, refused = assert_same(converter(contract()), [maker.page(size) for size in (300, 1, 0, 7, 300)])
    assert taken > 0 or wildness > 0.2
    assert refused > 0 or wildness < 0.01


@pytest.mark.parametrize("kind", [c.name for c in COLUMNS if c.source and not c.items])
def test_each_value_alone_in_its_column_becomes_the_same_either_way(kind: str) -> None:
    target = next(c for c in COLUMNS if c.name == kind)
    maker = Maker(7, 0.0)
    for value in WILD[target.type]:
        assert target.source
        page = [maker.record() | {target.source: value} for _ in range(3)]
        assert_same(converter(contract()), [page, [maker.record()], page])


@pytest.mark.parametrize("item", [c.name for c in ITEMS if c.source])
def test_each_value_alone_in_a_nested_list_becomes_the_same_either_way(item: str) -> None:
    target = next(c for c in ITEMS if c.name == item)
    maker = Maker(8, 0.0)
    for value in WILD[target.type]:
        assert target.source
        tame = maker.record(ITEMS)
        page = [maker.record() | {"Items": [tame, tame | {target.source: value}]}, maker.record()]
        assert_same(converter(contract()), [page])


def test_memory_of_values_that_overflows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "MEMO", 3)
    maker = Maker(3, 0.1)
    assert_same(converter(contract()), [maker.page(100) for _ in range(3)])


def test_one_equal_to_another_in_python_is_not_taken_for_it() -> None:
    maker = Maker(1, 0.0)
    values = [1, True, 1.0, "1", Decimal("1.0"), Decimal("1.00"), 0.0, -0.0, 0, False]
    for c in COLUMNS:
        if c.source and not c.items and not c.key_position:
            pages = [[maker.record() | {c.source: value}] for value in values * 2]
            pages.append([maker.record() | {c.source: value} for value in values])
            assert_same(converter(contract()), pages)


def test_dossiers_of_the_sandbox_become_the_same_either_way() -> None:
    city = City(Options(size=600))
    codes: dict[tuple[str, str], set[str]] = {}
    for record in code_records():
        codes.setdefault((record["HeThong"], record["LoaiMa"]), set()).add(record["MaNguon"])
    given = converter(CONTRACTS["dossier"], {key: frozenset(found) for key, found in codes.items()})
    feed = DossierFeed(city, city.end)
    records = feed.page(0, len(feed.rows))
    taken, refused = assert_same(given, [records[low : low + 100] for low in range(0, len(records), 100)])
    assert taken >= 600
    assert refused == 12


def test_plain_dossiers_need_the_slow_way_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps, participants and supplements included: else the fast way is one in name only."""
    city = City(Options(size=600, bad_records=0))
    given = converter(CONTRACTS["dossier"], None)
    feed = DossierFeed(city, city.end)

    def refuse(self: Converter, record: object, op: str = "upsert") -> Row | Reject:
        raise AssertionError(f"the slow way for {record}")

    monkeypatch.setattr(Converter, "convert", refuse)
    batch, rejects = PageConverter(given).convert(feed.page(0, len(feed.rows)), 0)
    assert (batch.num_rows, rejects) == (len(feed.rows), [])


# -- pages decoded straight into the fields of the contract -----------------------------------------------------------

FLAT = tuple(c for c in COLUMNS if c.name != "parts")
SHAPED = replace(contract(), columns=FLAT, ignored=("Khac",))


def encoded(records: list[Any]) -> bytes:
    """JSON as a source sends it: what JSON cannot say is left out."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: told(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [told(inner) for inner in value]
        return None if isinstance(value, Decimal | datetime | date) or value != value else value

    return json.dumps({"total": len(records), "items": told(records)}).encode()


def both(content: bytes) -> tuple[Any, Any]:
    """(shaped, plain) answers, or what was raised; the records of the shaped one decoded, as the door does it."""
    found = []
    shapes = Shapes(SHAPED)
    for loads in (shapes.answer, orjson.loads):
        try:
            found.append(loads(content))
        except orjson.JSONDecodeError:
            found.append("not JSON")
    shaped, plain = found
    if isinstance(shaped, dict) and isinstance(shaped.get("items"), Page):
        shaped = shaped | {"items": shapes.records(shaped["items"].answer)}
    return shaped, plain


def full(record: dict[str, Any]) -> dict[str, Any]:
    """The record with every declared field, those a flag is computed from too: none is then missing."""
    return (
        dict.fromkeys([c.source for c in FLAT if c.source] + [field for c in FLAT for field, _ in c.flag], None)
        | record
    )


@pytest.mark.parametrize("wildness", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_pages_read_by_shape_become_the_same_as_plain_json(seed: int, wildness: float) -> None:
    maker = Maker(seed, wildness)
    shaped_pages = 0
    for number in range(40):
        records = [full(maker.record(FLAT)) for _ in range(maker.random.choice([1, 20]))]
        records[0]["Khac"] = maker.value("numeric") if number % 4 else None
        for record in records:
            record.pop("is_test", None), record.pop("official", None)
        shaped, plain = both(encoded(records))
        if plain == "not JSON":
            assert shaped == plain
            continue
        shaped_pages += isinstance(shaped["items"][0], Record)
        assert shaped["total"] == plain["total"]
        one, rejects = PageConverter(converter(SHAPED)).convert(shaped["items"], 0)
        other, expected = PageConverter(converter(SHAPED)).convert(plain["items"], 0)
        assert one.equals(other)
        assert rejects == expected
    assert shaped_pages > 0 or wildness > 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"MatMa": 1}, {"is_test": True}, {"official": GIVEN}, {"Items": [{"MatMa": 1}]}, {"Items": {}}, {"Items": [3]},
        {"Total": 2**63}, {"Total": 2**64}, {"Ten": ["x"]}, {"Ten": {"x": 1}}, None,
    ],
)  # fmt: skip
def test_a_page_of_another_shape_is_read_as_plain_json(change: dict[str, Any] | None) -> None:
    record = full(Maker(1, 0.0).record(FLAT))
    assert isinstance(both(encoded([record]))[0]["items"][0], Record)
    odd = record | change if change else {field: record[field] for field in list(record)[1:]}
    shaped, plain = both(encoded([record, odd]))
    assert shaped == plain
    assert type(shaped["items"][1]) is dict


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"items":[{"Ten":"\xff"}]}', b"[1]", b"<html>", b'{"items":[{"Ten":"\\ud800"}]}']
)
def test_what_is_no_answer_fails_as_plain_json_does(content: bytes) -> None:
    shaped, plain = both(content)
    assert shaped == plain


def test_who_reads_the_pages_sees_keys_and_nothing_else() -> None:
    records = [full(Maker(1, 0.0).record(FLAT)) | {"Code": f"K{n}"} for n in range(3)]
    page = Shapes(SHAPED).answer(encoded(records))["items"]
    assert [record["Code"] for record in page] == ["K0", "K1", "K2"]
    assert {field for record in page for field in record.names} == {c.source for c in SHAPED.keys}
    assert len(page.answer) == 3


def test_a_page_whose_text_is_broken_is_read_leniently_and_one_that_is_no_json_fails() -> None:
    """Who skips a field does not see what is wrong in it."""
    shapes = Shapes(SHAPED)
    good = encoded([full(Maker(1, 0.0).record(FLAT)) | {"Ten": "TAM"}])
    (record,) = shapes.records(shapes.answer(good.replace(b"TAM", b"\xff"))["items"].answer)
    assert record["Ten"] == "\ufffd"
    broken = shapes.answer(good.replace(b'"TAM"', b"1e999"))
    with pytest.raises(TransientError, match=r"rating: .* answered JSON that cannot be read"):
        shapes.records(broken["items"].answer)


@pytest.mark.parametrize("hands", [1, 3])
def test_a_crew_lands_what_one_process_lands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hands: int) -> None:
    monkeypatch.setattr(columnar, "CREW_AFTER", 0)
    monkeypatch.setattr(columnar, "BLOCK", 10)
    maker, shapes = Maker(5, 0.02), Shapes(SHAPED)
    pages: list[Any] = []
    for number in range(60):
        records = [full(maker.record(FLAT)) for _ in range(7)]
        answer = None
        with suppress(orjson.JSONDecodeError):
            answer = shapes.answer(encoded(records)) if number % 9 else None
        pages.append(answer["items"] if answer else records)
    assert any(isinstance(page, Page) for page in pages)
    found = []
    for name, helpers in (("alone", 0), ("crew", hands)):
        with LandingWriter(tmp_path / name, SHAPED, "x") as writer:
            door = land(converter(SHAPED), pages, writer, hands=helpers)
            at = datetime(2026, 10, 9, tzinfo=UTC)
            landing = writer.finish(
                source="s", declared=None, window=None, started_at=at, finished_at=at, code_version="x"
            )
        found.append((pq.read_table(landing.records), pq.read_table(landing.rejects), door.findings(), door.records))
    (rows, rejects, findings, count), crew = found
    assert rows.equals(crew[0])
    assert rejects.equals(crew[1])
    assert (findings, count) == crew[2:]
    assert rows.num_rows > 200
    assert rejects.num_rows > 10


def test_a_read_of_both_kinds_of_pages_keeps_the_order_of_the_source(tmp_path: Path) -> None:
    maker = Maker(2, 0.0)
    records = [full(maker.record(FLAT)) | {"Code": f"K{n}"} for n in range(30)]
    pages = [both(encoded(records[:10]))[0]["items"], records[10:20], both(encoded(records[20:]))[0]["items"]]
    at = datetime(2026, 10, 9, tzinfo=UTC)
    with LandingWriter(tmp_path, SHAPED, "x") as writer:
        door = land(converter(SHAPED), pages, writer)
        landing = writer.finish(source="s", declared=30, window=None, started_at=at, finished_at=at, code_version="x")
    table = pq.read_table(landing.records)
    assert table.column("code").to_pylist() == [f"K{n}" for n in range(30)]
    assert table.column("seq").to_pylist() == list(range(1, 31))
    assert door.findings() == []


# -- what was odd about a read ----------------------------------------------------------------------------------------


@pytest.fixture
def landed(tmp_path: Path) -> Callable[..., columnar.Door]:
    def run(records: list[Any], window: tuple[datetime, datetime] | None = None) -> columnar.Door:
        of = CONTRACTS["rating"]
        with LandingWriter(tmp_path, of, "x") as writer:
            return land(Converter(of, "Asia/Ho_Chi_Minh", None), [records], writer, window=window)

    return run


def rating(**changes: Any) -> dict[str, Any]:
    return {
        "id": f"R{random.random()}", "maHoSo": None, "maCoQuan": "u", "kenh": "k", "thietBi": None, "cauHoi": None, "mucDo": "m",
        "thoiGian": "20261009153000", "capNhat": "20261009153000", "hoTen": "A", "soDienThoai": "1", "gopY": None,
    } | changes  # fmt: skip


def test_a_field_that_nobody_named_is_a_finding_and_personal_ones_are_not(landed: Callable[..., columnar.Door]) -> None:
    found = landed([rating(), rating(matMa="x"), rating(matMa=None)]).findings()
    assert [(f["rule"], f["field"], f["records"]) for f in found] == [("new_field", "matMa", 2)]


def test_a_field_in_no_record_is_a_finding_once_there_are_enough(landed: Callable[..., columnar.Door]) -> None:
    records = [rating() for _ in range(100)]
    for record in records:
        del record["cauHoi"]
    assert [(f["rule"], f["field"], f["records"]) for f in landed(records).findings()] == [
        ("missing_field", "cauHoi", 100)
    ]
    assert landed(records[:99]).findings() == []


def test_a_key_in_no_record_refuses_the_read(landed: Callable[..., columnar.Door]) -> None:
    records = [rating() for _ in range(3)]
    for record in records:
        record["ma"] = record.pop("id")
    with pytest.raises(PermanentError, match=r"the field id of rating\.yaml is in none of the 3 records"):
        landed(records)
    landed([*records, rating()])  # one that has it is enough: the others are rejects


def test_cursors_outside_the_window_are_counted(landed: Callable[..., columnar.Door]) -> None:
    window = datetime(2026, 10, 9, 8, 30, tzinfo=UTC), datetime(2026, 10, 9, 8, 31, tzinfo=UTC)
    times = ["20261009153000", "20261009153059", "20261009153100", "20261009152959", None]
    found = landed([rating(capNhat=at) for at in times], window).findings()
    assert [(f["rule"], f["field"], f["records"]) for f in found] == [("outside_window", "capNhat", 2)]


def test_a_read_that_starts_over_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    of = CONTRACTS["rating"]
    at = datetime(2026, 10, 9, tzinfo=UTC)
    with LandingWriter(tmp_path, of, "x") as writer:
        land(Converter(of, "Asia/Ho_Chi_Minh", None), [[rating(id="a"), rating(id=None)]], writer)
        writer.restart()
        land(Converter(of, "Asia/Ho_Chi_Minh", None), [[rating(id="b")]], writer)
        landing = writer.finish(
            source="s",
            declared=1,
            window=None,
            started_at=at,
            finished_at=at,
            code_version="x",
            read="full",
            complete=True,
        )
    assert pq.read_table(landing.records).column("record_key").to_pylist() == ["b"]
    assert (landing.manifest["received_rows"], landing.manifest["rejects"]) == (1, 0)
    assert (landing.manifest["read"], landing.manifest["complete"], landing.manifest["findings"]) == ("full", True, [])
