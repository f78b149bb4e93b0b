"""Rows taken again from an earlier landing: the landing is the one that converting everything makes, or nothing is taken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hailong.contracts import Contract
from hailong.extract import again, columnar
from hailong.extract.again import Earlier, Fingerprints, find_earlier
from hailong.extract.columnar import land
from hailong.extract.privacy import Pseudonyms
from hailong.extract.records import CodeMap, Converter
from hailong.extract.shapes import Shapes, read_leniently
from hailong.load import landing as landings
from hailong.load.landing import FINGERPRINT, Landing, LandingWriter
from tests.unit.test_columnar import CODES, CONTRACTS, FLAT, PSEUDONYMS, SHAPED, Maker, encoded, full

ZONE = "Asia/Ho_Chi_Minh"
START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Outcome:
    """A landing as it reads, and what was odd about it."""

    landing: Landing
    findings: list[dict[str, Any]]

    @property
    def tables(self) -> tuple[pa.Table, pa.Table]:
        return pq.read_table(self.landing.records), pq.read_table(self.landing.rejects)


def decoded(shapes: Shapes, content: bytes) -> Any:
    try:
        return shapes.answer(content)["items"]
    except orjson.JSONDecodeError:  # half characters
        return read_leniently(content)["items"]


class Reader:
    """Reads of one feed into a folder of landings, with the earlier ones or without."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reads = 0

    def read(
        self,
        pages: list[list[Any]],
        *,
        reuse: bool = True,
        of: Contract = SHAPED,
        codes: CodeMap | None = CODES,
        pseudonyms: Pseudonyms | None = PSEUDONYMS,
        window: tuple[datetime, datetime] | None = (START, START + DAY),
        hands: int = 0,
        only_keys: bool = False,
    ) -> Outcome:
        self.reads += 1
        given = Converter(of, ZONE, codes, pseudonyms, only_keys=only_keys)
        prints = Fingerprints.of(given, ZONE)
        earlier = find_earlier(self.root, of, prints.conversion, window) if prints and reuse else None
        shapes = Shapes(of)
        contents = [decoded(shapes, encoded(page)) for page in pages]
        root = self.root if reuse else self.root / "without"
        with LandingWriter(root, of, f"20261010T{self.reads:06}Z-x") as writer:
            door = land(given, contents, writer, fingerprints=prints, earlier=earlier, hands=hands)
            landing = writer.finish(
                source="s", declared=None, window=window, started_at=START, finished_at=START, code_version="x",
                conversion=prints.conversion if prints else None,
            )  # fmt: skip
        return Outcome(landing, door.findings())


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "landing")


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each conversion was given, of this process."""
    found: list[int] = []
    convert = columnar.PageConverter.convert

    def counted(self: columnar.PageConverter, page: list[Any], received: int) -> Any:
        found.append(len(page))
        return convert(self, page, received)

    monkeypatch.setattr(columnar.PageConverter, "convert", counted)
    return found


def assert_same(one: Outcome, other: Outcome) -> None:
    """The same but for fingerprints: a row of an odd page has one where it was taken from a page that was not."""
    for mine, theirs in zip(one.tables, other.tables, strict=True):
        assert mine.schema == theirs.schema
        for name in mine.schema.names:
            found, expected = mine.column(name).to_pylist(), theirs.column(name).to_pylist()
            if name == FINGERPRINT:
                found = [mine and value for mine, value in zip(expected, found, strict=True)]
            assert found == expected, name
    assert one.findings == other.findings
    for name in ("received_rows", "records", "rejects"):
        assert one.landing.manifest[name] == other.landing.manifest[name]


def tame(count: int, seed: int = 1) -> list[dict[str, Any]]:
    maker = Maker(seed, 0.0)
    return [full(maker.record(FLAT)) | {"Code": f"K{number}"} for number in range(count)]


def paged(records: list[Any], size: int = 7) -> list[list[Any]]:
    return [records[low : low + size] for low in range(0, len(records), size)]


@pytest.mark.parametrize("wildness", [0.0, 0.02, 0.3])
@pytest.mark.parametrize(("seed", "hands"), [(1, 0), (2, 0), (3, 2)])
def test_a_landing_with_rows_taken_again_is_the_landing_without(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, converted: list[int], seed: int, hands: int, wildness: float
) -> None:
    """Records that stay, change, go, come, move and come twice; pages with odd records among them."""
    monkeypatch.setattr(columnar, "CREW_AFTER", 0)
    monkeypatch.setattr(columnar, "BLOCK", 20)
    monkeypatch.setattr(landings, "ROW_GROUP", 50)
    maker = Maker(seed, wildness)
    choice = maker.random
    records = [
        {field: value for field, value in full(maker.record(FLAT)).items() if field not in ("is_test", "official")}
        for _ in range(300)
    ]
    reader.read(paged(records))
    for _ in range(3):
        records = [record for record in records if choice.random() > 0.05]
        for place in choice.sample(range(len(records)), 20):
            records[place] = records[place] | {"Ten": f"changed {choice.random()}"}
        for place in choice.sample(range(len(records)), 3):
            records[place] = records[place] | {"MatMa": 1}  # a field that nobody declared
        records += choice.sample(records, 5)
        records[20:20] = [full(maker.record(FLAT)) | {"Code": f"N{number}"} for number in range(10)]
        low = choice.randrange(200)
        moved, records = records[low : low + 30], records[:low] + records[low + 30 :]
        records += moved
        for record in records:
            record.pop("is_test", None), record.pop("official", None)
        converted.clear()
        taken = reader.read(paged(records), hands=hands)
        if not hands and wildness < 0.1:
            assert 0 < sum(converted) < 0.7 * len(records)
        assert_same(taken, reader.read(paged(records), reuse=False))


def test_what_did_not_change_is_not_converted_and_what_did_is(reader: Reader, converted: list[int]) -> None:
    records = tame(100)
    reader.read(paged(records))
    assert sum(converted) == 100
    converted.clear()
    again_ = reader.read(paged([*records[:40], records[40] | {"Total": 7}, *records[41:], *tame(1, 9)]))
    assert converted == [2]
    assert len(again_.tables[0]) == 101


def test_rejected_records_and_their_reasons_come_each_time(reader: Reader) -> None:
    records = tame(20)
    records[5] = records[5] | {"Ten": "x" * 61}
    first = reader.read(paged(records))
    assert first.tables[1].column("seq").to_pylist() == [6]
    for _ in range(2):
        assert_same(reader.read(paged(records)), first)


def test_an_undeclared_field_is_a_finding_each_time(reader: Reader) -> None:
    """So rows of a page with one have no fingerprint, also those that do not hold it."""
    records = tame(21)
    records[10] = records[10] | {"MatMa": 1}
    first = reader.read(paged(records))
    assert [(finding["rule"], finding["field"]) for finding in first.findings] == [("new_field", "MatMa")]
    prints = first.tables[0].column(FINGERPRINT).is_valid().to_pylist()
    assert prints == [True] * 7 + [False] * 7 + [True] * 7
    assert_same(reader.read(paged(records)), first)


CHANGES: dict[str, Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    "codes": lambda folder, _: {"codes": {("tthc", "unit"): frozenset({"H29.10", "7"})}},
    "no codes": lambda folder, _: {"codes": None},
    "key": lambda folder, _: {"pseudonyms": Pseudonyms("2026", b"l" * 32)},
    "year": lambda folder, _: {"pseudonyms": Pseudonyms("2027", b"k" * 32)},
    "contract": lambda folder, _: {"of": replace(SHAPED, path=_touched(folder))},
    "code": lambda folder, monkeypatch: monkeypatch.setattr(again, "_code", lambda: b"another") or {},
    "window": lambda folder, _: {"window": (START + DAY, START + 2 * DAY)},
    "whole": lambda folder, _: {"window": None},
}


def _touched(folder: Path) -> Path:
    copy = folder / "rating.yaml"
    copy.write_bytes(SHAPED.path.read_bytes() + b"# a comment\n")
    return copy


@pytest.mark.parametrize("change", CHANGES)
def test_rows_of_another_conversion_or_window_are_not_taken(
    reader: Reader, converted: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    records = tame(10)
    reader.read(paged(records))
    changed = CHANGES[change](tmp_path, monkeypatch)
    converted.clear()
    reader.read(paged(records), **changed)
    assert sum(converted) == 10
    converted.clear()
    reader.read(paged(records), **changed)  # the change is what made the difference
    assert sum(converted) == 0


def test_of_several_landings_the_one_that_overlaps_most_is_chosen(reader: Reader, converted: list[int]) -> None:
    old, newest = tame(30), tame(5)
    reader.read(paged(old), window=(START, START + 30 * DAY))
    reader.read(paged(newest), window=(START + 30 * DAY, START + 31 * DAY))
    converted.clear()
    reader.read(paged(old), window=(START + 2 * DAY, START + 31 * DAY))
    assert sum(converted) == 0


@pytest.mark.parametrize("harm", ["missing", "changed", "no manifest", "manifest"])
def test_an_earlier_landing_that_is_not_whole_is_not_used(reader: Reader, converted: list[int], harm: str) -> None:
    records = tame(10)
    first = reader.read(paged(records)).landing
    if harm == "missing":
        first.records.unlink()
    elif harm == "changed":
        content = bytearray(first.records.read_bytes())
        content[len(content) // 2] ^= 1
        first.records.write_bytes(content)
    elif harm == "no manifest":
        (first.folder / landings.MANIFEST).unlink()
    else:
        (first.folder / landings.MANIFEST).write_bytes(b"{")
    converted.clear()
    assert len(reader.read(paged(records)).tables[0]) == 10
    assert sum(converted) == 10


def test_a_landing_that_is_purged_while_it_is_read_from_still_gives_its_rows(reader: Reader) -> None:
    first = reader.read(paged(tame(10)))
    earlier = Earlier(first.landing)
    shutil.rmtree(first.landing.folder)
    prints = again._of_column(earlier._group(0).column(FINGERPRINT))
    known, rows = earlier.take(prints)
    assert known.all() and rows is not None and rows.num_rows == 10


def test_two_records_whose_numbers_begin_alike_are_told_apart(reader: Reader) -> None:
    """The first half finds a row, the second must agree too."""
    first = reader.read(paged(tame(10)))
    earlier = Earlier(first.landing)
    prints = again._of_column(earlier._group(0).column(FINGERPRINT)).copy()
    prints[3, 1] ^= 1
    known, rows = earlier.take(prints)
    assert known.tolist() == [place != 3 for place in range(10)]
    assert rows is not None
    assert rows.column("code").to_pylist() == [f"K{place}" for place in range(10) if place != 3]


def test_records_in_quite_another_order_do_not_read_the_whole_file_into_memory(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landings, "ROW_GROUP", 10)
    monkeypatch.setattr(columnar, "BLOCK", 10)
    records = tame(100)
    first = reader.read(paged(records, 10))
    earlier = Earlier(first.landing)
    spread = np.concatenate([again._of_column(batch.column(FINGERPRINT)) for batch in first.tables[0].to_batches()])
    known, rows = earlier.take(spread[::7])
    assert rows is not None
    assert 0 < known.sum() == rows.num_rows < len(spread[::7])
    assert len(earlier._held) <= again.HELD
    found = {tuple(told) for told in again._of_column(rows.column(FINGERPRINT)).tolist()}
    assert found == {tuple(told) for told in spread[::7][known].tolist()}


def test_no_fingerprint_of_people_without_a_key_and_none_in_a_census(reader: Reader) -> None:
    assert SHAPED.personal
    no_official = replace(SHAPED, columns=tuple(c for c in FLAT if not c.pseudonym), ignored=("Khac", "Official"))
    without_key = reader.read(paged(tame(5)), of=no_official, pseudonyms=None)
    assert without_key.tables[0].column(FINGERPRINT).null_count == 5
    nobody = replace(no_official, personal=())
    assert reader.read(paged(tame(5)), of=nobody, pseudonyms=None).tables[0].column(FINGERPRINT).null_count == 0
    census = reader.read(paged(tame(5)), only_keys=True)
    assert census.tables[0].column(FINGERPRINT).null_count == census.tables[0].num_rows == 5


def test_a_fingerprint_cannot_be_made_without_the_key() -> None:
    given = Converter(CONTRACTS["dossier"], ZONE, CODES, PSEUDONYMS)
    other = Converter(CONTRACTS["dossier"], ZONE, CODES, Pseudonyms("2026", b"l" * 32))
    record = json.dumps({"ChuHoSo": "A"}).encode()
    mine, theirs = (Fingerprints.of(each, ZONE) for each in (given, other))
    assert mine and theirs
    assert mine.take([record]).tolist() != theirs.take([record]).tolist()
    secret = PSEUDONYMS.secret_of("fingerprint")
    assert secret not in (b"k" * 32, PSEUDONYMS.secret_of("another"))
    assert PSEUDONYMS.of("A").split(":")[1] != secret.hex()
