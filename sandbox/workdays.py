"""Working days of the years that the stand-in can generate, as numpy look-up tables.

Days are numbers since 1970-01-01. The stand-in keeps its own list on purpose (public notices of the Ministry of
Home Affairs): a mistake in the warehouse's calendar must not be able to hide in its truth.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Days = NDArray[np.int64]

FIRST, LAST = date(2024, 1, 1), date(2028, 6, 30)

# New Year, Lunar New Year, Hung Kings, 30 April, 1 May, National Day, and days swapped with a Saturday.
DAYS_OFF = """
    2024-01-01 2024-02-08 2024-02-09 2024-02-12 2024-02-13 2024-02-14 2024-04-18 2024-04-29 2024-04-30 2024-05-01
    2024-09-02 2024-09-03
    2025-01-01 2025-01-27 2025-01-28 2025-01-29 2025-01-30 2025-01-31 2025-04-07 2025-04-30 2025-05-01 2025-05-02
    2025-09-01 2025-09-02
    2026-01-01 2026-01-02 2026-02-16 2026-02-17 2026-02-18 2026-02-19 2026-02-20 2026-04-27 2026-04-30 2026-05-01
    2026-08-31 2026-09-01 2026-09-02 2026-11-24
    2027-01-01 2027-02-04 2027-02-05 2027-02-08 2027-02-09 2027-02-10 2027-04-16 2027-04-30 2027-05-03 2027-09-02
    2027-09-03 2027-11-24
"""
MAKE_UP_SATURDAYS = ("2024-05-04", "2025-04-26", "2026-01-10", "2026-08-22")


def number(day: date) -> int:
    """Day number since 1970-01-01."""
    return (day - date(1970, 1, 1)).days


class Calendar:
    """Vectorised questions about working days."""

    def __init__(self) -> None:
        self._zero = number(FIRST)
        days = np.arange(self._zero, number(LAST) + 1)
        working = (days + 3) % 7 < 5  # 1970-01-01 was a Thursday
        working[[number(date.fromisoformat(text)) - self._zero for text in DAYS_OFF.split()]] = False
        working[[number(date.fromisoformat(text)) - self._zero for text in MAKE_UP_SATURDAYS]] = True
        self._working = working
        self._list = days[working]
        self._up_to = np.cumsum(working)  # how many working days up to and including a day

    def is_working(self, day: Days) -> NDArray[np.bool_]:
        return self._working[day - self._zero]

    def roll(self, day: Days) -> Days:
        """The day itself, or the next working day when it is a day off."""
        return self._list[self._up_to[day - self._zero] - self.is_working(day)]

    def add(self, day: Days, count: Days | int) -> Days:
        """The count-th working day after the day (count ≥ 1)."""
        found: Days = self._list[self._up_to[day - self._zero] + count - 1]
        return found

    def between(self, after: Days, until: Days) -> Days:
        """Number of working days d with after < d ≤ until."""
        count: Days = self._up_to[until - self._zero] - self._up_to[after - self._zero]
        return count


@lru_cache(maxsize=1)
def calendar() -> Calendar:
    return Calendar()
