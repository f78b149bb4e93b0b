"""Builds: as of a batch, one at a time, repeatable; keys stand after every one; a full build equals what grew."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from hailong.errors import PermanentError, TransientError
from hailong.settings import Settings
from hailong.warehouse import build as building
from hailong.warehouse import increments, rules
from hailong.warehouse.build import BuildResult, build
from hailong.warehouse.connect import connect
from hailong.warehouse.logins import grant_unit, revoke_unit
from tests.integration import matrix

pytestmark = pytest.mark.slow

SCHEMAS = ("core", "facts", "marts")
Rows = list[tuple[str, dict[str, Any]]]


def load(settings: Settings, feed: str, rows: Rows, deleted: tuple[str, ...] = ()) -> int:
    """One batch of hand-made raw rows, (record_key, columns) each; its number."""
    window = (
        ("2026-09-15 00:00+07", "2026-10-20 00:00+07") if "register" not in feed and feed != "code_map" else (None,) * 2
    )
    with connect(settings) as connection, connection.transaction():
        row = connection.execute(
            "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, received_rows, "
            "loaded_rows, unchanged_rows, duplicate_rows, quarantined_rows, started_at, contract_version, code_version) "
            "values (%s, %s, %s, 'test', encode(sha256(gen_random_uuid()::text::bytea), 'hex'), %s, %s, 0, 0, 0, now(), "
            "'1', '1') returning batch_id",
            (feed, *window, len(rows) + len(deleted), len(rows) + len(deleted)),
        ).fetchone()
        assert row is not None
        batch_id = int(row[0])
        connection.execute("select raw.ensure_partition(%s, %s)", (feed, batch_id))
        for key, columns in rows:
            _insert(connection, feed, {"record_key": key, "op": "upsert", "batch_id": batch_id, **columns})
        for key in deleted:
            _insert(connection, feed, {"record_key": key, "op": "delete", "batch_id": batch_id})
    return batch_id


def _insert(connection: psycopg.Connection, feed: str, values: dict[str, Any]) -> None:
    values = {"version_hash": "x", **values}
    connection.execute(
        sql.SQL("insert into raw.{} ({}) values ({})").format(
            sql.Identifier(feed),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        ),
        [Jsonb(value) if isinstance(value, list) else value for value in values.values()],
    )


def code(kind: str, source: str, target: str, system: str = "tthc") -> tuple[str, dict[str, Any]]:
    return (
        f"{system}|{kind}|{source}",
        {"system": system, "code_kind": kind, "source_code": source, "target_code": target, "treatment": "good"},
    )


def unit(unit_code: str) -> tuple[str, dict[str, Any]]:
    return unit_code, {
        "unit_code": unit_code, "unit_name": unit_code, "unit_kind": "ward", "peer_group": "g", "peer_group_name": "g",
        "valid_from": "2025-07-01", "is_scored": True, "is_receiving_only": False, "posting_places": "desk",
    }  # fmt: skip


def dossier(key: str, unit_code: str, result: str, **columns: Any) -> tuple[str, dict[str, Any]]:
    return key, {
        "dossier_code": key, "status_code": "9", "resolving_unit_source_code": unit_code,
        "receiving_unit_source_code": unit_code, "received_at": "2026-10-01 09:00+07", "due_at": "2026-10-09 17:00+07",
        "finished_at": result, "is_test_record": False, "supplements": [], **columns,
    }  # fmt: skip


@pytest.fixture(scope="module")
def first(module_warehouse: Settings) -> tuple[Settings, BuildResult]:
    """Two units with three dossiers and two ratings, and an open dossier of nobody, built twice: the second build is the
    one that loses keys elsewhere."""
    settings = module_warehouse
    load(settings, "unit_register", [unit("U1"), unit("U2")])
    load(
        settings,
        "code_map",
        [
            code("unit", "S1", "U1"), code("unit", "S2", "U2"), code("dossier_status", "9", "9"),
            code("supplement_status", "1", "asked"), code("unit", "R1", "U1", "rating"),
            code("rating_level", "TOT", "very_satisfied", "rating"), code("rating_channel", "Q", "desk", "rating"),
        ],
    )  # fmt: skip
    asked = {"supplement_id": "1", "requested_at": "2026-10-05T09:00:00+07:00", "status_code": "1"}
    load(
        settings,
        "dossier",
        [
            dossier("H1", "S1", "2026-10-09 16:00+07", supplements=[asked, {**asked, "supplement_id": "2"}]),
            dossier("H2", "S1", "2026-10-12 16:00+07"),
            dossier("H3", "S2", "2026-10-08 16:00+07"),
            dossier("H4", "S9", "", status_code="4", finished_at=None),
        ],
    )
    rating = {"channel_code": "Q", "level_code": "TOT", "rated_at": "2026-10-09 09:00+07"}
    of_h3 = {**rating, "rating_id": "R2", "dossier_code": "H3"}
    load(settings, "rating", [("R", {**rating, "rating_id": "R", "unit_source_code": "R1"}), ("R2", of_h3)])
    build(settings)
    return settings, build(settings)


@pytest.fixture
def other_rules(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Function that copies the rule set with one text replaced in one file."""

    def make(file: str, old: str, new: str) -> Path:
        folder = tmp_path / uuid.uuid4().hex
        shutil.copytree(Settings.load({}).rules, folder)
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        return folder

    yield make


