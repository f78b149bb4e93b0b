"""Dropped files: every kind reads the same, a wrong column is named, rows of a group become one record."""

from __future__ import annotations

import codecs
import csv
import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hailong.contracts import FileDrop, load_contracts
from hailong.errors import PermanentError, UsageError
from hailong.extract.files import DroppedFile, load_mapping
from hailong.extract.formats import Layout, read_parquet
from hailong.extract.records import Bad, Converter, Reject, Row, moment, text
from hailong.settings import PROJECT

CONTRACTS = load_contracts(PROJECT / "expectations" / "contracts")
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
NOW = datetime(2026, 11, 18, tzinfo=UTC)
HEADER = ["Mã phiếu", "Mã cơ quan", "Tên cơ quan", "Nơi niêm yết", "Ngày kiểm tra", "Kết quả", "Loại kiểm tra"]
ROWS = [
    ["NY-1", "KT-01", "Sở Một", "Bộ phận Một cửa", "2026-10-03", "Đạt", "Tự kiểm tra"],
    ["NY-2", "KT-02", "Sở Hai", "Trang thông tin điện tử", "2026-10-04", "Không đạt", "Tự kiểm tra"],
]


def write_csv(path: Path, rows: list[list[Any]], delimiter: str = ",", encoding: str = "utf-8-sig") -> Path:
    with path.open("w", encoding=encoding, newline="") as handle:
        csv.writer(handle, delimiter=delimiter).writerows(rows)
    return path


def write_xlsx(path: Path, rows: list[list[Any]], title: str = "Kiểm tra niêm yết") -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def read(path: Path, feed: str = "posting_check", mapping: dict[str, Any] | None = None) -> list[Any]:
    contract = CONTRACTS[feed]
    columns = None
    if mapping is not None:
        place = path.with_name("mapping.yaml")
        place.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
        columns = load_mapping(place, contract)
    return [record for chunk in DroppedFile(path, contract, columns, ZONE, None, NOW) for record in chunk]


def test_csv_with_bom_xlsx_parquet_and_lines_read_the_same(tmp_path: Path) -> None:
    dated = [[*row[:4], date.fromisoformat(row[4]), *row[5:]] for row in ROWS]
    records = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    pq.write_table(pa.Table.from_pylist([dict(zip(HEADER, row, strict=True)) for row in dated]), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(orjson.dumps(record) for record in records))
    paths = [
        write_csv(tmp_path / "a.csv", [HEADER, *ROWS]),
        write_csv(tmp_path / "b.csv", [HEADER, *ROWS], delimiter=";", encoding="utf-8"),
        write_xlsx(tmp_path / "a.xlsx", [HEADER, *dated]),
        tmp_path / "a.parquet",
        tmp_path / "a.jsonl",
    ]
    for path in paths:
        found = read(path)
        for record in found:
            record["Ngày kiểm tra"] = str(record["Ngày kiểm tra"])[:10]
        assert found == records, path.name


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    header = ["Mã", *HEADER[1:]]
    for path in (write_csv(tmp_path / "a.csv", [header, *ROWS]), write_xlsx(tmp_path / "a.xlsx", [header, *ROWS])):
        with pytest.raises(PermanentError) as caught:
            read(path)
        assert "no column 'Mã phiếu' that contract posting_check.yaml reads" in str(caught.value)
        assert "its columns are 'Mã', 'Mã cơ quan'" in str(caught.value)


def test_a_mapping_renames_and_translates(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [["No.", "Dept", "Grp", "When", "Ok"], ["7", "A", "", "03/10/2026", "y"]])
    mapping = {
        "columns": {
            "check_id": "No.",
            "unit_source_code": {"join": ["Dept", "Grp"], "separator": "/"},
            "place_source_code": {"constant": "Bộ phận Một cửa"},
            "checked_on": "When",
            "result_source_code": {"from": "Ok", "values": {"y": "Đạt"}, "otherwise": "Không đạt"},
            "checker_kind_source_code": {"when": [{"column": "Grp", "present": True, "value": "x"}], "otherwise": "z"},
        }
    }
    assert read(path, mapping=mapping) == [
        {
            "Mã phiếu": "7",
            "Mã cơ quan": "A/",
            "Nơi niêm yết": "Bộ phận Một cửa",
            "Ngày kiểm tra": "03/10/2026",
            "Kết quả": "Đạt",
            "Loại kiểm tra": "z",
        }
    ]


