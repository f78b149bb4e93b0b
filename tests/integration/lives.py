"""Random little worlds where rules meet: strategies of hypothesis that write a book for the oracle and for the warehouse.

A scene is a stretch of a few months with its sharp days: ends of periods, holidays and the days around them, make-up days,
the first day of the Decision, 1 July 2025. Units begin and end, policies change and moments fall on these days above all,
at the ends of the day, at 15:00 and at 17:00, with or without a clock time, a second before or after each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from hypothesis import strategies as st

from tests.oracle import rules
from tests.oracle.book import AT_ONCE, LIMIT_FREE, PERIODS, ZONE, Book, department_id
from tests.oracle.cases import CLOCKS, at
from tests.oracle.compare import shown
from tests.oracle.scorer import (
    SUPPORTED,
    Code,
    Dossier,
    Moment,
    Period,
    Petition,
    Rating,
    Supplement,
    World,
    overlapping,
)

ONE_DAY = timedelta(days=1)
DECISION, UNITS_CHANGED = date(2024, 11, 29), date(2025, 7, 1)
SCENES = {
    "the first days of the Decision": (date(2024, 11, 10), date(2025, 1, 20)),
    "Tết 2025": (date(2025, 1, 10), date(2025, 3, 18)),
    "April and May 2025": (date(2025, 4, 10), date(2025, 6, 18)),
    "districts end, communes begin": (date(2025, 6, 1), date(2025, 8, 18)),
    "September 2025": (date(2025, 8, 20), date(2025, 10, 1)),
    "the turn of the year, a worked Saturday": (date(2025, 12, 1), date(2026, 1, 20)),
    "Tết 2026": (date(2026, 2, 1), date(2026, 3, 18)),
    "a quarter ends": (date(2026, 8, 25), date(2026, 10, 16)),
}
# Numbers that a policy may hold instead of its own; words are those that the oracle knows.
NUMBERS = {
    "result_statuses": ("9,10", "10", "8,10", "9"),
    "a_grace_working_days": ("0", "1", "3"),
    "a_point_within_grace": ("0.5", "1"),
    "at_once_cutoff": ("08:00", "00:00", "17:00"),
    "b_max_returns": ("0", "2"),
    "b_permitted_default": ("0", "2"),
    "midnight_is_date": ("false",),
    "e_valid_days": ("0", "1", "30"),
    "k_scale": ("2", "0"),
    "k_threshold": ("19", "18", "2.5"),
    "near_threshold_distance": ("0", "1"),
    "min_window_days": ("1", "6", "31"),
    "rank_scale": ("0", "6"),
}
WORDS = {name: tuple(sorted(known)) for name, known in SUPPORTED.items() if len(known) > 1}
PROCEDURES = (LIMIT_FREE, AT_ONCE, "2.000000", "2.000001", "2.000003", "2.000005", "2.000020", "9.000009", None)
KINDS = ("dossiers", "ratings", "portal_rows", "posting_checks", "petitions")
NAMES = ("SO1", "SO2", "QU1", "PH1", "CON", "TT1", "KHN", "LA0")
BUSY = NAMES[:4]  # what happens, happens mostly there
LEVELS = ("RẤT HÀI LÒNG", "HÀI LÒNG", "KHÔNG HÀI LÒNG")
DONE = ("8", "9", "10")
SHIFTS = tuple(timedelta(seconds=s) for s in (0, 0, 1, -1)) + tuple(
    timedelta(days=d) for d in (1, -1, 2, -2, 3, 5, -5, 6, 7, 8, 9, 12, -12)
)


@dataclass(frozen=True)
class Lives:
    """A world, the policies under which it is scored, and of which days the feeds were read."""

    scene: str
    since: date
    until: date
    world: World
    policies: tuple[tuple[date, dict[str, str]], ...]

    @property
    def periods(self) -> list[Period]:
        return overlapping(PERIODS.values(), self.since, self.until)

    def __repr__(self) -> str:
        """Everything that was drawn, a line a record."""
        lines = [f"Lives: {self.scene}, read {self.since} to {self.until}"]
        lines += [f"  policy from {since}: {changed}" for since, changed in self.policies]
        lines += [f"  {shown(unit)}" for unit in self.world.units]
        for number, batch in enumerate(self.world.batches):
            lines.append(f"  round {number}, petitions of {batch.petitions_read}, deleted {sorted(batch.deleted)}")
            for kind in KINDS:
                lines += [f"    {shown(record)}" for record in getattr(batch, kind)]
        return "\n".join(lines)


def registered() -> Book:
    """A book whose code map knows every unit that a world may have."""
    book = Book()
    for name in NAMES:
        book.codes_of(f"HCM.{name}")
    book.world.codes.append(Code("tthc", "unit", "H29.BOQUA", None, "ignored"))
    return book


@lru_cache
def sharp_days(since: date, until: date) -> tuple[date, ...]:
    """The days of a stretch at which something ends, begins or is off; the first of the Decision and of the new units first."""
    working = rules.working_days()
    borders = {DECISION, UNITS_CHANGED, *(day for period in PERIODS.values() for day in (period.start, period.end))}
    days = [since + timedelta(days=i) for i in range((until - since).days)]
    unusual = {day for day in days if working[day] != (day.weekday() < 5)}
    near = {day + ONE_DAY * shift for day in borders | unusual for shift in (-1, 0)} | {d + ONE_DAY for d in unusual}
    return tuple(sorted(day for day in near if since <= day < until))


class Writer:
    """Draws one world."""

    def __init__(self, draw: st.DrawFn, scene: str) -> None:
        self.draw = draw
        self.scene = scene
        self.since, self.until = SCENES[scene]
        self.days = sharp_days(self.since, self.until)
        starts = [
            period.start
            for period in overlapping(PERIODS.values(), self.since, self.until)
            if period.start > self.since
        ]
        self.border = draw(st.sampled_from((UNITS_CHANGED, *starts, *starts, *self.days)))  # where a unit takes over
        self.book = registered()
        self.batches = self.book.world.batches

    # -- drawing

    def chance(self, n: int) -> bool:
        """Once in n times; never in the simplest world."""
        return self.draw(st.integers(0, n - 1)) == n - 1

    def day(self) -> date:
        if self.chance(4):
            return self.since + ONE_DAY * self.draw(st.integers(0, (self.until - self.since).days - 1))
        return self.draw(st.sampled_from(self.days))

    def moment(self, day: date | None = None) -> Moment:
        day = day or self.day()
        clock = self.draw(st.sampled_from(("080000", *CLOCKS, None)))
        return at(day, clock or "000000", is_date=clock is None)

    def near(self, moment: Moment) -> Moment:
        """At the same time, a second or some days from it, or on the same day at another time."""
        if self.chance(5):
            return self.moment(moment.at.date())
        step = self.draw(st.sampled_from(SHIFTS))
        if moment.is_date:
            step = timedelta(days=step.days if step.days >= 0 or step == timedelta(days=step.days) else 0)
        return replace(moment, at=moment.at + step)

    def maybe_near(self, moment: Moment | None, n: int) -> Moment | None:
        return None if moment is None or self.chance(n) else self.near(moment)

    def unit(self) -> str:
        return f"HCM.{self.draw(st.sampled_from(BUSY if not self.chance(4) else NAMES))}"

    def source(self, unit_code: str | None) -> str | None:
        if unit_code is None:
            return self.draw(st.sampled_from(("H29.BOQUA", None)))
        name = unit_code.removeprefix("HCM.")
        return self.draw(st.sampled_from((f"H29.{name}", f"000.00.{name}.H29")))

    def some(self, most: int, write: Callable[[], object], least: int = 0) -> None:
        """Few or many."""
        for _ in range(self.draw(st.one_of(st.integers(least, most // 2), st.integers(most // 2, most)))):
            write()

    # -- registers

    def register(self) -> None:
        unit = self.book_unit
        places = st.sampled_from(("desk;website", "desk", None, "website; desk", "desk;desk"))
        unit("SO1")
        unit("SO2", valid_from=self.day(), posting_places=self.draw(places))
        unit("QU1", valid_to=self.border, unit_kind="district")
        unit("PH1", valid_from=self.border, unit_kind="ward", posting_places=self.draw(places))
        unit("CON", parent_unit_code="HCM.SO1", is_receiving_only=self.chance(3))
        ends = self.day() if self.chance(3) else None
        unit("TT1", is_receiving_only=True, valid_to=ends, peer_group="trung_tam")
        unit("KHN", is_scored=False)

    def book_unit(
        self, name: str, valid_from: date = date(2015, 1, 1), valid_to: date | None = None, **fields: object
    ) -> None:
        codes = len(self.book.world.codes)
        self.book.unit(name, valid_from.isoformat(), valid_to.isoformat() if valid_to else None, **fields)
        del self.book.world.codes[codes:]  # they are known already

    def policies(self) -> tuple[tuple[date, dict[str, str]], ...]:
        first = self.draw(st.sampled_from((min(DECISION, self.since), DECISION, *self.days)))
        later = self.draw(st.lists(st.sampled_from(self.days), unique=True, max_size=2))
        since = sorted({first, *(day for day in later if day > first)})
        return tuple((day, self.changed_parameters()) for day in since)

    def changed_parameters(self) -> dict[str, str]:
        known = WORDS | NUMBERS
        names = self.draw(st.lists(st.sampled_from(sorted(known)), unique=True, max_size=6))
        return {name: self.draw(st.sampled_from(known[name])) for name in names}

    # -- records

    def dossier(self) -> None:
        end = self.moment()
        received = self.moment(end.at.date() - ONE_DAY * self.draw(st.sampled_from((1, 0, 2, 5, 9, 30, 60))))
        if self.chance(8):
            received = self.near(end)
        due = None if self.chance(6) else self.near(end)
        unit = None if self.chance(20) else self.unit()
        if self.chance(6):  # begun by one unit, ended by the next
            due, end = self.near(at(self.border - ONE_DAY, "170000")), self.near(at(self.border, "080000"))
            received = self.near(at(self.border - 5 * ONE_DAY, "080000"))
            unit = self.draw(st.sampled_from(("HCM.PH1", "HCM.QU1")))
        status = "10"
        if self.chance(2):
            status = self.draw(st.sampled_from(("9", "8", "4", "5", "7", "3", "1")))
        done = status in DONE
        finished = end if done and not self.chance(6) else None
        returned = self.near(end) if (done and not finished) or self.chance(4) else None
        dossier = Dossier(
            dossier_code=f"H29-{self.book.number('dossier'):04d}",
            procedure_code=self.draw(st.sampled_from(PROCEDURES)),
            status_code=status,
            received_at=None if self.chance(15) else received,
            due_at=due,
            finished_at=finished,
            returned_at=None if self.chance(6) else returned,
            resolving_unit=self.source(unit),
            receiving_unit=self.source(self.unit() if self.chance(4) else unit),
            is_test_record=self.chance(20),
            supplements=self.supplements(received, end, due),
        )
        self.course(dossier)

    def supplements(self, received: Moment, end: Moment, due: Moment | None) -> tuple[Supplement, ...]:
        if self.chance(8):  # asked twice and both times answered in full: the last answer sets the date
            return tuple(
                Supplement(
                    f"BS{self.book.number('supplement'):05d}",
                    self.near(received),
                    "2",
                    self.near(end),
                    due,
                    self.near(end),
                )
                for _ in range(2)
            )
        made: list[Supplement] = []
        for _ in range(self.draw(st.sampled_from((0, 0, 1, 2, 2, 3)))):
            if made and self.chance(4):  # told twice, otherwise
                again = replace(
                    made[-1], due_before_at=self.maybe_near(due, 2), due_after_at=self.maybe_near(due or end, 3)
                )
                made.append(again if self.chance(2) else replace(again, requested_at=self.near(received)))
                continue
            kind = self.draw(st.sampled_from(("2", "2", "2", "1", "3", "4", "5")))
            answered = self.near(end) if kind in "23" and not self.chance(8) else None
            made.append(
                Supplement(
                    supplement_id=f"BS{self.book.number('supplement'):05d}",
                    requested_at=None if self.chance(12) else self.near(end if self.chance(2) else received),
                    status_code=kind,
                    received_at=answered,
                    due_before_at=self.maybe_near(due, 2),
                    due_after_at=self.maybe_near(due or end, 6) if answered else None,
                )
            )
        return tuple(made)

    def course(self, dossier: Dossier) -> None:
        """What the rounds tell of it: once, or first something else, or that it is gone, or that it is there again."""
        brought = [batch.dossiers for batch in self.batches]
        way = self.draw(
            st.sampled_from(("once", "once", "later", "open", "due", "result", "unit", "gone", "again", "back"))
        )
        early = {
            "open": replace(dossier, status_code="4", finished_at=None, returned_at=None, supplements=()),
            "due": replace(dossier, due_at=self.maybe_near(dossier.due_at, 3)),
            "result": replace(dossier, status_code="10", finished_at=self.moment()),
            "unit": replace(dossier, resolving_unit=self.source(self.unit()), receiving_unit=self.source(self.unit())),
        }.get(way, dossier)
        if way in ("once", "later"):
            brought[0 if way == "once" else 2].append(dossier)
            return
        brought[0].append(early)
        if way in ("gone", "again"):
            self.batches[1].deleted.add(dossier.dossier_code)
            if way == "again":
                other = replace(dossier, due_at=self.maybe_near(dossier.due_at, 3)) if self.chance(2) else dossier
                brought[2].append(other)
            return
        if way == "back":  # reopened, and ended as it had been
            brought[1].append(replace(dossier, status_code="4", finished_at=None))
            brought[2].append(dossier)
            return
        brought[self.draw(st.sampled_from((1, 2)))].append(dossier)

    def rating(self) -> None:
        told = [dossier for batch in self.batches for dossier in batch.dossiers]
        dossier = self.draw(st.sampled_from(told)) if told and not self.chance(4) else None
        about = dossier and (dossier.finished_at or dossier.returned_at)
        number = self.draw(st.sampled_from((0, 0, 1)))
        earlier = [rating for batch in self.batches for rating in batch.ratings]
        if earlier and self.chance(3):  # once more on the same day
            dossier_code = earlier[-1].dossier_code
            rated = self.moment(earlier[-1].rated_at.at.date()) if self.chance(2) else earlier[-1].rated_at
        else:
            dossier_code = dossier.dossier_code if dossier else self.draw(st.sampled_from((None, "H29-NONE")))
            rated = self.near(about) if about and not self.chance(3) else self.moment()
        unit, device = (self.unit().removeprefix("HCM.") if self.chance(2) else None for _ in range(2))
        rating = Rating(
            rating_id=f"R{self.book.number('rating'):04d}",
            level_code=self.draw(st.sampled_from(LEVELS)),
            rated_at=rated,
            channel_code=self.draw(st.sampled_from(("HTTP", "QUAY", "KIOSK", "WEB"))),
            dossier_code=dossier_code,
            unit_code=f"DV-{unit}" if unit else None,
            device_code=f"MAY-{device}" if device else None,
            question_code=self.draw(st.sampled_from(("THAI_DO", "CHUNG", None))),
        )
        self.batches[number].ratings.append(rating)
        if self.chance(8):
            self.batches[2].deleted.add(rating.rating_id)
        elif self.chance(8):
            self.batches[2].ratings.append(replace(rating, level_code=LEVELS[2]))

    def petition(self) -> None:
        received = self.moment()
        late = received.at.date() + ONE_DAY * self.draw(st.sampled_from((21, 1, 5, 14, 22, 30)))
        due = None if self.chance(4) else self.near(self.moment(late))
        answered = None if self.chance(5) else self.near(due or self.moment(late))
        refused = self.near(received) if self.chance(6) else None
        status = "DA_TRA_LOI" if answered else "MOI_TIEP_NHAN"
        if refused or self.chance(10):
            status = self.draw(st.sampled_from(("TU_CHOI", "KHAC", status)))
        petition = Petition(
            petition_id=f"PAKN-{self.book.number('petition'):04d}",
            department_id=department_id(self.unit()),
            received_at=None if self.chance(20) else received,
            due_at=due,
            answered_at=answered,
            is_satisfied=self.draw(st.sampled_from((True, False, None))),
            resent_count=self.draw(st.sampled_from((0, 0, 1, 3, None))),
            status_code=status,
            refused_at=refused,
            supplement_asked_at=self.near(received) if self.chance(6) else None,
            published_at=self.near(answered) if answered and not self.chance(3) else None,
        )
        first = self.draw(st.sampled_from((0, 1, 2)))
        self.batches[first].petitions.append(petition)
        if first < 2 and self.chance(4):
            later = replace(petition, department_id=department_id(self.unit()), resent_count=2)
            self.batches[2].petitions.append(later)
        elif first < 2 and self.chance(8):
            self.batches[2].deleted.add(petition.petition_id)

    def portal_rows(self, periods: Sequence[Period]) -> None:
        for period in periods:
            for name in NAMES[: self.draw(st.sampled_from((4, 2, 0, 8)))]:
                n = self.draw(st.sampled_from((0, 1, 6, 7, 5)))
                good = n - self.draw(st.sampled_from((0, 1))) if n else 0
                rated = self.draw(st.sampled_from((10, 10, 0)))
                row = self.book.portal(f"HCM.{name}", period.period_code, "0", (n, good, n), dossiers=(rated, rated))
                score: Decimal | None = sum((m.score for m in row.metrics if m.score is not None), Decimal(0))
                if self.chance(2):  # with four times 1 beside it 16 makes K = 20
                    score = self.draw(st.sampled_from((Decimal(16), Decimal(16), Decimal("16.01"), Decimal(17), None)))
                asked = self.moment(row.window_to + ONE_DAY * self.draw(st.sampled_from((1, 0, -3, 3))))
                self.batches[0].portal_rows[-1] = replace(row, total_score=score, retrieved_at=asked.at)

    def check(self) -> None:
        number = self.draw(st.sampled_from((0, 1, 2)))
        unit, place = self.unit(), self.draw(st.sampled_from(("desk", "website")))
        check = self.book.check(unit, place, self.day().isoformat(), not self.chance(4), batch=number)
        if number < 2 and self.chance(10):
            self.batches[2].deleted.add(check.check_id)

    def evidence(self) -> None:
        """So that a K comes about: in some units a dossier ends in time, every place is checked and somebody is content."""
        for name in BUSY:
            if not self.chance(4):
                day = self.day()
                self.book.dossier(f"HCM.{name}", f"{day:%Y%m%d}080000", f"{day:%Y%m%d}170000", f"{day:%Y%m%d}150000")
                for place in ("desk", "website"):
                    self.book.check(f"HCM.{name}", place, day.isoformat(), not self.chance(8))
                for _ in range(self.draw(st.integers(1, 3))):
                    level = LEVELS[2 if self.chance(4) else 0]
                    told = self.book.rating(f"HCM.{name}", "20260101000000", level)
                    self.batches[0].ratings[-1] = replace(told, rated_at=self.moment())

    def petitions_read(self) -> None:
        """All of the time, or with a gap, or not at all in a round."""
        for batch in self.batches:
            first, last = sorted((self.day(), self.day()))
            whole = (self.since, self.until + ONE_DAY * 40)
            span = whole if not self.chance(3) else (first, last + ONE_DAY)
            batch.petitions_read = (midnight(span[0]), midnight(span[1]))

    def write(self, most: int) -> Lives:
        self.register()
        policies = self.policies()
        self.some(most, self.dossier, least=1)
        self.some(most // 2, self.rating)
        self.some(most // 2, self.petition)
        self.some(most // 4, self.check)
        self.evidence()
        lives = Lives(self.scene, self.since, self.until, self.book.world, policies)
        self.portal_rows(lives.periods)
        self.petitions_read()
        return lives


Kept = tuple[int, str, int]  # round, kind of record, place


def smallest(lives: Lives, differs: Callable[[Lives], bool]) -> Lives:
    """The same world with as few records as still differ: halves, quarters … single records are left out in turn.

    Hypothesis would shrink every draw, which takes hundreds of builds; a record that is not needed is all that hides the others.
    """
    kept: list[Kept] = [
        (number, kind, place)
        for number, batch in enumerate(lives.world.batches)
        for kind in KINDS
        for place in range(len(getattr(batch, kind)))
    ]
    step = len(kept) // 2
    while step:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + step :]
            if differs(only(lives, fewer)):
                kept = fewer
            else:
                start += step
        step //= 2
    return only(lives, kept)


def only(lives: Lives, kept: Sequence[Kept]) -> Lives:
    """The same world with these records."""
    chosen = set(kept)
    batches, keys = [], set()
    for number, batch in enumerate(lives.world.batches):
        left = {
            kind: [record for place, record in enumerate(getattr(batch, kind)) if (number, kind, place) in chosen]
            for kind in KINDS
        }
        keys |= {str(getattr(record, fields(record)[0].name)) for records in left.values() for record in records}
        batches.append(replace(batch, **left, deleted=batch.deleted & keys))
    return replace(lives, world=replace(lives.world, batches=batches))


def midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), ZONE)


@st.composite
def worlds(draw: st.DrawFn, scene: str, most: int = 60) -> Lives:
    """Worlds of up to `most` dossiers in one scene."""
    return Writer(draw, scene).write(most)
