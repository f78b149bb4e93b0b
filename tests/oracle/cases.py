"""Many generated cases: the worked edges, and thousands of dossiers placed where rules meet.

Deterministic by seed. Days are drawn from the ends of periods, holidays, days around them and the days on which units
begin and end; clock times from the ends of the day, 15:00 and office hours; distances from the due moment are small.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from tests.oracle.book import AT_ONCE, GROUP_NAMES, LIMIT_FREE, PERIODS, ZONE, Book, department_id
from tests.oracle.edges import worked_edges
from tests.oracle.scorer import (
    HANDLED_WELL,
    ON_TIME,
    Code,
    Dossier,
    Metric,
    Moment,
    Participant,
    Period,
    Petition,
    Supplement,
    overlapping,
)

SINCE, UNTIL = date(2024, 10, 20), date(2026, 11, 15)  # what the feeds together cover, unless it is said to be longer
FIRST = date(2024, 11, 1)
CLOCKS = (
    "000000", "000001", "075959", "080000", "145959", "150000", "150001", "165959", "170000", "170001", "235959",
)  # fmt: skip
SPECIAL = [
    *(date(2026, 2, day) for day in range(11, 28)),  # Tết
    *(date(2025, 1, day) for day in range(22, 32)),
    *(date(2025, 12, 31) + timedelta(days=i) for i in range(14)),  # 2 January off, Saturday 10 January worked
    *(date(year, 4, 29) + timedelta(days=i) for year in (2025, 2026) for i in range(6)),
    *(date(2026, 8, 29) + timedelta(days=i) for i in range(7)),
    *(date(2025, 6, 28) + timedelta(days=i) for i in range(6)),
    *(date(2024, 11, 26) + timedelta(days=i) for i in range(6)),
    *(date(2027, 2, day) for day in range(2, 17)),  # Tết again, in longer cases
]
PROCEDURES = (LIMIT_FREE, AT_ONCE, "2.000000", "2.000001", "2.000003", "2.000005", "2.000020", "9.000009")


def periods(until: date = UNTIL) -> list[Period]:
    """The periods that the cases are about."""
    return overlapping(PERIODS.values(), SINCE, until)


def everything(dossiers: int = 20_000, seed: int = 104, until: date = UNTIL) -> Book:
    """Worked edges and generated cases in one book, up to a day."""
    book = worked_edges()
    read_to(book, until)
    Generator(book, random.Random(seed), until).fill(dossiers)
    return book


def read_to(book: Book, until: date) -> None:
    """Petitions that were read to the end of the cases are read to that day."""
    for batch in book.world.batches:
        if batch.petitions_read and batch.petitions_read[1] == midnight(UNTIL):
            batch.petitions_read = (batch.petitions_read[0], midnight(until))


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ZONE)


class Generator:
    """Writes generated units and their records into a book."""

    def __init__(self, book: Book, chance: random.Random, until: date = UNTIL) -> None:
        self.book, self.chance = book, chance
        self.last, self.periods = until - timedelta(days=1), periods(until)
        self.units = self.register()
        self.rows_by_hand = [len(batch.portal_rows) for batch in book.world.batches]
        self.first_written = [len(batch.dossiers) for batch in book.world.batches]
        ends = {unit.valid_to for unit in book.world.units if unit.valid_to}
        starts = {unit.valid_from for unit in book.world.units}
        borders = {period.start for period in self.periods} | {period.end for period in self.periods} | ends | starts
        near = {day + timedelta(days=shift) for day in borders for shift in (-1, 0)}
        self.days = sorted(day for day in near | set(SPECIAL) if FIRST <= day <= self.last)

    def register(self) -> list[str]:
        unit = self.book.unit
        codes = [unit(f"SO{i:02d}") for i in range(8)]
        for i in range(10):
            places = ("desk;website", "website;desk", "desk", "website", None)[i % 5]
            codes.append(
                unit(
                    f"XA{i:02d}", "2025-07-01", unit_kind="ward", peer_group="xa_phuong_dac_khu", posting_places=places
                )
            )
        district = {"unit_kind": "district", "peer_group": "xa_phuong_dac_khu"}
        codes += [unit(f"QU{i:02d}", "2015-01-01", "2025-07-01", **district) for i in range(3)]
        codes += [
            unit("MO01", "2026-03-20"),
            unit("DO01", "2018-01-01", "2026-08-25"),
            unit("NG09", "2026-05-20", "2026-05-29"),  # nine days
            unit("NG10", "2026-04-10", "2026-04-20"),  # five days in one month, five in the next; ten in the quarter
            unit("BIEN", "2026-07-15", "2026-09-15"),  # exactly two periods
            unit("CON1", parent_unit_code=codes[0]),
            unit("CON2", parent_unit_code=codes[1], is_receiving_only=True),
            unit("TT01", unit_kind="service_centre", peer_group="trung_tam", is_receiving_only=True),
            unit("KHNG", is_scored=False),
        ]
        stranger = "HCM.LA00"  # mapped, but nobody registered it
        self.book.codes_of(stranger)
        self.book.world.codes.append(Code("tthc", "unit", "H29.BOQUA", None, "ignored"))
        return [*codes, stranger]

    # -- drawing

    def day(self) -> date:
        if self.chance.random() < 0.6:
            return self.chance.choice(self.days)
        return FIRST + timedelta(days=self.chance.randrange((self.last - FIRST).days))

    def moment(self, day: date) -> Moment:
        kind = self.chance.random()
        if kind < 0.08:
            return at(day, "000000", is_date=True)
        if kind < 0.6:
            return at(day, self.chance.choice(CLOCKS))
        return at(
            day, f"{self.chance.randrange(7, 19):02d}{self.chance.randrange(60):02d}{self.chance.randrange(60):02d}"
        )

    def near(self, moment: Moment) -> Moment:
        """A moment a little before or after another: this is where points are won and lost."""
        step = self.chance.choice(
            (*([timedelta()] * 2), timedelta(seconds=1), -timedelta(seconds=1), timedelta(days=1), -timedelta(days=1))
        )
        if self.chance.random() < 0.4:
            step += timedelta(days=self.chance.choice((-20, -7, -5, -3, -2, 2, 3, 5, 6, 7, 8, 9, 12)))
        if moment.is_date or self.chance.random() < 0.1:
            day = (moment.at + timedelta(days=step.days)).date()
            return self.moment(day)
        return Moment(moment.at + step)

    def source_code(self, unit_code: str | None) -> str | None:
        if unit_code is None:
            return self.chance.choice((None, "H29.BOQUA"))
        name = unit_code.removeprefix("HCM.")
        return f"000.00.{name}.H29" if self.chance.random() < 0.3 else f"H29.{name}"

    def some_unit(self) -> str | None:
        return None if self.chance.random() < 0.005 else self.chance.choice(self.units)

    # -- records

    def fill(self, dossiers: int) -> None:
        made = [self.dossier() for _ in range(dossiers)]
        self.ratings(made, dossiers * 2 // 5)
        self.portal_rows()
        self.posting_checks()
        self.petitions(dossiers // 5)
        self.retrievals()
        self.interlinked()

    def dossier(self) -> Dossier:
        chance, book = self.chance, self.book
        end = self.moment(self.day())
        due = None if chance.random() < 0.1 else self.near(end)
        start = self.moment(
            max(FIRST - timedelta(days=300), end.at.date() - timedelta(days=chance.choice((0, 0, 1, 2, 5, 9, 30, 200))))
        )
        if chance.random() < 0.03:
            start = self.near(end)
        done = chance.random() < 0.93
        status = chance.choice("8999aaaaaa") if done else chance.choice("1234567")
        finished = end if done and chance.random() < 0.9 else None
        returned = (
            self.near(end) if chance.random() < 0.7 or (done and not finished and chance.random() < 0.9) else None
        )
        resolving = self.some_unit()
        dossier = Dossier(
            dossier_code=f"{self.source_code(resolving) or 'H29'}-{end.at:%y%m%d}-{book.number('dossier'):05d}",
            procedure_code=None if chance.random() < 0.01 else self.procedure(),
            status_code="10" if status == "a" else status,
            received_at=None if chance.random() < 0.01 else start,
            due_at=due,
            finished_at=finished,
            returned_at=returned,
            resolving_unit=self.source_code(resolving),
            receiving_unit=self.source_code(resolving if chance.random() < 0.8 else self.some_unit()),
            channel_code=chance.choice("123"),
            is_dummy_identity=chance.random() < 0.02,
            is_test_record=chance.random() < 0.02,
            supplements=self.supplements(start, end, due),
        )
        self.versions(dossier)
        return dossier

    def procedure(self) -> str:
        code = self.chance.choice(PROCEDURES)
        return code + ".000.00.00.H29" if self.chance.random() < 0.3 else code

    def supplements(self, start: Moment, end: Moment, due: Moment | None) -> tuple[Supplement, ...]:
        chance = self.chance
        made: list[Supplement] = []
        for _ in range(chance.choices((0, 1, 2, 3, 4), (70, 14, 10, 4, 2))[0]):
            span = max(1, (end.at - start.at).days)
            asked = self.moment(start.at.date() + timedelta(days=chance.randrange(span + 1)))
            if chance.random() < 0.35:
                asked = self.near(chance.choice((start, end)))
            status = chance.choice("1222345")
            received = self.near(end) if status in "23" and chance.random() < 0.95 else None
            number = self.book.number("supplement")
            if made and chance.random() < 0.15:  # the same request told twice
                made.append(replace(made[-1], status_code=chance.choice("124"), requested_at=asked, received_at=None))
                continue
            made.append(
                Supplement(
                    supplement_id=f"BS{number:06d}",
                    requested_at=None if chance.random() < 0.02 else asked,
                    status_code=status,
                    received_at=received,
                    due_before_at=self.near(due) if due and chance.random() < 0.7 else None,
                    due_after_at=self.near(due or end) if received and chance.random() < 0.8 else None,
                )
            )
        return tuple(made)

    def versions(self, dossier: Dossier) -> None:
        """What each round of loading brings of the dossier: often once, sometimes growing, sometimes corrected."""
        chance, batches = self.chance, self.book.world.batches
        way = chance.random()
        if way < 0.7:
            batches[chance.choice((0, 0, 1, 2))].dossiers.append(dossier)
            return
        early = dossier
        if way < 0.8:  # still open at first
            early = replace(dossier, status_code="4", finished_at=None, returned_at=None, supplements=())
        elif way < 0.86:  # due date extended
            early = replace(dossier, due_at=None if dossier.due_at is None else self.near(dossier.due_at))
        elif way < 0.9:  # no due date at first
            early = replace(dossier, due_at=None)
        elif way < 0.93:  # result moved
            early = replace(
                dossier, finished_at=self.moment(self.day()), resolving_unit=self.source_code(self.some_unit())
            )
        elif way < 0.96:  # test flag corrected
            early = replace(dossier, is_test_record=not dossier.is_test_record)
        first, second = sorted(chance.sample(range(3), 2))
        batches[first].dossiers.append(early)
        if way >= 0.98:  # twice in the same file, differently: the last one counts
            batches[second].dossiers.append(replace(dossier, status_code="4", finished_at=None, returned_at=None))
        batches[second].dossiers.append(dossier)
        if first == 0 and second == 1 and chance.random() < 0.3:  # and back again
            batches[2].dossiers.append(early)

    def ratings(self, dossiers: list[Dossier], count: int) -> None:
        chance, book = self.chance, self.book
        registered = [code for code in self.units if code != "HCM.LA00"]
        for _ in range(count):
            dossier = chance.choice(dossiers) if chance.random() < 0.6 else None
            unit = chance.choice(registered) if chance.random() < 0.6 else None
            rating = book.rating(
                unit,
                "20260101000000",
                chance.choice(("RẤT HÀI LÒNG", "HÀI LÒNG", "KHÔNG HÀI LÒNG")),
                question=chance.choices(("THAI_DO", "CHUNG", None), (7, 2, 1))[0],
                channel=chance.choice(("KIOSK", "QUAY", "WEB", "HTTP")),
                dossier=dossier,
                dossier_code="H29.MAT-000000-1" if chance.random() < 0.3 else None,
                device_of=chance.choice(self.units) if chance.random() < 0.5 else None,
                batch=chance.randrange(2),
            )
            batch = next(batch for batch in book.world.batches if batch.ratings and batch.ratings[-1] is rating)
            batch.ratings[-1] = rating = replace(rating, rated_at=self.moment(self.day()))
            if chance.random() < 0.05:
                book.world.batches[2].ratings.append(replace(rating, level_code="KHÔNG HÀI LÒNG"))
            elif chance.random() < 0.05:
                book.world.batches[2].ratings.append(rating)

    def portal_rows(self) -> None:
        chance, book, asked = self.chance, self.book, f"{self.last:%Y%m%d}235959"
        for period in self.periods:
            for unit in self.units:
                kind = chance.random()
                if kind < 0.12:
                    continue
                n = chance.choice((0, 0, 1, 2, 3, 6, 7, 12, 40))
                in_time, well = (n, n) if chance.random() < 0.6 else (chance.randint(0, n), chance.randint(0, n))
                rated = chance.choice((0, 10, 90, 1000))
                dossiers = (chance.randint(rated // 2, rated), rated)
                row = book.portal(unit, period.period_code, "0", (in_time, well, n), dossiers=dossiers, retrieved=asked)
                rows = book.world.batches[0].portal_rows
                score = sum((metric.score for metric in row.metrics if metric.score is not None), Decimal(0))
                rows[-1] = row = replace(row, total_score=None if kind < 0.17 else score)
                if kind > 0.9:  # asked again later
                    book.world.batches[1].portal_rows.append(
                        replace(row, total_score=Decimal(chance.randint(0, 1800)) / 100)
                    )
                if kind > 0.97:
                    rows[-1] = replace(
                        row, metrics=tuple(m for m in row.metrics if m.code not in (ON_TIME, HANDLED_WELL))
                    )
            rows = book.world.batches[0].portal_rows
            rows.append(replace(rows[-1], department_id=department_id("HCM.CITY"), is_overview=True))
        self.book.world.codes.append(Code("portal", "unit", department_id("HCM.CITY"), None, "ignored"))

    def petitions(self, count: int) -> None:
        """Petitions whose due moment, answer and refusal lie near each other, near days off and near the ends of windows."""
        chance, book = self.chance, self.book
        for _ in range(count):
            received = self.moment(self.day())
            later = received.at.date() + timedelta(days=chance.choice((1, 5, 14, 21, 22, 30)))
            due = None if chance.random() < 0.1 else self.near(self.moment(later))
            answered = None if chance.random() < 0.15 else self.near(due or self.moment(later))
            status = "DA_TRA_LOI" if answered else "MOI_TIEP_NHAN"
            refused = None
            if chance.random() < 0.1:
                refused = (
                    None if chance.random() < 0.1 else self.near(self.moment(received.at.date() + timedelta(days=2)))
                )
                status = chance.choice(("TU_CHOI", "TU_CHOI", "KHAC", status))
                answered = answered if chance.random() < 0.2 else None
            asked = self.moment(received.at.date() + timedelta(days=chance.randrange(11)))
            published = self.near(answered) if answered and chance.random() < 0.8 else None
            petition = Petition(
                petition_id=f"PAKN-{book.number('petition'):06d}",
                department_id=department_id(chance.choice(self.units)),
                received_at=None if chance.random() < 0.01 else received,
                due_at=due,
                answered_at=answered,
                is_satisfied=chance.choices((True, False, None), (8, 1, 1))[0],
                resent_count=chance.choices((0, 1, 2, 3, None), (84, 9, 2, 4, 1))[0],
                status_code="KHAC" if chance.random() < 0.03 else status,
                refused_at=refused,
                supplement_asked_at=asked if chance.random() < 0.2 else None,
                published_at=published,
                subject_code=chance.choice(("TTHC", "OTHER")),
            )
            first, second = sorted(chance.sample(range(3), 2))
            if chance.random() < 0.3:  # still open, and another unit's, when it was first read
                early = replace(petition, answered_at=None, published_at=None, is_satisfied=None, resent_count=0)
                other = department_id(chance.choice(self.units)) if chance.random() < 0.5 else petition.department_id
                book.world.batches[first].petitions.append(replace(early, department_id=other))
            book.world.batches[second].petitions.append(petition)

    def interlinked(self) -> None:
        """Makes some dossiers interlinked, with steps that begin and end near their limits and the dossier's own end."""
        chance, written = self.chance, self.first_written
        lists: dict[str, tuple[Participant, ...]] = {}
        for batch, first in zip(self.book.world.batches, written, strict=True):
            for place, dossier in enumerate(batch.dossiers):
                if place < first or zlib.crc32(dossier.dossier_code.encode()) % 8:
                    continue
                steps = lists.get(dossier.dossier_code)
                if steps is None or chance.random() < 0.3:
                    steps = self.steps(dossier)
                elif chance.random() < 0.3:  # some had not finished, or were not named, when it was read
                    steps = tuple(replace(step, finished_at=None) for step in steps if chance.random() < 0.7)
                lists[dossier.dossier_code] = steps
                batch.dossiers[place] = replace(dossier, is_interlinked=chance.random() < 0.95, participants=steps)

    def steps(self, dossier: Dossier) -> tuple[Participant, ...]:
        chance = self.chance
        end = dossier.finished_at or dossier.returned_at or dossier.due_at or self.moment(self.day())
        made: list[Participant] = []
        for _ in range(chance.choices((0, 1, 2, 3), (5, 25, 50, 20))[0]):
            finished = self.near(end) if chance.random() < 0.6 else self.moment(self.day())
            step = Participant(
                participant_id=f"PH{self.book.number('participant'):06d}",
                unit_code=dossier.resolving_unit if chance.random() < 0.4 else self.source_code(self.some_unit()),
                received_at=None if chance.random() < 0.05 else self.near(self.near(finished)),
                due_at=None if chance.random() < 0.08 else self.near(finished),
                finished_at=None if chance.random() < 0.08 else finished,
                role_code=chance.choice(("CHU_TRI", "PHOI_HOP", "PHOI_HOP", None)),
            )
            if made and chance.random() < 0.1:  # told twice
                step = replace(step, participant_id=made[-1].participant_id)
            made.append(step)
        return tuple(made)

    def retrievals(self) -> None:
        """When the portal was asked: before or after the end of its window. Some scores are not what their counts make."""
        chance = self.chance
        for batch, first in zip(self.book.world.batches, self.rows_by_hand, strict=True):
            for place, row in enumerate(batch.portal_rows):
                if place >= first and chance.random() < 0.5:
                    day = row.window_to + timedelta(days=chance.choice((-3, 0, 1, 3, 20, 45)))
                    row = replace(row, retrieved_at=min(self.moment(day).at, row.retrieved_at))
                if place >= first and chance.random() < 0.1:
                    row = replace(row, metrics=tuple(self.distorted(metric) for metric in row.metrics))
                batch.portal_rows[place] = row

    def distorted(self, metric: Metric) -> Metric:
        """A score off by as much as the tolerance, or by more."""
        if metric.score is None:
            return metric
        step = self.chance.choice(("0", "0", "0.01", "-0.01", "0.02", "-0.02", "0.1"))
        return replace(metric, score=max(Decimal(0), metric.score + Decimal(step)))

    def posting_checks(self) -> None:
        chance = self.chance
        for unit in self.units:
            for place in ("desk", "website"):
                day = FIRST + timedelta(days=chance.randrange(60))
                while day <= self.last:
                    for _ in range(chance.choice((1, 1, 1, 2))):
                        self.book.check(unit, place, day.isoformat(), chance.random() < 0.85, batch=chance.randrange(2))
                    day += timedelta(days=chance.choice((20, 60, 90, 99, 100, 101, 102, 130)))


def at(day: date, clock: str, is_date: bool = False) -> Moment:
    """A local moment from a day and hhmmss."""
    return Moment(datetime.strptime(f"{day:%Y%m%d}{clock}", "%Y%m%d%H%M%S").replace(tzinfo=ZONE), is_date)


__all__ = ["GROUP_NAMES", "SINCE", "UNTIL", "everything", "periods"]
