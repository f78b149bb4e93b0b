"""Writing cases by hand: a book of units, dossiers, ratings, portal rows and checks, with what is expected of them.

Times are written as the sources write them, `yyyyMMddHHmmss` local time, or `yyyyMMdd` where only a date was given.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.oracle.scorer import (
    HANDLED_WELL,
    ON_TIME,
    Batch,
    Code,
    Dossier,
    Metric,
    Moment,
    Participant,
    Period,
    Petition,
    PortalRow,
    PostingCheck,
    Procedure,
    Rating,
    Supplement,
    Unit,
    World,
    mid_month_periods,
)

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
DOSSIER_METRIC = "DOSSIER_RECEIVING_SATISFACTION"
PERIODS = {period.period_code: period for period in mid_month_periods((2024, 11), (2027, 12))}
# Of which stretch of time each batch brings the petitions: a gap in March 2025 closes with the third, December 2024 stays unread.
PETITIONS_READ = tuple(
    tuple(datetime.combine(date.fromisoformat(day), time(), ZONE) for day in days)
    for days in (("2024-12-20", "2025-03-01"), ("2025-03-20", "2026-11-15"), ("2024-12-10", "2026-11-15"))
)

STATUSES = [("tthc", "dossier_status", str(code), str(code), "good") for code in range(1, 11)]
CODES = [
    *STATUSES,
    ("tthc", "channel", "1", "desk", "good"),
    ("tthc", "channel", "2", "online", "good"),
    ("tthc", "channel", "3", "post", "good"),
    ("tthc", "supplement_status", "1", "asked", "good"),
    ("tthc", "supplement_status", "2", "received_in_full", "good"),
    ("tthc", "supplement_status", "3", "received_in_part", "good"),
    ("tthc", "supplement_status", "4", "cancelled", "good"),
    ("tthc", "supplement_status", "5", "fee", "good"),
    ("tthc", "participant_role", "CHU_TRI", "in_charge", "good"),
    ("tthc", "participant_role", "PHOI_HOP", "contributing", "good"),
    ("rating", "rating_level", "RẤT HÀI LÒNG", "very_satisfied", "good"),
    ("rating", "rating_level", "HÀI LÒNG", "satisfied", "good"),
    ("rating", "rating_level", "KHÔNG HÀI LÒNG", "not_satisfied", "good"),
    ("rating", "rating_question", "THAI_DO", "attitude", "good"),
    ("rating", "rating_question", "CHUNG", "overall", "good"),
    ("rating", "rating_channel", "KIOSK", "kiosk", "good"),
    ("rating", "rating_channel", "QUAY", "desk", "good"),
    ("rating", "rating_channel", "WEB", "website", "good"),
    ("rating", "rating_channel", "HTTP", "city_system", "good"),
    ("portal", "petition_subject", "TTHC", "procedure", "good"),
    ("portal", "petition_subject", "OTHER", "other", "good"),
    ("portal", "petition_status", "MOI_TIEP_NHAN", "received", "good"),
    ("portal", "petition_status", "YEU_CAU_BO_SUNG", "supplement_asked", "good"),
    ("portal", "petition_status", "TU_CHOI", "refused", "good"),
    ("portal", "petition_status", "DA_TRA_LOI", "answered", "good"),
    ("portal", "petition_status", "DA_CONG_KHAI", "published", "good"),
    ("portal", "petition_status", "KHAC", None, "ignored"),
    ("inspection", "posting_place", "Bộ phận Một cửa", "desk", "good"),
    ("inspection", "posting_place", "Trang thông tin điện tử", "website", "good"),
    ("inspection", "posting_result", "Đạt", "pass", "good"),
    ("inspection", "posting_result", "Không đạt", "fail", "good"),
    ("inspection", "checker_kind", "Văn phòng UBND Thành phố", "authority", "good"),
    ("inspection", "checker_kind", "Tự kiểm tra", "self", "good"),
]
PLACE_NAMES = {"desk": "Bộ phận Một cửa", "website": "Trang thông tin điện tử"}
GROUP_NAMES = {
    "so_ban_nganh": "Sở, ban, ngành",
    "xa_phuong_dac_khu": "Xã, phường, đặc khu",
    "trung_tam": "Trung tâm",
}
LIMIT_FREE = "1.000001"  # neither a limit nor "at once"
AT_ONCE = "1.000002"


@dataclass(frozen=True)
class Expected:
    """What a worked edge demands of one output row."""

    edge: str
    table: str  # index_score | k_score
    period_code: str
    unit_code: str
    index_code: str | None
    columns: dict[str, object]


def t(text: str) -> Moment:
    """A source's time: 14 digits, or 8 when only the date is known."""
    whole = datetime.strptime(text.ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=ZONE)
    return Moment(whole, is_date=len(text) == 8)


