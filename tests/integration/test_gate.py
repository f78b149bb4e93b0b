"""The gate refuses what it must, by name and unit; lets the rest through; and never is green on nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from expectations import gate
from expectations.outcome import Result, Run, decide
from expectations.suites import candidate as candidate_suite
from expectations.suites import landed as landed_suite
from expectations.suites.model import THRESHOLDS, Subject, Target, holds, read_thresholds, within
from hailong.errors import PermanentError
from hailong.periods import WorkingDays
from hailong.publish.checksum import content_sha256
from hailong.settings import Settings
from hailong.warehouse.connect import connect

PERIOD, START, END = "2026-10", date(2026, 9, 15), date(2026, 10, 15)
UNITS = [f"HCM.T{n:02d}" for n in range(12)]
INCOMPLETE, CLIPPED, LOW = UNITS[10], UNITS[11], UNITS[3]
LEDGER_GOOD, LEDGER_BAD, UNKNOWN = 1, 2, 3
MAXIMA = {f"{index}_max": "18" if index == "d" else "1" for index in "abcde"}
# A month is not public, and a first edition restates nothing.
NOT_OF_A_MONTH = {"small_cells.few_hidden", "small_cells.attack", "restatement.units", "restatement.verdicts"}
_numbers = count(1)


def around(units: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Annexes of a candidate in which nothing is odd."""
    ends = {"resolved": 8, "stopped": 1, "withdrawn": 1, "not_accepted": 1, "without_moment": 0}
    return {
        "dossier_flow": [
            {"unit_code": unit, "open_at_start": 4, "received": 10, "open_at_end": 3, **ends} for unit in units
        ],
        "dossier_flow_before": [{"unit_code": unit, "open_at_end": 4} for unit in units],
        "late_data": [
            {
                "feed": "dossier", "unit_code": units[0], "measure": "dossier_resolved", "is_after_cutoff": False,
                "record_count": 100,
            }
        ],
        "reconciliation": [
            {"unit_code": unit, "reason": "same", "city_count": 99, "portal_count": 99} for unit in units
        ],
    }  # fmt: skip


@dataclass
class Content:
    """A candidate before it is stored: rows by key, so that a test can break one thing."""

    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    indices: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, str] = field(
        default_factory=lambda: {
            "k_threshold": "20",
            "k_equal": "undetermined",
            "k_scale": "6",
            "explain_cases": "1",
            "explain_reconciliation_share": "0.02",
            **MAXIMA,
        }
    )
    header: dict[str, Any] = field(default_factory=dict)
    annexes: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: around(UNITS))

    def set_index(self, unit: str, index: str, **changes: Any) -> None:
        self.indices[unit, index].update(changes)

    def set_score(self, unit: str, **changes: Any) -> None:
        self.scores[unit].update(changes)


def good() -> Content:
    """Twelve units of two groups: ten whole ones, one without ratings, one that started inside the period."""
    content = Content()
    for n, unit in enumerate(UNITS):
        portal = Decimal(18) - Decimal(n) / 2
        counts = {"A": (97, 100 + n), "B": (n, 12), "C": (5, 5), "D": (portal, 18), "E": (2, 2)}
        for index, (numerator, denominator) in counts.items():
            top, bottom = Decimal(numerator), Decimal(denominator)
            value = top if index == "D" else round(top / bottom, 15)
            content.indices[unit, index] = {
                "numerator": top, "denominator": bottom, "excluded": 0 if index in "ABC" else None, "value": value,
                "status": "scored", "status_reason": None, "period_code": PERIOD,
            }  # fmt: skip
        values = {index.lower(): content.indices[unit, index]["value"] for index in counts}
        k = sum(values.values(), Decimal(0)).quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP)
        content.scores[unit] = {
            "period_code": PERIOD, "unit_name": f"Đơn vị {n}", "peer_group": "so" if n % 2 else "xa", "peer_group_name": "Nhóm",
            "unit_kind": "ward", **values, "k": k, "verdict": "satisfied" if k > 20 else "not_satisfied", "verdict_bound": None,
            "status": "scored", "status_reason": None, "window_start": START, "window_end": END, "window_clipped": None,
            "small_sample": False, "near_threshold": False, "no_petitions": False,
        }  # fmt: skip
    content.set_index(
        INCOMPLETE,
        "C",
        numerator=Decimal(0),
        denominator=Decimal(0),
        value=None,
        status="no_data",
        status_reason="no_rating",
    )
    content.set_score(
        INCOMPLETE, c=None, k=None, verdict=None, verdict_bound="open", status="incomplete", status_reason="C:no_data"
    )
    content.set_score(CLIPPED, window_start=date(2026, 9, 30), window_clipped="unit_started")
    for row in content.scores.values():
        ranked = row["status"] == "scored" and row["window_clipped"] is None
        row["rank_in_group"] = 1 + sum(
            other["k"].quantize(Decimal("0.01"), ROUND_HALF_UP) > row["k"].quantize(Decimal("0.01"), ROUND_HALF_UP)
            for other in content.scores.values()
            if other["peer_group"] == row["peer_group"] and other["status"] == "scored" and other["window_clipped"] is None
        ) if ranked else None  # fmt: skip
    return content