def dump(settings: Settings, prefix: str = "") -> dict[str, list[str]]:
    """Every row of every table as text."""
    with connect(settings) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname = any(%s) order by 1, 2",
            ([prefix + schema for schema in SCHEMAS],),
        ).fetchall()
        assert tables
        return {
            f"{schema.removeprefix(prefix)}.{table}": sorted(
                row[0]
                for row in connection.execute(
                    sql.SQL("select t::text from {} as t").format(sql.Identifier(schema, table))
                )
            )
            for schema, table in tables
        }


def query(settings: Settings, text: str) -> list[tuple[Any, ...]]:
    with connect(settings, autocommit=True) as connection:
        return connection.execute(text.encode()).fetchall()  # type: ignore[return-value]


def test_second_build_keeps_tables_and_proves_their_keys(first: tuple[Settings, BuildResult]) -> None:
    settings, result = first
    assert not result.full_refresh
    assert result.constraints > 200
    touched = query(
        settings,
        f"select node_id, rows_affected from ops.dbt_result where build_id = {result.build_id} "
        "and node_id like 'model.%' and rows_affected <> 0 and node_id not like '%.official_%'",  # made anew, see ADR 12
    )
    assert touched == []
    assert query(settings, "select unit_code, index_code, numerator::text, denominator::text from marts.index_score "
                           "where period_code = '2026-10' and index_code in ('A', 'B', 'C') order by 1, 2") == [
        ("U1", "A", "1", "2"), ("U1", "B", "1", "2"), ("U1", "C", "1", "1"),
        ("U2", "A", "1", "1"), ("U2", "B", "1", "1"), ("U2", "C", "1", "1"),
    ]  # fmt: skip


def test_what_is_described_is_described_in_the_database(first: tuple[Settings, BuildResult]) -> None:
    settings, _ = first
    manifest = json.loads((settings.home / "dbt" / "target" / "manifest.json").read_text(encoding="utf-8"))
    wanted = {
        (node["schema"], node["alias"], column): described["description"]
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "view"
        for column, described in {**node["columns"], "": node}.items()
        if described["description"]
    }
    found = {
        (schema, table, column): told
        for schema, table, column, told in query(
            settings,
            "select n.nspname, c.relname, coalesce(a.attname, ''), d.description from pg_description as d"
            " inner join pg_class as c on d.objoid = c.oid and d.classoid = 'pg_class'::regclass"
            " inner join pg_namespace as n on c.relnamespace = n.oid"
            " left join pg_attribute as a on c.oid = a.attrelid and d.objsubid = a.attnum and d.objsubid > 0",
        )
    }
    assert len(wanted) > 1000
    assert {place: told for place, told in wanted.items() if found.get(place) != told} == {}


