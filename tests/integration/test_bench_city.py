"""The benchmark measures the same thing thrice: bare SQL and pandas give the K table of the marts, exactly, on a generated city.

Two months and one more night: three months, a quarter and a year share a day with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import psycopg
import pytest

from hailong.contracts import load_contracts
from hailong.load.raw import head_table
from hailong.settings import PROJECT, Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect, dsn
from sandbox.generator import DAY
from tests.bench import (
    by_hand,
    frames,
    frames_tables,
    report,
    table,
    warehouse,
)
from tests.bench.city import Made, Source, generate, night
from tests.bench.lives import FORCED, PLACE, Size, as_seen, changed, lives, versions

pytestmark = pytest.mark.slow

SIZE = Size(dossiers=120_000, days=60, seed=7)
CHANGES = 400
BY_FRAMES = {
    "core.core_dossier_history", "core.core_dossier", "core.core_supplement", "core.core_dossier_participant",
    "core.core_rating", "core.core_lost_record", "facts.fct_dossier", "facts.fct_a_reading", "facts.fct_b_reading",
    "facts.fct_a_participant", "facts.fct_unit_day", "facts.fct_unit_day_a_case", "facts.fct_unit_day_b_case",
    "facts.fct_unit_day_c_case", "facts.fct_unit_day_flow", "facts.fct_unit_day_overdue_long", "marts.index_score",
    "marts.index_reading", "marts.k_sensitivity", "marts.k_score", "officials.official_score",
}  # fmt: skip


@dataclass(frozen=True)
class City:
    settings: Settings
    history: Made
    more: Made
    marts: table.Rows

    @property
    def dsn(self) -> str:
        return dsn(self.settings)

    def query(self, text: str) -> list[tuple[object, ...]]:
        with connect(self.settings, autocommit=True) as connection:
            return connection.execute(text.encode()).fetchall()


@pytest.fixture(scope="module")
def city(module_warehouse: Settings) -> City:
    """A history and one more night, built once."""
    history = generate(module_warehouse, SIZE)
    more = night(module_warehouse, SIZE, CHANGES)
    build(module_warehouse)
    return City(module_warehouse, history, more, table.of_marts(dsn(module_warehouse)))


# -- the three K tables ---------------------------------------------------------------------------------------------------


def test_bare_sql_gives_the_k_table_of_the_marts(city: City) -> None:
    assert table.differences(table.of_bare(city.dsn), city.marts) == []


def test_pandas_gives_the_k_table_of_the_marts(city: City) -> None:
    found = table.of_frames(city.dsn)
    assert table.differences(found, city.marts) == []
    assert table.digest(found) == table.digest(city.marts)


def test_the_k_table_holds_what_there_is_to_get_wrong(city: City) -> None:
    """Agreement on an empty or uniform table would prove nothing."""
    place = {name: index for index, name in enumerate(frames.COLUMNS)}

    def seen(name: str) -> set[object]:
        return {row[place[name]] for row in city.marts.values()}

    assert len(city.marts) == 5 * 186
    assert seen("status") >= {"scored", "incomplete", "not_applicable"}
    assert seen("verdict") >= {"satisfied", "not_satisfied", "undetermined"}
    assert seen("verdict_bound") >= {"satisfied_whatever", "open"}
    assert seen("window_clipped") == {None, "unit_started"}
    assert seen("small_sample") == seen("no_petitions") == seen("near_threshold") == {True, False}
    reasons = " ".join(str(reason) for reason in seen("status_reason"))
    assert all(word in reasons for word in ("receiving_only", "C:no_data", "D:no_data", "E:awaiting_input"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("coalesce(resolved.restarted, resolved.first_due)", "resolved.first_due"),  # a supplement restarts the term
        ("min(due_at) as least_due_at", "max(due_at) as least_due_at"),  # the first due date, not the last
        ("(item.content ->> 'received_at')::timestamptz desc", "(item.content ->> 'received_at')::timestamptz"),
        ("max(batch_id) as batch_id,\n        min(batch_id)", "min(batch_id) as batch_id,\n        min(batch_id)"),
        ("select count(distinct asked.supplement_id)", "select count(*)"),
        ("then asked.local::date <= r.result_local::date", "then true"),
        ("<= (select policy.b_max_returns from policy)", "< (select policy.b_max_returns from policy)"),
        ("or rolled.due_on <> rolled.term_on then", "then"),  # a term that ends on a day off
        ("rolled.event_on <= rolled.due_on", "rolled.event_on < rolled.due_on"),
        ("case when p.is_at_once then 1 else p.limit_working_days end", "p.limit_working_days"),  # from 15:00
        ("r.is_test_record\n        or ", ""),
        ("w.window_end > e.event_on", "w.window_end >= e.event_on"),
        ("r.question_code is null or", ""),
        ("when rating.is_receiving then newest.receiving_unit_source_code", "when false then null"),
        (
            "from raw.portal_evaluation\n        order by record_key, batch_id desc",
            "from raw.portal_evaluation\n        order by record_key, batch_id",
        ),
        ("checked.checked_on desc nulls last", "checked.checked_on nulls last"),
        ("bool_and(result.target_code = 'pass')", "bool_or(true)"),
        ("order by round(s.k, s.rank_scale) desc", "order by s.k desc"),
        ("(values (0, 1), (1, 1), (0, -1), (-1, -1))", "(values (0, 1))"),
    ],
)
def test_a_wrong_bare_statement_is_found(city: City, old: str, new: str) -> None:
    statement = table.BARE.read_text(encoding="utf-8")
    assert old in statement
    assert table.differences(table.of_bare(city.dsn, statement.replace(old, new)), city.marts)


def test_a_wrong_frame_is_found(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "DOSSIERS", frames.DOSSIERS.replace("order by batch_id", "order by batch_id desc"))
    found = table.of_frames(city.dsn)
    assert table.differences(found, city.marts)
    assert table.digest(found) != table.digest(city.marts)


# -- the tables by pandas --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_frames(city: City) -> Iterator[tuple[frames_tables.Tables, table.Rows]]:
    """What dbt built, made by pandas and written beside it; and its K table."""
    with frames_tables.Tables(city.dsn) as made:
        yield made, table.of_frame(frames_tables.fill(city.dsn, made))


def test_tables_by_pandas_equal_those_of_dbt_row_for_row(
    city: City, by_frames: tuple[frames_tables.Tables, table.Rows]
) -> None:
    made, k = by_frames
    assert set(made.rows) == BY_FRAMES
    # No period in which officials are scored is finished; those of a longer history are compared below.
    assert {name for name, rows in made.rows.items() if not rows} == {"officials.official_score"}
    with psycopg.connect(city.dsn, autocommit=True) as connection:
        assert frames_tables.differences(connection) == []
    assert table.differences(k, city.marts) == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("update by_frames.fct_dossier set is_late = null where dossier_code in (select min(dossier_code) from"
         " by_frames.fct_dossier where is_late)", "fct_dossier: 1 rows only in"),
        ("insert into by_frames.core_supplement select * from by_frames.core_supplement limit 1",
         "core_supplement: 1 rows only in"),
        ("delete from by_frames.index_reading where set_code = 'own' and index_code = 'E'", "index_reading: 930 rows only in"),
    ],
)  # fmt: skip
def test_a_table_by_pandas_that_differs_is_told(
    city: City, by_frames: tuple[frames_tables.Tables, table.Rows], damage: str, told: str
) -> None:
    with psycopg.connect(city.dsn) as connection:
        connection.execute(damage.encode())
        found = frames_tables.differences(connection)
        connection.rollback()
    assert found
    assert all(what.startswith(told) for what in found)


# -- the tables by hand ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(city: City) -> Iterator[tuple[by_hand.Step, ...]]:
    """What dbt built, built by hand beside it."""
    steps = by_hand.steps(city.settings.home / "dbt" / "target")
    with psycopg.connect(city.dsn, autocommit=True) as connection:
        by_hand.clear(connection, make=True)
        by_hand.fill(city.dsn, steps)
        yield steps
        by_hand.clear(connection)


def test_tables_by_hand_equal_those_of_dbt_row_for_row_and_key_for_key(
    city: City, made: tuple[by_hand.Step, ...]
) -> None:
    with psycopg.connect(city.dsn, autocommit=True) as connection:
        assert by_hand.differences(connection, made) == []
        held = {
            f"{schema}.{name}"
            for schema, name in connection.execute(
                "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on n.oid = c.relnamespace"
                " where n.nspname in ('core', 'facts', 'marts', 'officials', 'staging') and c.relkind in ('r', 'v')"
            )
        }
    relations = {step.relation for step in made}
    assert {relation.removeprefix(by_hand.PREFIX) for relation in relations if by_hand.SCRATCH not in relation} == held


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("update by_hand_facts.fct_dossier set return_count = 7 where dossier_code in"
         " (select min(dossier_code) from by_hand_facts.fct_dossier)", "fct_dossier: 1 rows only in"),
        ("delete from by_hand_marts.k_score where unit_code in (select min(unit_code) from by_hand_marts.k_score)",
         "k_score: 5 rows only in"),
        ("alter table by_hand_core.core_supplement alter column requested_at type timestamp", "core_supplement: ('column'"),
        ("alter table by_hand_core.core_dossier alter column is_stale drop not null", "core_dossier: ('column'"),
        ("alter table by_hand_facts.fct_unit_day drop constraint fct_unit_day_pkey", "fct_unit_day: ('constraint'"),
        ("drop index by_hand_facts.fct_dossier_result_on_unit_code_idx", "fct_dossier: ('index'"),
    ],
)  # fmt: skip
def test_a_table_by_hand_that_differs_is_told(
    city: City, made: tuple[by_hand.Step, ...], damage: str, told: str
) -> None:
    name = told.partition(":")[0]
    touched = tuple(step for step in made if step.relation.endswith(f".{name}"))
    with psycopg.connect(city.dsn) as connection:
        assert by_hand.differences(connection, touched) == []
        connection.execute(damage.encode())
        found = by_hand.differences(connection, touched)
        connection.rollback()
    assert any(told in what for what in found)


def test_a_statement_by_hand_for_a_table_that_no_model_makes_is_refused(city: City, tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "core_dosier.sql").write_text("select 1", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no model makes by_hand_core\.core_dosier"):
        by_hand.steps(city.settings.home / "dbt" / "target", tmp_path)


def test_the_queries_of_an_increment_are_no_pattern_for_the_script_by_hand(tmp_path: Path) -> None:
    node = {"resource_type": "model", "schema": "core", "alias": "core_dossier"}
    compiled = "select * from raw.dossier where record_key in (select record_key from ops.touched_record)"
    (tmp_path / "manifest.json").write_bytes(orjson.dumps({"nodes": {"model.x": node}}))
    results = {"results": [{"unique_id": "model.x", "compiled_code": compiled}]}
    (tmp_path / "run_results.json").write_bytes(orjson.dumps(results))
    with pytest.raises(ValueError, match=r"by_hand_core\.core_dossier: .*build in full first"):
        by_hand.steps(tmp_path, tmp_path / "none")


def test_officials_of_a_finished_quarter_are_scored_alike_by_pandas_and_by_hand(
    new_warehouse: Callable[..., Settings],
) -> None:
    settings = new_warehouse()
    generate(settings, Size(dossiers=40_000, days=120, seed=7))
    build(settings)
    steps = by_hand.steps(settings.home / "dbt" / "target")
    touched = tuple(step for step in steps if step.relation.endswith(".official_score"))
    with frames_tables.Tables(dsn(settings)) as made, psycopg.connect(dsn(settings), autocommit=True) as connection:
        frames_tables.fill(dsn(settings), made)
        assert made.rows["officials.official_score"] > 500
        reasons = connection.execute("select distinct c_withheld_because from officials.official_score").fetchall()
        assert {reason for (reason,) in reasons} == {None, "few_ratings", "few_of_others"}
        assert frames_tables.differences(connection) == []
        by_hand.clear(connection, make=True)
        by_hand.fill(dsn(settings), steps)
        assert by_hand.differences(connection, touched) == []


# -- the ledger and raw -----------------------------------------------------------------------------------------------------


def test_every_batch_holds_the_rows_that_the_ledger_counts(city: City) -> None:
    contracts = load_contracts(city.settings.contracts)
    held = " union all ".join(f"select batch_id, '{feed}' as feed, op from raw.{feed}" for feed in contracts)
    wrong = city.query(
        "select b.batch_id, b.feed, b.loaded_rows, b.tombstone_rows, r.upserts, r.deletes from ops.batch as b full join"
        " (select batch_id, feed, count(*) filter (where op = 'upsert') as upserts, count(*) filter (where op = 'delete') as"
        f" deletes from ({held}) as held group by batch_id, feed) as r on b.batch_id = r.batch_id and b.feed = r.feed"
        " where (b.loaded_rows, b.tombstone_rows) is distinct from (coalesce(r.upserts, 0), coalesce(r.deletes, 0))"
    )
    assert wrong == []
    assert city.query(
        "select b.batch_id from ops.batch as b left join (select batch_id, count(*) as n from ops.quarantine group by 1) as q"
        " on b.batch_id = q.batch_id where b.quarantined_rows <> coalesce(q.n, 0)"
    ) == []  # fmt: skip
    totals = dict(city.query("select feed, sum(loaded_rows + tombstone_rows)::bigint from ops.batch group by feed"))
    made = {feed: city.history.rows[feed] + city.more.rows[feed] for feed in city.history.rows}
    assert totals == made
    assert city.query("select count(*)::int from ops.batch") == [(city.history.batches + city.more.batches,)]


def test_one_batch_a_night_and_feed_in_the_order_of_the_days(city: City) -> None:
    nights = city.query("select window_start, window_end from ops.batch where feed = 'dossier' order by batch_id")
    assert len(nights) == SIZE.days + 1
    assert warehouse.nights_held(city.dsn, SIZE) == 1
    assert [end for _, end in nights[:-1]] == [start for start, _ in nights[1:]]
    assert city.query("select count(distinct feed)::int, max(tombstone_rows) > 0 from ops.batch") == [(8, True)]
    # What a night brings happened by its end, and was not known before.
    assert city.query(
        "select count(*) from raw.dossier as r inner join ops.batch as b using (batch_id)"
        " where r.updated_at >= b.window_end or (r.op = 'upsert' and r.updated_at < b.window_start)"
    ) == [(0,)]


def test_heads_hold_the_newest_version_of_every_key(city: City) -> None:
    with connect(city.settings) as connection:
        for feed in ("dossier", "rating", "portal_evaluation", "unit_register"):
            head = head_table(feed).as_string(connection)
            query = (
                f"select count(*), count(*) filter (where h.batch_id = n.batch_id and h.version_hash = n.version_hash) from"
                f" (select distinct on (record_key) record_key, batch_id, version_hash from raw.{feed} where batch_id <="
                f" {city.history.batches} order by record_key, batch_id desc) as n left join {head} as h using (record_key)"
            )
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            assert row[0] == row[1] > 0


def test_a_contract_that_grew_a_column_is_noticed(city: City, tmp_path: Path) -> None:
    """The generator refuses to leave out what the contracts ask for."""
    folder = tmp_path / "contracts"
    folder.mkdir()
    for path in (PROJECT / "expectations" / "contracts").glob("*.yaml"):
        (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    rating = folder / "rating.yaml"
    column = "      - name: rating_id\n"
    more = (
        "      - {name: mood, logicalType: string, physicalType: text, description: x, customProperties: [{property: "
    )
    more += "sourceField, value: m}]}\n"
    rating.write_text(rating.read_text(encoding="utf-8").replace(column, more + column), encoding="utf-8")
    settings = Settings.load({"HAILONG_CONTRACTS": str(folder)})
    nights = Source(settings, Size(10_000, 1)).history()
    with pytest.raises(ValueError, match=r"rating: columns differ from the contract: \['mood'\]"):
        list(nights)


# -- what the city is like ------------------------------------------------------------------------------------------------


def test_the_city_is_as_large_and_as_punctual_as_it_should_be(city: City) -> None:
    history = f"where batch_id <= {city.history.batches}"
    received = city.query(f"select count(distinct record_key)::int from raw.dossier {history}")
    days = range(SIZE.first, SIZE.last + 1)
    assert received[0][0] == pytest.approx(
        sum(map(SIZE.received_on, days)), rel=0.01
    )  # the last days' laggards are missing
    assert sum(Size(dossiers=60_000).received_on(day) for day in range(SIZE.last - 364, SIZE.last + 1)) == 60_000
    ((share, guided),) = city.query(
        "select sum(a_points) / sum(a_dossiers), sum(b_points) / sum(b_dossiers) from facts.fct_unit_day"
    )
    assert 0.95 <= share <= 0.99
    assert 0.9 < guided < 1
    assert city.query("select count(distinct status_code)::int from raw.dossier") == [(10,)]
    each = "select count(*) as n from raw.dossier group by record_key"
    versions_each = dict(city.query(f"select n::int, count(*)::int from ({each}) as v group by n"))
    assert versions_each[1] > 1_000 and versions_each[2] > 1_000 and versions_each[3] > 500
    ((per_dossier,),) = city.query(
        "select (select count(*) from raw.rating)::float / count(distinct record_key) from raw.dossier"
    )
    assert 0.2 < per_dossier < 0.35


def test_the_city_has_every_oddity_that_the_models_look_at(city: City) -> None:
    ((found,),) = city.query(
        "select jsonb_build_object("
        "'date_only', count(*) filter (where received_at_is_date), 'no_due_date', count(*) filter (where due_at is null),"
        "'received_elsewhere', count(*) filter (where resolving_unit_source_code <> receiving_unit_source_code),"
        "'test', count(*) filter (where is_test_record), 'dummy', count(*) filter (where is_dummy_identity),"
        "'linked', count(*) filter (where is_interlinked and participants <> '[]'),"
        "'handed_over_only', count(*) filter (where finished_at is null and returned_at is not null),"
        "'before_receipt', count(*) filter (where finished_at < received_at - interval '1 day'),"
        "'in_full', count(*) filter (where supplements @> '[{\"status_code\": \"2\"}]'),"
        "'twice', count(*) filter (where jsonb_array_length(supplements) > 1)) from raw.dossier where op = 'upsert'"
    )
    assert isinstance(found, dict)
    assert [name for name, count in found.items() if count < 10] == []
    ((bases,),) = city.query("select array_agg(distinct due_basis_used) from facts.fct_a_timeliness")
    assert set(bases) == {"first", "supplement", "procedure", None}
    ((reasons,),) = city.query("select array_agg(distinct exclusion_reason) from facts.fct_a_timeliness")
    assert set(reasons) == {"test_record", "finish_before_receipt", "no_due_date", None}
    ((placed,),) = city.query("select array_agg(distinct unit_basis) from core.core_rating")
    assert set(placed) == {"rated", "receiving", "device", "resolving", None}
    assert city.query("select count(*) > 0 from core.core_dossier where is_stale") == [(True,)]
    assert city.query("select count(*) > 0 from core.core_dossier where has_inserted_step") == [(True,)]


def test_a_shorter_history_is_the_end_of_a_longer_one() -> None:
    year, short = Size(20_000), Size(20_000, 36)
    assert (year.last - year.first, short.last - short.first) == (364, 35)
    day = short.first + 3
    assert np.array_equal(lives(year, day), lives(short, day))
    assert not np.array_equal(lives(year, day), lives(Size(20_000, seed=8), day))
    one, other = changed(year, 300), changed(short, 300)
    assert np.array_equal(one[0], other[0])
    assert one[1] == other[1]


def test_a_version_stands_for_each_night_on_which_something_happened() -> None:
    size = Size(20_000)
    table_ = lives(size, size.first)
    column, nights = versions(table_)
    assert len(set(zip(column.tolist(), nights.tolist(), strict=True))) == len(column)
    for night_ in sorted(set(nights.tolist()))[:10]:
        rows = column[nights == night_]
        before, after = as_seen(table_[:, rows], night_ - 1), as_seen(table_[:, rows], night_)
        assert (after["updated"] // DAY == night_).all()
        assert (before["updated"] < after["updated"]).all()


# -- one more night ---------------------------------------------------------------------------------------------------------


def test_the_night_changes_dossiers_of_the_last_weeks_in_every_way(city: City) -> None:
    assert set(city.more.changes) == {"new", "result given or returned", *(name for name, _ in FORCED)}
    assert all(count > 0 for count in city.more.changes.values())
    batch = city.query("select max(batch_id)::int from ops.batch where feed = 'dossier'")[0][0]
    ((rows, keys, deleted, new),) = city.query(
        "select count(*)::int, count(distinct r.record_key)::int, count(*) filter (where r.op = 'delete')::int,"
        " count(*) filter (where h.record_key is null)::int from raw.dossier as r left join raw.dossier_head as h"
        f" on r.record_key = h.record_key where r.batch_id = {batch}"
    )
    assert rows == keys == sum(city.more.changes.values()) == city.more.rows["dossier"]
    assert deleted >= city.more.changes["deleted"]
    assert new == city.more.changes["new"]
    old = city.query(
        f"select count(*)::int from raw.dossier where batch_id = {batch}"
        " and received_at < (select max(window_end) from ops.batch) - interval '38 days'"
    )
    assert old == [(0,)]
    ((moved, elsewhere, asked, again),) = city.query(
        "select count(*) filter (where n.due_at > h.due_at and n.supplements = h.supplements),"
        " count(*) filter (where n.resolving_unit_source_code <> h.resolving_unit_source_code),"
        " count(*) filter (where jsonb_array_length(n.supplements) > jsonb_array_length(h.supplements)),"
        " count(*) filter (where h.status_code in ('9', '10') and n.status_code in ('1', '2', '4', '5')) from raw.dossier as n"
        " inner join raw.dossier_head as k using (record_key)"
        " inner join raw.dossier as h on k.record_key = h.record_key and k.batch_id = h.batch_id"
        f" where n.batch_id = {batch}"
    )
    made = city.more.changes
    assert moved >= made["due_moved"]
    assert elsewhere >= made["unit_moved"]
    assert asked >= made["supplement"]
    assert again >= made["reopened"]


# -- what is measured --------------------------------------------------------------------------------------------------------


def test_a_months_k_from_the_daily_facts_is_that_of_the_marts(city: City) -> None:
    statement = warehouse.month_statement(city.settings, "2026-10")
    with psycopg.connect(city.dsn) as connection:
        cursor = connection.execute(statement.encode())
        names = [column.name for column in cursor.description or ()]
        rows = [tuple(row[names.index(name)] for name in frames.COLUMNS) for row in cursor.fetchall()]
    held = {row for (period, _), row in city.marts.items() if period == "2026-10"}
    assert set(rows) == held
    assert len(rows) == len(held) == 186


def test_goals_hold_up_to_their_limits_and_not_beyond() -> None:
    limits = {
        "full build": [90.0, 1.0, 400.0],  # the median counts
        "by hand": [60.0], "bare SQL": [15.0], "pandas": [90.1], "pandas, K only": [10.0],
        "night on 12 months": [6.0], "night on 36 days": [6.0 / 1.3],
        "a month's K": [1.8],
    }  # fmt: skip
    size = Size(20_000)
    assert [goal.holds for goal in warehouse.goals(warehouse.Bench("", "", size, seconds=limits))] == [True] * 6
    for what, beyond in (
        ("by hand", 59.9), ("bare SQL", 14.9), ("pandas", 90.0), ("night on 36 days", 4.6), ("a month's K", 1.81),
    ):  # fmt: skip
        found = warehouse.goals(warehouse.Bench("", "", size, seconds=limits | {what: [beyond]}))
        assert [goal.holds for goal in found].count(False) == 1, what
    slow = warehouse.goals(warehouse.Bench("", "", size, seconds=limits | {"night on 12 months": [6.1]}))
    assert [goal.what for goal in slow if not goal.holds] == [
        "a night on 12 months against one on 36 days", "a night against the full build"
    ]  # fmt: skip


def test_the_report_tells_what_was_measured_and_where_the_time_went() -> None:
    what = ("full build", "night on 12 months")
    bench = warehouse.Bench(
        "", "18.6", Size(20_000), startup=[4.0, 5.0, 6.0], earlier=6, rows={"dossier": 40_000, "rating": 5_000},
        memory={"pandas": 2_000_000_000, "pandas, K only": 1_000_000_000},
        seconds={
            "pandas": [12.0], "pandas, written back": [3.0], "pandas, K only": [4.0],
            **{name: [10.0] for name in ("full build", "by hand", "bare SQL", "night on 36 days", "a month's K")},
            "night on 12 months": [10.0, 11.0, 30.0],
        },
        tables={"core.core_dossier": 20_000, "marts.k_score": 900},
        nodes={"core_dossier": 6.0, "mart_k_score": 1.0, "mart_rollup": 1.0},
        slowest={name: [("core_dossier", 6.0), ("mart_k_score", 1.0)] for name in (*what, "by hand")},
        layers={name: {"core": 12.0, "marts": 4.0} for name in what},
    )  # fmt: skip
    text = "\n".join(warehouse.report(bench, warehouse.goals(bench), rounds=1, changes=500))
    assert "| `core_dossier` | 6.0 | `core_dossier` | 6.0 | `core_dossier` | 6.0 |" in text
    assert "The next limit: of a full build `core_dossier`, of a night on 12 months `core_dossier`." in text
    assert "The full build by layer: core 75%, marts 25%; 1.6 nodes at a time." in text
    assert "start-up, 5.0 s a build" in text
    assert "no weekend's, after 6 that an earlier run had left; the server" in text
    assert "The nights one by one, 12 months: 10.0, 11.0, 30.0 s." in text
    assert "| full build against pandas, same tables | faster | 10 s, pandas 12 s | holds |" in text
    assert "2,000 MB for the tables, 1,000 MB for K only" in text
    assert "(`frames.py`) | 4.00 |" in text
    assert "88% of its nodes' seconds: `core.core_dossier`, `marts.k_score`." in text
    assert "nothing else, 4 s against 10 s of the full build" in text
    assert "**does not hold**" in text


def test_a_weekends_night_is_none_of_the_nights_that_a_goal_is_set_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = warehouse.Bench("postgresql://x/y", "18.6", Size(20_000))
    monkeypatch.setattr(warehouse, "build", lambda _: SimpleNamespace(full_refresh=False, seconds=9.0, build_id=1))
    monkeypatch.setattr(warehouse, "_settle", lambda *_: None)
    monkeypatch.setattr(warehouse, "_startup", lambda *_: 4.0)
    monkeypatch.setattr(warehouse, "_where_it_goes", lambda *_: None)
    monkeypatch.setattr(warehouse, "night", lambda *_: SimpleNamespace(changes={"moved": 20}))
    for number in range(1, 9):  # from Tuesday, 1 December 2026, on
        warehouse._night(bench, "year", Size(20_000), 500, number, "night")
    assert bench.seconds == {"night": [5.0] * 6, "night, weekend": [5.0] * 2}


def test_a_section_of_the_report_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    first, second = report.SECTIONS
    report.write_section(second, ["the build", "", "| a |"], path)
    report.write_section(first, ["the read"], path)
    report.write_section(second, ["another build"], path)
    text = path.read_text(encoding="utf-8")
    assert text == f"{report.HEAD}\n## {first}\n\nthe read\n\n## {second}\n\nanother build\n"
    committed = report.PATH.read_text(encoding="utf-8")
    assert committed.startswith(report.HEAD)
    assert f"## {first}\n" in committed


def test_places_of_the_fields_are_their_own() -> None:
    assert len(PLACE) == len(set(PLACE.values())) == len(lives(Size(20_000), Size(20_000).last))