def store(settings: Settings, content: Content) -> str:
    """Insert as the publisher does, with the checksum of what was inserted."""
    candidate_id = f"{PERIOD}.c{next(_numbers)}"
    with connect(settings, "hailong_publisher") as connection:
        _insert_all(connection, candidate_id, content, "0" * 64)
        digest = content_sha256(connection, "candidate", candidate_id)
        connection.rollback()
        _insert_all(connection, candidate_id, content, content.header.get("content_sha256", digest))
    return candidate_id


def _insert_all(connection: psycopg.Connection, candidate_id: str, content: Content, digest: str) -> None:
    header = {
        "candidate_id": candidate_id, "period_code": PERIOD, "calendar_code": "mid_month", "period_start": START,
        "period_end": END, "cutoff_at": datetime(2026, 10, 19, 17), "as_of_batch": LEDGER_GOOD, "build_id": 1,
        "rules_sha256": "0" * 64, "policy_id": "qd104-2024", "metric_version": "2026", "code_version": "test",
        "late_batches": 0, "requested_by": "tester", "scope_units": list(UNITS), "dossiers": 200, "unknown_unit_dossiers": 0,
        **content.header, "content_sha256": digest,
    }  # fmt: skip
    _insert(connection, "publish.candidate", header)
    for unit, row in content.scores.items():
        _insert(connection, "publish.candidate_k_score", {"candidate_id": candidate_id, "unit_code": unit, **row})
    for (unit, index), row in content.indices.items():
        key = {"candidate_id": candidate_id, "unit_code": unit, "index_code": index}
        _insert(connection, "publish.candidate_index_score", {**key, **row})
    for parameter, value in content.parameters.items():
        row = {"policy_id": "qd104-2024", "parameter": parameter, "value": value, "why": "test"}
        _insert(connection, "publish.candidate_parameter", {"candidate_id": candidate_id, **row})
    for annex, rows in content.annexes.items():
        for number, row in enumerate(rows, start=1):
            key = {"candidate_id": candidate_id, "annex": annex, "row_no": number, "unit_code": row["unit_code"]}
            _insert(connection, "publish.candidate_annex", {**key, "content": Jsonb(row)})


def _insert(connection: psycopg.Connection, table: str, row: dict[str, Any]) -> None:
    statement = sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier(*table.split(".")),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    connection.execute(statement, row)


@pytest.fixture(scope="module")
def built(module_warehouse: Settings) -> Settings:
    """A warehouse with just enough of core and marts to compare with, and a ledger whose first batch brought a tombstone and
    whose second is missing in raw; the third is in raw and not in the ledger."""
    with connect(module_warehouse, "hailong_transformer") as connection:
        connection.execute(
            """
            create table core.dim_period (period_code text, period_kind text, period_start date, period_end date);
            create table core.core_unit_window (period_code text, unit_code text, window_start date, window_end date);
            create table marts.index_score (period_code text, unit_code text, index_code text, denominator numeric);
            create table marts.k_score (period_code text, unit_code text, k numeric, metric_version text);
            create table rules.reconciliation_reason (reason text, is_explained boolean);
            insert into rules.reconciliation_reason values ('same', false), ('missing_at_portal', true);
            insert into core.dim_period values
            ('2026-09', 'month', '2026-08-15', '2026-09-15'), ('2026-10', 'month', '2026-09-15', '2026-10-15');
            """
        )
        for unit in UNITS:
            connection.execute(
                "insert into core.core_unit_window values ('2026-09', %(u)s, '2026-08-15', '2026-09-15'), "
                "('2026-10', %(u)s, '2026-09-15', '2026-10-15')",
                {"u": unit},
            )
            connection.execute("insert into marts.index_score values ('2026-09', %s, 'A', 110)", (unit,))
            before = good().scores[unit]["k"] or 19
            connection.execute("insert into marts.k_score select '2026-09', %s, %s, '2026'", (unit, before))
    with connect(module_warehouse) as connection:
        for n, loaded in ((LEDGER_GOOD, 0), (LEDGER_BAD, 3)):
            add_batch(connection, "dossier", f"{n:064d}", received=loaded, loaded=loaded, gone=n % 2)
        raw(connection, "dossier", LEDGER_GOOD, "d1", op="delete")
        raw(connection, "dossier", UNKNOWN, "d2")
    return module_warehouse


def add_batch(
    connection: psycopg.Connection,
    feed: str,
    sha256: str,
    received: int,
    loaded: int,
    bad: int = 0,
    until: str = "2026-11-01",
    gone: int = 0,
) -> int:
    row = connection.execute(
        "insert into ops.batch (feed, window_end, landing_uri, landing_sha256, declared_rows, received_rows, loaded_rows, "
        "unchanged_rows, duplicate_rows, quarantined_rows, tombstone_rows, started_at, contract_version, code_version) values "
        "(%s, %s, 'x', %s, %s, %s, %s, %s, 0, %s, %s, now(), '1', 't') returning batch_id",
        (feed, until, sha256, received, received, loaded, received - loaded - bad, bad, gone),
    ).fetchone()
    assert row
    for n in range(bad):
        connection.execute(
            "insert into ops.quarantine (batch_id, feed, rule, detail) values (%s, %s, 'unreadable', %s)",
            (row[0], feed, str(n)),
        )
    return int(row[0])


def failed(run: Run) -> dict[str, Result]:
    return {result.expectation_id: result for result in run.failed}


