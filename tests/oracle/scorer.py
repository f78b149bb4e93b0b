"""Indices A-E and K of Decision 104/2024/QĐ-UBND over plain records, written to be read beside the text of the method.

Promise: given the records of every load in order, `score` returns one row per unit x index and one per unit for every
period, with exact fractions inside and decimals rounded half away from zero outside. It is slow-ish, simple, and shares
no code with the warehouse: where the two differ, one of them is wrong.

It computes any policy made of the values in SUPPORTED; another value of a parameter is refused, never ignored.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar
from zoneinfo import ZoneInfo

INDICES = ("A", "B", "C", "D", "E")
ONE_DAY = timedelta(days=1)
ON_TIME = "PETITION_PROCESSING_ON_TIME"
HANDLED_WELL = "PETITION_HANDLING_SATISFACTION"
DOSSIERS_RATED = "DOSSIER_RECEIVING_SATISFACTION"
SATISFACTION_GROUP = "handling-satisfaction"


# ---------------------------------------------------------------- plain records


@dataclass(frozen=True)
class Moment:
    """A point in time as a source gave it: with a zone, and whether it was only a date."""

    at: datetime
    is_date: bool = False


@dataclass(frozen=True)
class Unit:
    """An agency of the unit register; `valid_to` is the first day on which it no longer exists."""

    unit_code: str
    unit_name: str
    peer_group: str
    valid_from: date
    valid_to: date | None = None
    unit_name_en: str = ""
    unit_kind: str = "department"
    peer_group_name: str = ""
    parent_unit_code: str | None = None
    is_scored: bool = True
    is_receiving_only: bool = False
    posting_places: str | None = "desk;website"
    gso_code: str | None = None


@dataclass(frozen=True)
class Procedure:
    """A procedure of the register: how long it may take."""

    procedure_code: str
    procedure_name: str = ""
    field_code: str = "F01"
    field_name: str = ""
    limit_working_days: int | None = None
    is_at_once: bool = False
    permitted_supplements: int = 1


@dataclass(frozen=True)
class Code:
    """One line of the code map: what a source's code means here."""

    system: str
    code_kind: str
    source_code: str
    target_code: str | None
    treatment: str = "good"


@dataclass(frozen=True)
class Supplement:
    """A request to complete a dossier."""

    supplement_id: str
    requested_at: Moment | None
    status_code: str | None
    received_at: Moment | None = None
    due_before_at: Moment | None = None
    due_after_at: Moment | None = None


@dataclass(frozen=True)
class Participant:
    """A unit's own step in an interlinked dossier, with source codes."""

    participant_id: str
    unit_code: str | None
    received_at: Moment | None
    due_at: Moment | None
    finished_at: Moment | None
    role_code: str | None = "PHOI_HOP"


@dataclass(frozen=True)
class Dossier:
    """One version of a dossier, with source codes."""

    dossier_code: str
    procedure_code: str | None
    status_code: str
    received_at: Moment | None
    due_at: Moment | None = None
    finished_at: Moment | None = None
    returned_at: Moment | None = None
    resolving_unit: str | None = None
    receiving_unit: str | None = None
    channel_code: str = "1"
    is_dummy_identity: bool = False
    is_test_record: bool = False
    supplements: tuple[Supplement, ...] = ()
    is_interlinked: bool = False
    participants: tuple[Participant, ...] = ()


@dataclass(frozen=True)
class Rating:
    """One rating, with source codes."""

    rating_id: str
    level_code: str
    rated_at: Moment
    channel_code: str
    dossier_code: str | None = None
    unit_code: str | None = None
    device_code: str | None = None
    question_code: str | None = None


@dataclass(frozen=True)
class Metric:
    """One metric of the portal's group, as landed."""

    code: str
    numerator: int | None
    denominator: int | None
    score: Decimal | None = None
    max_score: Decimal = Decimal(6)


@dataclass(frozen=True)
class PortalRow:
    """The portal's own answer for one department and one window (both days inclusive)."""

    department_id: str
    window_from: date
    window_to: date
    total_score: Decimal | None
    total_max_score: Decimal | None
    total_petitions: int
    total_dossiers: int
    retrieved_at: datetime
    metrics: tuple[Metric, ...] = ()
    group_code: str = SATISFACTION_GROUP
    is_overview: bool = False


@dataclass(frozen=True)
class Petition:
    """One version of a petition at the portal, with source codes."""

    petition_id: str
    department_id: str
    received_at: Moment | None
    due_at: Moment | None = None
    answered_at: Moment | None = None
    is_satisfied: bool | None = None
    resent_count: int | None = 0
    status_code: str | None = "MOI_TIEP_NHAN"
    refused_at: Moment | None = None
    supplement_asked_at: Moment | None = None
    published_at: Moment | None = None
    subject_code: str = "OTHER"


@dataclass(frozen=True)
class Term:
    """A term of Decision 766 for petitions: working days after the day on which it begins; owed: doing nothing breaks it."""

    term_code: str
    runs_from: str
    is_owed: bool
    working_days: int
    valid_from: date
    valid_to: date | None = None

    def is_in_force(self, day: date) -> bool:
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


@dataclass(frozen=True)
class PostingCheck:
    """One check of one posting place, with source codes."""

    check_id: str
    unit_code: str
    place_code: str
    checked_on: date
    result_code: str
    checker_kind_code: str = "Văn phòng UBND Thành phố"


@dataclass(frozen=True)
class Policy:
    """A rule set with its validity; `parameters` are the texts of the seed."""

    policy_id: str
    valid_from: date
    valid_to: date | None
    calendar_code: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Period:
    """A reporting period `[start, end)`."""

    period_code: str
    kind: str
    start: date
    end: date


@dataclass
class Batch:
    """What one round of loading brought: later rounds replace earlier versions of the same record."""

    dossiers: list[Dossier] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    portal_rows: list[PortalRow] = field(default_factory=list)
    posting_checks: list[PostingCheck] = field(default_factory=list)
    petitions: list[Petition] = field(default_factory=list)
    deleted: set[str] = field(
        default_factory=set
    )  # keys that the source no longer has; none of them is brought as well
    petitions_read: tuple[datetime, datetime] | None = None  # of which stretch of time every change of petitions came


@dataclass
class World:
    """Everything the scorer reads."""

    units: list[Unit] = field(default_factory=list)
    procedures: list[Procedure] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)


Row = dict[str, object]
Told = TypeVar("Told")  # a record of any kind
Checked = tuple[date, bool, bool]  # day, passed, by the unit itself


# ---------------------------------------------------------------- numbers and days


