"""Schema `open`: what the public reads tells nobody how a few people rated; attacked with everything that is public.

The attacker knows how the warehouse works, which hidden cells are small, and whether ratings came late. What the plain
rules of thumb would have shown is attacked too, and must be found out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pypdf
import pytest
import yaml
from psycopg.types.json import Jsonb
from scipy.optimize import linprog

from expectations import gate
from expectations.suites import landed
from expectations.suites.model import Subject
from hailong.periods import parse_period
from hailong.publish import opendata
from hailong.publish.report import posting
from hailong.publish.small_cells import decide
from hailong.settings import PROJECT, Settings
from hailong.warehouse.connect import connect

SMALL, WIDTH = 5, 0.5
UNITS, GROUPS = 90, ("HCM.XP", "HCM.SN", *(f"HCM.{name}" for name in "ABCDEFGH"))
# Quarters and the year, some said twice, in the order of publication.
PUBLISHED = ("2026-Q1", "2026-Q2", "2026-Q1", "2026-Q3", "2026-Q4", "2026", "2026-Q3", "2026")
QUANTUM = Decimal(1).scaleb(-6)

# -- a city whose units have few ratings, and its editions --------------------------------------------------------------


@dataclass
class Unit:
    """Ratings by quarter: (good, the publication from which on it is known)."""

    code: str
    group: str
    ratings: dict[str, list[tuple[bool, int]]]
    others: dict[str, Decimal]  # a, b, d, e

    def cell(self, period: str, moment: int) -> tuple[int, int]:
        known = [
            good
            for quarter, given in self.ratings.items()
            if quarter.startswith(period)
            for good, since in given
            if since <= moment
        ]
        return len(known), sum(known)


def a_city(seed: int) -> list[Unit]:
    chance = random.Random(seed)
    units = []
    for number in range(UNITS):
        kind = chance.random()
        ratings = {}
        for quarter in ("2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4"):
            count = chance.choice((0, 1, 2, 3, 4, 4, 5, 6, 9, 15)) if kind < 0.8 else chance.randint(4, 12)
            share = chance.choice((0, 0.5, 0.8, 1, 1))
            late = chance.choice((0, 0, 0, 0.1, 0.6))
            ratings[quarter] = [
                (chance.random() < share, chance.choice((2, 5, 6, 7)) if chance.random() < late else 0)
                for _ in range(count)
            ]
        # A + B + D + E a little above or below the threshold, so that C decides many a verdict and rank.
        d = Decimal(chance.choice((15, 16, 17, 18))) - Decimal(chance.randint(0, 1000)) / 2000
        # Two groups of many units and eight of two or three, where a total says most.
        group = GROUPS[number % 2] if number < 70 else GROUPS[2 + number % 8]
        units.append(
            Unit(
                f"U{number:02d}",
                group,
                ratings,
                {"a": Decimal(1), "b": Decimal(chance.randint(8, 10)) / 10, "d": d, "e": Decimal(1)},
            )
        )
    return units


def evaluated(unit: str, kind: str, score: int | None, most: int | None, **values: Any) -> dict[str, Any]:
    """A row of the annex `evaluation`: due and scored, unless it says otherwise."""
    return {
        "unit_code": unit, "evaluator_kind": kind, "is_due": True, "is_small": False, "line_count": 2, "score": score,
        "max_score": most, "share": None if score is None or not most else score / most, "rank": None, "last_on": "2026-12-01",
        "status": "awaiting_input" if score is None else "scored", "status_reason": "none_came" if score is None else None,
    } | values  # fmt: skip


# Edition → its annex. U01's survey got two more answers, U02's came late, U03's authority corrected its points; U04 was
# surveyed in a quarter and again in the year, U05 in the quarter only; U00's survey had few answers.
EVALUATED = {
    "2026-Q1.e1": [
        evaluated("U00", "internal", 9, 10),
        evaluated("U01", "organisation", 5, 50, is_due=False),
        evaluated("U04", "organisation", 10, 20),
        evaluated("U05", "organisation", 10, 20),
    ],
    "2026.e1": [
        evaluated("U00", "organisation", 2, 4, is_small=True),
        evaluated("U01", "organisation", 40, 50),
        evaluated("U02", "organisation", None, None),
        evaluated("U03", "authority", 80, 100, rank=3),
        evaluated("U04", "organisation", 12, 23),
        evaluated("U05", "organisation", 10, 20),
        evaluated("U06", "self", 7, 10),
    ],
    "2026.e2": [
        evaluated("U00", "organisation", 2, 4, is_small=True),
        evaluated("U01", "organisation", 41, 52),
        evaluated("U02", "organisation", 30, 60),
        evaluated("U03", "authority", 85, 100, rank=2),
        evaluated("U04", "organisation", 12, 23),
        evaluated("U05", "organisation", 10, 20),
        evaluated("U06", "self", 7, 10),
    ],
    "2026-11.e1": [evaluated("U00", "internal", 9, 10)],
}


def say(settings: Settings, units: list[Unit]) -> None:
    """Write the editions as the publisher does, each decided before the next is said."""
    with (PROJECT / "dbt_project/seeds/scoring_policy_parameter.csv").open(encoding="utf-8") as handle:
        parameters = [tuple(row.values()) for row in csv.DictReader(handle)]
    said: dict[str, int] = {}
    for moment, code in enumerate(PUBLISHED):
        number = said[code] = said.get(code, 0) + 1
        with connect(settings, "hailong_publisher") as connection:
            _edition(settings, connection, units, code, number, moment, parameters)
            assert decide(settings, connection) == [f"{code}.e{number}"]
            assert decide(settings, connection) == []


def _edition(
    settings: Settings,
    connection: psycopg.Connection,
    units: list[Unit],
    code: str,
    number: int,
    moment: int,
    parameters: list[tuple[str, ...]],
) -> None:
    period = parse_period(settings.rules, code)
    name, candidate = f"{code}.e{number}", f"{code}.c{number}"
    header = (period.code, period.calendar_code, period.start, period.end)
    connection.execute(
        "insert into publish.candidate (candidate_id, period_code, calendar_code, period_start, period_end, cutoff_at, "
        "as_of_batch, build_id, rules_sha256, policy_id, code_version, late_batches, content_sha256, requested_by) "
        "values (%s, %s, %s, %s, %s, now(), %s, 1, 'r', 'qd104-2024', 'v', 0, repeat('a', 64), 'x')",
        (candidate, *header, moment + 1),
    )
    connection.execute(
        "insert into publish.edition (edition_id, period_code, calendar_code, period_start, period_end, edition_no, "
        "supersedes, reason, candidate_id, as_of_batch, rules_sha256, policy_id, code_version, content_sha256, "
        "gate_run_id, published_by) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, 1, 'r', 'qd104-2024', 'v', 'x', 'g', 'x')",
        (
            name,
            *header,
            number,
            f"{code}.e{number - 1}" if number > 1 else None,
            "late" if number > 1 else None,
            candidate,
        ),
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into publish.edition_parameter (edition_id, policy_id, parameter, value, why) values (%s, %s, %s, %s, %s)",
            [(name, *parameter) for parameter in parameters],
        )
        cursor.executemany(
            "insert into publish.annex (edition_id, annex, row_no, unit_code, content) values (%s, 'evaluation', %s, %s, %s)",
            [(name, n, row["unit_code"], Jsonb(row)) for n, row in enumerate(EVALUATED.get(name, ()), start=1)],
        )
        for row in scored(units, code, moment):
            cursor.execute(
                "insert into publish.k_score (edition_id, period_code, unit_code, unit_name, peer_group, peer_group_name, "
                "unit_kind, a, b, c, d, e, k, verdict, status, status_reason, rank_in_group, window_start, window_end, "
                "small_sample, near_threshold, no_petitions, k_min, k_max, verdict_stability) values (%s, %s, %s, %s, %s, "
                "%s, 'commune', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, false, true, false, %s, %s, 'stable')",
                (
                    name, code, row["unit"], row["unit"], row["group"], row["group"], row["a"], row["b"], row["c"], row["d"],
                    row["e"], row["k"], row["verdict"], "incomplete" if row["k"] is None else "scored",
                    "C:no_data" if row["k"] is None else None, row["rank"], period.start, period.end, row["k"], row["k"],
                ),
            )  # fmt: skip
            for index in "ABCDE":
                top, bottom = row["cell"][::-1] if index == "C" else (row[index.lower()] * 10, 10)
                cursor.execute(
                    "insert into publish.index_score (edition_id, period_code, unit_code, index_code, numerator, denominator, "
                    "excluded, value, status) values (%s, %s, %s, %s, %s, %s, 0, %s, %s)",
                    (name, code, row["unit"], index, top, bottom, row[index.lower()], "scored" if bottom else "no_data"),
                )  # fmt: skip


def scored(units: list[Unit], code: str, moment: int) -> Iterator[dict[str, Any]]:
    rows = []
    for unit in units:
        ratings, good = unit.cell(code, moment)
        c = Decimal(good) / ratings if ratings else None
        k = None if c is None else (sum(unit.others.values()) + c).quantize(QUANTUM, ROUND_HALF_UP)
        verdict = None if k is None else "satisfied" if k > 20 else "not_satisfied" if k < 20 else "undetermined"
        rows.append(
            {"unit": unit.code, "group": unit.group, "cell": (ratings, good), "c": c, "k": k, "verdict": verdict}
            | unit.others
        )
    for row in rows:
        above = [other for other in rows if other["group"] == row["group"] and row["k"] and other["k"]]
        row["rank"] = 1 + sum(round(other["k"], 2) > round(row["k"], 2) for other in above) if row["k"] else None
        yield row


# -- the attacker -------------------------------------------------------------------------------------------------------


@dataclass
class Public:
    """What the public reads, by (unit, period, number of the edition); a hidden cell has no counts."""

    cells: dict[tuple[str, str, int], tuple[int, int] | None]
    scores: dict[tuple[str, str, int], dict[str, Any]]
    pooled: dict[tuple[str, str, int], tuple[int, int] | None] = field(default_factory=dict)


def read(settings: Settings, source: str = "open", *, naive: str = "") -> Public:
    """As the public reads it; or, `naive`, with one thing shown as `publish` has it."""
    role = "hailong_open_reader" if source == "open" and not naive else None
    with connect(settings, role) as connection:
        number = "split_part(edition_id, '.e', 2)::integer"
        counts = "publish.index_score" if naive == "cells" else "open.index_score"
        cells = {
            (unit, period, edition): None if bottom is None else (int(bottom), int(top))
            for unit, period, edition, top, bottom in connection.execute(
                f"select unit_code, period_code, {number}, numerator, denominator from {counts} where index_code = 'C'"
            ).fetchall()
        }
        if naive == "cells":  # only what is small is hidden
            cells = {key: None if cell and 0 < cell[0] < SMALL else cell for key, cell in cells.items()}
        chosen = {
            "k": "p.k" if naive == "k" else "o.k",
            "verdict": "p.verdict" if naive == "verdict" else "o.verdict",
            "rank": "p.rank_in_group" if naive == "rank" else "o.rank_among_shown",
        }
        inner = "inner join publish.k_score as p using (edition_id, unit_code)" if naive else ""
        rows = connection.execute(
            f"select o.unit_code, o.period_code, {number}, o.peer_group, o.a, o.b, o.d, o.e, {chosen['k']}, "
            f"{chosen['verdict']}, {chosen['rank']} from open.k_score as o {inner}"
        ).fetchall()
        scores = {
            (row[0], row[1], row[2]): dict(
                zip(("group", "a", "b", "d", "e", "k", "verdict", "rank"), row[3:], strict=True)
            )
            for row in rows
        }
        pooled = connection.execute(
            f"select peer_group, period_code, {number}, c_denominator, c_numerator from open.group_score"
            if naive != "pooled"
            else "select k.peer_group, k.period_code, split_part(k.edition_id, '.e', 2)::integer, sum(i.denominator), "
            "sum(i.numerator) from publish.index_score as i inner join publish.k_score as k using (edition_id, unit_code) "
            "where i.index_code = 'C' group by 1, 2, 3"
        ).fetchall()
    groups = {(g, p, e): None if n is None else (int(n), int(x)) for g, p, e, n, x in pooled}
    return Public(cells, scores, groups)


def attack(public: Public, truth: dict[tuple[str, str, int], tuple[int, int]]) -> dict[str, set[tuple[str, str, int]]]:
    """The small cells that were found out, by the way that did it. `truth` tells the attacker which are small, and no more."""
    found: dict[str, set[tuple[str, str, int]]] = {}
    small = {key for key, (ratings, _) in truth.items() if 0 < ratings < SMALL}

    def out(way: str, key: tuple[str, str, int], low: float, high: float) -> None:
        if high - low < WIDTH - 1e-6:
            found.setdefault(way, set()).add(key)

    for key in small:
        out("shown", key, 0, 0 if public.cells[key] is not None else 1)
        out("sum", key, *_from_k(public.scores[key]))
        out("rank", key, *_from_ranks(public, key))
    for unit in {key[0] for key in truth}:
        for way, key, low, high in _from_differences(public, truth, unit):
            out(way, key, low, high)
    for (group, period, edition), whole in public.pooled.items():
        members = [k for k, s in public.scores.items() if k[1:] == (period, edition) and s["group"] == group]
        if whole is None or not members:
            continue
        known = [public.cells[k] for k in members]
        left = (
            whole[0] - sum(cell[0] for cell in known if cell),
            whole[1] - sum(cell[1] for cell in known if cell),
        )
        hidden = [k for k in members if public.cells[k] is None]
        for key in [k for k in hidden if k in small] if left[0] > 0 else []:
            out("pooled", key, *_bounds(left, [truth[k][0] < SMALL for k in hidden], hidden.index(key), False))
    return found


def _from_k(score: dict[str, Any]) -> tuple[float, float]:
    """What K, or its verdict, says of a hidden C."""
    rest = float(sum(score[name] for name in "abde"))
    if score["k"] is not None:
        return float(score["k"]) - rest, float(score["k"]) - rest
    bounds = {"satisfied": (20 - rest, 1.0), "not_satisfied": (0.0, 20 - rest)}.get(score["verdict"], (0.0, 1.0))
    return max(0.0, bounds[0]), min(1.0, bounds[1])


def _from_ranks(public: Public, key: tuple[str, str, int]) -> tuple[float, float]:
    """A rank that nobody holds is a hidden unit's: where it stands among the shown ones bounds its K."""
    own = public.scores[key]
    rest = float(sum(own[name] for name in "abde"))
    rivals = [s for k, s in public.scores.items() if k[1:] == key[1:] and s["group"] == own["group"]]
    placed = sorted((s["rank"], -s["k"]) for s in rivals if s["rank"] and s["k"] is not None)
    if own["rank"]:
        above = [-k for rank, k in placed if rank < own["rank"]]
        below = [-k for rank, k in placed if rank > own["rank"]]
    else:
        by_rank: dict[int, list[Decimal]] = {}
        for rank, k in placed:
            by_rank.setdefault(rank, []).append(-k)
        ranks = sorted(by_rank)
        gaps = [(a, b) for a, b in pairwise(ranks) if b - a - len(by_rank[a]) > 0]
        hidden = [s for s in rivals if s["k"] is None and s["verdict"] is not None]
        if len(gaps) != 1 or len(hidden) != 1 or hidden[0] is not own:
            return 0.0, 1.0
        above, below = by_rank[gaps[0][0]], by_rank[gaps[0][1]]
    high = min((float(k) for k in above), default=22.0) - rest
    low = max((float(k) for k in below), default=0.0) - rest
    return max(0.0, low - 0.01), min(1.0, high + 0.01)


