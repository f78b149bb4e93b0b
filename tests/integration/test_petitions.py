"""Petitions from file to `hailong explain --index D`: read or not, counted once and as new, side by side with the portal."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg.rows import dict_row
from rich.console import Console

from hailong.extract.run import ingest
from hailong.publish.explain import explain
from hailong.settings import Settings
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect
from tests.oracle import feeds
from tests.oracle.book import Book, t
from tests.oracle.cases import SINCE, UNTIL

PERIOD = "2026-10"


def book_of_petitions() -> tuple[Book, dict[str, str]]:
    """A few units: what the portal says of them agrees with their petitions, but for one."""
    book = Book()
    units = {name: book.unit(name) for name in ("AGAIN", "OTHER", "NONE")}
    units["LATE"] = book.unit("LATE", "2026-09-20")
    for unit in units.values():
        book.perfect(unit, skip="D")
    book.portal(units["AGAIN"], PERIOD, "17", (5, 6, 6), retrieved="20261016010000")
    book.petitions(units["AGAIN"], 4, 0)
    book.petition(units["AGAIN"], resent=2)
    book.petition(units["AGAIN"], answered="20261012090000")
    book.petition(units["AGAIN"], due="20261023170000", answered=None, satisfied=None, resent=1)
    book.petition(units["AGAIN"], refused="20261007090000", answered=None, satisfied=None)
    book.portal(units["OTHER"], PERIOD, "17.50", (4, 4, 4), retrieved="20261016010000")
    book.petitions(units["OTHER"], 3, 1)
    book.portal(units["NONE"], PERIOD, "18", retrieved="20261016010000")
    book.portal(units["LATE"], PERIOD, "18", (0, 0, 0), retrieved="20261016010000")
    rows = book.world.batches[0].portal_rows
    rows[0] = replace(rows[0], total_petitions=7)  # with the one that is not yet due
    return book, units


def warehouse_of(book: Book, settings: Settings, folder: Path, leave_out: tuple[str, ...] = ()) -> Settings:
    for feed, path in feeds.write_registers(book.world, folder).items():
        ingest(settings, feed, file=path)
    for number, batch in enumerate(book.world.batches):
        for feed, path in feeds.write_batch(batch, number, folder, SINCE, UNTIL).items():
            if feed not in leave_out:
                since, until = feeds.span_of(batch, feed, SINCE, UNTIL)
                ingest(settings, feed, since=since, until=until, file=path)
    build(settings)
    return settings


def rows(settings: Settings, query: str, *values: object) -> list[dict[str, Any]]:
    with connect(settings) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()  # type: ignore[call-overload, no-any-return]


def told(settings: Settings, unit: str) -> str:
    console = Console(record=True, width=220, file=io.StringIO())
    console.print(explain(settings, unit, PERIOD, index="D"))
    return " ".join(console.export_text().split())


@pytest.fixture(scope="module")
def read(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    book, units = book_of_petitions()
    book.world.batches[0] = replace(
        book.world.batches[0], petitions_read=(t("20260601000000").at, t("20261115000000").at)
    )
    assert set(units) == {"AGAIN", "OTHER", "NONE", "LATE"}
    return warehouse_of(book, new_warehouse(), tmp_path_factory.mktemp("read"))


@pytest.fixture(scope="module")
def not_read(new_warehouse: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    book, _ = book_of_petitions()
    return warehouse_of(book, new_warehouse(), tmp_path_factory.mktemp("not-read"), leave_out=("petition",))


def test_petitions_stand_once_and_as_new_beside_the_portal(read: Settings) -> None:
    (row,) = rows(read, "select * from marts.petition_count where unit_code = 'HCM.AGAIN' and period_code = %s", PERIOD)
    assert (row["received"], row["refused"], row["not_yet_due"], row["counted"]) == (8, 1, 1, 6)
    assert (row["received_as_new"], row["not_yet_due_as_new"], row["counted_as_new"]) == (11, 2, 8)
    assert (row["in_time"], row["satisfied"], row["unanswered"], row["resent"]) == (5, 6, 0, 3)
    assert row["d_recomputed_766"] == Decimal(17)
    assert row["d_recomputed_104"] == Decimal("14.25")  # 6 x 5/8 + 6 x 6/8 + 6
    assert row["difference"] == Decimal("-2.75")
    reading = rows(
        read,
        "select value, status from marts.index_reading where unit_code = 'HCM.AGAIN' and period_code = %s"
        " and set_code = 'd_definition=recomputed_104'",
        PERIOD,
    )
    assert reading == [{"value": Decimal("14.25"), "status": "scored"}]


def test_only_what_differs_is_a_finding(read: Settings) -> None:
    found = rows(
        read, "select unit_code, difference, amount from marts.portal_difference where period_code = %s", PERIOD
    )
    assert {(row["unit_code"], row["difference"], row["amount"]) for row in found} == {
        ("HCM.OTHER", "total_of_metrics", Decimal("-0.5")),
        ("HCM.OTHER", "total_recomputed", Decimal("-0.5")),
        ("HCM.OTHER", "on_time_numerator", 1),
        ("HCM.OTHER", "handling_numerator", 1),
        ("HCM.LATE", "window", 5),
    }


def test_explain_tells_everything_that_d_rests_on(read: Settings) -> None:
    text = told(read, "HCM.AGAIN")
    for part in (
        "D by portal_group = 17 (scored)",
        "Portal: 15/09/2026 to 14/10/2026, metric version 2026, retrieved 2026-10-16 01:00:00",
        "Petitions: as of 2026-10-16 01:00:00, read until 2026-11-15 00:00:00",
        "sent again 3 times",
        "│ not yet due │ 1 │ 2 │ │",
        "│ counted: answered or past due │ 6 │ 8 │ 6 │",
        "│ answered in time │ 5 │ 5 │ 5 │",
        "│ all but refused │ 7 │ │ 7 │",
        "recomputed_104 minus portal_group: -2.75",
        "│ portal_group (in force) │ the portal's total │ 17 │",
        "│ 14.25 │",
        "The portal's figures differ in nothing",
        "│ answer │ 7 │ 6 │ 0 │ 1 │ 15 │",
        "│ refuse │ 1 │ 0 │ 1 │ 0 │ 2 │",
        "Behind D: 8 of 8 records",
    ):
        assert part in text, (part, text)
    assert "Flags: none" in text or "Flags: small_sample" in text
    assert "d_window_mismatch" in told(read, "HCM.LATE")
    assert "no_petitions" in told(read, "HCM.NONE")
    assert "Số phản ánh, kiến nghị trả lời đúng hạn của Cổng khác số đã đọc" in told(read, "HCM.OTHER")


def test_petitions_that_were_never_read_are_not_taken_for_none(not_read: Settings) -> None:
    found = rows(
        not_read,
        "select is_read, counted, d_recomputed_104, d from marts.petition_count where period_code = %s",
        PERIOD,
    )
    assert len(found) == 4
    assert {(row["is_read"], row["counted"], row["d_recomputed_104"]) for row in found} == {(False, None, None)}
    assert {row["d"] for row in found} == {Decimal(17), Decimal("17.5"), Decimal(18)}
    readings = rows(
        not_read,
        "select distinct value, status from marts.index_reading where set_code = 'd_definition=recomputed_104'"
        " and period_code = %s",
        PERIOD,
    )
    assert readings == [{"value": None, "status": "no_data"}]
    assert rows(not_read, "select * from marts.petition_term") == []
    assert {row["difference"] for row in rows(not_read, "select difference from marts.portal_difference")} == {
        "total_of_metrics", "total_recomputed", "window",
    }  # fmt: skip
    assert "Petitions were not read for all of the window" in told(not_read, "HCM.AGAIN")


def test_a_period_is_touched_by_what_was_counted_and_not_by_how_far_was_read(read: Settings) -> None:
    def touched_by(statement: str) -> list[str]:
        with connect(read, "hailong_transformer") as connection, connection.transaction(force_rollback=True):
            connection.execute("truncate ops.touched_period")
            connection.execute(statement.encode())
            found = connection.execute("select distinct period_code from ops.touched_period order by 1").fetchall()
        return [period for (period,) in found]

    counts, of_one = "facts.fct_d_petition_count", f"where unit_code = 'HCM.OTHER' and period_code = '{PERIOD}'"
    later = "read_until + interval '1 day'"
    assert touched_by(f"update {counts} set read_until = {later}, judged_at = {later}") == []
    assert touched_by(f"update {counts} set read_until = {later}, satisfied = satisfied - 1 {of_one}") == [PERIOD]
    assert touched_by(f"delete from {counts} {of_one}") == [PERIOD]


def test_a_petition_that_is_gone_is_no_longer_counted(read: Settings) -> None:
    """Last: it changes the warehouse."""
    before = rows(
        read, "select received from marts.petition_count where unit_code = 'HCM.OTHER' and period_code = %s", PERIOD
    )
    with connect(read) as connection, connection.transaction():
        row = connection.execute(
            "insert into ops.batch (feed, window_start, window_end, landing_uri, landing_sha256, received_rows, loaded_rows,"
            " unchanged_rows, duplicate_rows, quarantined_rows, started_at, contract_version, code_version) values ('petition',"
            " '2026-06-01+07', '2026-11-15+07', 'test', encode(sha256(gen_random_uuid()::text::bytea), 'hex'), 1, 1, 0, 0, 0,"
            " now(), '1', '1') returning batch_id"
        ).fetchone()
        assert row is not None
        connection.execute("select raw.ensure_partition('petition', %s)", (row[0],))
        connection.execute(
            "insert into raw.petition (record_key, op, batch_id, version_hash) select record_key, 'delete', %s, 'x'"
            " from core.core_petition as c inner join raw.petition as r on r.petition_id = c.petition_id"
            " where c.unit_code = 'HCM.OTHER' order by r.record_key limit 1",
            (row[0],),
        )
    build(read)
    after = rows(
        read, "select received from marts.petition_count where unit_code = 'HCM.OTHER' and period_code = %s", PERIOD
    )
    assert (before[0]["received"], after[0]["received"]) == (4, 3)
