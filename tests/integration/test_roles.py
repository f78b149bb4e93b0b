"""Roles: what each may do is one table (`matrix`), everything else is refused; a unit sees its own rows and no small cell."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

from hailong.errors import PermanentError
from hailong.publish import annexes
from hailong.publish.small_cells import decide
from hailong.settings import PROJECT, Settings
from hailong.warehouse.connect import connect
from hailong.warehouse.logins import grant_unit, revoke_unit, unit_logins
from tests.integration import matrix
from tests.integration.test_cli import refused, run
from tests.integration.test_open import Unit, _edition

RESTS = {"a": Decimal(1), "b": Decimal(1), "d": Decimal(18), "e": Decimal(1)}
FEW, MANY = [(True, 0)] * 3 + [(False, 0)], [(True, 0)] * 11 + [(False, 0)]
# Code of a period → ratings, each (good, known from the first edition on).
UNITS = [
    Unit("U1", "HCM.XP", {"2026-10": FEW, "2026-Q4": FEW}, RESTS),
    Unit("U2", "HCM.XP", {"2026-10": MANY, "2026-Q4": MANY}, RESTS),
    Unit("U3", "HCM.XP", {"2026-10": MANY, "2026-Q4": MANY}, RESTS),
]
OF_C = (
    "c",
    "k",
    "verdict",
    "rank_among_shown",
    "k_min",
    "k_max",
    "verdict_stability",
    "small_sample",
    "near_threshold",
)


@pytest.fixture(scope="module")
def said(new_warehouse: Callable[..., Settings]) -> Settings:
    """A month and a quarter of three units, as the publisher writes them; a candidate that became no edition; a register."""
    settings = new_warehouse()
    with (PROJECT / "dbt_project/seeds/scoring_policy_parameter.csv").open(encoding="utf-8") as handle:
        parameters = [tuple(row.values()) for row in csv.DictReader(handle)]
    for moment, code in enumerate(("2026-10", "2026-Q4")):
        with connect(settings, "hailong_publisher") as connection:
            _edition(settings, connection, UNITS, code, 1, moment, parameters)
            assert decide(settings, connection) == ([] if moment == 0 else ["2026-Q4.e1"])
    with connect(settings, "hailong_publisher") as connection:
        connection.execute(
            'insert into publish.candidate select (jsonb_populate_record(c, \'{"candidate_id": "2026-10.c2"}\')).* '
            "from publish.candidate as c where candidate_id = '2026-10.c1'"
        )
        for candidate_id in ("2026-10.c1", "2026-10.c2"):
            connection.execute(
                "insert into publish.candidate_difference (candidate_id, unit_code, index_code, cause, contribution) "
                "values (%s, 'U2', 'A', 'late', 0.1)",
                (candidate_id,),
            )
        for annex in annexes.ANNEXES:
            connection.execute(
                "insert into publish.annex (edition_id, annex, row_no, unit_code, content) "
                "values ('2026-10.e1', %s, 1, 'U1', '{}')",
                (annex,),
            )
    with connect(settings, "hailong_transformer") as connection:
        connection.execute("create table core.dim_unit as select unnest('{U1,U2,U3}'::text[]) as unit_code")
    return settings


@pytest.fixture(scope="module")
def people(said: Settings) -> Iterator[matrix.Logins]:
    """Logins of the roles; of units: `one` of U1, `two` of U2, `none` of nothing any more."""
    unit = [matrix.UNIT_READER]
    with matrix.logins(said, {"one": unit, "two": unit, "none": unit}) as made:
        grant_unit(said, made.names["one"], "U1", "Trưởng phòng")
        grant_unit(said, made.names["two"], "U2", "Trưởng phòng")
        grant_unit(said, made.names["none"], "U3", "Trưởng phòng")
        revoke_unit(said, made.names["none"], "U3", "Trưởng phòng")
        yield made


def rows(made: matrix.Logins, who: str, query: str) -> list[tuple[object, ...]]:
    with made.connect(who) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


# -- the matrix ---------------------------------------------------------------------------------------------------------


def test_each_role_may_do_what_the_table_says_and_nothing_else(warehouse: Settings) -> None:
    assert matrix.everything_that_differs(warehouse) == []


def test_it_is_so_with_editions_in_it(said: Settings, people: matrix.Logins) -> None:
    """Acts that change rows meet rows here: refused is the act, not its lack of an object."""
    del people
    assert matrix.acts_that_end_otherwise(said) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("create table ops.forgotten (x int)", "ops.forgotten has no place"),
        ("create view publish.forgotten as select 1 as x", "publish.forgotten has no place"),
        ("create schema forgotten create table x (x int)", "forgotten.x has no place"),
        ("grant select on raw.dossier to hailong_bi_reader", "hailong_bi_reader on raw.dossier: has ['SELECT']"),
        ("grant select on publish.k_score to hailong_unit_reader", "columns of publish.k_score kept from units"),
        ("grant select (k) on publish.k_score to hailong_unit_reader", "columns of publish.k_score kept from units"),
        (
            "grant select (unit_name) on publish.k_score to hailong_open_reader",
            "hailong_open_reader on publish.k_score: has",
        ),
        ("grant insert on publish.unit_login to hailong_publisher", "hailong_publisher on publish.unit_login"),
        ("grant update on all sequences in schema ops to public", "hailong_reader may use the sequence"),
        ("revoke select on open.k_score from hailong_unit_reader", "hailong_unit_reader on open.k_score: has []"),
        ("revoke insert on publish.annex from hailong_publisher", "hailong_publisher on publish.annex"),
        ("grant create on schema publish to hailong_publisher", "hailong_publisher may create in publish"),
        (
            "create function ops.lift() returns int language sql security definer as 'select 1'",
            "ops.lift() runs with the rights",
        ),
        (
            "alter view publish.unit_k_score set (security_invoker = false)",
            "the view publish.unit_k_score reads with the rights",
        ),
        ("alter table publish.annex disable row level security", "rows of publish.annex: secured or not"),
        ("drop policy stations on publish.k_score", "policies of publish.k_score for hailong_publisher"),
        ("alter table publish.edition enable trigger edition_append_only", "publish.edition can be changed"),
        ("drop trigger annex_no_truncate on publish.annex", "publish.annex can be changed"),
        ("revoke all on function dq.finding_on(date) from hailong_reader", "read findings as they stand: refused"),
        ("grant usage on schema public to public; grant create on schema public to public", "create in public: worked"),
        ("grant execute on function pg_read_file(text) to hailong_reader", "read a file: worked"),
    ],
)
def test_a_door_left_open_or_shut_is_noticed(warehouse: Settings, statement: str, told: str) -> None:
    with connect(warehouse) as connection:
        connection.execute(statement)  # type: ignore[call-overload]
    found = matrix.everything_that_differs(warehouse)
    assert any(told in line for line in found), found


# -- units --------------------------------------------------------------------------------------------------------------


def test_a_unit_reads_its_own_rows_only(people: matrix.Logins) -> None:
    for table in ("publish.k_score", "publish.index_score", "publish.unit_k_score", "publish.unit_index_score"):
        query = f"select distinct unit_code from {table}"
        assert [rows(people, who, query) for who in ("one", "two", "none", matrix.UNIT_READER)] == [
            [("U1",)],
            [("U2",)],
            [],
            [],
        ]
    query = "select login, unit_code from publish.unit_login"
    assert rows(people, "one", query) == [(people.names["one"], "U1")]
    assert rows(people, "one", "select edition_id from publish.edition order by 1") == [
        ("2026-10.e1",),
        ("2026-Q4.e1",),
    ]


def test_nothing_tells_a_unit_how_few_rated(people: matrix.Logins) -> None:
    """Four ratings in the quarter, and in the month: no C, and nothing that C goes into."""
    query = f"select edition_id, a, b, d, e, status, {', '.join(OF_C)} from publish.unit_k_score order by 1"
    shown = (Decimal(1), Decimal(1), Decimal(18), Decimal(1), "suppressed", None, None)
    # A + B + D + E is 21: every C gives the quarter's verdict.
    quarter = ("2026-Q4.e1", *shown, "satisfied", *[None] * (len(OF_C) - 3))
    assert rows(people, "one", query) == [("2026-10.e1", *shown, *[None] * (len(OF_C) - 2)), quarter]
    query = (
        "select edition_id, numerator, denominator, value, status from publish.unit_index_score "
        "where index_code = 'C' order by 1"
    )
    hidden = (None, None, None, "suppressed")
    assert rows(people, "one", query) == [("2026-10.e1", *hidden), ("2026-Q4.e1", *hidden)]
    assert rows(people, "one", "select count(*) from publish.index_score where index_code = 'C'") == [(0,)]


def test_a_unit_with_many_ratings_reads_its_quarter_and_not_its_months_c(people: matrix.Logins) -> None:
    query = "select edition_id, round(c, 6), k, rank_among_shown, is_newest from publish.unit_k_score order by 1"
    c = round(Decimal(11) / 12, 6)
    assert rows(people, "two", query) == [("2026-10.e1", None, None, None, True), ("2026-Q4.e1", c, 21 + c, 1, True)]
    query = "select edition_id, numerator, denominator from publish.unit_index_score where index_code = 'C' order by 1"
    assert rows(people, "two", query) == [("2026-10.e1", None, None), ("2026-Q4.e1", 11, 12)]


@pytest.mark.parametrize(
    "query",
    [
        "select * from publish.k_score",
        "select 1 from publish.k_score where k > 20",
        "select unit_code from publish.k_score order by c",
        "select max(k) from publish.k_score",
        "select * from publish.k_score_latest",
        "select content_sha256 from publish.edition",
        "select * from publish.public_row",
        "select * from publish.annex",
        "select * from publish.edition_diff",
        "select * from publish.candidate_k_score",
        "select * from marts.k_score",
    ],
)
def test_a_unit_finds_no_other_way_to_c(people: matrix.Logins, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(people, "two", query)


def test_a_function_of_a_reader_meets_no_row_of_another_unit(people: matrix.Logins) -> None:
    """A cheap function in a condition is asked only about rows that the reader may see, so it can tell no other."""
    with people.connect("two") as connection:
        told: list[str] = []
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        connection.execute(
            "create function pg_temp.tell(text) returns boolean cost 0.0001 language plpgsql as "
            "$$begin raise notice '%', $1; return true; end$$"
        )
        for table in ("publish.k_score", "publish.unit_k_score", "publish.index_score"):
            connection.execute(f"select count(*) from {table} where pg_temp.tell(unit_code)")  # type: ignore[call-overload]
    assert set(told) == {"U2"}


# -- everybody else reads what they read before -------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["hailong_gate", "hailong_publisher", "hailong_reader", "hailong_bi_reader"])
def test_rows_are_hidden_from_no_station_and_no_dashboard(people: matrix.Logins, role: str) -> None:
    assert rows(people, role, "select count(*), count(c) from publish.k_score") == [(6, 6)]
    assert rows(people, role, "select count(*) from publish.index_score") == [(30,)]


def test_the_public_reads_on(people: matrix.Logins) -> None:
    query = "select unit_code, c is null from open.k_score order by 1"
    for role in ("hailong_open_reader", "hailong_bi_reader", "one", "none"):
        assert rows(people, role, query) == [("U1", True), ("U2", False), ("U3", False)]


def test_a_dashboard_reads_no_annex_that_names_records_and_nothing_unsaid(people: matrix.Logins) -> None:
    names = {name for (name,) in rows(people, "hailong_bi_reader", "select annex from publish.annex")}
    named, unsaid = {"watch_list", "dispute"}, {"later_record", "later_effect", "later_period"}
    assert names == annexes.ANNEXES.keys() - named - unsaid
    assert len(rows(people, "hailong_publisher", "select 1 from publish.annex")) == len(annexes.ANNEXES)
    query = "select candidate_id from publish.candidate_difference order by 1"
    assert rows(people, "hailong_bi_reader", query) == [("2026-10.c1",)]
    assert rows(people, "hailong_reader", query) == [("2026-10.c1",), ("2026-10.c2",)]


# -- logins of units ----------------------------------------------------------------------------------------------------


def test_who_reads_what_is_recorded_and_taken_away_by_a_new_entry(said: Settings, people: matrix.Logins) -> None:
    once = grant_unit(said, people.names["two"], "U2", "somebody else")
    assert once.by == "Trưởng phòng"  # it stood already
    assert {(entry.login, entry.unit_code) for entry in unit_logins(said)} == {
        (people.names["one"], "U1"), (people.names["two"], "U2"),
    }  # fmt: skip
    query = "select is_granted, by from publish.unit_login where login = %s order by entry_id"
    with connect(said, "hailong_reader") as connection:
        assert connection.execute(query, (people.names["none"],)).fetchall() == [
            (True, "Trưởng phòng"), (False, "Trưởng phòng"),
        ]  # fmt: skip
    grant_unit(said, people.names["none"], "U3", "Trưởng phòng")
    assert rows(people, "none", "select distinct unit_code from publish.k_score") == [("U3",)]
    revoke_unit(said, people.names["none"], "U3", "Trưởng phòng")
    assert rows(people, "none", "select distinct unit_code from publish.k_score") == []


def test_a_unit_is_given_to_a_login_that_sees_nothing_else(said: Settings, people: matrix.Logins) -> None:
    for login, unit, why in (
        ("nobody-of-that-name", "U1", "there is no login"),
        ("hailong_reader", "U1", "there is no login"),
        (people.names["hailong_reader"], "U1", "has hailong_reader and would see more"),
        (people.names["one"], "U9", "has no 'U9'"),
    ):
        with pytest.raises(PermanentError, match=why):
            grant_unit(said, login, unit, "x")
    with connect(said) as connection:
        row = connection.execute("select current_user").fetchone()
        connection.execute(sql.SQL("grant pg_read_all_data to {}").format(sql.Identifier(people.names["none"])))
    assert row
    with pytest.raises(PermanentError, match="has pg_read_all_data and would see more"):
        grant_unit(said, people.names["none"], "U3", "x")
    with connect(said) as connection:
        connection.execute(sql.SQL("revoke pg_read_all_data from {}").format(sql.Identifier(people.names["none"])))
    with pytest.raises(PermanentError, match="is an administrator"):
        grant_unit(said, row[0], "U1", "x")
    with pytest.raises(PermanentError, match="may not read U2 anyway"):
        revoke_unit(said, people.names["one"], "U2", "x")


def test_the_commands_say_what_was_decided(said: Settings, people: matrix.Logins) -> None:
    login = people.names["none"]
    granted = run(said, "roles", "grant-unit", login, "U3", "--by", "Nguyễn Văn A")
    assert granted.returncode == 0, granted.stderr
    assert f"{login} may read U3: decided by Nguyễn Văn A" in granted.stdout
    listed = run(said, "roles", "list", "--json")
    assert (login, "U3") in {(entry["login"], entry["unit_code"]) for entry in json.loads(listed.stdout)}
    revoked = run(said, "roles", "revoke-unit", login, "U3", "--by", "Nguyễn Văn A")
    assert f"{login} may no longer read U3" in revoked.stdout
    refused(run(said, "roles", "grant-unit", "nobody-of-that-name", "U1", "--by", "x"), 1, "there is no login")