def rounded(value: Fraction, places: int) -> Decimal:
    """`value` to so many decimals, half away from zero, without passing through a float."""
    scaled = abs(value) * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(-whole if value < 0 else whole).scaleb(-places)


class WorkingDays:
    """The calendar of days on and off; a day it does not know is an error, not a guess."""

    def __init__(self, is_working: Mapping[date, bool]) -> None:
        self._is_working = is_working
        days = sorted(is_working)
        self._count: dict[date, int] = {}
        seen = 0
        for day in days:
            seen += is_working[day]
            self._count[day] = seen

    def is_working(self, day: date) -> bool:
        return self._is_working[day]

    def first_from(self, day: date) -> date:
        """The day itself when it is worked, else the next one that is."""
        while not self._is_working[day]:
            day += ONE_DAY
        return day

    def nth_after(self, day: date, n: int) -> date:
        """The n-th working day after a day; 0 is the day itself."""
        for _ in range(n):
            day = self.first_from(day + ONE_DAY)
        return day

    def between(self, after: date, until: date) -> int:
        """Working days d with after < d <= until."""
        return max(0, self._count[until] - self._count[after]) if until > after else 0


# ---------------------------------------------------------------- one point in time against another


@dataclass(frozen=True)
class Local:
    """A moment as the people of the city read it: a day, and a clock time where one is known."""

    day: date
    clock: time | None

    @property
    def instant(self) -> datetime:
        return datetime.combine(self.day, self.clock or time())


def not_after(first: Local, second: Local) -> bool:
    """first <= second at the coarser precision of the two."""
    if first.clock is None or second.clock is None:
        return first.day <= second.day
    return first.instant <= second.instant


# ---------------------------------------------------------------- the scorer


SUPPORTED: dict[str, set[str]] = {
    "due_basis": {"legal", "first", "source_current"},
    "due_missing": {"procedure", "exclude"},
    "b_population": {"resolved", "returned"},
    "b_threshold": {"absolute", "beyond_permitted"},
    "b_source": {"events"},
    "b_applicant_fault": {"count"},
    "c_question": {"attitude", "overall"},
    "c_channels": {"art9", "art7"},
    "c_repeat": {"each", "last_per_dossier_day"},
    "c_middle_level": {"good", "normal"},
    "d_definition": {"portal_group", "petition_rescaled", "recomputed_104"},  # petition_12: a reading only
    "d_zero_dossier": {"portal", "no_data"},
    "e_basis": {"latest", "any_failure"},
    "e_self_check": {"accept", "authority_only"},
    "missing_index": {"block", "zero", "rescale"},
    "k_equal": {"undetermined", "satisfied", "not_satisfied"},
    "attribution": {"resolving", "receiving"},
    "interlinked": {"in_charge"},  # participants: a reading only
    "inherited_overdue": {"count", "exclude"},
    "territory": {"all"},
}


