"""Readings of the open texts: the warehouse agrees with the oracle, which scores everything again under each of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.rows import dict_row

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.integration.marts import built_beside
from tests.oracle import feeds, rules
from tests.oracle.cases import SINCE, UNTIL, everything, periods
from tests.oracle.compare import differences
from tests.oracle.scorer import Policy, Row, Scorer, World
from tests.oracle.sensitivity import Sensitivity

READING_KEY = ("period_code", "unit_code", "index_code", "set_code")
READING_COLUMNS = ("kind", "numerator", "denominator", "value", "status", "policy_id")
K_KEY = ("period_code", "unit_code")
K_COLUMNS = (
    "policy_id", "k", "verdict", "verdict_stability", "k_min", "k_max", "rank_min", "rank_max", "flipping_size",
    "method_k_min", "method_k_max", "method_flips",
)  # fmt: skip
# Policies whose own values are others, so that the readings are others too.
SINCE_WHEN = [date(2024, 11, 29), date(2025, 3, 15), date(2025, 9, 15), date(2026, 3, 15), date(2026, 7, 15)]
CHANGES: list[dict[str, str]] = [
    {"c_repeat": "last_per_dossier_day", "a_point_within_grace": "0.5", "missing_index": "zero"},
    {"attribution": "receiving", "due_basis": "source_current", "c_question": "overall", "k_equal": "satisfied"},
    {"result_statuses": "10", "d_definition": "petition_rescaled", "midnight_is_date": "false", "k_scale": "2"},
    {
        "inherited_overdue": "exclude", "b_population": "returned", "b_threshold": "beyond_permitted", "rank_scale": "0",
        "d_definition": "recomputed_104",
    },
    {"c_channels": "art7", "e_basis": "any_failure", "due_missing": "exclude", "missing_index": "rescale", "k_threshold": "19"},
]  # fmt: skip
WORKED = (
    "2025-01", "2025-06", "2025-07", "2025", "2026-04", "2026-Q2", "2026-10",
)  # fmt: skip

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Loaded:
    """A warehouse with the worked edges and some generated cases in it."""

    settings: Settings
    world: World
    second_batch: int  # newest batch_id of the second round of loading


@pytest.fixture(scope="module")
def loaded(module_warehouse: Settings, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    settings, book, folder = module_warehouse, everything(dossiers=4_000, seed=7), tmp_path_factory.mktemp("oracle")
    for feed, path in feeds.write_registers(book.world, folder).items():
        ingest(settings, feed, file=path)
    for number, batch in enumerate(book.world.batches):
        for feed, path in feeds.write_batch(batch, number, folder, SINCE, UNTIL).items():
            since, until = feeds.span_of(batch, feed, SINCE, UNTIL)
            ingest(settings, feed, since=since, until=until, file=path)
        if number == 1:
            with connect(settings) as connection:
                second = connection.execute("select max(batch_id) from ops.batch").fetchone()
    build(settings)
    assert second is not None
    return Loaded(settings, book.world, second[0])


def read(settings: Settings, mart: str, key: tuple[str, ...], schema: str = "marts") -> list[Row]:
    with connect(settings) as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        query = sql.SQL("select * from {} where period_code = any(%s) order by {}").format(
            sql.Identifier(schema, mart), sql.SQL(", ").join(map(sql.Identifier, key))
        )
        return list(connection.execute(query, [list(WORKED)]).fetchall())  # type: ignore[arg-type]


def compare(loaded: Loaded, policies: list[Policy], schema: str) -> list[Row]:
    """Asserts that both marts equal the oracle; gives the rows of k_sensitivity."""
    scorer = Scorer(loaded.world, policies, rules.working_days(), rules.level_classes(), rules.terms())
    oracle = Sensitivity(scorer, rules.readings())
    chosen = [period for period in periods() if period.period_code in WORKED]
    found = differences(
        oracle.index_rows(chosen),
        read(loaded.settings, "index_reading", READING_KEY, schema),
        READING_KEY,
        READING_COLUMNS,
    )
    assert not found, f"{len(found)} differences\n" + "\n".join(map(str, found[:20]))
    theirs = read(loaded.settings, "k_sensitivity", K_KEY, schema)
    found = differences(oracle.k_rows(chosen), theirs, K_KEY, K_COLUMNS)
    assert not found, f"{len(found)} differences\n" + "\n".join(map(str, found[:20]))
    for row in theirs:  # the readings that are named do what is said of them
        if row["flipping_readings"] is not None:
            named = tuple(
                (name, value)
                for name, _, value in (part.partition("=") for part in str(row["flipping_readings"]).split(" + "))
            )
            period = next(period for period in chosen if period.period_code == row["period_code"])
            told = oracle.verdict_under(period, str(row["unit_code"]), named)
            assert (told or "none", len(named)) == (row["flipped_verdict"], row["flipping_size"]), row
    return theirs


def test_readings_of_the_policy_in_force_equal_the_oracle(loaded: Loaded) -> None:
    rows = compare(loaded, rules.policies(), "marts")
    assert {row["verdict_stability"] for row in rows} == {"stable", "depends", None}
    assert any((row["flipping_size"] or 0) >= 2 for row in rows)  # type: ignore[operator]
    assert any(row["rank_min"] != row["rank_max"] for row in rows)
    assert any(row["method_flips"] for row in rows)
    with connect(loaded.settings) as connection:
        found = connection.execute("""select count(*), count(*) filter (where r.value > own.value) from marts.index_reading as r
            inner join marts.index_reading as own using (period_code, unit_code, index_code)
            where r.set_code = 'interlinked=participants' and own.set_code = 'own'
                and (r.numerator, r.denominator) is distinct from (own.numerator, own.denominator)""").fetchone()
        reasons = connection.execute("""select coalesce(exclusion_reason, lateness), count(*) from facts.fct_a_participant
            group by 1""").fetchall()
    assert found is not None and found[0] > 100 and found[1] > 20
    assert {reason for reason, count in reasons if count >= 5} == {
        "in_time", "within_grace", "late", "test_record", "step_not_finished", "finish_before_receipt", "no_due_date",
    }  # fmt: skip


def test_readings_of_other_policies_equal_the_oracle(loaded: Loaded, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(loaded.settings.rules, folder, ignore=shutil.ignore_patterns("target", "logs"))
    rules.write_policies(folder / "seeds", SINCE_WHEN, CHANGES)
    loaded = replace(loaded, world=replace(loaded.world, batches=loaded.world.batches[:2]))
    under = replace(loaded.settings, rules=folder)
    with built_beside(under, loaded.second_batch, "index_reading", "k_sensitivity") as schema:
        rows = compare(loaded, rules.policies(folder / "seeds"), schema)
    assert {row["policy_id"] for row in rows} == {f"policy-{number}" for number in range(1, 6)}


def test_the_scores_say_what_they_hang_on(loaded: Loaded) -> None:
    """k_score carries stability and range, and the policy's own reading is the score itself."""
    scores = """select count(*), count(*) filter (
            where (k.k, k.verdict, k.verdict_stability, k.k_min, k.k_max)
                is distinct from (s.k, s.verdict, s.verdict_stability, s.k_min, s.k_max)
        )
        from marts.k_score as k left join marts.k_sensitivity as s using (period_code, unit_code)
        where k.status in ('scored', 'incomplete')"""
    indices = """select count(*), count(*) filter (
            where (i.numerator, i.denominator, i.value, i.status)
                is distinct from (r.numerator, r.denominator, r.value, r.status)
        )
        from marts.index_score as i inner join marts.index_reading as r using (period_code, unit_code, index_code)
        where r.set_code = 'own'"""
    with connect(loaded.settings) as connection:
        for query in (scores, indices):
            row = connection.execute(query).fetchone()  # type: ignore[arg-type]
            assert row is not None
            assert row[0] > 100
            assert row[1] == 0
