"""What a caller may choose: everything the stand-in makes follows from these values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

SIZES = {"tiny": 600, "small": 3000, "demo": 60_000, "city": 1_800_000}
WIRE = "%Y%m%d%H%M%S"
EPOCH = datetime(1970, 1, 1)
EARLY_READ = timedelta(days=35)


def seconds(moment: datetime) -> int:
    """Local wall time as seconds since 1970-01-01 00:00 local."""
    return int((moment - EPOCH).total_seconds())


def moment(value: int) -> datetime:
    return EPOCH + timedelta(seconds=int(value))


@dataclass(frozen=True)
class Month:
    """A reporting month of the administration: 15th of the month before to the 14th; `last` is inclusive."""

    code: str
    first: date
    last: date


def reporting_month(year: int, month: int) -> Month:
    before = date(year - (month == 1), 12 if month == 1 else month - 1, 15)
    return Month(f"{year}-{month:02d}", before, date(year, month, 14))


@dataclass(frozen=True)
class Options:
    """Size and span of the generated city.

    `end` is the last day that exists; `extensions` is the share of eligible late dossiers whose due date is
    overwritten after an apology; `bad_records` is the number of unreadable dossiers added on top of `size`;
    `deletions` is the number of dossiers that are gone from the city's feed once the clock has reached the end.
    """

    size: int = SIZES["demo"]
    span_months: int = 5
    end: date = date(2026, 11, 18)
    seed: int = 104
    bad_records: int = 12
    extensions: float = 0.35
    deletions: int = 0

    def __post_init__(self) -> None:
        if min(self.size, self.bad_records, self.deletions) < 0:
            raise ValueError("size, bad-records and deletions must not be negative")
        if not 1 <= self.span_months <= 18:
            raise ValueError("span-months must be 1 to 18")
        if not 0 <= self.extensions <= 1:
            raise ValueError("extensions is a share, 0 to 1")
        if not date(2026, 3, 15) <= self.end <= date(2027, 10, 31) or self.start < date(2025, 9, 1):
            raise ValueError("end must lie in 2026-03-15..2027-10-31 and the span may not start before 2025-09-01")

    @property
    def start(self) -> date:
        """First day of the reporting month that holds `end` minus the span."""
        index = self.end.year * 12 + self.end.month - 1 - self.span_months - (self.end.day < 15)
        return date(index // 12, index % 12 + 1, 15)

    @property
    def start_at(self) -> datetime:
        return datetime.combine(self.start, datetime.min.time())

    @property
    def end_at(self) -> datetime:
        """The last second of the span: the default clock of the server."""
        return datetime.combine(self.end, datetime.max.time()).replace(microsecond=0)

    @property
    def early_read_at(self) -> datetime:
        """No due date is overwritten before this moment; a reader who came by then knows every first due date."""
        return self.end_at - EARLY_READ

    def months(self) -> list[Month]:
        """Reporting months wholly inside the span."""
        found = []
        for index in range(self.start.year * 12 + self.start.month, self.end.year * 12 + self.end.month):
            found.append(reporting_month(index // 12, index % 12 + 1))
        return [month for month in found if month.first >= self.start and month.last <= self.end]

    def quarters(self) -> list[Month]:
        """Reporting quarters wholly inside the span."""
        months = self.months()
        return [
            Month(f"{three[0].code[:4]}-Q{int(three[0].code[5:]) // 3 + 1}", three[0].first, three[2].last)
            for three in (months[i : i + 3] for i in range(len(months) - 2))
            if int(three[0].code[5:]) % 3 == 1
        ]