def _from_differences(
    public: Public, truth: dict[tuple[str, str, int], tuple[int, int]], unit: str
) -> Iterator[tuple[str, tuple[str, str, int], float, float]]:
    """Shown totals less shown parts: a few ratings that are left, or what is left of the hidden quarters."""
    own = {(period, edition): cell for (u, period, edition), cell in public.cells.items() if u == unit}
    periods = {period: sorted(e for p, e in own if p == period) for period, _ in own}
    for period, editions in periods.items():
        for one, two in product(editions, editions):
            a, b = own[period, one], own[period, two]
            if a and b and a != b and abs(a[0] - b[0]) < SMALL:
                yield "editions", (unit, period, two), 0, 0
    quarters = sorted(period for period in periods if "Q" in period)
    for edition in periods["2026"]:
        whole = own["2026", edition]
        if whole is None:
            continue
        for choice in product(*(periods[quarter] for quarter in quarters)):
            parts = [(unit, q, e) for q, e in zip(quarters, choice, strict=True)]
            hidden = [key for key in parts if public.cells[key] is None]
            shown = [cell for key in parts if (cell := public.cells[key]) is not None]
            left = (whole[0] - sum(n for n, _ in shown), whole[1] - sum(x for _, x in shown))
            # Of a hidden quarter that an earlier or later edition shows, only the newest is a secret.
            if any(key[2] != periods[key[1]][-1] for key in hidden):
                continue
            if not hidden and left == (0, 0):
                continue
            if 0 <= abs(left[0]) < SMALL:
                yield "periods", (unit, "2026", edition), 0, 0
            elif left[0] > 0:
                late = left[0] != sum(truth[key][0] for key in hidden)
                for key in hidden:
                    if 0 < truth[key][0] < SMALL:
                        kinds = [0 < truth[k][0] < SMALL for k in hidden]
                        yield "periods", key, *_bounds(left, kinds, hidden.index(key), late)