def test_a_mapping_to_a_file_column_that_is_not_there_is_answered(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [["No.", "When"], ["7", "x"]])
    with pytest.raises(
        PermanentError, match=r"no column 'Nr\.' that mapping mapping.yaml reads; its columns are 'No\.', 'When'"
    ):
        read(path, mapping={"columns": {"check_id": "Nr."}})


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"columns": {"chek_id": "No."}}, "unknown key 'chek_id'; allowed: check_id"),
        ({"columns": {"checked_on": "When"}}, "the key column 'check_id' is missing"),
        ({"colums": {}}, "unknown key 'colums'"),
        ({"columns": {"check_id": {"form": "No."}}}, "unknown key 'form'"),
        ({"columns": {"check_id": {"values": {}}}}, "exactly one of from, constant, join, when"),
        ({"columns": {"check_id": "No."}, "items": {"supplements": {}}}, "no nested column 'supplements'"),
        ({"columns": {"check_id": "No."}, "window_columns": ["x"]}, "no date column 'x'; allowed: checked_on"),
    ],
)
def test_a_wrong_mapping_is_answered_with_what_is_allowed(tmp_path: Path, mapping: dict[str, Any], told: str) -> None:
    path = write_csv(tmp_path / "a.csv", [["No.", "When"], ["7", "x"]])
    with pytest.raises(UsageError) as caught:
        read(path, mapping=mapping)
    assert told in str(caught.value)


def test_rows_of_a_group_become_one_dossier_with_its_supplements(tmp_path: Path) -> None:
    header = ["case", "start", "act", "no", "at"]
    rows = [
        ["c1", "2026-10-01", "Begin", "1", "2026-10-01T08:00:00"],
        ["c2", "2026-10-02", "Begin", "2", "2026-10-02T08:00:00"],
        ["c1", "later", "Hold: complete", "3", "2026-10-05T09:00:00"],
        ["c1", "later", "Hold: start", "3", "2026-10-04T09:00:00"],
        ["c1", "later", "Hold: start", "4", "2026-10-06T09:00:00"],
        ["", "later", "Hold", "5", "2026-10-06T09:00:00"],
    ]
    mapping = {
        "group_by": "case",
        "columns": {"dossier_code": "case", "received_at": "start"},
        "items": {
            "supplements": {
                "where": {"column": "act", "matches": ["^Hold"]},
                "columns": {"supplement_id": "no", "requested_at": "at", "status_code": {"constant": "1"}},
            }
        },
    }
    found = read(write_csv(tmp_path / "a.csv", [header, *rows]), "dossier", mapping)
    assert isinstance(found[0], Bad)
    assert found[0].rule == "missing_key"
    assert found[1:] == [
        {
            "MaHoSo": "c1",
            "NgayTiepNhan": "2026-10-01",
            "DanhSachHoSoBoSung": [
                {"HoSoBoSungId": "3", "NgayBoSung": "2026-10-04T09:00:00", "TrangThaiBoSung": "1"},
                {"HoSoBoSungId": "4", "NgayBoSung": "2026-10-06T09:00:00", "TrangThaiBoSung": "1"},
            ],
        },
        {"MaHoSo": "c2", "NgayTiepNhan": "2026-10-02"},
    ]


def test_a_broken_row_does_not_hide_the_others(tmp_path: Path) -> None:
    found = read(write_csv(tmp_path / "a.csv", [HEADER, ROWS[0], ROWS[1][:3]]))
    assert found[0]["Mã phiếu"] == "NY-1"
    assert isinstance(found[1], Bad)
    (tmp_path / "a.jsonl").write_text('{"Mã phiếu": "1"}\n{broken\n', encoding="utf-8")
    assert isinstance(read(tmp_path / "a.jsonl")[1], Bad)


