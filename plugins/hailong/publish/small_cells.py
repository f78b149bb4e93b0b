"""Small cells (Article 3.4): what of a quarter or year the public is shown, so that nobody learns how a few people rated.

Decided once per edition, when it is published, and kept in `publish.public_row`; the views of schema `open` show nothing
else. A cell is the ratings of one unit in one window. Its C, counts and everything that reveals it are hidden when

- `few_ratings`: the cell has fewer than `c_min_ratings`;
- `between_editions`: subtracting an earlier edition of the period that shows it would leave fewer than that, but some;
- `between_periods`: subtracting the shown quarters from the year would, or what is left would narrow a hidden quarter's C
  to less than `c_min_uncertainty`;
- `parts_not_published`: a quarter of the year has no edition yet, so that nobody can say what it will leave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import product
from typing import Any

import psycopg
from psycopg.rows import dict_row

from hailong.periods import Period, parse_period
from hailong.settings import Settings


@dataclass(frozen=True)
class Cell:
    """Ratings of one unit in one window of one edition: how many, how many good; `shown` to the public or not."""

    ratings: int
    good: int
    shown: bool = True


@dataclass(frozen=True)
class Limits:
    """`c_min_ratings` and `c_min_uncertainty` of the edition's policy."""

    ratings: int
    uncertainty: Decimal


def reveals(total: Cell, parts: Sequence[Cell], limits: Limits) -> bool:
    """Whether a shown total and these parts of it (one edition of each) tell too much about somebody's ratings."""
    left = total.ratings - sum(part.ratings for part in parts if part.shown)
    good = total.good - sum(part.good for part in parts if part.shown)
    hidden = [part for part in parts if not part.shown]
    if left == 0 and good == 0 and not hidden:
        return False
    if abs(left) < limits.ratings:
        return True
    if left < 0:  # the total is older or newer than its parts by more than a few: nothing of a hidden part follows
        return False
    late = left - sum(part.ratings for part in hidden)  # in the total, in none of its parts
    # What a reader knows of each hidden part: it is small, or else it is not.
    ranges = [(1, limits.ratings - 1) if part.ratings < limits.ratings else (limits.ratings, left) for part in hidden]
    if late:
        ranges.append((0, left))
    return any(
        part.ratings < limits.ratings
        and _uncertainty(left, good, ranges[place], ranges[:place] + ranges[place + 1 :]) < limits.uncertainty
        for place, part in enumerate(hidden)
    )


def _uncertainty(left: int, good: int, own: tuple[int, int], others: list[tuple[int, int]]) -> Decimal:
    """Width of what one hidden part's C can be, when all of them together have `left` ratings, `good` of them good."""
    least, most = sum(low for low, _ in others), sum(high for _, high in others)
    possible = [
        Decimal(points) / ratings
        for ratings in range(own[0], own[1] + 1)
        if least <= left - ratings <= most
        for points in range(max(0, good - (left - ratings)), min(ratings, good) + 1)
    ]
    return max(possible) - min(possible) if possible else Decimal(0)


def found_out(whole: Cell, parts: Sequence[Cell], limits: Limits) -> bool:
    """Whether who tries every world that fits what is shown learns too much: what `reveals` judges, reckoned another way.

    Decided is by `reveals`; the gate attacks with this, so that a fault of either shows.
    """
    hidden = [part for part in parts if not part.shown]
    left = whole.ratings - sum(part.ratings for part in parts if part.shown)
    good = whole.good - sum(part.good for part in parts if part.shown)
    if abs(left) < limits.ratings:
        return bool(hidden) or (left, good) != (0, 0)
    small = sum(part.ratings < limits.ratings for part in hidden)
    if left < 0 or not small:
        return False
    large = len(hidden) - small
    is_open = large > 0 or left != sum(part.ratings for part in hidden)  # by large cells, or by ratings of no part
    cells = [(ratings, points) for ratings in range(1, limits.ratings) for points in range(ratings + 1)]
    others = {(0, 0)}
    for _ in range(small - 1):
        others = {(n + ratings, x + points) for n, x in others for ratings, points in cells}

    def fits(ratings: int, points: int) -> bool:
        if not is_open:
            return (ratings, points) == (0, 0)
        return ratings >= large * limits.ratings and 0 <= points <= ratings

    possible = {
        Decimal(points) / ratings
        for ratings, points in cells
        if any(fits(left - ratings - n, good - points - x) for n, x in others)
    }
    return not possible or max(possible) - min(possible) < limits.uncertainty


