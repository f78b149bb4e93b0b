"""Candidate, signature, edition: what may be said, by whom, and that it never changes afterwards."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import docx
import openpyxl
import psycopg
import pyarrow.parquet as pq
import pytest
from docx.oxml.ns import qn
from psycopg import sql
from psycopg.rows import dict_row
from rich.console import Console

from hailong.errors import PermanentError, TransientError, UsageError
from hailong.extract.run import ingest
from hailong.periods import parse_period
from hailong.publish import annexes, candidate, edition, points, report
from hailong.publish.approval import approve
from hailong.publish.checksum import content_sha256
from hailong.publish.explain import _would_change, explain
from hailong.publish.later import LATER
from hailong.publish.report import words
from hailong.publish.verify import verify
from hailong.review import findings, workbook
from hailong.review.findings import Failure
from hailong.settings import Settings
from hailong.warehouse import build as building
from hailong.warehouse.build import build
from hailong.warehouse.connect import connect

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
SINCE, UNTIL = datetime(2026, 6, 15, tzinfo=ZONE), datetime(2026, 11, 19, tzinfo=ZONE)
PERIOD = "2026-10"
TABLES = (
    "edition",
    "k_score",
    "index_score",
    "edition_parameter",
    "candidate",
    "candidate_k_score",
    "candidate_part",
    "candidate_annex",
    "annex",
    "approval",
    "artifact",
)


@pytest.fixture(scope="module")
def built(start_sandbox: Callable[..., object], new_warehouse: Callable[..., Settings]) -> Settings:
    sandbox = start_sandbox("--size", "1500", "--seed", "3")
    settings = new_warehouse(**sandbox.env, HAILONG_SIGNERS="signer, second")  # type: ignore[attr-defined]
    for feed in ("unit_register", "procedure_register", "code_map"):
        ingest(settings, feed)
    for feed in ("dossier", "rating", "portal_evaluation"):
        ingest(settings, feed, since=SINCE, until=UNTIL)
    for path in sorted(sandbox.drop.glob("*.xlsx")):  # type: ignore[attr-defined]
        ingest(settings, "posting_check", file=path)
    build(settings)
    return settings


OWNER = "Văn phòng Ủy ban nhân dân Thành phố"


def gate_says(settings: Settings, candidate_id: str, disposition: str, *failed: tuple[str, str]) -> str:
    """Record a run of the gate as the gate does, with the failed expectations (id, severity)."""
    with connect(settings, role="hailong_gate") as connection:
        row = connection.execute("select count(*) from dq.run where candidate_id = %s", (candidate_id,)).fetchone()
        assert row
        run_id = f"{candidate_id}.g{row[0] + 1}"
        connection.execute(
            "insert into dq.run (run_id, scope, candidate_id, content_sha256, period_code, as_of_batch, started_at, "
            "finished_at, disposition, expectations) select %s, 'candidate', candidate_id, content_sha256, period_code, "
            "as_of_batch, clock_timestamp(), clock_timestamp(), %s, 1 from publish.candidate where candidate_id = %s",
            (run_id, disposition, candidate_id),
        )
        for name, severity in failed:
            connection.execute(
                "insert into dq.result (run_id, expectation_id, target, severity, success, reason, owner) "
                "values (%s, %s, 'candidate', %s, false, 'x', 'x')",
                (run_id, name, severity),
            )
        failures = [Failure(name, PERIOD, severity, OWNER, "x", "1", ("HCM.SN01",)) for name, severity in failed]
        findings.record(connection, run_id, "period", failures, (), date(2026, 11, 30))
    return run_id


def count(settings: Settings, table: str) -> int:
    with connect(settings) as connection:
        row = connection.execute(f"select count(*) from publish.{table}").fetchone()
    assert row
    return int(row[0])


@pytest.fixture(scope="module")
def copied(built: Settings) -> candidate.Candidate:
    return candidate.create(built, PERIOD, "engineer")


def test_a_candidate_is_the_marts_rows_and_is_copied_once(built: Settings, copied: candidate.Candidate) -> None:
    again = candidate.create(built, PERIOD, "engineer")
    assert (copied.created, again.created) == (True, False)
    assert copied.candidate_id == again.candidate_id == f"{PERIOD}.c1"
    with connect(built) as connection:
        for table in ("k_score", "index_score"):
            difference = connection.execute(
                f"select count(*) from marts.{table} as m "
                f"full join publish.candidate_{table} as c using (period_code, unit_code) "
                "where period_code = %s and (m.unit_code is null or c.unit_code is null)",
                (PERIOD,),
            ).fetchone()
            assert difference == (0,)
        assert content_sha256(connection, "candidate", copied.candidate_id) == copied.content_sha256
        rows = connection.execute(
            "select count(*) from publish.candidate_index_score where candidate_id = %s", (copied.candidate_id,)
        ).fetchone()
    assert rows == (186 * 5,)


@pytest.mark.filterwarnings("ignore:Sparkline Group extension")
def test_the_workbooks_of_a_real_build_list_what_its_tables_call_wrong(built: Settings, tmp_path: Path) -> None:
    listed = 0
    for path in workbook.build(built, PERIOD, None, tmp_path):
        rows = openpyxl.load_workbook(path)["Cần sửa"].iter_rows(min_row=4, values_only=True)
        listed += sum(row[1] in ("dummy_identity", "done_inserted") for row in rows)
    with connect(built) as connection:
        wrong = connection.execute(
            "select count(*) from marts.dossier_finding where finding in ('dummy_identity', 'done_inserted') "
            "and event_on >= '2026-09-15' and event_on < '2026-10-15'"
        ).fetchone()
    assert wrong == (listed,) and listed > 0


def test_a_period_that_was_not_read_whole_or_has_no_rows_is_refused(
    built: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        PermanentError,
        match=r"2026-12 .* is not closed in the data: dossier .*; portal_evaluation .*; rating .*`hailong ingest rating`, then",
    ):
        candidate.create(built, "2026-12", "engineer")
    # It was read from 15 June on: what was resolved before is in no count of these periods.
    with pytest.raises(
        PermanentError,
        match=r"2026-06 .*: dossier begins with 15/06/2026 00:00; .*`hailong ingest dossier --since 2026-05-15`, ",
    ):
        candidate.create(built, "2026-06", "engineer")
    with pytest.raises(
        PermanentError, match=r"2026 .*: dossier begins with 15/06/2026 00:00 and reaches 19/11/2026 00:00;"
    ):
        candidate.create(built, "2026", "engineer")
    # Where the whole period was read and no unit was active: of batch 0, the last by the cut-off of then, nothing is built.
    monkeypatch.setattr(candidate, "unread", lambda *given: [] if given[-1] else ["dossier"])
    with pytest.raises(PermanentError, match="no row for 2024-12"):
        candidate.create(built, "2024-12", "engineer")


def test_landed_data_that_the_gate_stopped_go_into_no_candidate(built: Settings) -> None:
    def landed(run_id: str, disposition: str) -> None:
        with connect(built, role="hailong_gate") as connection:
            connection.execute(
                "insert into dq.run (run_id, scope, as_of_batch, started_at, finished_at, disposition, expectations) "
                "values (%s, 'landed', 1, clock_timestamp(), clock_timestamp(), %s, 1)",
                (run_id, disposition),
            )
            connection.execute(
                "insert into dq.result (run_id, expectation_id, target, severity, success, reason, owner) "
                "values (%s, 'dossier.key', 'dossier', 'critical', %s, 'x', 'x')",
                (run_id, disposition != "stop"),
            )

    landed("landed.b1.g1", "stop")
    with pytest.raises(PermanentError, match=r"stopped what has landed .*dossier\.key"):
        candidate.create(built, "2026-08", "engineer")
    landed("landed.b1.g2", "pass")
    assert candidate.create(built, "2026-08", "engineer").created


def test_only_a_signer_who_did_not_ask_and_saw_the_warnings_signs(built: Settings, copied: candidate.Candidate) -> None:
    name = copied.candidate_id
    with pytest.raises(PermanentError, match=r"has not been through the gate"):
        approve(built, name, "signer")
    with pytest.raises(PermanentError, match="not signed"):
        edition.publish(built, PERIOD, "engineer")
    gate_says(built, name, "stop", ("cand.k_bounds", "critical"))
    with pytest.raises(PermanentError, match=r"the gate stopped .*cand\.k_bounds"):
        approve(built, name, "signer")
    gate_says(built, name, "warn", ("cand.awaiting", "warning"))
    with pytest.raises(PermanentError, match=r"does not quote it: cand\.awaiting"):
        approve(built, name, "signer")
    with pytest.raises(PermanentError, match="may not sign"):
        approve(built, name, "passer-by", warnings_seen=["cand.awaiting"])
    with pytest.raises(PermanentError, match="asked for"):
        approve(replace(built, signers=("engineer",)), name, "engineer", warnings_seen=["cand.awaiting"])
    with pytest.raises(PermanentError, match="HAILONG_SIGNERS"):
        approve(replace(built, signers=()), name, "signer", warnings_seen=["cand.awaiting"])
    with pytest.raises(PermanentError, match=r"no candidate '2026-10\.c9'; the newest are: .*2026-10\.c1"):
        approve(built, "2026-10.c9", "signer")
    assert count(built, "approval") == count(built, "edition") == 0


def test_a_refused_candidate_is_not_published(built: Settings, copied: candidate.Candidate) -> None:
    assert approve(built, copied.candidate_id, "second", decision="rejected").created
    with pytest.raises(PermanentError, match="was refused by second"):
        edition.publish(built, PERIOD, "engineer")
    assert count(built, "edition") == 0


@pytest.fixture(scope="module")
def published(built: Settings, copied: candidate.Candidate) -> edition.Edition:
    gate_says(built, copied.candidate_id, "warn", ("cand.awaiting", "warning"))
    approve(built, copied.candidate_id, "signer", warnings_seen=["cand.awaiting"])
    return edition.publish(built, PERIOD, "engineer")


def test_the_edition_is_the_signed_copy_row_for_row(built: Settings, published: edition.Edition) -> None:
    assert published.created
    assert published.edition_id == f"{PERIOD}.e1"
    with connect(built) as connection:
        assert content_sha256(connection, "edition", published.edition_id) == published.content_sha256
        header = connection.execute(
            "select e.content_sha256 = c.content_sha256, e.published_by, a.decided_by, a.warnings_seen from publish.edition as e "
            "inner join publish.candidate as c using (candidate_id) inner join publish.approval as a using (candidate_id) "
            "where a.decision = 'approved'"
        ).fetchone()
        parameters = connection.execute(
            "select count(*), count(*) filter (where parameter = 'k_threshold' and value = '20') from publish.edition_parameter"
        ).fetchone()
    assert header == (True, "engineer", "signer", ["cand.awaiting"])
    assert parameters and parameters[0] > 30
    assert parameters[1] == 1


def test_what_the_signer_quoted_is_closed_in_the_signer_s_name_and_nothing_else_is(
    built: Settings, copied: candidate.Candidate, published: edition.Edition, tmp_path: Path
) -> None:
    stands = {row["expectation_id"]: row for row in findings.find(built, "all", period=PERIOD)}
    quoted = stands["cand.awaiting"]
    assert (quoted["state"], quoted["by"]) == ("closed", "signer")
    assert quoted["why"] == f"quoted by the signer and published as {published.edition_id}"
    (path,) = workbook.build(built, PERIOD, OWNER, tmp_path)  # but nobody has put it right
    assert ("cand.awaiting", "HCM.SN01") in {
        (row[1], row[4]) for row in openpyxl.load_workbook(path)["Cần sửa"].iter_rows(min_row=4, values_only=True)
    }
    gate_says(built, copied.candidate_id, "warn", ("cand.later", "warning"), ("cand.awaiting", "warning"))
    assert findings.close_published(built, published.edition_id) == 0  # another run saw them since: they are open
    assert {row["expectation_id"] for row in findings.find(built, period=PERIOD)} >= {"cand.later", "cand.awaiting"}


def test_the_points_of_an_edition_add_up_to_what_it_says_and_lose_no_record(
    built: Settings, published: edition.Edition
) -> None:
    path = published.folder / points.NAME
    assert path.stat().st_mode & 0o077 == 0
    rows = pq.read_table(path).to_pylist()
    with connect(built) as connection:
        said = connection.execute(
            "select unit_code, index_code, numerator, denominator from publish.index_score "
            "where edition_id = %s and index_code in ('A', 'B', 'C', 'E') and status = 'scored'",
            (published.edition_id,),
        ).fetchall()
        dossiers = connection.execute(
            "select f.dossier_code, d.batch_id from facts.fct_a_timeliness as f inner join core.core_dossier as d "
            "using (dossier_code) where f.unit_code is null and f.result_on >= '2026-09-15' and f.result_on < '2026-10-15' "
            "or (f.unit_code) in (select unit_code from core.core_unit_window where period_code = %s "
            "and f.result_on >= window_start and f.result_on < window_end)",
            (PERIOD,),
        ).fetchall()
    counted = [row for row in rows if row["status"] == "counted"]
    assert {row["index_code"] for row in counted} == set("ABCDE")
    assert len(said) > 20
    for unit, index, numerator, denominator in said:
        own = [row["point"] for row in counted if (row["unit_code"], row["index_code"]) == (unit, index)]
        assert (sum(own), len(own)) == (numerator, denominator), (unit, index)
    of_a = {(row["record_code"], row["batch_id"]) for row in rows if row["index_code"] == "A"}
    assert of_a == set(dossiers)
    assert all(row["reason"] for row in rows if row["status"] in ("excluded", "missing"))


def test_a_candidate_whose_records_do_not_add_up_to_its_scores_is_not_copied(built: Settings) -> None:
    def add(points_more: int) -> None:
        with connect(built) as connection:
            connection.execute(
                "update marts.index_score set numerator = numerator + %s where period_code = '2026-11' and index_code = 'A' "
                "and unit_code = (select min(unit_code) from marts.index_score where period_code = '2026-11' "
                "and index_code = 'A' and status = 'scored')",
                (points_more,),
            )

    period, build_of = parse_period(built.rules, "2026-11"), candidate.newest_build
    before = count(built, "candidate")
    add(1)
    try:
        with (
            pytest.raises(PermanentError, match=r"do not add up to the scores \(\S+ A: "),
            connect(built, "hailong_publisher") as connection,
        ):
            digest = candidate.marts_sha256(connection, period.code)
            candidate._insert(connection, built, period, build_of(connection, period), digest, "engineer")
    finally:
        add(-1)
    assert count(built, "candidate") == before


def test_annexes_are_the_rows_of_the_marts_and_go_with_the_edition(built: Settings, published: edition.Edition) -> None:
    filled: list[str] = []
    with connect(built) as connection:
        for annex in (name for name, rows in annexes.ANNEXES.items() if rows == annexes.OF_PERIOD):
            made = connection.execute(
                sql.SQL("select to_jsonb(m)::text from marts.{} as m where period_code = %s").format(
                    sql.Identifier(annex)
                ),
                (PERIOD,),
            ).fetchall()
            said = connection.execute(
                "select content::text from publish.annex where edition_id = %s and annex = %s",
                (published.edition_id, annex),
            ).fetchall()
            assert sorted(said) == sorted(made), annex
            filled += [annex] if made else []
        assert set(filled) >= {"dossier_flow", "petition_count", "explanation_owed", "rollup", "k_sensitivity", "trend"}
        for annex in ("watch_list", "action"):
            both = connection.execute(
                sql.SQL(
                    "select (select count(*) from publish.annex where edition_id = %s and annex = %s), "
                    "(select count(*) from marts.{})"
                ).format(sql.Identifier(annex)),
                (published.edition_id, annex),
            ).fetchone()
            assert both and both[0] == both[1], annex
        channels = connection.execute(
            "select unit_code, sum((content ->> 'received')::bigint) from publish.annex where edition_id = %s "
            "and annex = 'received_by_channel' group by unit_code order by 1",
            (published.edition_id,),
        ).fetchall()
        assert (
            channels
            == connection.execute(
                "select unit_code, received from marts.dossier_flow where period_code = %s and received > 0 order by 1",
                (PERIOD,),
            ).fetchall()
        )
        groups = connection.execute(
            "select count(distinct content ->> 'group_code') from publish.annex where annex = 'portal_group'"
        ).fetchone()
        assert groups and groups[0] > 1  # in the portal's own windows, which are not those of our months
        days = connection.execute(
            "select (select sum((content ->> 'record_count')::bigint) from publish.annex where annex = 'late_data'), "
            "(select sum(record_count) from marts.late_data where event_on >= '2026-09-15' and event_on < '2026-10-15')"
        ).fetchone()
    assert days and days[0] == days[1] > 0


def test_the_check_that_decided_is_named_where_one_failure_is_enough(built: Settings) -> None:
    period = parse_period(built.rules, PERIOD)
    with connect(built) as connection:
        row = connection.execute(
            "select unit_code, place_code from facts.fct_e_posting where period_code = %s and result = 'pass' "
            "and checked_on < '2026-09-14' order by 1, 2 limit 1",
            (PERIOD,),
        ).fetchone()
        assert row
        unit, place = row
        for number, day, result in (
            ("X1", "2026-09-16", "fail"),
            ("X2", "2026-09-17", "pass"),
            ("X3", "2026-09-14", "fail"),
        ):
            connection.execute(
                "insert into core.core_posting_check values (%s, %s, %s, %s, %s, 'authority')",
                (number, unit, place, day, result),
            )

        def named() -> set[str]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(points._query("E", period, "")).fetchall()
            (codes,) = {r["record_code"] for r in rows if (r["unit_code"], r["place_code"]) == (unit, place)}
            return set(codes.split(","))

        assert not named() & {"X1", "X2", "X3"}
        connection.execute("update core.dim_policy_parameter set e_basis = 'any_failure'")
        assert named() & {"X1", "X2", "X3"} == {"X1"} and len(named()) > 1
        connection.rollback()


def test_a_second_publication_says_nothing_new(built: Settings, published: edition.Edition) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in published.folder.iterdir()}
    again = edition.publish(built, PERIOD, "engineer")
    assert (again.created, again.edition_id) == (False, published.edition_id)
    assert {path.name: path.stat().st_mtime_ns for path in published.folder.iterdir()} == before
    assert count(built, "edition") == 1
    assert candidate.create(built, PERIOD, "engineer").published_as == published.edition_id


def test_files_are_recorded_and_made_again_byte_for_byte(built: Settings, published: edition.Edition) -> None:
    with connect(built) as connection:
        recorded = dict(connection.execute("select name, sha256 from publish.artifact").fetchall())
    assert recorded
    assert all(
        hashlib.sha256((published.folder / name).read_bytes()).hexdigest() == sha for name, sha in recorded.items()
    )
    victim: Path = published.folder / sorted(recorded)[0]
    victim.write_bytes(b"tampered")
    edition.publish(built, PERIOD, "engineer")
    assert hashlib.sha256(victim.read_bytes()).hexdigest() == recorded[victim.name]


@pytest.mark.parametrize("role", ["hailong_publisher", "hailong_owner"])
@pytest.mark.parametrize("table", TABLES)
def test_what_was_said_cannot_be_changed(built: Settings, published: edition.Edition, role: str, table: str) -> None:
    for statement in (f"delete from publish.{table}", f"update publish.{table} set {column(table)} = {column(table)}"):
        with connect(built, role=role) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute(statement)
        assert isinstance(refused.value, psycopg.errors.RaiseException | psycopg.errors.InsufficientPrivilege)
    with connect(built, role=role) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(f"truncate publish.{table} cascade")
    assert isinstance(refused.value, psycopg.errors.RaiseException | psycopg.errors.InsufficientPrivilege)


def column(table: str) -> str:
    return "candidate_id" if table.startswith("candidate") or table == "approval" else "edition_id"


def test_even_a_superuser_meets_the_trigger(built: Settings, published: edition.Edition) -> None:
    with connect(built) as connection:
        connection.execute("set session_replication_role = replica")  # ENABLE ALWAYS holds here too
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute("update publish.k_score set k = 22")


def test_a_copy_that_was_changed_behind_our_back_is_neither_signed_nor_published(built: Settings) -> None:
    changed = candidate.create(built, "2026-09", "engineer")
    gate_says(built, changed.candidate_id, "pass")
    with connect(built) as connection:  # what only an administrator can do
        connection.execute("alter table publish.candidate_k_score disable trigger all")
        connection.execute(
            "update publish.candidate_k_score set k = 22 where candidate_id = %s and k is not null",
            (changed.candidate_id,),
        )
        connection.execute("alter table publish.candidate_k_score enable always trigger candidate_k_score_append_only")
        connection.execute("alter table publish.candidate_k_score enable always trigger candidate_k_score_no_truncate")
    with pytest.raises(PermanentError, match="were changed after it was copied"):
        approve(built, changed.candidate_id, "signer")
    with pytest.raises(PermanentError, match="were changed after it was copied"):
        edition.publish(built, "2026-09", "engineer")


def test_the_report_shows_what_publish_holds(built: Settings, published: edition.Edition) -> None:
    book = openpyxl.load_workbook(next(published.folder.glob("*.xlsx")))
    with connect(built) as connection:
        scores = connection.execute(
            "select unit_code, a, b, c, d, e, k, rank_in_group from publish.k_score where edition_id = %s",
            (published.edition_id,),
        ).fetchall()
        indices = connection.execute(
            "select unit_code, index_code, numerator, denominator, excluded, value, status, status_reason "
            "from publish.index_score where edition_id = %s",
            (published.edition_id,),
        ).fetchall()
        parameters = connection.execute("select parameter, value, why from publish.edition_parameter").fetchall()

    def number(value: Decimal | int | None) -> float | str:
        return "—" if value is None else float(value)

    ranked = {row[2]: [*row[4:9], row[9], row[1]] for row in book["Xếp hạng"].iter_rows(min_row=4, values_only=True)}
    assert ranked == {unit: [number(v) for v in (*values, k, rank)] for unit, *values, k, rank in scores}
    assert len(ranked) > 10
    shown = {(row[1], row[3]): list(row[5:9]) for row in book["Chỉ số"].iter_rows(min_row=4, values_only=True)}
    assert shown == {(unit, index): [number(v) for v in values] for unit, index, *values, _, _ in indices}
    missing = {row[1] for row in book["Chưa đủ dữ liệu"].iter_rows(min_row=4, values_only=True)}
    assert missing == {unit for unit, *_, k, _ in scores if k is None}
    assert sorted(row[1:] for row in book["Tham số"].iter_rows(min_row=4, values_only=True)) == sorted(parameters)
    for _, _, *_, status, reason in indices:  # every word of the closed lists has its Vietnamese
        assert status in words.STATUSES
        assert reason is None or words.reason(reason) != reason
    overview = " ".join(str(v) for row in book["Tổng quan"].iter_rows(values_only=True) for v in row if v)
    assert published.edition_id in overview
    assert published.content_sha256 in overview
    assert "signer" in overview


def test_paper_and_annexes_show_what_publish_holds(built: Settings, published: edition.Edition) -> None:
    """The DOCX's table of units, and the workbook's of dossiers, against the rows of the edition."""
    with connect(built) as connection:
        scores = connection.execute(
            "select unit_name, a, b, c, d, e, k, rank_in_group from publish.k_score where edition_id = %s",
            (published.edition_id,),
        ).fetchall()
        flows = connection.execute(
            "select unit_name, content ->> 'open_at_start', content ->> 'received', content ->> 'open_overdue' "
            "from publish.annex inner join publish.k_score using (edition_id, unit_code) "
            "where edition_id = %s and annex = 'dossier_flow'",
            (published.edition_id,),
        ).fetchall()

    def written(value: Decimal | None, places: int) -> str:
        rounded = value if value is None else value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
        return "—" if rounded is None else f"{rounded:f}".replace(".", ",")

    document = docx.Document(str(next(published.folder.glob("*.docx"))))
    shown = {}
    for row in document.element.body.iter(qn("w:tr")):
        cells = ["".join(text.text or "" for text in cell.iter(qn("w:t"))) for cell in row.iter(qn("w:tc"))]
        if len(cells) == 10 and cells[1] not in shown:
            shown[cells[1]] = cells
    assert len(scores) > 100
    for name, a, b, c, d, e, k, rank in scores:
        cells = shown[name]
        assert cells[:7] == [str(rank or "—"), name, *(written(v, 4) for v in (a, b, c)), written(d, 2), written(e, 0)]
        places = max(
            len(cells[7].partition(",")[2]), 2
        )  # more where two would show the threshold, or a rank of two verdicts
        assert cells[7] == written(k, places)
    book = openpyxl.load_workbook(next(published.folder.glob("bao-cao*.xlsx")), read_only=True)
    said = [(row[0], row[1], row[2], row[9]) for row in book["Hồ sơ"].iter_rows(min_row=4, values_only=True)]
    assert sorted(said) == sorted((name, *map(int, counts)) for name, *counts in flows)


def test_the_report_made_elsewhere_has_the_recorded_bytes(
    built: Settings, published: edition.Edition, tmp_path: Path
) -> None:
    made = report.build(built, PERIOD, None, tmp_path / "elsewhere")
    assert [path.read_bytes() for path in made] == [(published.folder / path.name).read_bytes() for path in made]
    with pytest.raises(PermanentError, match=r"no edition 2; there is 2026-10\.e1"):
        report.build(built, PERIOD, 2, tmp_path)
    with pytest.raises(PermanentError, match="has no edition to report"):
        report.build(built, "2026-11", None, tmp_path)


def test_an_edition_without_its_files_is_finished_by_whoever_comes_next(
    built: Settings, published: edition.Edition
) -> None:
    before = {path.name: path.read_bytes() for path in published.folder.iterdir()}
    shutil.rmtree(published.folder)
    half = built.editions / f".{published.edition_id}.new"
    half.mkdir()
    (half / "half").write_text("a killed run's")
    assert candidate.create(built, PERIOD, "engineer").published_as == published.edition_id
    assert {path.name: path.read_bytes() for path in published.folder.iterdir()} == before
    assert not half.exists()


@pytest.fixture
def posted_after_the_cutoff(built: Settings) -> Iterator[tuple[int, int]]:
    """Everything but posting checks was loaded on 16 July 2026, before the cut-off of 2026-07. Their batches, their records."""

    def loaded(statement: str) -> None:
        with connect(built) as connection:
            connection.execute("alter table ops.batch disable trigger all")
            connection.execute(statement)  # type: ignore[arg-type]
            connection.execute("alter table ops.batch enable trigger all")

    with connect(built) as connection:
        connection.execute("create table public.loaded as select batch_id, loaded_at from ops.batch")
        late = connection.execute(
            "select count(*), sum(loaded_rows) from ops.batch where feed = 'posting_check' and loaded_rows > 0"
        ).fetchone()
    assert late
    loaded("update ops.batch set loaded_at = '2026-07-16 12:00+07' where feed <> 'posting_check'")
    yield late[0], late[1]
    loaded("update ops.batch as b set loaded_at = l.loaded_at from public.loaded as l where b.batch_id = l.batch_id")
    with connect(built) as connection:
        connection.execute("drop table public.loaded")


def test_a_candidate_holds_what_was_loaded_by_its_cutoff_whatever_came_since(
    built: Settings, posted_after_the_cutoff: tuple[int, int]
) -> None:
    def count_of(statement: str) -> int:
        with connect(built) as connection:
            row = connection.execute(statement).fetchone()  # type: ignore[arg-type]
        assert row
        return int(row[0])

    before = count_of("select count(*) from marts.index_score where index_code = 'E' and status = 'scored'")
    made = candidate.create(built, "2026-07", "engineer")
    assert made.as_of_batch == count_of("select max(batch_id) from ops.batch where feed <> 'posting_check'")
    assert (made.late_batches, made.later_batches, made.later_records) == (0, *posted_after_the_cutoff)
    batches, records = posted_after_the_cutoff
    assert f"; {records:,} records of any period in {batches} later batches are not in it" in made.message
    in_scope = f"select cardinality(scope_units), dossiers > 0 from publish.candidate where candidate_id = '{made.candidate_id}'"
    with connect(built) as connection:
        assert connection.execute(in_scope).fetchone() == (186, True)  # type: ignore[arg-type]
    scored = f"from publish.candidate_index_score where candidate_id = '{made.candidate_id}' and status = 'scored'"
    assert count_of(f"select count(*) {scored} and index_code = 'E'") == 0
    assert count_of(f"select count(*) {scored} and index_code = 'A'") > 0
    assert count_of("select count(*) from marts.index_score where index_code = 'E' and status = 'scored'") == before > 0
    assert count_of("select count(*) from pg_namespace where nspname like 'beside%'") == 0
    with connect(built) as connection:
        held = {name: annexes.of_candidate(connection, made.candidate_id, name) for name in LATER}
        other = connection.execute(
            "select unit_code, was.k::float, now.k::float, was.verdict, now.verdict from publish.candidate_k_score as was "
            "inner join marts.k_score as now using (period_code, unit_code) where was.candidate_id = %s "
            "and was.k is distinct from now.k",
            (made.candidate_id,),
        ).fetchall()
        moved = connection.execute(
            "select count(*) from publish.candidate_index_score as was inner join marts.index_score as now "
            "using (period_code, unit_code, index_code) where was.candidate_id = %s and index_code = 'E' "
            "and was.value is distinct from now.value",
            (made.candidate_id,),
        ).fetchone()
    [own] = [row for row in held["later_period"] if row["edition_id"] is None]
    assert (own["period_code"], own["as_of_batch"]) == ("2026-07", made.as_of_batch)
    assert own["built_to"] == count_of("select max(batch_id) from ops.batch")
    effects = [row for row in held["later_effect"] if row["period_code"] == "2026-07"]
    assert own["units"] == len(effects) >= moved[0] > 0 if moved else False
    found = {
        (row["unit_code"], row["k_was"], row["k_now"], row["verdict_was"], row["verdict_now"])
        for row in effects
        if row["is_other_k"]
    }
    assert found == set(other) and own["units_other_k"] == own["units_other_verdict"] == len(other) > 0
    assert {row["k_was"] for row in effects} == {None}  # without E nobody had a K
    assert all("E:awaiting_input" in row["reason_was"] for row in effects if row["is_other_k"])
    assert [row for row in held["later_record"] if row["period_code"] == "2026-07"] == []  # checks are no such records
    builds = count_of("select max(build_id) from ops.build")
    again = candidate.create(built, "2026-07", "engineer")
    assert not again.created and again.candidate_id == made.candidate_id
    assert count_of("select max(build_id) from ops.build") == builds


def test_what_repairs_a_stopped_candidate_after_the_cutoff_is_counted_when_it_is_asked_for(
    built: Settings, posted_after_the_cutoff: tuple[int, int]
) -> None:
    late = candidate.create(built, "2026-07", "engineer", late=True)
    assert late.late_batches >= posted_after_the_cutoff[0] > 0 and late.later_batches == 0
    with connect(built) as connection:
        scored = connection.execute(
            "select count(*) from publish.candidate_index_score where candidate_id = %s and index_code = 'E' "
            "and status = 'scored'",
            (late.candidate_id,),
        ).fetchone()
    assert scored and scored[0] > 0


def test_a_state_beside_the_real_one_is_built_by_one_at_a_time_and_cleared_up_after_a_kill(
    built: Settings, posted_after_the_cutoff: tuple[int, int]
) -> None:
    with building.side_state(built):
        with pytest.raises(TransientError, match="another past state is being built"):
            candidate.create(built, "2026-08", "engineer")
        with connect(built, building.ROLE, autocommit=True) as connection:
            connection.execute("create schema beside_marts")
        building.build(built)
        assert schemas(built) == ["beside_marts"]  # somebody is at it
    assert schemas(built) == []
    with connect(built, building.ROLE, autocommit=True) as connection:
        connection.execute("create schema beside_marts")
    building.build(built)
    assert schemas(built) == []


def schemas(settings: Settings) -> list[str]:
    with connect(settings) as connection:
        found = connection.execute("select nspname from pg_namespace where nspname like 'beside%'").fetchall()
    return [name for (name,) in found]


def test_what_closed_a_period_after_its_cutoff_is_counted_as_late(built: Settings, copied: candidate.Candidate) -> None:
    with connect(built) as connection:
        row = connection.execute(
            "select count(*) from ops.batch where batch_id <= %s", (copied.as_of_batch,)
        ).fetchone()
    assert row == (copied.late_batches,)
    assert copied.later_batches == 0
    assert f"{copied.late_batches} of them came after the cut-off" in copied.message


def test_an_edition_is_given_again_by_its_own_rules_and_raw_rows_whatever_the_rules_of_today(
    built: Settings, published: edition.Edition, tmp_path: Path
) -> None:
    shutil.copytree(built.rules, tmp_path / "rules", ignore=shutil.ignore_patterns("target", "logs"))
    parameters = tmp_path / "rules" / "seeds" / "scoring_policy_parameter.csv"
    told = parameters.read_text(encoding="utf-8")
    parameters.write_text(told.replace(",b_max_returns,1,", ",b_max_returns,0,", 1), encoding="utf-8")
    assert parameters.read_text(encoding="utf-8") != told
    found = verify(replace(built, rules=tmp_path / "rules"), published.edition_id, current_rules=True)
    assert [check for check in found.checks if check.against] == []
    assert found.checks[-1].what == "its own rules and raw rows give it again"
    assert re.fullmatch(
        r"The rules of today would give \d+ other values: index_score .*B numerator: was .*", found.told[0]
    )
    with connect(built) as connection:
        schemas = connection.execute("select nspname from pg_namespace where nspname like 'beside%'").fetchall()
        marts = connection.execute("select count(*) from marts.k_score").fetchone()
    assert schemas == [] and marts and marts[0] > 0
    assert building.build(built).since_batch is not None  # the next night goes on from the marts as they were


def test_a_signature_does_not_cover_what_the_gate_said_later(built: Settings) -> None:
    name = candidate.create(built, "2026-08", "engineer").candidate_id
    gate_says(built, name, "pass")
    assert approve(built, name, "signer").created
    assert not approve(built, name, "signer").created
    gate_says(built, name, "warn", ("cand.new", "warning"))
    with pytest.raises(PermanentError, match=r"does not quote it: cand\.new"):
        edition.publish(built, "2026-08", "engineer")
    assert approve(built, name, "signer", warnings_seen=["cand.new"]).created
    gate_says(built, name, "stop", ("cand.worse", "critical"))
    with pytest.raises(PermanentError, match="the gate stopped"):
        edition.publish(built, "2026-08", "engineer")


def test_a_signature_of_the_requester_or_at_another_checksum_is_worth_nothing(built: Settings) -> None:
    name = candidate.create(built, "2026-Q3", "engineer").candidate_id
    gate_says(built, name, "pass")

    def signed_by_hand(by: str, digest: str) -> None:
        with connect(built, role="hailong_publisher") as connection:
            connection.execute(
                "insert into publish.approval (candidate_id, content_sha256, decision, decided_by, warnings_seen, channel)"
                " select candidate_id, coalesce(%s, content_sha256), 'approved', %s, '{}', 'cli' from publish.candidate "
                "where candidate_id = %s",
                (digest or None, by, name),
            )

    signed_by_hand("engineer", "")
    with pytest.raises(PermanentError, match="somebody else must"):
        edition.publish(replace(built, signers=()), "2026-Q3", "engineer")
    signed_by_hand("passer-by", "")
    with pytest.raises(PermanentError, match="may not sign"):
        edition.publish(built, "2026-Q3", "engineer")
    signed_by_hand("signer", "f" * 64)
    with pytest.raises(PermanentError, match="another checksum"):
        edition.publish(built, "2026-Q3", "engineer")
    assert count(built, "edition") == 1


def text_of(settings: Settings, unit: str, period: str, **options: object) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(explain(settings, unit, period, **options))  # type: ignore[arg-type]
    return console.export_text()


def test_explain_shows_indices_counts_exclusions_parameters_and_dossiers(
    built: Settings, published: edition.Edition
) -> None:
    with connect(built) as connection:
        row = connection.execute(
            "select unit_code, numerator, denominator from publish.index_score where index_code = 'A' and denominator > 2 "
            "and excluded > 0 order by unit_code limit 1"
        ).fetchone()
        assert row
        unit, numerator, denominator = row
        codes = connection.execute(
            "select f.dossier_code from facts.fct_a_timeliness as f inner join core.dim_period as p "
            "on f.result_on >= p.period_start and f.result_on < p.period_end where p.period_code = %s and f.unit_code = %s",
            (PERIOD, unit),
        ).fetchall()
    text = text_of(built, unit, PERIOD, index="A", limit=1000)
    assert published.edition_id in text
    assert [code for (code,) in codes if code not in text] == []
    line = next(line for line in text.splitlines() if "A resolution time" in line)
    assert f" {numerator} " in line.replace(".000000", "")
    assert f" {denominator} " in line
    assert "Exclusions: A" in text
    assert "a_grace_working_days" in text
    with connect(built) as connection:
        flow = connection.execute(
            "select received, open_overdue from marts.dossier_flow where unit_code = %s and period_code = %s",
            (unit, PERIOD),
        ).fetchone()
    assert flow and f" {flow[0]} received = " in text and f" {flow[1]} of these overdue" in text
    assert "provisional" in text_of(built, unit, "2026-11")


@pytest.mark.parametrize(
    ("k", "counts", "told"),
    [
        (
            "20.5",
            {"A": (10, 10), "C": (4, 5)},
            "K is 0.5 above 20; across it: 6 points lost in A (resolution time); 3 points lost",
        ),
        ("20.9", {"A": (1, 10)}, "nothing in A alone"),
        ("19.9", {"A": (5, 10), "B": (10, 10)}, "2 points won in A (resolution time); nothing in B alone"),
        ("20", {"A": (5, 10)}, "K stands at the threshold of 20"),
        (None, {}, ""),
    ],
)
def test_explain_says_what_would_change_the_verdict(
    k: str | None, counts: dict[str, tuple[int, int]], told: str
) -> None:
    row = {"k": None if k is None else Decimal(k), "small_sample": False}
    indices = [
        {"index_code": code, "numerator": Decimal(top), "denominator": Decimal(bottom), "status": "scored"}
        for code, (top, bottom) in counts.items()
    ]
    assert told in _would_change(row, indices, [("p", "k_threshold", "20")]).plain


def test_explain_shows_the_candidate_or_edition_that_was_asked_for(
    built: Settings, copied: candidate.Candidate, published: edition.Edition
) -> None:
    for source in (published.edition_id, copied.candidate_id):
        told = text_of(built, "HCM.SN01", PERIOD, source=source)
        assert f" {source}, as of batch {copied.as_of_batch}, sha256 {copied.content_sha256[:16]}" in told
        assert "k_threshold" in told
    assert "provisional: tonight's marts" in text_of(built, "HCM.SN01", PERIOD, source="provisional")
    with pytest.raises(PermanentError, match=r"'2026-10\.e9'; there is: 2026-10\.c1, 2026-10\.e1, provisional"):
        explain(built, "HCM.SN01", PERIOD, source=f"{PERIOD}.e9")


def test_explain_shows_the_records_as_they_were_counted_whatever_the_marts_say_now(
    built: Settings, published: edition.Edition
) -> None:
    with connect(built) as connection:
        row = connection.execute(
            "select unit_code, dossier_code from facts.fct_a_timeliness where point = 0 and result_on >= '2026-09-15' "
            "and result_on < '2026-10-15' and unit_code in (select unit_code from publish.index_score) order by 1, 2 limit 1"
        ).fetchone()
        assert row
        unit, code = row
        before = connection.execute("select * from core.core_dossier where dossier_code = %s", (code,)).fetchone()
        connection.execute("set session_replication_role = replica")
        connection.execute("update facts.fct_dossier set is_result = false where dossier_code = %s", (code,))
    try:
        assert before
        assert code in text_of(built, unit, PERIOD, index="A", limit=1000)
        assert code not in text_of(built, unit, PERIOD, index="A", limit=1000, source="provisional")
    finally:
        with connect(built) as connection:
            connection.execute("update facts.fct_dossier set is_result = true where dossier_code = %s", (code,))


def test_explain_says_what_becomes_of_k_under_the_readings(built: Settings, published: edition.Edition) -> None:
    with connect(built) as connection:
        rows = connection.execute(
            "select unit_code, trim_scale(k_min)::text, trim_scale(k_max)::text, flipping_readings, flipped_verdict "
            "from marts.k_sensitivity where period_code = %s and k_min < k_max and flipping_readings is not null "
            "order by unit_code",
            (PERIOD,),
        ).fetchall()
    assert rows
    unit, least, most, readings, verdict = rows[0]
    told = " ".join(text_of(built, unit, PERIOD).split())
    assert f"K from {least} to {most} over every legal reading" in told
    assert f"{verdict} under {readings}" in told


def test_explain_suggests_codes_for_an_unknown_unit(built: Settings) -> None:
    with pytest.raises(PermanentError, match=r"did you mean .*HCM\.SN01"):
        explain(built, "HCM.SN0", PERIOD)
    with pytest.raises(UsageError, match="not an index"):
        explain(built, "HCM.SN01", PERIOD, index="F")


def test_a_signed_candidate_without_its_points_is_not_published_and_a_refused_one_is_copied_anew(
    built: Settings, published: edition.Edition
) -> None:
    def signed(decision: str) -> candidate.Candidate:
        made = candidate.create(built, "2026-08", "engineer")
        gate_says(built, made.candidate_id, "pass")
        approve(built, made.candidate_id, "signer", decision=decision)
        return made

    first = signed("approved")
    (points.folder(built, first.candidate_id) / points.NAME).unlink()
    with pytest.raises(
        PermanentError, match=r"points behind candidate \S+ are missing or changed .*nothing was published"
    ):
        edition.publish(built, "2026-08", "engineer")
    second, third = signed("rejected"), signed("approved")
    assert first.content_sha256 == second.content_sha256 == third.content_sha256
    assert len({first.candidate_id, second.candidate_id, third.candidate_id}) == 3
    assert edition.publish(built, "2026-08", "engineer").created
    with connect(built) as connection:
        rows = connection.execute("select candidate_id from publish.edition where period_code = '2026-08'").fetchall()
    assert rows == [(third.candidate_id,)]


def test_points_that_were_lost_with_the_marts_cells_are_noticed(built: Settings) -> None:
    """A unit whose cells vanished has no data in the marts, and its records say otherwise."""
    with connect(built) as connection:
        (unit,) = connection.execute(
            "select min(unit_code) from marts.index_score where period_code = '2026-11' and index_code = 'C' "
            "and status = 'scored'"
        ).fetchone() or ("",)
        connection.execute(
            "update marts.index_score set numerator = 0, denominator = 0, excluded = 0, value = null, status = 'no_data', "
            "status_reason = 'no_rating' "
            "where period_code = '2026-11' and index_code = 'C' and unit_code = %s",
            (unit,),
        )
        connection.execute("set role hailong_publisher")
        period = parse_period(built.rules, "2026-11")
        build_of = candidate.newest_build(connection, period)
        digest = candidate.marts_sha256(connection, period.code)
        # On a connection of its own the points are read as they were before: they are the records', not the marts'.
        with pytest.raises(PermanentError, match=rf"do not add up to the scores \({unit} C\)"):
            candidate._insert(connection, built, period, build_of, digest, "engineer")
        connection.rollback()