def _bounds(left: tuple[int, int], small: list[bool], place: int, late: bool) -> tuple[float, float]:
    """Least and greatest C of one hidden cell by linear programming (Charnes–Cooper: all is divided by its ratings).

    Variables: ratings and good ratings of each hidden cell, of the late rest, and the divisor s.
    """
    cells = len(small) + late
    columns = 2 * cells + 1
    equal, above = [], []
    for offset, total in enumerate(left):
        line = [0.0] * columns
        line[offset : 2 * cells : 2] = [1.0] * cells
        line[-1] = -float(total)
        equal.append(line)
    one = [0.0] * columns
    one[2 * place] = 1.0
    equal.append(one)
    for cell in range(cells):
        line = [0.0] * columns
        line[2 * cell], line[2 * cell + 1] = -1.0, 1.0  # good <= ratings
        above.append(line)
        if cell < len(small):
            low, high = (1, SMALL - 1) if small[cell] else (SMALL, left[0])
            for sign, limit in ((-1.0, low), (1.0, high)):
                line = [0.0] * columns
                line[2 * cell], line[-1] = sign, -sign * limit
                above.append(line)
    goal = [0.0] * columns
    goal[2 * place + 1] = 1.0
    answers = [
        linprog([sign * g for g in goal], above, [0.0] * len(above), equal, [0.0, 0.0, 1.0], method="highs")
        for sign in (1.0, -1.0)
    ]
    if any(answer.status == 2 for answer in answers):  # deletions since: these parts are not parts of that total
        return 0.0, 1.0
    assert all(answer.status == 0 for answer in answers), (left, small, late)
    return float(answers[0].fun), -float(answers[1].fun)