def test_files_that_cannot_be_read_are_answered(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"no workbook")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    (tmp_path / "a.csv").write_bytes("Mã phiếu\n".encode("utf-16"))
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "a.json").write_bytes(b"{")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    for name in ("a.xlsx", "a.parquet", "a.csv", "empty.csv", "a.json", "twice.csv"):
        with pytest.raises(PermanentError, match=name):
            read(tmp_path / name)
    (tmp_path / "a.doc").write_bytes(b"x")
    with pytest.raises(PermanentError, match="unknown kind of file"):
        read(tmp_path / "a.doc")


def test_a_sheet_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [HEADER, *ROWS], title="Trang 1")
    with pytest.raises(PermanentError, match="no sheet 'Kiểm tra niêm yết'; its sheets are Trang 1"):
        read(path)


SELF = ["Mã dòng", "Mã cơ quan", "Tên cơ quan", "Kỳ đánh giá", "Tiêu chí", "Điểm tự chấm", "Điểm tối đa", "Ngày lập"]


@pytest.mark.parametrize(
    ("delimiter", "encoding", "written", "taken"),
    [
        (";", "utf-8-sig", "8,5", "8.5"),
        ("\t", "utf-16", "-0,25", "-0.25"),
        (";", "utf-8-sig", "8.5", "8.5"),
        (";", "utf-8-sig", "1.234,5", "1.234,5"),  # which sign is which is not guessed: the door quarantines it
        (",", "utf-8-sig", "8,5", "8,5"),
    ],
)
def test_a_decimal_comma_is_read_where_the_comma_separates_nothing(
    tmp_path: Path, delimiter: str, encoding: str, written: str, taken: str
) -> None:
    row = ["1,5", "H29.01", "Sở Một, Hai", "2026-Q3", "TC1", written, "10", "01/10/2026"]
    found = read(write_csv(tmp_path / "a.csv", [SELF, row], delimiter, encoding), "self_evaluation")
    assert [r["Điểm tự chấm"] for r in found] == [taken]
    assert found[0]["Mã dòng"] == "1,5" and found[0]["Tên cơ quan"] == "Sở Một, Hai"  # texts stay as they are


def test_headers_from_a_mac_and_unicode_text_are_the_same_columns(tmp_path: Path) -> None:
    row = ["D1", "H29.01", "Sở Một", "2026-Q3", "TC1", "8", "10", "01/10/2026"]
    apart = [unicodedata.normalize("NFD", name) for name in SELF]
    assert apart != SELF
    mac = read(write_csv(tmp_path / "mac.csv", [apart, row], ";"), "self_evaluation")
    unicode_text = read(write_csv(tmp_path / "unicode.csv", [SELF, row], "\t", "utf-16"), "self_evaluation")
    assert mac == unicode_text == [dict(zip(SELF, row, strict=True))]


# -- as people save them ----------------------------------------------------------------------------------------------

GOOD = ["D1", "H29.01", "Sở Một", "2026-Q3", "TC1", "8", "10", "01/10/2026"]
OTHER = ["D2", "H29.02", "Sở Hai", "2026-Q3", "TC2", "9", "10", "02/10/2026"]
SELF_RECORD, OTHER_RECORD = (dict(zip(SELF, row, strict=True)) for row in (GOOD, OTHER))