def test_builds_are_on_record_with_rules_and_results(first: tuple[Settings, BuildResult]) -> None:
    settings, result = first
    row = query(
        settings, f"select status, as_of_batch, rules_sha256, message from ops.build where build_id = {result.build_id}"
    )
    assert row == [("succeeded", result.as_of_batch, rules.rules_sha256(settings.rules), None)]
    assert query(settings, f"select count(*) from ops.dbt_result where build_id = {result.build_id}") == [
        (result.nodes,)
    ]
    assert (settings.home / "rules" / f"{result.rules_sha256}.tar.gz").is_file()


def test_provisional_scores_are_the_marts_stamped_and_for_their_readers_only(
    first: tuple[Settings, BuildResult],
) -> None:
    """Also after a second build, which makes the views anew."""
    settings, result = first
    of_all, of_own = ("k_score", "index_score"), ("unit_k_score", "unit_index_score")
    with connect(settings, "hailong_reader") as connection:
        for view in of_all:
            stamps = connection.execute(
                sql.SQL(
                    "select distinct build_id, as_of_batch, build_status, built_at is not null, stamp like '%%not published' "
                    "from {}"
                ).format(sql.Identifier("provisional", view))
            ).fetchall()
            assert stamps == [(result.build_id, result.as_of_batch, "succeeded", True, True)]
        for mart in ("k_score", "index_score"):
            columns = [
                name
                for (name,) in connection.execute(
                    "select column_name from information_schema.columns where table_schema = 'marts' and table_name = %s",
                    (mart,),
                ).fetchall()
            ]
            told, made = (
                connection.execute(
                    sql.SQL("select {} from {} order by period_code, unit_code, {}").format(
                        sql.SQL(", ").join(map(sql.Identifier, columns)),
                        sql.Identifier(schema, mart),
                        sql.SQL("status" if mart == "k_score" else "index_code"),
                    )
                ).fetchall()
                for schema in ("provisional", "marts")
            )
            assert told == made and len(told) > 0
        # It is no unit's login.
        assert connection.execute("select count(*) from provisional.unit_k_score").fetchone() == (0,)
    with connect(settings) as connection:
        for views, others in ((of_all, set()), (of_own, {matrix.UNIT_READER})):
            readers = connection.execute(
                "select distinct rolname from pg_roles cross join unnest(%s::text[]) as view (name) "
                "where rolname like 'hailong\\_%%' and has_schema_privilege(rolname, 'provisional', 'usage') "
                "and has_any_column_privilege(rolname, 'provisional.' || view.name, 'select')",
                (list(views),),
            ).fetchall()
            assert {name for (name,) in readers} == {"hailong_reader", "hailong_transformer"} | others


def test_a_unit_reads_tonights_scores_of_its_own_as_it_may_see_them(first: tuple[Settings, BuildResult]) -> None:
    settings, _ = first
    indices = (
        "select unit_code, index_code, status, value is null from provisional.unit_index_score "
        "where period_code = '2026-10' and index_code in ('A', 'C') order by 1, 2"
    )
    with matrix.logins(settings, {"one": [matrix.UNIT_READER], "none": [matrix.UNIT_READER]}) as made:
        grant_unit(settings, made.names["one"], "U1", "Trưởng phòng")
        try:
            with made.connect("one") as connection:
                told: list[str] = []
                connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
                assert connection.execute(indices).fetchall() == [
                    ("U1", "A", "scored", False), ("U1", "C", "suppressed", True),
                ]  # fmt: skip
                # Cheap, so it would be asked first, of rows that are not the unit's.
                connection.execute(
                    "create function pg_temp.tell(text) returns boolean cost 0.0001 language plpgsql as "
                    "$$begin raise notice '%', $1; return true; end$$"
                )
                for view in ("unit_k_score", "unit_index_score"):
                    connection.execute(
                        sql.SQL("select count(*) from {} where pg_temp.tell(unit_code)").format(
                            sql.Identifier("provisional", view)
                        )
                    )
                assert set(told) == {"U1"}
            with made.connect("none") as connection:
                assert connection.execute(indices).fetchall() == []
        finally:
            revoke_unit(settings, made.names["one"], "U1", "Trưởng phòng")
    assert len(query(settings, "select distinct unit_code from marts.k_score where period_code = '2026-10'")) > 1


