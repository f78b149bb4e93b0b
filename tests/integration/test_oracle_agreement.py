"""The warehouse agrees with the independent scorer, row for row and column for column, on more than 20,000 dossiers.

The generated records go the whole way: files, contracts, landing, raw, dbt. Nothing is compared with a tolerance.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from hailong.extract.run import ingest
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.integration.marts import built_beside, read_marts
from tests.oracle import feeds, rules
from tests.oracle.agreement import MARTS, Marts, disagreements, oracle_rows, scorer_of
from tests.oracle.book import Book
from tests.oracle.cases import SINCE, UNTIL, everything, periods
from tests.oracle.compare import FLOW_COLUMNS, PETITION_COUNTS, differences, report
from tests.oracle.policies import CHANGES, SINCE_WHEN
from tests.oracle.scorer import SUPPORTED, Policy, World

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Loaded:
    """A warehouse with all cases in it, built after the first round of loading and after the last."""

    settings: Settings
    book: Book
    first_batch: int  # newest batch_id of the first round
    second_batch: int  # and of the second
    first_marts: Marts  # as built after the first round
    marts: Marts  # as built after all rounds, on top of the former


def newest_batch(settings: Settings) -> int:
    with connect(settings) as connection:
        row = connection.execute("select max(batch_id) from ops.batch").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(scope="module")
def loaded(module_warehouse: Settings, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    settings, book, folder = module_warehouse, everything(), tmp_path_factory.mktemp("oracle")
    for feed, path in feeds.write_registers(book.world, folder).items():
        ingest(settings, feed, file=path)
    first_batch, second_batch, first_marts = 0, 0, {}
    for number, batch in enumerate(book.world.batches):
        for feed, path in feeds.write_batch(batch, number, folder, SINCE, UNTIL).items():
            since, until = feeds.span_of(batch, feed, SINCE, UNTIL)
            ingest(settings, feed, since=since, until=until, file=path)
        if number == 0:
            build(settings)
            first_batch, first_marts = newest_batch(settings), read_marts(settings)
        if number == 1:
            second_batch = newest_batch(settings)
    build(settings)
    return Loaded(settings, book, first_batch, second_batch, first_marts, read_marts(settings))


def all_differences(
    book: Book, marts: Marts, rounds: int | None = None, policies: Sequence[Policy] | None = None
) -> list[str]:
    """A readable report for each mart that differs from the oracle (over the first rounds of loading)."""
    world = book.world
    if rounds is not None:
        world = World(world.units, world.procedures, world.codes, world.batches[:rounds])
    scorer = scorer_of(world, policies)
    oracle = oracle_rows(scorer, periods(), UNTIL - timedelta(days=1))
    return disagreements(scorer, periods(), oracle, marts)


def test_nothing_was_quarantined(loaded: Loaded) -> None:
    with connect(loaded.settings) as connection:
        found = connection.execute(
            "select feed, rule, detail, count(*) from ops.quarantine group by 1, 2, 3"
        ).fetchall()
    assert found == []


def test_there_are_enough_cases(loaded: Loaded) -> None:
    scorer = scorer_of(loaded.book.world)
    with connect(loaded.settings) as connection:
        row = connection.execute("select count(distinct record_key), count(*) from raw.dossier").fetchone()
    assert row is not None
    dossiers, versions = row
    assert dossiers == len(scorer.histories) >= 20_000
    assert versions == sum(map(len, scorer.histories.values())) > dossiers
    assert len(periods()) >= 14
    for column in FLOW_COLUMNS:
        assert sum(bool(row[column]) for row in loaded.marts["dossier_flow"]) >= 10, column
    for column in (name + suffix for name in PETITION_COUNTS for suffix in ("", "_as_new")):
        assert sum(bool(row[column]) for row in loaded.marts["petition_count"]) >= 10, column
    assert {row["is_read"] for row in loaded.marts["petition_count"]} == {True, False}
    for column in ("kept", "broken", "running"):
        assert {row["term_code"] for row in loaded.marts["petition_term"] if row[column]} >= {"answer", "publish"}, (
            column
        )
    assert len({row["difference"] for row in loaded.marts["portal_difference"]}) == 11


def test_marts_equal_the_oracle(loaded: Loaded) -> None:
    reports = all_differences(loaded.book, loaded.marts)
    assert not reports, "\n\n".join(reports)


@pytest.mark.parametrize(
    ("mart", "column", "change"),
    [
        ("index_score", "numerator", lambda value: (value or 0) + Decimal(1)),
        ("index_score", "value", lambda value: (value or 0) + Decimal("1e-15")),
        ("index_score", "status_reason", lambda value: f"not {value}"),
        ("k_score", "k", lambda value: (value or 0) + Decimal("1e-6")),
        ("k_score", "rank_in_group", lambda value: (value or 0) + 1),
        ("k_score", "small_sample", lambda value: not value),
    ],
)
def test_the_comparison_sees_one_changed_value(
    loaded: Loaded, mart: str, column: str, change: Callable[[object], object]
) -> None:
    key, columns = MARTS[mart]
    original = loaded.marts[mart]
    position = next(i for i, row in enumerate(original) if row["status"] == "scored")
    changed = [dict(row) for row in original]
    changed[position][column] = change(changed[position][column])
    found = differences(changed, original, key, columns)
    assert [difference.column for difference in found] == [column]
    assert "1 differences" in report(found, scorer_of(loaded.book.world), periods())


def test_the_comparison_sees_missing_and_surplus_rows(loaded: Loaded) -> None:
    key, columns = MARTS["k_score"]
    rows = loaded.marts["k_score"]
    for ours, theirs in ((rows[1:], rows), (rows, rows[1:])):
        assert [difference.column for difference in differences(ours, theirs, key, columns)] == ["row"]


def test_the_first_round_alone_equals_the_oracle(loaded: Loaded) -> None:
    reports = all_differences(loaded.book, loaded.first_marts, rounds=1)
    assert not reports, "\n\n".join(reports)
    assert loaded.first_marts != loaded.marts


def test_a_second_build_changes_nothing(loaded: Loaded) -> None:
    build(loaded.settings)
    assert read_marts(loaded.settings) == loaded.marts


def test_a_build_as_of_the_first_round_sees_that_round_only(loaded: Loaded) -> None:
    """It goes into schemas of its own and leaves the real ones alone."""
    result = build(loaded.settings, as_of=loaded.first_batch)
    assert read_marts(loaded.settings, f"{result.schema_prefix}marts") == loaded.first_marts
    assert result.schema_prefix and read_marts(loaded.settings) == loaded.marts


# -- other policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 3])
def test_other_policies_in_succession_equal_the_oracle(loaded: Loaded, tmp_path: Path, shift: int) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(loaded.settings.rules, folder, ignore=shutil.ignore_patterns("target", "logs"))
    rules.write_policies(folder / "seeds", SINCE_WHEN, CHANGES[shift:] + CHANGES[:shift])
    policies = rules.policies(folder / "seeds")
    with built_beside(replace(loaded.settings, rules=folder), loaded.second_batch, *MARTS) as schema:
        marts = read_marts(loaded.settings, schema)
    assert {row["policy_id"] for row in marts["k_score"]} == {policy.policy_id for policy in policies}
    reports = all_differences(loaded.book, marts, rounds=2, policies=policies)
    assert not reports, "\n\n".join(reports)


def test_every_value_that_the_oracle_knows_is_tried() -> None:
    default = rules.policies()[0].parameters
    for name, known in SUPPORTED.items():
        assert {default[name], *(changed[name] for changed in CHANGES if name in changed)} == known, name