# -- tests --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    settings: Settings
    truth: dict[tuple[str, str, int], tuple[int, int]]


@pytest.fixture(scope="module", params=(1, 2))
def said(request: pytest.FixtureRequest, new_warehouse: Callable[..., Settings]) -> Said:
    settings, units = new_warehouse(), a_city(request.param)
    say(settings, units)
    editions: dict[str, int] = {}
    truth = {}
    for moment, code in enumerate(PUBLISHED):
        editions[code] = editions.get(code, 0) + 1
        truth |= {(unit.code, code, editions[code]): unit.cell(code, moment) for unit in units}
    return Said(settings, truth)


def test_nothing_public_tells_how_a_few_rated(said: Said) -> None:
    public = read(said.settings)
    assert public.cells.keys() == said.truth.keys()
    assert attack(public, said.truth) == {}


def test_what_needs_no_secret_is_shown(said: Said) -> None:
    """Hiding everything would pass the attack."""
    public = read(said.settings)
    first = {key for key in said.truth if key[1] in ("2026-Q1", "2026-Q2") and key[2] == 1}
    for key in first:
        ratings, _ = said.truth[key]
        assert public.cells[key] == (None if 0 < ratings < SMALL else said.truth[key]), key
    years = [public.cells[key] for key in said.truth if key[1] == "2026" and key[2] == 1]
    assert sum(cell is not None for cell in years) > 5
    assert sum(score["verdict"] is not None and score["k"] is None for score in public.scores.values()) > 5
    assert all(cell == said.truth[key] for key, cell in public.cells.items() if cell is not None)