@dataclass
class Counted:
    """What one unit's day list holds: (day, points or None when excluded, why)."""

    day: date
    point: Fraction | None
    excluded: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What happened to one dossier, for reading a difference."""

    dossier_code: str
    unit_code: str | None
    day: date
    due: Local | None
    a_point: Fraction | None
    a_excluded: str | None
    b_point: Fraction | None
    b_excluded: str | None
    returns: int


ENDS = ("resolved", "stopped", "withdrawn", "not_accepted", "without_moment")
OUTCOMES = dict.fromkeys("12456", "open") | {
    "3": "not_accepted", "7": "withdrawn", "8": "stopped", "9": "resolved", "10": "resolved",
}  # fmt: skip


@dataclass(frozen=True)
class Life:
    """A dossier by days: received, ended (None: open), overdue after (None: never by a day), result under a policy."""

    unit_code: str
    received: date
    ended: date | None
    outcome: str
    overdue_after: date | None
    judged_on: date | None
    is_inherited: bool

    def is_open_at(self, day: date) -> bool:
        """When the day begins."""
        return self.received < day and (self.ended is None or self.ended >= day)

    def is_overdue_at(self, day: date) -> bool:
        late = self.overdue_after is not None and self.overdue_after < day
        return late and (self.judged_on is None or self.judged_on >= day)


class Scorer:
    """Scores a world under one list of policies and one calendar of days."""

    def __init__(
        self,
        world: World,
        policies: Sequence[Policy],
        is_working: Mapping[date, bool],
        level_classes: Mapping[str, str],
        terms: Sequence[Term] = (),
        timezone: str = "Asia/Ho_Chi_Minh",
    ) -> None:
        self.world = world
        self.policies = sorted(policies, key=lambda policy: policy.valid_from)
        for policy in self.policies:
            for name, allowed in SUPPORTED.items():
                if policy.parameters[name] not in allowed:
                    raise ValueError(f"The oracle does not know {name} = {policy.parameters[name]}")
        self.days = WorkingDays(is_working)
        self.level_classes = level_classes
        self.terms = terms
        self.zone = ZoneInfo(timezone)
        self.units = {unit.unit_code: unit for unit in world.units}
        self.procedures = {procedure.procedure_code: procedure for procedure in world.procedures}
        self.codes = {(code.system, code.code_kind, code.source_code): code for code in world.codes}
        self.histories = self._histories()
        self.petitions = self._petitions()
        self.petition_spans = self._petition_spans()
        self.last_asked = max((row.retrieved_at for row in self.portal_rows().values()), default=None)

    # -- versions and codes

    def _histories(self) -> dict[str, list[Dossier]]:
        """Versions of each dossier, oldest first; within one batch the last one counts, a repetition is no version.

        What was deleted is no dossier; when it comes again, it is the same one with the same past.
        """
        histories: dict[str, list[Dossier]] = defaultdict(list)
        gone: set[str] = set()
        for batch in self.world.batches:
            gone |= batch.deleted
            for code, dossier in {dossier.dossier_code: dossier for dossier in batch.dossiers}.items():
                if not histories[code] or histories[code][-1] != dossier:
                    histories[code].append(dossier)
                gone.discard(code)
        return {code: history for code, history in histories.items() if code not in gone}

    def in_force(self, told: Callable[[Batch], Mapping[str, Told]]) -> list[Told]:
        """The latest version of each record that was not deleted since."""
        latest: dict[str, Told] = {}
        for batch in self.world.batches:
            for key in batch.deleted & latest.keys():
                del latest[key]
            latest |= told(batch)
        return list(latest.values())

    def ratings(self) -> list[Rating]:
        return self.in_force(lambda batch: {rating.rating_id: rating for rating in batch.ratings})

    def _petitions(self) -> dict[str, list[Petition]]:
        """The latest version of each petition that was received on a known day, by the unit that it names."""
        found: dict[str, list[Petition]] = defaultdict(list)
        for petition in self.in_force(lambda batch: {told.petition_id: told for told in batch.petitions}):
            unit_code = self.unit_of("portal", petition.department_id)
            if unit_code and petition.received_at:
                found[unit_code].append(petition)
        return found

    def _petition_spans(self) -> list[tuple[datetime, datetime]]:
        """Stretches of time of which every change of petitions was read, joined where they touch or overlap."""
        found: list[tuple[datetime, datetime]] = []
        for start, end in sorted(batch.petitions_read for batch in self.world.batches if batch.petitions_read):
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found

    def meaning(self, system: str, kind: str, source_code: str | None) -> str | None:
        """What a source's code means; null when the map says to ignore it."""
        if source_code is None:
            return None
        code = self.codes[(system, kind, source_code)]
        return None if code.treatment == "ignored" else code.target_code

    def unit_of(self, system: str, source_code: str | None) -> str | None:
        """The registered unit behind a source's code, if there is one."""
        unit_code = self.meaning(system, "unit", source_code)
        return unit_code if unit_code in self.units else None

    def local(self, moment: Moment, parameters: Mapping[str, str]) -> Local:
        at = moment.at.astimezone(self.zone)
        date_only = moment.is_date or (parameters["midnight_is_date"] == "true" and at.time() == time(0, 0, 0))
        return Local(at.date(), None if date_only else at.time())

    # -- A and B: one dossier

    def first_due(self, history: Sequence[Dossier]) -> Moment | None:
        """The due date the citizen was given first, as far as the versions seen can tell."""
        for version in history:
            if version.due_at is None:
                continue
            told = [item for item in version.supplements if item.due_before_at is not None]
            if told:
                earliest = min(told, key=_by_request)
                return earliest.due_before_at
            return version.due_at
        return None

    def due_moment(self, history: Sequence[Dossier], parameters: Mapping[str, str]) -> Local | None:
        """When the result was owed under the policy; None when nobody can say."""
        current = history[-1]
        basis = parameters["due_basis"]
        if basis == "source_current":
            due = current.due_at
        else:
            due = self.first_due(history)
            complete = [
                item
                for item in current.supplements
                if self.meaning("tthc", "supplement_status", item.status_code) == "received_in_full"
                and item.received_at is not None
                and item.due_after_at is not None
            ]
            if basis == "legal" and complete:
                last = max(complete, key=_by_receipt)
                due = last.due_after_at
        if due is not None:
            owed: Local | None = self.local(due, parameters)
        elif parameters["due_missing"] == "procedure":
            owed = self.due_by_procedure(current, parameters)
        else:
            owed = None
        if owed is not None and not self.days.is_working(owed.day):
            owed = Local(self.days.first_from(owed.day), None)
        return owed

    def due_by_procedure(self, dossier: Dossier, parameters: Mapping[str, str]) -> Local | None:
        """The due day that the procedure register implies."""
        if dossier.procedure_code is None or dossier.received_at is None:
            return None
        procedure = self.procedures.get(".".join(dossier.procedure_code.split(".")[:2]))
        if procedure is None:
            return None
        received = self.local(dossier.received_at, parameters)
        if procedure.is_at_once:
            hour, minute = parameters["at_once_cutoff"].split(":")
            if received.clock is not None and received.clock >= time(int(hour), int(minute)):
                return Local(self.days.first_from(received.day + ONE_DAY), None)
            return Local(received.day, None)
        if procedure.limit_working_days is None:
            return None
        return Local(self.days.nth_after(received.day, procedure.limit_working_days), None)

    def returns(self, dossier: Dossier, result: Local, parameters: Mapping[str, str]) -> int:
        """How many times the dossier was handed back for completion before its result."""
        received = self.local(dossier.received_at, parameters) if dossier.received_at else None
        counted = set()
        for item in dossier.supplements:
            if self.meaning("tthc", "supplement_status", item.status_code) in ("fee", "cancelled"):
                continue
            if item.requested_at is None:
                continue
            requested = self.local(item.requested_at, parameters)
            if (received is None or not_after(received, requested)) and not_after(requested, result):
                counted.add(item.supplement_id)
        return len(counted)

    def dossier_outcome(self, history: Sequence[Dossier], parameters: Mapping[str, str]) -> Outcome | None:
        """Day, unit, points and exclusions of one dossier, or None when it has no result."""
        dossier = history[-1]
        status = self.meaning("tthc", "dossier_status", dossier.status_code)
        if status not in parameters["result_statuses"].split(","):
            return None
        moment = dossier.finished_at or dossier.returned_at
        if moment is None:
            return None
        result = self.local(moment, parameters)
        by_receiver = parameters["attribution"] == "receiving"
        unit_code = self.unit_of("tthc", dossier.receiving_unit if by_receiver else dossier.resolving_unit)
        due = self.due_moment(history, parameters)
        returns = self.returns(dossier, result, parameters)
        excluded = None
        if dossier.is_test_record:
            excluded = "test_record"
        elif dossier.received_at and not not_after(self.local(dossier.received_at, parameters), result):
            excluded = "finish_before_receipt"
        a_excluded = excluded or ("no_due_date" if due is None else None)
        if parameters["inherited_overdue"] == "exclude" and not a_excluded and due and unit_code:
            a_excluded = (
                "inherited_overdue" if self.was_overdue_before(unit_code, dossier.received_at, due, result) else None
            )
        b_excluded = excluded
        if not excluded and parameters["b_population"] == "returned" and returns == 0:
            b_excluded = "not_returned"
        beyond = returns
        if parameters["b_threshold"] == "beyond_permitted":
            beyond -= self.permitted_returns(dossier, parameters)
        return Outcome(
            dossier_code=dossier.dossier_code,
            unit_code=unit_code,
            day=result.day,
            due=due,
            a_point=self.timeliness(due, result, parameters) if due and not a_excluded else None,
            a_excluded=a_excluded,
            b_point=None if b_excluded else Fraction(beyond <= int(parameters["b_max_returns"])),
            b_excluded=b_excluded,
            returns=returns,
        )

    def steps(self, history: Sequence[Dossier], parameters: Mapping[str, str]) -> list[tuple[str, Counted]]:
        """Own steps of the units that take part in a dossier with a result, by unit, on the day of that result."""
        dossier, outcome = history[-1], self.dossier_outcome(history, parameters)
        if outcome is None or not dossier.is_interlinked:
            return []
        once: dict[str, Participant] = {}
        for step in dossier.participants:
            told = once.get(step.participant_id)
            once[step.participant_id] = step if told is None else max(told, step, key=_by_finish)
        found = []
        for step in once.values():
            unit_code = self.unit_of("tthc", step.unit_code)
            if unit_code:
                point = self.step_point(step, unit_code, dossier.is_test_record, parameters)
                found.append((unit_code, Counted(outcome.day, point, None if point is not None else "step")))
        return found

    def step_point(
        self, step: Participant, unit_code: str, is_test: bool, parameters: Mapping[str, str]
    ) -> Fraction | None:
        """The point of one step by its own receipt and limit, or None when it does not count."""
        if is_test or step.finished_at is None or step.due_at is None:
            return None
        finished, due = self.local(step.finished_at, parameters), self.local(step.due_at, parameters)
        if step.received_at and not not_after(self.local(step.received_at, parameters), finished):
            return None
        if not self.days.is_working(due.day):
            due = Local(self.days.first_from(due.day), None)
        if parameters["inherited_overdue"] == "exclude" and self.was_overdue_before(
            unit_code, step.received_at, due, finished
        ):
            return None
        return self.timeliness(due, finished, parameters)

    def was_overdue_before(self, unit_code: str, received_at: Moment | None, due: Local, result: Local) -> bool:
        """Received, and overdue, before the unit that gives the result existed."""
        if received_at is None:
            return False
        received = received_at.at.astimezone(self.zone).date()
        return max(received, due.day) < self.units[unit_code].valid_from <= result.day

    def permitted_returns(self, dossier: Dossier, parameters: Mapping[str, str]) -> int:
        """How often the register lets this procedure ask for more."""
        procedure = self.procedures.get(".".join((dossier.procedure_code or "").split(".")[:2]))
        return int(parameters["b_permitted_default"]) if procedure is None else procedure.permitted_supplements

    def timeliness(self, due: Local, result: Local, parameters: Mapping[str, str]) -> Fraction:
        if not_after(result, due):
            return Fraction(1)
        if self.days.between(due.day, result.day) <= int(parameters["a_grace_working_days"]):
            return Fraction(parameters["a_point_within_grace"])
        return Fraction(0)

    # -- C: one rating

    def rated_unit(self, rating: Rating) -> str | None:
        """Whose rating this is."""
        if rating.unit_code is not None:
            named = self.unit_of("rating", rating.unit_code)
            if named is not None:
                return named
        history = self.histories.get(rating.dossier_code) if rating.dossier_code else None
        if self.meaning("rating", "rating_channel", rating.channel_code) in ("desk", "kiosk"):
            if history:
                return self.unit_of("tthc", history[-1].receiving_unit)
            device_unit = self.meaning("rating", "device", rating.device_code)
            return device_unit if device_unit in self.units else None
        return self.unit_of("tthc", history[-1].resolving_unit) if history else None

    def attitude(self, rating: Rating, parameters: Mapping[str, str]) -> Fraction | None:
        """The point of a rating, or None when it does not answer the policy's question or came another way."""
        question = self.meaning("rating", "rating_question", rating.question_code)
        if rating.question_code is not None and question != parameters["c_question"]:
            return None
        if parameters["c_channels"] == "art7" and not self.is_of_article_7(rating, parameters):
            return None
        level = self.meaning("rating", "rating_level", rating.level_code)
        level_class = self.level_classes[level or ""]
        good = level_class == "good" or (level_class == "middle" and parameters["c_middle_level"] == "good")
        return Fraction(good)

    def is_of_article_7(self, rating: Rating, parameters: Mapping[str, str]) -> bool:
        """Given in the city's own system about a dossier that has its result."""
        if self.meaning("rating", "rating_channel", rating.channel_code) != "city_system":
            return False
        history = self.histories.get(rating.dossier_code or "")
        if not history:
            return False
        dossier = history[-1]
        status = self.meaning("tthc", "dossier_status", dossier.status_code)
        has_moment = dossier.finished_at is not None or dossier.returned_at is not None
        return has_moment and status in parameters["result_statuses"].split(",")

    # -- events by unit

    def events(self, parameters: Mapping[str, str]) -> dict[str, dict[str, list[Counted]]]:
        """Dated points of A, B and C by unit."""
        found: dict[str, dict[str, list[Counted]]] = {index: defaultdict(list) for index in "ABC"}
        for history in self.histories.values():
            outcome = self.dossier_outcome(history, parameters)
            steps = self.steps(history, parameters) if parameters["interlinked"] == "participants" else []
            for unit_code, step in steps:
                found["A"][unit_code].append(step)
            if outcome and outcome.unit_code:
                if all(unit_code != outcome.unit_code for unit_code, _ in steps):
                    found["A"][outcome.unit_code].append(Counted(outcome.day, outcome.a_point, outcome.a_excluded))
                found["B"][outcome.unit_code].append(Counted(outcome.day, outcome.b_point, outcome.b_excluded))
        points = [(rating, self.attitude(rating, parameters)) for rating in self.ratings()]
        counted = [(rating, point) for rating, point in points if point is not None]
        last: dict[tuple[str, date], Rating] = {}
        for rating, _ in counted:
            if rating.dossier_code is not None:
                key = (rating.dossier_code, self.local(rating.rated_at, parameters).day)
                last[key] = max(last.get(key, rating), rating, key=lambda r: (r.rated_at.at, r.rating_id))
        for rating, point in counted:
            day, unit_code = self.local(rating.rated_at, parameters).day, self.rated_unit(rating)
            is_repeated = (
                parameters["c_repeat"] == "last_per_dossier_day"
                and rating.dossier_code is not None
                and last[rating.dossier_code, day] is not rating
            )
            if unit_code:
                event = Counted(day, None, "repeated") if is_repeated else Counted(day, point)
                found["C"][unit_code].append(event)
        return found

    def portal_rows(self) -> dict[tuple[str, date, date], PortalRow]:
        """The latest portal row by unit and (inclusive) window."""
        rows = {}
        for batch in self.world.batches:
            for row in batch.portal_rows:
                unit_code = self.unit_of("portal", row.department_id) if not row.is_overview else None
                if unit_code and row.group_code == SATISFACTION_GROUP:
                    rows[(unit_code, row.window_from, row.window_to)] = row
        return rows

    def checks(self) -> dict[tuple[str, str], list[Checked]]:
        """Checks by unit and place: day, whether it passed, whether the unit checked itself."""
        found: dict[tuple[str, str], list[Checked]] = defaultdict(list)
        for check in self.in_force(lambda batch: {told.check_id: told for told in batch.posting_checks}):
            unit_code = self.unit_of("inspection", check.unit_code)
            place = self.meaning("inspection", "posting_place", check.place_code)
            result = self.meaning("inspection", "posting_result", check.result_code)
            if unit_code and place and result:
                by_itself = self.meaning("inspection", "checker_kind", check.checker_kind_code) == "self"
                found[(unit_code, place)].append((check.checked_on, result == "pass", by_itself))
        return found

    # -- D: petitions counted again

    def petitions_judged_at(self, window: Window, row: PortalRow | None) -> tuple[datetime, datetime] | None:
        """(judged as of, read until), or None where petitions were not read for all of the window, as far as it has gone."""
        asked = row.retrieved_at if row else self.last_asked
        last = window.end if asked is None else min(window.end, asked.astimezone(self.zone).date())
        for start, end in self.petition_spans:
            if start <= self.midnight(window.start) and self.midnight(last) <= end:
                return (min(row.retrieved_at, end) if row else end), end
        return None

    def midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone)

    def petition_due(self, petition: Petition, parameters: Mapping[str, str]) -> Local | None:
        """When the answer is due: by the portal's date, else by the term of Decision 766; a day off moves it."""
        if petition.due_at is not None:
            due = self.local(petition.due_at, parameters)
            return due if self.days.is_working(due.day) else Local(self.days.first_from(due.day), None)
        assert petition.received_at is not None
        received = self.day(petition.received_at)
        for term in self.terms:
            if term.term_code == "answer" and term.is_in_force(received):
                return Local(self.days.nth_after(received, term.working_days), None)
        return None

    def is_refused(self, petition: Petition, judged_at: datetime) -> bool:
        status = self.meaning("portal", "petition_status", petition.status_code)
        refused = status == "refused" if status else petition.refused_at is not None and petition.answered_at is None
        return refused and (petition.refused_at is None or petition.refused_at.at <= judged_at)

    def recount(
        self, unit: Unit, window: Window, row: PortalRow | None, parameters: Mapping[str, str]
    ) -> Recount | None:
        """Petitions received in the window, one by one, as of the moment at which the portal was asked."""
        found = self.petitions_judged_at(window, row)
        if found is None:
            return None
        judged_at, read_until = found
        now = judged_at.astimezone(self.zone).replace(tzinfo=None)
        count = Recount(judged_at, read_until)
        for petition in self.petitions.get(unit.unit_code, ()):
            received = petition.received_at
            assert received is not None
            if not window.start <= self.day(received) < window.end or received.at > judged_at:
                continue
            due, answered = self.petition_due(petition, parameters), petition.answered_at
            if self.is_refused(petition, judged_at):
                count.add("refused", petition)
            elif answered is not None and answered.at <= judged_at:
                count.add("counted", petition)
                count.in_time += due is not None and not_after(self.local(answered, parameters), due)
                count.satisfied += petition.is_satisfied is True
            elif due and (due.day < now.date() if due.clock is None else due.instant < now):
                count.add("counted", petition)
                count.add("unanswered", petition)
            else:
                count.add("not_yet_due", petition)
        return count

    # -- what came in and what became of it

    def lives(self, last_day: date) -> list[Life]:
        """Every dossier that is no test, by the days of its life; `last_day` is the last that was read."""
        found = []
        for history in self.histories.values():
            dossier = history[-1]
            outcome = OUTCOMES.get(self.meaning("tthc", "dossier_status", dossier.status_code) or "")
            if dossier.is_test_record or outcome is None:
                continue
            moment = dossier.finished_at or dossier.returned_at
            received = self.day(dossier.received_at) if dossier.received_at else None
            result = self.day(moment) if moment else None
            policy = self.policy_on(last_day if outcome == "open" else result)
            by_receiver = policy is not None and policy.parameters["attribution"] == "receiving"
            unit = self.unit_of("tthc", dossier.receiving_unit if by_receiver else dossier.resolving_unit)
            start = received or (None if outcome == "open" else result)
            if unit is None or start is None or (outcome == "open" and policy is None):
                continue
            if outcome == "open":
                assert policy is not None
                due = self.due_moment(history, policy.parameters)
                found.append(Life(unit, start, None, outcome, max(start, due.day) if due else None, None, False))
                continue
            end = start
            if outcome in ("resolved", "stopped"):
                outcome, end = (outcome, max(start, result)) if result else ("without_moment", start)
            told = self.dossier_outcome(history, policy.parameters) if policy and result else None
            overdue, inherited = None, False
            if told and told.due and told.a_excluded in (None, "inherited_overdue"):
                late_after = max(start, told.due.day)
                overdue = late_after if late_after < told.day else None
                valid_from = self.units[unit].valid_from
                inherited = received is not None and max(received, told.due.day) < valid_from <= told.day
            found.append(Life(unit, start, end, outcome, overdue, told.day if told and overdue else None, inherited))
        return found

    def day(self, moment: Moment) -> date:
        return moment.at.astimezone(self.zone).date()

    def policy_on(self, day: date | None) -> Policy | None:
        """The policy in force on a day."""
        for policy in self.policies:
            if day and policy.valid_from <= day and (policy.valid_to is None or day < policy.valid_to):
                return policy
        return None

    def flows(self, periods: Iterable[Period], last_day: date, index_rows: Sequence[Row] | None = None) -> list[Row]:
        """Rows of dossier_flow: every dossier of the unit is looked at anew for every window (of index A)."""
        lives: dict[str, list[Life]] = defaultdict(list)
        for life in self.lives(last_day):
            lives[life.unit_code].append(life)
        rows = []
        for a in (row for row in index_rows or self.score(periods)[0] if row["index_code"] == "A"):
            start, end, own = a["window_start"], a["window_end"], lives[str(a["unit_code"])]
            assert isinstance(start, date) and isinstance(end, date)
            overdue = sum(life.is_overdue_at(end) for life in own)
            ended = [life.outcome for life in own if life.ended and start <= life.ended < end]
            counted = None
            if a["status"] in ("scored", "no_data"):
                points, dossiers = Fraction(str(a["numerator"])), Fraction(str(a["denominator"])) + overdue
                counted = rounded(points / dossiers, 15) if dossiers else None
            received = sum(start <= life.received < end for life in own)
            rows.append({
                "period_code": a["period_code"], "unit_code": a["unit_code"],
                "open_at_start": sum(life.is_open_at(start) for life in own), "received": received,
                **{outcome: ended.count(outcome) for outcome in ENDS},
                "open_at_end": sum(life.is_open_at(end) for life in own),
                "open_overdue": overdue,
                "inherited_overdue": sum(life.is_inherited and start <= life.judged_on < end for life in own if life.judged_on),
                "a_with_open": counted,
                "withdrawn_per_1000": rounded(Fraction(1000 * ended.count("withdrawn"), received), 15) if received else None,
            })  # fmt: skip
        return rows

    # -- windows

    def policy_of(self, period: Period) -> Policy:
        """The policy in force on the last day of the period, else the first there ever was."""
        last_day = period.end - ONE_DAY
        for policy in self.policies:
            if policy.valid_from <= last_day and (policy.valid_to is None or last_day < policy.valid_to):
                return policy
        return self.policies[0]

    def score(self, periods: Iterable[Period]) -> tuple[list[Row], list[Row]]:
        """Rows of index_score and of k_score for the periods."""
        portal, checks = self.portal_rows(), self.checks()
        events_by_policy: dict[str, dict[str, dict[str, list[Counted]]]] = {}
        index_rows: list[Row] = []
        k_rows: list[Row] = []
        for period in periods:
            policy = self.policy_of(period)
            if policy.policy_id not in events_by_policy:
                events_by_policy[policy.policy_id] = self.events(policy.parameters)
            of_period = []
            for unit in self.world.units:
                window = window_of(period, unit, policy)
                if not unit.is_scored or window is None:
                    continue
                row = self._row(period, unit, policy, window, events_by_policy[policy.policy_id], portal, checks)
                index_rows.extend(row.indices)
                of_period.append(row.k)
            add_ranks(of_period, int(policy.parameters["rank_scale"]))
            k_rows.extend(of_period)
        return index_rows, k_rows

    def _row(
        self,
        period: Period,
        unit: Unit,
        policy: Policy,
        window: Window,
        events: Mapping[str, Mapping[str, Sequence[Counted]]],
        portal: Mapping[tuple[str, date, date], PortalRow],
        checks: Mapping[tuple[str, str], Sequence[Checked]],
    ) -> UnitRow:
        portal_row = portal.get((unit.unit_code, period.start, period.end - ONE_DAY))
        recount = None if window.before_policy else self.recount(unit, window, portal_row, policy.parameters)
        scores: dict[str, Score] = {}
        for index in INDICES:
            barred = not_owed(index, unit, window, policy)
            if barred:
                scores[index] = barred
            elif index in "ABC":
                reason = "no_rating" if index == "C" else "no_resolved_dossier"
                scores[index] = quotient(events[index].get(unit.unit_code, ()), window, reason)
            elif index == "D":
                scores[index] = petitions(portal_row, policy, recount)
            else:
                scores[index] = posting(unit, window, checks, policy.parameters)
        common: Row = {
            "period_code": period.period_code,
            "calendar_code": policy.calendar_code,
            "unit_code": unit.unit_code,
            "policy_id": policy.policy_id,
            "window_start": window.start,
            "window_end": window.end,
        }
        indices = [{**common, "index_code": index, **scores[index].columns()} for index in INDICES]
        k = total(unit, window, policy, scores, petition_counts(portal_row, policy, recount))
        return UnitRow(indices, {**common, **k, "window_clipped": ";".join(window.clipped) or None})


