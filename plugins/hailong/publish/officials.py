"""The scores of one unit's officials, for its head alone (Articles 8.2, 16.4): a file that nobody else gets.

It is made by whoever may read schema `officials`, from nothing but that schema (ADR 12), so it knows pseudonyms and no names: who
they are stands in the key table of the unit. It is part of no edition: the same scores give the same bytes, a correction others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

import psycopg
import xlsxwriter
from psycopg.rows import dict_row

from hailong.errors import PermanentError, UsageError
from hailong.periods import Period, parse_period
from hailong.publish.report import words
from hailong.publish.report.xlsx import Column, Tables
from hailong.settings import Settings
from hailong.warehouse.connect import connect

ROLE = "hailong_official_reader"
Row = dict[str, Any]
SCORED = "select max(as_of_batch) as as_of_batch from officials.official_score where period_code = %(period)s"
SCORES = (
    "select official, key_id, policy_id, a_points, a_dossiers, a, b_points, b_dossiers, b, c_points, c_ratings, c, "
    "c_withheld_because, as_of_batch from officials.official_score "
    'where period_code = %(period)s and unit_code = %(unit)s order by official collate "C"'
)
COVERAGE = "select * from officials.official_coverage where period_code = %(period)s and unit_code = %(unit)s"
SHEETS = (
    "select official, sub_unit_name, grade_code, score, max_score, share, evaluated_on from officials.official_evaluation "
    'where period_code = %(period)s and unit_code = %(unit)s order by official collate "C", sheet_id collate "C"'
)


@dataclass(frozen=True)
class Scores:
    """What one unit's head is told of a quarter or year: rows of schema `officials`, of this unit only."""

    period: Period
    unit_code: str
    officials: Sequence[Row]
    coverage: Row
    evaluations: Sequence[Row]


def build(settings: Settings, period_code: str, unit_code: str, out: Path) -> Path:
    """Write the file of a unit into `out`, readable by its owner only (mode 0600).

    UsageError for a month: officials are scored by quarter and year. PermanentError when the role may not be taken, when
    officials were not scored for the period, when none of the unit has a score, or when the folder cannot be written.
    """
    period = parse_period(settings.rules, period_code)
    if period.kind == "month":
        raise UsageError(f"officials are scored by quarter and year (Article 16.4), not for {period.code}")
    scores = read(settings, period, unit_code)
    path = out / f"can-bo_{period.code}_{unit_code}.xlsx"
    made = path.with_suffix(".new")
    try:
        out.mkdir(parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        os.close(
            os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600)
        )  # before there is anything to read in it
        write(scores, made)
        made.replace(path)
    except (OSError, xlsxwriter.exceptions.FileCreateError) as error:
        raise PermanentError(f"the file of {unit_code} cannot be written to {out}: {error}") from error
    return path


def read(settings: Settings, period: Period, unit_code: str) -> Scores:
    """The scores of one unit's officials, as their role reads them."""
    asked = {"period": period.code, "unit": unit_code}
    with connect(settings, ROLE) as connection, connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        try:
            scored = cursor.execute(SCORED, asked).fetchone()
        except psycopg.errors.UndefinedTable:
            scored = None
        if scored is None or scored["as_of_batch"] is None:
            raise PermanentError(
                f"officials were not scored for {period}: nights do not do it, and a period must be over in the data. Run "
                "`hailong build --officials`, then ask again"
            )
        officials = cursor.execute(SCORES, asked).fetchall()
        coverage = cursor.execute(COVERAGE, asked).fetchone()
        if not officials or coverage is None:
            raise PermanentError(
                f"no official of '{unit_code}' has a score in {period} (as of batch {scored['as_of_batch']}): is the code that "
                "of the register, and do the unit's dossiers name who is in charge?"
            )
        return Scores(period, unit_code, officials, coverage, cursor.execute(SHEETS, asked).fetchall())


def _c(name: str) -> Callable[[Row], Any]:
    """C as it is told: what is withheld is not shown, whatever stands in the row."""
    return lambda row: row[name] if row["c_withheld_because"] is None else None