@pytest.mark.parametrize(
    ("naive", "way"),
    [("cells", "periods"), ("cells", "editions"), ("k", "sum"), ("verdict", "sum"), ("rank", "rank"), ("pooled", "pooled")],
)  # fmt: skip
def test_the_attack_finds_what_a_plain_rule_would_tell(said: Said, naive: str, way: str) -> None:
    assert attack(read(said.settings, naive=naive), said.truth)[way]


def test_the_public_reads_open_and_nothing_else(said: Said) -> None:
    with connect(said.settings) as connection:
        relations = connection.execute(
            "select n.nspname, c.relname, has_table_privilege('hailong_open_reader', c.oid, 'select'), "
            "has_any_column_privilege('hailong_open_reader', c.oid, 'insert, update, references') "
            "or has_table_privilege('hailong_open_reader', c.oid, 'insert, update, delete, truncate') from pg_class as c "
            "inner join pg_namespace as n on c.relnamespace = n.oid where c.relkind in ('r', 'v', 'p', 'm', 'f') "
            "and n.nspname = any(%s)",
            (["raw", "ops", "dq", "rules", "staging", "core", "facts", "marts", "provisional", "publish", "open"],),
        ).fetchall()
    assert {schema for schema, _, reads, _ in relations if reads} == {"open"}
    assert not any(writes for *_, writes in relations)
    assert len([name for schema, name, *_ in relations if schema == "open"]) == 8