@dataclass(frozen=True)
class UnitRow:
    """The rows of one unit in one period."""

    indices: list[Row]
    k: Row


@dataclass(frozen=True)
class Window:
    """The days of a period that count for a unit."""

    start: date
    end: date
    clipped: tuple[str, ...]
    before_policy: bool

    @property
    def days(self) -> int:
        return (self.end - self.start).days


def window_of(period: Period, unit: Unit, policy: Policy) -> Window | None:
    """Period ∩ unit ∩ policy; None when the unit does not exist in the period.

    What lies wholly before the policy keeps its days, so that the row can say which days are not judged. Each reason is said
    that alone would shorten the period.
    """
    start, end = max(period.start, unit.valid_from), min(period.end, unit.valid_to or period.end)
    if start >= end:
        return None
    clipped = []
    if unit.valid_from > period.start:
        clipped.append("unit_started")
    if unit.valid_to and unit.valid_to < period.end:
        clipped.append("unit_ended")
    if end <= policy.valid_from:
        return Window(start, end, tuple(clipped), before_policy=True)
    if policy.valid_from > period.start:
        clipped.append("policy_started")
        start = max(start, policy.valid_from)
    if policy.valid_to and policy.valid_to < period.end:
        clipped.append("policy_ended")
        end = min(end, policy.valid_to)
    return Window(start, end, tuple(clipped), before_policy=False)


