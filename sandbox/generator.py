"""The generated city: every dossier, rating, petition and posting check, built from an intention.

A dossier is not random data that somebody scores afterwards. For each one the generator first decides what is to
happen (done in time, late by n working days, sent back twice, stopped …) and then finds dates that make it so. The
intention is kept beside the dates; `truth.py` adds intentions up.

All moments are whole seconds of local wall time since 1970-01-01 (`options.seconds`), -1 where there is none.
Vectorised: 60,000 dossiers take well under a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.options import Options, reporting_month, seconds
from sandbox.registers import Unit, devices, procedures, units
from sandbox.workdays import calendar, number

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

DAY = 86_400
NONE = -1
MAX_REQUESTS = 4
CUTOFF = 15 * 3600  # Decree 23/2015, Art. 7: from here on "the same day" means the next working day

# What becomes of a dossier.
OPEN, NOT_ACCEPTED, WITHDRAWN, STOPPED, DONE = 0, 3, 7, 8, 9
# State of a request for supplement (source codes).
ASKED, FULL, PART, CANCELLED, FEE = 1, 2, 3, 4, 5
# Why a result is not in A's population.
NO_EXCLUSION, TEST_RECORD, FINISH_BEFORE_RECEIPT, NO_DUE_DATE = 0, 1, 2, 3
EXCLUSIONS = ("", "test_record", "finish_before_receipt", "no_due_date")
# How a unit's software writes moments.
TIMES, MIDNIGHTS, DUE_MIDNIGHT, DATES = 0, 1, 2, 3
# Ways in which a record can be unreadable.
BAD_KINDS = ("impossible_date", "missing_key", "unknown_unit", "wrong_type")

# Random streams: one per topic, so that a change in one leaves the others as they were.
UNITS, DOSSIERS, EXTENSIONS, RATINGS, PETITIONS, POSTING = range(1, 7)


@dataclass(frozen=True)
class Behaviour:
    """How each unit (by index) works; drawn once per seed."""

    weight: Floats
    late: Floats
    returned: Floats
    style: Ints
    rating_rate: Floats
    good: Floats
    portal_good: Floats
    petition_weight: Floats
    petition_fails: Floats
    roles: dict[str, tuple[int, ...]]

    def role(self, name: str) -> tuple[int, ...]:
        return self.roles[name]


@dataclass(frozen=True)
class Dossiers:
    """Columns of equal length, one row per dossier; requests have a second axis of `MAX_REQUESTS` + fee + after."""

    code: list[str]
    unit: Ints  # resolving unit; -1: the sources' test unit, mapped to nothing
    receiver: Ints
    procedure: Ints
    channel: Ints
    style: Ints
    alias: Bools  # sends the unit's other code form
    lag: Ints  # from the event to its appearance in the feed
    outcome: Ints
    received: Ints
    shows_due: Bools
    first_due: Ints
    legal_due: Ints
    process: Ints
    finished: Ints  # when it happened (and began to be visible)
    shown_finish: Ints  # the moment that the record states
    handed: Ints
    finish_field_missing: Bools
    request_at: Ints
    request_answered: Ints
    request_kind: Ints
    request_due_before: Ints
    request_due_after: Ints
    duplicate_request: Bools
    extended_at: Ints
    extended_due: Ints
    exclusion: Ints
    on_time: Bools
    days_late: Ints
    returns: Ints
    dummy_identity: Bools
    portal_good: Bools
    bad: Ints  # index into BAD_KINDS or -1
    copies: Ints  # how often the feed sends it in one read

    def __len__(self) -> int:
        return len(self.code)

    @cached_property
    def result_at(self) -> Ints:
        """Result moment as a reader of the record finds it; -1 when there is no result."""
        return np.where((self.outcome == STOPPED) | (self.outcome == DONE), self.shown_finish, NONE)

    @cached_property
    def events(self) -> Ints:
        """Moments at which the record changes, as seen in the feed (lag included)."""
        columns = [self.received, self.process, self.finished, self.handed, self.extended_at]
        answered = np.where(self.request_kind == ASKED, NONE, self.request_answered)
        table: Ints = np.concatenate([np.stack(columns, axis=1), self.request_at, answered], axis=1)
        return np.where(table < 0, NONE, table + self.lag[:, None])

    def updated_at(self, now: int) -> Ints:
        """Last change up to `now`; -1 where the record does not exist yet."""
        latest: Ints = np.where(self.events <= now, self.events, NONE).max(axis=1, initial=NONE)
        return latest

    def status_at(self, seen: Ints) -> Ints:
        """Source status (1 to 10) of each dossier when everything up to `seen` has happened (one moment per row)."""
        waiting = np.zeros(len(self), np.int64)
        for slot in (MAX_REQUESTS, *range(MAX_REQUESTS), MAX_REQUESTS + 1):
            kind, answered = self.request_kind[:, slot], self.request_answered[:, slot]
            pending = (kind > 0) & (kind != CANCELLED) & (self.request_at[:, slot] <= seen)
            pending &= (answered < 0) | (answered > seen)
            waiting = np.where(pending, np.where(kind == FEE, 6, 5), waiting)
        begun = (self.process >= 0) & (self.process <= seen)
        status = np.where(waiting > 0, waiting, np.where(begun, 4, 2))
        ended = (self.finished >= 0) & (self.finished <= seen)
        given = (self.handed >= 0) & (self.handed <= seen)
        status = np.where(ended & (self.outcome == DONE), np.where(given, 10, 9), status)
        status = np.where(ended & np.isin(self.outcome, [NOT_ACCEPTED, WITHDRAWN, STOPPED]), self.outcome, status)
        return np.asarray(status, np.int64)

    @cached_property
    def done_inserted(self) -> Bools:
        """The unit's software adds a step "done" while the dossier waits or after it was stopped (statuses 5, 6, 8)."""
        return np.asarray(np.arange(len(self)) % 3 == 0, np.bool_)

    def finish_seen(self, now: int) -> Bools:
        """The result is known to the feed at `now`."""
        return (self.result_at >= 0) & (self.finished + self.lag <= now)