def test_a_month_is_not_open(said: Said) -> None:
    month = parse_period(said.settings.rules, "2026-10")
    with (
        connect(said.settings, "hailong_publisher") as connection,
        (PROJECT / "dbt_project/seeds/scoring_policy_parameter.csv").open(encoding="utf-8") as handle,
    ):
        parameters = [tuple(row.values()) for row in csv.DictReader(handle)]
        _edition(said.settings, connection, a_city(3), month.code, 1, 0, parameters)
        assert decide(said.settings, connection) == []
        for view in ("edition", "k_score", "index_score", "parameter", "group_score"):
            row = connection.execute(
                f"select count(*), count(*) filter (where edition_id like '2026-10.%') from open.{view}"
            ).fetchone()
            assert row and row[0] > 0 and row[1] == 0
        connection.rollback()


def test_a_decision_stands(said: Said) -> None:
    for role in ("hailong_publisher", "hailong_owner", None):
        with connect(said.settings, role) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute("update publish.public_row set c_hidden_because = null")
        assert isinstance(refused.value, psycopg.errors.RaiseException | psycopg.errors.InsufficientPrivilege)


# -- the files that go out ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packages(said: Said, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Edition → the folder of its open data."""
    folder = tmp_path_factory.mktemp("open-data")
    made = {}
    for edition_id in ("2026-Q1.e2", "2026.e2"):
        assert opendata.write(said.settings, edition_id, folder / edition_id)
        made[edition_id] = folder / edition_id / opendata.FOLDER
    return made


def test_a_package_is_read_by_its_own_description_and_holds_what_the_public_may_read(
    said: Said, packages: dict[str, Path]
) -> None:
    for edition_id, folder in packages.items():
        package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
        for resource in package["resources"]:
            view, content = resource["name"].replace("-", "_"), (folder / resource["path"]).read_bytes()
            assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (
                resource["bytes"],
                resource["hash"],
            )
            fields = [field["name"] for field in resource["schema"]["fields"]]
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            assert rows == [] or list(rows[0]) == fields
            with connect(said.settings, "hailong_open_reader") as connection:
                columns = ", ".join(f"{name}::text" for name in fields)
                stored = connection.execute(
                    f"select {columns} from open.{view} where edition_id = %s",  # type: ignore[arg-type]
                    (edition_id,),
                ).fetchall()
            assert len(rows) == len(stored)
            for name in set(fields) & {"unit_code", "c", "k", "verdict", "numerator", "status", "c_numerator"}:
                place = fields.index(name)
                said_there = sorted(_plain(row[place]) for row in stored)
                assert sorted(row[name] for row in rows) == said_there, (edition_id, view, name)
            table = pq.read_table(folder / f"{view}.parquet")
            assert table.column_names == fields
            assert table.num_rows == len(rows)


def _plain(text: str | None) -> str:
    if text is None:
        return ""
    return {"t": "true", "f": "false"}.get(text) or (text.rstrip("0").rstrip(".") if "." in text else text)


def test_a_units_file_says_of_a_small_cell_that_it_is_suppressed_and_nothing_more(
    said: Said, packages: dict[str, Path]
) -> None:
    with connect(said.settings) as connection:
        hidden = {
            unit: because
            for unit, because in connection.execute(
                "select unit_code, c_hidden_because from publish.public_row where edition_id = '2026.e2'"
            ).fetchall()
        }
    assert {bool(because) for because in hidden.values()} == {True, False}
    for unit, because in hidden.items():
        told = json.loads((packages["2026.e2"] / "don-vi" / f"{unit}.json").read_text(encoding="utf-8"))
        c = next(row for row in told["index_score"] if row["index_code"] == "C")
        if because:
            assert (c["value"], c["numerator"], c["denominator"], told["k_score"]["k"]) == (None, None, None, None)
            assert c["status"] == "suppressed"
        else:
            assert c["status"] in ("scored", "no_data")
        assert {row["index_code"] for row in told["index_score"]} == set("ABCDE")