def test_a_good_candidate_passes_and_is_recorded(built: Settings) -> None:
    candidate_id = store(built, good())
    run = gate.run_candidate(built, candidate_id)
    assert (run.run_id, run.disposition, run.failed) == (f"{candidate_id}.g1", "pass", [])
    assert gate.run_candidate(built, candidate_id).run_id == f"{candidate_id}.g2"
    with connect(built, "hailong_reader") as connection:
        recorded = connection.execute(
            "select r.disposition, r.expectations, r.content_sha256 = c.content_sha256, count(*), bool_and(x.success) "
            "from dq.run as r inner join publish.candidate as c using (candidate_id) inner join dq.result as x using (run_id) "
            "where r.run_id = %s group by 1, 2, 3",
            (run.run_id,),
        ).fetchall()
    assert recorded == [("pass", len(run.results), True, len(run.results), True)]
    assert {result.expectation_id for result in run.results} | NOT_OF_A_MONTH == {
        check.id for check in candidate_suite.suite()
    }


def test_data_docs_can_be_read_without_a_network(built: Settings) -> None:
    content = good()
    content.set_score(LOW, e=Decimal("0.5"))
    run = gate.run_candidate(built, store(built, content))
    folder = Path(run.docs_uri.removeprefix("file://")).parent
    pages = {page.name: page.read_text(encoding="utf-8") for page in folder.glob("*.html")}
    assert {"index.html", "k_score.html", "units.html"} <= set(pages)
    assert "k_score.e_zero_or_one" in pages["index.html"] and LOW in pages["index.html"]
    assert "k_score.e_zero_or_one" in pages["k_score.html"]
    for name, page in pages.items():
        assert "<script" not in page and 'src="http' not in page and "url(" not in page and "<link" not in page, name


def drop_unit(content: Content) -> None:
    del content.scores[LOW]
    for index in "ABCDE":
        del content.indices[LOW, index]


def unknown_unit(content: Content) -> None:
    content.scores["HCM.X99"] = {**content.scores[CLIPPED]}
    for index in "ABCDE":
        content.indices["HCM.X99", index] = {**content.indices[CLIPPED, index]}


def drop_index(content: Content) -> None:
    del content.indices[LOW, "B"]


def score(**changes: Any) -> Callable[[Content], None]:
    return lambda content: content.set_score(LOW, **changes)


def index(code: str, **changes: Any) -> Callable[[Content], None]:
    return lambda content: content.set_index(LOW, code, **changes)


def rank_clipped(content: Content) -> None:
    content.set_score(CLIPPED, rank_in_group=1)


def no_first(content: Content) -> None:
    for row in content.scores.values():
        if row["rank_in_group"] == 1:
            row["rank_in_group"] = 7


def header(**changes: Any) -> Callable[[Content], None]:
    return lambda content: content.header.update(changes)


def no_threshold(content: Content) -> None:
    del content.parameters["k_threshold"]


# Expectation → what breaks it, and a key that the message must name.
BROKEN: dict[str, tuple[Callable[[Content], None], str]] = {
    "units.all_of_register": (drop_unit, LOW),
    "units.none_beyond_register": (unknown_unit, "HCM.X99"),
    "units.five_indices": (drop_index, LOW),
    "k_score.period": (score(period_code="2026-09"), LOW),
    "index_score.period": (index("A", period_code="2026-09"), f"{LOW}/A"),
    "k_score.window_in_period": (score(window_end=date(2026, 10, 16)), LOW),
    "k_score.a_bounds": (score(a=Decimal("1.000001")), LOW),
    "k_score.b_bounds": (score(b=Decimal("-0.1")), LOW),
    "k_score.c_bounds": (score(c=Decimal(2)), LOW),
    "k_score.e_bounds": (score(e=Decimal(2)), LOW),
    "k_score.d_bounds": (score(d=Decimal("18.01")), LOW),
    "k_score.k_bounds": (score(k=Decimal("22.000001")), LOW),
    "k_score.e_zero_or_one": (score(e=Decimal("0.5")), LOW),
    "index_score.status_known": (index("B", status="unknown"), f"{LOW}/B"),
    "index_score.value_when_scored": (index("C", value=None), f"{LOW}/C"),
    "index_score.reason_when_not_scored": (index("C", status_reason="no_rating"), f"{LOW}/C"),
    "index_score.numerator_within": (index("A", numerator=Decimal(1000)), f"{LOW}/A"),
    "index_score.value_is_quotient": (index("A", value=Decimal("0.5")), f"{LOW}/A"),
    "index_score.excluded": (index("A", excluded=-1), f"{LOW}/A"),
    "k_score.indices_agree": (score(a=Decimal("0.5")), LOW),
    "k_score.status_known": (score(status="unknown"), LOW),
    "k_score.k_is_sum": (score(k=Decimal("19.000002")), LOW),
    "k_score.scored_when_complete": (index("C", status="no_data"), LOW),
    "k_score.verdict_known": (score(verdict="good"), LOW),
    "k_score.verdict_follows_k": (score(verdict="satisfied"), LOW),
    "k_score.bound_when_incomplete": (score(verdict_bound="open"), LOW),
    "k_score.rank_when_whole": (rank_clipped, CLIPPED),
    "k_score.rank_follows_k": (score(rank_in_group=5), LOW),
    "groups.has_first": (no_first, "so"),
    "header.checksum": (header(content_sha256="f" * 64), ".c"),
    "header.parameters": (no_threshold, ".c"),
    "ledger.raw_agrees": (header(as_of_batch=LEDGER_BAD), "dossier/2"),
}
# The database refuses these before the gate could see them; below they are broken in a frame.
KEPT_OUT = {
    "k_score.rows_present", "index_score.rows_present", "k_score.unit_once", "index_score.pair_once", "k_score.name",
    "ledger.adds_up", "ledger.complete",
}  # fmt: skip