@dataclass(frozen=True)
class Rating:
    id: str
    dossier: int | None  # row in Dossiers
    dossier_code: str | None
    unit_sent: int | None
    unit_meant: int | None
    channel: str
    device: str | None
    question: str | None
    level: str
    at: int
    updated: int
    bad: str | None = None

    @property
    def counts(self) -> bool:
        """Of the attitude question, or of a source that asks no questions."""
        return self.bad is None and self.question in (None, "THAI_DO")

    @property
    def good(self) -> bool:
        return self.level != "KHÔNG HÀI LÒNG"


@dataclass(frozen=True)
class Petition:
    id: int
    unit: int
    accepted: int
    answered: int  # -1: not yet
    due: int
    on_time: bool
    satisfied: bool
    about: str  # TTHC | STAFF | OTHER
    breaks_score: bool  # the portal fails to compute the unit's total in windows with this petition


@dataclass(frozen=True)
class PostingCheck:
    id: str
    unit: int
    place: str  # desk | website
    day: int
    passed: bool
    by_authority: bool
    bad: str | None = None


def generator_for(options: Options, stream: int) -> np.random.Generator:
    return np.random.default_rng([options.seed, stream])


def due_in_force(due: Ints, has_time: Bools) -> tuple[Ints, Bools]:
    """Day and precision of a due moment after moving it off a day off."""
    day = due // DAY
    rolled = calendar().roll(day)
    return rolled, has_time & (rolled == day)