def test_the_public_changelog_holds_what_two_editions_show_otherwise(said: Said, packages: dict[str, Path]) -> None:
    with connect(said.settings, "hailong_open_reader") as connection:
        shown = {
            (edition, unit): (value, status)
            for edition, unit, value, status in connection.execute(
                "select edition_id, unit_code, value, status from open.index_score where index_code = 'C' "
                "and period_code = '2026-Q1'"
            ).fetchall()
        }
        changed = connection.execute(
            "select unit_code, value_was, value_now, status_was, status_now from open.change "
            "where edition_id = '2026-Q1.e2' and index_code = 'C'"
        ).fetchall()
    units = {unit for _, unit in shown}
    expected = {unit for unit in units if shown["2026-Q1.e1", unit] != shown["2026-Q1.e2", unit]}
    assert {row[0] for row in changed} == expected
    assert expected
    for unit, was, now, status_was, status_now in changed:
        assert shown["2026-Q1.e1", unit] == (was, status_was)
        assert shown["2026-Q1.e2", unit] == (now, status_now)
    rows = list(csv.DictReader((packages["2026-Q1.e2"] / "change.csv").open(encoding="utf-8", newline="")))
    assert {row["unit_code"] for row in rows if row["index_code"] == "C"} == expected


def test_evaluations_that_are_due_are_public_and_no_two_figures_tell_how_a_few_answered(
    said: Said, packages: dict[str, Path]
) -> None:
    with connect(said.settings, "hailong_open_reader") as connection:
        rows = connection.execute(
            "select edition_id, unit_code, evaluator_kind, status, score::integer, max_score::integer, line_count, rank, "
            "share is null, last_on is null, status_reason from open.evaluation"
        ).fetchall()
        changes = connection.execute(
            "select edition_id, unit_code, share_was::float, share_now::float, status_was, status_now "
            "from open.evaluation_change order by unit_code"
        ).fetchall()
    shown = {row[:2]: row[2:] for row in rows}
    hidden = ("organisation", "suppressed", None, None, None, None, True, True, None)
    assert shown == {
        ("2026-Q1.e1", "U00"): ("internal", "scored", 9, 10, 2, None, False, False, None),
        ("2026-Q1.e1", "U04"): ("organisation", "scored", 10, 20, 2, None, False, False, None),
        ("2026-Q1.e1", "U05"): ("organisation", "scored", 10, 20, 2, None, False, False, None),
        ("2026.e1", "U00"): hidden,
        ("2026.e1", "U01"): ("organisation", "scored", 40, 50, 2, None, False, False, None),
        ("2026.e1", "U02"): ("organisation", "awaiting_input", None, None, 2, None, True, False, "none_came"),
        ("2026.e1", "U03"): ("authority", "scored", 80, 100, 2, 3, False, False, None),
        ("2026.e1", "U04"): hidden,
        ("2026.e1", "U05"): ("organisation", "scored", 10, 20, 2, None, False, False, None),
        ("2026.e1", "U06"): ("self", "scored", 7, 10, 2, None, False, False, None),
        ("2026.e2", "U00"): hidden,
        ("2026.e2", "U01"): hidden,
        ("2026.e2", "U02"): ("organisation", "scored", 30, 60, 2, None, False, False, None),
        ("2026.e2", "U03"): ("authority", "scored", 85, 100, 2, 2, False, False, None),
        ("2026.e2", "U04"): hidden,
        ("2026.e2", "U05"): ("organisation", "scored", 10, 20, 2, None, False, False, None),
        ("2026.e2", "U06"): ("self", "scored", 7, 10, 2, None, False, False, None),
    }
    assert changes == [
        ("2026.e2", "U01", 0.8, None, "scored", "suppressed"),
        ("2026.e2", "U02", None, 0.5, "awaiting_input", "scored"),
        ("2026.e2", "U03", 0.8, 0.85, "scored", "scored"),
    ]
    folder = packages["2026.e2"]
    told = {
        unit: json.loads((folder / "don-vi" / f"{unit}.json").read_text(encoding="utf-8")) for unit in ("U01", "U03")
    }
    assert [(row["status"], row["score"]) for row in told["U01"]["evaluation"]] == [("suppressed", None)]
    assert [(row["score"], row["max_score"], row["rank"]) for row in told["U03"]["evaluation"]] == [("85", "100", 2)]
    assert [row["share_now"] for row in told["U03"]["evaluation_change"]] == ["0.85"]
    with (folder / "evaluation.csv").open(encoding="utf-8", newline="") as file:
        assert {row["unit_code"]: row["score"] for row in csv.DictReader(file)} == {
            unit: "" if row[2] is None else str(row[2])
            for (edition, unit), row in shown.items()
            if edition == "2026.e2"
        }


def test_a_package_is_made_again_byte_for_byte_and_every_word_of_the_dictionary_is_used(
    said: Said, packages: dict[str, Path], tmp_path: Path
) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    opendata.write(said.settings, "2026.e2", tmp_path)
    assert content(tmp_path / opendata.FOLDER) == content(packages["2026.e2"])
    dictionary = yaml.safe_load(opendata.DICTIONARY.read_text(encoding="utf-8"))
    package = json.loads((packages["2026.e2"] / "datapackage.json").read_text(encoding="utf-8"))
    used = {field["name"] for resource in package["resources"] for field in resource["schema"]["fields"]}
    assert used == set(dictionary["columns"])