# What is broken around the candidate, in the marts that it is compared with.
AROUND = {
    "flow.balances", "flow.carried", "volume.halved", "volume.city", "late.share", "reconciliation.city",
    "reconciliation.unit", "jumps.unit", "jumps.share", "restatement.units", "restatement.verdicts",
}  # fmt: skip
SMALL_CELLS = {"small_cells.few_hidden", "small_cells.attack"}


@pytest.mark.parametrize("expectation", BROKEN)
def test_one_broken_thing_stops_naming_expectation_and_unit(built: Settings, expectation: str) -> None:
    breaks, key = BROKEN[expectation]
    content = deepcopy(good())
    breaks(content)
    run = gate.run_candidate(built, store(built, content))
    assert run.disposition == "stop"
    assert expectation in failed(run), sorted(failed(run))
    assert any(key in found for found in failed(run)[expectation].failing_keys), failed(run)[expectation]


@pytest.mark.parametrize(("reading", "stretch"), [("zero", Decimal(1)), ("rescale", Decimal(22) / Decimal(21))])
def test_the_gate_follows_the_policys_reading_of_a_missing_index(
    built: Settings, reading: str, stretch: Decimal
) -> None:
    content = deepcopy(good())
    content.parameters |= {"missing_index": reading}
    row = content.scores[INCOMPLETE]
    present = sum((row[index] for index in "abde"), Decimal(0))
    for step, failing in ((Decimal(0), False), (Decimal("0.0001"), True)):
        k = (present * stretch + step).quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP)
        verdict = "satisfied" if k > 20 else "not_satisfied"
        clipped = {"window_start": date(2026, 9, 30), "window_clipped": "unit_started"}  # so that nobody's rank moves
        content.set_score(INCOMPLETE, k=k, verdict=verdict, verdict_bound=None, status="scored", **clipped)
        names = failed(gate.run_candidate(built, store(built, content)))
        assert ("k_score.k_is_sum" in names) == failing, names
        assert "k_score.scored_when_complete" not in names


def test_the_gate_takes_a_full_b_where_nothing_was_returned_only_from_that_policy(built: Settings) -> None:
    for reading, failing in (("returned", False), ("resolved", True)):
        content = deepcopy(good())
        content.parameters |= {"b_population": reading, "b_max": "1"}
        content.set_index(LOW, "B", numerator=Decimal(0), denominator=Decimal(0), excluded=3, value=Decimal(1))
        names = failed(gate.run_candidate(built, store(built, content)))
        assert ("index_score.value_is_quotient" in names) == failing, names


def look(settings: Settings, connection: psycopg.Connection, candidate_id: str, wanted: set[str]) -> dict[str, Result]:
    """Results of some expectations on a candidate, as this connection sees it."""
    header = candidate_suite.read_header(connection, candidate_id)
    subject = candidate_suite.read(connection, settings, header)
    results, _ = gate.evaluate([check for check in candidate_suite.suite() if check.id in wanted], subject)
    return {result.expectation_id: result for result in results if result.expectation_id in wanted}


def published(settings: Settings) -> str:
    """An edition to be restated."""
    old = store(settings, good())
    with connect(settings) as connection:
        connection.execute(
            "insert into publish.edition (edition_id, period_code, calendar_code, period_start, period_end, edition_no, "
            "candidate_id, as_of_batch, rules_sha256, policy_id, code_version, content_sha256, gate_run_id, published_by) "
            "select %s, period_code, calendar_code, period_start, period_end, %s, candidate_id, 1, rules_sha256, policy_id, "
            "'t', content_sha256, 'g', 'x' from publish.candidate where candidate_id = %s",
            (f"{old}.e1", 1, old),
        )
    return f"{old}.e1"


def test_what_lies_around_a_candidate_is_judged(built: Settings) -> None:
    whole, spoilt = good(), deepcopy(good())
    whole.header |= {"restates": published(built), "reason": "vì sao"}
    spoilt.header |= whole.header
    next(row for row in spoilt.annexes["dossier_flow"] if row["unit_code"] == LOW)["open_at_start"] = 6
    spoilt.annexes["late_data"] += [
        {"feed": "rating", "unit_code": LOW, "measure": "rating", "is_after_cutoff": late, "record_count": records}
        for late, records in ((True, 10), (False, 90))
    ]
    spoilt.annexes["reconciliation"].append(
        {"unit_code": LOW, "reason": "missing_at_portal", "city_count": 40, "portal_count": 0}
    )
    candidate_id = store(built, spoilt)
    with connect(built) as connection:
        fine = look(built, connection, store(built, whole), AROUND)
        assert set(fine) == AROUND and all(result.success for result in fine.values()), fine
        for statement in (
            "update marts.index_score set denominator = 900",
            "update marts.k_score set k = k + 2.5 where unit_code < 'HCM.T04'",
        ):
            connection.execute(statement)  # type: ignore[arg-type]
        for unit, index, before, after in (
            *((unit, "A", "scored", "scored") for unit in UNITS[:3]),
            (UNITS[0], "K", "satisfied", "not_satisfied"),
        ):
            row = {
                "unit_code": unit,
                "index_code": index,
                "cause": "late",
                "status_before": before,
                "status_after": after,
            }
            _insert(connection, "publish.candidate_difference", {"candidate_id": candidate_id, **row})
        broken = look(built, connection, candidate_id, AROUND)
        connection.rollback()
    assert {name for name, result in broken.items() if not result.success} == AROUND
    assert broken["flow.balances"].failing_keys == broken["flow.carried"].failing_keys == [LOW]
    assert broken["reconciliation.unit"].failing_keys == [LOW] and broken["late.share"].failing_keys == ["rating"]
    assert broken["late.share"].owner == "Sở Nội vụ Thành phố"
    assert broken["jumps.unit"].failing_keys == UNITS[:4]
    assert broken["restatement.units"].observed == "units_share = 0.25"
    assert broken["restatement.verdicts"].observed == "verdicts_share = 0.08333"