def text_of(moment: Moment | None) -> str | None:
    """The source's text of a time."""
    if moment is None:
        return None
    return moment.at.astimezone(ZONE).strftime("%Y%m%d" if moment.is_date else "%Y%m%d%H%M%S")


def department_id(unit_code: str) -> str:
    """A portal identifier for a unit."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "https://example.org/" + unit_code))


@dataclass
class Book:
    """A world being written, and what is expected of it."""

    world: World = field(default_factory=World)
    expected: list[Expected] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world.batches = [Batch(petitions_read=(since, until)) for since, until in PETITIONS_READ]
        self.world.codes = [Code(*code) for code in CODES]
        self.procedure(LIMIT_FREE)
        self.procedure(AT_ONCE, is_at_once=True)
        for days in (0, 1, 3, 5, 20):
            self.procedure(f"2.{days:06d}", limit_working_days=days)

    # -- registers

    def procedure(self, code: str, limit_working_days: int | None = None, is_at_once: bool = False) -> None:
        self.world.procedures.append(
            Procedure(code, f"Thủ tục {code}", "F01", "Lĩnh vực 01", limit_working_days, is_at_once)
        )

    def unit(self, name: str, valid_from: str = "2020-01-01", valid_to: str | None = None, **fields: object) -> str:
        """A registered unit with its codes in every system; `name` is its short code."""
        code = f"HCM.{name}"
        group = str(fields.setdefault("peer_group", "so_ban_nganh"))
        unit = Unit(
            unit_code=code,
            unit_name=f"Đơn vị {name}",
            unit_name_en=f"Unit {name}",
            valid_from=date.fromisoformat(valid_from),
            valid_to=date.fromisoformat(valid_to) if valid_to else None,
            peer_group_name=GROUP_NAMES[group],
            **fields,  # type: ignore[arg-type]
        )
        self.world.units.append(unit)
        self.codes_of(code)
        return code

    def codes_of(self, unit_code: str) -> None:
        name = unit_code.removeprefix("HCM.")
        for system, kind, source in (
            ("tthc", "unit", f"H29.{name}"),
            ("tthc", "unit", f"000.00.{name}.H29"),
            ("rating", "unit", f"DV-{name}"),
            ("rating", "device", f"MAY-{name}"),
            ("portal", "unit", department_id(unit_code)),
            ("inspection", "unit", f"KT-{name}"),
        ):
            treatment = "repaired" if source.startswith("000.00.") else "good"
            self.world.codes.append(Code(system, kind, source, unit_code, treatment))

    # -- events

    def number(self, what: str) -> int:
        self._numbers[what] = self._numbers.get(what, 0) + 1
        return self._numbers[what]

    def dossier(
        self,
        unit_code: str,
        received: str | None,
        due: str | None,
        finished: str | None,
        *,
        returned: str | None = None,
        status: str | None = None,
        procedure: str | None = LIMIT_FREE,
        supplements: tuple[Supplement, ...] = (),
        batch: int = 0,
        receiving: str | None = None,
        old_code: bool = False,
        is_test: bool = False,
        participants: tuple[Participant, ...] = (),
    ) -> Dossier:
        name = unit_code.removeprefix("HCM.")
        dossier = Dossier(
            dossier_code=f"H29.{name}-{(received or '20260101')[2:8]}-{self.number('dossier'):05d}",
            procedure_code=procedure,
            status_code=status or ("10" if finished or returned else "4"),
            received_at=t(received) if received else None,
            due_at=t(due) if due else None,
            finished_at=t(finished) if finished else None,
            returned_at=t(returned) if returned else None,
            resolving_unit=f"000.00.{name}.H29" if old_code else f"H29.{name}",
            receiving_unit=f"H29.{(receiving or unit_code).removeprefix('HCM.')}",
            is_test_record=is_test,
            supplements=supplements,
            is_interlinked=bool(participants),
            participants=participants,
        )
        self.world.batches[batch].dossiers.append(dossier)
        return dossier

    def again(self, dossier: Dossier, batch: int, **changes: object) -> Dossier:
        """A later version of a dossier."""
        later = replace(dossier, **changes)  # type: ignore[arg-type]
        self.world.batches[batch].dossiers.append(later)
        return later

    def supplement(
        self,
        requested: str | None,
        status: str | None = "1",
        received: str | None = None,
        before: str | None = None,
        after: str | None = None,
        supplement_id: str | None = None,
    ) -> Supplement:
        return Supplement(
            supplement_id=supplement_id or f"BS{self.number('supplement'):06d}",
            requested_at=t(requested) if requested else None,
            status_code=status,
            received_at=t(received) if received else None,
            due_before_at=t(before) if before else None,
            due_after_at=t(after) if after else None,
        )

    def participant(
        self,
        unit_code: str | None,
        received: str | None,
        due: str | None,
        finished: str | None,
        *,
        participant_id: str | None = None,
    ) -> Participant:
        """A unit's step in an interlinked dossier."""
        return Participant(
            participant_id=participant_id or f"PH{self.number('participant'):06d}",
            unit_code=f"H29.{unit_code.removeprefix('HCM.')}" if unit_code else None,
            received_at=t(received) if received else None,
            due_at=t(due) if due else None,
            finished_at=t(finished) if finished else None,
        )

    def rating(
        self,
        unit_code: str | None,
        rated: str,
        level: str = "HÀI LÒNG",
        *,
        question: str | None = "THAI_DO",
        channel: str = "HTTP",
        dossier: Dossier | None = None,
        dossier_code: str | None = None,
        device_of: str | None = None,
        batch: int = 0,
    ) -> Rating:
        rating = Rating(
            rating_id=f"R{self.number('rating'):07d}",
            level_code=level,
            rated_at=t(rated),
            channel_code=channel,
            dossier_code=dossier.dossier_code if dossier else dossier_code,
            unit_code=f"DV-{unit_code.removeprefix('HCM.')}" if unit_code else None,
            device_code=f"MAY-{device_of.removeprefix('HCM.')}" if device_of else None,
            question_code=question,
        )
        self.world.batches[batch].ratings.append(rating)
        return rating

    def portal(
        self,
        unit_code: str,
        period_code: str,
        total: str | None,
        petitions: tuple[int, int, int] = (0, 0, 0),
        *,
        dossiers: tuple[int, int] = (100, 100),
        batch: int = 0,
        window: tuple[date, date] | None = None,
        retrieved: str = "20261114235959",
    ) -> PortalRow:
        """The portal's row: `petitions` = (in time, handled well, all)."""
        period = PERIODS[period_code]
        in_time, well, n = petitions
        row = PortalRow(
            department_id=department_id(unit_code),
            window_from=window[0] if window else period.start,
            window_to=window[1] if window else period.end - timedelta(days=1),
            total_score=None if total is None else Decimal(total),
            total_max_score=Decimal(18),
            total_petitions=n,
            total_dossiers=dossiers[1],
            retrieved_at=t(retrieved).at,
            metrics=(
                Metric("PETITION_CLASSIFICATION_TTHC", 0, n, None, Decimal(0)),
                Metric(DOSSIER_METRIC, *dossiers, dossier_points(*dossiers)),
                Metric(ON_TIME, in_time, n, petition_points(in_time, n)),
                Metric(HANDLED_WELL, well, n, petition_points(well, n)),
            ),
        )
        self.world.batches[batch].portal_rows.append(row)
        return row

    def petition(
        self,
        unit_code: str,
        received: str | None = "20261001090000",
        due: str | None = "20261009170000",
        answered: str | None = "20261008150000",
        *,
        satisfied: bool | None = True,
        resent: int | None = 0,
        status: str | None = None,
        refused: str | None = None,
        batch: int = 0,
    ) -> Petition:
        """A petition of the unit; in time and to the sender's satisfaction unless said otherwise."""
        petition = Petition(
            petition_id=f"PAKN-{self.number('petition'):06d}",
            department_id=department_id(unit_code),
            received_at=t(received) if received else None,
            due_at=t(due) if due else None,
            answered_at=t(answered) if answered else None,
            is_satisfied=satisfied,
            resent_count=resent,
            status_code=status or ("TU_CHOI" if refused else "DA_TRA_LOI" if answered else "MOI_TIEP_NHAN"),
            refused_at=t(refused) if refused else None,
        )
        self.world.batches[batch].petitions.append(petition)
        return petition

    def petitions(self, unit_code: str, good: int, bad: int) -> None:
        """So many petitions in time and to the senders' satisfaction, and so many neither."""
        for i in range(good + bad):
            answered = "20261008150000" if i < good else "20261009170001"
            self.petition(unit_code, answered=answered, satisfied=i < good)

    def check(self, unit_code: str, place: str, day: str, passes: bool = True, *, batch: int = 0) -> PostingCheck:
        check = PostingCheck(
            check_id=f"NY{self.number('check'):06d}",
            unit_code=f"KT-{unit_code.removeprefix('HCM.')}",
            place_code=PLACE_NAMES[place],
            checked_on=date.fromisoformat(day),
            result_code="Đạt" if passes else "Không đạt",
            checker_kind_code="Tự kiểm tra" if self.number("checker") % 3 == 0 else "Văn phòng UBND Thành phố",
        )
        self.world.batches[batch].posting_checks.append(check)
        return check

    # -- crafted quotients

    def perfect(self, unit_code: str, period_code: str = "2026-10", skip: str = "", total: str = "18") -> None:
        """A unit with A = B = C = E = 1 and the portal's total given, but for the indices to skip."""
        day = self.day_in(period_code)
        if "A" not in skip:
            self.dossier(unit_code, f"{day}080000", f"{day}170000", f"{day}150000")
        if "C" not in skip:
            self.rating(unit_code, f"{day}160000", "RẤT HÀI LÒNG")
        if "D" not in skip:
            self.portal(unit_code, period_code, total)
        if "E" not in skip:
            for place in PLACE_NAMES:
                self.check(unit_code, place, f"{day[:4]}-{day[4:6]}-{day[6:]}")

    def quotients(self, unit_code: str, a: Fraction, b: Fraction, c: Fraction, period_code: str = "2026-10") -> None:
        """Dossiers and ratings such that A, B and C are exactly these (A and B over the same dossiers)."""
        day = self.day_in(period_code)
        n = a.denominator * b.denominator
        for i in range(n):
            late = Fraction(i, n) >= a
            returns = 2 if Fraction(i, n) >= b else i % 2
            asked = tuple(self.supplement(f"{day}0900{j:02d}") for j in range(returns))
            due = f"{day}{'120000' if late else '170000'}"
            self.dossier(unit_code, f"{day}080000", due, f"{day}150000", supplements=asked)
        for i in range(c.denominator):
            self.rating(unit_code, f"{day}160000", "HÀI LÒNG" if Fraction(i, c.denominator) < c else "KHÔNG HÀI LÒNG")

    def day_in(self, period_code: str) -> str:
        """A plain working day of the period, as yyyyMMdd: its end month's 8th, or the Monday after a weekend."""
        end = period_of(period_code).end
        day = end.replace(day=8)
        if day.weekday() >= 5:
            day += timedelta(days=7 - day.weekday())
        return day.strftime("%Y%m%d")

    # -- expectations

    def index(
        self, edge: str, unit_code: str, index_code: str, period_code: str = "2026-10", **columns: object
    ) -> None:
        self.expected.append(Expected(edge, "index_score", period_code, unit_code, index_code, columns))

    def k(self, edge: str, unit_code: str, period_code: str = "2026-10", **columns: object) -> None:
        self.expected.append(Expected(edge, "k_score", period_code, unit_code, None, columns))

    def dossiers_expect(
        self,
        edge: str,
        unit_code: str,
        index_code: str,
        numerator: int,
        denominator: int,
        period_code: str = "2026-10",
        excluded: int = 0,
    ) -> None:
        """An index that is scored (or empty) with this numerator and denominator."""
        self.index(
            edge, unit_code, index_code, period_code,
            numerator=Decimal(numerator), denominator=Decimal(denominator), excluded=excluded,
            status="scored" if denominator else "no_data",
        )  # fmt: skip


def period_of(period_code: str) -> Period:
    return PERIODS[period_code]


def petition_points(n: int, d: int) -> Decimal:
    """A petition metric as the portal prints it."""
    return Decimal(6) if d == 0 else (Decimal(6) * n / d).quantize(Decimal("0.01"))


def dossier_points(n: int, d: int) -> Decimal:
    """The dossier metric as the portal prints it."""
    return Decimal(0) if d == 0 else min(Decimal(6), (Decimal(6) * n / d / Decimal("0.9")).quantize(Decimal("0.01")))