def test_no_public_checksum_covers_what_is_hidden(said: Said, packages: dict[str, Path]) -> None:
    """A cell of four ratings has fourteen values: a checksum that covers it tells which one it is."""
    with connect(said.settings, "hailong_open_reader") as connection:
        columns = connection.execute(
            "select a.attname from pg_attribute as a inner join pg_class as c on a.attrelid = c.oid "
            "where c.relnamespace = 'open'::regnamespace and a.attname like '%sha256%'"
        ).fetchall()
    assert columns == []
    for edition_id, folder in packages.items():
        package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
        public = b"".join((folder / name).read_bytes() for name in ("k_score.csv", "index_score.csv"))
        assert package["id"] == hashlib.sha256(public).hexdigest() == opendata.checksum(said.settings, edition_id)


def test_a_month_gives_no_open_data_and_no_sheet_to_post(said: Said, tmp_path: Path) -> None:
    """It is said and decided as a quarter is; what is decided of it is that nothing is public."""
    with connect(said.settings) as connection:
        parameters = connection.execute(
            "select policy_id, parameter, value, why from publish.edition_parameter where edition_id = '2026.e1'"
        ).fetchall()
    with connect(said.settings, "hailong_publisher") as connection:
        known = connection.execute("select count(*) from publish.edition where period_code = '2026-11'").fetchone()
        if known == (0,):
            _edition(said.settings, connection, a_city(1), "2026-11", 1, 99, parameters)
            assert decide(said.settings, connection) == []
    with connect(said.settings, "hailong_reader") as connection:
        assert connection.execute(
            "select count(*) > 0 from publish.k_score where edition_id = '2026-11.e1'"
        ).fetchone() == (True,)
    assert opendata.write(said.settings, "2026-11.e1", tmp_path) == []
    assert not posting.write(said.settings, "2026-11.e1", tmp_path / "sheets.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_quarter_that_was_corrected_after_its_year_was_published_is_a_warning_at_the_gate(said: Said) -> None:
    with connect(said.settings) as connection:

        def failing() -> list[str]:
            target = landed.read(connection, said.settings)[0].targets["published"]
            checks = [check for check in landed.suite() if check.target == "published"]
            results, _ = gate.evaluate(checks, Subject({"published": target}))
            assert [(result.expectation_id, result.severity) for result in results] == [
                ("published.parts_as_counted", "warning")
            ]
            return results[0].failing_keys

        assert failing() == []  # the year was published again after the last correction of a quarter
        connection.execute("alter table publish.edition disable trigger all")
        connection.execute(
            "update publish.edition set published_at = now() + interval '1 day' where edition_id = '2026-Q3.e2'"
        )
        assert failing() == ["2026.e2"]
        connection.rollback()


# -- sheets to post -------------------------------------------------------------------------------------------------------


def test_a_sheet_to_post_says_what_open_shows_of_each_unit(said: Said, tmp_path: Path) -> None:
    edition_id, path = "2026-Q1.e2", tmp_path / "sheets.pdf"
    assert posting.write(said.settings, edition_id, path)
    with connect(said.settings, "hailong_open_reader") as connection:
        units = connection.execute(
            "select unit_name, k, k.status, c.value, c.denominator from open.k_score as k inner join open.index_score as c "
            "using (edition_id, unit_code) where edition_id = %s and index_code = 'C' order by unit_code",
            (edition_id,),
        ).fetchall()
    pages = [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(path).pages]
    assert len(pages) == len(units) == UNITS
    seen = set()
    for page, (name, k, status, c, ratings) in zip(pages, units, strict=True):
        seen.add(status)
        assert name in page
        said_k = (
            "Không công khai" if status == "suppressed" else "—" if k is None else f"{k:.2f}".replace(".", ",")[:-1]
        )
        assert f"trên 20 là hài lòng): {said_k}" in page
        assert ("lượt đánh giá tốt / " in page) == (c is not None)
        if c is not None:
            assert f"/ {ratings:.0f} lượt đánh giá" in page
    assert seen >= {"scored", "suppressed"}
    again = tmp_path / "again.pdf"
    assert posting.write(said.settings, edition_id, again)
    assert again.read_bytes() == path.read_bytes()