@pytest.mark.parametrize(
    ("feed", "since", "compared"),
    [
        ("dossier", "2026-08-15 00:00+07", True),
        ("dossier", "2026-08-15 00:01+07", False),
        ("rating", "2026-08-15 00:01+07", False),
        ("petition", "2026-08-15 00:01+07", True),  # it closes no period
    ],
)
def test_a_period_that_was_read_in_part_is_compared_with_nothing(
    built: Settings, feed: str, since: str, compared: bool
) -> None:
    compares = {"volume.city", "volume.halved", "jumps.unit", "jumps.share"}
    candidate_id = store(built, good())
    with connect(built) as connection:
        connection.execute("alter table ops.batch disable trigger user")
        connection.execute(
            "update ops.batch set feed = %s, window_start = %s where batch_id = %s", (feed, since, LEDGER_GOOD)
        )
        connection.execute("set local role hailong_gate")
        found = look(built, connection, candidate_id, compares | {"flow.balances"})
        connection.rollback()
    assert set(found) == ({*compares, "flow.balances"} if compared else {"flow.balances"})


def test_tet_is_calendar_and_no_fall_of_volume() -> None:
    """Two windows of four and a half weeks: the five working days of Tết Bính Ngọ are none."""
    days = WorkingDays.load(Settings.load({}).rules)
    tet, before = (date(2026, 2, 15), date(2026, 3, 15)), (date(2026, 1, 15), date(2026, 2, 15))
    counted = [candidate_suite._working_days(days, *window) for window in (tet, before)]
    assert counted == [15, 22]


