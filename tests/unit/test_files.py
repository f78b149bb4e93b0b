"""Dropped files: every kind reads the same, a wrong column is named, rows of a group become one record."""

from __future__ import annotations

import csv
import unicodedata
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hailong.contracts import load_contracts
from hailong.errors import PermanentError, UsageError
from hailong.extract.files import DroppedFile, load_mapping
from hailong.extract.records import Bad
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
    with pytest.raises(UsageError, match="unknown kind of file"):
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
