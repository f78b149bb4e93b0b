"""What becomes of the dossiers of one day, and what is said of them: tables of numbers that `tests.bench.city` writes down.

The ways of the units (how much work, how often late, how often they ask again, how they write dates) and the procedures are
the sandbox's; unlike its own dossiers these are made day by day, so that memory does not grow with the city. A day's
numbers follow from the seed and the day alone: a shorter history is the end of a longer one.

Moments are whole seconds of local wall time since 1970-01-01, NONE where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.generator import (
    ASKED,
    CANCELLED,
    CUTOFF,
    DATES,
    DAY,
    DONE,
    DUE_MIDNIGHT,
    FEE,
    FULL,
    MIDNIGHTS,
    NONE,
    NOT_ACCEPTED,
    OPEN,
    PART,
    STOPPED,
    TIMES,
    WITHDRAWN,
    Behaviour,
    City,
    due_in_force,
)
from sandbox.options import Options
from sandbox.registers import devices, procedures, units
from sandbox.workdays import calendar, number

Ints = NDArray[np.int64]
Table = NDArray[np.int32]  # one row per field, one column per record
Columns = dict[str, Any]

LAST_DAY = date(2026, 11, 30)
YEAR = 365
LEAST = 10_000
DAY_OFF_SHARE = 0.12  # of a working day's receipts: online only
SLOTS = 4  # a request to pay first, then up to three for supplements
FEE_ASKED, SUPPLEMENT_ASKED = 6, 5
_DOSSIERS, _RATINGS, _PORTAL, _NIGHT = range(21, 25)

EVENTS = (
    "received", "process", "finished", "handed", "extended_at", "moved_at", "reopened_at", "refinished", "deleted_at",
    *(f"asked{slot}" for slot in range(SLOTS)), *(f"answered{slot}" for slot in range(SLOTS)),
)  # fmt: skip
FIELDS = (
    *EVENTS, "unit", "moved_to", "receiver", "sequence", "procedure", "channel", "style", "lag", "outcome", "due",
    "extended_due", "shown_finish", "only_handed", "is_test", "is_dummy", "is_linked", "repeats_request", "adds_step",
    *(f"{name}{slot}" for slot in range(SLOTS) for name in ("kind", "before", "after")),
)  # fmt: skip
PLACE = {name: place for place, name in enumerate(FIELDS)}
RATING_FIELDS = (
    "receiver", "sequence", "received", "unit", "channel", "device", "question", "level", "at", "lag", "serial",
)  # fmt: skip
RATING_CHANNELS = ("HE_THONG_TP", "CONG_DVC_TP", "WEBSITE", "TAI_QUAY", "KIOSK")
AT_DESK = 3  # channels from here on are where the citizen stands
QUESTIONS = ("THAI_DO", "CHUNG", "THOI_GIAN")
LEVELS = ("RẤT HÀI LÒNG", "HÀI LÒNG", "KHÔNG HÀI LÒNG")
KIOSK = RATING_CHANNELS.index("KIOSK")
LOST = -2  # sequence of a dossier that a rating names and nobody knows; NONE: it names none


@dataclass(frozen=True)
class Size:
    """`dossiers` come in within 365 days; of them a history has those of the last `days`."""

    dossiers: int = 6_000_000
    days: int = YEAR
    seed: int = 104

    def __post_init__(self) -> None:
        if not 1 <= self.days <= YEAR or self.dossiers < LEAST:
            raise ValueError(f"days must be 1 to {YEAR}, dossiers at least {LEAST:,}: no day may be empty")

    @property
    def last(self) -> int:
        """Number of the last day."""
        return number(LAST_DAY)

    @property
    def first(self) -> int:
        return self.last - self.days + 1

    def rng(self, stream: int, day: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, day])

    @cached_property
    def _share(self) -> NDArray[np.float64]:
        days = np.arange(self.last - YEAR + 1, self.last + 1)
        working = calendar().is_working(days)
        return np.where(working, 1.0, DAY_OFF_SHARE)

    def received_on(self, day: int) -> int:
        """Dossiers that come in on a day; over the year they add up to `dossiers`."""
        place = day - (self.last - YEAR + 1)
        if place >= YEAR:  # a night after the history
            return round(
                self.dossiers / self._share.sum() * (1.0 if calendar().is_working(np.array(day)) else DAY_OFF_SHARE)
            )
        sums = np.concatenate([[0.0], np.cumsum(self._share)]) / self._share.sum() * self.dossiers
        return int(np.rint(sums[place + 1])) - int(np.rint(sums[place]))

    @cached_property
    def city(self) -> City:
        """The sandbox's city of this seed: its units' ways, petitions and posting checks (its own dossiers are not made)."""
        return City(Options(size=self.dossiers, span_months=12, end=LAST_DAY, seed=self.seed, bad_records=0))

    @cached_property
    def ways(self) -> Behaviour:
        return self.city.behaviour


@lru_cache(maxsize=1)
def _procedures_of() -> dict[str, tuple[Ints, NDArray[np.float64]]]:
    found = {}
    for owner in {procedure.owner for procedure in procedures()}:
        mine = [procedure for procedure in procedures() if procedure.owner == owner]
        weight = np.array([procedure.weight for procedure in mine])
        found[owner] = (np.array([procedure.index for procedure in mine]), weight / weight.sum())
    return found


def _choose_procedures(rng: np.random.Generator, unit: Ints) -> Ints:
    chosen = np.zeros(len(unit), np.int64)
    commune = np.array([u.is_commune for u in units()])[unit]
    for owner, (index, weight) in sorted(_procedures_of().items()):
        mask = commune if owner == "commune" else unit == next(u.index for u in units() if u.code == owner)
        chosen[mask] = rng.choice(index, size=int(mask.sum()), p=weight)
    return chosen


def _office_time(rng: np.random.Generator, count: int) -> Ints:
    morning = rng.random(count) < 0.58
    return np.where(
        morning, rng.integers(7 * 3600 + 1800, 11 * 3600 + 1800, count), rng.integers(13 * 3600, 17 * 3600, count)
    )


def lives(size: Size, day: int) -> Table:
    """The dossiers received on a day, each with all that ever happens to it."""
    rng, days, ways = size.rng(_DOSSIERS, day), calendar(), size.ways
    count = size.received_on(day)
    unit = rng.choice(len(units()), size=count, p=ways.weight).astype(np.int64)
    begun = np.array([u.valid_from for u in units()])[unit] <= _digits(day)
    unit = np.where(begun, unit, 0)  # what a unit will do that does not exist yet, the City Office does
    procedure = _choose_procedures(rng, unit)
    limit = np.array([p.limit or 0 for p in procedures()])[procedure]
    at_once = np.array([p.at_once for p in procedures()])[procedure]
    no_limit = (limit == 0) & ~at_once
    style = ways.style[unit]
    dates_only = (style == MIDNIGHTS) | (style == DATES)

    working = bool(days.is_working(np.array(day)))
    online = ~at_once & (rng.random(count) < 0.55) if working else np.ones(count, np.bool_)
    channel = np.where(online, 2, np.where(rng.random(count) < 0.04, 3, 1))
    any_time = online & (rng.random(count) < (0.25 if working else 1.0))
    second = np.where(any_time, rng.integers(6 * 3600, 23 * 3600, count), _office_time(rng, count))
    received = day * DAY + second

    # First due date.
    late = (rng.random(count) < ways.late[unit]) & ~no_limit
    by_calendar = ~at_once & ~no_limit & (rng.random(count) < 0.02)  # software that counts calendar days
    due_day = days.add(np.full(count, day), np.maximum(limit, 1))
    due_day = np.where(by_calendar, day + np.ceil(limit * 1.4).astype(np.int64) + 1, due_day)
    due_second = np.where(rng.random(count) < 0.6, 17 * 3600, second.clip(8 * 3600 + 1800, 17 * 3600))
    due_second = np.where(style == TIMES, due_second, 0)
    next_day = at_once & ~dates_only & (second >= CUTOFF)
    due_day = np.where(at_once, np.where(next_day, days.add(np.full(count, day), 1), day), due_day)
    shows_due = ~at_once & ~no_limit & (rng.random(count) >= 0.005)
    due_timed = (style == TIMES) & shows_due
    due = due_day * DAY + np.where(shows_due, due_second, 0)

    outcome = rng.choice(
        [OPEN, NOT_ACCEPTED, WITHDRAWN, STOPPED, DONE], size=count, p=[0.004, 0.012, 0.01, 0.02, 0.954]
    )
    can_ask = shows_due & ~by_calendar & (limit >= 3) & (outcome != NOT_ACCEPTED)
    asked = _requests(rng, ways.returned[unit], can_ask, online, outcome, received, due_day, due_second, limit)
    legal_day, last_day = asked.pop("due_day"), asked.pop("last_day")
    legal_due = legal_day * DAY + np.where(shows_due, due_second, 0)

    # The end of it: in time, or late by some working days.
    effective, timed = due_in_force(legal_due, due_timed)
    late_by = np.minimum(rng.geometric(0.35, count), 30)
    earliest = days.roll(last_day + 1)
    room = days.between(earliest, effective) + 1
    spare = np.minimum((room * rng.beta(1.1, 2.2, count)).astype(np.int64), np.maximum(room - 1, 0))
    finish_day = days.add(effective, -spare)
    finish_day = np.where(at_once, np.where(~next_day & working, day, effective), finish_day)
    finish_day = np.where(no_limit, days.add(np.full(count, day), rng.integers(1, 16, count)), finish_day)
    finish_day = np.where(late, days.add(effective, late_by), finish_day)
    office = _office_time(rng, count)
    finish_second = np.where(timed & (finish_day == effective), np.minimum(office, legal_due % DAY), office)
    quick = finish_day == day
    finish_second = np.where(quick, np.minimum(second + rng.integers(300, 5400, count), DAY - 60), finish_second)
    finished = np.where(
        outcome == NOT_ACCEPTED, received + rng.integers(3600, 20 * 3600, count), finish_day * DAY + finish_second
    )
    finished = np.where(outcome == OPEN, NONE, finished)
    later = rng.integers(0, 3 * DAY, count) * (~at_once & (rng.random(count) < 0.25))
    handed = np.where((outcome == DONE) & (rng.random(count) < 0.9), finished + later, NONE)
    only_handed = (outcome == DONE) & (rng.random(count) < 0.015)
    handed = np.where(only_handed, finished, handed)
    is_test = rng.random(count) < 0.0015
    backwards = ((outcome == DONE) | (outcome == STOPPED)) & ~only_handed & (rng.random(count) < 0.001)
    shown_finish = np.where(backwards, received - rng.integers(1, 4, count) * DAY, finished)

    # A request that was written down after the end is no return.
    last = SLOTS - 1
    comes_late = (outcome == DONE) & shows_due & (asked[f"kind{last}"] == 0)
    comes_late &= rng.random(count) < np.where(asked["kind1"] > 0, 0.03, 0.001)
    asked[f"asked{last}"] = np.where(comes_late, finished + DAY, asked[f"asked{last}"])
    asked[f"kind{last}"] = np.where(comes_late, ASKED, asked[f"kind{last}"])
    asked[f"before{last}"] = np.where(comes_late, due, asked[f"before{last}"])

    # After an apology the desk overwrites the due date; a dossier may change hands, be taken up again, vanish.
    extended_at = np.where(legal_due % DAY == 0, legal_due + 8 * 3600, legal_due) + rng.integers(600, 3600, count)
    extends = late & shows_due & (finished > extended_at) & (rng.random(count) < 0.35)
    extended_due = days.add(legal_day, rng.integers(3, 11, count)) * DAY + legal_due % DAY
    communes = np.array([u.index for u in units() if u.is_commune])
    moves = (finished > received + 2 * DAY) & (rng.random(count) < 0.002)
    reopens = (outcome == DONE) & ~at_once & (rng.random(count) < 0.001)
    end = np.maximum(handed, finished)
    reopened_at = np.where(reopens, end + rng.integers(DAY, 5 * DAY, count), NONE)
    refinished = np.where(reopens, reopened_at + rng.integers(DAY, 8 * DAY, count), NONE)
    settled = np.maximum(np.maximum(end, refinished), received + DAY)
    vanishes = rng.random(count) < 0.0005
    lag = np.where(rng.random(count) < 0.007, rng.integers(DAY, 3 * DAY, count), rng.integers(20, 3600, count))
    next_morning = days.roll(np.full(count, day + 1)) * DAY + 8 * 3600 + rng.integers(0, 7200, count)
    process = received + rng.integers(1800, 9000, count) if working else next_morning
    receiver = _receivers(rng, unit)
    columns: Columns = {
        "received": received,
        "process": np.where(at_once | (outcome == NOT_ACCEPTED), NONE, process),
        "finished": finished,
        "handed": handed,
        "extended_at": np.where(extends, extended_at, NONE),
        "moved_at": np.where(moves, received + (finished - received) // 2, NONE),
        "reopened_at": reopened_at,
        "refinished": refinished,
        "deleted_at": np.where(vanishes, settled + rng.integers(DAY, 15 * DAY, count), NONE),
        "unit": np.where(rng.random(count) < 0.0004, NONE, unit),  # the source's own test unit
        "moved_to": rng.choice(communes, count),
        "receiver": receiver,
        "sequence": _places(receiver),
        "procedure": procedure,
        "channel": channel,
        "style": style,
        "lag": lag,
        "outcome": outcome,
        "due": np.where(shows_due, due, NONE),
        "extended_due": extended_due,
        "shown_finish": shown_finish,
        "only_handed": only_handed,
        "is_test": is_test,
        "is_dummy": rng.random(count) < 0.005,
        "is_linked": rng.random(count) < 0.05,
        "repeats_request": rng.random(count) < 0.02,
        "adds_step": rng.random(count) < 0.3,
        **asked,
    }
    return np.stack([np.asarray(columns[name], np.int32) for name in FIELDS])


def _requests(
    rng: np.random.Generator, chance: NDArray[np.float64], can_ask: NDArray[np.bool_], online: NDArray[np.bool_], outcome: Ints,
    received: Ints, due_day: Ints, due_second: Ints, limit: Ints,
) -> Columns:  # fmt: skip
    """Requests in the order of time; one that comes in full starts the term again. Slot 0 is a request to pay."""
    days, count = calendar(), len(received)
    due_day, last_day = due_day.copy(), received // DAY
    found: Columns = {}
    pays = can_ask & online & (rng.random(count) < 0.06)
    at = received + rng.integers(600, 2400, count)
    found["asked0"] = np.where(pays, at, NONE)
    found["answered0"] = np.where(pays, at + rng.integers(300, 36_000, count), NONE)
    found["kind0"] = np.where(pays, FEE, 0)
    found["before0"] = np.where(pays, due_day * DAY + due_second, NONE)
    found["after0"] = np.full(count, NONE)
    asks = can_ask & (rng.random(count) < chance)
    for slot in range(1, SLOTS):
        room = days.between(last_day, due_day)
        asks &= room >= 2
        day = days.add(last_day, 1 + (rng.random(count) * (room.clip(2) - 1)).astype(np.int64))
        at = day * DAY + _office_time(rng, count)
        back_day = day + rng.integers(1, 11, count)
        cancelled = asks & (rng.random(count) < 0.05)
        never = asks & ~cancelled & np.isin(outcome, [STOPPED, OPEN]) & (rng.random(count) < 0.5)
        part = asks & ~cancelled & ~never & (back_day < due_day) & (rng.random(count) < 0.15)
        full = asks & ~cancelled & ~never & ~part
        back = back_day * DAY + rng.integers(7 * 3600, 21 * 3600, count)
        found[f"asked{slot}"] = np.where(asks, at, NONE)
        found[f"answered{slot}"] = np.where(part | full, back, NONE)
        found[f"kind{slot}"] = np.select([cancelled, never, part, full], [CANCELLED, ASKED, PART, FULL], 0)
        found[f"before{slot}"] = np.where(asks, due_day * DAY + due_second, NONE)
        due_day = np.where(full, days.add(back_day, limit.clip(1)), due_day)
        found[f"after{slot}"] = np.where(full, due_day * DAY + due_second, NONE)
        last_day = np.where(part | full, back_day, np.where(asks, day, last_day))
        asks = asks & ~never & (rng.random(count) < np.where(chance > 0.2, 0.45, 0.16))
    return found | {"due_day": due_day, "last_day": last_day}


def _receivers(rng: np.random.Generator, unit: Ints) -> Ints:
    """Reception regardless of boundary since 1/7/2025, and at the city's centre."""
    count = len(unit)
    centre = next(u.index for u in units() if u.receiving_only)
    communes = np.array([u.index for u in units() if u.is_commune])
    is_commune = np.isin(unit, communes)
    roll = rng.random(count)
    at_centre = (~is_commune & (roll < 0.4)) | (is_commune & (roll > 0.97))
    elsewhere = is_commune & (roll < 0.04)
    return np.where(elsewhere, rng.choice(communes, count), np.where(at_centre, centre, unit))