class City:
    """Everything that exists at the end of the span; made on first use, part by part."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.units: tuple[Unit, ...] = units()
        self.start = seconds(options.start_at)
        self.end = seconds(options.end_at)
        self.early_read = seconds(options.early_read_at)
        months = options.months()
        last = months[-1] if months else reporting_month(options.end.year, options.end.month)
        self.last_month_first = number(last.first)
        self.last_month_last = number(last.last)

    # -- units ---------------------------------------------------------------------------------------------------

    @cached_property
    def behaviour(self) -> Behaviour:
        rng = generator_for(self.options, UNITS)
        count = len(self.units)
        commune = np.array([unit.is_commune for unit in self.units])
        centre = np.array([unit.receiving_only for unit in self.units])
        weight = rng.lognormal(0, 0.45, count) * np.where(commune, 1.0, 2.2)
        late = rng.beta(2.0, 90.0, count)
        good = rng.beta(14, 3.2, count).clip(0.6, 0.97)
        returned = rng.uniform(0.05, 0.14, count)
        rating_rate = rng.uniform(0.08, 0.15, count)
        fails = rng.uniform(0.0, 0.04, count)

        small = [unit.index for unit in self.units if unit.kind == "commune"]
        wards = [unit.index for unit in self.units if unit.kind == "ward"]
        pool, more = rng.permutation(small).tolist(), rng.permutation(wards).tolist()
        roles = {
            "score_missing": pool[:1],  # petitions, and a total the portal could not compute
            "no_portal_row": pool[1:3],
            "exactly_twenty": pool[3:4],
            "idle": pool[4:5],  # no work any more: no result in the later months
            "no_ratings": pool[5:8],
            "few_ratings": pool[8:12] + more[:4],
            "slow": more[4:14] + [unit.index for unit in self.units if unit.kind == "department"][6:8],
            "guides_badly": more[14:20] + pool[12:14],
            "ignores_petitions": more[18:34] + pool[20:28],
            "posting_fails": more[34:37] + pool[14:15],
            "posting_repaired": more[37:39],
            "website_unchecked": more[39:42] + pool[15:16],
            "checked_long_ago": more[42:43],
            "checked_on_the_edge": more[43:44],
            "self_checked": more[44:56],
        }

        def put(column: Floats, role: str, values: Any) -> None:
            column[list(roles[role])] = values

        put(weight, "idle", 0.5)
        put(weight, "exactly_twenty", 1.0)
        put(late, "slow", rng.uniform(0.12, 0.35, len(roles["slow"])))
        put(returned, "guides_badly", rng.uniform(0.3, 0.5, len(roles["guides_badly"])))
        put(rating_rate, "no_ratings", 0.0)
        put(rating_rate, "few_ratings", 0.02)
        put(rating_rate, "idle", 0.0)
        put(fails, "ignores_petitions", rng.uniform(0.35, 0.8, len(roles["ignores_petitions"])))
        petition_weight = np.sqrt(weight) * rng.lognormal(0, 0.7, count)
        put(petition_weight, "ignores_petitions", 1.5)
        portal_good = rng.uniform(0.86, 0.985, count)
        exact = list(roles["exactly_twenty"])
        late[exact], returned[exact], good[exact], portal_good[exact], rating_rate[exact] = 0.0, 0.05, 1.0, 1.0, 0.6
        petition_weight[exact] = 0.0
        petition_weight[list(roles["idle"])] = 0.0
        weight[centre] = 0.0
        petition_weight[centre] = 0.0

        style = rng.choice([TIMES, MIDNIGHTS, DUE_MIDNIGHT], size=count, p=[0.6, 0.22, 0.18])
        style[pool[16:20]] = DATES
        style[exact] = TIMES
        return Behaviour(
            weight / weight.sum(), late, returned, style.astype(np.int64), rating_rate, good, portal_good,
            petition_weight / petition_weight.sum(), fails, {name: tuple(value) for name, value in roles.items()},
        )  # fmt: skip

    # -- dossiers ------------------------------------------------------------------------------------------------

    @cached_property
    def dossiers(self) -> Dossiers:
        wanted = self.options.size + self.options.bad_records
        attempt = int(wanted * 1.35) + 400
        while True:
            drawn = self._draw(attempt)
            keep = np.flatnonzero(drawn.pop("keep"))[:wanted]
            if len(keep) == wanted:
                return self._finish_dossiers({name: column[keep] for name, column in drawn.items()})
            attempt *= 2

    def _draw(self, count: int) -> dict[str, Any]:
        rng = generator_for(self.options, DOSSIERS)
        days = calendar()
        ways = self.behaviour
        first = number(self.options.start) - 40
        last = number(self.options.end)

        unit = rng.choice(len(self.units), size=count, p=ways.weight).astype(np.int64)
        procedure = self._choose_procedures(rng, unit)
        table = procedures()
        limit = np.array([p.limit or 0 for p in table])[procedure]
        at_once = np.array([p.at_once for p in table])[procedure]
        no_limit = (limit == 0) & ~at_once

        # Receipt: working days and office hours, online also evenings and weekends.
        online = ~at_once & (rng.random(count) < 0.55)
        channel = np.where(online, 2, np.where(rng.random(count) < 0.04, 3, 1))
        day = rng.integers(first, last + 1, size=count)
        any_time = online & (rng.random(count) < 0.25)
        day = np.where(any_time, day, days.roll(day))
        idle = list(ways.role("idle"))
        moves = np.isin(unit, idle) & (day > number(self.options.start) + 60)
        if moves.any():  # an idle commune gets nothing any more; its neighbour does
            unit[moves] = next(u.index for u in self.units if u.kind == "commune" and u.index not in idle)
        hour = np.where(any_time, rng.integers(6 * 3600, 23 * 3600, count), self._office_time(rng, count))
        received = day * DAY + hour
        style = ways.style[unit]
        dates_only = (style == MIDNIGHTS) | (style == DATES)

        # First due date.
        late_wish = rng.random(count) < ways.late[unit]
        by_calendar = ~at_once & ~no_limit & (rng.random(count) < 0.02)  # software that counts calendar days
        due_day = np.where(
            by_calendar, day + np.ceil(limit * 1.4).astype(np.int64) + 1, days.add(day, np.maximum(limit, 1))
        )
        due_second = np.where(rng.random(count) < 0.6, 17 * 3600, hour.clip(8 * 3600 + 1800, 17 * 3600))
        due_timed = style == TIMES
        due_second = np.where(due_timed, due_second, 0)
        afternoon = at_once & ~dates_only & (hour >= CUTOFF)
        due_day = np.where(at_once, np.where(afternoon, days.add(day, 1), day), due_day)
        not_shown = ~at_once & ~no_limit & ~by_calendar & (rng.random(count) < 0.005)
        shows_due = ~at_once & ~no_limit & ~not_shown
        due_timed &= shows_due
        first_due = due_day * DAY + np.where(shows_due, due_second, 0)

        # What becomes of it.
        outcome = rng.choice(
            [OPEN, NOT_ACCEPTED, WITHDRAWN, STOPPED, DONE], size=count, p=[0.008, 0.012, 0.01, 0.02, 0.95]
        )
        exact = np.isin(unit, list(ways.role("exactly_twenty")))
        outcome[exact] = DONE

        # Requests for supplement: only where a real term runs.
        can_ask = shows_due & ~by_calendar & (limit >= 3) & (outcome != NOT_ACCEPTED)
        requests = self._requests(rng, unit, can_ask, exact, outcome, received, due_day, due_second, limit, online)
        last_day, due_day = requests.pop("last_day"), requests.pop("due_day")
        legal_due = due_day * DAY + np.where(shows_due, due_second, 0)
        effective, timed = due_in_force(legal_due, due_timed)

        # The end of it: in time, or late by the intended number of working days.
        late_by = np.minimum(rng.geometric(0.35, count), 60)
        late_by = np.where(rng.random(count) < 0.08, late_by + rng.integers(5, 40, count), late_by)
        minutes_late = late_wish & timed & (legal_due % DAY == 17 * 3600) & (rng.random(count) < 0.06)
        late_by = np.where(minutes_late, 0, late_by)
        earliest = days.roll(last_day + 1)
        room = days.between(earliest, effective) + 1
        share = rng.beta(1.1, 2.2, count)
        spare = np.minimum((room * share).astype(np.int64), np.maximum(room - 1, 0))  # working days before the last
        in_time_day = days.add(effective, -spare)
        same_day = at_once & ~afternoon & days.is_working(day)
        in_time_day = np.where(at_once, np.where(same_day, day, effective), in_time_day)
        in_time_day = np.where(no_limit, days.add(day, rng.integers(1, 16, count)), in_time_day)
        late = late_wish & ~no_limit
        finish_day = np.where(late, days.add(effective, np.maximum(late_by, 1)), in_time_day)
        finish_day = np.where(late & minutes_late, effective, finish_day)
        office = self._office_time(rng, count)
        until_due = np.minimum(office, legal_due % DAY)
        second = np.where(timed & (finish_day == effective), until_due, office)
        second = np.where(late & minutes_late, 17 * 3600 + rng.integers(1, 5400, count), second)
        quick = at_once & (finish_day == day)
        second = np.where(quick, np.minimum(hour + rng.integers(300, 5400, count), DAY - 60), second)
        finished = finish_day * DAY + second
        exit_at = received + rng.integers(3600, 20 * 3600, count)  # not accepted at the door
        finished = np.where(outcome == NOT_ACCEPTED, exit_at, finished)
        finished = np.where(outcome == OPEN, NONE, finished)
        handed = finished + rng.integers(0, 3 * DAY, count) * (rng.random(count) < 0.7)
        handed = np.where((outcome == DONE) & (rng.random(count) < 0.9), handed, NONE)

        is_result = (outcome == DONE) | (outcome == STOPPED)
        no_finish_field = (outcome == DONE) & (rng.random(count) < 0.015)
        handed = np.where(no_finish_field, finished, handed)
        test = is_result & ~exact & (rng.random(count) < 0.0015)
        backwards = is_result & ~test & ~exact & ~no_finish_field & (rng.random(count) < 0.001)
        shown_finish = np.where(backwards, received - rng.integers(1, 4, count) * DAY, finished)
        exclusion = np.select(
            [test, backwards, is_result & no_limit], [TEST_RECORD, FINISH_BEFORE_RECEIPT, NO_DUE_DATE], NO_EXCLUSION
        )
        process = np.where(at_once | (outcome == NOT_ACCEPTED), NONE, received + rng.integers(1800, 9000, count))

        # One more request after the end: recorded too late, not a return between receipt and result.
        after = (outcome == DONE) & ~exact & shows_due & (rng.random(count) < 0.001)
        after &= (requests["kind"] == 0).all(axis=1) & ~backwards
        requests["at"][after, MAX_REQUESTS + 1] = finished[after] + DAY
        requests["kind"][after, MAX_REQUESTS + 1] = ASKED
        requests["due_before"][after, MAX_REQUESTS + 1] = first_due[after]

        # Who received it, and how it is written down.
        receiver, unattributed = self._receivers(rng, unit)
        unattributed &= ~exact
        lag = rng.integers(20, 3600, count)
        lag = np.where(rng.random(count) < 0.007, rng.integers(DAY, 3 * DAY, count), lag)
        final = np.where(handed >= 0, handed, finished)
        last_event = np.where(final >= 0, np.maximum(final, received), np.maximum(received, process))
        seen = received + lag <= self.end
        # In the feed's span: received within it, or something happened to it within it that was seen.
        alive = (received + lag >= self.start) | ((finished >= self.start) & (finished + lag <= self.end))
        return {
            "keep": seen & alive & (last_event + lag >= self.start),
            "unit": np.where(unattributed, -1, unit),
            "receiver": receiver,
            "procedure": procedure,
            "channel": channel,
            "style": style,
            "alias": (unit % 50 == 7) & (rng.random(count) < 0.1),
            "lag": lag,
            "outcome": outcome,
            "received": received,
            "shows_due": shows_due,
            "first_due": np.where(no_limit, NONE, first_due),
            "legal_due": np.where(no_limit, NONE, legal_due),
            "process": process,
            "finished": finished,
            "shown_finish": shown_finish,
            "handed": handed,
            "finish_field_missing": no_finish_field,
            "request_at": requests["at"],
            "request_answered": requests["answered"],
            "request_kind": requests["kind"],
            "request_due_before": requests["due_before"],
            "request_due_after": requests["due_after"],
            "duplicate_request": rng.random(count) < 0.02,
            "exclusion": exclusion,
            "on_time": is_result & ~late & (exclusion == NO_EXCLUSION),
            "days_late": np.where(is_result & late, late_by, 0),
            "returns": requests["returns"],
            "dummy_identity": rng.random(count) < 0.005,
            "portal_good": rng.random(count) < ways.portal_good[unit],
        }

    def _choose_procedures(self, rng: np.random.Generator, unit: Ints) -> Ints:
        chosen = np.zeros(len(unit), np.int64)
        commune = np.array([u.is_commune for u in self.units])[unit]
        groups = [("commune", commune)] + [
            (u.code, unit == u.index) for u in self.units if not u.is_commune and not u.receiving_only
        ]
        for owner, mask in groups:
            mine = [procedure for procedure in procedures() if procedure.owner == owner]
            weight = np.array([procedure.weight for procedure in mine])
            index = np.array([procedure.index for procedure in mine])
            chosen[mask] = rng.choice(index, size=int(mask.sum()), p=weight / weight.sum())
        return chosen

    @staticmethod
    def _office_time(rng: np.random.Generator, count: int) -> Ints:
        morning = rng.random(count) < 0.58
        return np.where(
            morning, rng.integers(7 * 3600 + 1800, 11 * 3600 + 1800, count), rng.integers(13 * 3600, 17 * 3600, count)
        )

    def _requests(
        self, rng: np.random.Generator, unit: Ints, can_ask: Bools, exact: Bools, outcome: Ints, received: Ints,
        due_day: Ints, due_second: Ints, limit: Ints, online: Bools,
    ) -> dict[str, Any]:  # fmt: skip
        """Requests for supplement in the order of time; each one in full starts the term again.

        Slots 0..3 are requests, slot 4 a fee request before them, slot 5 a request after the end.
        """
        days = calendar()
        count = len(unit)
        shape = (count, MAX_REQUESTS + 2)
        at, answered = np.full(shape, NONE), np.full(shape, NONE)
        before, after = np.full(shape, NONE), np.full(shape, NONE)
        kind = np.zeros(shape, np.int64)
        returns = np.zeros(count, np.int64)
        due_day = due_day.copy()
        last_day = received // DAY

        fee = can_ask & online & (rng.random(count) < 0.06)
        fee_at = received + rng.integers(600, 2400, count)
        paid = np.minimum(fee_at + rng.integers(300, 36_000, count), (received // DAY + 1) * DAY - 60)
        at[fee, MAX_REQUESTS], answered[fee, MAX_REQUESTS] = fee_at[fee], paid[fee]
        kind[fee, MAX_REQUESTS] = FEE
        before[fee, MAX_REQUESTS] = (due_day * DAY + due_second)[fee]

        chance = self.behaviour.returned[unit]
        again = np.where(chance > 0.2, 0.45, 0.16)
        asking = can_ask & (rng.random(count) < chance)
        for slot in range(MAX_REQUESTS):
            room = days.between(last_day, due_day)
            asking &= room >= 2
            day = days.add(last_day, 1 + (rng.random(count) * (room.clip(2) - 1)).astype(np.int64))
            moment = day * DAY + self._office_time(rng, count)
            back_day = day + rng.integers(1, 11, count)
            back = back_day * DAY + rng.integers(7 * 3600, 21 * 3600, count)
            cancelled = asking & (rng.random(count) < 0.05)
            never = asking & ~cancelled & np.isin(outcome, [STOPPED, OPEN]) & (rng.random(count) < 0.5)
            part = asking & ~cancelled & ~never & (back_day < due_day) & (rng.random(count) < 0.15)
            full = asking & ~cancelled & ~never & ~part
            at[asking, slot] = moment[asking]
            before[asking, slot] = (due_day * DAY + due_second)[asking]
            kind[:, slot] = np.select([cancelled, never, part, full], [CANCELLED, ASKED, PART, FULL], 0)
            answered[part | full, slot] = back[part | full]
            due_day = np.where(full, days.add(back_day, limit.clip(1)), due_day)
            after[full, slot] = (due_day * DAY + due_second)[full]
            last_day = np.where(part | full, back_day, np.where(asking, day, last_day))
            returns += asking & ~cancelled
            asking &= ~never & ~exact & (rng.random(count) < again)
        return {
            "at": at, "answered": answered, "kind": kind, "due_before": before, "due_after": after,
            "returns": returns, "due_day": due_day, "last_day": last_day,
        }  # fmt: skip

    def _receivers(self, rng: np.random.Generator, unit: Ints) -> tuple[Ints, Bools]:
        """Receiving unit (reception regardless of boundary since 1/7/2025), and which dossiers have no known unit."""
        count = len(unit)
        centre = next(u.index for u in self.units if u.receiving_only)
        communes = np.array([u.index for u in self.units if u.is_commune])
        is_commune = np.isin(unit, communes)
        roll = rng.random(count)
        elsewhere = is_commune & (roll < 0.04)
        at_centre = (~is_commune & (roll < 0.4)) | (is_commune & (roll > 0.97))
        receiver = np.where(elsewhere, rng.choice(communes, count), np.where(at_centre, centre, unit))
        return receiver, rng.random(count) < 0.0004

    def _finish_dossiers(self, drawn: dict[str, Any]) -> Dossiers:
        """Codes, apologies, unreadable records and duplicates."""
        count = len(drawn["unit"])
        bad = np.full(count, -1, np.int64)
        bad_rows = np.linspace(0, count - 1, self.options.bad_records, dtype=np.int64) if count else bad[:0]
        bad[bad_rows] = np.arange(len(bad_rows)) % len(BAD_KINDS)
        drawn["unit"][bad_rows] = np.where(drawn["unit"][bad_rows] < 0, 0, drawn["unit"][bad_rows])

        copies = np.ones(count, np.int64)
        twice = np.flatnonzero(bad < 0)[3 :: max(count // 6, 1)][:6]
        copies[twice] = 2

        extended_at, extended_due = self._apologies(drawn, bad < 0)
        return Dossiers(
            **drawn, code=self._codes(drawn), extended_at=extended_at, extended_due=extended_due, bad=bad, copies=copies
        )

    def _apologies(self, drawn: dict[str, Any], readable: Bools) -> tuple[Ints, Ints]:
        """After an apology the desk overwrites the due date (Decree 61/2018, Art. 19.9): it moves nothing by law.

        Only in the last 35 days, on dossiers that could be read before: the first due date is knowable.
        """
        rng = generator_for(self.options, EXTENSIONS)
        count = len(readable)
        due, finished, lag = drawn["legal_due"], drawn["finished"], drawn["lag"]
        first_read = self.early_read
        kinds, requested = drawn["request_kind"], drawn["request_at"]
        quiet = (np.where(kinds > 0, np.maximum(requested, drawn["request_answered"]), NONE) + lag[:, None]).max(
            axis=1, initial=NONE
        ) <= first_read
        pending = (kinds[:, :MAX_REQUESTS] == ASKED).any(axis=1)
        moment = due - rng.integers(3600, 7200, count)
        moment = np.where(due % DAY == 0, due + rng.integers(8 * 3600, 15 * 3600, count), moment)
        eligible = (
            readable & drawn["shows_due"] & quiet & ~pending
            & (drawn["received"] + lag <= first_read)
            & (moment > first_read) & (moment + lag <= self.end)
            & ((finished < 0) | (finished > moment))
            & ~drawn["on_time"] & (drawn["exclusion"] == NO_EXCLUSION)
            & np.isin(drawn["outcome"], [OPEN, STOPPED, DONE])
        )  # fmt: skip
        chosen = eligible & (rng.random(count) < self.options.extensions)
        new_day = calendar().add(np.maximum(due, self.start) // DAY, rng.integers(3, 11, count))
        new_due = new_day * DAY + np.maximum(due, 0) % DAY
        return np.where(chosen, moment, NONE), np.where(chosen, new_due, NONE)

    def _codes(self, drawn: dict[str, Any]) -> list[str]:
        """MaHoSo in the historic forms: new or old agency prefix, date of 6 or 8 digits, sequence of 4 to 7."""
        order: dict[int, int] = {}
        found = []
        stamps: dict[int, str] = {}
        for unit, received in zip(drawn["receiver"].tolist(), drawn["received"].tolist(), strict=True):
            day = received // DAY
            if day not in stamps:
                stamps[day] = datetime.fromordinal(day + 719_163).strftime("%Y%m%d")
            sequence = order[unit] = order.get(unit, 0) + 1
            agency = self.units[unit]
            stamp = stamps[day] if unit % 3 == 0 else stamps[day][2:]
            found.append(f"{agency.tthc_code}-{stamp}-{sequence:0{4 + unit % 4}d}")
        return found

    def gone(self, now: int) -> Bools:
        """Dossiers deleted in the city's system: all at the end of the span, without a word in the feed."""
        return self._deleted if now >= self.end else np.zeros(len(self.dossiers), np.bool_)

    @cached_property
    def _deleted(self) -> Bools:
        """Half of them changed last in the six weeks before the end, but not in the last five; half long before.

        None was rated, sent twice or differs at the portal for another reason: what follows is the deletion's doing.
        """
        from sandbox.sync import AS_IT_IS, portal_copy

        d = self.dossiers
        found = np.zeros(len(d), np.bool_)
        if not self.options.deletions:
            return found
        plain = (d.bad < 0) & (d.copies == 1) & (d.unit >= 0) & (portal_copy(self).fate == AS_IT_IS)
        plain[[rating.dossier for rating in self.ratings if rating.dossier is not None]] = False
        updated = d.updated_at(self.end)
        recent = np.flatnonzero(plain & (updated >= self.end - 44 * DAY) & (updated < self.early_read - DAY))
        old = np.flatnonzero(plain & (updated >= self.start) & (updated < self.end - 90 * DAY))
        for rows, wanted in ((old, self.options.deletions // 2), (recent, (self.options.deletions + 1) // 2)):
            if len(rows) < wanted:
                raise ValueError(f"deletions: only {len(rows)} of {wanted} dossiers qualify; take a greater size")
            found[rows[np.linspace(0, len(rows) - 1, wanted, dtype=np.int64)]] = True
        return found

    # -- ratings -------------------------------------------------------------------------------------------------

    @cached_property
    def ratings(self) -> list[Rating]:
        rng = generator_for(self.options, RATINGS)
        dossiers, ways = self.dossiers, self.behaviour
        unit = np.maximum(dossiers.unit, 0)
        rated = rng.random(len(dossiers)) < ways.rating_rate[unit]
        rated &= (dossiers.result_at >= 0) & (dossiers.unit >= 0) & (dossiers.bad < 0)
        rated &= dossiers.exclusion != FINISH_BEFORE_RECEIPT
        rated &= dossiers.finished + dossiers.lag <= self.end
        kiosks = {device.unit: device.code for device in devices()}
        found: list[Rating] = []

        def add(at: int, question: str | None, good: float, **rest: Any) -> None:
            level = "KHÔNG HÀI LÒNG"
            if rng.random() < good:
                level = "RẤT HÀI LÒNG" if rng.random() < 0.62 else "HÀI LÒNG"
            updated = at + int(rng.integers(5, 900))
            if self.start <= at and updated <= self.end:
                found.append(Rating(f"DG{len(found) + 1:08d}", question=question, level=level, at=at,
                                    updated=updated, **rest))  # fmt: skip

        for row in np.flatnonzero(rated).tolist():
            resolver, receiver = int(dossiers.unit[row]), int(dossiers.receiver[row])
            at = int(dossiers.finished[row]) + int(rng.integers(120, 2 * DAY))
            channel = rng.choice(["HE_THONG_TP", "CONG_DVC_TP", "WEBSITE", "TAI_QUAY", "KIOSK"],
                                 p=[0.42, 0.18, 0.1, 0.18, 0.12])  # fmt: skip
            at_desk = channel in ("TAI_QUAY", "KIOSK")
            meant = receiver if at_desk else resolver
            if ways.rating_rate[meant] == 0 and not self.units[meant].receiving_only:
                continue  # nobody rates at this unit, not even for others' dossiers
            sent = None if rng.random() < 0.15 else meant
            device = kiosks.get(meant) if channel == "KIOSK" else None
            rest = {
                "dossier": row, "dossier_code": dossiers.code[row], "unit_sent": sent, "unit_meant": meant,
                "channel": str(channel), "device": device,
            }  # fmt: skip
            good = float(ways.good[meant])
            if at_desk or channel == "WEBSITE":
                add(at, None, good, **rest)  # these sources ask no questions
                continue
            if channel == "HE_THONG_TP" or rng.random() < 0.5:
                add(at, "THAI_DO", good, **rest)
            add(at, "CHUNG", good, **rest)
            if rng.random() < 0.3:
                add(at, "THOI_GIAN", good, **rest)

        # Kiosk ratings without a dossier, and some that name a dossier nobody knows.
        span = self.end - self.start
        share = {unit.index: ways.rating_rate[unit.index] * ways.weight[unit.index] for unit in self.units}
        for kiosk in devices():
            at_centre = self.units[kiosk.unit].receiving_only
            mean = self.options.size * (0.0015 if at_centre else share[kiosk.unit] * 0.5)
            for _ in range(int(rng.poisson(mean))):
                at = self.start + int(rng.integers(0, span))
                at = at // DAY * DAY + int(rng.integers(7 * 3600 + 1800, 17 * 3600))
                lost = rng.random() < 0.01
                add(
                    at, None, float(ways.good[kiosk.unit]), dossier=None,
                    dossier_code=f"G09.20-{20260000 + len(found)}-0000000" if lost else None,
                    unit_sent=kiosk.unit if rng.random() < 0.4 else None, unit_meant=kiosk.unit,
                    channel="KIOSK", device=kiosk.code,
                )  # fmt: skip
        for _ in range(2 if found else 0):  # no unit, no dossier, no device: nobody's
            at = self.last_month_first * DAY + int(rng.integers(8 * 3600, 9 * DAY))
            add(at, None, 0.8, dossier=None, dossier_code=None, unit_sent=None, unit_meant=None, channel="WEBSITE",
                device=None)  # fmt: skip
        unreadable = ("unknown_level", "impossible_date", "missing_key")[: self.options.bad_records // 4]
        for place, kind in enumerate(unreadable):
            at = self.last_month_first * DAY + 9 * 3600 + place * DAY
            found.append(Rating(f"DGX{place}", None, None, None, None, "WEBSITE", None, None, "HÀI LÒNG", at,
                                at + 60, bad=kind))  # fmt: skip
        return found

    # -- petitions -----------------------------------------------------------------------------------------------

    @cached_property
    def petitions(self) -> list[Petition]:
        rng = generator_for(self.options, PETITIONS)
        ways, days = self.behaviour, calendar()
        months = max((self.end - self.start) / (30.4 * DAY), 0.1)
        # About 1,400 a month for a whole city of 350,000 dossiers; a smaller one keeps more per dossier.
        mean = 1400 * min(1.0, self.options.size / months / 350_000) ** 0.75 * months
        found: list[Petition] = []

        def add(unit: int, accepted: int, fails: float, satisfied: float, breaks: bool = False) -> None:
            today = np.array(accepted // DAY)
            due = int(days.add(today, 15)) * DAY + 17 * 3600
            on_time = bool(rng.random() >= fails)
            within = int(days.add(today, int(rng.integers(1, 9))))
            answered = within * DAY + int(rng.integers(8 * 3600, 17 * 3600))
            if not on_time:
                answered = due + int(rng.integers(1, 12)) * DAY
            about = str(rng.choice(["TTHC", "STAFF", "OTHER"], p=[0.72, 0.2, 0.08]))
            happy = bool(on_time and rng.random() < satisfied)
            found.append(Petition(len(found) + 1, unit, accepted, answered, due, on_time, happy, about, breaks))

        for unit in rng.choice(len(self.units), size=int(rng.poisson(mean)), p=ways.petition_weight).tolist():
            accepted = int(rng.integers(self.start, self.end))
            fails = float(ways.petition_fails[unit])
            add(unit, accepted, fails, 0.97 - 0.8 * fails)
        first = self.last_month_first * DAY
        for unit in ways.role("exactly_twenty"):
            for turn in range(6):  # one of six fails both metrics: D = 16
                add(unit, first + (2 + turn) * DAY + 9 * 3600, 1.0 if turn == 0 else 0.0, 1.0)
        for unit in ways.role("score_missing"):
            for turn in range(2):
                add(unit, first + (4 + 3 * turn) * DAY + 10 * 3600, 0.0, 1.0, breaks=True)
        return found

    # -- posting checks ------------------------------------------------------------------------------------------

    @cached_property
    def posting_checks(self) -> list[PostingCheck]:
        """Rounds of about two weeks every twelve weeks, and second visits a month after to those that failed."""
        rng = generator_for(self.options, POSTING)
        ways = self.behaviour
        rounds: list[tuple[int, str]] = []
        day, last = number(self.options.start) + 1, number(self.options.end)
        while day <= last:
            rounds.append((day, "round"))
            if day + 30 <= last:
                rounds.append((day + 30, "second_visit"))
            day += 84
        plan: list[tuple[int, int, str, bool, bool]] = []
        for number_, (first, kind) in enumerate(rounds):
            for unit in self.units:
                i = unit.index
                places = [p for p in ("desk", "website") if p in unit.posting_places.split(";")]
                if i in ways.role("website_unchecked"):
                    places = ["desk"]
                rare = i in ways.role("checked_long_ago") or i in ways.role("checked_on_the_edge")
                if rare and number_ > 0:
                    continue
                if kind == "second_visit" and i not in ways.role("posting_repaired"):
                    continue
                authority = i not in ways.role("self_checked")
                visit = int(calendar().roll(np.array(first + int(rng.integers(0, 11)))))
                for place in places:
                    fails = i in ways.role("posting_fails") and place == "website"
                    fails |= i in ways.role("posting_repaired") and kind == "round" and place == "desk"
                    plan.append((visit, i, place, not fails, authority))
        # Exactly at the limit of 100 days before the end of the last month, and one day past it.
        for role, age in (("checked_on_the_edge", 100), ("checked_long_ago", 101)):
            visit = self.last_month_last - age
            if visit >= number(self.options.start):
                plan += [(visit, i, place, True, True) for i in ways.role(role) for place in ("desk", "website")]
        plan = sorted(item for item in plan if item[0] <= last)
        found = [
            PostingCheck(f"NY-{sequence:06d}", unit, place, day, passed, authority)
            for sequence, (day, unit, place, passed, authority) in enumerate(plan, 1)
        ]
        if found:
            for number_, kind in enumerate(("unknown_place", "impossible_date")[: self.options.bad_records]):
                found.append(PostingCheck(f"NY-X{number_}", 0, "desk", plan[0][0], True, True, bad=kind))
        return found