OFFICIALS = (
    Column.plain("Mã thay tên", 72, "text", lambda r: r["official"]),
    Column.plain("Khóa năm", 9, "centre", lambda r: r["key_id"]),
    Column.plain("Hồ sơ (A)", 10, "integer", lambda r: r["a_dossiers"]),
    Column.plain("A", 9, "index", lambda r: r["a"]),
    Column.plain("Hồ sơ (B)", 10, "integer", lambda r: r["b_dossiers"]),
    Column.plain("B", 9, "index", lambda r: r["b"]),
    Column.plain("Lượt đánh giá", 10, "integer", _c("c_ratings")),
    Column.plain("C", 9, "index", _c("c")),
    Column.plain("Vì sao không nêu C", 44, "text", lambda r: words.named(words.WITHHELD, r["c_withheld_because"])),
)
EVALUATIONS = (
    Column.plain("Mã thay tên", 72, "text", lambda r: r["official"]),
    Column.plain("Bộ phận", 26, "text", lambda r: r["sub_unit_name"]),
    Column.plain("Xếp loại", 14, "text", lambda r: r["grade_code"]),
    Column.plain("Điểm", 10, "count", lambda r: r["score"]),
    Column.plain("Tối đa", 10, "count", lambda r: r["max_score"]),
    Column.plain("Tỷ lệ", 10, "share", lambda r: r["share"]),
    Column.plain("Ngày đánh giá", 13, "centre", lambda r: r["evaluated_on"] and words.day(r["evaluated_on"])),
)


def write(scores: Scores, path: Path) -> None:
    """Write the workbook: what it rests on first, then officials, then how their head judged them."""
    with xlsxwriter.Workbook(str(path)) as book:
        book.set_properties(
            {
                "title": f"Kết quả của cán bộ, công chức, {words.period_name(scores.period.code)}",
                "subject": scores.unit_code,
                "author": "Hài lòng",
                "created": datetime.combine(scores.period.end, time()),  # no clock: the same scores, the same bytes
            }
        )
        writer = _Writer(book, scores)
        writer.basis()
        writer.table(
            writer.sheet("Cán bộ"), "Chỉ số A, B, C theo người được giao hồ sơ",
            "“—”: không có giá trị, không phải là 0. Mã thay tên chỉ cơ quan giữ bảng khóa mới tra được.",
            OFFICIALS, scores.officials,
        )  # fmt: skip
        writer.table(
            writer.sheet("Đánh giá nội bộ"), "Đánh giá của thủ trưởng đối với từng người (Điều 5 khoản 2)",
            "Theo phiếu đã gửi cho kỳ này.",
            EVALUATIONS, scores.evaluations,
        )  # fmt: skip


class _Writer(Tables):
    def __init__(self, book: Any, scores: Scores) -> None:
        footer = f"{scores.period.code} · {scores.unit_code} · chỉ dành cho thủ trưởng"
        super().__init__(book, of=scores.unit_code, footer=footer)
        self.scores = scores

    def basis(self) -> None:
        """Whose file it is, who may read it, and what the figures rest on."""
        scores, coverage = self.scores, self.scores.coverage
        share = coverage["share_named"]
        facts = [
            ("Phạm vi", "Chỉ dành cho thủ trưởng cơ quan này. Là dữ liệu cá nhân: không công khai, không gửi cơ quan khác."),
            ("Cơ quan", scores.unit_code),
            (
                "Kỳ",
                f"{words.period_name(scores.period.code)}, từ ngày {words.day(scores.period.start)} đến hết ngày "
                f"{words.day(scores.period.last_day)}",
            ),
            ("Số liệu", f"đến đợt nạp số {scores.officials[0]['as_of_batch']}; bộ tham số {scores.officials[0]['policy_id']}"),
            (
                "Hồ sơ nêu người được giao",
                f"{words.count(coverage['a_dossiers_named'])} trên {words.count(coverage['a_dossiers'])} hồ sơ của chỉ số A"
                + ("" if share is None else f" ({words.percent(share)})"),
            ),
            ("Khóa", f"năm {coverage['key_ids'].replace(',', ', ')}" + (f". {SPLIT}" if coverage["is_split_by_key"] else "")),
            (
                "Điểm C",
                "Ít lượt đánh giá thì không nêu, kể cả khi phần còn lại của cơ quan hay của năm quá ít (Điều 3 khoản 4); "
                "gộp nhiều nhất bốn quý.",
            ),
            ("Không có trong tệp", "Phản ánh, kiến nghị: không nguồn nào nêu người phụ trách."),
            ("Ấn bản", "Tệp này không thuộc ấn bản nào: số liệu sửa sau đó thì tệp lập lại sẽ khác."),
        ]  # fmt: skip
        sheet = self.sheet("Căn cứ")
        sheet.set_column(0, 0, 28)
        sheet.set_column(1, 1, 100)
        sheet.write_string(
            0, 0, "Kết quả của cán bộ, công chức (Điều 8 khoản 2, Điều 16 khoản 4)", self.formats["sheet"]
        )
        for row, (label, value) in enumerate(facts, start=2):
            sheet.write_string(row, 0, label, self.formats["bold"])
            sheet.write_string(row, 1, value, self.formats["plain"])
        sheet.print_area(0, 0, len(facts) + 1, 1)


SPLIT = "Kỳ có hai khóa: một người có thể đứng ở hai dòng"
