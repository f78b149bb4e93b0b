"""The national portal's copy of the city's dossiers, and everything that goes wrong between the two.

The copy is the city's feed some minutes to some hours later. For a few dossiers, chosen once per seed, something else
happened: never arrived, stuck at acceptance, another unit, another day of receipt, another code (made up by software
when a transfer failed), a date that cannot be read. The portal also knows dossiers of which the city knows nothing, and
judges being in time by its own software: units with an even index by the day, the others by the stamp as it stands.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.generator import (
    BAD_KINDS,
    DATES,
    DAY,
    DONE,
    DUE_MIDNIGHT,
    FULL,
    MAX_REQUESTS,
    MIDNIGHTS,
    NONE,
    TIMES,
    Bools,
    City,
    Dossiers,
    Ints,
    generator_for,
)
from sandbox.records import IMPOSSIBLE, wire
from sandbox.registers import IGNORED_UNIT_CODE, procedures

STREAM = 101
AS_IT_IS, MISSING, STUCK, OTHER_UNIT, OTHER_DAY, NEW_CODE, UNREADABLE = range(7)
SHARES = {MISSING: 0.008, STUCK: 0.005, OTHER_UNIT: 0.004, OTHER_DAY: 0.003, NEW_CODE: 0.004}
EXTRA_SHARE = 0.0025
LAG_TOLERATED = 48 * 3600  # the longest lag is 40 hours
UNKNOWN = "unknown"
# Reasons of a difference, the first that holds; `same` is none.
REASONS = (
    "same", "code_replaced", "other_unit", "other_receipt_day", "status_lag", "done_inserted", "other_status",
    "not_yet_at_portal", "quarantined_at_portal", "missing_at_portal",
    "deleted_at_city", "quarantined_at_city", "not_yet_at_city", "missing_at_city",
)  # fmt: skip


@dataclass(frozen=True)
class PortalCopy:
    """What became of each dossier of the city on its way to the portal."""

    city: City
    fate: Ints
    lag: Ints  # from the city's feed to the portal
    extra: Ints  # rows after which a dossier was made up that only the portal knows

    def seen(self, now: int) -> Ints:
        """Up to which moment the portal knows what happened to each dossier."""
        d = self.city.dossiers
        seen: Ints = np.where(self.fate == STUCK, d.received, now - d.lag - self.lag)
        return seen

    def there(self, now: int) -> Bools:
        d = self.city.dossiers
        found: Bools = (d.received + d.lag + self.lag <= now) & (self.fate != MISSING)
        return found

    def updated_at(self, now: int) -> Ints:
        d = self.city.dossiers
        moments = np.where(d.events < 0, NONE, d.events + self.lag[:, None])
        latest = np.where(moments <= now, moments, NONE).max(axis=1, initial=NONE)
        latest = np.where(self.fate == STUCK, d.received + d.lag + self.lag, latest)
        return np.where(self.there(now), latest, NONE)

    def status(self, now: int) -> Ints:
        """Status at the portal: where software inserts a step "done", the portal believes it."""
        d = self.city.dossiers
        status = d.status_at(self.seen(now))
        return np.where(np.isin(status, [5, 6, 8]) & d.done_inserted & (self.fate != STUCK), DONE, status)

    @property
    def unit(self) -> Ints:
        units = self.city.dossiers.unit
        return np.where(self.fate == OTHER_UNIT, (units + 1) % len(self.city.units), units)

    @property
    def received(self) -> Ints:
        return self.city.dossiers.received + np.where(self.fate == OTHER_DAY, DAY, 0)

    def supplemented(self, now: int) -> tuple[Ints, Ints]:
        """Supplements that the portal knows to be in full: their number, and the days for which it stopped the clock."""
        d, seen = self.city.dossiers, self.seen(now)[:, None]
        kind, at, back = (
            column[:, :MAX_REQUESTS] for column in (d.request_kind, d.request_at, d.request_answered)
        )  # fmt: skip
        full = (kind == FULL) & (back >= 0) & (back <= seen)
        return full.sum(axis=1), np.where(full, back // DAY - at // DAY, 0).sum(axis=1)

    def due(self, now: int) -> Ints:
        """The portal adds the pause to the due date; by law the term begins again."""
        d = self.city.dossiers
        return np.where(d.shows_due & (d.first_due >= 0), d.first_due + self.supplemented(now)[1] * DAY, NONE)

    def stamps(self, now: int) -> tuple[Ints, Ints, Ints, Ints]:
        """(due, end of processing, hand-over, result) as the record states them; NONE where it does not."""
        d, seen, style = self.city.dossiers, self.seen(now), self.city.dossiers.style
        ended, given = (d.finished >= 0) & (d.finished <= seen), (d.handed >= 0) & (d.handed <= seen)
        finish = np.where(ended & ~d.finish_field_missing, d.shown_finish, NONE)
        handed = np.where(given, d.handed, NONE)
        due = self.due(now)
        by_day = (style == MIDNIGHTS) | (style == DATES)

        def cut(moment: Ints, mask: Bools) -> Ints:
            return np.where(mask & (moment >= 0), moment // DAY * DAY, moment)

        due, finish, handed = cut(due, by_day | (style == DUE_MIDNIGHT)), cut(finish, by_day), cut(handed, by_day)
        return due, finish, handed, np.where(finish >= 0, finish, handed)

    def timeliness(self, now: int) -> list[str]:
        """The portal's own word. Without a due date it says that the dossier was in time."""
        due, _, _, result = self.stamps(now)
        status = self.status(now)
        by_day = self.city.dossiers.unit % 2 == 0
        late = np.where(by_day, result // DAY > due // DAY, result > due) & (due >= 0)
        over = np.isin(status, [8, 9, 10]) & (result >= 0)
        said: list[str] = np.where(over, np.where(late, "QUA_HAN", "DUNG_HAN"), "CHUA_KET_THUC").tolist()
        return said

    def code(self, row: int) -> str:
        if self.fate[row] == NEW_CODE:
            return f"000.00.00.H29-{wire(int(self.city.dossiers.received[row]))[2:8]}-9{row:08d}"
        return self.city.dossiers.code[row]

    def extra_code(self, row: int) -> str:
        return f"000.00.00.G09-{wire(int(self.city.dossiers.received[row]))[2:8]}-8{row:08d}"


def portal_copy(city: City) -> PortalCopy:
    """The same for the same options, whatever the clock says."""
    rng = generator_for(city.options, STREAM)
    d = city.dossiers
    count = len(d)
    lag = rng.integers(300, 3 * 3600, count)
    lag = np.where(rng.random(count) < 0.02, rng.integers(3 * 3600, 40 * 3600, count), lag)
    fate = np.full(count, AS_IT_IS, np.int64)
    readable = (d.bad < 0) & (d.unit >= 0) & (d.copies == 1)
    to_the_second = np.isin(d.style, [TIMES, DUE_MIDNIGHT]) & (d.received % DAY != 0)
    in_span = d.received >= city.start  # what never changed again must have come while somebody reads
    for kind, share in SHARES.items():
        needed = to_the_second if kind == NEW_CODE else in_span if kind == STUCK else True
        free = np.flatnonzero(readable & (fate == AS_IT_IS) & needed)
        wanted = min(len(free), max(2, int(share * count))) if count > 100 else 0
        fate[rng.choice(free, size=wanted, replace=False)] = kind
    free = np.flatnonzero(readable & (fate == AS_IT_IS))
    fate[rng.choice(free, size=min(city.options.bad_records // 4, len(free)), replace=False)] = UNREADABLE
    wanted = max(2, int(EXTRA_SHARE * count)) if count > 100 else 0
    extra = rng.choice(np.flatnonzero(in_span), size=wanted, replace=False)
    return PortalCopy(city, fate, lag, np.sort(extra))


class SyncFeed:
    """The copy as the portal's `TraCuuHoSo` shows it at one moment, in the order of the feed."""

    def __init__(self, copy: PortalCopy, now: int) -> None:
        self.copy, self.city = copy, copy.city
        updated = copy.updated_at(now)
        born = copy.received + self.city.dossiers.lag + copy.lag  # of those that only the portal knows
        rows = [(int(updated[row]), copy.code(row), row, False) for row in np.flatnonzero(updated >= 0).tolist()]
        rows += [(int(born[row]), copy.extra_code(row), row, True) for row in copy.extra.tolist() if born[row] <= now]
        rows.sort()
        self.rows = rows
        self.updated = np.array([row[0] for row in rows], np.int64)
        self.status, self.unit = copy.status(now).tolist(), copy.unit.tolist()
        self.due, self.finish, self.handed, _ = (column.tolist() for column in copy.stamps(now))
        self.timeliness = copy.timeliness(now)

    def window(self, since: int, until: int) -> tuple[int, int]:
        """Positions of the records with since ≤ NgayCapNhat < until."""
        low, high = np.searchsorted(self.updated, [since, until], side="left")
        return int(low), max(int(low), int(high))

    def page(self, low: int, high: int) -> list[dict[str, Any]]:
        return [self.record(*row) for row in self.rows[low:high]]

    def record(self, updated: int, code: str, row: int, extra: bool) -> dict[str, Any]:
        d, units = self.city.dossiers, self.city.units
        style, unit = int(d.style[row]), self.unit[row]
        procedure = procedures()[int(d.procedure[row])]

        def text(value: int, *, is_due: bool = False) -> str | None:
            if value < 0:
                return None
            stamp = wire(value)
            if style == DATES:
                return stamp[:8]
            return stamp[:8] + "000000" if style == MIDNIGHTS or (style == DUE_MIDNIGHT and is_due) else stamp

        received = int(self.copy.received[row]) + (61 if extra else 0)
        return {
            "MaHoSo": code,
            "MaTTHC": procedure.code,
            "TenTTHC": procedure.name,
            "MaLinhVuc": procedure.field_code,
            "TenLinhVuc": procedure.field_name,
            "KenhThucHien": str(int(d.channel[row])),
            "ChuHoSo": f"Người Nộp Mẫu {row:06d}",
            "LoaiDoiTuong": "Cá nhân" if row % 7 else "Tổ chức",
            "MaDoiTuong": "000000001" if d.dummy_identity[row] else f"0790{row % 100_000_000:08d}",
            "Email": f"mau{row:06d}@example.invalid",
            "SoDienThoai": f"09{row % 100_000_000:08d}",
            "TrichYeuHoSo": f"{procedure.name} (hồ sơ mẫu số {row})",
            "NgayTiepNhan": IMPOSSIBLE if self.copy.fate[row] == UNREADABLE and not extra else text(received),
            "NgayHenTra": None if extra else text(self.due[row], is_due=True),
            "TrangThaiHoSo": "2" if extra else str(self.status[row]),
            "NgayTra": None if extra else text(self.handed[row]),
            "NgayKetThucXuLy": None if extra else text(self.finish[row]),
            "DonViXuLy": IGNORED_UNIT_CODE if unit < 0 else units[unit].new_code,
            "NoiNopHoSo": units[int(d.receiver[row])].new_code,
            "TinhTrangHan": "CHUA_KET_THUC" if extra else self.timeliness[row],
            "NgayCapNhat": wire(updated),
        }


Cell = tuple[str, str, str, str]


def reconciliation(city: City, now: int) -> dict[Cell, tuple[int, int]]:
    """(unit, day of receipt, status, reason) → dossiers of the city, dossiers of the portal, as known at `now`.

    As a reader finds it who has read both feeds whole at `now`, and saw what was deleted before and after.
    """
    copy, d = portal_copy(city), city.dossiers
    updated = d.updated_at(now)
    gone = city.gone(now)
    at_city = (updated >= 0) & (d.bad < 0) & ~gone
    portal_updated = copy.updated_at(now)
    at_portal = (portal_updated >= 0) & (copy.fate != UNREADABLE)
    status, portal_status = d.status_at(now - d.lag), copy.status(now)
    portal_unit, portal_received = copy.unit, copy.received
    recent = updated > now - LAG_TOLERATED
    found: dict[Cell, list[int]] = {}

    def add(side: int, unit: int, received: int, state: int, reason: str) -> None:
        day = wire(received)
        cell = (UNKNOWN if unit < 0 else city.units[unit].code, f"{day[:4]}-{day[4:6]}-{day[6:8]}", str(state), reason)
        found.setdefault(cell, [0, 0])[side] += 1

    for row in np.flatnonzero((updated >= 0) | (portal_updated >= 0)).tolist():
        fate = int(copy.fate[row])
        mine = (int(d.unit[row]), int(d.received[row]), int(status[row]))
        theirs = (int(portal_unit[row]), int(portal_received[row]), int(portal_status[row]))
        if at_city[row] and at_portal[row]:
            reason = {NEW_CODE: "code_replaced", OTHER_UNIT: "other_unit", OTHER_DAY: "other_receipt_day"}.get(fate)
            if reason is None and mine[2] != theirs[2]:
                inserted = mine[2] in (5, 6, 8) and theirs[2] == DONE
                reason = "status_lag" if recent[row] else "done_inserted" if inserted else "other_status"
            add(0, *mine, reason or "same")
            add(1, *theirs, reason or "same")
        elif at_city[row]:
            if portal_updated[row] >= 0:
                reason = "quarantined_at_portal"
            else:
                reason = "not_yet_at_portal" if recent[row] else "missing_at_portal"
            add(0, *mine, reason)
        elif at_portal[row]:
            if gone[row]:
                reason = "deleted_at_city"
            elif d.bad[row] >= 0 and BAD_KINDS[d.bad[row]] != "missing_key":
                reason = "quarantined_at_city"
            else:
                reason = "not_yet_at_city" if portal_updated[row] > now - LAG_TOLERATED else "missing_at_city"
            add(1, *theirs, reason)
    for row in copy.extra.tolist():
        born = int(copy.received[row] + d.lag[row] + copy.lag[row])
        if born <= now:
            reason = "not_yet_at_city" if born > now - LAG_TOLERATED else "missing_at_city"
            add(1, int(portal_unit[row]), int(portal_received[row]) + 61, 2, reason)
    return {cell: (counts[0], counts[1]) for cell, counts in sorted(found.items())}


def distortions(city: City, now: int) -> dict[str, int]:
    """How many readable dossiers show each distortion at `now`."""
    copy, d = portal_copy(city), city.dossiers
    at_city = (d.updated_at(now) >= 0) & (d.bad < 0) & ~city.gone(now)
    at_portal = (copy.updated_at(now) >= 0) & (copy.fate != UNREADABLE)
    due, _, _, result = copy.stamps(now)
    said = np.array(copy.timeliness(now))
    no_due_needed = np.array([procedure.at_once for procedure in procedures()])[d.procedure]
    by_day = (due % DAY == 0) | (result % DAY == 0)
    late = np.where(by_day, result // DAY > due // DAY, result > due)
    judged = at_portal & (said != "CHUA_KET_THUC")
    in_full, restarted_due = _supplements_in_full(d, now - d.lag)
    shifted = (in_full == copy.supplemented(now)[0]) & (in_full > 0) & (due // DAY != restarted_due // DAY)
    return {
        "dummy_identity": int((at_city & d.dummy_identity).sum()),
        "done_inserted": int((at_city & d.done_inserted & np.isin(d.status_at(now - d.lag), [5, 6, 8])).sum()),
        "code_replaced": int((at_city & at_portal & (copy.fate == NEW_CODE)).sum()),
        "due_missing_on_time": int((judged & (due < 0) & (said == "DUNG_HAN") & ~no_due_needed).sum()),
        "precision_mixed": int((judged & (due >= 0) & ((said == "QUA_HAN") != late)).sum()),
        "due_moved_by_pause": int((at_city & at_portal & shifted & (copy.fate != NEW_CODE)).sum()),
    }


def _supplements_in_full(d: Dossiers, seen: Ints) -> tuple[Ints, Ints]:
    """Number of supplements received in full up to a moment, and the due date that the last of them set."""
    back, after = d.request_answered[:, :MAX_REQUESTS], d.request_due_after[:, :MAX_REQUESTS]
    full = (d.request_kind[:, :MAX_REQUESTS] == FULL) & (back >= 0) & (back <= seen[:, None])
    return full.sum(axis=1), np.where(full, after, NONE).max(axis=1)


def differences(city: City, now: int) -> Counter[str]:
    """Dossiers of either side per reason."""
    found: Counter[str] = Counter()
    for (_, _, _, reason), counts in reconciliation(city, now).items():
        found[reason] += sum(counts)
    return found