# ---------------------------------------------------------------- indices


@dataclass(frozen=True)
class Score:
    """One index of one unit; `value` only when scored, `excluded` only for A, B, C, where something can be."""

    status: str
    reason: str | None
    numerator: Fraction | None = None
    denominator: Fraction | None = None
    excluded: int | None = None
    value: Fraction | None = None

    def columns(self) -> Row:
        return {
            "numerator": None if self.numerator is None else rounded(self.numerator, 15),
            "denominator": None if self.denominator is None else rounded(self.denominator, 15),
            "excluded": self.excluded,
            "value": None if self.value is None else rounded(self.value, 15),
            "status": self.status,
            "status_reason": self.reason,
        }


def unit_bar(unit: Unit, window: Window, policy: Policy, index: str) -> str | None:
    """Why a unit does not owe an index (or K), in the order in which it is said."""
    if unit.parent_unit_code is not None and index in ("D", "E", "K"):
        return "sub_unit"
    if unit.is_receiving_only and index in ("A", "B", "D", "K"):
        return "receiving_only"
    if window.days < int(policy.parameters["min_window_days"]):
        return "window_too_short"
    return None


def not_owed(index: str, unit: Unit, window: Window, policy: Policy) -> Score | None:
    if window.before_policy:
        return Score("before_rule", "before_policy")
    reason = unit_bar(unit, window, policy, index)
    if reason is None and index == "E" and not required_places(unit):
        reason = "no_posting_place"
    return Score("not_applicable", reason) if reason else None