def hidden_because(
    cell: Cell,
    before: Iterable[Cell],
    wholes: Iterable[tuple[Cell, Sequence[Sequence[Cell]]]],
    parts: Sequence[Sequence[Cell]] | None,
    limits: Limits,
) -> str | None:
    """Why a new cell is not shown, or None.

    `before`: the same period in earlier editions. `wholes`: shown years around the new cell, each with what is known of
    its other quarters. `parts`: for a year, what is known of each quarter; None when a quarter has no edition.
    """
    if cell.ratings < limits.ratings:
        return "few_ratings"
    if any(other.shown and reveals(cell, [other], limits) for other in before):
        return "between_editions"
    if parts is None:
        return "parts_not_published"
    families = [(cell, parts), *((whole, [[cell], *others]) for whole, others in wholes)]
    for whole, known in families:
        if any(reveals(whole, chosen, limits) for chosen in product(*known)):
            return "between_periods"
    return None


# -- editions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """An edition of a quarter or year with its cells by unit; a unit without ratings has none."""

    edition_id: str
    period: Period
    number: int
    cells: Mapping[str, Cell]


OF_CANDIDATE = """
    select
        k.unit_code, k.window_start, k.window_end, c.numerator as good, c.denominator as ratings
    from publish.candidate_k_score as k
    inner join publish.candidate_index_score as c
        on k.candidate_id = c.candidate_id and k.unit_code = c.unit_code and c.index_code = 'C' and c.status = 'scored'
    where k.candidate_id = %s
    order by k.unit_code
"""
UNDECIDED = """
    select edition_id, period_code from publish.edition as e
    where not exists (select 1 from publish.public_row as p where p.edition_id = e.edition_id)
    order by published_at, edition_id
"""
ROWS = """
    select
        k.unit_code, k.window_start, k.window_end, k.a, k.b, k.c, k.d, k.e, k.k, k.verdict, k.verdict_bound, k.status,
        c.numerator as good, c.denominator as ratings
    from publish.k_score as k
    left join publish.index_score as c
        on k.edition_id = c.edition_id and k.unit_code = c.unit_code and c.index_code = 'C' and c.status = 'scored'
    where k.edition_id = %s
    order by k.unit_code
"""
DECIDED = """
    select e.edition_id, e.period_code, e.edition_no, p.unit_code, p.c_hidden_because, c.numerator, c.denominator
    from publish.edition as e
    inner join publish.public_row as p on e.edition_id = p.edition_id
    left join publish.index_score as c
        on p.edition_id = c.edition_id and p.unit_code = c.unit_code and c.index_code = 'C' and c.status = 'scored'
    order by e.published_at, e.edition_id
"""


def decide(settings: Settings, connection: psycopg.Connection) -> list[str]:
    """Decide, in the order of publication, every edition of a quarter or year that nobody has decided; their names.

    Safe to repeat: a decision stands for ever.
    """
    decided = []
    for edition_id, period_code in connection.execute(UNDECIDED).fetchall():
        period = parse_period(settings.rules, period_code)
        if period.kind == "month":
            continue
        _decide(settings, connection, edition_id, period)
        decided.append(edition_id)
    return decided


def _decide(settings: Settings, connection: psycopg.Connection, edition_id: str, period: Period) -> None:
    said = _said(settings, connection)
    parameters: dict[str, str] = dict(
        connection.execute(
            "select parameter, value from publish.edition_parameter where edition_id = %s", (edition_id,)
        ).fetchall()
    )
    limits = Limits(int(parameters["c_min_ratings"]), Decimal(parameters["c_min_uncertainty"]))
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(ROWS, (edition_id,)).fetchall()
    for row in rows:
        because = None
        if row["ratings"] is not None:
            cell = Cell(int(row["ratings"]), int(row["good"]))
            because = hidden_because(cell, *_around(settings, said, period, row), limits)
        verdict, bound = (row["verdict"], row["verdict_bound"]) if because is None else _whatever_c(row, parameters)
        connection.execute(
            "insert into publish.public_row (edition_id, unit_code, c_hidden_because, verdict, verdict_bound) "
            "values (%s, %s, %s, %s, %s)",
            (edition_id, row["unit_code"], because, verdict, bound),
        )


