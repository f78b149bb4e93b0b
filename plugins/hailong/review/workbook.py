"""The monthly workbook of a source's owner: the records to fix, the trend of twelve periods, the disputes.

Every record that the marts, the quarantine or the gate call wrong.

The same state of the warehouse gives the same bytes: no clock, no order but the rows' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Any

import psycopg
import xlsxwriter

from hailong.contracts import load_contracts
from hailong.errors import PermanentError, UsageError
from hailong.periods import Period, code_before, parse_period
from hailong.publish.report import words as said
from hailong.publish.report.xlsx import CELL, Column, Tables, finish
from hailong.review import ROLE, owners
from hailong.review.records import Dispute, Record, Review, read
from hailong.settings import Settings
from hailong.warehouse.connect import connect

TREND = 12  # periods
MOST = 1_000_000  # rows of a sheet: the format has 1,048,576
DAY = CELL | {"num_format": "dd/mm/yyyy", "align": "center"}


def build(settings: Settings, period_code: str, owner: str | None, out: Path) -> list[Path]:
    """Write one workbook per owner of feeds (or of one) into `out`.

    UsageError for an owner of no feed; PermanentError before the first build and when the folder cannot be written.
    """
    contracts = load_contracts(settings.contracts)
    known = sorted({contract.owner for contract in contracts.values()})
    if owner is not None and owner not in known:
        raise UsageError(f"--owner {owner!r} owns no feed; the owners are: {'; '.join(known)}")
    with connect(settings, ROLE) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        try:
            reviews = read(connection, contracts, trend_periods(settings, period_code), settings.timezone)
        except psycopg.errors.UndefinedTable as error:
            raise PermanentError(
                f"what is wrong cannot be read ({str(error).splitlines()[0]}): run `hailong db migrate` and `hailong build`"
            ) from error
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for review in reviews:
            if review.owner in known and owner in (None, review.owner):
                path = out / f"can-sua_{period_code}_{owners.code(review.owner).replace('_', '-')}.xlsx"
                write(review, path)
                paths.append(path)
    except (OSError, xlsxwriter.exceptions.FileCreateError) as error:
        raise PermanentError(f"the workbooks of {period_code} cannot be written to {out}: {error}") from error
    return paths


def trend_periods(settings: Settings, period_code: str) -> tuple[Period, ...]:
    """The period and the eleven of its kind before it, oldest first."""
    codes = [period_code]
    while len(codes) < TREND:
        codes.append(code_before(codes[-1]))
    return tuple(parse_period(settings.rules, code) for code in reversed(codes))


def write(review: Review, path: Path) -> None:
    """Write the workbook of one owner and period."""
    with xlsxwriter.Workbook(str(path)) as book:
        book.set_properties(
            {
                "title": f"Bản ghi cần sửa, {said.period_name(review.period.code)}",
                "subject": review.owner,
                "author": "Hài lòng",
                "created": datetime.combine(review.period.end, time()),
            }
        )
        _Writer(book, review).write()


RECORDS = (
    Column.plain("Nguồn dữ liệu", 18, "text", lambda r: r.feed or "(toàn kho)"),
    Column.plain("Mã kiểm tra", 26, "text", lambda r: r.rule),
    Column.plain("Mã đơn vị", 14, "text", lambda r: r.unit_code),
    Column.plain("Đơn vị", 30, "text", lambda r: r.unit_name),
    Column.plain("Mã hồ sơ, bản ghi", 30, "text", lambda r: r.key),
    Column.plain("Sai ở đâu", 46, "text", lambda r: r.wrong),
    Column.plain("Cần làm gì", 42, "text", lambda r: r.todo),
    Column.plain("Ngày tính", 12, "day", lambda r: r.on),
    Column.plain("Phát hiện từ", 12, "day", lambda r: r.since),
)
DISPUTES = (
    Column.plain("Số khiếu nại", 20, "text", lambda d: d.dispute_id),
    Column.plain("Nguồn dữ liệu", 16, "text", lambda d: d.feed),
    Column.plain("Mã đơn vị", 14, "text", lambda d: d.unit_code),
    Column.plain("Đơn vị khiếu nại", 30, "text", lambda d: d.unit_name),
    Column.plain("Mã hồ sơ, bản ghi", 30, "text", lambda d: d.key),
    Column.plain("Lý do", 18, "text", lambda d: d.reason),
    Column.plain("Ngày gửi", 12, "day", lambda d: d.raised_on),
    Column.plain("Bản ghi", 24, "text", lambda d: d.record),
    Column.plain("Kết luận", 20, "text", lambda d: d.state),
    Column.plain("Mã kết luận", 14, "text", lambda d: d.decision),
    Column.plain("Ngày kết luận", 13, "day", lambda d: d.decided_on),
)


class _Writer(Tables):
    def __init__(self, book: Any, review: Review) -> None:
        of = f"{review.owner}, {said.period_name(review.period.code).lower()}"
        super().__init__(book, of=of, footer=f"Kỳ {review.period.code} · {review.owner}", day=DAY)
        self.review = review

    def write(self) -> None:
        self.summary()
        records: Sequence[Record] = self.review.records
        for number, start in enumerate(range(0, max(len(records), 1), MOST), start=1):
            name = "Cần sửa" if number == 1 else f"Cần sửa ({number})"
            self.table(
                self.sheet(name), "Bản ghi cần sửa tại hệ thống nguồn",
                "Không có thông tin cá nhân. Bản ghi đã sửa được đọc lại trong đêm và không còn ở đây lần sau.",
                RECORDS, records[start : start + MOST],
            )  # fmt: skip
        disputes: Sequence[Dispute] = self.review.disputes
        self.table(
            self.sheet("Khiếu nại"), "Khiếu nại của các đơn vị về bản ghi của nguồn",
            "Khiếu nại không tự làm đổi số liệu: nguồn sửa bản ghi thì số liệu mới đổi.", DISPUTES, disputes,
        )  # fmt: skip

    def summary(self) -> None:
        """How many records of each rule lie in each of the twelve periods, with a sparkline."""
        review, formats = self.review, self.formats
        sheet = self.sheet("Tổng hợp")
        titles = ("Nguồn dữ liệu", "Mã kiểm tra", "Sai ở đâu", *(p.code for p in review.periods), "Xu hướng")
        last = len(titles) - 1
        sheet.merge_range(0, 0, 0, last, f"Bản ghi cần sửa — {said.period_name(review.period.code)}", formats["sheet"])
        facts = (
            ("Cơ quan quản lý nguồn", review.owner),
            ("Nguồn dữ liệu", ", ".join(review.feeds)),
            ("Kỳ", f"từ ngày {said.day(review.period.start)} đến hết ngày {said.day(review.period.last_day)}"),
            ("Số liệu", f"theo lần dựng kho đến đợt nạp {review.as_of_batch}"),
            ("Cần sửa trong kỳ", f"{len(review.records)} dòng; khiếu nại: {len(review.disputes)}"),
        )
        for row, (label, value) in enumerate(facts, start=1):
            sheet.write_string(row, 0, label, formats["label"])
            sheet.merge_range(row, 1, row, last, value, formats["bold"])
        note = "Số bản ghi đến nay vẫn còn sai, theo kỳ mà bản ghi được tính; bản ghi đã sửa không còn được đếm."
        top = len(facts) + 2
        sheet.merge_range(top - 1, 0, top - 1, last, note, formats["note"])
        for column, (title, width) in enumerate(zip(titles, (18, 26, 44, *[9] * TREND, 18), strict=True)):
            sheet.set_column(column, column, width)
            sheet.write_string(top, column, title, formats["head"])
        row = top
        for (feed, rule, wrong), counts in sorted(review.trend.items()):
            row += 1
            for column, text in enumerate((feed or "(toàn kho)", rule, wrong)):
                sheet.write_string(row, column, text, formats["text"])
            for column, count in enumerate(counts, start=3):
                sheet.write_number(row, column, count, formats["integer"])
            sheet.write_blank(row, last, None, formats["text"])
            cells = xlsxwriter.utility.xl_range(row, 3, row, last - 1)
            sheet.add_sparkline(row, last, {"range": f"'Tổng hợp'!{cells}", "type": "column"})
        if row == top:
            row += 1
            sheet.merge_range(row, 0, row, last, "Không có dòng nào", formats["empty"])
        finish(sheet, top, row, last)