def quotient(events: Sequence[Counted], window: Window, reason_when_empty: str) -> Score:
    """A, B, C: points over what was counted, in the window."""
    inside = [event for event in events if window.start <= event.day < window.end]
    points = [event.point for event in inside if event.point is not None]
    excluded = len(inside) - len(points)
    total_points = sum(points, Fraction(0))
    if not points:
        if any(
            event.excluded == "not_returned" for event in inside
        ):  # nobody had to come back: nothing to find fault with
            return Score("scored", None, Fraction(0), Fraction(0), excluded, Fraction(1))
        return Score("no_data", reason_when_empty, Fraction(0), Fraction(0), excluded)
    count = Fraction(len(points))
    return Score("scored", None, total_points, count, excluded, total_points / count)


def petition_weight(policy: Policy) -> Fraction:
    """By how much a point of the portal's petition metrics counts in D."""
    if policy.parameters["d_definition"] == "petition_rescaled":
        return Fraction(policy.parameters["d_max"]) / (2 * Fraction(policy.parameters["d_metric_max"]))
    return Fraction(1)


STATES = ("refused", "not_yet_due", "counted", "unanswered")  # unanswered ones are counted too


@dataclass
class Recount:
    """Petitions of a unit and window by what became of them: each once, and each time one was sent again as one more."""

    judged_at: datetime
    read_until: datetime
    once: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    as_new: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    in_time: int = 0
    satisfied: int = 0

    def add(self, state: str, petition: Petition) -> None:
        self.once[state] += 1
        self.as_new[state] += 1 + (petition.resent_count or 0)

    def metrics(self, counting: str = "as_new") -> list[tuple[int, int]]:
        """Numerator and denominator of both petition metrics. One answer stands in a record, whatever was sent again."""
        opinions = self.as_new["counted"] if counting == "as_new" else self.once["counted"]
        return [(self.in_time, opinions), (self.satisfied, opinions)]