def attack(settings: Settings, connection: psycopg.Connection, candidate_id: str) -> list[dict[str, Any]]:
    """For each unit with ratings, what would be shown of a candidate, and whether that can be undone by what is public.

    Tried is every subtraction in which the candidate takes part once it is decided: it against earlier editions, a year
    against its quarters in every edition. A month is not public: no rows. A candidate without the limits is attackable.
    """
    found = connection.execute(
        "select period_code from publish.candidate where candidate_id = %s", (candidate_id,)
    ).fetchone()
    period = parse_period(settings.rules, found[0]) if found else None
    if period is None or period.kind == "month":
        return []
    parameters: dict[str, str] = dict(
        connection.execute(
            "select parameter, value from publish.candidate_parameter where candidate_id = %s", (candidate_id,)
        ).fetchall()
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(OF_CANDIDATE, (candidate_id,)).fetchall()
    if not {"c_min_ratings", "c_min_uncertainty"} <= set(parameters):
        return [{"unit_code": row["unit_code"], "few_are_hidden": False, "resists_attack": False} for row in rows]
    limits = Limits(int(parameters["c_min_ratings"]), Decimal(parameters["c_min_uncertainty"]))
    said = _said(settings, connection)
    judged = []
    for row in rows:
        cell = Cell(int(row["ratings"]), int(row["good"]))
        before, wholes, parts = _around(settings, said, period, row)
        cell = replace(cell, shown=hidden_because(cell, before, wholes, parts, limits) is None)
        families: list[tuple[Cell, Sequence[Sequence[Cell]]]] = []
        if cell.shown:  # a hidden one adds nothing to what is public already
            families = [(cell, [[other]]) for other in before if other.shown]
            families += [(cell, parts or []), *((whole, [[cell], *others]) for whole, others in wholes)]
        judged.append(
            {
                "unit_code": row["unit_code"],
                "few_are_hidden": cell.ratings >= limits.ratings or not cell.shown,
                "resists_attack": not any(
                    found_out(whole, chosen, limits) for whole, known in families for chosen in product(*known)
                ),
            }
        )
    return judged


def _said(settings: Settings, connection: psycopg.Connection) -> list[_Said]:
    cells: dict[tuple[str, str, int], dict[str, Cell]] = defaultdict(dict)
    for edition_id, period_code, number, unit, because, good, ratings in connection.execute(DECIDED).fetchall():
        known = cells[edition_id, period_code, number]
        if ratings is not None:
            known[unit] = Cell(int(ratings), int(good), because is None)
    return [
        _Said(edition_id, parse_period(settings.rules, code), number, known)
        for (edition_id, code, number), known in cells.items()
    ]


def _around(
    settings: Settings, said: list[_Said], period: Period, row: dict[str, Any]
) -> tuple[list[Cell], list[tuple[Cell, list[list[Cell]]]], list[list[Cell]] | None]:
    """What `hidden_because` must know of other editions, for one unit: the same period, shown years, own quarters."""
    unit = row["unit_code"]
    before = [other.cells[unit] for other in said if other.period == period and unit in other.cells]
    if period.kind == "year":
        return before, [], _quarters(settings, said, period, unit, (row["window_start"], row["window_end"]))
    year = parse_period(settings.rules, period.code.partition("-")[0])
    others = _quarters(settings, said, year, unit, (year.start, year.end), without=period) or []
    wholes = [
        (other.cells[unit], others)
        for other in said
        if other.period == year and unit in other.cells and other.cells[unit].shown
    ]
    return before, wholes, []


def _quarters(
    settings: Settings,
    said: list[_Said],
    year: Period,
    unit: str,
    window: tuple[date, date],
    without: Period | None = None,
) -> list[list[Cell]] | None:
    """For each quarter of a year, the cells that it may be known by: each one shown, and the newest when that is hidden.

    None when a quarter that meets the window has no edition. Without ratings a quarter is known to be empty.
    """
    found = []
    for number in range(1, 5):
        quarter = parse_period(settings.rules, f"{year.code}-Q{number}")
        if quarter == without or quarter.start >= window[1] or quarter.end <= window[0]:
            continue
        editions = sorted((other for other in said if other.period == quarter), key=lambda other: other.number)
        if not editions:
            return None
        newest = editions[-1].cells.get(unit, Cell(0, 0))
        choices = [other.cells[unit] for other in editions if unit in other.cells and other.cells[unit].shown]
        found.append(choices if newest in choices else [*choices, newest])
    return found


# -- the verdict ------------------------------------------------------------------------------------------------------


def _whatever_c(row: Mapping[str, Any], parameters: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Verdict and bound that hold for every C from 0 to its maximum; None where they would tell C."""
    quantum = Decimal(1).scaleb(-int(parameters["k_scale"]))
    threshold = Decimal(parameters["k_threshold"])
    maxima = {name: Decimal(parameters[f"{name}_max"]) for name in "abcde"}
    values = {name: row[name] for name in "abde"}
    least = sum((value for value in values.values() if value is not None), Decimal(0))
    most = least + maxima["c"] + sum(maxima[name] for name, value in values.items() if value is None)
    low, high = (value.quantize(quantum, ROUND_HALF_UP) for value in (least, most))
    whatever = "satisfied" if low > threshold else "not_satisfied" if high < threshold else None
    if row["status"] == "incomplete":
        return None, f"{whatever}_whatever" if whatever else "open"
    # An incomplete K that a policy fills up is stretched by what is there: its bounds are others, and it is not shown.
    complete = all(value is not None for value in values.values())
    return (whatever if row["verdict"] is not None and complete else None), None