def _places(group: Ints) -> Ints:
    """1, 2, 3 … within each group, in order."""
    order = np.argsort(group, kind="stable")
    ranked = group[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    places = np.empty(len(group), np.int64)
    places[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(group)]]))) + 1
    return places


def _digits(day: int) -> str:
    return date.fromordinal(day + date(1970, 1, 1).toordinal()).strftime("%Y%m%d")


# -- versions ---------------------------------------------------------------------------------------------------------


def versions(table: Table) -> tuple[Ints, Ints]:
    """(column of the table, day of the night's reading) of each version: a night brings one where something happened."""
    events = table[[PLACE[name] for name in EVENTS]].astype(np.int64)
    nights = np.where(events < 0, NONE, (events + table[PLACE["lag"]]) // DAY)
    nights = np.where((table[PLACE["deleted_at"]] >= 0) & (nights > nights[PLACE["deleted_at"]]), NONE, nights)
    nights.sort(axis=0)
    is_new = (nights >= 0) & np.concatenate([np.ones((1, nights.shape[1]), np.bool_), nights[1:] != nights[:-1]])
    place, column = np.nonzero(is_new)
    return column, nights[place, column]


def as_seen(table: Table, night: int) -> Columns:
    """The dossiers as the source shows them at the end of a day, moments not yet coarsened."""
    c: Columns = {name: table[place].astype(np.int64) for name, place in PLACE.items()}
    seen = (night + 1) * DAY - 1 - c["lag"]

    def by(name: str) -> NDArray[np.bool_]:
        return (c[name] >= 0) & (c[name] <= seen)

    due, waiting = c["due"], np.zeros(table.shape[1], np.int64)
    for slot in range(SLOTS):
        kind, asked, came = c[f"kind{slot}"], by(f"asked{slot}"), by(f"answered{slot}")
        due = np.where(came & (kind == FULL), c[f"after{slot}"], due)
        pending = asked & ~came & (kind != CANCELLED)
        waiting = np.where(pending, np.where(kind == FEE, FEE_ASKED, SUPPLEMENT_ASKED), waiting)
        c[f"shown_kind{slot}"] = np.where(asked, np.where(came | (kind == CANCELLED) | (kind == FEE), kind, ASKED), 0)
        c[f"shown_answer{slot}"] = np.where(came, c[f"answered{slot}"], NONE)
        c[f"shown_after{slot}"] = np.where(came, c[f"after{slot}"], NONE)
    due = np.where(by("extended_at"), c["extended_due"], due)
    again = by("reopened_at")
    ended = np.where(again, by("refinished"), by("finished"))
    given = by("handed") & ~again
    status = np.where(waiting > 0, waiting, np.where(by("process"), 4, np.where(c["channel"] == 2, 1, 2)))
    status = np.where(ended & (c["outcome"] == DONE), np.where(given, 10, 9), status)
    status = np.where(ended & (c["outcome"] != DONE), c["outcome"], status)
    shown = np.where(again, c["refinished"], c["shown_finish"])
    hides = ((c["only_handed"] == 1) & ~again) | (c["outcome"] == NOT_ACCEPTED)
    hides |= (c["outcome"] == WITHDRAWN) & (c["sequence"] % 2 == 1)
    events = np.stack([np.where(by(name), c[name], NONE) for name in EVENTS])
    c["updated"] = events.max(axis=0) + c["lag"]
    c["status"], c["shown_due"] = status, due
    c["result"] = np.where(ended & ~hides, shown, NONE)
    c["given"] = np.where(given, c["handed"], NONE)
    c["is_ended"], c["is_begun"], c["is_again"] = ended, by("process"), again
    c["resolver"] = np.where(by("moved_at"), c["moved_to"], c["unit"])
    c["is_deleted"] = by("deleted_at")
    return c


def coarse(moment: Ints, style: Ints, is_due: bool = False) -> Ints:
    """A moment as the unit's software writes it: some know the day only."""
    to_day = (style == MIDNIGHTS) | (style == DATES)
    if is_due:
        to_day |= style == DUE_MIDNIGHT
    return np.where((moment >= 0) & to_day, moment // DAY * DAY, moment)


# -- ratings ----------------------------------------------------------------------------------------------------------


def ratings(size: Size, day: int, table: Table, serial: int = 0) -> Table:
    """What is said of these dossiers once they have a result, and at kiosks on that day without one; numbered from `serial`."""
    rng, ways = size.rng(_RATINGS, day), size.ways
    c = {
        name: table[PLACE[name]].astype(np.int64)
        for name in ("unit", "receiver", "sequence", "received", "finished", "outcome")
    }
    has_result = (c["finished"] >= 0) & np.isin(c["outcome"], [STOPPED, DONE]) & (c["unit"] >= 0)
    rate = 1.3 * ways.rating_rate[np.maximum(c["unit"], 0)]
    rows = np.flatnonzero(has_result & (rng.random(len(has_result)) < rate))
    rows = np.concatenate([rows, rows[rng.random(len(rows)) < 0.06]])  # rated again, mostly on the same day
    count = len(rows)
    channel = rng.choice(len(RATING_CHANNELS), size=count, p=[0.42, 0.18, 0.1, 0.18, 0.12])
    meant = np.where(channel >= AT_DESK, c["receiver"][rows], c["unit"][rows])
    kiosks = np.full(len(units()), NONE)
    for place, device in enumerate(devices()):
        kiosks[device.unit] = place
    base: Columns = {
        "receiver": c["receiver"][rows],
        "sequence": c["sequence"][rows],
        "received": c["received"][rows],
        "unit": np.where(rng.random(count) < 0.15, NONE, meant),
        "channel": channel,
        "device": np.where(channel == KIOSK, kiosks[meant], NONE),
        "at": c["finished"][rows] + rng.integers(120, np.where(rng.random(count) < 0.5, 7200, 2 * DAY)),
        "meant": meant,
    }  # fmt: skip
    asks = channel < 2  # the city's system and portal ask for each thing apart
    attitude = asks & ((channel == 0) | (rng.random(count) < 0.5))
    parts = [(~asks, NONE), (attitude, 0), (asks, 1), (asks & (rng.random(count) < 0.3), 2)]
    told = [
        {name: column[mask] for name, column in base.items()} | {"question": np.full(int(mask.sum()), question)}
        for mask, question in parts
    ]
    told.append(_at_kiosks(rng, day, table.shape[1]))
    joined: Columns = {name: np.concatenate([part[name] for part in told]) for name in told[0]}
    total = len(joined["at"])
    good = rng.random(total) < ways.good[joined.pop("meant")]
    joined["level"] = np.where(good, (rng.random(total) >= 0.62).astype(np.int64), 2)
    joined["lag"] = np.where(rng.random(total) < 0.005, rng.integers(DAY, 3 * DAY, total), rng.integers(5, 900, total))
    joined["serial"] = serial + np.arange(total)
    changed = np.flatnonzero(rng.random(total) < 0.001)  # the source corrects itself two days later: a second version
    second = {name: column[changed].copy() for name, column in joined.items()}
    second["level"] = (second["level"] + 1) % len(LEVELS)
    second["lag"] += 2 * DAY
    return np.stack([np.concatenate([joined[name], second[name]]).astype(np.int32) for name in RATING_FIELDS])


def _at_kiosks(rng: np.random.Generator, day: int, dossiers: int) -> Columns:
    """Ratings at a device without a dossier, some with a code that nobody knows; and a few of nobody at all."""
    count = int(rng.poisson(dossiers * 0.012))
    device = rng.integers(0, len(devices()), count)
    unit = np.array([d.unit for d in devices()])[device]
    nobody = rng.random(count) < 0.01
    return {
        "receiver": unit,
        "sequence": np.where(rng.random(count) < 0.01, LOST, NONE),
        "received": np.full(count, day * DAY),
        "unit": np.where(nobody | (rng.random(count) < 0.6), NONE, unit),
        "channel": np.where(nobody, RATING_CHANNELS.index("WEBSITE"), KIOSK),
        "device": np.where(nobody, NONE, device),
        "at": day * DAY + rng.integers(7 * 3600 + 1800, 17 * 3600, count),
        "meant": unit,
        "question": np.full(count, NONE),
    }


# -- one more night -----------------------------------------------------------------------------------------------------

# Of the changed dossiers of a night: results, hand-overs, requests asked and answered; what seldom happens; the rest is new.
NATURAL = 0.4
FORCED = (("due_moved", 0.05), ("unit_moved", 0.03), ("supplement", 0.04), ("reopened", 0.02), ("deleted", 0.02))
LOOK_BACK = 35


def changed(size: Size, changes: int, nights: int = 1) -> tuple[Table, dict[str, int]]:
    """Dossiers of the last 35 days that change on the n-th day after the history; and how many of each kind."""
    tonight = size.last + nights
    rng = size.rng(_NIGHT, tonight)
    days = range(max(size.first, tonight - LOOK_BACK), size.last + 1)
    old = np.concatenate([lives(size, day) for day in days], axis=1)
    before = as_seen(old, size.last)
    known = (old[PLACE["received"]] + old[PLACE["lag"]]) // DAY <= size.last
    column, nights = versions(old)
    happens = np.zeros(old.shape[1], np.bool_)
    happens[column[nights == tonight]] = True
    gone = before["is_deleted"]
    free = known & ~gone & ~happens
    quiet = free & (rng.random(old.shape[1]) < 0.9)
    is_open = quiet & ~before["is_ended"]
    has_ended = quiet & before["is_ended"] & (old[PLACE["outcome"]] == DONE)
    noon = tonight * DAY + 12 * 3600
    picked, counts = [], {}
    for what, share in FORCED:
        at_hand = np.flatnonzero(has_ended if what in ("reopened", "deleted") else is_open & (old[PLACE["due"]] >= 0))
        rows = rng.permutation(at_hand)[: round(changes * share)]
        is_open[rows] = has_ended[rows] = False
        old[PLACE["lag"], rows] = np.minimum(old[PLACE["lag"], rows], 3600)  # told this very night
        if what == "due_moved":
            old[PLACE["extended_at"], rows] = noon
            old[PLACE["extended_due"], rows] = before["shown_due"][rows] + 7 * DAY
        elif what == "unit_moved":
            old[PLACE["moved_at"], rows] = noon
        elif what == "supplement":
            old[PLACE["asked3"], rows], old[PLACE["answered3"], rows] = noon, NONE
            old[PLACE["kind3"], rows], old[PLACE["before3"], rows] = ASKED, before["shown_due"][rows]
        elif what == "reopened":
            old[PLACE["reopened_at"], rows], old[PLACE["refinished"], rows] = noon, NONE
        else:
            old[PLACE["deleted_at"], rows] = noon
        counts[what] = len(rows)
        picked.append(old[:, rows])
    natural = rng.permutation(np.flatnonzero(known & ~gone & happens))[: round(changes * NATURAL)]
    counts["result given or returned"] = len(natural)
    new = lives(size, tonight)
    new = new[:, (new[PLACE["received"]] + new[PLACE["lag"]]) // DAY == tonight][:, : changes - sum(counts.values())]
    counts["new"] = new.shape[1]
    return np.concatenate([new, old[:, np.sort(natural)], *picked], axis=1), counts


def portal_dossiers(size: Size, day: int) -> tuple[Ints, Ints]:
    """Per unit: dossiers that citizens rated at the portal on a day, and those with which they were content."""
    rng = size.rng(_PORTAL, day)
    received = size.received_on(max(day, size.last - YEAR + 1))
    every = rng.multinomial(received, size.ways.weight)
    return every, rng.binomial(every, size.ways.portal_good)