def metric_points(counts: Iterable[tuple[int, int]], most: Fraction) -> Fraction:
    """The portal's formula of its petition metrics, summed: everything where there was nothing."""
    return sum((most * Fraction(n, d) if d > 0 else most for n, d in counts), Fraction(0))


def petitions(row: PortalRow | None, policy: Policy, recount: Recount | None, counting: str = "as_new") -> Score:
    """D: the portal's own total for the unit's own row and the whole period, or what another definition makes of it."""
    if row is None:
        return Score("no_data", "no_portal_row")
    parameters = policy.parameters
    silent = "blocked_by_quality" if row.total_petitions > 0 else "no_data"
    rated = metric_of(row, DOSSIERS_RATED)
    is_nobody_rated = parameters["d_zero_dossier"] == "no_data" and rated is not None and rated.denominator == 0
    if parameters["d_definition"] == "recomputed_104":
        most: Fraction | None = Fraction(parameters["d_max"])
        if rated is None or rated.score is None:
            return Score(silent, "portal_score_missing", None, most)
        if is_nobody_rated:
            return Score("no_data", "no_dossier_rated", None, most)
        if recount is None:
            return Score("no_data", "petitions_not_read", None, most)
        points = metric_points(recount.metrics(counting), Fraction(parameters["d_metric_max"]))
        value = points + Fraction(rated.score)
        return Score("scored", None, value, most, value=value)
    if parameters["d_definition"] in ("petition_rescaled", "petition_12"):
        most = Fraction(parameters["d_max"])
        if parameters["d_definition"] == "petition_12":
            most = 2 * Fraction(parameters["d_metric_max"])
        scores = [
            metric.score if metric else None for metric in (metric_of(row, ON_TIME), metric_of(row, HANDLED_WELL))
        ]
        known = [Fraction(score) for score in scores if score is not None]
        if len(known) < len(scores):
            return Score(silent, "portal_score_missing", None, most)
        value = sum(known, Fraction(0)) * petition_weight(policy)
        return Score("scored", None, value, most, value=value)
    most = None if row.total_max_score is None else Fraction(row.total_max_score)
    if row.total_score is None:
        return Score(silent, "portal_score_missing", None, most)
    if is_nobody_rated:
        return Score("no_data", "no_dossier_rated", None, most)
    return Score("scored", None, Fraction(row.total_score), most, value=Fraction(row.total_score))


def petition_counts(row: PortalRow | None, policy: Policy, recount: Recount | None) -> list[tuple[int, int] | None]:
    """What the petition part of D rests on: (good, all) of the metric in time and of the metric handled well."""
    if policy.parameters["d_definition"] == "recomputed_104":
        return [*recount.metrics()] if row and recount else [None, None]
    pair = (metric_of(row, ON_TIME), metric_of(row, HANDLED_WELL))
    return [
        (metric.numerator, metric.denominator)
        if metric and metric.numerator is not None and metric.denominator is not None
        else None
        for metric in pair
    ]


def required_places(unit: Unit) -> list[str]:
    return sorted({place.strip() for place in (unit.posting_places or "").split(";") if place.strip()})


def posting(
    unit: Unit, window: Window, checks: Mapping[tuple[str, str], Sequence[Checked]], parameters: Mapping[str, str]
) -> Score:
    """E: every required place checked lately, and passed on the day of its latest check (or all through the window)."""
    last_day, valid_days = window.end - ONE_DAY, int(parameters["e_valid_days"])
    passed, unchecked = 0, []
    places = required_places(unit)
    for place in places:
        told = [
            (day, ok)
            for day, ok, by_itself in checks.get((unit.unit_code, place), ())
            if day <= last_day and not (by_itself and parameters["e_self_check"] == "authority_only")
        ]
        if parameters["e_basis"] == "any_failure" and any(day >= window.start and not ok for day, ok in told):
            continue
        valid = [(day, ok) for day, ok in told if (last_day - day).days <= valid_days]
        if not valid:
            unchecked.append(place)
            continue
        latest = max(day for day, _ in valid)
        passed += all(ok for day, ok in valid if day == latest)
    counts = (Fraction(passed), Fraction(len(places)))
    if unchecked:
        return Score("awaiting_input", "posting_unchecked:" + ",".join(unchecked), *counts)
    return Score("scored", None, *counts, value=Fraction(passed == len(places)))


# ---------------------------------------------------------------- K


def maxima(policy: Policy) -> dict[str, Fraction]:
    return {index: Fraction(policy.parameters["d_max"]) if index == "D" else Fraction(1) for index in INDICES}


def verdict_of(k: Fraction, parameters: Mapping[str, str]) -> str:
    """The verdict of a rounded K."""
    threshold = Fraction(parameters["k_threshold"])
    if k == threshold:
        return parameters["k_equal"]
    return "satisfied" if k > threshold else "not_satisfied"


def stretch_of(values: Mapping[str, Fraction | None], policy: Policy, missing_index: str) -> Fraction | None:
    """By what the sum of the indices that are there is multiplied to make K; None when it makes none."""
    most = maxima(policy)
    present = sum((most[index] for index, value in values.items() if value is not None), Fraction(0))
    whole = sum(most.values(), Fraction(0))
    if present == whole or missing_index == "zero":
        return Fraction(1)
    return whole / present if missing_index == "rescale" and present else None


def k_with_missing(values: Mapping[str, Fraction | None], policy: Policy, missing_index: str) -> Fraction | None:
    """K when an index is missing, under each reading of `missing_index`; rounded to k_scale."""
    stretch = stretch_of(values, policy, missing_index)
    if stretch is None:
        return None
    k = sum((value for value in values.values() if value is not None), Fraction(0)) * stretch
    return Fraction(rounded(k, int(policy.parameters["k_scale"])))


