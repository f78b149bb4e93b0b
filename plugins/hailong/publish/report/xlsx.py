"""The report as a workbook that a leader reads on paper: A4 landscape, one page wide, in Vietnamese.

The same edition gives the same bytes: no clock but the edition's own, no order but the rows' own.
"""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import xlsxwriter

from hailong.publish.report import words
from hailong.publish.report.annexes import Annex, Field, annexes, changes
from hailong.publish.report.content import issuers
from hailong.publish.report.data import INDICES, ZONE, Report
from hailong.publish.report.phrases import Phrases, counts, extremes

FONT = "Times New Roman"
GREEN, RED, AMBER, GREY, BLUE = "#E2F0D9", "#F8D7D3", "#FFF2CC", "#EDEDED", "#1F3864"
WIDE = 250  # characters; a wider table is printed on A3
MOST = 15  # of a crowd of ties so many are named; the rest are counted
STYLES = {"A": "index", "B": "index", "C": "index", "D": "d", "E": "whole"}

Format = dict[str, Any]
BASE: Format = {"font_name": FONT, "font_size": 11, "valign": "vcenter"}
CELL: Format = BASE | {"border": 1, "border_color": "#BFBFBF"}
FORMATS: dict[str, Format] = {
    "text": CELL | {"text_wrap": True, "indent": 1},
    "centre": CELL | {"align": "center"},
    "integer": CELL | {"num_format": "#,##0", "align": "right", "indent": 1},
    "count": CELL | {"num_format": "#,##0.######", "align": "right", "indent": 1},
    "index": CELL | {"num_format": "0.0000", "align": "center"},
    "d": CELL | {"num_format": "0.00", "align": "center"},
    "share": CELL | {"num_format": "0.0%", "align": "center"},
    "change": CELL | {"num_format": "+#,##0.0000;−#,##0.0000;0", "align": "right", "indent": 1},
    "step": CELL | {"num_format": "+#,##0;−#,##0;0", "align": "right", "indent": 1},
    "whole": CELL | {"num_format": "0", "align": "center"},
    "empty": CELL | {"align": "center", "font_color": "#7F7F7F"},
    "head": CELL | {"bold": True, "text_wrap": True, "align": "center", "bg_color": BLUE, "font_color": "#FFFFFF"},
    "total": CELL | {"bold": True, "bg_color": GREY, "indent": 1},
    "total_integer": CELL | {"bold": True, "bg_color": GREY, "num_format": "#,##0", "align": "right", "indent": 1},
    "total_index": CELL | {"bold": True, "bg_color": GREY, "num_format": "0.0000", "align": "center"},
    "total_share": CELL | {"bold": True, "bg_color": GREY, "num_format": "0.0%", "align": "center"},
    "total_d": CELL | {"bold": True, "bg_color": GREY, "num_format": "0.00", "align": "center"},
    "plain": BASE | {"text_wrap": True},
    "label": BASE | {"font_color": "#595959"},
    "bold": BASE | {"bold": True, "text_wrap": True},
    "section": BASE | {"bold": True, "font_size": 13, "font_color": BLUE},
    "state": BASE | {"bold": True, "font_size": 12, "align": "center"},
    "office": BASE | {"font_size": 12, "align": "center"},
    "motto": BASE | {"bold": True, "font_size": 12, "align": "center", "underline": 1},
    "title": BASE | {"bold": True, "font_size": 16, "align": "center", "text_wrap": True},
    "subtitle": BASE | {"bold": True, "font_size": 13, "align": "center", "text_wrap": True},
    "basis": BASE | {"italic": True, "align": "center", "text_wrap": True},
    "sheet": BASE | {"bold": True, "font_size": 14},
    "note": BASE | {"italic": True, "font_color": "#595959", "text_wrap": True},
    "green": {"bg_color": GREEN, "font_color": "#375623"},
    "red": {"bg_color": RED, "font_color": "#9C0006"},
    "amber": {"bg_color": AMBER, "font_color": "#7F6000"},
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its width in characters, and what a row shows in it."""

    title: str
    width: float
    show: Callable[[Any], tuple[Any, str]]

    @classmethod
    def plain(cls, title: str, width: float, style: str, value: Callable[[Any], Any]) -> Column:
        """Every cell in one style; an empty text is no value."""

        def show(row: Any) -> tuple[Any, str]:
            found = value(row)
            return None if found == "" else found, style

        return cls(title, width, show)


def write(report: Report, path: Path) -> None:
    """Write the workbook of an edition."""
    with _book(report, path, "Báo cáo chất lượng phục vụ") as book:
        Writer(book, report).write()


def write_handover(report: Report, path: Path) -> None:
    """Write what the department in charge of the administrative-reform index is handed for the year (Article 13)."""
    with _book(report, path, "Bàn giao phục vụ Chỉ số cải cách hành chính") as book:
        writer = Writer(book, report)
        for annex in annexes(report, writer.say):
            if annex.source == "reform_index_handover":
                writer.annex(annex)
        writer.parameters()


def _book(report: Report, path: Path, title: str) -> Any:
    book = xlsxwriter.Workbook(str(path))
    book.set_properties(
        {
            "title": f"{title}, {words.period_name(report.header.period_code)}",
            "subject": f"{report.header.edition_id}, SHA-256 {report.header.content_sha256}",
            "author": "Hài lòng",
            "created": report.header.published_at.astimezone(ZONE).replace(tzinfo=None),
        }
    )
    return book


def paged(book: Any, name: str, footer: str) -> Any:
    """A sheet to be printed: A4 landscape, one page wide; the footer names what it is of, the sheet and the page."""
    sheet = book.add_worksheet(name)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.set_margins(left=0.5, right=0.5, top=0.6, bottom=0.7)
    sheet.hide_gridlines(2)
    sheet.set_footer(f'&L&"{FONT}"&9{footer}&R&"{FONT}"&9{name} · Trang &P/&N')
    return sheet


def finish(sheet: Any, top: int, bottom: int, last: int) -> None:
    """A table from its header's row to `bottom` and to the column `last`: filter, frozen and repeated header, print area."""
    sheet.autofilter(top, 0, bottom, last)
    sheet.freeze_panes(top + 1, 0)
    sheet.repeat_rows(top)
    sheet.print_area(0, 0, bottom, last)


class Tables:
    """Sheets with a table each. `of` says whose and of when they are, `footer` the same on every printed page."""

    def __init__(self, book: Any, of: str, footer: str, **formats: Format) -> None:
        self.book, self.of, self.footer = book, of, footer
        self.formats = {name: book.add_format(options) for name, options in (FORMATS | formats).items()}

    def sheet(self, name: str) -> Any:
        return paged(self.book, name, self.footer)

    def table(
        self,
        sheet: Any,
        title: str,
        note: str,
        columns: Sequence[Column],
        rows: Sequence[Any],
        absent: str = "Không có dòng nào",
    ) -> tuple[int, int]:
        """A table with a frozen, repeated, filtered header; its first and last row of data."""
        sheet.write_string(0, 0, f"{title} — {self.of}", self.formats["sheet"])
        sheet.merge_range(1, 0, 1, len(columns) - 1, note, self.formats["note"])
        width = sum(column.width for column in columns)
        sheet.set_row(1, 16 * _wrapped(note, width))
        top = 2
        sheet.set_row(top, 34)
        for number, column in enumerate(columns):
            sheet.set_column(number, number, column.width)
            sheet.write_string(top, number, column.title, self.formats["head"])
        for line, row in enumerate(rows, start=top + 1):
            cells = [column.show(row) for column in columns]
            for number, cell in enumerate(cells):
                self.put(sheet, line, number, cell)
            sheet.set_row(line, 15.5 * _lines(cells, columns))
        last = max(top + len(rows), top + 1)
        if not rows:
            sheet.merge_range(last, 0, last, len(columns) - 1, absent, self.formats["empty"])
        finish(sheet, top, last, len(columns) - 1)
        return top + 1, last

    def put(self, sheet: Any, row: int, column: int, cell: tuple[Any, Any]) -> None:
        value, style = cell
        form = self.formats[style] if isinstance(style, str) else style
        if value is None:
            sheet.write_string(row, column, words.NONE, self.formats["empty"])
        elif isinstance(value, str):
            sheet.write_string(row, column, value, form)
        elif isinstance(value, date):
            sheet.write_datetime(row, column, datetime.combine(value, time()), form)
        else:
            sheet.write_number(row, column, float(value), form)


class Writer(Tables):
    """One workbook of one edition."""

    def __init__(self, book: Any, report: Report) -> None:
        header = report.header
        super().__init__(
            book,
            of=f"{words.period_name(header.period_code)}, ấn bản {header.edition_id}",
            footer=f"Ấn bản {header.edition_id} · SHA-256 {header.content_sha256[:16]}…",
        )
        self.report = report
        self.say = Phrases(report)

    def write(self) -> None:
        self.overview()
        self.ranking()
        self.indices()
        self.missing()
        if self.report.header.supersedes:
            self.annex(changes(self.report, self.say))
        for annex in annexes(self.report, self.say):
            self.annex(annex)
        self.parameters()
        self.notes()

    # -- sheets ---------------------------------------------------------------------------------------------------

    def overview(self) -> None:
        sheet, header, formats = self.sheet("Tổng quan"), self.report.header, self.formats
        issuer = issuers()[header.kind]
        for column, width in enumerate((27, 11, 11, 13, 17, 13, 13, 12, 12, 17)):
            sheet.set_column(column, column, width)
        sheet.merge_range("A1:D1", issuer.superior.replace("\n", " "), formats["office"])
        sheet.merge_range("A2:D2", issuer.body, formats["motto"])
        sheet.merge_range("E1:J1", "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", formats["state"])
        sheet.merge_range("E2:J2", "Độc lập - Tự do - Hạnh phúc", formats["motto"])
        sheet.merge_range("A4:J4", "BÁO CÁO", formats["title"])
        sheet.merge_range(
            "A5:J5",
            "Kết quả đánh giá chất lượng phục vụ người dân, tổ chức\n"
            "trong thực hiện thủ tục hành chính, dịch vụ công trực tuyến",
            formats["subtitle"],
        )
        sheet.set_row(4, 36)
        sheet.merge_range(
            "A6:J6",
            f"{words.period_name(header.period_code)} (từ ngày {words.day(header.period_start)} "
            f"đến hết ngày {words.day(header.last_day)})",
            formats["subtitle"],
        )
        if header.legal_basis:
            sheet.merge_range("A7:J7", f"Căn cứ {header.legal_basis}", formats["basis"])
        row = self.facts(sheet, 8)
        row = self.verdicts(sheet, row + 1)
        row = self.pooled(sheet, row + 1)
        sheet.set_h_pagebreaks([row + 1])
        row = self.extremes(sheet, row + 1)
        row = self.absent(sheet, row + 1)
        sheet.print_area(0, 0, row, 9)

    def facts(self, sheet: Any, row: int) -> int:
        header = self.report.header
        signed = (
            f"{header.signed_by}, {words.moment(header.signed_at.astimezone(ZONE))}" if header.signed_at else words.NONE
        )
        number = "công bố lần đầu" if header.edition_no == 1 else f"thay {header.supersedes}: {header.reason}"
        late = f", có {header.late_batches} đợt nạp sau thời điểm này" if header.late_batches else ""
        if header.later_batches:
            later = f"{header.later_records} bản ghi của mọi kỳ về sau ({header.later_batches} đợt nạp, đến lúc lập bản trình)"
            late += f"; {later} không có trong ấn bản này"
        facts = [
            ("Ấn bản", f"{header.edition_id} ({number})"),
            ("Chốt số liệu", words.moment(header.cutoff_at) + late),
            ("Người đề nghị", header.requested_by),
            ("Người ký duyệt", signed),
            ("Công bố", f"{header.published_by}, {words.moment(header.published_at.astimezone(ZONE))}"),
            ("Mã kiểm tra nội dung", f"SHA-256 {header.content_sha256}"),
        ]
        for label, value in facts:
            sheet.write_string(row, 0, label, self.formats["label"])
            sheet.merge_range(row, 1, row, 9, value, self.formats["bold"])
            row += 1
        return row

    def verdicts(self, sheet: Any, row: int) -> int:
        row = self.heading(sheet, row, "1. Xếp loại")
        titles = (
            "Nhóm cơ quan", "Số cơ quan", "Hài lòng", "Không hài lòng", self.say.verdict("undetermined"),
            "Chưa đủ chỉ số", "Không áp dụng", "K cao nhất", "K trung vị", "K thấp nhất",
        )  # fmt: skip
        sheet.set_row(row, 48)
        for column, title in enumerate(titles):
            sheet.write_string(row, column, title, self.formats["head"])
        lines = [(group.name, group.units, "") for group in self.report.groups]
        lines.append(("Toàn Thành phố", self.report.units, "total_"))
        for name, units, style in lines:
            row += 1
            counted = counts(units)
            sheet.write_string(row, 0, name, self.formats["total" if style else "text"])
            for column, count in enumerate((counted.units, *counted.states), start=1):
                sheet.write_number(row, column, count, self.formats[f"{style}integer"])
            for column, k in enumerate(counted.k or (None,) * 3, start=7):
                self.put(sheet, row, column, self.k(k, bold=bool(style)))
        return row + 1

    def pooled(self, sheet: Any, row: int) -> int:
        row = self.heading(sheet, row, "2. Năm chỉ số, tính gộp theo nhóm")
        titles = (
            "Nhóm cơ quan", "Hồ sơ đã giải quyết", "A (0–1)", "B (0–1)", "Lượt đánh giá", "C (0–1)",
            "D trung vị (0–18)", "Tỷ lệ E = 1",
        )  # fmt: skip
        sheet.set_row(row, 34)
        for column, title in enumerate(titles):
            sheet.write_string(row, column, title, self.formats["head"])
        lines = [(group.name, group.units, "") for group in self.report.groups]
        lines.append(("Toàn Thành phố", self.report.units, "total_"))
        for name, units, style in lines:
            row += 1
            pool = self.say.pool(units)
            shown: list[tuple[Any, str]] = [
                (pool.dossiers, f"{style}integer"),
                (pool.a, f"{style}index"),
                (pool.b, f"{style}index"),
                (pool.ratings, f"{style}integer"),
                (pool.c, f"{style}index"),
                (pool.d, f"{style}d"),
                (pool.e, f"{style}share"),
            ]
            sheet.write_string(row, 0, name, self.formats["total" if style else "text"])
            for column, cell in enumerate(shown, start=1):
                self.put(sheet, row, column, cell)
        sheet.merge_range(
            row + 1, 0, row + 1, 9,
            "A, B, C gộp: tổng điểm chia tổng hồ sơ, lượt đánh giá của nhóm (không phải trung bình của các cơ quan).",
            self.formats["note"],
        )  # fmt: skip
        return row + 2

    def extremes(self, sheet: Any, row: int) -> int:
        row = self.heading(sheet, row, "3. Cao nhất và thấp nhất từng nhóm")
        for group in self.report.groups:
            if not group.ranked:
                continue
            best, worst = extremes(group)
            more = (len(best[MOST:]), len(worst[MOST:]))
            best, worst = best[:MOST], worst[:MOST]
            row += 1
            sheet.merge_range(row, 0, row, 4, f"{group.name}: cao nhất", self.formats["bold"])
            sheet.merge_range(row, 5, row, 9, f"{group.name}: thấp nhất", self.formats["bold"])
            row += 1
            for left, title in ((0, "Xếp loại"), (5, "Mất điểm nhiều nhất")):
                sheet.merge_range(row, left, row, left + 1, "Cơ quan", self.formats["head"])
                for offset, name in enumerate(("Hạng", "K", title), start=2):
                    sheet.write_string(row, left + offset, name, self.formats["head"])
            for left, units in ((0, best), (5, worst)):
                for line, unit in enumerate(units, start=row + 1):
                    last = self.say.verdict(unit.verdict) if left == 0 else self.say.loss(unit)
                    sheet.merge_range(line, left, line, left + 1, unit.unit_name, self.formats["text"])
                    self.put(sheet, line, left + 2, (unit.rank_in_group, "centre"))
                    self.put(sheet, line, left + 3, self.k(unit.k))
                    self.put(sheet, line, left + 4, (last, "centre"))
            count = max(len(best), len(worst))
            for line in range(count):
                names = ((unit[line].unit_name, width) for unit, width in ((best, 37), (worst, 25)) if line < len(unit))
                sheet.set_row(row + 1 + line, 16 * max(_wrapped(name, width) for name, width in names))
            self.colour_verdicts(sheet, row + 1, 4, row + count)
            self.colour_k(sheet, row + 1, 8, row + len(worst))
            row += count + 1
            if any(more):
                for left, number in ((0, more[0]), (5, more[1])):
                    text = f"và {number} cơ quan nữa cùng K, xem trang “Xếp hạng”" if number else ""
                    sheet.merge_range(row, left, row, left + 4, text, self.formats["note"])
                row += 1
        return row

    def absent(self, sheet: Any, row: int) -> int:
        """Why indices are missing, how often, and who has to do what."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for unit in self.report.units:
            for index, entry in self.report.indices.get(unit.unit_code, {}).items():
                if unit.status == "incomplete" and entry.status != "scored":
                    found[(entry.status_reason or entry.status).partition(":")[0]][index] += 1
        if not found:
            return row
        row = self.heading(sheet, row, "4. Vì sao chưa đủ chỉ số")
        sheet.merge_range(row, 0, row, 1, "Lý do", self.formats["head"])
        for column, index in enumerate(INDICES, start=2):
            sheet.write_string(row, column, index, self.formats["head"])
        sheet.merge_range(row, 7, row, 9, "Ai cần làm gì", self.formats["head"])
        for code, each in sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0])):
            row += 1
            text, todo = words.REASONS.get(code, words.STATUSES.get(code, code)), words.owed_by(code)
            sheet.merge_range(row, 0, row, 1, text, self.formats["text"])
            for column, index in enumerate(INDICES, start=2):
                self.put(sheet, row, column, (each[index] or None, "integer"))
            sheet.merge_range(row, 7, row, 9, todo, self.formats["text"])
            sheet.set_row(row, 16 * max(_wrapped(text, 37), _wrapped(todo, 45)))
        return row + 1

    def ranking(self) -> None:
        columns = (
            Column("Nhóm", 18, lambda u: (u.peer_group_name, "text")),
            Column("Hạng", 7, lambda u: (u.rank_in_group, "centre")),
            Column("Mã", 12, lambda u: (u.unit_code, "text")),
            Column("Cơ quan", 32, lambda u: (u.unit_name, "text")),
            *(_index_column(index) for index in INDICES),
            Column("K", 10, lambda u: self.k(u.k)),
            Column("Xếp loại", 22, lambda u: (self.say.verdict(u.verdict), "centre")),
            Column("Lưu ý", 44, lambda u: (self.say.flags(u), "text")),
        )
        units = self.report.units
        sheet = self.sheet("Xếp hạng")
        first, last = self.table(
            sheet,
            "Xếp hạng theo nhóm",
            "Bằng K (2 chữ số) thì cùng hạng. Cơ quan không có K đứng sau, kèm lý do; việc cần làm ở trang “Chưa đủ dữ liệu”. "
            "Mẫu nhỏ: thêm hoặc bớt một phản ánh, kiến nghị (PAKN) có thể đổi xếp loại.",
            columns,
            units,
        )
        breaks, line = [], first
        for group, following in pairwise(self.report.groups):
            line += len(group.units)
            if following.ranked:  # a group without ranks is a line or two: no page of its own
                breaks.append(line)
        sheet.set_h_pagebreaks(breaks)
        for column in (4, 5, 6):  # A, B, C
            sheet.conditional_format(
                first, column, last, column,
                {"type": "2_color_scale", "min_type": "num", "min_value": 0.5, "max_type": "num", "max_value": 1,
                 "min_color": "#F4B183", "max_color": "#FFFFFF"},
            )  # fmt: skip
        reachable = self.say.threshold - sum((self.say.maximum(index) for index in "ABCE"), Decimal(0))
        self.colour(sheet, first, 7, last, {"type": "cell", "criteria": "<=", "value": float(reachable)}, "red")
        self.colour(sheet, first, 8, last, {"type": "cell", "criteria": "==", "value": 0}, "red")
        self.colour_verdicts(sheet, first, 10, last)

    def indices(self) -> None:
        rows = [
            (group, unit, self.report.indices.get(unit.unit_code, {}).get(index))
            for group in self.report.groups
            for unit in group.units
            for index in INDICES
        ]
        columns = (
            Column("Nhóm", 18, lambda r: (r[0].name, "text")),
            Column("Mã", 12, lambda r: (r[1].unit_code, "text")),
            Column("Cơ quan", 32, lambda r: (r[1].unit_name, "text")),
            Column("Chỉ số", 7, lambda r: (r[2].index_code, "centre")),
            Column("Nội dung", 28, lambda r: (words.INDEX_NAMES[r[2].index_code], "text")),
            Column("Tử số", 10, lambda r: (r[2].numerator, "count")),
            Column("Mẫu số", 10, lambda r: (r[2].denominator, "count")),
            Column("Loại khỏi tính", 9, lambda r: (r[2].excluded, "integer")),
            Column("Giá trị", 10, lambda r: (r[2].value, STYLES[r[2].index_code])),
            Column("Trạng thái", 23, lambda r: (words.STATUSES.get(r[2].status, r[2].status), "text")),
            Column("Lý do", 42, lambda r: (words.reason(r[2].status_reason), "text")),
        )
        sheet = self.sheet("Chỉ số")
        legend = "; ".join(f"{i}: {words.NUMERATORS[i]} / {words.DENOMINATORS[i]}" for i in INDICES)
        first, last = self.table(
            sheet, "Năm chỉ số của từng cơ quan", f"Tử số / mẫu số — {legend}.", columns, [r for r in rows if r[2]]
        )
        for status, colour in (("no_data", "amber"), ("awaiting_input", "amber"), ("blocked_by_quality", "red")):
            rule = {"type": "cell", "criteria": "==", "value": f'"{words.STATUSES[status]}"'}
            self.colour(sheet, first, 9, last, rule, colour)

    def missing(self) -> None:
        rows = list(self.say.missing())
        columns = (
            Column("Nhóm", 18, lambda r: (r[0].name, "text")),
            Column("Mã", 12, lambda r: (r[1].unit_code, "text")),
            Column("Cơ quan", 28, lambda r: (r[1].unit_name, "text")),
            Column("Thiếu", 8, lambda r: (r[2].index_code if r[2] else "K", "centre")),
            Column("Lý do", 40, lambda r: (words.reason((r[2] or r[1]).status_reason), "text")),
            Column("Ai cần làm gì", 42, lambda r: (words.owed_by((r[2] or r[1]).status_reason), "text")),
            Column("Điểm đã có", 10, lambda r: (r[1].present if r[2] else None, "d")),
            Column("Kết luận hiện có", 24, lambda r: (self.say.conclusion(r[1]), "text")),
        )
        sheet = self.sheet("Chưa đủ dữ liệu")
        first, last = self.table(
            sheet,
            "Cơ quan chưa có tổng điểm K",
            "Thiếu số liệu không có nghĩa là 0 điểm. Mỗi dòng là một chỉ số còn thiếu và việc cần làm để bổ sung.",
            columns,
            rows,
        )
        for bound, colour in (("satisfied_whatever", "green"), ("not_satisfied_whatever", "red"), ("open", "amber")):
            rule = {"type": "cell", "criteria": "==", "value": f'"{words.BOUNDS[bound]}"'}
            self.colour(sheet, first, 7, last, rule, colour)

    def annex(self, annex: Annex) -> None:
        """An annex as a table; without rows the sheet says why, and never nought."""
        columns = [Column(field.title, field.width, self.shown(field)) for field in annex.fields]
        absent = self.say.absent(annex.source)
        sheet = self.sheet(annex.sheet)
        if sum(column.width for column in columns) > WIDE:
            sheet.set_paper(8)
        first, last = self.table(sheet, annex.title, annex.note, columns, annex.rows, absent)
        for number, field in enumerate(annex.fields):
            for text, colour in (field.colours or {}).items():
                self.colour(
                    sheet, first, number, last, {"type": "cell", "criteria": "==", "value": f'"{text}"'}, colour
                )

    def shown(self, field: Field) -> Callable[[Any], tuple[Any, Any]]:
        def show(row: Any) -> tuple[Any, Any]:
            value, style = field.show(row)
            return self.k(value) if style == "k" else (value, style)

        return show

    def parameters(self) -> None:
        order = [group for group, _ in words.PARAMETER_GROUPS]
        rows = sorted(
            self.report.parameters,
            key=lambda p: (
                order.index(g) if (g := words.parameter_group(p.parameter)) else len(order),
                p.policy_id,
                p.parameter,
            ),
        )
        columns = (
            Column("Dùng cho", 12, lambda p: (words.parameter_group(p.parameter) or "Chung", "centre")),
            Column("Tham số", 25, lambda p: (p.parameter, "text")),
            Column("Giá trị", 16, lambda p: (p.value, "centre")),
            Column("Vì sao", 95, lambda p: (p.why, "text")),
        )
        sheet = self.sheet("Tham số")
        self.table(
            sheet,
            f"Tham số đã áp dụng ({self.report.header.policy_id})",
            "Chỗ nào Phụ lục không quy định hoặc hiểu được nhiều cách thì lựa chọn được nêu ở đây cùng lý do.",
            columns,
            rows,
        )

    def notes(self) -> None:
        sheet = self.sheet("Ghi chú")
        sheet.set_column(0, 0, 32)
        sheet.set_column(1, 1, 105)
        sheet.write_string(0, 0, "Cách đọc báo cáo", self.formats["sheet"])
        row = 2
        statuses = tuple((f"Trạng thái “{words.STATUSES[code]}”", text) for code, text in words.STATUS_NOTES.items())
        for title, text in (self.period(), *NOTES, *statuses, *self.provenance()):
            sheet.write_string(row, 0, title, self.formats["bold"])
            sheet.write_string(row, 1, text, self.formats["plain"])
            sheet.set_row(row, 15.5 * max(_wrapped(text, 105), _wrapped(title, 30)) + 4)
            row += 1
        sheet.print_area(0, 0, row, 1)

    def period(self) -> tuple[str, str]:
        header = self.report.header
        return (
            "Kỳ đánh giá",
            f"{words.period_name(header.period_code)} tính từ ngày {words.day(header.period_start)} đến hết ngày "
            f"{words.day(header.last_day)}. Quý và năm có khoảng thời gian riêng, không lấy trung bình các tháng.",
        )

    def provenance(self) -> Sequence[tuple[str, str]]:
        header = self.report.header
        seen = ", ".join(header.warnings_seen or []) or "không có"
        return (
            ("Nguồn gốc số liệu", f"Đợt nạp đến số {header.as_of_batch}; bộ quy tắc {header.rules_sha256}."),
            (
                "Kiểm tra chất lượng",
                f"Lần kiểm tra {header.gate_run_id}, kết quả từng phép kiểm tra ở data_docs/{header.gate_run_id}/index.html. "
                f"Cảnh báo người ký đã xem: {seen}.",
            ),
            (
                "Phần mềm",
                f"Phiên bản {header.code_version}; cách tính của Cổng Dịch vụ công quốc gia: "
                f"{header.metric_version or words.NONE}.",
            ),
            (
                "Đối chiếu",
                f"Nội dung ấn bản {header.edition_id} không thay đổi. Mã SHA-256 {header.content_sha256} cho phép kiểm tra; "
                "đính chính, nếu có, là ấn bản mới có nêu lý do.",
            ),
        )

    # -- pieces ---------------------------------------------------------------------------------------------------

    def heading(self, sheet: Any, row: int, title: str) -> int:
        sheet.merge_range(row, 0, row, 9, title, self.formats["section"])
        sheet.set_row(row, 22)
        return row + 1

    def k(self, k: Decimal | None, bold: bool = False) -> tuple[Any, Any]:
        """K in bold with as many decimals as it needs not to look like the threshold."""
        if k is None:
            return None, "empty"
        name = f"k{words.k_places(k, self.say.threshold)}{'_total' if bold else ''}"
        if name not in self.formats:
            places = words.k_places(k, self.say.threshold)
            form = CELL | {"bold": True, "align": "center", "num_format": f"0.{'0' * places}"}
            self.formats[name] = self.book.add_format(form | ({"bg_color": GREY} if bold else {}))
        return k, self.formats[name]

    def colour(self, sheet: Any, first: int, column: int, last: int, rule: Format, colour: str) -> None:
        sheet.conditional_format(first, column, last, column, rule | {"format": self.formats[colour]})

    def colour_k(self, sheet: Any, first: int, column: int, last: int) -> None:
        for criteria, colour in ((">", "green"), ("<", "red"), ("==", "amber")):
            rule = {"type": "cell", "criteria": criteria, "value": float(self.say.threshold)}
            self.colour(sheet, first, column, last, rule, colour)

    def colour_verdicts(self, sheet: Any, first: int, column: int, last: int) -> None:
        for verdict, colour in (("satisfied", "green"), ("not_satisfied", "red"), ("undetermined", "amber")):
            rule = {"type": "cell", "criteria": "==", "value": f'"{self.say.verdict(verdict)}"'}
            self.colour(sheet, first, column, last, rule, colour)


def _index_column(index: str) -> Column:
    return Column(index, 9, lambda unit: (unit.values[index], STYLES[index]))


def _lines(cells: Sequence[tuple[Any, Any]], columns: Sequence[Column]) -> int:
    """How many lines the longest text of a row needs in its column."""
    return max(
        _wrapped(value, column.width) if isinstance(value, str) else 1
        for (value, _), column in zip(cells, columns, strict=True)
    )


def _wrapped(text: str, width: float) -> int:
    """Lines that a text takes in a column: the font is a little narrower than the digits that widths count in."""
    return max(1, len(textwrap.wrap(text, max(4, int(width * 1.4) - 3))))


NOTES = (
    (
        "A. Thời gian giải quyết",
        "Phụ lục, mục I.1. Mỗi hồ sơ có kết quả trong kỳ: đúng hạn 1 điểm; quá hạn trên 5 ngày làm việc 0 điểm; quá hạn ít hơn "
        "thì Phụ lục không quy định, điểm theo tham số a_point_within_grace. A = tổng điểm / số hồ sơ.",
    ),
    (
        "B. Hướng dẫn hoàn thiện hồ sơ",
        "Phụ lục, mục I.2. Mỗi hồ sơ đã giải quyết: trả, ngưng chờ bổ sung không quá 1 lần được 1 điểm, từ 2 lần được 0 điểm.",
    ),
    (
        "C. Thái độ",
        "Phụ lục, mục I.3; Điều 7 khoản 1, Điều 9. Mỗi lượt đánh giá: tốt 1 điểm, không tốt 0 điểm. C = tổng điểm / số lượt.",
    ),
    (
        "D. Phản hồi phản ánh, kiến nghị",
        "Phụ lục, mục I.4. Điểm nhóm “mức độ hài lòng” của Cổng Dịch vụ công quốc gia, từ 0 đến 18 (Quyết định 766/QĐ-TTg).",
    ),
    (
        "E. Niêm yết công khai",
        "Phụ lục, mục I.5. Chấm vào cuối kỳ: 1 khi mọi nơi phải niêm yết đều đạt, 0 khi có nơi không đạt.",
    ),
    (
        "K và xếp loại",
        "Phụ lục, phần II. K = A + B + C + D + E, từ 0 đến 22. Trên 20: hài lòng; dưới 20: không hài lòng; đúng 20: Phụ lục "
        "không quy định, ghi “chưa xác định”. K in 2 chữ số thập phân; nơi nào 2 chữ số làm K trông như bằng 20 thì in thêm.",
    ),
    (
        "Chưa đủ dữ liệu",
        "Thiếu một chỉ số thì chưa tính K: thiếu số liệu ghi “—”, không phải là 0 điểm. “Chắc chắn hài lòng” (“chắc chắn "
        "không hài lòng”): chỉ số còn thiếu là bao nhiêu thì kết luận cũng không đổi.",
    ),
    (
        "Xếp hạng",
        "Trong từng nhóm, giữa các cơ quan hoạt động trọn kỳ, theo K làm tròn 2 chữ số; bằng nhau thì cùng hạng (1, 1, 3).",
    ),
    (
        "Lưu ý ở trang Xếp hạng",
        "“Mẫu nhỏ”: thêm hoặc bớt một phản ánh, kiến nghị (PAKN) thì K sang bên kia ngưỡng, vì số PAKN quá ít. "
        "“Không có PAKN”: 12 trong 18 điểm của D có được khi không có PAKN nào. “Sát ngưỡng”: K cách 20 không quá 0,01. "
        "“Kỳ không trọn”: cơ quan chỉ hoạt động một phần của kỳ, có điểm và xếp loại nhưng không xếp hạng.",
    ),
    (
        "Màu",
        "Xanh: hài lòng. Đỏ: không hài lòng, E = 0, hoặc D thấp đến mức K không thể vượt 20. Vàng: chưa xác định hoặc thiếu "
        "số liệu. Cam ở A, B, C: càng đậm càng thấp.",
    ),
    (
        "Sử dụng kết quả",
        "Điều 3 khoản 7 và Điều 11: một tiêu chuẩn để xem xét mức độ hoàn thành nhiệm vụ; Điều 3 khoản 8: thủ trưởng cơ quan "
        "có trách nhiệm giải trình kết quả của cơ quan mình.",
    ),
    (
        "Phạm vi phổ biến",
        "Báo cáo tháng gửi Ủy ban nhân dân Thành phố qua Văn phòng trước ngày 25 (Điều 15). Công khai theo quý và năm (Điều 10); "
        "điểm thái độ từ quá ít lượt đánh giá không được công khai (Điều 3 khoản 4).",
    ),
)