def test_what_the_public_could_reckon_is_refused(built: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    content = good()
    content.header |= {"period_code": "2026-Q4"}
    limits = {"c_min_ratings": "5", "c_min_uncertainty": "0.5"}
    content.parameters |= limits
    content.set_index(LOW, "C", numerator=Decimal(4), denominator=Decimal(4), value=Decimal(1))
    few = store(built, content)
    content.parameters = {name: value for name, value in content.parameters.items() if name not in limits}
    without = store(built, content)
    with connect(built, "hailong_gate") as connection:
        fine = look(built, connection, few, SMALL_CELLS)
        assert set(fine) == SMALL_CELLS and all(result.success for result in fine.values())
        assert not any(result.success for result in look(built, connection, without, SMALL_CELLS).values())
        monkeypatch.setattr("hailong.publish.small_cells.hidden_because", lambda *_: None)
        careless = look(built, connection, few, SMALL_CELLS)
    assert {name: result.failing_keys for name, result in careless.items()} == {name: [LOW] for name in SMALL_CELLS}


def test_rows_of_a_batch_that_the_ledger_does_not_know_stop(built: Settings) -> None:
    content = deepcopy(good())
    header(as_of_batch=UNKNOWN)(content)
    run = gate.run_candidate(built, store(built, content))
    assert failed(run)["ledger.raw_agrees"].failing_keys == [f"dossier/{LEDGER_BAD}", f"dossier/{UNKNOWN}"]


def test_every_critical_expectation_has_something_that_it_refuses() -> None:
    suite = candidate_suite.suite()
    assert len(suite) >= 20 and len({check.id for check in suite}) == len(suite)
    others = KEPT_OUT | SMALL_CELLS | {"flow.balances", "flow.carried"}
    assert {check.id for check in suite if check.severity == "critical"} == set(BROKEN) | others


def test_what_the_database_keeps_out_is_refused_in_a_frame_too() -> None:
    twice = pd.DataFrame({"unit_code": ["U1", "U1"], "index_code": ["A", "A"], "unit_name": ["x", None]})
    ledger = pd.DataFrame({"batch": ["dossier/1"], "adds_up": [False], "is_complete": [False]})
    wanted = KEPT_OUT - {"k_score.rows_present", "index_score.rows_present"}
    checks = [check for check in candidate_suite.suite() if check.id in wanted]
    subject = Subject({
        "k_score": Target(twice, ("unit_code",)),
        "index_score": Target(twice, ("unit_code", "index_code")),
        "ledger": Target(ledger, ("batch",)),
    })  # fmt: skip
    results, _ = gate.evaluate(checks, subject)
    assert {result.expectation_id for result in results if not result.success} == wanted
    assert all(result.failing_keys for result in results)


def test_what_was_copied_with_a_candidate_is_what_the_gate_compares_with(built: Settings) -> None:
    content = good()
    content.header |= {"dossiers": 0}
    assert "header.dossiers" in failed(gate.run_candidate(built, store(built, content)))
    content.header |= {"dossiers": 200, "unknown_unit_dossiers": 199}
    assert "header.unknown_unit_share" in failed(gate.run_candidate(built, store(built, content)))
    content.header |= {"scope_units": None}
    with pytest.raises(PermanentError, match="was copied before candidates did"):
        gate.run_candidate(built, store(built, content))


def test_a_candidate_without_rows_stops(built: Settings) -> None:
    run = gate.run_candidate(built, store(built, Content()))
    assert run.disposition == "stop"
    assert {"k_score.rows_present", "index_score.rows_present"} <= set(failed(run))


def test_a_lone_warning_warns_and_exits_0(
    built: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = good()
    content.set_index(LOW, "E", value=None, status="awaiting_input", status_reason="posting_unchecked:desk")
    content.set_score(
        LOW, e=None, k=None, verdict=None, verdict_bound="open", status="incomplete", status_reason="E:awaiting_input",
        rank_in_group=None,
    )  # fmt: skip
    for row in content.scores.values():  # the ranks below move up
        if row["rank_in_group"] and row["peer_group"] == "so" and row["rank_in_group"] > 2:
            row["rank_in_group"] -= 1
    candidate_id = store(built, content)
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, env=None: built))
    assert gate.main(["--candidate", candidate_id, "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out.splitlines()[-1])
    assert set(answer) == {"run_id", "disposition", "warnings", "docs_uri", "findings"}
    assert answer["findings"]["new"] + answer["findings"]["known"] == 1
    assert answer["disposition"] == "warn"
    assert [warning["expectation_id"] for warning in answer["warnings"]] == ["units.awaiting_posting"]
    assert answer["warnings"][0]["reason"] and answer["warnings"][0]["observed"]
    assert LOW in captured.err

    content.set_score(UNITS[0], k=Decimal(1))
    assert gate.main(["--candidate", store(built, content), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["disposition"] == "stop"
    assert "k_score.k_is_sum" in captured.err and UNITS[0] in captured.err
    assert gate.main(["--candidate", "2026-10.c999"]) == 1
    assert "there is no candidate '2026-10.c999'" in capsys.readouterr().err


def test_a_suite_that_looks_at_nothing_is_refused(built: Settings) -> None:
    candidate_id = store(built, good())
    with pytest.raises(PermanentError, match="no expectation applied"):
        gate.run_candidate(built, candidate_id, suite=[])
    with pytest.raises(PermanentError, match="no expectation applied"):
        gate.run_candidate(built, candidate_id, suite=[holds("x.y", "elsewhere", "z", "critical", "không")])


def test_an_expectation_that_cannot_be_evaluated_stops_whatever_its_severity() -> None:
    subject = Subject({"t": Target(pd.DataFrame({"key": ["U1"], "n": [1]}), ("key",))})
    results, _ = gate.evaluate([within("t.n", "t", "missing_column", 0, 1, "info", "không")], subject)
    assert decide(results) == "stop"
    assert results[0].observed.startswith("not evaluated")


def test_a_failed_info_holds_nothing_up() -> None:
    subject = Subject({"t": Target(pd.DataFrame({"key": ["U1"], "n": [9]}), ("key",))})
    results, _ = gate.evaluate([within("t.n", "t", "n", 0, 1, "info", "không")], subject)
    assert [(r.success, r.failing_keys) for r in results] == [(False, ["U1"])]
    assert decide(results) == "pass"


# -- what has landed ------------------------------------------------------------------------------------------------------


@pytest.fixture
def landed(warehouse: Settings) -> Iterator[tuple[Settings, psycopg.Connection]]:
    """Registers and one good batch of dossiers."""
    with connect(warehouse, autocommit=True) as connection:
        batch = add_batch(connection, "unit_register", "a" * 64, received=1, loaded=1)
        raw(
            connection,
            "unit_register",
            batch,
            "U1",
            unit_code="U1",
            unit_name="Đơn vị",
            peer_group="g",
            is_scored=True,
            valid_from=START,
        )
        batch = add_batch(connection, "procedure_register", "b" * 64, received=1, loaded=1)
        raw(connection, "procedure_register", batch, "1.001193", procedure_code="1.001193", limit_working_days=3)
        codes = (
            ("dossier_status", "9"),
            ("posting_result", "Đạt"),
            ("posting_place", "Bộ phận"),
            ("rating_level", "RẤT"),
        )
        batch = add_batch(connection, "code_map", "c" * 64, received=len(codes), loaded=len(codes))
        for kind, code in codes:
            raw(
                connection,
                "code_map",
                batch,
                f"s|{kind}|{code}",
                system="s",
                code_kind=kind,
                source_code=code,
                target_code="x",
                treatment="good",
            )
        yield warehouse, connection


def raw(connection: psycopg.Connection, feed: str, batch: int, key: str, **columns: Any) -> None:
    row = {"batch_id": batch, "record_key": key, "op": "upsert", "version_hash": "h"} | columns
    _insert(connection, f"raw.{feed}", row)


def dossier(key: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": key, "dossier_code": key, "procedure_code": "1.001193.000", "status_code": "9",
        "received_at": datetime(2026, 10, 1, 2, tzinfo=UTC), "due_at": datetime(2026, 10, 5, 2, tzinfo=UTC),
        "finished_at": datetime(2026, 10, 3, 2, tzinfo=UTC), "is_dummy_identity": False, "supplements": Jsonb([]), **changes,
    }  # fmt: skip


def test_nothing_landed_stops(warehouse: Settings) -> None:
    run = gate.run_landed(warehouse)
    assert run.disposition == "stop"
    assert {"batches.rows_present", "unit_register.newest_has_rows"} <= set(failed(run))


def test_good_feeds_pass_and_the_next_run_looks_at_what_came_since(landed: tuple[Settings, psycopg.Connection]) -> None:
    settings, connection = landed
    first = add_batch(connection, "dossier", "d" * 64, received=1, loaded=1)
    raw(connection, "dossier", first, **dossier("D1"))
    run = gate.run_landed(settings)
    assert (run.run_id, run.disposition) == (f"landed.b{first}.g1", "pass"), run.failed
    second = add_batch(connection, "dossier", "e" * 64, received=2, loaded=2)
    raw(connection, "dossier", second, **dossier("D2", status_code="99"))
    raw(connection, "dossier", second, **dossier("D3"))
    for _ in range(2):  # a run that stopped does not make the next one forget
        run = gate.run_landed(settings)
        assert run.disposition == "stop"
        assert failed(run)["dossier.status_known"].failing_keys == ["D2"]
    third = add_batch(connection, "dossier", "f" * 64, received=1, loaded=0)  # read again, unchanged
    assert "dossier.status_known" in failed(gate.run_landed(settings))
    assert third > second


def heir(predecessor: dict[str, str]) -> dict[str, Any]:
    return {
        "key": "X", "unit_code": "X", "unit_name": "x", "is_scored": False, "valid_from": START,
        "predecessors": Jsonb([predecessor]),
    }  # fmt: skip


LANDED_BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "dossier.finish_before_receipt": ("dossier", dossier("X", finished_at=datetime(2026, 9, 1, tzinfo=UTC)), "warn"),
    "dossier.due_missing": ("dossier", dossier("X", due_at=None, procedure_code="9.9"), "warn"),
    "dossier.receipt_year": ("dossier", dossier("X", received_at=datetime(1926, 9, 1, tzinfo=UTC)), "warn"),
    "dossier.result_in_future": ("dossier", dossier("X", finished_at=datetime(2026, 12, 1, tzinfo=UTC)), "warn"),
    "dossier.dummy_identity": ("dossier", dossier("X", is_dummy_identity=True), "warn"),
    "dossier.supplements_many": ("dossier", dossier("X", supplements=Jsonb([{}] * 21)), "warn"),
    "rating.level_known": (
        "rating",
        {"key": "X", "rating_id": "X", "dossier_code": "D", "level_code": "?", "rated_at": datetime(2026, 10, 1, tzinfo=UTC)},
        "stop",
    ),
    "portal_evaluation.score_bounds": (
        "portal_evaluation",
        {"key": "X", "window_from": START, "window_to": END, "total_score": 19, "total_max_score": 18},
        "stop",
    ),
    "portal_evaluation.index_maximum": (
        "portal_evaluation",
        {
            "key": "X", "group_code": "provide-online-tree", "window_from": START, "window_to": END, "total_score": 9,
            "total_max_score": 10,
        },
        "warn",
    ),
    "portal_evaluation.metric_counts": (
        "portal_evaluation",
        {"key": "X", "window_from": START, "window_to": END, "metrics": Jsonb([{"numerator": 3, "denominator": 2}])},
        "warn",
    ),
    "petition.answer_before_receipt": (
        "petition",
        {"key": "X", "petition_id": "X", "received_at": datetime(2026, 10, 2, tzinfo=UTC),
         "answered_at": datetime(2026, 10, 1, tzinfo=UTC)},
        "warn",
    ),
    "survey_result.counts": (
        "survey_result", {"key": "X", "result_id": "X", "respondent_count": 3, "satisfied_count": 4}, "stop"
    ),
    "authority_evaluation.score_bounds": (
        "authority_evaluation", {"key": "X", "sheet_id": "X", "score": 11, "max_score": 10}, "stop"
    ),
    "self_evaluation.score_bounds": (
        "self_evaluation", {"key": "X", "line_id": "X", "score": -1, "max_score": 10}, "stop"
    ),
    "unit_action.done_before_due_known": ("unit_action", {"key": "X", "action_id": "X", "done_on": START}, "warn"),
    "posting_check.result_known": (
        "posting_check",
        {"key": "X", "checked_on": START, "place_source_code": "Bộ phận", "result_source_code": "?"},
        "stop",
    ),
    "unit_register.validity": (
        "unit_register",
        {"key": "X", "unit_code": "X", "unit_name": "x", "is_scored": False, "valid_from": END, "valid_to": START},
        "stop",
    ),
    "unit_register.extent_known": ("unit_register", heir({"unit_code": "U1", "extent": "một phần"}), "warn"),
    "unit_register.predecessor_known": ("unit_register", heir({"unit_code": "U9", "extent": "full"}), "warn"),
}  # fmt: skip


def test_a_succession_of_registered_units_passes(landed: tuple[Settings, psycopg.Connection]) -> None:
    settings, connection = landed
    row = heir({"unit_code": "U1", "extent": "partial"})
    raw(connection, "unit_register", add_batch(connection, "unit_register", "d" * 64, received=1, loaded=1), **row)
    assert gate.run_landed(settings).disposition == "pass"


@pytest.mark.parametrize("expectation", LANDED_BROKEN)
def test_a_landed_fault_is_named_with_its_record(landed: tuple[Settings, psycopg.Connection], expectation: str) -> None:
    settings, connection = landed
    feed, row, disposition = LANDED_BROKEN[expectation]
    raw(connection, feed, add_batch(connection, feed, "d" * 64, received=1, loaded=1), **row)
    run = gate.run_landed(settings)
    assert run.disposition == disposition, run.failed
    assert failed(run)[expectation].failing_keys == ["X"]


def test_quarantine_and_ledger_of_a_batch(landed: tuple[Settings, psycopg.Connection]) -> None:
    settings, connection = landed
    batch = add_batch(connection, "rating", "d" * 64, received=50, loaded=0, bad=1)
    run = gate.run_landed(settings)
    assert run.disposition == "warn" and failed(run)["batches.quarantine"].failing_keys == [f"rating/{batch}"]
    batch = add_batch(connection, "rating", "e" * 64, received=50, loaded=0, bad=6)
    assert failed(gate.run_landed(settings))["batches.quarantine_extreme"].failing_keys == [f"rating/{batch}"]
    batch = add_batch(connection, "rating", "f" * 64, received=5, loaded=5)  # and nothing in raw
    assert f"rating/{batch}" in failed(gate.run_landed(settings))["batches.raw_agrees"].failing_keys


def test_an_odd_batch_is_a_warning(landed: tuple[Settings, psycopg.Connection]) -> None:
    settings, connection = landed
    batch = add_batch(connection, "rating", "d" * 64, received=0, loaded=0)
    _insert(
        connection, "ops.batch_finding",
        {"batch_id": batch, "feed": "rating", "rule": "new_field", "field": "mauMoi", "records": 3, "detail": "x"},
    )  # fmt: skip
    run = gate.run_landed(settings)
    assert run.disposition == "warn" and failed(run)["findings.new_field"].failing_keys == [
        f"rating/{batch}/new_field mauMoi"
    ]


def test_a_record_in_doubt_is_a_warning_until_it_comes_in_good_order(
    landed: tuple[Settings, psycopg.Connection],
) -> None:
    settings, connection = landed
    batch = add_batch(connection, "dossier", "d" * 64, received=1, loaded=1)
    raw(connection, "dossier", batch, **dossier("D1"))
    batch = add_batch(connection, "dossier", "e" * 64, received=100, loaded=0, bad=1)
    _insert(
        connection, "ops.quarantine",
        {"batch_id": batch, "feed": "dossier", "record_key": "D1", "rule": "bad_date", "detail": "x"},
    )  # fmt: skip
    assert failed(gate.run_landed(settings))["feeds.no_stale"].failing_keys == ["D1"]
    batch = add_batch(connection, "dossier", "f" * 64, received=1, loaded=1)
    raw(connection, "dossier", batch, **dossier("D1"))
    assert "feeds.no_stale" not in failed(gate.run_landed(settings))


def test_a_day_unlike_other_days_of_its_kind_is_a_warning(landed: tuple[Settings, psycopg.Connection]) -> None:
    """Seven working days of forty ratings each, then one of four."""
    settings, connection = landed
    days = [date(2026, 10, day) for day in (5, 6, 7, 8, 9, 12, 13)]
    counts = {day: 40 for day in days} | {date(2026, 10, 14): 4}
    batch = add_batch(connection, "rating", "d" * 64, received=284, loaded=284, until="2026-10-15")
    for day, ratings in counts.items():
        for number in range(ratings):
            at = datetime(day.year, day.month, day.day, 3, tzinfo=UTC)
            raw(
                connection, "rating", batch, f"{day}-{number}", rating_id=f"{day}-{number}", dossier_code="D",
                level_code="RẤT", rated_at=at, updated_at=at,
            )  # fmt: skip
    run = gate.run_landed(settings)
    assert failed(run)["days.expected_rows"].failing_keys == ["rating/2026-10-14 (4)"], run.failed
    assert run.disposition == "warn"


def test_the_newest_load_of_a_register_must_have_rows(landed: tuple[Settings, psycopg.Connection]) -> None:
    settings, connection = landed
    add_batch(connection, "unit_register", "d" * 64, received=0, loaded=0)
    run = gate.run_landed(settings)
    assert run.disposition == "stop" and "unit_register.newest_has_rows" in failed(run)


def test_thresholds_are_data_with_reason_and_date(tmp_path: Path) -> None:
    assert len(read_thresholds(THRESHOLDS)) > 10
    path = tmp_path / "thresholds.yaml"
    path.write_text("a.b: {value: 1, why: because}", encoding="utf-8")
    with pytest.raises(PermanentError, match=r"'a\.b' needs exactly value, since"):
        read_thresholds(path)


def test_ids_of_the_landed_suite_are_its_own() -> None:
    ids = [check.id for check in landed_suite.suite()]
    assert len(ids) == len(set(ids)) > 30