def bound_of(values: Mapping[str, Fraction | None], policy: Policy) -> str:
    """What can be said of the verdict whatever the missing indices turn out to be."""
    threshold = Fraction(policy.parameters["k_threshold"])
    scale = int(policy.parameters["k_scale"])
    most = maxima(policy)
    least = sum((value for value in values.values() if value is not None), Fraction(0))
    best = least + sum(most[index] for index, value in values.items() if value is None)
    if rounded(least, scale) > threshold:
        return "satisfied_whatever"
    return "not_satisfied_whatever" if rounded(best, scale) < threshold else "open"


def metric_of(row: PortalRow | None, code: str) -> Metric | None:
    return next((metric for metric in row.metrics if metric.code == code), None) if row else None


def hangs_on_one_petition(
    counts: Sequence[tuple[int, int] | None], present: Fraction, stretch: Fraction, verdict: str, policy: Policy
) -> bool:
    """Whether one petition more or fewer, good or bad in both metrics together, would change the verdict."""
    known = [pair for pair in counts if pair is not None]
    if len(known) < 2:
        return False
    changes = [[(n, d + 1) for n, d in known], [(n + 1, d + 1) for n, d in known]]
    if all(n < d for n, d in known):
        changes.append([(n, d - 1) for n, d in known])
    if all(n > 0 for n, d in known):
        changes.append([(n - 1, d - 1) for n, d in known])
    most, scale, weight = Fraction(6), int(policy.parameters["k_scale"]), petition_weight(policy)
    own = metric_points(known, most)
    alternatives = [(present + weight * (metric_points(change, most) - own)) * stretch for change in changes]
    return any(verdict_of(Fraction(rounded(k, scale)), policy.parameters) != verdict for k in alternatives)


def total(
    unit: Unit,
    window: Window,
    policy: Policy,
    scores: Mapping[str, Score],
    counts: Sequence[tuple[int, int] | None],
) -> Row:
    """K of one unit: value, verdict, bounds and flags (the rank comes when the period is complete)."""
    parameters = policy.parameters
    values = {index: scores[index].value for index in INDICES}
    row: Row = {
        "unit_name": unit.unit_name,
        "peer_group": unit.peer_group,
        "peer_group_name": unit.peer_group_name,
        "unit_kind": unit.unit_kind,
        "parent_unit_code": unit.parent_unit_code,
        **{index.lower(): None if value is None else rounded(value, 15) for index, value in values.items()},
        "k": None,
        "verdict": None,
        "verdict_bound": None,
        "rank_in_group": None,
        "small_sample": False,
        "near_threshold": False,
        "no_petitions": counts[0] is not None and counts[0][1] == 0,
    }
    barred = unit_bar(unit, window, policy, "K")
    missing = [f"{index}:{scores[index].status}" for index in INDICES if scores[index].status != "scored"]
    if window.before_policy:
        return {**row, "status": "before_rule", "status_reason": "before_policy"}
    if barred:
        return {**row, "status": "not_applicable", "status_reason": barred}
    reason = ",".join(missing) or None
    stretch = stretch_of(values, policy, parameters["missing_index"])
    if stretch is None:
        return {**row, "status": "incomplete", "status_reason": reason, "verdict_bound": bound_of(values, policy)}
    present = sum((value for value in values.values() if value is not None), Fraction(0))
    k = rounded(present * stretch, int(parameters["k_scale"]))
    verdict = verdict_of(Fraction(k), parameters)
    distance = abs(Fraction(k) - Fraction(parameters["k_threshold"]))
    return {
        **row,
        "k": k,
        "verdict": verdict,
        "status": "scored",
        "status_reason": reason,
        "small_sample": values["D"] is not None and hangs_on_one_petition(counts, present, stretch, verdict, policy),
        "near_threshold": distance <= Fraction(parameters["near_threshold_distance"]),
    }


def add_ranks(rows: Sequence[Row], rank_scale: int) -> None:
    """Ranks inside each peer group among complete, unclipped rows; equal K (as shown) share a rank: 1, 1, 3."""
    groups: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == "scored" and row["window_clipped"] is None:
            groups[row["peer_group"]].append(row)
    for members in groups.values():
        shown = [rounded(Fraction(str(row["k"])), rank_scale) for row in members]
        for row, own in zip(members, shown, strict=True):
            row["rank_in_group"] = 1 + sum(other > own for other in shown)


NEVER = datetime.max.replace(tzinfo=ZoneInfo("UTC"))


def _by_finish(step: Participant) -> tuple[float, ...]:
    """The one that finished last; of those the one that was due, then received, first; the unknown after the known."""

    def instant(moment: Moment | None, unknown: float) -> float:
        return moment.at.timestamp() if moment else unknown

    return (
        instant(step.finished_at, -math.inf),
        -instant(step.due_at, math.inf),
        -instant(step.received_at, math.inf),
    )


def _by_receipt(item: Supplement) -> tuple[datetime, str, datetime, bool]:
    """The last to come, of one told twice the later date."""
    assert item.received_at is not None and item.due_after_at is not None
    return (item.received_at.at, item.supplement_id, item.due_after_at.at, not item.due_after_at.is_date)


def _by_request(item: Supplement) -> tuple[bool, datetime, str, datetime, bool]:
    """The first that was asked, of one told twice the earlier date."""
    assert item.due_before_at is not None
    requested = item.requested_at.at if item.requested_at else NEVER
    return (item.requested_at is None, requested, item.supplement_id, item.due_before_at.at, item.due_before_at.is_date)


# ---------------------------------------------------------------- the default calendar of periods


def mid_month_periods(first_month: tuple[int, int], last_month: tuple[int, int]) -> list[Period]:
    """Months (15th to 14th), and the quarters and years that end in them, oldest first."""
    periods = []
    year, month = first_month
    while (year, month) <= last_month:
        end = date(year, month, 15)
        periods.append(Period(f"{year}-{month:02d}", "month", back(end, 1), end))
        if month % 3 == 0:
            periods.append(Period(f"{year}-Q{month // 3}", "quarter", back(end, 3), end))
        if month == 12:
            periods.append(Period(f"{year}", "year", back(end, 12), end))
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return periods


def back(day: date, months: int) -> date:
    """The same day so many months earlier (for days that every month has)."""
    count = day.year * 12 + day.month - 1 - months
    return date(count // 12, count % 12 + 1, day.day)


def overlapping(periods: Iterable[Period], since: date, until: date) -> list[Period]:
    """Periods that share a day with [since, until)."""
    return [period for period in periods if period.end > since and period.start < until]