def text_of(rows: list[list[str]], delimiter: str = ";", end: str = "\r\n") -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def read_bytes(path: Path, content: bytes, feed: str = "self_evaluation", **options: Any) -> list[Any]:
    path.write_bytes(content)
    return read(path, feed, **options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mark.csv", codecs.BOM_UTF8 + text_of([SELF, GOOD]).encode()),
        ("two_marks.csv", codecs.BOM_UTF8 * 2 + text_of([SELF, GOOD]).encode()),
        ("quoted_after_mark.csv", codecs.BOM_UTF8 + text_of([[f'"{n}"' for n in SELF], GOOD]).encode()),
        ("little.txt", codecs.BOM_UTF16_LE + text_of([SELF, GOOD], "\t").encode("utf-16-le")),
        ("big.txt", codecs.BOM_UTF16_BE + text_of([SELF, GOOD], "\t").encode("utf-16-be")),
        ("no_mark.txt", text_of([SELF, GOOD], "\t").encode("utf-16-le")),
        ("told.csv", b"sep=;\r\n" + text_of([SELF, GOOD]).encode()),
        ("told_with_mark.csv", codecs.BOM_UTF8 + b'"sep=|"\r\n' + text_of([SELF, GOOD], "|").encode()),
        ("cr.csv", text_of([SELF, GOOD], end="\r").encode()),
        ("lf.tsv", text_of([SELF, GOOD], "\t", "\n").encode()),
        ("blank_lines.csv", b"\r\n" + text_of([[], SELF, [""] * 8, GOOD, [" "] * 8]).encode()),
        ("title.csv", text_of([["BÁO CÁO, QUÝ III, 2026, CỦA SỞ MỘT"], [], SELF, GOOD]).encode()),
        ("wide.csv", text_of([[*SELF, "", ""], [*GOOD, "", ""]]).encode()),
        ("wrapped_header.csv", text_of([['"Mã\ndòng"', " Mã  cơ quan", *SELF[2:]], GOOD]).encode()),
    ],
)
def test_text_is_read_however_excel_wrote_it(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_bytes(tmp_path / name, content) == [SELF_RECORD]


@pytest.mark.parametrize("encoding", ["windows-1258", "windows-1252"])
def test_old_code_pages_are_read_only_when_they_are_named(tmp_path: Path, encoding: str) -> None:
    marks = "Ghế Ngãi" if encoding == "windows-1258" else "Cà Mau, Bến".replace("ế", "ê")
    row = [*GOOD[:2], marks, *GOOD[3:]]
    # windows-1258 has the tone marks apart; its writers take letters and marks apart accordingly
    apart = "".join(
        unicodedata.normalize("NFD", c).replace("a\u0302", "â").replace("e\u0302", "ê").replace("o\u0302", "ô")
        for c in text_of([["no", "code", "unit"], row[:3]])
    )
    content = (apart if encoding == "windows-1258" else text_of([["no", "code", "unit"], row[:3]])).encode(encoding)
    columns = {"line_id": "no", "unit_source_code": "code", "period_code": "unit"}
    known = {column.name for column in CONTRACTS["self_evaluation"].columns}
    assert set(columns) <= known
    (found,) = read_bytes(tmp_path / "old.csv", content, mapping={"columns": columns, "format": {"encoding": encoding}})
    assert text(found["Kỳ đánh giá"]) == marks  # the door composes it
    (unnamed,) = read_bytes(tmp_path / "old.csv", content, mapping={"columns": columns})
    assert "\ufffd" in unnamed["Kỳ đánh giá"]  # which the door quarantines


def test_a_code_page_of_the_contract_gives_way_to_a_mark_in_the_file(tmp_path: Path) -> None:
    contract = CONTRACTS["self_evaluation"]
    assert isinstance(contract.connector, FileDrop)
    old = replace(contract, connector=replace(contract.connector, encoding="windows-1252"))
    path = tmp_path / "a.csv"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(text_of([SELF, GOOD]).encode(encoding))
        assert list(DroppedFile(path, old, None, ZONE, None, NOW)) == [[SELF_RECORD]]
    wrong = replace(contract, connector=replace(contract.connector, encoding="windows-9999"))
    path.write_bytes(text_of([SELF, GOOD]).encode())
    with pytest.raises(PermanentError, match="no encoding 'windows-9999': write utf-8"):
        list(DroppedFile(path, wrong, None, ZONE, None, NOW))


def test_a_header_that_is_not_utf_8_is_answered_with_the_encoding(tmp_path: Path) -> None:
    content = text_of([SELF, GOOD]).encode("cp1252", "replace").replace(b"?", b"\xe3")
    with pytest.raises(PermanentError, match="it is not UTF-8: save it as UTF-8, or name its encoding"):
        read_bytes(tmp_path / "a.csv", content)


def test_broken_bytes_spoil_their_own_line(tmp_path: Path) -> None:
    content = text_of([SELF, GOOD, OTHER]).encode().replace("Sở Một;2026".encode(), b"S\xe1\xbb;2026\xff")
    first, second = read_bytes(tmp_path / "a.csv", content)
    assert "\ufffd" in first["Kỳ đánh giá"] and second == OTHER_RECORD
    codes = {
        (column.codes.system, column.codes.kind): frozenset({"H29.01", "H29.02", "TC1", "TC2"})
        for column in CONTRACTS["self_evaluation"].columns
        if column.codes
    }
    door = Converter(CONTRACTS["self_evaluation"], str(ZONE), codes)
    reject, row = door.convert(first), door.convert(second)
    assert isinstance(reject, Reject) and (reject.rule, reject.key) == ("bad_text", "D1")
    assert isinstance(row, Row)


def test_quoted_newlines_delimiters_and_quotes_belong_to_the_value(tmp_path: Path) -> None:
    row = [*GOOD[:2], '"Sở ""Một"";\r\nphòng 2"', *GOOD[3:]]
    (found,) = read_bytes(tmp_path / "a.csv", text_of([SELF, row]).encode())
    assert found["Tên cơ quan"] == 'Sở "Một";\r\nphòng 2'


@pytest.mark.parametrize("broken", ['"never closed', '"closed" too early'])
def test_a_broken_quote_hides_no_other_row(tmp_path: Path, broken: str) -> None:
    row = [*GOOD[:2], broken, *GOOD[3:]]
    found = read_bytes(tmp_path / "a.csv", text_of([SELF, GOOD, row, *[OTHER] * 3]).encode())
    assert found[0] == SELF_RECORD and found[2:] == [OTHER_RECORD] * 3
    assert isinstance(found[1], Bad) and found[1].detail.startswith("line 3: ")


def test_a_decomposed_mapping_finds_composed_columns_and_values(tmp_path: Path) -> None:
    apart = {name: unicodedata.normalize("NFD", name) for name in ("Mã", "Kết quả", "Không đạt")}
    mapping = {
        "columns": {
            "check_id": apart["Mã"],
            "result_source_code": {"from": apart["Kết quả"], "values": {apart["Không đạt"]: "0"}, "otherwise": "?"},
        }
    }
    path = write_csv(tmp_path / "a.csv", [["Mã", "Kết quả"], ["1", "Không đạt"], ["2", apart["Không đạt"]]])
    assert [record["Kết quả"] for record in read(path, mapping=mapping)] == ["0", "0"]


def test_a_workbook_with_a_title_merged_cells_and_odd_cells(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = unicodedata.normalize("NFD", "Kiểm tra niêm yết")
    sheet.append(["KẾT QUẢ KIỂM TRA"])
    sheet.merge_cells("A1:G1")
    sheet.append([])
    sheet.append([unicodedata.normalize("NFD", name) for name in HEADER])
    days = [datetime(2026, 10, 3), 46_298, "04/10/2026", datetime(2026, 10, 5, 8, 30)]
    for number, day in enumerate(days):
        unit = "KT-01" if number in (0, 3) else None
        sheet.append([number + 100 if number else "0100", unit, "Sở Một", HEADER[3], day, "Đạt", 7.0])
        if not number:
            sheet.append([None] * 3 + ["  "])
    sheet.merge_cells("B4:B7")  # the unit of the first three, over the empty row
    sheet.append(["106", "KT-02", "#N/A", "x", "#REF!", "Đạt", "z"])
    sheet.append(["Tổng cộng"])
    book.save(tmp_path / "a.xlsx")
    *found, broken, total = read(tmp_path / "a.xlsx")
    assert [(r["Mã phiếu"], r["Mã cơ quan"]) for r in found] == [
        ("0100", "KT-01"), (101, "KT-01"), (102, "KT-01"), (103, "KT-01"),
    ]  # fmt: skip
    assert [r["Ngày kiểm tra"] for r in found] == [
        date(2026, 10, 3), date(2026, 10, 3), "04/10/2026", datetime(2026, 10, 5, 8, 30),
    ]  # fmt: skip
    assert isinstance(broken, Bad) and "row 9: a formula failed in column 'Ngày kiểm tra'" in broken.detail
    assert (total["Mã phiếu"], total["Mã cơ quan"]) == ("Tổng cộng", None)


def test_numbers_in_a_workbook_as_text_and_with_the_noise_of_a_formula(tmp_path: Path) -> None:
    rows = [[*GOOD[:5], "8,5", 10, 46_298], [*OTHER[:5], 0.1 + 0.2, "10", "02/10/2026"]]
    first, second = read(write_xlsx(tmp_path / "a.xlsx", [SELF, *rows]), "self_evaluation")
    assert (first["Điểm tự chấm"], first["Ngày lập"]) == ("8.5", date(2026, 10, 3))
    assert second["Điểm tự chấm"] == 0.3


def test_the_first_sheet_that_shows_is_read(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [["bản nháp"]], title="ẩn")
    book = openpyxl.load_workbook(path)
    book["ẩn"].sheet_state = "hidden"
    sheet = book.create_sheet("Dữ liệu")
    for row in (SELF, GOOD):
        sheet.append(row)
    book.active = sheet
    book.save(path)
    assert read(path, "self_evaluation") == [SELF_RECORD]


def test_json_as_a_list_as_lines_with_a_mark_and_with_broken_bytes(tmp_path: Path) -> None:
    apart = {unicodedata.normalize("NFD", name): value for name, value in OTHER_RECORD.items()}
    lines = b"\n".join(map(orjson.dumps, [SELF_RECORD, apart]))
    contents = {
        "list.json": codecs.BOM_UTF8 + orjson.dumps([SELF_RECORD, apart], option=orjson.OPT_INDENT_2),
        "lines.json": lines,
        "wide.jsonl": lines.decode().encode("utf-16"),
        "lines.ndjson": codecs.BOM_UTF8 + lines + b"\r\n\r\n",
    }
    for name, content in contents.items():
        assert read_bytes(tmp_path / name, content) == [SELF_RECORD, OTHER_RECORD], name
    first, second = read_bytes(tmp_path / "broken.jsonl", lines.replace("Sở Một".encode(), b"S\xff"))
    assert first["Tên cơ quan"] == "S\ufffd" and second == OTHER_RECORD
    mapping = {"columns": {"check_id": "n"}}
    assert read_bytes(tmp_path / "a.json", b'[{"n": 1}]', "posting_check", mapping=mapping) == [{"Mã phiếu": 1}]


def test_parquet_with_and_without_zones_of_every_unit(tmp_path: Path) -> None:
    at = datetime(2026, 10, 3, 1, 2, 3, 456_000, tzinfo=UTC)
    zoned = [pa.array([at, None], pa.timestamp(unit, "UTC")) for unit in ("ms", "us", "ns")]
    local = pa.array([datetime(2026, 10, 3, 8, 2, 3), None], pa.timestamp("ns"))
    others = {
        "name": pa.array(["Sở Một", None]).dictionary_encode(),
        "score": pa.array([Decimal("8.50"), None], pa.decimal128(6, 2)),
        "bytes": pa.array(["Sở Một".encode(), b"\xff"], pa.binary()),
        "share": pa.array([float("nan"), 0.5]),
        "day": pa.array([date(2026, 10, 3), None]),
        "code": pa.array([7, None], pa.int32()),
    }
    table = {f"z{i}": column for i, column in enumerate(zoned)} | {"local": local} | others
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    layout = Layout(needed=("z0",), known=tuple(table), origin="", hint="")
    first, second = (list(record.values()) for record in read_parquet(tmp_path / "a.parquet", layout))
    assert [moment(value, ZONE)[0] for value in first[:3]] == [at] * 3
    assert moment(first[3], ZONE)[0] == datetime(2026, 10, 3, 1, 2, 3, tzinfo=UTC)
    assert first[4:] == ["Sở Một", Decimal("8.50"), "Sở Một", None, date(2026, 10, 3), 7]
    assert second == [None, None, None, None, None, None, "\ufffd", 0.5, None, None]