def test_a_lost_key_stops_the_build_and_a_full_one_restores_it(first: tuple[Settings, BuildResult]) -> None:
    settings, _ = first
    before = dump(settings)
    with connect(settings, autocommit=True) as connection:
        connection.execute("alter table facts.fct_dossier drop constraint fct_dossier_dossier_code_fkey")
        connection.execute("alter table marts.k_score drop constraint verdict_known")
    with pytest.raises(PermanentError) as refused:
        build(settings)
    assert "foreign key (dossier_code) to core.core_dossier (dossier_code) on facts.fct_dossier" in str(refused.value)
    assert "check verdict_known on marts.k_score" in str(refused.value)
    of_build = "select distinct build_id = (select max(build_id) from ops.build), build_status from provisional.k_score"
    assert query(settings, of_build) == [(True, "failed")]
    status, message = query(settings, "select status, message from ops.build order by build_id desc limit 1")[0]
    assert (status, message) == ("failed", str(refused.value))
    assert build(settings, full=True).full_refresh
    assert dump(settings) == before
    assert query(settings, of_build) == [(True, "succeeded")]


def test_what_grew_equals_a_full_build_and_the_past_can_be_built_beside_it(first: tuple[Settings, BuildResult]) -> None:
    """A dossier that changed its day, one that changed the desk it was rated at, a deleted one, another one of nobody; a unit
    that left the register.
    """
    settings, built = first
    past_batch, past = built.as_of_batch, dump(settings)
    changed = [
        dossier("H2", "S1", "2026-10-09 10:00+07"),
        dossier("H3", "S2", "2026-10-08 16:00+07", receiving_unit_source_code="S1"),
        dossier("H5", "S9", "", status_code="4", finished_at=None),
    ]
    load(settings, "dossier", changed, deleted=("H1",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(increments, "FULL_FROM_SHARE", 10)
        assert not build(settings).full_refresh
    assert query(settings, "select dossier_code, unit_code, point::int from facts.fct_a_timeliness order by 1") == [
        ("H2", "U1", 1), ("H3", "U2", 1),
    ]  # fmt: skip
    days = (
        "select unit_code, event_on::text, a_points::int, a_dossiers, c_points::int, c_ratings from facts.fct_unit_day"
    )
    assert query(settings, f"{days} order by 1, 2") == [
        ("U1", "2026-10-09", 1, 1, 2, 2),
        ("U2", "2026-10-08", 1, 1, 0, 0),
    ]
    of_nobody = "select sum(record_count)::int from marts.late_data where unit_code = 'unknown'"
    assert query(settings, of_nobody) == [(2,)]
    grown = dump(settings)
    build(settings, full=True)
    assert dump(settings) == grown
    load(settings, "unit_register", [], deleted=("U2",))
    assert build(settings).full_refresh
    assert query(settings, "select dossier_code, unit_code, point::int from facts.fct_a_timeliness order by 1") == [
        ("H2", "U1", 1), ("H3", None, 1),
    ]  # fmt: skip
    assert query(settings, "select distinct unit_code from marts.k_score") == [("U1",)]

    now = dump(settings)
    scratch = build(settings, as_of=past_batch)
    assert scratch.schema_prefix == f"asof_{past_batch}_"
    assert dump(settings, scratch.schema_prefix) == past
    assert dump(settings) == now
    building.drop_scratch(settings, scratch.schema_prefix)
    assert query(settings, "select count(*) from pg_namespace where nspname like 'asof%'") == [(0,)]


def test_a_killed_build_is_found_by_the_next(first: tuple[Settings, BuildResult]) -> None:
    settings, _ = first
    killed = query(
        settings,
        "insert into ops.build (as_of_batch, rules_sha256, full_refresh) values (1, 'x', false) returning build_id",
    )[0][0]
    build(settings)
    status, message = query(settings, f"select status, message from ops.build where build_id = {killed}")[0]
    assert status == "failed"
    assert "killed" in message


def test_a_second_build_at_the_same_time_is_refused(
    first: tuple[Settings, BuildResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = first
    monkeypatch.setattr(building, "LOCK_WAIT", "50ms")
    with connect(settings, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (building.LOCK,))
        with pytest.raises(TransientError, match="one build at a time"):
            build(settings)


def test_an_unknown_batch_is_refused(first: tuple[Settings, BuildResult]) -> None:
    with pytest.raises(PermanentError, match="build as of batch 999: the newest batch is"):
        build(first[0], as_of=999)


def test_a_parameter_that_the_models_do_not_know_stops_the_build(
    first: tuple[Settings, BuildResult], other_rules: Callable[..., Path]
) -> None:
    settings, _ = first
    for parameter, known, unknown in (
        ("k_equal", "undetermined", "maybe"),
        ("interlinked", "in_charge", "participants"),
    ):
        changed = ("seeds/scoring_policy_parameter.csv", f"{parameter},{known}", f"{parameter},{unknown}")
        wrong = replace(settings, rules=other_rules(*changed))
        with pytest.raises(PermanentError) as refused:
            build(wrong)
        assert "dim_policy_parameter" in str(refused.value)
        assert f"{parameter}_known" in str(refused.value)
        assert "SQL as it ran" in str(refused.value)
        assert query(settings, "select status from ops.build order by build_id desc limit 1") == [("failed",)]
    assert build(settings).full_refresh  # the rule set is another one again


def test_a_model_that_does_not_parse_is_told_plainly_and_drops_nothing(
    first: tuple[Settings, BuildResult], other_rules: Callable[..., Path]
) -> None:
    settings, _ = first
    wrong = replace(
        settings, rules=other_rules("models/core/dim_unit.sql", "stg_register__unit", "stg_register__units")
    )
    counted = "select count(*) from marts.k_score"
    with connect(settings) as connection:
        before = connection.execute(counted).fetchone()
    with pytest.raises(PermanentError, match="stg_register__units"):
        build(wrong)
    with connect(settings) as connection:
        assert connection.execute(counted).fetchone() == before, "what stood was dropped for rules that make nothing"
    build(settings)


def test_a_folder_without_rules_is_refused(first: tuple[Settings, BuildResult], tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="HAILONG_RULES"):
        build(replace(first[0], rules=tmp_path))


def test_packing_the_rules_twice_gives_the_same_bytes(tmp_path: Path, other_rules: Callable[..., Path]) -> None:
    ours = replace(Settings.load({}), home=tmp_path / "a")
    again = replace(ours, home=tmp_path / "b")
    sha256, path = rules.pack(ours)
    assert rules.pack(again)[0] == sha256
    assert rules.pack(again)[1].read_bytes() == path.read_bytes()
    changed = other_rules("seeds/scoring_policy_parameter.csv", "k_scale,6", "k_scale,5")
    assert rules.rules_sha256(changed) != sha256
    (changed / "target").mkdir()
    (changed / "target" / "manifest.json").write_text("{}")
    assert rules.pack(replace(again, rules=changed))[0] == rules.rules_sha256(changed)
